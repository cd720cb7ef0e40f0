//! A fake kernel: processes with trees, wrappers and orphans, that obey, ignore or outlive signals. What truly happens
//! has its moment; the news of it comes later.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::Arc;

use everup::core::action::Scope;
use everup::core::event::{Event, Hook, Notice, Traces};
use everup::core::supervisor::memory::Witness;
use everup::model::names::{InstanceId, Pid, Run};
use everup::model::plan::{Kind, ReloadPlan, ServicePlan};
use everup::model::probe::{Failure, ProbeKind, ProbePlan, ProbeRole, Verdict};
use everup::model::service::{End, SpawnStage};
use everup::model::signal::Signal;

use crate::dice::Dice;

/// How often memory is read, in milliseconds.
const READ_EVERY: u64 = 1_000;

/// How a process takes a request to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Temper {
    Obeys(u64),
    Ignores,
    Unkillable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Main {
    Making,
    Alive,
    Dead,
}

/// The processes of one run.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    plan: Arc<ServicePlan>,
    pub(crate) pid: Pid,
    main: Main,
    others: u64,
    temper: Temper,
    /// From when on its probes fail, and whether by hanging.
    sick_from: Option<u64>,
    doomed: bool,
    /// Those it was sent.
    signals: u64,
    unkillable: bool,
    news_at: u64,
}

impl Tree {
    fn is_alive(&self) -> bool {
        self.main != Main::Dead || self.others > 0
    }

    pub(crate) fn is_unkillable(&self) -> bool {
        self.unkillable
    }
}

type Life = (InstanceId, Run);

/// What will truly happen, or be told.
#[derive(Clone, Debug)]
enum Due {
    Made(Life),
    NotMade(Life, SpawnStage, i32),
    MainEnds(Life, End, bool),
    OthersEnd(Life),
    Pings(Life),
    Reads(Life),
    News(Event),
}

#[derive(Clone, Debug)]
struct Entry(u64, u64, Due);

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Entry {}
impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Kernel {
    pub(crate) trees: BTreeMap<Life, Tree>,
    due: BinaryHeap<Reverse<Entry>>,
    order: u64,
    pids: i32,
    /// Everything behaves from now on.
    pub(crate) calm: bool,
}

impl Kernel {
    pub(crate) fn next_at(&self) -> Option<u64> {
        self.due.peek().map(|Reverse(entry)| entry.0)
    }

    /// The runs of `id` of which a process is alive or being made.
    pub(crate) fn alive<'a>(&'a self, id: &'a InstanceId) -> impl Iterator<Item = Run> + 'a {
        self.trees.iter().filter(move |((of, _), tree)| of == id && tree.is_alive()).map(|((_, run), _)| *run)
    }

    /// The engine has died: what was asked of others and not answered is answered to nobody.
    pub(crate) fn lose_engine(&mut self) {
        self.due.retain(|Reverse(Entry(_, _, due))| {
            !matches!(due, Due::News(Event::Probed { .. } | Event::HookEnded { .. } | Event::Used { .. }))
        });
    }

    /// News that an engine has heard and forgotten: the guardian tells again what it knows.
    pub(crate) fn hear_again(&mut self, now: u64, news: Vec<Event>) {
        for event in news {
            match event {
                Event::Spawned { .. } | Event::Ended { .. } | Event::TreeGone { .. } | Event::Notified { .. } => {
                    self.at(now, Due::News(event));
                }
                _ => {}
            }
        }
    }

    /// What the guardian knows of a run.
    pub(crate) fn witness(&self, life: &Life) -> Option<Witness> {
        let tree = self.trees.get(life)?;
        let is_news = |due: &Due| match due {
            Due::News(event) => event.run() == Some((&life.0, life.1)),
            _ => false,
        };
        let untold = self.due.iter().any(|Reverse(Entry(_, _, due))| is_news(due));
        (tree.is_alive() || untold).then_some(Witness { signals: tree.signals })
    }

    /// What the guardian tells a successor of each run that lives, whether or not it was told before.
    pub(crate) fn known(&self) -> Vec<Event> {
        let mut news = vec![];
        for ((instance, run), tree) in self.trees.iter().filter(|(_, tree)| tree.is_alive()) {
            let is_spawned = |due: &Due| matches!(due, Due::News(Event::Spawned { instance: i, run: r, .. }) if (i, r) == (instance, run));
            let told = tree.main != Main::Making && !self.due.iter().any(|Reverse(Entry(_, _, due))| is_spawned(due));
            if told {
                news.push(Event::Spawned { instance: instance.clone(), run: *run, pid: tree.pid });
            }
        }
        news
    }

