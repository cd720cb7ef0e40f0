//! Terminals: pseudo-terminals for programs, raw mode for our own, and window sizes.
#![expect(unsafe_code, reason = "window sizes and the other end of a pseudo-terminal come by ioctl")]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::fcntl::{OFlag, open};
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::sys::termios::{LocalFlags, SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};

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
