//! Counters, against what follows from the kernels.

use super::{Ptx, ptx};
use ptx_emulator::{Class, Counters};

#[track_caller]
fn counted(ptx: Ptx) -> Counters {
    let outcome = ptx.run();
    assert!(outcome.report.is_clean(), "{:#?}\n{}", outcome.report.findings, outcome.text);
    outcome.report.counters
}

#[test]
fn instructions_by_class_and_lanes() {
    // Warps of 32 and 8 lanes. Before the body come two loads of parameters, a move, a product and
    // two sums, after it the end: with the body 9 instructions of either warp. The predicated sum
    // is executed by four lanes of the first warp and by no lane of the second.
    let body = "setp.lt.u32 %p1, %r0, 4;\n@%p1 add.u32 %r1, %r0, 1;";
    let counters = counted(ptx(body).threads(40));
    let by_class = [
        (Class::Integer, 2 * 4),
        (Class::Move, 2),
        (Class::Compare, 2),
        (Class::Control, 2),
        (Class::Load, 2 * 2),
    ];
    assert_eq!(counters.by_class, by_class.into());
    assert_eq!(counters.instructions, 2 * 9);
    assert_eq!(counters.lane_instructions, 8 * 40 + 4);
}

/// Sectors are the distinct multiples of 32 bytes that a request touches.
#[test]
fn sectors_of_a_request() {
    // `%r1` becomes a lane's offset from a multiple of 128.
    for (offset, access, bytes, sectors) in [
        // 128 bytes in a row, in either direction, and with half a sector more at both ends.
        ("shl.b32 %r1, %r0, 2;", "ld.global.u32 %r2, [%rd4];", 4, 4),
        ("shl.b32 %r1, %r0, 2;\nxor.b32 %r1, %r1, 124;", "ld.global.u32 %r2, [%rd4];", 4, 4),
        ("shl.b32 %r1, %r0, 2;", "ld.global.u32 %r2, [%rd4+16];", 4, 5),
        // 32, 64, 256 and 512 bytes in a row.
        ("mov.u32 %r1, %r0;", "ld.global.u8 %r2, [%rd4];", 1, 1),
        ("shl.b32 %r1, %r0, 1;", "ld.global.u16 %h2, [%rd4];", 2, 2),
        ("shl.b32 %r1, %r0, 3;", "ld.global.u64 %rd5, [%rd4];", 8, 8),
        ("shl.b32 %r1, %r0, 4;", "ld.global.v4.u32 {%r2, %r3, %r4, %r5}, [%rd4];", 16, 16),
        // Strides: four, two and one lane to a sector, and then every lane has its own.
        ("shl.b32 %r1, %r0, 3;", "ld.global.u32 %r2, [%rd4];", 4, 8),
        ("shl.b32 %r1, %r0, 4;", "ld.global.u32 %r2, [%rd4];", 4, 16),
        ("shl.b32 %r1, %r0, 5;", "ld.global.u32 %r2, [%rd4];", 4, 32),
        ("shl.b32 %r1, %r0, 7;", "ld.global.u32 %r2, [%rd4];", 4, 32),
        // One address for all; two sectors in turn.
        ("mov.u32 %r1, 0;", "ld.global.u32 %r2, [%rd4];", 4, 1),
        ("and.b32 %r1, %r0, 1;\nshl.b32 %r1, %r1, 5;", "ld.global.u32 %r2, [%rd4];", 4, 2),
        // Stores and atomics are requests as well.
        ("shl.b32 %r1, %r0, 5;", "st.global.u32 [%rd4], %r0;", 4, 32),
        ("shl.b32 %r1, %r0, 2;", "red.global.add.u32 [%rd4], %r0;", 4, 4),
    ] {
        let body = format!("{offset}\ncvt.u64.u32 %rd4, %r1;\nadd.u64 %rd4, %rd1, %rd4;\n{access}");
        let global = counted(ptx(&body).input(&[0u8; 128 * 32])).global;
        assert_eq!((global.requests, global.bytes), (1, 32 * bytes), "{offset} {access}");
        assert_eq!(global.sectors, sectors, "{offset} {access}");
        assert_eq!(global.sectors_per_request(), sectors as f64);
        assert_eq!(global.conflicts, 0);
    }
}

