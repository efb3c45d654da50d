//! What launches of B0 execute: the emulator counts PTX, the listings say what that is in slots.

use crate::ARCHS;
use crate::bounds::{self, Key};
use effnet::arch::{Network, Padding, Size, Variant};
use effnet::emulator::{Checks, Entry, Launch, Memory, Module, Traffic};
use effnet::estimate::opcodes::Anchor;
use effnet::estimate::slots::{Image, Pipes, Slots, Source};
use effnet::kernels::occupancy::Multiprocessor;
use effnet::kernels::{self, Compute};
use effnet::launches::{Bases, LaunchOptions, LaunchPlan, LaunchRecord, Path};
use effnet::plan::{Plan, PlanOptions};
use sass_listing::Pipe;
use std::collections::BTreeMap;

/// Launches of B0 at its own size and batch 1, f16: each of another kernel or shape, and small.
const FUSED: [&str; 13] = [
    "stem",
    "blocks.0.depthwise",
    "blocks.0.project",
    "blocks.2.expand_depthwise",
    "blocks.3.expand_depthwise",
    "blocks.5.expand_depthwise",
    "blocks.6.expand_depthwise",
    "blocks.11.expand_depthwise",
    "blocks.12.expand_depthwise",
    "blocks.15.expand_depthwise",
    "blocks.11.project",
    "head_conv",
    "classifier",
];

/// Those that the fused path does without.
const LAYERWISE: [&str; 5] = [
    "blocks.6.depthwise",
    "blocks.11.depthwise",
    "blocks.12.depthwise",
    "blocks.12.expand",
    "blocks.15.squeeze_excite",
];

fn plan(batch: usize) -> Plan {
    let network = Network::new(Variant::B0, 1000);
    let options = PlanOptions {
        batch,
        size: Size::square(224),
        padding: Padding::SameDynamic,
        precision: Compute::Fp16.storage(),
    };
    Plan::new(&network, options).unwrap()
}

fn records(batch: usize, path: Path) -> (LaunchPlan, Vec<LaunchRecord>) {
    let options = LaunchOptions::new(path, Compute::Fp16);
    let launches = LaunchPlan::new(&plan(batch), options).unwrap();
    let records = launches.launches(batch).unwrap();
    (launches, records)
}

/// A launch that was run.
struct Executed {
    name: &'static str,
    image: &'static str,
    entry: Entry,
    counts: Vec<f64>,
    shared: Traffic,
}

impl Executed {
    /// Executions of an anchor.
    fn count(&self, anchor: Anchor) -> f64 {
        let instructions = self.entry.instructions();
        let with = instructions.iter().zip(&self.counts);
        with.filter(|(i, _)| Anchor::of_ptx(i.form) == Some(anchor)).map(|(_, count)| count).sum()
    }

    fn slots(&self, arch: u32) -> Slots {
        let image = kernels::images().iter().find(|image| image.name == self.image).unwrap();
        let (ptx, listing) = (image.ptx().unwrap(), image.listing(arch).unwrap());
        let image = Image::new(&ptx, listing);
        let weights = image.weights(std::slice::from_ref(&self.entry), |_| true).pop().unwrap();
        assert_eq!(weights.source(), Source::MachineCode);
        weights.slots(&self.counts)
    }

    fn key(&self, measure: &str, arch: u32) -> Key {
        (measure.to_owned(), self.name.to_owned(), format!("sm_{arch}"))
    }
}

/// Runs the launches, on zeros.
fn executed() -> Vec<Executed> {
    let mut found = executed_of(Path::Fused, &FUSED);
    found.extend(executed_of(Path::Layerwise, &LAYERWISE));
    found
}

