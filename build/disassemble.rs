//! Listings of the machine code, where nvdisasm is found.
//!
//! The PTX of a target is assembled once more, with line information, which does not change the
//! code; nvdisasm prints it, and what `sass_listing` reads of that is embedded without operands.

use crate::compile::read;
use crate::nvcc::{self, Nvcc};
use crate::ptxas::Ptxas;
use sass_listing::Listing;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Targets whose machine code is listed, as far as it is made: those of the GPUs that
/// `effnet estimate` knows. sm_86's schedulers and pipes are sm_89's.
pub const LISTED: [u32; 5] = [75, 80, 87, 89, 90];

/// The missing part, when there is no nvdisasm.
pub const MISSING: &str =
    "no nvdisasm was found in EFFNET_NVDISASM, beside nvcc, in PATH or in .cuda";
/// Ways to get one.
pub const TO_DO: &str = "run `make cuda`, or set EFFNET_NVDISASM to the nvdisasm of CUDA 12 or 13, \
                         and build again";

/// An nvdisasm that answered.
pub struct Nvdisasm {
    path: PathBuf,
    /// All that `nvdisasm --version` says.
    pub version: String,
}

/// `EFFNET_NVDISASM`, which must work; else one beside nvcc, in PATH, or in `.cuda`.
pub fn find(root: &Path, nvcc: &Nvcc) -> Result<Option<Nvdisasm>, String> {
    if let Some(path) = env::var_os("EFFNET_NVDISASM").filter(|v| !v.is_empty()) {
        return Nvdisasm::open(&root.join(path)).map(Some);
    }
    let program = format!("nvdisasm{}", env::consts::EXE_SUFFIX);
    let mut candidates = Vec::from_iter(nvcc.beside(&program));
    if let Some(path) = env::var_os("PATH") {
        candidates.extend(env::split_paths(&path).map(|folder| folder.join(&program)));
    }
    // Where the wheels of PyPI put it.
    candidates.push(root.join(".cuda/nvidia/cu13/bin").join(&program));
    candidates.iter().find(|path| path.is_file()).map(|path| Nvdisasm::open(path)).transpose()
}

impl Nvdisasm {
    fn open(path: &Path) -> Result<Nvdisasm, String> {
        let set = "EFFNET_NVDISASM to a working nvdisasm";
        let version = nvcc::answer(path, "--version", set)?;
        Ok(Nvdisasm { path: path.to_path_buf(), version })
    }

    /// Writes the listing of a PTX file's machine code for a target.
    pub fn list(&self, ptxas: &Ptxas, arch: u32, ptx: &Path, to: &Path) -> Result<(), String> {
        let cubin = to.with_extension("lines.cubin");
        ptxas.assemble(arch, ptx, &cubin, true)?;
        // With places of the source, those of inlined calls too; code alone.
        let mut command = Command::new(&self.path);
        command.args(["-gi", "-c"]).arg(&cubin);
        let output = command.output().map_err(|e| format!("cannot run {command:?}: {e}"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(format!("{command:?} failed ({}): {}", output.status, said.trim()));
        }
        let text = String::from_utf8_lossy(&output.stdout);
        let failed = |fault: String| format!("what {command:?} prints is not understood: {fault}");
        let listing = Listing::parse(&text).map_err(|e| failed(e.to_string()))?;
        if listing.target != arch {
            return Err(failed(format!("it is of sm_{}", listing.target)));
        }
        for line in read(ptx)?.lines() {
            let entry = line.split_once(".entry ").and_then(|(_, rest)| rest.split('(').next());
            if let Some(entry) = entry.map(str::trim).filter(|e| listing.function(e).is_none()) {
                return Err(failed(format!("it has no {entry}")));
            }
        }
        fs::write(to, listing.to_compact())
            .map_err(|e| format!("cannot write {}: {e}", to.display()))
    }
}
