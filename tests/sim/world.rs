//! One seeded world: the core, a fake kernel, and people who ask for things at bad moments.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::time::Duration;

use everup::core::action::Action;
use everup::core::event::{Event, Notice, RequestId};
use everup::core::supervisor::{Seeds, Supervisor};
use everup::model::command::{Caller, Command, Target};
use everup::model::names::{InstanceId, ServiceName};
use everup::model::plan::{Plan, Until};
use everup::model::service::{Cause, Desired, State};
use everup::model::signal::Signal;
use everup::model::status::ServiceStatus;
use everup::model::units::{Moment, Now, Timestamp};

use crate::deaths::Book;
use crate::dice::Dice;
use crate::files::Files;
use crate::invariants::{Checked, Step, Violation, Watch, ensure};
use crate::kernel::Kernel;
use crate::plans;

/// How a world is run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Options {
    /// Keep a readable trace.
    pub(crate) trace: bool,
    /// Let the wall clock jump about: nothing may depend on it.
    pub(crate) wall_jumps: bool,
    /// Let the engine die now and then: its successor goes on from what it wrote down.
    pub(crate) mortal: bool,
    /// Keep every action, to compare runs.
    pub(crate) keep: bool,
}

/// What a run of a world leaves behind.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) steps: u64,
    pub(crate) trace: VecDeque<String>,
    pub(crate) actions: String,
    pub(crate) violation: Option<Violation>,
}

const LAST_LINES: usize = 60;

struct World {
    dice: Dice,
    wall: Dice,
    options: Options,
    now: u64,
    core: Supervisor,
    /// What was written down, where the engine can die.
    book: Option<Book>,
    /// Decides about life and death.
    fate: Dice,
    /// What a successor does before all else.
    first: Vec<Action>,
    kernel: Kernel,
    files: Files,
    /// Services whose apps write into their own folder, and how long after each start.
    writers: BTreeMap<ServiceName, u64>,
    watch: Watch,
    statuses: Vec<ServiceStatus>,
    requests: u64,
    waiting: Vec<RequestId>,
    next_person: u64,
    last: Vec<Event>,
    report: Report,
    /// Whether `statuses` are as of the latest step.
    fresh: bool,
}

/// Runs the world of `seed` through chaos, calm and shutdown.
pub(crate) fn run(seed: u64, options: Options) -> Report {
    let mut dice = Dice::new(seed);
    let plan = plans::project(&mut dice);
    let shutdown_budget = dice.percent(30).then(|| Duration::from_millis(dice.between(1_000, 30_000)));
    let now = dice.between(0, 1_000_000);
    let seeds = Seeds { dice: seed, shutdown_budget, ..Seeds::default() };
    let only: Vec<ServiceName> = if dice.percent(10) { vec![plan.services[0].name.clone()] } else { vec![] };
    let mut core = Supervisor::new(plan, seeds, &only);
    let book = options.mortal.then(|| Book::new(&mut core));
    let statuses = core.statuses(Moment(now));
    let mut writers = BTreeMap::new();
    for index in 0..6 {
        if dice.percent(8) {
            writers.insert(plans::name(index), dice.between(20, 1_500));
        }
    }
    let watch = Watch::new(core.plan(), shutdown_budget);
    let mut world = World {
        dice,
        wall: Dice::new(seed ^ 0xABCD),
        options,
        now,
        core,
        book,
        fate: Dice::new(seed ^ 0xDEAD),
        first: vec![],
        kernel: Kernel::default(),
        files: Files::default(),
        writers,
        watch,
        statuses,
        requests: 0,
        waiting: vec![],
        next_person: now,
        last: vec![],
        report: Report::default(),
        fresh: true,
    };
    world.report.violation = world.live().err();
    world.report
}

impl World {
    fn live(&mut self) -> Checked {
        self.step(vec![Event::Tick], 0)?;
        let chaos = self.dice.between(8, 50);
        for _ in 0..chaos {
            if self.watch.exited() {
                return self.after_the_end();
            }
            self.turn()?;
        }
        let (dice, now) = (&mut self.dice, self.now);
        self.kernel.calm_down(dice, now);
        // The last save of all must not be lost.
        for service in self.core.plan().services.clone() {
            if dice.percent(40) {
                self.files.save(dice, now, &service.name);
            }
        }
        if !self.watch.shutting_down {
            self.everything_wanted_becomes_ready()?;
        }
        self.everything_ends()
    }

