//! Launch by launch: read, fill, run, read, compare.

use super::bounds::Bounded;
use super::report::{Element, Fault, LaunchCheck, LogitsCheck, Outcome};
use super::step::{Expected, Step, decode};
use super::stepwise::{StepError, Stepwise};
use crate::cpu::{CpuError, CpuExecutor};
use crate::kernels::Compute;
use crate::launches::{
    Address, Buf, Input, InputTypeError, LaunchBuffer, LaunchPlan, LaunchPlanError, LaunchRecord,
    Placement, Region,
};
use crate::plan::{Plan, PlanError, PlanOptions};
use crate::threads;
use crate::weights::{Precision, TensorId, Weights};
use rayon::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes before and after a written tensor that must stay as they were.
const GUARD_BYTES: u64 = 1024;

/// Why nothing could be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// There is no plan for the CPU executor.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The launches are of other weights, or there are none for the number of images.
    #[error(transparent)]
    Launches(#[from] LaunchPlanError),
    /// The device's memory cannot be read or written, or takes no input.
    #[error(transparent)]
    Device(#[from] StepError),
    /// The CPU executor could not be made, or failed.
    #[error(transparent)]
    Cpu(#[from] CpuError),
    /// The threads that compute what is right could not be started.
    #[error(transparent)]
    Threads(std::io::Error),
    /// An input of a type that the launches do not take.
    #[error(transparent)]
    InputType(#[from] InputTypeError),
    /// An input of the wrong length.
    #[error("the input has {found} values, expected {elems} for each of 1 to {batch} images")]
    Input {
        /// Values of one image.
        elems: usize,
        /// The plan's batch.
        batch: usize,
        /// The input's length.
        found: usize,
    },
    /// An input that is no finite number somewhere.
    #[error("the input has {value} at {index}, expected finite numbers: every result would be off")]
    InputValue {
        /// The first place.
        index: usize,
        /// What is there.
        value: f32,
    },
    /// Weights that are no finite numbers.
    #[error(
        "the weights are unusable: tensor {tensor} has {value} at {index}, expected finite numbers; \
         import or download the checkpoint again"
    )]
    Weights {
        /// The first such tensor.
        tensor: String,
        /// The first place in it.
        index: usize,
        /// What is there.
        value: f32,
    },
}

/// The most that a device's logits may differ from the CPU executor's, as a part of the largest.
///
/// FP32: 1e-4, as the CPU executor itself is held to. FP16: activations are rounded once for each stored
/// map, by at most 2^-11 of the value, independently of each other; a network of up to 200 such maps whose
/// activations stay of one order adds up `sqrt(200) 2^-11`, 0.7 % of a typical logit, and the largest of a
/// thousand differences lies some four deviations out: 2^-5 of the largest logit holds that. TF32 rounds
/// the factors of its products as much. Where `rounds_weights`, the device has f16 weights that the CPU
/// executor has in f32: as many roundings again as of activations, `sqrt(2)` of the deviation, for which
/// the bound is doubled.
pub fn logits_bound(compute: Compute, rounds_weights: bool) -> f64 {
    match (compute, rounds_weights) {
        (Compute::Fp32, _) => 1e-4,
        (Compute::Tf32, _) | (Compute::Fp16, false) => 1.0 / 32.0,
        (Compute::Fp16, true) => 1.0 / 16.0,
    }
}

/// What is verified: a network's launches on an input.
#[derive(Clone, Copy, Debug)]
pub struct Verification<'a> {
    /// The steps.
    pub plan: &'a Plan,
    /// Their launches, which the device was made for. Buffers that are placed apart have room between
    /// them to look at.
    pub launches: &'a LaunchPlan,
    /// The weights, which the device was made with.
    pub weights: &'a Arc<Weights>,
    /// `[n, h, w, 3]`, `1 <= n <= batch`, in the launches' type.
    pub input: Input<'a>,
    /// Threads of the CPU executor, which the logits are compared with; all cores where none is given.
    pub threads: Option<usize>,
}

