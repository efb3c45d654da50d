//! The closed list of globals.

use super::Dtype;

/// A global that this reader knows. Every other is kept as its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Global {
    OrderedDict,
    /// `tuple`, and `torch.Size`, which is one.
    Tuple,
    /// `set` and `frozenset`: kept as lists.
    Set,
    Bytes,
    /// `_rebuild_tensor` and `_rebuild_tensor_v2`, which differ after the strides.
    RebuildTensor,
    RebuildTensorV3,
    RebuildParameter,
    /// A tensor of a subclass: how to make the tensor, the subclass, and the arguments of the first.
    RebuildFromType,
    Storage(Dtype),
    TorchDtype(Dtype),
    Reconstruct,
    NdArray,
    NumpyDtype,
    Encode,
}

impl Global {
    pub(super) fn name(self) -> &'static str {
        match self {
            Global::OrderedDict => "collections.OrderedDict",
            Global::Tuple => "tuple",
            Global::Bytes => "bytes",
            Global::Set => "set",
            Global::RebuildTensor => "torch._utils._rebuild_tensor_v2",
            Global::RebuildTensorV3 => "torch._utils._rebuild_tensor_v3",
            Global::RebuildParameter => "torch._utils._rebuild_parameter",
            Global::RebuildFromType => "torch._tensor._rebuild_from_type_v2",
            Global::Storage(_) => "a torch storage",
            Global::TorchDtype(_) => "torch.dtype",
            Global::Reconstruct => "numpy's _reconstruct",
            Global::NdArray => "numpy.ndarray",
            Global::NumpyDtype => "numpy.dtype",
            Global::Encode => "_codecs.encode",
        }
    }

    /// The arguments with which pickles of tensors call the global.
    pub(super) fn signature(self) -> &'static str {
        match self {
            Global::OrderedDict => "none, or a list of pairs",
            Global::Tuple => "one sequence",
            Global::Bytes => "none",
            Global::Set => "none, or a list",
            Global::RebuildFromType => "a function, a class, its arguments, ...",
            Global::RebuildTensor => "storage, offset, shape, strides, ...",
            Global::RebuildTensorV3 => "storage, offset, shape, strides, two more, dtype, ...",
            Global::RebuildParameter => "a tensor, ...",
            Global::NumpyDtype => "a description, ...",
            Global::Encode => "a string, \"latin1\"",
            Global::Storage(_) | Global::TorchDtype(_) | Global::Reconstruct | Global::NdArray => {
                "no call"
            }
        }
    }
}

/// The global `module.name`, if it is on the list.
pub(super) fn find(module: &[u8], name: &[u8]) -> Option<Global> {
    Some(match (module, name) {
        (b"collections", b"OrderedDict") => Global::OrderedDict,
        (b"builtins" | b"__builtin__", b"tuple") | (b"torch", b"Size") => Global::Tuple,
        (b"builtins" | b"__builtin__", b"bytes") => Global::Bytes,
        (b"_codecs", b"encode") => Global::Encode,
        (b"builtins" | b"__builtin__", b"set" | b"frozenset") => Global::Set,

        (b"torch._utils", b"_rebuild_tensor" | b"_rebuild_tensor_v2") => Global::RebuildTensor,
        (b"torch._utils", b"_rebuild_tensor_v3") => Global::RebuildTensorV3,
        (b"torch._utils", b"_rebuild_parameter" | b"_rebuild_parameter_with_state") => {
            Global::RebuildParameter
        }
        (b"torch._tensor", b"_rebuild_from_type_v2") => Global::RebuildFromType,
        (b"torch", storage) if storage.ends_with(b"Storage") => Global::Storage(match storage {
            b"HalfStorage" => Dtype::F16,
            b"BFloat16Storage" => Dtype::Bf16,
            b"FloatStorage" => Dtype::F32,
            b"DoubleStorage" => Dtype::F64,
            b"CharStorage" => Dtype::I8,
            b"ShortStorage" => Dtype::I16,
            b"IntStorage" => Dtype::I32,
            b"LongStorage" => Dtype::I64,
            b"ByteStorage" => Dtype::U8,
            b"BoolStorage" => Dtype::Bool,
            _ => return None,
        }),
        // Counts bytes.
        (b"torch.storage", b"UntypedStorage") => Global::Storage(Dtype::U8),
        (b"torch", dtype) => Global::TorchDtype(match dtype {
            b"float16" => Dtype::F16,
            b"bfloat16" => Dtype::Bf16,
            b"float32" => Dtype::F32,
            b"float64" => Dtype::F64,
            b"int8" => Dtype::I8,
            b"int16" => Dtype::I16,
            b"int32" => Dtype::I32,
            b"int64" => Dtype::I64,
            b"uint8" => Dtype::U8,
            b"uint16" => Dtype::U16,
            b"uint32" => Dtype::U32,
            b"uint64" => Dtype::U64,
            b"bool" => Dtype::Bool,
            _ => return None,
        }),

        // NumPy 2 renamed its module.
        (b"numpy.core.multiarray" | b"numpy._core.multiarray", b"_reconstruct") => {
            Global::Reconstruct
        }
        (b"numpy", b"ndarray") => Global::NdArray,
        (b"numpy", b"dtype") => Global::NumpyDtype,
        _ => return None,
    })
}

/// Bytes of an element of the `torch` storages that do not hold plain numbers.
pub(super) fn other_storage_bytes(name: &[u8]) -> Option<usize> {
    Some(match name {
        b"QInt8Storage" | b"QUInt8Storage" => 1,
        b"QInt32Storage" => 4,
        b"ComplexFloatStorage" => 8,
        b"ComplexDoubleStorage" => 16,
        _ => return None,
    })
}
