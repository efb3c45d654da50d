//! Conversions among all types.

use std::cmp::Ordering;

use ::half::{bf16, f16};

use super::reference::{Fixed, SINGLE, is_rounded};
use super::*;

const INTEGER_TYPES: [(&str, u32, bool); 8] = [
    ("u8", 8, false),
    ("s8", 8, true),
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];

fn number(x: u64, bits: u32, signed: bool) -> i128 {
    let x = i128::from(x) & ((1 << bits) - 1);
    if signed && x >> (bits - 1) != 0 { x - (1 << bits) } else { x }
}

/// The widths of registers that hold so many bits, with their sizes.
fn registers(bits: u32) -> Vec<(Width, u32)> {
    [(Width::B16, 16), (Width::B32, 32), (Width::B64, 64)]
        .into_iter()
        .filter(|width| width.1 >= bits)
        .collect()
}

fn limits(bits: u32, signed: bool) -> (i128, i128) {
    if signed { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) }
}

fn register(x: i128, size: u32) -> u64 {
    (x & ((1 << size) - 1)) as u64
}

#[test]
fn integers() {
    let one: Vec<[u64; 1]> = cases(&INTEGERS, 200);
    for (from, from_bits, from_signed) in INTEGER_TYPES {
        for (to, to_bits, to_signed) in INTEGER_TYPES {
            for (width, size) in registers(to_bits) {
                for (source, _) in
                    registers(from_bits).into_iter().take(if from_bits <= 16 { 2 } else { 1 })
                {
                    let widths = [Some(width), Some(source)];
                    check_widths(&format!("cvt.{to}.{from}"), Some(&widths), &one, |[a]| {
                        let value = number(a, from_bits, from_signed);
                        register(number(value as u64, to_bits, to_signed), size)
                    });
                }
                let (low, high) = limits(to_bits, to_signed);
                let (from_low, from_high) = limits(from_bits, from_signed);
                let form = format!("cvt.sat.{to}.{from}");
                if from_low < low || from_high > high {
                    check_widths(&form, Some(&[Some(width), None]), &one, |[a]| {
                        register(number(a, from_bits, from_signed).clamp(low, high), size)
                    });
                } else {
                    refused(&form, 2, "sat");
                }
            }
        }
    }
    // nvcc reads the low part of a wider register: the caller takes it.
    let bench = Bench::new("cvt.u32.u64", 2, Some(&[Some(Width::B32), Some(Width::B64)]));
    assert_eq!(
        bench.map(|bench| bench.form.slots),
        Ok(vec![OperandSlot::Write(Width::B32), OperandSlot::Read(Width::B64)])
    );
    let bench = Bench::new("cvt.s64.s32", 2, Some(&[Some(Width::B64), Some(Width::B64)]));
    assert_eq!(
        bench.map(|bench| bench.form.slots),
        Ok(vec![OperandSlot::Write(Width::B64), OperandSlot::Read(Width::B32)])
    );
    let error =
        Bench::new("cvt.u64.u32", 2, Some(&[Some(Width::B32), Some(Width::B32)])).map(|_| ());
    assert!(error.is_err(), "a destination that is too narrow");
}

type Value = fn(u64) -> f64;

const FLOAT_TYPES: [(&str, Value, &[u64]); 4] = [
    ("f16", |bits| f16::from_bits(bits as u16).to_f64(), &HALVES),
    ("bf16", |bits| bf16::from_bits(bits as u16).to_f64(), &HALVES),
    ("f32", |bits| f32::from_bits(bits as u32).into(), &SINGLES),
    ("f64", f64::from_bits, &DOUBLES),
];

type ToIntegral = fn(f64) -> f64;

const INTEGRAL: [(&str, ToIntegral); 4] =
    [("rni", f64::round_ties_even), ("rzi", f64::trunc), ("rmi", f64::floor), ("rpi", f64::ceil)];

