//! Terminals: pseudo-terminals for programs, our own in a manner of ours, and window sizes.
#![expect(unsafe_code, reason = "window sizes and the other end of a pseudo-terminal come by ioctl")]

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::sync::{Mutex, PoisonError};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, read, tcgetpgrp};

/// How often we look whether we are in the foreground again, in milliseconds.
const BETWEEN_LOOKS: u16 = 300;

/// A pseudo-terminal, both ends close-on-exec and blocking.
#[derive(Debug)]
pub struct Pty {
    /// Our end: what is written here the program reads, and the other way round.
    pub master: OwnedFd,
    /// The program's end, a terminal.
    pub slave: OwnedFd,
}

/// The size of a window, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Lines.
    pub rows: u16,
    /// Characters a line.
    pub columns: u16,
}

/// Makes a pseudo-terminal, of this size if one is given. It becomes nobody's controlling terminal by that.
///
/// # Errors
/// As posix_openpt(3): no more to be had, or none on this machine.
pub fn open_pty(size: Option<Size>) -> io::Result<Pty> {
    let flags = OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let master = posix_openpt(flags)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    // SAFETY: takes plain flags, answers with a descriptor.
    let slave = match unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags.bits()) } {
        fd if fd >= 0 => {
            // SAFETY: the kernel has just made it for us.
            unsafe { OwnedFd::from_raw_fd(fd) }
        }
        // Before Linux 4.13.
        _ => open(ptsname_r(&master)?.as_str(), flags, Mode::empty())?,
    };
    if let Some(size) = size {
        set_size(slave.as_fd(), size)?;
    }
    Ok(Pty { master: master.as_fd().try_clone_to_owned()?, slave })
}

/// The size of the window behind a terminal; none when it is no terminal or does not know.
pub fn size(fd: BorrowedFd<'_>) -> Option<Size> {
    let mut found = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel fills in the struct that this call takes.
    let done = unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut found) };
    (done == 0 && found.ws_row > 0 && found.ws_col > 0).then_some(Size { rows: found.ws_row, columns: found.ws_col })
}

/// Gives a terminal this size; either end of a pseudo-terminal will do. Its foreground programs get WINCH if it
/// changed.
///
/// # Errors
/// As ioctl_tty(2).
pub fn set_size(fd: BorrowedFd<'_>, size: Size) -> io::Result<()> {
    let wanted = libc::winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the kernel only reads the struct that this call takes.
    match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, &raw const wanted) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether it is a terminal.
pub fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    std::io::IsTerminal::is_terminal(&fd)
}

/// Whether this process has a terminal whose end would end it: under systemd, in most containers and after `up -d` not.
pub fn is_controlled() -> bool {
    open("/dev/tty", OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_CLOEXEC, Mode::empty()).is_ok()
}

/// Whether keys such as Ctrl-C become signals on a terminal, asked at either end of a pseudo-terminal.
pub fn sends_signals(fd: BorrowedFd<'_>) -> bool {
    tcgetattr(fd).is_ok_and(|mode| mode.local_flags.contains(LocalFlags::ISIG))
}

/// The key that stops the programs in the foreground of a terminal (Ctrl-Z), asked at either end of a pseudo-terminal;
/// none where keys are only keys.
pub fn stop_key(fd: BorrowedFd<'_>) -> Option<u8> {
    let mode = tcgetattr(fd).ok().filter(|mode| mode.local_flags.contains(LocalFlags::ISIG))?;
    mode.control_chars.get(SpecialCharacterIndices::VSUSP as usize).copied().filter(|key| *key != 0)
}

/// Whether a program has written something to its pseudo-terminal that nobody has read from the master so far.
pub fn has_output(master: BorrowedFd<'_>) -> bool {
    let mut fds = [PollFd::new(master, PollFlags::POLLIN)];
    poll(&mut fds, PollTimeout::ZERO).is_ok() && fds[0].revents().is_some_and(|what| what.contains(PollFlags::POLLIN))
}

/// How our own terminal is to behave while it is ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// It passes on every byte as it is, both ways.
    Raw,
    /// It passes on keys as they come and does not show them; Ctrl-C and Ctrl-Z stay signals.
    Keys,
}

/// A terminal in a manner of ours, with what it was like before.
#[derive(Debug)]
struct Altered {
    terminal: OwnedFd,
    manner: Manner,
    /// None while it is as it was.
    before: Option<Termios>,
}

impl Altered {
    fn new(fd: BorrowedFd<'_>, manner: Manner) -> io::Result<Self> {
        let terminal = fd.try_clone_to_owned()?;
        tcgetattr(&terminal)?;
        Ok(Self { terminal, manner, before: None })
    }

