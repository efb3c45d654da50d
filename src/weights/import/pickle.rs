//! A pickle interpreter that builds plain data and descriptions of tensors, and nothing else.
//!
//! Opcodes and globals are closed lists; no code is looked up, imported or called. Objects live in
//! an arena and name each other by index, so that shared and cyclic references cost nothing and
//! nothing here recurses. Strings and array bytes stay where they are in the file. Every opcode
//! adds one object at most, and the number of opcodes and objects is capped.

mod globals;
mod node;
mod objects;

pub(super) use globals::Global;
pub(super) use node::{Id, NdArray, Node, Storage, Tensor};

use super::error::{corrupt, too_large};
use super::{CheckpointError, Dtype};
use std::collections::HashMap;
use std::ops::Range;

/// Objects of one pickle. A state dict takes about 25 for each of its tensors, under 20 000 in all;
/// training checkpoints with the optimiser's state a few times that.
const MAX_NODES: usize = 1 << 20;
/// Opcodes of one pickle.
const MAX_OPCODES: usize = 1 << 24;
/// Bytes of a module's or class's name.
const MAX_GLOBAL_BYTES: usize = 256;
/// The newest protocol with the opcodes below.
const MAX_PROTOCOL: u8 = 5;

/// The outcome of one pickle.
pub(super) struct Pickle<'a> {
    bytes: &'a [u8],
    nodes: Vec<Node>,
    /// The object that STOP left.
    pub(super) root: Id,
    /// Offset of the byte after STOP.
    pub(super) end: usize,
}

impl<'a> Pickle<'a> {
    /// Interprets the pickle that starts at `start`. Offsets, in errors and in objects, are those
    /// of `bytes`.
    pub(super) fn load(bytes: &'a [u8], start: usize) -> Result<Pickle<'a>, CheckpointError> {
        let mut machine = Machine {
            bytes,
            pos: start,
            op_at: start,
            // Objects that carry nothing exist once; their numbers are the constants below.
            nodes: vec![Node::None, Node::Bool(false), Node::Bool(true), Node::Tuple(Box::new([]))],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            decoded: HashMap::new(),
            charged: 0,
        };
        let root = machine.run()?;
        Ok(Pickle { bytes, nodes: machine.nodes, root, end: machine.pos })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    /// The text of a string object.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        self.node(id).text_range().and_then(|range| std::str::from_utf8(&self.bytes[range]).ok())
    }

    /// Whether an object is a string, without a look at its bytes.
    pub(super) fn is_text(&self, id: Id) -> bool {
        self.node(id).text_range().is_some()
    }

    /// Whether an object is this string.
    pub(super) fn text_is(&self, id: Id, word: &str) -> bool {
        self.node(id).text_range().is_some_and(|range| &self.bytes[range] == word.as_bytes())
    }

    /// The text at `range`, which a string object named.
    pub(super) fn text_at(&self, range: &Range<usize>) -> &'a str {
        std::str::from_utf8(&self.bytes[range.clone()]).unwrap_or_default()
    }

    /// The pairs of a dict.
    pub(super) fn dict(&self, id: Id) -> Option<&[(Id, Id)]> {
        match self.node(id) {
            Node::Dict(pairs) => Some(pairs),
            _ => None,
        }
    }

    /// The value of a dict's key, the last one where it was set twice.
    pub(super) fn get(&self, dict: Id, key: &str) -> Option<Id> {
        let pairs = self.dict(dict)?;
        pairs.iter().rev().find(|(k, _)| self.text_is(*k, key)).map(|&(_, value)| value)
    }

    /// Every storage that the pickle refers to.
    pub(super) fn storages(&self) -> impl Iterator<Item = &Storage> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Storage(storage) => Some(&**storage),
            _ => None,
        })
    }

    /// What an object is, for messages.
    pub(super) fn kind(&self, id: Id) -> &'static str {
        self.node(id).kind()
    }
}

const NONE: Id = Id::new(0);
const FALSE: Id = Id::new(1);
const TRUE: Id = Id::new(2);
const EMPTY_TUPLE: Id = Id::new(3);

struct Machine<'a> {
    bytes: &'a [u8],
    pos: usize,
    /// Where the opcode being run stands.
    op_at: usize,
    nodes: Vec<Node>,
    stack: Vec<Id>,
    /// Heights of the stack where MARK was run.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    /// Bytes that Latin-1 texts stand for, by where they start.
    decoded: HashMap<usize, usize>,
    /// Items copied from one object to another.
    charged: usize,
}

type Outcome<T = ()> = Result<T, CheckpointError>;

