//! What the emulator's checks are worth: each barrier, wait, fence, membermask and bound check of every kernel is
//! weakened in turn, in nvcc's PTX, and the checks have to report it.
//!
//! One mutant has one edit. It runs on small shapes with a part-empty tile in every dimension and buffers that end where
//! their tensors end, until a check reports it. Those that none reports must be in [`UNREPORTED`], with the reason.

#[path = "support/mutants.rs"]
mod mutation;
mod support;

use effnet::emulator::{Check, Module, Schedule};
use effnet::kernels::params::{ACTIVATION_NONE, ACTIVATION_RELU6, ACTIVATION_SWISH};
use effnet::kernels::{depthwise, pointwise, squeeze_excite};
use effnet::weights::Precision;
use mutation::{Kind, Mutant, isolate, mutants, trapped};
use std::collections::BTreeMap;
use support::emulated::{
    Buffers, Case, Data, Depthwise, Pointwise, SqueezeExcite, assert_clean, images_or_skip, ptx,
};

/// Why no check reports a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No thread of any launch comes there. Such an instruction is no guard of anything.
    NeverExecuted,
    /// Nothing changes but, at the most, how work is split: no launch that the launch module lets through can tell it
    /// from the original.
    Equivalent,
    /// Every access stays within the rules; the output is wrong, and the tests of the outputs see it.
    WrongResult,
}

/// Mutants that no check reports.
struct Unreported {
    image: &'static str,
    kinds: &'static [Kind],
    /// Parts of the `.cu` lines that they come from.
    lines: &'static [&'static str],
    why: Why,
    #[allow(dead_code)] // for the reader
    reason: &'static str,
}

const BOUNDS: &[Kind] = &[Kind::Shifted, Kind::Unguarded];

const UNREPORTED: &[Unreported] = &[
    Unreported {
        image: depthwise::IMAGE,
        kinds: BOUNDS,
        lines: &["i < kDepthwiseTilePixels"],
        why: Why::Equivalent,
        reason: "the loop's first check, which holds for each of the eight warps: nvcc does not know how many there are",
    },
    Unreported {
        image: depthwise::IMAGE,
        kinds: &[Kind::Shifted],
        lines: &["h >= 0 && h < p.h_in", "pixel % p.w_out * STRIDE - p.pad_left"],
        why: Why::Equivalent,
        reason: "one of three: h < h_in in the window's first row and w < w_in in its first column, since the launch \
                 module lets no window start beyond the input; h >= 0 and w >= 0 at the window's last tap, since it \
                 lets none end before the input",
    },
    Unreported {
        image: squeeze_excite::IMAGE,
        kinds: BOUNDS,
        lines: &[
            "int c = threadIdx.x; c < p.c",
            "float sum = p.expand_bias[c]",
            "int t = 0; t < p.tiles",
            "int j = 0; j < p.c_se",
        ],
        why: Why::Equivalent,
        reason: "nvcc's check for no tiles and for no squeeze, taken out of the loop; the launch module lets neither through",
    },
    Unreported {
        image: squeeze_excite::IMAGE,
        kinds: BOUNDS,
        lines: &["int c = threadIdx.x; c < p.c", "int t = 0; t < p.tiles", "int j = 0; j < p.c_se"],
        why: Why::NeverExecuted,
        reason: "what nvcc makes of the loop over channels for no tiles and for no squeeze, see above",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: BOUNDS,
        lines: &["int i = threadIdx.x; i < kPointwiseTileRows * chunks"],
        why: Why::Equivalent,
        reason: "the loop's first check, which holds for each of the 128 threads: nvcc does not know how many there are",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: BOUNDS,
        lines: &[
            "int i = threadIdx.x; i < kPointwiseTileRows * chunks",
            "const bool valid = first + row < rows",
            "copy_chunk(&to[row][column], valid",
            "const int first_row",
            "const int first_col",
        ],
        why: Why::NeverExecuted,
        reason: "a thread copies two chunks of each tile; nvcc, which does not know that, also makes a third copy and a \
                 loop of four",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::Unguarded],
        lines: &["copy_chunk(&to[row][column], valid"],
        why: Why::Equivalent,
        reason: "the address of a chunk outside the matrix, of which zero bytes are read: the size is guarded by itself",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::Shifted],
        lines: &["copy_chunk(&to[row][column], valid", "if (step + 1 < steps)"],
        why: Why::Equivalent,
        reason: "whether four more copies are to be made: they never are, by far",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: BOUNDS,
        lines: &["if (step + 1 < steps)"],
        why: Why::Equivalent,
        reason: "copies ahead of the last step: all of them lie outside the matrices, and nobody reads their zeros",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: BOUNDS,
        lines: &["int step = 0; step < steps"],
        why: Why::Equivalent,
        reason: "the check for no steps; the launch module lets no c_in below 8 through",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: BOUNDS,
        lines: &["if (channel < p.c_in)"],
        why: Why::Equivalent,
        reason: "the first eight channels of a step, which are always there: c_in is a multiple of 8",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::Unguarded],
        lines: &["if (p.gate != nullptr)"],
        why: Why::Equivalent,
        reason: "addresses of gates are computed from null; a second check keeps them from being read",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::SourceSize],
        lines: &["\"r\"(bytes)"],
        why: Why::NeverExecuted,
        reason: "the third copy and the loop of four, see above",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::SourceSize],
        lines: &["\"r\"(bytes)"],
        why: Why::Equivalent,
        reason: "what lies beyond c_in is copied for one of the factors, and the other's zeros wipe it out; rows beyond \
                 the last end in outputs that nobody stores",
    },
    Unreported {
        image: pointwise::IMAGE,
        kinds: &[Kind::SourceSize],
        lines: &["\"r\"(bytes)"],
        why: Why::WrongResult,
        reason: "zeros in place of a chunk of the matrix break no rule",
    },
];

