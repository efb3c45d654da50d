//! Comparison and selection.

use super::float::flush;
use super::half::{Bf16, F16, Format};
use super::{
    Arithmetic, FloatWidth, Form, LANES, Lane, Mask, Operand, OperandSlot, Reg, Registers, Run,
    by_type, choose, lanes,
};
use crate::registers::{BITS, Width};

/// What is compared: a type, with the register that holds it.
trait Value {
    type Register: Operand;
    type Compared: PartialOrd + Copy;
    fn of(register: Self::Register) -> Self::Compared;
}

macro_rules! values {
    ($($name:ident: $register:ty => $compared:ty, |$bits:ident| $value:expr;)+) => {
        $(
            struct $name;

            impl Value for $name {
                type Register = $register;
                type Compared = $compared;

                #[inline(always)]
                fn of($bits: $register) -> $compared {
                    $value
                }
            }
        )+
    };
}

values! {
    U16: u16 => u16, |a| a;
    U32: u32 => u32, |a| a;
    U64: u64 => u64, |a| a;
    S16: i16 => i16, |a| a;
    S32: i32 => i32, |a| a;
    S64: i64 => i64, |a| a;
    F32: f32 => f32, |a| a;
    F32Ftz: f32 => f32, |a| flush(a);
    F64: f64 => f64, |a| a;
    Half: u16 => f32, |a| F16::wide(a.into());
    HalfFtz: u16 => f32, |a| F16::wide(F16::flush(a.into()));
    Brain: u16 => f32, |a| Bf16::wide(a.into());
    HalfLow: u32 => f32, |a| F16::wide(a & 0xffff);
    HalfHigh: u32 => f32, |a| F16::wide(a >> 16);
    HalfLowFtz: u32 => f32, |a| F16::wide(F16::flush(a & 0xffff));
    HalfHighFtz: u32 => f32, |a| F16::wide(F16::flush(a >> 16));
    BrainLow: u32 => f32, |a| Bf16::wide(a & 0xffff);
    BrainHigh: u32 => f32, |a| Bf16::wide(a >> 16);
}

/// A comparison operator as a type.
trait Relation {
    fn holds<T: PartialOrd>(a: T, b: T) -> bool;
}

macro_rules! relations {
    ($($name:ident: |$a:ident, $b:ident| $holds:expr;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Operator {
            $($name,)+
        }

        $(
            struct $name;

            impl Relation for $name {
                #[inline(always)]
                // With a NaN neither of two opposite comparisons holds, which is what the negation
                // is for.
                #[allow(clippy::neg_cmp_op_on_partial_ord)]
                fn holds<T: PartialOrd>($a: T, $b: T) -> bool {
                    $holds
                }
            }
        )+
    };
}

// With a NaN the ordered ones are false, `ne` too, and the unordered ones are true.
relations! {
    Equal: |a, b| a == b;
    Different: |a, b| (a < b) | (a > b);
    Less: |a, b| a < b;
    LessEqual: |a, b| a <= b;
    Greater: |a, b| a > b;
    GreaterEqual: |a, b| a >= b;
    EqualUnordered: |a, b| !((a < b) | (a > b));
    DifferentUnordered: |a, b| a != b;
    LessUnordered: |a, b| !(a >= b);
    LessEqualUnordered: |a, b| !(a > b);
    GreaterUnordered: |a, b| !(a <= b);
    GreaterEqualUnordered: |a, b| !(a < b);
    Numbers: |a, b| (a <= b) | (a > b);
    NotNumbers: |a, b| !((a <= b) | (a > b));
}

/// The operator in comparisons of a type: bits have no order, and only floating-point numbers may
/// be unordered.
fn operator(relation: &str, name: &str) -> Option<Operator> {
    enum Kind {
        Bits,
        Signed,
        Unsigned,
        Float,
    }
    use Kind::{Bits, Float, Signed, Unsigned};
    let kind = match name {
        "b16" | "b32" | "b64" => Bits,
        "s16" | "s32" | "s64" => Signed,
        "u16" | "u32" | "u64" => Unsigned,
        "f16" | "f16x2" | "bf16" | "bf16x2" | "f32" | "f64" => Float,
        _ => return None,
    };
    Some(match (relation, kind) {
        ("eq", _) => Operator::Equal,
        ("ne", _) => Operator::Different,
        (_, Bits) => return None,
        ("lt", _) | ("lo", Unsigned) => Operator::Less,
        ("le", _) | ("ls", Unsigned) => Operator::LessEqual,
        ("gt", _) | ("hi", Unsigned) => Operator::Greater,
        ("ge", _) | ("hs", Unsigned) => Operator::GreaterEqual,
        ("equ", Float) => Operator::EqualUnordered,
        ("neu", Float) => Operator::DifferentUnordered,
        ("ltu", Float) => Operator::LessUnordered,
        ("leu", Float) => Operator::LessEqualUnordered,
        ("gtu", Float) => Operator::GreaterUnordered,
        ("geu", Float) => Operator::GreaterEqualUnordered,
        ("num", Float) => Operator::Numbers,
        ("nan", Float) => Operator::NotNumbers,
        _ => return None,
    })
}

/// How a comparison is combined with a third predicate, as a type.
trait Combine {
    const PREDICATES: usize;
    fn combine(compared: Mask, predicate: Mask) -> Mask;
}

macro_rules! combinations {
    ($($name:ident: $predicates:literal, |$compared:ident, $predicate:pat_param| $value:expr;)+) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        enum Boolean {
            $($name,)+
        }

        $(
            struct $name;

            impl Combine for $name {
                const PREDICATES: usize = $predicates;

                fn combine($compared: Mask, $predicate: Mask) -> Mask {
                    $value
                }
            }
        )+
    };
}

