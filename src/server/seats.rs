//! Room for so many connections at a time: when all seats are taken, the longest-seated that asks for nothing goes.
//!
//! So a crowd that holds connections open and sends nothing, or half of a request, keeps nobody else out.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::Response;
use hyper::body::{Frame, SizeHint};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::sleep;

/// How long a full house waits before somebody has to go.
const BREATH: Duration = Duration::from_millis(20);
/// One seat in so many is cleared at a time.
const CLEARED: usize = 4;

/// The connections that are served, the oldest first.
#[derive(Debug)]
pub(crate) struct Seats {
    most: usize,
    tasks: JoinSet<()>,
    taken: VecDeque<(AbortHandle, Seat)>,
}

/// What a connection knows of its seat.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seat {
    /// Requests whose answers are not yet through.
    asking: Arc<AtomicUsize>,
    /// A request has come.
    has_asked: Arc<AtomicBool>,
}

/// As long as it lives its seat is kept.
#[derive(Debug)]
pub(crate) struct Asking(Seat);

impl Seats {
    /// Room for this many.
    pub(crate) fn new(most: usize) -> Self {
        Self { most, tasks: JoinSet::new(), taken: VecDeque::new() }
    }

    /// Waits until a seat is free; nothing is lost when the future is dropped.
    pub(crate) async fn room(&mut self) {
        loop {
            // A panic has ended its own connection and nothing else.
            while self.tasks.try_join_next().is_some() {}
            if self.tasks.len() < self.most {
                return;
            }
            tokio::select! {
                _ = self.tasks.join_next() => {}
                // Whoever has just come, or has asked already without being heard, has had its chance by then.
                () = sleep(BREATH) => self.clear(),
            }
        }
    }

    /// Ends the oldest of those that ask for nothing, several at once: where one more has come others will.
    fn clear(&mut self) {
        let idle = self.taken.iter().filter(|(task, seat)| !task.is_finished() && seat.is_idle());
        idle.take(self.most.div_ceil(CLEARED)).for_each(|(task, _)| task.abort());
    }

    /// Serves a connection, which is given its seat.
    pub(crate) fn take<F>(&mut self, serve: impl FnOnce(Seat) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let seat = Seat::default();
        let task = self.tasks.spawn(serve(seat.clone()));
        self.taken.retain(|(task, _)| !task.is_finished());
        self.taken.push_back((task, seat));
    }

    /// Waits until all have gone.
    pub(crate) async fn empty(&mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Seat {
    /// Keeps the seat.
    pub(crate) fn ask(&self) -> Asking {
        self.asking.fetch_add(1, Ordering::Relaxed);
        self.has_asked.store(true, Ordering::Relaxed);
        Asking(self.clone())
    }

    /// No request has ever come.
    pub(crate) fn has_asked_nothing(&self) -> bool {
        !self.has_asked.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.asking.load(Ordering::Relaxed) == 0
    }
}

impl Asking {
    /// Keeps the seat until the answer is through, or given up.
    pub(crate) fn until_through(self, answer: Response<Body>) -> Response<Body> {
        answer.map(|body| Body::new(Kept { body, _asking: self }))
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.asking.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A body that keeps a seat.
struct Kept {
    body: Body,
    _asking: Asking,
}

impl hyper::body::Body for Kept {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