/// Only the lanes that take part count, and a request that has none is none.
#[test]
fn requests_of_some_lanes() {
    // Lanes 8 to 15 of the first of two warps: 32 bytes.
    let body = "and.b32 %r1, %r0, -8;\nsetp.eq.u32 %p1, %r1, 8;\n@%p1 st.global.u32 [%rd2], %r0;";
    let global = counted(ptx(body).threads(64).out_bytes(256)).global;
    assert_eq!((global.requests, global.bytes, global.sectors), (1, 32, 1));
}

/// A request of 4, 8 or 16 bytes a lane takes 1, 2 or 4 parts of 128 bytes; a part takes a cycle
/// for each word that its lanes want of the busiest of the 32 banks.
#[test]
fn bank_conflicts_of_a_request() {
    let store = |stride: u32, access: &str| {
        let body = format!("mov.u32 %r1, s;\nmad.lo.u32 %r1, %r0, {stride}, %r1;\n{access}");
        let shared = counted(ptx(&body).globals(".shared .align 16 .b8 s[8192];")).shared;
        assert_eq!((shared.requests, shared.sectors), (1, 0), "{stride}, {access}");
        (shared.bytes, shared.conflicts)
    };
    // With `s` words from lane to lane the lanes fall into 32 / gcd(s, 32) banks: gcd(s, 32) words
    // in each.
    for (words, gcd) in
        [(1, 1), (2, 2), (3, 1), (4, 4), (8, 8), (12, 4), (16, 16), (32, 32), (33, 1)]
    {
        let found = store(4 * words, "st.shared.u32 [%r1], %r0;");
        assert_eq!(found, (32 * 4, gcd - 1), "a stride of {words} words");
    }
    for (stride, access, bytes, conflicts) in [
        // Bytes of a word are in one bank without a conflict.
        (1, "st.shared.u8 [%r1], %r0;", 1, 0),
        (8, "st.shared.v2.u32 [%r1], {%r0, %r0};", 8, 0),
        (16, "st.shared.v4.u32 [%r1], {%r0, %r0, %r0, %r0};", 16, 0),
        // Two parts of 16 lanes: lanes 8 apart meet, so there is one more cycle for each part.
        (16, "st.shared.v2.u32 [%r1], {%r0, %r0};", 8, 2),
        // Four parts of 8 lanes: lanes 4 apart meet, and then all 8.
        (32, "st.shared.v4.u32 [%r1], {%r0, %r0, %r0, %r0};", 16, 4),
        (128, "st.shared.v4.u32 [%r1], {%r0, %r0, %r0, %r0};", 16, 4 * 7),
    ] {
        assert_eq!(store(stride, access), (32 * bytes, conflicts), "{stride}, {access}");
    }

    // All lanes read one word: no conflict. Half of them read a word of the same bank: one.
    for (mask, conflicts) in [(0, 0), (1, 1)] {
        let body = format!(
            "mov.u32 %r1, s;\nmad.lo.u32 %r2, %r0, 4, %r1;\nst.shared.u32 [%r2], %r0;\n\
             st.shared.u32 [%r2+128], %r0;\nbar.warp.sync -1;\nand.b32 %r3, %r0, {mask};\n\
             mad.lo.u32 %r3, %r3, 128, %r1;\nld.shared.u32 %r4, [%r3];"
        );
        let shared = counted(ptx(&body).globals(".shared .align 4 .b8 s[256];")).shared;
        assert_eq!((shared.requests, shared.conflicts), (3, conflicts));
    }
}

