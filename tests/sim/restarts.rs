//! A second opinion on backoff, forgiveness and limit, kept from the timeline alone.

use std::time::Duration;

use everup::model::event::{EventWord, Fact};
use everup::model::plan::{RestartPlan, RuleThen, ServicePlan};
use everup::model::service::Cause;
use everup::model::units::parse_duration;

use crate::invariants::{Checked, ensure};

/// One instance's restarts.
#[derive(Clone, Default)]
pub(crate) struct Restarts {
    /// Attempts since the last forgiveness; none while it cannot be known from outside.
    attempts: Option<u32>,
    first: bool,
    ready: bool,
    unhealthy: bool,
    good_since: Option<u64>,
    proven: bool,
    /// Its files are new and have not proven good; none: it cannot be known from outside.
    untried: Option<bool>,
    /// A reload's signal has ended the latest run.
    by_files: bool,
    /// Automatic restarts.
    when: Vec<u64>,
    looping: bool,
    /// The pending automatic restart: when it was decided, and whether slowly.
    pending: Option<(u64, bool)>,
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

impl Restarts {
    /// A person forgave it.
    pub(crate) fn forgive(&mut self) {
        self.attempts = Some(0);
        self.first = true;
        self.when.clear();
        self.looping = false;
        self.pending = None;
    }

    /// It begins with new files.
    pub(crate) fn renew(&mut self) {
        self.untried = Some(true);
    }

    /// It may have been forgiven.
    pub(crate) fn forget(&mut self) {
        self.attempts = None;
        self.untried = None;
        self.first = true;
        self.when.clear();
        self.looping = false;
        self.pending = None;
    }

    pub(crate) fn check(&mut self, plan: &ServicePlan, fact: &Fact, now: u64, rose: u64) -> Checked {
        let restart = &plan.restart;
        if !self.first {
            self.first = true;
            self.attempts = Some(0);
            self.untried = Some(true);
        }
        match fact.event {
            EventWord::Ready => self.ready = true,
            EventWord::Unready => self.ready = false,
            EventWord::Healthy => self.unhealthy = false,
            EventWord::Unhealthy => self.unhealthy = true,
            EventWord::Stopping => {
                if fact.message.as_ref().is_some_and(|message| message.starts_with("reloaded by")) {
                    self.forgive();
                }
            }
            EventWord::CrashLooping => self.looping = true,
            EventWord::Recovered => self.looping = false,
            EventWord::Starting => {
                let wished = matches!(fact.cause, Some(Cause::User | Cause::Config | Cause::Watch));
                match (fact.cause, self.by_files) {
                    // What a reload's signal has ended is started again for it by itself.
                    (Some(Cause::Watch), true) => self.forget(),
                    (Some(Cause::User), _) if self.pending.is_some() => self.forget(),
                    (Some(Cause::Watch), false) => self.forgive(),
                    _ => {}
                }
                return self.starts(restart, now, rose, wished);
            }
            EventWord::Ended => {
                self.by_files = fact.cause == Some(Cause::Watch) && fact.then.is_some();
                return self.ends(plan, fact, now);
            }
            EventWord::Started
            | EventWord::ProbeFailed
            | EventWord::Backoff
            | EventWord::Failed
            | EventWord::Completed
            | EventWord::Held
            | EventWord::ReloadStarted
            | EventWord::ReloadSwitched
            | EventWord::ReloadDone
            | EventWord::ReloadRolledBack
            | EventWord::ConfigApplied
            | EventWord::ConfigRejected
            | EventWord::Scaled
            | EventWord::Adopted
            | EventWord::EngineRestarted
            | EventWord::Upgraded
            | EventWord::UpgradeFailed
            | EventWord::LogLost
            | EventWord::Notified => {}
        }
        self.settle(restart, now);
        Ok(())
    }

