//! Sums that the last of several blocks puts together: what each block wrote, how it says so, and
//! what must come between for the last to read it.
//!
//! All threads of a block write, a barrier, one thread counts the block; the block that finds all
//! others counted reads what they wrote, again with all threads behind a barrier. That is in order
//! by the PTX ISA's causality: barriers order threads of a block, the count releases and acquires
//! at the scope of the device, and both are cumulative.

use super::{Ptx, ptx};
use ptx_emulator::Check;

const BLOCKS: u32 = 4;
const THREADS: u32 = 64;

/// One float4 a thread and block, from 1024 bytes on in `out`; their sum over blocks, for the
/// thread across the block, from 512 bytes on; the counter first.
struct Gather {
    /// Between the writes and the count.
    before: &'static str,
    /// Counts the block: `%r4` is what the counter was.
    count: &'static str,
    /// Between the count and the reads.
    after: &'static str,
    load: &'static str,
}

const GATHER: Gather = Gather {
    before: "bar.sync 0;",
    count: "atom.acq_rel.gpu.global.add.u32 %r4, [%rd0], 1;",
    after: "bar.sync 0;",
    load: "ld.global.v4.f32",
};

impl Gather {
    fn ptx(&self) -> Ptx {
        let Gather { before, count, after, load } = self;
        let body = format!(
            ".shared .align 4 .b32 last;\n\
             mov.u32 %r1, %ctaid.x;\nmad.lo.u32 %r2, %r1, {THREADS}, %r0;\n\
             mad.lo.u32 %r3, %r2, 16, 1024;\ncvt.u64.u32 %rd4, %r3; add.u64 %rd4, %rd0, %rd4;\n\
             cvt.rn.f32.u32 %f1, %r2;\n\
             st.global.v4.f32 [%rd4], {{%f1, %f1, %f1, %f1}};\n\
             {before}\n\
             setp.ne.u32 %p1, %r0, 0;\n@%p1 bra COUNTED;\n\
             {count}\n\
             st.shared.u32 [last], %r4;\n\
             COUNTED:\n{after}\n\
             ld.shared.u32 %r5, [last];\nsetp.ne.u32 %p2, %r5, {most};\n@%p2 ret;\n\
             sub.u32 %r6, {most_thread}, %r0;\nmad.lo.u32 %r7, %r6, 16, 1024;\n\
             cvt.u64.u32 %rd5, %r7; add.u64 %rd5, %rd0, %rd5;\nmov.f32 %f2, 0f00000000;\n\
             mov.u32 %r8, 0;\nSUM:\n\
             {load} {{%f3, %f4, %f5, %f6}}, [%rd5];\n\
             add.f32 %f2, %f2, %f5;\nadd.u64 %rd5, %rd5, {block_bytes};\n\
             add.u32 %r8, %r8, 1;\nsetp.lt.u32 %p3, %r8, {BLOCKS};\n@%p3 bra SUM;\n\
             st.global.f32 [%rd2+512], %f2;",
            most = BLOCKS - 1,
            most_thread = THREADS - 1,
            block_bytes = 16 * THREADS,
        );
        let out_bytes = 1024 + 16 * BLOCKS * THREADS;
        ptx(&body).blocks(BLOCKS).threads(THREADS).out_bytes(out_bytes as usize)
    }

    /// Right whatever the order of warps.
    #[track_caller]
    fn is_right(&self) {
        let expected: Vec<f32> = (0..THREADS)
            .map(|i| (0..BLOCKS).map(|block| (block * THREADS + THREADS - 1 - i) as f32).sum())
            .collect();
        for seed in 0..10 {
            let found: Vec<f32> = self.ptx().adversarial(seed).clean();
            assert_eq!(found[128..][..THREADS as usize], expected, "seed {seed}");
        }
    }

    #[track_caller]
    fn races(&self) {
        self.ptx().finds(Check::GlobalRace, self.load);
    }
}

#[test]
fn one_atomic_that_releases_and_acquires_is_enough() {
    GATHER.is_right();
    Gather { count: "atom.add.acq_rel.gpu.global.u32 %r4, [%rd0], 1;", ..GATHER }.is_right();
    Gather { count: "atom.acq_rel.sys.global.add.u32 %r4, [%rd0], 1;", ..GATHER }.is_right();
    // Loads that go past the first-level cache.
    Gather { load: "ld.relaxed.gpu.global.v4.f32", ..GATHER }.is_right();
    Gather { load: "ld.global.cg.v4.f32", ..GATHER }.is_right();
}

