//! A part of a launch, and what each instruction of it did.

use super::{Ptx, ptx};
use ptx_emulator::{Checks, Class, Launch, LaunchError, Memory, Module, Report};

/// Each block adds 1 to a word of its own, after one that depends on the block: word `ctaid` of
/// `out` becomes `ctaid + 1`.
const MARK: &str = "mov.u32 %r1, %ctaid.x;
mul.wide.u32 %rd4, %r1, 4;
add.u64 %rd4, %rd0, %rd4;
setp.ne.u32 %p1, %r0, 0;
@%p1 bra END;
add.u32 %r1, %r1, 1;
st.global.u32 [%rd4], %r1;
END:";

fn run(
    ptx: &Ptx,
    shape: impl Fn(Launch<'_>) -> Launch<'_>,
) -> Result<(Report, Vec<u32>), LaunchError> {
    let module = Module::parse("k.ptx", &ptx.text()).unwrap_or_else(|e| panic!("{e}"));
    let mut memory = Memory::new();
    let out = memory.zeroed("out", 32);
    let launch = Launch::new(&module, "k")?.block([32, 1, 1]).arg(out.address()).arg(0u64);
    let report = shape(launch).run(&mut memory)?;
    Ok((report, memory.download(&out)))
}

#[test]
fn a_sample_runs_its_blocks_and_no_others() {
    for checks in [Checks::ALL, Checks::required()] {
        let (report, out) =
            run(&ptx(MARK), |l| l.grid([8, 1, 1]).checks(checks).blocks(&[6, 1, 3])).unwrap();
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!(out, [0, 2, 0, 4, 0, 0, 7, 0]);
        let (whole, _) = run(&ptx(MARK), |l| l.grid([8, 1, 1]).checks(checks)).unwrap();
        assert_eq!(8 * report.counters.instructions, 3 * whole.counters.instructions);
    }
    // Block (x, y, z) has the number x + grid_x (y + grid_y z).
    let body = MARK.replace("mov.u32 %r1, %ctaid.x;", "mov.u32 %r1, %ctaid.z;");
    let (_, out) = run(&ptx(&body), |l| l.grid([2, 3, 4]).blocks(&[5, 6, 12])).unwrap();
    assert_eq!(out, [1, 2, 3, 0, 0, 0, 0, 0]);
    // None at all is a sample, too.
    let (report, out) = run(&ptx(MARK), |l| l.grid([8, 1, 1]).blocks(&[])).unwrap();
    assert_eq!((report.counters.instructions, out), (0, vec![0; 8]));
}

#[test]
fn a_sample_takes_clusters_and_cooperative_grids_whole() {
    let shaped = |numbers: &'static [u64]| {
        run(&ptx(MARK), move |l| l.grid([8, 1, 1]).cluster([2, 1, 1]).blocks(numbers))
    };
    let (_, out) = shaped(&[4, 5, 0, 1]).unwrap();
    assert_eq!(out, [1, 2, 0, 0, 5, 6, 0, 0]);
    for (numbers, found, expected) in [
        (&[4][..], "1 from 4 on", "whole groups of 2 blocks"),
        (&[3, 4], "2 from 3 on", "whole groups of 2 blocks"),
        (&[5, 4], "2 from 5 on", "whole groups of 2 blocks"),
        (&[0, 1, 8, 9], "8", "numbers below 8"),
        (&[0, u64::MAX], "18446744073709551615", "numbers below 8"),
        (&[2, 3, 2, 3], "2 twice", "each block once"),
    ] {
        let message = shaped(numbers).unwrap_err().to_string();
        let expected = format!("list of blocks is {found}, expected {expected}");
        assert!(message.contains(&expected), "{message}");
    }
    let error = run(&ptx(MARK), |l| l.grid([8, 1, 1]).cooperative(true).blocks(&[0])).unwrap_err();
    assert!(error.to_string().contains("whole groups of 8 blocks"), "{error}");
}

#[test]
fn instructions_are_counted_one_by_one() {
    let kernel = ptx(MARK);
    let module = Module::parse("k.ptx", &kernel.text()).unwrap();
    let infos = module.entries()[0].instructions();
    let (report, _) = run(&kernel, |l| l.grid([8, 1, 1]).per_instruction(true)).unwrap();
    let counts = &report.counters.by_instruction;
    assert_eq!(counts.len(), infos.len());
    let of = |form: &str| {
        let index = infos.iter().position(|info| info.form == form).expect(form);
        (counts[index], infos[index])
    };
    let (branch, info) = of("bra");
    // One lane of a warp does not take the branch.
    assert_eq!((branch.executed, branch.lanes, info.class), (8, 8 * 31, Class::Control));
    let (store, info) = of("st.global.u32");
    assert_eq!((store.executed, store.lanes), (8, 8));
    assert_eq!((store.global.requests, store.global.bytes, store.global.sectors), (8, 32, 8));
    assert_eq!((info.class, info.source), (Class::Store, None));
    assert_eq!(info.ptx_line, super::line_of(&kernel.text(), "st.global.u32"));
    // The parts are the whole.
    let sum = |value: fn(&ptx_emulator::InstructionCounters) -> u64| counts.iter().map(value).sum();
    assert_eq!(report.counters.instructions, sum(|c| c.executed));
    assert_eq!(report.counters.lane_instructions, sum(|c| c.lanes));
    assert_eq!(report.counters.global.sectors, sum(|c| c.global.sectors));
    for (count, info) in counts.iter().zip(&infos) {
        assert!(info.class != Class::Hidden || count.executed == 0, "{info:?}");
    }
    // Of two launches of a kernel they add up; not asked for, they are not there.
    let mut twice = report.counters.clone();
    twice.add(&report.counters);
    assert_eq!(twice.by_instruction[0].executed, 2 * counts[0].executed);
    let (report, _) = run(&kernel, |l| l.grid([8, 1, 1])).unwrap();
    assert!(report.counters.by_instruction.is_empty());
}

#[test]
fn instructions_name_their_source() {
    let text = include_str!("../fixtures/reduction.ptx");
    let module = Module::parse("reduction.ptx", text).unwrap();
    let entry = module.entry("reduction").unwrap();
    let infos = entry.instructions();
    let found: Vec<(&str, u32)> = infos.iter().filter_map(|info| info.source).collect();
    assert_eq!(found, module.source_lines(entry).collect::<Vec<_>>());
    assert!(found.iter().any(|(file, _)| file.ends_with("reduction.cu")), "{found:?}");
}
