//! Listings that nvdisasm 13.5 printed of `listings/small.cu`, compiled by nvcc 13.0 with
//! `-O3 -lineinfo`, less the padding at their ends; and listings made by hand.

use sass_listing::{Function, Listing, Pipe};
use std::collections::BTreeMap;

const SMALL: [(u32, &str); 3] = [
    (75, include_str!("listings/small.sm_75.sass")),
    (80, include_str!("listings/small.sm_80.sass")),
    (90, include_str!("listings/small.sm_90.sass")),
];

/// Lines of `small.cu`.
const SWISH: u32 = 3;
const CALL_OF_SWISH: u32 = 12;
const STORE: u32 = 15;

fn block_of(function: &Function, instruction: usize) -> usize {
    function.blocks.iter().position(|b| b.instructions.contains(&instruction)).unwrap()
}

fn only(function: &Function, opcode: &str) -> usize {
    let is = |i: &usize| function.instructions[*i].opcode.starts_with(opcode);
    let main = function.subroutines[0].1;
    let end = function.blocks[main].instructions.start;
    let found: Vec<usize> = (0..end).filter(is).collect();
    assert_eq!(found.len(), 1, "{opcode} in {}", function.name);
    found[0]
}

#[test]
fn a_loop_a_division_and_a_barrier() {
    for (target, text) in SMALL {
        let listing = Listing::parse(text).unwrap();
        assert_eq!(listing.target, target);
        assert_eq!(listing.functions.len(), 1);
        let scale = listing.function("scale").unwrap();
        let block = |opcode| block_of(scale, only(scale, opcode));

        // The division's slow path is a subroutine behind the function, and is called once.
        let [(slow, first)] = &scale.subroutines[..] else { panic!("{:?}", scale.subroutines) };
        assert!(slow.ends_with("div_rn_noftz_f32_slowpath"), "{slow}");
        let callers: Vec<usize> = (0..scale.blocks.len())
            .filter(|block| scale.blocks[*block].calls.as_ref() == Some(slow))
            .collect();
        assert_eq!(callers.len(), 1);
        assert!(callers[0] < *first);

        // One loop outside of it, with what the source has there.
        let loops = scale.loops();
        let main: Vec<_> = loops.iter().filter(|l| l.header < *first).collect();
        assert_eq!(main.len(), 1, "sm_{target}: {loops:?}");
        for opcode in ["LDS", "MUFU.EX2", "MUFU.RCP", "FCHK"] {
            assert!(main[0].blocks.contains(&block(opcode)), "sm_{target}: {opcode}");
        }
        assert!(main[0].blocks.contains(&callers[0]));
        for opcode in ["LDG", "STS", "BAR.SYNC", "STG"] {
            assert!(!main[0].blocks.contains(&block(opcode)), "sm_{target}: {opcode}");
        }
        // The slow path ends by a jump back, which leaves it.
        let back = scale.instructions.iter().position(|i| i.base() == "RET").unwrap();
        assert!(scale.blocks[block_of(scale, back)].successors.is_empty());

        // Guards, and the exit that some threads take.
        let exits: Vec<_> = scale.instructions.iter().filter(|i| i.base() == "EXIT").collect();
        assert_eq!(exits.iter().map(|i| i.guarded).collect::<Vec<_>>(), [true, false]);
        let guarded = scale.instructions.iter().find(|i| i.base() == "EXIT").unwrap();
        let at = (guarded.address / 16) as usize;
        assert_eq!(scale.blocks[block_of(scale, at)].successors.len(), 1);

        // Places: the swish is inlined into the loop.
        let places = |opcode| -> Vec<(&str, u32)> {
            listing.places(&scale.instructions[only(scale, opcode)]).collect()
        };
        let file = "kernels/small.cu";
        assert_eq!(places("MUFU.EX2"), [(file, SWISH), (file, CALL_OF_SWISH)], "sm_{target}");
        assert_eq!(places("STG"), [(file, STORE)], "sm_{target}");
    }
}

