//! Loads, stores, atomics, asynchronous copies, and the loads and stores of matrices.

use super::atomics::{self, AtomicType};
use super::modifiers::Modifiers;
use super::{Lowering, Result};
use crate::arithmetic::FloatWidth;
use crate::ast::{Instruction, Operand, Space, scalar_bytes};
use crate::order::Scope;
use crate::program::{
    AsyncCopy, Atomic, BulkCopy, BulkDirection, Class, Op, Semantics, Target, Transfer,
};
use crate::registers::{Reg, Width};
use crate::tensor;

/// Bytes of a scalar, whether it is signed, and the register of each.
type Elements = (u32, bool, Vec<(Width, Reg)>);

impl<'a> Lowering<'a> {
    pub(super) fn access(&mut self, instruction: &'a Instruction) -> Result<bool> {
        let mut modifiers = Modifiers::new(&instruction.modifiers);
        match instruction.opcode.as_str() {
            "ld" | "ldu" => self.load(&mut modifiers, &instruction.operands)?,
            "st" => self.store(&mut modifiers, &instruction.operands)?,
            "atom" | "red" => {
                let returns = instruction.opcode == "atom";
                if modifiers.peek() == Some("async") {
                    return self.refuse("red.async is not supported");
                }
                self.atomic(&mut modifiers, &instruction.operands, returns)?;
            }
            "cp" => self.copy(&mut modifiers, &instruction.operands)?,
            "ldmatrix" | "stmatrix" => {
                self.matrix(instruction)?;
                return Ok(true);
            }
            "prefetch" | "prefetchu" => {
                while modifiers.next().is_some() {}
                self.emit(Op::Nothing, Class::Hint, Vec::new())?;
            }
            _ => return Ok(false),
        }
        modifiers.done().map_err(|message| self.refusal(message))?;
        Ok(true)
    }

    /// `.weak`, `.volatile`, or semantics with a scope, before the space; then the space and hints.
    fn access_kind(&self, modifiers: &mut Modifiers<'a>) -> Result<(Semantics, Scope, Target)> {
        let (semantics, scope) = if modifiers.take("volatile") {
            // The ISA gives volatile the meaning of relaxed at system scope.
            (Semantics::Relaxed, Scope::Sys)
        } else if modifiers.take("mmio") {
            return self.refuse("modifier .mmio is not supported");
        } else if let Some(semantics) = modifiers.semantics() {
            match modifiers.scope() {
                Some(scope) => (semantics, scope),
                None => return self.refuse("expected a scope: .cta .cluster .gpu .sys"),
            }
        } else {
            modifiers.take("weak");
            (Semantics::Weak, Scope::Sys)
        };
        let target = modifiers.pick(&super::modifiers::TARGETS).unwrap_or(Target::Generic);
        Ok((semantics, scope, target))
    }

    /// Vector, scalar, and the registers that a transfer names.
    fn elements(
        &mut self,
        modifiers: &mut Modifiers<'a>,
        operand: &'a Operand,
        load: bool,
    ) -> Result<Elements> {
        let lanes = modifiers.pick(&[("v2", 2), ("v4", 4), ("v8", 8)]).unwrap_or(1usize);
        let scalar = modifiers.next().unwrap_or_default();
        let bytes = match scalar_bytes(scalar) {
            Some(bytes @ (1 | 2 | 4 | 8))
                if !matches!(scalar, "f16" | "bf16" | "f16x2" | "bf16x2") =>
            {
                bytes
            }
            _ => return self.refuse(format!("type .{scalar} is not supported")),
        };
        if lanes as u32 * bytes > 16 {
            return self.refuse("accesses of more than 16 bytes are not supported");
        }
        let operands: Vec<&Operand> = match operand {
            Operand::Vector(parts) => parts.iter().collect(),
            other => vec![other],
        };
        if operands.len() != lanes {
            return self.refuse(format!("{} registers, expected {lanes}", operands.len()));
        }
        let least = if bytes == 8 {
            Width::B64
        } else if bytes == 4 {
            Width::B32
        } else {
            Width::B16
        };
        let floats = match scalar {
            "f64" => Some(FloatWidth::F64),
            "f32" | "b32" => Some(FloatWidth::F32),
            _ => None,
        };
        let mut registers = Vec::with_capacity(lanes);
        for operand in operands {
            let register = match self.width_of(operand)? {
                // Registers may be wider than the scalar.
                Some(width) if width >= least => {
                    let Operand::Name(name) = operand else {
                        return self.refuse("expected a register");
                    };
                    let (width, reg) = self.any_register(name)?;
                    if load && self.is_constant(width, reg) {
                        return self.refuse(format!("{name} cannot be written"));
                    }
                    if load {
                        self.writes.push((width, reg));
                    }
                    (width, reg)
                }
                Some(_) => {
                    return self.refuse(format!("{} is narrower than .{scalar}", shown(operand)));
                }
                None if load => (least, self.destination(operand, least)?),
                None => (least, self.source_operand(operand, least, floats)?),
            };
            registers.push(register);
        }
        Ok((bytes, scalar.starts_with('s'), registers))
    }

