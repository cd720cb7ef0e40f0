//! What a file may not say: where it is found, in which words, and what to write instead.

use super::{around, file_of, read};
use crate::config::check;

/// A file, the place of its first error as line:column+length, its path, message and help.
pub(super) type Case = (&'static str, &'static str, &'static str, &'static str, &'static str);

const CASES: &[Case] = &[
    (
        "services:\n  web:\n    command: x\n    restrat: always\n",
        "4:5+7",
        "services.web.restrat",
        "unknown key `restrat`",
        "did you mean `restart`?",
    ),
    (
        "services:\n  web:\n    command: x\n    depends_on: [db]\n    healthcheck: http://x\n    environment: {}\n    autorestart: true\n    replicas: 2\n    numprocs: 2\n    max_memory_restart: 1G\n    working_dir: x\n    directory: x\n",
        "4:5+10",
        "services.web.depends_on",
        "unknown key `depends_on`",
        "everup calls it `needs`",
    ),
    (
        "servces: {}\nservices: {web: {command: x}}",
        "1:1+7",
        "servces",
        "unknown key `servces`",
        "did you mean `services`?",
    ),
    (
        "services: {web: {command: x, interval: 5s}}",
        "1:30+8",
        "services.web.interval",
        "unknown key `interval`",
        "`interval` belongs under `health` or under `history`",
    ),
    (
        "services: {web: {command: x}}\ncommand: x",
        "2:1+7",
        "command",
        "unknown key `command`",
        "`command` belongs under a service or under `stop`",
    ),
    (
        "services: {web: {command: x}}\non_supervisor_death: live",
        "2:22+4",
        "on_supervisor_death",
        "expected keep or kill, found \"live\"",
        "",
    ),
    (
        "services: {web: {command: x, port: eighty}}",
        "1:36+6",
        "services.web.port",
        "expected a whole number from 1 to 65535, found \"eighty\"",
        "",
    ),
    (
        "services: {web: {command: x, port: 65536}}",
        "1:36+5",
        "services.web.port",
        "expected a whole number from 1 to 65535, found 65536",
        "",
    ),
    (
        "services: {web: {command: x, port: \"80\"}}",
        "1:36+4",
        "services.web.port",
        "expected a whole number from 1 to 65535, found \"80\"",
        "write it without quotes",
    ),
    (
        "services: {web: {command: x, port: \"${WORKERS}\"}}",
        "1:36+12",
        "services.web.port",
        "expected a whole number from 1 to 65535, found \"two\"",
        "",
    ),
    (
        "services: {web: {command: x, port: \"${API_KEY}\"}}",
        "1:36+12",
        "services.web.port",
        "expected a whole number from 1 to 65535, found something else behind a secret variable",
        "",
    ),
    (
        "services: {web: {command: x, instances: 3, port: 65534}}",
        "1:50+5",
        "services.web.port",
        "instance 3 would get port 65536, and ports end at 65535",
        "the first port can be at most 65533",
    ),
    (
        "services: {web: {command: x, enabled: yes}}",
        "1:39+3",
        "services.web.enabled",
        "expected true or false, found \"yes\"",
        "write `true`",
    ),
    (
        "services: {web: {command: x, watchdog: 0}}",
        "1:40+1",
        "services.web.watchdog",
        "expected a duration above zero, such as 250ms or 1h30m, found 0",
        "",
    ),
    (
        "services: {web: {command: x, stop: {timeout: 10}}}",
        "1:46+2",
        "services.web.stop.timeout",
        "cannot read \"10\" as a duration: write a number with ms, s, m, h or d, such as 250ms or 1h30m",
        "write `10s` for seconds",
    ),
    (
        "services: {web: {command: x, stop: TREM}}",
        "1:36+4",
        "services.web.stop",
        "cannot read \"TREM\" as a signal: write a name such as TERM, INT or HUP, or its number",
        "did you mean `TERM`?",
    ),
    (
        "services: {web: {command: x, restart: {policy: on_failure}}}",
        "1:48+10",
        "services.web.restart.policy",
        "expected always, on-failure, never or unless-stopped, found \"on_failure\"",
        "did you mean `on-failure`?",
    ),
    (
        "services: {web: {command: x, restart: no}}",
        "1:39+2",
        "services.web.restart",
        "expected always, on-failure, never or unless-stopped, found \"no\"",
        "write `never`",
    ),
    (
        "services: {web: {command: x, restart: {delay: 1m, max_delay: 1s}}}",
        "1:62+2",
        "services.web.restart.max_delay",
        "expected `max_delay` to be at least `delay`",
        "",
    ),
    (
        "services: {web: {command: x, restart: {rules: [{then: stop}]}}}",
        "1:48+12",
        "services.web.restart.rules[0]",
        "expected `codes`, `signals` or `causes`: this rule never matches",
        "",
    ),
    (
        "services: {web: {command: x, restart: {rules: [{codes: [300], then: halt}]}}}",
        "1:57+3",
        "services.web.restart.rules[0].codes[0]",
        "expected a number from 0 to 255, or a range such as 64-78, found 300",
        "",
    ),
    (
        "services: {web: {command: x, umask: 0027}}",
        "1:37+4",
        "services.web.umask",
        "expected permission bits in quotes, such as \"0600\", found 0027",
        "write \"0027\"",
    ),
    (
        "services: {web: {command: x, logs: {max_size: 10 potatoes}}}",
        "1:47+11",
        "services.web.logs.max_size",
        "cannot read \"10 potatoes\" as a size: write a number with B, KiB, MiB, GiB or TiB (or K, M, G, T), such as 10MiB",
        "",
    ),
    (
        "services: {web: {command: x, logs: inherti}}",
        "1:36+7",
        "services.web.logs",
        "expected none, inherit or a path, found \"inherti\"",
        "did you mean `inherit`? A file is `./inherti`",
    ),
    (
        "services: {web: {command: x, health: {http: http://x, tcp: a:1}}}",
        "1:55+3",
        "services.web.health.tcp",
        "cannot ask in two ways in one probe: `http` and `tcp`",
        "keep one, or give each a kind: startup, readiness, liveness",
    ),
    (
        "services: {web: {command: x, health: {interval: 1s}}}",
        "1:38+14",
        "services.web.health",
        "expected one of http, tcp, exec, notify or log: this probe asks nothing",
        "such as `http: http://127.0.0.1:${PORT}/health`",
    ),
    (
        "services: {web: {command: x, health: {interval: 1s, startup: http://x}}}",
        "1:39+8",
        "services.web.health.interval",
        "cannot mix `interval` with startup, readiness and liveness",
        "move `interval` into each of the probes",
    ),
    (
        "services: {web: {command: x, health: {liveness: {notify: true}}}}",
        "1:50+6",
        "services.web.health.liveness.notify",
        "`notify` says only that the service has started, so it cannot tell liveness",
        "use it as `startup`, and ask something else here",
    ),
    (
        "services: {web: {command: x, health: {log: \"(\"}}}",
        "1:44+3",
        "services.web.health.log",
        "cannot read \"(\" as a regular expression: unclosed group",
        "",
    ),
    (
        "services: {web: {command: x, health: htp://x}}",
        "1:38+7",
        "services.web.health",
        "cannot read \"htp://x\" as an http:// or https:// URL",
        "write http://host:port/path, https://host/path or http://unix:/path.sock:/health",
    ),
    (
        "services: {web: {command: x, health: http://x:99999/}}",
        "1:38+15",
        "services.web.health",
        "cannot read \"http://x:99999/\" as an http:// or https:// URL: its port is not from 1 to 65535",
        "write http://host:port/path, https://host/path or http://unix:/path.sock:/health",
    ),
    (
        "services: {web: {command: x, health: ./check}}",
        "1:38+7",
        "services.web.health",
        "expected a URL to ask, found the text \"./check\"",
        "write http://…, https://…, tcp://host:port or unix:PATH; commands are `{exec: …}`",
    ),
    (
        "services: {web: {command: x, needs: [db]}, dbs: {command: x}}",
        "1:38+2",
        "services.web.needs[0]",
        "no service is called `db`",
        "did you mean `dbs`?",
    ),
    ("services: {web: {command: x, needs: [web]}}", "1:38+3", "services.web.needs[0]", "`web` cannot need itself", ""),
    (
        "services:\n  a: {command: x, needs: [b]}\n  b: {command: x, needs: [c]}\n  c: {command: x, needs: [a]}\n",
        "4:27+1",
        "services.c.needs[0]",
        "services need each other in a circle: a → b → c → a",
        "take one of these out of `needs`",
    ),
    (
        "services: {web: {command: x, needs: db}, db: {command: x}}",
        "1:37+2",
        "services.web.needs",
        "expected a list of services, found the text \"db\"",
        "write [db]",
    ),
    (
        "services: {web: {command: x, needs: {db: completed}}, db: {command: x}}",
        "1:38+2",
        "services.web.needs.db",
        "`db` never completes: it is restarted whenever it ends",
        "give `db` `type: task`, or wait until it is ready",
    ),
    (
        "services: {a: {command: x, port: 80, instances: 3}, b: {command: x, port: 82}}",
        "1:75+2",
        "services.b.port",
        "port 82 is taken by `a` already",
        "it stands on line 1",
    ),
    (
        "services: {web: {command: x}}\nexit_with: wbe",
        "2:12+3",
        "exit_with",
        "no service is called `wbe`",
        "did you mean `web`?",
    ),
    (
        "services: {web: {command: x}}\nweb: {listen: 0.0.0.0:9876}",
        "2:15+12",
        "web.listen",
        "cannot listen beyond this machine without a token",
        "set `token_file`, or listen on 127.0.0.1",
    ),
    (
        "services: {web: {command: x}}\nweb: {listen: 9876}",
        "2:15+4",
        "web.listen",
        "cannot listen on \"9876\"",
        "write 127.0.0.1:9876",
    ),
    (
        "services: {we b: {command: x}}",
        "1:12+4",
        "services.we b",
        "cannot use \"we b\" as a name: a name consists of letters, digits, '.', '_' and '-', and begins with a letter or digit (found ' ')",
        "",
    ),
    (
        "services: {a/b: {command: x}, Web: {command: x}, web: {command: x}}",
        "1:12+3",
        "services.a/b",
        "cannot use \"a/b\" as a name: a name consists of letters, digits, '.', '_' and '-', and begins with a letter or digit (found '/')",
        "",
    ),
    (
        "services: {web: {command: x && y}}",
        "1:29+2",
        "services.web.command",
        "`&&` is for a shell, and this command runs without one",
        "set `shell: true`, or quote it",
    ),
    (
        "services: {web: {command: x > y}}",
        "1:29+1",
        "services.web.command",
        "`>` is for a shell, and this command runs without one",
        "set `shell: true`, or quote it",
    ),
    (
        "services: {web: {command: A=1 x}}",
        "1:27+5",
        "services.web.command",
        "`A=1` is for a shell, and this command runs without one",
        "put the variable under `env`",
    ),
    (
        "services: {web: {command: \"x 'y\"}}",
        "1:27+6",
        "services.web.command",
        "cannot split this into words: the ' is never closed",
        "",
    ),
    (
        "services: {web: {command: [], hooks: {after_end: x | y}}}",
        "1:27+2",
        "services.web.command",
        "expected a program, found nothing",
        "write the program and its arguments",
    ),
    (
        "services: {web: {}}",
        "1:12+3",
        "services.web",
        "expected a `command`",
        "write `command: python app.py` beneath it",
    ),
    (
        "services: {web: }",
        "1:12+3",
        "services.web",
        "expected a `command`",
        "write `command: python app.py` beneath it",
    ),
    (
        "services: {web: python app.py}",
        "1:17+13",
        "services.web",
        "expected the keys of `web`, found the text \"python app.py\"",
        "write `command: …` beneath its name",
    ),
    (
        "services: {}",
        "1:11+2",
        "services",
        "expected at least one service under `services`",
        "the smallest file is `services: {web: {command: python app.py}}`; `everup init` proposes one",
    ),
    (
        "",
        "1:1+1",
        "",
        "expected at least one service under `services`",
        "the smallest file is `services: {web: {command: python app.py}}`; `everup init` proposes one",
    ),
    (
        "name: shop",
        "1:11+1",
        "",
        "expected at least one service under `services`",
        "the smallest file is `services: {web: {command: python app.py}}`; `everup init` proposes one",
    ),
    ("- a\n- b", "1:1+3", "", "expected a map (a project: its services and what surrounds them), found a list", ""),
    (
        "services: {web: {command: x $NOPE}}",
        "1:29+5",
        "services.web.command",
        "`NOPE` is not set",
        "set it in `env`, `env_file` or the environment, or give a default: ${NOPE:-…}",
    ),
    (
        "services:\n  web:\n    command: x --home ${HOM}/x\n",
        "3:23+6",
        "services.web.command",
        "`HOM` is not set",
        "did you mean `HOME`?",
    ),
    (
        "services: {web: {command: x $PORT}}",
        "1:29+5",
        "services.web.command",
        "`PORT` is not set",
        "give the service a `port`, or write ${PORT:-8888}",
    ),
    (
        "services: {web: {command: x, cwd: 'w$INDEX'}}",
        "1:35+9",
        "services.web.cwd",
        "cannot use ${INDEX} here: it differs between instances",
        "it can be used in command, env, health, hooks and stop.command",
    ),
    (
        "services: {web: {command: \"x ${A-b}\"}}",
        "1:30+6",
        "services.web.command",
        "cannot read \"${A-b}\" as a variable",
        "write ${NAME} or ${NAME:-default}, and $$ for a dollar sign",
    ),
    (
        "services: {web: {command: x, env: {A: $B, B: $A}}}",
        "1:39+2",
        "services.web.env.A",
        "cannot expand `B`: variables refer to each other in a circle or too deep",
        "",
    ),
    (
        "services: {web: {command: x, env: {A: }}}",
        "1:36+1",
        "services.web.env.A",
        "expected a value for `A`, found nothing",
        "write \"\" for an empty one, or take the line out",
    ),
    (
        "services: {web: {command: x, env: [A=b]}}",
        "1:35+5",
        "services.web.env",
        "expected a map of names, each with a text, found a list",
        "",
    ),
    (
        "services: {web: {command: x, env_file: .nope}}",
        "1:40+5",
        "services.web.env_file",
        "cannot read `.nope`: there is no such file",
        "create it, or take `env_file` out",
    ),
    (
        "services:\n  web: {command: x}\n  web: {command: y}\n",
        "3:3+3",
        "services",
        "duplicate key `web`",
        "it stands on line 2 already",
    ),
    (
        "services: {web: {command: x}}\n---\nservices: {}\n",
        "2:1+3",
        "",
        "cannot read several documents in one file",
        "remove `---` and what follows, or put it in a file of its own",
    ),
    (
        "services:\n\tweb: {command: x}\n",
        "2:1+1",
        "",
        "cannot read this as YAML: tabs disallowed within this context (block indentation)",
        "indent with spaces: YAML does not allow tabs there",
    ),
    (
        "services: {web: {command: x, env: {A: ${HOME}}}}",
        "1:40+1",
        "",
        "cannot read this as YAML: while parsing a flow mapping, did not find expected ',' or '}'",
        "put a text that holds ${…} in quotes when it stands between { } or [ ]",
    ),
    (
        "services: {web: *base}",
        "1:12+3",
        "services.web",
        "expected a `command`",
        "write `command: python app.py` beneath it",
    ),
    (
        "services: {web: {<<: 3, command: x}}",
        "1:22+1",
        "services.web",
        "expected a map, or a list of maps, to merge with `<<`",
        "",
    ),
    ("services: {web: {command: !run x}}", "1:32+1", "services.web.command", "cannot use the tag `!run`", ""),
    (
        "defaults: {restrat: 1}\nservices: {a: {command: x}, b: {command: x}}",
        "1:12+7",
        "defaults.restrat",
        "unknown key `restrat`",
        "did you mean `restart`?",
    ),
    (
        "services: {web: {command: x, user: 'a b'}}",
        "1:36+5",
        "services.web.user",
        "expected a user's name or number, found \"a b\"",
        "",
    ),
    (
        "control: {mode: 0600}\nservices: {web: {command: x}}",
        "1:17+4",
        "control.mode",
        "expected permission bits in quotes, such as \"0600\", found 0600",
        "write \"0600\"",
    ),
    (
        "services: {web: {command: [x], shell: true}}",
        "1:27+3",
        "services.web.command",
        "expected a command as one text for the shell, found a list",
        "write one text, or leave `shell: true` out",
    ),
    (
        "services: {web: {command: \"x\\0y\"}}",
        "1:27+6",
        "services.web.command",
        "a text for a program cannot hold a NUL character",
        "",
    ),
];

#[test]
fn errors_name_their_place_and_what_to_write_instead() {
    hold(CASES);
}

/// Reads each file and holds its first error against what is expected.
pub(super) fn hold(cases: &[Case]) {
    for (text, place, path, message, help) in cases {
        let diagnostics = read(text).expect_err(text);
        let one = &diagnostics.list()[0];
        let found = format!("{}:{}+{}", one.line, one.column, one.length);
        let found = (found.as_str(), one.path.as_str(), one.message.as_str(), one.help.as_deref().unwrap_or_default());
        assert_eq!(found, (*place, *path, *message, *help), "{text}");
    }
}

#[test]
fn a_port_that_depends_on_itself_is_refused() {
    let diagnostics = read("services: {web: {command: x, port: $A, env: {A: $PORT}}}").unwrap_err();
    assert_eq!(diagnostics.list()[0].path, "services.web.port");
}

#[test]
fn all_errors_of_a_file_are_listed_in_its_order() {
    let text = file_of(
        "depends_on: [db]\nhealthcheck: http://x\nenvironment: {}\nautorestart: true\nreplicas: 2\nnumprocs: 2\nmax_memory_restart: 1G\nworking_dir: x\ndirectory: x\nport: many\nneeds: [nope]",
    );
    let diagnostics = read(&text).unwrap_err();
    let helps: Vec<&str> = diagnostics.list().iter().map(|one| one.help.as_deref().unwrap_or_default()).collect();
    assert_eq!(
        helps,
        [
            "everup calls it `needs`",
            "everup calls it `health`",
            "everup calls it `env`",
            "everup calls it `restart`",
            "everup calls it `instances`",
            "everup calls it `instances`",
            "everup calls it `memory_restart`",
            "everup calls it `cwd`",
            "everup calls it `cwd`",
            "",
            "the services are web",
        ]
    );
}

#[test]
fn an_error_in_defaults_or_behind_an_alias_is_said_once_where_it_stands() {
    let text = "defaults: {stop: {timeout: 5}}\nservices: {a: &a {command: x, port: y}, b: *a, c: {<<: *a}}";
    let paths: Vec<String> = read(text).unwrap_err().list().iter().map(|one| one.path.clone()).collect();
    assert_eq!(paths, ["defaults.stop.timeout", "services.a.port"]);
}

#[test]
fn a_diagnostic_is_drawn_with_its_line_underlined() {
    let drawn = read("services:\n  web:\n    command: x\n    restrat: always\n").unwrap_err().render(false);
    let expected = "\
error: unknown key `restrat`
 --> /srv/shop/supervisor.yaml:4:5
  |
4 |     restrat: always
  |     ^^^^^^^
  |
  = help: did you mean `restart`?
";
    assert_eq!(drawn, expected);
    let drawn = read("services:\n  w\u{e4}b: {}\n  b: {command: \"\u{1f600} $NOPE\"}").unwrap_err().render(false);
    assert!(drawn.contains("yaml:2:3\n") && drawn.contains("yaml:3:19\n"), "{drawn}");
    let colored = read("services: {}").unwrap_err().render(true);
    assert!(colored.contains('\u{1b}'), "{colored}");
}

#[test]
fn control_characters_of_the_file_never_reach_the_terminal() {
    for text in ["services: {\"a\\e[31m\": {command: x}}", "services: {web: {command: \u{7f}\u{9b}31m}}", "\"\\a\": 1"]
    {
        let drawn = read(text).unwrap_err().render(false);
        assert!(!drawn.chars().any(|c| c.is_control() && c != '\n'), "{drawn:?}");
    }
}

#[test]
fn the_json_form_tells_the_same() {
    let json = serde_json::to_value(read("services: {web: {comand: x}}").unwrap_err()).unwrap();
    let first = &json["diagnostics"][0];
    assert_eq!((json["v"].as_u64(), json["valid"].as_bool(), json["more"].as_u64()), (Some(1), Some(false), Some(0)));
    assert_eq!(json["diagnostics"].as_array().map(Vec::len), Some(2));
    let second = &json["diagnostics"][1];
    let key = if first["path"] == "services.web.comand" { first } else { second };
    assert_eq!(
        key,
        &serde_json::json!({
            "severity": "error", "line": 1, "column": 18, "length": 6, "path": "services.web.comand",
            "message": "unknown key `comand`", "help": "did you mean `command`?"
        })
    );
}

#[test]
fn more_than_a_hundred_errors_are_counted() {
    let keys: String = (0..500).map(|n| format!("k{n}: 1\n")).collect();
    let diagnostics = read(&file_of(&keys)).unwrap_err();
    assert_eq!(diagnostics.list().len(), 100);
    assert!(diagnostics.render(false).ends_with("more\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("bytes"), b"services:\n  \xff").unwrap();
    std::fs::write(path("long"), "#".repeat((1 << 20) + 1)).unwrap();
    for (name, message) in [
        ("nope", "there is no such file"),
        (".", "cannot read a folder"),
        ("bytes", "cannot read line 2: it is not UTF-8"),
        ("long", "cannot read a file above 1 MiB"),
    ] {
        let (plan, diagnostics) = check(&path(name), &around());
        assert!(plan.is_none());
        let drawn = diagnostics.render(false);
        assert!(drawn.contains(message) && drawn.contains(name), "{drawn}");
    }
}
