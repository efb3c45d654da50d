//! A report as tables.

use super::report::{Found, Report};
use super::{By, Ceilings, CountProfile, Counts, Figures, Item, TimeProfile};
use crate::report::table::{bytes, significant, thousands};
use crate::report::{Align, Table};

impl Report {
    /// What was found, put together, with a last row for everything.
    pub fn table(&self, by: By) -> Table {
        match &self.found {
            Found::Times(profile, _) => time_table(profile, by, self.subject.unit()),
            Found::Counts(profile) => count_table(profile, by),
        }
    }

    /// Warp instructions by class, in percent; none of times.
    pub fn class_table(&self, by: By) -> Option<Table> {
        match &self.found {
            Found::Times(..) => None,
            Found::Counts(profile) => Some(class_table(profile, by)),
        }
    }
}

/// The first columns: the group and how many items it has, or the item and how it uses the device.
fn first_columns(by: By, unit: &'static str) -> Vec<(&'static str, Align)> {
    let right = |name| (name, Align::Right);
    match (by, unit) {
        (By::Launch, "launch") => {
            vec![
                (unit, Align::Left),
                ("kernel", Align::Left),
                right("blocks"),
                right("occupancy %"),
            ]
        }
        (By::Launch, _) => vec![(unit, Align::Left)],
        (_, "launch") => vec![(by.name(), Align::Left), right("launches")],
        _ => vec![(by.name(), Align::Left), right("steps")],
    }
}

/// The cells of as many first columns.
fn first_cells(items: &[Item], name: &str, places: &[usize], columns: usize) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    match (columns, places) {
        (4, &[place]) => {
            if let Some(kernel) = &items[place].kernel {
                let blocks: u64 = kernel.grid.iter().map(|&blocks| u64::from(blocks)).product();
                cells.push(kernel.symbol.trim_start_matches("effnet_").to_owned());
                cells.push(thousands(blocks));
                cells.push(kernel.occupancy.map_or("-".to_owned(), percent));
            }
        }
        (2, _) => cells.push(thousands(places.len() as u64)),
        _ => (),
    }
    cells.resize(columns, String::new());
    cells
}

fn time_table(profile: &TimeProfile, by: By, unit: &'static str) -> Table {
    let right = |name| (name, Align::Right);
    let first = first_columns(by, unit);
    let columns = [
        right("time us"),
        right("%"),
        right("floor us"),
        right("x floor"),
        ("bound", Align::Left),
        right("moved"),
        right("GB/s"),
        right("MFLOP"),
        right("TFLOP/s"),
    ];
    let mut table = Table::new(&[&first[..], &columns].concat());
    let mut row = |name: &str, places: &[usize], figures: &Figures| {
        let rate = |rate: Option<f64>| rate.map_or("-".to_owned(), |rate| significant(rate, 3));
        let cells = [
            format!("{:.1}", figures.time_us),
            percent(figures.share),
            format!("{:.1}", figures.floor_us),
            significant(figures.times_floor, 2),
            figures.bound.to_string(),
            bytes(figures.bytes),
            rate(figures.gbps),
            significant(figures.flops as f64 / 1e6, 3),
            rate(figures.tflops),
        ];
        table.row(first_cells(&profile.items, name, places, first.len()).into_iter().chain(cells));
    };
    for group in profile.groups(by) {
        row(&group.name, &group.items, &group.figures);
    }
    row("total", &Vec::from_iter(0..profile.items.len()), &profile.total());
    table
}

fn count_table(profile: &CountProfile, by: By) -> Table {
    let right = |name| (name, Align::Right);
    let first = first_columns(by, "launch");
    let columns = [
        right("instructions"),
        right("%"),
        right("tensor ops"),
        right("requests"),
        right("sectors/request"),
        right("moved"),
        right("x minimum"),
        right("conflicts"),
        right("barriers"),
    ];
    let mut table = Table::new(&[&first[..], &columns].concat());
    let mut row = |name: &str, places: &[usize], counts: &Counts| {
        let cells = [
            thousands(counts.instructions),
            percent(counts.share),
            thousands(counts.tensor_ops),
            thousands(counts.global_requests),
            format!("{:.2}", counts.sectors_per_request),
            bytes(counts.sector_bytes()),
            format!("{:.2}", counts.times_compulsory),
            thousands(counts.bank_conflicts),
            thousands(counts.barriers),
        ];
        table.row(first_cells(&profile.items, name, places, first.len()).into_iter().chain(cells));
    };
    for group in profile.groups(by) {
        row(&group.name, &group.items, &group.counts);
    }
    row("total", &Vec::from_iter(0..profile.items.len()), &profile.total());
    table
}

fn class_table(profile: &CountProfile, by: By) -> Table {
    let total = profile.total();
    let classes: Vec<&String> = total.by_class.keys().collect();
    let first = [(first_columns(by, "launch")[0].0, Align::Left), ("lanes %", Align::Right)];
    let columns = classes.iter().map(|class| (class.as_str(), Align::Right));
    let mut table = Table::new(&first.into_iter().chain(columns).collect::<Vec<_>>());
    let mut row = |name: &str, counts: &Counts| {
        let of = |class: &&String| {
            let count = counts.by_class.get(*class).copied().unwrap_or(0);
            percent(count as f64 / counts.instructions.max(1) as f64)
        };
        let first = [name.to_owned(), percent(counts.active_lanes)];
        table.row(first.into_iter().chain(classes.iter().map(of)));
    };
    for group in profile.groups(by) {
        row(&group.name, &group.counts);
    }
    row("total", &total);
    table
}

fn percent(part: f64) -> String {
    format!("{:.1}", 100.0 * part)
}

/// The ceilings as names, values and how they were measured.
pub fn ceilings_table(ceilings: &Ceilings) -> Table {
    let mut table =
        Table::new(&[("ceiling", Align::Left), ("", Align::Right), ("measured as", Align::Left)]);
    let method = &ceilings.method;
    let rows = [
        ("memory", format!("{} GB/s", significant(ceilings.copy_gbps, 4)), &method.copy),
        (
            "compute",
            format!("{} TFLOP/s", significant(ceilings.product_tflops, 4)),
            &method.product,
        ),
        ("launch", format!("{} us", significant(ceilings.launch_us, 3)), &method.launch),
    ];
    for (name, value, method) in rows {
        table.row([name.to_owned(), value, method.clone()]);
    }
    table
}
