//! Spatial sizes: padding conventions, and the output size of each convolution.

use super::{Network, Variant};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Height and width in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Height.
    pub h: usize,
    /// Width.
    pub w: usize,
}

impl Size {
    /// The largest side that any part of the project accepts: keeps products within 32 bits.
    pub const MAX_SIDE: usize = 4096;

    /// A square.
    pub fn square(side: usize) -> Size {
        Size { h: side, w: side }
    }

    /// Number of pixels.
    pub fn pixels(self) -> usize {
        self.h * self.w
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.h, self.w)
    }
}

/// How a convolution's input is padded. The conventions differ only where a stride-2 convolution
/// meets an even side; a checkpoint works only with the one that it was trained with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Padding {
    /// `k / 2` on every side: timm `efficientnet_*`, torchvision, PaddleClas
    /// `EfficientNetB0_small`.
    Symmetric,
    /// TensorFlow's SAME, computed from the actual input: timm `tf_efficientnet_*`. The sum of both
    /// sides is `max((ceil(x / stride) - 1) * stride + k - x, 0)`; the smaller half goes first.
    SameDynamic,
    /// SAME as it is at the given (native) input size, kept for every other size: lukemelas,
    /// efficientnet-lite-pytorch, Hugging Face's transformers.
    SameFrozen(Size),
    /// [`Padding::SameFrozen`] as PaddleClas's B0 to B7 compute it. Where the two sides differ, a
    /// convolution is padded by the smaller one and the stride on both, and loses its first row and
    /// column: what goes last is the smaller side and the stride. That is the same function, but
    /// for an odd map where the native one is even: there it gives a row and a column more
    /// (`cal_padding` and `need_crop` in `ppcls/arch/backbone/model_zoo/efficientnet.py`).
    SameCropped(Size),
}

impl fmt::Display for Padding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Padding::Symmetric => f.write_str("symmetric"),
            Padding::SameDynamic => f.write_str("SAME"),
            Padding::SameFrozen(size) => write!(f, "SAME frozen at {size}"),
            Padding::SameCropped(size) => write!(f, "SAME frozen at {size}, cropped"),
        }
    }
}

/// One convolution's window and sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ConvGeometry {
    /// Side of the kernel.
    pub k: usize,
    /// Stride, the same in both directions.
    pub stride: usize,
    /// Zero rows above the input.
    pub pad_top: usize,
    /// Zero columns left of the input.
    pub pad_left: usize,
    /// Input size.
    pub input: Size,
    /// Output size.
    pub output: Size,
}

/// Why there are no sizes for a network, an input and a padding convention.
#[derive(Clone, Debug, thiserror::Error, PartialEq, Eq)]
pub enum GeometryError {
    /// An input size for which the network has no output.
    #[error(
        "input size {size} is not usable: each side must be between 1 and {max} pixels, found \
         {side}", max = Size::MAX_SIDE
    )]
    Input {
        /// The input size asked for.
        size: Size,
        /// The side at fault.
        side: usize,
    },
    /// A padding convention that is frozen at a size which no network has.
    #[error(
        "padding frozen at {size} is not usable: each side must be between 1 and {max} pixels, \
         found {side}", max = Size::MAX_SIDE
    )]
    Frozen {
        /// The size that the padding is frozen at.
        size: Size,
        /// The side at fault.
        side: usize,
    },
    /// More classes than any network has.
    #[error("{found} classes are not usable: expected at most {max}", max = Network::MAX_CLASSES)]
    Classes {
        /// The number of classes.
        found: usize,
    },
    /// The network's parts are not those that its variant's scaling rules give.
    #[error(
        "the network was changed after it was made: expected what Network::new gives for {variant}"
    )]
    Network {
        /// The variant that the network names.
        variant: Variant,
    },
}

/// The side of a size that is out of range, if one is.
fn side_out_of_range(size: Size) -> Option<usize> {
    [size.h, size.w].into_iter().find(|side| !(1..=Size::MAX_SIDE).contains(side))
}

/// Padding before and after along one direction, where `x`, `k` and `stride` are at least 1.
fn same_padding(x: usize, k: usize, stride: usize) -> (usize, usize) {
    let total = ((x.div_ceil(stride) - 1) * stride + k).saturating_sub(x);
    (total / 2, total - total / 2)
}

/// Spatial sizes of a whole network for one input size and padding convention.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkGeometry {
    /// Size of the input image.
    pub input: Size,
    /// The stem convolution.
    pub stem: ConvGeometry,
    /// Each block's depthwise convolution.
    pub blocks: Vec<ConvGeometry>,
}

