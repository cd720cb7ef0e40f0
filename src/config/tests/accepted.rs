//! What a file may say, and what becomes of it.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{around, good, read_in, service};
use crate::config::{check, find};
use crate::model::names::ServiceName;
use crate::model::plan::*;
use crate::model::probe::{ProbeAddress, ProbeKind};
use crate::model::service::Cause;
use crate::model::signal::Signal;
use crate::model::template::{Slots, Template};

const ALL_KEYS: &str = include_str!("../../../tests/data/config/all-keys.yaml");

fn rendered(words: &[Template], index: u32, port: u16) -> Vec<String> {
    words.iter().map(|word| word.render(Slots { index, port: Some(port) })).collect()
}

#[test]
fn the_smallest_file_has_every_default() {
    let plan = good("services: {web: {command: python app.py}}");
    assert_eq!((plan.project.as_str(), plan.state_dir.as_path()), ("shop", Path::new("/srv/shop/.everup")));
    assert_eq!((plan.control.mode, plan.web.listen, plan.history.interval), (0o600, None, Duration::from_secs(5)));
    let web = &plan.services[0];
    assert_eq!(rendered(&web.command, 1, 1), ["python", "app.py"]);
    assert_eq!((web.cwd.as_path(), web.instances, web.port, web.enabled), (Path::new("/srv/shop"), 1, None, true));
    assert_eq!((web.kind, &web.health, &web.hooks), (Kind::Service, &HealthPlan::None, &HooksPlan::default()));
    let restart = RestartPlan {
        policy: Policy::Always,
        delay: Duration::from_millis(250),
        factor: 2.0,
        max_delay: Duration::from_secs(30),
        jitter: 0.2,
        reset_after: Duration::from_secs(10),
        limit: LimitPlan { count: 10, within: Duration::from_mins(5), then: LimitThen::Slow },
        slow_delay: Duration::from_mins(1),
        success_codes: vec![CodeRange(0, 0)],
        rules: vec![],
    };
    assert_eq!(web.restart, restart);
    assert_eq!(web.stop, StopPlan { signal: Signal::TERM, timeout: Duration::from_secs(10), command: None });
    assert_eq!(web.logs, LogsPlan { to: LogsTo::Streams, max_size: 10 << 20, keep: 5, terminal: true });
}

#[test]
fn every_key_of_the_contract_is_taken() {
    let plan = good(ALL_KEYS);
    let web = plan.service(&ServiceName::new("web").unwrap()).unwrap();
    assert_eq!(rendered(&web.command, 2, 8889), ["python", "app.py", "--port", "8889"]);
    assert_eq!(web.umask, Some(0o27));
    assert_eq!(
        web.limits,
        LimitsPlan {
            open_files: Some(65_536),
            core: Some(0),
            processes: Some(u64::MAX),
            memory: Some(512 << 20),
            cpu_millis: Some(250),
        }
    );
    let rules = &web.restart.rules;
    assert_eq!(rules[0].codes, [CodeRange(3, 3), CodeRange(64, 78)]);
    assert_eq!(
        (rules[1].signals.as_slice(), rules[2].causes.as_slice()),
        ([Signal::KILL].as_slice(), [Cause::Oom].as_slice())
    );
    assert_eq!(
        web.needs.values().map(|need| (need.until, need.required)).collect::<Vec<_>>(),
        [(Until::Started, false), (Until::Ready, true), (Until::Completed, true),]
    );
    let HealthPlan::Kinds { startup: Some(_), readiness: Some(_), liveness: Some(liveness) } = &web.health else {
        panic!("{:?}", web.health);
    };
    assert_eq!(liveness.interval, Duration::from_secs(3));
    let above = MemoryRestart { above: 400 << 20, hold: Duration::from_mins(1) };
    assert_eq!(web.memory_restart, Some(above));
    assert_eq!(web.metrics, Some(MetricsPlan { port: 8888, path: "/-/metrics".to_owned() }));
    let pattern = AccessFormat::Pattern(r"(?<method>[A-Z]+) \S+ (?<code>\d{3})$".to_owned());
    assert_eq!(web.log_metrics, [AccessFormat::Tornado, pattern]);
    let history =
        HistoryPlan { interval: Duration::from_secs(2), keep: Duration::from_hours(90 * 24), max_size: 1 << 30 };
    assert_eq!(plan.history, history);
    let told: Vec<&[NotifyOn]> = plan.notify.iter().map(|one| one.on.as_slice()).collect();
    let all = [NotifyOn::Failed, NotifyOn::CrashLooping, NotifyOn::Recovered, NotifyOn::Oom];
    assert_eq!(told, [&[NotifyOn::Failed, NotifyOn::Oom], [NotifyOn::Recovered].as_slice(), &all]);
    assert_eq!(plan.control.mode, 0o660);
    assert_eq!(plan.web.listen.unwrap().to_string(), "127.0.0.1:9876");
}

