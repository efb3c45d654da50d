//! `effnet verify` on the emulator: what is right passes, and what is wrong is told by the launch that did it.

mod command;
#[path = "../support/mod.rs"]
mod support;

use effnet::arch::{Activation, Network, Padding, Size, Variant};
use effnet::device::{EmulatedDevice, EmulatedError};
use effnet::image::Normalisation;
use effnet::kernels::Compute;
use effnet::kernels::params::{
    ACTIVATION_RELU6, BnSwishParams, DepthwiseParams, ExpandDepthwiseParams, PointwiseParams,
};
use effnet::launches::{
    Address, Input, LaunchInput, LaunchOptions, LaunchPlan, LaunchRecord, Path, Placement, Region,
};
use effnet::plan::{Op, Plan, PlanOptions};
use effnet::verify::bounds::Bounded;
use effnet::verify::reference::{self, Finish};
use effnet::verify::{Fault, Outcome, StepError, Stepwise, Verification, VerifyError};
use effnet::weights::{Precision, TensorId, Weights, packed_tensors, write_packed};
use half::f16;
use serde_json::Value;
use std::process::{Command, Output};
use std::sync::Arc;
use support::{Random, metadata, random_weights, write_random};

/// A network's launches, and everything that they are verified with.
struct Case {
    plan: Plan,
    launches: LaunchPlan,
    weights: Arc<Weights>,
    input: Vec<f32>,
}

impl Case {
    fn new(variant: Variant, size: Size, path: Path, compute: Compute) -> Case {
        let metadata = metadata(variant, Padding::SameDynamic, compute.storage());
        Case::of(Arc::new(random_weights(&metadata, 1)), size, path, compute)
    }

    fn of(weights: Arc<Weights>, size: Size, path: Path, compute: Compute) -> Case {
        let options = PlanOptions {
            batch: 1,
            size,
            padding: weights.metadata().padding,
            precision: compute.storage(),
        };
        let plan = Plan::new(weights.network(), options).unwrap();
        let options =
            LaunchOptions { placement: Placement::Apart, ..LaunchOptions::new(path, compute) };
        let launches = LaunchPlan::new(&plan, LaunchOptions { top_k: 5, ..options }).unwrap();
        let input = Random::new(2).vector(launches.input_elems());
        Case { plan, launches, weights, input }
    }

    fn device(&self) -> EmulatedDevice {
        EmulatedDevice::new(self.launches.clone(), &self.weights).unwrap()
    }

    fn verify(&self, device: &mut dyn Stepwise) -> Result<Outcome, VerifyError> {
        self.verify_on(&self.input, device)
    }

