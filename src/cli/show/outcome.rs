//! What became of a request.

use std::fmt::Write as _;
use std::time::Duration;

use crate::cli::output::{Surface, Tone};
use crate::cli::time::length;
use crate::model::command::{Outcome, PlanChangeKind};

/// One line for each service and each difference; remarks are said beside it, on stderr.
pub(crate) fn lines(outcome: &Outcome, dry_run: bool, surface: &Surface) -> String {
    let mut out = String::new();
    for change in &outcome.changes {
        let word = change_words(change.what, dry_run);
        if change.what == PlanChangeKind::Unchanged {
            continue;
        }
        let keys = if change.keys.is_empty() { String::new() } else { format!(" ({})", change.keys.join(", ")) };
        let _ = writeln!(out, "{}  {word}{keys}", surface.paint.text(Tone::Strong, change.service.as_str()));
    }
    for service in &outcome.services {
        let gap = service
            .gap_ms
            .map(|ms| format!(", nobody listened for {}", length(Duration::from_millis(ms))))
            .unwrap_or_default();
        let message = if service.message.is_empty() { service.state.to_string() } else { service.message.clone() };
        let _ = writeln!(out, "{}  {message}{gap}", surface.paint.text(Tone::Strong, &service.name));
    }
    if out.is_empty() && !outcome.changes.is_empty() {
        out.push_str("nothing to change\n");
    }
    out
}

fn change_words(what: PlanChangeKind, dry_run: bool) -> String {
    let word = match what {
        PlanChangeKind::Added => "added",
        PlanChangeKind::Removed => "removed",
        PlanChangeKind::Restarted => "restarted",
        PlanChangeKind::Updated => "updated",
        PlanChangeKind::Scaled => "scaled",
        PlanChangeKind::Unchanged => "unchanged",
    };
    if dry_run { format!("would be {word}") } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Paint;
    use crate::model::command::{PlanChange, ServiceOutcome};
    use crate::model::names::ServiceName;
    use crate::model::service::State;

    #[test]
    fn differences_come_with_their_keys_and_outcomes_with_their_gap() {
        let change = |service: &str, what, keys: &[&str]| PlanChange {
            service: ServiceName::new(service).unwrap(),
            what,
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
        };
        let outcome = Outcome {
            done: true,
            services: vec![ServiceOutcome {
                name: "web".to_owned(),
                state: State::Running,
                message: "ready after 1.2s".to_owned(),
                gap_ms: Some(312),
            }],
            changes: vec![
                change("web", PlanChangeKind::Restarted, &["env.LOG_LEVEL", "command"]),
                change("db", PlanChangeKind::Unchanged, &[]),
                change("new", PlanChangeKind::Added, &[]),
            ],
            notes: vec![],
        };
        let pipe = Surface { terminal: false, paint: Paint(false), width: None };
        assert_eq!(
            lines(&outcome, false, &pipe),
            "web  restarted (env.LOG_LEVEL, command)\nnew  added\nweb  ready after 1.2s, nobody listened for 312ms\n"
        );
        assert!(lines(&outcome, true, &pipe).starts_with("web  would be restarted (env.LOG_LEVEL, command)\n"));
        let service = ServiceName::new("web").unwrap();
        let unchanged = PlanChange { service, what: PlanChangeKind::Unchanged, keys: vec![] };
        let nothing = Outcome { changes: vec![unchanged], ..Outcome::default() };
        assert_eq!(lines(&nothing, false, &pipe), "nothing to change\n");
        assert_eq!(lines(&Outcome::default(), false, &pipe), "");
    }
}
