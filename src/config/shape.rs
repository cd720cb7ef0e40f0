//! What a value may look like: one description that the decoder, its messages and the JSON schema share.

use std::time::Duration;

use crate::config::document::{Scalar, short};
use crate::config::keys::Section;
use crate::config::words::Word;
use crate::model::names::ServiceName;
use crate::model::signal::Signal;
use crate::model::units::{format_duration, format_size, parse_duration, parse_size};

/// The shortest duration that is not zero, as durations are read.
pub(super) const LEAST_SPAN: Duration = Duration::from_micros(1);

/// The shape of a key's value. Nothing (`null`) always stands for the default.
#[derive(Clone, Copy, Debug)]
pub(super) enum Shape {
    /// A text; numbers and flags are taken as they are written.
    Text,
    /// A service's name.
    Name,
    /// `true` or `false`.
    Flag,
    /// A whole number within bounds.
    Whole {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// A number within bounds.
    Decimal {
        /// The least.
        min: f64,
        /// The most.
        max: f64,
    },
    /// A duration such as `10s`.
    Duration {
        /// The least.
        least: Duration,
    },
    /// A size such as `10MiB`.
    Size {
        /// The least, in bytes.
        least: u64,
    },
    /// A limit of setrlimit(2): a number or size, or `unlimited`.
    Limit,
    /// Permission bits in octal, in quotes.
    Mode,
    /// A signal's name.
    Signal,
    /// A regular expression.
    Regex,
    /// A path, relative to the file.
    Path,
    /// `HOST:PORT`.
    Address,
    /// `HOST:PORT`, `[v6]:PORT` or `unix:PATH`.
    Listen,
    /// `restart` or `signal NAME`.
    Reload,
    /// A gitignore-style glob.
    Glob,
    /// An `http://` or `https://` URL.
    Url,
    /// Program and arguments: a text that is split into words, or a list.
    Command,
    /// A number or a range such as `64-78`.
    Range {
        /// The least.
        min: i64,
        /// The most.
        max: i64,
    },
    /// One of these words.
    Words(fn() -> Vec<&'static str>),
    /// Exactly this flag.
    Only(bool),
    /// A list of these.
    List(&'static Shape),
    /// A map from any name to these.
    Map(&'static Shape),
    /// A map with fixed keys.
    Section(&'static Section),
    /// One of these shapes.
    Any(&'static [Shape]),
    /// A key that a later version takes.
    Later,
}

impl Shape {
    /// What it is, for "expected …".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Text => "a text".to_owned(),
            Self::Name => "a service's name".to_owned(),
            Self::Flag => "true or false".to_owned(),
            Self::Whole { min, max } => format!("a whole number from {min} to {max}"),
            Self::Decimal { min, max } => format!("a number from {min} to {max}"),
            Self::Duration { least } if least.is_zero() => "a duration such as 250ms or 1h30m".to_owned(),
            Self::Duration { least } if *least == LEAST_SPAN => {
                "a duration above zero, such as 250ms or 1h30m".to_owned()
            }
            Self::Duration { least } => format!("a duration of at least {}", format_duration(*least)),
            Self::Size { least: 0..=1 } => "a size such as 10MiB".to_owned(),
            Self::Size { least } => format!("a size of at least {}", format_size(*least)),
            Self::Limit => "a number, a size or `unlimited`".to_owned(),
            Self::Mode => "permission bits in quotes, such as \"0600\"".to_owned(),
            Self::Signal => "a signal such as TERM or INT".to_owned(),
            Self::Regex => "a regular expression".to_owned(),
            Self::Path => "a path".to_owned(),
            Self::Address => "HOST:PORT".to_owned(),
            Self::Listen => "HOST:PORT, [v6]:PORT or unix:PATH".to_owned(),
            Self::Reload => "restart, or a signal such as `signal HUP`".to_owned(),
            Self::Glob => "a glob such as *.py".to_owned(),
            Self::Url => "an http:// or https:// URL".to_owned(),
            Self::Command => "a command: a text, or a list of texts".to_owned(),
            Self::Range { min, max } => {
                format!("a number from {min} to {max}, or a range such as {}-{}", min + 64, min + 78)
            }
            Self::Words(words) => listed(&words()),
            Self::Only(flag) => flag.to_string(),
            Self::List(item) => format!("a list, each entry {}", item.describe()),
            Self::Map(item) => format!("a map of names, each with {}", item.describe()),
            Self::Section(section) => format!("a map ({})", section.doc.to_lowercase().trim_end_matches('.')),
            Self::Any(shapes) => shapes.iter().map(Shape::describe).collect::<Vec<_>>().join(", or "),
            Self::Later => "nothing".to_owned(),
        }
    }
}

/// `a, b or c`.
pub(super) fn listed(words: &[&str]) -> String {
    match words.split_last() {
        Some((last, [])) => (*last).to_owned(),
        Some((last, rest)) => format!("{} or {last}", rest.join(", ")),
        None => String::new(),
    }
}

/// Why a scalar does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// What is wrong.
    pub(super) message: String,
    /// What to write instead; empty: nothing comes to mind.
    pub(super) help: String,
}

impl Misfit {
    /// With nothing to say about what to write instead.
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), help: String::new() }
    }
}

