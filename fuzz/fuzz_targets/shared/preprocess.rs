//! An image by the way that the program takes it.

use effnet::arch::Size;
use effnet::image::{Framing, ImageError, Interpolation, Recipe, Rounding, ShortSide, preprocess};

/// An error, or a tensor. A panic of a decoder, which the library catches and makes an error, counts
/// as a fault here.
pub fn check(file: &[u8]) {
    for interpolation in [Interpolation::PillowBicubic, Interpolation::OpencvBilinear] {
        let recipe = Recipe {
            interpolation,
            framing: Framing::ResizeThenCrop {
                short_side: ShortSide::Margin(4),
                rounding: Rounding::Torchvision,
            },
            mean: [0.5; 3],
            std: [0.5; 3],
            exif_orientation: true,
            size: Size::square(16),
        };
        let mut tensor = [0.0; 16 * 16 * 3];
        match preprocess(file, &recipe, &mut tensor) {
            Ok(_) => assert!(tensor.iter().all(|value| value.abs() <= 1.0)),
            Err(ImageError::Decoder { format, detail }) => panic!("{format}: {detail}"),
            Err(_) => {}
        }
    }
}
