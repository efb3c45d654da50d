//! A GPU, through CUDA's driver.
//!
//! All memory is allocated, and every kernel looked up, when a device is made. The launches of a run
//! of `n` images are recorded once, with the copies of input and outputs around them, as one CUDA
//! graph; a run is a copy to pinned memory, one call of the driver, and a wait.

mod driver;
mod error;
mod resources;

pub use error::{CudaError, Version};

use crate::kernels::{self, Built};
use crate::launches::{Address, Bases, KernelId, LaunchPlan, LaunchRecord};
use crate::weights::{TensorId, Weights};
use cudarc::driver::sys::{CUdevice, CUfunction};
use driver::{Driver, OLDEST, call};
use resources::{Context, DeviceBuffer, Event, Graph, Module, PinnedBuffer, Stream};
use std::collections::BTreeMap;
use std::ffi::{CStr, c_void};
use std::fmt;
use std::ptr::null_mut;
use std::sync::Arc;

/// Dynamic shared memory that a kernel has without asking.
const SHARED_WITHOUT_ASKING_BYTES: u32 = 48 * 1024;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: u32 = 8;
/// `CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR` and `_MINOR`.
const CAPABILITY: [u32; 2] = [75, 76];
/// `CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN`.
const SHARED_OF_BLOCK: u32 = 97;

/// A GPU that the driver sees.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// Its number.
    pub ordinal: usize,
    /// In the maker's words.
    pub name: String,
    /// Compute capability as in 90 for 9.0.
    pub arch: u32,
    /// Device memory.
    pub memory_bytes: usize,
    /// Shared memory of one block, where it asks for it.
    pub block_shared_bytes: u32,
}

impl fmt::Display for DeviceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sm_{}", self.name, self.arch)
    }
}

impl DeviceInfo {
    /// Whether machine code for one of `archs` runs on it, or the newest one's PTX can be compiled
    /// for it.
    pub fn runs(&self, archs: &[u32]) -> bool {
        let of_its_generation = |&arch: &u32| arch / 10 == self.arch / 10 && arch <= self.arch;
        archs.iter().any(of_its_generation)
            || archs.iter().max().is_some_and(|newest| *newest <= self.arch)
    }
}

/// The GPUs that the driver sees, whether or not this build has kernels for them.
pub fn devices() -> Result<Vec<DeviceInfo>, CudaError> {
    let driver = Driver::open(OLDEST)?;
    (0..count(&driver)?).map(|ordinal| Ok(look_at(&driver, ordinal)?.1)).collect()
}

/// The first GPU that this build has kernels for.
pub fn usable() -> Result<usize, CudaError> {
    let built = kernels::built()?;
    let driver = Driver::open(needed(built.nvcc))?;
    let mut refused = None;
    for ordinal in 0..count(&driver)? {
        let (_, device) = look_at(&driver, ordinal)?;
        match built.images.iter().find(|image| !device.runs(image.archs)) {
            None => return Ok(ordinal),
            Some(image) => {
                let built = image.archs.to_vec();
                refused.get_or_insert(CudaError::Architecture { device, built });
            }
        }
    }
    Err(refused.unwrap_or(CudaError::NoDevice))
}

fn count(driver: &Driver) -> Result<usize, CudaError> {
    let mut count = 0;
    // SAFETY: the count is written.
    unsafe { call!(driver, "counting GPUs", device_count(&mut count))? };
    match usize::try_from(count) {
        Ok(count) if count > 0 => Ok(count),
        _ => Err(CudaError::NoDevice),
    }
}

