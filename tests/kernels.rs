//! The kernels that the build embeds, the launch parameters' twins, and the launch modules' checks.

use effnet::kernels::params::*;
use effnet::kernels::pointwise::Block;
use effnet::kernels::*;
use effnet::weights::Precision;
use std::collections::{BTreeMap, BTreeSet};

/// A build without nvcc has no images, and names the next step.
#[cfg(not(kernels))]
#[test]
fn without_nvcc_there_are_no_images() {
    let why = built().unwrap_err().to_string();
    assert!(images().is_empty());
    assert!(why.contains("make cuda"), "{why}");
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn images_hold_the_kernels_that_the_launch_modules_name() {
    let images = built().unwrap().images;
    assert_eq!(images.iter().map(|i| i.name).collect::<Vec<_>>(), CATALOGUE.map(|(name, _)| name));
    for (image, (_, entries)) in images.iter().zip(CATALOGUE) {
        let sorted = |list: &[&'static str]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        assert_eq!(sorted(image.entries), sorted(entries), "{}", image.name);
        let ptx = image.ptx().unwrap();
        for entry in entries {
            assert!(ptx.contains(&format!(".entry {entry}(")), "{entry} is not in the PTX");
        }
        assert!(ptx.contains(".target sm_90"), "{}: target", image.name);
        assert!(ptx.contains(&format!("\"kernels/{}.cu\"", image.name)), "line information");
        assert!(ptx.contains(".loc"), "{}: line information", image.name);
    }
}

/// nvcc numbers a file by its whole path. The number stands in names of the debug information, which
/// are decimal bytes.
#[test]
fn ptx_is_the_same_wherever_it_is_made() {
    let mut numbers = 0;
    for image in built().unwrap().images {
        let ptx = image.ptx().unwrap();
        let lines = ptx.lines().filter_map(|line| line.strip_prefix(".b8 "));
        let bytes: Vec<u8> =
            lines.flat_map(|line| line.split(',')).filter_map(|byte| byte.parse().ok()).collect();
        let names = String::from_utf8_lossy(&bytes);
        for number in names.split("_INTERNAL_").skip(1) {
            assert!(number.starts_with("00000000_"), "{}: {number:.20}", image.name);
            numbers += 1;
        }
        assert!(!ptx.contains(env!("CARGO_MANIFEST_DIR")), "{}: a path", image.name);
    }
    assert!(numbers > 0, "no name has a number: is this still how nvcc writes them?");
}

/// Every instruction of every kernel is understood, and named by its line of `kernels/`.
#[cfg(feature = "emulator")]
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn the_emulator_takes_every_image() {
    for image in built().unwrap().images {
        let ptx = image.ptx().unwrap();
        let module = effnet::emulator::Module::parse(image.name, &ptx);
        let module = module.unwrap_or_else(|error| panic!("{error}"));
        let entries: Vec<&str> = module.entries().iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(entries, image.entries, "{}", image.name);
        let file = format!("kernels/{}.cu", image.name);
        for entry in module.entries() {
            let lines: Vec<(&str, u32)> = module.source_lines(entry).collect();
            assert!(lines.iter().any(|&(name, line)| name == file && line > 0), "{lines:?}");
        }
    }
}

/// Little-endian integers of a file that nvcc wrote.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// The compute capability of a CUDA ELF file. `e_flags` has it in bits 0..8 up to ABI 7 and in bits
/// 8..16 from ABI 8.
fn elf_arch(elf: &[u8]) -> u32 {
    const EM_CUDA: u16 = 190;
    assert_eq!(&elf[..4], b"\x7fELF");
    assert_eq!(u16_at(elf, 18), EM_CUDA);
    let flags = u32::from_le_bytes(elf[48..52].try_into().unwrap());
    if elf[8] >= 8 { flags >> 8 & 0xff } else { flags & 0xff }
}

#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn every_kernel_file_has_machine_code_for_every_target() {
    let built = built().unwrap();
    assert!(built.archs.is_sorted_by(|a, b| a < b), "{:?}", built.archs);
    for image in built.images {
        for &arch in built.archs {
            let elf = image.machine_code(arch).unwrap();
            assert_eq!(elf_arch(&elf), arch, "{}", image.name);
            for entry in image.entries {
                let name = [entry.as_bytes(), b"\0"].concat();
                assert!(elf.windows(name.len()).any(|part| part == name), "sm_{arch}: {entry}");
            }
        }
        let reported: BTreeSet<u32> = image.resources.iter().map(|report| report.arch).collect();
        assert!(reported.iter().eq(built.archs), "{}: {reported:?}", image.name);
        let error = image.machine_code(1).unwrap_err().to_string();
        assert!(error.contains(image.name) && error.contains("sm_1"), "{error}");
    }
}

const HEADER: &str = include_str!("../kernels/params.cuh");

/// Arguments of each `MACRO(...);` line of the header.
fn header_lines(name: &str) -> Vec<Vec<&'static str>> {
    HEADER
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(");"))
        .map(|arguments| arguments.split(',').map(str::trim).collect())
        .collect()
}

