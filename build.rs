//! Compiles `kernels/*.cu` and embeds the result.
//!
//! Every kernel file becomes machine code for each target, and one PTX text with line information,
//! which the emulator runs and which drivers compile for GPUs that come later; all of it packed.
//! Both are of forms that drivers since CUDA 12.0 load, where `build/ptxas.rs` finds a ptxas of
//! CUDA 12. `src/kernels/mod.rs` includes the `kernel_images.rs` that is written here. Without nvcc
//! the host still builds, with an empty list. Where nvdisasm is found, listings of the machine code
//! are embedded beside it, for the emulator's users. The licences of what is built in are packed
//! and embedded too.
//!
//! | variable | meaning |
//! |---|---|
//! | `EFFNET_NVCC` | the nvcc to use, before any other |
//! | `EFFNET_PTXAS` | the ptxas of CUDA 12 to use, before any other |
//! | `EFFNET_NVDISASM` | the nvdisasm to use, before any other |
//! | `EFFNET_CUDA_ARCHS` | targets instead of the default ones, as in `80,90`; `ptx`: PTX alone |
//! | `EFFNET_REQUIRE_KERNELS` | `1`: a missing nvcc is an error |
//!
//! Tests that need kernels are ignored, with the reason, unless `cfg(kernels)` is set; those that
//! need machine code of a target also look at `cfg(kernel_target = "90")`, those that need its
//! listing at `cfg(kernel_listing = "90")`, and those that hold machine code to numbers at
//! `cfg(kernels_pinned)`: all of it was made by the compilers that `make cuda` fetches.

#[path = "build/compile.rs"]
mod compile;
#[path = "build/disassemble.rs"]
mod disassemble;
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
    println!("cargo::rustc-check-cfg=cfg(kernel_listing, values(any()))");
    println!("cargo::rustc-check-cfg=cfg(kernels_pinned)");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=build");
    println!("cargo:rerun-if-changed=kernels");
    println!("cargo:rerun-if-changed=src/kernels/ptx_versions.rs");
    println!("cargo:rerun-if-changed={NOTICES}");
    for name in [
        "EFFNET_NVCC",
        "EFFNET_PTXAS",
        "EFFNET_NVDISASM",
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
    let mut kernels = compile::all(&nvcc, &assemblers, &archs, &root, &out)?;
    let listed = list(&nvcc, &assemblers, &mut kernels, &root, &out)?;
    println!("cargo::rustc-cfg=kernels");
    for arch in &archs {
        println!("cargo::rustc-cfg=kernel_target=\"{arch}\"");
    }
    write(generate::built(&kernels, &archs, &nvcc, &assemblers, &listed)?)
}

/// Makes the listings, for builds that have a use for them; the answer is their targets, or why
/// there are none. Nothing else needs an nvdisasm: one that is missing or does not answer is no
/// error, unless it was named by hand.
fn list(
    nvcc: &nvcc::Nvcc,
    assemblers: &ptxas::Assemblers,
    kernels: &mut [compile::Kernel],
    root: &Path,
    out: &Path,
) -> Result<Result<Vec<u32>, String>, String> {
    if env::var_os("CARGO_FEATURE_EMULATOR").is_none() {
        return Ok(Err("the build is without the feature `emulator`".to_owned()));
    }
    let by_hand = env::var_os("EFFNET_NVDISASM").is_some_and(|v| !v.is_empty());
    let found = disassemble::find(root, nvcc).and_then(|found| {
        let missing = || format!("{}; {}", disassemble::MISSING, disassemble::TO_DO);
        let nvdisasm = found.ok_or_else(missing)?;
        let listed = compile::list(&nvdisasm, assemblers, kernels, out)?;
        Ok((nvdisasm, listed))
    });
    match found {
        Ok((nvdisasm, listed)) => {
            for arch in &listed {
                println!("cargo::rustc-cfg=kernel_listing=\"{arch}\"");
            }
            if pinned(nvcc, assemblers, &nvdisasm) {
                println!("cargo::rustc-cfg=kernels_pinned");
            }
            Ok(Ok(listed))
        }
        Err(why) if by_hand => Err(why),
        Err(why) => {
            for kernel in kernels {
                kernel.machine_code.iter_mut().for_each(|code| code.listing = None);
            }
            for line in why.lines() {
                println!("cargo::warning=built without listings of the machine code: {line}");
            }
            Ok(Err(why))
        }
    }
}

/// Whether everything is of the versions that kernels/*-requirements.txt name.
fn pinned(
    nvcc: &nvcc::Nvcc,
    assemblers: &ptxas::Assemblers,
    nvdisasm: &disassemble::Nvdisasm,
) -> bool {
    let ptxas = assemblers.of(compile::PTX_ARCH).map_or("", |ptxas| ptxas.version.as_str());
    nvcc.version.contains("V13.0.88")
        && ptxas.contains("V12.9.86")
        && nvdisasm.version.contains("V13.5.37")
}

/// Packs the notices for `src/cli/notices.rs`.
fn embed_notices(root: &Path, out: &Path) -> Result<(), String> {
    let source = root.join(NOTICES);
    let text = fs::read(&source).map_err(|e| format!("cannot read {}: {e}", source.display()))?;
    let packed = out.join("notices.zlib");
    fs::write(&packed, pack::packed(&text)?)
        .map_err(|e| format!("cannot write {}: {e}", packed.display()))
}
