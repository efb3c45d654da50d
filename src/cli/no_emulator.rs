//! `effnet emulate` in a build without the emulator: it says so.

use super::Status;
use super::output::Out;
use anyhow::bail;
use std::ffi::OsString;

/// Run one kernel of a PTX file on the emulator (not in this build).
#[derive(Debug, clap::Args)]
#[command(disable_help_flag = true)]
pub struct Args {
    /// What a build with the emulator takes.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    _arguments: Vec<OsString>,
}

/// What `--help` says after the options.
pub fn after_help() -> &'static str {
    "`effnet emulate` needs a build with the feature `emulator`."
}

/// Says what is missing, and what to do.
pub fn run(_args: Args, _out: &mut Out) -> anyhow::Result<Status> {
    bail!(
        "no PTX emulator in this build: build effnet with its feature `emulator` (cargo build \
         --features emulator), then run this command again"
    )
}
