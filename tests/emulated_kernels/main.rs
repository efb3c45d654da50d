//! Every kernel, as nvcc compiled it, on the emulator with all its checks: over all layer shapes of
//! B0 and the awkward ones, against naive loops in f64. `tests/support/emulated/` derives the
//! tolerances.
//!
//! A kernel file has one file of tests: its launches with the loops that give their outputs, the
//! tests over layers and awkward shapes, a test whose name begins with `short_`, and its mutants.
//! Launches that a bench runs too are in `tests/support/emulated/`. The short tests are a few small
//! cases, quick enough where each launch is slow, as under a sanitizer.
//!
//! With `EFFNET_TEST_DEVICE` they run on a GPU: see `tests/support/emulated/machine.rs`.

mod bn_swish;
mod depthwise;
mod expand_depthwise;
mod head;
mod mutants;
#[cfg(target_os = "linux")] // the driver's library is found through LD_LIBRARY_PATH
mod on_a_gpu;
mod pointwise;
mod pointwise_f32;
mod preprocess;
mod short;
mod squeeze_excite;
mod stem;
#[path = "../support/mod.rs"]
mod support;

use effnet::arch::{ConvGeometry, Network, NetworkGeometry, Padding, Size, Variant};
use effnet::kernels::params::{ACTIVATION_NONE, ACTIVATION_RELU6, ACTIVATION_SWISH};
use effnet::weights::Precision;
use support::emulated::{Buffers, Case, Machine};

const BATCH: usize = 3;
const PRECISIONS: [Precision; 2] = [Precision::Fp16, Precision::Fp32];
const WINDOWS: [[usize; 2]; 4] = [[3, 1], [3, 2], [5, 1], [5, 2]];
const CHANNELS: [usize; 5] = [8, 24, 40, 72, 232];
/// One pixel, one tile, and more than one tile with a last one that is not full.
const MAPS: [[usize; 2]; 3] = [[1, 1], [7, 7], [6, 13]];
const ACTIVATIONS: [i32; 3] = [ACTIVATION_NONE, ACTIVATION_RELU6, ACTIVATION_SWISH];
const PADDINGS: [Padding; 2] = [Padding::Symmetric, Padding::SameDynamic];

fn b0(padding: Padding) -> (Network, NetworkGeometry) {
    let network = Network::new(Variant::B0, 1000);
    let geometry = NetworkGeometry::new(&network, Size::square(224), padding).expect("224 works");
    (network, geometry)
}

/// Runs a case as a whole, and image by image: the bytes must not depend on the batch.
fn check_batch<C: Case>(machine: &dyn Machine, case: &C, n: usize, image: impl Fn(usize) -> C) {
    let whole = case.check(machine);
    for i in 0..n {
        let single = image(i).run(machine, Buffers::exact());
        for (whole, single) in whole.iter().zip(&single) {
            let part = &whole[i * single.len()..][..single.len()];
            assert!(part == single, "{}: image {i} depends on its batch", case.describe());
        }
    }
}

/// What an infinity at `pixel` of x does to an f16 map that a window makes: outputs of `channels` that
/// it lies under are not finite, and all others are the bytes that they are without it.
fn an_infinity_stays_where_it_is_seen(
    what: &str,
    conv: &ConvGeometry,
    [hurt, whole]: [&[u8]; 2],
    c: usize,
    pixel: [usize; 2],
    channels: std::ops::Range<usize>,
) {
    let pads = [conv.pad_top, conv.pad_left];
    let mut seen = 0;
    for (at, (hurt, whole)) in hurt.chunks_exact(2).zip(whole.chunks_exact(2)).enumerate() {
        let place = [at / c / conv.output.w, at / c % conv.output.w];
        let is_under = (0..2).all(|axis| {
            let first = place[axis] * conv.stride;
            (first..first + conv.k).contains(&(pixel[axis] + pads[axis]))
        });
        if is_under && channels.contains(&(at % c)) {
            let value = half::f16::from_le_bytes([hurt[0], hurt[1]]);
            assert!(!value.is_finite(), "{what}: {place:?}, channel {}: {value}", at % c);
            seen += 1;
        } else {
            assert_eq!(hurt, whole, "{what}: {place:?}, channel {}", at % c);
        }
    }
    assert!(seen > 0, "{what}: no window touches the pixel");
}

/// A convolution by itself, by the formulas of its padding.
fn conv(padding: Padding, [h, w]: [usize; 2], k: usize, stride: usize) -> ConvGeometry {
    let side = |x: usize| match padding {
        Padding::Symmetric => (k / 2, (x + k / 2 * 2 - k) / stride + 1),
        _ => {
            let out = x.div_ceil(stride);
            (((out - 1) * stride + k).saturating_sub(x) / 2, out)
        }
    };
    let ((pad_top, h_out), (pad_left, w_out)) = (side(h), side(w));
    let (input, output) = (Size { h, w }, Size { h: h_out, w: w_out });
    ConvGeometry { k, stride, pad_top, pad_left, input, output }
}

/// Odd layers: those of B3 and Lite4 for small images that are not square.
fn odd_networks() -> impl Iterator<Item = (Network, NetworkGeometry)> {
    [Variant::B3, Variant::Lite4].into_iter().map(|variant| {
        let network = Network::new(variant, 1000);
        let size = Size { h: 75, w: 54 };
        let geometry = NetworkGeometry::new(&network, size, Padding::SameDynamic);
        (network, geometry.expect("the size works"))
    })
}
