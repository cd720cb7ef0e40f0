//! `watch:` and `reload:` of a service.

use std::path::{Path, PathBuf};

use crate::config::decode::{Decoder, Fields, join};
use crate::config::document::{Node, Place, Scalar, Value, short};
use crate::config::keys;
use crate::config::shape::{FromScalar, Misfit, Shape};
use crate::model::plan::ReloadPlan;
use crate::model::signal::Signal;
use crate::model::template::{Part, Template};
use crate::model::watch::{CheckWord, DevDefaults, WatchPlan};

/// What `watch:` comes to.
#[derive(Debug)]
pub(super) struct Watched {
    /// What is watched.
    pub(super) plan: Option<WatchPlan>,
    /// What `dev` adds.
    pub(super) dev: DevDefaults,
    /// Where `debounce` stands.
    pub(super) debounce: Option<Place>,
}

/// Reads `watch:`; its paths are relative to `cwd`.
pub(super) fn watch(decoder: &mut Decoder<'_>, service: &Fields<'_>, cwd: &Path) -> Watched {
    let nothing = |dev| Watched { plan: None, dev, debounce: None };
    let Some(node) = service.get("watch") else { return nothing(DevDefaults::Whole) };
    let none = Fields::none(&keys::WATCH);
    let (fields, paths) = match &node.value {
        Value::Scalar(_) if is_off(node) => return nothing(DevDefaults::Nothing),
        Value::Scalar(scalar) if scalar.flag() == Some(true) => {
            decoder.faults.add_with(node.place, "expected paths, found true", "write `.` for the folder it runs in");
            return nothing(DevDefaults::Nothing);
        }
        Value::Scalar(_) | Value::List(_) => (none, Some(node)),
        Value::Map(_) => {
            let fields = decoder.section(node, &keys::WATCH).unwrap_or(none);
            (fields, fields.get("paths"))
        }
    };
    let check = check(decoder, &fields);
    let dev = if check.is_some() { DevDefaults::Nothing } else { DevDefaults::Check };
    let plan = WatchPlan {
        paths: paths.map_or_else(|| vec![cwd.to_owned()], |node| self::paths(decoder, node, cwd)),
        include: globs(decoder, &fields, "include"),
        ignore: globs(decoder, &fields, "ignore"),
        gitignore: decoder.value(&fields, "gitignore"),
        debounce: decoder.value(&fields, "debounce"),
        check: check.unwrap_or_default(),
        poll: decoder.value(&fields, "poll"),
    };
    Watched { plan: Some(plan), dev, debounce: fields.get("debounce").map(|node| node.place) }
}

/// `false` or `none`.
fn is_off(node: &Node) -> bool {
    node.scalar().is_some_and(|scalar| scalar.flag() == Some(false) || scalar.text == "none")
}

/// The entries of a list, or the one value that stands for it.
fn each(node: &Node) -> &[Node] {
    match &node.value {
        Value::List(items) => items,
        Value::Scalar(_) | Value::Map(_) => std::slice::from_ref(node),
    }
}

fn paths(decoder: &mut Decoder<'_>, node: &Node, cwd: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for item in each(node) {
        let Some(text) = decoder.read::<String>(item, &Shape::Path) else { continue };
        if text.is_empty() {
            decoder.faults.add(item.place, "expected a path, found an empty text");
            continue;
        }
        let path = join(cwd, &text);
        if !path.exists() {
            let written = item.scalar().map(|scalar| short(&scalar.text)).unwrap_or_default();
            decoder.faults.note(
                item.place,
                format!("`{written}` is not there"),
                "paths of `watch` are relative to `cwd`",
            );
        }
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    if each(node).is_empty() {
        decoder.faults.add_with(
            node.place,
            "expected a path, found an empty list",
            "write `watch: false` to watch nothing",
        );
    }
    paths
}

fn globs(decoder: &mut Decoder<'_>, fields: &Fields<'_>, name: &str) -> Vec<String> {
    let Some(node) = fields.get(name) else { return vec![] };
    each(node).iter().filter_map(|item| decoder.read::<Glob>(item, &Shape::Glob)).map(|Glob(text)| text).collect()
}

/// A gitignore-style glob.
struct Glob(String);

impl FromScalar for Glob {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let text = String::read(scalar, shape)?;
        match glob_problem(&text) {
            Some(problem) => Err(Misfit::new(format!("cannot read {:?} as a glob: {problem}", short(&text)))),
            None => Ok(Self(text)),
        }
    }

    fn fallback() -> Self {
        Self(String::new())
    }
}

