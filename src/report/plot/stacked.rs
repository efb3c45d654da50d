//! Horizontal bars whose parts lie end to end.

use super::axis::{Axis, Scale};
use super::canvas::{Anchor, WIDTH, colour, cut, draw, width_of};
use crate::report::table::significant;

/// A chart of stacked bars.
#[derive(Clone, Debug)]
pub struct Stacked<'a> {
    /// Description of the chart, for those who do not see it.
    pub title: &'a str,
    /// The quantity, with its unit.
    pub value_label: &'a str,
    /// Names of the parts.
    pub series: &'a [&'a str],
    /// Meaning of the line across a bar; none where there are no such lines.
    pub mark: Option<&'a str>,
    /// The bars, from top to bottom.
    pub bars: &'a [StackedBar],
}

/// A bar.
#[derive(Clone, Debug, PartialEq)]
pub struct StackedBar {
    /// Text at the left of the bar.
    pub label: String,
    /// Values, one for each series from left to right; a value that is not positive has no part.
    pub values: Vec<f64>,
    /// Value at which a line crosses the bar.
    pub mark: Option<f64>,
}

impl StackedBar {
    /// Length of the bar.
    pub fn total(&self) -> f64 {
        self.values.iter().filter(drawn).sum()
    }
}

/// Whether a value has a place in a stack.
fn drawn(value: &&f64) -> bool {
    value.is_finite() && **value > 0.0
}

const BAR: i32 = 16;
const GAP: i32 = 8;
const BOTTOM: i32 = 54;
const LEGEND_LINE: i32 = 22;

/// Draws the bars from 0, each with its total, under a legend.
pub fn stacked(plot: &Stacked<'_>) -> String {
    let left = width_of(plot.bars.iter().map(|bar| &bar.label[..]), 330) + 20;
    let right = WIDTH as i32 - 84;
    let names = plot.series.iter().copied().chain(plot.mark);
    let (places, legend_bottom) = legend(names, left);
    let top = legend_bottom + 10;
    let bottom = top + (BAR + GAP) * plot.bars.len().max(1) as i32;
    let ends = plot.bars.iter().flat_map(|bar| [bar.total()].into_iter().chain(bar.mark));
    let x = Axis::new(Scale::Linear, ends, left, right);
    let zero = x.pixel(0.0).unwrap_or(left);

    draw((bottom + BOTTOM) as u32, plot.title, |canvas| {
        for (value, label) in &x.ticks {
            let Some(at) = x.pixel(*value) else { continue };
            canvas.grid((at, top), (at, bottom));
            canvas.faint(label, (at, bottom + 16), Anchor::Middle);
        }
        for (index, bar) in plot.bars.iter().enumerate() {
            let y = top + (BAR + GAP) * index as i32 + GAP / 2;
            let middle = y + BAR / 2 + 1;
            canvas.text(&cut(&bar.label, left - 20), (left - 10, middle), Anchor::End);
            let (mut sum, mut end) = (0.0, zero);
            for (series, value) in bar.values.iter().enumerate().filter(|(_, v)| drawn(v)) {
                sum += value;
                let Some(to) = x.pixel(sum) else { continue };
                let name = plot.series.get(series).copied().unwrap_or_default();
                let tip = format!("{}, {name}: {}", bar.label, significant(*value, 4));
                if to > end {
                    canvas.bar((end, y), (to, y + BAR), colour(series), &tip);
                }
                end = to;
            }
            let mut text_at = end;
            if let Some(at) = bar.mark.and_then(|mark| x.pixel(mark)) {
                canvas.limit((at, y - 3), (at, y + BAR + 3));
                text_at = end.max(at);
            }
            canvas.faint(&significant(sum, 4), (text_at + 6, middle), Anchor::Start);
        }
        canvas.axis((zero, top), (zero, bottom));
        canvas.text(plot.value_label, ((left + right) / 2, bottom + 40), Anchor::Middle);
        for (series, (name, (x, y))) in plot.series.iter().zip(&places).enumerate() {
            canvas.bar((*x, y - 6), (x + 14, y + 6), colour(series), name);
            canvas.text(name, (x + 22, *y), Anchor::Start);
        }
        if let (Some(name), Some((x, y))) = (plot.mark, places.last()) {
            canvas.limit((x + 7, y - 8), (x + 7, y + 8));
            canvas.text(name, (x + 22, *y), Anchor::Start);
        }
    })
}

/// Places of a legend's entries, line by line, and the y at which the legend ends.
fn legend<'a>(names: impl Iterator<Item = &'a str>, left: i32) -> (Vec<(i32, i32)>, i32) {
    let (mut x, mut y) = (left, 14);
    let mut places = Vec::new();
    for name in names {
        let width = 22 + width_of([name], 330) + 24;
        if x > left && x + width > WIDTH as i32 {
            (x, y) = (left, y + LEGEND_LINE);
        }
        places.push((x, y));
        x += width;
    }
    (places, y + LEGEND_LINE / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_says_its_bar_series_and_value() {
        let bar = |label: &str, values: &[f64], mark| StackedBar {
            label: label.to_owned(),
            values: values.to_vec(),
            mark,
        };
        let bars = [bar("stem <x>", &[10.0, 2.5], Some(4.0)), bar("b", &[f64::NAN, -1.0], None)];
        let svg = stacked(&Stacked {
            title: "t",
            value_label: "us",
            series: &["expand", "depthwise"],
            mark: Some("floor"),
            bars: &bars,
        });
        let flat = svg.replace('\n', "");
        for part in ["stem &lt;x&gt;, expand: 10.00", ", depthwise: 2.500", "12.50", ">floor<"] {
            assert!(flat.contains(part), "no {part} in {svg}");
        }
        assert!(!svg.contains("NaN") && !svg.contains("width=\"-"), "{svg}");
        assert_eq!(bars[0].total(), 12.5);
    }

    #[test]
    fn a_long_legend_takes_several_lines() {
        let names = ["a"; 40];
        let (places, end) = legend(names.into_iter(), 100);
        assert_eq!(places.len(), 40);
        assert!(places.iter().all(|(x, y)| *x + 22 < WIDTH as i32 && *y < end));
        assert!(end > 2 * LEGEND_LINE);
        stacked(&Stacked { title: "t", value_label: "x", series: &[], mark: None, bars: &[] });
    }
}