fn look_at(driver: &Driver, ordinal: usize) -> Result<(CUdevice, DeviceInfo), CudaError> {
    let what = "looking at the GPU";
    let mut device = 0;
    // SAFETY: the device is written; any ordinal may be asked for.
    unsafe { call!(driver, what, device_get(&mut device, ordinal as i32))? };
    let attribute = |attribute: u32| {
        let mut value = 0;
        // SAFETY: the driver named the device; the value is written.
        unsafe { call!(driver, what, device_attribute(&mut value, attribute, device))? };
        Ok::<u32, CudaError>(value.max(0) as u32)
    };
    let mut name = [0u8; 256];
    let mut memory_bytes = 0;
    // SAFETY: the name's length is given, of which the driver writes no more; so is the size.
    unsafe {
        call!(driver, what, device_name(name.as_mut_ptr().cast(), name.len() as i32, device))?;
        call!(driver, what, device_memory(&mut memory_bytes, device))?;
    }
    let name = CStr::from_bytes_until_nul(&name).unwrap_or_default();
    let info = DeviceInfo {
        ordinal,
        name: name.to_string_lossy().into_owned(),
        arch: attribute(CAPABILITY[0])? * 10 + attribute(CAPABILITY[1])?,
        memory_bytes,
        block_shared_bytes: attribute(SHARED_OF_BLOCK)?,
    };
    Ok((device, info))
}

/// What a driver must be to load what this nvcc made: of the same major version. Later minor
/// versions of nvcc are no obstacle to machine code.
fn needed(nvcc: &str) -> Version {
    let major = nvcc
        .split_once("release ")
        .and_then(|(_, release)| release.split_once('.')?.0.trim().parse::<i32>().ok());
    major.map_or(OLDEST, |major| Version(major * 1000).max(OLDEST))
}

/// One launch, bound to addresses.
struct Bound {
    function: CUfunction,
    grid: [u32; 3],
    block: [u32; 3],
    shared_bytes: u32,
    params: Vec<u8>,
}

/// The runs of one number of images.
struct Prepared {
    graph: Graph,
    launches: Vec<Bound>,
}

/// A GPU with a network's weights, ready to run it.
///
/// Not to be shared between threads, but it may be moved to another.
pub struct CudaDevice {
    // Dropped from top to bottom: what refers to something before that.
    prepared: BTreeMap<usize, Prepared>,
    functions: Vec<Vec<CUfunction>>,
    /// Dynamic shared memory that kernels may have, where it was asked for.
    asked_shared: BTreeMap<KernelId, u32>,
    _modules: Vec<Module>,
    memory: Memory,
    staged_input: PinnedBuffer,
    staged_logits: PinnedBuffer,
    staged_features: PinnedBuffer,
    stream: Stream,
    context: Arc<Context>,
    info: DeviceInfo,
    plan: LaunchPlan,
    /// Images of the last run that ended well.
    ran: usize,
}

// SAFETY: the driver's handles may be used on any thread once the context is made the thread's, which
// every method does that calls the driver, drops included; nothing is tied to the thread that made it.
unsafe impl Send for CudaDevice {}

/// The regions of a plan.
struct Memory {
    weights: DeviceBuffer,
    arena: DeviceBuffer,
    input: DeviceBuffer,
    counters: DeviceBuffer,
}

impl Memory {
    fn new(context: &Arc<Context>, plan: &LaunchPlan) -> Result<Memory, CudaError> {
        let buffer = |what, bytes: u64| {
            DeviceBuffer::new(context, what, usize::try_from(bytes).unwrap_or(usize::MAX))
        };
        Ok(Memory {
            weights: buffer("the weights", plan.weights_bytes)?,
            arena: buffer("the activations", plan.arena_bytes)?,
            input: buffer("the input", plan.input_bytes)?,
            counters: buffer("the counters", plan.counters_bytes)?,
        })
    }

    fn bases(&self) -> Bases {
        Bases {
            weights: self.weights.address,
            arena: self.arena.address,
            input: self.input.address,
            counters: self.counters.address,
        }
    }
}

