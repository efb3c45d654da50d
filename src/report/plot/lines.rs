//! Series of points, joined by lines.

use super::axis::{Axis, Scale, label, shows};
use super::canvas::{Anchor, Canvas, WIDTH, colour, cut, draw, width_of};

/// A line plot.
#[derive(Clone, Debug)]
pub struct Lines<'a> {
    /// Description of the plot, for those who do not see it.
    pub title: &'a str,
    /// The horizontal quantity, with its unit.
    pub x_label: &'a str,
    /// The vertical quantity, with its unit.
    pub y_label: &'a str,
    /// Spacing of the horizontal axis. A logarithmic one has its ticks at the points, where those
    /// are few.
    pub x_scale: Scale,
    /// Spacing of the vertical axis.
    pub y_scale: Scale,
    /// The lines.
    pub series: &'a [Series],
}

/// One line.
#[derive(Clone, Debug, PartialEq)]
pub struct Series {
    /// Name of the line in the legend.
    pub name: String,
    /// Points, in the order in which they are joined.
    pub points: Vec<(f64, f64)>,
}

const HEIGHT: i32 = 440;
const TOP: i32 = 34;
const BOTTOM: i32 = 54;
const LEFT: i32 = 76;

/// Draws the lines, with a legend where there is more than one.
pub fn lines(plot: &Lines<'_>) -> String {
    let several = plot.series.len() > 1;
    let names: Vec<&str> = plot.series.iter().map(|series| &series.name[..]).collect();
    let legend_width = if several { width_of(names.iter().copied(), 280) + 44 } else { 24 };
    let height = HEIGHT.max(TOP + 20 * names.len() as i32 + BOTTOM);
    let right = WIDTH as i32 - legend_width;
    let values = || plot.series.iter().flat_map(|series| series.points.iter().copied());
    // Points that one axis does not show would stretch the other one for nothing.
    let shown = || values().filter(|&(x, y)| shows(plot.x_scale, x) && shows(plot.y_scale, y));
    let x = match plot.x_scale {
        Scale::Linear => Axis::new(Scale::Linear, shown().map(|(x, _)| x), LEFT, right),
        Scale::Log => Axis::at_values(shown().map(|(x, _)| x).collect(), LEFT, right),
    };
    let y = Axis::new(plot.y_scale, shown().map(|(_, y)| y), height - BOTTOM, TOP);

    draw(height as u32, plot.title, |canvas| {
        frame(canvas, &x, &y, plot.x_label, plot.y_label);
        for (index, series) in plot.series.iter().enumerate() {
            let points: Vec<_> = series
                .points
                .iter()
                .filter_map(|&(at, value)| {
                    Some((
                        (x.pixel(at)?, y.pixel(value)?),
                        format!("{}, {}", label(at), label(value)),
                    ))
                })
                .collect();
            canvas.path(points.iter().map(|(point, _)| *point).collect(), colour(index));
            for (point, values) in points {
                canvas.mark(point, index, Some(&format!("{}: {values}", series.name)));
            }
        }
        if several {
            let names: Vec<String> =
                names.iter().map(|name| cut(name, legend_width - 44)).collect();
            let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
            canvas.legend(&names, (right + 24, TOP + 8));
        }
    })
}

/// Grid, axes, ticks and labels.
pub fn frame(canvas: &mut Canvas<'_>, x: &Axis, y: &Axis, x_label: &str, y_label: &str) {
    let (x_min, x_max) = x.range();
    let (y_min, y_max) = y.range();
    let (Some(left), Some(right), Some(bottom), Some(top)) =
        (x.pixel(x_min), x.pixel(x_max), y.pixel(y_min), y.pixel(y_max))
    else {
        return;
    };
    for (value, label) in &y.ticks {
        let Some(at) = y.pixel(*value) else { continue };
        canvas.grid((left, at), (right, at));
        canvas.faint(label, (left - 8, at), Anchor::End);
    }
    for (value, label) in &x.ticks {
        let Some(at) = x.pixel(*value) else { continue };
        canvas.grid((at, top), (at, bottom));
        canvas.faint(label, (at, bottom + 16), Anchor::Middle);
    }
    canvas.axis((left, bottom), (right, bottom));
    canvas.axis((left, top), (left, bottom));
    // Upright, above its axis: easier to read than turned.
    canvas.text(y_label, (8, top - 20), Anchor::Start);
    canvas.text(x_label, ((left + right) / 2, bottom + 40), Anchor::Middle);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(series: &[Series]) -> String {
        lines(&Lines {
            title: "latency & batch",
            x_label: "images per run",
            y_label: "latency, ms",
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series,
        })
    }

    #[test]
    fn names_labels_and_values_are_there_and_escaped() {
        let series = |name: &str| Series {
            name: name.to_owned(),
            points: vec![(1.0, 0.5), (8.0, 1.0), (32.0, 3.5)],
        };
        let svg = plot(&[series("b0 <fused>"), series("b0 & layerwise")]);
        for part in [
            "<title>latency &amp; batch</title>",
            "images per run",
            "latency, ms",
            "b0 &lt;fused&gt;",
            "b0 &amp; layerwise: 8, 1",
            "currentColor",
        ] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(svg.starts_with("<svg role=\"img\"") && svg.trim_end().ends_with("</svg>"));
        assert!(!svg.contains("#010203"), "ink is left");
    }

    #[test]
    fn what_cannot_be_drawn_is_left_out() {
        let points = vec![(1.0, f64::NAN), (0.0, 2.0), (2.0, f64::INFINITY), (4.0, 3.0)];
        let svg = plot(&[Series { name: "odd".to_owned(), points }]);
        assert!(svg.contains("odd: 4, 3") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        plot(&[]);
        plot(&[Series { name: "empty".to_owned(), points: Vec::new() }]);
    }
}
