//! What a GPU would take for a run, predicted without one.

pub mod opcodes;
pub mod slots;
