//! f32 and f64: exact references, special values, every rounding mode.

use std::cmp::Ordering;

use super::reference::{DOUBLE, Fixed, SINGLE, is_rounded};
use super::*;

const MODES: [(&str, Rounding); 4] = ROUNDINGS;

fn single(bits: u64) -> f64 {
    f32::from_bits(bits as u32).into()
}

fn double(bits: u64) -> f64 {
    f64::from_bits(bits)
}

/// Runs a form over cases and gives each result's bits to `judge`.
fn judge<const N: usize>(form: &str, cases: &[[u64; N]], judge: impl Fn([u64; N], u64)) {
    for warp in cases.chunks(LANES) {
        let mut bench =
            Bench::new(form, N + 1, None).unwrap_or_else(|error| panic!("{form}: {error}"));
        for (lane, case) in warp.iter().enumerate() {
            for (k, &value) in case.iter().enumerate() {
                bench.set(k + 1, lane, value);
            }
        }
        bench.run(Mask::MAX);
        for (lane, case) in warp.iter().enumerate() {
            judge(*case, bench.get(0, lane));
        }
    }
}

/// An operation as the sign of `factor * exact - y - z`, with what f64 gives where nothing is
/// rounded.
struct Operation<const N: usize> {
    opcode: &'static str,
    plain: fn([f64; N]) -> f64,
    compare: fn([f64; N], i32, f64, f64) -> Ordering,
}

const ADD: Operation<2> = Operation {
    opcode: "add",
    plain: |[a, b]| a + b,
    compare: |[a, b], factor, y, z| {
        Fixed::zero().add(factor, a).add(factor, b).add(-1, y).add(-1, z).sign()
    },
};
const SUB: Operation<2> = Operation {
    opcode: "sub",
    plain: |[a, b]| a - b,
    compare: |[a, b], factor, y, z| {
        Fixed::zero().add(factor, a).add(factor, -b).add(-1, y).add(-1, z).sign()
    },
};
const MUL: Operation<2> = Operation {
    opcode: "mul",
    plain: |[a, b]| a * b,
    compare: |[a, b], factor, y, z| {
        Fixed::zero().add_product(factor, a, b).add(-1, y).add(-1, z).sign()
    },
};
const FMA: Operation<3> = Operation {
    opcode: "fma",
    plain: |[a, b, c]| a.mul_add(b, c),
    compare: |[a, b, c], factor, y, z| {
        Fixed::zero().add_product(factor, a, b).add(factor, c).add(-1, y).add(-1, z).sign()
    },
};
const MAD: Operation<3> = Operation { opcode: "mad", ..FMA };
const DIV: Operation<2> = Operation {
    opcode: "div",
    plain: |[a, b]| a / b,
    compare: |[a, b], factor, y, z| {
        let sign = Fixed::zero().add(factor, a).add_product(-1, y, b).add_product(-1, z, b).sign();
        if b < 0.0 { sign.reverse() } else { sign }
    },
};
const RCP: Operation<1> = Operation {
    opcode: "rcp",
    plain: |[b]| 1.0 / b,
    compare: |[b], factor, y, z| (DIV.compare)([1.0, b], factor, y, z),
};
const SQRT: Operation<1> = Operation {
    opcode: "sqrt",
    plain: |[a]| a.sqrt(),
    compare: |[a], factor, y, z| {
        // factor^2 a against (y + z)^2
        if y + z < 0.0 {
            return Ordering::Greater;
        }
        let mut fixed = Fixed::zero().add_product(-1, y, y).add_product(-1, z, z);
        fixed = fixed.add_product(-1, y, z).add_product(-1, y, z);
        for _ in 0..factor * factor {
            fixed = fixed.add(1, a);
        }
        fixed.sign()
    },
};

