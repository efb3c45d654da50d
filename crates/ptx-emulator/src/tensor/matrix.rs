//! `ldmatrix` and `stmatrix`: 8x8 matrices of 16-bit elements between rows of memory and the lanes.
//!
//! PTX ISA, "Warp-level matrix load instruction: ldmatrix" and "... store instruction: stmatrix":
//! lane `8m + r` gives the address of row `r` (16 bytes) of matrix `m`. Register `m` of lane `l`
//! holds the elements `2(l % 4)` and `2(l % 4) + 1` of row `l / 4`, the lower one in the low half.
//! With `.trans` rows and columns change places.

use super::Modifiers;
use crate::registers::LANES;

/// A form of `ldmatrix` or `stmatrix`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Matrix {
    /// Matrices, which are the registers of the operand: 1, 2 or 4. Lanes `0..8 * count` give
    /// addresses.
    pub count: usize,
    /// `.trans`.
    pub trans: bool,
}

/// Reads `{ldmatrix,stmatrix}.sync.aligned.m8n8.num{.trans}.shared{::cta}.b16`.
pub(crate) fn lower_matrix(opcode: &str, modifiers: &[&str]) -> Result<Matrix, String> {
    let mut next = Modifiers { opcode, rest: modifiers };
    next.take(&["sync"])?;
    next.take(&["aligned"])?;
    next.take(&["m8n8"])?;
    let count = match next.take(&["x1", "x2", "x4"])? {
        "x1" => 1,
        "x2" => 2,
        _ => 4,
    };
    let trans = next.take_if("trans");
    if next.take(&["shared", "shared::cta"]).is_err() {
        return match next.rest.first() {
            Some(&"b16") | None => Err(format!(
                "{opcode}: a generic address, without .shared or .shared::cta, is not supported"
            )),
            Some(found) => Err(format!(
                "{opcode}: modifier .{found} is not supported here; expected .trans, .shared or .shared::cta"
            )),
        };
    }
    next.take(&["b16"])?;
    next.end()?;
    Ok(Matrix { count, trans })
}

/// 16-bit element `at` of the row that lane `lane` holds.
fn element(rows: &[[u32; LANES]; 4], lane: usize, at: usize) -> u32 {
    rows[at / 2][lane] >> (16 * (at % 2)) & 0xffff
}

/// What `ldmatrix` writes: registers `0..count` of every lane. `rows[i][l]` is word `i` of the row
/// that lane `l` addressed; registers from `count` are 0.
pub(crate) fn distribute(rows: &[[u32; LANES]; 4], form: Matrix) -> [[u32; LANES]; 4] {
    let mut values = [[0; LANES]; 4];
    for (matrix, register) in values.iter_mut().take(form.count).enumerate() {
        let first = 8 * matrix;
        for (lane, value) in register.iter_mut().enumerate() {
            let (group, pair) = (lane / 4, lane % 4);
            *value = if form.trans {
                let low = element(rows, first + 2 * pair, group);
                let high = element(rows, first + 2 * pair + 1, group);
                low | high << 16
            } else {
                rows[pair][first + group]
            };
        }
    }
    values
}

/// What `stmatrix` stores: the row of every lane in `0..8 * count`, word by word; rows of other
/// lanes are 0.
pub(crate) fn collect(values: &[[u32; LANES]; 4], form: Matrix) -> [[u32; LANES]; 4] {
    let mut rows = [[0; LANES]; 4];
    for (matrix, register) in values.iter().take(form.count).enumerate() {
        let first = 8 * matrix;
        for (lane, value) in register.iter().enumerate() {
            let (group, pair) = (lane / 4, lane % 4);
            if form.trans {
                let (word, shift) = (group / 2, 16 * (group % 2));
                rows[word][first + 2 * pair] |= (value & 0xffff) << shift;
                rows[word][first + 2 * pair + 1] |= (value >> 16) << shift;
            } else {
                rows[pair][first + group] = *value;
            }
        }
    }
    rows
}