    pub(crate) fn any_alive(&self) -> bool {
        self.trees.values().any(Tree::is_alive)
    }

    fn at(&mut self, at: u64, due: Due) {
        self.order += 1;
        self.due.push(Reverse(Entry(at, self.order, due)));
    }

    fn tell(&mut self, dice: &mut Dice, now: u64, life: &Life, event: Event) {
        // News about one run keep their order, those about different runs do not.
        let delay = if dice.percent(80) { dice.between(0, 2) } else { dice.between(0, 300) };
        let earliest = self.trees.get(life).map_or(0, |tree| tree.news_at);
        let at = (now + delay).max(earliest);
        if let Some(tree) = self.trees.get_mut(life) {
            tree.news_at = at;
        }
        if !self.calm && dice.percent(2) {
            let again = at + dice.between(0, 5_000);
            self.at(again, Due::News(event.clone()));
        }
        self.at(at, Due::News(event));
    }

    /// Lets everything up to `now` happen and returns the news that have arrived.
    pub(crate) fn run_until(&mut self, dice: &mut Dice, now: u64) -> Vec<Event> {
        let mut news = vec![];
        while self.next_at().is_some_and(|at| at <= now) {
            let Some(Reverse(Entry(at, _, due))) = self.due.pop() else { break };
            match due {
                Due::News(event) => news.push(event),
                other => self.happen(dice, at, other),
            }
        }
        news
    }

    fn happen(&mut self, dice: &mut Dice, at: u64, due: Due) {
        match due {
            Due::Made(life) => self.made(dice, at, &life),
            Due::NotMade(life, stage, errno) => {
                if let Some(tree) = self.trees.get_mut(&life) {
                    tree.main = Main::Dead;
                }
                let (instance, run) = life.clone();
                let traces = Traces { tree_empty: true, ..Traces::default() };
                let end = End::NotSpawned { stage, errno };
                self.tell(dice, at, &life, Event::Ended { instance, run, end, traces });
            }
            Due::MainEnds(life, end, natural) => self.main_ends(dice, at, &life, end, natural),
            Due::OthersEnd(life) => {
                let Some(tree) = self.trees.get_mut(&life).filter(|tree| tree.others > 0) else { return };
                tree.others = 0;
                if tree.main == Main::Dead {
                    let (instance, run) = life.clone();
                    self.tell(dice, at, &life, Event::TreeGone { instance, run });
                }
            }
            Due::Pings(life) => {
                let Some(tree) = self.trees.get(&life).filter(|tree| tree.main == Main::Alive) else { return };
                let Some(within) = tree.plan.watchdog else { return };
                let hung = tree.sick_from.is_some_and(|from| from <= at);
                let (instance, run) = life.clone();
                if !hung {
                    self.tell(dice, at, &life, Event::Notified { instance, run, notice: Notice::Watchdog });
                }
                let every = u64::try_from(within.as_millis() * 3 / 5).unwrap().max(1);
                self.at(at + every, Due::Pings(life));
            }
            Due::Reads(life) => {
                let Some(tree) = self.trees.get(&life).filter(|tree| tree.main == Main::Alive) else { return };
                let Some(bound) = tree.plan.memory_restart else { return };
                let (instance, run) = life.clone();
                let grown = !self.calm && dice.percent(85);
                let memory_bytes = if grown { bound.above + 1 } else { bound.above };
                self.tell(dice, at, &life, Event::Used { instance, run, memory_bytes });
                self.at(at + READ_EVERY, Due::Reads(life));
            }
            Due::News(_) => {}
        }
    }

    pub(crate) fn spawn(&mut self, dice: &mut Dice, now: u64, instance: InstanceId, run: Run, plan: Arc<ServicePlan>) {
        self.pids += 1;
        let temper = match dice.between(0, 19) {
            0 => Temper::Unkillable,
            1..=3 => Temper::Ignores,
            4..=6 => Temper::Obeys(dice.between(500, 8_000)),
            _ => Temper::Obeys(dice.between(0, 100)),
        };
        let tree = Tree {
            unkillable: temper == Temper::Unkillable,
            plan,
            pid: Pid(100 + self.pids),
            main: Main::Making,
            others: 0,
            temper: if self.calm { Temper::Obeys(10) } else { temper },
            sick_from: None,
            doomed: false,
            signals: 0,
            news_at: now,
        };
        let life = (instance, run);
        self.trees.insert(life.clone(), tree);
        let at = now + dice.between(0, 20);
        if !self.calm && dice.percent(8) {
            let (stage, errno) = *dice.pick(&[
                (SpawnStage::Exec, 2),
                (SpawnStage::Fork, 11),
                (SpawnStage::Fork, 12),
                (SpawnStage::Cwd, 2),
                (SpawnStage::Exec, 13),
            ]);
            self.at(at, Due::NotMade(life, stage, errno));
        } else {
            self.at(at, Due::Made(life));
        }
    }