    fn verify_on<'a>(
        &self,
        input: impl Into<Input<'a>>,
        device: &mut dyn Stepwise,
    ) -> Result<Outcome, VerifyError> {
        let Case { plan, launches, weights, .. } = self;
        let input = input.into();
        let verification = Verification { plan, launches, weights, input, threads: None };
        verification.run(device, &mut |_| {})
    }

    /// Everything is right.
    #[track_caller]
    fn passes(&self) -> Outcome {
        let LaunchOptions { path, compute, .. } = self.launches.options();
        let what = format!("{}, {path}, {compute}", self.weights.metadata().variant);
        let outcome = self.verify(&mut self.device()).unwrap_or_else(|e| panic!("{what}: {e}"));
        if let Some(fault) = &outcome.fault {
            panic!("{what}: {fault}");
        }
        assert_eq!(outcome.checks.len(), self.launches.len(), "{what}");
        let names: Vec<&str> = outcome.checks.iter().map(|check| check.launch.as_str()).collect();
        let records = self.launches.launches(1).unwrap();
        assert!(names.iter().eq(records.iter().map(|record| &record.name)), "{what}: {names:?}");
        // Of every buffer but scratch, each element once for each launch that writes it.
        assert!(outcome.checks.iter().all(|check| check.values > 0), "{what}");
        let logits = outcome.logits.as_ref().unwrap();
        assert!(logits.difference <= logits.bound, "{what}: {logits:?}");
        // A bound that no rounding comes near would hide faults. The one rounding to f16 reaches it; of
        // the many of an f32 sum most make up for each other.
        let worst = outcome.checks.iter().map(|check| check.worst.ratio).fold(0.0, f64::max);
        let least = if compute == Compute::Fp16 { 0.5 } else { 0.05 };
        assert!(worst > least && worst <= 1.0, "{what}: {worst}");
        outcome
    }

    /// What one value of a tensor of the weights is changed to, so that it is off by 16 times the bound
    /// where that changes most, and by how many bounds it is in the type that the device has it in: `step`
    /// computes the elements of its launch from the tensor.
    fn off_by_16_bounds(
        &self,
        name: &str,
        at: usize,
        step: impl Fn(&[f32]) -> Vec<Bounded>,
    ) -> (TensorId, f32, f64) {
        let id = self.tensor(name);
        let mut tensor = self.values(id);
        let right = step(&tensor);
        let old = tensor[at];
        tensor[at] += 1.0;
        let changed = step(&tensor);
        let effect = |(a, b): (&Bounded, &Bounded)| (a.value - b.value).abs() / a.error;
        let largest = right.iter().zip(&changed).map(effect).fold(0.0, f64::max);
        assert!(largest > 16.0, "{name}[{at}] changes nothing: {largest}");
        let least = old + (16.0 / largest) as f32;
        let value = match self.launches.options().compute.storage() {
            Precision::Fp32 => least,
            Precision::Fp16 => {
                // The nearest f16 that is no closer to the right one.
                let near = f16::from_f32(least);
                let towards =
                    if near.is_sign_negative() { u16::wrapping_sub } else { u16::wrapping_add };
                let next = f16::from_bits(towards(near.to_bits(), 1));
                if near.to_f32() < least { next.to_f32() } else { near.to_f32() }
            }
        };
        (id, value, f64::from(value - old) * largest)
    }

    fn tensor(&self, name: &str) -> TensorId {
        let found = self.weights.tensors().iter().position(|tensor| tensor.name() == name);
        TensorId(found.unwrap_or_else(|| panic!("no tensor {name}")) as u32)
    }

    fn values(&self, id: TensorId) -> Vec<f32> {
        match (self.weights.f32(id), self.weights.f16(id)) {
            (Some(values), _) => values.to_vec(),
            (_, Some(values)) => values.iter().map(|x| x.to_f32()).collect(),
            _ => unreachable!("a tensor is f32 or f16"),
        }
    }

    /// A buffer after a run.
    fn buffer(&self, device: &EmulatedDevice, name: &str) -> Vec<f32> {
        let buffer = self.launches.buffers().iter().find(|buffer| buffer.name == name);
        let buffer = buffer.unwrap_or_else(|| panic!("no buffer {name}"));
        match buffer.precision {
            Precision::Fp32 => device.read(buffer.address(), buffer.elems),
            Precision::Fp16 => {
                let values: Vec<f16> = device.read(buffer.address(), buffer.elems);
                values.into_iter().map(f16::to_f32).collect()
            }
        }
    }

    /// The gate that a block's projection computes from what its squeeze left.
    fn own_gate(&self, device: &EmulatedDevice, block: usize) -> Vec<Bounded> {
        let name = format!("blocks.{block}.squeeze_excite");
        let step = self.plan.steps.iter().find(|step| step.name == name).unwrap();
        let Op::SqueezeExcite { c, c_se, reduce_bias, expand_weight, expand_bias, .. } = step.op
        else {
            panic!("{step:?}")
        };
        let squeeze = self.buffer(device, &format!("blocks.{block}.depthwise.squeeze"));
        let map = self.plan.buffers.iter().find(|b| b.name == format!("blocks.{block}.depthwise"));
        let [_, h, w, _] = map.unwrap().shape;
        let weights = [reduce_bias, expand_weight, expand_bias].map(|id| self.values(id));
        reference::gate(&reference::Gate {
            parts: squeeze.len() / c_se.next_multiple_of(4),
            pixels: h * w,
            c,
            c_se,
            squeeze: &squeeze,
            weights: weights.each_ref().map(Vec::as_slice),
        })
    }

    /// Changes one weight on the device alone.
    fn change(&self, device: &mut EmulatedDevice, id: TensorId, at: usize, value: f32) {
        let precision = self.weights.tensors()[id.0 as usize]
            .precision(self.launches.options().compute.storage());
        let offset = self.launches.weight_offsets()[id.0 as usize];
        let offset_bytes = offset + (at * precision.elem_bytes()) as u64;
        let at = Address { region: Region::Weights, offset_bytes };
        match precision {
            Precision::Fp32 => device.write_bytes(at, &value.to_le_bytes()),
            Precision::Fp16 => device.write_bytes(at, &f16::from_f32(value).to_le_bytes()),
        }
        .unwrap();
    }
}

