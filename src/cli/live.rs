//! Waiting for what was asked for, and the line that says meanwhile for whom, and since when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, say};
use crate::cli::table::shorten;
use crate::cli::time::coarse;
use crate::client::ClientError;
use crate::client::action::Pending;
use crate::model::command::{Outcome, Target};
use crate::model::service::{Desired, State};
use crate::model::status::{InstanceStatus, ServiceStatus, Status};

/// What is over sooner needs no word.
const PATIENCE: Duration = Duration::from_millis(400);
/// How often the line is drawn anew.
const REDRAW: Duration = Duration::from_millis(500);
/// How often Ctrl-C is looked for.
const GLANCE: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Goal {
    /// That they are ready.
    Ready,
    /// That their processes are gone.
    Gone,
}

/// The answers to all requests, in their order; while one is missing, says what `whom` names.
///
/// # Errors
/// [`Exit::Interrupted`] on Ctrl-C; what was asked for goes on.
pub(crate) fn answers(
    out: &Output,
    requests: Vec<Pending>,
    mut whom: impl FnMut() -> Option<String>,
) -> Result<Vec<Result<Outcome, ClientError>>, Failure> {
    let interrupted = Arc::new(AtomicBool::new(false));
    // Where that cannot be had, Ctrl-C simply ends us.
    let _ = signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&interrupted));
    let mut line = Line::new(out);
    let mut waiting: Vec<(Pending, Option<Result<Outcome, ClientError>>)> =
        requests.into_iter().map(|pending| (pending, None)).collect();
    loop {
        let mut patience = GLANCE;
        for (pending, answer) in waiting.iter_mut().filter(|(_, answer)| answer.is_none()) {
            *answer = pending.poll(patience).transpose();
            // Only the first one is waited for: the others are looked at on the way.
            patience = Duration::from_millis(1);
        }
        if waiting.iter().all(|(_, answer)| answer.is_some()) {
            return Ok(waiting.into_iter().filter_map(|(_, answer)| answer).collect());
        }
        if interrupted.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Interrupted, "no longer waiting; what was asked for goes on"));
        }
        line.keep_up(&mut whom);
    }
}

/// The line: redrawn on a terminal, else said once. It goes away when it is dropped, however the waiting ends.
pub(crate) struct Line {
    started: crate::model::units::Moment,
    next: Duration,
    drawn: bool,
    terminal: bool,
    quiet: bool,
    width: usize,
}

impl Line {
    /// A line that is not drawn yet; its time counts from now.
    pub(crate) fn new(out: &Output) -> Self {
        Self {
            started: crate::os::clock::now().moment,
            next: PATIENCE,
            drawn: false,
            terminal: out.stderr.terminal,
            quiet: out.quiet,
            width: out.stderr.width.unwrap_or(80),
        }
    }

    /// Draws what `whom` says, if it is time to.
    pub(crate) fn keep_up(&mut self, whom: &mut impl FnMut() -> Option<String>) {
        let since = crate::os::clock::now().moment.since(self.started);
        if self.quiet || since < self.next || (self.drawn && !self.terminal) {
            return;
        }
        self.next = since + REDRAW;
        let Some(text) = whom() else { return };
        if self.terminal {
            let text = format!("{text} · {}", coarse(since));
            say(&format!("\r\x1b[K{}", shorten(&text, self.width.saturating_sub(1))));
        } else {
            say(&format!("{text}\n"));
        }
        self.drawn = true;
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if self.drawn && self.terminal {
            say("\r\x1b[K");
        }
    }
}

/// Whom of `targets` (none: of all) is waited for, in words; none when everybody is where he should be.
pub(crate) fn waiting_for(status: &Status, targets: &[Target], goal: Goal) -> Option<String> {
    let chosen = |service: &ServiceStatus, instance: &InstanceStatus| {
        targets.is_empty()
            || targets.iter().any(|target| {
                target.service == service.name && target.index.is_none_or(|index| index == instance.index)
            })
    };
    let late = |instance: &InstanceStatus| match goal {
        // What has ended by itself or was given up is waited for by nobody.
        Goal::Ready => {
            let over = matches!(instance.state, State::Exited | State::Failed);
            instance.desired == Desired::Up && !instance.ready && !over
        }
        Goal::Gone => instance.pid.is_some() || instance.state == State::Stopping,
    };
    let names: Vec<String> = status
        .services
        .iter()
        .flat_map(|service| service.instances.iter().filter(move |instance| chosen(service, instance)))
        .filter(|instance| late(instance))
        .map(|instance| match &instance.reason {
            Some(reason) => format!("{} ({}: {})", instance.name, instance.state, crate::cli::output::tame(reason)),
            None => format!("{} ({})", instance.name, instance.state),
        })
        .collect();
    match names.len() {
        0 => None,
        1..=6 => Some(format!("waiting for {}", names.join(", "))),
        more => Some(format!("waiting for {} and {} more", names[..4].join(", "), more - 4)),
    }
}