/// Values near integers, halves and limits, as bits of the type.
fn near_integers(name: &str) -> Vec<[u64; 1]> {
    let mut values = Vec::new();
    for power in [0, 1, 4, 7, 8, 10, 15, 16, 31, 32, 52, 63, 64] {
        for part in [-1.5, -1.0, -0.75, -0.5, -0.25, 0.0, 0.25, 0.5, 1.0, 1.5, 2.5] {
            let x = 2.0_f64.powi(power) + part;
            values.extend([x, -x]);
        }
    }
    values
        .into_iter()
        .map(|x| match name {
            "f16" => f16::from_f64(x).to_bits().into(),
            "bf16" => bf16::from_f64(x).to_bits().into(),
            "f32" => (x as f32).to_bits().into(),
            _ => x.to_bits(),
        })
        .map(|bits| [bits])
        .collect()
}

#[test]
fn floats_to_integers() {
    for (from, value, specials) in FLOAT_TYPES {
        let mut one = cases(specials, 200);
        one.extend(near_integers(from));
        for (rounding, integral) in INTEGRAL {
            for (to, bits, signed) in INTEGER_TYPES {
                let (low, high) = limits(bits, signed);
                for (width, size) in registers(bits) {
                    check_widths(
                        &format!("cvt.{rounding}.{to}.{from}"),
                        Some(&[Some(width), None]),
                        &one,
                        |[a]| {
                            let x = value(a);
                            let result = if x.is_nan() {
                                // 0, but 1 << (bits - 1) with a side of 64 bits.
                                let nan =
                                    if from == "f64" || bits == 64 { 1 << (bits - 1) } else { 0 };
                                number(nan, bits, signed)
                            } else {
                                (integral(x) as i128).clamp(low, high)
                            };
                            register(result, size)
                        },
                    );
                }
            }
            // In its own format, with the sign of a zero.
            check(&format!("cvt.{rounding}.{from}.{from}"), &one, |[a]| {
                let x = value(a);
                let result = integral(x).copysign(x);
                match from {
                    _ if x.is_nan() => match from {
                        "f32" => 0x7fff_ffff,
                        "f64" => 0x7ff8_0000_0000_0000,
                        _ => 0x7fff,
                    },
                    "f16" => f16::from_f64(result).to_bits().into(),
                    "bf16" => bf16::from_f64(result).to_bits().into(),
                    "f32" => (result as f32).to_bits().into(),
                    _ => result.to_bits(),
                }
            });
        }
    }
    check("cvt.rpi.ftz.s32.f32", &[[1], [0x8000_0001], [0x3f00_0000]], |[a]| {
        u64::from(a == 0x3f00_0000)
    });
    check("cvt.rpi.s32.f32", &[[1], [0x8000_0001]], |[a]| u64::from(a == 1));
    check("cvt.rpi.ftz.f32.f32", &[[1], [0x8000_0001]], |[a]| a & 0x8000_0000);
    check("cvt.rni.sat.f32.f32", &[[0x3f00_0001], [0xbf80_0000], [0x4000_0000]], |[a]| {
        if a == 0xbf80_0000 { 0 } else { 0x3f80_0000 }
    });
}

