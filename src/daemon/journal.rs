//! everup's own log: `.everup/everup.log`, rotated once it is full. Its trouble is nobody's trouble.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Where a file ends and the next begins.
const FULL: u64 = 4 << 20;

/// Begins the log in `dir`; `verbose` adds what is of use to everup's own developers.
pub(super) fn begin(dir: &Path, verbose: bool) {
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let targets = tracing_subscriber::filter::Targets::new().with_target("everup", level);
    let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_target(false).with_writer(Journal::new(dir));
    // A second engine in one process exists only in tests; the first log goes on.
    let _ = tracing_subscriber::registry().with(targets).with(layer).try_init();
}

#[derive(Debug)]
struct Journal {
    path: PathBuf,
    file: Mutex<Option<(File, u64)>>,
}

impl Journal {
    fn new(dir: &Path) -> Self {
        Self { path: dir.join("everup.log"), file: Mutex::new(None) }
    }

    fn append(&self, line: &[u8]) -> io::Result<()> {
        let mut slot = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.as_ref().is_none_or(|(_, length)| *length >= FULL) {
            if slot.is_some() {
                std::fs::rename(&self.path, self.path.with_extension("log.1"))?;
            }
            let file = File::options().create(true).append(true).open(&self.path)?;
            let length = file.metadata()?.len();
            *slot = Some((file, length));
        }
        if let Some((file, length)) = slot.as_mut() {
            file.write_all(line)?;
            *length += line.len() as u64;
        }
        Ok(())
    }
}

/// One line on its way into the journal.
struct Line<'a>(&'a Journal);

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A log that cannot be written is missing; nothing waits for it.
        let _ = self.0.append(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Journal {
    type Writer = Line<'a>;
    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}
