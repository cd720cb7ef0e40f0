//! `watch`, `reload` and `listen`: what they may say, and what not.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::refused::{Case, hold};
use super::{around, good, read_in, service};
use crate::config::check;
use crate::model::plan::{ListenAddress, ReloadPlan, ServicePlan};
use crate::model::signal::Signal;
use crate::model::template::{Slots, Template};
use crate::model::watch::{CheckWord, DevDefaults, WatchPlan, WatchWhen};

const REFUSED: &[Case] = &[
    (
        "watch: sometimes\nservices: {web: {command: x}}",
        "1:8+9",
        "watch",
        "expected dev or always, found \"sometimes\"",
        "",
    ),
    (
        "services: {web: {command: x, watch: true}}",
        "1:37+4",
        "services.web.watch",
        "expected paths, found true",
        "write `.` for the folder it runs in",
    ),
    (
        "services: {web: {command: x, watch: []}}",
        "1:37+2",
        "services.web.watch",
        "expected a path, found an empty list",
        "write `watch: false` to watch nothing",
    ),
    (
        "services: {web: {command: x, watch: ['']}}",
        "1:38+2",
        "services.web.watch[0]",
        "expected a path, found an empty text",
        "",
    ),
    (
        "services: {web: {command: x, watch: [{a: b}]}}",
        "1:38+6",
        "services.web.watch[0]",
        "expected a path, found a map",
        "",
    ),
    (
        "services: {web: {command: x, watch: {path: app}}}",
        "1:38+4",
        "services.web.watch.path",
        "unknown key `path`",
        "did you mean `paths`?",
    ),
    (
        "services: {web: {command: x, watch: {exclude: app}}}",
        "1:38+7",
        "services.web.watch.exclude",
        "unknown key `exclude`",
        "everup calls it `ignore`",
    ),
    (
        "services: {web: {command: x, watch: {debounce: 20}}}",
        "1:48+2",
        "services.web.watch.debounce",
        "cannot read \"20\" as a duration: write a number with ms, s, m, h or d, such as 250ms or 1h30m",
        "write `20s` for seconds",
    ),
    (
        "services: {web: {command: x, watch: {gitignore: no}}}",
        "1:49+2",
        "services.web.watch.gitignore",
        "expected true or false, found \"no\"",
        "write `false`",
    ),
    (
        "services: {web: {command: x, watch: {include: ['*.[py']}}}",
        "1:48+7",
        "services.web.watch.include[0]",
        "cannot read \"*.[py\" as a glob: its [ is never closed",
        "",
    ),
    (
        "services: {web: {command: x, watch: {ignore: ['#a']}}}",
        "1:47+4",
        "services.web.watch.ignore[0]",
        "cannot read \"#a\" as a glob: what begins with # is a comment; write \\#",
        "",
    ),
    (
        "services: {web: {command: x, watch: {ignore: ''}}}",
        "1:46+2",
        "services.web.watch.ignore",
        "cannot read \"\" as a glob: it is empty",
        "",
    ),
    (
        "services: {web: {command: x, watch: {check: 'a && b'}}}",
        "1:48+2",
        "services.web.watch.check",
        "`&&` is for a shell, and this command runs without one",
        "run it by a shell as a list: [sh, -c, \"…\"]",
    ),
    (
        "services: {web: {command: x, watch: {check: 'a {changed} {file}'}}}",
        "1:45+20",
        "services.web.watch.check",
        "cannot use two kinds of placeholder in one check",
        "{changed} stands for all files at once, {file} runs it once for each",
    ),
    (
        "services: {web: {command: x, watch: {check: 'a {file:*.js} {file:*.ts}'}}}",
        "1:45+27",
        "services.web.watch.check",
        "cannot use two kinds of placeholder in one check",
        "{changed} stands for all files at once, {file} runs it once for each",
    ),
    (
        "services: {web: {command: x, watch: {check: '{file}'}}}",
        "1:45+8",
        "services.web.watch.check",
        "expected a program, found the files it is to check",
        "",
    ),
    (
        "services: {web: {command: x, watch: {check: 'a {changed:*.py, *.pyi}'}}}",
        "1:48+14",
        "services.web.watch.check",
        "cannot read \"{changed:*.py,\" as a placeholder: it is never closed",
        "write {changed:*.js,*.mjs}, without blanks",
    ),
    (
        "services: {web: {command: x, watch: {check: 'a {changed:}'}}}",
        "1:48+10",
        "services.web.watch.check",
        "cannot read \"{changed:}\" as a placeholder: it is empty",
        "write {changed:*.js,*.mjs}, without blanks",
    ),
    (
        "services: {web: {command: x, watch: {check: {}}}}",
        "1:45+2",
        "services.web.watch.check",
        "expected a command: a text, or a list of texts, found a map",
        "",
    ),
    (
        "services: {web: {command: x, reload: handoff}}",
        "1:38+7",
        "services.web.reload",
        "`handoff` is not in this version yet",
        "remove it: a later version of everup takes it",
    ),
    (
        "services: {web: {command: x, reload: {how: handoff}}}",
        "1:44+7",
        "services.web.reload.how",
        "`handoff` is not in this version yet",
        "remove it: a later version of everup takes it",
    ),
    (
        "services: {web: {command: x, reload: {drain: 30s}}}",
        "1:39+5",
        "services.web.reload.drain",
        "`drain` is not in this version yet",
        "remove it: a later version of everup takes it",
    ),
    (
        "services: {web: {command: x, reload: {how: restart, soak: 10s}}}",
        "1:53+4",
        "services.web.reload.soak",
        "`soak` is not in this version yet",
        "remove it: a later version of everup takes it",
    ),
    (
        "services: {web: {command: x, reload: HUP}}",
        "1:38+3",
        "services.web.reload",
        "expected restart, or a signal such as `signal HUP`, found \"HUP\"",
        "write `signal HUP`",
    ),
    (
        "services: {web: {command: x, reload: signal}}",
        "1:38+6",
        "services.web.reload",
        "expected restart, or a signal such as `signal HUP`, found \"signal\"",
        "name the signal: `signal HUP`",
    ),
    (
        "services: {web: {command: x, reload: signal HPU}}",
        "1:38+10",
        "services.web.reload",
        "cannot read \"HPU\" as a signal: write a name such as TERM, INT or HUP, or its number",
        "did you mean `HUP`?",
    ),
    (
        "services: {web: {command: x, reload: restrat}}",
        "1:38+7",
        "services.web.reload",
        "expected restart, or a signal such as `signal HUP`, found \"restrat\"",
        "did you mean `restart`?",
    ),
    (
        "services: {web: {command: x, reload: {signal: HUP}}}",
        "1:39+6",
        "services.web.reload.signal",
        "unknown key `signal`",
        "everup calls it `how`",
    ),
    (
        "services: {web: {command: x, listen: 127.0.0.1:80}}",
        "1:38+12",
        "services.web.listen",
        "expected sockets by name, found the text \"127.0.0.1:80\"",
        "give it a name: {http: 127.0.0.1:80}",
    ),
    (
        "services: {web: {command: x, listen: [127.0.0.1:80]}}",
        "1:38+14",
        "services.web.listen",
        "expected a map of names, each with HOST:PORT, [v6]:PORT or unix:PATH, found a list",
        "",
    ),
    (
        "services: {web: {command: x, listen: {http: }}}",
        "1:43+1",
        "services.web.listen.http",
        "expected HOST:PORT, [v6]:PORT or unix:PATH, found nothing",
        "",
    ),
    (
        "services: {web: {command: x, listen: {http: 8080}}}",
        "1:45+4",
        "services.web.listen.http",
        "cannot listen on \"8080\"",
        "write 127.0.0.1:8080",
    ),
    (
        "services: {web: {command: x, listen: {http: ':8080'}}}",
        "1:45+7",
        "services.web.listen.http",
        "cannot listen on \":8080\"",
        "write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
    ),
    (
        "services: {web: {command: x, listen: {http: '*:8080'}}}",
        "1:45+8",
        "services.web.listen.http",
        "cannot listen on \"*:8080\"",
        "write 127.0.0.1:8080, or 0.0.0.0:8080 for every interface",
    ),
    (
        "services: {web: {command: x, listen: {http: db.local:8080}}}",
        "1:45+13",
        "services.web.listen.http",
        "cannot listen on \"db.local:8080\"",
        "host names are not looked up: write an address, such as 127.0.0.1:8080",
    ),
    (
        "services: {web: {command: x, listen: {http: 127.0.0.1}}}",
        "1:45+9",
        "services.web.listen.http",
        "cannot listen on \"127.0.0.1\"",
        "write a port too, such as 127.0.0.1:9876",
    ),
    (
        "services: {web: {command: x, listen: {http: '::1'}}}",
        "1:45+5",
        "services.web.listen.http",
        "cannot listen on \"::1\"",
        "write a port too, such as [::1]:9876",
    ),
    (
        "services: {web: {command: x, listen: {http: 127.0.0.1:0}}}",
        "1:45+11",
        "services.web.listen.http",
        "cannot listen on \"127.0.0.1:0\": nobody would know its port",
        "write a port from 1 to 65535",
    ),
    (
        "services: {web: {command: x, listen: {http: 127.0.0.1:99999}}}",
        "1:45+15",
        "services.web.listen.http",
        "cannot listen on \"127.0.0.1:99999\"",
        "write an address and a port, such as 127.0.0.1:9876 or [::1]:9876",
    ),
    (
        "services: {web: {command: x, listen: {http: 'unix:'}}}",
        "1:45+7",
        "services.web.listen.http",
        "cannot listen on \"unix:\": it has no path",
        "write unix:run/web.sock",
    ),
    (
        "services: {web: {command: x, port: 80, listen: {http: '127.0.0.1:${PORT}'}}}",
        "1:66+7",
        "services.web.listen.http",
        "cannot use ${PORT} here: it differs between instances",
        "it can be used in command, env, health, hooks and stop.command",
    ),
    (
        "services: {web: {command: x, listen: {ht-tp: 127.0.0.1:80}}}",
        "1:39+5",
        "services.web.listen.ht-tp",
        "cannot use \"ht-tp\" as a socket's name: it consists of letters, digits and '_' (found '-')",
        "write `ht_tp`",
    ),
    (
        "services: {web: {command: x, listen: {'a:b': 127.0.0.1:80}}}",
        "1:39+5",
        "services.web.listen.a:b",
        "cannot use \"a:b\" as a socket's name: it consists of letters, digits and '_' (found ':')",
        "write `a_b`",
    ),
    (
        "services: {web: {command: x, listen: {http: 127.0.0.1:80, two: 127.0.0.1:80}}}",
        "1:64+12",
        "services.web.listen.two",
        "127.0.0.1:80 is taken by `listen.http` of `web` already",
        "it stands on line 1",
    ),
    (
        "services:\n  a: {command: x, listen: {http: 0.0.0.0:80}}\n  b: {command: x, listen: {http: 127.0.0.1:80}}",
        "3:34+12",
        "services.b.listen.http",
        "127.0.0.1:80 is taken by `listen.http` of `a` already",
        "it stands on line 2",
    ),
    (
        "services:\n  a: {command: x, listen: {http: 127.0.0.1:80}}\n  b: {command: x, listen: {http: 0.0.0.0:80}}",
        "3:34+10",
        "services.b.listen.http",
        "0.0.0.0:80 is taken by `listen.http` of `a` already",
        "it stands on line 2",
    ),
    (
        "services:\n  a: {command: x, listen: {http: 127.0.0.1:81}}\n  b: {command: x, port: 80, instances: 2}",
        "3:25+2",
        "services.b.port",
        "port 81 (80 to 81) is taken by `listen.http` of `a` already",
        "it stands on line 2",
    ),
    (
        "services:\n  a: {command: x, port: 80, instances: 2}\n  b: {command: x, listen: {http: '[::1]:81'}}",
        "3:34+10",
        "services.b.listen.http",
        "[::1]:81 is taken by `a` already",
        "it stands on line 2",
    ),
    (
        "web: {listen: 127.0.0.1:90}\nservices:\n  b: {command: x, listen: {http: '127.0.0.1:90'}}",
        "3:34+14",
        "services.b.listen.http",
        "127.0.0.1:90 is taken by `web.listen` already",
        "it stands on line 1",
    ),
    (
        "web: {listen: 127.0.0.1:90}\nservices:\n  b: {command: x, port: 90}",
        "3:25+2",
        "services.b.port",
        "port 90 is taken by `web.listen` already",
        "it stands on line 1",
    ),
    (
        "services:\n  a: {command: x, listen: {s: unix:run/a}}\n  b: {command: x, listen: {s: unix:/srv/shop/./run/a}}",
        "3:31+22",
        "services.b.listen.s",
        "unix:/srv/shop/run/a is taken by `listen.s` of `a` already",
        "it stands on line 2",
    ),
    (
        "services: {web: {command: 'x ${FD_htp}', listen: {http: 127.0.0.1:80}}}",
        "1:30+9",
        "services.web.command",
        "`FD_htp` is not set",
        "did you mean `FD_http`?",
    ),
    (
        "services: {web: {command: 'x ${FD_admin}', listen: {http: 127.0.0.1:80}}}",
        "1:30+11",
        "services.web.command",
        "`FD_admin` is not set",
        "`listen` gives FD_http",
    ),
    (
        "services: {web: {command: 'x $FD_http'}}",
        "1:30+8",
        "services.web.command",
        "`FD_http` is not set",
        "it is the descriptor of a socket that `listen` names: `listen: {http: 127.0.0.1:8888}`",
    ),
];

