//! Answers without an end: one object a line, or server-sent events.

use std::convert::Infallible;
use std::future::Future;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header::ACCEPT;
use axum::http::{HeaderMap, Response, StatusCode};
use futures_util::stream;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::model::log::Lost;
use crate::server::door::Connection;
use crate::server::reply::typed;

/// What is gathered before it is handed to the connection, in bytes.
pub(crate) const CHUNK: usize = 32 << 10;

/// How long server-sent events may be silent before a comment shows that the line still stands.
const BEAT: Duration = Duration::from_secs(15);

/// How objects are told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// One a line.
    Lines,
    /// Server-sent events.
    Events,
}

impl Format {
    /// What the visitor asks for.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        if accepts.into_iter().any(|accept| accept.contains("text/event-stream")) { Self::Events } else { Self::Lines }
    }

    /// Writes one object; `id` is where a reader that comes back goes on.
    pub(crate) fn write<T: Serialize>(self, out: &mut Vec<u8>, id: Option<u64>, object: &T) {
        let start = out.len();
        if self == Self::Events {
            if let Some(id) = id {
                out.extend_from_slice(format!("id: {id}\n").as_bytes());
            }
            out.extend_from_slice(b"data: ");
        }
        if serde_json::to_writer(&mut *out, object).is_err() {
            // Half an object would spoil those behind it.
            out.truncate(start);
            return;
        }
        out.extend_from_slice(if self == Self::Events { b"\n\n" } else { b"\n" });
    }

    /// Writes that `lost` objects are missing here.
    pub(crate) fn write_lost(self, out: &mut Vec<u8>, lost: u64) {
        self.write(out, None, &Lost { lost });
    }

    /// Resolves when it is time for [`Format::beat`]; never for lines, where every line is an object.
    pub(crate) async fn silence(self) {
        match self {
            Self::Lines => std::future::pending().await,
            Self::Events => tokio::time::sleep(BEAT).await,
        }
    }

    /// A comment that readers skip.
    pub(crate) fn beat() -> Vec<u8> {
        b":\n\n".to_vec()
    }

    fn kind(self) -> &'static str {
        match self {
            Self::Lines => "application/x-ndjson",
            Self::Events => "text/event-stream",
        }
    }

    /// An answer that is complete already.
    pub(crate) fn whole(self, body: Vec<u8>) -> Response<Body> {
        typed(StatusCode::OK, self.kind(), Body::from(body))
    }

    /// An answer that goes on until `source` ends or the visitor leaves; holds `place` that long.
    ///
    /// Nothing is queued here: `source` is asked whenever the connection takes more, and says itself what was lost.
    pub(crate) fn endless<S: Source>(
        self,
        source: S,
        place: OwnedSemaphorePermit,
        connection: &Connection,
    ) -> Response<Body> {
        connection.streaming.store(true, Ordering::Relaxed);
        let chunks = stream::unfold((source, place), |(mut source, place)| async move {
            let chunk = source.next().await?;
            Some((Ok::<_, Infallible>(Bytes::from(chunk)), (source, place)))
        });
        typed(StatusCode::OK, self.kind(), Body::from_stream(chunks))
    }
}

/// Where the objects of a stream come from.
pub(crate) trait Source: Send + 'static {
    /// The next objects, already written; waits until there are some. None at the end.
    fn next(&mut self) -> impl Future<Output = Option<Vec<u8>>> + Send;
}