impl CudaDevice {
    /// Opens GPU `ordinal` for `plan`, and uploads the weights, each in the plan's precision.
    pub fn new(
        ordinal: usize,
        plan: LaunchPlan,
        weights: &Weights,
    ) -> Result<CudaDevice, CudaError> {
        let built = kernels::built()?;
        let (tensors, planned) = (weights.tensors().len(), plan.weight_offsets.len());
        if tensors != planned {
            return Err(CudaError::Weights { plan: planned, weights: tensors });
        }
        let driver = Driver::open(needed(built.nvcc))?;
        let count = count(&driver)?;
        if ordinal >= count {
            return Err(CudaError::Ordinal { ordinal, count });
        }
        let (device, info) = look_at(&driver, ordinal)?;
        if let Some(image) = built.images.iter().find(|image| !info.runs(image.archs)) {
            return Err(CudaError::Architecture { device: info, built: image.archs.to_vec() });
        }
        let context = Context::new(driver, device)?;
        let (modules, functions) = load(&context, &built)?;
        let memory = Memory::new(&context, &plan)?;
        let staged = |what, elems: usize| PinnedBuffer::new(&context, what, elems * plan.batch);
        let device = CudaDevice {
            prepared: BTreeMap::new(),
            functions,
            asked_shared: BTreeMap::new(),
            _modules: modules,
            staged_input: staged("the input on the host", plan.input_elems)?,
            staged_logits: staged("the logits on the host", plan.classes)?,
            staged_features: staged("the features on the host", plan.c_head)?,
            memory,
            stream: Stream::new(&context)?,
            context,
            info,
            plan,
            ran: 0,
        };
        for tensor in 0..device.plan.weight_offsets.len() {
            let bytes = device.plan.tensor_bytes(weights, TensorId(tensor as u32));
            device.upload(tensor, &bytes)?;
        }
        let (at, bytes) = (device.memory.counters.address, device.plan.counters_bytes as usize);
        // SAFETY: the counters are that many bytes, and nothing runs on them yet.
        unsafe { call!(device.context.driver, "zeroing the counters", fill(at, 0, bytes))? };
        Ok(device)
    }

    /// Copies one tensor to its place; waits until it is there.
    fn upload(&self, tensor: usize, bytes: &[u8]) -> Result<(), CudaError> {
        let offset = self.plan.weight_offsets[tensor];
        debug_assert!(offset + bytes.len() as u64 <= self.plan.weights_bytes);
        let at = self.memory.weights.address + offset;
        // SAFETY: the bytes are readable, and are as many as the plan keeps at this offset.
        unsafe {
            call!(
                self.context.driver,
                "uploading the weights",
                upload(at, bytes.as_ptr().cast(), bytes.len())
            )
        }
    }

    /// Records the launches of a run of `n` images, where that has not been done.
    fn prepare(&mut self, n: usize) -> Result<(), CudaError> {
        if self.prepared.contains_key(&n) {
            return Ok(());
        }
        let launches = self.plan.launches(n)?;
        let bases = self.memory.bases();
        let launches =
            launches.iter().map(|l| self.bind(l, &bases)).collect::<Result<Vec<Bound>, _>>()?;
        let graph = self.stream.capture(|| {
            self.enqueue_upload(n)?;
            launches.iter().try_for_each(|launch| self.enqueue(launch))?;
            self.enqueue_download(n)
        })?;
        self.prepared.insert(n, Prepared { graph, launches });
        Ok(())
    }

    fn bind(&mut self, launch: &LaunchRecord, bases: &Bases) -> Result<Bound, CudaError> {
        let KernelId { image, entry } = launch.kernel;
        let missing = || CudaError::Kernel { launch: launch.name.clone(), image, entry };
        let function =
            *self.functions.get(image).and_then(|list| list.get(entry)).ok_or_else(missing)?;
        let (bytes, most) = (launch.geometry.shared_bytes, self.info.block_shared_bytes);
        if bytes > most {
            return Err(CudaError::SharedMemory { launch: launch.name.clone(), bytes, most });
        }
        // A kernel keeps the most that any of its launches asks for.
        let asked = self.asked_shared.entry(launch.kernel).or_insert(SHARED_WITHOUT_ASKING_BYTES);
        if bytes > *asked {
            // SAFETY: the kernel's module is loaded.
            unsafe {
                call!(
                    self.context.driver,
                    &launch.name,
                    function_set(function, MAX_DYNAMIC_SHARED, bytes as i32)
                )?;
            }
            *asked = bytes;
        }
        Ok(Bound {
            function,
            grid: launch.geometry.grid,
            block: launch.geometry.block,
            shared_bytes: bytes,
            params: launch.bind(bases),
        })
    }

