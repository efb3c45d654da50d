//! Integer arithmetic.

use super::{Arithmetic, Form, by_type, each, lanes};

/// A row for each size, where the sign makes no difference.
macro_rules! signless {
    ($name:expr, $($form:tt)+) => {
        by_type!(
            $name,
            ["u16" | "s16" => u16, "u32" | "s32" => u32, "u64" | "s64" => u64],
            $($form)+
        )
    };
}

/// A row for each size and sign.
macro_rules! integers {
    ($name:expr, $($form:tt)+) => {
        by_type!(
            $name,
            [
                "u16" => u16, "u32" => u32, "u64" => u64,
                "s16" => i16, "s32" => i32, "s64" => i64,
            ],
            $($form)+
        )
    };
}

macro_rules! signed {
    ($name:expr, $($form:tt)+) => {
        by_type!($name, ["s16" => i16, "s32" => i32, "s64" => i64], $($form)+)
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str]) -> Option<Arithmetic> {
    match (opcode, modifiers) {
        ("add", ["sat", "s32"]) => Some(lanes!(|a: i32, b: i32| -> i32 { a.saturating_add(b) })),
        ("add", ["u16x2" | "s16x2"]) => {
            Some(lanes!(|a: u32, b: u32| -> u32 { both(a, b, u16::wrapping_add) }))
        }
        ("add", [name]) => signless!(*name, |a: T, b: T| -> T { a.wrapping_add(b) }),
        ("sub", ["sat", "s32"]) => Some(lanes!(|a: i32, b: i32| -> i32 { a.saturating_sub(b) })),
        ("sub", [name]) => signless!(*name, |a: T, b: T| -> T { a.wrapping_sub(b) }),
        ("mul", ["lo", name]) => signless!(*name, |a: T, b: T| -> T { a.wrapping_mul(b) }),
        ("mul", ["hi", name]) => integers!(*name, |a: T, b: T| -> T { a.high(b) }),
        ("mul", ["wide", name]) => match *name {
            "u16" => Some(lanes!(|a: u16, b: u16| -> u32 { u32::from(a) * u32::from(b) })),
            "s16" => Some(lanes!(|a: i16, b: i16| -> i32 { i32::from(a) * i32::from(b) })),
            "u32" => Some(lanes!(|a: u32, b: u32| -> u64 { u64::from(a) * u64::from(b) })),
            "s32" => Some(lanes!(|a: i32, b: i32| -> i64 { i64::from(a) * i64::from(b) })),
            _ => None,
        },
        ("mad", ["lo", name]) => {
            signless!(*name, |a: T, b: T, c: T| -> T { a.wrapping_mul(b).wrapping_add(c) })
        }
        ("mad", ["hi", name]) => {
            integers!(*name, |a: T, b: T, c: T| -> T { a.high(b).wrapping_add(c) })
        }
        ("mad", ["hi", "sat", "s32"]) => {
            Some(lanes!(|a: i32, b: i32, c: i32| -> i32 { a.high(b).saturating_add(c) }))
        }
        ("mad", ["wide", name]) => match *name {
            "u16" => Some(lanes!(|a: u16, b: u16, c: u32| -> u32 {
                (u32::from(a) * u32::from(b)).wrapping_add(c)
            })),
            "s16" => Some(lanes!(|a: i16, b: i16, c: i32| -> i32 {
                (i32::from(a) * i32::from(b)).wrapping_add(c)
            })),
            "u32" => Some(lanes!(|a: u32, b: u32, c: u64| -> u64 {
                (u64::from(a) * u64::from(b)).wrapping_add(c)
            })),
            "s32" => Some(lanes!(|a: i32, b: i32, c: i64| -> i64 {
                (i64::from(a) * i64::from(b)).wrapping_add(c)
            })),
            _ => None,
        },
        ("mul24" | "mad24", _) => lower_24(opcode, modifiers),
        ("div" | "rem", [name]) => {
            let form = if opcode == "div" {
                integers!(*name, |a: T, b: T| -> T {
                    let quotient = a.wrapping_div(if b == 0 { 1 } else { b });
                    if b == 0 { !0 } else { quotient }
                })
            } else {
                integers!(*name, |a: T, b: T| -> T {
                    let remainder = a.wrapping_rem(if b == 0 { 1 } else { b });
                    if b == 0 { a } else { remainder }
                })
            }?;
            Some(Arithmetic { nonzero: Some(2), ..form })
        }
        ("abs", [name]) => signed!(*name, |a: T| -> T { a.wrapping_abs() }),
        ("neg", [name]) => signed!(*name, |a: T| -> T { a.wrapping_neg() }),
        ("min", ["relu", "s32"]) => Some(lanes!(|a: i32, b: i32| -> i32 { a.min(b).max(0) })),
        ("max", ["relu", "s32"]) => Some(lanes!(|a: i32, b: i32| -> i32 { a.max(b).max(0) })),
        ("min", ["u16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 { both(a, b, u16::min) })),
        ("max", ["u16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 { both(a, b, u16::max) })),
        ("min", ["s16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            both(a, b, |a, b| (a as i16).min(b as i16) as u16)
        })),
        ("max", ["s16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            both(a, b, |a, b| (a as i16).max(b as i16) as u16)
        })),
        ("min", ["relu", "s16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            both(a, b, |a, b| (a as i16).min(b as i16).max(0) as u16)
        })),
        ("max", ["relu", "s16x2"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            both(a, b, |a, b| (a as i16).max(b as i16).max(0) as u16)
        })),
        ("min", [name]) => integers!(*name, |a: T, b: T| -> T { a.min(b) }),
        ("max", [name]) => integers!(*name, |a: T, b: T| -> T { a.max(b) }),
        ("sad", [name]) => integers!(*name, |a: T, b: T, c: T| -> T {
            c.wrapping_add(a.max(b).wrapping_sub(a.min(b)))
        }),
        ("dp4a", [a @ ("u32" | "s32"), b @ ("u32" | "s32")]) => Some(match (*a, *b) {
            ("u32", "u32") => {
                lanes!(|a: u32, b: u32, c: u32| -> u32 {
                    dot::<4>(bytes::<false>(a), bytes::<false>(b), c)
                })
            }
            ("u32", _) => {
                lanes!(|a: u32, b: u32, c: u32| -> u32 {
                    dot::<4>(bytes::<false>(a), bytes::<true>(b), c)
                })
            }
            (_, "u32") => {
                lanes!(|a: u32, b: u32, c: u32| -> u32 {
                    dot::<4>(bytes::<true>(a), bytes::<false>(b), c)
                })
            }
            _ => lanes!(|a: u32, b: u32, c: u32| -> u32 {
                dot::<4>(bytes::<true>(a), bytes::<true>(b), c)
            }),
        }),
        ("dp2a", [half @ ("lo" | "hi"), a @ ("u32" | "s32"), b @ ("u32" | "s32")]) => {
            macro_rules! dp2a {
                ($a:literal, $b:literal) => {
                    if *half == "lo" {
                        lanes!(|a: u32, b: u32, c: u32| -> u32 {
                            let [b0, b1, _, _] = bytes::<$b>(b);
                            dot::<2>(halves::<$a>(a), [b0, b1], c)
                        })
                    } else {
                        lanes!(|a: u32, b: u32, c: u32| -> u32 {
                            let [_, _, b2, b3] = bytes::<$b>(b);
                            dot::<2>(halves::<$a>(a), [b2, b3], c)
                        })
                    }
                };
            }
            Some(match (*a, *b) {
                ("u32", "u32") => dp2a!(false, false),
                ("u32", _) => dp2a!(false, true),
                (_, "u32") => dp2a!(true, false),
                _ => dp2a!(true, true),
            })
        }
        _ => None,
    }
}

