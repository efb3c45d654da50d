//! Figures that others have published, from other hardware: shown apart, and in no ratio.

use crate::arch::{Size, Variant};
use crate::weights::Precision;
use serde::{Deserialize, Serialize};

/// Source of the figures of [`published`].
pub const SOURCE: &str = "PaddleClas, docs/en/models/EfficientNet_and_ResNeXt101_wsl_en.md";

/// The runtime that was measured.
pub const RUNTIME: &str = "PaddleClas with TensorRT";

/// One published latency.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Published {
    /// The GPU, in the words of the source.
    pub hardware: String,
    /// Precision that the network was computed in.
    pub precision: Precision,
    /// The variant's name.
    pub variant: String,
    /// Side of the square input.
    pub size: usize,
    /// Images per run.
    pub batch: usize,
    /// Time of a run.
    pub latency_ms: f64,
}

/// The published latencies of a variant, in the order of the source.
pub fn published(variant: Variant) -> Vec<Published> {
    csv::Reader::from_reader(include_str!("published.csv").as_bytes())
        .into_deserialize()
        .map(|row| row.expect("every line of the table has its fields"))
        .filter(|row: &Published| row.variant == variant.name())
        .collect()
}

impl Published {
    /// Images per second at this latency.
    pub fn images_per_s(&self) -> f64 {
        1e3 * self.batch as f64 / self.latency_ms
    }

    /// Whether the figure is of the size asked for.
    pub fn is_at(&self, size: Size) -> bool {
        size == Size::square(self.size)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_of_the_tables_has_its_rows() {
        for variant in Variant::all() {
            let rows = published(variant);
            // V100 in FP32, T4 in FP16 and FP32, at 1, 4 and 8, without the rows that are not
            // published.
            let expected = match variant {
                Variant::B5 => 7,
                Variant::B6 | Variant::B7 => 5,
                Variant::B8 => 0,
                _ if variant.is_lite() => 0,
                _ => 9,
            };
            assert_eq!(rows.len(), expected, "{variant}");
            for row in rows {
                assert!(row.is_at(variant.native()) && row.latency_ms > 0.0, "{row:?}");
                assert!([1, 4, 8].contains(&row.batch), "{row:?}");
            }
        }
    }

    #[test]
    fn figures_are_those_of_the_source() {
        let find = |variant, hardware, precision, batch| {
            let found = published(variant).into_iter().find(|row| {
                (row.hardware.as_str(), row.precision, row.batch) == (hardware, precision, batch)
            });
            found.map(|row| row.latency_ms)
        };
        assert_eq!(find(Variant::B0, "V100", Precision::Fp32, 1), Some(1.96));
        assert_eq!(find(Variant::B7, "V100", Precision::Fp32, 8), Some(128.2));
        assert_eq!(find(Variant::B4, "T4", Precision::Fp16, 8), Some(53.97363));
        assert_eq!(find(Variant::B0Small, "T4", Precision::Fp32, 4), Some(4.71886));
        assert_eq!(find(Variant::B6, "T4", Precision::Fp16, 4), None);
    }
}
