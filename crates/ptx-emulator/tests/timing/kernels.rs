//! A copy, chains of loads, FMAs, special functions and matrix products.

use super::{causes, kernel};
use ptx_emulator::{BlockTraffic, Cause};

#[test]
fn a_copy_takes_a_load_and_a_store() {
    let body = "ld.global.f32 %f1, [%rd2];\nst.global.f32 [%rd3], %f1;";
    let timing = kernel(body).time();
    // The load begins at 0, the store when it has come, for one slot.
    assert_eq!(timing.cycles, 290.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::L2, 290.0)]);
    let traffic = BlockTraffic {
        l1_sectors: 4,
        l1_hits: 0,
        l2_read_sectors: 4,
        l2_written_sectors: 4,
        l2_atomic_sectors: 0,
    };
    assert_eq!((timing.traffic, timing.hidden_cycles), (traffic, 0.0));

    // Two at once: loads at 0 and 1, stores at 290 and 291.
    let body = "ld.global.f32 %f1, [%rd2];\nld.global.f32 %f2, [%rd2+128];\n\
                st.global.f32 [%rd3], %f1;\nst.global.f32 [%rd3+128], %f2;";
    assert_eq!(kernel(body).cycles(), 292.0);
    // Four warps take turns: loads at 0 and 4, stores at 290 and 294.
    assert_eq!(kernel(body).warps_per_scheduler(4.0).cycles(), 298.0);
    // One after the other.
    let body = "ld.global.f32 %f1, [%rd2];\nst.global.f32 [%rd3], %f1;\n\
                ld.global.f32 %f2, [%rd2+128];\nst.global.f32 [%rd3+128], %f2;";
    assert_eq!(kernel(body).cycles(), 2.0 * 291.0);
}

/// Where the assembler may hoist them, loads do not wait for stores before them, but for branches.
#[test]
fn loads_are_hoisted_within_a_basic_block() {
    let pair = |i: u32, at: u32| {
        format!("ld.global.f32 %f{i}, [%rd2+{at}];\nst.global.f32 [%rd3+{at}], %f{i};\n")
    };
    let body = pair(1, 0) + &pair(2, 128);
    assert_eq!(kernel(&body).cycles(), 2.0 * 291.0);
    // Loads at 0 and 2, in their slots; stores when they have come, the last at 292.
    let timing = kernel(&body).reordered().time();
    assert_eq!(timing.cycles, 293.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 3.0), (Cause::L2, 290.0)]);
    // A branch ahead is no matter, but for its own slot.
    let body = pair(1, 0) + "bra NEXT;\nNEXT:\n" + &pair(2, 128);
    assert_eq!(kernel(&body).reordered().cycles(), 294.0);
    // One that waits for what a load brought steers what comes after it: it begins with the
    // comparison's result at 295, and the load after it 1 later.
    let branch = "setp.ne.f32 %p1, %f1, 0f00000000;\n@%p1 bra NEXT;\nNEXT:\n";
    let body = pair(1, 0) + branch + &pair(2, 128);
    assert_eq!(kernel(&body).reordered().cycles(), 295.0 + 1.0 + 291.0);
    // A branch back comes after the store of its round, at 291 and at 333: the second load hits.
    let body = "mov.u32 %r1, 0;\nROUND:\n".to_owned()
        + &pair(1, 0)
        + "add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 2;\n@%p1 bra ROUND;\n";
    assert_eq!(kernel(&body).reordered().cycles(), 292.0 + 40.0 + 2.0);
    // A chain gains nothing.
    let chain = chain(&[0, 1024, 2048], "ld.global").reordered();
    assert_eq!(chain.cycles(), 3.0 * 290.0 + 1.0);
    // Eight warps of a scheduler take turns: the slots of a warp's sixteen sums are its time.
    let fma = |i| format!("fma.rn.f32 %f{i}, %f0, %f0, %f0;\n");
    let sums = "mov.f32 %f0, 0f00000000;\n".to_owned() + &(1..=16).map(fma).collect::<String>();
    assert_eq!(kernel(&sums).reordered().warps_per_scheduler(8.0).cycles(), 128.0);
}

/// Each load gives the address of the next.
fn chain(places: &[u64], loads: &str) -> super::Kernel {
    // The input's address is found by the kernel: what is stored are offsets.
    let mut input = vec![0u8; 4096];
    for pair in places.windows(2) {
        input[pair[0] as usize..][..8].copy_from_slice(&pair[1].to_le_bytes());
    }
    let mut body = format!("add.u64 %rd4, %rd0, {};\n", places[0]);
    for _ in places {
        body += &format!("{loads}.u64 %rd5, [%rd4];\nadd.u64 %rd4, %rd0, %rd5;\n");
    }
    kernel(&format!("{body}st.global.u64 [%rd1], %rd4;")).input(input)
}

