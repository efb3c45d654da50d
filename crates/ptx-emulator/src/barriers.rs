//! Barriers of a block and of a cluster, and operations on `mbarrier` objects.

use super::address;
use super::block_barrier::BlockBarrier;
use super::group::Group;
use super::mbarrier::{Mbarrier, MbarrierPlace};
use super::memory::Words;
use super::order::{Location, Scope};
use super::program::{Barrier, BarrierKind, MbarrierKind, MbarrierOp, Op, Target};
use super::registers::{LANES, Lane, Mask, lanes};
use super::report::{About, Check, plain};
use super::splits::{Flow, State};
use super::warp::{WarpData, WarpPlace};

/// Barriers of a block, from the ISA.
const BARRIERS: u32 = 16;

impl Group<'_> {
    pub(super) fn barrier(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        state: State,
        barrier: &Barrier,
    ) -> Flow {
        if let State::Released(result) = state {
            reduce(data, active, barrier.kind, result);
            return Flow::Next;
        }
        if barrier.aligned
            && let Some(park) = self.all_lanes(place, pc, active, state)
        {
            return park;
        }
        let first = active.trailing_zeros() as usize;
        let ids = u32::load(&data.registers, barrier.id);
        let counts = barrier.threads.map(|threads| u32::load(&data.registers, threads));
        let (id, threads) = (ids[first], counts.map(|counts| counts[first]));
        let differs = |lane: usize| {
            ids[lane] != id || counts.is_some_and(|counts| Some(counts[lane]) != threads)
        };
        if let Some(lane) = lanes(active).find(|&lane| differs(lane)) {
            self.report_barrier(place, pc, lane, || {
                format!("lane {lane} names another barrier or count than lane {first}")
            });
        }
        if id >= BARRIERS {
            return self.refuse_barrier(place, pc, first, || {
                format!("barrier {id}, expected 0 to {}", BARRIERS - 1)
            });
        }
        let block_threads = self.environment.warps_per_block * LANES as u32;
        if let Some(threads) = threads
            && (threads == 0 || threads % LANES as u32 != 0 || threads > block_threads)
        {
            return self.refuse_barrier(place, pc, first, || {
                format!(
                    "barrier of {threads} threads, expected a multiple of 32 up to {block_threads}"
                )
            });
        }

        let warp = place.warp as u32;
        let live = self.blocks[place.block].splits[place.warp].live;
        let this = self.blocks[place.block].barriers.entry(id).or_default();
        if !this.started {
            *this = BlockBarrier { threads, every: true, started: true, ..BlockBarrier::default() };
        }
        let before = this.threads;
        if let Some(timer) = &mut self.timer {
            timer.arrive(place, pc, id);
        }
        let this = self.blocks[place.block].barriers.entry(id).or_default();
        if let Some(pred) = barrier.pred {
            let pred = data.registers.preds[pred.0 as usize];
            this.any |= pred & active != 0;
            this.every &= !pred & active == 0;
            this.count += (pred & active).count_ones();
        }
        let mut mask = active;
        this.partial.retain(|&(w, lanes)| {
            mask |= if w == warp { lanes } else { 0 };
            w != warp
        });
        if live & !mask == 0 {
            this.arrived.push(warp);
        } else {
            this.partial.push((warp, mask));
        }
        if before != threads {
            let show = |t: Option<u32>| t.map_or("all".to_owned(), |t| t.to_string());
            self.report_barrier(place, pc, first, || {
                format!(
                    "barrier {id} of {} threads, others wait for {}",
                    show(threads),
                    show(before)
                )
            });
        }
        self.effect();
        let waits = barrier.kind != BarrierKind::Arrive;
        match self.complete(place.block, id, waits.then_some(warp)) {
            Some(result) => {
                reduce(data, active, barrier.kind, result.value(barrier.kind));
                Flow::Next
            }
            None if waits => Flow::Park(State::Barrier(id)),
            None => Flow::Next,
        }
    }

    /// Completes a barrier whose threads have all arrived, and lets the waiting ones go.
    fn complete(&mut self, block: usize, id: u32, also: Option<u32>) -> Option<BlockBarrier> {
        let splits = &self.blocks[block].splits;
        let barrier = self.blocks[block].barriers.get(&id)?;
        if !barrier.started {
            return None;
        }
        let complete = match barrier.threads {
            Some(threads) => barrier.arrived.len() as u32 * LANES as u32 >= threads,
            None => splits
                .iter()
                .enumerate()
                .all(|(warp, splits)| splits.live == 0 || barrier.arrived.contains(&(warp as u32))),
        };
        if !complete {
            return None;
        }
        let barrier = self.blocks[block].barriers.remove(&id)?;
        let mut released: Vec<u32> = also.into_iter().collect();
        for warp in 0..self.blocks[block].splits.len() {
            for i in 0..self.blocks[block].splits[warp].list.len() {
                let split = self.blocks[block].splits[warp].list[i];
                if split.state != State::Barrier(id) {
                    continue;
                }
                let kind = match &self.program.instructions[split.pc as usize].op {
                    Op::Barrier(barrier) => barrier.kind,
                    _ => BarrierKind::Sync,
                };
                let state = State::Released(barrier.value(kind));
                self.blocks[block].splits[warp].list[i].state = state;
                released.push(warp as u32);
            }
        }
        if let Some(timer) = &mut self.timer {
            let waiting = released.iter().skip(usize::from(also.is_some()));
            timer.barrier_ends(block, id, waiting.map(|&warp| warp as usize), also);
        }
        let number = |warp: u32| self.warp_number(WarpPlace { block, warp: warp as usize });
        let mut arrived: Vec<u32> = barrier.arrived.iter().map(|&w| number(w)).collect();
        let mut released: Vec<u32> = released.into_iter().map(number).collect();
        for warps in [&mut arrived, &mut released] {
            warps.sort_unstable();
            warps.dedup();
        }
        self.order.barrier(&arrived, &released);
        self.counters.barriers += 1;
        self.effect();
        Some(barrier)
    }

    /// Barriers may be complete now that lanes of a warp have exited.
    pub(super) fn lanes_left(&mut self, place: WarpPlace) {
        let live = self.blocks[place.block].splits[place.warp].live;
        let ids: Vec<u32> = self.blocks[place.block].barriers.keys().copied().collect();
        for id in ids {
            if let Some(barrier) = self.blocks[place.block].barriers.get_mut(&id) {
                let warp = place.warp as u32;
                let at = barrier.partial.iter().position(|&(w, m)| w == warp && live & !m == 0);
                if let Some(at) = at {
                    barrier.partial.remove(at);
                    barrier.arrived.push(warp);
                }
            }
            self.complete(place.block, id, None);
        }
        self.complete_cluster(place.block);
    }

    /// A fault that the run can go on with.
    fn report_barrier(
        &mut self,
        place: WarpPlace,
        pc: u32,
        lane: usize,
        message: impl FnOnce() -> String,
    ) {
        if self.environment.checks.has(Check::DivergentBarrier) {
            self.refuse_barrier(place, pc, lane, message);
        }
    }

    /// A fault that ends the run.
    fn refuse_barrier(
        &mut self,
        place: WarpPlace,
        pc: u32,
        lane: usize,
        message: impl FnOnce() -> String,
    ) -> Flow {
        let site = self.site(place, pc);
        self.findings.add(Check::DivergentBarrier, site, lane as u32, || plain(message()));
        Flow::Stop
    }

    fn cluster_blocks(&self, block: usize) -> std::ops::Range<usize> {
        let cluster = self.environment.cluster.iter().product::<u32>() as usize;
        let first = block / cluster * cluster;
        first..(first + cluster).min(self.blocks.len())
    }

    /// Stands for a cluster's barrier among the locations that order accesses.
    fn cluster_location(&self, block: usize) -> Location {
        let first = self.cluster_blocks(block).start;
        let number = self.blocks[first].number;
        Location { block: Some(number), address: u64::MAX }
    }

    pub(super) fn cluster_arrive(
        &mut self,
        place: WarpPlace,
        pc: u32,
        active: Mask,
        release: bool,
    ) -> Flow {
        let arrived = &mut self.blocks[place.block].cluster_arrived[place.warp];
        let twice = *arrived & active;
        *arrived |= active;
        if twice != 0 {
            self.report_barrier(place, pc, twice.trailing_zeros() as usize, || {
                "arrives at the cluster's barrier twice without a wait in between".to_owned()
            });
        }
        if release {
            let warp = self.warp_number(place);
            let location = self.cluster_location(place.block);
            self.order.release(warp, location, Scope::Cluster);
        }
        let first = self.cluster_blocks(place.block).start;
        if let Some(timer) = &mut self.timer {
            timer.arrive_cluster(place, pc, first);
        }
        self.effect();
        self.complete_cluster(place.block);
        Flow::Next
    }

    fn complete_cluster(&mut self, block: usize) {
        let blocks = self.cluster_blocks(block);
        let mut any = false;
        for b in blocks.clone() {
            let b = &self.blocks[b];
            for (splits, &arrived) in b.splits.iter().zip(&b.cluster_arrived) {
                any |= arrived != 0;
                if splits.live & !arrived != 0 {
                    return;
                }
            }
        }
        if !any {
            return;
        }
        self.counters.barriers += 1;
        if let Some(timer) = &mut self.timer {
            timer.cluster_ends(blocks.start);
        }
        for b in blocks {
            for warp in 0..self.blocks[b].splits.len() {
                let passed = std::mem::take(&mut self.blocks[b].cluster_arrived[warp]);
                self.blocks[b].cluster_passed[warp] |= passed;
                let mut waited = 0;
                for split in &mut self.blocks[b].splits[warp].list {
                    if split.state == State::Cluster {
                        split.state = State::Released(0);
                        waited |= split.mask;
                    }
                }
                self.blocks[b].cluster_passed[warp] &= !waited;
                if waited != 0 {
                    self.acquire_cluster(WarpPlace { block: b, warp });
                }
            }
        }
        self.effect();
    }

    fn acquire_cluster(&mut self, place: WarpPlace) {
        let warp = self.warp_number(place);
        let location = self.cluster_location(place.block);
        self.order.acquire(warp, location, Scope::Cluster);
    }

    /// Tells the clock that the warp which executes has waited for its cluster.
    pub(super) fn time_cluster(&mut self, place: WarpPlace) {
        let first = self.cluster_blocks(place.block).start;
        if let Some(timer) = &mut self.timer {
            timer.pass_cluster(place, first);
        }
    }

    pub(super) fn cluster_wait(&mut self, place: WarpPlace, pc: u32, active: Mask) -> Flow {
        let block = &mut self.blocks[place.block];
        let (passed, arrived) =
            (&mut block.cluster_passed[place.warp], block.cluster_arrived[place.warp]);
        if active & !*passed == 0 {
            *passed &= !active;
            self.acquire_cluster(place);
            self.time_cluster(place);
            return Flow::Next;
        }
        let never = active & !*passed & !arrived;
        if never != 0 {
            return self.refuse_barrier(place, pc, never.trailing_zeros() as usize, || {
                "waits at the cluster's barrier without having arrived".to_owned()
            });
        }
        Flow::Park(State::Cluster)
    }

    pub(super) fn mbarrier(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        op: &MbarrierOp,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, &op.at);
        if !self.shared_addresses(place, pc, active, op.target, &mut addresses) {
            return Flow::Stop;
        }
        let operand = match (op.operand, op.kind) {
            (None, _) => [1; LANES],
            (Some(reg), MbarrierKind::Test) => u64::load(&data.registers, reg),
            (Some(reg), _) => u32::load(&data.registers, reg).map(u64::from),
        };
        let mut results = [0u64; LANES];
        let mut last = None;
        for lane in lanes(active) {
            let (blocks, offsets) = self.shared_targets(place, pc, 1 << lane, &addresses);
            let Some(&(block, _)) = blocks.first() else { return Flow::Stop };
            let at = MbarrierPlace { block, offset: offsets[lane] };
            let operand = operand[lane];
            let result = self.mbarrier_lane(place, pc, lane, at, &offsets, operand, op);
            match result {
                Ok(result) => {
                    results[lane] = result;
                    last = Some(at);
                }
                Err(message) => {
                    let site = self.site(place, pc);
                    self.findings.add(Check::Mbarrier, site, lane as u32, || About {
                        address: Some(offsets[lane].into()),
                        buffer: None,
                        message,
                    });
                    return Flow::Stop;
                }
            }
        }
        if let Some(to) = op.to {
            match op.kind {
                MbarrierKind::Test | MbarrierKind::TestParity => {
                    if let (Some(timer), Some(at)) = (&mut self.timer, last) {
                        timer.ask_mbarrier(place, pc, at, results.iter().any(|&r| r != 0));
                    }
                    bool::store(&mut data.registers, to, active, results.map(|r| r != 0));
                }
                _ => u64::store(&mut data.registers, to, active, results),
            }
        }
        Flow::Next
    }

    #[allow(clippy::too_many_arguments)] // one lane's part of an operation
    fn mbarrier_lane(
        &mut self,
        place: WarpPlace,
        pc: u32,
        lane: usize,
        at: MbarrierPlace,
        offsets: &[u32; LANES],
        operand: u64,
        op: &MbarrierOp,
    ) -> Result<u64, String> {
        if op.kind != MbarrierKind::Init {
            self.object(at)?;
        }
        // The object's memory is written by `init` and read by the rest, so that what orders them
        // is checked.
        let mut words: Words = [[0; LANES]; 4];
        self.with_actor(place, pc, false, |_, blocks, actor| {
            let shared = &mut blocks[at.block].shared;
            if op.kind == MbarrierKind::Init {
                shared.store(actor, 1 << lane, offsets, 8, &words);
            } else {
                shared.load(actor, 1 << lane, offsets, 8, &mut words);
            }
        });
        if op.kind == MbarrierKind::Init {
            self.effect();
            let object = Mbarrier::new(operand as u32)?;
            self.blocks[at.block].mbarriers.insert(at.offset, object);
            return Ok(0);
        }
        if matches!(op.kind, MbarrierKind::Test | MbarrierKind::TestParity) {
            let past = |object: &Mbarrier| match op.kind {
                MbarrierKind::Test => object.is_past(operand),
                _ => object.is_past_parity(operand as u32),
            };
            let object = self.object(at)?;
            let mut ended = past(object);
            // Asynchronous copies land as late as they may: when someone waits for them in a loop.
            if !ended && object.ask() {
                self.land(at)?;
                ended = past(self.object(at)?);
            }
            if ended && op.orders {
                let warp = self.warp_number(place);
                let location = self.mark_location(at);
                self.order.acquire(warp, location, op.scope);
            }
            return Ok(ended.into());
        }
        if op.kind == MbarrierKind::Invalidate {
            self.object(at)?;
            self.blocks[at.block].mbarriers.remove(&at.offset);
            return Ok(0);
        }
        let object = self.object(at)?;
        let token = object.token();
        let mut ended = false;
        match op.kind {
            MbarrierKind::ExpectBytes => object.expect_bytes(operand as u32)?,
            MbarrierKind::CompleteBytes => ended = object.complete_bytes(operand as u32),
            MbarrierKind::Arrive { drop, no_complete } => {
                if drop {
                    object.drop_expected(operand as u32)?;
                }
                ended = object.arrive(operand as u32)?;
                if ended && no_complete {
                    return Err("an arrival with .noComplete has ended the phase".to_owned());
                }
            }
            MbarrierKind::ArriveExpect { drop } => {
                object.expect_bytes(operand as u32)?;
                if drop {
                    object.drop_expected(1)?;
                }
                ended = object.arrive(1)?;
            }
            MbarrierKind::Init
            | MbarrierKind::Invalidate
            | MbarrierKind::Test
            | MbarrierKind::TestParity => {}
        }
        if let Some(timer) = &mut self.timer {
            timer.arrive_mbarrier(place, pc, at);
            if ended {
                timer.mbarrier_ends(at);
            }
        }
        if op.orders {
            let warp = self.warp_number(place);
            let location = self.mark_location(at);
            self.order.release(warp, location, op.scope);
        }
        self.effect();
        Ok(token)
    }

    pub(super) fn object(&mut self, at: MbarrierPlace) -> Result<&mut Mbarrier, String> {
        self.blocks[at.block].mbarriers.get_mut(&at.offset).ok_or_else(|| {
            format!("no mbarrier was initialised at shared address {:#x}", at.offset)
        })
    }

    pub(super) fn mark_location(&self, at: MbarrierPlace) -> Location {
        let block = self.blocks[at.block].number;
        Location { block: Some(block), address: at.offset.into() }
    }

    /// Generic addresses as shared ones; says whether all of them are.
    pub(super) fn shared_addresses(
        &mut self,
        place: WarpPlace,
        pc: u32,
        active: Mask,
        target: Target,
        addresses: &mut [u64; LANES],
    ) -> bool {
        if target != Target::Generic {
            return true;
        }
        for lane in lanes(active) {
            if address::window_of(addresses[lane]) != Some(address::Window::Shared) {
                let at = addresses[lane];
                let site = self.site(place, pc);
                self.findings.add(Check::OutOfBounds, site, lane as u32, || About {
                    address: Some(at),
                    buffer: None,
                    message: "expected an address of shared memory".to_owned(),
                });
                return false;
            }
            addresses[lane] -= address::SHARED;
        }
        true
    }
}

fn reduce(data: &mut WarpData, active: Mask, kind: BarrierKind, value: u32) {
    match kind {
        BarrierKind::Sync | BarrierKind::Arrive => {}
        BarrierKind::And(to) | BarrierKind::Or(to) => {
            bool::store(&mut data.registers, to, active, [value != 0; LANES]);
        }
        BarrierKind::Popc(to) => u32::store(&mut data.registers, to, active, [value; LANES]),
    }
}
