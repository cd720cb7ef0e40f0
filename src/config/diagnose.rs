//! What is wrong with a file: where, in which words, and what to write instead.

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::document::{Node, Place};
use crate::config::secret::masked;

/// How many diagnostics of one file are kept; the rest is only counted.
const MOST: usize = 100;
/// The longest line that is drawn, in bytes; a longer one is named by line and column only.
const WIDEST: usize = 2_000;

/// Everything that is to be said about one file, in the file's order. Serialized, it is the form of `--json`.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Diagnostics {
    /// Version of this shape: 1.
    v: u32,
    /// The file.
    file: PathBuf,
    /// Whether nothing of it is an error.
    valid: bool,
    /// What is to be said.
    #[serde(rename = "diagnostics")]
    list: Vec<Diagnostic>,
    /// How many more there are than the hundred that are listed.
    more: usize,
    #[serde(skip)]
    source: String,
}

/// One remark about a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Diagnostic {
    /// Whether it makes the file invalid.
    pub severity: Severity,
    /// The line, from 1; 0 when it is about the file as a whole.
    pub line: usize,
    /// The column in characters, from 1; 0 when it is about the file as a whole.
    pub column: usize,
    /// How many characters of that line it is about.
    pub length: usize,
    /// The key's path, such as `services.web.restart`; empty at the top of the file.
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// How grave a [`Diagnostic`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// Worth knowing; the file is taken.
    Note,
}

impl Diagnostics {
    /// Turns what was found in `source` into what people read; `tree` gives the paths.
    pub(super) fn new(file: &Path, source: &str, tree: Option<&Node>, faults: Faults) -> Self {
        let mut list = faults.list;
        list.sort_by_key(|fault| fault.place);
        let list: Vec<Diagnostic> = list.into_iter().map(|fault| fault.located(source, tree)).collect();
        let valid = list.iter().all(|one| one.severity == Severity::Note);
        Self { v: 1, file: file.to_owned(), valid, list, more: faults.more, source: source.to_owned() }
    }

    /// One error about a file that could not even be read.
    pub(super) fn unreadable(file: &Path, message: String, help: Option<String>) -> Self {
        let diagnostic =
            Diagnostic { severity: Severity::Error, line: 0, column: 0, length: 0, path: String::new(), message, help };
        Self { v: 1, file: file.to_owned(), valid: false, list: vec![diagnostic], more: 0, source: String::new() }
    }

    /// Whether none of them is an error.
    pub fn is_valid(&self) -> bool {
        self.valid
    }

    /// The file they are about.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Each of them, in the file's order; at most a hundred.
    pub fn list(&self) -> &[Diagnostic] {
        &self.list
    }

    /// The text for a terminal: each with file:line:column, its line underlined, and what to do.
    pub fn render(&self, color: bool) -> String {
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        let mut out = String::new();
        for (at, diagnostic) in self.list.iter().enumerate() {
            if at > 0 {
                out.push('\n');
            }
            out.push_str(&self.draw(diagnostic, &renderer));
            out.push('\n');
        }
        if self.more > 0 {
            let _ = writeln!(out, "\n… and {} more", self.more);
        }
        out
    }

    fn draw(&self, diagnostic: &Diagnostic, renderer: &Renderer) -> String {
        let level = match diagnostic.severity {
            Severity::Error => Level::ERROR,
            Severity::Note => Level::NOTE,
        };
        let file = printable(&self.file.display().to_string());
        let line = self.source.split('\n').nth(diagnostic.line.saturating_sub(1)).unwrap_or("").trim_end_matches('\r');
        let line = &masked(&printable(line));
        let mut group = Group::with_title(level.primary_title(printable(&diagnostic.message)));
        if diagnostic.line == 0 || line.len() > WIDEST {
            let place = if diagnostic.line == 0 {
                String::new()
            } else {
                format!(":{}:{}", diagnostic.line, diagnostic.column)
            };
            group = group.element(Level::NOTE.no_name().message(format!("--> {file}{place}")));
        } else {
            let byte = |column: usize| line.char_indices().nth(column).map_or(line.len(), |(at, _)| at);
            let start = byte(diagnostic.column.saturating_sub(1));
            let end = byte(diagnostic.column.saturating_sub(1) + diagnostic.length);
            let snippet = Snippet::source(line.to_owned())
                .line_start(diagnostic.line)
                .path(file)
                .annotation(AnnotationKind::Primary.span(start..end));
            group = group.element(snippet);
        }
        if let Some(help) = &diagnostic.help {
            group = group.element(Level::HELP.message(printable(help)));
        }
        renderer.render(&[group])
    }
}

