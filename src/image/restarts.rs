//! The restart markers of a JPEG, brought into the order that a decoder expects.
//!
//! A scan with a restart interval is cut into segments, with the markers RST0 to RST7 in turn
//! between them. Where markers are missing, surplus or wrong, [`walk`] does what libjpeg's
//! `jpeg_resync_to_restart` does with its three choices (ITU-T T.81, B.2.1; libjpeg's `jdmarker.c`
//! describes them), and writes a scan whose markers are in turn: a segment that libjpeg gives up
//! becomes an empty one. libjpeg decodes the first block of such a segment from zero bits and
//! leaves the others grey, as `libjpeg-turbo-rs` does, which takes every restart marker for the
//! one that it expects.

use super::decode::MAX_IMAGE_PIXELS;
use std::ops::Range;

/// A JPEG whose restart markers were out of turn.
pub(super) struct Repaired {
    /// The same JPEG with the markers in turn.
    pub bytes: Vec<u8>,
    /// Places where the marker that is due is not there.
    pub faults: usize,
    /// Blocks (MCUs) after the place where a scan ends early, in the scan that lacks most of them.
    pub lost: usize,
    /// Blocks (MCUs) of that scan.
    pub blocks: usize,
}

/// Why libjpeg gives a file up, or its restart markers cannot be brought into turn; in words.
pub(super) struct Unrepairable(pub String);

fn grey_segments() -> Unrepairable {
    Unrepairable("its restart markers are out of turn beyond repair".into())
}

const SOF0: u8 = 0xc0;
const RESTARTS: std::ops::RangeInclusive<u8> = 0xd0..=0xd7;

/// A marker: its code, and the bytes from its `0xff` to behind its code.
#[derive(Clone)]
struct Marker {
    code: u8,
    at: Range<usize>,
}

/// The next marker from `from` on. `0xff00` is data, and further `0xff` may stand before a code.
fn next_marker(jpeg: &[u8], from: usize) -> Option<Marker> {
    let mut at = from;
    loop {
        at += jpeg.get(at..)?.iter().position(|&byte| byte == 0xff)?;
        let code = at + jpeg[at..].iter().position(|&byte| byte != 0xff)?;
        if jpeg[code] != 0 {
            return Some(Marker { code: jpeg[code], at: code - 1..code + 1 });
        }
        at = code + 1;
    }
}

/// The frame, as far as the number of blocks in a scan depends on it.
struct FrameHeader {
    progressive: bool,
    arithmetic: bool,
    height: usize,
    width: usize,
    /// Identifier, horizontal and vertical sampling factor.
    components: Vec<(u8, usize, usize)>,
}

impl FrameHeader {
    fn new(code: u8, body: &[u8]) -> Option<FrameHeader> {
        let side = |at: usize| Some(usize::from(*body.get(at)?) << 8 | usize::from(body[at + 1]));
        let count = usize::from(*body.get(5)?);
        let components = body.get(6..6 + 3 * count)?.chunks_exact(3);
        let components: Vec<_> =
            components.map(|c| (c[0], usize::from(c[1] >> 4), usize::from(c[1] & 15))).collect();
        let valid =
            components.iter().all(|&(_, h, v)| (1..=4).contains(&h) && (1..=4).contains(&v));
        (valid && count > 0).then_some(FrameHeader {
            progressive: matches!(code, 0xc2 | 0xca),
            arithmetic: matches!(code, 0xc9 | 0xca),
            height: side(1)?,
            width: side(3)?,
            components,
        })
    }

    /// Samples of all components, as far as blocks are coded for them, in the scans that one pass
    /// takes.
    fn samples(&self) -> u64 {
        let all: Vec<_> =
            self.components.iter().map(|&(_, h, v)| ScanComponent::of(h, v)).collect();
        self.visited(&all)
    }

    /// Samples whose blocks a scan of these components visits.
    fn visited(&self, scan: &[ScanComponent]) -> u64 {
        let blocks_each: usize = match scan {
            [_] => 1,
            _ => scan.iter().map(|component| component.h * component.v).sum(),
        };
        64 * self.blocks(scan) as u64 * blocks_each as u64
    }

