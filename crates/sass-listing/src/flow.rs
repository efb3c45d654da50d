//! From instructions and labels to basic blocks; loops.

use crate::{Block, Function, Instruction};
use std::collections::{BTreeSet, HashMap};

/// A loop: what can come back to its header without leaving through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loop {
    /// The block that every way into the loop passes.
    pub header: usize,
    /// Its blocks, the header's among them, ascending.
    pub blocks: Vec<usize>,
}

/// How control leaves an instruction.
enum Flow {
    /// To the next one.
    On,
    /// To a label, and to the next one where a condition may be false.
    Branch(Vec<String>),
    /// Out of the function, or to where a register says.
    Out,
    /// Into a subroutine and back to the next one.
    Call(Option<String>),
}

/// A function while its text is read.
pub struct Builder {
    function: Function,
    /// Labels, each with the instruction that follows it.
    labels: HashMap<String, usize>,
    symbols: BTreeSet<String>,
}

impl Builder {
    pub fn new(name: &str) -> Builder {
        Builder {
            function: Function { name: name.to_owned(), ..Function::default() },
            labels: HashMap::new(),
            symbols: BTreeSet::new(),
        }
    }

    pub fn label(&mut self, label: &str) {
        self.labels.insert(label.to_owned(), self.function.instructions.len());
    }

    /// A symbol of a function: the section's own, or one of a subroutine.
    pub fn symbol(&mut self, name: &str) {
        self.symbols.insert(name.to_owned());
    }

    pub fn instruction(&mut self, instruction: Instruction) -> Result<(), String> {
        match self.function.instructions.last() {
            Some(before) if before.address >= instruction.address => Err(format!(
                "expected an address behind {:#x}, found {:#x}",
                before.address, instruction.address
            )),
            _ => {
                self.function.instructions.push(instruction);
                Ok(())
            }
        }
    }

    pub fn finish(mut self) -> Result<Function, String> {
        let instructions = &self.function.instructions;
        let flows: Vec<Flow> = instructions.iter().map(flow).collect();
        let end = instructions.len();
        let mut starts: BTreeSet<usize> = self.labels.values().copied().collect();
        starts.insert(0);
        for (index, flow) in flows.iter().enumerate() {
            if !matches!(flow, Flow::On) {
                starts.insert(index + 1);
            }
        }
        starts.retain(|start| *start < end);
        let starts: Vec<usize> = starts.into_iter().collect();
        let block_at = |instruction: usize| starts.binary_search(&instruction).ok();
        let target = |label: &str| match self.labels.get(label) {
            Some(instruction) => Ok(block_at(*instruction)),
            None => Err(format!("a branch to {label}, which {} lacks", self.function.name)),
        };
        for (index, start) in starts.iter().enumerate() {
            let until = starts.get(index + 1).copied().unwrap_or(end);
            let last = &instructions[until - 1];
            let (mut successors, mut calls) = (BTreeSet::new(), None);
            let next = (until < end).then_some(index + 1);
            match &flows[until - 1] {
                Flow::On => successors.extend(next),
                Flow::Branch(labels) => {
                    for label in labels {
                        successors.extend(target(label)?);
                    }
                    if conditional(last) {
                        successors.extend(next);
                    }
                }
                Flow::Out => {
                    if conditional(last) {
                        successors.extend(next);
                    }
                }
                Flow::Call(called) => {
                    calls.clone_from(called);
                    successors.extend(next);
                }
            }
            self.function.blocks.push(Block {
                instructions: *start..until,
                successors: successors.into_iter().collect(),
                calls,
            });
        }
        for symbol in self.symbols {
            if let Some(block) = self.labels.get(&symbol).and_then(|at| block_at(*at))
                && symbol != self.function.name
            {
                self.function.subroutines.push((symbol, block));
            }
        }
        self.function.subroutines.sort_by_key(|(_, block)| *block);
        Ok(self.function)
    }
}

/// What labels within a function begin with.
const LABEL: &str = ".L_";

/// Labels between backticks and parentheses, and those of a table of branch targets.
fn labels(operands: &str) -> Vec<String> {
    let mut found: Vec<String> = operands
        .split("`(")
        .skip(1)
        .filter_map(|rest| Some(rest.split_once(')')?.0.to_owned()))
        .collect();
    if let Some((_, table)) = operands.split_once("BRANCH_TARGETS ") {
        let table = table.split(['"', '*']).next().unwrap_or_default();
        found.extend(table.split(',').map(|label| label.trim().to_owned()));
    }
    found
}

