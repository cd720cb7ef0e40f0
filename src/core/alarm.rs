//! Which of what happens is worth a message to somebody.
//!
//! A trouble that lasts is told once, a recovery only after something was told. Of one kind at most one message a
//! minute goes out for a service: what comes meanwhile is held back, and its newest is told with how many there were.
//! What a person does on purpose says nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, ServiceName};
use crate::model::plan::{NotifyOn, Plan};
use crate::model::service::Cause;
use crate::model::units::Moment;

/// Between two messages of one kind about one service.
const REST: Duration = Duration::from_mins(1);

/// One message that is due.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Alarm {
    /// Of what.
    pub(crate) on: NotifyOn,
    /// What happened.
    pub(crate) fact: Fact,
    /// How often that has happened since the last message of this kind.
    pub(crate) times: u32,
}

/// Every service that somebody was or is to be told of.
#[derive(Debug, Default)]
pub(crate) struct Alarms(BTreeMap<ServiceName, Case>);

/// What is known about one service.
#[derive(Debug, Default)]
struct Case {
    /// The instances in trouble.
    patients: BTreeMap<u32, Patient>,
    /// The troubles that are told (or held back) until it has recovered.
    lasting: BTreeSet<NotifyOn>,
    /// Whether its recovery is news to anybody.
    is_known: bool,
    paces: BTreeMap<NotifyOn, Pace>,
}

/// An instance on its way out of trouble.
#[derive(Debug)]
struct Patient {
    is_ready: bool,
    /// Since when it has been ready and healthy in one piece.
    well_since: Option<Moment>,
    /// How long that must last.
    proof: Duration,
    /// What was last heard of it.
    last: Fact,
}

/// How often one kind is told.
#[derive(Debug)]
struct Pace {
    last: Option<Moment>,
    held: Option<Alarm>,
}

impl Alarms {
    /// Takes what happened; gives what is to be told of at once.
    pub(crate) fn hear(&mut self, fact: &Fact, plan: &Plan, now: Moment) -> Vec<Alarm> {
        let Some(id) = fact.instance() else { return vec![] };
        match (fact.event, fact.cause) {
            (EventWord::Failed, _) => self.trouble(&id, NotifyOn::Failed, fact, plan, now),
            (EventWord::CrashLooping, _) => self.trouble(&id, NotifyOn::CrashLooping, fact, plan, now),
            (EventWord::Ended, Some(Cause::Oom)) => self.trouble(&id, NotifyOn::Oom, fact, plan, now),
            _ => {
                let Some(case) = self.0.get_mut(&id.service) else { return vec![] };
                case.follow(id.index, fact, now).into_iter().collect()
            }
        }
    }

    /// Forgets instances that are no more; without a word, for that was somebody's wish.
    pub(crate) fn forget(&mut self, is_gone: impl Fn(&InstanceId) -> bool) {
        for (service, case) in &mut self.0 {
            case.patients.retain(|index, _| !is_gone(&InstanceId { service: service.clone(), index: *index }));
            case.close_quietly();
        }
    }

    /// What has become due.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Alarm> {
        let due = self.0.values_mut().flat_map(|case| case.due(now)).collect();
        self.0.retain(|_, case| !case.is_over(now));
        due
    }

    /// When [`Alarms::due`] has something next.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        self.0.values().flat_map(Case::deadlines).min()
    }

    fn trouble(&mut self, id: &InstanceId, on: NotifyOn, fact: &Fact, plan: &Plan, now: Moment) -> Vec<Alarm> {
        let service = plan.service(&id.service);
        let needs = service.iter().flat_map(|service| service.needs.keys());
        // Whoever is told of the one that failed need not be told of all that need it.
        let told_of_another = fact.cause == Some(Cause::Dependency)
            && needs.clone().any(|need| self.0.get(need).is_some_and(|case| !case.patients.is_empty()));
        let proof = service.map_or(Duration::ZERO, |service| service.restart.reset_after);
        let case = self.0.entry(id.service.clone()).or_default();
        let patient = Patient { is_ready: false, well_since: None, proof, last: fact.clone() };
        case.patients.insert(id.index, patient);
        let lasts = on != NotifyOn::Oom;
        if told_of_another || (lasts && !case.lasting.insert(on)) {
            return vec![];
        }
        case.is_known = true;
        // What it recovered from has come back.
        if let Some(pace) = case.paces.get_mut(&NotifyOn::Recovered) {
            pace.held = None;
        }
        case.say(on, fact.clone(), now).into_iter().collect()
    }
}

