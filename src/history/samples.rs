//! Records for tests, every field told apart.

use crate::history::run::RunRecord;
use crate::model::event::{EventRecord, EventWord};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::service::{Cause, Certainty};
use crate::model::signal::Signal;
use crate::model::units::Timestamp;
use crate::model::why::{Change, Trend};

pub(super) const DAY_MS: i64 = 24 * 3_600_000;

pub(super) fn web() -> ServiceName {
    ServiceName::new("web").unwrap()
}

/// Event `seq`, a second after the one before; an end of `web`'s run of that number.
pub(super) fn event(seq: u64) -> EventRecord {
    EventRecord {
        v: 1,
        at: Timestamp(1_763_632_800_000 + i64::try_from(seq).unwrap() * 1_000),
        seq,
        event: EventWord::Ended,
        service: Some(web()),
        instance: Some("web".to_owned()),
        run: Some(Run(seq)),
        cause: Some(Cause::SpawnError),
        certainty: Some(Certainty::Likely),
        code: Some(3),
        signal: Some(Signal::KILL),
        pid: Some(4_711),
        ran_ms: Some(2_300),
        delay_ms: Some(250),
        message: Some("exit code 3 \u{1f980}\0 'quoted'".to_owned()),
    }
}

/// The end of run `number` of `web/index`.
pub(super) fn run(index: u32, number: u64) -> RunRecord {
    RunRecord {
        instance: InstanceId { service: web(), index },
        label: format!("web/{index}"),
        run: Some(Run(number)),
        started: Some(Timestamp(1_763_632_800_000)),
        ended: Timestamp(1_763_632_800_000 + i64::try_from(number).unwrap() * 1_000),
        cause: Cause::Oom,
        certainty: Certainty::Certain,
        code: None,
        signal: Some(Signal::KILL),
        ran_ms: Some(9_000),
        evidence: vec!["the kernel's log names it".to_owned()],
        last_lines: vec!["one".to_owned(), "two".to_owned()],
        changed_before: vec![Change { at: Timestamp(7), what: "env.DATABASE_URL".to_owned() }],
        then: Some("restarted after 250ms".to_owned()),
        trend: Some(Trend { over_ms: 7, memory_bytes_per_minute: Some(0.5), max_fds: Some(64), ..Trend::default() }),
    }
}
