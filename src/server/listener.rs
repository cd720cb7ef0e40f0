//! Accepts connections and serves each in a task of its own: capped, timed, ended in order.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use nix::sys::socket::{setsockopt, sockopt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::os::socket::Peer;
use crate::server::access::Visitor;
use crate::server::door::{Connection, Door};
use crate::server::seats::{Seat, Seats};
use crate::server::stall::Stall;

/// Connections served at a time. One more takes the seat of one that asks for nothing, or waits where all do ask.
const CONNECTIONS: usize = 64;

/// The head of a request, in bytes; above it the answer is 431.
const HEAD_SIZE: usize = 64 << 10;

/// How long visitors may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// For the head of a request, also the next one on a kept connection.
    pub(crate) head: Duration,
    /// For taking nothing of an answer.
    pub(crate) stall: Duration,
    /// For taking the answers under way once the door closes.
    pub(crate) farewell: Duration,
}

impl Limits {
    /// Those of every door.
    pub(crate) const USUAL: Self =
        Self { head: Duration::from_secs(5), stall: Duration::from_secs(30), farewell: Duration::from_secs(10) };
}

/// Who has come and asked nothing yet when the door closes may be about to.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// The pause after a failed accept: mostly descriptors have run out, and those who have some will end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Where visitors come from.
pub(crate) trait Doorway: Send + Sync {
    /// What they speak through.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next visitor. Nothing is lost when the future is dropped.
    fn next(&self) -> impl Future<Output = io::Result<(Self::Io, Visitor)>> + Send;
}

/// The control socket.
#[derive(Debug)]
pub(crate) struct UnixDoorway {
    /// Where they arrive.
    pub(crate) listener: UnixListener,
    /// How to see who it is.
    pub(crate) peer_of: fn(&UnixStream) -> io::Result<Peer>,
}

impl Doorway for UnixDoorway {
    type Io = UnixStream;

    async fn next(&self) -> io::Result<(UnixStream, Visitor)> {
        let (stream, _) = self.listener.accept().await?;
        let peer = (self.peer_of)(&stream)?;
        Ok((stream, Visitor::Local(Arc::new(peer))))
    }
}

/// `web.listen`.
#[derive(Debug)]
pub(crate) struct TcpDoorway {
    /// Where they arrive.
    pub(crate) listener: TcpListener,
}

impl Doorway for TcpDoorway {
    type Io = TcpStream;

    async fn next(&self) -> io::Result<(TcpStream, Visitor)> {
        let (stream, address) = self.listener.accept().await?;
        // Both only make it better: answers leave at once, and a vanished follower is noticed some day.
        let _ = stream.set_nodelay(true);
        let _ = setsockopt(&stream, sockopt::KeepAlive, &true);
        Ok((stream, Visitor::Remote(address)))
    }
}

/// Serves until `shutdown` turns true or its sender is gone, then ends what is under way.
pub(crate) async fn serve<D: Doorway>(
    door: Arc<Door>,
    doorway: D,
    limits: Limits,
    mut shutdown: watch::Receiver<bool>,
) {
    let closing = shutdown.clone();
    let mut seats = Seats::new(CONNECTIONS);
    loop {
        tokio::select! {
            biased;
            () = closed(&mut shutdown) => break,
            next = doorway.next() => match next {
                Ok((io, visitor)) => {
                    tokio::select! {
                        biased;
                        // Who is in by now is heard in any case.
                        () = closed(&mut shutdown) => {}
                        () = seats.room() => {}
                    }
                    seats.take(|seat| connection(door.clone(), io, visitor, limits, seat, closing.clone()));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
    // No further visitor waits for an answer that will not come.
    drop(doorway);
    seats.empty().await;
}

/// Serves one connection to its end.
pub(crate) async fn connection<S>(
    door: Arc<Door>,
    io: S,
    visitor: Visitor,
    limits: Limits,
    seat: Seat,
    mut closing: watch::Receiver<bool>,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let streaming = Arc::new(AtomicBool::new(false));
    let io = TokioIo::new(Stall::new(io, limits.stall, streaming.clone()));
    let connection = Connection { visitor, streaming };
    let newcomer = seat.clone();
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (door, connection, asking) = (door.clone(), connection.clone(), seat.ask());
        async move { Ok::<_, Infallible>(asking.until_through(door.answer(request, connection).await)) }
    });
    let mut served = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_buf_size(HEAD_SIZE)
            .max_header_size(HEAD_SIZE)
            .serve_connection(io, service)
    );
    // How a connection ends is the visitor's business; nobody waits for it here.
    tokio::select! {
        biased;
        _ = served.as_mut() => {}
        () = closed(&mut closing) => {
            if newcomer.has_asked_nothing() && timeout(FIRST_WORD.min(limits.farewell), served.as_mut()).await.is_ok() {
                return;
            }
            served.as_mut().graceful_shutdown();
            let _ = timeout(limits.farewell, served).await;
        }
    }
}

/// Resolves once everup closes its doors.
pub(crate) async fn closed(shutdown: &mut watch::Receiver<bool>) {
    let _ = shutdown.wait_for(|closing| *closing).await;
}
