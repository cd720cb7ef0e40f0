use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::wait::{WaitStatus, waitpid};

use super::*;
use crate::os::pipe;

const SHELL: &str = "/bin/sh";

fn shell(script: &str) -> Rc<SpawnSpec> {
    Rc::new(SpawnSpec::new(Path::new(SHELL), ["sh", "-c", script], [("A", "b")], Path::new("/")).unwrap())
}

fn quiet() -> Wiring<'static> {
    Wiring { stdio: [Stdio::Null; 3], beyond: Beyond::Nothing }
}

/// Spawns and waits until it is decided whether the program is executed; reaps the process if not.
fn start(spawner: &mut Spawner, spec: &Rc<SpawnSpec>, wiring: &Wiring<'_>) -> Result<nix::unistd::Pid, SpawnFailure> {
    let mut spawning = spawner.spawn(spec, wiring, Home::default())?;
    let pid = nix::unistd::Pid::from_raw(spawning.pid.0);
    match spawning.wait() {
        Ok(()) => Ok(pid),
        Err(failure) => {
            assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 127)));
            Err(failure)
        }
    }
}

/// What a script writes to its stdout, and how it ends.
fn output(spawner: &mut Spawner, spec: &Rc<SpawnSpec>) -> (String, i32) {
    output_beyond(spawner, spec, Beyond::Nothing)
}

fn output_beyond(spawner: &mut Spawner, spec: &Rc<SpawnSpec>, beyond: Beyond<'_>) -> (String, i32) {
    let pipe = pipe::from_child().unwrap();
    let wiring = Wiring { stdio: [Stdio::Null, Stdio::Fd(pipe.theirs.as_fd()), Stdio::Inherit], beyond };
    let pid = start(spawner, spec, &wiring).unwrap();
    let code = match waitpid(pid, None).unwrap() {
        WaitStatus::Exited(_, code) => code,
        other => panic!("{other:?}"),
    };
    drop(pipe.theirs);
    // Children of other tests may hold a copy of its write end until they execute.
    let (mut text, mut reader) = (Vec::new(), File::from(pipe.ours));
    while let Err(error) = reader.read_to_end(&mut text) {
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        let ready = poll(&mut [PollFd::new(reader.as_fd(), PollFlags::POLLIN)], 10_000_u16);
        assert_eq!(ready, Ok(1));
    }
    (String::from_utf8(text).unwrap(), code)
}

fn both_ways(mut check: impl FnMut(&mut Spawner)) {
    for plain in [false, true] {
        let mut spawner = Spawner::new().unwrap();
        spawner.plain = plain;
        check(&mut spawner);
    }
}

#[test]
fn a_child_gets_what_was_ordered_and_nothing_else() {
    both_ways(|spawner| {
        let script = "echo $A-$HOME; umask; ulimit -n; ulimit -c; pwd; ls -l /proc/self/fd | wc -l; exit 7";
        let mut spec = shell(script);
        let orders = Rc::get_mut(&mut spec).unwrap();
        orders.umask = Some(0o27);
        orders.limits = Limits { open_files: Some(99), core: Some(0), processes: None };
        let _open_here = File::open("/dev/null").unwrap();
        let (text, code) = output(spawner, &spec);
        // "total 0", stdin, stdout, stderr, and the folder that ls reads.
        assert_eq!((text.as_str(), code), ("b-\n0027\n99\n0\n/\n5\n", 7));
    });
}

#[test]
fn a_child_leads_a_session_of_its_own_with_clean_signals() {
    both_ways(|spawner| {
        let spec = shell("cat /proc/$$/stat; grep -E 'Sig(Blk|Ign)' /proc/self/status");
        let (text, _) = output(spawner, &spec);
        let stat: Vec<&str> = text.split_whitespace().collect();
        assert_eq!((stat[0], stat[0]), (stat[4], stat[5]), "{text}");
        for line in text.lines().skip(1) {
            assert!(line.ends_with("0000000000000000"), "{text}");
        }
    });
}

