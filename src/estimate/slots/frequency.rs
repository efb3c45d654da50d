//! How often each basic block of the machine code was executed.
//!
//! A block is left as often as it is entered. From the blocks that are known, this decides most of
//! the rest: an edge is known where it is the only one into or out of a known block, or the only
//! unknown one; a block, where all edges on one of its sides are. Blocks with sound estimates come
//! first, then what follows from them; then, one after the other, the unknown block whose estimate
//! has the most weight, and what follows from it. Such an estimate is cut to what can come in: no
//! more than the blocks before it were executed, or those after it, and out of a loop no more than
//! came into the loop.
//! Where nothing is said, a branch goes both ways equally often.

/// The least weight of an estimate that comes before what flow says.
const SOUND: f64 = 0.4;

/// A block, and those before the loop that is left from it.
type Source = (usize, Vec<usize>);

/// A flow graph.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    /// From and to, by block; of an edge out of the function `to` is none.
    edges: Vec<(usize, Option<usize>)>,
    into: Vec<Vec<usize>>,
    out: Vec<Vec<usize>>,
    /// Of each block that is no loop's header: the blocks before it, each with those before the
    /// loop that control leaves there.
    before: Vec<Option<Vec<Source>>>,
}

/// Passes over all blocks in which what can come in is found.
const PASSES: usize = 4;

/// What is known of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Known {
    /// An estimate of its frequency, and its weight; there is none where that is zero.
    pub estimate: f64,
    pub weight: f64,
    /// How often control enters it from outside of the graph.
    pub entered: f64,
}

impl Graph {
    /// `successors` of each block that is executed at all, by index; `leaves`: whether the function
    /// may be left from it; `loops`: the blocks of each loop, its header first.
    pub fn new(successors: &[Vec<usize>], leaves: &[bool], loops: &[Vec<usize>]) -> Graph {
        let mut graph = Graph {
            edges: Vec::new(),
            into: vec![Vec::new(); successors.len()],
            out: vec![Vec::new(); successors.len()],
            before: Vec::new(),
        };
        for (from, (list, leaves)) in successors.iter().zip(leaves).enumerate() {
            let ends = list.iter().map(|to| Some(*to)).chain(leaves.then_some(None));
            for to in ends {
                if let Some(to) = to {
                    graph.into[to].push(graph.edges.len());
                }
                graph.out[from].push(graph.edges.len());
                graph.edges.push((from, to));
            }
        }
        graph.before = (0..successors.len()).map(|block| graph.sources(block, loops)).collect();
        graph
    }

    fn predecessors(&self, block: usize) -> impl Iterator<Item = usize> {
        self.into[block].iter().map(|edge| self.edges[*edge].0)
    }

    fn sources(&self, block: usize, loops: &[Vec<usize>]) -> Option<Vec<Source>> {
        if loops.iter().any(|blocks| blocks.first() == Some(&block)) {
            return None;
        }
        let sources = self.predecessors(block).map(|from| {
            // The largest loop that control leaves here.
            let left = loops.iter().filter(|l| l.contains(&from) && !l.contains(&block));
            let outside = left.max_by_key(|blocks| blocks.len()).map(|blocks| {
                self.predecessors(blocks[0]).filter(|b| !blocks.contains(b)).collect()
            });
            (from, outside.unwrap_or_default())
        });
        Some(sources.collect())
    }

    /// Frequencies of the blocks.
    pub fn frequencies(&self, known: &[Known]) -> Vec<f64> {
        let blocks = self.into.len();
        let mut flow = Flow {
            graph: self,
            known,
            blocks: vec![None; blocks],
            edges: vec![None; self.edges.len()],
            left: Vec::new(),
        };
        let mut order: Vec<usize> = (0..blocks).filter(|b| known[*b].weight > 0.0).collect();
        order.sort_by(|a, b| known[*b].weight.total_cmp(&known[*a].weight));
        // Control comes into these from nowhere else.
        for block in (0..blocks).filter(|block| self.into[*block].is_empty()) {
            flow.set_block(block, known[block].entered);
        }
        let sound = order.iter().take_while(|block| known[**block].weight >= SOUND).count();
        for block in &order[..sound] {
            flow.set_block(*block, known[*block].estimate);
        }
        flow.propagate();
        for block in &order[sound..] {
            if flow.blocks[*block].is_none() {
                let most = flow.most()[*block];
                flow.set_block(*block, known[*block].estimate.min(most));
                flow.propagate();
            }
        }
        flow.share();
        flow.blocks.iter().map(|block| block.unwrap_or(0.0)).collect()
    }
}

/// What has been found so far.
struct Flow<'a> {
    graph: &'a Graph,
    known: &'a [Known],
    blocks: Vec<Option<f64>>,
    edges: Vec<Option<f64>>,
    /// Blocks around which something became known.
    left: Vec<usize>,
}

