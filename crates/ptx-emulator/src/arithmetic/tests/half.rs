//! f16 and bf16 against the `half` crate and f64, one and two in a register.

use ::half::{bf16, f16};

use super::*;

fn of16(bits: u64) -> f64 {
    f16::from_bits(bits as u16).to_f64()
}

fn of_brain(bits: u64) -> f64 {
    bf16::from_bits(bits as u16).to_f64()
}

/// The nearest f16 by a search among its neighbours, ties to even. `x` is exact.
fn nearest(x: f64, value: fn(u64) -> f64, infinity: u64) -> u64 {
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = u64::from(x.is_sign_negative()) << 15;
    let x = x.abs();
    // The largest of the format not above x.
    let (mut low, mut high) = (0, infinity);
    while high - low > 1 {
        let middle = (low + high) / 2;
        if value(middle) <= x { low = middle } else { high = middle }
    }
    // The next power of two stands for infinity.
    let last = value(infinity - 1);
    let above = if high == infinity { last + (last - value(infinity - 2)) } else { value(high) };
    let (down, up) = (x - value(low), above - x);
    let magnitude =
        if x == f64::INFINITY || up < down || up == down && high & 1 == 0 { high } else { low };
    sign | magnitude
}

fn nearest16(x: f64) -> u64 {
    nearest(x, of16, 0x7c00)
}

fn nearest_brain(x: f64) -> u64 {
    nearest(x, of_brain, 0x7f80)
}

/// A form in one half, and in two with other operands beside.
fn both<const N: usize>(form: &str, cases: &[[u64; N]], expected: impl Fn([u64; N]) -> u64) {
    check(form, cases, |case| expected(case.map(|x| x & 0xffff)));
    let two: Vec<[u64; N]> = cases
        .iter()
        .zip(cases.iter().rev())
        .map(|(low, high)| std::array::from_fn(|k| low[k] & 0xffff | (high[k] & 0xffff) << 16))
        .collect();
    check(&format!("{form}x2"), &two, |case| {
        expected(case.map(|x| x & 0xffff)) | expected(case.map(|x| x >> 16)) << 16
    });
}

/// Products and sums of f16 are exact in f64; of a fused operation the sum may not be, but its loss
/// is far below what decides here, but for ties, which `exact` breaks.
fn fused(a: f64, b: f64, c: f64, value: fn(f64) -> u64) -> u64 {
    let sum = a * b + c;
    if !sum.is_finite() || sum == 0.0 {
        return value(sum);
    }
    // TwoSum's loss pushes the sum off a tie.
    let part = sum - a * b;
    let loss = (a * b - (sum - part)) + (c - part);
    let pushed = match loss.partial_cmp(&0.0) {
        Some(std::cmp::Ordering::Less) => sum.next_down(),
        Some(std::cmp::Ordering::Greater) => sum.next_up(),
        _ => sum,
    };
    value(pushed)
}

fn halves<const N: usize>(random: usize) -> Vec<[u64; N]> {
    cases(&HALVES, random)
}

const BRAINS: [u64; 16] = [
    0, 0x8000, 0x3f80, 0xbf80, 1, 0x8001, 0x007f, 0x0080, 0x3f81, 0x3f7f, 0x7f7f, 0xff7f, 0x7f80,
    0xff80, 0x7fc0, 0xffa1,
];

#[test]
fn f16_arithmetic() {
    both("add.f16", &halves(3000), |[a, b]| nearest16(of16(a) + of16(b)));
    both("add.rn.f16", &halves(100), |[a, b]| nearest16(of16(a) + of16(b)));
    both("sub.f16", &halves(3000), |[a, b]| nearest16(of16(a) - of16(b)));
    both("mul.rn.f16", &halves(3000), |[a, b]| nearest16(of16(a) * of16(b)));
    both("fma.rn.f16", &halves(6000), |[a, b, c]| fused(of16(a), of16(b), of16(c), nearest16));
    both("neg.f16", &halves(100), |[a]| a ^ 0x8000);
    both("abs.f16", &halves(100), |[a]| a & 0x7fff);
}

