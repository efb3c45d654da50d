//! A network as plain data for a driver that builds it itself.

use crate::arch::{Activation, ConvGeometry, Network, NetworkGeometry};
use serde::Serialize;

/// A network at one input size. Its tensors are those of
/// [`packed_tensors`](crate::weights::packed_tensors).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Description {
    /// The variant's name.
    pub variant: &'static str,
    /// `swish`, `relu6` or `none`.
    pub activation: &'static str,
    /// The stem's window.
    pub stem: Window,
    /// The MBConv blocks, in order.
    pub blocks: Vec<Block>,
}

/// One MBConv block.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Block {
    /// Number of the block in the names of its tensors.
    pub index: usize,
    /// Whether the block has an expand convolution.
    pub expand: bool,
    /// The depthwise convolution's window.
    pub depthwise: Window,
    /// Whether the block has squeeze-excite.
    pub squeeze_excite: bool,
    /// Whether the block's input is added to its output.
    pub skip: bool,
}

/// Stride and padding of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Window {
    /// The stride, in both directions.
    pub stride: usize,
    /// Zeros to the left, right, top and bottom: the same number on all sides, if that gives the
    /// same output.
    pub pad: [usize; 4],
}

impl Window {
    fn new(conv: &ConvGeometry) -> Window {
        let ConvGeometry { k, stride, pad_top, pad_left, input, output } = *conv;
        let rows = |x: usize, pads: usize| (x + pads).saturating_sub(k) / stride + 1;
        // Zeros that the last window does not reach are left out.
        let after = |x: usize, out: usize, before: usize| {
            ((out - 1) * stride + k).saturating_sub(x + before)
        };
        let symmetric = pad_top == pad_left
            && rows(input.h, 2 * pad_top) == output.h
            && rows(input.w, 2 * pad_left) == output.w;
        let pad = if symmetric {
            [pad_top; 4]
        } else {
            let right = after(input.w, output.w, pad_left);
            [pad_left, right, pad_top, after(input.h, output.h, pad_top)]
        };
        Window { stride, pad }
    }
}

impl Description {
    /// Describes `network` as `geometry` has it.
    pub fn new(network: &Network, geometry: &NetworkGeometry) -> Description {
        let blocks = network.blocks.iter().zip(&geometry.blocks).map(|(block, conv)| Block {
            index: block.index,
            expand: block.has_expand(),
            depthwise: Window::new(conv),
            squeeze_excite: block.c_se.is_some(),
            skip: block.skip,
        });
        Description {
            variant: network.variant.name(),
            activation: match network.activation {
                Activation::Swish => "swish",
                Activation::Relu6 => "relu6",
                Activation::None => "none",
            },
            stem: Window::new(&geometry.stem),
            blocks: blocks.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Padding, Size, Variant};

    fn described(variant: Variant, size: Size, padding: Padding) -> (Description, NetworkGeometry) {
        let network = Network::new(variant, 10);
        let geometry = NetworkGeometry::new(&network, size, padding).unwrap();
        (Description::new(&network, &geometry), geometry)
    }

    #[test]
    fn pads_give_the_same_output_as_the_geometry() {
        for variant in Variant::all() {
            for padding in [
                Padding::Symmetric,
                Padding::SameDynamic,
                Padding::SameFrozen(Size::square(224)),
                Padding::SameCropped(variant.native()),
            ] {
                for size in [variant.native(), Size { h: 65, w: 97 }, Size::square(128)] {
                    let (found, geometry) = described(variant, size, padding);
                    let windows = std::iter::once(found.stem)
                        .chain(found.blocks.iter().map(|block| block.depthwise));
                    let convs = std::iter::once(&geometry.stem).chain(&geometry.blocks);
                    for (window, conv) in windows.zip(convs) {
                        let [left, right, top, bottom] = window.pad;
                        assert_eq!((left, top), (conv.pad_left, conv.pad_top));
                        let h = (conv.input.h + top + bottom - conv.k) / conv.stride + 1;
                        let w = (conv.input.w + left + right - conv.k) / conv.stride + 1;
                        assert_eq!(Size { h, w }, conv.output, "{variant} {padding} {size}");
                    }
                }
            }
        }
    }

    #[test]
    fn symmetric_pads_stay_symmetric_and_same_pads_do_not() {
        let native = Variant::B0.native();
        let (symmetric, _) = described(Variant::B0, native, Padding::Symmetric);
        assert_eq!(symmetric.stem.pad, [1; 4]);
        assert!(symmetric.blocks.iter().all(|block| block.depthwise.pad.iter().all(|p| *p > 0)));
        let (same, _) = described(Variant::B0, native, Padding::SameDynamic);
        assert_eq!(same.stem.pad, [0, 1, 0, 1]);
        let json = serde_json::to_value(&same).unwrap();
        assert_eq!(json["blocks"][0]["expand"], false);
        assert_eq!(json["blocks"][1]["depthwise"]["stride"], 2);
    }
}
