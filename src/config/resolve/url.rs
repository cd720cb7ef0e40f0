//! Addresses that probes ask, checked while `${PORT}` and `${INDEX}` are still open.

use crate::config::document::short;
use crate::config::shape::Misfit;
use crate::model::template::{Part, Slots, Template};

/// What an address turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// The URL, or `host:port`.
    pub(super) url: Template,
    /// A unix socket that was part of it.
    pub(super) socket: Option<String>,
}

/// What stands before `://`, or `unix` or `tcp` before a colon; empty when neither does.
pub(super) fn scheme(parts: &[Part]) -> String {
    let text = filled(parts);
    let bare =
        ["unix", "tcp"].into_iter().find(|scheme| text.strip_prefix(scheme).is_some_and(|rest| rest.starts_with(':')));
    bare.or_else(|| text.split_once("://").map(|(scheme, _)| scheme)).unwrap_or_default().to_owned()
}

/// Reads `http://…`, `https://…` and `http://unix:/path.sock:/health`.
pub(super) fn http(parts: &[Part]) -> Result<Target, Misfit> {
    let help = "write http://host:port/path, https://host/path or http://unix:/path.sock:/health";
    let wrong = || misfit(parts, "an http:// or https:// URL", help);
    let text = filled(parts);
    let Some((scheme @ ("http" | "https"), rest)) = text.split_once("://") else { return Err(wrong()) };
    if let Some(path) = rest.strip_prefix("unix:") {
        let (socket, path) = path.split_once(":/").unwrap_or((path, ""));
        if socket.is_empty() || parts.iter().any(|part| matches!(part, Part::Port | Part::Index)) {
            return Err(wrong());
        }
        let url = format!("{scheme}://localhost/{path}");
        check(&url).map_err(|reason| because(wrong(), reason))?;
        return Ok(Target { url: Template::text(url), socket: Some(socket.to_owned()) });
    }
    check(&text).map_err(|reason| because(wrong(), reason))?;
    Ok(Target { url: Template::new(parts.to_vec()), socket: None })
}

/// Reads `host:port`, `tcp://host:port` and `unix:PATH`.
pub(super) fn tcp(parts: &[Part]) -> Result<Target, Misfit> {
    let wrong = || misfit(parts, "an address to connect to", "write host:port or unix:PATH");
    let text = filled(parts);
    if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || parts.iter().any(|part| matches!(part, Part::Port | Part::Index)) {
            return Err(wrong());
        }
        return Ok(Target { url: Template::default(), socket: Some(path.to_owned()) });
    }
    let Some((host, port)) = text.strip_prefix("tcp://").unwrap_or(&text).rsplit_once(':') else { return Err(wrong()) };
    let bare_v6 = host.contains(':') && !(host.starts_with('[') && host.ends_with(']'));
    if host.is_empty() || bare_v6 || host.contains(['/', '@', ' ']) || !is_port(port) {
        return Err(wrong());
    }
    Ok(Target { url: without_prefix(parts, "tcp://"), socket: None })
}

fn check(url: &str) -> Result<(), &'static str> {
    let uri: hyper::Uri = url.parse().map_err(|_| "")?;
    let authority = uri.authority().ok_or("it has no host")?;
    let after_user = authority.as_str().rsplit_once('@').map_or(authority.as_str(), |(_, host)| host);
    if uri.host().is_none_or(str::is_empty) {
        return Err("it has no host");
    }
    let port = match after_user.rsplit_once(']') {
        Some((_, after)) => after.strip_prefix(':'),
        None => after_user.split_once(':').map(|(_, port)| port),
    };
    match port {
        Some(port) if !is_port(port) => Err("its port is not from 1 to 65535"),
        Some(_) | None => Ok(()),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// As it is for some instance: which one does not matter for its form.
fn filled(parts: &[Part]) -> String {
    Template::new(parts.to_vec()).render(Slots { index: 1, port: Some(1) })
}

fn without_prefix(parts: &[Part], prefix: &str) -> Template {
    let mut parts = parts.to_vec();
    if let Some(Part::Text(first)) = parts.first_mut()
        && let Some(rest) = first.strip_prefix(prefix)
    {
        *first = rest.to_owned();
    }
    parts.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    Template::new(parts)
}

fn misfit(parts: &[Part], what: &str, help: &str) -> Misfit {
    // Shown as it is written: a secret that was filled in stays hidden.
    let shown = Template::new(parts.to_vec()).to_string();
    Misfit { message: format!("cannot read {:?} as {what}", short(&shown)), help: help.to_owned() }
}

fn because(misfit: Misfit, reason: &str) -> Misfit {
    if reason.is_empty() { misfit } else { Misfit { message: format!("{}: {reason}", misfit.message), ..misfit } }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> Vec<Part> {
        match text.split_once("${PORT}") {
            Some((before, after)) => vec![Part::Text(before.to_owned()), Part::Port, Part::Text(after.to_owned())],
            None => vec![Part::Text(text.to_owned())],
        }
    }

    #[test]
    fn urls_are_checked_while_the_port_is_open() {
        for good in ["http://127.0.0.1:${PORT}/health", "https://[::1]:8443/", "http://localhost", "http://a/b?c=d"] {
            assert_eq!(http(&parts(good)).map(|target| target.url.to_string()), Ok(good.to_owned()));
        }
        for bad in [
            "ftp://a",
            "http://",
            "http://a:99999/",
            "http://a:0",
            "http://a:x",
            "http://a b/",
            "127.0.0.1:80",
            "http:/a",
            "http://:80/",
        ] {
            assert!(http(&parts(bad)).is_err(), "{bad}");
        }
        let target = http(&parts("http://unix:/run/app.sock:/health?x")).unwrap();
        assert_eq!(
            (target.url.to_string().as_str(), target.socket.as_deref()),
            ("http://localhost/health?x", Some("/run/app.sock"))
        );
    }

    #[test]
    fn addresses_take_a_host_and_a_port_or_a_path() {
        for (text, url, socket) in [
            ("127.0.0.1:80", "127.0.0.1:80", None),
            ("tcp://localhost:${PORT}", "localhost:${PORT}", None),
            ("[::1]:80", "[::1]:80", None),
            ("unix:run/app.sock", "", Some("run/app.sock")),
        ] {
            let target = tcp(&parts(text)).unwrap();
            assert_eq!((target.url.to_string().as_str(), target.socket.as_deref()), (url, socket), "{text}");
        }
        for bad in ["localhost", ":80", "a:b", "::1:80", "a:70000", "unix:", "tcp://"] {
            assert!(tcp(&parts(bad)).is_err(), "{bad}");
        }
    }
}
