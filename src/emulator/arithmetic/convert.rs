//! `cvt`: conversions among integers of 8 to 64 bits, f16, bf16, f32, f64 and tf32.

use super::exact::{self, Down, Mode, Nearest, Up, Zero};
use super::float::{self, canonical, canonical64, flush};
use super::half::{self, Bf16, F16, Format, relu};
use super::{
    Arithmetic, FloatWidth, Form, LANES, Lane, Mask, Operand, ROUNDINGS, Reg, Registers, Rounding,
    Run, Slot, each, lanes,
};
use crate::emulator::registers::Width;

/// An integer of any size and sign.
trait Integer: Copy {
    const BITS: u32;
    const MIN: i128;
    const MAX: i128;
    /// The register that holds it, the low bits of which it is.
    type Register: Operand + Integer;
    /// Sign- or zero-extended.
    fn extended(self) -> u64;
    fn truncated(bits: u64) -> Self;
    fn value(self) -> i128;
    fn to_f32(self) -> f32;
    fn to_f64(self) -> f64;
    /// Towards zero, and to the limits.
    fn from_f64(x: f64) -> Self;
}

macro_rules! integers {
    ($($type:ty: $register:ty;)+) => {
        $(impl Integer for $type {
            const BITS: u32 = <$type>::BITS;
            const MIN: i128 = <$type>::MIN as i128;
            const MAX: i128 = <$type>::MAX as i128;
            type Register = $register;

            #[inline(always)]
            fn extended(self) -> u64 {
                self as u64
            }

            #[inline(always)]
            fn truncated(bits: u64) -> Self {
                bits as $type
            }

            #[inline(always)]
            fn value(self) -> i128 {
                self as i128
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                self as f32
            }

            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }

            #[inline(always)]
            fn from_f64(x: f64) -> Self {
                x as $type
            }
        })+
    };
}

integers! {
    u8: u16;
    i8: u16;
    u16: u16;
    i16: u16;
    u32: u32;
    i32: u32;
    u64: u64;
    i64: u64;
}

/// A floating-point type, as read from and written to a register.
trait Float {
    type Register: Operand;
    /// Exact.
    fn wide(register: Self::Register) -> f64;
    /// Rounded once. `x` is exact or rounded to odd; a NaN gives the canonical one.
    fn narrow<M: Mode>(x: f64) -> Self::Register;
}

struct F32;
struct F32Ftz;
struct F64;

impl Float for F32 {
    type Register = f32;

    #[inline(always)]
    fn wide(register: f32) -> f64 {
        register.into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f32 {
        canonical(exact::narrow::<M>(x))
    }
}

impl Float for F32Ftz {
    type Register = f32;

    #[inline(always)]
    fn wide(register: f32) -> f64 {
        flush(register).into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f32 {
        flush(F32::narrow::<M>(x))
    }
}

impl Float for F64 {
    type Register = f64;

    #[inline(always)]
    fn wide(register: f64) -> f64 {
        register
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> f64 {
        canonical64(x)
    }
}

impl<H: Format> Float for H {
    type Register = u16;

    #[inline(always)]
    fn wide(register: u16) -> f64 {
        H::wide(register.into()).into()
    }

