//! What every page has around its content, and the headers it is sent with.

use axum::body::Body;
use axum::http::header::{CONTENT_SECURITY_POLICY, REFERRER_POLICY, VARY};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};
use maud::{DOCTYPE, Markup, html};

use crate::server::page::assets::{address, words_name};
use crate::server::page::words::Words;
use crate::server::reply::typed;

/// Nothing from elsewhere, nothing inline, in nobody's frame.
const POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'",
);

/// One page.
#[derive(Debug)]
pub(crate) struct Shell<'a> {
    /// Its language.
    pub(crate) words: &'static Words,
    /// What stands in the tab.
    pub(crate) title: &'a str,
    /// Whether the tab's mark warns.
    pub(crate) trouble: bool,
    /// Scripts besides that of every page.
    pub(crate) scripts: &'a [&'a str],
    /// The service or instance it is about, as a selector; none: the table.
    pub(crate) about: Option<&'a str>,
    /// The everup that drew it: another one's page may look different.
    pub(crate) version: &'a str,
}

impl Shell<'_> {
    /// The whole document.
    pub(crate) fn around(&self, content: &Markup) -> String {
        let icon = if self.trouble { "trouble.svg" } else { "well.svg" };
        let charts = !self.scripts.is_empty();
        html! {
            (DOCTYPE)
            html lang=(self.words.lang) {
                head {
                    meta charset="utf-8";
                    title { (self.title) }
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    link rel="icon" type="image/svg+xml" href=(address(icon)) data-well=(address("well.svg")) data-trouble=(address("trouble.svg"));
                    link rel="stylesheet" href=(address("page.css"));
                    @if charts { link rel="stylesheet" href=(address("uPlot.css")); }
                    script src=(address(words_name(self.words))) defer {}
                    @for name in self.scripts { script src=(address(name)) defer {} }
                    script src=(address("page.js")) defer {}
                }
                body data-about=[self.about] data-version=(self.version) { (content) }
            }
        }
        .into_string()
    }
}

/// A page as an answer.
pub(crate) fn document(status: StatusCode, text: String) -> Response<Body> {
    let mut response = typed(status, "text/html; charset=utf-8", Body::from(text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, POLICY);
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(HeaderName::from_static("x-frame-options"), HeaderValue::from_static("DENY"));
    headers.insert(HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin"));
    headers.insert(VARY, HeaderValue::from_static("accept-language"));
    response
}

/// Whether the visitor is a browser that shows a page.
pub(crate) fn is_browser(headers: &HeaderMap) -> bool {
    let accept = headers.get(axum::http::header::ACCEPT).and_then(|value| value.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}
