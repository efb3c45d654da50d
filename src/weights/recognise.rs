//! Recognition of a checkpoint's family and variant from its tensors' names and shapes.

use super::evidence::Clue;
use super::graph::{GraphFault, Proven};
use super::head::Head;
use super::names::{classifier_bias, is_ignored, stem_weight};
use super::strangers::{Stranger, stranger};
use super::{CatalogueEntry, Family, Metadata, SourceTensor};
use crate::arch::{Network, Variant};
use std::collections::{BTreeMap, HashSet};
use std::fmt;

/// Shapes by tensor name.
pub(super) type Shapes = BTreeMap<String, Vec<usize>>;

/// Facts known from outside the tensors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hints<'a> {
    /// Given by the user: not doubted.
    pub family: Option<Family>,
    /// Given by the user: not doubted.
    pub variant: Option<Variant>,
    /// The catalogue's entry for a file of this digest.
    pub published: Option<&'static CatalogueEntry>,
    /// What else tells timm's two families apart, the most trusted first.
    pub clues: &'a [Clue],
}

/// A checkpoint that was recognised and fits.
#[derive(Debug)]
pub(super) struct Recognised {
    pub family: Family,
    /// Why it is this family, for people.
    pub why: String,
    pub network: Network,
    /// Outputs of the checkpoint's classifier; 0 where it has none.
    pub classes: usize,
    /// Every tensor that the family has for this network, named as the checkpoint names them.
    pub tensors: Vec<SourceTensor>,
    /// Assumptions that were made, for people.
    pub notes: Vec<String>,
    /// What an exported graph proves beside the tensors.
    pub proven: Option<Proven>,
}

/// A tensor that is missing, unexpected, or of another shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorFault {
    /// The name in the checkpoint.
    pub name: String,
    /// The shape that the family and variant ask for; `None` if there should be no such tensor.
    pub expected: Option<Vec<usize>>,
    /// The shape in the checkpoint; `None` if there is no such tensor.
    pub found: Option<Vec<usize>>,
}

impl fmt::Display for TensorFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shape = |shape: &Option<Vec<usize>>| match shape {
            Some(shape) => format!("{shape:?}"),
            None => "nothing".to_owned(),
        };
        // The name may come from a hostile file: no control characters reach the terminal.
        let name = self.name.escape_debug();
        write!(f, "{name}: expected {}, found {}", shape(&self.expected), shape(&self.found))
    }
}

/// Why a checkpoint was not recognised.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RecogniseError {
    /// The names are no family's.
    #[error(
        "the tensor names are of no known family; looked for\n{looked_for}\nfound {found}\n\
         save the model's state dict under its library's own names and import that"
    )]
    UnknownNames {
        /// One line per spelling.
        looked_for: String,
        /// Number of tensors in the file, and the first names.
        found: String,
    },
    /// The tensors are another network's.
    #[error(
        "not of the family that this runtime runs (EfficientNet B0 to B8, Lite0 to Lite4 and \
         B0-small): looks like {network}, for {tensor} {why}; import a checkpoint of the family"
    )]
    Stranger {
        /// The network, as its authors call it.
        network: &'static str,
        /// The tensor that tells.
        tensor: String,
        /// Why it tells.
        why: &'static str,
    },
    /// The names are those of a packed file.
    #[error("this is a packed file already: nothing to import; run it with --weights")]
    Packed,
    /// The family that was asked for has other names.
    #[error(
        "the tensor names are not of family {asked}: expected '{expected}', found '{found}', which \
         is of family {actual}; leave out --family or give that one"
    )]
    OtherFamily {
        /// The family asked for.
        asked: Family,
        /// Name of that family's stem.
        expected: String,
        /// The stem in the file.
        found: String,
        /// A family with that stem.
        actual: Family,
    },
    /// No variant's shapes are near.
    #[error(
        "the tensors' names are of family {family}, but their shapes are of no variant: {seen}; the \
         nearest, {nearest}, differs in {faults} tensors (give --variant {nearest} to see them)"
    )]
    UnknownShapes {
        /// The family.
        family: Family,
        /// Stem, blocks, head and classes of the file.
        seen: String,
        /// The variant with the fewest differences.
        nearest: Variant,
        /// Number of tensors that differ.
        faults: usize,
    },
    /// The classifier has no outputs, or more than any model.
    #[error("{name}: expected {shape} with 1 to {max} classes, found {found:?}",
            shape = if name.ends_with(".bias") { "[classes]" } else { "a matrix" },
            max = Metadata::MAX_CLASSES)]
    Classes {
        /// The classifier's bias; its weight where it has no bias.
        name: String,
        /// Shape of the tensor.
        found: Vec<usize>,
    },
    /// The classifier is more than one linear layer.
    #[error(
        "the classifier has {layers} layers, expected one linear layer:\n{list}\nsave the model with \
         one, or without any (timm: reset_classifier(0)) for its features alone"
    )]
    Classifier {
        /// Number of layers.
        layers: usize,
        /// Its tensors with their shapes, one a line.
        list: String,
    },
    /// The network is for images of another number of channels.
    #[error(
        "{name}: expected {expected:?}, found {found:?}: a network for images of {channels} \
         channel{s}, and this runtime reads three, R, G and B{advice}",
        channels = found[1], s = if found[1] == 1 { "" } else { "s" }, advice = channel_advice(found[1])
    )]
    Channels {
        /// The stem's weights.
        name: String,
        /// The shape with three channels.
        expected: Vec<usize>,
        /// Shape of the tensor, `[c_stem, channels, k, k]`.
        found: Vec<usize>,
    },
    /// Tensors are missing, unexpected, or of other shapes: all of them, one a line.
    #[error("{count} tensors do not fit {variant} of family {family}{hint}:\n{list}",
            count = faults.len(),
            list = faults.iter().map(|fault| format!("  {fault}")).collect::<Vec<_>>().join("\n"))]
    Tensors {
        /// The family.
        family: Family,
        /// The variant.
        variant: Variant,
        /// Another variant whose shapes fit better, in words; else empty.
        hint: String,
        /// Tensors that do not fit.
        faults: Vec<TensorFault>,
    },
    /// An exported graph is another network's.
    #[error(
        "{0}: this graph is none of the family's that can be run; import the checkpoint that it \
         was exported from"
    )]
    Graph(Box<GraphFault>),
}

