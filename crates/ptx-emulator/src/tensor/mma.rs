//! `mma.sync`: `D = A B + C` of a warp, with A of M x K, B of K x 8 and C and D of M x 8.
//!
//! **Layout.** PTX ISA, "Matrix Fragments for mma.m8n8k4 with .f64", "... mma.m16n8k4", "...
//! mma.m16n8k8", "... mma.m16n8k16 with floating point type", "... mma.m8n8k16", "... mma.m16n8k16
//! with integer type" and "... mma.m16n8k32". One rule describes them all. Let
//! `g = lane / 4`, `t = lane % 4`, and let a register of A or B hold `E` elements, element `i` in
//! bits `32 i / E` and up:
//!
//! | operand | register `r`, element `i` |
//! |---|---|
//! | A, M = 16 | row `g + 8 (r % 2)`, column `E t + i + 4 E (r / 2)` |
//! | A, M = 8 | row `g`, column `E t + i + 4 E r` |
//! | B | row `E t + i + 4 E r`, column `g` |
//! | C, D, 32 or 64 bits | row `g + 8 (r / 2)`, column `2 t + r % 2` |
//! | C, D, f16x2 | row `g + 8 r`, column `2 t + i` |
//!
//! So K is made of chunks of `4 E` columns, one register of B each, and M of one or two halves of 8
//! rows.
//!
//! **Arithmetic.** The ISA asks for at least single precision in products and sums (at least half
//! precision in sums of f16 accumulators), and leaves order, rounding and NaN payloads open. Here
//! `acc = c`, and then for k from 0 up `acc = acc + a b`, both operations rounded to f32; products
//! of f16 and of tf32 are exact. f16 accumulators are rounded to f16 once, at the end. NaN results
//! are the canonical NaN of their type. f64 follows the ISA: a fused multiply-add for each k.
//! Integers are exact: the sum of all products plus C, wrapped to 32 bits, or clamped with
//! `.satfinite`.

use super::Modifiers;
use crate::registers::{LANES, Lane, Mask, Reg, Registers, Width};
use half::f16;

/// A form of `mma.sync`. Its operands are flattened: registers of d, then of a, b and c.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mma {
    /// Runs on a full warp. Every operand is read before d is written.
    pub run: fn(&mut Registers, &[Reg]),
    /// Registers of each operand.
    pub d: usize,
    pub a: usize,
    pub b: usize,
    pub c: usize,
    /// Widths of the registers of d, a, b and c.
    pub widths: [Width; 4],
    /// Multiply-accumulates: M N K.
    pub macs: u64,
}

/// Columns of B, C and D in every shape.
const N: usize = 8;

/// Reads `mma.sync.aligned.shape.row.col{.satfinite}.dtype.atype.btype.ctype`.
pub(crate) fn lower_mma(modifiers: &[&str]) -> Result<Mma, String> {
    const SHAPES: [&str; 6] = ["m16n8k16", "m16n8k8", "m16n8k32", "m16n8k4", "m8n8k16", "m8n8k4"];
    let mut next = Modifiers { opcode: "mma", rest: modifiers };
    next.take(&["sync"])?;
    next.take(&["aligned"])?;
    let shape = next.take(&SHAPES)?;
    next.take(&["row"])?;
    next.take(&["col"])?;
    let satfinite = next.take_if("satfinite");
    let dtype = next.take(&["f32", "f16", "s32", "f64"])?;
    let atype = next.take(&["f16", "bf16", "tf32", "s8", "u8", "f64"])?;
    let btype = next.take(&["f16", "bf16", "tf32", "s8", "u8", "f64"])?;
    let ctype = next.take(&["f32", "f16", "s32", "f64"])?;
    next.end()?;

    let form = match (shape, dtype, atype, btype, ctype) {
        ("m16n8k8", "f32", "f16", "f16", "f32") => of::<F16, F16, F32, 2, 2, 1>(),
        ("m16n8k8", "f16", "f16", "f16", "f16") => of::<F16, F16, Half, 2, 2, 1>(),
        ("m16n8k16", "f32", "f16", "f16", "f32") => of::<F16, F16, F32, 2, 2, 2>(),
        ("m16n8k16", "f16", "f16", "f16", "f16") => of::<F16, F16, Half, 2, 2, 2>(),
        ("m16n8k8", "f32", "bf16", "bf16", "f32") => of::<Bf16, Bf16, F32, 2, 2, 1>(),
        ("m16n8k16", "f32", "bf16", "bf16", "f32") => of::<Bf16, Bf16, F32, 2, 2, 2>(),
        ("m16n8k4", "f32", "tf32", "tf32", "f32") => of::<Tf32, Tf32, F32, 1, 2, 1>(),
        ("m16n8k8", "f32", "tf32", "tf32", "f32") => of::<Tf32, Tf32, F32, 1, 2, 2>(),
        ("m8n8k16", "s32", a, b, "s32") => integer::<1, 1>(a, b, satfinite)?,
        ("m16n8k16", "s32", a, b, "s32") => integer::<2, 1>(a, b, satfinite)?,
        ("m16n8k32", "s32", a, b, "s32") => integer::<2, 2>(a, b, satfinite)?,
        ("m8n8k4", "f64", "f64", "f64", "f64") => Mma {
            run: multiply_f64,
            d: 2,
            a: 1,
            b: 1,
            c: 2,
            widths: [Width::B64; 4],
            macs: 8 * 8 * 4,
        },
        _ => {
            return Err(format!(
                "mma: .{shape} with the types .{dtype}.{atype}.{btype}.{ctype} is not supported"
            ));
        }
    };
    if satfinite && dtype != "s32" {
        return Err(format!("mma: .satfinite needs the accumulator type .s32, found .{dtype}"));
    }
    Ok(form)
}

