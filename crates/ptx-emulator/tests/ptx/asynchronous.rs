//! `cp.async` and `cp.async.bulk`.

use super::{lanes, ptx, random};
use ptx_emulator::Check;

fn bytes(count: usize) -> Vec<u8> {
    let mut random = random(5);
    (0..count).map(|_| random() as u8).collect()
}

/// Size and source size, for every size that there is.
#[test]
fn copies_fill_with_zeros() {
    let input = bytes(512);
    for (form, size) in [("ca", 4), ("ca", 8), ("ca", 16), ("cg", 16)] {
        for from in 0..=size {
            let body = format!(
                ".shared .align 16 .b8 tile[512];\nmul.wide.u32 %rd4, %r0, {size};\n\
                 add.u64 %rd5, %rd1, %rd4; add.u64 %rd6, %rd0, %rd4;\nmov.u32 %r1, tile;\n\
                 mad.lo.u32 %r1, %r0, {size}, %r1;\nmov.u32 %r2, {from};\n\
                 cp.async.{form}.shared.global [%r1], [%rd5], {size}, %r2;\n\
                 cp.async.commit_group;\ncp.async.wait_group 0;\nmov.u32 %r3, 0;\n\
                 COPY:\nld.shared.u32 %r4, [%r1];\nst.global.u32 [%rd6], %r4;\nadd.u32 %r1, %r1, 4;\n\
                 add.u64 %rd6, %rd6, 4;\nadd.u32 %r3, %r3, 4;\nsetp.lt.u32 %p1, %r3, {size};\n\
                 @%p1 bra COPY;"
            );
            let found: Vec<u8> = ptx(&body).input(&input).out_bytes(32 * size).clean();
            let mut expected = input[..32 * size].to_vec();
            for element in expected.chunks_mut(size) {
                element[from..].fill(0);
            }
            assert_eq!(found, expected, "cp.async.{form} of {from} of {size} bytes");
        }
    }
}

#[test]
fn copies_that_ignore_their_source() {
    let input = lanes(|i| i + 1);
    let found: Vec<u32> =
        ptx(".shared .align 16 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         setp.lt.u32 %p1, %r0, 10;\ncp.async.ca.shared.global [%r1], [%rd3], 4, %p1;\n\
         cp.async.wait_all;\nld.shared.u32 %r2, [%r1];\nst.global.u32 [%rd2], %r2;")
        .input(&input)
        .clean();
    assert_eq!(found, lanes(|i| if i < 10 { 0 } else { i + 1 }));
}

/// Predicated, with cache hints, without a source size, to shared::cta.
#[test]
fn forms_of_copies() {
    let found: Vec<u32> =
        ptx(".shared .align 16 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         st.shared.u32 [%r1], 7;\nsetp.lt.u32 %p1, %r0, 20;\n\
         @%p1 cp.async.ca.shared::cta.global.L2::128B [%r1], [%rd3], 4;\n\
         cp.async.commit_group;\ncp.async.wait_group 0;\nld.shared.u32 %r2, [%r1];\n\
         st.global.u32 [%rd2], %r2;")
        .input(&lanes(|i| i + 100))
        .clean();
    assert_eq!(found, lanes(|i| if i < 20 { i + 100 } else { 7 }));
}

/// Three groups under way; each wait leaves the newest pending, and others' data needs a barrier as
/// well.
#[test]
fn groups_are_waited_for_in_order() {
    let input = lanes(|i| i);
    let body = ".shared .align 16 .b8 tile[384];\nmov.u32 %r1, tile; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         cp.async.ca.shared.global [%r1], [%rd3], 4;\ncp.async.commit_group;\n\
         cp.async.ca.shared.global [%r1+128], [%rd3], 4;\ncp.async.commit_group;\n\
         cp.async.ca.shared.global [%r1+256], [%rd3], 4;\ncp.async.commit_group;\n\
         cp.async.wait_group 2;\nbar.sync 0;\nxor.b32 %r2, %r0, 5; mov.u32 %r3, tile;\n\
         mad.lo.u32 %r3, %r2, 4, %r3;\nld.shared.u32 %r4, [%r3];\ncp.async.wait_group 1;\n\
         bar.sync 0;\nld.shared.u32 %r5, [%r3+128];\nadd.u32 %r4, %r4, %r5;\n\
         cp.async.wait_group 0;\nbar.sync 0;\nld.shared.u32 %r5, [%r3+256];\nadd.u32 %r4, %r4, %r5;\n\
         st.global.u32 [%rd2], %r4;";
    assert_eq!(ptx(body).input(&input).clean::<u32>(), lanes(|i| 3 * (i ^ 5)));

    // Reading a group too early.
    let early = body.replace("cp.async.wait_group 1;", "");
    ptx(&early).input(&input).finds(Check::AsyncInFlight, "ld.shared.u32 %r5, [%r3+128]");
    let late = body.replace("cp.async.wait_group 2;", "cp.async.wait_group 3;");
    ptx(&late).input(&input).finds(Check::AsyncInFlight, "ld.shared.u32 %r4, [%r3]");
    // A copy that no group holds is not waited for by wait_group.
    let uncommitted = body.replacen("cp.async.commit_group;", "", 3);
    ptx(&uncommitted).input(&input).finds(Check::AsyncInFlight, "ld.shared.u32 %r4, [%r3]");
}