impl NetworkGeometry {
    /// Sizes of `network` for images of `input` pixels.
    ///
    /// # Errors
    ///
    /// If a side of the input, or of the size that the padding is frozen at, is 0 or larger than
    /// [`Size::MAX_SIDE`]; if there are more than [`Network::MAX_CLASSES`] classes; if the network
    /// is not what [`Network::new`] gives. Within these limits no product of sizes, channels and a
    /// plan's batch overflows 64 bits.
    pub fn new(
        network: &Network,
        input: Size,
        padding: Padding,
    ) -> Result<NetworkGeometry, GeometryError> {
        if let Some(side) = side_out_of_range(input) {
            return Err(GeometryError::Input { size: input, side });
        }
        let Network { variant, classes, .. } = *network;
        if classes > Network::MAX_CLASSES {
            return Err(GeometryError::Classes { found: classes });
        }
        if *network != Network::new(variant, classes) {
            return Err(GeometryError::Network { variant });
        }
        // Frozen pads follow the sizes that a native input would have had at the same place.
        let mut frozen = match padding {
            Padding::SameFrozen(native) | Padding::SameCropped(native) => Some(native),
            Padding::Symmetric | Padding::SameDynamic => None,
        };
        if let Some(size) = frozen
            && let Some(side) = side_out_of_range(size)
        {
            return Err(GeometryError::Frozen { size, side });
        }
        let mut x = input;
        let mut conv = |k: usize, stride: usize| {
            let pads = |actual: usize, native: Option<usize>| match padding {
                Padding::Symmetric => (k / 2, k / 2),
                Padding::SameDynamic => same_padding(actual, k, stride),
                Padding::SameFrozen(_) => same_padding(native.unwrap_or(actual), k, stride),
                Padding::SameCropped(_) => {
                    match same_padding(native.unwrap_or(actual), k, stride) {
                        (first, last) if first == last => (first, last),
                        (first, _) => (first, first + stride),
                    }
                }
            };
            let (top, bottom) = pads(x.h, frozen.map(|size| size.h));
            let (left, right) = pads(x.w, frozen.map(|size| size.w));
            // A frozen pad may be too short for a one-pixel input: such a map keeps one pixel.
            let out = |x: usize, lo: usize, hi: usize| (x + lo + hi).saturating_sub(k) / stride + 1;
            let output = Size { h: out(x.h, top, bottom), w: out(x.w, left, right) };
            let geometry =
                ConvGeometry { k, stride, pad_top: top, pad_left: left, input: x, output };
            x = output;
            if let Some(size) = &mut frozen {
                *size = Size { h: size.h.div_ceil(stride), w: size.w.div_ceil(stride) };
            }
            geometry
        };
        let stem = conv(Network::STEM_K, Network::STEM_STRIDE);
        let blocks = network.blocks.iter().map(|block| conv(block.k, block.stride)).collect();
        Ok(NetworkGeometry { input, stem, blocks })
    }

    /// Size of the last block's output, which the head convolution and the pool read.
    pub fn last(&self) -> Size {
        self.blocks.last().map_or(self.stem.output, |block| block.output)
    }
}

