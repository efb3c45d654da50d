//! `kernels/head.cu`.

use super::*;
use crate::support::emulated::{Classifier, Data, Pool, TopK, machine, top_k_outputs};
use effnet::kernels::head;
use effnet::weights::Precision;

// --- Pool ---

/// The squeezes of B0 and its global average pool, then awkward ones; the largest map of B3 and B7
/// for a tile of more than 64 pixels.
fn pool_sums(precision: Precision) {
    let machine = machine(head::IMAGE);
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes = vec![[1, geometry.last().pixels(), network.c_head], [1, 100 * 100, 8]];
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let shape = [1, conv.output.pixels(), block.c_mid];
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    }
    for c in CHANNELS {
        shapes.extend(MAPS.map(|[h, w]| [BATCH, h * w, c]));
    }
    for (seed, shape) in shapes.into_iter().enumerate() {
        let data = [Data::Uniform, Data::Integers][seed % 2];
        let case = Pool::new(precision, shape, data, seed as u64);
        match shape[0] {
            1 => drop(case.check(&machine)),
            n => check_batch(&machine, &case, n, |i| case.image(i)),
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pool_f16() {
    pool_sums(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pool_f32() {
    pool_sums(Precision::Fp32);
}

// --- Classifier ---

/// B0's classifier as a whole, then channels of less than a warp's turn to several turns, numbers
/// of classes that are no multiple of a block's, and batches of one and a part of four.
fn classifier_logits(precision: Precision) {
    let machine = machine(head::IMAGE);
    let b0 = Classifier::new(precision, [1, 1, 49], [1280, 1000], Data::Uniform, 1);
    b0.check(&machine);
    let mut seed = 2;
    for (i, c) in CHANNELS.into_iter().chain([256, 1032, 1536, 2560]).enumerate() {
        for (j, [tiles, pixels]) in [[1, 1], [2, 64], [7, 400]].into_iter().enumerate() {
            let classes = [1, 7, 8, 10, 17][(i + j) % 5];
            let n = [BATCH, 1, 6][(i + j) % 3];
            let data = if pixels == 64 { Data::Integers } else { Data::Uniform };
            let case = Classifier::new(precision, [n, tiles, pixels], [c, classes], data, seed);
            check_batch(&machine, &case, n, |i| case.image(i));
            seed += 1;
        }
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f16() {
    classifier_logits(Precision::Fp16);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn classifier_f32() {
    classifier_logits(Precision::Fp32);
}

// --- Softmax and the best classes ---

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn top_k_finds_the_best_classes_and_their_probabilities() {
    let machine = machine(head::IMAGE);
    for (seed, (shape, distinct)) in [
        ([BATCH, 1000, 5], None),
        ([1, 1000, 32], None),
        ([BATCH, 1000, 40], Some(7)),
        ([BATCH, 1, 1], None),
        ([BATCH, 257, 257], Some(3)),
        ([2, 31, 31], None),
        ([1, 2000, 1024], Some(100)),
        ([1, 21_841, 5], None),
        ([2, 300, 300], Some(1)),
    ]
    .into_iter()
    .enumerate()
    {
        let case = TopK::new(shape, distinct, seed as u64);
        check_batch(&machine, &case, shape[0], |i| case.image(i));
    }
}

/// Zeros of both signs are equal, infinities are ordered and share everything, and a NaN is the
/// first.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn top_k_orders_zeros_infinities_and_nans() {
    let machine = machine(head::IMAGE);
    let (inf, nan) = (f32::INFINITY, f32::NAN);
    let cases = [
        (vec![1.0, 3.0, -0.0, 3.0, 0.0], 5, vec![1, 3, 0, 2, 4]),
        (vec![inf, 0.0, -inf, inf], 4, vec![0, 3, 1, 2]),
        (vec![-inf, -inf], 2, vec![0, 1]),
        (vec![0.0, -1.0, -nan, inf, nan], 5, vec![2, 4, 3, 0, 1]),
        (vec![-nan], 1, vec![0]),
        (vec![1000.0, 1001.0, -1000.0], 3, vec![1, 0, 2]),
        (vec![f32::MIN, f32::MAX], 2, vec![1, 0]),
    ];
    for (logits, k, expected) in cases {
        let case = TopK { n: 1, classes: logits.len(), k, logits: logits.clone() };
        let outputs = case.run(&machine, Buffers::exact());
        let (classes, top_logits, probabilities) = top_k_outputs(&outputs);
        assert_eq!(classes, expected, "{logits:?}");
        for (class, logit) in classes.iter().zip(top_logits) {
            assert_eq!(logit.to_bits(), logits[*class as usize].to_bits(), "{logits:?}");
        }
        if logits.iter().any(|logit| logit.is_nan()) {
            assert!(probabilities.iter().all(|p| p.is_nan()), "{logits:?}: {probabilities:?}");
            continue;
        }
        let sum: f32 = probabilities.iter().sum();
        assert!((sum - 1.0).abs() < 1e-6, "{logits:?}: {probabilities:?}");
        if logits.contains(&inf) {
            assert_eq!(probabilities, [0.5, 0.5, 0.0, 0.0]);
        }
    }
}