#[test]
fn every_opcode_has_a_pipe() {
    for (target, text) in SMALL {
        let listing = Listing::parse(text).unwrap();
        let scale = listing.function("scale").unwrap();
        let mut pipes: BTreeMap<Pipe, usize> = BTreeMap::new();
        let main = scale.blocks[scale.subroutines[0].1].instructions.start;
        for instruction in &scale.instructions[..main] {
            let pipe = Pipe::of(&instruction.opcode, target);
            assert_ne!(pipe, Pipe::Other, "{}", instruction.opcode);
            *pipes.entry(pipe).or_default() += 1;
        }
        // MUFU.EX2, MUFU.RCP and FCHK.
        assert_eq!(pipes[&Pipe::Special], 3, "sm_{target}");
        assert_eq!(pipes.get(&Pipe::Tensor), None);
        assert!(pipes[&Pipe::Fma] >= 9, "sm_{target}: {pipes:?}");
    }
    for (opcode, target, pipe) in [
        ("HMMA.16816.F32", 80, Pipe::Tensor),
        ("HFMA2.MMA", 80, Pipe::Half),
        ("HFMA2.MMA", 90, Pipe::Fma),
        ("HADD2.F32", 75, Pipe::Half),
        ("LDGSTS.E.BYPASS.128", 80, Pipe::LoadStore),
        ("LDSM.16.M88.4", 75, Pipe::LoadStore),
        ("SHFL.BFLY", 90, Pipe::LoadStore),
        ("UIADD3", 75, Pipe::Uniform),
        ("S2UR", 90, Pipe::Uniform),
        ("ACQBULK", 90, Pipe::Control),
        ("I2F.RP", 90, Pipe::Special),
        ("F2FP.F16.F32.PACK_AB", 90, Pipe::Alu),
        ("DFMA", 90, Pipe::Double),
        ("FROBNICATE.X", 90, Pipe::Other),
    ] {
        assert_eq!(Pipe::of(opcode, target), pipe, "{opcode} on sm_{target}");
    }
    for pipe in Pipe::ALL {
        assert!(!pipe.name().is_empty());
    }
}

#[test]
fn the_compact_text_keeps_all_but_operands() {
    for (_, text) in SMALL {
        let mut listing = Listing::parse(text).unwrap();
        let compact = listing.to_compact();
        assert!(compact.len() * 4 < text.len(), "{} of {}", compact.len(), text.len());
        for function in &mut listing.functions {
            for instruction in &mut function.instructions {
                assert!(!instruction.operands.contains(';'), "{}", instruction.operands);
                instruction.operands.clear();
            }
        }
        assert_eq!(Listing::from_compact(&compact).unwrap(), listing);
    }
}

/// A function `f` for sm_90; a line is a label or an instruction.
fn function(lines: &[&str]) -> Listing {
    let mut text = "\t.target\tsm_90\n\t.section\t.text.f,\"ax\"\nf:\n.text.f:\n".to_owned();
    let mut address = 0;
    for line in lines {
        if line.ends_with(':') {
            text.push_str(&format!("{line}\n"));
        } else {
            text.push_str(&format!("        /*{address:04x}*/  {line} ;\n"));
            address += 16;
        }
    }
    Listing::parse(&text).unwrap()
}

fn successors(listing: &Listing) -> Vec<Vec<usize>> {
    listing.functions[0].blocks.iter().map(|block| block.successors.clone()).collect()
}

#[test]
fn branches_of_every_kind() {
    let listing = function(&[
        "@P0 BRA `(.L_2)",
        "BRA UP0, `(.L_2)",
        "BRA.DIV UR4, `(.L_2)",
        "BRX R2 -0x60 (*\"BRANCH_TARGETS .L_1,.L_2\"*)",
        ".L_1:",
        "BRA `(.L_2)",
        "FADD R0, R0, R0",
        ".L_2:",
        "@P1 EXIT",
        "CALL.REL.NOINC `(f)",
        "@P2 CALL.REL.NOINC `(.L_2)",
        "BRA.U `(.L_1)",
    ]);
    let expected: [&[usize]; 10] =
        [&[1, 6], &[2, 6], &[3, 6], &[4, 6], &[6], &[6], &[7], &[8], &[6, 9], &[4]];
    assert_eq!(successors(&listing), expected);
    let calls: Vec<_> = listing.functions[0].blocks.iter().map(|b| b.calls.as_deref()).collect();
    assert_eq!(calls[7], Some("f"));
    assert_eq!(calls.iter().flatten().count(), 1);
}

#[test]
fn guards() {
    let listing = function(&["FADD R0, R0, R0", "@!P0 NOP", "@!PT LDS RZ, [RZ]", "@!UP1 EXIT"]);
    let of = |listing: &Listing| -> Vec<(bool, bool)> {
        let instructions = &listing.functions[0].instructions;
        instructions.iter().map(|i| (i.guarded, i.never)).collect()
    };
    let expected = [(false, false), (true, false), (true, true), (true, false)];
    assert_eq!(of(&listing), expected);
    assert_eq!(of(&Listing::from_compact(&listing.to_compact()).unwrap()), expected);
}

