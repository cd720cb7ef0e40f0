//! How a service's code is being swapped for new code, and how that went.
//!
//! A cycle begins with a change (or a request), goes through the check if there is one, then through the swap, and ends
//! once: done, or rolled back; or without a word when there is nothing left to swap.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use crate::core::drift::{in_words, relative};
use crate::model::names::Run;
use crate::model::plan::{Kind, ReloadPlan, ServicePlan};
use crate::model::service::Cause;
use crate::model::status::ReloadStatus;
use crate::model::units::{Moment, Timestamp};

/// So many files are listed in status.
const LISTED: usize = 20;

/// The reloads of a service.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Reloads {
    /// Something has changed or was asked for that nothing has been decided about yet: since when.
    pub(crate) news: Option<Moment>,
    /// Instances that a person wants swapped, whether or not their files differ.
    pub(crate) asked: BTreeSet<u32>,
    /// Who.
    pub(crate) by: String,
    pub(crate) cycle: Option<Cycle>,
    /// Counts the cycles.
    pub(crate) cycles: u64,
    /// Counts the code that was swapped in.
    pub(crate) swaps: u64,
    pub(crate) last: Option<Verdict>,
    /// Files that it writes itself.
    pub(crate) disregarded: BTreeSet<PathBuf>,
}

/// A reload under way.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Cycle {
    pub(crate) number: u64,
    /// When the newest of what it is about was first seen, or asked for.
    pub(crate) since: Moment,
    pub(crate) cause: Cause,
    /// What it is about.
    pub(crate) files: BTreeSet<PathBuf>,
    pub(crate) step: Step,
    /// The instances that are still to serve new code.
    pub(crate) left: BTreeMap<u32, Left>,
    /// One of them does already.
    pub(crate) served: bool,
    /// Since when the latest of them does.
    pub(crate) served_at: Option<Moment>,
    /// When those that were told by a signal must have said READY=1 again.
    pub(crate) until: Option<Moment>,
    /// How often that was put off because everup itself was late.
    pub(crate) grants: u8,
}

/// How far a cycle is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Step {
    /// The check runs; everything else stays as it is.
    Checking { seq: u64 },
    /// It has ended so.
    Checked(Result<(), String>),
    /// New code is being started, or read.
    Swapping,
}

/// What an instance must have behind it.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Left {
    pub(crate) run: Run,
    /// The run it had when the cycle came to it: what has begun since serves newer code in any case.
    pub(crate) first: Run,
    /// It was told by a signal and stays the same run.
    pub(crate) signalled: bool,
}

impl Left {
    pub(crate) fn new(run: Run) -> Self {
        Self { run, first: run, signalled: false }
    }
}

/// How a cycle ended.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) number: u64,
    pub(crate) trouble: Option<Trouble>,
    pub(crate) at: Timestamp,
    pub(crate) files: BTreeSet<PathBuf>,
}

/// What went wrong.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// In its own words.
    pub(crate) words: String,
    /// For those who asked for the reload.
    pub(crate) answer: String,
}

/// How a cycle has fared, for those who asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fared<'a> {
    UnderWay,
    Done,
    Failed(&'a str),
    /// It was dropped, or others have followed.
    Over,
}

impl Reloads {
    /// Whether there is anything to decide or to wait for.
    pub(crate) fn is_under_way(&self) -> bool {
        self.news.is_some() || self.cycle.is_some()
    }

    /// The number of the check that runs.
    pub(crate) fn checking(&self) -> Option<u64> {
        match self.cycle.as_ref()?.step {
            Step::Checking { seq } => Some(seq),
            Step::Checked(_) | Step::Swapping => None,
        }
    }

    /// Whether instance `index` still serves code that is about to be swapped with its `run`.
    pub(crate) fn concerns(&self, index: u32, run: Run, drifts: bool) -> bool {
        let left = self.cycle.as_ref().and_then(|cycle| cycle.left.get(&index));
        left.is_some_and(|left| drifts || run <= left.run)
    }

    /// The number of the cycle that something asked for now becomes part of.
    pub(crate) fn next_number(&self) -> u64 {
        self.cycle.as_ref().map_or(self.cycles + 1, |cycle| cycle.number)
    }

    /// How the cycle of that number has fared.
    pub(crate) fn fared(&self, number: u64) -> Fared<'_> {
        if self.cycle.as_ref().is_some_and(|cycle| cycle.number == number) {
            return Fared::UnderWay;
        }
        match self.last.as_ref().filter(|last| last.number == number) {
            Some(Verdict { trouble: Some(trouble), .. }) => Fared::Failed(&trouble.answer),
            Some(Verdict { trouble: None, .. }) => Fared::Done,
            None => Fared::Over,
        }
    }

    /// For status; nothing for a task.
    pub(crate) fn status(&self, plan: &ServicePlan) -> Option<ReloadStatus> {
        let mode = match plan.reload {
            ReloadPlan::Restart => "restart",
            ReloadPlan::Signal(_) => "signal",
        };
        let last = self.last.as_ref().filter(|_| self.cycle.is_none());
        let files = self.cycle.as_ref().map(|cycle| &cycle.files).or(last.map(|last| &last.files));
        let told = |last: &Verdict| if last.trouble.is_some() { "failed" } else { "ok" }.to_owned();
        (plan.kind == Kind::Service).then(|| ReloadStatus {
            mode: mode.to_owned(),
            generation: self.swaps + 1,
            last: last.map(told),
            at: last.map(|last| last.at),
            changed: files.into_iter().flatten().take(LISTED).map(|path| relative(path, &plan.cwd)).collect(),
            message: last.and_then(|last| last.trouble.as_ref()).map(|trouble| trouble.words.clone()),
        })
    }

    /// What went wrong the last time, unless another one is under way.
    pub(crate) fn trouble(&self) -> Option<&str> {
        let last = self.last.as_ref().filter(|_| self.cycle.is_none())?;
        last.trouble.as_ref().map(|trouble| trouble.words.as_str())
    }

    /// What is said of the files it writes itself, if there are any.
    pub(crate) fn own_files(&self, plan: &ServicePlan) -> Option<String> {
        let (whom, them) = (&plan.name, if self.disregarded.len() == 1 { "it itself" } else { "them itself" });
        let files = in_words(self.disregarded.iter(), &plan.cwd);
        let told = format!("everup pays no more attention to {files}: {whom} writes {them} right after each start");
        (!self.disregarded.is_empty()).then_some(told)
    }
}
