//! From the syntax tree to a flat program: names become register indices, labels become positions,
//! and every form that is not understood becomes an error.
//!
//! Calls are inlined, so that nothing at run time knows of functions; recursion is refused.

mod access;
mod atomics;
mod control;
mod exchange;
mod modifiers;
mod moves;
mod operands;
mod scope;
mod synchronise;

use super::arithmetic;
use super::ast::{self, Space, Statement, Variable};
use super::postdominators;
use super::program::{Class, Constant, Guard, Instruction, Op, Origin, Program};
use super::registers::{Reg, Width};
use scope::{Named, Scopes};
use std::collections::HashMap;

/// Programs longer than this, all of a module together, are refused: inlining could grow without
/// bound. An instruction takes 176 bytes.
pub(crate) const MAX_INSTRUCTIONS: usize = 1 << 19;
/// Inlined calls within inlined calls that are looked through for a line of the source.
const MAX_INLINED: usize = 64;
/// Calls within calls.
const MAX_CALL_DEPTH: usize = 64;
/// Largest static shared memory and local memory that a program may declare, in bytes: what
/// hardware allows.
const MAX_SHARED_BYTES: u64 = 227 * 1024;
const MAX_LOCAL_BYTES: u64 = 512 * 1024;

/// Stands for the dynamic shared memory among the indices of the module's variables.
const DYNAMIC_SHARED: usize = usize::MAX;

/// A refusal: the line of the PTX and the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub line: u32,
    pub message: String,
}

type Result<T> = std::result::Result<T, Refusal>;

/// What the names of a module stand for.
pub(crate) struct Names<'a> {
    functions: HashMap<&'a str, &'a ast::Function>,
    /// Places among the module's variables.
    variables: HashMap<&'a str, usize>,
}

impl<'a> Names<'a> {
    pub fn new(source: &'a ast::PtxFile) -> Self {
        let functions = source.functions.iter().map(|f| (f.name.as_str(), f)).collect();
        let mut variables = HashMap::new();
        for (index, variable) in source.variables.iter().enumerate() {
            variables.entry(variable.name.as_str()).or_insert(index);
        }
        Names { functions, variables }
    }
}

/// Lowers one entry of a module, to at most `most` instructions.
pub(crate) fn lower(
    source: &ast::PtxFile,
    names: &Names,
    entry: &ast::Function,
    most: usize,
) -> Result<Program> {
    let mut lowering = Lowering {
        source,
        module: names,
        most,
        scopes: Scopes::default(),
        program: Program { narrowest_global: 4, narrowest_shared: 4, ..Program::default() },
        constants: HashMap::new(),
        module_shared: HashMap::new(),
        dynamic_shared: false,
        labels: Vec::new(),
        inlined_at: HashMap::new(),
        branch_tables: HashMap::new(),
        calls: Vec::new(),
        position: Position::default(),
        writes: Vec::new(),
    };
    lowering.function(entry)?;
    Ok(lowering.program)
}

/// Where lowering stands.
#[derive(Clone, Debug, Default)]
struct Position {
    line: u32,
    form: String,
    source: Option<(u32, u32)>,
    guard: Option<Guard>,
}

/// A call that is being inlined.
struct Frame {
    name: String,
    /// The label that its `ret` goes to; `None` in the kernel itself.
    end: Option<u32>,
}

struct Lowering<'a> {
    source: &'a ast::PtxFile,
    module: &'a Names<'a>,
    most: usize,
    scopes: Scopes,
    program: Program,
    constants: HashMap<Constant, Reg>,
    /// Offsets of the module's shared variables that the program names.
    module_shared: HashMap<usize, u64>,
    dynamic_shared: bool,
    /// The position of each label, once it is met. Until the end, branches name labels by their
    /// number.
    labels: Vec<Option<u32>>,
    /// Where code of each place was inlined, by the last word on it.
    inlined_at: HashMap<ast::SourcePlace, ast::SourcePlace>,
    /// `.branchtargets` of the function that is being lowered: numbers of labels.
    branch_tables: HashMap<String, Vec<u32>>,
    calls: Vec<Frame>,
    position: Position,
    /// Registers that the instruction which is lowered writes.
    writes: Vec<(Width, Reg)>,
}

