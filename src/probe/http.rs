//! The `http` question: one request on a connection of its own.

use std::time::Duration;

use reqwest::{Method, StatusCode, Url};

use crate::model::probe::{Failure, HttpProbe, Verdict};
use crate::model::template::Slots;
use crate::model::units::format_duration;
use crate::probe::connect::{is_long, reachable};
use crate::probe::reason;
use crate::probe::tools::{Route, Tools, Trust};

/// So much of a body is read; then the connection is closed.
const BODY: usize = 64 << 10;
/// So much of it is shown.
const EXCERPT: usize = 4 << 10;

/// Sends the request and judges status and body; all of it within `timeout`.
pub(super) async fn ask(
    tools: &Tools,
    probe: &HttpProbe,
    slots: Slots,
    timeout: Duration,
) -> (Verdict, Option<String>) {
    let url = match Url::parse(&probe.url.render(slots)) {
        Ok(url) => url,
        Err(error) => return (reason::error(format!("cannot read the URL: {error}")), None),
    };
    let mut seen = None;
    match tokio::time::timeout(timeout, converse(tools, probe, slots, url.clone(), &mut seen)).await {
        Ok(answer) => answer,
        Err(_) => (overdue(tools, &url, seen, timeout), None),
    }
}

/// `seen` becomes the status as soon as it is known, so that a body that never ends can be told from silence.
async fn converse(
    tools: &Tools,
    probe: &HttpProbe,
    slots: Slots,
    url: Url,
    seen: &mut Option<StatusCode>,
) -> (Verdict, Option<String>) {
    let peer = peer(probe, &url);
    let mut response = match send(tools, probe, slots, url, &peer).await {
        Ok(response) => response,
        Err(verdict) => return (verdict, None),
    };
    let status = response.status();
    *seen = Some(status);
    let mut body = Vec::new();
    while body.len() < BODY {
        match response.chunk().await {
            Ok(Some(chunk)) => body.extend_from_slice(&chunk[..chunk.len().min(BODY - body.len())]),
            Ok(None) => break,
            Err(error) => return (broken(status, reason::of_exchange(&error, &peer)), excerpt(&body)),
        }
    }
    (judge(tools, probe, status, &body), excerpt(&body))
}

async fn send(
    tools: &Tools,
    probe: &HttpProbe,
    slots: Slots,
    url: Url,
    peer: &str,
) -> Result<reqwest::Response, Verdict> {
    let trust = match (url.scheme(), probe.insecure) {
        ("https", true) => Trust::Anything,
        ("https", false) => Trust::Checked,
        _ => Trust::Plain,
    };
    // Held until the answer is there: a long path leads through this open folder.
    let (client, _held) = match &probe.socket {
        Some(path) if is_long(path) => {
            let (path, held) = reachable(path).map_err(|error| reason::of_connection(&error, peer))?;
            (tools.single_use(&Route { socket: Some(path), trust }), held)
        }
        socket => (tools.client(Route { socket: socket.clone(), trust }).await, None),
    };
    let method = Method::from_bytes(probe.method.as_bytes())
        .map_err(|_| reason::error(format!("cannot send the method {:?}", probe.method)))?;
    let mut request = client.map_err(reason::error)?.request(method, url);
    for (name, value) in &probe.headers {
        request = request.header(name, value.render(slots));
    }
    request.send().await.map_err(|error| reason::of_exchange(&error, peer))
}

fn judge(tools: &Tools, probe: &HttpProbe, status: StatusCode, body: &[u8]) -> Verdict {
    let code = status.as_u16();
    if !probe.status.iter().any(|(low, high)| (*low..=*high).contains(&code)) {
        return reason::fail(words(status));
    }
    match probe.body.as_deref().map(|pattern| (pattern, tools.pattern(pattern))) {
        Some((_, Err(error))) => reason::error(error),
        Some((pattern, Ok(regex))) if !regex.is_match(body) => reason::fail(format!("body does not match /{pattern}/")),
        Some((_, Ok(_))) | None => Verdict::Pass { message: words(status) },
    }
}

/// The answer began with `status`, then this went wrong.
fn broken(status: StatusCode, verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Fail { message, how } => Verdict::Fail { message: format!("{}, but {message}", words(status)), how },
        Verdict::Pass { .. } | Verdict::Skip { .. } => verdict,
    }
}

fn overdue(tools: &Tools, url: &Url, seen: Option<StatusCode>, timeout: Duration) -> Verdict {
    match (seen, url.host_str()) {
        (Some(status), _) => Verdict::Fail {
            message: format!("{}, but its body did not end within {}", words(status), format_duration(timeout)),
            how: Failure::Timeout,
        },
        (None, Some(host)) if tools.names.is_waiting_for(host) => {
            reason::overdue(&format!("dns: no address of {host}"), timeout)
        }
        (None, _) => reason::overdue("no answer", timeout),
    }
}

/// `200 OK`; only the number where it has no usual words.
fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

/// Whom the connection is made to.
fn peer(probe: &HttpProbe, url: &Url) -> String {
    match (&probe.socket, url.host_str(), url.port_or_known_default()) {
        (Some(path), _, _) => path.display().to_string(),
        (None, Some(host), Some(port)) => format!("{host}:{port}"),
        (None, host, _) => host.unwrap_or_default().to_owned(),
    }
}

fn excerpt(body: &[u8]) -> Option<String> {
    (!body.is_empty()).then(|| String::from_utf8_lossy(&body[..body.len().min(EXCERPT)]).into_owned())
}

/// The URL with `***` for its password.
pub(super) fn without_password(text: &str) -> String {
    let Ok(mut url) = Url::parse(text) else { return text.to_owned() };
    if url.password().is_some() && url.set_password(Some("***")).is_ok() { url.to_string() } else { text.to_owned() }
}

#[cfg(test)]
mod tests;
