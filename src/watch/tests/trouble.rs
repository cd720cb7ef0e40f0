//! Where the kernel does not tell all.

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::*;
use crate::os::testing::in_a_process_of_its_own;

#[test]
fn what_the_kernel_could_not_tell_is_found_and_said() {
    let queue = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let queue: usize = queue.trim().parse().unwrap();
    let desk = Desk::watched(&["a.py", "b.py", "c.py", "lib/d.py"]);
    desk.at_once(|| {
        // Each is two events, and none like the one before.
        for _ in 0..=queue / 4 {
            desk.rename("a.py", "z.py");
            desk.rename("z.py", "a.py");
        }
        desk.write("b.py", "new");
        desk.remove("c.py");
        fs::remove_dir_all(desk.path("lib")).unwrap();
        desk.write("made/e.py", "new");
    });
    let expected =
        [became("b.py", CHANGED), became("c.py", DELETED), became("lib/d.py", DELETED), became("made/e.py", CREATED)];
    assert_eq!(desk.changed(), expected);
    desk.trouble(&["watch_overflow"]);
    desk.write("made/e.py", "newer");
    assert_eq!(desk.changed(), [became("made/e.py", CHANGED)]);
}

#[test]
fn files_that_are_looked_at_every_second_change_all_the_same() {
    let desk = Desk::new(&["a.py", "lib/b.py", "node_modules/x.js", "c.py"]);
    let mut subject = desk.subject(&[""]);
    subject.plan.poll = true;
    desk.begin(vec![subject]);
    assert!(matches!(desk.next(), News::Watching { folders: 2, files: 3, .. }));
    desk.at_once(|| {
        desk.write("a.py", "longer than before");
        desk.write("lib/b.py", "lib/b.py");
        desk.write("node_modules/x.js", "new");
        desk.write("lib/in/d.py", "new");
        desk.remove("c.py");
    });
    assert_eq!(desk.changed(), [became("a.py", CHANGED), became("c.py", DELETED), became("lib/in/d.py", CREATED)]);
}

#[test]
fn a_window_longer_than_the_looks_are_apart_ends_all_the_same() {
    let desk = Desk::new(&["a.py"]);
    let mut subject = desk.subject(&[""]);
    subject.plan.poll = true;
    subject.quiet = Duration::from_millis(1_200);
    desk.watch(vec![subject]);
    desk.write("a.py", "longer than before");
    assert_eq!(desk.changed(), [became("a.py", CHANGED)]);
}

/// In a user namespace of its own, where the kernel gives `limit` of a kind; answers whether namespaces may be made here.
fn with_limit(name: &str, limit: &str, work: impl FnOnce()) -> bool {
    let (user, group) = (getuid(), getgid());
    let code = in_a_process_of_its_own(|| {
        // Ends it, should it hang.
        nix::unistd::alarm::set(60);
        let prepared = unshare(CloneFlags::CLONE_NEWUSER).is_ok()
            && fs::write("/proc/self/uid_map", format!("0 {user} 1")).is_ok()
            && (fs::write("/proc/self/setgroups", "deny").is_ok() || getuid().is_root())
            && fs::write("/proc/self/gid_map", format!("0 {group} 1")).is_ok()
            && fs::write(format!("/proc/sys/user/{name}"), limit).is_ok();
        if !prepared {
            return 2;
        }
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)) {
            Ok(()) => 0,
            Err(_) => 1,
        }
    });
    assert_ne!(code, 1, "see above");
    code == 0
}

/// Watches two folders, sees the trouble, and a change in spite of it.
fn sees_changes_in_spite_of(trouble: &str, hint: &str) {
    let desk = Desk::new(&["a.py", "lib/b.py"]);
    let subject = desk.subject(&[""]);
    desk.watcher.watch(vec![subject]);
    assert!(matches!(desk.next(), News::Watching { folders: 2, files: 2, .. }));
    match desk.news.recv_timeout(LONG) {
        Ok(News::Trouble { warnings, .. }) => {
            assert_eq!(warnings.iter().map(|warning| warning.code.as_str()).collect::<Vec<_>>(), [trouble]);
            assert!(warnings[0].message.contains(hint), "{warnings:?}");
        }
        other => panic!("{other:?}"),
    }
    desk.write("lib/b.py", "longer than before");
    assert_eq!(desk.changed(), [became("lib/b.py", CHANGED)]);
}

#[test]
fn exhausted_limits_lead_to_looking_every_second() {
    let watches = with_limit("max_inotify_watches", "1", || {
        sees_changes_in_spite_of("watch_limit", "there are 2 folders to watch");
    });
    // The folder, the one around it, and the one of the hook with the one around that, which is the same: one more is too many.
    let later = with_limit("max_inotify_watches", "3", || {
        let desk = Desk::watched(&["a.py"]);
        desk.write("made/b.py", "x");
        assert_eq!(desk.changed_until(&["made/b.py"]).first(), Some(&became("made/b.py", CREATED)));
        desk.trouble(&["watch_limit"]);
        desk.at_once(|| desk.write("made/b.py", "longer than before"));
        assert_eq!(desk.changed_until(&["made/b.py"]).first(), Some(&became("made/b.py", CHANGED)));
    });
    let instances = with_limit("max_inotify_instances", "0", || {
        sees_changes_in_spite_of("polling", "sysctl fs.inotify.max_user_instances=");
    });
    assert_eq!((watches, watches), (later, instances));
}