fn flow(instruction: &Instruction) -> Flow {
    match instruction.base() {
        "BRA" | "BRX" | "BRXU" | "JMP" | "JMX" => match labels(&instruction.operands) {
            labels if labels.is_empty() => Flow::Out,
            labels => Flow::Branch(labels),
        },
        "EXIT" | "RET" | "KILL" => Flow::Out,
        // A call of a label, not of a symbol, goes there and does not come back.
        "CALL" => match labels(&instruction.operands).pop() {
            Some(label) if label.starts_with(LABEL) => Flow::Branch(vec![label]),
            called => Flow::Call(called),
        },
        _ => Flow::On,
    }
}

/// Whether the next instruction may follow a branch.
fn conditional(instruction: &Instruction) -> bool {
    // A second predicate may stand among the operands: `@!P1 BRA !P3, ...`, `BRA UP0, ...`.
    let operand = instruction.operands.trim_start_matches('!');
    let predicate = operand
        .strip_prefix('U')
        .unwrap_or(operand)
        .strip_prefix('P')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    // `BRA.DIV` branches where the lanes of a warp have parted.
    let divides = instruction.opcode.contains(".DIV") || instruction.opcode.contains(".CONV");
    instruction.guarded || divides || (instruction.base() == "BRA" && predicate)
}

impl Function {
    /// Predecessors of every block.
    pub fn predecessors(&self) -> Vec<Vec<usize>> {
        let mut found = vec![Vec::new(); self.blocks.len()];
        for (index, block) in self.blocks.iter().enumerate() {
            for next in &block.successors {
                if let Some(list) = found.get_mut(*next) {
                    list.push(index);
                }
            }
        }
        found
    }

    /// Natural loops of the function and of its subroutines, outer ones before inner ones of the
    /// same header order; those with the same header are one.
    pub fn loops(&self) -> Vec<Loop> {
        let order = self.reverse_postorder();
        let position: HashMap<usize, usize> =
            order.iter().enumerate().map(|(at, block)| (*block, at)).collect();
        let before = self.predecessors();
        // Immediate dominators by position in the order; roots are their own.
        let roots: BTreeSet<usize> = self.roots().collect();
        let mut dominator: Vec<Option<usize>> = vec![None; order.len()];
        let meet = |dominator: &[Option<usize>], a: usize, b: usize| -> Option<usize> {
            let (mut a, mut b) = (a, b);
            while a != b {
                let later = if a > b { &mut a } else { &mut b };
                match dominator[*later] {
                    Some(up) if up < *later => *later = up,
                    _ => return None,
                }
            }
            Some(a)
        };
        let mut changed = true;
        while changed {
            changed = false;
            for (at, block) in order.iter().enumerate() {
                let new = if roots.contains(block) {
                    Some(at)
                } else {
                    let known = before[*block].iter().filter_map(|p| position.get(p).copied());
                    let mut known = known.filter(|p| dominator[*p].is_some());
                    let first = known.next();
                    known.fold(first, |a, b| meet(&dominator, a?, b))
                };
                if new.is_some() && dominator[at] != new {
                    dominator[at] = new;
                    changed = true;
                }
            }
        }
        let dominates = |a: usize, mut b: usize| loop {
            if a == b {
                return true;
            }
            match dominator[b] {
                Some(up) if up < b => b = up,
                _ => return false,
            }
        };
        let mut loops: Vec<Loop> = Vec::new();
        for header in &order {
            let at = position[header];
            let mut inside = BTreeSet::from([*header]);
            let mut left: Vec<usize> = before[*header]
                .iter()
                .filter(|tail| position.get(tail).is_some_and(|tail| dominates(at, *tail)))
                .copied()
                .collect();
            if left.is_empty() {
                continue;
            }
            while let Some(block) = left.pop() {
                if inside.insert(block) {
                    left.extend(before[block].iter().filter(|b| position.contains_key(b)));
                }
            }
            loops.push(Loop { header: *header, blocks: inside.into_iter().collect() });
        }
        loops
    }

    /// Blocks that control enters from outside: the function's first and those of subroutines.
    fn roots(&self) -> impl Iterator<Item = usize> {
        let first = (!self.blocks.is_empty()).then_some(0);
        first.into_iter().chain(self.subroutines.iter().map(|(_, block)| *block))
    }

    /// Blocks that can be reached, each before its successors but for loops.
    fn reverse_postorder(&self) -> Vec<usize> {
        let mut seen = vec![false; self.blocks.len()];
        let mut postorder = Vec::new();
        for root in self.roots() {
            let mut stack = vec![(root, 0)];
            if std::mem::replace(&mut seen[root], true) {
                continue;
            }
            while let Some((block, next)) = stack.pop() {
                match self.blocks[block].successors.get(next) {
                    Some(successor) => {
                        stack.push((block, next + 1));
                        if !std::mem::replace(&mut seen[*successor], true) {
                            stack.push((*successor, 0));
                        }
                    }
                    None => postorder.push(block),
                }
            }
        }
        postorder.reverse();
        postorder
    }
}
