//! Tokens to the syntax tree: module scope and function headers. Bodies are in [`body`], variables
//! in [`variable`], numbers in [`constant`].
//!
//! What ptxas reads is read, and what it refuses is refused, but for a few forms that nvcc never
//! writes, which are refused as well. Nesting is bounded by [`MAX_DEPTH`], and nothing is stored
//! beyond what the text spells out: a count of registers or of elements stays a number.

mod body;
mod constant;
#[cfg(test)]
mod tests;
mod variable;

use super::ast::{Function, PtxFile, Space, Variable};
use super::lex::{Lexer, SyntaxError, Token, TokenKind, quoted};
use std::collections::HashSet;

/// Scopes within scopes, and parentheses within parentheses, that are read.
const MAX_DEPTH: usize = 64;

/// Reads a PTX file.
pub(crate) fn parse(text: &str) -> Result<PtxFile, SyntaxError> {
    Parser::new(text)?.source()
}

type Result<T, E = SyntaxError> = std::result::Result<T, E>;

/// The text from `token` on.
struct Parser<'a> {
    lexer: Lexer<'a>,
    token: Token<'a>,
}

/// The cursor.
impl<'a> Parser<'a> {
    fn new(text: &'a str) -> Result<Self> {
        let mut lexer = Lexer::new(text);
        let token = lexer.token()?;
        Ok(Parser { lexer, token })
    }

    /// Goes on to the next token, and returns the one before.
    fn advance(&mut self) -> Result<Token<'a>> {
        let next = self.lexer.token()?;
        Ok(std::mem::replace(&mut self.token, next))
    }

    /// An error at the current token.
    fn error(&self, message: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.token.line, message: message.into() }
    }

    fn expected(&self, what: &str) -> SyntaxError {
        self.error(format!("expected {what}, found {}", self.token.kind))
    }

    fn is(&self, c: char) -> bool {
        self.token.kind == TokenKind::Punct(c)
    }

    /// Takes `c` if it is next.
    fn take(&mut self, c: char) -> Result<bool> {
        let found = self.is(c);
        if found {
            self.advance()?;
        }
        Ok(found)
    }

    fn expect(&mut self, c: char, after: &str) -> Result<()> {
        if self.take(c)? { Ok(()) } else { Err(self.expected(&format!("`{c}` after {after}"))) }
    }

    fn word(&mut self, what: &str) -> Result<&'a str> {
        let TokenKind::Word(word) = self.token.kind else { return Err(self.expected(what)) };
        self.advance()?;
        Ok(word)
    }

    /// An unsigned number of 32 bits.
    fn u32(&mut self, what: &str) -> Result<u32> {
        let TokenKind::Int(value) = self.token.kind else { return Err(self.expected(what)) };
        let value = u32::try_from(value).map_err(|_| {
            self.error(format!("expected {what} of at most {}, found `{value}`", u32::MAX))
        })?;
        self.advance()?;
        Ok(value)
    }

    fn string(&mut self, what: &str) -> Result<&'a str> {
        let TokenKind::Str(text) = self.token.kind else { return Err(self.expected(what)) };
        self.advance()?;
        Ok(text)
    }
}

/// How a variable or function is linked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Linkage {
    Internal,
    Visible,
    Extern,
    Weak,
    Common,
}

