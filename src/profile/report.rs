//! A profile with what it is of, and what there is to say about it.

use super::{CountProfile, Item, TimeProfile, Trace, trace};
use crate::arch::Size;
use crate::environment::Environment;
use crate::measure::Sampling;
use crate::report::table::{significant, thousands};
use serde::Serialize;

/// What was profiled, where.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Subject {
    /// The weights' own name.
    pub model: String,
    /// The variant, as in `lite0`.
    pub variant: String,
    /// Where the weights came from: a file, or that they are random.
    pub weights: String,
    /// `cpu`, `emulator`, `cuda:N`.
    pub device: String,
    /// What the device calls itself.
    pub device_name: String,
    /// Which kernels; none on the CPU, which has one way.
    pub path: Option<String>,
    /// In which precision.
    pub precision: String,
    /// Images of a run.
    pub batch: usize,
    /// Size of the images.
    pub size: Size,
    /// Threads of the CPU executor.
    pub threads: Option<usize>,
}

impl Subject {
    /// In a line, as in `b0, batch 1, 224x224, fp16, fused, cuda:0`.
    pub fn title(&self) -> String {
        let path = self.path.as_ref().map(|path| format!(", {path}")).unwrap_or_default();
        format!(
            "{}, batch {}, {}, {}{path}, {}",
            self.variant, self.batch, self.size, self.precision, self.device
        )
    }

    /// What its items are.
    pub fn unit(&self) -> &'static str {
        if self.path.is_some() { "launch" } else { "step" }
    }
}

/// What was found.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// Times, and how often was sampled.
    Times(TimeProfile, Sampling),
    /// The emulator's counters.
    Counts(CountProfile),
}

/// A profile and what it is of.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What was profiled.
    pub subject: Subject,
    /// What was found.
    pub found: Found,
    /// The machine.
    pub environment: Environment,
}

impl Report {
    /// The schema of [`json`](Report::json).
    pub const SCHEMA: &str = "effnet-profile/1";

    /// The trace; none of counters, which have no time.
    pub fn trace(&self) -> Option<Trace> {
        let unit = match self.subject.unit() {
            "launch" => "launches",
            _ => "steps",
        };
        match &self.found {
            Found::Times(profile, _) => Some(trace(profile, &self.subject.title(), unit)),
            Found::Counts(_) => None,
        }
    }

    /// What was run, in order.
    pub fn items(&self) -> &[Item] {
        match &self.found {
            Found::Times(profile, _) => &profile.items,
            Found::Counts(profile) => &profile.items,
        }
    }

    /// What a reader has to know, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let unit = self.subject.unit();
        match &self.found {
            Found::Times(..) => {
                if self.environment.debug_build {
                    notes.push(
                        "This program was built without --release: times of the host are too long."
                            .to_owned(),
                    );
                }
                notes.push(format!(
                    "The floor of a {unit} is the largest of what its bytes, its operations and the \
                     {unit} itself take at the measured ceilings. Bytes count each tensor once; what \
                     a cache still holds may come faster than the floor says."
                ));
                if unit == "launch" {
                    notes.push(
                        "A launch is timed by repeats: up to 16 of it, one after the other on the \
                         same memory, between two events of the device, which add 2 to 4 us to all of \
                         them (predicted); it finds caches as it left them. A whole run replays all \
                         launches as one graph, with the copies of input and outputs."
                            .to_owned(),
                    );
                } else {
                    notes.push(
                        "The CPU computes each expand step inside the depthwise step after it: the \
                         two are one row, expand_depthwise, and the expanded map is not among its \
                         bytes."
                            .to_owned(),
                    );
                }
            }
            Found::Counts(profile) => notes.push(format!(
                "The emulator counts and does not time. Sectors of 32 bytes are counted over all \
                 requests, before any cache; the compulsory minimum is each tensor read or written \
                 once. Occupancy is that of sm_{}.",
                profile.arch
            )),
        }
        notes
    }

    /// What one reads first, as names and values.
    pub fn headlines(&self) -> Vec<(&'static str, String)> {
        let count = |n: usize| {
            let unit = self.subject.unit();
            let plural = if unit == "launch" { "launches" } else { "steps" };
            format!("{} {}", thousands(n as u64), if n == 1 { unit } else { plural })
        };
        match &self.found {
            Found::Times(profile, _) => {
                let (total, run) = (profile.total(), &profile.run_us);
                let images = self.subject.batch as f64;
                let rate = images / (run.median * 1e-6);
                vec![
                    (
                        "whole run",
                        format!(
                            "{:.1} us, median of {} ({:.1} to {:.1}); {} images/s",
                            run.median,
                            run.n,
                            run.min,
                            run.max,
                            significant(rate, 4)
                        ),
                    ),
                    (
                        "together",
                        format!(
                            "{} in {:.1} us, {} times their floor of {:.1} us",
                            count(profile.items.len()),
                            total.time_us,
                            significant(total.times_floor, 3),
                            total.floor_us
                        ),
                    ),
                ]
            }
            Found::Counts(profile) => {
                let total = profile.total();
                vec![
                    (
                        "together",
                        format!(
                            "{}, {} warp instructions, {} tensor-core operations",
                            count(profile.items.len()),
                            thousands(total.instructions),
                            thousands(total.tensor_ops)
                        ),
                    ),
                    (
                        "memory",
                        format!(
                            "{} sectors of 32 bytes, {:.2} times the compulsory minimum of {} bytes",
                            thousands(total.global_sectors),
                            total.times_compulsory,
                            thousands(total.bytes)
                        ),
                    ),
                ]
            }
        }
    }
}
