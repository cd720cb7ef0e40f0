//! `everup restart`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, act, each};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;

/// Options of `restart`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup restart web          one instance at a time; returns once all are ready\n  everup restart web/2\n  everup restart web --now    all instances at once"
)]
pub(crate) struct Restart {
    /// Services: web, web/2, 'web*'
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// Every service
    #[arg(long)]
    all: bool,
    /// All instances at once
    #[arg(long)]
    now: bool,
    /// How long to wait.
    #[command(flatten)]
    wait: WaitArgs,
}

/// Restarts them and waits until they are ready.
pub(crate) fn run(args: &Restart, context: &Context) -> Result<Exit, Failure> {
    act(context, args.services.first(), |known| {
        let targets = known.select_or_all(&args.services, args.all, "restart")?;
        let actions = each(&args.services, |selector| Action::Restart { selector, now: args.now });
        Ok(Acting { actions, targets, goal: Goal::Ready, wait: args.wait.limit() })
    })
}