impl Verification<'_> {
    /// Runs every launch up to the first that is off, and then the CPU executor. `tell` hears of each
    /// launch that is right.
    pub fn run(
        &self,
        device: &mut dyn Stepwise,
        tell: &mut dyn FnMut(&LaunchCheck),
    ) -> Result<Outcome, VerifyError> {
        self.launches.check_weights(self.weights)?;
        threads::start_shared().map_err(VerifyError::Threads)?;
        // Levels as the device has them after three operations of IEEE f32, which round the same
        // everywhere: exact values of what the stem sums, in FP16 after one more rounding.
        let values = self.launches.options.input.values(self.input)?;
        let n = self.images(&values)?;
        self.check_weights()?;
        let records = self.launches.launches(n)?;
        device.load(self.input, n)?;
        let mut outcome =
            Outcome { checks: Vec::new(), launches: records.len(), logits: None, fault: None };
        for (index, record) in records.iter().enumerate() {
            match self.launch(device, &values, n, index, record)? {
                Ok(check) => {
                    tell(&check);
                    outcome.checks.push(check);
                }
                Err(fault) => {
                    outcome.fault = Some(fault);
                    return Ok(outcome);
                }
            }
        }
        let logits = self.logits(device, &values, n)?;
        // A NaN is not within the bound.
        let is_right = logits.difference <= logits.bound;
        outcome.fault = (!is_right).then(|| Fault::Logits(logits.clone()));
        outcome.logits = Some(logits);
        Ok(outcome)
    }

    /// The number of images of the input, all of whose values are finite.
    fn images(&self, input: &[f32]) -> Result<usize, VerifyError> {
        let (elems, batch) = (self.launches.input_elems, self.launches.batch);
        let (found, n) = (input.len(), input.len() / elems);
        if !found.is_multiple_of(elems) || !(1..=batch).contains(&n) {
            return Err(VerifyError::Input { elems, batch, found });
        }
        match input.iter().position(|x| !x.is_finite()) {
            Some(index) => Err(VerifyError::InputValue { index, value: input[index] }),
            None => Ok(n),
        }
    }

    /// All weights are finite as the device has them: an f32 may be too large for f16.
    fn check_weights(&self) -> Result<(), VerifyError> {
        let storage = self.launches.options.compute.storage();
        let tensors = self.weights.tensors();
        let bad = (0..tensors.len()).into_par_iter().find_map_first(|i| {
            let bytes = self.launches.tensor_bytes(self.weights, TensorId(i as u32));
            let values = decode(tensors[i].precision(storage), &bytes);
            values.iter().position(|x| !x.is_finite()).map(|index| (i, index, values[index]))
        });
        match bad {
            None => Ok(()),
            Some((i, index, value)) => {
                Err(VerifyError::Weights { tensor: tensors[i].name(), index, value })
            }
        }
    }

    /// `stem`, `block 3` and the like, or `head`.
    fn part(&self, record: &LaunchRecord) -> String {
        match self.plan.steps.get(record.steps.start).and_then(|step| step.block) {
            Some(block) => format!("block {block}"),
            None if record.steps.start == 0 => "stem".to_owned(),
            None => "head".to_owned(),
        }
    }

    /// One launch: what it has to leave, and what it left.
    fn launch(
        &self,
        device: &mut dyn Stepwise,
        input: &[f32],
        n: usize,
        index: usize,
        record: &LaunchRecord,
    ) -> Result<Result<LaunchCheck, Fault>, VerifyError> {
        let op = &self.launches.nodes()[index].op;
        let (reads, writes) = (op.reads(), op.writes());
        let mut buffers = BTreeMap::new();
        for &read in &reads {
            let (at, bytes, precision) = self.images_of(read, n);
            buffers.insert(read.0, decode(precision, &device.read(at, bytes)?));
        }
        for write in writes.iter().filter(|write| !reads.contains(write)) {
            let buffer = self.launches.buffer(*write);
            device.write(buffer.address(), &vec![0xff; buffer.bytes()])?;
        }
        let guards = self.guards(&writes);
        let before = guards
            .iter()
            .map(|guard| device.read(guard.at, guard.bytes))
            .collect::<Result<Vec<_>, _>>()?;

        let kernel = record.kernel.symbol();
        if let Err(error) = device.launch(index) {
            let (launch, message) = (record.name.clone(), error.to_string());
            return Ok(Err(Fault::Failed { launch, kernel, message }));
        }

        let step = Step {
            plan: self.plan,
            launches: self.launches,
            weights: self.weights,
            input,
            n,
            has_tf32: device.has_tf32(),
            buffers,
        };
        let mut worst: Option<Element> = None;
        let mut values = 0;
        for expected in step.expected(op) {
            let (at, bytes, precision) = self.images_of(expected.buffer, n);
            let found = found(&expected, precision, &device.read(at, bytes)?);
            let name = &self.launches.buffer(expected.buffer).name;
            let compared = compare(&expected, &found);
            let element = compared.element(name, &expected, &found);
            if compared.off > 0 {
                let (launch, off, values) = (record.name.clone(), compared.off, found.len());
                return Ok(Err(Fault::Value { launch, kernel, element, off, values }));
            }
            values += found.len();
            if worst.as_ref().is_none_or(|worst| element.ratio > worst.ratio) {
                worst = Some(element);
            }
        }
        for (guard, before) in guards.iter().zip(before) {
            let after = device.read(guard.at, guard.bytes)?;
            if let Some(changed) = before.iter().zip(&after).position(|(a, b)| a != b) {
                let (launch, tensor) = (record.name.clone(), guard.buffer.name.clone());
                let offset_bytes = guard.at.offset_bytes as i64 + changed as i64
                    - guard.buffer.offset_bytes as i64;
                return Ok(Err(Fault::Outside { launch, kernel, tensor, offset_bytes }));
            }
        }
        let counters = Address { region: Region::Counters, offset_bytes: 0 };
        let counters = device.read(counters, self.launches.counters_bytes as usize)?;
        let counters: Vec<u32> = bytemuck::pod_collect_to_vec(&counters);
        if let Some(index) = counters.iter().position(|&count| count != 0) {
            let (launch, found) = (record.name.clone(), counters[index]);
            return Ok(Err(Fault::Counter { launch, kernel, index, found }));
        }
        let worst = worst.unwrap_or_else(|| unreachable!("every op writes a tensor"));
        let (launch, part) = (record.name.clone(), self.part(record));
        Ok(Ok(LaunchCheck { launch, kernel, part, values, worst }))
    }

    /// Where the part of a buffer is that `n` images take, its bytes, and its type.
    fn images_of(&self, buffer: Buf, n: usize) -> (Address, usize, Precision) {
        let buffer = self.launches.buffer(buffer);
        let bytes = n * buffer.image_elems * buffer.precision.elem_bytes();
        (buffer.address(), bytes, buffer.precision)
    }

    /// What lies before and after each written buffer and belongs to none.
    fn guards(&self, writes: &[Buf]) -> Vec<Guard<'_>> {
        if self.launches.options.placement != Placement::Apart {
            return Vec::new();
        }
        let mut guards = Vec::new();
        for &write in writes {
            let buffer = self.launches.buffer(write);
            if buffer.region != Region::Arena {
                continue;
            }
            let (start, end) = (buffer.offset_bytes, buffer.offset_bytes + buffer.bytes() as u64);
            let others = self.launches.buffers.iter().filter(|other| other.region == buffer.region);
            let (mut first, mut last) = (0, self.launches.arena_bytes);
            for other in others {
                let other_end = other.offset_bytes + other.bytes() as u64;
                if other_end <= start {
                    first = first.max(other_end);
                }
                if other.offset_bytes >= end {
                    last = last.min(other.offset_bytes);
                }
            }
            let first = first.max(start.saturating_sub(GUARD_BYTES));
            let last = last.min(end + GUARD_BYTES);
            for (from, to) in [(first, start), (end, last)] {
                let at = Address { region: buffer.region, offset_bytes: from };
                guards.push(Guard { buffer, at, bytes: (to - from) as usize });
            }
        }
        guards
    }

    /// The device's logits against the CPU executor's.
    fn logits(
        &self,
        device: &mut dyn Stepwise,
        input: &[f32],
        n: usize,
    ) -> Result<LogitsCheck, VerifyError> {
        let classes = self.launches.classes;
        let bytes = device.read(self.launches.logits, n * classes * size_of::<f32>())?;
        let found = decode(Precision::Fp32, &bytes);
        let plan = Plan::new(
            self.weights.network(),
            PlanOptions {
                batch: n,
                size: self.plan.input_size(),
                padding: self.plan.padding,
                precision: Precision::Fp32,
            },
        )?;
        let mut cpu = CpuExecutor::new(plan, self.weights.clone(), self.threads)?;
        cpu.run(input, n)?;
        let expected = cpu.logits();
        // Logits that are all zero have no largest; any other than they are is off.
        let largest =
            expected.iter().fold(f64::MIN_POSITIVE, |most, &x| most.max(f64::from(x).abs()));
        let difference = |i: usize| (f64::from(found[i]) - f64::from(expected[i])).abs() / largest;
        // A NaN of the CPU executor's is further off than any number.
        let further = |a: usize, b: usize| {
            let b_is_further = difference(b).is_nan() || difference(b) > difference(a);
            if b_is_further && !difference(a).is_nan() { b } else { a }
        };
        let worst = (0..found.len()).reduce(further).unwrap_or(0);
        let compute = self.launches.options.compute;
        let rounds_weights = self.weights.metadata().precision == Precision::Fp32;
        Ok(LogitsCheck {
            image: worst / classes,
            class: worst % classes,
            expected: expected[worst].into(),
            found: found[worst].into(),
            difference: difference(worst),
            bound: logits_bound(compute, rounds_weights),
        })
    }
}

