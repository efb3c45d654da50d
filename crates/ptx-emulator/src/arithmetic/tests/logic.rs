//! Logic and fields of bits, bit by bit as the ISA writes them.

use super::*;

fn mask(bits: u32) -> u64 {
    u64::MAX >> (64 - bits)
}

fn bit(x: u64, index: u32) -> u64 {
    x >> index & 1
}

/// From bits.
fn gather(bits: u32, f: impl Fn(u32) -> u64) -> u64 {
    (0..bits).map(|index| (f(index) & 1) << index).sum()
}

#[test]
fn logic() {
    for bits in [16, 32, 64] {
        let two: Vec<[u64; 2]> = cases(&INTEGERS, 200);
        let one: Vec<[u64; 1]> = cases(&INTEGERS, 200);
        check(&format!("and.b{bits}"), &two, |[a, b]| gather(bits, |i| bit(a, i) * bit(b, i)));
        check(&format!("or.b{bits}"), &two, |[a, b]| gather(bits, |i| bit(a, i).max(bit(b, i))));
        check(&format!("xor.b{bits}"), &two, |[a, b]| gather(bits, |i| bit(a, i) + bit(b, i)));
        check(&format!("not.b{bits}"), &one, |[a]| gather(bits, |i| 1 - bit(a, i)));
        check(&format!("cnot.b{bits}"), &one, |[a]| u64::from(a & mask(bits) == 0));
    }
    let two: Vec<[u64; 2]> = cases(&[0, 1], 100);
    check("and.pred", &two, |[a, b]| a & b & 1);
    check("or.pred", &two, |[a, b]| (a | b) & 1);
    check("xor.pred", &two, |[a, b]| (a ^ b) & 1);
    check("not.pred", &cases(&[0, 1], 100), |[a]| !a & 1);
}

#[test]
fn three_operands_by_a_table() {
    for table in 0..256 {
        let cases: Vec<[u64; 4]> = cases::<3>(&[0x0f0f_0f0f, 0x3333_3333, 0x5555_5555], 32)
            .iter()
            .map(|&[a, b, c]| [a, b, c, table])
            .collect();
        check("lop3.b32", &cases, |[a, b, c, table]| {
            gather(32, |i| table >> (4 * bit(a, i) + 2 * bit(b, i) + bit(c, i)))
        });
    }
    let b32 = Some(Width::B32);
    let error = Bench::new("lop3.b32", 5, Some(&[b32, b32, b32, b32, b32])).map(|_| ());
    assert!(error.is_err(), "a register for the table");
    refused("lop3.or.b32", 7, "lop3");
}

/// Shift amounts are 32 bits, and past the width leave nothing, or the sign.
#[test]
fn shifts() {
    let amounts = [0, 1, 15, 16, 17, 31, 32, 33, 63, 64, 65, 255, 256, 0xffff_ffff];
    let mut two: Vec<[u64; 2]> = Vec::new();
    let mut random = Random(7);
    for amount in amounts {
        for value in INTEGERS.into_iter().chain((0..20).map(|_| random.next())) {
            two.push([value, amount]);
        }
    }
    for bits in [16, 32, 64] {
        let past = move |index: u32, by: u64| u64::from(index) + by >= u64::from(bits);
        let right = move |a: u64, by: u64, fill: u64| {
            gather(bits, |i| if past(i, by) { fill } else { bit(a, i + by as u32) })
        };
        check(&format!("shl.b{bits}"), &two, |[a, by]| {
            gather(bits, |i| if u64::from(i) < by { 0 } else { bit(a, i - by as u32) })
        });
        check(&format!("shr.b{bits}"), &two, |[a, by]| right(a, by, 0));
        check(&format!("shr.u{bits}"), &two, |[a, by]| right(a, by, 0));
        check(&format!("shr.s{bits}"), &two, |[a, by]| right(a, by, bit(a, bits - 1)));
    }
    let three: Vec<[u64; 3]> =
        two.iter().map(|&[a, by]| [a & mask(32), a.rotate_left(40) & mask(32), by]).collect();
    let at = |a: u64, b: u64, index: u64| {
        if index < 32 { bit(a, index as u32) } else { bit(b, index as u32 - 32) }
    };
    for (mode, clamp) in [("clamp", true), ("wrap", false)] {
        let amount = move |c: u64| if clamp { c.min(32) } else { c % 32 };
        check(&format!("shf.l.{mode}.b32"), &three, |[a, b, c]| {
            gather(32, |i| at(a, b, u64::from(i) + 32 - amount(c)))
        });
        check(&format!("shf.r.{mode}.b32"), &three, |[a, b, c]| {
            gather(32, |i| at(a, b, u64::from(i) + amount(c)))
        });
    }
}

