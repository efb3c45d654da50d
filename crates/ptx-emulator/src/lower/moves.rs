//! `mov` in all its forms, and the conversions between addresses of different spaces.

use super::modifiers::Modifiers;
use super::operands::{clock, describe, low_16};
use super::{Lowering, Result, register_width};
use crate::address::{self, Window};
use crate::arithmetic::FloatWidth;
use crate::ast::{Instruction, Operand};
use crate::program::{Class, Op};
use crate::registers::{LANES, Lane, Mask, Reg, Registers, Width, each};

type Run = fn(&mut Registers, &[Reg], Mask);

impl<'a> Lowering<'a> {
    pub(super) fn moves(&mut self, instruction: &'a Instruction) -> Result<bool> {
        let mut modifiers = Modifiers::new(&instruction.modifiers);
        let operands = instruction.operands.as_slice();
        match (instruction.opcode.as_str(), operands) {
            ("mov", [to, from]) => {
                let scalar = modifiers.next().unwrap_or_default();
                let Some(width) = register_width(scalar) else {
                    return self.refuse(format!("type .{scalar} is not supported"));
                };
                if scalar.ends_with('8') {
                    return self.refuse(format!("type .{scalar} is not supported"));
                }
                self.mov(scalar, width, to, from)?;
            }
            ("cvta", [to, from]) => {
                let to_space = modifiers.take("to");
                let window = modifiers
                    .expect("a space", &WINDOWS)
                    .map_err(|message| self.refusal(message))?;
                if modifiers.expect("type", &[("u64", ())]).is_err() {
                    return self.refuse("expected addresses of type .u64");
                }
                let to = self.destination(to, Width::B64)?;
                let from = self.address_value(from)?;
                let run: Run = match (window, to_space) {
                    (None, _) => copy_64,
                    (Some(Window::Shared), false) => |r, o, m| rebase(r, o, m, address::SHARED),
                    (Some(Window::Shared), true) => |r, o, m| unbase(r, o, m, address::SHARED),
                    (Some(Window::Local), false) => |r, o, m| rebase(r, o, m, address::LOCAL),
                    (Some(Window::Local), true) => |r, o, m| unbase(r, o, m, address::LOCAL),
                    (Some(Window::Param), false) => |r, o, m| rebase(r, o, m, address::PARAM),
                    (Some(Window::Param), true) => |r, o, m| unbase(r, o, m, address::PARAM),
                    (Some(Window::Const), false) => |r, o, m| rebase(r, o, m, address::CONST),
                    (Some(Window::Const), true) => |r, o, m| unbase(r, o, m, address::CONST),
                };
                self.unary(run, Class::Move, to, Width::B64, from)?;
            }
            ("isspacep", [to, from]) => {
                let window = modifiers
                    .expect("a space", &WINDOWS)
                    .map_err(|message| self.refusal(message))?;
                let to = self.destination(to, Width::Pred)?;
                let from = self.source_operand(from, Width::B64, None)?;
                let run: Run = match window {
                    None => |r, o, m| in_window(r, o, m, None),
                    Some(Window::Shared) => |r, o, m| in_window(r, o, m, Some(Window::Shared)),
                    Some(Window::Local) => |r, o, m| in_window(r, o, m, Some(Window::Local)),
                    Some(Window::Param) => |r, o, m| in_window(r, o, m, Some(Window::Param)),
                    Some(Window::Const) => |r, o, m| in_window(r, o, m, Some(Window::Const)),
                };
                self.unary(run, Class::Compare, to, Width::B64, from)?;
            }
            ("mapa", [to, from, rank]) => {
                let shared = modifiers.take("shared::cluster");
                let width = modifiers
                    .expect("type", &[("u32", Width::B32), ("u64", Width::B64)])
                    .map_err(|message| self.refusal(message))?;
                let to = self.destination(to, width)?;
                let rank = self.source_operand(rank, Width::B32, None)?;
                let from = match from {
                    Operand::Name(name) if self.width_of(from)?.is_none() => {
                        self.symbol(name, 0, width)?.1
                    }
                    _ => self.source_operand(from, width, None)?,
                };
                let run: Run = match (shared, width) {
                    (true, Width::B32) => |r, o, m| {
                        let (from, rank) = (u32::load(r, o[1]), u32::load(r, o[2]));
                        let to = std::array::from_fn(|i| {
                            address::of_rank(from[i].into(), rank[i]) as u32
                        });
                        u32::store(r, o[0], m, to);
                    },
                    (true, _) => |r, o, m| {
                        let (from, rank) = (u64::load(r, o[1]), u32::load(r, o[2]));
                        let to = std::array::from_fn(|i| address::of_rank(from[i], rank[i]));
                        u64::store(r, o[0], m, to);
                    },
                    (false, Width::B64) => |r, o, m| {
                        let (from, rank) = (u64::load(r, o[1]), u32::load(r, o[2]));
                        let to = std::array::from_fn(|i| {
                            let offset = from[i].wrapping_sub(address::SHARED);
                            address::SHARED.wrapping_add(address::of_rank(offset, rank[i]))
                        });
                        u64::store(r, o[0], m, to);
                    },
                    (false, _) => return self.refuse("generic addresses have 64 bits"),
                };
                let reads = vec![(width, from), (Width::B32, rank)];
                let operands = [to, from, rank].into();
                self.emit(Op::Arithmetic { run, operands, divisor: None }, Class::Move, reads)?;
            }
            ("createpolicy", [to, ..]) => {
                // A policy is a hint: its value is passed on to accesses, which ignore it.
                while modifiers.next().is_some() {}
                let to = self.destination(to, Width::B64)?;
                let zero = self.bits(Width::B64, 0);
                self.unary(copy_64, Class::Hint, to, Width::B64, zero)?;
            }
            ("mov" | "cvta" | "isspacep" | "mapa", _) => {
                return self.refuse("operands of another kind or number than it takes");
            }
            _ => return Ok(false),
        }
        modifiers.done().map_err(|message| self.refusal(message))?;
        Ok(true)
    }

