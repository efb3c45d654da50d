//! Arguments of a kernel as they are written on the command line.

use half::f16;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// One argument of a kernel.
#[derive(Clone, Debug, PartialEq)]
pub enum Argument {
    /// A value, as the bytes of its parameter.
    Value(Vec<u8>),
    /// A buffer, whose address is the parameter's value.
    Buffer {
        /// What is in it before the launch.
        content: Content,
        /// Where it goes after the launch.
        output: Option<Output>,
    },
}

/// What a buffer holds before the launch.
#[derive(Clone, Debug, PartialEq)]
pub enum Content {
    /// The bytes of a file.
    File(PathBuf),
    /// These bytes.
    Bytes(Vec<u8>),
    /// So many bytes that nothing has written.
    Uninitialised(usize),
    /// So many zeros.
    Zeros(usize),
}

/// Where a buffer goes after the launch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Standard output, in hexadecimal digits.
    Stdout,
    /// A file, replacing what is there.
    File(PathBuf),
}

/// What is wrong with an argument, and what was expected.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Malformed {
    /// No such kind, or none at all.
    #[error(
        "expected KIND:VALUE, with KIND one of u32, s32, u64, s64, f32, f64, f16, hex, in, inout, out, \
         zero, hexbuf"
    )]
    Kind,
    /// A number that the type does not hold.
    #[error("expected {kind}:NUMBER from {low} to {high}, in decimal or with 0x")]
    Integer {
        /// The type.
        kind: &'static str,
        /// Its least number.
        low: i128,
        /// Its greatest number.
        high: i128,
    },
    /// Not a number.
    #[error("expected {0}:NUMBER, such as {0}:1.5, {0}:-2e-3, {0}:inf or {0}:nan")]
    Float(&'static str),
    /// A number that would become infinite.
    #[error("the number is too large for {kind}: expected at most {greatest:e}, or inf")]
    Overflow {
        /// The type.
        kind: &'static str,
        /// Its greatest finite number.
        greatest: f64,
    },
    /// Not hexadecimal.
    #[error("expected {0}: and pairs of hexadecimal digits, at least one, such as {0}:00ff")]
    Hex(&'static str),
    /// No name.
    #[error("expected {0}")]
    File(&'static str),
    /// No `>OUT`.
    #[error(
        "expected {0}>OUT, with OUT a file or - for hexadecimal digits on standard output (in quotes, \
         for the shell)"
    )]
    Output(&'static str),
    /// Not a number of bytes.
    #[error("expected {kind}:BYTES>OUT, with BYTES a number from 1 to {most}")]
    Bytes {
        /// How the argument begins.
        kind: &'static str,
        /// See [`MAX_BUFFER_BYTES`].
        most: usize,
    },
}

/// Most bytes of all buffers together: the emulator keeps several bytes of records for each.
pub const MAX_BUFFER_BYTES: usize = 1 << 30;

impl FromStr for Argument {
    type Err = Malformed;

    fn from_str(text: &str) -> Result<Argument, Malformed> {
        let (kind, value) = text.split_once(':').ok_or(Malformed::Kind)?;
        let buffer = |content, output| Argument::Buffer { content, output };
        Ok(match kind {
            "u32" => integer(value, "u32", u32::MIN, u32::MAX, u32::to_le_bytes)?,
            "s32" => integer(value, "s32", i32::MIN, i32::MAX, i32::to_le_bytes)?,
            "u64" => integer(value, "u64", u64::MIN, u64::MAX, u64::to_le_bytes)?,
            "s64" => integer(value, "s64", i64::MIN, i64::MAX, i64::to_le_bytes)?,
            "f16" => float(value, "f16", f16::MAX.to_f64(), |value: f64| {
                (f16::from_f64(value).is_infinite(), f16::from_f64(value).to_le_bytes())
            })?,
            "f32" => float(value, "f32", f32::MAX.into(), |value: f32| {
                (value.is_infinite(), value.to_le_bytes())
            })?,
            "f64" => float(value, "f64", f64::MAX, |value: f64| {
                (value.is_infinite(), value.to_le_bytes())
            })?,
            "hex" => Argument::Value(hex(value, "hex")?),
            "in" if value.is_empty() => return Err(Malformed::File("in:FILE")),
            "in" => buffer(Content::File(value.into()), None),
            "inout" => {
                let (file, output) = with_output(value, "inout:FILE")?;
                if file.is_empty() {
                    return Err(Malformed::File("inout:FILE>OUT"));
                }
                buffer(Content::File(file.into()), Some(output))
            }
            "out" => {
                let (bytes, output) = with_output(value, "out:BYTES")?;
                buffer(Content::Uninitialised(count(bytes, "out")?), Some(output))
            }
            "zero" => {
                let (bytes, output) = with_output(value, "zero:BYTES")?;
                buffer(Content::Zeros(count(bytes, "zero")?), Some(output))
            }
            "hexbuf" => {
                let (digits, output) = with_output(value, "hexbuf:DIGITS")?;
                buffer(Content::Bytes(hex(digits, "hexbuf")?), Some(output))
            }
            _ => return Err(Malformed::Kind),
        })
    }
}

fn integer<T: TryFrom<i128> + Into<i128>, const N: usize>(
    text: &str,
    kind: &'static str,
    low: T,
    high: T,
    bytes: fn(T) -> [u8; N],
) -> Result<Argument, Malformed> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (digits, radix) = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => (digits, 16),
        None => (digits, 10),
    };
    // `from_str_radix` would take a sign here.
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let value = i128::from_str_radix(digits, radix).ok().filter(|_| plain);
    let value = value.map(|value| if negative { -value } else { value });
    match value.and_then(|value| T::try_from(value).ok()) {
        Some(value) => Ok(Argument::Value(bytes(value).to_vec())),
        None => Err(Malformed::Integer { kind, low: low.into(), high: high.into() }),
    }
}

