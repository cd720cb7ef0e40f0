//! Answers: JSON bodies, and the HTTP status of every refusal.

use axum::body::Body;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderName, HeaderValue, Response, StatusCode};
use schemars::JsonSchema;
use serde::Serialize;

use crate::model::command::{Denied, DeniedCode};

/// What every handler gives.
pub(crate) type Reply = Result<Response<Body>, Denied>;

/// The body of every answer that is not a success.
#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ErrorBody {
    /// What was refused, and what to do next.
    pub(crate) error: Denied,
}

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_SNIFF: (HeaderName, HeaderValue) =
    (HeaderName::from_static("x-content-type-options"), HeaderValue::from_static("nosniff"));

/// An answer of this type; never cached, never taken for another type.
pub(crate) fn typed(status: StatusCode, kind: &'static str, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, NO_STORE);
    headers.insert(NO_SNIFF.0, NO_SNIFF.1);
    response
}

/// A JSON answer.
///
/// # Errors
/// `Internal` when `value` cannot be written as JSON.
pub(crate) fn json<T: Serialize>(status: StatusCode, value: &T) -> Reply {
    let mut bytes = Vec::with_capacity(512);
    serde_json::to_writer(&mut bytes, value).map_err(|e| internal(format!("cannot write the answer as JSON: {e}")))?;
    Ok(typed(status, "application/json", Body::from(bytes)))
}

/// The answer to a refused request.
pub(crate) fn refuse(denied: Denied) -> Response<Body> {
    let status = status_of(denied.code);
    let body = ErrorBody { error: denied };
    let text = serde_json::to_vec(&body).unwrap_or_default();
    let mut response = typed(status, "application/json", Body::from(text));
    // For a door that tells it to people.
    response.extensions_mut().insert(body.error);
    if status == StatusCode::UNAUTHORIZED {
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"everup\""));
    }
    response
}

/// The HTTP status that carries a refusal.
pub(crate) fn status_of(code: DeniedCode) -> StatusCode {
    match code {
        DeniedCode::BadRequest | DeniedCode::ConfigInvalid => StatusCode::BAD_REQUEST,
        DeniedCode::Unauthorized => StatusCode::UNAUTHORIZED,
        DeniedCode::Forbidden => StatusCode::FORBIDDEN,
        DeniedCode::NoSuchService | DeniedCode::NotFound => StatusCode::NOT_FOUND,
        DeniedCode::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        DeniedCode::Conflict | DeniedCode::NotRunning | DeniedCode::Failed => StatusCode::CONFLICT,
        DeniedCode::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        DeniedCode::TimedOut => StatusCode::GATEWAY_TIMEOUT,
        DeniedCode::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        DeniedCode::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// A refusal with a hint.
pub(crate) fn denied(code: DeniedCode, message: impl Into<String>, hint: impl Into<String>) -> Denied {
    Denied { code, message: message.into(), hint: Some(hint.into()) }
}

/// An argument that makes no sense.
pub(crate) fn bad(message: impl Into<String>) -> Denied {
    Denied { code: DeniedCode::BadRequest, message: message.into(), hint: None }
}

/// Something broke on this side.
pub(crate) fn internal(message: impl Into<String>) -> Denied {
    Denied { code: DeniedCode::Internal, message: message.into(), hint: None }
}
