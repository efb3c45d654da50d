//! `effnet emulate` from end to end, on kernels written by hand.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// `sum[i] = a[i] + b[i]` for `i < n`, and, without the comparison, for every thread.
fn vector_add(bounded: bool) -> String {
    let bound = if bounded { "setp.ge.u32 %p1, %r1, %r2; @%p1 bra DONE;" } else { "" };
    format!(
        ".version 8.0
.target sm_80
.address_size 64
.visible .entry add(.param .u64 a, .param .u64 b, .param .u64 sum, .param .u32 n)
{{
    .reg .pred %p<2>;
    .reg .b32 %r<6>;
    .reg .f32 %f<4>;
    .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [a];
    ld.param.u64 %rd2, [b];
    ld.param.u64 %rd3, [sum];
    ld.param.u32 %r2, [n];
    mov.u32 %r3, %ctaid.x;
    mov.u32 %r4, %ntid.x;
    mov.u32 %r5, %tid.x;
    mad.lo.s32 %r1, %r3, %r4, %r5;
    {bound}
    mul.wide.u32 %rd4, %r1, 4;
    add.s64 %rd5, %rd1, %rd4;
    add.s64 %rd6, %rd2, %rd4;
    add.s64 %rd7, %rd3, %rd4;
    ld.global.f32 %f1, [%rd5];
    ld.global.f32 %f2, [%rd6];
    add.rn.f32 %f3, %f1, %f2;
    st.global.f32 [%rd7], %f3;
DONE:
    ret;
}}
"
    )
}

/// A kernel that stores each of its parameters, of every type, one after the other.
const ECHO: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .entry echo(.param .u64 to, .param .u32 a, .param .s32 b, .param .u64 c, .param .s64 d,
    .param .f32 e, .param .f64 f, .param .b16 g, .param .align 4 .b8 h[8])
{
    .reg .b16 %h<2>;
    .reg .b32 %r<6>;
    .reg .b64 %rd<5>;
    ld.param.u64 %rd1, [to];
    ld.param.b32 %r1, [a];
    ld.param.b32 %r2, [b];
    ld.param.b64 %rd2, [c];
    ld.param.b64 %rd3, [d];
    ld.param.b32 %r3, [e];
    ld.param.b64 %rd4, [f];
    ld.param.b16 %h1, [g];
    ld.param.b32 %r4, [h];
    ld.param.b32 %r5, [h+4];
    st.global.b32 [%rd1], %r1;
    st.global.b32 [%rd1+4], %r2;
    st.global.b64 [%rd1+8], %rd2;
    st.global.b64 [%rd1+16], %rd3;
    st.global.b64 [%rd1+24], %rd4;
    st.global.b32 [%rd1+32], %r3;
    st.global.b32 [%rd1+36], %r4;
    st.global.b32 [%rd1+40], %r5;
    st.global.b16 [%rd1+44], %h1;
    ret;
}
";

/// Two kernels: one reverses a block's words through dynamic shared memory, one does nothing.
const TWO: &str = ".version 8.0
.target sm_80
.address_size 64
.extern .shared .align 4 .b8 words[];
.visible .entry reverse(.param .u64 data)
.maxntid 64, 1, 1
{
    .reg .b32 %r<8>;
    .reg .b64 %rd<4>;
    ld.param.u64 %rd1, [data];
    mov.u32 %r1, %tid.x;
    mul.wide.u32 %rd2, %r1, 4;
    add.s64 %rd3, %rd1, %rd2;
    ld.global.u32 %r2, [%rd3];
    mov.u32 %r3, words;
    shl.b32 %r4, %r1, 2;
    add.s32 %r5, %r3, %r4;
    st.shared.u32 [%r5], %r2;
    bar.sync 0;
    mov.u32 %r6, %ntid.x;
    sub.s32 %r6, %r6, %r1;
    shl.b32 %r6, %r6, 2;
    add.s32 %r6, %r6, %r3;
    ld.shared.u32 %r7, [%r6+-4];
    st.global.u32 [%rd3], %r7;
    ret;
}
.visible .entry nothing()
{
    .shared .align 4 .b8 unused[16];
    ret;
}
";

