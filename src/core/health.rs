//! Counts answers: when to ask, and what the answers in a row mean.
//!
//! Thresholds follow kubelet: a probe changes its finding after `failures` or `successes` in a row. The start gate
//! differs: its refusals are no failures, only its deadline is.

use serde::{Deserialize, Serialize};
use std::time::Duration;

use crate::core::context::Dice;
use crate::model::plan::HealthPlan;
use crate::model::probe::{Failure, ProbeKind, ProbePlan, ProbeRole, Verdict};
use crate::model::status::ProbeStatus;
use crate::model::units::Moment;

/// The gate is first asked this long after the program started, then at twice that, and so on …
const FIRST_ASK: Duration = Duration::from_millis(20);
/// … until the gap has grown to this.
const SLOWEST_ASK: Duration = Duration::from_secs(1);
/// An answer that is this much later than the probe's own timeout has been lost.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// So many failures in a row are excused by everup's own delays, no more.
const MOST_EXCUSES: u8 = 10;

/// The probes of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Health {
    started: Moment,
    tracks: Vec<Track>,
    gate: Option<ProbeRole>,
    seq: u64,
    /// The answer status shows: of the gate while it is pending, else liveness, else readiness.
    pub(crate) last: Option<ProbeStatus>,
}

/// One probe's counters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Track {
    role: ProbeRole,
    next_at: Option<Moment>,
    in_flight: Option<Flight>,
    /// Failures in a row that were not counted because everup itself was late.
    excuses: u8,
    passes: u32,
    fails: u32,
    timed_out: u32,
    busy: u32,
    streak: u64,
}

/// A question under way.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Flight {
    seq: u64,
    /// Its answer is given up at this moment, and the question put again.
    until: Moment,
    /// everup was held up meanwhile: a failure proves nothing.
    excused: bool,
}

/// An answer to a question.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer<'a> {
    pub(crate) role: ProbeRole,
    pub(crate) seq: u64,
    pub(crate) verdict: &'a Verdict,
    pub(crate) took_us: u64,
    /// Whether the machine was short of CPU meanwhile.
    pub(crate) busy: bool,
}

/// What an answer changes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Finding {
    /// The answer was not awaited (stale, or taken back).
    Stale,
    /// Nothing yet.
    Nothing,
    /// One more failure; below or at the threshold.
    Failure,
    /// The gate has passed.
    GatePassed,
    /// Enough passes in a row.
    Passing,
    /// Enough failures in a row.
    Failing {
        /// How many.
        failures: u32,
        /// Whether every one only ran out of time while the machine was short of CPU.
        doubtful: bool,
    },
}

impl Health {
    /// The probes of a run whose program started at `now`.
    pub(crate) fn new(plan: &HealthPlan, now: Moment) -> Self {
        let mut health = Self { started: now, tracks: vec![], gate: gate_role(plan), seq: 0, last: None };
        if let Some((role, probe)) = health.gate.and_then(|role| probe_of(plan, role).map(|probe| (role, probe))) {
            health.tracks.push(Track::new(role, asked_at(probe, now.after(FIRST_ASK))));
        }
        health
    }

    /// The probes begin again as `plan` says now. Questions keep counting, so that no earlier answer passes for a new one.
    pub(crate) fn anew(&self, plan: &HealthPlan, now: Moment) -> Self {
        Self { seq: self.seq, ..Self::new(plan, now) }
    }

    /// Whether the start gate is still to pass.
    pub(crate) fn gated(&self) -> bool {
        self.gate.is_some()
    }

