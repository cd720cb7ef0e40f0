//! Files that live in memory and have no name.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::OwnedFd;

use nix::sys::memfd::{MFdFlags, memfd_create};

/// An empty one, to be written at any place; `name` is what `/proc` shows.
///
/// # Errors
/// As memfd_create(2).
pub fn empty(name: &str) -> io::Result<File> {
    let name = CString::new(name).unwrap_or_default();
    Ok(File::from(memfd_create(name.as_c_str(), MFdFlags::MFD_CLOEXEC)?))
}

/// A file that holds `bytes`, to be read from its beginning: as a child's stdin it never makes anyone wait.
///
/// # Errors
/// As memfd_create(2) and write(2).
pub fn holding(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"stdin", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_holds_is_read_from_the_beginning() {
        let file = File::from(holding(b"{\"v\":1}").unwrap());
        assert_eq!(io::read_to_string(file).unwrap(), "{\"v\":1}");
    }
}
