//! What is on the screen, and what a key or a piece of news changes about it. Pure: no clock, no terminal, no socket.

use std::collections::VecDeque;

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use crate::cli::output::Tone;
use crate::cli::top::kept::merged;
use crate::cli::top::log::Log;
use crate::cli::top::look::Look;
use crate::cli::top::rows::{Row, Sort, rows};
use crate::client::action::Action;
use crate::model::event::EventRecord;
use crate::model::log::LogLine;
use crate::model::overview::Overview;

/// How many events are kept.
const EVENTS: usize = 1_000;
/// How many rows a page key moves.
const PAGE: usize = 10;

/// Which part of the project is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum View {
    /// All services.
    Table,
    /// One in full.
    Detail,
    /// What one writes.
    Log,
}

/// What has happened elsewhere.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum News {
    /// A connection is there; what follows is whole again.
    Connected,
    /// The project, with what is new.
    Overview(Box<Overview>),
    /// The connection is gone.
    Lost(String),
    /// Events begin anew.
    EventsAnew,
    /// Something happened.
    Event(Box<EventRecord>),
    /// The log under this number begins anew.
    LogAnew(u64),
    /// A line of the log that the screen asked for under this number.
    Line(u64, Box<LogLine>),
    /// So many lines are missing in it.
    LinesLost(u64, u64),
    /// What became of an action.
    Done(Tone, String),
    /// A key was pressed.
    Key(KeyEvent),
    /// The window has another size.
    Resized,
    /// There will be no more keys.
    KeysGone,
    /// A signal came.
    Signal(i32),
}

/// What is to be done outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Leave.
    Quit,
    /// Stop this program until the shell goes on with it.
    Suspend,
    /// Ask everup for this.
    Act(Action),
}

/// An action that waits for `y`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    /// What it would do: `restart web`.
    pub(super) words: String,
    action: Action,
}

/// Everything there is to show.
#[derive(Debug)]
pub(super) struct App {
    pub(super) look: Look,
    /// As it was seen last.
    pub(super) overview: Option<Overview>,
    /// Whether the next overview is whole.
    is_anew: bool,
    /// Why there is no connection; none while there is one.
    pub(super) lost: Option<String>,
    pub(super) view: View,
    /// Where Esc leads from the log.
    before_log: View,
    /// The name of the selected row.
    selected: Option<String>,
    pub(super) sort: Sort,
    pub(super) filter: String,
    /// Whether keys go into the filter.
    pub(super) is_filtering: bool,
    pub(super) shows_help: bool,
    pub(super) asked: Option<Asked>,
    /// What the last action came to, until the next key.
    pub(super) said: Option<(Tone, String)>,
    pub(super) events: VecDeque<EventRecord>,
    pub(super) log: Log,
}

impl App {
    pub(super) fn new(look: Look) -> Self {
        Self {
            look,
            overview: None,
            is_anew: true,
            lost: None,
            view: View::Table,
            before_log: View::Table,
            selected: None,
            sort: Sort::default(),
            filter: String::new(),
            is_filtering: false,
            shows_help: false,
            asked: None,
            said: None,
            events: VecDeque::new(),
            log: Log::default(),
        }
    }

