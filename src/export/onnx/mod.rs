//! The network as an ONNX file, weights included.
//!
//! [`write()`] makes the file from packed weights. Reading order: [`OnnxOptions`] (the choices),
//! `network` (steps become nodes), `tensors` (weights in ONNX's layouts and types), `graph` (nodes
//! and types, collected), [`proto`] (the messages of the file).
//!
//! | | name | shape | type |
//! |---|---|---|---|
//! | input | `input` | `[N, 3, h, w]` | f32, an image normalised by the recipe |
//! | output, if there is a classifier | `logits` | `[N, classes]` | f32 |
//! | output, if asked for or the only one | `features` | `[N, c_head]` | f32 |
//!
//! The recipe, and where the weights come from, are in the file's metadata, under `effnet.*`.
//!
//! # Types
//!
//! The file is strongly typed: each tensor has the type in which it is to be computed, and no
//! runtime has to choose. An FP16 file has f16 maps and weights. Its input and outputs are f32,
//! with a `Cast` beside each. [`OnnxOptions::reductions`] is the type of the operations that add up
//! many numbers: the squeeze, the pool and the classifier. f32 asks the runtime for sums as this
//! project's own kernels make them, f16 leaves the type of the sums to it.
//!
//! # Batch-norm
//!
//! [`BatchNorm::Folded`] multiplies each convolution's weights by their channel's scale, in f64,
//! rounded once, and makes the shift a bias, as a runtime would do by itself.
//! [`BatchNorm::Separate`] writes a `BatchNormalization` with mean 0, variance 1 and epsilon 0,
//! which is the scale and the shift and nothing else. In FP16 that rounds the scale too, and a
//! runtime that folds it into the weights rounds a third time. The node's tensors have the type of
//! the maps: f32 ones beside f16 maps are valid, but TensorRT takes a strongly typed batch-norm of
//! mixed types apart into six element-wise layers.
//!
//! The zero-variance channels of the Lite checkpoints, for which this project's kernels keep scale
//! and shift in f32, are no reason against folding in a file that has no f32 scale either way:
//! folded, fewer of their weights become 0 in f16 than not folded.

mod graph;
mod network;
pub mod proto;
mod tensors;

use crate::arch::{Padding, Size};
use crate::files::{OutputError, OutputFile};
use crate::plan::{Plan, PlanError, PlanOptions};
use crate::weights::{Metadata, Precision, StoreError, Weights};
use prost::Message;
use proto::{ModelProto, OperatorSetIdProto, StringStringEntryProto};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

/// Version of the operators, unless asked otherwise.
pub const OPSET: i64 = 17;
/// The versions of the operators that a file can be written for: the nodes that are written mean
/// the same in each. `Clip` has taken its bounds as inputs since 11, and `Cast` and `Gemm` have had
/// their present types since 13.
pub const OPSETS: RangeInclusive<i64> = 13..=21;
/// A protocol buffer's largest size: 2 GiB less one byte.
const MAX_BYTES: u64 = i32::MAX as u64;

/// Version of the file format that an opset came with: the least that its readers know.
fn ir_version(opset: i64) -> i64 {
    match opset {
        ..=14 => 7,
        15..=18 => 8,
        19..=20 => 9,
        _ => 10,
    }
}

/// The number of images in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Batch {
    /// A fixed number of images: 1 to [`PlanOptions::MAX_BATCH`].
    Static(usize),
    /// Any number, which the caller chooses in each run. The side is called `N`.
    Dynamic,
}

/// Form of the batch-norms in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchNorm {
    /// Each batch-norm is part of the convolution's weights and bias.
    Folded,
    /// Each batch-norm is a node of its own, after a convolution without bias.
    Separate,
}

/// Options of an ONNX file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OnnxOptions {
    /// Type of maps and weights.
    pub precision: Precision,
    /// Number of images.
    pub batch: Batch,
    /// Size of the input images; the recipe's where none is given.
    pub size: Option<Size>,
    /// Form of the batch-norms in the file.
    pub batch_norm: BatchNorm,
    /// Type of squeeze, pool and classifier; an FP32 file has only f32.
    pub reductions: Precision,
    /// Whether the pooled features are an output too. Without a classifier they are the only one,
    /// whatever this says.
    pub features: bool,
    /// Version of the operators: one of [`OPSETS`].
    pub opset: i64,
}

