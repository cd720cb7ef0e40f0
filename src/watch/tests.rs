//! Real folders, real saves; what is told is waited for with a deadline.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use super::*;

/// How long any news may take. Generous: it bounds a failure, it is no measurement.
const PATIENCE: Duration = Duration::from_secs(20);
/// More than any test is told.
const ROOM: usize = 10_000;
const QUIET: Duration = Duration::from_millis(20);

/// A folder that is watched.
struct World {
    folder: tempfile::TempDir,
    watcher: Watcher,
    news: Receiver<News>,
    /// While this is held back the watcher waits in the middle of telling.
    go_on: Option<SyncSender<()>>,
}

impl World {
    fn new(make: impl FnOnce(&Path), plan: impl FnOnce(&mut WatchPlan)) -> Self {
        Self::with(make, |root| {
            let mut watch = WatchPlan::new(vec![root.to_owned()]);
            plan(&mut watch);
            vec![watch]
        })
    }

    fn with(make: impl FnOnce(&Path), plans: impl FnOnce(&Path) -> Vec<WatchPlan>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir(&root).unwrap();
        make(&root);
        let (tell, news) = sync_channel(ROOM);
        let watcher = Watcher::start(move |told| drop(tell.send(told))).unwrap();
        let subjects: Vec<Subject> = plans(&root)
            .into_iter()
            .enumerate()
            .map(|(at, plan)| Subject {
                name: at.to_string(),
                plan,
                quiet: QUIET,
                cap: Some(QUIET * 25),
                never: vec![],
            })
            .collect();
        let count = subjects.len();
        watcher.watch(subjects);
        let world = Self { folder, watcher, news, go_on: None };
        for _ in 0..count {
            world.until(|news| matches!(news, News::Watching { .. }).then_some(()));
        }
        world
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.root().join(name), text).unwrap();
    }

    fn until<T>(&self, wanted: impl Fn(&News) -> Option<T>) -> T {
        loop {
            let news = self.news.recv_timeout(PATIENCE).expect("news in time");
            if let Some(found) = wanted(&news) {
                return found;
            }
        }
    }

    /// The next changes, by file name: `+new`, `-gone` or `changed`.
    fn changes(&self) -> Vec<String> {
        self.changes_of("0")
    }

    fn changes_of(&self, wanted: &str) -> Vec<String> {
        let root = self.root();
        self.until(|news| match news {
            News::Changed { subject, files, .. } if subject == wanted => Some(
                files
                    .iter()
                    .map(|file| {
                        let name = file.path.strip_prefix(&root).unwrap_or(&file.path).display();
                        match (file.before, file.after) {
                            (None, Some(_)) => format!("+{name}"),
                            (Some(_), None) => format!("-{name}"),
                            (before, after) => {
                                assert_ne!(before, after);
                                name.to_string()
                            }
                        }
                    })
                    .collect(),
            ),
            _ => None,
        })
    }

    /// Nothing has been told so far but what a last change, made now, brings about.
    fn nothing_but_a_last_change(&self) {
        self.write("last.py", "last");
        assert_eq!(self.changes(), ["+last.py"]);
        fs::remove_file(self.root().join("last.py")).unwrap();
        assert_eq!(self.changes(), ["-last.py"]);
    }

    fn warnings(&self) -> Vec<String> {
        self.until(|news| match news {
            News::Trouble { warnings, .. } => Some(warnings.iter().map(|warning| warning.code.clone()).collect()),
            _ => None,
        })
    }
}

fn app(root: &Path) {
    fs::write(root.join("app.py"), "one").unwrap();
}

#[test]
fn saves_of_every_kind_are_seen() {
    let world = World::new(app, |_| {});
    let file = world.root().join("app.py");
    world.write("app.py", "two");
    assert_eq!(world.changes(), ["app.py"]);
    fs::write(world.root().join("new.tmp"), "three").unwrap();
    fs::rename(world.root().join("new.tmp"), &file).unwrap();
    assert_eq!(world.changes(), ["app.py"]);
    // As vim saves by default.
    fs::rename(&file, world.root().join("app.py~")).unwrap();
    fs::write(&file, "four").unwrap();
    fs::remove_file(world.root().join("app.py~")).unwrap();
    assert_eq!(world.changes(), ["app.py"]);
    fs::remove_file(&file).unwrap();
    assert_eq!(world.changes(), ["-app.py"]);
    fs::hard_link("/etc/hostname", world.root().join("linked")).ok();
    symlink("/etc/hosts", world.root().join("hosts")).unwrap();
    assert!(world.changes().contains(&"+hosts".to_owned()));
}

#[test]
fn what_leaves_the_content_as_it_was_is_no_news() {
    let world = World::new(app, |_| {});
    let file = world.root().join("app.py");
    fs::File::options().append(true).open(&file).unwrap().set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    world.nothing_but_a_last_change();
    world.write("app.py", "one");
    world.nothing_but_a_last_change();
    world.write("app.py", "other");
    world.write("app.py", "one");
    fs::remove_file(&file).unwrap();
    world.write("app.py", "one");
    world.nothing_but_a_last_change();
    for _ in 0..100 {
        let _ = fs::read(&file).unwrap();
        let _ = fs::read_dir(world.root()).unwrap().count();
    }
    world.nothing_but_a_last_change();
}

