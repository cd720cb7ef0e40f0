//! Reads.
/// Reads what children wrote.
#[derive(Clone, Debug)]
pub struct Reader;
