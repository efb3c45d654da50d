//! The options, and the help that goes with them.

use crate::{Check, Checks};
use std::path::PathBuf;

/// Run a kernel of a PTX file on the CPU, warp by warp, and report what a GPU would let pass.
///
/// Reported are accesses out of bounds or misaligned, reads of what nothing has written, races,
/// divergent barriers, wrong membermasks, copies that were not waited for, deadlocks and more.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The PTX, as `nvcc -ptx` writes it; with -lineinfo reports name the lines of the source.
    #[arg(value_name = "FILE.ptx")]
    pub(super) file: PathBuf,
    /// The kernel [default: the only one of the file].
    #[arg(long, value_name = "NAME")]
    pub(super) entry: Option<String>,
    /// Print the kernels and their parameters, and run nothing.
    #[arg(long)]
    pub(super) list: bool,
    /// Blocks.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = extents)]
    #[arg(allow_negative_numbers = true, required_unless_present = "list")]
    pub(super) grid: Option<Extents>,
    /// Threads of a block.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = extents)]
    #[arg(allow_negative_numbers = true, required_unless_present = "list")]
    pub(super) block: Option<Extents>,
    /// Dynamic shared memory of a block.
    #[arg(long, allow_negative_numbers = true, value_name = "BYTES", default_value = "0")]
    pub(super) shared: u32,
    /// Keep all blocks resident, so that they can wait for each other.
    #[arg(long)]
    pub(super) cooperative: bool,
    /// As a programmatic dependent launch: what touches global memory before griddepcontrol.wait is
    /// reported.
    #[arg(long)]
    pub(super) dependent: bool,
    /// Blocks of a cluster [default: the kernel's own].
    #[arg(long, allow_negative_numbers = true, value_name = "X[,Y[,Z]]", value_parser = extents)]
    pub(super) cluster: Option<Extents>,
    /// Take turns of random warps, from this seed, which shakes out what relies on luck.
    #[arg(long, allow_negative_numbers = true, value_name = "SEED")]
    pub(super) warps_adversarial: Option<u64>,
    /// Print what was executed: instructions, traffic, bank conflicts; with =lines, by line of the
    /// source too.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, value_name = "lines")]
    #[arg(default_missing_value = "kernel", hide_possible_values = true)]
    pub(super) counters: Option<Counted>,
    /// What to look for: all, none, or names with commas between them.
    #[arg(long, value_name = "all|none|LIST", default_value = "all", value_parser = checks)]
    pub(super) checks: Checks,
    /// Warp instructions after which a run is ended [default: some seconds' worth].
    #[arg(long, allow_negative_numbers = true, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) budget: Option<u64>,
    /// The arguments.
    #[arg(value_name = "ARG")]
    pub(super) arguments: Vec<String>,
}

/// What counters are printed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Counted {
    Kernel,
    Lines,
}

/// Extents in x, y, z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extents(pub [u32; 3]);

fn extents(text: &str) -> Result<Extents, String> {
    let mut extents = [1; 3];
    let mut parts = text.split(',');
    for (extent, part) in extents.iter_mut().zip(&mut parts) {
        *extent = match part.parse() {
            Ok(number) if number > 0 => number,
            _ => return Err("expected one to three numbers from 1 on, as in 8 or 8,2,1".to_owned()),
        };
    }
    match parts.next() {
        None => Ok(Extents(extents)),
        Some(_) => Err("expected at most three numbers, for x, y and z".to_owned()),
    }
}

fn checks(text: &str) -> Result<Checks, String> {
    match text {
        "all" => return Ok(Checks::ALL),
        "none" => return Ok(Checks::required()),
        _ => (),
    }
    text.split(',').try_fold(Checks::required(), |checks, name| {
        let check = Check::ALL.into_iter().find(|check| check.name() == name);
        check.map(|check| checks.with(check)).ok_or_else(|| {
            let names = Check::ALL.map(Check::name).join(", ");
            format!("'{name}' is not a check; expected all, none, or some of {names}")
        })
    })
}

/// The help that follows the options: arguments, checks, exit status, and examples that call the
/// command `program`, such as `ptx-emulator`.
pub fn after_help(program: &str) -> String {
    format!(
        "{REFERENCE}
Examples:
  {program} kernel.ptx --list
  {program} add.ptx --grid 4 --block 256 in:a.bin in:b.bin 'out:4096>sum.bin' u32:1000
  {program} scale.ptx --grid 1 --block 4 'hexbuf:0000803f0000004000004040>-' f32:2 u32:3
  {program} grid.ptx --grid 8 --block 64 --cooperative --warps-adversarial 7 'zero:4>-'"
    )
}

/// What an ARG is, what can be checked, and what the exit status says.
const REFERENCE: &str = "\
Each ARG is one parameter of the kernel, in order:
  u32:7 s32:-1 u64:7 s64:-1   an integer, in decimal or with 0x
  f32:1.5 f64:1.5 f16:1.5     a floating-point number, inf or nan
  hex:0a0b                    bytes as they are, as of a struct by value
  in:FILE                     a buffer that holds FILE
  inout:FILE>OUT              the same, written to OUT afterwards
  out:BYTES>OUT               a buffer that nothing has written yet
  zero:BYTES>OUT              a buffer of zeros
  hexbuf:0011aabb>OUT         a buffer of these bytes
OUT is a file, or - for a line of hexadecimal digits on standard output. Quote the > for the shell.

Checks, for --checks: out-of-bounds, misaligned, uninitialised-memory, uninitialised-register,
shared-race, global-race, async-in-flight, divergent-barrier, membermask, division-by-zero,
dependent-launch, mbarrier, deadlock, livelock, budget, trap. Without out-of-bounds, deadlock,
livelock, budget and trap a run cannot go on: they are always on.

Exit status:
  0  the kernel ended, and nothing was found
  2  the PTX, the arguments or the launch cannot be taken: nothing was run
  3  a check reports something; the outputs are written all the same
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extents_have_one_to_three_numbers() {
        assert_eq!(extents("8"), Ok(Extents([8, 1, 1])));
        assert_eq!(extents("8,2"), Ok(Extents([8, 2, 1])));
        assert_eq!(extents("8,2,4294967295"), Ok(Extents([8, 2, u32::MAX])));
        for text in ["", "0", "8,", "8,0", "-1", "x", "8x2", "4294967296", " 8"] {
            assert!(extents(text).unwrap_err().starts_with("expected one to three"), "{text}");
        }
        assert!(extents("1,2,3,4").unwrap_err().starts_with("expected at most three"));
    }

    #[test]
    fn checks_are_all_none_or_named() {
        assert_eq!(checks("all"), Ok(Checks::ALL));
        assert_eq!(checks("none"), Ok(Checks::required()));
        let some = checks("shared-race,misaligned").unwrap();
        assert!(some.has(Check::SharedRace) && some.has(Check::Misaligned));
        assert!(some.has(Check::OutOfBounds) && !some.has(Check::GlobalRace));
        assert!(checks("shared-race,").unwrap_err().starts_with("'' is not a check"));
        assert!(checks("races").unwrap_err().contains("shared-race, global-race"));
    }

    #[test]
    fn the_help_names_every_check_and_the_program() {
        let help = after_help("some-program run");
        for check in Check::ALL {
            assert!(help.contains(check.name()), "{check}");
        }
        let examples = help.split_once("Examples:\n").unwrap().1;
        assert_eq!(examples.lines().count(), 4);
        assert!(examples.lines().all(|line| line.starts_with("  some-program run ")), "{help}");
    }
}
