//! Arguments of commands that plan a network without its weights.

use super::PaddingArg;
use effnet::arch::{Network, Size, Variant};
use effnet::kernels::Compute;
use effnet::launches::Path;
use effnet::plan::{Plan, PlanError, PlanOptions};

/// How a variant is planned.
#[derive(Clone, Copy, Debug, clap::Args)]
pub struct PlanArgs {
    /// Which kernels: fused, or layerwise, a kernel per layer.
    #[arg(long, value_name = "PATH", default_value = "fused", value_parser = super::path())]
    pub path: Path,
    /// Images per run.
    #[arg(long, value_name = "N", default_value = "1", value_parser = super::batch)]
    pub batch: usize,
    /// Input size: HxW, or one number for a square [default: the variant's native size].
    #[arg(long, value_name = "HxW", value_parser = super::size)]
    pub size: Option<Size>,
    /// Padding: symmetric, same, same-frozen or same-cropped (as at the native size, or :HxW).
    #[arg(long, value_name = "PADDING", default_value = "same", value_parser = super::padding)]
    pub padding: PaddingArg,
    /// Precision of activations, weights and products: fp16, fp32 or tf32.
    #[arg(long, value_name = "PRECISION", default_value = "fp16", value_parser = super::compute())]
    pub precision: Compute,
    /// Outputs of the classifier.
    #[arg(long, value_name = "N", default_value = "1000", value_parser = super::classes)]
    pub classes: usize,
}

impl PlanArgs {
    /// The plan of a variant.
    ///
    /// # Errors
    ///
    /// [`PlanError`] if the variant cannot be run so.
    pub fn plan(&self, variant: Variant) -> Result<Plan, PlanError> {
        let options = PlanOptions {
            batch: self.batch,
            size: self.size.unwrap_or_else(|| variant.native()),
            padding: self.padding.for_variant(variant),
            precision: self.precision.storage(),
        };
        Plan::new(&Network::new(variant, self.classes), options)
    }
}
