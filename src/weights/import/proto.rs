//! Protocol buffers, field by field, without copying and without recursion.
//!
//! A message is a range of the file; its fields are read one after the other, and a nested message
//! is a range again, which the caller reads where it knows the message. So the depth is the
//! caller's own, every length is compared with the bytes that remain, and a model's tensors stay
//! where they are in the mapped file: generated readers would copy them, and forget their offsets.

use super::CheckpointError;
use super::error::{corrupt, too_large, unsupported};
use std::ops::Range;

/// Numbers of a shape or a setting: the family's have eight at most, other networks' a few more.
pub(super) const MAX_INTS: usize = 1 << 12;

/// A field's value, by wire type.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A whole number, a bool or an enum.
    Varint(u64),
    /// Four bytes: an `f32`.
    Fixed32([u8; 4]),
    /// Eight bytes: an `f64`.
    Fixed64([u8; 8]),
    /// Text, bytes, a message, or packed numbers, as a range of the file.
    Bytes(Range<usize>),
}

/// A field: its number, its value, and the offset of its tag.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Field {
    pub(super) number: u32,
    pub(super) at: usize,
    pub(super) value: Value,
}

/// The fields of a message, read in order.
#[derive(Clone, Debug)]
pub(super) struct Message<'a> {
    file: &'a [u8],
    range: Range<usize>,
    /// Name of the message, for errors.
    what: &'static str,
}

impl<'a> Message<'a> {
    /// The message in `range`, which lies in `file`.
    pub(super) fn new(file: &'a [u8], range: Range<usize>, what: &'static str) -> Message<'a> {
        Message { file, range, what }
    }

    /// The file that the message is a range of.
    pub(super) fn file(&self) -> &'a [u8] {
        self.file
    }

    /// Offset of the next field.
    pub(super) fn position(&self) -> usize {
        self.range.start
    }

    /// The next field, `None` after the last.
    pub(super) fn next(&mut self) -> Result<Option<Field>, CheckpointError> {
        if self.range.is_empty() {
            return Ok(None);
        }
        let at = self.range.start;
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(0);
        if number == 0 || number > 0x1fff_ffff {
            let found = format!("tag {tag}");
            return Err(corrupt(self.what, at, "a field number of 1 to 2^29 - 1", found));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(self.fixed()?),
            2 => {
                let length = self.varint()?;
                let start = self.range.start;
                let length = self.fits(length)?;
                self.range.start += length;
                Value::Bytes(start..start + length)
            }
            5 => Value::Fixed32(self.fixed()?),
            wire => {
                let found = format!("wire type {wire} of field {number}");
                return Err(unsupported(self.what, at, "wire type 0, 1, 2 or 5", found));
            }
        };
        Ok(Some(Field { number, at, value }))
    }

    fn varint(&mut self) -> Result<u64, CheckpointError> {
        varint(self.file, &mut self.range, self.what)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], CheckpointError> {
        self.fits(N as u64)?;
        let start = self.range.start;
        self.range.start += N;
        let mut bytes = [0; N];
        bytes.copy_from_slice(&self.file[start..start + N]);
        Ok(bytes)
    }

    /// `needed` as a number of bytes, if that many remain in the message.
    fn fits(&self, needed: u64) -> Result<usize, CheckpointError> {
        let remaining = self.range.len() as u64;
        if needed > remaining {
            let offset = self.range.start as u64;
            return Err(CheckpointError::Truncated { what: self.what, offset, needed, remaining });
        }
        Ok(needed as usize)
    }
}

/// The number at the start of `range`, which is moved behind it.
fn varint(
    file: &[u8],
    range: &mut Range<usize>,
    what: &'static str,
) -> Result<u64, CheckpointError> {
    let at = range.start;
    let mut number = 0u64;
    for shift in (0..70).step_by(7) {
        let Some(&byte) = file[range.clone()].first() else {
            let offset = range.start as u64;
            return Err(CheckpointError::Truncated { what, offset, needed: 1, remaining: 0 });
        };
        range.start += 1;
        // The tenth byte has one bit of 64 left.
        if shift == 63 && byte > 1 {
            break;
        }
        number |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Ok(number);
        }
    }
    Err(corrupt(what, at, "a number of 64 bits", "a longer one"))
}

impl Field {
    /// The range of a text, of bytes or of a nested message.
    pub(super) fn bytes(&self, what: &'static str) -> Result<Range<usize>, CheckpointError> {
        match &self.value {
            Value::Bytes(range) => Ok(range.clone()),
            other => Err(self.wrong(what, "bytes", other)),
        }
    }