#[test]
fn counts_and_positions() {
    for bits in [32_u32, 64] {
        let one: Vec<[u64; 1]> = cases(&INTEGERS, 300);
        let highest = move |a: u64| (0..bits).rev().find(|&i| bit(a, i) == 1);
        check(&format!("popc.b{bits}"), &one, |[a]| (0..bits).map(|i| bit(a, i)).sum());
        check(&format!("clz.b{bits}"), &one, |[a]| {
            highest(a).map_or(bits, |i| bits - 1 - i).into()
        });
        check(&format!("brev.b{bits}"), &one, |[a]| gather(bits, |i| bit(a, bits - 1 - i)));
        for (sign, signed) in [("u", false), ("s", true)] {
            // Of a negative number, the highest zero.
            let of = move |a: u64| highest(if signed && bit(a, bits - 1) == 1 { !a } else { a });
            check(&format!("bfind.{sign}{bits}"), &one, |[a]| u64::from(of(a).unwrap_or(u32::MAX)));
            check(&format!("bfind.shiftamt.{sign}{bits}"), &one, |[a]| {
                u64::from(of(a).map_or(u32::MAX, |i| bits - 1 - i))
            });
        }
    }
}

#[test]
fn fields() {
    let places = [0, 1, 5, 16, 31, 32, 33, 63, 64, 100, 255, 256, 0x105, 0xffff_ff08];
    let mut random = Random(3);
    let mut four = Vec::new();
    for position in places {
        for length in places {
            for _ in 0..6 {
                four.push([random.next(), random.next(), position, length]);
            }
        }
    }
    let three: Vec<[u64; 3]> =
        four.iter().map(|&[a, _, position, length]| [a, position, length]).collect();
    for bits in [32_u32, 64] {
        for (sign, signed) in [("u", false), ("s", true)] {
            check(&format!("bfe.{sign}{bits}"), &three, |[a, position, length]| {
                let (position, length) = ((position & 0xff) as u32, (length & 0xff) as u32);
                let sign = if !signed || length == 0 {
                    0
                } else {
                    bit(a, (position + length - 1).min(bits - 1))
                };
                gather(bits, |i| {
                    if i < length && position + i < bits { bit(a, position + i) } else { sign }
                })
            });
        }
        check(&format!("bfi.b{bits}"), &four, |[a, b, position, length]| {
            let (position, length) = ((position & 0xff) as u32, (length & 0xff) as u32);
            gather(bits, |i| {
                if i >= position && i < position + length {
                    bit(a, i - position)
                } else {
                    bit(b, i)
                }
            })
        });
    }
    let two: Vec<[u64; 2]> = three.iter().map(|&[_, a, b]| [a, b]).collect();
    check("bmsk.clamp.b32", &two, |[a, b]| {
        gather(32, |i| u64::from(u64::from(i) >= a && u64::from(i) < a.min(32) + b.min(32)))
    });
    check("bmsk.wrap.b32", &two, |[a, b]| {
        let (a, b) = (a & 31, b & 31);
        gather(32, |i| u64::from(u64::from(i) >= a && u64::from(i) < a + b))
    });
    let two: Vec<[u64; 2]> = three.iter().map(|&[a, b, _]| [a, b]).collect();
    for (sign, signed) in [("u32", false), ("s32", true)] {
        for (mode, clamp) in [("clamp", true), ("wrap", false)] {
            check(&format!("szext.{mode}.{sign}"), &two, |[a, n]| {
                let n = (if clamp { n.min(32) } else { n & 31 }) as u32;
                let fill = if signed && n > 0 { bit(a, n - 1) } else { 0 };
                gather(32, |i| if i < n { bit(a, i) } else { fill })
            });
        }
    }
}

#[test]
fn bytes_are_permuted() {
    let three: Vec<[u64; 3]> =
        cases(&[0, 0x7f80_ff01, 0x8081_8283, 0x0000_7654, 0xfedc, 0x3210, 0x89ab], 500);
    let byte = |a: u64, b: u64, index: u64| {
        if index < 4 { a >> (8 * index) & 0xff } else { b >> (8 * (index - 4)) & 0xff }
    };
    check("prmt.b32", &three, |[a, b, c]| {
        (0..4)
            .map(|k| {
                let selector = c >> (4 * k) & 0xf;
                let byte = byte(a & mask(32), b & mask(32), selector & 7);
                let byte = if selector & 8 == 0 {
                    byte
                } else if byte & 0x80 != 0 {
                    0xff
                } else {
                    0
                };
                byte << (8 * k)
            })
            .sum()
    });
    // The ISA's tables: for each value of the low bits of c, the sources of bytes 3, 2, 1, 0.
    let tables: [(&str, [[u64; 4]; 4]); 6] = [
        ("f4e", [[3, 2, 1, 0], [4, 3, 2, 1], [5, 4, 3, 2], [6, 5, 4, 3]]),
        ("b4e", [[5, 6, 7, 0], [6, 7, 0, 1], [7, 0, 1, 2], [0, 1, 2, 3]]),
        ("rc8", [[0, 0, 0, 0], [1, 1, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecl", [[3, 2, 1, 0], [3, 2, 1, 1], [3, 2, 2, 2], [3, 3, 3, 3]]),
        ("ecr", [[0, 0, 0, 0], [1, 1, 1, 0], [2, 2, 1, 0], [3, 2, 1, 0]]),
        ("rc16", [[1, 0, 1, 0], [3, 2, 3, 2], [1, 0, 1, 0], [3, 2, 3, 2]]),
    ];
    for (mode, table) in tables {
        check(&format!("prmt.b32.{mode}"), &three, |[a, b, c]| {
            (0..4)
                .map(|k| {
                    byte(a & mask(32), b & mask(32), table[(c & 3) as usize][3 - k]) << (8 * k)
                })
                .sum()
        });
    }
}
