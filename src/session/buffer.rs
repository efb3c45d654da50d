//! Memory for a run's images that any thread may fill.

use crate::device::InputMut;
use crate::device::cuda::PinnedInput;
use crate::launches::{Input, InputType};
use std::collections::TryReserveError;

/// Memory for the images of one run, `[batch, h, w, 3]` in the session's type, which any thread may
/// fill; see [`Session::input_buffer`](super::Session::input_buffer).
#[derive(Debug)]
pub struct InputBuffer {
    memory: Memory,
    /// Elements of one image.
    image_elems: usize,
}

#[derive(Debug)]
pub(super) enum Memory {
    F32(Vec<f32>),
    U8(Vec<u8>),
    /// From where a GPU reads the images.
    Pinned(PinnedInput),
}

impl InputBuffer {
    /// Zeros, in memory of this process, for so many images.
    pub(crate) fn owned(
        input_type: InputType,
        image_elems: usize,
        images: usize,
    ) -> Result<InputBuffer, TryReserveError> {
        fn zeros<T: Default + Clone>(elems: usize) -> Result<Vec<T>, TryReserveError> {
            let mut memory = Vec::new();
            memory.try_reserve_exact(elems)?;
            memory.resize(elems, T::default());
            Ok(memory)
        }
        let elems = image_elems.saturating_mul(images);
        let memory = match input_type {
            InputType::F32 => Memory::F32(zeros(elems)?),
            InputType::U8 => Memory::U8(zeros(elems)?),
        };
        Ok(InputBuffer { memory, image_elems })
    }

    pub(super) fn pinned(memory: PinnedInput, image_elems: usize) -> InputBuffer {
        InputBuffer { memory: Memory::Pinned(memory), image_elems }
    }

    pub(super) fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    fn elems(&self) -> usize {
        match &self.memory {
            Memory::F32(values) => values.len(),
            Memory::U8(levels) => levels.len(),
            Memory::Pinned(pinned) => pinned.len(),
        }
    }

    /// The most images that there is room for.
    pub fn capacity(&self) -> usize {
        self.elems() / self.image_elems.max(1)
    }

    /// The memory of the first `n` images, `[n, h, w, 3]`.
    ///
    /// # Panics
    ///
    /// If there is room for fewer.
    pub fn images_mut(&mut self, n: usize) -> InputMut<'_> {
        let elems = n * self.image_elems;
        match &mut self.memory {
            Memory::F32(values) => InputMut::F32(&mut values[..elems]),
            Memory::U8(levels) => InputMut::U8(&mut levels[..elems]),
            Memory::Pinned(pinned) => pinned.elems_mut(elems),
        }
    }

    /// The first `n` images, `[n, h, w, 3]`.
    ///
    /// # Panics
    ///
    /// If there is room for fewer.
    pub fn images(&self, n: usize) -> Input<'_> {
        let elems = n * self.image_elems;
        match &self.memory {
            Memory::F32(values) => Input::F32(&values[..elems]),
            Memory::U8(levels) => Input::U8(&levels[..elems]),
            Memory::Pinned(pinned) => pinned.elems(elems),
        }
    }

    /// The memory of each image for itself.
    pub(crate) fn each_mut(&mut self) -> Vec<InputMut<'_>> {
        let elems = self.image_elems.max(1);
        match self.images_mut(self.capacity()) {
            InputMut::F32(values) => values.chunks_exact_mut(elems).map(InputMut::F32).collect(),
            InputMut::U8(levels) => levels.chunks_exact_mut(elems).map(InputMut::U8).collect(),
        }
    }

    /// Moves the images that `keep` names to the front, in their order, and returns their number.
    pub(crate) fn close_gaps(&mut self, keep: &[bool]) -> usize {
        fn close<T: Copy>(values: &mut [T], elems: usize, keep: &[bool]) -> usize {
            let mut next = 0;
            for (image, _) in keep.iter().enumerate().filter(|(_, keep)| **keep) {
                if image != next {
                    let from = image * elems;
                    values.copy_within(from..from + elems, next * elems);
                }
                next += 1;
            }
            next
        }
        let elems = self.image_elems;
        match self.images_mut(keep.len()) {
            InputMut::F32(values) => close(values, elems, keep),
            InputMut::U8(levels) => close(levels, elems, keep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_closed_in_order() {
        for input_type in [InputType::F32, InputType::U8] {
            let mut buffer = InputBuffer::owned(input_type, 2, 5).unwrap();
            for (i, image) in buffer.each_mut().into_iter().enumerate() {
                match image {
                    InputMut::F32(values) => values.fill(i as f32),
                    InputMut::U8(levels) => levels.fill(i as u8),
                }
            }
            assert_eq!(buffer.close_gaps(&[false, true, false, true]), 2);
            let found: Vec<u8> = match buffer.images(3) {
                Input::F32(values) => values.iter().map(|&x| x as u8).collect(),
                Input::U8(levels) => levels.to_vec(),
            };
            assert_eq!((found, buffer.capacity()), (vec![1, 1, 3, 3, 2, 2], 5));
        }
        assert!(InputBuffer::owned(InputType::F32, usize::MAX / 2, 3).is_err());
    }
}
