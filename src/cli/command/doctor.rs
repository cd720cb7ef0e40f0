//! `everup doctor`: what this machine offers, what is in the way, what to do.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use nix::sys::resource::{Resource, getrlimit};
use serde::Serialize;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Paint, Tone};
use crate::cli::project::{can_write, here, surroundings};
use crate::cli::time::bytes;
use crate::config;
use crate::os::cgroup::Groups;
use crate::os::cgroup::bounds::{Controller, outlook};
use crate::os::host;

/// Options of `doctor`.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  everup doctor\n  everup doctor --json | jq '.checks[] | select(.verdict != \"ok\")'\n\nEnds with 1 when something everup cannot do without is missing."
)]
pub(crate) struct Doctor {}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    /// As it should be.
    Ok,
    /// everup works, but something is worse than it could be.
    Warn,
    /// everup cannot do its work.
    Fail,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    /// What was found.
    found: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, found: found.into(), advice: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, found: found.into(), advice: Some(advice.into()) }
    }

    fn fail(name: &'static str, found: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, found: found.into(), advice: Some(advice.into()) }
    }
}

/// All checks, for JSON.
#[derive(Debug, Serialize)]
struct Report {
    v: u32,
    version: &'static str,
    checks: Vec<Check>,
}

/// Checks the machine and says what was found.
pub(crate) fn run(_args: &Doctor, context: &Context) -> Result<Exit, Failure> {
    let checks = vec![
        kernel(),
        cgroups(),
        limit(Controller::Memory),
        limit(Controller::Cpu),
        first_process(),
        open_files(),
        processes(),
        inotify(),
        kernel_log(),
        pressure(),
        machine(),
        state_folder(&here()?),
        runtime_folder(),
    ];
    let exit = if checks.iter().any(|check| check.verdict == Verdict::Fail) { Exit::Failed } else { Exit::Done };
    if context.out.json {
        context.out.object(&Report { v: 1, version: env!("CARGO_PKG_VERSION"), checks })?;
    } else {
        context.out.data(&text(&checks, context.out.stdout.paint))?;
    }
    Ok(exit)
}

fn text(checks: &[Check], paint: Paint) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut out = String::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => paint.text(Tone::Good, "ok  "),
            Verdict::Warn => paint.text(Tone::Busy, "warn"),
            Verdict::Fail => paint.text(Tone::Bad, "FAIL"),
        };
        let _ = writeln!(out, "{verdict}  {:<width$}  {}", check.name, check.found);
        if let Some(advice) = &check.advice {
            let _ = writeln!(out, "      {:<width$}  {} {advice}", "", paint.text(Tone::Dim, "→"));
        }
    }
    out
}

/// The oldest kernel with everything needed: clone3 into a cgroup (5.7), pidfd_open (5.3), close_range (5.9).
const LEAST: (u32, u32) = (5, 9);
/// From here on a whole cgroup is killed in one step.
const CGROUP_KILL: (u32, u32) = (5, 14);

fn kernel() -> Check {
    let release =
        nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned()).unwrap_or_default();
    match version(&release) {
        Some(found) if found >= CGROUP_KILL => {
            Check::ok("kernel", format!("Linux {release}: pidfd, clone3, cgroup.kill"))
        }
        Some(found) if found >= LEAST => Check::warn(
            "kernel",
            format!("Linux {release}: no cgroup.kill"),
            "trees are ended process by process; Linux 5.14 ends them at once",
        ),
        Some(_) => {
            Check::fail("kernel", format!("Linux {release}"), "everup needs Linux 5.9 or later for pidfd and clone3")
        }
        None => {
            Check::warn("kernel", format!("cannot read the version {release:?}"), "everup needs Linux 5.9 or later")
        }
    }
}

fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn cgroups() -> Check {
    match Groups::create() {
        Ok(_) => Check::ok("cgroups", "each run gets a control group of its own"),
        Err(why) => Check::warn(
            "cgroups",
            why.to_string(),
            "trees are followed by session and parent instead; systemd-run --user --scope -p Delegate=yes gives a group to use",
        ),
    }
}

/// Whether `limits.memory` or `limits.cpu` can be kept.
fn limit(controller: Controller) -> Check {
    let (name, key) = match controller {
        Controller::Memory => ("memory limit", "limits.memory"),
        Controller::Cpu => ("cpu limit", "limits.cpu"),
    };
    match outlook(controller) {
        Ok(how) => Check::ok(name, format!("{key} is kept by {how}")),
        Err(why) => Check::warn(
            name,
            format!("{key} cannot be kept: {why}"),
            "services start without it; systemd-run --user --scope -p Delegate=yes everup up gives everup a group of its own",
        ),
    }
}

fn first_process() -> Check {
    if nix::unistd::getpid().as_raw() == 1 {
        return Check::ok("pid 1", "everup is the first process here and reaps all orphans");
    }
    match std::fs::read_to_string("/proc/1/comm") {
        Ok(name) => Check::ok("pid 1", format!("{} is the first process", name.trim())),
        Err(error) => Check::fail(
            "pid 1",
            format!("cannot read /proc: {error}"),
            "mount /proc: everup reads it to follow processes",
        ),
    }
}

/// Two pipes, a pidfd and a probe for each of 250 instances.
const ENOUGH_FILES: u64 = 1_024;

