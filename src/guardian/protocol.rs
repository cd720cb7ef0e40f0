//! What engine and guardian say to each other.
//!
//! One message is one packet, postcard behind a byte that says where the text is: in the packet, or, when it is longer
//! than a packet may be, in a memfd that comes as its first descriptor.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::model::names::{InstanceId, Pid, Run};
use crate::model::service::{End, SpawnStage};
use crate::os::cgroup::bounds::Limited;
use crate::os::identity::Identity;
use crate::os::seqpacket;
use crate::os::spawn::SpawnSpec;

/// The version of this language. An engine of another one cannot work under this guardian.
pub const LANGUAGE: u32 = 1;

/// Names one process asked for (a run, a hook, an exec probe). Chosen by the engine, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

/// The variable by which an orphan says whose it is: a word for each everup above it, the token behind its last dot.
pub const TOKEN_VARIABLE: &str = "EVERUP_TOKEN";

/// Names one socket, or lock, that the guardian holds. Chosen by the engine, never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct SocketKey(pub u64);

impl SocketKey {
    /// The lock of the state folder.
    pub const LOCK: Self = Self(u64::MAX);
    /// The control socket.
    pub const CONTROL: Self = Self(u64::MAX - 1);
    /// The TCP door.
    pub const WEB: Self = Self(u64::MAX - 2);
}

/// What the engine wants of a child's stdin, stdout or stderr.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StdioSpec {
    /// `/dev/null`.
    Null,
    /// A new pipe; the engine gets our end with `Spawned`.
    Pipe,
    /// The guardian's own.
    Inherit,
    /// The next descriptor that came with the message.
    Passed,
    /// The same as the stream before (stderr: as stdout).
    Same,
}

/// From the engine. What names an unknown token is ignored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum ToGuardian {
    /// Make a process. Answered by `Spawned` or `Failed`.
    Spawn {
        /// Its name from now on.
        token: Token,
        /// The run it is; none: a command beside one. Comes back with `Known`.
        of: Option<(InstanceId, Run)>,
        /// The name of its control group's folder, e.g. `web.1-7`.
        label: String,
        /// What to run.
        spec: SpawnSpec,
        /// stdin, stdout, stderr.
        stdio: [StdioSpec; 3],
        /// Its descriptors 3, 4, …: sockets that are held.
        sockets: Vec<SocketKey>,
    },
    /// Hold the one descriptor that comes along until it is released, or to the guardian's own end.
    Hold {
        /// Its name from now on.
        key: SocketKey,
    },
    /// Close a socket that is held.
    Release {
        /// Which.
        key: SocketKey,
    },
    /// Send a signal, then CONT, so that a stopped process hears it.
    Signal {
        /// To whom.
        token: Token,
        /// Which, by number.
        signal: i32,
        /// To every process of its tree, not to the main process alone.
        tree: bool,
    },
    /// Kill all of its tree, main process included, until nothing lives. Answered by `TreeGone` unless `Ended` has
    /// said or says `tree_empty`.
    EndTree {
        /// Whose.
        token: Token,
    },
    /// Everything about it is written down: drop its record and close its pipes. Its processes, if any, are kept in
    /// sight until they are gone.
    Forget {
        /// Whose.
        token: Token,
    },
    /// Take over a process that an earlier guardian started. Answered by `Spawned`, with those of its pipes that can be
    /// opened again, or by `Ended` where it is gone.
    Adopt {
        /// Its name from now on.
        token: Token,
        /// The run it is.
        of: (InstanceId, Run),
        /// Its main process.
        identity: Identity,
        /// Its control group.
        cgroup: Option<PathBuf>,
        /// The pipes that are its stdout and stderr, by their inodes.
        pipes: [Option<u64>; 2],
    },
    /// Kill what an earlier guardian started and nobody has had adopted.
    Sweep {
        /// What its processes carry: [`Capabilities::mark`].
        mark: String,
    },
    /// Nothing is to outlive everup: see to it that nothing does even if guardian and engine are killed at once.
    LeaveNothing,
    /// The one descriptor that comes along holds all that the engine knows, for its successor: from now on the engine's
    /// death is not the end of everup. Takes the place of the one before.
    Remember,
    /// The engine has said all and ends now: its successor is to be the program that comes along, if it takes over.
    Upgrade {
        /// From which program to which.
        change: Change,
    },
    /// The engine is about to stop itself (SIGSTOP): once it has, stop too, so that the shell that started us sees a
    /// stopped job; when the shell lets us go on, let the engine go on.
    Suspend {
        /// Whether the rest of our process group is to stop as well: it has not had the key's signal.
        group: bool,
    },
    /// Tell the manager that everup is a service of (NOTIFY_SOCKET): it listens to its main process alone.
    Announce {
        /// One thing a line, as sd_notify(3) has it.
        text: String,
    },
    /// End all trees, wait for the engine to end by itself, then exit with this code.
    Quit {
        /// The exit code.
        code: u8,
    },
}

