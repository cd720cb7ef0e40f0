//! Splits a command into words as a shell would, and sees where it is written for a shell.

use crate::config::expand::closing;

/// A command, taken apart.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Command {
    /// Its words.
    pub(super) words: Vec<Word>,
    /// What only a shell understands, as it is written: `&&`, `|`, `>`, …
    pub(super) shell: Vec<String>,
}

/// One word: stretches in which variables are expanded or not.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Word(pub(super) Vec<Stretch>);

/// A stretch of a word.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stretch {
    /// Taken as it is: it stood in single quotes or behind a backslash.
    Literal(String),
    /// Variables are expanded.
    Open(String),
}

impl Word {
    /// Its text before anything is expanded.
    pub(super) fn raw(&self) -> String {
        self.0.iter().map(|(Stretch::Literal(text) | Stretch::Open(text))| text.as_str()).collect()
    }

    fn literal(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Stretch::Literal(last)) => last.push_str(text),
            Some(Stretch::Open(_)) | None => self.0.push(Stretch::Literal(text.to_owned())),
        }
    }

    fn open(&mut self, text: &str) {
        match self.0.last_mut() {
            Some(Stretch::Open(last)) => last.push_str(text),
            Some(Stretch::Literal(_)) | None => self.0.push(Stretch::Open(text.to_owned())),
        }
    }
}

/// A quote that is never closed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Unclosed(pub(super) char);

/// Splits `text` into words.
pub(super) fn split(text: &str) -> Result<Command, Unclosed> {
    let mut command = Command::default();
    let mut word: Option<Word> = None;
    let mut rest = text.trim_end();
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '\'' => {
                let end = after.find('\'').ok_or(Unclosed('\''))?;
                word_of(&mut word).literal(&after[..end]);
                rest = &after[end + 1..];
            }
            '"' => rest = double_quoted(after, word_of(&mut word))?,
            '\\' => {
                let next = after.chars().next().unwrap_or('\\');
                if next != '\n' {
                    word_of(&mut word).literal(next.encode_utf8(&mut [0; 4]));
                }
                rest = after.get(next.len_utf8()..).unwrap_or("");
            }
            '$' => rest = dollar(rest, word_of(&mut word), &mut command.shell),
            '\n' => {
                command.words.extend(word.take());
                if !command.words.is_empty() {
                    command.shell.push("\n".to_owned());
                }
                rest = after;
            }
            _ if c.is_whitespace() => {
                command.words.extend(word.take());
                rest = after;
            }
            '|' | ';' | '>' | '<' | '`' => {
                let length = if c != '`' && after.starts_with(c) { 2 } else { 1 };
                command.shell.push(rest[..length].to_owned());
                command.words.extend(word.take());
                rest = &rest[length..];
            }
            // A single & inside a word belongs to it: nobody who writes a URL wants a background job.
            '&' if after.starts_with('&') || after.is_empty() || after.starts_with(char::is_whitespace) => {
                let length = if after.starts_with('&') { 2 } else { 1 };
                command.shell.push(rest[..length].to_owned());
                command.words.extend(word.take());
                rest = &rest[length..];
            }
            _ => {
                word_of(&mut word).open(&rest[..c.len_utf8()]);
                rest = after;
            }
        }
    }
    command.words.extend(word);
    Ok(command)
}

fn word_of(word: &mut Option<Word>) -> &mut Word {
    word.get_or_insert_default()
}

/// Takes the inside of double quotes and gives what follows them.
fn double_quoted<'t>(text: &'t str, word: &mut Word) -> Result<&'t str, Unclosed> {
    // Also "" makes a word.
    word.literal("");
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = &rest[c.len_utf8()..];
        match c {
            '"' => return Ok(after),
            '\\' => match after.chars().next() {
                Some(next @ ('"' | '\\' | '$' | '`')) => {
                    word.literal(next.encode_utf8(&mut [0; 4]));
                    rest = &after[1..];
                }
                Some('\n') => rest = &after[1..],
                _ => {
                    word.literal("\\");
                    rest = after;
                }
            },
            '$' => rest = dollar(rest, word, &mut vec![]),
            _ => {
                word.open(&rest[..c.len_utf8()]);
                rest = after;
            }
        }
    }
    Err(Unclosed('"'))
}