impl OnnxOptions {
    /// Names of the outputs of the file made from `weights`, in their order.
    pub fn outputs(&self, weights: &Weights) -> &'static [&'static str] {
        match (weights.metadata().classes, self.features) {
            (0, _) => &[network::FEATURES],
            (_, false) => &[network::LOGITS],
            (_, true) => &[network::LOGITS, network::FEATURES],
        }
    }

    /// A file of `precision` for one image of the recipe's size, with folded batch-norms, f32
    /// reductions, logits as its only output, and opset [`OPSET`].
    pub fn new(precision: Precision) -> OnnxOptions {
        OnnxOptions {
            precision,
            batch: Batch::Static(1),
            size: None,
            batch_norm: BatchNorm::Folded,
            reductions: Precision::Fp32,
            features: false,
            opset: OPSET,
        }
    }
}

/// Facts about a file that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// The file.
    pub path: PathBuf,
    /// Size of the file.
    pub bytes: u64,
    /// Number of operations.
    pub nodes: usize,
    /// Number of constant tensors.
    pub initializers: usize,
    /// The input images' size.
    pub size: Size,
}

/// Why there is no ONNX file.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    /// The file of the weights has changed while it was read.
    #[error(transparent)]
    Weights(#[from] StoreError),
    /// Batch or size do not work.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// Types that contradict each other.
    #[error(
        "reductions of type fp16 in an FP32 file: expected fp32, which is the only type there; \
         leave it out, or export fp16"
    )]
    Reductions,
    /// Operators of a version that no file is written for.
    #[error(
        "opset {found}: expected {first} to {last}; TensorRT 8.0 reads 13, 8.6 reads 17",
        first = OPSETS.start(), last = OPSETS.end()
    )]
    Opset {
        /// The version asked for.
        found: i64,
    },
    /// A number that the file's type does not have.
    #[error(
        "{tensor}: element {index} is {value}, which is no finite number in {precision}: {advice}",
        advice = match precision {
            Precision::Fp16 => "export fp32",
            Precision::Fp32 => "import the checkpoint again, and look for infinities in it",
        }
    )]
    Value {
        /// The tensor.
        tensor: String,
        /// Index of the element in the tensor.
        index: usize,
        /// The element, before it was rounded.
        value: f64,
        /// The type that it was rounded to.
        precision: Precision,
    },
    /// More than a protocol buffer can hold.
    #[error(
        "the file would have {bytes} bytes: expected at most {max}, which is the most that ONNX \
         allows in one file; export fp16, or weights with fewer classes",
        max = MAX_BYTES
    )]
    TooLarge {
        /// The size that the file would have.
        bytes: u64,
    },
    /// The file would replace the weights that it is made from.
    #[error("{path}: these are the packed weights to export; give another file with -o", path = path.display())]
    SameFile {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// The network of `weights` as an ONNX model.
///
/// Equal arguments give equal models.
pub fn model(weights: &Weights, options: &OnnxOptions) -> Result<ModelProto, OnnxError> {
    if (options.precision, options.reductions) == (Precision::Fp32, Precision::Fp16) {
        return Err(OnnxError::Reductions);
    }
    if !OPSETS.contains(&options.opset) {
        return Err(OnnxError::Opset { found: options.opset });
    }
    let metadata = weights.metadata();
    let size = options.size.unwrap_or(metadata.recipe.size);
    let plan_options = PlanOptions {
        batch: match options.batch {
            Batch::Static(batch) => batch,
            Batch::Dynamic => 1,
        },
        size,
        padding: metadata.padding,
        precision: options.precision,
    };
    let plan = Plan::new(weights.network(), plan_options)?;
    // Before anything is copied: a classifier may have a million classes.
    let elems: u64 = weights.tensors().iter().map(|tensor| tensor.elems() as u64).sum();
    check_bytes(elems * options.precision.elem_bytes() as u64)?;
    weights.check()?;
    let graph = network::build(&plan, weights, options)?.finish();
    // A file that shrank meanwhile has zeros up to the end of its last page.
    weights.check()?;
    let model = ModelProto {
        ir_version: Some(ir_version(options.opset)),
        producer_name: Some(env!("CARGO_PKG_NAME").to_owned()),
        producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
        doc_string: None,
        graph: Some(graph),
        opset_import: vec![OperatorSetIdProto {
            domain: Some(String::new()),
            version: Some(options.opset),
        }],
        metadata_props: properties(metadata, size),
    };
    check_bytes(model.encoded_len() as u64)?;
    Ok(model)
}

fn check_bytes(bytes: u64) -> Result<(), OnnxError> {
    if bytes > MAX_BYTES { Err(OnnxError::TooLarge { bytes }) } else { Ok(()) }
}

/// The network of `weights` as the bytes of an ONNX file.
///
/// Equal arguments give equal bytes.
pub fn model_bytes(weights: &Weights, options: &OnnxOptions) -> Result<Vec<u8>, OnnxError> {
    Ok(model(weights, options)?.encode_to_vec())
}

/// Writes the network of `weights` as an ONNX file, as [`OutputFile`] does.
pub fn write(path: &Path, weights: &Weights, options: &OnnxOptions) -> Result<Written, OnnxError> {
    if let (Ok(source), Ok(target)) = (weights.path().canonicalize(), path.canonicalize())
        && source == target
    {
        return Err(OnnxError::SameFile { path: target });
    }
    let file = OutputFile::new(path)?;
    let (bytes, written) = encoded(path, weights, options)?;
    file.write(&bytes)?;
    Ok(written)
}

/// The bytes of an ONNX file, and the facts about the file at `path` that they would make.
///
/// Equal arguments give equal bytes.
pub fn encoded(
    path: &Path,
    weights: &Weights,
    options: &OnnxOptions,
) -> Result<(Vec<u8>, Written), OnnxError> {
    let model = model(weights, options)?;
    let bytes = model.encode_to_vec();
    let graph = model.graph.unwrap_or_default();
    let written = Written {
        path: path.to_owned(),
        bytes: bytes.len() as u64,
        nodes: graph.node.len(),
        initializers: graph.initializer.len(),
        size: options.size.unwrap_or(weights.metadata().recipe.size),
    };
    Ok((bytes, written))
}

/// Properties that the file carries about itself, for people and programs.
fn properties(metadata: &Metadata, size: Size) -> Vec<StringStringEntryProto> {
    let recipe = metadata.recipe.with_size(size);
    let rgb = |values: [f32; 3]| values.map(|x| x.to_string()).join(",");
    let json = serde_json::to_string(&recipe).expect("a recipe has only plain fields");
    let interpolation = serde_json::to_value(recipe.interpolation);
    let interpolation = interpolation.expect("an interpolation is a plain name");
    [
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
        ("name", metadata.name.clone()),
        ("variant", metadata.variant.to_string()),
        ("family", metadata.family.to_string()),
        ("activation", metadata.activation().to_string()),
        ("padding", padding(metadata.padding)),
        ("bn_eps", metadata.bn_eps.to_string()),
        ("size", size.to_string()),
        ("mean", rgb(recipe.mean)),
        ("std", rgb(recipe.std)),
        ("interpolation", interpolation.as_str().unwrap_or_default().to_owned()),
        ("recipe", json),
        ("source", metadata.source.file_name.clone()),
        ("source_sha256", metadata.source.sha256.clone()),
    ]
    .into_iter()
    .map(|(key, value)| StringStringEntryProto {
        key: Some(format!("effnet.{key}")),
        value: Some(value),
    })
    .collect()
}

/// A padding convention in the words of the command line.
fn padding(padding: Padding) -> String {
    match padding {
        Padding::Symmetric => "symmetric".to_owned(),
        Padding::SameDynamic => "same".to_owned(),
        Padding::SameFrozen(size) => format!("same-frozen:{size}"),
        Padding::SameCropped(size) => format!("same-cropped:{size}"),
    }
}
