//! A real guardian with a scripted engine: this test program is executed again as both.

use std::fs::File;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::poll::{PollFd, PollFlags, poll};

use super::*;
use crate::guardian::link::Link;
use crate::guardian::protocol::{Capabilities, FromGuardian, SocketKey, StdioSpec, ToGuardian, Token};
use crate::model::service::{End, SpawnStage};
use crate::model::signal::Signal;
use crate::os::spawn::SpawnSpec;
use crate::os::testing;
use crate::os::tree::Process;

const SCENE: &str = "EVERUP_TEST_SCENE";
const SWEEP: &str = "EVERUP_TEST_SWEEP";

/// Not a test by itself: what the guardian and the engine of the other tests execute.
#[test]
#[ignore = "the other tests execute this"]
fn stage() {
    let code = match role() {
        Role::Command | Role::Rehearsal | Role::Undertaker => return,
        Role::Guardian => testing::in_a_process_of_its_own(|| work().unwrap()),
        Role::Engine => {
            let link = Link::from_env().expect("a link");
            let scene = std::env::var(SCENE).expect("a scene");
            let (_, scene) = SCENES.iter().find(|(name, _)| *name == scene).expect("a known scene");
            let mut engine = Engine { link, said: Vec::new() };
            let hello = engine.next();
            assert!(matches!(hello.0, FromGuardian::Hello(_)), "{hello:?}");
            scene(&mut engine);
            0
        }
    };
    testing::leave(code);
}

/// Plays a scene once with control groups (where there are any) and once without.
fn play(scene: &str) -> Vec<Output> {
    let own = std::env::current_exe().unwrap();
    [false, true]
        .into_iter()
        .map(|sweep| {
            let mut command = Command::new(&own);
            command.args(["--exact", "guardian::tests::stage", "--ignored", "--test-threads=1", "--nocapture"]);
            command.env(ROLE_VARIABLE, ROLE_GUARDIAN).env(SCENE, scene).stdin(Stdio::null());
            if sweep {
                command.env(SWEEP, "1");
            }
            command.output().unwrap()
        })
        .collect()
}

fn plays_to(scene: &str, code: i32) -> Vec<String> {
    play(scene)
        .into_iter()
        .map(|output| {
            let errors = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(code), "{scene}: {errors}");
            errors
        })
        .collect()
}

/// The scripted engine.
struct Engine {
    link: Link,
    said: Vec<FromGuardian>,
}

impl Engine {
    fn next(&mut self) -> (FromGuardian, Vec<OwnedFd>) {
        loop {
            if let Some((message, fds)) = self.link.try_recv().unwrap() {
                self.said.push(message.clone());
                return (message, fds);
            }
            let ready = poll(&mut [PollFd::new(self.link.as_fd(), PollFlags::POLLIN)], 20_000_u16).unwrap();
            assert_eq!(ready, 1, "the guardian is silent after {:?}", self.said);
        }
    }

    fn send(&self, message: &ToGuardian) {
        self.link.send(message, &[]).unwrap();
    }

    /// Runs a script and returns its pid and the read end of its output.
    fn shell(&mut self, token: u64, script: &str) -> (Pid, File) {
        self.shell_with(token, script, vec![]).unwrap()
    }

    /// As [`Engine::shell`], with these sockets; none when the guardian does not hold them all.
    fn shell_with(&mut self, token: u64, script: &str, sockets: Vec<SocketKey>) -> Option<(Pid, File)> {
        let env = [("PATH", "/usr/bin:/bin")];
        let mut spec = SpawnSpec::new(Path::new("/bin/sh"), ["sh", "-c", script], env, Path::new("/")).unwrap();
        spec.listen_pid = true;
        let stdio = [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Inherit];
        let (token, label) = (Token(token), format!("t-{token}"));
        self.send(&ToGuardian::Spawn { token, of: None, label, spec, stdio, sockets });
        match self.next() {
            (FromGuardian::Spawned { token: spawned, pid, .. }, mut fds) if spawned == token => {
                Some((pid, File::from(fds.remove(0))))
            }
            (FromGuardian::Failed { token: failed, stage: SpawnStage::Files, errno: libc::EBADF }, _)
                if failed == token =>
            {
                None
            }
            other => panic!("{other:?}"),
        }
    }

