//! An estimate as JSON: the schema is the structs.

use super::combine::{PathCycles, Slots};
use super::measured::Measured;
use super::report::{By, Estimate, Group, Line, SlotsFrom, Subject, Sum};
use crate::environment::Environment;
use crate::profile::Item;
use serde::Serialize;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Json<'a> {
    schema: &'static str,
    predicted: bool,
    model: &'static str,
    subject: &'a Subject,
    gpu: serde_json::Value,
    code_arch: u32,
    slots_from: SlotsFrom,
    environment: &'a Environment,
    notes: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<MeasuredJson<'a>>,
    total: Sum,
    groups: Groups,
    launches: Vec<LaunchJson<'a>>,
}

#[derive(Serialize)]
struct Groups {
    block: Vec<Group>,
    op: Vec<Group>,
    cause: Vec<Group>,
}

#[derive(Serialize)]
struct MeasuredJson<'a> {
    file: &'a str,
    device: &'a str,
    run_us: f64,
}

#[derive(Serialize)]
struct LaunchJson<'a> {
    #[serde(flatten)]
    item: &'a Item,
    predicted_us: f64,
    launch_us: f64,
    body_us: f64,
    cause: &'static str,
    terms_us: BTreeMap<&'static str, f64>,
    blocks: u64,
    resident_blocks: u32,
    waves: f64,
    scheduler_warps: f64,
    instructions: f64,
    slots: Slots,
    tensor_macs: f64,
    sectors: f64,
    bank_conflicts: f64,
    l1_bytes: f64,
    l2_bytes: f64,
    dram_read_bytes: f64,
    dram_written_bytes: f64,
    path_cycles: PathCycles,
    path_mean_of_slowest: f64,
    hidden_cycles: f64,
    path_lines: &'a [Line],
    slot_lines: &'a [Line],
    sampled_blocks: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured_us: Option<f64>,
}

impl Estimate {
    /// Everything as one object.
    pub fn json(&self) -> impl Serialize {
        let launches = self.launches.iter().enumerate().map(|(place, launch)| {
            let (work, predicted) = (&launch.work, &launch.predicted);
            LaunchJson {
                item: &launch.item,
                predicted_us: predicted.us(),
                launch_us: predicted.launch_us,
                body_us: predicted.body_us,
                cause: predicted.cause.name(),
                terms_us: predicted.terms.iter().map(|(cause, us)| (cause.name(), *us)).collect(),
                blocks: work.blocks,
                resident_blocks: work.resident,
                waves: predicted.waves,
                scheduler_warps: predicted.scheduler_warps,
                instructions: launch.instructions,
                slots: work.slots,
                tensor_macs: work.tensor_macs,
                sectors: launch.sectors,
                bank_conflicts: launch.bank_conflicts,
                l1_bytes: work.l1_bytes,
                l2_bytes: work.l2_bytes,
                dram_read_bytes: work.dram_read,
                dram_written_bytes: work.dram_written,
                path_cycles: work.path,
                path_mean_of_slowest: work.mean_path,
                hidden_cycles: work.hidden_cycles,
                path_lines: &launch.path_lines,
                slot_lines: &launch.slot_lines,
                sampled_blocks: launch.sampled,
                measured_us: self.measured_us(place),
            }
        });
        Json {
            schema: Estimate::SCHEMA,
            predicted: true,
            model: Estimate::MODEL,
            subject: &self.subject,
            gpu: self.gpu.json(),
            code_arch: self.code_arch,
            slots_from: self.slots_from,
            environment: &self.environment,
            notes: self.notes(),
            measured: self.measured.as_ref().map(|Measured { file, device, run_us, .. }| {
                MeasuredJson { file, device, run_us: *run_us }
            }),
            total: self.total(),
            groups: Groups {
                block: self.groups(By::Block),
                op: self.groups(By::Op),
                cause: self.groups(By::Cause),
            },
            launches: launches.collect(),
        }
    }
}
