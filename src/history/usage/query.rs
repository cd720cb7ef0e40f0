//! What was used in a span of time: from the level of rows that fits it, from what is not rolled up, and from what is
//! not written yet; then put together in equal steps.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rusqlite::{Connection, params};

use crate::history::query::UsageQuery;
use crate::history::row::{unsigned, word};
use crate::history::usage::schema::{LEVELS, Level};
use crate::history::usage::{EPOCH_S, FINEST_S, Row, TRACK_BITS, Track};
use crate::model::history::{HistoryReport, HistoryRow};
use crate::model::names::{InstanceId, Run, ServiceName};
use crate::model::units::{Timestamp, millis};

/// The most rows of a run in an answer where the step is not said …
const POINTS: i64 = 2_000;
/// … and where it is.
const MOST: i64 = 20_000;
/// The steps that are taken where none is said, in seconds: people think in these, and all but the first four are made
/// of whole minutes, then of whole hours.
const STEPS: [i64; 16] =
    [10, 20, 30, 60, 120, 300, 600, 1_200, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400, 7 * 86_400];

/// The shortest of the usual steps that is not shorter than this; beyond the last one whole multiples of it.
pub(in crate::history) fn usual_step(least_s: i64) -> i64 {
    let longest = STEPS[STEPS.len() - 1];
    STEPS.into_iter().find(|step| *step >= least_s).unwrap_or_else(|| (least_s + longest - 1) / longest * longest)
}

/// What is asked for, in seconds since [`EPOCH_S`].
#[derive(Clone, Debug)]
pub(in crate::history) struct Span {
    service: ServiceName,
    index: Option<u32>,
    since: i64,
    until: i64,
    step: Option<i64>,
}

impl Span {
    pub(in crate::history) fn of(query: &UsageQuery) -> Self {
        let seconds = |at: Timestamp| at.0.div_euclid(1_000) - EPOCH_S;
        let (since, until) = (seconds(query.since), seconds(query.until).max(seconds(query.since)) + 1);
        let step = query.step.map(|step| {
            let step = i64::try_from(millis(step).div_ceil(1_000)).unwrap_or(i64::MAX / 2);
            let step = (step + FINEST_S - 1) / FINEST_S * FINEST_S;
            if (until - since) / step.max(1) > MOST { usual_step((until - since) / MOST) } else { step }
        });
        Self {
            service: query.service.clone(),
            index: query.index,
            since,
            until,
            step: step.map(|step| step.max(FINEST_S)),
        }
    }

    fn means(&self, track: &Track) -> bool {
        track.instance.service == self.service && self.index.is_none_or(|index| index == track.instance.index)
    }

    fn holds(&self, at: i64, lasts: i64) -> bool {
        at + lasts > self.since && at < self.until
    }

    /// The step of the answer and the level it is made from: the finest that has all there is of this time, and never
    /// one coarser than the step.
    fn choose(&self, oldest: [Option<i64>; 3]) -> (i64, &'static Level) {
        let has_all = |place: usize| {
            // Something coarser goes back further, to a time that is asked for.
            let begins = oldest[place].unwrap_or(i64::MAX);
            !(place + 1..LEVELS.len()).any(|coarser| {
                oldest[coarser]
                    .is_some_and(|at| at + LEVELS[coarser].step_s <= begins.min(self.until) && begins > self.since)
            })
        };
        let step = self.step.unwrap_or_else(|| {
            let fits = (0..LEVELS.len()).find(|place| has_all(*place)).unwrap_or(0);
            usual_step(((self.until - self.since) / POINTS).max(LEVELS[fits].step_s))
        });
        let level = LEVELS.iter().rfind(|level| step % level.step_s == 0).unwrap_or(&LEVELS[0]);
        (step, level)
    }
}

/// Something used by one run in a row or a step.
#[derive(Clone, Debug)]
struct Piece {
    /// Seconds since [`EPOCH_S`].
    at: i64,
    lasts: i64,
    track: Arc<Track>,
    /// Of how many rows of ten seconds it is made.
    weight: f64,
    /// Mean, least, most.
    cpu: Option<[f64; 3]>,
    memory: [f64; 3],
    processes: u32,
    threads: u32,
    open_fds: u32,
    swap: u64,
    read: u64,
    written: u64,
    wait_us: u64,
    switches: u64,
    faults: u64,
    major: u64,
    /// Mean, most.
    probe: Option<[f64; 2]>,
}

/// What the file holds of it.
#[derive(Debug, Default)]
pub(in crate::history) struct Stored {
    /// None without a file.
    step: Option<i64>,
    pieces: Vec<Piece>,
}

