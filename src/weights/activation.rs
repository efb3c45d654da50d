//! From logits to probabilities: the function that a model was trained with.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The function from a classifier's logits to probabilities. The best classes are those of the
/// largest logits with every one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OutputActivation {
    /// `exp(x_i) / sum_j exp(x_j)`: exactly one class is right.
    Softmax,
    /// `1 / (1 + exp(-x_i))` of each class by itself: any number of classes may be right, or the one
    /// output says yes or no.
    Sigmoid,
    /// No probabilities: the outputs are scores, as of a regression.
    None,
}

impl OutputActivation {
    /// Every function.
    pub const ALL: [OutputActivation; 3] =
        [OutputActivation::Softmax, OutputActivation::Sigmoid, OutputActivation::None];

    /// The usual function of a classifier with this number of outputs: a softmax over one output is
    /// 1 whatever the logit, so that one output is a sigmoid's. Without a classifier there is none.
    pub fn usual(classes: usize) -> OutputActivation {
        match classes {
            0 => OutputActivation::None,
            1 => OutputActivation::Sigmoid,
            _ => OutputActivation::Softmax,
        }
    }

    /// The name used on the command line and in packed files.
    pub fn name(self) -> &'static str {
        match self {
            OutputActivation::Softmax => "softmax",
            OutputActivation::Sigmoid => "sigmoid",
            OutputActivation::None => "none",
        }
    }

    /// The probabilities of finite `logits`, computed in f64; none where there are none.
    pub fn probabilities(self, logits: &[f32]) -> Option<Vec<f32>> {
        let best = f64::from(logits.iter().copied().reduce(f32::max)?);
        let above = |&logit: &f32| (f64::from(logit) - best).exp();
        Some(match self {
            OutputActivation::Softmax => {
                let sum: f64 = logits.iter().map(above).sum();
                logits.iter().map(|logit| (above(logit) / sum) as f32).collect()
            }
            OutputActivation::Sigmoid => {
                let sigmoid = |&logit: &f32| (1.0 / (1.0 + (-f64::from(logit)).exp())) as f32;
                logits.iter().map(sigmoid).collect()
            }
            OutputActivation::None => return None,
        })
    }
}

impl fmt::Display for OutputActivation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no output activation's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown activation '{0}': expected one of {names}",
        names = OutputActivation::ALL.map(OutputActivation::name).join(", "))]
pub struct UnknownActivation(pub String);

impl FromStr for OutputActivation {
    type Err = UnknownActivation;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        OutputActivation::ALL
            .into_iter()
            .find(|activation| activation.name() == text.to_ascii_lowercase())
            .ok_or_else(|| UnknownActivation(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_by_hand() {
        let logits = [0.0, 3f32.ln(), -1000.0, f32::MIN];
        let of = |activation: OutputActivation| activation.probabilities(&logits);
        let near = |found: Option<Vec<f32>>, expected: [f32; 4]| {
            let found = found.unwrap();
            // The logarithm of 3 is rounded by 2^-25 of itself at most, the results by 2^-25.
            assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-7), "{found:?}");
        };
        near(of(OutputActivation::Softmax), [0.25, 0.75, 0.0, 0.0]);
        near(of(OutputActivation::Sigmoid), [0.5, 0.75, 0.0, 0.0]);
        assert_eq!(of(OutputActivation::None), None);
        // The difference of the largest and the smallest logit is no finite f32.
        let extremes = [f32::MAX, f32::MIN];
        assert_eq!(OutputActivation::Softmax.probabilities(&extremes), Some(vec![1.0, 0.0]));
        assert_eq!(OutputActivation::Sigmoid.probabilities(&extremes), Some(vec![1.0, 0.0]));
        // sigmoid(-5), the value of the one output that a softmax makes 1.
        let found = OutputActivation::usual(1).probabilities(&[-5.0]).unwrap();
        assert!((found[0] - 0.006_692_851).abs() < 1e-9, "{found:?}");
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for activation in OutputActivation::ALL {
            assert_eq!(activation.name().parse(), Ok(activation));
            let json = serde_json::to_string(&activation).unwrap();
            assert_eq!(json, format!("\"{}\"", activation.name()));
        }
        let error = "tanh".parse::<OutputActivation>().unwrap_err().to_string();
        assert_eq!(error, "unknown activation 'tanh': expected one of softmax, sigmoid, none");
    }
}
