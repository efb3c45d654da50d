//! The checkpoint families: who published the weights, and under which conventions.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// A family of public checkpoints. The topology is the same for all; a family fixes the tensors'
/// names, the padding, the batch-norm eps, the input normalisation and the resize recipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// timm `efficientnet_*`: symmetric padding, eps 1e-5.
    Timm,
    /// timm `tf_efficientnet_*`: the same names as [`Family::Timm`], but SAME padding, eps 1e-3.
    TimmTf,
    /// torchvision: symmetric padding; eps 1e-5 for B0 to B4, 1e-3 for B5 to B7.
    Torchvision,
    /// lukemelas/EfficientNet-PyTorch: SAME padding frozen at the native size, eps 1e-3.
    Lukemelas,
    /// ml-illustrated's efficientnet-lite-pytorch: the names of [`Family::Lukemelas`].
    LitePytorch,
    /// PaddleClas: SAME padding frozen at the native size (B0_small: symmetric), eps 1e-3.
    PaddleClas,
    /// `keras.applications.EfficientNet*`: SAME padding frozen at the native size, eps 1e-3.
    Keras,
    /// Hugging Face transformers' `EfficientNetForImageClassification`, converted from Keras: SAME
    /// padding frozen at the native size, eps 1e-3.
    Transformers,
}

impl Family {
    /// Every family.
    pub const ALL: [Family; 8] = [
        Family::Timm,
        Family::TimmTf,
        Family::Torchvision,
        Family::Lukemelas,
        Family::LitePytorch,
        Family::PaddleClas,
        Family::Transformers,
        Family::Keras,
    ];

    /// The name used on the command line and in packed files.
    pub fn name(self) -> &'static str {
        match self {
            Family::Timm => "timm",
            Family::TimmTf => "timm-tf",
            Family::Torchvision => "torchvision",
            Family::Lukemelas => "lukemelas",
            Family::LitePytorch => "lite-pytorch",
            Family::PaddleClas => "paddle-clas",
            Family::Transformers => "transformers",
            Family::Keras => "keras",
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no family's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown family '{0}': expected one of {names}",
        names = Family::ALL.map(Family::name).join(", "))]
pub struct UnknownFamily(pub String);

impl FromStr for Family {
    type Err = UnknownFamily;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
        Family::ALL
            .into_iter()
            .find(|family| plain(family.name()) == plain(text))
            .ok_or_else(|| UnknownFamily(text.to_owned()))
    }
}
