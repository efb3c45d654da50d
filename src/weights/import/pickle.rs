//! A pickle interpreter that builds plain data and descriptions of tensors, and nothing else.
//!
//! Opcodes and globals are closed lists; no code is looked up, imported or called. Objects live in
//! an arena and name each other by index, so that shared and cyclic references cost nothing and
//! nothing here recurses. Strings and array bytes stay where they are in the file. Every opcode
//! adds one object at most, and the number of opcodes and objects is capped.

mod globals;
mod node;

pub(super) use globals::Global;
pub(super) use node::{Id, NdArray, Node, Storage, Tensor};

use super::error::{corrupt, quote, too_large};
use super::{CheckpointError, Dtype, latin1};
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
        };
        let root = machine.run()?;
        Ok(Pickle { bytes, nodes: machine.nodes, root, end: machine.pos })
    }

    pub(super) fn node(&self, id: Id) -> &Node {
        &self.nodes[id.index()]
    }

    /// The text of a string object.
    pub(super) fn text(&self, id: Id) -> Option<&'a str> {
        text(self.bytes, self.node(id))
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
        pairs.iter().rev().find(|(k, _)| self.text(*k) == Some(key)).map(|&(_, value)| value)
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

fn text<'a>(bytes: &'a [u8], node: &Node) -> Option<&'a str> {
    match node {
        Node::Text(range) | Node::ByteText(range) => {
            std::str::from_utf8(&bytes[range.clone()]).ok()
        }
        _ => None,
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

    // Objects.

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

    fn global(&mut self, module: Range<usize>, name: Range<usize>) -> Outcome {
        let [module, name] = [module, name].map(|range| &self.bytes[range]);
        match globals::find(module, name) {
            Some(global) => self.push(Node::Global(global)),
            None => {
                let mut global = String::from_utf8_lossy(module).into_owned();
                global.push('.');
                global.push_str(&String::from_utf8_lossy(name));
                // A name taken from the stack can be as long as the file.
                if global.len() > 2 * MAX_GLOBAL_BYTES {
                    global = quote(&global);
                }
                Err(CheckpointError::ForbiddenGlobal { offset: self.op_at as u64, global })
            }
        }
    }

    fn int(&self, id: Id) -> Option<usize> {
        match self.nodes[id.index()] {
            Node::Int(value) => usize::try_from(value).ok(),
            _ => None,
        }
    }

    /// A tuple or list of numbers that are not negative.
    fn ints(&self, id: Id) -> Option<Vec<usize>> {
        match &self.nodes[id.index()] {
            Node::Tuple(items) => items.iter().map(|&item| self.int(item)).collect(),
            Node::List(items) => items.iter().map(|&item| self.int(item)).collect(),
            _ => None,
        }
    }

    fn text(&self, id: Id) -> Option<&str> {
        text(self.bytes, &self.nodes[id.index()])
    }

    /// A call of a known global; what other pickles would call is refused by name before.
    fn reduce(&mut self, callee: Id, args: Id) -> Outcome {
        let (global, args) = match (&self.nodes[callee.index()], &self.nodes[args.index()]) {
            (Node::Global(global), Node::Tuple(args)) => (*global, args.clone()),
            (callee, args) => {
                let found = format!("{} and {}", callee.kind(), args.kind());
                return Err(self.wrong("operands of REDUCE", "a global and a tuple", found));
            }
        };
        let node = match (global, &args[..]) {
            (Global::OrderedDict, []) => Node::Dict(Vec::new()),
            (Global::OrderedDict, &[pairs]) => Node::Dict(self.pairs(pairs)?),
            // A parameter is its tensor.
            (Global::RebuildParameter, &[tensor, ..])
                if matches!(self.nodes[tensor.index()], Node::Tensor(_)) =>
            {
                self.stack.push(tensor);
                return Ok(());
            }
            (Global::RebuildTensor, &[storage, start, shape, strides, ..]) => {
                self.tensor(storage, start, shape, strides, None)?
            }
            (Global::RebuildTensorV3, &[storage, start, shape, strides, _, _, dtype, ..]) => {
                let Node::Global(Global::TorchDtype(dtype)) = self.nodes[dtype.index()] else {
                    let found = self.nodes[dtype.index()].kind();
                    return Err(self.wrong("element type of a tensor", "torch.dtype", found));
                };
                self.tensor(storage, start, shape, strides, Some(dtype))?
            }
            (Global::Reconstruct, _) => Node::NdArray(None),
            (Global::NumpyDtype, &[descr, ..]) => {
                let (Node::Text(descr) | Node::ByteText(descr)) = &self.nodes[descr.index()] else {
                    let found = self.nodes[descr.index()].kind();
                    return Err(self.wrong("NumPy dtype", "its description as text", found));
                };
                Node::NumpyDtype { descr: descr.clone(), big_endian: false }
            }
            (Global::Encode, &[text, encoding]) => self.encoded(text, encoding)?,
            (Global::Bytes, []) => Node::Bytes(self.pos..self.pos),
            // `tuple(items)`, as Paddle writes `(name, array)`, and `torch.Size(items)`.
            (Global::Tuple, []) => Node::Tuple(Box::new([])),
            (Global::Tuple, &[items]) => match &self.nodes[items.index()] {
                Node::Tuple(items) => Node::Tuple(items.clone()),
                Node::List(items) => Node::Tuple(items.as_slice().into()),
                other => {
                    let found = other.kind();
                    return Err(self.wrong("argument of tuple()", "a tuple or list", found));
                }
            },
            (Global::Plain, _) => Node::Opaque,
            (global, args) => {
                let what = format!("arguments of {}", global.name());
                let kinds: Vec<_> =
                    args.iter().take(8).map(|arg| self.nodes[arg.index()].kind()).collect();
                return Err(self.wrong(&what, global.signature(), kinds.join(", ")));
            }
        };
        self.push(node)
    }

    /// The items of `OrderedDict([[key, value], ..])`, as Python 2 wrote it.
    fn pairs(&self, list: Id) -> Outcome<Vec<(Id, Id)>> {
        let pair = |&id: &Id| match &self.nodes[id.index()] {
            Node::Tuple(pair) => <[Id; 2]>::try_from(&pair[..]).ok(),
            Node::List(pair) => <[Id; 2]>::try_from(&pair[..]).ok(),
            _ => None,
        };
        let pairs: Option<Vec<_>> = match &self.nodes[list.index()] {
            Node::List(list) => list.iter().map(pair).collect(),
            Node::Tuple(list) => list.iter().map(pair).collect(),
            _ => None,
        };
        match pairs {
            Some(pairs) => Ok(pairs.into_iter().map(|[key, value]| (key, value)).collect()),
            None => {
                let found = self.nodes[list.index()].kind();
                Err(self.wrong("argument of OrderedDict", "a list of pairs", found))
            }
        }
    }

    fn tensor(
        &self,
        storage: Id,
        start: Id,
        shape: Id,
        strides: Id,
        dtype: Option<Dtype>,
    ) -> Outcome<Node> {
        if !matches!(self.nodes[storage.index()], Node::Storage(_)) {
            let found = self.nodes[storage.index()].kind();
            return Err(self.wrong("first argument of a tensor", "a storage", found));
        }
        let number = "numbers that are not negative";
        let Some(start) = self.int(start) else {
            let found = format!("{:?}", self.nodes[start.index()]);
            return Err(self.wrong("storage offset of a tensor", number, found));
        };
        let ints = |what: &str, id| {
            self.ints(id).ok_or_else(|| self.wrong(what, number, "a negative one or another type"))
        };
        let (shape, strides) =
            (ints("shape of a tensor", shape)?, ints("strides of a tensor", strides)?);
        let tensor = Tensor { at: self.op_at, storage, dtype, start, shape, strides };
        Ok(Node::Tensor(Box::new(tensor)))
    }

    /// `_codecs.encode(text, 'latin1')`, which is how protocol 2 writes bytes.
    fn encoded(&self, text: Id, encoding: Id) -> Outcome<Node> {
        if !matches!(self.text(encoding), Some("latin1" | "latin-1")) {
            let found = self.nodes[encoding.index()].kind();
            return Err(self.wrong("encoding of _codecs.encode", "\"latin1\"", found));
        }
        let Node::Text(range) = &self.nodes[text.index()] else {
            let found = self.nodes[text.index()].kind();
            return Err(self.wrong("text of _codecs.encode", "a string", found));
        };
        Ok(Node::EncodedBytes(range.clone()))
    }

    fn build(&mut self, state: Id) -> Outcome {
        let target = self.top()?;
        let built = match &self.nodes[target.index()] {
            // An OrderedDict's attributes, such as `_metadata`; the state of plain objects.
            Node::Dict(_) | Node::Opaque | Node::Tensor(_) => return Ok(()),
            Node::NdArray(None) => Node::NdArray(Some(Box::new(self.array_state(state)?))),
            Node::NumpyDtype { descr, .. } => {
                Node::NumpyDtype { descr: descr.clone(), big_endian: self.big_endian(state)? }
            }
            other => {
                let found = other.kind();
                return Err(self.wrong("target of BUILD", "an array, dtype or dict", found));
            }
        };
        self.nodes[target.index()] = built;
        Ok(())
    }

    /// The state of a `numpy.dtype`: `(3, '<', ..)`.
    fn big_endian(&self, state: Id) -> Outcome<bool> {
        let order = match &self.nodes[state.index()] {
            Node::Tuple(items) => items.get(1).and_then(|&order| self.text(order)),
            _ => None,
        };
        match order {
            Some("<" | "|" | "=") => Ok(false),
            Some(">") => Ok(true),
            _ => Err(self.wrong("byte order of a NumPy dtype", "'<', '|', '=' or '>'", "another")),
        }
    }

    /// The state of a `numpy.ndarray`: `(1, shape, dtype, fortran_order, bytes)`.
    fn array_state(&self, state: Id) -> Outcome<NdArray> {
        let &[_, shape, dtype, order, data] = (match &self.nodes[state.index()] {
            Node::Tuple(items) => &items[..],
            _ => &[],
        }) else {
            let found = self.nodes[state.index()].kind();
            return Err(self.wrong(
                "state of a NumPy array",
                "(version, shape, dtype, fortran_order, bytes)",
                found,
            ));
        };
        let Some(shape) = self.ints(shape) else {
            let expected = "numbers that are not negative";
            return Err(self.wrong("shape of a NumPy array", expected, "something else"));
        };
        let Node::NumpyDtype { descr, big_endian } = &self.nodes[dtype.index()] else {
            let found = self.nodes[dtype.index()].kind();
            return Err(self.wrong("dtype of a NumPy array", "numpy.dtype", found));
        };
        let fortran_order = match self.nodes[order.index()] {
            Node::Bool(value) => value,
            Node::Int(value) => value != 0,
            ref other => {
                let found = other.kind();
                return Err(self.wrong("order of a NumPy array", "a bool", found));
            }
        };
        let (bytes, latin1_len) = match &self.nodes[data.index()] {
            Node::Bytes(range) | Node::ByteText(range) => (range.clone(), None),
            Node::EncodedBytes(range) => {
                let len = latin1::decoded_len(&self.bytes[range.clone()]).map_err(|at| {
                    let expected = "code points below 256";
                    corrupt("Latin-1 text", range.start + at, expected, "another")
                })?;
                (range.clone(), Some(len))
            }
            other => {
                let found = other.kind();
                return Err(self.wrong("data of a NumPy array", "bytes", found));
            }
        };
        Ok(NdArray {
            at: self.op_at,
            descr: descr.clone(),
            big_endian: *big_endian,
            fortran_order,
            shape,
            bytes,
            latin1_len,
        })
    }

    /// PyTorch's `('storage', class, key, location, elements[, view])`.
    fn persistent(&mut self, id: Id) -> Outcome {
        let expected = "('storage', class, key, location, number of elements)";
        let items = match &self.nodes[id.index()] {
            Node::Tuple(items) => &items[..],
            other => {
                let found = other.kind();
                return Err(self.wrong("persistent id", expected, found));
            }
        };
        let (&[kind, class, key, _, elems], view) = match items {
            [a, b, c, d, e] => (&[*a, *b, *c, *d, *e], None),
            [a, b, c, d, e, view] => (&[*a, *b, *c, *d, *e], Some(*view)),
            _ => {
                let found = format!("a tuple of {}", items.len());
                return Err(self.wrong("persistent id", expected, found));
            }
        };
        if self.text(kind) != Some("storage") {
            return Err(self.wrong("persistent id", expected, "one of another kind"));
        }
        let Node::Global(Global::Storage(dtype)) = self.nodes[class.index()] else {
            let found = self.nodes[class.index()].kind();
            return Err(self.wrong("class of a storage", "a torch storage", found));
        };
        let (Node::Text(key) | Node::ByteText(key)) = &self.nodes[key.index()] else {
            let found = self.nodes[key.index()].kind();
            return Err(self.wrong("key of a storage", "a string", found));
        };
        let Some(elems) = self.int(elems) else {
            let number = "a number that is not negative";
            return Err(self.wrong("elements of a storage", number, "something else"));
        };
        if view.is_some_and(|view| view != NONE) {
            return Err(self.wrong("view of a storage", "None", "a storage inside another"));
        }
        let storage = Storage { at: self.op_at, key: key.clone(), dtype, elems };
        self.push(Node::Storage(Box::new(storage)))
    }
}