    fn unary(&mut self, run: Run, class: Class, to: Reg, width: Width, from: Reg) -> Result<()> {
        let op = Op::Arithmetic { run, operands: [to, from].into(), divisor: None };
        self.emit(op, class, vec![(width, from)])
    }

    /// A register, an immediate or a variable as an address.
    fn address_value(&mut self, from: &Operand) -> Result<Reg> {
        match from {
            Operand::Name(name) if self.width_of(from)?.is_none() => {
                Ok(self.symbol(name, 0, Width::B64)?.1)
            }
            Operand::Offset(name, offset) => Ok(self.symbol(name, *offset, Width::B64)?.1),
            _ => self.source_operand(from, Width::B64, None),
        }
    }

    fn mov(&mut self, scalar: &str, width: Width, to: &Operand, from: &Operand) -> Result<()> {
        if let Operand::Name(name) = from
            && let Some((which, clock_width)) = clock(name)
        {
            if clock_width != width {
                return self.refuse(format!("{name} is {}", describe(clock_width)));
            }
            let to = self.destination(to, width)?;
            return self.emit(Op::Clock { to, which }, Class::Move, Vec::new());
        }
        match (to, from) {
            (Operand::Vector(parts), _) => return self.unpack(width, parts, from),
            (_, Operand::Vector(parts)) => return self.pack(width, to, parts),
            _ => {}
        }
        let to = self.destination(to, width)?;
        let symbol = match from {
            Operand::Offset(name, offset) => Some((name, *offset)),
            Operand::Name(name) if self.width_of(from)?.is_none() => Some((name, 0)),
            _ => None,
        };
        let from = match symbol {
            Some((name, offset)) => {
                if !matches!(width, Width::B32 | Width::B64) {
                    return self.refuse("an address has 32 or 64 bits");
                }
                self.symbol(name, offset, width)?.1
            }
            None => {
                let floats = match width {
                    Width::B32 => Some(FloatWidth::F32),
                    Width::B64 => Some(FloatWidth::F64),
                    _ => None,
                };
                // mov.b32 takes a float's bits as well as mov.f32 does.
                let _ = scalar;
                self.source_operand(from, width, floats)?
            }
        };
        let run: Run = match width {
            Width::Pred => |r, o, m| {
                let values = bool::load(r, o[1]);
                bool::store(r, o[0], m, values);
            },
            Width::B16 => low_16,
            Width::B32 => copy_32,
            Width::B64 => copy_64,
        };
        self.unary(run, Class::Move, to, width, from)
    }

