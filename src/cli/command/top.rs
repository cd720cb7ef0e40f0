//! `everup top`: the live screen.

use clap::Args;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::locate;

/// Options of `top`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup top                  the project of this folder\n  everup top -p shop          the live project of that name\n  NO_COLOR=1 everup top       without colours\n\nKeys: arrows or j k move, Enter opens, l log, r restart, R reload, x stop or start, s sort, / filter, ? help,\nEsc goes back, q leaves."
)]
pub(crate) struct Top {}

/// Shows it until somebody leaves.
pub(crate) fn run(_args: &Top, context: &Context) -> Result<Exit, Failure> {
    use std::io::IsTerminal as _;
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        return Err(Failure::new(Exit::Usage, "cannot show a live screen: this is no terminal")
            .hint("`everup status --json` and `everup events -f --json` are for programs"));
    }
    crate::cli::top::run(&locate(context, None)?, context)
}
