//! `effnet --version`, and with `--verbose` how this program was built.

use super::Cli;
use clap::{CommandFactory, FromArgMatches};
use effnet::kernels;
use std::ffi::OsString;

/// Parses the arguments. `--version` tells more where `--verbose` is among them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Cli {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let mut command = Cli::command();
    if arguments.iter().any(is_verbose) {
        // clap takes a text that lives as long as the program.
        command = command.version(&*details().leak());
    }
    let matches = command.get_matches_from(arguments);
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Whether an argument is `--verbose`, or short options with `-v` among them.
fn is_verbose(argument: &OsString) -> bool {
    let text = argument.to_string_lossy();
    match text.strip_prefix('-') {
        Some("-verbose") => true,
        Some(short) => !short.starts_with('-') && short.contains('v'),
        None => false,
    }
}

/// The version, then a line for each fact of the build.
fn details() -> String {
    let (targets, nvcc) = match kernels::built() {
        Ok(built) => {
            let code: String = built.archs.iter().map(|arch| format!("sm_{arch} ")).collect();
            (format!("{code}and PTX of compute_{}", built.ptx_arch), built.nvcc)
        }
        Err(_) => ("none".to_owned(), "none was found"),
    };
    let facts = [
        ("commit", env!("EFFNET_BUILD_COMMIT")),
        ("kernels", targets.trim_start_matches("and ")),
        ("nvcc", nvcc),
        ("features", env!("EFFNET_BUILD_FEATURES")),
        ("profile", env!("EFFNET_BUILD_PROFILE")),
    ];
    let lines = facts.map(|(name, value)| format!("{name:<9} {value}"));
    format!("{}\n{}", env!("CARGO_PKG_VERSION"), lines.join("\n"))
}
