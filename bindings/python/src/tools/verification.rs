//! A network on a GPU or the emulator, verified launch by launch.

use super::{from_json, interruptible, report};
use crate::arguments;
use crate::errors::{Failure, Kind, OrRaise};
use effnet::arch::{Size, Variant};
use effnet::device::{CudaDevice, EmulatedDevice};
use effnet::kernels;
use effnet::launches::{InputType, LaunchInput, LaunchOptions, LaunchPlan, Placement};
use effnet::pipeline::ImageInput;
use effnet::plan::{Plan, PlanOptions};
use effnet::session::Device;
use effnet::verify::{Stepwise, Verification};
use effnet::weights::stand_in::{Random, random_weights};
use effnet::weights::{Precision, Weights};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The process in which the library's shared threads were started.
static STARTED_IN: AtomicU32 = AtomicU32::new(0);

/// Best classes of a last launch, so that its kernel is verified too.
const TOP_K: usize = 5;
/// Side of the input on the emulator, where none is asked for.
const EMULATOR_SIDE: usize = 64;

/// Holds every launch of a network on a GPU or the emulator against the same step in f64.
///
/// Args:
///     path_or_name: Packed weights as ``effnet.load`` takes them, or a variant, as in ``"b0"``,
///         for seeded stand-ins.
///     device: ``"auto"`` (the first usable GPU, else the emulator), ``"cuda"``, ``"cuda:N"`` or
///         ``"emulator"``.
///     path: Which kernels, ``"fused"`` or ``"layerwise"``.
///     precision: ``"fp16"``, ``"fp32"`` or ``"tf32"``; that of the weights where none is given.
///     size: Side of the input, or (height, width); the weights' own where none is given, on the
///         emulator 64, which takes seconds.
///     image: An image to run, as a path or encoded bytes; seeded random values where none is
///         given.
///     input: Type of the input, ``"f32"`` or ``"u8"``: levels that the network normalises.
///
/// Returns:
///     A :class:`Verification`, true where everything is within its bounds.
#[pyfunction]
#[pyo3(signature = (
    path_or_name, *, device = "auto", path = "fused", precision = None, size = None, image = None,
    input = "f32",
))]
#[expect(clippy::too_many_arguments, reason = "each has a name and a default in Python")]
pub fn verify<'py>(
    py: Python<'py>,
    path_or_name: &Bound<'py, PyAny>,
    device: &str,
    path: &str,
    precision: Option<&str>,
    size: Option<&Bound<'py, PyAny>>,
    image: Option<&Bound<'py, PyAny>>,
    input: &str,
) -> PyResult<Bound<'py, PyAny>> {
    let (here, started) = (process::id(), STARTED_IN.load(Ordering::Relaxed));
    if started != 0 && started != here {
        let text = format!(
            "networks were verified in process {started} and this is its fork {here}, which has \
             none of the threads for it: start processes by multiprocessing's 'spawn'"
        );
        return Err(Failure::new(Kind::Device, text).into_err(py));
    }
    STARTED_IN.store(here, Ordering::Relaxed);
    let (compute, path) = (arguments::compute(precision)?, arguments::kernels(path)?);
    let input_types = [("f32", InputType::F32), ("u8", InputType::U8)];
    let input_type = arguments::one_of("input", input, &input_types)?;
    let size = arguments::size(size)?;
    let is_cpu = device == "cpu";
    let device = match arguments::device(py, device)? {
        Device::Cpu if is_cpu => {
            return Err(PyValueError::new_err(
                "device: the CPU has no launches to verify; use cuda, cuda:N or emulator",
            ));
        }
        Device::Cpu => Device::Emulator,
        device => device,
    };
    kernels::built().or_raise(py)?;
    let variant =
        path_or_name.extract::<String>().ok().and_then(|name| name.parse::<Variant>().ok());
    let (weights, origin) = match variant {
        Some(variant) => {
            let stored = compute.map_or(Precision::Fp16, |compute| compute.storage());
            let weights = py.detach(|| random_weights(variant, stored)).or_raise(py)?;
            (weights, "seeded stand-in weights".to_owned())
        }
        None => {
            let weights = arguments::weights(py, path_or_name)?;
            let origin = weights.path().display().to_string();
            (weights, origin)
        }
    };
    let image = image.map(encoded).transpose()?;
    let (options, size) = {
        let metadata = weights.metadata();
        let compute = compute.unwrap_or_else(|| device.default_compute(metadata.precision));
        let native = metadata.recipe.size;
        let usual = if device == Device::Emulator { Size::square(EMULATOR_SIDE) } else { native };
        let input = match input_type {
            InputType::F32 => LaunchInput::F32,
            InputType::U8 => LaunchInput::U8(metadata.recipe.normalisation()),
        };
        let options = LaunchOptions {
            placement: Placement::Apart,
            input,
            top_k: TOP_K.min(metadata.classes),
            ..LaunchOptions::new(path, compute)
        };
        (options, size.unwrap_or(usual))
    };
    let weights = Arc::new(weights);
    let found = interruptible(py, |tell| {
        let check = Check { weights: &weights, options, size, device };
        check.run(image, &mut || tell(&mut |_| Ok(())))
    })?;
    let (outcome, device_name) = found.or_raise(py)?;

    let metadata = weights.metadata();
    let (compute, path) = (options.compute, options.path);
    let subject = format!("{}, {path}, {compute}, {size}", metadata.variant);
    let verdict = match &outcome.fault {
        None => format!("verified: {subject} on {device_name}"),
        Some(fault) => {
            let what = fault.launch().map_or("the logits", |(launch, _)| launch);
            format!("off: {subject} on {device_name}: {what}\n{fault}")
        }
    };
    let mut all = json!({
        "schema": "effnet-verify/1",
        "model": metadata.name,
        "variant": metadata.variant.name(),
        "weights": origin,
        "device": device.to_string(),
        "device_name": device_name,
        "path": path.to_string(),
        "precision": compute.to_string(),
        "input": input_type.to_string(),
        "size": size,
        "verified": outcome.fault.is_none().then_some(&verdict),
    });
    let outcome = serde_json::to_value(&outcome)
        .map_err(|error| PyValueError::new_err(format!("no JSON: {error}")))?;
    if let (Value::Object(all), Value::Object(outcome)) = (&mut all, outcome) {
        all.extend(outcome);
    }
    let fields = PyDict::new(py);
    fields.set_item("verdict", verdict)?;
    fields.set_item("found", from_json(py, &all)?)?;
    report(py, "Verification", &fields)
}