/// Asks the file.
pub(in crate::history) fn stored(connection: &Connection, span: &Span) -> rusqlite::Result<Stored> {
    let mut oldest = [None; 3];
    for (place, level) in LEVELS.iter().enumerate() {
        let first: Option<i64> =
            connection.query_row(&format!("SELECT min(id) FROM {}", level.rows), [], |row| row.get(0))?;
        oldest[place] = first.map(|id| (id >> TRACK_BITS) * level.step_s);
    }
    let (step, level) = span.choose(oldest);
    let tracks = tracks(connection, span)?;
    let mut found = Found { connection, span, tracks: &tracks, pieces: vec![] };
    found.read(level, span.since, span.until)?;
    // What is not rolled up yet is there in finer rows; of the latest minute in the finest.
    for (coarse, fine) in LEVELS.iter().skip(1).zip(&LEVELS).rev().filter(|(coarse, _)| coarse.step_s <= level.step_s) {
        let mut statement = connection.prepare_cached("SELECT slot FROM unrolled WHERE step_s = ?1 ORDER BY slot")?;
        let slots: Vec<i64> =
            statement.query_map([coarse.step_s], |row| row.get(0))?.collect::<rusqlite::Result<_>>()?;
        for at in slots.into_iter().map(|slot| slot * coarse.step_s).filter(|at| span.holds(*at, coarse.step_s)) {
            found.forget(at, coarse.step_s);
            found.read(fine, at, at + coarse.step_s)?;
        }
    }
    Ok(Stored { step: Some(step), pieces: found.pieces })
}

/// A track, and what its rows are told as differences from.
struct Known {
    track: Arc<Track>,
    memory: i64,
    counts: i64,
}

fn tracks(connection: &Connection, span: &Span) -> rusqlite::Result<BTreeMap<i64, Known>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, service, idx, label, run, knows, memory, counts FROM tracks \
         WHERE service = ?1 AND (?2 IS NULL OR idx = ?2)",
    )?;
    let mut rows = statement.query(params![span.service.as_str(), span.index])?;
    let mut tracks = BTreeMap::new();
    while let Some(row) = rows.next()? {
        let service: String = row.get(1)?;
        let Some(service) = word(&service) else { continue };
        let knows: i64 = row.get(5)?;
        let track = Track {
            instance: InstanceId { service, index: row.get(2)? },
            label: row.get(3)?,
            run: Run(unsigned(row.get(4)?)),
            knows_bytes: knows & 1 != 0,
            knows_wait: knows & 2 != 0,
        };
        tracks.insert(row.get(0)?, Known { track: Arc::new(track), memory: row.get(6)?, counts: row.get(7)? });
    }
    Ok(tracks)
}

/// What was read so far.
struct Found<'a> {
    connection: &'a Connection,
    span: &'a Span,
    tracks: &'a BTreeMap<i64, Known>,
    pieces: Vec<Piece>,
}

impl Found<'_> {
    /// Reads the rows of a level that lie in this time.
    fn read(&mut self, level: &Level, since: i64, until: i64) -> rusqlite::Result<()> {
        let Level { step_s, rows, io, .. } = *level;
        let spread = if step_s == FINEST_S {
            "0, 0, 0, 0, 0, 0"
        } else {
            "r.gaps, r.cpu_below, r.cpu_above, r.memory_below, r.memory_above, r.probe_above"
        };
        let sql = format!(
            "SELECT r.id, r.cpu, r.memory, r.counts, r.switches, r.faults, r.probe, {spread}, \
             io.swap, io.read, io.written, io.wait_us, io.major \
             FROM {rows} r LEFT JOIN {io} io ON io.id = r.id WHERE r.id >= ?1 AND r.id < ?2 \
             AND (r.id & 262143) IN (SELECT id FROM tracks WHERE service = ?3 AND (?4 IS NULL OR idx = ?4))"
        );
        let bound = |seconds: i64| seconds.div_euclid(step_s) << TRACK_BITS;
        let last = until + step_s - 1;
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows =
            statement.query(params![bound(since), bound(last), self.span.service.as_str(), self.span.index])?;
        while let Some(row) = rows.next()? {
            let id: i64 = row.get(0)?;
            if let Some(known) = self.tracks.get(&(id & ((1 << TRACK_BITS) - 1))) {
                self.pieces.push(piece(row, known, (id >> TRACK_BITS) * step_s, step_s)?);
            }
        }
        Ok(())
    }

    /// Drops what was read of this time.
    fn forget(&mut self, at: i64, lasts: i64) {
        self.pieces.retain(|piece| piece.at < at || piece.at >= at + lasts);
    }
}

