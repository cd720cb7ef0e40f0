//! `everup reload`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, act, each};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;

/// Options of `reload`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup reload web             new code the way `reload:` says; returns once it serves\n  everup reload web --wait=2m\n  everup reload --all --no-wait\n\nThe check of `watch:`, if there is one, goes first. Ends with 0 when the new code serves, 1 when the old one stayed,\n7 when it was not decided in time."
)]
pub(crate) struct Reload {
    /// Services: web, web/2, 'web*'
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// Every service
    #[arg(long)]
    all: bool,
    /// How long to wait.
    #[command(flatten)]
    wait: WaitArgs,
}

/// Swaps them to new code and waits until it serves.
pub(crate) fn run(args: &Reload, context: &Context) -> Result<Exit, Failure> {
    act(context, args.services.first(), |known| {
        let targets = known.select_or_all(&args.services, args.all, "reload")?;
        let actions = each(&args.services, Action::Reload);
        Ok(Acting { actions, targets, goal: Goal::Ready, wait: args.wait.limit() })
    })
}