    /// `mov.b32 {a, b}, c`: the first part is the lowest.
    fn unpack(&mut self, width: Width, parts: &[Operand], from: &Operand) -> Result<()> {
        let part = self.part_width(width, parts.len())?;
        let from = self.source_operand(from, width, None)?;
        let mut operands = Vec::with_capacity(5);
        for operand in parts {
            operands.push(self.destination(operand, part)?);
        }
        operands.push(from);
        let run: Run = match (width, part) {
            (Width::B32, _) => |r, o, m| {
                let from = u32::load(r, o[2]);
                u16::store(r, o[0], m, each(&from, |v| v as u16));
                u16::store(r, o[1], m, each(&from, |v| (v >> 16) as u16));
            },
            (_, Width::B32) => |r, o, m| {
                let from = u64::load(r, o[2]);
                u32::store(r, o[0], m, each(&from, |v| v as u32));
                u32::store(r, o[1], m, each(&from, |v| (v >> 32) as u32));
            },
            _ => |r, o, m| {
                let from = u64::load(r, o[4]);
                for (i, &to) in o[..4].iter().enumerate() {
                    u16::store(r, to, m, each(&from, |v| (v >> (16 * i)) as u16));
                }
            },
        };
        let op = Op::Arithmetic { run, operands: operands.into(), divisor: None };
        self.emit(op, Class::Move, vec![(width, from)])
    }

    /// `mov.b32 c, {a, b}`.
    fn pack(&mut self, width: Width, to: &Operand, parts: &[Operand]) -> Result<()> {
        let part = self.part_width(width, parts.len())?;
        let to = self.destination(to, width)?;
        let mut operands = vec![to];
        let mut reads = Vec::with_capacity(4);
        for operand in parts {
            let reg = self.source_operand(operand, part, None)?;
            operands.push(reg);
            reads.push((part, reg));
        }
        let run: Run = match (width, part) {
            (Width::B32, _) => |r, o, m| {
                let (low, high) = (u16::load(r, o[1]), u16::load(r, o[2]));
                let to = std::array::from_fn(|i| u32::from(low[i]) | u32::from(high[i]) << 16);
                u32::store(r, o[0], m, to);
            },
            (_, Width::B32) => |r, o, m| {
                let (low, high) = (u32::load(r, o[1]), u32::load(r, o[2]));
                let to = std::array::from_fn(|i| u64::from(low[i]) | u64::from(high[i]) << 32);
                u64::store(r, o[0], m, to);
            },
            _ => |r, o, m| {
                let mut to = [0u64; LANES];
                for (i, &from) in o[1..].iter().enumerate() {
                    for (to, part) in to.iter_mut().zip(u16::load(r, from)) {
                        *to |= u64::from(part) << (16 * i);
                    }
                }
                u64::store(r, o[0], m, to);
            },
        };
        let op = Op::Arithmetic { run, operands: operands.into(), divisor: None };
        self.emit(op, Class::Move, reads)
    }

    fn part_width(&self, width: Width, parts: usize) -> Result<Width> {
        match (width, parts) {
            (Width::B32, 2) | (Width::B64, 4) => Ok(Width::B16),
            (Width::B64, 2) => Ok(Width::B32),
            _ => self.refuse(format!("{parts} parts of {}", describe(width))),
        }
    }
}

const WINDOWS: [(&str, Option<Window>); 8] = [
    ("global", None),
    ("const", Some(Window::Const)),
    ("shared", Some(Window::Shared)),
    ("shared::cta", Some(Window::Shared)),
    ("shared::cluster", Some(Window::Shared)),
    ("local", Some(Window::Local)),
    ("param", Some(Window::Param)),
    ("param::entry", Some(Window::Param)),
];

fn copy_32(r: &mut Registers, o: &[Reg], mask: Mask) {
    let values = u32::load(r, o[1]);
    u32::store(r, o[0], mask, values);
}

fn copy_64(r: &mut Registers, o: &[Reg], mask: Mask) {
    let values = u64::load(r, o[1]);
    u64::store(r, o[0], mask, values);
}

fn rebase(r: &mut Registers, o: &[Reg], mask: Mask, window: u64) {
    let values = each(&u64::load(r, o[1]), |offset| offset.wrapping_add(window));
    u64::store(r, o[0], mask, values);
}

fn unbase(r: &mut Registers, o: &[Reg], mask: Mask, window: u64) {
    let values = each(&u64::load(r, o[1]), |address| address.wrapping_sub(window));
    u64::store(r, o[0], mask, values);
}

fn in_window(r: &mut Registers, o: &[Reg], mask: Mask, window: Option<Window>) {
    let values = each(&u64::load(r, o[1]), |at| address::window_of(at) == window);
    bool::store(r, o[0], mask, values);
}
