//! The tensors of a public checkpoint: each family's names and shapes, as one table per family.
//!
//! The topology is the same everywhere; only the spelling differs, and three traps with it:
//!
//! - A block without `expand` numbers its parts differently in timm and torchvision: timm's
//!   `conv_pw` is the *projection* there, and `bn1` the depthwise's.
//! - PaddleClas names the first block of a stage `_blocks` and the others `block`, with two dots
//!   after the number, and stores the classifier as `[in, out]`.
//! - Keras keeps a convolution as `[k, k, c_in, c_out]`, a depthwise one as `[k, k, c, 1]`, and the
//!   classifier as `[in, out]`.
//! - The PyTorch families carry `num_batches_tracked` beside each batch-norm; inference ignores it.

use super::{Family, Layer};
use crate::arch::{BlockSpec, Network};

/// Role of a checkpoint's tensor in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SourceRole {
    /// Weights of a convolution, `[c_out, c_in, k, k]` but for Keras, or of the classifier.
    Weight,
    /// Bias of a squeeze-excite convolution or of the classifier, `[c_out]`; in an exported graph
    /// also of a convolution that its batch-norm is folded into.
    Bias,
    /// Batch-norm's factor, `[c]`.
    Gamma,
    /// Batch-norm's summand, `[c]`.
    Beta,
    /// Batch-norm's running mean, `[c]`.
    Mean,
    /// Batch-norm's running variance, `[c]`.
    Variance,
    /// PyTorch's training step counter, a scalar: not needed.
    BatchesTracked,
}

/// One tensor of a checkpoint, as its family names and shapes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceTensor {
    /// The key in the state dict.
    pub name: String,
    /// The shape in the state dict; row-major.
    pub shape: Vec<usize>,
    /// The layer that the tensor belongs to.
    pub layer: Layer,
    /// Role of the tensor in the layer.
    pub role: SourceRole,
}

/// Names of a convolution's module and of its batch-norm's.
struct ConvBn(&'static str, &'static str);

/// Names within a block, after the block's prefix.
struct BlockNames {
    expand: ConvBn,
    depthwise: ConvBn,
    se_reduce: &'static str,
    se_expand: &'static str,
    project: ConvBn,
}

