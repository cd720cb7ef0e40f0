//! `everup check`: validate the file.

use std::path::PathBuf;

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{file, surroundings};
use crate::config;

/// Options of `check`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup check                every error with its line underlined, and the nearest valid name\n  everup check other.yaml --json\n\nEnds with 5 when the file is not valid."
)]
pub(crate) struct Check {
    /// The file; none: the project's
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
}

/// Reads it and says whether it is valid; whether it is goes into the exit code.
pub(crate) fn run(args: &Check, context: &Context) -> Result<Exit, Failure> {
    let (file, shown) = if let Some(given) = &args.file {
        (given.clone(), given.display().to_string())
    } else {
        let found = file(context)?;
        let name = found.file_name().map(|name| name.to_string_lossy().into_owned());
        (found, name.unwrap_or_default())
    };
    let (plan, diagnostics) = config::check(&file, &surroundings());
    let exit = if plan.is_some() { Exit::Done } else { Exit::ConfigInvalid };
    if context.out.json {
        context.out.object(&diagnostics)?;
        return Ok(exit);
    }
    // What there is to say about the file is here what was asked for, so it is data.
    context.out.data(&diagnostics.render(context.out.stdout.paint.0))?;
    if let Some(plan) = plan {
        let count = plan.services.len();
        context.out.line(&format!("{shown}: ok, {count} {}", if count == 1 { "service" } else { "services" }))?;
    }
    Ok(exit)
}
