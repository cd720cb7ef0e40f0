//! The tables and views of usage, and the statements that make coarse rows of fine ones.
//!
//! Compact on purpose: a column takes a byte at least in every row, 0 and 1 take no more than that, and other integers
//! as few as they need. Units: `cpu` 0.01 % of one core · `memory` 4 KiB · `counts` open descriptors + threads << 20 +
//! (processes - 1) << 40 · `probe` 0.1 ms · `below` and `above` are how far the least and the most lie from the mean ·
//! `gaps` how many of its ten seconds have no row. `memory` and `counts` of a row are differences from those of its track,
//! for they change little. The views speak in plain units.

use crate::history::usage::EPOCH_S;

/// The second step of the file's shape.
pub(in crate::history) const STEP: &str = "
    ALTER TABLE runs ADD COLUMN trend TEXT;
    CREATE TABLE tracks (
        id INTEGER PRIMARY KEY, service TEXT NOT NULL, idx INTEGER NOT NULL, label TEXT NOT NULL, run INTEGER NOT NULL,
        knows INTEGER NOT NULL, last INTEGER NOT NULL, memory INTEGER NOT NULL, counts INTEGER NOT NULL);
    CREATE INDEX tracks_service ON tracks (service, idx, run);
    CREATE TABLE rows_10s (
        id INTEGER PRIMARY KEY, cpu INTEGER, memory INTEGER NOT NULL, counts INTEGER NOT NULL,
        switches INTEGER NOT NULL, faults INTEGER NOT NULL, probe INTEGER);
    CREATE TABLE rows_1m (
        id INTEGER PRIMARY KEY, gaps INTEGER NOT NULL, cpu INTEGER, cpu_below INTEGER, cpu_above INTEGER,
        memory INTEGER NOT NULL, memory_below INTEGER NOT NULL, memory_above INTEGER NOT NULL, counts INTEGER NOT NULL,
        switches INTEGER NOT NULL, faults INTEGER NOT NULL, probe INTEGER, probe_above INTEGER);
    CREATE TABLE rows_1h (
        id INTEGER PRIMARY KEY, gaps INTEGER NOT NULL, cpu INTEGER, cpu_below INTEGER, cpu_above INTEGER,
        memory INTEGER NOT NULL, memory_below INTEGER NOT NULL, memory_above INTEGER NOT NULL, counts INTEGER NOT NULL,
        switches INTEGER NOT NULL, faults INTEGER NOT NULL, probe INTEGER, probe_above INTEGER);
    CREATE TABLE io_10s (
        id INTEGER PRIMARY KEY, swap INTEGER NOT NULL, read INTEGER NOT NULL, written INTEGER NOT NULL,
        wait_us INTEGER NOT NULL, major INTEGER NOT NULL);
    CREATE TABLE io_1m (
        id INTEGER PRIMARY KEY, swap INTEGER NOT NULL, read INTEGER NOT NULL, written INTEGER NOT NULL,
        wait_us INTEGER NOT NULL, major INTEGER NOT NULL);
    CREATE TABLE io_1h (
        id INTEGER PRIMARY KEY, swap INTEGER NOT NULL, read INTEGER NOT NULL, written INTEGER NOT NULL,
        wait_us INTEGER NOT NULL, major INTEGER NOT NULL);
    CREATE TABLE unrolled (step_s INTEGER NOT NULL, slot INTEGER NOT NULL, PRIMARY KEY (step_s, slot)) WITHOUT ROWID;
    CREATE VIEW usage AS SELECT
        strftime('%Y-%m-%dT%H:%M:%SZ', (r.id >> 18) * 10 + 1735689600, 'unixepoch') AS time,
        t.service, t.label AS instance, t.run, r.cpu / 100.0 AS cpu_percent, (t.memory + r.memory) * 4096 AS memory_bytes,
        ((t.counts + r.counts) >> 40) + 1 AS processes, (t.counts + r.counts) >> 20 & 1048575 AS threads,
        (t.counts + r.counts) & 1048575 AS open_fds,
        CASE WHEN t.knows & 1 THEN coalesce(io.read, 0) END AS read_bytes,
        CASE WHEN t.knows & 1 THEN coalesce(io.written, 0) END AS written_bytes,
        r.probe / 10.0 AS probe_ms, coalesce(io.swap, 0) AS swap_bytes,
        CASE WHEN t.knows & 2 THEN coalesce(io.wait_us, 0) / 1000.0 END AS io_wait_ms,
        r.switches, r.faults, coalesce(io.major, 0) AS major_faults
        FROM rows_10s r JOIN tracks t ON t.id = r.id & 262143 LEFT JOIN io_10s io ON io.id = r.id;
    CREATE VIEW usage_1m AS SELECT
        strftime('%Y-%m-%dT%H:%M:%SZ', (r.id >> 18) * 60 + 1735689600, 'unixepoch') AS time,
        t.service, t.label AS instance, t.run, r.cpu / 100.0 AS cpu_percent,
        (r.cpu - r.cpu_below) / 100.0 AS cpu_percent_min, (r.cpu + r.cpu_above) / 100.0 AS cpu_percent_max,
        (t.memory + r.memory) * 4096 AS memory_bytes, (t.memory + r.memory - r.memory_below) * 4096 AS memory_bytes_min,
        (t.memory + r.memory + r.memory_above) * 4096 AS memory_bytes_max,
        ((t.counts + r.counts) >> 40) + 1 AS processes, (t.counts + r.counts) >> 20 & 1048575 AS threads,
        (t.counts + r.counts) & 1048575 AS open_fds,
        CASE WHEN t.knows & 1 THEN coalesce(io.read, 0) END AS read_bytes,
        CASE WHEN t.knows & 1 THEN coalesce(io.written, 0) END AS written_bytes,
        r.probe / 10.0 AS probe_ms, (r.probe + r.probe_above) / 10.0 AS probe_ms_max,
        coalesce(io.swap, 0) AS swap_bytes,
        CASE WHEN t.knows & 2 THEN coalesce(io.wait_us, 0) / 1000.0 END AS io_wait_ms,
        r.switches, r.faults, coalesce(io.major, 0) AS major_faults
        FROM rows_1m r JOIN tracks t ON t.id = r.id & 262143 LEFT JOIN io_1m io ON io.id = r.id;
    CREATE VIEW usage_1h AS SELECT
        strftime('%Y-%m-%dT%H:%M:%SZ', (r.id >> 18) * 3600 + 1735689600, 'unixepoch') AS time,
        t.service, t.label AS instance, t.run, r.cpu / 100.0 AS cpu_percent,
        (r.cpu - r.cpu_below) / 100.0 AS cpu_percent_min, (r.cpu + r.cpu_above) / 100.0 AS cpu_percent_max,
        (t.memory + r.memory) * 4096 AS memory_bytes, (t.memory + r.memory - r.memory_below) * 4096 AS memory_bytes_min,
        (t.memory + r.memory + r.memory_above) * 4096 AS memory_bytes_max,
        ((t.counts + r.counts) >> 40) + 1 AS processes, (t.counts + r.counts) >> 20 & 1048575 AS threads,
        (t.counts + r.counts) & 1048575 AS open_fds,
        CASE WHEN t.knows & 1 THEN coalesce(io.read, 0) END AS read_bytes,
        CASE WHEN t.knows & 1 THEN coalesce(io.written, 0) END AS written_bytes,
        r.probe / 10.0 AS probe_ms, (r.probe + r.probe_above) / 10.0 AS probe_ms_max,
        coalesce(io.swap, 0) AS swap_bytes,
        CASE WHEN t.knows & 2 THEN coalesce(io.wait_us, 0) / 1000.0 END AS io_wait_ms,
        r.switches, r.faults, coalesce(io.major, 0) AS major_faults
        FROM rows_1h r JOIN tracks t ON t.id = r.id & 262143 LEFT JOIN io_1h io ON io.id = r.id;
