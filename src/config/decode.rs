//! Reads values out of the tree, key by key: checks shapes, expands variables, collects what is wrong.

use std::path::{Path, PathBuf};

use crate::config::diagnose::Faults;
use crate::config::document::{Entry, Node, Place, Scalar, Value, short};
use crate::config::expand::{Scope, Trouble, closed};
use crate::config::keys::Section;
use crate::config::shape::{FromScalar, Misfit, Pattern, Shape, read_name};
use crate::config::split::{self, Stretch, Word};
use crate::config::suggest;
use crate::model::names::ServiceName;
use crate::model::template::{Part, Template};

/// What reading needs beside the tree.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    /// The text, to find the place of a variable within a value.
    pub(super) source: &'a str,
    /// The folder relative paths are taken from; absolute.
    pub(super) root: &'a Path,
    /// Where variables get their values.
    pub(super) scope: &'a Scope<'a>,
    /// Where errors go.
    pub(super) faults: &'a mut Faults,
}

/// The keys of one map, all of them known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'n> {
    /// What the map may hold.
    pub(super) section: &'static Section,
    /// Where the map stands.
    pub(super) place: Place,
    entries: &'n [Entry],
}

impl<'n> Fields<'n> {
    /// A map that is not there: every key has its default.
    pub(super) fn none(section: &'static Section) -> Self {
        Self { section, place: Place::default(), entries: &[] }
    }

    /// The value of a key, unless it is absent or nothing.
    pub(super) fn get(&self, name: &str) -> Option<&'n Node> {
        debug_assert!(self.section.key(name).is_some(), "{name} is in no table");
        self.entries.iter().find(|entry| entry.key == name).map(|entry| &entry.node).filter(|node| !node.is_null())
    }

    /// Where the key itself stands.
    pub(super) fn key_place(&self, name: &str) -> Option<Place> {
        self.entries.iter().find(|entry| entry.key == name && !entry.node.is_null()).map(|entry| entry.place)
    }

    /// The shape of a key's value.
    pub(super) fn shape(&self, name: &str) -> &'static Shape {
        self.section.key(name).map_or(&Shape::Later, |key| &key.shape)
    }

    fn default(&self, name: &str) -> Scalar {
        let text = self.section.key(name).map_or("", |key| key.default);
        match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
            Some(text) => Scalar { text: text.to_owned(), plain: false },
            None => Scalar::plain(text),
        }
    }
}

