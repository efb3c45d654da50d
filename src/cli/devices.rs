//! `effnet devices`: what networks can run on here, and in which form.

use super::Status;
use super::output::{Align, Out, Table, bytes};
use effnet::device::cuda::{self, Code, DeviceInfo, Version};
use effnet::environment::Environment;
use effnet::kernels::{self, Built, NotBuilt};
use effnet::memory;
use effnet::session::Device;
use serde::Serialize;

/// List the devices: GPUs, whether this program's kernels run on each and in which form, and the
/// others.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A GPU runs machine code that was made for it, or PTX, which its driver compiles when the kernels are
loaded. The status is 0 also where there is no GPU, or none that runs the kernels.

Examples:
  effnet devices
  effnet devices --json | jq -r 'select(.usable) | .device'")]
pub struct Args {
    /// Print one JSON object a line.
    #[arg(long)]
    json: bool,
}

/// A device as JSON, or `cuda` where there is no GPU.
#[derive(Debug, Serialize)]
struct Row {
    device: String,
    /// In the maker's words.
    name: Option<String>,
    /// Compute capability of a GPU, as in `9.0`.
    capability: Option<String>,
    /// The newest CUDA that a GPU's driver knows, as in `13.0`.
    driver: Option<String>,
    /// A GPU's memory.
    memory_bytes: Option<u64>,
    /// The host's memory that is free; a GPU tells only a program that holds some of it.
    memory_free_bytes: Option<u64>,
    usable: bool,
    /// The form in which kernels run: `machine code`, `ptx`, or none for the CPU.
    code: Option<&'static str>,
    /// The target of the code, as in `sm_90`.
    target: Option<String>,
    /// Whether `--device auto` takes it.
    auto: bool,
    /// Why it cannot be used, and what to do.
    why_not: Option<String>,
}

/// Writes the list to standard output.
pub fn run(args: Args, out: &mut Out) -> anyhow::Result<Status> {
    let rows = rows();
    if args.json {
        for row in &rows {
            out.json(row)?;
        }
        return Ok(Status::Complete);
    }
    let mut table = Table::new(&[
        ("device", Align::Left),
        ("make", Align::Left),
        ("memory", Align::Right),
        ("runs", Align::Left),
    ]);
    for row in &rows {
        table.row([row.device.clone(), row.what(), row.memory(), row.runs()]);
    }
    for line in table.lines() {
        out.line(line)?;
    }
    Ok(Status::Complete)
}

fn rows() -> Vec<Row> {
    let built = kernels::built();
    let auto = Device::auto().device;
    let gpus = cuda::devices().and_then(|gpus| Ok((cuda::driver_version()?, gpus)));
    let mut rows = match gpus {
        Ok((driver, gpus)) => gpus.iter().map(|gpu| gpu_row(gpu, driver, &built)).collect(),
        Err(why_not) => vec![Row {
            driver: cuda::driver_version().ok().map(|version| version.to_string()),
            why_not: Some(why_not.to_string()),
            ..Row::new("cuda".to_owned())
        }],
    };
    rows.extend([cpu_row(), emulator_row(&built)]);
    for row in &mut rows {
        row.auto = row.device == auto.to_string();
    }
    rows
}

fn gpu_row(gpu: &DeviceInfo, driver: Version, built: &Result<Built, NotBuilt>) -> Row {
    let code = match built {
        Ok(built) => gpu.code(built, driver).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    };
    let (form, target, why_not) = match code {
        Ok(Code::Machine(arch)) => (Some("machine code"), Some(format!("sm_{arch}")), None),
        Ok(Code::Ptx(arch)) => (Some("ptx"), Some(format!("compute_{arch}")), None),
        Err(why_not) => (None, None, Some(why_not)),
    };
    Row {
        name: Some(gpu.name.clone()),
        capability: Some(format!("{}.{}", gpu.arch / 10, gpu.arch % 10)),
        driver: Some(driver.to_string()),
        memory_bytes: Some(gpu.memory_bytes as u64),
        usable: form.is_some(),
        code: form,
        target,
        why_not,
        ..Row::new(Device::Cuda(gpu.ordinal).to_string())
    }
}

fn cpu_row() -> Row {
    Row {
        name: Environment::collect(&[]).cpu.model,
        memory_free_bytes: memory::available().map(|available| available.bytes),
        usable: true,
        ..Row::new(Device::Cpu.to_string())
    }
}

fn emulator_row(built: &Result<Built, NotBuilt>) -> Row {
    let row = Row::new(Device::Emulator.to_string());
    match built {
        _ if !cfg!(feature = "emulator") => {
            let why_not = "no PTX emulator in this build: build effnet with its feature `emulator`";
            Row { why_not: Some(why_not.to_owned()), ..row }
        }
        Ok(built) => Row {
            usable: true,
            code: Some("ptx"),
            target: Some(format!("compute_{}", built.ptx_arch)),
            ..row
        },
        Err(error) => Row { why_not: Some(error.to_string()), ..row },
    }
}

impl Row {
    fn new(device: String) -> Row {
        Row {
            device,
            name: None,
            capability: None,
            driver: None,
            memory_bytes: None,
            memory_free_bytes: None,
            usable: false,
            code: None,
            target: None,
            auto: false,
            why_not: None,
        }
    }

    /// The device's make.
    fn what(&self) -> String {
        let capability = self.capability.as_ref().map(|c| format!("compute capability {c}"));
        let driver = self.driver.as_ref().map(|version| format!("driver of CUDA {version}"));
        let parts = [self.name.clone(), capability, driver];
        parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn memory(&self) -> String {
        let free = self.memory_free_bytes.map(|free| format!("{} free", bytes(free)));
        self.memory_bytes.map(bytes).or(free).unwrap_or_default()
    }

    fn runs(&self) -> String {
        if let Some(why_not) = &self.why_not {
            return format!("nothing: {why_not}");
        }
        let target = self.target.as_deref().unwrap_or_default();
        let is_gpu = self.capability.is_some();
        let runs = match self.code {
            Some("ptx") if is_gpu => format!("PTX of {target}, compiled by the driver"),
            Some("ptx") => format!("PTX of {target}, with every check: for tests"),
            Some(code) => format!("{code} of {target}"),
            None => "the network in fp32".to_owned(),
        };
        if self.auto { format!("{runs} (what `auto` takes)") } else { runs }
    }
}
