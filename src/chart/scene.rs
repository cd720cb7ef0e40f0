//! What a picture consists of, before it is known how it is painted.

use crate::chart::MarkKind;

/// A whole picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Scene {
    pub(crate) width: f32,
    pub(crate) height: f32,
    pub(crate) title: String,
    pub(crate) description: String,
    /// Later ones cover earlier ones.
    pub(crate) shapes: Vec<Shape>,
}

/// A place in pixels from the upper left corner.
pub(crate) type Spot = (f32, f32);

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Shape {
    /// Joined points.
    Line {
        points: Vec<Spot>,
        ink: Ink,
        width: f32,
        /// Lengths of dash and space; empty: solid.
        dash: &'static [f32],
        /// What it is, where that is not written beside it.
        note: Option<String>,
    },
    /// A filled outline.
    Area { points: Vec<Spot>, ink: Ink, alpha: f32 },
    /// A line of text; its place is on the base line.
    Text { at: Spot, text: String, size: f32, anchor: Anchor, ink: Ink },
}

/// Which part of a text is at its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Anchor {
    Start,
    Middle,
    End,
}

/// What something is drawn for, and so its colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ink {
    /// What is read first.
    Text,
    /// What is read when it is looked for.
    Muted,
    /// Lines to measure by.
    Grid,
    /// A series, by its place in the panel.
    Series(usize),
    /// Something that happened.
    Mark(MarkKind),
}

/// Colours of series that people with any kind of colour vision can tell apart, legible on white and on black.
pub(crate) const SERIES: [u32; 8] =
    [0x00_72_b2, 0xd5_5e_00, 0x00_9e_73, 0xcc_79_a7, 0xb8_86_00, 0x3f_a0_d8, 0x8b_6f_c4, 0x7f_7f_7f];

impl Ink {
    /// As 0xRRGGBB, on white.
    pub(crate) fn colour(self) -> u32 {
        match self {
            Self::Text => 0x1f_23_28,
            Self::Muted => 0x59_63_6e,
            Self::Grid => 0xe1_e4_e8,
            Self::Series(number) => SERIES[number % SERIES.len()],
            Self::Mark(MarkKind::Start) => 0x1a_7f_37,
            Self::Mark(MarkKind::End) => 0xcf_22_2e,
            Self::Mark(MarkKind::Reload) => 0x82_50_df,
        }
    }
}
