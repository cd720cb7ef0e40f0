//! `/s/web` and `/s/web/2`: one service, or one of its instances.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;
use maud::{Markup, html};

use crate::history::query::UsageQuery;
use crate::model::command::{DeniedCode, Target};
use crate::model::history::{HistoryReport, Metric};
use crate::model::overview::{InstanceOverview, Overview, ServiceOverview};
use crate::model::units::Timestamp;
use crate::server::arguments::{Argument, Arguments, Kind};
use crate::server::door::Desk;
use crate::server::overview::look;
use crate::server::page::plot::Range;
use crate::server::page::shell::{Shell, document};
use crate::server::page::words::Words;
use crate::server::page::{action, events, head, lines, plot, runs, state, table, title, unreadable, usage};
use crate::server::reply::{Reply, denied};
use crate::server::selector::resolve_one;
use crate::server::{events as timeline, logs, look as seen};

/// Lines of the log.
const LINES: usize = 100;
/// Events.
const EVENTS: usize = 50;
/// Ended runs.
const RUNS: usize = 5;

static SINCE: Argument = Argument { name: "since", kind: Kind::Text, about: "How far the charts look back." };

pub(super) async fn page(desk: &Arc<Desk>, selector: &str, parts: &Parts) -> Reply {
    let words = Words::of(&parts.headers);
    let range = Range::read(Arguments::read(parts.uri.query(), &[&SINCE])?.text("since"))?;
    let target = resolve_one(selector, &desk.handle.snapshot.borrow())?;
    let overview = look(desk, Timestamp(0)).await;
    // It may have gone from the file in the meantime.
    let service = overview.services.iter().find(|service| service.name == target.service).ok_or_else(|| {
        denied(
            DeniedCode::NoSuchService,
            format!("there is no service {selector:?} any more"),
            "GET /v1/status lists the services",
        )
    })?;
    let (lines, events, why) = (
        logs::tail(desk, &target, LINES).await,
        timeline::latest(desk, &target, EVENTS).await,
        seen::ends(desk, &target, RUNS).await,
    );
    let history = usage_of(desk, &target, range, overview.at).await;
    let view = View { overview: &overview, service, target: &target, words };
    let name = view.name();
    let plotted = plot::Plotted {
        name: &name,
        instances: &view.chosen(),
        history: history.as_ref(),
        events: events.as_deref().unwrap_or_default(),
        range,
        now: overview.at,
    };
    let content = html! {
        (state::marks())
        (head::bar(&overview, Some(&name), words))
        main #content.service {
            (view.instances())
            (head::warnings(&service.warnings, words))
            (action::form(&name, desk.token, words))
            (view.table())
            (plot::section(&plotted, words))
            div.columns {
                div {
                    (section("log", words.log, &lines.map_or_else(|e| unreadable(&e), |all| lines::list(&all, words))))
                    (section("usage", words.usage, &usage::list(&view.chosen(), words)))
                }
                div {
                    (section("runs", words.runs, &why.map_or_else(|e| unreadable(&e), |why| runs::list(&why, overview.at, words))))
                    (section("events", words.events, &events.map_or_else(|e| unreadable(&e), |all| events::table(&all, overview.at, words))))
                }
            }
        }
    };
    let troubles = state::troubles(&overview);
    let shell = Shell {
        words,
        title: &title(&format!("{name} – {}", overview.project), troubles),
        trouble: troubles > 0,
        scripts: &["uPlot.js", "service.js"],
        about: Some(&name),
        version: &overview.version,
    };
    Ok(document(StatusCode::OK, shell.around(&content)))
}

/// What the history keeps of this time; none where it cannot be read, which the project's warnings tell.
async fn usage_of(desk: &Arc<Desk>, target: &Target, range: Range, now: Timestamp) -> Option<HistoryReport> {
    let reader = desk.handle.history.clone();
    let Target { service, index } = target.clone();
    let metrics = vec![Metric::Cpu, Metric::Memory, Metric::Probe];
    let query = UsageQuery { service, index, since: Timestamp(now.0 - range.ms()), until: now, step: None, metrics };
    desk.read(move || reader.usage(&query)).await.ok()?.ok()
}

/// What is looked at.
struct View<'a> {
    overview: &'a Overview,
    service: &'a ServiceOverview,
    target: &'a Target,
    words: &'static Words,
}

impl<'a> View<'a> {
    /// As a selector names it; the only instance of a service is the service.
    fn name(&self) -> String {
        match self.target.index {
            Some(index) if self.service.instances.len() > 1 => format!("{}/{index}", self.service.name),
            Some(_) | None => self.service.name.to_string(),
        }
    }

    fn chosen(&self) -> Vec<&'a InstanceOverview> {
        let all = self.service.instances.iter();
        all.filter(|instance| self.target.index.is_none_or(|index| index == instance.index)).collect()
    }

    /// Ways to its instances, where there are several.
    fn instances(&self) -> Markup {
        let service = self.service;
        let current = |index: Option<u32>| (self.target.index == index).then_some("page");
        html! {
            @if service.instances.len() > 1 {
                nav.choice aria-label=(self.words.instances) {
                    a href={ "/s/" (service.name) } aria-current=[current(None)] { (self.words.whole_service) }
                    @for instance in &service.instances {
                        a href={ "/s/" (instance.name) } aria-current=[current(Some(instance.index))] { (instance.index) }
                    }
                }
            }
        }
    }

    fn table(&self) -> Markup {
        let mut shown = self.service.clone();
        if self.target.index.is_some() {
            shown.instances = self.chosen().into_iter().cloned().collect();
        }
        html! { div data-anew="table" { (table::table(&[&shown], self.overview.at, self.words)) } }
    }
}

/// A part of the page under its heading; `page.js` takes the whole of it from a page drawn anew.
fn section(id: &str, heading: &str, content: &Markup) -> Markup {
    html! {
        section.part aria-labelledby=(id) data-anew=(id) { h2 id=(id) { (heading) } (content) }
    }
}