/// Takes `$$`, `${…}` whole, so that blanks and quotes inside it do not end the word, or a single `$`.
fn dollar<'t>(text: &'t str, word: &mut Word, shell: &mut Vec<String>) -> &'t str {
    let length = match text.as_bytes().get(1) {
        Some(b'$') => 2,
        Some(b'{') => closing(&text[2..]).map_or(1, |inner| inner + 3),
        _ => 1,
    };
    if text.starts_with("$(") {
        shell.push("$(".to_owned());
    }
    word.open(&text[..length]);
    &text[length..]
}

/// Whether `sh -c` may `exec` this text, so that the shell does not stay as its parent.
pub(super) fn is_simple(text: &str) -> bool {
    let Ok(command) = split(text) else { return false };
    let Some(first) = command.words.first().map(Word::raw) else { return false };
    let only_redirects = command.shell.iter().all(|mark| matches!(mark.as_str(), ">" | ">>" | "<" | "$("));
    let name = first.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.' | '/' | '$' | '{' | '}'));
    only_redirects && name && !first.contains('=') && !SHELL_WORDS.contains(&first.as_str())
}

/// What sh itself understands as the first word of a command.
const SHELL_WORDS: &[&str] = &[
    ".", ":", "alias", "bg", "break", "case", "cd", "command", "continue", "eval", "exec", "exit", "export", "fg",
    "for", "function", "getopts", "hash", "if", "jobs", "local", "read", "readonly", "return", "select", "set",
    "shift", "source", "time", "times", "trap", "type", "ulimit", "umask", "unalias", "unset", "until", "wait",
    "while", "{", "}",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        split(text).map(|command| command.words.iter().map(Word::raw).collect()).unwrap_or_default()
    }

    #[test]
    fn words_split_as_a_shell_splits_them() {
        for (text, expected) in [
            ("python app.py --port 80", vec!["python", "app.py", "--port", "80"]),
            ("a 'b c' \"d e\" f\\ g", vec!["a", "b c", "d e", "f g"]),
            ("a '' \"\"", vec!["a", "", ""]),
            ("a'b'\"c\"", vec!["abc"]),
            ("a \"x\\\"y\\n\"", vec!["a", "x\"y\\n"]),
            ("a ${X:-b c}", vec!["a", "${X:-b c}"]),
            ("a \\\n  b\n", vec!["a", "b"]),
            ("curl http://x/?a=1&b=2", vec!["curl", "http://x/?a=1&b=2"]),
            ("  a  ", vec!["a"]),
            ("", vec![]),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        assert_eq!(split("a 'b"), Err(Unclosed('\'')));
        assert_eq!(split("a \"b"), Err(Unclosed('"')));
    }

    #[test]
    fn variables_stay_closed_in_single_quotes_and_behind_a_backslash() {
        let command = split("'$A' \"$B\" \\$C").unwrap();
        let stretches: Vec<&Stretch> = command.words.iter().flat_map(|word| &word.0).collect();
        assert!(matches!(stretches[0], Stretch::Literal(text) if text == "$A"));
        assert!(stretches.contains(&&Stretch::Open("$B".to_owned())));
        assert!(stretches.contains(&&Stretch::Literal("$".to_owned())));
    }

    #[test]
    fn shell_syntax_is_seen_outside_quotes_only() {
        for (text, marks) in [
            ("a && b", vec!["&&"]),
            ("a | b > c", vec!["|", ">"]),
            ("a; b", vec![";"]),
            ("a &", vec!["&"]),
            ("a 2>&1", vec![">"]),
            ("echo $(date)", vec!["$("]),
            ("a '&&' \"|\" \\;", vec![]),
            ("a\nb", vec!["\n"]),
        ] {
            assert_eq!(split(text).unwrap().shell, marks, "{text}");
        }
    }

    #[test]
    fn only_a_simple_command_is_run_with_exec() {
        for (text, simple) in [
            ("python app.py > out.log", true),
            ("npm start", true),
            ("cd x && y", false),
            ("A=1 python app.py", false),
            ("while true; do x; done", false),
            ("ulimit -n 10", false),
            ("(a)", false),
            ("", false),
        ] {
            assert_eq!(is_simple(text), simple, "{text}");
        }
    }
}
