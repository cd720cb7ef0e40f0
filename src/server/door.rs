//! One door: lets a request pass or refuses it, then leads it to its route.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use axum::Router;
use axum::body::Body;
use axum::http::header::{ALLOW, CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Request, Response, Uri};
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use crate::handle::Handle;
use crate::model::command::{Denied, DeniedCode};
use crate::server::access::{Access, Rules, TcpRules, Visitor};
use crate::server::recent::Recent;
use crate::server::rendered::Rendered;
use crate::server::reply::{denied, internal, refuse};
use crate::server::{dispatch, gzip, page};

/// The body of a request, in bytes; above it the answer is 413.
pub(crate) const BODY_SIZE: usize = 64 << 10;

/// Connections that may wait or stream at a time: the rest stays free for questions that are answered at once.
const LONG: usize = 48;

/// Files read at a time: each holds a thread.
const READS: usize = 4;

/// One connection, as its requests see it.
#[derive(Clone, Debug)]
pub(crate) struct Connection {
    /// Who is at the other end.
    pub(crate) visitor: Visitor,
    /// Set once an answer streams: then the reader may be slow.
    pub(crate) streaming: Arc<AtomicBool>,
}

/// What every handler of a door shares.
#[derive(Debug)]
pub(crate) struct Desk {
    /// The running project.
    pub(crate) handle: Handle,
    /// The latest events, also those the history has not written yet.
    pub(crate) recent: Recent,
    /// The status as it was last written.
    pub(crate) rendered: Rendered,
    /// Turns true when everup closes its doors.
    pub(crate) closing: watch::Receiver<bool>,
    /// Whether a token opens this door for changes.
    pub(crate) token: bool,
    long: Arc<Semaphore>,
    reads: Semaphore,
}

impl Desk {
    /// A place among those that wait or stream.
    ///
    /// # Errors
    /// `Unavailable` when all are taken.
    pub(crate) fn place(&self) -> Result<OwnedSemaphorePermit, Denied> {
        self.long.clone().try_acquire_owned().map_err(|_| {
            denied(
                DeniedCode::Unavailable,
                format!("{LONG} requests wait or stream here already"),
                "end one of them, or ask without wait and follow",
            )
        })
    }

    /// Reads files on another thread, so that a slow disk does not hold up the loop.
    ///
    /// # Errors
    /// `Internal` when the reader did not come to its end.
    pub(crate) async fn read<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Denied> {
        let lost = |_| internal("the reading was given up");
        let _turn = self.reads.acquire().await.map_err(|_| internal("the reading was given up"))?;
        tokio::task::spawn_blocking(job).await.map_err(lost)
    }
}

/// One listener's door.
#[derive(Debug)]
pub(crate) struct Door {
    rules: Rules,
    router: Router,
}

impl Door {
    pub(crate) fn new(handle: Handle, rules: Rules, closing: watch::Receiver<bool>) -> Self {
        let desk = Desk {
            recent: Recent::new(&handle),
            rendered: Rendered::default(),
            handle,
            closing,
            token: matches!(&rules, Rules::Tcp(TcpRules { token: Some(_), .. })),
            long: Arc::new(Semaphore::new(LONG)),
            reads: Semaphore::new(READS),
        };
        Self { rules, router: dispatch::router(&Arc::new(desk)) }
    }

    /// Answers one request; never fails.
    pub(crate) async fn answer(&self, request: Request<Incoming>, connection: Connection) -> Response<Body> {
        let headers = request.headers().clone();
        let mut response = self.lead(request, connection).await;
        if headers.contains_key(TRANSFER_ENCODING) {
            // A proxy before us may have seen another end of this request: what follows it is not to be a request.
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if let Some(denied) = response.extensions_mut().remove::<Denied>().filter(|_| page::is_browser(&headers)) {
            let kept = response.headers_mut().remove(ALLOW);
            response = page::refused::page(&denied, &headers, self.port());
            response.headers_mut().extend(kept.map(|allow| (ALLOW, allow)));
        }
        match &self.rules {
            Rules::Unix(_) => response,
            Rules::Tcp(_) => gzip::pack(&headers, response).await,
        }
    }

    /// Where this door is, over TCP.
    fn port(&self) -> Option<u16> {
        match &self.rules {
            Rules::Unix(_) => None,
            Rules::Tcp(rules) => Some(rules.listen.port()),
        }
    }

    async fn lead(&self, request: Request<Incoming>, connection: Connection) -> Response<Body> {
        let (mut parts, body) = request.into_parts();
        let access = Access::of(&parts.method);
        let passed = self
            .rules
            .check(&connection.visitor, access, &parts)
            .and_then(|()| announced_size(&parts))
            .and_then(|()| if access == Access::Read { no_body(&body) } else { Ok(()) });
        if let Err(denied) = passed {
            return refuse(denied);
        }
        if let Some(uri) = with_instance(&parts.uri) {
            parts.uri = uri;
        }
        parts.extensions.insert(connection);
        match self.router.clone().oneshot(Request::from_parts(parts, Body::new(body))).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}

/// Refuses a body that says itself that it is too large, before a byte of it is read.
fn announced_size(parts: &Parts) -> Result<(), Denied> {
    let announced = parts.headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|size| size > BODY_SIZE as u64) { Err(too_large()) } else { Ok(()) }
}

/// Refuses a question with a body: nobody would read it, and as long as it is unread nothing tells that who sent it has
/// gone.
fn no_body(body: &Incoming) -> Result<(), Denied> {
    if body.is_end_stream() {
        return Ok(());
    }
    Err(denied(
        DeniedCode::BadRequest,
        "a question has no body",
        "send it without Content-Length and Transfer-Encoding",
    ))
}

/// What a body above [`BODY_SIZE`] is told.
pub(crate) fn too_large() -> Denied {
    denied(DeniedCode::TooLarge, "the body is too large", format!("at most {BODY_SIZE} bytes are read"))
}

/// `/v1/services/web/2/logs` as `/v1/services/web%2F2/logs`, so that a route has one form.
fn with_instance(uri: &Uri) -> Option<Uri> {
    let (name, rest) = uri.path().strip_prefix("/v1/services/")?.split_once('/')?;
    let digits = NonZeroUsize::new(rest.bytes().take_while(u8::is_ascii_digit).count())?.get();
    let (index, behind) = rest.split_at(digits);
    if !(behind.is_empty() || behind.starts_with('/')) {
        return None;
    }
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let path = PathAndQuery::try_from(format!("/v1/services/{name}%2F{index}{behind}{query}")).ok()?;
    Some(Uri::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_may_be_written_as_a_path() {
        for (path, expected) in [
            ("/v1/services/web/2", Some("/v1/services/web%2F2")),
            ("/v1/services/web/2/logs?n=1", Some("/v1/services/web%2F2/logs?n=1")),
            ("/v1/services/w*/2/stop", Some("/v1/services/w*%2F2/stop")),
            ("/v1/services/web/logs", None),
            ("/v1/services/web/2x", None),
            ("/v1/services/web", None),
            ("/v1/status", None),
        ] {
            let found = with_instance(&Uri::from_static(path));
            assert_eq!(found.map(|uri| uri.to_string()).as_deref(), expected, "{path}");
        }
    }
}
