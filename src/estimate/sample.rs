//! Which blocks of a launch stand for all of them.
//!
//! Blocks differ by where they lie: those at the edges of a map or of the channels do less, the
//! others do the same. So each extent of the grid is sampled by its first and last position and by
//! evenly spaced ones between, each with a weight, the number of positions that it stands for; the
//! weight of a block is the product of its positions' weights. The weights of a launch sum up to
//! its blocks.

/// Positions that are taken of an extent, at most: in x the tiles of a map, in y the channels, in z
/// the images, which all do the same.
const MOST: [u32; 3] = [6, 4, 2];

/// Blocks that run one after the other on the same memory, and how many of their like there are.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    /// Numbers of the blocks, `x + grid.x * (y + grid.y * z)`, in order.
    pub blocks: Vec<u64>,
    /// Runs of the launch that this one stands for.
    pub weight: f64,
}

/// Positions of an extent with their weights, ascending.
pub fn positions(extent: u32, most: u32) -> Vec<(u32, f64)> {
    let most = most.max(2);
    if extent <= most {
        return (0..extent).map(|position| (position, 1.0)).collect();
    }
    let between = most - 2;
    if between == 0 {
        let half = f64::from(extent) / 2.0;
        return vec![(0, half), (extent - 1, half)];
    }
    let inner = u64::from(extent - 2);
    let weight = inner as f64 / f64::from(between);
    let mut found = vec![(0, 1.0)];
    for i in 0..u64::from(between) {
        // The middle of the i-th of as many equal parts.
        let position = 1 + inner * (2 * i + 1) / (2 * u64::from(between));
        found.push((position as u32, weight));
    }
    found.push((extent - 1, 1.0));
    found
}

/// The runs that stand for a grid. Where `columns`, the blocks of one x and y depend on each other,
/// as those of a split sum do, whose last block gathers: they run together, all of them, in order.
pub fn runs(grid: [u32; 3], columns: bool) -> Vec<Run> {
    let [x, y, z] = grid;
    let number = |i: u32, j: u32, k: u32| {
        u64::from(i) + u64::from(x) * (u64::from(j) + u64::from(y) * u64::from(k))
    };
    let mut found = Vec::new();
    for (j, of_y) in positions(y, MOST[1]) {
        for (i, of_x) in positions(x, MOST[0]) {
            if columns {
                let blocks = (0..z).map(|k| number(i, j, k)).collect();
                found.push(Run { blocks, weight: of_x * of_y });
                continue;
            }
            for (k, of_z) in positions(z, MOST[2]) {
                found.push(Run { blocks: vec![number(i, j, k)], weight: of_x * of_y * of_z });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_positions_are_all_there_are() {
        assert_eq!(positions(1, 4), [(0, 1.0)]);
        assert_eq!(positions(3, 4), [(0, 1.0), (1, 1.0), (2, 1.0)]);
        assert_eq!(positions(0, 4), []);
    }

    #[test]
    fn many_positions_have_both_ends_and_what_lies_between() {
        assert_eq!(positions(12, 4), [(0, 1.0), (3, 5.0), (8, 5.0), (11, 1.0)]);
        assert_eq!(positions(9, 2), [(0, 4.5), (8, 4.5)]);
    }

    #[test]
    fn weights_sum_up_to_the_blocks_and_numbers_are_within_the_grid() {
        for grid in [[1, 1, 1], [7, 1, 9], [392, 40, 128], [5, 3, 1], [2, 65_535, 3], [100, 1, 15]]
        {
            let blocks: u64 = grid.iter().map(|&extent| u64::from(extent)).product();
            for columns in [false, true] {
                let runs = runs(grid, columns);
                let of_all: f64 = runs.iter().map(|run| run.weight * run.blocks.len() as f64).sum();
                assert!(
                    (of_all - blocks as f64).abs() < 1e-6 * blocks as f64,
                    "{grid:?}: {of_all}"
                );
                let most: usize = MOST.iter().map(|&most| most as usize).product();
                assert!(runs.len() <= most);
                for run in runs {
                    assert!(run.blocks.iter().all(|&block| block < blocks), "{grid:?}: {run:?}");
                    assert!(run.blocks.is_sorted());
                }
            }
        }
    }

    #[test]
    fn a_column_holds_every_block_of_its_place() {
        let runs = runs([2, 1, 3], true);
        assert_eq!(runs[1], Run { blocks: vec![1, 3, 5], weight: 1.0 });
    }
}
