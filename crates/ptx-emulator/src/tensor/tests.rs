//! Against naive loops over plain matrices, which are brought into registers by the ISA's formulas,
//! written here case by case as the ISA writes them.

use super::*;
use crate::registers::{LANES, Mask, Reg, Registers, Width};
use half::{bf16, f16};

/// SplitMix64.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `[-1, 1)`.
    fn signed(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 52) as f64 - 1.0
    }
}

/// Where element `i` of lane `lane` lies, as (row, column). PTX ISA, "Matrix Fragments for
/// mma.<shape>".
type ElementAt = fn(lane: usize, i: usize) -> (usize, usize);

/// `groupID` and `threadID_in_group`.
fn ids(lane: usize) -> (usize, usize) {
    (lane >> 2, lane % 4)
}

/// One shape with types: modifiers from shape on, M, K, elements of a lane in A, B and C, bits of
/// an element.
struct Case {
    modifiers: &'static [&'static str],
    m: usize,
    k: usize,
    elems: [usize; 3],
    bits: [u32; 3],
    places: [ElementAt; 3],
}

/// C and D of M = 16: c0, c1 in row groupID, c2, c3 in row groupID + 8.
fn c_of_16(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

/// C and D of M = 8.
fn c_of_8(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (group, thread * 2 + (i & 1))
}

fn m16n8k8_half_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1))
}

fn m16n8k8_half_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (thread * 2 + i, group)
}

fn m16n8k16_half_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    let row = if (0..2).contains(&i) || (4..6).contains(&i) { group } else { group + 8 };
    let column = thread * 2 + (i & 1);
    (row, if i >= 4 { column + 8 } else { column })
}

fn m16n8k16_half_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    let row = thread * 2 + (i & 1);
    (if i >= 2 { row + 8 } else { row }, group)
}

fn m16n8k4_tf32_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (if i == 0 { group } else { group + 8 }, thread)
}

fn m16n8k4_tf32_b(lane: usize, _: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (thread, group)
}

fn m16n8k8_tf32_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    let row = if i == 0 || i == 2 { group } else { group + 8 };
    (row, if i < 2 { thread } else { thread + 4 })
}

fn m16n8k8_tf32_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (if i == 0 { thread } else { thread + 4 }, group)
}

fn m8n8k16_int_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (group, thread * 4 + i)
}

/// Also B of m16n8k16.
fn m8n8k16_int_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (thread * 4 + i, group)
}

fn m16n8k16_int_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3))
}

fn m16n8k32_int_a(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    let row = if (0..4).contains(&i) || (8..12).contains(&i) { group } else { group + 8 };
    let column = thread * 4 + (i & 3);
    (row, if i < 8 { column } else { column + 16 })
}

fn m16n8k32_int_b(lane: usize, i: usize) -> (usize, usize) {
    let (group, thread) = ids(lane);
    let row = thread * 4 + (i & 3);
    (if i < 4 { row } else { row + 16 }, group)
}

fn m8n8k4_f64_a(lane: usize, _: usize) -> (usize, usize) {
    (lane >> 2, lane % 4)
}

fn m8n8k4_f64_b(lane: usize, _: usize) -> (usize, usize) {
    (lane % 4, lane >> 2)
}

macro_rules! case {
    ($($modifier:literal)* : $m:literal $k:literal, $elems:expr, $bits:expr, $a:expr, $b:expr, $c:expr) => {
        Case {
            modifiers: &[$($modifier),*],
            m: $m,
            k: $k,
            elems: $elems,
            bits: $bits,
            places: [$a, $b, $c],
        }
    };
}

