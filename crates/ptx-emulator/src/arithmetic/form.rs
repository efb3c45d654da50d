//! What a form is made of: its function over the lanes, its operands, and the macros that write
//! both from the types of one lane.

use crate::registers::{Lane, Mask, Reg, Registers, Width};

/// Runs on the lanes of the mask. The operands are in PTX order, destinations first.
pub(crate) type Run = fn(&mut Registers, &[Reg], Mask);

/// One operand of a form. `p|q` is two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OperandSlot {
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
    pub slots: Vec<OperandSlot>,
    /// Index of an integer divisor, which must not be 0. The result with 0 is all ones, the
    /// remainder the dividend.
    pub nonzero: Option<usize>,
    /// `None` where no operand is an f32 or f64.
    pub float_immediates: Option<FloatWidth>,
}

/// A type of a lane, with the register that holds it.
pub(super) trait Operand: Lane {
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

/// The function of a form from what it does to one lane:
/// `lanes!(|a: u32, b: u32| -> u32 { a ^ b })`.
macro_rules! lanes {
    (|$($source:ident: $from:ty),+ $(,)?| -> $to:ty { $($body:tt)+ }) => {{
        use $crate::arithmetic::form::{Arithmetic, Operand, OperandSlot};
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
            slots: [OperandSlot::Write(<$to as Operand>::WIDTH)]
                .into_iter()
                .chain(sources.iter().map(|source| OperandSlot::Read(source.0)))
                .collect(),
            nonzero: None,
            float_immediates: sources.iter().find_map(|source| source.1),
        }
    }};
}
pub(super) use lanes;

/// `$run` with the types of the row that the key matches, under the names at its head:
/// `choose!(bits, [8 => (u8, u16), 16 => (u16, u32)] else None, (|T, U| Some(run::<T, U>)))`.
macro_rules! choose {
    (@ ($($type:ty),+) (|$($name:ident),+| $run:expr)) => {{
        $(type $name = $type;)+
        $run
    }};
    ($key:expr, [$($row:pat => $types:tt),+ $(,)?] $(else $otherwise:expr)?, $run:tt) => {
        match $key {
            $($row => $crate::arithmetic::form::choose!(@ $types $run),)+
            $(_ => $otherwise,)?
        }
    };
}
pub(super) use choose;

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
pub(super) use flag;

/// Chooses the row of a type and gives its form; inside, `T` is the type of the row.
/// `by_type!(name, ["u32" => u32, "s32" => i32], |a: T, b: T| -> T { a ^ b })`
macro_rules! by_type {
    ($name:expr, [$($pattern:pat => $type:ty),+ $(,)?], $($form:tt)+) => {
        $crate::arithmetic::form::choose!(
            $name,
            [$($pattern => ($type)),+] else None,
            (|T| Some($crate::arithmetic::form::lanes!($($form)+)))
        )
    };
}
pub(super) use by_type;

/// The modifiers of a form, taken one after the other.
pub(super) struct Form<'a> {
    pub rest: &'a [&'a str],
}

impl<'a> Form<'a> {
    /// All modifiers of a form, none of them taken.
    pub fn new(modifiers: &'a [&'a str]) -> Self {
        Form { rest: modifiers }
    }

    /// Takes the next modifier if it is this one.
    pub fn take(&mut self, modifier: &str) -> bool {
        self.one_of(&[(modifier, ())]).is_some()
    }

    /// Takes the next modifier if the table names it.
    pub fn one_of<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let (first, rest) = self.rest.split_first()?;
        let found = table.iter().find(|entry| entry.0 == *first)?.1;
        self.rest = rest;
        Some(found)
    }

    /// Takes the next modifier, whatever it is; empty at the end.
    pub fn next(&mut self) -> &'a str {
        let Some((first, rest)) = self.rest.split_first() else { return "" };
        self.rest = rest;
        first
    }

    /// All modifiers were taken.
    pub fn end(&self) -> Option<()> {
        self.rest.is_empty().then_some(())
    }
}

/// How a result is rounded: `.rn`, `.rz`, `.rm`, `.rp`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rounding {
    /// To the nearest, ties to even.
    Nearest,
    Zero,
    Down,
    Up,
}

pub(super) const ROUNDINGS: [(&str, Rounding); 4] = [
    ("rn", Rounding::Nearest),
    ("rz", Rounding::Zero),
    ("rm", Rounding::Down),
    ("rp", Rounding::Up),
];
