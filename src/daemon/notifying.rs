//! Takes what is worth a message to the couriers, and what became of it to the timeline.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::core::alarm::{Alarm, Alarms};
use crate::daemon::commands::{carry_out, not_spawned};
use crate::daemon::engine::{Engine, heard};
use crate::daemon::news::News;
use crate::daemon::perform::told_of;
use crate::daemon::processes::Processes;
use crate::daemon::spawn::{self, Inherited};
use crate::history::run::RunRecord;
use crate::model::event::{EventWord, Fact};
use crate::model::names::InstanceId;
use crate::model::plan::{NotifyPlan, NotifyTo, Plan};
use crate::model::service::End;
use crate::model::status::Warning;
use crate::model::template::{Part, Slots, Template};
use crate::model::units::Moment;
use crate::model::why::WhyEntry;
use crate::notify::courier::{self, Again, Courier, Deliver, Doing, Ear, Refusal, Report};
use crate::notify::message::{Message, Place};
use crate::notify::secrets::Secrets;
use crate::notify::webhook::Webhook;
use crate::os::memfd;

/// How long a command may take to tell somebody.
const LIMIT: Duration = Duration::from_secs(30);
/// How long messages that wait are given when everup ends.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// Nothing of a message differs between instances.
const NO_SLOTS: Slots = Slots { index: 1, port: None };

/// Who is told, and what is on its way.
#[derive(Debug, Default)]
pub(super) struct Notifying {
    alarms: Alarms,
    /// The plan whose targets these are.
    plan: Option<Arc<Plan>>,
    place: Place,
    targets: Vec<Target>,
    /// Alarms whose run is still to be written down.
    waiting: Vec<Alarm>,
    /// The newest end of each instance, as `why` tells it.
    newest: BTreeMap<InstanceId, WhyEntry>,
}

/// One way out, whatever it is used for.
#[derive(Debug)]
struct Target {
    to: NotifyTo,
    /// How it is called, without secrets.
    shown: String,
    courier: Courier,
}

impl Notifying {
    /// Takes what happened; what is worth a message waits until its run is written down.
    pub(super) fn hear(&mut self, fact: &Fact, plan: &Plan, now: Moment) {
        self.waiting.extend(self.alarms.hear(fact, plan, now));
    }

    /// Keeps the end of a run for the next message, where anybody is told at all.
    pub(super) fn remember(&mut self, record: &RunRecord) {
        if !self.targets.is_empty() {
            self.newest.insert(record.instance.clone(), WhyEntry::from(record.clone()));
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.alarms.next_deadline()
    }

    /// Who is not told at the moment.
    pub(super) fn troubles(&self) -> impl Iterator<Item = Warning> {
        self.targets.iter().filter_map(|target| {
            let reason = target.courier.trouble()?;
            let waiting = match target.courier.left().len() {
                0 => String::new(),
                1 => " (1 message waits)".to_owned(),
                count => format!(" ({count} messages wait)"),
            };
            let message = format!("{} is not told: {reason}{waiting}", target.shown);
            Some(Warning { code: "not_notified".to_owned(), message })
        })
    }

    fn message(&self, alarm: &Alarm) -> Option<Arc<Message>> {
        let entry = alarm.fact.instance().and_then(|id| self.newest.get(&id)).cloned();
        Message::new(alarm.on, &alarm.fact, alarm.times, entry, &self.place).map(Arc::new)
    }

    fn send(&self, entries: &[NotifyPlan], alarm: &Alarm) {
        let Some(message) = self.message(alarm) else { return };
        let wanted = |to: &NotifyTo| entries.iter().any(|entry| &entry.to == to && entry.on.contains(&alarm.on));
        for target in self.targets.iter().filter(|target| wanted(&target.to)) {
            target.courier.send(message.clone());
        }
    }
}

impl Engine {
    /// Sends what is due, to whomever the plan in force names.
    pub(super) fn notify(&mut self) {
        self.follow_targets();
        let core = &self.core;
        self.notifying.alarms.forget(|id| core.plan_of(&id.service).is_none() || id.index > core.siblings(&id.service));
        let due = self.notifying.alarms.due(self.now.moment);
        self.notifying.waiting.extend(due);
        let entries = &self.core.plan().notify;
        // The last lines of a run come a moment after its end; they belong into the message.
        let records_due = &self.records_due;
        let is_written =
            |alarm: &mut Alarm| alarm.fact.instance().zip(alarm.fact.run).is_none_or(|run| !records_due.contains(&run));
        let ready: Vec<Alarm> = self.notifying.waiting.extract_if(.., is_written).collect();
        for alarm in ready {
            self.notifying.send(entries, &alarm);
        }
    }

    fn follow_targets(&mut self) {
        let plan = self.core.plan();
        if self.notifying.plan.as_ref().is_some_and(|known| Arc::ptr_eq(known, plan)) {
            return;
        }
        let plan = plan.clone();
        let mut before = std::mem::take(&mut self.notifying.targets);
        for entry in &plan.notify {
            if self.notifying.targets.iter().any(|target| target.to == entry.to) {
                continue;
            }
            // What waits for a target that stays is kept.
            let kept = before.extract_if(.., |target| target.to == entry.to).next();
            let target = kept.unwrap_or_else(|| self.target(&entry.to, &plan));
            self.notifying.targets.push(target);
        }
        for gone in before {
            self.give_up(&gone, "the file names it no more");
        }
        if self.notifying.targets.is_empty() {
            self.notifying.newest.clear();
        }
        self.notifying.newest.retain(|id, _| plan.service(&id.service).is_some());
        self.notifying.place = Place { project: plan.project.clone(), host: host() };
        self.notifying.plan = Some(plan);
    }

