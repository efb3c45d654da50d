//! An estimate with what it is of, and what there is to say about it.

use super::combine::{Cause, PathCycles, Predicted, Work};
use super::gpu::Gpu;
use super::measured::Measured;
use crate::arch::Size;
use crate::environment::Environment;
use crate::profile::Item;
use crate::report::table::significant;
use serde::Serialize;

/// What launches are put together by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum By {
    /// Nothing: each by itself.
    Launch,
    /// The block, stem and head among them.
    Block,
    /// What is done, as in `depthwise`.
    #[default]
    Op,
    /// What limits them; the launches themselves are a cause of their own.
    Cause,
}

impl By {
    /// Every way.
    pub const ALL: [By; 4] = [By::Launch, By::Block, By::Op, By::Cause];

    /// On the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            By::Launch => "launch",
            By::Block => "block",
            By::Op => "op",
            By::Cause => "cause",
        }
    }
}

/// Where issue slots come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotsFrom {
    /// The kernels' machine code, disassembled.
    MachineCode,
    /// A table by opcode of the PTX.
    OpcodeTable,
}

impl SlotsFrom {
    /// In a sentence.
    pub fn words(self) -> &'static str {
        match self {
            SlotsFrom::MachineCode => "the kernels' machine code",
            SlotsFrom::OpcodeTable => "a table by PTX opcode, for this build has no disassembly",
        }
    }
}

/// A line of the source, with its part of something.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Line {
    /// File and line, as in `tile_depthwise.cuh:120`; the opcode where the PTX names no line.
    pub at: String,
    /// Cycles of a path, or issue slots.
    pub amount: f64,
    /// As a part of the whole.
    pub part: f64,
}

/// One launch of the run.
#[derive(Clone, Debug, PartialEq)]
pub struct Launch {
    /// What it is, and what it costs by the plan.
    pub item: Item,
    /// What it does.
    pub work: Work,
    /// What it takes.
    pub predicted: Predicted,
    /// The lines on the critical path, the longest first.
    pub path_lines: Vec<Line>,
    /// The lines with most issue slots, the most first.
    pub slot_lines: Vec<Line>,
    /// Warp instructions of the PTX.
    pub instructions: f64,
    /// Sectors of 32 bytes that requests reach for, before any cache.
    pub sectors: f64,
    /// Cycles that conflicts of shared memory's banks cost.
    pub bank_conflicts: f64,
    /// Blocks that were emulated.
    pub sampled: u64,
}

/// What an estimate is of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subject {
    /// As in `b0`.
    pub variant: String,
    /// Images of a run.
    pub batch: usize,
    /// Size of the images.
    pub size: Size,
    /// Padding, as on the command line.
    pub padding: String,
    /// In which precision.
    pub precision: String,
    /// Which kernels.
    pub path: String,
}

impl Subject {
    /// In a line, as in `b0, batch 1, 224x224, fp16, fused`.
    pub fn title(&self) -> String {
        let Subject { variant, batch, size, precision, path, .. } = self;
        format!("{variant}, batch {batch}, {size}, {precision}, {path}")
    }
}

/// A predicted run.
#[derive(Clone, Debug, PartialEq)]
pub struct Estimate {
    /// What it is of.
    pub subject: Subject,
    /// The GPU.
    pub gpu: Gpu,
    /// Target of the machine code that occupancy and slots are of.
    pub code_arch: u32,
    /// Where issue slots come from.
    pub slots_from: SlotsFrom,
    /// Every launch, in order.
    pub launches: Vec<Launch>,
    /// Times to lay beside.
    pub measured: Option<Measured>,
    /// The machine that predicted.
    pub environment: Environment,
}

/// What one or more launches come to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Sum {
    /// Number of launches; of a cause, those that it limits.
    pub launches: usize,
    /// Predicted microseconds.
    pub predicted_us: f64,
    /// As a part of the run.
    pub share: f64,
    /// Microseconds between launches.
    pub launch_us: f64,
    /// Microseconds of the launches' bodies.
    pub body_us: f64,
    /// Issue slots of warps.
    pub slots: f64,
    /// Bytes between multiprocessors and L2 cache.
    pub l2_bytes: f64,
    /// Bytes read from and written back to device memory.
    pub dram_bytes: f64,
    /// Measured microseconds, where there are some.
    pub measured_us: Option<f64>,
}

