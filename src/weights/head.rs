//! The classifier of a checkpoint, as trainers leave it.
//!
//! People put a layer of their own in the place of the family's: `fc` for `classifier`, a sequence
//! of a dropout and a linear layer, a linear layer without bias, or nothing at all, where features
//! are wanted. One linear layer under one of the usual names is the classifier, whatever it is
//! called; several layers are no classifier that this runtime has.

use super::names::{
    classifier, classifier_transposed, is_ignored, separator_and_weight, source_names,
};
use super::recognise::{RecogniseError, Shapes};
use super::{Family, Layer, Metadata, SourceRole, SourceTensor};
use crate::arch::{Network, Variant};

/// The classifier that a checkpoint has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Head {
    /// Nothing after the pooled features.
    None,
    /// One linear layer.
    Linear {
        /// The layer, as in `classifier.1`.
        name: String,
        /// Whether it has a bias; without one, zeros are added.
        bias: bool,
        /// Outputs.
        classes: usize,
    },
}

/// Names that trainers give to a classifier, or to the sequence that has it.
pub(super) const USUAL: [&str; 7] =
    ["classifier", "fc", "_fc", "head", "last_linear", "linear", "dense"];

impl Head {
    /// The classifier of a checkpoint of `family`.
    pub(super) fn of(shapes: &Shapes, family: Family) -> Result<Head, RecogniseError> {
        let own = classifier(family);
        let (separator, _) = separator_and_weight(family);
        // torchvision's is the second of a sequence.
        let (root, _) = own.split_once('.').unwrap_or((own, ""));
        for root in [root].into_iter().chain(USUAL) {
            let inside = |name: &&String| {
                name.strip_prefix(root).is_some_and(|rest| rest.starts_with(separator))
                    && !is_ignored(name)
            };
            let tensors: Vec<&String> = shapes.keys().filter(inside).collect();
            let mut layers: Vec<&str> =
                tensors.iter().filter_map(|name| Some(name.rsplit_once(separator)?.0)).collect();
            layers.dedup();
            match layers[..] {
                [] => continue,
                [layer] => return Head::linear(shapes, family, layer),
                _ => return Err(several(shapes, &tensors, layers.len())),
            }
        }
        Ok(Head::None)
    }

    fn linear(shapes: &Shapes, family: Family, layer: &str) -> Result<Head, RecogniseError> {
        let (separator, weight) = separator_and_weight(family);
        let [weight, bias] = [weight, "bias"].map(|end| format!("{layer}{separator}{end}"));
        let has_bias = shapes.contains_key(&bias);
        let (name, shape, classes) = match (shapes.get(&bias), shapes.get(&weight)) {
            (Some(shape), _) => (bias, shape, (shape.len() == 1).then(|| shape[0])),
            (None, Some(shape)) => {
                let side = if classifier_transposed(family) { 1 } else { 0 };
                (weight, shape, (shape.len() == 2).then(|| shape[side]))
            }
            // Neither: the list of faults has what is there, and what is not.
            (None, None) => {
                return Ok(Head::Linear { name: layer.into(), bias: true, classes: 1000 });
            }
        };
        match classes {
            Some(classes) if (1..=Metadata::MAX_CLASSES).contains(&classes) => {
                Ok(Head::Linear { name: layer.to_owned(), bias: has_bias, classes })
            }
            _ => Err(RecogniseError::Classes { name, found: shape.clone() }),
        }
    }

    /// Outputs; 0 without a classifier.
    pub(super) fn classes(&self) -> usize {
        match self {
            Head::None => 0,
            Head::Linear { classes, .. } => *classes,
        }
    }

    /// The network that is packed.
    pub(super) fn network(&self, variant: Variant) -> Network {
        Network::new(variant, Metadata::outputs(self.classes()))
    }

    /// Every tensor that the family has for a variant, the classifier's as they are here.
    pub(super) fn tensors(&self, family: Family, variant: Variant) -> Vec<SourceTensor> {
        let mut tensors = source_names(family, &self.network(variant));
        match self {
            Head::None => tensors.retain(|tensor| tensor.layer != Layer::Classifier),
            Head::Linear { name, bias, .. } => {
                let is_classifier = |tensor: &SourceTensor| tensor.layer == Layer::Classifier;
                let absent = |tensor: &SourceTensor| !bias && tensor.role == SourceRole::Bias;
                tensors.retain(|tensor| !(is_classifier(tensor) && absent(tensor)));
                for tensor in tensors.iter_mut().filter(|tensor| is_classifier(tensor)) {
                    let (separator, weight) = separator_and_weight(family);
                    let end = if tensor.role == SourceRole::Bias { "bias" } else { weight };
                    tensor.name = format!("{name}{separator}{end}");
                }
            }
        }
        tensors
    }
}

