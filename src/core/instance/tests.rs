//! What several tests of the core share: services as their tests need them, and a bench to step them on.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::action::Action;
use crate::core::event::{Event, Notice, RequestId, Traces};
use crate::core::supervisor::{Seeds, Supervisor};
use crate::model::command::{Caller, Command, Denied, Outcome, Target};
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Pid, Run, ServiceName};
use crate::model::plan::{
    ControlPlan, HistoryPlan, Kind, Need, OnSupervisorDeath, Plan, Policy, RestartPlan, ServicePlan, Until, WebPlan,
};
use crate::model::probe::{Failure, ProbeAddress, ProbeKind, ProbePlan, ProbeRole, Verdict};
use crate::model::service::{End, State};
use crate::model::signal::Signal;
use crate::model::status::{InstanceStatus, ServiceStatus};
use crate::model::template::Template;
use crate::model::units::{Moment, Now, Timestamp};
use crate::model::watch::{CheckWord, Content, FileChange, WatchPlan, WatchWhen};

/// The defaults of the contract.
pub(crate) fn restart_plan() -> RestartPlan {
    RestartPlan { jitter: 0.2, ..ServicePlan::bare(name("web")).restart }
}

pub(crate) fn name(text: &str) -> ServiceName {
    ServiceName::new(text).unwrap()
}

/// A service with the contract's defaults, no jitter, no probe, and what `change` makes of it.
pub(crate) fn service(text: &str, change: impl FnOnce(&mut ServicePlan)) -> ServicePlan {
    let mut plan = ServicePlan { command: vec![Template::text("app")], ..ServicePlan::bare(name(text)) };
    change(&mut plan);
    plan
}

/// A task, which is not restarted unless told otherwise.
pub(crate) fn task(text: &str, change: impl FnOnce(&mut ServicePlan)) -> ServicePlan {
    service(text, |plan| {
        plan.kind = Kind::Task;
        plan.restart.policy = Policy::Never;
        change(plan);
    })
}

pub(crate) fn needs(plan: &mut ServicePlan, other: &str, until: Until) {
    plan.needs.insert(name(other), Need { until, required: true });
}

/// Asked every 10 s, 5 s for an answer, 3 failures, 60 s to start.
pub(crate) fn probe() -> ProbePlan {
    ProbePlan {
        how: ProbeKind::Tcp(ProbeAddress::Tcp(Template::text("127.0.0.1:1"))),
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        failures: 3,
        successes: 1,
        start_timeout: Duration::from_mins(1),
    }
}

pub(crate) fn project(services: Vec<ServicePlan>) -> Plan {
    Plan {
        project: "shop".into(),
        file: None,
        read_from: vec![],
        root: PathBuf::from("/"),
        state_dir: PathBuf::from("/state"),
        exit_with: None,
        control: ControlPlan { socket: None, mode: 0o600, users: vec![], groups: vec![] },
        web: WebPlan::default(),
        history: HistoryPlan::default(),
        notify: vec![],
        watch: WatchWhen::Dev,
        on_supervisor_death: OnSupervisorDeath::default(),
        services: services.into_iter().map(Arc::new).collect(),
    }
}

pub(crate) fn killed() -> End {
    End::Signal { signal: Signal::KILL, core: false }
}

/// A core with a clock that tests turn by hand. Instances go by `web` (the first) or `web/2`.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) core: Supervisor,
    pub(crate) now: u64,
    /// What the latest step led to.
    pub(crate) last: Vec<Action>,
    /// Every fact so far.
    pub(crate) facts: Vec<Fact>,
    /// Every answer so far.
    pub(crate) answers: BTreeMap<u64, Result<Outcome, Denied>>,
    asked: u64,
}

impl Bench {
    pub(crate) fn new(services: Vec<ServicePlan>) -> Self {
        Self::with(project(services), Seeds::default())
    }

    pub(crate) fn with(plan: Plan, seeds: Seeds) -> Self {
        let core = Supervisor::new(Arc::new(plan), seeds, &[]);
        let mut bench = Self { core, now: 1_000, last: vec![], facts: vec![], answers: BTreeMap::new(), asked: 0 };
        bench.step(Event::Tick);
        bench
    }

    pub(crate) fn step(&mut self, event: Event) -> &mut Self {
        self.steps(vec![event])
    }

    pub(crate) fn steps(&mut self, events: Vec<Event>) -> &mut Self {
        let now = Now { moment: Moment(self.now), wall: Timestamp(0) };
        self.last = self.core.steps(events, now);
        for action in &self.last {
            match action {
                Action::Record(fact) => self.facts.push(fact.clone()),
                Action::Answer { id, result } => {
                    assert!(self.answers.insert(id.0, result.clone()).is_none(), "{id:?} is answered twice");
                }
                _ => {}
            }
        }
        let deadline = self.core.next_deadline();
        assert!(deadline.is_none_or(|d| d.at > now.moment), "{deadline:?} does not lie ahead of {}", self.now);
        self
    }

