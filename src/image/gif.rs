//! What Pillow makes of a GIF's canvas around its first frame.
//!
//! The canvas has the colour of the transparent index, else of index 0; a frame that overhangs it
//! enlarges it. GIF's own background colour is not used, as nowhere else either.

use super::RgbImage8;

/// Bytes that the decoder takes for each pixel of a frame beside its four of RGBA: its index.
pub(super) const INDEX_BYTES: u64 = 1;

/// Bytes of the file's header up to the canvas' height.
const HEADER_BYTES: usize = 10;

/// The first frame: its place on the canvas, and the colour of the canvas around it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct FirstFrame {
    pub left: usize,
    pub top: usize,
    pub width: usize,
    pub height: usize,
    /// Width and height of the canvas; one with pixels is enlarged to hold the frame.
    pub canvas: (usize, usize),
    pub around: [u8; 3],
    /// Where the frame's descriptor begins.
    at: usize,
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
                let (left, top) = (number(gif, at + 1)?, number(gif, at + 3)?);
                let (width, height) = (number(gif, at + 5)?, number(gif, at + 7)?);
                return Some(FirstFrame {
                    left,
                    top,
                    width,
                    height,
                    canvas: canvas(gif, (left + width, top + height))?,
                    at,
                    around: local.or(global).map_or([transparent as u8; 3], colour),
                });
            }
            0x3b => return None,
            // Bytes between blocks are passed over.
            _ => at += 1,
        }
    }
}

/// The canvas, enlarged to `room`. One without pixels stays as it is, and so does one that could
/// not be written in a GIF.
fn canvas(gif: &[u8], room: (usize, usize)) -> Option<(usize, usize)> {
    let (width, height) = (number(gif, 6)?, number(gif, 8)?);
    let written = usize::from(u16::MAX);
    if width == 0 || height == 0 || room.0 > written || room.1 > written {
        return Some((width, height));
    }
    Some((width.max(room.0), height.max(room.1)))
}

impl FirstFrame {
    pub(super) fn has_pixels(&self) -> bool {
        self.width > 0 && self.height > 0
    }

    /// Whether the frame covers the canvas, and nothing beyond it.
    pub(super) fn is_whole(&self) -> bool {
        (self.left, self.top) == (0, 0) && (self.width, self.height) == self.canvas
    }

    /// The file's header with a canvas of the frame's size.
    pub(super) fn header_alone(&self, gif: &[u8]) -> Vec<u8> {
        let mut header = gif[..HEADER_BYTES].to_vec();
        header[6..8].copy_from_slice(&(self.width as u16).to_le_bytes());
        header[8..10].copy_from_slice(&(self.height as u16).to_le_bytes());
        header
    }

    /// The file with the frame as its whole canvas; `header` is that of
    /// [`header_alone`](FirstFrame::header_alone).
    pub(super) fn alone<'a>(&self, gif: &'a [u8], header: &'a [u8]) -> Vec<&'a [u8]> {
        vec![header, &gif[HEADER_BYTES..self.at + 1], &[0; 4], &gif[self.at + 5..]]
    }

    /// The frame on its canvas.
    pub(super) fn placed(&self, frame: RgbImage8) -> RgbImage8 {
        let (width, height) = self.canvas;
        let mut pixels = self.around.repeat(width * height);
        let columns = width.saturating_sub(self.left).min(frame.width) * 3;
        let to = pixels.chunks_exact_mut(width * 3).skip(self.top);
        for (to, from) in to.zip(frame.pixels.chunks_exact(frame.width * 3)) {
            // Of a frame beside the canvas nothing is seen.
            if let Some(to) = to.get_mut(self.left * 3..self.left * 3 + columns) {
                to.copy_from_slice(&from[..columns]);
            }
        }
        RgbImage8 { width, height, pixels }
    }
}
