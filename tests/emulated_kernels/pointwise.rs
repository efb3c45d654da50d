//! `kernels/pointwise.cu`.

use super::*;
use crate::support::emulated::{Data, Outputs, Pointwise, machine};
use effnet::kernels::pointwise::{self, Block};

/// A pointwise convolution: `[n, pixels, c_in, c_out]`, activation, gate and skip, outputs.
type Shape = ([usize; 4], i32, [bool; 2], Outputs);

/// Blocks of every kernel, of one warp and of many: warps' columns, warps down and across, turns.
const BLOCKS: [(i32, [i32; 2], i32); 12] = [
    (8, [1, 1], 1),
    (8, [2, 4], 3),
    (16, [4, 2], 1),
    (24, [2, 1], 2),
    (32, [8, 1], 1),
    (32, [2, 4], 1),
    (40, [2, 3], 1),
    (40, [1, 2], 4),
    (48, [3, 2], 1),
    (56, [1, 1], 4),
    (56, [2, 2], 1),
    (48, [12, 1], 1),
];

/// The case by each of [`BLOCKS`] that it can have, split and not.
fn with_blocks(case: &Pointwise) -> Vec<Pointwise> {
    let blocks = BLOCKS.iter().flat_map(|&(warp_cols, warps, turns)| {
        [false, true].map(|split| Block { warp_cols, warps, turns, split })
    });
    // Sums of one chunk are not split.
    let known =
        |block: Block| case.clone().forced(block).filter(|case| case.tiling().split == block.split);
    blocks.filter_map(known).collect()
}

/// Pointwise launches of B0, each shape once: expand, project with gate and skip, and the head
/// convolution, pooled.
fn b0_pointwise() -> Vec<Pointwise> {
    let (network, geometry) = b0(Padding::Symmetric);
    let mut shapes: Vec<Shape> = Vec::new();
    let mut add = |shape: Shape| {
        if !shapes.contains(&shape) {
            shapes.push(shape);
        }
    };
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        if block.has_expand() {
            let shape = [1, conv.input.pixels(), block.c_in, block.c_mid];
            add((shape, ACTIVATION_SWISH, [false, false], Outputs::Stored));
        }
        let shape = [1, conv.output.pixels(), block.c_mid, block.c_out];
        add((shape, ACTIVATION_NONE, [true, block.skip], Outputs::Stored));
    }
    let head = [1, geometry.last().pixels(), network.c_last(), network.c_head];
    add((head, ACTIVATION_SWISH, [false, false], Outputs::Pooled));
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (shape, activation, extras, outputs))| {
            Pointwise::new(Data::Uniform, shape, activation, extras, i as u64).giving(outputs)
        })
        .collect()
}

