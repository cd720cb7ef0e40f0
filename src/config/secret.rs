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

#[cfg(test)]
mod tests {
    use super::*;

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
