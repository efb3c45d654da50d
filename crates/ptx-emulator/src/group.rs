//! Blocks that run together on one thread: a block, a cluster, or all blocks of a cooperative
//! launch.

use super::block::Block;
use super::counters::{Count, Counters, InstructionCounters};
use super::environment::Environment;
use super::memory::{Actor, Memory};
use super::order::Order;
use super::program::{Class, Op, Program};
use super::registers::{Width, lanes};
use super::report::{Check, Findings, Site};
use super::splits::{Flow, Split, Splits, State};
use super::timing::{BlockTiming, Timer, Timing};
use super::warp::{WarpData, WarpPlace};
use super::warp_copies::BulkToShared;

/// Instructions of a warp's turn.
const TURN: u64 = 8192;
/// Instructions of a turn in a timed launch: warps come to the caches nearly as they would.
const TIMED_TURN: u64 = QUIET_TURN;
/// Instructions after which a turn ends that has had no effect: it may be waiting for others.
pub(super) const QUIET_TURN: u64 = 512;
/// Longest turn under an adversarial schedule.
const ADVERSARIAL_TURN: u64 = 24;

/// What a group, or several, did.
#[derive(Default)]
pub(crate) struct Outcome {
    pub findings: Findings,
    pub counters: Counters,
    pub timings: Vec<BlockTiming>,
}

pub(crate) struct Group<'a> {
    pub program: &'a Program,
    pub memory: &'a Memory,
    pub environment: &'a Environment,
    pub blocks: Vec<Block>,
    pub order: Order,
    pub findings: Findings,
    /// For each instruction: times, and lanes that took part.
    pub executed: Vec<(u64, u64)>,
    /// For each instruction: accesses of memory, where they are counted.
    pub traffic: Vec<Count>,
    pub counters: Counters,
    /// Instructions so far.
    pub instructions: u64,
    /// Value of `instructions` at the last effect.
    pub last_effect: u64,
    /// A finding has ended the launch.
    pub stopped: bool,
    /// Bulk copies to shared memory that have not landed.
    pub bulk: Vec<BulkToShared>,
    random: Option<Random>,
    /// Turns without an effect of others that parted lanes wait for, and instructions.
    patience: u32,
    longest_wait: u64,
    /// The clocks of a timed launch.
    pub timer: Option<Box<Timer>>,
    pub timings: Vec<BlockTiming>,
}

impl<'a> Group<'a> {
    pub fn new(
        program: &'a Program,
        memory: &'a Memory,
        environment: &'a Environment,
        timing: Option<&Timing>,
    ) -> Self {
        let traffic = if environment.count_traffic { program.instructions.len() } else { 0 };
        let warps = u64::from(environment.warps_per_group().max(1));
        Group {
            program,
            memory,
            environment,
            blocks: Vec::new(),
            order: Order::new(0, environment.warps_per_group(), environment.grouping()),
            findings: Findings::default(),
            executed: vec![(0, 0); program.instructions.len()],
            traffic: vec![Count::default(); traffic],
            counters: Counters::default(),
            instructions: 0,
            last_effect: 0,
            stopped: false,
            bulk: Vec::new(),
            random: None,
            // Far less than what makes a livelock.
            patience: (environment.budget / (32 * QUIET_TURN * warps)).min(4) as u32,
            longest_wait: (environment.budget / 32).min(1 << 18),
            timer: timing
                .map(|timing| Box::new(Timer::new(timing, program, environment.warps_per_block))),
            timings: Vec::new(),
        }
    }

