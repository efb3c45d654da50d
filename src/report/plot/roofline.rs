//! Points under the limits of a device, both axes logarithmic.

use super::axis::{Axis, Scale, shows};
use super::canvas::{Anchor, WIDTH, cut, draw, width_of};
use super::lines::frame;
use crate::report::table::significant;

/// A roofline plot.
#[derive(Clone, Debug)]
pub struct Roofline<'a> {
    /// Description of the plot, for those who do not see it.
    pub title: &'a str,
    /// The intensity, with its unit, as in `operations per byte`.
    pub x_label: &'a str,
    /// The rate, with its unit, as in `TFLOP/s`.
    pub y_label: &'a str,
    /// Sloped limits: `y = value * x`, as bandwidths are. From the fastest to the slowest.
    pub slopes: &'a [Limit],
    /// Level limits: `y = value`, as peak rates are.
    pub ceilings: &'a [Limit],
    /// Names of the groups that points belong to.
    pub groups: &'a [&'a str],
    /// The points.
    pub points: &'a [Point],
}

/// A limit.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// Text along the limit.
    pub name: String,
    /// Value of the limit, in the unit of y, or of y over x.
    pub value: f64,
}

/// A point.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Text that is shown where a pointer rests on the point.
    pub name: String,
    /// Index of the point's group.
    pub group: usize,
    /// Intensity of the point.
    pub x: f64,
    /// Rate of the point.
    pub y: f64,
    /// Whether the name is written beside the point.
    pub labelled: bool,
}

const HEIGHT: i32 = 520;
const TOP: i32 = 34;
const BOTTOM: i32 = 54;
const LEFT: i32 = 76;

/// Draws limits and points, with a legend where there is more than one group.
pub fn roofline(plot: &Roofline<'_>) -> String {
    let several = plot.groups.len() > 1;
    let legend_width = if several { width_of(plot.groups.iter().copied(), 200) + 44 } else { 24 };
    let height = HEIGHT.max(TOP + 20 * plot.groups.len() as i32 + BOTTOM);
    let right = WIDTH as i32 - legend_width;
    let shown = || {
        let shown = |point: &&Point| shows(Scale::Log, point.x) && shows(Scale::Log, point.y);
        plot.points.iter().filter(shown)
    };
    let valid = |limits: &[Limit]| -> Vec<Limit> {
        limits.iter().filter(|limit| shows(Scale::Log, limit.value)).cloned().collect()
    };
    let (slopes, ceilings) = (valid(plot.slopes), valid(plot.ceilings));
    let highest = ceilings.iter().map(|limit| limit.value).fold(0.0, f64::max);
    // Where each slope meets the highest ceiling is shown, and some of the level part beyond.
    let ridges: Vec<f64> = slopes.iter().map(|slope| highest / slope.value).collect();
    let x = Axis::new(
        Scale::Log,
        shown().map(|point| point.x).chain(ridges.iter().flat_map(|&ridge| [ridge, 3.0 * ridge])),
        LEFT,
        right,
    );
    let y = Axis::new(
        Scale::Log,
        shown().map(|point| point.y).chain(ceilings.iter().map(|limit| 1.2 * limit.value)),
        height - BOTTOM,
        TOP,
    );

    draw(height as u32, plot.title, |canvas| {
        frame(canvas, &x, &y, plot.x_label, plot.y_label);
        let ((x_min, x_max), (y_min, y_max)) = (x.range(), y.range());
        let steepest = slopes.iter().map(|limit| limit.value).fold(0.0, f64::max);
        for ceiling in &ceilings {
            let from = if steepest > 0.0 { (ceiling.value / steepest).max(x_min) } else { x_min };
            let ends = (x.pixel(from), x.pixel(x_max), y.pixel(ceiling.value));
            let (Some(from), Some(to), Some(at)) = ends else { continue };
            canvas.limit((from, at), (to, at));
            canvas.faint(&ceiling.name, (to - 6, at - 11), Anchor::End);
        }
        for (index, slope) in slopes.iter().enumerate() {
            let top = if highest > 0.0 { highest } else { y_max };
            // The slope's part within the axes.
            let from = x_min.max(y_min / slope.value);
            let to = x_max.min(top / slope.value);
            let ends = [from, to].map(|at| Some((x.pixel(at)?, y.pixel(at * slope.value)?)));
            let [Some(from), Some(to)] = ends else { continue };
            if from.0 < to.0 {
                canvas.limit(from, to);
                let middle = ((from.0 + to.0) / 2, (from.1 + to.1) / 2);
                // The first above its line, the others below theirs, so that names keep apart.
                match index {
                    0 => canvas.faint(&slope.name, (middle.0 - 10, middle.1 - 6), Anchor::End),
                    _ => canvas.faint(&slope.name, (middle.0 + 10, middle.1 + 8), Anchor::Start),
                }
            }
        }
        for point in shown() {
            let (Some(at), Some(value)) = (x.pixel(point.x), y.pixel(point.y)) else { continue };
            let tip = format!(
                "{}: {} {}, {} {}",
                point.name,
                significant(point.x, 3),
                plot.x_label,
                significant(point.y, 3),
                plot.y_label
            );
            canvas.mark((at, value), point.group, Some(&tip));
            if point.labelled {
                canvas.text(&point.name, (at + 10, value), Anchor::Start);
            }
        }
        if several {
            let names: Vec<String> =
                plot.groups.iter().map(|name| cut(name, legend_width - 44)).collect();
            let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
            canvas.legend(&names, (right + 24, TOP + 8));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limit(name: &str, value: f64) -> Limit {
        Limit { name: name.to_owned(), value }
    }

    #[test]
    fn limits_and_points_are_named() {
        let point = |name: &str, group, x, y| Point {
            name: name.to_owned(),
            group,
            x,
            y,
            labelled: group == 1,
        };
        let points = [
            point("stem", 0, 3.0, 0.4),
            point("head", 1, 60.0, 20.0),
            point("odd", 0, 0.0, f64::NAN),
        ];
        let svg = roofline(&Roofline {
            title: "t",
            x_label: "FLOP/byte",
            y_label: "TFLOP/s",
            slopes: &[limit("memory", 3.3)],
            ceilings: &[limit("tensor cores", 900.0), limit("FMA", 60.0)],
            groups: &["depthwise", "pointwise"],
            points: &points,
        });
        for part in ["memory", "tensor cores", "FMA", "stem: 3.00 FLOP/byte", "pointwise"] {
            assert!(svg.contains(part), "no {part} in {svg}");
        }
        assert!(!svg.contains("odd") && !svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn without_limits_and_points_there_is_a_frame() {
        let svg = roofline(&Roofline {
            title: "t",
            x_label: "x",
            y_label: "y",
            slopes: &[limit("bad", f64::NAN)],
            ceilings: &[limit("zero", 0.0)],
            groups: &[],
            points: &[],
        });
        assert!(svg.contains("</svg>") && !svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
