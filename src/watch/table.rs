//! What the watched files hold, as far as was told so far.

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsStr;
use std::fs::{self, File, Metadata, OpenOptions};
use std::hash::{DefaultHasher, Hasher};
use std::io::{self, Read as _};
use std::ops::Bound;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::model::watch::{Content, FileChange};
use crate::os::clock;

/// Larger files are known by size and time instead of a hash, in bytes.
const HASHED: u64 = 4 << 20;

/// Two writes this close together may leave the same time behind, in nanoseconds: filesystems count coarsely.
const COARSE: i64 = 2_000_000_000;

/// Bytes read at a time.
const CHUNK: usize = 16 << 10;

/// What tells without reading whether a file was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    size: u64,
    modified_ns: i64,
    inode: u64,
}

impl Stamp {
    pub(super) fn of(metadata: &Metadata) -> Self {
        Self {
            size: metadata.size(),
            modified_ns: metadata.mtime().saturating_mul(1_000_000_000).saturating_add(metadata.mtime_nsec()),
            inode: metadata.ino(),
        }
    }

    /// Whether a later write would show: the file has rested for a while.
    fn is_settled(&self) -> bool {
        let now = clock::now().wall.0.saturating_mul(1_000_000);
        now.abs_diff(self.modified_ns) > COARSE.unsigned_abs()
    }

    /// What stands for the content of a file that is not read.
    fn content(&self) -> Content {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.size);
        hasher.write_i64(self.modified_ns);
        Content(hasher.finish())
    }
}

/// One file.
#[derive(Debug)]
struct Entry {
    stamp: Stamp,
    /// Of a file that was not read yet: what its stamp makes.
    content: Content,
    read: bool,
    /// Whether the stamp alone shows the next write.
    settled: bool,
    link: bool,
    /// The pass that saw it last.
    pass: u32,
}

impl Entry {
    /// A file that was not read.
    fn new(stamp: Stamp, link: bool) -> Self {
        Self { stamp, content: stamp.content(), read: stamp.size > HASHED, settled: stamp.is_settled(), link, pass: 0 }
    }
}

/// What a pass over the tree finds about a file it sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sighting {
    Unknown,
    Same,
    /// Perhaps: its content must be compared.
    Differs,
}

/// The watched files of one subject, by folder.
#[derive(Debug, Default)]
pub(super) struct Table {
    folders: BTreeMap<Arc<Path>, BTreeMap<Box<OsStr>, Entry>>,
    files: usize,
    pass: u32,
    /// Folders with files that are still to be read, and how far the first of them is.
    unread: VecDeque<Arc<Path>>,
    after: Option<Box<OsStr>>,
}

impl Table {
    /// How many files there are.
    pub(super) fn len(&self) -> usize {
        self.files
    }

    pub(super) fn contains(&self, path: &Path) -> bool {
        split(path).is_some_and(|(folder, name)| self.folders.get(folder).is_some_and(|files| files.contains_key(name)))
    }

    /// The files known below `folder`.
    pub(super) fn below(&self, folder: &Path) -> Vec<PathBuf> {
        self.folders
            .range::<Path, _>((Bound::Included(folder), Bound::Unbounded))
            .take_while(|(path, _)| path.starts_with(folder))
            .flat_map(|(path, files)| files.keys().map(|name| path.join(&**name)))
            .collect()
    }

    /// Keeps a file as it is now, to be read later.
    pub(super) fn keep(&mut self, folder: &Arc<Path>, name: &OsStr, stamp: Stamp, link: bool) {
        let entry = Entry { pass: self.pass, ..Entry::new(stamp, link) };
        if !entry.read && self.unread.back().is_none_or(|last| !Arc::ptr_eq(last, folder)) {
            self.unread.push_back(Arc::clone(folder));
        }
        self.after = None;
        let files = self.folders.entry(Arc::clone(folder)).or_default();
        if files.insert(name.into(), entry).is_none() {
            self.files += 1;
        }
    }

    /// Pays no more attention to a file.
    pub(super) fn forget(&mut self, path: &Path) {
        let Some((folder, name)) = split(path) else { return };
        if let Some(files) = self.folders.get_mut(folder)
            && files.remove(name).is_some()
        {
            self.files -= 1;
            if files.is_empty() {
                self.folders.remove(folder);
            }
        }
    }

