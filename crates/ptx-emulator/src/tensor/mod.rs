//! Tensor-core instructions of one warp: `mma.sync`, and the distribution of `ldmatrix` and
//! `stmatrix`.
//!
//! Each is a function of the warp's registers alone. A form is chosen by its modifiers, which must
//! be exactly those of the PTX ISA in the ISA's order; every other form is refused by name.

mod matrix;
mod mma;
#[cfg(test)]
mod tests;

#[allow(unused_imports)] // while the rooms of the emulator are being joined
pub(crate) use matrix::{Matrix, collect, distribute, lower_matrix};
#[allow(unused_imports)] // likewise
pub(crate) use mma::{Mma, lower_mma};

/// The modifiers of an instruction, taken one by one in the order of the ISA.
struct Modifiers<'a> {
    opcode: &'a str,
    rest: &'a [&'a str],
}

impl<'a> Modifiers<'a> {
    /// Takes the next modifier, which must be one of `expected`.
    fn take(&mut self, expected: &[&str]) -> Result<&'a str, String> {
        let choice = || expected.iter().map(|e| format!(".{e}")).collect::<Vec<_>>().join(", ");
        match self.rest.split_first() {
            Some((&found, rest)) if expected.contains(&found) => {
                self.rest = rest;
                Ok(found)
            }
            Some((found, _)) => Err(format!(
                "{}: modifier .{found} is not supported here; expected {}",
                self.opcode,
                choice()
            )),
            None => Err(format!("{}: a modifier is missing at the end: {}", self.opcode, choice())),
        }
    }

    /// Takes the next modifier if it is `wanted`.
    fn take_if(&mut self, wanted: &str) -> bool {
        match self.rest.split_first() {
            Some((&found, rest)) if found == wanted => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    fn end(self) -> Result<(), String> {
        match self.rest.first() {
            Some(extra) => {
                Err(format!("{}: modifier .{extra} is not supported at the end", self.opcode))
            }
            None => Ok(()),
        }
    }
}
