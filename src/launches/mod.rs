//! The plan as launches: which kernels run, in order, with which parameters, for one path and precision.
//!
//! Plain data. Addresses are symbolic, a [`Region`] and an offset; a device binds them to where it
//! put the regions, once, and then runs the launches without looking at anything by name.
//!
//! In reading order: `address` (regions, symbolic addresses), `buffer`, `input` (types of images),
//! `prepare` (what an op needs
//! to become a launch), `ops/` (a file for each op: its fields, what it reads and writes, its
//! launch), `node` (an op, with its name and its steps), `layerwise` and `fused` (from a plan's steps
//! to nodes), `build` (buffers placed by liveness), `record` (a node for `n` images: checked, with
//! its parameters as bytes).

mod address;
mod buffer;
mod build;
mod fused;
mod input;
mod layerwise;
pub(crate) mod node;
pub(crate) mod ops;
mod prepare;
mod record;
#[cfg(test)]
mod tests;
mod touched;

pub use address::{Address, Bases, Region};
pub(crate) use buffer::Buf;
pub use buffer::LaunchBuffer;
pub use input::{Input, InputType, InputTypeError, LaunchInput};
pub use prepare::KernelId;
pub use record::LaunchRecord;
pub use touched::Touched;

use crate::arch::Network;
use crate::kernels::{Compute, LaunchError};
use crate::plan::{Plan, PlanError};
use crate::weights::{Precision, TensorId, Weights};
use half::f16;
use node::Node;
use std::borrow::Cow;
use std::fmt;

/// Which kernels a network runs through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Path {
    /// A kernel per layer: convolution, batch-norm + activation, pooling, gate and skip are passes
    /// of their own.
    Layerwise,
    /// Batch-norm, activation, squeeze, gate, skip and pooling within the convolutions; in FP16 the
    /// whole of squeeze-excite, too, and expand and depthwise in one kernel: two launches a block.
    /// In FP32 expand and depthwise are one where traffic and recomputation say that it pays; TF32
    /// keeps them apart.
    #[default]
    Fused,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Path::Layerwise => "layerwise",
            Path::Fused => "fused",
        })
    }
}

/// Where buffers lie in the arena.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Placement {
    /// Buffers that do not live at the same time share bytes.
    #[default]
    Shared,
    /// Every buffer by itself, with a gap to the next: to see what a launch leaves, and what it
    /// touches beyond its tensors.
    Apart,
}

/// What the host gets of a run. Every output is computed all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Download {
    /// Logits and features, and the best classes where they are asked for.
    #[default]
    All,
    /// The best classes alone.
    TopK,
}

/// What launches are made for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LaunchOptions {
    /// Which kernels.
    pub path: Path,
    /// In which precision.
    pub compute: Compute,
    /// Where buffers lie.
    pub placement: Placement,
    /// What the elements of the input are.
    pub input: LaunchInput,
    /// Best classes of each image that a last launch finds on the device; none where 0.
    pub top_k: usize,
    /// What the host gets of a run.
    pub download: Download,
}

impl LaunchOptions {
    /// A path in a precision, buffers shared, input in f32, without top-k.
    pub fn new(path: Path, compute: Compute) -> LaunchOptions {
        LaunchOptions {
            path,
            compute,
            placement: Placement::Shared,
            input: LaunchInput::F32,
            top_k: 0,
            download: Download::All,
        }
    }
}

/// Why there are no launches for a plan.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum LaunchPlanError {
    /// The plan is not as [`Plan::new`] made it.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// A kernel does not take a step's shape.
    #[error("{name}: {source}")]
    Launch {
        /// The launch, as in `blocks.3.project`.
        name: String,
        /// What the kernel does not take.
        source: LaunchError,
    },
    /// A number of images that the plan has no room for.
    #[error("{found} images do not fit the plan: expected 1 to {batch}")]
    Images {
        /// The plan's batch.
        batch: usize,
        /// The number asked for.
        found: usize,
    },
    /// Plan and weights are of different networks.
    #[error(
        "the launch plan is for {plan} and the weights are of {weights}: make the plan from the \
         weights' network"
    )]
    Network {
        /// The plan's network.
        plan: String,
        /// The weights' network.
        weights: String,
    },
    /// A tensor that does not have the bytes that the plan keeps for it.
    #[error(
        "tensor {tensor} has {found} bytes, expected {expected} that end within the {region_bytes} \
         bytes of all weights"
    )]
    Tensor {
        /// The tensor, by [`TensorId`].
        tensor: u32,
        /// The bytes kept for it.
        expected: u64,
        /// Its own.
        found: u64,
        /// Size of [`Region::Weights`].
        region_bytes: u64,
    },
    /// A region that symbolic addresses do not reach the end of.
    #[error(
        "{region:?} has {bytes} bytes, expected at most {max}: run a smaller batch or size",
        max = 1u64 << Address::OFFSET_BITS
    )]
    Region {
        /// The region.
        region: Region,
        /// Its size.
        bytes: u64,
    },
    /// More best classes than there are classes.
    #[error("the {found} best classes of {classes}: expected at most as many as there are")]
    TopK {
        /// The number asked for.
        found: usize,
        /// The network's.
        classes: usize,
    },
    /// A run of which the host would get nothing.
    #[error("only the best classes are for the host, and none is asked for: expected top_k >= 1")]
    NoTopK,
}

