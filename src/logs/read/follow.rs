//! Lines as they come, across rotations.

use std::collections::VecDeque;
use std::io;

use crate::logs::read::cutter::Cutter;
use crate::logs::read::file::LogFile;
use crate::logs::read::source::{Source, find};
use crate::logs::read::{Filter, Line, Query, Reader, filter, last, merge, tail};
use crate::model::log::LogLine;
use crate::model::units::Timestamp;

/// How much of one stream is read before the others get their turn.
const TURN: u64 = 256 * 1024;

/// Follows the streams of a query. Not finished by the end of a run: a later run is followed too, unless the query
/// names one.
#[derive(Debug)]
pub struct Follower {
    reader: Reader,
    query: Query,
    /// Lines from before the start, to be given first.
    first: VecDeque<LogLine>,
    streams: Vec<Following>,
    /// The folder's time of change when it was last searched for new streams.
    searched: Option<(i64, i64)>,
}

#[derive(Debug)]
struct Following {
    source: Source,
    filter: Filter,
    place: Option<(LogFile, Cutter)>,
    lines: VecDeque<Line>,
    /// Whether there is more to read at once.
    more: bool,
}

impl Follower {
    pub(super) fn start(reader: Reader, query: Query) -> io::Result<Self> {
        let searched = changed(&reader);
        let (mut streams, mut merged) = (Vec::new(), Vec::new());
        let all = reader.with_runs(&query)?;
        for source in find(&reader.dir, &query)? {
            let filter = filter(&query, &source.instance, &all)?;
            let tail = tail::tail(&source, &filter, query.lines)?;
            let place = tail.current.map(|(file, start)| (file, Cutter::at(start)));
            merged.push((source.clone(), tail.lines.into_iter()));
            streams.push(Following { source, filter, place, lines: VecDeque::new(), more: true });
        }
        let first = last(merge(merged), query.lines).into();
        Ok(Self { reader, query, first, streams, searched })
    }

    /// The lines there are by now, at most `max`, streams merged by time. Empty: call again after progress. A line
    /// without its newline is held back until that comes or its run ends.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn next_lines(&mut self, max: usize) -> io::Result<Vec<LogLine>> {
        if !self.first.is_empty() {
            let n = max.min(self.first.len());
            return Ok(self.first.drain(..n).collect());
        }
        self.search()?;
        for stream in &mut self.streams {
            if stream.lines.len() < max {
                stream.read()?;
            }
        }
        // What a stream has not read yet must not be overtaken by later lines of others.
        let unread = self.streams.iter().filter(|stream| stream.more);
        let horizon = unread.filter_map(|stream| stream.lines.iter().map(|line| line.at).max()).min();
        let horizon = horizon.unwrap_or(Timestamp(i64::MAX));
        let mut ready = Vec::new();
        for stream in &mut self.streams {
            let count = stream.lines.iter().take(max).take_while(|line| line.at <= horizon).count();
            ready.push((stream.source.clone(), stream.lines.drain(..count).collect::<Vec<_>>().into_iter()));
        }
        let mut lines = merge(ready);
        let later = lines.split_off(max.min(lines.len()));
        self.first = later.into();
        Ok(lines)
    }

    /// Looks for streams that came into being since.
    fn search(&mut self) -> io::Result<()> {
        let now = changed(&self.reader);
        if now == self.searched {
            return Ok(());
        }
        self.searched = now;
        let all = self.reader.with_runs(&self.query)?;
        for source in find(&self.reader.dir, &self.query)? {
            if self.streams.iter().any(|stream| stream.source.is(&source)) {
                continue;
            }
            let filter = filter(&self.query, &source.instance, &all)?;
            let oldest = source.files()?.pop();
            let place = oldest.map(|file| (file, Cutter::at(0)));
            self.streams.push(Following { source, filter, place, lines: VecDeque::new(), more: true });
        }
        Ok(())
    }
}

impl Following {
    /// Reads on, from file to file, at most a turn's worth.
    fn read(&mut self) -> io::Result<()> {
        let mut left = TURN;
        let mut superseded = false;
        self.more = false;
        if self.place.is_none() {
            self.place = self.source.files()?.pop().map(|file| (file, Cutter::at(0)));
        }
        while let Some((file, cutter)) = &mut self.place {
            let (filter, lines) = (&self.filter, &mut self.lines);
            let mut keep = |line: Line| {
                if filter.takes(&line) {
                    lines.push_back(line);
                }
            };
            // A mark is written before the bytes it speaks of, so the index read now knows the bytes read next only
            // if their length was asked before.
            let end = file.file.metadata()?.len();
            if end < cutter.next() {
                // Emptied from outside: what is in it now is new.
                *cutter = Cutter::at(0);
            }
            file.refresh();
            cutter.feed(&[], file.index.breaks(), &mut |at, bytes| keep(file.line(at, bytes)));
            let read = file.scan(cutter, end.min(cutter.next() + left), &mut keep)?;
            cutter.feed(&[], file.index.breaks(), &mut |at, bytes| keep(file.line(at, bytes)));
            left -= read.min(left);
            if left == 0 {
                self.more = true;
                return Ok(());
            }
            if cutter.next() < end {
                continue;
            }
            if !superseded {
                // The name is looked at first and the file once more after it: what was written until the rotation
                // is read before the next file is.
                superseded = self.source.current_inode()? != Some(file.inode);
                if superseded {
                    continue;
                }
                return Ok(());
            }
            let Some(next) = self.source.after(file)? else { return Ok(()) };
            cutter.close(&mut |at, bytes| keep(file.line(at, bytes)));
            self.place = Some((next, Cutter::at(0)));
            superseded = false;
        }
        Ok(())
    }
}

fn changed(reader: &Reader) -> Option<(i64, i64)> {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(&reader.dir).ok().map(|meta| (meta.mtime(), meta.mtime_nsec()))
}
