//! The side index of a log: at which byte a run began or ended, and when bytes arrived.
//!
//! Records of 32 bytes: checksum, kind, offset, time, run. A damaged record is skipped; losing some costs only precision.

use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use nix::fcntl::OFlag;

use crate::logs::folder::Folder;
use crate::model::names::Run;
use crate::model::units::Timestamp;

const SIZE: usize = 32;

/// An index longer than this is read only so far.
const LONGEST: u64 = 64 << 20;

/// What a record says about its offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The log this index belongs to: `run` is its inode number.
    Log,
    /// Output of a run begins.
    RunStart,
    /// What follows arrived at this time.
    Time,
    /// Output of a run is complete.
    RunEnd,
    /// Bytes that could not be kept are missing here.
    Gap,
}

/// One record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// What it says.
    pub kind: Kind,
    /// The byte of the log it is about.
    pub offset: u64,
    /// When.
    pub wall: Timestamp,
    /// Of which run.
    pub run: Run,
}

impl Record {
    /// That this index is about the log with this inode number.
    fn of_log(inode: u64) -> Self {
        Self { kind: Kind::Log, offset: 0, wall: Timestamp(0), run: Run(inode) }
    }

    pub(super) fn encode(&self) -> [u8; SIZE] {
        let mut bytes = [0; SIZE];
        bytes[4] = match self.kind {
            Kind::Log => 1,
            Kind::RunStart => 2,
            Kind::Time => 3,
            Kind::RunEnd => 4,
            Kind::Gap => 5,
        };
        bytes[8..16].copy_from_slice(&self.offset.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.wall.0.to_le_bytes());
        bytes[24..].copy_from_slice(&self.run.0.to_le_bytes());
        let sum = checksum(&bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| -> Option<[u8; 8]> { bytes.get(at..at + 8)?.try_into().ok() };
        if bytes.get(..4)? != checksum(bytes.get(4..SIZE)?).to_le_bytes() {
            return None;
        }
        let kind = match bytes[4] {
            1 => Kind::Log,
            2 => Kind::RunStart,
            3 => Kind::Time,
            4 => Kind::RunEnd,
            5 => Kind::Gap,
            _ => return None,
        };
        let (offset, wall, run) = (word(8)?, word(16)?, word(24)?);
        Some(Self {
            kind,
            offset: u64::from_le_bytes(offset),
            wall: Timestamp(i64::from_le_bytes(wall)),
            run: Run(u64::from_le_bytes(run)),
        })
    }
}

/// FNV-1a: enough to tell a record from garbage.
fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(*byte)).wrapping_mul(0x0100_0193))
}

/// Appends records; the pump's side.
#[derive(Debug)]
pub(super) struct IndexWriter {
    file: File,
    len: u64,
}

impl IndexWriter {
    /// Opens the index of the log with that inode and length; one that belongs to another log, or knows more bytes
    /// than there are, starts over.
    pub(super) fn open(folder: &Folder, name: &OsStr, inode: u64, log_len: u64) -> io::Result<Self> {
        let file = folder.file(name, OFlag::O_RDWR | OFlag::O_CREAT)?;
        let meta = file.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("the log's index is not a regular file"));
        }
        let mut writer = Self { file, len: meta.len() / SIZE as u64 * SIZE as u64 };
        let first = writer.record_at(0);
        let last = writer.len.checked_sub(SIZE as u64).and_then(|at| writer.record_at(at));
        let fits = first == Some(Record::of_log(inode)) && last.is_some_and(|last| last.offset <= log_len);
        if !fits {
            writer.restart(inode)?;
        }
        Ok(writer)
    }

    /// Forgets all records: the log's bytes were replaced from outside.
    pub(super) fn restart(&mut self, inode: u64) -> io::Result<()> {
        self.file.set_len(0)?;
        self.len = 0;
        self.push(&Record::of_log(inode))
    }

    /// Appends one record. After a failure the next one takes its place.
    pub(super) fn push(&mut self, record: &Record) -> io::Result<()> {
        self.file.write_all_at(&record.encode(), self.len)?;
        self.len += SIZE as u64;
        Ok(())
    }

    /// Its length in bytes.
    pub(super) fn len(&self) -> u64 {
        self.len
    }

    /// The newest record about output; none in an index that was begun just now.
    pub(super) fn newest(&self) -> Option<Record> {
        newest(&self.file)
    }

    fn record_at(&self, at: u64) -> Option<Record> {
        record_at(&self.file, at)
    }
}

fn record_at(file: &File, at: u64) -> Option<Record> {
    let mut bytes = [0; SIZE];
    file.read_exact_at(&mut bytes, at).ok()?;
    Record::decode(&bytes)
}

/// The newest record about output in an index, also a rotated one.
pub(super) fn newest(file: &File) -> Option<Record> {
    let count = file.metadata().ok()?.len() / SIZE as u64;
    let last = record_at(file, count.checked_sub(1)? * SIZE as u64)?;
    (last.kind != Kind::Log).then_some(last)
}

