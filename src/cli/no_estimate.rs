//! `effnet estimate` in a build without the emulator: it says so.

use super::Status;
use super::output::Out;
use anyhow::bail;
use std::ffi::OsString;

/// Predict the time of every launch on a GPU (not in this build).
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
#[command(after_help = "`effnet estimate` needs a build with the feature `emulator`.")]
pub struct Args {
    /// What a build with the emulator takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

/// Says what is missing, and what to do.
pub fn run(_args: Args, _out: &mut Out) -> anyhow::Result<Status> {
    bail!(
        "no PTX emulator in this build, from whose counts times are predicted: build effnet with its \
         feature `emulator` (cargo build --features emulator), then run this command again"
    )
}
