//! The buffers of global memory, and the host's access to them.

use super::bytes_of_word;
use super::chunks::{CHUNK_BYTES, Chunks, Kept};
use super::shadow::{AccessKind, AccessPlace};
use bytemuck::Pod;
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;

/// Every buffer begins in a window of addresses of its own, so that an address tells its buffer.
const WINDOW_BITS: u32 = 32;
/// Global memory begins here: what lies below, null too, belongs to no buffer.
pub(crate) const FIRST_ADDRESS: u64 = 1 << 40;
/// A buffer's address within its window: a multiple of 256 and of no more.
const INSET: u64 = 256;
/// Between the end of a buffer and the next window.
const GAP: u64 = 4096;

/// A buffer in global memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    name: String,
    address: u64,
    len_bytes: usize,
}

impl Buffer {
    /// The name that reports use.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What a kernel is given as its pointer.
    pub fn address(&self) -> u64 {
        self.address
    }

    /// Its size.
    pub fn len_bytes(&self) -> usize {
        self.len_bytes
    }
}

pub(super) struct Allocation {
    pub buffer: Buffer,
    pub chunks: Chunks,
    /// Whether a kernel's write is a fault.
    pub read_only: bool,
}

impl Allocation {
    pub fn place<'a>(
        &'a self,
        kind: AccessKind,
        lane: usize,
        width: u32,
        offset: u64,
    ) -> AccessPlace<'a> {
        let Buffer { name, address, .. } = &self.buffer;
        AccessPlace { kind, lane: lane as u32, width, address: address + offset, name, offset }
    }
}

/// Values of global memory, and which bytes have been written, at one time.
pub(crate) struct Snapshot(Vec<Option<Kept>>);

/// Global memory of the emulated device.
#[derive(Default)]
pub struct Memory {
    pub(super) allocations: Vec<Allocation>,
    /// The allocation of each window.
    windows: Vec<u32>,
    /// Binary logarithm of a cell's bytes, in the launches whose accesses are recorded.
    pub(super) granule_shift: u32,
    /// Addresses of modules' variables, by the number of the module.
    module_variables: HashMap<u64, Vec<u64>>,
    /// What cooperative groups keeps a grid's barrier in.
    workspace: Option<Buffer>,
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.allocations.iter().map(|a| &a.buffer)).finish()
    }
}

impl Memory {
    /// Memory without a buffer.
    pub fn new() -> Memory {
        Memory { granule_shift: 2, ..Memory::default() }
    }

    /// A buffer of zeros. It takes memory only where something is written to it: until then, a
    /// quarter of a thousandth of its size.
    pub fn zeroed(&mut self, name: &str, bytes: usize) -> Buffer {
        self.allocate(name, bytes, true)
    }

    /// A buffer that nothing has written yet: reading it before that is a fault.
    pub fn uninitialised(&mut self, name: &str, bytes: usize) -> Buffer {
        self.allocate(name, bytes, false)
    }

    /// A buffer that holds `values`.
    pub fn upload<T: Pod>(&mut self, name: &str, values: &[T]) -> Buffer {
        let buffer = self.allocate(name, size_of_val(values), true);
        self.write(&buffer, 0, values);
        buffer
    }

    fn allocate(&mut self, name: &str, bytes: usize, is_written: bool) -> Buffer {
        let window = self.windows.len() as u64;
        let address = FIRST_ADDRESS + (window << WINDOW_BITS) + INSET;
        let buffer = Buffer { name: name.to_owned(), address, len_bytes: bytes };
        let chunks = Chunks::new(bytes, is_written);
        let allocation = Allocation { buffer: buffer.clone(), chunks, read_only: false };
        let spans = (INSET + bytes as u64 + GAP).div_ceil(1 << WINDOW_BITS);
        let index = self.allocations.len() as u32;
        self.windows.extend((0..spans).map(|_| index));
        self.allocations.push(allocation);
        buffer
    }

    /// From now on a kernel's write to the buffer is a fault, as one out of bounds. The host still
    /// may write.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory.
    pub fn protect(&mut self, buffer: &Buffer) {
        let found = self.find(buffer.address).filter(|&i| self.allocations[i].buffer == *buffer);
        let index = found.expect("a buffer is used with the memory that made it");
        self.allocations[index].read_only = true;
    }

