//! Which files count, by a walk over real folders and by the news of single files alike.

use super::*;
use crate::model::watch::WatchPlan;

/// A case: what is there (a name, or a name and its text), what the plan says, and which files count.
struct Case {
    name: &'static str,
    there: &'static [(&'static str, &'static str)],
    paths: &'static [&'static str],
    include: &'static [&'static str],
    ignore: &'static [&'static str],
    counts: &'static [&'static str],
}

const CASE: Case = Case { name: "", there: &[], paths: &[""], include: &[], ignore: &[], counts: &[] };

fn plan(top: &Path, case: &Case) -> WatchPlan {
    let paths = case.paths.iter().map(|path| if path.is_empty() { top.to_owned() } else { top.join(path) });
    WatchPlan {
        include: case.include.iter().map(ToString::to_string).collect(),
        ignore: case.ignore.iter().map(ToString::to_string).collect(),
        ..WatchPlan::new(paths.collect())
    }
}

fn build(top: &Path, there: &[(&str, &str)]) {
    for (name, text) in there {
        let path = top.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        if name.ends_with('/') {
            fs::create_dir_all(path).unwrap();
        } else {
            fs::write(path, text).unwrap();
        }
    }
}

fn deaf() -> Ear<'static> {
    Ear { kernel: None, key: 0 }
}

/// The files a walk finds, and those whose news would be heard: they must be the same.
fn counted(tree: &mut Tree, top: &Path, there: &[(&str, &str)]) -> Vec<String> {
    assert!(tree.pass(Some(&BTreeSet::new()), &mut deaf()).unwrap().is_empty());
    let name = |path: &Path| path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
    let mut walked = tree.table.below(top);
    walked.sort();
    let walked: Vec<String> = walked.iter().map(|path| name(path)).collect();
    let mut heard: Vec<PathBuf> =
        there.iter().map(|(name, _)| top.join(name)).filter(|path| path.is_file() && tree.counts(path)).collect();
    heard.sort();
    assert_eq!(walked, heard.iter().map(|path| name(path)).collect::<Vec<_>>());
    walked
}

fn check(case: &Case) {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    build(top, case.there);
    let mut tree = Tree::new(Rules::new(&plan(top, case), &[top.join("state"), top.join("supervisor.yaml")]));
    let mut expected: Vec<&Path> = case.counts.iter().map(Path::new).collect();
    expected.sort();
    assert_eq!(
        counted(&mut tree, top, case.there).iter().map(Path::new).collect::<Vec<_>>(),
        expected,
        "{}",
        case.name
    );
    assert!(tree.wrong_globs().is_empty(), "{}", case.name);
}