/// f32 in every mode.
fn singles<const N: usize>(operation: &Operation<N>, cases: &[[u64; N]]) {
    for (name, mode) in MODES {
        let form = format!("{}.{name}.f32", operation.opcode);
        judge(&form, cases, |case, got| {
            let values = case.map(single);
            let plain = (operation.plain)(values);
            let result = single(got);
            if plain.is_nan() {
                assert_eq!(got, 0x7fff_ffff, "{form} {case:x?}");
            } else if values.iter().any(|x| x.is_infinite()) || plain.is_infinite() || plain == 0.0
            {
                // Nothing to round: infinities, and exact zeros but for their sign.
                assert_eq!(result, plain, "{form} {case:x?}");
            } else {
                let compare = |factor, y, z| (operation.compare)(values, factor, y, z);
                assert!(is_rounded(mode, SINGLE, result, compare), "{form} {case:x?}: {got:#x}");
                assert_eq!(
                    result.is_sign_negative(),
                    plain.is_sign_negative(),
                    "{form} {case:x?}: {got:#x}"
                );
            }
        });
    }
}

/// f64 in every mode; the nearest is the machine's, and is judged too where the exact value allows.
fn doubles<const N: usize>(operation: &Operation<N>, cases: &[[u64; N]]) {
    for (name, mode) in MODES {
        let form = format!("{}.{name}.f64", operation.opcode);
        judge(&form, cases, |case, got| {
            let values = case.map(double);
            let plain = (operation.plain)(values);
            let result = double(got);
            if plain.is_nan() {
                assert_eq!(got, 0x7ff8_0000_0000_0000, "{form} {case:x?}");
            } else if values.iter().any(|x| x.is_infinite())
                || operation.opcode == "rcp" && values[0] == 0.0
                || operation.opcode == "div" && values[N - 1] == 0.0
            {
                assert_eq!(result, plain, "{form} {case:x?}");
            } else if mode == Rounding::Nearest {
                assert_eq!(got, plain.to_bits(), "{form} {case:x?}");
            } else {
                let compare = |factor, y, z| (operation.compare)(values, factor, y, z);
                assert!(is_rounded(mode, DOUBLE, result, compare), "{form} {case:x?}: {got:#x}");
                if result != 0.0 || plain != 0.0 {
                    assert_eq!(
                        result.is_sign_negative(),
                        plain.is_sign_negative(),
                        "{form} {case:x?}: {got:#x}"
                    );
                }
            }
        });
    }
}

/// Numbers whose sums and products lie near half-way points: few bits set, exponents close
/// together.
fn sparse_singles(random: &mut Random, near: u32) -> u64 {
    let bits = random.next();
    let fraction = (bits & bits >> 24 & 0x7f_ffff) as u32 & (random.next() as u32);
    let exponent = near + (bits >> 48 & 31) as u32;
    u64::from((bits >> 63) as u32) << 31 | u64::from(exponent << 23 | fraction)
}

fn with_sparse<const N: usize>(mut cases: Vec<[u64; N]>, count: usize) -> Vec<[u64; N]> {
    let mut random = Random(11);
    for index in 0..count {
        // Around one, and where products and quotients are subnormal or overflow.
        let near = [112, 50, 1, 190][index % 4];
        cases.push(std::array::from_fn(|_| sparse_singles(&mut random, near)));
    }
    cases
}

#[test]
fn f32_in_every_rounding_mode() {
    singles(&ADD, &with_sparse(cases(&SINGLES, 1000), 2000));
    singles(&SUB, &with_sparse(cases(&SINGLES, 1000), 2000));
    singles(&MUL, &with_sparse(cases(&SINGLES, 1000), 2000));
    singles(&FMA, &with_sparse(cases(&SINGLES, 2000), 4000));
    singles(&MAD, &with_sparse(cases(&SINGLES[..12], 100), 100));
    singles(&DIV, &with_sparse(cases(&SINGLES, 1000), 2000));
    singles(&RCP, &with_sparse(cases(&SINGLES, 1000), 2000));
    singles(&SQRT, &with_sparse(cases(&SINGLES, 1000), 2000));
}

