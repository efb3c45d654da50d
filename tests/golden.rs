//! Every variant in every family against the public implementations.
//!
//! `tests/golden/*.json` hold logits that the public implementations gave in f64, with weights and
//! images from a counter-based generator (`tests/golden/README.md`). Here the same checkpoint is
//! rebuilt in the family's own naming, written in one of the containers, imported, and run.

mod support;

use effnet::arch::{Network, Size, Variant};
use effnet::session::{Session, SessionOptions};
use effnet::weights::{
    Family, ImportOptions, Precision, SourceRole, Weights, import, source_names,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use support::containers::{ContainerKind, write_container};
use support::generator;

/// Largest difference of a logit from the f64 reference, as a part of the largest logit. The
/// rounding of f32 itself makes about 1e-6; every fault tried makes more than 1e-2.
const TOLERANCE: f64 = 1e-4;

/// One record of a golden file.
#[derive(Deserialize)]
struct Case {
    name: String,
    family: String,
    variant: String,
    height: usize,
    width: usize,
    classes: usize,
    weights_seed: u64,
    image_seed: u64,
    image_sha256: String,
    names_sha256: String,
    tensors_sha256: BTreeMap<String, String>,
    argmax: usize,
    logits: Vec<f64>,
}

impl Case {
    fn family(&self) -> Family {
        self.family.parse().unwrap()
    }

    fn variant(&self) -> Variant {
        self.variant.parse().unwrap()
    }

    fn network(&self) -> Network {
        Network::new(self.variant(), self.classes)
    }

    fn max_logit(&self) -> f64 {
        self.logits.iter().fold(0.0, |max, logit| logit.abs().max(max))
    }
}

fn cases(group: &str) -> Vec<Case> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{group}.json"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// The case's checkpoint in a container of `kind`, imported and run; gives the logits.
fn run(case: &Case, kind: ContainerKind, precision: Precision) -> Result<Vec<f64>, String> {
    let (family, network) = (case.family(), case.network());
    let dir = tempfile::tempdir().map_err(|e| e.to_string())?;
    let source = dir.path().join(format!("checkpoint.{}", kind.extension()));
    let packed = dir.path().join("packed.safetensors");
    write_container(&source, kind, &generator::checkpoint(case.weights_seed, family, &network));

    // Names and shapes tell all but timm's two families apart, and every variant.
    let named = matches!(family, Family::Timm | Family::TimmTf).then_some(family);
    let options = ImportOptions { family: named, precision, ..ImportOptions::default() };
    let report = import(&source, &packed, &options).map_err(|e| e.to_string())?;
    let found = (report.metadata.family, report.metadata.variant, report.metadata.classes);
    let expected = (family, network.variant, network.classes);
    if found != expected {
        return Err(format!("recognised as {found:?}, expected {expected:?}"));
    }

    let weights = Arc::new(Weights::open(&packed).map_err(|e| e.to_string())?);
    let size = Some(Size { h: case.height, w: case.width });
    let options = SessionOptions { size, ..SessionOptions::default() };
    let mut session = Session::new(weights, options).map_err(|e| e.to_string())?;
    let image = generator::image(case.image_seed, case.height, case.width);
    let outputs = session.run(&image).map_err(|e| e.to_string())?;
    Ok(outputs.logits(0).iter().map(|&logit| f64::from(logit)).collect())
}

/// Fails where a logit is further from the expected one than `tolerance * max |expected|`.
fn compare(found: &[f64], expected: &[f64], tolerance: f64) -> Result<f64, String> {
    if found.len() != expected.len() {
        return Err(format!("{} logits, expected {}", found.len(), expected.len()));
    }
    if let Some(index) = found.iter().position(|logit| !logit.is_finite()) {
        return Err(format!("logit {index} is {}", found[index]));
    }
    let largest = expected.iter().fold(0.0f64, |max, logit| logit.abs().max(max));
    let difference = |index: usize| (found[index] - expected[index]).abs();
    let worst = (0..found.len()).max_by(|&a, &b| difference(a).total_cmp(&difference(b))).unwrap();
    let relative = difference(worst) / largest;
    if relative <= tolerance {
        return Ok(relative);
    }
    Err(format!(
        "logit {worst} is {}, expected {}: {relative:.2e} of the largest logit, {largest}; allowed \
         {tolerance:.1e}",
        found[worst], expected[worst]
    ))
}

/// Runs a family's cases, each container in turn, and reports every failure.
fn check_family(family: Family) {
    let mut failures = Vec::new();
    for (index, case) in cases(family.name()).iter().enumerate() {
        let kind = ContainerKind::ALL[index % ContainerKind::ALL.len()];
        let start = std::time::Instant::now();
        let result = run(case, kind, Precision::Fp32).and_then(|logits| {
            let best = (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b]));
            let relative = compare(&logits, &case.logits, TOLERANCE)?;
            match best {
                Some(best) if best == case.argmax => Ok(relative),
                _ => Err(format!("best class {best:?}, expected {}", case.argmax)),
            }
        });
        match result {
            Ok(relative) => println!(
                "{} as {kind:?}: {relative:.1e} of the largest logit, {:.1} s",
                case.name,
                start.elapsed().as_secs_f64()
            ),
            Err(error) => failures.push(format!("{} as {kind:?}: {error}", case.name)),
        }
    }
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn timm() {
    check_family(Family::Timm);
}

