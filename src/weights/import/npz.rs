//! The `.npz` container: a zip archive of `.npy` arrays.

use super::archive::Member;
use super::error::{corrupt, quote, unsupported};
use super::tensor::{Data, View, column_major, elems_of, row_major};
use super::{CheckpointError, Dtype};
use std::collections::BTreeMap;

const EXTENSION: &str = ".npy";
const MAGIC: &[u8] = b"\x93NUMPY";
/// NumPy itself refuses longer headers of plain arrays.
const MAX_HEADER_BYTES: usize = 10_000;
/// Magic, version, and the longer of the two forms of the header's length.
const MAX_PREFIX_BYTES: usize = 12;

/// Whether an archive is an `.npz` file.
pub(super) fn recognises(members: &BTreeMap<String, Member>) -> bool {
    members.keys().any(|name| name.ends_with(EXTENSION))
}

pub(super) fn index(
    file: &[u8],
    members: BTreeMap<String, Member>,
) -> Result<Vec<(String, View)>, CheckpointError> {
    let mut tensors = Vec::with_capacity(members.len());
    for (entry, member) in members {
        let Some(name) = entry.strip_suffix(EXTENSION) else {
            let what = format!("zip entry {}", quote(&entry));
            return Err(corrupt(what, member.range.start, "an entry named *.npy", "another"));
        };
        let at = member.range.start;
        let head = member.head(file, MAX_PREFIX_BYTES + MAX_HEADER_BYTES)?;
        let header = Header::parse(name, at, &head)?;
        let (stored, skip) = (member.size - header.len, header.len);
        let view = header.view(name, at, stored, Data::Member { member, skip })?;
        tensors.push((name.to_owned(), view));
    }
    Ok(tensors)
}

/// Whether a file is one `.npy` array, as `numpy.save` writes it.
pub(super) fn recognises_array(file: &[u8]) -> bool {
    file.starts_with(MAGIC)
}

/// The array of an `.npy` file, under the name that `numpy.savez` gives to the first one.
pub(super) fn index_array(file: &[u8]) -> Result<Vec<(String, View)>, CheckpointError> {
    const NAME: &str = "arr_0";
    let head = &file[..file.len().min(MAX_PREFIX_BYTES + MAX_HEADER_BYTES)];
    let header = Header::parse(NAME, 0, head)?;
    let data = header.len..file.len();
    let view = header.view(NAME, 0, data.len(), Data::File(data))?;
    Ok(vec![(NAME.to_owned(), view)])
}

/// The header of a `.npy` array.
struct Header {
    /// Bytes before the elements.
    len: usize,
    dtype: Dtype,
    fortran_order: bool,
    shape: Vec<usize>,
}

impl Header {
    /// The elements, which must be all of the `stored` bytes of `data`.
    fn view(
        self,
        name: &str,
        at: usize,
        stored: usize,
        data: Data,
    ) -> Result<View, CheckpointError> {
        let elems = elems_of(name, at, &self.shape)?;
        if elems.checked_mul(self.dtype.elem_bytes()) != Some(stored) {
            return Err(corrupt(
                format!("data of tensor {}", quote(name)),
                at.saturating_add(self.len),
                format!("{elems} elements of {}", self.dtype),
                format!("{stored} bytes"),
            ));
        }
        let strides =
            if self.fortran_order { column_major(&self.shape) } else { row_major(&self.shape) };
        View::new(name, at, data, self.dtype, self.shape, strides, 0)
    }

    /// Parses versions 1 to 3. `at` is the offset of `head` in the file.
    fn parse(name: &str, at: usize, head: &[u8]) -> Result<Header, CheckpointError> {
        let truncated = |needed: usize| CheckpointError::Truncated {
            what: ".npy header",
            offset: at as u64,
            needed: needed as u64,
            remaining: head.len() as u64,
        };
        let what = || format!(".npy header of tensor {}", quote(name));
        let Some((prefix, _)) = head.split_first_chunk::<10>() else {
            return Err(truncated(10));
        };
        if !prefix.starts_with(MAGIC) {
            let found = format!("\"{}\"", prefix[..MAGIC.len()].escape_ascii());
            return Err(corrupt(what(), at, "\"\\x93NUMPY\"", found));
        }
        // Version 1 has a 16-bit length; versions 2 and 3 differ in the text's encoding only, and
        // plain dtypes are ASCII in both.
        let (start, text_len) = match prefix[6] {
            1 => (10, usize::from(u16::from_le_bytes([prefix[8], prefix[9]]))),
            2 | 3 => match head.get(8..MAX_PREFIX_BYTES) {
                Some(&[a, b, c, d]) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
                _ => return Err(truncated(MAX_PREFIX_BYTES)),
            },
            version => {
                return Err(unsupported(what(), at + 6, "version 1, 2 or 3", version.to_string()));
            }
        };
        if text_len > MAX_HEADER_BYTES {
            let found = format!("{text_len} bytes");
            return Err(corrupt(
                what(),
                at + 8,
                format!("at most {MAX_HEADER_BYTES} bytes"),
                found,
            ));
        }
        let len = start + text_len;
        let text = head.get(start..len).ok_or_else(|| truncated(len))?;
        let mut literal = Literal { text, pos: 0 };
        let (descr, fortran_order, shape) = literal.header().map_err(|expected| {
            let rest = &text[literal.pos.min(text.len())..];
            let found = String::from_utf8_lossy(rest);
            corrupt(what(), at + start + literal.pos, expected, quote(found.trim_end()))
        })?;
        let wrong_type = |expected: &str| {
            unsupported(
                format!("element type of tensor {}", quote(name)),
                at + start,
                expected,
                quote(descr),
            )
        };
        let dtype = match (descr.get(..1), descr.get(1..).and_then(Dtype::from_numpy)) {
            (Some(">"), Some(dtype)) if dtype.elem_bytes() > 1 => {
                return Err(wrong_type("little-endian elements"));
            }
            (Some("<" | "|" | "=" | ">"), Some(dtype)) => dtype,
            _ => return Err(wrong_type("plain numbers")),
        };
        Ok(Header { len, dtype, fortran_order, shape })
    }
}

