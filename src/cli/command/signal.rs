//! `everup signal`.

use clap::Args;

use crate::cli::Context;
use crate::cli::command::acting::{Acting, act, each};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;
use crate::model::selector::nearest;
use crate::model::signal;

/// Options of `signal`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup signal HUP web       e.g. to reopen its files\n  everup signal USR1 web/2\n\nWhat a signal does to a service is then judged like any other end: `everup stop` is the way to stop one."
)]
pub(crate) struct Signal {
    /// HUP, TERM, USR1, …, or its number
    #[arg(value_name = "SIGNAL", value_parser = parse)]
    which: signal::Signal,
    /// Services: web, web/2, 'web*'
    #[arg(value_name = "SVC")]
    services: Vec<String>,
    /// Every service
    #[arg(long)]
    all: bool,
}

fn parse(text: &str) -> Result<signal::Signal, String> {
    signal::Signal::parse(text).map_err(|error| {
        let near = nearest(text.trim_start_matches("SIG"), signal::Signal::names());
        if near.is_empty() { error } else { format!("{error}; did you mean {}?", near.join(" or ")) }
    })
}

/// Sends it to their main processes.
pub(crate) fn run(args: &Signal, context: &Context) -> Result<Exit, Failure> {
    act(context, args.services.first(), |known| {
        let targets = known.select_or_all(&args.services, args.all, "signal")?;
        // A signal is delivered or not: there is nothing to wait for beyond the answer.
        let actions = each(&args.services, |selector| Action::Signal { selector, signal: args.which });
        Ok(Acting { actions, targets, goal: Goal::Ready, wait: None })
    })
}
