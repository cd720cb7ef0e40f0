//! Why a question failed, in words for people.

use std::error::Error;
use std::io;
use std::time::Duration;

use nix::errno::Errno;

use crate::model::probe::{Failure, Verdict};
use crate::model::units::format_duration;
use crate::probe::names::{self, NameError};

/// It was answered, but not as wanted.
pub(super) fn fail(message: impl Into<String>) -> Verdict {
    Verdict::Fail { message: message.into(), how: Failure::Answer }
}

/// Nobody listens there.
pub(super) fn refused(message: impl Into<String>) -> Verdict {
    Verdict::Fail { message: message.into(), how: Failure::Refused }
}

/// The question could not be put, or the answer broke off.
pub(super) fn error(message: impl Into<String>) -> Verdict {
    Verdict::Fail { message: message.into(), how: Failure::Error }
}

/// Time ran out; `what` is missing, e.g. `no answer`.
pub(super) fn overdue(what: &str, timeout: Duration) -> Verdict {
    Verdict::Fail { message: format!("{what} within {}", format_duration(timeout)), how: Failure::Timeout }
}

/// What an error of a connection to `peer` (`host:port` or a socket's path) means.
pub(super) fn of_connection(error: &io::Error, peer: &str) -> Verdict {
    use io::ErrorKind as Kind;
    if let Some(errno @ (Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS)) =
        error.raw_os_error().map(Errno::from_raw)
    {
        return Verdict::Skip { message: format!("everup could not ask: {}", errno.desc()) };
    }
    let local = peer.rsplit_once(':').is_some_and(|(host, _)| names::is_localhost(host));
    self::error(match error.kind() {
        Kind::ConnectionRefused => return refused(format!("connection refused by {peer}")),
        // Both families are tried for it; the second may not exist here at all.
        Kind::AddrNotAvailable | Kind::Unsupported if local => {
            return refused(format!("connection refused by {peer}"));
        }
        Kind::NotFound => return refused(format!("there is no socket at {peer}")),
        Kind::ConnectionReset | Kind::BrokenPipe | Kind::ConnectionAborted => format!("connection reset by {peer}"),
        Kind::UnexpectedEof => format!("{peer} closed the connection without an answer"),
        Kind::PermissionDenied => format!("permission denied by {peer}"),
        Kind::WouldBlock => format!("the queue of connections of {peer} is full"),
        _ => format!("cannot reach {peer}: {}", plain(error)),
    })
}

/// What an error of an HTTP exchange with `peer` means.
pub(super) fn of_exchange(error: &reqwest::Error, peer: &str) -> Verdict {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error);
    let mut last = error.to_string();
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<NameError>() {
            return self::error(error.to_string());
        }
        if let Some(error) = current.downcast_ref::<io::Error>() {
            return tls_within(error).map_or_else(|| of_connection(error, peer), |error| of_tls(error, peer));
        }
        if let Some(error) = current.downcast_ref::<hyper::Error>() {
            if error.is_parse() {
                return self::error(format!("{peer} did not answer in HTTP ({error})"));
            }
            if error.is_incomplete_message() {
                return self::error(format!("{peer} closed the connection without a whole answer"));
            }
        }
        last = current.to_string();
        cause = current.source();
    }
    self::error(format!("cannot ask {peer}: {last}"))
}

/// The error of TLS that `error` stands for, however often it is wrapped.
fn tls_within(error: &io::Error) -> Option<&rustls::Error> {
    let inner = error.get_ref()?;
    inner.downcast_ref().or_else(|| inner.downcast_ref().and_then(tls_within))
}

fn of_tls(error: &rustls::Error, peer: &str) -> Verdict {
    use rustls::CertificateError as Why;
    let why = match error {
        rustls::Error::InvalidCertificate(Why::UnknownIssuer) => "nobody this system trusts has issued it".to_owned(),
        rustls::Error::InvalidCertificate(Why::Expired | Why::ExpiredContext { .. }) => "it has expired".to_owned(),
        rustls::Error::InvalidCertificate(Why::NotValidForName | Why::NotValidForNameContext { .. }) => {
            "it is for another name".to_owned()
        }
        rustls::Error::InvalidCertificate(other) => format!("{other:?}"),
        rustls::Error::InvalidMessage(_) => return self::error(format!("{peer} does not speak TLS")),
        other => return self::error(format!("TLS with {peer} failed: {other}")),
    };
    self::error(format!("the certificate of {peer} is not valid: {why} (`insecure: true` accepts it)"))
}

/// The kernel's words without the number that the standard library adds.
fn plain(error: &io::Error) -> String {
    error.raw_os_error().map_or_else(|| error.to_string(), |number| Errno::from_raw(number).desc().to_lowercase())
}
