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
    let text = text
        .split_inclusive('\n')
        // A hint on vectors of which only some bytes are used, which needs PTX 8.3.
        .filter(|line| !line.trim_start().starts_with(".pragma \"used_bytes_mask "))
        .map(|line| match line.trim_start().starts_with(".file") {
            true => line.replacen(&prefix, "\"", 1),
            false => line.to_owned(),
        })
        .collect::<String>();
    without_module_ids(&text)
}

/// Names in the debug information are decimal bytes. Those of functions of one file alone have in them
/// a number that nvcc makes of the file's whole path: zeros here, so that two folders give the same
/// bytes.
fn without_module_ids(text: &str) -> String {
    /// What stands before the number, which has eight hexadecimal digits.
    const MARK: &[u8] = b"_INTERNAL_";
    let bytes_of = |line: &str| -> Option<Vec<u8>> {
        let list = line.strip_prefix(".b8 ")?.split(',');
        list.map(|byte| byte.trim().parse().ok()).collect()
    };
    let mut out = String::with_capacity(text.len());
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = bytes_of(line) else {
            out.push_str(line);
            out.push('\n');
            continue;
        };
        // A name goes on in the lines below.
        let mut name = vec![first];
        while let Some(next) = lines.peek().and_then(|line| bytes_of(line)) {
            name.push(next);
            lines.next();
        }
        let mut bytes = name.concat();
        let mut at = 0;
        while let Some(found) = bytes[at..].windows(MARK.len()).position(|part| part == MARK) {
            at += found + MARK.len();
            if let Some(id) = bytes.get_mut(at..at + 8)
                && id.iter().all(u8::is_ascii_hexdigit)
            {
                id.fill(b'0');
            }
        }
        let mut rest = &bytes[..];
        for length in name.iter().map(Vec::len) {
            let (line, behind) = rest.split_at(length);
            rest = behind;
            let line: Vec<String> = line.iter().map(u8::to_string).collect();
            out.push_str(&format!(".b8 {}\n", line.join(",")));
        }
    }
    out
}
