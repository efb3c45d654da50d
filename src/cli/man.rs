//! `effnet man`: manual pages.

use super::output::{self, Out};
use super::{Cli, Status};
use clap::CommandFactory;
use std::fs;
use std::path::PathBuf;

/// Write manual pages: one for the program, and one for each command.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The pages say what --help says. Pages that are there are replaced.

Examples:
  effnet man ~/.local/share/man/man1
  man effnet-classify")]
pub struct Args {
    /// The folder; it is made where there is none.
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
}

/// Writes the pages.
pub fn run(args: Args, _: &mut Out) -> anyhow::Result<Status> {
    let Args { folder } = args;
    fs::create_dir_all(&folder)
        .map_err(output::within(format_args!("{}: cannot make this folder", folder.display())))?;
    let what = format_args!("{}: cannot write manual pages into it", folder.display());
    clap_mangen::generate_to(Cli::command(), &folder).map_err(output::within(what))?;
    output::note(&format_args!("manual pages in {}", folder.display()));
    Ok(Status::Complete)
}
