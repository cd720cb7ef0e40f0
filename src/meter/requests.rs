//! Requests as access lines tell them.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::meter::histogram::{Histogram, QUICK};
use crate::model::overview::Requests;
use crate::model::units::Moment;

/// How far back "of late" goes.
const LATELY: Duration = Duration::from_mins(1);
/// Answers from here on are the server's errors.
const ERROR: u16 = 500;

/// A request's method: a closed set, so that nobody outside can make up series.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "RFC 9110's own words")]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Delete,
    Patch,
    Options,
    /// Anything else.
    Other,
}

impl Method {
    /// Its word in labels.
    pub fn word(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Options => "OPTIONS",
            Self::Other => "OTHER",
        }
    }

    /// The method of this name.
    pub fn of(name: &str) -> Self {
        match name {
            "GET" => Self::Get,
            "HEAD" => Self::Head,
            "POST" => Self::Post,
            "PUT" => Self::Put,
            "DELETE" => Self::Delete,
            "PATCH" => Self::Patch,
            "OPTIONS" => Self::Options,
            _ => Self::Other,
        }
    }
}

/// What one access line tells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Access {
    /// The method.
    pub method: Method,
    /// The status it was answered with, 100 to 599.
    pub code: u16,
    /// How long that took; none where the line does not say.
    pub seconds: Option<f64>,
}

/// The requests of one instance since everup started.
#[derive(Clone, Debug)]
pub struct RequestCounts {
    /// By method and code. Nothing in it goes down.
    pub counts: BTreeMap<(Method, u16), u64>,
    /// How long they took, of those whose line says so.
    pub duration: Histogram,
    /// By the second, oldest first: how many, and how many of them with an error.
    lately: VecDeque<(u64, u64, u64)>,
}

impl Default for RequestCounts {
    fn default() -> Self {
        Self { counts: BTreeMap::new(), duration: Histogram::new(QUICK), lately: VecDeque::new() }
    }
}

impl RequestCounts {
    /// Takes a line that was read at `now`.
    pub(super) fn add(&mut self, access: Access, now: Moment) {
        *self.counts.entry((access.method, access.code)).or_default() += 1;
        if let Some(seconds) = access.seconds {
            self.duration.observe(seconds);
        }
        let second = now.0 / 1_000;
        let error = u64::from(access.code >= ERROR);
        match self.lately.back_mut() {
            Some((of, seen, errors)) if *of == second => (*seen, *errors) = (*seen + 1, *errors + error),
            Some(_) | None => self.lately.push_back((second, 1, error)),
        }
        while self.lately.front().is_some_and(|(of, ..)| of + LATELY.as_secs() < second) {
            self.lately.pop_front();
        }
    }

    /// Adds what is to be shown at `now` to `sum`.
    pub fn add_to(&self, sum: &mut Requests, now: Moment) {
        sum.seen += self.counts.values().sum::<u64>();
        for (_, seen, errors) in self.lately.iter().filter(|(of, ..)| of + LATELY.as_secs() > now.0 / 1_000) {
            sum.last_minute += seen;
            sum.errors_last_minute += errors;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_minute_passes_and_counts_stay() {
        let mut counts = RequestCounts::default();
        let shown = |counts: &RequestCounts, second: u64| {
            let mut sum = Requests::default();
            counts.add_to(&mut sum, Moment(second * 1_000));
            (sum.seen, sum.last_minute, sum.errors_last_minute)
        };
        assert_eq!(shown(&counts, 0), (0, 0, 0));
        let access = |code| Access { method: Method::Get, code, seconds: Some(0.002) };
        counts.add(access(200), Moment(1_000));
        counts.add(access(502), Moment(1_900));
        counts.add(access(404), Moment(31_000));
        assert_eq!(shown(&counts, 31), (3, 3, 1));
        assert_eq!(shown(&counts, 60), (3, 3, 1));
        assert_eq!(shown(&counts, 61), (3, 1, 0));
        assert_eq!(shown(&counts, 200), (3, 0, 0));
        counts.add(access(200), Moment(500_000));
        assert_eq!((counts.lately.len(), counts.counts[&(Method::Get, 200)]), (1, 2));
        assert_eq!(counts.duration.count(), 4);
    }

    #[test]
    fn a_made_up_method_is_another() {
        assert_eq!(Method::of("PATCH"), Method::Patch);
        for name in ["BREW", "get", "", "GET\u{200b}"] {
            assert_eq!(Method::of(name), Method::Other, "{name:?}");
        }
    }
}