    /// Goes on to whatever comes next: news, a deadline, a person; sometimes too late.
    fn turn(&mut self) -> Checked {
        let deadline = self.core.next_deadline().map(|deadline| deadline.at.0);
        let person = if self.kernel.calm { None } else { Some(self.next_person) };
        let next = [self.kernel.next_at(), self.files.next_at(), deadline, person].into_iter().flatten().min();
        let Some(next) = next else { return self.step(vec![Event::Tick], 0) };
        let next = next.max(self.now);
        let delay = match self.dice.between(0, 99) {
            _ if self.kernel.calm => 0,
            0..=1 => self.dice.between(250, 40_000),
            2..=3 => self.dice.between(250, 900),
            4..=20 => self.dice.between(0, 20),
            _ => 0,
        };
        self.now = next + delay;
        let late = deadline.map_or(0, |at| self.now.saturating_sub(at));
        let mut events = self.kernel.run_until(&mut self.dice, self.now);
        let plan = self.core.plan().clone();
        events.extend(self.files.run_until(&mut self.dice, self.now, &plan));
        if person.is_some_and(|at| at <= self.now) {
            events.extend(self.person_asks());
            let pause = if self.dice.percent(40) { self.dice.between(0, 50) } else { self.dice.between(0, 6_000) };
            self.next_person = self.now + pause;
        }
        // The shell gathers what has arrived, or takes it one by one.
        if events.is_empty() {
            events.push(Event::Tick);
        }
        if self.may_die(2) {
            // Over news that it had heard and not decided about.
            self.kernel.hear_again(self.now, events);
            return self.live_again();
        }
        if delay >= 250 || self.dice.percent(50) {
            return self.step(events, late);
        }
        let mut late = late;
        for event in events {
            self.step(vec![event], late)?;
            late = 0;
        }
        Ok(())
    }

    fn step(&mut self, events: Vec<Event>, late: u64) -> Checked {
        let wall = if self.options.wall_jumps { self.wall.between(0, 1 << 40) } else { self.now };
        let now = Now { moment: Moment(self.now), wall: Timestamp(i64::try_from(wall).unwrap_or_default()) };
        self.stale_news_changes_nothing(&events, now)?;
        if self.options.trace {
            self.trace_events(&events, late);
        }
        self.last.clone_from(&events);
        let mut actions = std::mem::take(&mut self.first);
        actions.extend(self.core.steps(events, now));
        self.report.steps += 1;
        if let Some(book) = &mut self.book {
            book.keep(&mut self.core)?;
        }
        let dies = self.may_die(3);
        if self.options.keep {
            let _ = writeln!(self.report.actions, "{} {actions:?}", self.now);
        }
        if self.options.trace {
            for action in &actions {
                self.trace(format!("           -> {}", brief(action)));
            }
        }
        // Where nothing was decided nothing has changed; a look now and then makes sure.
        let quiet = |action: &Action| matches!(action, Action::Ask { .. });
        let routine = |event: &Event| matches!(event, Event::Tick | Event::Notified { .. } | Event::Probed { .. });
        if actions.iter().all(quiet) && self.last.iter().all(routine) && !self.report.steps.is_multiple_of(8) {
            self.watch.glance(&Step {
                now: self.now,
                late,
                events: &self.last,
                actions: &actions,
                before: &[],
                after: &self.statuses,
                core: &self.core,
                kernel: &self.kernel,
            })?;
            self.fresh = false;
            return self.perform_all(actions, dies);
        }
        self.fresh = true;
        for (service, whole) in self.watch.reloads.rewatched(&self.core) {
            self.files.watch_anew(&service, whole);
        }
        let after = self.core.statuses(now.moment);
        let before = std::mem::replace(&mut self.statuses, after);
        self.watch.check(&Step {
            now: self.now,
            late,
            events: &self.last,
            actions: &actions,
            before: &before,
            after: &self.statuses,
            core: &self.core,
            kernel: &self.kernel,
        })?;
        self.perform_all(actions, dies)
    }

    /// Carries out what was decided; where the engine dies over it, only the first of it.
    fn perform_all(&mut self, mut actions: Vec<Action>, dies: bool) -> Checked {
        if dies {
            let done = usize::try_from(self.fate.between(0, actions.len() as u64)).unwrap();
            if actions.iter().any(|action| matches!(action, Action::Exit { .. })) {
                // It is yet to be carried out to its end.
                self.watch.exits = 0;
            }
            actions.truncate(done);
        }
        for action in actions {
            self.perform(action);
        }
        if dies { self.live_again() } else { Ok(()) }
    }