    /// Within a function, `.param` is its own, which lies in local memory.
    fn placed(&self, target: Target, address: &Operand) -> Target {
        if target != Target::Param {
            return target;
        }
        let in_function = self.calls.last().is_some_and(|frame| frame.end.is_some());
        if in_function || self.names_local(address) { Target::Local } else { Target::Param }
    }

    fn load(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        let (to, from) = match operands {
            [to, from] | [to, from, Operand::Name(_)] => (to, from),
            _ => return self.refuse("expected a register and an address"),
        };
        let (semantics, scope, target) = self.access_kind(modifiers)?;
        if semantics.releases() {
            return self.refuse("a load cannot release");
        }
        let mut past_l1 = modifiers.hints();
        modifiers.take("nc");
        past_l1 |= modifiers.hints();
        self.cache_policy(modifiers, operands.len() == 3)?;
        past_l1 |= modifiers.hints();
        // What another block may have written is not in the L1 cache of this one.
        past_l1 |= semantics != Semantics::Weak && scope != Scope::Cta;
        let (bytes, signed, registers) = self.elements(modifiers, to, true)?;
        let target = self.placed(target, from);
        let address = self.address(from, space_of(target))?;
        let reads = vec![(address.width, address.base)];
        let registers = registers.into();
        let transfer =
            Transfer { target, address, bytes, signed, registers, semantics, scope, past_l1 };
        self.orders(semantics, target);
        self.narrow(target, bytes);
        self.emit(Op::Load(transfer.into()), Class::Load, reads)
    }

    fn store(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        let (to, from) = match operands {
            [to, from] | [to, from, Operand::Name(_)] => (to, from),
            _ => return self.refuse("expected an address and a register"),
        };
        if modifiers.peek() == Some("async") || modifiers.peek() == Some("bulk") {
            return self.refuse("asynchronous stores are not supported");
        }
        let (semantics, scope, target) = self.access_kind(modifiers)?;
        if semantics.acquires() {
            return self.refuse("a store cannot acquire");
        }
        modifiers.hints();
        self.cache_policy(modifiers, operands.len() == 3)?;
        let (bytes, signed, registers) = self.elements(modifiers, from, false)?;
        let target = self.placed(target, to);
        if target == Target::Param {
            return self.refuse("a kernel's parameters cannot be written");
        }
        if target == Target::Const {
            return self.refuse("constant memory cannot be written");
        }
        let address = self.address(to, space_of(target))?;
        let mut reads = registers.clone();
        reads.push((address.width, address.base));
        let registers = registers.into();
        let past_l1 = false;
        let transfer =
            Transfer { target, address, bytes, signed, registers, semantics, scope, past_l1 };
        self.orders(semantics, target);
        self.narrow(target, bytes);
        self.emit(Op::Store(transfer.into()), Class::Store, reads)
    }

    /// `.L2::cache_hint` comes with an operand, and the other way round.
    fn cache_policy(&self, modifiers: &mut Modifiers<'a>, operand: bool) -> Result<()> {
        if modifiers.take("L2::cache_hint") != operand {
            return self.refuse("a cache policy goes with .L2::cache_hint");
        }
        Ok(())
    }

