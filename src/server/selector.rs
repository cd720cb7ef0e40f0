//! Who is meant by `web`, `web/2` or `web*`.

use crate::model::command::{Denied, DeniedCode, Target};
use crate::model::names::ServiceName;
use crate::model::selector::{fits, nearest};
use crate::model::status::{ServiceStatus, Status};
use crate::server::reply::{bad, denied};

/// The targets a selector names; at least one.
///
/// # Errors
/// `NoSuchService` with the nearest names when it names none.
pub(crate) fn resolve(selector: &str, status: &Status) -> Result<Vec<Target>, Denied> {
    let (pattern, number) = match selector.rsplit_once('/') {
        Some((pattern, number)) => (pattern, Some(number)),
        None => (selector, None),
    };
    let named: Vec<&ServiceStatus> = status.services.iter().filter(|s| fits(pattern, s.name.as_str())).collect();
    if named.is_empty() {
        return Err(nobody(selector, pattern, status));
    }
    let Some(number) = number else {
        return Ok(named.into_iter().map(|service| Target::all(service.name.clone())).collect());
    };
    let index: Option<u32> = number.parse().ok().filter(|_| number.bytes().all(|b| b.is_ascii_digit()));
    let targets: Vec<Target> = named
        .iter()
        .filter(|service| service.instances.iter().any(|instance| Some(instance.index) == index))
        .map(|service| Target { service: service.name.clone(), index })
        .collect();
    if targets.is_empty() {
        let hint = named.iter().map(|service| instances_of(service)).collect::<Vec<_>>().join("; ");
        return Err(denied(DeniedCode::NoSuchService, format!("there is no instance {selector:?}"), hint));
    }
    Ok(targets)
}

/// The one target a selector names.
///
/// # Errors
/// As [`resolve`]; `BadRequest` when it names several.
pub(crate) fn resolve_one(selector: &str, status: &Status) -> Result<Target, Denied> {
    let mut targets = resolve(selector, status)?;
    match (targets.pop(), targets.is_empty()) {
        (Some(target), true) => Ok(target),
        (Some(_) | None, _) => Err(bad(format!("{selector:?} names several services, and this is about one"))),
    }
}

/// The one service a selector names.
///
/// # Errors
/// As [`resolve_one`]; `BadRequest` when it names an instance.
pub(crate) fn resolve_service(selector: &str, status: &Status) -> Result<ServiceName, Denied> {
    let target = resolve_one(selector, status)?;
    match target.index {
        None => Ok(target.service),
        Some(_) => Err(bad(format!("{selector:?} names an instance, and this is about a whole service"))),
    }
}

/// Whether a selector may name several services.
pub(crate) fn is_pattern(selector: &str) -> bool {
    selector.contains(['*', '?'])
}

fn nobody(selector: &str, name: &str, status: &Status) -> Denied {
    let names = || status.services.iter().map(|service| service.name.as_str());
    let near = nearest(name, names());
    let hint = match near.as_slice() {
        [] if status.services.is_empty() => "this project has no services".to_owned(),
        [] if status.services.len() <= 12 => format!("the services are {}", names().collect::<Vec<_>>().join(", ")),
        [] => "GET /v1/status lists the services".to_owned(),
        near => format!("did you mean {}?", near.join(" or ")),
    };
    denied(DeniedCode::NoSuchService, format!("there is no service {selector:?}"), hint)
}

fn instances_of(service: &ServiceStatus) -> String {
    match service.instances.as_slice() {
        [] => format!("{} has no instance now", service.name),
        [only] => format!("{} has one instance, {}/{}", service.name, service.name, only.index),
        several => format!("{} has {} instances, {}/1 and on", service.name, several.len(), service.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::tests::canned;

    #[test]
    fn a_selector_names_services_and_instances() {
        let status = canned::status(&[("web", 2), ("worker", 1), ("db", 1)]);
        for (selector, expected) in [
            ("web", vec!["web"]),
            ("web/2", vec!["web/2"]),
            ("db/1", vec!["db/1"]),
            ("w*", vec!["web", "worker"]),
            ("*", vec!["web", "worker", "db"]),
            ("?b", vec!["db"]),
            ("w*/1", vec!["web/1", "worker/1"]),
            ("w*/2", vec!["web/2"]),
        ] {
            let found: Vec<String> = resolve(selector, &status)
                .unwrap()
                .into_iter()
                .map(|t| t.index.map_or(t.service.to_string(), |index| format!("{}/{index}", t.service)))
                .collect();
            assert_eq!(found, expected, "{selector}");
        }
    }

    #[test]
    fn an_unknown_name_is_refused_with_the_nearest_ones() {
        let status = canned::status(&[("web", 2), ("worker", 1), ("db", 1)]);
        for (selector, hint) in [
            ("wbe", "did you mean web?"),
            ("Worker", "did you mean worker?"),
            ("postgres", "the services are web, worker, db"),
            ("web/3", "web has 2 instances, web/1 and on"),
            ("db/x", "db has one instance, db/1"),
            ("web/+1", "web has 2 instances, web/1 and on"),
            ("", "the services are web, worker, db"),
        ] {
            let denied = resolve(selector, &status).unwrap_err();
            assert_eq!((denied.code, denied.hint.as_deref()), (DeniedCode::NoSuchService, Some(hint)), "{selector}");
        }
    }

    #[test]
    fn what_is_about_one_service_refuses_several() {
        let status = canned::status(&[("web", 2), ("worker", 1)]);
        assert_eq!(resolve_one("w*", &status).unwrap_err().code, DeniedCode::BadRequest);
        assert!(resolve_one("web/2", &status).is_ok());
        assert_eq!(resolve_service("web/2", &status).unwrap_err().code, DeniedCode::BadRequest);
        assert!(resolve_service("web", &status).is_ok());
    }
}
