//! Operands of the opcodes: the bytes that follow them, the stack and the memo.

use super::super::CheckpointError;
use super::super::error::{corrupt, too_large};
use super::machine::{Machine, Outcome};
use super::{Id, Node};
use std::ops::Range;

/// Objects of one pickle. A state dict takes about 25 for each of its tensors, under 20 000 in all;
/// training checkpoints with the optimiser's state a few times that.
const MAX_NODES: usize = 1 << 20;
/// Objects of one pickle that are opaque: each takes five times as much as another. A model that
/// was pickled whole has 1 500 of them.
const MAX_OPAQUE: usize = 1 << 18;
/// Bytes of a module's or class's name.
const MAX_GLOBAL_BYTES: usize = 256;

impl Machine<'_> {
    pub(super) fn check_remaining(&self, what: &'static str, needed: u64) -> Outcome<usize> {
        let remaining = (self.bytes.len() - self.pos) as u64;
        if needed > remaining {
            let offset = self.pos as u64;
            return Err(CheckpointError::Truncated { what, offset, needed, remaining });
        }
        Ok(needed as usize)
    }

    pub(super) fn take(&mut self, what: &'static str, len: u64) -> Outcome<Range<usize>> {
        let len = self.check_remaining(what, len)?;
        let start = self.pos;
        self.pos += len;
        Ok(start..self.pos)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let range = self.take("pickle", N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    pub(super) fn byte(&mut self) -> Outcome<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(super) fn u32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Outcome<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The bytes up to the next line feed, which is passed over.
    pub(super) fn line(&mut self) -> Outcome<Range<usize>> {
        let rest = &self.bytes[self.pos..];
        let window = &rest[..rest.len().min(MAX_GLOBAL_BYTES)];
        let Some(len) = window.iter().position(|&byte| byte == b'\n') else {
            let expected = format!("a line of at most {MAX_GLOBAL_BYTES} bytes");
            return Err(self.wrong("pickle global", expected, "no line feed"));
        };
        let start = self.pos;
        self.pos += len + 1;
        Ok(start..start + len)
    }

    pub(super) fn binary(&mut self, len: u64, node: fn(Range<usize>) -> Node) -> Outcome {
        let range = self.take("pickled bytes", len)?;
        self.push(node(range))
    }

    pub(super) fn unicode(&mut self, len: u64) -> Outcome {
        let range = self.take("pickled string", len)?;
        match std::str::from_utf8(&self.bytes[range.clone()]) {
            Ok(_) => self.push(Node::Text(range)),
            Err(error) => {
                let at = range.start + error.valid_up_to();
                Err(corrupt("pickled string", at, "UTF-8", "other bytes"))
            }
        }
    }

    /// A two's complement integer of `len` bytes; those over 64 bits are only passed over.
    pub(super) fn long(&mut self, len: u64) -> Outcome {
        let range = self.take("pickled integer", len)?;
        let bytes = &self.bytes[range.clone()];
        let node = if bytes.len() <= 8 {
            let negative = bytes.last().is_some_and(|&top| top >= 0x80);
            let mut wide = if negative { [0xff; 8] } else { [0; 8] };
            wide[..bytes.len()].copy_from_slice(bytes);
            Node::Int(i64::from_le_bytes(wide))
        } else {
            Node::LongInt
        };
        self.push(node)
    }

    pub(super) fn push(&mut self, node: Node) -> Outcome {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    pub(super) fn add(&mut self, node: Node) -> Outcome<Id> {
        if self.nodes.len() == MAX_NODES {
            let (limit, found) = (MAX_NODES as u64, MAX_NODES as u64 + 1);
            return Err(too_large("pickled objects", self.op_at, limit, found));
        }
        if matches!(node, Node::Opaque(_)) {
            self.opaque_objects += 1;
            if self.opaque_objects > MAX_OPAQUE {
                let (limit, found) = (MAX_OPAQUE as u64, MAX_OPAQUE as u64 + 1);
                return Err(too_large("pickled objects of classes", self.op_at, limit, found));
            }
        }
        let id = Id::new(self.nodes.len() as u32);
        self.nodes.push(node);
        Ok(id)
    }

    /// Counts copied items like objects.
    pub(super) fn charge(&mut self, items: usize) -> Outcome {
        self.charged = self.charged.saturating_add(items);
        if self.charged > MAX_NODES {
            let (limit, found) = (MAX_NODES as u64, self.charged as u64);
            return Err(too_large("copied pickle items", self.op_at, limit, found));
        }
        Ok(())
    }

    /// The height of the stack below which an opcode may not reach.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn underflow(&self) -> CheckpointError {
        self.wrong("pickle stack", "the opcode's operands", "too few objects")
    }

    pub(super) fn pop(&mut self) -> Outcome<Id> {
        if self.stack.len() <= self.floor() {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    pub(super) fn pop_many(&mut self, count: usize) -> Outcome<Vec<Id>> {
        match self.stack.len().checked_sub(count) {
            Some(from) if from >= self.floor() => Ok(self.stack.split_off(from)),
            _ => Err(self.underflow()),
        }
    }

    pub(super) fn pop_to_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.wrong("pickle stack", "a mark", "none")),
        }
    }

    /// Whether nothing stands above the last mark.
    pub(super) fn at_mark(&self) -> bool {
        self.marks.last() == Some(&self.stack.len())
    }

    pub(super) fn top(&self) -> Outcome<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.underflow()),
        }
    }

    pub(super) fn remember(&mut self, slot: u32) -> Outcome {
        let id = self.top()?;
        self.memo.insert(slot, id);
        if self.memo.len() > MAX_NODES {
            let (limit, found) = (MAX_NODES as u64, self.memo.len() as u64);
            return Err(too_large("pickle memo", self.op_at, limit, found));
        }
        Ok(())
    }

    pub(super) fn recall(&mut self, slot: u32) -> Outcome {
        match self.memo.get(&slot) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.wrong("pickle memo", "a slot that was set", format!("slot {slot}"))),
        }
    }
}