#[test]
fn integers_to_floats() {
    let mut one: Vec<[u64; 1]> = cases(&INTEGERS, 500);
    // About half-way between two f32, f64, and halves, and at the limit of f16.
    for bits in [
        0x100_0001_u64,
        0x100_0003,
        0x7fff_ff40,
        0x7fff_ffbf,
        1 << 53 | 1,
        (1 << 54) - 1,
        65519,
        65520,
        2049,
        2051,
        257,
        259,
    ] {
        for shift in [0, 1, 8] {
            one.extend([
                [bits << shift],
                [(bits << shift) + 1],
                [u64::wrapping_neg(bits << shift)],
            ]);
        }
    }
    for (from, from_bits, signed) in INTEGER_TYPES {
        for (rounding, mode) in ROUNDINGS {
            let value = move |a| number(a, from_bits, signed);
            // Judged by comparing integers.
            for to in ["f32", "f64"] {
                let form = format!("cvt.{rounding}.{to}.{from}");
                for warp in one.chunks(LANES) {
                    let mut bench = Bench::new(&form, 2, None).expect("a form");
                    for (lane, &[a]) in warp.iter().enumerate() {
                        bench.set(1, lane, a);
                    }
                    bench.run(Mask::MAX);
                    for (lane, &[a]) in warp.iter().enumerate() {
                        let got = bench.get(0, lane);
                        let result = if to == "f32" {
                            f64::from(f32::from_bits(got as u32))
                        } else {
                            f64::from_bits(got)
                        };
                        let compare = |factor: i32, y: f64, z: f64| {
                            // In units of 2^-60, below the last place of every f64 here.
                            let place = |x: f64| (x * 2.0_f64.powi(60)) as i128;
                            ((i128::from(factor) * value(a)) << 60).cmp(&(place(y) + place(z)))
                        };
                        let format = if to == "f32" { SINGLE } else { reference::DOUBLE };
                        if value(a) == 0 {
                            assert_eq!(got, 0, "{form}");
                        } else {
                            assert!(
                                is_rounded(mode, format, result, compare),
                                "{form} {a:#x}: {result:e}"
                            );
                        }
                    }
                }
            }
        }
        // The halves, to nearest and towards zero.
        for (to, wide, infinity) in [
            ("f16", (|bits| f16::from_bits(bits as u16).to_f64()) as Value, 0x7c00_u64),
            ("bf16", |bits| bf16::from_bits(bits as u16).to_f64(), 0x7f80),
        ] {
            for rounding in ["rn", "rz"] {
                check(&format!("cvt.{rounding}.{to}.{from}"), &one, |[a]| {
                    let value = number(a, from_bits, signed);
                    let magnitude = value.unsigned_abs();
                    // The largest of the format not above.
                    let (mut below, mut beyond) = (0, infinity);
                    while beyond - below > 1 {
                        let middle = (below + beyond) / 2;
                        if wide(middle).ceil() as u128 <= magnitude {
                            below = middle;
                        } else {
                            beyond = middle;
                        }
                    }
                    let bits = if rounding == "rz" {
                        below
                    } else {
                        let gap = magnitude - wide(below) as u128;
                        let above = if below + 1 == infinity {
                            2 * wide(below) as u128 - wide(below - 1) as u128
                        } else {
                            wide(below + 1).ceil() as u128
                        };
                        let rest = above - magnitude.min(above);
                        if magnitude != wide(below) as u128
                            && (gap > rest || gap == rest && below & 1 == 1)
                        {
                            below + 1
                        } else {
                            below
                        }
                    };
                    bits | u64::from(value < 0) << 15
                });
            }
        }
    }
}

/// All 65,536 values, to f32 and back.
#[test]
fn halves_to_f32_and_back() {
    let all: Vec<[u64; 1]> = (0..0x1_0000).map(|bits| [bits]).collect();
    check("cvt.f32.f16", &all, |[a]| {
        let x = f16::from_bits(a as u16);
        (if x.is_nan() { 0x7fff_ffff } else { x.to_f32().to_bits() }).into()
    });
    check("cvt.f32.bf16", &all, |[a]| {
        let x = bf16::from_bits(a as u16);
        (if x.is_nan() { 0x7fff_ffff } else { x.to_f32().to_bits() }).into()
    });
    let singles: Vec<[u64; 1]> =
        all.iter().map(|&[a]| [u64::from(f16::from_bits(a as u16).to_f32().to_bits())]).collect();
    check("cvt.rn.f16.f32", &singles, |[a]| {
        let x = f32::from_bits(a as u32);
        (if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() }).into()
    });
    let singles: Vec<[u64; 1]> = all.iter().map(|&[a]| [a << 16]).collect();
    check("cvt.rn.bf16.f32", &singles, |[a]| {
        if f32::from_bits(a as u32).is_nan() { 0x7fff } else { a >> 16 }
    });
}

