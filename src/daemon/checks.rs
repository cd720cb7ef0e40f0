//! Runs `watch.check` over new code while the old one serves.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::core::event::Event;
use crate::daemon::commands::Runner;
use crate::daemon::engine::Engine;
use crate::daemon::perform::told_of;
use crate::logs::blame::blame;
use crate::model::names::{InstanceId, ServiceName};
use crate::model::plan::ServicePlan;
use crate::model::service::End;
use crate::model::template::Template;
use crate::model::watch::CheckCommand;
use crate::probe::command::RunCommand;

/// How long one check may take: a clean build of a large program fits in.
const LIMIT: Duration = Duration::from_mins(10);

impl Engine {
    /// Checks `files` of a service; whatever was being checked for it before is ended.
    pub(super) fn check(&mut self, service: ServiceName, seq: u64, plan: &Arc<ServicePlan>, files: &[PathBuf]) {
        let instance = InstanceId { service: service.clone(), index: 1 };
        let run = self.core.runs().get(&instance).copied().unwrap_or_default();
        let commands =
            plan.watch.as_ref().map(|watch| watch.checks(files, &plan.cwd, plan.slots(1))).unwrap_or_default();
        // What a check compiles on the way is not to lie about in the project.
        let mut beside = ServicePlan::clone(plan);
        let compiled = self.core.plan().state_dir.join("pycache").display().to_string();
        beside.env.entry("PYTHONPYCACHEPREFIX".to_owned()).or_insert_with(|| Template::text(compiled));
        let runner = self.runner(&instance, run, &Arc::new(beside), None);
        let busy = self.undertakings.begin(format!("the check of {service}"));
        let (inbox, of, folder) = (self.inbox.clone(), service.clone(), plan.cwd.clone());
        let work = async move {
            let result = run_all(&runner, commands, &folder).await;
            // The loop outlives its tasks.
            let _ = inbox.send(Event::Checked { service: of, seq, result }.into()).await;
            drop(busy);
        };
        let task = tokio::task::spawn_local(work).abort_handle();
        if let Some(earlier) = self.checks.insert(service, task) {
            earlier.abort();
        }
    }

    /// Ends the check of a service that is under way.
    pub(super) fn drop_check(&mut self, service: &ServiceName) {
        if let Some(task) = self.checks.remove(service) {
            task.abort();
        }
    }
}

/// Success when all succeed; else what the first that failed says, the blamed line first, its output below.
async fn run_all(runner: &Runner, commands: Vec<CheckCommand>, folder: &std::path::Path) -> Result<(), String> {
    for CheckCommand { words, shown } in commands {
        tracing::info!(command = shown, "check");
        let outcome = runner.run(words, LIMIT).await;
        let why = match &outcome.end {
            Some(End::Code(0)) => continue,
            Some(end @ End::NotSpawned { .. }) => return Err(format!("cannot run {shown}: {}", told_of(end, ""))),
            Some(end) => told_of(end, ""),
            None => format!("it did not end within {}", crate::model::units::format_duration(LIMIT)),
        };
        let lines: Vec<&str> = outcome.output.lines().collect();
        let first = blame(&lines, folder).unwrap_or_else(|| format!("{shown}: {why}"));
        return Err(format!("{first}\n{}", outcome.output.trim_end()).trim_end().to_owned());
    }
    Ok(())
}
