//! A scene as SVG 1.1.

use std::fmt::Write as _;

use ttf_parser::OutlineBuilder;

use crate::chart::font::Font;
use crate::chart::scene::{Anchor, Ink, Scene, Shape, Spot};
use crate::chart::{MarkKind, Text};

/// The scene as one element.
pub(crate) fn write(scene: &Scene, text: Text) -> String {
    let (width, height) = (Short(scene.width), Short(scene.height));
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart\" role=\"img\" width=\"{width}\" height=\"{height}\" \
         viewBox=\"0 0 {width} {height}\"><title>{}</title><desc>{}</desc>",
        escape(&scene.title),
        escape(&scene.description)
    );
    let mut pen = Pen { out: &mut out, text, font: Font::new() };
    if text == Text::Glyphs {
        let _ = write!(pen.out, "<path fill=\"#ffffff\" d=\"M0 0H{width}V{height}H0z\"/>");
    }
    for shape in &scene.shapes {
        pen.shape(shape);
    }
    out + "</svg>\n"
}

struct Pen<'a> {
    out: &'a mut String,
    text: Text,
    font: Font,
}

impl Pen<'_> {
    fn shape(&mut self, shape: &Shape) {
        // Writing into a text cannot fail.
        match shape {
            Shape::Line { points, ink, width, dash, note } => {
                let _ = write!(self.out, "<path fill=\"none\"{}", self.ink("stroke", *ink));
                if (*width - 1.0).abs() > f32::EPSILON {
                    let _ = write!(self.out, " stroke-width=\"{width}\" stroke-linejoin=\"round\"");
                }
                if !dash.is_empty() {
                    let lengths: Vec<String> = dash.iter().map(ToString::to_string).collect();
                    let _ = write!(self.out, " stroke-dasharray=\"{}\"", lengths.join(" "));
                }
                self.path(points, false);
                match note {
                    Some(note) => {
                        let _ = write!(self.out, "><title>{}</title></path>", escape(note));
                    }
                    None => self.out.push_str("/>"),
                }
            }
            Shape::Area { points, ink, alpha } => {
                let _ = write!(self.out, "<path{}", self.ink("fill", *ink));
                if *alpha < 1.0 {
                    let _ = write!(self.out, " fill-opacity=\"{alpha}\"");
                }
                self.path(points, true);
                self.out.push_str("/>");
            }
            Shape::Text { at, text, size, anchor, ink } => self.letters(*at, text, *size, *anchor, *ink),
        }
    }

    fn letters(&mut self, (x, y): Spot, text: &str, size: f32, anchor: Anchor, ink: Ink) {
        if self.text == Text::Live {
            let anchor = match anchor {
                Anchor::Start => "",
                Anchor::Middle => " text-anchor=\"middle\"",
                Anchor::End => " text-anchor=\"end\"",
            };
            let (ink, text) = (self.ink("fill", ink), escape(text));
            let (x, y) = (Short(x), Short(y));
            let _ = write!(self.out, "<text x=\"{x}\" y=\"{y}\" font-size=\"{size}\"{anchor}{ink}>{text}</text>");
            return;
        }
        let x = x - before(anchor, self.font.width(text, size));
        let mut outline = Outline::default();
        self.font.draw(text, (x, y), size, &mut outline);
        if !outline.path.is_empty() {
            let _ = write!(self.out, "<path{} d=\"{}\"/>", self.ink("fill", ink), outline.path);
        }
    }

    /// The colour: on a page by class, so that its style sheet decides, with one that suits white and black by itself.
    fn ink(&self, attribute: &str, ink: Ink) -> String {
        let colour = format!(" {attribute}=\"#{:06x}\"", ink.colour());
        match (self.text, ink) {
            (Text::Glyphs, _) => colour,
            (Text::Live, Ink::Text) => format!(" {attribute}=\"currentColor\""),
            (Text::Live, Ink::Muted) => format!(" {attribute}=\"currentColor\" {attribute}-opacity=\".75\""),
            (Text::Live, Ink::Grid) => format!(" {attribute}=\"currentColor\" {attribute}-opacity=\".15\""),
            (Text::Live, Ink::Series(number)) => format!(" class=\"series-{}\"{colour}", number % 8),
            (Text::Live, Ink::Mark(kind)) => {
                let class = match kind {
                    MarkKind::Start => "start",
                    MarkKind::End => "end",
                    MarkKind::Reload => "reload",
                };
                format!(" class=\"{class}\"{colour}")
            }
        }
    }

    fn path(&mut self, points: &[Spot], is_closed: bool) {
        self.out.push_str(" d=\"");
        for (number, (x, y)) in points.iter().enumerate() {
            let _ = write!(self.out, "{}{} {}", if number == 0 { "M" } else { "L" }, Short(*x), Short(*y));
        }
        self.out.push_str(if is_closed { "z\"" } else { "\"" });
    }
}

