//! POSTs a message to a URL.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::{Client, StatusCode, Url};
use rustls::crypto::ring;

use crate::model::template::{Slots, Template};
use crate::notify::courier::{Again, Deliver, Doing, Refusal};
use crate::notify::message::Message;
use crate::notify::secrets::Secrets;

/// The whole of one attempt.
const LIMIT: Duration = Duration::from_secs(10);
/// Nothing of a URL differs between instances.
const NO_SLOTS: Slots = Slots { index: 1, port: None };
/// So much of a refusal's body is read.
const BODY: usize = 4 << 10;
/// So much of its first line is quoted, in characters.
const QUOTED: usize = 120;

/// A URL that takes messages. Only its scheme and host are ever shown.
#[derive(Debug)]
pub struct Webhook {
    url: Template,
    secrets: Secrets,
}

impl Webhook {
    /// For a URL in which whatever is secret is hidden.
    pub fn new(url: &Template) -> Self {
        Self { url: url.clone(), secrets: Secrets::of([url]) }
    }

    async fn post(&self, message: &Message) -> Result<(), Refusal> {
        let url =
            Url::parse(&self.url.render(NO_SLOTS)).map_err(|error| never(format!("cannot read the URL: {error}")))?;
        let client = client(url.scheme() == "https", is_here(&url)).await.map_err(later)?;
        let request = client.post(url).header(CONTENT_TYPE, "application/json").body(message.body());
        let response = request.send().await.map_err(|error| later(reason(&error)))?;
        let status = response.status();
        if status.is_success() {
            return Ok(());
        }
        let wait = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let said = self.quote(response).await;
        let again = match (status, wait) {
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE, Some(seconds)) => {
                Again::After(Duration::from_secs(seconds))
            }
            (StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT, _) => Again::Later,
            _ if status.is_server_error() => Again::Later,
            _ => Again::Never,
        };
        let moved = if status.is_redirection() { ": it has moved, and redirects are not followed" } else { "" };
        Err(Refusal { reason: format!("{}{moved}{said}", words(status)), again })
    }

    /// The first line of what it says, unless that tells the secret on, as some servers do with a path they do not know.
    async fn quote(&self, mut response: reqwest::Response) -> String {
        let mut body = Vec::new();
        while let Ok(Some(chunk)) = response.chunk().await {
            body.extend_from_slice(&chunk);
            if body.len() >= BODY {
                break;
            }
        }
        let text = String::from_utf8_lossy(&body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
        let is_page = line.starts_with('<');
        if line.is_empty() || is_page || self.secrets.are_in(&text) {
            return String::new();
        }
        let shown: String = line.chars().filter(|c| !c.is_control()).take(QUOTED).collect();
        format!(": {shown}")
    }
}

impl Deliver for Webhook {
    fn deliver<'a>(&'a self, message: &'a Message) -> Doing<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let answer = tokio::time::timeout(LIMIT, self.post(message)).await;
            answer.unwrap_or_else(|_| Err(later("no answer within 10s".to_owned())))
        })
    }
}

fn never(reason: String) -> Refusal {
    Refusal { reason, again: Again::Never }
}

fn later(reason: String) -> Refusal {
    Refusal { reason, again: Again::Later }
}

/// A client for one attempt: messages are rare, and the certificates of a system need some megabytes.
/// Proxies of the environment (`HTTPS_PROXY`, `NO_PROXY`) are used but for this machine itself.
async fn client(is_tls: bool, is_here: bool) -> Result<Client, String> {
    let build = move || {
        let builder = Client::builder()
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .pool_max_idle_per_host(0)
            .referer(false)
            .user_agent(concat!("everup/", env!("CARGO_PKG_VERSION")));
        let builder = if is_here { builder.no_proxy() } else { builder };
        let builder = if is_tls {
            // Refused when a provider is set already, and then that one does.
            let _ = ring::default_provider().install_default();
            builder
        } else {
            builder.tls_backend_preconfigured(no_tls()?)
        };
        builder.build().map_err(|error| format!("cannot prepare the request: {}", reason(&error)))
    };
    if !is_tls {
        return build();
    }
    // Reading some hundred certificates takes too long for the loop.
    tokio::task::spawn_blocking(build).await.map_err(|error| error.to_string())?
}

/// Whether the URL leads to this machine.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// A configuration that trusts nobody: what is made without one loads all certificates of the system.
fn no_tls() -> Result<rustls::ClientConfig, String> {
    let config = rustls::ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("cannot prepare the request: {error}"))?;
    Ok(config.with_root_certificates(rustls::RootCertStore::empty()).with_no_client_auth())
}