fn several(shapes: &Shapes, tensors: &[&String], layers: usize) -> RecogniseError {
    const SHOWN: usize = 6;
    const SHOWN_CHARS: usize = 80;
    let one = |name: &&String| {
        let shape = shapes.get(*name).map(Vec::as_slice).unwrap_or_default();
        let name: String = name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect();
        format!("  {name} {shape:?}")
    };
    let mut list: Vec<String> = tensors.iter().take(SHOWN).map(one).collect();
    if tensors.len() > SHOWN {
        list.push(format!("  and {} more", tensors.len() - SHOWN));
    }
    RecogniseError::Classifier { layers, list: list.join("\n") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shapes(pairs: &[(&str, &[usize])]) -> Shapes {
        pairs.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec())).collect()
    }

    fn linear(name: &str, bias: bool, classes: usize) -> Result<Head, RecogniseError> {
        Ok(Head::Linear { name: name.to_owned(), bias, classes })
    }

    #[test]
    fn one_linear_layer_under_a_usual_name_is_the_classifier() {
        fn of(family: Family, pairs: &[(&str, &[usize])]) -> Result<Head, RecogniseError> {
            let body: (&str, &[usize]) = ("conv_head.weight", &[1280, 320, 1, 1]);
            let counter: (&str, &[usize]) = ("classifier.num_batches_tracked", &[]);
            Head::of(&shapes(&[&[body, counter], pairs].concat()), family)
        }
        assert_eq!(of(Family::Timm, &[]), Ok(Head::None));
        for name in ["classifier", "classifier.0", "classifier.1", "fc", "head", "head.fc", "fc.2"]
        {
            let [weight, bias] = ["weight", "bias"].map(|end| format!("{name}.{end}"));
            let both: [(&str, &[usize]); 2] = [(&weight, &[3, 1280]), (&bias, &[3])];
            assert_eq!(of(Family::Timm, &both), linear(name, true, 3), "{name}");
            assert_eq!(of(Family::Torchvision, &both), linear(name, true, 3), "{name}");
            assert_eq!(of(Family::Lukemelas, &both[..1]), linear(name, false, 3), "{name}");
        }
        let transposed: (&str, &[usize]) = ("_fc.weight", &[1280, 7]);
        assert_eq!(of(Family::PaddleClas, &[transposed]), linear("_fc", false, 7));
        // The family's own name counts, and what is under another then fits nothing.
        let two: [(&str, &[usize]); 2] = [("classifier.bias", &[3]), ("head.bias", &[4])];
        assert_eq!(of(Family::Timm, &two), linear("classifier", true, 3));
    }

    #[test]
    fn the_tensors_are_named_as_they_are() {
        let names = |head: &Head, family| -> Vec<(String, Vec<usize>)> {
            let tensors = head.tensors(family, Variant::B0).into_iter();
            let tensors = tensors.filter(|tensor| tensor.layer == Layer::Classifier);
            tensors.map(|tensor| (tensor.name, tensor.shape)).collect()
        };
        let head = linear("fc.1", false, 3).unwrap();
        assert_eq!(names(&head, Family::Timm), [("fc.1.weight".to_owned(), vec![3, 1280])]);
        assert_eq!(names(&head, Family::PaddleClas), [("fc.1.weight".to_owned(), vec![1280, 3])]);
        assert_eq!((head.classes(), head.network(Variant::B0).classes), (3, 3));
        assert_eq!(names(&Head::None, Family::Timm), []);
        // Machines run a classifier of one output, which nobody sees.
        assert_eq!((Head::None.classes(), Head::None.network(Variant::B0).classes), (0, 1));
        let all = Head::None.tensors(Family::Timm, Variant::B0).len();
        assert_eq!(all, source_names(Family::Timm, &Network::new(Variant::B0, 5)).len() - 2);
    }

    #[test]
    fn several_layers_are_listed() {
        let mlp = shapes(&[
            ("classifier.0.weight", &[512, 1280]),
            ("classifier.0.bias", &[512]),
            ("classifier.1.running_mean", &[512]),
            ("classifier.3.weight", &[3, 512]),
        ]);
        let error = Head::of(&mlp, Family::Timm).unwrap_err().to_string();
        for part in
            ["3 layers", "  classifier.0.weight [512, 1280]\n", "  classifier.3.weight [3, 512]"]
        {
            assert!(error.contains(part), "{error}");
        }
        let hostile: Shapes =
            (0..100_000).map(|i| (format!("fc.{i}.\u{1b}{}", "x".repeat(200)), vec![1])).collect();
        let error = Head::of(&hostile, Family::Timm).unwrap_err().to_string();
        assert!(error.len() < 2000 && error.contains("and 99994 more"), "{error}");
    }
}
