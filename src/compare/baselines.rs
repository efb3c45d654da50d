//! The baselines by name: all of them, those on this machine, and their way to contestants.

use super::contestant::{Contestant, Failure};
use super::driver::DriverContestant;
use super::protocol::Load;
use super::python::{Python, Script};
use super::trtexec::{self, TrtexecContestant};
use super::{Job, Outcome};
use crate::kernels::Compute;
use crate::session::Device;
use crate::weights::Precision;
use std::fmt;
use std::path::PathBuf;
use std::rc::Rc;
use std::str::FromStr;

/// A runtime to compare with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Baseline {
    /// TensorRT, through its command-line tool.
    Trtexec,
    /// ONNX Runtime with the provider that fits where this runtime runs, or with this one.
    OnnxRuntime(Option<Provider>),
    /// PyTorch, operation by operation.
    PyTorch,
    /// PyTorch, compiled.
    TorchCompile(CompileMode),
}

/// Execution provider that ONNX Runtime runs a network with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)] // the names are the documentation
pub enum Provider {
    Cpu,
    Cuda,
    TensorRt,
}

impl Provider {
    fn name(self) -> &'static str {
        match self {
            Provider::Cpu => "cpu",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }
}

/// The `mode` of `torch.compile` on a GPU; both record CUDA graphs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompileMode {
    /// `reduce-overhead`.
    ReduceOverhead,
    /// `max-autotune`, which tries more kernels and takes much longer.
    MaxAutotune,
}

impl CompileMode {
    fn name(self) -> &'static str {
        match self {
            CompileMode::ReduceOverhead => "reduce-overhead",
            CompileMode::MaxAutotune => "max-autotune",
        }
    }
}

/// A name that is no baseline's.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("unknown baseline '{0}': expected one of {names}", names = names())]
pub struct UnknownBaseline(pub String);

fn names() -> String {
    Baseline::ALL.map(Baseline::name).join(", ")
}

impl Baseline {
    /// Every baseline.
    pub const ALL: [Baseline; 8] = [
        Baseline::Trtexec,
        Baseline::OnnxRuntime(None),
        Baseline::OnnxRuntime(Some(Provider::Cpu)),
        Baseline::OnnxRuntime(Some(Provider::Cuda)),
        Baseline::OnnxRuntime(Some(Provider::TensorRt)),
        Baseline::PyTorch,
        Baseline::TorchCompile(CompileMode::ReduceOverhead),
        Baseline::TorchCompile(CompileMode::MaxAutotune),
    ];

    /// Name of the baseline, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Baseline::Trtexec => "trtexec",
            Baseline::OnnxRuntime(None) => "onnxruntime",
            Baseline::OnnxRuntime(Some(Provider::Cpu)) => "onnxruntime-cpu",
            Baseline::OnnxRuntime(Some(Provider::Cuda)) => "onnxruntime-cuda",
            Baseline::OnnxRuntime(Some(Provider::TensorRt)) => "onnxruntime-tensorrt",
            Baseline::PyTorch => "pytorch",
            Baseline::TorchCompile(CompileMode::ReduceOverhead) => "torch-compile",
            Baseline::TorchCompile(CompileMode::MaxAutotune) => "torch-compile-max-autotune",
        }
    }

    /// Baselines that are looked for where none is asked for. On the CPU, TensorRT does not run and
    /// compiling takes minutes.
    pub fn by_default(device: Device) -> Vec<Baseline> {
        match device {
            Device::Cuda(_) => vec![
                Baseline::Trtexec,
                Baseline::OnnxRuntime(None),
                Baseline::PyTorch,
                Baseline::TorchCompile(CompileMode::ReduceOverhead),
            ],
            Device::Cpu | Device::Emulator => vec![Baseline::OnnxRuntime(None), Baseline::PyTorch],
        }
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Baseline {
    type Err = UnknownBaseline;

    fn from_str(text: &str) -> Result<Baseline, UnknownBaseline> {
        let found = Baseline::ALL.into_iter().find(|baseline| baseline.name() == text);
        found.ok_or_else(|| UnknownBaseline(text.to_owned()))
    }
}

/// Paths of the programs that baselines need.
#[derive(Clone, Debug, Default)]
pub struct Tools {
    /// Path of trtexec; none to look for it.
    pub trtexec: Option<PathBuf>,
    /// Python; none to take the usual one.
    pub python: Option<PathBuf>,
}

/// Makes contestants of baselines. Python is asked once for its modules.
pub struct Entrance<'a> {
    job: &'a Rc<Job>,
    tools: Tools,
    python: Option<Result<Python, String>>,
}

