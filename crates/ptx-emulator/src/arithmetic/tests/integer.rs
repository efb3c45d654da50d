//! Integer arithmetic against i128.

use super::*;

/// Name, size, sign.
const TYPES: [(&str, u32, bool); 6] = [
    ("u16", 16, false),
    ("s16", 16, true),
    ("u32", 32, false),
    ("s32", 32, true),
    ("u64", 64, false),
    ("s64", 64, true),
];

/// The low bits of an operand as a number.
fn number(x: u64, bits: u32, signed: bool) -> i128 {
    let x = i128::from(x) & ((1 << bits) - 1);
    if signed && x >> (bits - 1) != 0 { x - (1 << bits) } else { x }
}

/// A number in a register of this size.
fn register(x: i128, bits: u32) -> u64 {
    (x & ((1 << bits) - 1)) as u64
}

fn limited(x: i128, bits: u32) -> u64 {
    register(x.clamp(-(1 << (bits - 1)), (1 << (bits - 1)) - 1), bits)
}

fn two(name: &str, opcode: &str, f: impl Fn(i128, i128, u32) -> i128) {
    for (suffix, bits, signed) in TYPES {
        if name.contains("wide") && bits == 64 {
            continue;
        }
        check(&format!("{opcode}.{suffix}"), &cases(&INTEGERS, 500), |[a, b]| {
            let to = if name.contains("wide") { 2 * bits } else { bits };
            register(f(number(a, bits, signed), number(b, bits, signed), bits), to)
        });
    }
}

#[test]
fn sums_products_and_extremes() {
    two("add", "add", |a, b, _| a + b);
    two("sub", "sub", |a, b, _| a - b);
    two("lo", "mul.lo", |a, b, _| a.wrapping_mul(b));
    // A product of two u64 needs all 128 bits.
    two("hi", "mul.hi", |a, b, bits| {
        if a > 1 << 62 && b > 1 << 62 {
            (((a as u128) * (b as u128)) >> bits) as i128
        } else {
            a.wrapping_mul(b) >> bits
        }
    });
    two("wide", "mul.wide", |a, b, _| a * b);
    two("min", "min", |a, b, _| a.min(b));
    two("max", "max", |a, b, _| a.max(b));
    two("div", "div", |a, b, _| if b == 0 { -1 } else { a / b });
    two("rem", "rem", |a, b, _| if b == 0 { a } else { a % b });
    let divisor = Bench::new("div.u64", 3, None).map(|bench| bench.form.nonzero);
    assert_eq!(divisor, Ok(Some(2)));
}

#[test]
fn three_operands() {
    for (suffix, bits, signed) in TYPES {
        let of = move |x| number(x, bits, signed);
        let three: Vec<[u64; 3]> = cases(&INTEGERS, 500);
        check(&format!("mad.lo.{suffix}"), &three, |[a, b, c]| {
            register(of(a).wrapping_mul(of(b)).wrapping_add(of(c)), bits)
        });
        check(&format!("sad.{suffix}"), &three, |[a, b, c]| {
            register(of(c) + (of(a) - of(b)).abs(), bits)
        });
        if bits < 64 {
            check(&format!("mad.hi.{suffix}"), &three, |[a, b, c]| {
                register(((of(a) * of(b)) >> bits) + of(c), bits)
            });
            check(&format!("mad.wide.{suffix}"), &three, |[a, b, c]| {
                register(of(a) * of(b) + i128::from(c), 2 * bits)
            });
        }
    }
    check("mad.hi.s64", &cases(&INTEGERS, 500), |[a, b, c]| {
        register(((number(a, 64, true) * number(b, 64, true)) >> 64) + i128::from(c), 64)
    });
    check("mad.hi.u64", &cases(&INTEGERS, 500), |[a, b, c]| {
        (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)
    });
}

#[test]
fn saturation() {
    let of = |x| number(x, 32, true);
    check("add.sat.s32", &cases(&INTEGERS, 500), |[a, b]| limited(of(a) + of(b), 32));
    check("sub.sat.s32", &cases(&INTEGERS, 500), |[a, b]| limited(of(a) - of(b), 32));
    check("mad.hi.sat.s32", &cases(&INTEGERS, 500), |[a, b, c]| {
        limited(((of(a) * of(b)) >> 32) + of(c), 32)
    });
    check("mad24.hi.sat.s32", &cases(&INTEGERS, 500), |[a, b, c]| {
        limited(((number(a, 24, true) * number(b, 24, true)) >> 16) + of(c), 32)
    });
    check("max.relu.s32", &cases(&INTEGERS, 500), |[a, b]| register(of(a).max(of(b)).max(0), 32));
    check("min.relu.s32", &cases(&INTEGERS, 500), |[a, b]| register(of(a).min(of(b)).max(0), 32));
}