#[test]
fn nested_loops_and_ways_into_the_middle() {
    let nested = function(&[
        "NOP",
        ".outer:",
        "NOP",
        ".inner:",
        "@P0 BRA `(.inner)",
        "@P1 BRA `(.outer)",
        "EXIT",
    ]);
    let loops = nested.functions[0].loops();
    let blocks: Vec<(usize, Vec<usize>)> =
        loops.into_iter().map(|l| (l.header, l.blocks)).collect();
    assert_eq!(blocks, [(1, vec![1, 2, 3]), (2, vec![2])]);
    // Two ways into a circle: neither block of it is before the other on every way.
    let twisted = function(&["@P0 BRA `(.b)", ".a:", "NOP", ".b:", "@P1 BRA `(.a)", "EXIT"]);
    assert_eq!(twisted.functions[0].loops(), []);
    // What cannot be reached is in no loop.
    let padding = function(&["EXIT", ".x:", "BRA `(.x)"]);
    assert_eq!(padding.functions[0].loops(), []);
}

#[test]
fn faults_are_told_with_their_line() {
    let fault = |text: &str| Listing::parse(text).unwrap_err().to_string();
    assert!(fault("").contains("expected '.target sm_NN'"));
    let head = "\t.target\tsm_90\n\t.section\t.text.f,\"ax\"\n";
    for (rest, says) in [
        ("/*0000*/ BRA `(.L_1) ;", "a branch to .L_1, which f lacks"),
        ("/*0000*/ NOP ;\n/*0000*/ NOP ;", "expected an address behind 0x0, found 0x0"),
        ("/*zz*/ NOP ;", "line 3 of the listing: expected '/*ADDRESS*/ OPCODE"),
        ("/*0000*/ ;", "expected '/*ADDRESS*/ OPCODE"),
        ("/*0000*/ @P0 ;", "expected '/*ADDRESS*/ OPCODE"),
        ("//## File kernels/x.cu, line 3", "expected '//## File"),
        ("//## File \"x.cu\"", "expected '//## File"),
    ] {
        let error = fault(&format!("{head}{rest}\n"));
        assert!(error.contains(says), "{rest}: {error}");
    }
    let fault = |text: &str| Listing::from_compact(text).unwrap_err().to_string();
    for (text, says) in [
        ("", "expected 'sass 1 TARGET'"),
        ("sass 2 90", "expected 'sass 1 TARGET', found 'sass 2 90'"),
        ("file x", "expected 'sass 1 TARGET', found 'file x'"),
        ("sass 1 90\nat 0 1", "line 2 of the listing: file 0 of 0"),
        ("sass 1 90\nfile x\nat 0 1 0", "location 0 of 0"),
        ("sass 1 90\nblock -", "a block before any function"),
        ("sass 1 90\nsub x", "a subroutine before a function"),
        ("sass 1 90\nfunction f\nsub x", "'sub' before any block"),
        ("sass 1 90\nfunction f\n0", "instructions before any block"),
        ("sass 1 90\nfunction f\nblock -\n0", "opcode 0 of 0"),
        ("sass 1 90\nop NOP\nfunction f\nblock -\n0:0", "location 0 of 0"),
        ("sass 1 90\nop NOP\nfunction f\nblock 7\n0", "a successor 7 of 1 blocks of f"),
        ("sass 1 90\nop NOP\nfunction f\nblock -", "a block of f without instructions"),
        ("sass 1 90\nop NOP\nfunction f\nblock x\n0", "expected a number, found 'x'"),
    ] {
        let error = fault(text);
        assert!(error.contains(says), "{text:?}: {error}");
    }
}

/// Whatever happens to a text, reading it ends in a listing or an error, and what can be asked of a
/// listing can be asked.
#[test]
fn damaged_texts_do_no_harm() {
    fn look(listing: &Listing) {
        for function in &listing.functions {
            function.loops();
            for instruction in &function.instructions {
                listing.places(instruction).count();
            }
        }
    }
    let (_, text) = SMALL[1];
    let compact = Listing::parse(text).unwrap().to_compact();
    let (mut errors, mut whole) = (0, 0);
    let mut tell = |result: Result<Listing, _>| match result {
        Ok(listing) => {
            look(&listing);
            whole += 1;
        }
        Err::<_, sass_listing::ListingError>(_) => errors += 1,
    };
    for (text, compact) in [(text, false), (compact.as_str(), true)] {
        let read = if compact { Listing::from_compact } else { Listing::parse };
        let lines: Vec<&str> = text.lines().collect();
        for at in 0..lines.len() {
            let mut fewer = lines.clone();
            fewer.remove(at);
            tell(read(&fewer.join("\n")));
            tell(read(&lines[..at].join("\n")));
        }
        for (at, byte) in text.bytes().enumerate().step_by(7) {
            let mut other = text.as_bytes().to_vec();
            other[at] = byte ^ 1;
            tell(read(std::str::from_utf8(&other).unwrap()));
        }
    }
    assert!(errors > 100 && whole > 100, "{errors} errors, {whole} listings");
}