/// An encoded image, by its path or its bytes.
fn encoded(image: &Bound<'_, PyAny>) -> PyResult<ImageInput> {
    if let Ok(bytes) = image.extract::<pyo3::pybacked::PyBackedBytes>() {
        return Ok(ImageInput::bytes(bytes));
    }
    Ok(ImageInput::file(image.extract::<PathBuf>()?))
}

/// What is verified.
struct Check<'a> {
    weights: &'a Arc<Weights>,
    options: LaunchOptions,
    size: Size,
    device: Device,
}

impl Check<'_> {
    /// Runs every launch; `tell` hears of each.
    fn run(
        &self,
        image: Option<ImageInput>,
        tell: &mut dyn FnMut(),
    ) -> Result<(effnet::verify::Outcome, String), Failure> {
        let Check { weights, options, size, device } = *self;
        let metadata = weights.metadata();
        let plan_options = PlanOptions {
            batch: 1,
            size,
            padding: metadata.padding,
            precision: options.compute.storage(),
        };
        let plan = Plan::new(weights.network(), plan_options)?;
        let launches = LaunchPlan::new(&plan, options)?;
        let elems = size.pixels() * 3;
        let recipe = metadata.recipe.with_size(size);
        let of_levels = matches!(options.input, LaunchInput::U8(_));
        let mut random = Random::new(2);
        let mut values = Vec::new();
        let mut levels = Vec::new();
        match (image, of_levels) {
            (None, false) => values = random.vector(elems),
            (None, true) => levels = (0..elems).map(|_| random.bits() as u8).collect(),
            (Some(image), false) => {
                values.resize(elems, 0.0);
                image.prepare(&recipe, &mut values)?;
            }
            (Some(image), true) => {
                levels.resize(elems, 0);
                image.prepare_levels(&recipe, &mut levels)?;
            }
        }
        let (mut machine, name): (Box<dyn Stepwise>, String) = match device {
            Device::Cuda(ordinal) => {
                let device = CudaDevice::new(ordinal, launches.clone(), weights)?;
                let name = format!("cuda:{ordinal}, {}", device.name());
                (Box::new(device), name)
            }
            Device::Emulator | Device::Cpu => {
                let device = EmulatedDevice::new(launches.clone(), weights)?;
                (Box::new(device), "the PTX emulator, which is no GPU".to_owned())
            }
        };
        let input = if of_levels { (&levels).into() } else { (&values).into() };
        let verification =
            Verification { plan: &plan, launches: &launches, weights, input, threads: None };
        Ok((verification.run(machine.as_mut(), &mut |_| tell())?, name))
    }
}
