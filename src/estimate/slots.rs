//! From instructions of PTX, counted on the emulator, to issue slots of the machine code.
//!
//! An instruction of the machine code takes one issue slot each time that a warp executes it. How
//! often that is follows from the PTX's counts, as `slots/evidence.rs` says, and from the flow
//! graph of the machine code (`slots/frequency.rs`); the slow paths behind calls, as of a division,
//! count as never taken. Without machine code [`opcodes`] has a table of costs.
//!
//! [`Image`] is a kernel file for one target, [`Weights`] a kernel of it, [`Slots`] the result for
//! a launch.

mod evidence;
mod frequency;
mod places;

use super::opcodes::{self, Anchor, Latencies};
use crate::emulator::{Entry, InstructionInfo};
use evidence::{Evidence, Sides};
use frequency::Graph;
pub use places::Line;
use places::{Places, Text};
use sass_listing::{Function, Listing, Pipe};
use std::collections::BTreeMap;
use std::ops::AddAssign;

/// Where slots come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Source {
    /// The machine code's own instructions.
    MachineCode,
    /// A table of costs by opcode of the PTX.
    Opcodes,
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::MachineCode => "machine code",
            Source::Opcodes => "a table of costs by PTX opcode",
        })
    }
}

/// Issue slots by pipe: warp instructions.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pipes([f64; Pipe::ALL.len()]);

impl Pipes {
    /// Slots of one pipe.
    pub fn of(&self, pipe: Pipe) -> f64 {
        self.0[pipe as usize]
    }

    /// Slots of all pipes.
    pub fn total(&self) -> f64 {
        self.0.iter().sum()
    }

    /// Pipes with their slots, in the order of [`Pipe::ALL`].
    pub fn iter(&self) -> impl Iterator<Item = (Pipe, f64)> {
        Pipe::ALL.into_iter().zip(self.0)
    }

    fn add(&mut self, pipe: Pipe, slots: f64) {
        self.0[pipe as usize] += slots;
    }
}

impl AddAssign for Pipes {
    fn add_assign(&mut self, other: Pipes) {
        for (mine, theirs) in self.0.iter_mut().zip(other.0) {
            *mine += theirs;
        }
    }
}

/// Issue slots of a launch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slots {
    /// All of them.
    pub by_pipe: Pipes,
    /// By file and line of the source: the innermost place within the project's kernels. Slots of
    /// instructions without one are in none.
    pub by_line: BTreeMap<Line, Pipes>,
}

/// How an instruction of the PTX takes a warp's time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Timed {
    /// Issue slots of one execution.
    pub issue: f64,
    /// Cycles from issue to result.
    pub latency: f64,
    /// Whether the warp goes on only when the result is there.
    pub blocking: bool,
}

/// A kernel file for one target.
#[derive(Debug)]
pub struct Image<'a> {
    ptx: &'a str,
    listing: Option<Listing>,
}

