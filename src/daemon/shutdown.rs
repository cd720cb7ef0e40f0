//! The end of the engine: last answers out, last records kept, nothing left behind.

use std::path::PathBuf;
use std::time::Duration;

use crate::daemon::engine::Engine;
use crate::daemon::ledger::FactNumber;
use crate::daemon::news::News;
use crate::daemon::state::Keeper;
use crate::history::run::RunRecord;
use crate::logs::blame::blame;
use crate::model::event::Fact;
use crate::model::service::Cause;
use crate::model::units::Timestamp;
use crate::os::clock;

/// How long children that lost the guardian have between TERM and KILL.
const ORPHANS_GET: Duration = Duration::from_secs(5);
/// How long the records of the last runs are waited for at the end; each of them waits for its lines a little less.
const RECORDS: Duration = Duration::from_secs(3);
/// How long what is left in the pipes may take to be kept.
const LAST_LINES: Duration = Duration::from_secs(10);

impl Engine {
    /// The guardian was killed: its children have lost their parent, so nobody may be left to run on unseen.
    pub(super) async fn without_guardian(&mut self) -> u8 {
        tracing::error!("the guardian is gone: every service is ended");
        crate::os::stderr::say("its guardian process is gone; every service is being ended");
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
        self.tell_what_is_left();
        let _ = self.stopping.send(true);
        self.doors.close().await;
        self.await_records().await;
        // With many services, or on a slow disk, their last lines may still be in the pipes, which end with us.
        let _ = tokio::time::timeout(LAST_LINES, self.pump.drain()).await;
        self.last_messages("everup has ended").await;
        self.end_memory();
        self.processes.quit(code);
        code
    }

    /// Waits for the last lines of the runs that are over, so that each of them is written down.
    async fn await_records(&mut self) {
        let until = tokio::time::Instant::now() + RECORDS;
        while !self.records_due.is_empty() {
            match tokio::time::timeout_at(until, self.news.recv()).await {
                Ok(Some(News::RunOver(record))) => self.run_over(*record),
                Ok(Some(
                    News::Core(_)
                    | News::Watch(_)
                    | News::Notify { .. }
                    | News::Interrupted
                    | News::Halted
                    | News::Told { .. }
                    | News::Rehearsed(_)
                    | News::DoorsClosed
                    | News::ReaderGone,
                )) => {}
                Ok(None) | Err(_) => break,
            }
        }
    }

    /// A run is over and its last lines are known: what they blame is told too.
    pub(super) fn run_over(&mut self, mut record: RunRecord) {
        if let Some(run) = record.run {
            self.records_due.remove(&(record.instance.clone(), run));
        }
        let place = self.place_blamed_by(&record);
        if let Some(place) = &place {
            record.evidence.push(format!("its output names {place}"));
        }
        if let (Some(place), Some(run)) = (&place, record.run) {
            self.blamed.insert(record.instance.clone(), (run, place.clone()));
            self.publish_due.get_or_insert(self.now.moment);
        }
        if let Some((number, fact)) = self.failures.remove(&record.instance) {
            self.tell_failure(number, fact, self.now.wall);
        }
        self.write_down(record);
    }

    /// The end of a run is complete.
    pub(super) fn write_down(&mut self, record: RunRecord) {
        self.publisher.keep_end(&record);
        if let Some(run) = record.run {
            self.forget_run(&record.instance, run);
        }
        let record = self.publisher.recorder.run(record);
        self.notifying.remember(&record);
    }

    /// Tells of a failure, now that the end of its run is written down, with the place it blames.
    pub(super) fn tell_failure(&mut self, number: FactNumber, mut fact: Fact, wall: Timestamp) -> Option<RunRecord> {
        let blamed = fact.instance().and_then(|id| self.blamed.get(&id)).filter(|(run, _)| Some(*run) == fact.run);
        if let Some((_, place)) = blamed {
            fact.message = Some(fact.message.map_or(place.clone(), |message| format!("{place} ({message})")));
        }
        self.publisher.fact_numbered(number, fact, wall)
    }

    /// The line of the source that a run which failed by itself blames in its last lines.
    fn place_blamed_by(&self, record: &RunRecord) -> Option<String> {
        let failed = record.cause == Cause::Exit && record.code.is_some_and(|code| code != 0);
        let lines: Vec<&str> = record.last_lines.iter().map(String::as_str).filter(|_| failed).collect();
        blame(&lines, &self.core.plan_of(&record.instance.service)?.cwd)
    }

    fn end_memory(&mut self) {
        self.publisher.recorder.flush(Duration::from_secs(2));
        let state = self.state(true);
        if let Ok(keeper) = Keeper::start(PathBuf::from(&self.core.plan().state_dir)) {
            std::mem::replace(&mut self.keeper, keeper).finish(state);
        }
    }
}
