//! The Rust text that `src/kernels/mod.rs` includes.

use crate::compile::{self, Kernel, PTX_ARCH};
use crate::resources;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Images of all kernels.
pub fn built(kernels: &[Kernel], archs: &[u32], version: &str) -> Result<String, String> {
    let release = version.lines().find(|line| line.contains("release")).unwrap_or(version).trim();
    let mut text = format!(
        "static BUILT: Result<Built, NotBuilt> = Ok(Built {{ nvcc: {release:?}, \
         archs: &{archs:?}, ptx_arch: {PTX_ARCH}, images: &[\n"
    );
    for kernel in kernels {
        let read = |path: &Path| {
            fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
        };
        let ptx = read(&kernel.ptx)?;
        let entries: Vec<&str> = ptx
            .lines()
            .filter_map(|line| line.split_once(".entry ")?.1.split('(').next().map(str::trim))
            .collect();
        let (mut machine_code, mut resources) = (String::new(), String::new());
        for (arch, cubin) in &kernel.machine_code {
            let _ = write!(machine_code, "({arch}, {}), ", packed(cubin)?);
            for r in resources::parse(&read(&compile::report_of(cubin))?)? {
                let _ = write!(
                    resources,
                    "Resources {{ arch: {}, entry: {:?}, registers: {}, shared_bytes: {}, \
                     stack_bytes: {}, spill_store_bytes: {}, spill_load_bytes: {} }}, ",
                    r.arch,
                    r.entry,
                    r.registers,
                    r.shared_bytes,
                    r.stack_bytes,
                    r.spill_store_bytes,
                    r.spill_load_bytes
                );
            }
        }
        let _ = writeln!(
            text,
            "    KernelImage {{ name: {:?}, machine_code: &[{machine_code}], ptx: {}, \
             entries: &{entries:?}, resources: &[{resources}] }},",
            kernel.name,
            packed(&kernel.ptx)?
        );
    }
    text.push_str("] });\n");
    Ok(text)
}

/// The packed form of a file, with the file's own length.
fn packed(file: &Path) -> Result<String, String> {
    let bytes = fs::metadata(file).map_err(|e| format!("cannot read {}: {e}", file.display()))?;
    let packed = compile::packed_of(file);
    Ok(format!("Packed {{ len_bytes: {}, zlib: include_bytes!({packed:?}) }}", bytes.len()))
}

/// No images, and why.
pub fn not_built(missing: &str, to_do: &str) -> String {
    format!(
        "static BUILT: Result<Built, NotBuilt> = \
         Err(NotBuilt {{ missing: {missing:?}, to_do: {to_do:?} }});\n"
    )
}
