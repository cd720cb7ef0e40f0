//! Delivers messages to one target, one after the other, and tries again for a while.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use crate::notify::message::Message;

/// How long it waits before each further attempt; after the last the message is given up.
pub const WAITS: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(5),
    Duration::from_secs(30),
    Duration::from_mins(2),
    Duration::from_mins(5),
];
/// Messages that may wait for one target; beyond, the oldest is given up.
pub const WAITING: usize = 64;
/// What a receiver may ask for at most.
const LONGEST_WAIT: Duration = Duration::from_mins(10);

/// Work under way on the loop's own thread.
pub type Doing<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// A way to one target.
pub trait Deliver {
    /// Makes one attempt, within a limit of its own.
    fn deliver<'a>(&'a self, message: &'a Message) -> Doing<'a, Result<(), Refusal>>;
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// A sentence without secrets.
    pub reason: String,
    /// Whether another attempt may do better.
    pub again: Again,
}

/// Whether another attempt may do better.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// No: the same would come of it.
    Never,
    /// Yes, later.
    Later,
    /// Yes, but not before this time has passed.
    After(Duration),
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which.
    pub message: Arc<Message>,
    /// How far it is.
    pub news: News,
}

/// How far a message is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// It has arrived.
    Told,
    /// The first attempt failed, for this reason; others follow.
    Failing(String),
    /// It will not arrive, for this reason.
    GivenUp(String),
}

/// Takes reports; waits where there is no room for one.
pub type Ear = Rc<dyn Fn(Report) -> Doing<'static, ()>>;

/// Carries messages to one target. Ends, with all that waits, when it is dropped.
pub struct Courier {
    desk: Rc<Desk>,
    task: AbortHandle,
}

#[derive(Debug, Default)]
struct Desk {
    queue: RefCell<VecDeque<Arc<Message>>>,
    /// The one under way.
    current: RefCell<Option<Arc<Message>>>,
    /// Those that were given up for want of room, still to be reported.
    dropped: RefCell<VecDeque<Arc<Message>>>,
    trouble: RefCell<Option<String>>,
    wake: Notify,
    /// No time is left: each message gets one more attempt at once.
    hurried: Cell<bool>,
    hurry: Notify,
}

impl Courier {
    /// Begins its work on the current thread's `LocalSet`. `waits` as [`WAITS`].
    pub fn start(target: impl Deliver + 'static, waits: &'static [Duration], ear: Ear) -> Self {
        let desk = Rc::new(Desk::default());
        let task = tokio::task::spawn_local(work(desk.clone(), target, waits, ear)).abort_handle();
        Self { desk, task }
    }

    /// Takes a message; never waits.
    pub fn send(&self, message: Arc<Message>) {
        let mut queue = self.desk.queue.borrow_mut();
        queue.push_back(message);
        if queue.len() > WAITING {
            self.desk.dropped.borrow_mut().extend(queue.pop_front());
        }
        self.desk.wake.notify_one();
    }

    /// Why the latest attempt failed; none when it succeeded.
    pub fn trouble(&self) -> Option<String> {
        self.desk.trouble.borrow().clone()
    }

    /// What has not arrived yet.
    pub fn left(&self) -> Vec<Arc<Message>> {
        let current = self.desk.current.borrow().clone();
        current.into_iter().chain(self.desk.queue.borrow().iter().cloned()).collect()
    }

    /// No time is left: whatever waits is tried once more at once.
    pub fn hurry(&self) {
        self.desk.hurried.set(true);
        self.desk.hurry.notify_one();
    }
}

impl Drop for Courier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl fmt::Debug for Courier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Courier").field("desk", &self.desk).finish_non_exhaustive()
    }
}

