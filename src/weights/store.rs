//! Packed files: written once by the importer, mapped and validated by everything else.

use super::import::safetensors::{HeaderError, read_header};
use super::{Metadata, PackedTensor, Precision, TensorId, packed_tensors};
use crate::arch::Network;
use crate::files::OutputError;
use crate::mapped::{FileError, MappedFile};
use crate::memory::{self, TooLittleMemory};
use half::f16;
use safetensors::tensor::Dtype;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Why a packed file could not be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file system said no.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// A folder, a device or a pipe, none of which can be mapped.
    #[error(
        "{path}: expected a file of packed weights, as `effnet import` writes it, found {found}",
        path = path.display()
    )]
    NotAFile {
        /// The path given.
        path: PathBuf,
        /// What is there, in words.
        found: &'static str,
    },
    /// The file had another length when it was opened: another program truncated it or wrote to it.
    #[error(
        "{path}: expected the {expected} bytes that it had when it was opened, found {found}: \
         another program changed the file while it was in use; import or fetch it again, and \
         replace packed files by renaming a whole one over them",
        path = path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its length when it was opened.
        expected: u64,
        /// Its length now.
        found: u64,
    },
    /// The packed file cannot be written.
    #[error(transparent)]
    Output(#[from] OutputError),
    /// A copy of the file would need more memory than this process can have.
    #[error("{path}: {source}: free some, or map the file", path = path.display())]
    TooLittleMemory {
        /// The file.
        path: PathBuf,
        /// What there is.
        source: TooLittleMemory,
    },
    /// The file is not a safetensors file, or is damaged.
    #[error(
        "{path}: not a valid safetensors file of {bytes} bytes: {source}; expected packed \
         weights: run `effnet import` on the checkpoint, which may be this file, and use what it \
         writes",
        path = path.display()
    )]
    Container {
        /// The file.
        path: PathBuf,
        /// Length of the file.
        bytes: usize,
        /// Error of the safetensors reader.
        source: HeaderError,
    },
    /// A safetensors file that is no packed file.
    #[error(
        "{path}: a safetensors file without '{key}' metadata, so not a packed file; if it is a \
         checkpoint, run `effnet import {path}` first",
        path = path.display(), key = Metadata::KEY
    )]
    NotPacked {
        /// The file.
        path: PathBuf,
    },
    /// The metadata cannot be understood.
    #[error("{path}: metadata field {field}: expected {expected}, found {found}", path = path.display())]
    Metadata {
        /// The file.
        path: PathBuf,
        /// The field at fault.
        field: String,
        /// The right value.
        expected: String,
        /// The value in the file.
        found: String,
    },
    /// Packed by another version of the program.
    #[error(
        "{path}: layout version {found}, expected {expected}; import the checkpoint again",
        path = path.display(), expected = Metadata::LAYOUT_VERSION
    )]
    LayoutVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: u64,
    },
    /// Tensors are missing, unexpected, or of another type or shape: all of them, one a line.
    #[error("{path}: {count} tensors do not fit {variant}:\n{list}",
            path = path.display(), count = faults.len(), list = faults.join("\n"))]
    Tensors {
        /// The file.
        path: PathBuf,
        /// The variant that the metadata names.
        variant: &'static str,
        /// `name: expected ..., found ...`.
        faults: Vec<String>,
    },
}

impl StoreError {
    fn of_file(path: &Path, error: FileError) -> StoreError {
        let path = path.to_owned();
        match error {
            FileError::Io(source) => StoreError::Io { path, source },
            FileError::NotAFile(found) => StoreError::NotAFile { path, found },
            FileError::Changed { expected, found } => StoreError::Changed { path, expected, found },
        }
    }
}

/// An open packed file: metadata, and typed views of its bytes.
///
/// The file is mapped by [`open`](Weights::open), which asks that it stay as it is, and read into
/// memory by [`open_copied`](Weights::open_copied), which asks nothing.
#[derive(Debug)]
pub struct Weights {
    file: MappedFile,
    path: PathBuf,
    metadata: Metadata,
    network: Network,
    tensors: Vec<PackedTensor>,
    /// Byte range of each tensor, by [`TensorId`].
    ranges: Vec<Range<usize>>,
}

/// The type of elements in the container.
pub(super) fn dtype(precision: Precision) -> Dtype {
    match precision {
        Precision::Fp16 => Dtype::F16,
        Precision::Fp32 => Dtype::F32,
    }
}