    /// Makes the blocks of group `number` resident and runs them to their end.
    pub fn run(&mut self, number: u64) {
        let first = number * self.environment.blocks_per_group;
        let count = self.environment.blocks_per_group.min(self.environment.blocks() - first);
        let warps = u64::from(self.environment.warps_per_block);
        self.order.next_group((first * warps) as u32, (count * warps) as u32);
        self.random = self.environment.seed.map(|seed| Random::new(seed ^ number << 32));
        self.instructions = 0;
        self.last_effect = 0;
        self.bulk.clear();
        for i in 0..count as usize {
            let at = self.environment.block_at(first + i as u64);
            if i == self.blocks.len() {
                self.blocks.push(Block::new(self.program, self.environment));
            }
            let number = (first + i as u64) as u32;
            self.blocks[i].start(self.program, self.environment, at, number);
        }
        self.blocks.truncate(count as usize);
        if let Some(timer) = &mut self.timer {
            timer.start(self.program, first..first + count);
        }
        while !self.stopped {
            let before = self.instructions;
            let ran = match self.random {
                None => self.round(),
                Some(_) => self.random_turn(),
            };
            if self.blocks.iter().all(|b| b.splits.iter().all(Splits::has_ended)) {
                break;
            }
            if !ran && self.instructions == before {
                self.report_deadlock();
                break;
            }
        }
        if let Some(timer) = &self.timer {
            timer.end(&mut self.timings);
        }
    }

    /// Each warp in turn. Says whether any ran.
    fn round(&mut self) -> bool {
        let mut ran = false;
        let turn = if self.timer.is_some() { TIMED_TURN } else { TURN };
        for block in 0..self.blocks.len() {
            // Warps of one block go round by themselves while they get on.
            for warp in 0..self.blocks[block].splits.len() {
                ran |= self.turn(WarpPlace { block, warp }, turn);
                if self.stopped {
                    return ran;
                }
            }
        }
        ran
    }

    /// A turn of a warp that is picked at random among those that can run.
    fn random_turn(&mut self) -> bool {
        let mut places = Vec::new();
        for (block, b) in self.blocks.iter().enumerate() {
            for (warp, splits) in b.splits.iter().enumerate() {
                if splits.list.iter().any(|s| s.state.is_runnable()) {
                    places.push(WarpPlace { block, warp });
                }
            }
        }
        let Some(random) = &mut self.random else { return false };
        if places.is_empty() {
            return false;
        }
        let place = places[random.below(places.len() as u64) as usize];
        let turn = 1 + random.below(ADVERSARIAL_TURN);
        self.turn(place, turn)
    }

    /// Runs a warp for a number of instructions, or until it waits. Says whether it ran.
    fn turn(&mut self, place: WarpPlace, turn: u64) -> bool {
        let end = self.instructions + turn;
        let mut ran = false;
        let mut data = std::mem::take(&mut self.blocks[place.block].data[place.warp]);
        while !self.stopped && self.instructions < end {
            let splits = &mut self.blocks[place.block].splits[place.warp];
            let next = match &mut self.random {
                None => {
                    splits.meet(self.instructions);
                    splits.merge();
                    splits.lowest(self.patience)
                }
                Some(random) => {
                    let ready: Vec<usize> = (0..splits.list.len())
                        .filter(|&i| splits.list[i].state.is_runnable())
                        .collect();
                    match ready.len() {
                        0 => None,
                        count => Some(ready[random.below(count as u64) as usize]),
                    }
                }
            };
            let Some(next) = next else { break };
            ran = true;
            let split = splits.list.remove(next);
            // However turns end, at barriers too, each comes by here.
            self.check_budget(place, split.pc, split.mask);
            if self.stopped {
                self.blocks[place.block].splits[place.warp].list.push(split);
                break;
            }
            let splits = &mut self.blocks[place.block].splits[place.warp];
            // Where others wait further on, this one goes no further without a look at them.
            let rival = match self.random {
                Some(_) => u32::MAX,
                None => {
                    let others = splits.list.iter().filter(|s| s.state.is_runnable() && !s.resting);
                    others.map(|s| s.pc).min().unwrap_or(u32::MAX)
                }
            };
            if self.run_split(place, &mut data, split, rival, end) {
                break;
            }
        }
        self.blocks[place.block].data[place.warp] = data;
        ran
    }

