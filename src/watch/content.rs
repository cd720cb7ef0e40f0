//! What a file holds, told apart by a hash.

use std::fs::{File, Metadata};
use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::model::watch::Content;

/// Larger files are told apart by size and time alone.
const LARGEST_HASHED: u64 = 4 << 20;

/// What the kernel says of a file without reading it: the same mark means the same content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    size: u64,
    modified_ns: i64,
    inode: u64,
}

impl Mark {
    /// Of a regular file, behind links too; none when there is none.
    pub(super) fn of(path: &Path) -> Option<Self> {
        std::fs::metadata(path).ok().filter(Metadata::is_file).map(|about| Self::from(&about))
    }

    /// What stands for a content that was never read, and of one too large to be read.
    pub(super) fn stand_in(self) -> Content {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.size);
        hasher.write_i64(self.modified_ns);
        hasher.write_u64(self.inode);
        Content(hasher.finish())
    }
}

impl From<&Metadata> for Mark {
    fn from(about: &Metadata) -> Self {
        let modified_ns = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        Self { size: about.size(), modified_ns, inode: about.ino() }
    }
}

/// Reads files with a buffer of its own.
#[derive(Debug)]
pub(super) struct Hasher {
    buffer: Vec<u8>,
}

impl Hasher {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; 32 << 10] }
    }

    /// What the file holds now; none when it cannot be read.
    pub(super) fn read(&mut self, path: &Path, mark: Mark) -> Option<Content> {
        if mark.size > LARGEST_HASHED {
            return Some(mark.stand_in());
        }
        let mut file = File::open(path).ok()?;
        let mut hasher = DefaultHasher::new();
        let mut left = LARGEST_HASHED;
        loop {
            let read = file.read(&mut self.buffer).ok()?;
            if read == 0 {
                return Some(Content(hasher.finish()));
            }
            hasher.write(self.buffer.get(..read)?);
            left = left.saturating_sub(read as u64);
            if left == 0 {
                // It grew while it was read; its end will be told.
                return Some(Content(hasher.finish()));
            }
        }
    }
}
