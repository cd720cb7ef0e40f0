//! What differs between two configurations of a service, and whether its process must be replaced for it.

use std::collections::BTreeSet;

use crate::model::plan::ServicePlan;

/// The differing keys of a service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Difference {
    /// As in the file, e.g. `command`, `env.LOG_LEVEL`; never values.
    pub(crate) keys: Vec<String>,
    /// A running process cannot take them over.
    pub(crate) replaces_process: bool,
}

impl Difference {
    /// Adds what else differs.
    pub(crate) fn merge(&mut self, other: Self) {
        for key in other.keys {
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        self.replaces_process |= other.replaces_process;
    }
}

/// Compares two configurations of the same service.
pub(crate) fn difference(old: &ServicePlan, new: &ServicePlan) -> Difference {
    let mut found = Difference::default();
    let mut differs = |key: &str, changed: bool, replaces: bool| {
        if changed {
            found.keys.push(key.to_owned());
            found.replaces_process |= replaces;
        }
    };
    differs("type", old.kind != new.kind, true);
    differs("command", old.command != new.command, true);
    differs("cwd", old.cwd != new.cwd, true);
    let names: BTreeSet<_> = old.env.keys().chain(new.env.keys()).collect();
    for name in names {
        differs(&format!("env.{name}"), old.env.get(name) != new.env.get(name), true);
    }
    differs("port", old.port != new.port, true);
    differs("user", old.user != new.user, true);
    differs("group", old.group != new.group, true);
    differs("umask", old.umask != new.umask, true);
    differs("nice", old.nice != new.nice, true);
    differs("limits", old.limits != new.limits, true);
    differs("logs", old.logs != new.logs, old.logs.to != new.logs.to);
    let notify_differs = old.wants_notify() != new.wants_notify();
    differs("watchdog", old.watchdog != new.watchdog, old.watchdog != new.watchdog || notify_differs);
    differs("health", old.health != new.health, notify_differs);
    differs("instances", old.instances != new.instances, false);
    differs("enabled", old.enabled != new.enabled, false);
    differs("needs", old.needs != new.needs, false);
    differs("restart", old.restart != new.restart, false);
    differs("stop", old.stop != new.stop, false);
    differs("hooks", old.hooks != new.hooks, false);
    differs("watch", old.watch != new.watch, false);
    differs("reload", old.reload != new.reload, false);
    differs("memory_restart", old.memory_restart != new.memory_restart, false);
    differs("metrics", old.metrics != new.metrics, false);
    differs("log_metrics", old.log_metrics != new.log_metrics, false);
    differs("listen", old.listen != new.listen || old.names_fds != new.names_fds, true);
    differs("waits_for_change", old.waits_for_change != new.waits_for_change, false);
    found
}
