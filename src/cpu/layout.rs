//! Places of the plan's buffers in the executor's memory.
//!
//! They differ from the plan's own places: an expand step's map is never stored, and its input is
//! read until the depthwise step that computes it is done, so lifetimes differ from the plan's.

use crate::plan::arena::{Lifetime, place};
use crate::plan::{BufferId, Op, Place, Plan, PointwiseRole};

/// Place of a buffer's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Slot {
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

/// The slots of a plan's buffers.
#[derive(Debug)]
pub(super) struct Layout {
    slots: Vec<Slot>,
    /// Elements of the arena.
    pub elems: usize,
}

impl Layout {
    /// Places `plan`'s buffers; without `reuse`, none shares memory with another.
    pub(super) fn new(plan: &Plan, reuse: bool) -> Layout {
        let last_step = plan.steps.len() - 1;
        let mut stored = vec![true; plan.buffers.len()];
        let mut last_steps: Vec<usize> = plan.buffers.iter().map(|b| b.last_step).collect();
        for step in &plan.steps {
            if let Op::Pointwise { role: PointwiseRole::Expand, input, output, .. } = step.op {
                let [input, output] = [input, output].map(|BufferId(id)| id as usize);
                stored[output] = false;
                last_steps[input] = last_steps[input].max(last_steps[output]);
            }
        }
        let in_arena: Vec<usize> = (0..plan.buffers.len())
            .filter(|&i| stored[i] && plan.buffers[i].place != Place::Input)
            .collect();
        let lifetimes: Vec<Lifetime> = in_arena
            .iter()
            .map(|&i| Lifetime {
                bytes: plan.buffers[i].bytes(),
                first_step: if reuse { plan.buffers[i].first_step } else { 0 },
                last_step: if reuse { last_steps[i] } else { last_step },
            })
            .collect();
        let (offsets, bytes) = place(&lifetimes, Plan::ALIGN_BYTES);

        let mut slots = vec![Slot::Nowhere; plan.buffers.len()];
        for (slot, buffer) in slots.iter_mut().zip(&plan.buffers) {
            if buffer.place == Place::Input {
                *slot = Slot::Input { image_elems: buffer.elems_per_image() };
            }
        }
        for (i, offset) in in_arena.into_iter().zip(offsets) {
            slots[i] = Slot::Arena {
                start: offset / size_of::<f32>(),
                image_elems: plan.buffers[i].elems_per_image(),
            };
        }
        Layout { slots, elems: bytes / size_of::<f32>() }
    }

    /// A buffer's slot.
    pub(super) fn slot(&self, BufferId(id): BufferId) -> Slot {
        self.slots[id as usize]
    }
}
