//! `show` and `init`: what is written reads back.

use std::path::Path;

use super::{good, read_in};
use crate::config::{init, show};
use crate::model::names::ServiceName;

#[test]
fn what_is_shown_reads_back_as_the_same_plan() {
    for text in [
        include_str!("../../../tests/data/config/all-keys.yaml"),
        "services: {web: {command: x}}",
        "services: {web: {command: [x, '$$HOME', '${PORT}', 'a: b', '', '- c', '#d', \"e\\n\"], port: 80, logs: a$$b.log}}",
        "services: {web: {command: x, health: {notify: true}}, two: {command: y, health: unix:a.sock, restart: {delay: 2m}}}",
    ] {
        let plan = good(text);
        let shown = show(&plan, None);
        assert_eq!(good(&shown), plan, "{shown}");
    }
}

#[test]
fn secrets_are_hidden_wherever_they_went() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "PLAIN=fr0mfile\n").unwrap();
    let plan = read_in(
        folder.path(),
        "notify: [{webhook: 'https://me:hush@h.example/hook/xyzzy?k=1'}, {webhook: 'http://h.example/${HOME}'}, {exec: 'tell $API_KEY https://h.example/xyzzy'}]
services:
  web:
    command: x --key $API_KEY --db ${DB} --p ${PLAIN}
    env_file: .env
    env: {DB: 'postgres://u:passw0rd@h/d', AUTH_TOKEN: t0ken, LEVEL: info}
    health: {http: {url: 'http://h/?k=${AUTH_TOKEN}', headers: {Authorization: Bearer abcdef}}}",
    )
    .unwrap();
    for text in [show(&plan, None), format!("{plan:?}")] {
        for secret in ["s3cr3t", "passw0rd", "t0ken", "fr0mfile", "abcdef", "hush", "xyzzy", "k=1", "home/me"] {
            assert!(!text.contains(secret), "{secret}: {text}");
        }
    }
    let shown = show(&plan, None);
    for line in [
        "AUTH_TOKEN: <hidden>",
        "DB: <hidden>",
        "PLAIN: <hidden>",
        "LEVEL: info",
        "webhook: https://<hidden>h.example/<hidden>}",
        "[tell, <hidden>, https://h.example/<hidden>]",
        "[x, --key, <hidden>,",
    ] {
        assert!(shown.contains(line), "{line}: {shown}");
    }
}

#[test]
fn one_service_is_shown_alone() {
    let plan = good("services: {web: {command: x}, db: {command: serve it}}");
    let shown = show(&plan, Some(&ServiceName::new("db").unwrap()));
    assert!(shown.starts_with("db:\n  command: [serve, it]\n"), "{shown}");
    assert_eq!(show(&plan, Some(&ServiceName::new("nope").unwrap())), "");
}

#[test]
fn init_proposes_what_passes_the_check() {
    let cases: &[(&[(&str, &str)], &str)] = &[
        (&[], "command: ${EVERUP} demo-app --port ${PORT}"),
        (
            &[("Procfile", "web: gunicorn app:app --bind 0.0.0.0:$PORT\nworker: celery -A app worker && x\n# c: d\n")],
            "shell: true",
        ),
        (&[("Procfile", "we b!: A=$B x\nwe-b: y $HOME 'z'\n: q\n")], "name: "),
        (&[("package.json", "{\"scripts\": {\"start\": \"node x\"}}")], "command: npm start"),
        (&[("package.json", "{\"main\": \"index.js\"}"), ("index.js", "app.get('/healthz', f)")], "${PORT}/healthz"),
        (&[("manage.py", "")], "runserver --noreload 127.0.0.1:${PORT}"),
        (&[("app.py", "import tornado.web\n(r\"/health\", H)\napp.listen(8899)")], "port: 8899"),
        (&[("requirements.txt", "flask==3\n"), ("app.py", "x = 1")], "-m flask --app app run"),
        (&[("src/main.py", "from fastapi import FastAPI\napi = FastAPI()\n")], "uvicorn src.main:api --port ${PORT}"),
        (&[("main.py", "print(1)")], "python3 main.py"),
        (
            &[("Cargo.toml", "[package]\nname = \"shop\"\n[dependencies]\nname = \"x\""), ("src/main.rs", "")],
            "target/release/shop",
        ),
        (&[("go.mod", "module example.com/a/shop\n"), ("main.go", "")], "command: ./shop"),
        (
            &[("manage.py", ""), ("package.json", "{\"scripts\": {\"dev\": \"vite\"}}"), (".env", "A=1")],
            "env_file: .env",
        ),
        (&[("package.json", "not json"), ("Cargo.toml", "\u{0}"), ("go.mod", "")], "demo-app"),
    ];
    for (files, expected) in cases {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in *files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let proposal = init::propose(folder.path());
        assert!(proposal.text.contains(expected), "{expected}: {}", proposal.text);
        let plan = read_in(folder.path(), &proposal.text).unwrap_or_else(|error| panic!("{error}\n{}", proposal.text));
        assert_eq!(proposal.found.len(), if proposal.text.contains("demo-app") { 0 } else { plan.services.len() });
    }
}
