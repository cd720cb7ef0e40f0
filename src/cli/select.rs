//! Selectors: `web`, `web/2`, `'web*'`, and the nearest name when there is none of that name.

use std::collections::BTreeMap;

use crate::cli::failure::{Exit, Failure};
use crate::model::command::Target;
use crate::model::names::{InstanceId, ServiceName};
use crate::model::selector::{fits, nearest};
use crate::model::status::Status;

/// What can be selected: services with the numbers of their instances.
#[derive(Clone, Debug, Default)]
pub(crate) struct Known {
    project: String,
    services: Vec<(ServiceName, Vec<u32>)>,
}

impl Known {
    /// What a running project has.
    pub(crate) fn of(status: &Status) -> Self {
        let services = status
            .services
            .iter()
            .map(|service| (service.name.clone(), service.instances.iter().map(|instance| instance.index).collect()))
            .collect();
        Self { project: status.project.clone(), services }
    }

    /// What is only known by name.
    pub(crate) fn named(project: impl Into<String>, services: impl IntoIterator<Item = (ServiceName, u32)>) -> Self {
        let services = services.into_iter().map(|(name, instances)| (name, (1..=instances).collect())).collect();
        Self { project: project.into(), services }
    }

    /// Every service.
    pub(crate) fn all(&self) -> Vec<Target> {
        self.services.iter().map(|(name, _)| Target::all(name.clone())).collect()
    }

