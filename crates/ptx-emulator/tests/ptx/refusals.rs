//! What is refused at load, with line and form, and launches that are refused.

use super::{line_of, ptx};
use ptx_emulator::{Launch, Memory, Module};

/// The module is refused with a message that has the file, the line of the instruction and these
/// words.
#[track_caller]
fn refused(globals: &str, body: &str, instruction: &str, words: &[&str]) {
    if let Err(why) = is_refused(globals, body, instruction, words) {
        panic!("{why}");
    }
}

fn is_refused(globals: &str, body: &str, instruction: &str, words: &[&str]) -> Result<(), String> {
    let text = ptx(body).globals(globals).text();
    let line = line_of(&text, instruction);
    let Err(error) = Module::parse("k.ptx", &text) else {
        return Err(format!("accepted: {instruction}"));
    };
    let message = error.to_string();
    let place = format!("k.ptx:{line}: ");
    for part in words.iter().chain([&place.as_str()]) {
        if !message.contains(part) {
            return Err(format!("{part:?} is not in {message:?}, of {instruction}"));
        }
    }
    Ok(())
}

/// One instruction that is refused, with words of the message.
const INSTRUCTIONS: &[(&str, &[&str])] = &[
    // Whole families.
    ("wgmma.fence.sync.aligned;", &["wgmma"]),
    (
        "wmma.load.a.sync.aligned.row.m16n16k16.f16 {%r1, %r2, %r3, %r4, %r5, %r6, %r7, %r8}, [%rd0];",
        &["wmma"],
    ),
    ("tex.2d.v4.f32.f32 {%f1, %f2, %f3, %f4}, [%rd0, {%f5, %f6}];", &["tex"]),
    ("suld.b.1d.b32.trap %r1, [%rd0, {%r2}];", &["suld"]),
    (
        "cp.async.bulk.tensor.1d.shared::cluster.global.mbarrier::complete_tx::bytes [%r1], [%rd0, {%r2}], [%r3];",
        &["cp.async.bulk.tensor"],
    ),
    ("tcgen05.wait::ld.sync.aligned;", &["tcgen05"]),
    ("cvt.rn.satfinite.e4m3x2.f32 %h1, %f1, %f2;", &["e4m3x2"]),
    ("frobnicate.u32 %r1, %r2;", &["frobnicate"]),
    // Without membermasks, gone since sm_70.
    ("shfl.bfly.b32 %r1, %r2, 1, 31;", &["shfl"]),
    ("vote.all.pred %p1, %p2;", &["vote"]),
    // Modifiers and types.
    ("add.frob.u32 %r1, %r2, %r3;", &["add.frob.u32"]),
    ("add.sat.u32 %r1, %r2, %r3;", &["add.sat.u32"]),
    ("add.u8 %h1, %h2, %h3;", &["add.u8"]),
    ("add %r1, %r2, %r3;", &["add"]),
    ("shl.s32 %r1, %r2, %r3;", &["shl.s32"]),
    ("setp.lo.s32 %p1, %r1, %r2;", &["setp.lo.s32"]),
    ("div.f32 %f1, %f2, %f3;", &["div.f32"]),
    ("fma.f32 %f1, %f2, %f3, %f4;", &["fma.f32"]),
    ("ex2.rn.f32 %f1, %f2;", &["ex2"]),
    ("cvt.f16.f32 %h1, %f1;", &["cvt.f16.f32"]),
    ("ld.global.v3.u32 {%r1, %r2, %r3}, [%rd0];", &["v3"]),
    ("ld.texture.u32 %r1, [%rd0];", &["texture"]),
    ("st.const.u32 [%rd0], %r1;", &["const"]),
    ("atom.global.mul.u32 %r1, [%rd0], %r2;", &["mul"]),
    ("atom.global.add.f16 %h1, [%rd0], %h2;", &["f16"]),
    ("red.global.exch.b32 [%rd0], %r2;", &["exch"]),
    ("atom.weak.global.add.u32 %r1, [%rd0], %r2;", &["weak"]),
    ("bar.sync.frob 0;", &["frob"]),
    (
        "mma.sync.aligned.m8n8k4.row.col.f32.f16.f16.f32 {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8}, {%r1, %r2}, {%r3, %r4}, {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8};",
        &["m8n8k4"],
    ),
    ("cp.async.ca.shared.global [%r1], [%rd0], 12;", &["12"]),
    ("cp.async.cg.shared.global [%r1], [%rd0], 8;", &["8"]),
    ("redux.sync.add.f32 %f1, %f2, -1;", &["redux"]),
    // Operands: number, class, width.
    ("add.u32 %r1, %r2;", &["add.u32"]),
    ("add.u32 %r1, %r2, %r3, %r4;", &["add.u32"]),
    ("add.u32 %rd1, %r2, %r3;", &["%rd1"]),
    ("add.u32 %r1, %r2, %rd3;", &["%rd3"]),
    ("add.u64 %rd1, %rd2, %r3;", &["%r3"]),
    ("setp.eq.u32 %r1, %r2, %r3;", &["%r1"]),
    ("selp.u32 %r1, %r2, %r3, %r4;", &["%r4"]),
    ("mov.u32 %p1, %r2;", &["%p1"]),
    ("add.u32 5, %r2, %r3;", &["add.u32"]),
    ("add.u32 %r1, [%rd0], %r3;", &["add.u32"]),
    ("add.u32 %r1, %r2, 0f3F800000;", &["add.u32"]),
    ("ld.global.u32 %r1, %rd0;", &["ld.global.u32"]),
    ("ld.global.u64 %r1, [%rd0];", &["%r1"]),
    ("ld.global.v2.u32 %r1, [%rd0];", &["ld.global.v2.u32"]),
    ("ld.global.u32 {%r1, %r2}, [%rd0];", &["ld.global.u32"]),
    ("st.global.u64 [%rd0], %r1;", &["%r1"]),
    ("ld.global.u32 %r1, [%h1];", &["%h1"]),
    ("mov.b64 {%r1, %r2, %r3}, %rd1;", &["mov.b64"]),
    ("shfl.sync.idx.b32 %rd1, %r2, 0, 31, -1;", &["%rd1"]),
    ("@%r1 mov.u32 %r2, 0;", &["%r1"]),
    ("bar.sync 16;", &["16"]),
    // Names.
    ("mov.u32 %r1, %nothing;", &["%nothing"]),
    ("add.u32 %r1, %r2, %r64;", &["%r64"]),
    ("bra NOWHERE;", &["NOWHERE"]),
    ("call elsewhere;", &["elsewhere"]),
    ("ld.param.u32 %r1, [missing];", &["missing"]),
];

