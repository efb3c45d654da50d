//! Every kernel, as nvcc compiled it, on the emulator with all its checks: over all layer shapes of B0 and the awkward
//! ones, against naive loops in f64. `tests/support/emulated/` has the loops and derives the tolerances.

mod support;

use effnet::arch::{ConvGeometry, Network, NetworkGeometry, Padding, Size, Variant};
use effnet::emulator::Module;
use effnet::kernels::params::{ACTIVATION_NONE, ACTIVATION_RELU6, ACTIVATION_SWISH};
use effnet::kernels::{depthwise, pointwise, squeeze_excite};
use effnet::weights::Precision;
use std::collections::HashSet;
use support::emulated::{
    Buffers, Case, Data, Depthwise, Pointwise, SqueezeExcite, images_or_skip, module,
};

const BATCH: usize = 3;
const CHANNELS: [usize; 5] = [8, 24, 40, 72, 232];
/// One pixel, one tile, and more than one tile with a last one that is not full.
const MAPS: [[usize; 2]; 3] = [[1, 1], [7, 7], [6, 13]];
const ACTIVATIONS: [i32; 3] = [ACTIVATION_NONE, ACTIVATION_RELU6, ACTIVATION_SWISH];
const PADDINGS: [Padding; 2] = [Padding::Symmetric, Padding::SameDynamic];

fn b0(padding: Padding) -> (Network, NetworkGeometry) {
    let network = Network::new(Variant::B0, 1000);
    let geometry = NetworkGeometry::new(&network, Size::square(224), padding).expect("224 works");
    (network, geometry)
}

/// What B0 asks of the depthwise kernel, each shape once.
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
    let Some(_) = images_or_skip() else { return };
    let module = module(depthwise::IMAGE);
    let cases = b0_depthwise(precision);
    // Twelve distinct layers, and four more where SAME differs from symmetric padding.
    assert_eq!(cases.len(), 16, "{:#?}", cases.iter().map(Case::describe).collect::<Vec<_>>());
    for case in cases {
        case.check(&module);
    }
}

#[test]
fn depthwise_f16_over_the_layers_of_b0() {
    depthwise_of_b0(Precision::Fp16);
}

#[test]
fn depthwise_f32_over_the_layers_of_b0() {
    depthwise_of_b0(Precision::Fp32);
}

/// Runs a case as a whole, and image by image: the bytes must not depend on the batch.
fn check_batch<C: Case>(module: &Module, case: &C, n: usize, image: impl Fn(usize) -> C) {
    let whole = case.check(module);
    for i in 0..n {
        let single = image(i).run(module, Buffers::exact());
        for (whole, single) in whole.iter().zip(&single) {
            let part = &whole[i * single.len()..][..single.len()];
            assert!(part == single, "{}: image {i} depends on its batch", case.describe());
        }
    }
}

/// Every map, window, stride, padding and channel count; the activation, the squeeze and the kind of data go round.
fn awkward_depthwise(precision: Precision) {
    let Some(_) = images_or_skip() else { return };
    let module = module(depthwise::IMAGE);
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
                        if shape.activation != ACTIVATION_SWISH && seed % 5 < 3 {
                            shape.data = Data::Integers;
                        }
                        let case = Depthwise::filled(shape, 100 + seed as u64);
                        check_batch(&module, &case, BATCH, |i| case.image(i));
                        seed += 1;
                    }
                }
            }
        }
    }
}

/// A convolution by itself, by the formulas of its padding.
fn conv(padding: Padding, [h, w]: [usize; 2], k: usize, stride: usize) -> ConvGeometry {
    let side = |x: usize| match padding {
        Padding::Symmetric => (k / 2, (x + k / 2 * 2 - k) / stride + 1),
        _ => {
            let out = x.div_ceil(stride);
            (((out - 1) * stride + k).saturating_sub(x) / 2, out)
        }
    };
    let ((pad_top, h_out), (pad_left, w_out)) = (side(h), side(w));
    let (input, output) = (Size { h, w }, Size { h: h_out, w: w_out });
    ConvGeometry { k, stride, pad_top, pad_left, input, output }
}

#[test]
fn awkward_depthwise_f16() {
    awkward_depthwise(Precision::Fp16);
}

#[test]
fn awkward_depthwise_f32() {
    awkward_depthwise(Precision::Fp32);
}