/// A part of the layers for each test, so that they share the cores.
fn pointwise_of_b0(part: usize) {
    let machine = machine(pointwise::IMAGE);
    for case in b0_pointwise().into_iter().skip(part).step_by(2) {
        case.check(&machine);
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_over_the_even_layers_of_b0() {
    pointwise_of_b0(0);
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_over_the_odd_layers_of_b0() {
    pointwise_of_b0(1);
}

/// Layers of B3 at 300, 19 and 10 pixels wide, and of Lite4 at 300, without gates: widths that B0
/// has not.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_over_odd_layers_of_b3_and_lite4() {
    let machine = machine(pointwise::IMAGE);
    use Outputs::{Pooled, Stored};
    let shapes: [Shape; 7] = [
        ([1, 361, 576, 136], ACTIVATION_NONE, [true, false], Stored),
        ([1, 361, 136, 816], ACTIVATION_SWISH, [false, false], Stored),
        ([1, 100, 1392, 232], ACTIVATION_NONE, [true, true], Stored),
        ([1, 100, 384, 1536], ACTIVATION_SWISH, [false, false], Pooled),
        ([1, 361, 160, 960], ACTIVATION_RELU6, [false, false], Stored),
        ([1, 100, 1632, 272], ACTIVATION_NONE, [false, true], Stored),
        ([1, 100, 448, 1280], ACTIVATION_RELU6, [false, false], Pooled),
    ];
    for (seed, (shape, activation, extras, outputs)) in shapes.into_iter().enumerate() {
        let case = Pointwise::new(Data::Uniform, shape, activation, extras, 100 + seed as u64);
        case.giving(outputs).check(&machine);
    }
}

/// Gates that are computed from a squeeze: of one part and of many, more and fewer than the shares
/// and than are loaded at once; of few values and of many; sums of one chunk and of several; weights of the gate that fit shared memory and that do not.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_computes_its_gate() {
    let machine = machine(pointwise::IMAGE);
    let shapes = [
        ([2, 64, 32, 16], [3, 8]),
        ([2, 49, 96, 24], [1, 4]),
        ([1, 36, 144, 40], [8, 6]),
        ([2, 25, 240, 80], [21, 10]),
        ([1, 49, 672, 112], [96, 28]),
        ([1, 9, 1152, 192], [36, 48]),
        ([1, 4, 1392, 56], [9, 57]),
        ([1, 1, 8, 8], [90, 1]),
        ([1, 1, 280, 24], [11, 256]),
        ([1, 16, 40, 8], [384, 10]),
        ([1, 4, 480, 40], [250, 17]),
        ([1, 4, 72, 16], [384, 40]),
    ];
    for (i, (shape, squeeze)) in shapes.into_iter().enumerate() {
        let (seed, skip) = (300 + i as u64, i % 2 == 0);
        let case = Pointwise::new(Data::Uniform, shape, ACTIVATION_NONE, [false, skip], seed);
        let case = case.squeezed(squeeze, seed);
        check_batch(&machine, &case, shape[0], |i| case.image(i));
    }
}

/// Every pair of channel counts and every map; activation, gate, skip, outputs and the kind of data
/// go round.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn awkward_pointwise_f16() {
    let machine = machine(pointwise::IMAGE);
    let mut seed = 0;
    for [h, w] in MAPS {
        for c_in in CHANNELS {
            for c_out in CHANNELS {
                let activation = ACTIVATIONS[seed % 3];
                let extras = [seed / 3 % 2 == 0, seed / 6 % 2 == 0];
                let exact = activation != ACTIVATION_SWISH && seed % 5 < 3;
                let data = if exact { Data::Integers } else { Data::Uniform };
                let outputs = [Outputs::Stored, Outputs::Stored, Outputs::Both, Outputs::Pooled];
                let shape = [BATCH, h * w, c_in, c_out];
                let mut case = Pointwise::new(data, shape, activation, extras, 200 + seed as u64)
                    .giving(outputs[seed % 4]);
                if seed % 7 == 0 {
                    case = case.without_batch_norm();
                }
                check_batch(&machine, &case, BATCH, |i| case.image(i));
                seed += 1;
            }
        }
    }
}

/// A shape that is not square, whose output has 8 channels more than a tile.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_with_every_activation_gate_and_skip() {
    let machine = machine(pointwise::IMAGE);
    for activation in ACTIVATIONS {
        for extras in [[false, false], [false, true], [true, false], [true, true]] {
            for data in [Data::Uniform, Data::Integers] {
                if data == Data::Uniform || activation != ACTIVATION_SWISH {
                    let case = Pointwise::new(data, [2, 35, 56, 72], activation, extras, 7);
                    check_batch(&machine, &case, 2, |i| case.image(i));
                    case.without_batch_norm().check(&machine);
                }
            }
        }
    }
}

/// Sums of one, three and six chunks, the last of which are not whole: every tile, split and not,
/// gives the same bytes, and the right ones.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn no_tile_and_no_split_changes_a_byte_of_pointwise_f16() {
    let machine = machine(pointwise::IMAGE);
    for (shape, extras, squeeze) in [
        ([2, 49, 56, 40], [true, false], None),
        ([2, 25, 264, 104], [false, true], Some([11, 10])),
        ([1, 70, 648, 136], [false, true], None),
    ] {
        let case = Pointwise::new(Data::Uniform, shape, ACTIVATION_SWISH, extras, 11);
        let case = match squeeze {
            Some(squeeze) => case.squeezed(squeeze, 11),
            None => case,
        };
        let bytes = case.check(&machine);
        for forced in with_blocks(&case) {
            let what = forced.describe();
            assert!(forced.run(&machine, Buffers::exact()) == bytes, "{what}: other bytes");
        }
    }
}

/// Partial sums depend on an image's pixels, which its tiles' rows follow from, and on nothing else.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn every_block_gives_the_same_partial_sums() {
    let machine = machine(pointwise::IMAGE);
    for pixels in [10, 150] {
        let shape = [2, pixels, 264, 72];
        let case = Pointwise::new(Data::Uniform, shape, ACTIVATION_SWISH, [true, true], 5);
        let case = case.giving(Outputs::Both);
        let outputs = case.check(&machine);
        for forced in with_blocks(&case) {
            let what = forced.describe();
            assert!(forced.run(&machine, Buffers::exact()) == outputs, "{what}: other bytes");
        }
    }
}

