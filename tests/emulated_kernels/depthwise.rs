//! `kernels/depthwise.cu`.

use super::*;
use crate::support::emulated::{Data, Depthwise, machine};
use effnet::kernels::depthwise;
use effnet::weights::Precision;
use std::collections::HashSet;

/// Depthwise launches of B0, each shape once.
fn b0_depthwise(precision: Precision) -> Vec<Depthwise> {
    let mut seen = HashSet::new();
    let mut cases = Vec::new();
    for padding in PADDINGS {
        let (network, geometry) = b0(padding);
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            if seen.insert((*conv, block.c_mid)) {
                let shape = depthwise_shape(precision, conv, [1, block.c_mid]);
                cases.push(Depthwise::filled(shape, seen.len() as u64));
            }
        }
    }
    cases
}

fn depthwise_shape(precision: Precision, conv: &ConvGeometry, n_c: [usize; 2]) -> Depthwise {
    Depthwise::shape(
        precision,
        [conv.k, conv.stride],
        [conv.input.h, conv.input.w],
        [conv.output.h, conv.output.w],
        [conv.pad_top, conv.pad_left],
        n_c,
    )
}

fn depthwise_of_b0(precision: Precision) {
    let machine = machine(depthwise::IMAGE);
    let cases = b0_depthwise(precision);
    // Twelve distinct layers, and four more where SAME differs from symmetric padding.
    assert_eq!(cases.len(), 16, "{:#?}", cases.iter().map(Case::describe).collect::<Vec<_>>());
    for case in cases {
        case.check(&machine);
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn depthwise_f16_over_the_layers_of_b0() {
    depthwise_of_b0(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn depthwise_f32_over_the_layers_of_b0() {
    depthwise_of_b0(Precision::Fp32);
}

/// Each distinct layer of B3 and Lite4 for a small image.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn depthwise_over_odd_layers() {
    let machine = machine(depthwise::IMAGE);
    let mut seen = HashSet::new();
    for (network, geometry) in odd_networks() {
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            if seen.insert((*conv, block.c_mid)) {
                let precision = [Precision::Fp16, Precision::Fp32][seen.len() % 2];
                let shape = depthwise_shape(precision, conv, [1, block.c_mid]);
                Depthwise::filled(shape, seen.len() as u64).check(&machine);
            }
        }
    }
    assert!(seen.len() >= 20, "{}", seen.len());
}

/// Every map, window, stride, padding and channel count; the activation, the squeeze and the kind
/// of data go round.
fn awkward_depthwise(precision: Precision) {
    let machine = machine(depthwise::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for k in [3, 5] {
            for stride in [1, 2] {
                for padding in PADDINGS {
                    let conv = conv(padding, [h, w], k, stride);
                    for c in CHANNELS {
                        let mut shape = depthwise_shape(precision, &conv, [BATCH, c]);
                        shape.activation = ACTIVATIONS[seed % 3];
                        shape.squeeze = seed % 4 != 0;
                        shape.batch_norm = seed % 7 != 0;
                        if shape.activation != ACTIVATION_SWISH && seed % 5 < 3 {
                            shape.data = Data::Integers;
                        }
                        let case = Depthwise::filled(shape, 100 + seed as u64);
                        check_batch(&machine, &case, BATCH, |i| case.image(i));
                        seed += 1;
                    }
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_depthwise_f16() {
    awkward_depthwise(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_depthwise_f32() {
    awkward_depthwise(Precision::Fp32);
}