/// `mul24` and `mad24`: products of the low 24 bits, of which `.lo` gives bits 31..0 and `.hi` bits
/// 47..16.
fn lower_24(opcode: &str, modifiers: &[&str]) -> Option<Arithmetic> {
    let mut form = Form::new(modifiers);
    let high = form.one_of(&[("lo", false), ("hi", true)])?;
    let saturate = opcode == "mad24" && high && form.take("sat");
    let signed = form.one_of(&[("u32", false), ("s32", true)])?;
    form.end()?;
    Some(match (opcode, high, signed, saturate) {
        (_, _, false, true) => return None,
        ("mul24", false, false, _) => {
            lanes!(|a: u32, b: u32| -> u32 { product_24::<false>(a, b) as u32 })
        }
        ("mul24", false, true, _) => {
            lanes!(|a: u32, b: u32| -> u32 { product_24::<true>(a, b) as u32 })
        }
        ("mul24", true, false, _) => {
            lanes!(|a: u32, b: u32| -> u32 { (product_24::<false>(a, b) >> 16) as u32 })
        }
        ("mul24", true, true, _) => {
            lanes!(|a: u32, b: u32| -> u32 { (product_24::<true>(a, b) >> 16) as u32 })
        }
        (_, false, false, _) => lanes!(|a: u32, b: u32, c: u32| -> u32 {
            (product_24::<false>(a, b) as u32).wrapping_add(c)
        }),
        (_, false, true, _) => lanes!(|a: u32, b: u32, c: u32| -> u32 {
            (product_24::<true>(a, b) as u32).wrapping_add(c)
        }),
        (_, true, false, _) => lanes!(|a: u32, b: u32, c: u32| -> u32 {
            ((product_24::<false>(a, b) >> 16) as u32).wrapping_add(c)
        }),
        (_, true, true, false) => lanes!(|a: u32, b: u32, c: u32| -> u32 {
            ((product_24::<true>(a, b) >> 16) as u32).wrapping_add(c)
        }),
        (_, true, true, true) => lanes!(|a: u32, b: u32, c: i32| -> i32 {
            ((product_24::<true>(a, b) >> 16) as i32).saturating_add(c)
        }),
    })
}

