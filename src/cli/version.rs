//! `effnet --version`, and with `--verbose` how this program was built.

use super::Cli;
use clap::{CommandFactory, FromArgMatches};
use effnet::kernels::{self, Built};
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
    let (targets, nvcc, drivers) = match kernels::built() {
        Ok(built) => {
            let code: String = built.archs.iter().map(|arch| format!("sm_{arch} ")).collect();
            (format!("{code}and PTX of compute_{}", built.ptx_arch), built.nvcc, drivers(&built))
        }
        Err(_) => ("none".to_owned(), "none was found", "none is needed".to_owned()),
    };
    let facts = [
        ("commit", env!("EFFNET_BUILD_COMMIT")),
        ("kernels", targets.trim_start_matches("and ")),
        ("nvcc", nvcc),
        ("drivers", &drivers),
        ("features", env!("EFFNET_BUILD_FEATURES")),
        ("profile", env!("EFFNET_BUILD_PROFILE")),
    ];
    let lines = facts.map(|(name, value)| format!("{name:<9} {value}"));
    format!("{}\n{}", env!("CARGO_PKG_VERSION"), lines.join("\n"))
}

/// The oldest driver, and that of each target that needs a newer one.
fn drivers(built: &Built) -> String {
    let oldest = built.driver_for_ptx();
    let oldest =
        built.archs.iter().filter_map(|arch| built.driver_for(*arch)).fold(oldest, Ord::min);
    let newer = built.archs.iter().filter_map(|arch| {
        let needed = built.driver_for(*arch).filter(|needed| *needed > oldest)?;
        Some(format!("; sm_{arch}: CUDA {needed}"))
    });
    format!("CUDA {oldest} or newer{}", newer.collect::<String>())
}
