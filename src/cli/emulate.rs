//! `effnet emulate`: a kernel of a PTX file on the CPU, with every check.

mod argument;

use super::Status;
use super::output::{self, Align, Out, Table, thousands};
use argument::{Argument, Content, HexDigits, MAX_BUFFER_BYTES, Malformed, Output};
use effnet::emulator::{
    Buffer, Check, Checks, Counters, Entry, Launch, LaunchError, LoadError, Memory, Module, Param,
    Schedule, Traffic,
};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Run a kernel of a PTX file on the CPU, warp by warp, and report what a GPU would let pass.
///
/// Reported are accesses out of bounds or misaligned, reads of what nothing has written, races,
/// divergent barriers, wrong membermasks, copies that were not waited for, deadlocks and more.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
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
dependent-launch, mbarrier, deadlock, livelock, budget, trap. Without out-of-bounds, deadlock, livelock, budget and
trap a run cannot go on: they are always on.

Exit status:
  0  the kernel ended, and nothing was found
  2  the PTX, the arguments or the launch cannot be taken: nothing was run
  3  a check reports something; the outputs are written all the same

Examples:
  effnet emulate kernel.ptx --list
  effnet emulate add.ptx --grid 4 --block 256 in:a.bin in:b.bin 'out:4096>sum.bin' u32:1000
  effnet emulate scale.ptx --grid 1 --block 4 'hexbuf:0000803f0000004000004040>-' f32:2 u32:3
  effnet emulate grid.ptx --grid 8 --block 64 --cooperative --warps-adversarial 7 'zero:4>-'")]
pub struct Args {
    /// The PTX, as `nvcc -ptx` writes it; with -lineinfo reports name the lines of the source.
    #[arg(value_name = "FILE.ptx")]
    file: PathBuf,
    /// The kernel [default: the only one of the file].
    #[arg(long, value_name = "NAME")]
    entry: Option<String>,
    /// Print the kernels and their parameters, and run nothing.
    #[arg(long)]
    list: bool,
    /// Blocks.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = extents)]
    #[arg(allow_negative_numbers = true, required_unless_present = "list")]
    grid: Option<Extents>,
    /// Threads of a block.
    #[arg(long, value_name = "X[,Y[,Z]]", value_parser = extents)]
    #[arg(allow_negative_numbers = true, required_unless_present = "list")]
    block: Option<Extents>,
    /// Dynamic shared memory of a block.
    #[arg(long, allow_negative_numbers = true, value_name = "BYTES", default_value = "0")]
    shared: u32,
    /// Keep all blocks resident, so that they can wait for each other.
    #[arg(long)]
    cooperative: bool,
    /// As a programmatic dependent launch: what touches global memory before griddepcontrol.wait is
    /// reported.
    #[arg(long)]
    dependent: bool,
    /// Blocks of a cluster [default: the kernel's own].
    #[arg(long, allow_negative_numbers = true, value_name = "X[,Y[,Z]]", value_parser = extents)]
    cluster: Option<Extents>,
    /// Take turns of random warps, from this seed, which shakes out what relies on luck.
    #[arg(long, allow_negative_numbers = true, value_name = "SEED")]
    warps_adversarial: Option<u64>,
    /// Print what was executed: instructions, traffic, bank conflicts; with =lines, by line of the source too.
    #[arg(long, value_enum, num_args = 0..=1, require_equals = true, value_name = "lines")]
    #[arg(default_missing_value = "kernel", hide_possible_values = true)]
    counters: Option<Counted>,
    /// What to look for: all, none, or names with commas between them.
    #[arg(long, value_name = "all|none|LIST", default_value = "all", value_parser = checks)]
    checks: Checks,
    /// Warp instructions after which a run is ended [default: some seconds' worth].
    #[arg(long, allow_negative_numbers = true, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    budget: Option<u64>,
    /// The arguments.
    #[arg(value_name = "ARG")]
    arguments: Vec<String>,
}

/// What counters are printed of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Counted {
    Kernel,
    Lines,
}

/// Extents in x, y, z.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Extents([u32; 3]);

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