#[test]
fn what_cannot_be_watched_or_held_names_its_place_and_what_to_write_instead() {
    hold(REFUSED);
}

fn watched(keys: &str) -> (WatchPlan, DevDefaults) {
    let web = service(keys);
    (web.watch.expect(keys), web.dev_defaults)
}

fn check_of(check: &str) -> Vec<CheckWord> {
    watched(&format!("watch: {{check: {check}}}")).0.check
}

fn text(word: &str) -> CheckWord {
    CheckWord::Text(Template::text(word))
}

fn globs<const N: usize>(globs: [&str; N]) -> Vec<String> {
    globs.map(str::to_owned).into()
}

#[test]
fn watch_is_a_path_a_list_of_them_or_a_map_relative_to_the_folder_it_runs_in() {
    let usual = WatchPlan {
        paths: vec!["/srv/shop/api".into()],
        include: vec![],
        ignore: vec![],
        gitignore: true,
        debounce: Duration::from_millis(20),
        check: vec![],
        poll: false,
    };
    for (keys, paths) in [
        ("watch: app", &["/srv/shop/api/app"][..]),
        ("watch: [app, ./lib, /etc/shop.conf, app]", &["/srv/shop/api/app", "/srv/shop/api/lib", "/etc/shop.conf"]),
        ("watch: .", &["/srv/shop/api"]),
        ("watch: {}", &["/srv/shop/api"]),
        ("watch: {paths: app}", &["/srv/shop/api/app"]),
        ("watch: {paths: [none]}", &["/srv/shop/api/none"]),
        ("watch: ${NOPE:-app}", &["/srv/shop/api/app"]),
    ] {
        let expected = WatchPlan { paths: paths.iter().map(PathBuf::from).collect(), ..usual.clone() };
        assert_eq!(watched(&format!("cwd: api\n{keys}")), (expected, DevDefaults::Check), "{keys}");
    }
    let (plan, _) =
        watched("watch: {include: '*.py', ignore: [a, '!b/{c,d}/[]x]'], gitignore: false, debounce: 0ms, poll: true}");
    let expected = WatchPlan {
        paths: vec!["/srv/shop".into()],
        include: globs(["*.py"]),
        ignore: globs(["a", "!b/{c,d}/[]x]"]),
        gitignore: false,
        debounce: Duration::ZERO,
        poll: true,
        ..usual
    };
    assert_eq!(plan, expected);
}