/// One family's names of the tensors.
struct Names {
    stem: ConvBn,
    /// Prefix of the names of a block.
    block: fn(&BlockSpec) -> String,
    with_expand: BlockNames,
    without_expand: BlockNames,
    head_conv: ConvBn,
    classifier: &'static str,
    /// Stands between a module's name and a tensor's.
    separator: &'static str,
    /// The weights of convolutions and of the classifier; their biases are `bias` everywhere.
    weight: &'static str,
    /// Batch-norm's factor and summand.
    affine: [&'static str; 2],
    /// Running mean and running variance.
    statistics: [&'static str; 2],
    batches_tracked: bool,
    /// Whether the classifier's weights are `[c_head, classes]`, not `[classes, c_head]`.
    classifier_transposed: bool,
    /// Whether a convolution's weights are `[k, k, c_in, c_out]`, and a depthwise one's
    /// `[k, k, c, 1]`.
    channels_last: bool,
}

/// Stands where a block has no expand convolution: never read.
const ABSENT: ConvBn = ConvBn("", "");

const TIMM: Names = Names {
    stem: ConvBn("conv_stem", "bn1"),
    block: |block| format!("blocks.{}.{}.", block.stage, block.index_in_stage),
    with_expand: BlockNames {
        expand: ConvBn("conv_pw", "bn1"),
        depthwise: ConvBn("conv_dw", "bn2"),
        se_reduce: "se.conv_reduce",
        se_expand: "se.conv_expand",
        project: ConvBn("conv_pwl", "bn3"),
    },
    without_expand: BlockNames {
        expand: ABSENT,
        depthwise: ConvBn("conv_dw", "bn1"),
        se_reduce: "se.conv_reduce",
        se_expand: "se.conv_expand",
        project: ConvBn("conv_pw", "bn2"),
    },
    head_conv: ConvBn("conv_head", "bn2"),
    classifier: "classifier",
    separator: ".",
    weight: "weight",
    affine: ["weight", "bias"],
    statistics: ["running_mean", "running_var"],
    batches_tracked: true,
    classifier_transposed: false,
    channels_last: false,
};

const TORCHVISION: Names = Names {
    stem: ConvBn("features.0.0", "features.0.1"),
    block: |block| format!("features.{}.{}.block.", block.stage + 1, block.index_in_stage),
    with_expand: BlockNames {
        expand: ConvBn("0.0", "0.1"),
        depthwise: ConvBn("1.0", "1.1"),
        se_reduce: "2.fc1",
        se_expand: "2.fc2",
        project: ConvBn("3.0", "3.1"),
    },
    without_expand: BlockNames {
        expand: ABSENT,
        depthwise: ConvBn("0.0", "0.1"),
        se_reduce: "1.fc1",
        se_expand: "1.fc2",
        project: ConvBn("2.0", "2.1"),
    },
    head_conv: ConvBn("features.8.0", "features.8.1"),
    classifier: "classifier.1",
    separator: ".",
    weight: "weight",
    affine: ["weight", "bias"],
    statistics: ["running_mean", "running_var"],
    batches_tracked: true,
    classifier_transposed: false,
    channels_last: false,
};

const LUKEMELAS_BLOCK: BlockNames = BlockNames {
    expand: ConvBn("_expand_conv", "_bn0"),
    depthwise: ConvBn("_depthwise_conv", "_bn1"),
    se_reduce: "_se_reduce",
    se_expand: "_se_expand",
    project: ConvBn("_project_conv", "_bn2"),
};

const LUKEMELAS: Names = Names {
    stem: ConvBn("_conv_stem", "_bn0"),
    block: |block| format!("_blocks.{}.", block.index),
    with_expand: LUKEMELAS_BLOCK,
    without_expand: LUKEMELAS_BLOCK,
    head_conv: ConvBn("_conv_head", "_bn1"),
    classifier: "_fc",
    separator: ".",
    weight: "weight",
    affine: ["weight", "bias"],
    statistics: ["running_mean", "running_var"],
    batches_tracked: true,
    classifier_transposed: false,
    channels_last: false,
};

const PADDLE_CLAS_BLOCK: BlockNames = BlockNames {
    expand: ConvBn("_ecn._conv._conv._conv", "_ecn._conv._bn"),
    depthwise: ConvBn("_dcn._conv._conv._conv", "_dcn._conv._bn"),
    se_reduce: "_se._conv1._conv",
    se_expand: "_se._conv2._conv",
    project: ConvBn("_pcn._conv._conv._conv", "_pcn._conv._bn"),
};

const PADDLE_CLAS: Names = Names {
    stem: ConvBn("_ef._conv_stem._conv._conv._conv", "_ef._conv_stem._conv._bn"),
    block: |block| {
        let list = if block.index_in_stage == 0 { "_blocks" } else { "block" };
        // Paddle's sublayer name itself ends in a dot.
        format!("_ef.{list}.{}..", block.index)
    },
    with_expand: PADDLE_CLAS_BLOCK,
    without_expand: PADDLE_CLAS_BLOCK,
    head_conv: ConvBn("_conv._conv._conv", "_conv._bn"),
    classifier: "_fc",
    separator: ".",
    weight: "weight",
    affine: ["weight", "bias"],
    statistics: ["_mean", "_variance"],
    batches_tracked: false,
    classifier_transposed: true,
    channels_last: false,
};

const TRANSFORMERS_BLOCK: BlockNames = BlockNames {
    expand: ConvBn("expansion.expand_conv", "expansion.expand_bn"),
    depthwise: ConvBn("depthwise_conv.depthwise_conv", "depthwise_conv.depthwise_norm"),
    se_reduce: "squeeze_excite.reduce",
    se_expand: "squeeze_excite.expand",
    project: ConvBn("projection.project_conv", "projection.project_bn"),
};

const TRANSFORMERS: Names = Names {
    stem: ConvBn("efficientnet.embeddings.convolution", "efficientnet.embeddings.batchnorm"),
    block: |block| format!("efficientnet.encoder.blocks.{}.", block.index),
    with_expand: TRANSFORMERS_BLOCK,
    without_expand: TRANSFORMERS_BLOCK,
    head_conv: ConvBn("efficientnet.encoder.top_conv", "efficientnet.encoder.top_bn"),
    classifier: "classifier",
    separator: ".",
    weight: "weight",
    affine: ["weight", "bias"],
    statistics: ["running_mean", "running_var"],
    batches_tracked: true,
    classifier_transposed: false,
    channels_last: false,
};

const KERAS_BLOCK: BlockNames = BlockNames {
    expand: ConvBn("expand_conv", "expand_bn"),
    depthwise: ConvBn("dwconv", "bn"),
    se_reduce: "se_reduce",
    se_expand: "se_expand",
    project: ConvBn("project_conv", "project_bn"),
};

const KERAS: Names = Names {
    stem: ConvBn("stem_conv", "stem_bn"),
    block: |block| {
        // No variant has as many blocks in a stage as there are letters.
        let letter = char::from(b'a' + (block.index_in_stage % 26) as u8);
        format!("block{}{letter}_", block.stage + 1)
    },
    with_expand: KERAS_BLOCK,
    without_expand: KERAS_BLOCK,
    head_conv: ConvBn("top_conv", "top_bn"),
    classifier: "predictions",
    separator: "/",
    weight: "kernel",
    affine: ["gamma", "beta"],
    statistics: ["moving_mean", "moving_variance"],
    batches_tracked: false,
    classifier_transposed: true,
    channels_last: true,
};

fn names(family: Family) -> &'static Names {
    match family {
        Family::Timm | Family::TimmTf => &TIMM,
        Family::Torchvision => &TORCHVISION,
        Family::Lukemelas | Family::LitePytorch => &LUKEMELAS,
        Family::PaddleClas => &PADDLE_CLAS,
        Family::Transformers => &TRANSFORMERS,
        Family::Keras => &KERAS,
    }
}

/// Whether the family stores the classifier's weights as `[c_head, classes]`.
pub(super) fn classifier_transposed(family: Family) -> bool {
    names(family).classifier_transposed
}

/// Whether the family stores convolutions as `[k, k, c_in, c_out]`, and depthwise ones as
/// `[k, k, c, 1]`.
pub(super) fn channels_last(family: Family) -> bool {
    names(family).channels_last
}

/// The stem's weights: the tensor that a family is known by.
pub(super) fn stem_weight(family: Family) -> String {
    let Names { stem: ConvBn(stem, _), separator, weight, .. } = names(family);
    format!("{stem}{separator}{weight}")
}

/// What stands between a module's name and a tensor's, and the name of weights.
pub(super) fn separator_and_weight(family: Family) -> (&'static str, &'static str) {
    let Names { separator, weight, .. } = names(family);
    (separator, weight)
}

/// The classifier's bias, as the family itself calls it.
pub(super) fn classifier_bias(family: Family) -> String {
    let Names { classifier, separator, .. } = names(family);
    format!("{classifier}{separator}bias")
}

/// The classifier, as the family itself calls it.
pub(super) fn classifier(family: Family) -> &'static str {
    names(family).classifier
}

