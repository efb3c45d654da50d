//! Branches, calls, predication, divergence, exits, special registers.

use super::{lanes, ptx};

#[test]
fn indexed_branches() {
    let found: Vec<u32> =
        ptx("and.b32 %r1, %r0, 3;\nTABLE: .branchtargets A, B, C, A;\nbrx.idx %r1, TABLE;\n\
         A:\nmov.u32 %r2, 10;\nbra DONE;\nB:\nmov.u32 %r2, 20;\nbra DONE;\nC:\nmov.u32 %r2, 30;\n\
         DONE:\nst.global.u32 [%rd2], %r2;")
        .clean();
    assert_eq!(found, lanes(|i| [10, 20, 30, 10][i as usize % 4]));
}

#[test]
fn calls_of_functions() {
    let found: Vec<u32> = ptx("add.u32 %r1, %r0, 5;\nmov.u32 %r5, 999;\n\
         {\n.param .b32 first;\nst.param.b32 [first+0], %r1;\n.param .b32 second;\n\
         st.param.b32 [second+0], %r0;\n.param .b32 result;\n\
         call.uni (result), combine, (first, second);\nld.param.b32 %r2, [result+0];\n}\n\
         setp.lt.u32 %p1, %r0, 8;\n@%p1 call (%r3), square, (%r2);\n@!%p1 mov.u32 %r3, 1;\n\
         add.u32 %r3, %r3, %r5;\nst.global.u32 [%rd2], %r3;")
    .globals(
        ".func (.param .b32 result) combine(.param .b32 a, .param .b32 b)\n{\n.reg .b32 %r<8>;\n\
         .reg .pred %p<2>;\nld.param.u32 %r1, [a];\nld.param.u32 %r2, [b];\nmov.u32 %r5, 3;\n\
         setp.lt.u32 %p1, %r2, 4;\n@%p1 bra FEW;\nmad.lo.u32 %r3, %r1, %r5, %r2;\n\
         st.param.b32 [result+0], %r3;\nret;\nFEW:\nst.param.b32 [result+0], %r1;\nret;\n}\n\
         .func (.reg .b32 %out) square(.reg .b32 %x)\n{\nmul.lo.u32 %out, %x, %x;\nret;\n}",
    )
    .clean();
    assert_eq!(
        found,
        lanes(|i| {
            let combined = if i < 4 { i + 5 } else { (i + 5) * 3 + i };
            999 + if i < 8 { combined * combined } else { 1 }
        })
    );
}

/// Each kind of instruction under a predicate and under its negation: the other lanes keep
/// everything.
#[test]
fn predicated_instructions() {
    let found: Vec<u32> = ptx(
        ".shared .align 4 .b8 tile[128];\nmov.u32 %r9, tile; mad.lo.u32 %r9, %r0, 4, %r9;\n\
         st.shared.u32 [%r9], 1;\nand.b32 %r1, %r0, 1;\nsetp.eq.u32 %p1, %r1, 1;\nmov.u32 %r2, 100;\n\
         mov.u32 %r3, 7; mov.u64 %rd5, 11; setp.ne.u32 %p3, %r0, %r0;\n\
         @%p1 add.u32 %r2, %r2, %r0;\n@!%p1 mul.lo.u32 %r2, %r2, 2;\n\
         @%p1 ld.global.u32 %r3, [%rd3];\n@!%p1 mov.u64 %rd5, 12;\n@%p1 setp.eq.u32 %p3, %r0, %r0;\n\
         @%p1 st.shared.u32 [%r9], 5;\n@!%p1 atom.shared.add.u32 %r4, [%r9], 3;\n\
         @%p1 mov.u32 %r4, 0;\n@%p1 cvt.u16.u32 %h1, %r0;\n@!%p1 mov.u16 %h1, 9;\n\
         ld.shared.u32 %r5, [%r9];\ncvt.u32.u64 %r6, %rd5;\nselp.u32 %r7, 1000, 0, %p3;\n\
         cvt.u32.u16 %r8, %h1;\nadd.u32 %r2, %r2, %r3; add.u32 %r2, %r2, %r4; add.u32 %r2, %r2, %r5;\n\
         add.u32 %r2, %r2, %r6; add.u32 %r2, %r2, %r7; add.u32 %r2, %r2, %r8;\n\
         st.global.u32 [%rd2], 0;\n@%p1 st.global.u32 [%rd2], %r2;\n@%p1 ret;\nadd.u32 %r2, %r2, 1;\n\
         st.global.u32 [%rd2], %r2;",
    )
    .input(&lanes(|i| i * 10_000))
    .clean();
    assert_eq!(
        found,
        lanes(|i| match i % 2 {
            1 => (100 + i) + i * 10_000 + 5 + 11 + 1000 + i,
            _ => 200 + 7 + 1 + 4 + 12 + 9 + 1,
        })
    );
}

