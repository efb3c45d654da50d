//! What PTX, executed on the emulator, says about the blocks of the machine code.
//!
//! An instruction of the machine code that has its like in the PTX, at the same place of the source
//! ([`Anchor`]), was executed as often as that. Where a place has several of a kind, and as many on
//! both sides, they are taken in their order; where the numbers differ, ptxas made copies, which
//! share the count. Copies of a loop's body are a ladder: as many iterations as fit are executed in
//! the rung with the most copies, the rest in the next. Instructions without their like say, with
//! little weight, that their block was executed as often as what the PTX has at their place.

use super::frequency::Known;
use super::places::{Line, Place, Places, Text};
use crate::emulator::InstructionInfo;
use crate::estimate::opcodes::{Anchor, cost};
use sass_listing::{Function, Listing};
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

/// The weight of an instruction that a predicate guards, beside others: its like may be one that a
/// branch skipped.
const GUARDED: f64 = 0.3;
/// The weight of an instruction that shares its likes' counts with others: not all copies are
/// executed equally often.
const SHARED: f64 = 0.3;
/// The weight of an instruction without its like, where all of its place was executed equally
/// often.
const SAME_LINE: f64 = 0.05;
/// The same, where it was not.
const MIXED_LINE: f64 = 0.005;

/// Indices of instructions of the PTX.
type Indices = Arc<[usize]>;

#[derive(Clone, Debug)]
enum Source {
    /// As often as one instruction of the PTX.
    Like(usize),
    /// So many copies share the counts of these.
    Shared(Indices, f64),
    /// A rung of a ladder: both indices.
    Rung(usize, usize),
    /// What the place of the source says.
    Line(Indices),
}

/// Copies of a loop's body that ptxas made.
#[derive(Clone, Debug)]
struct Ladder {
    /// The instructions of the PTX, each executed once an iteration.
    body: Indices,
    /// The loop's first instruction, and the branch back to it.
    header: usize,
    branch: usize,
    rungs: Vec<Rung>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rung {
    /// Iterations that one execution of the block is.
    iterations: f64,
    /// Whether it is executed as long as there are iterations left.
    repeats: bool,
}

/// All that is said about the blocks of a function.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// By block: weight and source.
    blocks: Vec<Vec<(f64, Source)>>,
    ladders: Vec<Ladder>,
}

/// The two sides that are compared.
pub struct Sides<'a> {
    pub listing: &'a Listing,
    pub function: &'a Function,
    /// Whether each block is executed at all.
    pub hot: &'a [bool],
    pub text: &'a Text,
    pub ptx: &'a [InstructionInfo<'a>],
    /// An anchor that is left out; tests then find its counts again.
    pub without: Option<Anchor>,
}

/// Instructions that are each other's like.
#[derive(Default)]
struct Group {
    ptx: Vec<usize>,
    machine: Vec<Machine>,
}

/// An instruction of the machine code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Machine {
    index: usize,
    block: usize,
    guarded: bool,
}

impl Group {
    /// Several groups as one.
    fn of(groups: &[Group]) -> Group {
        let mut all = Group::default();
        for group in groups {
            all.ptx.extend(&group.ptx);
            all.machine.extend(&group.machine);
        }
        all.ptx.sort_unstable();
        all.machine.sort_unstable();
        all
    }
}

