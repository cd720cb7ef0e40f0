//! The command line: global options and verbs. Each verb's own options stand beside its code.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::cli::command::{
    check, completion, config, dev, doctor, down, events, history, init, install, logs, man, plot, probe, reload,
    restart, run, scale, schema, signal, start, status, stop, top, uninstall, up, upgrade, version, web, why,
};
use crate::cli::demo_app::DemoApp;
use crate::cli::output::ColorChoice;
use crate::model::units::{Timestamp, parse_duration};

/// One screen: what to type.
const SCREEN: &str = "\
{about}

Usage: everup [OPTIONS] VERB [ARGS]

  run [opts] -- CMD…       wrap one program: keep it up, ask its health
  dev [SVC…] [-- CMD…]     develop: save a file and the new code serves
  up [SVC…] [-d]           make reality match supervisor.yaml
  down, upgrade            stop everything; let another everup take over
  start, stop, restart     one service or several
  scale, signal, reload    more or fewer copies; a signal; new code
  status [SVC] [-w]        who runs, and how (also: ps, ls)
  why SVC                  each restart: cause, evidence, last lines
  logs [SVC…] [-f]         what the services wrote
  top, events [SVC] [-f]   a live screen; the timeline
  history, plot SVC        what it used: as a table, as a picture
  probe SVC                ask its health once, now
  init, check, config      propose a file; validate it; show it resolved
  web, doctor, demo        the status page; this machine; a show to play with
  install, uninstall (for systemd), schema, completion, man, version

Everywhere: -c FILE | -p NAME | --socket PATH  --json  --color WHEN  -v  -q
{options}{after-help}";

/// What `--help` adds.
const WHOLE: &str = "\
SELECTORS
  web        the service, all its instances
  web/2      one instance
  'web*'     every service of that pattern
  Without one, verbs that look mean all; start, stop, restart, reload and signal want --all when there are several.

EXAMPLES
  everup run --health http://127.0.0.1:8888/health -- python app.py
  everup up -d --wait && everup status
  everup why web
  everup logs web -f --grep error
  everup restart web --wait=1m
  everup status --json | jq '.services[] | select(.ready | not) | .name'

EXIT CODES
  0 done or healthy · 1 failed · 2 usage · 3 not running or not healthy · 4 no such service · 5 config invalid
  6 no supervisor reachable · 7 timed out waiting · 130 interrupted
  `run`, and `up` with `exit_with`, end with the program's own code; 125 trouble in `run` itself, 126 the program
  cannot be executed, 127 it is not there.

FILES
  supervisor.yaml (or .yml) in this folder or the nearest one above; logs, history and the socket in .everup beside it.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "everup",
    version,
    about = "everup keeps programs up: starts them, asks their health, says why.",
    disable_version_flag = true,
    help_template = SCREEN,
    after_help = "`everup VERB -h` shows a verb's options, `everup --help` tells everything.",
    after_long_help = WHOLE,
    subcommand_value_name = "VERB",
    subcommand_required = true,
    arg_required_else_help = true,
    disable_help_subcommand = false,
    term_width = 0,
    max_term_width = 100
)]
pub(crate) struct Cli {
    /// What goes before every verb.
    #[command(flatten)]
    pub(crate) globals: Globals,
    /// Print the version
    #[arg(short = 'V', long = "version", action = clap::ArgAction::Version, hide_short_help = true)]
    version: (),
    /// What to do.
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Options every verb takes.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct Globals {
    /// The project's file [default: supervisor.yaml here or above]
    #[arg(short, long, global = true, hide_short_help = true, value_name = "FILE", help_heading = "Global options")]
    pub(crate) config: Option<PathBuf>,
    /// The live project of that name
    #[arg(
        short,
        long,
        global = true,
        hide_short_help = true,
        value_name = "NAME",
        conflicts_with = "config",
        help_heading = "Global options"
    )]
    pub(crate) project: Option<String>,
    /// The supervisor's control socket
    #[arg(long, global = true, hide_short_help = true, value_name = "PATH", conflicts_with_all = ["config", "project"], help_heading = "Global options")]
    pub(crate) socket: Option<PathBuf>,
    /// Answer in JSON
    #[arg(long, global = true, hide_short_help = true, help_heading = "Global options")]
    pub(crate) json: bool,
    /// When to colour: auto, always or never
    #[arg(
        long,
        global = true,
        hide_short_help = true,
        value_name = "WHEN",
        default_value = "auto",
        hide_default_value = true,
        hide_possible_values = true,
        help_heading = "Global options"
    )]
    pub(crate) color: ColorChoice,
    /// Say more
    #[arg(short, long, global = true, hide_short_help = true, help_heading = "Global options")]
    pub(crate) verbose: bool,
    /// Say only what is asked for
    #[arg(
        short,
        long,
        global = true,
        hide_short_help = true,
        conflicts_with = "verbose",
        help_heading = "Global options"
    )]
    pub(crate) quiet: bool,
}

