//! A few small cases of every kernel file, quick enough where each launch is slow, as under a
//! sanitizer, and proof that faults are noticed.

use super::*;
use crate::support::emulated::{
    BnSwish, Classifier, Data, Depthwise, ExpandDepthwise, Expected, Outputs, Pointwise,
    PointwiseF32, Pool, Prepared, Resampled, SqueezeExcite, Stem, TestDevice, TopK, machine,
};
use effnet::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
use effnet::kernels::params::BnSwishParams;
use effnet::kernels::stem::StemInput;
use effnet::kernels::{
    Compute, bn_swish, depthwise, expand_depthwise, head, pointwise, pointwise_f32, preprocess,
    squeeze_excite, stem,
};
use effnet::weights::Precision;
use std::panic::{AssertUnwindSafe, catch_unwind};

const PRECISIONS: [Precision; 2] = [Precision::Fp16, Precision::Fp32];
const WINDOWS: [[usize; 2]; 4] = [[3, 1], [3, 2], [5, 1], [5, 2]];

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_bn_swish() {
    let machine = machine(bn_swish::IMAGE);
    for precision in PRECISIONS {
        let (shape, parts) = ([2, 15, 40], [true; 3]);
        let case = BnSwish::new(precision, Data::Uniform, shape, ACTIVATION_SWISH, parts, 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
        let apart = case.run(&machine, Buffers::exact());
        assert!(apart[0] == case.run_in_place(&machine), "{}: in place", case.describe());
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_depthwise() {
    let machine = machine(depthwise::IMAGE);
    for precision in PRECISIONS {
        for [k, stride] in WINDOWS {
            let ConvGeometry { pad_top, pad_left, output, .. } =
                conv(Padding::SameDynamic, [9, 14], k, stride);
            let (output, pad) = ([output.h, output.w], [pad_top, pad_left]);
            let shape = Depthwise::shape(precision, [k, stride], [9, 14], output, pad, [2, 40]);
            let case = Depthwise::filled(shape, k as u64);
            check_batch(&machine, &case, 2, |i| case.image(i));
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_head() {
    let machine = machine(head::IMAGE);
    for precision in PRECISIONS {
        let pool = Pool::new(precision, [2, 70, 72], Data::Uniform, 1);
        check_batch(&machine, &pool, 2, |i| pool.image(i));
        let classifier = Classifier::new(precision, [5, 2, 49], [264, 21], Data::Uniform, 2);
        check_batch(&machine, &classifier, 5, |i| classifier.image(i));
    }
    let top_k = TopK::new([2, 300, 5], None, 3);
    check_batch(&machine, &top_k, 2, |i| top_k.image(i));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_expand_depthwise() {
    let machine = machine(expand_depthwise::IMAGE);
    for precision in PRECISIONS {
        for [k, stride] in WINDOWS {
            let ConvGeometry { pad_top, pad_left, output, .. } =
                conv(Padding::Symmetric, [7, 13], k, stride);
            let (output, pad) = ([output.h, output.w], [pad_top, pad_left]);
            let shape =
                ExpandDepthwise::shape(precision, [k, stride], [7, 13], output, pad, [2, 24, 56]);
            let case = ExpandDepthwise::filled(shape, k as u64);
            check_batch(&machine, &case, 2, |i| case.image(i));
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_pointwise_f16() {
    let machine = machine(pointwise::IMAGE);
    let case = Pointwise::new(Data::Uniform, [2, 49, 264, 72], ACTIVATION_SWISH, [true, true], 1);
    check_batch(&machine, &case, 2, |i| case.image(i));
    let bytes = case.check(&machine);
    for tile in pointwise::TILES {
        for split in [false, true] {
            let forced = case.clone().forced(tile, split);
            let what = forced.describe();
            assert!(forced.run(&machine, Buffers::exact()) == bytes, "{what}: other bytes");
        }
    }
    case.giving(Outputs::Both).check(&machine);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_pointwise_f32_and_tf32() {
    let machine = machine(pointwise_f32::IMAGE);
    for compute in [Compute::Fp32, Compute::Tf32] {
        for (shape, pooled) in [([2, 21, 136, 40], false), ([1, 130, 264, 72], true)] {
            let (activation, parts) = (ACTIVATION_SWISH, [true; 3]);
            let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, parts, 1);
            let split = |split| PointwiseF32 { split: Some(split), pooled, ..case.clone() };
            let bytes = split(false).check(&machine);
            assert!(bytes == split(true).check(&machine), "{}", split(true).describe());
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_preprocess() {
    let machine = machine(preprocess::IMAGE);
    let framing =
        Framing::ResizeThenCrop { short_side: ShortSide::Margin(0), rounding: Rounding::Paddle };
    for interpolation in [
        Interpolation::PillowBicubic,
        Interpolation::PillowBilinear,
        Interpolation::OpencvBilinear,
        Interpolation::TensorflowBicubic,
    ] {
        let recipe = Recipe {
            interpolation,
            framing,
            mean: [0.5; 3],
            std: [0.5; 3],
            exif_orientation: false,
            size: Size { h: 31, w: 45 },
        };
        let case = Resampled::new(recipe, [75, 100], 1);
        assert!(case.run(&machine, Buffers::exact()) == case.expected(), "{}", case.describe());
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_squeeze_excite() {
    let machine = machine(squeeze_excite::IMAGE);
    for precision in PRECISIONS {
        let case = SqueezeExcite::new(precision, [2, 3, 78], [232, 10], 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_stem() {
    let machine = machine(stem::IMAGE);
    for kernel in [
        (StemInput::U8, Precision::Fp16),
        (StemInput::F16, Precision::Fp16),
        (StemInput::F32, Precision::Fp16),
        (StemInput::U8, Precision::Fp32),
        (StemInput::F32, Precision::Fp32),
    ] {
        let values = (ACTIVATION_SWISH, Data::Uniform);
        let case = Stem::new(kernel, [19, 34], [10, 17], [1, 1], [2, 40], values, 1);
        check_batch(&machine, &case, 2, |i| case.image(i));
    }
}

// --- Faults are noticed ---

type Spoil = fn(&mut Prepared);

/// A case whose launch is spoilt.
struct Spoilt(BnSwish, Spoil);

impl Case for Spoilt {
    fn prepare(&self, buffers: &mut Buffers) -> Prepared {
        let mut prepared = self.0.prepare(buffers);
        (self.1)(&mut prepared);
        prepared
    }

    fn expected(&self) -> Vec<Expected> {
        self.0.expected()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }
}

fn change(prepared: &mut Prepared, change: impl FnOnce(&mut BnSwishParams)) {
    let mut params: BnSwishParams = bytemuck::pod_read_unaligned(&prepared.params);
    change(&mut params);
    prepared.params = bytemuck::bytes_of(&params).to_vec();
}

/// A wrong value, a tensor that lies 16 bytes further on, and a last block that is missing. A GPU's
/// memory is another poison in each run, which shows where nothing was written.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_list_notices_what_is_wrong() {
    let machine = machine(bn_swish::IMAGE);
    let spoils: [(Spoil, [&str; 2]); 3] = [
        (|p| change(p, |params| params.activation = ACTIVATION_NONE), ["off by", "off by"]),
        (|p| change(p, |params| params.output += 16), ["findings", "written after output"]),
        (
            |p| p.geometry.grid[0] -= 1,
            ["bytes of output that are written", "not the same bytes twice"],
        ),
    ];
    for (spoil, says) in spoils {
        let (shape, parts) = ([1, 400, 232], [true, false, false]);
        let case = BnSwish::new(Precision::Fp32, Data::Uniform, shape, ACTIVATION_SWISH, parts, 1);
        case.check(&machine);
        let case = Spoilt(case, spoil);
        let panic = catch_unwind(AssertUnwindSafe(|| case.check(&machine))).expect_err("spoilt");
        let said = panic.downcast_ref::<String>().expect("a message");
        let says = says[usize::from(TestDevice::chosen().has_gpu())];
        assert!(said.contains(says), "{said:?} does not say {says:?}");
    }
}
