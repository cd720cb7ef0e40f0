//! The `tcp` question: does somebody accept? The connection is closed at once.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::model::probe::{ProbeAddress, Verdict};
use crate::model::template::Slots;
use crate::probe::reason;
use crate::probe::tools::Tools;

/// The longest path a socket address holds.
const PATH_MAX: usize = 107;

/// Connects to `address` within `timeout`.
pub(super) async fn ask(tools: &Tools, address: &ProbeAddress, slots: Slots, timeout: Duration) -> Verdict {
    match address {
        ProbeAddress::Tcp(address) => {
            let address = address.render(slots);
            match tokio::time::timeout(timeout, tcp(tools, &address)).await {
                Ok(verdict) => verdict,
                Err(_) if waits_for_name(tools, &address) => reason::overdue("dns: no address", timeout),
                Err(_) => reason::overdue(&format!("no connection to {address}"), timeout),
            }
        }
        ProbeAddress::Unix(path) => match tokio::time::timeout(timeout, unix(path)).await {
            Ok(verdict) => verdict,
            Err(_) => reason::overdue(&format!("no connection to {}", path.display()), timeout),
        },
    }
}

async fn tcp(tools: &Tools, address: &str) -> Verdict {
    let Some((host, port)) = split(address) else {
        return reason::error(format!("cannot read {address:?} as host:port"));
    };
    let addresses = match tools.names.look_up(host).await {
        Ok(addresses) => addresses,
        Err(error) => return reason::error(error.to_string()),
    };
    let mut failure = reason::error(format!("{host} has no address"));
    for ip in addresses.iter() {
        match TcpStream::connect((*ip, port)).await {
            // The kernel may join a socket to itself when it picks the very port asked for: nobody listens there.
            Ok(stream) if stream.local_addr().ok() == stream.peer_addr().ok() => {
                failure = reason::of_connection(&io::ErrorKind::ConnectionRefused.into(), address);
            }
            Ok(_) => return Verdict::Pass { message: format!("connected to {address}") },
            Err(error) => failure = reason::of_connection(&error, address),
        }
    }
    failure
}

async fn unix(path: &Path) -> Verdict {
    let connected = match reachable(path) {
        Ok((reachable, _held)) => UnixStream::connect(reachable).await,
        Err(error) => Err(error),
    };
    match connected {
        Ok(_) => Verdict::Pass { message: format!("connected to {}", path.display()) },
        Err(error) => reason::of_connection(&error, &path.display().to_string()),
    }
}

/// `path` as a socket address can hold it: a longer one by way of its open folder, valid while that is held.
pub(super) fn reachable(path: &Path) -> io::Result<(PathBuf, Option<File>)> {
    match (is_long(path), path.parent(), path.file_name()) {
        (true, Some(folder), Some(name)) => {
            let folder = File::open(folder)?;
            let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
            Ok((short, Some(folder)))
        }
        _ => Ok((path.to_owned(), None)),
    }
}

/// Whether `path` is too long for a socket address.
pub(super) fn is_long(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() > PATH_MAX
}

fn split(address: &str) -> Option<(&str, u16)> {
    let (host, port) = address.rsplit_once(':')?;
    Some((host, port.parse().ok()?))
}

fn waits_for_name(tools: &Tools, address: &str) -> bool {
    split(address).is_some_and(|(host, _)| tools.names.is_waiting_for(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probe::Failure;
    use crate::model::template::Template;

    const SLOTS: Slots = Slots { index: 1, port: None };
    const PATIENCE: Duration = Duration::from_secs(10);

    async fn tcp_verdict(address: &str) -> Verdict {
        ask(&Tools::default(), &ProbeAddress::Tcp(Template::text(address)), SLOTS, PATIENCE).await
    }

    fn pass(message: String) -> Verdict {
        Verdict::Pass { message }
    }

    #[tokio::test]
    async fn whoever_accepts_passes_by_address_or_name() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let address = format!("{host}:{port}");
            assert_eq!(tcp_verdict(&address).await, pass(format!("connected to {address}")));
        }
    }

    #[tokio::test]
    async fn a_port_nobody_listens_on_refuses() {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        for host in ["127.0.0.1", "localhost"] {
            let address = format!("{host}:{port}");
            assert_eq!(tcp_verdict(&address).await, reason::refused(format!("connection refused by {address}")));
        }
    }

    #[tokio::test]
    async fn a_port_asked_again_and_again_never_answers_itself() {
        // Within the kernel's own range of ports, where a socket can be joined to itself.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let tools = Tools::default();
        let address = ProbeAddress::Tcp(Template::text(format!("127.0.0.1:{port}")));
        for _ in 0..500 {
            let verdict = ask(&tools, &address, SLOTS, PATIENCE).await;
            assert!(matches!(verdict, Verdict::Fail { how: Failure::Refused, .. }), "{verdict:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_an_address_is_said() {
        for address in ["nonsense", "host:", "host:99999", ":-1", "no-such-host.invalid:80"] {
            let verdict = tcp_verdict(address).await;
            let wanted = if address.contains("invalid") { "dns: cannot find" } else { "cannot read" };
            assert!(matches!(&verdict, Verdict::Fail { message, .. } if message.starts_with(wanted)), "{verdict:?}");
        }
    }

    #[tokio::test]
    async fn a_unix_socket_passes_also_under_a_long_path() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("x".repeat(150));
        std::fs::create_dir(&deep).unwrap();
        for folder in [dir.path(), &deep] {
            let path = folder.join("app.sock");
            let asked = || async { ask(&Tools::default(), &ProbeAddress::Unix(path.clone()), SLOTS, PATIENCE).await };
            let shown = path.display();
            assert_eq!(asked().await, reason::refused(format!("there is no socket at {shown}")));
            let (short, held) = reachable(&path).unwrap();
            let listener = std::os::unix::net::UnixListener::bind(short).unwrap();
            drop(held);
            assert_eq!(asked().await, pass(format!("connected to {shown}")));
            drop(listener);
            assert_eq!(asked().await, reason::refused(format!("connection refused by {shown}")));
        }
    }
}
