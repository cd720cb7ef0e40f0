//! What `everup dev` makes of a plan.

use std::path::Path;
use std::time::Duration;

use super::{around, good, read_in, service};
use crate::config::develop::{Developed, develop};
use crate::config::wrap::RunOptions;
use crate::config::{parse, show, wrap, wrap_dev};
use crate::model::plan::{HealthPlan, LimitThen, Policy, ServicePlan};
use crate::model::probe::{ProbeKind, ProbePlan};
use crate::model::watch::{CheckWord, DevDefaults, WatchPlan, WatchWhen};

/// The folder with these files; what ends with / is a folder.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        if name.ends_with('/') {
            std::fs::create_dir_all(path).unwrap();
        } else {
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            std::fs::write(path, text).unwrap();
        }
    }
    folder
}

/// One service `web` with this command in a folder with these files, made for `dev`.
#[track_caller]
fn developed(files: &[(&str, &str)], command: &str) -> Developed {
    let folder = folder(files);
    let text = format!("services:\n  web:\n    command: {command}\n");
    let plan = read_in(folder.path(), &text).unwrap_or_else(|error| panic!("{error}"));
    develop(plan, &around())
}

fn check_of(watch: &WatchPlan) -> String {
    let words = watch.check.iter().map(|word| match word {
        CheckWord::Text(text) => text.to_string(),
        CheckWord::Changed(globs) => format!("{{changed:{}}}", globs.join(",")),
        CheckWord::File(globs) => format!("{{file:{}}}", globs.join(",")),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Its check; `-` without one.
fn check(files: &[(&str, &str)], command: &str) -> String {
    let plan = developed(files, command).plan;
    plan.services[0].watch.as_ref().map_or_else(|| "unwatched".to_owned(), check_of)
}

#[test]
fn services_stop_quickly_and_are_probed_until_they_have_started() {
    let plan = develop(
        good(
            "services:
  a: {command: x, stop: {timeout: 20s}, watchdog: 30s, restart: on-failure}
  b: {command: x, stop: {timeout: 1s, signal: INT}, health: http://127.0.0.1:1/}
  c: {command: x, health: {startup: {notify: true, start_timeout: 5m}, readiness: http://r/, liveness: http://l/}}
  d: {command: x, health: {startup: {log: up}, liveness: http://l/}}
  e: {command: x, health: {liveness: http://l/}}
  f: {command: x, health: {notify: true}}",
        ),
        &around(),
    )
    .plan;
    let stops: Vec<u64> = plan.services.iter().map(|service| service.stop.timeout.as_secs()).collect();
    assert_eq!(stops, [3, 1, 3, 3, 3, 3]);
    assert_eq!((plan.services[0].watchdog, plan.services[0].restart.policy), (None, Policy::OnFailure));
    let gate = |service: &ServicePlan| -> Option<ProbePlan> {
        match service.health.clone() {
            HealthPlan::None => None,
            HealthPlan::Kinds { startup: Some(probe), readiness: None, liveness: None } => Some(probe),
            other => panic!("{other:?}"),
        }
    };
    let asked: Vec<String> = plan
        .services
        .iter()
        .map(|service| match gate(service).map(|probe| probe.how) {
            None => "nothing".to_owned(),
            Some(ProbeKind::Http(http)) => http.url.to_string(),
            Some(ProbeKind::Log(line)) => line,
            Some(ProbeKind::Notify) => "notify".to_owned(),
            Some(other) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(asked, ["nothing", "http://127.0.0.1:1/", "http://r/", "up", "http://l/", "notify"]);
    assert_eq!(gate(&plan.services[2]).unwrap().start_timeout, Duration::from_mins(5));
    assert!(plan.services[5].wants_notify());
}

#[test]
fn what_is_watched_by_default_goes_by_the_command_and_then_by_the_folder() {
    let python = "*.py, *.toml, .env";
    let node = "*.js, *.mjs, *.cjs, *.ts, *.tsx, *.jsx, *.json, .env";
    let rust = "*.rs, Cargo.toml, Cargo.lock";
    let go = "*.go, !*_test.go, go.mod, go.sum, *.tmpl";
    let manifests: &[(&str, &str)] = &[("package.json", "{}"), ("pyproject.toml", "")];
    for (files, command, include) in [
        (&[][..], "python app.py", python),
        (&[], "python3.12 -u -m http.server", python),
        (&[], ".venv/bin/gunicorn app:app", python),
        (&[], "./app.py", python),
        (&[], "uv run --with x serve.py", python),
        (&[], "env A=1 node app.js", node),
        (&[], "npm start", node),
        (&[], "tsx src/main.ts", node),
        (&[], "cargo run --release", rust),
        (&[], "target/release/shop --port 80", rust),
        (&[], "go run ./cmd/web", go),
        (manifests, "node app.js", node),
        (manifests, "flask run", python),
        (manifests, "make run", ""),
        (&[("requirements.txt", "")], "make run", python),
        (&[("package.json", "{}")], "./start.sh", node),
        (&[("Cargo.toml", "")], "make run", rust),
        (&[("go.mod", "")], "./shop", go),
        (&[("notes.txt", "")], "make run", ""),
        (&[], "ruby app.rb", ""),
    ] {
        let developed = developed(files, command);
        let web = &developed.plan.services[0];
        let watch = web.watch.as_ref().unwrap_or_else(|| panic!("{command}: {:?}", developed.notes));
        assert_eq!(watch.include.join(", "), include, "{command}");
        assert_eq!((watch.paths.as_slice(), watch.gitignore), ([web.cwd.clone()].as_slice(), true), "{command}");
        assert!(web.waits_for_change, "{command}");
    }
    let outer = folder(&[("go.mod", ""), ("api/x", "")]);
    let plan = read_in(outer.path(), "services: {web: {command: make, cwd: api}}").unwrap();
    let plan = develop(plan, &around()).plan;
    assert_eq!(plan.services[0].watch.as_ref().unwrap().include[0], "*.go");
}

#[test]
fn python_is_checked_by_the_interpreter_that_runs_it() {
    let own: &[(&str, &str)] = &[(".venv/bin/python", ""), (".venv/bin/uvicorn", "")];
    for (files, command, interpreter) in [
        (&[][..], "python app.py", "python"),
        (own, "/opt/python3.12 -u app.py", "/opt/python3.12"),
        (own, ".venv/bin/uvicorn app:app", ".venv/bin/python"),
        (own, "uvicorn app:app", ".venv/bin/python"),
        (&[("venv/bin/python", "")], "flask run", "venv/bin/python"),
        (&[("tools/python3", ""), ("tools/serve", ""), ("setup.py", "")], "tools/serve", "tools/python3"),
        (&[], "gunicorn app:app", "python3"),
        (&[("python/", ""), ("setup.py", "")], "./app.py", "python3"),
    ] {
        assert_eq!(check(files, command), format!("{interpreter} -m py_compile {{changed:*.py}}"), "{command}");
    }
    let shell = developed(&[], "cd src && exec $VENV/bin/python app.py\n    shell: true\n    env: {VENV: /v}");
    let watch = shell.plan.services[0].watch.clone().unwrap();
    assert_eq!(check_of(&watch), "/v/bin/python -m py_compile {changed:*.py}");
    let folder = folder(&[("bin/uvicorn", ""), ("bin/python3", "")]);
    let bin = folder.path().join("bin");
    let mut around = around();
    around.environment.insert("PATH".to_owned(), format!("relative:/nope:{}", bin.display()));
    let plan = parse("services: {web: {command: uvicorn a:b}}", Path::new("f"), folder.path(), &around).unwrap();
    let watch = develop(plan, &around).plan.services[0].watch.clone().unwrap();
    assert!(check_of(&watch).starts_with(&format!("{}/python3 -m", bin.display())));
}

#[test]
fn node_is_checked_file_by_file() {
    let files = "--check {file:*.js,*.mjs,*.cjs}";
    let package = |text: &'static str| vec![("package.json", text)];
    for (manifest, command, expected) in [
        ("{}", "/opt/node app.js", format!("/opt/node {files}")),
        (r#"{"scripts": {"start": "tsc && NODE_ENV=dev nodejs dist/app.js"}}"#, "npm start", format!("nodejs {files}")),
        ("{}", "npm start", format!("node {files}")),
        (r#"{"dependencies": {"@babel/node": "7"}}"#, "npm start", String::new()),
    ] {
        assert_eq!(check(&package(manifest), command), expected, "{command}");
    }
}

#[test]
fn what_is_built_is_built_as_it_is_run() {
    for (command, check_line) in [
        ("cargo run", "cargo build"),
        ("cargo +nightly r --release --bin web -F a,b -- --port 80", "cargo +nightly build --release --bin web -F a,b"),
        ("cargo run -p shop serve --release", "cargo build -p shop"),
        ("cargo test", "cargo build"),
        ("target/debug/web", "cargo build"),
        ("../target/release/web", "cargo build --release"),
        ("target/x86_64-unknown-linux-musl/release/web", "cargo build --release"),
        ("go run .", "go build -o /dev/null ."),
        ("go run", "go build -o /dev/null ."),
        ("go run -race -tags a -exec sudo ./cmd/web -v", "go build -race -tags a -o /dev/null ./cmd/web"),
        ("go run main.go util.go -v", "go build -o /dev/null main.go util.go"),
        ("go tool x", "go build -o /dev/null ."),
    ] {
        assert_eq!(check(&[], command), check_line, "{command}");
    }
    assert_eq!(check(&[("Cargo.toml", "")], "target/fast/web"), "cargo build --profile fast");
}

#[test]
fn go_is_built_into_its_own_program_but_never_over_a_script() {
    let module = ("go.mod", "");
    for (files, command, expected) in [
        (&[module][..], "./shop", "go build -o shop ."),
        (&[module, ("bin/shop", "\u{7f}ELF\u{1}")], "bin/shop -v", "go build -o bin/shop ."),
        (&[module, ("cmd/shop/main.go", "")], "./shop", "go build -o shop ./cmd/shop"),
        (&[module, ("start", "#!/bin/sh\n")], "./start", "go build -o /dev/null ."),
        (&[module], "./start.sh", "go build -o /dev/null ."),
        (&[module], "make run", "go build -o /dev/null ."),
    ] {
        assert_eq!(check(files, command), expected, "{command}");
    }
}

#[test]
fn commands_that_reload_themselves_are_left_alone() {
    let scripts = r#"{"scripts": {"start": "vite", "dev": "cross-env A=1 next dev -p 3000", "serve": "npm run dev", "loop": "npm run loop", "ok": "node app.js"}}"#;
    for (command, sign) in [
        ("uvicorn app:app --reload", "--reload"),
        (".venv/bin/gunicorn --reload app:app", "--reload"),
        ("python -m hypercorn --reload app:app", "--reload"),
        ("flask --app x run --debug", "--debug"),
        ("FLASK_DEBUG=1 flask run\n    shell: true", "FLASK_DEBUG"),
        ("python3 -m flask run\n    env: {FLASK_DEBUG: 1}", "FLASK_DEBUG"),
        ("python manage.py runserver", "manage.py runserver"),
        ("./manage.py runserver 8000", "manage.py runserver"),
        ("poetry run python manage.py runserver", "manage.py runserver"),
        ("fastapi dev app.py", "fastapi dev"),
        ("fastapi run --reload", "--reload"),
        ("python -m tornado.autoreload app.py", "tornado.autoreload"),
        ("nodemon app.js", "nodemon"),
        ("npx -p nodemon nodemon app.js", "nodemon"),
        ("node --watch app.js", "--watch"),
        ("node --inspect --watch-path=src app.js", "--watch-path"),
        ("tsx watch src/main.ts", "tsx watch"),
        ("ts-node-dev src/main.ts", "ts-node-dev"),
        ("node_modules/.bin/vite --port 80", "vite"),
        ("next dev", "next dev"),
        ("webpack serve", "webpack serve"),
        ("webpack --watch", "--watch"),
        ("ng serve", "ng serve"),
        ("watchexec -r -- node app.js", "watchexec"),
        ("ls *.py | entr -r python app.py\n    shell: true", "entr"),
        ("cargo watch -x run", "cargo watch"),
        ("cargo +nightly watch", "cargo watch"),
        ("bacon run", "bacon"),
        ("air -c .air.toml", "air"),
        ("npm start", "vite"),
        ("npm run dev", "next dev"),
        ("yarn dev", "next dev"),
        ("pnpm run serve", "next dev"),
        ("npm --silent run serve", "next dev"),
        ("cd sub && npm start\n    shell: true", "nodemon"),
    ] {
        let files = [("package.json", scripts), ("sub/package.json", r#"{"scripts": {"start": "nodemon"}}"#)];
        let developed = developed(&files, command);
        let web = &developed.plan.services[0];
        assert_eq!((&web.watch, web.waits_for_change), (&None, false), "{command}");
        let note =
            format!("web reloads itself ({sign}): everup leaves that to it; give it `watch:` to have everup do it");
        assert_eq!(developed.notes, [note], "{command}");
    }
    for command in [
        "python manage.py runserver --noreload",
        "python manage.py migrate",
        "flask run",
        "flask run --debug --no-reload",
        "FLASK_DEBUG=0 flask run\n    shell: true",
        "node app.js --watch",
        "vite build",
        "vite preview",
        "next start",
        "cargo run -- watch",
        "npm run ok",
        "npm run loop",
        "npm run nope",
        "npm ci",
        "yarn",
        "uvicorn app:app",
        "echo --reload",
    ] {
        let developed = developed(&[("package.json", scripts)], command);
        assert!(developed.plan.services[0].watch.is_some(), "{command}: {:?}", developed.notes);
    }
}

#[test]
fn what_the_file_says_stays_and_gets_the_check_of_the_language() {
    let plan = good(
        "watch: always
services:
  a: {command: uvicorn a:b --reload, watch: [app, lib]}
  b: {command: python app.py, watch: {include: '*.x', check: none}}
  c: {command: python app.py, watch: {check: make, debounce: 1s}}
  d: {command: python app.py, watch: false}
  e: {command: python migrate.py, type: task}
  f: {command: redis-server}
  g: {command: redis-server, watch: redis.conf}",
    );
    let before = plan.clone();
    let developed = develop(plan, &around());
    let plan = &developed.plan;
    assert_eq!(plan.watch, WatchWhen::Always);
    let checks: Vec<String> =
        plan.services.iter().map(|one| one.watch.as_ref().map_or_else(|| "unwatched".to_owned(), check_of)).collect();
    let python = "python3 -m py_compile {changed:*.py}";
    assert_eq!(checks, [python, "", "make", "unwatched", "unwatched", "unwatched", ""]);
    for (before, after) in before.services.iter().zip(&plan.services) {
        let without_check =
            |service: &ServicePlan| service.watch.clone().map(|watch| WatchPlan { check: vec![], ..watch });
        assert_eq!(without_check(before), without_check(after), "{}", before.name);
        assert_eq!(after.dev_defaults, DevDefaults::Nothing, "{}", before.name);
    }
    let again = develop(plan.clone(), &around());
    assert_eq!(&again.plan, plan);
    assert_eq!(good(&show(plan, None)).services[1].watch, plan.services[1].watch);
    assert_eq!(
        developed.notes,
        [
            "a: watches app, lib; check: python3 -m py_compile",
            "b: watches *.x here",
            "c: watches everything here that is not ignored; check: make",
            "f is not watched: redis-server runs no code of yours; give it `watch:` if it does",
            "g: watches redis.conf",
        ]
    );
}

#[test]
fn the_notes_say_what_is_watched() {
    for (files, command, notes) in [
        (
            &[(".venv/bin/python", "")][..],
            ".venv/bin/python app.py",
            &["web: watches *.py, *.toml, .env here; check: .venv/bin/python -m py_compile"][..],
        ),
        (&[], "ruby app.rb", &["web: watches everything here that is not ignored"]),
        (&[], "cargo run\n    cwd: api", &["web: watches *.rs, Cargo.toml, Cargo.lock in api; check: cargo build"]),
        (
            &[("app.py", "import tornado.web\nApplication([], debug = True)")],
            "python app.py",
            &[
                "web: watches *.py, *.toml, .env here; check: python -m py_compile",
                "web: app.py reloads itself too (debug=True); with autoreload=False only everup does",
            ],
        ),
        (
            &[("app.py", "from flask import Flask\napp.run(debug=True, use_reloader=False)")],
            "python app.py",
            &["web: watches *.py, *.toml, .env here; check: python -m py_compile"],
        ),
    ] {
        assert_eq!(developed(files, command).notes, notes, "{command}");
    }
}

#[test]
fn one_program_is_developed_without_a_file() {
    let folder = folder(&[("config.ini", ""), ("lib/x.py", "")]);
    let options = RunOptions {
        command: ["python", "app.py"].map(str::to_owned).into(),
        folder: folder.path().to_owned(),
        stop: Some("INT".to_owned()),
        ..RunOptions::default()
    };
    let plan = wrap_dev(&options, &around()).unwrap();
    let app = &plan.services[0];
    assert_eq!((plan.project.as_str(), &plan.exit_with, &plan.file), ("app", &None, &None));
    assert_eq!(plan.state_dir, folder.path().join(".everup/app"));
    assert_eq!((app.restart.policy, app.restart.limit.then), (Policy::OnFailure, LimitThen::Slow));
    assert!(app.restart.rules.is_empty());
    let developed = develop(plan, &around());
    assert_eq!(developed.notes, ["app: watches *.py, *.toml, .env here; check: python -m py_compile"]);
    assert!(developed.plan.services[0].waits_for_change);

    let watch = ["lib", "config.ini"].map(Into::into).into();
    let options = RunOptions { watch, ..options };
    for plan in [wrap(&options, &around()).unwrap(), wrap_dev(&options, &around()).unwrap()] {
        let app = &plan.services[0];
        let watch = app.watch.clone().unwrap();
        assert_eq!(watch.paths, ["lib", "config.ini"].map(|name| folder.path().join(name)));
        assert_eq!(watch.include, ["*.py", "*.toml", ".env"]);
        assert_eq!(check_of(&watch), "python -m py_compile {changed:*.py}");
        assert!(!app.waits_for_change);
    }
    let text = wrap_dev(&RunOptions { port: Some("0".to_owned()), ..options }, &around()).unwrap_err().to_string();
    assert!(text.contains("everup dev:"), "{text}");
}

#[test]
fn a_plan_of_paths_alone_is_what_the_file_says_with_paths_alone() {
    assert_eq!(service("watch: .").watch, Some(WatchPlan::new(vec!["/srv/shop".into()])));
}
