//! Logic, shifts and fields of bits.

use super::{Arithmetic, OperandSlot, by_type, lanes};
use crate::registers::Width;

/// A form on whole predicate registers: `preds!(|a, b| a & b)`.
macro_rules! preds {
    (|$($source:ident),+| $body:expr) => {{
        const SOURCES: usize = [$(stringify!($source)),+].len();
        let mut slots = vec![OperandSlot::Write(Width::Pred)];
        slots.resize(1 + SOURCES, OperandSlot::Read(Width::Pred));
        Arithmetic {
            run: |registers, operands, mask| {
                let mut rest = operands[1..].iter();
                $(let $source = registers.preds
                    [rest.next().expect("operands as in the slots").0 as usize];)+
                let to = operands[0].0 as usize;
                registers.preds[to] = registers.preds[to] & !mask | ($body) & mask;
                registers.preds_set[to] |= mask;
            },
            slots,
            nonzero: None,
            float_immediates: None,
        }
    }};
}

/// A row for each size.
macro_rules! bits {
    ($name:expr, $($form:tt)+) => {
        by_type!($name, ["b16" => u16, "b32" => u32, "b64" => u64], $($form)+)
    };
}

pub(super) fn lower(
    opcode: &str,
    modifiers: &[&str],
    widths: &[Option<Width>],
) -> Option<Arithmetic> {
    match (opcode, modifiers) {
        ("and", ["pred"]) => Some(preds!(|a, b| a & b)),
        ("or", ["pred"]) => Some(preds!(|a, b| a | b)),
        ("xor", ["pred"]) => Some(preds!(|a, b| a ^ b)),
        ("not", ["pred"]) => Some(preds!(|a| !a)),
        ("and", [name]) => bits!(*name, |a: T, b: T| -> T { a & b }),
        ("or", [name]) => bits!(*name, |a: T, b: T| -> T { a | b }),
        ("xor", [name]) => bits!(*name, |a: T, b: T| -> T { a ^ b }),
        ("not", [name]) => bits!(*name, |a: T| -> T { !a }),
        ("cnot", [name]) => bits!(*name, |a: T| -> T { T::from(a == 0) }),
        // The table is an immediate: a register in its place is no PTX.
        ("lop3", ["b32"]) if widths.len() == 5 && widths[4].is_none() => {
            Some(lanes!(|a: u32, b: u32, c: u32, table: u32| -> u32 { lookup(a, b, c, table) }))
        }
        ("shl", [name]) => {
            bits!(*name, |a: T, by: u32| -> T {
                if by < T::BITS { a << (by % T::BITS) } else { 0 }
            })
        }
        ("shr", [name]) => by_type!(
            *name,
            [
                "b16" | "u16" => u16, "b32" | "u32" => u32, "b64" | "u64" => u64,
                "s16" => i16, "s32" => i32, "s64" => i64,
            ],
            |a: T, by: u32| -> T {
                // One bit more than the last valid shift leaves the sign, or nothing.
                let shifted = a >> by.min(T::BITS - 1);
                if by < T::BITS { shifted } else { shifted >> 1 }
            }
        ),
        ("shf", ["l", "clamp", "b32"]) => {
            Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) << c.min(32) >> 32) as u32 }))
        }
        ("shf", ["l", "wrap", "b32"]) => {
            Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) << (c & 31) >> 32) as u32 }))
        }
        ("shf", ["r", "clamp", "b32"]) => {
            Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) >> c.min(32)) as u32 }))
        }
        ("shf", ["r", "wrap", "b32"]) => {
            Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { (pair(a, b) >> (c & 31)) as u32 }))
        }
        ("popc", ["b32"]) => Some(lanes!(|a: u32| -> u32 { a.count_ones() })),
        ("popc", ["b64"]) => Some(lanes!(|a: u64| -> u32 { a.count_ones() })),
        ("clz", ["b32"]) => Some(lanes!(|a: u32| -> u32 { a.leading_zeros() })),
        ("clz", ["b64"]) => Some(lanes!(|a: u64| -> u32 { a.leading_zeros() })),
        ("brev", ["b32"]) => Some(lanes!(|a: u32| -> u32 { a.reverse_bits() })),
        ("brev", ["b64"]) => Some(lanes!(|a: u64| -> u64 { a.reverse_bits() })),
        ("bfind", [name]) => match *name {
            "u32" => Some(lanes!(|a: u32| -> u32 { 31_u32.wrapping_sub(a.leading_zeros()) })),
            "s32" => {
                Some(lanes!(|a: i32| -> u32 { 31_u32.wrapping_sub(magnitude(a).leading_zeros()) }))
            }
            "u64" => Some(lanes!(|a: u64| -> u32 { 63_u32.wrapping_sub(a.leading_zeros()) })),
            "s64" => Some(lanes!(|a: i64| -> u32 {
                63_u32.wrapping_sub(magnitude64(a).leading_zeros())
            })),
            _ => None,
        },
        ("bfind", ["shiftamt", name]) => match *name {
            "u32" => Some(lanes!(|a: u32| -> u32 { if a == 0 { !0 } else { a.leading_zeros() } })),
            "s32" => Some(lanes!(|a: i32| -> u32 {
                let a = magnitude(a);
                if a == 0 { !0 } else { a.leading_zeros() }
            })),
            "u64" => Some(lanes!(|a: u64| -> u32 { if a == 0 { !0 } else { a.leading_zeros() } })),
            "s64" => Some(lanes!(|a: i64| -> u32 {
                let a = magnitude64(a);
                if a == 0 { !0 } else { a.leading_zeros() }
            })),
            _ => None,
        },
        ("bfe", [name]) => by_type!(
            *name,
            ["u32" => u32, "u64" => u64, "s32" => i32, "s64" => i64],
            |a: T, position: u32, length: u32| -> T {
                let (position, length) = (position & 0xff, length & 0xff);
                if length == 0 {
                    0
                } else {
                    // Past the top, bits are copies of the sign, or zeros.
                    let last = T::BITS - 1;
                    let shifted = a >> position.min(last);
                    let shifted = if position > last { shifted >> 1 } else { shifted };
                    // The field's own top bit, or the word's where it reaches past that.
                    let free = T::BITS - length.min(T::BITS);
                    shifted << free >> free
                }
            }
        ),
        ("bfi", [name @ ("b32" | "b64")]) => {
            bits!(*name, |a: T, b: T, position: u32, length: u32| -> T {
                let (position, length) = (position & 0xff, length & 0xff);
                let field =
                    if length < T::BITS { ((1 as T) << (length % T::BITS)) - 1 } else { !0 };
                let inside = position < T::BITS;
                let position = position % T::BITS;
                let field = if inside { field << position } else { 0 };
                b & !field | a << position & field
            })
        }
        ("bmsk", ["clamp", "b32"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            let (from, length) = (a.min(32), b.min(32));
            (((1_u64 << length) - 1) << from) as u32
        })),
        ("bmsk", ["wrap", "b32"]) => Some(lanes!(|a: u32, b: u32| -> u32 {
            let (from, length) = (a & 31, b & 31);
            (((1_u64 << length) - 1) << from) as u32
        })),
        ("szext", [mode @ ("clamp" | "wrap"), name @ ("u32" | "s32")]) => {
            Some(match (*mode, *name) {
                ("clamp", "u32") => lanes!(|a: u32, n: u32| -> u32 { low_bits(a, n.min(32)) }),
                ("clamp", _) => lanes!(|a: u32, n: u32| -> u32 { sign_extended(a, n.min(32)) }),
                (_, "u32") => lanes!(|a: u32, n: u32| -> u32 { low_bits(a, n & 31) }),
                _ => lanes!(|a: u32, n: u32| -> u32 { sign_extended(a, n & 31) }),
            })
        }
        ("prmt", ["b32"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| {
                let selector = c >> (4 * k);
                (selector & 7, selector & 8 != 0)
            })
        })),
        // The modes give a byte of the pair for each byte k of the result, from i, the low bits of
        // c.
        ("prmt", ["b32", "f4e"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| ((c & 3) + k, false))
        })),
        ("prmt", ["b32", "b4e"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| ((c & 3).wrapping_sub(k) & 7, false))
        })),
        ("prmt", ["b32", "rc8"]) => {
            Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { permute(a, b, |_| (c & 3, false)) }))
        }
        ("prmt", ["b32", "ecl"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| ((c & 3).max(k), false))
        })),
        ("prmt", ["b32", "ecr"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| ((c & 3).min(k), false))
        })),
        ("prmt", ["b32", "rc16"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            permute(a, b, |k| (2 * (c & 1) + (k & 1), false))
        })),
        _ => None,
    }
}

