//! Barriers, fences, `mbarrier`, clusters, and matrix products.

use super::modifiers::Modifiers;
use super::{Lowering, Result};
use crate::ast::{Instruction, Operand};
use crate::order::Scope;
use crate::program::{Barrier, BarrierKind, Class, MbarrierKind, MbarrierOp, Op, Target};
use crate::registers::{Lane, Reg, Width};
use crate::tensor;

impl<'a> Lowering<'a> {
    pub(super) fn synchronise(&mut self, instruction: &'a Instruction) -> Result<bool> {
        let mut modifiers = Modifiers::new(&instruction.modifiers);
        let operands = instruction.operands.as_slice();
        match instruction.opcode.as_str() {
            "bar" => {
                if modifiers.take("warp") {
                    if !modifiers.take("sync") {
                        return self.refuse("expected bar.warp.sync");
                    }
                    let [members] = operands else { return self.refuse("expected a membermask") };
                    let members = self.source_operand(members, Width::B32, None)?;
                    let reads = vec![(Width::B32, members)];
                    self.emit(Op::WarpSync { members }, Class::Synchronise, reads)?;
                } else {
                    modifiers.take("cta");
                    self.barrier(&mut modifiers, operands, true)?;
                }
            }
            "barrier" => {
                if modifiers.take("cluster") {
                    self.cluster_barrier(&mut modifiers, operands)?;
                } else {
                    modifiers.take("cta");
                    self.barrier(&mut modifiers, operands, false)?;
                }
            }
            "membar" | "fence" => self.fence(instruction, &mut modifiers)?,
            "mbarrier" => self.mbarrier(&mut modifiers, operands)?,
            "mma" => {
                self.mma(instruction)?;
                return Ok(true);
            }
            "nanosleep" => {
                let [time] = operands else { return self.refuse("expected one operand") };
                if !modifiers.take("u32") {
                    return self.refuse("expected type .u32");
                }
                let time = self.source_operand(time, Width::B32, None)?;
                self.emit(Op::Yield, Class::Hint, vec![(Width::B32, time)])?;
            }
            "griddepcontrol" => {
                // One launch runs at a time: those before it have ended, and none comes early.
                let waits = modifiers
                    .expect("action", &[("launch_dependents", false), ("wait", true)])
                    .map_err(|message| self.refusal(message))?;
                let op = if waits { Op::GridWait } else { Op::Nothing };
                self.emit(op, Class::Hint, Vec::new())?;
            }
            "getctarank" => {
                let [to, from] = operands else { return self.refuse("expected two operands") };
                self.cta_rank(&mut modifiers, to, from)?;
            }
            _ => return Ok(false),
        }
        modifiers.done().map_err(|message| self.refusal(message))?;
        Ok(true)
    }

    fn barrier(
        &mut self,
        modifiers: &mut Modifiers<'a>,
        operands: &'a [Operand],
        bar: bool,
    ) -> Result<()> {
        let action = modifiers.next().unwrap_or_default();
        let reduction = match action {
            "red" => Some(
                modifiers
                    .expect("operation", &[("and", 0), ("or", 1), ("popc", 2)])
                    .map_err(|message| self.refusal(message))?,
            ),
            "sync" | "arrive" => None,
            _ => return self.refuse(format!("action .{action} is not supported")),
        };
        let aligned = modifiers.take("aligned") || bar;
        let mut reads = Vec::new();
        let id_of = match (reduction, operands) {
            (Some(_), [_, id, ..]) | (None, [id, ..]) => Some(id),
            _ => None,
        };
        if let Some(Operand::Int(id)) = id_of
            && !(0..16).contains(id)
        {
            return self.refuse(format!("barrier {id}, expected 0 to 15"));
        }
        let mut number = |this: &mut Self, operand: &Operand| -> Result<Reg> {
            let reg = this.source_operand(operand, Width::B32, None)?;
            reads.push((Width::B32, reg));
            Ok(reg)
        };
        let (kind, id, threads, pred) = match (reduction, operands) {
            (None, [id]) if action == "sync" => (BarrierKind::Sync, number(self, id)?, None, None),
            (None, [id, threads]) => {
                let kind = if action == "sync" { BarrierKind::Sync } else { BarrierKind::Arrive };
                (kind, number(self, id)?, Some(number(self, threads)?), None)
            }
            (Some(operation), [to, id, rest @ ..]) if matches!(rest.len(), 1 | 2) => {
                let id = number(self, id)?;
                let (threads, pred) = match rest {
                    [threads, pred] => (Some(number(self, threads)?), pred),
                    _ => (None, &rest[0]),
                };
                let pred = self.source_operand(pred, Width::Pred, None)?;
                let kind = match operation {
                    0 => BarrierKind::And(self.destination(to, Width::Pred)?),
                    1 => BarrierKind::Or(self.destination(to, Width::Pred)?),
                    _ => {
                        if !modifiers.take("u32") {
                            return self.refuse("expected type .u32");
                        }
                        BarrierKind::Popc(self.destination(to, Width::B32)?)
                    }
                };
                if operation != 2 && !modifiers.take("pred") {
                    return self.refuse("expected type .pred");
                }
                (kind, id, threads, Some(pred))
            }
            _ => return self.refuse("operands of another number than it takes"),
        };
        reads.extend(pred.map(|pred| (Width::Pred, pred)));
        let barrier = Barrier { kind, aligned, id, threads, pred };
        self.emit(Op::Barrier(barrier.into()), Class::Synchronise, reads)
    }