/// Whether inference has no use for a tensor of this name, whatever the family: PyTorch's step
/// counters and Paddle's table of parameter names.
pub(super) fn is_ignored(name: &str) -> bool {
    name == "num_batches_tracked"
        || name.ends_with(".num_batches_tracked")
        || name.starts_with("StructuredToParameterName@@")
        || is_normalization(name)
}

/// Whether a tensor is of the layer that normalises Keras's images: the recipe's.
pub(super) fn is_normalization(name: &str) -> bool {
    ["mean", "variance", "count"].iter().any(|end| {
        name.strip_suffix(end)
            .and_then(|layer| layer.strip_suffix('/'))
            .and_then(|layer| layer.strip_prefix("normalization"))
            .is_some_and(|number| {
                number.trim_start_matches('_').bytes().all(|b| b.is_ascii_digit())
            })
    })
}

/// The tensors of a checkpoint, as they are listed.
struct List {
    names: &'static Names,
    tensors: Vec<SourceTensor>,
}

impl List {
    fn push(&mut self, name: String, shape: &[usize], layer: Layer, role: SourceRole) {
        self.tensors.push(SourceTensor { name, shape: shape.to_vec(), layer, role });
    }

    /// A convolution of `shape`, `[c_out, c_in / groups, k, k]`, and its batch-norm.
    fn conv_bn(
        &mut self,
        layer: Layer,
        prefix: &str,
        ConvBn(conv, bn): &ConvBn,
        shape: [usize; 4],
    ) {
        let Names { separator, weight, affine: [gamma, beta], statistics, .. } = self.names;
        let [mean, variance] = *statistics;
        let stored = match shape {
            [c, 1, h, w] if self.names.channels_last && matches!(layer, Layer::Depthwise(_)) => {
                [h, w, c, 1]
            }
            [c_out, c_in, h, w] if self.names.channels_last => [h, w, c_in, c_out],
            _ => shape,
        };
        self.push(format!("{prefix}{conv}{separator}{weight}"), &stored, layer, SourceRole::Weight);
        for (suffix, role) in [
            (*gamma, SourceRole::Gamma),
            (*beta, SourceRole::Beta),
            (mean, SourceRole::Mean),
            (variance, SourceRole::Variance),
        ] {
            self.push(format!("{prefix}{bn}{separator}{suffix}"), &shape[..1], layer, role);
        }
        if self.names.batches_tracked {
            let name = format!("{prefix}{bn}.num_batches_tracked");
            self.push(name, &[], layer, SourceRole::BatchesTracked);
        }
    }