combinations! {
    Alone: 0, |compared, _| compared;
    And: 1, |compared, predicate| compared & predicate;
    Or: 1, |compared, predicate| compared | predicate;
    Xor: 1, |compared, predicate| compared ^ predicate;
}

/// The lanes where the relation holds. Not inlined: the many forms that share it are small.
#[inline(never)]
fn compare<V: Value, R: Relation>(registers: &Registers, a: Reg, b: Reg) -> Mask {
    let a = V::Register::load(registers, a);
    let b = V::Register::load(registers, b);
    let mut mask = 0;
    for lane in 0..LANES {
        mask |= if R::holds(V::of(a[lane]), V::of(b[lane])) { BITS[lane] } else { 0 };
    }
    mask
}

/// `setp p, a, b {, c}` and `setp p|q, a, b {, c}`: q is of the opposite comparison.
fn setp<V: Value, R: Relation, C: Combine>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let sources = operands.len() - 2 - C::PREDICATES;
    let compared = compare::<V, R>(registers, operands[sources], operands[sources + 1]);
    write_predicates::<C>(registers, operands, mask, sources, [compared, !compared]);
}

/// `setp p|q, a, b {, c}` of two halves: p of the low one, q of the high one.
fn setp_two<L: Value, H: Value, R: Relation, C: Combine>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let low = compare::<L, R>(registers, operands[2], operands[3]);
    let high = compare::<H, R>(registers, operands[2], operands[3]);
    write_predicates::<C>(registers, operands, mask, 2, [low, high]);
}

/// The first `count` operands. The third predicate, where there is one, is the last.
#[inline(never)]
fn write_predicates<C: Combine>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
    count: usize,
    values: [Mask; 2],
) {
    let last = operands[operands.len() - 1].0 as usize;
    let third = if C::PREDICATES == 1 { registers.preds[last] } else { 0 };
    for (to, value) in operands[..count].iter().zip(values) {
        let to = to.0 as usize;
        let value = C::combine(value, third);
        registers.preds[to] = registers.preds[to] & !mask | value & mask;
        registers.preds_set[to] |= mask;
    }
}

/// What `set` writes for true; 0 is false.
trait Truth {
    type Register: Operand;
    const TRUE: Self::Register;
}

macro_rules! truths {
    ($($name:ident: $register:ty = $value:expr;)+) => {
        $(
            struct $name;

            impl Truth for $name {
                type Register = $register;
                const TRUE: $register = $value;
            }
        )+
    };
}

