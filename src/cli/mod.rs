//! Talks to people: reads the command line, does what it says, and ends with the code the contract promises.

mod args;
mod command;
mod console;
mod demo_app;
mod detach;
mod failure;
mod keys;
mod live;
mod offline;
mod output;
mod project;
mod remark;
mod select;
mod show;
mod table;
mod time;
mod top;
mod unit;

use std::io::Write as _;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{CommandFactory as _, FromArgMatches as _, Parser as _};

use crate::cli::args::{Cli, Globals, LATER, Verb};
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Output, say};
use crate::daemon;
use crate::guardian::{self, Role};
use crate::model::units::Timestamp;

/// What every verb needs to know.
#[derive(Debug)]
pub(crate) struct Context {
    /// Options that go before every verb.
    pub(crate) globals: Globals,
    /// Where words go.
    pub(crate) out: Output,
    role: Role,
}

impl Context {
    /// Whether this process is to do the work itself.
    pub(crate) fn is_engine(&self) -> bool {
        self.role == Role::Engine
    }

    /// The time of day.
    #[expect(clippy::unused_self, reason = "time comes from the context, so that no verb has a clock of its own")]
    pub(crate) fn now(&self) -> Timestamp {
        crate::os::clock::now().wall
    }
}

/// Runs the program with the process's own arguments.
pub fn run() -> ExitCode {
    let role = guardian::role();
    match role {
        Role::Guardian => return guardian::run(),
        Role::Rehearsal => return rehearse(),
        Role::Undertaker => return guardian::undertaker::run(),
        Role::Command | Role::Engine => {}
    }
    let cli = match parse(std::env::args_os()) {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let Cli { globals, verb, .. } = cli;
    let out = Output::new(globals.color, globals.json, globals.quiet, globals.verbose);
    let wraps = matches!(verb, Verb::Run(_));
    match perform(verb, &Context { globals, out, role }) {
        Ok(code) => code,
        Err(failure) => {
            say(&failure.text());
            // What goes wrong in `run` itself must not pass for an exit code of the program.
            match failure.exit() {
                exit @ (Exit::CannotExecute | Exit::NotFound | Exit::Interrupted) => exit.into(),
                _ if wraps => Exit::RunTrouble.into(),
                exit => exit.into(),
            }
        }
    }
}

/// Says whether this program could take over from an engine that runs.
fn rehearse() -> ExitCode {
    let reads = |words: Vec<String>| Cli::try_parse_from(words).is_ok_and(|cli| matches!(cli.verb, Verb::Up(_)));
    let written = writeln!(std::io::stdout(), "{}", daemon::rehearsal::answer(reads));
    if written.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Reads the command line; what cannot be read, or only asks for help, is answered here.
fn parse(words: impl Iterator<Item = std::ffi::OsString>) -> Result<Cli, ExitCode> {
    let words: Vec<_> = words.collect();
    let wraps =
        words.iter().skip(1).find(|word| !word.as_encoded_bytes().starts_with(b"-")).is_some_and(|word| word == "run");
    let parsed = Cli::command().try_get_matches_from(words).and_then(|matches| Cli::from_arg_matches(&matches));
    parsed.map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => {
            // A reader that has gone is no reason to complain.
            let _ = error.print();
            Exit::Done.into()
        }
        _ => {
            match unknown_verb(&error) {
                Some(verb) if LATER.contains(&verb.as_str()) => {
                    say(&format!("everup: {verb} is not in this version yet\n  `everup --help` lists what is\n"));
                }
                _ => drop(error.print()),
            }
            if wraps { Exit::RunTrouble.into() } else { Exit::Usage.into() }
        }
    })
}

fn unknown_verb(error: &clap::Error) -> Option<String> {
    match (error.kind(), error.get(clap::error::ContextKind::InvalidSubcommand)) {
        (ErrorKind::InvalidSubcommand, Some(clap::error::ContextValue::String(verb))) => Some(verb.clone()),
        _ => None,
    }
}

fn perform(verb: Verb, context: &Context) -> Result<ExitCode, Failure> {
    use crate::cli::command as verbs;
    let exit = match verb {
        // These may end with a program's own code.
        Verb::Run(args) => return verbs::run::run(args, context),
        Verb::Dev(args) => return verbs::dev::run(args, context),
        Verb::Up(args) => return verbs::up::run(&args, context),
        Verb::Demo(args) => return verbs::demo::run(&args, context),
        Verb::DemoApp(args) => return demo_app::run(&args),
        Verb::Down(args) => verbs::down::run(&args, context),
        Verb::Start(args) => verbs::start::run(&args, context),
        Verb::Stop(args) => verbs::stop::run(&args, context),
        Verb::Restart(args) => verbs::restart::run(&args, context),
        Verb::Reload(args) => verbs::reload::run(&args, context),
        Verb::Scale(args) => verbs::scale::run(&args, context),
        Verb::Signal(args) => verbs::signal::run(&args, context),
        Verb::Status(args) => verbs::status::run(&args, context),
        Verb::Web(args) => verbs::web::run(&args, context),
        Verb::Why(args) => verbs::why::run(&args, context),
        Verb::Logs(args) => verbs::logs::run(&args, context),
        Verb::Events(args) => verbs::events::run(&args, context),
        Verb::Top(args) => verbs::top::run(&args, context),
        Verb::Plot(args) => verbs::plot::run(&args, context),
        Verb::History(args) => verbs::history::run(&args, context),
        Verb::Probe(args) => verbs::probe::run(&args, context),
        Verb::Check(args) => verbs::check::run(&args, context),
        Verb::Config(args) => verbs::config::run(&args, context),
        Verb::Init(args) => verbs::init::run(&args, context),
        Verb::Schema(args) => verbs::schema::run(&args, context),
        Verb::Install(args) => verbs::install::run(&args, context),
        Verb::Uninstall(args) => verbs::uninstall::run(&args, context),
        Verb::Upgrade(args) => verbs::upgrade::run(&args, context),
        Verb::Doctor(args) => verbs::doctor::run(&args, context),
        Verb::Completion(args) => verbs::completion::run(&args, context),
        Verb::Man(args) => verbs::man::run(&args, context),
        Verb::Version(args) => verbs::version::run(&args, context),
    }?;
    Ok(exit.into())
}
