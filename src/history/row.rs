//! Between rows and records.

use rusqlite::{Row, params};
use serde::Deserialize;
use serde::de::value::{Error as WordError, StrDeserializer};

use crate::history::run::RunRecord;
use crate::model::event::EventRecord;
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::signal::Signal;
use crate::model::units::Timestamp;

/// Inserts one event, unless it is there.
pub(super) const INSERT_EVENT: &str = "INSERT INTO events \
    (at, seq, event, service, instance, run, cause, certainty, code, signal, pid, ran_ms, delay_ms, message) \
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14) ON CONFLICT DO NOTHING";

/// The columns [`event`] reads, in its order.
pub(super) const EVENT_COLUMNS: &str =
    "at, seq, event, service, instance, run, cause, certainty, code, signal, pid, ran_ms, delay_ms, message";

/// Inserts one end of a run, unless that run's is there.
pub(super) const INSERT_RUN: &str = "INSERT INTO runs \
    (service, idx, label, run, started, ended, cause, certainty, code, signal, ran_ms, evidence, last_lines, \
    changed_before, then_done, trend) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16) \
    ON CONFLICT DO NOTHING";

/// The columns [`run`] reads, in its order.
pub(super) const RUN_COLUMNS: &str = "service, idx, label, run, started, ended, cause, certainty, code, signal, ran_ms, \
    evidence, last_lines, changed_before, then_done, trend";

/// The same of a file of version 1, which has no trends.
pub(super) const RUN_COLUMNS_1: &str = "service, idx, label, run, started, ended, cause, certainty, code, signal, ran_ms, \
    evidence, last_lines, changed_before, then_done, NULL";

/// Runs [`INSERT_EVENT`] for `record`.
pub(super) fn insert_event(statement: &mut rusqlite::Statement<'_>, record: &EventRecord) -> rusqlite::Result<()> {
    let inserted = statement.execute(params![
        record.at.0,
        signed(record.seq),
        record.event.to_string(),
        record.service.as_ref().map(ServiceName::as_str),
        record.instance,
        record.run.map(|run| signed(run.0)),
        record.cause.map(|cause| cause.to_string()),
        record.certainty.map(|certainty| certainty.to_string()),
        record.code,
        record.signal.map(|signal| signal.to_string()),
        record.pid,
        record.ran_ms.map(signed),
        record.delay_ms.map(signed),
        record.message,
    ]);
    inserted.map(drop)
}

/// Runs [`INSERT_RUN`] for `record`.
pub(super) fn insert_run(statement: &mut rusqlite::Statement<'_>, record: &RunRecord) -> rusqlite::Result<()> {
    let inserted = statement.execute(params![
        record.instance.service.as_str(),
        record.instance.index,
        record.label,
        record.run.map(|run| signed(run.0)),
        record.started.map(|at| at.0),
        record.ended.0,
        record.cause.to_string(),
        record.certainty.to_string(),
        record.code,
        record.signal.map(|signal| signal.to_string()),
        record.ran_ms.map(signed),
        json(&record.evidence),
        json(&record.last_lines),
        json(&record.changed_before),
        record.then,
        record.trend.as_ref().and_then(|trend| serde_json::to_string(trend).ok()),
    ]);
    inserted.map(drop)
}

/// Reads [`EVENT_COLUMNS`]; none when a word in it is not known here.
pub(super) fn event(row: &Row<'_>) -> rusqlite::Result<Option<EventRecord>> {
    let word_of_event: String = row.get(2)?;
    let (Some(event), Some(service), Some(cause), Some(certainty), Some(signal)) =
        (word(&word_of_event), optional(row, 3)?, optional(row, 6)?, optional(row, 7)?, optional::<Signal>(row, 9)?)
    else {
        return Ok(None);
    };
    Ok(Some(EventRecord {
        v: 1,
        at: Timestamp(row.get(0)?),
        seq: unsigned(row.get(1)?),
        event,
        service,
        instance: row.get(4)?,
        run: row.get::<_, Option<i64>>(5)?.map(|run| Run(unsigned(run))),
        cause,
        certainty,
        code: row.get(8)?,
        signal,
        pid: row.get(10)?,
        ran_ms: row.get::<_, Option<i64>>(11)?.map(unsigned),
        delay_ms: row.get::<_, Option<i64>>(12)?.map(unsigned),
        message: row.get(13)?,
    }))
}

/// Reads [`RUN_COLUMNS`]; none when a word in it is not known here.
pub(super) fn run(row: &Row<'_>) -> rusqlite::Result<Option<RunRecord>> {
    let (service, cause, certainty): (String, String, String) = (row.get(0)?, row.get(6)?, row.get(7)?);
    let (Some(service), Some(cause), Some(certainty), Some(signal)) =
        (word(&service), word(&cause), word(&certainty), optional::<Signal>(row, 9)?)
    else {
        return Ok(None);
    };
    let lists: (String, String, String) = (row.get(11)?, row.get(12)?, row.get(13)?);
    let (Ok(evidence), Ok(last_lines), Ok(changed_before)) =
        (serde_json::from_str(&lists.0), serde_json::from_str(&lists.1), serde_json::from_str(&lists.2))
    else {
        return Ok(None);
    };
    Ok(Some(RunRecord {
        instance: InstanceId { service, index: row.get(1)? },
        label: row.get(2)?,
        run: row.get::<_, Option<i64>>(3)?.map(|run| Run(unsigned(run))),
        started: row.get::<_, Option<i64>>(4)?.map(Timestamp),
        ended: Timestamp(row.get(5)?),
        cause,
        certainty,
        code: row.get(8)?,
        signal,
        ran_ms: row.get::<_, Option<i64>>(10)?.map(unsigned),
        evidence,
        last_lines,
        changed_before,
        then: row.get(14)?,
        // One that cannot be read is none: the end matters more.
        trend: row.get::<_, Option<String>>(15)?.and_then(|trend| serde_json::from_str(&trend).ok()),
    }))
}

/// A word or name as it is written in JSON; none when it is not known.
pub(super) fn word<'a, T: Deserialize<'a>>(text: &'a str) -> Option<T> {
    T::deserialize(StrDeserializer::<WordError>::new(text)).ok()
}

/// A word that may be absent: outer none when it is there but not known.
#[expect(clippy::option_option, reason = "absent and unknown are two things here")]
fn optional<T: for<'a> Deserialize<'a>>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Option<T>>> {
    Ok(match row.get::<_, Option<String>>(column)? {
        None => Some(None),
        Some(text) => word(&text).map(Some),
    })
}

fn json<T: serde::Serialize>(list: &[T]) -> String {
    serde_json::to_string(list).unwrap_or_else(|_| "[]".to_owned())
}

/// SQLite's integers are signed; what does not fit stops at the end of them.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The way back of [`signed`].
pub(super) fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}
