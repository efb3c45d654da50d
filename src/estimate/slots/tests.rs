use super::*;
use crate::emulator::{Launch, Memory, Module};

/// Compiled of `crates/sass-listing/tests/listings/small.cu` by nvcc 13.0, for sm_90.
const SMALL: [&str; 2] = [
    include_str!("../../../crates/sass-listing/tests/listings/small.ptx"),
    include_str!("../../../crates/sass-listing/tests/listings/small.sm_90.sass"),
];

/// A loop whose body the machine code has four times over, and once.
const LOOP: [&str; 2] = [
    r#".version 8.0
.target sm_90
.address_size 64
.visible .entry f(.param .u32 steps)
{
    .reg .pred %p<3>;
    .reg .b32 %r<8>;
    .reg .f32 %f<4>;
    .shared .align 4 .b8 tile[4096];
    .loc 1 3 1
    ld.param.u32 %r1, [steps];
    mov.u32 %r2, 0;
    mov.u32 %r4, tile;
    mov.f32 %f1, 0f00000000;
    setp.eq.s32 %p1, %r1, 0;
    @%p1 bra $L__end;
$L__loop:
    .loc 1 5 1
    ld.shared.f32 %f2, [%r4];
    .loc 1 6 1
    add.f32 %f1, %f1, %f2;
    .loc 1 4 1
    add.s32 %r4, %r4, 4;
    add.s32 %r2, %r2, 1;
    setp.lt.s32 %p2, %r2, %r1;
    @%p2 bra $L__loop;
$L__end:
    .loc 1 8 1
    mov.u32 %r5, tile;
    st.shared.f32 [%r5], %f1;
    ret;
}
    .file 1 "kernels/loop.cu"
"#,
    r#"	.target	sm_90
	.section	.text.f,"ax"
f:
.text.f:
	//## File "kernels/loop.cu", line 3
        /*0000*/ ISETP.EQ.AND P0, PT, R1, RZ, PT ;
        /*0010*/ @P0 BRA `(.end) ;
        /*0020*/ @P1 BRA `(.rest) ;
.four:
	//## File "kernels/loop.cu", line 5
        /*0030*/ LDS R2, [R4] ;
        /*0040*/ LDS R3, [R4+0x4] ;
        /*0050*/ LDS R5, [R4+0x8] ;
        /*0060*/ LDS R6, [R4+0xc] ;
	//## File "kernels/loop.cu", line 6
        /*0070*/ FADD R0, R0, R2 ;
        /*0080*/ FADD R0, R0, R3 ;
        /*0090*/ FADD R0, R0, R5 ;
        /*00a0*/ FADD R0, R0, R6 ;
	//## File "kernels/loop.cu", line 4
        /*00b0*/ ISETP.LT.AND P2, PT, R7, R1, PT ;
        /*00c0*/ @P2 BRA `(.four) ;
        /*00d0*/ @P3 BRA `(.end) ;
.rest:
	//## File "kernels/loop.cu", line 5
        /*00e0*/ LDS R2, [R4] ;
	//## File "kernels/loop.cu", line 6
        /*00f0*/ FADD R0, R0, R2 ;
	//## File "kernels/loop.cu", line 4
        /*0100*/ ISETP.LT.AND P2, PT, R7, R1, PT ;
        /*0110*/ @P2 BRA `(.rest) ;
.end:
	//## File "kernels/loop.cu", line 8
        /*0120*/ STS [R4], R0 ;
        /*0130*/ EXIT ;
"#,
];

fn image([ptx, sass]: [&'static str; 2]) -> (Image<'static>, Module) {
    let listing = Listing::parse(sass).unwrap();
    (Image::new(ptx, Some(listing)), Module::parse("test.ptx", ptx).unwrap())
}

fn weights(image: &Image, module: &Module) -> Weights {
    image.weights(module.entries(), |_| true).pop().unwrap()
}

fn counts(launch: Launch, memory: &mut Memory) -> Vec<f64> {
    let report = launch.per_instruction(true).run(memory).unwrap();
    assert!(report.is_clean(), "{report:?}");
    report.counters.by_instruction.iter().map(|counters| counters.executed as f64).collect()
}

/// Two warps of `scale`, of which one stores.
fn scale(module: &Module, steps: i32) -> Vec<f64> {
    let mut memory = Memory::new();
    let input = memory.upload("in", &[0.5f32; 64]);
    let output = memory.upload("out", &[0f32; 64]);
    let launch = Launch::new(module, "scale").unwrap().block([64, 1, 1]);
    let launch = launch.arg(input.address()).arg(output.address()).arg(20i32).arg(steps);
    counts(launch, &mut memory)
}

/// Line of `small.cu`.
fn line(slots: &Slots, line: u32) -> f64 {
    slots.by_line.get(&("kernels/small.cu".into(), line)).map_or(0.0, Pipes::total)
}

#[test]
fn slots_of_a_kernel_are_what_its_listing_says() {
    let (image, module) = image(SMALL);
    let weights = weights(&image, &module);
    assert_eq!(weights.source(), Source::MachineCode);
    for (steps, rounds) in [(5, 10.0), (1, 2.0), (0, 0.0)] {
        let counts = scale(&module, steps);
        let slots = weights.slots(&counts);
        // Read off the listing: sixteen instructions before the loop's branch, four that prepare
        // the loop, 24 in it but for the call of the slow path, three up to the exit of those that
        // do not store, and five that do.
        let prepared = if steps > 0 { 2.0 } else { 0.0 };
        let expected = 16.0 * 2.0 + 4.0 * prepared + 24.0 * rounds + 3.0 * 2.0 + 5.0;
        assert_eq!(slots.by_pipe.total(), expected, "{steps} steps");
        // MUFU.EX2, MUFU.RCP, FCHK.
        assert_eq!(slots.by_pipe.of(Pipe::Special), 3.0 * rounds);
        assert_eq!(slots.by_pipe.of(Pipe::Other), 0.0);
        // The swish, without its slow path: five of the exponential, the sum, seven of the
        // division, and BSSY, BRA and BSYNC.
        assert_eq!(line(&slots, 3), 16.0 * rounds);
        assert_eq!(line(&slots, 15), 4.0);
        let of_lines: f64 = slots.by_line.values().map(Pipes::total).sum();
        assert_eq!(of_lines, slots.by_pipe.total());
    }
}

#[test]
fn without_a_listing_a_table_counts() {
    let (_, module) = image(SMALL);
    let weights = weights(&Image::new(SMALL[0], None), &module);
    assert_eq!(weights.source(), Source::Opcodes);
    let slots = weights.slots(&scale(&module, 5));
    // mul, ex2 with its five, add, div with its fourteen, ten times each.
    assert_eq!(line(&slots, 3), 10.0 * (1.0 + 5.0 + 1.0 + 14.0));
    // Where the machine code is known, the table is near it: 291 slots.
    let exact = 291.0;
    assert!((slots.by_pipe.total() / exact - 1.0).abs() < 0.25, "{slots:?}");
}

#[test]
fn a_loop_that_the_assembler_copied() {
    let (image, module) = image(LOOP);
    let weights = weights(&image, &module);
    let of = |steps: u32| {
        let mut memory = Memory::new();
        let launch = Launch::new(&module, "f").unwrap().block([32, 1, 1]).arg(steps);
        // The tile's words are never written: that is not what this is about.
        let checks = crate::emulator::Checks::required();
        let report = launch.checks(checks).per_instruction(true).run(&mut memory).unwrap();
        let counters = report.counters.by_instruction;
        weights.slots(&counters.iter().map(|c| c.executed as f64).collect::<Vec<f64>>())
    };
    let lines = |slots: &Slots| -> Vec<f64> {
        let at = |line| slots.by_line.get(&("kernels/loop.cu".into(), line));
        [3, 4, 5, 6, 8].map(|line| at(line).map_or(0.0, Pipes::total)).into()
    };
    // Eleven iterations: two of four, three of one. Line 4 has two instructions in each round and
    // one behind the loop of four.
    assert_eq!(lines(&of(11)), [3.0, 2.0 * 2.0 + 1.0 + 3.0 * 2.0, 11.0, 11.0, 2.0]);
    assert_eq!(lines(&of(3)), [3.0, 3.0 * 2.0, 3.0, 3.0, 2.0]);
    assert_eq!(lines(&of(8)), [3.0, 2.0 * 2.0 + 1.0, 8.0, 8.0, 2.0]);
    assert_eq!(lines(&of(0))[2..], [0.0, 0.0, 2.0]);
}

#[test]
fn instructions_take_the_slots_of_their_lines() {
    let cycles = Latencies {
        arithmetic: 4.0,
        convert: 6.0,
        special: 24.0,
        tensor: 33.0,
        shuffle: 25.0,
        branch: 10.0,
        shared: 30.0,
        atomic: 650.0,
        fence: 400.0,
    };
    let (image, module) = image(SMALL);
    let counts = scale(&module, 5);
    for weights in [weights(&image, &module), weights(&Image::new(SMALL[0], None), &module)] {
        let timed = weights.timing(&counts, &cycles);
        let issued: f64 = timed.iter().zip(&counts).map(|(timed, count)| timed.issue * count).sum();
        let total = weights.slots(&counts).by_pipe.total();
        assert!((issued / total - 1.0).abs() < 1e-9, "{issued} of {total}");
        let instructions = module.entries()[0].instructions();
        let of = |form: &str| timed[instructions.iter().position(|i| i.form == form).unwrap()];
        assert!(of("div.rn.f32").blocking && !of("ex2.approx.f32").blocking);
        assert_eq!(of("div.rn.f32").latency, 54.0);
        assert_eq!(of("ld.shared.f32").latency, 30.0);
        assert_eq!(of("mov.u32").issue, 0.0);
        assert!(of("div.rn.f32").issue > 2.0 * of("ex2.approx.f32").issue);
        assert_eq!(weights.lines().len(), counts.len());
    }
}
