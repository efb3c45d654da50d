use super::*;

fn shared(granule: u32) -> Shared {
    let variables = [("tile".into(), 0, 256), ("flags".into(), 256, 256)];
    Shared::new(512, &variables, Some(granule))
}

fn rows(first: u32, stride: u32) -> [u32; LANES] {
    std::array::from_fn(|lane| first + lane as u32 * stride)
}

fn load(
    group: &mut Group,
    shared: &mut Shared,
    warp: u32,
    mask: Mask,
    at: &[u32; LANES],
    width: u32,
) -> Words {
    let mut out = NOTHING;
    shared.load(&mut group.warp(warp), mask, at, width, &mut out);
    out
}

fn store(
    group: &mut Group,
    shared: &mut Shared,
    warp: u32,
    mask: Mask,
    at: &[u32; LANES],
    width: u32,
) {
    let data = words(|lane| lane + 100 * warp);
    shared.store(&mut group.warp(warp), mask, at, width, &data);
}

fn add(group: &mut Group, shared: &mut Shared, warp: u32, mask: Mask, at: u32, width: u32) {
    let mut op = |_, old: u64| Some(old + 1);
    shared.atomic(&mut group.warp(warp), mask, &[at; LANES], width, &mut op);
}

#[test]
fn values_come_back_in_every_width() {
    for granule in [1, 2, 4] {
        for width in [1, 2, 4, 8, 16].into_iter().filter(|&width| width >= granule) {
            let (mut group, mut shared) = (Group::new(0, 1), shared(granule));
            let data: Words = std::array::from_fn(|word| {
                std::array::from_fn(|lane| {
                    let value = 0x0102_0304u32.wrapping_mul(lane as u32 + 77 * word as u32 + 1);
                    if width < 4 { value & ((1 << (8 * width)) - 1) } else { value }
                })
            });
            let at = rows(0, width);
            shared.store(&mut group.warp(0), ALL, &at, width, &data);
            let out = load(&mut group, &mut shared, 0, ALL, &at, width);
            for word in 0..width.div_ceil(4) as usize {
                assert_eq!(out[word], data[word], "{granule} {width} {word}");
            }
            group.is_clean();
        }
    }
}

#[test]
fn bounds_and_alignment() {
    let (mut group, mut shared) = (Group::new(0, 1), shared(1));
    store(&mut group, &mut shared, 0, lane(2), &[508; LANES], 4);
    group.is_clean();
    store(&mut group, &mut shared, 0, lane(2), &[512; LANES], 4);
    let (check, lane_found, message) = group.only();
    assert_eq!((check, lane_found), (Check::OutOfBounds, 2));
    assert_eq!(
        message,
        "write of 4 bytes at 0x200: 4 bytes past the end of the block's shared memory (512 bytes)"
    );
    for address in [505, 512, u32::MAX - 15, u32::MAX] {
        assert_eq!(load(&mut group, &mut shared, 0, lane(0), &[address; LANES], 16)[0][0], 0);
        assert_eq!(group.checks(), [Check::OutOfBounds], "{address}");
    }
    load(&mut group, &mut shared, 0, lane(0), &[506; LANES], 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::Misaligned);
    assert!(message.starts_with("read of 4 bytes at flags + 250"), "{message}");
    let mut empty = Shared::new(0, &[], Some(4));
    load(&mut group, &mut empty, 0, ALL, &[0; LANES], 4);
    assert_eq!(group.checks(), [Check::OutOfBounds]);
    // The other lanes of a faulty access go on.
    let mut at = rows(0, 4);
    at[9] = 4000;
    store(&mut group, &mut shared, 0, ALL, &at, 4);
    assert_eq!(group.checks(), [Check::OutOfBounds]);
    let out = load(&mut group, &mut shared, 0, ALL & !lane(9), &at, 4);
    assert!((0..32).all(|lane| out[0][lane] == if lane == 9 { 0 } else { lane as u32 }));
    group.is_clean();
}

