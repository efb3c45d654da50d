//! What a device can do at best, and the least time that follows.

use super::Item;
use serde::Serialize;
use std::fmt;

/// What a device reaches in simple work, measured on it before the network is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ceilings {
    /// Bytes read and written in a second by a copy between buffers that no cache holds, in 10^9.
    pub copy_gbps: f64,
    /// Floating-point operations in a second of a large matrix product, in 10^12.
    pub product_tflops: f64,
    /// Time of a launch, or of a step of the CPU executor, that does next to nothing.
    pub launch_us: f64,
    /// How each was measured.
    pub method: Method,
}

/// How ceilings were measured: a sentence each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Method {
    /// Of [`Ceilings::copy_gbps`].
    pub copy: String,
    /// Of [`Ceilings::product_tflops`].
    pub product: String,
    /// Of [`Ceilings::launch_us`].
    pub launch: String,
}

/// What keeps an item from being done sooner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    /// Moving its bytes.
    Memory,
    /// Its arithmetic.
    Compute,
    /// Being started at all.
    Launch,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Bound::Memory => "memory",
            Bound::Compute => "compute",
            Bound::Launch => "launch",
        })
    }
}

/// The least time of something on a device, and why it is no less.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// The largest of what memory, arithmetic and the launch take alone.
    pub us: f64,
    /// Which of them it is.
    pub bound: Bound,
}

impl Ceilings {
    /// The least time of an item.
    pub fn floor(&self, item: &Item) -> Floor {
        // 10^9 bytes a second are 1000 a microsecond.
        let memory = item.bytes as f64 / (self.copy_gbps * 1e3);
        let compute = item.flops() as f64 / (self.product_tflops * 1e6);
        let least = [(memory, Bound::Memory), (compute, Bound::Compute)];
        let start = Floor { us: self.launch_us, bound: Bound::Launch };
        least.into_iter().fold(
            start,
            |floor, (us, bound)| {
                if us > floor.us { Floor { us, bound } } else { floor }
            },
        )
    }

    /// Operations for each byte from which on arithmetic takes longer than memory.
    pub fn ridge(&self) -> f64 {
        self.product_tflops * 1e3 / self.copy_gbps
    }
}