truths! {
    Ones16: u16 = !0;
    Ones32: u32 = !0;
    OneF32: u32 = 0x3f80_0000;
    OneF16: u16 = F16::ONE as u16;
    OneBf16: u16 = Bf16::ONE as u16;
}

#[inline(never)]
fn write_truth<D: Truth>(registers: &mut Registers, to: Reg, mask: Mask, value: Mask) {
    let mut result = [D::Register::default(); LANES];
    for (lane, result) in result.iter_mut().enumerate() {
        *result = if value >> lane & 1 != 0 { D::TRUE } else { *result };
    }
    D::Register::store(registers, to, mask, result);
}

/// `set d, a, b`
fn set<V: Value, R: Relation, D: Truth>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let value = compare::<V, R>(registers, operands[1], operands[2]);
    write_truth::<D>(registers, operands[0], mask, value);
}

/// `set d, a, b` of two halves.
fn set_two<L: Value, H: Value, R: Relation, D: Truth<Register = u16>>(
    registers: &mut Registers,
    operands: &[Reg],
    mask: Mask,
) {
    let low = compare::<L, R>(registers, operands[1], operands[2]);
    let high = compare::<H, R>(registers, operands[1], operands[2]);
    write_two_truths(registers, operands[0], mask, [low, high], D::TRUE.into());
}

#[inline(never)]
fn write_two_truths(registers: &mut Registers, to: Reg, mask: Mask, values: [Mask; 2], truth: u32) {
    let mut result = [0; LANES];
    for (lane, result) in result.iter_mut().enumerate() {
        let half = |value: Mask| if value >> lane & 1 != 0 { truth } else { 0 };
        *result = half(values[0]) | half(values[1]) << 16;
    }
    u32::store(registers, to, mask, result);
}

/// `$run` with `R` the type of an operator of integers.
macro_rules! integers {
    ($operator:expr, |$R:ident| $run:expr) => {
        choose!(
            $operator,
            [
                Operator::Equal => (Equal),
                Operator::Different => (Different),
                Operator::Less => (Less),
                Operator::LessEqual => (LessEqual),
                Operator::Greater => (Greater),
                Operator::GreaterEqual => (GreaterEqual),
            ] else None,
            (|$R| Some($run))
        )
    };
}

/// `$run` with `R` the type of any operator.
macro_rules! floats {
    ($operator:expr, |$R:ident| $run:expr) => {
        choose!(
            $operator,
            [
                Operator::EqualUnordered => (EqualUnordered),
                Operator::DifferentUnordered => (DifferentUnordered),
                Operator::LessUnordered => (LessUnordered),
                Operator::LessEqualUnordered => (LessEqualUnordered),
                Operator::GreaterUnordered => (GreaterUnordered),
                Operator::GreaterEqualUnordered => (GreaterEqualUnordered),
                Operator::Numbers => (Numbers),
                Operator::NotNumbers => (NotNumbers),
            ] else integers!($operator, |$R| $run),
            (|$R| Some($run))
        )
    };
}

/// `$run` with `C` the combination's type.
macro_rules! by_boolean {
    ($boolean:expr, |$C:ident| $run:expr) => {
        choose!(
            $boolean,
            [
                Boolean::Alone => (Alone),
                Boolean::And => (And),
                Boolean::Or => (Or),
                Boolean::Xor => (Xor),
            ],
            (|$C| $run as Run)
        )
    };
}

/// `$run` with `V` the value's type and `R` the operator's.
macro_rules! by_value {
    ($name:expr, $ftz:expr, $operator:expr, |$V:ident, $R:ident| $run:expr) => {
        choose!(
            ($name, $ftz),
            [
                ("b16" | "u16", false) => (U16),
                ("b32" | "u32", false) => (U32),
                ("b64" | "u64", false) => (U64),
                ("s16", false) => (S16),
                ("s32", false) => (S32),
                ("s64", false) => (S64),
            ] else choose!(
                ($name, $ftz),
                [
                    ("f32", false) => (F32),
                    ("f32", true) => (F32Ftz),
                    ("f64", false) => (F64),
                ] else by_half!($name, $ftz, $operator, |$V, $R| $run),
                (|$V| floats!($operator, |$R| $run))
            ),
            (|$V| integers!($operator, |$R| $run))
        )
    };
}

