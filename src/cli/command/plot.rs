//! `everup plot`: usage as a picture.

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};

/// Options of `plot`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everup plot web")]
pub(crate) struct Plot {
    /// A service
    service: Option<String>,
}

/// Draws it.
pub(crate) fn run(_args: &Plot, _context: &Context) -> Result<Exit, Failure> {
    Ok(Exit::Done)
}
