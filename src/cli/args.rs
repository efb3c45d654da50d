//! Argument values that more than one command reads, each with an error that says what would do.

mod planned;

pub use planned::PlanArgs;

use super::classes::By;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use effnet::arch::{Padding, Size, Variant};
use effnet::image::Interpolation;
use effnet::kernels::{self, Compute};
use effnet::launches::{InputType, Path};
use effnet::weights::{Family, OutputActivation, Precision};
use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// Parses `HxW`, or one number for a square, each side within [`Size::MAX_SIDE`].
pub fn size(text: &str) -> Result<Size, String> {
    let expected = || {
        format!(
            "expected HEIGHTxWIDTH or one number for both, each 1 to {}, as in 224 or 260x320",
            Size::MAX_SIDE
        )
    };
    let side = |digits: &str| match digits.parse() {
        Ok(side) if (1..=Size::MAX_SIDE).contains(&side) => Ok(side),
        _ => Err(expected()),
    };
    match text.split_once(['x', 'X']) {
        Some((h, w)) => Ok(Size { h: side(h)?, w: side(w)? }),
        None => side(text).map(Size::square),
    }
}

/// Parses a variant; the error lists all of them.
pub fn variant(text: &str) -> Result<Variant, String> {
    Variant::from_str(text).map_err(|error| error.to_string())
}

/// Parses a target that this program has machine code for, as in `90` or `sm_90`.
pub fn target(text: &str) -> Result<u32, String> {
    let built = kernels::built().map_err(|error| error.to_string())?;
    let arch = text.trim_start_matches("sm_").parse().ok().filter(|a| built.archs.contains(a));
    let known = || built.archs.iter().map(|arch| format!(" sm_{arch}")).collect::<String>();
    arch.ok_or_else(|| match built.archs {
        [] => "this program has no machine code: build it without EFFNET_CUDA_ARCHS=ptx".to_owned(),
        _ => format!("expected a target that this program has machine code for:{}", known()),
    })
}

/// The target where none is asked for: sm_80, else the next that this program has machine code for.
pub fn default_target() -> u32 {
    let built = kernels::built().map_or(&[][..], |built| built.archs);
    built.iter().copied().find(|arch| *arch >= 80).or(built.last().copied()).unwrap_or(80)
}

/// A number of bytes, as in 64MiB.
#[cfg(feature = "serve")]
pub fn bytes(text: &str) -> Result<usize, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let shift = match &text[digits.len()..] {
        "" | "B" => Some(0),
        "KiB" => Some(10),
        "MiB" => Some(20),
        "GiB" => Some(30),
        _ => None,
    };
    let number: Option<usize> = digits.parse().ok().filter(|&number| number > 0);
    let bytes = number.zip(shift).and_then(|(number, shift)| number.checked_mul(1 << shift));
    bytes.ok_or_else(|| "expected a number of bytes from 1 on, as in 64MiB, 512KiB or 1GiB".into())
}

/// Parses a whole SHA-256, into lower case.
pub fn sha256(text: &str) -> Result<String, String> {
    if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(text.to_ascii_lowercase());
    }
    Err("expected 64 hexadecimal digits, as sha256sum prints them".to_owned())
}

/// Parses `fp16` or `fp32`.
pub fn precision() -> impl TypedValueParser<Value = Precision> {
    PossibleValuesParser::new(["fp16", "fp32"])
        .map(|name| if name == "fp16" { Precision::Fp16 } else { Precision::Fp32 })
}

/// Parses the type of images' elements, `f32` or `u8`.
pub fn input_type() -> impl TypedValueParser<Value = InputType> {
    PossibleValuesParser::new(["f32", "u8"])
        .map(|name| if name == "u8" { InputType::U8 } else { InputType::F32 })
}

/// A padding convention as given on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaddingArg {
    /// `symmetric`.
    Symmetric,
    /// `same`: from the actual input.
    Same,
    /// `same-frozen`, or `same-frozen:HxW`: as at this size, else the variant's native size.
    SameFrozen(Option<Size>),
    /// `same-cropped`, or `same-cropped:HxW`: the same as PaddleClas crops it.
    SameCropped(Option<Size>),
}

impl PaddingArg {
    /// The convention for a variant.
    pub fn for_variant(self, variant: Variant) -> Padding {
        match self {
            PaddingArg::Symmetric => Padding::Symmetric,
            PaddingArg::Same => Padding::SameDynamic,
            PaddingArg::SameFrozen(size) => {
                Padding::SameFrozen(size.unwrap_or_else(|| variant.native()))
            }
            PaddingArg::SameCropped(size) => {
                Padding::SameCropped(size.unwrap_or_else(|| variant.native()))
            }
        }
    }
}

