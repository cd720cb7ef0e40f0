//! The schema and the decoder come from one table; these hold them together.

use serde_json::{Value, json};

use super::{file_of, read};
use crate::config::compose::compose;
use crate::config::diagnose::Faults;
use crate::config::document::{Node, Value as Tree};
use crate::config::keys::{self, Section};
use crate::config::schema;
use crate::config::shape::Shape;

/// Whether `value` fits `schema`: as much of JSON schema as ours uses.
fn fits(value: &Value, schema: &Value, root: &Value) -> bool {
    let kind = |name: &str| match name {
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        "null" => value.is_null(),
        other => panic!("{other}"),
    };
    let Some(rules) = schema.as_object() else { return schema != &Value::Bool(false) };
    rules.iter().all(|(rule, wanted)| match rule.as_str() {
        "type" => match wanted {
            Value::Array(names) => names.iter().filter_map(Value::as_str).any(kind),
            name => name.as_str().is_some_and(kind),
        },
        "anyOf" => wanted.as_array().unwrap().iter().any(|one| fits(value, one, root)),
        "enum" => wanted.as_array().unwrap().contains(value),
        "const" => wanted == value,
        "pattern" => {
            value.as_str().is_none_or(|text| regex::Regex::new(wanted.as_str().unwrap()).unwrap().is_match(text))
        }
        "minimum" => value.as_f64().is_none_or(|number| number >= wanted.as_f64().unwrap()),
        "maximum" => value.as_f64().is_none_or(|number| number <= wanted.as_f64().unwrap()),
        "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= wanted.as_u64().unwrap()),
        "items" => value.as_array().is_none_or(|items| items.iter().all(|item| fits(item, wanted, root))),
        "properties" => value.as_object().is_none_or(|map| {
            map.iter().all(|(key, value)| wanted.get(key).is_none_or(|schema| fits(value, schema, root)))
        }),
        "additionalProperties" => value.as_object().is_none_or(|map| {
            let known = |key: &String| schema.get("properties").is_some_and(|keys| keys.get(key).is_some());
            map.iter().filter(|(key, _)| !known(key)).all(|(_, value)| fits(value, wanted, root))
        }),
        "required" => value
            .as_object()
            .is_none_or(|map| wanted.as_array().unwrap().iter().all(|key| map.contains_key(key.as_str().unwrap()))),
        "$ref" => fits(value, root.pointer(wanted.as_str().unwrap().trim_start_matches('#')).unwrap(), root),
        "$schema" | "$defs" | "title" | "description" | "default" => true,
        other => panic!("{other}"),
    })
}

fn json(node: &Node) -> Value {
    match &node.value {
        Tree::List(items) => items.iter().map(json).collect(),
        Tree::Map(entries) => {
            Value::Object(entries.iter().map(|entry| (entry.key.clone(), json(&entry.node))).collect())
        }
        Tree::Scalar(scalar) if scalar.is_null() => Value::Null,
        Tree::Scalar(scalar) => match (scalar.flag(), scalar.whole(), scalar.number()) {
            (Some(flag), _, _) => json!(flag),
            (_, Some(number), _) => json!(number),
            (_, _, Some(number)) => json!(number),
            (None, None, None) => json!(scalar.text),
        },
    }
}