/// A value that is read from one scalar.
pub(super) trait FromScalar: Sized {
    /// Reads `scalar`, within the bounds that `shape` sets.
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit>;

    /// Stands in where the file has an error, so that reading can go on.
    fn fallback() -> Self;
}

fn unexpected(scalar: &Scalar, shape: &Shape) -> Misfit {
    let found = if scalar.number().is_some() || scalar.flag().is_some() {
        short(&scalar.text)
    } else {
        format!("{:?}", short(&scalar.text))
    };
    Misfit::new(format!("expected {}, found {found}", shape.describe()))
}

impl FromScalar for String {
    fn read(scalar: &Scalar, _: &Shape) -> Result<Self, Misfit> {
        if scalar.text.contains('\0') {
            return Err(Misfit::new("a text for a program cannot hold a NUL character"));
        }
        Ok(scalar.text.clone())
    }

    fn fallback() -> Self {
        Self::new()
    }
}

impl FromScalar for bool {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        match (scalar.flag(), shape) {
            (Some(flag), Shape::Only(wanted)) if flag != *wanted => Err(unexpected(scalar, shape)),
            (Some(flag), _) => Ok(flag),
            (None, _) => {
                let help = match scalar.text.to_ascii_lowercase().as_str() {
                    "yes" | "on" | "y" | "1" => "write `true`",
                    "no" | "off" | "n" | "0" => "write `false`",
                    "true" | "false" => "write it without quotes",
                    _ => "",
                };
                Err(Misfit { help: help.to_owned(), ..unexpected(scalar, shape) })
            }
        }
    }

    fn fallback() -> Self {
        false
    }
}

impl FromScalar for i64 {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let (Shape::Whole { min, max } | Shape::Range { min, max }) = shape else {
            return scalar.whole().ok_or_else(|| unexpected(scalar, shape));
        };
        match scalar.whole() {
            Some(number) if (*min..=*max).contains(&number) => Ok(number),
            None if Scalar::plain(scalar.text.as_str()).whole().is_some() => {
                Err(Misfit { help: "write it without quotes".to_owned(), ..unexpected(scalar, shape) })
            }
            Some(_) | None => Err(unexpected(scalar, shape)),
        }
    }

    fn fallback() -> Self {
        0
    }
}

macro_rules! narrower {
    ($($kind:ty),*) => {$(
        impl FromScalar for $kind {
            fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
                i64::read(scalar, shape).and_then(|wide| wide.try_into().map_err(|_| unexpected(scalar, shape)))
            }

            fn fallback() -> Self {
                0
            }
        }
    )*};
}
narrower!(u16, u32, i32);

impl FromScalar for f64 {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        match (scalar.number(), shape) {
            (Some(number), Shape::Decimal { min, max }) if *min <= number && number <= *max => Ok(number),
            (_, _) => Err(unexpected(scalar, shape)),
        }
    }

    fn fallback() -> Self {
        0.0
    }
}

impl FromScalar for Duration {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let duration = parse_duration(&scalar.text).map_err(|message| {
            let number = scalar.text.trim().parse::<f64>().is_ok_and(f64::is_finite);
            let help = if number { format!("write `{}s` for seconds", scalar.text.trim()) } else { String::new() };
            Misfit { message, help }
        })?;
        match shape {
            Shape::Duration { least } if duration < *least => Err(unexpected(scalar, shape)),
            _ => Ok(duration),
        }
    }

    fn fallback() -> Self {
        Self::ZERO
    }
}

