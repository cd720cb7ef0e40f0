//! What everup runs has what is configured, and nothing more: services, hooks, probes and checks.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::support::{Project, wait_for};

/// Everything this machine gives us about a process, as it saw itself.
struct Seen(BTreeMap<String, String>);

impl Seen {
    /// What `look` wrote under this name.
    fn read(project: &Project, name: &str) -> Self {
        let file = format!("shared/{name}");
        wait_for(&format!("{name} to have looked"), || project.path(&file).exists());
        let text = project.read(&file);
        let pair = |line: &str| {
            let (name, value) = line.split_once(':').or_else(|| line.split_once('='))?;
            Some((name.to_owned(), value.split_whitespace().collect::<Vec<_>>().join(" ")))
        };
        Self(text.lines().filter_map(pair).collect())
    }

    fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }
}

/// Writes down, under the name in `$X`, what the shell that reads it is.
const LOOK: &str = r#"
new=shared/$X.new
cat /proc/self/status > $new
env >> $new
echo "fds=$(ls /proc/self/fd)" | tr '\n' ' ' >> $new
{
  echo
  echo "core=$(ulimit -c)"
  echo "files=$(ulimit -n)"
  echo "processes=$(grep processes /proc/self/limits)"
  echo "nice=$(nice)"
  echo "session=$(cut -d' ' -f6 /proc/$$/stat) $$"
} >> $new
mv $new shared/$X
"#;

/// A command that writes down what it is, and then goes on.
fn look(name: &str, then: &str) -> String {
    format!("sh -c 'X={name}; . ./look; {then}'")
}

/// A folder in which everybody may write.
fn shared(project: &Project) {
    project.write("look", LOOK);
    fs::create_dir(project.path("shared")).expect("a folder");
    for folder in ["", "shared"] {
        fs::set_permissions(project.path(folder), PermissionsExt::from_mode(0o777)).expect("open to all");
    }
}

fn is_root() -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("skipped: only root can run a service as another user");
    }
    root
}

/// everup as somebody careless starts it: signals ignored, a file open, an odd umask, core dumps wanted.
fn careless(project: &Project) -> Command {
    let everup = project.command(&[]);
    let mut shell = Command::new("bash");
    let start = "trap '' USR1 PIPE; exec 7< /etc/passwd; umask 0026; ulimit -S -c 8; exec \"$0\" up";
    shell.args(["-c", start]).arg(everup.get_program());
    shell.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell
}

const NAMES: [&str; 6] = ["main", "before_start", "after_ready", "probe", "check", "stop"];