impl Machine<'_> {
    /// Runs until STOP. The opcodes are named as in CPython's `pickletools`.
    fn run(&mut self) -> Outcome<Id> {
        for _ in 0..MAX_OPCODES {
            self.op_at = self.pos;
            match self.byte()? {
                // PROTO
                0x80 => {
                    let version = self.byte()?;
                    if version > MAX_PROTOCOL {
                        let expected = format!("at most {MAX_PROTOCOL}");
                        return Err(self.wrong("pickle protocol", expected, version.to_string()));
                    }
                }
                // FRAME: a hint for readers of streams; its length must not lie all the same.
                0x95 => {
                    let len = self.u64()?;
                    self.check_remaining("pickle frame", len)?;
                }
                // STOP
                b'.' => {
                    let root = self.pop()?;
                    return if self.stack.is_empty() && self.marks.is_empty() {
                        Ok(root)
                    } else {
                        let found = format!("{} more", self.stack.len());
                        Err(self.wrong("pickle stack", "one object at STOP", found))
                    };
                }
                // MARK
                b'(' => self.marks.push(self.stack.len()),

                // NONE, NEWFALSE, NEWTRUE, EMPTY_TUPLE
                b'N' => self.stack.push(NONE),
                0x89 => self.stack.push(FALSE),
                0x88 => self.stack.push(TRUE),
                b')' => self.stack.push(EMPTY_TUPLE),
                // BININT, BININT1, BININT2
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Node::Int(value.into()))?;
                }
                b'K' => {
                    let value = self.byte()?;
                    self.push(Node::Int(value.into()))?;
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Node::Int(value.into()))?;
                }
                // LONG1, LONG4
                0x8a => {
                    let len = self.byte()?;
                    self.long(len.into())?;
                }
                0x8b => {
                    let len = self.u32()?;
                    self.long(len.into())?;
                }
                // BINFLOAT: no tensor's description has one.
                b'G' => {
                    self.array::<8>()?;
                    self.push(Node::Float)?;
                }
                // SHORT_BINUNICODE, BINUNICODE, BINUNICODE8
                0x8c => {
                    let len = self.byte()?;
                    self.unicode(len.into())?;
                }
                b'X' => {
                    let len = self.u32()?;
                    self.unicode(len.into())?;
                }
                0x8d => {
                    let len = self.u64()?;
                    self.unicode(len)?;
                }
                // SHORT_BINBYTES, BINBYTES, BINBYTES8
                b'C' => {
                    let len = self.byte()?;
                    self.binary(len.into(), Node::Bytes)?;
                }
                b'B' => {
                    let len = self.u32()?;
                    self.binary(len.into(), Node::Bytes)?;
                }
                0x8e => {
                    let len = self.u64()?;
                    self.binary(len, Node::Bytes)?;
                }
                // SHORT_BINSTRING, BINSTRING: Python 2's, text or bytes as their user takes them.
                b'U' => {
                    let len = self.byte()?;
                    self.binary(len.into(), Node::ByteText)?;
                }
                b'T' => {
                    let len = self.u32()?;
                    self.binary(len.into(), Node::ByteText)?;
                }

                // TUPLE1, TUPLE2, TUPLE3, TUPLE
                n @ 0x85..=0x87 => {
                    let len = usize::from(n - 0x84);
                    let items = self.pop_many(len)?;
                    self.push(Node::Tuple(items.into()))?;
                }
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Tuple(items.into()))?;
                }
                // EMPTY_LIST, APPEND, APPENDS
                b']' => self.push(Node::List(Vec::new()))?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
                // EMPTY_DICT, SETITEM, SETITEMS
                b'}' => self.push(Node::Dict(Vec::new()))?,
                b's' => {
                    let items = self.pop_many(2)?;
                    self.set_items(items)?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(items)?;
                }

                // BINPUT, LONG_BINPUT, MEMOIZE
                b'q' => {
                    let slot = self.byte()?;
                    self.remember(slot.into())?;
                }
                b'r' => {
                    let slot = self.u32()?;
                    self.remember(slot)?;
                }
                0x94 => self.remember(self.memo.len() as u32)?,
                // BINGET, LONG_BINGET
                b'h' => {
                    let slot = self.byte()?;
                    self.recall(slot.into())?;
                }
                b'j' => {
                    let slot = self.u32()?;
                    self.recall(slot)?;
                }

                // GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.global(module, name)?;
                }
                // STACK_GLOBAL
                0x93 => {
                    let names = self.pop_many(2)?;
                    let [module, name] = [names[0], names[1]].map(|id| &self.nodes[id.index()]);
                    let (Node::Text(module), Node::Text(name)) = (module, name) else {
                        let found = format!("{} and {}", module.kind(), name.kind());
                        return Err(self.wrong("pickle global", "two strings", found));
                    };
                    self.global(module.clone(), name.clone())?;
                }
                // REDUCE, NEWOBJ
                b'R' | 0x81 => {
                    let operands = self.pop_many(2)?;
                    self.reduce(operands[0], operands[1])?;
                }
                // BUILD
                b'b' => {
                    let state = self.pop()?;
                    self.build(state)?;
                }
                // BINPERSID
                b'Q' => {
                    let id = self.pop()?;
                    self.persistent(id)?;
                }

                opcode => {
                    return Err(CheckpointError::ForbiddenOpcode {
                        offset: self.op_at as u64,
                        opcode,
                    });
                }
            }
        }
        Err(too_large("pickle opcodes", self.pos, MAX_OPCODES as u64, MAX_OPCODES as u64 + 1))
    }

    fn wrong(
        &self,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> CheckpointError {
        corrupt(what, self.op_at, expected, found)
    }

    // Bytes.

    fn check_remaining(&self, what: &'static str, needed: u64) -> Outcome<usize> {
        let remaining = (self.bytes.len() - self.pos) as u64;
        if needed > remaining {
            let offset = self.pos as u64;
            return Err(CheckpointError::Truncated { what, offset, needed, remaining });
        }
        Ok(needed as usize)
    }

    fn take(&mut self, what: &'static str, len: u64) -> Outcome<Range<usize>> {
        let len = self.check_remaining(what, len)?;
        let start = self.pos;
        self.pos += len;
        Ok(start..self.pos)
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let range = self.take("pickle", N as u64)?;
        let mut array = [0; N];
        array.copy_from_slice(&self.bytes[range]);
        Ok(array)
    }

    fn byte(&mut self) -> Outcome<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn u32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Outcome<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// The bytes up to the next line feed, which is passed over.
    fn line(&mut self) -> Outcome<Range<usize>> {
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

    fn binary(&mut self, len: u64, node: fn(Range<usize>) -> Node) -> Outcome {
        let range = self.take("pickled bytes", len)?;
        self.push(node(range))
    }

    fn unicode(&mut self, len: u64) -> Outcome {
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
    fn long(&mut self, len: u64) -> Outcome {
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

    // Stack and memo.

    fn push(&mut self, node: Node) -> Outcome {
        let id = self.add(node)?;
        self.stack.push(id);
        Ok(())
    }

    fn add(&mut self, node: Node) -> Outcome<Id> {
        if self.nodes.len() == MAX_NODES {
            let (limit, found) = (MAX_NODES as u64, MAX_NODES as u64 + 1);
            return Err(too_large("pickled objects", self.op_at, limit, found));
        }
        let id = Id::new(self.nodes.len() as u32);
        self.nodes.push(node);
        Ok(id)
    }

    /// Counts copied items like objects.
    fn charge(&mut self, items: usize) -> Outcome {
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

    fn pop(&mut self) -> Outcome<Id> {
        if self.stack.len() <= self.floor() {
            return Err(self.underflow());
        }
        self.stack.pop().ok_or_else(|| self.underflow())
    }

    fn pop_many(&mut self, count: usize) -> Outcome<Vec<Id>> {
        match self.stack.len().checked_sub(count) {
            Some(from) if from >= self.floor() => Ok(self.stack.split_off(from)),
            _ => Err(self.underflow()),
        }
    }

    fn pop_to_mark(&mut self) -> Outcome<Vec<Id>> {
        match self.marks.pop() {
            Some(mark) => Ok(self.stack.split_off(mark)),
            None => Err(self.wrong("pickle stack", "a mark", "none")),
        }
    }

    fn top(&self) -> Outcome<Id> {
        match self.stack.last() {
            Some(&id) if self.stack.len() > self.floor() => Ok(id),
            _ => Err(self.underflow()),
        }
    }

    fn remember(&mut self, slot: u32) -> Outcome {
        let id = self.top()?;
        self.memo.insert(slot, id);
        if self.memo.len() > MAX_NODES {
            let (limit, found) = (MAX_NODES as u64, self.memo.len() as u64);
            return Err(too_large("pickle memo", self.op_at, limit, found));
        }
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Outcome {
        match self.memo.get(&slot) {
            Some(&id) => {
                self.stack.push(id);
                Ok(())
            }
            None => Err(self.wrong("pickle memo", "a slot that was set", format!("slot {slot}"))),
        }
    }

    fn append(&mut self, items: Vec<Id>) -> Outcome {
        let list = self.top()?;
        match &mut self.nodes[list.index()] {
            Node::List(list) => list.extend(items),
            Node::Opaque => {}
            other => {
                let found = other.kind();
                return Err(self.wrong("target of APPENDS", "a list", found));
            }
        }
        Ok(())
    }

    fn set_items(&mut self, items: Vec<Id>) -> Outcome {
        let dict = self.top()?;
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(self.wrong("operands of SETITEMS", "pairs", "an odd number"));
        }
        match &mut self.nodes[dict.index()] {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Node::Opaque => {}
            other => {
                let found = other.kind();
                return Err(self.wrong("target of SETITEMS", "a dict", found));
            }
        }
        Ok(())
    }
}
