//! The status as JSON, written once a snapshot: between two of them only a few numbers move.
//!
//! Writing a hundred services out takes several times the rest of a request, and those who poll ask more often than
//! anything changes.

use std::sync::{Arc, Mutex, PoisonError};

use crate::handle::Handle;
use crate::model::command::Denied;
use crate::model::status::Status;
use crate::model::units::{Moment, millis};
use crate::server::reply::internal;

/// The JSON of one instance, in bytes, generously: saves growing the text step by step.
const INSTANCE_SIZE: usize = 1024;

/// What stands in the text for a number that moves. No clock gets there.
const UPTIME: (&str, &str) = (r#""uptime_ms":"#, "18446744073709551615");
const NEXT_ATTEMPT: (&str, &str) = (r#""next_attempt_in_ms":"#, "18446744073709551615");

/// The latest text.
#[derive(Debug, Default)]
pub(crate) struct Rendered(Mutex<Option<Text>>);

impl Rendered {
    /// What [`Handle::status`] gives, as JSON.
    ///
    /// # Errors
    /// `Internal` when it cannot be written.
    pub(crate) async fn status(&self, handle: &Handle) -> Result<Vec<u8>, Denied> {
        handle.refresh().await;
        let now = (handle.clock)().moment;
        let snapshot = handle.snapshot.borrow().clone();
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = match kept.take() {
            Some(text) if Arc::ptr_eq(&text.of, &snapshot) => text,
            Some(_) | None => Text::of(snapshot)?,
        };
        Ok(kept.insert(text).at(now))
    }
}

/// The text of one snapshot.
#[derive(Debug)]
struct Text {
    /// Held, so that no other snapshot can be taken for it.
    of: Arc<Status>,
    json: String,
    /// Where numbers that move stand, in ascending order.
    holes: Vec<Hole>,
}

#[derive(Debug)]
struct Hole {
    start: usize,
    end: usize,
    number: Number,
}

#[derive(Clone, Copy, Debug)]
enum Number {
    Since(Moment),
    Until(Moment),
}

impl Text {
    fn of(snapshot: Arc<Status>) -> Result<Self, Denied> {
        let mut status = Status::clone(&snapshot);
        let mut numbers = Vec::new();
        for instance in status.services.iter_mut().flat_map(|service| &mut service.instances) {
            instance.uptime_ms = instance.running_since.map(|_| u64::MAX);
            instance.next_attempt_in_ms = instance.next_attempt_at.map(|_| u64::MAX);
            numbers.extend(instance.running_since.map(|since| (UPTIME, Number::Since(since))));
            numbers.extend(instance.next_attempt_at.map(|at| (NEXT_ATTEMPT, Number::Until(at))));
        }
        let instances: usize = status.services.iter().map(|service| service.instances.len().max(1)).sum();
        let mut bytes = Vec::with_capacity((1 + instances) * INSTANCE_SIZE);
        serde_json::to_writer(&mut bytes, &status)
            .map_err(|error| internal(format!("cannot write the status as JSON: {error}")))?;
        let text = String::from_utf8(bytes).map_err(|_| internal("cannot write the status as JSON"))?;
        let mut from = 0;
        let mut holes = Vec::with_capacity(numbers.len());
        for ((key, placeholder), number) in numbers {
            // A quotation mark inside a string is written with a backslash, so only the key itself is found.
            let found = text[from..].find(&format!("{key}{placeholder}"));
            let start = from + found.ok_or_else(|| internal("cannot find a time in the status"))? + key.len();
            from = start + placeholder.len();
            holes.push(Hole { start, end: from, number });
        }
        Ok(Self { of: snapshot, json: text, holes })
    }

    /// The text with the numbers of this moment.
    fn at(&self, now: Moment) -> Vec<u8> {
        let bytes = self.json.as_bytes();
        let mut out = Vec::with_capacity(bytes.len());
        let mut from = 0;
        for hole in &self.holes {
            out.extend_from_slice(&bytes[from..hole.start]);
            let number = match hole.number {
                Number::Since(since) => millis(now.since(since)),
                Number::Until(at) => millis(at.since(now)),
            };
            out.extend_from_slice(number.to_string().as_bytes());
            from = hole.end;
        }
        out.extend_from_slice(&bytes[from..]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::canned;

    #[test]
    fn the_text_is_what_the_status_itself_would_be_written_as() {
        let mut status = canned::status(&[("web", 3), ("db", 1), ("none", 0)]);
        let trap = format!("{}{} \"uptime_ms\":18446744073709551615 \\", UPTIME.0, UPTIME.1);
        status.services[0].reason = Some(trap.clone());
        let instances = &mut status.services[0].instances;
        instances[0].running_since = None;
        instances[1].next_attempt_at = Some(Moment(12_345));
        instances[2].next_attempt_at = Some(Moment(2));
        instances[1].reason = Some(trap);
        let text = Text::of(Arc::new(status.clone())).unwrap();
        for now in [Moment(0), Moment(1_000), Moment(9_999), Moment(u64::MAX)] {
            for instance in status.services.iter_mut().flat_map(|service| &mut service.instances) {
                instance.uptime_ms = instance.running_since.map(|since| millis(now.since(since)));
                instance.next_attempt_in_ms = instance.next_attempt_at.map(|at| millis(at.since(now)));
            }
            let expected = serde_json::to_string(&status).unwrap();
            assert_eq!(String::from_utf8(text.at(now)).unwrap(), expected, "{now:?}");
        }
    }
}
