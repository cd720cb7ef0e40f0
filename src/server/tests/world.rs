//! A running server whose loop is made up: it writes down what it is asked and answers at once.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use tempfile::TempDir;
use tokio::sync::{broadcast, mpsc, watch};

use crate::handle::{Handle, Request};
use crate::model::command::{Command, Denied, DeniedCode, Outcome, ServiceOutcome, Upgrading};
use crate::model::event::{EventRecord, EventWord};
use crate::model::names::{Pid, ServiceName};
use crate::model::probe::{ProbeReport, ProbeRole};
use crate::model::service::State;
use crate::model::status::Status;
use crate::model::units::{Moment, Now, Timestamp};
use crate::os::socket::{Peer, listen_unix};
use crate::server::listener::Limits;
use crate::server::tests::canned;
use crate::server::{TcpOptions, UnixOptions, serve_tcp, serve_unix_as};

pub(super) const TOKEN: &str = "s3cret";

/// How the world differs from the usual one.
pub(super) struct Ways {
    pub(super) limits: Limits,
    pub(super) peer_of: fn(&tokio::net::UnixStream) -> std::io::Result<Peer>,
    pub(super) clock: fn() -> Now,
    pub(super) token: Option<&'static str>,
    pub(super) status: Status,
}

impl Default for Ways {
    fn default() -> Self {
        Self {
            limits: Limits::USUAL,
            peer_of: crate::server::peer_of,
            clock: || Now { moment: Moment(10_000), wall: Timestamp(1_763_632_800_000) },
            token: Some(TOKEN),
            status: canned::status(&[("web", 2), ("worker", 1), ("slow", 1), ("lost", 1), ("stuck", 1)]),
        }
    }
}

pub(super) struct World {
    pub(super) socket: PathBuf,
    pub(super) tcp: SocketAddr,
    pub(super) handle: Handle,
    pub(super) asked: Arc<Mutex<Vec<String>>>,
    pub(super) events: broadcast::Sender<Arc<EventRecord>>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) shutdown: Arc<watch::Sender<bool>>,
    /// Requests whose asker went away.
    pub(super) abandoned: Arc<Mutex<u32>>,
    thread: Option<JoinHandle<()>>,
    _folder: TempDir,
    _progress: watch::Sender<u64>,
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = self.shutdown.send(true);
        let ended = self.thread.take().is_none_or(|thread| thread.join().is_ok());
        assert!(ended || std::thread::panicking(), "the server ends in order");
    }
}

impl World {
    pub(super) fn new() -> Self {
        Self::with(Ways::default())
    }

    pub(super) fn with(ways: Ways) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("everup.sock");
        let unix = listen_unix(&socket, 0o600).unwrap();
        let tcp_listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let tcp = tcp_listener.local_addr().unwrap();
        let (status, snapshot) = watch::channel(Arc::new(ways.status));
        let (_, sampled) = watch::channel(Now { moment: Moment(10_000), wall: Timestamp(0) });
        let (requests, inbox) = mpsc::channel(64);
        let (events, _) = broadcast::channel(16);
        let (progress, log_progress) = watch::channel(0);
        let (shutdown, closing) = watch::channel(false);
        let shutdown = Arc::new(shutdown);
        let handle = Handle {
            snapshot,
            sampled,
            requests,
            events: events.clone(),
            logs: crate::logs::read::Reader::new(folder.path().join("logs")),
            log_progress,
            history: crate::history::query::Reader::new(folder.path()),
            meter: crate::meter::Meter::default(),
            clock: ways.clock,
        };
        let asked = Arc::new(Mutex::new(vec![]));
        let abandoned = Arc::new(Mutex::new(0));
        let made_up = Loop { asked: asked.clone(), abandoned: abandoned.clone(), shutdown: shutdown.clone() };
        let kept = handle.clone();
        let token = ways.token.map(str::to_owned);
        let seams = (ways.limits, ways.peer_of);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let made_up = tokio::spawn(made_up.run(inbox));
                let unix = serve_unix_as(handle.clone(), unix, UnixOptions::default(), closing.clone(), seams);
                let tcp = serve_tcp(handle, tcp_listener, TcpOptions { token }, closing);
                let (unix, tcp) = tokio::join!(unix, tcp);
                made_up.abort();
                unix.unwrap();
                tcp.unwrap();
            });
        });
        let world = Self {
            socket,
            tcp,
            handle: kept,
            asked,
            events,
            status,
            shutdown,
            abandoned,
            thread: Some(thread),
            _folder: folder,
            _progress: progress,
        };
        // From here on no event can be too early for the server.
        world.get("/readyz");
        world
    }

    pub(super) fn unix(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    pub(super) fn tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.tcp).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Asks on the control socket.
    pub(super) fn ask(&self, method: &str, path: &str, body: &str) -> Reply {
        ask(self.unix(), method, path, &[("Host", "everup")], body)
    }

    pub(super) fn get(&self, path: &str) -> Reply {
        self.ask("GET", path, "")
    }

    pub(super) fn post(&self, path: &str, body: &str) -> Reply {
        self.ask("POST", path, body)
    }

    /// What the loop was asked, and forgets it.
    pub(super) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.asked.lock().unwrap())
    }

    pub(super) fn event(&self, seq: u64) {
        let _ = self.events.send(Arc::new(event(seq)));
    }
}

