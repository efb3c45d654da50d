//! What holds of every timed launch.

use super::{LATENCIES, is_whole, kernel};
use ptx_emulator::{
    Cause, Checks, InstructionTiming, Launch, LaunchError, Memory, Module, Report, Timing,
};

const REDUCTION: &str = include_str!("../fixtures/reduction.ptx");

/// The reduction of the fixtures, timed or not: what it reports, and its bytes.
fn reduction(
    timing: Option<&Timing>,
    checks: Checks,
    blocks: Option<&[u64]>,
) -> (Report, Vec<u32>) {
    let module = Module::parse("reduction.ptx", REDUCTION).unwrap();
    let mut memory = Memory::new();
    let values: Vec<u32> = (0..1 << 14).map(|i: u32| (i as f32).to_bits()).collect();
    let buffers = [
        memory.upload("in", &values),
        memory.zeroed("partial", 256),
        memory.zeroed("done", 4),
        memory.zeroed("out", 4),
    ];
    let mut launch = Launch::new(&module, "reduction").unwrap().grid([8, 1, 1]).block([256, 1, 1]);
    for buffer in &buffers {
        launch = launch.arg(buffer.address());
    }
    launch = launch.arg(1u32 << 14).checks(checks).per_instruction(true);
    if let Some(timing) = timing {
        launch = launch.timed(timing);
    }
    if let Some(blocks) = blocks {
        launch = launch.blocks(blocks);
    }
    let report = launch.run(&mut memory).unwrap();
    assert!(report.is_clean(), "{:?}", report.findings);
    (report, memory.download(&buffers[1]))
}

fn timing() -> Timing {
    let module = Module::parse("reduction.ptx", REDUCTION).unwrap();
    let count = module.entry("reduction").unwrap().instructions().len();
    let cost = InstructionTiming { issue: 1.0, latency: 4.0, pipe_cycles: 0.0, blocking: false };
    Timing {
        instructions: vec![cost; count],
        latencies: LATENCIES,
        warps_per_scheduler: 2.0,
        reordered: false,
        l1_bytes: 1 << 15,
        dependent: false,
    }
}

#[test]
fn a_clock_changes_nothing_and_agrees_with_itself() {
    let timing = timing();
    let (plain, bytes) = reduction(None, Checks::ALL, None);
    assert!(plain.timings.is_empty());
    let (timed, timed_bytes) = reduction(Some(&timing), Checks::ALL, None);
    assert_eq!((timed.counters, timed_bytes), (plain.counters.clone(), bytes.clone()));
    let (fast, fast_bytes) = reduction(Some(&timing), Checks::required(), None);
    assert_eq!((fast.counters, fast_bytes), (plain.counters, bytes));
    assert_eq!(fast.timings, timed.timings);
    assert_eq!(timed.timings.len(), 8);
    for (number, timing) in timed.timings.iter().enumerate() {
        assert_eq!(timing.block, number as u64);
        is_whole(timing);
        // Longest parts first, and none twice.
        assert!(timing.path.is_sorted_by(|a, b| a.cycles >= b.cycles));
        // Each thread of a block reads 8 values, and each value once.
        assert!(timing.traffic.l1_sectors >= 256 * 8 / 8, "{timing:?}");
    }
    // A sample takes what its blocks take in the whole, but for the last block of all to end,
    // which adds up: there is none such among these.
    let (sample, _) = reduction(Some(&timing), Checks::required(), Some(&[5, 2]));
    let [first, second] = &sample.timings[..] else { panic!("{:?}", sample.timings) };
    assert_eq!((first, second), (&timed.timings[5], &timed.timings[2]));
}

/// More of anything takes no less time.
#[test]
fn larger_constants_take_longer() {
    let cycles = |change: fn(&mut Timing)| {
        let mut timing = timing();
        change(&mut timing);
        let (report, _) = reduction(Some(&timing), Checks::required(), Some(&[0]));
        report.timings[0].cycles
    };
    let base = cycles(|_| {});
    assert!(cycles(|t| t.warps_per_scheduler = 4.0) > base);
    assert!(cycles(|t| t.latencies.l2 = 500.0) > base);
    assert!(cycles(|t| t.latencies.barrier = 100.0) > base);
    assert!(cycles(|t| t.instructions.iter_mut().for_each(|i| i.latency = 20.0)) > base);
    assert!(cycles(|t| t.instructions.iter_mut().for_each(|i| i.pipe_cycles = 20.0)) > base);
    assert!(cycles(|t| t.instructions.iter_mut().for_each(|i| i.blocking = true)) > base);
    assert!(cycles(|t| t.instructions.iter_mut().for_each(|i| i.issue = 0.5)) < base);
}

#[test]
fn a_sum_of_integers_takes_what_was_worked_out_by_hand() {
    // Moves and additions that cost nothing carry the time of what they move.
    let body = "ld.global.u32 %r1, [%rd2];\nmov.u32 %r2, %r1;\nadd.u32 %r3, %r2, 1;\n\
                st.shared.u32 [tile], %r0;\nst.global.u32 [%rd3], %r3;";
    let body = body.replace("[tile], %r0", "[%r4], %r0");
    let body = format!("shl.b32 %r4, %r0, 2;\nmov.u32 %r5, tile;\nadd.u32 %r4, %r4, %r5;\n{body}");
    let timing = kernel(&body).time();
    // The store to shared memory does not wait for the load; the other does.
    assert_eq!(timing.cycles, 291.0);
    assert_eq!(timing.path.len(), 2);
    assert_eq!(timing.path[0].cause, Cause::L2);
}

#[test]
fn constants_that_make_no_sense_are_refused() {
    let refused = |change: fn(&mut Timing)| {
        let mut timing = timing();
        change(&mut timing);
        let module = Module::parse("reduction.ptx", REDUCTION).unwrap();
        let launch = Launch::new(&module, "reduction").unwrap().block([256, 1, 1]);
        let launch = launch.arg(0u64).arg(0u64).arg(0u64).arg(0u64).arg(0u32);
        match launch.timed(&timing).run(&mut Memory::new()).unwrap_err() {
            LaunchError::Limit { what, found, .. } => (what, found),
            other => panic!("{other}"),
        }
    };
    assert_eq!(refused(|t| t.instructions.truncate(3)), ("timing", "of 3 instructions".to_owned()));
    let (what, found) = refused(|t| t.instructions[1].latency = f32::NAN);
    assert_eq!((what, found.as_str()), ("timing of an instruction", "NaN"));
    let (what, found) = refused(|t| t.latencies.l1 = -1.0);
    assert_eq!((what, found.as_str()), ("latency", "-1"));
    let (what, found) = refused(|t| t.warps_per_scheduler = 0.5);
    assert_eq!((what, found.as_str()), ("warps per scheduler", "0.5"));
}