/// Families of one spelling, of which names alone cannot tell more.
const SPELLINGS: [&[Family]; 6] = [
    &[Family::Timm, Family::TimmTf],
    &[Family::Torchvision],
    &[Family::Lukemelas, Family::LitePytorch],
    &[Family::PaddleClas],
    &[Family::Transformers],
    &[Family::Keras],
];

/// The variants that a family publishes a model definition for.
fn variants(family: Family) -> impl Iterator<Item = Variant> {
    Variant::all().filter(move |&variant| match family {
        // B0-small has the very tensors of Lite0; only PaddleClas has it, and has no Lite.
        Family::PaddleClas => !variant.is_lite() && variant != Variant::B8,
        Family::Timm | Family::TimmTf => variant != Variant::B0Small,
        Family::Torchvision => {
            !variant.is_lite() && !matches!(variant, Variant::B8 | Variant::B0Small)
        }
        Family::Lukemelas | Family::Transformers | Family::Keras => {
            !variant.is_lite() && variant != Variant::B0Small
        }
        Family::LitePytorch => variant.is_lite(),
    })
}

/// Recognises a checkpoint; the result's tensors are all there, in their shapes, and no others.
///
/// A checkpoint that does not fit is named as the network that it looks like, unless the user says
/// which variant it is.
pub(super) fn recognise(shapes: &Shapes, hints: Hints) -> Result<Recognised, RecogniseError> {
    let found = fitting(shapes, hints);
    let unknown = match &found {
        Err(RecogniseError::UnknownNames { .. } | RecogniseError::UnknownShapes { .. }) => true,
        Err(RecogniseError::Tensors { .. }) => hints.variant.is_none(),
        _ => false,
    };
    match stranger(shapes) {
        Some(Stranger { network, tensor, why }) if unknown => {
            Err(RecogniseError::Stranger { network, tensor, why })
        }
        _ => found,
    }
}

