//! What the build embeds, the launch parameters' twins, and the launch modules' checks.

use bytemuck::Pod;
use effnet::kernels::params::*;
use effnet::kernels::*;
use effnet::weights::Precision;
use std::collections::BTreeMap;
use std::mem::offset_of;

/// Every kernel that the launch modules name, by image.
const EXPECTED: [(&str, &[&str]); 3] = [
    (depthwise::IMAGE, &depthwise::ENTRIES),
    (pointwise::IMAGE, &pointwise::ENTRIES),
    (squeeze_excite::IMAGE, &squeeze_excite::ENTRIES),
];

/// The images, unless this build has none and need not.
fn images_or_skip() -> Option<&'static [KernelImage]> {
    match built() {
        Ok(built) => Some(built.images),
        Err(why) => {
            let required = std::env::var("EFFNET_REQUIRE_KERNELS").is_ok_and(|v| v == "1");
            assert!(!required, "{why}");
            assert!(images().is_empty());
            assert!(why.to_string().contains("make cuda"), "{why}");
            eprintln!("skipped: {why}");
            None
        }
    }
}

#[test]
fn images_hold_the_kernels_that_the_launch_modules_name() {
    let Some(images) = images_or_skip() else { return };
    assert_eq!(images.iter().map(|i| i.name).collect::<Vec<_>>(), EXPECTED.map(|(name, _)| name));
    for (image, (_, entries)) in images.iter().zip(EXPECTED) {
        let sorted = |list: &[&'static str]| {
            let mut list = list.to_vec();
            list.sort_unstable();
            list
        };
        assert_eq!(sorted(image.entries), sorted(entries), "{}", image.name);
        for entry in entries {
            assert!(image.ptx.contains(&format!(".entry {entry}(")), "{entry} is not in the PTX");
        }
        assert!(image.ptx.contains(".target sm_80"), "{}: target", image.name);
        assert!(image.ptx.contains(&format!("\"kernels/{}.cu\"", image.name)), "line information");
        assert!(image.ptx.contains(".loc"), "{}: line information", image.name);
    }
}

/// Little-endian integers of a file that nvcc wrote.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap())
}

/// Compute capabilities of the ELF images in a fatbin. `e_flags` of a CUDA ELF has the capability
/// in bits 0..8 up to ABI 7 and in bits 8..16 from ABI 8.
fn elf_archs(fatbin: &[u8]) -> Vec<u32> {
    const EM_CUDA: u16 = 190;
    let mut archs: Vec<u32> = fatbin
        .windows(4)
        .enumerate()
        .filter(|(at, magic)| *magic == b"\x7fELF" && u16_at(fatbin, at + 18) == EM_CUDA)
        .map(|(at, _)| {
            let flags = u32::from_le_bytes(fatbin[at + 48..at + 52].try_into().unwrap());
            if fatbin[at + 8] >= 8 { flags >> 8 & 0xff } else { flags & 0xff }
        })
        .collect();
    archs.sort_unstable();
    archs
}

