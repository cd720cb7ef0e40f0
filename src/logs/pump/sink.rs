//! One stream's log file: takes bytes from a pipe, marks times and runs, rotates between lines.

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{OFlag, SpliceFFlags, splice};

use crate::logs::LONGEST_LINE;
use crate::logs::folder::Folder;
use crate::logs::index::{IndexWriter, Kind, Record, newest};
use crate::logs::names::Place;
use crate::logs::pump::loss::Loss;
use crate::logs::pump::scratch::Scratch;
use crate::logs::rotate::{complete, rotate};
use crate::model::names::Run;
use crate::model::units::Timestamp;
use crate::os::killpoint;

/// While bytes keep coming, a time mark is written this often.
const MARK_MS: i64 = 100;

/// As often where another stream of the instance wrote in between, so that their lines can be put in order.
const INTERLEAVED_MARK_MS: i64 = 5;

/// While bytes keep coming, the file's name is looked at this often: it may have been taken away from outside.
const CHECK_US: u64 = 1_000_000;

/// A rotation that failed is tried again this much later.
const ROTATE_AGAIN_US: u64 = 60_000_000;

/// No time marks beyond this length of the index, or that of the log where it is larger.
const INDEX_ENOUGH: u64 = 256 * 1024;

/// What one turn of the thread lends to the streams it serves.
#[derive(Debug)]
pub(super) struct Turn {
    /// The monotonic clock, in microseconds.
    pub now_us: u64,
    /// The time of day.
    pub wall: Timestamp,
    /// Whether another stream of the same instance wrote since this one did.
    pub interleaved: bool,
}

/// What became of one look at a pipe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pulled {
    /// Bytes taken from the pipe.
    pub taken: usize,
    /// Of these, bytes now in the file.
    pub kept: usize,
    /// Whether every writer is gone and the pipe is empty.
    pub end: bool,
}

/// One stream's way to disk.
#[derive(Debug)]
pub(super) struct Sink {
    place: Place,
    max_size: u64,
    keep: u32,
    run: Run,
    began: Timestamp,
    /// Whether an earlier sink may have kept some of the run's output.
    goes_on: bool,
    /// The run's beginning is marked.
    begun: bool,
    /// Its end is.
    over: bool,
    copies: bool,
    log: Option<Log>,
    rotate_again_us: u64,
    /// What could not be kept.
    pub loss: Loss,
}

/// An open log file.
#[derive(Debug)]
struct Log {
    file: File,
    inode: (u64, u64),
    regular: bool,
    len: u64,
    index: Option<IndexWriter>,
    marked: Option<Timestamp>,
    checked_us: u64,
}

impl Sink {
    /// A stream of a run that begins now, or `goes_on` here. No file is touched before its first byte.
    pub(super) fn new(place: Place, max_size: u64, keep: u32, run: Run, began: Timestamp, goes_on: bool) -> Self {
        Self {
            place,
            max_size: max_size.max(1),
            keep,
            run,
            began,
            goes_on,
            begun: false,
            over: false,
            copies: false,
            log: None,
            rotate_again_us: 0,
            loss: Loss::default(),
        }
    }