impl Evidence {
    pub fn new(sides: &Sides, places: &mut Places) -> Evidence {
        let Sides { listing, function, hot, text, ptx, without } = *sides;
        let mut at_place: HashMap<Place, Vec<usize>> = HashMap::new();
        let mut groups: BTreeMap<(Place, Anchor), Group> = BTreeMap::new();
        for (index, instruction) in ptx.iter().enumerate() {
            let place = text.places.get(instruction.ptx_line as usize).copied().flatten();
            let Some(place) = place.filter(|_| !instruction.form.is_empty()) else { continue };
            if !cost(instruction.form).is_empty() {
                at_place.entry(place).or_default().push(index);
            }
            if let Some(anchor) = Anchor::of_ptx(instruction.form).filter(|a| Some(*a) != without) {
                groups.entry((place, anchor)).or_default().ptx.push(index);
            }
        }
        let mut evidence =
            Evidence { blocks: vec![Vec::new(); function.blocks.len()], ladders: Vec::new() };
        let mut of_place: HashMap<Place, Indices> = HashMap::new();
        for (block, within) in function.blocks.iter().enumerate().filter(|(block, _)| hot[*block]) {
            for index in within.instructions.clone() {
                let instruction = &function.instructions[index];
                let Some(place) = places.number(listing.places(instruction)) else { continue };
                let known = at_place.get(&place);
                let anchor = Anchor::of_machine(&instruction.opcode).filter(|_| !instruction.never);
                if let Some(anchor) = anchor.filter(|a| Some(*a) != without) {
                    let blurred = known.is_some_and(|known| {
                        known.iter().any(|index| anchor.is_blurred_by(ptx[*index].form))
                    });
                    if !blurred {
                        let group = groups.entry((place, anchor)).or_default();
                        let guarded = instruction.guarded;
                        group.machine.push(Machine { index, block, guarded });
                        continue;
                    }
                }
                if let Some(known) = known {
                    let indices = of_place.entry(place).or_insert_with(|| known[..].into());
                    evidence.blocks[block].push((1.0, Source::Line(indices.clone())));
                }
            }
        }
        let depths = depths(function);
        // Where the numbers differ, the listing may name other calls than the PTX for the same
        // innermost line: ptxas merges instructions, and then has one place for them.
        let mut pools: BTreeMap<(Line, Anchor), Vec<Group>> = BTreeMap::new();
        // First the lines of one function that make the same call: of a piece of code that is there
        // several times, those of one copy are not taken for another's.
        let mut neighbours: BTreeMap<(usize, Anchor), (Place, Vec<Group>)> = BTreeMap::new();
        for ((place, anchor), group) in groups {
            if group.machine.len() == group.ptx.len() {
                let sources = evidence.sources(sides, &depths, &group);
                evidence.add(anchor, &group, sources);
            } else {
                let entry = neighbours.entry((places.outer[place], anchor));
                entry.or_insert_with(|| (place, Vec::new())).1.push(group);
            }
        }
        for ((_, anchor), (place, groups)) in neighbours {
            let together = Group::of(&groups);
            if together.machine.len() == together.ptx.len() {
                let sources = evidence.sources(sides, &depths, &together);
                evidence.add(anchor, &together, sources);
            } else {
                let pool = pools.entry((places.innermost[place].clone(), anchor)).or_default();
                pool.extend(groups);
            }
        }
        for ((_, anchor), groups) in pools {
            let pooled = Group::of(&groups);
            let together = evidence.sources(sides, &depths, &pooled);
            let apart: Vec<Vec<Source>> =
                groups.iter().map(|group| evidence.sources(sides, &depths, group)).collect();
            let shared = |sources: &[Source]| {
                sources.iter().filter(|source| matches!(source, Source::Shared(..))).count()
            };
            if shared(&together) < apart.iter().map(|sources| shared(sources)).sum() {
                evidence.add(anchor, &pooled, together);
            } else {
                for (group, sources) in groups.iter().zip(apart) {
                    evidence.add(anchor, group, sources);
                }
            }
        }
        evidence
    }

    fn add(&mut self, anchor: Anchor, group: &Group, sources: Vec<Source>) {
        for (machine, source) in group.machine.iter().zip(sources) {
            let mut weight = anchor.weight();
            if machine.guarded {
                weight *= GUARDED;
            }
            match &source {
                Source::Shared(ptx, _) if ptx.is_empty() => continue,
                Source::Shared(..) => weight *= SHARED,
                _ => {}
            }
            self.blocks[machine.block].push((weight, source));
        }
    }

    /// The source of each of a group's instructions of machine code.
    fn sources(&mut self, sides: &Sides, depths: &[usize], group: &Group) -> Vec<Source> {
        match group.machine.len() == group.ptx.len() {
            true => group.ptx.iter().map(|index| Source::Like(*index)).collect(),
            false => self.match_blocks(sides, depths, group),
        }
    }

