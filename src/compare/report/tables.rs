//! A comparison as tables and sentences, the same in text and HTML.

use super::{PublishedTable, Report};
use crate::compare::{Entry, Measured, Outcome, Ratio};
use crate::measure::bench::WarningKind;
use crate::report::table::{Align, Table, bytes, significant};

/// A time in the unit that keeps it short.
pub fn duration(ms: f64) -> String {
    match ms {
        _ if ms < 1000.0 => format!("{} ms", significant(ms, 3)),
        _ => format!("{} s", significant(ms / 1e3, 3)),
    }
}

/// A ratio as text, as in `1.63 (1.58 to 1.71)`.
pub fn ratio(ratio: Option<Ratio>) -> String {
    ratio.map_or_else(String::new, |Ratio { median, min, max }| {
        let [median, min, max] = [median, min, max].map(|x| significant(x, 3));
        format!("{median} ({min} to {max})")
    })
}

/// Table of the figures: a row for each runtime that was measured. A column without a value is left
/// out.
pub fn measured(report: &Report) -> Table {
    const COLUMNS: [(&str, Align); 14] = [
        ("runtime", Align::Left),
        ("latency ms", Align::Right),
        ("p99", Align::Right),
        ("on GPU", Align::Right),
        ("images/s", Align::Right),
        ("latency / effnet's", Align::Left),
        ("on GPU / effnet's", Align::Left),
        ("max diff", Align::Right),
        ("top-1", Align::Right),
        ("start-up", Align::Right),
        ("build", Align::Right),
        ("memory", Align::Right),
        ("GPU memory", Align::Right),
        ("on disk", Align::Right),
    ];
    let size = |n: Option<u64>| n.map_or_else(String::new, bytes);
    let row = |(name, measured): (&str, &Measured)| {
        let accuracy = &measured.accuracy;
        [
            name.to_owned(),
            significant(measured.latency_ms.median, 4),
            significant(measured.latency_ms.p99, 4),
            measured.device_ms.map_or_else(String::new, |times| significant(times.median, 4)),
            significant(measured.images_per_s, 4),
            ratio(measured.latency_ratio),
            ratio(measured.device_ratio),
            difference(measured),
            format!("{}/{}", accuracy.top1_agreement, accuracy.images),
            duration(measured.start_up_ms),
            duration(measured.build_ms),
            size(measured.memory.peak_resident_bytes),
            size(measured.memory.gpu_bytes),
            bytes(measured.disk_bytes),
        ]
    };
    let rows: Vec<[String; COLUMNS.len()]> = report.measured().map(row).collect();
    let has_values = |column: &usize| rows.iter().any(|row| !row[*column].is_empty());
    let columns: Vec<usize> = (0..COLUMNS.len()).filter(has_values).collect();
    let headings: Vec<_> = columns.iter().map(|&column| COLUMNS[column]).collect();
    let mut table = Table::new(&headings);
    for row in &rows {
        table.row(columns.iter().map(|&column| row[column].clone()));
    }
    table
}

fn difference(measured: &Measured) -> String {
    match measured.accuracy.max_difference_relative {
        0.0 => "0".to_owned(),
        relative => format!("{relative:.1e}"),
    }
}

/// Meaning of the columns of [`measured`], a sentence each.
pub fn legend(report: &Report) -> Vec<String> {
    let setup = &report.setup;
    let (rounds, burst) = (setup.rounds, duration(setup.burst_ms));
    vec![
        format!(
            "{rounds} rounds; in each, every runtime had a burst of {burst} after {} of warm-up",
            duration(setup.warm_up_ms)
        ),
        "latency: input in the host's memory to logits in the host's memory, median and 99th \
         percentile of all runs; on GPU: the network alone by the GPU's clock, where the runtime tells"
            .to_owned(),
        "ratios to effnet's: the median of the rounds' ratios (least to greatest); above 1, effnet is \
         quicker"
            .to_owned(),
        format!(
            "max diff: largest difference of a logit from the CPU executor's in fp32, by the largest \
             logit; top-1: same best class; {} photographs and {} random images",
            setup.photographs, setup.random_images
        ),
        format!(
            "start-up: start of the process to its first logits, median of {}; build: weights or ONNX \
             to something that runs, the first time; memory: most resident in the process",
            setup.starts
        ),
    ]
}

/// Reasons to doubt the figures, a sentence each.
pub fn warnings(report: &Report) -> Vec<String> {
    let mut list: Vec<String> = report.warnings.iter().map(ToString::to_string).collect();
    if report.warnings.iter().any(|warning| warning.kind == WarningKind::Load) {
        list.push(
            "on a busy machine, runtimes whose threads spin while they wait, as PyTorch's, suffer \
             most: OMP_WAIT_POLICY=passive makes them sleep"
                .to_owned(),
        );
    }
    list
}

/// A line for each runtime: name, version, and further facts that a reader should know.
pub fn notes(report: &Report) -> Vec<String> {
    let line = |(name, measured): (&str, &Measured)| {
        let Measured { runtime, device, precision, disk_file, notes, .. } = measured;
        let mut line = format!("{name}: {runtime}; {device}, {precision}; on disk: {disk_file}");
        notes.iter().for_each(|note| line.extend(["; ", note]));
        line
    };
    report.measured().map(line).collect()
}

/// A line for each baseline that is not here, and one or more for each that failed.
pub fn absent(report: &Report) -> Vec<String> {
    let line = |Entry { name, outcome }: &Entry| match outcome {
        Outcome::Measured(_) => None,
        Outcome::Missing { how_to_get } => Some(format!("{name}: not here: {how_to_get}")),
        Outcome::Failed(failure) => Some(format!("{name}: failed: {failure}")),
    };
    report.contestants.iter().filter_map(line).collect()
}

/// The heading of [`published`].
pub fn published_heading(table: &PublishedTable) -> String {
    format!("published, other hardware: {}, by {}", table.runtime, table.source)
}

/// Table of other people's figures; none where there are none for the variant.
pub fn published(published: &PublishedTable) -> Option<Table> {
    let mut table = Table::new(&[
        ("hardware", Align::Left),
        ("precision", Align::Left),
        ("size", Align::Right),
        ("batch", Align::Right),
        ("latency ms", Align::Right),
        ("images/s", Align::Right),
    ]);
    for row in &published.rows {
        table.row([
            row.hardware.clone(),
            row.precision.to_string(),
            row.size.to_string(),
            row.batch.to_string(),
            row.latency_ms.to_string(),
            significant(row.images_per_s(), 4),
        ]);
    }
    (!published.rows.is_empty()).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_ratios_are_short() {
        let found = [0.5, 12.345, 999.4, 1234.0, 90_000.0].map(duration);
        assert_eq!(found, ["0.500 ms", "12.3 ms", "999 ms", "1.23 s", "90.0 s"]);
        let found = ratio(Some(Ratio { median: 1.634, min: 1.5, max: 12.0 }));
        assert_eq!(found, "1.63 (1.50 to 12.0)");
        assert_eq!(ratio(None), "");
    }
}
