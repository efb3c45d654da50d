//! A profile as a self-contained HTML page with plots.

use super::report::{Found, Report};
use super::{By, CountProfile, TimeProfile, ceilings_table};
use crate::report::html::{Section, figure, page, table, text};
use crate::report::plot::{
    BarGroup, Bars, Limit, Point, Roofline, Stacked, StackedBar, alone, bars, roofline, stacked,
};
use crate::report::table::significant;
use maud::{Markup, html};

/// Parts of a stacked bar that have a colour of their own; the rest is "other".
const PARTS: usize = 5;
/// Points of the roofline whose names are written beside them.
const LABELLED: usize = 4;

impl Report {
    /// The page.
    pub fn html(&self) -> String {
        let mut sections = vec![Section::new("Summary", self.summary())];
        match &self.found {
            Found::Times(profile, _) => {
                let caption = "Medians, by op. The line across a bar is the block's floor.";
                let bars = figure(&time_by_block(profile), caption);
                sections.push(Section::new("Time by block", bars));
                sections.push(Section::new("Roofline", roofs(profile, self.subject.unit())));
            }
            Found::Counts(profile) => {
                let bars = figure(&classes_by_block(profile), "Warp instructions, by class.");
                sections.push(Section::new("Instructions by block", bars));
                sections.push(Section::new("Memory by block", memory_by_block(profile)));
            }
        }
        let mut list = vec![(By::Op, "By op"), (By::Stage, "By stage"), (By::Block, "By block")];
        let layers = self.items().iter().any(|item| item.layer != item.name);
        if layers {
            list.push((By::Layer, "By layer"));
        }
        let each = if self.subject.unit() == "launch" { "Every launch" } else { "Every step" };
        list.push((By::Launch, each));
        for (by, title) in list {
            let classes = match by {
                By::Launch | By::Layer => None,
                _ => self.class_table(by),
            };
            let body = html! {
                (table(&self.table(by)))
                @if let Some(classes) = classes {
                    (text("Instructions by class, in percent:"))
                    (table(&classes))
                }
            };
            sections.push(Section::new(title, body));
        }
        page(&format!("effnet profile: {}", self.subject.title()), &self.environment, &sections)
    }

    /// The bars of the blocks as a picture by itself: times with floors, or instructions.
    pub fn svg(&self) -> String {
        alone(&match &self.found {
            Found::Times(profile, _) => time_by_block(profile),
            Found::Counts(profile) => classes_by_block(profile),
        })
    }

    fn summary(&self) -> Markup {
        let subject = &self.subject;
        html! {
            dl {
                dt { "model" }
                dd { (subject.model) " (" (subject.variant) "), weights: " (subject.weights) }
                dt { "device" }
                dd {
                    (subject.device_name)
                    @if let Some(threads) = subject.threads { ", " (threads) " threads" }
                }
                @for (name, value) in self.headlines() { dt { (name) } dd { (value) } }
            }
            @if let Found::Times(profile, _) = &self.found {
                (text("The ceilings, measured on the same device before the network:"))
                (table(&ceilings_table(&profile.ceilings)))
            }
            @for note in self.notes() { (text(&note)) }
        }
    }
}

/// Time of each block, by op, with its floor.
fn time_by_block(profile: &TimeProfile) -> String {
    let ops = profile.groups(By::Op);
    let parts = parts(ops.iter().map(|op| (op.name.as_str(), op.figures.time_us)));
    let bars: Vec<StackedBar> = profile
        .groups(By::Block)
        .into_iter()
        .map(|block| {
            let mut values = vec![0.0; parts.len()];
            for &place in &block.items {
                let op = &profile.items[place].op;
                values[part_of(&parts, op)] += profile.times_us[place].median;
            }
            StackedBar { label: block.name, values, mark: Some(block.figures.floor_us) }
        })
        .collect();
    stacked(&Stacked {
        title: "Time of each block",
        value_label: "us",
        series: &parts,
        mark: Some("floor"),
        bars: &bars,
    })
}

/// Every item with operations under the ceilings.
fn roofs(profile: &TimeProfile, unit: &str) -> Markup {
    let groups: Vec<String> = profile.groups(By::Op).into_iter().map(|op| op.name).collect();
    let mut points: Vec<Point> = profile
        .items
        .iter()
        .enumerate()
        .map(|(place, item)| Point {
            name: item.name.clone(),
            group: groups.iter().position(|group| *group == item.op).unwrap_or(0),
            x: item.flops() as f64 / item.bytes.max(1) as f64,
            y: profile.figures(&[place]).tflops.unwrap_or(0.0),
            labelled: false,
        })
        .collect();
    label(profile, &mut points);
    // Groups without a point would take a place in the legend.
    let with_points =
        |group: &usize| points.iter().any(|point| point.group == *group && point.y > 0.0);
    let kept: Vec<usize> = (0..groups.len()).filter(with_points).collect();
    let names: Vec<&str> = kept.iter().map(|&group| groups[group].as_str()).collect();
    let points: Vec<Point> = points
        .into_iter()
        .filter_map(|point| {
            let group = kept.iter().position(|&group| group == point.group)?;
            Some(Point { group, ..point })
        })
        .collect();
    let ceilings = &profile.ceilings;
    let svg = roofline(&Roofline {
        title: "Roofline",
        x_label: "FLOP/byte",
        y_label: "TFLOP/s",
        slopes: &[Limit {
            name: format!("copy, {} GB/s", significant(ceilings.copy_gbps, 4)),
            value: ceilings.copy_gbps / 1e3,
        }],
        ceilings: &[Limit {
            name: format!("product, {} TFLOP/s", significant(ceilings.product_tflops, 4)),
            value: ceilings.product_tflops,
        }],
        groups: &names,
        points: &points,
    });
    let caption = format!(
        "Each {unit} with multiply-accumulates, by operations per byte of its tensors. Left of {} a \
         {unit} is bound by memory at best, right of it by arithmetic. What is far below both lines is \
         too small to fill the device, or has other limits.",
        significant(ceilings.ridge(), 3),
    );
    figure(&svg, &caption)
}

