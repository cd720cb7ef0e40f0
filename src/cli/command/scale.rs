//! `everup scale`.

use clap::Args;

use crate::cli::Context;
use crate::cli::args::WaitArgs;
use crate::cli::command::acting::{Acting, act};
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Goal;
use crate::client::action::Action;

/// Options of `scale`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup scale web=4\n  everup scale web=4 worker=0 --no-wait\n\nIt lasts until the next `up` or `down`; write `instances: 4` into the file to keep it."
)]
pub(crate) struct Scale {
    /// How many instances of which service, e.g. web=4
    #[arg(required = true, value_name = "SVC=N", value_parser = parse)]
    counts: Vec<(String, u32)>,
    /// How long to wait.
    #[command(flatten)]
    wait: WaitArgs,
}

/// Most instances of one service.
const MOST: u32 = 1_000;

fn parse(text: &str) -> Result<(String, u32), String> {
    let (service, count) =
        text.split_once('=').ok_or_else(|| format!("cannot read {text:?}: write SERVICE=NUMBER, such as web=4"))?;
    match count.parse() {
        Ok(count) if count <= MOST && !service.is_empty() => Ok((service.to_owned(), count)),
        _ => Err(format!("cannot read {text:?}: write SERVICE=NUMBER with a number from 0 to {MOST}, such as web=4")),
    }
}

/// Runs more or fewer instances and waits until those wanted are ready.
pub(crate) fn run(args: &Scale, context: &Context) -> Result<Exit, Failure> {
    act(context, args.counts.first().map(|(service, _)| service), |known| {
        let mut actions = vec![];
        let mut targets = vec![];
        for (service, count) in &args.counts {
            for target in known.select(std::slice::from_ref(service))? {
                if target.index.is_some() {
                    return Err(Failure::new(Exit::Usage, format!("cannot scale {service}: it is one instance"))
                        .hint(format!("write {}={count}", target.service)));
                }
                actions.push(Action::Scale { service: target.service.to_string(), instances: *count });
                targets.push(target);
            }
        }
        Ok(Acting { actions, targets, goal: Goal::Ready, wait: args.wait.limit() })
    })
}
