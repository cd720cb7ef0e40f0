//! Another program in place of the engine that runs, without a child noticing.
//!
//! The program is tried beside us (`rehearsal`). Then we wait until nothing would be lost: nobody waits for an answer, no
//! hook or check is under way. We let nobody else in (who comes now waits in the socket that the guardian holds),
//! answer whoever is in, and end; the guardian starts the other program, or this one again.

use std::path::PathBuf;
use std::rc::{Rc, Weak};
use std::time::Duration;

use tokio::sync::oneshot;

use crate::daemon::engine::Engine;
use crate::daemon::news::News;
use crate::daemon::{Mode, rehearsal};
use crate::guardian::protocol::{self, Change};
use crate::model::command::{Caller, Command, Denied, DeniedCode, Upgrading};
use crate::model::event::{EventWord, Fact};
use crate::model::units::{Moment, format_duration};
use crate::os::executable::Executable;

/// How long we wait for what must not be interrupted.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long those who are in have once nobody else is let in.
const LAST_ANSWERS: Duration = Duration::from_secs(10);
/// How long the history may take to be written.
const LAST_ROWS: Duration = Duration::from_secs(1);

/// How a refusal begins.
const NOT_UPGRADED: &str = "not upgraded: ";

/// Where the answer goes.
pub(super) type Reply = oneshot::Sender<Result<Upgrading, Denied>>;

/// An upgrade on its way.
#[derive(Debug)]
pub(super) struct Upgrade {
    binary: PathBuf,
    program: Rc<Executable>,
    change: Change,
    stage: Stage,
    /// When this stage has taken too long; none: it has a limit of its own.
    until: Option<Moment>,
    reply: Option<Reply>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// The program is being asked.
    Rehearsing,
    /// It could take over; something is under way that must not be interrupted.
    Waiting,
    /// Nobody is let in any more.
    Closing,
    /// Nobody is in any more.
    Closed,
}

/// Something that the engine must not end over, by its name; it is over when this is dropped.
pub(super) type Busy = Rc<String>;

/// What the engine must not end over.
#[derive(Debug, Default)]
pub(super) struct Undertakings(Vec<Weak<String>>);

impl Undertakings {
    /// Notes something; it lasts as long as what is returned.
    pub(super) fn begin(&mut self, what: String) -> Busy {
        let what = Rc::new(what);
        self.0.retain(|known| known.strong_count() > 0);
        self.0.push(Rc::downgrade(&what));
        what
    }

    fn names(&self) -> Vec<String> {
        self.0.iter().filter_map(Weak::upgrade).map(|what| String::clone(&what)).collect()
    }
}

impl Engine {
    /// Begins to upgrade to the program at `binary`; whoever asked is answered once it begins to take over, or cannot.
    pub(super) fn begin_upgrade(&mut self, binary: PathBuf, by: Caller, reply: Reply) {
        let (program, memory, language) = match self.prepare_upgrade(&binary) {
            Ok(prepared) => prepared,
            Err(denied) => {
                // An asker that has gone needs no answer.
                let _ = reply.send(Err(denied));
                return;
            }
        };
        let program = Rc::new(program);
        let from = env!("CARGO_PKG_VERSION").to_owned();
        let change = Change { from, to: String::new(), by: by.0 };
        let (processes, inherited, inbox) = (self.processes.clone(), self.inherited.clone(), self.inbox.clone());
        let asked = program.clone();
        tokio::task::spawn_local(async move {
            let answer = rehearsal::ask(processes, &inherited, &asked, &memory, language).await;
            // The loop outlives its tasks.
            let _ = inbox.send(News::Rehearsed(answer)).await;
        });
        self.upgrade =
            Some(Upgrade { binary, program, change, stage: Stage::Rehearsing, until: None, reply: Some(reply) });
    }

