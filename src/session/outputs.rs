//! Logits and features of a run, and the best classes among the logits.

use super::NonFiniteLogits;
use crate::device::BestClasses;
use crate::weights::OutputActivation;

/// Logits and features of a run's images, until the next run.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    n: usize,
    activation: OutputActivation,
    given: Given<'a>,
}

/// What came of a run.
#[derive(Clone, Copy, Debug)]
pub(super) enum Given<'a> {
    /// Everything.
    All {
        /// `[n, classes]`; empty without a classifier.
        logits: &'a [f32],
        /// `[n, c_head]`.
        features: &'a [f32],
    },
    /// The best classes alone, which the host finds.
    Best {
        /// Classes of each image.
        k: usize,
        /// `[n, classes]`.
        logits: &'a [f32],
    },
    /// The best classes alone, as a device found them.
    Found {
        /// The classes. An image one of whose logits is not finite has probabilities that are NaN.
        best: BestClasses<'a>,
        /// `[n, classes]`, where there is such an image.
        overflowed: &'a [f32],
    },
}

/// One class, and how sure the network is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class.
    pub class: usize,
    /// Its logit.
    pub logit: f32,
    /// Its probability by the session's [`OutputActivation`]; none where that is
    /// [`OutputActivation::None`].
    pub probability: Option<f32>,
}

impl Prediction {
    /// The `k` best classes of one image's logits, as [`Outputs::top_k`] tells them: for logits that
    /// were kept, or that came from a GPU's memory.
    ///
    /// # Errors
    ///
    /// If any of the logits is NaN or infinite.
    pub fn best(
        logits: &[f32],
        k: usize,
        activation: OutputActivation,
    ) -> Result<Vec<Prediction>, NonFiniteLogits> {
        match NonFiniteLogits::of(logits) {
            Some(fault) => Err(fault),
            None => Ok(top_k(logits, k, activation)),
        }
    }
}

impl<'a> Outputs<'a> {
    /// The outputs of `n` images, at least one.
    pub(super) fn new(n: usize, activation: OutputActivation, given: Given<'a>) -> Outputs<'a> {
        Outputs { n, activation, given }
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.n
    }

    /// Whether there are no images; a run has always one.
    pub fn is_empty(&self) -> bool {
        self.n == 0
    }

    /// An image's logits, one per class, as the network computed them: NaN and infinities are
    /// among them where its values overflow. There are none of a network without a classifier, and
    /// where the session was made for the best classes alone.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn logits(&self, image: usize) -> &'a [f32] {
        match self.given {
            Given::All { logits, .. } => row(logits, self.n, image),
            Given::Best { .. } | Given::Found { .. } => row(&[], self.n, image),
        }
    }

    /// An image's features: the pooled head convolution, before the classifier. There are none where
    /// the session was made for the best classes alone.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn features(&self, image: usize) -> &'a [f32] {
        match self.given {
            Given::All { features, .. } => row(features, self.n, image),
            Given::Best { .. } | Given::Found { .. } => row(&[], self.n, image),
        }
    }

    /// An image's `k` best classes, the best first, equal logits in the order of their classes; at
    /// most as many as there are, and where the session was made for the best classes alone, as it
    /// was made for. A GPU that finds them computes a softmax in f32, see `kernels/head.cu`.
    ///
    /// # Errors
    ///
    /// If any of the image's logits is NaN or infinite.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn top_k(&self, image: usize, k: usize) -> Result<Vec<Prediction>, NonFiniteLogits> {
        let (logits, k) = match self.given {
            Given::All { logits, .. } => (row(logits, self.n, image), k),
            Given::Best { k: most, logits } => (row(logits, self.n, image), k.min(most)),
            Given::Found { best, overflowed } => {
                return self.found(&best, overflowed, image, k.min(best.k));
            }
        };
        Prediction::best(logits, k, self.activation)
    }

    /// The `k` best classes of those that a device has found.
    fn found(
        &self,
        best: &BestClasses<'_>,
        overflowed: &[f32],
        image: usize,
        k: usize,
    ) -> Result<Vec<Prediction>, NonFiniteLogits> {
        let probabilities = row(best.probabilities, self.n, image);
        if probabilities.iter().any(|p| p.is_nan())
            && let Some(fault) = NonFiniteLogits::of(row(overflowed, self.n, image))
        {
            return Err(fault);
        }
        let (classes, logits) = (row(best.classes, self.n, image), row(best.logits, self.n, image));
        let predictions = (0..k).map(|rank| Prediction {
            class: classes[rank] as usize,
            logit: logits[rank],
            probability: match self.activation {
                OutputActivation::Softmax => Some(probabilities[rank]),
                OutputActivation::Sigmoid => {
                    self.activation.probabilities(&logits[rank..=rank]).map(|p| p[0])
                }
                OutputActivation::None => None,
            },
        });
        Ok(predictions.collect())
    }

    /// The probability of each of an image's classes by the session's activation; none where that
    /// is [`OutputActivation::None`], and where the session was made for the best classes alone.
    ///
    /// # Errors
    ///
    /// If any of the image's logits is NaN or infinite.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn probabilities(&self, image: usize) -> Result<Option<Vec<f32>>, NonFiniteLogits> {
        let logits = self.logits(image);
        match NonFiniteLogits::of(logits) {
            Some(fault) => Err(fault),
            None => Ok(self.activation.probabilities(logits)),
        }
    }
}

