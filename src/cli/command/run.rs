//! `everup run`: wrap one program, as if everup were not there.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use crate::cli::args::Cli;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::{here, surroundings};
use crate::cli::{Context, remark};
use crate::client::registry;
use crate::config;
use crate::config::wrap::{RunOptions, name_for};
use crate::daemon::{self, Launch, Mode};
use crate::guardian;
use crate::guardian::link::Link;
use crate::model::selector::nearest;
use crate::model::signal::Signal;
use crate::os::program;

/// Options of `run`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup run --health http://127.0.0.1:8888/health -- python app.py\n  everup run --restart always --env LOG_LEVEL=debug -- ./server\n  everup run --port 8888 --health 'http://127.0.0.1:${PORT}/health' -- gunicorn app:app\n\nThe program has the terminal; Ctrl-C reaches it as INT, a second one kills it. It is restarted when it fails (on-failure);\nits exit code is everup's own. Trouble in everup itself: 125; the program cannot be executed: 126; it is not there: 127."
)]
pub(crate) struct Run {
    /// How the program is run.
    #[command(flatten)]
    program: ProgramArgs,
    /// always, on-failure or never [default: on-failure]
    #[arg(long, value_name = "POLICY", value_parser = ["always", "on-failure", "never", "unless-stopped"], hide_possible_values = true)]
    restart: Option<String>,
    /// Restart it when files below this folder change; can be repeated
    #[arg(long, value_name = "PATH")]
    watch: Vec<PathBuf>,
    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true, value_name = "CMD")]
    pub(crate) command: Vec<String>,
}

/// How one program that no file describes is run.
#[derive(Debug, Args)]
pub(crate) struct ProgramArgs {
    /// Ask this URL whether it is well (http://…, tcp://…)
    #[arg(long, value_name = "URL")]
    health: Option<String>,
    /// The project's name [default: the script's or program's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Set a variable, or with K alone pass on what it is here; can be repeated
    #[arg(long, value_name = "K=V")]
    env: Vec<String>,
    /// Its port: PORT in its environment, ${PORT} in what you write here
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: Option<u16>,
    /// The signal that asks it to stop [default: TERM]
    #[arg(long, value_name = "SIGNAL", value_parser = Signal::parse)]
    stop: Option<Signal>,
}

impl ProgramArgs {
    /// As the plan is made from, with a name that no live project of this folder has.
    pub(crate) fn options(self, command: Vec<String>, folder: PathBuf) -> RunOptions {
        RunOptions {
            name: Some(self.name.unwrap_or_else(|| free_name(&name_for(&command), &folder))),
            command,
            folder,
            health: self.health,
            env: self.env,
            port: self.port.map(|port| port.to_string()),
            stop: self.stop.map(|signal| signal.to_string()),
            ..RunOptions::default()
        }
    }

    /// The first option that was given, by name.
    pub(crate) fn first_given(&self) -> Option<&'static str> {
        [
            ("--health", self.health.is_some()),
            ("--name", self.name.is_some()),
            ("--env", !self.env.is_empty()),
            ("--port", self.port.is_some()),
            ("--stop", self.stop.is_some()),
        ]
        .into_iter()
        .find_map(|(name, given)| given.then_some(name))
    }
}