    /// Runs a split until it waits, ends, meets a rival, or its time is over. Says whether the turn
    /// is over.
    fn run_split(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        split: Split,
        rival: u32,
        end: u64,
    ) -> bool {
        let program = self.program;
        let checks = self.environment.checks;
        let registers_checked = checks.has(Check::UninitialisedRegister);
        let start = self.instructions;
        let Split { mut pc, mask, mut state, .. } = split;
        let has_partings = self.blocks[place.block].splits[place.warp].has_partings();
        loop {
            let instruction = &program.instructions[pc as usize];
            let active = match instruction.guard {
                None => mask,
                Some(guard) => {
                    let registers = &data.registers;
                    if registers_checked {
                        let unset = mask & !registers.preds_set[guard.pred.0 as usize];
                        if unset != 0 {
                            let site = self.site(place, pc);
                            self.report_unset(site, unset, Width::Pred);
                        }
                    }
                    let pred = registers.preds[guard.pred.0 as usize];
                    mask & if guard.negated { !pred } else { pred }
                }
            };
            self.instructions += 1;
            let counts = &mut self.executed[pc as usize];
            counts.0 += 1;
            counts.1 += u64::from(active.count_ones());
            if let Some(timer) = &mut self.timer {
                timer.begin(place, pc, instruction, active != 0);
            }
            if active == 0 {
                if let Some(timer) = &mut self.timer {
                    timer.finish(place, pc, instruction, false);
                }
                pc += 1;
                state = State::Ready;
            } else {
                if registers_checked {
                    for &(width, reg) in &instruction.reads {
                        let set = match width {
                            Width::Pred => data.registers.preds_set[reg.0 as usize],
                            Width::B16 | Width::B32 => data.registers.narrow_set[reg.0 as usize],
                            Width::B64 => data.registers.wide_set[reg.0 as usize],
                        };
                        if active & !set != 0 {
                            let site = self.site(place, pc);
                            self.report_unset(site, active & !set, width);
                        }
                    }
                }
                if active != mask && instruction.op.is_aligned() {
                    self.report_masked(place, pc, active, mask);
                }
                let flow = match &instruction.op {
                    Op::Arithmetic { run, operands, divisor } => {
                        if let Some((width, reg)) = *divisor {
                            self.check_divisor(place, pc, data, active, width, reg);
                        }
                        run(&mut data.registers, operands, active);
                        Flow::Next
                    }
                    Op::Branch { target } => Flow::Jump(*target),
                    op => self.execute(place, data, pc, active, state, op),
                };
                state = State::Ready;
                if let Some(timer) = &mut self.timer
                    && !matches!(flow, Flow::Park(_) | Flow::Stop)
                {
                    timer.finish(place, pc, instruction, true);
                }
                match flow {
                    Flow::Next => pc += 1,
                    Flow::Jump(target) => {
                        if active != mask {
                            self.counters.divergent_branches += 1;
                            let splits = &mut self.blocks[place.block].splits[place.warp];
                            splits.push(target, active, State::Ready);
                            splits.push(pc + 1, mask & !active, State::Ready);
                            if self.random.is_none() {
                                let meets_at = program.meeting_points[pc as usize];
                                splits.part(meets_at, mask, self.instructions + self.longest_wait);
                            }
                            return self.instructions >= end;
                        }
                        pc = target;
                    }
                    Flow::Exit => {
                        self.land_rest(place);
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.live &= !active;
                        splits.push(pc + 1, mask & !active, State::Ready);
                        splits.gather();
                        self.effect();
                        self.lanes_left(place);
                        return false;
                    }
                    Flow::Park(wait) => {
                        // It is executed once it is let go, and is counted then.
                        let counts = &mut self.executed[pc as usize];
                        counts.0 -= 1;
                        counts.1 -= u64::from(active.count_ones());
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc + 1, mask & !active, State::Ready);
                        splits.push(pc, active, wait);
                        splits.gather();
                        return false;
                    }
                    Flow::Yield => {
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        let resting = Split { pc: pc + 1, mask, state, resting: true };
                        splits.list.push(resting);
                        return true;
                    }
                    Flow::Scatter(targets) => {
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc + 1, mask & !active, State::Ready);
                        for lane in lanes(active) {
                            splits.push(targets[lane], 1 << lane, State::Ready);
                        }
                        if self.random.is_none() {
                            let meets_at = program.meeting_points[pc as usize];
                            splits.part(meets_at, mask, self.instructions + self.longest_wait);
                        }
                        splits.merge();
                        return self.instructions >= end;
                    }
                    Flow::Stop => {
                        self.stopped = true;
                        let splits = &mut self.blocks[place.block].splits[place.warp];
                        splits.push(pc, mask, State::Ready);
                        return true;
                    }
                }
            }
            let meets = has_partings
                && program.is_meeting_point[pc as usize]
                && self.blocks[place.block].splits[place.warp].meets(pc, mask);
            if pc >= rival || meets {
                self.blocks[place.block].splits[place.warp].push(pc, mask, State::Ready);
                return self.instructions >= end;
            }
            if self.instructions >= end || self.is_quiet_for(start) {
                let quiet = self.is_quiet_for(start);
                let splits = &mut self.blocks[place.block].splits[place.warp];
                let resting = Split { pc, mask, state, resting: quiet };
                splits.list.push(resting);
                return true;
            }
        }
    }

    #[inline(always)]
    fn is_quiet_for(&self, start: u64) -> bool {
        self.instructions - start.max(self.last_effect) >= QUIET_TURN
    }

    /// Something has changed that another could wait for.
    #[inline(always)]
    pub fn effect(&mut self) {
        self.last_effect = self.instructions;
    }

    pub fn site(&self, place: WarpPlace, pc: u32) -> Site {
        Site { pc, block: self.blocks[place.block].at, warp: place.warp as u32 }
    }

    /// The number of a warp in the launch.
    pub fn warp_number(&self, place: WarpPlace) -> u32 {
        let block = self.blocks[place.block].number;
        block * self.environment.warps_per_block + place.warp as u32
    }

    /// Counters of what ran, by class, and by line and instruction where asked for; and what timed
    /// blocks took, in the order in which they ran.
    pub fn finish(mut self, files: &[(u32, String)]) -> Outcome {
        if self.environment.per_instruction {
            let count = self.program.instructions.len();
            self.counters.by_instruction = vec![InstructionCounters::default(); count];
        }
        for (pc, (instruction, &(executed, lanes))) in
            self.program.instructions.iter().zip(&self.executed).enumerate()
        {
            if instruction.class == Class::Hidden || executed == 0 {
                continue;
            }
            self.counters.instructions += executed;
            self.counters.lane_instructions += lanes;
            *self.counters.by_class.entry(instruction.class).or_default() += executed;
            if let Op::Mma { macs, .. } = instruction.op {
                self.counters.mma += executed;
                self.counters.mma_macs += executed * macs;
            }
            let count = self.traffic.get(pc).copied().unwrap_or_default();
            if let Some(counters) = self.counters.by_instruction.get_mut(pc) {
                let Count { global, shared } = count;
                *counters = InstructionCounters { executed, lanes, global, shared };
            }
            self.counters.global.add(&count.global);
            self.counters.shared.add(&count.shared);
            if self.environment.per_line
                && let Some((file, line)) = self.program.origins[pc].source
            {
                let name = files.iter().find(|(index, _)| *index == file);
                let name = name.map_or_else(|| format!("file {file}"), |(_, name)| name.clone());
                let counters = self.counters.by_line.entry((name, line)).or_default();
                counters.instructions += executed;
                counters.global.add(&count.global);
                counters.shared.add(&count.shared);
            }
        }
        Outcome { findings: self.findings, counters: self.counters, timings: self.timings }
    }

    /// Who a warp is to the memory's checks.
    pub fn with_actor<R>(
        &mut self,
        place: WarpPlace,
        pc: u32,
        strong: bool,
        access: impl FnOnce(&Memory, &mut [Block], &mut Actor<'_>) -> R,
    ) -> R {
        let site = self.site(place, pc);
        let warp = self.warp_number(place);
        let mut actor = Actor {
            site,
            warp,
            clock: self.order.clock(warp),
            strong,
            checks: self.environment.checks,
            findings: &mut self.findings,
        };
        access(self.memory, &mut self.blocks, &mut actor)
    }
}

/// SplitMix64: a small generator whose sequence is part of what a seed means.
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ z >> 31) % end
    }
}
