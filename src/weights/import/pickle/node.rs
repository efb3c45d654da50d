//! The objects that a pickle builds.

use super::{Dtype, Global};
use std::ops::Range;

/// Index of an object in its pickle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in super::super) struct Id(u32);

impl Id {
    pub(super) const fn new(index: u32) -> Id {
        Id(index)
    }

    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// An object. Ranges are offsets in the pickle's bytes.
#[derive(Debug)]
pub(in super::super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    /// Over 64 bits; only the legacy magic number is.
    LongInt,
    Float(f64),
    /// Valid UTF-8.
    Text(Range<usize>),
    Bytes(Range<usize>),
    /// A string of Python 2.
    ByteText(Range<usize>),
    /// `len` bytes in the disguise of Latin-1 text in UTF-8.
    EncodedBytes {
        text: Range<usize>,
        len: usize,
    },
    Tuple(Box<[Id]>),
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    Global(Global),
    /// A global outside the closed list: a name, which is never looked up.
    Foreign(Box<Class>),
    Storage(Box<Storage>),
    Tensor(Box<Tensor>),
    NumpyDtype {
        descr: Range<usize>,
        big_endian: bool,
    },
    /// An array: `None` until BUILD gives it its state.
    NdArray(Option<Box<NdArray>>),
    /// An object of a class that this reader does not make.
    Opaque(Box<Opaque>),
}

/// The name of what an opaque object was to be made by.
#[derive(Clone, Debug)]
pub(in super::super) enum Class {
    /// A global outside the closed list: its module and its name.
    Foreign(Range<usize>, Range<usize>),
    /// A global of the closed list, used in a way that no tensor needs.
    Known(&'static str),
}

/// An object that was described but not made: nothing was called. What it was to be made from can
/// be looked through.
#[derive(Debug)]
pub(in super::super) struct Opaque {
    /// Offset of the opcode that was to make the object.
    pub(in super::super) at: usize,
    pub(in super::super) class: Class,
    /// Arguments of the call: a tuple.
    pub(in super::super) args: Id,
    /// Items, if the object is a kind of dict.
    pub(in super::super) pairs: Vec<(Id, Id)>,
    /// The state that BUILD was to set.
    pub(in super::super) state: Option<Id>,
}

impl Node {
    /// Range of a string's bytes.
    pub(super) fn text_range(&self) -> Option<Range<usize>> {
        match self {
            Node::Text(range) | Node::ByteText(range) => Some(range.clone()),
            _ => None,
        }
    }

    /// Kind of the node, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Node::None => "None",
            Node::Bool(_) => "a bool",
            Node::Int(_) | Node::LongInt => "an integer",
            Node::Float(_) => "a float",
            Node::Text(_) | Node::ByteText(_) => "a string",
            Node::Bytes(_) | Node::EncodedBytes { .. } => "bytes",
            Node::Tuple(_) => "a tuple",
            Node::List(_) => "a list",
            Node::Dict(_) => "a dict",
            Node::Global(_) | Node::Foreign(_) => "a global",
            Node::Storage(_) => "a storage",
            Node::Tensor(_) => "a tensor",
            Node::NumpyDtype { .. } => "a NumPy dtype",
            Node::NdArray(_) => "a NumPy array",
            Node::Opaque(_) => "an opaque object",
        }
    }
}

/// A storage that a PyTorch pickle refers to.
#[derive(Debug)]
pub(in super::super) struct Storage {
    /// Offset of the storage's description.
    pub(in super::super) at: usize,
    /// Name of the storage in the file.
    pub(in super::super) key: Range<usize>,
    pub(in super::super) dtype: Dtype,
    pub(in super::super) elems: usize,
}

/// A storage of elements that are not plain numbers: nothing is read from it, but a container that
/// has storages one after another needs its length.
#[derive(Debug)]
pub(in super::super) struct OtherStorage {
    /// Offset of the storage's description.
    pub(in super::super) at: usize,
    /// Name of the storage in the file.
    pub(in super::super) key: Range<usize>,
    pub(in super::super) elems: usize,
    pub(in super::super) elem_bytes: usize,
}

/// A strided view of a [`Storage`].
#[derive(Debug)]
pub(in super::super) struct Tensor {
    /// Offset of the tensor's description.
    pub(in super::super) at: usize,
    /// The storage: always a [`Node::Storage`].
    pub(in super::super) storage: Id,
    /// Element type, where it differs from the storage's.
    pub(in super::super) dtype: Option<Dtype>,
    /// First element.
    pub(in super::super) start: usize,
    pub(in super::super) shape: Vec<usize>,
    /// Strides in elements.
    pub(in super::super) strides: Vec<usize>,
}

/// A NumPy array with its bytes in the pickle.
#[derive(Debug)]
pub(in super::super) struct NdArray {
    /// Offset of the array's description.
    pub(in super::super) at: usize,
    /// NumPy's letter and width, as in `f4`.
    pub(in super::super) descr: Range<usize>,
    pub(in super::super) big_endian: bool,
    pub(in super::super) fortran_order: bool,
    pub(in super::super) shape: Vec<usize>,
    pub(in super::super) bytes: Range<usize>,
    /// Number of bytes that the range stands for, where it is Latin-1 text in UTF-8.
    pub(in super::super) latin1_len: Option<usize>,
}
