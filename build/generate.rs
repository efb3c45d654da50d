//! The Rust text that `src/kernels/mod.rs` includes.

use crate::compile::{self, Kernel, PTX_ARCH, read};
use crate::nvcc::Nvcc;
use crate::ptx;
use crate::ptxas::Assemblers;
use crate::resources;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Images of all kernels.
pub fn built(
    kernels: &[Kernel],
    archs: &[u32],
    nvcc: &Nvcc,
    assemblers: &Assemblers,
    listed: &Result<Vec<u32>, String>,
) -> Result<String, String> {
    let version = &nvcc.version;
    let release = version.lines().find(|line| line.contains("release")).unwrap_or(version).trim();
    let (mut ptx_version, mut images) = ((0, 0), String::new());
    for kernel in kernels {
        let ptx = read(&kernel.ptx)?;
        ptx_version = ptx_version.max(ptx::version_of(&ptx)?);
        let entries: Vec<&str> = ptx
            .lines()
            .filter_map(|line| line.split_once(".entry ")?.1.split('(').next().map(str::trim))
            .collect();
        let (mut machine_code, mut resources) = (String::new(), String::new());
        let mut listings = String::new();
        for code in &kernel.machine_code {
            let _ = write!(machine_code, "({}, {}), ", code.arch, packed(&code.cubin)?);
            if let Some(listing) = &code.listing {
                let _ = write!(listings, "({}, {}), ", code.arch, packed(listing)?);
            }
            for r in resources::parse(&read(&compile::report_of(&code.cubin))?)? {
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
            images,
            "    KernelImage {{ name: {:?}, machine_code: &[{machine_code}], ptx: {}, \
             listings: &[{listings}], entries: &{entries:?}, resources: &[{resources}] }},",
            kernel.name,
            packed(&kernel.ptx)?
        );
    }
    let ptxas: String = archs
        .iter()
        .filter_map(|&arch| assemblers.of(arch))
        .map(|ptxas| format!("CudaVersion::new({}, {}), ", ptxas.release.0, ptxas.release.1))
        .collect();
    let listed = match listed {
        Ok(listed) => format!("Ok(&{listed:?})"),
        Err(why) => format!("Err({why:?})"),
    };
    Ok(format!(
        "static BUILT: Result<Built, NotBuilt> = Ok(Built {{ nvcc: {release:?}, archs: &{archs:?}, \
         listed: {listed}, \
         ptxas: &[{ptxas}], ptx_arch: {PTX_ARCH}, ptx_version: {ptx_version:?}, images: &[\n\
         {images}] }});\n"
    ))
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
