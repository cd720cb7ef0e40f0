//! What of a target must not be told on, by whoever answers.

use crate::model::template::{Part, Template};

/// A piece of at least this length may be what makes it a secret.
const LEAST: usize = 4;

/// The pieces of a target that are hidden.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<String>);

impl Secrets {
    /// Those of a URL, or of the words of a command.
    pub fn of<'t>(words: impl IntoIterator<Item = &'t Template>) -> Self {
        let parts = words.into_iter().flat_map(Template::parts);
        let hidden = parts.filter_map(|part| match part {
            Part::Hidden(text) => Some(text.as_str()),
            Part::Text(_) | Part::Port | Part::Index | Part::Fd { .. } => None,
        });
        let pieces = hidden.flat_map(|text| text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_'));
        Self(pieces.filter(|piece| piece.len() >= LEAST).map(str::to_owned).collect())
    }

    /// Whether `text` tells one on.
    pub fn are_in(&self, text: &str) -> bool {
        self.0.iter().any(|secret| text.contains(secret))
    }
}
