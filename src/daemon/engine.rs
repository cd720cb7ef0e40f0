//! The loop: the only owner of the core, and the only receiver of news.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::AbortHandle;

use crate::core::event::{Event, OomTrace, RequestId, Traces};
use crate::core::supervisor::Supervisor;
use crate::daemon::accesses::Accesses;
use crate::daemon::announce::Announcer;
use crate::daemon::ledger::FactNumber;
use crate::daemon::listeners::Listeners;
use crate::daemon::news::News;
use crate::daemon::notices::Notices;
use crate::daemon::notifying::Notifying;
use crate::daemon::processes::{CommandNews, Owner, Processes, Running};
use crate::daemon::publish::Publisher;
use crate::daemon::resume::Legacy;
use crate::daemon::spawn::Inherited;
use crate::daemon::state::Keeper;
use crate::daemon::terminal::Terminal;
use crate::daemon::upgrade::{Undertakings, Upgrade};
use crate::daemon::usage::Usages;
use crate::daemon::watching::Watching;
use crate::daemon::{Mode, startup};
use crate::guardian::protocol::{Capabilities, FromGuardian, Token};
use crate::handle::{Handle, Request};
use crate::logs::pump::{Attach, LogFault, Pump};
use crate::model::command::{Denied, Outcome};
use crate::model::event::{EventWord, Fact};
use crate::model::names::{InstanceId, Pid, Run, ServiceName};
use crate::model::service::End;
use crate::model::signal::Signal;
use crate::model::status::Warning;
use crate::model::units::{Now, bytes};
use crate::os::clock;
use crate::os::identity::Identity;
use crate::os::killpoint;
use crate::os::oom::OomReading;

/// Messages of the guardian's taken in one turn, so that people are heard in a storm, too.
const A_TURN: usize = 512;
/// How long after the start, after another file was applied, or after somebody looked, memory is given back.
const SETTLED: Duration = Duration::from_secs(2);
/// Snapshots are made at most this often while news comes in a burst; an answer never runs ahead of its snapshot.
const SNAPSHOT_RESTS: Duration = Duration::from_millis(5);
/// How long after a change the state file is written: changes come in bursts.
const STATE_RESTS: Duration = Duration::from_millis(100);

/// One message of the guardian's with its descriptors.
type Message = (FromGuardian, Vec<std::os::fd::OwnedFd>);

