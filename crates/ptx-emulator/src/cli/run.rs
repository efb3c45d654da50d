//! From the options to a launch, and from its report to what is written.

use super::args::{Args, Counted, Extents};
use super::argument::{Argument, Content, HexDigits, MAX_BUFFER_BYTES, Output};
use super::error::EmulateError;
use super::print::{counters, lines, list};
use super::streams::Streams;
use super::text::count;
use crate::module::MAX_TEXT_BYTES;
use crate::{Buffer, Entry, Launch, Memory, Module, Param, Schedule};
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// How a command has ended that could start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The kernel ended without a finding, or the kernels were listed: exit status 0.
    Clean,
    /// A check reports something: exit status 3.
    Findings,
}

/// Runs the kernel; outputs and counters go to `streams.out`, findings to `streams.err`.
///
/// # Errors
/// If the file, the arguments or the launch cannot be taken, or an output cannot be written: exit
/// status 2.
pub fn run(args: Args, streams: &mut Streams) -> Result<Outcome, EmulateError> {
    let bytes =
        read(&args.file, MAX_TEXT_BYTES as u64).map_err(|source| read_error(&args.file, source))?;
    let text = String::from_utf8(bytes).map_err(|_| EmulateError::NotText(args.file.clone()))?;
    let module = Module::parse(&args.file.to_string_lossy(), &text)?;
    if args.list {
        list(&module, args.entry.as_deref(), streams)?;
        return Ok(Outcome::Clean);
    }
    let entry = entry(&module, &args)?;
    let mut memory = Memory::new();
    let (values, outputs) = arguments(&args.arguments, entry, &mut memory)?;
    let mut launch = Launch::new(&module, &entry.name)?;
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
    let report = launch.run(&mut memory)?;
    for finding in &report.findings {
        streams.error(finding);
    }
    write_outputs(&memory, &outputs, streams)?;
    if args.counters.is_some() {
        counters(&report.counters, streams)?;
    }
    if args.counters == Some(Counted::Lines) {
        lines(&report.counters, streams)?;
    }
    Ok(if report.is_clean() { Outcome::Clean } else { Outcome::Findings })
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
            found: count(parsed.len(), "argument"),
            entry: entry.name.clone(),
            expected: count(entry.params.len(), "parameter"),
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
    streams: &mut Streams,
) -> Result<(), EmulateError> {
    for (buffer, output) in outputs {
        let bytes: Vec<u8> = memory.download(buffer);
        match output {
            Output::Stdout => streams.line(HexDigits(&bytes))?,
            Output::File(path) => fs::write(path, &bytes)
                .map_err(|source| EmulateError::Write { path: path.clone(), source })?,
        }
    }
    Ok(())
}
