//! `everup down`.

use std::time::Duration;

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, carry_out};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::cli::project::locate;
use crate::client::action::Action;
use crate::os::tree::Process;

/// How long the supervisor may take to write down the last and end, once nothing else runs.
const LAST_WORK: Duration = Duration::from_secs(5);
/// How often it is looked for.
const GLANCE: Duration = Duration::from_millis(5);

/// Options of `down`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup down                 all in reverse order, then the supervisor\n  everup down --force         kill everything at once\n  everup -p shop down"
)]
pub(crate) struct Down {
    /// Kill everything at once
    #[arg(long)]
    force: bool,
    /// How long to wait.
    #[command(flatten)]
    wait: WaitArgs,
}

/// Stops everything; says whom it waits for.
pub(crate) fn run(args: &Down, context: &Context) -> Result<Exit, Failure> {
    let client = locate(context, None)?.connect()?;
    let supervisor = Process::find(client.status()?.pid);
    let actions = vec![Action::Down { force: args.force }];
    let wait = args.wait.limit();
    let exit = carry_out(&client, &Acting { actions, targets: vec![], goal: Goal::Gone, wait }, context)?;
    if wait.is_some() {
        await_end(supervisor);
    }
    Ok(exit)
}

/// Waits until the supervisor itself is gone, so that its folder can be removed or taken by another.
fn await_end(supervisor: Option<Process>) {
    let Some(process) = supervisor else { return };
    let begun = crate::os::clock::now().moment;
    while Process::find(process.pid) == Some(process) && crate::os::clock::now().moment.since(begun) < LAST_WORK {
        std::thread::park_timeout(GLANCE);
    }
}
