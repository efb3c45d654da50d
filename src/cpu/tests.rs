//! Every kernel against the oracle, step by step, on every instruction set of this machine.
//!
//! In a layout whose buffers do not share memory every stored result stays, so that each step is
//! compared with naive f64 loops on the inputs that it had.

use super::*;
use crate::arch::{Activation, Padding, Size, Variant};
use crate::arena::{Lifetime, place};
use crate::plan::{BufferId, Op, PlanOptions};
use support::{Random, metadata, oracle, random_weights};

#[path = "../../tests/support/mod.rs"]
mod support;

/// The rounding of f32: half a unit in the last place, as a part of the value.
const U: f64 = 1.0 / (1u64 << 24) as f64;

/// Checks `found` against `exact`, where `magnitude` is the sum of the terms' magnitudes for each
/// element, through batch-norm, of `k` terms each.
///
/// A sum of `k` products in f32, in any order, is off by at most `k * U` times the sum of their
/// magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, section 4.2); 4 more
/// roundings for gate, scale, shift and skip. No activation is steeper than 1.1, and each is off by
/// at most 3e-7 of its value.
fn check(name: &str, found: &[f32], exact: &[f64], magnitude: &[f64], k: usize) {
    assert_eq!(found.len(), exact.len(), "{name}");
    for (i, ((&found, &exact), &magnitude)) in found.iter().zip(exact).zip(magnitude).enumerate() {
        let tolerance = 1.1 * (k + 4) as f64 * U * magnitude + 4e-7 * exact.abs() + 1e-30;
        let difference = (f64::from(found) - exact).abs();
        assert!(
            difference <= tolerance,
            "{name}, element {i}: expected {exact:e}, found {found:e}, tolerance {tolerance:e}"
        );
    }
}

/// `|x|`.
fn magnitudes(x: &[f64]) -> Vec<f64> {
    x.iter().map(|x| x.abs()).collect()
}

/// Batch-norm of magnitudes: `x * |scale| + |shift|`.
fn normalise_magnitudes(x: &mut [f64], scale: &[f64], shift: &[f64]) {
    oracle::normalise(x, &magnitudes(scale), &magnitudes(shift), Activation::None);
}

/// Runs one image and compares every step.
fn check_steps(isa: Isa, weights: &Arc<Weights>, size: Size) {
    let padding = weights.metadata().padding;
    let options = PlanOptions { batch: 1, size, padding, precision: Precision::Fp32 };
    let plan = Plan::new(weights.network(), options).unwrap();
    let layout = Layout::new(&plan, false);
    let mut executor =
        CpuExecutor::with(plan.clone(), weights.clone(), Some(2), isa, layout).unwrap();
    let image = Random::new(3).vector(size.pixels() * 3);
    executor.run(&image, 1).unwrap();

    let t = |id| oracle::tensor(weights, id);
    let f32s = |id: BufferId| match executor.layout.location(id) {
        Location::Input { .. } => image.clone(),
        location => executor.stored(location).to_vec(),
    };
    let get = |id: BufferId| f32s(id).iter().map(|&x| f64::from(x)).collect::<Vec<_>>();

    // The expanded map is never stored: its exact values and how far off f32 may be.
    let mut expanded: Option<(Vec<f64>, Vec<f64>)> = None;
    for (index, step) in plan.steps.iter().enumerate() {
        let name = format!("{isa:?} {} {size}: {}", plan.network.variant, step.name);
        match step.op {
            Op::Stem { conv, c_out, activation, input, output, weight, scale, shift } => {
                let (x, w) = (get(input), t(weight));
                let mut y = oracle::dense(&x, &conv, 3, c_out, &w);
                let mut m = oracle::dense(&magnitudes(&x), &conv, 3, c_out, &magnitudes(&w));
                oracle::normalise(&mut y, &t(scale), &t(shift), activation);
                normalise_magnitudes(&mut m, &t(scale), &t(shift));
                check(&name, &f32s(output), &y, &m, 27);
            }
            Op::Pointwise {
                c_in,
                activation,
                input,
                gate,
                skip,
                output,
                weight,
                scale,
                shift,
                ..
            } => {
                let (mut x, w) = (get(input), t(weight));
                if let Some(gate) = gate {
                    let gate = get(gate);
                    x.iter_mut().enumerate().for_each(|(i, x)| *x *= gate[i % c_in]);
                }
                let mut y = oracle::matrix(&x, c_in, &w);
                let mut m = oracle::matrix(&magnitudes(&x), c_in, &magnitudes(&w));
                oracle::normalise(&mut y, &t(scale), &t(shift), activation);
                normalise_magnitudes(&mut m, &t(scale), &t(shift));
                if let Some(skip) = skip {
                    for ((y, m), skip) in y.iter_mut().zip(&mut m).zip(get(skip)) {
                        *y += skip;
                        *m += skip.abs();
                    }
                }
                if plan.joins_next(index) {
                    let k = (c_in + 4) as f64;
                    let off =
                        y.iter().zip(&m).map(|(y, m)| 1.1 * k * U * m + 4e-7 * y.abs()).collect();
                    expanded = Some((y, off));
                } else {
                    check(&name, &f32s(output), &y, &m, c_in);
                }
            }
            Op::Depthwise { conv, c, activation, input, output, squeeze, weight, scale, shift } => {
                let w = t(weight);
                let (x, off) = expanded.take().unwrap_or_else(|| (get(input), Vec::new()));
                let terms = conv.k * conv.k;
                // Put the input's error in the same unit as the terms' magnitudes.
                let mut m = magnitudes(&x);
                for (m, off) in m.iter_mut().zip(off) {
                    *m += off / ((terms + 4) as f64 * U);
                }
                let mut y = oracle::depthwise(&x, &conv, c, &w);
                let mut m = oracle::depthwise(&m, &conv, c, &magnitudes(&w));
                oracle::normalise(&mut y, &t(scale), &t(shift), activation);
                normalise_magnitudes(&mut m, &t(scale), &t(shift));
                check(&name, &f32s(output), &y, &m, terms);
                if let Some(squeeze) = squeeze {
                    let stored = get(output);
                    let m = oracle::mean(&magnitudes(&stored), c);
                    // Sums of a row, of a band's rows, and of the bands.
                    let roundings = conv.output.w + 2 * conv.output.h;
                    check(&name, &f32s(squeeze), &oracle::mean(&stored, c), &m, roundings);
                }
            }
            Op::SqueezeExcite { c, c_se, squeeze, gate, .. } => {
                let mut buffers = vec![Vec::new(); plan.buffers.len()];
                buffers[squeeze.0 as usize] = get(squeeze);
                let (y, _) = oracle::step(&step.op, weights, &mut buffers);
                // All terms are of order one: weights and biases by their limits, and the sigmoid
                // is at most a quarter as steep as its argument.
                let m = vec![8.0; c];
                check(&name, &f32s(gate), &y, &m, c_se);
            }
            Op::Pool { size, c, input, output } => {
                let x = get(input);
                let m = oracle::mean(&magnitudes(&x), c);
                check(&name, &f32s(output), &oracle::mean(&x, c), &m, size.w + size.h);
            }
            Op::Classifier { c_in, input, output, weight, bias, .. } => {
                let (x, w) = (get(input), t(weight));
                let mut y = oracle::matrix(&x, c_in, &w);
                let mut m = oracle::matrix(&magnitudes(&x), c_in, &magnitudes(&w));
                for ((y, m), bias) in y.iter_mut().zip(&mut m).zip(t(bias)) {
                    *y += bias;
                    *m += bias.abs();
                }
                check(&name, &f32s(output), &y, &m, c_in);
            }
        }
    }
}