macro_rules! by_half {
    ($name:expr, $ftz:expr, $operator:expr, |$V:ident, $R:ident| $run:expr) => {
        choose!(
            ($name, $ftz),
            [
                ("f16", false) => (Half),
                ("f16", true) => (HalfFtz),
                ("bf16", false) => (Brain),
            ] else None,
            (|$V| floats!($operator, |$R| $run))
        )
    };
}

/// Two halves; `L` and `H` are the types of the low and the high one.
macro_rules! by_two {
    ($name:expr, $ftz:expr, $operator:expr, |$L:ident, $H:ident, $R:ident| $run:expr) => {
        choose!(
            ($name, $ftz),
            [
                ("f16x2", false) => (HalfLow, HalfHigh),
                ("f16x2", true) => (HalfLowFtz, HalfHighFtz),
                ("bf16x2", false) => (BrainLow, BrainHigh),
            ] else None,
            (|$L, $H| floats!($operator, |$R| $run))
        )
    };
}

pub(super) fn lower(opcode: &str, modifiers: &[&str], operands: usize) -> Option<Arithmetic> {
    let mut form = Form::new(modifiers);
    match opcode {
        // .CmpOp{.BoolOp}{.ftz}.type
        "setp" => {
            let relation = form.next();
            let boolean = form
                .one_of(&[("and", Boolean::And), ("or", Boolean::Or), ("xor", Boolean::Xor)])
                .unwrap_or(Boolean::Alone);
            let ftz = form.take("ftz");
            let name = form.next();
            form.end()?;
            let operator = operator(relation, name)?;
            let predicates = usize::from(boolean != Boolean::Alone);
            let destinations = operands.checked_sub(2 + predicates)?;
            let two = name.ends_with("x2");
            if !(1..=2).contains(&destinations) || two && destinations != 2 {
                return None;
            }
            let run = if two {
                by_two!(name, ftz, operator, |L, H, R| by_boolean!(boolean, |C| setp_two::<
                    L,
                    H,
                    R,
                    C,
                >))
            } else {
                by_value!(name, ftz, operator, |V, R| by_boolean!(boolean, |C| setp::<V, R, C>))
            }?;
            Some(arithmetic(
                run,
                vec![OperandSlot::Write(Width::Pred); destinations],
                name,
                predicates,
            ))
        }
        // .CmpOp{.ftz}.dtype.stype; not with .BoolOp, which the compiler does not write.
        "set" => {
            let relation = form.next();
            let ftz = form.take("ftz");
            let to = form.next();
            let name = form.next();
            form.end()?;
            let operator = operator(relation, name)?;
            let run = match (to, name) {
                ("f16x2", "f16x2") => {
                    by_two!(name, ftz, operator, |L, H, R| set_two::<L, H, R, OneF16> as Run)
                }
                ("bf16x2", "bf16x2") => {
                    by_two!(name, ftz, operator, |L, H, R| set_two::<L, H, R, OneBf16> as Run)
                }
                ("u32" | "s32", "f16x2" | "bf16x2") => {
                    by_two!(name, ftz, operator, |L, H, R| set_two::<L, H, R, Ones16> as Run)
                }
                ("u16" | "s16", "f16" | "bf16") => {
                    by_half!(name, ftz, operator, |V, R| set::<V, R, Ones16> as Run)
                }
                ("f16", "f16") => by_half!(name, ftz, operator, |V, R| set::<V, R, OneF16> as Run),
                ("bf16", "bf16") => {
                    by_half!(name, ftz, operator, |V, R| set::<V, R, OneBf16> as Run)
                }
                ("u32" | "s32", _) => {
                    by_value!(name, ftz, operator, |V, R| set::<V, R, Ones32> as Run)
                }
                ("f32", "f16" | "bf16") => None,
                ("f32", _) => by_value!(name, ftz, operator, |V, R| set::<V, R, OneF32> as Run),
                _ => None,
            }?;
            Some(arithmetic(run, vec![OperandSlot::Write(width(to)?)], name, 0))
        }
        "selp" => {
            let name = form.next();
            form.end()?;
            let run = match name {
                "b16" | "u16" | "s16" => selp::<u16>,
                "b32" | "u32" | "s32" | "f32" => selp::<u32>,
                "b64" | "u64" | "s64" | "f64" => selp::<u64>,
                _ => return None,
            };
            Some(arithmetic(run, vec![OperandSlot::Write(width(name)?)], name, 1))
        }
        "slct" => {
            let ftz = form.take("ftz");
            let name = form.next();
            let by = form.next();
            form.end()?;
            macro_rules! slct {
                ($type:ty) => {
                    match (by, ftz) {
                        ("s32", false) => Some(lanes!(|a: $type, b: $type, c: i32| -> $type {
                            if c >= 0 { a } else { b }
                        })),
                        ("f32", false) => Some(lanes!(|a: $type, b: $type, c: f32| -> $type {
                            if c >= 0.0 { a } else { b }
                        })),
                        ("f32", true) => Some(lanes!(|a: $type, b: $type, c: f32| -> $type {
                            if flush(c) >= 0.0 { a } else { b }
                        })),
                        _ => None,
                    }
                };
            }
            match name {
                "b16" | "u16" | "s16" => slct!(u16),
                "b32" | "u32" | "s32" => slct!(u32),
                "f32" => slct!(f32),
                "b64" | "u64" | "s64" => slct!(u64),
                "f64" => slct!(f64),
                _ => None,
            }
        }
        "testp" => {
            let test = form.next();
            let name = form.next();
            form.end()?;
            macro_rules! testp {
                (|$a:ident| $holds:expr) => {
                    by_type!(name, ["f32" => f32, "f64" => f64], |$a: T| -> bool { $holds })
                };
            }
            match test {
                "finite" => testp!(|a| a.is_finite()),
                "infinite" => testp!(|a| a.is_infinite()),
                "number" => testp!(|a| !a.is_nan()),
                "notanumber" => testp!(|a| a.is_nan()),
                "normal" => testp!(|a| a.is_normal()),
                "subnormal" => testp!(|a| a.is_subnormal()),
                _ => None,
            }
        }
        // The sign of the first, the magnitude of the second.
        "copysign" => {
            let name = form.next();
            form.end()?;
            by_type!(name, ["f32" => f32, "f64" => f64], |a: T, b: T| -> T { b.copysign(a) })
        }
        _ => None,
    }
}

