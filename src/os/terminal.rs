//! Terminals: their size, a terminal of a child's own, and raw mode that never outlives us.

use std::io::{self, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};

use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::termios::{SetArg, Termios, cfmakeraw, tcgetattr, tcsetattr};
use nix::unistd::{getpgrp, tcgetpgrp};

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Characters in a line.
    pub columns: u16,
    /// Lines.
    pub rows: u16,
}

/// The size of the terminal behind `fd`; none when that is no terminal or does not know.
pub fn size(fd: &impl AsFd) -> Option<Size> {
    let told = window::get(fd.as_fd()).ok()?;
    (told.ws_col > 0 && told.ws_row > 0).then_some(Size { columns: told.ws_col, rows: told.ws_row })
}

/// Sets the size of the terminal behind `fd`; its foreground processes are told by WINCH.
///
/// # Errors
/// As ioctl(2).
pub fn set_size(fd: &impl AsFd, size: Size) -> io::Result<()> {
    window::set(fd.as_fd(), &winsize(size))
}

/// A pseudo-terminal.
#[derive(Debug)]
pub struct Pty {
    /// Our end: what is written here the child reads as typed, what the child writes is read here. Non-blocking.
    pub controller: OwnedFd,
    /// The child's end: its stdin, stdout and stderr.
    pub terminal: OwnedFd,
}

/// Makes a pseudo-terminal of this size; both ends are close-on-exec.
///
/// # Errors
/// As openpty(3).
pub fn open_pty(size: Option<Size>) -> io::Result<Pty> {
    use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
    let size = size.map(winsize);
    let OpenptyResult { master: controller, slave: terminal } = openpty(size.as_ref(), None)?;
    for end in [&controller, &terminal] {
        fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC))?;
    }
    fcntl(&controller, FcntlArg::F_SETFL(OFlag::O_RDWR | OFlag::O_NONBLOCK))?;
    Ok(Pty { controller, terminal })
}

fn winsize(size: Size) -> Winsize {
    Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 }
}

/// Keeps a terminal in raw mode (every key arrives at once and unchanged) until dropped.
pub struct RawMode {
    terminal: OwnedFd,
    before: Termios,
}

impl RawMode {
    /// Puts the terminal into raw mode.
    ///
    /// # Errors
    /// As tcgetattr(3), e.g. when it is no terminal.
    pub fn enter(terminal: OwnedFd) -> io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let mut raw = before.clone();
        cfmakeraw(&mut raw);
        tcsetattr(&terminal, SetArg::TCSADRAIN, &raw)?;
        Ok(Self { terminal, before })
    }
}

impl Drop for RawMode {
    fn drop(&mut self) {
        // A terminal that has gone away needs no restoring.
        let _ = tcsetattr(&self.terminal, SetArg::TCSADRAIN, &self.before);
    }
}

impl std::fmt::Debug for RawMode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RawMode").field("terminal", &self.terminal).finish_non_exhaustive()
    }
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

mod window {
    #![expect(unsafe_code, reason = "ioctl")]

    use std::io;
    use std::os::fd::{AsRawFd, BorrowedFd};

    use nix::pty::Winsize;

    pub(super) fn get(fd: BorrowedFd<'_>) -> io::Result<Winsize> {
        let mut size = Winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
        // SAFETY: the kernel writes into `size`.
        match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) } {
            0 => Ok(size),
            _ => Err(io::Error::last_os_error()),
        }
    }

    pub(super) fn set(fd: BorrowedFd<'_>, size: &Winsize) -> io::Result<()> {
        // SAFETY: the kernel only reads `size`.
        match unsafe { libc::ioctl(fd.as_raw_fd(), libc::TIOCSWINSZ, std::ptr::from_ref(size)) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use nix::sys::termios::LocalFlags;

    use super::*;

    #[test]
    fn a_terminal_knows_its_size_and_a_pipe_has_none() {
        let wanted = Size { columns: 81, rows: 25 };
        let pty = open_pty(Some(wanted)).unwrap();
        assert_eq!(size(&pty.terminal), Some(wanted));
        let other = Size { columns: 100, rows: 30 };
        set_size(&pty.controller, other).unwrap();
        assert_eq!(size(&pty.terminal), Some(other));
        assert_eq!(size(&open_pty(None).unwrap().terminal), None);
        assert_eq!(size(&std::io::pipe().unwrap().0), None);
    }

    #[test]
    fn raw_mode_ends_with_its_guard() {
        let pty = open_pty(None).unwrap();
        let echoes = || tcgetattr(&pty.terminal).unwrap().local_flags.contains(LocalFlags::ECHO);
        assert!(echoes());
        let raw = RawMode::enter(pty.terminal.try_clone().unwrap()).unwrap();
        assert!(!echoes());
        drop(raw);
        assert!(echoes());
        assert!(RawMode::enter(std::io::pipe().unwrap().0.into()).is_err());
    }
}
