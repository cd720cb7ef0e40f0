//! No text, however odd, ever panics the reader or holds it up.

use proptest::prelude::*;

use super::{around, read};
use crate::config::show;
use crate::config::wrap::{RunOptions, wrap};

const VALID: &str = include_str!("../../../tests/data/config/all-keys.yaml");

/// Reads and, when it is taken, shows and reads again.
fn exercise(text: &str) {
    match read(text) {
        Ok(plan) => {
            let shown = show(&plan, None);
            let hidden = shown.contains("<hidden>");
            let again = read(&shown).unwrap_or_else(|error| panic!("{error}\n{shown}"));
            assert!(hidden || again == plan, "{text:?}\n{shown}");
        }
        Err(diagnostics) => {
            assert!(!diagnostics.is_valid());
            let drawn = diagnostics.render(true);
            assert!(!drawn.is_empty());
            for one in diagnostics.list() {
                assert!(one.length >= 1 || one.line == 0, "{one:?}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_text_is_read_or_refused(text in "\\PC{0,200}") {
        exercise(&text);
    }

    #[test]
    fn random_yaml_is_read_or_refused(text in "([ \\n:{}\\[\\],&*!|>'\"%#@`$<~a-d0-9-]|services|web|command|<<|\\t|---|\u{e4}|\u{1f600}|\u{0}){0,120}") {
        exercise(&text);
    }

    #[test]
    fn random_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        exercise(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn a_damaged_file_is_read_or_refused(
        at in 0..VALID.len(), length in 0..40_usize, piece in prop::sample::select(vec![
            "", " ", "\n", ":", "$", "${", "}", "'", "\"", "[", "{", "- ", "<<: ", "*a", "&a ", "null", "-1", "99999999999", "1e9",
            "services", "{changed}", "${FD_http}", "unix:", "\u{e4}", "\t", "0", "${NOPE}", "${INDEX}", "${PORT}", "$$",
        ])
    ) {
        let end = (at + length).min(VALID.len());
        if VALID.is_char_boundary(at) && VALID.is_char_boundary(end) {
            exercise(&format!("{}{piece}{}", &VALID[..at], &VALID[end..]));
        }
    }

    #[test]
    fn a_random_value_of_any_key_is_read_or_refused(
        key in prop::sample::select(vec![
            "command", "cwd", "env", "instances", "port", "needs", "restart", "health", "stop", "hooks", "logs", "limits", "umask",
            "watchdog", "user", "env_file", "type", "nice", "shell", "watch", "reload", "listen",
        ]),
        value in "[ -~\u{e4}\n]{0,30}",
    ) {
        exercise(&format!("services: {{web: {{command: x, {key}: {value}}}}}"));
        let text = serde_json::to_string(&value).unwrap_or_default();
        exercise(&format!("services: {{web: {{command: x, {key}: {text}}}}}"));
        exercise(&format!("services: {{web: {{command: x, {key}: {{http: {text}, {key}: [{text}], signal: {text}, check: {text}, include: {text}, FD_a: {text}}}}}}}"));
    }

    #[test]
    fn random_options_are_taken_or_refused(word in any::<String>(), health in any::<String>(), env in any::<String>()) {
        let options = RunOptions {
            command: vec![word.clone(), health.clone()], folder: "/srv".into(), health: Some(health), env: vec![env], port: Some(word), ..RunOptions::default()
        };
        if let Err(diagnostics) = wrap(&options, &around()) {
            assert!(!diagnostics.render(false).is_empty());
        }
    }
}

#[test]
fn bombs_are_refused_quickly() {
    let laughs: String = (1..10).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let last = n - 1;
        format!("{text}a{n}: &a{n} [*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last},*a{last}]\n")
    });
    let merges: String = (1..30).fold("a0: &a0 {k0: x}\n".to_owned(), |text, n| {
        format!("{text}a{n}: &a{n} {{<<: [*a{0}, *a{0}], k{n}: *a{0}}}\n", n - 1)
    });
    let many: String = (0..60_000).map(|n| format!("s{n}: {{}}\n")).collect();
    let defaults: String = (0..20_000).map(|n| format!("V{n}: x, ")).collect();
    let services: String = (0..20_000).map(|n| format!("s{n}: , ")).collect();
    let anchors = (0..40).map(|n| format!("&a{n} [")).collect::<String>() + &"x,".repeat(100_000) + &"]".repeat(40);
    for text in [
        "[".repeat(200_000),
        "- ".repeat(200_000),
        "{a: ".repeat(100_000),
        "&a [*a]".to_owned(),
        "services: &a {web: *a}".to_owned(),
        laughs,
        merges,
        many,
        anchors,
        format!("defaults: {{env: {{{defaults}}}}}\nservices: {{{services}}}"),
        "x".repeat((1 << 20) + 1),
        format!(
            "services: {{web: {{command: x, env: {{{}}}}}}}",
            (0..2_000).map(|n| format!("V{n}: \"${{V{0}}}${{V{0}}}\", ", n + 1)).collect::<String>()
        ),
        format!(
            "services: {{{}}}",
            (0..3_000).map(|n| format!("s{n}: {{command: x, needs: [s{}]}}, ", (n + 1) % 3_000)).collect::<String>()
        ),
        format!("services: {{web: {{command: {}x}}}}", "${A:-".repeat(50_000)),
    ] {
        let diagnostics = read(&text).expect_err(&text[..text.len().min(80)]);
        assert!(!diagnostics.render(false).is_empty());
    }
}