/// Module scope.
impl Parser<'_> {
    fn source(mut self) -> Result<PtxFile> {
        let mut source = PtxFile::default();
        self.header(&mut source)?;
        let mut declared = Vec::new();
        while self.token.kind != TokenKind::End {
            self.item(&mut source, &mut declared)?;
        }
        let mut known: HashSet<&str> = source.functions.iter().map(|f| f.name.as_str()).collect();
        for name in &declared {
            if known.insert(name) {
                source.externs.push(name.clone());
            }
        }
        Ok(source)
    }

    /// `.version 9.0`, `.target sm_90`, `.address_size 64`.
    fn header(&mut self, source: &mut PtxFile) -> Result<()> {
        if self.token.kind != TokenKind::Dotted("version") {
            return Err(self.expected("`.version` at the start of the file"));
        }
        self.advance()?;
        source.version = match self.token.kind {
            TokenKind::Decimal(_, text) => text
                .split_once('.')
                .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?))),
            _ => None,
        }
        .ok_or_else(|| self.expected("a version such as `9.0` after `.version`"))?;
        self.advance()?;
        if self.token.kind != TokenKind::Dotted("target") {
            return Err(self.expected("`.target` after the version"));
        }
        self.advance()?;
        self.target(source)?;
        if self.token.kind == TokenKind::Dotted("address_size") {
            self.advance()?;
            if self.token.kind != TokenKind::Int(64) {
                return Err(self.expected("64: only 64-bit addresses are supported"));
            }
            self.advance()?;
        }
        Ok(())
    }

    fn target(&mut self, source: &mut PtxFile) -> Result<()> {
        loop {
            let TokenKind::Word(word) = self.token.kind else {
                return Err(self.expected("a target such as `sm_90`"));
            };
            match word {
                // Without an effect on what a kernel computes.
                "debug" | "texmode_unified" | "texmode_independent" => (),
                _ if word.starts_with("sm_") && source.target.is_empty() => {
                    source.target = word.to_owned();
                }
                _ => {
                    return Err(self.error(format!("the target {} is not supported", quoted(word))));
                }
            }
            self.advance()?;
            if !self.take(',')? {
                break;
            }
        }
        if source.target.is_empty() {
            return Err(self.expected("a target such as `sm_90`"));
        }
        Ok(())
    }

    fn item(&mut self, source: &mut PtxFile, declared: &mut Vec<String>) -> Result<()> {
        let linkage = self.linkage()?;
        let TokenKind::Dotted(name) = self.token.kind else {
            return Err(self.expected("a directive such as `.entry` or `.global`"));
        };
        let plain = linkage == Linkage::Internal;
        match name {
            "file" if plain => self.file(source),
            "section" if plain => self.section(),
            "pragma" if plain => self.pragma(),
            "entry" | "func" if linkage != Linkage::Common => {
                self.advance()?;
                self.function(name == "entry", linkage, source, declared)
            }
            "global" | "const" | "shared" => {
                let space = match name {
                    "global" => Space::Global,
                    "const" => Space::Const,
                    _ => Space::Shared,
                };
                self.advance()?;
                self.variables(space, linkage == Linkage::Extern, &mut source.variables)
            }
            "local" | "reg" | "param" => {
                Err(self.error(format!("`.{name}` is supported within functions only")))
            }
            "alias" => Err(self.error("`.alias` is not supported")),
            "tex" | "texref" | "samplerref" | "surfref" => {
                Err(self.error(format!("textures and surfaces (`.{name}`) are not supported")))
            }
            _ => Err(self.expected("a directive such as `.entry` or `.global`")),
        }
    }

    fn linkage(&mut self) -> Result<Linkage> {
        let linkage = match self.token.kind {
            TokenKind::Dotted("visible") => Linkage::Visible,
            TokenKind::Dotted("extern") => Linkage::Extern,
            TokenKind::Dotted("weak") => Linkage::Weak,
            TokenKind::Dotted("common") => Linkage::Common,
            _ => return Ok(Linkage::Internal),
        };
        self.advance()?;
        Ok(linkage)
    }

    /// `.file 1 "a.cu"`, and what older compilers add: `, timestamp, size`.
    fn file(&mut self, source: &mut PtxFile) -> Result<()> {
        self.advance()?;
        let index = self.u32("a number after `.file`")?;
        let path = self.string("the file's name in quotes")?;
        source.files.push((index, unescape(path)));
        if self.take(',')? {
            self.unsigned("the file's timestamp")?;
            self.expect(',', "the file's timestamp")?;
            self.unsigned("the file's size")?;
        }
        Ok(())
    }

    fn unsigned(&mut self, what: &str) -> Result<()> {
        if !matches!(self.token.kind, TokenKind::Int(_)) {
            return Err(self.expected(what));
        }
        self.advance()?;
        Ok(())
    }

    /// `.section .debug_str { ... }`: debug information, which nothing here needs.
    fn section(&mut self) -> Result<()> {
        let line = self.advance()?.line;
        if !matches!(self.token.kind, TokenKind::Dotted(_) | TokenKind::Word(_)) {
            return Err(self.expected("a name after `.section`"));
        }
        self.advance()?;
        self.expect('{', "the section's name")?;
        while !self.take('}')? {
            if self.token.kind == TokenKind::End || self.is('{') {
                return Err(
                    self.expected(&format!("`}}` at the end of the section of line {line}"))
                );
            }
            self.advance()?;
        }
        Ok(())
    }

    /// `.pragma "nounroll", "...";`: hints to an optimiser.
    fn pragma(&mut self) -> Result<()> {
        self.advance()?;
        self.string("a string after `.pragma`")?;
        while self.take(',')? {
            self.string("a string after `,`")?;
        }
        self.expect(';', "`.pragma`")
    }

    /// From after `.entry` or `.func` to the end of the body, or to the `;` of a declaration.
    fn function(
        &mut self,
        entry: bool,
        linkage: Linkage,
        source: &mut PtxFile,
        declared: &mut Vec<String>,
    ) -> Result<()> {
        let returns = if !entry && self.is('(') { self.parameters()? } else { Vec::new() };
        let line = self.token.line;
        let name = self.word("the function's name")?.to_owned();
        let params = if self.is('(') { self.parameters()? } else { Vec::new() };
        let directives = self.function_directives(&name)?;
        if self.take(';')? {
            declared.push(name);
            return Ok(());
        }
        if linkage == Linkage::Extern {
            return Err(self.expected(&format!("`;` after the declaration of `{name}`")));
        }
        if !self.is('{') {
            return Err(self.expected(&format!("`{{` and the body of `{name}`")));
        }
        let body = self.scope(0)?;
        source.functions.push(Function { name, entry, line, returns, params, directives, body });
        Ok(())
    }

    /// `( .param .u32 a, .param .align 8 .b8 b[16] )`, also of returns and of prototypes.
    fn parameters(&mut self) -> Result<Vec<Variable>> {
        let mut parameters = Vec::new();
        self.expect('(', "the name")?;
        if self.take(')')? {
            return Ok(parameters);
        }
        loop {
            let space = match self.token.kind {
                TokenKind::Dotted("param") => Space::Param,
                TokenKind::Dotted("reg") => Space::Reg,
                _ => return Err(self.expected("`.param`")),
            };
            self.advance()?;
            parameters.push(self.parameter(space)?);
            if !self.take(',')? {
                break;
            }
        }
        self.expect(')', "a parameter")?;
        Ok(parameters)
    }

    /// `.maxntid 256, 1, 1` and its kind, between parameters and body.
    fn function_directives(&mut self, function: &str) -> Result<Vec<(String, Vec<u32>)>> {
        let mut directives = Vec::new();
        while let TokenKind::Dotted(name) = self.token.kind {
            let most = match name {
                "maxntid" | "reqntid" | "reqnctapercluster" => 3,
                "maxnreg" | "minnctapersm" | "maxnctapersm" | "maxclusterrank" => 1,
                "noreturn" | "explicitcluster" | "blocksareclusters" => 0,
                "pragma" => {
                    self.pragma()?;
                    continue;
                }
                _ => {
                    return Err(self.expected(&format!(
                        "the body of `{function}`, or a directive such as `.maxntid`"
                    )));
                }
            };
            self.advance()?;
            let mut values = Vec::new();
            while values.len() < most && (values.is_empty() || self.take(',')?) {
                let value = self.u32(&format!("a number after `.{name}`"))?;
                if value == 0 {
                    return Err(self.error(format!("`.{name}` of 0: expected at least 1")));
                }
                values.push(value);
            }
            directives.push((name.to_owned(), values));
        }
        Ok(directives)
    }
}

/// A string without the backslashes before quotes and backslashes.
fn unescape(text: &str) -> String {
    let mut plain = String::new();
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match chars.peek() {
            Some(&next @ ('"' | '\\')) if c == '\\' => {
                plain.push(next);
                chars.next();
            }
            _ => plain.push(c),
        }
    }
    plain
}
