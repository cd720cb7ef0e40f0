//! The rows of the table: which, and in which order.

use std::cmp::Ordering;

use crate::cli::output::Tone;
use crate::cli::show::state::{Standing, end_words};
use crate::cli::time::ago;
use crate::model::overview::{InstanceOverview, Overview, ServiceOverview};
use crate::model::service::State;
use crate::model::units::Timestamp;

/// One instance, or a service without any.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<'a> {
    pub(super) service: &'a ServiceOverview,
    pub(super) instance: Option<&'a InstanceOverview>,
}

impl<'a> Row<'a> {
    /// What it is called, also as a selector.
    pub(super) fn name(self) -> &'a str {
        self.instance.map_or(self.service.name.as_str(), |instance| instance.name.as_str())
    }

    pub(super) fn standing(self) -> Standing<'a> {
        Standing::seen(self.service, self.instance)
    }

    /// Its state in words, and what it means.
    pub(super) fn state(self) -> (Tone, String) {
        self.standing().words()
    }

    /// Whether nothing of it runs or is to run, so that it can be started.
    pub(super) fn is_over(self) -> bool {
        let state = self.instance.map_or(self.service.state, |instance| instance.state);
        matches!(state, State::Stopped | State::Exited | State::Failed)
    }

    /// Of one core, in percent.
    pub(super) fn cpu(self) -> Option<f64> {
        self.instance?.usage.as_ref()?.cpu_percent
    }

    /// Resident memory.
    pub(super) fn memory(self) -> Option<u64> {
        Some(self.instance?.usage.as_ref()?.memory_bytes)
    }

    pub(super) fn restarts(self) -> u64 {
        self.instance.map_or(self.service.restarts, |instance| instance.restarts)
    }

    /// What is to be said beside the state: why it is in it, and in trouble also how it ended last.
    pub(super) fn remark(self, now: Timestamp) -> String {
        let mut parts: Vec<String> = vec![];
        let Some(instance) = self.instance else { return self.service.reason.clone().unwrap_or_default() };
        parts.extend(instance.reason.clone().or_else(|| self.service.reason.clone()));
        if self.standing().in_trouble() {
            let failed = instance.probes.last().filter(|probe| !probe.ok && instance.pid.is_some());
            parts.extend(failed.and_then(|probe| probe.message.as_ref()).map(|message| format!("probe: {message}")));
            parts.extend(instance.last_end.as_ref().map(|end| format!("{} · {}", end_words(end), ago(end.at, now))));
        }
        parts.dedup();
        parts.join(" · ")
    }
}

/// What the rows are ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Sort {
    /// As the services stand in the file.
    #[default]
    File,
    /// The most first.
    Cpu,
    /// The most first.
    Memory,
    /// The most first.
    Restarts,
    /// What is in trouble first.
    Trouble,
    /// By the alphabet.
    Name,
}

impl Sort {
    /// The one that `s` leads to.
    pub(super) fn next(self) -> Self {
        match self {
            Self::File => Self::Cpu,
            Self::Cpu => Self::Memory,
            Self::Memory => Self::Restarts,
            Self::Restarts => Self::Trouble,
            Self::Trouble => Self::Name,
            Self::Name => Self::File,
        }
    }

    /// What it is called.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Restarts => "restarts",
            Self::Trouble => "trouble",
            Self::Name => "name",
        }
    }

    fn compare(self, one: Row<'_>, other: Row<'_>) -> Ordering {
        match self {
            Self::File => Ordering::Equal,
            Self::Cpu => other.cpu().unwrap_or(-1.0).total_cmp(&one.cpu().unwrap_or(-1.0)),
            Self::Memory => other.memory().cmp(&one.memory()),
            Self::Restarts => other.restarts().cmp(&one.restarts()),
            Self::Trouble => other.standing().in_trouble().cmp(&one.standing().in_trouble()),
            Self::Name => one.name().cmp(other.name()),
        }
    }
}

/// Those whose name or state contains the filter, in order.
pub(super) fn rows<'a>(overview: &'a Overview, sort: Sort, filter: &str) -> Vec<Row<'a>> {
    let filter = filter.to_lowercase();
    let of_service = |service: &'a ServiceOverview| {
        let alone = service.instances.is_empty().then_some(Row { service, instance: None });
        let instances = service.instances.iter().map(move |instance| Row { service, instance: Some(instance) });
        instances.chain(alone)
    };
    let wanted =
        |row: &Row<'_>| row.name().to_lowercase().contains(&filter) || row.state().1.to_lowercase().contains(&filter);
    let mut rows: Vec<Row<'_>> = overview.services.iter().flat_map(of_service).filter(wanted).collect();
    rows.sort_by(|one, other| sort.compare(*one, *other));
    rows
}
