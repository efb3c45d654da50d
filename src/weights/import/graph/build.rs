//! A graph under construction: names become values, in program order.

use super::super::CheckpointError;
use super::super::error::{corrupt, quote, too_large};
use super::{Constant, Graph, Node, Op, Shaping, Small, ValueId};
use std::collections::{HashMap, HashSet};

/// Values of a graph. B8's has 4 000 where its batch-norms are apart.
const MAX_VALUES: usize = 1 << 16;
/// Bytes of the names that a graph holds, each as often as it is held, and of its nodes' inputs.
const MAX_BYTES: usize = 32 << 20;

/// A graph under construction.
///
/// A graph takes at most 65 536 values and 32 MiB of names and inputs: a constant that is reshaped
/// keeps its name, so that a file can have many values of one long name.
#[derive(Default)]
pub(in super::super) struct Builder {
    pub(in super::super) graph: Graph,
    /// The latest value of each name.
    by_name: HashMap<String, ValueId>,
    /// Values that only shapes and small constants made.
    shaping: HashSet<ValueId>,
    /// Bytes of names and inputs so far.
    bytes: usize,
}

impl Builder {
    /// Whether there is room for more: asked before each node and constant.
    pub(in super::super) fn check(&self, offset: usize) -> Result<(), CheckpointError> {
        // A value can have many names, and a name be given again.
        let values = self.graph.values.len().max(self.by_name.len());
        for (what, limit, found) in [
            ("values of a graph", MAX_VALUES, values),
            ("bytes of names in a graph", MAX_BYTES, self.bytes),
        ] {
            if found > limit {
                return Err(too_large(what, offset, limit as u64, found as u64));
            }
        }
        Ok(())
    }

    /// A new value, called `name` from here on.
    fn value(&mut self, name: &str) -> ValueId {
        let id = self.graph.values.len();
        self.graph.values.push(name.to_owned());
        self.bytes += 2 * name.len();
        self.by_name.insert(name.to_owned(), id);
        id
    }

    /// The network's input.
    pub(in super::super) fn input(&mut self, name: &str, shape: Vec<Option<usize>>) {
        self.graph.input = self.value(name);
        self.graph.input_shape = shape;
    }

    /// A constant.
    pub(in super::super) fn constant(&mut self, name: &str, constant: Constant) -> ValueId {
        let id = self.value(name);
        self.bytes += constant.name.len() + size_of_val(&constant.shape[..]);
        if constant.small.is_some() {
            self.shaping.insert(id);
        }
        self.graph.constants.insert(id, constant);
        id
    }

    /// The value that is called `name` here.
    ///
    /// # Errors
    ///
    /// If nothing before has written it: the order is wrong, or the graph has a cycle.
    pub(in super::super) fn find(
        &self,
        name: &str,
        offset: usize,
    ) -> Result<ValueId, CheckpointError> {
        self.by_name.get(name).copied().ok_or_else(|| {
            let expected = "values that a node before it, a constant or the input gives";
            corrupt("inputs of a node", offset, expected, quote(name))
        })
    }

    /// Whether any value has this name.
    pub(in super::super) fn has(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// The small constant that a value is.
    pub(in super::super) fn small(&self, id: Option<ValueId>) -> Option<&Small> {
        self.graph.constants.get(&id?)?.small.as_ref()
    }

    /// Whether every value is a shape, computed from shapes, or a small constant.
    pub(in super::super) fn all_shaping(&self, inputs: &[Option<ValueId>]) -> bool {
        !inputs.is_empty() && inputs.iter().flatten().all(|id| self.shaping.contains(id))
    }

    /// `output` is another name of `input`.
    pub(in super::super) fn alias(&mut self, output: &str, input: ValueId) {
        self.bytes += output.len();
        self.by_name.insert(output.to_owned(), input);
    }

    /// `output` is the constant `input` in another shape or type; `op` computes the small ones.
    /// Returns whether `input` is a constant.
    pub(in super::super) fn reshaped(
        &mut self,
        output: &str,
        op: &Shaping,
        inputs: &[Option<ValueId>],
    ) -> bool {
        let Some(constant) =
            inputs.first().copied().flatten().and_then(|x| self.graph.constants.get(&x).cloned())
        else {
            return false;
        };
        let smalls: Vec<_> = inputs.iter().map(|&id| self.small(id)).collect();
        let small = Small::of(op, &smalls);
        let shape = match (op, &small) {
            (Shaping::Cast { .. }, _) => constant.shape.clone(),
            (_, Some(small)) => small.shape.clone(),
            (_, None) => vec![constant.shape.iter().product()],
        };
        self.constant(output, Constant { shape, small, ..constant });
        true
    }

    /// A node that writes `output`.
    pub(in super::super) fn node(
        &mut self,
        name: &str,
        op_type: &str,
        op: Op,
        inputs: Vec<Option<ValueId>>,
        output: &str,
    ) {
        let is_shaping = matches!(op, Op::Shaping(_));
        let id = self.value(output);
        if is_shaping {
            self.shaping.insert(id);
        }
        let name = if name.is_empty() { output } else { name };
        let (name, op_type) = (name.to_owned(), op_type.to_owned());
        self.bytes += name.len() + op_type.len() + size_of_val(&inputs[..]);
        self.graph.nodes.push(Node { name, op_type, op, inputs, output: id });
    }
}