impl<'a> Lowering<'a> {
    fn refuse<T>(&self, message: impl Into<String>) -> Result<T> {
        Err(self.refusal(message))
    }

    fn refusal(&self, message: impl Into<String>) -> Refusal {
        let message = message.into();
        let form = &self.position.form;
        let message = if form.is_empty() { message } else { format!("{form}: {message}") };
        Refusal { line: self.position.line, message }
    }

    /// The kernel: parameters, body, and what a fall off its end does.
    fn function(&mut self, entry: &'a ast::Function) -> Result<()> {
        self.position.line = entry.line;
        self.scopes.open();
        let mut offset = 0u64;
        for param in &entry.params {
            offset = offset.next_multiple_of(u64::from(param.align.max(1)));
            self.declare(&param.name, Named::Param { offset: offset as u32 })?;
            offset += param.bytes();
        }
        self.calls.push(Frame { name: entry.name.clone(), end: None });
        self.body(&entry.body)?;
        self.position.form.clear();
        self.position.guard = None;
        self.emit(Op::Exit, Class::Hidden, Vec::new())?;
        self.resolve_labels()?;
        self.find_meeting_points();
        if self.dynamic_shared {
            // Dynamic shared memory begins where the static variables end.
            self.program.shared_bytes = self.program.shared_bytes.next_multiple_of(16);
            self.resolve_dynamic_shared();
        }
        Ok(())
    }

    fn find_meeting_points(&mut self) {
        let program = &mut self.program;
        let count = program.instructions.len();
        program.meeting_points = postdominators::meeting_points(&program.instructions);
        program.is_meeting_point = vec![false; count];
        for &point in program.meeting_points.iter().filter(|&&point| (point as usize) < count) {
            program.is_meeting_point[point as usize] = true;
        }
    }

    fn body(&mut self, statements: &'a [Statement]) -> Result<()> {
        self.scopes.open();
        self.declare_labels(statements)?;
        for statement in statements {
            match statement {
                Statement::Registers { scalar, lanes, names, line } => {
                    self.position.line = *line;
                    self.position.form.clear();
                    self.registers(scalar, *lanes, names)?;
                }
                Statement::Variable(variable) => self.variable(variable)?,
                Statement::Label { name, line } => {
                    self.position.line = *line;
                    self.place_label(name);
                }
                Statement::Instruction(instruction) => self.instruction(instruction)?,
                Statement::Loc { at, inlined_at } => self.place(*at, *inlined_at),
                Statement::Scope(inner) => self.body(inner)?,
                Statement::BranchTargets { .. }
                | Statement::CallTargets { .. }
                | Statement::Ignored => {}
            }
        }
        self.scopes.close();
        Ok(())
    }

    fn registers(&mut self, scalar: &str, lanes: u32, names: &[ast::RegisterNames]) -> Result<()> {
        if lanes != 1 {
            return self.refuse("vector registers are not supported");
        }
        let Some(width) = register_width(scalar) else {
            return self.refuse(format!("registers of type .{scalar} are not supported"));
        };
        for name in names {
            match name.count {
                Some(count) if self.scopes.declare_range(&name.stem, count, width) => {
                    return self.refuse(format!("{}<{count}> is declared twice", name.stem));
                }
                Some(_) => {}
                None => self.declare(&name.stem, Named::Register { width, reg: None })?,
            }
        }
        Ok(())
    }

    /// The line that what follows came from: of calls within calls, the innermost in a `.cu` file,
    /// not the line of a toolkit's header.
    fn place(&mut self, at: ast::SourcePlace, inlined_at: Option<ast::SourcePlace>) {
        if let Some(outer) = inlined_at {
            self.inlined_at.insert(at, outer);
        }
        let is_cuda = |place: ast::SourcePlace| {
            let file = self.source.files.iter().find(|(index, _)| *index == place.file);
            file.is_some_and(|(_, name)| name.ends_with(".cu"))
        };
        let mut place = at;
        for _ in 0..MAX_INLINED {
            match self.inlined_at.get(&place) {
                Some(&outer) if !is_cuda(place) => place = outer,
                _ => break,
            }
        }
        let found = if is_cuda(place) { place } else { at };
        self.position.source = Some((found.file, found.line));
    }