/// Around every f16 and every half-way point between two, and at random.
#[test]
fn f32_to_halves() {
    let mut one = Vec::new();
    for bits in 0..0x1_0000_u32 {
        let x = f16::from_bits(bits as u16).to_f32();
        if x.is_finite() {
            let next = if bits & 0x7fff == 0x7bff {
                65536.0_f32.copysign(x)
            } else {
                f16::from_bits(bits as u16 + 1).to_f32()
            };
            let middle = (x + next) / 2.0;
            for x in [middle, middle.next_up(), middle.next_down(), x.next_up()] {
                one.push([u64::from(x.to_bits())]);
            }
        }
    }
    let mut random = Random(1);
    one.extend((0..300_000).map(|_| [random.next() & 0xffff_ffff]));
    check("cvt.rn.f16.f32", &one, |[a]| {
        let x = f32::from_bits(a as u32);
        (if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() }).into()
    });
    let brain = |x: f32| if x.is_nan() { 0x7fff } else { bf16::from_f32(x).to_bits() };
    check("cvt.rn.bf16.f32", &one, |[a]| brain(f32::from_bits(a as u32)).into());
    let two: Vec<[u64; 2]> =
        one.iter().zip(one.iter().rev()).step_by(7).map(|(a, b)| [a[0], b[0]]).collect();
    let half = |a: u64| {
        let x = f32::from_bits(a as u32);
        u64::from(if x.is_nan() { 0x7fff } else { f16::from_f32(x).to_bits() })
    };
    // The first source becomes the high half.
    check("cvt.rn.f16x2.f32", &two, |[a, b]| half(a) << 16 | half(b));
    check("cvt.rn.bf16x2.f32", &two, |[a, b]| {
        u64::from(brain(f32::from_bits(a as u32))) << 16
            | u64::from(brain(f32::from_bits(b as u32)))
    });
    let relu = |bits: u64| if bits != 0x7fff && bits & 0x8000 != 0 { 0 } else { bits };
    let finite = |a: u64, bits: u64| {
        if bits & 0x7fff == 0x7c00 { a >> 16 & 0x8000 | 0x7bff } else { bits }
    };
    check("cvt.rn.relu.f16.f32", &one[..4000], |[a]| relu(half(a)));
    check("cvt.rn.relu.f16x2.f32", &two[..4000], |[a, b]| relu(half(a)) << 16 | relu(half(b)));
    let mut specials: Vec<[u64; 1]> = cases(&SINGLES, 500);
    specials.extend([[0x477f_f000], [0x477f_efff], [0xc780_0000]]);
    check("cvt.rn.satfinite.f16.f32", &specials, |[a]| finite(a, half(a)));
    check("cvt.rn.relu.satfinite.f16.f32", &specials, |[a]| relu(finite(a, half(a))));
    check("cvt.rn.satfinite.bf16x2.f32", &[[0x7f80_0000, 0xff80_0000]], |_| 0x7f7f_ff7f);
    check("cvt.rz.relu.bf16x2.f32", &[[0x3f80_ffff, 0xbf80_ffff]], |_| 0x3f80_0000);
}

