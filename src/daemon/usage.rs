//! What the process trees use, read when someone looks and every few seconds.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use crate::core::event::Event;
use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::daemon::processes::Running;
use crate::guardian::protocol::Token;
use crate::model::names::{InstanceId, Pid, ServiceName};
use crate::model::service::State;
use crate::model::status::{OwnUsage, ServiceStatus, Status, Warning};
use crate::model::units::{Moment, bytes};
use crate::model::usage::{Sample, Usage};
use crate::os::usage::{Place, Sampler};
use crate::os::{clock, host};

/// A reading more often than this tells nothing new …
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);
/// … and where memory is to be acted on, readings come at least this often.
const LONGEST_HELD: Duration = Duration::from_secs(5);

/// A kill this fresh may be the very one whose news is on its way.
const JUST_NOW: Duration = Duration::from_secs(1);

/// What a control group has counted.
#[derive(Clone, Copy, Debug)]
struct Kills {
    count: u64,
    /// Before the latest one was noticed.
    before: u64,
    /// When that was.
    at: Moment,
}

/// So much more memory than after it was last given back is worth giving back, in bytes.
const SWOLLEN: u64 = 3 << 20;

/// The latest reading of each tree.
#[derive(Debug)]
pub(super) struct Usages {
    sampler: Sampler,
    host: host::Reader,
    read: BTreeMap<InstanceId, (Pid, Usage)>,
    /// The kills for memory that each run's control group had counted by then.
    kills: BTreeMap<Token, Kills>,
    own: OwnUsage,
}

impl Usages {
    /// `state` is the state folder, whose file system is looked at too.
    pub(super) fn new(state: &Path) -> Self {
        Self {
            sampler: Sampler::new(),
            host: host::Reader::new(state),
            read: BTreeMap::new(),
            kills: BTreeMap::new(),
            own: OwnUsage::default(),
        }
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.sampler.forget(token.0);
        self.kills.remove(&token);
    }

    fn count_kills(&mut self, token: Token, count: u64, now: Moment) {
        let known = self.kills.entry(token).or_insert(Kills { count: 0, before: 0, at: now });
        if known.count != count {
            *known = Kills { count, before: known.count, at: now };
        }
    }

    /// The kills for memory that the run's control group had counted before what may have ended it just now: a reading
    /// may have come between the kill and the news of the end.
    pub(super) fn kills_before(&self, token: Token, now: Moment) -> u64 {
        match self.kills.get(&token) {
            Some(kills) if now.since(kills.at) < JUST_NOW => kills.before,
            Some(kills) => kills.count,
            None => 0,
        }
    }
}

impl Engine {
    /// Reads every tree once.
    pub(super) fn sample(&mut self) {
        self.now = clock::now();
        self.has_drifted = self.file.has_changed();
        self.usages.read.clear();
        let mut samples = vec![];
        for (token, running) in self.processes.running() {
            let Some(pid) = running.pid else { continue };
            let memory = running.limited.memory.as_deref();
            let place = Place { main: pid, cgroup: running.cgroup.as_deref(), memory };
            if let Some(usage) = self.usages.sampler.sample(token.0, &place) {
                if let Some(kills) = usage.oom_kills {
                    self.usages.count_kills(token, kills, self.now.moment);
                }
                self.tell_memory(&running, usage.memory_bytes);
                samples.push(Sample {
                    label: running.instance.label(self.core.siblings(&running.instance.service)),
                    instance: running.instance.clone(),
                    run: running.run,
                    at: self.now.wall,
                    usage: usage.clone(),
                    probe_ms: self.publisher.meter.take_probe_ms(&running.instance),
                });
                self.usages.read.insert(running.instance, (pid, usage));
            }
        }
        self.publisher.meter.logged(self.pump.bytes());
        self.publisher.meter.sampled(&samples, self.usages.host.read());
        self.publisher.recorder.usage(self.now, &samples);
        let own: Vec<Pid> = self.own_pids();
        self.usages.own = self.usages.sampler.own(&own);
        self.watch_own_memory();
        self.publish();
        self.publisher.sampled.send_replace(self.now);
    }

    /// The processes of each run of a service at the last reading, by instance.
    pub(super) fn trees_of(&self, service: &ServiceName) -> BTreeMap<u32, Vec<Pid>> {
        let running = self.processes.running().into_iter();
        let of_it = running.filter(|(_, running)| &running.instance.service == service);
        of_it.map(|(token, running)| (running.instance.index, self.usages.sampler.pids(token.0))).collect()
    }

    /// Lets the core know, where it is to act on it.
    fn tell_memory(&self, running: &Running, memory_bytes: u64) {
        let plan = self.core.plan_of(&running.instance.service);
        if plan.is_some_and(|plan| plan.memory_restart.is_some()) {
            let (instance, run) = (running.instance.clone(), running.run);
            // With a full inbox there is more urgent news, and the next reading is not far.
            let _ = self.inbox.try_send(Event::Used { instance, run, memory_bytes }.into());
        }
    }

