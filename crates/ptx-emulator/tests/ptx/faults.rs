//! Each check on a kernel that is wrong in one way: the finding's kind, line, place and words.

use super::{lanes, ptx};
use ptx_emulator::{Check, Checks, Launch, Memory, Module};

#[test]
fn accesses_out_of_bounds() {
    let finding = ptx("ld.global.u32 %r1, [%rd3+4];\nst.global.u32 [%rd2], %r1;")
        .input(&lanes(|i| i))
        .finds(Check::OutOfBounds, "ld.global.u32 %r1");
    assert_eq!((finding.thread, finding.block), ([31, 0, 0], [0; 3]));
    assert!(finding.to_string().contains("in"), "{finding}");
    assert!(finding.message.contains("128"), "{}", finding.message);

    let finding = ptx("st.global.u32 [%rd2+128], %r0;").finds(Check::OutOfBounds, "st.global.u32");
    assert_eq!(finding.times, 32);
    let finding = ptx("mov.u64 %rd4, 0;\natom.global.add.u32 %r1, [%rd4], 1;");
    finding.finds(Check::OutOfBounds, "atom.global.add");
    ptx(".shared .align 4 .b8 tile[64];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         st.shared.u32 [%r1], %r0;")
    .finds(Check::OutOfBounds, "st.shared.u32");
    ptx(".local .align 4 .b8 depot[16];\nst.local.u32 [depot+16], %r0;")
        .finds(Check::OutOfBounds, "st.local.u32");
    ptx("ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd1+120];")
        .input(&lanes(|i| i))
        .run_has_one_of(&[Check::OutOfBounds, Check::Misaligned]);
}

/// What is out of bounds is dropped, and the launch goes on.
#[test]
fn nothing_happens_out_of_bounds() {
    let outcome =
        ptx("ld.global.u32 %r1, [%rd3];\nadd.u32 %r1, %r1, 1;\nst.global.u32 [%rd2], %r1;")
            .input(&[5u32, 6])
            .run();
    assert_eq!(outcome.report.findings.len(), 1);
    assert_eq!(outcome.report.findings[0].times, 30);
    assert_eq!(outcome.output::<u32>(), lanes(|i| [6, 7].get(i as usize).copied().unwrap_or(1)));
}

#[test]
fn misaligned_accesses() {
    let finding = ptx("ld.global.u32 %r1, [%rd1+2];").input(&lanes(|i| i));
    finding.finds(Check::Misaligned, "ld.global.u32");
    ptx("ld.global.v2.u32 {%r1, %r2}, [%rd1+4];")
        .input(&lanes(|i| i))
        .finds(Check::Misaligned, "ld.global.v2");
    ptx(".shared .align 8 .b8 tile[64];\nst.shared.u64 [tile+4], %rd0;")
        .finds(Check::Misaligned, "st.shared.u64");
}

#[test]
fn uninitialised_memory() {
    ptx(".shared .align 4 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         ld.shared.u32 %r2, [%r1];")
    .finds(Check::UninitialisedMemory, "ld.shared.u32");
    ptx(".local .align 4 .b8 depot[4];\nst.local.u16 [depot], %r0;\nld.local.u32 %r2, [depot];")
        .finds(Check::UninitialisedMemory, "ld.local.u32");

    let text = ptx("ld.global.u32 %r1, [%rd2];").text();
    let module = Module::parse("k.ptx", &text).expect("PTX");
    let mut memory = Memory::new();
    let out = memory.uninitialised("fresh", 128);
    memory.write(&out, 0, &[1u32; 31]);
    assert_eq!(memory.initialised_bytes(&out), 124);
    let launch = Launch::new(&module, "k").expect("the entry").grid([1; 3]).block([32, 1, 1]);
    let report = launch.arg(out.address()).arg(out.address()).run(&mut memory).expect("a run");
    let finding = &report.findings[0];
    assert_eq!((finding.check, finding.thread), (Check::UninitialisedMemory, [31, 0, 0]));
    assert_eq!(finding.buffer.as_deref(), Some("fresh"));
    assert_eq!(finding.address, Some(out.address() + 124));
}

