//! How a command ends: the exit codes that all commands share, and what is said when one fails.

use std::process::ExitCode;

use crate::client::ClientError;
use crate::model::command::{Denied, DeniedCode};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done, or healthy.
    Done,
    /// It failed.
    Failed,
    /// The command line makes no sense.
    Usage,
    /// Something that should run does not, or is not healthy.
    NotHealthy,
    /// No such service.
    NoSuchService,
    /// The file is not valid.
    ConfigInvalid,
    /// No supervisor can be reached.
    NoSupervisor,
    /// It was waited for, in vain.
    TimedOut,
    /// Ctrl-C.
    Interrupted,
    /// `run` itself went wrong.
    RunTrouble,
    /// The program of `run` cannot be executed.
    CannotExecute,
    /// The program of `run` is not there.
    NotFound,
}

impl Exit {
    /// The number for the shell.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotHealthy => 3,
            Self::NoSuchService => 4,
            Self::ConfigInvalid => 5,
            Self::NoSupervisor => 6,
            Self::TimedOut => 7,
            Self::RunTrouble => 125,
            Self::CannotExecute => 126,
            Self::NotFound => 127,
            Self::Interrupted => 130,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command could not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// What, where, and what to do next.
    #[error("{message}")]
    Told {
        /// The exit code it stands for.
        exit: Exit,
        /// What and where.
        message: String,
        /// What to do next.
        hint: Option<String>,
    },
    /// Nobody reads our stdout any more: a silent end.
    #[error("cannot write to stdout: its reader has gone")]
    PipeClosed,
}

impl Failure {
    /// A failure without advice.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self::Told { exit, message: message.into(), hint: None }
    }

    /// A failure of the general kind, without advice.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Exit::Failed, message)
    }

    /// everup could not be executed again as the parent of what it runs.
    pub(crate) fn no_guardian(exit: Exit, error: &std::io::Error) -> Self {
        let failure = Self::new(exit, format!("cannot start everup's own parent process: {error}"));
        match error.kind() {
            std::io::ErrorKind::NotFound => failure.hint("everup needs /proc: is it mounted here?"),
            _ => failure,
        }
    }

    /// What to do next.
    #[must_use]
    pub(crate) fn hint(mut self, text: impl Into<String>) -> Self {
        if let Self::Told { hint, .. } = &mut self {
            *hint = Some(text.into());
        }
        self
    }

    /// Its exit code.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Told { exit, .. } => *exit,
            Self::PipeClosed => Exit::Done,
        }
    }

    /// Everything there is to say, one fact a line; empty for a silent end.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Told { message, hint: None, .. } => format!("everup: {message}\n"),
            Self::Told { message, hint: Some(hint), .. } => format!("everup: {message}\n  {hint}\n"),
            Self::PipeClosed => String::new(),
        }
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        Self::Told { exit: exit_of(denied.code), message: denied.message, hint: denied.hint }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Denied(denied) => denied.into(),
            ClientError::NoSupervisor { socket, source } => {
                let failure = Self::new(
                    Exit::NoSupervisor,
                    format!("cannot reach a supervisor at {}: {source}", socket.display()),
                );
                match source.kind() {
                    std::io::ErrorKind::PermissionDenied => {
                        failure.hint("it runs as another user; `control: {users: […]}` in its file lets others in")
                    }
                    _ => {
                        failure.hint("`everup up -d` starts it; `everup status` outside a project lists those that run")
                    }
                }
            }
            error @ ClientError::Restarted { .. } => {
                Self::failed(error.to_string()).hint("`everup status` shows what became of it")
            }
            error @ (ClientError::Cut { .. } | ClientError::Silent { .. } | ClientError::Broken { .. }) => {
                Self::new(Exit::NoSupervisor, error.to_string()).hint(
                    "`everup doctor` looks at this machine; the supervisor's own log is everup.log in its state folder",
                )
            }
        }
    }
}

/// The exit code of a refusal.
fn exit_of(code: DeniedCode) -> Exit {
    match code {
        DeniedCode::BadRequest => Exit::Usage,
        DeniedCode::NoSuchService | DeniedCode::NotFound => Exit::NoSuchService,
        DeniedCode::ConfigInvalid => Exit::ConfigInvalid,
        DeniedCode::NotRunning => Exit::NotHealthy,
        DeniedCode::TimedOut => Exit::TimedOut,
        DeniedCode::Unavailable => Exit::NoSupervisor,
        DeniedCode::Unauthorized
        | DeniedCode::Forbidden
        | DeniedCode::MethodNotAllowed
        | DeniedCode::Conflict
        | DeniedCode::Failed
        | DeniedCode::TooLarge
        | DeniedCode::Internal => Exit::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_has_its_exit_code() {
        for (code, exit) in [
            (DeniedCode::BadRequest, 2),
            (DeniedCode::Unauthorized, 1),
            (DeniedCode::Forbidden, 1),
            (DeniedCode::NoSuchService, 4),
            (DeniedCode::NotFound, 4),
            (DeniedCode::MethodNotAllowed, 1),
            (DeniedCode::ConfigInvalid, 5),
            (DeniedCode::Conflict, 1),
            (DeniedCode::NotRunning, 3),
            (DeniedCode::Failed, 1),
            (DeniedCode::TooLarge, 1),
            (DeniedCode::TimedOut, 7),
            (DeniedCode::Unavailable, 6),
            (DeniedCode::Internal, 1),
        ] {
            let denied = Denied { code, message: "no".to_owned(), hint: None };
            assert_eq!(Failure::from(denied).exit().code(), exit, "{code:?}");
        }
    }

    #[test]
    fn a_failure_says_what_and_what_to_do_next() {
        let failure =
            Failure::new(Exit::NoSuchService, "cannot find service wbe in project shop").hint("did you mean web?");
        assert_eq!(failure.text(), "everup: cannot find service wbe in project shop\n  did you mean web?\n");
        assert_eq!(Failure::PipeClosed.text(), "");
    }
}