/// Launches that belong together.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Group {
    /// As in `blocks.3`.
    pub name: String,
    /// Places of the launches in the run.
    pub places: Vec<usize>,
    /// What limits most of their time.
    pub cause: Cause,
    /// What they come to.
    #[serde(flatten)]
    pub sum: Sum,
}

impl Estimate {
    /// The schema of [`json`](Estimate::json).
    pub const SCHEMA: &str = "effnet-estimate/1";
    /// The model, as outputs name it.
    pub const MODEL: &str = "effnet estimate: PTX emulator's counts, issue slots, critical path of \
                             a block, LRU caches (docs/performance.md)";

    /// What it is of, and that it is no measurement.
    pub fn title(&self) -> String {
        format!("predicted: {}, on {}", self.subject.title(), self.gpu.title)
    }

    /// All launches together.
    pub fn total(&self) -> Sum {
        self.sum(&Vec::from_iter(0..self.launches.len()))
    }

    /// What the launches at these places come to.
    fn sum(&self, places: &[usize]) -> Sum {
        let all: f64 = self.launches.iter().map(|launch| launch.predicted.us()).sum();
        let mut sum = Sum { launches: places.len(), ..Sum::default() };
        for &place in places {
            let Launch { work, predicted, .. } = &self.launches[place];
            sum.predicted_us += predicted.us();
            sum.launch_us += predicted.launch_us;
            sum.body_us += predicted.body_us;
            sum.slots += work.slots.all;
            sum.l2_bytes += work.l2_bytes;
            sum.dram_bytes += work.dram_read + work.dram_written;
            if let Some(measured) = self.measured_us(place) {
                *sum.measured_us.get_or_insert(0.0) += measured;
            }
        }
        sum.share = if all > 0.0 { sum.predicted_us / all } else { 0.0 };
        sum
    }

    /// The measured time of a launch.
    pub fn measured_us(&self, place: usize) -> Option<f64> {
        let name = &self.launches[place].item.name;
        let launches = &self.measured.as_ref()?.launches;
        launches.iter().find(|(other, _)| other == name).map(|(_, us)| *us)
    }

    /// Launches put together. By cause, each body counts for what limits it, and what lies between
    /// launches for the cause "launch".
    pub fn groups(&self, by: By) -> Vec<Group> {
        if by == By::Cause {
            return self.causes();
        }
        let name = |launch: &Launch| match by {
            By::Block => launch.item.block.clone(),
            By::Op => launch.item.op.clone(),
            By::Launch | By::Cause => launch.item.name.clone(),
        };
        let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
        for (place, launch) in self.launches.iter().enumerate() {
            let name = name(launch);
            match groups.iter_mut().find(|(other, _)| *other == name) {
                Some((_, places)) if by != By::Launch => places.push(place),
                _ => groups.push((name, vec![place])),
            }
        }
        let group = |(name, places): (String, Vec<usize>)| Group {
            name,
            cause: self.main_cause(&places),
            sum: self.sum(&places),
            places,
        };
        groups.into_iter().map(group).collect()
    }

    fn main_cause(&self, places: &[usize]) -> Cause {
        let us = |cause: Cause| {
            let times = places.iter().map(|&place| {
                let predicted = &self.launches[place].predicted;
                match cause {
                    Cause::Launch => predicted.launch_us,
                    _ if predicted.cause == cause => predicted.body_us,
                    _ => 0.0,
                }
            });
            times.sum::<f64>()
        };
        Cause::ALL.into_iter().max_by(|&a, &b| us(a).total_cmp(&us(b))).unwrap_or(Cause::Latency)
    }

