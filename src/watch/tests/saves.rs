//! What each kind of save comes to.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::SystemTime;

use super::*;

/// A kind of save of the file `name`, and what must be told of it.
type Save = (&'static str, fn(&Desk, &str), Option<(bool, bool)>);

#[test]
fn every_kind_of_save_is_told_by_what_it_leaves_behind() {
    let saves: [Save; 26] = [
        ("in place", |desk, name| desk.write(name, "new"), Some(CHANGED)),
        ("append", |desk, name| append(desk, name, "new"), Some(CHANGED)),
        ("touch", touch, None),
        ("identical rewrite", |desk, name| desk.write(name, name), None),
        ("there and back", |desk, name| (desk.write(name, "new"), desk.write(name, name)).0, None),
        ("sed -i", |desk, name| replace(desk, "sedAbCdEf", name, "new"), Some(CHANGED)),
        ("sed -i without a match", |desk, name| replace(desk, "sedGhIjKl", name, name), None),
        ("temporary file and rename", |desk, name| replace(desk, ".x.tmp", name, "new"), Some(CHANGED)),
        ("vim", |desk, name| vim(desk, name, "new"), Some(CHANGED)),
        ("vim without a change", |desk, name| vim(desk, name, name), None),
        ("vim with backupcopy", vim_in_place, Some(CHANGED)),
        ("emacs", emacs, Some(CHANGED)),
        ("delete", |desk, name| desk.remove(name), Some(DELETED)),
        ("move away", |desk, name| fs::rename(desk.path(name), desk.path(".git").join(name)).unwrap(), Some(DELETED)),
        ("delete and make again", |desk, name| (desk.remove(name), desk.write(name, name)).0, None),
        ("delete and make anew", |desk, name| (desk.remove(name), desk.write(name, "new")).0, Some(CHANGED)),
        ("new", |desk, name| (desk.remove(name), desk.write("new file", "x")).0, Some(DELETED)),
        ("empty", |desk, name| drop(File::create(desk.path(name)).unwrap()), Some(CHANGED)),
        ("made and deleted", |desk, _| (desk.write("short", "x"), desk.remove("short")).0, None),
        ("hard link", |desk, name| fs::hard_link(desk.path(name), desk.path("hard link of it")).unwrap(), None),
        ("hard link of nothing", empty_link, Some(CHANGED)),
        ("symbolic link", |desk, name| symlink(desk.path(name), desk.path("link to it")).unwrap(), None),
        ("link to nothing", |desk, _| symlink("nowhere", desk.path("to nothing")).unwrap(), None),
        ("link to a folder", |desk, _| symlink(".git", desk.path("to a folder")).unwrap(), None),
        ("only opened for writing", |desk, name| drop(OpenOptions::new().write(true).open(desk.path(name))), None),
        ("rights", |desk, name| fs::set_permissions(desk.path(name), PermissionsExt::from_mode(0o600)).unwrap(), None),
    ];
    let names: Vec<&str> = saves.iter().map(|(name, ..)| *name).collect();
    let desk = Desk::new(&names);
    desk.write(".git/HEAD", "");
    desk.watch(vec![desk.subject(&[""])]);
    desk.at_once(|| saves.iter().for_each(|(name, save, _)| save(&desk, name)));
    let mut expected: Vec<Became> =
        saves.iter().filter_map(|(name, _, how)| how.map(|how| became(name, how))).collect();
    expected.extend(["new file", "hard link of it", "second name", "link to it"].map(|name| became(name, CREATED)));
    expected.sort();
    assert_eq!(desk.changed(), expected);
    desk.nothing_else();
}

fn append(desk: &Desk, name: &str, text: &str) {
    OpenOptions::new().append(true).open(desk.path(name)).unwrap().write_all(text.as_bytes()).unwrap();
}

fn touch(desk: &Desk, name: &str) {
    OpenOptions::new().write(true).open(desk.path(name)).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
}

fn replace(desk: &Desk, temporary: &str, name: &str, text: &str) {
    desk.write(temporary, text);
    desk.rename(temporary, name);
}

fn empty_link(desk: &Desk, name: &str) {
    desk.write(name, "");
    fs::hard_link(desk.path(name), desk.path("second name")).unwrap();
}

/// vim 9 with `backupcopy=auto`.
fn vim(desk: &Desk, name: &str, text: &str) {
    let swap = format!(".{name}.swp");
    let backup = format!("{name}~");
    desk.write(&swap, "b0VIM");
    desk.write("4913", "");
    desk.remove("4913");
    desk.rename(name, &backup);
    desk.write(name, text);
    desk.remove(&backup);
    desk.remove(&swap);
}

fn vim_in_place(desk: &Desk, name: &str) {
    let backup = format!("{name}~");
    desk.write(&backup, name);
    desk.write(name, "new");
    desk.remove(&backup);
}

fn emacs(desk: &Desk, name: &str) {
    let lock = format!(".#{name}");
    symlink("me@here.1", desk.path(&lock)).unwrap();
    desk.rename(name, &format!("{name}~"));
    desk.write(name, "new");
    desk.remove(&lock);
}

#[test]
fn many_files_at_once_are_one_change() {
    let desk = Desk::watched(&["a.py"]);
    let names: Vec<String> = (0..2_000).map(|n| format!("made/{n:04}.py")).collect();
    desk.at_once(|| names.iter().for_each(|name| desk.write(name, "x")));
    let expected: Vec<Became> = names.iter().map(|name| became(name, CREATED)).collect();
    assert!(desk.changed() == expected, "not all were made in one change");
    desk.at_once(|| names.iter().for_each(|name| desk.write(name, "y")));
    let expected: Vec<Became> = names.iter().map(|name| became(name, CHANGED)).collect();
    assert!(desk.changed() == expected, "not all changed in one change");
    desk.nothing_else();
}

#[test]
fn a_checkout_is_one_change_however_long_git_takes() {
    let desk = Desk::new(&["a.py", "b.py", "c.py", ".git/HEAD"]);
    desk.watch(vec![desk.subject(&[""])]);
    desk.write(".git/index.lock", "");
    for name in ["a.py", "b.py"] {
        desk.remove(name);
        pass_time(30);
        desk.write(name, "other branch");
        pass_time(30);
    }
    desk.remove("c.py");
    pass_time(30);
    desk.rename(".git/index.lock", ".git/index");
    assert_eq!(desk.changed(), [became("a.py", CHANGED), became("b.py", CHANGED), became("c.py", DELETED)]);
    desk.nothing_else();
}

#[test]
fn a_change_before_a_file_was_read_counts_and_a_look_alike_does_not() {
    // The thread stays at its news that watching began, before it reads the first file.
    let desk = Desk::new(&["a.py", "b.py"]);
    for name in ["a.py", "b.py"] {
        touch(&desk, name);
    }
    let paused = desk.pause.lock().unwrap();
    desk.begin(vec![Subject { quiet: Duration::ZERO, ..desk.subject(&[""]) }]);
    assert!(matches!(desk.next(), News::Watching { folders: 1, files: 2, .. }));
    desk.write("a.py", "other");
    drop(OpenOptions::new().append(true).open(desk.path("b.py")));
    drop(paused);
    assert_eq!(desk.changed(), [became("a.py", CHANGED)]);
    desk.nothing_else();
}

#[test]
fn large_files_are_known_by_size_and_time() {
    let desk = Desk::new(&[]);
    let large = "x".repeat(5 << 20);
    desk.write("model.bin", &large);
    desk.watch(vec![desk.subject(&[""])]);
    touch(&desk, "model.bin");
    assert_eq!(desk.changed(), [became("model.bin", CHANGED)]);
    desk.nothing_else();
}

#[test]
fn without_a_quiet_window_a_save_is_told_at_once() {
    let desk = Desk::new(&["a.py"]);
    desk.watch(vec![Subject { quiet: Duration::ZERO, ..desk.subject(&[""]) }]);
    let before = crate::os::clock::now().moment;
    desk.write("a.py", "new");
    match desk.next() {
        News::Changed { subject, files, since } => {
            assert_eq!((subject.as_str(), desk.names(&files)), ("web", vec![became("a.py", CHANGED)]));
            assert!(since >= before && since <= crate::os::clock::now().moment);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_is_disregarded_says_nothing_more() {
    let desk = Desk::watched(&["a.py", "b.py"]);
    desk.watcher.disregard("web", &desk.path("a.py"));
    desk.watcher.disregard("other", &desk.path("b.py"));
    desk.rest();
    desk.at_once(|| {
        desk.write("a.py", "new");
        desk.write("b.py", "new");
    });
    assert_eq!(desk.changed(), [became("b.py", CHANGED)]);
    // Also by other rules of the same subject.
    desk.watch(vec![Subject { quiet: Duration::from_millis(50), ..desk.subject(&[""]) }]);
    desk.write("a.py", "newer");
    desk.nothing_else();
}