#[test]
fn a_chain_of_loads_waits_for_each_where_it_is() {
    // Two lines, then a sector that is there, one that is not of a line that is, and that again.
    let places = [0, 1024, 8, 40, 48];
    let timing = chain(&places, "ld.global").time();
    assert_eq!(timing.cycles, 290.0 + 290.0 + 40.0 + 290.0 + 40.0 + 1.0);
    let expected = [(Cause::Issue, 1.0), (Cause::L1, 80.0), (Cause::L2, 870.0)];
    assert_eq!(causes(&timing), expected);
    let traffic = timing.traffic;
    assert_eq!((traffic.l1_sectors, traffic.l1_hits, traffic.l2_read_sectors), (5, 2, 3));
    // The longest parts are the loads that missed.
    let first = timing.path[0];
    assert_eq!((first.cause, first.cycles), (Cause::L2, 290.0));

    // Read-only loads take the same way, others go past L1, and one may have none.
    assert_eq!(chain(&places, "ld.global.nc").cycles(), 951.0);
    for past in ["ld.global.cg", "ld.volatile.global", "ld.relaxed.gpu.global"] {
        let timing = chain(&places, past).time();
        assert_eq!(timing.cycles, 5.0 * 290.0 + 1.0, "{past}");
        assert_eq!((timing.traffic.l1_sectors, timing.traffic.l2_read_sectors), (0, 5));
    }
    assert_eq!(chain(&places, "ld.relaxed.cta.global").cycles(), 951.0);
    assert_eq!(chain(&places, "ld.global").l1_bytes(0).cycles(), 5.0 * 290.0 + 1.0);
    // A single line: 1024 takes the place of 0, and 8 its own again.
    let timing = chain(&places, "ld.global").l1_bytes(128).time();
    assert_eq!(timing.cycles, 4.0 * 290.0 + 40.0 + 1.0);
    assert_eq!(timing.traffic.l1_hits, 1);
}

#[test]
fn a_line_that_is_on_its_way_is_waited_for() {
    // The second load finds the sector that the first has asked for: there at 290, not at 41.
    let body = "ld.global.f32 %f1, [%rd0];\nld.global.f32 %f2, [%rd0+4];\n\
                st.global.f32 [%rd3], %f2;";
    let timing = kernel(body).time();
    assert_eq!(timing.cycles, 291.0);
    assert_eq!((timing.traffic.l1_hits, timing.traffic.l2_read_sectors), (1, 1));
}

#[test]
fn a_chain_of_fmas_goes_by_latency_or_by_the_turns_of_warps() {
    let body =
        format!("{}st.global.f32 [%rd3], %f1;", "fma.rn.f32 %f1, %f1, %f2, %f3;\n".repeat(10));
    let body = format!("mov.f32 %f1, 0f00000000;\nmov.f32 %f2, %f1;\nmov.f32 %f3, %f1;\n{body}");
    let timing = kernel(&body).time();
    assert_eq!(timing.cycles, 10.0 * 4.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Arithmetic, 40.0)]);
    // Four warps hide the latency exactly; with eight, each turn takes 8 cycles.
    assert_eq!(kernel(&body).warps_per_scheduler(4.0).cycles(), 11.0 * 4.0);
    let timing = kernel(&body).warps_per_scheduler(8.0).time();
    assert_eq!(timing.cycles, 11.0 * 8.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 88.0)]);
}

#[test]
fn a_loop_pays_its_branch() {
    // Each time round: fma at t, setp at t + 1, the branch waits for it until t + 6, and is over
    // 10 later. The counter costs nothing. Five rounds; the store finds the fma long done.
    let body = "mov.u32 %r1, 0;\nmov.f32 %f1, 0f00000000;\nLOOP:\nfma.rn.f32 %f1, %f1, %f1, %f1;\n\
                add.u32 %r1, %r1, 1;\nsetp.lt.u32 %p1, %r1, 5;\n@%p1 bra LOOP;\n\
                st.global.f32 [%rd3], %f1;";
    let timing = kernel(body).time();
    // The last branch is not taken by any lane: it waits for its predicate, and issues.
    assert_eq!(timing.cycles, 4.0 * 16.0 + 6.0 + 1.0 + 1.0);
    let expected = [(Cause::Issue, 5.0 + 2.0), (Cause::Arithmetic, 25.0), (Cause::Control, 40.0)];
    assert_eq!(causes(&timing), expected);
}

