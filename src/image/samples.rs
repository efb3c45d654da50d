//! Samples of other kinds to 8-bit RGB.

/// [..] of whole levels to 8 bits, as Pillow converts its modes `I` and `I;16`: below 0 is 0, above
/// 255 is 255. `clips` becomes true where a level is above 255.
pub(super) fn clipped(levels: impl Iterator<Item = i64>, clips: &mut bool) -> Vec<u8> {
    let level = |level: i64| {
        *clips |= level > 255;
        level.clamp(0, 255) as u8
    };
    levels.map(level).collect()
}

/// [.., samples] to [.., 3] of the first sample.
pub(super) fn first_repeated(levels: &[u8], samples: usize) -> Vec<u8> {
    levels.chunks_exact(samples).flat_map(|pixel| [pixel[0]; 3]).collect()
}

/// [.., samples] to [.., 3] of the first three samples.
pub(super) fn first_three(levels: &[u8], samples: usize) -> Vec<u8> {
    levels.chunks_exact(samples).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect()
}

/// [.., 4] of 255 minus cyan, magenta, yellow and black to [.., 3] of red, green and blue.
pub(super) fn inverted_cmyk_to_rgb(pixels: &[u8]) -> Vec<u8> {
    let rgb = |&[c, m, y, k]: &[u8; 4]| {
        let (k, [c, m, y]) = (u32::from(k), [c, m, y].map(|ink| 255 - u32::from(ink)));
        // k - ink * k / 255, the quotient rounded.
        let level = |ink: u32| {
            let product = ink * k + 128;
            (k - (((product >> 8) + product) >> 8)) as u8
        };
        [level(c), level(m), level(y)]
    };
    pixels.as_chunks::<4>().0.iter().flat_map(rgb).collect()
}