/// The engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) core: Supervisor,
    pub(super) mode: Mode,
    pub(super) surroundings: crate::config::Surroundings,
    pub(super) now: Now,
    pub(super) capabilities: Option<Capabilities>,
    /// The guardian's process and our own, for whoever comes after both.
    pub(super) guardian: Option<Identity>,
    pub(super) own_identity: Option<Identity>,
    pub(super) processes: Processes,
    pub(super) inherited: Rc<Inherited>,
    pub(super) listeners: Listeners,
    pub(super) pump: Pump,
    pub(super) faults: mpsc::Receiver<LogFault>,
    pub(super) publisher: Publisher,
    pub(super) watching: Watching,
    /// Checks of new code that are under way.
    pub(super) checks: BTreeMap<ServiceName, AbortHandle>,
    pub(super) usages: Usages,
    pub(super) accesses: Accesses,
    pub(super) oom: crate::os::oom::Watch,
    pub(super) notices: Notices,
    pub(super) notifying: Notifying,
    pub(super) announcer: Announcer,
    pub(super) terminal: Option<Terminal>,
    pub(super) keeper: Keeper,
    pub(super) state_dirty: Option<crate::model::units::Moment>,
    /// When the snapshot was published last, and when the next is due because something has changed since.
    pub(super) published_at: crate::model::units::Moment,
    pub(super) publish_due: Option<crate::model::units::Moment>,
    /// When the memory that starting or looking needed is given back.
    pub(super) slim_at: Option<crate::model::units::Moment>,
    /// everup's own memory at the first reading since then, in bytes.
    pub(super) slim_bytes: Option<u64>,
    pub(super) tasks: BTreeMap<InstanceId, Vec<(Run, AbortHandle)>>,
    pub(super) replies: HashMap<RequestId, oneshot::Sender<Result<Outcome, Denied>>>,
    /// Whoever waits for an answer of those, and for which.
    pub(super) waits: BTreeMap<RequestId, String>,
    /// What the engine must not end over by itself.
    pub(super) undertakings: Undertakings,
    /// Another program is to take over.
    pub(super) upgrade: Option<Upgrade>,
    pub(super) last_request: u64,
    pub(super) inbox: mpsc::Sender<News>,
    pub(super) news: mpsc::Receiver<News>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) handle: Handle,
    pub(super) doors: startup::Doors,
    pub(super) stopping: watch::Sender<bool>,
    pub(super) warnings: Vec<Warning>,
    pub(super) file: startup::FileMark,
    /// Whether the file was another when it was last looked at, which is with every reading of usage: a slow disk is
    /// not asked at every turn of the loop.
    pub(super) has_drifted: bool,
    pub(super) exit_code: Option<u8>,
    pub(super) stop_signals: u32,
    /// When Ctrl-C was last typed for the program that has the terminal.
    pub(super) interrupted_at: Option<crate::model::units::Moment>,
    /// What of the output of current runs was not kept.
    pub(super) log_troubles: BTreeMap<InstanceId, String>,
    /// Runs that are over and wait for their last lines before they are written down.
    pub(super) records_due: BTreeSet<(InstanceId, Run)>,
    /// News of a failure, kept back until the last lines of its run tell which line of the source is to blame.
    pub(super) failures: BTreeMap<InstanceId, (FactNumber, Fact)>,
    /// Runs that are over, until they are written down too: then the guardian may forget them.
    pub(super) forgettable: BTreeMap<(InstanceId, Run), Token>,
    /// The last lines of runs that ended under an earlier engine.
    pub(super) finishing: BTreeMap<(InstanceId, Run), oneshot::Receiver<Vec<String>>>,
    /// Runs of an earlier everup that the guardian is yet to find.
    pub(super) adopted: BTreeSet<Token>,
    /// What an earlier engine has left to be taken up.
    pub(super) legacy: Option<Legacy>,
    /// What the last lines of each instance's latest failed run blame.
    pub(super) blamed: BTreeMap<InstanceId, (Run, String)>,
    /// When the file is to be read because of SIGHUP, and when it last was.
    pub(super) hang_up_due: Option<crate::model::units::Moment>,
    pub(super) hung_up_at: Option<crate::model::units::Moment>,
    /// When everup was last told by a signal to stop.
    pub(super) told_to_stop: Option<crate::model::units::Moment>,
}

impl Engine {
    /// What doors and the console hold.
    pub(super) fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Supervises until nothing is left to supervise. Returns everup's exit code.
    pub(super) async fn supervise(&mut self) -> u8 {
        self.begin_to_remember();
        self.follow_plan();
        self.follow_files();
        self.await_first_look().await;
        let before = self.take_up();
        self.advance(before);
        self.slim_later();
        let mut plan = self.core.plan().clone();
        self.publisher.recorder.keep(&plan.history);
        let mut samples = readings(self.sampling_interval());
        let mut terminations = Arriving::new(SignalKind::terminate());
        let mut resizes = Arriving::new(SignalKind::window_change());
        while self.exit_code.is_none() {
            let wait = self.until_next();
            let mut events = vec![];
            tokio::select! {
                biased;
                heard = heard(&self.processes) => match heard {
                    Some(message) => events = self.hear_guardian(message),
                    None if self.lasts() => events = self.regain_guardian(),
                    None => return self.without_guardian().await,
                },
                Some(news) = self.news.recv() => {
                    self.now = clock::now();
                    events.extend(self.take_news(news));
                    while events.len() < A_TURN && let Ok(news) = self.news.try_recv() {
                        events.extend(self.take_news(news));
                    }
                }
                Some(request) = self.requests.recv() => events.extend(self.take_request(request)),
                Some(fault) = self.faults.recv() => self.take_fault(fault),
                () = resizes.next() => if let Some(terminal) = &self.terminal { terminal.resized() },
                () = terminations.next() => events.extend(self.signalled(Signal::TERM, false)),
                _ = samples.tick() => self.sample(),
                () = tokio::time::sleep(wait) => events.push(Event::Tick),
            }
            self.advance(events);
            self.heed_hang_ups();
            if self.go_on_upgrading() {
                self.hand_over().await;
            }
            if !Arc::ptr_eq(&plan, self.core.plan()) {
                // Another file was applied.
                plan = self.core.plan().clone();
                self.publisher.recorder.keep(&plan.history);
                if samples.period() != self.sampling_interval() {
                    samples = readings(self.sampling_interval());
                }
            }
        }
        self.finish().await
    }