fn piece(row: &rusqlite::Row<'_>, known: &Known, at: i64, lasts: i64) -> rusqlite::Result<Piece> {
    let number = |column: usize| row.get::<_, Option<i64>>(column).map(|value| value.unwrap_or(0));
    let spread = |value: i64, below: i64, above: i64, unit: f64| {
        [value as f64 * unit, (value - below) as f64 * unit, (value + above) as f64 * unit]
    };
    let (cpu, probe): (Option<i64>, Option<i64>) = (row.get(1)?, row.get(6)?);
    let (cpu_below, cpu_above, probe_above) = (number(8)?, number(9)?, number(12)?);
    let counts = known.counts + number(3)?;
    let narrow = |value: i64| u32::try_from(value & 0xF_FFFF).unwrap_or(0);
    Ok(Piece {
        at,
        lasts,
        track: known.track.clone(),
        weight: (lasts / FINEST_S - number(7)?).max(1) as f64,
        cpu: cpu.map(|cpu| spread(cpu, cpu_below, cpu_above, 0.01)),
        memory: spread(known.memory + number(2)?, number(10)?, number(11)?, 4_096.0),
        processes: narrow((counts >> 40) + 1),
        threads: narrow(counts >> 20),
        open_fds: narrow(counts),
        switches: unsigned(number(4)?),
        faults: unsigned(number(5)?),
        probe: probe.map(|probe| spread(probe, 0, probe_above, 0.1)).map(|[mean, _, most]| [mean, most]),
        swap: unsigned(number(13)?),
        read: unsigned(number(14)?),
        written: unsigned(number(15)?),
        wait_us: unsigned(number(16)?),
        major: unsigned(number(17)?),
    })
}

/// Puts together what is stored, what waits to be written, and what is not complete.
pub(in crate::history) fn report(
    query: &UsageQuery,
    span: &Span,
    stored: Stored,
    pending: &[Arc<[Row]>],
    open: &[Row],
) -> HistoryReport {
    let mut pieces = stored.pieces;
    let key = |piece: &Piece| (piece.at, piece.lasts, piece.track.instance.index, piece.track.run);
    // A row that is just being handed on is seen on both sides.
    let mut seen: BTreeSet<_> = pieces.iter().filter(|piece| piece.lasts == FINEST_S).map(key).collect();
    for row in pending.iter().flat_map(|rows| rows.iter()).chain(open) {
        let piece = Piece::of(row);
        if span.means(&row.track) && span.holds(piece.at, piece.lasts) && seen.insert(key(&piece)) {
            pieces.push(piece);
        }
    }
    let step = stored.step.unwrap_or_else(|| span.choose([None; 3]).0);
    let step = if span.step.is_some() { step } else { step.max(usual_step(apart(&pieces))) };
    let mut steps: BTreeMap<(i64, u32, Run, &str), Sum> = BTreeMap::new();
    for piece in pieces.iter().filter(|piece| span.holds(piece.at, piece.lasts)) {
        let at = piece.at.div_euclid(step) * step;
        let track = &piece.track;
        steps.entry((at, track.instance.index, track.run, track.label.as_str())).or_default().add(piece);
    }
    let rows = steps.into_iter().map(|((at, _, run, label), sum)| {
        let mut row = sum.row(Timestamp((at + EPOCH_S) * 1_000), label, run, step > FINEST_S);
        if !query.metrics.is_empty() {
            row.only(&query.metrics);
        }
        row
    });
    HistoryReport {
        v: 1,
        service: query.service.clone(),
        since: query.since,
        until: query.until,
        step_s: step.unsigned_abs(),
        rows: rows.collect(),
    }
}

/// How far apart the rows of one run lie, where usage is read seldom: a shorter step would show gaps that are none.
fn apart(pieces: &[Piece]) -> i64 {
    let mut last: BTreeMap<(u32, Run), i64> = BTreeMap::new();
    let mut sorted: Vec<&Piece> = pieces.iter().collect();
    sorted.sort_by_key(|piece| piece.at);
    let mut distances: Vec<i64> = vec![];
    for piece in sorted {
        if let Some(before) = last.insert((piece.track.instance.index, piece.track.run), piece.at) {
            distances.push(piece.at - before);
        }
    }
    distances.sort_unstable();
    // Most of them: now and then a row is missing.
    distances.get(distances.len() * 3 / 4).copied().unwrap_or(FINEST_S)
}

