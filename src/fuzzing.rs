//! What a fuzzer feeds: every place where bytes of others are read, each as one function that panics when it finds
//! something. `tests/fuzz` runs them with libFuzzer; what it found is kept in `tests/data/fuzz` and runs with the tests.
//!
//! Not part of the program: compiled for tests and for fuzzing only.

use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::config::{self, Surroundings};
use crate::guardian::protocol::{self, FromGuardian, LONGEST_PACKET, ToGuardian};
use crate::os::{notify, seqpacket};

/// Reads bytes; may write into the folder, which is its own.
pub type Target = fn(&[u8], &Path);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 6] = [
    ("config", config),
    ("control", crate::server::fuzz::control),
    ("guardian", guardian),
    ("logs", crate::logs::fuzz::logs),
    ("notify", notify),
    ("state", crate::daemon::fuzz::state),
];

/// A text as `supervisor.yaml`: refused with words, or a plan that can be shown, whose showing holds no secret.
pub fn config(data: &[u8], folder: &Path) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let around = Surroundings {
        environment: [("PORT", "8888"), ("API_TOKEN", SECRET), ("EMPTY", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        everup: PathBuf::from("/usr/bin/everup"),
        is_root: false,
        can_write: |_| true,
    };
    match config::parse(text, &folder.join("supervisor.yaml"), folder, &around) {
        Err(diagnostics) => {
            assert!(!diagnostics.is_valid(), "refused without an error");
            let _ = (diagnostics.render(true), diagnostics.to_string());
        }
        Ok(plan) => {
            let _ = config::show(&plan, None);
            let developed = config::develop::develop(plan, &around);
            let again = config::develop::develop(developed.plan.clone(), &around);
            assert_eq!(developed.plan, again.plan, "developing twice changes something");
        }
    }
}

/// The environment's one secret while a text is read.
const SECRET: &str = "hunter2-correct-horse";

/// A datagram of a service.
pub fn notify(data: &[u8], _: &Path) {
    for message in notify::parse(data) {
        match message {
            notify::Message::Status(text) => {
                assert!(text.chars().count() <= 256 && !text.chars().any(char::is_control), "{text:?}");
            }
            notify::Message::MainPid(pid) => assert!(pid.0 > 1, "{pid:?} is nobody's"),
            _ => {}
        }
    }
}

/// A packet between engine and guardian, in both directions: what can be read says the same when it is sent on.
pub fn guardian(data: &[u8], _: &Path) {
    let packet = data.get(..data.len().min(LONGEST_PACKET)).unwrap_or_default();
    if packet.is_empty() {
        return;
    }
    let read = || -> io::Result<()> {
        let (one, other) = seqpacket::pair()?;
        let mut buffer = vec![0; LONGEST_PACKET + 1];
        seqpacket::send(one.as_fd(), packet, &[])?;
        if let Ok((message, fds)) = protocol::receive::<ToGuardian>(other.as_fd(), &mut buffer) {
            assert!(fds.is_empty(), "a descriptor out of nothing");
            protocol::send(one.as_fd(), &message, &[])?;
            let (again, _) = protocol::receive::<ToGuardian>(other.as_fd(), &mut buffer)?;
            assert_eq!(message, again);
        }
        seqpacket::send(one.as_fd(), packet, &[])?;
        if let Ok((message, _)) = protocol::receive::<FromGuardian>(other.as_fd(), &mut buffer) {
            protocol::send(one.as_fd(), &message, &[])?;
            let (again, _) = protocol::receive::<FromGuardian>(other.as_fd(), &mut buffer)?;
            assert_eq!(message, again);
        }
        Ok(())
    };
    if let Err(error) = read() {
        panic!("what was read cannot be sent on: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_once_found_stays_mended() {
        let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/fuzz");
        for (name, target) in TARGETS {
            let scratch = tempfile::tempdir().unwrap();
            let mut count = 0;
            for entry in std::fs::read_dir(kept.join(name)).unwrap() {
                let path = entry.unwrap().path();
                println!("{}", path.display());
                target(&std::fs::read(&path).unwrap(), scratch.path());
                count += 1;
            }
            assert!(count > 0, "nothing is kept for {name}");
        }
    }
}
