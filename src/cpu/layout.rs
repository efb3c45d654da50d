//! Locations of the plan's buffers in the executor's memory.
//!
//! An expand step's map is never stored, and its input is read until the depthwise step that
//! computes it is done: the map's buffer lives nowhere, and the input's lives longer than in the plan.

use crate::arena::{Lifetime, place};
use crate::plan::{BufferId, Op, Plan};

/// Alignment of every buffer in the arena.
const ALIGN_BYTES: usize = 256;

/// Location of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Location {
    /// The buffer is the caller's input.
    Input {
        /// Elements of one image.
        image_elems: usize,
    },
    /// The buffer is in the arena.
    Arena {
        /// The first image's first element.
        start: usize,
        /// Elements of one image.
        image_elems: usize,
    },
    /// The buffer is nowhere: its elements are computed where they are read.
    Nowhere,
}

/// Locations of a plan's buffers.
#[derive(Debug)]
pub(super) struct Layout {
    locations: Vec<Location>,
    /// Elements of the arena.
    pub elems: usize,
}

impl Layout {
    /// Places `plan`'s buffers; without `reuse`, none shares memory with another.
    pub(super) fn new(plan: &Plan, reuse: bool) -> Layout {
        let last_step = plan.steps.len() - 1;
        let mut stored = vec![true; plan.buffers.len()];
        let mut last_steps: Vec<usize> = plan.buffers.iter().map(|b| b.last_step).collect();
        for expand in plan.steps.iter().filter_map(|step| step.expand) {
            if let Op::Pointwise { input, output, .. } = plan.steps[expand].op {
                let [input, output] = [input, output].map(|BufferId(id)| id as usize);
                stored[output] = false;
                last_steps[input] = last_steps[input].max(last_steps[output]);
            }
        }
        let in_arena: Vec<usize> = (0..plan.buffers.len())
            .filter(|&i| stored[i] && BufferId(i as u32) != plan.input)
            .collect();
        let lifetimes: Vec<Lifetime> = in_arena
            .iter()
            .map(|&i| Lifetime {
                bytes: plan.buffers[i].bytes(),
                first: if reuse { plan.buffers[i].first_step } else { 0 },
                last: if reuse { last_steps[i] } else { last_step },
            })
            .collect();
        let (offsets, bytes) = place(&lifetimes, ALIGN_BYTES);

        let mut locations = vec![Location::Nowhere; plan.buffers.len()];
        let input = plan.buffer(plan.input);
        locations[plan.input.0 as usize] = Location::Input { image_elems: input.elems_per_image() };
        for (i, offset) in in_arena.into_iter().zip(offsets) {
            locations[i] = Location::Arena {
                start: offset / size_of::<f32>(),
                image_elems: plan.buffers[i].elems_per_image(),
            };
        }
        Layout { locations, elems: bytes / size_of::<f32>() }
    }

    /// Elements of the arena that a run of `n` images touches. Buffers that share memory in a full run
    /// may lie side by side in a smaller one, so that this is more than its part of the arena.
    pub(super) fn touched_elems(&self, n: usize) -> usize {
        let mut touched: Vec<(usize, usize)> = self
            .locations
            .iter()
            .filter_map(|location| match *location {
                Location::Arena { start, image_elems } => Some((start, start + n * image_elems)),
                Location::Input { .. } | Location::Nowhere => None,
            })
            .collect();
        touched.sort_unstable();
        let (mut elems, mut end) = (0, 0);
        for (from, to) in touched {
            elems += to.saturating_sub(from.max(end));
            end = end.max(to);
        }
        elems
    }

    /// A buffer's location.
    pub(super) fn location(&self, BufferId(id): BufferId) -> Location {
        self.locations[id as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_touches_is_counted_once() {
        let arena = |start, image_elems| Location::Arena { start, image_elems };
        let layout = Layout {
            // Two that share memory from the start, one in the second half of the first.
            locations: vec![
                arena(0, 10),
                Location::Input { image_elems: 7 },
                arena(0, 4),
                arena(20, 5),
                Location::Nowhere,
            ],
            elems: 40,
        };
        assert_eq!([0, 1, 2, 3, 4].map(|n| layout.touched_elems(n)), [0, 15, 30, 35, 40]);
    }
}
