//! Objects that the calls in a pickle of tensors build, one function for each known global and
//! state.

use super::super::error::corrupt;
use super::super::{Dtype, latin1};
use super::machine::{EMPTY_TUPLE, Machine, NONE, Outcome};
use super::{Class, Global, Id, NdArray, Node, Opaque, OtherStorage, Storage, Tensor, globals};
use std::ops::Range;

/// Arguments of any known call.
const MAX_ARGS: usize = 16;
/// Axes of a tensor whose description is kept; more are refused.
const MAX_RANK: usize = 32;
/// Bytes of a storage's key: real ones are small numbers or addresses.
const MAX_KEY_BYTES: usize = 64;

impl Machine<'_> {
    /// APPEND and APPENDS.
    pub(super) fn append(&mut self, items: Vec<Id>) -> Outcome {
        let list = self.top()?;
        match &mut self.nodes[list.index()] {
            Node::List(list) => list.extend(items),
            // Items of a kind of list: neither tensors of a state dict nor facts are among them.
            Node::Opaque(_) => {}
            other => {
                let found = other.kind();
                return Err(self.wrong("target of APPENDS", "a list", found));
            }
        }
        Ok(())
    }

    /// SETITEM and SETITEMS: keys and values by turns.
    pub(super) fn set_items(&mut self, items: Vec<Id>) -> Outcome {
        let dict = self.top()?;
        let (pairs, odd) = items.as_chunks::<2>();
        if !odd.is_empty() {
            return Err(self.wrong("operands of SETITEMS", "pairs", "an odd number"));
        }
        match &mut self.nodes[dict.index()] {
            Node::Dict(dict) => dict.extend(pairs.iter().map(|&[key, value]| (key, value))),
            Node::Opaque(object) => {
                object.pairs.extend(pairs.iter().map(|&[key, value]| (key, value)));
            }
            other => {
                let found = other.kind();
                return Err(self.wrong("target of SETITEMS", "a dict", found));
            }
        }
        Ok(())
    }

    /// GLOBAL and STACK_GLOBAL.
    pub(super) fn global(&mut self, module: Range<usize>, name: Range<usize>) -> Outcome {
        let node = match globals::find(&self.bytes[module.clone()], &self.bytes[name.clone()]) {
            Some(global) => Node::Global(global),
            None => Node::Foreign(Box::new(Class::Foreign(module, name))),
        };
        self.push(node)
    }

    /// An object that is described but not made.
    fn opaque(&self, class: Class, args: Id) -> Node {
        let object = Opaque { at: self.op_at, class, args, pairs: Vec::new(), state: None };
        Node::Opaque(Box::new(object))
    }

    /// OBJ and INST: like REDUCE, with the arguments one by one.
    pub(super) fn instance(&mut self, class: Id, args: Vec<Id>) -> Outcome {
        let args = if args.is_empty() { EMPTY_TUPLE } else { self.add(Node::Tuple(args.into()))? };
        self.reduce(class, args)
    }

    /// The class that a call of something foreign makes an object of; `None` if it is known.
    fn foreign_class(&self, callee: Id, args: &[Id]) -> Option<Class> {
        match &self.nodes[callee.index()] {
            Node::Foreign(class) => {
                // `copyreg._reconstructor(class, ..)` and its like: the class tells more.
                let helper = match &**class {
                    Class::Foreign(module, _) => {
                        matches!(&self.bytes[module.clone()], b"copyreg" | b"copy_reg")
                    }
                    Class::Known(_) => false,
                };
                match args.first().map(|first| &self.nodes[first.index()]) {
                    Some(Node::Foreign(own)) if helper => Some((**own).clone()),
                    _ => Some((**class).clone()),
                }
            }
            // What a call gave is called in turn.
            Node::Opaque(object) => Some(object.class.clone()),
            _ => None,
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
            Node::Tuple(items) if items.len() > MAX_RANK => None,
            Node::List(items) if items.len() > MAX_RANK => None,
            Node::Tuple(items) => items.iter().map(|&item| self.int(item)).collect(),
            Node::List(items) => items.iter().map(|&item| self.int(item)).collect(),
            _ => None,
        }
    }

    /// An object in a message about numbers.
    fn describe(&self, id: Id) -> String {
        let items = match &self.nodes[id.index()] {
            Node::Int(value) => return value.to_string(),
            Node::Tuple(items) => &items[..],
            Node::List(items) => &items[..],
            other => return other.kind().to_owned(),
        };
        match items.iter().find(|&&item| self.int(item).is_none()) {
            _ if items.len() > MAX_RANK => format!("{} of them", items.len()),
            Some(&item) => match self.nodes[item.index()] {
                Node::Int(value) => value.to_string(),
                ref other => other.kind().to_owned(),
            },
            None => "others".to_owned(),
        }
    }

    /// Whether an object is one of the strings `words`.
    fn is_text(&self, id: Id, words: &[&str]) -> bool {
        let node = &self.nodes[id.index()];
        node.text_range().is_some_and(|range| {
            let bytes = &self.bytes[range.clone()];
            words.iter().any(|word| word.as_bytes() == bytes)
        })
    }

    /// A call: that of a known global gives its object, every other an opaque one.
    pub(super) fn reduce(&mut self, callee: Id, args: Id) -> Outcome {
        if let Node::Tuple(items) = &self.nodes[args.index()]
            && let Some(class) = self.foreign_class(callee, items)
        {
            return self.push(self.opaque(class, args));
        }
        let (global, args) = match (&self.nodes[callee.index()], &self.nodes[args.index()]) {
            (Node::Global(global), Node::Tuple(args)) if args.len() > MAX_ARGS => {
                let what = format!("arguments of {}", global.name());
                let found = format!("{} of them", args.len());
                return Err(self.wrong(&what, global.signature(), found));
            }
            (Node::Global(global), Node::Tuple(args)) => (*global, args.clone()),
            (callee, args) => {
                let found = format!("{} and {}", callee.kind(), args.kind());
                return Err(self.wrong("operands of REDUCE", "a global and a tuple", found));
            }
        };
        let node = match (global, &args[..]) {
            (Global::OrderedDict, []) => Node::Dict(Vec::new()),
            (Global::OrderedDict, &[pairs]) => Node::Dict(self.pairs(pairs)?),
            // `tuple(items)`, as Paddle writes `(name, array)`, and `torch.Size(items)`: tuples do
            // not change, so that the new one is the old one. A parameter is its tensor.
            (Global::Tuple, &[items]) if matches!(self.nodes[items.index()], Node::Tuple(_)) => {
                self.stack.push(items);
                return Ok(());
            }
            (Global::RebuildParameter, &[tensor, ..])
                if matches!(self.nodes[tensor.index()], Node::Tensor(_)) =>
            {
                self.stack.push(tensor);
                return Ok(());
            }
            // A set's list is not changed by those who made it.
            (Global::Set, []) => Node::List(Vec::new()),
            (Global::Set, &[items]) if matches!(self.nodes[items.index()], Node::List(_)) => {
                self.stack.push(items);
                return Ok(());
            }
            (Global::RebuildFromType, &[function, _, args, ..]) => {
                // A function of the same kind would let a chain of calls recurse.
                if matches!(self.nodes[function.index()], Node::Global(Global::RebuildFromType)) {
                    let expected = "one that rebuilds a tensor";
                    return Err(self.wrong("function of a tensor", expected, "itself"));
                }
                return self.reduce(function, args);
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
            (Global::Reconstruct, [_, _, _]) => Node::NdArray(None),
            (Global::NumpyDtype, &[descr, ..]) => {
                let (Node::Text(descr) | Node::ByteText(descr)) = &self.nodes[descr.index()] else {
                    let found = self.nodes[descr.index()].kind();
                    return Err(self.wrong("NumPy dtype", "its description as text", found));
                };
                Node::NumpyDtype { descr: descr.clone(), big_endian: false }
            }
            (Global::Encode, &[text, encoding]) => self.encoded(text, encoding)?,
            (Global::Bytes, []) => Node::Bytes(self.pos..self.pos),
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
    fn pairs(&mut self, list: Id) -> Outcome<Vec<(Id, Id)>> {
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
            Some(pairs) => {
                // The list is copied, and one list can be copied by many calls.
                self.charge(pairs.len())?;
                Ok(pairs.into_iter().map(|[key, value]| (key, value)).collect())
            }
            None => {
                let found = self.nodes[list.index()].kind();
                Err(self.wrong("argument of OrderedDict", "a list of pairs", found))
            }
        }
    }

    fn tensor(
        &mut self,
        storage: Id,
        start: Id,
        shape: Id,
        strides: Id,
        dtype: Option<Dtype>,
    ) -> Outcome<Node> {
        // A storage of elements that are not plain numbers.
        if let Node::Opaque(object) = &self.nodes[storage.index()] {
            return Ok(self.opaque(object.class.clone(), EMPTY_TUPLE));
        }
        if !matches!(self.nodes[storage.index()], Node::Storage(_)) {
            let found = self.nodes[storage.index()].kind();
            return Err(self.wrong("first argument of a tensor", "a storage", found));
        }
        let number = "up to 32 numbers that are not negative";
        let Some(start) = self.int(start) else {
            let expected = "a number that is not negative";
            return Err(self.wrong("storage offset of a tensor", expected, self.describe(start)));
        };
        let ints = |what: &str, id| {
            self.ints(id).ok_or_else(|| self.wrong(what, number, self.describe(id)))
        };
        let (shape, strides) =
            (ints("shape of a tensor", shape)?, ints("strides of a tensor", strides)?);
        // One tuple can be the shape of many tensors.
        self.charge(shape.len() + strides.len())?;
        let tensor = Tensor { at: self.op_at, storage, dtype, start, shape, strides };
        Ok(Node::Tensor(Box::new(tensor)))
    }

    /// `_codecs.encode(text, 'latin1')`, which is how protocol 2 writes bytes.
    fn encoded(&mut self, text: Id, encoding: Id) -> Outcome<Node> {
        if !self.is_text(encoding, &["latin1", "latin-1"]) {
            let found = self.nodes[encoding.index()].kind();
            return Err(self.wrong("encoding of _codecs.encode", "\"latin1\"", found));
        }
        let Node::Text(range) = &self.nodes[text.index()] else {
            let found = self.nodes[text.index()].kind();
            return Err(self.wrong("text of _codecs.encode", "a string", found));
        };
        // Counted once, however often a shared string is encoded.
        let range = range.clone();
        let len = match self.decoded.get(&range.start) {
            Some(&len) => len,
            None => {
                let len = latin1::decoded_len(&self.bytes[range.clone()]).map_err(|at| {
                    let expected = "code points below 256";
                    corrupt("Latin-1 text", range.start + at, expected, "another")
                })?;
                self.decoded.insert(range.start, len);
                len
            }
        };
        Ok(Node::EncodedBytes { text: range, len })
    }

    /// BUILD: the state of the object on top of the stack.
    pub(super) fn build(&mut self, state: Id) -> Outcome {
        let target = self.top()?;
        let built = match &self.nodes[target.index()] {
            // An OrderedDict's attributes, such as `_metadata`.
            Node::Dict(_) | Node::Tensor(_) => return Ok(()),
            Node::Opaque(_) => {
                if let Node::Opaque(object) = &mut self.nodes[target.index()] {
                    object.state = Some(state);
                }
                return Ok(());
            }
            Node::NdArray(None) if self.holds_objects(state) => {
                self.opaque(Class::Known(Global::NdArray.name()), EMPTY_TUPLE)
            }
            Node::NdArray(None) => {
                let array = self.array_state(state)?;
                self.charge(array.shape.len())?;
                Node::NdArray(Some(Box::new(array)))
            }
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
            Node::Tuple(items) => items.get(1).copied(),
            _ => None,
        };
        match order {
            Some(order) if self.is_text(order, &["<", "|", "="]) => Ok(false),
            Some(order) if self.is_text(order, &[">"]) => Ok(true),
            _ => Err(self.wrong("byte order of a NumPy dtype", "'<', '|', '=' or '>'", "another")),
        }
    }

    /// Whether the state of a `numpy.ndarray` is that of an array of objects, whose data are a list,
    /// or of elements of a foreign type: no weights.
    fn holds_objects(&self, state: Id) -> bool {
        let Node::Tuple(items) = &self.nodes[state.index()] else { return false };
        let &[_, _, dtype, _, data] = &items[..] else { return false };
        match &self.nodes[dtype.index()] {
            Node::NumpyDtype { descr, .. } => {
                let objects = self.bytes[descr.clone()].starts_with(b"O");
                objects && matches!(self.nodes[data.index()], Node::List(_))
            }
            dtype => matches!(dtype, Node::Opaque(_)),
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
            let expected = "up to 32 numbers that are not negative";
            return Err(self.wrong("shape of a NumPy array", expected, self.describe(shape)));
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
            Node::EncodedBytes { text, len } => (text.clone(), Some(*len)),
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

    /// Keeps the length of a storage whose elements are not plain numbers.
    fn other_storage(&mut self, class: &Class, key: Id, elems: Id) -> Outcome {
        let Class::Foreign(module, name) = class else { return Ok(()) };
        let elem_bytes = match (&self.bytes[module.clone()], &self.bytes[name.clone()]) {
            (b"torch", name) => globals::other_storage_bytes(name),
            _ => None,
        };
        let (Node::Text(key) | Node::ByteText(key)) = &self.nodes[key.index()] else {
            return Ok(());
        };
        if let (Some(elem_bytes), Some(elems)) = (elem_bytes, self.int(elems))
            && key.len() <= MAX_KEY_BYTES
        {
            let storage = OtherStorage { at: self.op_at, key: key.clone(), elems, elem_bytes };
            self.charge(1)?;
            self.others.push(storage);
        }
        Ok(())
    }

    /// PyTorch's `('storage', class, key, location, elements[, view])`, or the legacy container's
    /// `('module', class, file, source)`, which stands for the class.
    pub(super) fn persistent(&mut self, id: Id) -> Outcome {
        let expected = "('storage', class, key, location, number of elements)";
        let items = match &self.nodes[id.index()] {
            Node::Tuple(items) => &items[..],
            other => {
                let found = other.kind();
                return Err(self.wrong("persistent id", expected, found));
            }
        };
        let (&[kind, class, key, _, elems], view) = match items {
            &[kind, class, _, _] if self.is_text(kind, &["module"]) => {
                self.stack.push(class);
                return Ok(());
            }
            [a, b, c, d, e] => (&[*a, *b, *c, *d, *e], None),
            [a, b, c, d, e, view] => (&[*a, *b, *c, *d, *e], Some(*view)),
            _ => {
                let found = format!("a tuple of {}", items.len());
                return Err(self.wrong("persistent id", expected, found));
            }
        };
        if !self.is_text(kind, &["storage"]) {
            return Err(self.wrong("persistent id", expected, "one of another kind"));
        }
        if let Node::Foreign(class) = &self.nodes[class.index()] {
            let class = (**class).clone();
            self.other_storage(&class, key, elems)?;
            return self.push(self.opaque(class, EMPTY_TUPLE));
        }
        let Node::Global(Global::Storage(dtype)) = self.nodes[class.index()] else {
            let found = self.nodes[class.index()].kind();
            return Err(self.wrong("class of a storage", "a torch storage", found));
        };
        let (Node::Text(key) | Node::ByteText(key)) = &self.nodes[key.index()] else {
            let found = self.nodes[key.index()].kind();
            return Err(self.wrong("key of a storage", "a string", found));
        };
        if key.len() > MAX_KEY_BYTES {
            let (expected, found) = (format!("at most {MAX_KEY_BYTES} bytes"), key.len());
            return Err(self.wrong("key of a storage", expected, found.to_string()));
        }
        let Some(elems) = self.int(elems) else {
            let number = "a number that is not negative";
            return Err(self.wrong("elements of a storage", number, self.describe(elems)));
        };
        if view.is_some_and(|view| view != NONE) {
            return Err(self.wrong("view of a storage", "None", "a storage inside another"));
        }
        let storage = Storage { at: self.op_at, key: key.clone(), dtype, elems };
        self.push(Node::Storage(Box::new(storage)))
    }
}
