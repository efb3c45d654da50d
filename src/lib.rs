//! A runtime for the EfficientNet family.

pub mod arch;
pub mod cpu;
pub mod image;
pub mod labels;
pub mod plan;
pub mod session;
pub mod weights;
