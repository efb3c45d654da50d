use super::*;
use crate::order::{Location, Scope};

/// x: 64 words that count up; y: 1000 bytes that nothing has written.
fn memory(granule: u32) -> (Memory, Buffer, Buffer) {
    let mut memory = Memory::new();
    let x = memory.upload("x", &(0..64).collect::<Vec<u32>>());
    let y = memory.uninitialised("y", 1000);
    memory.begin_launch(Some(granule));
    (memory, x, y)
}

fn rows(first: u64, stride: u64) -> [u64; LANES] {
    std::array::from_fn(|lane| first + lane as u64 * stride)
}

fn load(
    group: &mut Group,
    memory: &Memory,
    warp: u32,
    mask: Mask,
    at: &[u64; LANES],
    width: u32,
) -> Words {
    let mut out = NOTHING;
    memory.load(&mut group.warp(warp), mask, at, width, &mut out);
    out
}

fn store(group: &mut Group, memory: &Memory, warp: u32, mask: Mask, at: &[u64; LANES], width: u32) {
    let data = words(|lane| lane + 100 * warp);
    memory.store(&mut group.warp(warp), mask, at, width, &data);
}

fn add(group: &mut Group, memory: &Memory, warp: u32, mask: Mask, at: u64, width: u32) {
    let mut op = |_, old: u64| Some(old + 1);
    memory.atomic(&mut group.warp(warp), mask, &[at; LANES], width, &mut op);
}

#[test]
fn buffers_have_aligned_addresses_and_gaps() {
    let mut memory = Memory::new();
    let sizes = [0, 1, 255, 4096, 70_000, 0];
    let buffers = sizes.map(|size| memory.zeroed("z", size));
    for (buffer, size) in buffers.iter().zip(sizes) {
        assert_eq!((buffer.len_bytes(), buffer.name()), (size, "z"));
        assert_eq!(buffer.address() % 256, 0);
        assert!(buffer.address() % 512 != 0, "no more aligned than a kernel may count on");
    }
    for pair in buffers.windows(2) {
        assert!(pair[1].address() - pair[0].address() - pair[0].len_bytes() as u64 >= 4096);
    }
    assert!(buffers[0].address() >= FIRST_ADDRESS);
    assert_eq!(memory.name_of(buffers[4].address() + 69_999), Some(("z", 69_999)));
    assert_eq!(memory.name_of(buffers[4].address() + 70_000), None);
    assert_eq!(memory.name_of(buffers[4].address() - 1), None);
    assert_eq!(memory.name_of(0), None);
    assert_eq!(memory.name_of(u64::MAX), None);
}

#[test]
fn the_host_reads_what_it_wrote() {
    let mut memory = Memory::new();
    let x = memory.upload("x", &[1u8, 2, 3, 4, 5]);
    assert_eq!(memory.download::<u8>(&x), [1, 2, 3, 4, 5]);
    assert_eq!(memory.download::<u16>(&x), [0x0201, 0x0403, 5]);
    assert_eq!(memory.initialised_bytes(&x), 5);
    let y = memory.uninitialised("y", 10);
    assert_eq!(memory.initialised_bytes(&y), 0);
    memory.write(&y, 3, &[0xabcdu16, 0x1234]);
    assert_eq!(memory.download::<u8>(&y), [0, 0, 0, 0xcd, 0xab, 0x34, 0x12, 0, 0, 0]);
    assert_eq!(memory.initialised_bytes(&y), 4);
    assert_eq!(memory.download::<f64>(&y).len(), 2);
}

#[test]
#[should_panic(expected = "2 bytes at byte 9 of y (10 bytes)")]
fn the_host_writes_within_the_buffer() {
    let mut memory = Memory::new();
    let y = memory.zeroed("y", 10);
    memory.write(&y, 9, &[1u16]);
}

