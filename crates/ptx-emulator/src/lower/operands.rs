//! Operands: registers, immediates, special registers, addresses.

use super::scope::Named;
use super::{DYNAMIC_SHARED, Lowering, Result};
use crate::arithmetic::FloatWidth;
use crate::ast::{Base, Operand, Space};
use crate::program::{Address, Class, ClockRegister, Constant, Op, Special};
use crate::registers::{Lane, Mask, Reg, Registers, Width, each};

impl<'a> Lowering<'a> {
    /// The register of a name, which must have the width.
    pub(super) fn register(&mut self, name: &str, width: Width) -> Result<Reg> {
        let (found, reg) = self.any_register(name)?;
        if found != width {
            return self.refuse(format!(
                "{name} is {}, expected {}",
                describe(found),
                describe(width)
            ));
        }
        Ok(reg)
    }

    /// The register of a name, of whatever width.
    pub(super) fn any_register(&mut self, name: &str) -> Result<(Width, Reg)> {
        match self.scopes.find(name) {
            Some(Named::Register { width, reg: Some(reg) }) => Ok((width, reg)),
            Some(Named::Register { width, reg: None }) => {
                let reg = self.fresh(width);
                self.scopes.assign(name, width, reg);
                Ok((width, reg))
            }
            Some(_) => self.refuse(format!("{name} is a variable or a label, expected a register")),
            None => match special(name) {
                Some(special) => {
                    let width = Width::B32;
                    Ok((width, self.constant(width, Constant::Special(special))))
                }
                None if name.starts_with('%') && clock(name).is_some() => {
                    self.refuse(format!("{name} is read by mov only"))
                }
                None => self.refuse(format!("{name} is not declared")),
            },
        }
    }

    /// A register that holds a constant.
    pub(super) fn constant(&mut self, width: Width, constant: Constant) -> Reg {
        // A B16 and a B32 register of the same bits are the same register.
        let constant = match constant {
            Constant::Bits(Width::B16, bits) => Constant::Bits(Width::B32, bits),
            other => other,
        };
        if let Some(&reg) = self.constants.get(&constant) {
            return reg;
        }
        let reg = self.fresh(width);
        self.constants.insert(constant, reg);
        self.program.constants.push((reg, constant));
        self.scopes.mark_constant(width, reg);
        reg
    }

    pub(super) fn bits(&mut self, width: Width, bits: u64) -> Reg {
        let bits = match width {
            Width::Pred => u64::from(bits != 0),
            Width::B16 => bits & 0xffff,
            Width::B32 => bits & 0xffff_ffff,
            Width::B64 => bits,
        };
        self.constant(width, Constant::Bits(width, bits))
    }