    /// What the selectors mean, each target once, in the order of the selectors; none given: none.
    ///
    /// # Errors
    /// [`Exit::NoSuchService`] with the nearest names.
    pub(crate) fn select(&self, selectors: &[String]) -> Result<Vec<Target>, Failure> {
        let mut targets: Vec<Target> = vec![];
        for selector in selectors {
            for target in self.one(selector)? {
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
        Ok(targets)
    }

    /// As [`Known::select`], but without selectors the only service there is, or with `all` every one.
    ///
    /// # Errors
    /// [`Exit::Usage`] when it is not said which of several are meant, or both selectors and `all` are given.
    pub(crate) fn select_or_all(&self, selectors: &[String], all: bool, verb: &str) -> Result<Vec<Target>, Failure> {
        match (selectors.is_empty(), all) {
            (false, false) => self.select(selectors),
            (true, true) => Ok(self.all()),
            (true, false) if self.services.len() == 1 => Ok(self.all()),
            (true, false) => Err(Failure::new(Exit::Usage, format!("cannot {verb} without knowing which service"))
                .hint(format!("name one of {}, or write --all", self.names().join(", ")))),
            (false, true) => Err(Failure::new(Exit::Usage, format!("cannot {verb} both the services named and --all"))
                .hint("leave out one of them")),
        }
    }

    /// How many instances each service has.
    pub(crate) fn counts(&self) -> BTreeMap<ServiceName, u32> {
        self.services
            .iter()
            .map(|(name, indexes)| (name.clone(), u32::try_from(indexes.len()).unwrap_or(u32::MAX)))
            .collect()
    }

    /// The names of the instances meant by `targets` (none: all), as they stand before their lines.
    pub(crate) fn labels(&self, targets: &[Target]) -> Vec<String> {
        let meant = |name: &ServiceName, index: u32| {
            targets.is_empty()
                || targets
                    .iter()
                    .any(|target| target.service == *name && target.index.is_none_or(|wanted| wanted == index))
        };
        let mut labels = vec![];
        for (name, indexes) in &self.services {
            let count = u32::try_from(indexes.len()).unwrap_or(u32::MAX);
            for index in indexes.iter().copied().filter(|index| meant(name, *index)) {
                labels.push(InstanceId { service: name.clone(), index }.label(count));
            }
        }
        labels
    }

    fn one(&self, selector: &str) -> Result<Vec<Target>, Failure> {
        let (pattern, index) = match selector.split_once('/') {
            None => (selector, None),
            Some((pattern, number)) => match number.parse() {
                Ok(index) => (pattern, Some(index)),
                Err(_) => {
                    return Err(Failure::new(Exit::Usage, format!("cannot read {selector:?} as a selector"))
                        .hint("write a service (web), an instance (web/2) or a pattern ('web*')"));
                }
            },
        };
        let matching: Vec<_> = self.services.iter().filter(|(name, _)| fits(pattern, name.as_str())).collect();
        if matching.is_empty() {
            return Err(self.unknown(pattern));
        }
        let targets: Vec<Target> = matching
            .iter()
            .filter(|(_, indexes)| index.is_none_or(|index| indexes.contains(&index)))
            .map(|(name, _)| Target { service: name.clone(), index })
            .collect();
        if targets.is_empty() {
            let there =
                matching.iter().flat_map(|(name, indexes)| indexes.iter().map(move |index| format!("{name}/{index}")));
            let there: Vec<String> = there.collect();
            return Err(Failure::new(
                Exit::NoSuchService,
                format!("cannot find instance {selector} in project {}", self.project),
            )
            .hint(if there.is_empty() {
                format!("{pattern} has no instance now")
            } else {
                format!("there is {}", there.join(", "))
            }));
        }
        Ok(targets)
    }

    fn unknown(&self, pattern: &str) -> Failure {
        let names = self.names();
        let failure =
            Failure::new(Exit::NoSuchService, format!("cannot find service {pattern} in project {}", self.project));
        let near = nearest(pattern, names.iter().map(String::as_str));
        if names.is_empty() {
            failure.hint("the project has no services")
        } else if near.is_empty() {
            failure.hint(format!("its services are {}", names.join(", ")))
        } else {
            failure.hint(format!("did you mean {}?", near.join(" or ")))
        }
    }

    fn names(&self) -> Vec<String> {
        self.services.iter().map(|(name, _)| name.to_string()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Known {
        let name = |text| ServiceName::new(text).unwrap();
        Known::named("shop", [(name("web"), 2), (name("web-admin"), 1), (name("db"), 1)])
    }

    fn texts(targets: &[Target]) -> Vec<String> {
        targets
            .iter()
            .map(|target| {
                target.index.map_or_else(|| target.service.to_string(), |index| format!("{}/{index}", target.service))
            })
            .collect()
    }

    #[test]
    fn selectors_name_services_instances_and_patterns() {
        for (selectors, expected) in [
            (vec!["web"], vec!["web"]),
            (vec!["web/2"], vec!["web/2"]),
            (vec!["db/1"], vec!["db/1"]),
            (vec!["web*"], vec!["web", "web-admin"]),
            (vec!["w?b"], vec!["web"]),
            (vec!["*"], vec!["web", "web-admin", "db"]),
            (vec!["db", "web", "db"], vec!["db", "web"]),
            (vec!["web*/2"], vec!["web/2"]),
        ] {
            let selectors: Vec<String> = selectors.into_iter().map(str::to_owned).collect();
            assert_eq!(texts(&known().select(&selectors).unwrap()), expected, "{selectors:?}");
        }
    }

    #[test]
    fn what_is_not_there_gets_the_nearest_name_and_its_exit_code() {
        for (selector, code, hint) in [
            ("wbe", 4, "did you mean web?"),
            ("WEB", 4, "did you mean web or web-admin?"),
            ("web-amdin", 4, "did you mean web-admin or web?"),
            ("nothing", 4, "its services are web, web-admin, db"),
            ("web/3", 4, "there is web/1, web/2"),
            ("web/x", 2, "write a service (web), an instance (web/2) or a pattern ('web*')"),
        ] {
            let failure = known().select(&[selector.to_owned()]).unwrap_err();
            assert_eq!(failure.exit().code(), code, "{selector}");
            assert!(failure.text().contains(hint), "{selector}: {}", failure.text());
        }
    }

    #[test]
    fn changing_several_services_wants_all_to_be_said() {
        assert_eq!(known().select_or_all(&[], false, "stop").unwrap_err().exit(), Exit::Usage);
        assert_eq!(known().select_or_all(&["db".to_owned()], true, "stop").unwrap_err().exit(), Exit::Usage);
        assert_eq!(texts(&known().select_or_all(&[], true, "stop").unwrap()), ["web", "web-admin", "db"]);
        let one = Known::named("app", [(ServiceName::new("app").unwrap(), 1)]);
        assert_eq!(texts(&one.select_or_all(&[], false, "stop").unwrap()), ["app"]);
    }
}
