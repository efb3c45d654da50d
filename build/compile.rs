//! Runs nvcc on every kernel file, in parallel, where anything that it reads has changed.

use crate::nvcc::Nvcc;
use crate::pack;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

/// The target of the PTX, which the emulator runs and which drivers compile for GPUs that have no
/// machine code here: the first target with `griddepcontrol`. Kernels are otherwise the same for
/// every target with `cp.async` and f16 `m16n8k16`.
pub const PTX_ARCH: u32 = 90;

/// No fast-math: kernels name the approximations that they accept. A spill, like any warning,
/// fails.
const FLAGS: [&str; 6] =
    ["-O3", "-std=c++17", "-Werror", "all-warnings", "-Xptxas", "-warn-spills"];

/// A compiled kernel file.
pub struct Kernel {
    /// Stem of the `.cu` file.
    pub name: String,
    /// PTX with line information.
    pub ptx: PathBuf,
    /// The machine code of each target, in the order of the targets.
    pub machine_code: Vec<(u32, PathBuf)>,
}

/// One run of nvcc. Beside its output lie ptxas' report, the packed output, and a stamp with the key
/// of all that the output depends on.
struct Job {
    source: PathBuf,
    output: PathBuf,
    args: Vec<String>,
    key: String,
}

/// Compiles the files that changed, and returns all kernels in the order of their names.
pub fn all(nvcc: &Nvcc, archs: &[u32], root: &Path, out: &Path) -> Result<Vec<Kernel>, String> {
    let (sources, headers) = read_sources(root)?;
    let mut kernels = Vec::new();
    let mut jobs = Vec::new();
    for (source, text) in &sources {
        let name = source.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let cubin = |&arch: &u32| (arch, out.join(format!("{name}.sm_{arch}.cubin")));
        let kernel = Kernel {
            ptx: out.join(format!("{name}.ptx")),
            machine_code: archs.iter().map(cubin).collect(),
            name: name.clone(),
        };
        let cubins = kernel.machine_code.iter();
        let cubins = cubins.map(|(arch, path)| (path, machine_code_args(*arch)));
        for (output, mut args) in cubins.chain([(&kernel.ptx, ptx_args())]) {
            args.extend(FLAGS.map(String::from));
            let mut hash = DefaultHasher::new();
            (text, &headers, &args, &nvcc.version, &nvcc.path).hash(&mut hash);
            for name in ["NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"] {
                env::var_os(name).hash(&mut hash);
            }
            let job = Job {
                source: source.clone(),
                output: output.clone(),
                args,
                key: format!("{:016x}", hash.finish()),
            };
            if !job.is_current() {
                jobs.push(job);
            }
        }
        kernels.push(kernel);
    }
    run(nvcc, root, &jobs)?;
    Ok(kernels)
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

fn machine_code_args(arch: u32) -> Vec<String> {
    vec!["--cubin".to_owned(), "-Xptxas".to_owned(), "-v".to_owned(), format!("-arch=sm_{arch}")]
}

fn ptx_args() -> Vec<String> {
    vec!["--ptx".to_owned(), "-lineinfo".to_owned(), format!("-arch=compute_{PTX_ARCH}")]
}

/// `NUM_JOBS` threads take jobs from one list. All failures are told, not only the first.
fn run(nvcc: &Nvcc, root: &Path, jobs: &[Job]) -> Result<(), String> {
    let threads = env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1);
    let next = AtomicUsize::new(0);
    let failures = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(message) = job.run(nvcc, root) {
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

impl Job {
    fn stamp(&self) -> PathBuf {
        beside(&self.output, ".stamp")
    }

    fn is_current(&self) -> bool {
        fs::read_to_string(self.stamp()).is_ok_and(|key| key == self.key)
    }

    fn run(&self, nvcc: &Nvcc, root: &Path) -> Result<(), String> {
        // A stamp must not outlive its output, however this ends.
        let _ = fs::remove_file(self.stamp());
        let mut command = Command::new(&nvcc.path);
        command.current_dir(root).args(&self.args).arg("-o").arg(&self.output).arg(&self.source);
        let shown = format!("{command:?}");
        let output = command.output().map_err(|e| format!("cannot run {shown}: {e}"))?;
        if !output.status.success() {
            return Err(format!(
                "nvcc failed on {} ({})\n{}{}command: {shown}",
                self.source.display(),
                output.status,
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr),
            ));
        }
        if self.output.extension().is_some_and(|e| e == "ptx") {
            relative_line_information(&self.output, root)?;
        }
        let write = |path: &Path, bytes: &[u8]| {
            fs::write(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
        };
        write(&report_of(&self.output), &output.stderr)?;
        let bytes = fs::read(&self.output)
            .map_err(|e| format!("cannot read {}: {e}", self.output.display()))?;
        write(&packed_of(&self.output), &pack::packed(&bytes)?)?;
        write(&self.stamp(), self.key.as_bytes())
    }
}

/// nvcc names every file by its full path. Reports are to say `kernels/depthwise.cu`, wherever the
/// project lies.
fn relative_line_information(ptx: &Path, root: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot rewrite {}: {e}", ptx.display());
    let prefix = format!("\"{}/", root.display());
    let text: String = fs::read_to_string(ptx)
        .map_err(failed)?
        .split_inclusive('\n')
        .map(|line| match line.trim_start().starts_with(".file") {
            true => line.replacen(&prefix, "\"", 1),
            false => line.to_owned(),
        })
        .collect();
    fs::write(ptx, text).map_err(failed)
}
