//! Who may do what: peer credentials on the control socket; `Host`, `Origin` and token over TCP.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method};
use subtle::ConstantTimeEq;

use crate::model::command::{Caller, Denied, DeniedCode};
use crate::os::socket::{Peer, tty_of};
use crate::server::reply::denied;

/// What a request wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Look.
    Read,
    /// Act.
    Change,
}

impl Access {
    /// Decided by the method alone, so that no route can be reached with less than it needs.
    pub(crate) fn of(method: &Method) -> Self {
        if *method == Method::GET || *method == Method::HEAD { Self::Read } else { Self::Change }
    }
}

/// Who is at the other end of a connection.
#[derive(Clone, Debug)]
pub(crate) enum Visitor {
    /// A process of this machine.
    Local(Arc<Peer>),
    /// Somebody over TCP.
    Remote(SocketAddr),
}

impl Visitor {
    /// Whether it is root or everup's own user, on this machine.
    pub(crate) fn is_own(&self) -> bool {
        match self {
            Self::Local(peer) => peer.uid == 0 || peer.uid == nix::unistd::geteuid().as_raw(),
            Self::Remote(_) => false,
        }
    }

    /// The text that `held.by` and events carry: `uid 1000, pts/3` or `http 127.0.0.1`.
    pub(crate) fn caller(&self) -> Caller {
        Caller(match self {
            Self::Local(peer) => match tty_of(peer.pid) {
                Some(tty) => format!("uid {}, {tty}", peer.uid),
                None => format!("uid {}", peer.uid),
            },
            Self::Remote(address) => format!("http {}", address.ip().to_canonical()),
        })
    }
}

/// The rules of one listener.
#[derive(Debug)]
pub(crate) enum Rules {
    /// The control socket.
    Unix(UnixRules),
    /// `web.listen`.
    Tcp(TcpRules),
}

impl Rules {
    /// Lets the request pass or says why not.
    pub(crate) fn check(&self, visitor: &Visitor, access: Access, parts: &Parts) -> Result<(), Denied> {
        match (self, visitor) {
            // No browser reaches this socket by itself: this is a page of somebody's, through a bridge without rules.
            (Self::Unix(_), Visitor::Local(_)) if parts.headers.contains_key(ORIGIN) => Err(foreign_page()),
            (Self::Unix(rules), Visitor::Local(peer)) if rules.admits(peer) => Ok(()),
            (Self::Unix(_), Visitor::Local(peer)) => Err(denied(
                DeniedCode::Forbidden,
                format!("uid {} may not use this socket", peer.uid),
                "control.users and control.groups of the file say who may, besides everup's own user and root",
            )),
            (Self::Tcp(rules), Visitor::Remote(_)) => rules.check(access, parts),
            (Self::Unix(_), Visitor::Remote(_)) | (Self::Tcp(_), Visitor::Local(_)) => {
                Err(denied(DeniedCode::Forbidden, "this visitor came through the wrong door", "use the control socket"))
            }
        }
    }
}

/// Who may use the control socket.
#[derive(Debug)]
pub(crate) struct UnixRules {
    /// everup's own user.
    pub(crate) own: u32,
    /// Further users.
    pub(crate) users: Vec<u32>,
    /// Further groups.
    pub(crate) groups: Vec<u32>,
}

impl UnixRules {
    fn admits(&self, peer: &Peer) -> bool {
        peer.uid == 0
            || peer.uid == self.own
            || self.users.contains(&peer.uid)
            || self.groups.iter().any(|group| *group == peer.gid || peer.groups.contains(group))
    }
}

/// A bearer token; never shown.
pub(crate) struct Token(Box<[u8]>);

impl Token {
    /// None when it is empty or a header cannot carry it.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let text = text.trim();
        (!text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic())).then(|| Self(text.as_bytes().into()))
    }

    /// Takes as long for a near miss as for a far one.
    fn matches(&self, offered: &[u8]) -> bool {
        self.0.ct_eq(offered).into()
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(<hidden>)")
    }
}

/// What a request over TCP must bring.
#[derive(Debug)]
pub(crate) struct TcpRules {
    /// Where we listen.
    pub(crate) listen: SocketAddr,
    /// What changes need; none: no change is possible.
    pub(crate) token: Option<Token>,
}

