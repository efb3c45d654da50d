//! The table of atomic operations.

use crate::program::AtomicFn;
use crate::registers::Width;
use half::{bf16, f16};

/// An operation on a type.
pub(super) struct AtomicType {
    pub run: AtomicFn,
    /// In global memory.
    pub run_global: AtomicFn,
    pub bytes: u32,
    pub width: Width,
}

/// `atom.<operation>.<scalar>`, or which part of it is not supported.
pub(super) fn lower(operation: &str, scalar: &str, noftz: bool) -> Result<AtomicType, String> {
    let half = matches!(scalar, "f16" | "f16x2" | "bf16" | "bf16x2");
    if noftz != (half && operation == "add") {
        return Err(
            "modifier .noftz goes with additions of f16 and bf16, and is required there".into()
        );
    }
    let (bytes, width) = match scalar {
        "b16" | "f16" | "bf16" => (2, Width::B16),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => (4, Width::B32),
        "b64" | "u64" | "s64" | "f64" => (8, Width::B64),
        _ => return Err(format!("type .{scalar} is not supported")),
    };
    let run: AtomicFn = match (operation, scalar) {
        ("exch", "b32" | "b64") => |_, b, _| Some(b),
        ("cas", "b16" | "b32" | "b64") => |old, b, c| (old == b).then_some(c),
        ("and", "b32" | "b64") => |old, b, _| Some(old & b),
        ("or", "b32" | "b64") => |old, b, _| Some(old | b),
        ("xor", "b32" | "b64") => |old, b, _| Some(old ^ b),
        ("add", "u32" | "s32") => |old, b, _| Some((old as u32).wrapping_add(b as u32).into()),
        ("add", "u64" | "s64") => |old, b, _| Some(old.wrapping_add(b)),
        ("inc", "u32") => |old, b, _| Some(if old >= b { 0 } else { old + 1 }),
        ("dec", "u32") => |old, b, _| Some(if old == 0 || old > b { b } else { old - 1 }),
        ("min", "u32" | "u64") => |old, b, _| Some(old.min(b)),
        ("max", "u32" | "u64") => |old, b, _| Some(old.max(b)),
        ("min", "s32") => |old, b, _| Some((old as i32).min(b as i32) as u32 as u64),
        ("max", "s32") => |old, b, _| Some((old as i32).max(b as i32) as u32 as u64),
        ("min", "s64") => |old, b, _| Some((old as i64).min(b as i64) as u64),
        ("max", "s64") => |old, b, _| Some((old as i64).max(b as i64) as u64),
        ("add", "f32") => |old, b, _| {
            Some(add_f32(f32::from_bits(old as u32), f32::from_bits(b as u32)).to_bits().into())
        },
        ("add", "f64") => |old, b, _| Some((f64::from_bits(old) + f64::from_bits(b)).to_bits()),
        ("add", "f16") => |old, b, _| Some(add_f16(old as u16, b as u16).into()),
        ("add", "bf16") => |old, b, _| Some(add_bf16(old as u16, b as u16).into()),
        ("add", "f16x2") => |old, b, _| Some(pairwise(old, b, add_f16)),
        ("add", "bf16x2") => |old, b, _| Some(pairwise(old, b, add_bf16)),
        ("and" | "or" | "xor" | "exch" | "cas" | "add" | "inc" | "dec" | "min" | "max", _) => {
            return Err(format!("type .{scalar} is not supported for .{operation}"));
        }
        _ => return Err(format!("operation .{operation} is not supported")),
    };
    let run_global: AtomicFn = match (operation, scalar) {
        // In global memory, additions of f32 flush subnormal operands and results to zero.
        ("add", "f32") => |old, b, _| {
            let (old, b) = (flush(f32::from_bits(old as u32)), flush(f32::from_bits(b as u32)));
            Some(flush(add_f32(old, b)).to_bits().into())
        },
        _ => run,
    };
    Ok(AtomicType { run, run_global, bytes, width })
}

fn add_f32(a: f32, b: f32) -> f32 {
    let sum = a + b;
    if sum.is_nan() { f32::from_bits(0x7fff_ffff) } else { sum }
}

fn flush(value: f32) -> f32 {
    if value.is_subnormal() { 0f32.copysign(value) } else { value }
}

/// Rounding to f32 first changes nothing: f32 has 24 bits, at least 2 * 11 + 2.
fn add_f16(a: u16, b: u16) -> u16 {
    let sum = f16::from_bits(a).to_f32() + f16::from_bits(b).to_f32();
    if sum.is_nan() { 0x7fff } else { f16::from_f32(sum).to_bits() }
}

/// As for f16; bf16 and f32 have the same exponents, and sums of subnormals are exact.
fn add_bf16(a: u16, b: u16) -> u16 {
    let sum = bf16::from_bits(a).to_f32() + bf16::from_bits(b).to_f32();
    if sum.is_nan() { 0x7fff } else { bf16::from_f32(sum).to_bits() }
}

fn pairwise(old: u64, b: u64, add: fn(u16, u16) -> u16) -> u64 {
    let low = add(old as u16, b as u16);
    let high = add((old >> 16) as u16, (b >> 16) as u16);
    u64::from(low) | u64::from(high) << 16
}