#[test]
fn what_dev_adds_depends_on_what_the_file_says() {
    for (keys, watches, dev) in [
        ("enabled: true", false, DevDefaults::Whole),
        ("watch: null", false, DevDefaults::Whole),
        ("watch: false", false, DevDefaults::Nothing),
        ("watch: none", false, DevDefaults::Nothing),
        ("watch: app", true, DevDefaults::Check),
        ("watch: {poll: true}", true, DevDefaults::Check),
        ("watch: {check: null}", true, DevDefaults::Check),
        ("watch: {check: none}", true, DevDefaults::Nothing),
        ("watch: {check: false}", true, DevDefaults::Nothing),
        ("watch: {check: make}", true, DevDefaults::Nothing),
    ] {
        let web = service(keys);
        assert_eq!((web.watch.is_some(), web.dev_defaults), (watches, dev), "{keys}");
    }
    let plan = good(
        "defaults: {watch: {ignore: tmp}}\nservices: {a: {command: x, watch: {poll: true}}, b: {command: x, watch: false}}",
    );
    let a = plan.services[0].watch.as_ref().unwrap();
    assert_eq!((a.ignore.as_slice(), a.poll, &plan.services[1].watch), (globs(["tmp"]).as_slice(), true, &None));
}

#[test]
fn placeholders_of_a_check_are_whole_words() {
    let py = || globs(["*.py", "*.pyi"]);
    for (check, words) in [
        ("make test", vec![text("make"), text("test")]),
        ("x {changed}", vec![text("x"), CheckWord::Changed(vec![])]),
        ("x {changed:*.py,*.pyi}", vec![text("x"), CheckWord::Changed(py())]),
        ("x '{changed:*.py,*.pyi}'", vec![text("x"), CheckWord::Changed(py())]),
        ("'x {changed:*.{js,ts},src/a} {changed}'", {
            vec![text("x"), CheckWord::Changed(globs(["*.{js,ts}", "src/a"])), CheckWord::Changed(vec![])]
        }),
        ("[x, '{file:*.js}', '{file:*.js}', 'a {file} b']", {
            let file = || CheckWord::File(globs(["*.js"]));
            vec![text("x"), file(), file(), text("a {file} b")]
        }),
        ("x {} {x} a{changed} {files} {changed", {
            ["x", "{}", "{x}", "a{changed}", "{files}", "{changed"].map(text).into()
        }),
    ] {
        // A text that holds braces stands in quotes within a map.
        let written = if check.starts_with(['[', '\'']) { check.to_owned() } else { format!("\"{check}\"") };
        assert_eq!(check_of(&written), words, "{check}");
    }
    let words = check_of("\"${HOME}/check $INDEX\"");
    assert_eq!(words[0], text("/home/me/check"));
    assert!(matches!(&words[1], CheckWord::Text(index) if index.to_string() == "${INDEX}"));
}