fn fitting(shapes: &Shapes, hints: Hints) -> Result<Recognised, RecogniseError> {
    let spelling = spelling(shapes, hints.family)?;
    // Any of the spelling's families gives the same names.
    let head = Head::of(shapes, spelling[0])?;

    let variant_of = |family: Family| nearest(shapes, family, &head);
    let mut notes = Vec::new();
    let published = hints.published.filter(|entry| spelling.contains(&entry.family));
    let (family, why) = match (hints.family, published, spelling) {
        (Some(family), ..) => (family, "as asked".to_owned()),
        (_, Some(entry), _) => {
            (entry.family, format!("its digest is that of {} in the catalogue", entry.name))
        }
        (.., [Family::Timm, _]) => {
            let variant = hints.variant.or_else(|| variant_of(Family::Timm).map(|(v, _)| v));
            timm_or_tf(variant, hints.clues, &mut notes)
        }
        (.., [Family::Lukemelas, _]) => {
            let squeezes = shapes.keys().any(|name| name.contains("._se_reduce."));
            let (family, squeeze) = match squeezes {
                true => (Family::Lukemelas, "with"),
                false => (Family::LitePytorch, "without"),
            };
            (family, format!("the names of its tensors, {squeeze} squeeze-excite"))
        }
        (.., families) => (families[0], "the names of its tensors".to_owned()),
    };

    let best = variant_of(family);
    let variant = match (hints.variant, best) {
        (Some(variant), _) => variant,
        (None, Some((variant, faults))) => {
            if faults > shapes.len() / 2 {
                let seen = seen(shapes, family, head.classes());
                return Err(RecogniseError::UnknownShapes {
                    family,
                    seen,
                    nearest: variant,
                    faults,
                });
            }
            variant
        }
        (None, None) => unreachable!("every family has variants"),
    };

    let tensors = head.tensors(family, variant);
    let faults = faults(shapes, &tensors);
    if let [TensorFault { name, expected: Some(expected), found: Some(found) }] = &faults[..]
        && is_of_other_channels(name, expected, found, family)
    {
        let (name, expected, found) = (name.clone(), expected.clone(), found.clone());
        return Err(RecogniseError::Channels { name, expected, found });
    }
    if !faults.is_empty() {
        let hint = match best {
            Some((better, 0)) if better != variant => {
                format!(" (all of them fit {better}: give --variant {better}, or leave it out)")
            }
            _ => String::new(),
        };
        return Err(RecogniseError::Tensors { family, variant, hint, faults });
    }
    match &head {
        Head::None => notes.push(
            "the checkpoint has no classifier: its features can be had, and no classes".to_owned(),
        ),
        Head::Linear { name, bias, .. } => {
            if !bias {
                notes.push(format!(
                    "the classifier '{}' has no bias: took zeros",
                    name.escape_debug()
                ));
            }
        }
    }
    let (network, classes) = (head.network(variant), head.classes());
    Ok(Recognised { family, why, network, classes, tensors, notes, proven: None })
}

/// Whether a stem that does not fit differs in the number of the image's channels alone.
fn is_of_other_channels(name: &str, expected: &[usize], found: &[usize], family: Family) -> bool {
    let others = |shape: &[usize]| [&shape[..1], &shape[2..]].concat();
    name == stem_weight(family)
        && found.len() == expected.len()
        && found[1] > 0
        && others(found) == others(expected)
}

fn channel_advice(channels: usize) -> &'static str {
    match channels {
        1 => {
            "; for grey images, pad the weights with zeros for two more channels, \
             torch.nn.functional.pad(w, (0, 0, 0, 0, 0, 2)), and import that: of an image whose three \
             channels are equal it computes the same, with the same mean and std for all three"
        }
        _ => "; no part of the weights can be left out without other logits",
    }
}

/// The families whose stem the checkpoint has.
fn spelling(shapes: &Shapes, asked: Option<Family>) -> Result<&'static [Family], RecogniseError> {
    let present = |families: &&&[Family]| shapes.contains_key(&stem_weight(families[0]));
    if let Some(asked) = asked {
        let own = SPELLINGS.iter().find(|families| families.contains(&asked));
        let other = SPELLINGS.iter().find(present);
        return match (own, other) {
            (Some(own), _) if present(&own) => Ok(own),
            (_, Some(other)) => Err(RecogniseError::OtherFamily {
                asked,
                expected: stem_weight(asked),
                found: stem_weight(other[0]),
                actual: other[0],
            }),
            // A stem is missing: the list of faults says so, with all the rest.
            (Some(own), None) if shapes.contains_key(&classifier_bias(asked)) => Ok(own),
            _ => Err(unknown_names(shapes)),
        };
    }
    SPELLINGS.iter().find(present).copied().ok_or_else(|| unknown_names(shapes))
}