#[test]
fn what_is_ignored_does_not_count() {
    let cases = [
        Case {
            name: "the built-in list",
            there: &[
                ("app.py", ""),
                (".env", ""),
                ("app.log", ""),
                (".app.py.swp", ""),
                ("app.py~", ""),
                ("node_modules/x/index.js", ""),
                (".git/config", ""),
                ("src/__pycache__/app.pyc", ""),
                ("src/builder/app.py", ""),
                ("src/target/debug/app", ""),
            ],
            counts: &[".env", "app.py", "src/builder/app.py"],
            ..CASE
        },
        Case {
            name: "what is everup's own",
            there: &[
                ("app.py", ""),
                (".everup/log", ""),
                ("a/.everup/log", ""),
                ("state/file", ""),
                ("supervisor.yaml", ""),
            ],
            counts: &["app.py"],
            ..CASE
        },
        Case {
            name: "the plan's globs, at any depth without a slash and from the watched path with one",
            there: &[
                ("a.txt", ""),
                ("b/a.txt", ""),
                ("data/x", ""),
                ("b/data/x", ""),
                ("gen/x", ""),
                ("b/gen/x", ""),
                ("dist/app.js", ""),
                ("keep.log", ""),
            ],
            ignore: &["a.txt", "/data", "gen/", "!dist", "!keep.log"],
            counts: &["b/data/x", "dist/app.js", "keep.log"],
            ..CASE
        },
        Case {
            name: "ignore files of every level, the nearest first",
            there: &[
                (".gitignore", "*.gen\n/only-top\ncache/\n"),
                ("a.gen", ""),
                ("only-top", ""),
                ("cache/x", ""),
                ("deep/.gitignore", "!b.gen\nsecret*\n"),
                ("deep/b.gen", ""),
                ("deep/c.gen", ""),
                ("deep/only-top", ""),
                ("deep/secret.py", ""),
                ("deep/er/secret.py", ""),
                ("secret.py", ""),
                ("other/.ignore", "x.py\n!y.gen\n"),
                ("other/x.py", ""),
                ("other/y.gen", ""),
            ],
            counts: &[
                ".gitignore",
                "deep/.gitignore",
                "deep/b.gen",
                "deep/only-top",
                "other/.ignore",
                "other/y.gen",
                "secret.py",
            ],
            ..CASE
        },
        Case {
            name: "rules of parents up to the top of the repository, and its private ones",
            there: &[
                (".gitignore", "*.py\n"),
                ("repo/.git/info/exclude", "private\n/app/mine\n"),
                ("repo/.gitignore", "*.gen\n/app/local\n"),
                ("repo/app/a.gen", ""),
                ("repo/app/local", ""),
                ("repo/app/a.py", ""),
                ("repo/app/x/private", ""),
                ("repo/app/mine", ""),
                ("repo/app/x/mine", ""),
            ],
            paths: &["repo/app"],
            counts: &["repo/app/a.py", "repo/app/x/mine"],
            ..CASE
        },
        Case {
            name: "no repository: no rules of parents",
            there: &[(".gitignore", "*.py\n"), ("app/a.py", "")],
            paths: &["app"],
            counts: &["app/a.py"],
            ..CASE
        },
        Case {
            name: "a path below an ignored folder was named by a person",
            there: &[
                (".git/HEAD", ""),
                (".gitignore", "node_modules/**\n.venv\n*.gen\n"),
                ("node_modules/mylib/src/a.js", ""),
                ("node_modules/mylib/node_modules/b.js", ""),
                ("node_modules/other/a.js", ""),
                (".venv/.gitignore", "*\n"),
                (".venv/lib/mine/deep/a.py", ""),
                ("app.js", ""),
            ],
            paths: &["node_modules/mylib", ".venv/lib/mine"],
            counts: &["node_modules/mylib/src/a.js", ".venv/lib/mine/deep/a.py"],
            ..CASE
        },
        Case {
            name: "a file that is named counts in any case",
            there: &[
                (".gitignore", "x.log\n"),
                ("logs/x.log", ""),
                ("logs/y.py", ""),
                ("a.py", ""),
                ("state/a.py", ""),
            ],
            paths: &["logs/x.log", "a.py", "state/a.py"],
            ignore: &["a.py"],
            counts: &["a.py", "logs/x.log"],
            ..CASE
        },
        Case {
            name: "a path within a path",
            there: &[("a.py", ""), ("src/b.py", ""), ("src/build/c.py", ""), ("build/d.py", "")],
            paths: &["", "src", "src/build"],
            counts: &["a.py", "src/b.py", "src/build/c.py"],
            ..CASE
        },
    ];
    cases.iter().for_each(check);
}

#[test]
fn what_is_included_counts_and_nothing_else() {
    let cases = [
        Case {
            name: "without a slash: at any depth, but in no ignored folder",
            there: &[
                (".gitignore", "*.py\nignored/\n"),
                ("a.py", ""),
                ("a.js", ""),
                ("deep/er/b.py", ""),
                ("ignored/c.py", ""),
                (".venv/lib/d.py", ""),
                ("deep/node_modules/e.py", ""),
                (".everup/f.py", ""),
            ],
            include: &["*.py"],
            counts: &["a.py", "deep/er/b.py"],
            ..CASE
        },
        Case {
            name: "with a slash: the ignored folders on its way are open, and only for it",
            there: &[
                ("a.py", ""),
                ("node_modules/mylib/x/a.js", ""),
                ("node_modules/mylib/x/a.py", ""),
                ("node_modules/mylib/node_modules/b.js", ""),
                ("node_modules/mylib/.git/config", ""),
                ("node_modules/other/a.js", ""),
                ("node_modules/a.py", ""),
                ("build/gen.py", ""),
                ("build/other.py", ""),
                ("build/deep/gen.py", ""),
            ],
            include: &["*.py", "node_modules/mylib/**", "build/gen.py"],
            counts: &["a.py", "build/gen.py", "node_modules/mylib/x/a.js", "node_modules/mylib/x/a.py"],
            ..CASE
        },
        Case {
            name: "a way beats the rules of git, too",
            there: &[
                (".gitignore", "gen/*\n.venv\n"),
                ("gen/api/v1/x.py", ""),
                ("gen/other/x.py", ""),
                (".venv/.gitignore", "*\n"),
                (".venv/lib/mine/deep/a.py", ""),
            ],
            include: &["gen/api/**", ".venv/lib/mine/**/*.py"],
            counts: &["gen/api/v1/x.py", ".venv/lib/mine/deep/a.py"],
            ..CASE
        },
        Case {
            name: "everything below a folder, but for the droppings of editors",
            there: &[("src/a.rs", ""), ("src/.a.rs.swp", ""), ("src/a.rs~", ""), ("src/deep/b.rs", ""), ("c.rs", "")],
            include: &["src/**"],
            counts: &["src/a.rs", "src/deep/b.rs"],
            ..CASE
        },
        Case {
            name: "what the built-in list leaves out, by its name",
            there: &[("a.log", ""), ("b.log", ""), ("deep/a.log", ""), ("deep/x.tmp", ""), ("a.py", "")],
            include: &["a.log", "deep/*.tmp"],
            counts: &["a.log", "deep/a.log", "deep/x.tmp"],
            ..CASE
        },
        Case {
            name: "a folder's name includes what is in it, and ! takes out again",
            there: &[("app/x/a.py", ""), ("deep/app/b.py", ""), ("app/x/no.py", ""), ("c.py", "")],
            include: &["app", "!no.py"],
            counts: &["app/x/a.py", "deep/app/b.py"],
            ..CASE
        },
        Case {
            name: "several endings at once",
            there: &[("a.js", ""), ("b/c.ts", ""), ("d.css", ""), ("build/e.js", "")],
            include: &["**/*.{js,ts}"],
            counts: &["a.js", "b/c.ts"],
            ..CASE
        },
        Case {
            name: "never what never counts",
            there: &[("state/a.py", ""), (".everup/a.py", ""), ("b.py", ""), ("supervisor.yaml", "")],
            include: &["state/**", ".everup/a.py", "*.py", "supervisor.yaml"],
            counts: &["b.py"],
            ..CASE
        },
    ];
    cases.iter().for_each(check);
}