";

// The numbers written out above.
const _: () = assert!(EPOCH_S == 1_735_689_600 && super::TRACK_BITS == 18);

/// One length of rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::history) struct Level {
    /// The seconds of a row.
    pub(in crate::history) step_s: i64,
    pub(in crate::history) rows: &'static str,
    pub(in crate::history) io: &'static str,
    /// About how many bytes of the file a row takes.
    pub(in crate::history) row_bytes: i64,
}

/// All of them, the finest first.
pub(in crate::history) const LEVELS: [Level; 3] = [
    Level { step_s: super::FINEST_S, rows: "rows_10s", io: "io_10s", row_bytes: 24 },
    Level { step_s: 60, rows: "rows_1m", io: "io_1m", row_bytes: 33 },
    Level { step_s: 3_600, rows: "rows_1h", io: "io_1h", row_bytes: 40 },
];

/// Makes the rows of minute ?1 anew, from those with numbers from ?2 to below ?3.
pub(super) const ROLL_MINUTE: &str = "
    INSERT OR REPLACE INTO rows_1m SELECT
        (?1 << 18) | track, 6 - n, cpu, cpu - cpu_min, cpu_max - cpu, memory, memory - memory_min, memory_max - memory,
        ((processes << 40) | (threads << 20) | fds) - counts, switches, faults, probe, probe_max - probe
    FROM (SELECT r.id & 262143 AS track, count(*) AS n,
        CAST(round(avg(r.cpu)) AS INTEGER) AS cpu, min(r.cpu) AS cpu_min, max(r.cpu) AS cpu_max,
        CAST(round(avg(r.memory)) AS INTEGER) AS memory, min(r.memory) AS memory_min, max(r.memory) AS memory_max,
        max((t.counts + r.counts) >> 40) AS processes, max((t.counts + r.counts) >> 20 & 1048575) AS threads,
        max((t.counts + r.counts) & 1048575) AS fds, t.counts AS counts,
        sum(switches) AS switches, sum(faults) AS faults,
        CAST(round(avg(probe)) AS INTEGER) AS probe, max(probe) AS probe_max
        FROM rows_10s r JOIN tracks t ON t.id = r.id & 262143 WHERE r.id >= ?2 AND r.id < ?3 GROUP BY track)";

