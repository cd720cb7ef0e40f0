//! Reads a dotenv file: `KEY=value` lines, taken as they are.

use std::collections::BTreeMap;

/// Why a dotenv file cannot be read. Says the line but never its text, which may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {reason}")]
pub(super) struct DotenvError {
    /// From 1.
    pub(super) line: usize,
    reason: &'static str,
}

/// Reads `text`. A later line of the same key wins.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, String>, DotenvError> {
    let mut values = BTreeMap::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut rest = text;
    while !rest.is_empty() {
        let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
        let wrong = |reason| DotenvError { line, reason };
        let (first, after) = rest.split_once('\n').unwrap_or((rest, ""));
        let trimmed = first.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            rest = after;
            continue;
        }
        let Some((key, _)) = first.split_once('=') else {
            return Err(wrong("a line is KEY=value, a # comment or empty"));
        };
        let name = key.trim();
        let name = name.strip_prefix("export ").map_or(name, str::trim);
        if !is_variable(name) {
            return Err(wrong("a key consists of letters, digits and _, and does not begin with a digit"));
        }
        let value = &rest[key.len() + 1..];
        let begins = value.len() - value.trim_start_matches([' ', '\t']).len();
        let (value, after) = match value.as_bytes().get(begins) {
            Some(b'\'') => single_quoted(&value[begins + 1..]).ok_or(wrong("the ' is never closed"))?,
            Some(b'"') => double_quoted(&value[begins + 1..]).ok_or(wrong("the \" is never closed"))?,
            _ => (bare(value.split('\n').next().unwrap_or("")), after),
        };
        if value.contains('\0') {
            return Err(wrong("a value cannot hold a NUL character"));
        }
        values.insert(name.to_owned(), value);
        rest = after;
    }
    Ok(values)
}

/// Whether `name` can be that of a variable.
pub(super) fn is_variable(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn bare(line: &str) -> String {
    let end = line
        .char_indices()
        .find(|(at, c)| *c == '#' && (*at == 0 || line[..*at].ends_with([' ', '\t'])))
        .map_or(line.len(), |(at, _)| at);
    line[..end].trim().to_owned()
}

fn single_quoted(text: &str) -> Option<(String, &str)> {
    let end = text.find('\'')?;
    Some((text[..end].to_owned(), next_line(&text[end + 1..])))
}

fn double_quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((value, next_line(&text[at + 1..]))),
            '\\' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                other @ ('"' | '\\' | '$' | '`') => value.push(other),
                other => {
                    value.push('\\');
                    value.push(other);
                }
            },
            _ => value.push(c),
        }
    }
    None
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, after)| after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_they_are() {
        let text = "# c\nA=1\nexport B = two words # note\nC='$HOME \"x\"'\nD=\"a\\nb\" # c\nE=\nF=a#b\nG=\"two\nlines\"\nH=last\r\nA=2";
        let expected = [
            ("A", "2"),
            ("B", "two words"),
            ("C", "$HOME \"x\""),
            ("D", "a\nb"),
            ("E", ""),
            ("F", "a#b"),
            ("G", "two\nlines"),
            ("H", "last"),
        ];
        assert_eq!(read(text), Ok(expected.map(|(k, v)| (k.to_owned(), v.to_owned())).into()));
    }

    #[test]
    fn a_bad_line_is_named_without_its_text() {
        for (text, line) in [("A=1\nnonsense", 2), ("\n\n1A=x", 3), ("A='x", 1), ("A=\"x\\", 1)] {
            let error = read(text).unwrap_err();
            assert_eq!(error.line, line, "{text}");
            assert!(!error.to_string().contains("nonsense"));
        }
    }
}
