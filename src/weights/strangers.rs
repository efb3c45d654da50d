//! Networks that are not of the family, known by the names and shapes of their tensors.
//!
//! Many relatives are built of the same blocks and have most of the family's names: what tells them
//! apart is one kind of tensor each, which is named.

use super::recognise::Shapes;

/// A network of another family.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stranger {
    /// The network, as its authors call it.
    pub(super) network: &'static str,
    /// The tensor that tells.
    pub(super) tensor: String,
    /// Why it tells.
    pub(super) why: &'static str,
}

/// A kind of tensor that the family does not have: of this name, or with this in it.
struct Mark(fn(&str, &[usize]) -> bool, &'static str, &'static str);

/// The first that any tensor has, counts.
const MARKS: &[Mark] = &[
    Mark(
        |name, _| name.starts_with("box_net.") || name.starts_with("class_net."),
        "EfficientDet",
        "is of a detector's heads",
    ),
    Mark(
        |name, _| name.ends_with(".routing_fn.weight"),
        "an EfficientNet with conditional convolutions (CondConv, tf_efficientnet_cc_*)",
        "mixes several kernels for each image",
    ),
    Mark(
        |name, _| name.contains(".conv_s2d."),
        "EfficientNet-X or -H",
        "moves space into channels",
    ),
    Mark(|name, _| name.contains(".ghost1."), "GhostNet", "is a ghost module's"),
    Mark(
        |name, _| name.starts_with("norm_head.") || name.contains(".dw_start."),
        "MobileNetV4",
        "has no counterpart",
    ),
    Mark(
        |name, _| {
            [".conv_pw.0.weight", ".conv_dw.0.weight", ".conv_pwl.0.weight"]
                .iter()
                .any(|end| name.ends_with(end))
        },
        "MixNet",
        "is one of several kernels side by side",
    ),
    Mark(
        |name, _| name == "blocks.0.0.conv_exp.weight",
        "EfficientNet-EdgeTPU (efficientnet_es, _em, _el)",
        "is a full convolution where the family has a depthwise one",
    ),
    Mark(
        |name, shape| {
            name == "blocks.0.0.conv.weight"
                || name.ends_with(".conv_exp.weight")
                || (name == "features.1.0.block.0.0.weight" && shape.len() == 4 && shape[1] > 1)
        },
        "EfficientNetV2",
        "is a full convolution where the family has a depthwise one",
    ),
    Mark(
        |name, shape| {
            let depthwise =
                name.ends_with(".conv_dw.weight") || name.ends_with("depthwise_conv.weight");
            depthwise && shape.len() == 4 && shape[1] > 1
        },
        "an EfficientNet with grouped convolutions (efficientnet_b*_g8_gn, _g16_evos)",
        "takes several channels where the family takes one",
    ),
    Mark(|name, _| name == "bn1.v", "a network with EvoNorm", "belongs to no batch-norm"),
    Mark(|name, _| name == "conv_head.bias", "MobileNetV3", "stands where a batch-norm would"),
    Mark(|name, _| name == "blocks.0.0.conv_pwl.weight", "FBNet", "is not in the first block"),
    Mark(|name, _| name == "layer1.0.conv1.weight", "ResNet", NAMES),
    Mark(|name, _| name.ends_with("relative_position_bias_table"), "Swin Transformer", NAMES),
    Mark(
        |name, _| name.ends_with("cls_token") || name.ends_with("patch_embed.proj.weight"),
        "a vision transformer",
        NAMES,
    ),
    Mark(|name, _| name.starts_with("s1.b1.conv1."), "RegNet", NAMES),
    Mark(|name, _| name.starts_with("features.denseblock1."), "DenseNet", NAMES),
    Mark(
        |name, _| name == "stages.0.blocks.0.gamma" || name == "features.1.0.layer_scale",
        "ConvNeXt",
        NAMES,
    ),
    Mark(|name, _| name.starts_with("Mixed_7c."), "Inception", NAMES),
    Mark(|name, _| name == "features.1.conv.0.0.weight", "torchvision's MobileNetV2", NAMES),
    Mark(|name, shape| name == "features.0.weight" && shape == [64, 3, 3, 3], "VGG", NAMES),
];