impl<'a> Image<'a> {
    /// Of the file's PTX, and of the listing of its machine code, if there is one.
    pub fn new(ptx: &'a str, listing: Option<Listing>) -> Image<'a> {
        Image { ptx, listing }
    }

    /// The listing, if there is one.
    pub fn listing(&self) -> Option<&Listing> {
        self.listing.as_ref()
    }

    /// Weights of all kernels of a module that was parsed from this PTX, by name. Only what is
    /// asked for by `wanted` is looked at.
    pub fn weights(&self, entries: &[Entry], wanted: impl Fn(&str) -> bool) -> Vec<Weights> {
        let mut places = Places::default();
        let text = Text::read(self.ptx, &mut places);
        let wanted = entries.iter().filter(|entry| wanted(&entry.name));
        wanted
            .map(|entry| {
                Weights::new(&entry.name, &entry.instructions(), self, (&text, &mut places), None)
            })
            .collect()
    }
}

/// What an execution of each instruction of a kernel's PTX is worth.
#[derive(Clone, Debug)]
pub struct Weights {
    /// The kernel's name.
    pub kernel: String,
    forms: Vec<Box<str>>,
    lines: Vec<Option<Line>>,
    code: Option<Code>,
}

/// A kernel's machine code.
#[derive(Clone, Debug)]
struct Code {
    graph: Graph,
    evidence: Evidence,
    /// Of each block: slots of one execution by line and pipe.
    blocks: Vec<Vec<(Option<Line>, Pipe, f64)>>,
    /// Blocks that are executed at all.
    hot: Vec<bool>,
    /// Subroutines' first blocks, each with the blocks that call it.
    called: Vec<(usize, Vec<usize>)>,
}

impl Weights {
    fn new(
        kernel: &str,
        instructions: &[InstructionInfo<'_>],
        image: &Image,
        (text, places): (&Text, &mut Places),
        without: Option<Anchor>,
    ) -> Weights {
        let code = image.listing.as_ref().and_then(|listing| {
            let function = listing.function(kernel)?;
            let hot = hot_blocks(function);
            let hot = &hot[..];
            let sides = Sides { listing, function, hot, text, ptx: instructions, without };
            Some(Code::new(&sides, places))
        });
        let line = |instruction: &InstructionInfo| -> Option<Line> {
            let place = text.places.get(instruction.ptx_line as usize).copied().flatten()?;
            Some(places.lines[place].clone())
        };
        Weights {
            kernel: kernel.to_owned(),
            forms: instructions.iter().map(|i| i.form.into()).collect(),
            lines: instructions.iter().map(line).collect(),
            code,
        }
    }

    /// File and line of each instruction of the PTX, by the rule of [`Slots::by_line`].
    pub fn lines(&self) -> &[Option<Line>] {
        &self.lines
    }

    /// Where the slots come from.
    pub fn source(&self) -> Source {
        if self.code.is_some() { Source::MachineCode } else { Source::Opcodes }
    }

    /// Slots of a launch, from the executions of each instruction, by warps, in the order of
    /// [`Entry::instructions`].
    pub fn slots(&self, counts: &[f64]) -> Slots {
        match &self.code {
            Some(code) => code.slots(counts),
            None => self.slots_by_opcode(counts),
        }
    }

    fn slots_by_opcode(&self, counts: &[f64]) -> Slots {
        let mut slots = Slots::default();
        for ((form, line), count) in self.forms.iter().zip(&self.lines).zip(counts) {
            for &(pipe, each) in opcodes::cost(form) {
                slots.add(line.as_ref(), pipe, each * count);
            }
        }
        slots
    }

    /// What each instruction takes of a warp's time: the slots of its line, shared among what the
    /// PTX has there by the costs of the opcodes, and the latency of its opcode.
    pub fn timing(&self, counts: &[f64], cycles: &Latencies) -> Vec<Timed> {
        let issue = match &self.code {
            Some(code) => self.issue(&code.slots(counts), counts),
            None => self.forms.iter().map(|form| cost(form)).collect(),
        };
        let timed = self.forms.iter().zip(issue).map(|(form, issue)| {
            let (latency, blocking) = opcodes::latency(form, cycles);
            Timed { issue, latency, blocking }
        });
        timed.collect()
    }

    /// Slots of one execution of each instruction. Slots of lines that the PTX did not execute are
    /// shared among all others.
    fn issue(&self, slots: &Slots, counts: &[f64]) -> Vec<f64> {
        let mut costs: BTreeMap<&Line, f64> = BTreeMap::new();
        for ((form, line), count) in self.forms.iter().zip(&self.lines).zip(counts) {
            if let Some(line) = line {
                *costs.entry(line).or_default() += cost(form) * count;
            }
        }
        let mut issue = Vec::with_capacity(self.forms.len());
        let mut given = 0.0;
        for ((form, line), count) in self.forms.iter().zip(&self.lines).zip(counts) {
            let cost = cost(form);
            let factor = line.as_ref().map_or(1.0, |line| {
                let slots = slots.by_line.get(line).map_or(0.0, Pipes::total);
                match costs.get(line) {
                    Some(costs) if *costs > 0.0 => (slots / costs).min(MOST),
                    _ => 0.0,
                }
            });
            issue.push(cost * factor);
            given += cost * factor * count;
        }
        let rest = if given > 0.0 { slots.by_pipe.total() / given } else { 1.0 };
        issue.iter_mut().for_each(|issue| *issue *= rest);
        issue
    }
}

/// How many times its opcode's cost an instruction may take at most: what machine code has beyond
/// that on a line was moved there, and belongs to all.
const MOST: f64 = 8.0;

fn cost(form: &str) -> f64 {
    opcodes::cost(form).iter().map(|(_, slots)| slots).sum()
}

impl Slots {
    fn add(&mut self, line: Option<&Line>, pipe: Pipe, slots: f64) {
        self.by_pipe.add(pipe, slots);
        if let Some(line) = line.filter(|_| slots > 0.0) {
            self.by_line.entry(line.clone()).or_default().add(pipe, slots);
        }
    }
}

impl Code {
    fn new(sides: &Sides, places: &mut Places) -> Code {
        let Sides { listing, function, hot, .. } = *sides;
        let evidence = Evidence::new(sides, places);
        let successors: Vec<Vec<usize>> = function
            .blocks
            .iter()
            .enumerate()
            .map(|(index, block)| match hot[index] {
                true => block.successors.iter().copied().filter(|next| hot[*next]).collect(),
                false => Vec::new(),
            })
            .collect();
        let leaves = function.blocks.iter().zip(&successors).map(|(block, successors)| {
            let last = &function.instructions[block.instructions.end - 1];
            matches!(last.base(), "EXIT" | "RET") || successors.is_empty()
        });
        let loops: Vec<Vec<usize>> = function
            .loops()
            .into_iter()
            .map(|found| {
                let others = found.blocks.into_iter().filter(|block| *block != found.header);
                std::iter::once(found.header).chain(others).collect()
            })
            .collect();
        let graph = Graph::new(&successors, &leaves.collect::<Vec<bool>>(), &loops);
        let mut blocks = Vec::new();
        for block in &function.blocks {
            let mut slots: BTreeMap<(Option<Line>, Pipe), f64> = BTreeMap::new();
            for instruction in &function.instructions[block.instructions.clone()] {
                let place = places.number(listing.places(instruction));
                let line = place.map(|place| places.lines[place].clone());
                let pipe = Pipe::of(&instruction.opcode, listing.target);
                *slots.entry((line, pipe)).or_default() += 1.0;
            }
            blocks.push(slots.into_iter().map(|((line, pipe), n)| (line, pipe, n)).collect());
        }
        let callers = |name: &str| -> Vec<usize> {
            let calls =
                |(_, block): &(usize, &sass_listing::Block)| block.calls.as_deref() == Some(name);
            let callers = function.blocks.iter().enumerate().filter(calls);
            callers.map(|(index, _)| index).filter(|index| hot[*index]).collect()
        };
        let called =
            function.subroutines.iter().map(|(name, block)| (*block, callers(name))).collect();
        Code { graph, evidence, blocks, hot: hot.to_vec(), called }
    }

