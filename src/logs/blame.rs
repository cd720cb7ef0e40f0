//! Which line of the source a failed program blames: "app.py:3: SyntaxError: invalid syntax".
//!
//! Knows what Python, Node, Rust, Go, TypeScript and the many tools that write `file:line: message` print. Where nothing of
//! that kind stands there is no answer, never a guess.

use std::path::Path;

/// The place that `output` (the last lines of a program, or what a check wrote) blames, with the error's own words.
///
/// Files below `folder` are named relative to it and preferred to those elsewhere: in a traceback the last line of one's
/// own code tells more than the library's.
pub fn blame(output: &[&str], folder: &Path) -> Option<String> {
    [traceback, node, compiler].iter().find_map(|reader| reader(output, folder))
}

/// `File "app.py", line 3` … `SyntaxError: invalid syntax`; the last traceback counts.
fn traceback(output: &[&str], folder: &Path) -> Option<String> {
    let frames = output.iter().enumerate().filter_map(|(at, line)| {
        let rest = line.trim_start().strip_prefix("File \"")?;
        let (file, rest) = rest.split_once("\", line ")?;
        Some((at, file, number(rest)?))
    });
    let frames: Vec<_> = frames.collect();
    let last = frames.last()?.0;
    let begins = output.iter().take(last).rposition(|line| line.starts_with("Traceback ")).unwrap_or(0);
    let error = output.iter().skip(last + 1).find(|line| {
        let word = line.split(':').next().unwrap_or_default();
        line.starts_with(char::is_alphabetic) && !word.contains(' ')
    });
    let of_last = || frames.iter().rev().filter(|(at, ..)| *at >= begins);
    let (_, file, line) = of_last()
        .find(|(_, file, _)| is_own(file, folder))
        .or_else(|| of_last().find(|(_, f, _)| !f.starts_with('<')))?;
    Some(told(file, *line, error.copied(), folder))
}

/// `/srv/app.js:3` … `SyntaxError: Unexpected token`, or `at main (/srv/app.js:3:5)` below the error.
fn node(output: &[&str], folder: &Path) -> Option<String> {
    let is_error = |line: &&str| {
        let word = line.strip_prefix("Uncaught ").unwrap_or(line).split([':', ' ']).next().unwrap_or_default();
        word.ends_with("Error") && word.starts_with(char::is_uppercase)
    };
    let at = output.iter().rposition(is_error)?;
    let frames = output.iter().skip(at + 1).filter(|line| line.trim_start().starts_with("at "));
    let in_frames = frames.filter_map(|line| {
        let place = line.trim_start().strip_prefix("at ")?.trim_end_matches(')');
        let place = place.rsplit_once('(').map_or(place, |(_, place)| place).trim_start_matches("file://");
        let (rest, _column) = place.rsplit_once(':')?;
        let (file, line) = rest.rsplit_once(':')?;
        Some((file, number(line)?))
    });
    let header = output.iter().take(at).rev().find_map(|line| {
        let (file, line) = line.trim_start_matches("file://").rsplit_once(':')?;
        is_file(file).then_some(())?;
        Some((file, line.parse().ok()?))
    });
    let frames: Vec<(&str, u32)> = header.into_iter().chain(in_frames).filter(|(file, _)| is_file(file)).collect();
    let (file, line) = frames.iter().find(|(file, _)| is_own(file, folder)).or(frames.first())?;
    Some(told(file, *line, output.get(at).copied(), folder))
}

/// `src/main.rs:3:5`, behind `-->` (Rust) or in front of the message (Go, C, TypeScript and the many); the first counts.
fn compiler(output: &[&str], folder: &Path) -> Option<String> {
    output.iter().enumerate().find_map(|(at, line)| {
        if let Some(place) = line.trim_start().strip_prefix("--> ") {
            let mut parts = place.trim().split(':');
            let (file, line) = (parts.next()?, number(parts.next()?)?);
            let message = output.iter().take(at).rev().find(|line| line.starts_with("error"));
            // Warnings have places too.
            return message.map(|message| told(file, line, Some(message), folder));
        }
        if let Some((_, place)) = line.split_once(" panicked at ") {
            let mut parts = place.split(':');
            let (file, line) = (parts.next()?, number(parts.next()?)?);
            return is_file(file).then(|| told(file, line, output.get(at + 1).copied(), folder));
        }
        let mut parts = line.splitn(3, ':');
        let (file, number_) = (parts.next()?, number(parts.next()?)?);
        let rest = parts.next()?;
        let rest =
            rest.split_once([':', ' ']).filter(|(column, _)| number(column).is_some()).map_or(rest, |(_, rest)| rest);
        let message = rest.trim_start_matches([' ', '-', ':']);
        (is_file(file) && !message.is_empty()).then(|| told(file, number_, Some(message), folder))
    })
}

