//! Writers of every checkpoint container, so that tests can rebuild a public checkpoint from a
//! list of named tensors.
//!
//! The bytes follow those that the real libraries write (`tests/fixtures` holds files of theirs,
//! read by the same tests): protocol-2 pickles for PyTorch, both pickle protocols for Paddle,
//! convolution and classifier weights of the legacy container in TensorFlow's memory order, as in
//! the public Lite checkpoints. Tensors whose name ends in `num_batches_tracked` are 64-bit integer
//! scalars.

#![allow(dead_code)] // every test file uses its own part

use std::fs::File;
use std::io::{BufWriter, Cursor, Seek, Write};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// A zip archive of these entries, in their order.
pub fn zip_archive(entries: &[(&str, &[u8])], method: CompressionMethod) -> Vec<u8> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, bytes) in entries {
        zip.start_file(*name, SimpleFileOptions::default().compression_method(method)).unwrap();
        zip.write_all(bytes).unwrap();
    }
    zip.finish().unwrap().into_inner()
}

/// The containers that [`write_container`] writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerKind {
    /// Hugging Face safetensors.
    Safetensors,
    /// `torch.save` since PyTorch 1.6.
    TorchZip,
    /// `torch.save` before PyTorch 1.6, weights non-contiguous.
    TorchLegacy,
    /// `paddle.save`'s default: array bytes are pickle bytes.
    PaddleProtocol4,
    /// Paddle 2.0's: array bytes are Latin-1 text, UTF-8 encoded.
    PaddleProtocol2,
    /// `numpy.savez`.
    Npz,
}

impl ContainerKind {
    /// Every container.
    pub const ALL: [ContainerKind; 6] = [
        ContainerKind::Safetensors,
        ContainerKind::TorchZip,
        ContainerKind::TorchLegacy,
        ContainerKind::PaddleProtocol4,
        ContainerKind::PaddleProtocol2,
        ContainerKind::Npz,
    ];

    /// The usual file name extension.
    pub fn extension(self) -> &'static str {
        match self {
            ContainerKind::Safetensors => "safetensors",
            ContainerKind::TorchZip | ContainerKind::TorchLegacy => "pth",
            ContainerKind::PaddleProtocol4 | ContainerKind::PaddleProtocol2 => "pdparams",
            ContainerKind::Npz => "npz",
        }
    }
}

/// One tensor of a checkpoint to be written; `data` is row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// The name in the state dict.
    pub name: String,
    /// The logical shape; empty for a scalar.
    pub shape: Vec<usize>,
    /// Row-major elements.
    pub data: Vec<f32>,
}

impl NamedTensor {
    fn is_counter(&self) -> bool {
        self.name.ends_with("num_batches_tracked")
    }

    fn counter(&self) -> i64 {
        self.data[0] as i64
    }

    /// The elements as stored, row-major: f32, or one i64.
    fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        if self.is_counter() {
            self.counter().to_le_bytes().to_vec().into()
        } else {
            bytemuck::cast_slice(&self.data).into()
        }
    }

    fn byte_len(&self) -> usize {
        if self.is_counter() { 8 } else { self.data.len() * 4 }
    }
}

/// Writes `tensors`, in their order where the container has one, to a new file at `path`.
pub fn write_container(path: &Path, kind: ContainerKind, tensors: &[NamedTensor]) {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).unwrap());
    write_container_to(&mut out, kind, tensors);
    out.flush().unwrap();
}

/// The file that [`write_container`] writes, in memory.
pub fn container_bytes(kind: ContainerKind, tensors: &[NamedTensor]) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    write_container_to(&mut out, kind, tensors);
    out.into_inner()
}

fn write_container_to(out: &mut (impl Write + Seek), kind: ContainerKind, tensors: &[NamedTensor]) {
    for tensor in tensors {
        let elems: usize = tensor.shape.iter().product();
        assert_eq!(elems, tensor.data.len(), "{}: shape and data disagree", tensor.name);
    }
    match kind {
        ContainerKind::Safetensors => write_safetensors(out, tensors),
        ContainerKind::TorchZip => write_torch_zip(out, tensors),
        ContainerKind::TorchLegacy => write_torch_legacy(out, tensors),
        ContainerKind::PaddleProtocol4 => write_paddle(out, tensors, 4),
        ContainerKind::PaddleProtocol2 => write_paddle(out, tensors, 2),
        ContainerKind::Npz => write_npz(out, tensors),
    }
}

