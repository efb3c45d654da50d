//! `bar`, `barrier`, `bar.warp.sync`, fences, and `mbarrier`.

use super::{lanes, ptx};

/// Each warp reads what the next one wrote.
const ROTATE: &str = "add.u32 %r3, %r0, 32; and.b32 %r3, %r3, 127; shl.b32 %r3, %r3, 2;\n\
     add.u32 %r3, %r1, %r3;\nld.shared.u32 %r4, [%r3];\nst.global.u32 [%rd2], %r4;";

const WRITE: &str = ".shared .align 4 .b8 tile[512];\nmov.u32 %r1, tile;\n\
     mad.lo.u32 %r2, %r0, 4, %r1;\nst.shared.u32 [%r2], %r0;\n";

fn rotated() -> Vec<u32> {
    (0..128).map(|i| (i + 32) % 128).collect()
}

#[test]
fn every_form_of_a_barrier_of_the_block() {
    for barrier in [
        "bar.sync 0;",
        "bar.sync 15;",
        "bar.sync 3, 128;",
        "barrier.sync 1;",
        "barrier.sync.aligned 2, 128;",
        "mov.u32 %r9, 5; bar.sync %r9;",
        "mov.u32 %r9, 5; mov.u32 %r10, 128; barrier.sync %r9, %r10;",
        "setp.eq.u32 %p1, %r0, %r0; bar.red.and.pred %p2, 0, %p1;",
        "setp.eq.u32 %p1, %r0, %r0; bar.red.popc.u32 %r9, 0, %p1;",
    ] {
        let body = format!("{WRITE}{barrier}\n{ROTATE}");
        let found: Vec<u32> = ptx(&body).threads(128).out_bytes(512).clean();
        assert_eq!(found, rotated(), "{barrier}");
        for seed in 0..3 {
            let found: Vec<u32> = ptx(&body).threads(128).out_bytes(512).adversarial(seed).clean();
            assert_eq!(found, rotated(), "{barrier} with seed {seed}");
        }
    }
}

/// A barrier that is reached by the lanes of a warp at different places: `.aligned` is not
/// promised.
#[test]
fn unaligned_barriers_meet_from_both_sides() {
    let body = format!(
        "{WRITE}and.b32 %r5, %r0, 1;\nsetp.ne.u32 %p1, %r5, 0;\n@%p1 bra ODD;\n\
         barrier.sync 4, 128;\nbra JOIN;\nODD:\nbarrier.sync 4, 128;\nJOIN:\n{ROTATE}"
    );
    assert_eq!(ptx(&body).threads(128).out_bytes(512).clean::<u32>(), rotated());
}

#[test]
fn reductions() {
    let found: Vec<u32> = ptx(
        "setp.lt.u32 %p1, %r0, 5;\nbar.red.popc.u32 %r1, 0, %p1;\nbar.red.popc.u32 %r2, 1, !%p1;\n\
         bar.red.and.pred %p2, 0, %p1;\nbar.red.or.pred %p3, 0, %p1;\n\
         barrier.red.or.pred %p4, 2, 96, !%p1;\nselp.u32 %r3, 1, 0, %p2;\nselp.u32 %r4, 2, 0, %p3;\n\
         selp.u32 %r5, 4, 0, %p4;\nor.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5;\n\
         shl.b32 %r1, %r1, 16; shl.b32 %r2, %r2, 8; or.b32 %r3, %r3, %r1; or.b32 %r3, %r3, %r2;\n\
         st.global.u32 [%rd2], %r3;",
    )
    .threads(96)
    .out_bytes(384)
    .clean();
    assert_eq!(found, vec![5 << 16 | 91 << 8 | 2 | 4; 96]);
}