    /// Notes how narrow accesses are.
    fn narrow(&mut self, target: Target, bytes: u32) {
        if matches!(target, Target::Global | Target::Const | Target::Generic) {
            self.program.narrowest_global = self.program.narrowest_global.min(bytes);
        }
        if matches!(target, Target::Shared | Target::Generic) {
            self.program.narrowest_shared = self.program.narrowest_shared.min(bytes);
        }
    }

    /// Notes what could order blocks: then they run in their order, one after another.
    fn orders(&mut self, semantics: Semantics, target: Target) {
        if semantics != Semantics::Weak && matches!(target, Target::Global | Target::Generic) {
            self.program.orders_blocks = true;
        }
    }

    fn atomic(
        &mut self,
        modifiers: &mut Modifiers<'a>,
        operands: &'a [Operand],
        returns: bool,
    ) -> Result<()> {
        let mut semantics = modifiers.semantics();
        let mut scope = modifiers.scope();
        let spaces = [
            ("global", Target::Global),
            ("shared", Target::Shared),
            ("shared::cta", Target::Shared),
            ("shared::cluster", Target::Shared),
        ];
        let mut target = modifiers.pick(&spaces);
        let operation = modifiers.next().unwrap_or_default();
        if !returns && matches!(operation, "exch" | "cas") {
            return self.refuse(format!("operation .{operation} is not supported for red"));
        }
        // nvcc's headers write them after the operation, too.
        semantics = semantics.or_else(|| modifiers.semantics());
        scope = scope.or_else(|| modifiers.scope());
        target = target.or_else(|| modifiers.pick(&spaces));
        let target = target.unwrap_or(Target::Generic);
        let semantics = semantics.unwrap_or(Semantics::Relaxed);
        let scope = scope.unwrap_or(Scope::Gpu);
        let noftz = modifiers.take("noftz");
        let hint = modifiers.take("L2::cache_hint");
        if modifiers.peek().is_some_and(|m| m.starts_with("vec_") || m.starts_with('v')) {
            return self.refuse("vector atomics are not supported");
        }
        let scalar = modifiers.next().unwrap_or_default();
        let found = atomics::lower(operation, scalar, noftz);
        let AtomicType { run, run_global, bytes, width } =
            found.map_err(|message| self.refusal(message))?;
        let takes = if operation == "cas" { 4 } else { 3 } + usize::from(hint);
        let operands: Vec<&Operand> = match (returns, operands) {
            (true, all) => all.iter().collect(),
            (false, all) => std::iter::once(&Operand::Sink).chain(all).collect(),
        };
        if operands.len() != takes {
            return self.refuse(format!(
                "{} operands, expected {}",
                operands.len() - usize::from(!returns),
                takes - usize::from(!returns)
            ));
        }
        let to = match operands[0] {
            Operand::Sink => None,
            other => Some(self.destination(other, width)?),
        };
        let address = self.address(operands[1], space_of(target))?;
        let floats = match scalar {
            "f32" => Some(FloatWidth::F32),
            "f64" => Some(FloatWidth::F64),
            _ => None,
        };
        let b = self.source_operand(operands[2], width, floats)?;
        let c = match operation {
            "cas" => Some(self.source_operand(operands[3], width, floats)?),
            _ => None,
        };
        let mut reads = vec![(address.width, address.base), (width, b)];
        reads.extend(c.map(|c| (width, c)));
        self.orders(Semantics::Relaxed, target);
        self.narrow(target, bytes);
        let atomic =
            Atomic { target, address, bytes, run, run_global, width, to, b, c, semantics, scope };
        self.emit(Op::Atomic(atomic.into()), Class::Atomic, reads)
    }

