//! Which values are never shown.

/// Whether a variable of this name usually holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let upper = name.to_ascii_uppercase();
    let parts = || upper.split(['_', '-', '.']);
    ["PASSWORD", "PASSWD", "PASSPHRASE", "SECRET", "TOKEN", "CREDENTIAL", "APIKEY", "PRIVATE"]
        .iter()
        .any(|word| upper.contains(word))
        || parts().any(|part| matches!(part, "KEY" | "KEYS" | "PASS" | "PWD" | "AUTH" | "DSN" | "COOKIE" | "SALT"))
            && upper != "PWD"
            && upper != "OLDPWD"
}

/// Whether a value carries a password in a URL, such as `postgres://user:word@host/`.
pub(super) fn is_secret_value(value: &str) -> bool {
    value.split("://").skip(1).any(|rest| {
        let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
        authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
    })
}

/// A line of a file as it may be shown: a star for each character of what is written out as a secret, so that every
/// place in the line stays where it is. What comes from a variable is no secret as it is written.
pub(super) fn masked(line: &str) -> String {
    let mut letters: Vec<char> = line.chars().collect();
    let mut at = 0;
    while at < letters.len() {
        let end = at + letters.iter().skip(at).take_while(|c| is_of_name(**c)).count();
        let name: String = letters.iter().take(end).skip(at).collect();
        if is_secret_name(&name) && !is_path(&name) {
            let (from, until) = value_after(&letters, end);
            letters.iter_mut().take(until).skip(from).for_each(|letter| *letter = '*');
            at = until.max(end);
        }
        at = at.max(end) + 1;
    }
    mask_passwords(&mut letters);
    letters.into_iter().collect()
}

fn is_of_name(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '-' | '.')
}

/// Whether a name says where something is, such as `token_file`.
fn is_path(name: &str) -> bool {
    ["_file", "_path"].iter().any(|end| name.to_ascii_lowercase().ends_with(end))
}

/// From where to where the value is written that belongs to the name which ends at `end`; nothing where there is none.
fn value_after(letters: &[char], end: usize) -> (usize, usize) {
    let skip =
        |from: usize, wanted: fn(char) -> bool| from + letters.iter().skip(from).take_while(|c| wanted(**c)).count();
    let sign = skip(skip(end, |c| matches!(c, '"' | '\'')), |c| c == ' ');
    let Some(mark @ (':' | '=')) = letters.get(sign).copied() else { return (end, end) };
    let from = skip(sign + 1, |c| c == ' ');
    let quote = letters.get(from).copied().filter(|c| matches!(c, '"' | '\''));
    let from = from + usize::from(quote.is_some());
    if letters.get(from) == Some(&'$') {
        return (from, from);
    }
    let in_flow = letters.iter().take(from).any(|c| *c == '{');
    let ends = |c: char| match quote {
        Some(quote) => c == quote,
        None => (mark == '=' && c == ' ') || (in_flow && matches!(c, ',' | '}')),
    };
    (from, from + letters.iter().skip(from).take_while(|c| !ends(**c)).count())
}

/// Passwords inside URLs.
fn mask_passwords(letters: &mut [char]) {
    let mut at = 0;
    while let Some(found) = letters.windows(3).skip(at).position(|three| three == [':', '/', '/']) {
        at += found + 3;
        let authority =
            letters.iter().skip(at).take_while(|c| !matches!(c, '/' | '?' | '#' | ' ' | '"' | '\'')).count();
        let whole = letters.get(at..at + authority).unwrap_or_default();
        let (user, host) = (whole.iter().position(|c| *c == ':'), whole.iter().rposition(|c| *c == '@'));
        if let (Some(user), Some(host)) = (user, host)
            && whole.get(user + 1) != Some(&'$')
        {
            letters.iter_mut().take(at + host).skip(at + user + 1).for_each(|letter| *letter = '*');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_what_is_secret_in_it() {
        for (line, shown) in [
            ("    DB_PASSWORD: hunter2, and more", "    DB_PASSWORD: *****************"),
            ("env: {API_KEY: hunter2, A: b}", "env: {API_KEY: *******, A: b}"),
            ("env: {\"API_KEY\": \"hun,ter2\", A: [b}", "env: {\"API_KEY\": \"********\", A: [b}"),
            ("env: {TOKEN: ${TOKEN}, X: 'y'}", "env: {TOKEN: ${TOKEN}, X: 'y'}"),
            ("- DB_PASSWORD=hunter2", "- DB_PASSWORD=*******"),
            ("command: app --token=hunter2 --port 1", "command: app --token=******* --port 1"),
            ("url: postgres://app:hunter2@db/shop # hm", "url: postgres://app:*******@db/shop # hm"),
            ("a: http://u:${P}@h/ b: http://h:80/", "a: http://u:${P}@h/ b: http://h:80/"),
            ("token_file: /etc/token", "token_file: /etc/token"),
            ("password", "password"),
            ("PASSWORD:", "PASSWORD:"),
            ("p\u{e4}ssword_KEY: \u{fc}", "p\u{e4}ssword_KEY: *"),
            ("port: 8888x", "port: 8888x"),
            ("", ""),
        ] {
            assert_eq!(masked(line), shown);
        }
    }

    proptest::proptest! {
        #[test]
        fn masking_moves_nothing(line in "\\PC{0,60}|([:={}'\" ,$/@]|KEY|TOKEN|://){0,20}") {
            proptest::prop_assert_eq!(masked(&line).chars().count(), line.chars().count());
        }
    }

    #[test]
    fn secrets_are_known_by_name_or_by_a_password_inside() {
        for name in
            ["DB_PASSWORD", "SECRET_KEY", "API_KEY", "GITHUB_TOKEN", "db_pass", "SENTRY_DSN", "AWS_SECRET_ACCESS_KEY"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["PATH", "LOG_LEVEL", "MONKEY", "PWD", "KEYBOARD", "COMPASS"] {
            assert!(!is_secret_name(name), "{name}");
        }
        for (value, secret) in [
            ("postgres://app:word@db/shop", true),
            ("redis://:word@cache:6379", true),
            ("postgres://app@db/shop", false),
            ("http://127.0.0.1:80/a@b:c", false),
            ("plain", false),
        ] {
            assert_eq!(is_secret_value(value), secret, "{value}");
        }
    }
}
