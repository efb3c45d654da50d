//! What is in the machine code.

use crate::ARCHS;
use crate::bounds::{self, Key};
use effnet::emulator::{Entry, Module};
use effnet::estimate::opcodes::Anchor;
use effnet::kernels::{self, KernelImage};
use sass_listing::{Function, Instruction};
use std::collections::{BTreeMap, BTreeSet};

/// The file whose kernels do not wait for the launch before them: they run by themselves.
const WITHOUT_WAIT: &str = "preprocess";

/// Every kernel of every file, with its machine code.
fn each_kernel(arch: u32, mut look: impl FnMut(&KernelImage, &Function)) {
    let mut seen = 0;
    for image in kernels::built().unwrap().images {
        let listing = image.listing(arch).unwrap().expect("a listing");
        assert_eq!(listing.functions.len(), image.entries.len());
        for entry in image.entries {
            look(image, listing.function(entry).unwrap());
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen} kernels");
}

fn key(measure: &str, kernel: &str, arch: u32) -> Key {
    let kernel = kernel.strip_prefix("effnet_").unwrap_or(kernel);
    (measure.to_owned(), kernel.to_owned(), format!("sm_{arch}"))
}

/// What is reached from places, by their successors; nothing behind a place where `stops`.
fn reached(
    from: Vec<usize>,
    successors: impl Fn(usize) -> Vec<usize>,
    stops: impl Fn(usize) -> bool,
) -> BTreeSet<usize> {
    let mut found = BTreeSet::new();
    let mut left = from;
    while let Some(at) = left.pop() {
        if found.insert(at) && !stops(at) {
            left.extend(successors(at));
        }
    }
    found
}

/// Instructions that control may come to before a wait. Each way has one wait of its own, in no
/// loop; a way without one would bring everything behind it along.
fn before_wait(function: &Function) -> Vec<&Instruction> {
    let code = |block: usize| &function.instructions[function.blocks[block].instructions.clone()];
    let wait_of = |block: usize| code(block).iter().position(|i| i.base() == "ACQBULK");
    let count = function.blocks.len();
    let successors = |block: usize| function.blocks[block].successors.clone();
    let waits: Vec<usize> = (0..count).filter(|block| wait_of(*block).is_some()).collect();
    assert!(!waits.is_empty(), "{}: no wait", function.name);
    for &wait in &waits {
        let behind = reached(successors(wait), successors, |_| false);
        let twice = behind.into_iter().any(|block| wait_of(block).is_some());
        assert!(!twice, "{}: waits in a loop, or twice", function.name);
    }
    let blocks = reached(vec![0], successors, |block| wait_of(block).is_some());
    let before = |block: usize| &code(block)[..wait_of(block).unwrap_or(code(block).len())];
    blocks.into_iter().flat_map(before).collect()
}

/// Anchors of what control may come to before a wait in a kernel's PTX.
fn before_ptx_wait(text: &str, entry: &Entry) -> Vec<Anchor> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let instructions: Vec<_> =
        entry.instructions().into_iter().filter(|i| !i.form.is_empty()).collect();
    let line = |at: usize| instructions[at].ptx_line as usize;
    // The first instruction behind a label.
    let labelled = |label: &str| {
        let from = line(0);
        let found = lines[from..].iter().position(|line| line.strip_suffix(':') == Some(label));
        let label = from + found.unwrap_or_else(|| panic!("{}: no {label}", entry.name)) + 1;
        (0..instructions.len()).find(|at| line(*at) > label)
    };
    let successors = |at: usize| {
        let text = lines[line(at) - 1];
        let opcode = instructions[at].form.split('.').next().unwrap_or_default();
        let goes_on = text.starts_with('@') || !matches!(opcode, "bra" | "ret" | "exit");
        let target =
            (opcode == "bra").then(|| text.trim_end_matches(';').split_whitespace().last());
        let target = target.flatten().and_then(labelled);
        let next = (goes_on && at + 1 < instructions.len()).then_some(at + 1);
        next.into_iter().chain(target).collect()
    };
    let anchor = |at: usize| Anchor::of_ptx(instructions[at].form);
    let found = reached(vec![0], successors, |at| anchor(at) == Some(Anchor::Wait));
    found.into_iter().filter_map(anchor).collect()
}