/// Names the points that take most of the time and lie apart.
fn label(profile: &TimeProfile, points: &mut [Point]) {
    let mut longest: Vec<usize> = (0..points.len()).collect();
    longest.sort_by(|&a, &b| profile.times_us[b].median.total_cmp(&profile.times_us[a].median));
    let mut labelled: Vec<(f64, f64)> = Vec::new();
    for place in longest {
        let point = &mut points[place];
        let within = |a: f64, b: f64, factor: f64| a <= factor * b && b <= factor * a;
        let close = |&(x, y): &(f64, f64)| within(x, point.x, 10.0) && within(y, point.y, 1.6);
        if labelled.len() < LABELLED && point.y > 0.0 && !labelled.iter().any(close) {
            labelled.push((point.x, point.y));
            point.labelled = true;
        }
    }
}

/// Instructions of each block, by class.
fn classes_by_block(profile: &CountProfile) -> String {
    let total = profile.total();
    let classes = total.by_class.iter();
    let parts = parts(classes.map(|(class, &count)| (class.as_str(), count as f64)));
    let bars: Vec<StackedBar> = profile
        .groups(By::Block)
        .into_iter()
        .map(|block| {
            let mut values = vec![0.0; parts.len()];
            for (class, &count) in &block.counts.by_class {
                values[part_of(&parts, class)] += count as f64 / 1e3;
            }
            StackedBar { label: block.name, values, mark: None }
        })
        .collect();
    stacked(&Stacked {
        title: "Instructions of each block",
        value_label: "thousands of warp instructions",
        series: &parts,
        mark: None,
        bars: &bars,
    })
}

/// Bytes against the minimum, and sectors of a request, of each block.
fn memory_by_block(profile: &CountProfile) -> Markup {
    let blocks = profile.groups(By::Block);
    let times: Vec<BarGroup> = blocks
        .iter()
        .map(|block| BarGroup::single(block.name.clone(), block.counts.times_compulsory))
        .collect();
    let sectors: Vec<BarGroup> = blocks
        .iter()
        .map(|block| BarGroup::single(block.name.clone(), block.counts.sectors_per_request))
        .collect();
    let svg = |title, value_label, groups| bars(&Bars { title, value_label, series: &[], groups });
    html! {
        (figure(
            &svg("Bytes of each block", "bytes of sectors / compulsory minimum", &times),
            "What all requests reach for, before any cache, as a multiple of each tensor read or \
             written once. Caches serve what is above 1.",
        ))
        (figure(
            &svg("Sectors of each block", "sectors of 32 bytes per request", &sectors),
            "Of a warp's mean request: 4 for 4 bytes of each lane side by side, 16 for 16 bytes.",
        ))
    }
}

/// Names of the largest parts in the order given, and of the rest together.
fn parts<'a>(sizes: impl Iterator<Item = (&'a str, f64)>) -> Vec<&'a str> {
    let sizes: Vec<(&str, f64)> = sizes.collect();
    let mut largest = sizes.clone();
    largest.sort_by(|a, b| b.1.total_cmp(&a.1));
    // One more alone takes no more room than "other".
    let own = if sizes.len() <= PARTS + 1 { sizes.len() } else { PARTS };
    largest.truncate(own);
    let is_large = |name: &&str| largest.iter().any(|(large, _)| large == name);
    let mut names: Vec<&str> = sizes.iter().map(|(name, _)| *name).filter(is_large).collect();
    if names.len() < sizes.len() {
        names.push("other");
    }
    names
}

/// The place of a part; that of "other", the last, where it has none of its own.
fn part_of(parts: &[&str], name: &str) -> usize {
    parts.iter().position(|part| *part == name).unwrap_or(parts.len().saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_smallest_parts_are_put_together() {
        let sizes = [("a", 5.0), ("b", 1.0), ("c", 9.0), ("d", 2.0), ("e", 7.0), ("f", 0.5)];
        assert_eq!(parts(sizes.into_iter()), ["a", "b", "c", "d", "e", "f"]);
        let seven = sizes.into_iter().chain([("g", 4.0)]);
        let names = parts(seven);
        assert_eq!(names, ["a", "c", "d", "e", "g", "other"]);
        assert_eq!([part_of(&names, "e"), part_of(&names, "b")], [3, 5]);
    }
}
