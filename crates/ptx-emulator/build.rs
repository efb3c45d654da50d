//! Looks for the nvcc that `tests/cuda_cpp` needs: `cfg(nvcc)` is set where there is one.
//!
//! Files are looked at, and nothing is run, so that this neither fails nor takes time. The
//! published package has neither this script nor those tests.
//!
//! | variable | meaning |
//! |---|---|
//! | `EFFNET_NVCC` | the nvcc to use, before any other |
//! | `CUDA_HOME`, `CUDA_PATH`, `PATH` | folders that are searched, in this order |

use std::env;
use std::path::{Path, PathBuf};

fn main() {
    println!("cargo::rustc-check-cfg=cfg(nvcc)");
    println!("cargo::rerun-if-changed=build.rs");
    // The last one asks for another look, once an nvcc has been fetched.
    for name in ["EFFNET_NVCC", "CUDA_HOME", "CUDA_PATH", "PATH", "EFFNET_REQUIRE_KERNELS"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if let Some(nvcc) = find() {
        println!("cargo::rustc-cfg=nvcc");
        println!("cargo::rustc-env=PTX_EMULATOR_NVCC={}", nvcc.display());
    }
}

/// The nvcc given by hand, whether or not it works, else the first one that is a file.
fn find() -> Option<PathBuf> {
    let workspace = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join("../..");
    let set = |name| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = set("EFFNET_NVCC") {
        return Some(workspace.join(path));
    }
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let homes = ["CUDA_HOME", "CUDA_PATH"].into_iter().filter_map(set);
    let mut folders: Vec<PathBuf> = homes.map(|home| workspace.join(home).join("bin")).collect();
    if let Some(path) = set("PATH") {
        folders.extend(env::split_paths(&path));
    }
    folders.push(Path::new("/usr/local/cuda/bin").to_owned());
    // Where the wheels of PyPI put it.
    folders.push(workspace.join(".cuda/nvidia/cu13/bin"));
    folders.into_iter().map(|folder| folder.join(&program)).find(|path| path.is_file())
}
