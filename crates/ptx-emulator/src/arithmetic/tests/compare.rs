//! Comparison and selection, by the ISA's table of operators.

use std::cmp::Ordering;

use super::*;

const UNORDERED: [(&str, [bool; 4]); 14] = [
    // less, equal, greater, unordered
    ("eq", [false, true, false, false]),
    ("ne", [true, false, true, false]),
    ("lt", [true, false, false, false]),
    ("le", [true, true, false, false]),
    ("gt", [false, false, true, false]),
    ("ge", [false, true, true, false]),
    ("equ", [false, true, false, true]),
    ("neu", [true, false, true, true]),
    ("ltu", [true, false, false, true]),
    ("leu", [true, true, false, true]),
    ("gtu", [false, false, true, true]),
    ("geu", [false, true, true, true]),
    ("num", [true, true, true, false]),
    ("nan", [false, false, false, true]),
];

fn holds(table: [bool; 4], order: Option<Ordering>) -> bool {
    match order {
        Some(Ordering::Less) => table[0],
        Some(Ordering::Equal) => table[1],
        Some(Ordering::Greater) => table[2],
        None => table[3],
    }
}

type Order = fn(u64, u64) -> Option<Ordering>;

const INTEGER_TYPES: [(&str, Order, char); 9] = [
    ("b16", |a, b| (a as u16).partial_cmp(&(b as u16)), 'b'),
    ("b32", |a, b| (a as u32).partial_cmp(&(b as u32)), 'b'),
    ("b64", |a, b| a.partial_cmp(&b), 'b'),
    ("u16", |a, b| (a as u16).partial_cmp(&(b as u16)), 'u'),
    ("u32", |a, b| (a as u32).partial_cmp(&(b as u32)), 'u'),
    ("u64", |a, b| a.partial_cmp(&b), 'u'),
    ("s16", |a, b| (a as i16).partial_cmp(&(b as i16)), 's'),
    ("s32", |a, b| (a as i32).partial_cmp(&(b as i32)), 's'),
    ("s64", |a, b| (a as i64).partial_cmp(&(b as i64)), 's'),
];

fn half(bits: u64) -> f64 {
    ::half::f16::from_bits(bits as u16).to_f64()
}

fn brain(bits: u64) -> f64 {
    ::half::bf16::from_bits(bits as u16).to_f64()
}

fn flushed(bits: u64) -> u64 {
    if bits & 0x7f80_0000 == 0 { bits & 0x8000_0000 } else { bits }
}

fn flushed_half(bits: u64) -> u64 {
    if bits & 0x7c00 == 0 { bits & 0x8000 } else { bits }
}

const FLOAT_TYPES: [(&str, Order); 6] = [
    ("f32", |a, b| f32::from_bits(a as u32).partial_cmp(&f32::from_bits(b as u32))),
    ("ftz.f32", |a, b| {
        f32::from_bits(flushed(a) as u32).partial_cmp(&f32::from_bits(flushed(b) as u32))
    }),
    ("f64", |a, b| f64::from_bits(a).partial_cmp(&f64::from_bits(b))),
    ("f16", |a, b| half(a).partial_cmp(&half(b))),
    ("ftz.f16", |a, b| half(flushed_half(a)).partial_cmp(&half(flushed_half(b)))),
    ("bf16", |a, b| brain(a).partial_cmp(&brain(b))),
];

fn specials(name: &str) -> &'static [u64] {
    match name {
        "f32" | "ftz.f32" => &SINGLES,
        "f64" => &DOUBLES,
        _ if name.contains("16") => &HALVES,
        _ => &INTEGERS,
    }
}

/// Every row: operator, its table, type, order.
fn rows() -> Vec<(&'static str, [bool; 4], &'static str, Order)> {
    let mut rows = Vec::new();
    for (name, order, class) in INTEGER_TYPES {
        for (operator, table) in UNORDERED.into_iter().take(if class == 'b' { 2 } else { 6 }) {
            rows.push((operator, table, name, order));
        }
        if class == 'u' {
            for (operator, same) in [("lo", 2), ("ls", 3), ("hi", 4), ("hs", 5)] {
                rows.push((operator, UNORDERED[same].1, name, order));
            }
        }
    }
    for (name, order) in FLOAT_TYPES {
        rows.extend(UNORDERED.map(|(operator, table)| (operator, table, name, order)));
    }
    rows
}