/// A batch for which the tiling differs from that of one image, in tile and in splitting.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn pointwise_f16_of_one_image_does_not_depend_on_its_batch() {
    let machine = machine(pointwise::IMAGE);
    for (shape, extras, outputs) in [
        ([4, 196, 264, 232], [true, true], Outputs::Stored),
        ([4, 49, 320, 1280], [false, false], Outputs::Both),
    ] {
        let case =
            Pointwise::new(Data::Uniform, shape, ACTIVATION_SWISH, extras, 3).giving(outputs);
        let (whole, single) = (case.tiling(), case.image(0).tiling());
        assert_ne!(
            (whole.warps, whole.tile_cols, whole.split),
            (single.warps, single.tile_cols, single.split),
            "{whole:?}"
        );
        check_batch(&machine, &case, 4, |i| case.image(i));
    }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn short_pointwise_f16() {
    let machine = machine(pointwise::IMAGE);
    let case = Pointwise::new(Data::Uniform, [2, 49, 264, 72], ACTIVATION_SWISH, [true, true], 1);
    check_batch(&machine, &case, 2, |i| case.image(i));
    let bytes = case.check(&machine);
    for forced in with_blocks(&case) {
        let what = forced.describe();
        assert!(forced.run(&machine, Buffers::exact()) == bytes, "{what}: other bytes");
    }
    let squeezed = case.clone().squeezed([11, 10], 1);
    check_batch(&machine, &squeezed, 2, |i| squeezed.image(i));
    case.giving(Outputs::Both).check(&machine);
}

mod mutants {
    use super::*;
    use crate::mutants::{Subject, all_are_reported, no_report};

    /// Rows and columns that end within a warp's, k that ends in each quarter of a panel; tiles of
    /// several images; sums of several chunks, split and not; weights that stay in shared memory and
    /// that pass through it; every output; gates of both kinds.
    fn pointwise_shapes(block: Block) -> Vec<Box<dyn Case>> {
        use Outputs::{Both, Pooled, Stored};
        let shapes = [
            ([3, 25, 40, 72], ACTIVATION_SWISH, [true, true], Stored, false),
            ([1, 37, 120, 40], ACTIVATION_SWISH, [false, true], Stored, false),
            ([2, 19, 264, 40], ACTIVATION_NONE, [true, false], Both, true),
            ([1, 49, 24, 80], ACTIVATION_NONE, [true, false], Pooled, false),
            ([1, 70, 296, 56], ACTIVATION_RELU6, [false, true], Stored, true),
            ([1, 1, 8, 112], ACTIVATION_SWISH, [false, true], Both, false),
            ([2, 37, 272, 8], ACTIVATION_NONE, [false, false], Stored, false),
            ([1, 33, 1304, 16], ACTIVATION_NONE, [false, false], Stored, false),
            ([1, 20, 24, 24], ACTIVATION_RELU6, [false, false], Pooled, false),
        ];
        let squeezed = [
            ([2, 25, 40, 72], ACTIVATION_NONE, [false, true], [11, 10], false),
            ([1, 19, 296, 40], ACTIVATION_NONE, [false, false], [3, 6], true),
            ([1, 10, 520, 8], ACTIVATION_SWISH, [false, false], [9, 33], false),
            ([1, 10, 40, 8], ACTIVATION_NONE, [false, false], [5, 20], false),
        ];
        let plain = shapes.into_iter().map(|(shape, activation, extras, outputs, split)| {
            let case = Pointwise::new(Data::Uniform, shape, activation, extras, 1);
            (case.giving(outputs), split)
        });
        let squeezed = squeezed.into_iter().map(|(shape, activation, extras, squeeze, split)| {
            let case = Pointwise::new(Data::Uniform, shape, activation, extras, 2);
            (case.squeezed(squeeze, 2), split)
        });
        let cases = plain.chain(squeezed).enumerate();
        cases
            .filter_map(|(i, (case, split))| -> Option<Box<dyn Case>> {
                let case = if i % 3 == 2 { case.without_batch_norm() } else { case };
                // Where there are several turns, and the shape can have but one, it has one.
                let block = Block { split, ..block };
                let forced = case.clone().forced(block);
                let forced = forced.or_else(|| case.forced(Block { turns: 1, ..block }))?;
                Some(Box::new(forced))
            })
            .collect()
    }

    fn pointwise_subjects(blocks: &[(i32, [i32; 2], i32)]) -> Vec<Subject> {
        let subject = |&(warp_cols, warps, turns): &(i32, [i32; 2], i32)| {
            let entry = pointwise::ENTRIES[(warp_cols / 8 - 1) as usize];
            let block = Block { warp_cols, warps, turns, split: false };
            (pointwise::IMAGE, entry, pointwise_shapes(block))
        };
        blocks.iter().map(subject).collect()
    }

    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn pointwise_has_no_report_under_adversarial_schedules() {
        no_report(pointwise_subjects(&BLOCKS));
    }

    /// All entries are one template.
    #[test]
    #[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
    fn mutants_of_pointwise_are_reported() {
        all_are_reported(pointwise_subjects(&[(24, [2, 2], 2)]), 85.0);
    }
}