    /// Pairs and negations taken apart, so that each operand is one register or immediate.
    pub(super) fn flatten(&self, operands: &'a [Operand]) -> Result<Vec<&'a Operand>> {
        let mut flat = Vec::with_capacity(operands.len() + 1);
        for operand in operands {
            match operand {
                Operand::Pair(first, second) => flat.extend([&**first, &**second]),
                other => flat.push(other),
            }
        }
        Ok(flat)
    }

    /// Width of an operand that is a register; nothing for the others.
    pub(super) fn width_of(&mut self, operand: &Operand) -> Result<Option<Width>> {
        match operand {
            Operand::Name(name) | Operand::Not(name) => {
                if matches!(self.scopes.find(name), Some(Named::Register { .. }))
                    || special(name).is_some()
                {
                    Ok(Some(self.any_register(name)?.0))
                } else {
                    Ok(None)
                }
            }
            _ => Ok(None),
        }
    }

    /// A register to write.
    pub(super) fn destination(&mut self, operand: &Operand, width: Width) -> Result<Reg> {
        match operand {
            Operand::Name(name) => {
                let reg = self.register(name, width)?;
                if self.is_constant(width, reg) {
                    return self.refuse(format!("{name} cannot be written"));
                }
                self.writes.push((width, reg));
                Ok(reg)
            }
            Operand::Sink => Ok(self.fresh(width)),
            _ => self.refuse("expected a register as destination"),
        }
    }

    /// A register to read, for a register, a negated predicate or an immediate.
    pub(super) fn source_operand(
        &mut self,
        operand: &Operand,
        width: Width,
        floats: Option<FloatWidth>,
    ) -> Result<Reg> {
        match (operand, floats) {
            (Operand::Name(name), _) => self.register(name, width),
            (Operand::Not(name), _) if width == Width::Pred => self.negated(name),
            (Operand::Int(value), _) => {
                self.check_immediate(*value, width)?;
                Ok(self.bits(width, *value as u64))
            }
            (Operand::F32(bits), Some(FloatWidth::F32)) if width == Width::B32 => {
                Ok(self.bits(width, u64::from(*bits)))
            }
            (Operand::F64(bits), Some(FloatWidth::F32)) if width == Width::B32 => {
                let value = f64::from_bits(*bits) as f32;
                Ok(self.bits(width, u64::from(value.to_bits())))
            }
            (Operand::F64(bits), Some(FloatWidth::F64)) if width == Width::B64 => {
                Ok(self.bits(width, *bits))
            }
            (Operand::F32(bits), Some(FloatWidth::F64)) if width == Width::B64 => {
                let value = f64::from(f32::from_bits(*bits));
                Ok(self.bits(width, value.to_bits()))
            }
            (Operand::F32(_) | Operand::F64(_), _) => self.refuse("a float is not an operand here"),
            _ => self.refuse(format!("expected {} or an immediate", describe(width))),
        }
    }

    fn check_immediate(&self, value: i128, width: Width) -> Result<()> {
        let bits = match width {
            Width::Pred => 32,
            Width::B16 => 16,
            Width::B32 => 32,
            Width::B64 => 64,
        };
        // nvcc writes some 32-bit immediates sign-extended to 64 bits.
        let fits = (-(1i128 << 63)..1i128 << 64).contains(&value);
        let exact = (-(1i128 << (bits - 1))..1i128 << bits).contains(&value);
        if exact || (fits && bits == 32 && (value as u64) >> 32 == 0xffff_ffff) {
            return Ok(());
        }
        self.refuse(format!("{value} does not fit in {bits} bits"))
    }

    /// A source that may be wider than the type that the instruction reads: its low bits.
    pub(super) fn narrowed(
        &mut self,
        operand: &Operand,
        width: Width,
        floats: Option<FloatWidth>,
    ) -> Result<Reg> {
        let Some(found) = self.width_of(operand)? else {
            return self.source_operand(operand, width, floats);
        };
        let Operand::Name(name) = operand else {
            return self.source_operand(operand, width, floats);
        };
        let (_, reg) = self.any_register(name)?;
        match (found, width) {
            (a, b) if a == b => Ok(reg),
            (Width::B64, Width::B32 | Width::B16) => {
                let low = self.fresh(Width::B32);
                let run = if width == Width::B32 { low_32 } else { low_16_of_wide };
                self.hidden(run, (Width::B32, low), (Width::B64, reg))?;
                Ok(low)
            }
            (Width::B32, Width::B16) => {
                let low = self.fresh(Width::B32);
                self.hidden(low_16, (Width::B32, low), (Width::B32, reg))?;
                Ok(low)
            }
            _ => self.refuse(format!(
                "{name} is {}, expected {} or wider",
                describe(found),
                describe(width)
            )),
        }
    }

    /// The negation of a predicate, in a register of its own.
    fn negated(&mut self, name: &str) -> Result<Reg> {
        let pred = self.register(name, Width::Pred)?;
        let negation = self.fresh(Width::Pred);
        self.hidden(negate, (Width::Pred, negation), (Width::Pred, pred))?;
        Ok(negation)
    }

    /// An instruction that the PTX does not have. It is not counted.
    fn hidden(
        &mut self,
        run: fn(&mut Registers, &[Reg], Mask),
        to: (Width, Reg),
        from: (Width, Reg),
    ) -> Result<()> {
        let op = Op::Arithmetic { run, operands: [to.1, from.1].into(), divisor: None };
        let outer = std::mem::replace(&mut self.writes, vec![to]);
        let emitted = self.emit(op, Class::Hidden, vec![from]);
        self.writes = outer;
        emitted
    }

    /// An address within brackets.
    pub(super) fn address(&mut self, operand: &Operand, space: Option<Space>) -> Result<Address> {
        let Operand::Address { base, offset } = operand else {
            return self.refuse("expected an address in brackets");
        };
        match base {
            Base::Int(address) => {
                let base = self.bits(Width::B64, *address);
                Ok(Address { base, width: Width::B64, offset: *offset })
            }
            Base::Name(name) => match self.scopes.find(name) {
                Some(Named::Register { .. }) => match self.any_register(name)? {
                    (width @ (Width::B32 | Width::B64), base) => {
                        Ok(Address { base, width, offset: *offset })
                    }
                    (found, _) => {
                        self.refuse(format!("{name} is {}, expected an address", describe(found)))
                    }
                },
                _ => {
                    let (found, base) = self.symbol(name, 0, Width::B64)?;
                    // A kernel's parameters and the parameters of an inlined call are both
                    // `.param`.
                    let param = matches!(space, Some(Space::Param) | None)
                        && matches!(found, Space::Param | Space::Local);
                    if space.is_some_and(|space| space != found) && !param {
                        return self.refuse(format!("{name} is a variable of another space"));
                    }
                    Ok(Address { base, width: Width::B64, offset: *offset })
                }
            },
        }
    }

    /// Whether an address names a parameter of an inlined call, which is in local memory.
    pub(super) fn names_local(&self, operand: &Operand) -> bool {
        match operand {
            Operand::Address { base: Base::Name(name), .. } => {
                matches!(self.scopes.find(name), Some(Named::Local { .. }))
            }
            _ => false,
        }
    }

    /// A register with the address of a variable within its space.
    pub(super) fn symbol(&mut self, name: &str, offset: i64, width: Width) -> Result<(Space, Reg)> {
        let at = |start: u32| u64::from(start).wrapping_add(offset as u64);
        Ok(match self.scopes.find(name) {
            Some(Named::Param { offset }) => (Space::Param, self.bits(width, at(offset))),
            Some(Named::Shared { offset }) => (Space::Shared, self.bits(width, at(offset))),
            Some(Named::Local { offset }) => (Space::Local, self.bits(width, at(offset))),
            Some(Named::DynamicShared) => {
                let constant = Constant::Variable { width, index: DYNAMIC_SHARED, offset };
                (Space::Shared, self.constant(width, constant))
            }
            Some(Named::Register { .. }) => {
                return self.refuse(format!("{name} is a register, expected a variable"));
            }
            Some(Named::Label(_)) => {
                return self.refuse(format!("{name} is a label, expected a variable"));
            }
            None => return self.module_symbol(name, offset, width),
        })
    }

    fn module_symbol(&mut self, name: &str, offset: i64, width: Width) -> Result<(Space, Reg)> {
        let Some(&index) = self.module.variables.get(name) else {
            return self.refuse(format!("{name} is not declared"));
        };
        let variable = &self.source.variables[index];
        match variable.space {
            Space::Shared if variable.is_extern => {
                self.dynamic_shared = true;
                let constant = Constant::Variable { width, index: DYNAMIC_SHARED, offset };
                Ok((Space::Shared, self.constant(width, constant)))
            }
            Space::Shared => {
                let start = match self.module_shared.get(&index) {
                    Some(&start) => start,
                    None => {
                        let bytes = variable.bytes();
                        let start = self.place_shared(variable, bytes)?;
                        self.module_shared.insert(index, start);
                        start
                    }
                };
                let bits = start.wrapping_add(offset as u64);
                Ok((Space::Shared, self.bits(width, bits)))
            }
            space @ (Space::Global | Space::Const) => {
                if variable.is_extern {
                    return self.refuse(format!("{name} is defined in another module"));
                }
                if width != Width::B64 {
                    return self.refuse(format!("the address of {name} has 64 bits"));
                }
                let constant = Constant::Variable { width, index, offset };
                Ok((space, self.constant(width, constant)))
            }
            Space::Reg | Space::Param | Space::Local => {
                self.refuse(format!("{name}: a variable of this space at module scope"))
            }
        }
    }
}

fn negate(registers: &mut Registers, o: &[Reg], mask: Mask) {
    let values = each(&bool::load(registers, o[1]), |value| !value);
    bool::store(registers, o[0], mask, values);
}

pub(super) fn low_32(registers: &mut Registers, o: &[Reg], mask: Mask) {
    let values = each(&u64::load(registers, o[1]), |value| value as u32);
    u32::store(registers, o[0], mask, values);
}

fn low_16_of_wide(registers: &mut Registers, o: &[Reg], mask: Mask) {
    let values = each(&u64::load(registers, o[1]), |value| value as u16);
    u16::store(registers, o[0], mask, values);
}

pub(super) fn low_16(registers: &mut Registers, o: &[Reg], mask: Mask) {
    let values = u16::load(registers, o[1]);
    u16::store(registers, o[0], mask, values);
}

pub(super) fn describe(width: Width) -> &'static str {
    match width {
        Width::Pred => "a predicate",
        Width::B16 => "a 16-bit register",
        Width::B32 => "a 32-bit register",
        Width::B64 => "a 64-bit register",
    }
}

