//! Reads access lines: what web servers write by default, and what a pattern says.

use std::borrow::Cow;

use regex::Regex;

use crate::meter::requests::{Access, Method};
use crate::model::plan::AccessFormat;

/// tornado.web's `log_request`, behind the prefix of tornado.log or whatever stands there.
const TORNADO: &str = r"(?:^|[\]\s:])(?P<code>\d{3}) (?P<method>[A-Z]+) \S.* \([^()]*\) (?P<ms>\d+\.\d+)ms\s*$";
/// uvicorn's access formatter: client, request line, status and its words.
const UVICORN: &str = r#" - "(?P<method>\S+) [^"]* HTTP/[\d.]+" (?P<code>\d{3})(?: [A-Za-z' -]*)?\s*$"#;
/// The combined log format, which is gunicorn's default too; a request time in seconds may stand behind it.
const COMBINED: &str = r#"^\S+ \S+ .*?\[[^\]]*\] "(?P<method>[^ "]*)(?:[^"\\]|\\.)*" (?P<code>\d{3}) (?:\d+|-)(?: "(?:[^"\\]|\\.)*"){0,2}(?: (?P<s>\d+\.\d+))?\s*$"#;

/// Begins a colour.
const ESCAPE: char = '\u{1b}';

/// Reads the access lines of one service.
#[derive(Clone, Debug)]
pub struct AccessLines(Vec<Regex>);

impl AccessLines {
    /// For these formats; the first that fits a line counts.
    ///
    /// # Errors
    /// The regex crate's words about a pattern that is none.
    pub fn new(formats: &[AccessFormat]) -> Result<Self, regex::Error> {
        let regex = |format: &AccessFormat| {
            Regex::new(match format {
                AccessFormat::Tornado => TORNADO,
                AccessFormat::Uvicorn => UVICORN,
                AccessFormat::Gunicorn | AccessFormat::Nginx => COMBINED,
                AccessFormat::Pattern(pattern) => pattern,
            })
        };
        formats.iter().map(regex).collect::<Result<_, _>>().map(Self)
    }

    /// What the line tells; none: it is no access line.
    pub fn read(&self, line: &str) -> Option<Access> {
        let line = without_colours(line);
        self.0.iter().find_map(|regex| {
            let found = regex.captures(&line)?;
            let group = |name| found.name(name).map(|part| part.as_str());
            let code = group("code")?.parse().ok().filter(|code| (100..600).contains(code))?;
            let number = |name| group(name).and_then(|text| text.parse::<f64>().ok());
            let seconds = number("s").or_else(|| number("ms").map(|ms| ms / 1_000.0));
            Some(Access { method: Method::of(group("method").unwrap_or_default()), code, seconds })
        })
    }
}

