//! From levels, 0 to 255, to the values that a network takes.

use super::{Recipe, RecipeError};

/// The last step of a recipe: `(x / 255 - mean) / std` by channel, each of the three operations
/// rounded to f32, as torchvision's `ToTensor` and `Normalize` do. IEEE 754 rounds these operations
/// the same everywhere, so that a GPU's value of a level is the host's, bit for bit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Normalisation {
    /// Subtracted from `x / 255`, per channel R, G, B.
    pub mean: [f32; 3],
    /// Divides the difference, per channel R, G, B.
    pub std: [f32; 3],
}

/// The value of each level, 0 to 255, in each channel: `[256, 3]`.
pub type LevelValues = [[f32; 3]; 256];

impl Normalisation {
    /// The values of a pixel's levels R, G, B.
    pub fn pixel(&self, levels: [f32; 3]) -> [f32; 3] {
        std::array::from_fn(|c| (levels[c] / 255.0 - self.mean[c]) / self.std[c])
    }

    /// The value of each whole level in each channel.
    pub fn level_values(&self) -> Box<LevelValues> {
        let mut values = Box::new([[0.0; 3]; 256]);
        for (level, values) in values.iter_mut().enumerate() {
            *values = self.pixel([level as f32; 3]);
        }
        values
    }

    /// Whole levels `[.., 3]` as values.
    pub fn values(&self, levels: &[u8]) -> Vec<f32> {
        let values = self.level_values();
        levels.iter().enumerate().map(|(i, &level)| values[usize::from(level)][i % 3]).collect()
    }

    /// Levels `[.., 3]`, fractions among them, to values in place.
    pub(super) fn apply(&self, levels: &mut [f32]) {
        for pixel in levels.as_chunks_mut::<3>().0 {
            *pixel = self.pixel(*pixel);
        }
    }
}

/// Pixels of the network's input size, `[.., 3]` of 0 to 255, as the normalised tensor that the
/// recipe describes: `(x / 255 - mean) / std`, as [`preprocess`](super::preprocess) has it after
/// resizing.
pub fn normalise_pixels(pixels: &[u8], recipe: &Recipe) -> Result<Vec<f32>, RecipeError> {
    recipe.validate()?;
    Ok(recipe.normalisation().values(pixels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is looked up is what is computed, and a level's value is that of its three roundings.
    #[test]
    fn levels_have_the_values_of_three_roundings() {
        let normalisation =
            Normalisation { mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225] };
        let levels: Vec<u8> = (0..=255).flat_map(|level| [level; 3]).collect();
        let mut computed: Vec<f32> = levels.iter().map(|&level| f32::from(level)).collect();
        normalisation.apply(&mut computed);
        let bits = |values: &[f32]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&normalisation.values(&levels)), bits(&computed));
        // By f64, rounded after each step: 2^-53 beside 2^-24 decides none of these.
        let step = |x: f64| f64::from(x as f32);
        for (i, &found) in computed.iter().enumerate() {
            let [mean, std] = [normalisation.mean[i % 3], normalisation.std[i % 3]].map(f64::from);
            let exact = step(step(step((i / 3) as f64 / 255.0) - mean) / std);
            assert_eq!(f64::from(found), exact, "level {} of channel {}", i / 3, i % 3);
        }
    }
}