#[rustfmt::skip]
const FLOATS: [Case; 9] = [
    case!("m16n8k8" "row" "col" "f32" "f16" "f16" "f32": 16 8, [4, 2, 4], [16, 16, 32], m16n8k8_half_a, m16n8k8_half_b, c_of_16),
    case!("m16n8k8" "row" "col" "f16" "f16" "f16" "f16": 16 8, [4, 2, 4], [16, 16, 16], m16n8k8_half_a, m16n8k8_half_b, c_of_16),
    case!("m16n8k16" "row" "col" "f32" "f16" "f16" "f32": 16 16, [8, 4, 4], [16, 16, 32], m16n8k16_half_a, m16n8k16_half_b, c_of_16),
    case!("m16n8k16" "row" "col" "f16" "f16" "f16" "f16": 16 16, [8, 4, 4], [16, 16, 16], m16n8k16_half_a, m16n8k16_half_b, c_of_16),
    case!("m16n8k8" "row" "col" "f32" "bf16" "bf16" "f32": 16 8, [4, 2, 4], [16, 16, 32], m16n8k8_half_a, m16n8k8_half_b, c_of_16),
    case!("m16n8k16" "row" "col" "f32" "bf16" "bf16" "f32": 16 16, [8, 4, 4], [16, 16, 32], m16n8k16_half_a, m16n8k16_half_b, c_of_16),
    case!("m16n8k4" "row" "col" "f32" "tf32" "tf32" "f32": 16 4, [2, 1, 4], [32, 32, 32], m16n8k4_tf32_a, m16n8k4_tf32_b, c_of_16),
    case!("m16n8k8" "row" "col" "f32" "tf32" "tf32" "f32": 16 8, [4, 2, 4], [32, 32, 32], m16n8k8_tf32_a, m16n8k8_tf32_b, c_of_16),
    case!("m8n8k4" "row" "col" "f64" "f64" "f64" "f64": 8 4, [1, 1, 2], [64, 64, 64], m8n8k4_f64_a, m8n8k4_f64_b, c_of_8),
];

/// Shapes of integers; types and `.satfinite` are put in by the tests.
#[rustfmt::skip]
const INTEGERS: [Case; 3] = [
    case!("m8n8k16": 8 16, [4, 4, 2], [8, 8, 32], m8n8k16_int_a, m8n8k16_int_b, c_of_8),
    case!("m16n8k16": 16 16, [8, 4, 4], [8, 8, 32], m16n8k16_int_a, m8n8k16_int_b, c_of_16),
    case!("m16n8k32": 16 32, [16, 8, 4], [8, 8, 32], m16n8k32_int_a, m16n8k32_int_b, c_of_16),
];

/// The bits of a matrix's elements, row-major.
struct Bits {
    columns: usize,
    elems: Vec<u64>,
}

impl Bits {
    fn new(rows: usize, columns: usize, mut f: impl FnMut() -> u64) -> Bits {
        Bits { columns, elems: (0..rows * columns).map(|_| f()).collect() }
    }

    fn at(&self, row: usize, column: usize) -> u64 {
        assert!(column < self.columns);
        self.elems[row * self.columns + column]
    }
}