    /// Blocks (MCUs) in a scan of these components.
    fn blocks(&self, scan: &[ScanComponent]) -> usize {
        let most = |side: fn(&(u8, usize, usize)) -> usize| {
            self.components.iter().map(side).max().unwrap_or(1)
        };
        let (h_most, v_most) = (most(|c| c.1), most(|c| c.2));
        match scan {
            [only] => {
                let side = |side: usize, part: usize, most: usize| {
                    (side * part).div_ceil(most).div_ceil(8)
                };
                side(self.width, only.h, h_most) * side(self.height, only.v, v_most)
            }
            _ => self.width.div_ceil(8 * h_most) * self.height.div_ceil(8 * v_most),
        }
    }
}

/// A component of a scan.
struct ScanComponent {
    h: usize,
    v: usize,
    dc_table: usize,
    ac_table: usize,
}

impl ScanComponent {
    /// One without tables.
    fn of(h: usize, v: usize) -> ScanComponent {
        ScanComponent { h, v, dc_table: 0, ac_table: 0 }
    }
}

fn scan_components(frame: &FrameHeader, body: &[u8]) -> Option<Vec<ScanComponent>> {
    let count = usize::from(*body.first()?);
    let components = body.get(1..1 + 2 * count)?.chunks_exact(2).map(|c| {
        let &(_, h, v) = frame.components.iter().find(|known| known.0 == c[0])?;
        let (dc_table, ac_table) = (usize::from(c[1] >> 4), usize::from(c[1] & 15));
        Some(ScanComponent { h, v, dc_table, ac_table })
    });
    components.collect::<Option<Vec<_>>>().filter(|components| !components.is_empty())
}

/// The code of symbol 0, a block's unchanged mean or its end, in each Huffman table: its bits and
/// their number.
#[derive(Default)]
struct ZeroCodes {
    dc: [Option<(u32, u32)>; 4],
    ac: [Option<(u32, u32)>; 4],
}

impl ZeroCodes {
    /// Takes the tables of a DHT segment.
    fn define(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&id, rest)) = body.split_first() {
            let (counts, rest) = rest.split_at_checked(16)?;
            let symbols = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(symbols)?;
            let table = if id >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *table.get_mut(usize::from(id & 15))? = zero_code(counts, symbols);
            body = rest;
        }
        Some(())
    }

    /// A segment of `blocks` grey blocks (MCUs).
    fn grey(&self, scan: &[ScanComponent], blocks: usize) -> Option<Vec<u8>> {
        let mut bits = Bits::default();
        for _ in 0..blocks {
            for component in scan {
                let dc = (*self.dc.get(component.dc_table)?)?;
                let ac = (*self.ac.get(component.ac_table)?)?;
                let times = if scan.len() == 1 { 1 } else { component.h * component.v };
                for _ in 0..times {
                    bits.push(dc);
                    bits.push(ac);
                }
            }
        }
        Some(bits.finish())
    }
}

/// The canonical code of symbol 0.
fn zero_code(counts: &[u8], symbols: &[u8]) -> Option<(u32, u32)> {
    let (mut code, mut next) = (0_u32, symbols.iter());
    for (length, &count) in (1..).zip(counts) {
        for _ in 0..count {
            if *next.next()? == 0 {
                return Some((code, length));
            }
            code += 1;
        }
        code <<= 1;
    }
    None
}

/// Bits as JPEG writes them: the highest first, and a zero byte after each `0xff`.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    byte: u32,
    bits: u32,
}

impl Bits {
    fn push(&mut self, (code, length): (u32, u32)) {
        for i in (0..length).rev() {
            self.byte = self.byte << 1 | code >> i & 1;
            self.bits += 1;
            if self.bits == 8 {
                self.bytes.push(self.byte as u8);
                if self.byte == 0xff {
                    self.bytes.push(0);
                }
                (self.byte, self.bits) = (0, 0);
            }
        }
    }

    /// The last byte is filled with ones.
    fn finish(mut self) -> Vec<u8> {
        while self.bits > 0 {
            self.push((1, 1));
        }
        self.bytes
    }
}

/// The data of a segment.
enum Segment {
    /// These bytes of the file.
    Data(Range<usize>),
    /// Given up, while the data before it sufficed.
    Empty,
    /// Given up, like the one before it: its first block is grey too.
    Grey,
}

/// The segments of one scan, and the place where the file goes on after them.
struct Scan {
    segments: Vec<Segment>,
    faults: usize,
    /// Blocks after the place where the scan ends early, if that is more than a segment.
    lost: usize,
    /// The first byte of the marker that ends the scan.
    end: usize,
}