fn unknown_names(shapes: &Shapes) -> RecogniseError {
    // Names that only `packed_tensors` gives.
    if ["stem.scale", "stem.shift", "classifier.weight"].iter().all(|&n| shapes.contains_key(n)) {
        return RecogniseError::Packed;
    }
    let looked_for: Vec<String> = SPELLINGS
        .iter()
        .map(|families| {
            let names: Vec<&str> = families.iter().map(|family| family.name()).collect();
            format!("  {} for {}", stem_weight(families[0]), names.join(" or "))
        })
        .collect();
    const SHOWN: usize = 5;
    const SHOWN_CHARS: usize = 80;
    let first: Vec<String> = shapes
        .keys()
        .take(SHOWN)
        .map(|name| name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect())
        .collect();
    let more = if shapes.len() > SHOWN { ", ..." } else { "" };
    RecogniseError::UnknownNames {
        looked_for: looked_for.join("\n"),
        found: format!("{} tensors: {}{more}", shapes.len(), first.join(", ")),
    }
}

/// The right one of the two families that share timm's names, and why.
fn timm_or_tf(
    variant: Option<Variant>,
    clues: &[Clue],
    notes: &mut Vec<String>,
) -> (Family, String) {
    if let Some(clue) = clues.first() {
        return (clue.family, clue.text.clone());
    }
    // timm publishes weights without `tf_` only up to B5, and for Lite0.
    let only_tf = variant.is_some_and(|variant| {
        matches!(variant, Variant::B6 | Variant::B7 | Variant::B8)
            || (variant.is_lite() && variant != Variant::Lite0)
    });
    let (family, other, why) = if only_tf {
        (Family::TimmTf, Family::Timm, "timm publishes no other weights of this variant")
    } else {
        (Family::Timm, Family::TimmTf, "nothing says 'tf_'")
    };
    notes.push(format!(
        "timm's efficientnet_* and tf_efficientnet_* have the same tensors but other padding and \
         eps; took family {family} because {why}, neither the file itself, nor a config.json beside \
         it, nor its name, nor a folder's: if that is wrong, give --family {other}"
    ));
    (family, why.to_owned())
}

/// The variant of the family that differs in the fewest tensors, and the number of those.
fn nearest(shapes: &Shapes, family: Family, head: &Head) -> Option<(Variant, usize)> {
    variants(family)
        .map(|variant| (variant, faults(shapes, &head.tensors(family, variant)).len()))
        .min_by_key(|&(_, faults)| faults)
}

/// Everything that does not fit: first the tensors that the network needs, in its order, then the
/// ones that it does not.
fn faults(shapes: &Shapes, tensors: &[SourceTensor]) -> Vec<TensorFault> {
    let mut list = Vec::new();
    let needed = tensors.iter().filter(|tensor| !is_ignored(&tensor.name));
    for tensor in needed {
        let found = shapes.get(&tensor.name);
        if found != Some(&tensor.shape) {
            list.push(TensorFault {
                name: tensor.name.clone(),
                expected: Some(tensor.shape.clone()),
                found: found.cloned(),
            });
        }
    }
    let known: HashSet<&str> = tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    for (name, shape) in shapes {
        if !known.contains(name.as_str()) && !is_ignored(name) {
            let found = Some(shape.clone());
            list.push(TensorFault { name: name.clone(), expected: None, found });
        }
    }
    list
}

