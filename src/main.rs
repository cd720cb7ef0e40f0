//! The `everup` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    everup::cli::run()
}