#[test]
fn setp_in_every_type() {
    for (operator, table, name, order) in rows() {
        let two: Vec<[u64; 2]> = cases(specials(name), 200);
        check(&format!("setp.{operator}.{name}"), &two, |[a, b]| holds(table, order(a, b)).into());
        let three: Vec<[u64; 3]> =
            two.iter().enumerate().map(|(i, &[a, b])| [a, b, (i / 3) as u64 & 1]).collect();
        check(&format!("setp.{operator}.and.{name}"), &three, |[a, b, c]| {
            u64::from(holds(table, order(a, b))) & c
        });
        check(&format!("setp.{operator}.or.{name}"), &three, |[a, b, c]| {
            u64::from(holds(table, order(a, b))) | c
        });
        check(&format!("setp.{operator}.xor.{name}"), &three, |[a, b, c]| {
            u64::from(holds(table, order(a, b))) ^ c
        });
        if !name.contains("16") {
            check(&format!("set.{operator}.{}", with_type("u32", name)), &two, |[a, b]| {
                if holds(table, order(a, b)) { 0xffff_ffff } else { 0 }
            });
            check(&format!("set.{operator}.{}", with_type("f32", name)), &two, |[a, b]| {
                if holds(table, order(a, b)) { 0x3f80_0000 } else { 0 }
            });
        }
    }
}

/// `.ftz` comes before both types of `set`.
fn with_type(to: &str, name: &str) -> String {
    match name.strip_prefix("ftz.") {
        Some(name) => format!("ftz.{to}.{name}"),
        None => format!("{to}.{name}"),
    }
}

/// The second destination is of the opposite comparison, combined with the same predicate.
#[test]
fn setp_with_two_destinations() {
    let mut random = Random(8);
    for (form, combine) in [
        ("setp.lt.s32", (|x, _| x) as fn(bool, bool) -> bool),
        ("setp.lt.and.s32", |x, c| x & c),
        ("setp.lt.or.s32", |x, c| x | c),
        ("setp.lt.xor.s32", |x, c| x ^ c),
    ] {
        let operands = if form == "setp.lt.s32" { 4 } else { 5 };
        let mut bench = Bench::new(form, operands, None).expect("a form");
        let values: Vec<[u64; 3]> = (0..LANES)
            .map(|_| [random.next() as i8 as u64, random.next() as i8 as u64, random.next() & 1])
            .collect();
        for (lane, case) in values.iter().enumerate() {
            for k in 2..operands {
                bench.set(k, lane, case[k - 2]);
            }
        }
        let mask = 0xf0f0_1234;
        bench.run(mask);
        for (lane, &[a, b, c]) in values.iter().enumerate() {
            let less = (a as i32) < b as i32;
            let (p, q) = if mask >> lane & 1 != 0 {
                (combine(less, c != 0).into(), combine(!less, c != 0).into())
            } else {
                (BEFORE >> lane & 1, BEFORE >> lane & 1)
            };
            assert_eq!((bench.get(0, lane), bench.get(1, lane)), (p, q), "{form} {a:x} {b:x} {c}");
        }
    }
}

#[test]
fn two_halves() {
    let two: Vec<[u64; 2]> = cases::<4>(&HALVES[..6], 3000)
        .iter()
        .map(|&[a, b, c, d]| [a & 0xffff | (b & 0xffff) << 16, c & 0xffff | (d & 0xffff) << 16])
        .collect();
    for (name, value) in [("f16x2", half as fn(u64) -> f64), ("bf16x2", brain)] {
        for (operator, table) in UNORDERED {
            let at = |a: u64, b: u64, shift: u32| {
                u64::from(holds(table, value(a >> shift).partial_cmp(&value(b >> shift))))
            };
            let one = if name == "f16x2" { 0x3c00 } else { 0x3f80 };
            check(&format!("set.{operator}.{name}.{name}"), &two, |[a, b]| {
                (at(a, b, 0) * one) | ((at(a, b, 16) * one) << 16)
            });
            check(&format!("set.{operator}.u32.{name}"), &two, |[a, b]| {
                (at(a, b, 0) * 0xffff) | ((at(a, b, 16) * 0xffff) << 16)
            });
            for warp in two.chunks_exact(LANES) {
                let mut bench =
                    Bench::new(&format!("setp.{operator}.and.{name}"), 5, None).expect("a form");
                for (lane, &[a, b]) in warp.iter().enumerate() {
                    bench.set(2, lane, a);
                    bench.set(3, lane, b);
                    bench.set(4, lane, u64::from(lane % 3 != 0));
                }
                bench.run(Mask::MAX);
                for (lane, &[a, b]) in warp.iter().enumerate() {
                    let third = u64::from(lane % 3 != 0);
                    assert_eq!(
                        bench.get(0, lane),
                        at(a, b, 0) & third,
                        "{operator} {name} {a:x} {b:x}"
                    );
                    assert_eq!(
                        bench.get(1, lane),
                        at(a, b, 16) & third,
                        "{operator} {name} {a:x} {b:x}"
                    );
                }
            }
        }
    }
    for (operator, table) in UNORDERED {
        let two: Vec<[u64; 2]> = cases(&HALVES, 200);
        check(&format!("set.{operator}.f16.f16"), &two, |[a, b]| {
            u64::from(holds(table, half(a).partial_cmp(&half(b)))) * 0x3c00
        });
        check(&format!("set.{operator}.s16.f16"), &two, |[a, b]| {
            u64::from(holds(table, half(a).partial_cmp(&half(b)))) * 0xffff
        });
        check(&format!("set.{operator}.bf16.bf16"), &two, |[a, b]| {
            u64::from(holds(table, brain(a).partial_cmp(&brain(b)))) * 0x3f80
        });
    }
}

