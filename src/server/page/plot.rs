//! The charts of a service. Drawn here as SVG; `service.js` puts live ones in their place.

use std::sync::Arc;

use maud::{Markup, PreEscaped, html};

use crate::chart::{Chart, Mark, MarkKind, Panel, Point, Series, Text, Unit, Words as ChartWords, svg};
use crate::model::command::Denied;
use crate::model::event::{EventRecord, EventWord};
use crate::model::history::{HistoryReport, HistoryRow};
use crate::model::overview::InstanceOverview;
use crate::model::units::Timestamp;
use crate::server::page::figures::{bytes, latency, percent};
use crate::server::page::state::end_words;
use crate::server::page::table::or_dash;
use crate::server::page::words::{Words, fill};
use crate::server::reply::bad;

/// How far the charts look back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Range {
    QuarterHour,
    Hour,
    SixHours,
    Day,
    Week,
}

impl Range {
    const ALL: [Self; 5] = [Self::QuarterHour, Self::Hour, Self::SixHours, Self::Day, Self::Week];

    /// The range of a `?since=`; a quarter of an hour unless given.
    ///
    /// # Errors
    /// `BadRequest` for any but those there are.
    pub(crate) fn read(since: Option<&str>) -> Result<Self, Denied> {
        let Some(text) = since else { return Ok(Self::QuarterHour) };
        Self::ALL.into_iter().find(|range| range.name() == text).ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|range| range.name()).collect();
            bad(format!("cannot read since={text:?}: the charts know {}", names.join(", ")))
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::QuarterHour => "15m",
            Self::Hour => "1h",
            Self::SixHours => "6h",
            Self::Day => "24h",
            Self::Week => "7d",
        }
    }

    fn word(self, words: &Words) -> &'static str {
        match self {
            Self::QuarterHour => words.range_15m,
            Self::Hour => words.range_1h,
            Self::SixHours => words.range_6h,
            Self::Day => words.range_24h,
            Self::Week => words.range_7d,
        }
    }

    /// Its length, in milliseconds.
    pub(crate) fn ms(self) -> i64 {
        let minutes = match self {
            Self::QuarterHour => 15,
            Self::Hour => 60,
            Self::SixHours => 360,
            Self::Day => 1_440,
            Self::Week => 10_080,
        };
        minutes * 60_000
    }
}

/// A figure of the history, with the least and the most it stands for.
type Kept = (f64, Option<(f64, f64)>);

/// One of the three charts.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    title: fn(&Words) -> &'static str,
    unit: Unit,
    figure: fn(f64) -> String,
    /// What the history keeps of it.
    kept: fn(&HistoryRow) -> Option<Kept>,
    /// What was seen of late.
    recent: fn(&InstanceOverview) -> Vec<Point>,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "cpu",
        title: |words| words.chart_cpu,
        unit: Unit::Percent,
        figure: percent,
        kept: |row| Some((row.cpu_percent?, row.cpu_percent_min.zip(row.cpu_percent_max))),
        recent: |instance| instance.recent.iter().filter_map(|point| Some(at(point.at, point.cpu_percent?))).collect(),
    },
    Kind {
        name: "memory",
        title: |words| words.chart_memory,
        unit: Unit::Bytes,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, far below the bounds")]
        figure: |value| bytes(value as u64),
        kept: |row| {
            let band = row.memory_bytes_min.zip(row.memory_bytes_max);
            Some((row.memory_bytes? as f64, band.map(|(low, high)| (low as f64, high as f64))))
        },
        recent: |instance| instance.recent.iter().map(|point| at(point.at, point.memory_bytes as f64)).collect(),
    },
    Kind {
        name: "latency",
        title: |words| words.chart_latency,
        unit: Unit::Millis,
        figure: latency,
        kept: |row| Some((row.probe_ms?, row.probe_ms_max.map(|most| (row.probe_ms.unwrap_or(most), most)))),
        recent: |instance| instance.probes.iter().map(|tick| at(tick.at, tick.ms)).collect(),
    },
];

fn at(at: Timestamp, value: f64) -> Point {
    Point { at, value, band: None }
}

/// What is plotted.
#[derive(Debug)]
pub(crate) struct Plotted<'a> {
    /// As a selector names it.
    pub(crate) name: &'a str,
    /// These instances.
    pub(crate) instances: &'a [&'a InstanceOverview],
    /// What the history keeps of them; none where there is none.
    pub(crate) history: Option<&'a HistoryReport>,
    /// What happened meanwhile.
    pub(crate) events: &'a [Arc<EventRecord>],
    /// How far back.
    pub(crate) range: Range,
    /// Until when.
    pub(crate) now: Timestamp,
}

