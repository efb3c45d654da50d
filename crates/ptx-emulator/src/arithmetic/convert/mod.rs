//! `cvt`: conversions among integers of 8 to 64 bits, f16, bf16, f32, f64 and tf32.

mod clamped;
mod floats;
mod integers;
mod mixed;
mod types;

use super::half::{F16, Format};
use super::{
    Arithmetic, FloatWidth, Form, OperandSlot, ROUNDINGS, Rounding, Run, choose, float, lanes,
};
use crate::registers::Width;
use types::{Options, Type, TypeKind};

const TYPES: [(&str, Type); 12] = [
    ("u8", Type { kind: TypeKind::Unsigned, bits: 8 }),
    ("u16", Type { kind: TypeKind::Unsigned, bits: 16 }),
    ("u32", Type { kind: TypeKind::Unsigned, bits: 32 }),
    ("u64", Type { kind: TypeKind::Unsigned, bits: 64 }),
    ("s8", Type { kind: TypeKind::Signed, bits: 8 }),
    ("s16", Type { kind: TypeKind::Signed, bits: 16 }),
    ("s32", Type { kind: TypeKind::Signed, bits: 32 }),
    ("s64", Type { kind: TypeKind::Signed, bits: 64 }),
    ("f16", Type { kind: TypeKind::Float, bits: 16 }),
    ("bf16", Type { kind: TypeKind::Brain, bits: 16 }),
    ("f32", Type { kind: TypeKind::Float, bits: 32 }),
    ("f64", Type { kind: TypeKind::Float, bits: 64 }),
];

const INTEGER_ROUNDINGS: [(&str, Rounding); 4] = [
    ("rni", Rounding::Nearest),
    ("rzi", Rounding::Zero),
    ("rmi", Rounding::Down),
    ("rpi", Rounding::Up),
];

pub(super) fn lower(modifiers: &[&str], widths: &[Option<Width>]) -> Result<Arithmetic, String> {
    let mut form = Form::new(modifiers);
    if form.rest.first() == Some(&"pack") {
        return Err("`cvt.pack` is not supported".to_owned());
    }
    if modifiers.contains(&"tf32") {
        return clamped::to_tf32(form);
    }
    let mut options = Options { integral: form.one_of(&INTEGER_ROUNDINGS), ..Options::default() };
    if options.integral.is_none() {
        options.rounding = form.one_of(&ROUNDINGS);
    }
    options.ftz = form.take("ftz");
    options.relu = form.take("relu");
    options.satfinite = form.take("satfinite");
    options.sat = form.take("sat");
    if let Some(format) = form.one_of(&[("f16x2", false), ("bf16x2", true)]) {
        return clamped::to_two(format, options, form);
    }
    let (Some(to), Some(from)) = (form.one_of(&TYPES), form.one_of(&TYPES)) else {
        return Err(match form.rest.first() {
            Some(modifier) => format!("`cvt` with `.{modifier}` at this place is not supported"),
            None => "`cvt` names two types".to_owned(),
        });
    };
    if form.end().is_none() {
        return Err(format!("`cvt` with `.{}` after its types is not supported", form.rest[0]));
    }
    if options.relu || options.satfinite {
        return clamped::to_clamped_half(to, from, options);
    }
    let width = destination(to, widths)?;
    let run = match common(modifiers, width) {
        Some(run) => run,
        None => select(to, from, options, width)?,
    };
    Ok(Arithmetic {
        run,
        slots: vec![OperandSlot::Write(width), OperandSlot::Read(source(from, widths))],
        nonzero: None,
        float_immediates: immediates(from),
    })
}

/// The forms of most kernels, in one step.
fn common(modifiers: &[&str], width: Width) -> Option<Run> {
    let form = match (modifiers, width) {
        (["rn", "f16", "f32"], _) => lanes!(|a: f32| -> u16 { <F16 as Format>::narrow(a) as u16 }),
        (["f32", "f16"], _) => lanes!(|a: u16| -> f32 { <F16 as Format>::wide(a.into()) }),
        (["sat", "f32", "f32"], _) => lanes!(|a: f32| -> f32 { float::saturate(a) }),
        (["rzi", "s32", "f32"], Width::B32) => lanes!(|a: f32| -> i32 { a as i32 }),
        (["s64", "s32"], _) => lanes!(|a: i32| -> i64 { a.into() }),
        (["u64", "u32"], _) => lanes!(|a: u32| -> u64 { a.into() }),
        (["u32" | "s32", "u64" | "s64"], Width::B32) => lanes!(|a: u64| -> u32 { a as u32 }),
        _ => return None,
    };
    Some(form.run)
}

/// The destination's register may be wider than its type.
fn destination(to: Type, widths: &[Option<Width>]) -> Result<Width, String> {
    let written = widths.first().copied().flatten().unwrap_or(to.width());
    if written == to.width() || written > to.width() && !to.is_float() {
        return Ok(written);
    }
    // An f16 may lie in the low half of a register of 32 bits, with zeros above.
    if to.kind == TypeKind::Float && to.bits == 16 && written == Width::B32 {
        return Ok(written);
    }
    Err(format!("`cvt` to {} bits into a register of another width is not supported", to.bits))
}

/// The source of 8 or 16 bits may lie in the low part of a register of 32, which holds it as well;
/// for a wider one than that the caller takes the low part.
fn source(from: Type, widths: &[Option<Width>]) -> Width {
    match widths.get(1) {
        Some(Some(Width::B32)) if from.width() == Width::B16 => Width::B32,
        _ => from.width(),
    }
}

fn immediates(from: Type) -> Option<FloatWidth> {
    match (from.kind, from.bits) {
        (TypeKind::Float, 32) => Some(FloatWidth::F32),
        (TypeKind::Float, 64) => Some(FloatWidth::F64),
        _ => None,
    }
}

fn select(to: Type, from: Type, options: Options, width: Width) -> Result<Run, String> {
    let single = |side: Type| side.kind == TypeKind::Float && side.bits == 32;
    if options.ftz && !single(to) && !single(from) {
        return Err("`cvt.ftz` without an f32 is no form of the ISA".to_owned());
    }
    match (to.is_float(), from.is_float()) {
        (false, false) => integers::select(to, from, options, width),
        (false, true) => mixed::to_integer(to, from, options, width),
        (true, false) => mixed::from_integer(to, from, options),
        (true, true) => floats::select(to, from, options),
    }
}
