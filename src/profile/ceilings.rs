//! What a GPU reaches in simple work, with this crate's own kernels: a copy, a matrix product, a
//! launch with next to nothing to do.
//!
//! The copy is `bn_swish` without any of its parts, which stores what it loads, 16 bytes a thread and
//! row. The product is the pointwise convolution of the precision asked for. So the ceilings are what
//! these kernels could reach at best, not what the maker promises.

use super::run::{CeilingWork, gbps, tflops};
use super::{Ceilings, Method};
use crate::device::cuda::{CudaError, KernelBuffer, KernelRunner, Repeats};
use crate::kernels::params::{BnSwishParams, PointwiseParams};
use crate::kernels::{Compute, Geometry, Launch, LaunchError, bn_swish, pointwise, pointwise_f32};
use crate::launches::KernelId;
use crate::weights::stand_in::Random;
use half::f16;

/// Why a GPU's ceilings could not be measured.
#[derive(Debug, thiserror::Error)]
pub enum CeilingError {
    /// The GPU cannot be used, or failed.
    #[error("measuring the GPU's ceilings: {0}")]
    Cuda(#[from] CudaError),
    /// A kernel does not take the size asked for.
    #[error("measuring the GPU's ceilings: {0}; choose a smaller copy or product")]
    Launch(#[from] LaunchError),
}

/// Channels of the copy: a row is 2 or 4 KiB.
const COPY_CHANNELS: usize = 1024;
/// Launches back to back in each sample of a launch's own time.
const EMPTY_LAUNCHES: usize = 100;
/// Copies back to back in each sample: the host's time to queue the first is then a small part.
const COPIES: usize = 8;
/// Bytes of the pattern that operands are filled with.
const PATTERN_BYTES: usize = 1 << 20;

/// Measures GPU `ordinal` in a precision.
pub fn cuda_ceilings(
    ordinal: usize,
    compute: Compute,
    work: &CeilingWork,
) -> Result<Ceilings, CeilingError> {
    let mut gpu = KernelRunner::new(ordinal)?;
    let CeilingWork { product_side: side, samples, .. } = *work;
    let launch_us = empty_launch(&mut gpu, compute, samples)?;
    let (copied, copy_us) = copy(&mut gpu, compute, work)?;
    let product_us = product(&mut gpu, compute, work)?;
    let kernel = match compute {
        Compute::Fp16 => "f16 factors and f32 sums on tensor cores",
        Compute::Tf32 => "TF32 factors and f32 sums on tensor cores",
        Compute::Fp32 => "f32 without tensor cores",
    };
    Ok(Ceilings {
        copy_gbps: gbps(copied, copy_us),
        product_tflops: tflops(side, product_us),
        launch_us,
        method: Method {
            copy: format!(
                "the bn_swish kernel copying {} MiB, {COPIES} times back to back, bytes read and bytes \
                 written; best of {samples}",
                copied >> 20
            ),
            product: format!(
                "the pointwise kernel, {side} x {side} x {side}, {kernel}; best of {samples}"
            ),
            launch: format!(
                "the bn_swish kernel with one block, {EMPTY_LAUNCHES} launches back to back; best of \
                 {samples}"
            ),
        },
    })
}

/// Best microseconds of a launch.
fn best<P: bytemuck::Pod>(
    gpu: &mut KernelRunner,
    launch: &Launch<P>,
    samples: usize,
    launches: usize,
) -> Result<f64, CudaError> {
    let kernel = KernelId::of(launch.image, launch.kernel);
    // A test holds the launch modules against the catalogue.
    let kernel = kernel.unwrap_or_else(|| unreachable!("{} is catalogued", launch.kernel));
    let geometry: Geometry = launch.geometry;
    let repeats = Repeats { warm_up: 1, samples, launches };
    // SAFETY: the callers' buffers live, and have the sizes that the launch modules made the geometry
    // for. No launch reads what it writes.
    let times = unsafe { gpu.time(kernel, geometry, bytemuck::bytes_of(&launch.params), repeats)? };
    Ok(times.into_iter().map(f64::from).fold(f64::INFINITY, f64::min))
}

fn copy_params(from: &KernelBuffer, to: &KernelBuffer, rows: usize, c: usize) -> BnSwishParams {
    let rows = i32::try_from(rows).unwrap_or(i32::MAX);
    BnSwishParams {
        input: from.address(),
        output: to.address(),
        rows,
        pixels: rows,
        c: c as i32,
        ..BnSwishParams::default()
    }
}

fn empty_launch(
    gpu: &mut KernelRunner,
    compute: Compute,
    samples: usize,
) -> Result<f64, CeilingError> {
    const ELEMS: usize = 8;
    let bytes = ELEMS * compute.storage().elem_bytes();
    let (mut from, to) = (gpu.alloc(bytes)?, gpu.alloc(bytes)?);
    from.fill(0)?;
    let launch = bn_swish::launch(compute.storage(), copy_params(&from, &to, 1, ELEMS))?;
    Ok(best(gpu, &launch, samples, EMPTY_LAUNCHES)?)
}

/// Bytes that were copied, and in how many microseconds.
fn copy(
    gpu: &mut KernelRunner,
    compute: Compute,
    work: &CeilingWork,
) -> Result<(usize, f64), CeilingError> {
    let row_bytes = COPY_CHANNELS * compute.storage().elem_bytes();
    let rows = (work.copy_bytes / row_bytes).max(1);
    let bytes = rows * row_bytes;
    let (mut from, to) = (gpu.alloc(bytes)?, gpu.alloc(bytes)?);
    from.fill(0)?;
    let launch = bn_swish::launch(compute.storage(), copy_params(&from, &to, rows, COPY_CHANNELS))?;
    Ok((bytes, best(gpu, &launch, work.samples, COPIES)?))
}

fn product(
    gpu: &mut KernelRunner,
    compute: Compute,
    work: &CeilingWork,
) -> Result<f64, CeilingError> {
    let side = work.product_side;
    let bytes = side * side * compute.storage().elem_bytes();
    let (mut x, mut w, y) = (gpu.alloc(bytes)?, gpu.alloc(bytes)?, gpu.alloc(bytes)?);
    // Zeros would let the clocks rise above what real numbers allow.
    let pattern = pattern(compute);
    for operand in [&mut x, &mut w] {
        for at in (0..bytes).step_by(pattern.len()) {
            operand.upload(at, &pattern[..pattern.len().min(bytes - at)])?;
        }
    }
    let extent = i32::try_from(side).unwrap_or(i32::MAX);
    let params = PointwiseParams {
        input: x.address(),
        weight: w.address(),
        output: y.address(),
        rows: extent,
        pixels: extent,
        c_in: extent,
        c_out: extent,
        ..PointwiseParams::default()
    };
    let launch = match compute {
        Compute::Fp16 => pointwise::launch(params)?,
        Compute::Fp32 | Compute::Tf32 => pointwise_f32::launch(compute, params)?,
    };
    Ok(best(gpu, &launch, work.samples, 1)?)
}

/// Numbers in [-1, 1).
fn pattern(compute: Compute) -> Vec<u8> {
    let mut random = Random::new(1);
    let values = (0..PATTERN_BYTES / compute.storage().elem_bytes()).map(|_| random.signed());
    match compute {
        Compute::Fp16 => values.flat_map(|value| f16::from_f32(value).to_le_bytes()).collect(),
        Compute::Fp32 | Compute::Tf32 => values.flat_map(f32::to_le_bytes).collect(),
    }
}