#[test]
fn values_come_back_in_every_width() {
    for granule in [1, 2, 4] {
        for width in [1, 2, 4, 8, 16].into_iter().filter(|&width| width >= granule) {
            let (memory, _, y) = memory(granule);
            let mut group = Group::new(0, 1);
            let data: Words = std::array::from_fn(|word| {
                std::array::from_fn(|lane| {
                    let value = 0x0102_0304u32.wrapping_mul(lane as u32 + 77 * word as u32 + 1);
                    if width < 4 { value & ((1 << (8 * width)) - 1) } else { value }
                })
            });
            let at = rows(y.address() + 16, width.into());
            memory.store(&mut group.warp(0), ALL & !lane(7), &at, width, &data);
            let out = load(&mut group, &memory, 0, ALL & !lane(7), &at, width);
            for word in 0..width.div_ceil(4) as usize {
                for lane in (0..LANES).filter(|&lane| lane != 7) {
                    assert_eq!(out[word][lane], data[word][lane], "{granule} {width} {word}");
                }
            }
            group.is_clean();
            assert_eq!(memory.initialised_bytes(&y), 31 * width as usize);
            let bytes = memory.download::<u8>(&y);
            assert_eq!(bytes[16], byte(&data, 0, 0));
            assert_eq!(bytes[16 + width as usize..][0], byte(&data, 1, 0));
        }
    }
}

#[test]
fn what_is_outside_is_reported_with_the_nearest_buffer() {
    let (memory, x, y) = memory(1);
    let mut group = Group::new(0, 1);
    let (first, last) = (x.address(), y.address() + 1000);
    for (address, width, buffer, expected) in [
        (first - 1, 1, "x", "read of 1 byte: 1 byte before x (256 bytes)"),
        (first - 4, 4, "x", "read of 4 bytes: 4 bytes before x (256 bytes)"),
        (first + 256, 1, "x", "read of 1 byte: 1 byte past the end of x (256 bytes)"),
        (first + 256, 4, "x", "read of 4 bytes: 4 bytes past the end of x (256 bytes)"),
        (first + 254, 4, "x", "read of 4 bytes: 2 bytes past the end of x (256 bytes)"),
        (last - 8, 16, "y", "read of 16 bytes: 8 bytes past the end of y (1000 bytes)"),
        (y.address() - 2000, 4, "y", "read of 4 bytes: 2000 bytes before y (1000 bytes)"),
    ] {
        let out = load(&mut group, &memory, 0, lane(3), &[address; LANES], width);
        assert_eq!(out[0][3], 0);
        let expected = (Check::OutOfBounds, 3, Some(buffer.into()), expected.into());
        assert_eq!(group.take(), [expected], "{address:#x}");
    }
    for address in [0, 8, 4096, FIRST_ADDRESS - 16] {
        load(&mut group, &memory, 0, lane(3), &[address; LANES], 8);
        let (check, _, message) = group.only();
        assert_eq!(check, Check::OutOfBounds);
        assert!(message.contains("null, or no pointer"), "{message}");
    }
    for address in [u64::MAX, u64::MAX - 3, u64::MAX - 15, 1 << 63] {
        for width in [1, 4, 16] {
            store(&mut group, &memory, 0, lane(3), &[address; LANES], width);
            assert_eq!(group.checks(), [Check::OutOfBounds], "{address:#x}");
        }
    }
    let nothing = Memory::new();
    load(&mut group, &nothing, 0, ALL, &[FIRST_ADDRESS + 256; LANES], 4);
    assert!(group.only().2.ends_with("there is no buffer"));
}

#[test]
fn the_other_lanes_of_a_faulty_access_go_on() {
    let (memory, x, y) = memory(4);
    let mut group = Group::new(0, 1);
    store(&mut group, &memory, 0, ALL, &rows(y.address(), 4), 4);
    // Lanes in two buffers, one between them, one misaligned, one null.
    let mut at = rows(x.address(), 4);
    (8..16).for_each(|lane| at[lane] = y.address() + 4 * lane as u64);
    at[5] = x.address() + 256;
    at[9] = y.address() + 2;
    at[30] = 0;
    let out = load(&mut group, &memory, 0, ALL & !lane(1), &at, 4);
    for lane in (0..32).filter(|&lane| lane != 1) {
        let expected = if [5, 9, 30].contains(&lane) { 0 } else { lane as u32 };
        assert_eq!(out[0][lane], expected, "{lane}");
    }
    let found = group.take();
    let found: Vec<_> = found.iter().map(|found| (found.0, found.1)).collect();
    assert_eq!(found, [(Check::OutOfBounds, 5), (Check::Misaligned, 9)]);
}

