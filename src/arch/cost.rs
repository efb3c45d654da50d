//! Parameters and multiply-accumulates.

use super::{Network, NetworkGeometry};

/// Cost of a network at one input size, per image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Costs {
    /// Trainable parameters: convolutions, batch-norm gamma and beta, squeeze-excite, classifier.
    pub parameters: u64,
    /// Multiply-accumulates of all convolutions and the classifier: half of the number usually
    /// called FLOPs.
    pub macs: u64,
}

impl Costs {
    /// Costs of `network` at the sizes of `geometry`.
    pub fn new(network: &Network, geometry: &NetworkGeometry) -> Costs {
        let mut costs = Costs { parameters: 0, macs: 0 };
        // A convolution without bias, followed by a batch-norm over its outputs.
        let mut conv = |weights: usize, c_out: usize, pixels: usize| {
            costs.parameters += (weights + 2 * c_out) as u64;
            costs.macs += weights as u64 * pixels as u64;
        };
        let stem_weights = Network::STEM_K.pow(2) * Network::C_IMAGE * network.c_stem;
        conv(stem_weights, network.c_stem, geometry.stem.output.pixels());
        for (block, sizes) in network.blocks.iter().zip(&geometry.blocks) {
            if block.has_expand() {
                conv(block.c_in * block.c_mid, block.c_mid, sizes.input.pixels());
            }
            conv(block.k.pow(2) * block.c_mid, block.c_mid, sizes.output.pixels());
            conv(block.c_mid * block.c_out, block.c_out, sizes.output.pixels());
        }
        conv(network.c_last() * network.c_head, network.c_head, geometry.last().pixels());

        for block in &network.blocks {
            if let Some(c_se) = block.c_se {
                costs.parameters += (2 * block.c_mid * c_se + c_se + block.c_mid) as u64;
                costs.macs += (2 * block.c_mid * c_se) as u64;
            }
        }
        costs.parameters += ((network.c_head + 1) * network.classes) as u64;
        costs.macs += (network.c_head * network.classes) as u64;
        costs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Padding, Variant};

    #[test]
    fn parameters_and_macs_equal_the_published_counts() {
        #[rustfmt::skip]
        let table = [
            (Variant::B0,       5_288_548, 0.386, 32, 1280, 16),
            (Variant::B1,       7_794_184, 0.687, 32, 1280, 23),
            (Variant::B2,       9_109_994, 0.994, 32, 1408, 23),
            (Variant::B3,      12_233_232, 1.827, 40, 1536, 26),
            (Variant::B4,      19_341_616, 4.394, 48, 1792, 32),
            (Variant::B5,      30_389_784, 10.266, 48, 2048, 39),
            (Variant::B6,      43_040_704, 19.068, 56, 2304, 45),
            (Variant::B7,      66_347_960, 37.746, 64, 2560, 55),
            (Variant::B8,      87_413_142, 62.597, 72, 2816, 61),
            (Variant::B0Small,  4_652_008, 0.385, 32, 1280, 16),
            (Variant::Lite0,    4_652_008, 0.385, 32, 1280, 16),
            (Variant::Lite1,    5_416_680, 0.600, 32, 1280, 21),
            (Variant::Lite2,    6_092_072, 0.860, 32, 1280, 21),
            (Variant::Lite3,    8_197_096, 1.383, 32, 1280, 24),
            (Variant::Lite4,   13_006_568, 2.553, 32, 1280, 30),
        ];
        for (variant, parameters, gmacs, c_stem, c_head, blocks) in table {
            let network = Network::new(variant, 1000);
            let geometry =
                NetworkGeometry::new(&network, variant.native(), Padding::SameDynamic).unwrap();
            let costs = Costs::new(&network, &geometry);
            assert_eq!(costs.parameters, parameters, "{variant}");
            let found = costs.macs as f64 / 1e9;
            assert!((found - gmacs).abs() <= 0.000_501, "{variant}: {found} against {gmacs} GMAC");
            assert_eq!((network.c_stem, network.c_head), (c_stem, c_head), "{variant}");
            assert_eq!(network.blocks.len(), blocks, "{variant}");
        }
    }
}
