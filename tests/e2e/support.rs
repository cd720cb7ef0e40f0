//! A project in a folder of its own, with the everup that runs it.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long any condition may take. Generous: it bounds a failure, it is no measurement.
pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

/// A project with its folder; everup is ended, with all it started, when this is dropped.
pub(crate) struct Project {
    pub(crate) folder: tempfile::TempDir,
    supervisor: Option<Child>,
    /// An engine that was stopped.
    engine: std::cell::Cell<Option<i32>>,
}

impl Project {
    /// An empty folder.
    pub(crate) fn bare() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        Self { folder, supervisor: None, engine: std::cell::Cell::default() }
    }

    /// A folder with this `supervisor.yaml`.
    pub(crate) fn new(yaml: &str) -> Self {
        let project = Self::bare();
        project.write("supervisor.yaml", yaml);
        project
    }

    /// As [`Project::new`], with `everup up` running in the foreground and answering.
    pub(crate) fn up(yaml: &str) -> Self {
        let mut project = Self::new(yaml);
        project.start(&["up"]);
        project
    }

    /// Starts everup in the foreground and waits until it answers.
    pub(crate) fn start(&mut self, args: &[&str]) {
        self.run_by(self.command(args));
    }

    /// Starts everup by this command, and waits until it answers.
    pub(crate) fn run_by(&mut self, mut command: Command) {
        let stdout = fs::File::create(self.path("everup.stdout")).expect("a file for stdout");
        let stderr = fs::File::create(self.path("everup.stderr")).expect("a file for stderr");
        command.current_dir(self.folder.path()).stdin(Stdio::null()).stdout(stdout).stderr(stderr);
        self.supervisor = Some(command.spawn().expect("everup starts"));
        wait_for("everup to answer", || self.everup(&["status", "--json"]).status.code() != Some(6));
    }

    /// Sends HUP to the everup that serves this project.
    pub(crate) fn hang_up(&self) {
        self.signal_guardian(nix::sys::signal::Signal::SIGHUP);
    }

    /// Sends a signal to the guardian of this project.
    pub(crate) fn signal_guardian(&self, signal: nix::sys::signal::Signal) {
        self.signal_own("pid", signal);
    }

    /// Sends a signal to the engine of this project.
    pub(crate) fn signal_engine(&self, signal: nix::sys::signal::Signal) {
        self.signal_own("engine_pid", signal);
    }

    /// The engine that was stopped has been killed.
    pub(crate) fn forget_engine(&self) {
        self.engine.set(None);
    }

    fn signal_own(&self, key: &str, signal: nix::sys::signal::Signal) {
        let pid = match &self.engine.get() {
            // A stopped engine cannot be asked.
            Some(pid) if key == "engine_pid" => *pid,
            _ => i32::try_from(self.status()[key].as_i64().expect("a pid")).expect("a pid fits"),
        };
        if key == "engine_pid" {
            let stopped = (signal == nix::sys::signal::Signal::SIGSTOP).then_some(pid);
            self.engine.set(stopped);
        }
        self.signal_everup(pid, signal);
    }

    /// Sends a signal to a process of everup's own that serves this project.
    pub(crate) fn signal_everup(&self, pid: i32, signal: nix::sys::signal::Signal) {
        assert!(pid > 1, "not a process to signal");
        let program = fs::read_link(format!("/proc/{pid}/exe")).expect("its program");
        assert_eq!(program, Path::new(env!("CARGO_BIN_EXE_everup")), "{pid} is not everup");
        let cwd = fs::read_link(format!("/proc/{pid}/cwd")).expect("its folder");
        assert_eq!(cwd, fs::canonicalize(self.folder.path()).expect("the folder"), "{pid} is of another project");
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it can be signalled");
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file can be written");
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// The everup under test, in this folder.
    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_everup"));
        // The list of live projects of this test is its own.
        command
            .args(args)
            .current_dir(self.folder.path())
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("NO_COLOR", "1");
        command
    }

    /// Runs an everup command to its end.
    pub(crate) fn everup(&self, args: &[&str]) -> Output {
        self.command(args).stdin(Stdio::null()).output().expect("everup runs")
    }

    /// As [`Project::everup`], which must succeed. Returns what it printed.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.everup(args);
        assert!(
            output.status.success(),
            "everup {args:?} ended with {:?}\n{}{}\neverup: {}",
            output.status.code(),
            text(&output.stdout),
            text(&output.stderr),
            self.read("everup.stderr"),
        );
        text(&output.stdout)
    }

    pub(crate) fn status(&self) -> Value {
        let output = self.everup(&["status", "--json"]);
        serde_json::from_slice(&output.stdout).unwrap_or(Value::Null)
    }

    /// The status of one service.
    pub(crate) fn service(&self, name: &str) -> Value {
        let status = self.status();
        let services = status["services"].as_array().cloned().unwrap_or_default();
        services.into_iter().find(|service| service["name"] == name).unwrap_or(Value::Null)
    }

    /// The status of one instance (by position).
    pub(crate) fn instance(&self, name: &str, index: usize) -> Value {
        self.service(name)["instances"][index].clone()
    }

    /// The main process of a service's first instance, once it runs.
    pub(crate) fn pid(&self, name: &str) -> i32 {
        let mut found = None;
        wait_for(&format!("{name} to have a process"), || {
            found = self.instance(name, 0)["pid"].as_i64();
            found.is_some()
        });
        i32::try_from(found.expect("a pid")).expect("a pid fits")
    }

    pub(crate) fn wait_ready(&self, name: &str) {
        self.wait_service(name, "to be ready", |service| service["ready"] == true && service["state"] == "running");
    }

    pub(crate) fn wait_service(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        wait_until(
            || {
                last = self.service(name);
                holds(&last)
            },
            || format!("{name} {what}; last seen: {:#}\n{}", self.service(name), self.read("everup.stderr")),
        );
    }

    /// The newest entry of `why`.
    pub(crate) fn why(&self, name: &str) -> Value {
        let output = self.everup(&["why", name, "--json"]);
        let all: Value = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        all["entries"][0].clone()
    }

    /// Every event so far.
    pub(crate) fn events(&self) -> Vec<Value> {
        let output = self.everup(&["events", "--json"]);
        text(&output.stdout).lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// The process of `everup up`.
    pub(crate) fn supervisor(&mut self) -> &mut Child {
        self.supervisor.as_mut().expect("everup was started")
    }

    /// Waits until `everup up` has ended by itself and returns its exit code.
    pub(crate) fn wait_end(&mut self) -> Option<i32> {
        let mut child = self.supervisor.take().expect("everup was started");
        let mut status = None;
        wait_for("everup to end", || {
            status = child.try_wait().expect("a child of ours");
            status.is_some()
        });
        status.and_then(|status| status.code())
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if self.engine.get().is_some() {
            self.signal_engine(nix::sys::signal::Signal::SIGCONT);
        }
        let mut child = self.supervisor.take();
        let lives = child.as_mut().is_some_and(|child| child.try_wait().ok().flatten().is_none());
        // One in the background, or one that outlived the process we started, has its socket here.
        if lives || self.path(".everup/everup.sock").exists() {
            let _ = self.everup(&["down", "--force"]);
        }
        let Some(mut child) = child else { return };
        // Killed too early, the guardian would be replaced by an engine that still lives.
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until && child.try_wait().ok().flatten().is_none() {
            pause();
        }
        // The guardian is our own child, so its pid cannot have been given away.
        let _ = child.kill();
        let _ = child.wait();
    }
}

