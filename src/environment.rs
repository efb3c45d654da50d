//! The machine that something was measured on: no figure means anything without it.
//!
//! A fact that cannot be found out is none, shown as `unknown`, and never an error.

mod devices;
mod smi;

pub use devices::{KnownDevice, devices};
pub use smi::GpuState;

use crate::device::cuda;
use crate::kernels;
use crate::session::Device;
use serde::{Deserialize, Serialize};
use std::fmt::Display;

/// Versions, processor and GPUs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Environment {
    /// Version of this crate.
    pub effnet: String,
    /// Whether debug assertions are compiled in, as in a build without `--release`.
    pub debug_build: bool,
    /// Release of nvcc; none where the program was built without kernels.
    pub nvcc: Option<String>,
    /// Targets that kernels were compiled for, as 80 for 8.0.
    pub kernel_archs: Vec<u32>,
    /// The operating system, with its version where it tells.
    pub os: String,
    /// The processor.
    pub cpu: Cpu,
    /// The GPUs that were measured.
    pub gpus: Vec<Gpu>,
}

/// A processor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Model of the processor, in the maker's words.
    pub model: Option<String>,
    /// The instruction set, as `x86_64`.
    pub arch: String,
    /// Logical cores that this process may use.
    pub logical_cores: usize,
    /// Runnable tasks, averaged over the last minute.
    pub load_1min: Option<f64>,
}

/// A GPU.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Gpu {
    /// Number of the GPU, as CUDA counts.
    pub ordinal: usize,
    /// Name of the GPU, in the maker's words.
    pub name: Option<String>,
    /// Compute capability as in 90 for 9.0.
    pub arch: Option<u32>,
    /// Device memory.
    pub memory_bytes: Option<usize>,
    /// Multiprocessors.
    pub multiprocessors: Option<u32>,
    /// Size of the L2 cache.
    pub l2_bytes: Option<u32>,
    /// The newest CUDA that the driver knows, as in `13.0`.
    pub cuda: Option<String>,
    /// Clocks, power and temperature as `nvidia-smi` gave them when the environment was collected.
    pub state: GpuState,
}

impl Environment {
    /// Looks at the machine, and at the GPUs of these numbers.
    pub fn collect(gpus: &[usize]) -> Environment {
        let (nvcc, kernel_archs) = match kernels::built() {
            Ok(built) => (Some(release(built.nvcc).to_owned()), built.archs.to_vec()),
            Err(_) => (None, Vec::new()),
        };
        Environment {
            effnet: env!("CARGO_PKG_VERSION").to_owned(),
            debug_build: cfg!(debug_assertions),
            nvcc,
            kernel_archs,
            os: os(),
            cpu: Cpu::look(),
            gpus: gpus.iter().map(|&ordinal| Gpu::look(ordinal)).collect(),
        }
    }

    /// Everything as names and values, for tables.
    pub fn fields(&self) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        let mut field = |name: &str, value: String| fields.push((name.to_owned(), value));
        let build = if self.debug_build { " (built without --release)" } else { "" };
        field("effnet", format!("{}{build}", self.effnet));
        let archs: Vec<String> =
            self.kernel_archs.iter().map(|arch| format!("sm_{arch}")).collect();
        field(
            "kernels",
            match &self.nvcc {
                Some(nvcc) => format!("nvcc {nvcc}, for {}", archs.join(" ")),
                None => "none: built without nvcc".to_owned(),
            },
        );
        field("os", self.os.clone());
        field(
            "cpu",
            format!(
                "{}, {}, {} logical cores, load {}",
                or_unknown(self.cpu.model.as_ref()),
                self.cpu.arch,
                self.cpu.logical_cores,
                or_unknown(self.cpu.load_1min),
            ),
        );
        for gpu in &self.gpus {
            field(&Device::Cuda(gpu.ordinal).to_string(), gpu.describe());
            field("driver", gpu.driver());
            field("state", gpu.state.to_string());
        }
        fields
    }

    /// Differences from `earlier` that make times incomparable: one sentence each.
    pub fn differences(&self, earlier: &Environment) -> Vec<String> {
        let mut list = Vec::new();
        let mut differ = |what: &str, now: String, then: String| {
            if now != then {
                list.push(format!("{what}: {now} now, {then} then"));
            }
        };
        let build = |e: &Environment| if e.debug_build { "debug" } else { "release" }.to_owned();
        let nvcc = |e: &Environment| or_unknown(e.nvcc.as_ref());
        let cpu = |e: &Environment| {
            format!("{}, {} logical cores", or_unknown(e.cpu.model.as_ref()), e.cpu.logical_cores)
        };
        differ("effnet", self.effnet.clone(), earlier.effnet.clone());
        differ("build", build(self), build(earlier));
        differ("nvcc", nvcc(self), nvcc(earlier));
        differ("CPU", cpu(self), cpu(earlier));
        for gpu in &self.gpus {
            let then = earlier.gpus.iter().find(|then| then.ordinal == gpu.ordinal);
            let Some(then) = then else { continue };
            let name = Device::Cuda(gpu.ordinal).to_string();
            differ(&name, gpu.describe(), then.describe());
            differ(&format!("{name} driver"), gpu.driver(), then.driver());
        }
        list
    }
}

