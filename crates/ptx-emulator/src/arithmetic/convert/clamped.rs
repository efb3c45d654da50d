//! f32 to f16 and bf16 with `.relu` or `.satfinite`, to two of them, and to tf32.

use super::choose;
use super::types::{Options, Type, TypeKind};
use crate::arithmetic::exact::{Mode, Nearest, Zero};
use crate::arithmetic::float::canonical;
use crate::arithmetic::half::{self, Bf16, F16, Format, relu};
use crate::arithmetic::{Arithmetic, Form, Rounding, flag, lanes};

/// `.satfinite`: to the largest finite magnitude; a NaN stays.
#[inline(always)]
fn finite<F: Format>(x: f32) -> f32 {
    let limited = if x.abs() > F::MAX { F::MAX.copysign(x) } else { x };
    if x.is_nan() { x } else { limited }
}

/// f32 to a half, with what comes before.
#[inline(always)]
fn clamped<F: Format, M: Mode, const RELU: bool, const FINITE: bool>(x: f32) -> u32 {
    let x = if FINITE { finite::<F>(x) } else { x };
    half::narrow::<F, M>(if RELU { relu(x) } else { x })
}

/// `$form` with the format, the mode and the two flags.
macro_rules! clamps {
    ($brain:expr, $options:expr, |$F:ident, $M:ident, $RELU:ident, $FINITE:ident| $form:expr) => {
        choose!(
            ($brain, $options.rounding),
            [
                (false, Some(Rounding::Nearest)) => (F16, Nearest),
                (false, Some(Rounding::Zero)) => (F16, Zero),
                (true, Some(Rounding::Nearest)) => (Bf16, Nearest),
                (true, Some(Rounding::Zero)) => (Bf16, Zero),
            ] else Err(
                "`cvt` to f16x2, bf16x2, or with .relu or .satfinite rounds with .rn or .rz"
                    .to_owned()
            ),
            (|$F, $M| Ok(flag!($options.relu, |$RELU| flag!($options.satfinite, |$FINITE| $form))))
        )
    };
}

/// `.frnd2{.relu}{.satfinite}.f16.f32` and bf16.
pub(super) fn to_clamped_half(
    to: Type,
    from: Type,
    options: Options,
) -> Result<Arithmetic, String> {
    if to.bits != 16
        || !to.is_float()
        || from.bits != 32
        || !from.is_float()
        || options.ftz
        || options.sat
    {
        return Err("`cvt` with .relu or .satfinite is supported from f32 to f16 and bf16, without .ftz and .sat".into());
    }
    clamps!(to.kind == TypeKind::Brain, options, |F, M, RELU, FINITE| {
        lanes!(|a: f32| -> u16 { clamped::<F, M, RELU, FINITE>(a) as u16 })
    })
}

/// `.frnd2{.relu}{.satfinite}.f16x2.f32 d, a, b`: a to the high half, b to the low one.
pub(super) fn to_two(
    brain: bool,
    options: Options,
    mut form: Form<'_>,
) -> Result<Arithmetic, String> {
    if options.ftz || options.sat || !form.take("f32") || form.end().is_none() {
        return Err("`cvt` to two halves is supported from f32, without .ftz and .sat".to_owned());
    }
    clamps!(brain, options, |F, M, RELU, FINITE| {
        lanes!(|a: f32, b: f32| -> u32 {
            let high = clamped::<F, M, RELU, FINITE>(a);
            high << 16 | clamped::<F, M, RELU, FINITE>(b)
        })
    })
}

/// `.rna{.satfinite}.tf32.f32`, `.frnd2{.satfinite}{.relu}.tf32.f32`.
pub(super) fn to_tf32(mut form: Form<'_>) -> Result<Arithmetic, String> {
    let mode = form.one_of(&[("rna", "rna"), ("rn", "rn"), ("rz", "rz")]);
    let satfinite = form.take("satfinite");
    let relu = mode != Some("rna") && form.take("relu");
    let types = form.take("tf32") && form.take("f32") && form.end().is_some();
    let (Some(mode), true) = (mode, types) else {
        return Err(
            "`cvt` to tf32 is from f32, with .rna, .rn or .rz, then .satfinite, then .relu"
                .to_owned(),
        );
    };
    macro_rules! tf32 {
        ($round:expr) => {
            flag!(satfinite, |FINITE| flag!(relu, |RELU| {
                lanes!(|a: f32| -> f32 { tf32::<FINITE, RELU>(a, $round) })
            }))
        };
    }
    // What is added before the 13 bits below a tf32's fraction are dropped.
    Ok(match mode {
        "rna" => tf32!(|_| 0x1000),
        "rn" => tf32!(|bits| 0xfff + (bits >> 13 & 1)),
        _ => tf32!(|_| 0),
    })
}

#[inline(always)]
fn tf32<const FINITE: bool, const RELU: bool>(x: f32, round: impl Fn(u32) -> u32) -> f32 {
    const MAX: f32 = f32::from_bits(0x7f7f_e000);
    let x = if FINITE && x.abs() > MAX { MAX.copysign(x) } else { x };
    let x = if RELU { relu(x) } else { x };
    let bits = x.to_bits();
    let rounded = f32::from_bits(bits.wrapping_add(round(bits)) & !0x1fff);
    if x.is_nan() { canonical(x) } else { rounded }
}
