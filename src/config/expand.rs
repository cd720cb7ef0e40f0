//! Fills `$VAR`, `${VAR}`, `${VAR:-default}` and `$$` into texts.
//!
//! Looked up in this order: PORT, INDEX, FD_name, EVERUP; the service's `env`; its `env_file`; everup's environment. What
//! differs between instances stays open as a [`Part`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;

use crate::config::secret::{is_secret_name, is_secret_value};
use crate::model::template::Part;

/// The longest text that may come out, in bytes: what the kernel takes as one argument.
const MAX_TEXT: usize = 128 << 10;
/// How much one file may expand to in all, in bytes.
const MAX_ALL: usize = 16 << 20;
/// The descriptor of a service's first held socket (sd_listen_fds(3)).
const FIRST_FD: u32 = 3;
/// How deep variables and defaults may refer to each other.
const MAX_DEPTH: usize = 32;

/// Why a text cannot be expanded. `spelled` is the offending stretch of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// Nothing gives the variable a value.
    Unset { name: String, spelled: String },
    /// `${` without a name or `}`.
    Malformed { spelled: String },
    /// The variable differs between instances, and this place is the same for all.
    Open { name: &'static str },
    /// Variables that refer to each other in a circle, or too deep.
    Circular { name: String, spelled: String },
    /// The result is too long.
    Long,
    /// The variable's own value has an error that is reported there.
    Reported,
}

/// How much may still be expanded while one file is read.
#[derive(Debug)]
pub(super) struct Budget(Cell<usize>);

impl Budget {
    /// The whole of it.
    pub(super) fn new() -> Self {
        Self(Cell::new(MAX_ALL))
    }

    fn spend(&self, bytes: usize) -> Result<(), Trouble> {
        let left = self.0.get().checked_sub(bytes).ok_or(Trouble::Long)?;
        self.0.set(left);
        Ok(())
    }
}

/// Where variables get their values.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    /// The path of the running binary, for `${EVERUP}`.
    pub(super) everup: &'a str,
    /// Whether `${PORT}` is filled in per instance; if not, it is a variable like any other.
    pub(super) has_port: bool,
    /// Whether `${INDEX}` is filled in per instance.
    pub(super) has_index: bool,
    /// The names of the service's held sockets, for `${FD_name}`; the first is descriptor 3.
    pub(super) sockets: Vec<String>,
    /// Whether any `${FD_name}` was filled in so far.
    pub(super) used_fd: Cell<bool>,
    /// The service's `env`, from its texts to their values.
    pub(super) env: RefCell<BTreeMap<String, EnvValue>>,
    /// The service's `env_file`.
    pub(super) env_file: BTreeMap<String, String>,
    /// everup's own environment.
    pub(super) environment: &'a BTreeMap<String, String>,
    /// Shared by all scopes of one file.
    pub(super) budget: &'a Budget,
}

/// A value of `env` on its way from text to parts.
#[derive(Clone, Debug)]
pub(super) enum EnvValue {
    /// As written.
    Text(String),
    /// Being expanded.
    Busy,
    /// Expanded.
    Done(Vec<Part>),
    /// Cannot be expanded.
    Failed(Trouble),
}

