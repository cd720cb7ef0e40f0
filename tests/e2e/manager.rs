//! everup as a service of systemd: what the manager hears, and the unit that it reads.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use everup::os::notify::NotifySocket;
use nix::sys::signal::Signal;

use crate::support::{Project, alive, free_port, kill, text, wait_for};

/// What stands in for systemd: hears what everup says, and from whom.
struct Manager {
    socket: NotifySocket,
    heard: Vec<(i32, String)>,
}

impl Manager {
    fn new() -> Self {
        Self { socket: NotifySocket::bind("manager").expect("a socket"), heard: vec![] }
    }

    fn command(&self, project: &Project, watchdog_us: u64) -> Command {
        let mut command = project.command(&["up"]);
        command.env("NOTIFY_SOCKET", self.socket.address()).env("WATCHDOG_USEC", watchdog_us.to_string());
        command
    }

    /// Takes what has come; how many lines that was.
    fn listen(&mut self) -> usize {
        let before = self.heard.len();
        while let Some((from, bytes)) = self.socket.recv().expect("a socket can be read") {
            self.heard.extend(text(&bytes).lines().map(|line| (from.0, line.to_owned())));
        }
        self.heard.len() - before
    }

    /// How often a line was heard that begins like this.
    fn count(&self, begin: &str) -> usize {
        self.heard.iter().filter(|(_, line)| line.starts_with(begin)).count()
    }

    fn wait(&mut self, begin: &str) {
        self.wait_times(begin, 1);
    }

    fn wait_times(&mut self, begin: &str, times: usize) {
        wait_for(&format!("the manager to hear {begin}"), || {
            self.listen();
            self.count(begin) >= times
        });
    }

    fn place(&self, begin: &str) -> usize {
        self.heard.iter().position(|(_, line)| line.starts_with(begin)).expect(begin)
    }
}

#[test]
fn the_manager_hears_of_start_reload_and_stop_from_the_main_process() {
    let mut manager = Manager::new();
    let mut project = Project::new("services:\n  web: {command: sleep 1000, health: {exec: 'test -e open'}}\n");
    project.run_by(manager.command(&project, 400_000));
    let guardian = i32::try_from(project.supervisor().id()).expect("a pid");
    manager.wait("STATUS=0 of 1 ready, web starting");
    manager.wait("EXTEND_TIMEOUT_USEC=");
    manager.wait_times("WATCHDOG=1", 3);
    assert_eq!(manager.count("READY=1"), 0, "{:?}", manager.heard);
    project.write("open", "");
    manager.wait("READY=1");
    manager.wait(&format!("MAINPID={guardian}"));
    manager.wait("STATUS=1 of 1 running");
    assert_eq!(manager.count("RELOADING=1"), 0);

    project.write(
        "supervisor.yaml",
        "services:\n  web: {command: sleep 1000, health: {exec: 'test -e open'}}\n  db: {command: sleep 1000}\n",
    );
    project.hang_up();
    manager.wait("STATUS=2 of 2 running");
    assert_eq!(manager.count("READY=1"), 2, "{:?}", manager.heard);
    let reloading = manager.place("RELOADING=1");
    assert!(manager.heard[reloading + 1].1.starts_with("MONOTONIC_USEC="));
    assert_eq!(manager.heard[reloading..].iter().filter(|(_, line)| line == "READY=1").count(), 1);

    project.write("supervisor.yaml", "nonsense: 1\n");
    project.hang_up();
    manager.wait("STATUS=the changed file was refused (everup check says why); 2 of 2 running");
    assert_eq!((manager.count("RELOADING=1"), manager.count("READY=1")), (2, 3));

    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), Signal::SIGTERM).expect("our child");
    manager.wait("STOPPING=1");
    assert_eq!(project.wait_end(), Some(0));
    manager.listen();
    assert_eq!((manager.count("STOPPING=1"), manager.count("READY=1")), (1, 3), "{:?}", manager.heard);
    assert!(manager.heard.iter().all(|(from, _)| *from == guardian), "{:?}", manager.heard);
}

