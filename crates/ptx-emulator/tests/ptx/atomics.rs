//! `atom` and `red`: every operation, type and space.

use super::{lanes, ptx, random};
use half::{bf16, f16};

/// New value from the old one and the operands b and c.
type Model = fn(u64, u64, u64) -> u64;

struct Operation {
    form: &'static str,
    bytes: usize,
    /// Of b and c: the register file.
    file: &'static str,
    model: Model,
    /// Values for memory and operands.
    values: fn(u64) -> u64,
    has_red: bool,
}

const fn operation(
    form: &'static str,
    bytes: usize,
    file: &'static str,
    model: Model,
) -> Operation {
    Operation { form, bytes, file, model, values: |bits| bits, has_red: true }
}

fn f16_sum(a: u16, b: u16) -> u16 {
    // The f64 sum is exact.
    f16::from_f64(f16::from_bits(a).to_f64() + f16::from_bits(b).to_f64()).to_bits()
}

fn bf16_sum(a: u16, b: u16) -> u16 {
    bf16::from_f64(bf16::from_bits(a).to_f64() + bf16::from_bits(b).to_f64()).to_bits()
}

fn halves(a: u64, b: u64, sum: fn(u16, u16) -> u16) -> u64 {
    let low = sum(a as u16, b as u16);
    let high = sum((a >> 16) as u16, (b >> 16) as u16);
    u64::from(low) | u64::from(high) << 16
}

/// Finite, neither tiny nor huge, in each 16-bit half.
fn tame_f16(bits: u64) -> u64 {
    let tame = |bits: u64| u64::from(f16::from_f32((bits as i16) as f32 / 256.0).to_bits());
    tame(bits) | tame(bits >> 16) << 16
}

fn tame_bf16(bits: u64) -> u64 {
    let tame = |bits: u64| u64::from(bf16::from_f32((bits as i16) as f32 / 256.0).to_bits());
    tame(bits) | tame(bits >> 16) << 16
}

fn operations() -> Vec<Operation> {
    let mut list = vec![
        operation("and.b32", 4, "%r", |a, b, _| a & b),
        operation("or.b32", 4, "%r", |a, b, _| a | b),
        operation("xor.b32", 4, "%r", |a, b, _| a ^ b),
        operation("and.b64", 8, "%rd", |a, b, _| a & b),
        operation("or.b64", 8, "%rd", |a, b, _| a | b),
        operation("xor.b64", 8, "%rd", |a, b, _| a ^ b),
        operation("add.u32", 4, "%r", |a, b, _| u64::from((a as u32).wrapping_add(b as u32))),
        operation("add.s32", 4, "%r", |a, b, _| u64::from((a as u32).wrapping_add(b as u32))),
        operation("add.u64", 8, "%rd", |a, b, _| a.wrapping_add(b)),
        operation("inc.u32", 4, "%r", |a, b, _| if a >= b { 0 } else { a + 1 }),
        operation("dec.u32", 4, "%r", |a, b, _| if a == 0 || a > b { b } else { a - 1 }),
        operation("min.u32", 4, "%r", |a, b, _| a.min(b)),
        operation("max.u32", 4, "%r", |a, b, _| a.max(b)),
        operation("min.s32", 4, "%r", |a, b, _| u64::from((a as i32).min(b as i32) as u32)),
        operation("max.s32", 4, "%r", |a, b, _| u64::from((a as i32).max(b as i32) as u32)),
        operation("min.u64", 8, "%rd", |a, b, _| a.min(b)),
        operation("max.u64", 8, "%rd", |a, b, _| a.max(b)),
        operation("min.s64", 8, "%rd", |a, b, _| (a as i64).min(b as i64) as u64),
        operation("max.s64", 8, "%rd", |a, b, _| (a as i64).max(b as i64) as u64),
    ];
    for (form, bytes, file) in [("exch.b32", 4, "%r"), ("exch.b64", 8, "%rd")] {
        list.push(Operation { has_red: false, ..operation(form, bytes, file, |_, b, _| b) });
    }
    for (form, bytes, file) in [("cas.b16", 2, "%h"), ("cas.b32", 4, "%r"), ("cas.b64", 8, "%rd")] {
        let model: Model = |a, b, c| if a == b { c } else { a };
        list.push(Operation { has_red: false, ..operation(form, bytes, file, model) });
    }
    list.extend([
        Operation {
            values: |bits| u64::from((bits as i32 as f32 / 65_536.0).to_bits()),
            ..operation("add.f32", 4, "%f", |a, b, _| {
                u64::from((f32::from_bits(a as u32) + f32::from_bits(b as u32)).to_bits())
            })
        },
        Operation {
            values: |bits| (bits as i64 as f64 / 65_536.0).to_bits(),
            ..operation("add.f64", 8, "%fd", |a, b, _| {
                (f64::from_bits(a) + f64::from_bits(b)).to_bits()
            })
        },
        Operation {
            values: |bits| tame_f16(bits) & 0xffff,
            ..operation("add.noftz.f16", 2, "%h", |a, b, _| f16_sum(a as u16, b as u16).into())
        },
        Operation {
            values: tame_f16,
            ..operation("add.noftz.f16x2", 4, "%r", |a, b, _| halves(a, b, f16_sum))
        },
        Operation {
            values: |bits| tame_bf16(bits) & 0xffff,
            ..operation("add.noftz.bf16", 2, "%h", |a, b, _| bf16_sum(a as u16, b as u16).into())
        },
        Operation {
            values: tame_bf16,
            ..operation("add.noftz.bf16x2", 4, "%r", |a, b, _| halves(a, b, bf16_sum))
        },
    ]);
    list
}