/// `selp d, a, b, c`
fn selp<T: Operand>(registers: &mut Registers, operands: &[Reg], mask: Mask) {
    let a = T::load(registers, operands[1]);
    let b = T::load(registers, operands[2]);
    let chosen = registers.preds[operands[3].0 as usize];
    let mut result = [T::default(); LANES];
    for lane in 0..LANES {
        result[lane] = if chosen & BITS[lane] != 0 { a[lane] } else { b[lane] };
    }
    T::store(registers, operands[0], mask, result);
}

fn arithmetic(run: Run, mut slots: Vec<OperandSlot>, name: &str, predicates: usize) -> Arithmetic {
    let source = OperandSlot::Read(width(name).expect("a type that has a row"));
    slots.extend([source; 2]);
    slots.resize(slots.len() + predicates, OperandSlot::Read(Width::Pred));
    let float_immediates = match name {
        "f32" => Some(FloatWidth::F32),
        "f64" => Some(FloatWidth::F64),
        _ => None,
    };
    Arithmetic { run, slots, nonzero: None, float_immediates }
}

fn width(name: &str) -> Option<Width> {
    match name {
        "b16" | "u16" | "s16" | "f16" | "bf16" => Some(Width::B16),
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Some(Width::B32),
        "b64" | "u64" | "s64" | "f64" => Some(Width::B64),
        _ => None,
    }
}