#[test]
fn f64_in_every_rounding_mode() {
    let mut random = Random(5);
    let mut near = |count: usize, base: u64| -> Vec<[u64; 3]> {
        (0..count)
            .map(|_| {
                std::array::from_fn(|_| {
                    let bits = random.next();
                    let fraction = bits & random.next() & random.next() & ((1 << 52) - 1);
                    (bits >> 63) << 63 | (base + (bits >> 40 & 127)) << 52 | fraction
                })
            })
            .collect()
    };
    let mut three: Vec<[u64; 3]> = cases(&DOUBLES, 1000);
    for base in [960, 450, 1, 1500, 1919] {
        three.extend(near(400, base));
    }
    let two: Vec<[u64; 2]> = cases(&DOUBLES, 500)
        .into_iter()
        .chain(three.iter().rev().take(2000).map(|&[a, b, _]| [a, b]))
        .collect();
    let one: Vec<[u64; 1]> = cases(&DOUBLES, 500)
        .into_iter()
        .chain(two.iter().rev().take(1000).map(|&[a, _]| [a]))
        .collect();
    doubles(&FMA, &three);
    doubles(&ADD, &two);
    doubles(&SUB, &two);
    doubles(&MUL, &two);
    doubles(&DIV, &two);
    doubles(&RCP, &one);
    doubles(&SQRT, &one);
}

#[test]
fn zeros_have_the_sign_of_the_mode() {
    for (name, mode) in MODES {
        let down = mode == Rounding::Down;
        for (form, one, minus) in
            [("f32", 0x3f80_0000_u64, 0x8000_0000_u64), ("f64", 0x3ff0 << 48, 1 << 63)]
        {
            let zero = |negative: bool| if negative { minus } else { 0 };
            let two = [
                [0, 0],
                [0, minus],
                [minus, 0],
                [minus, minus],
                [one, one | minus],
                [one | minus, one],
            ];
            check(&format!("add.{name}.{form}"), &two, |[a, b]| {
                zero(if a == b { a == minus } else { down })
            });
            check(&format!("sub.{name}.{form}"), &two[..4], |[a, b]| {
                zero(if a != b { a == minus } else { down })
            });
            check(&format!("mul.{name}.{form}"), &two[..4], |[a, b]| zero(a != b));
            // (±0 * ±0) ± 0, and 1 * ±1 ± 1 where they cancel.
            let three: Vec<[u64; 3]> = cases(&[0, minus], 0);
            check(&format!("fma.{name}.{form}"), &three, |[a, b, c]| {
                zero(if (a != b) == (c == minus) { c == minus } else { down })
            });
            let cancel = [[one, one, one | minus], [one, one | minus, one]];
            check(&format!("fma.{name}.{form}"), &cancel, |_| zero(down));
        }
    }
}

/// Against the machine's or libm's fused operation, by the million.
#[test]
fn fused_multiply_add_is_rounded_once() {
    let mut random = Random(2);
    let mut bench = Bench::new("fma.rn.f32", 4, None).expect("a form");
    let mut narrowed = 0;
    for round in 0..60_000_u32 {
        let mut values = [[0; LANES]; 3];
        for lane in 0..LANES {
            for operand in &mut values {
                operand[lane] = match round % 4 {
                    0 => random.next() as u32 as u64,
                    1 => sparse_singles(&mut random, 112),
                    // The sum is subnormal.
                    2 => sparse_singles(&mut random, 48),
                    _ => sparse_singles(&mut random, 180),
                };
            }
            if round % 4 == 2 {
                values[2][lane] &= 0x807f_ffff | (random.next() & 0x1f) << 23;
            }
        }
        for (k, operand) in values.iter().enumerate() {
            for (lane, &value) in operand.iter().enumerate() {
                bench.set(k + 1, lane, value);
            }
        }
        bench.run(Mask::MAX);
        for lane in 0..LANES {
            let [a, b, c] = values.map(|operand| f32::from_bits(operand[lane] as u32));
            let expected = a.mul_add(b, c);
            let expected = if expected.is_nan() { 0x7fff_ffff } else { expected.to_bits() };
            assert_eq!(bench.get(0, lane), u64::from(expected), "{a:e} * {b:e} + {c:e}");
            // What rounding twice would give.
            let twice = (f64::from(a) * f64::from(b) + f64::from(c)) as f32;
            narrowed += u32::from(!twice.is_nan() && twice.to_bits() != expected);
        }
    }
    assert!(narrowed > 100, "the operands do not try double rounding: {narrowed}");
}

