//! Packed files, written: the header, then each tensor's bytes as they are made.

use super::import::safetensors::MAX_HEADER_BYTES;
use super::store::{StoreError, dtype};
use super::{Metadata, PackedTensor, Precision, packed_tensors};
use crate::files::OutputFile;
use half::f16;
use safetensors::tensor::{Metadata as Header, TensorInfo};
use std::cmp::Reverse;
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

/// Bytes of the header are a multiple of this, and so are places of tensors.
const ALIGNMENT: usize = 8;

/// Writes a packed file, as [`OutputFile`] does. `data` holds one vector per tensor of
/// [`packed_tensors`], in that order and in the packed shapes; f16 tensors are rounded to nearest,
/// ties to even. The result is the number of bytes.
///
/// Equal arguments give equal bytes.
///
/// # Panics
///
/// If `data` does not have the tensors' number and sizes: that is a fault of the caller's code.
pub fn write_packed(
    path: &Path,
    metadata: &Metadata,
    data: &[Vec<f32>],
) -> Result<u64, StoreError> {
    write_output(OutputFile::new(path)?, metadata, data)
}

/// [`write_packed`] to a file that is ready.
pub(super) fn write_output(
    output: OutputFile,
    metadata: &Metadata,
    data: &[Vec<f32>],
) -> Result<u64, StoreError> {
    let tensors = packed_tensors(&metadata.network());
    assert_eq!(data.len(), tensors.len(), "one vector per packed tensor");
    let precision = |tensor: &PackedTensor| tensor.precision(metadata.precision);
    let mut outgoing: Vec<_> = tensors.iter().zip(data).collect();
    // As the safetensors library does, so that each tensor is aligned to its elements.
    outgoing.sort_by_cached_key(|(tensor, _)| (Reverse(dtype(precision(tensor))), tensor.name()));

    let mut bytes = 0;
    let infos = outgoing.iter().map(|(tensor, data)| {
        assert_eq!(data.len(), tensor.elems(), "{}", tensor.name());
        let start = bytes;
        bytes += data.len() * precision(tensor).elem_bytes();
        let (dtype, shape) = (dtype(precision(tensor)), tensor.shape.clone());
        (tensor.name(), TensorInfo { dtype, shape, data_offsets: (start, bytes) })
    });
    let infos = infos.collect();
    let json = serde_json::to_string(metadata).expect("metadata has only plain fields");
    let facts = HashMap::from([(Metadata::KEY.to_owned(), json)]);
    let path = output.path().to_owned();
    let header = Header::new(Some(facts), infos).map_err(|source| StoreError::Container {
        path: path.clone(),
        bytes,
        source: source.into(),
    })?;
    let mut header = serde_json::to_vec(&header).expect("a header has only plain fields");
    header.resize(header.len().next_multiple_of(ALIGNMENT), b' ');
    // A file that nobody would read again.
    if header.len() as u64 > MAX_HEADER_BYTES {
        return Err(StoreError::Metadata {
            path,
            field: "labels".into(),
            expected: format!("names that leave the header at {MAX_HEADER_BYTES} bytes at most"),
            found: format!("{} bytes; shorten them, or leave them out", header.len()),
        });
    }

    output.write_with(|to| {
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        outgoing.iter().try_for_each(|(tensor, data)| write_tensor(to, precision(tensor), data))
    })?;
    Ok((size_of::<u64>() + header.len() + bytes) as u64)
}

/// Little-endian elements, row-major.
fn write_tensor(to: &mut dyn Write, precision: Precision, data: &[f32]) -> io::Result<()> {
    match precision {
        Precision::Fp32 => to.write_all(bytemuck::cast_slice(data)),
        Precision::Fp16 => {
            let halves: Vec<f16> = data.iter().map(|&x| f16::from_f32(x)).collect();
            to.write_all(bytemuck::cast_slice(&halves))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::{Padding, Variant};
    use crate::weights::{Labels, stand_in};
    use safetensors::tensor::{Dtype, TensorView, serialize};

    #[test]
    fn a_header_that_nobody_would_read_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed");
        let metadata = Metadata {
            classes: 2,
            labels: Labels::Names(vec!["x".repeat(2_000_000); 2]),
            ..stand_in::metadata(Variant::Lite0, Padding::SameDynamic, Precision::Fp16)
        };
        let tensors = packed_tensors(&metadata.network());
        let data: Vec<_> = tensors.iter().map(|tensor| vec![0.0; tensor.elems()]).collect();
        let error = write_packed(&path, &metadata, &data).unwrap_err().to_string();
        assert!(error.contains("labels: expected names that leave"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    /// The same bytes as the library makes of the same tensors in memory.
    #[test]
    fn the_container_is_the_librarys() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packed");
        for precision in [Precision::Fp16, Precision::Fp32] {
            let metadata = Metadata {
                classes: 3,
                ..stand_in::metadata(Variant::Lite0, Padding::SameDynamic, precision)
            };
            let tensors = packed_tensors(&metadata.network());
            let data: Vec<Vec<f32>> = tensors
                .iter()
                .map(|tensor| (0..tensor.elems()).map(|i| i as f32 * 0.37).collect())
                .collect();
            let written = write_packed(&path, &metadata, &data).unwrap();
            let bytes: Vec<Vec<u8>> = tensors
                .iter()
                .zip(&data)
                .map(|(tensor, data)| match tensor.precision(precision) {
                    Precision::Fp32 => data.iter().flat_map(|x| x.to_le_bytes()).collect(),
                    Precision::Fp16 => {
                        data.iter().flat_map(|&x| f16::from_f32(x).to_le_bytes()).collect()
                    }
                })
                .collect();
            let views = tensors.iter().zip(&bytes).map(|(tensor, bytes)| {
                let dtype = match tensor.precision(precision) {
                    Precision::Fp32 => Dtype::F32,
                    Precision::Fp16 => Dtype::F16,
                };
                (tensor.name(), TensorView::new(dtype, tensor.shape.clone(), bytes).unwrap())
            });
            let json = serde_json::to_string(&metadata).unwrap();
            let facts = HashMap::from([(Metadata::KEY.to_owned(), json)]);
            let expected = serialize(views, Some(facts)).unwrap();
            assert!(std::fs::read(&path).unwrap() == expected, "{precision}");
            assert_eq!(written, expected.len() as u64);
        }
    }
}