#[test]
fn code_is_swapped_by_a_restart_or_by_a_signal() {
    for (keys, reload) in [
        ("enabled: true", ReloadPlan::Restart),
        ("reload: restart", ReloadPlan::Restart),
        ("reload: {}", ReloadPlan::Restart),
        ("reload: signal HUP", ReloadPlan::Signal(Signal::HUP)),
        ("reload: signal  sigint", ReloadPlan::Signal(Signal::INT)),
        ("reload: {how: signal 15}", ReloadPlan::Signal(Signal::TERM)),
        ("reload: ${NOPE:-signal HUP}", ReloadPlan::Signal(Signal::HUP)),
    ] {
        assert_eq!(service(keys).reload, reload, "{keys}");
    }
}

#[test]
fn held_sockets_have_names_and_addresses_without_a_look_up() {
    let web = service(
        "listen: {http: localhost:8080, v6: \"[::1]:8080\", all: 0.0.0.0:80, all6: \"[::]:80\", a_1: unix:run/./a, b: unix:///run/b, C: \"10.0.0.1:${NOPE:-90}\"}",
    );
    let tcp = |text: &str| ListenAddress::Tcp(text.parse::<SocketAddr>().unwrap());
    let unix = |path: &str| ListenAddress::Unix(path.into());
    let found: Vec<(&str, &ListenAddress)> = web.listen.iter().map(|one| (one.name.as_str(), &one.address)).collect();
    let expected = [
        ("http", &tcp("127.0.0.1:8080")),
        ("v6", &tcp("[::1]:8080")),
        ("all", &tcp("0.0.0.0:80")),
        ("all6", &tcp("[::]:80")),
        ("a_1", &unix("/srv/shop/run/a")),
        ("b", &unix("/run/b")),
        ("C", &tcp("10.0.0.1:90")),
    ];
    assert_eq!(found, expected);
}