#[test]
fn a_failure_names_its_stage() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let missing = folder.path().join("missing");
    let unreadable = file("plain", "echo", 0o644);
    let no_format = file("noformat", "echo no shebang\n", 0o755);
    let bad_interpreter = file("interpreter", "#!/no/such/program\n", 0o755);
    let none: [(&str, &str); 0] = [];
    let spec = |program: &Path, cwd: &Path| SpawnSpec::new(program, ["x"], none, cwd).unwrap();
    let good = Path::new("/bin/true");
    let root = Path::new("/");
    both_ways(|spawner| {
        let mut limits = spec(good, root);
        limits.limits.open_files = Some(u64::MAX - 1);
        for (spec, stage, errno) in [
            (spec(&missing, root), SpawnStage::Exec, libc::ENOENT),
            (spec(&unreadable, root), SpawnStage::Exec, libc::EACCES),
            (spec(&no_format, root), SpawnStage::Exec, libc::ENOEXEC),
            (spec(&bad_interpreter, root), SpawnStage::Exec, libc::ENOENT),
            (spec(folder.path(), root), SpawnStage::Exec, libc::EACCES),
            (spec(good, &missing), SpawnStage::Cwd, libc::ENOENT),
            (spec(good, &unreadable), SpawnStage::Cwd, libc::ENOTDIR),
            (limits, SpawnStage::Limits, libc::EPERM),
        ] {
            let failure = start(spawner, &Rc::new(spec.clone()), &quiet()).unwrap_err();
            assert_eq!(failure, SpawnFailure { stage, errno }, "{:?} in {:?}", spec.program, spec.cwd);
        }
    });
}

#[test]
fn a_program_may_take_our_streams_crosswise() {
    let mut spawner = Spawner::new().unwrap();
    let spec = shell("exit 3");
    // Source 2 becomes target 0, source 0 target 2: neither may be lost on the way.
    let (stdin, stderr) = (io::stdin(), io::stderr());
    let wiring =
        Wiring { stdio: [Stdio::Fd(stderr.as_fd()), Stdio::Null, Stdio::Fd(stdin.as_fd())], beyond: Beyond::Nothing };
    let pid = start(&mut spawner, &spec, &wiring).unwrap();
    assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 3)));
}

#[test]
fn a_child_that_is_to_be_someone_else_is_exactly_that() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    both_ways(|spawner| {
        let mut spec = shell("id -u; id -g; id -G; touch /proc/self/nothing 2>/dev/null || echo no");
        let credentials = Credentials { uid: 65534, gid: 65533, groups: vec![65533, 65532] };
        Rc::get_mut(&mut spec).unwrap().credentials = Some(credentials);
        assert_eq!(output(spawner, &spec), ("65534\n65533\n65533 65532\nno\n".to_owned(), 0));
    });
}

#[test]
fn a_child_can_have_a_terminal_of_its_own_and_sockets_beside_it() {
    both_ways(|spawner| {
        let pty = crate::os::terminal::open_pty(None).unwrap();
        let mut spec = shell("[ -c /dev/fd/0 ] && [ -p /dev/fd/3 ] && exec 4< /dev/tty && exit 6");
        Rc::get_mut(&mut spec).unwrap().session = Session::Terminal;
        let end = pty.slave.as_fd();
        let pipe = pipe::from_child().unwrap();
        let numbered = [pipe.theirs.as_fd()];
        let wiring = Wiring { stdio: [Stdio::Fd(end); 3], beyond: Beyond::Numbered(&numbered) };
        let pid = start(spawner, &spec, &wiring).unwrap();
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 6)));
    });
}

#[test]
fn many_on_their_way_at_once_do_not_get_in_each_others_way() {
    let mut spawner = Spawner::new().unwrap();
    let spec = |number: i32| {
        let mut spec = shell(&format!("exit {}", number % 100));
        if number % 3 == 0 {
            Rc::get_mut(&mut spec).unwrap().cwd = c"/no/such".to_owned();
        }
        spec
    };
    let mut under_way: Vec<(Spawning, i32)> =
        (0..200).map(|number| (spawner.spawn(&spec(number), &quiet(), Home::default()).unwrap(), number)).collect();
    for (spawning, number) in &mut under_way {
        let failure = SpawnFailure { stage: SpawnStage::Cwd, errno: libc::ENOENT };
        let (expected, code) = if *number % 3 == 0 { (Err(failure), 127) } else { (Ok(()), *number % 100) };
        assert_eq!(spawning.wait(), expected, "{number}");
        let pid = nix::unistd::Pid::from_raw(spawning.pid.0);
        assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, code)));
        // Its stack may serve the next at once.
        let again = start(&mut spawner, &spec(*number), &quiet());
        match again {
            Ok(pid) => assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, code))),
            Err(told) => assert_eq!(Err(told), expected),
        }
    }
    assert!(spawner.stacks.borrow().len() <= KEPT_STACKS);
}

