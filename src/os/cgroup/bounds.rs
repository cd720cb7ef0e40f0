//! Limits of memory and CPU, kept by control groups.
//!
//! Under cgroup v2 the run's own group keeps them, once its controllers are on; that asks every group above it to hold no
//! processes of its own, so we move to a leaf. Under v1 each controller has a tree of its own, and the child joins a
//! group in it before it executes its program. Nothing of this is touched before the first run that is to be limited.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use serde::{Deserialize, Serialize};

use crate::model::names::Pid;
use crate::os::cgroup::{Group, Groups, Kind, NoCgroup, own_group, procs_of};

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Memory, in bytes.
    Memory,
    /// CPU time, in thousandths of a core.
    Cpu,
}

/// What a run may use; none: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Most {
    /// Memory, in bytes: above it the kernel kills a process of the run. What it swaps out does not count.
    pub memory: Option<u64>,
    /// CPU, in thousandths of a core: what wants more waits.
    pub cpu_millis: Option<u64>,
}

/// What became of a run's limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limited {
    /// The folder of the group that limits and counts its memory; none: nothing does.
    pub memory: Option<PathBuf>,
    /// Why its memory is not limited although that was asked for.
    pub no_memory: Option<String>,
    /// Why its CPU is not.
    pub no_cpu: Option<String>,
}

/// The groups of one run that limit it.
#[derive(Debug, Default)]
pub struct Bounds {
    /// What became of the limits.
    pub limited: Limited,
    /// Its v1 groups.
    groups: Vec<(Controller, Group)>,
    /// Its own group limits its CPU.
    own_cpu: bool,
}

/// The way limits are kept here, found out when one is asked for first; put back as it was when dropped.
#[derive(Debug, Default)]
pub struct Controllers {
    memory: Option<Result<Way, NoCgroup>>,
    cpu: Option<Result<Way, NoCgroup>>,
    /// Where controllers were turned on, in that order.
    enabled: Vec<(PathBuf, &'static str)>,
    /// Our group, and the leaf of it to which we have moved.
    leaf: Option<(PathBuf, PathBuf)>,
}

/// How one controller is reached.
#[derive(Debug)]
enum Way {
    /// By files in the run's own group.
    Own,
    /// By a group of its own in the controller's tree.
    Beside(Groups),
}

impl Controller {
    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Cpu => "cpu",
        }
    }

    /// The files that set its limit, with what is to be written, in that order.
    fn files(self, most: u64, way: &Way) -> Vec<(&'static str, String)> {
        // The kernel wants at least a millisecond; so little takes a longer period.
        let period: u64 = if most < 10 { 1_000_000 } else { 100_000 };
        let quota = (most * period / 1_000).max(1_000);
        match (self, way) {
            (Self::Memory, Way::Own) => vec![("memory.max", most.to_string())],
            (Self::Memory, Way::Beside(_)) => vec![("memory.limit_in_bytes", most.to_string())],
            (Self::Cpu, Way::Own) => vec![("cpu.max", format!("{quota} {period}"))],
            (Self::Cpu, Way::Beside(_)) => {
                vec![("cpu.cfs_period_us", period.to_string()), ("cpu.cfs_quota_us", quota.to_string())]
            }
        }
    }
}

impl Controllers {
    /// Prepares the limits of a run that is about to be made: in `own`, its own v2 group below [`Groups`], or in groups
    /// named `label` (with `otherwise` appended if there is one already). `ours` are the processes to be moved out of
    /// the way. Also what the child must write `0` to, to join.
    pub fn limit(
        &mut self,
        most: &Most,
        own: Option<(&Groups, &Group)>,
        ours: &[Pid],
        label: &str,
        otherwise: u64,
    ) -> (Bounds, Vec<OwnedFd>) {
        let mut bounds = Bounds::default();
        let mut joins = vec![];
        for (controller, most) in [(Controller::Memory, most.memory), (Controller::Cpu, most.cpu_millis)] {
            let Some(most) = most else { continue };
            self.prepare(controller, own.map(|(groups, _)| groups), ours);
            let bound = match self.way(controller) {
                Ok(Way::Own) => own
                    .ok_or_else(|| NoCgroup("the run has no control group of its own".to_owned()))
                    .and_then(|(groups, group)| {
                        let path = groups.path_of(group);
                        set(&path, &controller.files(most, &Way::Own))?;
                        Ok((path, None))
                    }),
                Ok(way @ Way::Beside(groups)) => beside(groups, way, controller, most, label, otherwise)
                    .map(|(path, group, join)| (path, Some((group, join)))),
                Err(why) => Err(why.clone()),
            };
            match bound {
                Ok((path, made)) => {
                    bounds.own_cpu |= controller == Controller::Cpu && made.is_none();
                    if let Some((group, join)) = made {
                        bounds.groups.push((controller, group));
                        joins.push(join);
                    }
                    if controller == Controller::Memory {
                        bounds.limited.memory = Some(path);
                    }
                }
                Err(why) => bounds.limited.refuse(controller, why.to_string()),
            }
        }
        (bounds, joins)
    }

