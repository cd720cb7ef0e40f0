//! The room as a whole: texts in, plans or diagnostics out.

#![expect(clippy::format_collect, reason = "texts of a test are short")]

mod accepted;
mod any_text;
mod developed;
mod measured;
mod refused;
mod schema;
mod shown;
mod watched;
mod wrapped;

use std::path::Path;

use crate::config::diagnose::Diagnostics;
use crate::config::{Surroundings, parse};
use crate::model::plan::{Plan, ServicePlan};

/// A user's surroundings in which every folder can be written.
fn around() -> Surroundings {
    let environment = [("HOME", "/home/me"), ("PORT_BASE", "9000"), ("API_KEY", "s3cr3t"), ("WORKERS", "two")];
    Surroundings {
        environment: environment.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        everup: "/usr/bin/everup".into(),
        is_root: false,
        can_write: |_| true,
    }
}

fn read(text: &str) -> Result<Plan, Diagnostics> {
    read_in(Path::new("/srv/shop"), text)
}

fn read_in(root: &Path, text: &str) -> Result<Plan, Diagnostics> {
    parse(text, &root.join("supervisor.yaml"), root, &around())
}

#[track_caller]
fn good(text: &str) -> Plan {
    match read(text) {
        Ok(plan) => plan,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

/// The plan of one service whose keys are these, `command` added where it is missing.
#[track_caller]
fn service(keys: &str) -> ServicePlan {
    ServicePlan::clone(&good(&file_of(keys)).services[0])
}

/// A file of one service, `web`, with these keys.
fn file_of(keys: &str) -> String {
    let command = if keys.contains("command:") { "" } else { "    command: app\n" };
    let lines: String = keys.lines().map(|line| format!("    {line}\n")).collect();
    format!("services:\n  web:\n{command}{lines}")
}
