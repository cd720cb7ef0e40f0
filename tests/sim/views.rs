//! What is shown: snapshots, counters, deadlines.

use std::collections::BTreeSet;

use everup::core::action::Action;
use everup::core::event::Event;
use everup::model::event::EventWord;
use everup::model::names::InstanceId;
use everup::model::service::{Cause, State};
use everup::model::units::Moment;

use crate::invariants::{Checked, Step, Watch, ensure, id_of};

impl Watch {
    /// S32: one snapshot agrees with itself and with what was told.
    pub(crate) fn s32_the_snapshot_is_consistent(&self, step: &Step<'_>) -> Checked {
        const NAME: &str = "S32 the snapshot is consistent";
        for service in step.after {
            for i in &service.instances {
                let id = InstanceId { service: service.name.clone(), index: i.index };
                let told = || format!("{id}: {i:?}");
                let lives = matches!(i.state, State::Starting | State::Running | State::Reloading | State::Stopping);
                ensure(i.pid.is_none() || lives, NAME, told)?;
                ensure(i.state != State::Running || i.pid.is_some(), NAME, told)?;
                ensure(i.next_attempt_in_ms.is_some() == (i.state == State::Backoff), NAME, told)?;
                let completed = i.state == State::Exited;
                ensure(!i.ready || matches!(i.state, State::Running | State::Reloading) || completed, NAME, told)?;
                ensure(i.state != State::Failed || i.cause.is_some(), NAME, told)?;
                ensure(i.state != State::Waiting || i.reason.is_some(), "a service that waits says for whom", told)?;
                if let (Some(pid), Some((run, seen))) = (i.pid, self.runs.get(&id)) {
                    let tree = step.kernel.trees.get(&(id.clone(), *run));
                    ensure(tree.is_some_and(|tree| tree.pid == pid) && !seen.ended, "S32 no dead pid is shown", told)?;
                }
            }
        }
        Ok(())
    }

    /// S34: counters never fall and equal the timeline.
    pub(crate) fn s34_counters_match_the_timeline(&mut self, step: &Step<'_>) -> Checked {
        let mut present = BTreeSet::new();
        for service in step.after {
            for i in &service.instances {
                let id = InstanceId { service: service.name.clone(), index: i.index };
                let starts = self.starts.get(&id).map_or(0, |(starts, _)| *starts);
                ensure(i.restarts == starts, "S34 counters equal the timeline", || {
                    format!("{id}: {} restarts, {starts} in the timeline", i.restarts)
                })?;
                let before = self.counted.insert(id.clone(), i.restarts).unwrap_or(0);
                ensure(i.restarts >= before, "S34 counters never fall", || id.to_string())?;
                present.insert(id);
            }
        }
        if self.counted.len() == present.len() {
            return Ok(());
        }
        // An instance that is forgotten begins to count anew when it comes again.
        self.counted.retain(|id, _| present.contains(id));
        self.starts.retain(|id, _| present.contains(id));
        self.restarts.retain(|id, _| present.contains(id));
        self.wishes.retain(|id, _| present.contains(id));
        self.completed.retain(|id| present.contains(id));
        self.turns.retain(|_, (id, _, _)| present.contains(id));
        Ok(())
    }

    /// S37: every deadline lies ahead, and where nothing runs or is wanted there is none.
    pub(crate) fn s37_deadlines(&self, step: &Step<'_>) -> Checked {
        let deadline = step.core.next_deadline();
        ensure(deadline.is_none_or(|d| d.at > Moment(step.now)), "S37 deadlines lie ahead", || {
            format!("{deadline:?} at {}", step.now)
        })?;
        let asleep = step
            .after
            .iter()
            .flat_map(|service| &service.instances)
            .all(|i| matches!(i.state, State::Stopped | State::Exited | State::Failed | State::Waiting));
        let quiet = asleep && !self.shutting_down && self.open.is_empty();
        ensure(!quiet || deadline.is_none(), "S37 no deadline where nothing runs", || format!("{deadline:?}"))
    }
}

/// S20: one cause moves each instance at most once.
pub(crate) fn s20_once_per_step(step: &Step<'_>) -> Checked {
    let mut seen = BTreeSet::new();
    for action in step.actions {
        let Action::Record(fact) = action else { continue };
        let Some(id) = id_of(fact) else { continue };
        if matches!(fact.event, EventWord::Starting | EventWord::Ended | EventWord::Failed | EventWord::Stopping) {
            let word = fact.event.to_string();
            // New files try what has just failed at once, and it may lack what it needs.
            let tried = step.events.iter().any(|event| matches!(event, Event::Changed { .. } | Event::Checked { .. }));
            if tried && fact.event == EventWord::Failed && fact.cause == Some(Cause::Dependency) {
                continue;
            }
            ensure(seen.insert((id.clone(), fact.event)), "S20 one cause acts once", || {
                format!("{id}: {word} twice in one step")
            })?;
        }
    }
    Ok(())
}