/// Cases which two roundings get wrong.
#[test]
fn f16_fused_is_rounded_once() {
    let mut random = Random(4);
    let mut cases = Vec::new();
    let mut harmful = 0;
    for _ in 0..100_000 {
        // A product close to 1, and a sum whose last place is worth 2, at several scales.
        let value = random.next();
        let x = 1.0 + (value & 0x3ff) as f64 / 1024.0;
        let scale = 2.0_f64.powi((value >> 10 & 7) as i32 - 6);
        let a = u64::from(f16::from_f64(x).to_bits());
        let b = u64::from(f16::from_f64(scale / x).to_bits()) | value >> 16 & 0x8000;
        let c = f16::from_f64(2048.0 * scale).to_bits() as u64 | value >> 32 & 0x83ff;
        // In f32 first, the product exact and the sum rounded.
        let twice = f16::from_f32((of16(a) * of16(b) + of16(c)) as f32).to_bits();
        let once = fused(of16(a), of16(b), of16(c), nearest16);
        if u64::from(twice) != once {
            harmful += 1;
            cases.push([a, b, c]);
        }
    }
    assert!(harmful > 20, "the operands do not try double rounding: {harmful}");
    both("fma.rn.f16", &cases, |[a, b, c]| fused(of16(a), of16(b), of16(c), nearest16));
}

#[test]
fn bf16_arithmetic() {
    let two: Vec<[u64; 2]> = cases(&BRAINS, 3000);
    both("add.bf16", &two, |[a, b]| nearest_brain(of_brain(a) + of_brain(b)));
    both("add.rn.bf16", &two[..200], |[a, b]| nearest_brain(of_brain(a) + of_brain(b)));
    both("sub.bf16", &two, |[a, b]| nearest_brain(of_brain(a) - of_brain(b)));
    both("mul.bf16", &two, |[a, b]| nearest_brain(of_brain(a) * of_brain(b)));
    both("fma.rn.bf16", &cases(&BRAINS, 6000), |[a, b, c]| {
        fused(of_brain(a), of_brain(b), of_brain(c), nearest_brain)
    });
    both("fma.rn.relu.bf16", &cases(&BRAINS, 1000), |[a, b, c]| {
        relu(fused(of_brain(a), of_brain(b), of_brain(c), nearest_brain))
    });
    both("neg.bf16", &cases(&BRAINS, 100), |[a]| a ^ 0x8000);
    both("abs.bf16", &cases(&BRAINS, 100), |[a]| a & 0x7fff);
    // Products whose f32 would be subnormal, and half-way before it was rounded.
    let mut random = Random(6);
    let small: Vec<[u64; 2]> = (0..3000)
        .map(|_| {
            let bits = random.next();
            [
                bits & 0x807f | (bits >> 32 & 63) << 7,
                bits >> 16 & 0x807f | (60 + (bits >> 40 & 15)) << 7,
            ]
        })
        .collect();
    both("mul.bf16", &small, |[a, b]| nearest_brain(of_brain(a) * of_brain(b)));
}

fn relu(bits: u64) -> u64 {
    if bits != 0x7fff && bits & 0x8000 != 0 { 0 } else { bits }
}

