//! What the guardian knows of each process it was asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

use crate::guardian::protocol::{FromGuardian, Token};
use crate::model;
use crate::model::names::{InstanceId, Pid};
use crate::os::cgroup::Group;
use crate::os::cgroup::bounds::Bounds;
use crate::os::pidfd::PidFd;
use crate::os::spawn::Spawning;

/// One process asked for, and its tree.
#[derive(Debug)]
pub(super) struct Run {
    /// Until it is decided whether it executes its program.
    pub(super) spawning: Option<Spawning>,
    /// It did not; the engine has been told.
    pub(super) failed: bool,
    /// The main process, until it is reaped: as long as it is here, its number cannot be another's.
    pub(super) main: Option<Pid>,
    /// An adopted main process, until it has ended.
    pub(super) watch: Option<PidFd>,
    /// The session it started with (its own number), which what it leaves behind still bears.
    pub(super) session: Pid,
    /// Its control group, until it is removed.
    pub(super) group: Option<Group>,
    /// What limits its memory and CPU.
    pub(super) bounds: Bounds,
    /// The run it is; none: a command.
    pub(super) of: Option<(InstanceId, model::names::Run)>,
    /// The signals that were sent to it: bit 0 for signal 1, and so on.
    pub(super) signals: u64,
    /// How its main process ended, as the engine was told.
    pub(super) ended: Option<FromGuardian>,
    /// Our ends of its pipes: nothing it wrote is lost while the engine is away.
    pub(super) pipes: Vec<OwnedFd>,
    /// Nothing of it lives any more.
    pub(super) gone: bool,
    /// The engine has written it down.
    pub(super) forgotten: bool,
}

impl Run {
    /// A process on its way to its program.
    pub(super) fn new(spawning: Spawning, group: Option<Group>, bounds: Bounds, pipes: Vec<OwnedFd>) -> Self {
        Self {
            main: Some(spawning.pid),
            watch: None,
            session: spawning.pid,
            spawning: Some(spawning),
            failed: false,
            of: None,
            signals: 0,
            ended: None,
            group,
            bounds,
            pipes,
            gone: false,
            forgotten: false,
        }
    }
}

impl Run {
    /// A process that an earlier guardian started.
    pub(super) fn adopted(
        main: Pid,
        of: (InstanceId, model::names::Run),
        group: Option<Group>,
        pipes: Vec<OwnedFd>,
    ) -> Self {
        Self {
            spawning: None,
            failed: false,
            main: Some(main),
            watch: None,
            session: main,
            group,
            bounds: Bounds::default(),
            of: Some(of),
            signals: 0,
            ended: None,
            pipes,
            gone: false,
            forgotten: false,
        }
    }
}

/// A tree being killed again and again until it is empty.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ending {
    /// When next, in milliseconds of the monotonic clock.
    pub(super) next: u64,
    /// The pause after that.
    pub(super) pause: u64,
}

/// How long to wait after the first kill before looking again, in milliseconds.
const FIRST_PAUSE: u64 = 5;
/// The longest such wait.
const LONGEST_PAUSE: u64 = 1_000;

impl Ending {
    /// A kill has just been sent for the first time.
    pub(super) fn begun(now: u64) -> Self {
        Self { next: now + FIRST_PAUSE, pause: FIRST_PAUSE * 2 }
    }

    /// A kill has just been sent once more.
    pub(super) fn repeated(self, now: u64) -> Self {
        Self { next: now + self.pause, pause: (self.pause * 2).min(LONGEST_PAUSE) }
    }
}

/// All of them, by token and by main process; and, so that no turn of the loop has to look at all, the few that want
/// attention.
#[derive(Debug, Default)]
pub(super) struct Runs {
    by_token: BTreeMap<Token, Run>,
    by_main: BTreeMap<Pid, Token>,
    /// Of which something lives.
    living: BTreeSet<Token>,
    /// Whose main process has ended, but not all of the tree.
    lingering: BTreeSet<Token>,
    /// Whose tree is being killed.
    ending: BTreeMap<Token, Ending>,
}

impl Runs {
    pub(super) fn insert(&mut self, token: Token, run: Run) {
        if let Some(main) = run.main {
            self.by_main.insert(main, token);
        }
        self.living.insert(token);
        self.by_token.insert(token, run);
    }

    /// All of them.
    pub(super) fn all(&self) -> impl Iterator<Item = (Token, &Run)> {
        self.by_token.iter().map(|(token, run)| (*token, run))
    }

    pub(super) fn get(&self, token: Token) -> Option<&Run> {
        self.by_token.get(&token)
    }