/// Why a kernel was not run, or its outputs not written.
#[derive(Debug, thiserror::Error)]
pub enum EmulateError {
    /// A file that cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Not text, as of an object file.
    #[error("{0} is not text: expected PTX, as `nvcc -ptx` writes it")]
    NotText(PathBuf),
    /// PTX that the emulator does not take.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Not exactly one kernel.
    #[error("which kernel? expected --entry NAME; {path} has {available}")]
    WhichEntry {
        /// The file.
        path: PathBuf,
        /// The names of its kernels.
        available: String,
    },
    /// An argument that is not one.
    #[error("argument {number} '{text}': {source}")]
    Argument {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
        /// What is wrong.
        source: Malformed,
    },
    /// More or fewer arguments than parameters.
    #[error("{found} given: {entry} takes {expected}{parameters}")]
    ArgumentCount {
        /// How many there are, with the word.
        found: String,
        /// The kernel.
        entry: String,
        /// How many there should be, with the word.
        expected: String,
        /// A line for each parameter.
        parameters: String,
    },
    /// A value of another size than its parameter.
    #[error("argument {number} '{text}' has {found} bytes: expected {expected}, of {parameter}")]
    ArgumentBytes {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
        /// Its size, or that of an address.
        found: usize,
        /// The parameter's size.
        expected: u32,
        /// The parameter.
        parameter: String,
    },
    /// More memory than the emulator is given.
    #[error(
        "argument {number} '{text}': all buffers together have more than {MAX_BUFFER_BYTES} bytes"
    )]
    TooLarge {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
    },
    /// Two outputs in one file.
    #[error("argument {number} '{text}': an argument before it goes to the same file")]
    SameOutput {
        /// From 1.
        number: usize,
        /// As written.
        text: String,
    },
    /// A launch that hardware would not take.
    #[error(transparent)]
    Launch(#[from] LaunchError),
    /// An output that cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Runs the kernel; outputs and counters go to standard output, findings to standard error.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let bytes = read(&args.file, u64::MAX).map_err(|source| read_error(&args.file, source))?;
    let text = String::from_utf8(bytes).map_err(|_| EmulateError::NotText(args.file.clone()))?;
    let module = Module::parse(&args.file.to_string_lossy(), &text).map_err(EmulateError::from)?;
    if args.list {
        list(&module, args.entry.as_deref(), out)?;
        return Ok(Status::Complete);
    }
    let entry = entry(&module, &args)?;
    let mut memory = Memory::new();
    let (values, outputs) = arguments(&args.arguments, entry, &mut memory)?;
    let mut launch = Launch::new(&module, &entry.name).map_err(EmulateError::from)?;
    for value in &values {
        launch = launch.arg_bytes(value);
    }
    launch = launch
        .grid(args.grid.map_or([1; 3], |grid| grid.0))
        .block(args.block.map_or([1; 3], |block| block.0))
        .shared_bytes(args.shared)
        .cooperative(args.cooperative)
        .dependent(args.dependent)
        .checks(args.checks)
        .count_traffic(args.counters.is_some())
        .per_line(args.counters == Some(Counted::Lines));
    if let Some(Extents(cluster)) = args.cluster {
        launch = launch.cluster(cluster);
    }
    if let Some(seed) = args.warps_adversarial {
        launch = launch.schedule(Schedule::Adversarial(seed));
    }
    if let Some(budget) = args.budget {
        launch = launch.budget(budget);
    }
    let report = launch.run(&mut memory).map_err(EmulateError::from)?;
    for finding in &report.findings {
        output::error(finding);
    }
    write_outputs(&memory, &outputs, out)?;
    if args.counters.is_some() {
        counters(&report.counters, out)?;
    }
    if args.counters == Some(Counted::Lines) {
        lines(&report.counters, out)?;
    }
    Ok(if report.is_clean() { Status::Complete } else { Status::Findings })
}

/// At most `most` bytes of a file, and one more where it has more.
fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_error(path: &Path, source: io::Error) -> EmulateError {
    EmulateError::Read { path: path.to_owned(), source }
}

