//! A node for `n` images: its kernel, its geometry, and its parameters as bytes.

use super::node::Node;
use super::prepare::Context;
use super::{Address, Bases, KernelId, LaunchPlan, LaunchPlanError};
use crate::kernels::Geometry;
use std::ops::Range;

/// One launch.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchRecord {
    /// For people, as in `blocks.3.project`.
    pub name: String,
    /// The plan's steps that it computes, or a part of.
    pub steps: Range<usize>,
    /// The kernel.
    pub kernel: KernelId,
    /// Grid, block, dynamic shared memory.
    pub geometry: Geometry,
    /// The parameter struct, its addresses symbolic.
    pub params: Vec<u8>,
    /// Offsets of the addresses within `params`.
    pub addresses: &'static [usize],
    /// Bytes of all tensors that it reads and of all that it writes.
    pub bytes_moved: u64,
    /// Multiply-accumulates, without those that halos make it compute again.
    pub macs: u64,
}

impl LaunchRecord {
    /// The parameter struct as the kernel gets it.
    pub fn bind(&self, bases: &Bases) -> Vec<u8> {
        let mut params = self.params.clone();
        for &at in self.addresses {
            let field = &mut params[at..at + 8];
            let mut symbolic = [0; 8];
            symbolic.copy_from_slice(field);
            if let Some(address) = Address::parse(u64::from_le_bytes(symbolic)) {
                field.copy_from_slice(&address.bind(bases).to_le_bytes());
            }
        }
        params
    }
}

pub(super) fn record(
    plan: &LaunchPlan,
    node: &Node,
    n: usize,
) -> Result<LaunchRecord, LaunchPlanError> {
    let context = Context {
        compute: plan.options.compute,
        n,
        buffers: &plan.buffers,
        weight_offsets: &plan.weight_offsets,
    };
    let launch = node
        .op
        .launch(&context)
        .map_err(|source| LaunchPlanError::Launch { name: node.name.clone(), source })?;
    Ok(LaunchRecord {
        name: node.name.clone(),
        steps: node.steps.clone(),
        kernel: launch.kernel,
        geometry: launch.geometry,
        params: launch.params,
        addresses: launch.addresses,
        bytes_moved: bytes_moved(plan, node, &context),
        macs: node.image_macs * n as u64,
    })
}

/// Bytes of every tensor, once for reading and once for writing.
fn bytes_moved(plan: &LaunchPlan, node: &Node, context: &Context<'_>) -> u64 {
    let touched = node.op.reads().into_iter().chain(node.op.writes());
    let buffers = touched.map(|buf| {
        let buffer = plan.buffer(buf);
        (buffer.image_elems * context.n * buffer.precision.elem_bytes()) as u64
    });
    let weights = node.op.tensors().into_iter().map(|id| plan.weight_bytes(id));
    buffers.sum::<u64>() + weights.sum::<u64>() + node.op.other_bytes(context)
}