#[test]
fn others_copies_need_a_barrier() {
    ptx(".shared .align 16 .b8 tile[256];\nmov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;\n\
         cp.async.ca.shared.global [%r2], [%rd3], 4;\ncp.async.wait_all;\n\
         xor.b32 %r3, %r0, 32; mad.lo.u32 %r3, %r3, 4, %r1;\nld.shared.u32 %r4, [%r3];\n\
         st.global.u32 [%rd2], %r4;")
    .threads(64)
    .input(&(0..64).collect::<Vec<u32>>())
    .out_bytes(256)
    .run_has_one_of(&[Check::SharedRace, Check::AsyncInFlight, Check::UninitialisedMemory]);
}

/// `cp.async.mbarrier.arrive.noinc`: the copies' end is an arrival.
#[test]
fn copies_arrive_at_mbarriers() {
    let found: Vec<u32> =
        ptx(".shared .align 8 .b64 bar;\n.shared .align 16 .b8 tile[128];\nmov.u32 %r1, tile;\n\
         mad.lo.u32 %r2, %r0, 4, %r1;\nsetp.ne.u32 %p2, %r0, 0;\n\
         @!%p2 mbarrier.init.shared.b64 [bar], 32;\nbar.sync 0;\n\
         cp.async.ca.shared.global [%r2], [%rd3], 4;\n\
         cp.async.mbarrier.arrive.noinc.shared.b64 [bar];\nWAIT:\n\
         mbarrier.try_wait.parity.shared.b64 %p1, [bar], 0;\n@!%p1 bra WAIT;\n\
         xor.b32 %r3, %r0, 1; mad.lo.u32 %r3, %r3, 4, %r1;\nld.shared.u32 %r4, [%r3];\n\
         st.global.u32 [%rd2], %r4;")
        .input(&lanes(|i| i * 5))
        .clean();
    assert_eq!(found, lanes(|i| (i ^ 1) * 5));
}

const BULK: &str = ".shared .align 8 .b64 bar;\n.shared .align 16 .b8 tile[128];\nmov.u32 %r1, tile;\n\
     mad.lo.u32 %r2, %r0, 4, %r1;\nsetp.ne.u32 %p2, %r0, 0;\n\
     @!%p2 mbarrier.init.shared::cta.b64 [bar], 1;\nfence.mbarrier_init.release.cluster;\n\
     fence.proxy.async.shared::cta;\nbar.sync 0;\n@%p2 bra WAIT;\n\
     mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 128;\n\
     cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [tile], [%rd1], 128, [bar];\n\
     WAIT:\nmbarrier.try_wait.parity.shared::cta.b64 %p1, [bar], 0;\n@!%p1 bra WAIT;\n\
     ld.shared.u32 %r4, [%r2];\n";

/// One thread copies 128 bytes in, all wait; one thread copies the changed bytes out.
#[test]
fn bulk_copies() {
    let body = format!(
        "{BULK}add.u32 %r4, %r4, 1;\nst.shared.u32 [%r2], %r4;\nfence.proxy.async.shared::cta;\n\
         bar.sync 0;\n@%p2 ret;\n\
         cp.async.bulk.global.shared::cta.bulk_group [%rd0], [tile], 128;\n\
         cp.async.bulk.commit_group;\ncp.async.bulk.wait_group 0;"
    );
    for seed in 0..3 {
        let found: Vec<u32> = ptx(&body).input(&lanes(|i| i * 9)).adversarial(seed).clean();
        assert_eq!(found, lanes(|i| i * 9 + 1));
    }
}

#[test]
fn expect_tx_counts_bytes_by_itself() {
    let body = format!("{BULK}st.global.u32 [%rd2], %r4;").replace(
        "mbarrier.arrive.expect_tx.shared::cta.b64 _, [bar], 128;",
        "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 128;\n\
         mbarrier.arrive.shared::cta.b64 _, [bar];",
    );
    assert_eq!(ptx(&body).input(&lanes(|i| i)).clean::<u32>(), lanes(|i| i));
}

/// Without the wait the destination is still being written.
#[test]
fn bulk_copies_are_waited_for() {
    let wait = "mbarrier.try_wait.parity.shared::cta.b64 %p1, [bar], 0;\n@!%p1 bra WAIT;";
    assert!(BULK.contains(wait));
    let body = format!("{BULK}st.global.u32 [%rd2], %r4;").replace(wait, "");
    let checks = [Check::AsyncInFlight, Check::UninitialisedMemory, Check::SharedRace];
    ptx(&body).input(&lanes(|i| i)).run_has_one_of(&checks);
}

/// More bytes announced than come: nobody can go on.
#[test]
fn missing_bytes_never_arrive() {
    let body = format!("{BULK}st.global.u32 [%rd2], %r4;").replace("[bar], 128;", "[bar], 144;");
    let outcome = ptx(&body).input(&lanes(|i| i)).budget(200_000).run();
    let found = outcome.report.findings.first().expect("a finding").check;
    assert!(matches!(found, Check::Livelock | Check::Deadlock | Check::Budget), "{found}");
}
