//! What everup says when nobody asked.

use std::fmt::Display;
use std::io::Write;

/// Says one line, as everup. A stderr that cannot be written, closed or full, is no reason to die, as it would be for
/// `eprintln!`.
pub fn say(line: impl Display) {
    let _ = writeln!(std::io::stderr(), "everup: {line}");
}