impl Piece {
    fn of(row: &Row) -> Self {
        Self {
            at: row.slot * FINEST_S,
            lasts: FINEST_S,
            track: row.track.clone(),
            weight: 1.0,
            cpu: row.cpu_percent.map(|percent| [percent; 3]),
            memory: [row.memory_bytes as f64; 3],
            processes: row.processes,
            threads: row.threads,
            open_fds: row.open_fds,
            swap: row.swap_bytes,
            read: row.read_bytes,
            written: row.written_bytes,
            wait_us: row.io_wait_us,
            switches: row.switches,
            faults: row.faults,
            major: row.major_faults,
            probe: row.probe_ms.map(|ms| [ms; 2]),
        }
    }
}

/// The pieces of one step.
#[derive(Debug, Default)]
struct Sum {
    weight: f64,
    memory: Option<[f64; 3]>,
    cpu: Option<([f64; 3], f64)>,
    probe: Option<([f64; 2], f64)>,
    most: [u64; 4],
    read: Option<u64>,
    written: Option<u64>,
    wait_us: Option<u64>,
    counts: [u64; 3],
}

impl Sum {
    fn add(&mut self, piece: &Piece) {
        let weight = piece.weight;
        self.weight += weight;
        self.memory = Some(spread(self.memory, piece.memory, weight));
        if let Some(cpu) = piece.cpu {
            let (sum, known) = self.cpu.map_or((None, 0.0), |(sum, known)| (Some(sum), known));
            self.cpu = Some((spread(sum, cpu, weight), known + weight));
        }
        if let Some([mean, most]) = piece.probe {
            let ([sum, highest], known) = self.probe.unwrap_or_default();
            self.probe = Some(([sum + mean * weight, highest.max(most)], known + weight));
        }
        let gauges = [u64::from(piece.processes), u64::from(piece.threads), u64::from(piece.open_fds), piece.swap];
        self.most.iter_mut().zip(gauges).for_each(|(most, value)| *most = (*most).max(value));
        if piece.track.knows_bytes {
            self.read = Some(self.read.unwrap_or(0).saturating_add(piece.read));
            self.written = Some(self.written.unwrap_or(0).saturating_add(piece.written));
        }
        if piece.track.knows_wait {
            self.wait_us = Some(self.wait_us.unwrap_or(0).saturating_add(piece.wait_us));
        }
        let counts = [piece.switches, piece.faults, piece.major];
        self.counts.iter_mut().zip(counts).for_each(|(sum, value)| *sum = sum.saturating_add(value));
    }

    fn row(self, at: Timestamp, label: &str, run: Run, ranges: bool) -> HistoryRow {
        let digits = |value: f64, digits: f64| (value * digits).round() / digits;
        let cpu = self.cpu.map(|([sum, least, most], known)| [sum / known, least, most].map(|cpu| digits(cpu, 100.0)));
        let [sum, least, most] = self.memory.unwrap_or_default();
        let memory = [sum / self.weight.max(1.0), least, most].map(whole);
        let probe = self.probe.map(|([sum, most], known)| [sum / known, most].map(|ms| digits(ms, 10.0)));
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        let [processes, threads, open_fds, swap] = self.most;
        let [switches, faults, major] = self.counts;
        HistoryRow {
            at,
            instance: label.to_owned(),
            run,
            cpu_percent: cpu.map(|[mean, ..]| mean),
            cpu_percent_min: cpu.filter(|_| ranges).map(|[_, least, _]| least),
            cpu_percent_max: cpu.filter(|_| ranges).map(|[.., most]| most),
            memory_bytes: Some(memory[0]),
            memory_bytes_min: Some(memory[1]).filter(|_| ranges),
            memory_bytes_max: Some(memory[2]).filter(|_| ranges),
            swap_bytes: Some(swap),
            processes: Some(narrow(processes)),
            threads: Some(narrow(threads)),
            open_fds: Some(narrow(open_fds)),
            read_bytes: self.read,
            written_bytes: self.written,
            io_wait_ms: self.wait_us.map(|us| digits(us as f64 / 1_000.0, 1_000.0)),
            switches: Some(switches),
            faults: Some(faults),
            major_faults: Some(major),
            probe_ms: probe.map(|[mean, _]| mean),
            probe_ms_max: probe.filter(|_| ranges).map(|[_, most]| most),
        }
    }
}

/// Adds a mean, by its weight, and widens the range.
fn spread(sum: Option<[f64; 3]>, [mean, least, most]: [f64; 3], weight: f64) -> [f64; 3] {
    match sum {
        None => [mean * weight, least, most],
        Some([sum, lowest, highest]) => [sum + mean * weight, lowest.min(least), highest.max(most)],
    }
}

/// The nearest whole number of a value that is not negative.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast of floats stops at the ends")]
fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}
