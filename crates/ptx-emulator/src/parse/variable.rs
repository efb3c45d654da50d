//! Variables and their initial values.

use super::constant::Number;
use super::{Parser, Result, SyntaxError};
use crate::ast::{Init, Space, Variable, scalar_bytes};
use crate::lex::{TokenKind, quoted};

/// Dimensions of an array that are read: each is a level of braces in its initial values.
const MAX_DIMENSIONS: usize = 16;

/// What stands before the names of a declaration.
struct Specifiers<'a> {
    space: Space,
    is_extern: bool,
    align: Option<u32>,
    lanes: u32,
    scalar: &'a str,
    /// Bytes of one element: scalar times lanes.
    bytes: u32,
}

impl<'a> Parser<'a> {
    /// From after the space to the `;`: `.align 4 .b8 a[16], b[4] = {1, 2};`
    pub(super) fn variables(
        &mut self,
        space: Space,
        is_extern: bool,
        variables: &mut Vec<Variable>,
    ) -> Result<()> {
        let specifiers = self.specifiers(space, is_extern)?;
        loop {
            variables.push(self.declarator(&specifiers)?);
            if !self.take(',')? {
                return self.expect(';', "the variable");
            }
        }
    }

    /// A parameter, from after its space.
    pub(super) fn parameter(&mut self, space: Space) -> Result<Variable> {
        let specifiers = self.specifiers(space, false)?;
        if space == Space::Param && self.token.kind == TokenKind::Dotted("ptr") {
            self.pointer()?;
        }
        self.declarator(&specifiers)
    }

    /// `.ptr .global .align 4`: what a pointer points to, of which the optimiser may make use.
    fn pointer(&mut self) -> Result<()> {
        self.advance()?;
        if matches!(self.token.kind, TokenKind::Dotted("global" | "shared" | "local" | "const")) {
            self.advance()?;
        }
        if self.token.kind == TokenKind::Dotted("align") {
            self.align()?;
        }
        Ok(())
    }

    fn align(&mut self) -> Result<u32> {
        self.advance()?;
        let line = self.token.line;
        let align = self.u32("a number after `.align`")?;
        if !align.is_power_of_two() {
            let message = format!("`.align {align}`: expected a power of two");
            return Err(SyntaxError { line, message });
        }
        Ok(align)
    }

