//! Signals by the names people use, without `SIG`.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A signal by its Linux number; written and read as its name without SIG (`TERM`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Signal(i32);

/// Numbers as on x86, arm and riscv (signal(7)).
const NAMES: [(&str, i32); 31] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

impl Signal {
    /// Hang-up: reread the configuration, by custom.
    pub const HUP: Self = Self(1);
    /// What Ctrl-C sends.
    pub const INT: Self = Self(2);
    /// Ends a process and cannot be refused.
    pub const KILL: Self = Self(9);
    /// The polite request to end.
    pub const TERM: Self = Self(15);
    /// Wakes a stopped process.
    pub const CONT: Self = Self(18);
    /// Aborts, with a core where that is enabled.
    pub const ABRT: Self = Self(6);

    /// The signal with this number, from 1 to 64.
    pub fn from_number(number: i32) -> Option<Self> {
        (1..=64).contains(&number).then_some(Self(number))
    }

    /// The number the kernel knows it by.
    pub fn number(self) -> i32 {
        self.0
    }

    /// Reads `TERM`, `SIGTERM`, `term` or `15`; real-time signals as `RTMIN+3` (counted from 34).
    ///
    /// # Errors
    /// A sentence naming the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        NAMES
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, number)| Self(*number))
            .or_else(|| {
                name.strip_prefix("RTMIN+")
                    .and_then(|n| n.parse::<i32>().ok())
                    .and_then(|n| Self::from_number(34_i32.checked_add(n)?))
            })
            .or_else(|| name.parse().ok().and_then(Self::from_number))
            .ok_or_else(|| {
                format!("cannot read {text:?} as a signal: write a name such as TERM, INT or HUP, or its number")
            })
    }

    /// Every name that [`Signal::parse`] knows, for suggestions.
    pub fn names() -> impl Iterator<Item = &'static str> {
        NAMES.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => f.pad(name),
            None if self.0 >= 34 => write!(f, "RTMIN+{}", self.0 - 34),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signal({self})")
    }
}

impl TryFrom<String> for Signal {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text)
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_reads_by_any_of_its_names_and_shows_one() {
        for text in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(Signal::parse(text), Ok(Signal::TERM));
        }
        for (number, name) in [(9, "KILL"), (37, "RTMIN+3"), (33, "33")] {
            let signal = Signal::from_number(number).unwrap();
            assert_eq!(signal.to_string(), name);
            assert_eq!(Signal::parse(name), Ok(signal));
        }
        for bad in ["", "TREM", "0", "65", "-9", "RTMIN+99"] {
            assert!(Signal::parse(bad).is_err(), "{bad}");
        }
    }
}