/// The innermost cause in words; an outer one would name the URL.
fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = None;
    while let Some(current) = cause {
        if let Some(error) = current.downcast_ref::<io::Error>() {
            match error.kind() {
                io::ErrorKind::ConnectionRefused => return "connection refused".to_owned(),
                io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => return "connection reset".to_owned(),
                _ => {}
            }
        }
        last = Some(current.to_string());
        cause = current.source();
    }
    last.unwrap_or_else(|| "the request failed".to_owned())
}

/// `404 Not Found`; only the number where it has no usual words.
fn words(status: StatusCode) -> String {
    match status.canonical_reason() {
        Some(reason) => format!("{} {reason}", status.as_u16()),
        None => status.as_u16().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::event::{EventWord, Fact};
    use crate::model::plan::NotifyOn;
    use crate::model::template::Part;
    use crate::notify::message::tests::message;

    /// Answers one request with `answer`; gives the request.
    async fn exchange(answer: &str) -> (Result<(), Refusal>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = [Part::Text(format!("http://127.0.0.1:{port}/")), Part::Hidden("T000/s3cr3t?k=hush".to_owned())];
        let webhook = Webhook::new(&Template::new(url.to_vec()));
        let sent = message(NotifyOn::Failed, Fact::new(EventWord::Failed), 1, None);
        let served = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = vec![];
            while !request.ends_with(b"}") {
                let mut piece = [0; 4_096];
                let read = stream.read(&mut piece).await.unwrap();
                assert!(read > 0, "{:?}", String::from_utf8_lossy(&request));
                request.extend_from_slice(&piece[..read]);
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.shutdown().await.unwrap();
            String::from_utf8(request).unwrap()
        };
        tokio::join!(webhook.deliver(&sent), served)
    }

    #[tokio::test]
    async fn a_message_is_posted_whole_and_as_json() {
        let (result, request) = exchange("HTTP/1.1 204 No Content\r\n\r\n").await;
        assert_eq!(result, Ok(()));
        let (head, body) = request.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("POST /T000/s3cr3t?k=hush HTTP/1.1\r\n"), "{head}");
        assert!(head.to_ascii_lowercase().contains("content-type: application/json"), "{head}");
        let sent = message(NotifyOn::Failed, Fact::new(EventWord::Failed), 1, None);
        assert_eq!(body, sent.body());
    }

    #[tokio::test]
    async fn a_refusal_says_why_whether_to_try_again_and_no_secret() {
        let minute = Again::After(Duration::from_mins(1));
        for (answer, reason, again) in [
            ("404 Not Found\r\nContent-Length: 10\r\n\r\nno_service", "404 Not Found: no_service", Again::Never),
            ("404 Not Found\r\nContent-Length: 25\r\n\r\nCannot POST /T000/s3cr3t\n", "404 Not Found", Again::Never),
            ("400 Bad Request\r\nContent-Length: 6\r\n\r\n<html>", "400 Bad Request", Again::Never),
            ("429 Too Many Requests\r\nRetry-After: 60\r\n\r\n", "429 Too Many Requests", minute),
            ("429 Too Many Requests\r\n\r\n", "429 Too Many Requests", Again::Later),
            ("408 Request Timeout\r\n\r\n", "408 Request Timeout", Again::Later),
            ("500 Internal Server Error\r\n\r\n", "500 Internal Server Error", Again::Later),
            ("503 Service Unavailable\r\nRetry-After: 60\r\n\r\n", "503 Service Unavailable", minute),
            (
                "307 Temporary Redirect\r\nLocation: http://127.0.0.1:1/\r\n\r\n",
                "307 Temporary Redirect: it has moved, and redirects are not followed",
                Again::Never,
            ),
        ] {
            let (result, _) = exchange(&format!("HTTP/1.1 {answer}")).await;
            assert_eq!(result, Err(Refusal { reason: reason.to_owned(), again }));
        }
        let (result, _) = exchange("").await;
        assert_eq!(result.unwrap_err().again, Again::Later);
    }

    #[tokio::test]
    async fn a_receiver_that_is_down_is_named_by_no_secret() {
        let port = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
        let url = [Part::Text(format!("http://127.0.0.1:{port}/")), Part::Hidden("s3cr3t".to_owned())];
        let webhook = Webhook::new(&Template::new(url.to_vec()));
        let sent = message(NotifyOn::Oom, Fact::new(EventWord::Ended), 1, None);
        assert_eq!(webhook.deliver(&sent).await, Err(later("connection refused".to_owned())));
    }
}