#[test]
fn folders_come_and_go_with_all_that_is_in_them() {
    let world = World::new(app, |_| {});
    fs::create_dir_all(world.root().join("a/b/c")).unwrap();
    world.write("a/b/c/deep.py", "1");
    assert_eq!(world.changes(), ["+a/b/c/deep.py"]);
    world.write("a/b/c/deep.py", "2");
    assert_eq!(world.changes(), ["a/b/c/deep.py"]);
    fs::rename(world.root().join("a"), world.root().join("z")).unwrap();
    assert_eq!(world.changes(), ["-a/b/c/deep.py", "+z/b/c/deep.py"]);
    world.write("z/b/c/deep.py", "3");
    assert_eq!(world.changes(), ["z/b/c/deep.py"]);
    fs::rename(world.root().join("z"), world.folder.path().join("outside")).unwrap();
    assert_eq!(world.changes(), ["-z/b/c/deep.py"]);
    fs::write(world.folder.path().join("outside/b/c/deep.py"), "4").unwrap();
    world.nothing_but_a_last_change();
}

#[test]
fn a_burst_is_told_once() {
    let world = World::new(app, |_| {});
    fs::create_dir(world.root().join("many")).unwrap();
    for number in 0..2_000 {
        world.write(&format!("many/{number}.py"), "x");
    }
    let mut seen = 0;
    let mut times = 0;
    while seen < 2_000 {
        seen += world.changes().len();
        times += 1;
    }
    assert_eq!(seen, 2_000);
    assert!(times <= 10, "{times}");
}

#[test]
fn a_checkout_is_told_once_it_is_over() {
    let world = World::new(
        |root| {
            app(root);
            fs::create_dir(root.join(".git")).unwrap();
        },
        |_| {},
    );
    let lock = world.root().join(".git/index.lock");
    fs::write(&lock, "").unwrap();
    world.write("app.py", "two");
    // Far longer than the window, and nothing is told.
    assert!(world.news.recv_timeout(QUIET * 15).is_err());
    world.write("lib.py", "one");
    fs::remove_file(&lock).unwrap();
    assert_eq!(world.changes(), ["app.py", "+lib.py"]);
}

#[test]
fn the_rules_say_which_files_count() {
    type Case<'a> = (&'a str, &'a [&'a str], &'a [&'a str], &'a [&'a str], &'a [&'a str]);
    // .gitignore, include, ignore, what counts, what does not
    let cases: [Case<'_>; 6] = [
        (
            "",
            &[],
            &[],
            &["a.py", "sub/b.txt", ".env"],
            &["x.pyc", "a.log", "a.py~", ".a.py.swp", "4913", "venv/v.py", "sub/node_modules/m.js"],
        ),
        ("*.gen\n/out/\n!keep.gen\n", &[], &[], &["keep.gen", "sub/out/a"], &["a.gen", "sub/a.gen", "out/a"]),
        ("", &["*.py", ".env"], &[], &["a.py", "sub/b.py", ".env"], &["a.txt", "venv/v.py"]),
        (".env\nbuild/\n", &[".env", "build/gen.py"], &[], &[".env", "build/gen.py"], &["a.py", "build/other.py"]),
        ("", &[], &["*.txt", "/sub"], &["a.py"], &["a.txt", "sub/b.py"]),
        ("", &["*.go", "!*_test.go"], &[], &["a.go"], &["a_test.go"]),
    ];
    for (gitignore, include, ignore, counting, others) in cases {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let world = World::new(
            |root| {
                for folder in ["sub", "venv", "sub/node_modules", "out", "sub/out", "build", ".git"] {
                    fs::create_dir(root.join(folder)).unwrap();
                }
                fs::write(root.join(".gitignore"), gitignore).unwrap();
            },
            |plan| {
                plan.include = texts(include);
                plan.ignore = texts(ignore);
            },
        );
        for name in others {
            world.write(name, "x");
        }
        for name in counting {
            world.write(name, "x");
            assert_eq!(world.changes(), [format!("+{name}")], "{gitignore:?} {include:?} {ignore:?}");
        }
    }
}

#[test]
fn rules_that_change_are_followed() {
    let world = World::new(app, |_| {});
    world.write(".gitignore", "*.gen\n");
    assert_eq!(world.changes(), ["+.gitignore"]);
    world.write("a.gen", "1");
    world.nothing_but_a_last_change();
    world.write(".gitignore", "");
    assert_eq!(world.changes(), [".gitignore", "+a.gen"]);
}

