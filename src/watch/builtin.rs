//! What never counts unless a person asks for it: other programs' folders, and the droppings of editors and tools.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

/// everup's own folder: never counts, whoever asks.
pub(super) const OWN: &str = ".everup";

/// In the order of their bytes.
const FOLDERS: [&str; 27] = [
    ".cache",
    ".eggs",
    ".git",
    ".hg",
    ".idea",
    ".ipynb_checkpoints",
    ".jj",
    ".mypy_cache",
    ".next",
    ".nox",
    ".nuxt",
    ".parcel-cache",
    ".pytest_cache",
    ".ruff_cache",
    ".svelte-kit",
    ".svn",
    ".tox",
    ".turbo",
    ".venv",
    ".vscode",
    "__pycache__",
    "build",
    "coverage",
    "dist",
    "node_modules",
    "target",
    "venv",
];

/// Whether a folder of this name is left out.
pub(super) fn folder(name: &OsStr) -> bool {
    name.to_str().is_some_and(|name| FOLDERS.binary_search(&name).is_ok() || name.ends_with(".egg-info"))
}

/// Whether a file of this name is left out: `*.py[cod] *~ .#* #*# .*.sw? .*.sw?x 4913 *.tmp ___jb_* .DS_Store *.log *.db-wal
/// *.db-shm *.db-journal *.sqlite-journal`, or a file named like a folder that is (a worktree's `.git`).
pub(super) fn file(name: &OsStr) -> bool {
    let name = name.as_bytes();
    let ends = |end: &str| name.ends_with(end.as_bytes());
    let starts = |start: &str| name.starts_with(start.as_bytes());
    matches!(name, b"4913" | b".DS_Store" | b".git")
        || ends("~")
        || starts(".#")
        || (starts("#") && ends("#"))
        || starts("___jb_")
        || [".pyc", ".pyo", ".pyd", ".tmp", ".log", ".db-wal", ".db-shm", ".db-journal", ".sqlite-journal"]
            .into_iter()
            .any(ends)
        || is_swap(name)
}

/// vim's `.name.swp`, `.name.swo`, …, and `.name.swpx` beside it.
fn is_swap(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b".") else { return false };
    let body = rest.strip_suffix(b"x").unwrap_or(rest);
    [rest, body]
        .into_iter()
        .any(|text| text.split_last_chunk::<4>().is_some_and(|(_, end)| matches!(end, [b'.', b's', b'w', _])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_droppings_of_tools_are_left_out_and_nothing_else() {
        for name in [
            "4913",
            "a.py~",
            ".#a.py",
            "#a.py#",
            ".a.py.swp",
            ".a.py.swo",
            ".a.py.swpx",
            "x.tmp",
            "___jb_old___",
            ".DS_Store",
            "web.log",
            "a.pyc",
            "a.pyd",
            "app.db-wal",
            "app.db-shm",
            "app.db-journal",
            "app.sqlite-journal",
            ".git",
        ] {
            assert!(file(OsStr::new(name)), "{name}");
        }
        for name in
            ["a.py", "49130", "a.sw", "swp", ".env", "#a.py", "a.py#", "log", ".swift", ".gitignore", "a.swp", "build"]
        {
            assert!(!file(OsStr::new(name)), "{name}");
        }
        assert!(FOLDERS.is_sorted());
        for name in FOLDERS {
            assert!(folder(OsStr::new(name)), "{name}");
        }
        assert!(folder(OsStr::new("app.egg-info")) && !folder(OsStr::new("src")));
    }
}