/// `b` above `a`.
#[inline(always)]
fn pair(a: u32, b: u32) -> u64 {
    u64::from(b) << 32 | u64::from(a)
}

/// Bit `4 a + 2 b + c` of the table for each bit of the operands.
#[inline(always)]
fn lookup(a: u32, b: u32, c: u32, table: u32) -> u32 {
    let row = |index: u32, bits: u32| (table >> index & 1).wrapping_neg() & bits;
    row(0, !a & !b & !c)
        | row(1, !a & !b & c)
        | row(2, !a & b & !c)
        | row(3, !a & b & c)
        | row(4, a & !b & !c)
        | row(5, a & !b & c)
        | row(6, a & b & !c)
        | row(7, a & b & c)
}

/// The bits that differ from the sign.
#[inline(always)]
fn magnitude(a: i32) -> u32 {
    (a ^ a >> 31) as u32
}

#[inline(always)]
fn magnitude64(a: i64) -> u64 {
    (a ^ a >> 63) as u64
}

/// The low `n` bits, `n` up to 32.
#[inline(always)]
fn low_bits(a: u32, n: u32) -> u32 {
    (u64::from(a) & ((1 << n) - 1)) as u32
}

/// The low `n` bits as a signed number, `n` up to 32; 0 for `n` = 0.
#[inline(always)]
fn sign_extended(a: u32, n: u32) -> u32 {
    ((u64::from(a) << (64 - n.max(1))) as i64 >> (64 - n.max(1))) as u32
        & if n == 0 { 0 } else { !0 }
}

/// Four bytes of the pair `b:a`: `select` gives for byte k of the result the index of its source,
/// and whether that byte's sign bit is copied to all eight bits instead.
#[inline(always)]
fn permute(a: u32, b: u32, select: impl Fn(u32) -> (u32, bool)) -> u32 {
    let source = pair(a, b);
    let mut result = 0;
    for k in 0..4 {
        let (index, sign) = select(k);
        let byte = (source >> (8 * index)) as u8;
        let byte = if sign { (byte as i8 >> 7) as u8 } else { byte };
        result |= u32::from(byte) << (8 * k);
    }
    result
}
