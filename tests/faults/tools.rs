//! What produces the faults: namespaces, limits, other users, the freezer, system calls that fail.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Project, text, wait_for};

/// Prints why a test proves nothing here.
macro_rules! skip {
    ($($why:tt)*) => {{
        println!("skipped: {}", format_args!($($why)*));
        return;
    }};
}
pub(crate) use skip;

/// Whether this machine lets us do that: a shell line that must succeed.
pub(crate) fn can(line: &str) -> bool {
    let mut command = Command::new("sh");
    command.args(["-c", line]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A mount namespace of its own, in which mounts can be changed.
pub(crate) fn can_mount() -> bool {
    can("unshare -m mount -t tmpfs none /mnt")
}

/// `everup ARGS` behind a shell line run by `wrapper`; the line ends with `exec "$@"`.
pub(crate) fn behind(project: &Project, wrapper: &[&str], line: &str, args: &[&str]) -> Command {
    let everup = project.command(args);
    let mut words = wrapper.iter().copied().chain(["sh", "-c", line, "sh"]);
    let mut command = Command::new(words.next().expect("a wrapper"));
    command.args(words).arg(everup.get_program()).args(everup.get_args());
    command.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command
}

/// Starts `everup up` behind a shell line in a mount namespace of its own.
pub(crate) fn up_in_own_mounts(project: &mut Project, line: &str) {
    let command = behind(project, &["unshare", "-m"], &format!("{line}; exec \"$@\""), &["up"]);
    project.run_by(command);
}

/// An unprivileged user that nobody else is, from its number.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Somebody(pub(crate) u32);

impl Somebody {
    /// The words that make a command this user's.
    pub(crate) fn words(self) -> Vec<String> {
        let user = self.0.to_string();
        ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"].map(ToOwned::to_owned).to_vec()
    }

    /// Whether we may become this user, and it may run everup.
    pub(crate) fn can_be(self) -> bool {
        let words = self.words();
        let mut command = Command::new("setpriv");
        command.args(&words[1..]).arg(env!("CARGO_BIN_EXE_everup")).arg("version").stdin(Stdio::null());
        command.output().is_ok_and(|output| output.status.success())
    }

    /// Starts `everup up` as this user, to whom the project's folder is given.
    pub(crate) fn up(self, project: &mut Project) {
        self.own(project.folder.path());
        let words = self.words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let command = behind(project, &words, "exec \"$@\"", &["up"]);
        project.run_by(command);
    }

    /// As [`limit`], of a process of this user.
    pub(crate) fn limits(self, pid: i64, what: &str) {
        let words = self.words();
        let mut command = Command::new("setpriv");
        let status = command.args(&words[1..]).args(["prlimit", "--pid", &pid.to_string(), what]).status();
        assert!(status.expect("prlimit runs").success());
    }

    /// Gives a folder with all in it to this user.
    pub(crate) fn own(self, folder: &Path) {
        let status = Command::new("chown").arg("-R").arg(format!("{0}:{0}", self.0)).arg(folder).status();
        assert!(status.expect("chown runs").success());
    }

    /// The living processes of this user.
    pub(crate) fn processes(self) -> Vec<i32> {
        let own = |pid: &i32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            let zombie = status.lines().any(|line| line.starts_with("State:\tZ"));
            let uid = status.lines().find_map(|line| line.strip_prefix("Uid:\t"));
            !zombie && uid.and_then(|uids| uids.split('\t').next()) == Some(self.0.to_string().as_str())
        };
        all_pids().into_iter().filter(own).collect()
    }
}

/// The numbers of all processes.
pub(crate) fn all_pids() -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc");
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Changes a limit of a running process, as `prlimit --nofile=20` does.
pub(crate) fn limit(pid: i64, what: &str) {
    let output = Command::new("prlimit").args(["--pid", &pid.to_string(), what]).output().expect("prlimit runs");
    assert!(output.status.success(), "{}", text(&output.stderr));
}

/// A process of everup itself: `pid` (the guardian) or `engine_pid`.
pub(crate) fn own_pid(project: &Project, key: &str) -> i64 {
    project.status()[key].as_i64().expect("a pid")
}

/// How many descriptors a process has open.
pub(crate) fn open_files(pid: i64) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// All warnings: of the project and of its services.
pub(crate) fn warnings(project: &Project) -> String {
    let status = project.status();
    let services = status["services"].as_array().cloned().unwrap_or_default();
    services.iter().fold(status["warnings"].to_string(), |text, service| text + &service["warnings"].to_string())
}

/// Every event of the last hour.
pub(crate) fn all_events(project: &Project) -> Vec<Value> {
    let events = project.everup(&["events", "--json", "--since", "1h"]);
    text(&events.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

/// The events with this word about a service.
pub(crate) fn events_of(project: &Project, service: &str, word: &str) -> Vec<Value> {
    let wanted = |event: &Value| event["service"] == service && event["event"] == word;
    all_events(project).into_iter().filter(wanted).collect()
}

/// The pid that a test's process wrote into a file.
pub(crate) fn written_pid(project: &Project, file: &str) -> i32 {
    wait_for(file, || project.read(file).trim().parse::<i32>().is_ok());
    project.read(file).trim().parse().expect("a pid")
}

/// A helper of this folder.
pub(crate) fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faults").join(name)
}

/// System calls of everup and all below it that fail as long as the file `inject` in the project's folder says so: see
/// `inject.py`.
pub(crate) fn injecting(project: &Project, calls: &str) -> Command {
    let inject = script("inject.py");
    let words = ["python3", inject.to_str().expect("a path"), "inject", calls];
    behind(project, &words, "exec \"$@\"", &["up"])
}

/// Whether `inject.py` works here.
pub(crate) fn can_inject() -> bool {
    let inject = script("inject.py");
    cfg!(target_arch = "x86_64") && can(&format!("python3 '{}' /nowhere getpgid true", inject.display()))
}

/// A group of cgroup v1's freezer: what it holds does not even end by SIGKILL.
pub(crate) struct Freezer(PathBuf);

impl Freezer {
    /// None where there is no such tree.
    pub(crate) fn new(name: &str) -> Option<Self> {
        let path = Path::new("/sys/fs/cgroup/freezer").join(format!("everup-test-{name}-{}", std::process::id()));
        fs::create_dir(&path).ok()?;
        path.join("freezer.state").exists().then_some(Self(path))
    }

    pub(crate) fn take(&self, pid: i32) {
        fs::write(self.0.join("cgroup.procs"), pid.to_string()).expect("it can be moved");
    }

    pub(crate) fn freeze(&self) {
        fs::write(self.0.join("freezer.state"), "FROZEN").expect("it can be frozen");
        wait_for("it to be frozen", || {
            fs::read_to_string(self.0.join("freezer.state")).is_ok_and(|state| state.trim() == "FROZEN")
        });
    }

    pub(crate) fn thaw(&self) {
        let _ = fs::write(self.0.join("freezer.state"), "THAWED");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        self.thaw();
        // Those who were killed meanwhile end only now.
        for _ in 0..200 {
            if fs::remove_dir(&self.0).is_ok() {
                return;
            }
            let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
            let _ = never.recv_timeout(std::time::Duration::from_millis(10));
        }
    }
}

/// As [`wait_for`], for what takes minutes.
pub(crate) fn wait_long(what: &str, mut holds: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(300);
    while !holds() {
        assert!(std::time::Instant::now() < until, "waited in vain for {what}");
        let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
        let _ = never.recv_timeout(std::time::Duration::from_millis(50));
    }
}
