//! Where a path leads, link by link.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// As many links in a row as the kernel follows.
const LINKS: usize = 40;

/// Where a path leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Trail {
    /// The links on the way: the real folder of each, and its name there.
    pub links: Vec<(PathBuf, OsString)>,
    /// What is at the end.
    pub end: End,
}

/// What is at the end of a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A folder: its real path.
    Folder(PathBuf),
    /// A file: its real folder, and its name there.
    File(PathBuf, OsString),
    /// Nothing: the nearest folder that exists, and the name that is missing in it.
    Missing(PathBuf, OsString),
}

impl Trail {
    /// Follows an absolute path.
    pub(super) fn of(path: &Path) -> Self {
        let mut rest: VecDeque<OsString> = parts(path).collect();
        let mut real = PathBuf::from("/");
        let mut links = vec![];
        let mut file = None;
        while let Some(name) = rest.pop_front() {
            if name == ".." {
                real.pop();
                continue;
            }
            let next = real.join(&name);
            let (Ok(seen), None) = (fs::symlink_metadata(&next), &file) else {
                // A file where a folder is needed: its name is what is missing.
                let end = file.take().map_or(End::Missing(real, name), |(folder, name)| End::Missing(folder, name));
                return Self { links, end };
            };
            if seen.is_symlink() {
                let target = fs::read_link(&next).ok().filter(|_| links.len() < LINKS);
                let Some(target) = target else {
                    return Self { links, end: End::Missing(real, name) };
                };
                links.push((real.clone(), name));
                if target.is_absolute() {
                    real = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    rest.push_front(part);
                }
            } else if seen.is_dir() {
                real = next;
            } else {
                file = Some((real.clone(), name));
            }
        }
        let end = file.map_or(End::Folder(real), |(folder, name)| End::File(folder, name));
        Self { links, end }
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::Prefix(_) | Component::RootDir | Component::CurDir => None,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_followed_to_a_folder_a_file_or_the_place_where_it_breaks() {
        let folder = tempfile::tempdir().unwrap();
        let top = fs::canonicalize(folder.path()).unwrap();
        fs::create_dir_all(top.join("releases/2/app")).unwrap();
        fs::write(top.join("releases/2/app/a.py"), "").unwrap();
        symlink("releases/2", top.join("current")).unwrap();
        symlink(top.join("current/app/a.py"), top.join("main.py")).unwrap();
        symlink("nowhere", top.join("broken")).unwrap();
        symlink("round", top.join("round")).unwrap();
        let at = |folder: &str, name: &str| (top.join(folder), OsString::from(name));
        let current = (top.clone(), OsString::from("current"));
        let missing = |(folder, name)| End::Missing(folder, name);
        for (path, links, end) in [
            ("releases/2", vec![], End::Folder(top.join("releases/2"))),
            ("current/app", vec![current.clone()], End::Folder(top.join("releases/2/app"))),
            ("current/../2/app", vec![current.clone()], End::Folder(top.join("releases/2/app"))),
            (
                "main.py",
                vec![(top.clone(), "main.py".into()), current.clone()],
                End::File(top.join("releases/2/app"), "a.py".into()),
            ),
            ("current/app/b.py", vec![current.clone()], missing(at("releases/2/app", "b.py"))),
            ("current/other/deep/b.py", vec![current.clone()], missing(at("releases/2", "other"))),
            ("current/app/a.py/deep", vec![current], missing(at("releases/2/app", "a.py"))),
            ("broken", vec![(top.clone(), "broken".into())], missing((top.clone(), "nowhere".into()))),
        ] {
            assert_eq!(Trail::of(&top.join(path)), Trail { links, end }, "{path}");
        }
        assert_eq!(Trail::of(&top.join("round")).end, End::Missing(top.clone(), "round".into()));
        assert_eq!(Trail::of(Path::new("/")).end, End::Folder("/".into()));
    }
}