#[test]
fn what_never_becomes_ready_keeps_no_start_open() {
    let mut manager = Manager::new();
    let mut project = Project::new(
        "services:\n  web: {command: 'sh -c \"exit 1\"', health: {exec: 'false'}, restart: {delay: 1h, max_delay: 1h}}\n  \
         app: {command: sleep 1000, needs: [web]}\n  db: {command: sleep 1000}\n",
    );
    project.run_by(manager.command(&project, 30_000_000));
    manager.wait("READY=1");
    manager.wait("STATUS=1 of 3 running, web in backoff, app waiting");
}

#[test]
fn a_loop_that_stalls_is_silent() {
    let mut manager = Manager::new();
    let mut project = Project::new("services:\n  web: {command: sleep 1000}\n");
    project.run_by(manager.command(&project, 40_000));
    manager.wait("READY=1");
    manager.wait_times("WATCHDOG=1", 5);
    project.signal_engine(Signal::SIGSTOP);
    // What it had said before it stopped.
    wait_for("the engine to be silent", || manager.listen() == 0);
    let mut looks = 0;
    wait_for("some time to pass", || {
        looks += 1;
        assert_eq!(manager.listen(), 0, "{:?}", manager.heard.last());
        looks > 20
    });
    let before = manager.count("WATCHDOG=1");
    project.signal_engine(Signal::SIGCONT);
    manager.wait_times("WATCHDOG=1", before + 3);
}

#[test]
fn when_the_watchdog_runs_out_everup_makes_way_and_the_services_run_on() {
    let manager = Manager::new();
    let mut project = Project::new("services:\n  web: {command: sleep 1000}\n");
    project.run_by(manager.command(&project, 30_000_000));
    let web = project.pid("web");
    let engine = project.status()["engine_pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).expect("a pid");
    project.signal_engine(Signal::SIGSTOP);
    let guardian = i32::try_from(project.supervisor().id()).expect("a pid");
    // As WatchdogSignal= has it.
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), Signal::SIGABRT).expect("our child");
    assert_eq!(project.wait_end(), Some(134));
    wait_for("the engine to be gone", || !alive(engine));
    project.forget_engine();
    assert!(alive(web));
    kill(&project, web, 9);
}

#[test]
fn readyz_has_turned_away_before_the_first_service_is_told_to_stop() {
    let port = free_port();
    let script = "import http.client, signal, sys\n\
        def ask(path):\n    c = http.client.HTTPConnection('127.0.0.1', int(sys.argv[1]), timeout=20)\n    \
        c.request('GET', path)\n    return c.getresponse().status\n\
        def stop(*_):\n    open('told', 'w').write(f\"{ask('/readyz')} {ask('/livez')} {ask('/v1/status')}\")\n    sys.exit(0)\n\
        signal.signal(signal.SIGTERM, stop)\nopen('armed', 'w')\nwhile True: signal.pause()\n";
    let mut project = Project::new(&format!(
        "web: {{listen: '127.0.0.1:{port}'}}\nservices:\n  \
         asker: {{command: python3 ask.py {port}, health: {{exec: 'test -e armed'}}, stop: {{timeout: 30s}}}}\n"
    ));
    project.write("ask.py", script);
    project.start(&["up"]);
    project.wait_ready("asker");
    assert_eq!(crate::support::get(port, "/readyz").map(|(status, _)| status), Some(200));
    let guardian = i32::try_from(project.supervisor().id()).expect("a pid");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(guardian), Signal::SIGTERM).expect("our child");
    assert_eq!(project.wait_end(), Some(0));
    assert_eq!(project.read("told"), "503 200 200");
}