/// What everup can do.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Wrap one program: no file needed, its terminal and exit code stay its own
    Run(run::Run),
    /// Develop: a program is restarted when its files change, a broken save leaves the running one up
    Dev(dev::Dev),
    /// Make reality match the file; on a running project only the difference is applied
    Up(up::Up),
    /// Stop all services in reverse order, then the supervisor
    Down(down::Down),
    /// Start services and what they need
    Start(start::Start),
    /// Stop services; they stay stopped until someone starts them
    Stop(stop::Stop),
    /// Swap services to new code the way `reload:` says
    Reload(reload::Reload),
    /// Restart services, one instance at a time
    Restart(restart::Restart),
    /// Run more or fewer instances, until the next `up` or `down`
    Scale(scale::Scale),
    /// Send a signal to the main process of services
    Signal(signal::Signal),
    /// Show who runs and how; one service in full
    #[command(visible_aliases = ["ps", "ls"])]
    Status(status::Status),
    /// Show where the status page is, or open it in a browser
    Web(web::Web),
    /// Show why a service ended or restarted, and what is known about it
    Why(why::Why),
    /// Show what services wrote
    Logs(logs::Logs),
    /// Show what happened
    Events(events::Events),
    /// Watch all of it live: usage, probes, events and logs, with keys to act
    Top(top::Top),
    /// Draw what a service used: CPU, memory, probes, with starts and ends marked
    Plot(plot::Plot),
    /// Show what a service used over time: CPU, memory, files, probes
    History(history::History),
    /// Run a service's probes once, now
    Probe(probe::Probe),
    /// Validate the file
    Check(check::Check),
    /// Show the file resolved: defaults filled in, secrets hidden
    Config(config::Config),
    /// Look at this folder and propose a supervisor.yaml
    Init(init::Init),
    /// Print the JSON schema of the file, for editors
    Schema(schema::Schema),
    /// Play with two small services that crash, hang and leak on request
    Demo(crate::cli::command::demo::Demo),
    /// Make this project a service of systemd: started now, at boot, and whenever it must be
    Install(install::Install),
    /// Stop it and take its unit away
    Uninstall(uninstall::Uninstall),
    /// Let another everup take over: services go on as they are
    Upgrade(upgrade::Upgrade),
    /// Look at this machine: what everup can use, what is in the way, what to do
    Doctor(doctor::Doctor),
    /// Print a completion script for a shell
    Completion(completion::Completion),
    /// Print the manual page
    Man(man::Man),
    /// Print the version
    Version(version::Version),
    /// The small web app of `demo` and of the example file
    #[command(hide = true)]
    DemoApp(DemoApp),
}

/// Verbs of versions to come: asked for by name, they say so.
pub(crate) const LATER: [&str; 1] = ["import"];

