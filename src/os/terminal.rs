//! Terminals: pseudo-terminals for programs, raw mode for our own, and window sizes.
#![expect(unsafe_code, reason = "window sizes and the other end of a pseudo-terminal come by ioctl")]

use std::io::{self, IsTerminal as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

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

/// Whether this process has a controlling terminal: whoever closes it sends HUP. A service manager's have none.
pub fn has_controlling() -> bool {
    std::fs::File::open("/dev/tty").is_ok()
}

/// Whether keys such as Ctrl-C become signals on a terminal, asked at either end of a pseudo-terminal.
pub fn sends_signals(fd: BorrowedFd<'_>) -> bool {
    tcgetattr(fd).is_ok_and(|mode| mode.local_flags.contains(LocalFlags::ISIG))
}

/// A terminal that passes on every byte as it is, both ways, until this is dropped.
#[derive(Debug)]
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts a terminal into raw mode.
    ///
    /// # Errors
    /// As tcsetattr(3): it is no terminal, or has gone.
    pub fn enter(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let terminal = fd.try_clone_to_owned()?;
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        set_mode(&terminal, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone needs no restoring.
        let _ = set_mode(&self.terminal, &self.before);
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
    /// As they are now; none when stdin is no terminal.
    pub fn of_stdin() -> Option<Self> {
        let stdin = io::stdin();
        stdin.is_terminal().then(|| tcgetattr(&stdin).ok().map(Self)).flatten()
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
    fn raw_mode_lasts_until_it_is_dropped() {
        let pty = open_pty(None).unwrap();
        let is_cooked = || tcgetattr(&pty.slave).unwrap().output_flags.contains(OutputFlags::OPOST);
        assert!(is_cooked() && sends_signals(pty.master.as_fd()) && sends_signals(pty.slave.as_fd()));
        let raw = RawMode::enter(pty.slave.as_fd()).unwrap();
        assert!(!is_cooked() && !sends_signals(pty.master.as_fd()) && !sends_signals(pty.slave.as_fd()));
        drop(raw);
        assert!(is_cooked() && sends_signals(pty.master.as_fd()));
    }

    #[test]
    fn what_is_no_terminal_says_so() {
        let null = File::open("/dev/null").unwrap();
        assert!(!is_terminal(null.as_fd()) && !sends_signals(null.as_fd()));
        assert_eq!(size(null.as_fd()), None);
        assert!(set_size(null.as_fd(), Size { rows: 1, columns: 1 }).is_err());
        assert_eq!(RawMode::enter(null.as_fd()).unwrap_err().raw_os_error(), Some(libc::ENOTTY));
    }
}
