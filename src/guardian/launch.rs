//! Makes the processes: the engine first, then what the engine asks for.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::rc::Rc;

use crate::guardian::link::{CALL_VARIABLE, FD_VARIABLE, RESUMES_VARIABLE};
use crate::guardian::protocol::{StdioSpec, Token};
use crate::guardian::runs::Run;
use crate::guardian::trees::{TOKEN_VARIABLE, Trees};
use crate::guardian::undertaker::Watch;
use crate::guardian::{ROLE_ENGINE, ROLE_GUARDIAN, ROLE_UNDERTAKER, ROLE_VARIABLE};
use crate::model::service::SpawnStage;
use crate::os::pipe;
use crate::os::spawn::{Beyond, Home, Session, SpawnFailure, SpawnSpec, Spawner, Spawning, Stdio, Wiring};

/// Starts the engine: `program`, or this very one, with the same arguments, speaking to us over `socket`. `resumes`: it
/// takes over from one that died.
pub(super) fn engine(
    spawner: &mut Spawner,
    socket: BorrowedFd<'_>,
    resumes: bool,
    program: Option<BorrowedFd<'_>>,
) -> Result<Spawning, SpawnFailure> {
    let number = socket.as_raw_fd().to_string();
    let resumes = if resumes { "1" } else { "" };
    let own = [(ROLE_VARIABLE, ROLE_ENGINE), (FD_VARIABLE, number.as_str()), (RESUMES_VARIABLE, resumes)];
    let inherited =
        std::env::vars_os().filter(|(key, _)| own.iter().all(|(ours, _)| key.as_encoded_bytes() != ours.as_bytes()));
    let env = inherited.chain(own.map(|(key, value)| (key.into(), value.into())));
    // By its descriptor: whatever lies at its path by now, this is what was tried.
    let path = program.map_or_else(|| "/proc/self/exe".to_owned(), |fd| format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let mut spec = SpawnSpec::new(Path::new(&path), std::env::args_os(), env, Path::new("."))?;
    spec.session = Session::Keep;
    spawner.spawn(&Rc::new(spec), &Wiring { stdio: [Stdio::Inherit; 3], beyond: Beyond::Kept(socket) }, Home::default())
}

/// Starts a guardian for this engine: this very program with the same arguments, in a session of its own, speaking to us
/// over `socket`.
pub(super) fn guardian(socket: BorrowedFd<'_>) -> io::Result<()> {
    let call = format!("{} {}", socket.as_raw_fd(), std::process::id());
    let env = std::env::vars_os().chain(
        [(ROLE_VARIABLE, ROLE_GUARDIAN), (CALL_VARIABLE, &*call)].map(|(key, value)| (key.into(), value.into())),
    );
    let failed = |failure: SpawnFailure| io::Error::from_raw_os_error(failure.errno);
    let mut spec =
        SpawnSpec::new(Path::new("/proc/self/exe"), std::env::args_os(), env, Path::new(".")).map_err(failed)?;
    spec.session = Session::New;
    let wiring = Wiring { stdio: [Stdio::Inherit; 3], beyond: Beyond::Kept(socket) };
    // Whoever started everup is its parent, too, and hears of its end: systemd supervises only children of its own.
    let home = Home { beside: true, ..Home::default() };
    Spawner::new()?.spawn(&Rc::new(spec), &wiring, home).map_err(failed)?.wait().map_err(failed)
}

/// Starts the one who leaves nothing behind when all others are dead.
pub(super) fn undertaker(spawner: &mut Spawner, watch: &Watch) -> Result<(), SpawnFailure> {
    let (variable, text) = watch.variable();
    let env = [(ROLE_VARIABLE, ROLE_UNDERTAKER), (variable, text.as_str())];
    let mut spec = SpawnSpec::new(Path::new("/proc/self/exe"), ["everup"], env, Path::new("/"))?;
    spec.session = Session::New;
    let wiring = Wiring { stdio: [Stdio::Null; 3], beyond: Beyond::Nothing };
    spawner.spawn(&Rc::new(spec), &wiring, Home::default())?.wait()
}

/// What becomes of a new process's descriptors.
pub(super) struct Descriptors<'a> {
    /// stdin, stdout, stderr.
    pub(super) stdio: [StdioSpec; 3],
    /// What came with the message.
    pub(super) passed: Vec<OwnedFd>,
    /// 3, 4, ….
    pub(super) sockets: &'a [BorrowedFd<'a>],
}

