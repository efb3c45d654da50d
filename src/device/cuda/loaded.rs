//! This build's kernels on one GPU, and launching one of them.

use super::driver::call;
use super::error::CudaError;
use super::open::{Code, DeviceInfo};
use super::resources::{Context, Module, Stream};
use crate::kernels::{self, Built, Geometry, KernelImage, occupancy};
use crate::launches::KernelId;
use cudarc::driver::sys::{
    CUfunction, CUlaunchAttribute, CUlaunchAttributeID, CUlaunchAttributeValue, CUlaunchConfig,
};
use std::collections::BTreeMap;
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

/// Dynamic shared memory that a kernel has without asking.
const SHARED_WITHOUT_ASKING_BYTES: u32 = 48 * 1024;
/// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES`.
const MAX_DYNAMIC_SHARED: u32 = 8;
/// `CU_FUNC_ATTRIBUTE_PREFERRED_SHARED_MEMORY_CARVEOUT`.
const PREFERRED_CARVEOUT: u32 = 9;

/// Every image, and the kernels of each in the order of the catalogue.
pub struct Loaded {
    context: Arc<Context>,
    functions: Vec<Vec<CUfunction>>,
    /// Dynamic shared memory that kernels may have, where it was asked for.
    asked_shared: BTreeMap<KernelId, u32>,
    block_shared_bytes: u32,
    /// Per cent of a multiprocessor's shared memory that every kernel asks for.
    split_per_cent: u32,
    _modules: Vec<Module>,
}

impl Loaded {
    /// Loads all images on the GPU `info`, which runs `code`.
    pub fn new(
        context: &Arc<Context>,
        built: &Built,
        code: Code,
        info: &DeviceInfo,
    ) -> Result<Loaded, CudaError> {
        let (mut modules, mut functions) = (Vec::new(), Vec::new());
        for (name, entries) in kernels::CATALOGUE {
            let Some(image) = built.images.iter().find(|image| image.name == name) else {
                functions.push(Vec::new());
                continue;
            };
            let module = Module::load(context, name, &unpacked(image, code)?)?;
            functions.push(entries.iter().map(|e| module.function(e)).collect::<Result<_, _>>()?);
            modules.push(module);
        }
        Ok(Loaded {
            context: context.clone(),
            functions,
            asked_shared: BTreeMap::new(),
            block_shared_bytes: info.block_shared_bytes,
            split_per_cent: occupancy::split_per_cent(info.shared_bytes),
            _modules: modules,
        })
    }

    /// The kernel for a launch of this name, allowed `bytes` of dynamic shared memory.
    pub fn function(
        &mut self,
        launch: &str,
        kernel: KernelId,
        bytes: u32,
    ) -> Result<CUfunction, CudaError> {
        let KernelId { image, entry } = kernel;
        let missing = || CudaError::Kernel { launch: launch.to_owned(), image, entry };
        let function =
            *self.functions.get(image).and_then(|list| list.get(entry)).ok_or_else(missing)?;
        let most = self.block_shared_bytes;
        if bytes > most {
            return Err(CudaError::SharedMemory { launch: launch.to_owned(), bytes, most });
        }
        // A kernel keeps the most that any of its launches asks for.
        let asked = self.asked_shared.entry(kernel).or_insert_with(|| {
            // A driver that does not take the hint splits as it likes.
            // SAFETY: the kernel's module is loaded.
            unsafe {
                (self.context.driver.function_set.1)(
                    function,
                    PREFERRED_CARVEOUT,
                    self.split_per_cent as i32,
                )
            };
            SHARED_WITHOUT_ASKING_BYTES
        });
        if bytes > *asked {
            // SAFETY: the kernel's module is loaded.
            unsafe {
                call!(
                    self.context.driver,
                    launch,
                    function_set(function, MAX_DYNAMIC_SHARED, bytes as i32)
                )?;
            }
            *asked = bytes;
        }
        Ok(function)
    }
}

/// A kernel file in the form in which it is loaded.
fn unpacked(image: &KernelImage, code: Code) -> Result<Image, CudaError> {
    Ok(Image::new(&match code {
        Code::Machine(arch) => image.machine_code(arch)?,
        Code::Ptx(_) => image.ptx()?.into_bytes(),
    }))
}

/// Machine code or PTX as a driver takes it: aligned to 16 bytes, and with a zero byte behind it,
/// where a text has to end.
pub struct Image(Vec<u128>);

impl Image {
    fn new(bytes: &[u8]) -> Image {
        let mut words = vec![0; bytes.len() / size_of::<u128>() + 1];
        bytemuck::cast_slice_mut(&mut words)[..bytes.len()].copy_from_slice(bytes);
        Image(words)
    }

    pub fn as_ptr(&self) -> *const c_void {
        self.0.as_ptr().cast()
    }
}

/// Queues one launch. Where it is `dependent` it may begin while the launch before it on the stream
/// still runs; its kernel then waits for that by itself (programmatic dependent launch).
///
/// # Safety
///
/// The kernel's module is loaded. Its only parameter is a struct of as many bytes as `params` has, by
/// which the launch keeps to memory that lives, and that nobody else touches, until the stream has been
/// waited for. A dependent launch's kernel was compiled for a target on which it waits.
pub unsafe fn enqueue(
    stream: &Stream,
    function: CUfunction,
    geometry: Geometry,
    params: &[u8],
    dependent: bool,
) -> Result<(), CudaError> {
    let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (geometry.grid, geometry.block);
    let mut programmatic = CUlaunchAttribute {
        id: CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
        pad: [0; 4],
        value: CUlaunchAttributeValue { programmaticStreamSerializationAllowed: 1 },
    };
    let config = CUlaunchConfig {
        gridDimX: grid_x,
        gridDimY: grid_y,
        gridDimZ: grid_z,
        blockDimX: block_x,
        blockDimY: block_y,
        blockDimZ: block_z,
        sharedMemBytes: geometry.shared_bytes,
        hStream: stream.handle,
        attrs: &mut programmatic,
        numAttrs: u32::from(dependent),
    };
    // A pointer to the only parameter. The driver copies it in this call, and the attribute too.
    let mut params: [*mut c_void; 1] = [params.as_ptr().cast_mut().cast()];
    // SAFETY: the stream lives, and the rest is the caller's promise.
    unsafe {
        call!(
            stream.context.driver,
            "launching a kernel",
            launch(&config, function, params.as_mut_ptr(), null_mut())
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_aligned_and_ends_in_a_zero() {
        for len in [0, 1, 15, 16, 17, 100] {
            let image = Image::new(&vec![7; len]);
            assert_eq!(image.as_ptr() as usize % 16, 0);
            let bytes: &[u8] = bytemuck::cast_slice(&image.0);
            assert!(bytes[..len].iter().all(|&byte| byte == 7) && bytes[len] == 0);
        }
    }
}
