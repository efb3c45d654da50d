//! A comparison as one document: JSON by its fields, text by [`tables`], HTML by [`html`].
//!
//! # Schema
//!
//! `effnet-compare/1`: an object of `schema`, `environment` (as in every report), `setup`
//! ([`Setup`]), `warnings` (`kind`, `seen`, `remedy`), `contestants` (a list of [`Entry`]: `name`,
//! `status`, and with the status
//!
//! - `measured`: the fields of [`Measured`];
//! - `missing`: `how_to_get`;
//! - `failed`: `step`, `message`, `last_lines`)
//!
//! and `published` ([`PublishedTable`]). Times are in ms, sizes in bytes; a value that could not be
//! found out is null. This runtime is the first contestant.

pub mod html;
pub mod tables;

use super::published::{Published, RUNTIME, SOURCE, published};
use super::{Entry, Measured, Outcome};
use crate::arch::{Size, Variant};
use crate::environment::Environment;
use crate::measure::bench::Warning;
use crate::weights::Precision;
use serde::Serialize;

/// The schema's name and number.
pub const SCHEMA: &str = "effnet-compare/1";

/// Everything that a comparison has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The machine.
    pub environment: Environment,
    /// Setup of the comparison.
    pub setup: Setup,
    /// Reasons to doubt the figures.
    pub warnings: Vec<Warning>,
    /// The runtimes, this one first.
    pub contestants: Vec<Entry>,
    /// Other people's figures for the variant.
    pub published: PublishedTable,
}

/// Setup of a comparison: the network, the devices, and the turns.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Setup {
    /// The file of packed weights.
    pub weights: String,
    /// The checkpoint's name.
    pub model: String,
    /// The variant's name.
    pub variant: &'static str,
    /// Type of the packed weights.
    pub weights_precision: Precision,
    /// Size of the input.
    pub size: Size,
    /// Images per run.
    pub batch: usize,
    /// Whether the ONNX files leave the batch open.
    pub dynamic_batch: bool,
    /// Precision that the runtimes were asked to compute in.
    pub precision: String,
    /// Device of this runtime: `cpu` or `cuda:N`.
    pub device: String,
    /// Threads on the CPU.
    pub threads: usize,
    /// Rounds that count.
    pub rounds: usize,
    /// Time of the uncounted runs at the beginning of a burst.
    pub warm_up_ms: f64,
    /// Time of the counted runs of a burst.
    pub burst_ms: f64,
    /// Number of starts of each runtime.
    pub starts: usize,
    /// Number of inputs that are photographs.
    pub photographs: usize,
    /// Number of inputs that are made up.
    pub random_images: usize,
}

/// Figures from other hardware.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PublishedTable {
    /// Source of the figures.
    pub source: &'static str,
    /// The runtime that was measured.
    pub runtime: &'static str,
    /// The figures; empty where none were published for the variant.
    pub rows: Vec<Published>,
}

impl PublishedTable {
    /// The published figures of a variant.
    pub fn new(variant: Variant) -> PublishedTable {
        PublishedTable { source: SOURCE, runtime: RUNTIME, rows: published(variant) }
    }
}

impl Report {
    /// The runtimes with figures, this one first.
    pub fn measured(&self) -> impl Iterator<Item = (&str, &Measured)> {
        self.contestants.iter().filter_map(|entry| match &entry.outcome {
            Outcome::Measured(measured) => Some((entry.name.as_str(), &**measured)),
            Outcome::Missing { .. } | Outcome::Failed(_) => None,
        })
    }

    /// Whether a baseline is there and gave no figures.
    pub fn any_failed(&self) -> bool {
        self.contestants.iter().any(|entry| matches!(entry.outcome, Outcome::Failed(_)))
    }

    /// The setup in one line.
    pub fn heading(&self) -> String {
        let Setup { model, variant, size, batch, precision, device, .. } = &self.setup;
        format!("{model} ({variant}), {precision}, batch {batch}, input {size}, {device}")
    }
}
