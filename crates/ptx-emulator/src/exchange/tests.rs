//! Against the definitions of the PTX ISA, lane by lane, and against what CUDA's intrinsics
//! promise.

use super::*;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }
}

const OWN: [u32; LANES] = {
    let mut own = [0; LANES];
    let mut lane = 0;
    while lane < LANES {
        own[lane] = lane as u32;
        lane += 1;
    }
    own
};

/// `c` as `__shfl_*_sync` builds it from its width.
fn clamp(mode: Shuffle, width: u32) -> u32 {
    (LANES as u32 - width) << 8 | if mode == Shuffle::Up { 0 } else { 31 }
}

#[test]
fn shuffles_do_what_the_intrinsics_promise_for_every_width_and_distance() {
    for width in [1u32, 2, 4, 8, 16, 32] {
        for distance in 0..32u32 {
            for mode in [Shuffle::Up, Shuffle::Down, Shuffle::Bfly, Shuffle::Idx] {
                let b = [distance; LANES];
                let (values, sources, in_range) =
                    shuffle(mode, &OWN.map(|l| 100 + l), &b, &[clamp(mode, width); LANES]);
                for lane in 0..32u32 {
                    let (start, within) = (lane / width * width, lane % width);
                    // CUDA C++ Programming Guide, "Warp Shuffle Functions".
                    let wanted = match mode {
                        Shuffle::Up => (within >= distance).then(|| lane - distance),
                        Shuffle::Down => (within + distance < width).then(|| lane + distance),
                        Shuffle::Idx => Some(start + distance % width),
                        // Later segments are out of reach, earlier ones are not.
                        Shuffle::Bfly => Some(lane ^ distance).filter(|j| *j < start + width),
                    };
                    let context = format!("{mode:?} width {width} distance {distance} lane {lane}");
                    let source = wanted.unwrap_or(lane);
                    assert_eq!(values[lane as usize], 100 + source, "{context}");
                    assert_eq!(u32::from(sources[lane as usize]), source, "{context}");
                    assert_eq!(in_range >> lane & 1 != 0, wanted.is_some(), "{context}");
                }
            }
        }
    }
}

/// The ISA's text, with its 5-bit fields as arrays of bits.
fn isa_lane(mode: Shuffle, lane: u32, b: u32, c: u32) -> (u32, bool) {
    let bit = |value: u32, i: u32| value >> i & 1;
    let join = |f: &dyn Fn(u32) -> u32| (0..5).map(|i| f(i) << i).sum::<u32>();
    let segmask = c >> 8;
    let max = join(&|i| if bit(segmask, i) == 1 { bit(lane, i) } else { bit(c, i) });
    let min = join(&|i| if bit(segmask, i) == 1 { bit(lane, i) } else { 0 });
    let offset = join(&|i| bit(b, i));
    let (j, valid) = match mode {
        Shuffle::Up => {
            let j = i64::from(lane) - i64::from(offset);
            (j, j >= i64::from(max))
        }
        Shuffle::Down => {
            let j = i64::from(lane + offset);
            (j, j <= i64::from(max))
        }
        Shuffle::Bfly => {
            let j = i64::from(lane ^ offset);
            (j, j <= i64::from(max))
        }
        Shuffle::Idx => {
            let j = min + join(&|i| if bit(segmask, i) == 1 { 0 } else { bit(b, i) });
            (i64::from(j), j <= max)
        }
    };
    if valid { (j as u32, true) } else { (lane, false) }
}

#[test]
fn shuffles_take_any_bits_in_b_and_c_and_each_lane_its_own() {
    let mut random = Random(1);
    for _ in 0..2000 {
        for mode in [Shuffle::Up, Shuffle::Down, Shuffle::Bfly, Shuffle::Idx] {
            let values = OWN.map(|_| random.next());
            let (b, c) = (OWN.map(|_| random.next()), OWN.map(|_| random.next()));
            let (found, sources, in_range) = shuffle(mode, &values, &b, &c);
            for lane in 0..LANES {
                let (source, valid) = isa_lane(mode, lane as u32, b[lane], c[lane]);
                assert_eq!(u32::from(sources[lane]), source, "{mode:?} {lane}");
                assert_eq!(found[lane], values[source as usize]);
                assert_eq!(in_range >> lane & 1 != 0, valid);
            }
        }
    }
}

#[test]
fn votes_count_members_only() {
    let members = 0x0000_f0f0;
    let cases = [
        // pred, all, any, uni
        (0x0000_f0f0, 1, 1, 1),
        (0xffff_ffff, 1, 1, 1),
        (0x0000_f0e0, 0, 1, 0),
        (0xffff_0f0f, 0, 0, 1),
        (0x0000_0000, 0, 0, 1),
        (0x0000_0010, 0, 1, 0),
    ];
    for (pred, all, any, uni) in cases {
        assert_eq!(vote(Vote::All, pred, members), all, "{pred:x}");
        assert_eq!(vote(Vote::Any, pred, members), any, "{pred:x}");
        assert_eq!(vote(Vote::Uni, pred, members), uni, "{pred:x}");
        assert_eq!(vote(Vote::Ballot, pred, members), pred & members, "{pred:x}");
    }
}

