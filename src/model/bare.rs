//! A service that says nothing but its name.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::model::names::ServiceName;
use crate::model::plan::{
    CodeRange, HealthPlan, HooksPlan, Kind, LimitPlan, LimitThen, LimitsPlan, LogsPlan, LogsTo, Policy, ReloadPlan,
    RestartPlan, ServicePlan, StopPlan,
};
use crate::model::signal::Signal;
use crate::model::watch::DevDefaults;

impl ServicePlan {
    /// The contract's defaults without a command, jitter, or a log: what a plan is made from, and what stands in its place
    /// while it is being looked up.
    pub fn bare(name: ServiceName) -> Self {
        Self {
            name,
            kind: Kind::Service,
            command: vec![],
            cwd: PathBuf::from("/"),
            env: BTreeMap::new(),
            instances: 1,
            port: None,
            enabled: true,
            needs: BTreeMap::new(),
            user: None,
            group: None,
            umask: None,
            nice: None,
            limits: LimitsPlan::default(),
            restart: RestartPlan {
                policy: Policy::Always,
                delay: Duration::from_millis(250),
                factor: 2.0,
                max_delay: Duration::from_secs(30),
                jitter: 0.0,
                reset_after: Duration::from_secs(10),
                limit: LimitPlan { count: 10, within: Duration::from_mins(5), then: LimitThen::Slow },
                slow_delay: Duration::from_mins(1),
                success_codes: vec![CodeRange(0, 0)],
                rules: vec![],
            },
            health: HealthPlan::None,
            stop: StopPlan { signal: Signal::TERM, timeout: Duration::from_secs(10), command: None },
            hooks: HooksPlan::default(),
            watchdog: None,
            logs: LogsPlan { to: LogsTo::None, max_size: 1 << 20, keep: 1, terminal: false },
            watch: None,
            dev_defaults: DevDefaults::default(),
            reload: ReloadPlan::default(),
            listen: vec![],
            names_fds: false,
            waits_for_change: false,
            memory_restart: None,
            metrics: None,
            log_metrics: vec![],
        }
    }
}

/// Stands in a service that is read back until its plan is looked up by its name.
pub(crate) fn nameless() -> Arc<ServicePlan> {
    Arc::new(ServicePlan::bare(ServiceName::nameless()))
}