/// `convert` gives the bytes, and whether they are those of an infinity.
fn float<T: FromStr, const N: usize>(
    text: &str,
    kind: &'static str,
    greatest: f64,
    convert: fn(T) -> (bool, [u8; N]),
) -> Result<Argument, Malformed> {
    let (infinite, bytes) = convert(text.parse().map_err(|_| Malformed::Float(kind))?);
    let magnitude = text.trim_start_matches(['-', '+']);
    if infinite && !magnitude.starts_with(['i', 'I']) {
        return Err(Malformed::Overflow { kind, greatest });
    }
    Ok(Argument::Value(bytes.to_vec()))
}

fn hex(digits: &str, kind: &'static str) -> Result<Vec<u8>, Malformed> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = digits.as_bytes().chunks(2);
    let bytes: Option<Vec<u8>> = pairs
        .map(|pair| match *pair {
            [high, low] => Some(digit(high)? << 4 | digit(low)?),
            _ => None,
        })
        .collect();
    bytes.filter(|bytes| !bytes.is_empty()).ok_or(Malformed::Hex(kind))
}

/// `VALUE>OUT`, parted at the last `>`.
fn with_output<'a>(text: &'a str, expected: &'static str) -> Result<(&'a str, Output), Malformed> {
    match text.rsplit_once('>') {
        None | Some((_, "")) => Err(Malformed::Output(expected)),
        Some((value, "-")) => Ok((value, Output::Stdout)),
        Some((value, file)) => Ok((value, Output::File(file.into()))),
    }
}

fn count(text: &str, kind: &'static str) -> Result<usize, Malformed> {
    match text.parse() {
        Ok(bytes) if (1..=MAX_BUFFER_BYTES).contains(&bytes) && !text.starts_with('+') => Ok(bytes),
        _ => Err(Malformed::Bytes { kind, most: MAX_BUFFER_BYTES }),
    }
}

/// Bytes as hexadecimal digits, in the order of their addresses.
pub struct HexDigits<'a>(pub &'a [u8]);

