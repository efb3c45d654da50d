//! Compiles every kernel file, in parallel, where anything that is read for it has changed.
//!
//! First nvcc translates each file to PTX, for as few targets as the sources tell apart. Then ptxas
//! assembles that PTX for each target of machine code, see `ptxas.rs` for which ptxas does.

use crate::disassemble::{LISTED, Nvdisasm};
use crate::nvcc::{self, Nvcc};
use crate::pack;
use crate::ptx::{self, Release};
use crate::ptxas::{Assemblers, Ptxas};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

/// Targets of the PTX, ascending: `__CUDA_ARCH__` is compared with these and with no others in
/// `kernels/`. Each target's machine code is made from the newest that is not above it.
pub const FRONT_ENDS: [u32; 3] = [75, 80, 90];

/// The target of the embedded PTX, which the emulator runs and which drivers compile for GPUs that
/// have no machine code here: the first target with `griddepcontrol`. Kernels are otherwise the same
/// for every target with `cp.async` and f16 `m16n8k16`.
pub const PTX_ARCH: u32 = FRONT_ENDS[2];

/// The oldest version of PTX that is worth having: that of the oldest supported drivers, CUDA 12.0.
const OLDEST_PTX: Release = (8, 0);

/// No fast-math: kernels name the approximations that they accept. A warning fails. The PTX has line
/// information, for the emulator's reports.
const FLAGS: [&str; 6] = ["--ptx", "-lineinfo", "-O3", "-std=c++17", "-Werror", "all-warnings"];

/// What is done to nvcc's text.
const CLEANING: &str = include_str!("ptx.rs");

/// A compiled kernel file.
pub struct Kernel {
    /// Stem of the `.cu` file.
    pub name: String,
    /// The embedded PTX, with line information.
    pub ptx: PathBuf,
    /// In the order of the targets.
    pub machine_code: Vec<MachineCode>,
}

/// The machine code of a kernel file for one target, without line information.
pub struct MachineCode {
    pub arch: u32,
    pub cubin: PathBuf,
    /// The PTX that it is assembled from: assembled with line information this gives the same code.
    pub ptx: PathBuf,
    /// What nvdisasm says of it, in the compact form, where it was asked.
    pub listing: Option<PathBuf>,
}

/// One output to be made. Beside it lie what the compiler said, the packed output, and a stamp with
/// the key of all that the output depends on.
struct Job<'a> {
    output: PathBuf,
    key: String,
    is_embedded: bool,
    make: Box<Make<'a>>,
}

/// Makes an output; the answer is what the compiler said.
type Make<'a> = dyn Fn(&Path) -> Result<Vec<u8>, String> + Sync + 'a;