#[test]
fn barriers() {
    let counted = |body: &str, cluster: u32| {
        let counters = counted(ptx(body).blocks(4).threads(96).cluster(cluster));
        counters.barriers
    };
    // Three in each of four blocks, however many warps.
    assert_eq!(counted("bar.sync 0;\nbar.sync 0;\nbar.sync 3;", 1), 4 * 3);
    // Two warps meet: one of them only arrives.
    let named = "shr.u32 %r1, %r0, 5;\nsetp.eq.u32 %p1, %r1, 0;\nsetp.eq.u32 %p2, %r1, 1;\n\
                 @%p1 bar.arrive 1, 64;\n@%p2 bar.sync 1, 64;";
    assert_eq!(counted(named, 1), 4);
    // The third warp ends, and is not waited for.
    let ended = "setp.ge.u32 %p1, %r0, 64;\n@%p1 exit;\nbar.sync 0;";
    assert_eq!(counted(ended, 1), 4);
    // Once for each of two clusters.
    let cluster = "barrier.cluster.arrive.aligned;\nbarrier.cluster.wait.aligned;";
    assert_eq!(counted(cluster, 2), 2);
    // A warp by itself is none.
    assert_eq!(counted("bar.warp.sync -1;", 1), 0);
}

#[test]
fn divergent_branches() {
    let uniform = "setp.lt.u32 %p1, %r0, 32;\n@%p1 bra A;\nadd.u32 %r1, %r0, 1;\nA:";
    // Lanes go back tid % 4 times: one in four leaves at the first, the second and the third end of
    // the loop, and the last of them leave together.
    let ends = "mov.u32 %r1, 0;\nand.b32 %r2, %r0, 3;\nA:\nsetp.lt.u32 %p1, %r1, %r2;\n\
                add.u32 %r1, %r1, 1;\n@%p1 bra A;";
    let table = "and.b32 %r1, %r0, 3;\nT: .branchtargets A, B, C, A;\nbrx.idx %r1, T;\n\
                 A:\nbra C;\nB:\nbra C;\nC:";
    for (body, of_a_warp) in [(uniform, 0), (ends, 3), (table, 1)] {
        let kernel = || ptx(body).blocks(3).threads(64);
        assert_eq!(counted(kernel()).divergent_branches, 3 * 2 * of_a_warp, "{body}");
    }
    for seed in 0..5 {
        let kernel = ptx(ends).blocks(3).threads(64).adversarial(seed);
        assert_eq!(counted(kernel).divergent_branches, 3 * 2 * 3, "seed {seed}");
    }
}

#[test]
fn matrix_products() {
    let zeros: String = (1..8)
        .map(|i| format!("mov.b32 %r{i}, 0;\nmov.f32 %f{i}, 0f00000000;\nmov.f64 %fd{i}, 0d0000000000000000;\n"))
        .collect();
    let (floats, words) = ("{%f1, %f2, %f3, %f4}", "{%r1, %r2, %r3, %r4}");
    for (form, d, a, b, macs) in [
        ("m16n8k8.row.col.f32.f16.f16.f32", floats, "{%r5, %r6}", "{%r7}", 16 * 8 * 8),
        ("m16n8k16.row.col.f32.f16.f16.f32", floats, words, "{%r5, %r6}", 16 * 8 * 16),
        ("m16n8k32.row.col.s32.s8.s8.s32", words, words, "{%r5, %r6}", 16 * 8 * 32),
        ("m8n8k4.row.col.f64.f64.f64.f64", "{%fd1, %fd2}", "{%fd3}", "{%fd4}", 8 * 8 * 4),
    ] {
        // Three of each warp, two warps, two blocks.
        let mma = format!("mma.sync.aligned.{form} {d}, {a}, {b}, {d};\n");
        let counters = counted(ptx(&(zeros.clone() + &mma.repeat(3))).blocks(2).threads(64));
        assert_eq!((counters.mma, counters.mma_macs), (3 * 2 * 2, 3 * 2 * 2 * macs), "{form}");
        assert_eq!(counters.by_class[&Class::Tensor], 3 * 2 * 2);
    }
    // A load of fragments is no product.
    let body = "mov.u32 %r1, s;\nmad.lo.u32 %r2, %r0, 4, %r1;\nst.shared.u32 [%r2], %r0;\n\
                bar.warp.sync -1;\nand.b32 %r3, %r0, 7;\nmad.lo.u32 %r3, %r3, 16, %r1;\n\
                ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r4}, [%r3];";
    let counters = counted(ptx(body).globals(".shared .align 16 .b8 s[128];"));
    assert_eq!((counters.mma, counters.mma_macs), (0, 0));
    // The lines of eight lanes, in a row: 128 bytes.
    assert_eq!(counters.shared.bytes, 128 + 8 * 16);
    assert_eq!((counters.shared.requests, counters.shared.conflicts), (2, 0));
}