impl Scope<'_> {
    /// Expands a text.
    pub(super) fn expand(&self, text: &str) -> Result<Vec<Part>, Trouble> {
        let mut parts = Parts::default();
        self.expand_into(text, &mut parts, None, 0)?;
        self.budget.spend(parts.length)?;
        Ok(parts.list)
    }

    /// The expanded value of a key of `env`.
    pub(super) fn env_value(&self, name: &str) -> Result<Vec<Part>, Trouble> {
        match self.resolve_env(name, 0) {
            Some(Ok(parts)) => Ok(parts),
            Some(Err(trouble)) => Err(trouble),
            None => Ok(vec![]),
        }
    }

    /// Every name that has a value here, for suggestions.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["PORT", "INDEX", "EVERUP"].map(str::to_owned).to_vec();
        names.extend(self.sockets.iter().map(|name| format!("FD_{name}")));
        names.extend(self.env.borrow().keys().cloned());
        names.extend(self.env_file.keys().cloned());
        names.extend(self.environment.keys().cloned());
        names
    }

    /// `own`: the variable whose value this text is; inside it, its name means the value beneath.
    fn expand_into(&self, text: &str, out: &mut Parts, own: Option<&str>, depth: usize) -> Result<(), Trouble> {
        let mut rest = text;
        while let Some(at) = rest.find('$') {
            out.text(&rest[..at])?;
            let tail = &rest[at + 1..];
            if let Some(after) = tail.strip_prefix('$') {
                out.text("$")?;
                rest = after;
            } else if let Some(inner) = tail.strip_prefix('{') {
                let length = closing(inner).ok_or_else(|| malformed(&rest[at..]))?;
                let spelled = &rest[at..at + length + 3];
                let (name, default) = match inner[..length].split_once(":-") {
                    Some((name, default)) => (name, Some(default)),
                    None => (&inner[..length], None),
                };
                if name_length(name) != name.len() || name.is_empty() {
                    return Err(malformed(spelled));
                }
                self.fill(&Variable { name, default, spelled }, out, own, depth)?;
                rest = &inner[length + 1..];
            } else {
                let length = name_length(tail);
                if length == 0 {
                    out.text("$")?;
                } else {
                    let variable = Variable { name: &tail[..length], default: None, spelled: &rest[at..=at + length] };
                    self.fill(&variable, out, own, depth)?;
                }
                rest = &tail[length..];
            }
        }
        out.text(rest)
    }

    fn fill(&self, variable: &Variable<'_>, out: &mut Parts, own: Option<&str>, depth: usize) -> Result<(), Trouble> {
        if depth > MAX_DEPTH {
            return Err(variable.circular());
        }
        let found = self.look_up(variable, own, depth)?;
        match (found, variable.default) {
            (Some(parts), None) => out.all(&parts),
            (Some(parts), Some(_)) if parts.iter().any(|part| !is_empty(part)) => out.all(&parts),
            (_, Some(default)) => self.expand_into(default, out, own, depth + 1),
            (None, None) => {
                Err(Trouble::Unset { name: variable.name.to_owned(), spelled: variable.spelled.to_owned() })
            }
        }
    }

    fn look_up(&self, variable: &Variable<'_>, own: Option<&str>, depth: usize) -> Result<Option<Vec<Part>>, Trouble> {
        let name = variable.name;
        match name {
            "PORT" if self.has_port => return Ok(Some(vec![Part::Port])),
            "INDEX" if self.has_index => return Ok(Some(vec![Part::Index])),
            "EVERUP" => return Ok(Some(vec![Part::Text(self.everup.to_owned())])),
            _ => {}
        }
        if let Some(fd) = self.fd(name) {
            self.used_fd.set(true);
            return Ok(Some(vec![fd]));
        }
        if own != Some(name)
            && let Some(result) = self.resolve_env(name, depth + 1)
        {
            return result.map(Some).map_err(|trouble| match trouble {
                Trouble::Circular { .. } => variable.circular(),
                _ => Trouble::Reported,
            });
        }
        if let Some(value) = self.env_file.get(name) {
            return Ok(Some(vec![Part::Hidden(value.clone())]));
        }
        Ok(self.environment.get(name).map(|value| {
            let hidden = is_secret_name(name) || is_secret_value(value);
            vec![if hidden { Part::Hidden(value.clone()) } else { Part::Text(value.clone()) }]
        }))
    }

    /// The descriptor that `FD_name` stands for.
    fn fd(&self, name: &str) -> Option<Part> {
        let name = name.strip_prefix("FD_")?;
        let position = self.sockets.iter().position(|socket| socket == name)?;
        let number = u32::try_from(position).ok()?.checked_add(FIRST_FD)?;
        Some(Part::Fd { name: name.to_owned(), number })
    }

    fn resolve_env(&self, name: &str, depth: usize) -> Option<Result<Vec<Part>, Trouble>> {
        let text = match self.env.borrow_mut().get_mut(name)? {
            EnvValue::Done(parts) => return Some(Ok(parts.clone())),
            EnvValue::Failed(trouble) => return Some(Err(trouble.clone())),
            EnvValue::Busy => {
                return Some(Err(Trouble::Circular { name: name.to_owned(), spelled: String::new() }));
            }
            value @ EnvValue::Text(_) => match std::mem::replace(value, EnvValue::Busy) {
                EnvValue::Text(text) => text,
                EnvValue::Busy | EnvValue::Done(_) | EnvValue::Failed(_) => String::new(),
            },
        };
        let mut parts = Parts::default();
        let result = self
            .expand_into(&text, &mut parts, Some(name), depth)
            .and_then(|()| self.budget.spend(parts.length))
            .map(|()| if is_secret_name(name) || parts.is_secret() { parts.hide() } else { parts.list });
        let value = match &result {
            Ok(parts) => EnvValue::Done(parts.clone()),
            Err(trouble) => EnvValue::Failed(trouble.clone()),
        };
        self.env.borrow_mut().insert(name.to_owned(), value);
        Some(result)
    }
}

