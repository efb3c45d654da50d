//! Which bytes of device memory a launch reads and writes.

use super::prepare::Context;
use super::{Address, Buf, LaunchPlan, LaunchPlanError, Region, record};
use crate::weights::TensorId;

/// Bytes that a launch reads, or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The first of them.
    pub at: Address,
    /// The number of bytes.
    pub bytes: u64,
    /// Whether they are written.
    pub written: bool,
}

impl LaunchPlan {
    /// What each launch of a run with `n` images touches, a range for each tensor that it reads and
    /// for each that it writes; scratch space is written first, and then read. Counters are left
    /// out.
    ///
    /// # Errors
    ///
    /// As [`LaunchPlan::launches`].
    pub fn touched(&self, n: usize) -> Result<Vec<Vec<Touched>>, LaunchPlanError> {
        let records = self.launches(n)?;
        let context = Context {
            compute: self.options.compute,
            n,
            buffers: &self.buffers,
            weight_offsets: &self.weight_offsets,
        };
        let of_nodes = self.nodes().iter().zip(&records).map(|(node, record)| {
            let used = addresses(record);
            let mut touched = Vec::new();
            for TensorId(id) in node.op.tensors() {
                let at = Address {
                    region: Region::Weights,
                    offset_bytes: self.weight_offsets[id as usize],
                };
                touched.push(Touched {
                    at,
                    bytes: self.weight_bytes(TensorId(id)),
                    written: false,
                });
            }
            if let Some(&at) = used.iter().find(|at| at.region == Region::Input) {
                let bytes = self.input_bytes / self.batch as u64 * n as u64;
                touched.push(Touched { at, bytes, written: false });
            }
            let range = |buf: Buf, written| {
                let buffer = self.buffer(buf);
                let elems = (buffer.image_elems * n) as u64;
                let bytes = elems * buffer.precision.elem_bytes() as u64;
                Touched { at: buffer.address(), bytes, written }
            };
            touched.extend(node.op.reads().into_iter().map(|buf| range(buf, false)));
            for buf in node.op.writes() {
                if self.buffer(buf).image_elems > 0 {
                    touched.push(range(buf, true));
                } else if used.contains(&self.buffer(buf).address()) {
                    // Scratch space: what is no matter of one image.
                    let bytes = node.op.other_bytes(&context);
                    let at = self.buffer(buf).address();
                    touched.push(Touched { at, bytes, written: true });
                    touched.push(Touched { at, bytes, written: false });
                }
            }
            touched
        });
        Ok(of_nodes.collect())
    }
}

/// The addresses among a launch's parameters.
fn addresses(record: &record::LaunchRecord) -> Vec<Address> {
    let fields = record.addresses.iter().filter_map(|&at| {
        let field: [u8; 8] = record.params.get(at..at + 8)?.try_into().ok()?;
        Address::parse(u64::from_le_bytes(field))
    });
    fields.collect()
}