/// Compiles what changed, and returns all kernels in the order of their names.
pub fn all(
    nvcc: &Nvcc,
    assemblers: &Assemblers,
    archs: &[u32],
    root: &Path,
    out: &Path,
) -> Result<Vec<Kernel>, String> {
    let (sources, headers) = read_sources(root)?;
    let front_ends: BTreeSet<u32> =
        archs.iter().map(|&arch| front_end(arch)).chain([PTX_ARCH]).collect();
    let mut translations = Vec::new();
    for (source, text) in &sources {
        for &front_end in &front_ends {
            let mut hash = DefaultHasher::new();
            (text, &headers, FLAGS, &nvcc.version, &nvcc.path, CLEANING).hash(&mut hash);
            for name in ["NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"] {
                env::var_os(name).hash(&mut hash);
            }
            translations.push(Job {
                output: out.join(format!("{}.compute_{front_end}.ptx", stem(source))),
                key: format!("{:016x}", hash.finish()),
                is_embedded: false,
                make: Box::new(move |to| translate(nvcc, source, front_end, root, to)),
            });
        }
    }
    run(&translations)?;

    let mut kernels = Vec::new();
    let mut jobs = Vec::new();
    for (source, _) in &sources {
        let name = stem(source);
        let text = |front_end: u32| read(&out.join(format!("{name}.compute_{front_end}.ptx")));
        let mut machine_code = Vec::new();
        for &arch in archs {
            let ptxas = assemblers.of(arch).ok_or_else(|| format!("no ptxas for sm_{arch}"))?;
            let front_end = front_end(arch);
            let text = text(front_end)?;
            // Any version will do that this ptxas reads: machine code does not depend on it.
            let version = ptx::version_of(&text)?.min(ptx::read_by(ptxas.release));
            let text = ptx::with_version(&text, version);
            let ptx =
                out.join(format!("{name}.compute_{front_end}.{}.{}.ptx", version.0, version.1));
            if fs::read_to_string(&ptx).ok().as_ref() != Some(&text) {
                write(&ptx, text.as_bytes())?;
            }
            let cubin = out.join(format!("{name}.sm_{arch}.cubin"));
            let code = MachineCode { arch, cubin, ptx, listing: None };
            jobs.push(Job {
                output: code.cubin.clone(),
                key: key_of(&text, ptxas, "no line information"),
                is_embedded: true,
                make: {
                    let ptx = code.ptx.clone();
                    Box::new(move |to| ptxas.assemble(arch, &ptx, to, false))
                },
            });
            machine_code.push(code);
        }
        let embedded = out.join(format!("{name}.ptx"));
        let ptxas = assemblers.of(PTX_ARCH);
        let ptxas = ptxas.ok_or_else(|| format!("no ptxas here knows compute_{PTX_ARCH}"))?;
        let text = text(PTX_ARCH)?;
        jobs.push(Job {
            output: embedded.clone(),
            key: key_of(&text, ptxas, "lowered"),
            is_embedded: true,
            make: Box::new(move |to| lower(&text, ptxas, to)),
        });
        kernels.push(Kernel { name, ptx: embedded, machine_code });
    }
    run(&jobs)?;
    Ok(kernels)
}

/// Lists the machine code of the targets that are worth it. The answer is these targets.
pub fn list(
    nvdisasm: &Nvdisasm,
    assemblers: &Assemblers,
    kernels: &mut [Kernel],
    out: &Path,
) -> Result<Vec<u32>, String> {
    let mut jobs = Vec::new();
    let mut listed = BTreeSet::new();
    for kernel in kernels {
        for code in kernel.machine_code.iter_mut().filter(|code| LISTED.contains(&code.arch)) {
            let arch = code.arch;
            let ptxas = assemblers.of(arch).ok_or_else(|| format!("no ptxas for sm_{arch}"))?;
            let listing = out.join(format!("{}.sm_{arch}.sass", kernel.name));
            let how = format!("listed by {}", nvdisasm.version);
            jobs.push(Job {
                output: listing.clone(),
                key: key_of(&read(&code.ptx)?, ptxas, &how),
                is_embedded: true,
                make: {
                    let ptx = code.ptx.clone();
                    Box::new(move |to| nvdisasm.list(ptxas, arch, &ptx, to).map(|()| Vec::new()))
                },
            });
            code.listing = Some(listing);
            listed.insert(arch);
        }
    }
    run(&jobs)?;
    Ok(listed.into_iter().collect())
}

/// The target of the PTX from which a target's machine code is made.
fn front_end(arch: u32) -> u32 {
    FRONT_ENDS.into_iter().rev().find(|front_end| *front_end <= arch).unwrap_or(FRONT_ENDS[0])
}

/// The key of what a ptxas makes of a text.
fn key_of(text: &str, ptxas: &Ptxas, how: &str) -> String {
    let mut hash = DefaultHasher::new();
    (text, &ptxas.version, &ptxas.path, how).hash(&mut hash);
    format!("{:016x}", hash.finish())
}

/// One run of nvcc.
fn translate(
    nvcc: &Nvcc,
    source: &Path,
    front_end: u32,
    root: &Path,
    to: &Path,
) -> Result<Vec<u8>, String> {
    let mut command = Command::new(&nvcc.path);
    command.current_dir(root).args(FLAGS).arg(format!("-arch=compute_{front_end}"));
    let said = nvcc::succeed(command.arg("-o").arg(to).arg(source), "nvcc", source)?;
    write(to, ptx::cleaned(&read(to)?, root).as_bytes())?;
    Ok(said)
}