/// Runs a form on matrices A, B and C and returns D.
fn run(case: &Case, modifiers: &[&str], operands: [&Bits; 3]) -> Bits {
    let all: Vec<&str> = ["sync", "aligned"].iter().chain(modifiers).copied().collect();
    let form = lower_mma(&all).unwrap();
    assert_eq!(form.macs, (case.m * 8 * case.k) as u64);
    assert_eq!(form.c, form.d);

    // Bits per lane of each operand, in registers of 32 or 64 bits.
    let register = if case.bits[2] == 64 { 64 } else { 32 };
    let count = |operand: usize| case.elems[operand] * case.bits[operand] as usize / register;
    assert_eq!([form.a, form.b, form.c], [0, 1, 2].map(count), "{modifiers:?}: registers");
    let width = if register == 64 { Width::B64 } else { Width::B32 };
    assert_eq!(form.widths, [width; 4]);

    let total = form.d + form.a + form.b + form.c;
    let mut file = Registers {
        narrow: vec![[0; LANES]; if register == 32 { total } else { 0 }],
        wide: vec![[0; LANES]; if register == 64 { total } else { 0 }],
        narrow_set: vec![0; total],
        wide_set: vec![0; total],
        ..Registers::default()
    };
    // The operands lie in descending registers, so that none is found by counting up.
    let regs: Vec<Reg> = (0..total as u32).rev().map(Reg).collect();
    let starts = [form.d, form.d + form.a, form.d + form.a + form.b];
    for operand in 0..3 {
        let (elems, bits) = (case.elems[operand], case.bits[operand] as usize);
        for lane in 0..LANES {
            for i in 0..elems {
                let (row, column) = case.places[operand](lane, i);
                let value = operands[operand].at(row, column);
                let reg = regs[starts[operand] + i * bits / register].0 as usize;
                let shift = i * bits % register;
                if register == 64 {
                    file.wide[reg][lane] = value;
                } else {
                    file.narrow[reg][lane] |= (value as u32) << shift;
                }
            }
        }
    }
    (form.run)(&mut file, &regs);

    let mut d = Bits::new(case.m, 8, || u64::MAX);
    for lane in 0..LANES {
        for i in 0..case.elems[2] {
            let (row, column) = case.places[2](lane, i);
            let bits = case.bits[2] as usize;
            let reg = regs[i * bits / register].0 as usize;
            d.elems[row * 8 + column] = match bits {
                64 => file.wide[reg][lane],
                32 => file.narrow[reg][lane].into(),
                _ => (file.narrow[reg][lane] >> (i * bits % register) & 0xffff).into(),
            };
        }
    }
    let set = if register == 64 { &file.wide_set } else { &file.narrow_set };
    for (index, reg) in regs.iter().enumerate() {
        let wanted = if index < form.d { Mask::MAX } else { 0 };
        assert_eq!(set[reg.0 as usize], wanted, "register {index} of the flattened operands");
    }
    d
}

/// Bits to value, by the type's name.
fn value(kind: &str, bits: u64) -> f64 {
    match kind {
        "f16" => f16::from_bits(bits as u16).to_f64(),
        "bf16" => bf16::from_bits(bits as u16).to_f64(),
        "tf32" => f32::from_bits(bits as u32 & !0x1fff).into(),
        "f32" => f32::from_bits(bits as u32).into(),
        _ => f64::from_bits(bits),
    }
}

/// Value to bits. tf32 gets noise in the bits that are to be ignored.
fn bits(kind: &str, value: f64, noise: u64) -> u64 {
    match kind {
        "f16" => f16::from_f64(value).to_bits().into(),
        "bf16" => bf16::from_f64(value).to_bits().into(),
        "tf32" => (u64::from((value as f32).to_bits()) & !0x1fff) | noise & 0x1fff,
        "f32" => u64::from((value as f32).to_bits()),
        _ => value.to_bits(),
    }
}

/// A, B and C of a case from a function of the operand's type.
fn matrices(case: &Case, mut f: impl FnMut(&str) -> u64) -> [Bits; 3] {
    let kinds = [case.modifiers[4], case.modifiers[5], case.modifiers[6]];
    [
        Bits::new(case.m, case.k, || f(kinds[0])),
        Bits::new(case.k, 8, || f(kinds[1])),
        Bits::new(case.m, 8, || f(kinds[2])),
    ]
}

#[test]
fn every_float_shape_matches_a_naive_product() {
    let mut random = Random(11);
    for case in &FLOATS {
        for _ in 0..20 {
            let [a, b, c] = matrices(case, |kind| {
                let x = random.signed();
                bits(kind, x, random.bits())
            });
            let d = run(case, case.modifiers, [&a, &b, &c]);
            let kinds = &case.modifiers[3..];
            for row in 0..case.m {
                for column in 0..8 {
                    let mut sum = value(kinds[3], c.at(row, column));
                    let mut size = sum.abs();
                    for k in 0..case.k {
                        let product =
                            value(kinds[1], a.at(row, k)) * value(kinds[2], b.at(k, column));
                        sum += product;
                        size += product.abs();
                    }
                    // Each of K sums, each product, and the result are rounded once.
                    let unit = match kinds[0] {
                        "f64" => f64::EPSILON,
                        _ => f64::from(f32::EPSILON),
                    };
                    let mut bound = (case.k + 1) as f64 * unit / 2.0 * size;
                    if kinds[0] == "f16" {
                        bound += sum.abs() * 2f64.powi(-11) + 2f64.powi(-25);
                    }
                    let found = value(kinds[0], d.at(row, column));
                    assert!(
                        (found - sum).abs() <= bound,
                        "{:?} ({row}, {column}): {found}, expected {sum} +- {bound:e}",
                        case.modifiers
                    );
                }
            }
        }
    }
}