/// Loops of a length of their own in each lane, branches within.
#[test]
fn divergence() {
    let body = "mov.u32 %r1, 0; mov.u32 %r2, 0;\nLOOP:\nsetp.ge.u32 %p1, %r1, %r0;\n@%p1 bra DONE;\n\
         and.b32 %r3, %r1, 1;\nsetp.eq.u32 %p2, %r3, 0;\n@%p2 bra EVEN;\n\
         setp.gt.u32 %p3, %r1, 10;\n@%p3 bra MORE;\nadd.u32 %r2, %r2, 100;\nbra NEXT;\n\
         MORE:\nadd.u32 %r2, %r2, 1000;\nbra NEXT;\nEVEN:\nadd.u32 %r2, %r2, 1;\n\
         NEXT:\nadd.u32 %r1, %r1, 1;\nbra LOOP;\nDONE:\nst.global.u32 [%rd2], %r2;";
    let expected = lanes(|i| {
        (0..i)
            .map(|j| {
                if j % 2 == 0 {
                    1
                } else if j > 10 {
                    1000
                } else {
                    100
                }
            })
            .sum::<u32>()
    });
    assert_eq!(ptx(body).clean::<u32>(), expected);
    for seed in 0..5 {
        assert_eq!(ptx(body).adversarial(seed).clean::<u32>(), expected, "seed {seed}");
    }
}

/// After the branches have met the whole warp executes together: `activemask` and a full `shfl` say
/// so.
#[test]
fn reconvergence() {
    let outcome = ptx(
        "mov.u32 %r1, 1;\nsetp.lt.u32 %p1, %r0, 5;\n@%p1 bra A;\nadd.u32 %r1, %r1, 1;\nbra B;\n\
         A:\nadd.u32 %r1, %r1, 2;\nB:\nactivemask.b32 %r2;\n\
         shfl.sync.idx.b32 %r3, %r1, 0, 31, -1;\nadd.u32 %r2, %r2, %r3;\nst.global.u32 [%rd2], %r2;",
    )
    .run();
    assert!(outcome.report.is_clean());
    assert_eq!(outcome.output::<u32>(), lanes(|_| u32::MAX.wrapping_add(3)));
    assert_eq!(outcome.report.counters.divergent_branches, 1);
}

