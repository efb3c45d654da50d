//! PTX text to tokens, one at a time: nothing is stored but the place in the text.

use std::fmt;

/// PTX that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {message}")]
pub struct SyntaxError {
    /// Line of the file, from 1.
    pub line: u32,
    /// What was found, and what was expected.
    pub message: String,
}

/// A token and the line on which it starts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Token<'a> {
    pub kind: TokenKind<'a>,
    pub line: u32,
}

/// What a token is. Numbers have no sign of their own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TokenKind<'a> {
    /// An identifier or an opcode: `add`, `%r1`, `$L__BB0_1`, and `_`.
    Word(&'a str),
    /// `.lo`, `.shared::cta`, `.L2::128B`: a directive or modifier, without its first dot.
    Dotted(&'a str),
    /// Decimal, `0x`, `0b` or octal, with or without `U`.
    Int(u64),
    /// `1.5`, `.5`, `1e3`; the value, and how it was written, for `.version 9.0`.
    Decimal(f64, &'a str),
    /// `0f3F800000`.
    F32(u32),
    /// `0d3FF0000000000000`.
    F64(u64),
    /// What is between the quotes, escapes as written.
    Str(&'a str),
    /// One character of punctuation.
    Punct(char),
    End,
}

/// Longest piece of the text that a message repeats, in characters.
const QUOTED_CHARS: usize = 40;

/// Text of a file in a message: in backquotes, escaped, and cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    let mut quoted = String::from("`");
    for (index, c) in text.chars().enumerate() {
        if index == QUOTED_CHARS {
            quoted.push('…');
            break;
        }
        match c {
            '"' | '\'' | '\\' => quoted.push(c),
            _ => quoted.extend(c.escape_debug()),
        }
    }
    quoted.push('`');
    quoted
}

impl fmt::Display for TokenKind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            TokenKind::Word(text) | TokenKind::Decimal(_, text) => f.write_str(&quoted(text)),
            TokenKind::Dotted(text) => f.write_str(&quoted(&format!(".{text}"))),
            TokenKind::Int(value) => write!(f, "`{value}`"),
            TokenKind::F32(bits) => write!(f, "`0f{bits:08X}`"),
            TokenKind::F64(bits) => write!(f, "`0d{bits:016X}`"),
            TokenKind::Str(text) => f.write_str(&quoted(&format!("\"{text}\""))),
            TokenKind::Punct(c) => f.write_str(&quoted(c.encode_utf8(&mut [0; 4]))),
            TokenKind::End => f.write_str("the end of the file"),
        }
    }
}

/// The place in a text.
pub(super) struct Lexer<'a> {
    text: &'a str,
    at: usize,
    line: u32,
}

/// A character that goes on an identifier.
fn is_follow(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$'
}

impl<'a> Lexer<'a> {
    pub fn new(text: &'a str) -> Self {
        Lexer { text, at: 0, line: 1 }
    }

