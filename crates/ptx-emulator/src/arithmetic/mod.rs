//! What touches registers only, one lane at a time: the arithmetic, logic, comparison and conversion
//! instructions of the PTX ISA as tables from form to lane function.
//!
//! [`lower`] takes an opcode with its modifiers, in the order in which the ISA writes them, and gives a
//! function over the 32 lanes. A form that no table holds is refused.
//!
//! Where the ISA leaves freedom, this is what is done:
//! - A NaN that an operation computes is canonical: 0x7fffffff in f32, 0x7fff in f16 and bf16,
//!   0x7ff8000000000000 in f64. `abs`, `neg`, `copysign` and moves change the sign bit alone.
//! - `.ftz` flushes subnormal inputs, and results that are subnormal after rounding, to zeros of their sign.
//! - `.approx` operations are computed in f64 and rounded once: closer than a GPU's, whose last bits
//!   differ. Their special values are the ISA's.
//! - `add`, `sub` and `mul` without a rounding modifier round to nearest even and are never fused.

mod compare;
mod convert;
mod exact;
mod float;
mod half;
mod integer;
mod logic;
#[cfg(test)]
mod tests;

use super::registers::{LANES, Lane, Mask, Reg, Registers, Width, each};

/// Runs on the lanes of the mask. The operands are in PTX order, destinations first.
pub(crate) type Run = fn(&mut Registers, &[Reg], Mask);

/// One operand of a form. `p|q` is two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Slot {
    Write(Width),
    Read(Width),
}

/// What a floating-point immediate is converted to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatWidth {
    F32,
    F64,
}

/// A form, ready to run.
#[derive(Clone, Debug)]
pub(crate) struct Arithmetic {
    pub run: Run,
    /// In PTX order.
    pub slots: Vec<Slot>,
    /// Index of an integer divisor, which must not be 0. The result with 0 is all ones, the remainder the
    /// dividend.
    pub nonzero: Option<usize>,
    /// `None` where no operand is an f32 or f64.
    pub float_immediates: Option<FloatWidth>,
}

/// A type of a lane, with the register that holds it.
trait Operand: Lane {
    const WIDTH: Width;
    const FLOAT: Option<FloatWidth> = None;
}

macro_rules! operands {
    ($($type:ty: $width:ident $(, $float:ident)?;)+) => {
        $(impl Operand for $type {
            const WIDTH: Width = Width::$width;
            $(const FLOAT: Option<FloatWidth> = Some(FloatWidth::$float);)?
        })+
    };
}

operands! {
    bool: Pred;
    u16: B16;
    i16: B16;
    u32: B32;
    i32: B32;
    f32: B32, F32;
    u64: B64;
    i64: B64;
    f64: B64, F64;
}

/// The function of a form from what it does to one lane: `lanes!(|a: u32, b: u32| -> u32 { a ^ b })`.
macro_rules! lanes {
    (|$($source:ident: $from:ty),+ $(,)?| -> $to:ty { $($body:tt)+ }) => {{
        use $crate::arithmetic::{Arithmetic, Operand, Slot};
        use $crate::registers::{LANES, Lane};
        let sources = [$((<$from as Operand>::WIDTH, <$from as Operand>::FLOAT)),+];
        Arithmetic {
            run: |registers, operands, mask| {
                let mut rest = operands[1..].iter();
                $(let $source = <$from as Lane>::load(
                    registers,
                    *rest.next().expect("operands as in the slots"),
                );)+
                let mut result = [<$to as Default>::default(); LANES];
                for lane in 0..LANES {
                    $(let $source = $source[lane];)+
                    result[lane] = { $($body)+ };
                }
                <$to as Lane>::store(registers, operands[0], mask, result);
            },
            slots: [Slot::Write(<$to as Operand>::WIDTH)]
                .into_iter()
                .chain(sources.iter().map(|source| Slot::Read(source.0)))
                .collect(),
            nonzero: None,
            float_immediates: sources.iter().find_map(|source| source.1),
        }
    }};
}
use lanes;

/// `$run` with the types of the row that the key matches, under the names at its head:
/// `choose!(bits, [8 => (u8, u16), 16 => (u16, u32)] else None, (|T, Twice| Some(run::<T, Twice>)))`.
macro_rules! choose {
    (@ ($($type:ty),+) (|$($name:ident),+| $run:expr)) => {{
        $(type $name = $type;)+
        $run
    }};
    ($key:expr, [$($row:pat => $types:tt),+ $(,)?] $(else $otherwise:expr)?, $run:tt) => {
        match $key {
            $($row => $crate::arithmetic::choose!(@ $types $run),)+
            $(_ => $otherwise,)?
        }
    };
}
use choose;