#[test]
fn short_forms_mean_what_their_long_forms_say() {
    for (short, long) in [
        ("restart: on-failure", "restart: {policy: on-failure}"),
        ("stop: INT", "stop: {signal: INT}"),
        ("stop: SIGINT", "stop: {signal: 2}"),
        ("health: http://a/b", "health: {http: http://a/b}"),
        ("health: http://a/b", "health: {http: {url: http://a/b, method: GET, status: 200-399}}"),
        ("health: tcp://a:80", "health: {tcp: a:80}"),
        ("health: unix:x.sock", "health: {tcp: unix:/srv/shop/x.sock}"),
        ("health: http://unix:x.sock:/h", "health: {http: {url: http://localhost/h, socket: x.sock}}"),
        ("logs: out.log", "logs: {file: ./out.log}"),
        ("logs: {merge: true}", "logs: {merge: true, file: null}"),
        ("command: a 'b c'", "command: [a, b c]"),
        ("env: {N: 1.10, T: true}", "env: {N: '1.10', T: 'true'}"),
        ("cwd: .", "cwd: null"),
        ("port: ${NOPE:-8888}", "port: 8888"),
        ("port: \"${PORT_BASE}\"", "port: 9000"),
        ("enabled: ${NOPE:-false}", "enabled: false"),
        ("memory_restart: 512M", "memory_restart: {above: 512MiB, for: 30s}"),
        ("memory_restart: null", "cwd: null"),
        ("port: 80\nmetrics: {}", "port: 80\nmetrics: {port: 80, path: /metrics}"),
        ("port: 80\nmetrics: {port: '${PORT}'}", "port: 80\nmetrics: {port: $PORT}"),
        ("metrics: {port: '${PORT_BASE}'}", "metrics: {port: 9000}"),
        ("log_metrics: uvicorn", "log_metrics: [uvicorn]"),
        ("log_metrics: [nginx, nginx]", "log_metrics: [nginx]"),
        ("limits: {cpu: 1.5}", "limits: {cpu: '${NOPE:-1.5}', memory: null}"),
    ] {
        assert_eq!(service(short), service(long), "{short}");
    }
    let plan = good("services: {db: {command: x}, web: {command: y, needs: [db]}}");
    let long = good("services: {db: {command: x}, web: {command: y, needs: {db: {until: ready, required: true}}}}");
    assert_eq!(plan, long);
}

#[test]
fn a_message_goes_where_a_variable_says_and_of_everything_unless_told() {
    let of = |entry: &str| good(&format!("notify: [{entry}]\nservices: {{web: {{command: x}}}}")).notify;
    let whole = of("{on: [failed, crash_looping, recovered, oom], exec: tell me}");
    assert_eq!(of("{exec: [tell, me]}"), whole);
    assert_eq!(of("{on: [oom, recovered, failed, oom, crash_looping], exec: tell me}"), whole);
    assert_eq!(of("{on: failed, exec: x}"), of("{on: [failed], exec: x}"));
    let NotifyTo::Webhook(url) = &of("{webhook: 'https://h.example/${API_KEY}'}")[0].to else { panic!() };
    assert_eq!(url.to_string(), "https://h.example/<hidden>");
    assert_eq!(url.render(Slots { index: 1, port: None }), "https://h.example/s3cr3t");
}

#[test]
fn a_service_may_serve_its_metrics_on_any_port_of_its_own() {
    good("services: {a: {command: x, instances: 2, port: 80, metrics: {port: 81}}, b: {command: x, port: 83}}");
    good("services: {a: {command: x, listen: {h: '127.0.0.1:80'}, metrics: {port: 80}}}");
}

