//! A bench's document as an HTML page with plots.

use super::{Document, Row, tables};
use crate::report::html::{self, Section};
use crate::report::plot::{BarGroup, Bars, Lines, Scale, Series, bars, lines};
use maud::html as markup;

/// More bars in a group are hard to tell apart.
const MOST_IN_GROUP: usize = 6;

/// A page that needs no other file: tables, warnings, and plots by batch.
pub fn page(document: &Document) -> String {
    let mut sections = Vec::new();
    let warnings = tables::warnings(document);
    let failed: Vec<String> = document
        .rows
        .iter()
        .filter_map(|row| Some(format!("{} failed: {}", row.key, row.error.as_ref()?)))
        .collect();
    let parts = tables::parts(document);
    sections.push(Section::new(
        tables::LATENCY,
        markup! {
            (html::warnings(&failed))
            (html::table(&tables::latency(document)))
            @for sentence in tables::against(document) { (html::text(&sentence)) }
            (html::text(&tables::units(document)))
        },
    ));
    if let Some(parts) = parts {
        sections.push(Section::new(
            tables::PARTS,
            markup! {
                (html::table(&parts))
                (html::text(
                    "Enqueue is the host's time to enqueue the launches, H2D, GPU Compute and \
                     D2H are times of the device, Latency is those three together."
                ))
            },
        ));
    }
    if !warnings.is_empty() {
        sections.push(Section::new("Warnings", html::warnings(&warnings)));
    }
    if let Some(svg) = latency(document) {
        let caption = "Median latency against the number of images in a run, both axes logarithmic: where a \
                       line is level, more images cost no more time; where it rises as steeply as the batch, \
                       the device is full.";
        sections.push(Section::new("Latency by batch", html::figure(&svg, caption)));
    }
    if let Some(svg) = throughput(document) {
        let caption = "Images by the time that passed on the host, with copies and staging.";
        sections.push(Section::new("Throughput", html::figure(&svg, caption)));
    }
    let variants = once(document.rows.iter().map(|row| row.key.variant.clone()));
    let devices = once(document.rows.iter().map(|row| row.key.device.clone()));
    let title = format!("effnet bench: {} on {}", variants.join(", "), devices.join(", "));
    html::page(&title, &document.environment, &sections)
}

fn once<T: PartialEq>(values: impl Iterator<Item = T>) -> Vec<T> {
    let mut list = Vec::new();
    for value in values {
        if !list.contains(&value) {
            list.push(value);
        }
    }
    list
}

/// Rows with times, by what they have in common but for the batch.
fn series(document: &Document) -> Vec<(String, Vec<&Row>)> {
    let measured = || document.rows.iter().filter(|row| row.result.is_some());
    let names = once(measured().map(|row| row.key.series()));
    let of = |name: &String| measured().filter(|row| row.key.series() == *name).collect();
    names.into_iter().map(|name| (name.clone(), of(&name))).collect()
}

/// One line for each configuration; none where there is one batch alone.
fn latency(document: &Document) -> Option<String> {
    let list: Vec<Series> = series(document)
        .into_iter()
        .map(|(name, rows)| {
            let mut points: Vec<(f64, f64)> = rows
                .iter()
                .filter_map(|row| {
                    let latency = &row.result.as_ref()?.latency_us;
                    Some((row.key.batch as f64, latency.median / 1e3))
                })
                .collect();
            points.sort_by(|a, b| a.0.total_cmp(&b.0));
            Series { name, points }
        })
        .collect();
    let batches = once(list.iter().flat_map(|series| series.points.iter().map(|point| point.0)));
    (batches.len() > 1).then(|| {
        lines(&Lines {
            title: "Median latency by batch",
            x_label: "images per run",
            y_label: "median latency, ms",
            x_scale: Scale::Log,
            y_scale: Scale::Log,
            series: &list,
        })
    })
}

/// A group for each configuration with a bar for each batch, where those are few.
fn throughput(document: &Document) -> Option<String> {
    let list = series(document);
    let rate = |row: &Row| row.result.as_ref().map(|result| result.images_per_s);
    let mut batches = once(list.iter().flat_map(|(_, rows)| rows.iter().map(|row| row.key.batch)));
    batches.sort_unstable();
    let grouped = (2..=MOST_IN_GROUP).contains(&batches.len());
    let groups: Vec<BarGroup> = if grouped {
        let values = |rows: &[&Row]| {
            let of = |batch: &usize| {
                rows.iter().find(|row| row.key.batch == *batch).and_then(|row| rate(row))
            };
            batches.iter().map(of).collect()
        };
        list.iter()
            .map(|(name, rows)| BarGroup { label: name.clone(), values: values(rows) })
            .collect()
    } else {
        let rows = list.iter().flat_map(|(_, rows)| rows);
        rows.map(|row| BarGroup { label: row.key.to_string(), values: vec![rate(row)] }).collect()
    };
    let names: Vec<String> = batches.iter().map(|batch| format!("batch {batch}")).collect();
    let names: Vec<&str> = names.iter().map(|name| &name[..]).collect();
    (!groups.is_empty()).then(|| {
        bars(&Bars {
            title: "Throughput",
            value_label: "images/s",
            series: if grouped { &names } else { &[] },
            groups: &groups,
        })
    })
}