    #[inline(always)]
    fn narrow<M: Mode>(x: f64) -> u16 {
        half::narrow::<H, M>(exact::narrow_odd(x)) as u16
    }
}

/// The lanes between the two halves of a conversion, which the many pairs of types share.
type Wide<T> = [T; LANES];

#[inline(always)]
fn read<A: Operand, T: Copy + Default>(
    registers: &Registers,
    from: Reg,
    f: impl Fn(A) -> T,
) -> Wide<T> {
    each(&A::load(registers, from), f)
}

#[inline(always)]
fn write<T: Copy, D: Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<T>,
    f: impl Fn(T) -> D,
) {
    D::store(registers, to, mask, each(values, f));
}

#[inline(always)]
fn integer<S: Integer>(register: S::Register) -> S {
    S::truncated(register.extended())
}

#[inline(never)]
fn read_extended<S: Integer>(registers: &Registers, from: Reg) -> Wide<u64> {
    read(registers, from, |a| integer::<S>(a).extended())
}

#[inline(never)]
fn read_values<S: Integer>(registers: &Registers, from: Reg) -> Wide<i128> {
    read(registers, from, |a| integer::<S>(a).value())
}

/// As `D`, extended to the destination register `W`.
#[inline(never)]
fn write_integer<D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<u64>,
) {
    write(registers, to, mask, values, |x| W::truncated(D::truncated(x).extended()));
}

fn integer_to_integer<S: Integer, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = read_extended::<S>(registers, operands[1]);
    write_integer::<D, W>(registers, operands[0], mask, &values);
}

#[inline(never)]
fn limited<D: Integer>(values: &Wide<i128>) -> Wide<u64> {
    each(values, |x| x.clamp(D::MIN, D::MAX) as u64)
}

fn integer_to_integer_sat<S: Integer, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = limited::<D>(&read_values::<S>(registers, operands[1]));
    write_integer::<D, W>(registers, operands[0], mask, &values);
}

#[inline(never)]
fn read_float<S: Float>(registers: &Registers, from: Reg) -> Wide<f64> {
    read(registers, from, S::wide)
}

/// `x` is exact or rounded to odd.
#[inline(never)]
fn write_float<D: Float, M: Mode>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<f64>,
) {
    write(registers, to, mask, values, D::narrow::<M>);
}

/// To an integral value, keeping the sign of a zero.
#[inline(always)]
fn to_integral<M: Mode>(x: f64) -> f64 {
    // Adding and subtracting 2^52 leaves no fraction; a magnitude from there has none.
    const INTEGER: f64 = 4_503_599_627_370_496.0;
    let magnitude = x.abs();
    let nearest = (magnitude + INTEGER) - INTEGER;
    let nearest = if magnitude < INTEGER { nearest } else { magnitude };
    let nearest = nearest.copysign(x);
    let rounded = match M::MODE {
        Rounding::Nearest => nearest,
        Rounding::Zero => {
            nearest - if nearest.abs() > magnitude { 1.0_f64.copysign(x) } else { 0.0 }
        }
        Rounding::Down => nearest - if nearest > x { 1.0 } else { 0.0 },
        Rounding::Up => nearest + if nearest < x { 1.0 } else { 0.0 },
    };
    rounded.copysign(x)
}

#[inline(never)]
fn integral<M: Mode>(values: &Wide<f64>) -> Wide<f64> {
    each(values, to_integral::<M>)
}

/// The ISA gives 0 for a NaN, but `1 << (BITS - 1)` where either side has 64 bits.
#[inline(never)]
fn write_float_as_integer<D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    to: Reg,
    mask: Mask,
    values: &Wide<f64>,
    from_f64: bool,
) {
    let nan = if from_f64 || D::BITS == 64 { 1 << (D::BITS - 1) } else { 0 };
    write(registers, to, mask, values, |x| {
        let integer = if x.is_nan() { D::truncated(nan) } else { D::from_f64(x) };
        W::truncated(integer.extended())
    });
}

fn float_to_integer<S: Float, M: Mode, D: Integer, W: Integer + Operand>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = integral::<M>(&read_float::<S>(registers, operands[1]));
    let from_f64 = S::Register::WIDTH == Width::B64;
    write_float_as_integer::<D, W>(registers, operands[0], mask, &values, from_f64);
}

/// f64 holds every integer of 32 bits; larger ones are rounded to odd.
#[inline(never)]
fn read_integer_as_float<S: Integer>(registers: &Registers, from: Reg) -> Wide<f64> {
    read(registers, from, |a| {
        let source = integer::<S>(a);
        if S::BITS < 64 { source.to_f64() } else { exact::integer_odd(source.value()) }
    })
}

