//! What several tests of the core share.

use std::time::Duration;

use crate::model::plan::{CodeRange, LimitPlan, LimitThen, Policy, RestartPlan};

/// The defaults of the contract.
pub(crate) fn restart_plan() -> RestartPlan {
    RestartPlan {
        policy: Policy::Always,
        delay: Duration::from_millis(250),
        factor: 2.0,
        max_delay: Duration::from_secs(30),
        jitter: 0.2,
        reset_after: Duration::from_secs(10),
        limit: LimitPlan { count: 10, within: Duration::from_mins(5), then: LimitThen::Slow },
        slow_delay: Duration::from_mins(1),
        success_codes: vec![CodeRange(0, 0)],
        rules: vec![],
    }
}