#[test]
fn a_path_that_is_lost_and_found_is_watched_on() {
    let world = World::with(app, |root| vec![WatchPlan::new(vec![root.join("sub/deep"), root.join("app.py")])]);
    assert_eq!(world.warnings(), ["watch_missing"]);
    fs::create_dir_all(world.root().join("sub/deep")).unwrap();
    assert_eq!(world.warnings(), Vec::<String>::new());
    world.write("sub/deep/a.py", "1");
    assert_eq!(world.changes(), ["+sub/deep/a.py"]);
    fs::remove_dir_all(world.root().join("sub")).unwrap();
    assert_eq!(world.changes(), ["-sub/deep/a.py"]);
    world.write("app.py", "two");
    assert_eq!(world.changes(), ["app.py"]);
    world.write("app.js", "not named");
    fs::create_dir_all(world.root().join("sub/deep")).unwrap();
    world.write("sub/deep/a.py", "2");
    assert_eq!(world.changes(), ["+sub/deep/a.py"]);
}

#[test]
fn a_link_that_is_swapped_is_noticed() {
    let world = World::with(
        |root| {
            for release in ["1", "2"] {
                fs::create_dir_all(root.join("releases").join(release)).unwrap();
                fs::write(root.join("releases").join(release).join("app.py"), release).unwrap();
            }
            symlink("releases/1", root.join("current")).unwrap();
        },
        |root| vec![WatchPlan::new(vec![root.join("current")])],
    );
    symlink("releases/2", world.root().join("next")).unwrap();
    fs::rename(world.root().join("next"), world.root().join("current")).unwrap();
    assert_eq!(world.changes(), ["current/app.py"]);
    world.write("releases/2/app.py", "2b");
    assert_eq!(world.changes(), ["current/app.py"]);
}

#[test]
fn polling_sees_the_same() {
    let world = World::new(app, |plan| plan.poll = true);
    world.write("app.py", "longer than before");
    assert_eq!(world.changes(), ["app.py"]);
    fs::create_dir(world.root().join("sub")).unwrap();
    world.write("sub/a.py", "1");
    fs::remove_file(world.root().join("app.py")).unwrap();
    let mut seen = world.changes();
    while seen.len() < 2 {
        seen.extend(world.changes());
    }
    seen.sort();
    assert_eq!(seen, ["+sub/a.py", "-app.py"]);
}

#[test]
fn subjects_on_the_same_tree_each_have_their_rules() {
    let world = World::with(app, |root| {
        let python = WatchPlan { include: vec!["*.py".to_owned()], ..WatchPlan::new(vec![root.to_owned()]) };
        let script = WatchPlan { include: vec!["*.js".to_owned()], ..WatchPlan::new(vec![root.to_owned()]) };
        vec![python, script]
    });
    world.write("app.js", "1");
    assert_eq!(world.changes_of("1"), ["+app.js"]);
    world.write("app.py", "2");
    assert_eq!(world.changes_of("0"), ["app.py"]);
    let only = WatchPlan { include: vec!["*.js".to_owned()], ..WatchPlan::new(vec![world.root()]) };
    world.watcher.watch(vec![Subject {
        name: "1".to_owned(),
        plan: only,
        quiet: QUIET,
        cap: Some(QUIET * 25),
        never: vec![],
    }]);
    world.until(|news| matches!(news, News::Watching { .. }).then_some(()));
    world.write("app.js", "3");
    assert_eq!(world.changes_of("1"), ["app.js"], "it goes on as it was");
}

#[test]
fn a_file_that_is_disregarded_is_silent() {
    let world = World::new(app, |_| {});
    world.watcher.disregard("0", &world.root().join("app.py"));
    world.write("app.py", "two");
    world.nothing_but_a_last_change();
}

#[test]
fn more_than_the_kernel_can_queue_is_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    fs::create_dir(&root).unwrap();
    app(&root);
    let ((tell, news), (go_on, wait)) = (sync_channel(ROOM), sync_channel::<()>(ROOM));
    // The watcher is held up in the middle of telling until everything is written.
    let watcher = Watcher::start(move |told| {
        let holds = matches!(told, News::Changed { .. });
        let _ = tell.send(told);
        if holds {
            let _ = wait.recv();
        }
    })
    .unwrap();
    let plan = WatchPlan::new(vec![root.clone()]);
    watcher.watch(vec![Subject { name: "0".to_owned(), plan, quiet: QUIET, cap: Some(QUIET * 25), never: vec![] }]);
    let world = World { folder, watcher, news, go_on: Some(go_on) };
    world.until(|news| matches!(news, News::Watching { .. }).then_some(()));
    world.write("app.py", "two");
    assert_eq!(world.changes(), ["app.py"]);
    let most: usize = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap().trim().parse().unwrap();
    // The same event in a row counts once, so two files take turns.
    for number in 0..=most / 2 {
        world.write("a.py", &number.to_string());
        world.write("b.py", &number.to_string());
    }
    world.write("after.py", "1");
    let go_on = world.go_on.as_ref().unwrap();
    go_on.send(()).unwrap();
    // Said as soon as it is known, which is before the window closes.
    assert_eq!(world.warnings(), ["watch_overflow"]);
    assert_eq!(world.changes(), ["+a.py", "+after.py", "+b.py"]);
    go_on.send(()).unwrap();
}
