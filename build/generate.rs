//! The Rust text that `src/kernels/mod.rs` includes.

use crate::compile::Kernel;
use crate::resources;
use std::fmt::Write as _;
use std::fs;

/// Images of all kernels.
pub fn built(kernels: &[Kernel], archs: &[u32], version: &str) -> Result<String, String> {
    let release = version.lines().find(|line| line.contains("release")).unwrap_or(version).trim();
    let mut text = format!(
        "static BUILT: Result<Built, NotBuilt> = Ok(Built {{ nvcc: {release:?}, images: &[\n"
    );
    for kernel in kernels {
        let ptx = fs::read_to_string(&kernel.ptx)
            .map_err(|e| format!("cannot read {}: {e}", kernel.ptx.display()))?;
        let entries: Vec<&str> = ptx
            .lines()
            .filter_map(|line| line.split_once(".entry ")?.1.split('(').next().map(str::trim))
            .collect();
        let report = fs::read_to_string(&kernel.report)
            .map_err(|e| format!("cannot read {}: {e}", kernel.report.display()))?;
        let resources: String = resources::parse(&report)?
            .iter()
            .map(|r| {
                format!(
                    "Resources {{ arch: {}, entry: {:?}, registers: {}, shared_bytes: {}, \
                     stack_bytes: {}, spill_store_bytes: {}, spill_load_bytes: {} }}, ",
                    r.arch,
                    r.entry,
                    r.registers,
                    r.shared_bytes,
                    r.stack_bytes,
                    r.spill_store_bytes,
                    r.spill_load_bytes
                )
            })
            .collect();
        let _ = writeln!(
            text,
            "    KernelImage {{ name: {:?}, fatbin: &Aligned(*include_bytes!({:?})).0, \
             ptx: include_str!({:?}), archs: &{archs:?}, entries: &{entries:?}, \
             resources: &[{resources}] }},",
            kernel.name, kernel.fatbin, kernel.ptx
        );
    }
    text.push_str("] });\n");
    Ok(text)
}

/// No images, and why.
pub fn not_built(missing: &str, to_do: &str) -> String {
    format!(
        "static BUILT: Result<Built, NotBuilt> = \
         Err(NotBuilt {{ missing: {missing:?}, to_do: {to_do:?} }});\n"
    )
}
