//! The ptxas that makes the machine code of each target.
//!
//! Machine code runs on drivers of the major version of CUDA whose ptxas made it, and on later ones.
//! So a ptxas of CUDA 12 assembles every target that it knows, whatever the nvcc, and nvcc's own the
//! rest.

use crate::nvcc::{self, Nvcc};
use crate::ptx::{self, Release};
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The major version of CUDA whose machine code every supported driver runs.
const MAJOR: u32 = 12;

/// A ptxas that answered.
pub struct Ptxas {
    pub path: PathBuf,
    /// All that `ptxas --version` says.
    pub version: String,
    /// The CUDA that it is of.
    pub release: Release,
    known: Vec<u32>,
}

/// All that there are, in the order in which they are asked whether they know a target.
pub struct Assemblers(Vec<Ptxas>);

/// `EFFNET_PTXAS`, then the one of CUDA 12 in `.cuda`, then nvcc's own, which comes before that in
/// `.cuda` where it is of CUDA 12 itself.
pub fn find(root: &Path, nvcc: &Nvcc) -> Result<Assemblers, String> {
    let program = format!("ptxas{}", env::consts::EXE_SUFFIX);
    let own = nvcc.beside(&program).map(|path| Ptxas::open(&path)).transpose()?;
    if let Some(path) = env::var_os("EFFNET_PTXAS").filter(|v| !v.is_empty()) {
        let named = Ptxas::open(&root.join(&path)).map_err(|e| format!("EFFNET_PTXAS: {e}"))?;
        if named.release.0 != MAJOR {
            return Err(format!(
                "EFFNET_PTXAS={}: this ptxas is of CUDA {}.{}, expected one of CUDA {MAJOR}, whose \
                 machine code every driver since CUDA {MAJOR}.0 runs; {TO_DO}",
                path.display(),
                named.release.0,
                named.release.1
            ));
        }
        return Ok(Assemblers([Some(named), own].into_iter().flatten().collect()));
    }
    // Where the wheels of PyPI put it.
    let fetched = root.join(".cuda/nvidia/cuda_nvcc/bin").join(&program);
    let fetched = fetched.is_file().then(|| Ptxas::open(&fetched)).transpose()?;
    let fetched = fetched.filter(|fetched| fetched.release.0 == MAJOR);
    let list: Vec<Ptxas> = match &own {
        Some(own_ptxas) if own_ptxas.release.0 <= MAJOR => [own, fetched],
        _ => [fetched, own],
    }
    .into_iter()
    .flatten()
    .collect();
    if list.is_empty() {
        return Err(format!("no ptxas was found beside {}; {TO_DO}", nvcc.path.display()));
    }
    Ok(Assemblers(list))
}

/// Ways to get a ptxas of CUDA 12.
const TO_DO: &str = "run `make cuda`, or set EFFNET_PTXAS to the ptxas of a CUDA 12";

impl Assemblers {
    /// The one for a target.
    pub fn of(&self, arch: u32) -> Option<&Ptxas> {
        self.0.iter().find(|ptxas| ptxas.known.contains(&arch))
    }

    /// Every target that one of them knows, ascending.
    pub fn known(&self) -> Vec<u32> {
        let mut known: Vec<u32> = self.0.iter().flat_map(|ptxas| &ptxas.known).copied().collect();
        known.sort_unstable();
        known.dedup();
        known
    }

    /// A warning where older drivers refuse machine code only for want of a ptxas of CUDA 12.
    pub fn warning(&self, archs: &[u32]) -> Option<String> {
        let newest = archs.iter().filter_map(|&arch| self.of(arch)).map(|p| p.release).max()?;
        let is_there = self.0.iter().any(|ptxas| ptxas.release.0 == MAJOR);
        (!is_there && newest.0 > MAJOR).then(|| {
            format!(
                "no ptxas of CUDA {MAJOR} was found in EFFNET_PTXAS or .cuda, and nvcc's own is of \
                 CUDA {}.{}: drivers older than R580 (CUDA 13.0) will refuse the machine code; \
                 {TO_DO}, and build again",
                newest.0, newest.1
            )
        })
    }
}

impl Ptxas {
    fn open(path: &Path) -> Result<Ptxas, String> {
        let answer = |flag| nvcc::answer(path, flag, "EFFNET_PTXAS to a ptxas of CUDA 12");
        let version = answer("--version")?;
        let release = Some(&version)
            .filter(|version| version.contains("Ptx optimizing assembler"))
            .and_then(|version| ptx::release_of(version));
        let release = release.ok_or_else(|| {
            format!(
                "{} is no ptxas: --version says '{}'; {TO_DO}",
                path.display(),
                version.lines().next().unwrap_or_default()
            )
        })?;
        let mut known: Vec<u32> = answer("--help")?
            .split("'sm_")
            .skip(1)
            .filter_map(|rest| rest.split('\'').next()?.parse().ok())
            .collect();
        known.sort_unstable();
        known.dedup();
        Ok(Ptxas { path: path.to_path_buf(), version, release, known })
    }

    /// Assembles a PTX file for a target, with or without line information; the code is the same.
    /// The answer is ptxas' report on the kernels.
    pub fn assemble(
        &self,
        arch: u32,
        ptx: &Path,
        to: &Path,
        line_information: bool,
    ) -> Result<Vec<u8>, String> {
        let mut command = self.command(&format!("sm_{arch}"), ptx, to);
        // A spill, like any warning, fails.
        command.args(["-O3", "-v", "-warn-spills", "-Werror", "-lineinfo"]);
        if !line_information {
            command.arg("-suppress-debug-info");
        }
        run(command, ptx)
    }

    /// Reads PTX of a target without making code.
    pub fn parse(&self, arch: u32, ptx: &Path, scratch: &Path) -> Result<(), String> {
        run(self.command(&format!("compute_{arch}"), ptx, scratch), ptx).map(drop)
    }

    fn command(&self, target: &str, ptx: &Path, to: &Path) -> Command {
        let mut command = Command::new(&self.path);
        command.arg(format!("-arch={target}")).arg("-o").arg(to).arg(ptx);
        command
    }
}

fn run(mut command: Command, ptx: &Path) -> Result<Vec<u8>, String> {
    nvcc::succeed(&mut command, "ptxas", ptx)
}