    /// The gate is open (or there is none): the regular questions begin. Their phase is spread over one interval.
    pub(crate) fn open(&mut self, plan: &HealthPlan, now: Moment, dice: &mut Dice) {
        self.gate = None;
        self.tracks.clear();
        for (role, probe) in plan.probes().into_iter().filter(|(role, _)| *role != ProbeRole::Startup) {
            // Readiness without a gate is asked soon, as everything else waits for it; what has just passed is not.
            let first = if role == ProbeRole::Readiness { FIRST_ASK } else { probe.interval.mul_f64(dice.fraction()) };
            // A log line or READY=1 that opened the gate is not awaited again.
            let asked = match probe.how {
                ProbeKind::Notify => None,
                ProbeKind::Log(_) if role == ProbeRole::Liveness => None,
                ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_) | ProbeKind::Log(_) => {
                    Some(now.after(first))
                }
            };
            self.tracks.push(Track::new(role, asked));
        }
    }

    /// When the next question is due, or an answer given up.
    pub(crate) fn next_ask(&self) -> Option<Moment> {
        self.tracks.iter().filter_map(|track| track.in_flight.map_or(track.next_at, |flight| Some(flight.until))).min()
    }

    /// The questions due now, each with its number.
    pub(crate) fn due(&mut self, plan: &HealthPlan, now: Moment) -> Vec<(ProbeRole, u64)> {
        let (started, gate) = (self.started, self.gate);
        let mut due = vec![];
        for track in &mut self.tracks {
            let Some(probe) = probe_of(plan, track.role) else { continue };
            if let Some(flight) = track.in_flight {
                if flight.until > now {
                    continue;
                }
                track.in_flight = None;
                track.next_at = Some(now);
            }
            if track.next_at.is_none_or(|at| at > now) {
                continue;
            }
            self.seq += 1;
            let until = now.after(probe.timeout).after(LOST_AFTER);
            track.in_flight = Some(Flight { seq: self.seq, until, excused: false });
            track.next_at = match (&probe.how, gate) {
                // One long wait for a line, asked again only when it was cut short.
                (ProbeKind::Log(_), _) => None,
                (_, Some(_)) => {
                    let elapsed = now.since(started).max(FIRST_ASK);
                    Some(now.after(elapsed.min(SLOWEST_ASK).min(probe.interval.max(FIRST_ASK))))
                }
                // Start to start; what was missed is not made up for.
                (_, None) => Some(now.after(probe.interval)),
            };
            due.push((track.role, self.seq));
        }
        due
    }

    /// Takes an answer.
    pub(crate) fn answered(&mut self, plan: &HealthPlan, answer: &Answer<'_>, now: Moment) -> Finding {
        let Answer { role, seq, verdict, took_us, busy } = *answer;
        let gated = self.gate.is_some();
        let main = self.tracks.iter().map(|track| track.role).max() == Some(role);
        let asked = |track: &&mut Track| track.role == role && track.in_flight.is_some_and(|flight| flight.seq == seq);
        let Some(track) = self.tracks.iter_mut().find(asked) else { return Finding::Stale };
        let excused = track.in_flight.take().is_some_and(|flight| flight.excused) && track.excuses < MOST_EXCUSES;
        let Some(probe) = probe_of(plan, role) else { return Finding::Stale };
        let (ok, message) = match verdict {
            Verdict::Pass { message } => (true, message),
            Verdict::Fail { .. } if excused => {
                track.excuses += 1;
                track.ask_soon(now);
                return Finding::Nothing;
            }
            Verdict::Fail { message, how } => {
                let timed_out = *how == Failure::Timeout;
                if track.fails == 0 {
                    (track.timed_out, track.busy) = (0, 0);
                }
                track.timed_out += u32::from(timed_out);
                track.busy += u32::from(busy && timed_out);
                (false, message)
            }
            Verdict::Skip { .. } => {
                track.ask_soon(now);
                return Finding::Nothing;
            }
        };
        track.excuses = 0;
        track.streak = if (track.passes > 0) == ok && track.streak > 0 { track.streak + 1 } else { 1 };
        let latency_ms = Duration::from_micros(took_us).as_secs_f64() * 1_000.0;
        if main {
            self.last = Some(ProbeStatus { ok, latency_ms, streak: track.streak, message: message.clone() });
        }
        if ok {
            track.fails = 0;
            track.passes = track.passes.saturating_add(1);
            // A line that was seen once has been seen.
            let enough = if matches!(probe.how, ProbeKind::Log(_)) { 1 } else { probe.successes.max(1) };
            if track.passes < enough {
                track.ask_soon(now);
                return Finding::Nothing;
            }
            return if gated { Finding::GatePassed } else { Finding::Passing };
        }
        track.passes = 0;
        track.fails = track.fails.saturating_add(1);
        track.ask_soon(now);
        if gated {
            return Finding::Nothing;
        }
        if track.fails < probe.failures.max(1) {
            return Finding::Failure;
        }
        Finding::Failing { failures: track.fails, doubtful: track.busy == track.fails }
    }

    /// READY=1 arrived: what a `notify` probe finds.
    pub(crate) fn notified_ready(&self, plan: &HealthPlan) -> Finding {
        let waits = |role| probe_of(plan, role).is_some_and(|probe| probe.how == ProbeKind::Notify);
        match self.gate {
            Some(role) if waits(role) => Finding::GatePassed,
            None if waits(ProbeRole::Readiness) => Finding::Passing,
            None if matches!(plan, HealthPlan::One(probe) if probe.how == ProbeKind::Notify) => Finding::Passing,
            Some(_) | None => Finding::Nothing,
        }
    }

    /// Nothing has been found so far: a line is listened for also where a run that is ready would not be asked again.
    pub(crate) fn listen(&mut self, plan: &HealthPlan, now: Moment) {
        for track in &mut self.tracks {
            let listens = probe_of(plan, track.role).is_some_and(|probe| matches!(probe.how, ProbeKind::Log(_)));
            if listens && track.next_at.is_none() {
                track.next_at = Some(now.after(FIRST_ASK));
            }
        }
    }

    /// Who asked has died: what was under way is asked anew.
    pub(crate) fn ask_again(&mut self, now: Moment) {
        for track in &mut self.tracks {
            if track.in_flight.take().is_some() {
                track.next_at = Some(now);
            }
        }
    }

    /// everup was held up for `lag`: of questions under way that this may have spoilt, a failure proves nothing.
    pub(crate) fn excuse(&mut self, plan: &HealthPlan, lag: Duration) {
        for track in &mut self.tracks {
            if let (Some(flight), Some(probe)) = (&mut track.in_flight, probe_of(plan, track.role)) {
                flight.excused |= lag >= probe.timeout / 2;
                flight.until = flight.until.after(lag);
            }
        }
    }
}

