//! Answers over TCP made smaller, for those who say they can unpack them. The control socket copies memory to memory:
//! there it would only cost.

use std::io::Write;

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use axum::http::{HeaderMap, HeaderValue, Response};
pub(crate) use flate2::Compression;
use flate2::write::GzEncoder;

/// Smaller answers go as they are, in bytes: one packet holds them either way.
const LEAST: u64 = 1 << 10;

/// For what is packed once.
pub(crate) const BEST: Compression = Compression::best();

/// For what is packed anew each time: two thirds of the gain of the best for a fifth of its time.
const QUICK: Compression = Compression::new(3);

/// For what is packed anew and large, such as the metrics of many services: time counts more than bytes.
const QUICKEST: Compression = Compression::new(1);

/// Above so many bytes an answer is large.
const LARGE: usize = 256 << 10;

/// Whether the visitor takes gzip.
pub(crate) fn accepted(headers: &HeaderMap) -> bool {
    let offers = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    offers.flat_map(|offer| offer.split(',')).any(|offer| {
        let (name, weight) = offer.split_once(';').unwrap_or((offer, ""));
        let refused = weight.trim().strip_prefix("q=").is_some_and(|q| q.trim().parse() == Ok(0.0_f32));
        name.trim().eq_ignore_ascii_case("gzip") && !refused
    })
}

/// Packs bytes.
pub(crate) fn packed(bytes: &[u8], level: Compression) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 4), level);
    // Writing into memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Packs an answer that is whole, large enough, text, and not packed already.
pub(crate) async fn pack(headers: &HeaderMap, response: Response<Body>) -> Response<Body> {
    let whole = response.body().size_hint().exact().is_some_and(|size| size >= LEAST);
    if !whole || !is_text(response.headers()) || response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    if !accepted(headers) {
        return Response::from_parts(parts, body);
    }
    // Its size is known, so it is in memory already.
    let bytes = to_bytes(body, usize::MAX).await.unwrap_or_default();
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, Body::from(packed(&bytes, if bytes.len() > LARGE { QUICKEST } else { QUICK })))
}

fn is_text(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    ["text/", "application/json", "application/x-ndjson", "application/openmetrics-text"]
        .iter()
        .any(|text| kind.starts_with(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_for_those_who_ask_for_it() {
        for (offer, takes) in [
            ("gzip", true),
            ("gzip, deflate, br, zstd", true),
            ("br;q=1.0, GZIP;q=0.8", true),
            ("gzip;q=0", false),
            ("gzip;q=0.0, br", false),
            ("identity", false),
            ("x-gzip-x", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, offer.parse().unwrap());
            assert_eq!(accepted(&headers), takes, "{offer}");
        }
        assert!(!accepted(&HeaderMap::new()));
    }
}