    /// How often usage is read while nobody looks: often enough for what acts on it.
    pub(super) fn sampling_interval(&self) -> Duration {
        let plan = self.core.plan();
        let holds = plan.services.iter().filter_map(|service| service.memory_restart.map(|restart| restart.hold));
        let wanted = holds.map(|hold| (hold / 2).clamp(SHORTEST_INTERVAL, LONGEST_HELD)).min();
        wanted.map_or(plan.history.interval, |wanted| wanted.min(plan.history.interval))
    }

    /// A page or a scrape of many services takes more memory than anything else here: what it leaves is given back.
    fn watch_own_memory(&mut self) {
        let Some(bytes) = self.usages.own.memory_bytes.filter(|_| self.slim_at.is_none()) else { return };
        if bytes > *self.slim_bytes.get_or_insert(bytes) + SWOLLEN {
            self.slim_later();
        }
    }

    fn own_pids(&self) -> Vec<Pid> {
        let guardian = self.capabilities.as_ref().map(|capabilities| capabilities.guardian);
        guardian.into_iter().chain([own_pid()]).collect()
    }

    /// The status as of now, with the latest usage.
    pub(super) fn status(&self) -> Status {
        let plan = self.core.plan();
        let mut services = self.core.statuses(self.now.moment);
        for service in &mut services {
            service.warnings.extend_from_slice(self.watching.troubles_of(&service.name));
            self.warn_of_limits(service);
            for instance in &mut service.instances {
                let id = InstanceId { service: service.name.clone(), index: instance.index };
                if let Some(message) = self.log_troubles.get(&id) {
                    let message = format!("{}: {message}", instance.name);
                    service.warnings.push(Warning { code: "not_persisted".to_owned(), message });
                }
                if let Some((_, place)) = self
                    .blamed
                    .get(&id)
                    .filter(|(run, _)| Some(*run) == instance.run && instance.state == State::Failed)
                {
                    instance.reason = Some(match instance.reason.take() {
                        Some(reason) => format!("{place} ({reason})"),
                        None => place.clone(),
                    });
                    service.reason.clone_from(&instance.reason);
                }
                // A reading of a run that is over says nothing about this one.
                let Some((_, usage)) = self.usages.read.get(&id).filter(|(pid, _)| Some(*pid) == instance.pid) else {
                    continue;
                };
                instance.cpu_percent = usage.cpu_percent;
                instance.memory_bytes = Some(usage.memory_bytes);
                instance.processes = Some(usage.processes);
                instance.open_fds = Some(usage.open_fds);
            }
        }
        let guardian = self.capabilities.as_ref().map_or_else(own_pid, |capabilities| capabilities.guardian);
        Status {
            v: 1,
            project: plan.project.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: guardian,
            engine_pid: own_pid(),
            started_at: self.publisher.ledger.started_at(),
            config: plan.file.as_ref().map(|path| path.display().to_string()),
            web: plan.web.listen.map(|address| address.to_string()),
            own: self.usages.own,
            stopping: self.core.is_ending(),
            warnings: self.all_warnings(),
            services,
        }
    }

    /// Says which limits of its runs are not kept, and why.
    fn warn_of_limits(&self, service: &mut ServiceStatus) {
        let limits = self.core.plan_of(&service.name).map(|plan| plan.limits).unwrap_or_default();
        for instance in &service.instances {
            let id = InstanceId { service: service.name.clone(), index: instance.index };
            let Some(Running { limited, .. }) = self.processes.running_of(&id) else { continue };
            let wanted = [
                ("no_memory_limit", "memory", limited.no_memory, limits.memory.map(bytes)),
                ("no_cpu_limit", "CPU", limited.no_cpu, limits.cpu_millis.map(cores)),
            ];
            for (code, what, reason, most) in wanted {
                let (Some(reason), Some(most)) = (reason, most) else { continue };
                let message = format!("{}: its {what} is not limited to {most}: {reason}", instance.name);
                service.warnings.push(Warning { code: code.to_owned(), message });
            }
        }
    }

    fn all_warnings(&self) -> Vec<Warning> {
        let mut all = self.warnings.clone();
        let kept = self.publisher.recorder.trouble().or_else(|| self.keeper.trouble());
        if let Some(message) = kept {
            all.push(Warning { code: "not_persisted".to_owned(), message });
        }
        if self.has_drifted {
            let message = match self.mode {
                Mode::Dev { .. } => "the file as it was saved is not applied: everup check shows why",
                Mode::Up { .. } | Mode::Run { .. } => "the file has changed since it was applied; everup up applies it",
            }
            .to_owned();
            all.push(Warning { code: "drift".to_owned(), message });
        }
        all.extend_from_slice(self.watching.troubles_of_file());
        all.extend(self.notifying.troubles());
        all
    }
}

/// Thousandths of a core: `0.2 cores`.
fn cores(millis: u64) -> String {
    format!("{} cores", millis as f64 / 1_000.0)
}

fn own_pid() -> Pid {
    Pid(i32::try_from(std::process::id()).unwrap_or(i32::MAX))
}