/// Why `text` would match nothing, or not what it says.
fn glob_problem(text: &str) -> Option<&'static str> {
    let text = text.strip_prefix('!').unwrap_or(text);
    if text.trim().is_empty() {
        return Some("it is empty");
    }
    if text.starts_with('#') {
        return Some("what begins with # is a comment; write \\#");
    }
    if text.contains('\n') {
        return Some("it has more than one line");
    }
    let mut depth = 0_usize;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.next().is_none() => return Some("nothing follows its last \\"),
            '[' => {
                chars.next_if(|c| matches!(c, '!' | '^'));
                // A bracket that comes first is one of the class.
                chars.next();
                if !chars.any(|c| c == ']') {
                    return Some("its [ is never closed");
                }
            }
            '{' => depth += 1,
            '}' if depth == 0 => return Some("its } is never opened"),
            '}' => depth -= 1,
            _ => {}
        }
    }
    (depth > 0).then_some("its { is never closed")
}

/// The words of `check`, none for `false` or `none`; None: it is not given.
fn check(decoder: &mut Decoder<'_>, fields: &Fields<'_>) -> Option<Vec<CheckWord>> {
    let node = fields.get("check")?;
    if is_off(node) {
        return Some(vec![]);
    }
    let argv = decoder.command(fields, "check").unwrap_or_default();
    let mut words = Vec::new();
    for template in argv {
        let place = node.place.of(decoder.source, &template.to_string());
        words.extend(decoder.fit(place, check_word(template)));
    }
    let mut slots = words.iter().filter(|word| !matches!(word, CheckWord::Text(_)));
    let first = slots.next();
    // Once for all files, or once for each: which of two sets would decide?
    let odd = slots.find(|word| match (first, word) {
        (Some(CheckWord::Changed(_)), CheckWord::Changed(_)) => false,
        (first, word) => first != Some(word),
    });
    if odd.is_some() {
        decoder.faults.add_with(
            node.place,
            "cannot use two kinds of placeholder in one check",
            "{changed} stands for all files at once, {file} runs it once for each",
        );
    }
    if let Some(CheckWord::Changed(_) | CheckWord::File(_)) = words.first() {
        decoder.faults.add(node.place, "expected a program, found the files it is to check");
    }
    Some(words)
}

fn check_word(template: Template) -> Result<CheckWord, Misfit> {
    let [Part::Text(text)] = template.parts() else { return Ok(CheckWord::Text(template)) };
    let slots = [("{changed", CheckWord::Changed as fn(_) -> _), ("{file", CheckWord::File)];
    for (begin, slot) in slots {
        let globs = match text.strip_prefix(begin) {
            Some("}") => return Ok(slot(vec![])),
            Some(rest) if rest.starts_with(':') => rest[1..].strip_suffix('}').map(between_commas),
            Some(_) | None => continue,
        };
        let problem = match &globs {
            None => Some("it is never closed"),
            Some(globs) => globs.iter().find_map(|glob| glob_problem(glob)),
        };
        if let Some(problem) = problem {
            return Err(Misfit {
                message: format!("cannot read {:?} as a placeholder: {problem}", short(text)),
                help: format!("write {begin}:*.js,*.mjs}}, without blanks"),
            });
        }
        return Ok(slot(globs.unwrap_or_default()));
    }
    Ok(CheckWord::Text(template))
}

/// The pieces between commas, but for those within braces.
fn between_commas(text: &str) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut depth = 0_i32;
    for c in text.chars() {
        match c {
            ',' if depth == 0 => {
                pieces.push(String::new());
                continue;
            }
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

/// Reads `reload:`.
pub(super) fn reload(decoder: &mut Decoder<'_>, service: &Fields<'_>) -> ReloadPlan {
    let Some(node) = service.get("reload") else { return ReloadPlan::default() };
    if node.scalar().is_some() {
        return decoder.read(node, &Shape::Reload).unwrap_or_default();
    }
    let Some(fields) = decoder.section(node, &keys::RELOAD) else { return ReloadPlan::default() };
    decoder.value(&fields, "how")
}

impl FromScalar for ReloadPlan {
    fn read(scalar: &Scalar, shape: &Shape) -> Result<Self, Misfit> {
        let text = scalar.text.trim();
        if let Some(("signal", name)) = text.split_once(char::is_whitespace) {
            let name = Scalar { text: name.trim().to_owned(), plain: false };
            return Signal::read(&name, &Shape::Signal).map(Self::Signal);
        }
        let help = match text {
            "restart" => return Ok(Self::Restart),
            "handoff" => {
                return Err(Misfit {
                    message: "`handoff` is not in this version yet".to_owned(),
                    help: "remove it: a later version of everup takes it".to_owned(),
                });
            }
            "signal" => "name the signal: `signal HUP`".to_owned(),
            name if Signal::parse(name).is_ok() => format!("write `signal {}`", name.to_ascii_uppercase()),
            _ => crate::config::suggest::nearest(text, ["restart", "signal HUP"])
                .map(|near| format!("did you mean `{near}`?"))
                .unwrap_or_default(),
        };
        let message = format!("expected {}, found {:?}", shape.describe(), short(text));
        Err(Misfit { message, help })
    }

    fn fallback() -> Self {
        Self::Restart
    }
}
