//! What one run has for itself: its input and outputs, on the device and in pinned memory of the host.
//! With more than one of these, the copies of one run go on beside the launches of another.

use super::driver::call;
use super::error::CudaError;
use super::resources::{Context, DeviceBuffer, Event, Graph, PinnedBuffer, Stream};
use crate::device::InputMut;
use crate::kernels::Geometry;
use crate::launches::{Address, Download, LaunchPlan};
use bytemuck::AnyBitPattern;
use cudarc::driver::sys::CUfunction;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// Outputs with no more than this between them are copied together. A copy of its own takes a few
/// microseconds whatever its size (predicted), in which PCIe of any present GPU moves as much.
const COPIED_BESIDE_BYTES: usize = 64 * 1024;

/// One launch, bound to addresses.
pub struct Bound {
    /// The launch, as in `blocks.3.project`.
    pub name: String,
    pub function: CUfunction,
    pub geometry: Geometry,
    pub params: Vec<u8>,
}

/// The launches of one number of images, on one slot's input and outputs.
pub struct Prepared {
    pub launches: Vec<Bound>,
    /// Parts of the outputs that the host gets, each in a copy.
    pub downloads: Vec<Range<usize>>,
    /// The launches alone; recorded when they first run beside copies.
    pub kernels: Option<Graph>,
    /// The launches between the copies of input and outputs; recorded when they first run so.
    pub whole: Option<Graph>,
}

/// What a graph holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recorded {
    /// [`Prepared::kernels`].
    Kernels,
    /// [`Prepared::whole`].
    Whole,
}

impl Recorded {
    pub fn of(self, prepared: &Prepared) -> Option<&Graph> {
        match self {
            Recorded::Kernels => prepared.kernels.as_ref(),
            Recorded::Whole => prepared.whole.as_ref(),
        }
    }

    pub fn of_mut(self, prepared: &mut Prepared) -> &mut Option<Graph> {
        match self {
            Recorded::Kernels => &mut prepared.kernels,
            Recorded::Whole => &mut prepared.whole,
        }
    }
}

pub struct Slot {
    // Dropped from top to bottom: graphs before the memory that they were recorded with.
    pub prepared: BTreeMap<usize, Prepared>,
    pub input: DeviceBuffer,
    pub output: DeviceBuffer,
    staged_input: PinnedBuffer,
    /// Laid out as the outputs on the device.
    staged_output: PinnedBuffer,
    pub uploaded: Event,
    pub computed: Event,
    pub downloaded: Event,
    /// Whether a run from device memory may still use the input, until `computed` has come; on the
    /// stream of the launches every other run follows it.
    pub on_device: bool,
    /// Images whose memory has been lent since the last run began.
    pub staged: usize,
    /// Images of the run that it holds.
    pub images: usize,
}

impl Slot {
    pub fn new(context: &Arc<Context>, plan: &LaunchPlan) -> Result<Slot, CudaError> {
        let bytes = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let (input, output) = (bytes(plan.input_bytes), bytes(plan.output_bytes));
        Ok(Slot {
            prepared: BTreeMap::new(),
            input: DeviceBuffer::new(context, "the input", input)?,
            output: DeviceBuffer::new(context, "the outputs", output)?,
            staged_input: PinnedBuffer::new(context, "the input on the host", input)?,
            staged_output: PinnedBuffer::new(context, "the outputs on the host", output)?,
            uploaded: Event::marker(context)?,
            computed: Event::marker(context)?,
            downloaded: Event::marker(context)?,
            on_device: false,
            staged: 0,
            images: 0,
        })
    }

    /// Staging memory of the input of `n` images, from where the device reads it.
    pub fn input_mut(&mut self, plan: &LaunchPlan, n: usize) -> InputMut<'_> {
        let bytes = &mut self.staged_input.bytes_mut()[..input_bytes(plan, n)];
        match bytes.len() == n * plan.input_elems {
            true => InputMut::U8(bytes),
            false => InputMut::F32(bytemuck::cast_slice_mut(bytes)),
        }
    }

    /// Takes memory with the input of `n` images, and leaves its own, which no copy uses any more:
    /// nothing runs on the slot. A graph with the copy of the input has the address of the memory
    /// that was there.
    pub fn exchange(&mut self, input: &mut PinnedBuffer, n: usize) {
        std::mem::swap(&mut self.staged_input, input);
        self.prepared.values_mut().for_each(|prepared| prepared.whole = None);
        self.staged = n;
    }

    /// An output of the run that it holds, with so many elements for each image; empty where the
    /// host does not get it.
    pub fn output<T: AnyBitPattern>(&self, at: Address, image_elems: usize) -> &[T] {
        let start = at.offset_bytes as usize;
        let end = start + self.images * image_elems * size_of::<T>();
        let downloads = self.prepared.get(&self.images).map(|prepared| &prepared.downloads);
        let copied = |part: &Range<usize>| part.start <= start && end <= part.end;
        match downloads.is_some_and(|downloads| downloads.iter().any(copied)) {
            true => bytemuck::cast_slice(&self.staged_output.bytes()[start..end]),
            false => &[],
        }
    }

    pub fn enqueue_upload(
        &self,
        stream: &Stream,
        plan: &LaunchPlan,
        n: usize,
    ) -> Result<(), CudaError> {
        let bytes = input_bytes(plan, n);
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

    pub fn enqueue_download(&self, stream: &Stream, prepared: &Prepared) -> Result<(), CudaError> {
        for part in &prepared.downloads {
            let from = self.output.address + part.start as u64;
            // SAFETY: the part lies within the outputs, and so within the staging memory of the same
            // size; whoever uses either next waits for the copy.
            unsafe {
                let to = self.staged_output.pointer().add(part.start);
                call!(
                    stream.context.driver,
                    "downloading the outputs",
                    download_async(to.cast(), from, part.len(), stream.handle)
                )?;
            }
        }
        Ok(())
    }
}

