//! What touches registers only, one lane at a time: the arithmetic, logic, comparison and
//! conversion instructions of the PTX ISA as tables from form to lane function.
//!
//! [`lower`] takes an opcode with its modifiers, in the order in which the ISA writes them, and
//! gives a function over the 32 lanes. A form that no table holds is refused.
//!
//! Where the ISA leaves freedom, this is what is done:
//! - A NaN that an operation computes is canonical: 0x7fffffff in f32, 0x7fff in f16 and bf16,
//!   0x7ff8000000000000 in f64. `abs`, `neg`, `copysign` and moves change the sign bit alone.
//! - `.ftz` flushes subnormal inputs, and results that are subnormal after rounding, to zeros of
//!   their sign.
//! - `.approx` operations are computed in f64 and rounded once: closer than a GPU's, whose last
//!   bits differ. Their special values are the ISA's.
//! - `add`, `sub` and `mul` without a rounding modifier round to nearest even and are never fused.

mod compare;
mod convert;
mod exact;
mod float;
mod form;
mod half;
mod integer;
mod logic;
#[cfg(test)]
mod tests;

pub(crate) use form::{Arithmetic, FloatWidth, OperandSlot, Run};
use form::{Form, Operand, ROUNDINGS, Rounding, by_type, choose, flag, lanes};

use super::registers::{LANES, Lane, Mask, Reg, Registers, Width, each};

/// The form of an arithmetic instruction; `None` where the opcode is none of this table's.
///
/// `widths` are those of the operands as written, `None` for an immediate, in the order of the
/// slots.
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
