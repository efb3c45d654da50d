//! One instruction of one split: everything but plain arithmetic.

use super::exchange;
use super::group::Group;
use super::program::{ClockRegister, Op};
use super::registers::{LANES, Lane, Mask, Reg, Width, lanes};
use super::report::{Check, Site, plain};
use super::splits::{Flow, Meeting, State};
use super::warp::{WarpData, WarpPlace};

impl Group<'_> {
    /// Executes `op` for the lanes `active` of a split that stands in `state`.
    pub(super) fn execute(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        state: State,
        op: &Op,
    ) -> Flow {
        match op {
            Op::Arithmetic { .. } | Op::Branch { .. } => unreachable!("the loop executes these"),
            Op::BranchIndexed { index, targets } => {
                self.branch_indexed(place, data, pc, active, *index, targets)
            }
            Op::Exit => {
                self.check_waited_at_exit(place, pc, active);
                Flow::Exit
            }
            Op::Trap => {
                let site = self.site(place, pc);
                self.findings.add(Check::Trap, site, active.trailing_zeros(), || {
                    plain("the kernel executed trap".to_owned())
                });
                Flow::Stop
            }
            Op::AssertFail { arguments } => self.assert_fail(place, data, pc, active, arguments),
            Op::Clock { to, which } => {
                let now = self.instructions;
                match which {
                    ClockRegister::Low => {
                        u32::store(&mut data.registers, *to, active, [now as u32; LANES])
                    }
                    ClockRegister::High => {
                        let high = (now >> 32) as u32;
                        u32::store(&mut data.registers, *to, active, [high; LANES]);
                    }
                    ClockRegister::Wide => {
                        u64::store(&mut data.registers, *to, active, [now; LANES])
                    }
                }
                Flow::Next
            }
            Op::ActiveMask { to } => {
                u32::store(&mut data.registers, *to, active, [active; LANES]);
                Flow::Next
            }
            Op::Load(transfer) => self.load(place, data, pc, active, transfer),
            Op::Store(transfer) => self.store(place, data, pc, active, transfer),
            Op::Atomic(atomic) => self.atomic(place, data, pc, active, atomic),
            Op::Fence(scope) => {
                let warp = self.warp_number(place);
                self.order.fence(warp, *scope);
                Flow::Next
            }
            Op::WarpSync { members } => {
                let members = match self.members(place, data, pc, active, state, *members) {
                    Ok(members) => members,
                    Err(park) => return park,
                };
                let _ = members;
                let warp = self.warp_number(place);
                self.order.warp_sync(warp);
                Flow::Next
            }
            Op::Shuffle { mode, to, pred, from, b, c, members } => {
                if let Err(park) = self.members(place, data, pc, active, state, *members) {
                    return park;
                }
                let registers = &data.registers;
                let values = u32::load(registers, *from);
                let (b, c) = (u32::load(registers, *b), u32::load(registers, *c));
                let (values, sources, in_range) = exchange::shuffle(*mode, &values, &b, &c);
                for lane in lanes(active) {
                    let source = sources[lane];
                    if active >> source & 1 == 0 {
                        let site = self.site(place, pc);
                        self.report_member(site, lane, || {
                            format!("reads lane {source}, which does not take part (lanes {active:#010x} do)")
                        });
                    }
                }
                u32::store(&mut data.registers, *to, active, values);
                if let Some(pred) = pred {
                    let values = std::array::from_fn(|lane| in_range >> lane & 1 != 0);
                    bool::store(&mut data.registers, *pred, active, values);
                }
                Flow::Next
            }
            Op::Vote { mode, to, pred, members } => {
                if let Err(park) = self.members(place, data, pc, active, state, *members) {
                    return park;
                }
                let value = exchange::vote(*mode, data.registers.preds[pred.0 as usize], active);
                if *mode == exchange::Vote::Ballot {
                    u32::store(&mut data.registers, *to, active, [value; LANES]);
                } else {
                    bool::store(&mut data.registers, *to, active, [value != 0; LANES]);
                }
                Flow::Next
            }
            Op::Match { form, width, to, pred, from, members } => {
                if let Err(park) = self.members(place, data, pc, active, state, *members) {
                    return park;
                }
                let values = match width {
                    Width::B64 => u64::load(&data.registers, *from),
                    _ => u32::load(&data.registers, *from).map(u64::from),
                };
                if *form == exchange::Match::All {
                    let (value, equal) = exchange::match_all(&values, active);
                    u32::store(&mut data.registers, *to, active, [value; LANES]);
                    if let Some(pred) = pred {
                        bool::store(&mut data.registers, *pred, active, [equal; LANES]);
                    }
                } else {
                    let masks = exchange::match_any(&values, active);
                    u32::store(&mut data.registers, *to, active, masks);
                }
                Flow::Next
            }
            Op::Redux { run, to, from, members } => {
                if let Err(park) = self.members(place, data, pc, active, state, *members) {
                    return park;
                }
                let value = run(&u32::load(&data.registers, *from), active);
                u32::store(&mut data.registers, *to, active, [value; LANES]);
                Flow::Next
            }
            Op::Elect { to, pred, members } => {
                if let Err(park) = self.members(place, data, pc, active, state, *members) {
                    return park;
                }
                let leader = exchange::elect(active).unwrap_or(0);
                if let Some(to) = to {
                    u32::store(&mut data.registers, *to, active, [leader; LANES]);
                }
                let values = std::array::from_fn(|lane| lane as u32 == leader);
                bool::store(&mut data.registers, *pred, active, values);
                Flow::Next
            }
            Op::Barrier(barrier) => self.barrier(place, data, pc, active, state, barrier),
            Op::AsyncCopy(copy) => self.async_copy(place, data, pc, active, copy),
            Op::AsyncCommit => {
                self.blocks[place.block].asynchronous[place.warp].commit(active);
                Flow::Next
            }
            Op::AsyncWait(newest) => {
                self.async_wait(place, pc, active, *newest);
                Flow::Next
            }
            Op::AsyncArrive { at, target, noinc } => {
                self.async_arrive(place, data, pc, active, at, *target, *noinc)
            }
            Op::BulkCopy(copy) => self.bulk_copy(place, data, pc, active, copy),
            Op::BulkCommit => {
                self.blocks[place.block].asynchronous[place.warp].commit_bulk(active);
                Flow::Next
            }
            Op::BulkWait(newest) => {
                self.bulk_wait(place, pc, active, *newest);
                Flow::Next
            }
            Op::LoadMatrix { address, matrix, registers } => {
                if let Some(park) = self.all_lanes(place, pc, active, state) {
                    return park;
                }
                self.load_matrix(place, data, pc, address, *matrix, registers);
                Flow::Next
            }
            Op::StoreMatrix { address, matrix, registers } => {
                if let Some(park) = self.all_lanes(place, pc, active, state) {
                    return park;
                }
                self.store_matrix(place, data, pc, address, *matrix, registers);
                Flow::Next
            }
            Op::Mma { run, operands, .. } => {
                if let Some(park) = self.all_lanes(place, pc, active, state) {
                    return park;
                }
                if active != Mask::MAX {
                    let site = self.site(place, pc);
                    self.report_member(site, active.trailing_zeros() as usize, || {
                        format!("a matrix product takes all 32 lanes, found {active:#010x}")
                    });
                }
                run(&mut data.registers, operands);
                Flow::Next
            }
            Op::Mbarrier(op) => self.mbarrier(place, data, pc, active, op),
            Op::ClusterArrive { release, aligned } => {
                if *aligned && let Some(park) = self.all_lanes(place, pc, active, state) {
                    return park;
                }
                self.cluster_arrive(place, pc, active, *release)
            }
            Op::ClusterWait { aligned } => {
                let released = matches!(state, State::Released(_));
                if !released
                    && *aligned
                    && let Some(park) = self.all_lanes(place, pc, active, state)
                {
                    return park;
                }
                if released {
                    self.time_cluster(place);
                    Flow::Next
                } else {
                    self.cluster_wait(place, pc, active)
                }
            }
            Op::GridWait => {
                self.blocks[place.block].waited[place.warp] |= active;
                Flow::Next
            }
            Op::Yield => Flow::Yield,
            Op::Nothing => Flow::Next,
        }
    }

    /// The lanes that a `.sync` operation names, once all of them are here; until then, a reason to
    /// wait.
    fn members(
        &mut self,
        place: WarpPlace,
        data: &WarpData,
        pc: u32,
        active: Mask,
        state: State,
        members: Reg,
    ) -> Result<Mask, Flow> {
        let values = u32::load(&data.registers, members);
        let first = active.trailing_zeros() as usize;
        let named = values[first];
        if state == State::Gathered {
            return Ok(named);
        }
        if self.environment.checks.has(Check::Membermask) {
            let site = self.site(place, pc);
            if let Some(lane) = lanes(active).find(|&lane| values[lane] != named) {
                self.report_member(site, lane, || {
                    format!(
                        "membermask {:#010x}, expected {named:#010x} as in lane {first}",
                        values[lane]
                    )
                });
            }
            if let Some(lane) = lanes(active & !named).next() {
                self.report_member(site, lane, || {
                    format!("membermask {named:#010x} leaves out lane {lane}, which executes it")
                });
            }
        }
        let live = self.blocks[place.block].splits[place.warp].live;
        let needed = (named | active) & live;
        if needed == active {
            return Ok(named);
        }
        let meeting = match self.program.instructions[pc as usize].op {
            Op::WarpSync { .. } => Meeting::WarpSync,
            _ => Meeting::Here,
        };
        Err(Flow::Park(State::Lanes { members: named | active, meeting }))
    }

    /// `.aligned` operations wait for every lane of the warp that has not exited.
    pub(super) fn all_lanes(
        &mut self,
        place: WarpPlace,
        _pc: u32,
        active: Mask,
        state: State,
    ) -> Option<Flow> {
        let live = self.blocks[place.block].splits[place.warp].live;
        if state == State::Gathered || active == live {
            return None;
        }
        Some(Flow::Park(State::Lanes { members: Mask::MAX, meeting: Meeting::Here }))
    }

    pub(super) fn report_member(
        &mut self,
        site: Site,
        lane: usize,
        message: impl FnOnce() -> String,
    ) {
        if self.environment.checks.has(Check::Membermask) {
            self.findings.add(Check::Membermask, site, lane as u32, || plain(message()));
        }
    }

    fn branch_indexed(
        &mut self,
        place: WarpPlace,
        data: &WarpData,
        pc: u32,
        active: Mask,
        index: Reg,
        targets: &[u32],
    ) -> Flow {
        let indices = u32::load(&data.registers, index);
        let mut to = Box::new([0; LANES]);
        for lane in lanes(active) {
            match targets.get(indices[lane] as usize) {
                Some(&target) => to[lane] = target,
                None => {
                    let site = self.site(place, pc);
                    let (found, count) = (indices[lane], targets.len());
                    self.findings.add(Check::OutOfBounds, site, lane as u32, || {
                        plain(format!("index {found} into {count} branch targets"))
                    });
                    return Flow::Stop;
                }
            }
        }
        let first = to[active.trailing_zeros() as usize];
        if lanes(active).all(|lane| to[lane] == first) {
            Flow::Jump(first)
        } else {
            self.counters.divergent_branches += 1;
            Flow::Scatter(to)
        }
    }

    fn assert_fail(
        &mut self,
        place: WarpPlace,
        data: &WarpData,
        pc: u32,
        active: Mask,
        arguments: &[u32],
    ) -> Flow {
        let lane = active.trailing_zeros() as usize;
        let word = |offset: u32, bytes| data.local.peek(lane, offset, bytes);
        let text = |address: u64| {
            let bytes: Vec<u8> = (0..400)
                .map_while(|i| self.memory.peek(address.wrapping_add(i)))
                .take_while(|&b| b != 0)
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        let [message, file, line, function] = [
            text(word(arguments[0], 8)),
            text(word(arguments[1], 8)),
            word(arguments[2], 4).to_string(),
            text(word(arguments[3], 8)),
        ];
        let site = self.site(place, pc);
        self.findings.add(Check::Trap, site, lane as u32, || {
            plain(format!("assertion `{message}` failed in {function}, {file}:{line}"))
        });
        Flow::Stop
    }
}