    /// Whether the address lies in a buffer that no kernel writes.
    pub(crate) fn is_protected(&self, address: u64) -> bool {
        self.find(address).is_some_and(|index| self.allocations[index].read_only)
    }

    fn allocation(&self, buffer: &Buffer) -> &Allocation {
        let found = self.find(buffer.address).map(|index| &self.allocations[index]);
        let found = found.filter(|allocation| allocation.buffer == *buffer);
        found.expect("a buffer is used with the memory that made it")
    }

    /// The buffer's values; bytes that nothing has written are zeros, and so is a last value that
    /// the buffer ends within.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory.
    pub fn download<T: Pod>(&self, buffer: &Buffer) -> Vec<T> {
        let mut bytes = Vec::new();
        self.allocation(buffer).chunks.read(0..buffer.len_bytes, &mut bytes);
        let size = size_of::<T>().max(1);
        bytes.resize(buffer.len_bytes.next_multiple_of(size), 0);
        bytes.chunks_exact(size).map(bytemuck::pod_read_unaligned).collect()
    }

    /// `elems` values from byte `at` of the buffer on.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory, or too small.
    pub fn read<T: Pod>(&self, buffer: &Buffer, at: usize, elems: usize) -> Vec<T> {
        let size = size_of::<T>().max(1);
        let end = at + elems * size;
        assert!(end <= buffer.len_bytes, "bytes {at} to {end} of {}", buffer.name);
        let mut bytes = Vec::new();
        self.allocation(buffer).chunks.read(at..end, &mut bytes);
        bytes.chunks_exact(size).map(bytemuck::pod_read_unaligned).collect()
    }

    /// How many bytes of the buffer have been written.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory.
    pub fn initialised_bytes(&self, buffer: &Buffer) -> usize {
        self.initialised_bytes_in(buffer, 0..buffer.len_bytes)
    }

    /// How many bytes of a part of the buffer have been written.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory, or the part is not within it.
    pub fn initialised_bytes_in(&self, buffer: &Buffer, part: Range<usize>) -> usize {
        assert!(part.end <= buffer.len_bytes, "{part:?} of {}", buffer.name);
        self.allocation(buffer).chunks.written_in(part)
    }

    /// Writes `values` from byte `at` of the buffer on.
    ///
    /// # Panics
    ///
    /// If the buffer is of another memory, or too small.
    pub fn write<T: Pod>(&mut self, buffer: &Buffer, at: usize, values: &[T]) {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let fits = at.checked_add(bytes.len()).is_some_and(|end| end <= buffer.len_bytes);
        assert!(
            fits,
            "{} bytes at byte {at} of {} ({} bytes)",
            bytes.len(),
            buffer.name,
            buffer.len_bytes
        );
        let allocation = self.allocation(buffer);
        let mut rest = bytes;
        let mut offset = at;
        while !rest.is_empty() {
            let start = offset % 4;
            let (now, later) = rest.split_at(rest.len().min(4 - start));
            let chunk = allocation.chunks.make(offset / CHUNK_BYTES);
            let index = offset % CHUNK_BYTES / 4;
            let word = &chunk.words[index];
            let mut whole = word.load(Relaxed).to_le_bytes();
            whole[start..start + now.len()].copy_from_slice(now);
            word.store(u32::from_le_bytes(whole), Relaxed);
            chunk.mark_written(index, bytes_of_word(start as u64, now.len() as u32));
            offset += now.len();
            rest = later;
        }
    }

    /// A byte, without a check; none where there is no buffer.
    pub(crate) fn peek(&self, address: u64) -> Option<u8> {
        let allocation = &self.allocations[self.find(address)?];
        let offset = address.checked_sub(allocation.buffer.address)?;
        if offset >= allocation.buffer.len_bytes as u64 {
            return None;
        }
        let chunk = allocation.chunks.get(offset as usize / CHUNK_BYTES);
        let index = offset as usize % CHUNK_BYTES / 4;
        let word = chunk.map_or(0, |chunk| chunk.words[index].load(Relaxed));
        Some((word >> (8 * (offset % 4))) as u8)
    }

