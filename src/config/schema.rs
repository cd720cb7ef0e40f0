//! The JSON schema of the file, for editors: the table of keys in another form.

use serde_json::{Map, Value, json};

use crate::config::document::{Scalar, Value as Tree};
use crate::config::keys::{self, Section};
use crate::config::shape::Shape;
use crate::model::signal::Signal;

/// The schema (draft 2020-12) of supervisor.yaml.
pub(super) fn schema() -> Value {
    let definitions: Map<String, Value> =
        keys::sections().iter().skip(1).map(|section| (section.name.to_owned(), of_section(section))).collect();
    let mut schema = of_section(&keys::ROOT);
    if let Value::Object(schema) = &mut schema {
        schema.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
        schema.insert("title".to_owned(), json!("supervisor.yaml"));
        schema.insert("required".to_owned(), json!(["services"]));
        schema.insert("$defs".to_owned(), Value::Object(definitions));
    }
    schema
}

fn of_section(section: &Section) -> Value {
    let mut properties = Map::new();
    for key in section.keys.iter().filter(|key| !matches!(key.shape, Shape::Later)) {
        let mut of_key = Map::new();
        if !key.doc.is_empty() {
            of_key.insert("description".to_owned(), json!(key.doc));
        }
        if !key.default.is_empty() {
            of_key.insert("default".to_owned(), of_default(key.default));
        }
        let mut shapes = of_shape(&key.shape);
        shapes.push(json!({"type": "null"}));
        of_key.insert("anyOf".to_owned(), Value::Array(shapes));
        properties.insert(key.name.to_owned(), Value::Object(of_key));
    }
    json!({"type": "object", "description": section.doc, "properties": properties, "additionalProperties": false})
}

/// The forms a shape takes in JSON, one of which must fit.
fn of_shape(shape: &Shape) -> Vec<Value> {
    match shape {
        Shape::Text | Shape::Regex | Shape::Path | Shape::Address | Shape::Listen | Shape::Glob => {
            vec![json!({"type": ["string", "number", "boolean"]})]
        }
        Shape::Reload => vec![json!({"const": "restart"}), json!({"type": "string", "pattern": "^signal |\\$"})],
        Shape::Name => vec![json!({"type": ["string", "number"]})],
        Shape::Flag => vec![json!({"type": "boolean"}), variable()],
        Shape::Only(flag) => vec![json!({"const": flag})],
        Shape::Whole { min, max } => vec![json!({"type": "integer", "minimum": min, "maximum": max}), variable()],
        Shape::Decimal { min, max } => vec![json!({"type": "number", "minimum": min, "maximum": max}), variable()],
        Shape::Duration { least } => {
            let mut forms =
                vec![json!({"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d))+$"}), variable()];
            if least.is_zero() {
                forms.push(json!({"enum": [0, "0"]}));
            }
            forms
        }
        Shape::Size { least } => vec![size(), json!({"type": "integer", "minimum": least}), variable()],
        Shape::Limit => {
            vec![size(), json!({"type": "integer", "minimum": 0}), json!({"const": "unlimited"}), variable()]
        }
        Shape::Mode => vec![json!({"type": "string", "pattern": "^(0o)?[0-7]{1,4}$"}), variable()],
        Shape::Signal => {
            let names: Vec<&str> = Signal::names().collect();
            vec![json!({"enum": names}), json!({"type": ["string", "integer"]})]
        }
        Shape::Url => vec![json!({"type": "string", "pattern": "^(https?://|tcp:|unix:|.*\\$)"})],
        Shape::Command => vec![
            json!({"type": "string"}),
            json!({"type": "array", "minItems": 1, "items": {"type": ["string", "number", "boolean"]}}),
        ],
        Shape::Range { min, max } => vec![
            json!({"type": "integer", "minimum": min, "maximum": max}),
            json!({"type": "string", "pattern": "^[0-9]+(-[0-9]+)?$"}),
            variable(),
        ],
        Shape::Words(words) => vec![json!({"enum": words()}), variable()],
        Shape::List(item) => vec![json!({"type": "array", "items": {"anyOf": of_shape(item)}})],
        Shape::Map(item) => {
            let mut forms = of_shape(item);
            forms.push(json!({"type": "null"}));
            vec![json!({"type": "object", "additionalProperties": {"anyOf": forms}})]
        }
        Shape::Section(section) => vec![json!({"$ref": format!("#/$defs/{}", section.name)})],
        Shape::Any(shapes) => shapes.iter().flat_map(of_shape).collect(),
        Shape::Later => vec![],
    }
}

/// A text that takes its type only once its variables are filled in.
fn variable() -> Value {
    json!({"type": "string", "pattern": "\\$"})
}

fn size() -> Value {
    json!({"type": "string", "pattern": r"^[0-9]+(\.[0-9]+)? ?([KMGT]i?B?|B)?$"})
}

fn of_default(text: &str) -> Value {
    let mut faults = crate::config::diagnose::Faults::default();
    let node = crate::config::compose::compose(text, &mut faults);
    match node.map(|node| node.value) {
        Some(Tree::Scalar(scalar)) => of_scalar(&scalar),
        Some(Tree::List(items)) => items.iter().filter_map(|item| item.scalar()).map(of_scalar).collect(),
        Some(Tree::Map(_)) => json!({}),
        None => Value::Null,
    }
}

fn of_scalar(scalar: &Scalar) -> Value {
    if let Some(flag) = scalar.flag() {
        json!(flag)
    } else if let Some(number) = scalar.whole() {
        json!(number)
    } else if let Some(number) = scalar.number() {
        json!(number)
    } else {
        json!(scalar.text)
    }
}
