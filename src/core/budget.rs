//! A bucket for automatic restarts over all services, so that a mass crash cannot starve the machine.
//!
//! Boot and people's commands never take from it.

use crate::model::units::Moment;
use serde::{Deserialize, Serialize};

/// Tokens a second.
const RATE: u64 = 100;
/// What a quiet time saves up.
const BURST: u64 = 500;

/// The bucket, counted in thousandths of a token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Budget {
    milli_tokens: u64,
    filled: Moment,
}

impl Budget {
    /// A full bucket.
    pub(crate) fn new() -> Self {
        Self { milli_tokens: BURST * 1_000, filled: Moment(0) }
    }

    /// Takes one token.
    ///
    /// # Errors
    /// When there is none: the moment at which there will be one.
    pub(crate) fn take(&mut self, now: Moment) -> Result<(), Moment> {
        let earned = now.0.saturating_sub(self.filled.0).saturating_mul(RATE);
        self.milli_tokens = self.milli_tokens.saturating_add(earned).min(BURST * 1_000);
        self.filled = self.filled.max(now);
        if self.milli_tokens >= 1_000 {
            self.milli_tokens -= 1_000;
            return Ok(());
        }
        Err(Moment(now.0.saturating_add((1_000 - self.milli_tokens).div_ceil(RATE))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_then_a_hundred_a_second() {
        let mut budget = Budget::new();
        let now = Moment(1_000_000);
        assert_eq!((0..1_000).filter(|_| budget.take(now).is_ok()).count(), 500);
        assert_eq!(budget.take(now), Err(Moment(1_000_010)));
        let second = (0..1_000).filter(|ms| budget.take(Moment(now.0 + ms)).is_ok()).count();
        assert!((99..=100).contains(&second), "{second}");
    }
}