impl Weights {
    /// Maps and validates a packed file. No tensor is read or copied.
    ///
    /// # The file while it is open
    ///
    /// Nobody may truncate or change the file while the weights live. To replace it, rename another
    /// file over it, as [`write_packed`](super::write_packed) and [`import`](fn@super::import) do: the mapping keeps the
    /// old one. The promise is the caller's, since no system that this runs on can hold other
    /// programs to it. If it is broken:
    ///
    /// - a truncated file is [`StoreError::Changed`] to [`check`](Weights::check), which every run
    ///   on the CPU and every upload to a device asks;
    /// - a read beyond the new end before that ends the process with SIGBUS, which the program
    ///   `effnet` tells as a message and exit status 2;
    /// - where bytes are overwritten, numbers are wrong. No read is out of bounds: lengths and
    ///   offsets come from a copy of the header. Rust calls it undefined behaviour nonetheless, as
    ///   it does for every mapped file that changes behind a shared reference.
    ///
    /// [`open_copied`](Weights::open_copied) is for those who cannot promise.
    ///
    /// # Errors
    ///
    /// If there is no such file, if it is a folder, pipe, socket or device (none of which is
    /// opened), or if it is no valid packed file.
    pub fn open(path: &Path) -> Result<Weights, StoreError> {
        let file = MappedFile::open(path).map_err(|error| StoreError::of_file(path, error))?;
        Weights::validate(file, path.to_owned())
    }

    /// Reads a packed file into memory, as large as the file, and validates it as
    /// [`open`](Weights::open) does. What happens to the file afterwards does not matter.
    ///
    /// # Errors
    ///
    /// As of [`open`](Weights::open); also [`StoreError::Changed`] for a file whose length changes
    /// while it is read.
    pub fn open_copied(path: &Path) -> Result<Weights, StoreError> {
        // Validated first: memory is asked for only as large as the header justifies.
        let bytes = Weights::open(path)?.file_bytes() as u64;
        memory::require(|| "the packed weights".into(), bytes)
            .map_err(|source| StoreError::TooLittleMemory { path: path.to_owned(), source })?;
        let file = MappedFile::copied(path).map_err(|error| StoreError::of_file(path, error))?;
        Weights::validate(file, path.to_owned())
    }

    /// A packed file's bytes, validated like a file: for tests and fuzzing.
    pub fn from_bytes(bytes: &[u8]) -> Result<Weights, StoreError> {
        let path = PathBuf::from("(memory)");
        match MappedFile::of_bytes(bytes) {
            Ok(file) => Weights::validate(file, path),
            Err(source) => Err(StoreError::Io { path, source }),
        }
    }

    /// Whether the file still has the length that it had when it was opened; weights that were
    /// copied always have. One call of the system, which allocates nothing.
    ///
    /// # Errors
    ///
    /// [`StoreError::Changed`] if it has not: no tensor should be read any more.
    pub fn check(&self) -> Result<(), StoreError> {
        self.file.check().map_err(|error| StoreError::of_file(&self.path, error))
    }