fn check_twin(layout: &ParamsLayout) {
    let name = layout.name;
    let size: Vec<usize> = header_lines("EFFNET_SIZE")
        .iter()
        .filter(|line| line[0] == name)
        .map(|line| line[1].parse().unwrap())
        .collect();
    assert_eq!(size, [layout.bytes], "{name}");
    let there: Vec<(&str, usize)> = header_lines("EFFNET_FIELD")
        .iter()
        .filter(|line| line[0] == name)
        .map(|line| (line[1], line[2].parse().unwrap()))
        .collect();
    let here: Vec<(&str, usize)> = layout.fields.iter().map(|f| (f.name, f.offset)).collect();
    assert_eq!(there, here, "{name}");
    // Every member of the C++ struct is checked there, and every byte of the Rust one belongs to a
    // field.
    let body = HEADER.split(&format!("struct {name} {{")).nth(1).unwrap().split("};").next();
    let members: Vec<&str> = body.unwrap().lines().filter(|line| line.contains(';')).collect();
    let names = members.iter().filter_map(|line| line.split([';', '[']).next()?.rsplit(' ').next());
    assert_eq!(names.collect::<Vec<_>>(), here.iter().map(|f| f.0).collect::<Vec<_>>(), "{name}");
    assert_eq!(layout.fields.iter().map(|f| f.bytes).sum::<usize>(), layout.bytes, "{name}");
    // Device addresses are the pointers.
    let is_pointer = |line: &str| line.split(';').next().is_some_and(|member| member.contains('*'));
    let pointers: Vec<usize> = members
        .iter()
        .zip(layout.fields)
        .filter(|(line, _)| is_pointer(line))
        .map(|(_, field)| field.offset)
        .collect();
    assert_eq!(layout.addresses, pointers, "{name}");
    assert!(!pointers.is_empty(), "{name}");
}

#[test]
fn parameter_structs_have_the_same_layout_in_both_languages() {
    for layout in LAYOUTS {
        check_twin(layout);
    }
    assert_eq!(header_lines("EFFNET_SIZE").len(), LAYOUTS.len(), "a struct without its twin");
    assert_eq!(LAYOUTS.len(), 10);
}

/// The C++ name of a constant: `kPoolMaxTiles` for `POOL_MAX_TILES`.
fn header_name(name: &str) -> String {
    name.split('_').fold(String::from("k"), |so_far, word| {
        let (first, rest) = word.split_at(1);
        so_far + first + &rest.to_lowercase()
    })
}

#[test]
fn constants_are_the_same_in_both_languages() {
    let there: BTreeMap<String, i32> = HEADER
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("constexpr ")?.split_once(" = ")?;
            Some((name.rsplit(' ').next()?.to_owned(), value.strip_suffix(';')?.parse().unwrap()))
        })
        .collect();
    let here: BTreeMap<String, i32> = include_str!("../src/kernels/params.rs")
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("pub const ")?.split_once(": i32 = ")?;
            Some((header_name(name), value.strip_suffix(';')?.parse().unwrap()))
        })
        .collect();
    // The text that is read is what was compiled.
    assert_eq!(here["kActivationSwish"], ACTIVATION_SWISH);
    assert_eq!(here["kExpandDepthwiseTileRowsStride2"], EXPAND_DEPTHWISE_TILE_ROWS_STRIDE_2);
    assert_eq!(here["kExpandDepthwiseGroupF32"], EXPAND_DEPTHWISE_GROUP_F32);
    assert!(here.len() >= 32, "{here:?}");
    assert_eq!(there, here);
}

