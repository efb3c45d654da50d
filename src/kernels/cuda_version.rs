//! Releases of CUDA, and which driver runs what which of them made.
//!
//! Source: CUDA Compatibility, "Minor Version Compatibility", and PTX ISA, "PTX Release History".

use super::ptx_versions::PTX_OF_CUDA;
use std::fmt;

/// Of CUDA, as a driver counts it: 1000 times the major version, and 10 times the minor one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CudaVersion(pub i32);

impl CudaVersion {
    /// The release `major.minor`.
    pub const fn new(major: i32, minor: i32) -> CudaVersion {
        CudaVersion(major * 1000 + minor * 10)
    }

    /// The oldest driver for machine code that a ptxas of this release made: the first of the same
    /// major version. Later ones run it as well.
    pub fn oldest_driver(self) -> CudaVersion {
        CudaVersion::new(self.0 / 1000, 0)
    }

    /// The oldest driver that reads a version of PTX (major, then minor). PTX 9.n, where it is later
    /// than the versions known here, is taken for that of CUDA 13.n.
    pub fn that_reads_ptx(ptx: (u32, u32)) -> CudaVersion {
        match PTX_OF_CUDA.iter().find(|(_, newest)| *newest >= ptx) {
            Some(((major, minor), _)) => CudaVersion::new(*major as i32, *minor as i32),
            None => {
                CudaVersion::new(ptx.0.saturating_add(4).min(1000) as i32, ptx.1.min(99) as i32)
            }
        }
    }
}

impl fmt::Display for CudaVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 / 1000, self.0 % 1000 / 10)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machine_code_runs_on_drivers_of_its_major_version() {
        assert_eq!(CudaVersion::new(12, 9).oldest_driver(), CudaVersion(12_000));
        assert_eq!(CudaVersion::new(13, 0).oldest_driver(), CudaVersion(13_000));
        assert_eq!(CudaVersion::new(12, 9).to_string(), "12.9");
    }

    #[test]
    fn ptx_is_read_by_drivers_of_its_release() {
        let reads = CudaVersion::that_reads_ptx;
        assert_eq!(reads((7, 8)), CudaVersion::new(12, 0), "older PTX, by every supported driver");
        assert_eq!(reads((8, 0)), CudaVersion::new(12, 0));
        assert_eq!(reads((8, 3)), CudaVersion::new(12, 3));
        assert_eq!(reads((8, 5)), CudaVersion::new(12, 5));
        assert_eq!(reads((8, 6)), CudaVersion::new(12, 7));
        assert_eq!(reads((9, 0)), CudaVersion::new(13, 0));
        assert_eq!(reads((9, 4)), CudaVersion::new(13, 4));
        assert!(PTX_OF_CUDA.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
    }
}