#[test]
fn uninitialised_registers() {
    ptx("add.u32 %r1, %r0, %r7;").finds(Check::UninitialisedRegister, "add.u32 %r1, %r0, %r7");
    ptx("@%p5 mov.u32 %r1, 0;").finds(Check::UninitialisedRegister, "@%p5 mov");
    ptx("mov.b64 {%r1, %r2}, %rd9;").finds(Check::UninitialisedRegister, "mov.b64");
    // Written by some lanes only.
    let finding = ptx("setp.lt.u32 %p1, %r0, 9;\n@%p1 mov.u32 %r1, 1;\nst.global.u32 [%rd2], %r1;")
        .finds(Check::UninitialisedRegister, "st.global.u32");
    assert_eq!(finding.thread, [9, 0, 0]);
}

const TILE: &str =
    ".shared .align 4 .b8 tile[512];\nmov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;\n";

#[test]
fn races_in_shared_memory() {
    // Between warps: write, then another's read; read, then another's write; two writes.
    let read = "xor.b32 %r3, %r0, 32; mad.lo.u32 %r3, %r3, 4, %r1;\nld.shared.u32 %r4, [%r3];\n";
    let write = "st.shared.u32 [%r2], %r0;\n";
    for (body, checks) in [
        (format!("{write}{read}"), &[Check::SharedRace, Check::UninitialisedMemory][..]),
        (format!("{write}bar.sync 0;\n{read}{write}"), &[Check::SharedRace]),
        ("st.shared.u32 [%r1], %r0;".to_owned(), &[Check::SharedRace]),
        // Atomics race with plain accesses, not with one another.
        (
            format!(
                "{write}bar.sync 0;\natom.shared.exch.b32 %r3, [%r1], 1;\nst.shared.u32 [%r1], 1;"
            ),
            &[Check::SharedRace],
        ),
    ] {
        ptx(&format!("{TILE}{body}")).threads(64).run_has_one_of(checks);
    }
    // Within a warp: the lanes run in no order but that of warp barriers.
    let body = format!(
        "{TILE}{write}xor.b32 %r3, %r0, 1; mad.lo.u32 %r3, %r3, 4, %r1;\nld.shared.u32 %r4, [%r3];"
    );
    let finding = ptx(&body).finds(Check::SharedRace, "ld.shared.u32");
    assert!(finding.message.contains("lane 1"), "{}", finding.message);
    assert_eq!(finding.buffer.as_deref(), Some("tile"));
}

#[test]
fn races_in_global_memory() {
    // Two blocks write the same word.
    ptx("st.global.u32 [%rd2], %r0;").blocks(2).finds(Check::GlobalRace, "st.global.u32");
    // One writes what the other reads.
    ptx("mov.u32 %r1, %ctaid.x;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 st.global.u32 [%rd2], %r0;\n\
         @!%p1 ld.global.u32 %r2, [%rd2];")
    .blocks(2)
    .run_has_one_of(&[Check::GlobalRace]);
    // Message passing without a fence on one side.
    for (before, after) in [("", "membar.gl;"), ("membar.gl;", ""), ("membar.cta;", "membar.cta;")]
    {
        let body = format!(
            "mov.u32 %r1, %ctaid.x;\nsetp.ne.u32 %p2, %r0, 0;\n@%p2 ret;\nsetp.ne.u32 %p1, %r1, 0;\n\
             @%p1 bra READER;\nst.global.u32 [%rd0+4], 5;\n{before}\n\
             st.relaxed.gpu.global.u32 [%rd0], 1;\nret;\n\
             READER:\nld.relaxed.gpu.global.u32 %r2, [%rd0];\nsetp.eq.u32 %p2, %r2, 0;\n\
             @%p2 bra READER;\n{after}\nld.global.u32 %r3, [%rd0+4];"
        );
        ptx(&body).blocks(2).cooperative().finds(Check::GlobalRace, "ld.global.u32 %r3");
    }
    // The last block reads what others wrote without a fence.
    ptx("mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd0, %rd4;\n\
         setp.ne.u32 %p1, %r0, 0;\n@%p1 ret;\nst.global.u32 [%rd4+4], %r1;\n\
         atom.global.add.u32 %r3, [%rd0], 1;\nsetp.ne.u32 %p2, %r3, 3;\n@%p2 ret;\n\
         ld.global.u32 %r6, [%rd0+4];\nld.global.u32 %r7, [%rd0+16];")
    .blocks(4)
    .run_has_one_of(&[Check::GlobalRace]);
}