/// The line as it reads on paper: servers colour it on a terminal, and `dev` and `run` are one.
fn without_colours(line: &str) -> Cow<'_, str> {
    if !line.contains(ESCAPE) {
        return Cow::Borrowed(line);
    }
    let mut plain = String::with_capacity(line.len());
    let mut parts = line.split(ESCAPE);
    plain.extend(parts.next());
    for part in parts {
        // ECMA-48: `[` parameters and a letter, or (what terminfo's sgr0 begins with) `(` and a letter.
        let end = match part.as_bytes().first() {
            Some(b'[') => part.find(|c: char| c.is_ascii_alphabetic()).map(|at| at + 1),
            Some(b'(') => Some(2),
            _ => Some(0),
        };
        plain.extend(end.and_then(|end| part.get(end..)));
    }
    Cow::Owned(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: AccessFormat, line: &str) -> Option<(&'static str, u16, Option<u32>)> {
        // In microseconds, so that they compare.

        let access = AccessLines::new(&[format]).unwrap().read(line)?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small figures of this test")]
        let us = access.seconds.map(|seconds| (seconds * 1e6).round() as u32);
        Some((access.method.word(), access.code, us))
    }

    #[test]
    fn lines_of_tornado() {
        for (line, expected) in [
            ("[I 261120 23:18:56 web:2591] 200 GET /health (127.0.0.1) 0.81ms", Some(("GET", 200, Some(810)))),
            ("200 GET /health (127.0.0.1) 0.81ms", Some(("GET", 200, Some(810)))),
            ("[W 261120 23:18:56 web:2591] 404 GET /a(b) c (::1) 12.00ms", Some(("GET", 404, Some(12_000)))),
            (
                "\u{1b}[31m[E 261120 23:18:56 web:2591]\u{1b}(B\u{1b}[m 500 POST /boom (127.0.0.1) 1.50ms",
                Some(("POST", 500, Some(1_500))),
            ),
            ("[I 261120 23:18:56 web:2591] 200 BREW /pot (127.0.0.1) 0.81ms", Some(("OTHER", 200, Some(810)))),
            ("INFO:tornado.access:304 HEAD / (127.0.0.1) 0.30ms", Some(("HEAD", 304, Some(300)))),
            ("[I 261120 23:18:56 app:3] served 200 GET requests", None),
            ("[I 261120 23:18:56 web:2591] 099 GET /health (127.0.0.1) 0.81ms", None),
            ("", None),
        ] {
            assert_eq!(read(AccessFormat::Tornado, line), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_uvicorn() {
        for (line, expected) in [
            (r#"INFO:     127.0.0.1:40712 - "GET /health HTTP/1.1" 200 OK"#, Some(("GET", 200, None))),
            (
                r#"INFO:     ::1:40712 - "DELETE /a?b=c%22 HTTP/1.1" 500 Internal Server Error"#,
                Some(("DELETE", 500, None)),
            ),
            (r#"INFO:     10.0.0.1:0 - "GET / HTTP/1.0" 418 I'm a Teapot"#, Some(("GET", 418, None))),
            (r#"INFO:     10.0.0.1:0 - "GET / HTTP/1.1" 299"#, Some(("GET", 299, None))),
            (
                "\u{1b}[32mINFO\u{1b}[0m:     127.0.0.1:1 - \"\u{1b}[1mGET / HTTP/1.1\u{1b}[0m\" \u{1b}[32m200 OK\u{1b}[0m",
                Some(("GET", 200, None)),
            ),
            ("\u{1b}", None),
            ("\u{1b}[", None),
            ("\u{1b}(", None),
            ("INFO:     Application startup complete.", None),
        ] {
            assert_eq!(read(AccessFormat::Uvicorn, line), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_gunicorn_and_nginx() {
        for (line, expected) in [
            (
                r#"127.0.0.1 - - [21/Nov/2026:17:08:10 +0000] "GET /health HTTP/1.1" 200 2 "-" "curl/8.5.0""#,
                Some(("GET", 200, None)),
            ),
            (
                r#"192.0.2.7 - ann [21/Nov/2026:17:08:10 +0000] "POST /a\"b HTTP/2.0" 201 12 "https://x/\"y" "agent \"q\"" 0.035"#,
                Some(("POST", 201, Some(35_000))),
            ),
            (
                r#"192.0.2.7 - - [21/Nov/2026:17:08:10 +0000] "\x16\x03\x01" 400 157 "-" "-""#,
                Some(("OTHER", 400, None)),
            ),
            (r#"192.0.2.7 - - [21/Nov/2026:17:08:10 +0000] "" 400 0 "-" "-""#, Some(("OTHER", 400, None))),
            (r#"192.0.2.7 - - [21/Nov/2026:17:08:10 +0000] "GET / HTTP/1.1" 304 -"#, Some(("GET", 304, None))),
            ("[2026-11-21 17:08:10 +0000] [4711] [INFO] Listening at: http://127.0.0.1:8000 (4711)", None),
        ] {
            assert_eq!(read(AccessFormat::Gunicorn, line), expected, "{line}");
            assert_eq!(read(AccessFormat::Nginx, line), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_ones_own() {
        let pattern = AccessFormat::Pattern(r"(?P<method>\w+) \S+ -> (?P<code>\d+) in (?P<ms>[\d.]+) ms".to_owned());
        assert_eq!(read(pattern.clone(), "PUT /x -> 204 in 2.5 ms"), Some(("PUT", 204, Some(2_500))));
        assert_eq!(read(pattern.clone(), "PUT /x -> 999 in 2.5 ms"), None);
        assert_eq!(read(pattern, "nothing"), None);
        let seconds = AccessFormat::Pattern(r"(?<code>\d{3}) (?<s>\S+)$".to_owned());
        assert_eq!(read(seconds.clone(), "200 0.5"), Some(("OTHER", 200, Some(500_000))));
        assert_eq!(read(seconds, "200 fast"), Some(("OTHER", 200, None)));
        assert!(AccessLines::new(&[AccessFormat::Pattern("(".to_owned())]).is_err());
    }
}
