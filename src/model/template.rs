//! A text in which only what differs between instances is still open.

use serde::{Deserialize, Serialize};
use std::fmt;

/// What a [`Template`] is filled from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slots {
    /// The instance's number, from 1.
    pub index: u32,
    /// The instance's port, where the service has one.
    pub port: Option<u16>,
}

/// One piece of a [`Template`].
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Part {
    /// As it is.
    Text(String),
    /// As it is, but shown as `<hidden>`: it came from a secret.
    Hidden(String),
    /// `${PORT}` of the instance.
    Port,
    /// `${INDEX}` of the instance.
    Index,
    /// `${FD_name}`: the descriptor of the held socket of that name.
    Fd {
        /// The socket's name.
        name: String,
        /// Its descriptor in every run.
        number: u32,
    },
}

/// What [`Part::Hidden`] is shown as.
const HIDDEN: &str = "<hidden>";

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.debug_tuple("Text").field(text).finish(),
            Self::Hidden(_) => f.write_str("Hidden"),
            Self::Port => f.write_str("Port"),
            Self::Index => f.write_str("Index"),
            Self::Fd { name, number } => write!(f, "Fd({name}={number})"),
        }
    }
}

/// A text with `${PORT}` and `${INDEX}` left to fill in per instance; everything else is already expanded.
///
/// Serialized it is whole, secrets included: for the memory of everup alone. People are shown its `Display`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Template(Vec<Part>);

impl Template {
    /// From pieces.
    pub fn new(parts: Vec<Part>) -> Self {
        Self(parts)
    }

    /// A text with nothing left open.
    pub fn text(text: impl Into<String>) -> Self {
        Self(vec![Part::Text(text.into())])
    }

    /// The pieces.
    pub fn parts(&self) -> &[Part] {
        &self.0
    }

    /// The text for one instance. `${PORT}` of a service without `port` is refused when the file is read,
    /// so nothing stands in for it here.
    pub fn render(&self, slots: Slots) -> String {
        self.filled(slots, |hidden| hidden)
    }

    /// As [`Template::render`], for people: secrets are hidden.
    pub fn shown(&self, slots: Slots) -> String {
        self.filled(slots, |_| HIDDEN)
    }

    fn filled(&self, slots: Slots, hidden: impl Fn(&str) -> &str) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Hidden(text) => hidden(text).to_owned(),
                Part::Port => slots.port.map(|port| port.to_string()).unwrap_or_default(),
                Part::Index => slots.index.to_string(),
                Part::Fd { number, .. } => number.to_string(),
            })
            .collect()
    }
}

/// For people only: with `${PORT}`, `${INDEX}` and `${FD_name}` as they are written, and secrets hidden.
impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| match part {
            Part::Text(text) => f.write_str(text),
            Part::Hidden(_) => f.write_str(HIDDEN),
            Part::Port => f.write_str("${PORT}"),
            Part::Index => f.write_str("${INDEX}"),
            Part::Fd { name, .. } => write!(f, "${{FD_{name}}}"),
        })
    }
}
