//! `ld`, `st`, `cvta`, `isspacep`, module variables: every space, width and vector.

use super::{lanes, ptx, random};

/// Types with the bytes of an element and a register file that holds it.
const TYPES: [(&str, usize, &str); 14] = [
    ("b8", 1, "%h"),
    ("u8", 1, "%h"),
    ("s8", 1, "%h"),
    ("b16", 2, "%h"),
    ("u16", 2, "%h"),
    ("s16", 2, "%h"),
    ("b32", 4, "%r"),
    ("u32", 4, "%r"),
    ("s32", 4, "%r"),
    ("f32", 4, "%f"),
    ("b64", 8, "%rd"),
    ("u64", 8, "%rd"),
    ("s64", 8, "%rd"),
    ("f64", 8, "%fd"),
];

/// Registers `file10`, `file11`, ... as an operand.
fn registers(file: &str, count: usize) -> String {
    let names: Vec<String> = (10..10 + count).map(|i| format!("{file}{i}")).collect();
    match count {
        1 => names[0].clone(),
        _ => format!("{{{}}}", names.join(", ")),
    }
}

/// Each type and vector of up to 16 bytes: type, vector suffix, bytes, operand.
fn forms() -> Vec<(&'static str, &'static str, usize, String)> {
    let mut forms = Vec::new();
    for (name, bytes, file) in TYPES {
        for (vector, count) in [("", 1), (".v2", 2), (".v4", 4)] {
            if bytes * count <= 16 {
                forms.push((name, vector, bytes * count, registers(file, count)));
            }
        }
    }
    forms
}

/// 32 elements of 16 bytes.
fn bytes() -> Vec<u8> {
    let mut random = random(1);
    (0..512).map(|_| random() as u8).collect()
}

/// Copies each lane's element from `in` to `out` by way of `there`, with `%rd4` = 16 * tid.
fn copies(there: impl Fn(&str, &str, &str) -> String, globals: &str) {
    let input = bytes();
    for (name, vector, size, operand) in forms() {
        let body = format!(
            "mul.wide.u32 %rd4, %r0, 16; add.u64 %rd5, %rd1, %rd4; add.u64 %rd6, %rd0, %rd4;\n\
             cvt.u32.u64 %r4, %rd4;\n{}",
            there(vector, name, &operand)
        );
        let found: Vec<u8> = ptx(&body).globals(globals).input(&input).out_bytes(512).clean();
        for lane in 0..32 {
            let (copied, rest) = found[lane * 16..][..16].split_at(size);
            assert_eq!(copied, &input[lane * 16..][..size], "{name}{vector}, lane {lane}");
            assert!(rest.iter().all(|&b| b == 0), "{name}{vector} wrote beyond its {size} bytes");
        }
    }
}

#[test]
fn global_memory() {
    copies(|v, t, r| format!("ld.global{v}.{t} {r}, [%rd5];\nst.global{v}.{t} [%rd6], {r};"), "");
}

#[test]
fn generic_addresses_of_global_memory() {
    copies(|v, t, r| format!("ld{v}.{t} {r}, [%rd5];\nst{v}.{t} [%rd6], {r};"), "");
}

#[test]
fn offsets_and_cache_hints() {
    let copied: Vec<u32> = ptx("add.u64 %rd4, %rd3, 64; add.u64 %rd5, %rd2, -8;\n\
         ld.global.nc.L1::no_allocate.u32 %r1, [%rd4+-64];\n\
         ld.global.ca.u32 %r2, [%rd4 + -64];\nld.global.cg.u32 %r3, [%rd4+-64];\n\
         ld.global.cs.u32 %r4, [%rd4+-64];\nld.global.lu.u32 %r5, [%rd4+-64];\n\
         ld.global.cv.u32 %r6, [%rd4+-64];\nld.volatile.global.u32 %r7, [%rd4+-64];\n\
         ld.relaxed.gpu.global.u32 %r8, [%rd4+-64];\nld.acquire.sys.global.u32 %r9, [%rd4+-64];\n\
         add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4;\n\
         add.u32 %r1, %r1, %r5; add.u32 %r1, %r1, %r6; add.u32 %r1, %r1, %r7;\n\
         add.u32 %r1, %r1, %r8; add.u32 %r1, %r1, %r9;\n\
         st.global.wt.u32 [%rd5+8], %r1;\nst.global.cg.u32 [%rd5+8], %r1;\n\
         st.global.wb.u32 [%rd5+8], %r1;\nst.global.cs.u32 [%rd5+8], %r1;\n\
         st.volatile.global.u32 [%rd5+8], %r1;\nst.relaxed.cta.global.u32 [%rd5+8], %r1;\n\
         st.release.gpu.global.u32 [%rd5+8], %r1;")
    .input(&lanes(|i| i * 3))
    .clean();
    assert_eq!(copied, lanes(|i| i * 27));
}

