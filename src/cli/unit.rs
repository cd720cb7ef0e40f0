//! The systemd unit of a project: its name, its text, where it lies, and the manager that reads it.

use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use crate::cli::failure::{Exit, Failure};
use crate::model::plan::OnSupervisorDeath;

/// How the first line of a unit begins that `everup install` wrote; the file it is for follows.
const MARK: &str = "# Written by everup install for ";

/// Whose manager runs a unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The machine's: from boot to shutdown, as root.
    System,
    /// The user's own.
    User,
}

impl Owner {
    /// As the flag `--user` says.
    pub(crate) fn of(user: bool) -> Self {
        if user { Self::User } else { Self::System }
    }

    /// The unit that is packaged, with its reasons beside each line.
    fn packaged(self) -> &'static str {
        match self {
            Self::System => include_str!("../../packaging/systemd/everup.service"),
            Self::User => include_str!("../../packaging/systemd/user/everup.service"),
        }
    }

    /// Where units that an administrator, or the user, wrote lie.
    ///
    /// # Errors
    /// When this user has no home.
    pub(crate) fn folder(self) -> Result<PathBuf, Failure> {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        match self {
            Self::System => Ok("/etc/systemd/system".into()),
            Self::User => variable("XDG_CONFIG_HOME")
                .or_else(|| variable("HOME").map(|home| home.join(".config")))
                .map(|config| config.join("systemd/user"))
                .ok_or_else(|| Failure::failed("cannot tell where your units are: HOME is not set")),
        }
    }

    /// The target that starts it: with the machine, or with the user's manager.
    pub(crate) fn target(self) -> &'static str {
        match self {
            Self::System => "multi-user.target",
            Self::User => "default.target",
        }
    }

    /// `systemctl` with these words, as a person would type it.
    pub(crate) fn systemctl(self, words: &str) -> String {
        match self {
            Self::System => format!("systemctl {words}"),
            Self::User => format!("systemctl --user {words}"),
        }
    }

    /// Whether a manager of this kind runs and can be spoken to.
    pub(crate) fn has_manager(self) -> bool {
        let runs = match self {
            Self::System => Path::new("/run/systemd/system").is_dir(),
            Self::User => std::env::var_os("XDG_RUNTIME_DIR")
                .is_some_and(|runtime| Path::new(&runtime).join("systemd/private").exists()),
        };
        runs && has_systemctl()
    }

    /// Runs `systemctl` with these words.
    ///
    /// # Errors
    /// What it said; `hint` is what to do then.
    pub(crate) fn tell(self, words: &[&str], hint: &str) -> Result<(), Failure> {
        let mut command = Command::new("systemctl");
        if self == Self::User {
            command.arg("--user");
        }
        let said = self.systemctl(&words.join(" "));
        let Output { status, stderr, .. } =
            command.args(words).output().map_err(|error| Failure::failed(format!("cannot run {said}: {error}")))?;
        if status.success() {
            return Ok(());
        }
        let why = String::from_utf8_lossy(&stderr);
        Err(Failure::failed(format!("cannot do `{said}`: {}", why.trim())).hint(hint))
    }
}

/// Whether systemd is on this machine at all.
pub(crate) fn has_systemctl() -> bool {
    crate::os::program::find(OsStr::new("systemctl"), std::env::var_os("PATH").as_deref(), Path::new("/")).is_ok()
}

/// The unit's name: `everup-NAME.service`, with what a unit's name may not hold as `\xNN`.
pub(crate) fn name(project: &str) -> String {
    let escaped = project.bytes().map(|byte| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':' => char::from(byte).to_string(),
        other => format!("\\x{other:02x}"),
    });
    format!("everup-{}.service", escaped.collect::<String>())
}

/// The unit's text for this program and this file, both absolute. Where the services are not to outlive everup itself
/// (`on_supervisor_death: kill`), systemd ends what everup could not end any more.
///
/// # Errors
/// When one of the paths cannot be written into a unit.
pub(crate) fn text(owner: Owner, program: &Path, file: &Path, death: OnSupervisorDeath) -> Result<String, Failure> {
    let (program, file) = (plain(program)?, plain(file)?);
    let folder = Path::new(file).parent().and_then(Path::to_str).unwrap_or("/");
    let (first, shown) = (quoted(program), quoted(file).replace('$', "$$"));
    let mut lines = vec![format!("{MARK}{file}")];
    for line in owner.packaged().lines().skip(1) {
        lines.push(match line.split_once('=') {
            Some(("Description", _)) => format!("Description=everup, {}", file.replace('%', "%%")),
            Some(("WorkingDirectory", _)) => format!("WorkingDirectory={}", folder.replace('%', "%%")),
            Some(("ExecStart", _)) => format!("ExecStart={first} up -c {shown}"),
            Some(("ExecReload", command)) if command.contains("check") => {
                format!("ExecReload={first} check {shown}")
            }
            Some(("KillMode", _)) if death == OnSupervisorDeath::Kill => "KillMode=mixed".to_owned(),
            _ => line.to_owned(),
        });
    }
    Ok(lines.join("\n") + "\n")
}

/// A path as text that every line of a unit can hold.
fn plain(path: &Path) -> Result<&str, Failure> {
    path.to_str().filter(|text| !text.contains(|letter: char| letter.is_control() || letter == '\\')).ok_or_else(|| {
        Failure::failed(format!(
            "cannot write {} into a unit: of its characters systemd takes some otherwise",
            path.display()
        ))
        .hint("move it to a path without backslashes, control characters and what is not UTF-8")
    })
}

