//! Watched paths that are files, links, missing, or come and go.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn a_folder_that_is_lost_is_seen_again_when_it_is_back() {
    let desk = Desk::new(&["app/a.py", "app/in/b.py", "other/a.py", "other/in/b.py"]);
    desk.watch(vec![desk.subject(&["app"])]);
    let all = |how| [became("app/a.py", how), became("app/in/b.py", how)];

    // Somebody stands in the folder, as a service does: the kernel tells nothing of its end.
    let inside = fs::File::open(desk.path("app")).unwrap();
    desk.at_once(|| fs::remove_dir_all(desk.path("app")).unwrap());
    assert_eq!(desk.changed(), all(DELETED));
    desk.trouble(&["watch_missing"]);
    desk.rename("other", "app");
    assert_eq!(desk.changed(), all(CREATED));
    desk.trouble(&[]);
    drop(inside);
    desk.write("app/in/b.py", "new");
    assert_eq!(desk.changed(), [became("app/in/b.py", CHANGED)]);

    // Within one window nothing has happened, and it is heard as before.
    desk.at_once(|| {
        desk.rename("app", "aside");
        desk.rename("aside", "app");
        desk.write("app/a.py", "new");
    });
    assert_eq!(desk.changed(), [became("app/a.py", CHANGED)]);
}

#[test]
fn a_path_that_is_missing_is_watched_once_it_is_there() {
    let desk = Desk::new(&[]);
    desk.begin(vec![desk.subject(&["srv/web/app", "main.py"])]);
    assert!(matches!(desk.next(), News::Watching { folders: 0, files: 0, .. }));
    desk.trouble(&["watch_missing", "watch_missing"]);
    desk.write("srv/other", "x");
    desk.write("main.py", "x");
    assert_eq!(desk.changed(), [became("main.py", CREATED)]);
    desk.trouble(&["watch_missing"]);
    desk.at_once(|| desk.write("srv/web/app/a.py", "x"));
    assert_eq!(desk.changed(), [became("srv/web/app/a.py", CREATED)]);
    desk.trouble(&[]);
    desk.write("srv/web/app/a.py", "new");
    assert_eq!(desk.changed(), [became("srv/web/app/a.py", CHANGED)]);
}

#[test]
fn a_watched_file_is_seen_alone() {
    let desk = Desk::new(&["main.py", "other.py"]);
    desk.watch(vec![desk.subject(&["main.py"])]);
    desk.at_once(|| {
        desk.write("other.py", "new");
        desk.rename("main.py", "main.py~");
        desk.write("main.py", "new");
    });
    assert_eq!(desk.changed(), [became("main.py", CHANGED)]);
    desk.remove("main.py");
    assert_eq!(desk.changed(), [became("main.py", DELETED)]);
    desk.trouble(&["watch_missing"]);
    // As a folder it counts, too.
    desk.at_once(|| desk.write("main.py/a.py", "x"));
    assert_eq!(desk.changed(), [became("main.py/a.py", CREATED)]);
}

#[test]
fn a_link_that_is_swapped_brings_the_other_files() {
    let desk = Desk::new(&["v1/app/a.py", "v1/app/b.py", "v2/app/a.py", "v2/app/b.py", "v2/app/c.py"]);
    desk.write("v2/app/b.py", "v1/app/b.py");
    symlink("v1", desk.path("current")).unwrap();
    desk.watch(vec![desk.subject(&["current/app"])]);
    desk.write("v1/app/a.py", "new");
    assert_eq!(desk.changed(), [became("current/app/a.py", CHANGED)]);

    symlink("v2", desk.path("next")).unwrap();
    desk.rename("next", "current");
    assert_eq!(desk.changed(), [became("current/app/a.py", CHANGED), became("current/app/c.py", CREATED)]);
    desk.at_once(|| {
        desk.write("v1/app/a.py", "newer");
        desk.write("v2/app/b.py", "new");
    });
    assert_eq!(desk.changed(), [became("current/app/b.py", CHANGED)]);
}

#[test]
fn a_linked_file_changes_with_its_target() {
    let desk = Desk::new(&["shared/1/settings", "shared/2/settings", "app/a.py"]);
    // As Kubernetes mounts a configuration.
    symlink("1", desk.path("shared/data")).unwrap();
    symlink("../shared/data/settings", desk.path("app/settings")).unwrap();
    desk.watch(vec![desk.subject(&["app"])]);
    desk.write("shared/1/settings", "new");
    assert_eq!(desk.changed(), [became("app/settings", CHANGED)]);
    symlink("2", desk.path("shared/next")).unwrap();
    desk.rename("shared/next", "shared/data");
    assert_eq!(desk.changed(), [became("app/settings", CHANGED)]);
    desk.write("shared/2/settings", "newer");
    assert_eq!(desk.changed(), [became("app/settings", CHANGED)]);
    fs::remove_file(desk.path("shared/2/settings")).unwrap();
    assert_eq!(desk.changed(), [became("app/settings", DELETED)]);
}
