//! What stands behind the `?` of a request: each route names its arguments, anything else is refused.

use std::time::Duration;

use regex::{Regex, RegexBuilder};

use crate::model::command::{Denied, DeniedCode};
use crate::model::log::Stream;
use crate::model::selector::nearest;
use crate::model::units::{Now, Timestamp, parse_duration};
use crate::server::reply::{bad, denied};

/// One argument a route takes.
#[derive(Debug)]
pub(crate) struct Argument {
    /// Its name.
    pub(crate) name: &'static str,
    /// What it holds.
    pub(crate) kind: Kind,
    /// For people.
    pub(crate) about: &'static str,
}

/// What an argument holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `true`, `1`, or nothing behind its name.
    Flag,
    /// 0 to [`MOST`].
    Count,
    /// Any text; its reader says what is wrong with it.
    Text,
}

/// The most lines or events one request may ask for.
pub(crate) const MOST: usize = 10_000;

/// A larger compiled expression is refused: lines are matched inside the engine.
const REGEX_SIZE: usize = 1 << 20;

/// Where a look back begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Since {
    /// At this time.
    Time(Timestamp),
    /// Behind this event.
    Seq(u64),
}

/// The arguments of one request.
#[derive(Debug, Default)]
pub(crate) struct Arguments(Vec<(&'static str, String)>);

impl Arguments {
    /// Reads a query string for a route that knows these.
    ///
    /// # Errors
    /// `BadRequest` for an unknown or repeated argument, or broken percent encoding.
    pub(crate) fn read(query: Option<&str>, known: &[&'static Argument]) -> Result<Self, Denied> {
        let mut found: Vec<(&'static str, String)> = Vec::new();
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let name = decode(name, true)?;
            let argument = known.iter().find(|argument| argument.name == name).ok_or_else(|| unknown(&name, known))?;
            if found.iter().any(|(earlier, _)| *earlier == argument.name) {
                return Err(bad(format!("the argument {name} is given twice")));
            }
            found.push((argument.name, decode(value, true)?));
        }
        Ok(Self(found))
    }

    /// The text of an argument, if it is given and not empty.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.given(name).filter(|value| !value.is_empty())
    }

    fn given(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// Whether a flag is set.
    pub(crate) fn flag(&self, name: &str) -> Result<bool, Denied> {
        match self.given(name) {
            None | Some("false" | "0" | "no") => Ok(false),
            Some("" | "true" | "1" | "yes") => Ok(true),
            Some(other) => Err(bad(format!("cannot read {name}={other:?}: write true or false"))),
        }
    }

    /// A number up to [`MOST`].
    pub(crate) fn count(&self, name: &str) -> Result<Option<usize>, Denied> {
        self.text(name)
            .map(|text| {
                text.parse()
                    .ok()
                    .filter(|n| *n <= MOST)
                    .ok_or_else(|| bad(format!("cannot read {name}={text:?}: write a number from 0 to {MOST}")))
            })
            .transpose()
    }

    /// `wait=30s`.
    pub(crate) fn wait(&self) -> Result<Option<Duration>, Denied> {
        self.text("wait").map(|text| parse_duration(text).map_err(bad)).transpose()
    }

    /// `since`: a duration back from now, a time, or `seq:N`.
    pub(crate) fn since(&self, now: Now) -> Result<Option<Since>, Denied> {
        self.text("since").map(|text| since("since", text, now)).transpose()
    }

    /// `until`: as [`Self::since_time`].
    pub(crate) fn until(&self, now: Now) -> Result<Option<Timestamp>, Denied> {
        timed(self.text("until").map(|text| since("until", text, now)).transpose()?)
    }

    /// `since` of what carries no numbers.
    pub(crate) fn since_time(&self, now: Now) -> Result<Option<Timestamp>, Denied> {
        timed(self.since(now)?)
    }

    /// `stream=stdout` or `stderr`.
    pub(crate) fn stream(&self) -> Result<Option<Stream>, Denied> {
        match self.text("stream") {
            None => Ok(None),
            Some("stdout") => Ok(Some(Stream::Stdout)),
            Some("stderr") => Ok(Some(Stream::Stderr)),
            Some(other) => Err(bad(format!("cannot read stream={other:?}: write stdout or stderr"))),
        }
    }

    /// `grep`: a regular expression.
    pub(crate) fn grep(&self) -> Result<Option<Regex>, Denied> {
        self.text("grep")
            .map(|text| {
                RegexBuilder::new(text).size_limit(REGEX_SIZE).build().map_err(|e| {
                    denied(
                        DeniedCode::BadRequest,
                        format!("cannot read grep={text:?}: {e}"),
                        "escape . * + ? ( ) [ ] { } | ^ $ with \\",
                    )
                })
            })
            .transpose()
    }
}

fn unknown(name: &str, known: &[&'static Argument]) -> Denied {
    let names: Vec<&str> = known.iter().map(|argument| argument.name).collect();
    let hint = match nearest(name, names.iter().copied()).first() {
        Some(near) => format!("did you mean {near}?"),
        None if names.is_empty() => "it takes no arguments".to_owned(),
        None => format!("it takes {}", names.join(", ")),
    };
    denied(DeniedCode::BadRequest, format!("there is no argument {name:?} here"), hint)
}

/// Only a time.
fn timed(since: Option<Since>) -> Result<Option<Timestamp>, Denied> {
    match since {
        None => Ok(None),
        Some(Since::Time(time)) => Ok(Some(time)),
        Some(Since::Seq(_)) => Err(bad("cannot take seq:N here: this has times, only events have numbers")),
    }
}

/// Reads the text of the argument `name`, which is `since` or like it.
fn since(name: &str, text: &str, now: Now) -> Result<Since, Denied> {
    if let Some(number) = text.strip_prefix("seq:") {
        return number.parse().map(Since::Seq).map_err(|_| bad(format!("cannot read {name}={text:?}: write seq:812")));
    }
    if let Ok(back) = parse_duration(text) {
        return Ok(Since::Time(now.wall.before(back)));
    }
    // An offset's plus sign that nobody encoded arrives as a space.
    Timestamp::parse(text).or_else(|_| Timestamp::parse(&text.replace(' ', "+"))).map(Since::Time).map_err(|_| {
        bad(format!(
            "cannot read {name}={text:?}: write a duration such as 10m, a time such as 2026-11-20T10:00:00Z, or seq:812"
        ))
    })
}

/// Undoes percent encoding; `plus` also stands for a space where `form` is set.
///
/// # Errors
/// `BadRequest` for a `%` without two hex digits, or what is not UTF-8 afterwards.
pub(crate) fn decode(text: &str, form: bool) -> Result<String, Denied> {
    let wrong = || bad(format!("cannot read {text:?}: its percent encoding is broken"));
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(wrong);
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).map_err(|_| wrong())?
            }
            b'+' if form => b' ',
            other => other,
        });
    }
    String::from_utf8(bytes).map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::units::Moment;

    const KNOWN: [&Argument; 4] = [
        &Argument { name: "n", kind: Kind::Count, about: "" },
        &Argument { name: "since", kind: Kind::Text, about: "" },
        &Argument { name: "follow", kind: Kind::Flag, about: "" },
        &Argument { name: "grep", kind: Kind::Text, about: "" },
    ];
    const NOW: Now = Now { moment: Moment(0), wall: Timestamp(1_763_632_800_000) };

    fn read(query: &str) -> Result<Arguments, Denied> {
        Arguments::read(Some(query), &KNOWN)
    }

    #[test]
    fn flags_counts_and_texts_read_as_people_write_them() {
        let given = read("n=20&follow&grep=a%20b+c%2B").unwrap();
        assert_eq!(given.count("n"), Ok(Some(20)));
        assert_eq!(given.flag("follow"), Ok(true));
        assert_eq!(given.text("grep"), Some("a b c+"));
        assert_eq!(read("&&follow=false").unwrap().flag("follow"), Ok(false));
        assert!(read("").unwrap().text("grep").is_none());
    }

    #[test]
    fn since_is_a_duration_a_time_or_a_number() {
        for (text, expected) in [
            ("10s", Some(Since::Time(Timestamp(1_763_632_790_000)))),
            ("seq:812", Some(Since::Seq(812))),
            ("2025-11-20T10:00:00Z", Some(Since::Time(Timestamp(1_763_632_800_000)))),
            ("2025-11-20T11:00:00+01:00", Some(Since::Time(Timestamp(1_763_632_800_000)))),
            ("2025-11-20T11:00:00%2B01:00", Some(Since::Time(Timestamp(1_763_632_800_000)))),
            ("yesterday", None),
            ("seq:-1", None),
            ("seq:", None),
            ("-5m", None),
        ] {
            let found = read(&format!("since={text}")).unwrap().since(NOW);
            assert_eq!(found.as_ref().ok().copied().flatten(), expected, "{text}");
            assert_eq!(found.is_err(), expected.is_none(), "{text}");
        }
    }

    #[test]
    fn what_a_route_does_not_know_is_refused_with_the_nearest_name() {
        assert_eq!(read("folow=1").unwrap_err().hint.as_deref(), Some("did you mean follow?"));
        for bad in ["n=1&n=2", "n=%", "n=%4", "n=%zz", "n=%ff", "zzz=1"] {
            assert_eq!(read(bad).unwrap_err().code, DeniedCode::BadRequest, "{bad}");
        }
        for (bad, read_as) in [("n=-1", "n"), ("n=10001", "n"), ("n=1e3", "n")] {
            assert!(read(bad).unwrap().count(read_as).is_err(), "{bad}");
        }
        assert!(read("grep=(").unwrap().grep().is_err());
        assert!(read("grep=(x{1000}){1000}").unwrap().grep().is_err());
        assert!(read("follow=maybe").unwrap().flag("follow").is_err());
    }
}
