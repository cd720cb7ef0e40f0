//! Where words go: data to stdout, talk to stderr; colour only where a person looks at it.

use std::fmt::Write as _;
use std::io::{ErrorKind, IsTerminal as _, Write as _};

use anstyle::{AnsiColor, Style};
use clap::ValueEnum;
use serde::Serialize;

use crate::cli::failure::Failure;

/// `--color`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether to colour what goes to a place that is a terminal or not.
    pub(crate) fn decide(self, terminal: bool, no_color: bool, dumb: bool) -> bool {
        match self {
            Self::Auto => terminal && !no_color && !dumb,
            Self::Always => true,
            Self::Never => false,
        }
    }
}

/// What a text means; colour repeats it, words say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// All is well.
    Good,
    /// On its way, or worth a look.
    Busy,
    /// Trouble.
    Bad,
    /// Beside the point.
    Dim,
    /// A heading.
    Strong,
    /// One of several services, by its place.
    Service(usize),
}

/// Colours that tell services apart; red, black and white are left out for they mean something else.
const SERVICE_COLORS: [AnsiColor; 10] = [
    AnsiColor::Cyan,
    AnsiColor::Yellow,
    AnsiColor::Green,
    AnsiColor::Magenta,
    AnsiColor::Blue,
    AnsiColor::BrightCyan,
    AnsiColor::BrightYellow,
    AnsiColor::BrightGreen,
    AnsiColor::BrightMagenta,
    AnsiColor::BrightBlue,
];

/// Colours texts, or leaves them plain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Paint(pub(crate) bool);

impl Paint {
    /// `text` in the colour of `tone`.
    pub(crate) fn text(self, tone: Tone, text: &str) -> String {
        if !self.0 || text.is_empty() {
            return text.to_owned();
        }
        let style = match tone {
            Tone::Plain => return text.to_owned(),
            Tone::Good => Style::new().fg_color(Some(AnsiColor::Green.into())),
            Tone::Busy => Style::new().fg_color(Some(AnsiColor::Yellow.into())),
            Tone::Bad => Style::new().fg_color(Some(AnsiColor::Red.into())),
            Tone::Dim => Style::new().dimmed(),
            Tone::Strong => Style::new().bold(),
            Tone::Service(place) => {
                Style::new().fg_color(SERVICE_COLORS.get(place % SERVICE_COLORS.len()).copied().map(Into::into))
            }
        };
        format!("{style}{text}{style:#}")
    }
}

/// One of the two places words go to.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surface {
    /// Whether a person looks at it.
    pub(crate) terminal: bool,
    /// Its colours.
    pub(crate) paint: Paint,
    /// Its columns; none: as wide as it takes.
    pub(crate) width: Option<usize>,
}

/// Both places, and how much to say.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Data.
    pub(crate) stdout: Surface,
    /// Talk.
    pub(crate) stderr: Surface,
    /// Whether data are JSON.
    pub(crate) json: bool,
    /// Whether to leave out talk that is no trouble.
    pub(crate) quiet: bool,
    /// Whether to say more.
    pub(crate) verbose: bool,
}

impl Output {
    /// The process's own stdout and stderr.
    pub(crate) fn new(color: ColorChoice, json: bool, quiet: bool, verbose: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        let surface = |terminal: bool, size: Option<(terminal_size::Width, terminal_size::Height)>| Surface {
            terminal,
            paint: Paint(color.decide(terminal, no_color, dumb)),
            width: if terminal { size.map(|(width, _)| usize::from(width.0)).filter(|width| *width > 0) } else { None },
        };
        let (out, err) = (std::io::stdout(), std::io::stderr());
        Self {
            stdout: surface(out.is_terminal(), terminal_size::terminal_size_of(&out)),
            stderr: surface(err.is_terminal(), terminal_size::terminal_size_of(&err)),
            json,
            quiet,
            verbose,
        }
    }

