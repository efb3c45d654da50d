//! Why a command could not do its work.

use super::bench::BenchError;
use super::dataset::DatasetError;
use super::emulate::EmulateError;
use super::labels::LabelCount;
use super::models::ModelError;
use super::profile::ProfileError;
use effnet::arch::{GeometryError, UnknownVariant};
use effnet::compare::CompareError;
use effnet::export::onnx::OnnxError;
use effnet::labels::LabelsError;
use effnet::launches::LaunchPlanError;
use effnet::plan::PlanError;
use effnet::report::OutputError;
use effnet::session::SessionError;
use effnet::weights::PullError;
use effnet::weights::{ImportError, StoreError, UnknownModel};
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
    /// No memory for decoded images.
    #[error("cannot allocate {bytes} bytes for decoded images; use a smaller --batch or --size")]
    Memory {
        /// What one group of images needs.
        bytes: usize,
    },
    /// Options of a variant, given with a packed file.
    #[error(
        "--size and --classes are for variants: {0} is a file, and a packed file's size and classes \
         are recorded in it; leave them out"
    )]
    OnlyForVariants(String),
    /// No weights to run.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// No PATH gives an image.
    #[error("nothing to classify:\n{}", indented(.0))]
    NoImages(Vec<String>),
    /// Every image of a dataset failed.
    #[error("none of {0} images could be read: no accuracy to report")]
    AllFailed(usize),
    /// A label file that cannot be used.
    #[error("--labels: {0}")]
    Labels(#[from] LabelsError),
    /// A label file for another number of classes.
    #[error("--labels: {0}")]
    LabelCount(#[from] LabelCount),
    /// A checkpoint that cannot be imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// A name that the catalogue does not have.
    #[error("{0}; `effnet pull --list` lists the known names")]
    UnknownModel(#[from] UnknownModel),
    /// A checkpoint that cannot be had.
    #[error(transparent)]
    Pull(#[from] PullError),
    /// Weights that cannot be run.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// A choice of kernels for a device that runs none.
    #[error("--path: the CPU runs no kernels{why}; leave it out, or use --device cuda or emulator")]
    PathOnCpu {
        /// Why it is the CPU, where that was not asked for.
        why: String,
    },
    /// No launches for the plan.
    #[error(transparent)]
    Launches(#[from] LaunchPlanError),
    /// No images with known classes.
    #[error(transparent)]
    Dataset(#[from] DatasetError),
    /// An input size without a network.
    #[error("--size: {0}")]
    Geometry(#[from] GeometryError),
    /// A network that cannot be exported.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
    /// No such plan.
    #[error("{0}")]
    Plan(#[from] PlanError),
    /// A packed file that cannot be used.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// No comparison.
    #[error(transparent)]
    Compare(#[from] CompareError),
    /// An image that is no part of a comparison.
    #[error("--images: {0}")]
    Image(String),
    /// A device that is compared with nothing.
    #[error(
        "--device: the emulator is for tests, and its times mean nothing: expected cuda or cpu"
    )]
    CompareOnEmulator,
    /// A kernel that cannot be emulated.
    #[error(transparent)]
    Emulate(#[from] EmulateError),
    /// Nothing to measure, or no file to compare with.
    #[error(transparent)]
    Bench(#[from] BenchError),
    /// A report that cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// Nothing to profile with.
    #[error(transparent)]
    Profile(#[from] ProfileError),
    /// Neither a variant nor a file.
    #[error("{0}; nor is there a file of this name")]
    VariantOrFile(UnknownVariant),
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}