impl Track {
    fn new(role: ProbeRole, next_at: Option<Moment>) -> Self {
        let (in_flight, excuses) = (None, 0);
        Self { role, next_at, in_flight, excuses, passes: 0, fails: 0, timed_out: 0, busy: 0, streak: 0 }
    }

    /// A wait for a line that ended without finding is taken up again.
    fn ask_soon(&mut self, now: Moment) {
        if self.next_at.is_none() {
            self.next_at = Some(now.after(SLOWEST_ASK));
        }
    }
}

/// The configured probe of that role; the single probe goes by liveness.
pub(crate) fn probe_of(plan: &HealthPlan, role: ProbeRole) -> Option<&ProbePlan> {
    plan.probes().into_iter().find(|(known, _)| *known == role).map(|(_, probe)| probe)
}

/// The role of the probe that gates the start, if any.
pub(crate) fn gate_role(plan: &HealthPlan) -> Option<ProbeRole> {
    match plan {
        HealthPlan::None => None,
        HealthPlan::One(_) => Some(ProbeRole::Liveness),
        HealthPlan::Kinds { startup, .. } => startup.as_ref().map(|_| ProbeRole::Startup),
    }
}

fn asked_at(probe: &ProbePlan, at: Moment) -> Option<Moment> {
    match probe.how {
        ProbeKind::Notify => None,
        // The line may come at any time: listen from the start.
        ProbeKind::Log(_) => Some(Moment(at.0.saturating_sub(20))),
        ProbeKind::Http(_) | ProbeKind::Tcp(_) | ProbeKind::Exec(_) => Some(at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::probe::ProbeAddress;
    use crate::model::template::Template;

    fn probe() -> ProbePlan {
        ProbePlan {
            how: ProbeKind::Tcp(ProbeAddress::Tcp(Template::text("127.0.0.1:1"))),
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(5),
            failures: 3,
            successes: 1,
            start_timeout: Duration::from_mins(1),
        }
    }

    fn answer(role: ProbeRole, seq: u64, verdict: &Verdict, busy: bool) -> Answer<'_> {
        Answer { role, seq, verdict, took_us: 100, busy }
    }

    fn fail() -> Verdict {
        Verdict::Fail { message: "refused".into(), how: Failure::Refused }
    }

    fn pass() -> Verdict {
        Verdict::Pass { message: "ok".into() }
    }

    #[test]
    fn the_gate_is_asked_at_doubling_times_up_to_once_a_second() {
        let plan = HealthPlan::One(probe());
        let mut health = Health::new(&plan, Moment(0));
        let mut asked = vec![];
        while asked.len() < 9 {
            let at = health.next_ask().unwrap();
            asked.push(at.0);
            let due = health.due(&plan, at);
            let [(role, seq)] = due[..] else { panic!("{due:?}") };
            assert_eq!(health.answered(&plan, &answer(role, seq, &fail(), false), at), Finding::Nothing);
        }
        assert_eq!(asked, [20, 40, 80, 160, 320, 640, 1_280, 2_280, 3_280]);
    }

    #[test]
    fn failures_must_come_in_a_row() {
        let plan = HealthPlan::One(probe());
        let mut health = Health::new(&plan, Moment(0));
        health.open(&plan, Moment(0), &mut Dice(1));
        let mut found = vec![];
        for verdict in [fail(), fail(), pass(), fail(), fail(), fail()] {
            let at = health.next_ask().unwrap();
            let (role, seq) = health.due(&plan, at)[0];
            found.push(health.answered(&plan, &answer(role, seq, &verdict, false), at));
        }
        let failing = Finding::Failing { failures: 3, doubtful: false };
        let (failure, passing) = (Finding::Failure, Finding::Passing);
        assert_eq!(found, [failure.clone(), failure.clone(), passing, failure.clone(), failure, failing]);
    }

    #[test]
    fn one_question_is_under_way_at_a_time_and_a_late_answer_counts_for_nothing() {
        let plan = HealthPlan::One(probe());
        let mut health = Health::new(&plan, Moment(0));
        health.open(&plan, Moment(0), &mut Dice(1));
        let (role, seq) = health.due(&plan, Moment(20_000))[0];
        assert_eq!(health.due(&plan, Moment(29_999)), []);
        assert_eq!(health.next_ask(), Some(Moment(30_000)), "5 s timeout and 5 s more");
        let (again, second) = health.due(&plan, Moment(30_000))[0];
        assert_eq!(again, role);
        assert_eq!(health.answered(&plan, &answer(role, seq, &fail(), false), Moment(30_001)), Finding::Stale);
        assert_eq!(health.answered(&plan, &answer(role, second, &fail(), false), Moment(30_002)), Finding::Failure);
    }

    #[test]
    fn time_outs_on_a_busy_machine_are_doubtful() {
        let plan = HealthPlan::One(probe());
        for (busy, doubtful) in [([true, true, true], true), ([true, false, true], false)] {
            let mut health = Health::new(&plan, Moment(0));
            health.open(&plan, Moment(0), &mut Dice(1));
            let mut last = Finding::Nothing;
            for busy in busy {
                let at = health.next_ask().unwrap();
                let (role, seq) = health.due(&plan, at)[0];
                let verdict = Verdict::Fail { message: "no answer".into(), how: Failure::Timeout };
                last = health.answered(&plan, &answer(role, seq, &verdict, busy), at);
            }
            assert_eq!(last, Finding::Failing { failures: 3, doubtful });
        }
    }
}
