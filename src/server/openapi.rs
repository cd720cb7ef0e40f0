//! The OpenAPI 3.1 document, written from the table of routes and the types themselves.

use std::sync::OnceLock;

use axum::body::{Body, Bytes};
use axum::http::{Response, StatusCode};
use schemars::SchemaGenerator;
use schemars::generate::{Contract, SchemaSettings};
use serde_json::{Map, Value, json};

use crate::server::access::Access;
use crate::server::arguments::{Argument, Kind, MOST};
use crate::server::reply::{ErrorBody, typed};
use crate::server::routes::{Gives, Route, TABLE};

/// The document, written once.
pub(crate) fn document() -> Response<Body> {
    static WRITTEN: OnceLock<Bytes> = OnceLock::new();
    let bytes = WRITTEN.get_or_init(|| Bytes::from(build().to_string()));
    typed(StatusCode::OK, "application/json", Body::from(bytes.clone()))
}

fn build() -> Value {
    let mut schemas = Schemas { given: generator(Contract::Serialize), taken: generator(Contract::Deserialize) };
    let refused = schemas.given.subschema_for::<ErrorBody>();
    let mut paths: Map<String, Value> = Map::new();
    for route in &TABLE {
        let operation = operation(route, &mut schemas);
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method.as_str().to_ascii_lowercase()] = operation;
    }
    let mut definitions = schemas.taken.take_definitions(true);
    definitions.extend(schemas.given.take_definitions(true));
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "everup",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "The control API of everup: the same routes on the control socket and on web.listen.",
        },
        "servers": [{ "url": "/", "description": "curl --unix-socket .everup/everup.sock http://everup/v1/status" }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "Over TCP; the control socket looks at who asks." },
            },
            "responses": {
                "Refused": {
                    "description": "Refused or not fulfilled; the hint says what to do next.",
                    "content": { "application/json": { "schema": refused } },
                },
            },
        },
    })
}

/// What we write always holds all its keys; what we read may leave out those with a default.
struct Schemas {
    given: SchemaGenerator,
    taken: SchemaGenerator,
}

fn generator(contract: Contract) -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.contract = contract;
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    settings.into_generator()
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = Vec::new();
    if route.path.contains("{name}") {
        parameters.push(json!({
            "name": "name", "in": "path", "required": true, "schema": { "type": "string" },
            "description": "web, one of its instances as web%2F2 or web/2, or a glob such as web*.",
        }));
    }
    parameters.extend(route.arguments.iter().map(|argument| parameter(argument)));
    let mut operation = json!({
        "operationId": route.name,
        "summary": route.about,
        "parameters": parameters,
        "responses": responses(route.gives, &mut schemas.given),
    });
    if let Some(shape) = route.takes {
        operation["requestBody"] =
            json!({ "content": { "application/json": { "schema": shape(&mut schemas.taken) } } });
    }
    // The empty alternative: not needed on the control socket, nor for reading on loopback.
    operation["security"] = match route.access() {
        Access::Change => json!([{ "token": [] }]),
        Access::Read => json!([{}, { "token": [] }]),
    };
    operation
}

fn parameter(argument: &Argument) -> Value {
    let schema = match argument.kind {
        Kind::Flag => json!({ "type": "boolean", "default": false }),
        Kind::Count => json!({ "type": "integer", "minimum": 0, "maximum": MOST }),
        Kind::Text => json!({ "type": "string" }),
    };
    json!({ "name": argument.name, "in": "query", "description": argument.about, "schema": schema })
}

const LINES: [&str; 2] = ["application/x-ndjson", "text/event-stream"];
const OBJECT_OR_LINES: [&str; 3] = ["application/json", "application/x-ndjson", "text/event-stream"];

fn responses(gives: Gives, generator: &mut SchemaGenerator) -> Value {
    let of = |kinds: &[&str], about: &str, schema: Value| {
        let content: Map<String, Value> =
            kinds.iter().map(|kind| ((*kind).to_owned(), json!({ "schema": schema }))).collect();
        json!({ "description": about, "content": content })
    };
    let one = ["application/json"];
    let mut responses = match gives {
        Gives::Object(shape) => json!({ "200": of(&one, "As asked.", shape(generator).to_value()) }),
        Gives::Verdict(shape) => {
            let schema = shape(generator).to_value();
            json!({ "200": of(&one, "Yes.", schema.clone()), "503": of(&one, "No.", schema) })
        }
        Gives::Action(shape) => {
            let schema = shape(generator).to_value();
            json!({
                "200": of(&one, "Done: what was asked for holds.", schema.clone()),
                "202": of(&one, "Under way.", schema),
                "504": { "$ref": "#/components/responses/Refused" },
            })
        }
        Gives::Lines(shape) | Gives::ObjectOrLines(shape) => json!({
            "200": of(
                if matches!(gives, Gives::Lines(_)) { &LINES } else { &OBJECT_OR_LINES },
                "One such object a line (or event); {\"lost\":n} stands where a slow reader missed n.",
                shape(generator).to_value(),
            ),
        }),
        Gives::Metrics => json!({
            "200": of(&["text/plain", "application/openmetrics-text"], "The page.", json!({ "type": "string" })),
        }),
        Gives::Document => json!({ "200": of(&one, "An OpenAPI 3.1 document.", json!({ "type": "object" })) }),
    };
    responses["default"] = json!({ "$ref": "#/components/responses/Refused" });
    responses
}
