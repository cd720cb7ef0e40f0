//! Another program for the engine: tried, and kept once it has taken over; else the one before goes on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use crate::guardian::protocol::{Change, Upgrade};
use crate::guardian::turn::{Guardian, now_ms};

/// How long a new program may take until it has taken over, in milliseconds.
const TAKES_OVER: u64 = 5_000;

/// What the engine is started from.
#[derive(Debug, Default)]
pub(super) struct Programs {
    /// None: this very program.
    current: Option<OwnedFd>,
    trial: Option<Trial>,
    /// An upgrade that failed, until the engine knows.
    failed: Option<Upgrade>,
}

/// A program that is to take over.
#[derive(Debug)]
struct Trial {
    program: OwnedFd,
    change: Change,
    /// When it must have taken over; none: the engine before has not ended yet.
    until: Option<u64>,
    /// It was too slow, and is being killed.
    overdue: bool,
}

/// The end of an engine that is no death.
#[derive(Debug)]
pub(super) struct Handover {
    /// The engine that made room; else the program that was to take over and has not.
    pub(super) is_the_first: bool,
}

impl Programs {
    /// What is to be started next; none: this very program.
    pub(super) fn next(&self) -> Option<BorrowedFd<'_>> {
        self.trial.as_ref().map(|trial| &trial.program).or(self.current.as_ref()).map(AsFd::as_fd)
    }

    /// What the next engine is told about it.
    pub(super) fn news(&self) -> Option<Upgrade> {
        let tried = self.trial.as_ref().map(|trial| Upgrade { change: trial.change.clone(), failed: None });
        tried.or_else(|| self.failed.clone())
    }

    /// When one that has not taken over is given up.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.trial.as_ref().filter(|trial| !trial.overdue).and_then(|trial| trial.until)
    }

    /// Whether the program on trial has just become too slow.
    pub(super) fn is_overdue(&mut self, now: u64) -> bool {
        let Some(trial) = self.trial.as_mut().filter(|trial| !trial.overdue) else { return false };
        trial.overdue = trial.until.is_some_and(|until| until <= now);
        trial.overdue
    }

    /// An engine has ended `how`, in words; none: that was a death as any other.
    pub(super) fn ended(&mut self, how: &str, now: u64) -> Option<Handover> {
        let trial = self.trial.as_mut()?;
        if trial.until.is_none() {
            trial.until = Some(now + TAKES_OVER);
            return Some(Handover { is_the_first: true });
        }
        let Trial { change, overdue, .. } = self.trial.take()?;
        let why = if overdue {
            format!("it had not taken over after {} s", TAKES_OVER / 1_000)
        } else {
            format!("it {how} before it had taken over")
        };
        crate::os::stderr::say(format_args!("not upgraded to {}: {why}; {} goes on", change.to, change.from));
        self.failed = Some(Upgrade { change, failed: Some(why) });
        Some(Handover { is_the_first: false })
    }

    /// The engine knows all that is to be known: from now on it is started from this program.
    pub(super) fn taken_over(&mut self) {
        self.failed = None;
        if let Some(trial) = self.trial.take_if(|trial| trial.until.is_some()) {
            self.current = Some(trial.program);
        }
    }
}

impl Guardian {
    /// The engine ends, to be followed by this program.
    pub(super) fn upgrade(&mut self, change: Change, program: Option<OwnedFd>) {
        let (Some(revival), Some(program)) = (&mut self.revival, program) else { return };
        revival.programs.trial = Some(Trial { program, change, until: None, overdue: false });
        revival.let_end(now_ms());
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;

    use super::*;

    fn on_trial() -> Programs {
        let change = Change { from: "1".to_owned(), to: "2".to_owned(), by: "me".to_owned() };
        let program = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let trial = Some(Trial { program, change, until: None, overdue: false });
        Programs { trial, ..Programs::default() }
    }

    #[test]
    fn a_program_is_kept_once_it_has_taken_over() {
        let mut programs = on_trial();
        // What the one that makes room says last is no proof.
        programs.taken_over();
        assert!(programs.ended("ended with code 0", 10).unwrap().is_the_first);
        let tried = programs.next().unwrap().as_raw_fd();
        assert_eq!(programs.news().unwrap().failed, None);
        programs.taken_over();
        assert_eq!(programs.next().unwrap().as_raw_fd(), tried);
        assert!(programs.news().is_none() && programs.next_due().is_none());
        assert!(programs.ended("was ended by signal 9", 20).is_none());
    }

    #[test]
    fn one_that_ends_or_is_too_slow_makes_room_for_the_one_before() {
        let mut programs = on_trial();
        programs.ended("ended with code 0", 10);
        assert!(!programs.ended("ended with code 1", 20).unwrap().is_the_first);
        assert!(programs.next().is_none());
        let told = programs.news().unwrap().failed.unwrap();
        assert_eq!(told, "it ended with code 1 before it had taken over");
        programs.taken_over();
        assert!(programs.news().is_none());

        let mut programs = on_trial();
        programs.ended("ended with code 0", 10);
        assert!(!programs.is_overdue(10 + TAKES_OVER - 1));
        assert!(programs.is_overdue(10 + TAKES_OVER) && !programs.is_overdue(10 + TAKES_OVER));
        programs.ended("was ended by signal 9", 20);
        assert_eq!(programs.news().unwrap().failed.unwrap(), "it had not taken over after 5 s");
    }
}