    /// Lets the core take `events`, carries out what it decides, and shows the result.
    pub(super) fn advance(&mut self, mut events: Vec<Event>) {
        self.now = clock::now();
        loop {
            let actions = self.core.steps(events, self.now);
            self.keep(&actions);
            self.announce_end();
            let changed = !actions.is_empty();
            let news = self.perform(actions);
            if changed {
                self.state_dirty.get_or_insert(self.now.moment.after(STATE_RESTS));
            }
            if news.is_empty() {
                break;
            }
            events = news;
        }
        self.forget_runs();
        self.follow_plan();
        self.follow_files();
        self.notify();
        if self.now.moment.since(self.published_at) >= SNAPSHOT_RESTS {
            self.publish();
        } else {
            self.publish_due.get_or_insert(self.published_at.after(SNAPSHOT_RESTS));
        }
        self.announce();
        if self.slim_at.is_some_and(|at| at <= self.now.moment) {
            self.slim_at = None;
            self.slim_bytes = None;
            crate::os::memory::slim_down();
        }
        if self.state_dirty.is_some_and(|at| at <= self.now.moment) {
            self.state_dirty = None;
            self.keeper.write(self.state(false));
        }
    }

    pub(super) fn slim_later(&mut self) {
        self.slim_at = Some(self.now.moment.after(SETTLED));
    }

    fn until_next(&self) -> Duration {
        let core = self.core.next_deadline().map(|deadline| deadline.at);
        let told = [self.notifying.next_deadline(), self.announcer.next_deadline(), self.upgrade_deadline()];
        let own = [self.hang_up_due, self.state_dirty, self.slim_at, self.publish_due].into_iter().chain(told);
        let next = core.into_iter().chain(own.flatten()).min();
        next.map_or(Duration::from_secs(3_600), |at| at.since(clock::now().moment))
    }

    pub(super) fn hear_guardian(&mut self, (message, fds): Message) -> Vec<Event> {
        self.now = clock::now();
        let mut events: Vec<Event> = self.take_message(message, fds).into_iter().collect();
        while events.len() < A_TURN
            && let Ok(Some((message, fds))) = self.processes.link().get_ref().try_recv()
        {
            events.extend(self.take_message(message, fds));
        }
        events
    }

    pub(super) fn take_message(&mut self, message: FromGuardian, fds: Vec<std::os::fd::OwnedFd>) -> Option<Event> {
        match message {
            FromGuardian::Hello(capabilities) => {
                self.welcome(capabilities);
                None
            }
            FromGuardian::Spawned { token, pid, cgroup, limited } => match self.processes.owner(token)? {
                Owner::Run(running) => {
                    self.processes.spawned(token, pid, cgroup, limited, inodes(&fds));
                    killpoint::pass("spawned-before");
                    // Confirmed once more by a guardian that has taken it over, or begun under an earlier everup.
                    let goes_on = running.pid.is_some() || self.adopted.remove(&token);
                    self.attach(&running.instance, running.run, fds, goes_on);
                    killpoint::pass("spawned-after");
                    Some(Event::Spawned { instance: running.instance, run: running.run, pid })
                }
                Owner::Command(teller) => tell(&teller, CommandNews::Spawned(fds)),
            },
            FromGuardian::Failed { token, stage, errno } => match self.processes.owner(token)? {
                Owner::Run(running) => {
                    self.processes.forget(token);
                    let traces = Traces { tree_empty: true, ..Traces::default() };
                    let end = End::NotSpawned { stage, errno };
                    Some(Event::Ended { instance: running.instance, run: running.run, end, traces })
                }
                Owner::Command(teller) => tell(&teller, CommandNews::Failed(stage, errno)),
            },
            FromGuardian::Ended { token, end, tree_empty, oom_kills, .. } => match self.processes.owner(token)? {
                Owner::Run(running) => {
                    killpoint::pass("ended");
                    if let Some(terminal) = self.terminal.as_mut().filter(|t| t.serves(&running.instance)) {
                        terminal.settle();
                    }
                    let oom = match (&end, running.pid) {
                        (End::Signal { signal, .. }, Some(pid)) if *signal == Signal::KILL => {
                            self.oom_trace(token, &running, pid, oom_kills)
                        }
                        _ => OomTrace::Unknown,
                    };
                    if tree_empty {
                        self.over(token);
                    }
                    let counted = oom_kills.filter(|kills| *kills > 0 && !matches!(oom, OomTrace::Proven(_)));
                    let oom_beside = counted.map(|kills| self.oom_count(&running, kills));
                    let left = if tree_empty { vec![] } else { self.left_of(token, &running) };
                    let traces = Traces { tree_empty, left, oom, oom_beside, obstacle: None };
                    Some(Event::Ended { instance: running.instance, run: running.run, end, traces })
                }
                Owner::Command(teller) => tell(&teller, CommandNews::Ended(end, tree_empty)),
            },
            FromGuardian::TreeGone { token } => match self.processes.owner(token)? {
                Owner::Run(running) => {
                    killpoint::pass("tree-gone");
                    self.over(token);
                    Some(Event::TreeGone { instance: running.instance, run: running.run })
                }
                Owner::Command(teller) => tell(&teller, CommandNews::TreeGone),
            },
            // Told to a successor before anything else.
            FromGuardian::Known { .. } | FromGuardian::Held { .. } | FromGuardian::Complete => None,
            FromGuardian::Signalled { signal, from_terminal } => {
                let signal = Signal::from_number(signal)?;
                self.signalled(signal, from_terminal)
            }
        }
    }