#[test]
fn clamps_and_flushes() {
    let flush = |bits: u64| if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits };
    let of = move |bits: u64| of16(flush(bits));
    let saturate = |bits: u64| {
        if bits & 0x8000 != 0 || bits == 0x7fff { 0 } else { bits.min(0x3c00) }
    };
    both("add.ftz.f16", &halves(1000), |[a, b]| flush(nearest16(of(a) + of(b))));
    both("mul.ftz.f16", &halves(1000), |[a, b]| flush(nearest16(of(a) * of(b))));
    both("fma.rn.ftz.f16", &halves(1000), |[a, b, c]| flush(fused(of(a), of(b), of(c), nearest16)));
    both("add.sat.f16", &halves(1000), |[a, b]| saturate(nearest16(of16(a) + of16(b))));
    both("sub.ftz.sat.f16", &halves(1000), |[a, b]| saturate(flush(nearest16(of(a) - of(b)))));
    both("mul.sat.f16", &halves(1000), |[a, b]| saturate(nearest16(of16(a) * of16(b))));
    both("fma.rn.sat.f16", &halves(1000), |[a, b, c]| {
        saturate(fused(of16(a), of16(b), of16(c), nearest16))
    });
    both("fma.rn.relu.f16", &halves(1000), |[a, b, c]| {
        relu(fused(of16(a), of16(b), of16(c), nearest16))
    });
    both("fma.rn.ftz.relu.f16", &halves(1000), |[a, b, c]| {
        relu(flush(fused(of(a), of(b), of(c), nearest16)))
    });
    both("abs.ftz.f16", &halves(200), |[a]| flush(a) & 0x7fff);
    both("neg.ftz.f16", &halves(200), |[a]| flush(a) ^ 0x8000);
    for form in [
        "add.ftz.bf16",
        "mul.sat.bf16",
        "fma.rn.sat.bf16",
        "fma.rz.f16",
        "add.rz.f16",
        "neg.ftz.bf16",
    ] {
        refused(
            form,
            if form.starts_with("fma") {
                4
            } else if form.starts_with("neg") {
                2
            } else {
                3
            },
            "no supported",
        );
    }
    refused("fma.f16", 4, "no supported");
    refused("fma.rn.oob.f16", 4, "no supported");
}

#[test]
fn minimum_and_maximum() {
    let order =
        |bits: u64| if bits & 0x8000 != 0 { -((bits & 0x7fff) as i32) - 1 } else { bits as i32 };
    for (format, specials, infinity) in [("f16", HALVES, 0x7c00), ("bf16", BRAINS, 0x7f80)] {
        let two: Vec<[u64; 2]> = cases(&specials, 500);
        let is_nan = |bits: u64| bits & 0x7fff > infinity;
        for max in [false, true] {
            let opcode = if max { "max" } else { "min" };
            for nan in [false, true] {
                let form = format!("{opcode}{}.{format}", if nan { ".NaN" } else { "" });
                both(&form, &two, |[a, b]| match (is_nan(a), is_nan(b)) {
                    (true, true) => 0x7fff,
                    (true, false) | (false, true) if nan => 0x7fff,
                    (true, false) => b,
                    (false, true) => a,
                    _ if (order(a) < order(b)) != max => a,
                    _ => b,
                });
            }
        }
    }
    refused("max.NaN.xorsign.abs.f16", 3, "no supported form");
    both("max.ftz.f16", &[[1, 0x8001], [0x8001, 0x8002], [0x3ff, 0]], |[a, b]| a & b & 0x8000);
}

#[test]
fn approximations() {
    let all: Vec<[u64; 1]> = (0..0x1_0000).map(|bits| [bits]).collect();
    // Within little more than half of the last place.
    let close = |form: &str, value: fn(u64) -> f64, narrow: fn(f64) -> u64, f: fn(f64) -> f64| {
        both(form, &all, |[a]| narrow(f64::from(f(value(a)) as f32)));
    };
    close("ex2.approx.f16", of16, nearest16, f64::exp2);
    close("tanh.approx.f16", of16, nearest16, f64::tanh);
    close("tanh.approx.bf16", of_brain, nearest_brain, f64::tanh);
    let flush = |bits: u64| if bits & 0x7f80 == 0 { bits & 0x8000 } else { bits };
    both("ex2.approx.ftz.bf16", &all, |[a]| {
        flush(nearest_brain(f64::from(of_brain(flush(a)).exp2() as f32)))
    });
    refused("ex2.approx.bf16", 2, "no supported");
    refused("ex2.approx.ftz.f16", 2, "no supported");
}