impl fmt::Display for HexDigits<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn value(text: &str) -> Vec<u8> {
        match text.parse() {
            Ok(Argument::Value(bytes)) => bytes,
            other => panic!("{text}: {other:?}"),
        }
    }

    fn buffer(content: Content, output: Option<Output>) -> Argument {
        Argument::Buffer { content, output }
    }

    #[test]
    fn values_are_little_endian() {
        assert_eq!(value("u32:7"), [7, 0, 0, 0]);
        assert_eq!(value("u32:0xffFF0000"), [0, 0, 0xff, 0xff]);
        assert_eq!(value("s32:-1"), [0xff; 4]);
        assert_eq!(value("s32:-0x80000000"), [0, 0, 0, 0x80]);
        assert_eq!(value("u64:18446744073709551615"), [0xff; 8]);
        assert_eq!(value("s64:-9223372036854775808"), [0, 0, 0, 0, 0, 0, 0, 0x80]);
        assert_eq!(value("f16:1.5"), [0x00, 0x3e]);
        assert_eq!(value("f16:-65504"), [0xff, 0xfb]);
        assert_eq!(value("f16:-inf"), [0x00, 0xfc]);
        assert_eq!(value("f32:-2e-3"), (-2e-3f32).to_le_bytes());
        assert_eq!(value("f32:inf"), f32::INFINITY.to_le_bytes());
        assert_eq!(value("f64:1e300"), 1e300f64.to_le_bytes());
        assert!(f32::from_le_bytes(value("f32:nan").try_into().unwrap()).is_nan());
        assert_eq!(value("hex:0a0B"), [0x0a, 0x0b]);
    }

    #[test]
    fn buffers_have_a_content_and_an_output() {
        let file = |name: &str| Some(Output::File(name.into()));
        let cases = [
            ("in:a>b:c", buffer(Content::File("a>b:c".into()), None)),
            ("inout:a>b>c", buffer(Content::File("a>b".into()), file("c"))),
            ("out:16>-", buffer(Content::Uninitialised(16), Some(Output::Stdout))),
            ("zero:1073741824>o.bin", buffer(Content::Zeros(1 << 30), file("o.bin"))),
            ("hexbuf:0011>./-", buffer(Content::Bytes(vec![0, 0x11]), file("./-"))),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_malformed_says_what_was_expected() {
        let cases = [
            ("", "expected KIND:VALUE"),
            ("7", "expected KIND:VALUE"),
            ("u8:7", "expected KIND:VALUE"),
            ("u32:", "expected u32:NUMBER from 0 to 4294967295"),
            ("u32:-1", "expected u32:NUMBER from 0 to 4294967295"),
            ("u32:4294967296", "expected u32:NUMBER from 0 to 4294967295"),
            ("u32:1.5", "expected u32:NUMBER"),
            ("u32:+1", "expected u32:NUMBER"),
            ("s32:--1", "expected s32:NUMBER"),
            ("s32:0x-1", "expected s32:NUMBER"),
            ("s32:2147483648", "expected s32:NUMBER from -2147483648 to 2147483647"),
            ("u64:18446744073709551616", "from 0 to 18446744073709551615"),
            ("u64:999999999999999999999999999999999999999999", "from 0 to 18446744073709551615"),
            ("s64:9223372036854775808", "from -9223372036854775808 to 9223372036854775807"),
            ("f32:x", "expected f32:NUMBER, such as f32:1.5"),
            ("f32:", "expected f32:NUMBER"),
            ("f32:1e39", "the number is too large for f32: expected at most 3.4028234663852886e38"),
            ("f16:65520", "the number is too large for f16: expected at most 6.5504e4"),
            ("f64:-1e309", "the number is too large for f64"),
            ("hex:", "expected hex: and pairs of hexadecimal digits"),
            ("hex:0", "expected hex: and pairs"),
            ("hex:0g", "expected hex: and pairs"),
            ("hex:\u{e9}0", "expected hex: and pairs"),
            ("in:", "expected in:FILE"),
            ("inout:a", "expected inout:FILE>OUT"),
            ("inout:>b", "expected inout:FILE>OUT"),
            ("out:16", "expected out:BYTES>OUT"),
            ("out:16>", "expected out:BYTES>OUT"),
            ("out:>-", "expected out:BYTES>OUT, with BYTES a number from 1 to 1073741824"),
            ("out:0>-", "with BYTES a number from 1"),
            ("zero:-1>-", "expected zero:BYTES>OUT, with BYTES"),
            ("zero:1073741825>-", "with BYTES a number from 1 to 1073741824"),
            ("hexbuf:00", "expected hexbuf:DIGITS>OUT"),
            ("hexbuf:>-", "expected hexbuf: and pairs of hexadecimal digits"),
        ];
        for (text, expected) in cases {
            let message = text.parse::<Argument>().unwrap_err().to_string();
            assert!(message.contains(expected), "{text}: {message}");
        }
    }

    #[test]
    fn digits_are_in_the_order_of_addresses() {
        assert_eq!(HexDigits(&[0x00, 0x1f, 0xa0]).to_string(), "001fa0");
    }
}