#[test]
fn instructions_are_refused_with_their_line() {
    let mut wrong = Vec::new();
    for (instruction, words) in INSTRUCTIONS {
        let body = format!("mov.u32 %r1, 0;\n{instruction}\nmov.u32 %r2, 0;");
        wrong.extend(is_refused("", &body, instruction, words).err());
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn calls_that_cannot_be_followed_are_refused() {
    let call = "call.uni (%r1), vprintf, (%rd0, %rd1);";
    let printf = ".extern .func (.param .b32 r) vprintf(.param .b64 a, .param .b64 b);";
    refused(printf, call, call, &["call.uni", "printf"]);

    let indirect = "call %rd4, PROTOTYPE;";
    let body = format!("mov.u64 %rd4, callee;\nPROTOTYPE: .callprototype _ ();\n{indirect}");
    refused(".func callee()\n{\nret;\n}", &body, "mov.u64 %rd4, callee", &["callee"]);

    let recursive = ".func callee()\n{\ncall callee;\nret;\n}";
    let text = ptx("call callee;").globals(recursive).text();
    let message = Module::parse("k.ptx", &text).expect_err("recursion is refused").to_string();
    assert!(message.contains("callee"), "{message}");
}

#[test]
fn malformed_text_is_refused() {
    let mut accepted = Vec::new();
    for (body, instruction) in [
        ("mov.u32 %r1, 0", "mov.u32 %r1, 0"),
        ("mov.u32 %r1, ;", "mov.u32 %r1, ;"),
        ("ld.global.u32 %r1, [%rd0;", "[%rd0;"),
        ("mov.u32 %r1, 0xg;", "0xg"),
        ("mov.f32 %f1, 0f12;", "0f12"),
        ("A:\nA:\nret;", "A:"),
        ("{\nmov.u32 %r1, 0;", "mov.u32 %r1, 0"),
        (".reg .b32 %r1;", ".reg .b32 %r1;"),
        (".reg .b33 %x;", ".b33"),
        ("/* never closed", "never closed"),
        ("mov.u32 %r1, \"text;", "text"),
    ] {
        let text = ptx(body).text();
        line_of(&text, instruction);
        match Module::parse("k.ptx", &text) {
            Ok(_) => accepted.push(body),
            Err(error) => assert!(error.to_string().starts_with("k.ptx:"), "{error}"),
        }
    }
    assert!(accepted.is_empty(), "{accepted:?}");
}

#[test]
fn launches_beyond_the_limits_are_refused() {
    let text = ptx("st.global.u32 [%rd2], %r0;").text();
    let module = Module::parse("k.ptx", &text).expect("PTX");
    assert!(Launch::new(&module, "missing").is_err());
    let mut memory = Memory::new();
    let out = memory.zeroed("out", 128);
    let mut refused = |what: &str, change: &dyn Fn(Launch) -> Launch| {
        let launch = Launch::new(&module, "k").expect("the entry");
        let launch = launch.grid([1; 3]).block([32, 1, 1]).arg(out.address()).arg(out.address());
        assert!(change(launch).run(&mut memory).is_err(), "{what} is accepted");
    };
    refused("no threads", &|l| l.block([0, 1, 1]));
    refused("1025 threads", &|l| l.block([1025, 1, 1]));
    refused("2048 threads", &|l| l.block([32, 64, 1]));
    refused("65 threads in z", &|l| l.block([1, 1, 65]));
    refused("no blocks", &|l| l.grid([1, 0, 1]));
    refused("65536 blocks in y", &|l| l.grid([1, 65_536, 1]));
    refused("2^31 blocks", &|l| l.grid([1 << 31, 1, 1]));
    refused("228 KB of shared memory", &|l| l.shared_bytes(228 * 1024));
    refused("an argument too many", &|l| l.arg(1u64));
    refused("parameters of another size", &|l| l.params(&[0; 8]));
    refused("a cluster that does not divide the grid", &|l| l.grid([3, 1, 1]).cluster([2, 1, 1]));
    refused("a cluster of 17", &|l| l.grid([17, 1, 1]).cluster([17, 1, 1]));
    refused("too many resident blocks", &|l| l.grid([1 << 20, 1, 1]).cooperative(true));
    let launch = Launch::new(&module, "k").expect("the entry").grid([1; 3]).block([32, 1, 1]);
    assert!(launch.arg(out.address()).run(&mut memory).is_err(), "an argument too few is accepted");
}

#[test]
fn entries_say_what_they_take() {
    let text = ptx(".shared .align 4 .b8 tile[400];\nret;").text();
    let module = Module::parse("k.ptx", &text.replace(", .param .u64 in)", ", .param .f32 x)"));
    let error = module.expect_err("ld.param of a parameter that is gone");
    assert!(error.to_string().contains("in"), "{error}");

    let text = text.replace(
        ", .param .u64 in)",
        ", .param .u64 in, .param .align 8 .b8 block[20], .param .u8 flag, .param .f64 scale)\n.maxntid 128, 1, 1",
    );
    let module = Module::parse("k.ptx", &text).expect("PTX");
    let [entry] = module.entries() else { panic!("one entry") };
    assert_eq!((entry.name.as_str(), entry.max_threads), ("k", Some(128)));
    assert_eq!(entry.shared_bytes, 400);
    let params: Vec<(&str, u32, u32, u32)> = entry
        .params
        .iter()
        .map(|p| (p.name.as_str(), p.size_bytes, p.align_bytes, p.offset_bytes))
        .collect();
    assert_eq!(
        params,
        [
            ("out", 8, 8, 0),
            ("in", 8, 8, 8),
            ("block", 20, 8, 16),
            ("flag", 1, 1, 36),
            ("scale", 8, 8, 40)
        ]
    );
}
