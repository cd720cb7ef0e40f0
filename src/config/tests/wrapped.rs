//! Plans for one program, for `everup run`.

use std::path::Path;

use super::around;
use crate::config::wrap;
use crate::config::wrap::{RunOptions, name_for};
use crate::model::plan::{HealthPlan, LimitThen, Policy, RuleThen};
use crate::model::service::Cause;
use crate::model::signal::Signal;
use crate::model::template::Slots;

fn options(command: &[&str]) -> RunOptions {
    RunOptions {
        command: command.iter().map(|word| (*word).to_owned()).collect(),
        folder: "/srv/shop".into(),
        ..RunOptions::default()
    }
}

#[test]
fn a_wrapped_program_is_restarted_after_failures_and_keeps_its_words() {
    let words = ["python", "app.py", "$HOME", "${PORT}", "", "a && b", "$$", "-x=\u{e4}\n"];
    let plan = wrap(&options(&words), &around()).unwrap();
    let app = &plan.services[0];
    let slots = Slots { index: 1, port: None };
    assert_eq!(app.command.iter().map(|word| word.render(slots)).collect::<Vec<_>>(), words);
    assert_eq!((app.restart.policy, app.restart.limit.then), (Policy::OnFailure, LimitThen::Exit));
    let rule = &app.restart.rules[0];
    assert_eq!((rule.causes.as_slice(), rule.then), ([Cause::SpawnError].as_slice(), RuleThen::Exit));
    assert_eq!((&app.watch, app.waits_for_change), (&None, false));
    assert_eq!((plan.project.as_str(), plan.file.as_deref(), plan.exit_with.as_ref()), ("app", None, Some(&app.name)));
    assert_eq!(plan.state_dir, Path::new("/srv/shop/.everup/app"));
}

#[test]
fn options_are_read_as_their_keys_are() {
    let plan = wrap(
        &RunOptions {
            name: Some("shop".to_owned()),
            health: Some("http://127.0.0.1:${PORT}/health".to_owned()),
            restart: Some("never".to_owned()),
            env: vec!["A=$x y".to_owned(), "HOME".to_owned()],
            port: Some("8000".to_owned()),
            stop: Some("INT".to_owned()),
            ..options(&["./serve"])
        },
        &around(),
    )
    .unwrap();
    let app = &plan.services[0];
    assert_eq!(
        (app.name.as_str(), app.port, app.restart.policy, app.stop.signal),
        ("shop", Some(8000), Policy::Never, Signal::INT)
    );
    let shown: Vec<String> = app.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    assert_eq!(shown, ["A=$x y", "HOME=/home/me"]);
    assert!(matches!(app.health, HealthPlan::One(_)));
}

#[test]
fn what_is_wrong_with_the_options_is_drawn() {
    let cases: [(RunOptions, &str, &str); 6] = [
        (
            RunOptions { health: Some("htp://x".to_owned()), ..options(&["a"]) },
            "cannot read \"htp://x\"",
            "--health htp://x",
        ),
        (
            RunOptions { restart: Some("alwys".to_owned()), ..options(&["a"]) },
            "did you mean `always`?",
            "--restart alwys",
        ),
        (RunOptions { port: Some("99999".to_owned()), ..options(&["a"]) }, "from 1 to 65535", "--port 99999"),
        (RunOptions { env: vec!["NOPE".to_owned()], ..options(&["a"]) }, "--env NAME=value", "--env NOPE"),
        (RunOptions { name: Some("a b".to_owned()), ..options(&["a"]) }, "cannot use \"a b\" as a name", "--name a b"),
        (options(&[]), "expected a program", "-- "),
    ];
    for (options, message, line) in cases {
        let text = wrap(&options, &around()).unwrap_err().to_string();
        assert!(text.contains(message) && text.contains(line), "{text}");
    }
}

#[test]
fn the_name_is_the_scripts_or_the_programs() {
    for (command, name) in [
        (&["python", "-u", "src/app.py"][..], "app"),
        (&["./bin/serve", "--port", "80"], "serve"),
        (&["python", "-m", "http.server"], "http-server"),
        (&["node", "my server.js"], "my-server"),
        (&["/usr/bin/[", "]"], "app"),
        (&[], "app"),
    ] {
        let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(name_for(&command), name, "{command:?}");
    }
}
