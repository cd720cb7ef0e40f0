//! Which project is meant: by socket, by name, by file, by the nearest file above, or by what runs here.

use std::path::{Path, PathBuf};

use nix::unistd::AccessFlags;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::client::registry::{self, Entry};
use crate::client::{Client, ClientError};
use crate::config::diagnose::Diagnostics;
use crate::config::{self, Surroundings};
use crate::model::plan::Plan;
use crate::model::selector::nearest;

/// A project, live or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Project {
    /// Its name, where known.
    pub(crate) name: Option<String>,
    /// Its file.
    pub(crate) config: Option<PathBuf>,
    /// Where its logs and its history are.
    pub(crate) state_dir: PathBuf,
    /// Where its supervisor listens, if it runs.
    pub(crate) socket: PathBuf,
}

impl Project {
    /// The project of a plan.
    pub(crate) fn of(plan: &Plan) -> Self {
        Self {
            name: Some(plan.project.clone()),
            config: plan.file.clone(),
            state_dir: plan.state_dir.clone(),
            socket: plan.control.socket.clone().unwrap_or_else(|| plan.state_dir.join("everup.sock")),
        }
    }

    /// A way to its supervisor; none when it does not run.
    ///
    /// # Errors
    /// When it runs but we may not talk to it.
    pub(crate) fn connect_if_live(&self) -> Result<Option<Client>, Failure> {
        use std::io::ErrorKind;
        match Client::connect(&self.socket) {
            Ok(client) => Ok(Some(client)),
            Err(ClientError::NoSupervisor { source, .. })
                if matches!(
                    source.kind(),
                    ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// A way to its supervisor.
    ///
    /// # Errors
    /// [`Exit::NoSupervisor`] when it does not run.
    pub(crate) fn connect(&self) -> Result<Client, Failure> {
        self.connect_if_live()?.ok_or_else(|| {
            Failure::new(Exit::NoSupervisor, format!("cannot reach a supervisor of {}: none runs", self.described()))
                .hint("`everup up -d` starts it; `everup status` outside a project lists those that run")
        })
    }

    /// How to name it to people: its file, else its state folder.
    pub(crate) fn described(&self) -> String {
        self.config.as_ref().unwrap_or(&self.state_dir).display().to_string()
    }
}

impl From<Entry> for Project {
    fn from(entry: Entry) -> Self {
        Self { name: Some(entry.project), config: entry.config, state_dir: entry.state_dir, socket: entry.socket }
    }
}

/// Finds the project that the command line or this folder means. Where several programs of `everup run` are to choose
/// from, it is the one that has the service `about`.
///
/// # Errors
/// Says what was looked for and how to name a project.
pub(crate) fn locate(context: &Context, about: Option<&str>) -> Result<Project, Failure> {
    let project = search(context, about)?;
    if context.out.verbose {
        context.out.talk(&format!("project {}, socket {}", project.described(), project.socket.display()));
    }
    Ok(project)
}

fn search(context: &Context, about: Option<&str>) -> Result<Project, Failure> {
    let globals = &context.globals;
    if let Some(socket) = &globals.socket {
        let state_dir = socket.parent().map(Path::to_path_buf).unwrap_or_default();
        return Ok(Project { name: None, config: None, state_dir, socket: socket.clone() });
    }
    if let Some(name) = &globals.project {
        return by_name(name, registry::list()).map(Project::from);
    }
    if let Some(file) = &globals.config {
        return by_file(&canonical(file)?, context);
    }
    let here = here()?;
    let file = config::find(&here).map(|file| canonical(&file)).transpose()?;
    // The usual case ends here: a live project is asked without reading its file.
    if let Some(entry) = file.as_deref().and_then(registry::find_by_config) {
        return Ok(entry.into());
    }
    let about = about.map(|selector| selector.split('/').next().unwrap_or(selector));
    let mut near = nearby(registry::list(), &here);
    let named = near.iter().position(|entry| Some(entry.project.as_str()) == about);
    match (named, file) {
        (Some(place), _) => Ok(near.swap_remove(place).into()),
        (None, Some(file)) if about.is_some() || near.len() != 1 => by_file(&file, context),
        (None, _) if near.len() == 1 => Ok(near.remove(0).into()),
        (None, _) if near.is_empty() => alone(&here, about, context),
        (None, _) => Err(several(&near)),
    }
}

/// The file that the command line or this folder means.
///
/// # Errors
/// [`Exit::ConfigInvalid`] when there is none.
pub(crate) fn file(context: &Context) -> Result<PathBuf, Failure> {
    if let Some(file) = &context.globals.config {
        return canonical(file);
    }
    if let Some(name) = &context.globals.project {
        let entry = by_name(name, registry::list())?;
        return entry.config.ok_or_else(|| {
            Failure::new(Exit::ConfigInvalid, format!("cannot read the file of {name}: it has none"))
                .hint("it was started by `everup run`")
        });
    }
    let here = here()?;
    let found = config::find(&here).ok_or_else(|| {
        Failure::new(Exit::ConfigInvalid, format!("cannot find a supervisor.yaml in {} or above", here.display()))
            .hint("`everup init` proposes one, `-c FILE` names another, `everup run -- CMD` needs none")
    })?;
    canonical(&found)
}

/// Reads a file into a plan; what is wrong with it goes to stderr.
///
/// # Errors
/// [`Exit::ConfigInvalid`].
pub(crate) fn load(file: &Path, context: &Context) -> Result<Plan, Failure> {
    read(file).map_err(|diagnostics| diagnosed(file, &diagnostics, context))
}

/// Shows what is wrong with a file, and what that means for the command.
pub(crate) fn diagnosed(file: &Path, diagnostics: &Diagnostics, context: &Context) -> Failure {
    context.out.trouble(&diagnostics.render(context.out.talk_paint().0));
    Failure::new(Exit::ConfigInvalid, format!("cannot use {}", file.display()))
}

/// Reads a file into a plan.
///
/// # Errors
/// Everything that is wrong with it.
pub(crate) fn read(file: &Path) -> Result<Plan, Diagnostics> {
    config::load(file, &surroundings())
}

/// What reading a file needs to know about this process.
pub(crate) fn surroundings() -> Surroundings {
    Surroundings {
        environment: std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .collect(),
        everup: std::env::current_exe().unwrap_or_else(|_| "everup".into()),
        is_root: nix::unistd::geteuid().is_root(),
        can_write,
    }
}

/// Whether a folder can be made and written at this path.
pub(crate) fn can_write(folder: &Path) -> bool {
    let there = folder.ancestors().find(|above| above.symlink_metadata().is_ok());
    there.is_some_and(|there| {
        there.is_dir() && nix::unistd::access(there, AccessFlags::W_OK | AccessFlags::X_OK).is_ok()
    })
}

/// The folder we are in.
///
/// # Errors
/// When it is gone.
pub(crate) fn here() -> Result<PathBuf, Failure> {
    std::env::current_dir().map_err(|error| Failure::failed(format!("cannot tell which folder this is: {error}")))
}

fn canonical(file: &Path) -> Result<PathBuf, Failure> {
    file.canonicalize().map_err(|error| {
        Failure::new(Exit::ConfigInvalid, format!("cannot read {}: {error}", file.display()))
            .hint("`everup init` proposes a supervisor.yaml for this folder")
    })
}

fn by_name(name: &str, entries: Vec<Entry>) -> Result<Entry, Failure> {
    let names: Vec<String> = entries.iter().map(|entry| entry.project.clone()).collect();
    let mut of_that_name: Vec<Entry> = entries.into_iter().filter(|entry| entry.project == name).collect();
    match of_that_name.len() {
        1 => Ok(of_that_name.remove(0)),
        0 => {
            let near = nearest(name, names.iter().map(String::as_str));
            let failure = Failure::new(Exit::NoSupervisor, format!("cannot find a live project named {name}"));
            Err(match (near.is_empty(), names.is_empty()) {
                (false, _) => failure.hint(format!("did you mean {}?", near.join(" or "))),
                (true, false) => failure.hint(format!("live are {}", names.join(", "))),
                (true, true) => failure.hint("no project is live; `everup up -d` in its folder starts one"),
            })
        }
        _ => {
            let files: Vec<String> = of_that_name.into_iter().map(|entry| Project::from(entry).described()).collect();
            Err(Failure::new(Exit::Usage, format!("cannot tell which project is meant: several are named {name}"))
                .hint(format!("name its file with -c: {}", files.join(", "))))
        }
    }
}

fn by_file(file: &Path, context: &Context) -> Result<Project, Failure> {
    if let Some(entry) = registry::find_by_config(file) {
        return Ok(entry.into());
    }
    match read(file) {
        Ok(plan) => Ok(Project::of(&plan)),
        // The folder beside a file that is broken now may still hold what there is to know.
        Err(diagnostics) => match file.parent().map(|folder| folder.join(".everup")).filter(|dir| dir.is_dir()) {
            Some(state_dir) => {
                let socket = state_dir.join("everup.sock");
                Ok(Project { name: None, config: Some(file.to_path_buf()), state_dir, socket })
            }
            None => Err(diagnosed(file, &diagnostics, context)),
        },
    }
}

/// The live projects whose state folder lies in this folder, or else in the nearest one above that has any.
fn nearby(entries: Vec<Entry>, here: &Path) -> Vec<Entry> {
    let home = |entry: &Entry| {
        entry.state_dir.ancestors().find(|dir| dir.ends_with(".everup")).and_then(Path::parent).map(Path::to_path_buf)
    };
    let depth = |folder: &Path| here.starts_with(folder).then(|| folder.components().count());
    let deepest = entries.iter().filter_map(|entry| depth(&home(entry)?)).max();
    let near = |entry: &Entry| deepest.is_some() && home(entry).and_then(|folder| depth(&folder)) == deepest;
    entries.into_iter().filter(near).collect()
}

/// There is no file and nothing live here: what is left of an earlier life here, or the only project that is live at all.
fn alone(here: &Path, about: Option<&str>, context: &Context) -> Result<Project, Failure> {
    if let Some(folder) = here.ancestors().map(|folder| folder.join(".everup")).find(|dir| dir.is_dir())
        && let Some(state_dir) = left_behind(&folder, about)
    {
        let socket = state_dir.join("everup.sock");
        return Ok(Project { name: None, config: None, state_dir, socket });
    }
    let mut live = registry::list();
    match live.len() {
        1 => {
            let project = Project::from(live.remove(0));
            context.out.talk(&format!("no supervisor.yaml here: this is project {}", project.described()));
            Ok(project)
        }
        0 => Err(Failure::new(
            Exit::NoSupervisor,
            format!("cannot find a supervisor.yaml in {} or above, and no project is live", here.display()),
        )
        .hint("`everup init` proposes a file, `everup run -- CMD` needs none, `everup demo` shows what there is")),
        _ => Err(several(&live)),
    }
}

/// The state folder in `.everup` that an earlier life left: itself, or below it that of the program `about`, else the
/// latest one.
fn left_behind(folder: &Path, about: Option<&str>) -> Option<PathBuf> {
    let written = |dir: &Path| {
        dir.join("history.db")
            .metadata()
            .or_else(|_| dir.join("logs").metadata())
            .and_then(|found| found.modified())
            .ok()
    };
    if let Some(one) = about.map(|name| folder.join(name)).filter(|dir| written(dir).is_some()) {
        return Some(one);
    }
    if written(folder).is_some() {
        return Some(folder.to_path_buf());
    }
    let below = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|found| found.path());
    below.filter_map(|dir| Some((written(&dir)?, dir))).max().map(|(_, dir)| dir)
}

fn several(entries: &[Entry]) -> Failure {
    let names: Vec<&str> = entries.iter().map(|entry| entry.project.as_str()).collect();
    Failure::new(Exit::Usage, "cannot tell which project is meant: several are live")
        .hint(format!("name one with -p: {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_earlier_life_left_is_found_by_its_program() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join(".everup");
        for name in ["app", "other"] {
            std::fs::create_dir_all(folder.join(name).join("logs")).unwrap();
        }
        std::fs::create_dir(folder.join("empty")).unwrap();
        assert_eq!(left_behind(&folder, Some("app")), Some(folder.join("app")));
        assert_eq!(
            left_behind(&folder, Some("empty")).and_then(|dir| dir.parent().map(Path::to_path_buf)),
            Some(folder.clone())
        );
        std::fs::create_dir(folder.join("logs")).unwrap();
        assert_eq!(left_behind(&folder, None), Some(folder.clone()));
        assert_eq!(left_behind(&root.path().join("nothing"), None), None);
    }

    fn entry(project: &str, state_dir: &str) -> Entry {
        Entry { project: project.to_owned(), config: None, state_dir: state_dir.into(), socket: "/x".into(), pid: 2 }
    }

    #[test]
    fn what_lives_here_or_nearest_above_is_near() {
        let all = || {
            vec![
                entry("a", "/srv/.everup"),
                entry("b", "/srv/shop/.everup/run/b"),
                entry("c", "/srv/shop/.everup"),
                entry("d", "/var/lib/everup/d"),
            ]
        };
        for (here, expected) in [
            ("/srv/shop", vec!["b", "c"]),
            ("/srv/shop/app/templates", vec!["b", "c"]),
            ("/srv/other", vec!["a"]),
            ("/srv/shopping", vec!["a"]),
            ("/home", vec![]),
        ] {
            let found: Vec<String> = nearby(all(), Path::new(here)).into_iter().map(|entry| entry.project).collect();
            assert_eq!(found, expected, "{here}");
        }
    }

    #[test]
    fn a_name_finds_one_live_project_or_says_which_there_are() {
        let all = || vec![entry("shop", "/a"), entry("blog", "/b"), entry("blog", "/c")];
        assert_eq!(by_name("shop", all()).unwrap().state_dir, Path::new("/a"));
        for (name, code, hint) in
            [("shpo", 6, "did you mean shop?"), ("mail", 6, "live are shop, blog"), ("blog", 2, "/b, /c")]
        {
            let failure = by_name(name, all()).unwrap_err();
            assert_eq!(failure.exit().code(), code, "{name}");
            assert!(failure.text().contains(hint), "{}", failure.text());
        }
        assert!(by_name("shop", vec![]).unwrap_err().text().contains("no project is live"));
    }
}