/// `$run` with a flag as a constant.
macro_rules! flag {
    ($flag:expr, |$FLAG:ident| $run:expr) => {
        if $flag {
            const $FLAG: bool = true;
            $run
        } else {
            const $FLAG: bool = false;
            $run
        }
    };
}
use flag;

/// Chooses the row of a type and gives its form; inside, `T` is the type of the row.
/// `by_type!(name, ["u32" => u32, "s32" => i32], |a: T, b: T| -> T { a ^ b })`
macro_rules! by_type {
    ($name:expr, [$($pattern:pat => $type:ty),+ $(,)?], $($form:tt)+) => {
        $crate::arithmetic::choose!(
            $name,
            [$($pattern => ($type)),+] else None,
            (|T| Some($crate::arithmetic::lanes!($($form)+)))
        )
    };
}
use by_type;

/// The modifiers of a form, taken one after the other.
struct Form<'a> {
    rest: &'a [&'a str],
}

impl<'a> Form<'a> {
    fn new(modifiers: &'a [&'a str]) -> Self {
        Form { rest: modifiers }
    }

    /// Takes the next modifier if it is this one.
    fn take(&mut self, modifier: &str) -> bool {
        self.one_of(&[(modifier, ())]).is_some()
    }

    /// Takes the next modifier if the table names it.
    fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let (first, rest) = self.rest.split_first()?;
        let found = table.iter().find(|entry| entry.0 == *first)?.1;
        self.rest = rest;
        Some(found)
    }

    /// Takes the next modifier, whatever it is; empty at the end.
    fn next(&mut self) -> &'a str {
        let Some((first, rest)) = self.rest.split_first() else { return "" };
        self.rest = rest;
        first
    }

    /// All modifiers were taken.
    fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// How a result is rounded: `.rn`, `.rz`, `.rm`, `.rp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    Zero,
    Down,
    Up,
}

const ROUNDINGS: [(&str, Rounding); 4] = [
    ("rn", Rounding::Nearest),
    ("rz", Rounding::Zero),
    ("rm", Rounding::Down),
    ("rp", Rounding::Up),
];

/// The form of an arithmetic instruction; `None` where the opcode is none of this table's.
///
/// `widths` are those of the operands as written, `None` for an immediate, in the order of the slots.
///
/// # Errors
///
/// The reason why this form of the opcode is refused.
pub(crate) fn lower(
    opcode: &str,
    modifiers: &[&str],
    widths: &[Option<Width>],
) -> Option<Result<Arithmetic, String>> {
    let kind = modifiers.last().copied().unwrap_or("");
    let found = match opcode {
        "addc" | "subc" | "madc" => {
            return Some(Err("arithmetic with a carry flag is not supported".to_owned()));
        }
        "add" | "sub" | "mad" if modifiers.first() == Some(&"cc") => {
            return Some(Err("arithmetic with a carry flag (.cc) is not supported".to_owned()));
        }
        "mad" if modifiers.contains(&"cc") => {
            return Some(Err("arithmetic with a carry flag (.cc) is not supported".to_owned()));
        }
        "add" | "sub" | "mul" | "mad" | "fma" | "div" | "abs" | "neg" | "min" | "max" | "ex2"
        | "tanh" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" => match kind {
            "f32" | "f64" => float::lower(opcode, modifiers, widths.len()),
            "f16" | "f16x2" | "bf16" | "bf16x2" => half::lower(opcode, modifiers, widths.len()),
            _ => integer::lower(opcode, modifiers),
        },
        "rem" | "sad" | "mul24" | "mad24" | "dp4a" | "dp2a" => integer::lower(opcode, modifiers),
        "popc" | "clz" | "brev" | "bfind" | "bfe" | "bfi" | "bmsk" | "szext" | "prmt" | "shf"
        | "shl" | "shr" | "and" | "or" | "xor" | "not" | "cnot" | "lop3" | "fns" => {
            logic::lower(opcode, modifiers, widths)
        }
        "setp" | "set" | "selp" | "slct" | "testp" | "copysign" => {
            compare::lower(opcode, modifiers, widths.len())
        }
        "cvt" => return Some(convert::lower(modifiers, widths)),
        _ => return None,
    };
    Some(found.ok_or_else(|| {
        let form = modifiers.iter().map(|modifier| format!(".{modifier}")).collect::<String>();
        format!(
            "no supported form of `{opcode}` has the modifiers `{form}` with {} operands",
            widths.len()
        )
    }))
}