#[test]
fn misaligned_accesses_are_left_out() {
    let (memory, x, _) = memory(4);
    let mut group = Group::new(0, 1);
    for (width, offset) in [(2, 1), (4, 2), (8, 4), (16, 8)] {
        store(&mut group, &memory, 0, lane(2), &[x.address() + 32 + offset; LANES], width);
        let (check, lane, message) = group.only();
        assert_eq!((check, lane), (Check::Misaligned, 2));
        let expected = format!(
            "write of {width} bytes at x + {}: expected an address that is a multiple of {width}",
            32 + offset
        );
        assert!(message.starts_with(&expected), "{message}");
    }
    assert_eq!(memory.download::<u32>(&x), (0..64).collect::<Vec<u32>>());
    group.checks = group.checks.without(Check::Misaligned);
    store(&mut group, &memory, 0, lane(2), &[x.address() + 2; LANES], 4);
    group.is_clean();
}

#[test]
fn uninitialised_bytes_are_found_one_by_one() {
    let (memory, x, y) = memory(1);
    let mut group = Group::new(0, 1);
    for index in [0, 1, 3] {
        store(&mut group, &memory, 0, lane(0), &[y.address() + 8 + index; LANES], 1);
    }
    load(&mut group, &memory, 0, lane(0), &[y.address() + 8; LANES], 2);
    load(&mut group, &memory, 0, ALL, &rows(x.address(), 4), 4);
    group.is_clean();
    load(&mut group, &memory, 0, lane(0), &[y.address() + 8; LANES], 8);
    let (check, lane_found, message) = group.only();
    assert_eq!((check, lane_found), (Check::UninitialisedMemory, 0));
    assert_eq!(
        message,
        "read of 8 bytes at y + 8: expected written bytes, found that byte 2 was never written"
    );
    add(&mut group, &memory, 0, lane(0), y.address() + 16, 8);
    assert_eq!(group.checks(), [Check::UninitialisedMemory]);
    group.checks = group.checks.without(Check::UninitialisedMemory);
    load(&mut group, &memory, 0, lane(0), &[y.address() + 100; LANES], 4);
    group.is_clean();
}

#[test]
fn blocks_race_whatever_each_has_seen_of_itself() {
    for (first, second) in [(true, false), (false, true), (true, true)] {
        let (memory, x, _) = memory(4);
        let at = rows(x.address(), 4);
        let (mut one, mut other) = (Group::new(0, 8), Group::new(8, 8));
        let act = |group: &mut Group, warp, writes| {
            if writes {
                store(group, &memory, warp, ALL, &at, 4);
            } else {
                load(group, &memory, warp, ALL, &at, 4);
            }
        };
        act(&mut one, 2, first);
        one.is_clean();
        other.barrier();
        act(&mut other, 11, second);
        let (check, lane, message) = other.only();
        assert_eq!((check, lane), (Check::GlobalRace, 0));
        let did = if first { "written" } else { "read" };
        let now = if second { "write" } else { "read" };
        assert_eq!(
            message,
            format!(
                "{now} of 4 bytes at x + 0, {did} by block 0 warp 2 lane 0 without a release and an acquire \
                 in between"
            )
        );
    }
}

#[test]
fn blocks_may_read_together_and_a_writer_meets_one_of_them() {
    for writer in 0..4 {
        let (memory, x, _) = memory(4);
        let at = rows(x.address(), 4);
        let mut groups: Vec<Group> = (0..4).map(|block| Group::new(8 * block, 8)).collect();
        for (block, group) in groups.iter_mut().enumerate() {
            for warp in [3, 5, 3] {
                load(group, &memory, 8 * block as u32 + warp, ALL, &at, 4);
            }
            load(group, &memory, 8 * block as u32, ALL, &[x.address(); LANES], 4);
            group.is_clean();
        }
        // Its own reads it has met, the others it cannot have.
        groups[writer].barrier();
        store(&mut groups[writer], &memory, 8 * writer as u32 + 1, ALL, &at, 4);
        assert_eq!(groups[writer].checks(), [Check::GlobalRace], "{writer}");
    }
}