#[test]
fn floats_are_summed_in_the_documented_order_bit_by_bit() {
    let mut random = Random(12);
    for case in &FLOATS {
        let kinds = &case.modifiers[3..];
        for _ in 0..20 {
            // Magnitudes over many orders, so that another order of summation would show.
            let [a, b, c] = matrices(case, |kind| {
                let x = random.signed() * 2f64.powi((random.bits() % 12) as i32 - 6);
                bits(kind, x, random.bits())
            });
            let d = run(case, case.modifiers, [&a, &b, &c]);
            for row in 0..case.m {
                for column in 0..8 {
                    let start = value(kinds[3], c.at(row, column));
                    let terms = (0..case.k)
                        .map(|k| (value(kinds[1], a.at(row, k)), value(kinds[2], b.at(k, column))));
                    let wanted = match kinds[0] {
                        "f64" => terms.fold(start, |sum, (a, b)| a.mul_add(b, sum)).to_bits(),
                        kind => {
                            let sum =
                                terms.fold(start as f32, |sum, (a, b)| sum + a as f32 * b as f32);
                            bits(kind, sum.into(), 0)
                        }
                    };
                    assert_eq!(d.at(row, column), wanted, "{:?} ({row}, {column})", case.modifiers);
                }
            }
        }
    }
}

#[test]
fn one_product_reaches_exactly_one_element_for_every_row_column_and_k() {
    for case in &FLOATS {
        let kinds = &case.modifiers[3..];
        for row in 0..case.m {
            for column in 0..8 {
                for k in 0..case.k {
                    let [mut a, mut b, c] = matrices(case, |_| 0);
                    a.elems[row * case.k + k] = bits(kinds[1], 3.0, 0);
                    b.elems[k * 8 + column] = bits(kinds[2], -5.0, 0);
                    let mut d = run(case, case.modifiers, [&a, &b, &c]);
                    assert_eq!(d.at(row, column), bits(kinds[0], -15.0, 0), "{:?}", case.modifiers);
                    d.elems[row * 8 + column] = 0;
                    assert!(d.elems.iter().all(|bits| value(kinds[0], *bits) == 0.0));
                }
            }
        }
    }
}

