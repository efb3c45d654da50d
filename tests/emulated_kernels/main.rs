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
