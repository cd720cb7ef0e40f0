//! `everup top`: a live screen. What it shows comes from the control API alone; [`feed`] brings it, [`app`] knows what
//! to make of it, [`draw`] shows it, [`screen`] has the terminal.

mod app;
mod draw;
mod feed;
mod kept;
mod log;
mod look;
mod rows;
mod screen;
#[cfg(test)]
mod tests;

use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use signal_hook::consts::{SIGCONT, SIGTSTP};
use signal_hook::low_level::emulate_default_handler;

use crate::cli::Context;
use crate::cli::failure::{Exit, Failure};
use crate::cli::project::Project;
use crate::cli::top::app::{App, Effect, News};
use crate::cli::top::feed::{Feed, Follower};
use crate::cli::top::look::Look;
use crate::cli::top::screen::Screen;
use crate::os::clock;

/// News that wait; who brings more waits too.
const QUEUE: usize = 256;
/// News other than keys are drawn together when they come closer than this.
const FRAME: Duration = Duration::from_millis(50);

/// Why the screen is left.
enum Leave {
    /// Somebody wants to.
    Asked,
    /// This signal, which then ends us as it would have.
    Signal(i32),
}

/// Shows the project until somebody leaves.
///
/// # Errors
/// When no supervisor runs, or the terminal cannot be had.
pub(crate) fn run(project: &Project, context: &Context) -> Result<Exit, Failure> {
    // Whether one runs is told before the terminal is taken.
    let socket = project.connect()?.socket().to_owned();
    let (sender, news) = sync_channel(QUEUE);
    let feed = Feed::new(sender, socket);
    let has_colours = context.out.stdout.paint.0;
    let look = Look::new(has_colours, &std::env::var("TERM").unwrap_or_default());
    let no_terminal = |error: std::io::Error| Failure::failed(format!("cannot use this terminal: {error}"));
    let screen = Screen::new(has_colours).map_err(no_terminal)?;
    feed.begin().map_err(|error| Failure::failed(format!("cannot listen to keys and signals: {error}")))?;
    let left = Top { app: App::new(look), screen, feed, news, follower: None, logs: 0 }.run().map_err(no_terminal)?;
    if let Leave::Signal(signal) = left {
        // Only a signal that does not end a process comes back from this.
        let _ = emulate_default_handler(signal);
    }
    Ok(Exit::Done)
}

/// The screen and what it needs.
struct Top {
    app: App,
    screen: Screen,
    feed: Feed,
    news: Receiver<News>,
    /// Whose log is followed.
    follower: Option<(String, Follower)>,
    /// How many logs were followed.
    logs: u64,
}

impl Top {
    fn run(mut self) -> std::io::Result<Leave> {
        loop {
            self.screen.draw(|frame| draw::draw(frame, &self.app))?;
            let drawn = clock::now().moment;
            let Ok(mut news) = self.news.recv() else { return Ok(Leave::Asked) };
            loop {
                let is_key = matches!(news, News::Key(_) | News::Resized);
                if let Some(leave) = self.take(news)? {
                    return Ok(leave);
                }
                let rest = FRAME.saturating_sub(clock::now().moment.since(drawn));
                if is_key || rest.is_zero() {
                    break;
                }
                match self.news.recv_timeout(rest) {
                    Ok(more) => news = more,
                    Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
                }
            }
        }
    }

    fn take(&mut self, news: News) -> std::io::Result<Option<Leave>> {
        match news {
            News::Signal(SIGCONT) => self.screen.enter()?,
            News::Signal(SIGTSTP) => self.suspend()?,
            News::Signal(signal) => return Ok(Some(Leave::Signal(signal))),
            News::KeysGone => return Ok(Some(Leave::Asked)),
            news => match self.app.on(news) {
                None => {}
                Some(Effect::Quit) => return Ok(Some(Leave::Asked)),
                Some(Effect::Suspend) => self.suspend()?,
                Some(Effect::Act(action)) => self.feed.act(action),
            },
        }
        self.follow()?;
        Ok(None)
    }

    /// Stops this process as Ctrl-Z does, and goes on where the shell says so.
    fn suspend(&mut self) -> std::io::Result<()> {
        self.screen.leave();
        emulate_default_handler(SIGTSTP)?;
        self.screen.enter()
    }

    /// Follows the log that the screen shows, and no other.
    fn follow(&mut self) -> std::io::Result<()> {
        let wanted = self.app.wanted_log();
        if self.follower.as_ref().map(|(name, _)| name) == wanted.as_ref() {
            return Ok(());
        }
        self.logs += 1;
        self.app.log.begin(self.logs);
        self.follower = match wanted {
            Some(name) => Some((name.clone(), self.feed.log(self.logs, name)?)),
            None => None,
        };
        Ok(())
    }
}