/// 112 x 112 x 96, stride 2, 5 x 5, batch 3.
fn depthwise_params() -> DepthwiseParams {
    DepthwiseParams {
        input: 0x1000,
        weight: 0x2000,
        scale: 0x3000,
        shift: 0x4000,
        output: 0x5000,
        partial_sums: 0x6000,
        n: 3,
        h_in: 112,
        w_in: 112,
        h_out: 56,
        w_out: 56,
        c: 96,
        pad_top: 1,
        pad_left: 1,
        activation: ACTIVATION_SWISH,
        ..Default::default()
    }
}

fn squeeze_excite_params() -> SqueezeExciteParams {
    SqueezeExciteParams {
        partial_sums: 0x1000,
        reduce_weight: 0x2000,
        reduce_bias: 0x3000,
        expand_weight: 0x4000,
        expand_bias: 0x5000,
        gate: 0x6000,
        n: 3,
        tiles: 49,
        pixels: 56 * 56,
        c: 1152,
        c_se: 48,
        reserved: 0,
    }
}

/// 7 x 7, 1152 to 320, batch 3.
fn pointwise_params() -> PointwiseParams {
    PointwiseParams {
        input: 0x1000,
        weight: 0x2000,
        scale: 0x3000,
        shift: 0x4000,
        gate: 0x5000,
        skip: 0,
        output: 0x6000,
        rows: 3 * 49,
        pixels: 49,
        c_in: 1152,
        c_out: 320,
        activation: ACTIVATION_NONE,
        ..PointwiseParams::default()
    }
}

/// The same with a gate of its own.
fn squeezed_params() -> PointwiseParams {
    PointwiseParams {
        gate: 0,
        squeeze: 0xa000,
        reduce_bias: 0xb000,
        gate_weight: 0xc000,
        gate_bias: 0xd000,
        parts: 36,
        c_se: 48,
        ..pointwise_params()
    }
}

fn pointwise_shape() -> PointwiseShape {
    PointwiseShape { rows: 147, pixels: 49, c_in: 1152, c_out: 320, ..PointwiseShape::EMPTY }
}