/// How long to wait until what is promised holds.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct WaitArgs {
    /// Wait until it is so, at most that long [default: 30s]
    #[arg(long, value_name = "TIME", num_args = 0..=1, require_equals = true, default_missing_value = "30s", value_parser = parse_duration)]
    wait: Option<Duration>,
    /// Do not wait
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

impl WaitArgs {
    /// How long to wait; none: not at all.
    pub(crate) fn limit(self) -> Option<Duration> {
        if self.no_wait { None } else { Some(self.wait.unwrap_or(Duration::from_secs(30))) }
    }
}

/// `--since`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// That long ago.
    Ago(Duration),
    /// From that time on.
    At(Timestamp),
    /// After the event of that number.
    Seq(u64),
}

impl Since {
    /// Reads `10m`, an RFC 3339 time, or `seq:812`.
    ///
    /// # Errors
    /// What was expected instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if let Some(number) = text.strip_prefix("seq:") {
            return number.parse().map(Self::Seq).map_err(|_| format!("cannot read {number:?} as an event's number"));
        }
        parse_duration(text).map(Self::Ago).or_else(|_| Timestamp::parse(text).map(Self::At)).map_err(|_| {
            format!("cannot read {text:?}: write how long ago (10m), a time (2026-11-20T10:00:00Z) or an event's number (seq:812)")
        })
    }

    /// As [`Since::parse`], but only a time.
    ///
    /// # Errors
    /// What was expected instead.
    pub(crate) fn parse_time(text: &str) -> Result<Self, String> {
        match Self::parse(text)? {
            Self::Seq(_) => Err("cannot count lines by event numbers: write how long ago (10m) or a time".to_owned()),
            time => Ok(time),
        }
    }

    /// The point in time; none for an event's number.
    pub(crate) fn time(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Ago(duration) => Some(now.before(duration)),
            Self::At(time) => Some(time),
            Self::Seq(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;
    use clap::error::ErrorKind;
    use unicode_width::UnicodeWidthStr as _;

    use super::*;

    fn parse(line: &str) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("everup").chain(line.split_whitespace()))
    }

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn what_the_contract_shows_is_understood() {
        for line in [
            "run --health http://127.0.0.1:8888/health -- python app.py",
            "run --restart never --name app --env A=1 --env B=2 --port 8888 -- sleep 1",
            "run python app.py --port 1",
            "up",
            "up web db -d --wait=30s --dry-run",
            "up --wait",
            "up --log-format json",
            "-c other.yaml up",
            "up -c other.yaml",
            "down --force",
            "start web --wait=1m",
            "stop --all --no-wait",
            "restart web/2 --now",
            "scale web=4 db=2",
            "signal HUP web",
            "signal TERM --all",
            "status",
            "status web -w",
            "ps --json",
            "ls",
            "web --open",
            "why web -n 5",
            "logs web db -f -n 50 --since 10m --grep error --stderr",
            "logs web --previous",
            "events web -f --since 1h",
            "events --since seq:812",
            "top",
            "plot web --since 1h -o usage.png",
            "plot web/2 --until 2026-11-20T10:00:00Z --metric cpu,memory -o -",
            "history web",
            "history web/2 --since 24h --until 1h --step 5m --metric cpu,memory_bytes --csv",
            "probe web",
            "check other.yaml",
            "config web",
            "init",
            "schema",
            "demo",
            "doctor --json",
            "install --user /srv/shop/supervisor.yaml",
            "install --print",
            "uninstall --user --json",
            "completion zsh",
            "man",
            "version --json",
            "demo-app --port 8080 --host 127.0.0.1",
            "-p shop --color never -q status",
            "--socket /tmp/x.sock status",
        ] {
            if let Err(error) = parse(line) {
                panic!("{line}: {error}");
            }
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (line, kind) in [
            ("", ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand),
            ("stauts", ErrorKind::InvalidSubcommand),
            ("status --jsno", ErrorKind::UnknownArgument),
            ("start web --wait 30s --no-wait", ErrorKind::ArgumentConflict),
            ("start web --wait=soon", ErrorKind::ValueValidation),
            ("logs --since seq:3", ErrorKind::ValueValidation),
            ("plot web --metric disk", ErrorKind::InvalidValue),
            ("plot web --since seq:3", ErrorKind::ValueValidation),
            ("history web --metric cpu,memroy", ErrorKind::ValueValidation),
            ("history web --step often", ErrorKind::ValueValidation),
            ("logs --grep (", ErrorKind::ValueValidation),
            ("scale web", ErrorKind::ValueValidation),
            ("scale web=lots", ErrorKind::ValueValidation),
            ("scale web=1001", ErrorKind::ValueValidation),
            ("signal TREM web", ErrorKind::ValueValidation),
            ("logs -f --previous", ErrorKind::ArgumentConflict),
            ("run", ErrorKind::MissingRequiredArgument),
            ("run --stop TREM -- x", ErrorKind::ValueValidation),
            ("-c a -p b status", ErrorKind::ArgumentConflict),
            ("-q -v status", ErrorKind::ArgumentConflict),
            ("completion tcsh", ErrorKind::InvalidValue),
        ] {
            assert_eq!(parse(line).map(drop).map_err(|error| error.kind()), Err(kind), "{line}");
        }
    }

    #[test]
    fn waiting_is_thirty_seconds_unless_it_is_said_otherwise() {
        for (line, seconds) in [
            ("start a", Some(30)),
            ("start a --wait", Some(30)),
            ("start a --wait=2m", Some(120)),
            ("start a --no-wait", None),
        ] {
            let Ok(Cli { verb: Verb::Start(start), .. }) = parse(line) else { panic!("{line}") };
            assert_eq!(start.wait.limit(), seconds.map(Duration::from_secs), "{line}");
        }
    }

    #[test]
    fn what_follows_the_program_of_run_is_its_own() {
        for line in ["run --name x -- app -c file --json", "run --name x app -c file --json"] {
            let Ok(Cli { verb: Verb::Run(run), globals, .. }) = parse(line) else { panic!("{line}") };
            assert_eq!(run.command, ["app", "-c", "file", "--json"], "{line}");
            assert!(!globals.json && globals.config.is_none(), "{line}");
        }
    }

    #[test]
    fn the_short_help_is_one_screen_and_names_every_verb() {
        let mut command = Cli::command();
        let help = command.render_help().to_string();
        assert!(help.lines().count() <= 24, "{help}");
        assert!(help.lines().all(|line| line.width() <= 80), "{help}");
        let whole = command.render_long_help().to_string();
        for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
            assert!(help.contains(verb.get_name()), "{} is missing in\n{help}", verb.get_name());
        }
        assert!(whole.contains("EXIT CODES") && !help.contains("EXIT CODES"));
    }

    #[test]
    fn every_verb_that_takes_something_shows_an_example() {
        for verb in Cli::command().get_subcommands_mut().filter(|verb| !verb.is_hide_set()) {
            let help = verb.render_long_help().to_string();
            assert!(help.contains("everup "), "{help}");
            assert!(verb.get_after_help().is_some(), "{} shows no example", verb.get_name());
        }
    }

    #[test]
    fn since_is_a_span_a_time_or_a_number() {
        let now = Timestamp(1_763_632_800_000);
        for (text, expected) in
            [("10m", Some(Timestamp(now.0 - 600_000))), ("2025-11-20T10:00:00Z", Some(now)), ("seq:812", None)]
        {
            assert_eq!(Since::parse(text).unwrap().time(now), expected, "{text}");
        }
        assert_eq!(Since::parse("seq:812"), Ok(Since::Seq(812)));
        assert!(
            Since::parse("yesterday").is_err() && Since::parse("seq:x").is_err() && Since::parse_time("seq:1").is_err()
        );
    }
}
