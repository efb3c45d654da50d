//! Names and what they stand for, scope within scope.

use crate::registers::{Reg, Width};
use std::collections::{HashMap, HashSet};

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A register; it gets its index when it is first used.
    Register {
        width: Width,
        reg: Option<Reg>,
    },
    /// Offset in the kernel's parameters.
    Param {
        offset: u32,
    },
    Shared {
        offset: u32,
    },
    DynamicShared,
    Local {
        offset: u32,
    },
    /// Number of a label in its frame.
    Label(u32),
}

/// `%r<count>`.
struct Range {
    count: u32,
    width: Width,
}

#[derive(Default)]
struct NameScope {
    names: HashMap<String, Named>,
    ranges: HashMap<String, Range>,
}

#[derive(Default)]
pub(super) struct Scopes {
    open: Vec<NameScope>,
    constants: HashSet<(Width, u32)>,
}

impl Scopes {
    pub fn open(&mut self) {
        self.open.push(NameScope::default());
    }

    pub fn close(&mut self) {
        self.open.pop();
    }

    /// Sets the open scopes aside, for the body of another function: it sees none of them.
    pub fn enter_function(&mut self) -> Self {
        let constants = std::mem::take(&mut self.constants);
        let inner = Scopes { open: Vec::new(), constants };
        std::mem::replace(self, inner)
    }

    /// Takes the outer scopes back.
    pub fn leave_function(&mut self, outer: Self) {
        let constants = std::mem::take(&mut self.constants);
        *self = outer;
        self.constants = constants;
    }

    /// Says whether the scope has the name already.
    pub fn declare(&mut self, name: &str, named: Named) -> bool {
        let Some(scope) = self.open.last_mut() else { return false };
        let in_range = split_number(name).is_some_and(|(stem, number)| {
            scope.ranges.get(stem).is_some_and(|range| number < range.count)
        });
        in_range || scope.names.insert(name.to_owned(), named).is_some()
    }

    /// Says whether the scope has the range already.
    pub fn declare_range(&mut self, stem: &str, count: u32, width: Width) -> bool {
        let Some(scope) = self.open.last_mut() else { return false };
        scope.ranges.insert(stem.to_owned(), Range { count, width }).is_some()
    }

    /// The innermost meaning of a name.
    pub fn find(&self, name: &str) -> Option<Named> {
        self.open.iter().rev().find_map(|scope| {
            scope.names.get(name).copied().or_else(|| {
                let (stem, number) = split_number(name)?;
                let range = scope.ranges.get(stem)?;
                (number < range.count).then_some(Named::Register { width: range.width, reg: None })
            })
        })
    }

    /// Gives a register its index, in the scope that declares it.
    pub fn assign(&mut self, name: &str, width: Width, reg: Reg) {
        let named = Named::Register { width, reg: Some(reg) };
        for scope in self.open.iter_mut().rev() {
            if scope.names.contains_key(name) {
                scope.names.insert(name.to_owned(), named);
                return;
            }
            let declared = split_number(name).is_some_and(|(stem, number)| {
                scope.ranges.get(stem).is_some_and(|range| number < range.count)
            });
            if declared {
                scope.names.insert(name.to_owned(), named);
                return;
            }
        }
    }

    pub fn mark_constant(&mut self, width: Width, reg: Reg) {
        self.constants.insert((file_of(width), reg.0));
    }

    pub fn is_constant(&self, width: Width, reg: Reg) -> bool {
        self.constants.contains(&(file_of(width), reg.0))
    }
}

/// B16 and B32 registers share a file.
fn file_of(width: Width) -> Width {
    if width == Width::B16 { Width::B32 } else { width }
}

/// `%r12` as `%r` and 12; a number with a leading zero is part of the name.
fn split_number(name: &str) -> Option<(&str, u32)> {
    let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
    // The longest run of digits could cut a stem that ends in digits itself, as %f16_0 does not:
    // nvcc's never do.
    let (stem, number) = name.split_at(name.len() - digits);
    if digits == 0 || (digits > 1 && number.starts_with('0')) {
        return None;
    }
    Some((stem, number.parse().ok()?))
}