fn integer_to_float<S: Integer, D: Float, M: Mode>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = read_integer_as_float::<S>(registers, operands[1]);
    write_float::<D, M>(registers, operands[0], mask, &values);
}

/// To nearest.
fn integer_to_f32<S: Integer>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = S::Register::load(registers, operands[1]);
    write(registers, operands[0], mask, &values, |a| integer::<S>(a).to_f32());
}

fn integer_to_f64<S: Integer, M: Mode>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = S::Register::load(registers, operands[1]);
    write(registers, operands[0], mask, &values, |a| {
        let source = integer::<S>(a);
        if S::BITS < 64 || M::MODE == Rounding::Nearest {
            source.to_f64()
        } else {
            exact::integer64(M::MODE, source.value())
        }
    });
}

fn float_to_float<S: Float, D: Float, M: Mode>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = read_float::<S>(registers, operands[1]);
    write_float::<D, M>(registers, operands[0], mask, &values);
}

fn float_to_float_sat<S: Float, D: Float, M: Mode>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let values = saturated(&read_float::<S>(registers, operands[1]));
    write_float::<D, M>(registers, operands[0], mask, &values);
}

/// With integer rounding.
fn float_integral<F: Float, M: Mode>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = integral::<M>(&read_float::<F>(registers, operands[1]));
    write_float::<F, Nearest>(registers, operands[0], mask, &values);
}

fn float_integral_sat<F: Float, M: Mode>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let values = saturated(&integral::<M>(&read_float::<F>(registers, operands[1])));
    write_float::<F, Nearest>(registers, operands[0], mask, &values);
}

/// To [0, 1], a NaN to +0.
#[inline(never)]
fn saturated(values: &Wide<f64>) -> Wide<f64> {
    each(values, |x| {
        let positive = if x > 0.0 { x } else { 0.0 };
        if positive < 1.0 { positive } else { 1.0 }
    })
}

/// A type's name taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Type {
    kind: Kind,
    bits: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Unsigned,
    Signed,
    Float,
    Brain,
}

impl Type {
    fn is_float(self) -> bool {
        matches!(self.kind, Kind::Float | Kind::Brain)
    }

    /// All values of `other` are values of this integer type.
    fn holds(self, other: Type) -> bool {
        match (self.kind, other.kind) {
            (Kind::Unsigned, Kind::Unsigned) | (Kind::Signed, Kind::Signed) => {
                self.bits >= other.bits
            }
            (Kind::Signed, Kind::Unsigned) => self.bits > other.bits,
            _ => false,
        }
    }

    /// All values of `other` are values of this floating-point type.
    fn holds_float(self, other: Type) -> bool {
        self == other || self.bits > other.bits
    }

    fn width(self) -> Width {
        match self.bits {
            8 | 16 => Width::B16,
            32 => Width::B32,
            _ => Width::B64,
        }
    }
}

const TYPES: [(&str, Type); 12] = [
    ("u8", Type { kind: Kind::Unsigned, bits: 8 }),
    ("u16", Type { kind: Kind::Unsigned, bits: 16 }),
    ("u32", Type { kind: Kind::Unsigned, bits: 32 }),
    ("u64", Type { kind: Kind::Unsigned, bits: 64 }),
    ("s8", Type { kind: Kind::Signed, bits: 8 }),
    ("s16", Type { kind: Kind::Signed, bits: 16 }),
    ("s32", Type { kind: Kind::Signed, bits: 32 }),
    ("s64", Type { kind: Kind::Signed, bits: 64 }),
    ("f16", Type { kind: Kind::Float, bits: 16 }),
    ("bf16", Type { kind: Kind::Brain, bits: 16 }),
    ("f32", Type { kind: Kind::Float, bits: 32 }),
    ("f64", Type { kind: Kind::Float, bits: 64 }),
];

const INTEGER_ROUNDINGS: [(&str, Rounding); 4] = [
    ("rni", Rounding::Nearest),
    ("rzi", Rounding::Zero),
    ("rmi", Rounding::Down),
    ("rpi", Rounding::Up),
];

