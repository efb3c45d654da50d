//! Where a network spends its time.

use super::{from_json, report};
use crate::arguments;
use crate::engine::Engine;
use crate::errors::{Failure, Kind, OrRaise};
use effnet::environment::Environment;
use effnet::kernels;
use effnet::measure::Sampling;
use effnet::profile::{
    By, CeilingWork, Found, Report, Subject, cpu_product_side, cuda_ceilings, profile_cpu,
    profile_cuda, profile_emulated, serial_runs,
};
use effnet::session::{Device, Machine, Session, SessionOptions};
use effnet::weights::Weights;
use effnet::weights::stand_in::Random;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

/// How a profile is taken.
#[derive(Clone, Copy, Debug)]
pub struct ProfileOptions {
    /// Time before the runs that count.
    pub warm_up_ms: u64,
    /// Least time of the runs, in seconds.
    pub duration: f64,
    /// Least number of runs.
    pub iterations: usize,
    /// Buffers of the copy that measures memory.
    pub copy_mib: u64,
}

/// A product that keeps a large GPU busy for milliseconds.
const CUDA_PRODUCT_SIDE: usize = 8192;
/// Longest wait before signals are looked at.
const SIGNALS_EVERY: Duration = Duration::from_millis(50);

/// Profiles a network on a session of its own. The work is done by another thread, so that an
/// interrupt is noticed; that thread then ends with the work.
pub fn profile(
    py: Python<'_>,
    engine: &Engine,
    by: &str,
    asked: ProfileOptions,
) -> PyResult<Py<PyAny>> {
    const ALL: [By; 5] = [By::Launch, By::Layer, By::Block, By::Stage, By::Op];
    arguments::one_of("by", by, &ALL.map(|by| (by.name(), by)))?;
    if !(asked.duration > 0.0 && asked.duration <= 86_400.0) {
        return Err(PyValueError::new_err("duration: expected seconds above 0, up to 86400"));
    }
    arguments::number(
        "iterations",
        i64::try_from(asked.iterations).unwrap_or(i64::MAX),
        1,
        1_000_000,
    )?;
    arguments::number("copy_mib", i64::try_from(asked.copy_mib).unwrap_or(i64::MAX), 1, 2047)?;
    let (weights, options) = (engine.weights().clone(), engine.options());
    let (sender, mut receiver) = sync_channel(1);
    let work = move || {
        // Nobody hears of it where the caller was interrupted.
        let _ = sender.send(measured(weights, options, asked));
    };
    thread::Builder::new().name("effnet-profile".to_owned()).spawn(work).map_err(|error| {
        Failure::new(Kind::Device, format!("cannot start a thread: {error}")).into_err(py)
    })?;
    let found = loop {
        let waited;
        (waited, receiver) = py.detach(move || (receiver.recv_timeout(SIGNALS_EVERY), receiver));
        match waited {
            Ok(found) => break found.or_raise(py)?,
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                let text = "the profile has panicked; its message is on standard error";
                return Err(Failure::new(Kind::Other, text).into_err(py));
            }
        }
    };
    let tables = PyDict::new(py);
    for by in ALL {
        let table = found.table(by);
        let columns: Vec<&str> = table.columns().iter().map(|(name, _)| name.as_str()).collect();
        let lines: Vec<String> = table.lines().collect();
        tables.set_item(by.name(), (columns, table.rows().to_vec(), lines.join("\n")))?;
    }
    let fields = PyDict::new(py);
    fields
        .set_item("title", format!("{} ({})", found.subject.title(), found.subject.device_name))?;
    fields.set_item("grouped_by", by)?;
    fields.set_item("tables", tables)?;
    fields.set_item("found", from_json(py, &found.json())?)?;
    let headlines: Vec<String> =
        found.headlines().into_iter().map(|(name, value)| format!("{name}: {value}")).collect();
    fields.set_item("headlines", headlines)?;
    fields.set_item("notes", found.notes())?;
    Ok(report(py, "Profile", &fields)?.unbind())
}

fn measured(
    weights: Arc<Weights>,
    options: SessionOptions,
    asked: ProfileOptions,
) -> Result<Report, Failure> {
    let metadata = weights.metadata().clone();
    let origin = weights.path().display().to_string();
    let session = Session::new(weights, options)?;
    let (batch, size) = (session.batch(), session.plan().input_size());
    let subject = Subject {
        model: metadata.name,
        variant: metadata.variant.name().to_owned(),
        weights: origin,
        device: session.device().to_string(),
        device_name: session.device_name(),
        path: session.launches().map(|launches| launches.options().path.to_string()),
        precision: session.compute().to_string(),
        batch,
        size,
        threads: options.threads.filter(|_| options.device == Device::Cpu),
    };
    let compute = session.compute();
    let input = Random::new(1).vector(batch * session.input_elems());
    let sampling = Sampling {
        warm_up_ms: asked.warm_up_ms,
        min_duration_ms: (asked.duration * 1e3) as u64,
        min_iterations: asked.iterations,
        ..Sampling::default()
    };
    let work = |product_side| CeilingWork {
        copy_bytes: (asked.copy_mib << 20) as usize,
        product_side,
        samples: asked.iterations.min(20),
    };
    let found = match session.into_machine() {
        Machine::Cpu(mut executor) => {
            let work = work(cpu_product_side(options.threads.unwrap_or(1)));
            Found::Times(profile_cpu(&mut executor, &input, batch, &sampling, &work)?, sampling)
        }
        Machine::Emulated(plan, mut device) => {
            let built = kernels::built()?;
            let arch = built.archs.iter().copied().find(|&arch| arch >= 80).unwrap_or(80);
            Found::Counts(profile_emulated(&mut device, &plan, &input, batch, arch)?)
        }
        Machine::Cuda(plan, mut device) => {
            let ceilings = cuda_ceilings(device.info().ordinal, compute, &work(CUDA_PRODUCT_SIDE))?;
            let mut profile = profile_cuda(&mut device, &plan, &input, batch, &sampling, ceilings)?;
            profile.serial_run_us = serial_runs(*device, &input, batch, &sampling)?.map(Box::new);
            Found::Times(profile, sampling)
        }
    };
    let gpus = Vec::from_iter(options.device.gpu());
    Ok(Report { subject, found, environment: Environment::collect(&gpus) })
}
