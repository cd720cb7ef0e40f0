//! Query.
/// Reads events and runs.
#[derive(Clone, Debug)]
pub struct Reader;
