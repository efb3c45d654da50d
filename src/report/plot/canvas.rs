//! A drawing that becomes SVG text.

use maud::{Markup, html};
use plotters::prelude::{DrawingBackend, RGBColor, SVGBackend};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{Color, ShapeStyle, TextStyle};
use std::fmt::Display;

/// Width of every plot.
pub const WIDTH: u32 = 900;
/// Font size of ticks, legends and values.
pub const TEXT: f64 = 13.0;
/// Generous width of a character of [`TEXT`].
const CHARACTER: f64 = 7.4;

/// Stands for the colour of the text around the plot; no colour of the palette is equal to it.
const INK: RGBColor = RGBColor(1, 2, 3);
const INK_HEX: &str = "#010203";

/// Okabe and Ito's colours, without yellow and black, which one of the two backgrounds hides.
const PALETTE: [RGBColor; 6] = [
    RGBColor(0x00, 0x72, 0xB2),
    RGBColor(0xD5, 0x5E, 0x00),
    RGBColor(0x00, 0x9E, 0x73),
    RGBColor(0xCC, 0x79, 0xA7),
    RGBColor(0xE6, 0x9F, 0x00),
    RGBColor(0x56, 0xB4, 0xE9),
];

/// The colour of a series.
pub fn colour(series: usize) -> RGBColor {
    PALETTE[series % PALETTE.len()]
}

/// Side of its point on which a text stands.
#[derive(Clone, Copy, Debug)]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// A drawing under way.
pub struct Canvas<'a> {
    backend: SVGBackend<'a>,
    tips: Vec<Markup>,
}

