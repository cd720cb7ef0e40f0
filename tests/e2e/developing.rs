//! Real servers under `everup dev`: saved, broken and mended; a debugger, keys, and wrappers.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Project, data, free_port, get, python, take_ones_time, text, wait_for};

const TORNADO: &str = "\
import asyncio, sys, tornado.web
class Main(tornado.web.RequestHandler):
    def get(self):
        self.write('VERSION')
async def main():
    tornado.web.Application([('/', Main)]).listen(int(sys.argv[1]), '127.0.0.1')
    await asyncio.Event().wait()
asyncio.run(main())
";
const ASGI: &str = "\
async def app(scope, receive, send):
    if scope['type'] == 'http':
        await send({'type': 'http.response.start', 'status': 200, 'headers': [(b'content-length', b'%d' % len('VERSION'))]})
        await send({'type': 'http.response.body', 'body': b'VERSION'})
";
const WSGI: &str = "\
def app(environ, start_response):
    start_response('200 OK', [('Content-Length', str(len('VERSION')))])
    return [b'VERSION']
";
const FLASK: &str = "\
import flask
app = flask.Flask(__name__)
@app.get('/')
def main():
    return 'VERSION'
";
const NODE: &str = "\
require('http').createServer((q, r) => r.end('VERSION')).listen(Number(process.env.PORT), '127.0.0.1')
";

fn wait_version(port: u16, version: &str) {
    wait_for(&format!("{version} to be served"), || get(port, "/").is_some_and(|(_, body)| body == version));
}

/// Saved, broken by a typing mistake, broken at its start, mended: what is served is the last one that could be.
fn save_break_and_mend(
    file: &str,
    source: &str,
    broken: [&str; 2],
    port: u16,
    command: &[&str],
    more: &[&str],
) -> Project {
    let mut project = Project::bare();
    let save = |project: &Project, version: &str| project.write(file, &source.replace("VERSION", version));
    save(&project, "one");
    let port_text = port.to_string();
    let mut args = vec!["dev", "--name", "web", "--port", &port_text];
    args.extend(more);
    args.push("--");
    args.extend(command);
    project.start(&args);
    wait_version(port, "one");
    save(&project, "two");
    wait_version(port, "two");
    project.write(file, broken[0]);
    project.wait_service("web", "to refuse what cannot be read", |web| web["reload"]["last"] == "failed");
    assert!(project.service("web")["reload"]["message"].to_string().contains(file), "{:#}", project.service("web"));
    wait_version(port, "two");
    project.write(file, broken[1]);
    project.wait_service("web", "to wait for its mend", |web| web["state"] == "failed");
    assert!(
        project.service("web")["reason"].to_string().contains(&format!("{file}:1: ")),
        "{:#}",
        project.service("web")
    );
    save(&project, "three");
    wait_version(port, "three");
    let shown = project.read("everup.stderr");
    assert!(!shown.contains("in use"), "{shown}");
    project
}

const PYTHON_BROKEN: [&str; 2] = ["def broken(:\n", "import nowhere_to_be_found\n"];

#[test]
fn tornado() {
    let port = free_port();
    let python = python().display().to_string();
    let health = format!("http://127.0.0.1:{port}/");
    let command = [python.as_str(), "app.py", &port.to_string()];
    save_break_and_mend("app.py", TORNADO, PYTHON_BROKEN, port, &command, &["--health", &health]);
}

#[test]
fn uvicorn() {
    let port = free_port();
    let python = python().display().to_string();
    let command = [python.as_str(), "-m", "uvicorn", "--port", &port.to_string(), "app:app"];
    save_break_and_mend("app.py", ASGI, PYTHON_BROKEN, port, &command, &[]);
}

#[test]
fn flask() {
    let port = free_port();
    let python = python().display().to_string();
    let command = [python.as_str(), "-m", "flask", "run", "--port", &port.to_string()];
    save_break_and_mend("app.py", FLASK, PYTHON_BROKEN, port, &command, &[]);
}

#[test]
fn gunicorn() {
    let port = free_port();
    let gunicorn = python().with_file_name("gunicorn").display().to_string();
    let bind = format!("127.0.0.1:{port}");
    save_break_and_mend("app.py", WSGI, PYTHON_BROKEN, port, &[&gunicorn, "-b", &bind, "app:app"], &[]);
}

#[test]
#[ignore = "needs node: bash tests/peers/setup"]
fn node() {
    let broken = ["const a = ;\n", "nowhere_to_be_found()\n"];
    save_break_and_mend("app.js", NODE, broken, free_port(), &["node", "app.js"], &[]);
}

