//! For [`crate::fuzzing`]: the bytes of a visitor, on either door, over a connection in memory.

#[cfg(not(test))]
#[path = "tests/canned.rs"]
mod canned;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Runtime;
use tokio::sync::{broadcast, mpsc, watch};

use crate::handle::{Handle, Request};
use crate::model::command::Outcome;
use crate::model::units::{Moment, Now, Timestamp};
use crate::os::socket::Peer;
use crate::server::access::{Rules, TcpRules, Token, UnixRules, Visitor};
use crate::server::door::Door;
use crate::server::listener::{Limits, connection};
use crate::server::seats::Seat;
#[cfg(test)]
use crate::server::tests::canned;

/// What opens the door over TCP.
const TOKEN: &str = "s3cret";
/// Visitors of a fuzzer have no time.
const SOON: Duration = Duration::from_millis(50);
/// For ending a connection that its visitor has left.
const FAREWELL: Duration = Duration::from_millis(5);
/// What a connection in memory holds.
const ROOM: usize = 64 << 10;

/// A server without a socket, whose loop agrees to everything.
struct Desk {
    runtime: Runtime,
    unix: Arc<Door>,
    tcp: Arc<Door>,
    /// How often the loop was asked for a change.
    asked: Arc<AtomicUsize>,
    closing: watch::Sender<bool>,
    _kept: (watch::Sender<Arc<crate::model::status::Status>>, watch::Sender<Now>, watch::Sender<u64>),
}

thread_local! {
    static DESK: std::cell::OnceCell<Option<Desk>> = const { std::cell::OnceCell::new() };
}

/// The first byte says which door, the rest is what the visitor sends. No bytes lead to an answer of 500, none change
/// anything over TCP without the token.
pub fn control(data: &[u8], folder: &Path) {
    let Some((door, bytes)) = data.split_first() else { return };
    DESK.with(|desk| {
        let Some(desk) = desk.get_or_init(|| Desk::new(folder)) else { return };
        let before = desk.asked.load(Ordering::Relaxed);
        let answer = desk.visit(door & 1 == 0, bytes);
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1."), "{}", String::from_utf8_lossy(&answer));
        assert!(!answer.starts_with(b"HTTP/1.1 500"), "{}", String::from_utf8_lossy(&answer));
        let asked = desk.asked.load(Ordering::Relaxed) - before;
        let knows = bytes.windows(TOKEN.len()).any(|part| part == TOKEN.as_bytes());
        assert!(door & 1 == 0 || knows || asked == 0, "a change without the token");
    });
}

impl Desk {
    fn new(folder: &Path) -> Option<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
        let now: fn() -> Now = || Now { moment: Moment(10_000), wall: Timestamp(1_763_632_800_000) };
        let (status, snapshot) = watch::channel(Arc::new(canned::status(&[("web", 2), ("worker", 1)])));
        let (reading, sampled) = watch::channel(now());
        let (requests, inbox) = mpsc::channel(64);
        let (events, _) = broadcast::channel(16);
        let (progress, log_progress) = watch::channel(0);
        let (closing, closed) = watch::channel(false);
        let handle = Handle {
            snapshot,
            sampled,
            requests,
            events,
            logs: crate::logs::read::Reader::new(folder.join("logs")),
            log_progress,
            history: crate::history::query::Reader::new(folder),
            meter: crate::meter::Meter::default(),
            clock: now,
        };
        let asked = Arc::new(AtomicUsize::new(0));
        runtime.spawn(agree(inbox, Arc::clone(&asked)));
        let unix = Rules::Unix(UnixRules { own: 1000, users: vec![], groups: vec![] });
        let listen = ([127, 0, 0, 1], 9876).into();
        let tcp = Rules::Tcp(TcpRules { listen, token: Token::new(TOKEN) });
        let unix = Arc::new(Door::new(handle.clone(), unix, closed.clone()));
        let tcp = Arc::new(Door::new(handle, tcp, closed));
        Some(Self { runtime, unix, tcp, asked, closing, _kept: (status, reading, progress) })
    }

    /// Everything the visitor gets to read.
    fn visit(&self, local: bool, bytes: &[u8]) -> Vec<u8> {
        let peer = Peer { uid: 1000, gid: 1000, pid: 0, groups: vec![] };
        let (door, visitor) = if local {
            (&self.unix, Visitor::Local(Arc::new(peer)))
        } else {
            (&self.tcp, Visitor::Remote(([127, 0, 0, 1], 5555).into()))
        };
        let limits = Limits { head: SOON, stall: SOON, farewell: SOON };
        self.runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(ROOM);
            let seat = Seat::default();
            let served = connection(Arc::clone(door), ours, visitor, limits, seat, self.closing.subscribe());
            let (gone, left) = tokio::sync::oneshot::channel::<()>();
            let asks = async {
                // The other side may close before it has taken all; what it answered counts.
                let _ = theirs.write_all(bytes).await;
                let _ = theirs.shutdown().await;
                let mut answer = vec![];
                let _ = tokio::time::timeout(SOON, theirs.read_to_end(&mut answer)).await;
                drop((theirs, gone));
                answer
            };
            // A stream behind which more was sent learns of the visitor's end when it next has something to say.
            let served = async {
                tokio::pin!(served);
                tokio::select! {
                    () = &mut served => {}
                    _ = left => drop(tokio::time::timeout(FAREWELL, served).await),
                }
            };
            tokio::join!(served, asks).1
        })
    }
}

/// The loop: it counts, and does nothing.
async fn agree(mut inbox: mpsc::Receiver<Request>, asked: Arc<AtomicUsize>) {
    let outcome = || Ok(Outcome { done: true, services: vec![], changes: vec![], notes: vec![] });
    while let Some(request) = inbox.recv().await {
        match request {
            Request::Ask { reply, .. } | Request::Up { reply, .. } => {
                asked.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(outcome());
            }
            Request::Upgrade { reply, .. } => drop(reply),
            Request::Probe { reply, .. } => {
                asked.fetch_add(1, Ordering::Relaxed);
                let _ = reply.send(Ok(vec![]));
            }
            Request::Trees { reply, .. } => {
                let _ = reply.send([].into());
            }
            Request::Sample { reply } => {
                let _ = reply.send(());
            }
        }
    }
}