#[test]
fn one_that_does_less_is_found() {
    for count in [
        "atom.global.add.u32 %r4, [%rd0], 1;",
        "atom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;",
        "atom.acquire.gpu.global.add.u32 %r4, [%rd0], 1;",
        "atom.release.gpu.global.add.u32 %r4, [%rd0], 1;",
        "atom.acq_rel.cta.global.add.u32 %r4, [%rd0], 1;",
    ] {
        Gather { count, ..GATHER }.races();
        // Loads at the scope of the device order nothing by themselves.
        Gather { count, load: "ld.relaxed.gpu.global.v4.f32", ..GATHER }.races();
    }
}

#[test]
fn the_barriers_on_both_sides_are_needed() {
    Gather { before: "", ..GATHER }.races();
    let unordered = Gather { after: "", ..GATHER }.ptx();
    unordered.run_has_one_of(&[Check::SharedRace, Check::UninitialisedMemory]);
    let unordered = Gather { after: "bar.warp.sync -1;", ..GATHER }.ptx();
    unordered.run_has_one_of(&[Check::SharedRace, Check::UninitialisedMemory]);
}

/// Fences beside an atomic that orders nothing: each thread's own, or those of the thread that
/// counts.
#[test]
fn fences_stand_for_release_and_acquire() {
    const RELAXED: &str = "atom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;";
    const FENCED: &str = "fence.acq_rel.gpu;\natom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;\n\
         fence.acq_rel.gpu;";
    Gather { count: FENCED, ..GATHER }.is_right();
    let (before, after) = ("fence.acq_rel.gpu;\nbar.sync 0;", "bar.sync 0;\nfence.acq_rel.gpu;");
    Gather { before, count: RELAXED, after: "bar.sync 0;", load: GATHER.load }.races();
    Gather { before: "bar.sync 0;", count: RELAXED, after, load: GATHER.load }.races();
    for one in [
        "fence.acq_rel.gpu;\natom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;",
        "atom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;\nfence.acq_rel.gpu;",
        "fence.acq_rel.cta;\natom.relaxed.gpu.global.add.u32 %r4, [%rd0], 1;\nfence.acq_rel.cta;",
    ] {
        Gather { count: one, ..GATHER }.races();
    }
    // Half and half.
    for count in [
        "fence.acq_rel.gpu;\natom.acquire.gpu.global.add.u32 %r4, [%rd0], 1;",
        "atom.release.gpu.global.add.u32 %r4, [%rd0], 1;\nfence.acq_rel.gpu;",
    ] {
        Gather { count, ..GATHER }.is_right();
    }
}

/// `red.release` counts, and a loop over `ld.acquire` waits for the count.
#[test]
fn a_count_that_returns_nothing_is_waited_for() {
    const WAITED: &str = "red.release.gpu.global.add.u32 [%rd0], 1;\nmov.u32 %r4, 0;\n\
         setp.ne.u32 %p4, %r1, 3;\n@%p4 bra TOLD;\nWAIT:\n\
         ld.acquire.gpu.global.u32 %r4, [%rd0];\nsetp.ne.u32 %p5, %r4, 4;\n@%p5 bra WAIT;\n\
         mov.u32 %r4, 3;\nTOLD:";
    Gather { count: WAITED, ..GATHER }.is_right();
    for (right, wrong) in [
        ("red.release.gpu", "red.relaxed.gpu"),
        ("ld.acquire.gpu", "ld.relaxed.gpu"),
        ("red.release.gpu", "red.release.cta"),
        ("ld.acquire.gpu", "ld.acquire.cta"),
    ] {
        let count: &'static str = WAITED.replace(right, wrong).leak();
        Gather { count, ..GATHER }.races();
    }
}

/// The counter goes back to zero for the next launch: nothing else of this one touches it.
#[test]
fn the_counter_is_put_back_by_the_last() {
    const RESET: &str = "atom.acq_rel.gpu.global.add.u32 %r4, [%rd0], 1;\n\
         setp.ne.u32 %p4, %r4, 3;\n@%p4 bra KEPT;\nst.relaxed.gpu.global.u32 [%rd0], 0;\nKEPT:";
    let found: Vec<u32> = Gather { count: RESET, ..GATHER }.ptx().clean();
    assert_eq!(found[0], 0);
}
