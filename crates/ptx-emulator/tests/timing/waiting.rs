//! Barriers, asynchronous copies, and the wait for the launch before.

use super::{causes, is_whole, kernel};
use ptx_emulator::Cause;

const ZERO: &str = "mov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\n";
const FMA: &str = "fma.rn.f32 %f1, %f1, %f2, %f2;\n";

#[test]
fn a_barrier_waits_for_the_slowest_warp() {
    // The comparison is there at 5, where each warp begins the FMA that is its own and issues the
    // other in vain.
    let body = format!(
        "{ZERO}setp.ge.u32 %p1, %r0, 32;\n@%p1 fma.rn.f32 %f3, %f1, %f1, %f1;\n\
         @!%p1 fma.rn.f32 %f1, %f1, %f2, %f2;\n"
    );
    let body = format!("{body}bar.sync 0;\n{FMA}st.global.f32 [%rd3], %f1;");
    let timing = kernel(&body).threads(64).time();
    // setp at 0, FMAs at 5 and 6, the barrier at 7 in both warps, an FMA at 7 + 25 + 1, a store.
    assert_eq!(timing.cycles, 5.0 + 2.0 + 25.0 + 1.0 + 4.0 + 1.0);
    let expected =
        [(Cause::Issue, 2.0 + 1.0 + 1.0), (Cause::Arithmetic, 5.0 + 4.0), (Cause::Barrier, 25.0)];
    assert_eq!(causes(&timing), expected);
}

#[test]
fn unequal_warps_meet_at_the_later_ones_time() {
    // Warps part as wholes: the first has ten FMAs more. The branch is over at 5 + 10, where warp 0
    // goes on and warp 1 jumps; its FMAs begin at 6 (no lane took the branch), and each waits for
    // the one before.
    let more = FMA.repeat(10);
    let body = format!(
        "{ZERO}setp.ge.u32 %p1, %r0, 32;\n@%p1 bra MEET;\n{more}st.shared.f32 [tile], %f1;\n\
         MEET:\nbar.sync 0;\nst.global.f32 [%rd3], %f1;"
    );
    let timing = kernel(&body).threads(64).time();
    // setp until 5, the branch issues until 6, ten FMAs until 46, a store until 47: warp 0 comes
    // last, and both go on at 72.
    assert_eq!(timing.cycles, 5.0 + 1.0 + 40.0 + 1.0 + 25.0 + 1.0 + 1.0);
    let barrier = timing.path.iter().find(|part| part.cause == Cause::Barrier).unwrap();
    assert_eq!(barrier.cycles, 25.0);
    // Alone, the second warp would be done sooner: branch until 15, barrier, store.
    let alone = body.replace(&more, "");
    assert_eq!(kernel(&alone).threads(64).cycles(), 15.0 + 25.0 + 1.0 + 1.0);
}

#[test]
fn copies_are_waited_for_where_the_warp_waits() {
    let copy = |offset: u32| {
        format!(
            "cp.async.cg.shared.global [%r2+{offset}], [%rd4+{offset}], 16;\ncp.async.commit_group;\n"
        )
    };
    let begin = "mul.wide.u32 %rd4, %r0, 16;\nadd.u64 %rd4, %rd0, %rd4;\nshl.b32 %r1, %r0, 4;\n\
                 mov.u32 %r2, tile;\nadd.u32 %r2, %r2, %r1;\n";
    let end = "ld.shared.u32 %r3, [%r2];\nst.global.u32 [%rd3], %r3;";
    // Copy at 0, there at 290; commit at 1, the wait at 2 ends at 290, a load of shared memory with
    // a lane's 16 bytes apart: four lanes to a bank, 3 conflicts.
    let body = format!("{begin}{}cp.async.wait_group 0;\n{end}", copy(0));
    let timing = kernel(&body).time();
    assert_eq!(timing.cycles, 290.0 + 33.0 + 1.0);
    let expected = [(Cause::Issue, 1.0), (Cause::Shared, 33.0), (Cause::Copy, 290.0)];
    assert_eq!(causes(&timing), expected);
    assert_eq!(timing.traffic.l2_read_sectors, 16);
    // Two groups: the second begins at 2. Waiting for all but one, only the first counts.
    let two = format!("{begin}{}{}", copy(0), copy(512));
    let one_left = format!("{two}cp.async.wait_group 1;\n{end}\ncp.async.wait_all;");
    let none_left = format!("{two}cp.async.wait_all;\n{end}");
    // Until 290, 323 and 324; the wait for all begins there, and nothing is left to wait for.
    assert_eq!(kernel(&one_left).cycles(), 290.0 + 33.0 + 1.0 + 1.0);
    assert_eq!(kernel(&none_left).cycles(), 292.0 + 33.0 + 1.0);
    // What is not waited for costs nothing but slots.
    let body = format!("{begin}{}st.global.u32 [%rd3], %r0;", copy(0));
    assert_eq!(kernel(&body).cycles(), 3.0);
    // Through L1, the second copy of the same bytes is near.
    let near = format!("{begin}{}cp.async.wait_all;\n{0}cp.async.wait_all;", copy(0))
        .replace(".cg", ".ca");
    let timing = kernel(&near).time();
    assert_eq!(timing.cycles, 290.0 + 40.0);
    assert_eq!((timing.traffic.l1_sectors, timing.traffic.l1_hits), (32, 16));
}