/// Makes one process for the engine, on its way to its program.
pub(super) fn run(
    spawner: &mut Spawner,
    trees: &mut Trees,
    token: Token,
    label: &str,
    mut spec: SpawnSpec,
    descriptors: Descriptors<'_>,
) -> Result<Run, SpawnFailure> {
    // Neither text holds a NUL byte, so it is always taken.
    let _ = spec.env.push(&[TOKEN_VARIABLE.as_bytes(), b"=", trees.token_value(token).as_bytes()]);
    let spec = Rc::new(spec);
    let Descriptors { stdio, passed, sockets } = descriptors;
    let streams = Streams::new(stdio, passed).map_err(|error| SpawnFailure {
        stage: SpawnStage::Files,
        errno: error.raw_os_error().unwrap_or(libc::EBADF),
    })?;
    let wiring = streams.wiring(sockets);

    let born = trees.groups.as_ref().ok().and_then(|groups| groups.make(label, token.0).ok());
    let (group, folder) = born.unzip();
    let (mut bounds, joins) = trees.limit(&spec.most, group.as_ref(), label, token);
    let home = Home { born: folder.as_ref().map(AsFd::as_fd), joins: &joins, beside: false };
    let failure = match spawner.spawn(&spec, &wiring, home) {
        Ok(spawning) => return Ok(Run::new(spawning, group, bounds, streams.ours)),
        Err(failure) => failure,
    };
    if let Some(group) = &group {
        // What is in the group of its own limits it no longer.
        for controller in trees.leave(group, &bounds) {
            bounds.limited.refuse(controller, "its control group cannot take processes".to_owned());
        }
    }
    // The group cannot take processes after all; the tree is then found by descent.
    let spawned = match failure.stage {
        SpawnStage::Cgroup if group.is_some() => spawner.spawn(&spec, &wiring, Home { born: None, ..home }),
        _ => Err(failure),
    };
    match spawned {
        Ok(spawning) => Ok(Run::new(spawning, None, bounds, streams.ours)),
        Err(failure) => {
            trees.unbind(&mut bounds);
            Err(failure)
        }
    }
}

/// A child's three streams on their way: both ends of its pipes, and what each stream becomes.
struct Streams {
    theirs: Vec<OwnedFd>,
    ours: Vec<OwnedFd>,
    sources: [Source; 3],
}

#[derive(Clone, Copy)]
enum Source {
    Null,
    /// Our own stream of the same number.
    Own,
    /// One of `theirs`.
    Their(usize),
}

impl Streams {
    fn new(wishes: [StdioSpec; 3], passed: Vec<OwnedFd>) -> io::Result<Self> {
        let mut streams = Self { theirs: Vec::new(), ours: Vec::new(), sources: [Source::Null; 3] };
        let mut passed = passed.into_iter();
        let mut before = Source::Null;
        for (number, wish) in wishes.into_iter().enumerate() {
            before = match wish {
                StdioSpec::Null => Source::Null,
                StdioSpec::Inherit => Source::Own,
                StdioSpec::Same => match before {
                    Source::Own if number == 1 => streams.take(io::stdin().as_fd().try_clone_to_owned()?),
                    Source::Own => streams.take(io::stdout().as_fd().try_clone_to_owned()?),
                    Source::Null | Source::Their(_) => before,
                },
                StdioSpec::Passed => {
                    let fd = passed.next().ok_or_else(|| io::Error::from_raw_os_error(libc::EBADF))?;
                    streams.take(fd)
                }
                StdioSpec::Pipe => {
                    let pipe = if number == 0 { pipe::to_child() } else { pipe::from_child() }?;
                    streams.ours.push(pipe.ours);
                    streams.take(pipe.theirs)
                }
            };
            if let Some(source) = streams.sources.get_mut(number) {
                *source = before;
            }
        }
        Ok(streams)
    }

    fn take(&mut self, fd: OwnedFd) -> Source {
        self.theirs.push(fd);
        Source::Their(self.theirs.len() - 1)
    }

    fn wiring<'a>(&'a self, sockets: &'a [BorrowedFd<'a>]) -> Wiring<'a> {
        let mut stdio = [Stdio::Null; 3];
        for (wish, source) in stdio.iter_mut().zip(self.sources) {
            *wish = match source {
                Source::Null => Stdio::Null,
                Source::Own => Stdio::Inherit,
                Source::Their(index) => self.theirs.get(index).map_or(Stdio::Null, |fd| Stdio::Fd(fd.as_fd())),
            };
        }
        Wiring { stdio, beyond: Beyond::Numbered(sockets) }
    }
}