#[test]
fn every_fatbin_has_machine_code_for_every_target() {
    let Some(images) = images_or_skip() else { return };
    for image in images {
        assert!(!image.archs.is_empty());
        assert_eq!(image.fatbin.as_ptr() as usize % 16, 0, "{}: alignment", image.name);
        // The magic number of a fatbin.
        assert_eq!(&image.fatbin[..4], &0xba55_ed50_u32.to_le_bytes(), "{}", image.name);
        assert_eq!(elf_archs(image.fatbin), image.archs, "{}", image.name);
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

macro_rules! twin {
    ($type:ident { $($field:ident),* $(,)? }) => {
        check_twin(
            stringify!($type),
            $type::default(),
            &[$((stringify!($field), offset_of!($type, $field))),*],
        )
    };
}

fn check_twin<P: Pod>(name: &str, _: P, fields: &[(&str, usize)]) {
    let size: Vec<usize> = header_lines("EFFNET_SIZE")
        .iter()
        .filter(|line| line[0] == name)
        .map(|line| line[1].parse().unwrap())
        .collect();
    assert_eq!(size, [size_of::<P>()], "{name}");
    let there: Vec<(&str, usize)> = header_lines("EFFNET_FIELD")
        .iter()
        .filter(|line| line[0] == name)
        .map(|line| (line[1], line[2].parse().unwrap()))
        .collect();
    assert_eq!(there, fields, "{name}");
    // Every member of the C++ struct is checked there.
    let body = HEADER.split(&format!("struct {name} {{")).nth(1).unwrap().split("};").next();
    let members: Vec<&str> = body
        .unwrap()
        .lines()
        .filter_map(|line| line.split(';').next()?.trim().rsplit(' ').next())
        .filter(|member| !member.is_empty())
        .collect();
    assert_eq!(members, fields.iter().map(|f| f.0).collect::<Vec<_>>(), "{name}");
}

#[test]
fn parameter_structs_have_the_same_layout_in_both_languages() {
    twin!(DepthwiseParams {
        input,
        weight,
        scale,
        shift,
        output,
        partial_sums,
        n,
        h_in,
        w_in,
        h_out,
        w_out,
        c,
        pad_top,
        pad_left,
        activation,
        reserved
    });
    twin!(SqueezeExciteParams {
        partial_sums,
        reduce_weight,
        reduce_bias,
        expand_weight,
        expand_bias,
        gate,
        n,
        tiles,
        pixels,
        c,
        c_se,
        reserved
    });
    twin!(PointwiseParams {
        input,
        weight,
        scale,
        shift,
        gate,
        skip,
        output,
        rows,
        pixels,
        c_in,
        c_out,
        activation,
        reserved
    });
    assert_eq!(header_lines("EFFNET_SIZE").len(), 3, "a struct without its twin here");
}

#[test]
fn constants_are_the_same_in_both_languages() {
    let there: BTreeMap<&str, i32> = HEADER
        .lines()
        .filter_map(|line| {
            let (name, value) = line.strip_prefix("constexpr ")?.split_once(" = ")?;
            Some((name.rsplit(' ').next()?, value.strip_suffix(';')?.parse().unwrap()))
        })
        .collect();
    let here = BTreeMap::from([
        ("kActivationNone", ACTIVATION_NONE),
        ("kActivationRelu6", ACTIVATION_RELU6),
        ("kActivationSwish", ACTIVATION_SWISH),
        ("kDepthwiseTilePixels", DEPTHWISE_TILE_PIXELS),
        ("kDepthwiseTileChannels", DEPTHWISE_TILE_CHANNELS),
        ("kDepthwiseWarps", DEPTHWISE_WARPS),
        ("kSqueezeExciteWarps", SQUEEZE_EXCITE_WARPS),
        ("kPointwiseTileRows", POINTWISE_TILE_ROWS),
        ("kPointwiseTileCols", POINTWISE_TILE_COLS),
        ("kPointwiseWarps", POINTWISE_WARPS),
    ]);
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
        reserved: 0,
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
        reserved: 0,
    }
}

#[test]
fn geometry_covers_every_output() {
    let launch = depthwise::launch(Precision::Fp16, 5, 2, depthwise_params()).unwrap();
    assert_eq!(launch.kernel, "effnet_depthwise_k5s2_f16");
    let expected = Geometry { grid: [49, 2, 3], block: [256, 1, 1], shared_bytes: 0 };
    assert_eq!(launch.geometry, expected);
    assert_eq!(depthwise::tiles(56, 56), 49);
    assert_eq!(
        (depthwise::tiles(1, 1), depthwise::tiles(8, 8), depthwise::tiles(5, 13)),
        (1, 1, 2)
    );

    let launch = squeeze_excite::launch(Precision::Fp32, squeeze_excite_params()).unwrap();
    assert_eq!(launch.kernel, "effnet_squeeze_excite_f32");
    let expected = Geometry { grid: [3, 1, 1], block: [256, 1, 1], shared_bytes: 4800 };
    assert_eq!(launch.geometry, expected);

    let launch = pointwise::launch(Precision::Fp16, pointwise_params()).unwrap();
    let expected = Geometry { grid: [3, 5, 1], block: [128, 1, 1], shared_bytes: 0 };
    assert_eq!(launch.geometry, expected);
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
    refused(with(|p| p.c = 95), "c is 95, expected an even number");
    refused(with(|p| p.n = 0), "n is 0, expected at least 1");
    refused(with(|p| p.h_out = i32::MIN), "h_out");
    refused(with(|p| p.h_out = 58), "h_out is 58, expected an extent whose last window");
    refused(with(|p| p.w_out = 58), "w_out is 58");
    refused(with(|p| p.pad_top = 5), "pad_top is 5");
    refused(with(|p| p.pad_left = -1), "pad_left is -1");
    refused(with(|p| p.activation = 3), "activation is 3");
    refused(with(|p| p.n = 40_000), "input has 48168960000 elements");
    refused(with(|p| p.input = 0), "input is at address 0x0");
    refused(with(|p| p.scale = 0x3004), "scale is at address 0x3004");
    refused(with(|p| p.partial_sums = 1), "partial_sums");
    refused(depthwise::launch(Precision::Fp16, 7, 1, depthwise_params()), "no kernel for k 7");
    // No squeeze is no error.
    with(|p| p.partial_sums = 0).unwrap();
}

#[test]
fn squeeze_excite_refuses_what_the_kernel_does_not_take() {
    let with = |change: fn(&mut SqueezeExciteParams)| {
        let mut params = squeeze_excite_params();
        change(&mut params);
        squeeze_excite::launch(Precision::Fp16, params)
    };
    refused(with(|p| p.c_se = 0), "c_se is 0");
    refused(with(|p| p.c = 12_289), "shared memory");
    refused(with(|p| p.c = i32::MAX), "shared memory");
    refused(with(|p| p.pixels = 0), "pixels is 0");
    refused(with(|p| p.gate = 0), "gate is at address 0x0");
    refused(with(|p| p.reduce_weight = 0x2001), "reduce_weight is at address 0x2001");
}

#[test]
fn pointwise_refuses_what_the_kernel_does_not_take() {
    let with = |change: fn(&mut PointwiseParams)| {
        let mut params = pointwise_params();
        change(&mut params);
        pointwise::launch(Precision::Fp16, params)
    };
    refused(with(|p| p.c_in = 1148), "c_in is 1148, expected a multiple of 8");
    refused(with(|p| p.c_out = 321), "c_out is 321");
    refused(with(|p| p.rows = 148), "rows is 148, expected a multiple of pixels");
    refused(with(|p| p.rows = 49 * 40_000_000), "input has");
    refused(with(|p| p.input = 0x1008), "input is at address 0x1008");
    refused(pointwise::launch(Precision::Fp32, pointwise_params()), "no kernel for fp32");
}