    /// Which limits of a run are kept by its own group.
    pub fn kept_in_own_group(&self, bounds: &Bounds) -> Vec<Controller> {
        let limited = &bounds.limited;
        let asked = [(Controller::Memory, limited.memory.is_some()), (Controller::Cpu, bounds.own_cpu)];
        asked
            .into_iter()
            .filter(|(one, kept)| *kept && matches!(self.way(*one), Ok(Way::Own)))
            .map(|(one, _)| one)
            .collect()
    }

    /// Removes the run's v1 groups; those in which something lives stay.
    pub fn remove(&self, bounds: &mut Bounds) {
        bounds.groups.retain(|(controller, group)| match self.way(*controller) {
            Ok(Way::Beside(groups)) => !groups.remove(group),
            Ok(Way::Own) | Err(_) => false,
        });
    }

    fn way(&self, controller: Controller) -> Result<&Way, &NoCgroup> {
        static UNASKED: std::sync::LazyLock<NoCgroup> =
            std::sync::LazyLock::new(|| NoCgroup("nobody has asked for it".to_owned()));
        let way = match controller {
            Controller::Memory => &self.memory,
            Controller::Cpu => &self.cpu,
        };
        way.as_ref().map_or(Err(&UNASKED), Result::as_ref)
    }

    fn prepare(&mut self, controller: Controller, groups: Option<&Groups>, ours: &[Pid]) {
        if self.way(controller).is_ok() || self.is_refused(controller) {
            return;
        }
        let enabled = match groups {
            Some(groups) => self.enable(controller.name(), groups, ours),
            None => Err(NoCgroup("there are no control groups of our own".to_owned())),
        };
        let way = match enabled {
            Ok(()) => Ok(Way::Own),
            // What v2 says about a controller that v1 has is of no use to anybody.
            Err(why) => match own_group(Kind::V1(controller.name())) {
                Ok(own) => Groups::create_below(&own).map(Way::Beside),
                Err(_) => Err(why),
            },
        };
        match controller {
            Controller::Memory => self.memory = Some(way),
            Controller::Cpu => self.cpu = Some(way),
        }
    }

    fn is_refused(&self, controller: Controller) -> bool {
        let way = match controller {
            Controller::Memory => &self.memory,
            Controller::Cpu => &self.cpu,
        };
        way.is_some()
    }

    /// Turns a controller on for the runs' groups (cgroup v2).
    fn enable(&mut self, name: &'static str, groups: &Groups, ours: &[Pid]) -> Result<(), NoCgroup> {
        let base = groups.path();
        let Some(own) = base.parent() else { return Err(NoCgroup("it has no group above".to_owned())) };
        offers(own, name)?;
        for folder in [own, base] {
            if lists(&folder.join("cgroup.subtree_control"), name) {
                continue;
            }
            let mut turned = turn(folder, "+", name);
            let busy =
                |turned: &io::Result<()>| turned.as_ref().is_err_and(|error| error.raw_os_error() == Some(libc::EBUSY));
            if busy(&turned) && self.leaf.is_none() {
                self.move_to_leaf(own, base, ours)?;
                turned = turn(folder, "+", name);
            }
            if busy(&turned) {
                self.leave_leaf();
                return Err(shared(own));
            }
            turned.map_err(|error| {
                NoCgroup(format!("cannot turn on the controller {name} in {}: {error}", folder.display()))
            })?;
            self.enabled.push((folder.to_owned(), name));
        }
        Ok(())
    }

    fn move_to_leaf(&mut self, own: &Path, base: &Path, ours: &[Pid]) -> Result<(), NoCgroup> {
        // No run's group is called that: theirs end with a number.
        let leaf = base.join("self");
        let moved = std::fs::create_dir(&leaf).and_then(|()| ours.iter().try_for_each(|pid| join(&leaf, *pid)));
        self.leaf = Some((own.to_owned(), leaf));
        moved.map_err(|error| {
            self.leave_leaf();
            NoCgroup(format!("cannot move to a group below {}: {error}", own.display()))
        })
    }

