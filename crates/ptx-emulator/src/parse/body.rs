//! Bodies: statements, instructions and their operands.

use super::constant::Number;
use super::{MAX_DEPTH, Parser, Result, SyntaxError};
use crate::ast::{Base, Guard, Instruction, Operand, RegisterNames, SourcePlace, Space, Statement};
use crate::lex::{TokenKind, quoted};

impl Parser<'_> {
    /// `{ ... }`, `depth` scopes within the function's.
    pub(super) fn scope(&mut self, depth: usize) -> Result<Vec<Statement>> {
        if depth == MAX_DEPTH {
            return Err(self.error(format!("scopes nested deeper than {MAX_DEPTH}")));
        }
        let line = self.advance()?.line;
        let mut statements = Vec::new();
        while !self.take('}')? {
            self.statement(&mut statements, depth, line)?;
        }
        Ok(statements)
    }

    fn statement(&mut self, to: &mut Vec<Statement>, depth: usize, scope_line: u32) -> Result<()> {
        match self.token.kind {
            TokenKind::Word(word) => {
                let line = self.advance()?.line;
                if self.take(':')? {
                    to.push(self.labelled(word, line)?);
                } else {
                    to.push(Statement::Instruction(self.instruction(None, word, line)?));
                }
            }
            TokenKind::Punct('@') => {
                self.advance()?;
                let negated = self.take('!')?;
                let name = self.word("a predicate after `@`")?.to_owned();
                let line = self.token.line;
                let opcode = self.word("an instruction after the predicate")?;
                let guard = Some(Guard { name, negated });
                to.push(Statement::Instruction(self.instruction(guard, opcode, line)?));
            }
            TokenKind::Punct('{') => to.push(Statement::Scope(self.scope(depth + 1)?)),
            TokenKind::Dotted(directive) => self.directive(directive, to)?,
            TokenKind::End => {
                return Err(self.expected(&format!("`}}` for the `{{` of line {scope_line}")));
            }
            _ => return Err(self.expected("an instruction, a label, a directive or `}`")),
        }
        Ok(())
    }

    fn directive(&mut self, directive: &str, to: &mut Vec<Statement>) -> Result<()> {
        let space = match directive {
            "reg" => {
                to.push(self.registers()?);
                return Ok(());
            }
            "loc" => {
                to.push(self.loc()?);
                return Ok(());
            }
            "pragma" => {
                self.pragma()?;
                to.push(Statement::Ignored);
                return Ok(());
            }
            "param" => Space::Param,
            "local" => Space::Local,
            "shared" => Space::Shared,
            "global" => Space::Global,
            "const" => Space::Const,
            _ => return Err(self.expected("an instruction, a label or a directive of a body")),
        };
        self.advance()?;
        let mut variables = Vec::new();
        self.variables(space, false, &mut variables)?;
        to.extend(variables.into_iter().map(Statement::Variable));
        Ok(())
    }

    /// `.reg .b32 %r<5>, %x;`
    fn registers(&mut self) -> Result<Statement> {
        let line = self.advance()?.line;
        let lanes = self.lanes()?;
        let (scalar, bytes) = self.scalar(Space::Reg)?;
        if lanes > 1 && (bytes == 0 || bytes * lanes > 16) {
            return Err(SyntaxError {
                line,
                message: format!("`.{scalar}` registers cannot be vectors of {lanes}"),
            });
        }
        let mut names = Vec::new();
        loop {
            let stem = self.word("a register's name")?.to_owned();
            let count = if self.take('<')? {
                let count = self.u32("a number of registers")?;
                self.expect('>', "the number of registers")?;
                Some(count)
            } else {
                None
            };
            names.push(RegisterNames { stem, count });
            if !self.take(',')? {
                break;
            }
        }
        self.expect(';', "the registers")?;
        Ok(Statement::Registers { scalar: scalar.to_owned(), lanes, names, line })
    }

    /// `.loc 1 20 5, function_name $L__info_string0+4, inlined_at 1 10 3`
    fn loc(&mut self) -> Result<Statement> {
        self.advance()?;
        let at = self.source_place("`.loc`")?;
        let mut inlined_at = None;
        if self.take(',')? {
            if self.word("`function_name`")? != "function_name" {
                return Err(self.error("`.loc` goes on with a `,`: expected `function_name`"));
            }
            self.word("a label after `function_name`")?;
            if self.take('+')? {
                self.u32("an offset after the label")?;
            }
            self.expect(',', "the label of `function_name`")?;
            if self.word("`inlined_at`")? != "inlined_at" {
                return Err(self.error("after `function_name`: expected `inlined_at`"));
            }
            inlined_at = Some(self.source_place("`inlined_at`")?);
        }
        Ok(Statement::Loc { at, inlined_at })
    }

    fn source_place(&mut self, after: &str) -> Result<SourcePlace> {
        Ok(SourcePlace {
            file: self.u32(&format!("a file's number after {after}"))?,
            line: self.u32(&format!("a line after {after}"))?,
            column: self.u32(&format!("a column after {after}"))?,
        })
    }

    /// What follows `name:`.
    fn labelled(&mut self, name: &str, line: u32) -> Result<Statement> {
        let name = name.to_owned();
        match self.token.kind {
            TokenKind::Dotted("branchtargets") => {
                let mut labels = Vec::new();
                self.advance()?;
                loop {
                    labels.push(self.word("a label of `.branchtargets`")?.to_owned());
                    if !self.take(',')? {
                        break;
                    }
                }
                self.expect(';', "the labels")?;
                Ok(Statement::BranchTargets { name, labels, line })
            }
            TokenKind::Dotted("calltargets") => {
                self.advance()?;
                self.word("a function of `.calltargets`")?;
                while self.take(',')? {
                    self.word("a function of `.calltargets`")?;
                }
                self.expect(';', "the functions")?;
                Ok(Statement::CallTargets { name, line })
            }
            TokenKind::Dotted("callprototype") => {
                self.advance()?;
                if self.is('(') {
                    self.parameters()?;
                }
                self.word("`_` in `.callprototype`")?;
                if self.is('(') {
                    self.parameters()?;
                }
                if self.token.kind == TokenKind::Dotted("noreturn") {
                    self.advance()?;
                }
                self.expect(';', "the prototype")?;
                Ok(Statement::CallTargets { name, line })
            }
            _ => Ok(Statement::Label { name, line }),
        }
    }

    /// From after the opcode.
    fn instruction(
        &mut self,
        guard: Option<Guard>,
        opcode: &str,
        line: u32,
    ) -> Result<Instruction> {
        if !opcode.starts_with(|c: char| c.is_ascii_lowercase()) {
            return Err(SyntaxError {
                line,
                message: format!(
                    "expected an instruction, or `:` after a label, found {}",
                    quoted(opcode)
                ),
            });
        }
        let mut instruction = Instruction {
            line,
            guard,
            opcode: opcode.to_owned(),
            modifiers: Vec::new(),
            operands: Vec::new(),
        };
        while let TokenKind::Dotted(modifier) = self.token.kind {
            instruction.modifiers.push(modifier.to_owned());
            self.advance()?;
        }
        if self.take(';')? {
            return Ok(instruction);
        }
        loop {
            let operand = self.operand(&instruction)?;
            instruction.operands.push(operand);
            if self.take(';')? {
                return Ok(instruction);
            }
            if !self.take(',')? {
                return Err(self.expected(&format!(
                    "`,` or `;` after an operand of `{}` in line {line}",
                    instruction.form()
                )));
            }
        }
    }

    /// One operand; parentheses hold a list in a call, and an expression elsewhere.
    fn operand(&mut self, instruction: &Instruction) -> Result<Operand> {
        match self.token.kind {
            TokenKind::Punct('[') => self.address(instruction),
            TokenKind::Punct('{') => {
                self.list('}', "an element of the vector").map(Operand::Vector)
            }
            TokenKind::Punct('(') if instruction.opcode == "call" => {
                self.list(')', "an argument").map(Operand::List)
            }
            TokenKind::Punct('!') => {
                self.advance()?;
                Ok(Operand::Not(self.word("a predicate after `!`")?.to_owned()))
            }
            _ => {
                let first = self.simple("an operand")?;
                if !matches!(first, Operand::Name(_) | Operand::Sink) || !self.take('|')? {
                    return Ok(first);
                }
                let second = self.simple("a register after `|`")?;
                if !matches!(second, Operand::Name(_) | Operand::Sink) {
                    return Err(
                        self.error("the operand before this is not a register, which `|` asks for")
                    );
                }
                Ok(Operand::Pair(Box::new(first), Box::new(second)))
            }
        }
    }

    /// Simple operands between brackets, of which the opening one is next.
    fn list(&mut self, close: char, what: &str) -> Result<Vec<Operand>> {
        self.advance()?;
        let mut operands = Vec::new();
        if close == ')' && self.take(close)? {
            return Ok(operands);
        }
        loop {
            operands.push(self.simple(what)?);
            if !self.take(',')? {
                self.expect(close, what)?;
                return Ok(operands);
            }
        }
    }

    /// A name, with a component or an offset, a number, or `_`.
    fn simple(&mut self, what: &str) -> Result<Operand> {
        match self.token.kind {
            TokenKind::Word("WARP_SZ") => (),
            TokenKind::Word("_") => {
                self.advance()?;
                return Ok(Operand::Sink);
            }
            TokenKind::Word(word) => {
                self.advance()?;
                let mut name = word.to_owned();
                if let TokenKind::Dotted(component) = self.token.kind {
                    if !matches!(component, "x" | "y" | "z" | "w" | "r" | "g" | "b" | "a") {
                        return Err(self.expected("a component such as `.x`, `,` or `;`"));
                    }
                    name.push('.');
                    name.push_str(component);
                    self.advance()?;
                }
                if self.take('+')? {
                    return Ok(Operand::Offset(name, self.offset()?));
                }
                return Ok(Operand::Name(name));
            }
            _ => (),
        }
        Ok(match self.number(what)? {
            Number::Int(value) => Operand::Int(value),
            Number::F32(bits) => Operand::F32(bits),
            Number::F64(bits) => Operand::F64(bits),
        })
    }

    /// `[name]`, `[name+4]`, `[16]`.
    fn address(&mut self, instruction: &Instruction) -> Result<Operand> {
        self.advance()?;
        let (base, offset) = match self.token.kind {
            TokenKind::Word(name) if name != "WARP_SZ" => {
                self.advance()?;
                let offset = if self.take('+')? { self.offset()? } else { 0 };
                (Base::Name(name.to_owned()), offset)
            }
            _ => {
                let Number::Int(address) = self.number("an address: a name or a number")? else {
                    return Err(self.error("the address is a float: expected a name or an integer"));
                };
                let address = u64::try_from(address)
                    .map_err(|_| self.error(format!("the address {address} is negative")))?;
                (Base::Int(address), 0)
            }
        };
        if self.is(',') {
            return Err(self.error(format!(
                "{}: several operands in one pair of brackets, as of tensors and textures, are not supported",
                instruction.form()
            )));
        }
        self.expect(']', "the address; an offset is written `+8` or `+-8`")?;
        Ok(Operand::Address { base, offset })
    }
}
