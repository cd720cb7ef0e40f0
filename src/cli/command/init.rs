//! `everup init`: propose a file for this folder.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::here;
use crate::config::init;

/// Options of `init`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup init                 writes supervisor.yaml; a file that is there stays as it is\n  everup init --print         only shows it"
)]
pub(crate) struct Init {
    /// Show the file instead of writing it
    #[arg(long)]
    print: bool,
}

/// What was proposed, for JSON.
#[derive(Debug, Serialize)]
struct Proposed {
    v: u32,
    file: PathBuf,
    written: bool,
    found: Vec<String>,
    text: String,
}

/// Looks at the folder and writes what it proposes.
pub(crate) fn run(args: &Init, context: &Context) -> Result<Exit, Failure> {
    let folder = here()?;
    let proposal = init::propose(&folder);
    let file = context.globals.config.clone().unwrap_or_else(|| folder.join("supervisor.yaml"));
    if args.print && !context.out.json {
        context.out.data(&proposal.text)?;
        return Ok(Exit::Done);
    }
    if !args.print {
        write_new(&file, &proposal.text)?;
    }
    if context.out.json {
        let proposed = Proposed { v: 1, file, written: !args.print, found: proposal.found, text: proposal.text };
        context.out.object(&proposed)?;
        return Ok(Exit::Done);
    }
    for found in &proposal.found {
        context.out.talk(&format!("found {found}"));
    }
    context.out.line(&format!("wrote {}", file.display()))?;
    context.out.talk("look it over, then: everup check && everup up");
    Ok(Exit::Done)
}

/// Writes a file that is not there yet.
fn write_new(file: &std::path::Path, text: &str) -> Result<(), Failure> {
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).open(file);
    opened.and_then(|mut opened| opened.write_all(text.as_bytes())).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::failed(format!("cannot write {}: it is there already", file.display()))
            .hint("`everup init --print` only shows what it would propose"),
        _ => Failure::failed(format!("cannot write {}: {error}", file.display())),
    })
}