/// Parses a padding convention.
pub fn padding(text: &str) -> Result<PaddingArg, String> {
    match text.split_once(':') {
        None if text == "symmetric" => Ok(PaddingArg::Symmetric),
        None if text == "same" => Ok(PaddingArg::Same),
        None if text == "same-frozen" => Ok(PaddingArg::SameFrozen(None)),
        Some(("same-frozen", at)) => Ok(PaddingArg::SameFrozen(Some(size(at)?))),
        None if text == "same-cropped" => Ok(PaddingArg::SameCropped(None)),
        Some(("same-cropped", at)) => Ok(PaddingArg::SameCropped(Some(size(at)?))),
        _ => Err("expected symmetric, same, same-frozen, same-cropped, or one of the last two \
                  with a size, as same-frozen:HxW"
            .to_owned()),
    }
}

/// A padding convention in the words that [`padding`] reads.
pub fn padding_text(padding: Padding) -> String {
    match padding {
        Padding::Symmetric => "symmetric".to_owned(),
        Padding::SameDynamic => "same".to_owned(),
        Padding::SameFrozen(size) => format!("same-frozen:{size}"),
        Padding::SameCropped(size) => format!("same-cropped:{size}"),
    }
}

/// Parses a checkpoint family; the error lists all of them.
pub fn family(text: &str) -> Result<Family, String> {
    Family::from_str(text).map_err(|error| error.to_string())
}

/// Parses a function from logits to probabilities; the error lists all of them.
pub fn activation(text: &str) -> Result<OutputActivation, String> {
    OutputActivation::from_str(text).map_err(|error| error.to_string())
}

/// Where class names come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LabelsArg {
    /// The built-in ones of ImageNet-1k.
    Imagenet,
    /// Nowhere: classes are shown by their numbers.
    None,
    /// A file, one name a line.
    File(PathBuf),
}

/// Parses where class names come from.
pub fn labels(text: &str) -> Result<LabelsArg, Infallible> {
    Ok(match text {
        "imagenet" => LabelsArg::Imagenet,
        "none" => LabelsArg::None,
        _ => LabelsArg::File(text.into()),
    })
}

/// Parses a resampling kernel.
pub fn interpolation() -> impl TypedValueParser<Value = Interpolation> {
    const KERNELS: [(&str, Interpolation); 4] = [
        ("pillow-bicubic", Interpolation::PillowBicubic),
        ("pillow-bilinear", Interpolation::PillowBilinear),
        ("opencv-bilinear", Interpolation::OpencvBilinear),
        ("tensorflow-bicubic", Interpolation::TensorflowBicubic),
    ];
    PossibleValuesParser::new(KERNELS.map(|(name, _)| name)).try_map(|name| {
        let found = KERNELS.iter().find(|(known, _)| *known == name);
        found.map(|(_, kernel)| *kernel).ok_or("unknown kernel")
    })
}

/// Parses which kernels run.
pub fn path() -> impl TypedValueParser<Value = Path> {
    PossibleValuesParser::new(["fused", "layerwise"])
        .map(|name| if name == "fused" { Path::Fused } else { Path::Layerwise })
}

/// Parses in which precision kernels compute.
pub fn compute() -> impl TypedValueParser<Value = Compute> {
    const ALL: [Compute; 3] = [Compute::Fp16, Compute::Fp32, Compute::Tf32];
    PossibleValuesParser::new(["fp16", "fp32", "tf32"]).try_map(|name| {
        ALL.into_iter().find(|compute| compute.to_string() == name).ok_or("unknown precision")
    })
}

/// Parses what numbers in the place of classes are.
pub fn classes_by() -> impl TypedValueParser<Value = By> {
    PossibleValuesParser::new(["index", "name"])
        .map(|name| if name == "index" { By::Index } else { By::Name })
}

/// Parses `on` or `off`.
pub fn on_off() -> impl TypedValueParser<Value = bool> {
    PossibleValuesParser::new(["on", "off"]).map(|word| word == "on")
}

/// Parses `r,g,b`.
pub fn rgb(text: &str) -> Result<[f32; 3], String> {
    let numbers: Result<Vec<f32>, _> = text.split(',').map(|x| x.trim().parse()).collect();
    match numbers.as_deref() {
        Ok(&[r, g, b]) if [r, g, b].iter().all(|x: &f32| x.is_finite()) => Ok([r, g, b]),
        _ => Err("expected three numbers, as in 0.485,0.456,0.406".to_owned()),
    }
}

/// Parses a batch-norm eps.
pub fn eps(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(eps) if eps > 0.0 && eps < 1.0 => Ok(eps),
        _ => Err("expected a number between 0 and 1, as in 1e-3".to_owned()),
    }
}

