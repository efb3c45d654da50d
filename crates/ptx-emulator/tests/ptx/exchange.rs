//! `shfl`, `vote`, `match`, `redux`, `elect`, `activemask`.

use super::{lanes, ptx, random};

/// The pseudocode of `shfl.sync` in the PTX ISA: source lane and predicate.
fn shuffle(mode: &str, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (bval, cval, segmask) = (b & 31, c & 31, c >> 8 & 31);
    let max_lane = lane & segmask | cval & !segmask & 31;
    let min_lane = lane & segmask;
    let lane = lane as i32;
    let (j, inside) = match mode {
        "up" => (lane - bval as i32, lane - bval as i32 >= max_lane as i32),
        "down" => (lane + bval as i32, lane + bval as i32 <= max_lane as i32),
        "bfly" => (lane ^ bval as i32, (lane ^ bval as i32) <= max_lane as i32),
        "idx" => {
            let j = (min_lane | bval & !segmask & 31) as i32;
            (j, j <= max_lane as i32)
        }
        other => panic!("mode {other}"),
    };
    (if inside { j as u32 } else { lane as u32 }, inside)
}

#[test]
fn shuffles() {
    let mut random = random(3);
    let values: Vec<u32> = lanes(|_| random() as u32);
    for mode in ["up", "down", "bfly", "idx"] {
        for b in [0, 1, 2, 5, 8, 16, 31, 33] {
            for c in [0, 31, 0x1c03, 0x181f, 0x1807, 0x1000, 0x0f1f, 15] {
                let body = format!(
                    "ld.global.u32 %r1, [%rd3];\n\
                     shfl.sync.{mode}.b32 %r2|%p1, %r1, {b}, {c}, -1;\n\
                     shfl.sync.{mode}.b32 %r3, %r1, {b}, {c}, 0xffffffff;\n\
                     selp.u32 %r4, 1, 0, %p1;\nmul.wide.u32 %rd4, %r0, 12; add.u64 %rd4, %rd0, %rd4;\n\
                     st.global.u32 [%rd4], %r2;\nst.global.u32 [%rd4+4], %r3;\nst.global.u32 [%rd4+8], %r4;"
                );
                let found: Vec<[u32; 3]> = ptx(&body).input(&values).out_bytes(384).clean();
                for (lane, found) in (0..).zip(found) {
                    let (from, inside) = shuffle(mode, lane, b, c);
                    let value = values[from as usize];
                    let what = format!("shfl.{mode} b {b}, c {c:#x}, lane {lane}");
                    assert_eq!(found, [value, value, inside.into()], "{what}");
                }
            }
        }
    }
}

/// The lanes may come by different ways, with masks of their own, and give operands of their own.
#[test]
fn shuffles_of_parts_of_a_warp() {
    let found: Vec<u32> = ptx("setp.lt.u32 %p1, %r0, 8;\nadd.u32 %r1, %r0, 100;\n@%p1 bra FEW;\n\
         xor.b32 %r3, %r0, 1;\nshfl.sync.idx.b32 %r2, %r1, %r3, 31, 0xffffff00;\nbra DONE;\n\
         FEW:\nshfl.sync.down.b32 %r2, %r1, 1, 7, 0xff;\n\
         DONE:\nst.global.u32 [%rd2], %r2;")
    .clean();
    assert_eq!(found, lanes(|i| 100 + if i < 8 { (i + 1).min(7) } else { i ^ 1 }));
}

#[test]
fn votes() {
    for (values, all, any, uni) in [
        (lanes(|_| 1), 1, 1, 1),
        (lanes(|_| 0), 0, 0, 1),
        (lanes(|i| u32::from(i % 3 == 1)), 0, 1, 0),
    ] {
        let ballot = values.iter().rev().fold(0, |bits, &value| bits << 1 | value);
        let found: Vec<u32> = ptx(
            "ld.global.u32 %r1, [%rd3];\nsetp.ne.u32 %p1, %r1, 0;\n\
             vote.sync.all.pred %p2, %p1, -1;\nvote.sync.any.pred %p3, %p1, -1;\n\
             vote.sync.uni.pred %p4, %p1, -1;\nvote.sync.ballot.b32 %r2, %p1, -1;\n\
             vote.sync.any.pred %p5, !%p1, -1;\nselp.u32 %r3, 1, 0, %p2;\nselp.u32 %r4, 2, 0, %p3;\n\
             selp.u32 %r5, 4, 0, %p4;\nselp.u32 %r6, 8, 0, %p5;\n\
             or.b32 %r3, %r3, %r4; or.b32 %r3, %r3, %r5; or.b32 %r3, %r3, %r6;\n\
             st.global.u32 [%rd2], %r3;\nst.global.u32 [%rd2+128], %r2;",
        )
        .input(&values)
        .out_bytes(256)
        .clean();
        let flags = all | any << 1 | uni << 2 | (1 - all) << 3;
        assert_eq!(found[..32], lanes(|_| flags));
        assert_eq!(found[32..], lanes(|_| ballot));
    }
}

