//! What Pillow makes of a GIF's canvas around its first frame.
//!
//! The canvas has the colour of the transparent index, else of index 0; a frame that overhangs it
//! enlarges it. GIF's own background colour is not used, as nowhere else either.

use std::borrow::Cow;

/// The first frame: its place on the canvas, and the colour of the canvas around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstFrame {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    pub around: [u8; 3],
}

fn number(gif: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(*gif.get(at)?) | usize::from(*gif.get(at + 1)?) << 8)
}

/// Colours of the table that flags announce, and the place behind it.
fn table(gif: &[u8], flags: u8, at: usize) -> Option<(Option<&[u8]>, usize)> {
    if flags & 0x80 == 0 {
        return Some((None, at));
    }
    let end = at + (3 << ((flags & 7) + 1));
    Some((Some(gif.get(at..end)?), end))
}

/// Finds the first frame; none where the file ends before it, or holds no frame.
pub(super) fn first_frame(gif: &[u8]) -> Option<FirstFrame> {
    let (global, mut at) = table(gif, *gif.get(10)?, 13)?;
    let mut transparent = 0;
    loop {
        match *gif.get(at)? {
            // An extension: a label, then blocks with their lengths.
            0x21 => {
                if *gif.get(at + 1)? == 0xf9 && *gif.get(at + 2)? >= 4 && gif.get(at + 3)? & 1 == 1
                {
                    transparent = usize::from(*gif.get(at + 6)?);
                }
                at += 2;
                while *gif.get(at)? != 0 {
                    at += usize::from(gif[at]) + 1;
                }
                at += 1;
            }
            0x2c => {
                let (local, _) = table(gif, *gif.get(at + 9)?, at + 10)?;
                let colour = |table: &[u8]| {
                    let colour = table.get(3 * transparent..3 * transparent + 3);
                    colour.map_or([0; 3], |c| [c[0], c[1], c[2]])
                };
                return Some(FirstFrame {
                    left: number(gif, at + 1)?,
                    top: number(gif, at + 3)?,
                    width: number(gif, at + 5)?,
                    height: number(gif, at + 7)?,
                    around: local.or(global).map_or([transparent as u8; 3], colour),
                });
            }
            0x3b => return None,
            // Bytes between blocks are passed over.
            _ => at += 1,
        }
    }
}

/// The GIF with a canvas that holds its first frame. A canvas without pixels stays one.
pub(super) fn with_room<'a>(gif: &'a [u8], frame: &FirstFrame) -> Cow<'a, [u8]> {
    let sides = number(gif, 6).zip(number(gif, 8));
    let room = (frame.left + frame.width, frame.top + frame.height);
    match (sides, u16::try_from(room.0), u16::try_from(room.1)) {
        (Some((w @ 1.., h @ 1..)), Ok(right), Ok(bottom)) if w < room.0 || h < room.1 => {
            let mut gif = gif.to_vec();
            gif[6..8].copy_from_slice(&right.max(w as u16).to_le_bytes());
            gif[8..10].copy_from_slice(&bottom.max(h as u16).to_le_bytes());
            gif.into()
        }
        _ => gif.into(),
    }
}

impl FirstFrame {
    /// Gives the canvas around the frame its colour; `pixels` is [.., width, 3].
    pub(super) fn fill_around(&self, pixels: &mut [u8], width: usize) {
        let columns = self.left..self.left + self.width;
        let rows = self.top..self.top + self.height;
        for (i, pixel) in pixels.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            if !rows.contains(&(i / width)) || !columns.contains(&(i % width)) {
                *pixel = self.around;
            }
        }
    }
}
