//! Metadata of a packed file, which it carries itself.

use super::{Family, OutputActivation, Precision};
use crate::arch::{Network, Padding, Size, Variant};
use crate::image::Recipe;
use serde::{Deserialize, Serialize};

/// The description stored in a packed file's safetensors header, as one JSON object under the key
/// [`Metadata::KEY`] (one key, so that equal imports give equal bytes).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Metadata {
    /// Version of the tensors' layouts, [`Metadata::LAYOUT_VERSION`].
    pub layout_version: u32,
    /// Name in the catalogue, or of the source file.
    pub name: String,
    /// The variant, as [`Variant::name`] writes it.
    #[serde(with = "variant_name")]
    pub variant: Variant,
    /// The family that the checkpoint came from.
    pub family: Family,
    /// Type of the convolution and classifier weights.
    pub precision: Precision,
    /// Padding convention.
    pub padding: Padding,
    /// Batch-norm eps that `scale` was computed with.
    pub bn_eps: f64,
    /// Steps from a photograph to the input tensor; the recipe's size is the input size unless
    /// overridden.
    pub recipe: Recipe,
    /// Outputs of the classifier; 0 where the checkpoint has none, and only features can be had.
    pub classes: usize,
    /// From logits to probabilities; files of earlier versions have none, see
    /// [`Metadata::activation`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<OutputActivation>,
    /// Names of the classes.
    pub labels: Labels,
    /// The file that was imported.
    pub source: Source,
}

/// Names of the classes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Labels {
    /// The 1000 classes of ImageNet-1k in their usual order; built into the program.
    Imagenet1k,
    /// One name per class.
    Names(Vec<String>),
    /// Unknown: classes are shown by their numbers.
    None,
}

/// The file that was imported.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// File name without folders.
    pub file_name: String,
    /// SHA-256 of the whole file, in lower-case hexadecimal.
    pub sha256: String,
    /// Container, as in `PyTorch legacy`.
    pub container: String,
}

impl Labels {
    /// Number of names; none where there are no names.
    pub fn count(&self) -> Option<usize> {
        match self {
            Labels::Imagenet1k => Some(1000),
            Labels::Names(names) => Some(names.len()),
            Labels::None => None,
        }
    }
}

impl Metadata {
    /// The safetensors metadata key.
    pub const KEY: &str = "effnet";
    /// Changes whenever a tensor's name, order, shape or layout does.
    pub const LAYOUT_VERSION: u32 = 1;
    /// More classes than any published checkpoint has (21 843) by a wide margin.
    pub const MAX_CLASSES: usize = Network::MAX_CLASSES;

    /// The native size of the variant, for messages.
    pub fn native(&self) -> Size {
        self.variant.native()
    }

    /// The network of the file's tensors.
    pub fn network(&self) -> Network {
        Network::new(self.variant, Metadata::outputs(self.classes))
    }

    /// Outputs of the classifier that is packed and run for this number of classes. Where there are
    /// none it is one of zeros, so that every machine runs the same network; a session does not
    /// show its output, and an exported file does not have it.
    pub fn outputs(classes: usize) -> usize {
        classes.max(1)
    }

    /// From logits to probabilities: as recorded, else the usual function of this number of
    /// classes.
    pub fn activation(&self) -> OutputActivation {
        self.activation.unwrap_or(OutputActivation::usual(self.classes))
    }

    /// Checks the conditions that the types do not: ranges, and that labels and classes agree.
    /// Returns the fault as `(field, expected, found)`.
    pub(crate) fn fault(&self) -> Option<(&'static str, String, String)> {
        if self.classes > Metadata::MAX_CLASSES {
            let expected = format!("at most {}", Metadata::MAX_CLASSES);
            return Some(("classes", expected, self.classes.to_string()));
        }
        if !(self.bn_eps > 0.0 && self.bn_eps < 1.0) {
            return Some(("bn_eps", "between 0 and 1".into(), self.bn_eps.to_string()));
        }
        let named = self.labels.count().unwrap_or(self.classes);
        if named != self.classes {
            return Some(("labels", format!("{} names", self.classes), named.to_string()));
        }
        let sizes = match self.padding {
            Padding::SameFrozen(native) | Padding::SameCropped(native) => {
                [self.recipe.size, native]
            }
            _ => [self.recipe.size; 2],
        };
        for size in sizes {
            if ![size.h, size.w].iter().all(|side| (1..=Size::MAX_SIDE).contains(side)) {
                let expected = format!("sides of 1 to {} pixels", Size::MAX_SIDE);
                return Some(("recipe.size or padding", expected, size.to_string()));
            }
        }
        None
    }
}

pub(super) mod variant_name {
    use crate::arch::Variant;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(variant: &Variant, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(variant.name())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Variant, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}