#[test]
fn every_step_agrees_with_the_oracle() {
    // B2 has channels that are no multiple of 16 everywhere: 1408 to 8.
    for (variant, padding, precision) in [
        (Variant::B0, Padding::Symmetric, Precision::Fp32),
        (Variant::B2, Padding::SameDynamic, Precision::Fp16),
        (Variant::Lite0, Padding::SameFrozen(Size::square(224)), Precision::Fp32),
    ] {
        let weights = Arc::new(random_weights(&metadata(variant, padding, precision), 5));
        for isa in Isa::available() {
            for size in [Size { h: 33, w: 50 }, Size { h: 1, w: 1 }, Size { h: 7, w: 64 }] {
                check_steps(isa, &weights, size);
            }
        }
    }
}

#[test]
fn activations_are_exact_to_a_few_roundings() {
    for isa in Isa::available() {
        isa.dispatch(activation::tests::Sweep);
    }
}

#[test]
fn stored_buffers_that_live_together_never_overlap() {
    for variant in [Variant::B0, Variant::B7, Variant::Lite4] {
        let network = crate::arch::Network::new(variant, 1000);
        let options = PlanOptions {
            batch: 2,
            size: variant.native(),
            padding: Padding::Symmetric,
            precision: Precision::Fp32,
        };
        let plan = Plan::new(&network, options).unwrap();
        let layout = Layout::new(&plan, true);
        // Buffers that each step touches at once, an expand step together with its depthwise step.
        let mut needed = Vec::new();
        for (index, step) in plan.steps.iter().enumerate() {
            needed.extend(step.op.reads());
            needed.extend(step.op.writes());
            if plan.joins_next(index) {
                continue;
            }
            let ranges: Vec<_> = needed
                .drain(..)
                .filter_map(|id| match layout.location(id) {
                    Location::Arena { start, image_elems } => {
                        Some((id, start, start + 2 * image_elems))
                    }
                    _ => None,
                })
                .collect();
            for (i, a) in ranges.iter().enumerate() {
                assert!(a.2 <= layout.elems);
                for b in &ranges[i + 1..] {
                    let apart = a.2 <= b.1 || b.2 <= a.1;
                    assert!(a.0 == b.0 || apart, "{variant}: {} overlaps", step.name);
                }
            }
        }
        // No more than steps that run one by one would need.
        let stored = plan.buffers.iter().enumerate().filter(|(i, _)| *i != plan.input.0 as usize);
        let lifetimes = stored.map(|(_, buffer)| Lifetime {
            bytes: buffer.bytes(),
            first: buffer.first_step,
            last: buffer.last_step,
        });
        let (_, one_by_one) = place(&lifetimes.collect::<Vec<_>>(), 256);
        assert!(layout.elems * size_of::<f32>() <= one_by_one);
    }
}