#[test]
fn uninitialised_bytes_are_found_one_by_one() {
    let (mut group, mut shared) = (Group::new(0, 1), shared(1));
    for index in [0, 1, 3] {
        store(&mut group, &mut shared, 0, lane(0), &[8 + index; LANES], 1);
    }
    load(&mut group, &mut shared, 0, lane(0), &[8; LANES], 2);
    load(&mut group, &mut shared, 0, lane(0), &[11; LANES], 1);
    group.is_clean();
    load(&mut group, &mut shared, 0, lane(0), &[8; LANES], 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::UninitialisedMemory);
    assert!(message.ends_with("byte 2 was never written"), "{message}");
    add(&mut group, &mut shared, 0, lane(0), 16, 4);
    assert_eq!(group.checks(), [Check::UninitialisedMemory]);
    group.checks = group.checks.without(Check::UninitialisedMemory);
    load(&mut group, &mut shared, 0, ALL, &[64; LANES], 4);
    group.is_clean();
}

#[test]
fn warps_race_without_a_barrier_and_not_with_one() {
    // Read after write, write after read, write after write.
    for (first, second) in [(true, false), (false, true), (true, true)] {
        for with_barrier in [true, false] {
            let (mut group, mut shared) = (Group::new(8, 4), shared(4));
            let at = rows(0, 4);
            store(&mut group, &mut shared, 8, ALL, &at, 4);
            group.barrier();
            for (warp, writes) in [(9, first), (11, second)] {
                if writes {
                    store(&mut group, &mut shared, warp, ALL, &at, 4);
                } else {
                    load(&mut group, &mut shared, warp, ALL, &at, 4);
                }
                if with_barrier {
                    group.barrier();
                }
            }
            if with_barrier {
                group.is_clean();
                continue;
            }
            let (check, lane, message) = group.only();
            assert_eq!((check, lane), (Check::SharedRace, 0));
            let did = if first { "written" } else { "read" };
            let now = if second { "write" } else { "read" };
            assert_eq!(
                message,
                format!(
                    "{now} of 4 bytes at tile + 0, {did} by warp 1 lane 0 without a barrier in between"
                )
            );
        }
    }
}

