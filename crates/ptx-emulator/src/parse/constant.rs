//! Numbers and constant expressions.

use super::{MAX_DEPTH, Parser, Result, SyntaxError};
use crate::lex::TokenKind;

/// A number as it was written.
pub(super) enum Number {
    Int(i128),
    F32(u32),
    /// Also of decimal literals.
    F64(u64),
}

impl Parser<'_> {
    /// What follows the `+` of an address.
    pub(super) fn offset(&mut self) -> Result<i64> {
        let offset = self.integer("an offset")?;
        i64::try_from(offset)
            .map_err(|_| self.error(format!("the offset {offset} does not fit a signed 64 bits")))
    }

    /// A number with its sign, or a constant expression of integers.
    pub(super) fn number(&mut self, what: &str) -> Result<Number> {
        let negative = self.take('-')?;
        match self.token.kind {
            TokenKind::F32(bits) if !negative => {
                self.advance()?;
                Ok(Number::F32(bits))
            }
            TokenKind::F64(bits) if !negative => {
                self.advance()?;
                Ok(Number::F64(bits))
            }
            TokenKind::Decimal(value, _) => {
                self.advance()?;
                Ok(Number::F64((if negative { -value } else { value }).to_bits()))
            }
            _ => self
                .sum(negative, what, 0)
                .and_then(|value| self.in_64_bits(value))
                .map(Number::Int),
        }
    }

    /// A constant expression of integers: `+`, `-`, `*`, `~` and parentheses.
    pub(super) fn integer(&mut self, what: &str) -> Result<i128> {
        let value = self.sum(false, what, 0)?;
        self.in_64_bits(value)
    }

    fn in_64_bits(&self, value: i128) -> Result<i128> {
        if (i64::MIN.into()..=u64::MAX.into()).contains(&value) {
            Ok(value)
        } else {
            Err(self.error(format!("the value {value} does not fit 64 bits")))
        }
    }

    fn overflow(&self) -> SyntaxError {
        self.error("a constant expression overflows")
    }

    /// Terms and the signs between them; `negative` is a `-` that has been taken before the first.
    fn sum(&mut self, negative: bool, what: &str, depth: usize) -> Result<i128> {
        let mut sum = self.product(negative, what, depth)?;
        loop {
            if self.take('+')? {
                let term = self.product(false, what, depth)?;
                sum = sum.checked_add(term).ok_or_else(|| self.overflow())?;
            } else if self.take('-')? {
                let term = self.product(false, what, depth)?;
                sum = sum.checked_sub(term).ok_or_else(|| self.overflow())?;
            } else {
                return Ok(sum);
            }
        }
    }

    fn product(&mut self, negative: bool, what: &str, depth: usize) -> Result<i128> {
        let mut product = self.factor(what, depth)?;
        if negative {
            product = product.checked_neg().ok_or_else(|| self.overflow())?;
        }
        while self.take('*')? {
            let factor = self.factor(what, depth)?;
            product = product.checked_mul(factor).ok_or_else(|| self.overflow())?;
        }
        Ok(product)
    }

    fn factor(&mut self, what: &str, depth: usize) -> Result<i128> {
        if depth == MAX_DEPTH {
            return Err(self.error(format!("an expression nested deeper than {MAX_DEPTH}")));
        }
        match self.token.kind {
            TokenKind::Int(value) => {
                self.advance()?;
                Ok(value.into())
            }
            TokenKind::Word("WARP_SZ") => {
                self.advance()?;
                Ok(32)
            }
            TokenKind::Punct(sign @ ('+' | '-' | '~')) => {
                self.advance()?;
                let value = self.factor(what, depth + 1)?;
                match sign {
                    '-' => value.checked_neg().ok_or_else(|| self.overflow()),
                    '~' => Ok(!value),
                    _ => Ok(value),
                }
            }
            TokenKind::Punct('(') => {
                self.advance()?;
                let value = self.sum(false, what, depth + 1)?;
                self.expect(')', "an expression")?;
                Ok(value)
            }
            _ => Err(self.expected(what)),
        }
    }
}
