//! Where the lanes that a branch parts meet again: at the branch's immediate post-dominator, the
//! first instruction that every way from it to the kernel's end leads over. Compilers put a
//! convergence barrier there.
//!
//! Cooper, Harvey and Kennedy, "A Simple, Fast Dominance Algorithm", 2001, on the reversed graph of
//! basic blocks. Lanes that end are not waited for: an exit that only some lanes take is no way to
//! the end.

use super::program::{Instruction, Op};

/// No instruction: the lanes meet nowhere before they end.
pub(crate) const NOWHERE: u32 = u32::MAX;
/// Steps for each basic block until the search is given up, and the lanes meet nowhere: the number
/// of steps of a strange graph grows with the square of its blocks.
const STEPS: usize = 256;

/// For each instruction, the one where the lanes that it parts meet: [`NOWHERE`] for those that
/// part none.
pub(crate) fn meeting_points(instructions: &[Instruction]) -> Vec<u32> {
    let mut points = vec![NOWHERE; instructions.len()];
    let parts = |instruction: &Instruction| match instruction.op {
        Op::Branch { .. } => instruction.guard.is_some(),
        Op::BranchIndexed { .. } => true,
        _ => false,
    };
    if !instructions.iter().any(parts) {
        return points;
    }
    let graph = Graph::new(instructions);
    let Some(post_dominators) = graph.post_dominators() else { return points };
    for (block, &meeting) in post_dominators.iter().enumerate() {
        let last = graph.end(block) - 1;
        if parts(&instructions[last]) && (meeting as usize) < graph.starts.len() {
            points[last] = graph.starts[meeting as usize];
        }
    }
    points
}

/// The basic blocks of a kernel, and one more for its end.
struct Graph {
    /// First instruction of each block.
    starts: Vec<u32>,
    instructions: usize,
    /// Successors of each block.
    next: Vec<Vec<u32>>,
}

impl Graph {
    fn new(instructions: &[Instruction]) -> Graph {
        let count = instructions.len();
        let mut leads = vec![false; count + 1];
        leads[0] = true;
        for (pc, instruction) in instructions.iter().enumerate() {
            match &instruction.op {
                Op::Branch { target } => leads[*target as usize] = true,
                Op::BranchIndexed { targets, .. } => {
                    targets.iter().for_each(|&target| leads[target as usize] = true);
                }
                Op::Exit | Op::Trap | Op::AssertFail { .. } => {}
                _ => continue,
            }
            leads[pc + 1] = true;
        }
        let starts: Vec<u32> = (0..count as u32).filter(|&pc| leads[pc as usize]).collect();
        let end = starts.len() as u32;
        let mut of_instruction = vec![end; count + 1];
        for (block, &start) in starts.iter().enumerate() {
            of_instruction[start as usize] = block as u32;
        }
        let mut graph = Graph { starts, instructions: count, next: Vec::new() };
        graph.next = (0..end as usize)
            .map(|block| {
                let after = graph.end(block);
                let last = &instructions[after - 1];
                let mut next: Vec<u32> = match &last.op {
                    Op::Branch { target } => vec![of_instruction[*target as usize]],
                    Op::BranchIndexed { targets, .. } => {
                        targets.iter().map(|&target| of_instruction[target as usize]).collect()
                    }
                    Op::Exit | Op::Trap | Op::AssertFail { .. } if last.guard.is_none() => {
                        vec![end]
                    }
                    Op::Exit | Op::Trap | Op::AssertFail { .. } => Vec::new(),
                    _ => vec![of_instruction[after]],
                };
                if last.guard.is_some() {
                    next.push(of_instruction[after]);
                }
                next.sort_unstable();
                next.dedup();
                next
            })
            .collect();
        graph
    }

    /// The instruction after a block's last.
    fn end(&self, block: usize) -> usize {
        self.starts.get(block + 1).map_or(self.instructions, |&start| start as usize)
    }