    fn over(&mut self, token: Token) {
        self.usages.forget(token);
        let Some(Owner::Run(Running { instance, run, .. })) = self.processes.owner(token) else { return };
        self.publisher.meter.gone(&instance, self.now.moment);
        self.processes.over(token);
        self.forgettable.insert((instance, run), token);
    }

    /// Lets the guardian forget the runs that are over and of which nothing is left to be written down.
    fn forget_runs(&mut self) {
        for (_, token) in self.forgettable.extract_if(.., |end, _| !self.records_due.contains(end)) {
            self.processes.forget(token);
        }
    }

    /// A run is written down; once it is over, too, the guardian may forget it.
    pub(super) fn forget_run(&mut self, instance: &InstanceId, run: Run) {
        if let Some(token) = self.forgettable.remove(&(instance.clone(), run)) {
            killpoint::pass("forget-before");
            self.processes.forget(token);
            killpoint::pass("forget-after");
        }
    }

    /// What speaks for `pid` having been killed for memory; `kills` is what its control group has counted by now.
    fn oom_trace(&mut self, token: Token, running: &Running, pid: Pid, kills: Option<u64>) -> OomTrace {
        let known = self.oom.trace(pid);
        let known = match known {
            OomReading::Unknown => OomTrace::Unknown,
            OomReading::Excluded => OomTrace::Excluded,
            OomReading::Possible => OomTrace::Possible,
            OomReading::Proven(line) => OomTrace::Proven(line),
        };
        let Some(kills) = kills else { return known };
        let named = matches!(known, OomTrace::Proven(_));
        let fresh = kills.saturating_sub(self.usages.kills_before(token, self.now.moment));
        if !named && (fresh == 0 || self.oom.reads_log()) {
            // Whoever was killed in its group, it was another one.
            return OomTrace::Excluded;
        }
        OomTrace::Proven(self.oom_count(running, fresh))
    }

    /// So many kills for memory in its control group, in words.
    fn oom_count(&self, running: &Running, kills: u64) -> String {
        let limits = self.core.plan_of(&running.instance.service).map(|plan| plan.limits);
        let limit = limits.and_then(|limits| limits.memory).filter(|_| running.limited.memory.is_some());
        let limit = limit.map(|most| format!(" (limit {})", bytes(most))).unwrap_or_default();
        let counted = if kills <= 1 { "1 kill".to_owned() } else { format!("{kills} kills") };
        format!("its control group counted {counted} for memory{limit}")
    }