impl TcpRules {
    fn check(&self, access: Access, parts: &Parts) -> Result<(), Denied> {
        let host = host(parts)?;
        if !self.knows(host) {
            return Err(denied(
                DeniedCode::Forbidden,
                format!("the host {host:?} is not one of this server's"),
                format!("use http://{}", self.listen),
            ));
        }
        // A name that resolves to us is not enough: the page that asks must have come from us.
        if parts.headers.get_all(ORIGIN).iter().any(|origin| !is_own(origin.as_bytes(), host)) {
            return Err(foreign_page());
        }
        if access == Access::Read && self.listen.ip().is_loopback() {
            return Ok(());
        }
        let Some(token) = &self.token else {
            return Err(denied(
                DeniedCode::Forbidden,
                "changes over TCP are off: no token is configured",
                "set web.token_file, or use the control socket",
            ));
        };
        if bearer(&parts.headers).is_some_and(|offered| token.matches(offered)) {
            return Ok(());
        }
        Err(denied(
            DeniedCode::Unauthorized,
            "the token is missing or wrong",
            "send Authorization: Bearer TOKEN, with the content of web.token_file",
        ))
    }

    /// Whether a `Host` may stand for us. Beyond loopback every request brings the token, which no page that fakes a
    /// name can know, so there any name will do.
    fn knows(&self, host: &str) -> bool {
        if !self.listen.ip().is_loopback() {
            return true;
        }
        let name = without_port(host);
        let literal: Option<IpAddr> = name.trim_start_matches('[').trim_end_matches(']').parse().ok();
        ["localhost", "127.0.0.1", "[::1]"].iter().any(|known| name.eq_ignore_ascii_case(known))
            || literal == Some(self.listen.ip())
    }
}

fn foreign_page() -> Denied {
    denied(DeniedCode::Forbidden, "requests from other web pages are refused", "leave the Origin header out")
}

/// The one host the request names; the target's own, where it has one, must say the same.
fn host(parts: &Parts) -> Result<&str, Denied> {
    let wrong =
        || denied(DeniedCode::BadRequest, "the request needs exactly one Host header", "send Host: ADDRESS:PORT");
    let mut hosts = parts.headers.get_all(HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).filter(|host| !host.is_empty()).ok_or_else(wrong)?;
    let target = parts.uri.authority().map(axum::http::uri::Authority::as_str);
    if hosts.next().is_some() || target.is_some_and(|target| !target.eq_ignore_ascii_case(host)) {
        return Err(wrong());
    }
    Ok(host)
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port))
            if port.bytes().all(|b| b.is_ascii_digit()) && (!name.contains(':') || name.ends_with(']')) =>
        {
            name
        }
        Some(_) | None => host,
    }
}

/// Whether a page of this origin was served under the very host it now asks.
fn is_own(origin: &[u8], host: &str) -> bool {
    [&b"http://"[..], b"https://"]
        .iter()
        .filter_map(|scheme| origin.strip_prefix(*scheme))
        .any(|rest| rest.eq_ignore_ascii_case(host.as_bytes()))
}

fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    (values.next().is_none() && scheme.eq_ignore_ascii_case(b"bearer ")).then(|| token.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(listen: &str, token: Option<&str>) -> TcpRules {
        TcpRules { listen: listen.parse().unwrap(), token: token.and_then(Token::new) }
    }

    fn parts(method: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = axum::http::Request::builder().method(method).uri("/v1/status");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn verdict(rules: &TcpRules, method: &str, headers: &[(&str, &str)]) -> Option<DeniedCode> {
        let parts = parts(method, headers);
        rules.check(Access::of(&parts.method), &parts).err().map(|denied| denied.code)
    }

    const HOME: (&str, &str) = ("host", "127.0.0.1:9876");
    const GOOD: (&str, &str) = ("authorization", "Bearer s3cret");

    #[test]
    fn loopback_is_read_without_a_token_and_changed_with_one() {
        use DeniedCode::{Forbidden, Unauthorized};
        let (closed, open) = (rules("127.0.0.1:9876", None), rules("127.0.0.1:9876", Some("s3cret")));
        for (rules, method, headers, expected) in [
            (&closed, "GET", vec![HOME], None),
            (&closed, "HEAD", vec![HOME], None),
            (&closed, "POST", vec![HOME], Some(Forbidden)),
            (&closed, "POST", vec![HOME, GOOD], Some(Forbidden)),
            (&open, "GET", vec![HOME], None),
            (&open, "POST", vec![HOME], Some(Unauthorized)),
            (&open, "POST", vec![HOME, GOOD], None),
            (&open, "POST", vec![HOME, ("authorization", "bearer s3cret")], None),
            (&open, "OPTIONS", vec![HOME], Some(Unauthorized)),
            (&open, "POST", vec![HOME, ("authorization", "Bearer s3cre")], Some(Unauthorized)),
            (&open, "POST", vec![HOME, ("authorization", "Bearer s3cret2")], Some(Unauthorized)),
            (&open, "POST", vec![HOME, ("authorization", "Bearer ")], Some(Unauthorized)),
            (&open, "POST", vec![HOME, ("authorization", "Basic s3cret")], Some(Unauthorized)),
            (&open, "POST", vec![HOME, GOOD, ("authorization", "Bearer other")], Some(Unauthorized)),
            (&open, "POST", vec![HOME, ("cookie", "token=s3cret")], Some(Unauthorized)),
        ] {
            assert_eq!(verdict(rules, method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn a_foreign_host_or_origin_is_refused_even_with_a_good_token() {
        let open = rules("127.0.0.1:9876", Some("s3cret"));
        for host in ["127.0.0.1:9876", "localhost", "LOCALHOST:1", "[::1]:9876", "[::1]", "127.0.0.1"] {
            assert_eq!(verdict(&open, "POST", &[("host", host), GOOD]), None, "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:9876",
            "127.0.0.1.evil.example",
            "localhost.evil",
            "::1x",
            "[::2]",
            "10.0.0.1",
        ] {
            assert_eq!(verdict(&open, "GET", &[("host", host), GOOD]), Some(DeniedCode::Forbidden), "{host}");
        }
        for (origin, refused) in [
            ("http://127.0.0.1:9876", false),
            ("https://127.0.0.1:9876", false),
            ("http://127.0.0.1:3000", true),
            ("http://evil.example", true),
            ("null", true),
            ("", true),
        ] {
            let found = verdict(&open, "POST", &[HOME, GOOD, ("origin", origin)]);
            assert_eq!(found, refused.then_some(DeniedCode::Forbidden), "{origin}");
        }
        assert_eq!(verdict(&open, "GET", &[]), Some(DeniedCode::BadRequest));
        assert_eq!(verdict(&open, "GET", &[HOME, ("host", "localhost")]), Some(DeniedCode::BadRequest));
    }

    #[test]
    fn beyond_loopback_everything_needs_the_token_and_no_foreign_page_may_ask() {
        let wide = rules("0.0.0.0:9876", Some("s3cret"));
        let host = ("host", "box.lan:9876");
        for (method, headers, expected) in [
            ("GET", vec![host], Some(DeniedCode::Unauthorized)),
            ("GET", vec![host, GOOD], None),
            ("POST", vec![host, GOOD, ("origin", "http://box.lan:9876")], None),
            ("POST", vec![host, GOOD, ("origin", "http://evil.example")], Some(DeniedCode::Forbidden)),
        ] {
            assert_eq!(verdict(&wide, method, &headers), expected, "{method} {headers:?}");
        }
    }

    #[test]
    fn the_control_socket_is_for_its_owner_root_and_those_named() {
        let rules = UnixRules { own: 1000, users: vec![1001], groups: vec![50] };
        for (uid, gid, groups, admitted) in [
            (1000, 1000, vec![], true),
            (0, 0, vec![], true),
            (1001, 1001, vec![], true),
            (1002, 50, vec![], true),
            (1002, 1002, vec![4, 50], true),
            (1002, 1002, vec![4], false),
            (50, 1001, vec![1000], false),
        ] {
            assert_eq!(rules.admits(&Peer { uid, gid, pid: 1, groups }), admitted, "uid {uid} gid {gid}");
        }
    }

    #[test]
    fn a_token_is_visible_ascii_and_never_shown() {
        assert!([" ", "", "a b", "schl\u{fc}ssel", "a\nb"].iter().all(|bad| Token::new(bad).is_none()));
        assert!(Token::new(" abc\n").is_some_and(|token| token.matches(b"abc")));
        assert!(!format!("{:?}", Token::new("abc")).contains("abc"));
    }
}