    fn leave_leaf(&mut self) {
        if let Some((own, leaf)) = self.leaf.take() {
            for pid in procs_of(&leaf).unwrap_or_default() {
                // Who has ended need not be moved.
                let _ = join(&own, pid);
            }
            // Where that failed it stays, with us in it.
            let _ = std::fs::remove_dir(leaf);
        }
    }
}

impl Drop for Controllers {
    fn drop(&mut self) {
        for (folder, name) in self.enabled.drain(..).rev() {
            // A group below that is still in use keeps it; it goes with its folder.
            let _ = turn(&folder, "-", name);
        }
        self.leave_leaf();
    }
}

impl Limited {
    /// Notes why a limit cannot be kept.
    pub fn refuse(&mut self, controller: Controller, why: String) {
        match controller {
            Controller::Memory => (self.memory, self.no_memory) = (None, Some(why)),
            Controller::Cpu => self.no_cpu = Some(why),
        }
    }
}

/// How limits of this kind could be kept by an everup that was started like us, without changing anything: `cgroup v2`
/// or `cgroup v1`.
///
/// # Errors
/// [`NoCgroup`] says what is in the way.
pub fn outlook(controller: Controller) -> Result<&'static str, NoCgroup> {
    let name = controller.name();
    let by_v2 = own_group(Kind::V2).and_then(|own| {
        offers(&own, name)?;
        if lists(&own.join("cgroup.subtree_control"), name) {
            return may_change(&own);
        }
        may_change(&own)?;
        let us = Pid(std::process::id().cast_signed());
        let alone = procs_of(&own).is_ok_and(|pids| pids.iter().all(|pid| *pid == us));
        // Only the first group of all has no type, and may hold processes beside groups with controllers.
        if alone || !own.join("cgroup.type").exists() { Ok(()) } else { Err(shared(&own)) }
    });
    match by_v2 {
        Ok(()) => Ok("cgroup v2"),
        Err(why) => match own_group(Kind::V1(name)) {
            Ok(own) => may_change(&own).map(|()| "cgroup v1"),
            Err(_) => Err(why),
        },
    }
}

fn may_change(own: &Path) -> Result<(), NoCgroup> {
    let asked = access(own, AccessFlags::W_OK).and_then(|()| access(&own.join("cgroup.procs"), AccessFlags::W_OK));
    asked.map_err(|errno| NoCgroup(format!("cannot manage the control group {}: {errno}", own.display())))
}

fn offers(own: &Path, name: &str) -> Result<(), NoCgroup> {
    if lists(&own.join("cgroup.controllers"), name) {
        return Ok(());
    }
    Err(NoCgroup(format!("the controller {name} is not given to our control group {}", own.display())))
}

fn shared(own: &Path) -> NoCgroup {
    NoCgroup(format!("other processes share our control group {}", own.display()))
}

fn beside(
    groups: &Groups,
    way: &Way,
    controller: Controller,
    most: u64,
    label: &str,
    otherwise: u64,
) -> Result<(PathBuf, Group, OwnedFd), NoCgroup> {
    let cannot = |error: io::Error| NoCgroup(format!("cannot make a group in {}: {error}", groups.path().display()));
    let (group, _folder) = groups.make(label, otherwise).map_err(cannot)?;
    let path = groups.path_of(&group);
    let join = OpenOptions::new().write(true).open(path.join("cgroup.procs")).map_err(cannot);
    match join.and_then(|join| set(&path, &controller.files(most, way)).map(|()| join)) {
        Ok(join) => Ok((path, group, join.into())),
        Err(why) => {
            groups.remove(&group);
            Err(why)
        }
    }
}

fn set(folder: &Path, files: &[(&str, String)]) -> Result<(), NoCgroup> {
    files.iter().try_for_each(|(name, text)| {
        let path = folder.join(name);
        write(&path, text).map_err(|error| NoCgroup(format!("cannot write {text} to {}: {error}", path.display())))
    })
}

fn turn(folder: &Path, sign: &str, name: &str) -> io::Result<()> {
    write(&folder.join("cgroup.subtree_control"), &format!("{sign}{name}"))
}

fn join(group: &Path, pid: Pid) -> io::Result<()> {
    write(&group.join("cgroup.procs"), &pid.to_string())
}

/// In one piece, into a file that is there: the kernel takes each write as an order of its own.
fn write(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(text.as_bytes())
}

