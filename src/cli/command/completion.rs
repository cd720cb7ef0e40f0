//! `everup completion`: a completion script for a shell.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use crate::cli::Context;
use crate::cli::args::Cli;
use crate::cli::failure::{Exit, Failure};

/// Options of `completion`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup completion bash > ~/.local/share/bash-completion/completions/everup\n  everup completion zsh > ~/.zfunc/_everup\n  everup completion fish > ~/.config/fish/completions/everup.fish"
)]
pub(crate) struct Completion {
    /// bash, zsh, fish, elvish or powershell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// Prints it.
pub(crate) fn run(args: &Completion, context: &Context) -> Result<Exit, Failure> {
    context.out.data(&String::from_utf8_lossy(&script(args.shell)))?;
    Ok(Exit::Done)
}

fn script(shell: Shell) -> Vec<u8> {
    let mut script = vec![];
    clap_complete::generate(shell, &mut Cli::command(), "everup", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shell_gets_a_script_that_knows_the_verbs() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = String::from_utf8(script(shell)).unwrap();
            for word in ["everup", "restart", "why", "previous"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
