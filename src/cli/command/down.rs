//! `everup down`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, carry_out};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::cli::project::locate;
use crate::client::action::Action;

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
    let actions = vec![Action::Down { force: args.force }];
    carry_out(&client, &Acting { actions, targets: vec![], goal: Goal::Gone, wait: args.wait.limit() }, context)
}