impl Cpu {
    fn look() -> Cpu {
        let file = |path| std::fs::read_to_string(path).ok();
        let model = file("/proc/cpuinfo").and_then(|text| {
            let line = text.lines().find(|line| line.starts_with("model name"))?;
            Some(line.split_once(':')?.1.trim().to_owned())
        });
        let load = file("/proc/loadavg").and_then(|text| text.split(' ').next()?.parse().ok());
        Cpu {
            model: model.filter(|model| !model.is_empty()),
            arch: std::env::consts::ARCH.to_owned(),
            logical_cores: std::thread::available_parallelism().map_or(1, usize::from),
            load_1min: load,
        }
    }
}

impl Gpu {
    fn look(ordinal: usize) -> Gpu {
        let info = cuda::devices()
            .ok()
            .and_then(|mut list| (ordinal < list.len()).then(|| list.swap_remove(ordinal)));
        let details = cuda::details(ordinal).ok();
        let pci_bus_id = details.as_ref().and_then(|details| details.pci_bus_id.as_deref());
        Gpu {
            ordinal,
            name: info.as_ref().map(|info| info.name.clone()),
            arch: info.as_ref().map(|info| info.arch),
            memory_bytes: info.as_ref().map(|info| info.memory_bytes),
            multiprocessors: details.as_ref().and_then(|details| details.multiprocessors),
            l2_bytes: details.as_ref().and_then(|details| details.l2_bytes),
            cuda: details.as_ref().map(|details| details.driver.to_string()),
            state: GpuState::look(pci_bus_id),
        }
    }

    /// Name, architecture and sizes.
    pub fn describe(&self) -> String {
        if self.name.is_none() {
            return "unknown: the driver does not tell".to_owned();
        }
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / f64::from(1 << 20));
        format!(
            "{}, sm_{}, {} multiprocessors, L2 {}, memory {}",
            or_unknown(self.name.as_ref()),
            or_unknown(self.arch),
            or_unknown(self.multiprocessors),
            or_unknown(self.l2_bytes.map(|bytes| mib(f64::from(bytes)))),
            or_unknown(self.memory_bytes.map(|bytes| mib(bytes as f64))),
        )
    }

    /// The driver, and the newest CUDA that it knows.
    pub fn driver(&self) -> String {
        format!(
            "{} (CUDA {})",
            or_unknown(self.state.driver.as_ref()),
            or_unknown(self.cuda.as_ref())
        )
    }
}

/// The value, or `unknown`.
fn or_unknown(value: Option<impl Display>) -> String {
    value.map_or_else(|| "unknown".to_owned(), |value| value.to_string())
}

/// nvcc's version number, as in `13.0, V13.0.88`, out of its own words.
fn release(nvcc: &str) -> &str {
    nvcc.split_once("release ").map_or(nvcc, |(_, release)| release).trim()
}

/// Linux tells which distribution and kernel; others tell their names.
fn os() -> String {
    let pretty = std::fs::read_to_string("/etc/os-release").ok().and_then(|text| {
        let value = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
        Some(value.trim_matches('"').to_owned())
    });
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok();
    match (pretty, kernel) {
        (Some(pretty), Some(kernel)) => format!("{pretty}, Linux {}", kernel.trim()),
        (Some(pretty), None) => pretty,
        (None, Some(kernel)) => format!("Linux {}", kernel.trim()),
        (None, None) => std::env::consts::OS.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_without_a_gpu_is_described_and_read_back() {
        let found = Environment::collect(&[]);
        assert!(found.cpu.logical_cores > 0);
        assert!(found.fields().iter().all(|(name, value)| !name.is_empty() && !value.is_empty()));
        let text = serde_json::to_string(&found).unwrap();
        assert_eq!(serde_json::from_str::<Environment>(&text).unwrap(), found);
        assert!(found.differences(&found).is_empty());
    }

    #[test]
    fn what_differs_is_named_with_both_values() {
        let gpu = Gpu {
            ordinal: 0,
            name: Some("GPU".to_owned()),
            arch: Some(90),
            memory_bytes: None,
            multiprocessors: Some(132),
            l2_bytes: None,
            cuda: Some("13.0".to_owned()),
            state: GpuState { driver: Some("580.1".to_owned()), ..GpuState::default() },
        };
        let earlier = Environment { gpus: vec![gpu.clone()], ..Environment::collect(&[]) };
        let mut now = earlier.clone();
        now.gpus[0].state.driver = Some("590.2".to_owned());
        now.effnet = "99.0.0".to_owned();
        // Clocks and temperature are not the same twice.
        now.gpus[0].state.temperature_c = Some(50.0);
        let found = now.differences(&earlier);
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[0].contains("effnet: 99.0.0 now"), "{found:?}");
        assert!(
            found[1].contains("590.2") && found[1].contains("580.1") && found[1].contains("cuda:0"),
            "{found:?}"
        );
    }

    #[test]
    fn nvcc_is_named_by_its_release() {
        assert_eq!(release("Cuda compilation tools, release 13.0, V13.0.88"), "13.0, V13.0.88");
        assert_eq!(release("clang"), "clang");
    }
}
