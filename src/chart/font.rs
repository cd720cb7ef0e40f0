//! Text as outlines: a subset of DejaVu Sans (Latin-1 and a few signs) travels with the binary, so that a picture is
//! legible on a machine without fonts.

use ttf_parser::{Face, GlyphId, OutlineBuilder};

/// Free to embed and pass on: `DejaVuSans.LICENSE` beside it.
const FILE: &[u8] = include_bytes!("DejaVuSans.ttf");

/// The font, ready to draw.
pub(crate) struct Font {
    /// None only if the file above were damaged.
    face: Option<Face<'static>>,
}

/// A box in the place of what the font does not have: this wide, in parts of the size.
const BOX_WIDTH: f32 = 0.6;

impl Font {
    pub(crate) fn new() -> Self {
        Self { face: Face::parse(FILE, 0).ok() }
    }

    /// How wide a text of this size is, in pixels.
    pub(crate) fn width(&self, text: &str, size: f32) -> f32 {
        text.chars().map(|letter| self.advance(self.glyph(letter), size)).sum()
    }

    /// Draws a text from this place on its base line to the right.
    pub(crate) fn draw(&self, text: &str, (x, y): (f32, f32), size: f32, to: &mut dyn OutlineBuilder) {
        let mut x = x;
        for letter in text.chars() {
            let glyph = self.glyph(letter);
            match (&self.face, glyph) {
                (Some(face), Some(glyph)) => {
                    let scale = self.scale(size);
                    face.outline_glyph(glyph, &mut Placed { to, x, y, scale });
                }
                _ => hollow_box(x, y, size, to),
            }
            x += self.advance(glyph, size);
        }
    }

    /// None where the font has nothing for it.
    fn glyph(&self, letter: char) -> Option<GlyphId> {
        self.face.as_ref()?.glyph_index(letter)
    }

    fn advance(&self, glyph: Option<GlyphId>, size: f32) -> f32 {
        let known = glyph.and_then(|glyph| self.face.as_ref()?.glyph_hor_advance(glyph));
        known.map_or(BOX_WIDTH * size, |units| f32::from(units) * self.scale(size))
    }

    fn scale(&self, size: f32) -> f32 {
        size / self.face.as_ref().map_or(2048.0, |face| f32::from(face.units_per_em()))
    }
}

impl std::fmt::Debug for Font {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Font").finish_non_exhaustive()
    }
}

/// Two rectangles, the inner one the other way round, so that it stays empty.
fn hollow_box(x: f32, y: f32, size: f32, to: &mut dyn OutlineBuilder) {
    let (left, right, top) = (x + 0.06 * size, x + (BOX_WIDTH - 0.06) * size, y - 0.72 * size);
    let line = 0.07 * size;
    to.move_to(left, y);
    to.line_to(left, top);
    to.line_to(right, top);
    to.line_to(right, y);
    to.close();
    to.move_to(left + line, y - line);
    to.line_to(right - line, y - line);
    to.line_to(right - line, top + line);
    to.line_to(left + line, top + line);
    to.close();
}

/// From the font's units, upwards, to pixels at a place, downwards.
struct Placed<'a> {
    to: &'a mut dyn OutlineBuilder,
    x: f32,
    y: f32,
    scale: f32,
}

impl Placed<'_> {
    fn at(&self, x: f32, y: f32) -> (f32, f32) {
        (self.x + x * self.scale, self.y - y * self.scale)
    }
}

impl OutlineBuilder for Placed<'_> {
    fn move_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.to.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        let (x, y) = self.at(x, y);
        self.to.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        let ((x1, y1), (x, y)) = (self.at(x1, y1), self.at(x, y));
        self.to.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        let ((x1, y1), (x2, y2), (x, y)) = (self.at(x1, y1), self.at(x2, y2), self.at(x, y));
        self.to.curve_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.to.close();
    }
}
