//! From host names to addresses. Literal addresses and `localhost` need no one; for other names a thread asks the
//! system, one a name at a time, however slow the system is and however often it is asked meanwhile.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::watch;

use crate::probe::tools::lock;

/// Names looked up at the same time, at most; one more is refused.
const AT_ONCE: usize = 64;

/// A name without an address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("dns: cannot find the address of {name} ({reason})")]
pub(super) struct NameError {
    name: String,
    reason: String,
}

type Found = Result<Arc<[IpAddr]>, NameError>;

/// Cheap to clone; clones share what is under way.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    under_way: Arc<Mutex<HashMap<String, watch::Receiver<Option<Found>>>>>,
}

/// The address that `host` already is, if any; brackets around v6 allowed.
pub(super) fn literal(host: &str) -> Option<IpAddr> {
    host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).parse().ok()
}

/// Whether `host` is this machine by name (RFC 6761).
pub(super) fn is_localhost(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

impl Names {
    /// The addresses of `host`, in the order to try them.
    pub(super) async fn look_up(&self, host: &str) -> Found {
        if let Some(address) = literal(host) {
            return Ok([address].into());
        }
        if is_localhost(host) {
            return Ok([IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)].into());
        }
        let mut answer = self.ask(host)?;
        let found = answer.wait_for(Option::is_some).await.ok().and_then(|found| found.clone());
        found.unwrap_or_else(|| Err(refused(host, "the lookup broke off")))
    }

    /// Whether the system still owes an answer about `host`.
    pub(super) fn is_waiting_for(&self, host: &str) -> bool {
        lock(&self.under_way).contains_key(host)
    }

    /// Joins the lookup of `host` or begins it.
    fn ask(&self, host: &str) -> Result<watch::Receiver<Option<Found>>, NameError> {
        let mut under_way = lock(&self.under_way);
        if let Some(answer) = under_way.get(host) {
            return Ok(answer.clone());
        }
        if under_way.len() >= AT_ONCE {
            return Err(refused(host, "too many lookups are under way"));
        }
        let (tell, answer) = watch::channel(None);
        let (name, shared) = (host.to_owned(), Arc::clone(&self.under_way));
        std::thread::Builder::new()
            .name("dns".to_owned())
            .stack_size(512 << 10)
            .spawn(move || {
                let found = (name.as_str(), 0).to_socket_addrs().map_err(|error| refused(&name, &words(&error)));
                let found = found.map(|addresses| addresses.map(|address| address.ip()).collect());
                lock(&shared).remove(&name);
                tell.send_replace(Some(found));
            })
            .map_err(|error| refused(host, &error.to_string()))?;
        under_way.insert(host.to_owned(), answer.clone());
        Ok(answer)
    }
}

fn refused(name: &str, reason: &str) -> NameError {
    NameError { name: name.to_owned(), reason: reason.to_owned() }
}

/// The system's own words, without the standard library's preface.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.strip_prefix("failed to lookup address information: ").unwrap_or(&text).to_owned()
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let names = self.clone();
        Box::pin(async move {
            let found = names.look_up(name.as_str()).await?;
            let addresses: Vec<_> = found.iter().map(|address| SocketAddr::new(*address, 0)).collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn addresses_and_localhost_need_no_thread() {
        let names = Names::default();
        for (host, first) in [
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("LocalHost.", "127.0.0.1"),
            ("app.localhost", "127.0.0.1"),
        ] {
            let found = tokio::time::timeout(std::time::Duration::ZERO, names.look_up(host)).await;
            assert_eq!(found.unwrap().unwrap()[0].to_string(), first, "{host}");
        }
        for other in ["localhost.example", "notlocalhost", "127.0.0.1.example", ""] {
            assert!(literal(other).is_none() && !is_localhost(other), "{other}");
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_exist_is_said_to_be_so() {
        let names = Names::default();
        let error = names.look_up("no-such-host.invalid").await.unwrap_err();
        assert!(error.to_string().starts_with("dns: cannot find the address of no-such-host.invalid ("), "{error}");
        assert!(!names.is_waiting_for("no-such-host.invalid"));
    }
}