/// Closes all but the three streams, then opens each file under its number.
fn open_at(files: &[(i32, PathBuf)]) -> Vec<OwnedFd> {
    // SAFETY: this process is this test's alone, and nothing in it is used again.
    assert_eq!(unsafe { libc::close_range(3, u32::MAX, 0) }, 0);
    let open = |(number, path): &(i32, PathBuf)| {
        // Out of the way first: it may have taken that very number.
        let file = fcntl(File::open(path).unwrap(), FcntlArg::F_DUPFD_CLOEXEC(500)).unwrap();
        // SAFETY: the numbers below are free, and the one above is ours.
        unsafe {
            assert_eq!(libc::dup3(file, *number, libc::O_CLOEXEC), *number);
            libc::close(file);
            OwnedFd::from_raw_fd(*number)
        }
    };
    files.iter().map(open).collect()
}

#[test]
fn descriptors_arrive_under_their_numbers_wherever_they_come_from_and_no_other_does() {
    let folder = tempfile::tempdir().unwrap();
    for sources in [
        vec![3],
        vec![4, 3],
        vec![100, 101],
        (100..110).collect(),
        vec![3, 4, 5],
        (3..23).rev().collect(),
        vec![5, 60, 3, 7, 4],
    ] {
        let files: Vec<(i32, PathBuf)> =
            sources.iter().map(|number| (*number, folder.path().join(format!("was-{number}")))).collect();
        for (_, path) in &files {
            fs::write(path, "").unwrap();
        }
        let outcome = crate::os::testing::in_a_process_of_its_own(|| {
            let check = || {
                let open = open_at(&files);
                let fds: Vec<BorrowedFd<'_>> = open.iter().map(AsFd::as_fd).collect();
                both_ways(|spawner| arrive(spawner, &fds, &files));
            };
            u8::from(std::panic::catch_unwind(std::panic::AssertUnwindSafe(check)).is_ok())
        });
        assert_eq!(outcome, 1, "{sources:?}");
    }
}