    fn enqueue(&self, launch: &Bound) -> Result<(), CudaError> {
        let ([gx, gy, gz], [bx, by, bz]) = (launch.grid, launch.block);
        // A pointer to the only parameter. The driver copies it in this call.
        let mut params: [*mut c_void; 1] = [launch.params.as_ptr().cast_mut().cast()];
        // SAFETY: the kernel's module is loaded; its only parameter is a struct of as many bytes as
        // `params` points to, which a test holds against the kernel's. The launch is of the plan that
        // the regions were allocated for, and keeps to them: launch modules check shapes, and the
        // emulator runs the same launches with checks.
        unsafe {
            call!(
                self.context.driver,
                "launching a kernel",
                launch(
                    launch.function,
                    gx,
                    gy,
                    gz,
                    bx,
                    by,
                    bz,
                    launch.shared_bytes,
                    self.stream.handle,
                    params.as_mut_ptr(),
                    null_mut(),
                )
            )
        }
    }

    fn enqueue_upload(&self, n: usize) -> Result<(), CudaError> {
        let bytes = n * self.plan.input_elems * size_of::<f32>();
        let (from, to) = (self.staged_input.pointer(), self.memory.input.address);
        // SAFETY: both hold a whole batch, of which `n` images are a part; runs wait for the copy.
        unsafe {
            call!(
                self.context.driver,
                "uploading the input",
                upload_async(to, from.cast(), bytes, self.stream.handle)
            )
        }
    }

    fn enqueue_download(&self, n: usize) -> Result<(), CudaError> {
        let outputs: [(&PinnedBuffer, Address, usize); 2] = [
            (&self.staged_logits, self.plan.logits, self.plan.classes),
            (&self.staged_features, self.plan.features, self.plan.c_head),
        ];
        for (to, from, elems) in outputs {
            let from = from.bind(&self.memory.bases());
            let bytes = n * elems * size_of::<f32>();
            // SAFETY: the staging memory holds a whole batch; where the plan says that its outputs
            // are, there are as many bytes; runs wait for the copy.
            unsafe {
                call!(
                    self.context.driver,
                    "downloading the outputs",
                    download_async(to.pointer().cast(), from, bytes, self.stream.handle)
                )?;
            }
        }
        Ok(())
    }

    /// Runs `n` images, `[n, h, w, 3]` with `1 <= n <= batch`, and waits for the outputs. The first run
    /// of so many images records their launches; later ones replay them.
    pub fn run(&mut self, input: &[f32], n: usize) -> Result<(), CudaError> {
        self.stage(input, n)?;
        let prepared = &self.prepared[&n];
        // SAFETY: the device owns what was recorded, and waits below.
        let launched = unsafe { prepared.graph.launch(&self.stream) };
        // Also after a failure: staging memory must not be in use when this returns.
        let waited = self.stream.synchronize("running the network");
        launched.and(waited)?;
        self.ran = n;
        Ok(())
    }

    /// As [`run`](CudaDevice::run), launch by launch, with the microseconds of each.
    pub fn run_timed(&mut self, input: &[f32], n: usize) -> Result<Vec<f32>, CudaError> {
        self.stage(input, n)?;
        let launches = &self.prepared[&n].launches;
        let events = (0..=launches.len())
            .map(|_| Event::new(&self.context))
            .collect::<Result<Vec<Event>, _>>()?;
        let queued = (|| {
            self.enqueue_upload(n)?;
            events[0].record(&self.stream)?;
            for (launch, event) in launches.iter().zip(&events[1..]) {
                self.enqueue(launch)?;
                event.record(&self.stream)?;
            }
            self.enqueue_download(n)
        })();
        let waited = self.stream.synchronize("running the network launch by launch");
        queued.and(waited)?;
        self.ran = n;
        events.windows(2).map(|pair| Ok(pair[1].milliseconds_since(&pair[0])? * 1e3)).collect()
    }