    fn may_die(&mut self, percent: u64) -> bool {
        self.options.mortal && !self.kernel.calm && self.watch.exits == 0 && self.fate.percent(percent)
    }

    /// The engine has died: another goes on from what was written down.
    fn live_again(&mut self) -> Checked {
        let Some(book) = &self.book else { return Ok(()) };
        let (plan, memory) = (book.plan(), book.read());
        let before = self.core.statuses(Moment(self.now));
        let deadline = self.core.next_deadline();
        let seeds = Seeds { dice: self.fate.between(0, 1 << 40), ..Seeds::default() };
        self.core = Supervisor::new(plan, seeds, &[]).remember(memory);
        let after = self.core.statuses(Moment(self.now));
        // A figure's last digit may be lost on the way through text.
        let shown = |statuses: &Vec<ServiceStatus>| -> Vec<String> {
            let lines = format!("{statuses:#?}");
            lines.lines().filter(|line| !line.contains("latency_ms")).map(str::to_owned).collect()
        };
        let (before, after) = (shown(&before), shown(&after));
        ensure(before == after, "S26 a successor shows what was", || {
            let differ = before.iter().zip(&after).filter(|(a, b)| a != b);
            differ.map(|(a, b)| format!("{a} -> {b}")).collect::<Vec<_>>().join("\n")
        })?;
        // Who had asked for something does not wait any more.
        let same = deadline == self.core.next_deadline() || deadline.is_some_and(|due| due.why == "request");
        ensure(same, "S26 a successor waits for the same", || {
            format!("{deadline:?} -> {:?}", self.core.next_deadline())
        })?;
        self.kernel.lose_engine();
        self.files.lose_engine();
        self.watch.lose_engine();
        self.waiting.clear();
        let gap = if self.fate.percent(80) { self.fate.between(0, 60) } else { self.fate.between(0, 5_000) };
        self.now += gap;
        if self.options.trace {
            self.trace(format!("{:>10} the engine has died and lives again after {gap} ms", self.now));
        }
        let now = Now { moment: Moment(self.now), wall: Timestamp(i64::try_from(self.now).unwrap_or_default()) };
        let kernel = &self.kernel;
        let (actions, news) = self.core.take_up(now, |id, run| kernel.witness(&(id.clone(), run)));
        let mut news: Vec<Event> = news.into_iter().chain(self.kernel.known()).collect();
        news.push(Event::Tick);
        self.first = actions;
        let late = deadline.map_or(0, |due| self.now.saturating_sub(due.at.0));
        self.step(news, late)
    }

    fn perform(&mut self, action: Action) {
        let (dice, now) = (&mut self.dice, self.now);
        match action {
            Action::Spawn { instance, run, plan } => {
                if let Some(after) = self.writers.get(&instance.service) {
                    let at = now + after + dice.between(0, 50);
                    self.files.app_writes(at, &instance.service);
                }
                self.kernel.spawn(dice, now, instance, run, plan);
            }
            Action::Signal { instance, run, signal, scope } => {
                self.kernel.signal(dice, now, &(instance, run), signal, scope);
            }
            Action::EndTree { instance, run, .. } => self.kernel.end_tree(dice, now, &(instance, run)),
            Action::Ask { instance, run, role, seq, plan } => {
                let probes = plan.health.probes();
                if let Some((_, probe)) = probes.into_iter().find(|(known, _)| *known == role) {
                    self.kernel.ask(dice, now, &(instance, run), role, seq, probe);
                }
            }
            Action::Dismiss { instance, run } => self.kernel.dismiss(dice, &(instance, run)),
            Action::RunHook { instance, run, hook, .. } => self.kernel.run_hook(dice, now, &(instance, run), hook),
            Action::Answer { id, .. } => self.waiting.retain(|other| *other != id),
            Action::Check { service, seq, files, .. } => self.files.check(dice, now, &service, seq, &files),
            Action::DropCheck { service } => self.files.drop_check(dice, &service),
            Action::Disregard { service, path } => self.files.disregard(&service, path),
            Action::CloseSockets { .. } | Action::Look { .. } | Action::Record(_) | Action::Exit { .. } => {}
        }
    }