/// The kernel asked for, or the only one.
fn entry<'a>(module: &'a Module, args: &Args) -> Result<&'a Entry, EmulateError> {
    match (&args.entry, module.entries()) {
        (Some(name), entries) => match entries.iter().find(|entry| entry.name == *name) {
            Some(entry) => Ok(entry),
            // The error of a launch names the kernels that there are.
            None => Err(Launch::new(module, name).map_or_else(EmulateError::from, |_| {
                EmulateError::WhichEntry { path: args.file.clone(), available: name.clone() }
            })),
        },
        (None, [entry]) => Ok(entry),
        (None, entries) => {
            let names: Vec<&str> = entries.iter().map(|entry| entry.name.as_str()).collect();
            let available = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Err(EmulateError::WhichEntry { path: args.file.clone(), available })
        }
    }
}

/// Parameters' bytes in order, and the buffers to write after the launch.
type Arguments = (Vec<Vec<u8>>, Vec<(Buffer, Output)>);

/// Checks the arguments against the parameters, and puts the buffers into memory.
fn arguments(
    texts: &[String],
    entry: &Entry,
    memory: &mut Memory,
) -> Result<Arguments, EmulateError> {
    // What is malformed is said first: it may be why the count is wrong.
    let parse = |(index, text): (usize, &String)| {
        text.parse::<Argument>().map_err(|source| EmulateError::Argument {
            number: index + 1,
            text: text.clone(),
            source,
        })
    };
    let parsed: Vec<Argument> = texts.iter().enumerate().map(parse).collect::<Result<_, _>>()?;
    if parsed.len() != entry.params.len() {
        return Err(EmulateError::ArgumentCount {
            found: output::count(parsed.len(), "argument"),
            entry: entry.name.clone(),
            expected: output::count(entry.params.len(), "parameter"),
            parameters: entry.params.iter().map(|p| format!("\n  {}", describe(p))).collect(),
        });
    }
    let mut left = MAX_BUFFER_BYTES;
    let (mut values, mut outputs) = (Vec::new(), Vec::new());
    for (index, (argument, param)) in parsed.into_iter().zip(&entry.params).enumerate() {
        let (number, text) = (index + 1, texts[index].clone());
        let found = match &argument {
            Argument::Value(bytes) => bytes.len(),
            Argument::Buffer { .. } => size_of::<u64>(),
        };
        if found != param.size_bytes as usize {
            let (expected, parameter) = (param.size_bytes, describe(param));
            return Err(EmulateError::ArgumentBytes { number, text, found, expected, parameter });
        }
        let (content, output) = match argument {
            Argument::Value(bytes) => {
                values.push(bytes);
                continue;
            }
            Argument::Buffer { content, output } => (content, output),
        };
        let name = &param.name;
        let mut fits = |bytes: usize| match left.checked_sub(bytes) {
            Some(rest) => {
                left = rest;
                Ok(bytes)
            }
            None => Err(EmulateError::TooLarge { number, text: text.clone() }),
        };
        let mut upload = |bytes: &[u8]| fits(bytes.len()).map(|_| memory.upload(name, bytes));
        let buffer = match content {
            Content::Bytes(bytes) => upload(&bytes)?,
            Content::File(path) => {
                let most = MAX_BUFFER_BYTES as u64;
                upload(&read(&path, most).map_err(|source| read_error(&path, source))?)?
            }
            Content::Zeros(bytes) => memory.zeroed(name, fits(bytes)?),
            Content::Uninitialised(bytes) => memory.uninitialised(name, fits(bytes)?),
        };
        values.push(buffer.address().to_le_bytes().to_vec());
        if let Some(output) = output {
            let same = |(_, other): &(Buffer, Output)| output != Output::Stdout && *other == output;
            if outputs.iter().any(same) {
                return Err(EmulateError::SameOutput { number, text });
            }
            outputs.push((buffer, output));
        }
    }
    Ok((values, outputs))
}

fn describe(param: &Param) -> String {
    format!("{} {}", param.type_name, param.name)
}

fn write_outputs(
    memory: &Memory,
    outputs: &[(Buffer, Output)],
    out: &mut Out,
) -> anyhow::Result<()> {
    for (buffer, output) in outputs {
        let bytes: Vec<u8> = memory.download(buffer);
        match output {
            Output::Stdout => out.line(HexDigits(&bytes))?,
            Output::File(path) => fs::write(path, &bytes)
                .map_err(|source| EmulateError::Write { path: path.clone(), source })?,
        }
    }
    Ok(())
}

