//! Why a command could not do its work.

use super::dataset::DatasetError;
use super::models::ModelError;
use effnet::arch::{GeometryError, UnknownVariant};
use effnet::plan::PlanError;
use effnet::weights::StoreError;
use std::io;

/// Ends a command with exit status 2.
#[derive(Debug, thiserror::Error)]
pub enum CliError {
    /// Standard output is closed or full.
    #[error("standard output: {0}")]
    Stdout(#[source] io::Error),
    /// The system has no thread to spare.
    #[error("cannot start the decoding threads: {0}; try fewer with --threads")]
    Threads(#[source] rayon::ThreadPoolBuildError),
    /// No weights to run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No images with known classes.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// An input size without a network.
    #[error("--size: {0}")]
    Geometry(#[from] GeometryError),
    /// No such plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A packed file that cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// Neither a variant nor a file.
    #[error("{0}; nor is there a file of this name")]
    VariantOrFile(UnknownVariant),
}
