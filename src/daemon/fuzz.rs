//! For [`crate::fuzzing`]: `state.json` as anybody may have left it.

use std::path::Path;

use crate::daemon::state::State;

/// Reads `state.json` with these bytes: what cannot be used is nothing, and nothing else happens.
pub fn state(data: &[u8], folder: &Path) {
    if std::fs::write(folder.join("state.json"), data).is_ok() {
        let state = State::read(folder);
        let _ = state.by_instance().count();
        assert_eq!(state, State::read(folder), "read twice, it says two things");
    }
}