/// An instruction that waits for others is executed when it is let go: once, whatever the schedule.
#[test]
fn waiting_counts_once() {
    // Three barriers in four blocks of three warps.
    let body = "bar.sync 0;\nbar.sync 0;\nbar.sync 0;";
    let count = |ptx: Ptx| counted(ptx).by_class[&Class::Synchronise];
    for seed in 0..4 {
        assert_eq!(count(ptx(body).blocks(4).threads(96).adversarial(seed)), 3 * 4 * 3);
    }
    assert_eq!(count(ptx(body).blocks(4).threads(96)), 3 * 4 * 3);
    // Two splits meet at one warp barrier.
    let body = "setp.lt.u32 %p1, %r0, 9;\n@%p1 bra A;\nadd.u32 %r1, %r0, 1;\nA:\nbar.warp.sync -1;";
    for seed in 0..4 {
        assert_eq!(count(ptx(body).adversarial(seed)), 1);
    }
    assert_eq!(count(ptx(body)), 1);
}

/// A copy is one request of either memory; what is filled with zeros is not read.
#[test]
fn asynchronous_copies() {
    let tile = ".shared .align 16 .b8 tile[512];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 16, %r1;\n\
                mul.wide.u32 %rd4, %r0, 16; add.u64 %rd4, %rd1, %rd4;\n";
    let end = "cp.async.wait_all;";
    // 32 lanes of 16 bytes: 16 sectors. Then 8 of each 16 bytes, which lie in the same sectors.
    // Then lanes 0 to 3.
    for (size, bytes, sectors) in [("", 512, 16), (", 8", 256, 16), (", %r2", 64, 2)] {
        let body = format!(
            "{tile}setp.lt.u32 %p1, %r0, 4;\nselp.b32 %r2, 16, 0, %p1;\n\
             cp.async.cg.shared.global [%r1], [%rd4], 16{size};\n{end}"
        );
        let counters = counted(ptx(&body).input(&[0u8; 512]));
        let global = counters.global;
        assert_eq!((global.requests, global.bytes, global.sectors), (1, bytes, sectors), "{size}");
        let shared = counters.shared;
        assert_eq!((shared.requests, shared.bytes, shared.conflicts), (1, 512, 0), "{size}");
    }
}

/// A bulk copy in and out: 128 bytes, of which the input begins 16 bytes into a sector.
#[test]
fn bulk_copies() {
    let body = ".shared .align 8 .b64 bar;\n.shared .align 16 .b8 tile[128];\n\
                setp.ne.u32 %p2, %r0, 0;\n@%p2 ret;\nmbarrier.init.shared::cta.b64 [bar], 1;\n\
                mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 128;\nadd.u64 %rd4, %rd1, 16;\n\
                cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd4], 128, [bar];\n\
                WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p1, [bar], 0;\n@!%p1 bra WAIT;\n\
                cp.async.bulk.global.shared::cta.bulk_group [%rd0], [tile], 128;\n\
                cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;";
    let counters = counted(ptx(body).input(&[0u8; 144]));
    let global = counters.global;
    // In: sectors 0 to 4. Out: 0 to 3.
    assert_eq!((global.requests, global.bytes, global.sectors), (2, 256, 5 + 4));
    assert_eq!((counters.shared.requests, counters.shared.bytes), (2, 256));
}