    fn made(&mut self, dice: &mut Dice, at: u64, life: &Life) {
        let calm = self.calm;
        let Some(tree) = self.trees.get_mut(life) else { return };
        tree.main = Main::Alive;
        if !calm && dice.percent(25) {
            tree.others = dice.between(1, 2);
        }
        if !calm && dice.percent(30) {
            tree.sick_from = Some(at + if dice.percent(30) { 0 } else { dice.between(0, 30_000) });
        }
        let (pid, doomed, kind) = (tree.pid, tree.doomed, tree.plan.kind);
        let (notifies, guarded) = (tree.plan.wants_notify(), tree.plan.watchdog.is_some());
        let bounded = tree.plan.memory_restart.is_some();
        let (instance, run) = life.clone();
        self.tell(dice, at, life, Event::Spawned { instance: instance.clone(), run, pid });
        if doomed {
            self.kill(dice, at, life);
        }
        let ends = match kind {
            Kind::Task => Some(dice.between(0, 5_000)),
            Kind::Service if calm || dice.percent(60) => None,
            Kind::Service if dice.percent(30) => Some(dice.between(0, 5)),
            Kind::Service => Some(dice.between(0, 20_000)),
        };
        if let Some(after) = ends {
            let end = if (calm && kind == Kind::Task) || dice.percent(50) {
                End::Code(0)
            } else if dice.percent(70) {
                End::Code(i32::try_from(dice.between(1, 4)).unwrap())
            } else {
                End::Signal { signal: *dice.pick(&[Signal::KILL, Signal::HUP, Signal::TERM]), core: false }
            };
            self.at(at + after, Due::MainEnds(life.clone(), end, true));
        }
        if notifies && (calm || dice.percent(85)) {
            let said = at + dice.between(0, if calm { 100 } else { 3_000 });
            let event = Event::Notified { instance, run, notice: Notice::Ready };
            self.at(said, Due::News(event));
        }
        if guarded {
            self.at(at, Due::Pings(life.clone()));
        }
        if bounded {
            self.at(at + READ_EVERY, Due::Reads(life.clone()));
        }
    }

    fn main_ends(&mut self, dice: &mut Dice, at: u64, life: &Life, end: End, natural: bool) {
        let calm = self.calm;
        let Some(tree) = self.trees.get_mut(life).filter(|tree| tree.main == Main::Alive) else { return };
        if natural && calm && tree.plan.kind == Kind::Service {
            return;
        }
        let end = if natural && calm { End::Code(0) } else { end };
        tree.main = Main::Dead;
        let tree_empty = tree.others == 0;
        let (instance, run) = life.clone();
        let traces = Traces { tree_empty, ..Traces::default() };
        self.tell(dice, at, life, Event::Ended { instance, run, end, traces });
        if !tree_empty && dice.percent(30) {
            let later = at + dice.between(0, 3_000);
            self.at(later, Due::OthersEnd(life.clone()));
        }
    }

    pub(crate) fn signal(&mut self, dice: &mut Dice, now: u64, life: &Life, signal: Signal, scope: Scope) {
        let Some(tree) = self.trees.get_mut(life) else { return };
        tree.signals |= 1 << (signal.number() - 1);
        if tree.plan.reload == ReloadPlan::Signal(signal) && (self.calm || dice.percent(85)) {
            // It reads its code anew, and most say when they have.
            let (says, alive) = (tree.plan.wants_notify(), tree.main == Main::Alive);
            if says && alive && (self.calm || dice.percent(80)) {
                let at = now + dice.between(0, if self.calm { 100 } else { 4_000 });
                let (instance, run) = life.clone();
                self.at(at, Due::News(Event::Notified { instance, run, notice: Notice::Ready }));
            }
            return;
        }
        let after = match (tree.temper, signal) {
            (Temper::Obeys(_), Signal::KILL) => dice.between(0, 10),
            (Temper::Obeys(after), _) => after,
            (Temper::Ignores, Signal::KILL) => 5,
            (Temper::Ignores | Temper::Unkillable, _) => return,
        };
        let end = if dice.percent(50) { End::Code(0) } else { End::Signal { signal, core: false } };
        let end = if signal == Signal::KILL { End::Signal { signal, core: false } } else { end };
        if tree.main == Main::Alive {
            self.at(now + after, Due::MainEnds(life.clone(), end, false));
        }
        if scope == Scope::Tree {
            self.at(now + after, Due::OthersEnd(life.clone()));
        }
    }

