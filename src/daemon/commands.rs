//! Runs hooks, `stop.command`, exec probes and messages through the guardian, each with its whole tree and within a
//! limit.

use std::future::Future;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::unix::AsyncFd;
use tokio::sync::mpsc;

use crate::daemon::processes::{CommandNews, Owner, Processes};
use crate::daemon::spawn::{self, Inherited, Told};
use crate::guardian::protocol::{SocketKey, StdioSpec, Token};
use crate::model::plan::ServicePlan;
use crate::model::service::End;
use crate::os::spawn::{SpawnFailure, SpawnSpec};
use crate::probe::command::{CommandOutcome, RunCommand};

/// What is kept of a command's output.
const KEPT: usize = 4 * 1024;
/// How long the rest of a killed command is waited for.
const LAST_PATIENCE: Duration = Duration::from_secs(5);

/// Runs commands beside one run of a service.
#[derive(Clone, Debug)]
pub(super) struct Runner {
    pub(super) processes: Processes,
    pub(super) inherited: Rc<Inherited>,
    pub(super) plan: Arc<ServicePlan>,
    pub(super) told: Told,
}

/// Ends the command's tree when whoever waits for it goes away.
struct Leash {
    processes: Processes,
    token: Token,
    gone: bool,
}

impl Drop for Leash {
    fn drop(&mut self) {
        if !self.gone {
            self.processes.end_tree(self.token);
        }
        self.processes.forget(self.token);
    }
}

impl RunCommand for Runner {
    fn run(&self, argv: Vec<String>, limit: Duration) -> Pin<Box<dyn Future<Output = CommandOutcome> + '_>> {
        Box::pin(async move {
            let spec = match spawn::command(&self.plan, &self.inherited, &self.told, &argv) {
                Ok(spec) => spec,
                Err(failure) => return not_spawned(failure),
            };
            let label = format!("{}-{}-command", self.told.instance.file_stem(), self.told.run);
            carry_out(&self.processes, label, spec, None, vec![], limit).await
        })
    }
}

/// Runs one command to its end, reading `stdin` where there is one, with `held` as its descriptors 3, 4, …; after `limit` its whole tree is killed. Dropping the
/// future does so too.
pub(super) async fn carry_out(
    processes: &Processes,
    label: String,
    spec: SpawnSpec,
    stdin: Option<OwnedFd>,
    held: Vec<SocketKey>,
    limit: Duration,
) -> CommandOutcome {
    // Three messages at most are ever sent to it.
    let (sender, mut news) = mpsc::channel(4);
    let passed: Vec<_> = stdin.iter().map(AsFd::as_fd).collect();
    let first = if passed.is_empty() { StdioSpec::Null } else { StdioSpec::Passed };
    let stdio = [first, StdioSpec::Pipe, StdioSpec::Same];
    let token = processes.spawn(Owner::Command(sender), label, spec, stdio, &passed, held);
    let mut leash = Leash { processes: processes.clone(), token, gone: false };
    let mut output = vec![];
    let end = tokio::time::timeout(limit, follow(&mut news, &mut output)).await;
    let end = match end {
        Ok((end, true)) => {
            leash.gone = true;
            end
        }
        // It is over, or its time is: what is left of its tree goes with it.
        Ok((_, false)) | Err(_) => {
            processes.end_tree(token);
            leash.gone = tokio::time::timeout(LAST_PATIENCE, gone(&mut news)).await.is_ok();
            end.ok().and_then(|(end, _)| end)
        }
    };
    CommandOutcome { end, output: String::from_utf8_lossy(&output).into_owned() }
}

pub(super) fn not_spawned(failure: SpawnFailure) -> CommandOutcome {
    CommandOutcome { end: Some(End::NotSpawned { stage: failure.stage, errno: failure.errno }), output: String::new() }
}

/// Follows a command to its end, keeping the first part of its output. The second value tells whether nothing of it
/// is left.
async fn follow(news: &mut mpsc::Receiver<CommandNews>, output: &mut Vec<u8>) -> (Option<End>, bool) {
    let mut pipe = None;
    loop {
        tokio::select! {
            told = news.recv() => match told {
                Some(CommandNews::Spawned(fds)) => pipe = fds.into_iter().next().and_then(readable),
                Some(CommandNews::Failed(stage, errno)) => return (Some(End::NotSpawned { stage, errno }), true),
                Some(CommandNews::Ended(end, tree_empty)) => {
                    if let Some(pipe) = &pipe {
                        take(pipe, output);
                    }
                    return (Some(end), tree_empty);
                }
                Some(CommandNews::TreeGone) | None => return (None, true),
            },
            over = drain(pipe.as_ref(), output), if pipe.is_some() => if over { pipe = None },
        }
    }
}

async fn gone(news: &mut mpsc::Receiver<CommandNews>) {
    while let Some(told) = news.recv().await {
        match told {
            CommandNews::TreeGone | CommandNews::Failed(..) | CommandNews::Ended(_, true) => return,
            CommandNews::Spawned(_) | CommandNews::Ended(_, false) => {}
        }
    }
}

fn readable(fd: OwnedFd) -> Option<AsyncFd<std::fs::File>> {
    crate::os::readiness::readable(std::fs::File::from(fd)).ok()
}

/// Waits for output and takes it. True once there will be no more.
async fn drain(pipe: Option<&AsyncFd<std::fs::File>>, output: &mut Vec<u8>) -> bool {
    let Some(pipe) = pipe else { return true };
    match pipe.readable().await {
        Ok(mut ready) => {
            let over = take(pipe, output);
            ready.clear_ready();
            over
        }
        Err(_) => true,
    }
}

/// Takes what is there, keeping the first [`KEPT`] bytes. True once there will be no more.
fn take(pipe: &AsyncFd<std::fs::File>, output: &mut Vec<u8>) -> bool {
    let mut buffer = [0; 4_096];
    loop {
        match pipe.get_ref().read(&mut buffer) {
            Ok(0) => return true,
            Ok(read) => {
                let room = KEPT.saturating_sub(output.len());
                output.extend_from_slice(buffer.get(..read.min(room)).unwrap_or_default());
            }
            Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
        }
    }
}