    /// Begins a pass over the tree.
    pub(super) fn begin_pass(&mut self) {
        self.pass = self.pass.wrapping_add(1);
    }

    /// The pass met this file.
    pub(super) fn see(&mut self, folder: &Path, name: &OsStr, stamp: Stamp) -> Sighting {
        let Some(entry) = self.folders.get_mut(folder).and_then(|files| files.get_mut(name)) else {
            return Sighting::Unknown;
        };
        entry.pass = self.pass;
        if entry.stamp == stamp && (entry.settled || !entry.read) { Sighting::Same } else { Sighting::Differs }
    }

    /// The files that the pass did not meet.
    pub(super) fn unseen(&self) -> Vec<PathBuf> {
        self.folders
            .iter()
            .flat_map(|(folder, files)| {
                files.iter().filter(|(_, entry)| entry.pass != self.pass).map(|(name, _)| folder.join(&**name))
            })
            .collect()
    }

    /// Compares a file with what was known of it, and knows it as it is from now on.
    pub(super) fn compare(&mut self, path: &Path) -> Option<FileChange> {
        let (folder, name) = split(path)?;
        let Some(mut now) = look(path) else {
            let before = self.folders.get(folder)?.get(name)?.content;
            self.forget(path);
            return Some(FileChange { path: path.to_owned(), before: Some(before), after: None });
        };
        now.pass = self.pass;
        let after = now.content;
        let known = self.folders.get_mut(folder).and_then(|files| files.get_mut(name));
        let before = match known {
            Some(entry) => {
                // Not read before it was touched: as long as its stamp is the same it was not written.
                let same = if entry.read { entry.content == after } else { entry.stamp == now.stamp && entry.settled };
                let before = entry.content;
                *entry = now;
                if same {
                    return None;
                }
                Some(before)
            }
            None => {
                self.folders.entry(folder.into()).or_default().insert(name.into(), now);
                self.files += 1;
                None
            }
        };
        Some(FileChange { path: path.to_owned(), before, after: Some(after) })
    }

    /// Whether this known file is reached through a link.
    pub(super) fn is_link(&self, path: &Path) -> bool {
        split(path).and_then(|(folder, name)| self.folders.get(folder)?.get(name)).is_some_and(|entry| entry.link)
    }

    /// Whether files wait to be read.
    pub(super) fn has_unread(&self) -> bool {
        !self.unread.is_empty()
    }

    /// Reads one file that was only looked at so far.
    pub(super) fn read_one(&mut self) {
        let Some(folder) = self.unread.front().map(Arc::clone) else { return };
        let from = self.after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let next = self
            .folders
            .get_mut(&folder)
            .and_then(|files| files.range_mut::<OsStr, _>((from, Bound::Unbounded)).find(|(_, entry)| !entry.read));
        let Some((name, entry)) = next else {
            self.unread.pop_front();
            self.after = None;
            return;
        };
        self.after = Some(name.clone());
        // Written since it was looked at: what it held then is lost, and the event is on its way.
        if let Some(read) = look(&folder.join(&**name))
            && read.stamp == entry.stamp
        {
            *entry = Entry { pass: entry.pass, ..read };
        }
    }
}

/// A file as it is; none: there is no file of that name.
fn look(path: &Path) -> Option<Entry> {
    let link = fs::symlink_metadata(path).ok()?.is_symlink();
    let seen = fs::metadata(path).ok().filter(Metadata::is_file)?;
    // Should a pipe come in its place just now, it must not be waited for.
    let Ok(mut file) = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) else {
        return Some(Entry { read: true, ..Entry::new(Stamp::of(&seen), link) });
    };
    // Taken before the bytes, so that a write in between shows at the next look.
    let mut entry = Entry::new(Stamp::of(&file.metadata().ok().filter(Metadata::is_file)?), link);
    if !entry.read
        && let Ok(hash) = hash(&mut file)
    {
        entry.content = Content(hash);
    }
    entry.read = true;
    Some(entry)
}

fn hash(file: &mut File) -> io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    let mut chunk = [0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return Ok(hasher.finish()),
            Ok(length) => hasher.write(chunk.get(..length).unwrap_or_default()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn split(path: &Path) -> Option<(&Path, &OsStr)> {
    path.parent().zip(path.file_name())
}
