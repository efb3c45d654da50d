//! The static plan: every step, tensor and buffer of one (network, batch, size, padding).
//!
//! A plan is plain data, computed once. Executors walk [`Plan::steps`] in order, look nothing up by
//! name and format no strings; a run allocates nothing, but for the first run of a number of images
//! on a GPU, which records its launches.
//!
//! A plan says which buffers there are and when they live; each machine places them in memory of its
//! own, by the steps that it joins. [`Step::expand`] names the expand step whose map a machine need
//! not store.

mod build;
mod step;

pub use build::PlanOptions;
pub use step::{Op, PointwiseRole, Step};

use crate::arch::{GeometryError, Network, NetworkGeometry, Padding, Size};
use crate::weights::Precision;

// The limits of `NetworkGeometry` and of the batch keep every product below 2^63 (a test takes the
// largest), which a target with fewer bits would have to check one by one.
const _: () = assert!(usize::BITS >= 64, "sizes are computed in 64 bits");

/// Index of a buffer in [`Plan::buffers`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BufferId(pub u32);

/// A tensor that a step writes and later steps read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// For people: the step that writes it, and what of it, as in `blocks.3.expand`.
    pub name: String,
    /// `[n, h, w, c]`; vectors per image are `[n, 1, 1, c]`.
    pub shape: [usize; 4],
    /// Element type.
    pub precision: Precision,
    /// First step that touches it.
    pub first_step: usize,
    /// Last step that touches it. Outputs stay alive to the end of the plan.
    pub last_step: usize,
}

impl Buffer {
    /// Number of elements.
    pub fn elems(&self) -> usize {
        self.shape.iter().product()
    }

    /// Elements of one image.
    pub fn elems_per_image(&self) -> usize {
        self.shape[1..].iter().product()
    }

    /// Size in bytes.
    pub fn bytes(&self) -> usize {
        self.elems() * self.precision.elem_bytes()
    }
}

/// Everything about a network's execution that is known before the first image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The network.
    pub network: Network,
    /// Its spatial sizes.
    pub geometry: NetworkGeometry,
    /// The padding convention that the sizes follow.
    pub padding: Padding,
    /// Largest number of images in a run.
    pub batch: usize,
    /// Element type of activations.
    pub precision: Precision,
    /// The steps, in order of execution.
    pub steps: Vec<Step>,
    /// Every buffer.
    pub buffers: Vec<Buffer>,
    /// The input tensor, `[n, h, w, 3]`.
    pub input: BufferId,
    /// Pooled features before the classifier, `[n, 1, 1, c_head]`, f32.
    pub features: BufferId,
    /// Logits, `[n, 1, 1, classes]`, f32.
    pub logits: BufferId,
}

impl Plan {
    /// The plan of `network` under `options`.
    pub fn new(network: &Network, options: PlanOptions) -> Result<Plan, PlanError> {
        build::build(network, options)
    }

    /// Whether the plan is as [`Plan::new`] makes it. Machines ask before they trust it: which
    /// buffers share memory follows from the steps that read and write them.
    ///
    /// # Errors
    ///
    /// [`PlanError::Changed`] if it is not; any other if there is no such plan.
    pub fn check(&self) -> Result<(), PlanError> {
        let Plan { batch, padding, precision, .. } = *self;
        let size = self.input_size();
        let made = Plan::new(&self.network, PlanOptions { batch, size, padding, precision })?;
        if *self == made { Ok(()) } else { Err(PlanError::Changed) }
    }

    /// The buffer behind an id.
    pub fn buffer(&self, id: BufferId) -> &Buffer {
        &self.buffers[id.0 as usize]
    }

    /// Whether the step after `step` may compute it: see [`Step::expand`].
    pub fn joins_next(&self, step: usize) -> bool {
        self.steps.get(step + 1).is_some_and(|next| next.expand == Some(step))
    }

    /// Multiply-accumulates of one run at the full batch.
    pub fn macs(&self) -> u64 {
        self.steps.iter().map(|step| step.macs).sum()
    }

    /// Size of the input images.
    pub fn input_size(&self) -> Size {
        self.geometry.input
    }
}

/// Why there is no plan.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    /// The input size, the padding or the network does not work.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// The batch is out of range.
    #[error("batch {found} is not usable: expected 1 to {max}", max = PlanOptions::MAX_BATCH)]
    Batch {
        /// The batch asked for.
        found: usize,
    },
    /// The plan's parts are not those that its network and options give.
    #[error("the plan was changed after it was made: make the plan that is wanted instead")]
    Changed,
}