/// The launch that is off, and its element where it is one.
#[track_caller]
fn off(outcome: &Outcome) -> (&str, &'static str) {
    let fault = outcome.fault.as_ref().expect("something is off");
    assert!(outcome.logits.is_none(), "it stops at the launch");
    fault.launch().unwrap_or_else(|| panic!("{fault}"))
}

/// The launch's own rounding adds a bound to either side at the most, and that of the changed value is a
/// little larger than that of the right one.
#[track_caller]
fn off_by(found: f64, expected: f64) {
    assert!(expected >= 15.9 && (found - expected).abs() < 1.2, "{found}, expected {expected}");
}

const PATHS: [Path; 2] = [Path::Layerwise, Path::Fused];

fn passes(variant: Variant, size: Size, compute: Compute, paths: &[Path]) {
    for &path in paths {
        Case::new(variant, size, path, compute).passes();
    }
}

const SMALL: Size = Size { h: 40, w: 32 };

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn b0_passes_in_every_precision() {
    for compute in [Compute::Fp16, Compute::Fp32, Compute::Tf32] {
        passes(Variant::B0, SMALL, compute, &PATHS);
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn lite0_and_b0_small_pass_on_both_paths() {
    for compute in [Compute::Fp16, Compute::Fp32] {
        passes(Variant::Lite0, SMALL, compute, &PATHS);
    }
    passes(Variant::B0Small, SMALL, Compute::Fp16, &[Path::Fused]);
    passes(Variant::B0Small, SMALL, Compute::Fp32, &[Path::Layerwise]);
}

/// Every other variant by one path and precision, the four in turn.
#[test]
#[ignore = "takes long: make test-all runs it"]
fn every_variant_passes() {
    let done = [Variant::B0, Variant::Lite0, Variant::B0Small];
    let others = Variant::all().filter(|variant| !done.contains(variant));
    for (i, variant) in others.enumerate() {
        let compute = [Compute::Fp16, Compute::Fp32][i / 2 % 2];
        passes(variant, Size::square(32), compute, &PATHS[i % 2..][..1]);
    }
}

/// A conversion on the way to the device is the reference's too.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn f32_weights_pass_in_f16() {
    let weights = random_weights(&metadata(Variant::Lite0, Padding::Symmetric, Precision::Fp32), 3);
    Case::of(Arc::new(weights), SMALL, Path::Fused, Compute::Fp16).passes();
}

/// A weight of `blocks.3.project` on the device alone, in each precision.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_changed_weight_of_a_pointwise_convolution_is_found() {
    for (compute, path) in [
        (Compute::Fp16, Path::Layerwise),
        (Compute::Fp32, Path::Layerwise),
        (Compute::Fp16, Path::Fused),
    ] {
        let case = Case::new(Variant::B0, SMALL, path, compute);
        let mut device = case.device();
        assert_eq!(case.verify(&mut device).unwrap().fault, None);
        let step = case.plan.steps.iter().find(|step| step.name == "blocks.3.project").unwrap();
        let Op::Pointwise { size, c_in, c_out, scale, shift, .. } = step.op else {
            panic!("{step:?}")
        };
        let x = case.buffer(&device, "blocks.3.depthwise");
        // The gate is a pass of its own in one path, and in place; in the other it is computed here.
        let gate = (path == Path::Fused).then(|| case.own_gate(&device, 3));
        let bn = [case.values(scale), case.values(shift)];
        let bn = (path == Path::Fused).then(|| bn.each_ref().map(Vec::as_slice));
        let at = 5 * c_in + 7;
        let (id, value, bounds) = case.off_by_16_bounds("blocks.3.project.weight", at, |weight| {
            let y = reference::pointwise(&reference::Pointwise {
                compute,
                has_tf32: true,
                pixels: size.pixels(),
                c_in,
                c_out,
                x: &x,
                gate: None,
                own_gate: gate.as_deref(),
                weight,
                finish: Finish { bn, activation: Activation::None, precision: Precision::Fp32 },
                skip: None,
            });
            y.into_iter().map(|y| y.stored(compute.storage())).collect()
        });
        case.change(&mut device, id, at, value);
        let outcome = case.verify(&mut device).unwrap();
        let (launch, kernel) = off(&outcome);
        assert_eq!(launch, "blocks.3.project");
        assert!(kernel.starts_with("effnet_pointwise_"), "{kernel}");
        let Some(Fault::Value { element, off, values, .. }) = &outcome.fault else {
            panic!("{:?}", outcome.fault)
        };
        // Output channel 5 alone.
        assert_eq!((element.tensor.as_str(), element.axes), ("blocks.3.project", "n, h, w, c"));
        assert_eq!((element.index.len(), element.index[3]), (4, 5));
        assert!(*off >= 1 && *off <= values / c_out, "{off} of {values}");
        off_by(element.ratio, bounds);
    }
}

