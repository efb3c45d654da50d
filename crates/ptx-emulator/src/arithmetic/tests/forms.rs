//! The forms that are taken, and those that are refused.

use super::*;
use crate::fixtures::NVCC;

/// Opcodes that other tables take.
const OTHERS: [&str; 22] = [
    "mov",
    "ld",
    "st",
    "bra",
    "ret",
    "exit",
    "trap",
    "bar",
    "barrier",
    "cvta",
    "cp",
    "ldmatrix",
    "mma",
    "shfl",
    "atom",
    "red",
    "vote",
    "membar",
    "fence",
    "mapa",
    "mbarrier",
    "nanosleep",
];

#[test]
fn every_arithmetic_form_of_nvcc_s_ptx_is_taken() {
    for (name, ptx) in NVCC {
        let mut forms = 0;
        for line in ptx.lines() {
            // Inline assembly comes in braces, with registers of its own.
            let line = line.trim().trim_matches(['{', '}', ' ']);
            let Some(instruction) = line.strip_suffix(';') else { continue };
            let instruction = match instruction.strip_prefix('@') {
                Some(guarded) => {
                    guarded.split_once(char::is_whitespace).map_or("", |guard| guard.1.trim())
                }
                None => instruction,
            };
            let Some((form, operands)) = instruction.split_once(char::is_whitespace) else {
                continue;
            };
            let mut parts = form.split('.');
            let opcode = parts.next().unwrap_or("");
            if form.starts_with('.') || OTHERS.contains(&opcode) {
                continue;
            }
            let modifiers: Vec<&str> = parts.collect();
            let widths: Vec<Option<Width>> =
                operands.split([',', '|']).map(|operand| width(operand.trim())).collect();
            match lower(opcode, &modifiers, &widths) {
                Some(Ok(arithmetic)) => {
                    assert_eq!(arithmetic.slots.len(), widths.len(), "{}: {line}", name);
                    for (slot, width) in arithmetic.slots.iter().zip(&widths) {
                        let (OperandSlot::Write(expected) | OperandSlot::Read(expected)) = slot;
                        // `cvt` may read the low part of a wider register.
                        assert!(
                            width.is_none_or(|width| width == *expected
                                || opcode == "cvt"
                                    && matches!(slot, OperandSlot::Read(_))
                                    && width > *expected),
                            "{}: {line}: {:?}",
                            name,
                            arithmetic.slots,
                        );
                    }
                    forms += 1;
                }
                Some(Err(error)) => panic!("{}: {line}: {error}", name),
                None => panic!("{}: {line}: no arithmetic", name),
            }
        }
        assert!(forms > 50, "{}: {forms} arithmetic instructions", name);
    }
}

/// By nvcc's names of registers.
fn width(operand: &str) -> Option<Width> {
    if matches!(operand, "low" | "high") {
        return Some(Width::B16);
    }
    let name = operand.trim_start_matches('!').strip_prefix('%')?;
    match name.trim_end_matches(|c: char| c.is_ascii_digit()) {
        "p" => Some(Width::Pred),
        "rs" | "h" => Some(Width::B16),
        "r" | "f" => Some(Width::B32),
        "rd" | "fd" => Some(Width::B64),
        // The base of local memory, and CUDA's own inline assembly.
        "SPL" | "tmp" => Some(Width::B64),
        other => panic!("register {other}"),
    }
}