/// The 48-bit product of the low 24 bits, sign-extended or not.
#[inline(always)]
fn product_24<const SIGNED: bool>(a: u32, b: u32) -> i64 {
    let extend = |x: u32| {
        if SIGNED { i64::from((x << 8) as i32 >> 8) } else { i64::from(x & 0xff_ffff) }
    };
    extend(a) * extend(b)
}

/// The four bytes, sign-extended or not.
#[inline(always)]
fn bytes<const SIGNED: bool>(x: u32) -> [i32; 4] {
    each(&x.to_le_bytes(), |byte| if SIGNED { i32::from(byte as i8) } else { i32::from(byte) })
}

/// The two halves, sign-extended or not.
#[inline(always)]
fn halves<const SIGNED: bool>(x: u32) -> [i32; 2] {
    each(&[x as u16, (x >> 16) as u16], |half| {
        if SIGNED { i32::from(half as i16) } else { i32::from(half) }
    })
}

/// `c + sum a_i b_i` modulo 2^32.
#[inline(always)]
fn dot<const N: usize>(a: [i32; N], b: [i32; N], c: u32) -> u32 {
    (0..N).fold(c, |sum, i| sum.wrapping_add(a[i].wrapping_mul(b[i]) as u32))
}

/// An operation on both 16-bit halves.
#[inline(always)]
fn both(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

/// The high half of a product of twice the width.
trait High {
    fn high(self, other: Self) -> Self;
}

macro_rules! high {
    ($($type:ty, $twice:ty;)+) => {
        $(impl High for $type {
            #[inline(always)]
            fn high(self, other: Self) -> Self {
                ((<$twice>::from(self) * <$twice>::from(other)) >> Self::BITS) as Self
            }
        })+
    };
}

high! {
    u16, u32;
    i16, i32;
    u32, u64;
    i32, i64;
    u64, u128;
    i64, i128;
}
