//! The emulator with all its checks on: warp instructions per second on representative launches,
//! and the seconds that one image through every layer of B0 takes. Prints a table; the least time
//! of several runs counts.

#[path = "../tests/support/mod.rs"]
mod support;

use effnet::arch::{Network, NetworkGeometry, Padding, Size, Variant};
use effnet::emulator::Module;
use effnet::kernels::params::{ACTIVATION_NONE, ACTIVATION_SWISH};
use effnet::kernels::{depthwise, pointwise, squeeze_excite};
use effnet::weights::Precision;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use support::emulated::{
    Buffers, Case, Data, Depthwise, Pointwise, SqueezeExcite, assert_clean, module,
};

const HALF: Precision = Precision::Fp16;

struct Modules {
    depthwise: Module,
    squeeze_excite: Module,
    pointwise: Module,
}

impl Modules {
    fn of(&self, image: &str) -> &Module {
        match image {
            depthwise::IMAGE => &self.depthwise,
            squeeze_excite::IMAGE => &self.squeeze_excite,
            pointwise::IMAGE => &self.pointwise,
            other => panic!("image {other}"),
        }
    }
}

/// The least time of the launch, without uploads, with the kernel's file and the number of warp
/// instructions.
fn time(modules: &Modules, case: &dyn Case, runs: usize) -> (&'static str, Duration, u64) {
    let mut least = Duration::MAX;
    let (mut image, mut instructions) = ("", 0);
    for _ in 0..runs {
        let mut buffers = Buffers::exact();
        let prepared = case.prepare(&mut buffers);
        let launch = prepared.launch(modules.of(prepared.image));
        let start = Instant::now();
        let report = launch.run(&mut buffers.memory).unwrap_or_else(|e| panic!("{e}"));
        least = least.min(start.elapsed());
        assert_clean(&case.describe(), &report);
        (image, instructions) = (prepared.image, report.counters.instructions);
    }
    (image, least, instructions)
}

fn print(name: &str, time: Duration, instructions: u64) {
    let seconds = time.as_secs_f64();
    let rate = instructions as f64 / seconds / 1e6;
    let millions = instructions as f64 / 1e6;
    println!("{name:<44} {millions:>9.3} {:>9.1} {rate:>8.1}", seconds * 1e3);
}

fn depthwise_case([k, stride]: [usize; 2], side_in: usize, side: usize, c: usize) -> Depthwise {
    let pad = [k / 2, k / 2];
    let (input, output) = ([side_in, side_in], [side, side]);
    Depthwise::filled(Depthwise::shape(HALF, [k, stride], input, output, pad, [1, c]), 1)
}

fn pointwise_case(pixels: usize, c_in: usize, c_out: usize) -> Pointwise {
    Pointwise::new(Data::Uniform, [1, pixels, c_in, c_out], ACTIVATION_SWISH, [false, false], 1)
}

/// Every launch that one image makes on its way through B0 at 224, but for the stem and the pool,
/// which have no kernels of their own. Layers are not chained.
fn b0() -> Vec<Box<dyn Case>> {
    let network = Network::new(Variant::B0, 1000);
    let geometry =
        NetworkGeometry::new(&network, Size::square(224), Padding::Symmetric).expect("224 works");
    let gemm = |shape, activation, extras| -> Box<dyn Case> {
        Box::new(Pointwise::new(Data::Uniform, shape, activation, extras, 1))
    };
    let mut cases = Vec::new();
    for (block, conv) in network.blocks.iter().zip(&geometry.blocks) {
        let (pixels_in, pixels, c_mid) = (conv.input.pixels(), conv.output.pixels(), block.c_mid);
        if block.has_expand() {
            let shape = [1, pixels_in, block.c_in, c_mid];
            cases.push(gemm(shape, ACTIVATION_SWISH, [false, false]));
        }
        cases.push(Box::new(Depthwise::filled(
            Depthwise::shape(
                HALF,
                [conv.k, conv.stride],
                [conv.input.h, conv.input.w],
                [conv.output.h, conv.output.w],
                [conv.pad_top, conv.pad_left],
                [1, c_mid],
            ),
            1,
        )));
        if let Some(c_se) = block.c_se {
            let tiles = depthwise::Tiles::new(
                HALF,
                conv.k,
                conv.stride,
                [conv.output.h as i32, conv.output.w as i32],
            );
            let tiles = tiles.count() as usize;
            let image = [1, tiles, pixels];
            cases.push(Box::new(SqueezeExcite::new(HALF, image, [c_mid, c_se], 1)));
        }
        let shape = [1, pixels, c_mid, block.c_out];
        cases.push(gemm(shape, ACTIVATION_NONE, [block.c_se.is_some(), block.skip]));
    }
    let head = [1, geometry.last().pixels(), network.c_last(), network.c_head];
    cases.push(gemm(head, ACTIVATION_SWISH, [false, false]));
    let classifier = [1, 1, network.c_head, network.classes];
    cases.push(gemm(classifier, ACTIVATION_NONE, [false, false]));
    cases
}

fn main() {
    if let Err(why) = effnet::kernels::built() {
        eprintln!("{why}");
        std::process::exit(1);
    }
    // `cargo bench` says so; anything else runs everything once.
    let runs = if std::env::args().any(|argument| argument == "--bench") { 5 } else { 1 };
    let modules = Modules {
        depthwise: module(depthwise::IMAGE),
        squeeze_excite: module(squeeze_excite::IMAGE),
        pointwise: module(pointwise::IMAGE),
    };
    println!("{:<44} {:>9} {:>9} {:>8}", "launch", "M instr.", "ms", "M/s");
    let single: [Box<dyn Case>; 6] = [
        Box::new(depthwise_case([3, 1], 112, 112, 96)),
        Box::new(depthwise_case([5, 1], 28, 28, 240)),
        Box::new(pointwise_case(3136, 96, 16)),
        Box::new(pointwise_case(196, 480, 80)),
        Box::new(pointwise_case(49, 1280, 320)),
        Box::new(SqueezeExcite::new(HALF, [1, 1, 49], [1152, 48], 1)),
    ];
    let names = [
        "depthwise 112x112x96 k3",
        "depthwise 28x28x240 k5",
        "pointwise 3136x96x16",
        "pointwise 196x480x80",
        "pointwise 49x1280x320",
        "squeeze_excite c 1152, c_se 48",
    ];
    for (name, case) in names.iter().zip(&single) {
        let (_, least, instructions) = time(&modules, case.as_ref(), runs);
        print(name, least, instructions);
    }

    let mut sums: BTreeMap<&str, (Duration, u64)> = BTreeMap::new();
    for case in b0() {
        let (image, least, instructions) = time(&modules, case.as_ref(), runs.min(3));
        for name in [image, "network"] {
            let sum = sums.entry(name).or_default();
            sum.0 += least;
            sum.1 += instructions;
        }
    }
    for (name, (sum, instructions)) in sums {
        print(&format!("B0 at 224, {name}"), sum, instructions);
    }
}
