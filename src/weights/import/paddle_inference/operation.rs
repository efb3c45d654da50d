//! Paddle's operations, which both forms of a program share, as those of the small form.

use super::super::CheckpointError;
use super::super::graph::{Builder, Op, Pads, Shaping, Small, ValueId};
use std::collections::HashMap;

/// A setting of an operation.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Setting {
    Number(f64),
    Text(String),
    Numbers(Vec<f64>),
}

/// An operation: its inputs in the order of Paddle 3, and its settings by name.
pub(super) struct Operation<'a> {
    pub(super) kind: &'a str,
    /// Name in the program, where there is one.
    pub(super) name: String,
    pub(super) inputs: Vec<String>,
    pub(super) output: String,
    pub(super) settings: HashMap<String, Setting>,
    /// Offset in the program.
    pub(super) at: usize,
}

impl Operation<'_> {
    fn flag(&self, name: &str, default: bool) -> bool {
        match self.settings.get(name) {
            Some(&Setting::Number(number)) => number != 0.0,
            _ => default,
        }
    }

    fn number(&self, name: &str, default: f64) -> f64 {
        match self.settings.get(name) {
            Some(&Setting::Number(number)) => number,
            _ => default,
        }
    }

    fn text(&self, name: &str) -> &str {
        match self.settings.get(name) {
            Some(Setting::Text(text)) => text,
            _ => "",
        }
    }

    fn numbers(&self, name: &str) -> Option<&[f64]> {
        match self.settings.get(name) {
            Some(Setting::Numbers(numbers)) => Some(numbers),
            _ => None,
        }
    }

    /// Adds the operation to the graph.
    pub(super) fn add(&self, builder: &mut Builder) -> Result<(), CheckpointError> {
        let inputs = self
            .inputs
            .iter()
            .map(|name| match name.is_empty() {
                true => Ok(None),
                false => builder.find(name, self.at).map(Some),
            })
            .collect::<Result<Vec<_>, _>>()?;
        let x = inputs.first().copied().flatten();
        let kind = self.kind;
        // Without the mark of operations that write where they read.
        let plain = kind.trim_end_matches('_');
        let reshape = matches!(plain, "reshape" | "reshape2" | "unsqueeze" | "unsqueeze2" | "cast");
        if reshape && builder.reshaped(&self.output, &Shaping::Reshape, &inputs) {
            return Ok(());
        }
        let op = match plain {
            // At inference a dropout passes on its input, but for the old kind, which scales it.
            "dropout" if self.flag("is_test", false) && self.keeps() => {
                if let Some(x) = x {
                    builder.alias(&self.output, x);
                    return Ok(());
                }
                Op::Other(kind.to_owned())
            }
            "assign" | "cast" | "share_data" => match x {
                Some(x) => {
                    builder.alias(&self.output, x);
                    return Ok(());
                }
                None => Op::Other(kind.to_owned()),
            },
            // Paddle 2 marks the outputs of a model by a scaling with 1.
            "scale" if self.number("scale", 1.0) == 1.0 && self.number("bias", 0.0) == 0.0 => {
                if let Some(x) = x {
                    builder.alias(&self.output, x);
                    return Ok(());
                }
                Op::Other(kind.to_owned())
            }
            "conv2d" | "depthwise_conv2d" => self.conv(),
            "batch_norm" | "sync_batch_norm" => self.batch_norm(),
            "swish" if self.number("beta", 1.0) == 1.0 => Op::Swish,
            "silu" => Op::Swish,
            "sigmoid" => Op::Sigmoid,
            "relu6" => Op::Clip { min: 0.0, max: 6.0 },
            "multiply" | "elementwise_mul" => Op::Mul,
            "add" | "elementwise_add" => Op::Add,
            "pool2d" => self.pool(builder, &inputs),
            "squeeze"
            | "squeeze2"
            | "flatten"
            | "flatten_contiguous_range"
            | "reshape"
            | "reshape2" => Op::Flatten,
            "slice" => {
                let small = |index: usize, name: &str| -> Vec<f64> {
                    let given = builder.small(inputs.get(index).copied().flatten());
                    match (self.numbers(name), given) {
                        (Some(numbers), _) if !numbers.is_empty() => numbers.to_vec(),
                        (_, Some(small)) => small.data.clone(),
                        _ => vec![],
                    }
                };
                let axes = self.numbers("axes").unwrap_or_default();
                let whole = self.numbers("decrease_axis").is_none_or(<[f64]>::is_empty);
                Op::crop(axes, &small(1, "starts"), &small(2, "ends"), whole)
            }
            "matmul" | "matmul_v2" => {
                let trans = |names: [&str; 2]| names.iter().any(|name| self.flag(name, false));
                match trans(["transpose_x", "trans_x"]) {
                    true => Op::Other("a product with its first factor transposed".into()),
                    false => Op::Linear { transposed: trans(["transpose_y", "trans_y"]) },
                }
            }
            // Paddle 1's product of matrices.
            "mul" => Op::Linear { transposed: false },
            "softmax" => Op::Softmax,
            _ => Op::Other(kind.to_owned()),
        };
        let inputs = match op {
            Op::Conv { .. } | Op::Mul | Op::Add | Op::Linear { .. } => {
                inputs.into_iter().take(2).collect()
            }
            // Paddle's order is x, mean, variance, gamma, beta.
            Op::BatchNorm { .. } => {
                [0, 3, 4, 1, 2].map(|index| inputs.get(index).copied().flatten()).to_vec()
            }
            Op::Crop { .. } | Op::GlobalPool | Op::Flatten => inputs.into_iter().take(1).collect(),
            _ => inputs,
        };
        builder.node(&self.name, kind, op, inputs, &self.output);
        Ok(())
    }

    fn keeps(&self) -> bool {
        let mode = [self.text("mode"), self.text("dropout_implementation")];
        mode.contains(&"upscale_in_train")
    }

    fn conv(&self) -> Op {
        let pair = |name: &str| match self.numbers(name) {
            Some(&[a, b]) if a >= 0.0 && b >= 0.0 => Some([a as usize, b as usize]),
            _ => None,
        };
        let pads = match (self.text("padding_algorithm"), self.numbers("paddings")) {
            ("SAME", _) => Some(Pads::SameUpper),
            ("VALID", _) => Some(Pads::Explicit([0; 4])),
            ("EXPLICIT" | "", Some(&[_, _])) => {
                pair("paddings").map(|[h, w]| Pads::Explicit([h, w, h, w]))
            }
            // Top, bottom, left, right.
            ("EXPLICIT" | "", Some(&[t, b, l, r])) if [t, b, l, r].iter().all(|&x| x >= 0.0) => {
                Some(Pads::Explicit([t as usize, l as usize, b as usize, r as usize]))
            }
            _ => None,
        };
        let dilated = self.numbers("dilations").is_some_and(|all| all.iter().any(|&x| x != 1.0));
        let plain = !dilated && matches!(self.text("data_format"), "NCHW" | "AnyLayout" | "");
        match (pair("strides"), pads) {
            (Some(stride), Some(pads)) if plain && !stride.contains(&0) => {
                Op::Conv { stride, pads, group: self.number("groups", 1.0).max(1.0) as usize }
            }
            _ => Op::Other("a convolution that is dilated, or padded in another way".into()),
        }
    }

    fn batch_norm(&self) -> Op {
        let inference = self.flag("is_test", false) || self.flag("use_global_stats", false);
        match inference && !self.flag("trainable_statistics", false) {
            true => Op::BatchNorm { eps: self.number("epsilon", 1e-5) },
            false => Op::Other("a batch-norm in training".into()),
        }
    }

    fn pool(&self, builder: &Builder, inputs: &[Option<ValueId>]) -> Op {
        let kernel = match (self.numbers("ksize"), builder.small(inputs.get(1).copied().flatten()))
        {
            (Some(kernel), _) => kernel.to_vec(),
            (None, Some(Small { data, .. })) => data.clone(),
            _ => vec![],
        };
        let one = self.flag("adaptive", false) && kernel == [1.0, 1.0];
        let whole = one || self.flag("global_pooling", false);
        match whole && self.text("pooling_type") == "avg" {
            true => Op::GlobalPool,
            false => Op::Other("a pooling that is not the mean over all pixels".into()),
        }
    }
}
