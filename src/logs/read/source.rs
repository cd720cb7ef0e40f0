//! One stream's chain of files: the current log and the older ones.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;

use crate::logs::folder::Folder;
use crate::logs::names::{Owner, Place, owner};
use crate::logs::read::file::LogFile;
use crate::logs::read::{Line, Query};
use crate::model::log::{LogLine, Stream};
use crate::model::names::{InstanceId, ServiceName};

/// How often a log is opened again because it was rotated meanwhile.
const ATTEMPTS: usize = 5;

/// One stream of one instance.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Whose.
    pub instance: InstanceId,
    /// Which; stdout where both are merged.
    pub stream: Stream,
    place: Place,
    label: String,
}

/// The streams of a query that have files, in the order of services, instances and outputs.
pub(super) fn find(dir: &Path, query: &Query) -> io::Result<Vec<Source>> {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let known = |service: &ServiceName| {
        query.labels.contains_key(service) || query.services.iter().any(|(name, _)| name == service)
    };
    let mut found: BTreeMap<Owner, Place> = BTreeMap::new();
    for entry in entries {
        let name = entry?.file_name();
        let Some(owner) = owner(&name, known) else { continue };
        let place = match owner.stream {
            Some(stream) => Place::stream(dir, &owner.instance, stream),
            None => merged(dir, &owner.instance),
        };
        found.insert(owner, place);
    }
    let mut instances: BTreeMap<ServiceName, u32> = BTreeMap::new();
    for owner in found.keys() {
        let most = instances.entry(owner.instance.service.clone()).or_insert(1);
        *most = owner.instance.index.max(*most);
    }
    let wanted = |instance: &InstanceId| {
        let named = |(service, index): &(ServiceName, Option<u32>)| {
            *service == instance.service && index.is_none_or(|index| index == instance.index)
        };
        query.services.is_empty() || query.services.iter().any(named)
    };
    let mut sources = Vec::new();
    for (Owner { instance, stream }, place) in found {
        let stream = stream.unwrap_or(Stream::Stdout);
        if wanted(&instance) && query.stream.is_none_or(|only| only == stream) {
            let count = query.labels.get(&instance.service).or(instances.get(&instance.service));
            let label = instance.label(count.copied().unwrap_or(1));
            sources.push(Source { instance, stream, place, label });
        }
    }
    Ok(sources)
}

/// Where the merged log of an instance is: its note says so, or it is in the folder.
fn merged(dir: &Path, instance: &InstanceId) -> Place {
    let mut place = Place::merged(dir, instance, None);
    let read_note = |name: &OsString| -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        Folder::open(dir, false)?.file(name, OFlag::O_RDONLY)?.take(4096).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let path =
        place.note.as_ref().and_then(|note| read_note(note).ok()).map(|bytes| PathBuf::from(OsString::from_vec(bytes)));
    if let Some((folder, name)) = path.as_ref().and_then(|path| Some((path.parent()?, path.file_name()?)))
        && folder.is_absolute()
    {
        place.elsewhere = Some(folder.to_path_buf());
        name.clone_into(&mut place.log);
    }
    place
}

impl Source {
    /// Gives a line the names of this stream.
    pub(super) fn line(&self, line: Line) -> LogLine {
        LogLine {
            v: 1,
            at: line.at,
            service: self.instance.service.clone(),
            instance: self.label.clone(),
            run: line.run,
            stream: self.stream,
            line: line.text,
        }
    }

    /// Whether this is the same stream.
    pub(super) fn is(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// The inode that the current log's name leads to; none: there is no such file.
    pub(super) fn current_inode(&self) -> io::Result<Option<(u64, u64)>> {
        let folder = match Folder::open(self.place.folder(), self.place.elsewhere.is_some()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        Ok(folder.status(&self.place.log)?.map(|status| (status.st_dev, status.st_ino)))
    }

    /// Opens the whole chain, newest first, each file once even if it is rotated meanwhile.
    pub(super) fn files(&self) -> io::Result<Vec<LogFile>> {
        let mut files: Vec<LogFile> = Vec::new();
        for age in 0.. {
            match self.open(age)? {
                // A file seen already was renamed under our eyes; the next one is new again.
                Some(file) if files.iter().any(|seen| seen.inode == file.inode) => {}
                Some(file) => files.push(file),
                // The current log may be missing for an instant of a rotation.
                None if age == 0 => {}
                None => break,
            }
        }
        Ok(files)
    }

    /// The file that came after `file`; none when that is the newest. When it is gone from the chain, the oldest that
    /// was written after it.
    pub(super) fn after(&self, file: &LogFile) -> io::Result<Option<LogFile>> {
        let last_written = file.last_written()?;
        let mut newer = None;
        for other in self.files()? {
            // One that was taken away from outside leaves older files behind.
            if other.inode == file.inode || other.last_written()? < last_written {
                break;
            }
            newer = Some(other);
        }
        Ok(newer)
    }

    fn open(&self, age: u32) -> io::Result<Option<LogFile>> {
        let (log_name, index_name) = self.place.aged(age);
        let mut opened = None;
        for _ in 0..ATTEMPTS {
            let Some(state) = existing(Folder::open(&self.place.state, false))? else { return Ok(None) };
            let elsewhere = self.place.elsewhere.as_deref().map(|path| existing(Folder::open(path, true)));
            let Some(folder) = elsewhere.transpose()?.unwrap_or(Some(state)) else { return Ok(None) };
            let Some(log) = existing(folder.file(&log_name, OFlag::O_RDONLY))? else { return Ok(None) };
            let index = self.open_index(&index_name);
            let file = LogFile::new(log, index)?;
            let mismatch = file.index.contradicts(file.inode.1);
            opened = Some(file);
            if !mismatch {
                break;
            }
        }
        // A log that keeps contradicting its index was restored or copied: its times are still the best there are.
        Ok(opened)
    }

    fn open_index(&self, name: &OsString) -> Option<File> {
        Folder::open(&self.place.state, false).ok()?.file(name, OFlag::O_RDONLY).ok()
    }
}

fn existing<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
