//! The sizes of a graph's maps and its pads, for one size of the image.
//!
//! Pads may be constants, `auto_pad`, or computed by the graph from the sizes of its maps; so the
//! graph is run for its shapes alone.

use super::walk::{Walked, Window};
use crate::arch::Size;
use crate::weights::import::graph::{Graph, Node, Op, Pads, Shaping, Small, ValueId};
use std::collections::HashMap;

/// A window at one size of the image: the function that it computes there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) pad_top: usize,
    pub(super) pad_left: usize,
    pub(super) output: Size,
}

/// Sides `[n, c, h, w]`.
type Sides = [usize; 4];

struct Run<'a> {
    graph: &'a Graph,
    sides: HashMap<ValueId, Sides>,
    smalls: HashMap<ValueId, Small>,
}

/// Every window of the network for images of `size`; `None` where the graph has no pads that can be
/// computed, or no output.
pub(super) fn place(graph: &Graph, walked: &Walked, size: Size) -> Option<Vec<Placed>> {
    let mut run = Run { graph, sides: HashMap::new(), smalls: HashMap::new() };
    run.sides.insert(graph.input, [1, 3, size.h, size.w]);
    for node in &graph.nodes {
        run.node(node);
    }
    walked.windows.iter().map(|window| run.window(window)).collect()
}

impl Run<'_> {
    fn small(&self, id: Option<ValueId>) -> Option<&Small> {
        let id = id?;
        self.smalls.get(&id).or_else(|| self.graph.constants.get(&id)?.small.as_ref())
    }

    fn node(&mut self, node: &Node) {
        let x = node.input(0).and_then(|id| self.sides.get(&id).copied());
        if let Op::Shaping(shaping) = &node.op {
            let small = match (shaping, x) {
                (Shaping::Shape, Some(x)) => Some(Small::ints(x.map(|side| side as f64).to_vec())),
                (Shaping::Shape, None) => self.small(node.input(0)).map(|small| {
                    Small::ints(small.shape.iter().map(|&side| side as f64).collect())
                }),
                _ => {
                    let inputs: Vec<_> = node.inputs.iter().map(|&id| self.small(id)).collect();
                    Small::of(shaping, &inputs)
                }
            };
            if let Some(small) = small {
                self.smalls.insert(node.output, small);
            }
            return;
        }
        if let Some(sides) = x.or(self.other(node)).and_then(|x| self.output(node, x)) {
            self.sides.insert(node.output, sides);
        }
    }

    /// The second input's sides, for a sum or product whose first is a constant.
    fn other(&self, node: &Node) -> Option<Sides> {
        node.input(1).and_then(|id| self.sides.get(&id).copied())
    }

    fn output(&self, node: &Node, [n, c, h, w]: Sides) -> Option<Sides> {
        match node.op {
            Op::Conv { stride, .. } => {
                let &[c_out, _, k_h, k_w] = &self.graph.constants.get(&node.input(1)?)?.shape[..]
                else {
                    return None;
                };
                let [top, left, bottom, right] = self.pads(node, [n, c, h, w])?;
                let out = |x: usize, pads: usize, k: usize, stride: usize| {
                    Some(x.checked_add(pads)?.checked_sub(k)? / stride + 1)
                };
                let (h, w) = (
                    out(h, top.checked_add(bottom)?, k_h, stride[0])?,
                    out(w, left.checked_add(right)?, k_w, stride[1])?,
                );
                Some([n, c_out, h, w])
            }
            Op::Pad => {
                let [top, left, bottom, right] = self.pad_node(node)?;
                let sum = |x: usize, a, b| x.checked_add(a)?.checked_add(b);
                Some([n, c, sum(h, top, bottom)?, sum(w, left, right)?])
            }
            Op::Crop { top, left } => Some([n, c, h.checked_sub(top)?, w.checked_sub(left)?]),
            Op::GlobalPool => Some([n, c, 1, 1]),
            Op::Mul | Op::Add => {
                let [_, _, h2, w2] = self.other(node).unwrap_or([n, c, h, w]);
                Some([n, c, h.max(h2), w.max(w2)])
            }
            Op::BatchNorm { .. } | Op::Sigmoid | Op::Swish | Op::Clip { .. } => Some([n, c, h, w]),
            _ => None,
        }
    }

    /// Top, left, bottom, right of a convolution with this input.
    fn pads(&self, conv: &Node, [_, _, h, w]: Sides) -> Option<[usize; 4]> {
        let Op::Conv { stride, pads, .. } = conv.op else { return None };
        let &[_, _, k_h, k_w] = &self.graph.constants.get(&conv.input(1)?)?.shape[..] else {
            return None;
        };
        match pads {
            Pads::Explicit(pads) => Some(pads),
            Pads::SameUpper => {
                let same = |x: usize, k: usize, stride: usize| {
                    let total = (x.div_ceil(stride).checked_sub(1)? * stride + k).saturating_sub(x);
                    Some((total / 2, total - total / 2))
                };
                let ((top, bottom), (left, right)) =
                    (same(h, k_h, stride[0])?, same(w, k_w, stride[1])?);
                Some([top, left, bottom, right])
            }
        }
    }

    /// Top, left, bottom, right of a `Pad`: begins of n, c, h, w, then ends.
    fn pad_node(&self, node: &Node) -> Option<[usize; 4]> {
        match self.small(node.input(1))?.counts()?[..] {
            [0, 0, top, left, 0, 0, bottom, right] => Some([top, left, bottom, right]),
            _ => None,
        }
    }

    fn window(&self, window: &Window) -> Option<Placed> {
        let conv = &self.graph.nodes[window.conv];
        let input = *self.sides.get(&conv.input(0)?)?;
        let [_, _, h, w] = *self.sides.get(&conv.output)?;
        let [mut top, mut left, ..] = self.pads(conv, input)?;
        if let Some(pad) = window.pad {
            let [above, before, ..] = self.pad_node(&self.graph.nodes[pad])?;
            (top, left) = (top + above, left + before);
        }
        // Each row dropped is a step of the window: as many zeros less above.
        let [rows, columns] = window.crop;
        Some(Placed {
            pad_top: top.checked_sub(rows * window.stride)?,
            pad_left: left.checked_sub(columns * window.stride)?,
            output: Size { h: h.checked_sub(rows)?, w: w.checked_sub(columns)? },
        })
    }
}