fn mask(bytes: usize) -> u64 {
    u64::MAX >> (64 - 8 * bytes)
}

/// Each lane has a word of its own: the old value comes back and the new one stays.
#[test]
fn every_operation_in_every_space() {
    let spaces = [
        ("global", "add.u64 %rd10, %rd6, 0;", "%rd10"),
        ("shared", "mov.u32 %r10, tile; mad.lo.u32 %r10, %r0, 8, %r10;", "%r10"),
        (
            "generic",
            "mov.u64 %rd10, tile; add.u64 %rd10, %rd10, %rd4; cvta.shared.u64 %rd10, %rd10;",
            "%rd10",
        ),
    ];
    let mut random = random(2);
    for operation in operations() {
        let Operation { form, bytes, file, model, values, has_red } = operation;
        let (name, _) = form.split_once('.').expect("a type");
        // Small numbers too, so that inc, dec and cas take both ways.
        let mut value = |lane: u64| {
            let bits = random();
            values(if lane.is_multiple_of(2) { bits % 3 } else { bits }) & mask(bytes)
        };
        let rows: Vec<[u64; 3]> = (0..32).map(|i| [value(i), value(i), value(i)]).collect();
        for (space, address, at) in spaces {
            for red in [false, true] {
                if red && !has_red {
                    continue;
                }
                let bits = bytes * 8;
                let suffix = if space == "generic" { String::new() } else { format!(".{space}") };
                let operands = match name {
                    "cas" => format!("{file}12, {file}13"),
                    _ => format!("{file}12"),
                };
                let access = match red {
                    false => format!(
                        "atom{suffix}.{form} {file}14, [{at}], {operands};\nst.global.b{bits} [%rd6+8], {file}14;"
                    ),
                    true => format!("red{suffix}.{form} [{at}], {operands};"),
                };
                let space = if space == "generic" { "" } else { space };
                let dot = if space.is_empty() { "" } else { "." };
                // out: the new value and the old one, of each lane.
                let body = format!(
                    ".shared .align 8 .b8 tile[256];\n\
                     mul.wide.u32 %rd4, %r0, 8; mul.wide.u32 %rd5, %r0, 24; add.u64 %rd5, %rd1, %rd5;\n\
                     mul.wide.u32 %rd6, %r0, 16; add.u64 %rd6, %rd0, %rd6;\n{address}\n\
                     ld.global.b{bits} {file}11, [%rd5];\nld.global.b{bits} {file}12, [%rd5+8];\n\
                     ld.global.b{bits} {file}13, [%rd5+16];\nst{dot}{space}.b{bits} [{at}], {file}11;\n\
                     {access}\nld{dot}{space}.b{bits} {file}15, [{at}];\nst.global.b{bits} [%rd6], {file}15;"
                );
                let found: Vec<[u64; 2]> = ptx(&body).input(&rows).out_bytes(512).clean();
                for (lane, ([new, old], [a, b, c])) in
                    found.into_iter().zip(rows.clone()).enumerate()
                {
                    let what = format!("{form} in {space:?}, lane {lane}: {a:#x} {b:#x} {c:#x}");
                    assert_eq!(new, model(a, b, c) & mask(bytes), "{what}: new value");
                    assert_eq!(old, if red { 0 } else { a }, "{what}: old value");
                }
            }
        }
    }
}