/// A number of classes: at least one, and no more than a packed file may have.
pub fn classes(text: &str) -> Result<usize, String> {
    within(text, 1, effnet::weights::Metadata::MAX_CLASSES)
}

/// A number of classes to print.
pub fn topk(text: &str) -> Result<usize, String> {
    within(text, 1, effnet::weights::Metadata::MAX_CLASSES)
}

/// A number of threads.
pub fn threads(text: &str) -> Result<usize, String> {
    within(text, 1, 1024)
}

/// A number of images per run.
pub fn batch(text: &str) -> Result<usize, String> {
    within(text, 1, effnet::plan::PlanOptions::MAX_BATCH)
}

/// A time in seconds, above 0.
pub fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds) if seconds > 0.0 && seconds <= 86_400.0 => Ok(Duration::from_secs_f64(seconds)),
        _ => Err("expected a number of seconds above 0, up to 86400".to_owned()),
    }
}

/// A time in milliseconds, 0 for none.
pub fn milliseconds(text: &str) -> Result<u64, String> {
    within(text, 0, 86_400_000).map(|ms| ms as u64)
}

/// A number of runs.
pub fn iterations(text: &str) -> Result<usize, String> {
    within(text, 1, 1_000_000)
}

fn within(text: &str, min: usize, max: usize) -> Result<usize, String> {
    match text.parse() {
        Ok(n) if (min..=max).contains(&n) => Ok(n),
        _ => Err(format!("expected a whole number, {min} to {max}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_with_and_without_a_unit() {
        for (text, expected) in [("1", 1), ("2B", 2), ("3KiB", 3 << 10), ("64MiB", 64 << 20)] {
            assert_eq!(bytes(text), Ok(expected));
        }
        for bad in ["", "0", "MiB", "1MB", "1 MiB", "-1", "1.5GiB", "99999999999GiB"] {
            assert!(bytes(bad).unwrap_err().contains("as in 64MiB"), "'{bad}'");
        }
    }

    #[test]
    fn sizes() {
        assert_eq!(size("224"), Ok(Size::square(224)));
        assert_eq!(size("260x320"), Ok(Size { h: 260, w: 320 }));
        for bad in ["", "0", "x", "224x", "x224", "4097", "1x1x1", "-1", "224.0", " 224"] {
            assert!(size(bad).unwrap_err().contains("HEIGHTxWIDTH"), "'{bad}'");
        }
    }

    #[test]
    fn paddings_read_back_as_written() {
        let cropped = Padding::SameCropped(Size { h: 7, w: 5 });
        let same = padding(&padding_text(cropped)).unwrap().for_variant(Variant::B3);
        assert_eq!(same, cropped);
        let frozen = Padding::SameFrozen(Size { h: 3, w: 5 });
        for expected in [Padding::Symmetric, Padding::SameDynamic, frozen] {
            let arg = padding(&padding_text(expected)).unwrap();
            assert_eq!(arg.for_variant(Variant::B3), expected);
        }
        let native = padding("same-frozen").unwrap().for_variant(Variant::B3);
        assert_eq!(native, Padding::SameFrozen(Size::square(300)));
        for bad in ["", "SAMe", "same:3", "same-frozen:0", "valid"] {
            assert!(padding(bad).is_err(), "'{bad}'");
        }
    }

    #[test]
    fn colours_and_eps() {
        assert_eq!(rgb("0.5, .25,1"), Ok([0.5, 0.25, 1.0]));
        for bad in ["", "1,2", "1,2,3,4", "1,2,x", "inf,0,0", "NaN,0,0"] {
            assert!(rgb(bad).is_err(), "'{bad}'");
        }
        assert_eq!(eps("1e-3"), Ok(1e-3));
        for bad in ["0", "1", "-1e-3", "NaN", ""] {
            assert!(eps(bad).is_err(), "'{bad}'");
        }
    }

    #[test]
    fn counts_are_within_their_ranges() {
        assert_eq!((batch("1"), batch("1024")), (Ok(1), Ok(1024)));
        for bad in ["0", "1025", "-1", "many", ""] {
            assert_eq!(batch(bad), Err("expected a whole number, 1 to 1024".to_owned()));
        }
        assert!(classes("0").is_err());
        assert_eq!((milliseconds("0"), iterations("1")), (Ok(0), Ok(1)));
        assert!(iterations("0").is_err());
    }

    #[test]
    fn durations_are_above_zero() {
        assert_eq!(seconds("0.25"), Ok(Duration::from_millis(250)));
        for bad in ["0", "0.0", "-1", "inf", "NaN", "86401", "1e99", ""] {
            assert!(seconds(bad).unwrap_err().contains("above 0"), "'{bad}'");
        }
    }
}
