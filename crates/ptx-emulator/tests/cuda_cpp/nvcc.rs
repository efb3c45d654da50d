//! CUDA C++ of `tests/cuda`, compiled to PTX by the nvcc that `build.rs` found, and the lines at
//! which its broken entries are to be reported.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

/// A file of `tests/cuda`, compiled when first asked for.
pub struct CudaFile {
    name: &'static str,
    arch: u32,
    compiled: OnceLock<Compiled>,
}

pub struct Compiled {
    /// Path from the root of the project, as reports show it.
    pub path: String,
    pub source: String,
    pub ptx: String,
}

impl CudaFile {
    /// `tests/cuda/<name>.cu`, for compute capability `arch` (80, 90).
    pub const fn new(name: &'static str, arch: u32) -> CudaFile {
        CudaFile { name, arch, compiled: OnceLock::new() }
    }

    /// The PTX. Tests that ask for it are ignored in a build without nvcc.
    pub fn compiled(&self) -> &Compiled {
        self.compiled.get_or_init(|| compile(self.name, self.arch))
    }
}

fn compile(name: &str, arch: u32) -> Compiled {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."));
    let Some(nvcc) = option_env!("PTX_EMULATOR_NVCC") else { panic!("this build found no nvcc") };
    let path = format!("crates/ptx-emulator/tests/cuda/{name}.cu");
    let output = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.ptx"));
    let mut command = Command::new(nvcc);
    command
        .current_dir(root)
        .args(["-ptx", "-lineinfo", "-O3", "-std=c++17", "-Werror", "all-warnings"])
        .arg(format!("-arch=compute_{arch}"))
        .arg(&path)
        .arg("-o")
        .arg(&output);
    let result = command.output().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    assert!(
        result.status.success(),
        "nvcc failed on {path} ({})\n{}{}command: {command:?}",
        result.status,
        String::from_utf8_lossy(&result.stdout),
        String::from_utf8_lossy(&result.stderr),
    );
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    };
    Compiled { source: read(&root.join(&path)), ptx: read(&output), path }
}

impl Compiled {
    /// The lines, with the names of checks, at which `entry` is to be reported: those that end in a
    /// comment `// finds ENTRY: CHECK CHECK; finds ENTRY: CHECK`.
    pub fn marks(&self, entry: &str) -> BTreeSet<(u32, String)> {
        let mut marks = BTreeSet::new();
        for (line, text) in (1..).zip(self.source.lines()) {
            let Some((_, comment)) = text.split_once("// finds ") else { continue };
            for mark in comment.split(';') {
                let mark = mark.trim().trim_start_matches("finds ");
                let (name, checks) = mark
                    .split_once(':')
                    .unwrap_or_else(|| panic!("{}:{line}: a mark without ':'", self.path));
                if name == entry {
                    marks.extend(checks.split_whitespace().map(|check| (line, check.to_owned())));
                }
            }
        }
        assert!(!marks.is_empty(), "{} marks no line for {entry}", self.path);
        marks
    }
}
