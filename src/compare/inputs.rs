//! Made-up inputs.

use crate::weights::stand_in::Random;

/// `images` images of `elems` values each, uniform in [-2, 2), the range that normalised
/// photographs cover. Equal seeds give equal images.
pub fn random_images(images: usize, elems: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..images * elems).map(|_| 2.0 * random.signed()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cover_their_range_and_repeat() {
        let values = random_images(2, 1000, 7);
        assert_eq!(values, random_images(2, 1000, 7));
        assert_ne!(values, random_images(2, 1000, 8));
        let (min, max) = values.iter().fold((0f32, 0f32), |(a, b), &x| (a.min(x), b.max(x)));
        assert!((-2.0..-1.9).contains(&min) && (1.9..2.0).contains(&max), "{min} {max}");
    }
}