fn executed_of(path: Path, names: &[&'static str]) -> Vec<Executed> {
    let (plan, records) = records(1, path);
    let mut memory = Memory::new();
    let mut region = |name, bytes: u64| memory.zeroed(name, bytes.max(256) as usize).address();
    let bases = Bases {
        weights: region("weights", plan.weights_bytes()),
        arena: region("arena", plan.arena_bytes()),
        input: region("input", plan.input_bytes()),
        output: region("output", plan.output_bytes()),
        counters: region("counters", plan.counters_bytes()),
    };
    let mut modules: BTreeMap<&str, Module> = BTreeMap::new();
    let mut found = Vec::new();
    for &name in names {
        let record = records.iter().find(|record| record.name == name);
        let record = record.unwrap_or_else(|| panic!("B0 has no {name}")).clone();
        let image = record.kernel.image_name();
        let module = modules.entry(image).or_insert_with(|| {
            let image = kernels::images().iter().find(|found| found.name == image).unwrap();
            Module::parse(image.name, &image.ptx().unwrap()).unwrap()
        });
        let symbol = record.kernel.symbol();
        let report = Launch::new(module, symbol)
            .unwrap()
            .grid(record.geometry.grid)
            .block(record.geometry.block)
            .shared_bytes(record.geometry.shared_bytes)
            .params(&record.bind(&bases))
            .checks(Checks::required())
            .per_instruction(true)
            .run(&mut memory)
            .unwrap();
        assert!(report.is_clean(), "{name}: {:?}", report.findings);
        let entry = module.entries().iter().find(|entry| entry.name == symbol).unwrap().clone();
        let counts = report.counters.by_instruction.iter().map(|c| c.executed as f64).collect();
        let shared = report.counters.shared;
        found.push(Executed { name, image, entry, counts, shared });
    }
    found
}

/// Lines of the activation and of the sigmoid in it in `kernels/common.cuh`: from the one's head to
/// the brace that closes the other.
fn lines_of_activation() -> std::ops::Range<u32> {
    let source = include_str!("../../kernels/common.cuh");
    let line = |head: &str| source.lines().position(|line| line.starts_with(head)).unwrap();
    let first = line("__device__ __forceinline__ float sigmoid_base_2(");
    let second = line("__device__ __forceinline__ float activate_scaled(");
    let length = source.lines().skip(second).position(|line| line == "}").unwrap();
    assert!(first < second && second - first < 60, "{first} {second}");
    (first as u32 + 1)..(second + length) as u32 + 2
}

/// Slots per product, output and swish; and, where the machine code has exactly one instruction for
/// one of the PTX, that slots are as many as the emulator counted.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "80", kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn slots_stay_under_their_bounds() {
    let mut found = BTreeMap::new();
    let activation = lines_of_activation();
    for launch in executed() {
        for arch in ARCHS {
            let slots = launch.slots(arch);
            let total = slots.by_pipe.total();
            assert_eq!(slots.by_pipe.of(Pipe::Other), 0.0, "{}: unknown opcodes", launch.name);
            let products = launch.count(Anchor::Product);
            // A product is one HMMA.16816. What is lost are rounds of loops between two copies.
            let tensor = slots.by_pipe.of(Pipe::Tensor);
            assert!(
                (tensor - products).abs() <= 0.01 * products,
                "{}: {tensor} of {products}",
                launch.name
            );
            let ptx: f64 = launch.counts.iter().sum();
            assert!((0.5..1.5).contains(&(total / ptx)), "{}: {total} of {ptx}", launch.name);

            if launch.image == "pointwise" {
                found.insert(launch.key("slots_per_product", arch), total / products);
            }
            if ["depthwise", "expand_depthwise"].contains(&launch.image) {
                // Slots are of warps of 32 threads.
                let value = 32.0 * total / outputs(launch.name);
                found.insert(launch.key("slots_per_output", arch), value);
            }
            let swishes = launch.count(Anchor::Exp);
            if swishes > 0.0 && launch.image != "squeeze_excite" {
                let of = of_activation(&slots, &activation);
                found.insert(launch.key("slots_per_swish", arch), of.total() / swishes);
                // The exponential and the reciprocal. Where an epilogue is there several times, its
                // copies share what the PTX counted: a few in a hundred are lost.
                let special = of.of(Pipe::Special) / swishes;
                assert!((special - 2.0).abs() < 0.1, "{}: {special}", launch.name);
            }
        }
    }
    bounds::hold(&["slots_per_product", "slots_per_output", "slots_per_swish"], &found);
}

fn of_activation(slots: &Slots, lines: &std::ops::Range<u32>) -> Pipes {
    let mut all = Pipes::default();
    for ((file, line), slots) in &slots.by_line {
        if file.ends_with("common.cuh") && lines.contains(line) {
            all += *slots;
        }
    }
    all
}

/// Output elements of a launch that ends with a depthwise convolution.
fn outputs(name: &str) -> f64 {
    let plan = plan(1);
    let name = name.replace("expand_depthwise", "depthwise");
    plan.buffers.iter().find(|buffer| buffer.name == name).unwrap().elems_per_image() as f64
}

/// Cycles of an access of shared memory, on the emulator's banks.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn bank_conflicts_stay_under_their_bounds() {
    let mut found = BTreeMap::new();
    let mut families: BTreeMap<&str, Traffic> = BTreeMap::new();
    for launch in executed() {
        let family = families.entry(launch.image).or_default();
        family.requests += launch.shared.requests;
        family.conflicts += launch.shared.conflicts;
    }
    for (family, shared) in families.into_iter().filter(|(_, shared)| shared.requests > 0) {
        let cycles = 1.0 + shared.conflicts as f64 / shared.requests as f64;
        found.insert(("bank_cycles".to_owned(), family.to_owned(), "ptx".to_owned()), cycles);
    }
    bounds::hold(&["bank_cycles"], &found);
}

/// Warps that a scheduler of sm_80 and sm_90 holds.
const SCHEDULER_WARPS: f64 = 16.0;

/// Warps that a scheduler could hold and does not, at the launches of B0 at batch 32.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "80", kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn schedulers_have_as_many_warps_as_they_had() {
    let mut found: BTreeMap<Key, f64> = BTreeMap::new();
    let (_, records) = records(32, Path::Fused);
    for record in records {
        let image = &kernels::images()[record.kernel.image];
        for arch in ARCHS {
            let symbol = record.kernel.symbol();
            let report =
                image.resources.iter().find(|r| r.arch == arch && r.entry == symbol).unwrap();
            let blocks =
                Multiprocessor::of(arch).unwrap().resident_blocks(report, &record.geometry);
            let threads: u32 = record.geometry.block.iter().product();
            let warps = f64::from(blocks * threads.div_ceil(32)) / 4.0;
            let of = symbol.strip_prefix("effnet_").unwrap_or(symbol).to_owned();
            let key = ("absent_warps".to_owned(), of, format!("sm_{arch}"));
            let absent = SCHEDULER_WARPS - warps;
            let most = found.entry(key).or_insert(absent);
            *most = most.max(absent);
        }
    }
    bounds::hold(&["absent_warps"], &found);
}