    /// Lets the log pump take over a run's output; `goes_on`: of one that began under an earlier engine.
    pub(super) fn attach(&mut self, instance: &InstanceId, run: Run, fds: Vec<std::os::fd::OwnedFd>, goes_on: bool) {
        let Some(plan) = self.core.plan_of(&instance.service).cloned() else { return };
        let (stdout, stderr) = match self.terminal.as_mut().filter(|terminal| terminal.serves(instance)) {
            Some(terminal) => terminal.streams(fds, self.inbox.clone()),
            None => {
                let mut fds = fds.into_iter();
                (fds.next(), fds.next())
            }
        };
        self.log_troubles.remove(instance);
        if stdout.is_some() || stderr.is_some() {
            let (instance, plan) = (instance.clone(), plan.logs.clone());
            self.pump.attach(Attach { instance, run, plan, stdout, stderr, goes_on });
        }
    }

    pub(super) fn take_news(&mut self, news: News) -> Option<Event> {
        match news {
            News::Core(event) => {
                self.meter(&event);
                Some(event)
            }
            News::Watch(sight) => self.take_sight(sight),
            News::Notify { instance, sender, bytes } => self.notified(&instance, sender, &bytes),
            News::RunOver(record) => {
                self.run_over(*record);
                None
            }
            News::Told { by, report } => {
                self.told_of_message(&by, report);
                None
            }
            News::Interrupted => Some(self.interrupted(true)),
            News::Halted => {
                self.suspend(true);
                None
            }
            News::Rehearsed(answer) => {
                self.rehearsed(answer);
                None
            }
            News::DoorsClosed => {
                self.doors_are_closed();
                None
            }
            News::ReaderGone => Some(self.reader_gone()),
        }
    }

    fn take_fault(&mut self, fault: LogFault) {
        let siblings = self.core.siblings(&fault.instance.service);
        let mut fact = Fact::new(EventWord::LogLost);
        fact.service = Some(fault.instance.service.clone());
        fact.index = Some(fault.instance.index);
        fact.instances = siblings;
        fact.message = Some(if fault.bytes_lost == 0 {
            fault.reason
        } else {
            format!("{} bytes of output were not kept: {}", fault.bytes_lost, fault.reason)
        });
        if let Some(message) = &fact.message {
            self.log_troubles.insert(fault.instance, message.clone());
        }
        self.now = clock::now();
        self.publisher.fact(fact, self.now.wall);
    }

    /// Publishes the snapshot that doors show.
    pub(super) fn publish(&mut self) {
        self.published_at = self.now.moment;
        self.publish_due = None;
        let fresh = Arc::new(self.status());
        self.publisher.status.send_replace(fresh);
    }
}

fn tell(teller: &mpsc::Sender<CommandNews>, news: CommandNews) -> Option<Event> {
    // Whoever asked for it has gone; its leash has ended the process.
    let _ = teller.try_send(news);
    None
}

/// When usage is read: first after one such time, never twice at once.
fn readings(apart: Duration) -> tokio::time::Interval {
    let mut readings = tokio::time::interval_at(tokio::time::Instant::now() + apart, apart);
    readings.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    readings
}

/// The pipes that are a run's stdout and stderr, by their inodes.
pub(super) fn inodes(fds: &[std::os::fd::OwnedFd]) -> [Option<u64>; 2] {
    let inode = |at: usize| fds.get(at).and_then(|fd| crate::os::pipe::inode(fd.as_fd()));
    [inode(0), inode(1)]
}

/// The guardian's next message; none once it is gone.
pub(super) async fn heard(processes: &Processes) -> Option<Message> {
    let link = processes.link();
    loop {
        let mut ready = link.readable().await.ok()?;
        let message = ready.try_io(|link| match link.get_ref().try_recv() {
            Ok(Some(message)) => Ok(message),
            Ok(None) => Err(std::io::ErrorKind::WouldBlock.into()),
            Err(error) => Err(error),
        });
        match message {
            Ok(message) => return message.ok(),
            Err(_nothing_left) => {}
        }
    }
}

/// A signal sent to the engine itself.
struct Arriving(Option<tokio::signal::unix::Signal>);

impl Arriving {
    fn new(kind: SignalKind) -> Self {
        Self(tokio::signal::unix::signal(kind).ok())
    }

    async fn next(&mut self) {
        match &mut self.0 {
            Some(signal) => {
                signal.recv().await;
            }
            None => std::future::pending().await,
        }
    }
}
