//! Placement of buffers in one arena by liveness, for every machine that stores a plan's tensors.

/// A buffer to place: its size, and the first and the last time at which it must keep its bytes.
/// Times are indices of steps or of launches.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lifetime {
    /// Size of the buffer.
    pub bytes: usize,
    /// Index of the first step or launch that touches it.
    pub first: usize,
    /// Index of the last one.
    pub last: usize,
}

impl Lifetime {
    /// Whether two buffers live at the same time at least once.
    fn meets(&self, other: &Lifetime) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets for all `buffers`, and the size of the arena.
///
/// Largest first, each at the lowest offset where it overlaps no placed buffer that lives at the
/// same time ("greedy by size"; Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
/// Inference", 2020, section 5).
pub(crate) fn place(buffers: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].first, i));

    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut arena = 0;
    for i in order {
        let buffer = &buffers[i];
        let mut neighbours: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| buffers[j].meets(buffer))
            .map(|&j| (offsets[j], offsets[j] + buffers[j].bytes))
            .collect();
        neighbours.sort_unstable();
        let mut offset = 0usize;
        for (start, end) in neighbours {
            if offset + buffer.bytes <= start {
                break;
            }
            offset = offset.max(end.next_multiple_of(align));
        }
        offsets[i] = offset;
        arena = arena.max(offset + buffer.bytes);
        placed.push(i);
    }
    (offsets, arena.next_multiple_of(align))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Network, Padding, Variant};
    use crate::plan::{Plan, PlanOptions};
    use crate::weights::Precision;

    /// Over the buffers of every variant's plan, as steps that run one by one need them.
    #[test]
    fn live_buffers_never_overlap() {
        const ALIGN: usize = 256;
        let runs = [
            (1, Precision::Fp32),
            (3, Precision::Fp16),
            (8, Precision::Fp32),
            (32, Precision::Fp16),
        ];
        for variant in Variant::all() {
            for (batch, precision) in runs {
                let size = variant.native();
                let options = PlanOptions { batch, size, padding: Padding::SameDynamic, precision };
                let plan = Plan::new(&Network::new(variant, 1000), options).unwrap();
                let lifetimes = plan.buffers.iter().map(|buffer| Lifetime {
                    bytes: buffer.bytes(),
                    first: buffer.first_step,
                    last: buffer.last_step,
                });
                let buffers: Vec<Lifetime> = lifetimes.collect();
                let (offsets, arena) = place(&buffers, ALIGN);
                assert_eq!(offsets.len(), buffers.len());
                let unshared: usize = buffers.iter().map(|b| b.bytes.next_multiple_of(ALIGN)).sum();
                assert!(arena < unshared, "{variant}: no two buffers share bytes");
                for (i, (a, &a_start)) in buffers.iter().zip(&offsets).enumerate() {
                    assert_eq!(a_start % ALIGN, 0);
                    assert!(a_start + a.bytes <= arena);
                    for (j, (b, &b_start)) in buffers.iter().zip(&offsets).enumerate().skip(i + 1) {
                        let apart = a_start + a.bytes <= b_start || b_start + b.bytes <= a_start;
                        assert!(!a.meets(b) || apart, "{variant}: {i} and {j} share bytes");
                    }
                }
            }
        }
    }
}