/// Where a part of the way lies behind its end, as compilers place what is rare, lanes that are
/// there first wait for those that come back.
#[test]
fn lanes_wait_where_they_meet() {
    // Each lane of a row goes round four times; the odd ones by a way behind the loop.
    let body = "mov.u32 %r1, 0; mov.u32 %r2, 0;\nand.b32 %r3, %r0, 1;\nsetp.eq.u32 %p1, %r3, 1;\n\
         LOOP:\n@%p1 bra FAR;\nBACK:\nactivemask.b32 %r4;\npopc.b32 %r4, %r4;\n\
         add.u32 %r2, %r2, %r4;\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p2, %r1, 4;\n@%p2 bra LOOP;\n\
         st.global.u32 [%rd2], %r2;\nret;\nFAR:\nmov.u32 %r5, %r1;\nbra BACK;";
    let outcome = ptx(body).run();
    assert!(outcome.report.is_clean());
    assert_eq!(outcome.output::<u32>(), lanes(|_| 4 * 32));
    // Six before the body, four of its own; four rounds of seven, two more behind; two at the end.
    let counters = outcome.report.counters;
    assert_eq!(counters.instructions, 6 + 4 + 4 * (7 + 2) + 2);
    assert_eq!(counters.divergent_branches, 4);
    // Half of the lanes take the first branch each time, and all the second but the last time.
    let expected = 32 * (6 + 4 + 4 * 5 + 2) + 4 * 16 + 3 * 32 + 16 * 4 * 2;
    assert_eq!(counters.lane_instructions, expected);
    // Branches within branches, of three kinds of lanes.
    let body = "and.b32 %r3, %r0, 3;\nsetp.eq.u32 %p1, %r3, 1;\nsetp.lt.u32 %p2, %r3, 2;\nmov.u32 %r5, 7;\n\
         @%p2 bra FAR;\nOUTER:\nactivemask.b32 %r4;\nst.global.u32 [%rd2], %r4;\nret;\n\
         FAR:\n@%p1 bra FARTHER;\nINNER:\nactivemask.b32 %r5;\nbra OUTER;\n\
         FARTHER:\nmov.u32 %r6, 1;\nbra INNER;";
    assert_eq!(ptx(body).clean::<u32>(), lanes(|_| u32::MAX));
    let inner = body.replace("[%rd2], %r4", "[%rd2], %r5");
    let pairs = lanes(|i| if i % 4 < 2 { 0x3333_3333 } else { 7 });
    assert_eq!(ptx(&inner).clean::<u32>(), pairs);
}

/// Who waits at a meeting point goes on where the others cannot come without them.
#[test]
fn nobody_is_waited_for_in_vain() {
    // Lane 0 waits in a loop, ahead of where the lanes meet, for what lane 1 writes behind it.
    for order in ["ne", "eq"] {
        let body = format!(
            "setp.{order}.u32 %p1, %r0, 0;\n@%p1 bra {};\n{}bra MEET;\n{}MEET:\n\
             setp.eq.u32 %p2, %r0, 1;\n@%p2 st.relaxed.gpu.global.u32 [%rd0+128], %r0;\n\
             st.global.u32 [%rd2], %r0;",
            if order == "ne" { "MEET" } else { "SPIN" },
            if order == "ne" {
                "SPIN:\nld.relaxed.gpu.global.u32 %r2, [%rd0+128];\n\
                               setp.eq.u32 %p3, %r2, 0;\n@%p3 bra SPIN;\n"
            } else {
                ""
            },
            if order == "eq" {
                "SPIN:\nld.relaxed.gpu.global.u32 %r2, [%rd0+128];\n\
                               setp.eq.u32 %p3, %r2, 0;\n@%p3 bra SPIN;\n"
            } else {
                ""
            },
        );
        let found = ptx(&body).out_bytes(256).clean::<u32>();
        assert_eq!(found[..33], [lanes(|i| i), vec![1]].concat(), "{order}");
        // A small budget has less patience, and a loop that counts has effects all the time.
        assert_eq!(ptx(&body).out_bytes(256).budget(20_000).clean::<u32>(), found);
        let busy = body.replace("SPIN:\n", "SPIN:\nred.global.add.u32 [%rd0+132], 1;\n");
        assert_eq!(ptx(&busy).out_bytes(256).clean::<u32>()[..33], found[..33], "{order}");
    }
    // Half of a warp ends; half of the rest ends on its way, and the last quarter has nobody to
    // wait for.
    let body = "setp.lt.u32 %p1, %r0, 16;\n@%p1 bra MEET;\nsetp.lt.u32 %p2, %r0, 24;\n@%p2 exit;\n\
         mov.u32 %r1, 1;\nMEET:\nactivemask.b32 %r2;\nst.global.u32 [%rd2], %r2;";
    let rest = lanes(|i| if (16..24).contains(&i) { 0 } else { 0xff00_ffff });
    assert_eq!(ptx(body).clean::<u32>(), rest);
    // Lanes wait for others at a barrier of the warp that lies behind the meeting point.
    let body = "setp.lt.u32 %p1, %r0, 16;\n@%p1 bra MEET;\nbar.warp.sync -1;\nbra END;\nMEET:\n\
         bar.warp.sync -1;\nEND:\nst.global.u32 [%rd2], %r0;";
    assert_eq!(ptx(body).clean::<u32>(), lanes(|i| i));
    // And at one that is on the way: lanes that are there are let go to it.
    let body = "setp.lt.u32 %p1, %r0, 16;\n@%p1 bra MEET;\nbar.warp.sync -1;\nMEET:\n\
         add.u32 %r1, %r0, 1;\nsetp.ge.u32 %p2, %r0, 16;\n@%p2 bra END;\nbar.warp.sync -1;\nEND:\n\
         st.global.u32 [%rd2], %r1;";
    assert_eq!(ptx(body).clean::<u32>(), lanes(|i| i + 1));
}