    pub(crate) fn end_tree(&mut self, dice: &mut Dice, now: u64, life: &Life) {
        let Some(tree) = self.trees.get_mut(life) else { return };
        tree.doomed = true;
        if tree.temper != Temper::Unkillable {
            self.kill(dice, now, life);
        }
    }

    fn kill(&mut self, dice: &mut Dice, now: u64, life: &Life) {
        let at = now + dice.between(0, 30);
        self.at(at, Due::OthersEnd(life.clone()));
        self.at(at, Due::MainEnds(life.clone(), End::Signal { signal: Signal::KILL, core: false }, false));
    }

    pub(crate) fn ask(&mut self, dice: &mut Dice, now: u64, life: &Life, role: ProbeRole, seq: u64, probe: &ProbePlan) {
        let timeout = u64::try_from(probe.timeout.as_millis()).unwrap();
        let Some(tree) = self.trees.get(life) else { return };
        let hung = tree.sick_from.is_some_and(|from| from <= now) || tree.main != Main::Alive;
        let chaos = !self.calm;
        if chaos && dice.percent(2) {
            return; // The answer is lost.
        }
        let message = String::new();
        let (took, verdict) = if chaos && dice.percent(2) {
            (0, Verdict::Skip { message })
        } else if hung {
            let timed_out = dice.percent(50);
            (
                if timed_out { timeout } else { 1 },
                Verdict::Fail { message, how: if timed_out { Failure::Timeout } else { Failure::Answer } },
            )
        } else if chaos && dice.percent(10) {
            (1, Verdict::Fail { message, how: Failure::Answer })
        } else {
            let listens = matches!(probe.how, ProbeKind::Log(_));
            let longest = if listens { timeout } else { timeout / 4 };
            (dice.between(0, if chaos { longest } else { 50 }), Verdict::Pass { message })
        };
        let late = if chaos && dice.percent(3) { dice.between(0, 9_000) } else { 0 };
        let (instance, run) = life.clone();
        let event = Event::Probed { instance, run, role, seq, verdict, took_us: took * 1_000, busy: dice.percent(10) };
        self.at(now + took + late, Due::News(event));
    }

    pub(crate) fn run_hook(&mut self, dice: &mut Dice, now: u64, life: &Life, hook: Hook) {
        if !self.calm && dice.percent(4) {
            return; // It hangs.
        }
        let result = if self.calm || dice.percent(80) { Ok(()) } else { Err("exit code 1".to_owned()) };
        let (instance, run) = life.clone();
        let longest = if dice.percent(80) { 50 } else { 4_000 };
        let at = now + dice.between(0, longest);
        if hook == Hook::Stop && result.is_ok() {
            self.signal(dice, at, life, Signal::TERM, Scope::Main);
        }
        self.at(at, Due::News(Event::HookEnded { instance, run, hook, result }));
    }

    /// Drops what is under way about a run; some of it has arrived already.
    pub(crate) fn dismiss(&mut self, dice: &mut Dice, life: &Life) {
        if dice.percent(20) {
            return;
        }
        self.due.retain(|Reverse(Entry(_, _, due))| match due {
            Due::News(event @ (Event::Probed { .. } | Event::HookEnded { .. })) => {
                event.run() != Some((&life.0, life.1))
            }
            _ => true,
        });
    }

    /// Everything behaves from now on.
    pub(crate) fn calm_down(&mut self, dice: &mut Dice, now: u64) {
        self.calm = true;
        let lives: Vec<Life> = self.trees.keys().cloned().collect();
        for life in lives {
            let Some(tree) = self.trees.get_mut(&life) else { continue };
            tree.sick_from = None;
            tree.temper = Temper::Obeys(10);
            let (doomed, notifies) = (tree.doomed, tree.plan.wants_notify());
            if tree.main == Main::Making {
                continue;
            }
            if doomed {
                self.kill(dice, now, &life);
            } else if notifies && tree.main == Main::Alive {
                let (instance, run) = life;
                self.at(now + 10, Due::News(Event::Notified { instance, run, notice: Notice::Ready }));
            }
        }
    }
}