#[test]
fn lanes_race_until_their_warp_synchronises() {
    let reversed: [u32; LANES] = std::array::from_fn(|lane| 4 * (31 - lane as u32));
    for writes_second in [false, true] {
        let (mut group, mut shared) = (Group::new(0, 2), shared(4));
        let second = |group: &mut Group, shared: &mut Shared| {
            if writes_second {
                store(group, shared, 0, ALL, &reversed, 4);
            } else {
                load(group, shared, 0, ALL, &reversed, 4);
            }
        };
        store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        load(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        group.is_clean();
        second(&mut group, &mut shared);
        let (check, _, message) = group.only();
        assert_eq!(check, Check::SharedRace);
        assert!(
            message.ends_with(
                "written by lane 31 of the same warp without a bar.warp.sync or a barrier in between"
            ),
            "{message}"
        );
        group.order.warp_sync(0);
        store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        group.order.warp_sync(0);
        second(&mut group, &mut shared);
        group.is_clean();
    }
    // A write after other lanes' reads.
    let (mut group, mut shared) = (Group::new(0, 1), shared(4));
    store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
    group.order.warp_sync(0);
    load(&mut group, &mut shared, 0, ALL, &[8; LANES], 4);
    store(&mut group, &mut shared, 0, lane(31), &[8; LANES], 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::SharedRace);
    assert!(message.contains("read by several lanes of the same warp"), "{message}");
    group.order.warp_sync(0);
    load(&mut group, &mut shared, 0, lane(31), &[8; LANES], 4);
    store(&mut group, &mut shared, 0, lane(31), &[8; LANES], 4);
    group.is_clean();
}

#[test]
fn any_of_many_readers_is_remembered() {
    for writer in 0..4 {
        let (mut group, mut shared) = (Group::new(0, 4), shared(4));
        store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        group.barrier();
        for warp in 0..4 {
            load(&mut group, &mut shared, warp, ALL, &rows(0, 4), 4);
        }
        group.is_clean();
        store(&mut group, &mut shared, writer, ALL, &rows(0, 4), 4);
        assert_eq!(group.checks(), [Check::SharedRace], "{writer}");
    }
}

#[test]
fn the_first_and_the_latest_reader_stay_when_the_others_have_been_met() {
    for late in [0, 3] {
        let (mut group, mut shared) = (Group::new(0, 5), shared(4));
        store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        group.barrier();
        for warp in 0..4 {
            load(&mut group, &mut shared, warp, ALL, &rows(0, 4), 4);
        }
        let met: Vec<u32> = (0..5).filter(|&warp| warp != late).collect();
        group.order.barrier(&met, &met);
        store(&mut group, &mut shared, 4, ALL, &rows(0, 4), 4);
        let (_, _, message) = group.only();
        assert!(message.contains(&format!("read by warp {late} ")), "{message}");
    }
}

#[test]
fn lanes_of_one_store_may_agree_and_not_differ() {
    let (mut group, mut shared) = (Group::new(0, 1), shared(2));
    shared.store(&mut group.warp(0), ALL, &[4; LANES], 4, &words(|_| 7));
    group.is_clean();
    group.order.warp_sync(0);
    shared.store(&mut group.warp(0), ALL, &[4; LANES], 4, &words(|lane| lane / 31));
    let (check, lane_found, message) = group.only();
    assert_eq!((check, lane_found), (Check::SharedRace, 31));
    assert_eq!(
        message,
        "write of 4 bytes at tile + 4: lane 30 of this instruction writes another value there"
    );
    group.order.warp_sync(0);
    assert_eq!(load(&mut group, &mut shared, 0, lane(0), &[4; LANES], 4)[0][0], 1);
    // The same value again, but by another instruction.
    shared.store(&mut group.warp(0), lane(1), &[4; LANES], 4, &words(|_| 1));
    shared.store(&mut group.warp(0), lane(2), &[4; LANES], 4, &words(|_| 1));
    assert!(group.checks().contains(&Check::SharedRace));
}

#[test]
fn threads_that_share_a_word_but_no_byte_do_not_race() {
    for (granule, width) in [(2, 2), (1, 1), (1, 2)] {
        let (mut group, mut shared) = (Group::new(0, 2), shared(granule));
        let at = rows(0, width);
        let (even, odd) = (0x5555_5555, 0xaaaa_aaaa);
        store(&mut group, &mut shared, 0, even, &at, width);
        store(&mut group, &mut shared, 1, odd, &at, width);
        load(&mut group, &mut shared, 0, even, &at, width);
        load(&mut group, &mut shared, 1, odd, &at, width);
        store(&mut group, &mut shared, 0, even, &at, width);
        group.is_clean();
        load(&mut group, &mut shared, 0, odd, &at, width);
        assert_eq!(group.checks(), [Check::SharedRace], "{granule} {width}");
        group.barrier();
        let out = load(&mut group, &mut shared, 0, ALL, &at, width);
        let expected = |lane: u32| if lane.is_multiple_of(2) { lane } else { lane + 100 };
        assert_eq!(out[0], words(expected)[0]);
        group.is_clean();
        // A whole word meets the byte's writer.
        group.barrier();
        store(&mut group, &mut shared, 1, lane(0), &[3 & !(width - 1); LANES], width);
        load(&mut group, &mut shared, 0, lane(0), &[0; LANES], 4);
        assert_eq!(group.checks(), [Check::SharedRace]);
    }
}

#[test]
fn strong_accesses_race_with_plain_ones_only() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    let at = [0; LANES];
    store(&mut group, &mut shared, 0, lane(0), &at, 4);
    group.barrier();
    group.strong = true;
    store(&mut group, &mut shared, 0, lane(0), &at, 4);
    load(&mut group, &mut shared, 1, lane(0), &at, 4);
    store(&mut group, &mut shared, 1, lane(0), &at, 4);
    add(&mut group, &mut shared, 0, ALL, 0, 4);
    group.is_clean();
    group.strong = false;
    load(&mut group, &mut shared, 1, lane(0), &at, 4);
    assert_eq!(group.checks(), [Check::SharedRace]);
    group.barrier();
    load(&mut group, &mut shared, 1, lane(0), &at, 4);
    group.is_clean();
    add(&mut group, &mut shared, 0, lane(0), 0, 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::SharedRace);
    assert!(message.starts_with("atomic of 4 bytes at tile + 0, read by warp 1"), "{message}");
}