    fn settle(&mut self, restart: &RestartPlan, now: u64) {
        match (self.ready && !self.unhealthy, self.good_since) {
            (true, None) => self.good_since = Some(now),
            (false, Some(since)) => {
                self.proven |= now - since >= millis(restart.reset_after);
                self.good_since = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn starts(&mut self, restart: &RestartPlan, now: u64, rose: u64, wished: bool) -> Checked {
        (self.ready, self.unhealthy, self.good_since, self.proven) = (false, false, None, false);
        let Some((decided, slow)) = self.pending.take().filter(|_| !wished) else { return Ok(()) };
        self.when.push(now);
        if slow {
            let least = Duration::from_secs_f64(restart.slow_delay.as_secs_f64() * (1.0 - restart.jitter));
            return ensure(rose >= decided || now + 1 >= decided + millis(least), "S14 slow means slow", || {
                format!("decided at {decided}, started at {now}, at least {least:?} apart")
            });
        }
        let within = millis(restart.limit.within);
        let recent = self.when.iter().filter(|at| now - **at < within).count();
        let count = restart.limit.count as usize;
        ensure(recent <= count, "S14 at most so many automatic restarts", || {
            format!("{recent} within {within} ms, allowed {count}: {:?} at {now}", self.when)
        })
    }

    fn ends(&mut self, plan: &ServicePlan, fact: &Fact, now: u64) -> Checked {
        let restart = &plan.restart;
        let proven = self.proven || self.good_since.is_some_and(|since| now - since >= millis(restart.reset_after));
        if proven {
            self.untried = Some(false);
        }
        let Some(then) = fact.then.as_deref() else {
            self.pending = None;
            return Ok(());
        };
        self.waits_for_change(plan, fact, then)?;
        let own = matches!(fact.cause, Some(Cause::Exit | Cause::Signal | Cause::User | Cause::SupervisorLost));
        let now_by_rule = restart.rules.iter().any(|rule| rule.then == RuleThen::RestartNow);
        if let Some(rest) = then.strip_prefix("tried again after ") {
            self.pending = Some((now, true));
            let told = rest.split(' ').next().unwrap_or_default();
            return within(told, restart.slow_delay, restart.jitter, "S14 slow means slow");
        }
        if then == "restarted at once" {
            self.pending = Some((now, false));
            ensure(!self.looping, "S14 crash-looping stays slow", || then.to_owned())?;
            if own && proven {
                self.attempts = Some(0);
                return Ok(());
            }
            if restart.delay.is_zero() {
                self.attempts = self.attempts.map(|attempts| attempts + 1);
            }
            return ensure(restart.delay.is_zero() || now_by_rule, "S6 only good running is forgiven", || {
                format!("{:?}: {then}, though it was not good for {:?}", fact.cause, restart.reset_after)
            });
        }
        let Some(told) = then.strip_prefix("restarted after ") else {
            self.pending = None;
            return Ok(());
        };
        self.pending = Some((now, false));
        ensure(!self.looping, "S14 crash-looping stays slow", || then.to_owned())?;
        ensure(!(own && proven), "S6 good running is forgiven", || format!("{:?}: {then}", fact.cause))?;
        let cap = restart.max_delay.max(restart.delay);
        let Some(attempts) = self.attempts.as_mut() else {
            let delay = parse_duration(told).unwrap_or_default();
            let low = restart.delay.as_secs_f64() * (1.0 - restart.jitter) - 0.002;
            let high = cap.as_secs_f64() * (1.0 + restart.jitter) + 0.002;
            return ensure((low..=high).contains(&delay.as_secs_f64()), "S5 the delay has bounds", || told.to_owned());
        };
        *attempts += 1;
        let grown = restart.delay.as_secs_f64() * restart.factor.powi(i32::try_from(*attempts - 1).unwrap_or(99));
        let steady = Duration::from_secs_f64(grown.min(cap.as_secs_f64()));
        if fact.cause == Some(Cause::SpawnError) {
            // What cannot be started may wait as long as is ever waited.
            return within(told, steady, restart.jitter, "S5 the delay grows")
                .or_else(|_| within(told, cap, restart.jitter, "S5 the delay grows"));
        }
        within(told, steady, restart.jitter, "S5 the delay grows").map_err(|mut violation| {
            violation.told = format!("attempt {attempts}: {}", violation.told);
            violation
        })
    }
}

impl Restarts {
    /// What fails before its files have proven good is not tried again with the same files.
    fn waits_for_change(&self, plan: &ServicePlan, fact: &Fact, then: &str) -> Checked {
        let waits = plan.waits_for_change && plan.watch.is_some() && self.untried == Some(true);
        let own = [Cause::Exit, Cause::Signal, Cause::SpawnError, Cause::StartTimeout];
        let own = fact.cause.is_some_and(|cause| own.contains(&cause));
        let again = then.starts_with("restarted") || then.starts_with("tried again");
        ensure(!(waits && own && again), "what never stood waits for its files to change", || {
            format!("{:?}: {then}", fact.cause)
        })
    }
}

fn within(told: &str, steady: Duration, jitter: f64, name: &'static str) -> Checked {
    let delay = parse_duration(told).unwrap_or_default().as_secs_f64();
    let (low, high) = (steady.as_secs_f64() * (1.0 - jitter), steady.as_secs_f64() * (1.0 + jitter));
    ensure((low - 0.002..=high + 0.002).contains(&delay), name, || format!("{told}, expected {low:.3} to {high:.3} s"))
}
