//! A refusal for people: what, and what to do next.

use axum::body::Body;
use axum::http::{HeaderMap, Response, StatusCode};
use maud::{DOCTYPE, html};

use crate::model::command::{Denied, DeniedCode};
use crate::server::page::assets::address;
use crate::server::page::shell::document;
use crate::server::page::words::{Words, fill};
use crate::server::reply::status_of;

/// The page for a browser that was refused; `port` is where we listen, over TCP.
pub(crate) fn page(denied: &Denied, headers: &HeaderMap, port: Option<u16>) -> Response<Body> {
    let words = Words::of(headers);
    let status = status_of(denied.code);
    let title = match status {
        StatusCode::NOT_FOUND => words.not_found,
        StatusCode::UNAUTHORIZED => words.needs_token,
        status if status.is_server_error() => words.broken,
        _ => words.refused,
    };
    // Who may not enter may not load the style either.
    let styled = !matches!(denied.code, DeniedCode::Unauthorized | DeniedCode::Forbidden);
    let away = matches!(denied.code, DeniedCode::Unauthorized).then_some(port).flatten();
    let text = html! {
        (DOCTYPE)
        html lang=(words.lang) {
            head {
                meta charset="utf-8";
                title { (title) " – everup" }
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                @if styled { link rel="stylesheet" href=(address("page.css")); }
            }
            body {
                main.refused {
                    h1 { (title) }
                    p lang="en" { (denied.message) }
                    @match away {
                        Some(port) => {
                            p { (words.token_how) }
                            p { (fill(words.token_tunnel, &[("port", &port)])) }
                            pre { "ssh -L " (port) ":127.0.0.1:" (port) " HOST\nhttp://127.0.0.1:" (port) "/" }
                            p { (words.token_curl) }
                            pre { "curl -H \"Authorization: Bearer $(cat TOKEN_FILE)\" http://HOST:" (port) "/v1/status" }
                        }
                        None => @if let Some(hint) = &denied.hint { p lang="en" { (hint) } },
                    }
                    @if status == StatusCode::NOT_FOUND { p { a href="/" { (words.all_services) } } }
                }
            }
        }
    };
    document(status, text.into_string())
}
