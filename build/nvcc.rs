//! The nvcc to use, and the targets that are asked for.

use crate::compile::FRONT_ENDS;
use crate::ptxas::Assemblers;
use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The missing part, when no nvcc is found.
pub const MISSING: &str = "no nvcc was found in EFFNET_NVCC, CUDA_HOME, CUDA_PATH, PATH, \
                           /usr/local/cuda or .cuda";
/// Ways to get an nvcc.
pub const TO_DO: &str = "run `make cuda`, or set EFFNET_NVCC to the nvcc of CUDA 12 or 13, and \
                         build again";

/// Targets whose machine code is made. Never the local GPU: a build is the same wherever it is
/// made.
const TARGETS: [u32; 9] = [75, 80, 86, 87, 89, 90, 100, 110, 120];

/// The value of `EFFNET_CUDA_ARCHS` for no machine code at all: the emulator needs none.
const PTX_ALONE: &str = "ptx";

/// An nvcc that answered.
pub struct Nvcc {
    pub path: PathBuf,
    /// All that `nvcc --version` says.
    pub version: String,
}

/// The first nvcc in the order that the documentation gives. A name given by hand must work.
pub fn find(root: &Path) -> Result<Option<Nvcc>, String> {
    if let Some(path) = env::var_os("EFFNET_NVCC").filter(|v| !v.is_empty()) {
        return Nvcc::open(&root.join(path)).map(Some);
    }
    candidates(root).iter().find(|path| path.is_file()).map(|path| Nvcc::open(path)).transpose()
}

fn candidates(root: &Path) -> Vec<PathBuf> {
    let program = format!("nvcc{}", env::consts::EXE_SUFFIX);
    let mut found = Vec::new();
    for name in ["CUDA_HOME", "CUDA_PATH"] {
        if let Some(home) = env::var_os(name).filter(|v| !v.is_empty()) {
            found.push(root.join(home).join("bin").join(&program));
        }
    }
    if let Some(path) = env::var_os("PATH") {
        found.extend(env::split_paths(&path).map(|folder| folder.join(&program)));
    }
    found.push(Path::new("/usr/local/cuda/bin").join(&program));
    // Where the wheels of PyPI put it.
    found.push(root.join(".cuda/nvidia/cu13/bin").join(&program));
    found
}

impl Nvcc {
    fn open(path: &Path) -> Result<Nvcc, String> {
        let answer = |flag| answer(path, flag, "EFFNET_NVCC to a working nvcc");
        let version = answer("--version")?;
        let known: Vec<u32> = answer("--list-gpu-arch")?
            .lines()
            .filter_map(|line| line.trim().strip_prefix("compute_")?.parse().ok())
            .collect();
        match FRONT_ENDS.iter().find(|front_end| !known.contains(front_end)) {
            Some(unknown) => Err(format!(
                "{} does not know compute_{unknown}: expected the nvcc of CUDA 12 or 13; set \
                 EFFNET_NVCC to one",
                path.display()
            )),
            None => Ok(Nvcc { path: path.to_path_buf(), version }),
        }
    }

    /// A program of the same toolkit: beside nvcc, or where nvcc itself says that its programs are.
    pub fn beside(&self, program: &str) -> Option<PathBuf> {
        let mut folders: Vec<PathBuf> = [Some(self.path.clone()), self.path.canonicalize().ok()]
            .into_iter()
            .filter_map(|path| Some(path?.parent()?.to_path_buf()))
            .collect();
        let told = Command::new(&self.path).args(["--dryrun", "none.cu"]).output();
        folders.extend(told.ok().and_then(|told| {
            let told = String::from_utf8_lossy(&told.stderr).into_owned();
            let here = told.lines().find_map(|line| line.trim().strip_prefix("#$ _HERE_="));
            here.map(|folder| PathBuf::from(folder.trim()))
        }));
        folders.into_iter().map(|folder| folder.join(program)).find(|path| path.is_file())
    }
}

/// The targets asked for, less those that no ptxas knows; ascending. None where only PTX is asked
/// for.
pub fn targets(assemblers: &Assemblers) -> Result<Vec<u32>, String> {
    let asked = match env::var("EFFNET_CUDA_ARCHS") {
        Ok(list) if list.trim() == PTX_ALONE => return Ok(Vec::new()),
        Ok(list) if !list.trim().is_empty() => parse_archs(&list)?,
        _ => TARGETS.to_vec(),
    };
    if let Some(old) = asked.iter().find(|arch| **arch < FRONT_ENDS[0]) {
        return Err(format!(
            "EFFNET_CUDA_ARCHS has sm_{old}: the kernels need sm_{} or later; leave it out",
            FRONT_ENDS[0]
        ));
    }
    let (known, unknown): (Vec<u32>, Vec<u32>) =
        asked.iter().partition(|arch| assemblers.of(**arch).is_some());
    for arch in unknown {
        println!("cargo::warning=no ptxas here knows sm_{arch}: left out");
    }
    if known.is_empty() {
        return Err(format!(
            "no ptxas here knows any of the targets {asked:?}; known are {:?}: set \
             EFFNET_CUDA_ARCHS to some of them",
            assemblers.known()
        ));
    }
    Ok(known)
}

/// `80,90` or `80 90`, with or without `sm_`.
fn parse_archs(list: &str) -> Result<Vec<u32>, String> {
    let mut archs = list
        .split([',', ';', ' '])
        .map(str::trim)
        .filter(|word| !word.is_empty())
        .map(|word| {
            word.trim_start_matches("sm_").parse::<u32>().map_err(|_| {
                format!("EFFNET_CUDA_ARCHS={list}: '{word}' is no target; expected as in 80,90, or {PTX_ALONE}")
            })
        })
        .collect::<Result<Vec<u32>, String>>()?;
    archs.sort_unstable();
    archs.dedup();
    Ok(archs)
}

/// What a program says to a flag; `set` is the way to name another one.
pub fn answer(path: &Path, flag: &str, set: &str) -> Result<String, String> {
    let output = Command::new(path)
        .arg(flag)
        .output()
        .map_err(|e| format!("cannot run {}: {e}; set {set}", path.display()))?;
    if !output.status.success() {
        return Err(format!(
            "{} {flag} failed ({}): {}; set {set}",
            path.display(),
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a compiler on a file. The answer is what it says on standard error.
pub fn succeed(command: &mut Command, name: &str, source: &Path) -> Result<Vec<u8>, String> {
    let shown = format!("{command:?}");
    let output = command.output().map_err(|e| format!("cannot run {shown}: {e}"))?;
    if output.status.success() {
        return Ok(output.stderr);
    }
    Err(format!(
        "{name} failed on {} ({})\n{}{}command: {shown}",
        source.display(),
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    ))
}
