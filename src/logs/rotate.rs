//! Makes room for a new log: the current one becomes `.1`, `.1` becomes `.2`, and what is beyond `keep` goes.

use std::io;

use crate::logs::folder::Folder;
use crate::logs::names::Place;

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
            // Nothing under the older index's name may outlive a log without one.
            state.remove(&older_index)?;
            state.rename(&index, &older_index)?;
        }
    }
    Ok(())
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
            for name in ["web.out.log", "web.out.idx"] {
                assert!(!dir.path().join(name).exists());
                let older = (1..9).filter_map(|n| fs::read_to_string(dir.path().join(format!("{name}.{n}"))).ok());
                assert_eq!(older.collect::<String>(), expected, "keep {keep}");
            }
        }
    }
}
