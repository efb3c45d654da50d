//! Branches, calls, and the ends of threads.

use super::modifiers::Modifiers;
use super::scope::Named;
use super::{Frame, Lowering, MAX_CALL_DEPTH, Result};
use crate::ast::{Instruction, Operand, Space, Statement};
use crate::program::{Class, Guard, Op};
use crate::registers::Width;

impl<'a> Lowering<'a> {
    pub(super) fn declare_labels(&mut self, statements: &[Statement]) -> Result<()> {
        for statement in statements {
            if let Statement::Label { name, line } = statement {
                self.position.line = *line;
                self.position.form.clear();
                let label = self.new_label();
                self.declare(name, Named::Label(label))?;
            }
        }
        // Tables of targets are looked up when a branch names them; their labels are of this scope.
        for statement in statements {
            if let Statement::BranchTargets { name, labels, line } = statement {
                self.position.line = *line;
                self.position.form.clear();
                let mut numbers = Vec::with_capacity(labels.len());
                for label in labels {
                    numbers.push(self.label(label)?);
                }
                self.branch_tables.insert(name.clone(), numbers);
            }
        }
        Ok(())
    }

    fn new_label(&mut self) -> u32 {
        self.labels.push(None);
        self.labels.len() as u32 - 1
    }

    pub(super) fn place_label(&mut self, name: &str) {
        if let Some(Named::Label(label)) = self.scopes.find(name) {
            self.labels[label as usize] = Some(self.program.instructions.len() as u32);
        }
    }

    fn label(&self, name: &str) -> Result<u32> {
        match self.scopes.find(name) {
            Some(Named::Label(label)) => Ok(label),
            _ => self.refuse(format!("{name} is not a label of this scope")),
        }
    }

    /// Turns the numbers of labels into positions.
    pub(super) fn resolve_labels(&mut self) -> Result<()> {
        let place = |label: &mut u32| {
            *label =
                self.labels[*label as usize].expect("every label is declared by its statement");
        };
        for instruction in &mut self.program.instructions {
            match &mut instruction.op {
                Op::Branch { target } => place(target),
                Op::BranchIndexed { targets, .. } => targets.iter_mut().for_each(place),
                _ => {}
            }
        }
        Ok(())
    }

    pub(super) fn control(&mut self, instruction: &'a Instruction) -> Result<bool> {
        let mut modifiers = Modifiers::new(&instruction.modifiers);
        let operands = &instruction.operands;
        match (instruction.opcode.as_str(), operands.as_slice()) {
            ("bra", [Operand::Name(label)]) => {
                modifiers.take("uni");
                let target = self.label(label)?;
                self.emit(Op::Branch { target }, Class::Control, Vec::new())?;
            }
            ("brx", [index, Operand::Name(table)]) => {
                if !modifiers.take("idx") {
                    return self.refuse("expected brx.idx");
                }
                modifiers.take("uni");
                let index = self.source_operand(index, Width::B32, None)?;
                let Some(targets) = self.branch_tables.get(table).cloned() else {
                    return self.refuse(format!("{table} is not a .branchtargets of this scope"));
                };
                let op = Op::BranchIndexed { index, targets: targets.into() };
                self.emit(op, Class::Control, vec![(Width::B32, index)])?;
            }
            ("exit", []) => self.emit(Op::Exit, Class::Control, Vec::new())?,
            ("ret", []) => {
                modifiers.take("uni");
                let op = match self.calls.last().and_then(|frame| frame.end) {
                    Some(target) => Op::Branch { target },
                    None => Op::Exit,
                };
                self.emit(op, Class::Control, Vec::new())?;
            }
            ("trap", []) => self.emit(Op::Trap, Class::Control, Vec::new())?,
            ("call", _) => {
                modifiers.take("uni");
                self.call(operands)?;
            }
            ("bra" | "brx" | "exit" | "ret" | "trap", _) => {
                return self.refuse("operands of another kind or number than it takes");
            }
            _ => return Ok(false),
        }
        modifiers.done().map_err(|message| self.refusal(message))?;
        Ok(true)
    }