fn arrive(spawner: &mut Spawner, fds: &[BorrowedFd<'_>], files: &[(i32, PathBuf)]) {
    let script = "echo pid $$ $LISTEN_PID; exec ls -l /proc/self/fd";
    let mut spec = shell(script);
    Rc::get_mut(&mut spec).unwrap().listen_pid = true;
    let beyond = Beyond::Numbered(fds);
    let (text, _) = output_beyond(spawner, &spec, beyond);
    let mut found: Vec<(i32, &str)> = text
        .lines()
        .filter_map(|line| line.split_once(" -> "))
        .filter_map(|(about, name)| Some((about.rsplit(' ').next()?.parse().ok()?, name)))
        // The last is the folder that ls reads.
        .filter(|(number, name)| *number > 2 && !name.starts_with("/proc/"))
        .collect();
    found.sort_unstable();
    let expected: Vec<(i32, &str)> = (3..).zip(files.iter().map(|(_, path)| path.to_str().unwrap())).collect();
    assert_eq!(found, expected, "{text}");
    let pids: Vec<&str> = text.lines().find_map(|line| line.strip_prefix("pid ")).unwrap().split(' ').collect();
    assert_eq!(pids[0], pids[1]);
    // What tells of the outcome is not overwritten on the way.
    let mut missing = (*spec).clone();
    missing.program = c"/no/such".to_owned();
    let wiring = Wiring { stdio: [Stdio::Null; 3], beyond };
    for _ in 0..20 {
        let failure = start(spawner, &Rc::new(missing.clone()), &wiring).unwrap_err();
        assert_eq!(failure, SpawnFailure { stage: SpawnStage::Exec, errno: libc::ENOENT });
    }
}

#[test]
fn each_of_many_children_at_once_is_told_its_own_process_id() {
    both_ways(|spawner| {
        let mut spec = shell("[ $LISTEN_PID = $$ ] && [ $(tr '\\0' '\\n' < /proc/$$/environ | grep -c LISTEN_) = 1 ]");
        Rc::get_mut(&mut spec).unwrap().listen_pid = true;
        let mut children: Vec<Spawning> =
            (0..100).map(|_| spawner.spawn(&spec, &quiet(), Home::default()).unwrap()).collect();
        for child in &mut children {
            assert_eq!(child.wait(), Ok(()));
            let pid = nix::unistd::Pid::from_raw(child.pid.0);
            assert_eq!(waitpid(pid, None), Ok(WaitStatus::Exited(pid, 0)));
        }
    });
}

#[test]
#[ignore = "a measurement: cargo test --lib spawn::tests::measure -- --ignored --nocapture"]
fn measure() {
    let program = Path::new("/bin/true");
    let spec = SpawnSpec::new(program, ["true"], std::env::vars_os(), Path::new("/")).map(Rc::new).unwrap();
    both_ways(|spawner| {
        for groups in [None, crate::os::cgroup::Groups::create().ok()] {
            let mut took: Vec<u64> = (0..1_000)
                .map(|number| {
                    let start = crate::os::clock::monotonic_us();
                    let made = groups.as_ref().map(|groups| groups.make(&format!("x{number}"), number).unwrap());
                    let folder = made.as_ref().map(|(_, folder)| folder.as_fd());
                    let pid = spawner.spawn(&spec, &quiet(), Home { born: folder, ..Home::default() }).unwrap().pid;
                    let took = crate::os::clock::monotonic_us() - start;
                    waitpid(nix::unistd::Pid::from_raw(pid.0), None).unwrap();
                    if let (Some(groups), Some((group, _))) = (&groups, &made) {
                        assert!(groups.remove(group));
                    }
                    took
                })
                .collect();
            took.sort_unstable();
            let (plain, grouped) = (spawner.plain, groups.is_some());
            println!(
                "copy {plain}, cgroup {grouped}: median {} µs, p90 {} µs, max {} µs",
                took[500], took[900], took[999]
            );
        }
    });
}

#[test]
#[ignore = "a measurement: cargo test --lib spawn::tests::measure -- --ignored --nocapture"]
fn measure_a_hundred() {
    let program = std::env::var("PROGRAM").unwrap_or("/bin/true".to_owned());
    let spec = SpawnSpec::new(Path::new(&program), ["true"], std::env::vars_os(), Path::new("/")).map(Rc::new).unwrap();
    let mut spawner = Spawner::new().unwrap();
    for groups in [None, crate::os::cgroup::Groups::create().ok()] {
        let mut took: Vec<(u64, u64)> = (0..20)
            .map(|round| {
                let start = crate::os::clock::monotonic_us();
                let made: Vec<_> = (0..100)
                    .map(|number| {
                        let made =
                            groups.as_ref().map(|groups| groups.make(&format!("{round}.{number}"), number).unwrap());
                        let folder = made.as_ref().map(|(_, folder)| folder.as_fd());
                        let pid = spawner.spawn(&spec, &quiet(), Home { born: folder, ..Home::default() }).unwrap().pid;
                        (pid, made.map(|(group, _)| group))
                    })
                    .collect();
                let spawned = crate::os::clock::monotonic_us() - start;
                for (pid, _) in &made {
                    waitpid(nix::unistd::Pid::from_raw(pid.0), None).unwrap();
                }
                let ended = crate::os::clock::monotonic_us() - start;
                for group in made.iter().filter_map(|(_, group)| group.as_ref()) {
                    groups.as_ref().unwrap().remove(group);
                }
                nix::poll::poll(&mut [], 50_u16).unwrap();
                (spawned, ended)
            })
            .collect();
        took.sort_unstable();
        println!("100 of {program}, cgroup {}: spawned, ended {:?} µs", groups.is_some(), took[10]);
    }
}