#[test]
fn the_descriptors_of_sockets_are_known_when_the_file_is_read() {
    let sockets = "listen: {http: 127.0.0.1:80, admin: unix:a.sock}";
    let slots = Slots { index: 1, port: None };
    let web = service(&format!(
        "command: x fd://${{FD_http}} $FD_admin ${{FD_nope:-9}}\n{sockets}\nstop: {{command: 'y $FD_http'}}"
    ));
    let words: Vec<String> = web.command.iter().map(|word| word.render(slots)).collect();
    assert_eq!((words.join(" ").as_str(), web.names_fds), ("x fd://3 4 9", true));
    assert_eq!(web.stop.command.unwrap()[1].render(slots), "3");
    for (keys, names) in [
        ("env: {A: '${FD_http}'}", true),
        ("command: x $A\nenv: {A: a}", false),
        ("command: sh $FD_http\nshell: true", true),
        ("env: {B: '$A', A: '${FD_admin}'}", true),
        ("command: x\nstop: {command: 'y $FD_http'}", false),
        ("hooks: {after_ready: 'y $FD_http'}", false),
        ("health: {exec: 'y $FD_http'}", false),
        ("watch: {check: 'y $FD_http'}", false),
    ] {
        let web: ServicePlan = service(&format!("{keys}\n{sockets}"));
        assert_eq!(web.names_fds, names, "{keys}");
    }
}