/// A tap of a depthwise convolution on the device alone.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_changed_weight_of_a_depthwise_convolution_is_found() {
    let (compute, storage) = (Compute::Fp16, Precision::Fp16);
    let case = Case::new(Variant::B0, SMALL, Path::Layerwise, compute);
    let mut device = case.device();
    assert_eq!(case.verify(&mut device).unwrap().fault, None);
    let step = case.plan.steps.iter().find(|step| step.name == "blocks.2.depthwise").unwrap();
    let Op::Depthwise { conv, c, .. } = step.op else { panic!("{step:?}") };
    let x = case.buffer(&device, "blocks.2.expand");
    let at = (conv.k + 1) * c + 11;
    let (id, value, bounds) = case.off_by_16_bounds("blocks.2.depthwise.weight", at, |weight| {
        let finish = Finish { bn: None, activation: Activation::None, precision: storage };
        let y = reference::depthwise(&x, 1, &conv, c, weight, finish);
        y.into_iter().map(|y| y.stored(storage)).collect()
    });
    case.change(&mut device, id, at, value);
    let outcome = case.verify(&mut device).unwrap();
    assert_eq!(off(&outcome).0, "blocks.2.depthwise");
    let Some(Fault::Value { element, .. }) = outcome.fault else { panic!("{:?}", outcome.fault) };
    assert_eq!(element.index[3], 11);
    off_by(element.ratio, bounds);
}

/// A weight of squeeze-excite on the device alone: the launch that reads it is told, whichever of the
/// two it is.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_changed_weight_of_squeeze_excite_is_found() {
    let case = Case::new(Variant::B0, SMALL, Path::Fused, Compute::Fp16);
    for (tensor, launch, buffer) in [
        ("blocks.2.se_reduce.weight", "blocks.2.expand_depthwise", "blocks.2.depthwise.squeeze"),
        ("blocks.2.se_reduce.bias", "blocks.2.project", "blocks.2.project"),
        ("blocks.2.se_expand.weight", "blocks.2.project", "blocks.2.project"),
        ("blocks.2.se_expand.bias", "blocks.2.project", "blocks.2.project"),
    ] {
        let mut device = case.device();
        let id = case.tensor(tensor);
        let right = case.values(id)[3];
        case.change(&mut device, id, 3, right + 2.0);
        let outcome = case.verify(&mut device).unwrap();
        assert_eq!(off(&outcome).0, launch, "{tensor}");
        let Some(Fault::Value { element, .. }) = &outcome.fault else {
            panic!("{tensor}: {:?}", outcome.fault)
        };
        assert_eq!(element.tensor, buffer, "{tensor}");
        if buffer.ends_with("squeeze") {
            // Row 0 of the weight: of every part the first value, of the slice with channel 3.
            assert_eq!((element.axes, &element.index[2..]), ("n, tile, slice, c_se", &[0, 0][..]));
        }
    }
}

/// A device whose launches are meddled with: one gets other parameters, or does not run.
struct Meddled<'a> {
    device: &'a mut EmulatedDevice,
    launch: &'a str,
    /// None where the launch is left out.
    change: Option<&'a dyn Fn(&mut LaunchRecord)>,
}

