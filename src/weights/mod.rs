//! Weights: from public checkpoints to packed files, and from packed files to typed views.

mod family;
pub mod import;
mod layout;
mod metadata;
mod store;

pub use family::{Family, UnknownFamily};
pub use layout::{Layer, PackedTensor, Precision, TensorId, TensorKind, packed_tensors};
pub use metadata::{Labels, Metadata, Source};
pub use store::{StoreError, Weights, write_packed};
