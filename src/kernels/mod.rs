//! The CUDA kernels: their compiled images, and one launch module for each `.cu` file.
//!
//! A launch is plain data: which kernel, grid, block, dynamic shared memory, and one parameter
//! struct by value ([`params`]). The launch modules check the arguments and compute the geometry;
//! running a launch is left to a device.
//!
//! `build.rs` compiles `kernels/*.cu` where it finds nvcc. Without one the host is complete all the
//! same, and [`built`] names the missing part.

pub mod bn_swish;
mod compute;
mod cuda_version;
pub mod depthwise;
pub mod expand_depthwise;
pub mod head;
mod launch;
#[cfg(feature = "emulator")]
mod machine_code;
pub mod occupancy;
mod packed;
pub mod params;
pub mod pointwise;
pub mod pointwise_f32;
pub mod preprocess;
mod ptx_versions;
pub mod squeeze;
pub mod squeeze_excite;
pub mod stem;
mod tiling;

pub use compute::Compute;
pub use cuda_version::CudaVersion;
pub use launch::{Geometry, Launch, LaunchError};
use packed::Packed;
pub use packed::UnpackError;
pub use tiling::{PointwiseShape, Tiling};

macro_rules! kernel_files {
    ($($file:ident),+ $(,)?) => {
        /// Number of kernel files.
        const FILES: usize = [$($file::IMAGE),+].len();

        /// Every kernel file with its kernels, in the order of the files' names.
        pub const CATALOGUE: [(&str, &[&str]); FILES] = [$(($file::IMAGE, &$file::ENTRIES)),+];

        /// Fewest blocks that a multiprocessor holds at once, of each of [`CATALOGUE`]'s files.
        pub const RESIDENT_BLOCKS: [u32; FILES] = [$($file::RESIDENT_BLOCKS),+];
    };
}

kernel_files! {
    bn_swish,
    depthwise,
    expand_depthwise,
    head,
    pointwise,
    pointwise_f32,
    preprocess,
    squeeze_excite,
    stem,
}

/// A compiled kernel file.
#[derive(Clone, Copy, Debug)]
pub struct KernelImage {
    /// Stem of the `.cu` file, as in `depthwise`.
    pub name: &'static str,
    /// Machine code of each target of [`Built::archs`], in their order.
    machine_code: &'static [(u32, Packed)],
    ptx: Packed,
    /// Listings of the machine code, of each target of [`Built::listed`].
    #[cfg_attr(not(feature = "emulator"), expect(dead_code, reason = "the emulator's users ask"))]
    listings: &'static [(u32, Packed)],
    /// Names of the file's kernels, in the order of the PTX.
    pub entries: &'static [&'static str],
    /// Resources of each kernel for each target, as ptxas reported them.
    pub resources: &'static [Resources],
}

impl KernelImage {
    /// The machine code of a target of [`Built::archs`], an ELF file as nvcc wrote it; an error for
    /// any other target. Unpacked anew by each call.
    pub fn machine_code(&self, arch: u32) -> Result<Vec<u8>, UnpackError> {
        match self.machine_code.iter().find(|(of, _)| *of == arch) {
            Some((_, packed)) => packed.unpack(self.name),
            None => Err(UnpackError::new(self.name, format_args!("no code for sm_{arch}"))),
        }
    }

    /// The PTX, of the target [`Built::ptx_arch`] and with line information. Unpacked anew by each
    /// call.
    pub fn ptx(&self) -> Result<String, UnpackError> {
        let ptx = self.ptx.unpack(self.name)?;
        String::from_utf8(ptx).map_err(|e| UnpackError::new(self.name, e))
    }
}

/// Resources of a kernel on one target, as ptxas reports them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Resources {
    /// Compute capability as in 80 for 8.0.
    pub arch: u32,
    /// The kernel's symbol.
    pub entry: &'static str,
    /// Registers of a thread.
    pub registers: u32,
    /// Static shared memory of a block.
    pub shared_bytes: u32,
    /// Stack frame of a thread; none where every local variable is in a register.
    pub stack_bytes: u32,
    /// Bytes written because registers did not suffice.
    pub spill_store_bytes: u32,
    /// Bytes read back from the stack.
    pub spill_load_bytes: u32,
}

/// Everything that a build with nvcc embeds.
#[derive(Clone, Copy, Debug)]
pub struct Built {
    /// nvcc's release, in its own words.
    pub nvcc: &'static str,
    /// Targets of the machine code: compute capabilities as in 80 for 8.0, ascending.
    pub archs: &'static [u32],
    /// The CUDA whose ptxas made the machine code of each target, in the order of the targets.
    pub ptxas: &'static [CudaVersion],
    /// Targets of which there are listings of the machine code, in the same form; or why there are
    /// none.
    pub listed: Result<&'static [u32], &'static str>,
    /// The target of the PTX, in the same form.
    pub ptx_arch: u32,
    /// The version of PTX that a reader of the PTX has to know: major, then minor.
    pub ptx_version: (u32, u32),
    /// Compiled kernel files, one for each `.cu` file, in the order of their names.
    pub images: &'static [KernelImage],
}

impl Built {
    /// The oldest driver that runs the machine code of a target of `archs`; none for other targets.
    pub fn driver_for(&self, arch: u32) -> Option<CudaVersion> {
        let at = self.archs.iter().position(|built| *built == arch)?;
        self.ptxas.get(at).map(|ptxas| ptxas.oldest_driver())
    }

    /// The oldest driver that reads the PTX.
    pub fn driver_for_ptx(&self) -> CudaVersion {
        CudaVersion::that_reads_ptx(self.ptx_version)
    }
}

/// Targets of systems on a chip. Their machine code and that of cards do not run on each other.
const ON_A_CHIP: [u32; 5] = [72, 87, 88, 101, 110];

/// Whether a GPU runs machine code of a target: where both are of one generation, of a target that is
/// not newer than the GPU.
pub fn runs_machine_code(gpu: u32, target: u32) -> bool {
    let is_exact = ON_A_CHIP.contains(&gpu) || ON_A_CHIP.contains(&target);
    gpu == target || (!is_exact && gpu / 10 == target / 10 && target < gpu)
}

/// Why this build has no kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("built without GPU kernels: {missing}; {to_do}")]
pub struct NotBuilt {
    /// The part that the build did not find.
    pub missing: &'static str,
    /// The next step to take.
    pub to_do: &'static str,
}

include!(concat!(env!("OUT_DIR"), "/kernel_images.rs"));

/// The compiled kernels, or the reason why there are none.
pub fn built() -> Result<Built, NotBuilt> {
    BUILT
}

/// The compiled kernel files; empty where this was built without nvcc, see [`built`].
pub fn images() -> &'static [KernelImage] {
    match &BUILT {
        Ok(built) => built.images,
        Err(_) => &[],
    }
}
