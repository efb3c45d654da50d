//! Samples of other kinds to 8-bit RGB.

/// A whole level to 8 bits, as Pillow converts its modes `I` and `I;16`: below 0 is 0, above 255 is
/// 255. `clips` becomes true where it is above 255.
pub(super) fn clipped_level(level: i64, clips: &mut bool) -> u8 {
    *clips |= level > 255;
    level.clamp(0, 255) as u8
}

/// Pixels of `SIZE` bytes to RGB, in place. Before, `samples` ends with [`pixels`, `SIZE`]; after,
/// it is [`pixels`, 3]. It holds `pixels` times `SIZE` or 3 bytes, whichever is more: then no pixel
/// is written over before it is read.
pub(super) fn to_rgb<const SIZE: usize>(
    samples: &mut Vec<u8>,
    pixels: usize,
    mut rgb: impl FnMut(&[u8; SIZE]) -> [u8; 3],
) {
    assert_eq!(samples.len(), pixels * SIZE.max(3));
    let start = samples.len() - pixels * SIZE;
    for pixel in 0..pixels {
        if let Some(from) = samples[start + pixel * SIZE..].first_chunk() {
            let levels = rgb(from);
            samples[pixel * 3..pixel * 3 + 3].copy_from_slice(&levels);
        }
    }
    samples.truncate(pixels * 3);
    samples.shrink_to_fit();
}

/// 255 minus cyan, magenta, yellow and black to red, green and blue.
pub(super) fn inverted_cmyk_to_rgb(&[c, m, y, k]: &[u8; 4]) -> [u8; 3] {
    let (k, [c, m, y]) = (u32::from(k), [c, m, y].map(|ink| 255 - u32::from(ink)));
    // k - ink * k / 255, the quotient rounded.
    let level = |ink: u32| {
        let product = ink * k + 128;
        (k - (((product >> 8) + product) >> 8)) as u8
    };
    [level(c), level(m), level(y)]
}

/// As [`inverted_cmyk_to_rgb`], of the inks as they are.
pub(super) fn cmyk_to_rgb(inks: &[u8; 4]) -> [u8; 3] {
    inverted_cmyk_to_rgb(&inks.map(|ink| 255 - ink))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pixels_change_their_size_in_place() {
        let of = |size: usize| -> Vec<u8> {
            let mut samples = vec![0; 7 * size.max(3)];
            let start = samples.len() - 7 * size;
            samples[start..].iter_mut().zip(1..).for_each(|(to, n)| *to = n);
            samples
        };
        let mut samples = of(1);
        to_rgb(&mut samples, 7, |&[y]| [y, y + 100, y + 200]);
        assert_eq!(samples[..6], [1, 101, 201, 2, 102, 202]);
        assert_eq!(samples[18..], [7, 107, 207]);
        let mut samples = of(2);
        to_rgb(&mut samples, 7, |&[y, a]| [y, a, 0]);
        assert_eq!(samples[..6], [1, 2, 0, 3, 4, 0]);
        assert_eq!(samples[18..], [13, 14, 0]);
        let mut samples = of(8);
        to_rgb(&mut samples, 7, |&[a, b, c, _, _, _, _, _]| [a, b, c]);
        assert_eq!(samples[..6], [1, 2, 3, 9, 10, 11]);
        assert_eq!((samples.len(), &samples[18..]), (21, &[49, 50, 51][..]));
        let mut none = Vec::new();
        to_rgb(&mut none, 0, |&[y]| [y; 3]);
    }
}