impl Flow<'_> {
    fn set_block(&mut self, block: usize, times: f64) {
        if self.blocks[block].is_none() {
            self.blocks[block] = Some(times.max(0.0));
            self.left.push(block);
        }
    }

    fn set_edge(&mut self, edge: usize, times: f64) {
        self.edges[edge] = Some(times.max(0.0));
        let (from, to) = self.graph.edges[edge];
        self.left.push(from);
        self.left.extend(to);
    }

    fn propagate(&mut self) {
        while let Some(block) = self.left.pop() {
            let entered = self.known[block].entered;
            let graph = self.graph;
            for (edges, outside) in [(&graph.into[block], entered), (&graph.out[block], 0.0)] {
                let mut unknown = edges.iter().filter(|edge| self.edges[**edge].is_none());
                let (first, second) = (unknown.next(), unknown.next());
                let sum: f64 = edges.iter().filter_map(|edge| self.edges[*edge]).sum();
                match (self.blocks[block], first, second) {
                    (Some(times), Some(edge), None) => {
                        self.set_edge(*edge, times - sum - outside);
                    }
                    (None, None, _) if !edges.is_empty() => self.set_block(block, sum + outside),
                    _ => {}
                }
            }
        }
    }

    /// The most that each block can have been executed, by those before it and after it.
    fn most(&self) -> Vec<f64> {
        let mut most: Vec<f64> =
            self.blocks.iter().map(|block| block.unwrap_or(f64::INFINITY)).collect();
        for _ in 0..PASSES {
            for block in 0..most.len() {
                if let (None, Some(sources)) = (self.blocks[block], &self.graph.before[block]) {
                    let of = |(from, outside): &Source| match outside.is_empty() {
                        true => most[*from],
                        false => most[*from].min(outside.iter().map(|b| most[*b]).sum()),
                    };
                    let sum: f64 = sources.iter().map(of).sum();
                    most[block] = sum + self.known[block].entered;
                }
                // Nor more than what follows.
                let out = self.graph.out[block].iter().map(|edge| self.graph.edges[*edge].1);
                let next: Option<f64> = out.map(|to| to.map(|to| most[to])).sum();
                most[block] = most[block].min(next.unwrap_or(f64::INFINITY));
            }
        }
        most
    }

    /// Decides the rest: unknown edges out of a known block are equal.
    fn share(&mut self) {
        let graph = self.graph;
        loop {
            let open = (0..self.blocks.len()).find_map(|block| {
                let times = self.blocks[block]?;
                let unknown = |edge: &&usize| self.edges[**edge].is_none();
                let edges: Vec<usize> = graph.out[block].iter().filter(unknown).copied().collect();
                let sum: f64 = graph.out[block].iter().filter_map(|edge| self.edges[*edge]).sum();
                let each = (times - sum) / edges.len() as f64;
                (!edges.is_empty()).then_some((edges, each))
            });
            let Some((edges, each)) = open else { break };
            for edge in edges {
                self.set_edge(edge, each);
            }
            self.propagate();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(entered: f64, estimates: &[(usize, f64, f64)], blocks: usize) -> Vec<Known> {
        let mut known = vec![Known::default(); blocks];
        known[0].entered = entered;
        for &(block, estimate, weight) in estimates {
            (known[block].estimate, known[block].weight) = (estimate, weight);
        }
        known
    }

    #[test]
    fn a_straight_line_is_entered_everywhere() {
        let graph = Graph::new(&[vec![1], vec![2], vec![]], &[false, false, true], &[]);
        assert_eq!(graph.frequencies(&known(7.0, &[], 3)), [7.0, 7.0, 7.0]);
    }

    #[test]
    fn the_other_side_of_a_branch_is_what_is_left() {
        let leaves = [false, false, false, true];
        let graph = Graph::new(&[vec![1, 2], vec![3], vec![3], vec![]], &leaves, &[]);
        let of = |estimates: &[_]| graph.frequencies(&known(10.0, estimates, 4));
        assert_eq!(of(&[(1, 3.0, 1.0)]), [10.0, 3.0, 7.0, 10.0]);
        assert_eq!(of(&[(1, 0.0, 1.0)]), [10.0, 0.0, 10.0, 10.0]);
        // Nothing is said of either.
        assert_eq!(of(&[]), [10.0, 5.0, 5.0, 10.0]);
        // What flow decides comes before a guess; a sound estimate before both.
        assert_eq!(of(&[(1, 3.0, 1.0), (2, 9.0, 0.1)]), [10.0, 3.0, 7.0, 10.0]);
        assert_eq!(of(&[(1, 3.0, 1.0), (2, 9.0, 0.5)]), [10.0, 3.0, 9.0, 12.0]);
    }

    #[test]
    fn a_loop_is_executed_as_often_as_its_body_says() {
        // 0 -> 1 (header) -> 2 (body) -> 1; 1 -> 3.
        let leaves = [false, false, false, true];
        let graph = Graph::new(&[vec![1], vec![2, 3], vec![1], vec![]], &leaves, &[vec![1, 2]]);
        let found = graph.frequencies(&known(10.0, &[(2, 400.0, 1.0)], 4));
        assert_eq!(found, [10.0, 410.0, 400.0, 10.0]);
    }

    #[test]
    fn no_more_leaves_a_loop_than_came_into_it() {
        // 0 -> 1 or 3; 1 -> 1 or 2; 2 -> 3 or 4; 4 -> 3. Block 2 is said to have its loop's count.
        let successors = [vec![1, 3], vec![1, 2], vec![3, 4], vec![], vec![3]];
        let leaves = [false, false, false, true, false];
        let graph = Graph::new(&successors, &leaves, &[vec![1]]);
        let found = graph.frequencies(&known(3.0, &[(1, 60.0, 1.0), (2, 60.0, 0.1)], 5));
        assert_eq!(found[..4], [3.0, 60.0, 3.0, 3.0]);
    }

    #[test]
    fn threads_that_leave_early() {
        // A guarded exit: the rest goes on.
        let graph = Graph::new(&[vec![1], vec![]], &[true, true], &[]);
        assert_eq!(graph.frequencies(&known(10.0, &[(1, 4.0, 1.0)], 2)), [10.0, 4.0]);
    }

    #[test]
    fn a_subroutine_is_entered_from_outside() {
        let graph = Graph::new(&[vec![], vec![2], vec![]], &[true, false, true], &[]);
        let mut known = known(10.0, &[], 3);
        known[1].entered = 4.0;
        assert_eq!(graph.frequencies(&known), [10.0, 4.0, 4.0]);
    }
}
