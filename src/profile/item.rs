//! What is timed or counted: a launch, or a step of the CPU executor, and what it costs by the plan.

use crate::arch::Network;
use crate::kernels::{self, Resources, occupancy::Multiprocessor};
use crate::launches::LaunchRecord;
use crate::plan::Plan;
use serde::Serialize;
use std::ops::Range;

/// A launch, or a step of the CPU executor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Item {
    /// Its place in a run, from 0.
    pub index: usize,
    /// As in `blocks.3.project.bn_swish`.
    pub name: String,
    /// The layer that it computes, or a part of: a step of the plan, as in `blocks.3.project`, or two
    /// that are computed as one.
    pub layer: String,
    /// `stem`, `blocks.3`, `head`.
    pub block: String,
    /// `stem`, `stages.1`, `head`.
    pub stage: String,
    /// What is done, as in `depthwise`.
    pub op: String,
    /// First step of the plan that it computes, or a part of, and the one after the last.
    pub steps: [usize; 2],
    /// The kernel, where it is a launch.
    pub kernel: Option<KernelUse>,
    /// Bytes of all tensors that it reads and of all that it writes, each counted once: no execution
    /// moves fewer to and from memory that holds nothing yet.
    pub bytes: u64,
    /// Multiply-accumulates, without those that halos make a kernel compute again.
    pub macs: u64,
}

/// How a launch uses the device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct KernelUse {
    /// The kernel's symbol.
    pub symbol: &'static str,
    /// Blocks in x, y, z.
    pub grid: [u32; 3],
    /// Threads of a block in x, y, z.
    pub block: [u32; 3],
    /// Shared memory of a block, static and dynamic; only dynamic where ptxas' report is missing.
    pub shared_bytes: u32,
    /// Registers of a thread, as ptxas reports them; none where the report is missing.
    pub registers: Option<u32>,
    /// Blocks that a multiprocessor holds at once, by the model of [`kernels::occupancy`].
    pub resident_blocks: Option<u32>,
    /// Resident threads as a part of the most that a multiprocessor holds.
    pub occupancy: Option<f64>,
}

impl Item {
    /// Floating-point operations: two for each multiply-accumulate.
    pub fn flops(&self) -> u64 {
        2 * self.macs
    }
}

/// The launches of a run; `arch` is the compute capability that occupancy is told for, as in 90.
pub fn items_of_launches(plan: &Plan, records: &[LaunchRecord], arch: u32) -> Vec<Item> {
    let items = records.iter().enumerate().map(|(index, record)| {
        let mut item = item(plan, index, &record.name, record.steps.clone());
        item.kernel = Some(kernel_use(record, arch));
        item.bytes = record.bytes_moved;
        item.macs = record.macs;
        item
    });
    items.collect()
}

/// The steps of the CPU executor for `n` images. It computes each `expand` inside the depthwise step
/// after it: the two are one item, named `blocks.N.expand_depthwise`, and the expanded map, which is
/// never stored, does not count as moved.
pub fn items_of_steps(plan: &Plan, n: usize) -> Vec<Item> {
    let mut items: Vec<Item> = Vec::new();
    for (step, this) in plan.steps.iter().enumerate() {
        if plan.joins_next(step) {
            continue;
        }
        let index = items.len();
        let item = match this.expand {
            None => {
                let mut item = item(plan, index, &this.name, step..step + 1);
                (item.bytes, item.macs) = cost(plan, step, n);
                item
            }
            Some(first) => {
                let name = format!("blocks.{}.expand_depthwise", this.block.unwrap_or_default());
                let mut item = item(plan, index, &name, first..step + 1);
                let (expand, depthwise) = (cost(plan, first, n), cost(plan, step, n));
                let unstored: u64 = plan.steps[first]
                    .op
                    .writes()
                    .iter()
                    .map(|&id| {
                        let buffer = plan.buffer(id);
                        (n * buffer.elems_per_image() * buffer.precision.elem_bytes()) as u64
                    })
                    .sum();
                // Written by one and read by the other.
                item.bytes = (expand.0 + depthwise.0).saturating_sub(2 * unstored);
                item.macs = expand.1 + depthwise.1;
                item
            }
        };
        items.push(item);
    }
    items
}

/// Bytes and multiply-accumulates of a step for `n` images; the plan has them for its batch.
fn cost(plan: &Plan, step: usize, n: usize) -> (u64, u64) {
    let (step, batch, n) = (&plan.steps[step], plan.batch as u64, n as u64);
    (step.activation_bytes / batch * n + step.weight_bytes, step.macs / batch * n)
}

/// An item without its costs.
fn item(plan: &Plan, index: usize, name: &str, steps: Range<usize>) -> Item {
    let first = plan.steps.get(steps.start);
    let layer = match (first, steps.len()) {
        (Some(step), 1) => step.name.clone(),
        _ => name.to_owned(),
    };
    let (block, stage) = place(&plan.network, first.and_then(|step| step.block), &layer);
    let op = name.rsplit('.').next().unwrap_or(name).to_owned();
    Item {
        index,
        name: name.to_owned(),
        layer,
        block,
        stage,
        op,
        steps: [steps.start, steps.end],
        kernel: None,
        bytes: 0,
        macs: 0,
    }
}