/// Lanes that have ended are not waited for.
#[test]
fn ended_lanes_are_not_waited_for() {
    let found: Vec<u32> = ptx("setp.gt.u32 %p1, %r0, 11;\n@%p1 exit;\nmov.u32 %r1, 5;\n\
         vote.sync.ballot.b32 %r2, %p1, 0xfff;\nactivemask.b32 %r3;\nbar.sync 0;\n\
         st.global.u32 [%rd2], %r3;")
    .clean();
    assert_eq!(found, lanes(|i| if i < 12 { 0xfff } else { 0 }));
}

/// A lock that lanes of one warp take in turn: each must go on while others wait, as on Volta and
/// later.
#[test]
fn lanes_make_progress_by_themselves() {
    let body = "SPIN:\natom.acquire.gpu.global.cas.b32 %r1, [%rd0], 0, 1;\nsetp.ne.u32 %p1, %r1, 0;\n\
         @%p1 bra SPIN;\nld.global.u32 %r2, [%rd0+4];\nmad.lo.u32 %r2, %r2, 1, 3;\n\
         st.global.u32 [%rd0+4], %r2;\natom.release.gpu.global.exch.b32 %r3, [%rd0], 0;";
    for seed in 0..3 {
        let found: Vec<u32> =
            ptx(body).threads(64).blocks(2).out_bytes(8).adversarial(seed).clean();
        assert_eq!(found, [0, 3 * 128]);
    }
    assert_eq!(ptx(body).threads(64).blocks(2).out_bytes(8).clean::<u32>(), [0, 3 * 128]);
}

/// Blocks of a cooperative launch wait for one another.
#[test]
fn blocks_of_a_cooperative_launch_run_together() {
    let found: Vec<u32> = ptx(
        "mov.u32 %r1, %nctaid.x;\nbar.sync 0;\nsetp.ne.u32 %p1, %r0, 0;\n@%p1 bra MEET;\n\
         red.release.gpu.global.add.u32 [%rd0], 1;\n\
         SPIN:\nld.acquire.gpu.global.u32 %r2, [%rd0];\nsetp.lt.u32 %p2, %r2, %r1;\n@%p2 bra SPIN;\n\
         MEET:\nbar.sync 0;\nmov.u32 %r3, %ctaid.x;\nmul.wide.u32 %rd4, %r3, 4;\n\
         add.u64 %rd4, %rd0, %rd4;\n@!%p1 st.global.u32 [%rd4+4], %r3;",
    )
    .threads(64)
    .blocks(6)
    .cooperative()
    .out_bytes(28)
    .clean();
    assert_eq!(found, [6, 0, 1, 2, 3, 4, 5]);
}

