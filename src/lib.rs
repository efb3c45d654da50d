//! A runtime for the EfficientNet family.

// Test support names the crate as its users do.
#[cfg(test)]
extern crate self as effnet;

pub mod arch;
pub mod cpu;
pub mod image;
pub mod labels;
pub mod plan;
pub mod session;
pub mod weights;