const NAMES: &str = "is a tensor of that network";

/// Blocks per stage of relatives that have no tensor of their own.
const DEPTHS: &[(&[usize], bool, &str)] = &[
    (&[1, 2, 3, 4, 3, 3, 1], false, "MobileNetV2"),
    (&[1, 3, 3, 3, 2, 4, 1], false, "MnasNet"),
    (&[1, 2, 3, 4, 2, 3, 1], true, "MnasNet-A1 (semnasnet)"),
];

/// The network of these tensors, if it is known and not of the family.
pub(super) fn stranger(shapes: &Shapes) -> Option<Stranger> {
    for Mark(tells, network, why) in MARKS {
        if let Some((name, shape)) = shapes.iter().find(|(name, shape)| tells(name, shape)) {
            let tensor = format!("{} {shape:?}", shown(name));
            return Some(Stranger { network, tensor, why });
        }
    }
    // torchvision's MobileNetV3 ends in two layers, and its stem has 16 channels.
    if shapes.contains_key("features.0.0.weight") && shapes.contains_key("classifier.3.weight") {
        let tensor = "classifier.3.weight".to_owned();
        return Some(Stranger { network: "torchvision's MobileNetV3", tensor, why: NAMES });
    }
    let statistics = |name: &String| {
        ["running_mean", "_mean", "moving_mean"].iter().any(|end| name.ends_with(end))
    };
    if shapes.contains_key("conv_stem.weight")
        && shapes.contains_key("bn1.weight")
        && !shapes.keys().any(statistics)
    {
        return Some(Stranger {
            network: "an EfficientNet with group-norm (efficientnet_b*_gn)",
            tensor: "bn1.weight".to_owned(),
            why: "has no running mean beside it, as a batch-norm has",
        });
    }
    let depths = depths(shapes);
    let squeezes = shapes.keys().any(|name| name.contains(".se."));
    let (_, _, network) =
        DEPTHS.iter().find(|(known, se, _)| *known == depths && *se == squeezes)?;
    let tensor = format!("blocks.* of {depths:?} blocks a stage");
    Some(Stranger { network, tensor, why: "fits that network" })
}

/// Blocks per stage, by timm's names.
fn depths(shapes: &Shapes) -> Vec<usize> {
    const MAX_STAGES: usize = 16;
    let mut depths = vec![0; MAX_STAGES];
    for name in shapes.keys() {
        let Some(rest) = name.strip_prefix("blocks.") else { continue };
        let mut numbers = rest.split('.').map(str::parse::<usize>);
        let (Some(Ok(stage)), Some(Ok(block))) = (numbers.next(), numbers.next()) else { continue };
        if let Some(depth) = depths.get_mut(stage) {
            *depth = block.saturating_add(1).max(*depth);
        }
    }
    let stages = depths.iter().rposition(|&depth| depth > 0).map_or(0, |last| last + 1);
    depths.truncate(stages);
    depths
}