#[test]
fn within_a_block_a_barrier_orders_and_within_a_warp_its_synchronisation() {
    let (memory, x, _) = memory(4);
    let at = rows(x.address(), 4);
    let reversed: [u64; LANES] = std::array::from_fn(|lane| at[31 - lane]);
    let mut group = Group::new(0, 2);
    store(&mut group, &memory, 0, ALL, &at, 4);
    load(&mut group, &memory, 0, ALL, &at, 4);
    store(&mut group, &memory, 0, ALL, &at, 4);
    group.is_clean();
    load(&mut group, &memory, 0, ALL, &reversed, 4);
    let (check, _, message) = group.only();
    assert_eq!(check, Check::GlobalRace);
    assert!(message.contains("written by lane 31 of the same warp without a bar.warp.sync"));
    group.order.warp_sync(0);
    load(&mut group, &memory, 0, ALL, &reversed, 4);
    group.is_clean();
    store(&mut group, &memory, 1, ALL, &at, 4);
    assert_eq!(group.checks(), [Check::GlobalRace]);
    group.barrier();
    store(&mut group, &memory, 0, ALL, &reversed, 4);
    group.barrier();
    load(&mut group, &memory, 1, ALL, &at, 4);
    load(&mut group, &memory, 0, ALL, &reversed, 4);
    group.barrier();
    store(&mut group, &memory, 1, ALL, &reversed, 4);
    group.is_clean();
}

#[test]
fn lanes_that_read_one_place_are_all_remembered() {
    let (memory, x, _) = memory(4);
    let mut group = Group::new(0, 1);
    for writer in [0, 12, 31] {
        load(&mut group, &memory, 0, ALL, &[x.address(); LANES], 4);
        store(&mut group, &memory, 0, lane(writer), &[x.address(); LANES], 4);
        let (check, _, message) = group.only();
        assert_eq!(check, Check::GlobalRace);
        assert!(message.contains("read by several lanes of the same warp"), "{message}");
        group.order.warp_sync(0);
    }
}

#[test]
fn a_released_write_may_be_read_and_one_that_follows_may_not() {
    for (fences, expected) in [([true, true], 0), ([false, true], 1), ([true, false], 1)] {
        let (memory, x, _) = memory(4);
        let at = rows(x.address(), 4);
        let flag = Location::global(x.address() + 200);
        let mut group = Group::new(0, 16);
        store(&mut group, &memory, 0, ALL, &at, 4);
        if fences[0] {
            group.order.fence(0, Scope::Gpu);
        }
        group.order.relaxed_write(0, flag);
        group.order.relaxed_read(9, flag);
        if fences[1] {
            group.order.fence(9, Scope::Gpu);
        }
        load(&mut group, &memory, 9, ALL, &at, 4);
        assert_eq!(group.checks().len(), expected, "{fences:?}");
    }
}

#[test]
fn a_serial_run_knows_of_earlier_blocks_what_they_released() {
    for acquires in [true, false] {
        let (memory, x, _) = memory(4);
        let flag = Location::global(x.address() + 128);
        let mut group = Group::new(0, 8);
        store(&mut group, &memory, 5, ALL, &rows(x.address(), 4), 4);
        group.barrier();
        group.order.release(0, flag, Scope::Gpu);
        group.order.next_group(8, 8);
        if acquires {
            group.order.acquire(9, flag, Scope::Gpu);
        }
        load(&mut group, &memory, 9, ALL, &rows(x.address(), 4), 4);
        assert_eq!(group.checks().is_empty(), acquires);
    }
}

#[test]
fn strong_accesses_race_with_plain_ones_only() {
    let (memory, x, _) = memory(4);
    let at = [x.address(); LANES];
    let (mut one, mut other) = (Group::new(0, 8), Group::new(8, 8));
    one.strong = true;
    other.strong = true;
    store(&mut one, &memory, 0, lane(0), &at, 4);
    load(&mut other, &memory, 8, lane(0), &at, 4);
    store(&mut other, &memory, 8, lane(0), &at, 4);
    add(&mut one, &memory, 0, ALL, x.address(), 4);
    add(&mut other, &memory, 8, ALL, x.address(), 4);
    one.is_clean();
    other.is_clean();
    one.strong = false;
    load(&mut one, &memory, 0, lane(0), &at, 4);
    assert_eq!(one.checks(), [Check::GlobalRace]);
    add(&mut other, &memory, 8, lane(0), x.address(), 4);
    let (check, _, message) = other.only();
    assert_eq!(check, Check::GlobalRace);
    assert!(message.starts_with("atomic of 4 bytes at x + 0, read by block 0"), "{message}");
}

