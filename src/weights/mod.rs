//! Weights: from public checkpoints to packed files, and from packed files to typed views.

mod layout;

pub use layout::{Layer, PackedTensor, Precision, TensorId, TensorKind, packed_tensors};