    fn cluster_barrier(
        &mut self,
        modifiers: &mut Modifiers<'a>,
        operands: &'a [Operand],
    ) -> Result<()> {
        if !operands.is_empty() {
            return self.refuse("expected no operands");
        }
        let op = if modifiers.take("arrive") {
            let relaxed = modifiers.take("relaxed");
            if !relaxed {
                modifiers.take("release");
            }
            Op::ClusterArrive { release: !relaxed, aligned: modifiers.take("aligned") }
        } else if modifiers.take("wait") {
            modifiers.take("acquire");
            Op::ClusterWait { aligned: modifiers.take("aligned") }
        } else {
            return self.refuse("expected .arrive or .wait");
        };
        self.emit(op, Class::Synchronise, Vec::new())
    }

    fn fence(&mut self, instruction: &Instruction, modifiers: &mut Modifiers<'a>) -> Result<()> {
        if !instruction.operands.is_empty() {
            return self.refuse("expected no operands");
        }
        let scope = if instruction.opcode == "membar" {
            modifiers
                .expect("level", &[("cta", Scope::Cta), ("gl", Scope::Gpu), ("sys", Scope::Sys)])
                .map_err(|message| self.refusal(message))?
        } else if modifiers.take("proxy") {
            // Proxies are one here: what the async proxy reads and writes is ordered by its own
            // waits.
            modifiers
                .expect("proxy", &[("async", ()), ("async::generic", ()), ("alias", ())])
                .map_err(|message| self.refusal(message))?;
            while modifiers
                .pick(&[("global", ()), ("shared::cta", ()), ("shared::cluster", ())])
                .is_some()
            {}
            return self.emit(Op::Nothing, Class::Synchronise, Vec::new());
        } else if modifiers.take("mbarrier_init") {
            if !(modifiers.take("release") && modifiers.take("cluster")) {
                return self.refuse("expected .mbarrier_init.release.cluster");
            }
            Scope::Cluster
        } else {
            if !modifiers.take("sc") {
                modifiers.take("acq_rel");
            }
            modifiers
                .expect("scope", &super::modifiers::SCOPES)
                .map_err(|message| self.refusal(message))?
        };
        if scope != Scope::Cta {
            self.program.orders_blocks = true;
        }
        self.emit(Op::Fence(scope), Class::Synchronise, Vec::new())
    }

    fn mbarrier(&mut self, modifiers: &mut Modifiers<'a>, operands: &'a [Operand]) -> Result<()> {
        let action = modifiers.next().unwrap_or_default();
        if action == "pending_count" {
            let [to, token] = operands else { return self.refuse("expected two operands") };
            if !modifiers.take("b64") {
                return self.refuse("expected type .b64");
            }
            let to = self.destination(to, Width::B32)?;
            let token = self.source_operand(token, Width::B64, None)?;
            let op = Op::Arithmetic {
                run: super::operands::low_32,
                operands: [to, token].into(),
                divisor: None,
            };
            return self.emit(op, Class::Synchronise, vec![(Width::B64, token)]);
        }
        let mut kind = match action {
            "init" => MbarrierKind::Init,
            "inval" => MbarrierKind::Invalidate,
            "arrive" | "arrive_drop" => {
                let drop = action == "arrive_drop";
                if modifiers.take("expect_tx") {
                    MbarrierKind::ArriveExpect { drop }
                } else {
                    MbarrierKind::Arrive { drop, no_complete: modifiers.take("noComplete") }
                }
            }
            "expect_tx" => MbarrierKind::ExpectBytes,
            "complete_tx" => MbarrierKind::CompleteBytes,
            "test_wait" | "try_wait" => {
                if modifiers.take("parity") {
                    MbarrierKind::TestParity
                } else {
                    MbarrierKind::Test
                }
            }
            _ => return self.refuse(format!("action .{action} is not supported")),
        };
        let semantics = modifiers.semantics();
        let scope = modifiers.scope().unwrap_or(Scope::Cta);
        let target = modifiers
            .pick(&[
                ("shared", Target::Shared),
                ("shared::cta", Target::Shared),
                ("shared::cluster", Target::Shared),
            ])
            .unwrap_or(Target::Generic);
        if kind == MbarrierKind::Test && modifiers.take("parity") {
            kind = MbarrierKind::TestParity;
        }
        if !modifiers.take("b64") {
            return self.refuse("expected type .b64");
        }
        let space = super::access::space_of(target);
        let (to, at, operand) = match (kind, operands) {
            (MbarrierKind::Init, [at, count]) => {
                (None, at, Some((Width::B32, self.source_operand(count, Width::B32, None)?)))
            }
            (MbarrierKind::Invalidate, [at]) => (None, at, None),
            (
                MbarrierKind::Arrive { .. } | MbarrierKind::ArriveExpect { .. },
                [to, at, rest @ ..],
            ) if rest.len() <= 1 => {
                let to = match to {
                    Operand::Sink => None,
                    other => Some(self.destination(other, Width::B64)?),
                };
                let operand = match rest {
                    [] => None,
                    [count, ..] => {
                        Some((Width::B32, self.source_operand(count, Width::B32, None)?))
                    }
                };
                (to, at, operand)
            }
            (MbarrierKind::ExpectBytes | MbarrierKind::CompleteBytes, [at, bytes]) => {
                (None, at, Some((Width::B32, self.source_operand(bytes, Width::B32, None)?)))
            }
            (MbarrierKind::Test, [to, at, token, ..]) if operands.len() <= 4 => {
                let to = self.destination(to, Width::Pred)?;
                (Some(to), at, Some((Width::B64, self.source_operand(token, Width::B64, None)?)))
            }
            (MbarrierKind::TestParity, [to, at, parity, ..]) if operands.len() <= 4 => {
                let to = self.destination(to, Width::Pred)?;
                (Some(to), at, Some((Width::B32, self.source_operand(parity, Width::B32, None)?)))
            }
            _ => return self.refuse("operands of another number than it takes"),
        };
        if matches!(kind, MbarrierKind::ArriveExpect { .. }) && operand.is_none() {
            return self.refuse("expected the number of bytes");
        }
        let orders = semantics != Some(crate::program::Semantics::Relaxed);
        let at = self.address(at, space)?;
        let mut reads = vec![(at.width, at.base)];
        reads.extend(operand);
        let operand = operand.map(|(_, reg)| reg);
        let op = MbarrierOp { kind, at, target, to, operand, scope, orders };
        self.emit(Op::Mbarrier(op.into()), Class::Synchronise, reads)
    }

