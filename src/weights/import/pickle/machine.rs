//! The loop over opcodes.

use super::super::CheckpointError;
use super::super::error::{corrupt, too_large};
use super::{Id, Node, OtherStorage};
use std::collections::HashMap;

/// Opcodes of one pickle: four for each object, as many as there may be.
const MAX_OPCODES: usize = 1 << 22;
/// The newest protocol with the opcodes below.
const MAX_PROTOCOL: u8 = 5;

// Objects that carry nothing exist once, at the start of the arena.
pub(super) const NONE: Id = Id::new(0);
const FALSE: Id = Id::new(1);
const TRUE: Id = Id::new(2);
pub(super) const EMPTY_TUPLE: Id = Id::new(3);

/// A pickle being interpreted.
pub(super) struct Machine<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) pos: usize,
    /// Offset of the opcode being run.
    pub(super) op_at: usize,
    pub(super) nodes: Vec<Node>,
    pub(super) stack: Vec<Id>,
    /// Heights of the stack where MARK was run.
    pub(super) marks: Vec<usize>,
    pub(super) memo: HashMap<u32, Id>,
    /// Bytes that Latin-1 texts stand for, by where they start.
    pub(super) decoded: HashMap<usize, usize>,
    /// Storages of other elements than plain numbers.
    pub(super) others: Vec<OtherStorage>,
    /// Items copied from one object to another.
    pub(super) charged: usize,
    /// Opaque objects made.
    pub(super) opaque_objects: usize,
}

pub(super) type Outcome<T = ()> = Result<T, CheckpointError>;

impl<'a> Machine<'a> {
    pub(super) fn new(bytes: &'a [u8], start: usize) -> Self {
        Machine {
            bytes,
            pos: start,
            op_at: start,
            nodes: vec![Node::None, Node::Bool(false), Node::Bool(true), Node::Tuple(Box::new([]))],
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            decoded: HashMap::new(),
            others: Vec::new(),
            charged: 0,
            opaque_objects: 0,
        }
    }
}

impl Machine<'_> {
    /// Runs until STOP. The opcodes are named as in CPython's `pickletools`.
    pub(super) fn run(&mut self) -> Outcome<Id> {
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
                // BINFLOAT
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Node::Float(value))?;
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
                // SHORT_BINBYTES, BINBYTES, BINBYTES8, BYTEARRAY8
                b'C' => {
                    let len = self.byte()?;
                    self.binary(len.into(), Node::Bytes)?;
                }
                b'B' => {
                    let len = self.u32()?;
                    self.binary(len.into(), Node::Bytes)?;
                }
                0x8e | 0x96 => {
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

                // TUPLE1, TUPLE2, TUPLE3; TUPLE, FROZENSET
                n @ 0x85..=0x87 => {
                    let len = usize::from(n - 0x84);
                    let items = self.pop_many(len)?;
                    self.push(Node::Tuple(items.into()))?;
                }
                b't' | 0x91 => {
                    let items = self.pop_to_mark()?;
                    self.push(Node::Tuple(items.into()))?;
                }
                // EMPTY_LIST, EMPTY_SET; APPEND; APPENDS, ADDITEMS. A set is kept as a list.
                b']' | 0x8f => self.push(Node::List(Vec::new()))?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' | 0x90 => {
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

                // POP, which takes a mark like an object; POP_MARK; DUP
                b'0' => {
                    if self.at_mark() {
                        self.pop_to_mark()?;
                    } else {
                        self.pop()?;
                    }
                }
                b'1' => {
                    self.pop_to_mark()?;
                }
                b'2' => {
                    let top = self.top()?;
                    self.stack.push(top);
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
                // NEWOBJ_EX: no known class takes arguments by name.
                0x92 => {
                    let operands = self.pop_many(3)?;
                    self.reduce(operands[0], operands[1])?;
                }
                // OBJ
                b'o' => {
                    let mut items = self.pop_to_mark()?;
                    if items.is_empty() {
                        return Err(self.wrong("operands of OBJ", "a class", "none"));
                    }
                    let args = items.split_off(1);
                    self.instance(items[0], args)?;
                }
                // INST
                b'i' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let args = self.pop_to_mark()?;
                    self.global(module, name)?;
                    let class = self.pop()?;
                    self.instance(class, args)?;
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

    /// An error at the opcode being run.
    pub(super) fn wrong(
        &self,
        what: &str,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> CheckpointError {
        corrupt(what, self.op_at, expected, found)
    }
}
