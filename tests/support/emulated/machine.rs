//! The machines that the tests of kernels run on: the emulator, a GPU, or both.
//!
//! `EFFNET_TEST_DEVICE` chooses: unset, the emulator; `cuda-only`, the first GPU, held against the
//! same bounds; `cuda`, the first GPU and, beside it, the emulator, which a GPU's outputs are
//! compared with. A GPU that is asked for and cannot be used is a failure.

use super::{Buffers, Prepared, assert_clean, module};
use effnet::device::cuda::{CudaError, KernelBuffer, KernelRunner};
use effnet::emulator::{Module, Schedule};
use effnet::launches::KernelId;
use std::cell::Cell;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The devices that tests run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestDevice {
    Emulator,
    GpuAndEmulator,
    Gpu,
}

impl TestDevice {
    /// The choice in `EFFNET_TEST_DEVICE`.
    pub fn chosen() -> TestDevice {
        match std::env::var("EFFNET_TEST_DEVICE") {
            Err(std::env::VarError::NotPresent) => TestDevice::Emulator,
            Ok(device) if device == "cuda" => TestDevice::GpuAndEmulator,
            Ok(device) if device == "cuda-only" => TestDevice::Gpu,
            other => panic!("EFFNET_TEST_DEVICE is {other:?}, expected cuda or cuda-only"),
        }
    }

    pub fn has_gpu(self) -> bool {
        self != TestDevice::Emulator
    }

    pub fn has_emulator(self) -> bool {
        self != TestDevice::Gpu
    }
}

/// Runs launches one after the other on the same buffers.
pub trait Machine {
    /// Runs the launches and gives the outputs in order. The run must be clean.
    fn run(&self, what: &str, launches: &[Prepared], buffers: &mut Buffers) -> Vec<Vec<u8>>;

    /// The emulator that the machine's outputs are compared with, beside the loops in f64.
    fn emulator(&self) -> Option<&Module> {
        None
    }

    /// The largest error of a checked case, and the largest difference from the emulator, each as a
    /// part of the allowed one.
    fn note(&self, _error: f64, _difference: f64) {}
}

impl Machine for Module {
    fn run(&self, what: &str, launches: &[Prepared], buffers: &mut Buffers) -> Vec<Vec<u8>> {
        for prepared in launches {
            let launch = prepared.launch(self).schedule(Schedule::InOrder);
            let report = launch.run(&mut buffers.memory).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert_clean(what, &report);
        }
        buffers.outputs(what)
    }
}

/// The machine that was chosen, for one kernel file.
pub enum Chosen {
    Emulator(Module),
    Gpu(Gpu),
}

/// The machine that the tests of a kernel file run on.
pub fn machine(image: &'static str) -> Chosen {
    let device = TestDevice::chosen();
    match device {
        TestDevice::Emulator => Chosen::Emulator(module(image)),
        _ => Chosen::Gpu(Gpu::new(image, device.has_emulator().then(|| module(image)))),
    }
}

impl Machine for Chosen {
    fn run(&self, what: &str, launches: &[Prepared], buffers: &mut Buffers) -> Vec<Vec<u8>> {
        match self {
            Chosen::Emulator(module) => module.run(what, launches, buffers),
            Chosen::Gpu(gpu) => gpu.run(what, launches, buffers),
        }
    }

    fn emulator(&self) -> Option<&Module> {
        match self {
            Chosen::Emulator(_) => None,
            Chosen::Gpu(gpu) => gpu.emulator.as_ref(),
        }
    }

    fn note(&self, error: f64, difference: f64) {
        if let Chosen::Gpu(gpu) = self {
            let (cases, errors, differences) = gpu.seen.get();
            gpu.seen.set((cases + 1, errors.max(error), differences.max(difference)));
        }
    }
}

/// Tests on several threads take turns.
static GPU: LazyLock<Mutex<Result<KernelRunner, CudaError>>> =
    LazyLock::new(|| Mutex::new(KernelRunner::new(0)));

/// The first GPU, in the turn of one test.
pub struct Gpu {
    image: &'static str,
    emulator: Option<Module>,
    /// Number of checked cases, their largest error and their largest difference.
    seen: Cell<(usize, f64, f64)>,
}

impl Gpu {
    /// Bytes of poison around a buffer: more than on the emulator, which sees strays by itself.
    const GUARD_BYTES: usize = 4096;

    fn new(image: &'static str, emulator: Option<Module>) -> Gpu {
        if let Err(error) = &*Gpu::lock() {
            panic!("EFFNET_TEST_DEVICE asks for a GPU: {error}");
        }
        Gpu { image, emulator, seen: Cell::default() }
    }

    /// A test that failed leaves nothing half done that another would see.
    fn lock() -> MutexGuard<'static, Result<KernelRunner, CudaError>> {
        GPU.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn try_run(
        gpu: &mut KernelRunner,
        launches: &[Prepared],
        buffers: &Buffers,
    ) -> Result<Vec<Vec<u8>>, CudaError> {
        let mut places: Vec<KernelBuffer> = Vec::new();
        for region in &buffers.regions {
            let mut bytes = vec![buffers.poison; region.len_bytes + 2 * Gpu::GUARD_BYTES];
            if let Some(contents) = &region.contents {
                bytes[Gpu::GUARD_BYTES..][..contents.len()].copy_from_slice(contents);
            }
            let mut place = gpu.alloc(bytes.len())?;
            place.upload(0, &bytes)?;
            places.push(place);
        }
        for launch in launches {
            let params = launch.rebased(|address| {
                let (region, offset) = buffers
                    .find(address)
                    .unwrap_or_else(|| panic!("{}: {address:#x} lies in no buffer", launch.kernel));
                places[region].address() + Gpu::GUARD_BYTES as u64 + offset
            });
            let kernel = KernelId::of(launch.image, launch.kernel)
                .unwrap_or_else(|| panic!("{} is not in the catalogue", launch.kernel));
            // SAFETY: the launch module checked the parameters, whose every address is rebased to a
            // buffer of the length that it had; the same launch is clean on the emulator.
            unsafe { gpu.launch(kernel, launch.geometry, &params)? };
        }
        gpu.synchronize()?;
        places.iter().map(KernelBuffer::download).collect()
    }
}

/// Whether tf32 kernels round their factors where the tests run: on a GPU older than sm_80 they are
/// kernels in f32.
pub fn has_tf32() -> bool {
    !TestDevice::chosen().has_gpu() || Gpu::lock().as_ref().is_ok_and(|gpu| gpu.info().arch >= 80)
}

impl Machine for Gpu {
    fn run(&self, what: &str, launches: &[Prepared], buffers: &mut Buffers) -> Vec<Vec<u8>> {
        let downloads = match &mut *Gpu::lock() {
            Ok(gpu) => Gpu::try_run(gpu, launches, buffers),
            Err(error) => panic!("{what}: {error}"),
        };
        let downloads = downloads.unwrap_or_else(|e| panic!("{what}, on the GPU: {e}"));
        let what = format!("{what}, on the GPU");
        buffers.outputs_of(&what, Gpu::GUARD_BYTES, downloads.into_iter())
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        let (cases, error, difference) = self.seen.get();
        if cases > 0 && !std::thread::panicking() {
            let thread = std::thread::current();
            let test = thread.name().unwrap_or("?");
            let beside = match self.emulator {
                Some(_) => format!(", largest difference from the emulator {difference:.3} of it"),
                None => String::new(),
            };
            // `benches/gpu_check.sh` reads these words.
            println!(
                "{}: {cases} cases, largest error {error:.3} of its bound{beside} ({test})",
                self.image
            );
        }
    }
}
