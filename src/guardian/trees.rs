//! The process tree of a run: by its control group where it has one, else by descent.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::os::fd::OwnedFd;

pub(super) use crate::guardian::protocol::TOKEN_VARIABLE;
use crate::guardian::protocol::{FromGuardian, Token};
use crate::guardian::runs::{Run, Runs};
use crate::model::names::Pid;
use crate::os::cgroup::bounds::{Bounds, Controller, Controllers, Most};
use crate::os::cgroup::{Group, Groups, NoCgroup, counts};
use crate::os::tree::{self, Process};

/// Finds, signals and kills trees.
#[derive(Debug)]
pub(super) struct Trees {
    /// How runs are limited. Before `groups`: what it changes there is put back first.
    controllers: Controllers,
    /// The runs' control groups; none: why not.
    pub(super) groups: Result<Groups, NoCgroup>,
    own: Pid,
    engine: Option<Pid>,
    /// Children that we had before the first of ours: an `exec` in a script makes us their parent. Never touched.
    foreign: Vec<Pid>,
    /// What our words in [`TOKEN_VARIABLE`] begin with.
    mark: String,
    /// The words of earlier guardians that mark what we have adopted.
    claimed: BTreeMap<String, Token>,
    /// The words of the everups above us.
    above: String,
    /// Whether one look for orphans may serve several questions: see [`Trees::look_once`].
    once: Cell<bool>,
    /// That look: the orphans by their run.
    looked: RefCell<Option<BTreeMap<Token, Vec<Pid>>>>,
    /// Those that hung on a run when it was last signalled: how a process is known that bears no mark any more when it
    /// has lost its parent.
    known: RefCell<BTreeMap<Process, Token>>,
}