impl Stepwise for Meddled<'_> {
    fn load(&mut self, input: Input<'_>, n: usize) -> Result<(), StepError> {
        Stepwise::load(self.device, input, n)
    }

    fn launch(&mut self, index: usize) -> Result<(), StepError> {
        let mut records = self.device.plan().launches(1).map_err(EmulatedError::from)?;
        let mut record = records.swap_remove(index);
        if record.name == self.launch {
            match self.change {
                Some(change) => change(&mut record),
                None => return Ok(()),
            }
        }
        Ok(self.device.launch(&record, index > 0)?)
    }

    fn read(&mut self, at: Address, bytes: usize) -> Result<Vec<u8>, StepError> {
        Stepwise::read(self.device, at, bytes)
    }

    fn write(&mut self, at: Address, bytes: &[u8]) -> Result<(), StepError> {
        Stepwise::write(self.device, at, bytes)
    }

    fn has_tf32(&self) -> bool {
        true
    }
}

fn params<P: bytemuck::Pod>(record: &mut LaunchRecord, change: impl Fn(&mut P)) {
    let mut params: P = bytemuck::pod_read_unaligned(&record.params);
    change(&mut params);
    record.params = bytemuck::bytes_of(&params).to_vec();
}

/// A kernel that gets another parameter than the plan says.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_changed_parameter_is_found() {
    type Change = fn(&mut LaunchRecord);
    let changes: [(Path, &str, Change); 8] = [
        (Path::Layerwise, "blocks.1.depthwise", |r| {
            params(r, |p: &mut DepthwiseParams| p.pad_left += 1)
        }),
        (Path::Layerwise, "blocks.1.depthwise.bn_swish", |r| {
            params(r, |p: &mut BnSwishParams| p.activation = ACTIVATION_RELU6)
        }),
        (Path::Layerwise, "blocks.2.project.skip", |r| {
            params(r, |p: &mut BnSwishParams| p.skip = 0)
        }),
        (Path::Fused, "blocks.1.expand_depthwise", |r| {
            params(r, |p: &mut ExpandDepthwiseParams| p.pad_top += 1)
        }),
        (Path::Fused, "blocks.2.project", |r| params(r, |p: &mut PointwiseParams| p.parts -= 1)),
        (Path::Fused, "blocks.3.project", |r| {
            params(r, |p: &mut PointwiseParams| p.gate_bias = p.scale)
        }),
        // Half of the work is left out.
        (Path::Fused, "blocks.0.project", |r| {
            let largest = r.geometry.grid.iter_mut().max().unwrap();
            assert!(*largest > 1);
            *largest = largest.div_ceil(2);
        }),
        // Beyond the output: a finding of the emulator.
        (Path::Fused, "blocks.3.project", |r| params(r, |p: &mut PointwiseParams| p.pixels *= 64)),
    ];
    for (path, launch, change) in changes {
        let case = Case::new(Variant::B0, SMALL, path, Compute::Fp16);
        let mut device = case.device();
        let mut meddled = Meddled { device: &mut device, launch, change: Some(&change) };
        let outcome = case.verify(&mut meddled).unwrap();
        let records = case.launches.launches(1).unwrap();
        assert!(records.iter().any(|record| record.name == launch), "{path}: no {launch}");
        assert!(outcome.fault.is_some(), "{path}: {launch} is right all the same");
        assert_eq!(off(&outcome).0, launch);
    }
}

/// Each kind of launch, left out: the poison in its output, or what it should have changed in place, shows. A run
/// that was right before has left the right values behind.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_launch_that_is_left_out_is_found() {
    for (path, launches) in [
        (
            Path::Layerwise,
            &[
                "stem",
                "blocks.0.squeeze",
                "blocks.1.squeeze_excite",
                "blocks.1.depthwise.bn_swish",
                "blocks.2.project.gate",
            ][..],
        ),
        (
            Path::Fused,
            &[
                "blocks.0.depthwise",
                "blocks.1.expand_depthwise",
                "blocks.2.project",
                "head_conv",
                "classifier",
                "top_k",
            ],
        ),
    ] {
        let case = Case::new(Variant::B0, Size::square(32), path, Compute::Fp16);
        let mut device = case.device();
        assert_eq!(case.verify(&mut device).unwrap().fault, None);
        for launch in launches {
            let mut meddled = Meddled { device: &mut device, launch, change: None };
            let outcome = case.verify(&mut meddled).unwrap();
            assert_eq!(off(&outcome).0, *launch);
        }
    }
}