    fn prepare_upgrade(&mut self, binary: &std::path::Path) -> Result<(Executable, Vec<u8>, u32), Denied> {
        let conflict = |message: &str, hint: &str| denied(DeniedCode::Conflict, message.to_owned(), hint);
        if let Some(upgrade) = &self.upgrade {
            let message = format!("an upgrade is under way already, asked for by {}", upgrade.change.by);
            return Err(denied(DeniedCode::Conflict, message, "everup events shows what becomes of it"));
        }
        if self.core.is_ending() {
            return Err(conflict("everup is stopping", "everup up starts it with the new program"));
        }
        if !matches!(self.mode, Mode::Up { .. }) {
            let message = "only `everup up` can be upgraded while it runs: what dev and run start ends with everup";
            return Err(conflict(message, "end it and start it with the new program"));
        }
        let memory =
            self.publisher.ledger.copy().map_err(|error| denied(DeniedCode::Internal, error.to_string(), ""))?;
        let Some(memory) = memory else {
            let message =
                "here everything ends with everup's engine (on_supervisor_death: kill), so it cannot be replaced";
            return Err(conflict(message, "everup down, then everup up with the new program"));
        };
        if !binary.is_absolute() {
            let message = format!("cannot take {} as a program: everup runs in another folder", binary.display());
            return Err(denied(DeniedCode::BadRequest, message, "write an absolute path"));
        }
        let program =
            Executable::open(binary).map_err(|unfit| not_upgraded(&format!("{} {unfit}", binary.display())))?;
        let language = self.capabilities.as_ref().map_or(protocol::LANGUAGE, |capabilities| capabilities.language);
        Ok((program, memory, language))
    }

    /// The program has said whether it could take over.
    pub(super) fn rehearsed(&mut self, answer: Result<String, String>) {
        let Some(upgrade) = &mut self.upgrade else { return };
        match answer {
            Ok(version) => {
                upgrade.change.to = version;
                upgrade.stage = Stage::Waiting;
                upgrade.until = Some(self.now.moment.after(PATIENCE));
            }
            Err(why) => {
                let why = format!("{} {why}", upgrade.binary.display());
                self.give_up_upgrade(not_upgraded(&why));
            }
        }
    }

    /// Everybody has left.
    pub(super) fn doors_are_closed(&mut self) {
        if let Some(upgrade) = self.upgrade.as_mut().filter(|upgrade| upgrade.stage == Stage::Closing) {
            upgrade.stage = Stage::Closed;
        }
    }

    /// Goes on with an upgrade that is on its way. True: this engine is to hand over now.
    pub(super) fn go_on_upgrading(&mut self) -> bool {
        let Some(stage) = self.upgrade.as_ref().map(|upgrade| upgrade.stage) else { return false };
        if self.core.is_ending() {
            self.give_up_upgrade(not_upgraded("everup is stopping"));
            return false;
        }
        let Some(upgrade) = &mut self.upgrade else { return false };
        let is_late = upgrade.until.is_some_and(|until| until <= self.now.moment);
        let awaited = if stage == Stage::Rehearsing { vec![] } else { self.awaited() };
        match stage {
            Stage::Rehearsing => {}
            Stage::Waiting if awaited.is_empty() => self.close_doors(),
            Stage::Closed if awaited.is_empty() => return true,
            Stage::Waiting if is_late => {
                let patience = format_duration(PATIENCE);
                let message = format!("not upgraded: after {patience} still under way: {}", awaited.join(", "));
                self.give_up_upgrade(denied(DeniedCode::Conflict, message, "try again when that is over"));
            }
            Stage::Closing | Stage::Closed if is_late => {
                let message = if awaited.is_empty() {
                    "answers were still under way".to_owned()
                } else {
                    format!("still under way: {}", awaited.join(", "))
                };
                self.give_up_upgrade(not_upgraded(&message));
            }
            Stage::Waiting | Stage::Closing | Stage::Closed => {}
        }
        false
    }

    /// When [`Self::go_on_upgrading`] must be called although nothing has happened.
    pub(super) fn upgrade_deadline(&self) -> Option<Moment> {
        self.upgrade.as_ref().and_then(|upgrade| upgrade.until)
    }

    /// What would be lost if the engine ended now.
    fn awaited(&mut self) -> Vec<String> {
        self.waits.retain(|id, _| self.replies.get(id).is_some_and(|reply| !reply.is_closed()));
        self.waits.values().cloned().chain(self.undertakings.names()).collect()
    }

