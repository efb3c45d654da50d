//! The `ptx-emulator` command.

use clap::FromArgMatches as _;
use ptx_emulator::cli::{self, Args, EmulateError, Outcome, Streams};
use std::io::{self, BufWriter};
use std::process::ExitCode;

const NAME: &str = env!("CARGO_BIN_NAME");

fn main() -> ExitCode {
    let command = clap::Command::new(NAME).version(env!("CARGO_PKG_VERSION"));
    let command = <Args as clap::Args>::augment_args(command).after_help(cli::after_help(NAME));
    let args = Args::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    let mut out = BufWriter::new(io::stdout().lock());
    let mut err = io::stderr();
    let mut streams =
        Streams { out: &mut out, err: &mut err, colour: Streams::stderr_has_colour() };
    let result = cli::run(args, &mut streams).and_then(|outcome| {
        streams.out.flush().map_err(EmulateError::Stdout)?;
        Ok(outcome)
    });
    match result {
        Ok(Outcome::Clean) => ExitCode::SUCCESS,
        Ok(Outcome::Findings) => ExitCode::from(3),
        // The reader (`head`, a closed pager) has what it wanted.
        Err(EmulateError::Stdout(error)) if error.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            streams.error(error);
            ExitCode::from(2)
        }
    }
}
