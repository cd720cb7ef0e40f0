//! How long to wait before the next attempt.

use std::time::Duration;

use crate::core::context::Dice;
use crate::model::plan::RestartPlan;

/// The delay before attempt number `attempt` (from 1): grows by `factor` up to `max_delay`, then is varied by
/// ±`jitter` of itself.
pub(crate) fn delay(plan: &RestartPlan, attempt: u32, dice: &mut Dice) -> Duration {
    vary(steady(plan, attempt), plan.jitter, dice)
}

/// The delay between attempts of a crash-looping service, varied the same way.
pub(crate) fn slow_delay(plan: &RestartPlan, dice: &mut Dice) -> Duration {
    vary(plan.slow_delay, plan.jitter, dice)
}

fn steady(plan: &RestartPlan, attempt: u32) -> Duration {
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let grown = plan.delay.as_secs_f64() * plan.factor.max(1.0).powi(exponent);
    let cap = plan.max_delay.max(plan.delay);
    if grown.is_finite() && grown < cap.as_secs_f64() {
        Duration::from_secs_f64(grown)
    } else if plan.delay.is_zero() {
        Duration::ZERO
    } else {
        cap
    }
}

fn vary(delay: Duration, jitter: f64, dice: &mut Dice) -> Duration {
    let swing = 1.0 + jitter.clamp(0.0, 1.0) * (2.0 * dice.fraction() - 1.0);
    Duration::try_from_secs_f64(delay.as_secs_f64() * swing).unwrap_or(delay)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::instance::tests::restart_plan;

    fn millis(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn the_delay_doubles_until_it_meets_the_cap() {
        let plan = RestartPlan { jitter: 0.0, ..restart_plan() };
        for (attempt, ms) in [(1, 250), (2, 500), (3, 1_000), (7, 16_000), (8, 30_000), (u32::MAX, 30_000)] {
            assert_eq!(delay(&plan, attempt, &mut Dice(1)), millis(ms), "attempt {attempt}");
        }
    }

    #[test]
    fn jitter_stays_within_its_share() {
        let plan = RestartPlan { jitter: 0.2, ..restart_plan() };
        let mut dice = Dice(7);
        let drawn: Vec<_> = (0..1_000).map(|_| delay(&plan, 3, &mut dice)).collect();
        assert!(drawn.iter().all(|d| (millis(800)..=millis(1_200)).contains(d)));
        assert!(drawn.iter().any(|d| *d < millis(850)) && drawn.iter().any(|d| *d > millis(1_150)));
    }

    #[test]
    fn no_delay_stays_no_delay() {
        let plan = RestartPlan { delay: Duration::ZERO, ..restart_plan() };
        assert_eq!(delay(&plan, 40, &mut Dice(1)), Duration::ZERO);
    }
}