#[test]
fn shared_memory() {
    copies(
        |v, t, r| {
            format!(
                ".shared .align 16 .b8 tile[512];\nmov.u32 %r5, tile; add.u32 %r5, %r5, %r4;\n\
                 ld.global{v}.{t} {r}, [%rd5];\nst.shared{v}.{t} [%r5], {r};\n\
                 ld.shared{v}.{t} {r}, [%r5];\nst.global{v}.{t} [%rd6], {r};"
            )
        },
        "",
    );
}

#[test]
fn shared_memory_by_64_bit_and_generic_addresses() {
    copies(
        |v, t, r| {
            format!(
                ".shared .align 16 .b8 tile[512];\nmov.u64 %rd7, tile; add.u64 %rd7, %rd7, %rd4;\n\
                 cvta.shared.u64 %rd8, %rd7; cvta.to.shared.u64 %rd9, %rd8;\n\
                 ld.global{v}.{t} {r}, [%rd5];\nst{v}.{t} [%rd8], {r};\n\
                 ld.shared{v}.{t} {r}, [%rd9];\nst.global{v}.{t} [%rd6], {r};"
            )
        },
        "",
    );
}

#[test]
fn dynamic_shared_memory() {
    let found: Vec<u32> = ptx("mov.u32 %r1, dynamic; mad.lo.u32 %r1, %r0, 4, %r1;\n\
         st.shared.u32 [%r1], %r0;\nld.shared.u32 %r2, [%r1];\nmov.u32 %r3, %dynamic_smem_size;\n\
         add.u32 %r2, %r2, %r3;\nst.global.u32 [%rd2], %r2;")
    .globals(".extern .shared .align 16 .b8 dynamic[];")
    .dynamic_shared(128)
    .clean();
    assert_eq!(found, lanes(|i| i + 128));
}

#[test]
fn local_memory() {
    copies(
        |v, t, r| {
            format!(
                ".local .align 16 .b8 depot[32];\nmov.u64 %rd7, depot; cvta.local.u64 %rd8, %rd7;\n\
                 cvta.to.local.u64 %rd9, %rd8;\n\
                 ld.global{v}.{t} {r}, [%rd5];\nst.local{v}.{t} [%rd7+16], {r};\n\
                 ld{v}.{t} {r}, [%rd8+16];\nst.local{v}.{t} [%rd9], {r};\n\
                 ld.local{v}.{t} {r}, [depot];\nst.global{v}.{t} [%rd6], {r};"
            )
        },
        "",
    );
}

#[test]
fn local_arrays_are_indexed_by_each_thread() {
    // depot[i] = 100 * i + tid for eight i; then depot[tid % 8].
    let found: Vec<u32> = ptx(
        ".local .align 4 .b8 depot[32];\nmov.u64 %rd4, depot; mov.u32 %r1, 0;\n\
         FILL:\nmad.lo.u32 %r2, %r1, 100, %r0; mul.wide.u32 %rd5, %r1, 4; add.u64 %rd5, %rd4, %rd5;\n\
         st.local.u32 [%rd5], %r2;\nadd.u32 %r1, %r1, 1;\nsetp.lt.u32 %p0, %r1, 8;\n@%p0 bra FILL;\n\
         and.b32 %r1, %r0, 7; mul.wide.u32 %rd5, %r1, 4; add.u64 %rd5, %rd4, %rd5;\n\
         ld.local.u32 %r2, [%rd5];\nst.global.u32 [%rd2], %r2;",
    )
    .clean();
    assert_eq!(found, lanes(|i| i % 8 * 100 + i));
}

