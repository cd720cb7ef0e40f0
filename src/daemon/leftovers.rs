//! What lives on of a tree: named for people.

use std::collections::BTreeSet;

use crate::core::event::Event;
use crate::daemon::engine::Engine;
use crate::daemon::processes::Running;
use crate::guardian::protocol::{TOKEN_VARIABLE, Token};
use crate::model::names::{InstanceId, Pid, Run};
use crate::os::{cgroup, tree};

impl Engine {
    /// Looks which processes of a run live.
    pub(super) fn look_at(&self, instance: InstanceId, run: Run) -> Option<Event> {
        let running = self.processes.running();
        let (token, running) = running.iter().find(|(_, of)| of.instance == instance && of.run == run)?;
        let processes = self.left_of(*token, running);
        Some(Event::Left { instance, run, processes })
    }

    /// The living processes of a run, each in words.
    pub(super) fn left_of(&self, token: Token, running: &Running) -> Vec<String> {
        let grouped = running.cgroup.as_ref().and_then(|path| cgroup::procs(path).ok()).unwrap_or_default();
        let guardian = self.capabilities.as_ref().map(|capabilities| capabilities.guardian);
        let orphans = guardian.into_iter().flat_map(tree::children).filter(|child| is_of(*child, token, running.pid));
        let roots = running.pid.into_iter().chain(orphans);
        let hanging = roots.flat_map(|root| tree::descendants(root, &|_| false));
        let found: BTreeSet<Pid> = grouped.into_iter().chain(hanging).collect();
        found.into_iter().filter_map(tree::describe).collect()
    }

    /// Says what everup leaves behind because it cannot be killed.
    pub(super) fn tell_what_is_left(&self) {
        let services = self.core.statuses(self.now.moment);
        for warning in services.iter().flat_map(|service| &service.warnings).filter(|one| one.code == "unkillable") {
            tracing::error!(left = warning.message, "everup ends all the same");
            crate::os::stderr::say(format_args!("ends although {}", warning.message));
        }
    }
}

/// Whether an orphan comes from this run: by the session it was born in, or by the mark that its environment bears.
fn is_of(orphan: Pid, token: Token, main: Option<Pid>) -> bool {
    let words = || tree::variable(orphan, TOKEN_VARIABLE).unwrap_or_default();
    let of_token = |word: &str| word.rsplit_once('.').is_some_and(|(_, number)| number == token.0.to_string());
    main.is_some_and(|main| tree::session(orphan) == Some(main.0)) || words().split(' ').any(of_token)
}
