//! `effnet completions`: a completion script for a shell.

use super::output::Out;
use super::{Cli, Status};
use clap::CommandFactory;
use clap_complete::Shell;

/// Print a completion script for a shell.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  effnet completions bash > ~/.local/share/bash-completion/completions/effnet
  effnet completions zsh > ~/.zfunc/_effnet
  effnet completions fish > ~/.config/fish/completions/effnet.fish")]
pub struct Args {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to standard output.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    // In memory first: the generator panics if its writer fails.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "effnet", &mut script);
    out.bytes(&script)?;
    Ok(Status::Complete)
}
