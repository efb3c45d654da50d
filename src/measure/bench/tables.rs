//! Tables and sentences of a bench's document, for text and for HTML.

use super::{Document, Key, Row, Warning};
use crate::report::table::{Align, Table, count, significant};

/// Heading of [`latency`].
pub const LATENCY: &str = "Latency in ms, Throughput in images/s";
/// Heading of [`parts`].
pub const PARTS: &str = "Parts of a run: medians in ms";

/// Columns that say which configuration a row is.
const KEY: [(&str, Align); 6] = [
    ("variant", Align::Left),
    ("input", Align::Left),
    ("batch", Align::Right),
    ("precision", Align::Left),
    ("path", Align::Left),
    ("device", Align::Left),
];

fn key(key: &Key) -> Vec<String> {
    vec![
        key.variant.clone(),
        format!("{} {}", key.size, key.input),
        key.batch.to_string(),
        key.precision.clone(),
        key.path.clone().unwrap_or_else(|| "-".to_owned()),
        key.device.clone(),
    ]
}

/// Milliseconds to four digits.
fn ms(us: f64) -> String {
    significant(us / 1e3, 4)
}

/// What the numbers are, and how they came about.
pub fn units(document: &Document) -> String {
    let sampling = &document.options.sampling;
    let mut text = format!(
        "runs of at least {} s and {} iterations after a warm-up of {} ms",
        sampling.min_duration_ms as f64 / 1e3,
        sampling.min_iterations,
        sampling.warm_up_ms,
    );
    if document.rows.iter().any(|row| row.key.path.is_some()) {
        text += if document.options.cuda_graph { ", CUDA graph" } else { ", no CUDA graph" };
    }
    if document.rows.iter().any(|row| row.key.path.is_none()) {
        text += &format!(", {}", count(document.options.threads, "thread"));
    }
    if document.rows.iter().any(|row| row.weights == "random") {
        text += "; random weights: times do not depend on their values";
    }
    text
}

/// Latency and throughput of each configuration, with the ratio to the earlier document.
pub fn latency(document: &Document) -> Table {
    let mut columns = KEY.to_vec();
    columns.extend([
        ("runs", Align::Right),
        ("min", Align::Right),
        ("median", Align::Right),
        ("mean", Align::Right),
        ("p90", Align::Right),
        ("p99", Align::Right),
        ("CV", Align::Right),
        ("Throughput", Align::Right),
    ]);
    if document.against.is_some() {
        columns.extend([("then", Align::Right), ("ratio", Align::Right)]);
    }
    let mut table = Table::new(&columns);
    for row in &document.rows {
        let mut cells = key(&row.key);
        match &row.result {
            None => {
                cells.push("failed".to_owned());
                cells.resize(KEY.len() + 8, "-".to_owned());
            }
            Some(result) => {
                let latency = &result.latency_us;
                cells.push(latency.n.to_string());
                let times = [latency.min, latency.median, latency.mean, latency.p90, latency.p99];
                cells.extend(times.map(ms));
                cells.push(format!("{:.1} %", 100.0 * latency.cv));
                cells.push(significant(result.images_per_s, 4));
            }
        }
        if let Some(against) = &document.against {
            match against.of(&row.key) {
                Some(ratio) => {
                    cells.push(ms(ratio.then_latency_us));
                    cells.push(format!("{:.3}", ratio.latency));
                }
                None => cells.extend(["-".to_owned(), "-".to_owned()]),
            }
        }
        table.row(cells);
    }
    table
}

/// Medians of the parts of a run on a GPU; none without one.
pub fn parts(document: &Document) -> Option<Table> {
    let mut columns = KEY.to_vec();
    columns.extend([
        ("Enqueue", Align::Right),
        ("H2D", Align::Right),
        ("GPU Compute", Align::Right),
        ("D2H", Align::Right),
        ("Latency", Align::Right),
        ("on the host", Align::Right),
        ("clock after", Align::Right),
    ]);
    let mut table = Table::new(&columns);
    for row in &document.rows {
        let Some(result) = &row.result else { continue };
        let (Some(enqueue), Some(h2d), Some(compute), Some(d2h)) =
            (&result.enqueue_us, &result.h2d_us, &result.compute_us, &result.d2h_us)
        else {
            continue;
        };
        let mut cells = key(&row.key);
        let all = [enqueue, h2d, compute, d2h, &result.latency_us, &result.host_us];
        cells.extend(all.map(|summary| ms(summary.median)));
        let clock = result.gpu_state.as_ref().and_then(|state| state.sm_clock_mhz);
        cells.push(clock.map_or_else(|| "unknown".to_owned(), |clock| format!("{clock} MHz")));
        table.row(cells);
    }
    (!table.rows().is_empty()).then_some(table)
}

/// What there is to say of the earlier document, besides ratios.
pub fn against(document: &Document) -> Vec<String> {
    let Some(against) = &document.against else { return Vec::new() };
    let mut list = vec![format!(
        "then: median latency of {}; ratio: now by then, below 1.000 is faster",
        against.file
    )];
    let keys = |keys: &[Key]| keys.iter().map(Key::to_string).collect::<Vec<_>>().join("; ");
    if !against.only_now.is_empty() {
        list.push(format!("not in the earlier run: {}", keys(&against.only_now)));
    }
    if !against.only_then.is_empty() {
        list.push(format!("only in the earlier run: {}", keys(&against.only_then)));
    }
    list
}

/// All doubts: of the comparison, of the machine, of each row.
pub fn warnings(document: &Document) -> Vec<String> {
    let mut list = Vec::new();
    if let Some(against) = document.against.as_ref().filter(|a| !a.differences.is_empty()) {
        list.push(format!(
            "the ratios compare more than the code: {}; measure again under the same conditions",
            against.differences.join("; ")
        ));
    }
    list.extend(document.warnings.iter().map(ToString::to_string));
    // One sentence for all rows with the same trouble: the first row's.
    let mut groups: Vec<(&Row, &Warning, usize)> = Vec::new();
    for row in &document.rows {
        for warning in &row.warnings {
            let same = |group: &&mut (&Row, &Warning, usize)| {
                (group.1.kind, &group.1.remedy) == (warning.kind, &warning.remedy)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.2 += 1,
                None => groups.push((row, warning, 0)),
            }
        }
    }
    list.extend(groups.into_iter().map(|(row, warning, more)| match more {
        0 => format!("{}: {warning}", row.key),
        _ => format!("{} (and {more} more): {warning}", row.key),
    }));
    list
}