#[test]
fn a_shell_gets_the_whole_text_and_gives_way_where_it_can() {
    for (text, script) in
        [("npm start", "exec npm start"), ("cd x && ./y", "cd x && ./y"), ("a > $$HOME", "exec a > $HOME")]
    {
        let web = service(&format!("command: {text}\nshell: true"));
        assert_eq!(rendered(&web.command, 1, 1), ["sh", "-c", script]);
    }
}

#[test]
fn a_task_is_not_restarted_unless_it_says_so() {
    assert_eq!(service("type: task").restart.policy, Policy::Never);
    assert_eq!(service("type: task\nrestart: {delay: 1s}").restart.policy, Policy::Never);
    assert_eq!(service("type: task\nrestart: on-failure").restart.policy, Policy::OnFailure);
}

#[test]
fn a_long_first_delay_lifts_the_cap() {
    let web = service("restart: {delay: 2m}");
    assert_eq!(web.restart.max_delay, Duration::from_mins(2));
}

#[test]
fn defaults_lie_under_every_service_and_merge_map_by_map() {
    let plan = good(
        "defaults: {env: {A: 1, B: 2}, restart: {delay: 1s}, stop: INT, logs: none}
services:
  one: {command: x, env: {B: 3}, restart: {factor: 3}, logs: null}
  two: {command: y, restart: never}",
    );
    let (one, two) = (&plan.services[0], &plan.services[1]);
    let shown: Vec<String> = one.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["A=1", "B=3"]);
    assert_eq!((one.restart.delay, one.restart.factor), (Duration::from_secs(1), 3.0));
    assert_eq!((two.restart.policy, two.restart.delay), (Policy::Never, Duration::from_millis(250)));
    assert_eq!((one.stop.signal, &one.logs.to), (Signal::INT, &LogsTo::Streams));
}

#[test]
fn anchors_and_merge_keys_work() {
    let plan = good(
        "services:
  one: &base
    command: &run [a, b]
    env: {X: one}
    restart: {delay: 1s}
  two:
    <<: *base
    env: {X: two}
  three:
    <<: [{instances: 3}, *base, {instances: 4}]
    command: *run",
    );
    assert_eq!(plan.services.iter().map(|one| one.instances).collect::<Vec<_>>(), [1, 1, 3]);
    assert_eq!(plan.services[1].env["X"].to_string(), "two");
    assert_eq!(plan.services[2].restart.delay, Duration::from_secs(1));
}

#[test]
fn variables_come_from_env_then_env_file_then_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "WHO=file\nONLY=file\nHOME=/file\nRAW=$HOME\n").unwrap();
    let plan = read_in(
        folder.path(),
        "services:
  web:
    command: x $WHO $ONLY $HOME $PORT_BASE $RAW ${EVERUP} $PORT '$WHO' \\$WHO $$WHO
    env_file: .env
    env: {WHO: \"env of ${ONLY}\", HOME: \"${HOME}/sub\"}
    port: 80",
    )
    .unwrap();
    let web = &plan.services[0];
    assert_eq!(
        rendered(&web.command, 1, 80),
        ["x", "env of file", "file", "/file/sub", "9000", "$HOME", "/usr/bin/everup", "80", "$WHO", "$WHO", "$WHO"]
    );
    assert_eq!(web.env["RAW"].render(Slots { index: 1, port: None }), "$HOME");
    assert_eq!(web.env["RAW"].to_string(), "<hidden>");
}

#[test]
fn port_is_the_services_own_where_it_has_one_and_the_environments_elsewhere() {
    let mut around = around();
    around.environment.insert("PORT".to_owned(), "7000".to_owned());
    let text = "services: {a: {command: x $PORT, port: \"${PORT:-1}\"}, b: {command: x $PORT}}";
    let plan = crate::config::parse(text, Path::new("f"), Path::new("/"), &around).unwrap();
    assert_eq!(plan.services[0].port, Some(7000));
    assert_eq!(plan.services[0].command[1].to_string(), "${PORT}");
    assert_eq!(plan.services[1].command[1].to_string(), "7000");
}

#[test]
fn probes_keep_what_differs_between_instances_open() {
    let web = service("port: 80\nhealth: {tcp: \"localhost:${PORT}\", interval: 1s}");
    let HealthPlan::One(probe) = &web.health else { panic!() };
    assert!(matches!(&probe.how, ProbeKind::Tcp(ProbeAddress::Tcp(to)) if to.to_string() == "localhost:${PORT}"));
    assert_eq!(
        (probe.interval, probe.timeout, probe.start_timeout),
        (Duration::from_secs(1), Duration::from_secs(5), Duration::from_mins(1))
    );
}