#[test]
fn the_same_port_on_other_interfaces_and_families_is_free() {
    good(
        "web: {listen: 127.0.0.1:90}
services:
  a: {command: x, listen: {http: 0.0.0.0:80, http6: '[::]:80', other: 127.0.0.2:90, u: unix:a}}
  b: {command: x, port: 81, instances: 9, listen: {u: unix:b}}",
    );
}

#[test]
fn a_path_that_is_not_there_and_a_window_that_up_does_not_take_are_noted() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("app")).unwrap();
    let file = folder.path().join("supervisor.yaml");
    for (text, notes) in [
        ("services: {web: {command: x, watch: [app, ap]}}", &["`ap` is not there"][..]),
        ("services: {web: {command: x, watch: {debounce: 1s}}}", &[]),
        ("watch: dev\nservices: {web: {command: x, watch: {debounce: 1s}}}", &[]),
        (
            "watch: always\nservices: {web: {command: x, watch: {debounce: 1s}}}",
            &["under `up` a change counts once nothing has changed for at least 2s"],
        ),
        ("watch: always\nservices: {web: {command: x, watch: {debounce: 2s}}, b: {command: x, watch: app}}", &[]),
    ] {
        std::fs::write(&file, text).unwrap();
        let (plan, diagnostics) = check(&file, &around());
        assert!(plan.is_some() && diagnostics.is_valid(), "{text}: {diagnostics}");
        let found: Vec<&str> = diagnostics.list().iter().map(|one| one.message.as_str()).collect();
        assert_eq!(found, notes, "{text}");
    }
    let plan = read_in(Path::new("/srv"), "watch: always\nservices: {web: {command: x}}").unwrap();
    assert_eq!((plan.watch, good("services: {web: {command: x}}").watch), (WatchWhen::Always, WatchWhen::Dev));
}