fn integer<const HALVES: usize, const CHUNKS: usize>(
    atype: &str,
    btype: &str,
    satfinite: bool,
) -> Result<Mma, String> {
    Ok(match (atype, btype, satfinite) {
        ("s8", "s8", false) => of::<S8, S8, S32<false>, 4, HALVES, CHUNKS>(),
        ("s8", "u8", false) => of::<S8, U8, S32<false>, 4, HALVES, CHUNKS>(),
        ("u8", "s8", false) => of::<U8, S8, S32<false>, 4, HALVES, CHUNKS>(),
        ("u8", "u8", false) => of::<U8, U8, S32<false>, 4, HALVES, CHUNKS>(),
        ("s8", "s8", true) => of::<S8, S8, S32<true>, 4, HALVES, CHUNKS>(),
        ("s8", "u8", true) => of::<S8, U8, S32<true>, 4, HALVES, CHUNKS>(),
        ("u8", "s8", true) => of::<U8, S8, S32<true>, 4, HALVES, CHUNKS>(),
        ("u8", "u8", true) => of::<U8, U8, S32<true>, 4, HALVES, CHUNKS>(),
        _ => {
            return Err(format!(
                "mma: multiplicands .{atype}.{btype} with .s32 are not supported; expected .s8 or .u8"
            ));
        }
    })
}

/// The form with `E` elements of A and B in a register, M = 8 `HALVES` and K = 4 `E` `CHUNKS`.
fn of<A, B, D, const E: usize, const HALVES: usize, const CHUNKS: usize>() -> Mma
where
    A: Multiplicand<E>,
    B: Multiplicand<E>,
    D: Accumulator,
{
    Mma {
        run: multiply::<A, B, D, E, HALVES, CHUNKS>,
        d: D::PER_HALF * HALVES,
        a: HALVES * CHUNKS,
        b: CHUNKS,
        c: D::PER_HALF * HALVES,
        widths: [Width::B32; 4],
        macs: (8 * HALVES * N * 4 * E * CHUNKS) as u64,
    }
}

/// The type of A or B: `E` elements in 32 bits, each of them exact in f32.
trait Multiplicand<const E: usize> {
    fn unpack(word: u32) -> [f32; E];
}

struct F16;
struct Bf16;
struct Tf32;
struct S8;
struct U8;

