//! The text that nvdisasm prints.
//!
//! ```text
//!     .target sm_90                             or EF_CUDA_SM90 among the header's flags
//!     .section .text.NAME,"ax",@progbits
//! NAME:
//!     //## File "a.cuh", line 3 inlined at "b.cu", line 12
//!     //## File "b.cu", line 12
//!         /*0140*/              @!P0 FMUL R3, R3, 0.5 ;
//! .L_x_3:
//! ```
//!
//! The comments before an instruction hold, innermost first, until the next ones.

use crate::{Function, Instruction, Listing, ListingError, Location, flow};
use std::collections::HashMap;
use std::sync::Arc;

/// What stands before the name in a section of code.
const TEXT: &str = ".text.";

#[derive(Default)]
struct Reader {
    listing: Listing,
    files: HashMap<Arc<str>, u32>,
    locations: HashMap<Location, u32>,
    opcodes: HashMap<Arc<str>, Arc<str>>,
    /// Comments since the last instruction, innermost first: file and line.
    chain: Vec<(u32, u32)>,
    location: Option<u32>,
    function: Option<flow::Builder>,
    in_code: bool,
}

pub fn parse(text: &str) -> Result<Listing, ListingError> {
    let mut reader = Reader::default();
    for (index, line) in text.lines().enumerate() {
        let failed = |fault: String| ListingError { line: index + 1, fault };
        reader.line(line.trim()).map_err(failed)?;
    }
    let failed = |fault: String| ListingError { line: text.lines().count(), fault };
    reader.end_function().map_err(failed)?;
    match reader.listing.target {
        0 => Err(failed("expected '.target sm_NN' or EF_CUDA_SMNN before the end".to_owned())),
        _ => Ok(reader.listing),
    }
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if let Some(comment) = line.strip_prefix("//## File ") {
            return self.comment(comment);
        }
        if line.starts_with("//") || line.is_empty() {
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("/*") {
            return if self.in_code { self.instruction(rest) } else { Ok(()) };
        }
        if let Some(label) = line.strip_suffix(':') {
            if let Some(function) = &mut self.function {
                function.label(label);
            }
            return Ok(());
        }
        let mut words = line.split_whitespace();
        match (words.next(), words.next()) {
            (Some(".target"), Some(target)) => {
                self.listing.target =
                    digits_after(target, "sm_").ok_or("expected '.target sm_NN'")?;
            }
            (Some(".headerflags"), _) => {
                if let Some(target) = digits_after(line, "EF_CUDA_SM") {
                    self.listing.target = target;
                }
            }
            (Some(".section"), Some(section)) => {
                self.end_function()?;
                let name = section.split(',').next().unwrap_or_default();
                self.in_code = name.starts_with(TEXT);
                if let Some(name) = name.strip_prefix(TEXT) {
                    self.function = Some(flow::Builder::new(name));
                    self.chain.clear();
                    self.location = None;
                }
            }
            (Some(".type"), Some(symbol)) => {
                if let (Some(function), Some(symbol)) =
                    (&mut self.function, symbol.strip_suffix(",@function"))
                {
                    function.symbol(symbol);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// `"FILE", line N [inlined at "FILE", line N]`: the second half comes again by itself.
    fn comment(&mut self, comment: &str) -> Result<(), String> {
        let unclear = || format!("expected '//## File \"NAME\", line N', found '{comment}'");
        let (file, rest) =
            comment.strip_prefix('"').and_then(|c| c.split_once('"')).ok_or_else(unclear)?;
        let line = digits_after(rest, "line ").ok_or_else(unclear)?;
        let file = match self.files.get(file) {
            Some(index) => *index,
            None => {
                let (name, index) = (Arc::<str>::from(file), self.listing.files.len() as u32);
                self.listing.files.push(name.clone());
                self.files.insert(name, index);
                index
            }
        };
        self.chain.push((file, line));
        Ok(())
    }

    /// `0140*/ [@[!]P0] OPCODE operands ;`
    fn instruction(&mut self, text: &str) -> Result<(), String> {
        let unclear = || format!("expected '/*ADDRESS*/ OPCODE operands ;', found '/*{text}'");
        let (address, rest) = text.split_once("*/").ok_or_else(unclear)?;
        let address = u32::from_str_radix(address.trim(), 16).map_err(|_| unclear())?;
        let rest = rest.split(';').next().unwrap_or_default().trim();
        let (guard, rest) = match rest.strip_prefix('@') {
            Some(rest) => {
                let (guard, rest) = rest.split_once(char::is_whitespace).ok_or_else(unclear)?;
                (Some(guard), rest.trim())
            }
            None => (None, rest),
        };
        let (opcode, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if !opcode.starts_with(|c: char| c.is_ascii_uppercase()) {
            return Err(unclear());
        }
        if !self.chain.is_empty() {
            let chain = std::mem::take(&mut self.chain);
            self.location = chain.iter().rev().fold(None, |inlined_at, &(file, line)| {
                Some(self.intern(Location { file, line, inlined_at }))
            });
        }
        let opcode = match self.opcodes.get(opcode) {
            Some(known) => known.clone(),
            None => {
                let new = Arc::<str>::from(opcode);
                self.opcodes.insert(new.clone(), new.clone());
                new
            }
        };
        let function = self.function.as_mut().ok_or("an instruction outside of a function")?;
        function.instruction(Instruction {
            address,
            guarded: guard.is_some(),
            never: guard == Some("!PT"),
            opcode,
            operands: operands.trim().to_owned(),
            location: self.location,
        })
    }

    fn intern(&mut self, location: Location) -> u32 {
        let next = self.listing.locations.len() as u32;
        *self.locations.entry(location).or_insert_with(|| {
            self.listing.locations.push(location);
            next
        })
    }

    fn end_function(&mut self) -> Result<(), String> {
        if let Some(function) = self.function.take() {
            let function: Function = function.finish()?;
            self.listing.functions.push(function);
        }
        Ok(())
    }
}

/// The number behind the first `prefix`.
fn digits_after(text: &str, prefix: &str) -> Option<u32> {
    let rest = text.split_once(prefix)?.1;
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