#[test]
fn divergent_barriers() {
    ptx("setp.lt.u32 %p1, %r0, 7;\n@%p1 bra A;\nbar.sync 0;\nbra B;\nA:\nbar.sync 0;\nB:")
        .run_has_one_of(&[Check::DivergentBarrier]);
    ptx("setp.lt.u32 %p1, %r0, 7;\n@%p1 bar.sync 0;\nbar.sync 0;")
        .run_has_one_of(&[Check::DivergentBarrier]);
}

#[test]
fn wrong_membermasks() {
    // The executing lane is not a member.
    let finding = ptx("shfl.sync.idx.b32 %r1, %r0, 0, 31, 0x7fffffff;");
    let finding = finding.finds(Check::Membermask, "shfl.sync");
    assert_eq!(finding.thread, [31, 0, 0]);
    // Masks that do not agree: nobody's barrier is complete.
    ptx("setp.gt.u32 %p1, %r0, 15;\n@%p1 bra HIGH;\nbar.warp.sync 0x1ffff;\nret;\n\
         HIGH:\nbar.warp.sync -1;")
    .run_has_one_of(&[Check::Membermask, Check::Deadlock]);
    // A shuffle reads a lane that takes no part.
    ptx("setp.gt.u32 %p1, %r0, 15;\n@%p1 bra HIGH;\nshfl.sync.down.b32 %r1, %r0, 8, 31, 0xffff;\nHIGH:")
        .run_has_one_of(&[Check::Membermask]);
}

#[test]
fn division_by_zero() {
    for form in ["div.u32", "div.s32", "rem.u32", "rem.s32"] {
        let body = format!("sub.u32 %r1, %r0, 3;\n{form} %r2, %r0, %r1;");
        let finding = ptx(&body).finds(Check::DivisionByZero, form);
        assert_eq!((finding.thread, finding.times), ([3, 0, 0], 1));
    }
    ptx("mov.u64 %rd4, 0;\ndiv.s64 %rd5, %rd0, %rd4;").finds(Check::DivisionByZero, "div.s64");
}

#[test]
fn misuse_of_mbarriers() {
    ptx(".shared .align 8 .b64 bar;\nmbarrier.arrive.shared.b64 %rd4, [bar];")
        .run_has_one_of(&[Check::Mbarrier, Check::UninitialisedMemory]);
    ptx(".shared .align 8 .b64 bar;\nsetp.ne.u32 %p1, %r0, 0;\n@%p1 ret;\nmov.u64 %rd5, 0;\n\
         st.shared.u64 [bar], %rd5;\nmbarrier.arrive.shared.b64 %rd4, [bar];")
    .run_has_one_of(&[Check::Mbarrier]);
    ptx(".shared .align 8 .b64 bar;\nsetp.ne.u32 %p1, %r0, 0;\n@%p1 ret;\n\
         mbarrier.init.shared.b64 [bar], 0;")
    .run_has_one_of(&[Check::Mbarrier]);
}

#[test]
fn deadlocks() {
    // Two warps at barriers of which each waits for the other.
    ptx("setp.lt.u32 %p1, %r0, 32;\n@%p1 bra A;\nbarrier.sync 1, 64;\nret;\nA:\nbarrier.sync 2, 64;")
        .threads(64)
        .run_has_one_of(&[Check::Deadlock]);
    // A block that ends has arrived at the cluster's barrier, one that waits elsewhere has not.
    ptx("mov.u32 %r1, %cluster_ctarank;\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra CLUSTER;\n\
         setp.lt.u32 %p1, %r0, 32;\n@%p1 bra A;\nbarrier.sync 1, 64;\nret;\n\
         A:\nbarrier.sync 2, 64;\nret;\n\
         CLUSTER:\nbarrier.cluster.arrive;\nbarrier.cluster.wait;")
    .threads(64)
    .blocks(2)
    .cluster(2)
    .run_has_one_of(&[Check::Deadlock]);
}