    fn close_doors(&mut self) {
        let Some(upgrade) = &mut self.upgrade else { return };
        upgrade.stage = Stage::Closing;
        upgrade.until = Some(self.now.moment.after(LAST_ANSWERS));
        let Change { from, to, .. } = &upgrade.change;
        let answer = Upgrading { v: 1, from: from.clone(), to: to.clone(), seq: self.publisher.last_seq() };
        if upgrade.reply.take().is_some_and(|reply| reply.send(Ok(answer)).is_err()) {
            // Whoever asked has gone, and nothing has begun.
            self.upgrade = None;
            return;
        }
        let _ = self.stopping.send(true);
        let (servers, inbox) = (self.doors.take_servers(), self.inbox.clone());
        tokio::task::spawn_local(async move {
            for server in servers {
                // One that panicked is over, too.
                let _ = server.await;
            }
            // The loop outlives its tasks.
            let _ = inbox.send(News::DoorsClosed).await;
        });
    }

    /// This engine stays. Whoever asked is told why, or the timeline is.
    fn give_up_upgrade(&mut self, why: Denied) {
        let Some(Upgrade { stage, change, reply, .. }) = self.upgrade.take() else { return };
        tracing::warn!(why.message, "not upgraded");
        if let Some(reply) = reply {
            // An asker that has gone needs no answer.
            let _ = reply.send(Err(why));
            return;
        }
        let reason = why.message.strip_prefix(NOT_UPGRADED).unwrap_or(&why.message);
        self.tell_of_upgrade(&change, Some(reason), None);
        if matches!(stage, Stage::Closing | Stage::Closed) && !self.core.is_ending() {
            let _ = self.stopping.send(false);
            if let Err(error) = self.open_doors() {
                tracing::error!(%error, "cannot open a door again");
            }
        }
    }

    /// Writes down an upgrade, or why there was none; `gap` is how long there was no engine, in milliseconds.
    pub(super) fn tell_of_upgrade(&mut self, change: &Change, failed: Option<&str>, gap: Option<u64>) {
        let Change { from, to, by } = change;
        let gap_words = gap.map(|ms| format!(", {ms} ms without an engine")).unwrap_or_default();
        let (event, message) = match failed {
            None => (EventWord::Upgraded, format!("{from} → {to} by {by}{gap_words}")),
            Some(why) => (EventWord::UpgradeFailed, format!("to {to}: {why}; {from} goes on{gap_words}")),
        };
        let wall = self.now.wall;
        self.publisher.fact(Fact { message: Some(message), ran_ms: gap, ..Fact::new(event) }, wall);
    }

    /// Writes down what is not yet, and ends so that the guardian starts the other program.
    #[expect(clippy::disallowed_methods, reason = "destructors would take away what the successor goes on with")]
    pub(super) async fn hand_over(&mut self) {
        let Some(Upgrade { program, change, .. }) = self.upgrade.take() else { return };
        self.last_messages("everup was upgraded meanwhile").await;
        self.keeper.write(self.state(false));
        self.publisher.recorder.flush(LAST_ROWS);
        self.processes.upgrade(change, &program);
        std::process::exit(0);
    }
}

/// A command with whoever asked for it, for people.
pub(super) fn words(command: &Command, by: &Caller) -> String {
    let what = match command {
        Command::Start(_) => "start",
        Command::Stop(_) => "stop",
        Command::Restart { .. } => "restart",
        Command::Reload(_) => "reload",
        Command::Signal { .. } => "signal",
        Command::Scale { .. } => "scale",
        Command::Apply { .. } => "up",
        Command::Interrupt { .. } => "an interrupt",
        Command::Down { .. } => "down",
    };
    let targets: &[_] = match command {
        Command::Start(targets) | Command::Stop(targets) | Command::Reload(targets) => targets,
        Command::Restart { targets, .. } | Command::Signal { targets, .. } => targets,
        Command::Scale { .. } | Command::Apply { .. } | Command::Interrupt { .. } | Command::Down { .. } => &[],
    };
    let whom: Vec<&str> = targets.iter().map(|target| target.service.as_str()).collect();
    let whom = if whom.is_empty() { String::new() } else { format!(" {}", whom.join(" ")) };
    format!("{what}{whom} (asked for by {})", by.0)
}

fn not_upgraded(why: &str) -> Denied {
    denied(DeniedCode::Conflict, format!("{NOT_UPGRADED}{why}"), "the running one goes on as it was")
}

fn denied(code: DeniedCode, message: String, hint: &str) -> Denied {
    Denied { code, message, hint: Some(hint.to_owned()).filter(|hint| !hint.is_empty()) }
}