/// Directed modes, by the neighbours: the value of the result and of the next lie about the source.
#[test]
fn floats_to_floats_in_every_mode() {
    fn compare(x: f64) -> impl Fn(i32, f64, f64) -> Ordering {
        move |factor, y, z| Fixed::zero().add(factor, x).add(-1, y).add(-1, z).sign()
    }
    const HALF: reference::Format = reference::Format {
        up: |x| next(x, |bits| f16::from_bits(bits).to_f64(), |x| f16::from_f64(x).to_bits()),
        largest: 65504.0,
        even: |x| f16::from_f64(x).to_bits() & 1 == 0,
    };
    const BRAIN: reference::Format = reference::Format {
        up: |x| next(x, |bits| bf16::from_bits(bits).to_f64(), |x| bf16::from_f64(x).to_bits()),
        largest: f32::from_bits(0x7f7f_0000) as f64,
        even: |x| bf16::from_f64(x).to_bits() & 1 == 0,
    };
    fn next(x: f64, value: fn(u16) -> f64, bits: fn(f64) -> u16) -> f64 {
        let bits = bits(x);
        if x == f64::INFINITY {
            x
        } else if bits & 0x7fff == 0 {
            value(1)
        } else if x > 0.0 {
            value(bits + 1)
        } else {
            value(bits - 1)
        }
    }
    let mut random = Random(12);
    for (from, value, specials) in FLOAT_TYPES {
        let mut one: Vec<[u64; 1]> = cases(specials, 2000);
        one.extend(near_integers(from));
        if from == "f64" {
            // Near every exponent of the smaller formats, close to half-way.
            for exponent in -160..=130 {
                for _ in 0..20 {
                    let bits = random.next();
                    let x = f64::from_bits(
                        ((exponent + 1023) as u64) << 52
                            | bits & random.next() & ((1 << 52) - 1)
                            | (bits >> 63) << 63,
                    );
                    one.extend([[x.to_bits()], [x.next_up().to_bits()]]);
                }
            }
        }
        for (to, wide, format) in [
            ("f16", FLOAT_TYPES[0].1, HALF),
            ("bf16", FLOAT_TYPES[1].1, BRAIN),
            ("f32", FLOAT_TYPES[2].1, SINGLE),
        ] {
            if to == from || from == "f16" && to == "f32" || from == "bf16" && to == "f32" {
                continue;
            }
            for (rounding, mode) in ROUNDINGS {
                let form = format!("cvt.{rounding}.{to}.{from}");
                for warp in one.chunks(LANES) {
                    let mut bench = Bench::new(&form, 2, None).expect("a form");
                    for (lane, &[a]) in warp.iter().enumerate() {
                        bench.set(1, lane, a);
                    }
                    bench.run(Mask::MAX);
                    for (lane, &[a]) in warp.iter().enumerate() {
                        let (x, got) = (value(a), bench.get(0, lane));
                        let result = wide(got);
                        if x.is_nan() {
                            assert_eq!(
                                got,
                                if to == "f32" { 0x7fff_ffff } else { 0x7fff },
                                "{form}"
                            );
                        } else if x.is_infinite() || x == 0.0 {
                            assert_eq!(result.to_bits(), x.to_bits(), "{form} {a:#x}");
                        } else {
                            assert!(
                                is_rounded(mode, format, result, compare(x)),
                                "{form} {a:#x}: {got:#x}"
                            );
                            assert_eq!(
                                result.is_sign_negative(),
                                x.is_sign_negative(),
                                "{form} {a:#x}"
                            );
                        }
                    }
                }
            }
        }
    }
    check("cvt.f64.f32", &cases(&SINGLES, 500), |[a]| {
        let x = f64::from(f32::from_bits(a as u32));
        if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
    });
    check("cvt.f64.f16", &cases(&HALVES, 500), |[a]| {
        let x = f16::from_bits(a as u16).to_f64();
        if x.is_nan() { 0x7ff8_0000_0000_0000 } else { x.to_bits() }
    });
}

#[test]
fn saturated_and_flushed() {
    let saturate = |x: f32| -> f32 { if x.is_nan() || x <= 0.0 { 0.0 } else { x.min(1.0) } };
    let of = |bits: u64| f32::from_bits(bits as u32);
    let one: Vec<[u64; 1]> = cases(&SINGLES, 300);
    check("cvt.sat.f32.f32", &one, |[a]| saturate(of(a)).to_bits().into());
    check("cvt.ftz.sat.f32.f32", &one, |[a]| {
        let x = of(a);
        (if x.is_subnormal() { 0 } else { saturate(x).to_bits() }).into()
    });
    check("cvt.ftz.f32.f32", &one, |[a]| {
        let x = of(a);
        (match x {
            _ if x.is_nan() => 0x7fff_ffff,
            _ if x.is_subnormal() => x.to_bits() & 0x8000_0000,
            _ => x.to_bits(),
        })
        .into()
    });
    check("cvt.rn.sat.f16.f32", &one, |[a]| f16::from_f32(saturate(of(a))).to_bits().into());
    check("cvt.sat.f64.f32", &one, |[a]| f64::from(saturate(of(a))).to_bits());
    check(
        "cvt.rn.ftz.f32.f64",
        &[
            [f64::from(f32::MIN_POSITIVE / 2.0).to_bits()],
            [(-1e-40_f64).to_bits()],
            [1.5_f64.to_bits()],
        ],
        |[a]| {
            let x = f64::from_bits(a);
            (if x.abs() < 1.0 { 0.0_f64.copysign(x) as f32 } else { x as f32 }).to_bits().into()
        },
    );
    check("cvt.rn.ftz.f16.f32", &[[1], [0x8000_0001], [0x3380_0000]], |[a]| match a {
        1 => 0,
        0x8000_0001 => 0x8000,
        _ => 1,
    });
    // A subnormal f16 is a normal f32.
    check(
        "cvt.ftz.f32.f16",
        &[[1], [0x3c00]],
        |[a]| if a == 1 { 0x3380_0000 } else { 0x3f80_0000 },
    );
}