    /// Takes up to `limit` bytes from `pipe`, which never blocks. Where they cannot be kept they are counted.
    pub(super) fn pull(&mut self, pipe: BorrowedFd<'_>, limit: usize, turn: &Turn, scratch: &mut Scratch) -> Pulled {
        let mut pulled = Pulled::default();
        if !self.loss.waits(turn.now_us) {
            match self.keep(pipe, limit, turn, scratch, &mut pulled) {
                Ok(()) => {
                    if pulled.kept > 0 {
                        self.loss.recovered();
                    }
                    return pulled;
                }
                Err(error) => {
                    self.log = None;
                    self.loss.failed(format!("cannot write the log {}: {error}", self.name()), turn.now_us);
                }
            }
        }
        while pulled.taken < limit {
            match scratch.take(pipe, limit - pulled.taken) {
                Ok([]) | Err(Errno::EIO) => {
                    pulled.end = true;
                    break;
                }
                Ok(bytes) => {
                    pulled.taken += bytes.len();
                    self.loss.lost(bytes.len());
                }
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        pulled
    }

    /// Marks the run's end behind its last byte, unless it is marked.
    pub(super) fn end(&mut self, turn: &Turn) {
        if self.goes_on && self.log.is_none() && self.has_file() {
            // Without the file there is nothing to mark.
            self.log = self.open(turn).ok();
        }
        let run = self.run;
        if let Some(log) = self.log.as_mut().filter(|_| self.begun && !self.over) {
            log.len = log.file.metadata().map_or(log.len, |meta| meta.len());
            log.note(Kind::RunEnd, turn.wall, run);
            self.over = true;
        }
    }

    fn has_file(&self) -> bool {
        let folder = Folder::open(self.place.folder(), self.place.elsewhere.is_some());
        folder.and_then(|folder| folder.status(&self.place.log)).is_ok_and(|status| status.is_some())
    }

    fn keep(
        &mut self,
        pipe: BorrowedFd<'_>,
        limit: usize,
        turn: &Turn,
        scratch: &mut Scratch,
        pulled: &mut Pulled,
    ) -> io::Result<()> {
        while pulled.taken < limit {
            self.ensure_open(turn)?;
            let wanted = match self.room(turn) {
                Room::Bytes(room) => room.min(limit - pulled.taken),
                // Copied bytes are cut at lines once they are read.
                Room::RestOfLine if self.copies => limit - pulled.taken,
                Room::RestOfLine => match scratch.peek(pipe) {
                    Ok([]) => {
                        pulled.end = true;
                        return Ok(());
                    }
                    Ok(bytes) => match self.until_line_end(bytes) {
                        0 => {
                            self.rotate(turn);
                            continue;
                        }
                        rest => rest,
                    },
                    Err(Errno::EAGAIN) => return Ok(()),
                    Err(Errno::EINTR) => continue,
                    Err(Errno::EINVAL) => {
                        self.copies = true;
                        continue;
                    }
                    Err(errno) => return Err(errno.into()),
                },
            };
            if self.copies {
                return self.copy(pipe, wanted.min(limit), turn, scratch, pulled);
            }
            self.mark(turn);
            let Some(log) = self.log.as_mut() else { return Ok(()) };
            let mut offset = i64::try_from(log.len).unwrap_or(i64::MAX);
            let position = log.regular.then_some(&mut offset);
            let flags = SpliceFFlags::SPLICE_F_NONBLOCK | SpliceFFlags::SPLICE_F_MOVE;
            killpoint::pass("splice");
            match splice(pipe, None, &log.file, position, wanted, flags) {
                Ok(0) => {
                    pulled.end = true;
                    return Ok(());
                }
                Ok(moved) => {
                    killpoint::pass("spliced");
                    log.len += moved as u64;
                    pulled.taken += moved;
                    pulled.kept += moved;
                    // Less than wanted: the pipe is empty. Asking it again is left to the next turn.
                    if moved < wanted {
                        return Ok(());
                    }
                }
                Err(Errno::EAGAIN) => return Ok(()),
                Err(Errno::EINTR) => {}
                // Not a pipe, or a file that takes no splice.
                Err(Errno::EINVAL) => self.copies = true,
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(())
    }

    /// The way for what cannot be spliced: bytes pass through memory.
    fn copy(
        &mut self,
        pipe: BorrowedFd<'_>,
        limit: usize,
        turn: &Turn,
        scratch: &mut Scratch,
        pulled: &mut Pulled,
    ) -> io::Result<()> {
        let mut rest = match scratch.take(pipe, limit) {
            // A terminal whose other side is closed answers EIO.
            Ok([]) | Err(Errno::EIO) => {
                pulled.end = true;
                return Ok(());
            }
            Ok(bytes) => bytes,
            Err(Errno::EAGAIN | Errno::EINTR) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        pulled.taken += rest.len();
        while !rest.is_empty() {
            let written = self.write_some(rest, turn);
            match written {
                Ok(0) => {}
                Ok(n) => {
                    pulled.kept += n;
                    rest = &rest[n..];
                }
                Err(error) => {
                    self.loss.lost(rest.len());
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Writes the front of `bytes` as far as the current file takes it; 0: it was rotated.
    fn write_some(&mut self, bytes: &[u8], turn: &Turn) -> io::Result<usize> {
        self.ensure_open(turn)?;
        let n = match self.room(turn) {
            Room::Bytes(room) => room.min(bytes.len()),
            Room::RestOfLine => match self.until_line_end(bytes) {
                0 => {
                    self.rotate(turn);
                    return Ok(0);
                }
                rest => rest,
            },
        };
        self.mark(turn);
        let Some(log) = self.log.as_mut() else { return Ok(0) };
        if log.regular {
            log.file.write_all_at(&bytes[..n], log.len)?;
        } else {
            io::Write::write_all(&mut log.file, &bytes[..n])?;
        }
        log.len += n as u64;
        Ok(n)
    }

    /// Opens the file if it is not, or if it was taken away from outside; takes its length as it is now.
    fn ensure_open(&mut self, turn: &Turn) -> io::Result<()> {
        if let Some(log) = &mut self.log
            && log.regular
        {
            let meta = log.file.metadata()?;
            let mut here = meta.nlink() > 0;
            if here && turn.now_us.saturating_sub(log.checked_us) >= CHECK_US {
                log.checked_us = turn.now_us;
                let folder = Folder::open(self.place.folder(), self.place.elsewhere.is_some());
                let status = folder.and_then(|folder| folder.status(&self.place.log));
                here = status.is_ok_and(|s| s.is_some_and(|s| (s.st_dev, s.st_ino) == log.inode));
            }
            if meta.len() < log.len
                && let Some(index) = &mut log.index
                && index.restart(meta.ino()).is_err()
            {
                log.index = None;
            }
            log.len = meta.len();
            if !here {
                self.log = None;
            }
        }
        if self.log.is_none() {
            self.log = Some(self.open(turn)?);
        }
        Ok(())
    }

    fn open(&mut self, turn: &Turn) -> io::Result<Log> {
        let state = Folder::make(&self.place.state)?;
        let elsewhere = self.place.elsewhere.as_deref().map(|path| Folder::open(path, true)).transpose()?;
        let file = elsewhere.as_ref().unwrap_or(&state).file(&self.place.log, OFlag::O_RDWR | OFlag::O_CREAT)?;
        let meta = file.metadata()?;
        let regular = meta.is_file();
        if !regular && !meta.file_type().is_char_device() {
            return Err(io::Error::other("it is not a regular file"));
        }
        self.leave_note(&state)?;
        if self.goes_on && !self.begun {
            // Without it the times and runs of one file are not known.
            let _ = complete(&self.place);
        }
        let mut log = Log {
            inode: (meta.dev(), meta.ino()),
            regular,
            len: if regular { meta.len() } else { 0 },
            // Without an index lines are still kept, only their times and runs are not.
            index: regular.then(|| IndexWriter::open(&state, &self.place.index, meta.ino(), meta.len()).ok()).flatten(),
            marked: None,
            checked_us: turn.now_us,
            file,
        };
        if !self.begun {
            match self.marked_before(&log, &state) {
                Some(kind) => self.over = kind == Kind::RunEnd,
                None => log.note(Kind::RunStart, self.began, self.run),
            }
            self.begun = true;
        }
        Ok(log)
    }

    /// What an earlier sink marked last of this run; none where nothing of it was kept.
    fn marked_before(&self, log: &Log, state: &Folder) -> Option<Kind> {
        if !self.goes_on {
            return None;
        }
        let rotated = |age| newest(&state.file(&self.place.aged(age).1, OFlag::O_RDONLY).ok()?);
        // A rotation that was cut short leaves a gap of one.
        let last = log.index.as_ref().and_then(IndexWriter::newest).or_else(|| rotated(1)).or_else(|| rotated(2))?;
        (last.run == self.run).then_some(last.kind)
    }

    /// Says in the state folder where a merged log elsewhere is, so that it is found when nothing runs.
    fn leave_note(&self, state: &Folder) -> io::Result<()> {
        let Some(note) = &self.place.note else { return Ok(()) };
        let Some(elsewhere) = &self.place.elsewhere else { return state.remove(note) };
        let path = elsewhere.join(&self.place.log);
        let file = state.file(note, OFlag::O_RDWR | OFlag::O_CREAT)?;
        file.set_len(0)?;
        file.write_all_at(path.as_os_str().as_bytes(), 0)
    }

    fn room(&self, turn: &Turn) -> Room {
        let Some(log) = self.log.as_ref().filter(|log| log.regular) else { return Room::Bytes(usize::MAX) };
        match self.max_size.checked_sub(log.len) {
            None | Some(0) if turn.now_us >= self.rotate_again_us => Room::RestOfLine,
            None | Some(0) => Room::Bytes(usize::MAX),
            Some(room) => Room::Bytes(usize::try_from(room).unwrap_or(usize::MAX)),
        }
    }

    /// How many of the next `bytes` still belong to the last line of a full file; 0: it ends between two lines, or its
    /// last line is so long that it is torn.
    fn until_line_end(&self, bytes: &[u8]) -> usize {
        let Some(log) = &self.log else { return 0 };
        let over = usize::try_from(log.len.saturating_sub(self.max_size)).unwrap_or(usize::MAX);
        if over >= LONGEST_LINE || log.ends_a_line() {
            return 0;
        }
        let rest = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |newline| newline + 1);
        rest.min(LONGEST_LINE - over)
    }

    fn rotate(&mut self, turn: &Turn) {
        match rotate(&self.place, self.keep) {
            Ok(()) => self.log = None,
            Err(error) => {
                self.rotate_again_us = turn.now_us + ROTATE_AGAIN_US;
                self.loss.notice(format!("cannot rotate the log {}: {error}", self.name()));
            }
        }
    }

    /// Notes the time of the bytes that come next, where the last mark is too old to speak for them.
    fn mark(&mut self, turn: &Turn) {
        if self.over {
            // Its end stays the last that is said of the run; what orphans still write belongs to it too.
            return;
        }
        let (run, gap) = (self.run, self.loss.is_failing());
        let Some(log) = &mut self.log else { return };
        let Some(index) = &log.index else { return };
        let age = log.marked.map_or(i64::MAX, |marked| turn.wall.0.saturating_sub(marked.0));
        let wanted = if turn.interleaved { INTERLEAVED_MARK_MS } else { MARK_MS };
        let due = !(0..wanted).contains(&age) && index.len() <= log.len.max(INDEX_ENOUGH);
        if gap || due {
            log.note(if gap { Kind::Gap } else { Kind::Time }, turn.wall, run);
            log.marked = Some(turn.wall);
        }
    }

    fn name(&self) -> String {
        self.place.folder().join(&self.place.log).display().to_string()
    }
}

/// What a file can take before it is full.
enum Room {
    /// So many bytes, at least one.
    Bytes(usize),
    /// It is full: only what its last line lacks.
    RestOfLine,
}

impl Log {
    /// Writes a record about the end of the file as it is now. A failure costs only precision.
    fn note(&mut self, kind: Kind, wall: Timestamp, run: Run) {
        let record = Record { kind, offset: self.len, wall, run };
        if let Some(index) = &mut self.index {
            let _ = index.push(&record);
        }
    }

    fn ends_a_line(&self) -> bool {
        let mut last = [0];
        match self.len.checked_sub(1) {
            Some(at) => self.file.read_exact_at(&mut last, at).is_err() || last == *b"\n",
            None => true,
        }
    }
}