    /// Sources where ptxas made copies, or left some out. From both ends of the function, blocks
    /// with equally many are each other's like. What then is left of the PTX may be one block of a
    /// loop, whose copies are a ladder; all else shares the counts.
    fn match_blocks(&mut self, sides: &Sides, depths: &[usize], group: &Group) -> Vec<Source> {
        let mut ptx = runs(group.ptx.iter().map(|i| sides.text.block(sides.ptx[*i].ptx_line)));
        let mut machine = runs(group.machine.iter().map(|machine| machine.block));
        let mut sources = vec![None; group.machine.len()];
        let mut like = |from: &Range<usize>, to: &Range<usize>| {
            for (from, to) in from.clone().zip(to.clone()) {
                sources[to] = Some(Source::Like(group.ptx[from]));
            }
        };
        // The last block of the PTX that is left may be one with copies.
        while let ([.., _, from], [.., to]) = (&ptx[..], &machine[..])
            && from.len() == to.len()
        {
            like(from, to);
            ptx.pop();
            machine.pop();
        }
        while let ([from, _, ..], [to, ..]) = (&ptx[..], &machine[..])
            && from.len() == to.len()
        {
            like(from, to);
            ptx.remove(0);
            machine.remove(0);
        }
        if let [body] = &ptx[..]
            && let Some(ladder) = ladder(sides, depths, group, body, &machine)
        {
            for (rung, range) in machine.iter().enumerate() {
                for source in &mut sources[range.clone()] {
                    *source = Some(Source::Rung(self.ladders.len(), rung));
                }
            }
            self.ladders.push(ladder);
        }
        let left: Indices =
            ptx.iter().flat_map(|range| &group.ptx[range.clone()]).copied().collect();
        let copies = machine.iter().map(Range::len).sum::<usize>() as f64;
        let shared = || Source::Shared(left.clone(), copies);
        sources.into_iter().map(|source| source.unwrap_or_else(shared)).collect()
    }

    /// What is known of the blocks, from the executions of each instruction of the PTX.
    pub fn known(&self, counts: &[f64]) -> Vec<Known> {
        let count = |index: usize| counts.get(index).copied().unwrap_or(0.0);
        let ladders: Vec<Vec<f64>> =
            self.ladders.iter().map(|ladder| ladder.executions(&count)).collect();
        self.blocks
            .iter()
            .map(|block| {
                let said = block.iter().map(|(weight, source)| match source {
                    Source::Like(index) => (count(*index), *weight),
                    Source::Shared(indices, copies) => {
                        (indices.iter().map(|i| count(*i)).sum::<f64>() / copies, *weight)
                    }
                    Source::Rung(ladder, rung) => (ladders[*ladder][*rung], *weight),
                    Source::Line(indices) => {
                        let counts = || indices.iter().map(|i| count(*i));
                        let same = counts().all(|other| other == count(indices[0]));
                        let mean = counts().sum::<f64>() / indices.len() as f64;
                        (mean, if same { SAME_LINE } else { MIXED_LINE })
                    }
                });
                let mut said: Vec<(f64, f64)> = said.collect();
                let weight = said.iter().map(|(_, weight)| weight).sum();
                Known { estimate: weighted_median(&mut said, weight), weight, entered: 0.0 }
            })
            .collect()
    }
}

/// Ranges of equal neighbours.
fn runs(blocks: impl Iterator<Item = usize>) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let mut before = None;
    for (index, block) in blocks.enumerate() {
        match found.last_mut() {
            Some(run) if before == Some(block) => run.end = index + 1,
            _ => found.push(index..index + 1),
        }
        before = Some(block);
    }
    found
}

/// The ladder of a loop whose body has these instructions of the PTX, where the machine code has
/// whole copies of it in each of several blocks.
fn ladder(
    sides: &Sides,
    depths: &[usize],
    group: &Group,
    body: &Range<usize>,
    machine: &[Range<usize>],
) -> Option<Ladder> {
    let first = sides.ptx[group.ptx[body.start]].ptx_line;
    let around = sides.text.loop_around(first)?;
    let header = sides.ptx.partition_point(|i| i.ptx_line <= around.label);
    let branch = sides.ptx.iter().position(|i| i.ptx_line == around.branch)?;
    let depth = sides.text.depth(first);
    if machine.iter().any(|run| run.len() % body.len() != 0) {
        return None;
    }
    let rungs = machine.iter().map(|run| Rung {
        iterations: (run.len() / body.len()) as f64,
        repeats: depths[group.machine[run.start].block] >= depth,
    });
    let body = group.ptx[body.clone()].into();
    Some(Ladder { body, header, branch, rungs: rungs.collect() })
}