/// Warp instructions that a mutant may take: twice what the unmutated kernel needs, and some.
fn budget(instructions: u64) -> u64 {
    2 * instructions + 10_000
}

// --- Shapes ---

/// Pads up to the k - 1 that the launch module allows, in both parities, so that a stride of 2 also brings every tap
/// to every border; two tiles, of which the second is part empty; channels of part-empty groups.
fn depthwise_shapes(precision: Precision, k: usize, stride: usize) -> Vec<Box<dyn Case>> {
    let plain = [
        (true, [k / 2, k / 2], [2, 70], [9 * stride, 8 * stride]),
        (false, [0, 1], [1, 2], [1, 1]),
    ];
    let wide = [
        (true, [k - 1, k - 1], [2, 6], [3, 4]),
        (false, [k - 2, k - 1], [2, 66], [3, 3]),
        (true, [k - 1, k - 2], [1, 2], [4, 3]),
        (false, [k - 2, k - 2], [2, 8], [4, 4]),
    ];
    let shapes = plain.into_iter().chain(wide).enumerate();
    shapes
        .map(|(i, (squeeze, pad, n_c, input))| -> Box<dyn Case> {
            // The last window is the last that starts within the input.
            let output = [0, 1].map(|axis| (input[axis] - 1 + pad[axis]) / stride + 1);
            let mut shape = Depthwise::shape(precision, [k, stride], input, output, pad, n_c);
            shape.squeeze = squeeze;
            shape.activation = [ACTIVATION_SWISH, ACTIVATION_NONE, ACTIVATION_RELU6][i % 3];
            Box::new(Depthwise::filled(shape, i as u64))
        })
        .collect()
}

/// Every remainder of the loops that nvcc unrolls by four, over tiles, channels and the squeeze's width.
fn squeeze_excite_shapes(precision: Precision) -> Vec<Box<dyn Case>> {
    let shapes = [
        ([2, 3, 150], [100, 3]),
        ([1, 1, 1], [8, 1]),
        ([2, 4, 225], [260, 4]),
        ([1, 6, 361], [33, 10]),
        ([2, 7, 400], [232, 6]),
        ([1, 5, 300], [128, 9]),
    ];
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (image, channels))| -> Box<dyn Case> {
            Box::new(SqueezeExcite::new(precision, image, channels, i as u64))
        })
        .collect()
}