/// A name of a file that may be hostile, fit for a message.
fn shown(name: &str) -> String {
    const SHOWN_CHARS: usize = 80;
    name.chars().take(SHOWN_CHARS).flat_map(char::escape_debug).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Name and shape.
    type Tensor = (&'static str, &'static [usize]);

    fn of(tensors: &[Tensor]) -> Option<&'static str> {
        let shapes = tensors.iter().map(|(name, shape)| ((*name).to_owned(), shape.to_vec()));
        stranger(&shapes.collect()).map(|stranger| stranger.network)
    }

    /// A block of each stage of timm's networks, and what is around them.
    fn timm(depths: &[usize], se: bool) -> Vec<(String, Vec<usize>)> {
        let mut list = vec![("conv_stem.weight".to_owned(), vec![32, 3, 3, 3])];
        list.push(("bn1.weight".to_owned(), vec![32]));
        list.push(("bn1.running_mean".to_owned(), vec![32]));
        for (stage, &depth) in depths.iter().enumerate() {
            for block in 0..depth {
                list.push((format!("blocks.{stage}.{block}.conv_dw.weight"), vec![96, 1, 3, 3]));
                if se {
                    let name = format!("blocks.{stage}.{block}.se.conv_reduce.weight");
                    list.push((name, vec![8, 96, 1, 1]));
                }
            }
        }
        list
    }

    /// Names and shapes as timm 1.0 and torchvision 0.29 give them, the first that tell.
    #[test]
    fn relatives_are_known_by_what_the_family_does_not_have() {
        const STEM: Tensor = ("conv_stem.weight", &[32, 3, 3, 3]);
        const MEAN: Tensor = ("bn1.running_mean", &[32]);
        const GAMMA: Tensor = ("bn1.weight", &[32]);
        #[rustfmt::skip]
        let table: &[(&str, &[Tensor])] = &[
            ("EfficientNetV2", &[STEM, GAMMA, MEAN, ("blocks.0.0.conv.weight", &[24, 24, 3, 3]), ("blocks.1.0.conv_exp.weight", &[96, 24, 3, 3])]),
            ("EfficientNetV2", &[("features.0.0.weight", &[24, 3, 3, 3]), ("features.1.0.block.0.0.weight", &[24, 24, 3, 3])]),
            ("EfficientNet-EdgeTPU (efficientnet_es, _em, _el)", &[STEM, ("blocks.0.0.conv_exp.weight", &[96, 32, 3, 3])]),
            ("MixNet", &[STEM, ("blocks.1.0.conv_pw.0.weight", &[48, 8, 1, 1])]),
            ("MobileNetV3", &[STEM, ("conv_head.bias", &[1280])]),
            ("MobileNetV4", &[STEM, ("blocks.0.0.conv.weight", &[32, 32, 3, 3]), ("norm_head.weight", &[1280])]),
            ("an EfficientNet with conditional convolutions (CondConv, tf_efficientnet_cc_*)", &[STEM, ("blocks.4.0.routing_fn.weight", &[4, 80])]),
            ("an EfficientNet with group-norm (efficientnet_b*_gn)", &[STEM, GAMMA, ("blocks.0.0.conv_dw.weight", &[32, 1, 3, 3])]),
            ("an EfficientNet with grouped convolutions (efficientnet_b*_g8_gn, _g16_evos)", &[STEM, ("blocks.0.0.conv_dw.weight", &[32, 16, 3, 3])]),
            ("a network with EvoNorm", &[STEM, ("bn1.v", &[24])]),
            ("EfficientNet-X or -H", &[STEM, ("blocks.0.0.conv_s2d.weight", &[160, 40, 2, 2])]),
            ("FBNet", &[("conv_stem.weight", &[16, 3, 3, 3]), MEAN, GAMMA, ("blocks.0.0.conv_pwl.weight", &[16, 16, 1, 1])]),
            ("GhostNet", &[STEM, ("blocks.0.0.ghost1.primary_conv.0.weight", &[8, 16, 1, 1])]),
            ("ResNet", &[("conv1.weight", &[64, 3, 7, 7]), ("layer1.0.conv1.weight", &[64, 64, 3, 3])]),
            ("a vision transformer", &[("cls_token", &[1, 1, 192])]),
            ("Swin Transformer", &[("layers.0.blocks.0.attn.relative_position_bias_table", &[169, 3]), ("patch_embed.proj.weight", &[96, 3, 4, 4])]),
            ("RegNet", &[("s1.b1.conv1.conv.weight", &[24, 32, 1, 1])]),
            ("DenseNet", &[("features.denseblock1.denselayer1.norm1.weight", &[64])]),
            ("ConvNeXt", &[("stages.0.blocks.0.gamma", &[40])]),
            ("VGG", &[("features.0.weight", &[64, 3, 3, 3])]),
            ("Inception", &[("Mixed_7c.branch_pool.bn.running_mean", &[192])]),
            ("torchvision's MobileNetV2", &[("features.0.0.weight", &[32, 3, 3, 3]), ("features.1.conv.0.0.weight", &[32, 1, 3, 3])]),
            ("torchvision's MobileNetV3", &[("features.0.0.weight", &[16, 3, 3, 3]), ("classifier.3.weight", &[1000, 1280])]),
            ("EfficientDet", &[("backbone.conv_stem.weight", &[32, 3, 3, 3]), ("box_net.predict.conv_dw.weight", &[64, 1, 3, 3])]),
        ];
        for (network, tensors) in table {
            assert_eq!(of(tensors), Some(*network), "{tensors:?}");
        }
    }

    /// What `tests/field/hub.py` took from the networks of timm and torchvision.
    #[test]
    fn the_libraries_own_networks_are_named() {
        let text = include_str!("../../tests/fixtures/hub/strangers.json");
        let mut found: std::collections::BTreeMap<String, Shapes> =
            serde_json::from_str(text).unwrap();
        #[rustfmt::skip]
        let table = [
            ("timm/efficientnetv2_rw_t", "EfficientNetV2"),
            ("timm/efficientnet_es", "EfficientNet-EdgeTPU"),
            ("timm/mixnet_s", "MixNet"),
            ("timm/mobilenetv2_100", "MobileNetV2"),
            ("timm/mobilenetv3_large_100", "MobileNetV3"),
            ("timm/mobilenetv4_conv_small", "MobileNetV4"),
            ("timm/tf_efficientnet_cc_b0_4e", "CondConv"),
            ("timm/efficientnet_b0_gn", "group-norm"),
            ("timm/efficientnet_b0_g16_evos", "grouped convolutions"),
            ("timm/efficientnet_x_b3", "EfficientNet-X"),
            ("timm/semnasnet_100", "MnasNet-A1"),
            ("timm/fbnetc_100", "FBNet"),
            ("timm/ghostnet_100", "GhostNet"),
            ("timm/resnet18", "ResNet"),
            // Its first convolution is V2's; its norms are EvoNorm's.
            ("timm/test_efficientnet_evos", "EfficientNetV2"),
            ("torchvision/efficientnet_v2_s", "EfficientNetV2"),
            ("torchvision/mobilenet_v2", "MobileNetV2"),
            ("torchvision/mobilenet_v3_large", "MobileNetV3"),
        ];
        for (name, network) in table {
            let found = stranger(&found.remove(name).unwrap()).map(|stranger| stranger.network);
            assert!(found.is_some_and(|found| found.contains(network)), "{name}: {found:?}");
        }
        assert!(found.is_empty(), "{:?}", found.keys());
    }

    #[test]
    fn relatives_without_a_tensor_of_their_own_are_known_by_their_depths() {
        for (depths, se, network) in DEPTHS {
            let found = stranger(&timm(depths, *se).into_iter().collect());
            assert_eq!(found.map(|stranger| stranger.network), Some(*network));
            assert!(stranger(&timm(depths, !se).into_iter().collect()).is_none());
        }
        // Numbers out of all reason ask for no memory.
        let far = format!("blocks.{}.{}.conv_dw.weight", usize::MAX, usize::MAX);
        assert!(depths(&[(far, vec![])].into_iter().collect()).is_empty());
    }

    #[test]
    fn the_family_is_no_stranger() {
        use crate::arch::{Network, Variant};
        use crate::weights::{Family, source_names};
        for family in Family::ALL {
            for variant in Variant::all() {
                let tensors = source_names(family, &Network::new(variant, 1000));
                let shapes = tensors.into_iter().map(|t| (t.name, t.shape)).collect();
                assert_eq!(stranger(&shapes), None, "{family} {variant}");
            }
        }
    }
}