impl Decoder<'_> {
    /// Takes `node` as a map with the keys of `section`; unknown keys are errors.
    pub(super) fn section<'n>(&mut self, node: &'n Node, section: &'static Section) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            self.expected(node, &Shape::Section(section));
            return None;
        };
        for entry in entries {
            match section.key(&entry.key) {
                Some(key) if matches!(key.shape, Shape::Later) => self.faults.add_with(
                    entry.place,
                    format!("`{}` is not in this version yet", key.name),
                    "remove it: a later version of everup takes it",
                ),
                Some(_) => {}
                None if self.faults.is_full() => self.faults.add(entry.place, "unknown key"),
                None => {
                    let help = suggest::key_help(&entry.key, section);
                    self.faults.add_with(entry.place, format!("unknown key `{}`", short(&entry.key)), help);
                }
            }
        }
        Some(Fields { section, place: node.place, entries })
    }

    /// The value of a key that has a default.
    pub(super) fn value<T: FromScalar>(&mut self, fields: &Fields<'_>, name: &str) -> T {
        match self.optional(fields, name) {
            Some(value) => value,
            None => T::read(&fields.default(name), fields.shape(name)).unwrap_or_else(|_| T::fallback()),
        }
    }

    /// The value of a key without a default.
    pub(super) fn optional<T: FromScalar>(&mut self, fields: &Fields<'_>, name: &str) -> Option<T> {
        self.read(fields.get(name)?, fields.shape(name))
    }

    /// One value. None: it does not fit, and that is said.
    pub(super) fn read<T: FromScalar>(&mut self, node: &Node, shape: &Shape) -> Option<T> {
        let (scalar, secret) = self.scalar(node, shape)?;
        match T::read(&scalar, shape) {
            Ok(value) => Some(value),
            Err(misfit) => {
                let message = if secret {
                    format!("expected {}, found something else behind a secret variable", shape.describe())
                } else {
                    misfit.message
                };
                self.faults.add_with(node.place, message, misfit.help);
                None
            }
        }
    }

    /// A text in which variables are filled in, and whether a secret is among them.
    fn scalar(&mut self, node: &Node, shape: &Shape) -> Option<(Scalar, bool)> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            self.expected(node, shape);
            return None;
        };
        if !scalar.text.contains('$') {
            return Some((scalar.clone(), false));
        }
        match self.scope.expand(&scalar.text).and_then(|parts| closed(&parts)) {
            // What came out of a variable takes its type from its text, as if it had been written there.
            Ok((text, secret)) => Some((Scalar { plain: scalar.plain || text != scalar.text, text }, secret)),
            Err(trouble) => {
                self.trouble(node.place, trouble);
                None
            }
        }
    }

    /// The list at a key; nothing where there is none.
    pub(super) fn items<'n>(&mut self, fields: &Fields<'n>, name: &str) -> &'n [Node] {
        match fields.get(name).map(|node| (&node.value, node)) {
            Some((Value::List(items), _)) => items,
            Some((_, node)) => {
                self.expected(node, fields.shape(name));
                &[]
            }
            None => &[],
        }
    }

    /// The values of the list at a key; None: it is absent or wrong.
    pub(super) fn list<T: FromScalar>(&mut self, fields: &Fields<'_>, name: &str) -> Option<Vec<T>> {
        fields.get(name)?;
        let shape = match fields.shape(name) {
            Shape::List(item) => *item,
            other => other,
        };
        Some(self.items(fields, name).iter().filter_map(|item| self.read(item, shape)).collect())
    }

    /// The map at a key; nothing where there is none.
    pub(super) fn entries<'n>(&mut self, fields: &Fields<'n>, name: &str) -> &'n [Entry] {
        match fields.get(name).map(|node| (&node.value, node)) {
            Some((Value::Map(entries), _)) => entries,
            Some((_, node)) => {
                self.expected(node, fields.shape(name));
                &[]
            }
            None => &[],
        }
    }

    /// A path, absolute.
    pub(super) fn path(&mut self, fields: &Fields<'_>, name: &str) -> Option<PathBuf> {
        let node = fields.get(name)?;
        let text: String = self.read(node, &Shape::Path)?;
        if text.is_empty() {
            self.faults.add(node.place, "expected a path, found an empty text");
            return None;
        }
        Some(join(self.root, &text))
    }

    /// A service's name.
    pub(super) fn name(&mut self, node: &Node) -> Option<ServiceName> {
        let text: String = self.read(node, &Shape::Name)?;
        self.fit(node.place, read_name(&text))
    }

    /// A text in which only what differs between instances stays open.
    pub(super) fn template(&mut self, node: &Node) -> Option<Template> {
        let Some(scalar) = node.scalar().filter(|scalar| !scalar.is_null()) else {
            self.expected(node, &Shape::Text);
            return None;
        };
        let parts = self.expand(node.place, &scalar.text)?;
        self.without_nul(node.place, parts)
    }

    /// Program and arguments of a key; none of it is run by a shell.
    pub(super) fn command(&mut self, fields: &Fields<'_>, name: &str) -> Option<Vec<Template>> {
        let node = fields.get(name)?;
        self.argv(node, "run it by a shell as a list: [sh, -c, \"…\"]")
    }

    /// Program and arguments; `shell_help` says how a shell gets to run it.
    pub(super) fn argv(&mut self, node: &Node, shell_help: &str) -> Option<Vec<Template>> {
        let argv = match &node.value {
            Value::List(items) => {
                let words: Vec<Option<Template>> = items.iter().map(|item| self.template(item)).collect();
                words.into_iter().collect::<Option<Vec<Template>>>()?
            }
            Value::Scalar(scalar) if !scalar.is_null() => self.words(node.place, &scalar.text, shell_help)?,
            Value::Scalar(_) | Value::Map(_) => {
                self.expected(node, &Shape::Command);
                return None;
            }
        };
        if argv.first().is_none_or(|program| program.parts().is_empty()) {
            self.faults.add_with(
                node.place,
                "expected a program, found nothing",
                "write the program and its arguments",
            );
            return None;
        }
        Some(argv)
    }

    fn words(&mut self, place: Place, text: &str, shell_help: &str) -> Option<Vec<Template>> {
        let command = match split::split(text) {
            Ok(command) => command,
            Err(split::Unclosed(quote)) => {
                self.faults.add(place, format!("cannot split this into words: the {quote} is never closed"));
                return None;
            }
        };
        if let Some(mark) = command.shell.first() {
            let (mark, at) = if mark == "\n" { ("a second line", "") } else { (mark.as_str(), mark.as_str()) };
            let message = format!("{} is for a shell, and this command runs without one", quoted(mark));
            self.faults.add_with(place.of(self.source, at), message, shell_help);
            return None;
        }
        if let Some(first) = command.words.first().map(Word::raw)
            && first.split_once('=').is_some_and(|(name, _)| crate::config::dotenv::is_variable(name))
        {
            let message = format!("{} is for a shell, and this command runs without one", quoted(&short(&first)));
            self.faults.add_with(place, message, "put the variable under `env`");
            return None;
        }
        let mut argv = Vec::new();
        for word in &command.words {
            let mut parts = Vec::new();
            for stretch in &word.0 {
                match stretch {
                    Stretch::Literal(text) => parts.push(Part::Text(text.clone())),
                    Stretch::Open(text) => parts.extend(self.expand(place, text)?),
                }
            }
            argv.push(self.without_nul(place, joined(parts))?);
        }
        Some(argv)
    }

    /// Expands a text that stands at `place`.
    pub(super) fn expand(&mut self, place: Place, text: &str) -> Option<Vec<Part>> {
        match self.scope.expand(text) {
            Ok(parts) => Some(parts),
            Err(trouble) => {
                self.trouble(place, trouble);
                None
            }
        }
    }

    fn without_nul(&mut self, place: Place, parts: Vec<Part>) -> Option<Template> {
        let has_nul =
            parts.iter().any(|part| matches!(part, Part::Text(text) | Part::Hidden(text) if text.contains('\0')));
        if has_nul {
            self.faults.add(place, "a text for a program cannot hold a NUL character");
            return None;
        }
        Some(Template::new(parts))
    }

    /// Takes what fits, and says what does not.
    pub(super) fn fit<T>(&mut self, place: Place, result: Result<T, Misfit>) -> Option<T> {
        result.map_err(|misfit| self.faults.add_with(place, misfit.message, misfit.help)).ok()
    }

    /// A regular expression of a key, as text.
    pub(super) fn pattern(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        self.optional::<Pattern>(fields, name).map(|pattern| pattern.0)
    }

    /// Says that another kind of value belongs here.
    pub(super) fn expected(&mut self, node: &Node, shape: &Shape) {
        self.faults.add(node.place, format!("expected {}, found {}", shape.describe(), node.describe()));
    }

    /// Says why a text cannot be expanded.
    pub(super) fn trouble(&mut self, place: Place, trouble: Trouble) {
        match trouble {
            Trouble::Reported => self.faults.follow(place),
            Trouble::Unset { name, spelled } => {
                let help = self.unset_help(&name);
                self.faults.add_with(place.of(self.source, &spelled), format!("`{name}` is not set"), help);
            }
            Trouble::Malformed { spelled } => self.faults.add_with(
                place.of(self.source, &spelled),
                format!("cannot read {spelled:?} as a variable"),
                "write ${NAME} or ${NAME:-default}, and $$ for a dollar sign",
            ),
            Trouble::Open { name } => self.faults.add_with(
                place.of(self.source, &format!("${{{name}}}")),
                format!("cannot use ${{{name}}} here: it differs between instances"),
                "it can be used in command, env, health, hooks and stop.command",
            ),
            Trouble::Circular { name, spelled } => self.faults.add(
                place.of(self.source, &spelled),
                format!("cannot expand `{name}`: variables refer to each other in a circle or too deep"),
            ),
            Trouble::Long => self.faults.add(place, "cannot expand this: the result is too long"),
        }
    }

    fn unset_help(&self, name: &str) -> String {
        if name == "PORT" {
            return "give the service a `port`, or write ${PORT:-8888}".to_owned();
        }
        if let Some(socket) = name.strip_prefix("FD_") {
            let sockets = || self.scope.sockets.iter().map(String::as_str);
            if let Some(near) = suggest::nearest(socket, sockets()) {
                return format!("did you mean `FD_{near}`?");
            }
            if self.scope.sockets.is_empty() {
                return format!(
                    "it is the descriptor of a socket that `listen` names: `listen: {{{socket}: 127.0.0.1:8888}}`"
                );
            }
            let known: Vec<String> = sockets().map(|name| format!("FD_{name}")).collect();
            return format!("`listen` gives {}", known.join(", "));
        }
        if name.starts_with("EVERUP_") {
            return format!("everup sets it when the command runs: write $${name} and let a shell fill it in");
        }
        let names = self.scope.names();
        match suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("set it in `env`, `env_file` or the environment, or give a default: ${{{name}:-…}}"),
        }
    }
}

/// `text` seen from `root`, with `.` and doubled slashes taken out.
pub(super) fn join(root: &Path, text: &str) -> PathBuf {
    root.join(text).components().filter(|part| !matches!(part, std::path::Component::CurDir)).collect()
}

fn quoted(text: &str) -> String {
    if text == "a second line" { text.to_owned() } else { format!("`{text}`") }
}

fn joined(parts: Vec<Part>) -> Vec<Part> {
    let mut out: Vec<Part> = Vec::new();
    for part in parts {
        match (out.last_mut(), part) {
            (Some(Part::Text(last)), Part::Text(more)) => last.push_str(&more),
            (_, part) => out.push(part),
        }
    }
    // An empty word is still a word, but needs no piece for it.
    out.retain(|part| !matches!(part, Part::Text(text) if text.is_empty()));
    out
}