#[test]
fn an_atomic_that_writes_nothing_is_a_read() {
    let (memory, x, _) = memory(4);
    let at = [x.address(); LANES];
    let (mut one, mut other) = (Group::new(0, 8), Group::new(8, 8));
    memory.atomic(&mut one.warp(0), 1, &at, 4, &mut |_, _| None);
    load(&mut other, &memory, 8, lane(0), &at, 4);
    one.is_clean();
    other.is_clean();
    store(&mut other, &memory, 8, lane(0), &at, 4);
    assert_eq!(other.checks(), [Check::GlobalRace]);
    memory.atomic(&mut one.warp(0), 1, &at, 4, &mut |_, _| None);
    assert_eq!(one.checks(), [Check::GlobalRace]);
}

#[test]
fn threads_that_share_a_word_but_no_byte_do_not_race() {
    for (granule, width) in [(2, 2), (1, 1), (1, 2)] {
        let (memory, _, y) = memory(granule);
        let at = rows(y.address(), width.into());
        let (even, odd) = (0x5555_5555, 0xaaaa_aaaa);
        let (mut one, mut other) = (Group::new(0, 8), Group::new(8, 8));
        store(&mut one, &memory, 0, even, &at, width);
        store(&mut other, &memory, 8, odd, &at, width);
        load(&mut one, &memory, 0, even, &at, width);
        load(&mut other, &memory, 8, odd, &at, width);
        store(&mut one, &memory, 0, even, &at, width);
        one.is_clean();
        other.is_clean();
        let bytes = memory.download::<u8>(&y);
        for index in 0..32 {
            let lane = index as u32 + if index % 2 == 0 { 0 } else { 800 };
            assert_eq!(bytes[index * width as usize], lane as u8);
        }
        load(&mut other, &memory, 8, even, &at, width);
        assert_eq!(other.checks(), [Check::GlobalRace], "{granule} {width}");
        load(&mut one, &memory, 0, lane(0), &[y.address(); LANES], 4);
        assert_eq!(one.checks(), [Check::GlobalRace], "a word meets the other's part");
    }
}

#[test]
fn lanes_of_one_store_may_agree_and_not_differ() {
    let (memory, x, _) = memory(4);
    let mut group = Group::new(0, 1);
    let at = [x.address() + 8; LANES];
    memory.store(&mut group.warp(0), ALL, &at, 4, &words(|_| 7));
    group.is_clean();
    group.order.warp_sync(0);
    memory.store(&mut group.warp(0), ALL, &at, 4, &words(|lane| lane / 31));
    let (check, lane_found, message) = group.only();
    assert_eq!((check, lane_found), (Check::GlobalRace, 31));
    assert_eq!(
        message,
        "write of 4 bytes at x + 8: lane 30 of this instruction writes another value there"
    );
    assert_eq!(memory.download::<u32>(&x)[2], 1);
    memory.store(&mut group.warp(0), lane(1), &at, 4, &words(|_| 1));
    assert_eq!(group.checks(), [Check::GlobalRace], "the same value, by another instruction");
}

#[test]
fn accesses_over_the_edge_of_a_page_are_recorded_on_both_sides() {
    for granule in [1, 2, 4] {
        let mut memory = Memory::new();
        let x = memory.zeroed("x", 3 * 4096 + 5);
        memory.begin_launch(Some(granule));
        for edge in [1024, 2048, 4096, 8192] {
            let (mut one, mut other) = (Group::new(0, 1), Group::new(1, 1));
            let at = rows(x.address() + edge - 64, 4);
            store(&mut one, &memory, 0, ALL, &at, 4);
            one.is_clean();
            for side in [0, 31] {
                load(&mut other, &memory, 1, lane(side), &at, 4);
                assert_eq!(other.checks(), [Check::GlobalRace], "{granule} {edge} {side}");
            }
        }
        let mut one = Group::new(0, 1);
        store(&mut one, &memory, 0, lane(0), &[x.address() + 3 * 4096 + 4; LANES], 1);
        one.is_clean();
    }
}

