//! The charts of a service. Drawn here as SVG; `service.js` puts live ones in their place.

use maud::{Markup, PreEscaped, html};

use crate::chart::{Chart, Panel, Point, Series, Text, Unit, Words as ChartWords, svg};
use crate::model::command::Denied;
use crate::model::overview::InstanceOverview;
use crate::model::units::Timestamp;
use crate::server::page::figures::{bytes, latency, percent};
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

    /// Readings further apart than this are not joined: a little more than two of the rows that a history keeps of it.
    fn gap_ms(self) -> i64 {
        match self {
            Self::QuarterHour | Self::Hour | Self::SixHours | Self::Day => 25_000.max(self.ms() / 200),
            Self::Week => 130_000.max(self.ms() / 200),
        }
    }
}

/// One of the three charts.
#[derive(Clone, Copy, Debug)]
struct Kind {
    name: &'static str,
    title: fn(&Words) -> &'static str,
    unit: Unit,
    figure: fn(f64) -> String,
    points: fn(&InstanceOverview) -> Vec<Point>,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "cpu",
        title: |words| words.chart_cpu,
        unit: Unit::Percent,
        figure: percent,
        points: |instance| instance.recent.iter().filter_map(|point| Some(at(point.at, point.cpu_percent?))).collect(),
    },
    Kind {
        name: "memory",
        title: |words| words.chart_memory,
        unit: Unit::Bytes,
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes, far below the bounds")]
        figure: |value| bytes(value as u64),
        points: |instance| instance.recent.iter().map(|point| at(point.at, point.memory_bytes as f64)).collect(),
    },
    Kind {
        name: "latency",
        title: |words| words.chart_latency,
        unit: Unit::Millis,
        figure: latency,
        points: |instance| instance.probes.iter().map(|tick| at(tick.at, tick.ms)).collect(),
    },
];

fn at(at: Timestamp, value: f64) -> Point {
    Point { at, value, band: None }
}

/// The charts, the choice of their range, and the same as a table.
pub(crate) fn section(
    instances: &[&InstanceOverview],
    range: Range,
    name: &str,
    now: Timestamp,
    words: &'static Words,
) -> Markup {
    html! {
        section.part.charts aria-labelledby="charts" data-range=(range.name()) data-range-ms=(range.ms()) {
            div.head {
                h2 #charts { (words.charts) }
                nav.choice aria-label=(words.range) {
                    @for each in Range::ALL {
                        a href={ "?since=" (each.name()) } aria-current=[(each == range).then_some("true")] { (each.word(words)) }
                    }
                }
            }
            div.plots {
                @for kind in KINDS {
                    @let title = (kind.title)(words);
                    figure data-chart=(kind.name) {
                        figcaption { (title) }
                        div.plot data-label=(fill(words.chart_of, &[("what", &title), ("name", &name)])) {
                            (PreEscaped(drawn(kind, instances, range, name, now, words)))
                        }
                    }
                }
            }
            details.figures { summary { (words.chart_table) } (figures(instances, range, now, words)) }
        }
    }
}

fn series(kind: Kind, instances: &[&InstanceOverview], range: Range, now: Timestamp) -> Vec<Series> {
    let from = now.0 - range.ms();
    let of = |instance: &&InstanceOverview| Series {
        name: instance.name.clone(),
        points: (kind.points)(instance).into_iter().filter(|point| point.at.0 >= from).collect(),
    };
    instances.iter().map(of).collect()
}

fn drawn(
    kind: Kind,
    instances: &[&InstanceOverview],
    range: Range,
    name: &str,
    now: Timestamp,
    words: &'static Words,
) -> String {
    let title = fill(words.chart_of, &[("what", &(kind.title)(words)), ("name", &name)]);
    let chart = Chart {
        description: title.clone(),
        title,
        width: 400,
        height: 190,
        from: Timestamp(now.0 - range.ms()),
        until: now,
        gap_ms: range.gap_ms(),
        panels: vec![Panel { title: String::new(), unit: kind.unit, series: series(kind, instances, range, now) }],
        marks: vec![],
        words: ChartWords {
            start: words.start,
            end: words.exited,
            reload: words.reload,
            average: words.average,
            highest: words.highest,
            nothing: words.chart_empty,
        },
    };
    svg(&chart, Text::Live)
}

/// What the charts show, as figures.
fn figures(instances: &[&InstanceOverview], range: Range, now: Timestamp, words: &Words) -> Markup {
    html! {
        table.figures {
            thead { tr {
                td {} th scope="col" { (words.instance) }
                @for head in [words.lowest, words.average, words.highest, words.latest] { th scope="col" { (head) } }
            } }
            @for kind in KINDS {
                tbody { @for (place, series) in series(kind, instances, range, now).iter().enumerate() {
                    tr data-figures=(kind.name) data-instance=(series.name) {
                        @if place == 0 { th scope="rowgroup" rowspan=(instances.len()) { ((kind.title)(words)) } }
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
    let values = || points.iter().map(|point| point.value);
    let average = (!points.is_empty()).then(|| values().sum::<f64>() / points.len() as f64);
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
    }
}