    /// A convolution or classifier with a bias of `c_out`.
    fn biased(&mut self, layer: Layer, name: &str, shape: &[usize], c_out: usize) {
        let Names { separator, weight, channels_last, .. } = self.names;
        let stored = match *shape {
            [c_out, c_in, h, w] if *channels_last => vec![h, w, c_in, c_out],
            _ => shape.to_vec(),
        };
        self.push(format!("{name}{separator}{weight}"), &stored, layer, SourceRole::Weight);
        self.push(format!("{name}{separator}bias"), &[c_out], layer, SourceRole::Bias);
    }

    fn block(&mut self, block: &BlockSpec) {
        let names = self.names;
        let n = block.index;
        let prefix = (names.block)(block);
        let parts = if block.has_expand() { &names.with_expand } else { &names.without_expand };
        let (c_mid, k) = (block.c_mid, block.k);
        if block.has_expand() {
            self.conv_bn(Layer::Expand(n), &prefix, &parts.expand, [c_mid, block.c_in, 1, 1]);
        }
        self.conv_bn(Layer::Depthwise(n), &prefix, &parts.depthwise, [c_mid, 1, k, k]);
        if let Some(c_se) = block.c_se {
            let [reduce, expand] =
                [parts.se_reduce, parts.se_expand].map(|se| format!("{prefix}{se}"));
            self.biased(Layer::SeReduce(n), &reduce, &[c_se, c_mid, 1, 1], c_se);
            self.biased(Layer::SeExpand(n), &expand, &[c_mid, c_se, 1, 1], c_mid);
        }
        self.conv_bn(Layer::Project(n), &prefix, &parts.project, [block.c_out, c_mid, 1, 1]);
    }
}