#[test]
fn special_functions_keep_their_pipe_busy() {
    let functions: String =
        (1..=4).map(|i| format!("ex2.approx.f32 %f{i}, %f{};\n", 10 + i)).collect();
    let moves: String = (11..=14).map(|i| format!("mov.f32 %f{i}, 0f3f800000;\n")).collect();
    let body = format!("{moves}{functions}st.global.f32 [%rd3], %f4;");
    // They begin at 0, 8, 16 and 24; the last is there at 48.
    let timing = kernel(&body).time();
    assert_eq!(timing.cycles, 24.0 + 24.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Special, 48.0)]);
    // With a second warp in the way, 16 apart.
    assert_eq!(kernel(&body).warps_per_scheduler(2.0).cycles(), 48.0 + 24.0 + 2.0);
    // A division stops the warp.
    let body = "mov.f32 %f1, 0f40000000;\ndiv.rn.f32 %f2, %f1, %f1;\nfma.rn.f32 %f3, %f1, %f1, %f1;\n\
                st.global.f32 [%rd3], %f3;";
    let timing = kernel(body).time();
    assert_eq!(timing.cycles, 60.0 + 4.0 + 1.0);
    let expected = [(Cause::Issue, 1.0), (Cause::Arithmetic, 4.0), (Cause::Special, 60.0)];
    assert_eq!(causes(&timing), expected);
}

#[test]
fn matrix_products_go_by_latency_or_by_their_pipe() {
    let mma = |d: u32| {
        let d: Vec<String> = (d..d + 4).map(|i| format!("%f{i}")).collect();
        let d = d.join(", ");
        format!(
            "mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{{d}}}, {{%r1, %r2, %r3, %r4}}, \
             {{%r5, %r6}}, {{{d}}};\n"
        )
    };
    let floats: String = (1..=16).map(|i| format!("mov.f32 %f{i}, 0f00000000;\n")).collect();
    let halves: String = (1..=6).map(|i| format!("mov.u32 %r{i}, 0;\n")).collect();
    let body = |products: String| format!("{floats}{halves}{products}st.global.f32 [%rd3], %f1;");
    // Into one accumulator four times, then into four, of which the first is written last.
    let timing = kernel(&body(mma(1).repeat(4))).time();
    assert_eq!(timing.cycles, 4.0 * 33.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Tensor, 132.0)]);
    let timing = kernel(&body(mma(13) + &mma(9) + &mma(5) + &mma(1))).time();
    assert_eq!(timing.cycles, 3.0 * 16.0 + 33.0 + 1.0);
}

#[test]
fn shared_memory_pays_for_conflicts() {
    let body = |shift: u32| {
        format!(
            "shl.b32 %r1, %r0, {shift};\nmov.u32 %r2, tile;\nadd.u32 %r2, %r2, %r1;\n\
             st.shared.u32 [%r2], %r0;\nld.shared.u32 %r3, [%r2];\nst.global.u32 [%rd3], %r3;"
        )
    };
    // In a row; two lanes to a bank; all lanes to one. The store to shared memory is one slot.
    for (shift, conflicts) in [(2, 0.0), (3, 1.0), (7, 31.0)] {
        let timing = kernel(&body(shift)).time();
        assert_eq!(timing.cycles, 1.0 + 30.0 + conflicts + 1.0);
        assert_eq!(causes(&timing), [(Cause::Issue, 2.0), (Cause::Shared, 30.0 + conflicts)]);
    }
}

#[test]
fn exchanges_and_atomics_have_causes_of_their_own() {
    let body = "shfl.sync.bfly.b32 %r1, %r0, 1, 31, 0xffffffff;\nst.global.u32 [%rd3], %r1;";
    let timing = kernel(body).time();
    assert_eq!(timing.cycles, 25.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Exchange, 25.0)]);
    let body = "atom.global.add.u32 %r1, [%rd1], 1;\nst.global.u32 [%rd3+128], %r1;";
    let timing = kernel(body).time();
    assert_eq!(timing.cycles, 290.0 + 1.0);
    assert_eq!(causes(&timing), [(Cause::Issue, 1.0), (Cause::Atomic, 290.0)]);
    let BlockTraffic { l2_atomic_sectors, l2_written_sectors, .. } = timing.traffic;
    assert_eq!((l2_atomic_sectors, l2_written_sectors), (1, 4));
}