#[test]
fn nan_infinity_overflow_and_subnormals_reach_their_row_and_column_only() {
    for case in &FLOATS {
        let kinds = &case.modifiers[3..];
        let canonical = match kinds[0] {
            "f16" => 0x7fff,
            "f32" => 0x7fff_ffff,
            _ => 0x7ff8_0000_0000_0000,
        };
        let (nan, infinity) = (f64::NAN, f64::INFINITY);
        // a, b, c, and what it gives.
        let outcomes = [
            (nan, 1.0, 1.0, None),
            (1.0, nan, 1.0, None),
            (1.0, 1.0, nan, None),
            (infinity, 0.0, 1.0, None),
            (infinity, 1.0, -infinity, None),
            (infinity, 2.0, 1.0, Some(infinity)),
            (2.0, -infinity, 1.0, Some(-infinity)),
            (1.0, 1.0, -infinity, Some(-infinity)),
        ];
        for (x, y, z, wanted) in outcomes {
            let [mut a, mut b, mut c] = matrices(case, |_| 0);
            for k in 0..case.k {
                a.elems[5 * case.k + k] = bits(kinds[1], 1.0, 0);
                b.elems[k * 8 + 2] = bits(kinds[2], 1.0, 0);
            }
            a.elems[5 * case.k + 3] = bits(kinds[1], x, 0);
            b.elems[3 * 8 + 2] = bits(kinds[2], y, 0);
            c.elems[5 * 8 + 2] = bits(kinds[3], z, 0);
            let d = run(case, case.modifiers, [&a, &b, &c]);
            let wanted = wanted.map_or(canonical, |w| bits(kinds[0], w, 0));
            assert_eq!(d.at(5, 2), wanted, "{:?}: {x} * {y} + {z}", case.modifiers);
            // A row and a column away nothing is touched, where 0 meets no infinity or NaN.
            assert_eq!(value(kinds[0], d.at(4, 3)), 0.0);
        }
    }
    // 60000 + 256 * 256 is beyond f16; half of the distance to 65536 rounds up to infinity.
    let case = &FLOATS[3];
    let one = |a: f64, b: f64, c: f64| {
        let [mut am, mut bm, mut cm] = matrices(case, |_| 0);
        am.elems[0] = bits("f16", a, 0);
        bm.elems[0] = bits("f16", b, 0);
        cm.elems[0] = bits("f16", c, 0);
        run(case, case.modifiers, [&am, &bm, &cm]).elems[0]
    };
    assert_eq!(one(256.0, 256.0, 60000.0), 0x7c00);
    assert_eq!(one(16.0, 1.0, 65504.0), 0x7c00);
    assert_eq!(one(15.5, 1.0, 65504.0), 0x7bff);
    assert_eq!(one(2f64.powi(-24), 1.0, 2f64.powi(-24)), 2, "subnormals of f16");
    assert_eq!(one(-(2f64.powi(-24)), 1023.0, 0.0), 0x83ff, "the largest subnormal of f16");
    // A NaN of tf32 with its payload in the ignored bits alone.
    let case = &FLOATS[6];
    let [mut a, b, c] = matrices(case, |_| 0);
    a.elems[0] = 0x7f80_0001;
    assert_eq!(run(case, case.modifiers, [&a, &b, &c]).elems[0], 0x7fff_ffff);
}

#[test]
fn f16_operands_are_converted_exactly() {
    // A column of 1 and 15 zeros picks each of the 65,536 values out.
    let case = &FLOATS[2];
    let [_, mut b, c] = matrices(case, |_| 0);
    for column in 0..8 {
        b.elems[column] = bits("f16", 1.0, 0);
    }
    for first in (0..1u32 << 16).step_by(16) {
        let mut a = Bits::new(16, 16, || 0);
        for row in 0..16 {
            a.elems[row * 16] = u64::from(first) + row as u64;
        }
        let d = run(case, case.modifiers, [&a, &b, &c]);
        for row in 0..16 {
            let x = f16::from_bits(first as u16 + row as u16);
            let wanted = if x.is_nan() { 0x7fff_ffff } else { (x.to_f32() + 0.0).to_bits() };
            assert_eq!(d.at(row, 7), u64::from(wanted), "{x:?}");
        }
    }
}

#[test]
fn every_integer_shape_and_sign_matches_a_naive_product() {
    let mut random = Random(13);
    for case in &INTEGERS {
        for (atype, btype) in [("s8", "s8"), ("s8", "u8"), ("u8", "s8"), ("u8", "u8")] {
            for satfinite in [false, true] {
                let mut modifiers = vec![case.modifiers[0], "row", "col"];
                if satfinite {
                    modifiers.push("satfinite");
                }
                modifiers.extend(["s32", atype, btype, "s32"]);
                let widen = |kind: &str, bits: u64| match kind {
                    "s8" => i64::from(bits as u8 as i8),
                    _ => i64::from(bits as u8),
                };
                let (mut over, mut under) = (0, 0);
                for round in 0..40 {
                    let mut byte = || match round % 4 {
                        0 => 0x80,
                        1 => 0xff,
                        _ => random.bits() & 0xff,
                    };
                    let a = Bits::new(case.m, case.k, &mut byte);
                    let b = Bits::new(case.k, 8, &mut byte);
                    let edge = |random: &mut Random| match random.bits() % 3 {
                        0 => u64::from(i32::MAX as u32 - (random.bits() % 5000) as u32),
                        1 => u64::from(i32::MIN as u32 + (random.bits() % 5000) as u32),
                        _ => random.bits() & 0xffff_ffff,
                    };
                    let c = Bits::new(case.m, 8, || edge(&mut random));
                    let d = run(case, &modifiers, [&a, &b, &c]);
                    for row in 0..case.m {
                        for column in 0..8 {
                            let mut exact = i64::from(c.at(row, column) as i32);
                            for k in 0..case.k {
                                exact += widen(atype, a.at(row, k)) * widen(btype, b.at(k, column));
                            }
                            over += i32::from(exact > i32::MAX.into());
                            under += i32::from(exact < i32::MIN.into());
                            let wanted = match satfinite {
                                true => exact.clamp(i32::MIN.into(), i32::MAX.into()) as i32,
                                false => exact as i32,
                            };
                            assert_eq!(d.at(row, column) as i32, wanted, "{modifiers:?}");
                        }
                    }
                }
                assert!(over > 0, "{modifiers:?}: nothing overflowed");
                assert!(under > 0 || (atype, btype) == ("u8", "u8"), "{modifiers:?}");
            }
        }
    }
}