/// `$run` with `M` the mode's type.
macro_rules! modes {
    ($mode:expr, |$M:ident| $run:expr) => {
        match $mode {
            Rounding::Nearest => {
                type $M = Nearest;
                $run
            }
            Rounding::Zero => {
                type $M = Zero;
                $run
            }
            Rounding::Down => {
                type $M = Down;
                $run
            }
            Rounding::Up => {
                type $M = Up;
                $run
            }
        }
    };
}

/// `$run` with `S` the integer's type.
macro_rules! by_integer {
    ($type:expr, |$S:ident| $run:expr) => {
        match ($type.kind, $type.bits) {
            (Kind::Unsigned, 8) => {
                type $S = u8;
                $run
            }
            (Kind::Unsigned, 16) => {
                type $S = u16;
                $run
            }
            (Kind::Unsigned, 32) => {
                type $S = u32;
                $run
            }
            (Kind::Unsigned, _) => {
                type $S = u64;
                $run
            }
            (_, 8) => {
                type $S = i8;
                $run
            }
            (_, 16) => {
                type $S = i16;
                $run
            }
            (_, 32) => {
                type $S = i32;
                $run
            }
            _ => {
                type $S = i64;
                $run
            }
        }
    };
}

/// `$run` with `D` the integer's type and `W` its register's.
macro_rules! by_destination {
    ($type:expr, $width:expr, |$D:ident, $W:ident| $run:expr) => {
        match ($type.kind, $type.bits, $width) {
            // With zeros above, registers of 16 and 32 bits are the same.
            (Kind::Unsigned, 8, Width::B16 | Width::B32) => {
                type $D = u8;
                type $W = u32;
                $run
            }
            (Kind::Unsigned, 8, _) => {
                type $D = u8;
                type $W = u64;
                $run
            }
            (Kind::Unsigned, 16, Width::B16 | Width::B32) => {
                type $D = u16;
                type $W = u32;
                $run
            }
            (Kind::Unsigned, 16, _) => {
                type $D = u16;
                type $W = u64;
                $run
            }
            (Kind::Unsigned, 32, Width::B32) => {
                type $D = u32;
                type $W = u32;
                $run
            }
            (Kind::Unsigned, 32, _) => {
                type $D = u32;
                type $W = u64;
                $run
            }
            (Kind::Unsigned, _, _) => {
                type $D = u64;
                type $W = u64;
                $run
            }
            (_, 8, Width::B16) => {
                type $D = i8;
                type $W = u16;
                $run
            }
            (_, 8, Width::B32) => {
                type $D = i8;
                type $W = u32;
                $run
            }
            (_, 8, _) => {
                type $D = i8;
                type $W = u64;
                $run
            }
            (_, 16, Width::B16) => {
                type $D = i16;
                type $W = u16;
                $run
            }
            (_, 16, Width::B32) => {
                type $D = i16;
                type $W = u32;
                $run
            }
            (_, 16, _) => {
                type $D = i16;
                type $W = u64;
                $run
            }
            (_, 32, Width::B32) => {
                type $D = i32;
                type $W = u32;
                $run
            }
            (_, 32, _) => {
                type $D = i32;
                type $W = u64;
                $run
            }
            _ => {
                type $D = i64;
                type $W = u64;
                $run
            }
        }
    };
}

/// `$run` with `F` the floating-point type.
macro_rules! by_float {
    ($type:expr, $ftz:expr, |$F:ident| $run:expr) => {
        match ($type.kind, $type.bits, $ftz) {
            (Kind::Brain, _, _) => {
                type $F = Bf16;
                $run
            }
            (_, 16, _) => {
                type $F = F16;
                $run
            }
            (_, 32, false) => {
                type $F = F32;
                $run
            }
            (_, 32, true) => {
                type $F = F32Ftz;
                $run
            }
            _ => {
                type $F = F64;
                $run
            }
        }
    };
}

