//! Which of the two formats the asker wants (RFC 9110, section 12.5.1).

/// A format of the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// Prometheus' text format 0.0.4.
    Classic,
}

impl Format {
    /// OpenMetrics where it is named and the classic text is not preferred to it.
    pub(super) fn of(accept: &str) -> Self {
        let ranges: Vec<Range<'_>> = accept.split(',').map(Range::read).collect();
        let open = ranges.iter().filter(|range| {
            range.kind.eq_ignore_ascii_case("application/openmetrics-text")
                && range.version.is_none_or(|version| version == "1.0.0")
        });
        let open = open.map(|range| range.quality).fold(0.0, f64::max);
        // The most specific range that covers it speaks for the classic text.
        let classic = ["text/plain", "text/*", "*/*"].iter().find_map(|kind| {
            let fits = |range: &&Range<'_>| {
                range.kind.eq_ignore_ascii_case(kind) && range.version.is_none_or(|version| version == "0.0.4")
            };
            ranges.iter().find(fits).map(|range| range.quality)
        });
        if open > 0.0 && open >= classic.unwrap_or(0.0) { Self::OpenMetrics } else { Self::Classic }
    }

    /// Its Content-Type.
    pub(super) fn kind(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Classic => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// One part of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    version: Option<&'a str>,
    quality: f64,
}

impl<'a> Range<'a> {
    fn read(text: &'a str) -> Self {
        let mut parts = text.split(';').map(str::trim);
        let mut range = Self { kind: parts.next().unwrap_or_default(), version: None, quality: 1.0 };
        for (name, value) in parts.filter_map(|part| part.split_once('=')) {
            let (name, value) = (name.trim(), value.trim().trim_matches('"'));
            if name.eq_ignore_ascii_case("q") {
                range.quality = value.parse().ok().filter(|q| (0.0..=1.0).contains(q)).unwrap_or(0.0);
            } else if name.eq_ignore_ascii_case("version") {
                range.version = Some(value);
            }
        }
        range
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openmetrics_is_for_those_who_ask_for_it() {
        for (accept, expected) in [
            ("", Format::Classic),
            ("*/*", Format::Classic),
            ("text/plain", Format::Classic),
            ("text/html,*/*;q=0.8", Format::Classic),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text; version=1.0.0", Format::OpenMetrics),
            ("Application/OpenMetrics-Text; Version=\"1.0.0\"", Format::OpenMetrics),
            ("application/openmetrics-text; version=0.0.1", Format::Classic),
            ("application/openmetrics-text; version=1.0.0; q=0", Format::Classic),
            ("application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5", Format::Classic),
            ("text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.5", Format::OpenMetrics),
            ("application/openmetrics-text;q=0.3,text/*;q=0.2,*/*;q=0.9", Format::OpenMetrics),
            ("application/openmetrics-text;q=high", Format::Classic),
            // Prometheus 2.42, then 3.
            (
                "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
                Format::OpenMetrics,
            ),
            (
                "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.3,*/*;q=0.2",
                Format::OpenMetrics,
            ),
        ] {
            assert_eq!(Format::of(accept), expected, "{accept}");
        }
    }
}
