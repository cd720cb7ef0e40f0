//! What the page loads besides itself, from the binary: style, scripts, uPlot (MIT, its licence beside it) and marks for
//! the tab. Their address holds a hash of their content, so a browser may keep them for ever.

use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::header::{CACHE_CONTROL, CONTENT_ENCODING, VARY};
use axum::http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value};

use crate::server::gzip;
use crate::server::page::words::Words;
use crate::server::reply::typed;

/// How long a browser may keep them.
const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

/// One file.
#[derive(Debug)]
pub(crate) struct Asset {
    name: &'static str,
    kind: &'static str,
    plain: Bytes,
    packed: Bytes,
}

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A mark of this tone's shape for the tab.
macro_rules! icon {
    ($shape:literal) => {
        concat!(r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">"#, $shape, "</svg>")
    };
}

struct Assets {
    version: String,
    files: Vec<Asset>,
}

fn assets() -> &'static Assets {
    static READ: OnceLock<Assets> = OnceLock::new();
    READ.get_or_init(|| {
        let fixed = [
            ("page.css", "text/css; charset=utf-8", include_str!("assets/page.css")),
            ("page.js", JAVASCRIPT, include_str!("assets/page.js")),
            ("service.js", JAVASCRIPT, include_str!("assets/service.js")),
            ("uPlot.js", JAVASCRIPT, include_str!("assets/uPlot.iife.min.js")),
            ("uPlot.css", "text/css; charset=utf-8", include_str!("assets/uPlot.min.css")),
            ("uPlot.LICENSE", "text/plain; charset=utf-8", include_str!("assets/uPlot.LICENSE")),
            ("well.svg", SVG, icon!(r##"<circle cx="8" cy="8" r="7" fill="#1a7f37"/><path d="M4.5 8.2 7 10.7l4.6-5" fill="none" stroke="#fff" stroke-width="1.8"/>"##)),
            ("trouble.svg", SVG, icon!(r##"<path d="M8 .8 15.6 15H.4z" fill="#c62828"/><path d="M8 5.5v5M8 12v1.6" stroke="#fff" stroke-width="1.8"/>"##)),
        ];
        let words = Words::languages().map(|words| {
            let all: Map<String, Value> = words.all().map(|(name, word)| (name.to_owned(), word.into())).collect();
            (words_name(words), JAVASCRIPT, format!("\"use strict\";const WORDS={};", Value::Object(all)))
        });
        let all = fixed.into_iter().map(|(name, kind, text)| (name, kind, text.to_owned())).chain(words);
        let files: Vec<Asset> = all
            .map(|(name, kind, text)| Asset { name, kind, packed: gzip::packed(text.as_bytes(), gzip::BEST).into(), plain: text.into() })
            .collect();
        Assets { version: format!("{:016x}", hash(files.iter().map(|file| file.plain.as_ref()))), files }
    })
}

/// The file of a language's words.
pub(crate) fn words_name(words: &Words) -> &'static str {
    if words.lang == "ko" { "words.ko.js" } else { "words.en.js" }
}

/// The address of a file.
pub(crate) fn address(name: &str) -> String {
    format!("/assets/{}/{name}", assets().version)
}

/// FNV-1a, 64 bits: tells versions of our own files apart, nothing more.
fn hash<'a>(parts: impl Iterator<Item = &'a [u8]>) -> u64 {
    parts.flatten().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The answer for `/assets/VERSION/NAME`; none where there is no such file of this version.
pub(crate) fn answer(path: &str, headers: &HeaderMap) -> Option<Response<Body>> {
    let (version, name) = path.strip_prefix("/assets/")?.split_once('/')?;
    let assets = assets();
    let file = assets.files.iter().find(|file| file.name == name).filter(|_| version == assets.version)?;
    let packed = gzip::accepted(headers);
    let mut response =
        typed(StatusCode::OK, file.kind, Body::from(if packed { file.packed.clone() } else { file.plain.clone() }));
    response.headers_mut().insert(CACHE_CONTROL, FOR_EVER);
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept-encoding"));
    if packed {
        response.headers_mut().insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    }
    Some(response)
}
