//! What an op needs to become a launch, and what it becomes.

use super::{Address, Buf, LaunchBuffer, Region};
use crate::kernels::params::Params;
use crate::kernels::{CATALOGUE, Compute, Geometry, Launch, LaunchError};
use crate::weights::{Precision, TensorId};

/// A kernel as indices into [`CATALOGUE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KernelId {
    /// Index of the image.
    pub image: usize,
    /// Index of the kernel within the image.
    pub entry: usize,
}

impl KernelId {
    /// The kernel file's stem.
    pub fn image_name(self) -> &'static str {
        CATALOGUE[self.image].0
    }

    /// The kernel's symbol.
    pub fn symbol(self) -> &'static str {
        CATALOGUE[self.image].1[self.entry]
    }

    /// By the kernel file's stem and the symbol.
    pub fn of(image: &str, kernel: &str) -> Option<KernelId> {
        let index = CATALOGUE.iter().position(|(name, _)| *name == image)?;
        let entry = CATALOGUE[index].1.iter().position(|name| *name == kernel)?;
        Some(KernelId { image: index, entry })
    }
}

/// A launch without the type of its parameters.
#[derive(Debug)]
pub(crate) struct UntypedLaunch {
    /// The kernel.
    pub kernel: KernelId,
    /// Grid, block, dynamic shared memory.
    pub geometry: Geometry,
    /// The parameter struct, its addresses symbolic.
    pub params: Vec<u8>,
    /// Offsets of the addresses within `params`.
    pub addresses: &'static [usize],
}

impl UntypedLaunch {
    /// What a kernel's launch module returned; its refusal stays what it is.
    pub fn new<P: Params>(
        launch: Result<Launch<P>, LaunchError>,
    ) -> Result<UntypedLaunch, LaunchError> {
        let launch = launch?;
        let kernel = KernelId::of(launch.image, launch.kernel);
        Ok(UntypedLaunch {
            // A test holds the launch modules against the catalogue.
            kernel: kernel.unwrap_or_else(|| unreachable!("{} is catalogued", launch.kernel)),
            geometry: launch.geometry,
            params: bytemuck::bytes_of(&launch.params).to_vec(),
            addresses: P::ADDRESSES,
        })
    }
}

/// The run that ops are prepared for: where buffers and tensors are, in which precision, and for
/// which number of images.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    /// In which precision the kernels compute.
    pub compute: Compute,
    /// Number of images.
    pub n: usize,
    /// The launch plan's buffers.
    pub buffers: &'a [LaunchBuffer],
    /// Offset of each tensor in [`Region::Weights`], by [`TensorId`].
    pub weight_offsets: &'a [u64],
}

/// An extent as kernels take it. Launch modules check extents, and refuse this one as too large.
pub(crate) fn int(x: usize) -> i32 {
    i32::try_from(x).unwrap_or(i32::MAX)
}

impl Context<'_> {
    /// Type of activations and of weights.
    pub fn storage(&self) -> Precision {
        self.compute.storage()
    }

    /// The number of images as kernels take it.
    pub fn images(&self) -> i32 {
        int(self.n)
    }

    /// The start of a region.
    pub fn region(&self, region: Region) -> u64 {
        Address { region, offset_bytes: 0 }.symbolic()
    }

    /// A buffer's address.
    pub fn buffer(&self, Buf(i): Buf) -> u64 {
        self.buffers[i].address().symbolic()
    }

    /// A buffer's address; null where there is none.
    pub fn optional(&self, buf: Option<Buf>) -> u64 {
        buf.map_or(0, |buf| self.buffer(buf))
    }

    /// A tensor's address.
    pub fn weight(&self, id: TensorId) -> u64 {
        let offset_bytes = self.weight_offsets[id.0 as usize];
        Address { region: Region::Weights, offset_bytes }.symbolic()
    }

    /// Addresses of scale and shift; null where there is no batch-norm.
    pub fn bn(&self, bn: Option<[TensorId; 2]>) -> [u64; 2] {
        bn.map_or([0, 0], |ids| ids.map(|id| self.weight(id)))
    }
}
