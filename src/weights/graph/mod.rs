//! Recognition of a network in an exported graph: ONNX files and Paddle's inference models.
//!
//! A graph has no names that a family is known by, but it says what the tensors are for. The
//! variant is the one whose convolutions have the graph's shapes, in its order; `walk` then follows
//! the values from the image to the logits, one operation of the variant after the other, and stops
//! at the first that differs. So nothing that takes part in the logits is left unread. The walk
//! yields every tensor in its role, `padding` the convention that all pads together prove, and
//! `family` the rest, which no graph says: whose recipe the weights were trained with.

mod family;
mod padding;
mod sizes;
mod walk;

use super::recognise::{Hints, Recognised};
use super::{Metadata, OutputActivation, RecogniseError};
use crate::arch::{Network, Padding, Size, Variant};
use crate::image::Recipe;
use crate::weights::import::graph::{Graph, Op};
use std::collections::BTreeMap;
use std::fmt;

/// Shapes of the checkpoint's tensors, by name.
type Shapes = BTreeMap<String, Vec<usize>>;

/// What a graph proves, and what its writer says in it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Proven {
    /// Padding convention.
    pub(super) padding: Padding,
    /// Eps of the batch-norms; `None` where all are part of the convolutions, or have none.
    pub(super) bn_eps: Option<f64>,
    /// Eps to compute the scales with.
    pub(super) scale_eps: f64,
    /// Size of the input, where it is fixed.
    pub(super) size: Option<Size>,
    /// Whether the classifier's weights are `[c_head, classes]`.
    pub(super) classifier_transposed: bool,
    /// The activation after the logits, if it is not the usual one.
    pub(super) activation: Option<OutputActivation>,
    /// The recipe, if this project's own export wrote it into the file.
    pub(super) recipe: Option<Recipe>,
}

/// The first operation of a graph that is not the network's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphFault {
    /// The variant that the graph is nearest to.
    pub variant: Variant,
    /// Name of the operation.
    pub node: String,
    /// Operator, as the file calls it.
    pub op_type: String,
    /// The operation that the network has there.
    pub expected: String,
    /// The operation in the file.
    pub found: String,
}

impl fmt::Display for GraphFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GraphFault { variant, node, op_type, expected, found } = self;
        // Names may come from a hostile file: short, and no control characters.
        let short = |text: &str| -> String {
            const SHOWN_CHARS: usize = 120;
            text.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
        };
        let (node, op_type, found) = (short(node), short(op_type), short(found));
        write!(
            f,
            "node '{node}' ({op_type}): expected {expected}, found {found}; the nodes before it are \
             {variant}'s"
        )
    }
}

/// The network of a graph, with its tensors in their roles; `shapes` are the checkpoint's.
pub(super) fn recognise(
    graph: &Graph,
    shapes: &Shapes,
    hints: Hints,
) -> Result<Recognised, RecogniseError> {
    let variant = hints.variant.unwrap_or_else(|| nearest(graph));
    let walked = walk::walk(graph, Network::new(variant, 1))?;
    let classes = walked.network.classes;
    if !(1..=Metadata::MAX_CLASSES).contains(&classes) {
        let name = "the classifier's weights".to_owned();
        return Err(RecogniseError::Classes { name, found: vec![classes] });
    }
    let (padding, size) = padding::padding(graph, &walked)?;
    let mut notes = Vec::new();
    let (family, why) = family::family(graph, shapes, &walked, padding, hints, &mut notes);
    let folded = walked.eps.is_none();
    if folded && walked.folded {
        notes.push(
            "the batch-norms are folded into the convolutions: their eps is not needed".into(),
        );
    }
    let recipe =
        graph.properties.get("effnet.recipe").and_then(|recipe| serde_json::from_str(recipe).ok());
    let proven = Proven {
        padding,
        bn_eps: walked.eps.filter(|&eps| eps > 0.0),
        scale_eps: walked.eps.unwrap_or(0.0),
        size,
        activation: walked.sigmoid.then_some(OutputActivation::Sigmoid),
        classifier_transposed: walked.classifier_transposed,
        recipe,
    };
    let walk::Walked { network, tensors, .. } = walked;
    Ok(Recognised { family, why, network, classes, tensors, notes, proven: Some(proven) })
}

/// The variant whose convolutions have the most of the graph's shapes, in the graph's order.
fn nearest(graph: &Graph) -> Variant {
    let found: Vec<&[usize]> = graph
        .nodes
        .iter()
        .filter(|node| matches!(node.op, Op::Conv { .. }))
        .filter_map(|node| Some(&graph.constants.get(&node.input(1)?)?.shape[..]))
        .collect();
    let relu6 = graph.nodes.iter().any(|node| matches!(node.op, Op::Clip { .. }));
    let fit = |variant: Variant| {
        let network = Network::new(variant, 1);
        let wanted = walk::convolutions(&network);
        let same = wanted.iter().zip(&found).take_while(|(wanted, found)| wanted[..] == ***found);
        // Lite0 and B0-small have the same convolutions.
        (same.count(), wanted.len() == found.len(), variant.is_lite() == relu6)
    };
    // The first of several that fit equally: of what fits nowhere, B0 is the plainest.
    let variants: Vec<Variant> = Variant::all().collect();
    variants.into_iter().rev().max_by_key(|&variant| fit(variant)).unwrap_or(Variant::B0)
}