/// The first two warps make what the others take, by barriers of a part of the block: `bar.arrive`
/// does not wait.
#[test]
fn producers_and_consumers() {
    let body = ".shared .align 4 .b8 tile[256];\nmov.u32 %r1, tile;\nand.b32 %r2, %r0, 63;\n\
         mad.lo.u32 %r2, %r2, 4, %r1;\nsetp.gt.u32 %p1, %r0, 63;\nmov.u32 %r5, 0;\n\
         @%p1 bra CONSUMER;\n\
         PRODUCE:\nmad.lo.u32 %r6, %r5, 100, %r0;\nst.shared.u32 [%r2], %r6;\nbar.arrive 1, 128;\n\
         bar.sync 2, 128;\nadd.u32 %r5, %r5, 1;\nsetp.lt.u32 %p2, %r5, 3;\n@%p2 bra PRODUCE;\nret;\n\
         CONSUMER:\nsub.u32 %r7, 127, %r0; mad.lo.u32 %r7, %r7, 4, %r1;\nmov.u32 %r8, 0;\n\
         CONSUME:\nbar.sync 1, 128;\nld.shared.u32 %r6, [%r7];\nadd.u32 %r8, %r8, %r6;\n\
         bar.arrive 2, 128;\nadd.u32 %r5, %r5, 1;\nsetp.lt.u32 %p2, %r5, 3;\n@%p2 bra CONSUME;\n\
         st.global.u32 [%rd2], %r8;";
    for seed in 0..4 {
        let found: Vec<u32> = ptx(body).threads(128).out_bytes(512).adversarial(seed).clean();
        let expected: Vec<u32> =
            (0..128).map(|i| if i < 64 { 0 } else { 300 + 3 * (127 - i) }).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn warps_of_one_warp_barrier() {
    let found: Vec<u32> =
        ptx(".shared .align 4 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;\n\
         st.shared.u32 [%r2], %r0;\nbar.warp.sync -1;\nxor.b32 %r3, %r0, 7;\n\
         mad.lo.u32 %r3, %r3, 4, %r1;\nld.shared.u32 %r4, [%r3];\nbar.warp.sync 0xffffffff;\n\
         st.shared.u32 [%r3], %r4;\nst.global.u32 [%rd2], %r4;")
        .clean();
    assert_eq!(found, lanes(|i| i ^ 7));
}

/// Halves of a warp at barriers of their own.
#[test]
fn parts_of_a_warp_barrier() {
    let found: Vec<u32> =
        ptx(".shared .align 4 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;\n\
         st.shared.u32 [%r2], %r0;\nxor.b32 %r3, %r0, 3; mad.lo.u32 %r3, %r3, 4, %r1;\n\
         setp.lt.u32 %p1, %r0, 16;\n@%p1 bra LOW;\nbar.warp.sync 0xffff0000;\nbra READ;\n\
         LOW:\nbar.warp.sync 0xffff;\nREAD:\nld.shared.u32 %r4, [%r3];\nst.global.u32 [%rd2], %r4;")
        .clean();
    assert_eq!(found, lanes(|i| i ^ 3));
}

/// Message passing between blocks: data, fence, flag; flag, fence, data.
#[test]
fn fences_order_blocks() {
    for fence in
        ["membar.gl;", "fence.acq_rel.gpu;", "fence.sc.gpu;", "fence.acq_rel.sys;", "membar.sys;"]
    {
        let body = format!(
            "mov.u32 %r1, %ctaid.x;\nsetp.ne.u32 %p1, %r1, 0;\n@%p1 bra READER;\n\
             st.global.u32 [%rd2+4], %r0;\n{fence}\nbar.warp.sync -1;\n\
             setp.ne.u32 %p2, %r0, 0;\n@%p2 ret;\n{fence}\nst.relaxed.gpu.global.u32 [%rd0], 1;\nret;\n\
             READER:\nld.relaxed.gpu.global.u32 %r2, [%rd0];\nsetp.eq.u32 %p2, %r2, 0;\n@%p2 bra READER;\n\
             {fence}\nld.global.u32 %r3, [%rd2+4];\nst.global.u32 [%rd2+132], %r3;"
        );
        let found: Vec<u32> = ptx(&body).blocks(2).cooperative().out_bytes(260).clean();
        assert_eq!(found[0], 1);
        assert_eq!(found[33..], lanes(|i| i), "{fence}");
    }
}

/// The last block to arrive adds up what all have written, as single-pass reductions do.
#[test]
fn the_last_block_sees_all() {
    let found: Vec<u32> =
        ptx("mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd0, %rd4;\n\
         setp.ne.u32 %p1, %r0, 0;\n@%p1 ret;\nadd.u32 %r2, %r1, 10;\nst.global.u32 [%rd4+8], %r2;\n\
         membar.gl;\natom.global.add.u32 %r3, [%rd0], 1;\nsetp.ne.u32 %p2, %r3, 7;\n@%p2 ret;\n\
         membar.gl;\nmov.u32 %r4, 0; mov.u32 %r5, 0;\nSUM:\nld.global.u32 %r6, [%rd0+8];\n\
         add.u32 %r4, %r4, %r6;\nadd.u64 %rd0, %rd0, 4;\nadd.u32 %r5, %r5, 1;\n\
         setp.lt.u32 %p3, %r5, 8;\n@%p3 bra SUM;\nst.global.u32 [%rd0+-28], %r4;")
        .blocks(8)
        .out_bytes(40)
        .clean();
    assert_eq!((found[0], found[1]), (8, (0..8).map(|i| i + 10).sum()));
}

/// All threads arrive and wait for the phase; then they read what others wrote.
#[test]
fn mbarriers_count_arrivals() {
    for (arrive, wait) in [
        (
            "mbarrier.arrive.shared.b64 %rd5, [bar];",
            "mbarrier.test_wait.shared.b64 %p1, [bar], %rd5;",
        ),
        (
            "mbarrier.arrive.shared::cta.b64 %rd5, [bar];",
            "mbarrier.try_wait.shared::cta.b64 %p1, [bar], %rd5;",
        ),
        (
            "mbarrier.arrive.release.cta.shared::cta.b64 %rd5, [bar];",
            "mbarrier.test_wait.acquire.cta.shared::cta.b64 %p1, [bar], %rd5;",
        ),
        (
            "mbarrier.arrive.shared.b64 _, [bar];",
            "mbarrier.try_wait.parity.shared.b64 %p1, [bar], 0;",
        ),
        (
            "mbarrier.arrive.shared.b64 %rd5, [bar], 1;",
            "mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0;",
        ),
    ] {
        let body = format!(
            ".shared .align 8 .b64 bar;\n{WRITE}setp.ne.u32 %p2, %r0, 0;\n\
             @!%p2 mbarrier.init.shared.b64 [bar], 128;\nbar.sync 0;\n\
             {arrive}\nWAIT:\n{wait}\n@!%p1 bra WAIT;\n{ROTATE}"
        );
        for seed in 0..3 {
            // The write to the tile lies before bar.sync too; what counts here is the waiting.
            let found: Vec<u32> = ptx(&body).threads(128).out_bytes(512).adversarial(seed).clean();
            assert_eq!(found, rotated(), "{arrive} {wait}");
        }
    }
}

/// The write after the barrier that made the `mbarrier` visible is ordered by the `mbarrier` alone.
#[test]
fn mbarriers_order_memory() {
    let body = ".shared .align 8 .b64 bar;\n.shared .align 4 .b8 tile[512];\nmov.u32 %r1, tile;\n\
         setp.ne.u32 %p2, %r0, 0;\n@!%p2 mbarrier.init.shared.b64 [bar], 128;\nbar.sync 0;\n\
         mad.lo.u32 %r2, %r0, 4, %r1;\nst.shared.u32 [%r2], %r0;\n\
         mbarrier.arrive.shared.b64 %rd5, [bar];\nWAIT:\n\
         mbarrier.try_wait.shared.b64 %p1, [bar], %rd5;\n@!%p1 bra WAIT;\n";
    let body = format!("{body}{ROTATE}");
    assert_eq!(ptx(&body).threads(128).out_bytes(512).clean::<u32>(), rotated());
}

/// Phases alternate; `arrive_drop` takes one off the count of the phases that follow; pending
/// counts are in the state.
#[test]
fn mbarrier_phases() {
    let found: Vec<u32> = ptx(
        ".shared .align 8 .b64 bar;\nsetp.ne.u32 %p2, %r0, 0;\n@%p2 ret;\n\
         mbarrier.init.shared.b64 [bar], 3;\nmbarrier.arrive.shared.b64 %rd4, [bar];\n\
         mbarrier.pending_count.b64 %r1, %rd4;\nst.global.u32 [%rd0], %r1;\n\
         mbarrier.arrive.shared.b64 %rd5, [bar];\nmbarrier.pending_count.b64 %r1, %rd5;\n\
         st.global.u32 [%rd0+4], %r1;\nmbarrier.test_wait.shared.b64 %p1, [bar], %rd4;\n\
         selp.u32 %r1, 1, 0, %p1;\nst.global.u32 [%rd0+8], %r1;\n\
         mbarrier.arrive_drop.shared.b64 %rd6, [bar];\nmbarrier.test_wait.shared.b64 %p1, [bar], %rd4;\n\
         selp.u32 %r1, 1, 0, %p1;\nst.global.u32 [%rd0+12], %r1;\n\
         mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0;\nselp.u32 %r1, 1, 0, %p1;\n\
         st.global.u32 [%rd0+16], %r1;\nmbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;\n\
         selp.u32 %r1, 1, 0, %p1;\nst.global.u32 [%rd0+20], %r1;\n\
         mbarrier.arrive.shared.b64 %rd7, [bar], 2;\nmbarrier.test_wait.shared.b64 %p1, [bar], %rd7;\n\
         selp.u32 %r1, 1, 0, %p1;\nst.global.u32 [%rd0+24], %r1;\n\
         mbarrier.test_wait.parity.shared.b64 %p1, [bar], 1;\nselp.u32 %r1, 1, 0, %p1;\n\
         st.global.u32 [%rd0+28], %r1;\nmbarrier.inval.shared.b64 [bar];",
    )
    .out_bytes(32)
    .clean();
    // The state is the one before the arrival: 3 pending, then 2. Phase 0 ends with the third
    // arrival, which leaves two participants; both arrive at once. A parity asks for the phase
    // before the current one too.
    assert_eq!(found, [3, 2, 0, 1, 1, 0, 1, 1]);
}