#[test]
fn subnormals_are_flushed_where_it_says_so() {
    let flush = |x: f32| if x.is_subnormal() { 0.0_f32.copysign(x) } else { x };
    let of = |bits: u64| flush(f32::from_bits(bits as u32));
    let back = |x: f32| -> u64 {
        let x = flush(x);
        (if x.is_nan() { 0x7fff_ffff } else { x.to_bits() }).into()
    };
    let two: Vec<[u64; 2]> = with_sparse(cases(&SINGLES, 200), 1000);
    check("add.ftz.f32", &two, |[a, b]| back(of(a) + of(b)));
    check("sub.rn.ftz.f32", &two, |[a, b]| back(of(a) - of(b)));
    check("mul.ftz.f32", &two, |[a, b]| back(of(a) * of(b)));
    check("div.rn.ftz.f32", &two, |[a, b]| back(of(a) / of(b)));
    check("fma.rn.ftz.f32", &with_sparse(cases(&SINGLES, 200), 1000), |[a, b, c]| {
        back(of(a).mul_add(of(b), of(c)))
    });
    let one: Vec<[u64; 1]> = cases(&SINGLES, 200);
    check("sqrt.rn.ftz.f32", &one, |[a]| back(of(a).sqrt()));
    check("rcp.rn.ftz.f32", &one, |[a]| back(1.0 / of(a)));
    check("abs.ftz.f32", &one, |[a]| of(a).abs().to_bits().into());
    check("neg.ftz.f32", &one, |[a]| (-of(a)).to_bits().into());
    check("abs.f32", &one, |[a]| a & 0x7fff_ffff);
    check("neg.f32", &one, |[a]| a as u32 as u64 ^ 0x8000_0000);
    check("abs.f64", &cases(&DOUBLES, 200), |[a]| a & !(1 << 63));
    check("neg.f64", &cases(&DOUBLES, 200), |[a]| a ^ 1 << 63);
    // A mode of its own and a flush: 2^-126 less a little is a subnormal, and toward zero stays
    // one.
    check("add.rz.ftz.f32", &[[0x0080_0000, 0x8000_0001]], |_| 0x0080_0000);
    check("mul.rz.ftz.f32", &[[0x0080_0000, 0x3f7f_ffff]], |_| 0);
    check("mul.rp.f32", &[[0x0080_0000, 0x3f7f_ffff]], |_| 0x0080_0000);
}

#[test]
fn saturation_is_to_0_and_1() {
    let of = |bits: u64| f32::from_bits(bits as u32);
    let back = |x: f32| -> u64 {
        (if x.is_nan() || x <= 0.0 { 0.0_f32 } else { x.min(1.0) }).to_bits().into()
    };
    let two: Vec<[u64; 2]> = with_sparse(cases(&SINGLES, 200), 500);
    check("add.sat.f32", &two, |[a, b]| back(of(a) + of(b)));
    check("sub.rn.sat.f32", &two, |[a, b]| back(of(a) - of(b)));
    check("mul.sat.f32", &two, |[a, b]| back(of(a) * of(b)));
    check("fma.rn.sat.f32", &with_sparse(cases(&SINGLES, 200), 500), |[a, b, c]| {
        back(of(a).mul_add(of(b), of(c)))
    });
    check("fma.rz.ftz.sat.f32", &[[0x3f80_0000, 0x3f80_0000, 0xb380_0000]], |_| 0x3f7f_ffff);
    check("fma.rn.ftz.sat.f32", &[[0x3f80_0000, 0x0070_0000, 0x0000_0001]], |_| 0);
}