impl Trees {
    /// `above` is our own [`TOKEN_VARIABLE`], `now` any number that no earlier process of our pid had, `foreign` the
    /// children we had before the first of ours.
    pub(super) fn new(above: &str, now: u64, foreign: Vec<Pid>) -> Self {
        let own = Pid(std::process::id().cast_signed());
        Self {
            controllers: Controllers::default(),
            groups: groups(),
            own,
            engine: None,
            foreign,
            mark: format!("{own}-{now}."),
            claimed: BTreeMap::new(),
            above: if above.is_empty() { String::new() } else { format!("{above} ") },
            once: Cell::default(),
            looked: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// What our words in [`TOKEN_VARIABLE`] begin with.
    pub(super) fn mark(&self) -> &str {
        &self.mark
    }

    /// Counts what bears the same word as this process to a run from now on.
    pub(super) fn claim(&mut self, token: Token, main: Pid) {
        let words = tree::variable(main, TOKEN_VARIABLE).unwrap_or_default();
        if let Some(word) = words.split(' ').next_back().filter(|word| !word.is_empty()) {
            self.claimed.insert(word.to_owned(), token);
        }
    }

    /// What bears this mark of an earlier guardian and belongs to nothing adopted.
    pub(super) fn unclaimed(&self, mark: &str) -> Vec<Process> {
        let is_unclaimed = |pid: &Pid| {
            let words = tree::variable(*pid, TOKEN_VARIABLE).unwrap_or_default();
            words.split(' ').any(|word| word.starts_with(mark) && !self.claimed.contains_key(word))
        };
        tree::all().into_iter().filter(is_unclaimed).filter_map(Process::find).collect()
    }

    /// The value of [`TOKEN_VARIABLE`] for a run.
    pub(super) fn token_value(&self, token: Token) -> String {
        format!("{}{}{}", self.above, self.mark, token.0)
    }

    /// What the engine is told of a run that executes its program.
    pub(super) fn spawned(&self, token: Token, run: &Run) -> FromGuardian {
        let cgroup = self.groups.as_ref().ok().zip(run.group.as_ref()).map(|(groups, group)| groups.path_of(group));
        FromGuardian::Spawned { token, pid: run.session, cgroup, limited: run.bounds.limited.clone() }
    }

    /// Looks for orphans at most once for all questions until [`Trees::look_again`]; nothing is reaped in between.
    pub(super) fn look_once(&self) {
        self.once.set(true);
    }

    /// What was seen may be over.
    pub(super) fn look_again(&self) {
        self.once.set(false);
        *self.looked.borrow_mut() = None;
    }

    /// Whether nothing of the run's tree lives but, perhaps, its main process.
    pub(super) fn is_empty(&self, token: Token, run: &Run, runs: &Runs) -> bool {
        let nobody_inside = match (&self.groups, &run.group) {
            (Ok(groups), Some(group)) => groups.is_empty(group),
            _ => true,
        };
        // A process can leave its group; it hangs on us all the same.
        nobody_inside && self.orphans_of(token, runs).is_empty()
    }

    /// Every living process of the run's tree.
    pub(super) fn members(&self, token: Token, run: &Run, runs: &Runs) -> Vec<Process> {
        let hanging = self.remember(token, run, runs);
        let inside = self.inside(run).into_iter().filter_map(Process::find);
        hanging.into_iter().chain(inside).collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Every living process that hangs on the run. Each is known from now on, whatever becomes of its parent, its
    /// session and its environment.
    pub(super) fn remember(&self, token: Token, run: &Run, runs: &Runs) -> Vec<Process> {
        let roots = run.main.into_iter().chain(self.orphans_of(token, runs));
        let pids: BTreeSet<Pid> = roots.flat_map(|root| tree::descendants(root, &|_| false)).collect();
        let found: Vec<Process> = pids.into_iter().filter_map(Process::find).collect();
        let mut known = self.known.borrow_mut();
        known.retain(|_, of| runs.get(*of).is_some_and(|run| !run.gone));
        known.extend(found.iter().map(|process| (*process, token)));
        found
    }

    /// Those in its control group.
    fn inside(&self, run: &Run) -> Vec<Pid> {
        match (&self.groups, &run.group) {
            (Ok(groups), Some(group)) => groups.procs(group).unwrap_or_default(),
            _ => Vec::new(),
        }
    }

    /// Kills every process of the run's tree once; what is born meanwhile is left to the next time.
    pub(super) fn kill(&self, token: Token, run: &Run, runs: &Runs) {
        if let (Ok(groups), Some(group)) = (&self.groups, &run.group) {
            // Who has left the group is killed with it: afterwards nobody could tell whose it was.
            let hanging = self.remember(token, run, runs);
            let inside: BTreeSet<Pid> = self.inside(run).into_iter().collect();
            if groups.kill(group).is_ok() {
                for escaped in hanging.into_iter().filter(|process| !inside.contains(&process.pid)) {
                    // It may have ended meanwhile; what lives is found again.
                    let _ = escaped.signal(libc::SIGKILL);
                }
                return;
            }
        }
        let mut known = BTreeSet::new();
        // A few rounds at once catch up with a tree that still grows.
        for _ in 0..8 {
            let members = self.members(token, run, runs);
            let grown = members.iter().any(|member| !known.contains(member));
            // What one process alone leaves behind is found when its end is told.
            let last = !grown || members.len() == 1;
            for member in members {
                // It may have ended meanwhile; what lives is found again.
                let _ = member.signal(libc::SIGKILL);
                known.insert(member);
            }
            if last {
                return;
            }
        }
    }

    /// Says which process the engine is: it moves with us when control groups ask for that.
    pub(super) fn know_engine(&mut self, engine: Pid) {
        self.engine = Some(engine);
    }

    /// Prepares the limits of a run that is about to be made, in its own `group` or beside it; also the descriptors
    /// that its child must write to.
    pub(super) fn limit(
        &mut self,
        most: &Most,
        group: Option<&Group>,
        label: &str,
        token: Token,
    ) -> (Bounds, Vec<OwnedFd>) {
        if *most == Most::default() {
            return Default::default();
        }
        let ours: Vec<Pid> = self.engine.into_iter().chain([self.own]).collect();
        let own = self.groups.as_ref().ok().zip(group);
        self.controllers.limit(most, own, &ours, label, token.0)
    }

    /// Gives up a run's own group, which took no process; what limits the run nothing now.
    pub(super) fn leave(&self, group: &Group, bounds: &Bounds) -> Vec<Controller> {
        if let Ok(groups) = &self.groups {
            groups.remove(group);
        }
        self.controllers.kept_in_own_group(bounds)
    }

    /// Removes the groups that limited a run, if nothing lives in them.
    pub(super) fn unbind(&self, bounds: &mut Bounds) {
        self.controllers.remove(bounds);
    }

    /// Kills for memory that the group of the run's memory has counted.
    pub(super) fn oom_kills(&self, run: &Run) -> Option<u64> {
        let own = || Some(self.groups.as_ref().ok()?.path_of(run.group.as_ref()?));
        counts::oom_kills(&run.bounds.limited.memory.clone().or_else(own)?)
    }

    /// Removes the run's control groups, if nothing lives in them.
    pub(super) fn remove_group(&self, run: &mut Run) {
        self.unbind(&mut run.bounds);
        if let (Ok(groups), Some(group)) = (&self.groups, &run.group)
            && groups.remove(group)
        {
            run.group = None;
        }
    }

    /// Kills whatever of ours still hangs on us when all runs are over; how many there were. `engine` is passed over.
    pub(super) fn kill_strays(&self, engine: Option<Pid>) -> usize {
        let skip = |pid: Pid| Some(pid) == engine || self.foreign.contains(&pid);
        let strays: Vec<Process> = tree::children(self.own)
            .into_iter()
            .filter(|child| !skip(*child))
            // An orphan of somebody else's child, handed to us because we came later, bears no mark of ours.
            .filter(|child| self.foreign.is_empty() || self.token_of(*child).is_some())
            .flat_map(|child| tree::descendants(child, &skip))
            .filter_map(Process::find)
            .collect();
        for stray in &strays {
            let _ = stray.signal(libc::SIGKILL);
        }
        strays.len()
    }

    fn orphans_of(&self, token: Token, runs: &Runs) -> Vec<Pid> {
        if !self.once.get() {
            return self.orphans(runs).remove(&token).unwrap_or_default();
        }
        let mut looked = self.looked.borrow_mut();
        looked.get_or_insert_with(|| self.orphans(runs)).get(&token).cloned().unwrap_or_default()
    }

    /// The processes that have lost their parent and hang on us, by the run they come from.
    fn orphans(&self, runs: &Runs) -> BTreeMap<Token, Vec<Pid>> {
        // A list of children can miss one while another ends; twice in a row it does not.
        let mut children: BTreeSet<Pid> = (0..2).flat_map(|_| tree::children(self.own)).collect();
        if !self.claimed.is_empty() {
            // What is adopted hangs on somebody else.
            let words = |pid: &Pid| tree::variable(*pid, TOKEN_VARIABLE).unwrap_or_default();
            let is_claimed = |pid: &Pid| words(pid).split(' ').any(|word| self.claimed.contains_key(word));
            children.extend(tree::all().into_iter().filter(is_claimed));
        }
        let mut found: BTreeMap<Token, Vec<Pid>> = BTreeMap::new();
        for child in children {
            if Some(child) == self.engine || runs.is_main(child) || self.foreign.contains(&child) {
                continue;
            }
            let Some(process) = Process::find(child) else { continue };
            let marked = self.token_of(child).or_else(|| runs.of_session(tree::session(child)?));
            if let Some(token) = marked.or_else(|| self.known.borrow().get(&process).copied()) {
                found.entry(token).or_default().push(child);
            }
        }
        found
    }

    fn token_of(&self, pid: Pid) -> Option<Token> {
        let words = tree::variable(pid, TOKEN_VARIABLE)?;
        words.split(' ').find_map(|word| {
            let ours = || word.strip_prefix(&self.mark)?.parse().ok().map(Token);
            self.claimed.get(word).copied().or_else(ours)
        })
    }
}

/// The place for the runs' control groups.
fn groups() -> Result<Groups, NoCgroup> {
    #[cfg(test)]
    if std::env::var_os("EVERUP_TEST_SWEEP").is_some() {
        return Err(NoCgroup("cannot use control groups: this test does without".to_owned()));
    }
    Groups::create()
}
