use super::*;

fn store(group: &mut Group, local: &mut Local, mask: Mask, address: u32, width: u32, data: &Words) {
    local.store(&mut group.warp(0), mask, &[address; LANES], width, data);
}

fn load(group: &mut Group, local: &Local, mask: Mask, address: u32, width: u32) -> Words {
    let mut out = NOTHING;
    local.load(&mut group.warp(0), mask, &[address; LANES], width, &mut out);
    out
}

#[test]
fn every_lane_has_its_own_bytes() {
    let (mut group, mut local) = (Group::new(0, 1), Local::new(32));
    let data: Words = std::array::from_fn(|word| {
        std::array::from_fn(|lane| 0x0101_0101 * lane as u32 + (word as u32) * 0x40)
    });
    store(&mut group, &mut local, ALL, 16, 16, &data);
    assert_eq!(load(&mut group, &local, ALL, 16, 16), data);
    assert_eq!(load(&mut group, &local, ALL, 24, 8)[0], data[2]);
    assert_eq!(load(&mut group, &local, ALL, 18, 1)[0], data[0].map(|w| w >> 16 & 0xff));
    store(&mut group, &mut local, lane(4), 18, 2, &words(|_| 0xaaaa_beef));
    assert_eq!(load(&mut group, &local, ALL, 16, 4)[0][4], 0xbeef_0404);
    assert_eq!(load(&mut group, &local, ALL, 16, 4)[0][5], data[0][5]);
    group.is_clean();
}

#[test]
fn bytes_that_nothing_wrote_are_found() {
    let (mut group, mut local) = (Group::new(0, 1), Local::new(8));
    store(&mut group, &mut local, ALL & !lane(7), 0, 4, &words(|lane| lane));
    store(&mut group, &mut local, lane(7), 0, 2, &words(|_| 3));
    assert_eq!(load(&mut group, &local, lane(7), 0, 2)[0][7], 3);
    group.is_clean();
    load(&mut group, &local, ALL, 0, 4);
    let (check, lane, message) = group.only();
    assert_eq!((check, lane), (Check::UninitialisedMemory, 7));
    assert!(message.ends_with("byte 2 was never written"), "{message}");
    group.checks = group.checks.without(Check::UninitialisedMemory);
    load(&mut group, &local, ALL, 0, 8);
    group.is_clean();
}

#[test]
fn what_is_outside_or_misaligned_is_left_out() {
    let (mut group, mut local) = (Group::new(0, 1), Local::new(10));
    store(&mut group, &mut local, ALL, 8, 4, &words(|_| 1));
    assert_eq!(group.checks(), [Check::OutOfBounds]);
    store(&mut group, &mut local, ALL, 8, 2, &words(|_| 1));
    group.is_clean();
    store(&mut group, &mut local, ALL, u32::MAX, 1, &words(|_| 1));
    assert_eq!(group.checks(), [Check::OutOfBounds]);
    store(&mut group, &mut local, ALL, 2, 4, &words(|_| 1));
    assert_eq!(group.checks(), [Check::Misaligned]);
    assert_eq!(load(&mut group, &local, ALL, 12, 4)[0], [0; LANES]);
    assert_eq!(group.checks(), [Check::OutOfBounds]);
}