/// Every block arrives, and waits until all have; then each adds one to `data[1]`.
const GRID_BARRIER: &str = ".version 8.0
.target sm_80
.address_size 64
.visible .entry grid(.param .u64 data)
{
    .reg .pred %p<2>;
    .reg .b32 %r<4>;
    .reg .b64 %rd<2>;
    ld.param.u64 %rd1, [data];
    mov.u32 %r2, %nctaid.x;
    atom.global.add.u32 %r1, [%rd1], 1;
WAIT:
    ld.acquire.gpu.global.u32 %r3, [%rd1];
    setp.lt.u32 %p1, %r3, %r2;
    @%p1 bra WAIT;
    red.global.add.u32 [%rd1+4], 1;
    ret;
}
";

struct Place(tempfile::TempDir);

#[derive(Debug)]
struct Ran {
    #[allow(dead_code)] // shown when an assertion fails
    args: String,
    status: i32,
    stdout: String,
    stderr: String,
}

impl Place {
    fn new(files: &[(&str, &[u8])]) -> Place {
        let place = Place(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap());
        for (name, bytes) in files {
            fs::write(place.path(name), bytes).unwrap();
        }
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn floats(&self, name: &str) -> Vec<f32> {
        let bytes = fs::read(self.path(name)).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    }

    /// `effnet emulate` with these words.
    fn run(&self, args: &str) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_effnet"))
            .arg("emulate")
            .args(args.split_whitespace())
            .current_dir(self.0.path())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let ran = Ran {
            args: args.to_owned(),
            status: output.status.code().expect("not killed by a signal"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!ran.stderr.contains("panicked"), "{ran:#?}");
        ran
    }
}

impl Ran {
    #[track_caller]
    fn exits(self, status: i32) -> Ran {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    #[track_caller]
    fn says(self, parts: &[&str]) -> Ran {
        for part in parts {
            assert!(self.stderr.contains(part), "standard error without '{part}': {self:#?}");
        }
        self
    }

    #[track_caller]
    fn prints(self, stdout: &str) -> Ran {
        assert_eq!(self.stdout, stdout, "{self:#?}");
        self
    }
}

fn le(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

fn ramp(count: usize, scale: f32) -> Vec<f32> {
    (0..count).map(|i| i as f32 * scale).collect()
}

/// A place with the bounded and the unbounded vector addition, and 100 values each for `a` and `b`.
fn addition() -> Place {
    Place::new(&[
        ("add.ptx", vector_add(true).as_bytes()),
        ("unbounded.ptx", vector_add(false).as_bytes()),
        ("a.bin", &le(&ramp(100, 1.0))),
        ("b.bin", &le(&ramp(100, 0.5))),
    ])
}

#[test]
fn files_go_in_and_out() {
    let place = addition();
    place
        .run("add.ptx --grid 4 --block 32 in:a.bin in:b.bin out:400>sum.bin u32:100")
        .exits(0)
        .says(&[])
        .prints("");
    assert_eq!(place.floats("sum.bin"), ramp(100, 1.5));
    // In place, and in a file that is there already.
    place.run("add.ptx --grid 1 --block 50 inout:a.bin>a.bin in:b.bin inout:a.bin>sum.bin u32:50");
    let first = place.floats("sum.bin");
    assert_eq!(first[..50], ramp(50, 1.5)[..]);
    assert_eq!(first[50..], ramp(100, 1.0)[50..]);
    assert_eq!(place.floats("a.bin"), ramp(100, 1.0));
}

#[test]
fn hexadecimal_digits_go_in_and_out() {
    let place = addition();
    let args = "add.ptx --entry add --grid 1 --block 2 hexbuf:0000803f00000040>- \
                hexbuf:0000803f0000C0BF>b.out zero:12>- u32:2";
    place.run(args).exits(0).prints("0000803f00000040\n000000400000003f00000000\n");
    assert_eq!(place.floats("b.out"), [1.0, -1.5]);
}

#[test]
fn values_of_every_type() {
    let place = Place::new(&[("echo.ptx", ECHO.as_bytes())]);
    let args = "echo.ptx --grid 1 --block 1 out:46>- u32:0xdeadbeef s32:-2 u64:18446744073709551615 s64:-3 \
                f32:1.5 f64:-0.25 f16:-2 hex:0102030405060708";
    let expected = "efbeaddefeffffffffffffffffffffff\
                    fdffffffffffffff000000000000d0bf0000c03f010203040506070800c0\n";
    place.run(args).exits(0).prints(expected);
}

#[test]
fn out_of_bounds_is_reported_and_the_outputs_written() {
    let place = addition();
    let ran = place
        .run("unbounded.ptx --grid 4 --block 32 in:a.bin in:b.bin zero:512>sum.bin u32:100")
        .exits(3)
        .says(&["out-of-bounds", "in add at", "block (3, 0, 0)", "thread (4, 0, 0)", "of a"])
        .prints("");
    let line = vector_add(false).lines().position(|line| line.contains("[%rd5]")).unwrap() + 1;
    assert!(ran.stderr.contains(&format!("line {line}")), "{ran:#?}");
    assert_eq!(place.floats("sum.bin")[..100], ramp(100, 1.5)[..]);
}

#[test]
fn checks_are_chosen() {
    let place = addition();
    let run = |checks: &str| {
        place.run(&format!(
            "add.ptx --checks {checks} --grid 1 --block 32 out:128>x in:b.bin zero:128>- u32:32"
        ))
    };
    run("all").exits(3).says(&["uninitialised-memory"]);
    run("uninitialised-memory,misaligned").exits(3).says(&["uninitialised-memory"]);
    run("none").exits(0);
    run("shared-race").exits(0);
    run("races").exits(2).says(&["'races' is not a check", "all, none", "shared-race"]);
    // A run cannot go on without some.
    place
        .run("unbounded.ptx --checks none --grid 4 --block 32 in:a.bin in:b.bin zero:512>x u32:100")
        .exits(3)
        .says(&["out-of-bounds"]);
}

#[test]
fn one_of_several_kernels() {
    let place = Place::new(&[("two.ptx", TWO.as_bytes())]);
    place.run("two.ptx --grid 1 --block 1").exits(2).says(&[
        "which kernel?",
        "--entry NAME",
        "two.ptx has reverse, nothing",
    ]);
    place
        .run("two.ptx --entry none --grid 1 --block 1")
        .exits(2)
        .says(&["none", "reverse, nothing"]);
    place.run("two.ptx --entry nothing --grid 2,3,4 --block 8,8,8").exits(0).prints("");
    let reverse =
        "two.ptx --entry reverse --grid 1 --block 4 hexbuf:01000000020000000300000004000000>-";
    let reversed = "04000000030000000200000001000000\n";
    place.run(&format!("{reverse} --shared 16")).exits(0).prints(reversed);
    place.run(&format!("{reverse} --shared 16 --warps-adversarial 5")).exits(0).prints(reversed);
    place.run(&format!("{reverse} --shared 8")).exits(3).says(&["out-of-bounds"]);
}

#[test]
fn kernels_and_parameters_are_listed() {
    let place = Place::new(&[("two.ptx", TWO.as_bytes()), ("echo.ptx", ECHO.as_bytes())]);
    let nothing = "nothing\n  static shared memory: 16 bytes\n";
    let reverse = "reverse\n  offset  bytes  type  parameter\n       0      8  .u64  data\n  \
                   threads of a block: at most 64\n";
    place.run("two.ptx --list").exits(0).prints(&format!("{reverse}{nothing}"));
    place.run("two.ptx --list --entry nothing").exits(0).prints(nothing);
    place.run("two.ptx --list --entry other").exits(2).says(&["other", "reverse, nothing"]);
    let echo = place.run("echo.ptx --list").exits(0).stdout;
    assert!(echo.contains("      52      8  .align 4 .b8[8]  h\n"), "{echo}");
}

#[test]
fn counters_are_printed() {
    let place = addition();
    let ran = place
        .run("add.ptx --counters --grid 4 --block 32 in:a.bin in:b.bin zero:400>- u32:100")
        .exits(0);
    let (hex, counters) = ran.stdout.split_once('\n').unwrap();
    assert_eq!(hex.len(), 800);
    let count = |name: &str| -> u64 {
        let line = counters.lines().find(|line| line.trim_start().starts_with(name)).unwrap();
        line[line.find(name).unwrap() + name.len()..].trim().replace(',', "").parse().unwrap()
    };
    // 100 threads in four warps: 2 loads and 1 store each, of 4 sectors, but 1 sector in the last.
    assert_eq!(count("global memory requests"), 12);
    assert_eq!(count("sectors of 32 bytes"), 3 * (3 * 4 + 1));
    assert_eq!(count("divergent branches"), 1);
    assert!(count("warp instructions") >= 4 * 17);
}

/// Two warps; the store's line has one request of each.
#[test]
fn counters_by_line() {
    let ptx = "\
.version 9.0
.target sm_80
.address_size 64
.file 1 \"fill.cu\"
.entry fill(.param .u64 out)
{
    .reg .b32 %r<2>;
    .reg .b64 %rd<3>;
    .loc 1 7 0
    ld.param.u64 %rd1, [out];
    mov.u32 %r1, %tid.x;
    mad.wide.u32 %rd1, %r1, 4, %rd1;
    .loc 1 8 0
    st.global.u32 [%rd1], %r1;
    ret;
}
";
    let bare: String =
        ptx.lines().filter(|l| !l.contains(".loc")).map(|l| format!("{l}\n")).collect();
    let place = Place::new(&[("fill.ptx", ptx.as_bytes()), ("bare.ptx", bare.as_bytes())]);
    let ran = place.run("fill.ptx --counters=lines --grid 1 --block 64 out:256>o.bin").exits(0);
    let row = |line: &str| -> Vec<u64> {
        let row = ran.stdout.lines().find(|row| row.starts_with(line)).unwrap();
        row.split_whitespace().skip(1).map(|count| count.parse().unwrap()).collect()
    };
    assert_eq!(row("fill.cu:7"), [6, 0, 0, 0, 0]);
    assert_eq!(row("fill.cu:8"), [4, 2, 8, 0, 0]);
    place
        .run("bare.ptx --counters=lines --grid 1 --block 64 out:256>o.bin")
        .exits(0)
        .says(&["-lineinfo"]);
    place.run("fill.ptx --counters=files --grid 1 --block 64 out:256>o.bin").exits(2);
}

#[test]
fn cooperative_blocks_wait_for_each_other() {
    let place = Place::new(&[("grid.ptx", GRID_BARRIER.as_bytes())]);
    let args = "grid.ptx --grid 4 --block 1 zero:8>-";
    place.run(&format!("{args} --cooperative")).exits(0).prints("0400000004000000\n");
    place
        .run(&format!("{args} --cooperative --warps-adversarial 11"))
        .exits(0)
        .prints("0400000004000000\n");
    let alone = place.run(&format!("{args} --budget 100000")).exits(3);
    assert!(["livelock", "budget"].iter().any(|check| alone.stderr.contains(check)), "{alone:#?}");
}

#[test]
fn wrong_arguments_say_which_and_what_was_expected() {
    let place = addition();
    let cases: &[(&str, &[&str])] = &[
        (
            "in:a.bin in:b.bin out:400>sum.bin",
            &["3 arguments given", "4 parameters", ".u64 sum", ".u32 n"],
        ),
        ("in:a.bin in:b.bin out:400>sum.bin u32:1 u32:2", &["5 arguments given", "4 parameters"]),
        ("", &["0 arguments given"]),
        (
            "in:a.bin in:b.bin out:400>sum.bin u64:1",
            &["argument 4 'u64:1' has 8 bytes", "expected 4, of .u32 n"],
        ),
        (
            "in:a.bin u32:0 out:400>sum.bin u32:1",
            &["argument 2 'u32:0' has 4 bytes", "expected 8, of .u64 b"],
        ),
        ("in:a.bin in:b.bin out:400>sum.bin in:a.bin", &["argument 4 'in:a.bin' has 8 bytes"]),
        (
            "in:a.bin in:b.bin out:400>sum.bin u32:4294967296",
            &["argument 4 'u32:4294967296'", "from 0 to 4294967295"],
        ),
        (
            "in:a.bin in:b.bin out:400>sum.bin u32:-1",
            &["argument 4 'u32:-1'", "from 0 to 4294967295"],
        ),
        ("in:a.bin in:b.bin out:400>sum.bin 100", &["argument 4 '100'", "KIND:VALUE"]),
        ("in:a.bin in:b.bin out:400>sum.bin f16:1e5", &["argument 4", "too large for f16"]),
        ("in:a.bin in:b.bin out:400 u32:100", &["argument 3 'out:400'", "out:BYTES>OUT"]),
        (
            "in:a.bin in:b.bin out:99999999999999999999>x u32:100",
            &["argument 3", "BYTES a number from 1 to"],
        ),
        ("in:a.bin out:1073741824>x out:400>y u32:100", &["argument 2", "all buffers together"]),
        (
            "in:a.bin hexbuf:000>x out:400>y u32:100",
            &["argument 2 'hexbuf:000>x'", "pairs of hexadecimal digits"],
        ),
        ("in:none.bin in:b.bin out:400>sum.bin u32:1", &["cannot read none.bin"]),
        ("in:a.bin inout:b.bin>sum.bin out:400>sum.bin u32:1", &["argument 3", "same file"]),
    ];
    for (args, parts) in cases {
        place.run(&format!("add.ptx --grid 4 --block 32 {args}")).exits(2).says(parts).prints("");
    }
    assert!(!place.path("sum.bin").exists());
    place
        .run("add.ptx --grid 1 --block 32 in:a.bin in:b.bin zero:400>none/sum.bin u32:1")
        .exits(2)
        .says(&["cannot write none/sum.bin"]);
}

#[test]
fn limits_of_a_launch() {
    let place = Place::new(&[("two.ptx", TWO.as_bytes())]);
    let cases: &[(&str, &str)] = &[
        ("--entry nothing --grid 1 --block 1025", "1024"),
        ("--entry nothing --grid 1 --block 32,64", "1024"),
        ("--entry nothing --grid 1 --block 1,1,65", "64"),
        ("--entry nothing --grid 1,65536 --block 1", "65535"),
        ("--entry nothing --grid 2147483648 --block 1", "2147483647"),
        ("--entry nothing --grid 1 --block 1 --shared 400000", "shared"),
        ("--entry nothing --grid 3 --block 1 --cluster 2", "cluster"),
        ("--entry nothing --grid 1000000 --block 1 --cooperative", "cooperative"),
        ("--entry reverse --grid 1 --block 65 zero:1000>-", ".maxntid"),
        ("--entry nothing --grid 0 --block 1", "expected one to three numbers from 1 on"),
        ("--entry nothing --grid 1,1,1,1 --block 1", "at most three"),
        ("--entry nothing --grid x --block 1", "expected one to three numbers"),
        ("--entry nothing --grid 1", "--block"),
        ("--entry nothing --block 1", "--grid"),
        ("--entry nothing --grid -1 --block 1", "expected one to three numbers"),
        ("--entry nothing --grid 1 --block 1 --shared -1", "--shared"),
        ("--entry nothing --grid 1 --block 1 --budget 0", "--budget"),
        ("--entry nothing --grid 1 --block 1 --warps-adversarial x", "--warps-adversarial"),
    ];
    for (args, part) in cases {
        place.run(&format!("two.ptx {args}")).exits(2).says(&[part]).prints("");
    }
}

#[test]
fn ptx_that_cannot_be_taken() {
    let unsupported = vector_add(true).replace("add.rn.f32", "add.rn.f33");
    let line = unsupported.lines().position(|line| line.contains("f33")).unwrap() + 1;
    let place = Place::new(&[
        ("unsupported.ptx", unsupported.as_bytes()),
        ("malformed.ptx", b".version 8.0\n.target sm_80\nmain() {}"),
        ("binary.ptx", b"\x7fELF\xff\xfe"),
        ("empty.ptx", b".version 8.0 .target sm_80 .address_size 64"),
    ]);
    let run = |args: &str| place.run(args).exits(2);
    run("unsupported.ptx --list").says(&[&format!("unsupported.ptx:{line}"), "add.rn.f33"]);
    run("malformed.ptx --list").says(&["malformed.ptx:3: expected a directive", "found `main`"]);
    run("binary.ptx --list").says(&["binary.ptx is not text", "nvcc -ptx"]);
    run("none.ptx --list").says(&["cannot read none.ptx"]);
    run("empty.ptx --grid 1 --block 1").says(&["which kernel?", "empty.ptx has none"]);
    place.run("empty.ptx --list").exits(0).prints("");
}
