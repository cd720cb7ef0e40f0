//! Keys of `dev` with several services: the terminal is everup's own, so a key is a command.

use tokio::sync::mpsc;

use crate::cli::output::{Output, say};
use crate::cli::show::status;
use crate::handle::Handle;
use crate::model::command::{Caller, Command, Denied, DeniedCode, Target};
use crate::model::service::Desired;
use crate::model::status::ServiceKind;
use crate::os::clock;
use crate::os::terminal::{Manner, Taken, Typed, read_typed};

/// What `h` says.
const KEYS: &str = "everup: keys: r restart · s status · q quit";
/// Keys that may wait; further ones are as if not pressed.
const QUEUE: usize = 16;

/// What a key stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// Restart all services, one instance after the other.
    Restart,
    /// Show how the services are.
    Status,
    /// Stop everything; the second time at once.
    Quit,
    /// Say what the keys are.
    Help,
    /// Set what comes apart from what came.
    Gap,
}

impl Key {
    fn of(byte: u8) -> Option<Self> {
        Some(match byte {
            b'r' | b'R' => Self::Restart,
            b's' | b'S' => Self::Status,
            b'q' | b'Q' => Self::Quit,
            b'h' | b'H' | b'?' => Self::Help,
            b'\n' | b'\r' => Self::Gap,
            _ => return None,
        })
    }
}

/// Does what keys say until the engine ends; nothing at all where stdin is no terminal. The terminal is as it was once
/// this is dropped.
pub(crate) async fn listen(handle: Handle, out: Output) {
    let Ok(_taken) = Taken::new(Manner::Keys) else { return };
    let (typed, mut keys) = mpsc::channel(QUEUE);
    // Reading cannot be called off, so the thread is left to the end of the process.
    if std::thread::Builder::new().name("keys".to_owned()).spawn(move || read(&typed)).is_err() {
        return;
    }
    out.talk(KEYS);
    let mut progress = handle.log_progress.clone();
    let mut quits = false;
    loop {
        let key = tokio::select! {
            key = keys.recv() => key,
            grown = progress.changed() => match grown {
                Ok(()) => continue,
                // The engine has ended.
                Err(_) => return,
            },
        };
        match key {
            None => return,
            Some(Key::Help) => say(&format!("{KEYS}\n")),
            Some(Key::Gap) => say("\n"),
            Some(Key::Status) => {
                let now = handle.status().await;
                say(&status::services(now.services.iter(), clock::now().wall, &out.stderr));
            }
            Some(Key::Restart) => {
                out.talk("everup: restarting all services");
                ask(&handle, restart_all(&handle), "key r", out);
            }
            Some(Key::Quit) => {
                out.talk(if quits { "everup: killing all services" } else { "everup: stopping; q again kills" });
                ask(&handle, Command::Down { force: quits }, "key q", out);
                quits = true;
            }
        }
    }
}

/// Passes keys on until there are no more, or nobody wants them.
fn read(typed: &mpsc::Sender<Key>) {
    let mut buffer = [0; 64];
    while let Some(news) = read_typed(&mut buffer) {
        let count = match news {
            Typed::Bytes(count) => count,
            Typed::Foreground => 0,
        };
        // Arrows and the like are several bytes that begin with an escape: no letters of ours.
        let bytes = buffer.get(..count).unwrap_or_default();
        let plain = bytes.split(|byte| *byte == b'\x1b').next().unwrap_or_default();
        for key in plain.iter().copied().filter_map(Key::of) {
            if let Err(mpsc::error::TrySendError::Closed(_)) = typed.try_send(key) {
                return;
            }
        }
    }
}

/// Restarts what should run: a person's stop stays, and tasks that are done stay done.
fn restart_all(handle: &Handle) -> Command {
    let status = handle.snapshot.borrow();
    let wanted = status.services.iter().filter(|one| one.desired == Desired::Up && one.kind == ServiceKind::Service);
    Command::Restart { targets: wanted.map(|one| Target::all(one.name.clone())).collect(), now: false }
}

/// Asks, and says what the answer has to say beyond the events that show how it goes; keys are heard meanwhile.
fn ask(handle: &Handle, command: Command, key: &str, out: Output) {
    let (handle, by) = (handle.clone(), Caller(key.to_owned()));
    tokio::task::spawn_local(async move {
        match handle.ask(command, None, by).await {
            Ok(outcome) => outcome.notes.iter().for_each(|note| out.talk(&format!("everup: {note}"))),
            // It ended before the answer.
            Err(Denied { code: DeniedCode::Unavailable, .. }) => {}
            Err(Denied { message, .. }) => out.trouble(&format!("everup: {message}\n")),
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_whatever_their_case_and_the_rest_is_nothing() {
        for (bytes, expected) in [
            ("rR", Some(Key::Restart)),
            ("sS", Some(Key::Status)),
            ("qQ", Some(Key::Quit)),
            ("hH?", Some(Key::Help)),
            ("\r\n", Some(Key::Gap)),
            ("x \t1", None),
        ] {
            for byte in bytes.bytes() {
                assert_eq!(Key::of(byte), expected, "{byte}");
            }
        }
        assert!(KEYS.contains("r restart") && KEYS.contains("s status") && KEYS.contains("q quit"));
    }
}
