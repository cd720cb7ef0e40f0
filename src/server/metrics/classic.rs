//! OpenMetrics as Prometheus' text format 0.0.4.
//!
//! The samples are the same in both. The lines about a family differ: the classic text names a counter and an info
//! with their suffix, knows neither units nor info, and has no end mark.

/// Rewrites a page.
pub(super) fn of(open: &str) -> String {
    let mut text = String::with_capacity(open.len());
    let mut help = "";
    for line in open.split_inclusive('\n') {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            // Written once the type is known.
            help = rest.split_once(' ').map_or("\n", |(_, words)| words);
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.trim_end().split_once(' '))
        {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                other => ("", other),
            };
            for part in ["# HELP ", name, suffix, " ", help, "# TYPE ", name, suffix, " ", kind, "\n"] {
                text.push_str(part);
            }
        } else if !line.starts_with("# ") {
            text.push_str(line);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_lines_about_families_differ() {
        let open = "# HELP a_seconds Time.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\na_seconds_total{x=\"# TYPE y counter\"} 1.5\n\
                    # HELP b Text.\n# TYPE b info\nb_info{v=\"1\"} 1\n# HELP c More.\n# TYPE c gauge\nc 2\n# EOF\n";
        let classic = "# HELP a_seconds_total Time.\n# TYPE a_seconds_total counter\na_seconds_total{x=\"# TYPE y counter\"} 1.5\n\
                       # HELP b_info Text.\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# HELP c More.\n# TYPE c gauge\nc 2\n";
        assert_eq!(of(open), classic);
    }
}