fn write_safetensors(out: &mut impl Write, tensors: &[NamedTensor]) {
    let mut header = serde_json::Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut offset = 0;
    for tensor in tensors {
        let end = offset + tensor.byte_len();
        let dtype = if tensor.is_counter() { "I64" } else { "F32" };
        let entry = serde_json::json!({
            "dtype": dtype, "shape": tensor.shape, "data_offsets": [offset, end]
        });
        header.insert(tensor.name.clone(), entry);
        offset = end;
    }
    let mut header = serde_json::to_vec(&header).unwrap();
    header.resize(header.len().next_multiple_of(8), b' ');
    out.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    out.write_all(&header).unwrap();
    for tensor in tensors {
        out.write_all(&tensor.bytes()).unwrap();
    }
}

/// Row-major strides, in elements.
fn contiguous(shape: &[usize]) -> Vec<usize> {
    let mut strides = vec![1; shape.len()];
    for axis in (1..shape.len()).rev() {
        strides[axis - 1] = strides[axis] * shape[axis];
    }
    strides
}

/// Strides of a convolution or linear weight kept in TensorFlow's order: `[k, k, in, out]` for a
/// PyTorch shape of `[out, in, k, k]`, `[in, out]` for `[out, in]`.
fn tensorflow_strides(shape: &[usize]) -> Vec<usize> {
    match *shape {
        [out, _] => vec![1, out],
        [out, input, _, k_w] => vec![1, out, k_w * input * out, input * out],
        _ => contiguous(shape),
    }
}

/// `data`, row-major in `shape`, laid out with `strides`.
fn with_strides(data: &[f32], shape: &[usize], strides: &[usize]) -> Vec<f32> {
    let mut stored = vec![0.0; data.len()];
    for (flat, &value) in data.iter().enumerate() {
        let mut rest = flat;
        let mut at = 0;
        for (&extent, &stride) in shape.iter().zip(strides).rev() {
            at += rest % extent * stride;
            rest /= extent;
        }
        stored[at] = value;
    }
    stored
}

/// A pickle written opcode by opcode.
#[derive(Default)]
pub struct Pickle(pub Vec<u8>);

impl Pickle {
    /// Starts a pickle of `protocol`.
    pub fn new(protocol: u8) -> Self {
        Pickle(vec![0x80, protocol])
    }

    /// Appends raw opcodes.
    pub fn op(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// BINUNICODE.
    pub fn text(&mut self, text: &str) -> &mut Self {
        self.op(b"X").op(&(text.len() as u32).to_le_bytes()).op(text.as_bytes())
    }

    /// GLOBAL.
    pub fn global(&mut self, module: &str, name: &str) -> &mut Self {
        self.op(format!("c{module}\n{name}\n").as_bytes())
    }

    /// BININT, or LONG1 where 32 bits do not suffice.
    pub fn int(&mut self, value: i64) -> &mut Self {
        match i32::try_from(value) {
            Ok(value) => self.op(b"J").op(&value.to_le_bytes()),
            Err(_) => self.op(&[0x8a, 8]).op(&value.to_le_bytes()),
        }
    }

    /// MARK, the numbers, TUPLE.
    pub fn tuple(&mut self, values: &[usize]) -> &mut Self {
        self.op(b"(");
        for &value in values {
            self.int(value as i64);
        }
        self.op(b"t")
    }

    /// `torch._utils._rebuild_tensor_v2` of a storage; `legacy` storages carry a sixth item.
    pub fn torch_tensor(&mut self, tensor: &TorchTensor<'_>, legacy: bool) -> &mut Self {
        self.global("torch._utils", "_rebuild_tensor_v2").op(b"((").text("storage");
        self.global("torch", tensor.storage).text(tensor.key).text("cpu").int(tensor.numel as i64);
        if legacy {
            self.op(b"N");
        }
        self.op(b"tQ").int(tensor.offset as i64).tuple(tensor.shape).tuple(tensor.strides);
        self.op(b"\x89").global("collections", "OrderedDict").op(b")RtR")
    }
}

/// The arguments of `_rebuild_tensor_v2`.
pub struct TorchTensor<'a> {
    /// Class of the storage, such as `FloatStorage`.
    pub storage: &'a str,
    /// Name of the storage in the file.
    pub key: &'a str,
    /// Elements in the storage.
    pub numel: usize,
    /// First element of the tensor.
    pub offset: usize,
    /// Logical shape.
    pub shape: &'a [usize],
    /// Strides in elements.
    pub strides: &'a [usize],
}

