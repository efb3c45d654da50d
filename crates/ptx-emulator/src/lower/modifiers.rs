//! Modifiers, taken in the order in which the ISA allows them.

use crate::order::Scope;
use crate::program::{Semantics, Target};

/// The modifiers that are still to be understood.
pub(super) struct Modifiers<'a> {
    rest: &'a [String],
}

impl<'a> Modifiers<'a> {
    pub fn new(modifiers: &'a [String]) -> Self {
        Modifiers { rest: modifiers }
    }

    /// Takes the next modifier where it is this one.
    pub fn take(&mut self, name: &str) -> bool {
        match self.rest.split_first() {
            Some((first, rest)) if first == name => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }

    /// Takes the next modifier where the table has it.
    pub fn pick<T: Copy>(&mut self, table: &[(&str, T)]) -> Option<T> {
        let (first, rest) = self.rest.split_first()?;
        let &(_, value) = table.iter().find(|(name, _)| first == name)?;
        self.rest = rest;
        Some(value)
    }

    /// The next modifier, which must be there.
    pub fn expect<T: Copy>(&mut self, what: &str, table: &[(&str, T)]) -> Result<T, String> {
        if let Some(value) = self.pick(table) {
            return Ok(value);
        }
        let names: Vec<String> = table.iter().map(|(name, _)| format!(".{name}")).collect();
        let found = match self.rest.first() {
            Some(first) => format!(".{first}"),
            None => "nothing".to_owned(),
        };
        Err(format!("found {found}, expected {what}: {}", names.join(" ")))
    }

    /// Everything must have been understood.
    pub fn done(self) -> Result<(), String> {
        match self.rest.first() {
            None => Ok(()),
            Some(first) => Err(format!("modifier .{first} is not supported here")),
        }
    }

    pub fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(first)
    }

    pub fn peek(&self) -> Option<&'a str> {
        self.rest.first().map(String::as_str)
    }

    pub fn scope(&mut self) -> Option<Scope> {
        self.pick(&SCOPES)
    }

    pub fn semantics(&mut self) -> Option<Semantics> {
        self.pick(&[
            ("relaxed", Semantics::Relaxed),
            ("acquire", Semantics::Acquire),
            ("release", Semantics::Release),
            ("acq_rel", Semantics::AcquireRelease),
        ])
    }

    /// Cache operators and hints, which change no value. Says whether one of them sends a load past
    /// the L1 cache.
    pub fn hints(&mut self) -> bool {
        const HINTS: [&str; 19] = [
            "ca",
            "cg",
            "cs",
            "lu",
            "cv",
            "wb",
            "wt",
            "L1::evict_normal",
            "L1::evict_unchanged",
            "L1::evict_first",
            "L1::evict_last",
            "L1::no_allocate",
            "L2::evict_normal",
            "L2::evict_first",
            "L2::evict_last",
            "L2::64B",
            "L2::128B",
            "L2::256B",
            "unified",
        ];
        let mut past_l1 = false;
        while let Some(hint) = HINTS.iter().find(|hint| self.take(hint)) {
            past_l1 |= matches!(*hint, "cg" | "cv" | "L1::no_allocate");
        }
        past_l1
    }
}

pub(super) const SCOPES: [(&str, Scope); 4] =
    [("cta", Scope::Cta), ("cluster", Scope::Cluster), ("gpu", Scope::Gpu), ("sys", Scope::Sys)];

/// Spaces of loads and stores.
pub(super) const TARGETS: [(&str, Target); 9] = [
    ("global", Target::Global),
    ("const", Target::Const),
    ("shared", Target::Shared),
    ("shared::cta", Target::Shared),
    ("shared::cluster", Target::Shared),
    ("local", Target::Local),
    ("param", Target::Param),
    ("param::entry", Target::Param),
    ("param::func", Target::Param),
];
