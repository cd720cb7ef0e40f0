//! Names and numbers of things: services, instances, runs, processes.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The name of a configured service: 1 to 64 of `A-Z a-z 0-9 . _ -`, the first a letter or digit.
///
/// Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct ServiceName(Arc<str>);

/// Why a text cannot be a [`ServiceName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// No character at all.
    #[error("a name needs at least one character")]
    Empty,
    /// Above 64 characters.
    #[error("a name has at most 64 characters")]
    Long,
    /// A character that file names, selectors or URLs would trip over.
    #[error("a name consists of letters, digits, '.', '_' and '-', and begins with a letter or digit (found {0:?})")]
    Character(char),
}

impl ServiceName {
    /// Takes `text` as a name.
    ///
    /// # Errors
    /// [`NameError`] when it is empty, too long or holds another character.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        match text.chars().next() {
            None => return Err(NameError::Empty),
            Some(first) if !first.is_ascii_alphanumeric() => return Err(NameError::Character(first)),
            Some(_) => {}
        }
        if let Some(odd) = text.chars().find(|c| !allowed(*c)) {
            return Err(NameError::Character(odd));
        }
        if text.len() > 64 {
            return Err(NameError::Long);
        }
        Ok(Self(Arc::from(text)))
    }

    /// A name for what has none so far.
    pub(crate) fn nameless() -> Self {
        Self(Arc::from("nameless"))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ServiceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl TryFrom<String> for ServiceName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        Self::new(&text)
    }
}

impl From<ServiceName> for String {
    fn from(name: ServiceName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// One copy of a service. `index` counts from 1 and never changes when the service is scaled.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstanceId {
    /// The configured service.
    pub service: ServiceName,
    /// 1, 2, …
    pub index: u32,
}

impl InstanceId {
    /// The instance's name for people and JSON: `web` while the service has one instance, else `web/2`.
    pub fn label(&self, instances: u32) -> String {
        if instances <= 1 && self.index == 1 { self.service.to_string() } else { self.to_string() }
    }

    /// The stem of the instance's log files: `web` for the first, `web.2` for the second.
    pub fn file_stem(&self) -> String {
        if self.index == 1 { self.service.to_string() } else { format!("{}.{}", self.service, self.index) }
    }
}

/// Always `web/1`, also for a single instance; this form works as a selector everywhere.
impl fmt::Display for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.index)
    }
}

/// One life of an instance's process: numbered from 1, never reused. 0 means "never started".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Run(pub u64);

impl Run {
    /// The run after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A process id, always above 1 when it stands for something to signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_files_selectors_and_urls_can_carry() {
        for good in ["web", "web-2", "a.b_c", "9lives"] {
            assert_eq!(ServiceName::new(good).map(|n| n.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", " web", "we b", "web/1", "-x", ".hidden", "w\u{e9}b", &"x".repeat(65)] {
            assert!(ServiceName::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_label_drops_the_number_of_an_only_instance() {
        let id = |index| InstanceId { service: ServiceName::new("web").unwrap(), index };
        for (index, instances, label, stem) in [(1, 1, "web", "web"), (1, 2, "web/1", "web"), (2, 2, "web/2", "web.2")]
        {
            assert_eq!((id(index).label(instances).as_str(), id(index).file_stem().as_str()), (label, stem));
        }
    }
}