#[test]
fn a_launch_forgets_the_accesses_of_the_one_before() {
    let (mut memory, x, _) = memory(4);
    let at = rows(x.address(), 4);
    for granule in [4, 4, 2, 1, 4] {
        memory.begin_launch(Some(granule));
        let (mut one, mut other) = (Group::new(0, 1), Group::new(1, 1));
        load(&mut one, &memory, 0, ALL, &at, 4);
        load(&mut other, &memory, 1, ALL, &at, 4);
        other.is_clean();
        store(&mut other, &memory, 1, ALL, &at, 4);
        assert_eq!(other.checks(), [Check::GlobalRace]);
        memory.begin_launch(Some(granule));
        store(&mut one, &memory, 0, ALL, &at, 4);
        one.is_clean();
    }
}

#[test]
fn a_snapshot_brings_back_values_and_what_was_written() {
    let (mut memory, x, y) = memory(4);
    let mut group = Group::new(0, 1);
    store(&mut group, &memory, 0, lane(1), &rows(y.address(), 4), 4);
    let snapshot = memory.snapshot();
    store(&mut group, &memory, 0, ALL, &rows(x.address(), 4), 4);
    store(&mut group, &memory, 0, ALL, &rows(y.address() + 128, 4), 4);
    let later = memory.upload("later", &[5u8]);
    memory.restore(&snapshot);
    assert_eq!(memory.download::<u32>(&x), (0..64).collect::<Vec<u32>>());
    assert_eq!(memory.initialised_bytes(&y), 4);
    assert_eq!(memory.download::<u32>(&y)[1], 1);
    assert_eq!(memory.download::<u32>(&y)[33], 0);
    assert_eq!(memory.download::<u8>(&later), [5]);
}

#[test]
fn atomics_update_in_lane_order_in_every_width() {
    let (memory, _, y) = memory(2);
    let mut group = Group::new(0, 1);
    for width in [2, 4, 8] {
        let at = y.address() + u64::from(16 * width + if width == 2 { 2 } else { 0 });
        memory.store(&mut group.warp(0), lane(0), &[at; LANES], width, &[[u32::MAX; LANES]; 4]);
        group.order.warp_sync(0);
        let mut seen = Vec::new();
        let all = u64::MAX >> (64 - 8 * width);
        let mut op = |lane: usize, old: u64| {
            seen.push((lane, old));
            lane.is_multiple_of(2).then_some(old.wrapping_sub(1))
        };
        memory.atomic(&mut group.warp(0), ALL, &[at; LANES], width, &mut op);
        let expected: Vec<_> =
            (0..32).map(|lane| (lane, all - (lane as u64).div_ceil(2))).collect();
        assert_eq!(seen, expected);
        group.order.warp_sync(0);
        let out = load(&mut group, &memory, 0, lane(0), &[at; LANES], width);
        assert_eq!(out[0][0], (all - 16) as u32);
        assert_eq!(out[1][0], if width == 8 { u32::MAX } else { 0 });
        group.is_clean();
        assert_eq!(memory.download::<u16>(&y)[16], 0, "what lies beside the 2 bytes");
    }
}

