//! Lets in: HTTP/1.1 and JSON on the control socket and, where asked for, on TCP.
//!
//! A request goes `listener` (caps, timeouts) → `door` (who may) → `routes` (one table) → a handler, which reads the
//! published snapshot or puts a request to the loop. Handlers decide nothing about services.

mod access;
mod actions;
mod arguments;
mod discovery;
mod dispatch;
mod door;
mod events;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod gzip;
mod history;
mod listener;
mod logs;
mod look;
mod metrics;
mod openapi;
mod overview;
mod page;
mod recent;
mod rendered;
mod reply;
mod routes;
mod seats;
mod selector;
mod stall;
mod stream;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;
use std::sync::Arc;

use tokio::sync::watch;

use crate::handle::Handle;
use crate::os::socket::Peer;
use crate::server::access::{Rules, TcpRules, Token, UnixRules};
use crate::server::door::Door;
use crate::server::listener::{Limits, TcpDoorway, UnixDoorway};

/// Who may use the control socket besides everup's own user and root.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnixOptions {
    /// Users, by number.
    pub users: Vec<u32>,
    /// Groups, by number; supplementary ones count.
    pub groups: Vec<u32>,
}

/// What the door over TCP asks for.
#[derive(Clone, Default)]
pub struct TcpOptions {
    /// The bearer token that changes, and reading beyond loopback, need; white space around it is not part of it.
    pub token: Option<String>,
}

impl std::fmt::Debug for TcpOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TcpOptions").field("token", &self.token.as_ref().map(|_| "<hidden>")).finish()
    }
}

/// Why a door cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The runtime does not take the listener.
    #[error("cannot serve on the listening socket")]
    Listener(#[source] io::Error),
    /// Everybody on the network could read.
    #[error("cannot serve on {0} without a token: it is reachable from other machines")]
    OpenWithoutToken(SocketAddr),
    /// A token without a character, or with one that no HTTP header can carry.
    #[error("cannot use the token: it is empty or holds characters other than visible ASCII")]
    Token,
}

/// Serves the control socket until `shutdown` turns true or its sender is gone.
///
/// Then nobody else is let in, streams are closed, and answers under way are delivered, within ten seconds: whoever
/// cannot wait that long ends it by dropping this.
///
/// # Errors
/// [`ServerError`] when the listener cannot be used.
pub async fn serve_unix(
    handle: Handle,
    listener: UnixListener,
    options: UnixOptions,
    shutdown: watch::Receiver<bool>,
) -> Result<(), ServerError> {
    serve_unix_as(handle, listener, options, shutdown, (Limits::USUAL, peer_of)).await
}

/// [`serve_unix`], with seams for its patience and for who is at the other end.
async fn serve_unix_as(
    handle: Handle,
    listener: UnixListener,
    options: UnixOptions,
    shutdown: watch::Receiver<bool>,
    (limits, peer_of): (Limits, fn(&tokio::net::UnixStream) -> io::Result<Peer>),
) -> Result<(), ServerError> {
    listener.set_nonblocking(true).map_err(ServerError::Listener)?;
    let listener = tokio::net::UnixListener::from_std(listener).map_err(ServerError::Listener)?;
    let own = nix::unistd::geteuid().as_raw();
    let rules = Rules::Unix(UnixRules { own, users: options.users, groups: options.groups });
    let door = Arc::new(Door::new(handle, rules, shutdown.clone()));
    listener::serve(door, UnixDoorway { listener, peer_of }, limits, shutdown).await;
    Ok(())
}

/// Serves `web.listen` until `shutdown` turns true or its sender is gone; ends as [`serve_unix`] does.
///
/// # Errors
/// [`ServerError`] when the listener cannot be used, or must not without a token.
pub async fn serve_tcp(
    handle: Handle,
    listener: std::net::TcpListener,
    options: TcpOptions,
    shutdown: watch::Receiver<bool>,
) -> Result<(), ServerError> {
    let token = options.token.as_deref().map(|text| Token::new(text).ok_or(ServerError::Token)).transpose()?;
    let listen = listener.local_addr().map_err(ServerError::Listener)?;
    if token.is_none() && !listen.ip().is_loopback() {
        return Err(ServerError::OpenWithoutToken(listen));
    }
    listener.set_nonblocking(true).map_err(ServerError::Listener)?;
    let listener = tokio::net::TcpListener::from_std(listener).map_err(ServerError::Listener)?;
    let door = Arc::new(Door::new(handle, Rules::Tcp(TcpRules { listen, token }), shutdown.clone()));
    listener::serve(door, TcpDoorway { listener }, Limits::USUAL, shutdown).await;
    Ok(())
}

/// The credentials the kernel noted when the connection was made.
fn peer_of(stream: &tokio::net::UnixStream) -> io::Result<Peer> {
    let copy = std::os::unix::net::UnixStream::from(stream.as_fd().try_clone_to_owned()?);
    crate::os::socket::peer(&copy)
}