    fn validate(map: MappedFile, path: PathBuf) -> Result<Weights, StoreError> {
        let container =
            |source| StoreError::Container { path: path.clone(), bytes: map.len(), source };
        let (data_start, header) = read_header(&map).map_err(container)?;

        let json = header
            .metadata()
            .as_ref()
            .and_then(|metadata| metadata.get(Metadata::KEY))
            .ok_or_else(|| StoreError::NotPacked { path: path.clone() })?;
        let fault = |field: &str, expected: String, found: String| StoreError::Metadata {
            path: path.clone(),
            field: field.to_owned(),
            expected,
            found,
        };
        // The version first: another version may have other fields.
        let value: serde_json::Value = serde_json::from_str(json)
            .map_err(|error| fault(Metadata::KEY, "a JSON object".into(), error.to_string()))?;
        let version = value
            .get("layout_version")
            .and_then(serde_json::Value::as_u64)
            .ok_or_else(|| fault("layout_version", "a whole number".into(), "none".into()))?;
        if version != u64::from(Metadata::LAYOUT_VERSION) {
            return Err(StoreError::LayoutVersion { path, found: version });
        }
        let metadata: Metadata = serde_json::from_value(value)
            .map_err(|error| fault(Metadata::KEY, "every field".into(), error.to_string()))?;
        if let Some((field, expected, found)) = metadata.fault() {
            return Err(fault(field, expected, found));
        }

        let network = metadata.network();
        let tensors = packed_tensors(&network);
        let mut present = header.tensors();
        let mut ranges = Vec::with_capacity(tensors.len());
        let mut faults = Vec::new();
        for tensor in &tensors {
            let name = tensor.name();
            let expected = dtype(tensor.precision(metadata.precision));
            match present.remove(&name) {
                None => faults.push(format!(
                    "  {name}: expected {expected:?} {:?}, found nothing",
                    tensor.shape
                )),
                Some(found) if found.dtype != expected || found.shape != tensor.shape => faults
                    .push(format!(
                        "  {name}: expected {expected:?} {:?}, found {:?} {:?}",
                        tensor.shape, found.dtype, found.shape
                    )),
                Some(found) => {
                    let (start, end) = found.data_offsets;
                    let aligned = (data_start + start).is_multiple_of(expected.bitsize() / 8);
                    if !aligned {
                        faults.push(format!("  {name}: its data is not aligned to its elements"));
                    }
                    ranges.push(data_start + start..data_start + end);
                }
            }
        }
        let mut extra: Vec<_> = present.into_iter().collect();
        extra.sort_by(|a, b| a.0.cmp(&b.0));
        faults.extend(extra.into_iter().map(|(name, found)| {
            format!("  {name}: expected nothing, found {:?} {:?}", found.dtype, found.shape)
        }));
        if !faults.is_empty() {
            return Err(StoreError::Tensors { path, variant: metadata.variant.name(), faults });
        }
        Ok(Weights { file: map, path, metadata, network, tensors, ranges })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file.
    pub fn file_bytes(&self) -> usize {
        self.file.len()
    }

    /// Metadata of the packed file.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The network that the weights belong to.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The tensors, in the order of their ids.
    pub fn tensors(&self) -> &[PackedTensor] {
        &self.tensors
    }

    /// A tensor's bytes: little-endian, row-major.
    pub fn bytes(&self, id: TensorId) -> &[u8] {
        &self.file[self.ranges[id.0 as usize].clone()]
    }

    /// Lets the system take back the memory of a tensor that has been copied elsewhere. Reading the
    /// tensor again is allowed, and reads the file.
    pub(crate) fn release(&self, id: TensorId) {
        self.file.release(self.ranges[id.0 as usize].clone());
    }

    /// A tensor's elements, where they are stored as f32.
    pub fn f32(&self, id: TensorId) -> Option<&[f32]> {
        let precision = self.tensors[id.0 as usize].precision(self.metadata.precision);
        (precision == Precision::Fp32).then(|| bytemuck::cast_slice(self.bytes(id)))
    }

    /// A tensor's elements, where they are stored as f16.
    pub fn f16(&self, id: TensorId) -> Option<&[f16]> {
        let precision = self.tensors[id.0 as usize].precision(self.metadata.precision);
        (precision == Precision::Fp16).then(|| bytemuck::cast_slice(self.bytes(id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Padding, Size, Variant};
    use crate::image::{Framing, Interpolation, Recipe, Rounding, ShortSide};
    use crate::weights::write_packed;
    use crate::weights::{Family, Labels, Source};

    fn metadata(precision: Precision) -> Metadata {
        Metadata {
            layout_version: Metadata::LAYOUT_VERSION,
            name: "test".into(),
            variant: Variant::Lite0,
            family: Family::Timm,
            precision,
            padding: Padding::Symmetric,
            bn_eps: 1e-5,
            recipe: Recipe {
                interpolation: Interpolation::PillowBicubic,
                framing: Framing::ResizeThenCrop {
                    short_side: ShortSide::CropPct(0.875),
                    rounding: Rounding::Torchvision,
                },
                mean: [0.5; 3],
                std: [0.5; 3],
                exif_orientation: false,
                size: Size::square(224),
            },
            classes: 7,
            activation: None,
            labels: Labels::None,
            source: Source {
                file_name: "x.pth".into(),
                sha256: "0".repeat(64),
                container: "PyTorch zip".into(),
            },
        }
    }

    /// Packed bytes whose element `i` of tensor `t` is `t + i / 4096`.
    fn packed(metadata: &Metadata) -> Vec<u8> {
        let network = metadata.network();
        let data: Vec<Vec<f32>> = packed_tensors(&network)
            .iter()
            .enumerate()
            .map(|(t, tensor)| (0..tensor.elems()).map(|i| value(t, i)).collect())
            .collect();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed.safetensors");
        write_packed(&path, metadata, &data).unwrap();
        std::fs::read(path).unwrap()
    }

    fn value(t: usize, i: usize) -> f32 {
        t as f32 + (i % 4096) as f32 / 4096.0
    }

    #[test]
    fn what_is_written_is_read_back() {
        for precision in [Precision::Fp16, Precision::Fp32] {
            let metadata = metadata(precision);
            let weights = Weights::from_bytes(&packed(&metadata)).unwrap();
            assert_eq!(*weights.metadata(), metadata);
            for (t, tensor) in weights.tensors().iter().enumerate() {
                let id = TensorId(t as u32);
                let i = tensor.elems() - 1;
                match tensor.precision(precision) {
                    Precision::Fp32 => assert_eq!(weights.f32(id).unwrap()[i], value(t, i)),
                    Precision::Fp16 => {
                        assert_eq!(weights.f16(id).unwrap()[i], f16::from_f32(value(t, i)));
                        assert!(weights.f32(id).is_none());
                    }
                }
            }
        }
    }

    #[test]
    fn equal_imports_give_equal_bytes() {
        let metadata = metadata(Precision::Fp16);
        assert_eq!(packed(&metadata), packed(&metadata));
    }

    /// Replaces text in the header, keeping its length with spaces.
    fn with_header(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let header = std::str::from_utf8(&bytes[8..8 + length]).unwrap();
        assert!(header.contains(from), "{from}");
        let mut header = header.replacen(from, to, 1).trim_end().to_owned();
        let padded = header.len().next_multiple_of(8);
        header.push_str(&" ".repeat(padded - header.len()));
        [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &bytes[8 + length..]].concat()
    }

    #[test]
    fn each_fault_has_its_own_error() {
        let good = packed(&metadata(Precision::Fp16));
        let q = "\\\"";
        #[rustfmt::skip]
        let table: Vec<(&str, Vec<u8>, &str)> = vec![
            ("empty", vec![], "not a valid safetensors file"),
            ("seven_bytes", good[..7].to_vec(), "not a valid safetensors file"),
            ("header_cut", good[..100].to_vec(), "not a valid safetensors file"),
            ("data_cut", good[..good.len() - 1].to_vec(), "not a valid safetensors file"),
            ("trailing_byte", [&good[..], b"x"].concat(), "not a valid safetensors file"),
            ("huge_header", [&u64::MAX.to_le_bytes(), &good[8..]].concat(), "not a valid"),
            ("long_header", [&4_000_001u64.to_le_bytes(), &vec![b'{'; 4_000_001][..]].concat(),
             "header: expected at most 4000000 bytes, found 4000001"),
            ("no_metadata", with_header(&good, "\"effnet\"", "\"other\""), "not a packed file"),
            ("other_version", with_header(&good, "layout_version\\\":1", "layout_version\\\":2"),
             "layout version 2, expected 1"),
            ("unknown_variant", with_header(&good, "lite0", "lite9"), "unknown variant 'lite9'"),
            ("classes_disagree", with_header(&good, "classes\\\":7", "classes\\\":8"),
             "classifier.bias: expected F32 [8], found F32 [7]"),
            ("no_classes", with_header(&good, "classes\\\":7", "classes\\\":0"),
             "classifier.bias: expected F32 [1], found F32 [7]"),
            ("too_many_classes", with_header(&good, "classes\\\":7", "classes\\\":1048577"),
             "classes: expected at most 1048576, found 1048577"),
            ("labels_disagree",
             with_header(&good, &format!("labels{q}:{q}none{q}"), &format!("labels{q}:{q}imagenet1k{q}")),
             "labels: expected 7 names, found 1000"),
            ("eps_of_zero", with_header(&good, "bn_eps\\\":0.00001", "bn_eps\\\":0.0"), "bn_eps"),
            ("tensor_renamed", with_header(&good, "blocks.3.expand.scale", "blocks.3.expand.spale"),
             "blocks.3.expand.spale: expected nothing"),
        ];
        for (name, bytes, expected) in table {
            let error = Weights::from_bytes(&bytes).expect_err(name).to_string();
            assert!(error.contains(expected), "{name}: {error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Weights::open(Path::new("no/such/file")).unwrap_err().to_string();
        assert!(error.starts_with("no/such/file: "), "{error}");
    }
}