/// What the PTX loads before the dependent wait is there in the machine code, and no other global
/// memory is touched: weights may be read while the launch before this one still writes, the arena
/// may not.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn loads_before_the_dependent_wait_are_there_and_no_others() {
    let mut late: BTreeMap<Key, f64> = BTreeMap::new();
    let (mut copies, mut loads) = (0, 0);
    each_kernel(90, |image, function| {
        if image.name == WITHOUT_WAIT {
            assert!(function.instructions.iter().all(|i| i.base() != "ACQBULK"));
            return;
        }
        let text = image.ptx().unwrap();
        let module = Module::parse(image.name, &text).unwrap();
        let entry = module.entries().iter().find(|entry| entry.name == function.name).unwrap();
        let ptx = before_ptx_wait(&text, entry);
        let of_ptx = |anchor| ptx.iter().filter(|found| **found == anchor).count();
        let before = before_wait(function);
        let of_machine = |anchor| {
            before.iter().filter(|i| Anchor::of_machine(&i.opcode) == Some(anchor)).count()
        };
        for anchor in [Anchor::StoreGlobal, Anchor::Atomic] {
            assert_eq!(of_machine(anchor), 0, "{}: {anchor:?} before the wait", function.name);
        }
        for (anchor, seen) in [(Anchor::Copy, &mut copies), (Anchor::LoadGlobal, &mut loads)] {
            let (asked, found) = (of_ptx(anchor), of_machine(anchor));
            *seen += asked;
            // A loop's body may be copied; a load of the arena that was moved up would be one more.
            assert!(
                found <= asked || (anchor == Anchor::Copy && asked > 0),
                "{}: {found} of {anchor:?} before the wait, {asked} in the PTX",
                function.name
            );
            let missing = asked.saturating_sub(found);
            if asked > 0 {
                *late.entry(key("late_loads", &function.name, 90)).or_default() += missing as f64;
            }
        }
        // Nothing leaves before it has waited: the next launch relies on that.
        assert!(before.iter().all(|i| i.base() != "EXIT"), "{}: leaves early", function.name);
    });
    assert!(copies > 0 && loads > 0, "{copies} copies, {loads} loads");
    bounds::hold(&["late_loads"], &late);
}

/// An integer division by a variable is some twenty instructions, with a reciprocal between
/// conversions: outside of loops, not in them.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "80", kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn no_integer_division_in_a_loop_but_those_that_are_known() {
    let mut divisions = BTreeMap::new();
    let mut outside = 0;
    for arch in ARCHS {
        each_kernel(arch, |_, function| {
            let inside: BTreeSet<usize> =
                function.loops().iter().flat_map(|found| found.blocks.clone()).collect();
            for (block, code) in function.blocks.iter().enumerate() {
                let code = &function.instructions[code.instructions.clone()];
                let found =
                    code.iter().filter(|i| i.base() == "I2F" && i.opcode.ends_with(".RP")).count();
                if inside.contains(&block) && found > 0 {
                    let key = key("divisions_in_loops", &function.name, arch);
                    *divisions.entry(key).or_insert(0.0) += found as f64;
                } else {
                    outside += found;
                }
            }
        });
    }
    assert!(outside > 0, "no division at all: are they still what this looks for?");
    bounds::hold(&["divisions_in_loops"], &divisions);
}

/// A division, a root and an exact exponential come with a check of their operands and a call for
/// those that need more than the fast path: warps that meet again behind it, and registers that
/// live across it. Kernels of f16 make do with approximations.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "80", kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn no_slow_path_in_f16_but_those_that_are_known() {
    let mut slow = BTreeMap::new();
    let mut exact = 0;
    for arch in ARCHS {
        each_kernel(arch, |_, function| {
            // Exchanges between lanes are called too, where the lanes of a warp have parted.
            let calls = function.blocks.iter().filter_map(|block| block.calls.as_deref());
            let calls = calls.filter(|called| !called.contains("shflsync")).count();
            let checks = function.instructions.iter().filter(|i| i.base() == "FCHK").count();
            let found = calls + checks;
            if !function.name.ends_with("_f16") {
                exact += found;
            } else if found > 0 {
                slow.insert(key("slow_paths", &function.name, arch), found as f64);
            }
        });
    }
    assert!(exact > 0, "none in f32 either: is it still what this looks for?");
    bounds::hold(&["slow_paths"], &slow);
}

/// `tests/ptxas.rs` refuses spills, and holds the kernels to their resident blocks.
#[test]
#[cfg_attr(
    not(all(kernels_pinned, kernel_listing = "80", kernel_listing = "90")),
    ignore = "needs the compilers that make cuda fetches, nvdisasm, and EFFNET_CUDA_ARCHS=80,90"
)]
fn registers_do_not_grow() {
    let mut registers = BTreeMap::new();
    for image in kernels::images() {
        for report in image.resources.iter().filter(|report| ARCHS.contains(&report.arch)) {
            let key = key("registers", report.entry, report.arch);
            registers.insert(key, f64::from(report.registers));
        }
    }
    bounds::hold(&["registers"], &registers);
}