    fn declare(&mut self, name: &str, named: Named) -> Result<()> {
        if self.scopes.declare(name, named) {
            return self.refuse(format!("{name} is declared twice in one scope"));
        }
        Ok(())
    }

    /// A variable within a body: shared, local, or a parameter of a call.
    fn variable(&mut self, variable: &'a Variable) -> Result<()> {
        self.position.line = variable.line;
        self.position.form.clear();
        let bytes = variable.bytes();
        let named = match variable.space {
            Space::Shared if variable.is_extern => {
                self.dynamic_shared = true;
                Named::DynamicShared
            }
            Space::Shared => Named::Shared { offset: self.place_shared(variable, bytes)? as u32 },
            // A call's parameters live in local memory: the callee is inlined.
            Space::Local | Space::Param => {
                Named::Local { offset: self.place_local(variable.align, bytes)? as u32 }
            }
            Space::Global | Space::Const | Space::Reg => {
                return self
                    .refuse(format!("{}: a variable of this space within a body", variable.name));
            }
        };
        self.declare(&variable.name, named)
    }

    fn place_shared(&mut self, variable: &Variable, bytes: u64) -> Result<u64> {
        let offset = u64::from(self.program.shared_bytes)
            .next_multiple_of(u64::from(variable.align.clamp(1, 1024)));
        if offset.saturating_add(bytes) > MAX_SHARED_BYTES {
            return self.refuse(format!(
                "{}: {bytes} bytes of static shared memory after {offset}, expected at most {MAX_SHARED_BYTES}",
                variable.name
            ));
        }
        self.program.shared.push((variable.name.clone(), offset as u32, bytes as u32));
        self.program.shared_bytes = (offset + bytes) as u32;
        Ok(offset)
    }

    fn place_local(&mut self, align: u32, bytes: u64) -> Result<u64> {
        let offset =
            u64::from(self.program.local_bytes).next_multiple_of(u64::from(align.clamp(1, 1024)));
        if offset.saturating_add(bytes) > MAX_LOCAL_BYTES {
            return self.refuse(format!(
                "{bytes} bytes of local memory after {offset}, expected at most {MAX_LOCAL_BYTES}"
            ));
        }
        self.program.local_bytes = (offset + bytes) as u32;
        Ok(offset)
    }

    /// Constants that stand for dynamic shared memory get its address, now that the static part is
    /// laid out.
    fn resolve_dynamic_shared(&mut self) {
        let start = u64::from(self.program.shared_bytes);
        for (_, constant) in &mut self.program.constants {
            if let Constant::Variable { width, index: DYNAMIC_SHARED, offset } = *constant {
                *constant = Constant::Bits(width, start.wrapping_add(offset as u64));
            }
        }
    }

    fn instruction(&mut self, instruction: &'a ast::Instruction) -> Result<()> {
        self.position.line = instruction.line;
        self.position.form = instruction.form();
        self.writes.clear();
        self.position.guard = match &instruction.guard {
            None => None,
            Some(guard) => Some(Guard {
                pred: self.register(&guard.name, Width::Pred)?,
                negated: guard.negated,
            }),
        };
        let lowered = self.control(instruction)?
            || self.moves(instruction)?
            || self.access(instruction)?
            || self.synchronise(instruction)?
            || self.exchange(instruction)?
            || self.arithmetic(instruction)?;
        if !lowered {
            return self.refuse("this instruction is not supported");
        }
        Ok(())
    }