#[test]
fn timm_tf() {
    check_family(Family::TimmTf);
}

#[test]
fn torchvision() {
    check_family(Family::Torchvision);
}

#[test]
fn lukemelas() {
    check_family(Family::Lukemelas);
}

#[test]
fn lite_pytorch() {
    check_family(Family::LitePytorch);
}

#[test]
fn paddle_clas() {
    check_family(Family::PaddleClas);
}

#[test]
fn transformers() {
    check_family(Family::Transformers);
}

#[test]
fn keras() {
    check_family(Family::Keras);
}

/// Against the same public implementations with their weights rounded to f16, everything else in
/// f64: so nothing but the weights is rounded, and each to the nearest.
#[test]
fn half_precision_weights_are_the_nearest() {
    for (index, case) in cases("fp16").iter().enumerate() {
        let kind = ContainerKind::ALL[index % ContainerKind::ALL.len()];
        let found = run(case, kind, Precision::Fp16);
        let relative = found.and_then(|found| compare(&found, &case.logits, TOLERANCE));
        relative.unwrap_or_else(|error| panic!("{} as {kind:?}: {error}", case.name));
    }
}

/// Rounding to f16 changes a weight by a part of at most 2^-11, of rms below 2^-12. The weights'
/// errors are independent, so a layer's output, a sum of terms of either sign, is off by the same
/// part of its rms, whatever its length; L layers in a row, with activations of slope about one
/// and skips that dilute, add up to sqrt(L) times that; and the worst of 40 to 1000 classes lies
/// within about four deviations. So: 4 * 2^-12 * sqrt(L) of the largest logit.
#[test]
fn half_precision_stays_near_single() {
    let half_cases = cases("fp16");
    assert!(!half_cases.is_empty());
    for half in &half_cases {
        let single = cases(&half.family);
        let single = single
            .iter()
            .find(|single| single.name == half.name)
            .unwrap_or_else(|| panic!("{}: no case in single precision", half.name));
        let network = half.network();
        let layers = source_names(half.family(), &network)
            .iter()
            .filter(|source| source.role == SourceRole::Weight)
            .count();
        let bound = 4.0 * 2f64.powi(-12) * (layers as f64).sqrt();
        let relative = compare(&half.logits, &single.logits, bound)
            .unwrap_or_else(|error| panic!("{}: {error}", half.name));
        // The two references do differ: the other test cannot pass on single-precision weights.
        assert!(relative > 1.5 * TOLERANCE, "{}: only {relative:.1e} apart", half.name);
    }
}

/// The generator's two halves give the same bits, and the public models' tensor lists are ours.
#[test]
fn the_generator_and_the_names_are_the_public_models() {
    for family in Family::ALL {
        for case in cases(family.name()) {
            let network = case.network();
            let sources = source_names(family, &network);
            assert_eq!(case.family(), family);
            assert_eq!(generator::names_digest(&sources), case.names_sha256, "{}", case.name);
            let image = generator::image(case.image_seed, case.height, case.width);
            let nchw = generator::nchw(&image);
            assert_eq!(generator::digest(&nchw), case.image_sha256, "{}: image", case.name);
            let mut digested = 0;
            for source in &sources {
                let name = generator::canonical_name(source.layer, source.role);
                let Some(expected) = case.tensors_sha256.get(&name) else { continue };
                let shape = generator::canonical_shape(family, source);
                let (layer, role) = (source.layer, source.role);
                let values = generator::tensor(case.weights_seed, &network, layer, role, &shape);
                assert_eq!(&generator::digest(&values), expected, "{}: {name}", case.name);
                digested += 1;
            }
            assert_eq!(
                digested,
                case.tensors_sha256.len(),
                "{}: digests without tensor",
                case.name
            );
            assert!(digested >= 9, "{}: only {digested} digests", case.name);
        }
    }
}

/// Cases that the golden files must cover, so that a lost one is noticed.
#[test]
fn every_variant_container_and_convention_has_its_case() {
    let mut variants = Vec::new();
    for family in Family::ALL {
        let cases = cases(family.name());
        assert!(cases.len() >= ContainerKind::ALL.len(), "{family}: a container has no case");
        for case in &cases {
            assert_eq!(case.logits.len(), case.classes, "{}", case.name);
            assert!((0.5..50.0).contains(&case.max_logit()), "{}", case.name);
            variants.push(case.variant());
        }
        let odd = |case: &&Case| case.height % 2 == 1 || case.width % 2 == 1;
        // Keras's pads are those of the size that a model was built for, which is even by default:
        // at another size the model is another one.
        let odd_sizes = if family == Family::Keras { 0 } else { 2 };
        assert!(cases.iter().filter(odd).count() >= odd_sizes, "{family}: no odd sizes");
        assert!(cases.iter().any(|case| case.height != case.width), "{family}: only squares");
        assert!(cases.iter().any(|case| case.classes == 1000), "{family}: never 1000 classes");
    }
    for variant in Variant::all() {
        assert!(variants.contains(&variant), "{variant}: no case");
    }
}
