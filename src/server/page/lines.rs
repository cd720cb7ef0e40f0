//! The end of a log.

use maud::{Markup, html};

use crate::model::log::{LogLine, Stream};
use crate::server::page::figures::exact;
use crate::server::page::words::{Words, fill};

/// These lines, oldest first; `service.js` adds those that come.
pub(crate) fn list(lines: &[LogLine], words: &Words) -> Markup {
    html! {
        div.log role="log" aria-live="off" tabindex="0" aria-label=(fill(words.log_caption, &[("n", &lines.len())])) {
            @if lines.is_empty() { p.hint { (words.log_empty) } }
            ol { @for line in lines { li class=[(line.stream == Stream::Stderr).then_some("err")] {
                time datetime=(line.at) title=(exact(line.at)) { (clock(line)) } " " span { (plain(&line.line)) }
            } } }
        }
    }
}

fn clock(line: &LogLine) -> String {
    line.at.to_string().get(11..19).unwrap_or_default().to_owned()
}

/// A line as text: colours taken out, and what no reader could see made visible.
pub(crate) fn plain(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut letters = line.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            // A control sequence of ECMA-48: parameters and intermediates up to a final letter.
            '\u{1b}' if letters.peek() == Some(&'[') => {
                letters.next();
                while letters.next_if(|c| ('\u{20}'..='\u{3f}').contains(c)).is_some() {}
                letters.next_if(|c| ('\u{40}'..='\u{7e}').contains(c));
            }
            '\t' => out.push('\t'),
            letter if letter.is_control() => out.push('\u{fffd}'),
            // Marks that turn the direction of writing would let a line look like another.
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_shows_no_colours_and_hides_nothing() {
        for (line, shown) in [
            ("\u{1b}[1;31mERROR\u{1b}[0m gone", "ERROR gone"),
            ("a\u{1b}[2Jb\tc", "ab\tc"),
            ("bell\u{7} esc\u{1b}]0;x", "bell\u{fffd} esc\u{fffd}]0;x"),
            ("\u{202e}evil", "\u{fffd}evil"),
            ("한글 로그", "한글 로그"),
            ("\u{1b}[", ""),
        ] {
            assert_eq!(plain(line), shown);
        }
    }
}