#[test]
fn selection() {
    let three: Vec<[u64; 3]> = cases(&INTEGERS, 300);
    for (name, bits) in [
        ("b16", 16),
        ("u16", 16),
        ("s16", 16),
        ("b32", 32),
        ("u32", 32),
        ("s32", 32),
        ("f32", 32),
        ("b64", 64),
        ("u64", 64),
        ("s64", 64),
        ("f64", 64),
    ] {
        let low = u64::MAX >> (64 - bits);
        check(&format!("selp.{name}"), &three, |[a, b, c]| (if c & 1 != 0 { a } else { b }) & low);
        check(&format!("slct.{name}.s32"), &three, |[a, b, c]| {
            (if c as i32 >= 0 { a } else { b }) & low
        });
        let by_float: Vec<[u64; 3]> =
            SINGLES.iter().enumerate().map(|(i, &c)| [i as u64, !(i as u64), c]).collect();
        check(&format!("slct.{name}.f32"), &by_float, |[a, b, c]| {
            (if f32::from_bits(c as u32) >= 0.0 { a } else { b }) & low
        });
        check(&format!("slct.ftz.{name}.f32"), &by_float, |[a, b, c]| {
            (if f32::from_bits(flushed(c) as u32) >= 0.0 { a } else { b }) & low
        });
    }
    refused("slct.ftz.u32.s32", 4, "slct");
    refused("selp.f16", 4, "selp");
}

#[test]
fn properties_and_signs() {
    use std::num::FpCategory::{Infinite, Nan, Normal, Subnormal, Zero};
    let tests = [
        ("finite", vec![Zero, Subnormal, Normal]),
        ("infinite", vec![Infinite]),
        ("number", vec![Zero, Subnormal, Normal, Infinite]),
        ("notanumber", vec![Nan]),
        ("normal", vec![Normal]),
        ("subnormal", vec![Subnormal]),
    ];
    for (test, categories) in tests {
        check(&format!("testp.{test}.f32"), &cases(&SINGLES, 200), |[a]| {
            categories.contains(&f32::from_bits(a as u32).classify()).into()
        });
        check(&format!("testp.{test}.f64"), &cases(&DOUBLES, 200), |[a]| {
            categories.contains(&f64::from_bits(a).classify()).into()
        });
    }
    check("copysign.f32", &cases(&SINGLES, 200), |[a, b]| a & 0x8000_0000 | b & 0x7fff_ffff);
    check("copysign.f64", &cases(&DOUBLES, 200), |[a, b]| a & 1 << 63 | b & !(1 << 63));
}

#[test]
fn operators_of_other_types_are_refused() {
    for form in [
        "setp.lt.b32",
        "setp.lo.s32",
        "setp.equ.s32",
        "setp.nan.u32",
        "setp.hi.f32",
        "setp.ftz.f32",
        "setp.lt.ftz.s32",
        "setp.lt.ftz.f64",
        "setp.lt.ftz.bf16",
        "setp.lt.pred",
        "setp.lt.s8",
        "set.lt.f32.f16",
        "set.lt.u64.s32",
        "set.lt.f16.f32",
        "setp.lt.f32.ftz",
    ] {
        refused(form, 3, "no supported form");
    }
    refused("setp.lt.f16x2", 3, "no supported form");
    refused("set.lt.and.u32.s32", 4, "no supported form");
    refused("setp.lt.s32", 5, "no supported form");
}
