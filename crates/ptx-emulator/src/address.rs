//! Windows of the generic address space.
//!
//! A global address is its own generic address. Shared memory, local memory, parameters and
//! constant memory have windows far above every allocation. An address of shared memory has 32
//! bits: the offset within a block's memory in the low 24, and above them 0 for the block itself or
//! one more than the block's rank within its cluster.

/// Start of the window of shared memory.
pub(crate) const SHARED: u64 = 1 << 48;
/// Start of the window of local memory.
pub(crate) const LOCAL: u64 = 2 << 48;
/// Start of the window of parameters.
pub(crate) const PARAM: u64 = 3 << 48;
/// Start of the window of constant memory.
pub(crate) const CONST: u64 = 4 << 48;
/// Bits of an offset within a block's shared memory.
const RANK_SHIFT: u32 = 24;

/// A window other than global memory's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Window {
    Shared,
    Local,
    Param,
    Const,
}

/// The window that a generic address lies in; `None` for global memory.
#[inline(always)]
pub(crate) fn window_of(address: u64) -> Option<Window> {
    match address >> 48 << 48 {
        SHARED => Some(Window::Shared),
        LOCAL => Some(Window::Local),
        PARAM => Some(Window::Param),
        CONST => Some(Window::Const),
        _ => None,
    }
}

/// The shared address of the same offset in the block of another rank.
pub(crate) fn of_rank(address: u64, rank: u32) -> u64 {
    let offset = address & ((1 << RANK_SHIFT) - 1);
    offset | u64::from(rank.min(254) + 1) << RANK_SHIFT
}

/// The rank that a shared address names, `None` for the block itself, and the offset.
#[inline(always)]
pub(crate) fn rank_and_offset(address: u64) -> (Option<u32>, u32) {
    let rank = (address >> RANK_SHIFT).min(255) as u32;
    (rank.checked_sub(1), (address & ((1 << RANK_SHIFT) - 1)) as u32)
}