/// As [`Diagnostics::render`] without colour.
impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl std::error::Error for Diagnostics {}

/// Text of the file inside a message must not reach the terminal as control characters.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && !matches!(c, '\n' | '\t') { '\u{fffd}' } else { c }).collect()
}

/// Collects what is wrong while the text is read.
#[derive(Debug, Default)]
pub(super) struct Faults {
    list: Vec<Fault>,
    more: usize,
    /// Where something failed only because of a variable whose own error is listed.
    followed: Option<Place>,
}

#[derive(Debug, PartialEq, Eq)]
struct Fault {
    severity: Severity,
    place: Place,
    message: String,
    help: Option<String>,
}

impl Faults {
    /// Adds an error.
    pub(super) fn add(&mut self, place: Place, message: impl Into<String>) {
        self.push(Fault { severity: Severity::Error, place, message: message.into(), help: None });
    }

    /// Adds an error and what to write instead.
    pub(super) fn add_with(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        let help = Some(help.into()).filter(|help: &String| !help.is_empty());
        self.push(Fault { severity: Severity::Error, place, message: message.into(), help });
    }

    /// Adds a remark that leaves the file valid.
    pub(super) fn note(&mut self, place: Place, message: impl Into<String>, help: impl Into<String>) {
        self.push(Fault { severity: Severity::Note, place, message: message.into(), help: Some(help.into()) });
    }

    /// Something failed because of a variable whose own error is listed.
    pub(super) fn follow(&mut self, place: Place) {
        self.followed.get_or_insert(place);
    }

    /// Makes sure that what failed is refused, also when the error it followed was no error where it was written.
    pub(super) fn finish(&mut self) {
        if let Some(place) = self.followed.take()
            && !self.has_errors()
        {
            self.add(place, "cannot expand this: it depends on what only the service's own instances know");
        }
    }

    /// Whether nothing more is listed, so that looking for help is not worth the time.
    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MOST
    }

    /// Whether an error was added.
    pub(super) fn has_errors(&self) -> bool {
        self.more > 0 || self.list.iter().any(|fault| fault.severity == Severity::Error)
    }

    fn push(&mut self, fault: Fault) {
        // What stands in `defaults` or behind an alias is read once a service, and said once.
        if self.list.contains(&fault) {
            return;
        }
        if self.is_full() {
            self.more += 1;
        } else {
            self.list.push(fault);
        }
    }
}

impl Fault {
    fn located(self, source: &str, tree: Option<&Node>) -> Diagnostic {
        let start = floor(source, self.place.start);
        let end = floor(source, self.place.end.max(start));
        let line_start = source[..start].rfind('\n').map_or(0, |at| at + 1);
        let first_line = source[start..end].split('\n').next().unwrap_or("").trim_end();
        Diagnostic {
            severity: self.severity,
            line: source[..start].matches('\n').count() + 1,
            column: source[line_start..start].chars().count() + 1,
            length: first_line.chars().count().max(1),
            path: tree.map(|tree| tree.path_at(self.place)).unwrap_or_default(),
            message: self.message,
            help: self.help,
        }
    }
}

/// The nearest character boundary at or before `at`.
fn floor(source: &str, at: usize) -> usize {
    source.floor_char_boundary(at.min(source.len()))
}