#[test]
fn geometry_covers_every_output() {
    let launch = depthwise::launch(Precision::Fp16, 5, 2, depthwise_params()).unwrap();
    assert_eq!(launch.kernel, "effnet_depthwise_k5s2_f16");
    // Tiles of 4 x 16 outputs: 11 x 35 pixels of 32 channels and padding, where a pair of strips
    // lies, its sums and those of the tile.
    let shared_bytes = 11 * 35 * 80 + 2 * 16 + 2 * 32 * 4;
    let expected = Geometry { grid: [14 * 4, 3, 3], block: [256, 1, 1], shared_bytes };
    assert_eq!(launch.geometry, expected);
    // A block has the channels of a slice: several groups of them, where there are many tiles.
    let squeeze = DepthwiseParams { squeeze: 0x7000, reduce_weight: 0x8000, ..depthwise_params() };
    let squeeze = DepthwiseParams { c: 192, c_se: 6, slice: 64, ..squeeze };
    let launch = depthwise::launch(Precision::Fp16, 5, 2, squeeze).unwrap();
    let shared_bytes = shared_bytes + 6 * 80 + 6 * 4;
    assert_eq!(launch.geometry, Geometry { grid: [14 * 4, 3, 3], shared_bytes, ..expected });
    let mut params = depthwise_params();
    (params.h_in, params.w_in, params.h_out, params.w_out) = (7, 7, 7, 7);
    let launch = depthwise::launch(Precision::Fp16, 3, 1, params).unwrap();
    assert_eq!(launch.geometry.grid, [1, 3, 3]);

    let launch = depthwise::launch(Precision::Fp32, 5, 2, depthwise_params()).unwrap();
    let expected = Geometry { grid: [49, 6, 3], block: [64, 1, 1], shared_bytes: 0 };
    assert_eq!(launch.geometry, expected);
    let tiles = |h, w| depthwise::Tiles::new(Precision::Fp32, 5, 2, [h, w]).count();
    assert_eq!((tiles(56, 56), tiles(1, 1), tiles(7, 7), tiles(5, 13)), (49, 1, 1, 2));

    let launch = squeeze_excite::launch(Precision::Fp32, squeeze_excite_params()).unwrap();
    assert_eq!(launch.kernel, "effnet_squeeze_excite_f32");
    let expected =
        Geometry { grid: [3, 1, 1], block: [1024, 1, 1], shared_bytes: 4 * (3 * 1152 + 48) };
    assert_eq!(launch.geometry, expected);

    // 2 tiles of 32 rows for each image, of 2 turns of a warp, 4 of 80 columns; with room for their
    // sums, each of 9 chunks by itself.
    let block = |split| Block { warp_cols: 40, warps: [2, 2], turns: 1, split };
    let tiling = |params: &PointwiseParams, split| {
        let &PointwiseParams { rows, pixels, c_in, c_out, .. } = params;
        let pooled = params.partial_sums != 0;
        let shape = PointwiseShape { rows, pixels, c_in, c_out, pooled, gated: true, c_se: 0 };
        pointwise::tiling_with(shape, block(split)).unwrap()
    };
    let params = pointwise_params();
    let launch = pointwise::launch_with(tiling(&params, false), params).unwrap();
    assert_eq!(launch.kernel, "effnet_pointwise_n40_f16");
    assert_eq!(launch.params.tile_rows, 32);
    // Three stages of two panels, scale and shift, gates, and nothing for sums of a gate.
    let shared_bytes = 3 * 2 * 80 * 64 + 2 * 80 * 4 + 2 * 1152;
    let expected = Geometry { grid: [4, 2, 3], block: [32, 2, 2], shared_bytes };
    assert_eq!(launch.geometry, expected);
    let split = PointwiseParams { chunk_sums: 0x7000, arrivals: 0x8000, ..params };
    let launch = pointwise::launch_with(tiling(&split, true), split).unwrap();
    // A chunk's four panels stay.
    let shared_bytes = 4 * 80 * 64 + 2 * 80 * 4 + 2 * 128;
    assert_eq!(launch.geometry, Geometry { grid: [4, 2, 27], shared_bytes, ..expected });
    // A row of tiles for each image, not for all rows, and room for the sums of a group of rows.
    let pooled = PointwiseParams { rows: 4, pixels: 1, partial_sums: 0x9000, ..params };
    let launch = pointwise::launch_with(tiling(&pooled, false), pooled).unwrap();
    let shared_bytes = 3 * 2 * 80 * 64 + 2 * 80 * 4 + 2 * 1152 + 80 * 4;
    assert_eq!(launch.geometry, Geometry { grid: [4, 1, 4], shared_bytes, ..expected });
    // The gate's own: eight shares' sums of 48 and what they make, and its weights where a chunk's
    // fit, five panels of a row for the banks' sake.
    let squeezed = PointwiseParams { gate: 0, ..squeezed_params() };
    let shape = PointwiseShape { gated: true, c_se: 48, ..pointwise_shape() };
    let own = pointwise::tiling_with(shape, block(false)).unwrap();
    let shared_bytes = 3 * 2 * 80 * 64 + 2 * 80 * 4 + 2 * 1152 + 9 * 4 * 48;
    let launch = pointwise::launch_with(own, squeezed).unwrap();
    assert_eq!(launch.geometry, Geometry { shared_bytes, ..expected });
    let own = pointwise::tiling_with(shape, block(true)).unwrap();
    let squeezed = PointwiseParams { chunk_sums: 0x7000, arrivals: 0x8000, ..squeezed };
    let shared_bytes = 4 * 80 * 64 + 2 * 80 * 4 + 2 * 128 + 9 * 4 * 48 + 48 * 5 * 64;
    let launch = pointwise::launch_with(own, squeezed).unwrap();
    assert_eq!(launch.geometry, Geometry { grid: [4, 2, 27], shared_bytes, ..expected });
}