/// The inode number of the log that an index is about; none where it does not say.
pub(super) fn log_of(file: &File) -> Option<u64> {
    record_at(file, 0).filter(|record| record.kind == Kind::Log).map(|record| record.run.0)
}

/// What an index says; the reader's side. Of a damaged index it holds what is left.
#[derive(Debug, Default)]
pub(super) struct Index {
    records: Vec<Record>,
    breaks: Vec<u64>,
    log: Option<u64>,
    read: u64,
}

impl Index {
    /// Reads the records that were added since the last call.
    pub(super) fn refresh(&mut self, file: &File) -> io::Result<()> {
        let len = file.metadata()?.len().min(LONGEST);
        if len < self.read {
            *self = Self::default();
        }
        let mut bytes = vec![0; usize::try_from(len - self.read).unwrap_or(0) / SIZE * SIZE];
        if bytes.is_empty() {
            return Ok(());
        }
        let mut filled = 0;
        while filled < bytes.len() {
            match file.read_at(&mut bytes[filled..], self.read + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let whole = filled / SIZE * SIZE;
        self.take(&bytes[..whole]);
        self.read += whole as u64;
        Ok(())
    }

    /// Reads records from `bytes`, skipping what is none and what runs backwards.
    pub(super) fn take(&mut self, bytes: &[u8]) {
        for record in bytes.chunks_exact(SIZE).filter_map(Record::decode) {
            match record.kind {
                Kind::Log => self.log = Some(record.run.0),
                _ if self.records.last().is_some_and(|last| last.offset > record.offset) => {}
                Kind::Time => self.records.push(record),
                Kind::RunStart | Kind::RunEnd | Kind::Gap => {
                    self.records.push(record);
                    if self.breaks.last() != Some(&record.offset) {
                        self.breaks.push(record.offset);
                    }
                }
            }
        }
    }

    /// Whether the index says that it is about another log than the one with this inode number.
    pub(super) fn contradicts(&self, inode: u64) -> bool {
        self.log.is_some_and(|log| log != inode)
    }

    /// When the byte at `offset` arrived and of which run it is; none where the index does not know.
    pub(super) fn at(&self, offset: u64) -> Option<(Timestamp, Run)> {
        let after = self.records.partition_point(|record| record.offset <= offset);
        self.records[..after].last().map(|record| (record.wall, record.run))
    }

    /// The offsets at which a new line begins whatever the bytes say, ascending.
    pub(super) fn breaks(&self) -> &[u64] {
        &self.breaks
    }

    /// The runs it knows, in their order, each once in a row.
    pub(super) fn runs(&self) -> impl Iterator<Item = Run> {
        let mut last = None;
        self.records.iter().map(|record| record.run).filter(move |run| last.replace(*run) != Some(*run))
    }
}

/// All records of an index.
#[cfg(test)]
pub(super) fn records(file: &File) -> Vec<Record> {
    (0..file.metadata().unwrap().len() / SIZE as u64).filter_map(|n| record_at(file, n * SIZE as u64)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(kind: Kind, offset: u64, wall: i64, run: u64) -> Record {
        Record { kind, offset, wall: Timestamp(wall), run: Run(run) }
    }

    fn bytes(records: &[Record]) -> Vec<u8> {
        records.iter().flat_map(Record::encode).collect()
    }

    #[test]
    fn an_offset_leads_to_its_time_and_run() {
        let mut index = Index::default();
        index.take(&bytes(&[
            record(Kind::RunStart, 0, 10, 1),
            record(Kind::Time, 0, 12, 1),
            record(Kind::Time, 100, 20, 1),
            record(Kind::RunEnd, 150, 30, 1),
            record(Kind::RunStart, 150, 40, 2),
        ]));
        for (offset, wall, run) in [(0, 12, 1), (99, 12, 1), (100, 20, 1), (149, 20, 1), (150, 40, 2), (9_999, 40, 2)] {
            assert_eq!(index.at(offset), Some((Timestamp(wall), Run(run))), "{offset}");
        }
        assert_eq!(index.breaks(), [0, 150]);
        assert_eq!(index.runs().collect::<Vec<_>>(), [Run(1), Run(2)]);
    }

    #[test]
    fn damaged_records_are_skipped() {
        let records = [record(Kind::RunStart, 0, 1, 1), record(Kind::Time, 5, 2, 1), record(Kind::Time, 9, 3, 1)];
        let mut damaged = bytes(&records);
        damaged[SIZE + 9] ^= 1;
        damaged.extend([7; 13]);
        let mut index = Index::default();
        index.take(&damaged);
        assert_eq!(index.at(6), Some((Timestamp(1), Run(1))));
        assert_eq!(index.at(9), Some((Timestamp(3), Run(1))));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_can_be_taken(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..500), at: u64) {
            let mut index = Index::default();
            index.take(&bytes);
            let _ = (index.at(at), index.breaks().len(), index.runs().count());
        }

        #[test]
        fn a_record_reads_back(offset: u64, wall: i64, run: u64) {
            let before = record(Kind::Gap, offset, wall, run);
            proptest::prop_assert_eq!(Record::decode(&before.encode()), Some(before));
        }
    }
}