/// The best classes of each image, after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TopK {
    /// Classes of each image.
    pub k: usize,
    /// `[n, k]`, i32.
    pub classes: Address,
    /// `[n, k]`, f32.
    pub logits: Address,
    /// `[n, k]`, f32.
    pub probabilities: Address,
}

/// Everything about running a plan on kernels that is known before the first image.
///
/// A device trusts it: kernels are not held to the regions that their launches were made for. So
/// nobody outside changes a launch plan that [`LaunchPlan::new`] has checked.
#[derive(Clone, Debug)]
pub struct LaunchPlan {
    /// Which kernels, in which precision.
    pub(crate) options: LaunchOptions,
    /// The network whose weights the launches read.
    network: Network,
    /// Largest number of images in a run.
    pub(crate) batch: usize,
    /// Every buffer of the arena and of the outputs.
    pub(crate) buffers: Vec<LaunchBuffer>,
    /// Offset of each tensor of the packed file in [`Region::Weights`], by [`TensorId`].
    pub(crate) weight_offsets: Vec<u64>,
    /// Elements of each tensor, by [`TensorId`].
    weight_elems: Vec<usize>,
    /// Type of each tensor on the device, by [`TensorId`].
    weight_precisions: Vec<Precision>,
    /// Size of [`Region::Weights`].
    pub(crate) weights_bytes: u64,
    /// Size of [`Region::Arena`].
    pub(crate) arena_bytes: u64,
    /// Size of [`Region::Input`]: `[batch, h, w, 3]`.
    pub(crate) input_bytes: u64,
    /// Size of [`Region::Output`].
    pub(crate) output_bytes: u64,
    /// Size of [`Region::Counters`].
    pub(crate) counters_bytes: u64,
    /// Logits after a run, `[n, classes]`, f32.
    pub(crate) logits: Address,
    /// Features after a run, `[n, c_head]`, f32.
    pub(crate) features: Address,
    /// Where the best classes are, if they were asked for.
    pub(crate) top_k: Option<TopK>,
    /// Elements of one image's logits.
    pub(crate) classes: usize,
    /// Elements of one image's features.
    pub(crate) c_head: usize,
    /// Elements of one image's input.
    pub(crate) input_elems: usize,
    nodes: Vec<Node>,
}

impl LaunchPlan {
    /// Alignment of every tensor and buffer.
    pub const ALIGN_BYTES: usize = 256;

    /// Inputs and outputs that a GPU holds: one run's are copied while another's are worked on.
    pub const SLOTS: usize = 2;

    /// The launches of `plan`'s steps. Of the plan only the network, the sizes and the batch count:
    /// types follow [`LaunchOptions::compute`].
    pub fn new(plan: &Plan, options: LaunchOptions) -> Result<LaunchPlan, LaunchPlanError> {
        build::build(plan, options)
    }

    /// The launches of a run with `n` images, `1 <= n <= batch`.
    pub fn launches(&self, n: usize) -> Result<Vec<LaunchRecord>, LaunchPlanError> {
        if !(1..=self.batch).contains(&n) {
            return Err(LaunchPlanError::Images { batch: self.batch, found: n });
        }
        self.nodes().iter().map(|node| record::record(self, node, n)).collect()
    }

    /// Which kernels, in which precision.
    pub fn options(&self) -> LaunchOptions {
        self.options
    }

    /// Largest number of images in a run.
    pub fn batch(&self) -> usize {
        self.batch
    }

    /// Every buffer of the arena and of the outputs.
    pub fn buffers(&self) -> &[LaunchBuffer] {
        &self.buffers
    }

    /// Offset of each tensor of the packed file in [`Region::Weights`], by [`TensorId`].
    pub fn weight_offsets(&self) -> &[u64] {
        &self.weight_offsets
    }

    /// Size of [`Region::Weights`].
    pub fn weights_bytes(&self) -> u64 {
        self.weights_bytes
    }