fn list(module: &Module, only: Option<&str>, out: &mut Out) -> anyhow::Result<()> {
    if let Some(name) = only {
        Launch::new(module, name).map_err(EmulateError::from)?;
    }
    for entry in module.entries().iter().filter(|e| only.is_none_or(|name| e.name == name)) {
        out.line(&entry.name)?;
        let mut table = Table::new(&[
            ("  offset", Align::Right),
            ("bytes", Align::Right),
            ("type", Align::Left),
            ("parameter", Align::Left),
        ]);
        for param in &entry.params {
            table.row([
                param.offset_bytes.to_string(),
                param.size_bytes.to_string(),
                param.type_name.clone(),
                param.name.clone(),
            ]);
        }
        for line in table.lines().skip(usize::from(entry.params.is_empty())) {
            out.line(line)?;
        }
        if entry.shared_bytes > 0 {
            out.line(format_args!("  static shared memory: {} bytes", entry.shared_bytes))?;
        }
        if let Some(threads) = entry.max_threads {
            out.line(format_args!("  threads of a block: at most {threads}"))?;
        }
        if let Some([x, y, z]) = entry.required_block {
            out.line(format_args!("  block: exactly {x},{y},{z}"))?;
        }
        if let Some([x, y, z]) = entry.required_cluster {
            out.line(format_args!("  cluster: exactly {x},{y},{z}"))?;
        }
    }
    Ok(())
}

fn counters(counters: &Counters, out: &mut Out) -> anyhow::Result<()> {
    let mut table = Table::new(&[("counter", Align::Left), ("count", Align::Right)]);
    let mut row = |name: &str, count: u64| table.row([name.to_owned(), thousands(count)]);
    row("warp instructions", counters.instructions);
    for (class, &count) in &counters.by_class {
        row(&format!("  {}", format!("{class:?}").to_lowercase()), count);
    }
    row("lane instructions", counters.lane_instructions);
    row("matrix products", counters.mma);
    row("  multiply-accumulates", counters.mma_macs);
    row("barriers", counters.barriers);
    row("divergent branches", counters.divergent_branches);
    let mut memory = |name: &str, traffic: &Traffic, detail: &str, count: u64| {
        row(&format!("{name} requests"), traffic.requests);
        row("  bytes", traffic.bytes);
        row(detail, count);
    };
    let (global, shared) = (&counters.global, &counters.shared);
    memory("global memory", global, "  sectors of 32 bytes", global.sectors);
    memory("shared memory", shared, "  bank conflict cycles", shared.conflicts);
    for line in table.lines() {
        out.line(line)?;
    }
    Ok(())
}

/// One row for each line of the source; nothing where the PTX has no line information.
fn lines(counters: &Counters, out: &mut Out) -> anyhow::Result<()> {
    let right = |name| (name, Align::Right);
    let mut table = Table::new(&[
        ("line", Align::Left),
        right("instructions"),
        right("global requests"),
        right("sectors"),
        right("shared requests"),
        right("conflict cycles"),
    ]);
    for ((file, line), counted) in &counters.by_line {
        let (global, shared) = (&counted.global, &counted.shared);
        table.row([
            format!("{file}:{line}"),
            thousands(counted.instructions),
            thousands(global.requests),
            thousands(global.sectors),
            thousands(shared.requests),
            thousands(shared.conflicts),
        ]);
    }
    if counters.by_line.is_empty() {
        output::note(&"no counters by line: the PTX has no .loc; compile it with -lineinfo");
        return Ok(());
    }
    out.line("")?;
    for line in table.lines() {
        out.line(line)?;
    }
    Ok(())
}

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
    fn the_help_names_every_check() {
        use clap::Args as _;
        let command = Args::augment_args(clap::Command::new("emulate"));
        let help = command.get_after_help().unwrap().to_string();
        for check in Check::ALL {
            assert!(help.contains(check.name()), "{check}");
        }
    }
}
