//! Reads the listings of machine code (SASS) that `nvdisasm -gi -c` prints.
//!
//! - [`Listing::parse`]: the text; a [`Listing`] of [`Function`]s of [`Instruction`]s, with the
//!   chain of source [`Location`]s of each;
//! - [`Function::blocks`]: basic [`Block`]s with their successors; [`Function::loops`];
//! - [`Pipe`]: what executes an opcode;
//! - [`Listing::to_compact`], [`Listing::from_compact`]: a smaller text without operands.
//!
//! A text that is not understood is a [`ListingError`] with its line. Memory is a small multiple of
//! the text's length, and nothing recurses.

mod compact;
mod flow;
mod parse;
mod pipe;

pub use flow::Loop;
pub use pipe::Pipe;
use std::ops::Range;
use std::sync::Arc;

/// The machine code of a cubin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// Compute capability as in 90 for 9.0.
    pub target: u32,
    /// Names of source files, as the compiler recorded them.
    pub files: Vec<Arc<str>>,
    /// Places of the source that instructions come from. One inlined into another comes after it.
    pub locations: Vec<Location>,
    /// Functions, in the order of the text.
    pub functions: Vec<Function>,
}

/// A place of the source.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Location {
    /// Index into [`Listing::files`].
    pub file: u32,
    /// Line, counted from one.
    pub line: u32,
    /// The place of the call, by index into [`Listing::locations`], where this was inlined.
    pub inlined_at: Option<u32>,
}

/// A function, with the subroutines that the assembler placed behind it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its symbol.
    pub name: String,
    /// Instructions in the order of their addresses.
    pub instructions: Vec<Instruction>,
    /// Basic blocks in the order of their addresses; the first is the entry.
    pub blocks: Vec<Block>,
    /// Symbols of subroutines, each with its first block.
    pub subroutines: Vec<(String, usize)>,
}

/// An instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Bytes from the function's beginning.
    pub address: u32,
    /// Whether a predicate guards it: it then takes an issue slot also where it does nothing.
    pub guarded: bool,
    /// Whether its guard is `@!PT`, which is never true: it only takes time.
    pub never: bool,
    /// The opcode with its modifiers, as in `LDG.E.128`.
    pub opcode: Arc<str>,
    /// Operands as text; empty where the listing was read from its compact form.
    pub operands: String,
    /// Where it comes from: index into [`Listing::locations`], of the innermost place.
    pub location: Option<u32>,
}

impl Instruction {
    /// The opcode before its modifiers, as in `LDG`.
    pub fn base(&self) -> &str {
        self.opcode.split('.').next().unwrap_or_default()
    }
}

/// Instructions that are executed one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// Indices into [`Function::instructions`].
    pub instructions: Range<usize>,
    /// Blocks that may follow, by index, ascending. A call is followed by the block behind it.
    pub successors: Vec<usize>,
    /// The symbol that the block's last instruction calls.
    pub calls: Option<String>,
}

/// A listing that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListingError {
    /// Line of the text, counted from one.
    pub line: usize,
    /// Expected and found.
    pub fault: String,
}

impl std::fmt::Display for ListingError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "line {} of the listing: {}", self.line, self.fault)
    }
}

impl std::error::Error for ListingError {}

impl Listing {
    /// Reads what `nvdisasm -gi -c` printed (`-g` and no option are understood, too).
    pub fn parse(text: &str) -> Result<Listing, ListingError> {
        parse::parse(text)
    }

    /// A smaller text with all but operands. [`Listing::from_compact`] describes it.
    pub fn to_compact(&self) -> String {
        compact::write(self)
    }

    /// Reads the text of [`Listing::to_compact`]. Its lines, in this order:
    ///
    /// ```text
    /// sass 1 TARGET
    /// file NAME                        each file
    /// at FILE LINE [INLINED_AT]        each location
    /// op OPCODE                        each opcode
    /// function NAME
    /// block SUCCESSOR,...|- [CALLED]   the next block of the function
    /// sub NAME                         the block before it begins this subroutine
    /// INSTRUCTION ...                  its instructions: [@|!]OPCODE[:LOCATION]
    /// ```
    ///
    /// `@` is a guard, `!` one that is never true.
    /// An instruction without `:` has the location of the one before it; `:-` has none. Numbers are
    /// indices. Addresses are sixteen bytes apart.
    pub fn from_compact(text: &str) -> Result<Listing, ListingError> {
        compact::read(text)
    }

    /// The function of this name.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions.iter().find(|function| function.name == name)
    }

    /// The places that an instruction comes from, innermost first: file and line.
    pub fn places(&self, instruction: &Instruction) -> impl Iterator<Item = (&str, u32)> {
        let mut next = instruction.location;
        std::iter::from_fn(move || {
            let at = self.locations.get(next? as usize)?;
            // A place is inlined into one before it, so that this ends.
            next = at.inlined_at.filter(|outer| Some(*outer) < next);
            Some((&**self.files.get(at.file as usize)?, at.line))
        })
    }

    /// The innermost place that an instruction comes from.
    pub fn innermost(&self, instruction: &Instruction) -> Option<(&str, u32)> {
        self.places(instruction).next()
    }
}

/// The examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