    fn enter(&mut self) -> io::Result<()> {
        let now = tcgetattr(&self.terminal)?;
        let mut wanted = now.clone();
        match self.manner {
            Manner::Raw => cfmakeraw(&mut wanted),
            Manner::Keys => {
                wanted.local_flags.remove(LocalFlags::ICANON | LocalFlags::ECHO);
                for (index, value) in [(SpecialCharacterIndices::VMIN, 1), (SpecialCharacterIndices::VTIME, 0)] {
                    if let Some(place) = wanted.control_chars.get_mut(index as usize) {
                        *place = value;
                    }
                }
            }
        }
        set_mode(&self.terminal, &wanted)?;
        self.before.get_or_insert(now);
        Ok(())
    }

    fn leave(&mut self) {
        if let Some(before) = self.before.take() {
            // A terminal that has gone needs no restoring.
            let _ = set_mode(&self.terminal, &before);
        }
    }
}

/// Our own terminal (stdin) while it behaves in a manner of ours: there is one for the whole process.
static OURS: Mutex<Option<Altered>> = Mutex::new(None);

/// Keeps our own terminal (stdin) in a manner of ours while we are in its foreground; it is as it was once this is
/// dropped.
#[derive(Debug)]
pub struct Taken(());

impl Taken {
    /// Takes it, now or, from the background, with the first [`take_again`] in the foreground.
    ///
    /// # Errors
    /// As tcsetattr(3): stdin is no terminal, or has gone.
    pub fn new(manner: Manner) -> io::Result<Self> {
        let mut mode = Altered::new(io::stdin().as_fd(), manner)?;
        if !is_in_background() {
            mode.enter()?;
        }
        *OURS.lock().unwrap_or_else(PoisonError::into_inner) = Some(mode);
        Ok(Self(()))
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        give_back();
        *OURS.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

/// Puts our own terminal back as it was before it was taken, for as long as we are stopped. From the background it is
/// no longer ours to change.
pub fn give_back() {
    if let Some(mode) = OURS.lock().unwrap_or_else(PoisonError::into_inner).as_mut().filter(|_| !is_in_background()) {
        mode.leave();
    }
}

/// Takes our own terminal again where it was taken before and we are in its foreground.
pub fn take_again() {
    if let Some(mode) = OURS.lock().unwrap_or_else(PoisonError::into_inner).as_mut().filter(|_| !is_in_background()) {
        // A terminal that has gone says so to whoever reads it.
        let _ = mode.enter();
    }
}

/// Whether another job of our terminal's (stdin) is in its foreground, or its shell.
fn is_in_background() -> bool {
    tcgetpgrp(io::stdin()).is_ok_and(|foreground| foreground != getpgrp())
}

/// What came of reading our own terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Typed {
    /// So many bytes.
    Bytes(usize),
    /// We had been in the background; the terminal is taken again.
    Foreground,
}

/// Reads what is typed on our own terminal (stdin), waiting for it, in the background until we are in the foreground.
/// None once there will be no more.
///
/// Reading from the background must fail, not stop us: [`crate::os::signals::leave_to_parent`].
pub fn read_typed(buffer: &mut [u8]) -> Option<Typed> {
    loop {
        match read(io::stdin(), buffer) {
            Ok(0) => return None,
            Ok(count) => return Some(Typed::Bytes(count)),
            Err(Errno::EINTR) => {}
            Err(Errno::EIO) if is_in_background() => {
                // Shells tell nobody that a job which never stopped is in the foreground again.
                while is_in_background() {
                    let _ = poll(&mut [], PollTimeout::from(BETWEEN_LOOKS));
                }
                take_again();
                return Some(Typed::Foreground);
            }
            Err(_) => return None,
        }
    }
}

fn set_mode(terminal: &OwnedFd, mode: &Termios) -> io::Result<()> {
    // From the background this would stop us, if the signal could come.
    let (mut stop, mut before) = (SigSet::empty(), SigSet::empty());
    stop.add(Signal::SIGTTOU);
    sigprocmask(SigmaskHow::SIG_BLOCK, Some(&stop), Some(&mut before))?;
    let done = tcsetattr(terminal, SetArg::TCSANOW, mode);
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&before), None)?;
    Ok(done?)
}

/// The settings of our own terminal (stdin) as we found them.
pub struct Settings(Termios);

impl Settings {
    /// As they are now; none when stdin is no terminal, or is another job's, whose settings are not ours to restore.
    pub fn of_stdin() -> Option<Self> {
        let stdin = io::stdin();
        (stdin.is_terminal() && !is_in_background()).then(|| tcgetattr(&stdin).ok().map(Self)).flatten()
    }

