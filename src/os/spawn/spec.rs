//! What is to be run, as plain data that travels between the engine and the guardian.

use std::ffi::{CStr, CString, OsStr, c_char};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr;

use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::model::service::SpawnStage;
use crate::os::cgroup::bounds::Most;

/// A process to be made. Everything is looked up already: nothing in it depends on `PATH` or the user database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpawnSpec {
    /// The program's path, absolute.
    pub program: CString,
    /// Its arguments, the first being its own name.
    pub argv: Strings,
    /// Its whole environment, each `KEY=value`.
    pub env: Strings,
    /// Where it runs.
    pub cwd: CString,
    /// Its session and terminal.
    pub session: Session,
    /// Who it runs as; none: as we do.
    pub credentials: Option<Credentials>,
    /// Its umask; none: ours.
    pub umask: Option<u32>,
    /// Its nice value; none: ours.
    pub nice: Option<i32>,
    /// Its resource limits.
    pub limits: Limits,
    /// What its whole tree may use, by control groups; whoever makes it sees to that.
    pub most: Most,
    /// Whether its environment holds LISTEN_PID besides: its own process id, which nobody knows before it is made.
    pub listen_pid: bool,
}

impl SpawnSpec {
    /// A process in a session of its own; what is not named here is inherited and may be set afterwards.
    ///
    /// # Errors
    /// Stage `exec` with `EINVAL` when a text holds a NUL byte, which no program can be given.
    pub fn new<A, K, V>(
        program: &Path,
        argv: impl IntoIterator<Item = A>,
        env: impl IntoIterator<Item = (K, V)>,
        cwd: &Path,
    ) -> Result<Self, SpawnFailure>
    where
        A: AsRef<OsStr>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        let refused = SpawnFailure { stage: SpawnStage::Exec, errno: libc::EINVAL };
        let path = |path: &Path| CString::new(path.as_os_str().as_bytes()).map_err(|_| refused);
        let mut arguments = Strings::default();
        for argument in argv {
            arguments.push(&[argument.as_ref().as_bytes()]).ok_or(refused)?;
        }
        let mut environment = Strings::default();
        for (key, value) in env {
            environment.push(&[key.as_ref().as_bytes(), b"=", value.as_ref().as_bytes()]).ok_or(refused)?;
        }
        Ok(Self {
            program: path(program)?,
            argv: arguments,
            env: environment,
            cwd: path(cwd)?,
            session: Session::New,
            credentials: None,
            umask: None,
            nice: None,
            limits: Limits::default(),
            most: Most::default(),
            listen_pid: false,
        })
    }
}

/// The session a process runs in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Session {
    /// One of its own, without a terminal.
    New,
    /// Ours, and our process group.
    Keep,
    /// One of its own, whose controlling terminal is its stdin.
    Terminal,
}

/// Who a process runs as, in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credentials {
    /// The user.
    pub uid: u32,
    /// The main group.
    pub gid: u32,
    /// All supplementary groups.
    pub groups: Vec<u32>,
}

/// Resource limits, soft and hard alike; none: inherited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// `RLIMIT_NOFILE`.
    pub open_files: Option<u64>,
    /// `RLIMIT_CORE`, in bytes.
    pub core: Option<u64>,
    /// `RLIMIT_NPROC`.
    pub processes: Option<u64>,
}

/// Why a process did not come to run its program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot start the process at stage {stage} (errno {errno})")]
pub struct SpawnFailure {
    /// What was being done.
    pub stage: SpawnStage,
    /// The kernel's error number.
    pub errno: i32,
}

/// A list of C strings in one allocation: what execve(2) takes, and what travels without being taken apart.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Strings(Vec<u8>);

impl Strings {
    /// Appends one string, made of `parts` joined together; none when a part holds a NUL byte.
    pub fn push(&mut self, parts: &[&[u8]]) -> Option<()> {
        if parts.iter().any(|part| part.contains(&0)) {
            return None;
        }
        for part in parts {
            self.0.extend_from_slice(part);
        }
        self.0.push(0);
        Some(())
    }

    /// The strings in their order.
    pub fn iter(&self) -> impl Iterator<Item = &CStr> {
        // The block ends with a NUL (`push` and deserialising see to it), so every piece is a whole C string.
        self.0.split_inclusive(|byte| *byte == 0).filter_map(|piece| CStr::from_bytes_with_nul(piece).ok())
    }

    /// Their addresses and `more`, closed by a null pointer; valid as long as `self` is neither changed nor dropped.
    pub(super) fn pointers(&self, more: Option<*const c_char>) -> Vec<*const c_char> {
        self.iter().map(CStr::as_ptr).chain(more).chain([ptr::null()]).collect()
    }
}

impl Serialize for Strings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Strings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Block;
        impl Visitor<'_> for Block {
            type Value = Strings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("strings, each closed by a NUL byte")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Strings, E> {
                match bytes.last() {
                    None | Some(0) => Ok(Strings(bytes.to_vec())),
                    Some(_) => Err(E::custom("the last string is not closed")),
                }
            }
        }
        deserializer.deserialize_bytes(Block)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_travel_whole_even_when_empty() {
        let mut strings = Strings::default();
        for text in ["web", "", "a=b"] {
            strings.push(&[text.as_bytes()]).unwrap();
        }
        let bytes = postcard::to_stdvec(&strings).unwrap();
        let back: Strings = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(back.iter().map(|s| s.to_str().unwrap()).collect::<Vec<_>>(), ["web", "", "a=b"]);
        assert_eq!(back.pointers(None).len(), 4);
        assert!(postcard::from_bytes::<Strings>(&[2, b'a', b'b']).is_err(), "an open end must not reach execve");
    }

    #[test]
    fn a_nul_byte_is_refused_wherever_it_stands() {
        let none: [(&str, &str); 0] = [];
        let at = |program: &str, argument: &str, cwd: &str| {
            SpawnSpec::new(Path::new(program), [argument], none, Path::new(cwd)).map(|_| ())
        };
        assert_eq!(at("/bin/true", "true", "/"), Ok(()));
        for (program, argument, cwd) in [("/bin/\0", "x", "/"), ("/bin/true", "a\0b", "/"), ("/bin/true", "x", "/\0")] {
            assert_eq!(at(program, argument, cwd).unwrap_err().errno, libc::EINVAL);
        }
        assert!(SpawnSpec::new(Path::new("/x"), ["x"], [("A", "b\0")], Path::new("/")).is_err());
    }
}