/// The shapes that tell variants apart, as found.
fn seen(shapes: &Shapes, family: Family, classes: usize) -> String {
    let stem = stem_weight(family);
    let shape = shapes.get(&stem).map_or("nothing".to_owned(), |shape| format!("{shape:?}"));
    format!("{} tensors, {stem} {shape}, {classes} classes", shapes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::weights::catalogue;
    use crate::weights::evidence::Evidence;
    use crate::weights::import::Facts;
    use crate::weights::source_names;
    use std::path::Path;

    fn shapes(family: Family, variant: Variant, classes: usize) -> Shapes {
        source_names(family, &Network::new(variant, classes))
            .into_iter()
            .map(|tensor| (tensor.name, tensor.shape))
            .collect()
    }

    #[test]
    fn every_published_pair_is_recognised() {
        for family in Family::ALL {
            for variant in variants(family) {
                let prefix = if family == Family::TimmTf { "tf_" } else { "" };
                let path = format!("{prefix}efficientnet_{variant}.pth");
                let evidence = Evidence::of(Path::new(&path), &Facts::new());
                let hints = Hints { clues: &evidence.clues, ..Hints::default() };
                let found = recognise(&shapes(family, variant, 10), hints).unwrap();
                assert_eq!((found.family, found.network.variant), (family, variant));
                assert_eq!(found.network.classes, 10);
                assert!(found.notes.is_empty(), "{:?}", found.notes);
            }
        }
    }

    #[test]
    fn timm_and_tf_are_told_apart_by_what_is_known() {
        let clues = |path: &str| Evidence::of(Path::new(path), &Facts::new()).clues;
        let [none, plain, folder] = [
            "model.safetensors",
            "efficientnet_b0.pth",
            "tf_efficientnet_b0.ns_jft_in1k/model.safetensors",
        ]
        .map(clues);
        let of = |variant, hints| {
            let found = recognise(&shapes(Family::Timm, variant, 1000), hints).unwrap();
            (found.family, found.notes.len(), found.why)
        };
        let with = |clues| Hints { clues, ..Hints::default() };
        let silent = "nothing says 'tf_'".to_owned();
        assert_eq!(of(Variant::B0, with(&none)), (Family::Timm, 1, silent));
        let only = "timm publishes no other weights of this variant".to_owned();
        assert_eq!(of(Variant::B7, with(&none)), (Family::TimmTf, 1, only.clone()));
        assert_eq!(of(Variant::Lite2, with(&none)), (Family::TimmTf, 1, only));
        let why = "a folder above it says tf_efficientnet_b0.ns_jft_in1k".to_owned();
        assert_eq!(of(Variant::B0, with(&folder)), (Family::TimmTf, 0, why));
        let named = |name: &str| catalogue().iter().find(|entry| entry.name == name).unwrap();
        let entry = named("timm/tf_efficientnet_b0.ns_jft_in1k");
        let published = Hints { published: Some(entry), ..with(&plain) };
        let (family, notes, why) = of(Variant::B0, published);
        assert_eq!((family, notes), (Family::TimmTf, 0));
        assert!(why.contains("timm/tf_efficientnet_b0.ns_jft_in1k in the catalogue"), "{why}");
        let asked = Hints { family: Some(Family::Timm), clues: &folder, ..published };
        assert_eq!(of(Variant::B0, asked), (Family::Timm, 0, "as asked".to_owned()));
        let none = with(&none);
        let note = &recognise(&shapes(Family::Timm, Variant::B0, 1000), none).unwrap().notes[0];
        assert!(note.contains("--family timm-tf"), "{note}");
    }

    #[test]
    fn every_fault_is_listed_at_once() {
        let mut shapes = shapes(Family::Torchvision, Variant::B0, 1000);
        shapes.remove("features.0.1.bias");
        shapes.insert("features.0.0.weight".into(), vec![32, 4, 3, 3]);
        shapes.insert("aux.weight".into(), vec![2]);
        shapes.insert("aux.num_batches_tracked".into(), vec![]);
        let error = recognise(&shapes, Hints::default()).unwrap_err().to_string();
        assert_eq!(
            error,
            "3 tensors do not fit b0 of family torchvision:\n  \
             features.0.0.weight: expected [32, 3, 3, 3], found [32, 4, 3, 3]\n  \
             features.0.1.bias: expected [32], found nothing\n  \
             aux.weight: expected nothing, found [2]"
        );
    }

    #[test]
    fn a_checkpoint_without_a_classifier_has_features() {
        let mut shapes = shapes(Family::Timm, Variant::B2, 1000);
        shapes.retain(|name, _| !name.starts_with("classifier."));
        let hints = Hints { family: Some(Family::TimmTf), ..Hints::default() };
        let found = recognise(&shapes, hints).unwrap();
        assert_eq!((found.classes, found.network.classes), (0, 1));
        assert_eq!(found.network.variant, Variant::B2);
        assert!(found.notes[0].contains("no classifier"), "{:?}", found.notes);
        // What is missing beside it is a fault, and no classifier is asked for.
        shapes.remove("bn2.bias");
        let error = recognise(&shapes, hints).unwrap_err().to_string();
        assert!(error.starts_with("1 tensors do not fit") && error.contains("bn2.bias"), "{error}");
    }

    #[test]
    fn other_numbers_of_channels_are_refused_plainly() {
        for (channels, advice) in [(1, "(0, 0, 0, 0, 0, 2)"), (4, "no part of the weights")] {
            let mut shapes = shapes(Family::TimmTf, Variant::B0, 3);
            shapes.insert("conv_stem.weight".into(), vec![32, channels, 3, 3]);
            let error = recognise(&shapes, Hints::default()).unwrap_err();
            assert!(matches!(error, RecogniseError::Channels { .. }), "{error}");
            let error = error.to_string();
            let start = format!(
                "conv_stem.weight: expected [32, 3, 3, 3], found [32, {channels}, 3, 3]: a network \
                 for images of {channels} channel"
            );
            assert!(error.starts_with(&start) && error.contains(advice), "{error}");
        }
    }

    #[test]
    fn a_variant_that_does_not_fit_is_an_error_with_the_better_one() {
        let hints = Hints { variant: Some(Variant::B1), ..Hints::default() };
        let error = recognise(&shapes(Family::Lukemelas, Variant::B2, 7), hints).unwrap_err();
        let RecogniseError::Tensors { hint, faults, .. } = &error else { panic!("{error}") };
        assert!(hint.contains("--variant b2"), "{hint}");
        assert!(error.to_string().contains("_conv_head.weight: expected [1280, 320, 1, 1], found"));
        assert!(faults.len() > 50);
    }

    #[test]
    fn an_explicit_variant_may_be_one_that_the_family_does_not_publish() {
        let hints = Hints {
            variant: Some(Variant::B0Small),
            family: Some(Family::Timm),
            ..Hints::default()
        };
        let found = recognise(&shapes(Family::Timm, Variant::Lite0, 1000), hints).unwrap();
        assert_eq!(found.network.variant, Variant::B0Small);
    }

    #[test]
    fn relatives_are_refused_by_their_own_names() {
        let mut condconv = shapes(Family::TimmTf, Variant::B0, 1000);
        condconv.insert("blocks.6.0.routing_fn.weight".into(), vec![4, 192]);
        condconv.insert("blocks.6.0.conv_pw.weight".into(), vec![4, 221_184]);
        let error = recognise(&condconv, Hints::default()).unwrap_err().to_string();
        for part in ["not of the family", "CondConv", "blocks.6.0.routing_fn.weight [4, 192]"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let hints = Hints { variant: Some(Variant::B0), ..Hints::default() };
        let error = recognise(&condconv, hints).unwrap_err();
        assert!(matches!(error, RecogniseError::Tensors { .. }), "{error}");

        let mut group_norm = shapes(Family::Timm, Variant::B0, 1000);
        group_norm.retain(|name, _| !name.contains("running_") && !is_ignored(name));
        let error = recognise(&group_norm, Hints::default()).unwrap_err().to_string();
        assert!(error.contains("looks like an EfficientNet with group-norm"), "{error}");

        let name = "layer1.0.conv1.weight".to_owned();
        let error = recognise(&Shapes::from([(name, vec![64, 64, 3, 3])]), Hints::default());
        let error = error.unwrap_err().to_string();
        assert!(error.contains("looks like ResNet, for layer1.0.conv1.weight [64,"), "{error}");
    }

    #[test]
    fn what_is_no_efficientnet_is_refused() {
        let resnet = Shapes::from([
            ("conv1.weight".to_owned(), vec![64, 3, 7, 7]),
            ("fc.bias".to_owned(), vec![1000]),
        ]);
        let error = recognise(&resnet, Hints::default()).unwrap_err().to_string();
        for part in ["conv_stem.weight for timm or timm-tf", "2 tensors: conv1.weight, fc.bias"] {
            assert!(error.contains(part), "{part}: {error}");
        }
        let hostile = Shapes::from([(format!("\u{1b}[2J{}", "x".repeat(1 << 20)), vec![1])]);
        let error = recognise(&hostile, Hints::default()).unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");

        let hints = Hints { family: Some(Family::Timm), ..Hints::default() };
        let paddle = shapes(Family::PaddleClas, Variant::B0, 1000);
        let error = recognise(&paddle, hints).unwrap_err().to_string();
        assert!(error.contains("which is of family paddle-clas"), "{error}");

        let mut only_stem = Shapes::from([("conv_stem.weight".to_owned(), vec![32, 3, 3, 3])]);
        let error = recognise(&only_stem, Hints::default()).unwrap_err().to_string();
        assert!(error.contains("shapes are of no variant"), "{error}");
        for shape in [vec![], vec![0], vec![1 << 40], vec![1000, 1]] {
            only_stem.insert("classifier.bias".into(), shape);
            let error = recognise(&only_stem, Hints::default()).unwrap_err().to_string();
            assert!(error.starts_with("classifier.bias: expected [classes]"), "{error}");
        }
    }
}
