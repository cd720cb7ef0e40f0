//! The terminal while the screen is on it, and as it was before and after.

use std::io::{BufWriter, Stdout, Write as _, stdout};
use std::panic;

use ratatui::Frame;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::execute;
use ratatui::crossterm::style::{ResetColor, force_color_output};
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen};

use crate::os::terminal::{Manner, Taken, give_back, take_again};

/// What a frame takes at most is written at once: over a slow line half a frame is worse than a late one.
const FRAME: usize = 64 << 10;

type Drawn = Terminal<CrosstermBackend<BufWriter<Stdout>>>;

/// The terminal in our manner; dropped, it is as it was.
pub(super) struct Screen {
    terminal: Drawn,
    _taken: Taken,
}

impl Screen {
    /// Takes the terminal. A panic anywhere gives it back before it is told.
    ///
    /// # Errors
    /// When it cannot be had.
    pub(super) fn new(has_colours: bool) -> std::io::Result<Self> {
        force_color_output(has_colours);
        let taken = Taken::new(Manner::Raw)?;
        let told = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            leave();
            told(panic);
        }));
        Ok(Self { terminal: entered()?, _taken: taken })
    }

    /// Takes it (again), and draws everything anew.
    ///
    /// # Errors
    /// When it has gone.
    pub(super) fn enter(&mut self) -> std::io::Result<()> {
        take_again();
        self.terminal = entered()?;
        Ok(())
    }

    /// Gives it back, for as long as we are stopped.
    #[expect(clippy::unused_self, reason = "only who has it can give it back")]
    pub(super) fn leave(&self) {
        leave();
    }

    /// Draws a frame: only what differs from the one before is written.
    ///
    /// # Errors
    /// When the terminal has gone.
    pub(super) fn draw(&mut self, draw: impl FnOnce(&mut Frame<'_>)) -> std::io::Result<()> {
        self.terminal.draw(draw)?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        leave();
    }
}

/// A terminal of which nothing is known to be drawn. (`Terminal::clear` would ask the terminal where its cursor is, and
/// the answer would go to whoever reads the keys.)
fn entered() -> std::io::Result<Drawn> {
    execute!(stdout(), EnterAlternateScreen, Clear(ClearType::All), Hide)?;
    Terminal::new(CrosstermBackend::new(BufWriter::with_capacity(FRAME, stdout())))
}

fn leave() {
    // A terminal that has gone needs no restoring.
    let _ = execute!(stdout(), ResetColor, LeaveAlternateScreen, Show);
    let _ = stdout().flush();
    give_back();
}
