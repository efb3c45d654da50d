//! Compiles `kernels/*.cu` and embeds the result.
//!
//! Every kernel file becomes machine code for each target, and one PTX text with line information,
//! which the emulator runs and which drivers compile for GPUs that come later; all of it packed. Both
//! are of forms that drivers since CUDA 12.0 load, where `build/ptxas.rs` finds a ptxas of CUDA 12.
//! `src/kernels/mod.rs` includes the `kernel_images.rs` that is written here. Without nvcc the host
//! still builds, with an empty list. The licences of what is built in are packed and embedded too.
//!
//! | variable | meaning |
//! |---|---|
//! | `EFFNET_NVCC` | the nvcc to use, before any other |
//! | `EFFNET_PTXAS` | the ptxas of CUDA 12 to use, before any other |
//! | `EFFNET_CUDA_ARCHS` | targets instead of the default ones, as in `80,90`; `ptx`: PTX alone |
//! | `EFFNET_REQUIRE_KERNELS` | `1`: a missing nvcc is an error |
//!
//! Tests that need kernels are ignored, with the reason, unless `cfg(kernels)` is set; those that
//! need machine code of a target also look at `cfg(kernel_target = "90")`.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/generate.rs"]
mod generate;
#[path = "build/nvcc.rs"]
mod nvcc;
#[path = "build/pack.rs"]
mod pack;
#[path = "build/provenance.rs"]
mod provenance;
#[path = "build/ptx.rs"]
mod ptx;
#[path = "src/kernels/ptx_versions.rs"]
mod ptx_versions;
#[path = "build/ptxas.rs"]
mod ptxas;
#[path = "build/resources.rs"]
mod resources;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

/// Licences of what is built in, which the program carries.
const NOTICES: &str = "THIRD-PARTY-NOTICES";

fn main() -> ExitCode {
    println!("cargo::rustc-check-cfg=cfg(kernels)");
    println!("cargo::rustc-check-cfg=cfg(kernel_target, values(any()))");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=src/kernels/ptx_versions.rs");
    println!("cargo:rerun-if-changed={NOTICES}");
    for name in [
        "EFFNET_NVCC",
        "EFFNET_PTXAS",
        "CUDA_HOME",
        "CUDA_PATH",
        "EFFNET_CUDA_ARCHS",
        "EFFNET_REQUIRE_KERNELS",
        "NVCC_CCBIN",
        "NVCC_PREPEND_FLAGS",
        "NVCC_APPEND_FLAGS",
    ] {
        println!("cargo:rerun-if-env-changed={name}");
    }
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            for line in message.lines() {
                println!("cargo::error={line}");
            }
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("run by cargo only")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("run by cargo only")?);
    provenance::tell(&root, &out);
    embed_notices(&root, &out)?;
    let generated = out.join("kernel_images.rs");
    let write = |text: String| {
        fs::write(&generated, text)
            .map_err(|e| format!("cannot write {}: {e}", generated.display()))
    };

    let Some(nvcc) = nvcc::find(&root)? else {
        if env::var("EFFNET_REQUIRE_KERNELS").is_ok_and(|v| v == "1") {
            return Err(format!(
                "EFFNET_REQUIRE_KERNELS=1, but {}; {}",
                nvcc::MISSING,
                nvcc::TO_DO
            ));
        }
        println!("cargo::warning=built without GPU kernels: {}; {}", nvcc::MISSING, nvcc::TO_DO);
        return write(generate::not_built(nvcc::MISSING, nvcc::TO_DO));
    };
    let assemblers = ptxas::find(&root, &nvcc)?;
    let archs = nvcc::targets(&assemblers)?;
    if let Some(warning) = assemblers.warning(&archs) {
        println!("cargo::warning={warning}");
    }
    let kernels = compile::all(&nvcc, &assemblers, &archs, &root, &out)?;
    println!("cargo::rustc-cfg=kernels");
    for arch in &archs {
        println!("cargo::rustc-cfg=kernel_target=\"{arch}\"");
    }
    write(generate::built(&kernels, &archs, &nvcc, &assemblers)?)
}

/// Packs the notices for `src/cli/notices.rs`.
fn embed_notices(root: &Path, out: &Path) -> Result<(), String> {
    let source = root.join(NOTICES);
    let text = fs::read(&source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    let packed = out.join("notices.zlib");
    fs::write(&packed, pack::packed(&text)?)
        .map_err(|e| format!("cannot write {}: {e}", packed.display()))
}
