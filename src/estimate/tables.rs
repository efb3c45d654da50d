//! An estimate as tables; every one says in its headings that its times are predicted.

use super::combine::Cause;
use super::report::{By, Estimate, Group, Line, make_up};
use crate::report::table::{bytes, significant, thousands};
use crate::report::{Align, Table};

/// Lines of a path that a table names.
const LINES: usize = 2;

impl Estimate {
    /// The run put together, with a last row for everything.
    pub fn table(&self, by: By) -> Table {
        match by {
            By::Launch => self.launch_table(),
            _ => self.group_table(by),
        }
    }

    fn launch_table(&self) -> Table {
        let right = |name| (name, Align::Right);
        let left = |name| (name, Align::Left);
        let mut columns = vec![
            left("launch"),
            left("kernel"),
            right("blocks"),
            right("blocks/SM"),
            right("waves"),
            right("predicted us"),
            right("launch us"),
            right("body us"),
            left("cause"),
            right("slots"),
            right("L2"),
            right("DRAM"),
            right("path us"),
            left("path, %"),
            left("lines of the path"),
        ];
        if self.measured.is_some() {
            columns.extend([right("measured us"), right("predicted/measured")]);
        }
        let mut table = Table::new(&columns);
        for (place, launch) in self.launches.iter().enumerate() {
            let (work, predicted) = (&launch.work, &launch.predicted);
            let kernel = launch.item.kernel.as_ref().map_or("", |kernel| kernel.symbol);
            let mut cells = vec![
                launch.item.name.clone(),
                kernel.trim_start_matches("effnet_").to_owned(),
                thousands(work.blocks),
                work.resident.to_string(),
                significant(predicted.waves, 2),
                format!("{:.2}", predicted.us()),
                format!("{:.2}", predicted.launch_us),
                format!("{:.2}", predicted.body_us),
                predicted.cause.name().to_owned(),
                thousands(work.slots.all.round() as u64),
                bytes(work.l2_bytes as u64),
                bytes((work.dram_read + work.dram_written) as u64),
                format!("{:.2}", self.gpu.us(work.path.total())),
                make_up(&work.path),
                lines(&launch.path_lines),
            ];
            if self.measured.is_some() {
                // With an event before it a launch begins after everything else.
                let alone = self.gpu.constants.launch_us + predicted.body_us;
                cells.extend(compared(alone, self.measured_us(place)));
            }
            table.row(cells);
        }
        let total = self.total();
        let mut cells = vec![String::new(); columns.len()];
        cells[0] = "total".to_owned();
        cells[5] = format!("{:.2}", total.predicted_us);
        cells[6] = format!("{:.2}", total.launch_us);
        cells[7] = format!("{:.2}", total.body_us);
        cells[9] = thousands(total.slots.round() as u64);
        cells[10] = bytes(total.l2_bytes as u64);
        cells[11] = bytes(total.dram_bytes as u64);
        if self.measured.is_some() {
            let launches = self.launches.len() as f64;
            let alone = launches * self.gpu.constants.launch_us + total.body_us;
            let last = compared(alone, total.measured_us);
            let at = columns.len() - last.len();
            cells.splice(at.., last);
        }
        table.row(cells);
        table
    }

    fn group_table(&self, by: By) -> Table {
        let right = |name| (name, Align::Right);
        let mut columns = vec![
            (by.name(), Align::Left),
            right("launches"),
            right("predicted us"),
            right("%"),
            right("launch us"),
            right("body us"),
        ];
        let of_cause = by == By::Cause;
        if !of_cause {
            columns.push(("mostly", Align::Left));
        }
        columns.extend([right("slots"), right("L2"), right("DRAM")]);
        let beside = self.measured.is_some() && !of_cause;
        if beside {
            columns.extend([right("measured us"), right("predicted/measured")]);
        }
        let mut table = Table::new(&columns);
        let mut row = |group: &Group| {
            let sum = &group.sum;
            let mut cells = vec![
                group.name.clone(),
                thousands(sum.launches as u64),
                format!("{:.1}", sum.predicted_us),
                format!("{:.1}", 100.0 * sum.share),
                format!("{:.1}", sum.launch_us),
                format!("{:.1}", sum.body_us),
            ];
            if !of_cause {
                cells.push(group.cause.name().to_owned());
            }
            cells.extend([
                thousands(sum.slots.round() as u64),
                bytes(sum.l2_bytes as u64),
                bytes(sum.dram_bytes as u64),
            ]);
            if beside {
                let alone = sum.launches as f64 * self.gpu.constants.launch_us + sum.body_us;
                cells.extend(compared(alone, sum.measured_us));
            }
            table.row(cells);
        };
        for group in self.groups(by) {
            row(&group);
        }
        let cause =
            self.groups(By::Cause).into_iter().map(|group| (group.sum.predicted_us, group.cause));
        let cause =
            cause.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(Cause::Latency, |(_, cause)| cause);
        row(&Group { name: "total".to_owned(), places: Vec::new(), cause, sum: self.total() });
        table
    }

    /// The GPU's constants with their sources.
    pub fn constants_table(&self) -> Table {
        let columns = [
            ("constant", Align::Left),
            ("value", Align::Right),
            ("unit", Align::Left),
            ("source", Align::Left),
        ];
        let mut table = Table::new(&columns);
        for (key, value, source) in self.gpu.rows() {
            let value = significant(value, 4);
            table.row([key.name.to_owned(), value, key.unit.to_owned(), source.to_owned()]);
        }
        table
    }
}

/// Measured microseconds, and what is predicted as a multiple of it.
fn compared(predicted: f64, measured: Option<f64>) -> [String; 2] {
    match measured {
        Some(us) => [format!("{us:.2}"), format!("{:.2}", predicted / us)],
        None => ["-".to_owned(), "-".to_owned()],
    }
}

/// The longest lines of a path, with their parts of it.
fn lines(lines: &[Line]) -> String {
    let told = lines.iter().take(LINES);
    let told: Vec<String> =
        told.map(|line| format!("{} {:.0}%", line.at, 100.0 * line.part)).collect();
    told.join(", ")
}
