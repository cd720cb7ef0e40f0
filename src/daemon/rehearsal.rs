//! Whether a program could take over from the engine that runs: it is asked itself, and shown all that the engine keeps.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::daemon::commands::carry_out;
use crate::daemon::ledger::record;
use crate::daemon::perform::told_of;
use crate::daemon::processes::Processes;
use crate::daemon::spawn::Inherited;
use crate::daemon::state;
use crate::guardian::protocol::{LANGUAGE, SocketKey};
use crate::guardian::{ROLE_REHEARSAL, ROLE_VARIABLE};
use crate::history;
use crate::model::service::End;
use crate::os::environment;
use crate::os::executable::Executable;
use crate::os::memfd;
use crate::os::spawn::{Session, SpawnSpec};

/// How long a program may take to answer.
const LIMIT: Duration = Duration::from_secs(5);
/// The variable that holds the question.
const QUESTION_VARIABLE: &str = "EVERUP_REHEARSAL";
/// Where the program itself lies among its descriptors, and where what the engine keeps does. Not stdin: what is no
/// everup must not read it by chance.
const PROGRAM: &str = "/proc/self/fd/3";
const MEMORY: &str = "/proc/self/fd/4";

/// What a program must be able to work with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Question {
    v: u32,
    /// What the guardian speaks.
    language: u32,
    /// The shape of the history.
    history: u32,
    /// The version of the state file.
    state: u32,
    /// The command line that it would be started with.
    arguments: Vec<String>,
}

/// What a program says to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    v: u32,
    version: String,
    ok: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// Asks `program` whether it could take over; `memory` is what the engine keeps, `language` what the guardian speaks.
/// Its version, or why it could not, in words that follow its path.
pub(super) async fn ask(
    processes: Processes,
    inherited: &Inherited,
    program: &Executable,
    memory: &[u8],
    language: u32,
) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot be tried: {error}");
    let memory = memfd::holding(memory).map_err(failed)?;
    let arguments = std::env::args_os().filter_map(|word| word.into_string().ok()).collect();
    let question = Question { v: 1, language, history: history::SCHEMA, state: state::VERSION, arguments };
    let question = serde_json::to_string(&question).map_err(|error| failed(error.into()))?;
    let mut environment = inherited.clone();
    environment.insert(ROLE_VARIABLE.into(), ROLE_REHEARSAL.into());
    environment.insert(QUESTION_VARIABLE.into(), question.into());
    // Whatever does not know its role does nothing worse than this.
    let words = ["everup", "--version"];
    let spec = SpawnSpec::new(PROGRAM.as_ref(), words, environment, "/".as_ref())
        .map_err(|failure| failed(std::io::Error::from_raw_os_error(failure.errno)))?;
    let spec = SpawnSpec { session: Session::New, ..spec };
    let held: Vec<SocketKey> = [program.as_fd(), memory.as_fd()].map(|fd| processes.hold(fd)).into();
    let outcome = carry_out(&processes, "rehearsal".to_owned(), spec, None, held.clone(), LIMIT).await;
    for key in held {
        processes.release(key);
    }
    understand(outcome.end.as_ref(), &outcome.output)
}

fn understand(end: Option<&End>, output: &str) -> Result<String, String> {
    let Some(end) = end else { return Err(format!("did not answer within {} s", LIMIT.as_secs())) };
    if let End::NotSpawned { .. } = end {
        return Err(format!("cannot be executed: {}", told_of(end, "")));
    }
    let answer = output.lines().find_map(|line| serde_json::from_str::<Answer>(line).ok());
    match answer {
        Some(Answer { ok: true, version, .. }) if *end == End::Code(0) => Ok(version),
        Some(Answer { version, why: Some(why), .. }) => Err(format!("is everup {version}, which {why}")),
        // One from before it could be asked.
        None if *end == End::Code(0) && output.starts_with("everup ") => {
            Err(format!("is {}, which cannot take over from another", output.trim()))
        }
        Some(_) | None => Err(format!("does not answer as everup does ({})", told_of(end, output))),
    }
}

/// Is the program that is asked: prints what it says. `reads` tells whether it understands a command line.
pub fn answer(reads: impl FnOnce(Vec<String>) -> bool) -> String {
    let why = could_take_over(reads).err();
    let answer = Answer { v: 1, version: env!("CARGO_PKG_VERSION").to_owned(), ok: why.is_none(), why };
    // A few plain words can always be written.
    serde_json::to_string(&answer).unwrap_or_default()
}

fn could_take_over(reads: impl FnOnce(Vec<String>) -> bool) -> Result<(), String> {
    let question = environment::take(QUESTION_VARIABLE).unwrap_or_default();
    let question: Question = serde_json::from_str(&question.to_string_lossy())
        .map_err(|error| format!("does not understand what it was asked: {error}"))?;
    question.suits()?;
    if !reads(question.arguments) {
        return Err("does not understand the command line that the running one was started with".to_owned());
    }
    let memory = File::open(MEMORY).map_err(|error| format!("cannot read what the running one keeps: {error}"))?;
    record::read(memory.into()).map(drop).map_err(|error| format!("says: {error}"))
}

impl Question {
    fn suits(&self) -> Result<(), String> {
        let next = "`everup down` and `everup up` start it";
        if self.language != LANGUAGE {
            return Err(format!("cannot work with the running guardian process: {next}"));
        }
        if self.history > history::SCHEMA {
            return Err("is older than the one that runs, and could not go on with its history.db".to_owned());
        }
        if self.state > state::VERSION {
            return Err("is older than the one that runs, and could not go on with its state.json".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::service::SpawnStage;

    fn question() -> Question {
        Question { v: 1, language: LANGUAGE, history: history::SCHEMA, state: state::VERSION, arguments: vec![] }
    }

    #[test]
    fn an_older_program_refuses_what_it_could_not_go_on_with() {
        question().suits().unwrap();
        Question { history: history::SCHEMA - 1, state: 1, ..question() }.suits().unwrap();
        for newer in [
            Question { language: LANGUAGE + 1, ..question() },
            Question { history: history::SCHEMA + 1, ..question() },
            Question { state: state::VERSION + 1, ..question() },
        ] {
            assert!(newer.suits().is_err(), "{newer:?}");
        }
    }

    #[test]
    fn every_answer_is_told_in_words() {
        let ok = r#"{"v":1,"version":"0.2.0","ok":true}"#;
        assert_eq!(understand(Some(&End::Code(0)), &format!("a warning\n{ok}\n")), Ok("0.2.0".to_owned()));
        let no = r#"{"v":1,"version":"0.0.9","ok":false,"why":"says: no"}"#;
        let not_spawned = End::NotSpawned { stage: SpawnStage::Exec, errno: libc::ENOEXEC };
        for (end, output, expected) in [
            (Some(End::Code(0)), no, "is everup 0.0.9, which says: no"),
            (Some(End::Code(3)), ok, "does not answer as everup does (exit code 3"),
            (Some(End::Code(0)), "everup 0.0.1\n", "is everup 0.0.1, which cannot take over from another"),
            (Some(End::Code(1)), "what?\n", "does not answer as everup does (exit code 1: what?)"),
            (Some(End::Code(0)), "", "does not answer as everup does (exit code 0)"),
            (Some(not_spawned), "", "cannot be executed: Exec format error"),
            (None, ok, "did not answer within 5 s"),
        ] {
            let told = understand(end.as_ref(), output).unwrap_err();
            assert!(told.starts_with(expected), "{told}");
        }
    }
}
