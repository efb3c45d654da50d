//! `effnet plan`: every launch, step and buffer that running a network takes.

mod launches;

use super::args::{self, PlanArgs};
use super::output::{self, Align, Out, Table, thousands};
use super::{Status, info};
use effnet::arch::{Size, Variant};
use effnet::image::Normalisation;
use effnet::launches::{InputType, LaunchInput, LaunchOptions, LaunchPlan};
use effnet::plan::{BufferId, Op, Plan, Step};
use effnet::weights::{PackedTensor, Precision, packed_tensors};
use serde::Serialize;

/// Print the plan of a variant: its launches with geometry, traffic and cost, and its steps.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A launch is one kernel with its grid, its block, the shared memory of a block, the registers of a
thread, and the blocks that a multiprocessor of the target holds at once. Bytes moved count each
tensor that a launch touches once, at the full batch. MACs are multiply-accumulates at the full
batch, without those that halos make a kernel compute again.
With --steps, the steps and buffers that launches and the CPU's executor are made from follow. A
buffer lives from its first to its last step. Each machine places the buffers in memory of its own:
the CPU executor runs each expand step inside the depthwise step after it, and stores no map of it.

Examples:
  effnet plan b0
  effnet plan b0 --path layerwise --steps
  effnet plan b0 --batch 128 --input u8 --top-k 5
  effnet plan b4 --batch 8 --precision fp32 --padding symmetric
  effnet plan b0 --arch 90
  effnet plan lite0 --json | jq '.launches[] | [.name, .kernel, .bytes_moved]'")]
pub struct Args {
    /// The variant, as `effnet info` lists them.
    #[arg(value_parser = args::variant)]
    variant: Variant,
    #[command(flatten)]
    planned: PlanArgs,
    /// Type of the images: f32, normalised, or u8, levels that the stem normalises.
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = args::input_type())]
    input: InputType,
    /// Best classes that a last launch finds; 0 for none.
    #[arg(long, value_name = "K", default_value = "0")]
    top_k: usize,
    /// Target whose registers and resident blocks are told, as in 90 [default: 80, else the one built
    /// that comes next].
    #[arg(long, value_name = "TARGET", value_parser = args::target)]
    arch: Option<u32>,
    /// Print steps and buffers too.
    #[arg(long)]
    steps: bool,
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,
}

/// A plan as JSON; buffers are referred to by their index in `buffers`.
#[derive(Serialize)]
struct PlanReport<'a> {
    variant: &'static str,
    batch: usize,
    size: Size,
    padding: String,
    precision: String,
    path: String,
    /// Type of the images' elements.
    input_type: String,
    classes: usize,
    launches: Vec<launches::LaunchReport>,
    device_memory: launches::MemoryReport,
    steps: Vec<StepReport<'a>>,
    buffers: Vec<BufferReport<'a>>,
    input: u32,
    features: u32,
    logits: u32,
    totals: Totals,
}

#[derive(Serialize)]
struct StepReport<'a> {
    index: usize,
    name: &'a str,
    op: &'static str,
    block: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stride: Option<usize>,
    input_shape: [usize; 4],
    output_shape: [usize; 4],
    reads: Vec<u32>,
    writes: Vec<u32>,
    weights: Vec<String>,
    macs: u64,
    activation_bytes: u64,
    weight_bytes: u64,
}

#[derive(Serialize)]
struct BufferReport<'a> {
    index: usize,
    name: &'a str,
    shape: [usize; 4],
    precision: Precision,
    bytes: usize,
    first_step: usize,
    last_step: usize,
}

/// Sums over all steps.
#[derive(Clone, Copy, Serialize)]
struct Totals {
    steps: usize,
    buffers: usize,
    macs: u64,
    activation_bytes: u64,
    weight_bytes: u64,
}

/// Writes the plan to standard output.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let plan = args.planned.plan(args.variant)?;
    // Kernels and geometry are the same whatever the numbers of a recipe.
    let normalisation = Normalisation { mean: [0.5; 3], std: [0.5; 3] };
    let options = LaunchOptions {
        input: match args.input {
            InputType::F32 => LaunchInput::F32,
            InputType::U8 => LaunchInput::U8(normalisation),
        },
        top_k: args.top_k,
        ..LaunchOptions::new(args.planned.path, args.planned.precision)
    };
    let launch_plan = LaunchPlan::new(&plan, options)?;
    let arch = args.arch.unwrap_or_else(args::default_target);
    if args.json {
        out.json(&report(&plan, &launch_plan, arch)?)?;
    } else {
        heading(&plan, &launch_plan, out)?;
        launches::tables(&launch_plan, arch, out)?;
        if args.steps {
            out.line("")?;
            tables(&plan, out)?;
        }
    }
    Ok(Status::Complete)
}

fn totals(plan: &Plan) -> Totals {
    Totals {
        steps: plan.steps.len(),
        buffers: plan.buffers.len(),
        macs: plan.macs(),
        activation_bytes: plan.steps.iter().map(|step| step.activation_bytes).sum(),
        weight_bytes: plan.steps.iter().map(|step| step.weight_bytes).sum(),
    }
}

/// The buffers that a step transforms, without the vectors beside them: what it reads first and
/// what it writes first.
fn ends<'a>(plan: &'a Plan, step: &Step) -> [&'a effnet::plan::Buffer; 2] {
    let first = |ids: Vec<BufferId>| plan.buffer(ids[0]);
    [first(step.op.reads()), first(step.op.writes())]
}