#[test]
fn an_atomic_that_writes_nothing_is_a_read() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    store(&mut group, &mut shared, 0, lane(0), &[0; LANES], 4);
    group.barrier();
    shared.atomic(&mut group.warp(0), 1, &[0; LANES], 4, &mut |_, _| None);
    load(&mut group, &mut shared, 1, lane(0), &[0; LANES], 4);
    group.is_clean();
    store(&mut group, &mut shared, 1, lane(0), &[0; LANES], 4);
    assert_eq!(group.checks(), [Check::SharedRace]);
    shared.atomic(&mut group.warp(0), 1, &[0; LANES], 4, &mut |_, _| None);
    assert_eq!(group.checks(), [Check::SharedRace]);
}

#[test]
fn a_release_and_an_acquire_order_plain_accesses() {
    use crate::order::{Location, Scope};
    let flag = Location::shared(0, 256);
    for fits in [true, false] {
        let (mut group, mut shared) = (Group::new(0, 2), shared(4));
        store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
        group.order.release(0, flag, Scope::Cta);
        if fits {
            group.order.acquire(1, flag, Scope::Cta);
        }
        load(&mut group, &mut shared, 1, ALL, &rows(0, 4), 4);
        assert_eq!(group.checks().is_empty(), fits);
    }
}

#[test]
fn atomics_update_in_lane_order_in_every_width() {
    let (mut group, mut shared) = (Group::new(0, 1), shared(2));
    for width in [2, 4, 8] {
        let at = 16 * width + if width == 2 { 2 } else { 0 };
        shared.store(&mut group.warp(0), ALL, &[at; LANES], width, &[[u32::MAX; LANES]; 4]);
        group.order.warp_sync(0);
        let mut seen = Vec::new();
        let all = u64::MAX >> (64 - 8 * width);
        let mut op = |lane: usize, old: u64| {
            seen.push((lane, old));
            lane.is_multiple_of(2).then_some(old.wrapping_sub(1))
        };
        shared.atomic(&mut group.warp(0), ALL, &[at; LANES], width, &mut op);
        let expected: Vec<_> =
            (0..32).map(|lane| (lane, all - (lane as u64).div_ceil(2))).collect();
        assert_eq!(seen, expected);
        group.order.warp_sync(0);
        let out = load(&mut group, &mut shared, 0, lane(0), &[at; LANES], width);
        assert_eq!(out[0][0], (all - 16) as u32);
        assert_eq!(out[1][0], if width == 8 { u32::MAX } else { 0 });
        group.is_clean();
    }
}

#[test]
fn a_copy_under_way_is_not_to_be_touched() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    let bytes: Vec<u8> = (0..16).collect();
    assert!(shared.begin_async(&mut group.warp(0), 3, 32, 16));
    assert!(shared.has_copies());
    group.is_clean();
    load(&mut group, &mut shared, 0, lane(3), &[36; LANES], 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::AsyncInFlight);
    assert_eq!(
        message,
        "read of 4 bytes at tile + 36, into which an asynchronous copy of warp 0 lane 3 is still under \
         way: expected a wait for it before"
    );
    store(&mut group, &mut shared, 0, lane(3), &[44; LANES], 4);
    assert!(group.checks().contains(&Check::AsyncInFlight));
    load(&mut group, &mut shared, 0, lane(3), &[28; LANES], 4);
    assert_eq!(group.checks(), [Check::UninitialisedMemory], "beside it");
    shared.begin_async(&mut group.warp(1), 0, 40, 4);
    assert!(group.checks().contains(&Check::AsyncInFlight), "two into one place");
    shared.finish_async(&mut group.warp(0), 3, 32, &bytes);
    group.take();
    load(&mut group, &mut shared, 0, lane(3), &[40; LANES], 4);
    assert!(group.checks().contains(&Check::AsyncInFlight), "the other is still under way");
    let out = load(&mut group, &mut shared, 0, lane(3), &[32; LANES], 8);
    group.is_clean();
    assert_eq!((out[0][3], out[1][3]), (0x0302_0100, 0x0706_0504));
    shared.finish_async(&mut group.warp(1), 0, 40, &[1; 4]);
    assert!(!shared.has_copies());
}

