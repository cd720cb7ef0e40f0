//! For [`crate::fuzzing`]: `state.json` as anybody may have left it.

use std::path::Path;

use crate::daemon::state::State;

/// Reads `state.json` with these bytes: what cannot be used is nothing, and nothing else happens.
pub fn state(data: &[u8], folder: &Path) {
    if std::fs::write(folder.join("state.json"), data).is_ok() {
        let Ok(state) = State::read(folder) else { return };
        let _ = state.by_instance().count();
        let again = State::read(folder).ok();
        assert!(again.is_some_and(|again| again == state), "read twice, it says two things");
    }
}