    /// S3: news of a run that is over changes nothing at all.
    fn stale_news_changes_nothing(&mut self, events: &[Event], now: Now) -> Checked {
        let [event] = events else { return Ok(()) };
        let is_stale = match (event, event.run()) {
            (Event::Checked { service, seq, .. }, _) => self.watch.reloads.is_stale(service, *seq),
            (_, Some((id, run))) => self.core.runs().get(id).is_some_and(|latest| *latest != run),
            (_, None) => false,
        };
        if !is_stale {
            return Ok(());
        }
        let (mut told, mut untold) = (self.core.clone(), self.core.clone());
        let same = told.steps([event.clone()], now) == untold.steps([Event::Tick], now)
            && told.statuses(now.moment) == untold.statuses(now.moment)
            && told.next_deadline() == untold.next_deadline();
        ensure(same, "S3 stale news changes nothing", || format!("{event:?}"))
    }

    fn person_asks(&mut self) -> Vec<Event> {
        if self.dice.percent(5) && !self.waiting.is_empty() {
            let id = *self.dice.pick(&self.waiting);
            self.waiting.retain(|other| *other != id);
            return vec![Event::Abandoned { id }];
        }
        if self.dice.percent(3) {
            return self.an_extension();
        }
        if self.dice.percent(35) {
            let plan = self.core.plan().clone();
            if !plan.services.is_empty() {
                let service = self.dice.pick(&plan.services).name.clone();
                self.files.save(&mut self.dice, self.now, &service);
            }
            return vec![];
        }
        let Some(command) = self.command() else { return vec![] };
        self.requests += 1;
        let id = RequestId(self.requests);
        let wait = self.dice.percent(60).then(|| Duration::from_millis(self.dice.between(0, 30_000)));
        self.waiting.push(id);
        vec![Event::Asked { id, command, wait, by: Caller("uid 1000".into()) }]
    }

    fn an_extension(&mut self) -> Vec<Event> {
        let lives: Vec<_> = self.core.live().map(|(id, run, _)| (id.clone(), run)).collect();
        if lives.is_empty() {
            return vec![];
        }
        let (instance, run) = self.dice.pick(&lives).clone();
        let notice = Notice::Extend(Duration::from_millis(self.dice.between(0, 10_000)));
        vec![Event::Notified { instance, run, notice }]
    }

    fn command(&mut self) -> Option<Command> {
        let plan = self.core.plan().clone();
        let targets = self.targets(&plan);
        Some(match self.dice.between(0, 99) {
            0..=16 => Command::Start(targets),
            17..=24 => Command::Reload(targets),
            25..=46 => Command::Stop(targets),
            47..=64 => Command::Restart { targets, now: self.dice.percent(30) },
            65..=74 => Command::Scale {
                service: targets.first()?.service.clone(),
                instances: u32::try_from(self.dice.between(0, 4)).unwrap_or(1),
            },
            75..=79 => Command::Signal { targets, signal: *self.dice.pick(&[Signal::HUP, Signal::KILL, Signal::TERM]) },
            80..=95 => {
                let start = if self.dice.percent(20) {
                    plan.services.first().map(|service| service.name.clone()).into_iter().collect()
                } else {
                    vec![]
                };
                let dry_run = self.dice.percent(30);
                let plan = if self.dice.percent(20) { plan } else { plans::edited(&mut self.dice, &plan) };
                let start = start.into_iter().filter(|name| plan.service(name).is_some()).collect();
                Command::Apply { plan, start, dry_run }
            }
            96 => Command::Interrupt { delivered: self.dice.percent(50) },
            97 => Command::Down { force: self.dice.percent(30) },
            _ => Command::Stop(plan.services.iter().map(|service| Target::all(service.name.clone())).collect()),
        })
    }

    fn targets(&mut self, plan: &Plan) -> Vec<Target> {
        let mut targets = vec![];
        for _ in 0..self.dice.between(1, 2) {
            let Some(service) = (!plan.services.is_empty()).then(|| self.dice.pick(&plan.services)) else { break };
            let index = self.dice.percent(25).then(|| u32::try_from(self.dice.between(1, 3)).unwrap_or(1));
            targets.push(Target { service: service.name.clone(), index });
        }
        if self.dice.percent(2) {
            targets.extend(ServiceName::new("nobody").ok().map(Target::all));
        }
        targets
    }