#[test]
fn livelocks_and_endless_loops() {
    // Waits for what nobody writes.
    ptx("SPIN:\nld.volatile.global.u32 %r1, [%rd0];\nsetp.eq.u32 %p1, %r1, 0;\n@%p1 bra SPIN;")
        .budget(300_000)
        .run_has_one_of(&[Check::Livelock, Check::Budget]);
    ptx("SPIN:\nbra SPIN;").budget(300_000).run_has_one_of(&[Check::Livelock, Check::Budget]);
    // Has an effect in every turn, without an end.
    ptx("mov.u32 %r1, 0;\nMORE:\nadd.u32 %r1, %r1, 1;\nst.global.u32 [%rd2], %r1;\nbra MORE;")
        .budget(100_000)
        .run_has_one_of(&[Check::Budget]);
    // The warps' turns end at the barrier, so that none comes to its full length.
    ptx("MORE:\nbar.sync 0;\nbra MORE;")
        .threads(64)
        .budget(100_000)
        .run_has_one_of(&[Check::Livelock, Check::Budget]);
    // A lock that is never given back.
    ptx("SPIN:\natom.global.cas.b32 %r1, [%rd0], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra SPIN;")
        .budget(300_000)
        .run_has_one_of(&[Check::Livelock, Check::Budget]);
}

#[test]
fn traps() {
    let finding = ptx("setp.ne.u32 %p1, %r0, 13;\n@%p1 ret;\ntrap;").finds(Check::Trap, "trap;");
    assert_eq!(finding.thread, [13, 0, 0]);
}

/// Source lines come from `.loc`; threads and blocks have three coordinates.
#[test]
fn findings_name_their_place() {
    let finding = ptx(".loc 1 42 7\nst.global.u32 [%rd0+4096], %r0;")
        .globals(".file 1 \"kernels/example.cu\"")
        .shape([1, 2, 1], [2, 3, 4])
        .finds(Check::OutOfBounds, "st.global.u32");
    assert_eq!(finding.source, Some(("kernels/example.cu".to_owned(), 42)));
    assert_eq!((finding.block, finding.thread), ([0; 3], [0; 3]));
    assert_eq!(finding.times, 48);
    assert_eq!(finding.instruction, "st.global.u32");
    let text = finding.to_string();
    for part in ["out-of-bounds", "kernels/example.cu:42", "in k", "(0, 0, 0)", "48 times"] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
}

/// A check that is off reports nothing; the required ones cannot be switched off.
#[test]
fn checks_are_a_choice() {
    let text = ptx("add.u32 %r1, %r0, %r7;\nst.global.u32 [%rd2+4], %r0;").text();
    let module = Module::parse("k.ptx", &text).expect("PTX");
    for (checks, expected) in [
        (Checks::ALL, vec![Check::UninitialisedRegister, Check::OutOfBounds]),
        (Checks::ALL.without(Check::UninitialisedRegister), vec![Check::OutOfBounds]),
        (Checks::required(), vec![Check::OutOfBounds]),
        (
            Checks::ALL.without(Check::OutOfBounds),
            vec![Check::UninitialisedRegister, Check::OutOfBounds],
        ),
    ] {
        let mut memory = Memory::new();
        let out = memory.zeroed("out", 128);
        let launch = Launch::new(&module, "k").expect("the entry").grid([1; 3]).block([32, 1, 1]);
        let launch = launch.arg(out.address()).arg(out.address()).checks(checks);
        let report = launch.run(&mut memory).expect("a run");
        let found: Vec<Check> = report.findings.iter().map(|f| f.check).collect();
        assert_eq!(found, expected);
    }
}