#[test]
fn accumulators_may_be_the_destination() {
    let form =
        lower_mma(&["sync", "aligned", "m16n8k16", "row", "col", "f32", "f16", "f16", "f32"])
            .unwrap();
    let mut random = Random(14);
    let mut file =
        Registers { narrow: vec![[0; LANES]; 14], narrow_set: vec![0; 14], ..Registers::default() };
    for register in &mut file.narrow {
        *register = std::array::from_fn(|_| (random.signed() as f32).to_bits() & 0xbf7f_bf7f);
    }
    let mut apart = file.clone();
    let regs = |list: [u32; 14]| list.map(Reg);
    (form.run)(&mut file, &regs([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3]));
    (form.run)(&mut apart, &regs([10, 11, 12, 13, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3]));
    assert_eq!(file.narrow[..4], apart.narrow[10..]);
    // And A: d overlaps a and b.
    let before = apart.narrow.clone();
    (form.run)(&mut apart, &regs([4, 8, 9, 5, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3]));
    assert_eq!([4, 8, 9, 5].map(|r| apart.narrow[r]), [10, 11, 12, 13].map(|r| before[r]));
}

#[test]
fn other_mma_forms_are_refused_and_the_message_names_what() {
    let refused = |form: &str, expected: &str| {
        let modifiers: Vec<&str> = form.split('.').collect();
        let message = lower_mma(&modifiers).unwrap_err();
        assert!(message.contains(expected), "{form}: {message}");
    };
    refused("sp.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32", ".sp is not supported");
    refused("sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32", ".sp::ordered");
    refused("sync.m16n8k16.row.col.f32.f16.f16.f32", "expected .aligned");
    refused("sync.aligned.m16n8k16.row.row.f32.f16.f16.f32", ".row is not supported here");
    refused("sync.aligned.m16n8k16.col.col.f32.f16.f16.f32", ".col is not supported here");
    refused("sync.aligned.row.col.m16n8k16.f32.f16.f16.f32", ".row is not supported here");
    refused("sync.aligned.m8n8k4.row.col.f32.f16.f16.f32", ".m8n8k4 with the types .f32.f16");
    refused("sync.aligned.m16n8k16.row.col.f32.f16.f16.f16", "types .f32.f16.f16.f16");
    refused("sync.aligned.m16n8k16.row.col.f16.f16.f16.f32", "types .f16.f16.f16.f32");
    refused("sync.aligned.m16n8k16.row.col.f32.f16.bf16.f32", "types .f32.f16.bf16.f32");
    refused("sync.aligned.m16n8k16.row.col.f32.tf32.tf32.f32", "types .f32.tf32");
    refused("sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32", ".e4m3 is not supported");
    refused("sync.aligned.m16n8k32.row.col.kind::f8f6f4.f32.e4m3.e4m3.f32", ".kind::f8f6f4");
    refused("sync.aligned.m16n8k64.row.col.s32.s4.s4.s32", ".m16n8k64 is not supported");
    refused("sync.aligned.m16n8k32.row.col.s32.s4.s4.s32", ".s4 is not supported");
    refused("sync.aligned.m8n8k128.row.col.s32.b1.b1.s32.xor.popc", ".m8n8k128 is not supported");
    refused("sync.aligned.m16n8k16.row.col.satfinite.f32.f16.f16.f32", ".satfinite needs");
    refused("sync.aligned.m16n8k16.row.col.s32.s8.s8.s32.satfinite", ".satfinite is not supported");
    refused("sync.aligned.m16n8k16.row.col.s32.s8.f16.s32", "multiplicands .s8.f16");
    refused("sync.aligned.m16n8k8.row.col.s32.s8.s8.s32", ".m16n8k8 with the types .s32");
    refused("sync.aligned.m8n8k4.row.col.rz.f64.f64.f64.f64", ".rz is not supported");
    refused(
        "sync.aligned.m16n8k16.row.col.f32.f16.f16.f32.f32",
        ".f32 is not supported at the end",
    );
    refused("sync.aligned.m16n8k16.row.col.f32.f16.f16", "a modifier is missing");
    refused("sync.aligned", "a modifier is missing");
}

