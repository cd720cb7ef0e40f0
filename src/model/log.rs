//! `everup logs --json`, `GET /v1/services/{name}/logs`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::model::names::{Run, ServiceName};
use crate::model::units::Timestamp;

/// Which of a child's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stream {
    /// Descriptor 1; also both where they are merged into one file.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One line a child wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Version of this shape: 1.
    pub v: u32,
    /// When it arrived, to the precision of the time index.
    pub at: Timestamp,
    /// The service.
    pub service: ServiceName,
    /// The instance's name.
    pub instance: String,
    /// The run; 0 when the index does not know.
    pub run: Run,
    /// Which output.
    pub stream: Stream,
    /// The line without its newline; invalid UTF-8 replaced, at most 64 KiB (a longer one is split).
    pub line: String,
}

/// How much of a child's output there was since everup started, in bytes; nothing of it goes down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogBytes {
    /// Kept of stdout; also of both where they are merged.
    pub stdout: u64,
    /// Kept of stderr.
    pub stderr: u64,
    /// Not kept.
    pub dropped: u64,
}

/// What a reader that could not keep up is told instead of the lines it missed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Lost {
    /// How many.
    pub lost: u64,
}
