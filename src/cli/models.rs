//! Which packed weights a command runs: `--weights FILE`, `--model NAME`, or the only ones there.

use effnet::weights::{Installed, Weights, installed};
use std::path::PathBuf;

/// Which weights to run.
#[derive(Debug, clap::Args)]
pub struct ModelArgs {
    /// Packed weights, as `effnet import` and `effnet pull` write them.
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    weights: Option<PathBuf>,
    /// Name of packed weights in EFFNET_WEIGHTS_DIR, ./weights or the user's cache folder: of the
    /// file, of the checkpoint, or of the variant if only one file has it.
    /// [default: the only packed weights there]
    #[arg(long, value_name = "NAME")]
    model: Option<String>,
    /// Read the packed weights into memory instead of mapping their file, which other programs must
    /// otherwise leave as it is while it is in use.
    #[arg(long)]
    copy_weights: bool,
}

/// Packed weights, and whether the command line named them.
pub struct Chosen {
    /// The open file.
    pub weights: Weights,
    /// Not named: found as the only packed file.
    pub by_default: bool,
}

impl Chosen {
    /// Refuses weights without a classifier, for commands that need logits.
    pub fn expect_classifier(&self) -> anyhow::Result<()> {
        if self.weights.metadata().classes == 0 {
            anyhow::bail!(
                "{}: expected a model with a classifier, found one without: its checkpoint was \
                 saved without (as timm does for num_classes=0), so that there are no classes to \
                 tell; `effnet run --features FILE` and `effnet export onnx` give the features, \
                 `effnet import` of a checkpoint with a classifier the classes",
                self.weights.path().display(),
            );
        }
        Ok(())
    }

    /// The file, and what is in it, for people.
    pub fn describe(&self) -> String {
        let metadata = self.weights.metadata();
        format!(
            "weights {}: {} ({}, {})",
            self.weights.path().display(),
            metadata.name,
            metadata.variant,
            metadata.precision,
        )
    }
}

impl ModelArgs {
    /// As if given on the command line.
    pub fn new(weights: Option<PathBuf>, model: Option<String>) -> ModelArgs {
        ModelArgs { weights, model, copy_weights: false }
    }

    /// Opens the weights that the arguments choose.
    pub fn open(&self) -> anyhow::Result<Chosen> {
        let chosen = match &self.weights {
            Some(path) => Chosen { weights: Weights::open(path)?, by_default: false },
            None => {
                let Installed { weights, by_default } = installed(self.model.as_deref())?;
                Chosen { weights, by_default }
            }
        };
        if !self.copy_weights {
            return Ok(chosen);
        }
        let weights = Weights::open_copied(chosen.weights.path())?;
        Ok(Chosen { weights, ..chosen })
    }
}