/// What stands between `cvt` and its types.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    integral: Option<Rounding>,
    rounding: Option<Rounding>,
    ftz: bool,
    sat: bool,
    relu: bool,
    satfinite: bool,
}

pub(super) fn lower(modifiers: &[&str], widths: &[Option<Width>]) -> Result<Arithmetic, String> {
    let mut form = Form::new(modifiers);
    if form.rest.first() == Some(&"pack") {
        return Err("`cvt.pack` is not supported".to_owned());
    }
    if modifiers.contains(&"tf32") {
        return to_tf32(form);
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
        return to_two(format, options, form);
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
        return to_clamped_half(to, from, options);
    }
    let width = destination(to, widths)?;
    let run = match common(modifiers, width) {
        Some(run) => run,
        None => select(to, from, options, width)?,
    };
    Ok(Arithmetic {
        run,
        slots: vec![Slot::Write(width), Slot::Read(source(from, widths))],
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
    if to.kind == Kind::Float && to.bits == 16 && written == Width::B32 {
        return Ok(written);
    }
    Err(format!("`cvt` to {} bits into a register of another width is not supported", to.bits))
}

/// The source of 8 or 16 bits may lie in the low part of a register of 32, which holds it as well; for a wider one
/// than that the caller takes the low part.
fn source(from: Type, widths: &[Option<Width>]) -> Width {
    match widths.get(1) {
        Some(Some(Width::B32)) if from.width() == Width::B16 => Width::B32,
        _ => from.width(),
    }
}

fn immediates(from: Type) -> Option<FloatWidth> {
    match (from.kind, from.bits) {
        (Kind::Float, 32) => Some(FloatWidth::F32),
        (Kind::Float, 64) => Some(FloatWidth::F64),
        _ => None,
    }
}

fn select(to: Type, from: Type, options: Options, width: Width) -> Result<Run, String> {
    let Options { integral, rounding, ftz, sat, .. } = options;
    let single = |side: Type| side.kind == Kind::Float && side.bits == 32;
    if ftz && !single(to) && !single(from) {
        return Err("`cvt.ftz` without an f32 is no form of the ISA".to_owned());
    }
    match (to.is_float(), from.is_float()) {
        (false, false) => {
            if integral.is_some() || rounding.is_some() {
                return Err("`cvt` between integers takes no rounding".to_owned());
            }
            if sat && to.holds(from) {
                return Err(
                    "`cvt.sat` to a type that holds all values of the source is no form".to_owned()
                );
            }
            Ok(by_integer!(from, |S| by_destination!(to, width, |D, W| if sat {
                integer_to_integer_sat::<S, D, W> as Run
            } else {
                integer_to_integer::<S, D, W> as Run
            })))
        }
        (false, true) => {
            let Some(mode) = integral else {
                return Err("`cvt` to an integer needs .rni, .rzi, .rmi or .rpi".to_owned());
            };
            Ok(by_float!(from, ftz, |F| modes!(mode, |M| by_destination!(to, width, |D, W| {
                float_to_integer::<F, M, D, W> as Run
            }))))
        }
        (true, false) => {
            let Some(mode) = rounding else {
                return Err("`cvt` of an integer needs .rn, .rz, .rm or .rp".to_owned());
            };
            if sat {
                return Err(
                    "`cvt.sat` of an integer to a floating-point type is not supported".to_owned()
                );
            }
            Ok(by_integer!(from, |S| match (to.kind, to.bits, mode) {
                (Kind::Float, 32, Rounding::Nearest) => integer_to_f32::<S> as Run,
                (Kind::Float, 64, _) => modes!(mode, |M| integer_to_f64::<S, M> as Run),
                // No integer is subnormal in f32.
                _ => by_float!(to, false, |D| modes!(mode, |M| integer_to_float::<S, D, M> as Run)),
            }))
        }
        (true, true) => float_to_float_run(to, from, options),
    }
}

fn float_to_float_run(to: Type, from: Type, options: Options) -> Result<Run, String> {
    let Options { integral, rounding, ftz, sat, .. } = options;
    if let Some(mode) = integral {
        if to != from {
            return Err(
                "`cvt` with integer rounding between different floating-point types is no form"
                    .into(),
            );
        }
        return Ok(by_float!(to, ftz, |F| modes!(mode, |M| if sat {
            float_integral_sat::<F, M> as Run
        } else {
            float_integral::<F, M> as Run
        })));
    }
    let mode = match rounding {
        None if to.holds_float(from) => Rounding::Nearest,
        Some(mode) if !to.holds_float(from) => mode,
        None => return Err("`cvt` to a type of less precision needs a rounding".to_owned()),
        Some(_) => return Err("`cvt` without a loss of precision takes no rounding".to_owned()),
    };
    Ok(by_float!(from, ftz, |S| by_float!(to, ftz, |D| modes!(mode, |M| if sat {
        float_to_float_sat::<S, D, M> as Run
    } else {
        float_to_float::<S, D, M> as Run
    }))))
}

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
    ($brain:expr, $options:expr, |$F:ident, $M:ident, $RELU:ident, $FINITE:ident| $form:expr) => {{
        macro_rules! flags {
            ($format:ty, $mode:ty) => {{
                type $F = $format;
                type $M = $mode;
                match ($options.relu, $options.satfinite) {
                    (false, false) => {
                        const $RELU: bool = false;
                        const $FINITE: bool = false;
                        $form
                    }
                    (false, true) => {
                        const $RELU: bool = false;
                        const $FINITE: bool = true;
                        $form
                    }
                    (true, false) => {
                        const $RELU: bool = true;
                        const $FINITE: bool = false;
                        $form
                    }
                    (true, true) => {
                        const $RELU: bool = true;
                        const $FINITE: bool = true;
                        $form
                    }
                }
            }};
        }
        match ($brain, $options.rounding) {
            (false, Some(Rounding::Nearest)) => Ok(flags!(F16, Nearest)),
            (false, Some(Rounding::Zero)) => Ok(flags!(F16, Zero)),
            (true, Some(Rounding::Nearest)) => Ok(flags!(Bf16, Nearest)),
            (true, Some(Rounding::Zero)) => Ok(flags!(Bf16, Zero)),
            _ => Err("`cvt` to f16x2, bf16x2, or with .relu or .satfinite rounds with .rn or .rz"
                .to_owned()),
        }
    }};
}

/// `.frnd2{.relu}{.satfinite}.f16.f32` and bf16.
fn to_clamped_half(to: Type, from: Type, options: Options) -> Result<Arithmetic, String> {
    if to.bits != 16
        || !to.is_float()
        || from.bits != 32
        || !from.is_float()
        || options.ftz
        || options.sat
    {
        return Err("`cvt` with .relu or .satfinite is supported from f32 to f16 and bf16, without .ftz and .sat".into());
    }
    clamps!(to.kind == Kind::Brain, options, |F, M, RELU, FINITE| {
        lanes!(|a: f32| -> u16 { clamped::<F, M, RELU, FINITE>(a) as u16 })
    })
}

/// `.frnd2{.relu}{.satfinite}.f16x2.f32 d, a, b`: a to the high half, b to the low one.
fn to_two(brain: bool, options: Options, mut form: Form<'_>) -> Result<Arithmetic, String> {
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
fn to_tf32(mut form: Form<'_>) -> Result<Arithmetic, String> {
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
            match (satfinite, relu) {
                (false, false) => lanes!(|a: f32| -> f32 { tf32::<false, false>(a, $round) }),
                (false, true) => lanes!(|a: f32| -> f32 { tf32::<false, true>(a, $round) }),
                (true, false) => lanes!(|a: f32| -> f32 { tf32::<true, false>(a, $round) }),
                (true, true) => lanes!(|a: f32| -> f32 { tf32::<true, true>(a, $round) }),
            }
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
