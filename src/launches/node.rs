//! A launch before it is known for how many images.

use super::ops::Op;
use std::ops::Range;

/// One launch of every run: what is computed, whatever the number of images.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    /// For people, as in `blocks.3.project`.
    pub name: String,
    /// The plan's steps that it computes, or a part of.
    pub steps: Range<usize>,
    /// Multiply-accumulates of one image.
    pub image_macs: u64,
    /// What is computed, from which buffers and tensors into which buffers.
    pub op: Op,
}
