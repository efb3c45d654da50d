//! Exchange between the lanes of a warp: `shfl.sync`, `vote.sync`, `match.sync`, `redux.sync`,
//! `elect.sync`.
//!
//! Pure functions of the lanes' values. `members` are the lanes that take part: the membermask less
//! the lanes that have exited. The caller has made them wait for one another, and writes the
//! results of members only.
//!
//! Every `lower_*` takes the modifiers after the opcode, which must be exactly those of the PTX
//! ISA.

use super::registers::{LANES, Mask, Width, lanes};

#[cfg(test)]
mod tests;

/// `.mode` of `shfl.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shuffle {
    Up,
    Down,
    Bfly,
    Idx,
}

/// Reads `shfl.sync.mode.b32`.
pub(crate) fn lower_shuffle(modifiers: &[&str]) -> Result<Shuffle, String> {
    match modifiers {
        ["sync", "up", "b32"] => Ok(Shuffle::Up),
        ["sync", "down", "b32"] => Ok(Shuffle::Down),
        ["sync", "bfly", "b32"] => Ok(Shuffle::Bfly),
        ["sync", "idx", "b32"] => Ok(Shuffle::Idx),
        _ => Err(refused("shfl", modifiers, "shfl.sync with .up, .down, .bfly or .idx, then .b32")),
    }
}

/// Values, the lane that each came from, and the lanes whose source is in range (the predicate).
///
/// PTX ISA, `shfl.sync`: with `bval = b[4:0]`, `cval = c[4:0]` and `segmask = c[12:8]`,
///
/// ```text
/// maxLane = (lane & segmask) | (cval & ~segmask)
/// minLane =  lane & segmask
/// up:   j = lane - bval;                    p = j >= maxLane
/// down: j = lane + bval;                    p = j <= maxLane
/// bfly: j = lane ^ bval;                    p = j <= maxLane
/// idx:  j = minLane | (bval & ~segmask);    p = j <= maxLane
/// if !p { j = lane }
/// ```
///
/// The caller checks that every source lane takes part.
pub(crate) fn shuffle(
    mode: Shuffle,
    values: &[u32; LANES],
    b: &[u32; LANES],
    c: &[u32; LANES],
) -> ([u32; LANES], [u8; LANES], Mask) {
    let mut sources = [0u8; LANES];
    let mut in_range: Mask = 0;
    for lane in 0..LANES {
        let own = lane as i32;
        let (bval, cval) = ((b[lane] & 31) as i32, (c[lane] & 31) as i32);
        let segmask = (c[lane] >> 8 & 31) as i32;
        let max = own & segmask | cval & !segmask;
        let (source, valid) = match mode {
            Shuffle::Up => (own - bval, own - bval >= max),
            Shuffle::Down => (own + bval, own + bval <= max),
            Shuffle::Bfly => (own ^ bval, own ^ bval <= max),
            Shuffle::Idx => {
                let source = own & segmask | bval & !segmask;
                (source, source <= max)
            }
        };
        sources[lane] = if valid { source as u8 } else { lane as u8 };
        in_range |= Mask::from(valid) << lane;
    }
    // The sources are below 32, which the mask tells the compiler.
    (sources.map(|source| values[usize::from(source) & 31]), sources, in_range)
}

/// `.mode` of `vote.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Vote {
    All,
    Any,
    Uni,
    Ballot,
}

/// Reads `vote.sync.{all,any,uni}.pred` and `vote.sync.ballot.b32`.
pub(crate) fn lower_vote(modifiers: &[&str]) -> Result<Vote, String> {
    match modifiers {
        ["sync", "all", "pred"] => Ok(Vote::All),
        ["sync", "any", "pred"] => Ok(Vote::Any),
        ["sync", "uni", "pred"] => Ok(Vote::Uni),
        ["sync", "ballot", "b32"] => Ok(Vote::Ballot),
        _ => Err(refused(
            "vote",
            modifiers,
            "vote.sync with .all.pred, .any.pred, .uni.pred or .ballot.b32",
        )),
    }
}

/// The result that every member gets: a mask for `Ballot`, 0 or 1 for the others.
pub(crate) fn vote(mode: Vote, pred: Mask, members: Mask) -> u32 {
    let yes = pred & members;
    match mode {
        Vote::All => (yes == members).into(),
        Vote::Any => (yes != 0).into(),
        Vote::Uni => (yes == 0 || yes == members).into(),
        Vote::Ballot => yes,
    }
}

