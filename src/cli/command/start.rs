//! `everup start`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, act, each};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;

/// Options of `start`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup start web            web and what it needs; returns once it is ready\n  everup start 'web*' --wait=2m\n  everup start --all --no-wait"
)]
pub(crate) struct Start {
    /// Services: web, web/2, 'web*'
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// Every service
    #[arg(long)]
    all: bool,
    /// How long to wait.
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
}

/// Starts them and waits until they are ready.
pub(crate) fn run(args: &Start, context: &Context) -> Result<Exit, Failure> {
    act(context, args.services.first(), |known| {
        let targets = known.select_or_all(&args.services, args.all, "start")?;
        Ok(Acting { actions: each(&args.services, Action::Start), targets, goal: Goal::Ready, wait: args.wait.limit() })
    })
}