/// The launch of changed parameters is refused with a message that holds `message`.
#[track_caller]
fn refused<P: std::fmt::Debug>(result: Result<Launch<P>, LaunchError>, message: &str) {
    let error = result.expect_err(message).to_string();
    assert!(error.contains(message), "{error:?} does not say {message:?}");
}

#[test]
fn depthwise_refuses_what_the_kernel_does_not_take() {
    let with = |change: fn(&mut DepthwiseParams)| {
        let mut params = depthwise_params();
        change(&mut params);
        depthwise::launch(Precision::Fp16, 5, 2, params)
    };
    refused(with(|p| p.c = 100), "c is 100, expected a multiple of 8");
    refused(with(|p| p.n = 0), "n is 0, expected at least 1");
    refused(with(|p| p.h_out = i32::MIN), "h_out");
    refused(with(|p| p.h_out = 58), "h_out is 58, expected an extent whose last window");
    refused(with(|p| p.w_out = 58), "w_out is 58");
    refused(with(|p| p.pad_top = 5), "pad_top is 5");
    refused(with(|p| p.pad_left = -1), "pad_left is -1");
    refused(with(|p| p.activation = 3), "activation is 3");
    refused(with(|p| p.n = 40_000), "input has 48168960000 elements");
    refused(with(|p| p.input = 0), "input is at address 0x0");
    refused(with(|p| p.scale = 0x3008), "scale is at address 0x3008");
    refused(with(|p| p.scale = 0), "scale is at address 0x0");
    refused(with(|p| p.shift = 0), "shift is at address 0x0");
    refused(with(|p| p.partial_sums = 8), "partial_sums");
    refused(depthwise::launch(Precision::Fp16, 7, 1, depthwise_params()), "no kernel for k 7");
    for (precision, change, message) in [
        (
            Precision::Fp32,
            (|_| ()) as fn(&mut DepthwiseParams),
            "squeeze is 1, expected none in f32",
        ),
        (Precision::Fp16, |p| p.c_se = 0, "c_se is 0, expected at least 1"),
        (Precision::Fp16, |p| p.c_se = 2000, "c_se is 2000, expected few enough values"),
        (Precision::Fp16, |p| p.slice = 64, "slice is 64, expected the slice of"),
        (Precision::Fp16, |p| p.squeeze = 0x7008, "squeeze is at address 0x7008"),
        (Precision::Fp16, |p| p.reduce_weight = 0, "reduce_weight is at address 0x0"),
        (Precision::Fp16, |p| p.squeeze = 0, "c_se is 6, expected 0"),
    ] {
        let mut params = depthwise_params();
        (params.squeeze, params.reduce_weight) = (0x7000, 0x8000);
        (params.c_se, params.slice) = (6, 32);
        change(&mut params);
        refused(depthwise::launch(precision, 5, 2, params), message);
    }
    // No squeeze is no error.
    with(|p| p.partial_sums = 0).unwrap();
    with(|p| (p.scale, p.shift) = (0, 0)).unwrap();
}

#[test]
fn squeeze_excite_refuses_what_the_kernel_does_not_take() {
    let with = |change: fn(&mut SqueezeExciteParams)| {
        let mut params = squeeze_excite_params();
        change(&mut params);
        squeeze_excite::launch(Precision::Fp16, params)
    };
    refused(with(|p| p.c_se = 0), "c_se is 0");
    refused(with(|p| p.c = 1148), "c is 1148, expected a multiple of 8");
    refused(with(|p| p.c = 12_288), "shared memory");
    refused(with(|p| p.c = i32::MAX - 7), "shared memory");
    refused(with(|p| p.c_se = i32::MAX), "shared memory");
    refused(with(|p| p.partial_sums = 0x1008), "partial_sums is at address 0x1008");
    refused(with(|p| p.reduce_bias = 0x3002), "reduce_bias is at address 0x3002");
    refused(with(|p| p.pixels = 0), "pixels is 0");
    refused(with(|p| p.gate = 0), "gate is at address 0x0");
    refused(with(|p| p.reduce_weight = 0x2008), "reduce_weight is at address 0x2008");
}

