//! `kernels/stem.cu`.

use super::*;
use crate::support::emulated::{Data, Stem, machine};
use effnet::kernels::stem::{self, StemInput};
use effnet::weights::Precision;

const KERNELS: [(StemInput, Precision); 5] = [
    (StemInput::U8, Precision::Fp16),
    (StemInput::F16, Precision::Fp16),
    (StemInput::F32, Precision::Fp16),
    (StemInput::U8, Precision::Fp32),
    (StemInput::F32, Precision::Fp32),
];

fn stem_case(
    kernel: (StemInput, Precision),
    padding: Padding,
    size: [usize; 2],
    n_c: [usize; 2],
    values: (i32, Data),
    seed: u64,
) -> Stem {
    let conv = conv(padding, size, 3, 2);
    let output = [conv.output.h, conv.output.w];
    Stem::new(kernel, size, output, [conv.pad_top, conv.pad_left], n_c, values, seed)
}

/// 224 x 224 in both paddings, and by each kernel once.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_b0() {
    let machine = machine(stem::IMAGE);
    for (i, kernel) in KERNELS.into_iter().enumerate() {
        let values = (ACTIVATION_SWISH, Data::Uniform);
        stem_case(kernel, PADDINGS[i % 2], [224, 224], [1, 32], values, i as u64).check(&machine);
    }
}

/// B3's 40 channels on a part of its odd map, and B5's and B7's channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_wider_networks() {
    let machine = machine(stem::IMAGE);
    for (i, c) in [24, 40, 48, 56, 64].into_iter().enumerate() {
        for padding in PADDINGS {
            let values = (ACTIVATIONS[i % 3], Data::Uniform);
            stem_case(KERNELS[i], padding, [75, 37], [1, c], values, i as u64).check(&machine);
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_stem() {
    let machine = machine(stem::IMAGE);
    let mut seed = 0;
    for size in [[1, 1], [2, 3], [7, 7], [19, 34]] {
        for padding in PADDINGS {
            for kernel in KERNELS {
                for c in [8, 40] {
                    let activation = ACTIVATIONS[seed % 3];
                    let exact = kernel.0 != StemInput::U8 && activation != ACTIVATION_SWISH;
                    let data = if exact { Data::Integers } else { Data::Uniform };
                    let values = (activation, data);
                    let mut case =
                        stem_case(kernel, padding, size, [BATCH, c], values, seed as u64);
                    case.batch_norm = seed % 4 != 0;
                    check_batch(&machine, &case, BATCH, |i| case.image(i));
                    seed += 1;
                }
            }
        }
    }
}

/// The kernel's normalisation is the host's, bit by bit: all levels in all channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn stem_of_levels_and_of_normalised_values_gives_the_same_bytes() {
    let machine = machine(stem::IMAGE);
    for precision in [Precision::Fp16, Precision::Fp32] {
        let values = (ACTIVATION_NONE, Data::Uniform);
        let kernel = (StemInput::U8, precision);
        let mut levels = stem_case(kernel, Padding::Symmetric, [32, 34], [1, 8], values, 1);
        for (i, level) in levels.input.iter_mut().enumerate() {
            *level = (i / 3 % 256) as f32;
        }
        let normalised = levels.normalised();
        let (found, expected) =
            (levels.run(&machine, Buffers::exact()), normalised.run(&machine, Buffers::exact()));
        assert!(found == expected, "{}", levels.describe());
    }
}