impl Case {
    /// Follows an instance out of its trouble.
    fn follow(&mut self, index: u32, fact: &Fact, now: Moment) -> Option<Alarm> {
        let patient = self.patients.get_mut(&index)?;
        patient.last = fact.clone();
        match fact.event {
            EventWord::Ready => (patient.is_ready, patient.well_since) = (true, Some(now)),
            EventWord::Healthy => patient.well_since = patient.is_ready.then_some(now),
            EventWord::Unhealthy => patient.well_since = None,
            EventWord::Unready | EventWord::Starting | EventWord::Stopping | EventWord::Ended => {
                (patient.is_ready, patient.well_since) = (false, None);
            }
            EventWord::Recovered | EventWord::Completed => return self.heal(index, now),
            EventWord::Held => {
                self.patients.remove(&index);
                self.close_quietly();
            }
            _ => {}
        }
        None
    }

    /// The instance is well; with the last one so is the service.
    fn heal(&mut self, index: u32, now: Moment) -> Option<Alarm> {
        let healed = self.patients.remove(&index)?;
        let is_news = self.patients.is_empty() && self.is_known;
        self.close_quietly();
        let Fact { service, index, instances, run, .. } = healed.last;
        let fact = Fact { service, index, instances, run, ..Fact::new(EventWord::Recovered) };
        if is_news { self.say(NotifyOn::Recovered, fact, now) } else { None }
    }

    /// Once nothing of it is in trouble the next trouble is another one.
    fn close_quietly(&mut self) {
        if self.patients.is_empty() {
            self.lasting.clear();
            self.is_known = false;
        }
    }

    /// Tells it now, or holds it back.
    fn say(&mut self, on: NotifyOn, fact: Fact, now: Moment) -> Option<Alarm> {
        let others_wait = on == NotifyOn::Recovered && self.is_holding_trouble();
        let pace = self.paces.entry(on).or_insert(Pace { last: None, held: None });
        let times = pace.held.take().map_or(1, |held| held.times + 1);
        let alarm = Alarm { on, fact, times };
        if others_wait || pace.opens().is_some_and(|at| now < at) {
            pace.held = Some(alarm);
            return None;
        }
        pace.last = Some(now);
        Some(alarm)
    }

    fn due(&mut self, now: Moment) -> Vec<Alarm> {
        let proven = self.patients.iter().filter(|(_, patient)| patient.proven_at().is_some_and(|at| at <= now));
        let proven: Vec<u32> = proven.map(|(index, _)| *index).collect();
        let mut due: Vec<Alarm> = proven.into_iter().filter_map(|index| self.heal(index, now)).collect();
        // What was wrong goes before the news that it is over.
        for on in [NotifyOn::Failed, NotifyOn::CrashLooping, NotifyOn::Oom, NotifyOn::Recovered] {
            if on == NotifyOn::Recovered && self.is_holding_trouble() {
                continue;
            }
            let Some(pace) = self.paces.get_mut(&on).filter(|pace| pace.opens().is_none_or(|at| at <= now)) else {
                continue;
            };
            if let Some(held) = pace.held.take() {
                pace.last = Some(now);
                due.push(held);
            }
        }
        due
    }

    fn deadlines(&self) -> impl Iterator<Item = Moment> {
        let proofs = self.patients.values().filter_map(Patient::proven_at);
        let blocked = self.is_holding_trouble();
        let held = self
            .paces
            .iter()
            .filter(move |(on, pace)| pace.held.is_some() && !(blocked && **on == NotifyOn::Recovered));
        proofs.chain(held.map(|(_, pace)| pace.opens().unwrap_or_default()))
    }

    fn is_holding_trouble(&self) -> bool {
        self.paces.iter().any(|(on, pace)| *on != NotifyOn::Recovered && pace.held.is_some())
    }

    /// Whether nothing of it matters any more.
    fn is_over(&self, now: Moment) -> bool {
        let rested = |pace: &Pace| pace.held.is_none() && pace.opens().is_none_or(|at| at <= now);
        self.patients.is_empty() && self.paces.values().all(rested)
    }
}

impl Patient {
    fn proven_at(&self) -> Option<Moment> {
        self.well_since.map(|since| since.after(self.proof))
    }
}

impl Pace {
    /// From when on the next may be told.
    fn opens(&self) -> Option<Moment> {
        self.last.map(|last| last.after(REST))
    }
}

#[cfg(test)]
mod tests;