/// The segments that libjpeg sees in the data from `start` on, for so many blocks. None where the
/// file ends before the scan does: then it is cut. Where nothing is wrong with the markers, as a
/// rule, there is no list of the segments, of which a picture may have as many as blocks.
fn segments(jpeg: &[u8], start: usize, blocks: usize, interval: usize) -> Option<Scan> {
    let scan = segments_listed(jpeg, start, blocks, interval, false)?;
    match scan.faults {
        0 => Some(scan),
        _ => segments_listed(jpeg, start, blocks, interval, true),
    }
}

/// The same; without a list, only the segment before is kept.
fn segments_listed(
    jpeg: &[u8],
    start: usize,
    blocks: usize,
    interval: usize,
    list: bool,
) -> Option<Scan> {
    let mut marker = next_marker(jpeg, start)?;
    let mut segments = vec![Segment::Data(start..marker.at.start)];
    let (mut faults, mut lost) = (0, 0);
    for (due, first_block) in (interval..blocks).step_by(interval).enumerate() {
        let is_due = |code: u8, ahead: usize| usize::from(code & 7) == (due + ahead) % 8;
        if !(RESTARTS.contains(&marker.code) && is_due(marker.code, 0)) {
            faults += 1;
        }
        // A marker that no scan can hold, or one that was due before, is passed over.
        while marker.code < SOF0
            || RESTARTS.contains(&marker.code) && (is_due(marker.code, 7) || is_due(marker.code, 6))
        {
            marker = next_marker(jpeg, marker.at.end)?;
        }
        if !RESTARTS.contains(&marker.code) {
            // The scan ends early. The decoder leaves the rest grey by itself.
            let left = blocks - first_block;
            lost = if left > interval { left } else { 0 };
            break;
        }
        if is_due(marker.code, 1) || is_due(marker.code, 2) {
            // This segment's marker is missing, and its data with it.
            let segment = match segments.last() {
                Some(Segment::Data(_)) => Segment::Empty,
                _ => Segment::Grey,
            };
            if !list {
                segments.clear();
            }
            segments.push(segment);
        } else {
            let next = next_marker(jpeg, marker.at.end)?;
            if !list {
                segments.clear();
            }
            segments.push(Segment::Data(marker.at.end..next.at.start));
            marker = next;
        }
    }
    // Restart markers after the last segment are passed over, and their data with them.
    if RESTARTS.contains(&marker.code) {
        faults += 1;
    }
    while RESTARTS.contains(&marker.code) {
        marker = next_marker(jpeg, marker.at.end)?;
    }
    Some(Scan { segments, faults, lost, end: marker.at.start })
}

/// What a walk over a JPEG's markers finds.
#[derive(Default)]
pub(super) struct Walk {
    /// The JPEG with its restart markers in turn; none where they are.
    pub repaired: Option<Repaired>,
    /// Whether the end marker is there.
    pub ended: bool,
    /// Scans before the end.
    pub scans: usize,
    /// Whether the last scan has restart markers.
    pub restarts: bool,
    /// Samples of the picture, in whole blocks.
    pub samples: u64,
    /// Samples whose blocks the scans visit, all together.
    pub visits: u64,
    /// Its arithmetic-coded data.
    pub arithmetic: Arithmetic,
}

/// What is there of arithmetic-coded data.
///
/// Zero bytes at the end of a scan or segment are left out by the encoder, and read as if they were
/// there (ITU-T T.81, D.1.8). Zero bytes alone say in every decision that the likelier happens,
/// which is at first that a block has more coefficients: they may be the data of a scan of means,
/// but of no scan of other coefficients.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Arithmetic {
    /// Scans.
    pub scans: usize,
    /// Scans without a byte that is not zero.
    pub empty: usize,
    /// Scans of more than means among those.
    pub missing: usize,
}

impl Arithmetic {
    /// Counts a scan with this header, whose data begin at `at`.
    fn count(&mut self, jpeg: &[u8], mut at: usize, header: &[u8]) {
        self.scans += 1;
        let mut data = false;
        while !data {
            let marker = next_marker(jpeg, at);
            let end = marker.as_ref().map_or(jpeg.len(), |marker| marker.at.start);
            data = jpeg[at..end].iter().any(|&byte| byte != 0);
            match marker {
                Some(marker) if RESTARTS.contains(&marker.code) => at = marker.at.end,
                _ => break,
            }
        }
        if !data {
            self.empty += 1;
            // The last coefficient stands before the last byte.
            let last = header.iter().rev().nth(1).copied().unwrap_or(0);
            self.missing += usize::from(last > 0);
        }
    }
}

