//! For [`crate::fuzzing`]: a log with its index, both as anybody may have left them.

use std::ffi::OsStr;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::logs::folder::Folder;
use crate::logs::index::{Index, IndexWriter, Kind, Record};
use crate::logs::read::{Query, Reader};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::units::Timestamp;

/// Bytes of the input that make one record.
const PIECE: usize = 6;

/// The first byte says whether the index is these very bytes or whole records made of them (a checksum is nothing a
/// fuzzer finds); the second how many of the bytes are the index. The rest is the log.
pub fn logs(data: &[u8], folder: &Path) {
    let [kind, length, rest @ ..] = data else { return };
    let (index, log) = rest.split_at(usize::from(*length).min(rest.len()));
    let (Ok(()), Ok(service)) = (std::fs::write(folder.join("web.out.log"), log), ServiceName::new("web")) else {
        return;
    };
    let inode = std::fs::metadata(folder.join("web.out.log")).map_or(0, |about| about.ino());
    let index = if kind & 1 == 0 { index.to_vec() } else { records(index, inode) };
    let _ = std::fs::write(folder.join("web.out.idx"), &index);
    let mut taken = Index::default();
    taken.take(&index);
    assert!(taken.breaks().is_sorted(), "{:?}", taken.breaks());
    let _ = (taken.at(0), taken.at(u64::MAX), taken.runs().count());
    let reader = Reader::new(folder.to_owned());
    let all = reader.tail(&Query { lines: usize::MAX, ..Query::default() }).unwrap_or_default();
    let last = reader.tail(&Query { lines: 2, ..Query::default() }).unwrap_or_default();
    let until = all.len().saturating_sub(last.len());
    assert_eq!(all.get(until..), Some(&last[..]), "the last lines are not the last of all");
    let text: usize = all.iter().map(|line| line.line.len()).sum();
    // Each byte that is none of UTF-8 becomes three.
    assert!(text <= log.len() * 3, "{text} bytes of a log of {}", log.len());
    for query in [
        Query { previous: true, ..Query::default() },
        Query { run: Some(Run(1)), ..Query::default() },
        Query { since: Some(Timestamp(1_000)), ..Query::default() },
    ] {
        let _ = reader.tail(&query);
    }
    let _ = reader.last_lines(&InstanceId { service, index: 1 }, Run(1), 3);
    if let Ok(open) = Folder::open(folder, false)
        && let Ok(mut writer) = IndexWriter::open(&open, OsStr::new("web.out.idx"), inode, log.len() as u64)
    {
        let _ =
            writer.push(&Record { kind: Kind::RunEnd, offset: log.len() as u64, wall: Timestamp(9_000), run: Run(1) });
        assert_eq!(writer.len() % 32, 0, "a torn index");
    }
}

/// Whole records out of bytes.
fn records(bytes: &[u8], inode: u64) -> Vec<u8> {
    let mut all = Vec::new();
    for piece in bytes.chunks_exact(PIECE) {
        let &[kind, offset, high, wall, run, own] = piece else { continue };
        let kind = match kind % 5 {
            0 => Kind::Log,
            1 => Kind::RunStart,
            2 => Kind::Time,
            3 => Kind::RunEnd,
            _ => Kind::Gap,
        };
        let far = if high == u8::MAX { u64::MAX - u64::from(offset) } else { u64::from(offset) };
        let run = if kind == Kind::Log && own & 1 == 0 { inode } else { u64::from(run) };
        let wall = Timestamp(i64::from(wall) * 100 * if own & 2 == 0 { 1 } else { i64::MAX / 100_000 });
        all.extend(Record { kind, offset: far, wall, run: Run(run) }.encode());
    }
    all
}
