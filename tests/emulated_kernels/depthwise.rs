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
                let mut shape = depthwise_shape(precision, conv, [1, block.c_mid]);
                shape.c_se = squeeze_of(precision, block.c_se.expect("B0 has squeeze-excite"));
                cases.push(Depthwise::filled(shape, seen.len() as u64));
            }
        }
    }
    cases
}

/// Rows of the squeeze, which the f16 kernels alone compute.
fn squeeze_of(precision: Precision, c_se: usize) -> usize {
    match precision {
        Precision::Fp16 => c_se,
        Precision::Fp32 => 0,
    }
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
                let mut shape = depthwise_shape(precision, conv, [1, block.c_mid]);
                shape.c_se = squeeze_of(precision, block.c_se.unwrap_or(0));
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
                        shape.c_se = squeeze_of(precision, [0, 1, 6, 8, 130][seed % 5]);
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

/// Zeros of the diagonal matrix times an infinity are NaN: in its octet of channels, and nowhere else.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn an_infinity_in_x_stays_in_its_octet() {
    let machine = machine(depthwise::IMAGE);
    for (k, stride) in [(3, 1), (3, 2), (5, 1), (5, 2)] {
        let conv = conv(Padding::SameDynamic, [14, 19], k, stride);
        let mut shape = depthwise_shape(Precision::Fp16, &conv, [1, 40]);
        shape.activation = ACTIVATION_NONE;
        (shape.squeeze, shape.c_se) = (false, 0);
        let whole = Depthwise::filled(shape, 7);
        let mut hurt = whole.clone();
        hurt.input[(9 * 19 + 12) * 40 + 21] = f32::INFINITY;
        let outputs = [&hurt, &whole].map(|case| case.run(&machine, Buffers::exact()));
        let bytes = [&outputs[0][0][..], &outputs[1][0][..]];
        let what = whole.describe();
        an_infinity_stays_where_it_is_seen(&what, &conv, bytes, 40, [9, 12], 16..24);
    }
}

/// So many tiles that a slice of the squeeze goes on over groups of channels, the last part empty,
/// and maps whose last tiles are one pixel wide or high.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn long_slices_of_the_squeeze() {
    let machine = machine(depthwise::IMAGE);
    for ([h, w], c, seed) in [([33, 81], 72, 0), ([57, 97], 40, 1), ([9, 200], 264, 2)] {
        let [k, stride] = [[3, 1], [5, 1], [5, 2]][seed];
        let conv = conv(Padding::SameDynamic, [h, w], k, stride);
        let mut shape = depthwise_shape(Precision::Fp16, &conv, [2, c]);
        shape.squeeze = seed == 1;
        shape.c_se = 10;
        let case = Depthwise::filled(shape, seed as u64);
        check_batch(&machine, &case, 2, |i| case.image(i));
    }
}

/// Nothing of a channel reaches another, as long as all values are finite: the largest f16 numbers
/// in all channels but one leave that one exact.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn finite_neighbours_do_not_reach_a_channel() {
    let machine = machine(depthwise::IMAGE);
    for [k, stride] in WINDOWS {
        let conv = conv(Padding::Symmetric, [7, 9], k, stride);
        let mut shape = depthwise_shape(Precision::Fp16, &conv, [1, 40]);
        (shape.data, shape.activation) = (Data::Integers, ACTIVATION_NONE);
        (shape.squeeze, shape.batch_norm) = (false, false);
        let plain = Depthwise::filled(shape, k as u64);
        let mut loud = plain.clone();
        for (i, x) in loud.input.iter_mut().enumerate().filter(|(i, _)| i % 40 != 11) {
            *x = [65504.0, -65504.0][i % 2];
        }
        for (i, w) in loud.weight.iter_mut().enumerate().filter(|(i, _)| i % 40 != 11) {
            *w = [0.5, 1.0][i % 3 % 2];
        }
        let channel = |case: &Depthwise| -> Vec<[u8; 2]> {
            let output = &case.run(&machine, Buffers::exact())[0];
            output.chunks(80).map(|pixel| [pixel[22], pixel[23]]).collect()
        };
        assert_eq!(channel(&plain), channel(&loud), "k{k}s{stride}");
        plain.check(&machine);
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
            let mut shape = Depthwise::shape(precision, [k, stride], [9, 14], output, pad, [2, 40]);
            shape.c_se = squeeze_of(precision, 5);
            let case = Depthwise::filled(shape, k as u64);
            check_batch(&machine, &case, 2, |i| case.image(i));
        }
    }
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// Pads up to the k - 1 that the launch module allows, in both parities, so that a stride of 2 also
    /// brings every tap to every border; one to five tiles, the last part empty; channels of part-empty
    /// groups.
    fn depthwise_shapes(precision: Precision, k: usize, stride: usize) -> Vec<Box<dyn Case>> {
        let plain = [
            (true, [k / 2, k / 2], [2, 72], [9 * stride, 8 * stride]),
            (false, [0, 1], [1, 8], [1, 1]),
        ];
        let wide = [
            (true, [k - 1, k - 1], [2, 8], [3, 4]),
            (false, [k - 2, k - 1], [2, 40], [3, 3]),
            (true, [k - 1, k - 2], [1, 8], [4, 3]),
            (false, [k - 2, k - 2], [2, 8], [4, 4]),
        ];
        // So many tiles that a block of f16 has two groups of channels, the second part empty.
        let long = (false, [0, 0], [1, 40], [1, 129 * 16 * stride]);
        let long = (precision == Precision::Fp16).then_some(long);
        let shapes = plain.into_iter().chain(wide).chain(long).enumerate();
        shapes
            .map(|(i, (squeeze, pad, n_c, input))| -> Box<dyn Case> {
                // The last window is the last that starts within the input.
                let output = [0, 1].map(|axis| (input[axis] - 1 + pad[axis]) / stride + 1);
                let mut shape = Depthwise::shape(precision, [k, stride], input, output, pad, n_c);
                shape.squeeze = squeeze;
                shape.c_se = squeeze_of(precision, [5, 0, 0, 3, 4, 0, 2][i]);
                shape.activation = [ACTIVATION_SWISH, ACTIVATION_NONE, ACTIVATION_RELU6][i % 3];
                Box::new(Depthwise::filled(shape, i as u64))
            })
            .collect()
    }

    fn depthwise_subjects(precision: Precision) -> Vec<Subject> {
        let windows = [(3, 1), (3, 2), (5, 1), (5, 2)];
        let first = if precision == Precision::Fp16 { 0 } else { 4 };
        (0..4)
            .map(|i| {
                let (k, stride) = windows[i];
                let shapes = depthwise_shapes(precision, k, stride);
                (depthwise::IMAGE, depthwise::ENTRIES[first + i], shapes)
            })
            .collect()
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn depthwise_f16_has_no_report_under_adversarial_schedules() {
        no_report(depthwise_subjects(Precision::Fp16));
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn depthwise_f32_has_no_report_under_adversarial_schedules() {
        no_report(depthwise_subjects(Precision::Fp32));
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_depthwise_f16_are_reported() {
        all_are_reported(depthwise_subjects(Precision::Fp16), 95.0);
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_depthwise_f32_are_reported() {
        all_are_reported(depthwise_subjects(Precision::Fp32), 95.0);
    }
}