#[test]
fn a_unit_that_lost_its_main_process_is_told_who_goes_on() {
    let mut manager = Manager::new();
    let mut project = Project::new("services:\n  web: {command: sleep 1000}\n");
    project.run_by(manager.command(&project, 30_000_000));
    manager.wait("READY=1");
    let (guardian, web) = (project.supervisor().id(), project.pid("web"));
    // As systemd starts a main process: it says so by its pid.
    let everup = env!("CARGO_BIN_EXE_everup");
    let mut again = project.command(&[]);
    let mut second = Command::new("sh");
    second.args(["-c", "echo $$; SYSTEMD_EXEC_PID=$$ exec \"$0\" up", everup]).current_dir(project.folder.path());
    for (name, value) in again.env("NOTIFY_SOCKET", manager.socket.address()).get_envs() {
        second.env(name, value.expect("a value"));
    }
    let output = second.output().expect("sh runs");
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let pid: i32 = text(&output.stdout).trim().parse().expect("a pid");
    wait_for("the manager to hear of it", || {
        manager.listen();
        manager.heard.contains(&(pid, format!("MAINPID={guardian}")))
            && manager.heard.contains(&(pid, "READY=1".into()))
    });
    assert_eq!(project.pid("web"), web);
}

/// A home with a `systemctl` that writes down what it is told.
struct Home(Project);

impl Home {
    fn new(yaml: &str) -> Self {
        let home = Self(Project::bare());
        std::fs::create_dir_all(home.0.path("my shop")).expect("a folder");
        std::fs::create_dir_all(home.0.path("bin")).expect("a folder");
        home.0.write("my shop/supervisor.yaml", yaml);
        home.0.write("bin/systemctl", "#!/bin/sh\necho \"$@\" >> \"$HOME/told\"\n");
        let script = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(home.0.path("bin/systemctl"), script).expect("a script");
        home
    }

    /// From now on a manager of the user runs.
    fn with_manager(self) -> Self {
        std::fs::create_dir_all(self.0.path("run/systemd")).expect("a folder");
        self.0.write("run/systemd/private", "");
        self
    }

    fn everup(&self, args: &[&str]) -> Output {
        let path = format!("{}:/usr/bin:/bin", self.0.path("bin").display());
        let mut command = self.0.command(args);
        command.current_dir(self.0.path("my shop")).env("HOME", self.0.folder.path()).env("PATH", path);
        command.env_remove("XDG_CONFIG_HOME").output().expect("everup runs")
    }

    fn unit(&self, name: &str) -> PathBuf {
        self.0.path(".config/systemd/user").join(name)
    }
}

const UNIT: &str = "everup-my-shop.service";