#[test]
fn the_wait_for_the_launch_before_parts_hidden_from_not_hidden() {
    let body = format!(
        "ld.global.cg.f32 %f1, [%rd2];\ngriddepcontrol.wait;\nmov.f32 %f2, %f1;\n{FMA}\
         st.global.f32 [%rd3], %f1;"
    );
    // Not dependent: load until 290, FMA until 294, store.
    let timing = kernel(&body).time();
    assert_eq!((timing.cycles, timing.hidden_cycles), (295.0, 0.0));
    // Dependent: the load is hidden with all that it takes.
    let timing = kernel(&body).dependent().time();
    assert_eq!((timing.cycles, timing.hidden_cycles), (5.0, 290.0));
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Arithmetic, 4.0)]);
    // A kernel that never waits hides nothing.
    let without = body.replace("griddepcontrol.wait;\n", "");
    let timing = kernel(&without).dependent().time();
    assert_eq!((timing.cycles, timing.hidden_cycles), (295.0, 0.0));
    // What L1 has got meanwhile is there.
    let body = "ld.global.f32 %f1, [%rd2];\ngriddepcontrol.wait;\nld.global.f32 %f2, [%rd2];\n\
                st.global.f32 [%rd3], %f2;";
    assert_eq!(kernel(body).dependent().cycles(), 41.0);
    // One warp waits, and the other finds it at a barrier: the time since the wait counts.
    let body = format!(
        "{ZERO}{FMA}setp.lt.u32 %p1, %r0, 32;\n@%p1 griddepcontrol.wait;\n{FMA}bar.sync 0;\n\
         griddepcontrol.wait;\nst.global.f32 [%rd3], %f1;"
    );
    let timing = kernel(&body).threads(64).dependent().time();
    // Since its wait: an FMA issues until 1, the barrier ends at 26 and is issued, then the second
    // wait (1), and the store.
    assert_eq!(timing.cycles, 1.0 + 25.0 + 1.0 + 1.0 + 1.0);
    // Warp 0 waits at 6, when its comparison is there, for one slot. Warp 1 issues that in vain,
    // and an FMA at 7 that is there at 11.
    assert_eq!(timing.hidden_cycles, 11.0);
}

#[test]
fn asking_again_and_again_takes_no_longer_than_the_copy() {
    // Lane 0 makes the barrier, expects 256 bytes and begins the copy; all lanes ask until they
    // have come.
    let body = "mov.u32 %r2, mark;\nmov.u32 %r3, tile;\nmov.u32 %r4, 0;\n\
        mbarrier.init.shared.b64 [%r2], 1;\n\
        mbarrier.arrive.expect_tx.shared.b64 _, [%r2], 256;\n\
        cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%r3], [%rd0], 256, [%r2];\n\
        ASK:\nmbarrier.try_wait.parity.shared.b64 %p1, [%r2], %r4;\n@!%p1 bra ASK;\n\
        ld.shared.u32 %r5, [%r3];\nst.global.u32 [%rd3], %r5;";
    let timing = kernel(body).threads(1).time();
    // Slots at 0 and 1, the copy at 2 is there at 292, the question that finds it is asked then and
    // takes a slot, and so does the branch that is not taken; 30 for the load, and the store.
    assert_eq!(timing.cycles, 292.0 + 2.0 + 30.0 + 1.0);
    assert_eq!(timing.traffic.l2_read_sectors, 8);
    let by_cause = timing.cycles_by_cause();
    assert_eq!(by_cause[&Cause::Copy], 290.0);
}

#[test]
fn blocks_of_a_cluster_wait_for_each_other() {
    let body = "mov.u32 %r1, %cluster_ctarank;\nmov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\n\
        setp.eq.u32 %p1, %r1, 0;\n@%p1 bra MEET;\n"
        .to_owned()
        + &FMA.repeat(3)
        + "st.shared.f32 [tile], %f1;\nMEET:\nbarrier.cluster.arrive.aligned;\n\
           barrier.cluster.wait.aligned;\nst.global.u32 [%rd3+1024], %r0;";
    let body = body.replace("[%rd3+1024]", "[%rd4]");
    let body = format!(
        "mov.u32 %r2, %ctaid.x;\nmul.wide.u32 %rd5, %r2, 128;\nadd.u64 %rd4, %rd3, %rd5;\n{body}"
    );
    let (report, _) = kernel(&body).blocks(4, 2).report();
    assert_eq!(report.timings.len(), 4);
    for (number, timing) in report.timings.iter().enumerate() {
        is_whole(timing);
        assert_eq!(timing.block, number as u64);
        // The second block: setp until 5, the branch until 6, three FMAs until 18, a store, and the
        // arrival at 19. All go on at 219: the wait, and the store.
        assert_eq!(timing.cycles, 19.0 + 200.0 + 1.0 + 1.0, "{timing:?}");
    }
}