    /// Lets `ms` pass, stopping punctually at every deadline. Returns all actions on the way.
    pub(crate) fn pass(&mut self, ms: u64) -> Vec<Action> {
        let end = self.now + ms;
        let mut all = vec![];
        while let Some(deadline) = self.core.next_deadline().filter(|deadline| deadline.at.0 <= end) {
            self.now = deadline.at.0;
            self.step(Event::Tick);
            all.append(&mut self.last.clone());
        }
        self.now = end;
        all
    }

    /// As [`Bench::pass`], with every probe answered at once.
    pub(crate) fn pass_answering(&mut self, ms: u64, pass: bool) {
        let end = self.now + ms;
        while let Some(deadline) = self.core.next_deadline().filter(|deadline| deadline.at.0 <= end) {
            self.now = deadline.at.0;
            self.step(Event::Tick);
            self.answer_probes(pass);
        }
        self.now = end;
    }

    /// Answers the questions that the latest step put.
    pub(crate) fn answer_probes(&mut self, pass: bool) -> &mut Self {
        for action in self.last.clone() {
            if let Action::Ask { instance, run, role, seq, .. } = action {
                self.step(probed(instance, run, role, seq, pass));
            }
        }
        self
    }

    pub(crate) fn id(text: &str) -> InstanceId {
        let (service, index) = text.split_once('/').unwrap_or((text, "1"));
        InstanceId { service: name(service), index: index.parse().unwrap() }
    }

    pub(crate) fn run(&self, text: &str) -> Run {
        self.core.runs().get(&Self::id(text)).copied().unwrap_or_default()
    }

    pub(crate) fn spawned(&mut self, text: &str) -> &mut Self {
        let (instance, run) = (Self::id(text), self.run(text));
        self.step(Event::Spawned { instance, run, pid: Pid(100) })
    }

    /// Its main process ends and nothing of its tree is left.
    pub(crate) fn ends(&mut self, text: &str, end: End) -> &mut Self {
        self.ends_leaving(text, end, true)
    }

    pub(crate) fn ends_leaving(&mut self, text: &str, end: End, tree_empty: bool) -> &mut Self {
        let (instance, run) = (Self::id(text), self.run(text));
        self.step(Event::Ended { instance, run, end, traces: Traces { tree_empty, ..Traces::default() } })
    }

    pub(crate) fn tree_gone(&mut self, text: &str) -> &mut Self {
        let (instance, run) = (Self::id(text), self.run(text));
        self.step(Event::TreeGone { instance, run })
    }

    pub(crate) fn says(&mut self, text: &str, notice: Notice) -> &mut Self {
        let (instance, run) = (Self::id(text), self.run(text));
        self.step(Event::Notified { instance, run, notice })
    }

    /// Asks for something; waits if `wait` is given. Returns the number of the request.
    pub(crate) fn ask(&mut self, command: Command, wait: Option<u64>) -> u64 {
        self.asked += 1;
        let (id, by) = (RequestId(self.asked), Caller("uid 1000, pts/3".into()));
        self.step(Event::Asked { id, command, wait: wait.map(Duration::from_millis), by });
        self.asked
    }

    pub(crate) fn start(&mut self, text: &str) -> u64 {
        self.ask(Command::Start(vec![target(text)]), Some(30_000))
    }

    pub(crate) fn stop(&mut self, text: &str) -> u64 {
        self.ask(Command::Stop(vec![target(text)]), Some(30_000))
    }

    pub(crate) fn restart(&mut self, text: &str) -> u64 {
        self.ask(Command::Restart { targets: vec![target(text)], now: false }, Some(30_000))
    }

    pub(crate) fn reload(&mut self, text: &str) -> u64 {
        self.ask(Command::Reload(vec![target(text)]), Some(30_000))
    }

    /// Files of `/srv` have changed, e.g. `app.py 1 2`; 0 is a file that is not there.
    pub(crate) fn changed(&mut self, text: &str, changes: &str) -> &mut Self {
        let since = Moment(self.now);
        self.step(changed(text, changes, since))
    }

    pub(crate) fn checked(&mut self, text: &str, seq: u64, result: Result<(), &str>) -> &mut Self {
        self.step(Event::Checked { service: name(text), seq, result: result.map_err(str::to_owned) })
    }

    /// The checks that the latest step has begun: their numbers and files.
    pub(crate) fn checks(&self) -> Vec<(u64, String)> {
        let check = |action: &Action| match action {
            Action::Check { seq, files, .. } => Some((*seq, names(files))),
            _ => None,
        };
        self.last.iter().filter_map(check).collect()
    }