/// What is protected may be read, and is not changed by a store or an atomic operation, which are
/// reported.
#[test]
fn a_protected_buffer_is_only_read() {
    for (op, fault) in [
        ("ld.global.u32 %r2, [%rd1];", false),
        ("st.global.u32 [%rd1], %r1;", true),
        ("atom.global.add.u32 %r2, [%rd1], %r1;", true),
    ] {
        let text = format!(
            ".version 8.0\n.target sm_80\n.address_size 64\n\
             .visible .entry k(.param .u64 data)\n{{\n\
             .reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n\
             ld.param.u64 %rd1, [data];\nmov.u32 %r1, 7;\n{op}\nret;\n}}\n"
        );
        let module = Module::parse("protected.ptx", &text).unwrap();
        let mut memory = Memory::new();
        let data = memory.upload("weights", &[3u32, 4]);
        memory.protect(&data);
        let launch = Launch::new(&module, "k").unwrap().grid([2, 1, 1]).arg(data.address());
        let report = launch.run(&mut memory).unwrap();
        assert_eq!(!report.is_clean(), fault, "{op}");
        assert!(
            report.findings.iter().all(|f| f.to_string().contains("weights, which is read-only")),
            "{:?}",
            report.findings
        );
        assert_eq!(memory.download::<u32>(&data), [3, 4], "{op}");
    }
}

/// In a launch that may begin while the one before it runs, a thread that has not waited only reads
/// what is protected, and does not end.
#[test]
fn a_dependent_launch_waits_before_it_touches_what_others_write() {
    let copy = "cp.async.ca.shared.global [tile], [%rd2], 4;\ncp.async.wait_all;";
    for (body, wrong) in [
        ("ld.global.u32 %r1, [%rd1];\ngriddepcontrol.wait;\nst.global.u32 [%rd2], %r1;", None),
        (
            "griddepcontrol.launch_dependents;\ngriddepcontrol.wait;\nst.global.u32 [%rd2], %r0;",
            None,
        ),
        ("griddepcontrol.wait;", None),
        ("ld.global.u32 %r1, [%rd2];\ngriddepcontrol.wait;", Some("ld.global.u32")),
        ("st.global.u32 [%rd2], %r0;\ngriddepcontrol.wait;", Some("st.global.u32")),
        ("atom.global.add.u32 %r1, [%rd2], 1;\ngriddepcontrol.wait;", Some("atom.global")),
        (&format!("{copy}\ngriddepcontrol.wait;"), Some("cp.async")),
        ("griddepcontrol.launch_dependents;", Some("ret")),
        // Half of the lanes.
        (
            "setp.lt.u32 %p1, %r0, 16;\n@%p1 griddepcontrol.wait;\nst.global.u32 [%rd2], %r0;",
            Some("st.global.u32"),
        ),
        ("setp.lt.u32 %p1, %r0, 16;\n@%p1 griddepcontrol.wait;", Some("ret")),
    ] {
        let text = format!(
            ".version 8.0\n.target sm_90\n.address_size 64\n\
             .visible .entry k(.param .u64 weights, .param .u64 data)\n{{\n\
             .reg .b32 %r<4>;\n.reg .b64 %rd<4>;\n.reg .pred %p<2>;\n.shared .align 4 .b8 tile[4];\n\
             ld.param.u64 %rd1, [weights];\nld.param.u64 %rd2, [data];\nmov.u32 %r0, %tid.x;\n\
             mul.wide.u32 %rd3, %r0, 4;\nadd.s64 %rd2, %rd2, %rd3;\n{body}\nret;\n}}\n"
        );
        let module = Module::parse("dependent.ptx", &text).unwrap();
        for dependent in [true, false] {
            let mut memory = Memory::new();
            let weights = memory.upload("weights", &[3u32, 4]);
            memory.protect(&weights);
            let data = memory.zeroed("data", 128);
            let launch = Launch::new(&module, "k").unwrap().block([32, 1, 1]).dependent(dependent);
            let launch = launch.arg(weights.address()).arg(data.address());
            // Lanes that copy to one place race, which is not what is looked for.
            let report = launch
                .checks(Checks::required().with(Check::DependentLaunch))
                .run(&mut memory)
                .unwrap();
            let found: Vec<_> = report.findings.iter().map(|f| f.instruction.as_str()).collect();
            match wrong.filter(|_| dependent) {
                Some(instruction) => {
                    assert!(found.iter().any(|f| f.starts_with(instruction)), "{body}: {found:?}");
                    assert!(report.findings.iter().all(|f| f.check == Check::DependentLaunch));
                }
                None => assert!(report.is_clean(), "{body}: {:?}", report.findings),
            }
        }
    }
}
