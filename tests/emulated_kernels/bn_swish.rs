//! `kernels/bn_swish.cu`.

use super::*;
use crate::support::emulated::{BnSwish, Data, machine};
use effnet::kernels::bn_swish;
use effnet::weights::Precision;
use std::collections::HashSet;

const EXTRAS: [[bool; 3]; 8] = [
    [true, false, false],
    [false, true, false],
    [false, false, true],
    [true, true, true],
    [true, false, true],
    [true, true, false],
    [false, true, true],
    [false, false, false],
];

/// Launches of B0's layerwise path, each shape once: batch-norm and activation of the expanded
/// maps, their gates, and batch-norm and skip of the projected ones.
fn bn_swish_of_b0(precision: Precision) {
    let machine = machine(bn_swish::IMAGE);
    let (network, geometry) = b0(Padding::Symmetric);
    let mut seen = HashSet::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let pixels = conv.output.pixels();
        for (c, activation, extras) in [
            (block.c_mid, ACTIVATION_SWISH, [true, false, false]),
            (block.c_mid, ACTIVATION_NONE, [false, true, false]),
            (block.c_out, ACTIVATION_NONE, [true, false, block.skip]),
        ] {
            if seen.insert((pixels, c, activation, extras)) {
                let shape = [1, pixels, c];
                let seed = seen.len() as u64;
                let case = BnSwish::new(precision, Data::Uniform, shape, activation, extras, seed);
                case.check(&machine);
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn bn_swish_f16_over_the_layers_of_b0() {
    bn_swish_of_b0(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn bn_swish_f32_over_the_layers_of_b0() {
    bn_swish_of_b0(Precision::Fp32);
}

/// Every map and channel count with every part present or absent; activation and kind of data go
/// round. In place too.
fn awkward_bn_swish(precision: Precision) {
    let machine = machine(bn_swish::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c in CHANNELS {
            for extras in EXTRAS {
                let activation = ACTIVATIONS[seed % 3];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let shape = [BATCH, h * w, c];
                let case = BnSwish::new(precision, data, shape, activation, extras, seed as u64);
                check_batch(&machine, &case, BATCH, |i| case.image(i));
                let apart = case.run(&machine, Buffers::exact());
                assert!(apart[0] == case.run_in_place(&machine), "{}: in place", case.describe());
                seed += 1;
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_bn_swish_f16() {
    awkward_bn_swish(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_bn_swish_f32() {
    awkward_bn_swish(Precision::Fp32);
}