fn told(file: &str, line: u32, message: Option<&str>, folder: &Path) -> String {
    let path = Path::new(file);
    let shown = path.strip_prefix(folder).unwrap_or(path);
    let shown = shown.strip_prefix(".").unwrap_or(shown).display();
    match message.map(str::trim).filter(|message| !message.is_empty()) {
        Some(message) => format!("{shown}:{line}: {message}"),
        None => format!("{shown}:{line}"),
    }
}

/// Whether a file is the project's, not a library's or the interpreter's.
fn is_own(file: &str, folder: &Path) -> bool {
    let path = Path::new(file);
    let inside = path.strip_prefix(folder).ok().or_else(|| path.is_relative().then_some(path));
    let foreign = ["site-packages", "dist-packages", "node_modules", ".venv", "venv"];
    is_file(file) && inside.is_some_and(|inside| !inside.iter().any(|part| foreign.iter().any(|name| part == *name)))
}

/// Whether a text looks like the name of a source file.
fn is_file(text: &str) -> bool {
    let is_word = |c: char| c.is_alphanumeric() || "/._-+@ ~[]()".contains(c);
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    !text.starts_with(['<', ' '])
        && !text.starts_with("node:")
        && text.chars().all(is_word)
        && extension.is_some_and(|extension| extension.len() <= 5 && extension.starts_with(char::is_alphabetic))
}

/// The number a text begins with.
fn number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).map_or(text, |end| text.split_at(end).0);
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(output: &str) -> Option<String> {
        blame(&output.lines().collect::<Vec<_>>(), Path::new("/srv/app"))
    }

    #[test]
    fn what_each_language_prints_is_understood() {
        let cases = [
            (
                "  File \"/srv/app/app.py\", line 3\n    def f(:\n          ^\nSyntaxError: invalid syntax\n",
                "app.py:3: SyntaxError: invalid syntax",
            ),
            (
                "Traceback (most recent call last):\n  File \"/srv/app/app.py\", line 1, in <module>\n    import tornadoo\nModuleNotFoundError: No module named 'tornadoo'",
                "app.py:1: ModuleNotFoundError: No module named 'tornadoo'",
            ),
            (
                "Traceback (most recent call last):\n  File \"/srv/app/app.py\", line 9, in <module>\n    main()\n  File \"/usr/lib/python3.11/asyncio/runners.py\", line 190, in run\n    return runner.run(main)\nOSError: [Errno 98] Address already in use\n",
                "app.py:9: OSError: [Errno 98] Address already in use",
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b.py\", line 7, in <module>\nNameError: name 'x' is not defined",
                "b.py:7: NameError: name 'x' is not defined",
            ),
            (
                "/srv/app/app.js:3\nconst x = ;\n          ^\n\nSyntaxError: Unexpected token ';'\n    at wrapSafe (node:internal/modules/cjs/loader:1378:20)\n\nNode.js v20.20.2",
                "app.js:3: SyntaxError: Unexpected token ';'",
            ),
            (
                "node:internal/modules/cjs/loader:1228\n  throw err;\n  ^\n\nError: Cannot find module 'expres'\nRequire stack:\n- /srv/app/app.js\n    at Module._resolveFilename (node:internal/modules/cjs/loader:1225:15)\n    at Object.<anonymous> (/srv/app/app.js:1:17)",
                "app.js:1: Error: Cannot find module 'expres'",
            ),
            (
                "file:///srv/app/app.mjs:2\nimport x from 'nope'\n\nReferenceError: x is not defined\n    at file:///srv/app/app.mjs:2:1",
                "app.mjs:2: ReferenceError: x is not defined",
            ),
            (
                "warning: unused variable: `y`\n --> src/main.rs:1:9\n\nerror[E0425]: cannot find value `x` in this scope\n --> src/main.rs:2:20\n  |\n",
                "src/main.rs:2: error[E0425]: cannot find value `x` in this scope",
            ),
            (
                "thread 'main' panicked at src/main.rs:4:5:\nno port given\nnote: run with `RUST_BACKTRACE=1`",
                "src/main.rs:4: no port given",
            ),
            ("# example.com/app\n./main.go:5:2: undefined: x\n", "main.go:5: undefined: x"),
            ("src/a.ts:3:5 - error TS2304: Cannot find name 'x'.\n", "src/a.ts:3: error TS2304: Cannot find name 'x'."),
        ];
        for (output, place) in cases {
            assert_eq!(of(output).as_deref(), Some(place), "{output}");
        }
    }

    #[test]
    fn what_names_no_place_gets_none() {
        for output in [
            "",
            "listening on 127.0.0.1:8888",
            "12:03:04: started",
            "error: could not compile `app`",
            "GET http://x.y:80: ok",
            "warning: unused\n --> src/main.rs:1:9",
        ] {
            assert_eq!(of(output), None, "{output}");
        }
    }
}