#[test]
fn a_unit_is_installed_once_started_and_taken_away() {
    let home = Home::new("services:\n  web: {command: sleep 1000}\n").with_manager();
    let output = home.everup(&["install", "--user"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let unit = home.unit(UNIT);
    assert_eq!(
        text(&output.stdout),
        format!("wrote {}\n{UNIT} runs, and starts by itself from now on\n", unit.display())
    );
    assert_eq!(home.0.read("told"), format!("--user daemon-reload\n--user enable {UNIT}\n--user start {UNIT}\n"));
    let written = std::fs::read_to_string(&unit).expect("a unit");
    let file = std::fs::canonicalize(home.0.path("my shop/supervisor.yaml")).expect("a file");
    let line = format!("ExecStart={} up -c \"{}\"", env!("CARGO_BIN_EXE_everup"), file.display());
    assert!(written.lines().any(|found| found == line), "{line} is missing in\n{written}");

    let again: serde_json::Value =
        serde_json::from_slice(&home.everup(&["install", "--user", "--json"]).stdout).expect("JSON");
    assert_eq!((&again["written"], &again["enabled"], &again["unit"]), (&false.into(), &true.into(), &UNIT.into()));
    assert_eq!(std::fs::read_to_string(&unit).expect("a unit"), written);

    home.0.write("told", "");
    let output = home.everup(&["uninstall", "--user"]);
    assert_eq!(text(&output.stdout), format!("removed {}\n", unit.display()), "{}", text(&output.stderr));
    assert_eq!(home.0.read("told"), format!("--user disable --now {UNIT}\n--user daemon-reload\n"));
    assert!(!unit.exists());
    let output = home.everup(&["uninstall", "--user"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(text(&output.stderr).contains("no unit of"), "{}", text(&output.stderr));
}

#[test]
fn without_a_manager_the_commands_are_shown() {
    let home = Home::new("services:\n  web: {command: sleep 1000}\n");
    let output = home.everup(&["install", "--user"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let next = format!("next: systemctl --user daemon-reload && systemctl --user enable --now {UNIT}");
    assert!(text(&output.stderr).contains(&next), "{}", text(&output.stderr));
    assert!(home.unit(UNIT).exists() && home.0.read("told").is_empty());
    let printed = text(&home.everup(&["install", "--user", "--print"]).stdout);
    assert_eq!(printed, std::fs::read_to_string(home.unit(UNIT)).expect("a unit"));
}

#[test]
fn a_unit_of_somebody_else_is_left_alone() {
    let home = Home::new("services:\n  web: {command: sleep 1000}\n").with_manager();
    let unit = home.unit(UNIT);
    std::fs::create_dir_all(unit.parent().expect("a folder")).expect("a folder");
    for (content, said) in [
        ("[Service]\nExecStart=/bin/true\n", "everup install did not write it"),
        (
            "# Written by everup install for /srv/other/supervisor.yaml\n",
            "it is the unit of /srv/other/supervisor.yaml",
        ),
    ] {
        std::fs::write(&unit, content).expect("a unit");
        for verb in ["install", "uninstall"] {
            let output = home.everup(&[verb, "--user"]);
            assert_eq!(output.status.code(), Some(1), "{verb}");
            assert!(text(&output.stderr).contains(said), "{verb}: {}", text(&output.stderr));
        }
        assert_eq!(std::fs::read_to_string(&unit).expect("a unit"), content);
    }
    assert_eq!(home.0.read("told"), "");
}

#[test]
fn what_only_this_shell_knows_is_said_before_anything_is_written() {
    let home = Home::new("services:\n  web: {command: sleep 1000, env: {URL: '${DATABASE_URL}'}}\n").with_manager();
    let path = format!("{}:/usr/bin:/bin", home.0.path("bin").display());
    let mut command = home.0.command(&["install", "--user"]);
    command.current_dir(home.0.path("my shop")).env("HOME", home.0.folder.path()).env("PATH", path);
    let output = command.env("DATABASE_URL", "postgres://x").output().expect("everup runs");
    assert_eq!(output.status.code(), Some(5));
    let said = text(&output.stderr);
    assert!(said.contains("DATABASE_URL") && said.contains("systemd does not know them"), "{said}");
    assert!(!home.unit(UNIT).exists());
}

#[test]
fn systemd_understands_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        eprintln!("skipped: there is no systemd-analyze here (Debian, Ubuntu: apt-get install systemd)");
        return;
    }
    let home = Home::new("services:\n  web: {command: sleep 1000}\n");
    let everup = env!("CARGO_BIN_EXE_everup");
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
    for (file, words) in [("everup.service", vec![]), ("user/everup.service", vec!["--user"])] {
        let printed = home.everup(&[&["install", "--print"], &words[..]].concat());
        let unit = std::fs::read_to_string(packaged.join(file)).expect("a packaged unit");
        for (name, text) in
            [("packaged.service", unit.replace("/usr/bin/everup", everup)), (UNIT, text(&printed.stdout))]
        {
            let path = home.0.path(name);
            std::fs::write(&path, text).expect("a unit");
            let mut verify = Command::new("systemd-analyze");
            // A manager of a user has a folder for what runs.
            std::fs::create_dir_all(home.0.path("run")).expect("a folder");
            verify.env("XDG_RUNTIME_DIR", home.0.path("run"));
            let output = verify.args(&words).arg("verify").arg(&path).output().expect("systemd-analyze runs");
            let said = crate::support::text(&output.stderr);
            assert!(output.status.success() && !said.contains("Unknown"), "{name}: {said}");
        }
    }
}
