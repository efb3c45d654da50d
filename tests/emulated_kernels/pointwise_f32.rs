//! `kernels/pointwise_f32.cu`.

use super::*;
use crate::support::emulated::{Data, PointwiseF32, machine};
use effnet::kernels::{Compute, PointwiseShape, pointwise_f32};
use std::collections::HashSet;

const COMPUTES: [Compute; 2] = [Compute::Fp32, Compute::Tf32];
/// Batch-norm, gate, skip.
const EXTRAS: [[bool; 3]; 5] = [
    [true, false, false],
    [true, true, true],
    [true, true, false],
    [true, false, true],
    [false, false, false],
];

/// Pointwise launches of a network, each shape once: expand, project with gate and skip, and the
/// head convolution, which is pooled and not stored.
fn layers(variant: Variant, side: usize) -> Vec<([usize; 4], i32, [bool; 3], bool)> {
    let network = Network::new(variant, 1000);
    let size = Size::square(side);
    let geometry = NetworkGeometry::new(&network, size, Padding::Symmetric).expect("it works");
    let activation =
        if variant.to_string().contains("lite") { ACTIVATION_RELU6 } else { ACTIVATION_SWISH };
    let mut layers = Vec::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        if block.has_expand() {
            let shape = [1, conv.input.pixels(), block.c_in, block.c_mid];
            layers.push((shape, activation, [true, false, false], false));
        }
        let shape = [1, conv.output.pixels(), block.c_mid, block.c_out];
        let gate = activation == ACTIVATION_SWISH;
        layers.push((shape, ACTIVATION_NONE, [true, gate, block.skip], false));
    }
    let head = [1, geometry.last().pixels(), network.c_last(), network.c_head];
    layers.push((head, activation, [true, false, false], true));
    let mut seen = HashSet::new();
    layers.retain(|layer| seen.insert(*layer));
    layers
}

fn check_layers(compute: Compute, layers: Vec<([usize; 4], i32, [bool; 3], bool)>) {
    let machine = machine(pointwise_f32::IMAGE);
    for (i, (shape, activation, extras, pooled)) in layers.into_iter().enumerate() {
        let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, i as u64);
        PointwiseF32 { pooled, stored: !pooled, ..case }.check(&machine);
    }
}