#[test]
fn the_schema_takes_what_the_decoder_takes() {
    let schema = schema();
    for (text, valid) in [
        (include_str!("../../../tests/data/config/all-keys.yaml").to_owned(), true),
        ("services: {web: {command: x, port: '${P:-1}', needs: null, restart: always}}".to_owned(), true),
        (file_of("restrat: always"), false),
        (file_of("instances: many"), false),
        (file_of("restart: {delay: 10}"), false),
        (file_of("restart: sometimes"), false),
        (file_of("memory_restart: 1G"), true),
        (file_of("memory_restart: {over: 1G}"), false),
        (file_of("limits: {cpu: 0}"), false),
        (file_of("log_metrics: apache"), false),
        (file_of("log_metrics: [uvicorn, {pattern: '(?<method>a)(?<code>b)'}]"), true),
        ("notify: [{on: [failed, panic], exec: x}]\nservices: {web: {command: x}}".to_owned(), false),
        ("notify: {exec: x}\nservices: {web: {command: x}}".to_owned(), false),
        ("history: {keep: 1}\nservices: {web: {command: x}}".to_owned(), false),
        (file_of("reload: sometimes"), false),
        (file_of("watch: {debounce: 5}"), false),
        (file_of("watch: {path: [a]}"), false),
        (file_of("watch: [app]\nreload: signal HUP\nlisten: {http: 127.0.0.1:80}"), true),
        (file_of("watch: {paths: app, check: [a, '{file}']}\nreload: {how: restart}"), true),
        ("watch: always\nservices: {web: {command: x, watch: false}}".to_owned(), true),
        ("watch: never\nservices: {web: {command: x}}".to_owned(), false),
        (file_of("health: {http: ftp://x}"), false),
        (file_of("umask: 27"), false),
        ("{}".to_owned(), false),
    ] {
        let node = compose(&text, &mut Faults::default()).unwrap();
        assert_eq!(fits(&json(&node), &schema, &schema), valid, "schema: {text}");
        assert_eq!(read(&text).is_ok(), valid, "decoder: {text}");
    }
}

#[test]
fn every_default_of_the_table_fits_its_own_schema() {
    let schema = schema();
    let sections = schema["$defs"].as_object().unwrap().values().chain([&schema]);
    for (name, key) in sections.flat_map(|section| section["properties"].as_object().unwrap()) {
        assert!(key["description"].as_str().is_some_and(|text| text.ends_with(['.', '…', '&'])), "{name} says nothing");
        if let Some(default) = key.get("default") {
            assert!(fits(default, key, &schema), "{name}: {default}");
        }
    }
}

/// A file in which `section` holds only this line.
fn file_with(section: &Section, line: &str) -> String {
    match section.name {
        "file" => format!("services: {{web: {{command: x}}}}\n{line}"),
        "control" | "web" | "history" => format!("services: {{w: {{command: x}}}}\n{}: {{{line}}}", section.name),
        "service" => format!("services: {{web: {{{line}}}}}"),
        "notify" => format!("services: {{w: {{command: x}}}}\nnotify: [{{{line}}}]"),
        "access_lines" => format!("services: {{web: {{command: x, log_metrics: [{{{line}}}]}}}}"),
        "need" => format!("services: {{a: {{command: x}}, web: {{command: x, needs: {{a: {{{line}}}}}}}}}"),
        "restart_limit" => format!("services: {{web: {{command: x, restart: {{limit: {{{line}}}}}}}}}"),
        "restart_rule" => {
            format!("services: {{web: {{command: x, restart: {{rules: [{{codes: [1], then: stop, {line}}}]}}}}}}")
        }
        "probe" | "probes" => format!("services: {{web: {{command: x, health: {{{line}}}}}}}"),
        "http" => format!("services: {{web: {{command: x, health: {{http: {{{line}}}}}}}}}"),
        name => format!("services: {{web: {{command: x, {name}: {{{line}}}}}}}"),
    }
}

#[test]
fn no_key_of_the_table_is_ignored() {
    for section in keys::sections() {
        for key in section.keys {
            let text = file_with(section, &format!("{}: [[{{odd: 1}}]]", key.name));
            let diagnostics = read(&text).expect_err(&text);
            let named =
                diagnostics.list().iter().any(|one| one.path.contains(key.name) || one.message.contains(key.name));
            assert!(named, "{}.{}: {diagnostics}", section.name, key.name);
            let later = diagnostics
                .list()
                .iter()
                .any(|one| one.message == format!("`{}` is not in this version yet", key.name));
            assert_eq!(later, matches!(key.shape, Shape::Later), "{}", key.name);
        }
    }
}