#[test]
fn pointwise_refuses_what_the_kernel_does_not_take() {
    let with = |change: fn(&mut PointwiseParams)| {
        let mut params = pointwise_params();
        change(&mut params);
        pointwise::launch(params)
    };
    refused(with(|p| p.c_in = 1148), "c_in is 1148, expected a multiple of 8");
    refused(with(|p| p.c_out = 324), "c_out is 324, expected a multiple of 8");
    refused(with(|p| p.rows = 148), "rows is 148, expected a multiple of pixels");
    refused(with(|p| p.rows = 49 * 40_000_000), "input has");
    refused(with(|p| p.rows = i32::MAX / 49 * 49), "input has");
    refused(with(|p| p.c_in = i32::MIN), "c_in is -2147483648");
    refused(with(|p| p.input = 0x1008), "input is at address 0x1008");
    refused(with(|p| p.shift = 0), "shift is at address 0x0");
    refused(with(|p| p.scale = 0), "scale is at address 0x0");
    refused(with(|p| p.gate = 0x5008), "gate is at address 0x5008");
    refused(with(|p| p.scale = 0x3008), "scale is at address 0x3008");
    refused(with(|p| p.skip = 0x5008), "skip is at address 0x5008");
    refused(with(|p| p.output = 0), "output is at address 0x0");
    refused(with(|p| p.partial_sums = 0x6002), "partial_sums is at address 0x6002");
    let split = Block { warp_cols: 32, warps: [4, 1], turns: 1, split: true };
    let split = pointwise::tiling_with(PointwiseShape { gated: true, ..pointwise_shape() }, split);
    let no_arrivals = PointwiseParams { chunk_sums: 0x6000, ..pointwise_params() };
    let refusal = pointwise::launch_with(split.unwrap(), no_arrivals);
    refused(refusal, "arrivals is at address 0x0");
    refused(with(|p| p.activation = -1), "activation is -1");
    refused(with(|p| p.parts = 1), "parts is 1, expected 0 without squeeze");
    refused(with(|p| p.c_se = 1), "c_se is 1, expected 0 without squeeze");
    let one_chunk = |p: &mut PointwiseParams| (p.c_in, p.chunk_sums, p.arrivals) = (256, 64, 64);
    refused(with(one_chunk), "expected null: nothing is split");
    with(|p| (p.scale, p.shift) = (0, 0)).unwrap();
    with(|p| (p.partial_sums, p.output) = (0x6000, 0)).unwrap();

    let squeezed = |change: fn(&mut PointwiseParams)| {
        let mut params = squeezed_params();
        change(&mut params);
        pointwise::launch(params)
    };
    squeezed(|_| ()).unwrap();
    refused(squeezed(|p| p.gate = 0x5000), "gate is 20480, expected null with squeeze");
    refused(squeezed(|p| p.squeeze = 0xa008), "squeeze is at address 0xa008");
    refused(squeezed(|p| p.reduce_bias = 0), "reduce_bias is at address 0x0");
    refused(squeezed(|p| p.gate_weight = 0xc008), "gate_weight is at address 0xc008");
    refused(squeezed(|p| p.gate_bias = 0), "gate_bias is at address 0x0");
    refused(squeezed(|p| p.parts = 0), "parts is 0, expected at least 1");
    refused(squeezed(|p| p.parts = i32::MAX), "squeeze has");
    refused(squeezed(|p| p.c_se = 0), "c_se is 0, expected at least 1");
    refused(squeezed(|p| p.c_se = 257), "c_se is 257, expected at most 256");

    let tiling = pointwise::tiling(PointwiseShape { gated: true, ..pointwise_shape() });
    let odd = Tiling { tile_rows: 24, split: false, ..tiling };
    refused(pointwise::launch_with(odd, pointwise_params()), "no kernel for tiles of 24 x ");
    let short = Tiling { row_tiles: tiling.row_tiles + 1, split: false, ..tiling };
    refused(pointwise::launch_with(short, pointwise_params()), "no kernel for tiles of");
}