/// From the guardian.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum FromGuardian {
    /// The first message: what the guardian can do here. To a successor what its predecessor remembered comes along, and
    /// what the guardian knows follows: for each run `Known` and what was said of it, each socket that is held, `Complete`.
    Hello(Capabilities),
    /// To a successor: this one was asked for, and has not been written down.
    Known {
        /// Its name.
        token: Token,
        /// The run it is; none: a command.
        of: Option<(InstanceId, Run)>,
        /// The signals that were sent to it: bit 0 for signal 1, and so on.
        signals: u64,
    },
    /// To a successor: this socket is held; it comes along.
    Held {
        /// Its name.
        key: SocketKey,
    },
    /// To a successor: that was all.
    Complete,
    /// It executes its program. Our ends of its pipes come along, non-blocking, in the order of its streams.
    Spawned {
        /// Whose.
        token: Token,
        /// Its main process.
        pid: Pid,
        /// The folder of its control group; none: it has none and its tree is found by descent.
        cgroup: Option<PathBuf>,
        /// What became of what it may use at most.
        limited: Limited,
    },
    /// It did not come to execute its program; nothing is left of it, and the token is forgotten.
    Failed {
        /// Whose.
        token: Token,
        /// What was being done.
        stage: SpawnStage,
        /// The kernel's error number.
        errno: i32,
    },
    /// Its main process has ended.
    Ended {
        /// Whose.
        token: Token,
        /// How.
        end: End,
        /// Whether nothing else of its tree lives; else `TreeGone` follows, by itself or after `EndTree`.
        tree_empty: bool,
        /// CPU time of the main process and its waited-for children, in microseconds.
        cpu_us: u64,
        /// Largest resident memory among them, in bytes.
        max_rss: u64,
        /// Kills for memory in its control group during the whole run; none: it has no group that counts them.
        oom_kills: Option<u64>,
    },
    /// The last process of its tree is gone. Comes after `Ended`, once.
    TreeGone {
        /// Whose.
        token: Token,
    },
    /// The guardian itself got a signal.
    Signalled {
        /// Which, by number.
        signal: i32,
        /// Whether the terminal sent it; then the engine and all in the foreground got it too.
        from_terminal: bool,
    },
}

/// What the guardian can do on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// What it speaks: [`LANGUAGE`].
    pub language: u32,
    /// The guardian's process.
    pub guardian: Pid,
    /// What the processes it starts carry in their environment.
    pub mark: String,
    /// The folder of the runs' control groups, or a sentence on why there are none.
    pub cgroup: Result<PathBuf, String>,
    /// Set where this engine takes over from one that died.
    pub resumed: Option<Resumed>,
}

/// The engine's earlier life, as the guardian saw it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resumed {
    /// How many engines have died in a row.
    pub deaths: u32,
    /// How the latest ended, for people: `was ended by signal 9`.
    pub how: String,
    /// When, in milliseconds of the monotonic clock.
    pub died: u64,
    /// Set where it was no death.
    pub upgrade: Option<Upgrade>,
}

/// One program in place of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// The version there was.
    pub from: String,
    /// The version there is to be.
    pub to: String,
    /// Who asked for it.
    pub by: String,
}

/// An engine that ended to make room for another program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Upgrade {
    /// From which program to which.
    pub change: Change,
    /// Why that other program did not take over, and this one goes on; none: this is the other one.
    pub failed: Option<String>,
}

/// The longest text that goes in a packet, in bytes.
pub const LONGEST_PACKET: usize = 64 * 1024;
/// The longest text at all, in bytes: more than any command line and environment may have together.
const LONGEST: u64 = 16 * 1024 * 1024;