#[test]
fn without_gitignore_only_its_files_are_ignored() {
    let there =
        [(".gitignore", "*.gen\n"), ("a.gen", ""), ("node_modules/a.js", ""), (".ignore", "b.py\n"), ("b.py", "")];
    let folder = tempfile::tempdir().unwrap();
    build(folder.path(), &there);
    let rules = Rules::new(&WatchPlan { gitignore: false, ..plan(folder.path(), &CASE) }, &[]);
    assert_eq!(counted(&mut Tree::new(rules), folder.path(), &there), [".gitignore", ".ignore", "a.gen", "b.py"]);
}

#[test]
fn a_pattern_that_cannot_be_read_is_named() {
    let rules = Rules::new(&plan(Path::new("/x"), &Case { ignore: &["a{b"], include: &["[z-a]"], ..CASE }), &[]);
    assert_eq!(rules.wrong().len(), 2, "{:?}", rules.wrong());
}

#[test]
fn a_walk_finds_what_differs_and_what_other_rules_bring_is_no_change() {
    let folder = tempfile::tempdir().unwrap();
    let top = folder.path();
    build(top, &[(".gitignore", "gen/\n"), ("a.py", "1"), ("b.py", "1"), ("gen/c.py", "1"), ("d.tmpl", "1")]);
    let mut tree = Tree::new(Rules::new(&plan(top, &CASE), &[]));
    let mut pass = || {
        let differences = tree.pass(Some(&BTreeSet::new()), &mut deaf()).unwrap();
        let mut changes: Vec<_> = differences.iter().filter_map(|(path, _)| tree.compare(path)).collect();
        while tree.has_unread() {
            tree.read_one();
        }
        changes.sort_by(|a, b| a.path.cmp(&b.path));
        let name = |path: &Path| path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
        changes
            .iter()
            .map(|change| (name(&change.path), change.before.is_some(), change.after.is_some()))
            .collect::<Vec<_>>()
    };
    let change = |name: &str, before, after| (name.to_owned(), before, after);
    assert_eq!(pass(), []);
    assert_eq!(pass(), []);

    build(top, &[("a.py", "22"), ("new/e.py", "1")]);
    fs::remove_file(top.join("b.py")).unwrap();
    let expected: Vec<(String, bool, bool)> =
        vec![change("a.py", true, true), change("b.py", true, false), change("new/e.py", false, true)];
    assert_eq!(pass(), expected);

    // gen/c.py counts from now on, and d.tmpl no more.
    build(top, &[(".gitignore", "*.tmpl\n"), ("a.py", "333")]);
    assert_eq!(pass(), [change(".gitignore", true, true), change("a.py", true, true)]);
    build(top, &[("gen/c.py", "22"), ("d.tmpl", "22")]);
    assert_eq!(pass(), [change("gen/c.py", true, true)]);

    // A folder that brings its own rules is news, and taking it away is, too.
    build(top, &[("lib/.gitignore", "x\n"), ("lib/y", "1"), ("lib/x", "1")]);
    assert_eq!(pass(), [change("lib/.gitignore", false, true), change("lib/y", false, true)]);
    fs::remove_dir_all(top.join("lib")).unwrap();
    build(top, &[("f.py", "1")]);
    let expected = [change("f.py", false, true), change("lib/.gitignore", true, false), change("lib/y", true, false)];
    assert_eq!(pass(), expected);
}
