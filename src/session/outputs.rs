//! Logits and features of a run, and the best classes among the logits.

use super::NonFiniteLogits;

/// Logits and features of a run's images, until the next run.
#[derive(Clone, Copy, Debug)]
pub struct Outputs<'a> {
    n: usize,
    /// `[n, classes]`.
    logits: &'a [f32],
    /// `[n, c_head]`.
    features: &'a [f32],
}

/// One class, and how sure the network is of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// The class.
    pub class: usize,
    /// Its logit.
    pub logit: f32,
    /// Its part of the softmax over all classes.
    pub probability: f32,
}

impl<'a> Outputs<'a> {
    /// The outputs of `n` images, at least one.
    pub(super) fn new(n: usize, logits: &'a [f32], features: &'a [f32]) -> Outputs<'a> {
        Outputs { n, logits, features }
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
    /// among them where its values overflow.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn logits(&self, image: usize) -> &'a [f32] {
        row(self.logits, self.n, image)
    }

    /// An image's features: the pooled head convolution, before the classifier.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn features(&self, image: usize) -> &'a [f32] {
        row(self.features, self.n, image)
    }

    /// An image's `k` best classes, the best first, equal logits in the order of their classes.
    ///
    /// # Errors
    ///
    /// If any of the image's logits is NaN or infinite.
    ///
    /// # Panics
    ///
    /// If there is no such image.
    pub fn top_k(&self, image: usize, k: usize) -> Result<Vec<Prediction>, NonFiniteLogits> {
        let logits = self.logits(image);
        match NonFiniteLogits::of(logits) {
            Some(fault) => Err(fault),
            None => Ok(top_k(logits, k)),
        }
    }
}

fn row(rows: &[f32], n: usize, image: usize) -> &[f32] {
    assert!(image < n, "image {image} of {n}");
    let elems = rows.len() / n;
    &rows[image * elems..(image + 1) * elems]
}

/// The `k` best of `logits`, which are all finite.
fn top_k(logits: &[f32], k: usize) -> Vec<Prediction> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    // Not `total_cmp`, for which 0.0 is above -0.0.
    let better = |&a: &usize, &b: &usize| {
        let by_logit = logits[b].partial_cmp(&logits[a]).unwrap_or(std::cmp::Ordering::Equal);
        by_logit.then(a.cmp(&b))
    };
    let k = k.min(order.len());
    if k == 0 {
        return Vec::new();
    }
    order.select_nth_unstable_by(k - 1, better);
    order.truncate(k);
    order.sort_unstable_by(better);

    let best = f64::from(logits[order[0]]);
    let above = |logit: f32| f64::from(logit) - best;
    let sum: f64 = logits.iter().map(|&logit| above(logit).exp()).sum();
    let prediction = |class: usize| {
        let logit = logits[class];
        Prediction { class, logit, probability: (above(logit).exp() / sum) as f32 }
    };
    order.into_iter().map(prediction).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_keep_the_order_of_classes() {
        let found = top_k(&[1.0, 3.0, -0.0, 3.0, 0.0], 4);
        let classes: Vec<_> = found.iter().map(|p| p.class).collect();
        assert_eq!(classes, [1, 3, 0, 2]);
        assert!(top_k(&[1.0], 0).is_empty());
        assert_eq!(top_k(&[1.0, 2.0], 9).len(), 2);
    }

    #[test]
    fn probabilities_are_a_softmax_over_all_classes() {
        let found = top_k(&[1000.0, 1001.0, -1000.0], 3);
        let sum: f32 = found.iter().map(|p| p.probability).sum();
        assert!((sum - 1.0).abs() < 1e-6);
        let expected = 1.0 / (1.0 + (-1.0f64).exp());
        assert!((f64::from(found[0].probability) - expected).abs() < 1e-7);
        assert_eq!(found[2].probability, 0.0);
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
            let outputs = Outputs::new(3, &logits, &[]);
            let fault = outputs.top_k(1, 1).unwrap_err();
            assert_eq!((fault.count, fault.classes, fault.class), (count, 3, class));
            assert_eq!(fault.value.to_bits(), odd[class].to_bits());
            let text = fault.to_string();
            let expected = format!(
                "found {count} of 3 that are not, the first ({}) of class {class}",
                odd[class]
            );
            assert!(text.contains(&expected), "{text}");
            // The raw logits are there, and the images beside it have their classes.
            let bits = |logits: &[f32]| logits.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(outputs.logits(1)), bits(&odd));
            assert_eq!(outputs.top_k(0, 1).unwrap()[0].class, 1);
            let largest = outputs.top_k(2, 2).unwrap();
            assert_eq!((largest[0].class, largest[0].probability), (1, 1.0));
            assert_eq!((largest[1].class, largest[1].probability), (0, 0.0));
        }
    }
}