/// Rows and columns that end in each eighth of a warp's tile, k that ends in each quarter of a step.
fn pointwise_shapes() -> Vec<Box<dyn Case>> {
    let shapes = [
        ([3, 25, 40, 72], ACTIVATION_SWISH, [true, true]),
        ([1, 49, 24, 80], ACTIVATION_NONE, [true, false]),
        ([5, 13, 16, 66], ACTIVATION_RELU6, [true, true]),
        ([1, 91, 56, 56], ACTIVATION_NONE, [false, false]),
        ([1, 1, 8, 112], ACTIVATION_SWISH, [false, true]),
        ([2, 19, 80, 34], ACTIVATION_NONE, [true, false]),
    ];
    let cases = shapes.into_iter().enumerate();
    cases
        .map(|(i, (shape, activation, extras))| -> Box<dyn Case> {
            Box::new(Pointwise::new(Data::Uniform, shape, activation, extras, i as u64))
        })
        .collect()
}

/// A kernel with its shapes.
type Subject = (&'static str, &'static str, Vec<Box<dyn Case>>);

fn depthwise_subjects(precision: Precision) -> Vec<Subject> {
    let windows = [(3, 1), (3, 2), (5, 1), (5, 2)];
    let first = if precision == Precision::Fp16 { 0 } else { 4 };
    (0..4)
        .map(|i| {
            let (k, stride) = windows[i];
            let shapes = depthwise_shapes(precision, k, stride);
            (depthwise::IMAGE, depthwise::ENTRIES[first + i], shapes)
        })
        .collect()
}

fn squeeze_excite_subjects() -> Vec<Subject> {
    let precisions = [Precision::Fp16, Precision::Fp32].into_iter().enumerate();
    precisions
        .map(|(i, p)| (squeeze_excite::IMAGE, squeeze_excite::ENTRIES[i], squeeze_excite_shapes(p)))
        .collect()
}

fn pointwise_subjects() -> Vec<Subject> {
    vec![(pointwise::IMAGE, pointwise::ENTRIES[0], pointwise_shapes())]
}

fn parse(entry: &str, text: &str) -> Module {
    Module::parse(&format!("{entry}.ptx"), text).unwrap_or_else(|e| panic!("{entry}: {e}"))
}

// --- The unmutated kernels ---

/// Ten adversarial schedules each: no finding, and the bytes of the ordinary run.
fn no_report(subjects: Vec<Subject>) {
    let Some(_) = images_or_skip() else { return };
    for (image, entry, shapes) in subjects {
        let module = parse(entry, &isolate(ptx(image), entry));
        for case in shapes {
            let expected = case.check(&module);
            for seed in 0..10 {
                let what = format!("{}, schedule {seed}", case.describe());
                let mut buffers = Buffers::exact();
                let prepared = case.prepare(&mut buffers);
                assert_eq!(prepared.kernel, entry);
                let launch = prepared.launch(&module).schedule(Schedule::Adversarial(seed));
                let report =
                    launch.run(&mut buffers.memory).unwrap_or_else(|e| panic!("{what}: {e}"));
                assert_clean(&what, &report);
                assert!(expected == buffers.outputs(&what), "{what}: other bytes than in order");
            }
        }
    }
}

#[test]
fn depthwise_f16_has_no_report_under_adversarial_schedules() {
    no_report(depthwise_subjects(Precision::Fp16));
}

#[test]
fn depthwise_f32_has_no_report_under_adversarial_schedules() {
    no_report(depthwise_subjects(Precision::Fp32));
}

#[test]
fn squeeze_excite_has_no_report_under_adversarial_schedules() {
    no_report(squeeze_excite_subjects());
}

#[test]
fn pointwise_has_no_report_under_adversarial_schedules() {
    no_report(pointwise_subjects());
}

// --- Mutants ---

/// What became of a mutant.
enum Fate {
    Reported(Check),
    Silent(Why),
}

