//! Writes YAML that reads back as what it was made from.

use std::fmt::Write as _;

use crate::config::document::Scalar;

/// Something to write.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Out {
    /// A number, flag, word or `null`, as it is.
    Bare(String),
    /// A text, quoted where it has to be.
    Text(String),
    /// `[a, b]` on one line.
    List(Vec<Out>),
    /// `key: value` lines.
    Map(Vec<(String, Out)>),
    /// Maps, each beginning with `-`.
    Maps(Vec<Out>),
}

impl Out {
    /// Something without quotes.
    pub(super) fn bare(text: impl std::fmt::Display) -> Self {
        Self::Bare(text.to_string())
    }

    /// A text, or `null`.
    pub(super) fn text_or_null(text: Option<impl ToString>) -> Self {
        text.map_or_else(|| Self::bare("null"), |text| Self::Text(text.to_string()))
    }
}

/// The whole as text.
pub(super) fn write(out: &Out) -> String {
    let mut text = String::new();
    match out {
        Out::Map(entries) => lines(entries, 0, &mut text),
        Out::Bare(_) | Out::Text(_) | Out::List(_) | Out::Maps(_) => {
            inline(out, &mut text);
            text.push('\n');
        }
    }
    text
}

fn lines(entries: &[(String, Out)], depth: usize, text: &mut String) {
    for (key, value) in entries {
        text.push_str(&"  ".repeat(depth));
        entry(key, value, depth, text);
    }
}

fn entry(key: &str, value: &Out, depth: usize, text: &mut String) {
    text.push_str(&scalar(key, Context::Inside));
    text.push(':');
    match value {
        Out::Text(value) => {
            text.push(' ');
            text.push_str(&scalar(value, Context::Alone));
            text.push('\n');
        }
        Out::Map(entries) if !entries.is_empty() => {
            text.push('\n');
            lines(entries, depth + 1, text);
        }
        Out::Maps(items) if !items.is_empty() => {
            text.push('\n');
            for item in items {
                text.push_str(&"  ".repeat(depth + 1));
                text.push_str("- ");
                inline(item, text);
                text.push('\n');
            }
        }
        Out::Bare(_) | Out::List(_) | Out::Map(_) | Out::Maps(_) => {
            text.push(' ');
            inline(value, text);
            text.push('\n');
        }
    }
}

fn inline(out: &Out, text: &mut String) {
    match out {
        Out::Bare(bare) => text.push_str(bare),
        Out::Text(value) => text.push_str(&scalar(value, Context::Inside)),
        Out::List(items) | Out::Maps(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                inline(item, text);
            }
            text.push(']');
        }
        Out::Map(entries) => {
            text.push('{');
            for (at, (key, value)) in entries.iter().enumerate() {
                text.push_str(if at > 0 { ", " } else { "" });
                text.push_str(&scalar(key, Context::Inside));
                text.push_str(": ");
                inline(value, text);
            }
            text.push('}');
        }
    }
}

/// `text` as a scalar that reads back as a text, quoted only where it has to be.
pub(super) fn scalar(text: &str, context: Context) -> String {
    let plain = Scalar::plain(text);
    let typed = plain.is_null() || plain.flag().is_some() || plain.number().is_some() || plain.whole().is_some();
    // What other readers take for a flag is quoted too, so that nobody has to know which they follow.
    let flag_elsewhere = matches!(text.to_ascii_lowercase().as_str(), "yes" | "no" | "on" | "off" | "y" | "n");
    let first = text.trim_start_matches('-');
    let begins = first.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '$' | '<'));
    let more = match context {
        Context::Alone => "{}[],'\"&|*!?\\`",
        Context::Inside => "",
    };
    let allowed = |c: char| c.is_ascii_alphanumeric() || "/._-+=@%$ <>()~^;:".contains(c) || more.contains(c);
    // A colon is harmless unless a blank follows or the value ends with it.
    let colon = text.contains(": ") || text.ends_with(':');
    let harmless = begins
        && text.chars().all(allowed)
        && !colon
        && !text.ends_with(' ')
        && text != "<<"
        && !text.starts_with("...");
    if harmless && !typed && !flag_elsewhere { text.to_owned() } else { quoted(text) }
}

/// Where a scalar stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Context {
    /// Alone behind its key.
    Alone,
    /// As a key, or between brackets or braces.
    Inside,
}

fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || matches!(c, '\u{feff}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}') => {
                let _ = write!(out, "\\U{:08x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::compose::compose;
    use crate::config::diagnose::Faults;

    proptest! {
        #[test]
        fn a_written_text_reads_back(text in any::<String>(), key in "[ -~]{0,12}") {
            let mut faults = Faults::default();
            let yaml = write(&Out::Map(vec![(key.clone(), Out::List(vec![Out::Text(text.clone())])), ("x_".to_owned() + &key, Out::Text(text.clone()))]));
            let node = compose(&yaml, &mut faults);
            let node = node.unwrap_or_else(|| panic!("{yaml:?}: {faults:?}"));
            let read = node.get(&("x_".to_owned() + &key)).and_then(|node| node.scalar()).cloned();
            prop_assert_eq!(read.as_ref().map(|scalar| scalar.text.as_str()), Some(text.as_str()), "{}", yaml);
            prop_assert!(read.is_some_and(|scalar| !scalar.is_null() && scalar.whole().is_none()));
        }
    }
}