/// Memory rows of 16-bit elements `100 matrix + 10 row + column`.
fn numbered_rows() -> [[u32; LANES]; 4] {
    let element = |lane: usize, column: usize| (100 * (lane / 8) + 10 * (lane % 8) + column) as u32;
    std::array::from_fn(|word| {
        std::array::from_fn(|lane| element(lane, 2 * word) | element(lane, 2 * word + 1) << 16)
    })
}

const COUNTS: [(&str, usize); 3] = [("x1", 1), ("x2", 2), ("x4", 4)];

#[test]
fn ldmatrix_gives_each_lane_its_two_elements() {
    for (name, count) in COUNTS {
        for trans in [false, true] {
            let mut modifiers = vec!["sync", "aligned", "m8n8", name];
            modifiers.extend(trans.then_some("trans"));
            modifiers.extend(["shared", "b16"]);
            let form = lower_matrix("ldmatrix", &modifiers).unwrap();
            assert_eq!(form, Matrix { count, trans });
            let values = distribute(&numbered_rows(), form);
            for (matrix, register) in values.iter().enumerate() {
                for (lane, found) in register.iter().enumerate() {
                    let element = |pair: usize| {
                        let (row, column) = (lane / 4, 2 * (lane % 4) + pair);
                        let (row, column) = if trans { (column, row) } else { (row, column) };
                        (100 * matrix + 10 * row + column) as u32
                    };
                    let wanted = if matrix < count { element(0) | element(1) << 16 } else { 0 };
                    assert_eq!(*found, wanted, "{name} {trans} {matrix} {lane}");
                }
            }
        }
    }
}

#[test]
fn stmatrix_puts_each_element_into_its_row_and_ldmatrix_reads_it_back() {
    let mut random = Random(15);
    for (name, count) in COUNTS {
        for trans in [false, true] {
            let mut modifiers = vec!["sync", "aligned", "m8n8", name];
            modifiers.extend(trans.then_some("trans"));
            modifiers.extend(["shared::cta", "b16"]);
            let form = lower_matrix("stmatrix", &modifiers).unwrap();
            let values: [[u32; LANES]; 4] =
                std::array::from_fn(|_| std::array::from_fn(|_| random.bits() as u32));
            let rows = collect(&values, form);
            for matrix in 0..4 {
                for row in 0..8 {
                    for column in 0..8 {
                        let word = rows[column / 2][8 * matrix + row];
                        let found = word >> (16 * (column % 2)) & 0xffff;
                        let (r, c) = if trans { (column, row) } else { (row, column) };
                        let register = values[matrix][4 * r + c / 2];
                        let wanted = register >> (16 * (c % 2)) & 0xffff;
                        let wanted = if matrix < count { wanted } else { 0 };
                        assert_eq!(found, wanted, "{name} {trans} {matrix} ({row}, {column})");
                    }
                }
            }
            let back = distribute(&rows, form);
            assert_eq!(back[..count], values[..count]);
        }
    }
}