/// Every tensor of `network`'s checkpoint as `family` writes it, in the order of its state dict.
pub fn source_names(family: Family, network: &Network) -> Vec<SourceTensor> {
    let names = names(family);
    let mut list = List { names, tensors: Vec::new() };
    let k = Network::STEM_K;
    list.conv_bn(Layer::Stem, "", &names.stem, [network.c_stem, Network::C_IMAGE, k, k]);
    for block in &network.blocks {
        list.block(block);
    }
    let head_shape = [network.c_head, network.c_last(), 1, 1];
    list.conv_bn(Layer::HeadConv, "", &names.head_conv, head_shape);
    let mut shape = [network.classes, network.c_head];
    if names.classifier_transposed {
        shape.reverse();
    }
    list.biased(Layer::Classifier, names.classifier, &shape, network.classes);
    list.tensors
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Variant;
    use std::collections::HashSet;

    #[test]
    fn tensor_counts_equal_the_published_state_dicts() {
        #[rustfmt::skip]
        let table = [
            (Family::Timm,        Variant::B0,      360),
            (Family::TimmTf,      Variant::B7,      1200),
            (Family::TimmTf,      Variant::B8,      1332),
            (Family::Timm,        Variant::Lite0,   296),
            (Family::TimmTf,      Variant::Lite4,   548),
            (Family::Torchvision, Variant::B0,      360),
            (Family::Torchvision, Variant::B5,      854),
            (Family::Lukemelas,   Variant::B0,      360),
            (Family::Lukemelas,   Variant::B1,      508),
            (Family::LitePytorch, Variant::Lite0,   296),
            (Family::LitePytorch, Variant::Lite1,   386),
            (Family::PaddleClas,  Variant::B0,      311),
            (Family::PaddleClas,  Variant::B0Small, 247),
            (Family::Transformers, Variant::B0,     360),
            (Family::Keras,       Variant::B0,      311),
        ];
        for (family, variant, count) in table {
            let tensors = source_names(family, &Network::new(variant, 1000));
            assert_eq!(tensors.len(), count, "{family} {variant}");
            let names: HashSet<_> = tensors.iter().map(|tensor| &tensor.name).collect();
            assert_eq!(names.len(), count, "{family} {variant}: two tensors share a name");
        }
    }

    /// Names and shapes where the families' spelling has traps, from their own state dicts.
    #[test]
    fn names_are_spelt_as_published() {
        let b1 = Network::new(Variant::B1, 1000);
        #[rustfmt::skip]
        let table: &[(Family, &str, &[usize], Layer, SourceRole)] = &[
            (Family::Timm, "blocks.0.1.conv_pw.weight", &[16, 16, 1, 1], Layer::Project(1), SourceRole::Weight),
            (Family::Timm, "blocks.0.1.bn1.running_var", &[16], Layer::Depthwise(1), SourceRole::Variance),
            (Family::Timm, "blocks.1.0.conv_pw.weight", &[96, 16, 1, 1], Layer::Expand(2), SourceRole::Weight),
            (Family::Timm, "blocks.1.0.bn3.bias", &[24], Layer::Project(2), SourceRole::Beta),
            (Family::Torchvision, "features.1.0.block.1.fc1.weight", &[8, 32, 1, 1], Layer::SeReduce(0), SourceRole::Weight),
            (Family::Torchvision, "features.2.0.block.2.fc2.bias", &[96], Layer::SeExpand(2), SourceRole::Bias),
            (Family::Torchvision, "classifier.1.weight", &[1000, 1280], Layer::Classifier, SourceRole::Weight),
            (Family::Lukemelas, "_blocks.2._bn0.running_mean", &[96], Layer::Expand(2), SourceRole::Mean),
            (Family::Lukemelas, "_bn1.num_batches_tracked", &[], Layer::HeadConv, SourceRole::BatchesTracked),
            (Family::PaddleClas, "_ef._blocks.0.._dcn._conv._bn._mean", &[32], Layer::Depthwise(0), SourceRole::Mean),
            (Family::PaddleClas, "_ef.block.1.._dcn._conv._bn._variance", &[16], Layer::Depthwise(1), SourceRole::Variance),
            (Family::PaddleClas, "_ef._blocks.2.._ecn._conv._conv._conv.weight", &[96, 16, 1, 1], Layer::Expand(2), SourceRole::Weight),
            (Family::PaddleClas, "_conv._bn.weight", &[1280], Layer::HeadConv, SourceRole::Gamma),
            (Family::Transformers, "efficientnet.encoder.blocks.1.projection.project_conv.weight", &[16, 16, 1, 1], Layer::Project(1), SourceRole::Weight),
            (Family::Transformers, "efficientnet.encoder.blocks.2.depthwise_conv.depthwise_norm.running_var", &[96], Layer::Depthwise(2), SourceRole::Variance),
            (Family::Transformers, "efficientnet.encoder.top_bn.weight", &[1280], Layer::HeadConv, SourceRole::Gamma),
            (Family::Keras, "block1b_dwconv/kernel", &[3, 3, 16, 1], Layer::Depthwise(1), SourceRole::Weight),
            (Family::Keras, "block2a_expand_bn/moving_variance", &[96], Layer::Expand(2), SourceRole::Variance),
            (Family::Keras, "block2a_se_expand/kernel", &[1, 1, 4, 96], Layer::SeExpand(2), SourceRole::Weight),
            (Family::Keras, "predictions/kernel", &[1280, 1000], Layer::Classifier, SourceRole::Weight),
            (Family::PaddleClas, "_fc.weight", &[1280, 1000], Layer::Classifier, SourceRole::Weight),
        ];
        for &(family, name, shape, layer, role) in table {
            let tensors = source_names(family, &b1);
            let found = tensors.iter().find(|tensor| tensor.name == name);
            let expected = SourceTensor { name: name.into(), shape: shape.into(), layer, role };
            assert_eq!(found, Some(&expected), "{family}");
        }
    }

    #[test]
    fn what_inference_has_no_use_for_is_known() {
        for name in ["bn1.num_batches_tracked", "normalization/mean", "normalization_3/count"] {
            assert!(is_ignored(name), "{name}");
        }
        for name in ["normalization_a/mean", "x/normalization/mean", "normalization/gamma", "mean"]
        {
            assert!(!is_ignored(name), "{name}");
        }
    }

    #[test]
    fn paddle_lists_the_first_block_of_each_stage_apart() {
        let tensors = source_names(Family::PaddleClas, &Network::new(Variant::B7, 1000));
        let firsts: Vec<usize> = (0..55)
            .filter(|n| {
                let prefix = format!("_ef._blocks.{n}..");
                tensors.iter().any(|tensor| tensor.name.starts_with(&prefix))
            })
            .collect();
        assert_eq!(firsts, [0, 4, 11, 18, 28, 38, 51]);
    }
}
