//! Accesses of a warp: which memory each lane's goes to, and what is counted there.

use super::address::{self, Window};
use super::counters::{Traffic, conflicts, sectors};
use super::group::Group;
use super::memory::{Local, Words, load_bytes};
use super::order::Location;
use super::program::{Address, Target};
use super::registers::{LANES, Lane, Mask, Registers, Width, each, lanes};
use super::report::{About, Check};
use super::timing::Touch;
use super::warp::WarpPlace;

/// An access of a warp, but for the addresses.
#[derive(Clone, Copy, Debug)]
pub(super) struct Access {
    pub place: WarpPlace,
    pub pc: u32,
    pub mask: Mask,
    pub target: Target,
    /// Of one lane: 1, 2, 4, 8 or 16.
    pub bytes: u32,
    /// Atomic, volatile, relaxed, acquire or release.
    pub strong: bool,
    /// A load that goes past the L1 cache.
    pub past_l1: bool,
    /// Not a request of its own, but a part of one that is counted as a whole.
    pub part: bool,
}

/// The new value of a lane's old one, in the memory that is named; nothing where it stays.
pub(super) type Update<'w> = &'w mut dyn FnMut(Target, usize, u64) -> Option<u64>;

/// What an access does.
pub(super) enum Work<'w> {
    Load(&'w mut Words),
    Store(&'w Words),
    Atomic(Update<'w>),
}

impl Group<'_> {
    /// The lanes' addresses.
    pub(super) fn addresses(registers: &Registers, address: &Address) -> [u64; LANES] {
        let offset = address.offset as u64;
        match address.width {
            Width::B64 => each(&u64::load(registers, address.base), |a| a.wrapping_add(offset)),
            // Addresses of 32 bits wrap within their window.
            _ => each(&u32::load(registers, address.base), |a| {
                u64::from(a.wrapping_add(offset as u32))
            }),
        }
    }

    /// The lanes that go to each kind of memory, with addresses within it.
    fn targets(target: Target, mask: Mask, addresses: &mut [u64; LANES]) -> [(Target, Mask); 4] {
        let mut by_target =
            [(Target::Global, 0), (Target::Shared, 0), (Target::Local, 0), (Target::Param, 0)];
        match target {
            Target::Generic => {
                for lane in lanes(mask) {
                    let (slot, window) = match address::window_of(addresses[lane]) {
                        None => (0, 0),
                        Some(Window::Shared) => (1, address::SHARED),
                        Some(Window::Local) => (2, address::LOCAL),
                        Some(Window::Param) => (3, address::PARAM),
                        Some(Window::Const) => (0, address::CONST),
                    };
                    by_target[slot].1 |= 1 << lane;
                    addresses[lane] -= window;
                }
            }
            Target::Global | Target::Const => by_target[0].1 = mask,
            Target::Shared => by_target[1].1 = mask,
            Target::Local => by_target[2].1 = mask,
            Target::Param => by_target[3].1 = mask,
        }
        by_target
    }

    /// The block of each lane's shared address; lanes of blocks that do not exist are reported and
    /// left out.
    pub(super) fn shared_targets(
        &mut self,
        place: WarpPlace,
        pc: u32,
        mask: Mask,
        addresses: &[u64; LANES],
    ) -> (Vec<(usize, Mask)>, [u32; LANES]) {
        let mut offsets = [0; LANES];
        let mut blocks: Vec<(usize, Mask)> = Vec::with_capacity(1);
        let cluster = self.environment.cluster.iter().product::<u32>() as usize;
        let first = place.block / cluster * cluster;
        for lane in lanes(mask) {
            let (rank, offset) = address::rank_and_offset(addresses[lane]);
            offsets[lane] = offset;
            let block = match rank {
                None => place.block,
                Some(rank) if (rank as usize) < cluster => first + rank as usize,
                Some(_) => {
                    let site = self.site(place, pc);
                    let at = addresses[lane];
                    self.findings.add(Check::OutOfBounds, site, lane as u32, || About {
                        address: Some(at),
                        buffer: None,
                        message: format!(
                            "shared address {at:#x} lies in no block of the cluster of {cluster}"
                        ),
                    });
                    continue;
                }
            };
            match blocks.iter_mut().find(|(b, _)| *b == block) {
                Some((_, mask)) => *mask |= 1 << lane,
                None => blocks.push((block, 1 << lane)),
            }
        }
        (blocks, offsets)
    }

    /// Whether every address is of the block itself, the usual case; then its offsets.
    fn own_shared(addresses: &[u64; LANES]) -> Option<[u32; LANES]> {
        let all = addresses.iter().fold(0, |all, a| all | a);
        (all < 1 << 24).then(|| each(addresses, |a| a as u32))
    }

    /// Does `work` in the memories that the lanes' addresses name. The addresses become those
    /// within each.
    pub(super) fn access(
        &mut self,
        access: Access,
        addresses: &mut [u64; LANES],
        local: &mut Local,
        mut work: Work<'_>,
    ) {
        let Access { place, pc, bytes, strong, .. } = access;
        for (target, mask) in Self::targets(access.target, access.mask, addresses) {
            if mask == 0 {
                continue;
            }
            if !access.part {
                self.count_traffic(pc, target, mask, addresses, bytes);
                if let Some(timer) = &mut self.timer {
                    let touch = match &work {
                        Work::Load(_) if access.past_l1 => Touch::LoadPastL1,
                        Work::Load(_) => Touch::Load,
                        Work::Store(_) => Touch::Store,
                        Work::Atomic(_) => Touch::Atomic,
                    };
                    timer.touch(place, pc, target, (mask, addresses, bytes), touch);
                }
            }
            match target {
                Target::Global | Target::Const | Target::Generic => {
                    if self.environment.dependent {
                        let reads = matches!(work, Work::Load(_));
                        self.check_waited(place, pc, mask, addresses, reads);
                    }
                    self.with_actor(place, pc, strong, |memory, _, actor| match &mut work {
                        Work::Load(words) => memory.load(actor, mask, addresses, bytes, words),
                        Work::Store(words) => memory.store(actor, mask, addresses, bytes, words),
                        Work::Atomic(update) => {
                            let mut update = |lane, old| update(target, lane, old);
                            memory.atomic(actor, mask, addresses, bytes, &mut update);
                        }
                    });
                }
                Target::Shared => {
                    if let Some(offsets) = Self::own_shared(addresses) {
                        self.shared_access(access, place.block, mask, &offsets, &mut work);
                        continue;
                    }
                    let (blocks, offsets) = self.shared_targets(place, pc, mask, addresses);
                    for (block, mask) in blocks {
                        self.shared_access(access, block, mask, &offsets, &mut work);
                    }
                }
                Target::Local | Target::Param => {
                    let offsets = each(addresses, |a| u32::try_from(a).unwrap_or(u32::MAX));
                    let environment = self.environment;
                    let refused = self.with_actor(place, pc, strong, |_, _, actor| {
                        match (target, &mut work) {
                            (Target::Local, Work::Load(words)) => {
                                local.load(actor, mask, &offsets, bytes, words);
                            }
                            (Target::Local, Work::Store(words)) => {
                                local.store(actor, mask, &offsets, bytes, words);
                            }
                            (_, Work::Load(words)) => {
                                let params = &environment.params;
                                let name = "parameters";
                                load_bytes(params, name, actor, mask, &offsets, bytes, words);
                            }
                            (_, Work::Store(_)) => {
                                return Some("a store to the parameters, which are read-only");
                            }
                            (_, Work::Atomic(_)) => {
                                return Some("an atomic outside of global and shared memory");
                            }
                        }
                        None
                    });
                    if let Some(message) = refused {
                        let (site, lane) = (self.site(place, pc), mask.trailing_zeros());
                        let address = Some(addresses[lane as usize]);
                        self.findings.add(Check::OutOfBounds, site, lane, || About {
                            address,
                            buffer: None,
                            message: message.to_owned(),
                        });
                    }
                }
            }
        }
    }

    fn shared_access(
        &mut self,
        access: Access,
        block: usize,
        mask: Mask,
        offsets: &[u32; LANES],
        work: &mut Work<'_>,
    ) {
        let Access { place, pc, bytes, strong, .. } = access;
        self.with_actor(place, pc, strong, |_, blocks, actor| {
            let shared = &mut blocks[block].shared;
            match work {
                Work::Load(words) => shared.load(actor, mask, offsets, bytes, words),
                Work::Store(words) => shared.store(actor, mask, offsets, bytes, words),
                Work::Atomic(update) => {
                    let mut update = |lane, old| update(Target::Shared, lane, old);
                    shared.atomic(actor, mask, offsets, bytes, &mut update);
                }
            }
        });
    }

    /// Where an instruction's requests of global or shared memory are counted, if they are.
    pub(super) fn traffic(&mut self, pc: u32, target: Target) -> Option<&mut Traffic> {
        let count = self.traffic.get_mut(pc as usize)?;
        match target {
            Target::Global => Some(&mut count.global),
            Target::Shared => Some(&mut count.shared),
            _ => None,
        }
    }

    pub(super) fn count_traffic(
        &mut self,
        pc: u32,
        target: Target,
        mask: Mask,
        addresses: &[u64; LANES],
        bytes: u32,
    ) {
        let Some(traffic) = self.traffic(pc, target) else { return };
        traffic.requests += 1;
        traffic.bytes += u64::from(mask.count_ones() * bytes);
        match target {
            Target::Global => traffic.sectors += sectors(mask, addresses),
            _ => traffic.conflicts += conflicts(mask, addresses, bytes),
        }
    }

    /// Where a strong access goes, as the ordering of accesses names it; nothing for memory that no
    /// other thread reaches.
    pub(super) fn location(
        &self,
        place: WarpPlace,
        target: Target,
        address: u64,
    ) -> Option<Location> {
        let (target, address) = match (target, address::window_of(address)) {
            (Target::Generic, None) => (Target::Global, address),
            (Target::Generic, Some(Window::Shared)) => (Target::Shared, address - address::SHARED),
            _ => (target, address),
        };
        match target {
            Target::Global => Some(Location { block: None, address }),
            Target::Shared => {
                let cluster = self.environment.cluster.iter().product::<u32>() as usize;
                let (rank, offset) = address::rank_and_offset(address);
                let block = match rank {
                    None => place.block,
                    Some(rank) => place.block / cluster * cluster + rank as usize,
                };
                let number = self.blocks.get(block).map_or(u32::MAX, |block| block.number);
                Some(Location { block: Some(number), address: offset.into() })
            }
            Target::Generic | Target::Const | Target::Local | Target::Param => None,
        }
    }
}