/// The pickled state dict of `tensors`, storage keys being `key(index)`.
fn torch_state_dict(
    tensors: &[NamedTensor],
    strides: impl Fn(&NamedTensor) -> Vec<usize>,
    key: impl Fn(usize) -> String,
    legacy: bool,
) -> Vec<u8> {
    let mut pickle = Pickle::new(2);
    pickle.global("collections", "OrderedDict").op(b")Rq\x00(");
    for (index, tensor) in tensors.iter().enumerate() {
        pickle.text(&tensor.name);
        let tensor = TorchTensor {
            storage: if tensor.is_counter() { "LongStorage" } else { "FloatStorage" },
            key: &key(index),
            numel: tensor.data.len(),
            offset: 0,
            shape: &tensor.shape,
            strides: &strides(tensor),
        };
        pickle.torch_tensor(&tensor, legacy);
    }
    pickle.op(b"u}").text("_metadata").global("collections", "OrderedDict").op(b")Rsb.");
    pickle.0
}

fn stored() -> SimpleFileOptions {
    SimpleFileOptions::default().compression_method(CompressionMethod::Stored)
}

fn write_torch_zip(out: &mut (impl Write + Seek), tensors: &[NamedTensor]) {
    let mut zip = ZipWriter::new(out);
    let mut entry = |name: &str, bytes: &[u8]| {
        // PyTorch starts every record at a multiple of 64 bytes.
        zip.start_file(format!("archive/{name}"), stored().with_alignment(64)).unwrap();
        zip.write_all(bytes).unwrap();
    };
    let pickle = torch_state_dict(tensors, |t| contiguous(&t.shape), |i| i.to_string(), false);
    entry("data.pkl", &pickle);
    entry("byteorder", b"little");
    for (index, tensor) in tensors.iter().enumerate() {
        entry(&format!("data/{index}"), &tensor.bytes());
    }
    entry("version", b"3\n");
    entry(".data/serialization_id", b"0000000000000000000000000000000000000000");
    zip.finish().unwrap();
}

