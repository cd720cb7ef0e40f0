//! `everup version`.

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};

/// Options of `version`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  everup version\n  everup version --json")]
pub(crate) struct Version {}

/// What this program is, for JSON.
#[derive(Debug, Serialize)]
struct About {
    v: u32,
    version: &'static str,
    os: &'static str,
    arch: &'static str,
}

/// Prints it.
pub(crate) fn run(_args: &Version, context: &Context) -> Result<Exit, Failure> {
    let about =
        About { v: 1, version: env!("CARGO_PKG_VERSION"), os: std::env::consts::OS, arch: std::env::consts::ARCH };
    if context.out.json {
        context.out.object(&about)?;
    } else {
        context.out.line(&format!("everup {} ({} {})", about.version, about.os, about.arch))?;
    }
    Ok(Exit::Done)
}
