//! `y = act(x * scale + shift) * gate + skip`, each part where there is one.

use super::{Finish, by_rows};
use crate::verify::bounds::Bounded;

/// An elementwise launch on `[n, pixels, c]`.
#[derive(Clone, Copy)]
pub struct BnSwish<'a> {
    /// Pixels of an image.
    pub pixels: usize,
    /// Channels.
    pub c: usize,
    /// `[n, pixels, c]`.
    pub x: &'a [f32],
    /// Batch-norm and activation.
    pub finish: Finish<'a>,
    /// `[n, c]`.
    pub gate: Option<&'a [f32]>,
    /// `[n, pixels, c]`.
    pub skip: Option<&'a [f32]>,
}

/// The result, `[n, pixels, c]`.
pub fn bn_swish(p: &BnSwish<'_>) -> Vec<Bounded> {
    let c = p.c;
    by_rows(p.x.len() / c, c, |row, values| {
        let gate = p.gate.map(|gate| &gate[row / p.pixels * c..][..c]);
        for (channel, y) in values.iter_mut().enumerate() {
            let at = row * c + channel;
            *y = p.finish.of(channel, Bounded::exact(p.x[at].into()));
            if let Some(gate) = gate {
                *y = y.times(gate[channel]);
            }
            if let Some(skip) = p.skip {
                *y = y.plus(skip[at]);
            }
        }
    })
}