    fn call(&mut self, operands: &'a [Operand]) -> Result<()> {
        let empty: &[Operand] = &[];
        let (returns, name, arguments) = match operands {
            [Operand::Name(name)] => (empty, name, empty),
            [Operand::Name(name), Operand::List(arguments)] => (empty, name, arguments.as_slice()),
            [Operand::List(returns), Operand::Name(name)] => (returns.as_slice(), name, empty),
            [Operand::List(returns), Operand::Name(name), Operand::List(arguments)] => {
                (returns.as_slice(), name, arguments.as_slice())
            }
            _ => return self.refuse("indirect calls are not supported"),
        };
        let Some(&callee) = self.module.functions.get(name.as_str()) else {
            return match name.as_str() {
                "__assertfail" => self.assert_fail(arguments),
                "vprintf" => self.refuse("printf, a call of vprintf, is not supported"),
                _ if self.source.externs.iter().any(|e| e == name) => {
                    self.refuse(format!("{name} is defined in another module"))
                }
                _ => self.refuse(format!(
                    "{name} is not a function of this module; indirect calls are not supported"
                )),
            };
        };
        if callee.entry {
            return self.refuse(format!("{name} is a kernel"));
        }
        if self.calls.iter().any(|frame| frame.name == *name) {
            return self.refuse(format!("recursive call of {name}"));
        }
        if self.calls.len() >= MAX_CALL_DEPTH {
            return self.refuse(format!("more than {MAX_CALL_DEPTH} calls within calls"));
        }
        let formals: Vec<_> = callee.returns.iter().chain(&callee.params).collect();
        let actuals: Vec<_> = returns.iter().chain(arguments).collect();
        if callee.returns.len() != returns.len() || callee.params.len() != arguments.len() {
            return self.refuse(format!(
                "{name} takes {} arguments and returns {}, found {} and {}",
                callee.params.len(),
                callee.returns.len(),
                arguments.len(),
                returns.len()
            ));
        }
        let mut bound = Vec::with_capacity(formals.len());
        for (formal, actual) in formals.iter().zip(actuals) {
            bound.push((formal.name.as_str(), self.argument(formal.space, actual)?));
        }

        let end = self.new_label();
        let position = self.position.clone();
        // A guarded call is a branch round an unguarded one.
        let around = match position.guard {
            None => None,
            Some(guard) => {
                let around = self.new_label();
                self.position.guard = Some(Guard { negated: !guard.negated, ..guard });
                self.emit(Op::Branch { target: around }, Class::Hidden, Vec::new())?;
                self.position.guard = None;
                Some(around)
            }
        };
        self.emit(Op::Nothing, Class::Control, Vec::new())?;
        let outer = self.scopes.enter_function();
        let tables = std::mem::take(&mut self.branch_tables);
        self.scopes.open();
        for (name, named) in bound {
            self.scopes.declare(name, named);
        }
        self.calls.push(Frame { name: name.clone(), end: Some(end) });
        self.body(&callee.body)?;
        self.calls.pop();
        self.branch_tables = tables;
        self.scopes.leave_function(outer);
        let here = Some(self.program.instructions.len() as u32);
        self.labels[end as usize] = here;
        if let Some(around) = around {
            self.labels[around as usize] = here;
        }
        self.position = position;
        Ok(())
    }

    /// What a formal parameter stands for within the callee.
    fn argument(&mut self, space: Space, actual: &Operand) -> Result<Named> {
        let Operand::Name(name) = actual else {
            return self
                .refuse("an argument of a call that is not a .param variable or a register");
        };
        match (space, self.scopes.find(name)) {
            (Space::Param, Some(local @ Named::Local { .. })) => Ok(local),
            (Space::Reg, Some(Named::Register { .. })) => {
                let (width, reg) = self.any_register(name)?;
                Ok(Named::Register { width, reg: Some(reg) })
            }
            _ => self.refuse(format!("{name} is not an argument that the callee takes")),
        }
    }

    /// `__assertfail(message, file, line, function, char_size)`.
    fn assert_fail(&mut self, arguments: &[Operand]) -> Result<()> {
        let mut offsets = Vec::with_capacity(4);
        for argument in arguments.iter().take(4) {
            match self.argument(Space::Param, argument)? {
                Named::Local { offset } => offsets.push(offset),
                _ => return self.refuse("arguments of __assertfail"),
            }
        }
        if offsets.len() != 4 {
            return self.refuse("__assertfail takes five arguments");
        }
        self.emit(Op::AssertFail { arguments: offsets.into() }, Class::Control, Vec::new())
    }
}
