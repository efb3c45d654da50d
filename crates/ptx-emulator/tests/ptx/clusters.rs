//! Clusters: `mapa`, `barrier.cluster`, accesses of another block's shared memory, cluster
//! registers.

use super::ptx;

const TILE: &str = ".shared .align 4 .b8 tile[128];\nmov.u32 %r1, tile; mad.lo.u32 %r2, %r0, 4, %r1;\n\
     mov.u32 %r3, %cluster_ctarank;\nmov.u32 %r4, %ctaid.x;\n\
     mul.wide.u32 %rd4, %r4, 128; add.u64 %rd4, %rd2, %rd4;\n";

fn arrive_and_wait(kind: &str) -> String {
    format!("barrier.cluster.arrive{kind}.aligned;\nbarrier.cluster.wait.aligned;\n")
}

/// Each block reads its neighbour's shared memory: by a 32-bit address and by a generic one.
#[test]
fn neighbours_shared_memory() {
    let barrier = arrive_and_wait("");
    let body = format!(
        "{TILE}mad.lo.u32 %r5, %r4, 1000, %r0;\nst.shared.u32 [%r2], %r5;\n{barrier}\
         xor.b32 %r6, %r3, 1;\nmapa.shared::cluster.u32 %r7, %r2, %r6;\n\
         ld.shared::cluster.u32 %r8, [%r7];\ncvt.u64.u32 %rd5, %r2;\ncvta.shared.u64 %rd5, %rd5;\n\
         mapa.u64 %rd6, %rd5, %r6;\nld.u32 %r9, [%rd6];\nadd.u32 %r8, %r8, %r9;\n\
         st.global.u32 [%rd4], %r8;\n{barrier}"
    );
    for seed in 0..3 {
        let found: Vec<u32> =
            ptx(&body).blocks(4).cluster(2).out_bytes(512).adversarial(seed).clean();
        let expected: Vec<u32> = (0..128).map(|i| 2 * (((i / 32) ^ 1) * 1000 + i % 32)).collect();
        assert_eq!(found, expected);
    }
}

/// Stores and atomics to every block of the cluster.
#[test]
fn writes_to_other_blocks() {
    let barrier = arrive_and_wait(".release");
    let body = format!(
        "{TILE}st.shared.u32 [%r2], 0;\n{barrier}mov.u32 %r5, 0;\nEACH:\n\
         mapa.shared::cluster.u32 %r6, %r2, %r5;\nadd.u32 %r7, %r3, 1;\n\
         atom.shared::cluster.add.u32 %r8, [%r6], %r7;\nadd.u32 %r5, %r5, 1;\n\
         setp.lt.u32 %p1, %r5, 4;\n@%p1 bra EACH;\n{barrier}ld.shared.u32 %r9, [%r2];\n\
         setp.ne.u32 %p2, %r3, 3;\nmapa.shared::cluster.u32 %r6, %r2, 0;\n{barrier}\
         @!%p2 st.shared::cluster.u32 [%r6], 77;\n{barrier}ld.shared.u32 %r10, [%r2];\n\
         shl.b32 %r10, %r10, 8; or.b32 %r9, %r9, %r10;\nst.global.u32 [%rd4], %r9;"
    );
    let found: Vec<u32> = ptx(&body).blocks(4).cluster(4).out_bytes(512).clean();
    let expected: Vec<u32> =
        (0..128).map(|i| 10 | if i / 32 == 0 { 77 << 8 } else { 10 << 8 }).collect();
    assert_eq!(found, expected);
}

#[test]
fn registers_of_the_cluster() {
    let found: Vec<u32> =
        ptx("mov.u32 %r1, %ctaid.x;\nmul.wide.u32 %rd4, %r1, 32; add.u64 %rd4, %rd0, %rd4;\n\
         mov.u32 %r2, %cluster_ctarank;\nst.global.u32 [%rd4], %r2;\n\
         mov.u32 %r2, %cluster_nctarank;\nst.global.u32 [%rd4+4], %r2;\n\
         mov.u32 %r2, %clusterid.x;\nst.global.u32 [%rd4+8], %r2;\n\
         mov.u32 %r2, %nclusterid.x;\nst.global.u32 [%rd4+12], %r2;\n\
         mov.u32 %r2, %cluster_ctaid.x;\nst.global.u32 [%rd4+16], %r2;\n\
         mov.u32 %r2, %cluster_nctaid.x;\nst.global.u32 [%rd4+20], %r2;\n\
         .shared .align 4 .b8 tile[4];\nmov.u32 %r3, tile;\nmapa.shared::cluster.u32 %r4, %r3, 1;\n\
         getctarank.shared::cluster.u32 %r2, %r4;\nst.global.u32 [%rd4+24], %r2;")
        .shape([6, 1, 1], [1, 1, 1])
        .cluster(2)
        .out_bytes(6 * 32)
        .clean();
    for (block, found) in (0..).zip(found.chunks(8)) {
        assert_eq!(found, [block % 2, 2, block / 2, 3, block % 2, 2, 1, 0], "block {block}");
    }
}
