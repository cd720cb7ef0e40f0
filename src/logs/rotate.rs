//! Makes room for a new log: the current one becomes `.1`, `.1` becomes `.2`, and what is beyond `keep` goes.

use std::io;

use nix::fcntl::OFlag;

use crate::logs::folder::Folder;
use crate::logs::index;
use crate::logs::names::Place;
use crate::os::killpoint;

/// Ages the log of `place` and its index by one, keeping `keep` older logs; with 0 the current one goes.
///
/// # Errors
/// The current log stays where it is.
pub(super) fn rotate(place: &Place, keep: u32) -> io::Result<()> {
    let state = Folder::open(&place.state, false)?;
    let elsewhere = place.elsewhere.as_deref().map(|path| Folder::open(path, true)).transpose()?;
    let logs = elsewhere.as_ref().unwrap_or(&state);
    let mut oldest = 0;
    while logs.status(&place.aged(oldest + 1).0)?.is_some() {
        oldest += 1;
    }
    for age in (0..=oldest).rev() {
        let (log, index) = place.aged(age);
        if age >= keep {
            logs.remove(&log)?;
            state.remove(&index)?;
        } else {
            let (older_log, older_index) = place.aged(age + 1);
            logs.rename(&log, &older_log)?;
            killpoint::pass("rotate-log");
            // Nothing under the older index's name may outlive a log without one.
            state.remove(&older_index)?;
            state.rename(&index, &older_index)?;
            killpoint::pass("rotate-index");
        }
    }
    killpoint::pass("rotated");
    Ok(())
}

/// Lets each index follow its log, where a rotation was cut short after the one and before the other.
pub(super) fn complete(place: &Place) -> io::Result<()> {
    let state = Folder::open(&place.state, false)?;
    let elsewhere = place.elsewhere.as_deref().map(|path| Folder::open(path, true)).transpose()?;
    let logs = elsewhere.as_ref().unwrap_or(&state);
    let mut age = 0;
    loop {
        let ((log, index), (older_log, older_index)) = (place.aged(age), place.aged(age + 1));
        let older = logs.status(&older_log)?;
        if let Some(older) = &older
            && state.status(&older_index)?.is_none()
            && state.file(&index, OFlag::O_RDONLY).is_ok_and(|file| index::log_of(&file) == Some(older.st_ino))
        {
            return state.rename(&index, &older_index);
        }
        // Logs are moved from the oldest on, so there may be one gap.
        if older.is_none() && (age > 0 && logs.status(&log)?.is_none()) {
            return Ok(());
        }
        age += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::model::log::Stream;
    use crate::model::names::{InstanceId, ServiceName};

    #[test]
    fn the_newest_older_logs_are_kept() {
        for (keep, rounds, expected) in [(0, 3, ""), (1, 3, "3"), (3, 2, "21"), (3, 5, "543")] {
            let dir = tempfile::tempdir().unwrap();
            let web = InstanceId { service: ServiceName::new("web").unwrap(), index: 1 };
            let place = Place::stream(dir.path(), &web, Stream::Stdout);
            for round in 1..=rounds {
                fs::write(dir.path().join("web.out.log"), round.to_string()).unwrap();
                fs::write(dir.path().join("web.out.idx"), round.to_string()).unwrap();
                rotate(&place, keep).unwrap();
            }
            complete(&place).unwrap();
            for name in ["web.out.log", "web.out.idx"] {
                assert!(!dir.path().join(name).exists());
                let older = (1..9).filter_map(|n| fs::read_to_string(dir.path().join(format!("{name}.{n}"))).ok());
                assert_eq!(older.collect::<String>(), expected, "keep {keep}");
            }
        }
    }

    #[test]
    fn an_index_follows_its_log_when_a_rotation_was_cut_short() {
        use std::os::unix::fs::MetadataExt;

        use crate::logs::index::IndexWriter;

        // With two older logs: killed after the last, the first or none of them was moved.
        for cut in 0..=2_u32 {
            let dir = tempfile::tempdir().unwrap();
            let web = InstanceId { service: ServiceName::new("web").unwrap(), index: 1 };
            let place = Place::stream(dir.path(), &web, Stream::Stdout);
            let path = |name: &std::ffi::OsStr| dir.path().join(name);
            let folder = Folder::open(dir.path(), false).unwrap();
            for _ in 0..3 {
                rotate(&place, 9).unwrap();
                fs::write(path(&place.log), "x").unwrap();
                let inode = fs::metadata(path(&place.log)).unwrap().ino();
                IndexWriter::open(&folder, &place.index, inode, 1).unwrap();
            }
            for age in (cut..=2).rev() {
                let ((log, index), (older_log, older_index)) = (place.aged(age), place.aged(age + 1));
                fs::rename(path(&log), path(&older_log)).unwrap();
                if age > cut {
                    fs::rename(path(&index), path(&older_index)).unwrap();
                }
            }
            complete(&place).unwrap();
            for age in (0..=3).filter(|age| *age != cut) {
                let (log, index) = place.aged(age);
                let file = fs::File::open(path(&index)).unwrap();
                assert_eq!(index::log_of(&file), Some(fs::metadata(path(&log)).unwrap().ino()), "{cut}: {age}");
            }
            complete(&place).unwrap();
            assert!(!path(&place.aged(cut).1).exists());
        }
    }
}