#[test]
fn tf32() {
    let mut one: Vec<[u64; 1]> = cases(&SINGLES, 2000);
    for low in [0, 1, 0xfff, 0x1000, 0x1001, 0x1fff, 0x2fff, 0x3000, 0x3001] {
        one.extend([
            [0x3f80_0000 | low],
            [0x0000_2000 | low],
            [0x7f7f_e000 | low],
            [0xbf80_0000 | low],
        ]);
    }
    // Magnitudes are ordered as their bits: the neighbours are multiples of 2^13.
    let round = |a: u64, kind: &str| -> u64 {
        let a = a & 0xffff_ffff;
        if f32::from_bits(a as u32).is_nan() {
            return 0x7fff_ffff;
        }
        let (below, rest) = (a & !0x1fff, a & 0x1fff);
        let up = match kind {
            "rna" => rest >= 0x1000,
            "rn" => rest > 0x1000 || rest == 0x1000 && below & 0x2000 != 0,
            _ => false,
        };
        below + if up { 0x2000 } else { 0 }
    };
    for kind in ["rna", "rn", "rz"] {
        check(&format!("cvt.{kind}.tf32.f32"), &one, |[a]| round(a, kind));
        check(&format!("cvt.{kind}.satfinite.tf32.f32"), &one, |[a]| {
            let bits = round(a, kind);
            let infinite = bits & 0x7fff_ffff == 0x7f80_0000;
            if infinite { bits & 0x8000_0000 | 0x7f7f_e000 } else { bits }
        });
    }
    check("cvt.rn.relu.tf32.f32", &one, |[a]| {
        let bits = round(a, "rn");
        if bits != 0x7fff_ffff && bits >> 31 != 0 { 0 } else { bits }
    });
    refused("cvt.rna.relu.tf32.f32", 2, "tf32");
    refused("cvt.rp.tf32.f32", 2, "tf32");
}

#[test]
fn refused_conversions() {
    for (form, reason) in [
        ("cvt.pack.sat.u8.s32.b32", "pack"),
        ("cvt.rn.satfinite.e4m3x2.f32", "e4m3x2"),
        ("cvt.rn.f16x2.e5m2x2", "two halves"),
        ("cvt.f16.f32", "rounding"),
        ("cvt.rn.f32.f16", "no rounding"),
        ("cvt.rn.s32.f32", ".rni"),
        ("cvt.s32.f32", ".rni"),
        ("cvt.f32.s32", ".rn"),
        ("cvt.rni.f32.s32", ".rn"),
        ("cvt.rn.s32.s64", "no rounding"),
        ("cvt.rni.f32.f64", "integer rounding"),
        ("cvt.ftz.f64.f16", "ftz"),
        ("cvt.rs.f16x2.f32", "rs"),
        ("cvt.rm.f16x2.f32", ".rz"),
        ("cvt.rn.sat.f32.s32", "sat"),
        ("cvt.rn.relu.f32.f64", "relu"),
        ("cvt.u32", "two types"),
        ("cvt.u32.u16.u8", "after its types"),
        ("cvt.rn.ftz.relu.f16.f32", "ftz"),
    ] {
        refused(form, 2, reason);
    }
}
