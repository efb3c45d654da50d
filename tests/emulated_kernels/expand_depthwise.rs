//! `kernels/expand_depthwise.cu`.

use super::*;
use crate::support::emulated::{Data, ExpandDepthwise, machine};
use effnet::kernels::expand_depthwise;
use effnet::weights::Precision;
use std::collections::HashSet;

fn shape(precision: Precision, conv: &ConvGeometry, channels: [usize; 3]) -> ExpandDepthwise {
    ExpandDepthwise::shape(
        precision,
        [conv.k, conv.stride],
        [conv.input.h, conv.input.w],
        [conv.output.h, conv.output.w],
        [conv.pad_top, conv.pad_left],
        channels,
    )
}

/// The layers of B0 whose tiles fit, each shape once; maps of 112 and 56 pixels with one group of
/// channels, the part of the whole that is not the same again.
fn layers_of_b0(precision: Precision) {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seen = HashSet::new();
    for padding in PADDINGS {
        let (network, geometry) = b0(padding);
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            let (c_in, c_mid) = (block.c_in, block.c_mid);
            let fits = expand_depthwise::fits(precision, conv.k, conv.stride, c_in as i32);
            if c_in == c_mid || !fits || !seen.insert((*conv, c_in)) {
                continue;
            }
            let c_mid = if conv.input.h >= 56 { 48 } else { c_mid };
            let shape = shape(precision, conv, [1, c_in, c_mid]);
            ExpandDepthwise::filled(shape, seen.len() as u64).check(&machine);
        }
    }
    assert!(seen.len() >= 8, "{seen:?}");
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f16_over_the_layers_of_b0() {
    layers_of_b0(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_f32_over_the_layers_of_b0() {
    layers_of_b0(Precision::Fp32);
}

/// Each distinct layer of B3 and Lite4 for a small image whose tiles fit, with one group of
/// channels.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn expand_depthwise_over_odd_layers() {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seen = HashSet::new();
    for (network, geometry) in odd_networks() {
        for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
            let precision = [Precision::Fp16, Precision::Fp32][seen.len() % 2];
            let c_in = block.c_in;
            let fits = expand_depthwise::fits(precision, conv.k, conv.stride, c_in as i32);
            if block.has_expand() && fits && seen.insert((*conv, c_in)) {
                let shape = shape(precision, conv, [1, c_in, 48]);
                ExpandDepthwise::filled(shape, seen.len() as u64).check(&machine);
            }
        }
    }
    assert!(seen.len() >= 6, "{}", seen.len());
}

/// Every map, window, stride and padding; channel counts, the activation, the squeeze and the kind
/// of data go round.
fn awkward(precision: Precision) {
    let machine = machine(expand_depthwise::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
            for padding in PADDINGS {
                let conv = conv(padding, [h, w], k, stride);
                for _ in 0..2 {
                    let c_in = [8, 24, 40, 72][seed % 4];
                    // Where the widest does not fit shared memory, one that does.
                    let fits = expand_depthwise::fits(precision, k, stride, c_in as i32);
                    let c_in = if fits { c_in } else { 32 };
                    let c_mid = [8, 40, 72, 24, 104][seed % 5];
                    let mut shape = shape(precision, &conv, [BATCH, c_in, c_mid]);
                    shape.activation = ACTIVATIONS[seed % 3];
                    shape.squeeze = seed % 7 != 0;
                    if shape.activation != ACTIVATION_SWISH && seed / 3 % 2 == 0 {
                        shape.data = Data::Integers;
                    }
                    let case = ExpandDepthwise::filled(shape, 100 + seed as u64);
                    check_batch(&machine, &case, BATCH, |i| case.image(i));
                    seed += 1;
                }
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_expand_depthwise_f16() {
    awkward(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_expand_depthwise_f32() {
    awkward(Precision::Fp32);
}

/// Blocks that walk over more than one group of channels, as large maps and batches make them: the
/// same bytes as from one group each.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn a_block_walks_over_groups_of_channels() {
    let machine = machine(expand_depthwise::IMAGE);
    for (precision, c_mid) in [(Precision::Fp16, 120), (Precision::Fp32, 64)] {
        let conv = conv(Padding::Symmetric, [7, 9], 3, 1);
        // Three groups, two tiles, 180 images: 1080 blocks' worth, two groups for a block.
        let shape = shape(precision, &conv, [180, 8, c_mid]);
        let case = ExpandDepthwise::filled(shape, 7);
        let mut buffers = Buffers::exact();
        assert_eq!(case.prepare(&mut buffers).geometry.grid, [2, 2, 180]);
        let whole = case.check(&machine);
        for i in [0, 179] {
            let single = case.image(i).run(&machine, Buffers::exact());
            for (whole, single) in whole.iter().zip(&single) {
                assert!(whole[i * single.len()..][..single.len()] == single[..], "image {i}");
            }
        }
    }
}
