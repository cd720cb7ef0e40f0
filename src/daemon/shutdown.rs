//! The end of the engine: last answers out, last records kept, nothing left behind.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::engine::Engine;
use crate::daemon::news::News;
use crate::daemon::state::Keeper;
use crate::history::run::RunRecord;
use crate::os::clock;

/// How long children that lost the guardian have between TERM and KILL.
const ORPHANS_GET: Duration = Duration::from_secs(5);
/// How long the records of the last runs are waited for at the end; each of them waits for its lines a little less.
const RECORDS: Duration = Duration::from_secs(3);

impl Engine {
    /// The guardian was killed: its children have lost their parent, so nobody may be left to run on unseen.
    pub(super) async fn without_guardian(&mut self) -> u8 {
        tracing::error!("the guardian is gone: every service is ended");
        eprintln!("everup: its guardian process is gone; every service is being ended");
        let until = clock::now().moment.after(ORPHANS_GET);
        while self.processes.end_orphans(clock::now().moment >= until) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let _ = self.stopping.send(true);
        self.doors.close().await;
        self.end_memory();
        1
    }

    pub(super) async fn finish(&mut self) -> u8 {
        let code = self.exit_code.unwrap_or(1);
        self.publish();
        let _ = self.stopping.send(true);
        self.doors.close().await;
        self.await_records().await;
        self.end_memory();
        self.processes.quit(code);
        code
    }

    /// Waits for the last lines of the runs that are over, so that each of them is written down.
    async fn await_records(&mut self) {
        let until = tokio::time::Instant::now() + RECORDS;
        while self.records_due > 0 {
            match tokio::time::timeout_at(until, self.news.recv()).await {
                Ok(Some(News::RunOver(record))) => self.run_over(*record),
                Ok(Some(News::Core(_) | News::Notify { .. } | News::Interrupted | News::Halted | News::ReaderGone)) => {
                }
                Ok(None) | Err(_) => break,
            }
        }
    }

    pub(super) fn run_over(&mut self, record: RunRecord) {
        self.records_due = self.records_due.saturating_sub(1);
        self.publisher.recorder.run(record);
    }

    fn end_memory(&mut self) {
        self.publisher.recorder.flush(Duration::from_secs(2));
        let state = self.state(true);
        if let Ok(keeper) = Keeper::start(PathBuf::from(&self.core.plan().state_dir)) {
            std::mem::replace(&mut self.keeper, keeper).finish(state);
        }
    }
}
