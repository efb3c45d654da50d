//! Memory that several threads write at the same time, in disjoint parts.

use memmap2::MmapMut;
use std::io;
use std::marker::PhantomData;
use std::ops::Range;

/// Zeroed memory for f32 values, aligned to pages; pages that nothing touches cost nothing.
pub(super) struct Floats(MmapMut);

impl Floats {
    /// `elems` zeros.
    pub(super) fn zeroed(elems: usize) -> io::Result<Floats> {
        let bytes = elems.checked_mul(size_of::<f32>()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Floats(MmapMut::map_anon(bytes)?))
    }

    /// The elements.
    pub(super) fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&self.0)
    }

    /// A view that threads can share.
    pub(super) fn shared(&mut self) -> Shared<'_> {
        Shared::new(bytemuck::cast_slice_mut(&mut self.0))
    }
}

/// A slice that several threads read and write. The plan's buffers and the tasks' shares of them
/// are disjoint, which types cannot say: every access names its range, checks it, and is unsafe.
#[derive(Clone, Copy)]
pub(super) struct Shared<'a> {
    start: *mut f32,
    elems: usize,
    memory: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `Shared` is a pointer and a length; whoever makes slices of it vouches for them.
unsafe impl Send for Shared<'_> {}
// SAFETY: as above.
unsafe impl Sync for Shared<'_> {}

impl<'a> Shared<'a> {
    /// Shares a slice.
    pub(super) fn new(slice: &'a mut [f32]) -> Shared<'a> {
        Shared { start: slice.as_mut_ptr(), elems: slice.len(), memory: PhantomData }
    }

    /// Shares a slice that nobody writes.
    pub(super) fn read_only(slice: &'a [f32]) -> Shared<'a> {
        Shared { start: slice.as_ptr().cast_mut(), elems: slice.len(), memory: PhantomData }
    }

    /// A part.
    pub(super) fn part(self, range: Range<usize>) -> Shared<'a> {
        assert!(range.start <= range.end && range.end <= self.elems);
        // SAFETY: within the memory, as just checked.
        let start = unsafe { self.start.add(range.start) };
        Shared { start, elems: range.len(), memory: PhantomData }
    }

    /// # Safety
    ///
    /// Nobody may write any of it while the slice lives.
    pub(super) unsafe fn read(self) -> &'a [f32] {
        // SAFETY: `start` and `elems` describe a live slice; the caller excludes writers.
        unsafe { std::slice::from_raw_parts(self.start, self.elems) }
    }

    /// # Safety
    ///
    /// The slice must not come from [`Shared::read_only`], and nobody else may read or write any of
    /// it while it lives.
    pub(super) unsafe fn write(self) -> &'a mut [f32] {
        // SAFETY: `start` and `elems` describe a live slice; the caller excludes everyone else.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.elems) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_floats_as_asked_for_or_none() {
        for elems in [0, 1, 5000] {
            let mut floats = Floats::zeroed(elems).unwrap();
            assert_eq!(floats.as_slice(), vec![0.0; elems]);
            // SAFETY: nobody else has it.
            assert_eq!(unsafe { floats.shared().write() }.len(), elems);
        }
        // The bytes of these are 0, 4 and too many.
        for elems in [1 << (usize::BITS - 2), (1 << (usize::BITS - 2)) + 1, usize::MAX] {
            assert!(Floats::zeroed(elems).is_err(), "{elems}");
        }
    }
}
