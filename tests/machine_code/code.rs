//! What is in the machine code.

use crate::ARCHS;
use crate::bounds::{self, Key};
use effnet::emulator::Module;
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

/// Instructions of the blocks that come before the wait: those that control cannot reach from it.
fn before_wait(function: &Function) -> Vec<&Instruction> {
    let is_wait = |i: &Instruction| i.base() == "ACQBULK";
    let waits: Vec<usize> =
        (0..function.instructions.len()).filter(|i| is_wait(&function.instructions[*i])).collect();
    assert_eq!(waits.len(), 1, "{}: waits", function.name);
    let wait = waits[0];
    let home = function.blocks.iter().position(|b| b.instructions.contains(&wait)).unwrap();
    let (mut after, mut left) = (BTreeSet::new(), function.blocks[home].successors.clone());
    while let Some(block) = left.pop() {
        if after.insert(block) {
            left.extend(&function.blocks[block].successors);
        }
    }
    assert!(!after.contains(&home), "{}: waits in a loop", function.name);
    let mut reached = BTreeSet::new();
    let mut left = vec![0];
    while let Some(block) = left.pop() {
        if !after.contains(&block) && reached.insert(block) {
            left.extend(&function.blocks[block].successors);
        }
    }
    let blocks = reached.into_iter().map(|block| &function.blocks[block]);
    let instructions = blocks.flat_map(|block| block.instructions.clone());
    instructions
        .filter(|i| *i < wait || !function.blocks[home].instructions.contains(i))
        .map(|i| &function.instructions[i])
        .collect()
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
        let module = Module::parse(image.name, &image.ptx().unwrap()).unwrap();
        let entry = module.entries().iter().find(|entry| entry.name == function.name).unwrap();
        let ptx: Vec<Option<Anchor>> =
            entry.instructions().iter().map(|i| Anchor::of_ptx(i.form)).collect();
        let wait = ptx.iter().position(|anchor| *anchor == Some(Anchor::Wait)).unwrap();
        let of_ptx = |anchor| ptx[..wait].iter().filter(|found| **found == Some(anchor)).count();
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