    /// `cp.async` and its groups.
    fn copy(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        if !modifiers.take("async") {
            return self.refuse("only cp.async is supported");
        }
        match (modifiers.peek(), operands) {
            (Some("commit_group"), []) => {
                modifiers.next();
                self.emit(Op::AsyncCommit, Class::Async, Vec::new())
            }
            (Some("wait_all"), []) => {
                modifiers.next();
                self.emit(Op::AsyncWait(None), Class::Async, Vec::new())
            }
            (Some("wait_group"), [Operand::Int(newest)]) => {
                modifiers.next();
                let newest = self.group_count(*newest)?;
                self.emit(Op::AsyncWait(Some(newest)), Class::Async, Vec::new())
            }
            (Some("mbarrier"), [at]) => {
                modifiers.next();
                if !modifiers.take("arrive") {
                    return self.refuse("expected cp.async.mbarrier.arrive");
                }
                let noinc = modifiers.take("noinc");
                let target = modifiers
                    .pick(&[("shared", Target::Shared), ("shared::cta", Target::Shared)])
                    .unwrap_or(Target::Generic);
                if !modifiers.take("b64") {
                    return self.refuse("expected type .b64");
                }
                let at = self.address(at, space_of(target))?;
                let reads = vec![(at.width, at.base)];
                self.emit(Op::AsyncArrive { at, target, noinc }, Class::Async, reads)
            }
            (Some("bulk"), _) => {
                modifiers.next();
                self.bulk(modifiers, operands)
            }
            (Some("ca" | "cg"), _) => self.async_copy(modifiers, operands),
            _ => self.refuse("this form of cp.async is not supported"),
        }
    }

    fn group_count(&self, count: i128) -> Result<u32> {
        u32::try_from(count).map_err(|_| self.refusal(format!("{count} groups")))
    }

    fn async_copy(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        let global_only = modifiers.next() == Some("cg");
        if !(modifiers.take("shared") || modifiers.take("shared::cta")) || !modifiers.take("global")
        {
            return self.refuse("expected .shared.global");
        }
        let hint = modifiers.take("L2::cache_hint");
        modifiers.pick(&[("L2::64B", ()), ("L2::128B", ()), ("L2::256B", ())]);
        let (operands, _) =
            operands.split_at(operands.len() - usize::from(hint && !operands.is_empty()));
        let (to, from, size, rest) = match operands {
            [to, from, Operand::Int(size)] => (to, from, *size, None),
            [to, from, Operand::Int(size), rest] => (to, from, *size, Some(rest)),
            _ => return self.refuse("expected two addresses and a size"),
        };
        let bytes = match (size, global_only) {
            (4 | 8, false) | (16, _) => size as u32,
            _ => return self.refuse(format!("{size} bytes, expected 4, 8 or 16 (.cg: 16)")),
        };
        let to = self.address(to, Some(Space::Shared))?;
        let from = self.address(from, Some(Space::Global))?;
        let mut reads = vec![(to.width, to.base), (from.width, from.base)];
        let (mut from_bytes, mut ignore) = (None, None);
        match rest {
            None => {}
            Some(operand) if self.width_of(operand)? == Some(Width::Pred) => {
                let pred = self.source_operand(operand, Width::Pred, None)?;
                reads.push((Width::Pred, pred));
                ignore = Some(pred);
            }
            Some(operand) => {
                let reg = self.source_operand(operand, Width::B32, None)?;
                reads.push((Width::B32, reg));
                from_bytes = Some(reg);
            }
        }
        let copy = AsyncCopy { to, from, bytes, from_bytes, ignore, past_l1: global_only };
        self.emit(Op::AsyncCopy(copy.into()), Class::Async, reads)
    }

