//! Lines of children with their service before them, and what has colour in them kept in check.

use std::collections::BTreeMap;

use unicode_width::UnicodeWidthStr as _;

use crate::cli::output::{Paint, Surface, Tone, tame_but_colors};
use crate::model::log::LogLine;

/// Puts `web   | ` before lines: one width for all, one colour a service.
#[derive(Clone, Debug)]
pub(crate) struct Prefix {
    width: usize,
    places: BTreeMap<String, usize>,
    paint: Paint,
    terminal: bool,
    named: bool,
}

impl Prefix {
    /// For lines of these instances; `named` false leaves the names out.
    pub(crate) fn new<'a>(instances: impl Iterator<Item = &'a str>, named: bool, surface: &Surface) -> Self {
        let mut prefix =
            Self { width: 0, places: BTreeMap::new(), paint: surface.paint, terminal: surface.terminal, named };
        instances.for_each(|name| prefix.learn(name));
        prefix
    }

    /// Makes room for another instance.
    pub(crate) fn learn(&mut self, instance: &str) {
        self.width = self.width.max(instance.width());
        let next = self.places.len();
        self.places.entry(service_of(instance).to_owned()).or_insert(next);
    }

    /// A child's line, without its end: on a terminal nothing in it but colours acts on the terminal.
    pub(crate) fn line(&mut self, line: &LogLine) -> String {
        let text = if self.terminal { tame_but_colors(&line.line) } else { line.line.clone() };
        if self.named { self.before(&line.instance, &text) } else { text }
    }

    /// everup's own words about an instance, dim.
    pub(crate) fn remark(&mut self, instance: &str, text: &str) -> String {
        let text = self.paint.text(Tone::Dim, text);
        self.before(instance, &text)
    }

    fn before(&mut self, instance: &str, text: &str) -> String {
        self.learn(instance);
        let place = self.places.get(service_of(instance)).copied().unwrap_or_default();
        let padding = " ".repeat(self.width.saturating_sub(instance.width()));
        format!("{}{padding} | {text}", self.paint.text(Tone::Service(place), instance))
    }
}

fn service_of(instance: &str) -> &str {
    instance.split('/').next().unwrap_or(instance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::log::Stream;
    use crate::model::names::{Run, ServiceName};
    use crate::model::units::Timestamp;

    fn line(instance: &str, text: &str) -> LogLine {
        LogLine {
            v: 1,
            at: Timestamp(0),
            service: ServiceName::new(service_of(instance)).unwrap(),
            instance: instance.to_owned(),
            run: Run(1),
            stream: Stream::Stdout,
            line: text.to_owned(),
        }
    }

    #[test]
    fn names_stand_in_one_width() {
        let pipe = Surface { terminal: false, paint: Paint(false), width: None };
        let mut prefix = Prefix::new(["web/1", "db"].into_iter(), true, &pipe);
        for (instance, text, expected) in [
            ("web/1", "hello", "web/1 | hello"),
            ("db", "\x1b[2Jraw in a pipe", "db    | \x1b[2Jraw in a pipe"),
            ("web/12", "wider", "web/12 | wider"),
            ("db", "so it stays", "db     | so it stays"),
        ] {
            assert_eq!(prefix.line(&line(instance, text)), expected);
        }
        assert_eq!(Prefix::new(["web"].into_iter(), false, &pipe).line(&line("web", "bare")), "bare");
    }

    #[test]
    fn instances_of_a_service_share_its_colour_and_children_only_colour() {
        let screen = Surface { terminal: true, paint: Paint(true), width: Some(80) };
        let mut prefix = Prefix::new(["web/1", "web/2", "db"].into_iter(), true, &screen);
        assert_eq!(prefix.line(&line("web/2", "a\x1b[1mb\x1b[2J")), "\x1b[36mweb/2\x1b[0m | a\x1b[1mb\\x1b[2J\x1b[0m");
        assert_eq!(prefix.line(&line("db", "x")), "\x1b[33mdb\x1b[0m    | x");
        assert_eq!(prefix.remark("web/1", "ready"), "\x1b[36mweb/1\x1b[0m | \x1b[2mready\x1b[0m");
    }
}
