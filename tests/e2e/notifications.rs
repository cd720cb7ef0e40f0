//! Somebody is told: by a webhook that is slow, down and back, by a command, and never so that anything waits.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

use crate::support::{PATIENCE, Project, free_port, text, wait_for};

/// What a receiver does with a request.
#[derive(Clone, Copy)]
enum Answer {
    /// Answers with this status.
    Status(u16),
    /// Keeps the connection and says nothing.
    Nothing,
}

/// One request: its first line, and its body.
type Posted = (String, Value);

/// A webhook's other end.
struct Hook {
    port: u16,
    answer: Arc<Mutex<Answer>>,
    posted: Receiver<Posted>,
}

impl Hook {
    fn open(port: u16, answer: Answer) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", port)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, posted) = sync_channel(100);
        let answer = Arc::new(Mutex::new(answer));
        let how = answer.clone();
        // It ends with the test's process.
        thread::spawn(move || serve(&listener, &how, &sender));
        Self { port, answer, posted }
    }

    fn new() -> Self {
        Self::open(0, Answer::Status(200))
    }

    fn answers(&self, answer: Answer) {
        *self.answer.lock().expect("one holder") = answer;
    }

    /// The next request.
    #[track_caller]
    fn next(&self) -> Posted {
        self.posted.recv_timeout(PATIENCE).expect("a message")
    }

    /// The next message: what of, about whom.
    #[track_caller]
    fn told(&self) -> (String, String) {
        let (_, message) = self.next();
        let word = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
        (word("event"), word("instance"))
    }
}

fn serve(listener: &TcpListener, how: &Mutex<Answer>, sender: &SyncSender<Posted>) {
    let mut kept = vec![];
    for stream in listener.incoming() {
        let Ok(mut stream) = stream else { return };
        let Some(posted) = request(&mut stream) else { continue };
        match *how.lock().expect("one holder") {
            Answer::Status(status) => {
                let _ = write!(stream, "HTTP/1.1 {status} X\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
            }
            Answer::Nothing => kept.push(stream),
        }
        if sender.send(posted).is_err() {
            return;
        }
    }
}

fn request(stream: &mut TcpStream) -> Option<Posted> {
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut bytes = vec![];
    loop {
        let mut piece = [0; 4_096];
        let read = stream.read(&mut piece).ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&piece[..read]);
        let all = text(&bytes);
        let Some((head, body)) = all.split_once("\r\n\r\n") else { continue };
        let head = head.to_ascii_lowercase();
        let length: usize = head.split("content-length: ").nth(1)?.split("\r\n").next()?.parse().ok()?;
        if body.len() >= length {
            assert!(head.contains("content-type: application/json"), "{head}");
            let line = all.lines().next()?.to_owned();
            return Some((line, serde_json::from_str(body).expect("JSON")));
        }
    }
}

/// Fails after one restart, unless there is a file `NAME.ok`.
fn fragile(name: &str) -> String {
    format!(
        "  {name}:
    command: 'sh -c \"echo {name} says no >&2; test -f {name}.ok && exec sleep 1000; exit 3\"'
    restart: {{delay: 5ms, reset_after: 50ms, limit: {{count: 1, within: 1m, then: stop}}}}
"
    )
}

fn secret_free(project: &Project) {
    let outputs = [
        project.ok(&["config"]),
        project.ok(&["events", "--json"]),
        text(&project.everup(&["status", "--json"]).stdout),
        text(&project.everup(&["status"]).stdout),
        project.read(".everup/everup.log"),
        project.read("everup.stderr"),
    ];
    for output in outputs {
        assert!(!output.contains("s3cr3t"), "{output}");
    }
}

fn warning(project: &Project) -> Option<String> {
    let warnings = project.status()["warnings"].as_array().cloned().unwrap_or_default();
    let found = warnings.into_iter().find(|warning| warning["code"] == "not_notified");
    found.map(|warning| warning["message"].as_str().unwrap_or_default().to_owned())
}