/// The Python dict literal of a `.npy` header: three known keys, in any order.
struct Literal<'a> {
    text: &'a [u8],
    pos: usize,
}

impl<'a> Literal<'a> {
    /// `descr`, `fortran_order` and `shape`, or the text that was expected at `pos`.
    fn header(&mut self) -> Result<(&'a str, bool, Vec<usize>), &'static str> {
        let (mut descr, mut fortran_order, mut shape) = (None, None, None);
        self.expect(b'{', "'{'")?;
        while !self.accept(b'}') {
            self.skip_spaces();
            let start = self.pos;
            let key = self.string("one of the keys descr, fortran_order and shape")?;
            self.expect(b':', "':'")?;
            let again = match key {
                "descr" => descr.replace(self.string("a dtype of plain numbers")?).is_some(),
                "fortran_order" => fortran_order.replace(self.boolean()?).is_some(),
                "shape" => shape.replace(self.shape()?).is_some(),
                _ => true,
            };
            if again {
                self.pos = start;
                return Err("each of the keys descr, fortran_order and shape once");
            }
            if !self.accept(b',') {
                self.expect(b'}', "',' or '}'")?;
                break;
            }
        }
        self.skip_spaces();
        if self.pos != self.text.len() {
            return Err("nothing after the dict");
        }
        match (descr, fortran_order, shape) {
            (Some(descr), Some(fortran_order), Some(shape)) => Ok((descr, fortran_order, shape)),
            _ => Err("all of the keys descr, fortran_order and shape"),
        }
    }

    fn skip_spaces(&mut self) {
        while let Some(b' ' | b'\n' | b'\t') = self.text.get(self.pos) {
            self.pos += 1;
        }
    }

    fn accept(&mut self, byte: u8) -> bool {
        self.skip_spaces();
        let found = self.text.get(self.pos) == Some(&byte);
        self.pos += usize::from(found);
        found
    }

    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), &'static str> {
        if self.accept(byte) { Ok(()) } else { Err(expected) }
    }

    /// A quoted string without escapes.
    fn string(&mut self, expected: &'static str) -> Result<&'a str, &'static str> {
        self.skip_spaces();
        let quote = match self.text.get(self.pos) {
            Some(&quote @ (b'\'' | b'"')) => quote,
            _ => return Err(expected),
        };
        let rest = &self.text[self.pos + 1..];
        let len = rest.iter().position(|&byte| byte == quote).ok_or(expected)?;
        let text = std::str::from_utf8(&rest[..len]).map_err(|_| expected)?;
        if text.contains('\\') {
            return Err(expected);
        }
        self.pos += len + 2;
        Ok(text)
    }

    fn boolean(&mut self) -> Result<bool, &'static str> {
        self.skip_spaces();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.pos..].starts_with(word.as_bytes()) {
                self.pos += word.len();
                return Ok(value);
            }
        }
        Err("True or False")
    }

    fn shape(&mut self) -> Result<Vec<usize>, &'static str> {
        let mut shape = Vec::new();
        self.expect(b'(', "a tuple")?;
        while !self.accept(b')') {
            self.skip_spaces();
            let rest = &self.text[self.pos..];
            let len = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
            let digits = std::str::from_utf8(&rest[..len]).unwrap_or_default();
            shape.push(digits.parse().map_err(|_| "a number that is not negative")?);
            self.pos += len;
            // Python 2 wrote long integers with a letter.
            if self.text.get(self.pos) == Some(&b'L') {
                self.pos += 1;
            }
            if !self.accept(b',') {
                self.expect(b')', "',' or ')'")?;
                break;
            }
        }
        Ok(shape)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(text: &str) -> Result<(String, bool, Vec<usize>), &'static str> {
        Literal { text: text.as_bytes(), pos: 0 }.header().map(|(d, f, s)| (d.to_owned(), f, s))
    }

    #[test]
    fn headers_are_read_strictly() {
        let good = "{'descr': '<f4', 'fortran_order': True, 'shape': (3, 4L), }   \n";
        assert_eq!(header(good), Ok(("<f4".to_owned(), true, vec![3, 4])));
        let scalar = "{\"shape\":(),\"descr\":\"|i1\",\"fortran_order\":False}";
        assert_eq!(header(scalar), Ok(("|i1".to_owned(), false, vec![])));
        for bad in [
            "",
            "{",
            "{}",
            "{'descr': '<f4', 'fortran_order': True}",
            "{'descr': '<f4', 'fortran_order': 1, 'shape': ()}",
            "{'descr': [('a', '<f4')], 'fortran_order': True, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (-1,)}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (99999999999999999999,)}",
            "{'descr': '<f4', 'descr': '<f4', 'fortran_order': True, 'shape': ()}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (), 'x': 'y'}",
            "{'descr': '<f4', 'fortran_order': True, 'shape': ()} os.system",
            "{'descr': '<f4', 'fortran_order': True, 'shape': (1 2)}",
            "{'descr': '<f4",
        ] {
            assert!(header(bad).is_err(), "{bad}");
        }
    }
}