/// Block and stage of a layer. What comes after the last block is the head.
fn place(network: &Network, block: Option<usize>, layer: &str) -> (String, String) {
    match block.and_then(|block| network.blocks.get(block)) {
        Some(spec) => (format!("blocks.{}", spec.index), format!("stages.{}", spec.stage)),
        None if layer == "stem" => ("stem".to_owned(), "stem".to_owned()),
        None => ("head".to_owned(), "head".to_owned()),
    }
}

fn kernel_use(record: &LaunchRecord, arch: u32) -> KernelUse {
    let resources = resources(record, arch);
    let multiprocessor = Multiprocessor::of(arch);
    let resident_blocks = multiprocessor
        .zip(resources)
        .map(|(multiprocessor, r)| multiprocessor.resident_blocks(&r, &record.geometry));
    let threads: u32 = record.geometry.block.iter().product();
    KernelUse {
        symbol: record.kernel.symbol(),
        grid: record.geometry.grid,
        block: record.geometry.block,
        shared_bytes: record.geometry.shared_bytes + resources.map_or(0, |r| r.shared_bytes),
        registers: resources.map(|r| r.registers),
        resident_blocks,
        occupancy: multiprocessor.zip(resident_blocks).map(|(multiprocessor, blocks)| {
            f64::from(blocks * threads) / f64::from(multiprocessor.threads)
        }),
    }
}

/// ptxas' report of the machine code that a GPU of `arch` runs: the newest of its generation. None
/// where it runs code that its driver compiles.
fn resources(record: &LaunchRecord, arch: u32) -> Option<Resources> {
    let image = kernels::images().iter().find(|image| image.name == record.kernel.image_name())?;
    let fits = |r: &&Resources| {
        r.entry == record.kernel.symbol() && kernels::runs_machine_code(arch, r.arch)
    };
    image.resources.iter().filter(fits).max_by_key(|r| r.arch).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Padding, Size, Variant};
    use crate::kernels::Compute;
    use crate::launches::{LaunchOptions, LaunchPlan, Path};
    use crate::plan::PlanOptions;
    use crate::weights::Precision;

    fn plan(variant: Variant, batch: usize) -> Plan {
        let options = PlanOptions {
            batch,
            size: Size::square(64),
            padding: Padding::SameDynamic,
            precision: Precision::Fp32,
        };
        Plan::new(&Network::new(variant, 1000), options).unwrap()
    }

    fn of<'a>(items: &'a [Item], name: &str) -> &'a Item {
        items.iter().find(|item| item.name == name).unwrap_or_else(|| panic!("{name}"))
    }

    #[test]
    fn a_launch_belongs_to_a_layer_a_block_a_stage_and_an_op() {
        let plan = plan(Variant::B0, 2);
        let launches = LaunchPlan::new(&plan, LaunchOptions::new(Path::Layerwise, Compute::Fp32));
        let items = items_of_launches(&plan, &launches.unwrap().launches(2).unwrap(), 90);
        let places = |name: &str| {
            let item = of(&items, name);
            [&item.layer, &item.block, &item.stage, &item.op].map(String::as_str)
        };
        assert_eq!(places("stem"), ["stem", "stem", "stem", "stem"]);
        assert_eq!(places("stem.bn_swish"), ["stem", "stem", "stem", "bn_swish"]);
        let project = ["blocks.2.project", "blocks.2", "stages.1", "skip"];
        assert_eq!(places("blocks.2.project.skip"), project);
        let squeeze = ["blocks.2.depthwise", "blocks.2", "stages.1", "squeeze"];
        assert_eq!(places("blocks.2.squeeze"), squeeze);
        assert_eq!(places("pool"), ["pool", "head", "head", "pool"]);
        assert_eq!(places("classifier"), ["classifier", "head", "head", "classifier"]);
    }

    /// Two steps in one launch make a layer of their own.
    #[test]
    fn joined_steps_are_one_layer() {
        let plan = plan(Variant::B0, 1);
        let launches = LaunchPlan::new(&plan, LaunchOptions::new(Path::Fused, Compute::Fp16));
        let items = items_of_launches(&plan, &launches.unwrap().launches(1).unwrap(), 90);
        let joined: Vec<_> = items.iter().filter(|i| i.op == "expand_depthwise").collect();
        assert!(!joined.is_empty());
        for item in joined {
            assert_eq!(item.layer, item.name);
            assert_eq!(item.steps[1] - item.steps[0], 2);
            assert!(item.stage.starts_with("stages."));
        }
    }

    #[test]
    fn the_cpu_s_steps_have_the_plan_s_costs_without_the_expanded_maps() {
        let plan = plan(Variant::B0, 3);
        let expands = plan.steps.iter().filter(|step| step.op.name() == "expand").count();
        for n in [1, 3] {
            let items = items_of_steps(&plan, n);
            assert_eq!(items.len(), plan.steps.len() - expands);
            let macs: u64 = items.iter().map(|item| item.macs).sum();
            assert_eq!(macs, plan.macs() / 3 * n as u64);
        }
        let items = items_of_steps(&plan, 1);
        let joined = of(&items, "blocks.1.expand_depthwise");
        assert_eq!(joined.steps, [4, 6], "{:?}", plan.steps[4].name);
        // 32x32x16 in, 16x16x96 out, the squeeze, 16*96 and 3*3*96 weights, four vectors of 96.
        let elems = 32 * 32 * 16 + 16 * 16 * 96 + 96 + 16 * 96 + 9 * 96 + 4 * 96;
        assert_eq!(joined.bytes, 4 * elems);
    }
}