#[test]
fn matches_compare_all_64_bits_of_members() {
    let mut random = Random(2);
    for _ in 0..500 {
        // Few values, which differ in the high or the low half only.
        let values = OWN.map(|_| u64::from(random.next() % 3) << 32 | u64::from(random.next() % 2));
        let members = random.next() | random.next();
        let masks = match_any(&values, members);
        for lane in 0..LANES {
            let mut wanted = 0;
            for other in 0..LANES {
                let both = members >> lane & members >> other & 1 != 0;
                wanted |= u32::from(both && values[lane] == values[other]) << other;
            }
            assert_eq!(masks[lane], wanted, "lane {lane} of {members:#x}");
        }
        let first = values[members.trailing_zeros() as usize];
        let same = (0..LANES).all(|l| members >> l & 1 == 0 || values[l] == first);
        assert_eq!(match_all(&values, members), (if same { members } else { 0 }, same));
    }
    let mut values = [7; LANES];
    values[3] = 8;
    assert_eq!(match_all(&values, !(1 << 3)), (!(1 << 3), true), "lane 3 is no member");
    assert_eq!(match_all(&values, u32::MAX), (0, false));
    assert_eq!(match_all(&values, 1 << 3), (1 << 3, true));
}

#[test]
fn reductions_match_a_loop_over_the_members() {
    type Widen = fn(u32) -> i64;
    type Step = fn(i64, i64) -> i64;
    let signed = |x: u32| i64::from(x as i32);
    let unsigned = |x: u32| i64::from(x);
    let forms: [(&str, &str, Widen, Step); 9] = [
        ("add", "u32", unsigned, |a, b| a + b),
        ("add", "s32", signed, |a, b| a + b),
        ("min", "u32", unsigned, i64::min),
        ("max", "u32", unsigned, i64::max),
        ("min", "s32", signed, i64::min),
        ("max", "s32", signed, i64::max),
        ("and", "b32", unsigned, |a, b| a & b),
        ("or", "b32", unsigned, |a, b| a | b),
        ("xor", "b32", unsigned, |a, b| a ^ b),
    ];
    let mut random = Random(3);
    for _ in 0..300 {
        let sparse = random.next();
        let values = OWN.map(|l| if sparse >> l & 1 == 0 { random.next() } else { !0 >> (l / 2) });
        let members = random.next() | 1 << (random.next() % 32);
        for (op, kind, widen, step) in forms {
            let mut wanted: Option<i64> = None;
            for (lane, value) in values.into_iter().enumerate() {
                if members >> lane & 1 != 0 {
                    let value = widen(value);
                    wanted = Some(wanted.map_or(value, |sum| step(sum, value)));
                }
            }
            let redux = lower_redux(&["sync", op, kind]).unwrap();
            assert_eq!(redux(&values, members), wanted.unwrap() as u32, "{op}.{kind}");
        }
    }
}

#[test]
fn the_lowest_member_is_elected() {
    assert_eq!(elect(u32::MAX), Some(0));
    assert_eq!(elect(0x8000_0000), Some(31));
    assert_eq!(elect(0b1011_0000), Some(4));
    assert_eq!(elect(0), None);
}

#[test]
fn other_forms_are_refused_by_name() {
    let message = lower_shuffle(&["bfly", "b32"]).unwrap_err();
    assert!(message.contains("shfl.bfly.b32 is not supported"), "{message}");
    assert_eq!(lower_shuffle(&["sync", "idx", "b32"]), Ok(Shuffle::Idx));
    for modifiers in [
        &["sync", "idx", "b64"][..],
        &["sync", "b32", "idx"],
        &["sync", "idx"],
        &["sync", "idx", "b32", "b32"],
    ] {
        assert!(lower_shuffle(modifiers).is_err(), "{modifiers:?}");
    }
    assert_eq!(lower_vote(&["sync", "ballot", "b32"]), Ok(Vote::Ballot));
    for modifiers in [&["all", "pred"][..], &["sync", "ballot", "pred"], &["sync", "all", "b32"]] {
        assert!(lower_vote(modifiers).is_err(), "{modifiers:?}");
    }
    assert_eq!(lower_match(&["any", "sync", "b64"]), Ok((Match::Any, Width::B64)));
    for modifiers in [&["sync", "any", "b32"][..], &["any", "sync", "u32"], &["any", "b32"]] {
        assert!(lower_match(modifiers).is_err(), "{modifiers:?}");
    }
    for modifiers in [
        &["sync", "min", "f32"][..],
        &["sync", "min", "abs", "NaN", "f32"],
        &["sync", "and", "u32"],
        &["sync", "add", "b32"],
        &["add", "u32"],
    ] {
        assert!(lower_redux(modifiers).is_err(), "{modifiers:?}");
    }
    assert_eq!(lower_elect(&["sync"]), Ok(()));
    assert!(lower_elect(&[]).unwrap_err().contains("expected elect.sync"));
}