#[test]
fn all_that_runs_for_a_user_is_that_user_and_nothing_more() {
    if !is_root() {
        return;
    }
    let (sleep, end) = ("exec sleep 1000", "true");
    let mut project = Project::new(&format!(
        "services:\n  web:\n    command: {}\n    user: nobody\n    umask: '0027'\n    nice: 5\n    \
         limits: {{open_files: 123, core: 4096, processes: 77}}\n    env: {{LOGNAME: somebody}}\n    \
         health: {{exec: {}}}\n    hooks: {{before_start: {}, after_ready: {}}}\n    \
         stop: {{command: {}, timeout: 1s}}\n    watch: {{paths: [app], check: {}}}\n  \
         plain: {{command: {}}}\n  number: {{command: {}, user: '54321', group: '54322'}}\n",
        look("main", sleep),
        look("probe", end),
        look("before_start", end),
        look("after_ready", end),
        look("stop", end),
        look("check", end),
        look("plain", sleep),
        look("number", sleep),
    ));
    shared(&project);
    fs::create_dir(project.path("app")).expect("a folder");
    project.run_by(careless(&project));
    project.wait_ready("web");
    project.everup(&["reload", "web", "--wait=40s"]);
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("nobody is somebody");
    let home = nobody.dir.display().to_string();
    project.everup(&["stop", "web", "--wait=40s"]);
    let own = fs::read_to_string("/proc/self/status").expect("our own status");
    for name in NAMES {
        let seen = Seen::read(&project, name);
        assert_eq!(seen.get("Uid"), [nobody.uid.to_string().as_str(); 4].join(" "), "{name}");
        assert_eq!(seen.get("Gid"), [nobody.gid.to_string().as_str(); 4].join(" "), "{name}");
        assert_eq!(seen.get("Groups"), nobody.gid.to_string(), "{name}: root's groups, or none");
        for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
            assert_eq!(seen.get(set), "0000000000000000", "{name}: {set}");
        }
        for set in ["CapBnd", "NoNewPrivs", "Seccomp"] {
            assert!(own.contains(&format!("{set}:\t{}\n", seen.get(set))), "{name}: {set} is {}", seen.get(set));
        }
        for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd"] {
            assert_eq!(seen.get(set), "0000000000000000", "{name}: {set}");
        }
        assert_eq!(seen.get("fds"), "0 1 2 3", "{name}: the last is the list itself");
        assert_eq!((seen.get("Umask"), seen.get("nice")), ("0027", "5"), "{name}");
        let session: Vec<&str> = seen.get("session").split(' ').collect();
        assert_eq!(session.first(), session.get(1), "{name} has no session of its own");
        assert_eq!((seen.get("HOME"), seen.get("USER")), (home.as_str(), "nobody"), "{name}");
        assert_eq!(seen.get("LOGNAME"), "somebody", "{name}: env wins");
    }
    let main = Seen::read(&project, "main");
    assert_eq!((main.get("files"), main.get("core")), ("123", "8"), "in 512-byte blocks");
    assert_eq!(main.get("processes"), "Max processes 77 77 processes");
    let plain = Seen::read(&project, "plain");
    assert_eq!((plain.get("Uid"), plain.get("Umask"), plain.get("nice")), ("0 0 0 0", "0026", "0"));
    assert_eq!((plain.get("fds"), plain.get("SigIgn")), ("0 1 2 3", "0000000000000000"));
    assert_eq!(plain.get("core"), "16", "the limit everup was started with, in 512-byte blocks");
    assert_eq!(plain.get("HOME"), std::env::var("HOME").unwrap_or_default(), "without user nothing of it changes");
    let number = Seen::read(&project, "number");
    assert_eq!((number.get("Uid"), number.get("Groups")), ("54321 54321 54321 54321", "54322"));
    assert!(!number.0.contains_key("HOME") && !number.0.contains_key("USER"), "it has another's home");
}

#[test]
fn a_user_brings_all_its_groups_and_no_others() {
    if !is_root() {
        return;
    }
    let private = Command::new("unshare").args(["--mount", "true"]).output();
    if !private.is_ok_and(|output| output.status.success()) {
        println!("skipped: no mount namespace of our own can be made here");
        return;
    }
    let mut project = Project::new(&format!(
        "services:\n  all: {{command: {}, user: nobody}}\n  other: {{command: {}, user: nobody, group: '4003'}}\n",
        look("all", "exec sleep 1000"),
        look("other", "exec sleep 1000"),
    ));
    shared(&project);
    let groups = fs::read_to_string("/etc/group").expect("the groups");
    project.write("group", &format!("{groups}staff1:x:4001:nobody\nstaff2:x:4002:daemon,nobody\nnone:x:4003:daemon\n"));
    let everup = project.command(&[]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", "mount --bind group /etc/group && exec \"$0\" up"]).arg(everup.get_program());
    command.envs(everup.get_envs().filter_map(|(name, value)| Some((name, value?))));
    project.run_by(command);
    let nobody = nix::unistd::User::from_name("nobody").ok().flatten().expect("nobody is somebody");
    for (name, main) in [("all", nobody.gid.as_raw()), ("other", 4003)] {
        let seen = Seen::read(&project, name);
        let mut found: Vec<u32> = seen.get("Groups").split(' ').filter_map(|gid| gid.parse().ok()).collect();
        found.sort_unstable();
        let mut expected = vec![4001, 4002, main];
        expected.sort_unstable();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn what_cannot_be_taken_on_is_not_run_without_it() {
    if nix::unistd::geteuid().is_root() {
        // As root everything can be taken on; the user that does not exist is tried in limits.rs.
        let project = Project::up(
            "services:\n  web: {command: sh -c 'echo ran > ran; exec sleep 9', user: '1', group: no-such-group}\n",
        );
        project.wait_service("web", "to fail", |web| web["instances"][0]["last_end"]["cause"] == "spawn_error");
        assert!(!project.path("ran").exists());
        return;
    }
    let project = Project::up("services:\n  web: {command: sh -c 'echo ran > ran; exec sleep 9', user: root}\n");
    project.wait_service("web", "to fail", |web| web["instances"][0]["last_end"]["cause"] == "spawn_error");
    assert!(!project.path("ran").exists());
}