impl<'a> Entrance<'a> {
    /// An entrance for the baselines of a job.
    pub fn new(job: &'a Rc<Job>, tools: Tools) -> Entrance<'a> {
        Entrance { job, tools, python: None }
    }

    /// A baseline as a contestant; else the reason why it is none.
    pub fn enter(&mut self, baseline: Baseline) -> Result<Box<dyn Contestant>, Outcome> {
        match baseline {
            Baseline::Trtexec => self.trtexec(),
            Baseline::OnnxRuntime(provider) => self.onnxruntime(baseline, provider),
            Baseline::PyTorch => self.pytorch(baseline, None),
            Baseline::TorchCompile(mode) => self.pytorch(baseline, Some(mode)),
        }
    }

    fn trtexec(&self) -> Result<Box<dyn Contestant>, Outcome> {
        let missing = |what: String| {
            let how_to_get = format!("{what}: it {}", trtexec::HOW_TO_GET);
            Outcome::Missing { how_to_get }
        };
        let path = match &self.tools.trtexec {
            Some(path) if path.exists() => path.clone(),
            Some(path) => return Err(missing(format!("{}: no such file", path.display()))),
            None => trtexec::find(&trtexec::places()).ok_or_else(|| {
                missing("trtexec is neither on PATH nor in the usual places".into())
            })?,
        };
        Ok(Box::new(TrtexecContestant::new(self.job, &path)))
    }

    fn onnxruntime(
        &mut self,
        baseline: Baseline,
        provider: Option<Provider>,
    ) -> Result<Box<dyn Contestant>, Outcome> {
        let provider = provider.unwrap_or(match self.job.options.device {
            Device::Cuda(_) => Provider::Cuda,
            Device::Cpu | Device::Emulator => Provider::Cpu,
        });
        let compute = match provider {
            Provider::Cpu => Compute::Fp32,
            Provider::Cuda | Provider::TensorRt => self.job.options.compute,
        };
        let device = match provider {
            Provider::Cpu => Device::Cpu,
            Provider::Cuda | Provider::TensorRt => Device::Cuda(self.job.gpu()),
        };
        let onnx = self.onnx(compute.storage())?;
        let provider = Some(provider.name().to_owned());
        let load = Load { onnx: onnx.clone(), provider, ..self.load(compute, device) };
        self.driver(Script::OnnxRuntime, baseline, load, (onnx, "ONNX file"))
    }

    fn pytorch(
        &mut self,
        baseline: Baseline,
        mode: Option<CompileMode>,
    ) -> Result<Box<dyn Contestant>, Outcome> {
        let device = match self.job.options.device {
            Device::Cuda(ordinal) => Device::Cuda(ordinal),
            Device::Cpu | Device::Emulator => Device::Cpu,
        };
        let compile = mode.map(|mode| mode.name().to_owned());
        let load = Load { compile, ..self.load(self.job.options.compute, device) };
        let weights = load.weights.clone();
        self.driver(Script::PyTorch, baseline, load, (weights, "packed weights"))
    }

    fn onnx(&self, precision: Precision) -> Result<PathBuf, Outcome> {
        let name = self.job.onnx(precision);
        let name = name.map_err(|error| failed(Failure::new("writing the ONNX file", error)))?;
        Ok(self.job.path(&name))
    }

    fn driver(
        &mut self,
        script: Script,
        baseline: Baseline,
        load: Load,
        disk: (PathBuf, &'static str),
    ) -> Result<Box<dyn Contestant>, Outcome> {
        let missing = |how_to_get| Outcome::Missing { how_to_get };
        let path = self.tools.python.clone().unwrap_or_else(Python::default_path);
        let python = self.python.get_or_insert_with(|| Python::open(&path));
        let python = python.as_ref().map_err(|how_to_get| missing(how_to_get.clone()))?;
        let command = python.driver(script, self.job).map_err(missing)?;
        let command =
            command.map_err(|error| failed(Failure::new("writing the driver's scripts", error)))?;
        Ok(Box::new(DriverContestant::new(baseline.name(), self.job, command, load, disk)))
    }

    fn load(&self, compute: Compute, device: Device) -> Load {
        Load {
            precision: compute.to_string(),
            inputs: self.job.path(Job::INPUTS_NCHW),
            ..self.job.load(device)
        }
    }
}

fn failed(failure: Failure) -> Outcome {
    Outcome::Failed(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn baselines_are_known_by_name_and_others_refused() {
        for baseline in Baseline::ALL {
            assert_eq!(baseline.name().parse(), Ok(baseline));
        }
        let error = "tensorflow".parse::<Baseline>().unwrap_err().to_string();
        assert!(error.contains("'tensorflow'") && error.contains("torch-compile"), "{error}");
    }

    #[test]
    fn tensorrt_is_looked_for_only_where_there_is_a_gpu() {
        assert!(Baseline::by_default(Device::Cuda(0)).contains(&Baseline::Trtexec));
        assert!(!Baseline::by_default(Device::Cpu).contains(&Baseline::Trtexec));
    }
}