/// Waits until `holds`, within [`PATIENCE`].
pub(crate) fn wait_for(what: &str, holds: impl FnMut() -> bool) {
    wait_until(holds, || what.to_owned());
}

fn wait_until(mut holds: impl FnMut() -> bool, what: impl Fn() -> String) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "waited in vain for {}", what());
        pause();
    }
}

/// Between two looks at a condition.
fn pause() {
    let (_keep, never) = std::sync::mpsc::sync_channel::<()>(0);
    let _ = never.recv_timeout(Duration::from_millis(15));
}

/// People are not as regular as a program that writes its own files after each start; every other round takes longer.
pub(crate) fn take_ones_time(round: usize) {
    if round % 2 == 1 {
        (0..27).for_each(|_| pause());
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A port nobody listens on now, from below the range that the kernel gives out by itself.
pub(crate) fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU16, Ordering};
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let base = 12_000 + u16::try_from(std::process::id() % 150).expect("below 150") * 100;
    loop {
        let port = base + NEXT.fetch_add(1, Ordering::Relaxed) % 5_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A GET: status and body; none while nobody answers.
pub(crate) fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split(' ').nth(1)?.parse().ok()?;
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default();
    Some((status, body))
}

/// Whether the process exists (a zombie counts as gone).
pub(crate) fn alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit_once(") ").map(|(_, rest)| !rest.starts_with('Z')))
        .unwrap_or(false)
}

/// Sends a signal to a process that is known to be one of the project's: its environment says so.
pub(crate) fn kill(project: &Project, pid: i32, signal: i32) {
    assert!(pid > 1, "not a process to signal");
    let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    assert!(environment.windows(14).any(|part| part == b"EVERUP_SERVICE"), "{pid} is not a child of everup");
    let folder = fs::canonicalize(project.folder.path()).expect("the folder");
    let _ = folder;
    let pid = nix::unistd::Pid::from_raw(pid);
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::try_from(signal).expect("a signal"))
        .expect("it can be signalled");
}

/// A Python with the test apps' packages; made under `target/` on first use.
pub(crate) fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let wanted = fs::read_to_string(root.join("tests/data/requirements.txt")).expect("requirements.txt");
        let target = Path::new(env!("CARGO_BIN_EXE_everup")).parent().and_then(Path::parent).expect("target/");
        let venv = target.join("peers-python");
        let (python, mark) = (venv.join("bin/python"), venv.join("installed"));
        if fs::read_to_string(&mark).is_ok_and(|installed| installed == wanted) {
            return python;
        }
        let made = Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv).output();
        let hint =
            "install Python 3 with venv (Debian, Ubuntu: apt-get install python3 python3-venv) and run the tests again";
        let made = made.unwrap_or_else(|error| panic!("cannot run python3: {error}; {hint}"));
        assert!(made.status.success(), "cannot make a virtual environment: {}; {hint}", text(&made.stderr));
        let packages = root.join("tests/data/requirements.txt");
        let install = Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(packages).output();
        let install = install.expect("pip runs");
        assert!(install.status.success(), "cannot install the test apps' packages: {}", text(&install.stderr));
        fs::write(&mark, wanted).expect("a mark");
        python
    })
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}
