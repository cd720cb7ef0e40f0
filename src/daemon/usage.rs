//! What the process trees use, read when someone looks and every few seconds.

use std::collections::BTreeMap;

use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::guardian::protocol::Token;
use crate::model::names::{InstanceId, Pid};
use crate::model::service::State;
use crate::model::status::{OwnUsage, Status, Warning};
use crate::model::usage::{HostUsage, Sample, Usage};
use crate::os::clock;
use crate::os::usage::Sampler;

/// The latest reading of each tree.
#[derive(Debug)]
pub(super) struct Usages {
    sampler: Sampler,
    read: BTreeMap<InstanceId, (Pid, Usage)>,
    own: OwnUsage,
}

impl Usages {
    pub(super) fn new() -> Self {
        Self { sampler: Sampler::new(), read: BTreeMap::new(), own: OwnUsage::default() }
    }

    pub(super) fn forget(&mut self, token: Token) {
        self.sampler.forget(token.0);
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
            if let Some(usage) = self.usages.sampler.sample(token.0, pid, running.cgroup.as_deref()) {
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
        self.publisher.meter.sampled(&samples, HostUsage::default());
        let own: Vec<Pid> = self.own_pids();
        self.usages.own = self.usages.sampler.own(&own);
        self.publish();
        self.publisher.sampled.send_replace(self.now);
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
            started_at: self.doors.started_at,
            config: plan.file.as_ref().map(|path| path.display().to_string()),
            web: plan.web.listen.map(|address| address.to_string()),
            own: self.usages.own,
            warnings: self.all_warnings(),
            services,
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
        all
    }
}

fn own_pid() -> Pid {
    Pid(i32::try_from(std::process::id()).unwrap_or(i32::MAX))
}
