//! Rows on the disk: written, rolled up, and forgotten in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, params};

use crate::history::row::signed;
use crate::history::usage::schema::{LEVELS, Level, ROLL_HOUR, ROLL_HOUR_IO, ROLL_MINUTE, ROLL_MINUTE_IO};
use crate::history::usage::{FINEST_S, Row, TRACK_BITS, Track, begins, slot};
use crate::model::plan::HistoryPlan;
use crate::model::units::Timestamp;

/// The most tracks there can be; the number 0 stands for none.
const MOST_TRACKS: i64 = (1 << TRACK_BITS) - 1;
/// Known numbers kept in memory; beyond that they are looked up.
const KNOWN: usize = 10_000;
/// So many rows of a table are forgotten at a time at most: a clock that jumps ahead must not empty the file at once.
const AT_ONCE: i64 = 20_000;
/// How long rows of 10 s and of a minute are kept.
const KEPT: [Duration; 2] = [Duration::from_secs(48 * 3_600), Duration::from_secs(30 * 24 * 3_600)];

/// The tracks that were used of late.
#[derive(Debug, Default)]
pub(in crate::history) struct Tracks(BTreeMap<Arc<Track>, Base>);

/// A track's number, and what its rows are told as differences from.
#[derive(Clone, Copy, Debug)]
struct Base {
    number: i64,
    memory: i64,
    counts: i64,
}

