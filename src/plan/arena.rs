//! Placing buffers in one arena by liveness.

/// A buffer to place: its size and the steps during which it must keep its bytes.
pub(crate) struct Lifetime {
    pub bytes: usize,
    pub first_step: usize,
    pub last_step: usize,
}

/// Offsets for all `buffers`, and the size of the arena.
///
/// Largest first, each at the lowest offset where it overlaps no placed buffer that lives at the
/// same time ("greedy by size"; Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net
/// Inference", 2020, section 5).
pub(crate) fn place(buffers: &[Lifetime], align: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..buffers.len()).collect();
    order.sort_by_key(|&i| (std::cmp::Reverse(buffers[i].bytes), buffers[i].first_step, i));

    let mut offsets = vec![0; buffers.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut arena = 0;
    for i in order {
        let buffer = &buffers[i];
        let mut neighbours: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&j| {
                buffers[j].first_step <= buffer.last_step
                    && buffer.first_step <= buffers[j].last_step
            })
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
