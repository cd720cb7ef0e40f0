//! The last lines of one stream, found from its end.

use std::collections::VecDeque;
use std::io;

use crate::logs::read::cutter::Cutter;
use crate::logs::read::file::LogFile;
use crate::logs::read::source::Source;
use crate::logs::read::{Filter, Line};

/// How far back the first look goes; each further look goes four times as far.
const FIRST_LOOK: u64 = 64 * 1024;

/// The end of a stream.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Whole lines that the filter takes, oldest first.
    pub lines: VecDeque<Line>,
    /// The last line as far as it was written, if its newline is missing; not filtered.
    pub partial: Option<Line>,
    /// The current log, and where the line that has begun starts in it.
    pub current: Option<(LogFile, u64)>,
}

/// The last `n` lines of `source` that `filter` takes.
pub(super) fn tail(source: &Source, filter: &Filter, n: usize) -> io::Result<Tail> {
    let mut tail = Tail::default();
    for (age, file) in source.files()?.into_iter().enumerate() {
        let end = file_tail(&file, filter, n - tail.lines.len())?;
        let partial = end.partial.map(|(start, bytes)| (start, file.line(start, &bytes)));
        if age == 0 {
            let (start, line) = partial.unzip();
            tail.partial = line;
            tail.current = Some((file, start.unwrap_or(end.reached)));
        } else if let Some((_, line)) = partial.filter(|(_, line)| filter.takes(line)) {
            // Nothing will be added to an older file: its last line is whole.
            tail.lines.push_front(line);
        }
        for line in end.lines.into_iter().rev() {
            tail.lines.push_front(line);
        }
        while tail.lines.len() > n {
            tail.lines.pop_front();
        }
        if end.is_enough || tail.lines.len() == n {
            break;
        }
    }
    Ok(tail)
}

struct FileTail {
    lines: VecDeque<Line>,
    partial: Option<(u64, Vec<u8>)>,
    reached: u64,
    /// Nothing earlier can be taken.
    is_enough: bool,
}

fn file_tail(file: &LogFile, filter: &Filter, n: usize) -> io::Result<FileTail> {
    let mut look = FIRST_LOOK;
    loop {
        let from = file.len.saturating_sub(look);
        look = look.saturating_mul(4);
        let Some(start) = file.line_start(from, file.len)? else { continue };
        let (mut lines, mut is_enough, mut first) = (VecDeque::new(), false, true);
        let mut take = |line: Line| {
            is_enough |= std::mem::take(&mut first) && filter.is_before(&line);
            if filter.takes(&line) {
                lines.push_back(line);
                if lines.len() > n {
                    lines.pop_front();
                }
            }
        };
        let mut cutter = Cutter::at(start);
        file.scan(&mut cutter, file.len, &mut take)?;
        // The end of a run that was marked at the very end of the file.
        cutter.feed(&[], file.index.breaks(), &mut |at, bytes| take(file.line(at, bytes)));
        if lines.len() >= n || is_enough || start == 0 {
            let partial = Some(cutter.pending().to_vec()).filter(|bytes| !bytes.is_empty());
            let partial = partial.map(|bytes| (cutter.start(), bytes));
            return Ok(FileTail { lines, partial, reached: cutter.next(), is_enough });
        }
    }
}