    fn mma(&mut self, instruction: &'a Instruction) -> Result<()> {
        let names: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
        let mma = tensor::lower_mma(&names).map_err(|message| self.refusal(message))?;
        let [d, a, b, c] = instruction.operands.as_slice() else {
            return self.refuse("expected four operands");
        };
        let mut operands = Vec::with_capacity(mma.d + mma.a + mma.b + mma.c);
        let mut reads = Vec::new();
        let parts = [(d, mma.d), (a, mma.a), (b, mma.b), (c, mma.c)];
        for (i, (operand, count)) in parts.into_iter().enumerate() {
            let registers: Vec<&Operand> = match operand {
                Operand::Vector(parts) => parts.iter().collect(),
                other => vec![other],
            };
            if registers.len() != count {
                let found = registers.len();
                return self.refuse(format!("{found} registers of a matrix, expected {count}"));
            }
            for register in registers {
                let width = mma.widths[i];
                if i == 0 {
                    operands.push(self.destination(register, width)?);
                } else {
                    let floats = match width {
                        Width::B64 => Some(crate::arithmetic::FloatWidth::F64),
                        _ => Some(crate::arithmetic::FloatWidth::F32),
                    };
                    let reg = self.source_operand(register, width, floats)?;
                    operands.push(reg);
                    reads.push((width, reg));
                }
            }
        }
        let op = Op::Mma { run: mma.run, operands: operands.into(), macs: mma.macs };
        self.emit(op, Class::Tensor, reads)
    }

    /// The rank of the block that an address belongs to.
    fn cta_rank(
        &mut self,
        modifiers: &mut Modifiers<'a>,
        to: &'a Operand,
        from: &'a Operand,
    ) -> Result<()> {
        use crate::address::rank_and_offset;
        use crate::program::{Constant, Special};
        let shared = modifiers.take("shared::cluster");
        let width = modifiers
            .expect("type", &[("u32", Width::B32), ("u64", Width::B64)])
            .map_err(|message| self.refusal(message))?;
        if !shared && width == Width::B32 {
            return self.refuse("generic addresses have 64 bits");
        }
        let to = self.destination(to, Width::B32)?;
        let from = match from {
            Operand::Name(name) if self.width_of(from)?.is_none() => self.symbol(name, 0, width)?.1,
            _ => self.source_operand(from, width, None)?,
        };
        let own = self.constant(Width::B32, Constant::Special(Special::ClusterCtarank));
        let run: crate::arithmetic::Run = match width {
            Width::B32 => |r, o, m| {
                let (from, own) = (u32::load(r, o[1]), u32::load(r, o[2]));
                let rank =
                    std::array::from_fn(|i| rank_and_offset(from[i].into()).0.unwrap_or(own[i]));
                u32::store(r, o[0], m, rank);
            },
            _ => |r, o, m| {
                let (from, own) = (u64::load(r, o[1]), u32::load(r, o[2]));
                let rank = std::array::from_fn(|i| {
                    rank_and_offset(from[i] & 0xffff_ffff).0.unwrap_or(own[i])
                });
                u32::store(r, o[0], m, rank);
            },
        };
        let operands = [to, from, own].into();
        self.emit(Op::Arithmetic { run, operands, divisor: None }, Class::Move, vec![(width, from)])
    }
}
