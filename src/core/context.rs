//! What every handler is given: the time, the dice, and where actions go.

use crate::core::action::Action;
use crate::core::budget::Budget;
use crate::model::units::Now;
use serde::{Deserialize, Serialize};

/// The surroundings of one step.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    /// The time of this step.
    pub(crate) now: Now,
    /// Collects what the shell must do.
    pub(crate) out: &'a mut Vec<Action>,
    /// For jitter only.
    pub(crate) dice: &'a mut Dice,
    /// Limits automatic restarts over all services.
    pub(crate) budget: &'a mut Budget,
}

/// Seeded randomness (splitmix64), so that a recorded list of events replays exactly.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    /// A number from 0 up to, not including, 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^= z >> 31;
        // 32 bits are plenty for jitter, and a double holds them exactly.
        f64::from(u32::try_from(z >> 32).unwrap_or_default()) / (f64::from(u32::MAX) + 1.0)
    }
}