/// The pickles that stand before a legacy file's state dict.
pub fn torch_legacy_prelude() -> Vec<u8> {
    let mut pickle = Pickle::new(2);
    pickle.op(b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.");
    pickle.op(b"\x80\x02M\xe9\x03.");
    pickle.op(b"\x80\x02}q\x00(").text("protocol_version").op(b"M\xe9\x03");
    pickle.text("little_endian").op(b"\x88").text("type_sizes").op(b"}(");
    pickle.text("short").op(b"K\x02").text("int").op(b"K\x04").text("long").op(b"K\x04uu.");
    pickle.0
}

fn write_torch_legacy(out: &mut impl Write, tensors: &[NamedTensor]) {
    // Keys are addresses in real files; the order on disk is that of the keys as text.
    let key = |index: usize| format!("{}", 94_000_000_000_000 + index * 4096);
    out.write_all(&torch_legacy_prelude()).unwrap();
    out.write_all(&torch_state_dict(tensors, |t| tensorflow_strides(&t.shape), key, true)).unwrap();
    let mut keys = Pickle::new(2);
    keys.op(b"]q\x00(");
    for index in 0..tensors.len() {
        keys.text(&key(index));
    }
    keys.op(b"e.");
    out.write_all(&keys.0).unwrap();
    for tensor in tensors {
        out.write_all(&(tensor.data.len() as i64).to_le_bytes()).unwrap();
        let strides = tensorflow_strides(&tensor.shape);
        if tensor.is_counter() || strides == contiguous(&tensor.shape) {
            out.write_all(&tensor.bytes()).unwrap();
        } else {
            let stored = with_strides(&tensor.data, &tensor.shape, &strides);
            out.write_all(bytemuck::cast_slice(&stored)).unwrap();
        }
    }
}

/// Bytes as Latin-1 text in UTF-8, in pieces of bounded size.
fn write_latin1(out: &mut impl Write, bytes: &[u8]) {
    let mut text = Vec::with_capacity(1 << 17);
    for chunk in bytes.chunks(1 << 16) {
        text.clear();
        for &byte in chunk {
            if byte < 0x80 {
                text.push(byte);
            } else {
                text.extend_from_slice(&[0xc0 | byte >> 6, 0x80 | byte & 0x3f]);
            }
        }
        out.write_all(&text).unwrap();
    }
}

fn write_paddle(out: &mut impl Write, tensors: &[NamedTensor], protocol: u8) {
    out.write_all(&[0x80, protocol, b'}', b'(']).unwrap();
    for tensor in tensors {
        let mut head = Pickle::default();
        head.text(&tensor.name);
        if protocol == 4 {
            head.text("numpy._core.multiarray").text("_reconstruct").op(b"\x93");
            head.text("numpy").text("ndarray").op(b"\x93");
            head.op(b"K\x00\x85C\x01b\x87R");
        } else {
            head.global("numpy.core.multiarray", "_reconstruct").global("numpy", "ndarray");
            head.op(b"K\x00\x85").global("_codecs", "encode").text("b").text("latin1");
            head.op(b"\x86R\x87R");
        }
        head.op(b"(K\x01").tuple(&tensor.shape);
        if protocol == 4 {
            head.text("numpy").text("dtype").op(b"\x93");
        } else {
            head.global("numpy", "dtype");
        }
        head.text(if tensor.is_counter() { "i8" } else { "f4" });
        head.op(b"\x89\x88\x87R(K\x03").text("<").op(b"NNN").int(-1).int(-1).op(b"K\x00tb\x89");
        let bytes = tensor.bytes();
        if protocol == 4 {
            let len = u32::try_from(bytes.len()).expect("a tensor under 4 GiB");
            head.op(b"B").op(&len.to_le_bytes());
            out.write_all(&head.0).unwrap();
            out.write_all(&bytes).unwrap();
        } else {
            let len = bytes.len() + bytes.iter().filter(|&&byte| byte >= 0x80).count();
            let len = u32::try_from(len).expect("a tensor under 4 GiB");
            head.global("_codecs", "encode").op(b"X").op(&len.to_le_bytes());
            out.write_all(&head.0).unwrap();
            write_latin1(out, &bytes);
            let mut tail = Pickle::default();
            tail.text("latin1").op(b"\x86R");
            out.write_all(&tail.0).unwrap();
        }
        out.write_all(b"tb").unwrap();
    }
    let mut tail = Pickle::default();
    tail.text("StructuredToParameterName@@").op(b"}(");
    for (index, tensor) in tensors.iter().enumerate() {
        tail.text(&tensor.name).text(&format!("parameter_{index}"));
    }
    tail.op(b"uu.");
    out.write_all(&tail.0).unwrap();
}

/// A version-1 `.npy` header for a dict literal.
pub fn npy_header(literal: &str) -> Vec<u8> {
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    // Magic, version, length and text together are a multiple of 64 bytes.
    let len = (10 + literal.len() + 1).next_multiple_of(64) - 10;
    header.extend_from_slice(&(len as u16).to_le_bytes());
    header.extend_from_slice(literal.as_bytes());
    header.resize(10 + len - 1, b' ');
    header.push(b'\n');
    header
}

fn write_npz(out: &mut (impl Write + Seek), tensors: &[NamedTensor]) {
    let mut zip = ZipWriter::new(out);
    for tensor in tensors {
        let shape: Vec<String> = tensor.shape.iter().map(usize::to_string).collect();
        let comma = if shape.len() == 1 { "," } else { "" };
        let literal = format!(
            "{{'descr': '{}', 'fortran_order': False, 'shape': ({}{comma}), }}",
            if tensor.is_counter() { "<i8" } else { "<f4" },
            shape.join(", ")
        );
        zip.start_file(format!("{}.npy", tensor.name), stored()).unwrap();
        zip.write_all(&npy_header(&literal)).unwrap();
        zip.write_all(&tensor.bytes()).unwrap();
    }
    zip.finish().unwrap();
}