    /// Writes data, as it is.
    ///
    /// # Errors
    /// [`Failure::PipeClosed`] when nobody reads any more; otherwise what the system says.
    #[expect(clippy::unused_self, reason = "all words go through the one who knows where they go")]
    pub(crate) fn data(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|error| match error.kind() {
            ErrorKind::BrokenPipe => Failure::PipeClosed,
            _ => Failure::failed(format!("cannot write to stdout: {error}")),
        })
    }

    /// Writes data and ends the line.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub(crate) fn line(&self, text: &str) -> Result<(), Failure> {
        self.data(&format!("{text}\n"))
    }

    /// Writes one JSON object on a line of its own.
    ///
    /// # Errors
    /// As [`Output::data`].
    pub(crate) fn object<T: Serialize>(&self, value: &T) -> Result<(), Failure> {
        self.line(&json(value)?)
    }

    /// Says something on stderr that is no trouble: left out with `-q`.
    pub(crate) fn talk(&self, text: &str) {
        if !self.quiet {
            say(&format!("{text}\n"));
        }
    }

    /// Says something on stderr that matters whatever was asked for.
    #[expect(clippy::unused_self, reason = "all words go through the one who knows where they go")]
    pub(crate) fn trouble(&self, text: &str) {
        say(text);
    }

    /// Where `talk` ends up in colour.
    pub(crate) fn talk_paint(&self) -> Paint {
        self.stderr.paint
    }
}

/// `value` as one line of JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub(crate) fn json<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| Failure::failed(format!("cannot write the answer as JSON: {error}")))
}

/// Writes to stderr; whether anybody reads it changes nothing.
pub(crate) fn say(text: &str) {
    let mut stderr = std::io::stderr().lock();
    let _ = stderr.write_all(text.as_bytes());
    let _ = stderr.flush();
}

/// `text` with what could steer a terminal written out, colours included.
pub(crate) fn tame(text: &str) -> String {
    clean(text, false)
}

/// `text` with what could steer a terminal written out, but colours kept (and ended where the line ends).
pub(crate) fn tame_but_colors(text: &str) -> String {
    clean(text, true)
}

fn clean(text: &str, colors: bool) -> String {
    if !text.chars().any(|c| c.is_control() && c != '\t') {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut colored = false;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if colors && let Some(length) = color_sequence(rest) {
            out.push_str(&rest[..length]);
            colored = true;
            rest = &rest[length..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        match c {
            '\t' => out.push(c),
            // A line of a CRLF writer; nothing would be shown for it anyway.
            '\r' if rest.is_empty() => {}
            '\r' => out.push_str("\\r"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() && u32::from(c) < 0x100 => {
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    if colored {
        out.push_str("\x1b[0m");
    }
    out
}

/// The length of the colour sequence (`ESC [ … m`) that `text` begins with.
fn color_sequence(text: &str) -> Option<usize> {
    let body = text.strip_prefix("\x1b[")?;
    let length = body.find(|c: char| !c.is_ascii_digit() && c != ';' && c != ':')?;
    body[length..].starts_with('m').then_some(2 + length + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_unless_someone_says_otherwise() {
        for (choice, terminal, no_color, dumb, expected) in [
            (ColorChoice::Auto, true, false, false, true),
            (ColorChoice::Auto, true, true, false, false),
            (ColorChoice::Auto, true, false, true, false),
            (ColorChoice::Auto, false, false, false, false),
            (ColorChoice::Always, false, true, true, true),
            (ColorChoice::Never, true, false, false, false),
        ] {
            assert_eq!(choice.decide(terminal, no_color, dumb), expected, "{choice:?} {terminal} {no_color} {dumb}");
        }
    }

    #[test]
    fn what_could_steer_a_terminal_is_written_out() {
        for (raw, all, kept) in [
            ("plain", "plain", "plain"),
            ("tab\there", "tab\there", "tab\there"),
            ("crlf\r", "crlf", "crlf"),
            ("50%\r100%", "50%\\r100%", "50%\\r100%"),
            ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("\x1b[2Jgone", "\\x1b[2Jgone", "\\x1b[2Jgone"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07", "\\x1b]0;title\\x07"),
            ("c1 \u{9b}2J", "c1 \\x9b2J", "c1 \\x9b2J"),
            ("cut \x1b[3", "cut \\x1b[3", "cut \\x1b[3"),
        ] {
            assert_eq!((tame(raw).as_str(), tame_but_colors(raw).as_str()), (all, kept), "{raw:?}");
        }
    }

    #[test]
    fn paint_that_is_off_leaves_texts_alone() {
        assert_eq!(Paint(false).text(Tone::Bad, "x"), "x");
        assert_eq!(Paint(true).text(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(Paint(true).text(Tone::Plain, "x"), "x");
    }
}