/// How much of a text of this width lies before its place.
pub(crate) fn before(anchor: Anchor, width: f32) -> f32 {
    match anchor {
        Anchor::Start => 0.0,
        Anchor::Middle => width / 2.0,
        Anchor::End => width,
    }
}

/// Text for an element or an attribute; what XML 1.0 cannot hold becomes U+FFFD.
pub(crate) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
            letter if letter.is_control() && !"\n\t".contains(letter) => out.push('\u{fffd}'),
            letter => out.push(letter),
        }
    }
    out
}

/// A coordinate to a tenth of a pixel, as short as can be.
struct Short(f32);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (self.0 * 10.0).round();
        if tenths % 10.0 == 0.0 { write!(f, "{}", tenths / 10.0) } else { write!(f, "{:.1}", tenths / 10.0) }
    }
}

/// Path data from outlines, to a hundredth of a pixel and from place to place, which is short.
#[derive(Default)]
struct Outline {
    path: String,
    /// Where the pen is, in hundredths.
    pen: (i32, i32),
    /// Where the outline began.
    start: (i32, i32),
}

impl Outline {
    fn command(&mut self, command: char, spots: &[Spot]) {
        self.path.push(command);
        let from = self.pen;
        for (number, (x, y)) in spots.iter().enumerate() {
            let spot = ((x * 100.0).round() as i32, (y * 100.0).round() as i32);
            self.number(spot.0 - from.0, number == 0);
            self.number(spot.1 - from.1, false);
            self.pen = spot;
        }
    }

    fn number(&mut self, hundredths: i32, is_first: bool) {
        let (whole, rest) = (hundredths.abs() / 100, hundredths.abs() % 100);
        if hundredths < 0 {
            self.path.push('-');
        } else if !is_first {
            self.path.push(' ');
        }
        let whole = if whole == 0 && rest != 0 { String::new() } else { whole.to_string() };
        self.path.push_str(&whole);
        let _ = match (rest, rest % 10) {
            (0, _) => Ok(()),
            (_, 0) => write!(self.path, ".{}", rest / 10),
            _ => write!(self.path, ".{rest:02}"),
        };
    }
}

impl OutlineBuilder for Outline {
    fn move_to(&mut self, x: f32, y: f32) {
        self.command('m', &[(x, y)]);
        self.start = self.pen;
    }

    fn line_to(&mut self, x: f32, y: f32) {
        self.command('l', &[(x, y)]);
    }

    fn quad_to(&mut self, x1: f32, y1: f32, x: f32, y: f32) {
        self.command('q', &[(x1, y1), (x, y)]);
    }

    fn curve_to(&mut self, x1: f32, y1: f32, x2: f32, y2: f32, x: f32, y: f32) {
        self.command('c', &[(x1, y1), (x2, y2), (x, y)]);
    }

    fn close(&mut self) {
        self.path.push('z');
        self.pen = self.start;
    }
}