/// Side and stride of a step's window, if it has one.
fn window(op: &Op) -> Option<(usize, usize)> {
    match op {
        Op::Stem { conv, .. } | Op::Depthwise { conv, .. } => Some((conv.k, conv.stride)),
        _ => None,
    }
}

fn report<'a>(
    plan: &'a Plan,
    launch_plan: &LaunchPlan,
    arch: u32,
) -> anyhow::Result<PlanReport<'a>> {
    let tensors = packed_tensors(&plan.network);
    let ids = |list: Vec<BufferId>| list.into_iter().map(|id| id.0).collect();
    let steps = plan.steps.iter().enumerate().map(|(index, step)| {
        let [input, output] = ends(plan, step);
        let names = step.op.weights().into_iter().map(|id| &tensors[id.0 as usize]);
        StepReport {
            index,
            name: &step.name,
            op: step.op.name(),
            block: step.block,
            kernel: window(&step.op).map(|(k, _)| k),
            stride: window(&step.op).map(|(_, stride)| stride),
            input_shape: input.shape,
            output_shape: output.shape,
            reads: ids(step.op.reads()),
            writes: ids(step.op.writes()),
            weights: names.map(PackedTensor::name).collect(),
            macs: step.macs,
            activation_bytes: step.activation_bytes,
            weight_bytes: step.weight_bytes,
        }
    });
    let buffers = plan.buffers.iter().enumerate().map(|(index, buffer)| BufferReport {
        index,
        name: &buffer.name,
        shape: buffer.shape,
        precision: buffer.precision,
        bytes: buffer.bytes(),
        first_step: buffer.first_step,
        last_step: buffer.last_step,
    });
    Ok(PlanReport {
        variant: plan.network.variant.name(),
        batch: plan.batch,
        size: plan.input_size(),
        padding: args::padding_text(plan.padding),
        precision: launch_plan.options().compute.to_string(),
        path: launch_plan.options().path.to_string(),
        input_type: launch_plan.input_type().to_string(),
        classes: plan.network.classes,
        launches: launches::report(launch_plan, arch)?,
        device_memory: launches::memory(launch_plan),
        steps: steps.collect(),
        buffers: buffers.collect(),
        input: plan.input.0,
        features: plan.features.0,
        logits: plan.logits.0,
        totals: totals(plan),
    })
}

/// `28x28x40`; a vector per image is only its length.
fn shape(shape: [usize; 4]) -> String {
    let [_, h, w, c] = shape;
    if (h, w) == (1, 1) { c.to_string() } else { format!("{h}x{w}x{c}") }
}

fn heading(plan: &Plan, launch_plan: &LaunchPlan, out: &mut Out) -> anyhow::Result<()> {
    out.line(format_args!(
        "{}: batch {}, input {}, padding {}, {}, {} classes\n",
        plan.network.variant,
        plan.batch,
        plan.input_size(),
        args::padding_text(plan.padding),
        launch_plan.options().compute,
        plan.network.classes,
    ))
}

fn tables(plan: &Plan, out: &mut Out) -> anyhow::Result<()> {
    let ids =
        |list: Vec<BufferId>| list.iter().map(|id| id.0.to_string()).collect::<Vec<_>>().join(" ");
    let mut steps = Table::new(&[
        ("step", Align::Right),
        ("name", Align::Left),
        ("window", Align::Left),
        ("from", Align::Left),
        ("to", Align::Left),
        ("reads", Align::Left),
        ("writes", Align::Left),
        ("MACs", Align::Right),
        ("activations", Align::Right),
        ("weights", Align::Right),
    ]);
    for (index, step) in plan.steps.iter().enumerate() {
        let [input, output] = ends(plan, step);
        steps.row([
            index.to_string(),
            step.name.clone(),
            window(&step.op).map(|(k, s)| format!("{k}x{k}/{s}")).unwrap_or_default(),
            shape(input.shape),
            shape(output.shape),
            ids(step.op.reads()),
            ids(step.op.writes()),
            thousands(step.macs),
            output::bytes(step.activation_bytes),
            output::bytes(step.weight_bytes),
        ]);
    }
    for line in steps.lines() {
        out.line(line)?;
    }

    out.line("")?;
    let mut buffers = Table::new(&[
        ("buffer", Align::Right),
        ("name", Align::Left),
        ("shape", Align::Left),
        ("type", Align::Left),
        ("bytes", Align::Right),
        ("steps", Align::Left),
    ]);
    for (index, buffer) in plan.buffers.iter().enumerate() {
        buffers.row([
            index.to_string(),
            buffer.name.clone(),
            shape(buffer.shape),
            buffer.precision.to_string(),
            thousands(buffer.bytes() as u64),
            format!("{} to {}", buffer.first_step, buffer.last_step),
        ]);
    }
    for line in buffers.lines() {
        out.line(line)?;
    }

    let totals = totals(plan);
    out.line(format_args!(
        "\n{} steps, {} buffers\n{} MACs ({}), {} of activations moved, {} of weights read\n\
         each machine places the buffers in memory of its own (see --help)",
        totals.steps,
        totals.buffers,
        thousands(totals.macs),
        info::giga(totals.macs),
        output::bytes(totals.activation_bytes),
        output::bytes(totals.weight_bytes),
    ))
}