    fn bulk(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        match (modifiers.peek(), operands) {
            (Some("commit_group"), []) => {
                modifiers.next();
                return self.emit(Op::BulkCommit, Class::Async, Vec::new());
            }
            (Some("wait_group"), [Operand::Int(newest)]) => {
                modifiers.next();
                modifiers.take("read");
                let newest = self.group_count(*newest)?;
                return self.emit(Op::BulkWait(newest), Class::Async, Vec::new());
            }
            (Some("prefetch"), _) => {
                while modifiers.next().is_some() {}
                return self.emit(Op::Nothing, Class::Hint, Vec::new());
            }
            (Some("tensor"), _) => return self.refuse("tensor maps are not supported"),
            _ => {}
        }
        let direction = if modifiers.take("global") {
            if !modifiers.take("shared::cta") {
                return self.refuse("expected .global.shared::cta");
            }
            BulkDirection::SharedToGlobal
        } else if modifiers.take("shared::cluster") || modifiers.take("shared::cta") {
            if modifiers.take("global") {
                BulkDirection::GlobalToShared
            } else if modifiers.take("shared::cta") {
                BulkDirection::SharedToShared
            } else {
                return self.refuse("expected .global or .shared::cta as source");
            }
        } else {
            return self.refuse("expected .global, .shared::cluster or .shared::cta");
        };
        let grouped = direction == BulkDirection::SharedToGlobal;
        let completes =
            modifiers.take(if grouped { "bulk_group" } else { "mbarrier::complete_tx::bytes" });
        if !completes {
            return self.refuse("this way of completion is not supported");
        }
        let hint = modifiers.take("L2::cache_hint");
        let takes = 4 - usize::from(grouped) + usize::from(hint);
        if operands.len() != takes {
            return self.refuse(format!("{} operands, expected {takes}", operands.len()));
        }
        let (to_space, from_space) = match direction {
            BulkDirection::GlobalToShared => (Space::Shared, Space::Global),
            BulkDirection::SharedToShared => (Space::Shared, Space::Shared),
            BulkDirection::SharedToGlobal => (Space::Global, Space::Shared),
        };
        let to = self.address(&operands[0], Some(to_space))?;
        let from = self.address(&operands[1], Some(from_space))?;
        let bytes = self.source_operand(&operands[2], Width::B32, None)?;
        let mbarrier = match grouped {
            true => None,
            false => Some(self.address(&operands[3], Some(Space::Shared))?),
        };
        let mut reads = vec![(to.width, to.base), (from.width, from.base), (Width::B32, bytes)];
        reads.extend(mbarrier.map(|m| (m.width, m.base)));
        if direction == BulkDirection::SharedToGlobal {
            self.program.orders_blocks = true;
        }
        let copy = BulkCopy { direction, to, from, bytes, mbarrier };
        self.emit(Op::BulkCopy(copy.into()), Class::Async, reads)
    }

    fn matrix(&mut self, instruction: &'a Instruction) -> Result<()> {
        let names: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
        let matrix = tensor::lower_matrix(&instruction.opcode, &names)
            .map_err(|message| self.refusal(message))?;
        let load = instruction.opcode == "ldmatrix";
        let (registers, address) = match (instruction.operands.as_slice(), load) {
            ([registers, address], true) | ([address, registers], false) => (registers, address),
            _ => return self.refuse("expected registers and an address"),
        };
        let parts: Vec<&Operand> = match registers {
            Operand::Vector(parts) => parts.iter().collect(),
            other => vec![other],
        };
        if parts.len() != matrix.count {
            return self.refuse(format!("{} registers, expected {}", parts.len(), matrix.count));
        }
        let generic = !names.iter().any(|name| name.starts_with("shared"));
        if generic {
            return self.refuse("expected .shared");
        }
        let address = self.address(address, Some(Space::Shared))?;
        let mut registers = Vec::with_capacity(parts.len());
        let mut reads = vec![(address.width, address.base)];
        for part in parts {
            if load {
                registers.push(self.destination(part, Width::B32)?);
            } else {
                let reg = self.source_operand(part, Width::B32, None)?;
                reads.push((Width::B32, reg));
                registers.push(reg);
            }
        }
        let registers = registers.into();
        let op = if load {
            Op::LoadMatrix { address, matrix, registers }
        } else {
            Op::StoreMatrix { address, matrix, registers }
        };
        self.emit(op, Class::Tensor, reads)
    }
}

/// The space that a variable in an address must be of; generic addresses take any.
pub(super) fn space_of(target: Target) -> Option<Space> {
    match target {
        Target::Generic => None,
        Target::Global => Some(Space::Global),
        Target::Const => Some(Space::Const),
        Target::Shared => Some(Space::Shared),
        Target::Local => Some(Space::Local),
        Target::Param => Some(Space::Param),
    }
}

/// A register as the text has it.
fn shown(operand: &Operand) -> &str {
    match operand {
        Operand::Name(name) => name,
        _ => "the operand",
    }
}