/// Becomes the program's parent; comes back with its exit code.
///
/// # Errors
/// What went wrong in everup itself; 126 and 127 when the program cannot be executed or is not there.
pub(crate) fn run(args: Run, context: &Context) -> Result<ExitCode, Failure> {
    refuse_unknown_option(&args.command, "run")?;
    let cwd = here()?;
    find_program(&args.command, &cwd)?;
    let options = RunOptions { restart: args.restart, watch: args.watch, ..args.program.options(args.command, cwd) };
    let plan = config::wrap(&options, &surroundings()).map_err(|diagnostics| {
        context.out.trouble(&diagnostics.render(context.out.talk_paint().0));
        Failure::new(Exit::RunTrouble, "cannot run it: its options make no sense")
    })?;
    if !context.is_engine() {
        return Err(Failure::no_guardian(Exit::RunTrouble, &guardian::enter()));
    }
    let link = Link::from_env().ok_or_else(|| {
        Failure::new(Exit::RunTrouble, "cannot find the parent process: EVERUP_GUARDIAN_FD is missing")
    })?;
    let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let out = context.out;
    let mode = Mode::Run { terminal };
    Ok(daemon::run(Launch { plan, mode, link, start: vec![], surroundings: surroundings(), legacy: None }, |handle| {
        // The program's own output is passed on as it comes; only remarks are ours.
        remark::remark(handle, terminal, out)
    }))
}

/// What looks like an option is none of ours, and hardly a program.
pub(crate) fn refuse_unknown_option(command: &[String], verb: &str) -> Result<(), Failure> {
    let Some(word) = command.first().filter(|word| word.starts_with('-')) else { return Ok(()) };
    let options: Vec<String> = Cli::command()
        .find_subcommand(verb)
        .into_iter()
        .flat_map(clap::Command::get_arguments)
        .filter_map(|option| option.get_long().map(|name| format!("--{name}")))
        .collect();
    let near = nearest(word.split('=').next().unwrap_or(word), options.iter().map(String::as_str));
    let failure = Failure::new(Exit::RunTrouble, format!("cannot understand the option {word}"));
    Err(if near.is_empty() {
        failure.hint(format!("`everup {verb} -h` lists the options"))
    } else {
        failure.hint(format!("did you mean {}?", near.join(" or ")))
    })
}

/// Looks the program up, so that a typo ends with the shell's own code instead of a restart.
pub(crate) fn find_program(command: &[String], cwd: &Path) -> Result<(), Failure> {
    let Some(name) = command.first() else { return Ok(()) };
    let path = std::env::var_os("PATH");
    match program::find(name.as_ref(), path.as_deref(), cwd) {
        Ok(_) => Ok(()),
        Err(libc::ENOENT | libc::ENOTDIR) => {
            let hint = if name.contains('/') { "there is no such file" } else { "no folder of PATH has it" };
            Err(Failure::new(Exit::NotFound, format!("cannot find the program {name}")).hint(hint))
        }
        Err(errno) => {
            let why = std::io::Error::from_raw_os_error(errno);
            Err(Failure::new(Exit::CannotExecute, format!("cannot execute {name}: {why}"))
                .hint("is it a program, and is its x bit set?"))
        }
    }
}

/// `name`, or `name-2` and so on while another live project of this folder has it.
fn free_name(name: &str, folder: &Path) -> String {
    let taken: Vec<String> = registry::list()
        .into_iter()
        .filter(|entry| entry.state_dir.starts_with(folder))
        .map(|entry| entry.project)
        .collect();
    number_until_free(name, &taken)
}

fn number_until_free(name: &str, taken: &[String]) -> String {
    if !taken.iter().any(|other| other == name) {
        return name.to_owned();
    }
    let mut number = 2_u32;
    loop {
        let candidate = format!("{name}-{number}");
        if !taken.contains(&candidate) {
            return candidate;
        }
        number = number.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistyped_option_is_not_taken_for_the_program() {
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let failure = refuse_unknown_option(&words("--helth http://x/ -- app"), "run").unwrap_err();
        assert_eq!(failure.exit().code(), 125);
        assert!(failure.text().contains("did you mean --health?"), "{}", failure.text());
        assert!(refuse_unknown_option(&words("app --helth"), "run").is_ok());
    }

    #[test]
    fn a_name_that_is_taken_gets_a_number() {
        let taken = ["app".to_owned(), "app-2".to_owned(), "web".to_owned()];
        for (name, free) in [("app", "app-3"), ("web", "web-2"), ("db", "db")] {
            assert_eq!(number_until_free(name, &taken), free);
        }
    }
}
