//! Proof that the emulator's checks find faults: each barrier, wait, fence, order, membermask and bound
//! check of every kernel is weakened in turn, in nvcc's PTX, and the checks have to report it.
//!
//! One mutant has one edit. It runs on small shapes with a part-empty tile in every dimension and
//! buffers that end where their tensors end, until a check reports it. Every weakened barrier,
//! wait, commit, fence, order and membermask must be reported. Each kernel states the share of weakened
//! bounds that must be reported, out of those that change anything: the others decide which value
//! counts, not which memory is touched, and the tests of outputs see those. A bound that changes
//! nothing on any shape is counted: compilers add many that no thread depends on.

mod mutation;

use crate::support::emulated::{Buffers, Case, assert_clean, ptx};
use effnet::emulator::{Check, Module, Schedule};
use mutation::{Kind, Mutant, isolate, mutants, trapped};
use std::collections::BTreeMap;

/// Why no check reports a mutant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Why {
    /// No thread of any launch reaches the instruction, which so is no guard of anything.
    NeverExecuted,
    /// Nothing changes but, at the most, the split of the work: no launch that the launch module
    /// lets through can tell the mutant from the original.
    Equivalent,
    /// Every access stays within the rules; the output is wrong, and the tests of the outputs see
    /// it.
    WrongResult,
}

const BOUNDS: &[Kind] = &[Kind::Shifted, Kind::Unguarded];

/// Warp instructions that a mutant may take: twice those of the unmutated kernel, and some.
fn budget(instructions: u64) -> u64 {
    2 * instructions + 10_000
}

/// A kernel with its shapes.
pub type Subject = (&'static str, &'static str, Vec<Box<dyn Case>>);

fn parse(entry: &str, text: &str) -> Module {
    Module::parse(&format!("{entry}.ptx"), text).unwrap_or_else(|e| panic!("{entry}: {e}"))
}

// --- The unmutated kernels ---

/// Ten adversarial schedules each: no finding, and the bytes of the ordinary run.
pub fn no_report(subjects: Vec<Subject>) {
    for (image, entry, shapes) in subjects {
        let module = parse(entry, &isolate(&ptx(image), entry));
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

// --- Mutants ---

/// Outcome of a mutant.
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

/// A shape with the unmutated kernel's outputs.
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

/// Text of the source line that the mutant comes from; empty where there is none.
fn source_line(mutant: &Mutant) -> String {
    let Some(name) = mutant.source.file.rsplit('/').next() else { return String::new() };
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels").join(name);
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().nth(mutant.source.line.wrapping_sub(1)).unwrap_or("");
    line.trim().to_owned()
}

#[derive(Default)]
struct Tally {
    reported: BTreeMap<Check, usize>,
    silent: BTreeMap<Why, usize>,
}

/// Runs every mutant of the kernels, prints the table, and holds the percentage of reported ones
/// against `least_share`.
pub fn all_are_reported(subjects: Vec<Subject>, least_share: f64) {
    let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
    let mut unreported = Vec::new();
    for (image, entry, cases) in subjects {
        let original = isolate(&ptx(image), entry);
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
            if BOUNDS.contains(&mutant.kind) || mutant.kind == Kind::SourceSize {
                continue;
            }
            let line = source_line(&mutant);
            unreported.push(format!(
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
    assert!(unreported.is_empty(), "not reported:\n{}", unreported.join("\n"));
    assert!(reported > 0 && share >= least_share, "{share:.1} % are reported");
}

/// The edits are the intended ones, on a text made for the test.
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
        \tatom.acq_rel.gpu.global.inc.u32 \t%r8, [%rd2], %r7;\n\
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
        (Kind::Order, "atom.acquire.gpu.global.inc.u32 %r8, [%rd2], %r7;"),
        (Kind::Order, "atom.release.gpu.global.inc.u32 %r8, [%rd2], %r7;"),
        (Kind::Order, "atom.relaxed.gpu.global.inc.u32 %r8, [%rd2], %r7;"),
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