/// A part of the layers for each test, so that they share the cores.
fn part_of_b0(compute: Compute, part: usize) {
    check_layers(compute, layers(Variant::B0, 224).into_iter().skip(part).step_by(2).collect());
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_even_layers_of_b0() {
    part_of_b0(Compute::Fp32, 0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_odd_layers_of_b0() {
    part_of_b0(Compute::Fp32, 1);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_even_layers_of_b0() {
    part_of_b0(Compute::Tf32, 0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_odd_layers_of_b0() {
    part_of_b0(Compute::Tf32, 1);
}

/// The channels of B3 and Lite4 at a small size: widths such as 136, 232, 816, 1392, 1632 and 2304.
fn odd_layers(compute: Compute) {
    check_layers(compute, layers(Variant::B3, 64));
    check_layers(compute, layers(Variant::Lite4, 64));
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_over_the_odd_layers_of_b3_and_lite4() {
    odd_layers(Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_tf32_over_the_odd_layers_of_b3_and_lite4() {
    odd_layers(Compute::Tf32);
}

/// Every pair of channel counts and every map; activation, parts, the pool and the kind of data go
/// round.
fn awkward_pointwise(compute: Compute) {
    let machine = machine(pointwise_f32::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c_in in CHANNELS {
            for c_out in CHANNELS {
                let activation = ACTIVATIONS[seed % 3];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let shape = [BATCH, h * w, c_in, c_out];
                let extras = EXTRAS[seed / 3 % 5];
                let mut case =
                    PointwiseF32::new(compute, data, shape, activation, extras, seed as u64);
                case.pooled = seed % 4 == 1;
                case.stored = !case.pooled || seed % 8 == 1;
                check_batch(&machine, &case, BATCH, |i| case.image(i));
                seed += 1;
            }
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_pointwise_f32() {
    awkward_pointwise(Compute::Fp32);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_pointwise_tf32() {
    awkward_pointwise(Compute::Tf32);
}

/// A shape that ends within a tile both ways, in one chunk and a part of the next.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f32_and_tf32_with_every_activation_and_part() {
    let machine = machine(pointwise_f32::IMAGE);
    for compute in COMPUTES {
        for activation in ACTIVATIONS {
            for parts in 0..16 {
                let [batch_norm, gate, skip, pooled] = [1, 2, 4, 8].map(|bit| parts & bit != 0);
                for data in [Data::Uniform, Data::Integers] {
                    if data == Data::Integers && activation == ACTIVATION_SWISH {
                        continue;
                    }
                    let (shape, extras) = ([2, 19, 136, 40], [batch_norm, gate, skip]);
                    let case = PointwiseF32::new(compute, data, shape, activation, extras, parts);
                    let case = PointwiseF32 { pooled, ..case };
                    check_batch(&machine, &case, 2, |i| case.image(i));
                }
            }
        }
    }
}

/// Chunks of their own blocks give the bytes of chunks that one block adds.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn split_chunks_give_the_same_bytes() {
    let machine = machine(pointwise_f32::IMAGE);
    let shapes =
        [[1, 49, 1152, 320], [2, 49, 232, 72], [3, 1, 136, 24], [1, 5, 128, 8], [1, 20, 8, 8]];
    for compute in COMPUTES {
        for (i, shape) in shapes.into_iter().enumerate() {
            for pooled in [false, true] {
                let (activation, extras) = (ACTIVATIONS[i % 3], EXTRAS[i]);
                let case =
                    PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, i as u64);
                let case = |split| PointwiseF32 { split: Some(split), pooled, ..case.clone() };
                let split = case(true).check(&machine);
                assert!(split == case(false).check(&machine), "{}", case(true).describe());
            }
        }
    }
}

/// A batch large enough for the largest tiles, and one image of it in smaller ones: that image's
/// bytes.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn tiles_of_every_shape_give_the_same_bytes() {
    let machine = machine(pointwise_f32::IMAGE);
    let shapes = [
        ([55, 100, 136, 72], [64, 32], [16, 32]),
        ([45, 100, 136, 120], [64, 64], [16, 32]),
        ([2, 1000, 136, 72], [32, 32], [16, 32]),
    ];
    for (shape, batch_tile, image_tile) in shapes {
        for compute in COMPUTES {
            let (activation, extras) = (ACTIVATION_SWISH, [true, true, true]);
            let case = PointwiseF32::new(compute, Data::Uniform, shape, activation, extras, 5);
            let single = case.image(shape[0] - 1);
            let tile = |case: &PointwiseF32| {
                let tiling = pointwise_f32::tiling(case.shape());
                [tiling.tile_rows, tiling.tile_cols]
            };
            assert_eq!([tile(&case), tile(&single)], [batch_tile, image_tile]);
            let whole = case.run(&machine, Buffers::exact());
            let alone = single.check(&machine);
            assert!(whole[0].ends_with(&alone[0]), "{}", case.describe());
        }
    }
}

/// Every layer of B0 at batch 1 has a block for each multiprocessor of a large GPU, or nearly.
#[test]
fn pointwise_f32_has_enough_blocks() {
    for ([n, pixels, c_in, c_out], _, _, pooled) in layers(Variant::B0, 224) {
        let [rows, pixels, c_in, c_out] = [n * pixels, pixels, c_in, c_out].map(|x| x as i32);
        let tiling = pointwise_f32::tiling(PointwiseShape { rows, pixels, c_in, c_out, pooled });
        let chunks = if tiling.split { tiling.chunks } else { 1 };
        let blocks = tiling.row_tiles * tiling.col_tiles * chunks;
        println!("{pixels} pixels, {c_in} -> {c_out}: {blocks} blocks, {tiling:?}");
        assert!(blocks >= 78, "{pixels} pixels, {c_in} -> {c_out}: {blocks} blocks, {tiling:?}");
    }
}
