//! Files of little-endian f32.

use std::io;
use std::path::Path;

fn named(path: &Path, message: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("{}: {message}", path.display()))
}

/// The first `elems` elements of a file.
pub(super) fn read_f32(path: &Path, elems: usize) -> io::Result<Vec<f32>> {
    let bytes = std::fs::read(path).map_err(|error| named(path, error))?;
    let found = bytes.len();
    let wanted = elems.checked_mul(size_of::<f32>()).and_then(|n| bytes.get(..n));
    let Some(wanted) = wanted else {
        return Err(named(
            path,
            format!("expected {elems} numbers of 4 bytes, found {found} bytes"),
        ));
    };
    let (numbers, _) = wanted.as_chunks::<4>();
    Ok(numbers.iter().map(|&number| f32::from_le_bytes(number)).collect())
}

/// Writes all of `values`.
pub(super) fn write_f32(path: &Path, values: &[f32]) -> io::Result<()> {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    std::fs::write(path, bytes).map_err(|error| named(path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_what_is_short_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("values.f32");
        write_f32(&path, &[1.0, -2.5, 3e-8]).unwrap();
        assert_eq!(read_f32(&path, 2).unwrap(), [1.0, -2.5]);
        let error = read_f32(&path, 4).unwrap_err().to_string();
        assert!(error.contains("expected 4 numbers") && error.contains("12 bytes"), "{error}");
        assert!(read_f32(&path, usize::MAX).is_err());
        let error = read_f32(&folder.path().join("none"), 1).unwrap_err().to_string();
        assert!(error.contains("none: "), "{error}");
    }
}