/// A form of `match.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Match {
    /// `match.any.sync`, without a predicate.
    Any,
    /// `match.all.sync`, with an optional predicate.
    All,
}

/// Reads `match.{any,all}.sync.{b32,b64}`: the form and the width of the compared register.
pub(crate) fn lower_match(modifiers: &[&str]) -> Result<(Match, Width), String> {
    match modifiers {
        ["any", "sync", "b32"] => Ok((Match::Any, Width::B32)),
        ["any", "sync", "b64"] => Ok((Match::Any, Width::B64)),
        ["all", "sync", "b32"] => Ok((Match::All, Width::B32)),
        ["all", "sync", "b64"] => Ok((Match::All, Width::B64)),
        _ => {
            Err(refused("match", modifiers, "match with .any or .all, then .sync and .b32 or .b64"))
        }
    }
}

/// For each member, the members with the same value; 0 for other lanes.
pub(crate) fn match_any(values: &[u64; LANES], members: Mask) -> [u32; LANES] {
    let mut masks = [0; LANES];
    for lane in lanes(members) {
        if masks[lane] == 0 {
            let same = lanes(members)
                .filter(|other| values[*other] == values[lane])
                .fold(0, |mask: Mask, other| mask | 1 << other);
            lanes(same).for_each(|other| masks[other] = same);
        }
    }
    masks
}

/// The members and true if all of them have the same value, else 0 and false.
pub(crate) fn match_all(values: &[u64; LANES], members: Mask) -> (u32, bool) {
    let mut held = lanes(members).map(|lane| values[lane]);
    let same = match held.next() {
        Some(first) => held.all(|value| value == first),
        None => false,
    };
    (if same { members } else { 0 }, same)
}

/// A reduction over the members.
pub(crate) type Redux = fn(&[u32; LANES], Mask) -> u32;

/// Reads `redux.sync.{add,min,max}.{u32,s32}` and `redux.sync.{and,or,xor}.b32`.
pub(crate) fn lower_redux(modifiers: &[&str]) -> Result<Redux, String> {
    Ok(match modifiers {
        ["sync", "add", "u32" | "s32"] => |v, m| reduce(v, m, u32::wrapping_add),
        ["sync", "min", "u32"] => |v, m| reduce(v, m, u32::min),
        ["sync", "max", "u32"] => |v, m| reduce(v, m, u32::max),
        ["sync", "min", "s32"] => |v, m| reduce(v, m, |a, b| (a as i32).min(b as i32) as u32),
        ["sync", "max", "s32"] => |v, m| reduce(v, m, |a, b| (a as i32).max(b as i32) as u32),
        ["sync", "and", "b32"] => |v, m| reduce(v, m, |a, b| a & b),
        ["sync", "or", "b32"] => |v, m| reduce(v, m, |a, b| a | b),
        ["sync", "xor", "b32"] => |v, m| reduce(v, m, |a, b| a ^ b),
        _ => {
            return Err(refused(
                "redux",
                modifiers,
                "redux.sync with .add, .min or .max and .u32 or .s32, or with .and, .or or .xor and .b32",
            ));
        }
    })
}

fn reduce(values: &[u32; LANES], members: Mask, op: impl Fn(u32, u32) -> u32) -> u32 {
    lanes(members).map(|lane| values[lane]).reduce(op).unwrap_or(0)
}

/// Reads `elect.sync`.
pub(crate) fn lower_elect(modifiers: &[&str]) -> Result<(), String> {
    match modifiers {
        ["sync"] => Ok(()),
        _ => Err(refused("elect", modifiers, "elect.sync")),
    }
}

/// The elected lane: the lowest member. The ISA leaves the choice open, but for its being the same
/// each time. `None` without members.
pub(crate) fn elect(members: Mask) -> Option<u32> {
    (members != 0).then(|| members.trailing_zeros())
}

fn refused(opcode: &str, modifiers: &[&str], expected: &str) -> String {
    let mut form = opcode.to_owned();
    for modifier in modifiers {
        form.push('.');
        form.push_str(modifier);
    }
    format!("{form} is not supported; expected {expected}")
}