    /// The next token; `TokenKind::End` again and again after the last.
    pub fn token(&mut self) -> Result<Token<'a>, SyntaxError> {
        self.skip_blank()?;
        let line = self.line;
        let kind = self.kind()?;
        Ok(Token { kind, line })
    }

    fn kind(&mut self) -> Result<TokenKind<'a>, SyntaxError> {
        match self.peek(0) {
            None => Ok(TokenKind::End),
            Some(b'0'..=b'9') => self.number(),
            Some(b'.') if self.is_decimal_point() => self.number(),
            Some(b'.') => self.dotted(),
            Some(b'"') => self.string(),
            Some(b'%' | b'$') if !self.peek(1).is_some_and(is_follow) => {
                Ok(TokenKind::Punct(self.punctuation()))
            }
            Some(b'%' | b'$' | b'_' | b'a'..=b'z' | b'A'..=b'Z') => {
                let start = self.at;
                self.at += 1;
                self.skip_follow();
                Ok(TokenKind::Word(&self.text[start..self.at]))
            }
            Some(_) => Ok(TokenKind::Punct(self.punctuation())),
        }
    }

    fn peek(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    fn skip_follow(&mut self) {
        while self.peek(0).is_some_and(is_follow) {
            self.at += 1;
        }
    }

    fn skip_digits(&mut self) {
        while self.peek(0).is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
    }

    /// One whole character, which need not be ASCII.
    fn punctuation(&mut self) -> char {
        let c = self.text[self.at..].chars().next().unwrap_or_default();
        self.at += c.len_utf8();
        c
    }

    fn error(&self, line: u32, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line, message: message.into() }
    }

    /// White space and comments of both kinds.
    fn skip_blank(&mut self) -> Result<(), SyntaxError> {
        loop {
            match (self.peek(0), self.peek(1)) {
                (Some(b'\n'), _) => {
                    self.line = self.line.saturating_add(1);
                    self.at += 1;
                }
                (Some(b' ' | b'\t' | b'\r' | 0x0b | 0x0c), _) => self.at += 1,
                (Some(b'/'), Some(b'/')) => {
                    let rest = &self.text[self.at..];
                    self.at += rest.find('\n').unwrap_or(rest.len());
                }
                (Some(b'/'), Some(b'*')) => {
                    let body = &self.text[self.at + 2..];
                    let end = body.find("*/").ok_or_else(|| {
                        self.error(self.line, "this comment has no end: expected `*/`")
                    })?;
                    let lines = body[..end].bytes().filter(|&byte| byte == b'\n').count();
                    self.line = self.line.saturating_add(lines.try_into().unwrap_or(u32::MAX));
                    self.at += 2 + end + 2;
                }
                _ => return Ok(()),
            }
        }
    }

    fn dotted(&mut self) -> Result<TokenKind<'a>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        self.skip_follow();
        while self.at > start
            && self.peek(0) == Some(b':')
            && self.peek(1) == Some(b':')
            && self.peek(2).is_some_and(is_follow)
        {
            self.at += 2;
            self.skip_follow();
        }
        if self.at == start {
            return Ok(TokenKind::Punct('.'));
        }
        Ok(TokenKind::Dotted(&self.text[start..self.at]))
    }

    /// Whether the dot here begins `.5`: digits and an exponent follow, and neither `.2d` nor,
    /// directly before it, a name whose modifier it would be.
    fn is_decimal_point(&self) -> bool {
        let after_name = self.at > 0 && is_follow(self.text.as_bytes()[self.at - 1]);
        let rest = &self.text.as_bytes()[self.at + 1..];
        let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let goes_on = rest.get(digits).is_some_and(|&byte| is_follow(byte));
        !after_name && digits > 0 && (!goes_on || exponent(&rest[digits..]).is_some())
    }

    fn number(&mut self) -> Result<TokenKind<'a>, SyntaxError> {
        let start = self.at;
        if self.peek(0) == Some(b'0') {
            let prefix = self.peek(1).map(|byte| byte.to_ascii_lowercase());
            match prefix {
                Some(b'x') => return self.integer(start, 2, 16),
                Some(b'b') => return self.integer(start, 2, 2),
                Some(b'f') => {
                    return self.float_bits(start, 8).map(|bits| TokenKind::F32(bits as u32));
                }
                Some(b'd') => return self.float_bits(start, 16).map(TokenKind::F64),
                _ => (),
            }
        }
        self.skip_digits();
        let point = self.peek(0) == Some(b'.');
        if point {
            self.at += 1;
            self.skip_digits();
        }
        let power = exponent(&self.text.as_bytes()[self.at..]);
        if !point && power.is_none() {
            let radix = if self.text[start..self.at].starts_with('0') && self.at - start > 1 {
                8
            } else {
                10
            };
            self.at = start;
            return self.integer(start, 0, radix);
        }
        self.at += power.unwrap_or(0);
        let end = self.at;
        self.skip_follow();
        let text = &self.text[start..self.at];
        match text.parse() {
            Ok(value) if end == self.at => Ok(TokenKind::Decimal(value, text)),
            _ => Err(self.error(self.line, format!("{} is not a number", quoted(text)))),
        }
    }

    /// The digits from `prefix` characters after `start`, with or without a `U`.
    fn integer(
        &mut self,
        start: usize,
        prefix: usize,
        radix: u32,
    ) -> Result<TokenKind<'a>, SyntaxError> {
        self.at += prefix;
        self.skip_follow();
        let text = &self.text[start..self.at];
        let digits = text[prefix..].strip_suffix('U').unwrap_or(&text[prefix..]);
        if digits.is_empty() || !digits.bytes().all(|byte| char::from(byte).is_digit(radix)) {
            let base = match radix {
                16 => "a hexadecimal number",
                2 => "a binary number",
                8 => "a number in octal, as a leading 0 says",
                _ => "a number",
            };
            return Err(self.error(self.line, format!("{} is not {base}", quoted(text))));
        }
        u64::from_str_radix(digits, radix).map(TokenKind::Int).map_err(|_| {
            self.error(
                self.line,
                format!("{} is too large: expected at most 64 bits", quoted(text)),
            )
        })
    }

    /// The bits of `0f` and `0d`.
    fn float_bits(&mut self, start: usize, digits: usize) -> Result<u64, SyntaxError> {
        self.skip_follow();
        let text = &self.text[start..self.at];
        let hex = &text[2..];
        let is_hex = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        match u64::from_str_radix(hex, 16) {
            Ok(bits) if is_hex && hex.len() == digits => Ok(bits),
            _ => Err(self.error(
                self.line,
                format!(
                    "{} is not a float: expected {digits} hexadecimal digits after `{}`",
                    quoted(text),
                    &text[..2]
                ),
            )),
        }
    }

    fn string(&mut self) -> Result<TokenKind<'a>, SyntaxError> {
        self.at += 1;
        let start = self.at;
        let mut escaped = false;
        for byte in self.text.as_bytes()[start..].iter().copied() {
            if byte == b'\n' {
                break;
            }
            if byte == b'"' && !escaped {
                let text = &self.text[start..self.at];
                self.at += 1;
                return Ok(TokenKind::Str(text));
            }
            escaped = byte == b'\\' && !escaped;
            self.at += 1;
        }
        Err(self.error(self.line, "this string has no end: expected `\"` on the same line"))
    }
}

/// Length of the exponent `e+10` with which `rest` begins.
fn exponent(rest: &[u8]) -> Option<usize> {
    if !matches!(rest.first(), Some(b'e' | b'E')) {
        return None;
    }
    let sign = usize::from(matches!(rest.get(1), Some(b'+' | b'-')));
    let digits = rest[1 + sign..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    (digits > 0).then_some(1 + sign + digits)
}