/// Blocks on threads: counters come out exact, halves of words stay apart, and every run finds the
/// race that there is and no other.
#[test]
fn threads_access_memory_at_once() {
    for round in 0..20 {
        let mut memory = Memory::new();
        let counters = memory.zeroed("counters", 24);
        let halves = memory.uninitialised("halves", 2 * 32 * 8);
        let weights = memory.zeroed("weights", 8192);
        let result = memory.uninitialised("result", 4);
        memory.begin_launch(Some(2));
        let block = |block: u32| {
            let mut group = Group::new(block, 1);
            for i in 0..100 {
                add(&mut group, &memory, block, ALL, counters.address(), 4);
                add(&mut group, &memory, block, ALL, counters.address() + 8, 8);
                add(&mut group, &memory, block, ALL, counters.address() + 18, 2);
                let at = rows(weights.address() + 128 * (i % 64), 4);
                load(&mut group, &memory, block, ALL, &at, 4);
                // Every eighth half is this block's.
                let at = rows(halves.address() + u64::from(2 * block), 16);
                store(&mut group, &memory, block, ALL, &at, 2);
            }
            group.is_clean();
            store(&mut group, &memory, block, lane(0), &[result.address(); LANES], 4);
            group.checks()
        };
        let found: Vec<_> = std::thread::scope(|scope| {
            let block = &block;
            let threads: Vec<_> = (0..8).map(|i| scope.spawn(move || block(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let racing = found.iter().filter(|found| **found == [Check::GlobalRace]).count();
        assert_eq!(racing, 7, "all but the first to write, in round {round}");
        assert_eq!(memory.download::<u32>(&counters)[0], 8 * 32 * 100);
        assert_eq!(memory.download::<u64>(&counters)[1], 8 * 32 * 100);
        assert_eq!(memory.download::<u16>(&counters)[9], 8 * 32 * 100);
        let halves = memory.download::<u16>(&halves);
        assert!((0..256).all(|i| halves[i] as usize == i / 8 + 100 * (i % 8)));
    }
}

#[test]
fn accesses_across_the_chunks_of_a_buffer_reach_each_lane_s_own_bytes() {
    const CHUNK: u64 = 1 << 16;
    let mut memory = Memory::new();
    let wide = memory.uninitialised("wide", 3 * CHUNK as usize + 6);
    let mut group = Group::new(0, 1);
    memory.begin_launch(Some(2));
    // A row over the first edge, the same the other way round, and one lane each in three chunks.
    let first = wide.address() + CHUNK - 64;
    let far = |lane: usize| wide.address() + CHUNK * (lane as u64 % 3) + 256 + 4 * lane as u64;
    let places: [[u64; LANES]; 3] = [
        rows(first, 4),
        std::array::from_fn(|lane| first + 4 * (31 - lane as u64)),
        std::array::from_fn(far),
    ];
    for at in places {
        let data = words(|lane| 1000 + lane);
        memory.store(&mut group.warp(0), ALL, &at, 4, &data);
        group.order.warp_sync(0);
        assert_eq!(load(&mut group, &memory, 0, ALL, &at, 4)[0], data[0]);
        group.order.warp_sync(0);
    }
    group.is_clean();
    assert_eq!(memory.initialised_bytes(&wide), 256);
    assert_eq!(memory.initialised_bytes_in(&wide, CHUNK as usize - 2..CHUNK as usize + 2), 4);
    // The host's view over an edge, and of a chunk that nothing has touched.
    let around: Vec<u32> = memory.read(&wide, CHUNK as usize - 4, 2);
    assert_eq!(around, [1000 + 16, 1000 + 15]);
    memory.write(&wide, 2 * CHUNK as usize - 2, &[1u8, 2, 3, 4]);
    assert_eq!(memory.read::<u8>(&wide, 2 * CHUNK as usize - 3, 6), [0, 1, 2, 3, 4, 0]);
    assert_eq!(memory.peek(wide.address() + 2 * CHUNK + 1), Some(4));
    assert_eq!(memory.download::<u8>(&wide).len(), 3 * CHUNK as usize + 6);
    // The end of the buffer, in its last and short chunk: two bytes are left, not four.
    let end = [wide.address() + 3 * CHUNK + 4; LANES];
    load(&mut group, &memory, 0, lane(0), &end, 4);
    let finding = group.findings.by_place.values().next().unwrap();
    assert_eq!(finding.check, Check::OutOfBounds, "{finding:?}");
}

#[test]
fn a_large_buffer_costs_what_is_touched() {
    // 64 GiB for 128 bytes: were they taken at once, the process would end here.
    const BYTES: usize = 1 << 36;
    let mut memory = Memory::new();
    let far = memory.zeroed("far", BYTES);
    let mut group = Group::new(0, 1);
    memory.begin_launch(None);
    let last = rows(far.address() + BYTES as u64 - 128, 4);
    group.checks = Checks::required();
    store(&mut group, &memory, 0, ALL, &last, 4);
    assert_eq!(load(&mut group, &memory, 0, ALL, &last, 4), words(|lane| lane));
    assert_eq!(load(&mut group, &memory, 0, ALL, &rows(far.address(), 4), 4)[0], [0; LANES]);
    assert_eq!(memory.read::<u32>(&far, BYTES - 8, 2), [30, 31]);
    assert!(group.findings.is_empty());
}
