//! The status page in a real browser: Chromium, driven by the scripts of `tests/peers/page`.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::support::{Project, free_port, get, kill, python, text, wait_for};

const TOKEN: &str = "open-sesame-1234";

const APP: &str = r#"
import http.server, os, sys
class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers(); self.wfile.write(b"ok")
    def log_message(self, form, *args):
        pass
print("\x1b[32mlistening\x1b[0m <script>alert(1)</script>", flush=True)
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Health).serve_forever()
"#;

/// A project with a page, and services in all the states that matter.
fn project() -> (Project, u16) {
    let (port, app, twin) = (free_port(), free_port(), free_port());
    let python = python().display();
    let mut project = Project::new(&format!(
        "name: shop\nweb: {{listen: '127.0.0.1:{port}', token_file: token}}\nservices:\n  \
         app: {{command: '{python} app.py', port: {app}, restart: {{delay: 10ms}}, health: {{http: 'http://127.0.0.1:${{PORT}}/', interval: 1s}}}}\n  \
         twin: {{command: sleep 1000, instances: 2, port: {twin}}}\n  \
         crasher: {{command: \"sh -c 'echo boom >&2; exit 3'\", restart: {{delay: 10ms, limit: {{count: 2, within: 1m, then: stop}}}}}}\n  \
         held: {{command: sleep 1000}}\n  \
         waits: {{command: sleep 1000, needs: {{slow: ready}}}}\n  \
         slow: {{command: sleep 1000, health: {{exec: 'false', interval: 1s, start_timeout: 1h}}}}\n"
    ));
    project.write("token", TOKEN);
    project.write("app.py", APP);
    project.start(&["up"]);
    project.wait_service("app", "to be healthy", |service| service["healthy"] == true);
    project.wait_service("crasher", "to fail", |service| service["state"] == "failed");
    project.ok(&["stop", "held"]);
    (project, port)
}

/// A script of `tests/peers/page` on its way.
struct Check {
    child: Child,
    log: std::path::PathBuf,
}

impl Check {
    fn start(project: &Project, name: &str, port: u16) -> Self {
        project.write("wishes", "");
        let log = project.path("check.log");
        let out = fs::File::create(&log).expect("a file");
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/page/check.mjs");
        let child = Command::new("node")
            .arg(script)
            .args([name, &format!("http://127.0.0.1:{port}"), TOKEN])
            .arg(project.path("wishes"))
            .stdin(Stdio::null())
            .stdout(out.try_clone().expect("a file"))
            .stderr(out)
            .spawn()
            .expect("node runs: tests/peers/setup installs it");
        Self { child, log }
    }

    /// Does what the script asks for until it ends, which must be well.
    fn finish(mut self, mut project: Project) -> Project {
        let (mut done, mut ended) = (0, None);
        while ended.is_none() {
            let mut wish = None;
            wait_for("the browser to be through or to ask for something", || {
                ended = self.child.try_wait().expect("a child of ours");
                let wishes = project.read("wishes");
                wish = wishes.split_inclusive('\n').filter(|line| line.ends_with('\n')).nth(done).map(str::to_owned);
                ended.is_some() || wish.is_some()
            });
            if let Some(wish) = wish.filter(|_| ended.is_none()) {
                done += 1;
                fulfil(&mut project, wish.trim());
            }
        }
        let told = fs::read_to_string(&self.log).unwrap_or_default();
        assert!(ended.is_some_and(|status| status.success()), "{told}\n{}", project.read("everup.stderr"));
        project
    }
}

impl Drop for Check {
    fn drop(&mut self) {
        // It closes its browser when it is asked to end.
        if self.child.try_wait().ok().flatten().is_none() {
            let pid = nix::unistd::Pid::from_raw(i32::try_from(self.child.id()).expect("a pid fits"));
            let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

fn fulfil(project: &mut Project, wish: &str) {
    let words: Vec<&str> = wish.split(' ').collect();
    match words.as_slice() {
        ["kill", name] => kill(project, project.pid(name), 9),
        ["runs", name] => assert!(project.service(name)["state"] == "running", "{name} was stopped"),
        ["sync"] => {}
        ["everup", "down"] => {
            project.ok(&["down"]);
            project.wait_end();
        }
        ["everup", "up"] => project.start(&["up"]),
        verb => drop(project.ok(verb)),
    }
}

fn passes(name: &str) {
    let (project, port) = project();
    Check::start(&project, name, port).finish(project);
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn the_table_shows_every_instance_and_is_reached_by_keyboard() {
    passes("table");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn what_happens_is_seen_without_loading_the_page_again() {
    passes("live");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn a_service_has_a_page_of_its_own() {
    passes("service");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn without_javascript_everything_can_be_read() {
    passes("scriptless");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn nothing_keeps_people_from_using_it_in_any_light_width_or_language() {
    passes("accessible");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn buttons_act_with_the_token_and_for_this_page_alone() {
    passes("actions");
}

#[test]
#[ignore = "needs Chromium and Node: tests/peers/setup installs them"]
fn the_page_finds_back_to_an_everup_that_was_away() {
    passes("away");
}

#[test]
fn the_page_is_served_and_everup_says_where() {
    let (project, port) = project();
    let url = project.ok(&["web"]);
    assert_eq!(url.trim(), format!("http://127.0.0.1:{port}/"));
    let (status, page) = get(port, "/").expect("the page");
    assert!(status == 200 && page.contains("data-instance=\"twin/2\""), "{page}");
    let (status, page) = get(port, "/s/app").expect("a service's page");
    assert!(status == 200 && page.contains("listening &lt;script&gt;") && !page.contains("\x1b["), "{page}");
    // A browser that cannot be opened is said so, with what to do.
    let failed =
        project.command(&["web", "--open"]).env("BROWSER", "/nonexistent/browser").env("PATH", "/nonexistent").output();
    let failed = failed.expect("everup runs");
    assert_eq!(failed.status.code(), Some(1));
    assert!(
        text(&failed.stderr).contains("cannot open a browser") && text(&failed.stderr).contains(url.trim()),
        "{failed:?}"
    );
    project.write("browser", "#!/bin/sh\necho \"$1\" > opened\n");
    fs::set_permissions(project.path("browser"), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let opened = project.command(&["web", "--open"]).env("BROWSER", "./browser").output().expect("everup runs");
    assert!(opened.status.success(), "{opened:?}");
    assert_eq!(project.read("opened").trim(), url.trim());
}

#[test]
fn where_there_is_no_page_everup_says_what_to_write() {
    let project = Project::up("services: {app: {command: sleep 1000}}\n");
    let output = project.everup(&["web"]);
    assert_eq!(output.status.code(), Some(1));
    let told = text(&output.stderr);
    assert!(told.contains("web.listen is not set") && told.contains("web: {listen: 127.0.0.1:9876}"), "{told}");
}