/// Makes the rows of hour ?1 anew: every minute counts by its ten seconds.
pub(super) const ROLL_HOUR: &str = "
    INSERT OR REPLACE INTO rows_1h SELECT
        (?1 << 18) | track, 360 - n, cpu, cpu - cpu_min, cpu_max - cpu, memory, memory - memory_min, memory_max - memory,
        ((processes << 40) | (threads << 20) | fds) - counts, switches, faults, probe, probe_max - probe
    FROM (SELECT r.id & 262143 AS track, sum(6 - gaps) AS n,
        CAST(round(1.0 * sum(r.cpu * (6 - gaps)) / sum(CASE WHEN r.cpu IS NOT NULL THEN 6 - gaps END)) AS INTEGER) AS cpu,
        min(r.cpu - cpu_below) AS cpu_min, max(r.cpu + cpu_above) AS cpu_max,
        CAST(round(1.0 * sum(r.memory * (6 - gaps)) / sum(6 - gaps)) AS INTEGER) AS memory,
        min(r.memory - memory_below) AS memory_min, max(r.memory + memory_above) AS memory_max,
        max((t.counts + r.counts) >> 40) AS processes, max((t.counts + r.counts) >> 20 & 1048575) AS threads,
        max((t.counts + r.counts) & 1048575) AS fds, t.counts AS counts,
        sum(switches) AS switches, sum(faults) AS faults,
        CAST(round(avg(probe)) AS INTEGER) AS probe, max(probe + probe_above) AS probe_max
        FROM rows_1m r JOIN tracks t ON t.id = r.id & 262143 WHERE r.id >= ?2 AND r.id < ?3 GROUP BY track)";

/// As [`ROLL_MINUTE`], of what lies beside.
pub(super) const ROLL_MINUTE_IO: &str = "
    INSERT OR REPLACE INTO io_1m SELECT (?1 << 18) | (id & 262143), max(swap), sum(read), sum(written), sum(wait_us),
        sum(major) FROM io_10s WHERE id >= ?2 AND id < ?3 GROUP BY id & 262143";

/// As [`ROLL_HOUR`], of what lies beside.
pub(super) const ROLL_HOUR_IO: &str = "
    INSERT OR REPLACE INTO io_1h SELECT (?1 << 18) | (id & 262143), max(swap), sum(read), sum(written), sum(wait_us),
        sum(major) FROM io_1m WHERE id >= ?2 AND id < ?3 GROUP BY id & 262143";