    /// The rows that are shown.
    pub(super) fn rows(&self) -> Vec<Row<'_>> {
        self.overview.as_ref().map(|overview| rows(overview, self.sort, &self.filter)).unwrap_or_default()
    }

    /// The selected row and its place among `rows`: the first where the selected one is gone.
    pub(super) fn selection<'a>(&self, rows: &[Row<'a>]) -> Option<(usize, Row<'a>)> {
        let place = rows.iter().position(|row| Some(row.name()) == self.selected.as_deref()).unwrap_or(0);
        Some((place, *rows.get(place)?))
    }

    /// Whether nothing of the selected row runs or is to run.
    pub(super) fn is_over(&self) -> bool {
        self.selection(&self.rows()).is_some_and(|(_, row)| row.is_over())
    }

    /// Whose log the screen shows; none: nobody's.
    pub(super) fn wanted_log(&self) -> Option<String> {
        if self.view == View::Table {
            return None;
        }
        self.selection(&self.rows()).map(|(_, row)| row.name().to_owned())
    }

    /// Takes a piece of news.
    pub(super) fn on(&mut self, news: News) -> Option<Effect> {
        match news {
            News::Connected => (self.lost, self.is_anew) = (None, true),
            News::Overview(overview) => {
                let before = if std::mem::take(&mut self.is_anew) { None } else { self.overview.take() };
                self.overview = Some(merged(*overview, before));
            }
            News::Lost(reason) => self.lost = Some(reason),
            News::EventsAnew => self.events.clear(),
            News::Event(event) => {
                self.events.push_back(*event);
                while self.events.len() > EVENTS {
                    self.events.pop_front();
                }
            }
            News::LogAnew(number) => self.log.anew(number),
            News::Line(number, line) => self.log.line(number, &line),
            News::LinesLost(number, count) => self.log.lost(number, count),
            News::Done(tone, text) => self.said = Some((tone, text)),
            News::Key(key) => return self.key(key),
            News::Resized | News::KeysGone | News::Signal(_) => {}
        }
        None
    }

    fn key(&mut self, key: KeyEvent) -> Option<Effect> {
        if key.modifiers.contains(KeyModifiers::ALT) {
            // Esc and a key right behind it look the same, above all over a slow line.
            self.key(KeyEvent::new(KeyCode::Esc, KeyModifiers::NONE));
            return self.key(KeyEvent { modifiers: key.modifiers - KeyModifiers::ALT, ..key });
        }
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            return match key.code {
                KeyCode::Char('c') => Some(Effect::Quit),
                KeyCode::Char('z') => Some(Effect::Suspend),
                _ => None,
            };
        }
        if self.is_filtering {
            self.filter_key(key.code);
            return None;
        }
        if let Some(asked) = self.asked.take() {
            let is_yes = matches!(key.code, KeyCode::Char('y' | 'Y'));
            self.said = Some(if is_yes {
                (Tone::Busy, format!("{} …", asked.words))
            } else {
                (Tone::Dim, format!("{}: not done", asked.words))
            });
            return is_yes.then_some(Effect::Act(asked.action));
        }
        self.said = None;
        if std::mem::take(&mut self.shows_help) {
            return None;
        }
        match key.code {
            KeyCode::Char('q') => return Some(Effect::Quit),
            KeyCode::Char('?' | 'h') => self.shows_help = true,
            KeyCode::Esc | KeyCode::Backspace => self.back(),
            KeyCode::Enter if self.view == View::Table => self.view = View::Detail,
            KeyCode::Char('l') => self.open_log(),
            KeyCode::Char('s') => {
                self.sort = self.sort.next();
                self.said = Some((Tone::Dim, format!("sorted by {}", self.sort.word())));
            }
            KeyCode::Char('/') => (self.is_filtering, self.view) = (true, View::Table),
            KeyCode::Char('r' | 'R' | 'x') => self.ask(key.code),
            code => self.go(code),
        }
        None
    }

    fn filter_key(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Backspace => drop(self.filter.pop()),
            KeyCode::Enter => self.is_filtering = false,
            KeyCode::Esc => {
                self.filter.clear();
                self.is_filtering = false;
            }
            code @ (KeyCode::Up | KeyCode::Down) => self.go(code),
            _ => {}
        }
    }

    /// One step back: out of the log, the detail, the filter.
    fn back(&mut self) {
        match self.view {
            View::Log => self.view = self.before_log,
            View::Detail => self.view = View::Table,
            View::Table => self.filter.clear(),
        }
    }

    fn open_log(&mut self) {
        if self.view == View::Log {
            self.view = self.before_log;
        } else {
            (self.before_log, self.view) = (self.view, View::Log);
        }
    }

    /// Moves the selection, or within the log.
    fn go(&mut self, code: KeyCode) {
        if self.view == View::Log {
            return self.log.go(code);
        }
        let rows = self.rows();
        let Some((place, _)) = self.selection(&rows) else { return };
        let last = rows.len() - 1;
        let place = match code {
            KeyCode::Up | KeyCode::Char('k') => place.saturating_sub(1),
            KeyCode::Down | KeyCode::Char('j') => (place + 1).min(last),
            KeyCode::PageUp => place.saturating_sub(PAGE),
            KeyCode::PageDown => (place + PAGE).min(last),
            KeyCode::Home | KeyCode::Char('g') => 0,
            KeyCode::End | KeyCode::Char('G') => last,
            _ => place,
        };
        self.selected = rows.get(place).map(|row| row.name().to_owned());
    }

    fn ask(&mut self, code: KeyCode) {
        let rows = self.rows();
        let Some((_, row)) = self.selection(&rows) else { return };
        let name = row.name().to_owned();
        let (verb, action) = match code {
            KeyCode::Char('r') => ("restart", Action::Restart { selector: name.clone(), now: false }),
            KeyCode::Char('R') => ("reload", Action::Reload(name.clone())),
            _ if row.is_over() => ("start", Action::Start(name.clone())),
            _ => ("stop", Action::Stop(name.clone())),
        };
        self.asked = Some(Asked { words: format!("{verb} {name}"), action });
    }
}
