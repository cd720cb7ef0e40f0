//! Changes that can be asked for, and waiting for them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::client::http::{Answer, Ask, encode};
use crate::client::{ATTEMPTS, ClientError, PATIENCE, PAUSE, parse, reach};
use crate::model::command::{Denied, DeniedCode, Outcome};
use crate::model::names::ServiceName;
use crate::model::signal::Signal;
use crate::model::units::millis;

/// A change. Selectors are `web`, `web/2` or `web*`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Start it and what it needs.
    Start(String),
    /// Stop it and hold it.
    Stop(String),
    /// Stop and start it again.
    Restart {
        /// Which.
        selector: String,
        /// All instances at once.
        now: bool,
    },
    /// Swap to new code the way `reload:` says.
    Reload(String),
    /// Send a signal to its main process.
    Signal {
        /// Which.
        selector: String,
        /// Which signal.
        signal: Signal,
    },
    /// Run this many instances.
    Scale {
        /// Of what.
        service: String,
        /// 0 to 1000.
        instances: u32,
    },
    /// Read the file again and apply it.
    Up {
        /// Another file than the running one; a relative path counts from here.
        config: Option<PathBuf>,
        /// Services to start besides.
        start: Vec<ServiceName>,
        /// Only say what would be done.
        dry_run: bool,
    },
    /// Stop everything, then everup.
    Down {
        /// Kill everything at once.
        force: bool,
    },
}

impl Action {
    pub(crate) fn ask(&self, wait: Option<Duration>) -> Result<Ask, ClientError> {
        let on = |selector: &str, verb: &str| format!("/v1/services/{}/{verb}", encode(selector));
        let (path, body) = match self {
            Self::Start(selector) => (on(selector, "start"), None),
            Self::Stop(selector) => (on(selector, "stop"), None),
            Self::Restart { selector, now: false } => (on(selector, "restart"), None),
            Self::Restart { selector, now: true } => (on(selector, "restart") + "?now=true", None),
            Self::Reload(selector) => (on(selector, "reload"), None),
            Self::Signal { selector, signal } => (on(selector, "signal"), Some(json!({ "signal": signal }))),
            Self::Scale { service, instances } => (on(service, "scale"), Some(json!({ "instances": instances }))),
            Self::Up { config, start, dry_run } => {
                let config = config.as_ref().map(as_text).transpose()?;
                ("/v1/up".to_owned(), Some(json!({ "config": config, "start": start, "dry_run": dry_run })))
            }
            Self::Down { force } => ("/v1/down".to_owned(), Some(json!({ "force": force }))),
        };
        // A signal is sent or not; there is nothing to wait for.
        let wait = wait.filter(|_| !matches!(self, Self::Signal { .. }));
        let wait = wait.map(|wait| format!("{}wait={}ms", if path.contains('?') { "&" } else { "?" }, millis(wait)));
        Ok(Ask::post(path + wait.as_deref().unwrap_or_default(), body.map(|body| body.to_string())))
    }
}

impl Action {
    /// Whether asking for it twice is the same as asking for it once.
    pub(crate) fn is_repeatable(&self) -> bool {
        match self {
            Self::Start(_) | Self::Stop(_) | Self::Scale { .. } | Self::Up { .. } | Self::Down { .. } => true,
            Self::Restart { .. } | Self::Reload(_) | Self::Signal { .. } => false,
        }
    }

    /// What a connection that ended over it means.
    pub(crate) fn after(error: ClientError, socket: &Path) -> ClientError {
        match error {
            // Whoever answers there now may know of it or not.
            ClientError::Cut { .. } => match reach(socket) {
                Ok(_) => ClientError::Restarted { socket: socket.to_owned() },
                Err(gone) => gone,
            },
            error => error,
        }
    }

    /// Where nobody is left to answer, everything is down.
    pub(crate) fn done_by(&self, error: ClientError) -> Result<Outcome, ClientError> {
        match (self, error) {
            (Self::Down { .. }, ClientError::NoSupervisor { .. }) => Ok(Outcome { done: true, ..Outcome::default() }),
            (_, error) => Err(error),
        }
    }
}

/// The file as an absolute path that JSON can carry.
fn as_text(config: &PathBuf) -> Result<String, Denied> {
    let refused = |message: String| Denied { code: DeniedCode::BadRequest, message, hint: None };
    let absolute =
        std::path::absolute(config).map_err(|e| refused(format!("cannot take {} as a file: {e}", config.display())))?;
    absolute
        .into_os_string()
        .into_string()
        .map_err(|_| refused(format!("cannot take {} as a file: its name is not UTF-8", config.display())))
}

/// A change that was asked for and not answered yet. Dropping it leaves the change under way.
#[derive(Debug)]
pub struct Pending {
    socket: PathBuf,
    answer: Option<Answer>,
    action: Action,
    wait: Option<Duration>,
    /// How often it may be asked for once more.
    attempts: u32,
}

impl Pending {
    pub(crate) fn new(socket: PathBuf, answer: Answer, action: Action, wait: Option<Duration>) -> Self {
        let attempts = if action.is_repeatable() { ATTEMPTS } else { 0 };
        Self { socket, answer: Some(answer), action, wait, attempts }
    }

    /// Waits up to `limit` for the answer; none when it is not there yet, or was given before.
    ///
    /// # Errors
    /// [`ClientError`]; denied with `TimedOut` when `wait` ran out.
    pub fn poll(&mut self, limit: Duration) -> Result<Option<Outcome>, ClientError> {
        match self.answered(limit) {
            Err(error) if error.is_cut() && self.attempts > 0 => {
                self.attempts -= 1;
                std::thread::park_timeout(PAUSE.min(limit));
                match self.ask_again() {
                    Ok(()) => Ok(None),
                    Err(error) => self.action.done_by(error).map(Some),
                }
            }
            Err(error) => Err(Action::after(error, &self.socket)),
            answered => answered,
        }
    }

    fn answered(&mut self, limit: Duration) -> Result<Option<Outcome>, ClientError> {
        let Some(answer) = &mut self.answer else {
            return Ok(None);
        };
        if !answer.began(limit).map_err(|fault| fault.at(&self.socket))? {
            return Ok(None);
        }
        let Some(answer) = self.answer.take() else {
            return Ok(None);
        };
        let text = answer.text(Some(PATIENCE)).map_err(|fault| fault.at(&self.socket))?.success(&self.socket)?;
        parse(&self.socket, &text).map(Some)
    }

    fn ask_again(&mut self) -> Result<(), ClientError> {
        let ask = self.action.ask(self.wait)?;
        self.answer = Some(Answer::to(&ask, reach(&self.socket)?).map_err(|fault| fault.at(&self.socket))?);
        Ok(())
    }
}