/// Bytes beside a written buffer.
struct Guard<'a> {
    buffer: &'a LaunchBuffer,
    at: Address,
    bytes: usize,
}

/// A tensor's elements as numbers.
fn found(expected: &Expected, precision: Precision, bytes: &[u8]) -> Vec<f64> {
    if expected.is_integer {
        let integers: Vec<i32> = bytemuck::pod_collect_to_vec(bytes);
        return integers.into_iter().map(f64::from).collect();
    }
    decode(precision, bytes).into_iter().map(f64::from).collect()
}

/// How a tensor compares.
struct Compared {
    /// Elements that are off.
    off: usize,
    /// The first that is no finite number, else the one that is furthest off.
    worst: usize,
}

/// The difference as a part of the bound; infinite where there is a difference and no bound.
fn ratio(expected: Bounded, found: f64) -> f64 {
    let off = (found - expected.value).abs();
    if off == 0.0 { 0.0 } else { off / expected.error }
}

fn compare(expected: &Expected, found: &[f64]) -> Compared {
    debug_assert_eq!(expected.values.len(), found.len());
    let values = expected.values.par_iter().zip(found).enumerate();
    // Elements that are off, the first that is no finite number, the worst.
    let (off, non_finite, (_, worst)) = values
        .map(|(i, (&expected, &found))| {
            // A NaN, of the reference's too, is not within any bound.
            let ratio = ratio(expected, found);
            let is_right = found.is_finite() && ratio <= 1.0;
            let non_finite = if found.is_finite() { usize::MAX } else { i };
            (usize::from(!is_right), non_finite, (ratio, i))
        })
        .reduce(
            || (0, usize::MAX, (-1.0, usize::MAX)),
            |a, b| {
                let (a_worst, b_worst) = (a.2, b.2);
                let b_is_worse = b_worst.0 > a_worst.0
                    || (b_worst.0 == a_worst.0 && b_worst.1 < a_worst.1)
                    || (b_worst.0.is_nan() && !a_worst.0.is_nan());
                let worst = if b_is_worse { b_worst } else { a_worst };
                (a.0 + b.0, a.1.min(b.1), worst)
            },
        );
    Compared { off, worst: if non_finite < found.len() { non_finite } else { worst } }
}

impl Compared {
    fn element(&self, tensor: &str, expected: &Expected, found: &[f64]) -> Element {
        let (at, bounded) = (self.worst, expected.values[self.worst]);
        Element {
            tensor: tensor.to_owned(),
            axes: expected.axes,
            index: expected.index(at),
            expected: bounded.value,
            found: found[at],
            bound: bounded.error,
            ratio: ratio(bounded, found[at]),
        }
    }
}