async fn work(desk: Rc<Desk>, target: impl Deliver, waits: &'static [Duration], ear: Ear) {
    loop {
        let dropped = desk.dropped.borrow_mut().pop_front();
        if let Some(message) = dropped {
            let news = News::GivenUp(format!("{WAITING} newer messages wait"));
            ear(Report { message, news }).await;
            continue;
        }
        let next = desk.queue.borrow_mut().pop_front();
        let Some(message) = next else {
            desk.wake.notified().await;
            continue;
        };
        desk.current.replace(Some(message.clone()));
        let news = carry(&desk, &target, &message, waits, &ear).await;
        desk.current.replace(None);
        ear(Report { message, news }).await;
    }
}

/// Tries until it has arrived or there is no sense in another attempt.
async fn carry(
    desk: &Desk,
    target: &impl Deliver,
    message: &Arc<Message>,
    waits: &'static [Duration],
    ear: &Ear,
) -> News {
    let mut waits = waits.iter();
    let mut attempts = 0_u32;
    loop {
        // After an attempt that was begun in a hurry there is no other.
        let last = desk.hurried.get();
        let refusal = match target.deliver(message).await {
            Ok(()) => {
                desk.trouble.replace(None);
                return News::Told;
            }
            Err(refusal) => refusal,
        };
        attempts += 1;
        tracing::warn!(message = message.subject(), attempts, reason = refusal.reason, "a message was not taken");
        desk.trouble.replace(Some(refusal.reason.clone()));
        let given_up = |reason: String| {
            let tries = if attempts > 1 { format!(" ({attempts} attempts)") } else { String::new() };
            News::GivenUp(format!("{reason}{tries}"))
        };
        let least = match refusal.again {
            Again::Never => return given_up(refusal.reason),
            Again::Later => Duration::ZERO,
            Again::After(wait) => wait.min(LONGEST_WAIT),
        };
        let Some(wait) = waits.next().filter(|_| !last) else { return given_up(refusal.reason) };
        if attempts == 1 {
            ear(Report { message: message.clone(), news: News::Failing(refusal.reason) }).await;
        }
        if !desk.hurried.get() {
            // Whoever hurries wakes it; too early does no harm.
            let _ = tokio::time::timeout(least.max(*wait), desk.hurry.notified()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::event::{EventWord, Fact};
    use crate::model::plan::NotifyOn;
    use crate::notify::message::tests::message;

    /// What the target answers, what is reported, and which messages it saw.
    type Case = (Vec<Result<(), Refusal>>, Vec<(u32, News)>, Vec<u32>);

    const MS: Duration = Duration::from_millis(1);
    const SHORT: &[Duration] = &[MS, MS];
    const LONG: &[Duration] = &[Duration::from_hours(1)];

    /// Answers in this order, then well; never while it is shut.
    #[derive(Default)]
    struct Scripted {
        answers: RefCell<VecDeque<Result<(), Refusal>>>,
        seen: Rc<RefCell<Vec<u32>>>,
        is_shut: bool,
    }

    impl Deliver for Scripted {
        fn deliver<'a>(&'a self, message: &'a Message) -> Doing<'a, Result<(), Refusal>> {
            self.seen.borrow_mut().push(message.times);
            let answer = self.answers.borrow_mut().pop_front().unwrap_or(Ok(()));
            let is_shut = self.is_shut;
            Box::pin(async move { if is_shut { std::future::pending().await } else { answer } })
        }
    }

    fn refused(again: Again) -> Result<(), Refusal> {
        Err(Refusal { reason: "down".to_owned(), again })
    }

    fn numbered(times: u32) -> Arc<Message> {
        Arc::new(message(NotifyOn::Failed, Fact::new(EventWord::Failed), times, None))
    }

    fn ear() -> (Ear, tokio::sync::mpsc::Receiver<(u32, News)>) {
        let (sender, reports) = tokio::sync::mpsc::channel(200);
        let ear: Ear = Rc::new(move |report: Report| {
            let sender = sender.clone();
            Box::pin(async move { drop(sender.send((report.message.times, report.news)).await) })
        });
        (ear, reports)
    }

    fn given_up(reason: &str) -> News {
        News::GivenUp(reason.to_owned())
    }

    fn failing() -> News {
        News::Failing("down".to_owned())
    }

    #[tokio::test]
    async fn what_is_refused_is_tried_again_in_its_order() {
        let cases: Vec<Case> = vec![
            (vec![], vec![(1, News::Told), (2, News::Told)], vec![1, 2]),
            (vec![refused(Again::Later)], vec![(1, failing()), (1, News::Told), (2, News::Told)], vec![1, 1, 2]),
            (
                vec![refused(Again::After(MS)), refused(Again::Later), refused(Again::Later)],
                vec![(1, failing()), (1, given_up("down (3 attempts)")), (2, News::Told)],
                vec![1, 1, 1, 2],
            ),
            (vec![refused(Again::Never)], vec![(1, given_up("down")), (2, News::Told)], vec![1, 2]),
        ];
        for (answers, expected, seen) in cases {
            tokio::task::LocalSet::new()
                .run_until(async {
                    let (ear, mut reports) = ear();
                    let target = Scripted { answers: RefCell::new(answers.into()), ..Scripted::default() };
                    let asked = target.seen.clone();
                    let courier = Courier::start(target, SHORT, ear);
                    courier.send(numbered(1));
                    courier.send(numbered(2));
                    for one in &expected {
                        assert_eq!(reports.recv().await.as_ref(), Some(one));
                    }
                    assert_eq!((asked.borrow().clone(), courier.trouble(), courier.left().len()), (seen, None, 0));
                })
                .await;
        }
    }

    #[tokio::test]
    async fn beyond_what_may_wait_the_oldest_is_given_up() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let (ear, mut reports) = ear();
                let answers = RefCell::new([refused(Again::Later)].into());
                let courier = Courier::start(Scripted { answers, ..Scripted::default() }, SHORT, ear);
                for number in 1..=100 {
                    courier.send(numbered(number));
                }
                assert_eq!(courier.left().len(), WAITING);
                for number in 1..=36 {
                    assert_eq!(reports.recv().await, Some((number, given_up("64 newer messages wait"))));
                }
                assert_eq!(reports.recv().await, Some((37, failing())));
                for number in 37..=100 {
                    assert_eq!(reports.recv().await, Some((number, News::Told)));
                }
            })
            .await;
    }

    #[tokio::test]
    async fn in_a_hurry_each_message_gets_one_more_attempt() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let (ear, mut reports) = ear();
                let answers = (0..2).map(|_| refused(Again::Later)).chain([Ok(()), refused(Again::Later)]);
                let answers = RefCell::new(answers.collect());
                let courier = Courier::start(Scripted { answers, ..Scripted::default() }, LONG, ear);
                (1..=3).for_each(|number| courier.send(numbered(number)));
                assert_eq!(reports.recv().await, Some((1, failing())));
                assert_eq!((courier.trouble().as_deref(), courier.left().len()), (Some("down"), 3));
                courier.hurry();
                let expected = [(1, given_up("down (2 attempts)")), (2, News::Told), (3, given_up("down"))];
                for one in expected {
                    assert_eq!(reports.recv().await, Some(one));
                }
            })
            .await;
    }

    #[tokio::test]
    async fn a_target_that_hangs_keeps_its_messages() {
        tokio::task::LocalSet::new()
            .run_until(async {
                let (ear, _reports) = ear();
                let target = Scripted { is_shut: true, ..Scripted::default() };
                let asked = target.seen.clone();
                let courier = Courier::start(target, SHORT, ear);
                (1..=3).for_each(|number| courier.send(numbered(number)));
                while asked.borrow().is_empty() {
                    tokio::task::yield_now().await;
                }
                assert_eq!((courier.left().len(), courier.trouble()), (3, None));
            })
            .await;
    }
}