    fn specifiers(&mut self, space: Space, is_extern: bool) -> Result<Specifiers<'a>> {
        let mut align = None;
        loop {
            match self.token.kind {
                TokenKind::Dotted("align") => align = Some(self.align()?),
                TokenKind::Dotted("attribute") => {
                    self.advance()?;
                    self.expect('(', "`.attribute`")?;
                    // The host reaches a managed variable too, which changes nothing for a kernel.
                    if self.token.kind != TokenKind::Dotted("managed") {
                        return Err(self.expected("`.managed`"));
                    }
                    self.advance()?;
                    self.expect(')', "`.managed`")?;
                }
                _ => break,
            }
        }
        let lanes = self.lanes()?;
        let line = self.token.line;
        let (scalar, scalar_bytes) = self.scalar(space)?;
        let bytes = scalar_bytes * lanes;
        if bytes > 16 {
            let message = format!(
                "a vector of {lanes} times `.{scalar}` has {bytes} bytes: expected at most 16"
            );
            return Err(SyntaxError { line, message });
        }
        Ok(Specifiers { space, is_extern, align, lanes, scalar, bytes })
    }

    /// `.v2`, `.v4` or nothing.
    pub(super) fn lanes(&mut self) -> Result<u32> {
        let lanes = match self.token.kind {
            TokenKind::Dotted("v2") => 2,
            TokenKind::Dotted("v4") => 4,
            _ => return Ok(1),
        };
        self.advance()?;
        Ok(lanes)
    }

    /// A type, and its size in bytes; predicates, which only registers can be, have 0.
    pub(super) fn scalar(&mut self, space: Space) -> Result<(&'a str, u32)> {
        let TokenKind::Dotted(scalar) = self.token.kind else {
            return Err(self.expected("a type such as `.b32`"));
        };
        let bytes = match scalar_bytes(scalar) {
            Some(bytes) => bytes,
            None if scalar == "pred" && space == Space::Reg => 0,
            None if matches!(scalar, "texref" | "samplerref" | "surfref") => {
                return Err(self.error("textures and surfaces are not supported"));
            }
            None => return Err(self.expected("a type such as `.b32`")),
        };
        self.advance()?;
        Ok((scalar, bytes))
    }

    /// A name, its dimensions and its initial values.
    fn declarator(&mut self, specifiers: &Specifiers<'_>) -> Result<Variable> {
        let &Specifiers { space, is_extern, align, lanes, scalar, bytes } = specifiers;
        let line = self.token.line;
        let name = self.word("the variable's name")?;
        let (first_open, mut dimensions) = self.dimensions(name)?;
        let mut elems = product(&dimensions)
            .filter(|elems| elems.checked_mul(bytes.into()).is_some_and(|b| b <= i64::MAX as u64))
            .ok_or_else(|| SyntaxError {
                line,
                message: format!("{} has more than 2^63 bytes", quoted(name)),
            })?;
        let mut init = None;
        if self.is('=') {
            if !matches!(space, Space::Global | Space::Const) || is_extern {
                return Err(self.error(format!(
                    "{} has initial values: expected them of `.global` and `.const` variables \
                     that are defined here only",
                    quoted(name)
                )));
            }
            self.advance()?;
            let inner = if first_open { &dimensions[1..] } else { &dimensions[..] };
            let row = product(inner).unwrap_or(u64::MAX);
            if first_open {
                // As many rows as are written.
                dimensions[0] = u64::MAX;
            }
            if lanes > 1 {
                dimensions.push(lanes.into());
            }
            let mut values = Vec::new();
            if dimensions.is_empty() {
                values.push(self.initial(scalar)?);
            } else {
                let rows = self.initial_list(scalar, &dimensions, &mut values)?;
                if first_open {
                    elems = rows.saturating_mul(row);
                }
            }
            init = Some(values);
        } else if first_open {
            if space == Space::Param {
                return Err(self.error("variable argument lists are not supported"));
            }
            if !is_extern {
                return Err(self.error(format!(
                    "{} has no size: expected a number between the brackets",
                    quoted(name)
                )));
            }
            elems = 0;
        }
        Ok(Variable {
            space,
            name: name.to_owned(),
            line,
            scalar: scalar.to_owned(),
            lanes,
            align: align.unwrap_or(bytes.max(1)),
            elems,
            is_extern,
            init,
        })
    }

    /// `[2][3]`, of which the first may be empty: it is then 1 here, and told apart.
    fn dimensions(&mut self, name: &str) -> Result<(bool, Vec<u64>)> {
        let mut first_open = false;
        let mut dimensions = Vec::new();
        while self.take('[')? {
            if dimensions.len() == MAX_DIMENSIONS {
                return Err(self
                    .error(format!("{} has more than {MAX_DIMENSIONS} dimensions", quoted(name))));
            }
            if self.is(']') && dimensions.is_empty() {
                first_open = true;
                dimensions.push(1);
            } else {
                let elems = self.integer("a number of elements")?;
                dimensions.push(u64::try_from(elems).map_err(|_| {
                    self.error(format!("{} has {elems} elements: expected 0 or more", quoted(name)))
                })?);
            }
            self.expect(']', "the number of elements")?;
        }
        Ok((first_open, dimensions))
    }

    /// `{ ... }` of as many levels as there are dimensions; returns the number of its own elements.
    ///
    /// A list that is shorter than its dimension stands for zeros after it, which is read at the
    /// end only: in between, the zeros would have to be stored.
    fn initial_list(
        &mut self,
        scalar: &str,
        dimensions: &[u64],
        values: &mut Vec<Init>,
    ) -> Result<u64> {
        let inner = &dimensions[1..];
        let row = product(inner).unwrap_or(u64::MAX);
        let start = values.len() as u64;
        let mut count = 0;
        self.expect('{', "`=` or `{`, as the variable's dimensions ask")?;
        if self.take('}')? {
            return Ok(count);
        }
        loop {
            if count == dimensions[0] {
                return Err(
                    self.error(format!("more initial values than the {count} of this dimension"))
                );
            }
            if values.len() as u64 - start != count.saturating_mul(row) {
                return Err(self.error(format!(
                    "a list of fewer than {row} initial values is supported at the end only"
                )));
            }
            if inner.is_empty() {
                values.push(self.initial(scalar)?);
            } else {
                self.initial_list(scalar, inner, values)?;
            }
            count += 1;
            if !self.take(',')? {
                break;
            }
        }
        self.expect('}', "an initial value")?;
        Ok(count)
    }

    fn initial(&mut self, scalar: &str) -> Result<Init> {
        if let TokenKind::Word(word) = self.token.kind
            && word != "WARP_SZ"
        {
            return self.initial_address(scalar, word);
        }
        let number = self.number("an initial value")?;
        let init = match (number, scalar) {
            (_, "f16" | "f16x2" | "bf16" | "bf16x2" | "b128") => None,
            (Number::Int(value), _) if !scalar.starts_with('f') => Some(Init::Int(value)),
            (Number::F32(bits), "f32" | "b32") => Some(Init::Bits(bits.into())),
            (Number::F64(bits), "f64" | "b64") => Some(Init::Bits(bits)),
            (Number::F64(bits), "f32") => {
                Some(Init::Bits((f64::from_bits(bits) as f32).to_bits().into()))
            }
            _ => None,
        };
        init.ok_or_else(|| {
            self.error(format!("the initial value is not one that a `.{scalar}` can be given"))
        })
    }

    /// `name`, `name+4`, `generic(name)+4`.
    fn initial_address(&mut self, scalar: &str, word: &str) -> Result<Init> {
        if !matches!(scalar, "u32" | "s32" | "b32" | "u64" | "s64" | "b64") {
            return Err(self.error(format!(
                "an address as the initial value of a `.{scalar}`: expected 32 or 64 bits"
            )));
        }
        self.advance()?;
        let generic = word == "generic" && self.take('(')?;
        let name = if generic {
            let name = self.word("a variable's name")?;
            self.expect(')', "the variable's name")?;
            name
        } else {
            word
        };
        let offset = if self.take('+')? { self.offset()? } else { 0 };
        Ok(Init::Symbol { name: name.to_owned(), offset, generic })
    }
}

/// Elements of all dimensions.
fn product(dimensions: &[u64]) -> Option<u64> {
    dimensions.iter().try_fold(1u64, |product, &elems| product.checked_mul(elems))
}
