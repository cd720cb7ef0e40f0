//! The `exec` question: a command whose exit code 0 passes.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use nix::errno::Errno;

use crate::model::probe::Verdict;
use crate::model::service::End;
use crate::model::template::{Slots, Template};
use crate::probe::reason;

/// Beyond its limit a command has so long to be ended as a tree.
pub(super) const SLACK: Duration = Duration::from_secs(2);
/// So much of the output's first line is quoted.
const QUOTED: usize = 200;

/// Runs commands the way the service itself is run: in its folder, as its user, with its environment, as a tree that
/// is ended whole. The daemon does it through the guardian.
pub trait RunCommand {
    /// Runs `argv` and waits for its end; after `limit` its whole tree is killed. Dropping the future does so too.
    fn run(&self, argv: Vec<String>, limit: Duration) -> Pin<Box<dyn Future<Output = CommandOutcome> + '_>>;
}

/// What came of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutcome {
    /// How it ended; none: its time ran out and its tree was killed.
    pub end: Option<End>,
    /// The first 4 KiB of what it said on either stream; invalid UTF-8 replaced.
    pub output: String,
}

/// Runs the command within `timeout`.
pub(super) async fn ask(
    commands: &dyn RunCommand,
    words: &[Template],
    slots: Slots,
    timeout: Duration,
) -> (Verdict, Option<String>) {
    let argv = words.iter().map(|word| word.render(slots)).collect();
    match tokio::time::timeout(timeout + SLACK, commands.run(argv, timeout)).await {
        Ok(CommandOutcome { end, output }) => {
            (judge(end.as_ref(), &output, timeout), (!output.is_empty()).then_some(output))
        }
        Err(_) => (reason::overdue("the command did not end", timeout), None),
    }
}

fn judge(end: Option<&End>, output: &str, timeout: Duration) -> Verdict {
    match end {
        Some(End::Code(0)) => Verdict::Pass { message: said("exit code 0", output) },
        Some(End::Code(code)) => reason::fail(said(&format!("exit code {code}"), output)),
        Some(End::Signal { signal, .. }) => reason::fail(said(&format!("ended by signal {signal}"), output)),
        Some(End::NotSpawned { stage, errno }) => {
            let errno = Errno::from_raw(*errno);
            let message = format!("the command could not be run ({stage}): {}", errno.desc());
            match errno {
                Errno::EAGAIN | Errno::ENOMEM | Errno::EMFILE | Errno::ENFILE => Verdict::Skip { message },
                _ => reason::error(message),
            }
        }
        Some(End::Unknown) => Verdict::Skip { message: "what became of the command is not known".to_owned() },
        None => reason::overdue("the command did not end", timeout),
    }
}

/// The outcome, and the first thing the command said.
fn said(outcome: &str, output: &str) -> String {
    match output.lines().map(str::trim).find(|line| !line.is_empty()) {
        Some(line) => format!("{outcome}: {}", line.chars().take(QUOTED).collect::<String>()),
        None => outcome.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SpawnStage;
    use crate::model::signal::Signal;
    use crate::model::template::Part;

    struct Scripted(CommandOutcome);

    impl RunCommand for Scripted {
        fn run(&self, argv: Vec<String>, limit: Duration) -> Pin<Box<dyn Future<Output = CommandOutcome> + '_>> {
            assert_eq!((argv, limit), (vec!["check".to_owned(), "8888".to_owned()], Duration::from_secs(5)));
            Box::pin(async { self.0.clone() })
        }
    }

    async fn verdict(outcome: CommandOutcome) -> (Verdict, Option<String>) {
        let words = [Template::text("check"), Template::new(vec![Part::Port])];
        ask(&Scripted(outcome), &words, Slots { index: 1, port: Some(8888) }, Duration::from_secs(5)).await
    }

    fn outcome(end: Option<End>, output: &str) -> CommandOutcome {
        CommandOutcome { end, output: output.to_owned() }
    }

    #[tokio::test]
    async fn the_end_of_the_command_is_the_verdict() {
        let pass = |message: &str| Verdict::Pass { message: message.to_owned() };
        let skip = |message: &str| Verdict::Skip { message: message.to_owned() };
        let not_spawned = |errno: Errno| Some(End::NotSpawned { stage: SpawnStage::Exec, errno: errno as i32 });
        for (end, output, wanted) in [
            (Some(End::Code(0)), "", pass("exit code 0")),
            (Some(End::Code(0)), "\n  fine \nmore", pass("exit code 0: fine")),
            (Some(End::Code(2)), "cannot connect", reason::fail("exit code 2: cannot connect")),
            (Some(End::Signal { signal: Signal::KILL, core: false }), "", reason::fail("ended by signal KILL")),
            (
                not_spawned(Errno::ENOENT),
                "",
                reason::error("the command could not be run (exec): No such file or directory"),
            ),
            (not_spawned(Errno::EAGAIN), "", skip("the command could not be run (exec): Try again")),
            (Some(End::Unknown), "", skip("what became of the command is not known")),
            (None, "half", reason::overdue("the command did not end", Duration::from_secs(5))),
        ] {
            let body = (!output.is_empty()).then(|| output.to_owned());
            assert_eq!(verdict(outcome(end, output)).await, (wanted, body));
        }
    }
}