#[test]
fn a_transposed_fragment_of_b_feeds_mma() {
    // B stored row-major, k by n, is loaded with .trans; A without: the usual way of a GEMM.
    let mut random = Random(16);
    let halves = |random: &mut Random, elems: usize| -> Vec<f16> {
        (0..elems).map(|_| f16::from_f64(random.signed())).collect()
    };
    let (a, b) = (halves(&mut random, 16 * 16), halves(&mut random, 16 * 8));
    let pack = |low: f16, high: f16| u32::from(low.to_bits()) | u32::from(high.to_bits()) << 16;
    // Matrices of A: rows 0-7 and 8-15 of columns 0-7, then of columns 8-15.
    let a_rows: [[u32; LANES]; 4] = std::array::from_fn(|word| {
        std::array::from_fn(|lane| {
            let (row, column) = (lane % 16, lane / 16 * 8 + 2 * word);
            pack(a[row * 16 + column], a[row * 16 + column + 1])
        })
    });
    let b_rows: [[u32; LANES]; 4] = std::array::from_fn(|word| {
        std::array::from_fn(|lane| match lane < 16 {
            true => pack(b[lane * 8 + 2 * word], b[lane * 8 + 2 * word + 1]),
            false => 0,
        })
    });
    let a_fragment = distribute(&a_rows, Matrix { count: 4, trans: false });
    let b_fragment = distribute(&b_rows, Matrix { count: 2, trans: true });
    let mut file =
        Registers { narrow: vec![[0; LANES]; 10], narrow_set: vec![0; 10], ..Registers::default() };
    file.narrow[4..8].copy_from_slice(&a_fragment);
    file.narrow[8..].copy_from_slice(&b_fragment[..2]);
    let form =
        lower_mma(&["sync", "aligned", "m16n8k16", "row", "col", "f32", "f16", "f16", "f32"])
            .unwrap();
    let regs = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 0, 1, 2, 3].map(Reg);
    (form.run)(&mut file, &regs);
    for lane in 0..LANES {
        for i in 0..4 {
            let (row, column) = c_of_16(lane, i);
            let wanted: f64 =
                (0..16).map(|k| a[row * 16 + k].to_f64() * b[k * 8 + column].to_f64()).sum();
            let found = f64::from(f32::from_bits(file.narrow[i][lane]));
            assert!((found - wanted).abs() < 1e-5, "({row}, {column}): {found}, expected {wanted}");
        }
    }
}

#[test]
fn other_matrix_forms_are_refused_and_the_message_names_what() {
    let refused = |opcode: &str, form: &str, expected: &str| {
        let modifiers: Vec<&str> = form.split('.').collect();
        let message = lower_matrix(opcode, &modifiers).unwrap_err();
        assert!(message.starts_with(opcode) && message.contains(expected), "{form}: {message}");
    };
    refused("ldmatrix", "sync.aligned.m8n8.x4.b16", "a generic address");
    refused("ldmatrix", "sync.aligned.m8n8.x4.trans.b16", "a generic address");
    refused("ldmatrix", "sync.aligned.m8n8.x4.shared.trans.b16", ".trans is not supported");
    refused("ldmatrix", "sync.aligned.m8n8.x3.shared.b16", ".x3 is not supported");
    refused("ldmatrix", "sync.aligned.m16n16.x1.trans.shared.b8", ".m16n16 is not supported");
    refused("ldmatrix", "sync.aligned.m8n16.x1.shared.b8x16.b4x16_p64", ".m8n16 is not supported");
    refused("ldmatrix", "sync.aligned.m8n8.x1.shared.b8", ".b8 is not supported");
    refused("stmatrix", "sync.aligned.m8n8.x1.shared::cluster.b16", ".shared::cluster");
    refused("stmatrix", "sync.m8n8.x1.shared.b16", "expected .aligned");
    refused("stmatrix", "sync.aligned.m8n8.x1.shared", "missing");
    refused("ldmatrix", "sync.aligned.m8n8.x1.shared.b16.b16", "at the end");
}
