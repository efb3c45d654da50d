//! The weights on their way to a GPU.
//!
//! They go up in one copy, of a buffer laid out as the GPU's: the packed file has its tensors side
//! by side in the order of their names, and kernels want each of them aligned, so that the file's
//! own bytes are never the GPU's.

use super::driver::call;
use super::{CudaDevice, CudaError};
use crate::launches::LaunchPlan;
use crate::memory;
use crate::weights::{TensorId, Weights};

impl CudaDevice {
    /// Uploads every tensor, in the plan's precision. Where this process cannot have memory for all
    /// of them at once they go up one by one.
    pub(super) fn upload_weights(&self, weights: &Weights) -> Result<(), CudaError> {
        if let Some(all) = laid_out(&self.plan, weights)? {
            return self.upload(0, &all);
        }
        for id in ids(&self.plan) {
            let bytes = self.plan.tensor_bytes(weights, id);
            self.upload(self.plan.place(id, &bytes)?, &bytes)?;
        }
        Ok(())
    }

    /// Copies to a place within the weights, where there is one for so many bytes; the bytes may
    /// change when this returns.
    fn upload(&self, offset_bytes: u64, bytes: &[u8]) -> Result<(), CudaError> {
        let len_bytes = self.plan.weights_bytes;
        if offset_bytes.checked_add(bytes.len() as u64).is_none_or(|end| end > len_bytes) {
            let (offset_bytes, len_bytes) = (offset_bytes as usize, len_bytes as usize);
            return Err(CudaError::Range { offset_bytes, bytes: bytes.len(), len_bytes });
        }
        let at = self.regions.weights.address + offset_bytes;
        // SAFETY: the bytes are readable, and their place lies within the region that was
        // allocated.
        unsafe {
            call!(
                self.context.driver,
                "uploading the weights",
                upload(at, bytes.as_ptr().cast(), bytes.len())
            )
        }
    }
}

fn ids(plan: &LaunchPlan) -> impl Iterator<Item = TensorId> {
    (0..plan.weight_offsets.len()).map(|tensor| TensorId(tensor as u32))
}

/// The region of the weights as the GPU has it; none where there is no memory for it.
fn laid_out(plan: &LaunchPlan, weights: &Weights) -> Result<Option<Vec<u8>>, CudaError> {
    let mut all = Vec::new();
    let bytes = usize::try_from(plan.weights_bytes).unwrap_or(usize::MAX);
    let allowed = memory::require(|| "the weights on their way to the GPU".into(), bytes as u64);
    if allowed.is_err() || all.try_reserve_exact(bytes).is_err() {
        return Ok(None);
    }
    for id in ids(plan) {
        let tensor = plan.tensor_bytes(weights, id);
        // Tensors lie in the order of their numbers; what is between them is zeros.
        all.resize(plan.place(id, &tensor)? as usize, 0);
        all.extend_from_slice(&tensor);
    }
    all.resize(bytes, 0);
    Ok(Some(all))
}