/// The text under the oldest version that ptxas accepts for it: the older, the more drivers read it.
fn lower(text: &str, ptxas: &Ptxas, to: &Path) -> Result<Vec<u8>, String> {
    let newest = ptx::version_of(text)?.min(ptx::read_by(ptxas.release));
    let between = ptx::PTX_OF_CUDA.iter().map(|(_, ptx)| *ptx);
    let oldest = OLDEST_PTX.min(newest);
    let versions: BTreeSet<Release> =
        between.chain([oldest, newest]).filter(|v| (oldest..=newest).contains(v)).collect();
    let mut refused = String::new();
    for version in versions {
        write(to, ptx::with_version(text, version).as_bytes())?;
        match ptxas.parse(PTX_ARCH, to, &beside(to, ".parsed")) {
            Ok(()) => return Ok(Vec::new()),
            Err(why) => refused = why,
        }
    }
    Err(refused)
}

/// Path of the report that ptxas wrote while it made an output.
pub fn report_of(output: &Path) -> PathBuf {
    beside(output, ".ptxas")
}

/// Path of an output's packed form.
pub fn packed_of(output: &Path) -> PathBuf {
    beside(output, ".z")
}

fn beside(output: &Path, suffix: &str) -> PathBuf {
    let mut path = output.to_path_buf().into_os_string();
    path.push(suffix);
    path.into()
}

fn stem(source: &Path) -> String {
    source.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

pub fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), String> {
    fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Kernel files relative to the root, and headers, each with its text; sorted.
type Sources = (Vec<(PathBuf, Vec<u8>)>, Vec<(PathBuf, Vec<u8>)>);

fn read_sources(root: &Path) -> Result<Sources, String> {
    let folder = Path::new("kernels");
    let failed = |path: &Path, e: std::io::Error| format!("cannot read {}: {e}", path.display());
    let (mut sources, mut headers) = (Vec::new(), Vec::new());
    for entry in fs::read_dir(root.join(folder)).map_err(|e| failed(folder, e))? {
        let path = folder.join(entry.map_err(|e| failed(folder, e))?.file_name());
        let list = match path.extension().and_then(|e| e.to_str()) {
            Some("cu") => &mut sources,
            Some("cuh" | "h") => &mut headers,
            _ => continue,
        };
        let text = fs::read(root.join(&path)).map_err(|e| failed(&path, e))?;
        list.push((path, text));
    }
    sources.sort();
    headers.sort();
    Ok((sources, headers))
}

/// `NUM_JOBS` threads take jobs from one list, those aside whose output is as it should be. All
/// failures are told, not only the first.
fn run(jobs: &[Job]) -> Result<(), String> {
    let jobs: Vec<&Job> = jobs.iter().filter(|job| !job.is_current()).collect();
    let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(message) = job.run() {
                        failures.lock().unwrap_or_else(|e| e.into_inner()).push(message);
                    }
                }
            });
        }
    });
    let mut failures = failures.into_inner().unwrap_or_else(|e| e.into_inner());
    failures.sort();
    if failures.is_empty() { Ok(()) } else { Err(failures.join("\n")) }
}

impl Job<'_> {
    fn stamp(&self) -> PathBuf {
        beside(&self.output, ".stamp")
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|key| key == self.key)
    }

    fn run(&self) -> Result<(), String> {
        // A stamp must not outlive its output, however this ends.
        let _ = fs::remove_file(self.stamp());
        let said = (self.make)(&self.output)?;
        if self.is_embedded {
            write(&report_of(&self.output), &said)?;
            let bytes = fs::read(&self.output)
                .map_err(|e| format!("cannot read {}: {e}", self.output.display()))?;
            write(&packed_of(&self.output), &pack::packed(&bytes)?)?;
        }
        write(&self.stamp(), self.key.as_bytes())
    }
}
