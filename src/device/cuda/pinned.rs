//! Input memory that travels: filled on any thread, and exchanged for a slot's when it is run.

use super::resources::PinnedBuffer;
use super::{CudaDevice, CudaError};
use crate::device::InputMut;
use crate::launches::{Input, InputType};
use std::sync::Arc;

/// Pinned memory for the images of one run, `[batch, h, w, 3]`, beside that which a device lends with
/// [`CudaDevice::input_mut`].
pub struct PinnedInput {
    buffer: PinnedBuffer,
    input_type: InputType,
}

// SAFETY: the memory is the buffer's alone, and may be written on any thread; what gives it back
// makes the context the thread's.
unsafe impl Send for PinnedInput {}

impl PinnedInput {
    /// The memory of the first images, of so many elements together.
    ///
    /// # Panics
    ///
    /// If the memory has fewer.
    pub fn elems_mut(&mut self, elems: usize) -> InputMut<'_> {
        let bytes = &mut self.buffer.bytes_mut()[..elems * self.input_type.elem_bytes()];
        match self.input_type {
            InputType::U8 => InputMut::U8(bytes),
            InputType::F32 => InputMut::F32(bytemuck::cast_slice_mut(bytes)),
        }
    }

    /// What is there of the first images, of so many elements together.
    ///
    /// # Panics
    ///
    /// If the memory has fewer.
    pub fn elems(&self, elems: usize) -> Input<'_> {
        let bytes = &self.buffer.bytes()[..elems * self.input_type.elem_bytes()];
        match self.input_type {
            InputType::U8 => Input::U8(bytes),
            InputType::F32 => Input::F32(bytemuck::cast_slice(bytes)),
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.buffer.bytes().len() / self.input_type.elem_bytes()
    }

    /// Whether there are none, which no device's memory has.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for PinnedInput {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PinnedInput")
            .field("input_type", &self.input_type)
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}

impl CudaDevice {
    /// More memory for a run's images, zeros, for as many as the plan's batch.
    pub fn pinned_input(&self) -> Result<PinnedInput, CudaError> {
        self.context.bind()?;
        let bytes = usize::try_from(self.plan.input_bytes).unwrap_or(usize::MAX);
        let buffer = PinnedBuffer::new(&self.context, "decoded images on the host", bytes)?;
        Ok(PinnedInput { buffer, input_type: self.plan.input_type() })
    }

    /// Begins a run as [`submit`](CudaDevice::submit) does, of the first `n` images of `input`, which
    /// the GPU reads where they are: the device keeps the memory, and `input` is afterwards memory of
    /// an earlier run. Memory of another GPU, or for images of another size, type or number, is
    /// copied instead.
    pub fn submit_pinned(&mut self, input: &mut PinnedInput, n: usize) -> Result<(), CudaError> {
        let elems = n * self.plan.input_elems;
        let is_own = Arc::ptr_eq(input.buffer.context(), &self.context)
            && input.input_type == self.plan.input_type()
            && input.buffer.bytes().len() as u64 == self.plan.input_bytes
            && n <= self.plan.batch;
        if !is_own {
            let (found, expected) = (input.len(), elems);
            if found < expected {
                return Err(CudaError::Input { found, expected });
            }
            return self.submit(input.elems(elems), n);
        }
        let slot = self.free_slot()?;
        self.slots[slot].exchange(&mut input.buffer, n);
        self.submit_staged(n)
    }
}
