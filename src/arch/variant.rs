//! The variants and the compound scaling rules that tell them apart.

use std::fmt;
use std::str::FromStr;

/// The activation after a batch-norm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Activation {
    /// `x * sigmoid(x)` (also called SiLU): every variant but the Lite family.
    Swish,
    /// `min(max(x, 0), 6)`: the Lite family.
    Relu6,
    /// The identity: after the `project` convolution.
    None,
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Activation::Swish => "swish",
            Activation::Relu6 => "relu6",
            Activation::None => "none",
        })
    }
}

/// A member of the family.
///
/// Sources: Tan and Le, "EfficientNet" (ICML 2019), table 1 and section 3.3 for `B0` to `B7`; Xie
/// et al., "Adversarial Examples Improve Image Recognition" (CVPR 2020), appendix for `B8`;
/// PaddleClas for `B0Small` (B0 without squeeze-excite); Google's `efficientnet/lite` for `Lite0`
/// to `Lite4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)] // the names are the documentation
pub enum Variant {
    B0,
    B1,
    B2,
    B3,
    B4,
    B5,
    B6,
    B7,
    B8,
    B0Small,
    Lite0,
    Lite1,
    Lite2,
    Lite3,
    Lite4,
}

/// The defining constants of a variant: one row per variant.
struct Row {
    variant: Variant,
    name: &'static str,
    width: f64,
    depth: f64,
    native_size: usize,
    dropout: f32,
}

const fn row(
    variant: Variant,
    name: &'static str,
    width: f64,
    depth: f64,
    native_size: usize,
    dropout: f32,
) -> Row {
    Row { variant, name, width, depth, native_size, dropout }
}

#[rustfmt::skip]
const ROWS: [Row; 15] = [
    //                                 width depth  size dropout
    row(Variant::B0,      "b0",        1.0,  1.0,   224, 0.2),
    row(Variant::B1,      "b1",        1.0,  1.1,   240, 0.2),
    row(Variant::B2,      "b2",        1.1,  1.2,   260, 0.3),
    row(Variant::B3,      "b3",        1.2,  1.4,   300, 0.3),
    row(Variant::B4,      "b4",        1.4,  1.8,   380, 0.4),
    row(Variant::B5,      "b5",        1.6,  2.2,   456, 0.4),
    row(Variant::B6,      "b6",        1.8,  2.6,   528, 0.5),
    row(Variant::B7,      "b7",        2.0,  3.1,   600, 0.5),
    row(Variant::B8,      "b8",        2.2,  3.6,   672, 0.5),
    row(Variant::B0Small, "b0-small",  1.0,  1.0,   224, 0.2),
    row(Variant::Lite0,   "lite0",     1.0,  1.0,   224, 0.2),
    row(Variant::Lite1,   "lite1",     1.0,  1.1,   240, 0.2),
    row(Variant::Lite2,   "lite2",     1.1,  1.2,   260, 0.3),
    row(Variant::Lite3,   "lite3",     1.2,  1.4,   280, 0.3),
    row(Variant::Lite4,   "lite4",     1.4,  1.8,   300, 0.3),
];

impl Variant {
    /// Every variant, in the order of their size within each family.
    pub fn all() -> impl Iterator<Item = Variant> {
        ROWS.iter().map(|row| row.variant)
    }

    fn row(self) -> &'static Row {
        &ROWS[self as usize]
    }

    /// The name used on the command line and in packed files, as in `b0`, `b0-small`, `lite0`.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The width coefficient `w`: every channel count is scaled by it.
    pub fn width(self) -> f64 {
        self.row().width
    }

    /// The depth coefficient `d`: every stage's number of blocks is scaled by it.
    pub fn depth(self) -> f64 {
        self.row().depth
    }

    /// The side, in pixels, of the square input that the variant was designed for.
    pub fn native_size(self) -> usize {
        self.row().native_size
    }

    /// The dropout rate before the classifier: only training uses it.
    pub fn dropout(self) -> f32 {
        self.row().dropout
    }

    /// Whether the variant is one of `lite0` to `lite4`: relu6, no squeeze-excite, stem and head
    /// unscaled.
    pub fn is_lite(self) -> bool {
        matches!(
            self,
            Variant::Lite0 | Variant::Lite1 | Variant::Lite2 | Variant::Lite3 | Variant::Lite4
        )
    }

    /// Whether the blocks have squeeze-excite.
    pub fn has_squeeze_excite(self) -> bool {
        !self.is_lite() && self != Variant::B0Small
    }

    /// The activation after the stem, expand, depthwise and head convolutions.
    pub fn activation(self) -> Activation {
        if self.is_lite() { Activation::Relu6 } else { Activation::Swish }
    }

    /// `round_filters`: a base channel count, scaled by the width coefficient and rounded to a
    /// multiple of 8, but never to less than 90 % of the scaled count.
    pub fn scale_channels(self, base: usize) -> usize {
        const DIVISOR: usize = 8;
        let scaled = base as f64 * self.width();
        let rounded = DIVISOR.max((scaled + DIVISOR as f64 / 2.0) as usize / DIVISOR * DIVISOR);
        if (rounded as f64) < 0.9 * scaled { rounded + DIVISOR } else { rounded }
    }

    /// `round_repeats`: a stage's base number of blocks, scaled by the depth coefficient and
    /// rounded up.
    pub fn scale_repeats(self, base: usize) -> usize {
        (base as f64 * self.depth()).ceil() as usize
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no variant's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown variant '{0}': expected one of {names}", names = variant_names())]
pub struct UnknownVariant(pub String);

fn variant_names() -> String {
    ROWS.iter().map(|row| row.name).collect::<Vec<_>>().join(", ")
}

impl FromStr for Variant {
    type Err = UnknownVariant;

    /// Reads a variant's name, also as other projects write it: `EfficientNetB0_small`,
    /// `efficientnet_b0`, `efficientnet-lite0`, `tf_efficientnet_b0`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
        let wanted = plain(text);
        let wanted = wanted.strip_prefix("tf").unwrap_or(&wanted);
        let wanted = wanted.strip_prefix("efficientnet").unwrap_or(wanted);
        ROWS.iter()
            .find(|row| plain(row.name) == wanted)
            .map(|row| row.variant)
            .ok_or_else(|| UnknownVariant(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_stand_in_the_order_of_the_enum() {
        for (index, row) in ROWS.iter().enumerate() {
            assert_eq!(row.variant as usize, index, "{}", row.name);
        }
    }

    #[test]
    fn names_are_read_as_every_project_writes_them() {
        for variant in Variant::all() {
            assert_eq!(variant.name().parse(), Ok(variant));
        }
        for (text, variant) in [
            ("EfficientNetB0_small", Variant::B0Small),
            ("tf_efficientnet_b7", Variant::B7),
            ("efficientnet-lite4", Variant::Lite4),
        ] {
            assert_eq!(text.parse(), Ok(variant), "{text}");
        }
        let error = "b9".parse::<Variant>().unwrap_err().to_string();
        assert!(error.contains("'b9'") && error.contains("b0-small"), "{error}");
    }
}