/// Runs a mutant on every shape until a check reports it.
fn fate(entry: &str, original: &str, mutant: &Mutant, shapes: &[Reference]) -> Fate {
    let module = parse(entry, &mutant.text);
    let mut wrong = false;
    for reference in shapes {
        let (found, outputs) = run(&module, reference);
        if let Some(check) = found {
            return Fate::Reported(check);
        }
        wrong |= outputs != reference.outputs;
    }
    if wrong {
        return Fate::Silent(Why::WrongResult);
    }
    let module = parse(entry, &trapped(original, mutant.line));
    let reached = shapes.iter().any(|reference| run(&module, reference).0.is_some());
    Fate::Silent(if reached { Why::Equivalent } else { Why::NeverExecuted })
}

/// The first thing that a check reports, and the outputs.
fn run(module: &Module, reference: &Reference) -> (Option<Check>, Vec<Vec<u8>>) {
    let mut buffers = Buffers::exact();
    let prepared = reference.case.prepare(&mut buffers);
    let launch = prepared.launch(module).budget(budget(reference.instructions));
    let report = launch.run(&mut buffers.memory).unwrap_or_else(|e| panic!("{e}"));
    (report.findings.first().map(|f| f.check), buffers.raw_outputs())
}

/// A shape with what the unmutated kernel makes of it.
struct Reference {
    case: Box<dyn Case>,
    instructions: u64,
    outputs: Vec<Vec<u8>>,
}

impl Reference {
    fn new(module: &Module, case: Box<dyn Case>) -> Reference {
        let mut buffers = Buffers::exact();
        let launch = case.prepare(&mut buffers);
        let report = launch.launch(module).run(&mut buffers.memory);
        let report = report.unwrap_or_else(|e| panic!("{e}"));
        assert_clean(&case.describe(), &report);
        let outputs = buffers.raw_outputs();
        Reference { case, instructions: report.counters.instructions, outputs }
    }
}

/// The line of the kernels' sources, where it is one.
fn source_line(mutant: &Mutant) -> &'static str {
    let text = match mutant.source.file.rsplit('/').next() {
        Some("depthwise.cu") => include_str!("../kernels/depthwise.cu"),
        Some("squeeze_excite.cu") => include_str!("../kernels/squeeze_excite.cu"),
        Some("pointwise.cu") => include_str!("../kernels/pointwise.cu"),
        Some("common.cuh") => include_str!("../kernels/common.cuh"),
        _ => return "",
    };
    text.lines().nth(mutant.source.line.wrapping_sub(1)).unwrap_or("").trim()
}

#[derive(Default)]
struct Tally {
    reported: BTreeMap<Check, usize>,
    silent: BTreeMap<Why, usize>,
}

/// Runs every mutant of the kernels, prints the table, and holds the share of reported ones against 95 %.
fn all_are_reported(subjects: Vec<Subject>) {
    let Some(_) = images_or_skip() else { return };
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let mut unexplained = Vec::new();
    for (image, entry, cases) in subjects {
        let original = isolate(ptx(image), entry);
        let module = parse(entry, &original);
        let shapes: Vec<Reference> =
            cases.into_iter().map(|case| Reference::new(&module, case)).collect();
        for mutant in mutants(&original) {
            let tally = tallies.entry(mutant.kind).or_default();
            let why = match fate(entry, &original, &mutant, &shapes) {
                Fate::Reported(check) => {
                    *tally.reported.entry(check).or_default() += 1;
                    continue;
                }
                Fate::Silent(why) => why,
            };
            *tally.silent.entry(why).or_default() += 1;
            let line = source_line(&mutant);
            let known = UNREPORTED.iter().any(|known| {
                known.image == image
                    && known.kinds.contains(&mutant.kind)
                    && known.lines.iter().any(|part| line.contains(part))
                    && known.why == why
            });
            if !known {
                unexplained.push(format!(
                    "{entry}:{} {:?} {:?} {}\n    {}:{} {line}",
                    mutant.line + 1,
                    mutant.kind,
                    why,
                    mutant.edit,
                    mutant.source.file,
                    mutant.source.line
                ));
            }
        }
    }

    let (mut reported, mut effective) = (0, 0);
    for (kind, Tally { reported: by_check, silent }) in &tallies {
        let seen: usize = by_check.values().sum();
        let wrong = silent.get(&Why::WrongResult).copied().unwrap_or(0);
        println!("{kind:?}: {seen} reported {by_check:?}, {silent:?}");
        // No rule says which bytes a copy has to bring.
        if *kind != Kind::SourceSize {
            reported += seen;
            effective += seen + wrong;
        }
    }
    let share = 100.0 * reported as f64 / effective.max(1) as f64;
    println!("{reported} of {effective} mutants that change something are reported: {share:.1} %");
    assert!(unexplained.is_empty(), "unexplained:\n{}", unexplained.join("\n"));
    assert!(reported > 0 && share >= 95.0, "{share:.1} % are reported");
}