/// A word of a command line of a unit.
fn quoted(word: &str) -> String {
    let word = word.replace('%', "%%");
    if word.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/._-+:@,=%$".contains(&byte)) {
        return word;
    }
    format!("\"{}\"", word.replace('"', "\\\""))
}

/// The file that the unit at `path` was written for by `everup install`; none: there is no unit, or it is another's.
pub(crate) fn written_for(path: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(path).ok()?;
    text.lines().next()?.strip_prefix(MARK).map(PathBuf::from)
}

/// The units in `folder` that `everup install` wrote for `file`: a project can have had another name before.
pub(crate) fn all_for(folder: &Path, file: &Path) -> Vec<String> {
    let found = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> = found
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| name.starts_with("everup-") && Path::new(name).extension() == Some(OsStr::new("service")))
        .filter(|name| written_for(&folder.join(name)).as_deref() == Some(file))
        .collect();
    names.sort();
    names
}

/// Writes the unit in one piece.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let beside = path.with_extension("service.new");
    let written = std::fs::create_dir_all(folder)
        .and_then(|()| std::fs::File::create(&beside))
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|error| {
        // What is left of it nobody reads.
        let _ = std::fs::remove_file(&beside);
        Failure::failed(format!("cannot write {}: {error}", path.display()))
    })
}

/// Whether this process belongs to the unit of that name: its control group says so.
pub(crate) fn holds(unit: &str, pid: i32) -> bool {
    let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    groups.lines().any(|line| line.split('/').any(|part| part == unit))
}

/// What to say where a unit of the machine is asked for by somebody else than root.
pub(crate) fn only_root(verb: &str) -> Failure {
    Failure::new(Exit::Failed, format!("cannot {verb} a unit in /etc/systemd/system: only root may"))
        .hint(format!("sudo everup {verb}, or everup {verb} --user for a unit of your own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_holds_only_what_a_unit_may_be_called() {
        for (project, expected) in [
            ("shop", "everup-shop.service"),
            ("my shop", "everup-my\\x20shop.service"),
            ("a-b_c.d", "everup-a-b_c.d.service"),
            ("caf\u{e9}@1", "everup-caf\\xc3\\xa9\\x401.service"),
        ] {
            assert_eq!(name(project), expected);
        }
    }

    #[test]
    fn paths_are_written_as_systemd_reads_them() {
        let program = Path::new("/opt/my tools/100%/everup");
        let file = Path::new("/srv/50% off \"$now\"/supervisor.yaml");
        let text = text(Owner::System, program, file, OnSupervisorDeath::Keep).unwrap();
        for line in [
            "# Written by everup install for /srv/50% off \"$now\"/supervisor.yaml",
            "Description=everup, /srv/50%% off \"$now\"/supervisor.yaml",
            "WorkingDirectory=/srv/50%% off \"$now\"",
            "ExecStart=\"/opt/my tools/100%%/everup\" up -c \"/srv/50%% off \\\"$$now\\\"/supervisor.yaml\"",
            "ExecReload=\"/opt/my tools/100%%/everup\" check \"/srv/50%% off \\\"$$now\\\"/supervisor.yaml\"",
            "ExecReload=/bin/kill -HUP $MAINPID",
            "KillMode=process",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
        assert!(!text.contains("/usr/bin/everup") && !text.contains("/etc/everup"), "{text}");
        for odd in ["/srv/a\nb/supervisor.yaml", "/srv/a\\/supervisor.yaml"] {
            assert!(super::text(Owner::User, program, Path::new(odd), OnSupervisorDeath::Keep).is_err(), "{odd:?}");
        }
    }

    #[test]
    fn a_plain_path_stays_as_it_is() {
        let text = text(
            Owner::User,
            Path::new("/usr/bin/everup"),
            Path::new("/srv/shop/supervisor.yaml"),
            OnSupervisorDeath::Kill,
        )
        .unwrap();
        assert!(text.contains("\nExecStart=/usr/bin/everup up -c /srv/shop/supervisor.yaml\n"), "{text}");
        assert!(text.contains("\nWantedBy=default.target\n") && !text.contains("OOMScoreAdjust"), "{text}");
        assert!(text.contains("\nKillMode=mixed\n") && !text.contains("KillMode=process"), "{text}");
    }

    #[test]
    fn only_units_of_ours_are_taken_for_ours() {
        let folder = tempfile::tempdir().unwrap();
        let file = Path::new("/srv/shop/supervisor.yaml");
        let ours = text(Owner::System, Path::new("/usr/bin/everup"), file, OnSupervisorDeath::Keep).unwrap();
        for (name, text) in [
            ("everup-shop.service", ours.as_str()),
            ("everup-old-name.service", ours.as_str()),
            ("everup-blog.service", "# Written by everup install for /srv/blog/supervisor.yaml\n"),
            ("everup-own.service", "[Service]\nExecStart=/usr/bin/everup up -c /srv/shop/supervisor.yaml\n"),
            ("shop.service", ours.as_str()),
        ] {
            write(&folder.path().join(name), text).unwrap();
        }
        assert_eq!(all_for(folder.path(), file), ["everup-old-name.service", "everup-shop.service"]);
        assert_eq!(written_for(&folder.path().join("everup-own.service")), None);
        assert_eq!(written_for(&folder.path().join("everup-gone.service")), None);
    }
}