/// Bytes of `n` images, of at most the batch.
fn input_bytes(plan: &LaunchPlan, n: usize) -> usize {
    plan.input_bytes as usize / plan.batch * n
}

/// The parts of the outputs of `n` images that the host gets, those that lie close together as one.
pub fn downloads(plan: &LaunchPlan, n: usize) -> Vec<Range<usize>> {
    let (features, logits) = ((plan.features, plan.c_head), (plan.logits, plan.classes));
    let top_k =
        plan.top_k.map(|top| [top.classes, top.logits, top.probabilities].map(|at| (at, top.k)));
    let all = [features, logits].into_iter().filter(|_| plan.options.download == Download::All);
    let part = |(at, elems): (Address, usize)| {
        let start = at.offset_bytes as usize;
        start..start + n * elems * size_of::<f32>()
    };
    let mut parts: Vec<_> = all.chain(top_k.into_iter().flatten()).map(part).collect();
    parts.sort_by_key(|part| part.start);
    together(parts, COPIED_BESIDE_BYTES)
}

/// Parts, in their order, with those that have at most `gap` bytes between them as one.
fn together(parts: Vec<Range<usize>>, gap: usize) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    for part in parts {
        match found.last_mut() {
            Some(last) if part.start <= last.end.saturating_add(gap) => {
                last.end = last.end.max(part.end);
            }
            _ => found.push(part),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Network, Padding, Size, Variant};
    use crate::kernels::Compute;
    use crate::launches::{LaunchOptions, Path};
    use crate::plan::{Plan, PlanOptions};
    use crate::weights::Precision;

    fn plan(batch: usize, top_k: usize, download: Download) -> LaunchPlan {
        let options = PlanOptions {
            batch,
            size: Size::square(32),
            padding: Padding::SameDynamic,
            precision: Precision::Fp16,
        };
        let plan = Plan::new(&Network::new(Variant::B0, 1000), options).unwrap();
        let options = LaunchOptions::new(Path::Fused, Compute::Fp16);
        LaunchPlan::new(&plan, LaunchOptions { top_k, download, ..options }).unwrap()
    }

    /// Start and end of each copy.
    fn copies(plan: &LaunchPlan, n: usize) -> Vec<[usize; 2]> {
        downloads(plan, n).iter().map(|part| [part.start, part.end]).collect()
    }

    /// B0 has 1280 features and 1000 classes; each output begins at a multiple of 256 bytes.
    #[test]
    fn outputs_come_back_in_one_copy() {
        for batch in [1, 8, 128] {
            let all = plan(batch, 0, Download::All);
            let bytes = batch * 4 * (1280 + 1000);
            assert_eq!(copies(&all, batch), [[0, bytes]], "{batch}");
            let part = (batch * 20usize).next_multiple_of(256);
            let start = bytes.next_multiple_of(256);
            let end = start + 2 * part + batch * 20;
            assert_eq!(copies(&plan(batch, 5, Download::TopK), batch), [[start, end]], "{batch}");
            assert_eq!(copies(&plan(batch, 5, Download::All), batch), [[0, end]], "{batch}");
        }
    }

    /// One image of 128: the logits lie 655,360 bytes after the features.
    #[test]
    fn a_gap_that_costs_more_than_a_copy_is_left_out() {
        let all = plan(128, 0, Download::All);
        assert_eq!(copies(&all, 1), [[0, 5120], [655_360, 659_360]]);
        assert_eq!(copies(&all, 115).len(), 2, "13 times 5120 bytes between");
        assert_eq!(copies(&all, 116), [[0, 655_360 + 116 * 4000]], "12 times 5120 bytes");
        assert_eq!(together(vec![0..4, 8..12, 17..18], 4), [0..12, 17..18]);
    }
}