fn lists(path: &Path, name: &str) -> bool {
    std::fs::read_to_string(path).is_ok_and(|text| text.split_ascii_whitespace().any(|word| word == name))
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    #[test]
    fn a_share_of_the_cpu_is_a_quota_of_at_least_a_millisecond() {
        for (most, expected) in
            [(200, "20000 100000"), (1_500, "150000 100000"), (10, "1000 100000"), (5, "5000 1000000")]
        {
            assert_eq!(Controller::Cpu.files(most, &Way::Own), [("cpu.max", expected.to_owned())]);
        }
    }

    #[test]
    fn whoever_cannot_be_limited_is_told_why() {
        let mut controllers = Controllers::default();
        let why = NoCgroup("the machine says no".to_owned());
        (controllers.memory, controllers.cpu) = (Some(Err(why.clone())), Some(Err(why)));
        let most = Most { memory: Some(1 << 20), cpu_millis: None };
        let (bounds, joins) = controllers.limit(&most, None, &[], "web.1-1", 1);
        assert!(joins.is_empty());
        let expected = Limited { no_memory: Some("the machine says no".to_owned()), ..Limited::default() };
        assert_eq!(bounds.limited, expected);
    }

    #[test]
    fn a_run_is_limited_and_counted_where_the_machine_allows() {
        let groups = Groups::create().ok();
        let made = groups.as_ref().map(|groups| groups.make("web.1-1", 1).unwrap().0);
        let own = groups.as_ref().zip(made.as_ref());
        if outlook(Controller::Memory).is_err() || outlook(Controller::Cpu).is_err() {
            return;
        }
        let mut controllers = Controllers::default();
        let most = Most { memory: Some(64 << 20), cpu_millis: Some(200) };
        let us = Pid(std::process::id().cast_signed());
        let (mut bounds, _joins) = controllers.limit(&most, own, &[us], "web.1-1", 1);
        let memory = bounds.limited.memory.clone().expect("a group for its memory");
        assert_eq!((&bounds.limited.no_memory, &bounds.limited.no_cpu), (&None, &None));
        let counts = crate::os::cgroup::counts::Counts::open(None, Some(&memory));
        assert_eq!((counts.memory_limit_bytes(), counts.oom_kills()), (Some(64 << 20), Some(0)));
        controllers.remove(&mut bounds);
        if let (Some(groups), Some(group)) = (&groups, &made) {
            groups.remove(group);
        }
        assert!(!memory.exists());
        drop(controllers);
        assert!(!memory.parent().unwrap().exists() || groups.is_some());
    }

    /// The dance of cgroup v2, with whatever controller it has here and no v1 tree uses.
    #[test]
    fn we_move_to_a_leaf_and_back() {
        let Ok(root) = own_group(Kind::V2) else { return };
        let Ok(offered) = std::fs::read_to_string(root.join("cgroup.controllers")) else { return };
        let Some(name) = ["hugetlb", "misc", "pids"].into_iter().find(|name| offered.contains(name)) else { return };
        let already = lists(&root.join("cgroup.subtree_control"), name);
        let own = root.join(format!("testing-{}", std::process::id()));
        if std::fs::create_dir(&own).is_err() || turn(&root, "+", name).is_err() {
            let _ = std::fs::remove_dir(&own);
            return;
        }
        let base = own.join("everup-1");
        std::fs::create_dir(&base).unwrap();
        let mut sleeper = Sleeper::start();
        let pid = Pid(sleeper.0.id().cast_signed());
        join(&own, pid).unwrap();
        let groups = Groups::at(&base);
        {
            let mut controllers = Controllers::default();
            assert!(controllers.enable(name, &groups, &[]).is_err(), "somebody else is in our group");
            assert_eq!(procs_of(&own).unwrap(), [pid]);
            controllers.enable(name, &groups, &[pid]).unwrap();
            assert_eq!(procs_of(&base.join("self")).unwrap(), [pid]);
            let (group, _folder) = groups.make("web.1-1", 1).unwrap();
            assert!(lists(&groups.path_of(&group).join("cgroup.controllers"), name));
            assert!(groups.remove(&group));
        }
        assert_eq!(procs_of(&own).unwrap(), [pid]);
        assert!(!base.join("self").exists() && !lists(&own.join("cgroup.subtree_control"), name));
        sleeper.end();
        drop(groups);
        std::fs::remove_dir(&own).unwrap();
        if !already {
            turn(&root, "-", name).unwrap();
        }
    }

    struct Sleeper(Child);

    impl Sleeper {
        #[expect(clippy::disallowed_methods, reason = "a test needs something to move")]
        fn start() -> Self {
            Self(Command::new("sleep").arg("1000").stdin(Stdio::null()).spawn().unwrap())
        }

        fn end(&mut self) {
            self.0.kill().unwrap();
            self.0.wait().unwrap();
        }
    }

    impl Drop for Sleeper {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}
