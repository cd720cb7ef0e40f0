//! The keys, over everything else.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::{Block, Clear, Widget as _};

use crate::cli::output::Tone;
use crate::cli::top::draw::write;
use crate::cli::top::look::Look;

const KEYS: [(&str, &str); 14] = [
    ("↑ ↓  k j", "move; PgUp PgDn Home End too"),
    ("Enter", "open the selected service"),
    ("Esc", "go back; show all again"),
    ("l", "its log; ↑ ↓ scroll, End follows"),
    ("r", "restart it"),
    ("R", "reload: swap to new code"),
    ("x", "stop it, or start it"),
    ("y", "yes, do it; any other key: no"),
    ("s", "sort: file, cpu, memory, restarts,"),
    ("", "trouble, name"),
    ("/", "filter by name or state"),
    ("Ctrl-Z", "stop this screen; `fg` goes on"),
    ("q Ctrl-C", "leave; the services run on"),
    ("?", "this help; any key closes it"),
];

/// The list in the middle of the screen.
pub(super) fn help(buffer: &mut Buffer, area: Rect, look: Look) {
    let lines = u16::try_from(KEYS.len()).unwrap_or(u16::MAX).saturating_add(2);
    let (width, height) = (area.width.min(52), area.height.min(lines));
    let place = Rect { x: area.x + (area.width - width) / 2, y: area.y + (area.height - height) / 2, width, height };
    Clear.render(place, buffer);
    let block = Block::bordered().title(" keys ");
    let inner = block.inner(place);
    block.render(place, buffer);
    for (row, (key, words)) in (inner.y..inner.bottom()).zip(KEYS) {
        write(buffer, inner, inner.x + 1, row, key, look.style(Tone::Strong));
        write(buffer, inner, inner.x + 12, row, words, ratatui::style::Style::new());
    }
}