    /// What was said about reloads so far, e.g. `reload_started app.py changed`.
    pub(crate) fn reloads(&self) -> Vec<String> {
        let about = |fact: &&Fact| fact.event.to_string().starts_with("reload_");
        let told = |fact: &Fact| format!("{} {}", fact.event, fact.message.as_deref().unwrap_or_default());
        self.facts.iter().filter(about).map(told).collect()
    }

    pub(crate) fn service(&self, text: &str) -> ServiceStatus {
        let services = self.core.statuses(Moment(self.now));
        services.into_iter().find(|service| service.name == name(text)).unwrap()
    }

    pub(crate) fn apply(&mut self, services: Vec<ServicePlan>, start: &[&str]) -> u64 {
        let start = start.iter().map(|text| name(text)).collect();
        self.ask(Command::Apply { plan: Arc::new(project(services)), start, dry_run: false }, Some(30_000))
    }

    pub(crate) fn status(&self, text: &str) -> InstanceStatus {
        let id = Self::id(text);
        let services = self.core.statuses(Moment(self.now));
        let service = services.iter().find(|service| service.name == id.service).unwrap();
        service.instances.iter().find(|instance| instance.index == id.index).unwrap().clone()
    }

    pub(crate) fn state(&self, text: &str) -> State {
        self.status(text).state
    }

    /// The facts of that word about `text`.
    pub(crate) fn told(&self, text: &str, word: EventWord) -> Vec<&Fact> {
        let id = Self::id(text);
        let about = |fact: &&Fact| fact.service.as_ref() == Some(&id.service) && fact.index == Some(id.index);
        self.facts.iter().filter(about).filter(|fact| fact.event == word).collect()
    }

    /// What was said about what follows its latest end.
    pub(crate) fn then(&self, text: &str) -> String {
        self.told(text, EventWord::Ended).last().and_then(|fact| fact.then.clone()).unwrap_or_default()
    }

    /// The signals and kills of the latest step, e.g. `web TERM` or `web KILL tree`.
    pub(crate) fn blows(&self) -> Vec<String> {
        blows(&self.last)
    }

    pub(crate) fn spawns(&self) -> Vec<String> {
        self.last
            .iter()
            .filter_map(|action| match action {
                Action::Spawn { instance, .. } => Some(instance.to_string()),
                _ => None,
            })
            .collect()
    }
}

/// A watched service whose files are in `/srv`.
pub(crate) fn watched(text: &str, change: impl FnOnce(&mut ServicePlan)) -> ServicePlan {
    service(text, |plan| {
        plan.cwd = PathBuf::from("/srv");
        plan.watch = Some(WatchPlan {
            paths: vec![PathBuf::from("/srv")],
            include: vec![],
            ignore: vec![],
            gitignore: true,
            debounce: Duration::from_millis(20),
            check: vec![],
            poll: false,
        });
        change(plan);
    })
}

/// Gives it a check of `words`: `{changed}` stands for the files.
pub(crate) fn with_check(plan: &mut ServicePlan, words: &str) {
    let word = |word: &str| match word {
        "{changed}" => CheckWord::Changed(vec![]),
        text => CheckWord::Text(Template::text(text)),
    };
    if let Some(watch) = plan.watch.as_mut().filter(|_| !words.is_empty()) {
        watch.check = words.split(' ').map(word).collect();
    }
}

pub(crate) fn changed(text: &str, changes: &str, since: Moment) -> Event {
    let content = |word: &str| Some(Content(word.parse().unwrap())).filter(|content| content.0 > 0);
    let change = |words: &str| {
        let words: Vec<&str> = words.split(' ').collect();
        let path = PathBuf::from("/srv").join(words[0]);
        FileChange { path, before: content(words[1]), after: content(words[2]) }
    };
    Event::Changed { service: name(text), files: changes.split(", ").map(change).collect(), since }
}

fn names(files: &[PathBuf]) -> String {
    let names: Vec<_> = files.iter().map(|file| file.strip_prefix("/srv").unwrap().display().to_string()).collect();
    names.join(" ")
}

pub(crate) fn blows(actions: &[Action]) -> Vec<String> {
    actions
        .iter()
        .filter_map(|action| match action {
            Action::Signal { instance, signal, .. } => Some(format!("{} {signal}", instance.label(1))),
            Action::EndTree { instance, .. } => Some(format!("{} KILL tree", instance.label(1))),
            _ => None,
        })
        .collect()
}

pub(crate) fn target(text: &str) -> Target {
    let (service, index) = text.split_once('/').map_or((text, None), |(s, i)| (s, i.parse().ok()));
    Target { service: name(service), index }
}

pub(crate) fn probed(instance: InstanceId, run: Run, role: ProbeRole, seq: u64, pass: bool) -> Event {
    let message = if pass { "200 OK" } else { "no answer" }.to_owned();
    let verdict = if pass { Verdict::Pass { message } } else { Verdict::Fail { message, how: Failure::Answer } };
    Event::Probed { instance, run, role, seq, verdict, took_us: 1_000, busy: false }
}
