//! Asynchronous copies. Their data is read when they are issued and becomes visible as late as the
//! ISA allows: when a thread waits for their group, or someone waits at their `mbarrier`. Until
//! then the destination is in flight, and any access of it is a fault.

use super::accesses::{Access, Work};
use super::counters::sectors;
use super::group::Group;
use super::mbarrier::MbarrierPlace;
use super::memory::Words;
use super::order::Scope;
use super::program::{Address, AsyncCopy, BulkCopy, BulkDirection, Target};
use super::registers::{LANES, Lane, Mask, each, lanes};
use super::report::{About, Check};
use super::splits::Flow;
use super::timing::{Arrival, Touch};
use super::warp::{WarpData, WarpPlace};
use super::warp_copies::{BulkToGlobal, BulkToShared, CopyArrival, LaneCopies};

impl Group<'_> {
    pub(super) fn async_copy(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        copy: &AsyncCopy,
    ) -> Flow {
        let to = Self::addresses(&data.registers, &copy.to);
        let mut from = Self::addresses(&data.registers, &copy.from);
        let mut sizes = [copy.bytes; LANES];
        if let Some(reg) = copy.from_bytes {
            sizes = u32::load(&data.registers, reg);
        }
        if let Some(pred) = copy.ignore {
            let pred = data.registers.preds[pred.0 as usize];
            for (lane, size) in sizes.iter_mut().enumerate() {
                *size = if pred >> lane & 1 != 0 { 0 } else { *size };
            }
        }
        // One request of either memory, however it is read below; a lane that reads nothing has no
        // part in it.
        let reading = lanes(active).filter(|&lane| sizes[lane] != 0).fold(0, |m, l| m | 1 << l);
        if let Some(traffic) = self.traffic(pc, Target::Global)
            && reading != 0
        {
            traffic.requests += 1;
            traffic.bytes += lanes(reading).map(|lane| u64::from(sizes[lane])).sum::<u64>();
            traffic.sectors += sectors(reading, &from);
        }
        self.count_traffic(pc, Target::Shared, active, &to, copy.bytes);
        if let Some(timer) = &mut self.timer
            && reading != 0
        {
            let touch = if copy.past_l1 { Touch::LoadPastL1 } else { Touch::Load };
            timer.touch(place, pc, Target::Global, (reading, &from, copy.bytes), touch);
        }
        let mut words: Words = [[0; LANES]; 4];
        // Whole copies at once; the rest lane by lane, in parts that the source can be read in.
        let whole = lanes(active).filter(|&l| sizes[l] == copy.bytes).fold(0, |m, l| m | 1 << l);
        if whole != 0 {
            let access = Access {
                place,
                pc,
                mask: whole,
                target: Target::Global,
                bytes: copy.bytes,
                strong: false,
                past_l1: false,
                part: true,
            };
            self.access(access, &mut from, &mut data.local, Work::Load(&mut words));
        }
        for lane in lanes(active & !whole) {
            let size = sizes[lane];
            if size > copy.bytes {
                let site = self.site(place, pc);
                let bytes = copy.bytes;
                self.findings.add(Check::OutOfBounds, site, lane as u32, || About {
                    address: Some(from[lane]),
                    buffer: None,
                    message: format!("reads {size} bytes of a copy of {bytes}"),
                });
                continue;
            }
            let part = self.read_bytes(place, data, pc, lane, Target::Global, from[lane], size);
            for (i, &byte) in part.iter().enumerate() {
                words[i / 4][lane] |= u32::from(byte) << (8 * (i % 4));
            }
        }
        let offsets = each(&to, |a| u32::try_from(a).unwrap_or(u32::MAX));
        let mask = self.with_actor(place, pc, false, |_, blocks, actor| {
            blocks[place.block].shared.begin_async_lanes(actor, active, &offsets, copy.bytes)
        });
        let warp = &mut self.blocks[place.block].asynchronous[place.warp];
        warp.issued += 1;
        warp.copies.push(LaneCopies {
            number: warp.issued,
            pc,
            mask,
            open: mask,
            group: [0; LANES],
            to: offsets,
            bytes: copy.bytes,
            data: words,
        });
        Flow::Next
    }

    /// `cp.async.wait_group` and `cp.async.wait_all`.
    pub(super) fn async_wait(
        &mut self,
        place: WarpPlace,
        _pc: u32,
        active: Mask,
        newest: Option<u32>,
    ) {
        let warp = &mut self.blocks[place.block].asynchronous[place.warp];
        let committed = warp.committed;
        let landed = warp.take(|copy, lane| {
            active >> lane & 1 != 0
                && match newest {
                    None => true,
                    Some(newest) => {
                        copy.open >> lane & 1 == 0
                            && u64::from(copy.group[lane]) + u64::from(newest)
                                < u64::from(committed[lane])
                    }
                }
        });
        self.land_copies(place, landed);
    }

    fn land_copies(&mut self, place: WarpPlace, copies: Vec<LaneCopies>) {
        for copy in copies {
            self.with_actor(place, copy.pc, false, |_, blocks, actor| {
                let shared = &mut blocks[place.block].shared;
                shared.finish_async_lanes(actor, copy.mask, &copy.to, copy.bytes, &copy.data);
            });
            self.effect();
        }
    }

    #[allow(clippy::too_many_arguments)] // one instruction with its place
    pub(super) fn async_arrive(
        &mut self,
        place: WarpPlace,
        data: &WarpData,
        pc: u32,
        active: Mask,
        at: &Address,
        target: Target,
        noinc: bool,
    ) -> Flow {
        let mut addresses = Self::addresses(&data.registers, at);
        if !self.shared_addresses(place, pc, active, target, &mut addresses) {
            return Flow::Stop;
        }
        let done = self.timer.as_ref().map(|timer| timer.copies_done(place, pc));
        for lane in lanes(active) {
            let offset = u32::try_from(addresses[lane]).unwrap_or(u32::MAX);
            let at = MbarrierPlace { block: place.block, offset };
            let raised = self
                .object(at)
                .and_then(|object| if noinc { Ok(()) } else { object.raise_pending() });
            if let Err(message) = raised {
                let site = self.site(place, pc);
                self.findings.add(Check::Mbarrier, site, lane as u32, || About {
                    address: Some(offset.into()),
                    buffer: None,
                    message,
                });
                return Flow::Stop;
            }
            let warp = &mut self.blocks[place.block].asynchronous[place.warp];
            let after = warp.issued;
            warp.arrivals.push(CopyArrival { lane, at, after, done });
        }
        self.effect();
        Flow::Next
    }

    /// Lands what an `mbarrier` waits for.
    pub(super) fn land(&mut self, at: MbarrierPlace) -> Result<(), String> {
        for warp in 0..self.blocks[at.block].asynchronous.len() {
            let place = WarpPlace { block: at.block, warp };
            let mine = &mut self.blocks[at.block].asynchronous[warp];
            if mine.arrivals.is_empty() {
                continue;
            }
            let (arrived, rest): (Vec<_>, Vec<_>) =
                std::mem::take(&mut mine.arrivals).into_iter().partition(|a| a.at == at);
            mine.arrivals = rest;
            let landed = mine.take(|copy, lane| {
                arrived.iter().any(|a| a.lane == lane && copy.number <= a.after)
            });
            self.land_copies(place, landed);
            let number = self.warp_number(place);
            let location = self.mark_location(at);
            for arrival in &arrived {
                let ended = self.object(at)?.arrive(1)?;
                self.time_arrival(at, arrival.done, ended);
                self.order.release(number, location, Scope::Cta);
                self.effect();
            }
        }
        let (landing, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.bulk).into_iter().partition(|copy| copy.mbarrier == at);
        self.bulk = rest;
        for copy in landing {
            self.with_actor(copy.place, copy.pc, false, |_, blocks, actor| {
                let shared = &mut blocks[copy.to.block].shared;
                shared.finish_async(actor, copy.lane, copy.to.offset, &copy.data);
            });
            let number = self.warp_number(copy.place);
            let location = self.mark_location(at);
            self.order.release(number, location, Scope::Cluster);
            let ended = self.object(at)?.complete_bytes(copy.data.len() as u32);
            self.time_arrival(at, copy.done, ended);
            self.effect();
        }
        Ok(())
    }

    /// Tells the clock of what came to an `mbarrier`, and whether it has ended a phase.
    fn time_arrival(&mut self, at: MbarrierPlace, done: Option<Arrival>, ended: bool) {
        if let (Some(timer), Some(done)) = (&mut self.timer, done) {
            timer.complete_copy(at, done);
            if ended {
                timer.mbarrier_ends(at);
            }
        }
    }

    pub(super) fn bulk_copy(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        active: Mask,
        copy: &BulkCopy,
    ) -> Flow {
        let to = Self::addresses(&data.registers, &copy.to);
        let from = Self::addresses(&data.registers, &copy.from);
        let sizes = u32::load(&data.registers, copy.bytes);
        let mbarriers = copy.mbarrier.as_ref().map(|at| Self::addresses(&data.registers, at));
        for lane in lanes(active) {
            let size = sizes[lane];
            if !size.is_multiple_of(16)
                || !to[lane].is_multiple_of(16)
                || !from[lane].is_multiple_of(16)
            {
                let site = self.site(place, pc);
                let at = from[lane];
                self.findings.add(Check::Misaligned, site, lane as u32, || About {
                    address: Some(at),
                    buffer: None,
                    message: format!(
                        "a bulk copy of {size} bytes to {:#x}, expected multiples of 16",
                        to[lane]
                    ),
                });
                return Flow::Stop;
            }
            let source = match copy.direction {
                BulkDirection::GlobalToShared => Target::Global,
                _ => Target::Shared,
            };
            let bytes = self.read_bytes(place, data, pc, lane, source, from[lane], size);
            if bytes.len() != size as usize {
                return Flow::Stop;
            }
            if self.environment.dependent && copy.direction == BulkDirection::SharedToGlobal {
                self.check_waited(place, pc, 1 << lane, &to, false);
            }
            let (global, shared) = match copy.direction {
                BulkDirection::GlobalToShared => (Some(from[lane]), 1),
                BulkDirection::SharedToGlobal => (Some(to[lane]), 1),
                BulkDirection::SharedToShared => (None, 2),
            };
            if let Some(at) = global
                && let Some(traffic) = self.traffic(pc, Target::Global)
                && size != 0
            {
                traffic.requests += 1;
                traffic.bytes += u64::from(size);
                traffic.sectors += (at + u64::from(size) - 1) / 32 - at / 32 + 1;
            }
            if let (Some(timer), true) = (&mut self.timer, global.is_some()) {
                timer.move_bulk(place, size.into(), source == Target::Global);
            }
            if let Some(traffic) = self.traffic(pc, Target::Shared) {
                traffic.requests += shared;
                traffic.bytes += shared * u64::from(size);
            }
            let Some(mbarriers) = &mbarriers else {
                self.blocks[place.block].asynchronous[place.warp].bulk.push(BulkToGlobal {
                    pc,
                    lane,
                    group: None,
                    to: to[lane],
                    data: bytes,
                });
                continue;
            };
            let (blocks, offsets) = self.shared_targets(place, pc, 1 << lane, &to);
            let (marks, mark_offsets) = self.shared_targets(place, pc, 1 << lane, mbarriers);
            let (Some(&(block, _)), Some(&(mark, _))) = (blocks.first(), marks.first()) else {
                return Flow::Stop;
            };
            let to = MbarrierPlace { block, offset: offsets[lane] };
            let mbarrier = MbarrierPlace { block: mark, offset: mark_offsets[lane] };
            let began = self.with_actor(place, pc, false, |_, blocks, actor| {
                blocks[to.block].shared.begin_async(actor, lane, to.offset, size)
            });
            if !began {
                return Flow::Stop;
            }
            let done = self.timer.as_mut().map(|timer| timer.bulk_done(place, pc));
            self.bulk.push(BulkToShared { place, pc, lane, to, mbarrier, data: bytes, done });
        }
        Flow::Next
    }

    /// `cp.async.bulk.wait_group`.
    pub(super) fn bulk_wait(&mut self, place: WarpPlace, _pc: u32, active: Mask, newest: u32) {
        let warp = &mut self.blocks[place.block].asynchronous[place.warp];
        let committed = warp.bulk_committed;
        let (landing, rest): (Vec<_>, Vec<_>) =
            std::mem::take(&mut warp.bulk).into_iter().partition(|copy| {
                active >> copy.lane & 1 != 0
                    && copy.group.is_some_and(|group| {
                        u64::from(group) + u64::from(newest) < u64::from(committed[copy.lane])
                    })
            });
        warp.bulk = rest;
        self.land_bulk(place, landing);
    }

    /// What is on its way to global memory when a warp ends arrives all the same.
    pub(super) fn land_rest(&mut self, place: WarpPlace) {
        let landing = std::mem::take(&mut self.blocks[place.block].asynchronous[place.warp].bulk);
        self.land_bulk(place, landing);
    }

    fn land_bulk(&mut self, place: WarpPlace, copies: Vec<BulkToGlobal>) {
        for copy in copies {
            for (i, part) in copy.data.chunks(16).enumerate() {
                let mut words: Words = [[0; LANES]; 4];
                for (word, bytes) in words.iter_mut().zip(part.chunks_exact(4)) {
                    word[copy.lane] = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
                }
                let mut addresses = [0; LANES];
                addresses[copy.lane] = copy.to.wrapping_add(16 * i as u64);
                self.with_actor(place, copy.pc, false, |memory, _, actor| {
                    memory.store(actor, 1 << copy.lane, &addresses, 16, &words);
                });
            }
            self.effect();
        }
    }

    /// Bytes that one lane reads, as many as the memory has.
    #[allow(clippy::too_many_arguments)] // an access with its place
    fn read_bytes(
        &mut self,
        place: WarpPlace,
        data: &mut WarpData,
        pc: u32,
        lane: usize,
        target: Target,
        from: u64,
        bytes: u32,
    ) -> Vec<u8> {
        let mut read = Vec::new();
        while (read.len() as u32) < bytes {
            let at = from.wrapping_add(read.len() as u64);
            let left = bytes - read.len() as u32;
            // The largest access that is aligned and not too long.
            let width = [16, 8, 4, 2, 1]
                .into_iter()
                .find(|&width| width <= left && at.is_multiple_of(width.into()))
                .unwrap_or(1);
            let faults = self.findings.by_place.len();
            let mut words: Words = [[0; LANES]; 4];
            let mut addresses = [0; LANES];
            addresses[lane] = at;
            let access = Access {
                place,
                pc,
                mask: 1 << lane,
                target,
                bytes: width,
                strong: false,
                past_l1: false,
                part: true,
            };
            self.access(access, &mut addresses, &mut data.local, Work::Load(&mut words));
            let raw: Vec<u8> = words.iter().flat_map(|word| word[lane].to_le_bytes()).collect();
            read.extend_from_slice(&raw[..width as usize]);
            if self.findings.by_place.len() > faults
                && self
                    .findings
                    .by_place
                    .keys()
                    .any(|&(at, check)| at == pc && check == Check::OutOfBounds)
            {
                // A size out of all proportion ends here.
                break;
            }
        }
        read
    }
}