fn open_files() -> Check {
    match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok((soft, hard)) if hard < ENOUGH_FILES => Check::warn(
            "open files",
            format!("{soft}, at most {hard}"),
            "raise the hard limit (ulimit -Hn): an instance takes about four",
        ),
        Ok((soft, hard)) => Check::ok("open files", format!("{soft}, raised to {hard} where needed")),
        Err(errno) => Check::warn("open files", format!("cannot read the limit: {errno}"), "see `ulimit -n`"),
    }
}

fn processes() -> Check {
    let found = |limit: u64| if limit >= u64::from(u32::MAX) { "unlimited".to_owned() } else { limit.to_string() };
    match getrlimit(Resource::RLIMIT_NPROC) {
        Ok((soft, hard)) if soft < 256 => Check::warn(
            "processes",
            format!("{soft}, at most {}", found(hard)),
            "raise it (ulimit -u): it counts all processes of this user",
        ),
        Ok((soft, _)) => Check::ok("processes", found(soft)),
        Err(errno) => Check::warn("processes", format!("cannot read the limit: {errno}"), "see `ulimit -u`"),
    }
}

fn inotify() -> Check {
    let read = |name: &str| -> Option<u64> {
        std::fs::read_to_string(Path::new("/proc/sys/fs/inotify").join(name)).ok()?.trim().parse().ok()
    };
    match (read("max_user_watches"), read("max_user_instances")) {
        (Some(watches), Some(instances)) if watches < 8_192 || instances < 16 => Check::warn(
            "inotify",
            format!("{watches} watches, {instances} instances"),
            "sysctl fs.inotify.max_user_watches=524288: a version that watches files will need them",
        ),
        (Some(watches), Some(instances)) => Check::ok("inotify", format!("{watches} watches, {instances} instances")),
        (_, _) => Check::warn("inotify", "cannot read its limits", "a version that watches files will have to poll"),
    }
}

fn kernel_log() -> Check {
    match std::fs::File::open("/dev/kmsg") {
        Ok(_) => Check::ok("kernel log", "readable: kills for memory can be proven"),
        Err(error) => Check::warn(
            "kernel log",
            format!("cannot read /dev/kmsg: {error}"),
            "a kill for memory is then called likely at best; root, or the group that may read it, gets proof",
        ),
    }
}

fn pressure() -> Check {
    match (Path::new("/proc/pressure/cpu").exists(), host::cpu_pressure()) {
        (true, Some(some)) => Check::ok(
            "pressure",
            format!("cpu {some:.0}% (avg10): probes that time out on a busy machine are told apart"),
        ),
        (_, _) => {
            Check::warn("pressure", "no /proc/pressure", "boot with psi=1: a busy machine is then told from a hung app")
        }
    }
}

fn machine() -> Check {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let memory = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let figure = |key: &str| -> Option<u64> {
        let line = memory.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
        line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kb| kb * 1_024)
    };
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().unwrap_or_default();
    match (figure("MemTotal"), figure("MemAvailable")) {
        (Some(total), Some(free)) if free < total / 20 => Check::warn(
            "machine",
            format!("{cores} cores, load {load}, {} of {} memory available", bytes(free), bytes(total)),
            "memory is almost used up: the kernel may kill services",
        ),
        (Some(total), Some(free)) => Check::ok(
            "machine",
            format!("{cores} cores, load {load}, {} of {} memory available", bytes(free), bytes(total)),
        ),
        (_, _) => Check::warn("machine", format!("{cores} cores, memory unknown"), "/proc/meminfo cannot be read"),
    }
}

fn state_folder(here: &Path) -> Check {
    let plan = config::find(here).and_then(|file| config::load(&file, &surroundings()).ok());
    let folder = plan.map_or_else(|| here.join(".everup"), |plan| plan.state_dir);
    if can_write(&folder) {
        Check::ok("state folder", folder.display().to_string())
    } else {
        Check::warn(
            "state folder",
            format!("cannot write {}", folder.display()),
            "set `state_dir:` in the file to a folder that can be written",
        )
    }
}

fn runtime_folder() -> Check {
    let folder = if nix::unistd::geteuid().is_root() {
        Some(PathBuf::from("/run"))
    } else {
        std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from)
    };
    match folder {
        Some(folder) if can_write(&folder) => {
            Check::ok("live projects", format!("listed in {}", folder.join("everup").display()))
        }
        Some(folder) => Check::warn(
            "live projects",
            format!("cannot write {}", folder.display()),
            "`status` outside a project finds none; -c names one",
        ),
        None => Check::warn(
            "live projects",
            "XDG_RUNTIME_DIR is not set",
            "log in through a session (pam_systemd), or set it",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernels_are_compared_by_number() {
        for (release, expected) in
            [("6.18.0-1-amd64", Some((6, 18))), ("5.9.16", Some((5, 9))), ("5.10", Some((5, 10))), ("odd", None)]
        {
            assert_eq!(version(release), expected, "{release}");
        }
        assert!(version("5.10") > version("5.9.16"));
    }

    #[test]
    fn each_check_is_a_line_and_advice_stands_below() {
        let checks = [Check::ok("kernel", "Linux 6.18"), Check::warn("kernel log", "cannot read it", "be root")];
        assert_eq!(
            text(&checks, Paint(false)),
            "ok    kernel      Linux 6.18\nwarn  kernel log  cannot read it\n                  → be root\n"
        );
    }
}