    /// Instructions of the arithmetic tables.
    fn arithmetic(&mut self, instruction: &'a ast::Instruction) -> Result<bool> {
        let modifiers: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
        let flat = self.flatten(&instruction.operands)?;
        let widths = flat.iter().map(|o| self.width_of(o)).collect::<Result<Vec<_>>>()?;
        let form = match arithmetic::lower(&instruction.opcode, &modifiers, &widths) {
            None => return Ok(false),
            Some(Err(message)) => return self.refuse(message),
            Some(Ok(form)) => form,
        };
        if flat.len() != form.slots.len() {
            return self.refuse(format!("{} operands, expected {}", flat.len(), form.slots.len()));
        }
        let converts = instruction.opcode == "cvt";
        let mut operands = Vec::with_capacity(flat.len());
        let mut reads = Vec::with_capacity(flat.len());
        for (operand, slot) in flat.iter().zip(&form.slots) {
            match *slot {
                arithmetic::OperandSlot::Write(width) => {
                    operands.push(self.destination(operand, width)?)
                }
                arithmetic::OperandSlot::Read(width) => {
                    let reg = if converts {
                        self.narrowed(operand, width, form.float_immediates)?
                    } else {
                        self.source_operand(operand, width, form.float_immediates)?
                    };
                    operands.push(reg);
                    reads.push((width, reg));
                }
            }
        }
        let divisor = match form.nonzero {
            None => None,
            Some(i) => match form.slots[i] {
                arithmetic::OperandSlot::Read(width) => Some((width, operands[i])),
                arithmetic::OperandSlot::Write(_) => None,
            },
        };
        let class = class_of(&instruction.opcode, &modifiers);
        self.emit(
            Op::Arithmetic { run: form.run, operands: operands.into(), divisor },
            class,
            reads,
        )?;
        Ok(true)
    }

    /// Appends an instruction at the current position.
    fn emit(&mut self, op: Op, class: Class, reads: Vec<(Width, Reg)>) -> Result<()> {
        if self.program.instructions.len() >= self.most {
            return self.refuse(format!(
                "more than {MAX_INSTRUCTIONS} instructions in all kernels, calls inlined"
            ));
        }
        let guard = self.position.guard;
        let mut reads: Vec<_> =
            reads.into_iter().filter(|&(width, reg)| !self.is_constant(width, reg)).collect();
        if let Some(guard) = guard {
            reads.retain(|&read| read != (Width::Pred, guard.pred));
        }
        reads.sort_unstable_by_key(|&(width, reg)| (width, reg.0));
        reads.dedup();
        let writes = std::mem::take(&mut self.writes).into();
        let reads = reads.into();
        self.program.instructions.push(Instruction { guard, op, reads, writes, class });
        self.program.origins.push(Origin {
            form: self.position.form.clone(),
            line: self.position.line,
            source: self.position.source,
        });
        Ok(())
    }

    fn is_constant(&self, width: Width, reg: Reg) -> bool {
        self.scopes.is_constant(width, reg)
    }

    fn fresh(&mut self, width: Width) -> Reg {
        let count = match width {
            Width::Pred => &mut self.program.preds,
            Width::B16 | Width::B32 => &mut self.program.narrow,
            Width::B64 => &mut self.program.wide,
        };
        let reg = Reg(*count);
        *count += 1;
        reg
    }
}

/// Width of a register that is declared with a type.
fn register_width(scalar: &str) -> Option<Width> {
    Some(match scalar {
        "pred" => Width::Pred,
        "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" => Width::B16,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" => Width::B32,
        "b64" | "u64" | "s64" | "f64" => Width::B64,
        _ => return None,
    })
}

/// The class that an arithmetic instruction is counted by.
fn class_of(opcode: &str, modifiers: &[&str]) -> Class {
    match opcode {
        "cvt" => Class::Convert,
        "setp" | "set" | "testp" => Class::Compare,
        "selp" | "slct" => Class::Move,
        _ => match modifiers.last() {
            Some(&("f32" | "f64")) => Class::Float,
            Some(&("f16" | "f16x2" | "bf16" | "bf16x2")) => Class::Half,
            _ => Class::Integer,
        },
    }
}
