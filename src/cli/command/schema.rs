//! `everup schema`: the JSON schema of the file.

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::config;

/// Options of `schema`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup schema > supervisor.schema.json\n\nThe first line of supervisor.yaml then tells editors:\n  # yaml-language-server: $schema=supervisor.schema.json"
)]
pub(crate) struct Schema {}

/// Prints it.
pub(crate) fn run(_args: &Schema, context: &Context) -> Result<Exit, Failure> {
    let text = serde_json::to_string_pretty(&config::schema())
        .map_err(|error| Failure::failed(format!("cannot write the schema: {error}")))?;
    context.out.line(&text)?;
    Ok(Exit::Done)
}