/// Walks over the markers as libjpeg does, and brings restart markers into turn. A marker that
/// libjpeg does not know is an error; what else may be wrong is left to the decoder.
pub(super) fn walk(jpeg: &[u8]) -> Result<Walk, Unrepairable> {
    let mut walk = Walk::default();
    let mut found = Repaired { bytes: Vec::new(), faults: 0, lost: 0, blocks: 0 };
    // Bytes of the file that are written already, and of grey segments.
    let (mut written, mut grey_bytes) = (0, 0);
    let (mut at, mut interval) = (2, 0);
    let mut frame = None;
    let mut codes = ZeroCodes::default();
    while let Some(marker) = next_marker(jpeg, at) {
        at = marker.at.end;
        if marker.code == 0xd9 {
            walk.ended = true;
            break;
        }
        match marker.code {
            // RST and TEM have no length.
            0x01 | 0xd0..=0xd7 => continue,
            // Of the rest, these are in no JPEG that libjpeg knows.
            ..SOF0 | 0xd8 | 0xde | 0xdf | 0xf0..=0xfd => {
                let (code, at) = (marker.code, marker.at.start);
                return Err(Unrepairable(format!("unexpected marker {code:#04x} at byte {at}")));
            }
            _ => {}
        }
        let Some(&[high, low]) = jpeg.get(at..at + 2) else { break };
        let length = usize::from(high) << 8 | usize::from(low);
        let Some(body) = jpeg.get(at + 2..at + length) else { break };
        at += length;
        match marker.code {
            0xc0..=0xc2 | 0xc9 | 0xca => frame = FrameHeader::new(marker.code, body),
            // The decoder tells what is wrong with a table, or a kind of JPEG that is unknown here.
            0xc4 => codes.define(body).unwrap_or_default(),
            0xdd => interval = body.iter().take(2).fold(0, |n, &byte| n << 8 | usize::from(byte)),
            0xda => {
                let components = usize::from(body.first().copied().unwrap_or(0));
                if body.len() != 2 * components + 4 {
                    return Err(Unrepairable("the header of a scan has the wrong length".into()));
                }
                walk.scans += 1;
                walk.restarts = interval > 0;
                let Some(frame) = &frame else { continue };
                let Some(components) = scan_components(frame, body) else { continue };
                walk.samples = frame.samples();
                walk.visits = walk.visits.saturating_add(frame.visited(&components));
                if frame.arithmetic {
                    walk.arithmetic.count(jpeg, at, body);
                    continue;
                }
                if interval == 0 {
                    continue;
                }
                // The decoder refuses a larger picture before it looks at its scans.
                if frame.width * frame.height > MAX_IMAGE_PIXELS {
                    continue;
                }
                let blocks = frame.blocks(&components);
                let Some(scan) = segments(jpeg, at, blocks, interval) else { break };
                let start = std::mem::replace(&mut at, scan.end);
                if scan.faults == 0 {
                    continue;
                }
                found.bytes.extend(&jpeg[written..start]);
                for (i, segment) in scan.segments.iter().enumerate() {
                    if i > 0 {
                        found.bytes.extend([0xff, RESTARTS.start() + ((i - 1) % 8) as u8]);
                    }
                    match segment {
                        Segment::Data(data) => found.bytes.extend(&jpeg[data.clone()]),
                        Segment::Empty => {}
                        // What it would take in a progressive scan depends on the scans before.
                        Segment::Grey if frame.progressive => return Err(grey_segments()),
                        Segment::Grey => {
                            let blocks = interval.min(blocks - i * interval);
                            let grey = codes.grey(&components, blocks);
                            let grey = grey.ok_or_else(grey_segments)?;
                            grey_bytes += grey.len();
                            found.bytes.extend(grey);
                        }
                    }
                    if grey_bytes > jpeg.len() {
                        return Err(grey_segments());
                    }
                }
                written = scan.end;
                found.faults += scan.faults;
                if found.lost < scan.lost || found.blocks == 0 {
                    (found.lost, found.blocks) = (scan.lost, blocks);
                }
            }
            _ => {}
        }
    }
    if found.faults > 0 {
        found.bytes.extend(&jpeg[written..]);
        walk.repaired = Some(found);
    }
    Ok(walk)
}
