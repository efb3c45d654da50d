//! Statistics of many samples of one quantity.

use serde::{Deserialize, Serialize};

/// Samples summed up, with the definitions of trtexec, so that figures can be laid side by side.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Number of samples.
    pub n: usize,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
    /// The arithmetic mean.
    pub mean: f64,
    /// The middle one of the sorted samples; the mean of the middle two where their number is even.
    pub median: f64,
    /// The 90th percentile, see [`percentile`].
    pub p90: f64,
    /// The 95th percentile, see [`percentile`].
    pub p95: f64,
    /// The 99th percentile, see [`percentile`].
    pub p99: f64,
    /// Coefficient of variation: the standard deviation (of the population, divided by `n`) as a
    /// part of the mean. 0 where the mean is 0.
    pub cv: f64,
}

impl Summary {
    /// Sums up `samples`, in any order; none where there are no samples, or one is no finite
    /// number.
    pub fn new(samples: &[f64]) -> Option<Summary> {
        let mut sorted = samples.to_vec();
        sorted.sort_unstable_by(f64::total_cmp);
        let (&min, &max) = (sorted.first()?, sorted.last()?);
        if !(min.is_finite() && max.is_finite()) {
            return None;
        }
        let n = sorted.len();
        let mean = sorted.iter().sum::<f64>() / n as f64;
        let variance = sorted.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n as f64;
        Some(Summary {
            n,
            min,
            max,
            mean,
            median: median(&sorted)?,
            p90: percentile(&sorted, 90.0)?,
            p95: percentile(&sorted, 95.0)?,
            p99: percentile(&sorted, 99.0)?,
            cv: if mean == 0.0 { 0.0 } else { variance.sqrt() / mean.abs() },
        })
    }
}

/// The middle of ascending samples; none where there are none.
pub fn median(sorted: &[f64]) -> Option<f64> {
    let middle = sorted.len() / 2;
    let upper = *sorted.get(middle)?;
    Some(if sorted.len() % 2 == 1 { upper } else { (sorted[middle - 1] + upper) / 2.0 })
}

/// A percentile of ascending samples as trtexec takes it: the largest sample that is left when
/// `floor((1 - percent / 100) * n)` of the largest are excluded, without interpolation. So with
/// less than 100 samples the 99th is the maximum. None where there are no samples, or `percent` is
/// not within 0 to 100.
pub fn percentile(sorted: &[f64], percent: f64) -> Option<f64> {
    if !(0.0..=100.0).contains(&percent) {
        return None;
    }
    let last = sorted.len().checked_sub(1)?;
    // In this order a whole percentage gives no fraction just below a whole number.
    let excluded = ((100.0 - percent) * sorted.len() as f64 / 100.0) as usize;
    Some(sorted[last.saturating_sub(excluded)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(n: u32) -> Vec<f64> {
        (1..=n).map(f64::from).collect()
    }

    #[test]
    fn percentiles_exclude_the_largest_as_trtexec_does() {
        // Ten samples: one excluded at 90, none at 95 and 99.
        let ten = up_to(10);
        assert_eq!(percentile(&ten, 90.0), Some(9.0));
        assert_eq!(percentile(&ten, 95.0), Some(10.0));
        assert_eq!(percentile(&ten, 99.0), Some(10.0));
        let hundred = up_to(100);
        assert_eq!(percentile(&hundred, 90.0), Some(90.0));
        assert_eq!(percentile(&hundred, 95.0), Some(95.0));
        assert_eq!(percentile(&hundred, 99.0), Some(99.0));
        assert_eq!(percentile(&hundred, 100.0), Some(100.0));
        assert_eq!(percentile(&hundred, 0.0), Some(1.0));
        assert_eq!(percentile(&up_to(250), 99.0), Some(248.0));
        assert_eq!(percentile(&[], 50.0), None);
        for absent in [-1.0, 100.5, f64::NAN] {
            assert_eq!(percentile(&ten, absent), None);
        }
    }

    #[test]
    fn the_median_of_an_even_number_is_between_the_middle_two() {
        assert_eq!(median(&[1.0, 2.0, 10.0]), Some(2.0));
        assert_eq!(median(&[1.0, 2.0, 4.0, 10.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn a_summary_by_hand() {
        // Mean 5, squared deviations 9 1 1 1 0 0 4 16: variance 4.
        let found = Summary::new(&[9.0, 4.0, 5.0, 2.0, 4.0, 7.0, 4.0, 5.0]).unwrap();
        let expected = Summary {
            n: 8,
            min: 2.0,
            max: 9.0,
            mean: 5.0,
            median: 4.5,
            p90: 9.0,
            p95: 9.0,
            p99: 9.0,
            cv: 0.4,
        };
        assert_eq!(found, expected);
        assert_eq!(Summary::new(&[3.0]).unwrap().cv, 0.0);
        assert_eq!(Summary::new(&[0.0, 0.0]).unwrap().cv, 0.0);
    }

    #[test]
    fn what_is_no_number_has_no_summary() {
        assert_eq!(Summary::new(&[]), None);
        for bad in [f64::NAN, -f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Summary::new(&[1.0, bad, 2.0]), None);
        }
    }
}