const IN_PACKET: u8 = 0;
const IN_MEMFD: u8 = 1;

/// Sends one message.
///
/// # Errors
/// `WouldBlock` while the socket is full, `BrokenPipe` when the other side is gone.
pub fn send<T: Serialize>(socket: BorrowedFd<'_>, message: &T, fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    let bytes = encode(message)?;
    if bytes.len() <= LONGEST_PACKET {
        return seqpacket::send(socket, &bytes, fds);
    }
    let mut memory = File::from(memfd_create(c"message", MFdFlags::MFD_CLOEXEC)?);
    memory.write_all(bytes.get(1..).unwrap_or_default())?;
    let mut all = vec![memory.as_fd()];
    all.extend_from_slice(fds);
    seqpacket::send(socket, &[IN_MEMFD], &all)
}

/// Takes the next message with its descriptors; `buffer` holds at least the longest packet expected.
///
/// # Errors
/// `WouldBlock` while there is none, `UnexpectedEof` when the other side is gone, `InvalidData` when it cannot be read.
pub fn receive<T: DeserializeOwned>(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<(T, Vec<OwnedFd>)> {
    let mut received = seqpacket::receive(socket, buffer)?;
    if received.length == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    match buffer.get(..received.length).and_then(<[u8]>::split_first) {
        Some((&IN_PACKET, text)) => Ok((decode(text)?, received.fds)),
        Some((&IN_MEMFD, [])) if !received.fds.is_empty() => {
            let mut text = Vec::new();
            let mut memory = File::from(received.fds.remove(0));
            memory.rewind()?;
            memory.take(LONGEST).read_to_end(&mut text)?;
            Ok((decode(&text)?, received.fds))
        }
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

fn encode<T: Serialize>(message: &T) -> io::Result<Vec<u8>> {
    postcard::to_extend(message, vec![IN_PACKET]).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

fn decode<T: DeserializeOwned>(text: &[u8]) -> io::Result<T> {
    postcard::from_bytes(text).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    fn spawn(argument: &str) -> ToGuardian {
        let mut spec =
            SpawnSpec::new(Path::new("/bin/echo"), ["echo", argument], [("A", "b")], Path::new("/")).unwrap();
        spec.umask = Some(0o27);
        ToGuardian::Spawn {
            token: Token(7),
            of: None,
            label: "web.1-7".to_owned(),
            spec,
            stdio: [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Same],
            sockets: vec![SocketKey(3), SocketKey(1)],
        }
    }

    #[test]
    fn messages_of_any_length_arrive_as_they_were() {
        for length in [0, 10, LONGEST_PACKET - 200, LONGEST_PACKET + 1, 2_000_000] {
            let (one, other) = seqpacket::pair().unwrap();
            let null = File::open("/dev/null").unwrap();
            let message = spawn(&"x".repeat(length));
            send(one.as_fd(), &message, &[null.as_fd()]).unwrap();
            let (back, fds) = receive::<ToGuardian>(other.as_fd(), &mut vec![0; LONGEST_PACKET + 1]).unwrap();
            assert!(back == message, "{length}");
            assert_eq!(fds.len(), 1);
        }
    }

    #[test]
    fn the_end_of_the_other_side_is_told_apart_from_silence() {
        let (one, other) = seqpacket::pair().unwrap();
        let kind = || receive::<FromGuardian>(other.as_fd(), &mut [0; 64]).unwrap_err().kind();
        assert_eq!(kind(), io::ErrorKind::WouldBlock);
        drop(one);
        assert_eq!(kind(), io::ErrorKind::UnexpectedEof);
    }

    proptest! {
        #[test]
        fn no_packet_makes_a_reader_panic(packet in proptest::collection::vec(any::<u8>(), 1..300), fds in 0..2_usize) {
            let (one, other) = seqpacket::pair().unwrap();
            let null = File::open("/dev/null").unwrap();
            let along = [null.as_fd()];
            seqpacket::send(one.as_fd(), &packet, &along[..fds]).unwrap();
            let _ = receive::<ToGuardian>(other.as_fd(), &mut [0; 512]);
            seqpacket::send(one.as_fd(), &packet, &[]).unwrap();
            let _ = receive::<FromGuardian>(other.as_fd(), &mut [0; 512]);
        }
    }
}
