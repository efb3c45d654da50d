//! The family that a graph's weights are of: it decides the recipe, which no graph has.
//!
//! Exporters keep many of the tensors' own names (PyTorch those that it does not fold, Paddle all),
//! and those are a family's; this project's export says the family. Where nothing does, the padding
//! leaves two families at most, and the note says which was taken.

use super::Shapes;
use super::walk::Walked;
use crate::arch::Padding;
use crate::weights::import::graph::Graph;
use crate::weights::recognise::Hints;
use crate::weights::{Family, Layer, SourceRole};

pub(super) fn family(
    graph: &Graph,
    shapes: &Shapes,
    walked: &Walked,
    padding: Padding,
    hints: Hints,
    notes: &mut Vec<String>,
) -> (Family, String) {
    if let Some(family) = hints.family {
        return (family, "as asked".to_owned());
    }
    if let Some(entry) = hints.published {
        return (entry.family, format!("its digest is that of {} in the catalogue", entry.name));
    }
    let written = graph.properties.get("effnet.family");
    if let Some(family) = written.and_then(|family| family.parse().ok()) {
        return (family, "the file itself says so".to_owned());
    }
    let names_of = |family: Family| (family, "the names of its tensors".to_owned());
    let lite = walked.network.variant.is_lite();
    let symmetric = padding == Padding::Symmetric;
    let timm = if symmetric { Family::Timm } else { Family::TimmTf };
    let lukemelas = if lite { Family::LitePytorch } else { Family::Lukemelas };
    // The classifier is in every export under its own name, but for exporters that number tensors.
    let classifier = walked
        .tensors
        .iter()
        .filter(|tensor| (tensor.layer, tensor.role) == (Layer::Classifier, SourceRole::Weight))
        .map(|tensor| tensor.name.as_str());
    let names = || classifier.clone().chain(shapes.keys().map(String::as_str));
    let has = |part: &str| names().any(|name| name.contains(part));
    if has("_fc_weights") || has("_fc.weight") && has("_ef.") {
        return names_of(Family::PaddleClas);
    }
    if has("efficientnet.encoder.blocks.") {
        return names_of(Family::Transformers);
    }
    if has("_fc.weight") {
        return names_of(lukemelas);
    }
    if has("classifier.1.weight") || has("features.1.0.block") {
        return names_of(Family::Torchvision);
    }
    if has("classifier.weight") || has("conv_stem") || has(".se.conv_reduce") {
        return (timm, format!("the names of its tensors, and its padding, {padding}"));
    }
    if let Some(clue) = hints.clues.first() {
        return (clue.family, clue.text.clone());
    }
    let (family, why) = match graph.producer.contains("Paddle") {
        true => (Family::PaddleClas, "Paddle wrote it".to_owned()),
        false => (timm, format!("its padding is {padding}")),
    };
    notes.push(format!(
        "a graph does not say how images are prepared: took the recipe of family {family} because \
         {why}; if that is wrong, give --family, or --mean, --std, --crop-pct and --interpolation"
    ));
    (family, why)
}