impl Tracks {
    /// What is known of its track; a new one unless there is one. None when all numbers are in use.
    fn of(&mut self, transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<Option<Base>> {
        if let Some(base) = self.0.get(&row.track) {
            return Ok(Some(*base));
        }
        let track = &row.track;
        let known = transaction
            .prepare_cached(
                "SELECT id, memory, counts FROM tracks \
                 WHERE service = ?1 AND idx = ?2 AND run = ?3 AND label = ?4 AND knows = ?5 ORDER BY id DESC LIMIT 1",
            )?
            .query_row(
                params![
                    track.instance.service.as_str(),
                    track.instance.index,
                    signed(track.run.0),
                    track.label,
                    knows(track)
                ],
                |found| Ok(Base { number: found.get(0)?, memory: found.get(1)?, counts: found.get(2)? }),
            )
            .optional()?;
        match known {
            Some(base) => Ok(Some(self.remember(track, base))),
            None => self.begin(transaction, row),
        }
    }

    /// Gives it a number of its own.
    fn begin(&mut self, transaction: &Transaction<'_>, row: &Row) -> rusqlite::Result<Option<Base>> {
        let newest: i64 = transaction.query_row("SELECT coalesce(max(id), 0) FROM tracks", [], |found| found.get(0))?;
        let number = if newest < MOST_TRACKS {
            newest + 1
        } else {
            // Numbers of tracks that were forgotten are used again.
            let gap: i64 = transaction.query_row(
                "SELECT min(id) + 1 FROM (SELECT 0 AS id UNION ALL SELECT id FROM tracks) t \
                 WHERE NOT EXISTS (SELECT 1 FROM tracks WHERE id = t.id + 1)",
                [],
                |found| found.get(0),
            )?;
            if gap > MOST_TRACKS {
                return Ok(None);
            }
            gap
        };
        let track = &row.track;
        let base = Base { number, memory: pages(row), counts: counts(row) };
        transaction
            .prepare_cached(
                "INSERT INTO tracks (id, service, idx, label, run, knows, last, memory, counts) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
            )?
            .execute(params![
                number,
                track.instance.service.as_str(),
                track.instance.index,
                track.label,
                signed(track.run.0),
                knows(track),
                begins(row.slot, FINEST_S),
                base.memory,
                base.counts
            ])?;
        Ok(Some(self.remember(track, base)))
    }

    fn remember(&mut self, track: &Arc<Track>, base: Base) -> Base {
        if self.0.len() >= KNOWN {
            self.0.clear();
        }
        self.0.insert(track.clone(), base);
        base
    }
}

fn pages(row: &Row) -> i64 {
    signed(row.memory_bytes.div_ceil(4_096))
}

/// Each up to a million; no machine has more.
fn counts(row: &Row) -> i64 {
    let within = |count: u32| i64::from(count.min(0xF_FFFF));
    within(row.open_fds) | within(row.threads) << 20 | within(row.processes.saturating_sub(1)) << 40
}

fn knows(track: &Track) -> i64 {
    i64::from(track.knows_bytes) | i64::from(track.knows_wait) << 1
}

/// The first number of the step with that number.
fn first_id(slot: i64) -> i64 {
    slot << TRACK_BITS
}

/// Writes rows; their minutes are then to be rolled up.
pub(in crate::history) fn insert(
    transaction: &Transaction<'_>,
    tracks: &mut Tracks,
    rows: &[Row],
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT OR IGNORE INTO rows_10s (id, cpu, memory, counts, switches, faults, probe) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut beside = transaction.prepare_cached(
        "INSERT OR REPLACE INTO io_10s (id, swap, read, written, wait_us, major) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?;
    let mut minute = None;
    for row in rows {
        let mut add = |base: Base| {
            let id = first_id(row.slot) | base.number;
            let added = statement.execute(params![
                id,
                row.cpu_percent.map(|percent| rounded(percent * 100.0)),
                pages(row) - base.memory,
                counts(row) - base.counts,
                signed(row.switches),
                signed(row.faults),
                row.probe_ms.map(|ms| rounded(ms * 10.0)),
            ])?;
            Ok::<_, rusqlite::Error>((added > 0).then_some(id))
        };
        let Some(base) = tracks.of(transaction, row)? else { continue };
        let id = match add(base)? {
            Some(id) => id,
            // The time of day was set back, and this time has a row already: both stay.
            None => match tracks.begin(transaction, row)?.map(&mut add).transpose()?.flatten() {
                Some(id) => id,
                None => continue,
            },
        };
        if row.swap_bytes > 0
            || row.read_bytes > 0
            || row.written_bytes > 0
            || row.io_wait_us > 0
            || row.major_faults > 0
        {
            beside.execute(params![
                id,
                signed(row.swap_bytes),
                signed(row.read_bytes),
                signed(row.written_bytes),
                signed(row.io_wait_us),
                signed(row.major_faults)
            ])?;
        }
        let of = row.slot.div_euclid(60 / FINEST_S);
        if minute.replace(of) != Some(of) {
            to_roll(transaction, 60, of)?;
        }
    }
    Ok(())
}

/// The nearest whole number that is not negative.
#[expect(clippy::cast_possible_truncation, reason = "a cast of floats stops at the ends")]
fn rounded(value: f64) -> i64 {
    value.round().max(0.0) as i64
}

fn to_roll(transaction: &Transaction<'_>, step_s: i64, slot: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("INSERT OR IGNORE INTO unrolled (step_s, slot) VALUES (?1, ?2)")?
        .execute([step_s, slot])
        .map(drop)
}

/// Makes the rows of every minute and hour that is over anew from finer ones; whether there was any.
///
/// What is to be rolled up stands in the file, so nothing is left out or counted twice after a crash.
pub(in crate::history) fn roll_up(transaction: &Transaction<'_>, now: Timestamp) -> rusqlite::Result<bool> {
    let minutes = over(transaction, 60, now)?;
    for minute in &minutes {
        let bounds = params![minute, first_id(minute * 6), first_id((minute + 1) * 6)];
        transaction.prepare_cached(ROLL_MINUTE)?.execute(bounds)?;
        transaction.prepare_cached(ROLL_MINUTE_IO)?.execute(bounds)?;
        rolled(transaction, 60, *minute)?;
        to_roll(transaction, 3_600, minute.div_euclid(60))?;
    }
    for hour in &over(transaction, 3_600, now)? {
        let bounds = params![hour, first_id(hour * 60), first_id((hour + 1) * 60)];
        transaction.prepare_cached(ROLL_HOUR)?.execute(bounds)?;
        transaction.prepare_cached(ROLL_HOUR_IO)?.execute(bounds)?;
        rolled(transaction, 3_600, *hour)?;
        transaction
            .prepare_cached(
                "UPDATE tracks SET last = max(last, ?1) \
                 WHERE id IN (SELECT id & 262143 FROM rows_1h WHERE id >= ?2 AND id < ?3)",
            )?
            .execute([begins(hour + 1, 3_600), first_id(*hour), first_id(hour + 1)])?;
    }
    Ok(!minutes.is_empty())
}

/// The steps to roll up that are not the current one: also those of the future, for the time of day was set back then.
fn over(transaction: &Transaction<'_>, step_s: i64, now: Timestamp) -> rusqlite::Result<Vec<i64>> {
    let mut statement =
        transaction.prepare_cached("SELECT slot FROM unrolled WHERE step_s = ?1 AND slot <> ?2 ORDER BY slot")?;
    statement.query_map([step_s, slot(now, step_s)], |row| row.get(0))?.collect()
}

fn rolled(transaction: &Transaction<'_>, step_s: i64, slot: i64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached("DELETE FROM unrolled WHERE step_s = ?1 AND slot = ?2")?
        .execute([step_s, slot])
        .map(drop)
}

/// Forgets rows that are older than they are kept.
pub(in crate::history) fn forget_old(
    connection: &mut Connection,
    tracks: &mut Tracks,
    plan: &HistoryPlan,
    now: Timestamp,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    for (place, level) in LEVELS.iter().enumerate() {
        let keep = KEPT.get(place).map_or(plan.keep, |most| plan.keep.min(*most));
        forget_below(&transaction, level, first_id(slot(now.before(keep), level.step_s)), AT_ONCE)?;
    }
    // A track's last row lies in the hour after `last` at most, until it is rolled up.
    let before = now.before(plan.keep).0.div_euclid(1_000) - 2 * 3_600;
    if transaction.execute("DELETE FROM tracks WHERE last < ?1", [before])? > 0 {
        tracks.0.clear();
    }
    transaction.commit()
}

/// Forgets at most `most` of a level's rows, those with numbers below `end`; how many it were.
fn forget_below(transaction: &Transaction<'_>, level: &Level, end: i64, most: i64) -> rusqlite::Result<usize> {
    let (rows, io) = (level.rows, level.io);
    let bound: Option<i64> = transaction
        .prepare_cached(&format!("SELECT id FROM {rows} WHERE id < ?1 ORDER BY id LIMIT 1 OFFSET ?2"))?
        .query_row([end, most], |row| row.get(0))
        .optional()?;
    let end = bound.unwrap_or(end);
    transaction.prepare_cached(&format!("DELETE FROM {io} WHERE id < ?1"))?.execute([end])?;
    transaction.prepare_cached(&format!("DELETE FROM {rows} WHERE id < ?1"))?.execute([end])
}

/// Forgets the oldest rows of the finest level that has any, about `excess` bytes; how many rows it were.
pub(in crate::history) fn forget_oldest(connection: &mut Connection, excess: i64) -> rusqlite::Result<usize> {
    let transaction = connection.transaction()?;
    let mut forgotten = 0;
    for level in &LEVELS {
        let most = (excess / level.row_bytes).clamp(1, AT_ONCE);
        forgotten = forget_below(&transaction, level, i64::MAX, most)?;
        if forgotten > 0 {
            break;
        }
    }
    transaction.commit()?;
    Ok(forgotten)
}
