//! `everup why`: each restart, its cause and what is known about it.

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::offline;
use crate::cli::project::locate;
use crate::cli::select::Known;
use crate::cli::show::why::blocks;
use crate::history::query::Reader;
use crate::model::command::Target;

/// Options of `why`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup why web              the latest restarts, newest first\n  everup why web/2 -n 1\n  everup why web --json | jq '.entries[0].evidence'\n\nA cause is certain, likely or a guess; what changed just before is shown as that, never as the reason."
)]
pub(crate) struct Why {
    /// A service or one instance: web, web/2 [default: the only service there is]
    #[arg(value_name = "SVC")]
    service: Option<String>,
    /// How many restarts to show
    #[arg(short = 'n', long = "count", value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=1000))]
    count: u16,
}

/// Shows them, from the supervisor or from what it left behind.
pub(crate) fn run(args: &Why, context: &Context) -> Result<Exit, Failure> {
    let project = locate(context, args.service.as_deref())?;
    let count = usize::from(args.count);
    let why = if let Some(client) = project.connect_if_live()? {
        let target = one(&Known::of(&client.status()?), args.service.as_deref())?;
        client.why(&selector(&target), Some(count))?
    } else {
        offline::announce(&project, context)?;
        let target = one(&offline::known(&project), args.service.as_deref())?;
        let history = Reader::new(project.state_dir.clone());
        history.why(&target.service, target.index, count).map_err(|error| Failure::failed(error.to_string()))?
    };
    if context.out.json {
        context.out.object(&why)?;
    } else if why.entries.is_empty() {
        context.out.talk(&format!("nothing of {} has ended, and nothing is known to hold it", why.service));
    } else {
        context.out.data(&blocks(&why, context.now(), context.out.stdout.paint))?;
    }
    Ok(Exit::Done)
}

/// The one service or instance that the selector means; without one, the only service there is.
///
/// # Errors
/// [`Exit::Usage`] when it means several.
pub(crate) fn one(known: &Known, text: Option<&str>) -> Result<Target, Failure> {
    let words: Vec<String> = text.map(str::to_owned).into_iter().collect();
    let mut targets = if words.is_empty() { known.all() } else { known.select(&words)? };
    match targets.len() {
        1 => Ok(targets.remove(0)),
        _ => Err(Failure::new(Exit::Usage, "cannot look at several services at once: name one")
            .hint(targets.iter().map(|target| target.service.to_string()).collect::<Vec<_>>().join(", "))),
    }
}

/// A target as a selector.
pub(crate) fn selector(target: &Target) -> String {
    target.index.map_or_else(|| target.service.to_string(), |index| format!("{}/{index}", target.service))
}
