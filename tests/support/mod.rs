//! What several test files share.

pub mod containers;
pub mod generator;