#[test]
fn products_of_24_bits() {
    for (suffix, signed) in [("u32", false), ("s32", true)] {
        let product = move |a, b| number(a, 24, signed) * number(b, 24, signed);
        check(&format!("mul24.lo.{suffix}"), &cases(&INTEGERS, 500), |[a, b]| {
            register(product(a, b), 32)
        });
        check(&format!("mul24.hi.{suffix}"), &cases(&INTEGERS, 500), |[a, b]| {
            register(product(a, b) >> 16, 32)
        });
        check(&format!("mad24.lo.{suffix}"), &cases(&INTEGERS, 500), |[a, b, c]| {
            register(product(a, b) + i128::from(c), 32)
        });
        check(&format!("mad24.hi.{suffix}"), &cases(&INTEGERS, 500), |[a, b, c]| {
            register((product(a, b) >> 16) + i128::from(c), 32)
        });
    }
}

#[test]
fn one_operand() {
    for (suffix, bits, signed) in TYPES.into_iter().filter(|t| t.2) {
        let of = move |x| number(x, bits, signed);
        check(&format!("abs.{suffix}"), &cases(&INTEGERS, 200), |[a]| register(of(a).abs(), bits));
        check(&format!("neg.{suffix}"), &cases(&INTEGERS, 200), |[a]| register(-of(a), bits));
    }
    refused("neg.u32", 2, "neg");
    refused("abs.u64", 2, "abs");
}

#[test]
fn two_halves() {
    let both = |a: u64, b: u64, signed, f: &dyn Fn(i128, i128) -> i128| {
        let half = |shift: u32| {
            register(f(number(a >> shift, 16, signed), number(b >> shift, 16, signed)), 16) << shift
        };
        half(0) | half(16)
    };
    let two: Vec<[u64; 2]> =
        cases(&[0, 0x1_0001, 0x7fff_8000, 0x8000_7fff, 0xffff_ffff, 0xffff_0001], 500);
    check("add.u16x2", &two, |[a, b]| both(a, b, false, &|a, b| a + b));
    check("add.s16x2", &two, |[a, b]| both(a, b, true, &|a, b| a + b));
    check("min.u16x2", &two, |[a, b]| both(a, b, false, &|a, b| a.min(b)));
    check("max.u16x2", &two, |[a, b]| both(a, b, false, &|a, b| a.max(b)));
    check("min.s16x2", &two, |[a, b]| both(a, b, true, &|a, b| a.min(b)));
    check("max.s16x2", &two, |[a, b]| both(a, b, true, &|a, b| a.max(b)));
    check("min.relu.s16x2", &two, |[a, b]| both(a, b, true, &|a, b| a.min(b).max(0)));
    check("max.relu.s16x2", &two, |[a, b]| both(a, b, true, &|a, b| a.max(b).max(0)));
}

#[test]
fn dot_products() {
    let signs = [("u32", false), ("s32", true)];
    for (a_type, a_signed) in signs {
        for (b_type, b_signed) in signs {
            let three: Vec<[u64; 3]> =
                cases(&[0, 0x7f80_ff01, 0x8080_8080, 0xffff_ffff, 0x8000_7fff], 500);
            check(&format!("dp4a.{a_type}.{b_type}"), &three, |[a, b, c]| {
                let sum: i128 = (0..4)
                    .map(|i| number(a >> (8 * i), 8, a_signed) * number(b >> (8 * i), 8, b_signed))
                    .sum();
                register(sum + i128::from(c), 32)
            });
            for (mode, first) in [("lo", 0), ("hi", 2)] {
                check(&format!("dp2a.{mode}.{a_type}.{b_type}"), &three, |[a, b, c]| {
                    let sum: i128 = (0..2)
                        .map(|i| {
                            number(a >> (16 * i), 16, a_signed)
                                * number(b >> (8 * (i + first)), 8, b_signed)
                        })
                        .sum();
                    register(sum + i128::from(c), 32)
                });
            }
        }
    }
}