    /// The immediate post-dominator of each block: the number of blocks stands for the end, and for
    /// blocks from which no way leads there. Nothing where the search takes too long.
    fn post_dominators(&self) -> Option<Vec<u32>> {
        let end = self.next.len();
        let mut before: Vec<Vec<u32>> = vec![Vec::new(); end + 1];
        for (block, next) in self.next.iter().enumerate() {
            next.iter().for_each(|&next| before[next as usize].push(block as u32));
        }
        // Blocks in the order in which a search from the end leaves them: the end is last.
        let mut order = Vec::with_capacity(end + 1);
        let mut place = vec![usize::MAX; end + 1];
        let mut seen = vec![false; end + 1];
        let mut stack = vec![(end, 0)];
        seen[end] = true;
        while let Some((block, index)) = stack.pop() {
            match before[block].get(index) {
                None => {
                    place[block] = order.len();
                    order.push(block);
                }
                Some(&other) => {
                    stack.push((block, index + 1));
                    if !std::mem::replace(&mut seen[other as usize], true) {
                        stack.push((other as usize, 0));
                    }
                }
            }
        }
        // By places in that order: what is not known yet lies beyond the end.
        let last = order.len() - 1;
        let unknown = order.len();
        let mut above = vec![unknown; order.len()];
        above[last] = last;
        let mut steps = 0;
        let mut changed = true;
        while changed {
            changed = false;
            for at in (0..last).rev() {
                let mut found = unknown;
                for &next in &self.next[order[at]] {
                    steps += 1;
                    let mut next = place[next as usize];
                    if next == usize::MAX || above[next] == unknown {
                        continue;
                    }
                    if found == unknown {
                        found = next;
                    }
                    while found != next {
                        steps += 1;
                        if found < next {
                            found = above[found];
                        } else {
                            next = above[next];
                        }
                    }
                }
                if steps > STEPS * (end + 64) {
                    return None;
                }
                changed |= found != above[at];
                above[at] = found;
            }
        }
        let of_block = |block: usize| match place[block] {
            usize::MAX => end as u32,
            at => order[above[at]] as u32,
        };
        Some((0..end).map(of_block).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::module::Module;

    /// For each branch that may part lanes: its line of the body and that of the meeting point,
    /// both from 1; 0 for nowhere.
    fn meetings(body: &str) -> Vec<(u32, u32)> {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k()\n{{\n\
             .reg .pred %p<4>; .reg .b32 %r<4>;\n{body}\n}}\n"
        );
        let module = Module::parse("k.ptx", &text).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let program = &module.entries()[0].program;
        let line = |pc: u32| program.origins[pc as usize].line - 6;
        let points = program.meeting_points.iter().enumerate();
        let parts = |pc: usize| program.origins[pc].form.starts_with("br");
        points
            .filter(|&(pc, _)| parts(pc) && program.instructions[pc].guard.is_some())
            .map(|(pc, &at)| (line(pc as u32), if at == super::NOWHERE { 0 } else { line(at) }))
            .collect()
    }

    #[test]
    fn lanes_meet_at_the_first_instruction_that_all_come_to() {
        // A branch over a part, both parts of a choice, and one part placed behind the end.
        assert_eq!(meetings("@%p1 bra A;\nmov.u32 %r1, 1;\nA:\nmov.u32 %r2, 2;\nret;"), [(1, 4)]);
        let both = "@%p1 bra A;\nmov.u32 %r1, 1;\nbra B;\nA:\nmov.u32 %r1, 2;\nB:\nret;";
        assert_eq!(meetings(both), [(1, 7)]);
        let behind = "@%p1 bra A;\nB:\nmov.u32 %r1, 1;\nret;\nA:\nmov.u32 %r1, 2;\nbra B;";
        assert_eq!(meetings(behind), [(1, 3)]);
        // A loop: after it. With a way out of its middle: there, and for what is within, at the end
        // of the round.
        let turns = "A:\nmov.u32 %r1, 1;\n@%p1 bra A;\nret;";
        assert_eq!(meetings(turns), [(3, 4)]);
        let way_out = "A:\n@%p1 bra B;\n@%p2 bra C;\nmov.u32 %r1, 1;\nC:\n@%p3 bra A;\nmov.u32 %r1, 3;\nB:\nret;";
        assert_eq!(meetings(way_out), [(2, 9), (3, 6), (6, 9)]);
    }

    #[test]
    fn lanes_that_end_are_not_waited_for() {
        // An exit under a predicate is no way to the end; a part that ends is.
        let exit = "@%p1 bra A;\n@%p2 exit;\nmov.u32 %r1, 1;\nA:\nmov.u32 %r2, 1;\nret;";
        assert_eq!(meetings(exit), [(1, 5)]);
        let part = "@%p1 bra A;\nret;\nA:\nmov.u32 %r2, 1;\nret;";
        assert_eq!(meetings(part), [(1, 0)]);
        // From a loop without an end no way leads there: the others do not count on it.
        let never = "@%p1 bra A;\nret;\nA:\n@%p2 bra B;\nmov.u32 %r1, 1;\nB:\nbra A;";
        assert_eq!(meetings(never), [(1, 2), (4, 0)]);
    }

    #[test]
    fn a_table_of_targets_is_a_branch() {
        let body = "T: .branchtargets A, B, C;\n@%p1 brx.idx %r1, T;\nA:\nmov.u32 %r2, 1;\nB:\n\
                    mov.u32 %r2, 2;\nC:\nmov.u32 %r2, 3;\nret;";
        assert_eq!(meetings(body), [(2, 8)]);
    }

    #[test]
    fn a_long_ladder_of_branches_takes_no_time() {
        // 4000 loops within each other, and as many branches to one place.
        let heads: String = (0..4000).map(|i| format!("L{i}:\n@%p2 bra END;\n")).collect();
        let ends: String = (0..4000).rev().map(|i| format!("@%p1 bra L{i};\n")).collect();
        let found = meetings(&format!("{heads}{ends}END:\nret;"));
        assert_eq!(found.len(), 8000);
        let end = 4000 * 3 + 2;
        assert!(found.iter().all(|&(_, at)| at == end || at == 0), "{:?}", &found[..4]);
    }
}
