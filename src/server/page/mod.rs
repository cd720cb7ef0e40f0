//! The status page: one table of all services, and a page for each. Drawn whole on this side, so that it reads without
//! JavaScript; `assets/page.js` keeps it as it is now. It shows nothing that the control API does not give.

mod action;
pub(crate) mod assets;
mod draw;
mod events;
mod figures;
mod head;
mod lines;
mod plot;
pub(crate) mod refused;
mod runs;
mod service;
mod shell;
mod state;
mod table;
mod usage;
pub(crate) mod words;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::request::Parts;
use axum::http::{Response, StatusCode};
use axum::routing::get;
use maud::html;
use tokio::time::timeout;

use crate::model::command::{Denied, DeniedCode};
use crate::model::overview::{Overview, ServiceOverview};
use crate::model::units::{Timestamp, format_duration};
use crate::server::arguments::decode;
use crate::server::door::Desk;
use crate::server::overview::look;
use crate::server::page::shell::{Shell, document};
use crate::server::page::words::Words;
use crate::server::reply::{Reply, denied, refuse};
use crate::server::routes::QUICK;

pub(crate) use crate::server::page::shell::is_browser;

/// Adds the page to the routes of a door.
pub(crate) fn routes(router: Router, desk: &Arc<Desk>) -> Router {
    let (table, one) = (desk.clone(), desk.clone());
    let instance = one.clone();
    router
        .route("/", get(move |request: Request| drawn(table.clone(), request)))
        .route("/s/{name}", get(move |request: Request| drawn(one.clone(), request)))
        .route("/s/{name}/{index}", get(move |request: Request| drawn(instance.clone(), request)))
        .route("/assets/{version}/{name}", get(asset))
}

async fn drawn(desk: Arc<Desk>, request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let drawing = async {
        match parts.uri.path().strip_prefix("/s/") {
            None => whole(&desk, &parts).await,
            Some(selector) => service::page(&desk, &decode(selector, false)?, &parts).await,
        }
    };
    match timeout(QUICK, drawing).await {
        Ok(reply) => reply.unwrap_or_else(refuse),
        Err(_elapsed) => refuse(denied(
            DeniedCode::Unavailable,
            format!("there was no answer within {}", format_duration(QUICK)),
            "try again in a moment",
        )),
    }
}

async fn asset(request: Request) -> Response<Body> {
    let (parts, _) = request.into_parts();
    assets::answer(parts.uri.path(), &parts.headers).unwrap_or_else(|| {
        let message = format!("there is no {}", parts.uri.path());
        refuse(denied(DeniedCode::NotFound, message, "load the page anew: it names the files of this everup"))
    })
}

/// `/`: the whole project.
async fn whole(desk: &Arc<Desk>, parts: &Parts) -> Reply {
    let words = Words::of(&parts.headers);
    let overview = look(desk, Timestamp(0)).await;
    Ok(document(StatusCode::OK, table_page(&overview, words)))
}

pub(crate) fn table_page(overview: &Overview, words: &'static Words) -> String {
    let services: Vec<&ServiceOverview> = overview.services.iter().collect();
    let of_services = services.iter().flat_map(|service| &service.warnings);
    let content = html! {
        (state::marks())
        (head::bar(overview, None, words))
        main #content {
            (head::machine(overview, words))
            (head::warnings(overview.warnings.iter().chain(of_services), words))
            div data-anew="table" {
                @if services.is_empty() { p.hint { (words.no_services) } }
                @else { (table::table(&services, overview.at, words)) }
            }
        }
    };
    let troubles = state::troubles(overview);
    let shell = Shell {
        words,
        title: &title(&overview.project, troubles),
        trouble: troubles > 0,
        scripts: &[],
        about: None,
        version: &overview.version,
    };
    shell.around(&content)
}

/// What stands in the tab: trouble first.
fn title(name: &str, troubles: usize) -> String {
    if troubles > 0 { format!("({troubles}) {name} – everup") } else { format!("{name} – everup") }
}

/// What is said where a part of a page cannot be read.
fn unreadable(denied: &Denied) -> maud::Markup {
    html! { p.hint lang="en" { (denied.message) } }
}