/// In global memory `atom.add.f32` flushes subnormal operands and results to zero, in shared memory
/// it does not.
#[test]
fn subnormals_of_f32_additions() {
    let tiny = f32::from_bits(3);
    let found: Vec<f32> =
        ptx(".shared .align 4 .b8 tile[4];\nsetp.ne.u32 %p0, %r0, 0;\n@%p0 ret;\n\
         ld.global.f32 %f1, [%rd1];\nst.global.f32 [%rd0], %f1;\nst.shared.f32 [tile], %f1;\n\
         atom.global.add.f32 %f2, [%rd0], %f1;\natom.shared.add.f32 %f3, [tile], %f1;\n\
         ld.shared.f32 %f4, [tile];\nst.global.f32 [%rd0+4], %f4;")
        .input(&[tiny])
        .out_bytes(8)
        .clean();
    assert_eq!(found.iter().map(|x| x.to_bits()).collect::<Vec<_>>(), [0, 6]);
}

/// Many threads of many blocks on one word: nothing is lost and every old value is seen once.
#[test]
fn contention() {
    let outcome: Vec<u32> = ptx(
        "mov.u32 %r1, %ctaid.x; mov.u32 %r2, %ntid.x; mad.lo.u32 %r1, %r1, %r2, %r0;\n\
         atom.global.add.u32 %r3, [%rd0], 1;\nmul.wide.u32 %rd4, %r1, 4; add.u64 %rd4, %rd0, %rd4;\n\
         st.global.u32 [%rd4+8], %r3;\nred.global.max.u32 [%rd0+4], %r3;",
    )
    .blocks(5)
    .threads(96)
    .out_bytes(8 + 4 * 480)
    .clean();
    let mut seen = outcome[2..].to_vec();
    seen.sort_unstable();
    assert_eq!((outcome[0], outcome[1]), (480, 479));
    assert_eq!(seen, (0..480).collect::<Vec<u32>>());
}

/// Semantics and scopes are modifiers of every form.
#[test]
fn scopes_and_semantics() {
    let mut body = String::new();
    for semantics in ["relaxed", "acquire", "release", "acq_rel"] {
        for scope in ["cta", "cluster", "gpu", "sys"] {
            body += &format!("atom.{semantics}.{scope}.global.add.u32 %r1, [%rd2], 1;\n");
        }
    }
    for semantics in ["relaxed", "release"] {
        body += &format!("red.{semantics}.gpu.global.add.u32 [%rd2], 1;\n");
    }
    // As ptxas takes them, too.
    body += "atom.add.release.gpu.global.u32 %r1, [%rd2], 1;\n";
    body += "red.add.release.gpu.u32 [%rd2], 1;\n";
    assert_eq!(ptx(&body).clean::<u32>(), lanes(|_| 20));
}
