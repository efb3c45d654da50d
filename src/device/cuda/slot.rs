//! What one run has for itself: its input and outputs, on the device and in pinned memory of the host.
//! With more than one of these, the copies of one run go on beside the launches of another.

use super::driver::call;
use super::error::CudaError;
use super::resources::{Context, DeviceBuffer, Event, Graph, PinnedBuffer, Stream};
use crate::kernels::Geometry;
use crate::launches::{Address, LaunchPlan};
use cudarc::driver::sys::CUfunction;
use std::collections::BTreeMap;
use std::sync::Arc;

/// One launch, bound to addresses.
pub struct Bound {
    pub function: CUfunction,
    pub geometry: Geometry,
    pub params: Vec<u8>,
}

/// The launches of one number of images, on one slot's input and outputs.
pub struct Prepared {
    pub launches: Vec<Bound>,
    /// The launches alone; recorded when they first run beside copies.
    pub kernels: Option<Graph>,
    /// The launches between the copies of input and outputs; recorded when they first run so.
    pub whole: Option<Graph>,
}

pub struct Slot {
    // Dropped from top to bottom: graphs before the memory that they were recorded with.
    pub prepared: BTreeMap<usize, Prepared>,
    pub input: DeviceBuffer,
    pub output: DeviceBuffer,
    pub staged_input: PinnedBuffer,
    staged_logits: PinnedBuffer,
    staged_features: PinnedBuffer,
    pub uploaded: Event,
    pub computed: Event,
    pub downloaded: Event,
    /// Images of the run that it holds.
    pub images: usize,
}

impl Slot {
    pub fn new(context: &Arc<Context>, plan: &LaunchPlan) -> Result<Slot, CudaError> {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let staged =
            |what, elems: usize| PinnedBuffer::new(context, what, elems.saturating_mul(plan.batch));
        Ok(Slot {
            prepared: BTreeMap::new(),
            input: DeviceBuffer::new(context, "the input", bytes(plan.input_bytes))?,
            output: DeviceBuffer::new(context, "the outputs", bytes(plan.output_bytes))?,
            staged_input: staged("the input on the host", plan.input_elems)?,
            staged_logits: staged("the logits on the host", plan.classes)?,
            staged_features: staged("the features on the host", plan.c_head)?,
            uploaded: Event::marker(context)?,
            computed: Event::marker(context)?,
            downloaded: Event::marker(context)?,
            images: 0,
        })
    }

    /// Logits of the run that it holds.
    pub fn logits(&self, plan: &LaunchPlan) -> &[f32] {
        &self.staged_logits.as_slice()[..self.images * plan.classes]
    }

    /// Features of the run that it holds.
    pub fn features(&self, plan: &LaunchPlan) -> &[f32] {
        &self.staged_features.as_slice()[..self.images * plan.c_head]
    }

    pub fn enqueue_upload(
        &self,
        stream: &Stream,
        plan: &LaunchPlan,
        n: usize,
    ) -> Result<(), CudaError> {
        let bytes = n * plan.input_elems * size_of::<f32>();
        let (from, to) = (self.staged_input.pointer(), self.input.address);
        // SAFETY: both hold a whole batch, of which `n` images are a part; whoever uses either next
        // waits for the copy.
        unsafe {
            call!(
                stream.context.driver,
                "uploading the input",
                upload_async(to, from.cast(), bytes, stream.handle)
            )
        }
    }

    pub fn enqueue_download(
        &self,
        stream: &Stream,
        plan: &LaunchPlan,
        n: usize,
    ) -> Result<(), CudaError> {
        let outputs: [(&PinnedBuffer, Address, usize); 2] = [
            (&self.staged_logits, plan.logits, plan.classes),
            (&self.staged_features, plan.features, plan.c_head),
        ];
        for (to, from, elems) in outputs {
            let from = self.output.address + from.offset_bytes;
            let bytes = n * elems * size_of::<f32>();
            // SAFETY: the staging memory holds a whole batch; where the plan says that its outputs
            // are, there are as many bytes; whoever uses either next waits for the copy.
            unsafe {
                call!(
                    stream.context.driver,
                    "downloading the outputs",
                    download_async(to.pointer().cast(), from, bytes, stream.handle)
                )?;
            }
        }
        Ok(())
    }
}