    fn target(&self, to: &NotifyTo, plan: &Plan) -> Target {
        let shown = shown(to);
        let (inbox, by) = (self.inbox.clone(), shown.clone());
        let ear: Ear = Rc::new(move |report| {
            let (inbox, by) = (inbox.clone(), by.clone());
            // The loop outlives its couriers.
            Box::pin(async move { drop(inbox.send(News::Told { by, report }).await) })
        });
        let courier = match to {
            NotifyTo::Webhook(url) => Courier::start(Webhook::new(url), &courier::WAITS, ear),
            NotifyTo::Exec(words) => {
                let command = Command {
                    processes: self.processes.clone(),
                    inherited: self.inherited.clone(),
                    folder: plan.root.clone(),
                    argv: words.iter().map(|word| word.render(NO_SLOTS)).collect(),
                    secrets: Secrets::of(words),
                };
                Courier::start(command, &courier::WAITS, ear)
            }
        };
        Target { to: to.clone(), shown, courier }
    }

    /// Writes down what became of a message.
    pub(super) fn told_of_message(&mut self, by: &str, report: Report) {
        let Report { message, news } = report;
        let subject = message.subject();
        let words = match news {
            courier::News::Told => format!("{subject}: told {by}"),
            courier::News::GivenUp(reason) => format!("{subject}: could not tell {by}: {reason}"),
            // The warning of `status` says it; more attempts follow.
            courier::News::Failing(_) => return,
        };
        tracing::info!(message = words, "notified");
        let fact =
            Fact { service: Some(message.why.service.clone()), message: Some(words), ..Fact::new(EventWord::Notified) };
        self.publisher.fact(fact, self.now.wall);
    }

    /// Gives what still waits a short chance, then says what was not told.
    pub(super) async fn last_messages(&mut self, why: &str) {
        self.notify();
        self.notifying.targets.iter().for_each(|target| target.courier.hurry());
        let until = tokio::time::Instant::now() + LAST_WORDS;
        while self.notifying.targets.iter().any(|target| !target.courier.left().is_empty()) {
            // Commands are told of by the guardian.
            let heard = tokio::select! {
                message = heard(&self.processes) => message.map(|message| drop(self.hear_guardian(message))),
                Some(news) = self.news.recv() => {
                    self.take_last(news);
                    Some(())
                }
                () = tokio::time::sleep_until(until) => None,
            };
            if heard.is_none() {
                break;
            }
        }
        while let Ok(news) = self.news.try_recv() {
            self.take_last(news);
        }
        for target in std::mem::take(&mut self.notifying.targets) {
            self.give_up(&target, why);
        }
    }

    /// Says of all that still waits for a target that it will not arrive.
    fn give_up(&mut self, target: &Target, why: &str) {
        for message in target.courier.left() {
            let news = courier::News::GivenUp(why.to_owned());
            self.told_of_message(&target.shown, Report { message, news });
        }
    }

    fn take_last(&mut self, news: News) {
        if let News::Told { by, report } = news {
            self.told_of_message(&by, report);
        }
    }
}

/// A command that reads the message on its stdin.
struct Command {
    processes: Processes,
    inherited: Rc<Inherited>,
    folder: PathBuf,
    argv: Vec<String>,
    secrets: Secrets,
}

impl Deliver for Command {
    fn deliver<'a>(&'a self, message: &'a Message) -> Doing<'a, Result<(), Refusal>> {
        Box::pin(async move {
            let spec = spawn::own(&self.folder, &self.inherited, message.environment(), &self.argv);
            let outcome = match (spec, memfd::holding(message.body().as_bytes())) {
                (Ok(spec), Ok(stdin)) => {
                    carry_out(&self.processes, "notify".to_owned(), spec, Some(stdin), vec![], LIMIT).await
                }
                (Err(failure), _) => not_spawned(failure),
                (_, Err(error)) => {
                    return Err(Refusal { reason: error.to_string(), again: Again::Later });
                }
            };
            let reason = match &outcome.end {
                Some(End::Code(0)) => return Ok(()),
                Some(end) if self.secrets.are_in(&outcome.output) => told_of(end, ""),
                Some(end) => told_of(end, &outcome.output),
                None => "it did not end within 30s".to_owned(),
            };
            Err(Refusal { reason, again: Again::Later })
        })
    }
}

/// A target's name without secrets: scheme and host, or the program.
fn shown(to: &NotifyTo) -> String {
    match to {
        NotifyTo::Exec(words) => words.first().map(Template::to_string).unwrap_or_default(),
        NotifyTo::Webhook(url) => {
            let open = url.parts().iter().filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Hidden(_) | Part::Port | Part::Index | Part::Fd { .. } => None,
            });
            open.collect::<String>().trim_end_matches('/').to_owned()
        }
    }
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