/// Special registers that keep their value while a warp runs.
pub(super) fn special(name: &str) -> Option<Special> {
    let name = name.strip_prefix('%')?;
    if let Some((stem, component)) = name.split_once('.') {
        let axis = ["x", "y", "z"].iter().position(|c| *c == component)?;
        return Some(match stem {
            "tid" => Special::Tid(axis),
            "ntid" => Special::Ntid(axis),
            "ctaid" => Special::Ctaid(axis),
            "nctaid" => Special::Nctaid(axis),
            "clusterid" => Special::Clusterid(axis),
            "nclusterid" => Special::Nclusterid(axis),
            "cluster_ctaid" => Special::ClusterCtaid(axis),
            "cluster_nctaid" => Special::ClusterNctaid(axis),
            _ => return None,
        });
    }
    Some(match name {
        "cluster_ctarank" => Special::ClusterCtarank,
        "cluster_nctarank" => Special::ClusterNctarank,
        "laneid" => Special::Laneid,
        "warpid" => Special::Warpid,
        "nwarpid" => Special::Nwarpid,
        "lanemask_eq" => Special::LanemaskEq,
        "lanemask_le" => Special::LanemaskLe,
        "lanemask_lt" => Special::LanemaskLt,
        "lanemask_ge" => Special::LanemaskGe,
        "lanemask_gt" => Special::LanemaskGt,
        "smid" => Special::Smid,
        "nsmid" => Special::Nsmid,
        "dynamic_smem_size" => Special::DynamicSmemSize,
        "total_smem_size" => Special::TotalSmemSize,
        _ => {
            let number = name.strip_prefix("envreg")?;
            let number: u8 = number.parse().ok()?;
            if number >= 32 {
                return None;
            }
            Special::Envreg(number)
        }
    })
}

/// Special registers that change while a warp runs.
pub(super) fn clock(name: &str) -> Option<(ClockRegister, Width)> {
    Some(match name {
        "%clock" | "%globaltimer_lo" => (ClockRegister::Low, Width::B32),
        "%clock_hi" | "%globaltimer_hi" => (ClockRegister::High, Width::B32),
        "%clock64" | "%globaltimer" => (ClockRegister::Wide, Width::B64),
        _ => return None,
    })
}