    /// A nested message.
    pub(super) fn message<'a>(
        &self,
        file: &'a [u8],
        what: &'static str,
    ) -> Result<Message<'a>, CheckpointError> {
        Ok(Message::new(file, self.bytes(what)?, what))
    }

    /// A text.
    pub(super) fn text<'a>(
        &self,
        file: &'a [u8],
        what: &'static str,
    ) -> Result<&'a str, CheckpointError> {
        let range = self.bytes(what)?;
        let start = range.start;
        std::str::from_utf8(&file[range])
            .map_err(|error| corrupt(what, start + error.valid_up_to(), "UTF-8", "other bytes"))
    }

    /// A whole number: negative ones are ten bytes long on the wire.
    pub(super) fn int(&self, what: &'static str) -> Result<i64, CheckpointError> {
        match self.value {
            Value::Varint(number) => Ok(number as i64),
            ref other => Err(self.wrong(what, "a whole number", other)),
        }
    }

    /// An `f32` or `f64`.
    pub(super) fn float(&self, what: &'static str) -> Result<f64, CheckpointError> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f64::from(f32::from_le_bytes(bytes))),
            Value::Fixed64(bytes) => Ok(f64::from_le_bytes(bytes)),
            ref other => Err(self.wrong(what, "a floating-point number", other)),
        }
    }

    /// Appends the whole numbers of a repeated field: one, or many in the packed form; `into` has
    /// at most `max` of them after that. A number takes a byte of the file, and eight of memory.
    pub(super) fn ints(
        &self,
        file: &[u8],
        what: &'static str,
        max: usize,
        into: &mut Vec<i64>,
    ) -> Result<(), CheckpointError> {
        let many =
            |at: usize| too_large(format!("numbers of {what}"), at, max as u64, max as u64 + 1);
        let Value::Bytes(range) = &self.value else {
            if into.len() == max {
                return Err(many(self.at));
            }
            into.push(self.int(what)?);
            return Ok(());
        };
        let mut range = range.clone();
        while !range.is_empty() {
            if into.len() == max {
                return Err(many(range.start));
            }
            into.push(varint(file, &mut range, what)? as i64);
        }
        Ok(())
    }

    fn wrong(&self, what: &'static str, expected: &str, found: &Value) -> CheckpointError {
        let found = match found {
            Value::Varint(_) => "a varint",
            Value::Fixed32(_) => "four bytes",
            Value::Fixed64(_) => "eight bytes",
            Value::Bytes(_) => "a length and bytes",
        };
        corrupt(format!("field {} of {what}", self.number), self.at, expected, found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(file: &[u8]) -> Result<Vec<Field>, String> {
        let mut message = Message::new(file, 0..file.len(), "test");
        let mut found = Vec::new();
        while let Some(field) = message.next().map_err(|error| error.to_string())? {
            found.push(field);
        }
        Ok(found)
    }

    #[test]
    fn fields_are_read_as_the_encoding_guide_writes_them() {
        // The guide's own examples: 150 as field 1, "testing" as field 2.
        let file = b"\x08\x96\x01\x12\x07testing\x1d\0\0\x80\x3f\x21\0\0\0\0\0\0\xf0\x3f";
        let found = fields(file).unwrap();
        let values: Vec<_> = found.iter().map(|field| (field.number, &field.value)).collect();
        assert_eq!(values[0], (1, &Value::Varint(150)));
        assert_eq!(values[1], (2, &Value::Bytes(5..12)));
        assert_eq!(found[1].text(file, "test").unwrap(), "testing");
        assert_eq!(found[2].float("test").unwrap(), 1.0);
        assert_eq!(found[3].float("test").unwrap(), 1.0);
        let minus_one = b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01";
        assert_eq!(fields(minus_one).unwrap()[0].int("test").unwrap(), -1);
        let packed = b"\x0a\x04\x03\x8e\x02\x00";
        let mut ints = Vec::new();
        fields(packed).unwrap()[0].ints(packed, "test", 3, &mut ints).unwrap();
        assert_eq!(ints, [3, 270, 0]);
        let error = fields(packed).unwrap()[0].ints(packed, "test", 5, &mut ints).unwrap_err();
        assert!(error.to_string().contains("numbers of test: expected at most 5"), "{error}");
    }

    #[test]
    fn lies_are_errors() {
        for (file, says) in [
            (&b"\x08"[..], "truncated test"),
            (b"\x0a\x05abc", "expected 5 more bytes, found 3"),
            (b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "18446744073709551615"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "a number of 64 bits"),
            (b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "a number of 64 bits"),
            (b"\x00\x01", "a field number"),
            (b"\x0b", "wire type 3 of field 1"),
            (b"\x0d\x01\x02", "expected 4 more bytes"),
        ] {
            let error = fields(file).unwrap_err();
            assert!(error.contains(says), "{says}: {error}");
        }
        let field = &fields(b"\x08\x01").unwrap()[0];
        let error = field.text(b"\x08\x01", "test").unwrap_err().to_string();
        assert!(error.contains("field 1 of test: expected bytes, found a varint"), "{error}");
    }
}