#[test]
fn constant_memory() {
    let list: Vec<String> = bytes().iter().map(u8::to_string).collect();
    let table = format!(".const .align 16 .b8 table[512] = {{{}}};", list.join(", "));
    copies(
        |v, t, r| {
            format!(
                "mov.u64 %rd7, table; add.u64 %rd7, %rd7, %rd4;\n\
                 ld.const{v}.{t} {r}, [%rd7];\nst.global{v}.{t} [%rd6], {r};"
            )
        },
        &table,
    );
}

#[test]
fn module_variables() {
    let found: Vec<u32> = ptx("ld.global.u32 %r1, [answer];\nld.global.u32 %r2, [table+8];\n\
         mov.u64 %rd4, table; ld.global.u32 %r3, [%rd4+4];\nld.const.f32 %f1, [scale+4];\n\
         cvt.rzi.u32.f32 %r4, %f1;\nld.global.u32 %r5, [zeros+12];\n\
         ld.global.u64 %rd5, [pointer];\nld.u32 %r6, [%rd5];\nld.global.s16 %r7, [halves+2];\n\
         add.u32 %r1, %r1, %r2; add.u32 %r1, %r1, %r3; add.u32 %r1, %r1, %r4;\n\
         add.u32 %r1, %r1, %r5; add.u32 %r1, %r1, %r6; add.s32 %r1, %r1, %r7;\n\
         st.global.u32 [%rd2], %r1;")
    .globals(
        ".global .u32 answer = 42;\n.global .align 4 .u32 table[3] = {1000, 2000, 4000};\n\
         .const .align 4 .f32 scale[2] = {0f3F800000, 0f41200000};\n\
         .global .align 4 .b8 zeros[16];\n.global .align 8 .u64 pointer = generic(table);\n\
         .global .align 2 .s16 halves[2] = {1, -5};",
    )
    .clean();
    // answer + table[2] + table[1] + scale[1] + 0 + table[0] + halves[1]
    assert_eq!(found, lanes(|_| 42 + 4000 + 2000 + 10 + 1000 - 5));
}

/// An 8-, 16- or 32-bit load into a wider register is sign-extended for signed types and
/// zero-extended for the others.
#[test]
fn loads_extend_to_the_register() {
    let values: [u64; 4] = [0x8081_8283_8485_8687, 0x7071_7273_7475_7677, u64::MAX, 1];
    for (name, bits) in [
        ("u8", 8),
        ("s8", 8),
        ("b8", 8),
        ("u16", 16),
        ("s16", 16),
        ("b16", 16),
        ("u32", 32),
        ("s32", 32),
        ("b32", 32),
    ] {
        let body = format!(
            "setp.gt.u32 %p0, %r0, 3;\n@%p0 ret;\nmul.wide.u32 %rd4, %r0, 8; add.u64 %rd5, %rd1, %rd4;\n\
             mul.wide.u32 %rd6, %r0, 16; add.u64 %rd6, %rd0, %rd6;\n\
             ld.global.{name} %rd7, [%rd5];\nst.global.u64 [%rd6], %rd7;\n\
             ld.global.{name} %r1, [%rd5];\nst.global.u32 [%rd6+8], %r1;"
        );
        let found: Vec<[u64; 2]> = ptx(&body).input(&values).out_bytes(64).clean();
        for (value, [wide, narrow]) in values.into_iter().zip(found) {
            let up = 64 - bits;
            let extended = match name.starts_with('s') {
                true => ((value << up) as i64 >> up) as u64,
                false => value << up >> up,
            };
            assert_eq!(wide, extended, "ld.{name} of {value:#x} to 64 bits");
            assert_eq!(narrow as u32, extended as u32, "ld.{name} of {value:#x} to 32 bits");
        }
    }
}

/// And into 16 bits, which the widening conversion then reads.
#[test]
fn byte_loads_extend_to_16_bits() {
    let found: Vec<u32> =
        ptx("cvt.u64.u32 %rd4, %r0; add.u64 %rd4, %rd1, %rd4;\nld.global.s8 %h1, [%rd4];\n\
         ld.global.u8 %h2, [%rd4];\ncvt.u32.u16 %r1, %h1; cvt.u32.u16 %r2, %h2;\n\
         shl.b32 %r2, %r2, 16; or.b32 %r1, %r1, %r2;\nst.global.u32 [%rd2], %r1;")
        .input(&lanes(|i| (i * 8) as u8))
        .clean();
    assert_eq!(
        found,
        lanes(|i| {
            let byte = (i * 8) as u8;
            u32::from(byte as i8 as i16 as u16) | u32::from(byte) << 16
        })
    );
}

