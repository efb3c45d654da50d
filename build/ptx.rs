//! PTX as text: nvcc's, made fit for older drivers and for another ptxas.

pub use crate::ptx_versions::PTX_OF_CUDA;
use std::path::Path;

/// A release of CUDA or a version of PTX: the major number, then the minor one.
pub type Release = (u32, u32);

/// The release that `nvcc --version` or `ptxas --version` names: `release 13.0, V13.0.88`.
pub fn release_of(version: &str) -> Option<Release> {
    parse(version.split_once("release ")?.1.split(',').next()?)
}

fn parse(release: &str) -> Option<Release> {
    let (major, minor) = release.trim().split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The newest PTX that a ptxas of this release of CUDA reads.
pub fn read_by(cuda: Release) -> Release {
    let before = PTX_OF_CUDA.iter().rev().find(|(release, _)| *release <= cuda);
    before.unwrap_or(&PTX_OF_CUDA[0]).1
}

/// The `.version` of a text.
pub fn version_of(text: &str) -> Result<Release, String> {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(".version "));
    line.and_then(parse).ok_or_else(|| "nvcc's PTX names no .version".to_owned())
}

/// The text under another `.version`, which names what it may contain and changes nothing else.
pub fn with_version(text: &str, (major, minor): Release) -> String {
    let line = |line: &str| match line.trim().starts_with(".version ") {
        true => format!(".version {major}.{minor}\n"),
        false => line.to_owned(),
    };
    text.split_inclusive('\n').map(line).collect()
}

/// nvcc's text without what older readers do not know and nobody needs, and with the names of files
/// relative to the project: reports are to say `kernels/depthwise.cu`, wherever the project lies.
pub fn cleaned(text: &str, root: &Path) -> String {
    let prefix = format!("\"{}/", root.display());
    text.split_inclusive('\n')
        // A hint on vectors of which only some bytes are used, which needs PTX 8.3.
        .filter(|line| !line.trim_start().starts_with(".pragma \"used_bytes_mask "))
        .map(|line| match line.trim_start().starts_with(".file") {
            true => line.replacen(&prefix, "\"", 1),
            false => line.to_owned(),
        })
        .collect()
}