impl Ladder {
    /// How often each rung's block was executed.
    fn executions(&self, count: &impl Fn(usize) -> f64) -> Vec<f64> {
        let iterations =
            self.body.iter().map(|index| count(*index)).sum::<f64>() / self.body.len() as f64;
        // What the branch back did not take fell through it; a branch that is always taken is the
        // loop's last instruction, and its test lies elsewhere.
        let back = (count(self.branch) - count(self.branch + 1)).max(0.0);
        let entries = (count(self.header) - back).max(1.0);
        let mean = iterations / entries;
        // A mean that is not whole comes from loops of both lengths around it.
        let (low, part) = (mean.floor(), mean.fract());
        let (few, more) = (self.once(low), self.once(low + 1.0));
        few.iter()
            .zip(more)
            .map(|(few, more)| entries * (few * (1.0 - part) + more * part))
            .collect()
    }

    /// Executions of each rung for one entry into a loop of so many iterations.
    fn once(&self, iterations: f64) -> Vec<f64> {
        let mut order: Vec<usize> = (0..self.rungs.len()).collect();
        // Rungs with the most copies first; of equal ones those that repeat last.
        order.sort_by(|a, b| {
            let key = |rung: &Rung| (-rung.iterations, rung.repeats);
            key(&self.rungs[*a]).partial_cmp(&key(&self.rungs[*b])).unwrap_or(a.cmp(b))
        });
        let (mut left, mut executions) = (iterations, vec![0.0; self.rungs.len()]);
        for index in &order {
            let rung = self.rungs[*index];
            let fit = (left / rung.iterations).floor();
            executions[*index] = if rung.repeats { fit } else { fit.min(1.0) };
            left -= executions[*index] * rung.iterations;
        }
        // Iterations that no rung took: the last one did.
        if let Some(last) = order.last() {
            executions[*last] += left / self.rungs[*last].iterations;
        }
        executions
    }
}

/// The value that half of the weight lies below.
fn weighted_median(said: &mut [(f64, f64)], weight: f64) -> f64 {
    said.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut below = 0.0;
    for (value, of) in said.iter() {
        below += of;
        if below >= weight / 2.0 {
            return *value;
        }
    }
    0.0
}

/// The number of loops around each block.
fn depths(function: &Function) -> Vec<usize> {
    let mut depths = vec![0; function.blocks.len()];
    for block in function.loops().iter().flat_map(|found| &found.blocks) {
        depths[*block] += 1;
    }
    depths
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn iterations_go_to_the_rungs_with_the_most_copies() {
        let rung = |iterations, repeats| Rung { iterations, repeats };
        let ladder = Ladder {
            body: [0].into(),
            header: 0,
            branch: 1,
            rungs: vec![rung(1.0, true), rung(8.0, false), rung(16.0, true), rung(4.0, false)],
        };
        assert_eq!(ladder.once(0.0), [0.0, 0.0, 0.0, 0.0]);
        assert_eq!(ladder.once(3.0), [3.0, 0.0, 0.0, 0.0]);
        assert_eq!(ladder.once(47.0), [3.0, 1.0, 2.0, 1.0]);
        // Ten entries, thirty-five iterations: half of them with three, half with four.
        let counts = [35.0, 35.0, 10.0];
        assert_eq!(ladder.executions(&|index| counts[index]), [15.0, 0.0, 0.0, 5.0]);
    }

    #[test]
    fn one_odd_voice_does_not_move_the_median() {
        let mut said = [(100.0, 1.0), (3.0, 1.0), (100.0, 0.5), (100.0, 1.0)];
        assert_eq!(weighted_median(&mut said, 3.5), 100.0);
        assert_eq!(weighted_median(&mut [], 0.0), 0.0);
    }
}
