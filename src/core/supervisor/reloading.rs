//! News of files and checks, and people who ask for a reload.

use crate::core::action::Action;
use crate::core::instance::Phase;
use crate::core::reload::Step;
use crate::core::supervisor::Supervisor;
use crate::core::supervisor::commands::Promised;
use crate::core::supervisor::requests::{Goal, Tell};
use crate::model::command::{Caller, Target};
use crate::model::names::ServiceName;
use crate::model::service::Desired;
use crate::model::units::{Moment, Now};
use crate::model::watch::FileChange;

impl Supervisor {
    /// Files of a service have changed.
    pub(super) fn changed(&mut self, name: &ServiceName, files: &[FileChange], since: Moment, out: &mut Vec<Action>) {
        if self.shutdown.is_none()
            && let Some(service) = self.services.get_mut(name)
        {
            service.changed(files, since, out);
        }
    }

    /// A check has ended. That of files which have changed since says nothing.
    pub(super) fn checked(&mut self, name: &ServiceName, seq: u64, result: Result<(), String>) {
        let service = self.services.get_mut(name).filter(|service| service.reload.checking() == Some(seq));
        match service.and_then(|service| service.reload.cycle.as_mut()) {
            Some(cycle) => cycle.step = Step::Checked(result),
            None => self.stale += 1,
        }
    }

    /// Has `targets` swapped to new code; what is down is started, as with restart.
    pub(super) fn ask_reload(&mut self, targets: &[Target], by: &Caller, now: Now) -> Promised {
        let ids = self.ids(targets)?;
        let (up, down): (Vec<_>, Vec<_>) = ids.into_iter().partition(|id| {
            self.instance(id).is_some_and(|i| i.desired == Desired::Up && !matches!(i.phase, Phase::Waiting))
        });
        let down: Vec<Target> =
            down.into_iter().map(|id| Target { service: id.service, index: Some(id.index) }).collect();
        // Without any instance there is nothing to reload: refused as a start is.
        let nobody = up.is_empty() && down.is_empty();
        let (mut goals, (_, mut notes)) = self.start(if nobody { targets } else { &down })?;
        notes.extend(self.start_needs(&up));
        for id in up {
            let Some(service) = self.services.get_mut(&id.service) else { continue };
            let left = service.instances.get(&id.index).map(|instance| instance.run).unwrap_or_default();
            let tell = if service.wanted().count() > 1 { Tell::State } else { Tell::Gap };
            service.reload.asked.insert(id.index);
            service.reload.by.clone_from(&by.0);
            service.reload.news = Some(now.moment);
            goals.push(Goal::Reloaded { id, left, cycle: service.reload.next_number(), tell });
        }
        Ok((goals, (vec![], notes)))
    }

    /// Moves every reload on. Returns whether anything moved.
    pub(super) fn reload(&mut self, now: Now, out: &mut Vec<Action>) -> bool {
        let mut moved = false;
        for service in self.services.values_mut() {
            let mut cx = Self::context(&mut self.dice, &mut self.budget, now, out);
            moved |= service.reload(&mut self.checks, &mut cx);
        }
        moved
    }
}