struct Variable<'t> {
    name: &'t str,
    default: Option<&'t str>,
    /// As it stands in the text, `$` included.
    spelled: &'t str,
}

impl Variable<'_> {
    fn circular(&self) -> Trouble {
        Trouble::Circular { name: self.name.to_owned(), spelled: self.spelled.to_owned() }
    }
}

fn malformed(spelled: &str) -> Trouble {
    Trouble::Malformed { spelled: spelled.chars().take(40).collect() }
}

fn is_empty(part: &Part) -> bool {
    matches!(part, Part::Text(text) | Part::Hidden(text) if text.is_empty())
}

/// How long the name at the beginning of `text` is: letters, digits and `_`, no digit first.
fn name_length(text: &str) -> usize {
    if text.starts_with(|c: char| c.is_ascii_digit()) {
        return 0;
    }
    text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(text.len())
}

/// Where the `}` stands that closes a `${` whose inside begins `text`.
pub(super) fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[derive(Debug, Default)]
struct Parts {
    list: Vec<Part>,
    length: usize,
}

impl Parts {
    fn text(&mut self, text: &str) -> Result<(), Trouble> {
        if text.is_empty() {
            return Ok(());
        }
        self.grow(text.len())?;
        if let Some(Part::Text(last)) = self.list.last_mut() {
            last.push_str(text);
        } else {
            self.list.push(Part::Text(text.to_owned()));
        }
        Ok(())
    }

    fn all(&mut self, parts: &[Part]) -> Result<(), Trouble> {
        for part in parts {
            match part {
                Part::Text(text) => self.text(text)?,
                Part::Hidden(text) => {
                    self.grow(text.len())?;
                    self.list.push(part.clone());
                }
                Part::Port | Part::Index | Part::Fd { .. } => {
                    self.grow(5)?;
                    self.list.push(part.clone());
                }
            }
        }
        Ok(())
    }

    fn grow(&mut self, bytes: usize) -> Result<(), Trouble> {
        self.length += bytes;
        if self.length > MAX_TEXT { Err(Trouble::Long) } else { Ok(()) }
    }

    fn is_secret(&self) -> bool {
        closed(&self.list).is_ok_and(|(text, _)| is_secret_value(&text))
    }

    fn hide(self) -> Vec<Part> {
        self.list
            .into_iter()
            .map(|part| match part {
                Part::Text(text) | Part::Hidden(text) => Part::Hidden(text),
                Part::Port | Part::Index | Part::Fd { .. } => part,
            })
            .collect()
    }
}