/// A byte beside a tensor, and a counter that stays above zero.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn what_is_written_where_no_tensor_is_is_found() {
    struct Stray<'a>(&'a mut EmulatedDevice, Address);
    impl Stepwise for Stray<'_> {
        fn load(&mut self, input: Input<'_>, n: usize) -> Result<(), StepError> {
            Stepwise::load(self.0, input, n)
        }
        fn launch(&mut self, index: usize) -> Result<(), StepError> {
            Stepwise::launch(self.0, index)?;
            if index == 2 {
                self.0.write_bytes(self.1, &[7]).map_err(StepError::from)
            } else {
                Ok(())
            }
        }
        fn read(&mut self, at: Address, bytes: usize) -> Result<Vec<u8>, StepError> {
            Stepwise::read(self.0, at, bytes)
        }
        fn write(&mut self, at: Address, bytes: &[u8]) -> Result<(), StepError> {
            Stepwise::write(self.0, at, bytes)
        }
        fn has_tf32(&self) -> bool {
            true
        }
    }
    let case = Case::new(Variant::Lite0, Size::square(32), Path::Layerwise, Compute::Fp16);
    let records = case.launches.launches(1).unwrap();
    let written =
        case.launches.buffers().iter().find(|buffer| buffer.name == "blocks.0.depthwise").unwrap();
    assert_eq!((records[2].name.as_str(), written.region), ("blocks.0.depthwise", Region::Arena));
    let end = written.offset_bytes + written.bytes() as u64;
    for offset_bytes in [written.offset_bytes - 3, end] {
        let at = Address { region: Region::Arena, offset_bytes };
        let outcome = case.verify(&mut Stray(&mut case.device(), at)).unwrap();
        assert_eq!(off(&outcome).0, "blocks.0.depthwise");
        let distance = offset_bytes as i64 - written.offset_bytes as i64;
        assert!(
            matches!(&outcome.fault, Some(Fault::Outside { offset_bytes, .. }) if *offset_bytes == distance),
            "{:?}",
            outcome.fault
        );
    }
    let counter = Address { region: Region::Counters, offset_bytes: 8 };
    if case.launches.counters_bytes() > 0 {
        let outcome = case.verify(&mut Stray(&mut case.device(), counter)).unwrap();
        assert!(matches!(outcome.fault, Some(Fault::Counter { index: 2, found: 7, .. })));
    }
}

/// Levels are normalised as the reference has it, and by the plan's own numbers.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn u8_images_are_verified() {
    let mean = [0.485, 0.456, 0.406];
    let with = |case: &Case, mean| {
        let input = LaunchInput::U8(Normalisation { mean, std: [0.229, 0.224, 0.225] });
        let options = LaunchOptions { input, ..case.launches.options() };
        LaunchPlan::new(&case.plan, options).unwrap()
    };
    for compute in [Compute::Fp16, Compute::Fp32] {
        let mut case = Case::new(Variant::Lite0, Size::square(32), Path::Fused, compute);
        case.launches = with(&case, mean);
        let mut random = Random::new(3);
        let levels: Vec<u8> = (0..case.input.len()).map(|_| random.bits() as u8).collect();
        let outcome = case.verify_on(&levels, &mut case.device()).unwrap();
        assert!(outcome.fault.is_none() && outcome.logits.is_some(), "{:?}", outcome.fault);
        // The other type is refused.
        let refused = case.verify(&mut case.device()).unwrap_err();
        assert!(matches!(refused, VerifyError::InputType(_)), "{refused}");
        // A device that was made for another mean.
        let other = with(&case, [0.5, mean[1], mean[2]]);
        let mut device = EmulatedDevice::new(other, &case.weights).unwrap();
        let outcome = case.verify_on(&levels, &mut device).unwrap();
        let Some(Fault::Value { launch, .. }) = outcome.fault else {
            panic!("{:?}", outcome.fault)
        };
        assert_eq!(launch, "stem");
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn inputs_that_nothing_can_be_computed_from_are_refused() {
    let mut case = Case::new(Variant::Lite0, Size::square(32), Path::Fused, Compute::Fp16);
    case.input[77] = f32::NAN;
    let error = case.verify(&mut case.device()).unwrap_err().to_string();
    assert!(error.contains("NaN at 77"), "{error}");
    case.input.pop();
    let error = case.verify(&mut case.device()).unwrap_err().to_string();
    assert!(error.contains("3071 values, expected 3072"), "{error}");
}