    /// Executions of each block.
    fn frequencies(&self, counts: &[f64]) -> Vec<f64> {
        let mut known = self.evidence.known(counts);
        // Every warp executes the first instruction.
        if let Some(first) = known.first_mut() {
            first.entered = counts.first().copied().unwrap_or(0.0);
        }
        for (block, callers) in &self.called {
            let calls = callers.iter().map(|caller| known[*caller].estimate).sum();
            known[*block].entered = calls;
        }
        let mut found = self.graph.frequencies(&known);
        for (found, hot) in found.iter_mut().zip(&self.hot) {
            if !hot {
                *found = 0.0;
            }
        }
        found
    }

    fn slots(&self, counts: &[f64]) -> Slots {
        let mut slots = Slots::default();
        for (block, times) in self.blocks.iter().zip(self.frequencies(counts)) {
            for (line, pipe, each) in block {
                slots.add(line.as_ref(), *pipe, each * times);
            }
        }
        slots
    }
}

/// Whether each block is executed in the common case: not behind a call of a slow path, not where
/// a warp's lanes have parted before a shuffle, and not only reached from there.
fn hot_blocks(function: &Function) -> Vec<bool> {
    let is_slow = |name: &str| name.contains("slowpath");
    let mut hot = vec![false; function.blocks.len()];
    let mut left: Vec<usize> = (!hot.is_empty()).then_some(0).into_iter().collect();
    while let Some(index) = left.pop() {
        if std::mem::replace(&mut hot[index], true) {
            continue;
        }
        let block = &function.blocks[index];
        if let Some(called) = block.calls.as_deref().filter(|called| !is_slow(called)) {
            let subroutines = function.subroutines.iter().filter(|(name, _)| name == called);
            left.extend(subroutines.map(|(_, block)| *block));
        }
        let last = &function.instructions[block.instructions.end - 1];
        let parts = last.opcode.contains(".DIV");
        let leads = |next: &&usize| {
            // `BRA.DIV` goes on with the next block where the lanes are together.
            let together = !parts || **next == index + 1;
            let slow = function.blocks[**next].calls.as_deref().is_some_and(is_slow);
            together && !slow
        };
        left.extend(block.successors.iter().filter(leads));
    }
    hot
}

#[cfg(test)]
mod tests;