    /// Addresses of a module's variables, once it has them.
    pub(crate) fn module_variables(&self, module: u64) -> Option<Vec<u64>> {
        self.module_variables.get(&module).cloned()
    }

    /// Keeps the addresses of a module's variables.
    pub(crate) fn keep_module_variables(&mut self, module: u64, addresses: Vec<u64>) {
        self.module_variables.insert(module, addresses);
    }

    /// The workspace of cooperative groups, `{ size, barrier, ... }` of zeros but for the size.
    pub(crate) fn cooperative_workspace(&mut self) -> u64 {
        if let Some(workspace) = &self.workspace {
            return workspace.address;
        }
        const BYTES: usize = 1024;
        let workspace = self.zeroed("workspace of cooperative groups", BYTES);
        self.write(&workspace, 0, &[BYTES as u32]);
        let address = workspace.address;
        self.workspace = Some(workspace);
        address
    }

    /// Forgets the accesses of earlier launches. `granule` is the width in bytes of the kernel's
    /// narrowest access of global memory: races are looked for in cells of that width, or of a
    /// word; none: they are not looked for, and nothing is recorded.
    pub(crate) fn begin_launch(&mut self, granule: Option<u32>) {
        let Some(granule) = granule else { return };
        let granule_shift = granule.max(1).ilog2().min(2);
        let same_granule = granule_shift == self.granule_shift;
        self.granule_shift = granule_shift;
        for allocation in &mut self.allocations {
            allocation.chunks.forget(same_granule);
        }
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        // What kernels cannot write need not be kept.
        let keep = |a: &Allocation| (!a.read_only).then(|| a.chunks.keep());
        Snapshot(self.allocations.iter().map(keep).collect())
    }

    /// As it was: buffers that were made since stay as they are.
    pub(crate) fn restore(&mut self, snapshot: &Snapshot) {
        for (allocation, kept) in self.allocations.iter_mut().zip(&snapshot.0) {
            if let Some(kept) = kept {
                allocation.chunks.restore(kept);
            }
        }
    }

    /// The allocation whose window holds the address.
    #[inline(always)]
    pub(super) fn find(&self, address: u64) -> Option<usize> {
        let window = (address.wrapping_sub(FIRST_ADDRESS)) >> WINDOW_BITS;
        self.windows.get(window as usize).map(|&index| index as usize)
    }

    /// The buffer that holds the address, and the address's offset in it.
    #[cfg(test)]
    pub(crate) fn name_of(&self, address: u64) -> Option<(&str, u64)> {
        let buffer = &self.allocations[self.find(address)?].buffer;
        let offset = address.checked_sub(buffer.address)?;
        (offset < buffer.len_bytes as u64).then_some((&*buffer.name, offset))
    }

    /// The buffer next to an access outside of all of them, and where the access lies to it.
    pub(super) fn nearest(&self, address: u64, width: u32) -> (Option<String>, String) {
        if address < FIRST_ADDRESS {
            let text = format!(
                "expected an address in a buffer, found {address:#x}, below all of them: null, or no pointer"
            );
            return (None, text);
        }
        let buffers = || self.allocations.iter().map(|allocation| &allocation.buffer);
        let s = |count: u64| if count == 1 { "" } else { "s" };
        let after = buffers().rev().find(|buffer| buffer.address <= address).map(|buffer| {
            // The last byte's distance; an address at the top of all is cut off there.
            let end = buffer.address + buffer.len_bytes as u64;
            let past = address.saturating_add(width.into()) - end;
            let Buffer { name, len_bytes, .. } = buffer;
            (
                past,
                name,
                format!("{past} byte{} past the end of {name} ({len_bytes} bytes)", s(past)),
            )
        });
        let before = buffers().find(|buffer| buffer.address > address).map(|buffer| {
            let ahead = buffer.address - address;
            let Buffer { name, len_bytes, .. } = buffer;
            (ahead, name, format!("{ahead} byte{} before {name} ({len_bytes} bytes)", s(ahead)))
        });
        match after.into_iter().chain(before).min_by_key(|(distance, ..)| *distance) {
            Some((_, name, text)) => (Some(name.clone()), text),
            None => (None, "there is no buffer".into()),
        }
    }
}