impl Variant {
    /// The native input as a size.
    pub fn native(self) -> Size {
        Size::square(self.native_size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// (lo, hi) of the stride-2 convolutions at native size, from the published implementations.
    #[test]
    fn same_padding_at_native_sizes() {
        #[rustfmt::skip]
        let table: [(Variant, [(usize, usize); 5]); 13] = [
            (Variant::B0,    [(224, 0), (112, 0), (56, 1), (28, 0), (14, 1)]),
            (Variant::B1,    [(240, 0), (120, 0), (60, 1), (30, 0), (15, 2)]),
            (Variant::B2,    [(260, 0), (130, 0), (65, 2), (33, 1), (17, 2)]),
            (Variant::B3,    [(300, 0), (150, 0), (75, 2), (38, 0), (19, 2)]),
            (Variant::B4,    [(380, 0), (190, 0), (95, 2), (48, 0), (24, 1)]),
            (Variant::B5,    [(456, 0), (228, 0), (114, 1), (57, 1), (29, 2)]),
            (Variant::B6,    [(528, 0), (264, 0), (132, 1), (66, 0), (33, 2)]),
            (Variant::B7,    [(600, 0), (300, 0), (150, 1), (75, 1), (38, 1)]),
            (Variant::B8,    [(672, 0), (336, 0), (168, 1), (84, 0), (42, 1)]),
            (Variant::B0Small, [(224, 0), (112, 0), (56, 1), (28, 0), (14, 1)]),
            (Variant::Lite0, [(224, 0), (112, 0), (56, 1), (28, 0), (14, 1)]),
            (Variant::Lite3, [(280, 0), (140, 0), (70, 1), (35, 1), (18, 1)]),
            (Variant::Lite4, [(300, 0), (150, 0), (75, 2), (38, 0), (19, 2)]),
        ];
        for (variant, expected) in table {
            let network = Network::new(variant, 1000);
            let native = variant.native();
            for padding in
                [Padding::SameDynamic, Padding::SameFrozen(native), Padding::SameCropped(native)]
            {
                let sizes = NetworkGeometry::new(&network, variant.native(), padding).unwrap();
                let found: Vec<_> = std::iter::once(&sizes.stem)
                    .chain(sizes.blocks.iter().filter(|conv| conv.stride == 2))
                    .map(|conv| (conv.input.h, conv.pad_top))
                    .collect();
                assert_eq!(found, expected, "{variant} {padding}");
            }
        }
    }

    #[test]
    fn every_convention_halves_upwards_at_stride_two() {
        for variant in Variant::all() {
            let network = Network::new(variant, 1000);
            for side in [1, 2, 7, 33, 64, 225] {
                for padding in [Padding::SameDynamic, Padding::Symmetric] {
                    let size = Size { h: side, w: side + 3 };
                    let sizes = NetworkGeometry::new(&network, size, padding).unwrap();
                    let convs = std::iter::once(&sizes.stem).chain(&sizes.blocks);
                    for conv in convs {
                        assert_eq!(conv.output.h, conv.input.h.div_ceil(conv.stride));
                        assert_eq!(conv.output.w, conv.input.w.div_ceil(conv.stride));
                    }
                }
            }
        }
    }

    #[test]
    fn frozen_pads_do_not_follow_the_input() {
        // B1 at 256: the fourth stride-2 convolution sees 16, but keeps the (2, 2) of its native
        // 15.
        let network = Network::new(Variant::B1, 1000);
        let at = |padding| {
            let sizes = NetworkGeometry::new(&network, Size::square(256), padding).unwrap();
            *sizes.blocks.iter().filter(|conv| conv.stride == 2).nth(3).unwrap()
        };
        assert_eq!(at(Padding::SameDynamic).pad_top, 1);
        let frozen = at(Padding::SameFrozen(Size::square(240)));
        assert_eq!((frozen.input.h, frozen.pad_top, frozen.output.h), (16, 2, 8));
    }

    /// Sizes of the stride-2 convolutions' maps as PaddleClas 2.6 computes them: at 65 the stem's
    /// map is 33, where a frozen pad leaves 32.
    #[test]
    fn cropped_pads_keep_a_row_more_of_an_odd_map() {
        let network = Network::new(Variant::B0, 1000);
        let native = Variant::B0.native();
        let sides = |side, padding| {
            let sizes = NetworkGeometry::new(&network, Size::square(side), padding).unwrap();
            let convs = std::iter::once(&sizes.stem)
                .chain(sizes.blocks.iter().filter(|conv| conv.stride == 2));
            convs.map(|conv| conv.output.h).collect::<Vec<_>>()
        };
        assert_eq!(sides(65, Padding::SameFrozen(native)), [32, 16, 8, 4, 2]);
        assert_eq!(sides(65, Padding::SameCropped(native)), [33, 17, 9, 5, 3]);
        for even in [64, 128, 224] {
            let frozen = sides(even, Padding::SameFrozen(native));
            assert_eq!(sides(even, Padding::SameCropped(native)), frozen);
        }
        assert_eq!(sides(1, Padding::SameCropped(native)), [1; 5]);
    }

    #[test]
    fn sides_out_of_range_are_refused() {
        let network = Network::new(Variant::B0, 1000);
        let native = Size::square(224);
        let sizes = [
            (Size { h: 0, w: 224 }, 0),
            (Size { h: 224, w: 4097 }, 4097),
            (Size { h: usize::MAX, w: 1 }, usize::MAX),
        ];
        for (size, side) in sizes {
            let at = |size, padding| NetworkGeometry::new(&network, size, padding).unwrap_err();
            assert_eq!(at(size, Padding::Symmetric), GeometryError::Input { size, side });
            for padding in [Padding::SameFrozen(size), Padding::SameCropped(size)] {
                assert_eq!(at(native, padding), GeometryError::Frozen { size, side });
            }
        }
    }

    #[test]
    fn networks_that_no_variant_has_are_refused() {
        let size = Size::square(64);
        let at = |network: &Network| NetworkGeometry::new(network, size, Padding::Symmetric);
        let mut network = Network::new(Variant::B0, Network::MAX_CLASSES);
        at(&network).unwrap();
        for found in [Network::MAX_CLASSES + 1, usize::MAX] {
            network.classes = found;
            assert_eq!(at(&network), Err(GeometryError::Classes { found }));
        }
        let changes: [fn(&mut Network); 4] = [
            |network| network.blocks[1].stride = 0,
            |network| network.blocks[2].k = usize::MAX,
            |network| network.c_head = usize::MAX,
            |network| network.blocks.truncate(3),
        ];
        for change in changes {
            let mut network = Network::new(Variant::B0, 10);
            change(&mut network);
            assert_eq!(at(&network), Err(GeometryError::Network { variant: Variant::B0 }));
        }
    }
}
