//! One log file, opened with its index.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::time::UNIX_EPOCH;

use crate::logs::index::Index;
use crate::logs::read::Line;
use crate::logs::read::cutter::Cutter;
use crate::model::names::Run;
use crate::model::units::Timestamp;

/// An open log file.
#[derive(Debug)]
pub(super) struct LogFile {
    /// The bytes.
    pub file: File,
    /// Its device and inode: what it is whatever its name becomes.
    pub inode: (u64, u64),
    /// Its length when it was opened.
    pub len: u64,
    /// What its index says.
    pub index: Index,
    index_file: Option<File>,
    modified: Timestamp,
}

impl LogFile {
    /// Takes an open log and its open index.
    pub(super) fn new(file: File, index_file: Option<File>) -> io::Result<Self> {
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("a log is not a regular file"));
        }
        let age = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
        let modified = Timestamp(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let inode = (meta.dev(), meta.ino());
        let mut log = Self { inode, len: meta.len(), index: Index::default(), index_file, modified, file };
        log.refresh();
        Ok(log)
    }

    /// Reads what was added to the index. One that cannot be read knows nothing, and the lines are read all the same.
    pub(super) fn refresh(&mut self) {
        if let Some(file) = &self.index_file
            && self.index.refresh(file).is_err()
        {
            self.index_file = None;
        }
    }

    /// When the file was last written to, in seconds and nanoseconds.
    pub(super) fn last_written(&self) -> io::Result<(i64, i64)> {
        self.file.metadata().map(|meta| (meta.mtime(), meta.mtime_nsec()))
    }

    /// The line that begins at `offset`.
    pub(super) fn line(&self, offset: u64, bytes: &[u8]) -> Line {
        let (at, run) = self.index.at(offset).unwrap_or((self.modified, Run(0)));
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        Line { at, run, text: String::from_utf8_lossy(bytes).into_owned() }
    }

    /// Reads from where `cutter` stands up to `end`; answers how many bytes there were.
    pub(super) fn scan(&self, cutter: &mut Cutter, end: u64, mut each: impl FnMut(Line)) -> io::Result<u64> {
        let mut buffer = vec![0; 64 * 1024];
        let mut read = 0;
        while cutter.next() < end {
            let wanted = usize::try_from(end - cutter.next()).map_or(buffer.len(), |rest| rest.min(buffer.len()));
            let n = self.read_at(&mut buffer[..wanted], cutter.next())?;
            if n == 0 {
                break;
            }
            read += n as u64;
            cutter.feed(&buffer[..n], self.index.breaks(), &mut |at, bytes| each(self.line(at, bytes)));
        }
        Ok(read)
    }

    /// The first offset in `from..end` at which a line surely begins.
    pub(super) fn line_start(&self, from: u64, end: u64) -> io::Result<Option<u64>> {
        if from == 0 {
            return Ok(Some(0));
        }
        let breaks = self.index.breaks();
        let boundary = breaks[breaks.partition_point(|at| *at < from)..].first().copied();
        let end = boundary.map_or(end, |at| at.min(end));
        let mut buffer = vec![0; 64 * 1024];
        let mut at = from - 1;
        while at < end {
            let wanted = usize::try_from(end - at).map_or(buffer.len(), |rest| rest.min(buffer.len()));
            let n = self.read_at(&mut buffer[..wanted], at)?;
            if let Some(newline) = buffer[..n].iter().position(|byte| *byte == b'\n') {
                return Ok(Some(at + newline as u64 + 1));
            }
            if n == 0 {
                break;
            }
            at += n as u64;
        }
        Ok(boundary.filter(|at| *at <= end))
    }

    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        loop {
            match self.file.read_at(buffer, at) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }
}
