//! From encoded images to input tensors.

mod recipe;

pub use recipe::{Framing, Interpolation, Recipe, Rounding, ShortSide};