fn notified(project: &Project) -> Vec<String> {
    let events = project.events();
    let told = events.iter().filter(|event| event["event"] == "notified");
    told.map(|event| event["message"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn trouble_is_told_once_with_its_reason_and_so_is_its_end() {
    let hook = Hook::new();
    let url = format!("http://127.0.0.1:{}/hook/s3cr3t", hook.port);
    let services = ["a", "b", "c"].map(fragile).concat();
    let yaml = format!("name: shop\nnotify: [{{webhook: '{url}'}}]\nservices:\n{services}");
    let mut project = Project::new(&yaml);
    project.start(&["up", "a", "b"]);
    let mut first = [hook.next(), hook.next()];
    first.sort_by_key(|(_, message)| message["service"].to_string());
    for ((line, message), name) in first.iter().zip(["a", "b"]) {
        assert_eq!(line, "POST /hook/s3cr3t HTTP/1.1");
        assert_eq!((&message["event"], &message["service"]), (&"failed".into(), &name.into()));
        let entry = &message["entries"][0];
        assert_eq!((&entry["cause"], &entry["code"]), (&"exit".into(), &3.into()), "{message:#}");
        assert_eq!(entry["last_lines"], serde_json::json!([format!("{name} says no")]));
        let expected = format!("{name} has failed: exit code 3; restarted once within 1m (shop on ");
        assert!(message["text"].as_str().is_some_and(|told| told.starts_with(&expected)), "{message:#}");
        // What `why` says is what was told.
        assert_eq!(*entry, project.why(name));
    }
    // It fails again: the same trouble. Whatever came of it went out before this first word about c.
    project.everup(&["start", "a"]);
    project.wait_service("a", "to have failed again", |a| a["state"] == "failed" && a["instances"][0]["run"] == 4);
    project.everup(&["start", "c"]);
    assert_eq!(hook.told(), ("failed".to_owned(), "c".to_owned()));
    for name in ["a", "b", "c"] {
        project.write(&format!("{name}.ok"), "");
    }
    project.ok(&["start", "a"]);
    assert_eq!(hook.told(), ("recovered".to_owned(), "a".to_owned()));
    // Within the same minute: held back.
    fs::remove_file(project.path("a.ok")).expect("the file is there");
    project.everup(&["restart", "a"]);
    project.wait_service("a", "to have failed anew", |a| a["state"] == "failed");
    // What a person does is no news.
    project.ok(&["stop", "b"]);
    project.ok(&["start", "c"]);
    assert_eq!(hook.told(), ("recovered".to_owned(), "c".to_owned()));
    wait_for("the events", || notified(&project).len() == 5);
    let target = format!("http://127.0.0.1:{}", hook.port);
    assert!(notified(&project).contains(&format!("a failed: told {target}")), "{:?}", notified(&project));
    secret_free(&project);
}

#[test]
fn a_receiver_that_is_down_or_refuses_is_told_later_and_status_says_so() {
    let port = free_port();
    let url = format!("http://127.0.0.1:{port}/s3cr3t");
    let project = Project::up(&format!("notify: [{{webhook: '{url}'}}]\nservices:\n{}", fragile("web")));
    wait_for("the warning", || warning(&project).is_some());
    let expected = format!("http://127.0.0.1:{port} is not told: connection refused (1 message waits)");
    assert_eq!(warning(&project), Some(expected));
    assert!(text(&project.everup(&["status"]).stderr).contains("is not told"), "people see it, too");
    let hook = Hook::open(port, Answer::Status(503));
    assert_eq!(hook.told().0, "failed");
    wait_for("the other reason", || warning(&project).is_some_and(|told| told.contains("503")));
    hook.answers(Answer::Status(204));
    assert_eq!(hook.told().0, "failed");
    wait_for("the end of the warning", || warning(&project).is_none());
    wait_for("the event", || notified(&project) == [format!("web failed: told http://127.0.0.1:{port}")]);
    // Another file, another target: taken over without a restart of anything.
    let other = Hook::open(0, Answer::Status(404));
    let url = format!("http://127.0.0.1:{}/s3cr3t", other.port);
    let entries = format!("[{{on: recovered, webhook: '{url}'}}]");
    project.write("supervisor.yaml", &format!("notify: {entries}\nservices:\n{}", fragile("web")));
    project.ok(&["up"]);
    project.write("web.ok", "");
    project.ok(&["start", "web"]);
    assert_eq!(other.told().0, "recovered");
    let given_up = format!("web recovered: could not tell http://127.0.0.1:{}: 404", other.port);
    wait_for("the failure", || notified(&project).iter().any(|told| told.starts_with(&given_up)));
    secret_free(&project);
}

#[test]
fn nothing_waits_for_a_receiver_that_hangs() {
    let hook = Hook::open(0, Answer::Nothing);
    let mut project = Project::new(&format!(
        "notify: [{{webhook: 'http://127.0.0.1:{}/s3cr3t'}}]
services:
  web:
    command: 'sh -c \"exit 1\"'
    restart: {{delay: 5ms, limit: {{count: 3, within: 1m}}, slow_delay: 20ms}}
  last:
    command: 'sh -c \"while test ! -f go; do sleep 0.02; done; exit 7\"'
    restart: {{limit: {{count: 1, within: 1m, then: exit}}, delay: 5ms}}
",
        hook.port
    ));
    project.start(&["up"]);
    assert_eq!(hook.told(), ("crash_looping".to_owned(), "web".to_owned()));
    // The receiver has the message and says nothing.
    let run = |project: &Project| project.instance("web", 0)["run"].as_u64().unwrap_or_default();
    let before = run(&project);
    wait_for("further restarts meanwhile", || run(&project) > before + 5);
    assert!(notified(&project).is_empty(), "{:?}", notified(&project));
    project.write("go", "");
    assert_eq!(project.wait_end(), Some(7));
    let told = notified(&project);
    let lost = |what: &str| told.iter().any(|told| told.starts_with(what) && told.contains("everup has ended"));
    assert!(lost("web crash_looping: could not tell") && lost("last failed: could not tell"), "{told:?}");
    secret_free(&project);
}

#[test]
fn the_last_words_of_an_everup_that_ends_arrive() {
    let hook = Hook::new();
    let project = Project::new(&format!(
        "notify:
  - webhook: http://127.0.0.1:{}
  - exec: [sh, -c, 'cat > told.json']
services:
  web: {{command: 'sh -c \"exit 7\"', restart: {{limit: {{count: 1, within: 1m, then: exit}}, delay: 5ms}}}}
",
        hook.port
    ));
    assert_eq!(project.everup(&["up"]).status.code(), Some(7));
    assert_eq!(hook.told(), ("failed".to_owned(), "web".to_owned()));
    let told: Value = serde_json::from_str(&project.read("told.json")).expect("JSON");
    assert_eq!((&told["service"], &told["entries"][0]["code"]), (&"web".into(), &7.into()));
}

#[test]
fn a_kill_for_memory_is_told_with_its_proof() {
    let hook = Hook::new();
    let project = Project::up(&format!(
        "name: shop
notify: [{{on: oom, webhook: 'http://127.0.0.1:{}'}}]
services:
  web:
    command: [python3, -c, 'import time; x = bytearray(400 << 20); time.sleep(1000)']
    limits: {{memory: 48MiB}}
    restart: {{delay: 1h, max_delay: 1h}}
",
        hook.port
    ));
    let warnings = project.service("web")["warnings"].to_string();
    if warnings.contains("no_memory_limit") {
        // Without control groups of memory nothing is killed here, and the machine is not to be filled for a test.
        println!("skipped: memory cannot be limited here");
        return;
    }
    let (_, message) = hook.next();
    assert_eq!((&message["event"], &message["entries"][0]["cause"]), (&"oom".into(), &"oom".into()), "{message:#}");
    let certain = message["entries"][0]["certainty"] == "certain";
    let begin = if certain { "the kernel killed web for memory: " } else { "the kernel " };
    assert!(message["text"].as_str().is_some_and(|text| text.starts_with(begin)), "{message:#}");
    assert_eq!(message["entries"][0], project.why("web"));
}

/// A script in the project's folder.
fn script(project: &Project, name: &str, text: &str) {
    project.write(name, text);
    fs::set_permissions(project.path(name), fs::Permissions::from_mode(0o755)).expect("it is ours");
}

#[test]
fn a_command_reads_the_message_and_is_run_again_when_it_fails() {
    let project = Project::new(&format!(
        "name: shop\nnotify: [{{on: [failed], exec: ./tell https://h.example/s3cr3t}}]\nservices:\n{}",
        fragile("web")
    ));
    script(
        &project,
        "tell",
        "#!/bin/sh
test -f once || { touch once; echo refused by $1; exit 4; }
cat > stdin.json
env > environment
",
    );
    let mut project = project;
    project.start(&["up"]);
    wait_for("the warning", || warning(&project).is_some());
    assert_eq!(warning(&project).as_deref(), Some("./tell is not told: exit code 4 (1 message waits)"));
    wait_for("the second attempt", || notified(&project) == ["web failed: told ./tell"]);
    let message: Value = serde_json::from_str(&project.read("stdin.json")).expect("JSON");
    assert_eq!((&message["v"], &message["service"], &message["event"]), (&1.into(), &"web".into(), &"failed".into()));
    let environment = project.read("environment");
    let sentence = message["text"].as_str().expect("a sentence");
    for line in [
        "EVERUP_EVENT=failed",
        "EVERUP_SERVICE=web",
        "EVERUP_INSTANCE=web",
        "EVERUP_CAUSE=exit",
        "EVERUP_PROJECT=shop",
        &format!("EVERUP_MESSAGE={sentence}"),
        &format!("EVERUP_HOST={}", message["host"].as_str().expect("a host")),
    ] {
        assert!(environment.lines().any(|one| one == line), "{line}\n{environment}");
    }
    assert_eq!(warning(&project), None);
    secret_free(&project);
}

/// The first fenced block of the guide that begins with this line.
fn from_the_guide(first: &str) -> String {
    let guide = include_str!("../../docs/guide/notify.md");
    let blocks = guide.split("```").skip(1).step_by(2);
    let mut bodies = blocks.filter_map(|block| block.split_once('\n').map(|(_, body)| body));
    bodies.find(|body| body.starts_with(first)).expect("a block of the guide").to_owned()
}

#[test]
fn the_mail_of_the_guide_is_one() {
    let mail = from_the_guide("#!/bin/sh");
    let mut project =
        Project::new(&format!("name: shop\nnotify: [{{exec: ./mail.sh}}]\nservices:\n{}", fragile("web")));
    script(&project, "mail.sh", &mail);
    fs::create_dir(project.path("bin")).expect("a folder");
    script(&project, "bin/sendmail", "#!/bin/sh\necho \"$@\" > arguments\ncat > mail.new && mv mail.new mail\n");
    let mut command = project.command(&["up"]);
    let everup = Path::new(env!("CARGO_BIN_EXE_everup")).parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{}:{path}", project.path("bin").display(), everup.display()));
    project.run_by(command);
    wait_for("the mail", || project.path("mail").exists());
    assert_eq!(project.read("arguments"), "-t -i\n");
    let mail = project.read("mail");
    let (head, body) = mail.split_once("\n\n").expect("a head and a body");
    assert!(head.contains("To: ops@example.com\nSubject: shop: web failed\n"), "{head}");
    assert!(body.starts_with("web has failed: exit code 3; restarted once within 1m (shop on "), "{body}");
    assert!(body.contains("\nweb, run 2: ended with exit code 3 ") && body.contains("web says no"), "{body}");
}

#[test]
fn slack_and_ntfy_get_what_they_document() {
    let hook = Hook::new();
    let here = format!("http://127.0.0.1:{}", hook.port);
    let slack = from_the_guide("notify:\n  - webhook: ${SLACK_URL}");
    let ntfy = from_the_guide("notify:\n  - webhook: \"https://ntfy.sh").replace("https://ntfy.sh", &here);
    let entries = format!("{slack}{}", ntfy.trim_start_matches("notify:\n"));
    let mut project = Project::new(&format!("{entries}services:\n{}", fragile("web")));
    let mut command = project.command(&["up"]);
    command.env("SLACK_URL", format!("{here}/services/T0/B0/s3cr3t")).env("NTFY_TOPIC", "s3cr3t");
    project.run_by(command);
    let mut requests = [hook.next(), hook.next()];
    requests.sort_by_key(|(line, _)| line.clone());
    let [(ntfy, message), (slack, same)] = requests;
    // Slack shows `text` and takes no notice of keys it does not know.
    assert_eq!(slack, "POST /services/T0/B0/s3cr3t HTTP/1.1");
    assert!(same["text"].as_str().is_some_and(|text| text.starts_with("web has failed: ")), "{same:#}");
    // ntfy fills its templates from the body's JSON.
    assert_eq!(ntfy, "POST /s3cr3t?tpl=1&t={{.project}}&m={{.text}} HTTP/1.1");
    assert!(message["project"].is_string() && message["text"] == same["text"], "{message:#}");
}
