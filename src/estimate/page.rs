//! An estimate as a self-contained HTML page with plots, each of which says that it is predicted.

use super::combine::{Cause, PathCycles};
use super::report::{By, Estimate, Launch};
use crate::report::html::{Section, figure, page, table, text};
use crate::report::plot::{BarGroup, Bars, Stacked, StackedBar, bars, stacked};
use crate::report::{Align, Table};
use maud::{Markup, html};

/// Launches whose lines are listed.
const LONGEST: usize = 12;
/// Lines of each.
const LINES: usize = 6;

/// Causes by which plots tell times apart: no more than there are colours.
const PLOTTED: [(&str, &[Cause]); 6] = [
    ("launch", &[Cause::Launch]),
    ("latency", &[Cause::Latency]),
    ("issue", &[Cause::Issue]),
    ("pipes", &[Cause::Fma, Cause::Alu, Cause::Special, Cause::LoadStore, Cause::Tensor]),
    ("L1 and L2", &[Cause::L1, Cause::L2]),
    ("DRAM", &[Cause::Dram]),
];

/// The parts of a path by which plots tell it apart.
fn path_parts(path: &PathCycles) -> [(&'static str, f64); 6] {
    [
        ("issue", path.issue),
        ("arithmetic, tensor", path.arithmetic + path.tensor),
        ("special function", path.special),
        ("shared memory, L1", path.shared + path.l1),
        ("L2, DRAM, copies", path.memory + path.copy),
        ("barriers, atomics", path.barrier + path.atomic),
    ]
}

impl Estimate {
    /// The page.
    pub fn html(&self) -> String {
        let time = figure(
            &self.causes_by(By::Block, "Predicted time of each block"),
            "Predicted microseconds of each block, by what limits its launches; what lies between \
             launches is a part of its own.",
        );
        let mut sections = vec![
            Section::new("Summary", self.summary()),
            Section::new("Predicted time by block", time),
            Section::new("Critical paths", self.paths()),
        ];
        for (by, title) in [
            (By::Cause, "Predicted, by cause"),
            (By::Op, "Predicted, by op"),
            (By::Block, "Predicted, by block"),
            (By::Launch, "Predicted, every launch"),
        ] {
            let body = html! {
                @if by == By::Op {
                    (figure(
                        &self.causes_by(By::Op, "Predicted time of each op"),
                        "Predicted microseconds of each op, by what limits its launches.",
                    ))
                }
                (table(&self.table(by)))
            };
            sections.push(Section::new(title, body));
        }
        sections.push(Section::new("Lines of the longest launches", self.lines()));
        sections.push(Section::new("Constants of the GPU", table(&self.constants_table())));
        page(&format!("effnet estimate, {}", self.title()), &self.environment, &sections)
    }

    fn summary(&self) -> Markup {
        html! {
            dl {
                dt { "model" }
                dd { (Estimate::MODEL) }
                dt { "GPU" }
                dd { (self.gpu.title) " (sm_" (self.gpu.arch) "), constants: " (self.gpu.name) }
                @for (name, value) in self.headlines() { dt { (name) } dd { (value) } }
            }
            @for note in self.notes() { (text(&note)) }
        }
    }

    /// Stacked bars of groups, by cause.
    fn causes_by(&self, by: By, title: &str) -> String {
        let us = |launch: &Launch, causes: &[Cause]| {
            let times = causes.iter().map(|&cause| match cause {
                Cause::Launch => launch.predicted.launch_us,
                _ if launch.predicted.cause == cause => launch.predicted.body_us,
                _ => 0.0,
            });
            times.sum::<f64>()
        };
        let has = |causes: &[Cause]| self.launches.iter().any(|launch| us(launch, causes) > 0.0);
        let plotted: Vec<_> = PLOTTED.into_iter().filter(|(_, causes)| has(causes)).collect();
        let names: Vec<&str> = plotted.iter().map(|(name, _)| *name).collect();
        let bars: Vec<StackedBar> = self
            .groups(by)
            .into_iter()
            .map(|group| StackedBar {
                values: plotted
                    .iter()
                    .map(|(_, causes)| {
                        group.places.iter().map(|&place| us(&self.launches[place], causes)).sum()
                    })
                    .collect(),
                label: group.name,
                mark: group.sum.measured_us,
            })
            .collect();
        let mark = self.measured.is_some().then_some("measured, one by one");
        stacked(&Stacked { title, value_label: "predicted us", series: &names, mark, bars: &bars })
    }

    /// The make-up of the mean path of each op, and its length.
    fn paths(&self) -> Markup {
        let ops = self.groups(By::Op);
        let names = path_parts(&PathCycles::default()).map(|(name, _)| name);
        let mut shares: Vec<StackedBar> = Vec::new();
        let mut lengths: Vec<BarGroup> = Vec::new();
        for op in &ops {
            let count = op.places.len().max(1) as f64;
            let mut values = vec![0.0; names.len()];
            for &place in &op.places {
                let parts = path_parts(&self.launches[place].work.path);
                for (value, (_, cycles)) in values.iter_mut().zip(parts) {
                    *value += cycles / count;
                }
            }
            lengths.push(BarGroup::single(op.name.clone(), self.gpu.us(values.iter().sum())));
            shares.push(StackedBar { label: op.name.clone(), values, mark: None });
        }
        let parts = stacked(&Stacked {
            title: "Predicted critical path of a block, by op",
            value_label: "predicted cycles of a mean launch's slowest block",
            series: &names,
            mark: None,
            bars: &shares,
        });
        let lengths = bars(&Bars {
            title: "Predicted length of the critical path, by op",
            value_label: "predicted us",
            series: &[],
            groups: &lengths,
        });
        html! {
            (figure(&parts, "What the slowest block of a launch waits for, one after the other: no \
                             launch is shorter. Mean over the launches of an op; predicted."))
            (figure(&lengths, "The same in microseconds at the GPU's clock; predicted."))
        }
    }

    fn lines(&self) -> Markup {
        let mut longest: Vec<&Launch> = self.launches.iter().collect();
        longest.sort_by(|a, b| b.predicted.body_us.total_cmp(&a.predicted.body_us));
        let mut found = Table::new(&[
            ("launch", Align::Left),
            ("line of the critical path", Align::Left),
            ("predicted cycles", Align::Right),
            ("%", Align::Right),
            ("line with most slots", Align::Left),
            ("slots", Align::Right),
            ("%", Align::Right),
        ]);
        for launch in longest.into_iter().take(LONGEST) {
            let rows = launch.path_lines.len().max(launch.slot_lines.len()).min(LINES);
            for row in 0..rows {
                let cells = |line: Option<&super::report::Line>| match line {
                    Some(line) => [
                        line.at.clone(),
                        format!("{:.0}", line.amount),
                        format!("{:.1}", 100.0 * line.part),
                    ],
                    None => [const { String::new() }; 3],
                };
                let name = if row == 0 { launch.item.name.clone() } else { String::new() };
                let path = cells(launch.path_lines.get(row));
                let slots = cells(launch.slot_lines.get(row));
                found.row([name].into_iter().chain(path).chain(slots));
            }
        }
        table(&found)
    }
}