/// The tiling follows from the shape alone: chunks from c_in, the rows of pooled tiles from one
/// image; enough blocks for small maps and large tiles for large ones.
#[test]
fn pointwise_tilings() {
    let shape = |n: i32, pixels: i32, c_in: i32, c_out: i32| PointwiseShape {
        rows: n * pixels,
        pixels,
        c_in,
        c_out,
        ..PointwiseShape::EMPTY
    };
    for (c_in, chunks) in
        [(8, 1), (256, 1), (264, 3), (672, 6), (1152, 9), (1280, 10), (1288, 6), (3840, 15)]
    {
        assert_eq!(pointwise::chunks(c_in), chunks, "{c_in}");
    }
    for n in [1, 3, 8, 32, 128] {
        for (pixels, c_in, c_out) in
            [(12544, 32, 16), (3136, 24, 144), (196, 480, 80), (49, 1152, 192), (361, 3840, 640)]
        {
            let shape = shape(n, pixels, c_in, c_out);
            let gated = PointwiseShape { gated: true, c_se: c_in.min(256), ..shape };
            let pooled = PointwiseShape { pooled: true, ..shape };
            for (shape, rows) in [(shape, n * pixels), (gated, pixels), (pooled, pixels)] {
                let cut = pointwise::tiling(shape);
                assert_eq!(cut.chunks, pointwise::chunks(c_in));
                assert!(cut.row_tiles * cut.tile_rows >= rows, "{cut:?}");
                assert!((cut.row_tiles - 1) * cut.tile_rows < rows, "{cut:?}");
                assert!(cut.col_tiles * cut.tile_cols >= c_out, "{cut:?}");
                assert!((cut.col_tiles - 1) * cut.tile_cols < c_out, "{cut:?}");
            }
            let single = PointwiseShape { rows: pixels, ..pooled };
            let rows = |shape| {
                let tiling = pointwise::tiling(shape);
                (tiling.tile_rows, tiling.row_tiles, tiling.chunks)
            };
            assert_eq!(rows(pooled), rows(single));
        }
    }
    // Sums of seven groups of 16 rows are one tile's, those of nine two.
    let pooled =
        |pixels| pointwise::tiling(PointwiseShape { pooled: true, ..shape(1, pixels, 64, 64) });
    assert_eq!((pooled(100).tile_rows, pooled(100).row_tiles), (112, 1));
    assert_eq!((pooled(144).tile_rows, pooled(144).row_tiles), (80, 2));
    // Columns that are not there are few.
    for c_out in [16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 120, 128, 160, 192, 320, 384, 512, 640] {
        let cut = pointwise::tiling(PointwiseShape {
            gated: true,
            c_se: 8,
            ..shape(128, 196, 480, c_out)
        });
        assert!(cut.col_tiles * cut.tile_cols * 8 <= c_out * 9, "{c_out}: {cut:?}");
    }
    // Enough blocks of 7 x 7 and 14 x 14 maps at batch 1.
    for (pixels, c_in, c_out) in [(49, 1152, 320), (49, 1152, 192), (196, 480, 80), (196, 672, 112)]
    {
        let cut = pointwise::tiling(PointwiseShape {
            gated: true,
            c_se: 28,
            ..shape(1, pixels, c_in, c_out)
        });
        let blocks = cut.row_tiles * cut.col_tiles * if cut.split { cut.chunks } else { 1 };
        assert!((32..=400).contains(&blocks), "{cut:?}");
    }
}

/// Every kernel of a network lets the next launch begin, and then waits for those before it: also
/// those that no network in the tests runs, such as the stem on bytes.
#[test]
#[cfg_attr(not(kernels), ignore = "needs kernels: build with nvcc (make cuda)")]
fn kernels_of_networks_wait_for_the_launches_before_them() {
    for image in built().unwrap().images.iter().filter(|image| image.name != "preprocess") {
        let ptx = image.ptx().unwrap();
        let bodies: Vec<&str> = ptx.split(".visible .entry").skip(1).collect();
        assert_eq!(bodies.len(), image.entries.len(), "{}", image.name);
        for (body, entry) in bodies.iter().zip(image.entries) {
            let begin = body.find("griddepcontrol.launch_dependents;");
            let wait = body.find("griddepcontrol.wait;");
            assert!(begin.is_some() && wait.is_some() && begin < wait, "{entry}");
        }
    }
}