    /// S11 (and S10, S12): in a calm world everything wanted becomes ready, everything unwanted is gone.
    fn everything_wanted_becomes_ready(&mut self) -> Checked {
        let limit = self.now + 30 * 60_000;
        let mut steps = 0;
        loop {
            if !self.fresh {
                self.statuses = self.core.statuses(Moment(self.now));
            }
            let unsettled = self.unsettled();
            if self.watch.exited() || self.watch.shutting_down {
                return Ok(());
            }
            if unsettled.is_none() {
                return self.watch.reloads.s30_no_change_is_lost(&self.core, &self.statuses);
            }
            steps += 1;
            ensure(self.now < limit && steps < 4_000, "S11 what is wanted becomes ready", || {
                format!("{} after {steps} calm steps", unsettled.unwrap_or_default())
            })?;
            let news = self.kernel.next_at().or(self.files.next_at());
            let idle = self.core.next_deadline().is_none() && news.is_none();
            ensure(!idle, "S11 no wake-up is lost", || self.unsettled().unwrap_or_default())?;
            self.turn()?;
        }
    }

    /// Whoever is not where it should end up, if anybody.
    fn unsettled(&self) -> Option<String> {
        if let Some(at) = self.files.next_at() {
            return Some(format!("files or checks have news at {at}"));
        }
        for service in &self.statuses {
            for i in &service.instances {
                let settled = match (i.desired, i.state) {
                    (Desired::Down, State::Stopped | State::Exited | State::Failed) | (Desired::Up, State::Exited) => {
                        true
                    }
                    (Desired::Up, State::Failed) => {
                        i.cause != Some(Cause::Dependency) || self.is_blocked(&service.name, true)
                    }
                    (Desired::Up, State::Running) => i.ready && !self.is_yet_to_be_believed(&service.name, i.uptime_ms),
                    // One before it cannot start: its turn comes once that is back.
                    (Desired::Up, State::Reloading) => {
                        i.ready && service.instances.len() > 1 && self.is_blocked(&service.name, false)
                    }
                    (Desired::Up, State::Waiting) => self.is_blocked(&service.name, false),
                    _ => false,
                };
                if !settled {
                    return Some(format!("{} is {} ({:?})", i.name, i.state, i.reason));
                }
            }
        }
        None
    }

    /// In `dev` a program that nobody can ask is believed to serve once it has lived a second.
    fn is_yet_to_be_believed(&self, name: &ServiceName, uptime_ms: Option<u64>) -> bool {
        let plan = self.core.plan().service(name);
        let is_asked = |plan: &std::sync::Arc<everup::model::plan::ServicePlan>| !plan.health.probes().is_empty();
        let is_young = uptime_ms.is_some_and(|ms| ms < 1_000) && self.core.next_deadline().is_some();
        is_young && plan.is_some_and(|plan| plan.waits_for_change && !is_asked(plan))
    }

    /// Whether something that `name` needs is there for nobody.
    fn is_blocked(&self, name: &ServiceName, required: bool) -> bool {
        let Some(plan) = self.core.plan().service(name) else { return false };
        plan.needs.iter().filter(|(_, need)| need.required || !required).any(|(needed, need)| {
            let Some(service) = self.statuses.iter().find(|service| &service.name == needed) else { return false };
            service.instances.is_empty()
                || service.instances.iter().any(|i| match i.state {
                    State::Stopped | State::Failed => true,
                    State::Exited => !i.ready,
                    State::Waiting => self.is_blocked(needed, false),
                    State::Running => need.until == Until::Completed,
                    State::Starting | State::Reloading | State::Stopping | State::Backoff => false,
                })
        })
    }

    /// After Down everything ends, in bounded time, and everup ends once.
    fn everything_ends(&mut self) -> Checked {
        if !self.watch.exited() {
            self.requests += 1;
            let (id, by) = (RequestId(self.requests), Caller("uid 0".into()));
            let wait = Some(Duration::from_hours(1));
            self.step(vec![Event::Asked { id, command: Command::Down { force: false }, wait, by }], 0)?;
        }
        let limit = self.now + 15 * 60_000;
        let mut steps = 0;
        while !self.watch.exited() {
            steps += 1;
            ensure(self.now < limit && steps < 4_000, "S10 after down everything ends", || {
                format!("{} alive", self.kernel.any_alive())
            })?;
            self.turn()?;
        }
        self.after_the_end()
    }

