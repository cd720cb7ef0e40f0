//! A scene as PNG.

use tiny_skia::{Color, FillRule, LineJoin, Paint, Path, PathBuilder, Pixmap, Stroke, StrokeDash, Transform};
use ttf_parser::OutlineBuilder;

use crate::chart::Chart;
use crate::chart::font::Font;
use crate::chart::layout;
use crate::chart::scene::{Ink, Scene, Shape, Spot};
use crate::chart::svg::before;

/// Why a picture cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Unpaintable {
    /// It would be larger than can be held in memory.
    #[error("a picture of {width} by {height} pixels is too large")]
    TooLarge {
        /// In pixels.
        width: u32,
        /// In pixels.
        height: u32,
    },
    /// It could not be written as PNG.
    #[error("cannot write the picture as PNG: {0}")]
    Encode(String),
}

/// No side of a picture is longer, in pixels.
const LONGEST: u32 = 16_384;

/// The chart as a PNG on white paper, `scale` pixels of it for one of the chart's.
///
/// # Errors
/// It is too large.
pub fn png(chart: &Chart, scale: f32) -> Result<Vec<u8>, Unpaintable> {
    let scene = layout::scene(chart);
    let (width, height) = ((scene.width * scale).ceil() as u32, (scene.height * scale).ceil() as u32);
    let too_large = Unpaintable::TooLarge { width, height };
    if width > LONGEST || height > LONGEST {
        return Err(too_large);
    }
    let mut pixels = Pixmap::new(width, height).ok_or(too_large)?;
    pixels.fill(Color::WHITE);
    Brush { pixels: &mut pixels, transform: Transform::from_scale(scale, scale), font: Font::new() }.paint(&scene);
    pixels.encode_png().map_err(|error| Unpaintable::Encode(error.to_string()))
}

struct Brush<'a> {
    pixels: &'a mut Pixmap,
    transform: Transform,
    font: Font,
}

impl Brush<'_> {
    fn paint(&mut self, scene: &Scene) {
        for shape in &scene.shapes {
            match shape {
                Shape::Line { points, ink, width, dash, note: _ } => self.line(points, *ink, *width, dash),
                Shape::Area { points, ink, alpha } => self.fill(path(points, true), *ink, *alpha),
                Shape::Text { at: (x, y), text, size, anchor, ink } => {
                    let mut letters = Letters(PathBuilder::new());
                    let x = x - before(*anchor, self.font.width(text, *size));
                    self.font.draw(text, (x, *y), *size, &mut letters);
                    self.fill(letters.0.finish(), *ink, 1.0);
                }
            }
        }
    }

    fn line(&mut self, points: &[Spot], ink: Ink, width: f32, dash: &[f32]) {
        let Some(path) = path(points, false) else { return };
        let stroke = Stroke {
            width,
            line_join: LineJoin::Round,
            dash: StrokeDash::new(dash.to_vec(), 0.0),
            ..Stroke::default()
        };
        self.pixels.stroke_path(&path, &colour(ink, 1.0), &stroke, self.transform, None);
    }

    fn fill(&mut self, path: Option<Path>, ink: Ink, alpha: f32) {
        if let Some(path) = path {
            self.pixels.fill_path(&path, &colour(ink, alpha), FillRule::Winding, self.transform, None);
        }
    }
}

fn colour(ink: Ink, alpha: f32) -> Paint<'static> {
    let [_, red, green, blue] = ink.colour().to_be_bytes();
    let mut paint = Paint::default();
    paint.set_color_rgba8(red, green, blue, (alpha.clamp(0.0, 1.0) * 255.0).round() as u8);
    paint
}

/// None where there is nothing to see.
fn path(points: &[Spot], is_closed: bool) -> Option<Path> {
    let mut builder = PathBuilder::new();
    for (number, (x, y)) in points.iter().enumerate() {
        if number == 0 { builder.move_to(*x, *y) } else { builder.line_to(*x, *y) }
    }
    if is_closed {
        builder.close();
    }
    builder.finish()
}

/// Outlines of letters as a path.
struct Letters(PathBuilder);

impl OutlineBuilder for Letters {
    fn move_to(&mut self, x: f32, y: f32) {
        self.0.move_to(x, y);
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.0.line_to(x, y);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.0.quad_to(x1, y1, x, y);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.0.cubic_to(x1, y1, x2, y2, x, y);
    }

    fn close(&mut self) {
        self.0.close();
    }
}
