//! A program that is to work with our rights: looked at through the descriptor by which it is executed later.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::geteuid;

/// How much of an ELF file says for which machine it is: magic, class, byte order, and at 18 the machine.
const HEAD: usize = 20;

/// A program that may be executed, whatever lies at its path later.
#[derive(Debug)]
pub struct Executable(File);

/// Why a file is not executed. In words that follow its path.
#[derive(Debug, thiserror::Error)]
pub enum Unfit {
    /// It cannot be opened.
    #[error("cannot be opened: {0}")]
    Open(#[from] io::Error),
    /// A folder, a pipe, a device.
    #[error("is not a file")]
    NoFile,
    /// Nobody may execute it.
    #[error("is not executable: `chmod +x` makes it so")]
    NotExecutable,
    /// Somebody else can put something else there.
    #[error("belongs to uid {0}: it must belong to root or to everup's own user, who else could change it")]
    Owner(u32),
    /// Others can change it.
    #[error("can be written by others (mode {0:04o}): `chmod go-w` keeps it to its owner")]
    Writable(u32),
    /// A script or a text.
    #[error("is not a program for this machine: it is a script")]
    Script,
    /// Something else than a program of ours would be.
    #[error("is not a program for this machine")]
    Foreign,
}

impl Executable {
    /// Opens a program: a plain file for this machine, executable, of root or our own user and writable by nobody else.
    ///
    /// # Errors
    /// [`Unfit`].
    pub fn open(path: &Path) -> Result<Self, Unfit> {
        // A pipe in its place must not keep us waiting.
        let mut file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
        let about = file.metadata()?;
        if !about.is_file() {
            return Err(Unfit::NoFile);
        }
        if about.mode() & 0o111 == 0 {
            return Err(Unfit::NotExecutable);
        }
        if ![0, geteuid().as_raw()].contains(&about.uid()) {
            return Err(Unfit::Owner(about.uid()));
        }
        if about.mode() & 0o022 != 0 {
            return Err(Unfit::Writable(about.mode() & 0o7777));
        }
        let head = head(&mut file)?;
        if head.starts_with(b"#!") {
            return Err(Unfit::Script);
        }
        let own = head_of_own()?;
        let is_ours = |range: std::ops::Range<usize>| head.get(range.clone()) == own.get(range);
        if head.len() < HEAD || !is_ours(0..6) || !is_ours(18..20) {
            return Err(Unfit::Foreign);
        }
        Ok(Self(file))
    }
}

impl AsFd for Executable {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn head_of_own() -> io::Result<Vec<u8>> {
    head(&mut File::open("/proc/self/exe")?)
}

fn head(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = vec![];
    file.take(HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn opened(bytes: &[u8], mode: u32) -> Result<Executable, Unfit> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        fs::write(&path, bytes).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        Executable::open(&path)
    }

    #[test]
    fn a_program_of_this_machine_is_taken_whatever_lies_at_its_path_later() {
        let own = head_of_own().unwrap();
        opened(&own, 0o755).unwrap();
        opened(&own, 0o700).unwrap();
    }

    #[test]
    fn what_others_can_change_or_nobody_can_execute_is_not() {
        let own = head_of_own().unwrap();
        assert!(matches!(opened(&own, 0o644), Err(Unfit::NotExecutable)));
        assert!(matches!(opened(&own, 0o757), Err(Unfit::Writable(0o757))));
        assert!(matches!(opened(&own, 0o775), Err(Unfit::Writable(0o775))));
        if geteuid().is_root() {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("program");
            fs::write(&path, &own).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
            std::os::unix::fs::chown(&path, Some(12_345), None).unwrap();
            assert!(matches!(Executable::open(&path), Err(Unfit::Owner(12_345))));
        }
    }

    #[test]
    fn scripts_other_machines_folders_and_pipes_are_not() {
        assert!(matches!(opened(b"#!/bin/sh\nexit 0\n", 0o755), Err(Unfit::Script)));
        for bytes in [&b""[..], b"MZ", b"\x7fELF"] {
            assert!(matches!(opened(bytes, 0o755), Err(Unfit::Foreign)), "{bytes:?}");
        }
        let mut other = head_of_own().unwrap();
        other[18] ^= 0xff;
        assert!(matches!(opened(&other, 0o755), Err(Unfit::Foreign)));
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(Executable::open(dir.path()), Err(Unfit::NoFile)));
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(Executable::open(&pipe), Err(Unfit::NoFile)));
        assert!(matches!(Executable::open(&dir.path().join("none")), Err(Unfit::Open(_))));
    }
}