/// Draws, and gives the SVG element.
pub fn draw(height: u32, title: &str, paint: impl FnOnce(&mut Canvas<'_>)) -> String {
    let mut text = String::new();
    let mut canvas =
        Canvas { backend: SVGBackend::with_string(&mut text, (WIDTH, height)), tips: Vec::new() };
    paint(&mut canvas);
    done(canvas.backend.present());
    let tips = html! { @for tip in &canvas.tips { (tip) } }.into_string();
    drop(canvas);
    let title = html! { title { (title) } }.into_string();
    let text = text.replace(INK_HEX, "currentColor").replacen("<svg ", "<svg role=\"img\" ", 1);
    let text = text.replacen('>', &format!(">\n{title}"), 1);
    text.replace("</svg>", &format!("{tips}</svg>"))
}

/// A plot for a file by itself: the text takes the colour that suits a light or a dark page.
pub fn alone(svg: &str) -> String {
    let style = "<style>svg{color:#1f2328}\
                 @media(prefers-color-scheme:dark){svg{color:#e6edf3}}</style>\n";
    svg.replacen("<title>", &format!("{style}<title>"), 1)
}

/// Writing to a string has no way to fail.
fn done<E: Display>(result: Result<(), E>) {
    if let Err(error) = result {
        unreachable!("drawing to a string: {error}");
    }
}

fn shape(colour: &impl Color, width: u32) -> ShapeStyle {
    ShapeStyle { color: colour.to_rgba(), filled: false, stroke_width: width }
}

impl Canvas<'_> {
    /// A line of the grid.
    pub fn grid(&mut self, from: (i32, i32), to: (i32, i32)) {
        done(self.backend.draw_line(from, to, &shape(&INK.mix(0.13), 1)));
    }

    /// A line of an axis.
    pub fn axis(&mut self, from: (i32, i32), to: (i32, i32)) {
        done(self.backend.draw_line(from, to, &shape(&INK.mix(0.6), 1)));
    }

    /// A line through points.
    pub fn path(&mut self, points: Vec<(i32, i32)>, colour: RGBColor) {
        done(self.backend.draw_path(points, &shape(&colour, 2)));
    }

    /// A limit: a line in the colour of the text.
    pub fn limit(&mut self, from: (i32, i32), to: (i32, i32)) {
        done(self.backend.draw_line(from, to, &shape(&INK.mix(0.75), 2)));
    }

    /// A filled bar that says `tip`.
    pub fn bar(&mut self, from: (i32, i32), to: (i32, i32), colour: RGBColor, tip: &str) {
        done(self.backend.draw_rect(from, to, &shape(&colour, 1), true));
        let (width, height) = (to.0 - from.0, to.1 - from.1);
        self.tips.push(html! {
            rect x=(from.0) y=(from.1) width=(width.max(4)) height=(height) fill-opacity="0" {
                title { (tip) }
            }
        });
    }

    /// The mark of a series at a point; says `tip`, where there is one.
    pub fn mark(&mut self, (x, y): (i32, i32), series: usize, tip: Option<&str>) {
        let colour = colour(series);
        let style = shape(&colour, 2);
        let r = 5;
        // As the colours repeat, the shapes go on.
        match (series + series / PALETTE.len()) % 5 {
            0 => done(self.backend.draw_circle((x, y), r as u32, &style, true)),
            1 => done(self.backend.draw_rect((x - 4, y - 4), (x + 4, y + 4), &style, true)),
            2 => {
                let corners = [(x, y - r - 1), (x + r + 1, y + r), (x - r - 1, y + r)];
                done(self.backend.fill_polygon(corners, &style));
            }
            3 => {
                let corners = [(x, y - r - 1), (x + r + 1, y), (x, y + r + 1), (x - r - 1, y)];
                done(self.backend.fill_polygon(corners, &style));
            }
            _ => {
                let corners = [(x, y + r + 1), (x + r + 1, y - r), (x - r - 1, y - r)];
                done(self.backend.fill_polygon(corners, &style));
            }
        }
        if let Some(tip) = tip {
            self.tips.push(html! {
                circle cx=(x) cy=(y) r="9" fill-opacity="0" { title { (tip) } }
            });
        }
    }

    /// Text at its vertical middle.
    pub fn text(&mut self, text: &str, at: (i32, i32), anchor: Anchor) {
        self.words(text, at, anchor, 1.0);
    }

    /// Text that stands back.
    pub fn faint(&mut self, text: &str, at: (i32, i32), anchor: Anchor) {
        self.words(text, at, anchor, 0.75);
    }

    fn words(&mut self, text: &str, at: (i32, i32), anchor: Anchor, opacity: f64) {
        let horizontal = match anchor {
            Anchor::Start => HPos::Left,
            Anchor::Middle => HPos::Center,
            Anchor::End => HPos::Right,
        };
        // The backend divides sizes by 1.24.
        let (colour, size) = (INK.mix(opacity), TEXT * 1.24);
        let style = TextStyle::from(("sans-serif", size)).color(&colour);
        let style = style.pos(Pos::new(horizontal, VPos::Center));
        done(self.backend.draw_text(text, &style, at));
    }

    /// Marks and names of series, one below the other.
    pub fn legend(&mut self, names: &[&str], (x, y): (i32, i32)) {
        for (series, name) in names.iter().enumerate() {
            let y = y + 20 * series as i32;
            self.mark((x, y), series, None);
            self.text(name, (x + 14, y), Anchor::Start);
        }
    }
}

/// Pixels that the longest of `names` takes, no more than `most`.
pub fn width_of<'a>(names: impl IntoIterator<Item = &'a str>, most: i32) -> i32 {
    let longest = names.into_iter().map(|name| name.chars().count()).max().unwrap_or(0);
    ((longest as f64 * CHARACTER).ceil() as i32).min(most)
}

/// A name cut to a width of `pixels`.
pub fn cut(name: &str, pixels: i32) -> String {
    let fits = (f64::from(pixels) / CHARACTER) as usize;
    if name.chars().count() <= fits.max(4) {
        return name.to_owned();
    }
    let kept: String = name.chars().take(fits.max(4) - 1).collect();
    format!("{kept}\u{2026}")
}