#[test]
fn minimum_and_maximum() {
    // -0 lies below +0.
    fn order(x: f64) -> (f64, bool) {
        (x, x.is_sign_positive())
    }
    fn smaller(a: f64, b: f64, max: bool) -> f64 {
        let less = order(a) < order(b);
        if less != max { a } else { b }
    }
    let two: Vec<[u64; 2]> = cases(&SINGLES, 500);
    for max in [false, true] {
        let opcode = if max { "max" } else { "min" };
        for nan in [false, true] {
            for ftz in [false, true] {
                for xorsign in [false, true] {
                    let form = format!(
                        "{opcode}{}{}{}.f32",
                        if ftz { ".ftz" } else { "" },
                        if nan { ".NaN" } else { "" },
                        if xorsign { ".xorsign.abs" } else { "" },
                    );
                    check(&form, &two, |[a, b]| {
                        let [a, b] = [a, b].map(single).map(|x| {
                            if ftz && (x as f32).is_subnormal() { 0.0_f64.copysign(x) } else { x }
                        });
                        let sign = a.is_sign_negative() != b.is_sign_negative();
                        let [a, b] = if xorsign { [a.abs(), b.abs()] } else { [a, b] };
                        let result = match (a.is_nan(), b.is_nan()) {
                            (true, true) => return 0x7fff_ffff,
                            (true, false) | (false, true) if nan => return 0x7fff_ffff,
                            (true, false) => b,
                            (false, true) => a,
                            _ => smaller(a, b, max),
                        };
                        let bits = (result as f32).to_bits();
                        (if xorsign { bits | u32::from(sign) << 31 } else { bits }).into()
                    });
                }
            }
        }
        check(&format!("{opcode}.f64"), &cases(&DOUBLES, 500), |[a, b]| {
            let [a, b] = [a, b].map(double);
            let result = match (a.is_nan(), b.is_nan()) {
                (true, true) => return 0x7ff8_0000_0000_0000,
                (true, false) => b,
                (false, true) => a,
                _ => smaller(a, b, max),
            };
            result.to_bits()
        });
        refused(&format!("{opcode}.f32"), 4, "4 operands");
    }
}

/// The ISA's tables of special values.
#[test]
fn approximations_of_special_values() {
    let [zero, one, infinity, nan] = [0, 0x3f80_0000, 0x7f80_0000, 0x7fff_ffff_u64];
    let minus = 0x8000_0000;
    let tables: [(&str, &[(u64, u64)]); 11] = [
        (
            "rcp.approx.f32",
            &[
                (infinity | minus, minus),
                (minus, infinity | minus),
                (zero, infinity),
                (infinity, zero),
                (nan, nan),
                (1, infinity),
                (0x8000_0001, infinity | minus),
            ],
        ),
        (
            "rcp.approx.ftz.f32",
            &[(1, infinity), (0x8000_0001, infinity | minus), (0x7f00_0001, zero)],
        ),
        (
            "sqrt.approx.f32",
            &[
                (infinity | minus, nan),
                (one | minus, nan),
                (minus, minus),
                (zero, zero),
                (infinity, infinity),
                (nan, nan),
                (0x4080_0000, 0x4000_0000),
            ],
        ),
        (
            "rsqrt.approx.f32",
            &[
                (infinity | minus, nan),
                (one | minus, nan),
                (minus, infinity | minus),
                (zero, infinity),
                (infinity, zero),
                (nan, nan),
                (0x4080_0000, 0x3f00_0000),
            ],
        ),
        ("rsqrt.approx.ftz.f32", &[(0x8000_0001, infinity | minus), (1, infinity)]),
        (
            "sin.approx.f32",
            &[(infinity | minus, nan), (minus, minus), (zero, zero), (infinity, nan), (nan, nan)],
        ),
        (
            "cos.approx.f32",
            &[(infinity | minus, nan), (minus, one), (zero, one), (infinity, nan), (nan, nan)],
        ),
        (
            "lg2.approx.f32",
            &[
                (infinity | minus, nan),
                (one | minus, nan),
                (minus, infinity | minus),
                (zero, infinity | minus),
                (infinity, infinity),
                (nan, nan),
                (1, 0xc315_0000),
                (0x4100_0000, 0x4040_0000),
            ],
        ),
        (
            "ex2.approx.f32",
            &[
                (infinity | minus, zero),
                (minus, one),
                (zero, one),
                (1, one),
                (infinity, infinity),
                (nan, nan),
                // 2^-127 is subnormal, 2^-149 the least, 2^128 too large, 2^-1000 too small.
                (0xc2fe_0000, 0x0040_0000),
                (0xc315_0000, 1),
                (0x4300_0000, infinity),
                (0xc47a_0000, zero),
                (0x7f7f_ffff, infinity),
                (0xff7f_ffff, zero),
            ],
        ),
        (
            "ex2.approx.ftz.f32",
            &[(0xc2fe_0000, zero), (0xc2fc_0000, 0x0080_0000), (1, one), (nan, nan)],
        ),
        (
            "tanh.approx.f32",
            &[
                (infinity | minus, one | minus),
                (minus, minus),
                (zero, zero),
                (infinity, one),
                (nan, nan),
            ],
        ),
    ];
    for (form, table) in tables {
        for &(x, expected) in table {
            check(form, &[[x]], |_| expected);
        }
    }
    // div.approx gives 0 for a divisor above 2^126, and a NaN for an infinite dividend.
    let large = 0x7e80_0001;
    for (a, b, expected) in [
        (one, large, zero),
        (one, large | minus, minus),
        (infinity, large, nan),
        (zero, large, zero),
        (0x3f00_0000, 0x7e80_0000, 0x0040_0000),
        (one, infinity, zero),
        (infinity, infinity, nan),
        (one, zero, infinity),
        (zero, zero, nan),
        (0x40c0_0000, 0x4000_0000, 0x4040_0000),
    ] {
        check("div.approx.f32", &[[a, b]], |_| expected);
    }
    check("div.approx.ftz.f32", &[[0x3f00_0000, 0x7e80_0000]], |_| 0);
    check("div.full.f32", &[[one, large]], |_| {
        (1.0 / f32::from_bits(large as u32)).to_bits().into()
    });
    check("div.full.ftz.f32", &[[one, large]], |_| 0);
}

