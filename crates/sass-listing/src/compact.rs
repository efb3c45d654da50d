//! The compact text, which leaves out operands. [`crate::Listing::from_compact`] describes it.

use crate::{Block, Function, Instruction, Listing, ListingError, Location};
use std::collections::HashMap;
use std::fmt::Write as _;
use std::sync::Arc;

/// Bytes of an instruction, since sm_70.
const INSTRUCTION_BYTES: u32 = 16;

pub fn write(listing: &Listing) -> String {
    let mut text = format!("sass 1 {}\n", listing.target);
    // Writing into a String cannot fail.
    for file in &listing.files {
        let _ = writeln!(text, "file {file}");
    }
    for at in &listing.locations {
        let _ = write!(text, "at {} {}", at.file, at.line);
        let _ = match at.inlined_at {
            Some(outer) => writeln!(text, " {outer}"),
            None => writeln!(text),
        };
    }
    let mut opcodes: HashMap<&str, usize> = HashMap::new();
    for instruction in listing.functions.iter().flat_map(|function| &function.instructions) {
        let next = opcodes.len();
        opcodes.entry(&instruction.opcode).or_insert_with(|| {
            let _ = writeln!(text, "op {}", instruction.opcode);
            next
        });
    }
    for function in &listing.functions {
        let _ = writeln!(text, "function {}", function.name);
        for (index, block) in function.blocks.iter().enumerate() {
            let successors: Vec<String> = block.successors.iter().map(usize::to_string).collect();
            let successors =
                if successors.is_empty() { "-".to_owned() } else { successors.join(",") };
            let _ = write!(text, "block {successors}");
            let _ = match &block.calls {
                Some(called) => writeln!(text, " {called}"),
                None => writeln!(text),
            };
            for (name, _) in function.subroutines.iter().filter(|(_, first)| *first == index) {
                let _ = writeln!(text, "sub {name}");
            }
            let mut before = None;
            for instruction in &function.instructions[block.instructions.clone()] {
                let guard = match (instruction.never, instruction.guarded) {
                    (true, _) => "!",
                    (_, true) => "@",
                    _ => "",
                };
                let _ = write!(text, "{guard}{}", opcodes[&*instruction.opcode]);
                if before != Some(instruction.location) {
                    let _ = match instruction.location {
                        Some(location) => write!(text, ":{location}"),
                        None => write!(text, ":-"),
                    };
                }
                before = Some(instruction.location);
                text.push(' ');
            }
            text.pop();
            text.push('\n');
        }
    }
    text
}

pub fn read(text: &str) -> Result<Listing, ListingError> {
    let mut listing = Listing::default();
    let mut opcodes: Vec<Arc<str>> = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let failed = |fault: String| ListingError { line: index + 1, fault };
        read_line(&mut listing, &mut opcodes, index, line).map_err(failed)?;
    }
    let end = |fault: String| ListingError { line: text.lines().count(), fault };
    if listing.target == 0 {
        return Err(end("expected 'sass 1 TARGET' in the first line".to_owned()));
    }
    for function in &listing.functions {
        let blocks = function.blocks.len();
        if function.blocks.iter().any(|block| block.instructions.is_empty()) {
            return Err(end(format!("a block of {} without instructions", function.name)));
        }
        if let Some(next) =
            function.blocks.iter().flat_map(|block| &block.successors).find(|next| **next >= blocks)
        {
            return Err(end(format!("a successor {next} of {blocks} blocks of {}", function.name)));
        }
    }
    Ok(listing)
}

fn read_line(
    listing: &mut Listing,
    opcodes: &mut Vec<Arc<str>>,
    index: usize,
    line: &str,
) -> Result<(), String> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "sass" => match rest.split_once(' ') {
            Some(("1", target)) if index == 0 => listing.target = number(target)?,
            _ => return Err(format!("expected 'sass 1 TARGET', found '{line}'")),
        },
        _ if index == 0 => return Err(format!("expected 'sass 1 TARGET', found '{line}'")),
        "file" => listing.files.push(rest.into()),
        "op" => opcodes.push(rest.into()),
        "at" => {
            let mut numbers = rest.split(' ');
            let mut next = || number(numbers.next().unwrap_or_default());
            let (file, line) = (next()?, next()?);
            let inlined_at = numbers.next().map(number).transpose()?;
            below("file", file, listing.files.len())?;
            if let Some(outer) = inlined_at {
                below("location", outer, listing.locations.len())?;
            }
            listing.locations.push(Location { file, line, inlined_at });
        }
        "function" => {
            listing.functions.push(Function { name: rest.to_owned(), ..Function::default() });
        }
        "block" => {
            let function = listing.functions.last_mut().ok_or("a block before any function")?;
            let (successors, called) = match rest.split_once(' ') {
                Some((successors, called)) => (successors, Some(called.to_owned())),
                None => (rest, None),
            };
            let successors = match successors {
                "-" => Vec::new(),
                list => list
                    .split(',')
                    .map(|next| number(next).map(|next| next as usize))
                    .collect::<Result<Vec<usize>, String>>()?,
            };
            let at = function.instructions.len();
            function.blocks.push(Block { instructions: at..at, successors, calls: called });
        }
        "sub" => {
            let function = listing.functions.last_mut().ok_or("a subroutine before a function")?;
            let block = function.blocks.len().checked_sub(1).ok_or("'sub' before any block")?;
            function.subroutines.push((rest.to_owned(), block));
        }
        _ => {
            let locations = listing.locations.len();
            let function = listing.functions.last_mut().ok_or("instructions before a function")?;
            let block = function.blocks.last_mut().ok_or("instructions before any block")?;
            let mut location = None;
            for word in line.split(' ') {
                let (guard, word) = match word.strip_prefix(['@', '!']) {
                    Some(rest) => (word.chars().next(), rest),
                    None => (None, word),
                };
                let (opcode, at) = word.split_once(':').unwrap_or((word, ""));
                match at {
                    "" => {}
                    "-" => location = None,
                    at => {
                        let at = number(at)?;
                        below("location", at, locations)?;
                        location = Some(at);
                    }
                }
                let opcode = number(opcode)?;
                below("opcode", opcode, opcodes.len())?;
                let address = function.instructions.len() as u32 * INSTRUCTION_BYTES;
                function.instructions.push(Instruction {
                    address,
                    guarded: guard.is_some(),
                    never: guard == Some('!'),
                    opcode: opcodes[opcode as usize].clone(),
                    operands: String::new(),
                    location,
                });
            }
            block.instructions.end = function.instructions.len();
        }
    }
    Ok(())
}

fn number(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("expected a number, found '{text}'"))
}

fn below(what: &str, index: u32, count: usize) -> Result<(), String> {
    match (index as usize) < count {
        true => Ok(()),
        false => Err(format!("{what} {index} of {count}")),
    }
}