#[test]
fn stores_truncate_the_register() {
    let value: u64 = 0x0123_4567_89ab_cdef;
    let found: Vec<u64> = ptx(
        "setp.ne.u32 %p0, %r0, 0;\n@%p0 ret;\nld.global.u64 %rd4, [%rd1]; cvt.u32.u64 %r1, %rd4;\n\
         st.global.u8 [%rd0], %rd4;\nst.global.u16 [%rd0+8], %rd4;\nst.global.u32 [%rd0+16], %rd4;\n\
         st.global.b8 [%rd0+24], %r1;\nst.global.s16 [%rd0+32], %r1;",
    )
    .input(&[value])
    .out_bytes(40)
    .clean();
    assert_eq!(found, [0xef, 0xcdef, 0x89ab_cdef, 0xef, 0xcdef]);
}

/// Scattered bytes and halves of one word by different lanes are not each other's.
#[test]
fn neighbours_within_a_word_do_not_race() {
    let found: Vec<u8> =
        ptx("cvt.u64.u32 %rd4, %r0; add.u64 %rd4, %rd0, %rd4;\ncvt.u16.u32 %h1, %r0;\n\
         st.global.u8 [%rd4], %h1;\nld.global.u8 %h2, [%rd4];\nst.global.u8 [%rd4], %h2;")
        .threads(64)
        .out_bytes(64)
        .clean();
    assert_eq!(found, (0..64).collect::<Vec<u8>>());
}

#[test]
fn spaces_of_generic_addresses() {
    let found: Vec<u32> = ptx(".shared .align 4 .b8 tile[4];\n.local .align 4 .b8 depot[4];\n\
         mov.u64 %rd4, tile; cvta.shared.u64 %rd4, %rd4;\n\
         mov.u64 %rd5, depot; cvta.local.u64 %rd5, %rd5;\n\
         mov.u64 %rd7, table; cvta.const.u64 %rd7, %rd7;\nmov.u32 %r2, 0;\n\
         isspacep.global %p1, %rd0;\nisspacep.shared %p2, %rd4;\nisspacep.local %p3, %rd5;\n\
         isspacep.const %p4, %rd7;\nisspacep.shared %p5, %rd0;\nisspacep.global %p6, %rd4;\n\
         isspacep.local %p7, %rd4;\nisspacep.const %p8, %rd0;\n\
         @%p1 or.b32 %r2, %r2, 1;\n@%p2 or.b32 %r2, %r2, 2;\n@%p3 or.b32 %r2, %r2, 4;\n\
         @%p4 or.b32 %r2, %r2, 8;\n@%p5 or.b32 %r2, %r2, 16;\n@%p6 or.b32 %r2, %r2, 32;\n\
         @%p7 or.b32 %r2, %r2, 64;\n@%p8 or.b32 %r2, %r2, 128;\nst.global.u32 [%rd2], %r2;")
    .globals(".const .align 4 .u32 table[1] = {5};")
    .clean();
    assert_eq!(found, lanes(|_| 15));
}

/// Generic stores where each lane means another space.
#[test]
fn one_instruction_reaches_several_spaces() {
    let found: Vec<u32> = ptx(
        ".shared .align 4 .b8 tile[128];\n.local .align 4 .b8 depot[4];\n\
         mov.u64 %rd4, tile; mul.wide.u32 %rd5, %r0, 4; add.u64 %rd4, %rd4, %rd5;\n\
         cvta.shared.u64 %rd4, %rd4;\nmov.u64 %rd6, depot; cvta.local.u64 %rd6, %rd6;\n\
         rem.u32 %r1, %r0, 3; setp.eq.u32 %p1, %r1, 0; setp.eq.u32 %p2, %r1, 1;\n\
         selp.b64 %rd7, %rd4, %rd6, %p1; selp.b64 %rd7, %rd2, %rd7, %p2;\n\
         st.u32 [%rd7], %r0;\nld.u32 %r3, [%rd7];\nadd.u32 %r3, %r3, 1;\nst.global.u32 [%rd2], %r3;",
    )
    .clean();
    assert_eq!(found, lanes(|i| i + 1));
}