    /// Late news and late askers do not wake the dead.
    fn after_the_end(&mut self) -> Checked {
        self.requests += 1;
        let (id, by) = (RequestId(self.requests), Caller("uid 0".into()));
        let start = Command::Start(self.targets(&self.core.plan().clone()));
        self.step(vec![Event::Asked { id, command: start, wait: None, by }], 0)?;
        for _ in 0..5 {
            self.turn()?;
        }
        Ok(())
    }

    fn trace_events(&mut self, events: &[Event], late: u64) {
        let late = if late > 0 { format!(" ({late} ms late)") } else { String::new() };
        for event in events {
            self.trace(format!("{:>10} {}{late}", self.now, brief_event(event)));
        }
    }

    fn trace(&mut self, line: String) {
        if self.report.trace.len() >= LAST_LINES {
            self.report.trace.pop_front();
        }
        self.report.trace.push_back(line);
    }
}

fn life(instance: &InstanceId, run: everup::model::names::Run) -> String {
    format!("{instance}#{run}")
}

fn brief_event(event: &Event) -> String {
    match event {
        Event::Asked { id, command, wait, .. } => match command {
            Command::Apply { plan, start, dry_run } => {
                let names: Vec<String> = plan.services.iter().map(|s| format!("{}x{}", s.name, s.instances)).collect();
                format!("{id:?} Apply dry={dry_run} start={start:?} {names:?} wait={wait:?}")
            }
            _ => format!("{id:?} {command:?} wait={wait:?}"),
        },
        Event::Spawned { instance, run, pid } => format!("Spawned {} pid {pid}", life(instance, *run)),
        Event::Ended { instance, run, end, traces } => {
            format!("Ended {} {end:?} empty={}", life(instance, *run), traces.tree_empty)
        }
        Event::TreeGone { instance, run } => format!("TreeGone {}", life(instance, *run)),
        Event::Left { instance, run, processes } => format!("Left {} {processes:?}", life(instance, *run)),
        Event::Probed { instance, run, role, seq, verdict, .. } => {
            format!("Probed {} {role:?} {seq} {verdict:?}", life(instance, *run))
        }
        Event::Notified { instance, run, notice } => format!("Notified {} {notice:?}", life(instance, *run)),
        Event::HookEnded { instance, run, hook, result } => {
            format!("HookEnded {} {hook:?} {result:?}", life(instance, *run))
        }
        Event::Used { instance, run, memory_bytes } => format!("Used {} {memory_bytes}", life(instance, *run)),
        Event::Abandoned { id } => format!("Abandoned {id:?}"),
        Event::Changed { service, files, .. } => format!("Changed {service} {files:?}"),
        Event::Checked { service, seq, result } => format!("Checked {service} {seq} {result:?}"),
        Event::Tick => "Tick".to_owned(),
    }
}

fn brief(action: &Action) -> String {
    match action {
        Action::Spawn { instance, run, .. } => format!("Spawn {}", life(instance, *run)),
        Action::Ask { instance, run, role, seq, .. } => format!("Ask {} {role:?} {seq}", life(instance, *run)),
        Action::RunHook { instance, run, hook, .. } => format!("RunHook {} {hook:?}", life(instance, *run)),
        Action::Record(fact) => format!(
            "{} {}/{} run {:?} cause {:?} {:?} {:?}",
            fact.event,
            fact.service.as_ref().map(ToString::to_string).unwrap_or_default(),
            fact.index.unwrap_or_default(),
            fact.run.map(|run| run.0),
            fact.cause,
            fact.message,
            fact.then
        ),
        Action::Signal { instance, run, signal, scope } => {
            format!("Signal {} {signal} {scope:?}", life(instance, *run))
        }
        Action::EndTree { instance, run, .. } => format!("EndTree {}", life(instance, *run)),
        Action::Look { instance, run } => format!("Look {}", life(instance, *run)),
        Action::Dismiss { instance, run } => format!("Dismiss {}", life(instance, *run)),
        Action::Answer { id, result } => format!("Answer {id:?} {result:?}"),
        Action::Check { service, seq, files, .. } => format!("Check {service} {seq} {files:?}"),
        Action::DropCheck { service } => format!("DropCheck {service}"),
        Action::Disregard { service, path } => format!("Disregard {service} {}", path.display()),
        Action::CloseSockets { service } => format!("CloseSockets {service}"),
        Action::Exit { code } => format!("Exit {code}"),
    }
}