/// Each squeeze-excite of B0 once, then channels from fewer than a warp to more than a block, with one to many tiles,
/// and widths of the squeeze of every remainder that unrolled loops have.
fn squeeze_excite_shapes() -> Vec<([usize; 3], [usize; 2])> {
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes = Vec::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let (h, w) = (conv.output.h as i32, conv.output.w as i32);
        let tiles = depthwise::tiles(h, w) as usize;
        let c_se = block.c_se.expect("B0 has squeeze-excite");
        let shape = ([1, tiles, conv.output.pixels()], [block.c_mid, c_se]);
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    for (i, c) in CHANNELS.into_iter().chain([1, 33, 260, 513]).enumerate() {
        for (j, (tiles, pixels)) in [(1, 1), (1, 49), (2, 78), (7, 400)].into_iter().enumerate() {
            shapes.push(([BATCH, tiles, pixels], [c, [1, 2, 3, 4, 6, 10, 17][(i + j) % 7]]));
        }
    }
    shapes
}

fn squeeze_excite_gates(precision: Precision) {
    let Some(_) = images_or_skip() else { return };
    let module = module(squeeze_excite::IMAGE);
    for (seed, (image, channels)) in squeeze_excite_shapes().into_iter().enumerate() {
        let case = SqueezeExcite::new(precision, image, channels, seed as u64);
        check_batch(&module, &case, image[0], |i| case.image(i));
    }
}

#[test]
fn squeeze_excite_f16() {
    squeeze_excite_gates(Precision::Fp16);
}

#[test]
fn squeeze_excite_f32() {
    squeeze_excite_gates(Precision::Fp32);
}

/// What B0 asks of the pointwise kernel, each shape once: expand, project with gate and skip, head convolution, and
/// the classifier, whose one pixel is the pooled image.
fn b0_pointwise() -> Vec<Pointwise> {
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes = Vec::new();
    let mut add = |shape: ([usize; 4], i32, [bool; 2])| {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    };
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        if block.has_expand() {
            let shape = [1, conv.input.pixels(), block.c_in, block.c_mid];
            add((shape, ACTIVATION_SWISH, [false, false]));
        }
        let shape = [1, conv.output.pixels(), block.c_mid, block.c_out];
        add((shape, ACTIVATION_NONE, [true, block.skip]));
    }
    let head = [1, geometry.last().pixels(), network.c_last(), network.c_head];
    add((head, ACTIVATION_SWISH, [false, false]));
    add(([1, 1, network.c_head, network.classes], ACTIVATION_NONE, [false, false]));
    let cases = shapes.into_iter().enumerate();
    cases.map(|(i, (s, a, g))| Pointwise::new(Data::Uniform, s, a, g, i as u64)).collect()
}

/// A part of the layers for each test, so that they share the cores.
fn pointwise_of_b0(part: usize) {
    let Some(_) = images_or_skip() else { return };
    let module = module(pointwise::IMAGE);
    for case in b0_pointwise().into_iter().skip(part).step_by(2) {
        case.check(&module);
    }
}

#[test]
fn pointwise_f16_over_the_even_layers_of_b0() {
    pointwise_of_b0(0);
}

#[test]
fn pointwise_f16_over_the_odd_layers_of_b0() {
    pointwise_of_b0(1);
}

/// Every pair of channel counts and every map; activation, gate, skip and the kind of data go round.
#[test]
fn awkward_pointwise_f16() {
    let Some(_) = images_or_skip() else { return };
    let module = module(pointwise::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c_in in CHANNELS {
            for c_out in CHANNELS {
                let activation = ACTIVATIONS[seed % 3];
                let extras = [seed / 3 % 2 == 0, seed / 6 % 2 == 0];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let shape = [BATCH, h * w, c_in, c_out];
                let case = Pointwise::new(data, shape, activation, extras, 200 + seed as u64);
                check_batch(&module, &case, BATCH, |i| case.image(i));
                seed += 1;
            }
        }
    }
}

/// A shape that is not square, whose output has two channels more than a tile.
#[test]
fn pointwise_f16_with_every_activation_gate_and_skip() {
    let Some(_) = images_or_skip() else { return };
    let module = module(pointwise::IMAGE);
    for activation in ACTIVATIONS {
        for extras in [[false, false], [false, true], [true, false], [true, true]] {
            for data in [Data::Uniform, Data::Integers] {
                if data == Data::Uniform || activation != ACTIVATION_SWISH {
                    let case = Pointwise::new(data, [2, 35, 56, 66], activation, extras, 7);
                    check_batch(&module, &case, 2, |i| case.image(i));
                }
            }
        }
    }
}