#[test]
fn votes_of_members_only() {
    let found: Vec<u32> =
        ptx("mov.u32 %r2, 0;\nsetp.gt.u32 %p1, %r0, 15;\n@%p1 bra DONE;\nand.b32 %r1, %r0, 1;\n\
         setp.ne.u32 %p2, %r1, 0;\nvote.sync.ballot.b32 %r2, %p2, 0xffff;\n\
         DONE:\nst.global.u32 [%rd2], %r2;")
        .clean();
    assert_eq!(found, lanes(|i| if i < 16 { 0xaaaa } else { 0 }));
}

#[test]
fn matches() {
    let values: Vec<u64> = lanes(|i| u64::from(i % 5) << 32 | u64::from(i % 2));
    let found: Vec<u32> =
        ptx("mul.wide.u32 %rd4, %r0, 8; add.u64 %rd4, %rd1, %rd4;\nld.global.u64 %rd5, [%rd4];\n\
         cvt.u32.u64 %r1, %rd5;\nmatch.any.sync.b32 %r2, %r1, -1;\n\
         match.any.sync.b64 %r3, %rd5, -1;\nmatch.all.sync.b32 %r4|%p1, %r1, -1;\nmov.u32 %r5, 7;\n\
         match.all.sync.b32 %r6|%p2, %r5, -1;\nselp.u32 %r7, 1, 0, %p1;\nselp.u32 %r8, 2, 0, %p2;\n\
         or.b32 %r7, %r7, %r8;\nmul.wide.u32 %rd4, %r0, 20; add.u64 %rd4, %rd0, %rd4;\n\
         st.global.u32 [%rd4], %r2;\nst.global.u32 [%rd4+4], %r3;\nst.global.u32 [%rd4+8], %r4;\n\
         st.global.u32 [%rd4+12], %r6;\nst.global.u32 [%rd4+16], %r7;")
        .input(&values)
        .out_bytes(640)
        .clean();
    for (lane, found) in (0u32..).zip(found.chunks(5)) {
        let same = |equal: &dyn Fn(u32) -> bool| {
            (0..32).filter(|&i| equal(i)).fold(0u32, |mask, i| mask | 1 << i)
        };
        let by_parity = same(&|i| i % 2 == lane % 2);
        let by_value = same(&|i| i % 10 == lane % 10);
        assert_eq!(found, [by_parity, by_value, 0, u32::MAX, 2], "lane {lane}");
    }
}

#[test]
fn reductions() {
    let mut random = random(4);
    let values: Vec<u32> = lanes(|_| random() as u32);
    let signed = |fold: fn(i32, i32) -> i32| {
        values.iter().map(|&x| x as i32).reduce(fold).expect("lanes") as u32
    };
    let unsigned = |fold: fn(u32, u32) -> u32| values.iter().copied().reduce(fold).expect("lanes");
    for (form, expected) in [
        ("add.u32", unsigned(u32::wrapping_add)),
        ("add.s32", unsigned(u32::wrapping_add)),
        ("min.u32", unsigned(u32::min)),
        ("max.u32", unsigned(u32::max)),
        ("min.s32", signed(i32::min)),
        ("max.s32", signed(i32::max)),
        ("and.b32", unsigned(|a, b| a & b)),
        ("or.b32", unsigned(|a, b| a | b)),
        ("xor.b32", unsigned(|a, b| a ^ b)),
    ] {
        let body = format!(
            "ld.global.u32 %r1, [%rd3];\nredux.sync.{form} %r2, %r1, -1;\nst.global.u32 [%rd2], %r2;"
        );
        let found: Vec<u32> = ptx(&body).input(&values).clean();
        assert_eq!(found, lanes(|_| expected), "redux.{form}");
    }
}

#[test]
fn one_member_is_elected() {
    let found: Vec<u32> = ptx("mov.u32 %r2, 99;\nsetp.lt.u32 %p1, %r0, 4;\n@%p1 bra DONE;\n\
         elect.sync %r1|%p2, 0xfffffff0;\nselp.u32 %r2, 1, 0, %p2;\nshl.b32 %r1, %r1, 8;\n\
         or.b32 %r2, %r2, %r1;\nDONE:\nst.global.u32 [%rd2], %r2;")
    .clean();
    // Which lane is elected is the machine's choice, but all are told the same one.
    let leader = found[4] >> 8;
    assert!((4..32).contains(&leader));
    let expected = |i: u32| if i < 4 { 99 } else { leader << 8 | u32::from(i == leader) };
    assert_eq!(found, lanes(expected));
}

#[test]
fn active_lanes() {
    let found: Vec<u32> =
        ptx("activemask.b32 %r1;\nand.b32 %r2, %r0, 1;\nsetp.ne.u32 %p1, %r2, 0;\n@%p1 bra ODD;\n\
         activemask.b32 %r3;\nbra DONE;\nODD:\nactivemask.b32 %r3;\nDONE:\n\
         st.global.u32 [%rd2], %r1;\nst.global.u32 [%rd2+128], %r3;")
        .out_bytes(256)
        .clean();
    assert_eq!(found[..32], lanes(|_| u32::MAX));
    assert_eq!(found[32..], lanes(|i| if i % 2 == 0 { 0x5555_5555 } else { 0xaaaa_aaaa }));
}
