//! Exchanges between the lanes of a warp.

use super::{Lowering, Result};
use crate::ast::{Instruction, Operand};
use crate::exchange::{
    Match, Vote, lower_elect, lower_match, lower_redux, lower_shuffle, lower_vote,
};
use crate::program::{Class, Op};
use crate::registers::Width;

impl<'a> Lowering<'a> {
    pub(super) fn exchange(&mut self, instruction: &'a Instruction) -> Result<bool> {
        let modifiers: Vec<&str> = instruction.modifiers.iter().map(String::as_str).collect();
        let table = |message: String| self.refusal(message);
        match (instruction.opcode.as_str(), instruction.operands.as_slice()) {
            ("shfl", [to, from, b, c, members]) => {
                let mode = lower_shuffle(&modifiers).map_err(table)?;
                let (to, pred) = match to {
                    Operand::Pair(to, pred) => (&**to, Some(self.destination(pred, Width::Pred)?)),
                    to => (to, None),
                };
                let to = self.destination(to, Width::B32)?;
                let from = self.source_operand(from, Width::B32, None)?;
                let b = self.source_operand(b, Width::B32, None)?;
                let c = self.source_operand(c, Width::B32, None)?;
                let members = self.source_operand(members, Width::B32, None)?;
                let reads = [from, b, c, members].map(|reg| (Width::B32, reg)).to_vec();
                let op = Op::Shuffle { mode, to, pred, from, b, c, members };
                self.emit(op, Class::Exchange, reads)?;
            }
            ("vote", [to, pred, members]) => {
                let mode = lower_vote(&modifiers).map_err(table)?;
                let width = if mode == Vote::Ballot { Width::B32 } else { Width::Pred };
                let to = self.destination(to, width)?;
                let pred = self.source_operand(pred, Width::Pred, None)?;
                let members = self.source_operand(members, Width::B32, None)?;
                let reads = vec![(Width::Pred, pred), (Width::B32, members)];
                self.emit(Op::Vote { mode, to, pred, members }, Class::Exchange, reads)?;
            }
            ("match", [to, from, members]) => {
                let (form, width) = lower_match(&modifiers).map_err(table)?;
                let (to, pred) = match to {
                    Operand::Pair(to, pred) if form == Match::All => {
                        (&**to, Some(self.destination(pred, Width::Pred)?))
                    }
                    to => (to, None),
                };
                let to = self.destination(to, Width::B32)?;
                let from = self.source_operand(from, width, None)?;
                let members = self.source_operand(members, Width::B32, None)?;
                let reads = vec![(width, from), (Width::B32, members)];
                let op = Op::Match { form, width, to, pred, from, members };
                self.emit(op, Class::Exchange, reads)?;
            }
            ("redux", [to, from, members]) => {
                let run = lower_redux(&modifiers).map_err(table)?;
                let to = self.destination(to, Width::B32)?;
                let from = self.source_operand(from, Width::B32, None)?;
                let members = self.source_operand(members, Width::B32, None)?;
                let reads = vec![(Width::B32, from), (Width::B32, members)];
                self.emit(Op::Redux { run, to, from, members }, Class::Exchange, reads)?;
            }
            ("elect", [Operand::Pair(to, pred), members]) => {
                lower_elect(&modifiers).map_err(table)?;
                let to = match &**to {
                    Operand::Sink => None,
                    other => Some(self.destination(other, Width::B32)?),
                };
                let pred = self.destination(pred, Width::Pred)?;
                let members = self.source_operand(members, Width::B32, None)?;
                let reads = vec![(Width::B32, members)];
                self.emit(Op::Elect { to, pred, members }, Class::Exchange, reads)?;
            }
            ("activemask", [to]) => {
                if modifiers != ["b32"] {
                    return self.refuse("expected activemask.b32");
                }
                let to = self.destination(to, Width::B32)?;
                self.emit(Op::ActiveMask { to }, Class::Exchange, Vec::new())?;
            }
            ("shfl" | "vote" | "match" | "redux" | "elect" | "activemask", _) => {
                return self.refuse("operands of another kind or number than it takes");
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}
