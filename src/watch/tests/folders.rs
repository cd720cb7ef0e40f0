//! Folders that come, go and move, and subjects that share them.

use super::*;

#[test]
fn files_in_folders_made_at_once_are_seen() {
    // By a thread that stands still, and by one that runs after them.
    for paused in [true, false] {
        let desk = Desk::watched(&["a.py"]);
        let make = || {
            desk.write("deep/er/still/b.py", "x");
            desk.write("deep/c.py", "x");
            desk.write("node_modules/x/index.js", "x");
        };
        if paused {
            desk.at_once(make);
            assert_eq!(desk.changed(), [became("deep/c.py", CREATED), became("deep/er/still/b.py", CREATED)]);
        } else {
            make();
            let seen = desk.changed_until(&["deep/c.py", "deep/er/still/b.py"]);
            assert!(seen.iter().all(|(name, ..)| name.starts_with("deep/")), "{seen:?}");
            desk.rest();
            while desk.news.try_recv().is_ok() {}
        }
        // And go on being seen.
        desk.at_once(|| {
            desk.write("deep/er/still/b.py", "y");
            desk.write("deep/er/d.py", "x");
        });
        assert_eq!(desk.changed(), [became("deep/er/d.py", CREATED), became("deep/er/still/b.py", CHANGED)]);
        desk.nothing_else();
    }
}

#[test]
fn files_of_a_folder_that_goes_are_gone_and_back_with_it() {
    let desk = Desk::watched(&["lib/a.py", "lib/in/b.py", "lib-2/c.py"]);
    let gone = [became("lib/a.py", DELETED), became("lib/in/b.py", DELETED)];
    let back = [became("lib/a.py", CREATED), became("lib/in/b.py", CREATED)];
    let outside = tempfile::tempdir_in(desk.folder.path().parent().unwrap()).unwrap();
    let away = outside.path().join("lib");

    fs::rename(desk.path("lib"), &away).unwrap();
    assert_eq!(desk.changed(), gone);
    // What happens over there is not told.
    fs::write(away.join("a.py"), "lib/a.py, written away").unwrap();
    desk.nothing_else();
    fs::rename(&away, desk.path("lib")).unwrap();
    assert_eq!(desk.changed(), back);
    desk.at_once(|| fs::remove_dir_all(desk.path("lib")).unwrap());
    assert_eq!(desk.changed(), gone);

    // Moved within: there under the other name, and heard there.
    desk.rename("lib-2", "lib-3");
    assert_eq!(desk.changed(), [became("lib-2/c.py", DELETED), became("lib-3/c.py", CREATED)]);
    desk.write("lib-3/c.py", "new");
    assert_eq!(desk.changed(), [became("lib-3/c.py", CHANGED)]);
    // There and back within the window.
    desk.at_once(|| {
        desk.rename("lib-3", "lib-4");
        desk.rename("lib-4", "lib-3");
    });
    desk.nothing_else();
    desk.write("lib-3/c.py", "newer");
    assert_eq!(desk.changed(), [became("lib-3/c.py", CHANGED)]);
}

#[test]
fn other_rules_hold_as_soon_as_they_are_written() {
    let desk = Desk::watched(&["a.py", "gen/b.py"]);
    desk.write(".gitignore", "gen/\n*.out\n");
    assert_eq!(desk.changed(), [became(".gitignore", CREATED)]);
    desk.write("gen/b.py", "new");
    desk.write("x.out", "new");
    desk.nothing_else();
    desk.write(".gitignore", "*.out\n");
    assert_eq!(desk.changed(), [became(".gitignore", CHANGED)]);
    desk.at_once(|| {
        desk.write("gen/b.py", "newer");
        desk.write("x.out", "newer");
    });
    assert_eq!(desk.changed(), [became("gen/b.py", CHANGED)]);
}

#[test]
fn rules_above_a_watched_path_hold_as_soon_as_they_are_written() {
    let desk = Desk::new(&["app/a.py", "app/b.out", "app/c.py", ".git/info/exclude"]);
    desk.watch(vec![desk.subject(&["app"])]);
    desk.at_once(|| {
        desk.write(".gitignore", "*.out\n");
        desk.write(".git/info/exclude", "c.py\n");
        desk.write("app/a.py", "new");
    });
    assert_eq!(desk.changed(), [became("app/a.py", CHANGED)]);
    desk.at_once(|| ["app/a.py", "app/b.out", "app/c.py"].iter().for_each(|name| desk.write(name, "newer")));
    assert_eq!(desk.changed(), [became("app/a.py", CHANGED)]);
}

#[test]
fn subjects_that_share_folders_hear_each_by_its_own_rules() {
    let desk = Desk::new(&["a.py", "lib/b.py", "lib/c.js"]);
    let mut all = desk.subject(&[""]);
    all.name = "all".to_owned();
    let mut lib = desk.subject(&["lib"]);
    lib.name = "lib".to_owned();
    lib.plan.include = vec!["*.js".to_owned()];
    desk.watch(vec![all.clone(), lib.clone()]);
    let hear = |count: usize| {
        let mut heard: Vec<(String, Vec<Became>)> = vec![];
        while heard.len() < count {
            if let News::Changed { subject, files, .. } = desk.next() {
                heard.push((subject, desk.names(&files)));
            }
        }
        heard.sort();
        heard
    };
    desk.write("lib/c.js", "new");
    let c = vec![became("lib/c.js", CHANGED)];
    assert_eq!(hear(2), [("all".to_owned(), c.clone()), ("lib".to_owned(), c.clone())]);
    desk.write("lib/b.py", "new");
    assert_eq!(hear(1), [("all".to_owned(), vec![became("lib/b.py", CHANGED)])]);

    // One goes, and the other still hears of the folder they shared.
    desk.watch(vec![lib]);
    desk.at_once(|| {
        desk.write("a.py", "new");
        desk.write("lib/c.js", "newer");
    });
    assert_eq!(hear(1), [("lib".to_owned(), c)]);
    assert!(desk.news.try_recv().is_err());
}

#[test]
fn a_subject_that_gets_other_rules_loses_no_change() {
    let desk = Desk::watched(&["a.py", "b.js", "c.css"]);
    let mut subject = desk.subject(&[""]);
    subject.plan.include = vec!["*.py".to_owned(), "*.css".to_owned()];
    desk.at_once(|| {
        desk.write("a.py", "new");
        desk.write("b.js", "new");
        desk.write("d.py", "new");
        desk.begin(vec![subject]);
    });
    // What is still to be told is not known so far.
    assert!(matches!(desk.next(), News::Watching { folders: 1, files: 2, .. }));
    assert_eq!(desk.changed(), [became("a.py", CHANGED), became("d.py", CREATED)]);
    desk.at_once(|| {
        desk.write("b.js", "newer");
        desk.write("c.css", "new");
    });
    assert_eq!(desk.changed(), [became("c.css", CHANGED)]);
}