#[test]
fn mutants_of_depthwise_f16_are_reported() {
    all_are_reported(depthwise_subjects(Precision::Fp16));
}

#[test]
fn mutants_of_depthwise_f32_are_reported() {
    all_are_reported(depthwise_subjects(Precision::Fp32));
}

#[test]
fn mutants_of_squeeze_excite_are_reported() {
    all_are_reported(squeeze_excite_subjects());
}

#[test]
fn mutants_of_pointwise_are_reported() {
    all_are_reported(pointwise_subjects());
}

/// The edits are the ones that are meant: on a text made for it.
#[test]
fn edits_weaken_what_they_say() {
    let text = "\n.visible .entry k(\n)\n{\n\
        \t.loc\t1 5 3\n\
        \tmov.u32 \t%r9, -1;\n\
        \tsetp.ge.s32 \t%p1, %r1, %r2;\n\
        \t@%p1 bra \tDONE;\n\
        LOOP:\n\
        \tbar.sync \t0;\n\
        \tcp.async.wait_group 1;\n\
        \tshfl.sync.bfly.b32 \t%r3|%p2, %r4, %r5, 31, %r9;\n\
        \tsetp.lt.s32 \t%p3, %r1, 64;\n\
        \t@%p3 bra \tLOOP;\n\
        \tsetp.lt.s32 \t%p4, %r1, %r2;\n\
        \tnot.pred \t%p5, %p4;\n\
        \tselp.b32 \t%r6, 16, 0, %p4;\n\
        \t@%p5 bra \tDONE;\n\
        \tcp.async.cg.shared.global [%r7], [%rd1], 16, %r6;\n\
        \tsetp.lt.u32 \t%p6, %r1, %r2;\n\
        \t@%p6 bra \tDONE;\n\
        DONE:\n\tret;\n\n}\n\t.file\t1 \"kernels/k.cu\"\n";
    let mutants = mutants(text);
    let found: Vec<(Kind, String)> = mutants
        .iter()
        .map(|m| {
            let lines: Vec<&str> = m.text.lines().collect();
            (m.kind, lines[m.line].trim().to_string())
        })
        .collect();
    let expected = [
        (Kind::Shifted, "setp.gt.s32 %p1, %r1, %r2;"),
        (Kind::Unguarded, ""),
        (Kind::Barrier, ""),
        (Kind::Wait, ""),
        (Kind::Wait, "cp.async.wait_group 2;"),
        (Kind::Membermask, "shfl.sync.bfly.b32 %r3|%p2, %r4, %r5, 31, 2147483647;"),
        (Kind::Shifted, "setp.le.s32 %p3, %r1, 64;"),
        (Kind::Unguarded, "bra LOOP;"),
        (Kind::Shifted, "setp.le.s32 %p4, %r1, %r2;"),
        (Kind::Unguarded, ""),
        (Kind::SourceSize, "cp.async.cg.shared.global [%r7], [%rd1], 16, 16;"),
        (Kind::SourceSize, "cp.async.cg.shared.global [%r7], [%rd1], 16, 0;"),
        (
            Kind::Shifted,
            "{ .reg .u32 %shifted; add.u32 %shifted, %r2, -1; setp.lt.u32 %p6, %r1, %shifted; }",
        ),
        (Kind::Unguarded, ""),
    ];
    assert_eq!(found, expected.map(|(kind, text)| (kind, text.to_string())));
    assert!(mutants.iter().all(|m| m.source.file == "kernels/k.cu" && m.source.line == 5));
}