fn row<T>(rows: &[T], n: usize, image: usize) -> &[T] {
    assert!(image < n, "image {image} of {n}");
    let elems = rows.len() / n;
    &rows[image * elems..(image + 1) * elems]
}

/// Places of the `k` largest values, the largest first, equal ones in their order, NaN last; at most as
/// many as there are.
pub(crate) fn best(values: &[f32], k: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    // Not `total_cmp`, for which 0.0 is above -0.0.
    let better = |&a: &usize, &b: &usize| {
        let [x, y] = [values[a], values[b]];
        let by_value = y.partial_cmp(&x).unwrap_or_else(|| x.is_nan().cmp(&y.is_nan()));
        by_value.then(a.cmp(&b))
    };
    let k = k.min(order.len());
    if k == 0 {
        return Vec::new();
    }
    order.select_nth_unstable_by(k - 1, better);
    order.truncate(k);
    order.sort_unstable_by(better);
    order
}

/// The `k` best of `logits`, which are all finite.
fn top_k(logits: &[f32], k: usize, activation: OutputActivation) -> Vec<Prediction> {
    let probabilities = activation.probabilities(logits);
    let prediction = |class: usize| {
        let probability = probabilities.as_ref().map(|probabilities| probabilities[class]);
        Prediction { class, logit: logits[class], probability }
    };
    best(logits, k).into_iter().map(prediction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOFTMAX: OutputActivation = OutputActivation::Softmax;

    fn all(n: usize, logits: &[f32], activation: OutputActivation) -> Outputs<'_> {
        Outputs::new(n, activation, Given::All { logits, features: &[] })
    }

    #[test]
    fn the_best_come_first_and_ties_keep_the_order_of_classes() {
        let found = top_k(&[1.0, 3.0, -0.0, 3.0, 0.0], 4, SOFTMAX);
        let classes: Vec<_> = found.iter().map(|p| p.class).collect();
        assert_eq!(classes, [1, 3, 0, 2]);
        assert!(top_k(&[1.0], 0, SOFTMAX).is_empty());
        assert_eq!(top_k(&[1.0, 2.0], 9, SOFTMAX).len(), 2);
        let nan = f32::NAN;
        assert_eq!(best(&[nan, 1.0, f32::NEG_INFINITY, nan, f32::INFINITY], 9), [4, 1, 2, 0, 3]);
    }

    #[test]
    fn probabilities_are_of_all_classes_and_the_order_is_by_logit() {
        let logits = [1000.0, 1001.0, -1000.0];
        let found = top_k(&logits, 3, SOFTMAX);
        let sum: f32 = found.iter().filter_map(|p| p.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let expected = 1.0 / (1.0 + (-1.0f64).exp());
        assert!((f64::from(found[0].probability.unwrap()) - expected).abs() < 1e-7);
        assert_eq!(found[2].probability, Some(0.0));
        // Both are 1 by the sigmoid: the larger logit comes first all the same.
        let found = top_k(&logits, 2, OutputActivation::Sigmoid);
        assert_eq!(found.iter().map(|p| p.class).collect::<Vec<_>>(), [1, 0]);
        assert!(found.iter().all(|p| p.probability == Some(1.0)));
        let found = top_k(&logits, 1, OutputActivation::None);
        assert_eq!((found[0].class, found[0].logit, found[0].probability), (1, 1001.0, None));

        let outputs = all(1, &logits, OutputActivation::Sigmoid);
        assert_eq!(outputs.probabilities(0), Ok(Some(vec![1.0, 1.0, 0.0])));
        let outputs = all(1, &logits, OutputActivation::None);
        assert_eq!(outputs.probabilities(0), Ok(None));
    }

    /// As a device finds them: two of three classes of two images, the second with an infinity.
    #[test]
    fn what_a_device_found_is_told_as_it_is() {
        let best = BestClasses {
            k: 2,
            classes: &[2, 0, 0, 1],
            logits: &[3.0, 1.0, 2.0, 1.0],
            probabilities: &[0.875, 0.125, f32::NAN, f32::NAN],
        };
        let overflowed = [1.0, 0.0, 3.0, 2.0, 1.0, f32::NEG_INFINITY];
        let given = Given::Found { best, overflowed: &overflowed };
        for (activation, probabilities) in [
            (SOFTMAX, [Some(0.875), Some(0.125)]),
            (OutputActivation::None, [None, None]),
            (
                OutputActivation::Sigmoid,
                [3f64, 1.0].map(|x| Some((1.0 / (1.0 + (-x).exp())) as f32)),
            ),
        ] {
            let outputs = Outputs::new(2, activation, given);
            let found = outputs.top_k(0, 5).unwrap();
            let told = found.iter().map(|p| (p.class, p.logit)).collect::<Vec<_>>();
            assert_eq!(told, [(2, 3.0), (0, 1.0)]);
            assert_eq!([found[0].probability, found[1].probability], probabilities);
            assert_eq!(outputs.top_k(0, 1).unwrap(), found[..1]);
            let fault = outputs.top_k(1, 2).unwrap_err();
            assert_eq!((fault.count, fault.classes, fault.class), (1, 3, 2));
            assert!(outputs.logits(0).is_empty() && outputs.features(1).is_empty());
            assert_eq!(outputs.probabilities(0), Ok(None));
        }
        // On the host the session's number is the most as well.
        let outputs = Outputs::new(2, SOFTMAX, Given::Best { k: 2, logits: &overflowed });
        assert_eq!(outputs.top_k(0, 3).unwrap().len(), 2);
        assert!(outputs.top_k(1, 1).is_err() && outputs.logits(0).is_empty());
    }

    #[test]
    fn an_image_with_a_logit_that_is_not_finite_is_refused_alone() {
        let (inf, nan) = (f32::INFINITY, f32::NAN);
        for (odd, count, class) in [
            ([inf, 0.0, 1.0], 1, 0),
            ([0.0, -inf, nan], 2, 1),
            ([0.0, 0.0, nan], 1, 2),
            ([nan; 3], 3, 0),
        ] {
            let logits = [&[1.0, 3.0, 2.0], &odd[..], &[5.0, f32::MAX, f32::MIN]].concat();
            let outputs = all(3, &logits, SOFTMAX);
            let fault = outputs.top_k(1, 1).unwrap_err();
            assert_eq!((fault.count, fault.classes, fault.class), (count, 3, class));
            assert_eq!(fault.value.to_bits(), odd[class].to_bits());
            let text = fault.to_string();
            let expected = format!(
                "found {count} of 3 that are not, the first ({}) of class {class}",
                odd[class]
            );
            assert!(text.contains(&expected), "{text}");
            assert_eq!(outputs.probabilities(1).unwrap_err().to_string(), text);
            // The raw logits are there, and the images beside it have their classes.
            let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(outputs.logits(1)), bits(&odd));
            assert_eq!(outputs.top_k(0, 1).unwrap()[0].class, 1);
            let largest = outputs.top_k(2, 2).unwrap();
            assert_eq!((largest[0].class, largest[0].probability), (1, Some(1.0)));
            assert_eq!((largest[1].class, largest[1].probability), (0, Some(0.0)));
        }
    }
}