/// The text of parts of which none may be open, and whether any of it is a secret.
pub(super) fn closed(parts: &[Part]) -> Result<(String, bool), Trouble> {
    let mut text = String::new();
    let mut secret = false;
    for part in parts {
        match part {
            Part::Text(more) => text.push_str(more),
            Part::Hidden(more) => {
                text.push_str(more);
                secret = true;
            }
            Part::Port => return Err(Trouble::Open { name: "PORT" }),
            Part::Index => return Err(Trouble::Open { name: "INDEX" }),
            Part::Fd { number, .. } => text.push_str(&number.to_string()),
        }
    }
    Ok((text, secret))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expand(text: &str, env: &[(&str, &str)]) -> Result<String, Trouble> {
        let environment = [("HOME", "/home/me"), ("EMPTY", ""), ("PORT", "9"), ("API_KEY", "k3y"), ("A", "low")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let budget = Budget::new();
        let scope = Scope {
            everup: "/bin/everup",
            has_port: true,
            has_index: true,
            sockets: vec!["http".to_owned(), "ADMIN_2".to_owned()],
            used_fd: Cell::default(),
            env: RefCell::new(env.iter().map(|(k, v)| ((*k).to_owned(), EnvValue::Text((*v).to_owned()))).collect()),
            env_file: [("FROM_FILE".to_owned(), "f1le".to_owned())].into(),
            environment: &environment,
            budget: &budget,
        };
        scope.expand(text).map(|parts| crate::model::template::Template::new(parts).to_string())
    }

    #[test]
    fn variables_are_filled_in_and_a_lone_dollar_is_itself() {
        for (text, expected) in [
            ("$HOME/x", "/home/me/x"),
            ("${HOME}x", "/home/mex"),
            ("${NOPE:-d}", "d"),
            ("${EMPTY:-d}", "d"),
            ("${EMPTY}", ""),
            ("${NOPE:-${HOME}/y}", "/home/me/y"),
            ("${NOPE:-}", ""),
            ("$$HOME", "$HOME"),
            ("a$", "a$"),
            ("$5 $( ^ok$|x", "$5 $( ^ok$|x"),
            ("${PORT}:${INDEX}", "${PORT}:${INDEX}"),
            ("${EVERUP}", "/bin/everup"),
            ("fd://${FD_http},$FD_ADMIN_2", "fd://${FD_http},${FD_ADMIN_2}"),
            ("${FD_nope:-none}", "none"),
            ("$API_KEY-$FROM_FILE", "<hidden>-<hidden>"),
            ("\u{e4}$HOME\u{e4}", "\u{e4}/home/me\u{e4}"),
        ] {
            assert_eq!(expand(text, &[]), Ok(expected.to_owned()), "{text}");
        }
    }

    #[test]
    fn env_goes_before_the_environment_and_its_own_name_means_the_value_beneath() {
        let env = [("A", "${A}:high"), ("B", "<${A}>"), ("C", "${D}"), ("D", "${C}"), ("E", "${NOPE}")];
        assert_eq!(expand("$A", &env), Ok("low:high".to_owned()));
        assert_eq!(expand("$B", &env), Ok("<low:high>".to_owned()));
        assert!(matches!(expand("$C", &env), Err(Trouble::Circular { .. })));
        assert_eq!(expand("$E", &env), Err(Trouble::Reported));
    }

    #[test]
    fn what_cannot_be_expanded_says_why() {
        let spelled = |text: &str| match expand(text, &[]) {
            Err(Trouble::Unset { spelled, .. } | Trouble::Malformed { spelled }) => spelled,
            other => format!("{other:?}"),
        };
        for (text, expected) in [
            ("a ${NOPE} b", "${NOPE}"),
            ("$NOPE.", "$NOPE"),
            ("${HOME", "${HOME"),
            ("${}", "${}"),
            ("${A-b}", "${A-b}"),
        ] {
            assert_eq!(spelled(text), expected, "{text}");
        }
    }

    #[test]
    fn a_bomb_of_variables_is_refused() {
        let names: Vec<(String, String)> = (0..30)
            .map(|n| (format!("V{n}"), format!("${{V{0}}}${{V{0}}}", n + 1)))
            .chain([("V30".to_owned(), "x".repeat(100))])
            .collect();
        let env: Vec<(&str, &str)> = names.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert!(expand("$V0", &env).is_err());
    }
}