    pub(super) fn get_mut(&mut self, token: Token) -> Option<&mut Run> {
        self.by_token.get_mut(&token)
    }

    /// Notes that the main process `pid` was reaped; whose it was.
    pub(super) fn main_reaped(&mut self, pid: Pid) -> Option<Token> {
        let token = self.by_main.remove(&pid)?;
        self.by_token.get_mut(&token)?.main = None;
        self.lingering.insert(token);
        Some(token)
    }

    /// Whether `pid` is the main process of a run.
    pub(super) fn is_main(&self, pid: Pid) -> bool {
        self.by_main.contains_key(&pid)
    }

    /// The run whose first session was `session`, unless it is over.
    pub(super) fn of_session(&self, session: i32) -> Option<Token> {
        self.by_token.iter().find(|(_, run)| !run.gone && run.session.0 == session).map(|(token, _)| *token)
    }

    /// Notes that nothing of a run lives any more.
    pub(super) fn set_gone(&mut self, token: Token) -> Option<&mut Run> {
        self.living.remove(&token);
        self.lingering.remove(&token);
        self.ending.remove(&token);
        let run = self.by_token.get_mut(&token)?;
        run.gone = true;
        Some(run)
    }

    /// Drops what is both over and written down.
    pub(super) fn drop_if_done(&mut self, token: Token) {
        if self.by_token.get(&token).is_some_and(|run| run.gone && run.forgotten) {
            self.by_token.remove(&token);
        }
    }

    /// Notes that a tree has been killed once; false when that has been under way before, or nothing of it lives.
    pub(super) fn begin_ending(&mut self, token: Token, now: u64) -> bool {
        let first = self.living.contains(&token) && !self.ending.contains_key(&token);
        if first {
            self.ending.insert(token, Ending::begun(now));
        }
        first
    }

    /// The trees to be killed once more at `now`; each is due again after a longer pause.
    pub(super) fn due(&mut self, now: u64) -> Vec<Token> {
        let due = self.ending.iter_mut().filter(|(_, ending)| ending.next <= now);
        due.map(|(token, ending)| {
            *ending = ending.repeated(now);
            *token
        })
        .collect()
    }

    /// When the next of them is due, in milliseconds of the monotonic clock.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.ending.values().map(|ending| ending.next).min()
    }

    /// Those whose main process has ended but not all of their tree.
    pub(super) fn lingering(&self) -> Vec<Token> {
        self.lingering.iter().copied().collect()
    }

    /// Whether there are such.
    pub(super) fn has_lingering(&self) -> bool {
        !self.lingering.is_empty()
    }

    /// Those of which something lives.
    pub(super) fn living(&self) -> Vec<Token> {
        self.living.iter().copied().collect()
    }

    /// Whether nothing of any run lives.
    pub(super) fn is_quiet(&self) -> bool {
        self.living.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pid: i32) -> Run {
        Run {
            spawning: None,
            failed: false,
            of: None,
            signals: 0,
            ended: None,
            main: Some(Pid(pid)),
            watch: None,
            session: Pid(pid),
            group: None,
            bounds: Bounds::default(),
            pipes: vec![],
            gone: false,
            forgotten: false,
        }
    }

    #[test]
    fn the_pause_between_kills_doubles_up_to_a_second() {
        let mut ending = Ending::begun(0);
        let mut at = vec![ending.next];
        for _ in 0..10 {
            ending = ending.repeated(ending.next);
            at.push(ending.next);
        }
        assert_eq!(at, [5, 15, 35, 75, 155, 315, 635, 1_275, 2_275, 3_275, 4_275]);
    }

    #[test]
    fn a_run_is_kept_until_it_is_over_and_written_down() {
        let mut runs = Runs::default();
        runs.insert(Token(1), run(100));
        assert_eq!(runs.main_reaped(Pid(99)), None);
        assert_eq!(runs.main_reaped(Pid(100)), Some(Token(1)));
        assert_eq!((runs.is_main(Pid(100)), runs.lingering()), (false, vec![Token(1)]));
        assert_eq!(runs.of_session(100), Some(Token(1)));
        assert!(runs.begin_ending(Token(1), 0) && !runs.begin_ending(Token(1), 1));
        assert_eq!((runs.due(4), runs.due(5), runs.next_due()), (vec![], vec![Token(1)], Some(15)));
        runs.get_mut(Token(1)).unwrap().forgotten = true;
        runs.drop_if_done(Token(1));
        assert!(!runs.is_quiet());
        assert!(runs.set_gone(Token(1)).is_some());
        runs.drop_if_done(Token(1));
        assert!(runs.is_quiet() && runs.get(Token(1)).is_none());
    }
}