#[test]
fn places_of_threads() {
    let names = [
        "tid.x", "tid.y", "tid.z", "ntid.x", "ntid.y", "ntid.z", "ctaid.x", "ctaid.y", "ctaid.z",
        "nctaid.x", "nctaid.y", "nctaid.z",
    ];
    let (blocks, threads) = ([3u32, 2, 2], [5u32, 3, 2]);
    // Row: block and thread in the order of x, then y, then z.
    let mut body = String::from(
        "mov.u32 %r1, %tid.y; mov.u32 %r2, %tid.z; mad.lo.u32 %r1, %r2, 3, %r1;\n\
         mad.lo.u32 %r1, %r1, 5, %r0;\nmov.u32 %r2, %ctaid.x; mov.u32 %r3, %ctaid.y;\n\
         mov.u32 %r4, %ctaid.z; mad.lo.u32 %r3, %r4, 2, %r3; mad.lo.u32 %r2, %r3, 3, %r2;\n\
         mad.lo.u32 %r1, %r2, 30, %r1;\nmul.wide.u32 %rd4, %r1, 64; add.u64 %rd4, %rd0, %rd4;\n",
    );
    for (i, name) in names.iter().enumerate() {
        body += &format!("mov.u32 %r5, %{name};\nst.global.u32 [%rd4+{}], %r5;\n", 4 * i);
    }
    body += "mov.u32 %r5, %laneid;\nst.global.u32 [%rd4+48], %r5;\n\
             mov.u32 %r5, %nwarpid;\nmov.u32 %r5, %warpid;\nst.global.u32 [%rd4+52], %r5;\n";
    let found: Vec<u32> = ptx(&body).shape(blocks, threads).out_bytes(12 * 30 * 64).clean();
    for (row, found) in (0..).zip(found.chunks(16)) {
        let place = |i: u32, [x, y, _]: [u32; 3]| [i % x, i / x % y, i / x / y];
        let thread = row % 30;
        let expected = [place(thread, threads), threads, place(row / 30, blocks), blocks].concat();
        assert_eq!(found[..12], expected, "row {row}");
        assert_eq!(found[12..14], [thread % 32, thread / 32], "row {row}");
    }
}

#[test]
fn masks_of_lanes() {
    for (name, expected) in [
        ("eq", lanes(|i| 1 << i)),
        ("lt", lanes(|i| (1 << i) - 1)),
        ("le", lanes(|i| u32::MAX >> (31 - i))),
        ("ge", lanes(|i| u32::MAX << i)),
        ("gt", lanes(|i| (u64::from(u32::MAX) << (i + 1)) as u32)),
    ] {
        let body = format!("mov.u32 %r1, %lanemask_{name};\nst.global.u32 [%rd2], %r1;");
        assert_eq!(ptx(&body).clean::<u32>(), expected, "%lanemask_{name}");
    }
}

#[test]
fn clocks_do_not_run_backwards() {
    let found: Vec<u32> = ptx(
        "mov.u32 %r1, %clock;\nmov.u64 %rd4, %clock64;\nmov.u64 %rd6, %globaltimer;\nmov.u32 %r3, 0;\n\
         WAIT:\nadd.u32 %r3, %r3, 1;\nsetp.lt.u32 %p1, %r3, 50;\n@%p1 bra WAIT;\n\
         mov.u32 %r2, %clock;\nmov.u64 %rd5, %clock64;\nsub.u32 %r2, %r2, %r1;\n\
         setp.gt.u64 %p2, %rd5, %rd4;\nsetp.gt.u32 %p3, %r2, 0;\nand.pred %p2, %p2, %p3;\n\
         selp.u32 %r3, 1, 0, %p2;\nst.global.u32 [%rd2], %r3;",
    )
    .clean();
    assert_eq!(found, lanes(|_| 1));
}

/// Hints do nothing, `nanosleep` only gives others a turn.
#[test]
fn hints() {
    let found: Vec<u32> = ptx(
        "prefetch.global.L1 [%rd1];\nprefetch.global.L2 [%rd1];\nprefetchu.L1 [%rd1];\nnanosleep.u32 20;\n\
         griddepcontrol.launch_dependents;\ngriddepcontrol.wait;\nst.global.u32 [%rd2], %r0;",
    )
    .input(&[0u32])
    .clean();
    assert_eq!(found, lanes(|i| i));
}