    fn causes(&self) -> Vec<Group> {
        let all: f64 = self.launches.iter().map(|launch| launch.predicted.us()).sum();
        let of_cause = Cause::ALL.into_iter().filter_map(|cause| {
            let places: Vec<usize> = match cause {
                Cause::Launch => (0..self.launches.len()).collect(),
                _ => (0..self.launches.len())
                    .filter(|&place| self.launches[place].predicted.cause == cause)
                    .collect(),
            };
            if places.is_empty() {
                return None;
            }
            let whole = self.sum(&places);
            let mut sum = Sum { launches: places.len(), ..Sum::default() };
            if cause == Cause::Launch {
                sum.launch_us = whole.launch_us;
                sum.predicted_us = whole.launch_us;
            } else {
                sum = Sum { launch_us: 0.0, predicted_us: whole.body_us, ..whole };
                sum.measured_us = None;
            }
            sum.share = if all > 0.0 { sum.predicted_us / all } else { 0.0 };
            Some(Group { name: cause.name().to_owned(), cause, sum, places })
        });
        of_cause.collect()
    }

    /// What a reader has to know, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let gpu = &self.gpu;
        let mut notes = vec![format!(
            "Every time is predicted by a model and none is measured: {}.",
            Estimate::MODEL
        )];
        notes.push(format!(
            "Issue slots come from {}{}.",
            self.slots_from.words(),
            match self.slots_from {
                SlotsFrom::MachineCode => format!(" for sm_{}", self.code_arch),
                SlotsFrom::OpcodeTable => String::new(),
            }
        ));
        if self.code_arch != gpu.arch {
            notes.push(format!(
                "This build has no machine code for sm_{}: registers, occupancy and slots are those \
                 of sm_{}, the nearest.",
                gpu.arch, self.code_arch
            ));
        }
        let sampled: u64 = self.launches.iter().map(|launch| launch.sampled).sum();
        let blocks: u64 = self.launches.iter().map(|launch| launch.work.blocks).sum();
        notes.push(format!(
            "{sampled} blocks were emulated for the {blocks} of the run; launches that differ only \
             by addresses were emulated once."
        ));
        notes.push(
            "Copies of input and outputs are not part of it; bytes of device memory are those of a \
             second run in sequence."
                .to_owned(),
        );
        if let Some(measured) = &self.measured {
            notes.push(format!(
                "Measured times are those of {} on {}: launches with an event before and after \
                 each, so they begin when everything before has ended.",
                measured.file, measured.device
            ));
        }
        notes
    }

    /// What one reads first, as names and values.
    pub fn headlines(&self) -> Vec<(&'static str, String)> {
        let total = self.total();
        let rate = self.subject.batch as f64 / (total.predicted_us * 1e-6);
        let mut lines = vec![(
            "predicted",
            format!(
                "{} us a run, {} images/s; {} us of it between {} launches",
                significant(total.predicted_us, 4),
                significant(rate, 3),
                significant(total.launch_us, 3),
                total.launches
            ),
        )];
        let causes: Vec<String> = self
            .groups(By::Cause)
            .iter()
            .map(|group| format!("{} {} us", group.name, significant(group.sum.predicted_us, 3)))
            .collect();
        lines.push(("predicted by cause", causes.join(", ")));
        if let (Some(measured), Some(launches)) = (&self.measured, total.measured_us) {
            lines.push((
                "measured",
                format!(
                    "{} us a run with its copies, launches one by one {} us",
                    significant(measured.run_us, 4),
                    significant(launches, 4)
                ),
            ));
        }
        lines
    }
}

/// The make-up of a path in percent, the largest parts first.
pub fn make_up(path: &PathCycles) -> String {
    let total = path.total();
    if total <= 0.0 {
        return "-".to_owned();
    }
    let mut parts = path.parts();
    parts.sort_by(|a, b| b.1.total_cmp(&a.1));
    let told = parts.iter().take(3).filter(|(_, cycles)| *cycles >= 0.05 * total);
    let told: Vec<String> =
        told.map(|(name, cycles)| format!("{name} {:.0}", 100.0 * cycles / total)).collect();
    told.join(", ")
}
