//! Feeds a target by its name, with a folder that lives as long as the process.

use std::sync::OnceLock;

use everup::fuzzing::TARGETS;

/// Runs one input; panics when it finds something.
pub fn feed(name: &str, data: &[u8]) {
    static FOLDER: OnceLock<tempfile::TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder"));
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target of that name");
    target(data, folder.path());
}
