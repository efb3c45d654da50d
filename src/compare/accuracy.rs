//! Distance of a runtime's logits from the reference's.

use super::Failure;
use serde::Serialize;

/// Logits held against those of the CPU executor in f32.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Accuracy {
    /// Number of images.
    pub images: usize,
    /// The largest difference of a logit.
    pub max_difference: f64,
    /// The largest difference as a part of the largest logit of the reference.
    pub max_difference_relative: f64,
    /// Images with the same best class.
    pub top1_agreement: usize,
}

impl Accuracy {
    /// Compares `logits` with `reference`, both `[images, classes]`. Fails where a logit is not a
    /// finite number, or the lengths differ.
    pub fn new(logits: &[f32], reference: &[f32], classes: usize) -> Result<Accuracy, Failure> {
        const STEP: &str = "comparing logits";
        let [found, expected] = [logits.len(), reference.len()];
        if found != expected {
            return Err(Failure::new(STEP, format!("expected {expected} logits, found {found}")));
        }
        for (whose, logits) in [("", logits), (" of the reference", reference)] {
            if let Some(index) = logits.iter().position(|logit| !logit.is_finite()) {
                let (image, class, logit) = (index / classes, index % classes, logits[index]);
                let message = format!(
                    "image {image}, class {class}{whose}: expected a number, found {logit}"
                );
                return Err(Failure::new(STEP, message));
            }
        }
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let both = || logits.iter().zip(reference).map(|(&a, &b)| (f64::from(a), f64::from(b)));
        let max_difference = largest(&mut both().map(|(a, b)| (a - b).abs()));
        let max_logit = largest(&mut both().map(|(_, b)| b.abs()));
        let agree = logits.chunks(classes).zip(reference.chunks(classes));
        Ok(Accuracy {
            images: reference.len() / classes,
            max_difference,
            // All zero and the same: no difference.
            max_difference_relative: if max_difference == 0.0 {
                0.0
            } else {
                max_difference / max_logit.max(f64::MIN_POSITIVE)
            },
            top1_agreement: agree.filter(|(a, b)| best(a) == best(b)).count(),
        })
    }
}

/// The first of the largest.
fn best(logits: &[f32]) -> Option<usize> {
    (0..logits.len()).reduce(|best, class| if logits[class] > logits[best] { class } else { best })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_and_agreement_by_hand() {
        let reference = [1.0, -4.0, 2.0, 0.5, 0.25, 0.0];
        let logits = [1.0, -4.0, 2.5, 0.5, 0.75, 0.0];
        let found = Accuracy::new(&logits, &reference, 3).unwrap();
        let expected = Accuracy {
            images: 2,
            max_difference: 0.5,
            max_difference_relative: 0.125,
            top1_agreement: 1,
        };
        assert_eq!(found, expected);
        let same = Accuracy::new(&[0.0; 4], &[0.0; 4], 2).unwrap();
        assert_eq!((same.max_difference_relative, same.top1_agreement), (0.0, 2));
    }

    #[test]
    fn what_is_no_number_is_named() {
        let failure = Accuracy::new(&[0.0, 1.0, 2.0, f32::NAN], &[0.0; 4], 2).unwrap_err();
        assert!(failure.message.starts_with("image 1, class 1"), "{failure}");
        let failure = Accuracy::new(&[0.0; 2], &[0.0, f32::INFINITY], 2).unwrap_err();
        assert!(failure.message.starts_with("image 0, class 1 of the reference"), "{failure}");
        let failure = Accuracy::new(&[0.0; 3], &[0.0; 4], 2).unwrap_err();
        assert!(failure.message.contains("expected 4 logits, found 3"), "{failure}");
    }
}