pub(super) fn event(seq: u64) -> EventRecord {
    EventRecord {
        v: 1,
        at: Timestamp(1_763_632_000_000 + seq.cast_signed()),
        seq,
        event: EventWord::Ready,
        service: Some(ServiceName::new(if seq.is_multiple_of(2) { "web" } else { "worker" }).unwrap()),
        instance: Some(if seq.is_multiple_of(2) { "web/2" } else { "worker" }.to_owned()),
        run: None,
        cause: None,
        certainty: None,
        code: None,
        signal: None,
        pid: None,
        ran_ms: None,
        delay_ms: None,
        message: None,
    }
}

/// An answer, taken apart.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    pub(super) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            line.split_once(": ").filter(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
        })
    }
}

/// Sends one request and reads until the other side closes.
pub(super) fn ask(stream: impl Read + Write, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let mut request = format!("{method} {path} HTTP/1.1\r\nConnection: close\r\n");
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    let length = body.len();
    raw(stream, format!("{request}Content-Length: {length}\r\n\r\n{body}").as_bytes())
}

pub(super) fn raw(mut stream: impl Read + Write, request: &[u8]) -> Reply {
    // The other side may have closed before it has read all: its answer counts.
    let _ = stream.write_all(request);
    let mut bytes = vec![];
    let _ = stream.read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    Reply { status, head: head.to_owned(), body: if chunked { joined(body) } else { body.to_owned() } }
}

fn joined(mut chunks: &str) -> String {
    let mut body = String::new();
    while let Some((length, rest)) = chunks.split_once("\r\n") {
        let length = usize::from_str_radix(length, 16).unwrap();
        body.push_str(&rest[..length]);
        chunks = rest.get(length + 2..).unwrap_or_default();
    }
    body
}

struct Loop {
    asked: Arc<Mutex<Vec<String>>>,
    abandoned: Arc<Mutex<u32>>,
    shutdown: Arc<watch::Sender<bool>>,
}

impl Loop {
    async fn run(self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.recv().await {
            match request {
                Request::Ask { command, wait, by, mut reply } => {
                    let text = format!("{command:?} wait {wait:?} by {}", by.0);
                    let about = |name: &str| text.contains(&format!("ServiceName(\"{name}\")"));
                    if about("lost") {
                        drop(reply);
                    } else if about("stuck") {
                        let abandoned = self.abandoned.clone();
                        tokio::spawn(async move {
                            reply.closed().await;
                            *abandoned.lock().unwrap() += 1;
                        });
                    } else if about("slow") && wait.is_some() {
                        let _ = reply.send(Err(denied(DeniedCode::TimedOut, "slow is not ready yet")));
                    } else if matches!(command, Command::Down { .. }) {
                        let shutdown = self.shutdown.clone();
                        tokio::spawn(async move {
                            let _ = shutdown.send(true);
                            tokio::time::sleep(Duration::from_millis(50)).await;
                            let _ = reply.send(Ok(outcome(wait.is_some())));
                        });
                    } else {
                        let _ = reply.send(Ok(outcome(wait.is_some())));
                    }
                    self.asked.lock().unwrap().push(text);
                }
                Request::Up { config, start, dry_run, wait, by, reply } => {
                    let text = format!("up {config:?} {start:?} dry_run {dry_run} wait {wait:?} by {}", by.0);
                    self.asked.lock().unwrap().push(text);
                    let answer = match config {
                        Some(path) if path.ends_with("bad.yaml") => {
                            Err(denied(DeniedCode::ConfigInvalid, "cannot read bad.yaml"))
                        }
                        Some(_) | None => Ok(outcome(wait.is_some())),
                    };
                    let _ = reply.send(answer);
                }
                Request::Upgrade { binary, by, reply } => {
                    self.asked.lock().unwrap().push(format!("upgrade {} by {}", binary.display(), by.0));
                    let answer = Upgrading { v: 1, from: "0.1.0".to_owned(), to: "0.2.0".to_owned(), seq: 7 };
                    let _ = reply.send(Ok(answer));
                }
                Request::Probe { target, reply } => {
                    let ok = target.service.as_str() != "worker";
                    let _ = reply.send(Ok(vec![ProbeReport {
                        instance: target.service.to_string(),
                        role: ProbeRole::Liveness,
                        request: "GET http://127.0.0.1:8888/health".to_owned(),
                        ok,
                        message: "200 OK".to_owned(),
                        body: None,
                        latency_ms: 1.5,
                    }]));
                }
                Request::Trees { reply, .. } => {
                    let us = Pid(std::process::id().cast_signed());
                    let _ = reply.send([(1, vec![us])].into());
                }
                Request::Sample { reply } => {
                    let _ = reply.send(());
                }
            }
        }
    }
}

fn denied(code: DeniedCode, message: &str) -> Denied {
    Denied { code, message: message.to_owned(), hint: None }
}

fn outcome(done: bool) -> Outcome {
    let service = ServiceOutcome {
        name: "web".to_owned(),
        state: State::Running,
        message: "ready after 1.2s".to_owned(),
        gap_ms: None,
    };
    Outcome { done, services: vec![service], changes: vec![], notes: vec![] }
}

/// Waits for a condition, with a deadline.
pub(super) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    // Nothing is ever sent here: receiving is a pause.
    let (_keep, pause) = std::sync::mpsc::sync_channel::<()>(0);
    for _ in 0..2_000 {
        if holds() {
            return;
        }
        let _ = pause.recv_timeout(Duration::from_millis(5));
    }
    panic!("{what} did not come to hold");
}