    /// Size of [`Region::Arena`].
    pub fn arena_bytes(&self) -> u64 {
        self.arena_bytes
    }

    /// Size of [`Region::Input`]: `[batch, h, w, 3]` in [`LaunchPlan::input_type`].
    pub fn input_bytes(&self) -> u64 {
        self.input_bytes
    }

    /// Type of the elements of [`Region::Input`].
    pub fn input_type(&self) -> InputType {
        self.options.input.input_type()
    }

    /// Size of [`Region::Output`].
    pub fn output_bytes(&self) -> u64 {
        self.output_bytes
    }

    /// Size of [`Region::Counters`].
    pub fn counters_bytes(&self) -> u64 {
        self.counters_bytes
    }

    /// Logits after a run, `[n, classes]`, f32.
    pub fn logits(&self) -> Address {
        self.logits
    }

    /// Features after a run, `[n, c_head]`, f32.
    pub fn features(&self) -> Address {
        self.features
    }

    /// Where the best classes are, if they were asked for.
    pub fn top_k(&self) -> Option<TopK> {
        self.top_k
    }

    /// Elements of one image's logits.
    pub fn classes(&self) -> usize {
        self.classes
    }

    /// Elements of one image's features.
    pub fn c_head(&self) -> usize {
        self.c_head
    }

    /// Elements of one image's input.
    pub fn input_elems(&self) -> usize {
        self.input_elems
    }

    /// Number of launches, whatever the number of images.
    pub fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Whether there are none, which no plan has.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Bytes of device memory that all regions take, with [`LaunchPlan::SLOTS`] of inputs and outputs.
    pub fn device_bytes(&self) -> u64 {
        let slots = LaunchPlan::SLOTS as u64;
        let copied = self.input_bytes + self.output_bytes;
        self.weights_bytes + self.arena_bytes + slots * copied + self.counters_bytes
    }

    /// Whether the launches are of these weights' network: only then has each tensor the size that
    /// the plan keeps for it.
    ///
    /// # Errors
    ///
    /// [`LaunchPlanError::Network`] if they are not.
    pub fn check_weights(&self, weights: &Weights) -> Result<(), LaunchPlanError> {
        if self.network == *weights.network() {
            return Ok(());
        }
        let (plan, weights) = (self.network.to_string(), weights.network().to_string());
        Err(LaunchPlanError::Network { plan, weights })
    }

    /// A tensor as it goes to the device: as it is mapped where the types agree, else converted.
    /// Rounding to f16 is to nearest, ties to even.
    pub fn tensor_bytes<'a>(&self, weights: &'a Weights, id: TensorId) -> Cow<'a, [u8]> {
        match self.weight_precisions[id.0 as usize] {
            Precision::Fp16 => match weights.f32(id) {
                Some(values) => {
                    let halves: Vec<f16> = values.iter().map(|&x| f16::from_f32(x)).collect();
                    Cow::Owned(bytemuck::cast_slice(&halves).to_vec())
                }
                None => Cow::Borrowed(weights.bytes(id)),
            },
            Precision::Fp32 => match weights.f16(id) {
                Some(halves) => {
                    let values: Vec<f32> = halves.iter().map(|x| x.to_f32()).collect();
                    Cow::Owned(bytemuck::cast_slice(&values).to_vec())
                }
                None => Cow::Borrowed(weights.bytes(id)),
            },
        }
    }

    /// Offset in [`Region::Weights`] for the upload of a tensor's `bytes`, which leave neither their
    /// place nor the region.
    pub(crate) fn place(&self, id: TensorId, bytes: &[u8]) -> Result<u64, LaunchPlanError> {
        let (offset, expected) = (self.weight_offsets[id.0 as usize], self.weight_bytes(id));
        let (found, region_bytes) = (bytes.len() as u64, self.weights_bytes);
        match offset.checked_add(found) {
            Some(end) if end <= region_bytes && found == expected => Ok(offset),
            _ => Err(LaunchPlanError::Tensor { tensor: id.0, expected, found, region_bytes }),
        }
    }

    /// What is launched, in order, whatever the number of images: the launches of
    /// [`LaunchPlan::launches`] before they have addresses.
    pub(crate) fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The buffer that an op names.
    pub(crate) fn buffer(&self, Buf(i): Buf) -> &LaunchBuffer {
        &self.buffers[i]
    }

    fn weight_bytes(&self, id: TensorId) -> u64 {
        let i = id.0 as usize;
        (self.weight_elems[i] * self.weight_precisions[i].elem_bytes()) as u64
    }
}
