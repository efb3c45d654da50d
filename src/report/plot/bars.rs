//! Horizontal bars, alone or in groups.

use super::axis::{Axis, Scale};
use super::canvas::{Anchor, WIDTH, colour, cut, draw, width_of};
use crate::report::table::significant;

/// A bar chart.
#[derive(Clone, Debug)]
pub struct Bars<'a> {
    /// Description of the chart, for those who do not see it.
    pub title: &'a str,
    /// The quantity, with its unit.
    pub value_label: &'a str,
    /// Names of the bars of each group; one name or none where bars stand alone.
    pub series: &'a [&'a str],
    /// The groups, from top to bottom.
    pub groups: &'a [BarGroup],
}

/// Bars with a common name.
#[derive(Clone, Debug, PartialEq)]
pub struct BarGroup {
    /// Text at the left of the group.
    pub label: String,
    /// Values, one for each series from top to bottom; none where there is no value.
    pub values: Vec<Option<f64>>,
}

impl BarGroup {
    /// A bar that stands alone.
    pub fn single(label: impl Into<String>, value: f64) -> BarGroup {
        BarGroup { label: label.into(), values: vec![Some(value)] }
    }
}

const BAR: i32 = 16;
const GAP: i32 = 8;
const BOTTOM: i32 = 54;

/// Draws the bars from 0, each with its value, and a legend where groups have more than one.
pub fn bars(plot: &Bars<'_>) -> String {
    let several = plot.series.len() > 1;
    let top = if several { 14 + 20 * plot.series.len() as i32 } else { 10 };
    let per_group =
        plot.groups.iter().map(|group| group.values.len()).max().unwrap_or(1).max(1) as i32;
    let group_height = per_group * (BAR + 2) + GAP;
    let bottom = top + group_height * plot.groups.len().max(1) as i32;
    let left = width_of(plot.groups.iter().map(|group| &group.label[..]), 330) + 20;
    let right = WIDTH as i32 - 84;
    let values = || plot.groups.iter().flat_map(|group| group.values.iter().copied().flatten());
    let x = Axis::new(Scale::Linear, values(), left, right);
    let zero = x.pixel(0.0).unwrap_or(left);

    draw((bottom + BOTTOM) as u32, plot.title, |canvas| {
        for (value, label) in &x.ticks {
            let Some(at) = x.pixel(*value) else { continue };
            canvas.grid((at, top), (at, bottom));
            canvas.faint(label, (at, bottom + 16), Anchor::Middle);
        }
        for (index, group) in plot.groups.iter().enumerate() {
            let y = top + group_height * index as i32 + GAP / 2;
            let middle = y + per_group * (BAR + 2) / 2;
            canvas.text(&cut(&group.label, left - 20), (left - 10, middle), Anchor::End);
            for (series, value) in group.values.iter().enumerate() {
                let y = y + series as i32 * (BAR + 2);
                let Some((value, end)) = value.and_then(|v| Some((v, x.pixel(v)?))) else {
                    continue;
                };
                let name = plot.series.get(series).map(|name| format!(", {name}"));
                let text = significant(value, 4);
                let tip = format!("{}{}: {text}", group.label, name.unwrap_or_default());
                canvas.bar((zero.min(end), y), (zero.max(end), y + BAR), colour(series), &tip);
                canvas.faint(&text, (zero.max(end) + 6, y + BAR / 2 + 1), Anchor::Start);
            }
        }
        canvas.axis((zero, top), (zero, bottom));
        canvas.text(plot.value_label, ((left + right) / 2, bottom + 40), Anchor::Middle);
        if several {
            for (series, name) in plot.series.iter().enumerate() {
                let y = 6 + 20 * series as i32;
                canvas.bar((left, y), (left + 14, y + 12), colour(series), name);
                canvas.text(name, (left + 22, y + 7), Anchor::Start);
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_bar_says_its_group_series_and_value() {
        let groups = [
            BarGroup { label: "b0".to_owned(), values: vec![Some(10.0), None] },
            BarGroup { label: "b1 <x>".to_owned(), values: vec![Some(5.5), Some(f64::NAN)] },
        ];
        let svg = bars(&Bars {
            title: "t",
            value_label: "images/s",
            series: &["fp16", "fp32"],
            groups: &groups,
        });
        for part in ["b0, fp16: 10.00", "b1 &lt;x&gt;, fp16: 5.500", "images/s", ">fp32<"] {
            assert!(svg.replace('\n', "").contains(part), "no {part} in {svg}");
        }
        assert!(!svg.contains("NaN"), "{svg}");
    }

    #[test]
    fn no_bars_and_negative_ones_are_drawn() {
        bars(&Bars { title: "t", value_label: "x", series: &[], groups: &[] });
        let groups = [BarGroup::single("down", -3.0), BarGroup::single("up", 2.0)];
        let svg = bars(&Bars { title: "t", value_label: "x", series: &[], groups: &groups });
        assert!(svg.contains("down: -3.000") && !svg.contains("width=\"-"), "{svg}");
    }
}