#[test]
fn a_landed_copy_is_a_write_of_its_lane() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    shared.begin_async(&mut group.warp(0), 3, 32, 4);
    shared.finish_async(&mut group.warp(0), 3, 32, &[1; 4]);
    load(&mut group, &mut shared, 0, lane(3), &[32; LANES], 4);
    group.is_clean();
    load(&mut group, &mut shared, 0, lane(4), &[32; LANES], 4);
    load(&mut group, &mut shared, 1, lane(3), &[32; LANES], 4);
    assert_eq!(group.checks(), [Check::SharedRace; 2]);
    group.barrier();
    load(&mut group, &mut shared, 1, lane(3), &[32; LANES], 4);
    group.is_clean();
    shared.begin_async(&mut group.warp(0), 3, 32, 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::SharedRace, "begun before the reader has been met");
    assert!(message.contains("read by warp 1 lane 3"), "{message}");
}

#[test]
fn copies_of_all_lanes_land_together() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    let data: Words = std::array::from_fn(|word| [7 + word as u32; LANES]);
    let mut at: [u32; LANES] = rows(0, 16);
    at[3] = 4;
    at[4] = 512;
    let begun = shared.begin_async_lanes(&mut group.warp(0), ALL, &at, 16);
    assert_eq!(begun, ALL & !lane(3) & !lane(4));
    assert_eq!(group.checks(), [Check::OutOfBounds, Check::Misaligned]);
    load(&mut group, &mut shared, 1, lane(0), &[500; LANES], 4);
    assert!(group.checks().contains(&Check::AsyncInFlight));
    group.barrier();
    shared.finish_async_lanes(&mut group.warp(0), begun, &at, 16, &data);
    assert!(!shared.has_copies());
    let out = load(&mut group, &mut shared, 0, begun, &at, 16);
    assert!(lanes(begun).all(|lane| (0..4).all(|word| out[word][lane] == 7 + word as u32)));
    group.is_clean();
    load(&mut group, &mut shared, 0, lane(3), &[48; LANES], 4);
    assert_eq!(group.checks(), [Check::UninitialisedMemory]);
    load(&mut group, &mut shared, 1, begun, &at, 16);
    assert_eq!(group.checks(), [Check::SharedRace]);
    // Two lanes into one place.
    group.barrier();
    shared.begin_async_lanes(&mut group.warp(0), 3, &[64; LANES], 16);
    let (check, lane, _) = group.only();
    assert_eq!((check, lane), (Check::AsyncInFlight, 1));
    shared.finish_async_lanes(&mut group.warp(0), 3, &[64; LANES], 16, &data);
    load(&mut group, &mut shared, 0, 2, &[64; LANES], 16);
    group.is_clean();
}

#[test]
fn a_copy_to_nowhere_does_not_begin() {
    let (mut group, mut shared) = (Group::new(0, 1), shared(4));
    for (address, bytes, expected) in [
        (504, 16, Check::OutOfBounds),
        (u32::MAX - 3, 16, Check::OutOfBounds),
        (0, u32::MAX, Check::OutOfBounds),
        (8, 16, Check::Misaligned),
    ] {
        assert!(!shared.begin_async(&mut group.warp(0), 0, address, bytes));
        assert_eq!(group.checks(), [expected], "{address} {bytes}");
    }
    shared.finish_async(&mut group.warp(0), 0, 8, &[0; 16]);
    load(&mut group, &mut shared, 0, lane(0), &[8; LANES], 4);
    assert_eq!(group.checks(), [Check::UninitialisedMemory]);
}

#[test]
fn checks_that_are_off_find_nothing() {
    let (mut group, mut shared) = (Group::new(0, 2), shared(4));
    group.checks = Checks::required();
    shared.begin_async(&mut group.warp(0), 3, 0, 4);
    store(&mut group, &mut shared, 0, ALL, &rows(0, 4), 4);
    load(&mut group, &mut shared, 1, ALL, &rows(2, 4), 4);
    load(&mut group, &mut shared, 1, ALL, &rows(64, 4), 4);
    group.is_clean();
    load(&mut group, &mut shared, 1, ALL, &rows(480, 4), 4);
    assert_eq!(group.checks(), [Check::OutOfBounds]);
}