    /// Copies the input to where the device reads it.
    fn stage(&mut self, input: &[f32], n: usize) -> Result<(), CudaError> {
        self.context.bind()?;
        self.prepare(n)?;
        let (found, expected) = (input.len(), n * self.plan.input_elems);
        if found != expected {
            return Err(CudaError::Input { found, expected });
        }
        self.ran = 0;
        self.staged_input.as_mut_slice()[..expected].copy_from_slice(input);
        Ok(())
    }

    /// Logits of the last run, `[n, classes]`; empty before the first, and after one that failed.
    pub fn logits(&self) -> &[f32] {
        &self.staged_logits.as_slice()[..self.ran * self.plan.classes]
    }

    /// Features of the last run, `[n, c_head]`, as [`logits`](CudaDevice::logits).
    pub fn features(&self) -> &[f32] {
        &self.staged_features.as_slice()[..self.ran * self.plan.c_head]
    }

    /// As in `NVIDIA H100 80GB HBM3, sm_90`.
    pub fn name(&self) -> String {
        self.info.to_string()
    }

    /// The GPU.
    pub fn info(&self) -> &DeviceInfo {
        &self.info
    }

    /// What it was made for.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// Where the regions are.
    pub fn bases(&self) -> Bases {
        self.memory.bases()
    }
}

impl Drop for CudaDevice {
    fn drop(&mut self) {
        // After an error, work may be under way that uses what the fields give back.
        if self.context.bind().is_ok() {
            let _ = self.stream.synchronize("closing the GPU");
        }
    }
}

impl fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes: Vec<&usize> = self.prepared.keys().collect();
        f.debug_struct("CudaDevice").field("info", &self.info).field("prepared", &sizes).finish()
    }
}

type Loaded = (Vec<Module>, Vec<Vec<CUfunction>>);

/// Every image, and the kernels of each in the order of the catalogue.
fn load(context: &Arc<Context>, built: &Built) -> Result<Loaded, CudaError> {
    let (mut modules, mut functions) = (Vec::new(), Vec::new());
    for (name, entries) in kernels::CATALOGUE {
        let Some(image) = built.images.iter().find(|image| image.name == name) else {
            functions.push(Vec::new());
            continue;
        };
        let module = Module::load(context, name, image.fatbin)?;
        functions.push(entries.iter().map(|e| module.function(e)).collect::<Result<_, _>>()?);
        modules.push(module);
    }
    Ok((modules, functions))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gpu(arch: u32) -> DeviceInfo {
        let name = "GPU".to_owned();
        DeviceInfo { ordinal: 0, name, arch, memory_bytes: 0, block_shared_bytes: 0 }
    }

    #[test]
    fn machine_code_runs_on_its_generation_and_ptx_on_later_ones() {
        assert!(gpu(80).runs(&[75, 80]));
        assert!(gpu(86).runs(&[80, 90]));
        assert!(!gpu(80).runs(&[86, 90]), "code for 8.6 does not run on 8.0");
        assert!(!gpu(75).runs(&[80]));
        assert!(gpu(120).runs(&[80]), "from PTX");
        assert!(!gpu(110).runs(&[100, 120]), "PTX of 12.0 is not for 11.0");
        assert!(!gpu(80).runs(&[]));
    }

    #[test]
    fn a_driver_must_be_of_nvcc_s_major_version() {
        assert_eq!(needed("Cuda compilation tools, release 13.0, V13.0.88"), Version(13_000));
        assert_eq!(needed("Cuda compilation tools, release 12.8, V12.8.93"), Version(12_000));
        assert_eq!(needed("Cuda compilation tools, release 11.8, V11.8.89"), OLDEST);
        assert_eq!(needed("something else"), OLDEST);
    }
}