#[test]
fn the_state_folder_goes_where_it_can_be_written() {
    let text = "name: shop\nservices: {web: {command: x}}";
    for (is_root, state_home, expected) in [
        (true, None, "/var/lib/everup/shop"),
        (false, None, "/home/me/.local/state/everup/shop"),
        (false, Some("/state"), "/state/everup/shop"),
    ] {
        let mut around = around();
        around.can_write = |_| false;
        around.is_root = is_root;
        around.environment.extend(state_home.map(|home: &str| ("XDG_STATE_HOME".to_owned(), home.to_owned())));
        let plan = crate::config::parse(text, Path::new("f"), Path::new("/srv"), &around).unwrap();
        assert_eq!(plan.state_dir, PathBuf::from(expected));
    }
}

#[test]
fn the_nearest_file_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let deep = folder.path().join("a/b");
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::write(folder.path().join("supervisor.yml"), "").unwrap();
    assert_eq!(find(&deep), Some(folder.path().join("supervisor.yml")));
    std::fs::write(folder.path().join("a/supervisor.yaml"), "services: {web: {command: x}}").unwrap();
    let found = find(&deep).unwrap();
    assert_eq!(found, folder.path().join("a/supervisor.yaml"));
    let plan = crate::config::load(&found, &around()).unwrap();
    assert_eq!((plan.project.as_str(), plan.root), ("a", folder.path().join("a")));
}

#[test]
fn an_env_file_that_all_may_read_is_noted_when_it_holds_a_secret() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let (env, file) = (folder.path().join(".env"), folder.path().join("supervisor.yaml"));
    std::fs::write(&env, "DB_PASSWORD=x\n").unwrap();
    std::fs::write(&file, "services: {web: {command: x, env_file: .env}}").unwrap();
    for (mode, notes) in [(0o644, 1), (0o600, 0)] {
        std::fs::set_permissions(&env, std::fs::Permissions::from_mode(mode)).unwrap();
        let (plan, diagnostics) = check(&file, &around());
        assert!(plan.is_some() && diagnostics.is_valid());
        assert_eq!(diagnostics.list().len(), notes);
    }
}

#[test]
fn people_who_may_talk_to_a_closed_socket_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("supervisor.yaml");
    for (control, notes) in [
        ("users: [root]", 1),
        ("groups: [root], mode: '0666'", 1),
        ("users: [root], socket: /run/app.sock", 1),
        ("users: [root], socket: /run/app.sock, mode: '0666'", 0),
        ("mode: '0666'", 0),
    ] {
        std::fs::write(&file, format!("control: {{{control}}}\nservices: {{web: {{command: x}}}}\n")).unwrap();
        let (plan, diagnostics) = check(&file, &around());
        assert!(plan.is_some() && diagnostics.is_valid());
        assert_eq!(diagnostics.list().len(), notes, "{control}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the time a load takes is what is asked here")]
fn a_hundred_services_load_at_once() {
    use std::fmt::Write as _;
    let mut text = String::from("defaults: {restart: {delay: 1s}, env: {LEVEL: info}}\nservices:\n");
    for number in 0..100 {
        let _ = write!(
            text,
            "  web-{number}:\n    command: python app.py --port ${{PORT}} --name 'n {number}'\n    port: {}\n    env: {{A: \"${{HOME}}/x\", B: \"${{A}}/y\"}}\n    health: {{http: \"http://127.0.0.1:${{PORT}}/health\", interval: 5s}}\n    stop: {{signal: INT, timeout: 3s}}\n",
            10_000 + number
        );
        if number > 0 {
            let _ = writeln!(text, "    needs: [web-{}]", number - 1);
        }
    }
    let begun = Instant::now();
    let plan = good(&text);
    let took = begun.elapsed();
    assert_eq!(plan.services.len(), 100);
    assert!(took < Duration::from_millis(500), "{took:?}");
    if std::env::var_os("EVERUP_TIMES").is_some() {
        let begun = Instant::now();
        (0..20).for_each(|_| drop(good(&text)));
        println!("100 services: first {took:?}, then {:?} each", begun.elapsed() / 20);
    }
}
