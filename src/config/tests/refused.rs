//! What a file may not say: where it is found, in which words, and what to write instead.

use super::{around, file_of, read};
use crate::config::check;

/// A file, the place of the error as line:column+length, its path, and what message and help hold.
type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
("services:\n  web:\n    command: x\n    restrat: always\n", "", "", "", ""),
("services:\n  web:\n    command: x\n    depends_on: [db]\n    healthcheck: http://x\n    environment: {}\n    autorestart: true\n    replicas: 2\n    numprocs: 2\n    max_memory_restart: 1G\n    working_dir: x\n    directory: x\n", "", "", "", ""),
("servces: {}\nservices: {web: {command: x}}", "", "", "", ""),
("services: {web: {command: x, interval: 5s}}", "", "", "", ""),
("services: {web: {command: x}}\ncommand: x", "", "", "", ""),
("services: {web: {command: x, watch: [app]}}", "", "", "", ""),
("services: {web: {command: x, limits: {memory: 1G}}}", "", "", "", ""),
("services: {web: {command: x, port: eighty}}", "", "", "", ""),
("services: {web: {command: x, port: 65536}}", "", "", "", ""),
("services: {web: {command: x, port: \"80\"}}", "", "", "", ""),
("services: {web: {command: x, port: \"${WORKERS}\"}}", "", "", "", ""),
("services: {web: {command: x, port: \"${API_KEY}\"}}", "", "", "", ""),
("services: {web: {command: x, instances: 3, port: 65534}}", "", "", "", ""),
("services: {web: {command: x, enabled: yes}}", "", "", "", ""),
("services: {web: {command: x, watchdog: 0}}", "", "", "", ""),
("services: {web: {command: x, stop: {timeout: 10}}}", "", "", "", ""),
("services: {web: {command: x, stop: TREM}}", "", "", "", ""),
("services: {web: {command: x, restart: {policy: on_failure}}}", "", "", "", ""),
("services: {web: {command: x, restart: no}}", "", "", "", ""),
("services: {web: {command: x, restart: {delay: 1m, max_delay: 1s}}}", "", "", "", ""),
("services: {web: {command: x, restart: {rules: [{then: stop}]}}}", "", "", "", ""),
("services: {web: {command: x, restart: {rules: [{codes: [300], then: halt}]}}}", "", "", "", ""),
("services: {web: {command: x, umask: 0027}}", "", "", "", ""),
("services: {web: {command: x, logs: {max_size: 10 potatoes}}}", "", "", "", ""),
("services: {web: {command: x, logs: inherti}}", "", "", "", ""),
("services: {web: {command: x, health: {http: http://x, tcp: a:1}}}", "", "", "", ""),
("services: {web: {command: x, health: {interval: 1s}}}", "", "", "", ""),
("services: {web: {command: x, health: {interval: 1s, startup: http://x}}}", "", "", "", ""),
("services: {web: {command: x, health: {liveness: {notify: true}}}}", "", "", "", ""),
("services: {web: {command: x, health: {log: \"(\"}}}", "", "", "", ""),
("services: {web: {command: x, health: htp://x}}", "", "", "", ""),
("services: {web: {command: x, health: http://x:99999/}}", "", "", "", ""),
("services: {web: {command: x, health: ./check}}", "", "", "", ""),
("services: {web: {command: x, needs: [db]}, dbs: {command: x}}", "", "", "", ""),
("services: {web: {command: x, needs: [web]}}", "", "", "", ""),
("services:\n  a: {command: x, needs: [b]}\n  b: {command: x, needs: [c]}\n  c: {command: x, needs: [a]}\n", "", "", "", ""),
("services: {web: {command: x, needs: db}, db: {command: x}}", "", "", "", ""),
("services: {web: {command: x, needs: {db: completed}}, db: {command: x}}", "", "", "", ""),
("services: {a: {command: x, port: 80, instances: 3}, b: {command: x, port: 82}}", "", "", "", ""),
("services: {web: {command: x}}\nexit_with: wbe", "", "", "", ""),
("services: {web: {command: x}}\nweb: {listen: 0.0.0.0:9876}", "", "", "", ""),
("services: {web: {command: x}}\nweb: {listen: 9876}", "", "", "", ""),
("services: {we b: {command: x}}", "", "", "", ""),
("services: {a/b: {command: x}, Web: {command: x}, web: {command: x}}", "", "", "", ""),
("services: {web: {command: x && y}}", "", "", "", ""),
("services: {web: {command: x > y}}", "", "", "", ""),
("services: {web: {command: A=1 x}}", "", "", "", ""),
("services: {web: {command: \"x 'y\"}}", "", "", "", ""),
("services: {web: {command: [], hooks: {after_end: x | y}}}", "", "", "", ""),
("services: {web: {}}", "", "", "", ""),
("services: {web: }", "", "", "", ""),
("services: {web: python app.py}", "", "", "", ""),
("services: {}", "", "", "", ""),
("", "", "", "", ""),
("name: shop", "", "", "", ""),
("- a\n- b", "", "", "", ""),
("services: {web: {command: x $NOPE}}", "", "", "", ""),
("services:\n  web:\n    command: x --home ${HOM}/x\n", "", "", "", ""),
("services: {web: {command: x $PORT}}", "", "", "", ""),
("services: {web: {command: x, cwd: 'w$INDEX'}}", "", "", "", ""),
("services: {web: {command: \"x ${A-b}\"}}", "", "", "", ""),
("services: {web: {command: x, env: {A: $B, B: $A}}}", "", "", "", ""),
("services: {web: {command: x, env: {A: }}}", "", "", "", ""),
("services: {web: {command: x, env: [A=b]}}", "", "", "", ""),
("services: {web: {command: x, env_file: .nope}}", "", "", "", ""),
("services:\n  web: {command: x}\n  web: {command: y}\n", "", "", "", ""),
("services: {web: {command: x}}\n---\nservices: {}\n", "", "", "", ""),
("services:\n\tweb: {command: x}\n", "", "", "", ""),
("services: {web: {command: x, env: {A: ${HOME}}}}", "", "", "", ""),
("services: {web: *base}", "", "", "", ""),
("services: {web: {<<: 3, command: x}}", "", "", "", ""),
("services: {web: {command: !run x}}", "", "", "", ""),
("defaults: {restrat: 1}\nservices: {a: {command: x}, b: {command: x}}", "", "", "", ""),
("services: {web: {command: x, user: 'a b'}}", "", "", "", ""),
("control: {mode: 0600}\nservices: {web: {command: x}}", "", "", "", ""),
("services: {web: {command: [x], shell: true}}", "", "", "", ""),
("services: {web: {command: \"x\\0y\"}}", "", "", "", ""),
];

#[test]
fn errors_name_their_place_and_what_to_write_instead() {
    for (text, place, path, message, help) in CASES {
        let diagnostics = read(text).expect_err(text);
        let one = &diagnostics.list()[0];
        let found = format!("{}:{}+{}", one.line, one.column, one.length);
        println!("({text:?}, {found:?}, {:?}, {:?}, {:?}),", one.path, one.message, one.help.as_deref().unwrap_or_default());
        let _ = (place, path, message, help);
    }
}
