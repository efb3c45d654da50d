//! Faults that are not of memory: registers, divisors, predicates, and runs that cannot go on.
//!
//! What ends a run is reported whatever checks are asked for.

use super::group::{Group, QUIET_TURN};
use super::registers::{LANES, Lane, Mask, Reg, Width, each, lanes, pack};
use super::report::{About, Check, Site, plain};
use super::splits::{Split, Splits, State};
use super::warp::{WarpData, WarpPlace};

/// A group that has had no effect for this part of its budget goes round in vain.
const QUIET_PART: u64 = 8;

impl Group<'_> {
    pub(super) fn check_budget(&mut self, place: WarpPlace, pc: u32, mask: Mask) {
        let budget = self.environment.budget;
        let quiet = self.instructions - self.last_effect;
        let site = self.site(place, pc);
        let lane = mask.trailing_zeros();
        if self.instructions >= budget {
            self.stopped = true;
            self.findings.add(Check::Budget, site, lane, || {
                plain(format!(
                    "{budget} warp instructions of the budget are spent; a longer run needs a larger budget"
                ))
            });
        } else if quiet >= (budget / QUIET_PART).max(2 * QUIET_TURN) {
            self.stopped = true;
            self.findings.add(Check::Livelock, site, lane, || {
                plain(format!(
                    "{quiet} warp instructions without a store, an arrival or an exit: what they wait for cannot come"
                ))
            });
        }
    }

    #[cold]
    pub(super) fn report_unset(&mut self, site: Site, unset: Mask, width: Width) {
        for lane in lanes(unset) {
            self.findings.add(Check::UninitialisedRegister, site, lane as u32, || {
                let kind = match width {
                    Width::Pred => "predicate",
                    Width::B16 => "16-bit register",
                    Width::B32 => "32-bit register",
                    Width::B64 => "64-bit register",
                };
                plain(format!("a {kind} is read that lanes {unset:#010x} have not written"))
            });
        }
    }

    /// An aligned operation must be executed by all lanes: a predicate that holds for some is a
    /// fault.
    #[cold]
    pub(super) fn report_masked(&mut self, place: WarpPlace, pc: u32, active: Mask, mask: Mask) {
        if !self.environment.checks.has(Check::DivergentBarrier) {
            return;
        }
        let site = self.site(place, pc);
        let off = mask & !active;
        self.findings.add(Check::DivergentBarrier, site, active.trailing_zeros(), || {
            plain(format!(
                "lanes {active:#010x} execute it, lanes {off:#010x} are kept out by its predicate; expected all"
            ))
        });
    }

    /// Accesses of global memory in a dependent launch: before the wait, only reads of what no
    /// launch writes.
    pub(super) fn check_waited(
        &mut self,
        place: WarpPlace,
        pc: u32,
        mask: Mask,
        addresses: &[u64; LANES],
        reads: bool,
    ) {
        let early = mask & !self.blocks[place.block].waited[place.warp];
        for lane in lanes(early) {
            let at = addresses[lane];
            if reads && self.memory.is_protected(at) {
                continue;
            }
            let site = self.site(place, pc);
            self.findings.add(Check::DependentLaunch, site, lane as u32, || About {
                address: Some(at),
                buffer: None,
                message: format!(
                    "a {} before griddepcontrol.wait: the launch before this one may still use the memory",
                    if reads { "read" } else { "write" }
                ),
            });
        }
    }

    /// A launch that ends without having waited ends, for those after it, the launches before it
    /// too.
    pub(super) fn check_waited_at_exit(&mut self, place: WarpPlace, pc: u32, active: Mask) {
        let early = active & !self.blocks[place.block].waited[place.warp];
        if self.environment.dependent && early != 0 {
            let site = self.site(place, pc);
            self.findings.add(Check::DependentLaunch, site, early.trailing_zeros(), || {
                plain(format!("lanes {early:#010x} end without griddepcontrol.wait"))
            });
        }
    }

    pub(super) fn check_divisor(
        &mut self,
        place: WarpPlace,
        pc: u32,
        data: &WarpData,
        active: Mask,
        width: Width,
        reg: Reg,
    ) {
        if !self.environment.checks.has(Check::DivisionByZero) {
            return;
        }
        let zero = active
            & pack(match width {
                Width::B64 => each(&u64::load(&data.registers, reg), |value| value == 0),
                _ => each(&u32::load(&data.registers, reg), |value| value == 0),
            });
        if zero != 0 {
            let site = self.site(place, pc);
            for lane in lanes(zero) {
                self.findings.add(Check::DivisionByZero, site, lane as u32, || {
                    plain(format!("an integer division by zero in lanes {zero:#010x}"))
                });
            }
        }
    }

    /// Every lane that still waits, and for what.
    pub(super) fn report_deadlock(&mut self) {
        self.stopped = true;
        for block in 0..self.blocks.len() {
            for warp in 0..self.blocks[block].splits.len() {
                let place = WarpPlace { block, warp };
                let splits = self.blocks[block].splits[warp].clone();
                for split in &splits.list {
                    let (check, message) = self.describe_wait(split, &splits);
                    let site = self.site(place, split.pc);
                    let lane = split.mask.trailing_zeros();
                    self.findings.add(check, site, lane, || plain(message));
                }
            }
        }
    }

    fn describe_wait(&self, split: &Split, splits: &Splits) -> (Check, String) {
        let elsewhere = |members: Mask| {
            let others: Vec<String> = splits
                .list
                .iter()
                .filter(|other| *other != split && other.mask & members != 0)
                .map(|other| {
                    let line = self.program.origins[other.pc as usize].line;
                    format!("lanes {:#010x} wait at PTX line {line}", other.mask & members)
                })
                .collect();
            if others.is_empty() { "none of them is left".to_owned() } else { others.join(", ") }
        };
        match split.state {
            State::Lanes { members, .. } => {
                let missing = members & splits.live & !split.mask;
                let aligned = self.program.instructions[split.pc as usize].op.is_aligned();
                let check = if aligned { Check::DivergentBarrier } else { Check::Membermask };
                let message = format!(
                    "lanes {:#010x} wait for lanes {missing:#010x}, which cannot arrive: {}",
                    split.mask,
                    elsewhere(missing)
                );
                (check, message)
            }
            State::Barrier(id) => {
                let diverged = split.mask != splits.live;
                let check = if diverged { Check::DivergentBarrier } else { Check::Deadlock };
                let message = format!(
                    "lanes {:#010x} wait at barrier {id}, which cannot be completed",
                    split.mask
                );
                (check, message)
            }
            State::Cluster => {
                (Check::Deadlock, "waits for blocks of its cluster that cannot arrive".to_owned())
            }
            _ => (Check::Deadlock, "cannot go on".to_owned()),
        }
    }
}