    fn ended(&mut self, token: u64) -> (End, bool) {
        match self.next().0 {
            FromGuardian::Ended { token: ended, end, tree_empty, .. } if ended == Token(token) => (end, tree_empty),
            other => panic!("{other:?}"),
        }
    }

    fn tree_gone(&mut self, token: u64) {
        assert_eq!(self.next().0, FromGuardian::TreeGone { token: Token(token) });
    }
}

/// The next line of a script: a number.
fn line(output: &mut File) -> i32 {
    let mut text = String::new();
    let mut byte = [0];
    while byte[0] != b'\n' {
        assert_eq!(poll(&mut [PollFd::new(output.as_fd(), PollFlags::POLLIN)], 20_000_u16), Ok(1));
        assert_eq!(output.read(&mut byte).unwrap(), 1, "{text}");
        text.push(char::from(byte[0]));
    }
    text.trim().parse().unwrap()
}

fn lives(pid: i32) -> bool {
    Process::find(Pid(pid)).is_some()
}

const TERM: End = End::Signal { signal: Signal::TERM, core: false };
const KILL: End = End::Signal { signal: Signal::KILL, core: false };

type Scene = fn(&mut Engine);
const SCENES: &[(&str, Scene)] = &[
    ("plain", |engine| {
        let (_, mut output) = engine.shell(1, "echo 42; exit 7");
        assert_eq!(line(&mut output), 42);
        assert_eq!(engine.ended(1), (End::Code(7), true));
        engine.send(&ToGuardian::Forget { token: Token(1) });
        engine.send(&ToGuardian::Quit { code: 9 });
    }),
    ("fails", |engine| {
        let none: [(&str, &str); 0] = [];
        for (token, program, cwd, stage) in
            [(1, "/no/such", "/", SpawnStage::Exec), (2, "/bin/true", "/no/such", SpawnStage::Cwd)]
        {
            let spec = SpawnSpec::new(Path::new(program), ["x"], none, Path::new(cwd)).unwrap();
            let stdio = [StdioSpec::Null; 3];
            engine.send(&ToGuardian::Spawn {
                token: Token(token),
                of: None,
                label: "x".to_owned(),
                spec,
                stdio,
                sockets: vec![],
            });
            let failed = FromGuardian::Failed { token: Token(token), stage, errno: libc::ENOENT };
            assert_eq!(engine.next().0, failed);
        }
        let spec = SpawnSpec::new(Path::new("/bin/true"), ["x"], none, Path::new("/")).unwrap();
        let stdio = [StdioSpec::Null, StdioSpec::Passed, StdioSpec::Null];
        engine.send(&ToGuardian::Spawn {
            token: Token(3),
            of: None,
            label: "x".to_owned(),
            spec,
            stdio,
            sockets: vec![],
        });
        let failed = FromGuardian::Failed { token: Token(3), stage: SpawnStage::Files, errno: libc::EBADF };
        assert_eq!(engine.next().0, failed, "nothing was passed");
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("escapes", |engine| {
        // A daemon of the old school: two forks, a session of its own, and the parent gone.
        let script = "setsid sh -c 'echo $$; trap \"\" TERM; sleep 1000 & wait; sleep 1000' & exec sleep 1000";
        let (pid, mut output) = engine.shell(1, script);
        let escaped = line(&mut output);
        engine.send(&ToGuardian::Signal { token: Token(1), signal: libc::SIGTERM, tree: false });
        assert_eq!(engine.ended(1), (TERM, false));
        assert!(lives(escaped) && !lives(pid.0));
        engine.send(&ToGuardian::EndTree { token: Token(1) });
        engine.tree_gone(1);
        assert!(!lives(escaped));
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("daemonises", |engine| {
        // What the main process leaves behind in another session while it lives itself.
        let script = "(setsid sleep 1000 & echo $!); exec sleep 1000";
        let (_, mut output) = engine.shell(1, script);
        let left = line(&mut output);
        engine.send(&ToGuardian::EndTree { token: Token(1) });
        let (end, empty) = engine.ended(1);
        assert_eq!(end, KILL);
        if !empty {
            engine.tree_gone(1);
        }
        assert!(!lives(left));
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("goes by itself", |engine| {
        let (_, mut output) = engine.shell(1, "sh -c 'echo $$; exec sleep 0.2' & read x < /dev/null; exit 3");
        line(&mut output);
        assert_eq!(engine.ended(1), (End::Code(3), false));
        engine.tree_gone(1);
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("signals a tree", |engine| {
        let script = "trap 'exit 4' USR1; sh -c 'trap \"exit 5\" USR1; echo $$; while :; do sleep 0.05; done' & \
                      while :; do sleep 0.05; done";
        let (pid, mut output) = engine.shell(1, script);
        line(&mut output);
        let process = Process::find(pid).unwrap();
        process.signal(libc::SIGSTOP).unwrap();
        engine.send(&ToGuardian::Signal { token: Token(1), signal: libc::SIGUSR1, tree: true });
        let (end, empty) = engine.ended(1);
        assert!(end == End::Code(4) || matches!(end, End::Signal { .. }), "{end:?}");
        if !empty {
            engine.tree_gone(1);
        }
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("holds", |engine| {
        let guardian = nix::unistd::getppid();
        let files = || std::fs::read_dir(format!("/proc/{guardian}/fd")).unwrap().count();
        let before = files();
        let listeners = [1, 2, 3].map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let addresses = listeners.each_ref().map(|listener| listener.local_addr().unwrap());
        let own = |listener: &TcpListener| std::fs::read_link(format!("/proc/self/fd/{}", listener.as_raw_fd()));
        let names = listeners.each_ref().map(|listener| own(listener).unwrap().to_str().unwrap().to_owned());
        for (key, listener) in (1..).zip(listeners) {
            engine.link.send(&ToGuardian::Hold { key: SocketKey(key) }, &[listener.as_fd()]).unwrap();
        }
        let open = |token: u64, keys: &[u64], engine: &mut Engine| {
            let sockets = keys.iter().copied().map(SocketKey).collect();
            let script = "echo $(($LISTEN_PID - $$)); readlink /proc/$$/fd/3 /proc/$$/fd/4 /proc/$$/fd/5";
            let mut asked = engine.shell_with(token, script, sockets)?;
            let mut text = String::new();
            assert!(matches!(engine.ended(token), (End::Code(_), true)));
            asked.1.read_to_string(&mut text).unwrap();
            engine.send(&ToGuardian::Forget { token: Token(token) });
            Some(text)
        };
        let expected = format!("0\n{}\n{}\n{}\n", names[1], names[2], names[0]);
        assert_eq!(open(1, &[2, 3, 1], engine), Some(expected), "in the order asked for");
        assert_eq!(open(2, &[3], engine), Some(format!("0\n{}\n", names[2])));
        assert_eq!(open(3, &[], engine), Some("0\n".to_owned()), "nothing is passed unasked");
        // Nobody but the guardian has them now.
        assert!(addresses.iter().all(|address| TcpStream::connect(address).is_ok()));
        for key in 1..=3 {
            engine.send(&ToGuardian::Release { key: SocketKey(key) });
        }
        assert_eq!(open(4, &[1], engine), None, "what is released is gone");
        assert!(addresses.iter().all(|address| TcpStream::connect(address).is_err()));
        assert_eq!(files(), before);
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("holds to the end", |engine| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        engine.link.send(&ToGuardian::Hold { key: SocketKey(1) }, &[listener.as_fd()]).unwrap();
        // Asked once the engine is gone: whether anybody listens there (state 0A).
        let look = format!("grep -q ':{port:04X} 00000000:0000 0A' /proc/net/tcp && echo HELD >&2; exit");
        let (_, mut output) = engine.shell(1, &format!("trap \"{look}\" TERM; echo 1; while :; do sleep 0.05; done"));
        line(&mut output);
        nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
    }),
    ("unknown", |engine| {
        let token = Token(99);
        engine.send(&ToGuardian::Signal { token, signal: libc::SIGTERM, tree: true });
        engine.send(&ToGuardian::EndTree { token });
        engine.send(&ToGuardian::Forget { token });
        engine.send(&ToGuardian::Release { key: SocketKey(99) });
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("many", |engine| {
        let guardian = nix::unistd::getppid();
        let files = || std::fs::read_dir(format!("/proc/{guardian}/fd")).unwrap().count();
        let before = files();
        // All are asked for before the first answer is read.
        let none: [(&str, &str); 0] = [];
        let spec = SpawnSpec::new(Path::new("/bin/true"), ["true"], none, Path::new("/")).unwrap();
        for number in 0..300 {
            let stdio = [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Pipe];
            let label = format!("m-{number}");
            engine.send(&ToGuardian::Spawn {
                token: Token(number),
                of: None,
                label,
                spec: spec.clone(),
                stdio,
                sockets: vec![],
            });
        }
        let (mut spawned, mut ended) = (0, 0);
        while ended < 300 {
            match engine.next() {
                (FromGuardian::Spawned { .. }, fds) => {
                    assert_eq!(fds.len(), 2);
                    spawned += 1;
                }
                (FromGuardian::Ended { end: End::Code(0), tree_empty: true, token, .. }, _) => {
                    ended += 1;
                    engine.send(&ToGuardian::Forget { token });
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(spawned, 300);
        // Its answer says that all before it has been carried out.
        let nothing = SpawnSpec::new(Path::new("/no/such"), ["x"], none, Path::new("/")).unwrap();
        let stdio = [StdioSpec::Null; 3];
        engine.send(&ToGuardian::Spawn {
            token: Token(300),
            of: None,
            label: "x".to_owned(),
            spec: nothing,
            stdio,
            sockets: vec![],
        });
        assert!(matches!(engine.next().0, FromGuardian::Failed { .. }));
        assert_eq!(files(), before, "no descriptor is left behind");
        let FromGuardian::Hello(Capabilities { cgroup, .. }) = &engine.said[0] else { panic!() };
        if let Ok(folder) = cgroup {
            let left: Vec<_> = std::fs::read_dir(folder).unwrap().flatten().map(|entry| entry.file_name()).collect();
            assert!(!left.iter().any(|name| name.to_string_lossy().starts_with("m-")), "{left:?}");
        }
        engine.send(&ToGuardian::Quit { code: 0 });
    }),
    ("measure", |engine| measure(engine)),
    ("dies", |engine| {
        let (pid, _output) = engine.shell(1, "setsid sleep 1000 & echo $!; exec sleep 1000");
        eprintln!("LEFT {pid}");
        let own = Process::find(Pid(std::process::id().cast_signed())).unwrap();
        nix::sys::signal::raise(nix::sys::signal::SIGKILL).unwrap();
        panic!("{own:?} lives on");
    }),
    ("leaves", |engine| {
        let (pid, _output) = engine.shell(1, "exec sleep 1000");
        eprintln!("LEFT {pid}");
        testing::leave(5);
    }),
];

#[test]
fn a_run_is_told_of_from_its_start_to_its_end() {
    plays_to("plain", 9);
}

#[test]
fn a_process_that_does_not_come_to_run_is_told_with_its_stage() {
    plays_to("fails", 0);
}

#[test]
fn a_daemon_that_leaves_its_session_is_still_part_of_the_tree() {
    plays_to("escapes", 0);
    plays_to("daemonises", 0);
}

#[test]
fn a_tree_that_ends_by_itself_is_told() {
    plays_to("goes by itself", 0);
}

#[test]
fn a_signal_reaches_the_whole_tree_even_where_it_is_stopped() {
    plays_to("signals a tree", 0);
}

#[test]
fn sockets_are_held_handed_on_in_order_and_closed() {
    plays_to("holds", 0);
}

#[test]
fn sockets_outlast_a_killed_engine_until_all_has_ended() {
    for errors in plays_to("holds to the end", 1) {
        assert!(errors.contains("HELD"), "{errors}");
    }
}

#[test]
fn news_about_unknown_processes_changes_nothing() {
    plays_to("unknown", 0);
}

#[test]
fn three_hundred_at_once_are_all_told_of() {
    plays_to("many", 0);
}

#[test]
fn the_death_of_the_engine_ends_everything() {
    for errors in plays_to("dies", 1) {
        assert!(errors.contains("everup: the engine was ended by signal KILL"), "{errors}");
        assert_nothing_left(&errors);
    }
}

#[test]
fn an_engine_that_leaves_decides_the_exit_code() {
    for errors in plays_to("leaves", 5) {
        assert!(!errors.contains("everup:"), "{errors}");
        assert_nothing_left(&errors);
    }
}

fn assert_nothing_left(errors: &str) {
    let (_, pid) = errors.split_once("LEFT ").unwrap();
    let pid: i32 = pid.lines().next().unwrap().parse().unwrap();
    assert!(!lives(pid), "{pid} lives");
}

#[test]
#[ignore = "a measurement: cargo test --lib guardian::tests::figures -- --ignored --nocapture"]
fn figures() {
    for errors in plays_to("measure", 0) {
        eprintln!("{errors}");
    }
}

/// Figures of a guardian at work, on stderr.
fn measure(engine: &mut Engine) {
    use crate::os::clock::monotonic_us;
    let program = std::env::var("PROGRAM").unwrap_or("/bin/true".to_owned());
    let guardian = nix::unistd::getppid();
    let memory = || {
        let rollup = std::fs::read_to_string(format!("/proc/{guardian}/smaps_rollup")).unwrap_or_default();
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().unwrap_or("0").parse::<u64>().unwrap_or(0)
        };
        format!(
            "guardian RSS {} KiB, PSS {} KiB, private {} KiB",
            field("Rss:"),
            field("Pss:"),
            field("Private_Dirty:")
        )
    };
    let ask = |engine: &Engine, token: u64, program: &str, arguments: &[&str]| {
        let spec = SpawnSpec::new(Path::new(program), arguments, std::env::vars_os(), Path::new("/")).unwrap();
        let stdio = [StdioSpec::Null, StdioSpec::Pipe, StdioSpec::Pipe];
        engine.send(&ToGuardian::Spawn {
            token: Token(token),
            of: None,
            label: format!("b-{token}"),
            spec,
            stdio,
            sockets: vec![],
        });
    };
    let cpu = |pid: String| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/schedstat")).unwrap_or_default();
        text.split(' ').next().unwrap_or("0").parse::<u64>().unwrap_or(0) / 1_000
    };
    let used = || (cpu(guardian.to_string()), cpu("thread-self".to_owned()));
    eprintln!("{}", memory());
    let before = used();
    let mut token = 0;
    let mut took = Vec::new();
    for _ in 0..10 {
        let start = monotonic_us();
        for _ in 0..100 {
            token += 1;
            ask(engine, token, &program, &["x"]);
        }
        let asked = monotonic_us() - start;
        let (mut spawned, mut ended) = (0, 0);
        let mut all_spawned = 0;
        while ended < 100 {
            match engine.next().0 {
                FromGuardian::Spawned { .. } => {
                    spawned += 1;
                    if spawned == 100 {
                        all_spawned = monotonic_us() - start;
                    }
                }
                FromGuardian::Ended { token, .. } => {
                    ended += 1;
                    engine.send(&ToGuardian::Forget { token });
                }
                other => panic!("{other:?}"),
            }
        }
        took.push((all_spawned, asked, monotonic_us() - start));
    }
    took.sort_unstable();
    let (spawned, asked, ended) = took[5];
    let after = used();
    eprintln!(
        "CPU for each process: guardian {} µs, engine {} µs",
        (after.0 - before.0) / 1_000,
        (after.1 - before.1) / 1_000
    );
    eprintln!("100 of {program}: asked {asked} µs, all executed {spawned} µs, all ended {ended} µs; {}", memory());
    let mut restarts = Vec::new();
    for _ in 0..200 {
        token += 1;
        ask(engine, token, "/bin/sleep", &["sleep", "1000"]);
        let FromGuardian::Spawned { pid, .. } = engine.next().0 else { panic!() };
        let start = monotonic_us();
        Process::find(pid).unwrap().signal(libc::SIGKILL).unwrap();
        let FromGuardian::Ended { token, .. } = engine.next().0 else { panic!() };
        restarts.push(monotonic_us() - start);
        engine.send(&ToGuardian::Forget { token });
    }
    restarts.sort_unstable();
    eprintln!("SIGKILL to Ended: median {} µs, p90 {} µs; {}", restarts[100], restarts[180], memory());
    let before = memory();
    for number in 1..=300 {
        ask(engine, token + number, "/bin/sleep", &["sleep", "1000"]);
    }
    let fds: Vec<_> = (0..300).map(|_| engine.next().1).collect();
    eprintln!("{before}; with 300 services: {}", memory());
    let start = monotonic_us();
    for number in 1..=300 {
        engine.send(&ToGuardian::EndTree { token: Token(token + number) });
    }
    let mut ended = 0;
    while ended < 300 {
        if let FromGuardian::Ended { .. } = engine.next().0 {
            ended += 1;
        }
    }
    eprintln!("300 killed and reaped in {} µs", monotonic_us() - start);
    drop(fds);
    engine.send(&ToGuardian::Quit { code: 0 });
}