#[test]
#[ignore = "needs npm: bash tests/peers/setup"]
fn npm_start_never_finds_its_port_taken() {
    let port = free_port();
    let mut project = Project::bare();
    project.write("package.json", r#"{"name": "web", "version": "1.0.0", "scripts": {"start": "node app.js"}}"#);
    project.write("app.js", &NODE.replace("VERSION", "0"));
    project.start(&["dev", "--name", "web", "--port", &port.to_string(), "--", "npm", "start", "--silent"]);
    wait_version(port, "0");
    for version in 1..=50 {
        take_ones_time(version);
        project.write("app.js", &NODE.replace("VERSION", &version.to_string()));
        wait_version(port, &version.to_string());
    }
    let shown = project.read("everup.stderr") + &project.read("everup.stdout");
    assert!(!shown.contains("EADDRINUSE"), "{shown}");
}

#[test]
fn a_formatter_just_after_the_save_wins() {
    let port = free_port();
    let python = python().display().to_string();
    let mut project = Project::bare();
    let save = |project: &Project, version: &str| project.write("app.py", &TORNADO.replace("VERSION", version));
    save(&project, "one");
    project.start(&["dev", "--name", "web", "--", &python, "app.py", &port.to_string()]);
    wait_version(port, "one");
    save(&project, "unformatted");
    // It comes while the reload is under way, however fast that is.
    wait_for("the reload to begin", || project.events().iter().any(|event| event["event"] == "reload_started"));
    save(&project, "formatted");
    wait_version(port, "formatted");
    project.wait_service("web", "to be at rest", |web| web["state"] == "running" && web["reload"]["last"] == "ok");
    wait_version(port, "formatted");
}

/// Runs `everup dev` on a pseudo-terminal with these steps of `pty.py`, while `beside` saves files.
fn on_a_terminal(project: &Project, dev: &[&str], steps: &[&str], beside: impl FnOnce()) -> Value {
    let everup = project.command(&[&["dev"], dev].concat());
    let mut command = Command::new("python3");
    command.arg(data("pty.py")).args(steps).arg("--").arg(everup.get_program()).args(everup.get_args());
    command.current_dir(project.folder.path()).envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python3 runs");
    beside();
    let output = child.wait_with_output().expect("its output");
    let told: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert!(told["failed"].is_null(), "{} did not come: {told:#}", told["failed"]);
    assert_eq!(told["restored"], true, "{told:#}");
    told
}

#[test]
fn a_breakpoint_is_no_hang_and_the_next_save_goes_past_it() {
    let project = Project::bare();
    let app = "\
import time
VERSION = 'one'
open('runs.log', 'a').write(VERSION + '\\n')
try:
    breakpoint()
    print(VERSION, 'went on', flush=True)
    time.sleep(3600)
finally:
    print('finally', 'ran', flush=True)
";
    project.write("app.py", app);
    let steps = [
        "expect:(Pdb) ",
        "send:n\n",
        "expect:(Pdb) ",
        "send:p VERSION * 2\n",
        "expect:oneone",
        "send:c\n",
        "expect:two went on",
        "send:^C",
        "expect:finally ran",
    ];
    let told = on_a_terminal(&project, &["--name", "app", "--", "python3", "app.py"], &steps, || {
        wait_for("the first run to go on", || text(&project.everup(&["logs", "app"]).stdout).contains("(Pdb) c"));
        project.write("app.py", &app.replace("'one'", "'two'").replace("    breakpoint()\n", ""));
    });
    assert_eq!(project.read("runs.log"), "one\ntwo\n", "{told:#}");
    assert_eq!(told["code"], 130, "as python ends by Ctrl-C: {told:#}");
}

#[test]
fn with_several_services_keys_are_commands() {
    let project = Project::bare();
    let service = |name: &str| {
        format!("  {name}: {{command: [sh, -c, 'echo {name} runs; exec sleep 3600'], watch: [nothing]}}\n")
    };
    project.write("supervisor.yaml", &format!("services:\n{}{}", service("web"), service("api")));
    let steps =
        ["expect:r restart", "expect:web runs", "send:s", "expect:UPTIME", "send:r", "expect:web runs", "send:q"];
    let told = on_a_terminal(&project, &[], &steps, || {});
    assert_eq!(told["code"], 0, "{told:#}");
    let shown = told["output"].to_string();
    assert!(shown.contains("web | ") || shown.contains("web |"), "{shown}");
}