impl Plotted<'_> {
    fn from(&self) -> Timestamp {
        Timestamp(self.now.0 - self.range.ms())
    }

    /// What there is to plot: a service without a probe has no latency.
    fn kinds(&self) -> impl Iterator<Item = Kind> {
        let is_asked = self.instances.iter().any(|instance| instance.healthy.is_some() || !instance.probes.is_empty());
        KINDS.into_iter().filter(move |kind| kind.name != "latency" || is_asked)
    }

    /// A line an instance: what is kept up to what is still in memory, which is finer.
    fn series(&self, kind: Kind) -> Vec<Series> {
        let of = |instance: &&InstanceOverview| {
            let recent = (kind.recent)(instance);
            let begins = recent.first().map_or(self.now, |point| point.at);
            let rows = self.history.map(|report| report.rows.as_slice()).unwrap_or_default();
            let kept = rows.iter().filter(|row| row.instance == instance.name && row.at < begins);
            let mut run = None;
            let kept = kept.filter_map(|row| Some((row, (kind.kept)(row)?))).flat_map(|(row, (value, band))| {
                let another = run.replace(row.run).is_some_and(|before| before != row.run);
                let nothing = another.then_some(Point { at: row.at, value: f64::NAN, band: None });
                nothing.into_iter().chain([Point { at: row.at, value, band }])
            });
            let points = kept.chain(recent.iter().copied()).filter(|point| point.at >= self.from());
            Series { name: instance.name.clone(), points: points.collect() }
        };
        self.instances.iter().map(of).collect()
    }

    /// Readings further apart than this are not joined.
    fn gap_ms(&self) -> i64 {
        let step = self.history.map_or(10, |report| i64::try_from(report.step_s).unwrap_or(10));
        (step * 2_500).max(25_000)
    }

    fn marks(&self, words: &Words) -> Vec<Mark> {
        let mark = |event: &Arc<EventRecord>| {
            let signal = event.signal.map(|signal| signal.to_string());
            let kind = match event.event {
                EventWord::Started => MarkKind::Start,
                EventWord::Ended => MarkKind::End,
                EventWord::ReloadDone => MarkKind::Reload,
                _ => return None,
            };
            let cause = event.cause.filter(|_| kind == MarkKind::End).zip(event.certainty);
            let label = cause.map(|(cause, certainty)| end_words(cause, certainty, event.code, signal, words));
            Some(Mark { at: event.at, kind, label: label.unwrap_or_default() })
        };
        self.events.iter().filter(|event| event.at >= self.from()).filter_map(mark).collect()
    }
}

/// The charts, the choice of their range, and the same as a table.
pub(crate) fn section(plotted: &Plotted<'_>, words: &'static Words) -> Markup {
    let Plotted { name, range, .. } = plotted;
    html! {
        section.part.charts aria-labelledby="charts" data-range=(range.name()) data-range-ms=(range.ms()) {
            div.head {
                h2 #charts { (words.charts) }
                nav.choice aria-label=(words.range) {
                    @for each in Range::ALL {
                        a href={ "?since=" (each.name()) } aria-current=[(each == *range).then_some("true")] { (each.word(words)) }
                    }
                }
            }
            // One of the two is shown: the style asks whether there are scripts.
            div.drawn tabindex="0" role="region" aria-labelledby="charts" { (PreEscaped(drawn(plotted, words))) }
            div.plots {
                @for kind in plotted.kinds() {
                    @let title = (kind.title)(words);
                    figure data-chart=(kind.name) {
                        figcaption { (title) }
                        div.plot data-label=(fill(words.chart_of, &[("what", &title), ("name", name)])) {}
                    }
                }
            }
            details.figures { summary { (words.chart_table) } (figures(plotted, words)) }
        }
    }
}

fn drawn(plotted: &Plotted<'_>, words: &'static Words) -> String {
    let panel =
        |kind: Kind| Panel { title: (kind.title)(words).to_owned(), unit: kind.unit, series: plotted.series(kind) };
    let chart = Chart {
        title: fill(words.chart_of, &[("what", &words.charts), ("name", &plotted.name)]),
        description: plotted.kinds().map(|kind| (kind.title)(words)).collect::<Vec<_>>().join(", "),
        width: 900,
        height: 480,
        from: plotted.from(),
        until: plotted.now,
        gap_ms: plotted.gap_ms(),
        panels: plotted.kinds().map(panel).collect(),
        marks: plotted.marks(words),
        words: ChartWords {
            start: words.mark_start,
            end: words.mark_end,
            reload: words.mark_reload,
            average: words.average,
            highest: words.highest,
            nothing: words.chart_empty,
        },
    };
    svg(&chart, Text::Live)
}

/// What the charts show, as figures.
fn figures(plotted: &Plotted<'_>, words: &Words) -> Markup {
    html! {
        table.figures {
            thead { tr {
                td {} th scope="col" { (words.instance) }
                @for head in [words.lowest, words.average, words.highest, words.latest] { th scope="col" { (head) } }
            } }
            @for kind in plotted.kinds() {
                tbody { @for (place, series) in plotted.series(kind).iter().enumerate() {
                    tr data-figures=(kind.name) data-instance=(series.name) {
                        @if place == 0 { th scope="rowgroup" rowspan=(plotted.instances.len()) { ((kind.title)(words)) } }
                        th scope="row" { (series.name) }
                        @for value in summary(&series.points) { td { (or_dash(value.map(kind.figure))) } }
                    }
                } }
            }
        }
    }
}

/// Lowest, average, highest and latest.
fn summary(points: &[Point]) -> [Option<f64>; 4] {
    let values = || points.iter().map(|point| point.value).filter(|value| !value.is_nan());
    let count = values().count();
    let average = (count > 0).then(|| values().sum::<f64>() / count as f64);
    [values().reduce(f64::min), average, values().reduce(f64::max), values().next_back()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_one_of_those_offered() {
        assert_eq!(Range::read(None), Ok(Range::QuarterHour));
        assert_eq!(Range::read(Some("7d")), Ok(Range::Week));
        assert!(Range::read(Some("8d")).unwrap_err().message.contains("15m, 1h, 6h, 24h, 7d"));
    }

    #[test]
    fn a_series_comes_to_four_figures() {
        let points: Vec<Point> = [3.0, 1.0, 2.0].map(|value| at(Timestamp(0), value)).to_vec();
        assert_eq!(summary(&points), [Some(1.0), Some(2.0), Some(3.0), Some(2.0)]);
        assert_eq!(summary(&[]), [None; 4]);
        let gap = Point { value: f64::NAN, ..points[0] };
        assert_eq!(summary(&[points[0], gap]), [Some(points[0].value); 4]);
    }
}