/// The f16 in the low 16 bits, without a branch. Infinities and NaN keep their payload.
#[inline(always)]
fn f16_to_f32(bits: u32) -> f32 {
    // The fields moved to where f32 has them; the exponent is still biased by 15 instead of 127.
    let fields = (bits & 0x7fff) << 13;
    let normal = fields + ((127 - 15) << 23);
    // 2^-14 (1 + fraction) - 2^-14, both exact.
    const SMALLEST_NORMAL: u32 = (127 - 14) << 23;
    let subnormal =
        (f32::from_bits(fields | SMALLEST_NORMAL) - f32::from_bits(SMALLEST_NORMAL)).to_bits();
    let special = fields | 0xff << 23;
    let finite = if fields < 1 << 23 { subnormal } else { normal };
    let magnitude = if fields >= 31 << 23 { special } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

impl Multiplicand<2> for F16 {
    #[inline(always)]
    fn unpack(word: u32) -> [f32; 2] {
        [f16_to_f32(word), f16_to_f32(word >> 16)]
    }
}

impl Multiplicand<2> for Bf16 {
    #[inline(always)]
    fn unpack(word: u32) -> [f32; 2] {
        [f32::from_bits(word << 16), f32::from_bits(word & 0xffff_0000)]
    }
}

impl Multiplicand<1> for Tf32 {
    /// The low 13 bits are not part of the format, and are ignored. A NaN whose payload lies there
    /// alone is kept.
    #[inline(always)]
    fn unpack(word: u32) -> [f32; 1] {
        let kept = word & 0xffff_e000;
        let nan = word & 0x7fff_ffff > 0x7f80_0000;
        [f32::from_bits(if nan { kept | 0x0040_0000 } else { kept })]
    }
}

impl Multiplicand<4> for S8 {
    #[inline(always)]
    fn unpack(word: u32) -> [f32; 4] {
        [24, 16, 8, 0].map(|shift| ((word << shift) as i32 >> 24) as f32)
    }
}

impl Multiplicand<4> for U8 {
    #[inline(always)]
    fn unpack(word: u32) -> [f32; 4] {
        [0, 8, 16, 24].map(|shift| (word >> shift & 0xff) as i32 as f32)
    }
}

/// 8 rows of C or D.
type Half8 = [[f32; N]; 8];

/// The type of C and D.
trait Accumulator {
    /// Registers for 8 rows.
    const PER_HALF: usize;
    /// What the sums over k start with. `registers` are those of 8 rows of C.
    fn start(file: &Registers, registers: &[Reg]) -> Half8;
    /// The sums over k as the bits of D's registers. `c` are the bits of C's.
    fn finish(sums: &Half8, c: &[[u32; LANES]; 2], d: &mut [[u32; LANES]; 2]);
}

struct F32;
struct Half;
struct S32<const SATFINITE: bool>;

impl Accumulator for F32 {
    const PER_HALF: usize = 2;

    #[inline(always)]
    fn start(file: &Registers, registers: &[Reg]) -> Half8 {
        let mut sums = [[0.0; N]; 8];
        for (parity, reg) in registers.iter().enumerate() {
            let values = f32::load(file, *reg);
            for lane in 0..LANES {
                sums[lane / 4][2 * (lane % 4) + parity] = values[lane];
            }
        }
        sums
    }

    #[inline(always)]
    fn finish(sums: &Half8, _: &[[u32; LANES]; 2], d: &mut [[u32; LANES]; 2]) {
        for (parity, values) in d.iter_mut().enumerate() {
            for (lane, value) in values.iter_mut().enumerate() {
                let sum = sums[lane / 4][2 * (lane % 4) + parity];
                *value = if sum.is_nan() { 0x7fff_ffff } else { sum.to_bits() };
            }
        }
    }
}

impl Accumulator for Half {
    const PER_HALF: usize = 1;

    #[inline(always)]
    fn start(file: &Registers, registers: &[Reg]) -> Half8 {
        let mut sums = [[0.0; N]; 8];
        let words = u32::load(file, registers[0]);
        for lane in 0..LANES {
            let [low, high] = F16::unpack(words[lane]);
            sums[lane / 4][2 * (lane % 4)] = low;
            sums[lane / 4][2 * (lane % 4) + 1] = high;
        }
        sums
    }

    #[inline(always)]
    fn finish(sums: &Half8, _: &[[u32; LANES]; 2], d: &mut [[u32; LANES]; 2]) {
        let bits = |sum: f32| match sum.is_nan() {
            true => 0x7fff,
            false => u32::from(f16::from_f32(sum).to_bits()),
        };
        for (lane, value) in d[0].iter_mut().enumerate() {
            let row = &sums[lane / 4];
            *value = bits(row[2 * (lane % 4)]) | bits(row[2 * (lane % 4) + 1]) << 16;
        }
    }
}

impl<const SATFINITE: bool> Accumulator for S32<SATFINITE> {
    const PER_HALF: usize = 2;

    /// At most 32 products of at most 255 * 255 are summed, less than 2^24: exact in f32. C is
    /// added at the end.
    #[inline(always)]
    fn start(_: &Registers, _: &[Reg]) -> Half8 {
        [[0.0; N]; 8]
    }

    #[inline(always)]
    fn finish(sums: &Half8, c: &[[u32; LANES]; 2], d: &mut [[u32; LANES]; 2]) {
        for (parity, values) in d.iter_mut().enumerate() {
            for (lane, value) in values.iter_mut().enumerate() {
                let sum = sums[lane / 4][2 * (lane % 4) + parity] as i32;
                let c = c[parity][lane] as i32;
                let result = if SATFINITE { c.saturating_add(sum) } else { c.wrapping_add(sum) };
                *value = result as u32;
            }
        }
    }
}

fn multiply<A, B, D, const E: usize, const HALVES: usize, const CHUNKS: usize>(
    file: &mut Registers,
    operands: &[Reg],
) where
    A: Multiplicand<E>,
    B: Multiplicand<E>,
    D: Accumulator,
{
    let (d_regs, rest) = operands.split_at(D::PER_HALF * HALVES);
    let (a_regs, rest) = rest.split_at(HALVES * CHUNKS);
    let (b_regs, c_regs) = rest.split_at(CHUNKS);

    // [chunk of k][t][element i] gives k in ascending order.
    let mut b = [[[[0f32; N]; E]; 4]; CHUNKS];
    for (chunk, reg) in b_regs.iter().enumerate() {
        let words = u32::load(file, *reg);
        for t in 0..4 {
            let column: [u32; N] = std::array::from_fn(|n| words[4 * n + t]);
            for n in 0..N {
                let values = B::unpack(column[n]);
                for i in 0..E {
                    b[chunk][t][i][n] = values[i];
                }
            }
        }
    }

    let mut results = [[[0u32; LANES]; 2]; HALVES];
    for half in 0..HALVES {
        let mut a = [[[0f32; LANES]; E]; CHUNKS];
        for chunk in 0..CHUNKS {
            let words = u32::load(file, a_regs[HALVES * chunk + half]);
            for lane in 0..LANES {
                let values = A::unpack(words[lane]);
                for i in 0..E {
                    a[chunk][i][lane] = values[i];
                }
            }
        }
        let c_regs = &c_regs[D::PER_HALF * half..][..D::PER_HALF];
        let mut c = [[0; LANES]; 2];
        for (bits, reg) in c.iter_mut().zip(c_regs) {
            *bits = u32::load(file, *reg);
        }
        let mut sums = D::start(file, c_regs);
        accumulate(&a, &b, &mut sums);
        D::finish(&sums, &c, &mut results[half]);
    }
    for (half, result) in results.iter().enumerate() {
        for (index, values) in result.iter().take(D::PER_HALF).enumerate() {
            u32::store(file, d_regs[D::PER_HALF * half + index], Mask::MAX, *values);
        }
    }
}

/// Adds the products of 8 rows, k ascending. Four rows at a time: their sums do not wait for one
/// another.
#[inline(always)]
fn accumulate<const E: usize, const CHUNKS: usize>(
    a: &[[[f32; LANES]; E]; CHUNKS],
    b: &[[[[f32; N]; E]; 4]; CHUNKS],
    sums: &mut Half8,
) {
    const ROWS: usize = 4;
    for first in (0..8).step_by(ROWS) {
        let mut acc: [[f32; N]; ROWS] = std::array::from_fn(|row| sums[first + row]);
        for chunk in 0..CHUNKS {
            for t in 0..4 {
                for i in 0..E {
                    let b = &b[chunk][t][i];
                    for row in 0..ROWS {
                        let a = a[chunk][i][4 * (first + row) + t];
                        for n in 0..N {
                            acc[row][n] += a * b[n];
                        }
                    }
                }
            }
        }
        sums[first..first + ROWS].copy_from_slice(&acc);
    }
}

/// m8n8k4: d, d, a, b, c, c.
fn multiply_f64(file: &mut Registers, operands: &[Reg]) {
    let a = f64::load(file, operands[2]);
    let b = f64::load(file, operands[3]);
    let c = [f64::load(file, operands[4]), f64::load(file, operands[5])];
    for (parity, c) in c.into_iter().enumerate() {
        let d = std::array::from_fn(|lane| {
            let (row, column) = (lane / 4, 2 * (lane % 4) + parity);
            let sum = (0..4).fold(c[lane], |sum, k| a[4 * row + k].mul_add(b[4 * column + k], sum));
            if sum.is_nan() { f64::NAN } else { sum }
        });
        f64::store(file, operands[parity], Mask::MAX, d);
    }
}
