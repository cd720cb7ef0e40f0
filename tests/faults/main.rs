//! Every fault of the catalogue (docs/reliability.md) that can be produced on one machine, by its number. The real
//! binary, real processes, real injections. Tests that need root print that they were skipped without it.
//!
//! What takes long is ignored here and run by `tests/faults/run`.

#![expect(
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and is a process of its own beside everup"
)]

#[expect(dead_code, reason = "shared with tests/e2e, which uses all of it")]
#[path = "../e2e/support.rs"]
mod support;
mod tools;

mod child;
mod control;
mod files;
mod kernel;
mod logs;
mod probe;
mod supervisor;
mod time;
mod trees;

/// Every fault has its row, and every test that a row names is there.
#[test]
fn the_table_is_whole_and_names_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let page = std::fs::read_to_string(root.join("docs/reliability.md")).expect("the page");
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|end| end == "rs") => {
                    sources += &std::fs::read_to_string(path).expect("a source");
                }
                _ => {}
            }
        }
    }
    let mut numbers = vec![];
    for row in page.lines().filter_map(|line| line.strip_prefix("| ")) {
        let Some(number) = row.split(' ').next().and_then(|word| word.parse::<u32>().ok()) else { continue };
        numbers.push(number);
        let held_by = row.rsplit(" | ").next().unwrap_or_default();
        for name in held_by.split('`').skip(1).step_by(2) {
            let (target, path) = name.split_once(' ').expect("a target and a name");
            let function = path.rsplit("::").next().expect("a name");
            let end = if target == "faults" { "_" } else { "(" };
            assert!(sources.contains(&format!("fn {function}{end}")), "{number}: there is no test {name}");
        }
    }
    assert_eq!(numbers, (1..=72).collect::<Vec<u32>>());
}
