//! Weights that any number of sessions share.

use crate::buffer;
use crate::call::call;
use crate::error::{Failure, c_string, effnet_error};
use crate::handle::{self, Kind};
use crate::options::{activation_number, precision_number};
use crate::status::effnet_status;
use crate::versioned::{self, versioned};
use effnet::kernels::Compute;
use effnet::weights::{Precision, Weights};
use std::ffi::{CString, c_char};
use std::ptr::null;
use std::sync::Arc;

/// A model: packed weights, opened, with the names of its classes. It never changes: any number of
/// threads may use it at once, and any number of sessions share it.
///
/// It is counted. effnet_model_open gives it held once; effnet_model_retain holds it once more, and
/// effnet_model_release lets go of it once. A session holds what it needs by itself.
pub struct effnet_model(());

/// Read the packed weights into memory instead of mapping their file: nothing that happens to the
/// file afterwards matters.
pub const EFFNET_MODEL_COPY: u32 = 1;

/// Behind an [`effnet_model`].
pub struct Model {
    pub weights: Arc<Weights>,
    name: CString,
    variant: CString,
    family: CString,
    /// None where the names are unknown.
    labels: Option<Vec<CString>>,
}

impl Kind for Model {
    const MAGIC: u64 = u64::from_le_bytes(*b"effn_mod");
    const NAME: &'static str = "effnet_model";
    type Opaque = effnet_model;
}

impl Model {
    pub fn new(weights: Weights) -> Model {
        let metadata = weights.metadata();
        let labels = &metadata.labels;
        let labels = labels.count().map(|_| {
            (0..metadata.classes)
                .map(|class| c_string(labels.name(class).unwrap_or_default()))
                .collect()
        });
        Model {
            name: c_string(&metadata.name),
            variant: c_string(metadata.variant.name()),
            family: c_string(metadata.family.name()),
            labels,
            weights: Arc::new(weights),
        }
    }
}

/// What there is to know of a model. Fields are added at its end alone. Texts are UTF-8 and live as
/// long as the model.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct effnet_model_info {
    /// sizeof(effnet_model_info), set by the caller.
    pub struct_size: usize,
    /// The checkpoint's name.
    pub name: *const c_char,
    /// The network's, as "efficientnet-b0".
    pub variant: *const c_char,
    /// Whose conventions the model follows, as "timm".
    pub family: *const c_char,
    /// Classes, and logits of an image; 0 where there is no classifier, and only features can be
    /// had.
    pub classes: u32,
    /// Features of an image.
    pub features: u32,
    /// Height of the images that the model was made for.
    pub height: u32,
    /// Width of the images that the model was made for.
    pub width: u32,
    /// An effnet_precision: that of the stored weights.
    pub precision: i32,
    /// An effnet_activation: the model's.
    pub activation: i32,
    /// Length of the packed file.
    pub file_bytes: u64,
}

versioned!(effnet_model_info {
    struct_size: usize,
    name: *const c_char,
    variant: *const c_char,
    family: *const c_char,
    classes: u32,
    features: u32,
    height: u32,
    width: u32,
    precision: i32,
    activation: i32,
    file_bytes: u64,
});

/// Opens packed weights, as `effnet import`, `effnet pull` and effnet_import_checkpoint write them.
/// flags is 0 or EFFNET_MODEL_COPY.
///
/// Without that flag the file is mapped, and read when it is needed: it must not be changed or
/// truncated while the model or a session of it lives. To replace it, rename another file over it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_model_open(
    path: *const c_char,
    flags: u32,
    model: *mut *mut effnet_model,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a place for a handle: the caller's promise.
        let mut model = unsafe { buffer::place("model", model) }?;
        model.set(std::ptr::null_mut());
        // SAFETY: NULL, or a text: the caller's promise.
        let path = unsafe { buffer::path("path", path) }?;
        let weights = match flags {
            0 => Weights::open(path)?,
            EFFNET_MODEL_COPY => Weights::open_copied(path)?,
            found => {
                let fault = format!("flags: expected 0 or EFFNET_MODEL_COPY, found {found:#x}");
                return Err(Failure::argument(fault));
            }
        };
        model.set(handle::new(Model::new(weights)));
        Ok(())
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// Holds a model once more, for another owner.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_model_retain(model: *mut effnet_model) -> effnet_status {
    // SAFETY: NULL, or a handle: the caller's promise.
    let work = || unsafe { handle::retain::<Model>(model) };
    // SAFETY: nobody is told the words.
    unsafe { call(std::ptr::null_mut(), work) }
}

/// Lets go of a model once; the last time gives it back. Does nothing for NULL. Sessions of it live
/// on.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_model_release(model: *mut effnet_model) {
    let work = || {
        // SAFETY: NULL, or a handle that the caller does not use again: the caller's promise.
        drop(unsafe { handle::release::<Model>(model) });
        Ok(())
    };
    // SAFETY: nobody is told the words.
    unsafe { call(std::ptr::null_mut(), work) };
}

/// Tells of a model. info->struct_size is set by the caller.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_model_get_info(
    model: *const effnet_model,
    info: *mut effnet_model_info,
    error: *mut *mut effnet_error,
) -> effnet_status {
    let work = || {
        // SAFETY: NULL, or a handle: the caller's promise.
        let model = unsafe { handle::get::<Model>(model) }?;
        let weights = &model.weights;
        let metadata = weights.metadata();
        let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        let stored = match metadata.precision {
            Precision::Fp16 => Compute::Fp16,
            Precision::Fp32 => Compute::Fp32,
        };
        let value = effnet_model_info {
            struct_size: size_of::<effnet_model_info>(),
            name: model.name.as_ptr(),
            variant: model.variant.as_ptr(),
            family: model.family.as_ptr(),
            classes: number(metadata.classes),
            features: number(weights.network().c_head),
            height: number(metadata.recipe.size.h),
            width: number(metadata.recipe.size.w),
            precision: precision_number(stored),
            activation: activation_number(metadata.activation()),
            file_bytes: weights.file_bytes() as u64,
        };
        // SAFETY: NULL, or a struct that begins with its own length: the caller's promise.
        unsafe { versioned::write(info, value) }
    };
    // SAFETY: NULL, or a place for an error: the caller's promise.
    unsafe { call(error, work) }
}

/// The name of a class, UTF-8, which lives as long as the model; NULL where the names are unknown,
/// where there is no such class, and for what is no model.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn effnet_model_label(
    model: *const effnet_model,
    index: u32,
) -> *const c_char {
    // SAFETY: NULL, or a handle: the caller's promise.
    let Ok(model) = (unsafe { handle::get::<Model>(model) }) else { return null() };
    let labels = model.labels.as_deref().unwrap_or_default();
    labels.get(index as usize).map_or(null(), |label| label.as_ptr())
}
