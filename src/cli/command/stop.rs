//! `everup stop`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, act, each};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;

/// Options of `stop`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup stop web             returns once its whole process tree is gone\n  everup stop --all           everup itself stays; `everup down` ends it too\n\nA stopped service stays stopped until `start`, `restart` or `up SVC`; services that need it live on."
)]
pub(crate) struct Stop {
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

/// Stops them and waits until their processes are gone.
pub(crate) fn run(args: &Stop, context: &Context) -> Result<Exit, Failure> {
    act(context, args.services.first(), |known| {
        let targets = known.select_or_all(&args.services, args.all, "stop")?;
        Ok(Acting { actions: each(&args.services, Action::Stop), targets, goal: Goal::Gone, wait: args.wait.limit() })
    })
}
