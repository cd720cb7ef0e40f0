//! `up -d`: everup in a session of its own, whose first words are heard.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::live::Line;
use crate::cli::project::Project;
use crate::client::Client;

/// Says to the process started below that it is the one to stay.
const VARIABLE: &str = "EVERUP_DETACHED";
/// How long the supervisor may take until it answers.
const LIMIT: Duration = Duration::from_secs(30);
/// How often it is asked.
const PAUSE: Duration = Duration::from_millis(5);
/// As much of what it said as is shown.
const MOST: u64 = 64 << 10;

/// Whether this process was started by [`start`]; then it leaves the terminal's session at once.
pub(crate) fn is_detached() -> bool {
    let detached = crate::os::environment::take(VARIABLE).is_some();
    if detached {
        // Fails only for the leader of a session, which already is what this makes of us.
        let _ = nix::unistd::setsid();
    }
    detached
}

/// Starts this command again in the background and waits until its supervisor answers; gives the way to it and its pid.
///
/// # Errors
/// With what it said when it ended instead; [`Exit::TimedOut`] when it does neither.
pub(crate) fn start(project: &Project, context: &Context) -> Result<(Client, u32), Failure> {
    let failed = |error: std::io::Error| Failure::failed(format!("cannot start everup in the background: {error}"));
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    let said = File::from(memfd_create("everup", flags).map_err(|errno| failed(errno.into()))?);
    let mut command = Command::new("/proc/self/exe");
    let mut words = std::env::args_os();
    if let Some(name) = words.next() {
        std::os::unix::process::CommandExt::arg0(&mut command, name);
    }
    command.args(words).env(VARIABLE, "1").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(said.try_clone().map_err(failed)?);
    #[expect(
        clippy::disallowed_methods,
        reason = "it becomes the guardian itself: there is none yet to ask, and nobody waits for it"
    )]
    let mut child = command.spawn().map_err(failed)?;
    let mut line = Line::new(&context.out);
    let started = crate::os::clock::now().moment;
    loop {
        if let Some(client) = project.connect_if_live()? {
            // From now on nobody hears what it says there, so it must not pile up.
            let _ = fcntl(&said, FcntlArg::F_ADD_SEALS(SealFlag::F_SEAL_GROW));
            return Ok((client, child.id()));
        }
        if let Some(failure) = ended(&mut child, said.try_clone().map_err(failed)?, project)? {
            drop(line);
            return Err(failure);
        }
        if crate::os::clock::now().moment.since(started) > LIMIT {
            return Err(Failure::new(
                Exit::TimedOut,
                format!("cannot reach the supervisor within {}s; its pid is {}", LIMIT.as_secs(), child.id()),
            )
            .hint(format!("its own log is {}", project.state_dir.join("everup.log").display())));
        }
        line.keep_up(&mut || Some("waiting for the supervisor".to_owned()));
        std::thread::park_timeout(PAUSE);
    }
}

/// The failure it ended with, if it has.
fn ended(child: &mut Child, mut said: File, project: &Project) -> Result<Option<Failure>, Failure> {
    let cannot = |error: std::io::Error| Failure::failed(format!("cannot tell what became of the supervisor: {error}"));
    let Some(status) = child.try_wait().map_err(cannot)? else { return Ok(None) };
    let mut text = String::new();
    // What cannot be read is left out; that it ended matters more.
    let _ = said.seek(SeekFrom::Start(0)).and_then(|_| said.take(MOST).read_to_string(&mut text));
    let text = text.trim().strip_prefix("everup: ").unwrap_or(text.trim());
    let exit =
        if status.code() == Some(i32::from(Exit::ConfigInvalid.code())) { Exit::ConfigInvalid } else { Exit::Failed };
    Ok(Some(if text.is_empty() {
        Failure::new(exit, format!("cannot start the supervisor: it ended at once ({status})"))
            .hint(format!("its own log is {}", project.state_dir.join("everup.log").display()))
    } else {
        Failure::new(exit, text)
    }))
}