/// A size in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bytes(pub(super) u64);

impl FromScalar for Bytes {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let least = if let Shape::Size { least } = shape { *least } else { 0 };
        match parse_size(&scalar.text) {
            Ok(bytes) if bytes < least => Err(unexpected(scalar, shape)),
            Ok(bytes) => Ok(Self(bytes)),
            Err(message) => Err(Misfit::new(message)),
        }
    }

    fn fallback() -> Self {
        Self(0)
    }
}

/// A resource limit; `u64::MAX` means none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(pub(super) u64);

impl FromScalar for Limit {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        if scalar.text == "unlimited" {
            return Ok(Self(u64::MAX));
        }
        parse_size(&scalar.text).map(Self).map_err(|_| unexpected(scalar, shape))
    }

    fn fallback() -> Self {
        Self(0)
    }
}

/// Permission bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mode(pub(super) u32);

impl FromScalar for Mode {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let digits = scalar.text.strip_prefix("0o").unwrap_or(&scalar.text);
        let mode = u32::from_str_radix(digits, 8).ok().filter(|mode| *mode <= 0o777 && digits.len() <= 4);
        match mode {
            // Without quotes YAML reads 0600 as six hundred, and other tools as octal: only quotes leave no doubt.
            Some(mode) if !scalar.plain => Ok(Self(mode)),
            Some(_) => Err(Misfit { help: format!("write \"{}\"", scalar.text), ..unexpected(scalar, shape) }),
            None => Err(unexpected(scalar, shape)),
        }
    }

    fn fallback() -> Self {
        Self(0)
    }
}

impl FromScalar for Signal {
    fn read(scalar: &Scalar, _: &Shape) -> Result<Self, Misfit> {
        Self::parse(&scalar.text).map_err(|message| {
            let near = crate::config::suggest::nearest(&scalar.text, Self::names());
            Misfit { message, help: near.map(|near| format!("did you mean `{near}`?")).unwrap_or_default() }
        })
    }

    fn fallback() -> Self {
        Self::TERM
    }
}

/// An inclusive range, written `64-78` or as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Range(pub(super) i64, pub(super) i64);

impl FromScalar for Range {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let Shape::Range { min, max } = shape else {
            return Err(unexpected(scalar, shape));
        };
        let number = |text: &str| text.trim().parse::<i64>().ok().filter(|number| (*min..=*max).contains(number));
        let (first, last) = scalar.text.split_once('-').unwrap_or((&scalar.text, &scalar.text));
        match (number(first), number(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self(first, last)),
            (_, _) => Err(unexpected(scalar, shape)),
        }
    }

    fn fallback() -> Self {
        Self(0, 0)
    }
}

/// A regular expression that compiles.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(pub(super) String);

impl FromScalar for Pattern {
    fn read(scalar: &Scalar, _: &Shape) -> Result<Self, Misfit> {
        match regex::Regex::new(&scalar.text) {
            Ok(_) => Ok(Self(scalar.text.clone())),
            Err(error) => {
                let text = error.to_string();
                let reason = text.lines().last().unwrap_or_default().trim().trim_start_matches("error: ").to_owned();
                Err(Misfit::new(format!("cannot read {:?} as a regular expression: {reason}", short(&scalar.text))))
            }
        }
    }

    fn fallback() -> Self {
        Self(String::new())
    }
}

impl<W: Word> FromScalar for W {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        if let Some((_, value)) = W::WORDS.iter().find(|(word, _)| *word == scalar.text) {
            return Ok(value.clone());
        }
        let words = || W::WORDS.iter().map(|(word, _)| *word);
        let help = match crate::config::suggest::nearest(&scalar.text, words()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => W::foreign(&scalar.text).map(|word| format!("write `{word}`")).unwrap_or_default(),
        };
        Err(Misfit { help, ..unexpected(scalar, shape) })
    }

    fn fallback() -> Self {
        W::WORDS[0].1.clone()
    }
}

/// Reads a service's name.
pub(super) fn read_name(text: &str) -> Result<ServiceName, Misfit> {
    ServiceName::new(text).map_err(|error| Misfit::new(format!("cannot use {:?} as a name: {error}", short(text))))
}