    /// Puts them back if they have been changed and the terminal is still ours to change.
    pub fn restore(&self) {
        let stdin = io::stdin();
        let is_ours = tcgetpgrp(&stdin).is_ok_and(|foreground| foreground == getpgrp());
        if is_ours && tcgetattr(&stdin).is_ok_and(|now| now != self.0) {
            // A terminal that has gone away needs no restoring.
            let _ = tcsetattr(&stdin, SetArg::TCSADRAIN, &self.0);
        }
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Write};

    use nix::fcntl::{FcntlArg, FdFlag, fcntl};
    use nix::sys::termios::OutputFlags;

    use super::*;

    #[test]
    fn a_pseudo_terminal_has_two_ends_that_talk() {
        let Pty { master, slave } = open_pty(None).unwrap();
        assert!(is_terminal(slave.as_fd()));
        for end in [&master, &slave] {
            let flags = FdFlag::from_bits_truncate(fcntl(end, FcntlArg::F_GETFD).unwrap());
            assert!(flags.contains(FdFlag::FD_CLOEXEC));
            let mode = OFlag::from_bits_truncate(fcntl(end, FcntlArg::F_GETFL).unwrap());
            assert!(!mode.contains(OFlag::O_NONBLOCK));
        }
        let (mut master, mut slave) = (File::from(master), File::from(slave));
        slave.write_all(b"out\n").unwrap();
        let mut buffer = [0; 16];
        let length = master.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"out\r\n");
        master.write_all(b"in\n").unwrap();
        let length = slave.read(&mut buffer).unwrap();
        assert_eq!(&buffer[..length], b"in\n");
        drop(slave);
        // The echo of what was typed comes first.
        while master.read(&mut buffer).is_ok_and(|length| length > 0) {}
        assert_eq!(master.read(&mut buffer).unwrap_err().raw_os_error(), Some(libc::EIO));
    }

    #[test]
    fn sizes_are_set_and_read_at_either_end() {
        let wanted = Size { rows: 33, columns: 111 };
        let pty = open_pty(Some(wanted)).unwrap();
        assert_eq!(size(pty.slave.as_fd()), Some(wanted));
        let other = Size { rows: 5, columns: 7 };
        set_size(pty.master.as_fd(), other).unwrap();
        assert_eq!((size(pty.slave.as_fd()), size(pty.master.as_fd())), (Some(other), Some(other)));
        assert_eq!(size(open_pty(None).unwrap().slave.as_fd()), None, "nobody has said");
    }

    #[test]
    fn a_terminal_behaves_in_a_manner_of_ours_until_it_is_left() {
        let pty = open_pty(None).unwrap();
        let mode = || tcgetattr(&pty.slave).unwrap();
        let found = mode();
        assert_eq!((sends_signals(pty.master.as_fd()), stop_key(pty.master.as_fd())), (true, Some(0x1a)));
        let mut raw = Altered::new(pty.slave.as_fd(), Manner::Raw).unwrap();
        assert_eq!(mode(), found, "not yet");
        // Whoever takes it again after a stop must not take that for how it was.
        for _ in 0..2 {
            raw.enter().unwrap();
            assert!(!mode().output_flags.contains(OutputFlags::OPOST));
            assert_eq!((sends_signals(pty.master.as_fd()), stop_key(pty.master.as_fd())), (false, None));
        }
        raw.leave();
        assert_eq!(mode(), found);
        let mut keys = Altered::new(pty.slave.as_fd(), Manner::Keys).unwrap();
        keys.enter().unwrap();
        assert!(!mode().local_flags.intersects(LocalFlags::ICANON | LocalFlags::ECHO));
        assert!(mode().output_flags.contains(OutputFlags::OPOST));
        assert_eq!(stop_key(pty.master.as_fd()), Some(0x1a));
        keys.leave();
        assert_eq!(mode(), found);
    }

    #[test]
    fn what_a_program_has_written_is_seen_until_it_is_read() {
        let Pty { master, slave } = open_pty(None).unwrap();
        assert!(!has_output(master.as_fd()));
        File::from(slave.try_clone().unwrap()).write_all(b"x").unwrap();
        crate::os::pipe::wait_readable(master.as_fd()).unwrap();
        assert!(has_output(master.as_fd()));
        assert_eq!(nix::unistd::read(&master, &mut [0; 8]), Ok(1));
        assert!(!has_output(master.as_fd()));
    }

    #[test]
    fn what_is_no_terminal_says_so() {
        let null = File::open("/dev/null").unwrap();
        assert!(!is_terminal(null.as_fd()) && !sends_signals(null.as_fd()));
        assert_eq!(size(null.as_fd()), None);
        assert!(set_size(null.as_fd(), Size { rows: 1, columns: 1 }).is_err());
        assert_eq!(Altered::new(null.as_fd(), Manner::Raw).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
        assert_eq!(stop_key(null.as_fd()), None);
    }
}
