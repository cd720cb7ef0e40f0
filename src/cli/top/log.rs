//! The log of one instance: what is kept of it and which part is seen.

use std::collections::VecDeque;

use ratatui::crossterm::event::KeyCode;
use unicode_width::UnicodeWidthChar as _;

use crate::cli::output::{tame, tame_but_colors};
use crate::cli::time::clock;
use crate::model::log::LogLine;

/// How many lines are kept.
const LINES: usize = 5_000;
/// How far a page key moves.
const PAGE: usize = 10;

/// Lines, the newest last.
#[derive(Debug, Default)]
pub(super) struct Log {
    /// Which reading of a log the lines are of.
    number: u64,
    lines: VecDeque<String>,
    /// How many lines lie below those that are seen; 0: what comes is shown.
    pub(super) behind: usize,
}

impl Log {
    /// Begins another log; what still comes of the one before it is left out.
    pub(super) fn begin(&mut self, number: u64) {
        *self = Self { number, ..Self::default() };
    }

    /// Empties it where it is of this number: its lines come again.
    pub(super) fn anew(&mut self, number: u64) {
        if number == self.number {
            self.begin(number);
        }
    }

    /// Adds a line of the log with this number.
    pub(super) fn line(&mut self, number: u64, line: &LogLine) {
        self.add(number, format!("{} {}", clock(line.at), without_colours(&line.line)));
    }

    /// Says that so many lines are missing here.
    pub(super) fn lost(&mut self, number: u64, count: u64) {
        self.add(number, format!("… {count} lines are missing here: they came faster than they were read"));
    }

    fn add(&mut self, number: u64, text: String) {
        if number != self.number {
            return;
        }
        self.lines.push_back(text);
        if self.behind > 0 {
            // Who reads further up is not moved by what comes below.
            self.behind += 1;
        }
        while self.lines.len() > LINES {
            self.lines.pop_front();
        }
        self.behind = self.behind.min(self.lines.len().saturating_sub(1));
    }

    /// Moves within the log.
    pub(super) fn go(&mut self, code: KeyCode) {
        let most = self.lines.len().saturating_sub(1);
        self.behind = match code {
            KeyCode::Up | KeyCode::Char('k') => self.behind + 1,
            KeyCode::Down | KeyCode::Char('j') => self.behind.saturating_sub(1),
            KeyCode::PageUp => self.behind + PAGE,
            KeyCode::PageDown => self.behind.saturating_sub(PAGE),
            KeyCode::Home | KeyCode::Char('g') => most,
            KeyCode::End | KeyCode::Char('G') => 0,
            _ => self.behind,
        }
        .min(most);
    }

    /// The last lines that fit into so many rows, those that are too wide broken over several.
    pub(super) fn seen(&self, width: usize, rows: usize) -> Vec<String> {
        let mut seen: VecDeque<String> = VecDeque::new();
        for line in self.lines.iter().rev().skip(self.behind) {
            for piece in broken(line, width).into_iter().rev() {
                if seen.len() == rows {
                    return seen.into();
                }
                seen.push_front(piece);
            }
        }
        seen.into()
    }

    /// The last lines, each in one row.
    pub(super) fn tail(&self, rows: usize) -> impl Iterator<Item = &str> {
        self.lines.range(self.lines.len().saturating_sub(rows)..).map(String::as_str)
    }
}

/// A line in pieces of at most `width` columns.
fn broken(line: &str, width: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for letter in line.chars() {
        let columns = letter.width().unwrap_or(0);
        if used + columns > width && used > 0 {
            pieces.push(String::new());
            used = 0;
        }
        used += columns;
        if let Some(piece) = pieces.last_mut() {
            piece.push(letter);
        }
    }
    pieces
}

/// A child's line as it can be shown anywhere: its colours left out, what else could steer a terminal written out.
fn without_colours(line: &str) -> String {
    let mut out = String::new();
    // Only colours are left of what begins with an escape.
    for (number, part) in tame_but_colors(line).split('\x1b').enumerate() {
        match part.split_once('m') {
            Some((_, text)) if number > 0 => out.push_str(text),
            _ => out.push_str(part),
        }
    }
    tame(&out).replace('\t', "    ")
}
