//! Which file belongs to whom: `web.out.log`, `web.2.err.log`, `web.log` (merged), `web.out.log.1`, `web.out.idx`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::log::Stream;
use crate::model::names::{InstanceId, ServiceName};

/// Where one stream is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The room's own folder; the index is always here.
    pub state: PathBuf,
    /// Another folder that the log itself is in, chosen by the user.
    pub elsewhere: Option<PathBuf>,
    /// The log's name in its folder.
    pub log: OsString,
    /// The index's name in `state`.
    pub index: OsString,
    /// The name of the note in `state` that says where a log elsewhere is; for merged logs only.
    pub note: Option<OsString>,
}

impl Place {
    /// One file for one stream.
    pub(super) fn stream(state: &Path, instance: &InstanceId, stream: Stream) -> Self {
        let word = match stream {
            Stream::Stdout => "out",
            Stream::Stderr => "err",
        };
        Self::named(state, &format!("{}.{word}", instance.file_stem()))
    }

    /// One file for both streams, at `path` (absolute) or in the room's own folder. From the second instance on, its
    /// number stands before the extension of `path`.
    pub(super) fn merged(state: &Path, instance: &InstanceId, path: Option<&Path>) -> Self {
        let stem = instance.file_stem();
        let mut place = Self::named(state, &stem);
        place.note = Some(format!("{stem}.where").into());
        if let Some(path) = path {
            place.log = numbered(path, instance.index);
            place.elsewhere = Some(path.parent().unwrap_or(Path::new("/")).to_path_buf());
        }
        place
    }

    fn named(state: &Path, stem: &str) -> Self {
        let (log, index) = (format!("{stem}.log").into(), format!("{stem}.idx").into());
        Self { state: state.to_path_buf(), elsewhere: None, log, index, note: None }
    }

    /// The folder the log is in.
    pub(super) fn folder(&self) -> &Path {
        self.elsewhere.as_deref().unwrap_or(&self.state)
    }

    /// The names of the log and index that are `age` rotations old; 0: the current ones.
    pub(super) fn aged(&self, age: u32) -> (OsString, OsString) {
        (aged(&self.log, age), aged(&self.index, age))
    }
}

fn aged(name: &OsStr, age: u32) -> OsString {
    let mut name = name.to_owned();
    if age > 0 {
        name.push(format!(".{age}"));
    }
    name
}

fn numbered(path: &Path, index: u32) -> OsString {
    let whole = path.file_name().unwrap_or(OsStr::new("log")).to_owned();
    if index <= 1 {
        return whole;
    }
    let mut name = path.file_stem().unwrap_or(OsStr::new("log")).to_owned();
    name.push(format!(".{index}"));
    if let Some(extension) = path.extension() {
        name.push(".");
        name.push(extension);
    }
    name
}

/// What a file's name says about whose it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Owner {
    /// Whose output.
    pub instance: InstanceId,
    /// Which; none: both merged into one.
    pub stream: Option<Stream>,
}

/// Reads the name of a current log (`….log`) or of a note (`….where`); none for every other file.
///
/// Names may carry dots, so `web.2.log` may belong to `web/2` or to a service `web.2`: one that is `known` wins, else
/// the shortest service name.
pub(super) fn owner(name: &OsStr, known: impl Fn(&ServiceName) -> bool) -> Option<Owner> {
    let name = std::str::from_utf8(name.as_bytes()).ok()?;
    let mut readings = Vec::new();
    let (stem, streams) = match name.strip_suffix(".where") {
        Some(stem) => (stem, false),
        None => (name.strip_suffix(".log")?, true),
    };
    for (suffix, stream) in [(".out", Some(Stream::Stdout)), (".err", Some(Stream::Stderr)), ("", None)] {
        let Some(stem) = stem.strip_suffix(suffix).filter(|_| streams || stream.is_none()) else { continue };
        if let Some((service, number)) = stem.rsplit_once('.')
            && let Ok(index) = number.parse::<u32>()
            && index > 1
            && index.to_string() == number
        {
            readings.push((service, index, stream));
        }
        readings.push((stem, 1, stream));
    }
    let mut owners = readings.into_iter().filter_map(|(service, index, stream)| {
        let service = ServiceName::new(service).ok()?;
        Some(Owner { instance: InstanceId { service, index }, stream })
    });
    let first = owners.next()?;
    if known(&first.instance.service) {
        return Some(first);
    }
    Some(owners.find(|owner| known(&owner.instance.service)).unwrap_or(first))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(service: &str, index: u32) -> InstanceId {
        InstanceId { service: ServiceName::new(service).unwrap(), index }
    }

    #[test]
    fn a_file_is_named_after_its_instance_and_stream() {
        let dir = Path::new("/s/logs");
        let place = Place::stream(dir, &id("web", 2), Stream::Stderr);
        assert_eq!(place.aged(0), ("web.2.err.log".into(), "web.2.err.idx".into()));
        assert_eq!(place.aged(3), ("web.2.err.log.3".into(), "web.2.err.idx.3".into()));
        for (index, path, folder, log) in [
            (1, None, "/s/logs", "web.log"),
            (1, Some("/var/log/app.log"), "/var/log", "app.log"),
            (2, Some("/var/log/app.log"), "/var/log", "app.2.log"),
            (2, Some("/app"), "/", "app.2"),
        ] {
            let place = Place::merged(dir, &id("web", index), path.map(Path::new));
            assert_eq!((place.folder(), place.log.as_os_str()), (Path::new(folder), OsStr::new(log)));
        }
    }

    #[test]
    fn a_name_leads_back_to_its_owner() {
        let known = |service: &ServiceName| matches!(service.as_str(), "db.2" | "x.out");
        for (name, service, index, stream) in [
            ("web.out.log", "web", 1, Some(Stream::Stdout)),
            ("web.err.log", "web", 1, Some(Stream::Stderr)),
            ("web.12.out.log", "web", 12, Some(Stream::Stdout)),
            ("web.02.out.log", "web.02", 1, Some(Stream::Stdout)),
            ("web.log", "web", 1, None),
            ("web.2.where", "web", 2, None),
            ("db.2.out.log", "db.2", 1, Some(Stream::Stdout)),
            ("x.out.log", "x.out", 1, None),
        ] {
            let expected = Owner { instance: id(service, index), stream };
            assert_eq!(owner(OsStr::new(name), known), Some(expected), "{name}");
        }
        for other in ["web.out.log.1", "web.out.idx", ".log", "everup.lock", ""] {
            assert_eq!(owner(OsStr::new(other), known), None, "{other}");
        }
    }
}
