//! Requests from the doors on their way to the core.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::config::develop::develop;
use crate::core::event::{Event, RequestId};
use crate::daemon::Mode;
use crate::daemon::engine::Engine;
use crate::daemon::startup::FileMark;
use crate::daemon::upgrade::words;
use crate::handle::Request;
use crate::model::command::{Caller, Command, Denied, DeniedCode, Outcome};
use crate::model::event::{EventWord, Fact};
use crate::model::plan::Plan;

type Reply = oneshot::Sender<Result<Outcome, Denied>>;

impl Engine {
    /// Takes one request; most become an event for the core.
    pub(super) fn take_request(&mut self, request: Request) -> Option<Event> {
        self.now = crate::os::clock::now();
        match request {
            Request::Ask { command, wait, by, reply } => Some(self.open(command, wait, by, reply)),
            Request::Up { config, start, dry_run, wait, by, reply } => {
                if !dry_run {
                    self.announce_reload();
                }
                match self.read_again(config) {
                    Ok((plan, mark)) => {
                        if !dry_run {
                            self.announce_verdict(false);
                            self.publisher.meter.config_reloaded(true);
                            self.publisher.ledger.reads(&mark);
                            (self.file, self.has_drifted) = (mark, false);
                        }
                        let command = Command::Apply { plan: Arc::new(plan), start, dry_run };
                        Some(self.open(command, wait, by, reply))
                    }
                    Err(denied) => {
                        if !dry_run {
                            self.announce_verdict(true);
                            self.publisher.meter.config_reloaded(false);
                            let fact =
                                Fact { message: Some(denied.message.clone()), ..Fact::new(EventWord::ConfigRejected) };
                            self.publisher.fact(fact, self.now.wall);
                        }
                        // An asker that has gone needs no answer.
                        let _ = reply.send(Err(denied));
                        None
                    }
                }
            }
            Request::Upgrade { binary, by, reply } => {
                self.begin_upgrade(binary, by, reply);
                None
            }
            Request::Probe { target, reply } => {
                self.probe_now(&target, reply);
                None
            }
            Request::Trees { service, reply } => {
                // An asker that has gone needs no answer.
                let _ = reply.send(self.trees_of(&service));
                None
            }
            Request::Sample { reply } => {
                self.sample();
                // An asker that has gone needs no answer.
                let _ = reply.send(());
                None
            }
        }
    }

    fn open(&mut self, command: Command, wait: Option<Duration>, by: Caller, mut reply: Reply) -> Event {
        self.last_request += 1;
        let id = RequestId(self.last_request);
        if wait.is_some() {
            // Whoever stops waiting is told nothing, and nothing waits for them.
            self.waits.insert(id, words(&command, &by));
            let (inbox, (relay, answer)) = (self.inbox.clone(), oneshot::channel());
            self.replies.insert(id, relay);
            tokio::task::spawn_local(async move {
                tokio::select! {
                    answered = answer => if let Ok(result) = answered { let _ = reply.send(result); },
                    () = reply.closed() => { let _ = inbox.send(Event::Abandoned { id }.into()).await; }
                }
            });
        } else {
            self.replies.insert(id, reply);
        }
        Event::Asked { id, command, wait, by }
    }

    /// Makes reality match the file, because of `why`; a bad file changes nothing and is said in the log and events.
    pub(super) fn apply_file(&mut self, why: &str) {
        let (reply, _nobody) = oneshot::channel();
        let by = Caller(why.to_owned());
        let request = Request::Up { config: None, start: vec![], dry_run: false, wait: None, by, reply };
        if let Some(event) = self.take_request(request) {
            self.advance(vec![event]);
        }
    }

    fn read_again(&mut self, config: Option<PathBuf>) -> Result<(Plan, FileMark), Denied> {
        let running = self.core.plan().clone();
        let Some(known) = running.file.clone() else {
            return Err(conflict("this project has no file: it was started by everup run".to_owned(), None));
        };
        let path = config.unwrap_or_else(|| known.clone());
        let same = std::fs::canonicalize(&path).ok() == std::fs::canonicalize(&known).ok();
        if !same {
            let message = format!("this everup runs {}, not {}", known.display(), path.display());
            return Err(conflict(message, Some("everup down ends it".to_owned())));
        }
        // Before it is read: what is saved meanwhile is a change still to be applied.
        let mark = FileMark::of(&path);
        let plan = self.load(&path)?;
        if plan.state_dir != running.state_dir || plan.control != running.control || plan.web != running.web {
            let message = "state_dir, control and web are taken at the start only".to_owned();
            return Err(conflict(message, Some("everup down, then everup up".to_owned())));
        }
        self.listeners.rehearse(&plan, &running).map_err(|error| {
            let hint = "nothing was changed; free the address, or write another one";
            conflict(error.to_string(), Some(hint.to_owned()))
        })?;
        self.slim_later();
        Ok((plan, mark))
    }

    fn load(&self, path: &Path) -> Result<Plan, Denied> {
        let plan = crate::config::load(path, &self.surroundings).map_err(|diagnostics| Denied {
            code: DeniedCode::ConfigInvalid,
            message: diagnostics.render(false),
            hint: Some("nothing was changed; everup check shows the same".to_owned()),
        })?;
        Ok(match self.mode {
            Mode::Dev { .. } => develop(plan, &self.surroundings).plan,
            Mode::Up { .. } | Mode::Run { .. } => plan,
        })
    }
}

fn conflict(message: String, hint: Option<String>) -> Denied {
    Denied { code: DeniedCode::Conflict, message, hint }
}
