//! Precision of a network's arithmetic on the kernels.

use crate::weights::Precision;
use std::fmt;

/// Types of activations and weights, and of the products of pointwise convolutions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Compute {
    /// f16 activations and weights; f16 products with f32 sums on tensor cores.
    Fp16,
    /// f32 throughout, at f32 accuracy.
    Fp32,
    /// f32 activations and weights; factors of pointwise convolutions rounded to TF32 (10 bits),
    /// f32 sums on tensor cores. Only where it is asked for by name.
    Tf32,
}

impl Compute {
    /// Element type of activations and weights in device memory.
    pub fn storage(self) -> Precision {
        match self {
            Compute::Fp16 => Precision::Fp16,
            Compute::Fp32 | Compute::Tf32 => Precision::Fp32,
        }
    }
}

impl fmt::Display for Compute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Compute::Fp16 => "fp16",
            Compute::Fp32 => "fp32",
            Compute::Tf32 => "tf32",
        })
    }
}