/// Within little more than half of the last place of the f64 function.
#[test]
fn approximations_are_close() {
    type Function = fn(f64) -> f64;
    let functions: [(&str, f32, Function); 8] = [
        ("ex2.approx.f32", 160.0, f64::exp2),
        ("lg2.approx.f32", 1e30, f64::log2),
        ("sin.approx.f32", 100.0, f64::sin),
        ("cos.approx.f32", 100.0, f64::cos),
        ("tanh.approx.f32", 10.0, f64::tanh),
        ("rsqrt.approx.f32", 1e30, |x| 1.0 / x.sqrt()),
        ("rcp.approx.f32", 1e30, |x| 1.0 / x),
        ("sqrt.approx.f32", 1e30, f64::sqrt),
    ];
    let mut random = Random(9);
    for (form, range, function) in functions {
        let cases: Vec<[u64; 1]> = (0..20_000)
            .map(|_| {
                let x = (random.next() as i64 as f64 / i64::MAX as f64) as f32 * range;
                let x = if matches!(form, "lg2.approx.f32" | "rsqrt.approx.f32" | "sqrt.approx.f32")
                {
                    x.abs()
                } else {
                    x
                };
                [x.to_bits().into()]
            })
            .collect();
        judge(form, &cases, |[x], got| {
            let exact = function(single(x));
            let got = f32::from_bits(got as u32);
            if (exact as f32).is_infinite() {
                assert_eq!(got, exact as f32, "{form} {x:#x}");
            } else {
                let place = f64::from(got.abs().next_up()) - f64::from(got.abs());
                let error = (f64::from(got) - exact).abs() / place;
                assert!(error <= 0.501, "{form} {x:#x}: {got:e}, {error} places");
            }
        });
    }
}

#[test]
fn what_the_isa_has_not_is_refused() {
    for (form, operands) in [
        ("fma.f32", 4),
        ("fma.rn.sat.ftz.f32", 4),
        ("fma.approx.f32", 4),
        ("div.f32", 3),
        ("div.rn.sat.f32", 3),
        ("add.ftz.f64", 3),
        ("add.sat.f64", 3),
        ("mul.approx.f32", 3),
        ("sqrt.f32", 2),
        ("sin.f32", 2),
        ("ex2.approx.sat.f32", 2),
        ("ex2.approx.f64", 2),
        ("abs.rn.f32", 2),
        ("neg.sat.f32", 2),
        ("rcp.approx.ftz.f64", 2),
        ("rsqrt.approx.f64", 2),
        ("min.NaN.ftz.f32", 3),
        ("max.NaN.f64", 3),
        ("min.xorsign.f32", 3),
        ("tanh.approx.ftz.f32", 2),
        ("add.rna.f32", 3),
        ("add.f32.f16", 3),
        ("add.rn.f32x2", 3),
        ("sqrt.full.f32", 2),
        ("rcp.rn.ftz.f64", 2),
    ] {
        refused(form, operands, "no supported form");
    }
    for form in [
        "add.cc.u32",
        "addc.u32",
        "addc.cc.u32",
        "sub.cc.s32",
        "subc.u64",
        "mad.lo.cc.u32",
        "madc.hi.u32",
    ] {
        refused(form, 3, "carry");
    }
}
