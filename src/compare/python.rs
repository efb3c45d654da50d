//! The drivers in Python: the interpreter, its modules, and the scripts that it runs.

use super::driver::DriverCommand;
use super::job::Job;
use crate::process::Program;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const PROTOCOL: (&str, &str) = ("driver_protocol.py", include_str!("drivers/driver_protocol.py"));

/// Script that prints which modules there are, without loading any.
const PROBE: &str = "\
import importlib.util, json, sys
found = {name: importlib.util.find_spec(name) is not None for name in sys.argv[1:]}
print(json.dumps({'modules': found}))";

const PROBE_LIMIT: Duration = Duration::from_secs(60);

/// A runtime that a script drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Script {
    /// ONNX Runtime.
    OnnxRuntime,
    /// PyTorch.
    PyTorch,
}

impl Script {
    /// All scripts.
    pub const ALL: [Script; 2] = [Script::OnnxRuntime, Script::PyTorch];

    /// Name of the script, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Script::OnnxRuntime => "onnxruntime",
            Script::PyTorch => "pytorch",
        }
    }

    /// Modules that the script imports.
    pub fn modules(self) -> &'static [&'static str] {
        match self {
            Script::OnnxRuntime => &["numpy", "onnxruntime"],
            Script::PyTorch => &["numpy", "safetensors", "torch"],
        }
    }

    /// Packages that pip has to install, as a file of requirements.
    pub fn requirements(self) -> &'static str {
        match self {
            Script::OnnxRuntime => include_str!("drivers/requirements-onnxruntime.txt"),
            Script::PyTorch => include_str!("drivers/requirements-pytorch.txt"),
        }
    }

    fn file(self) -> (&'static str, &'static str) {
        match self {
            Script::OnnxRuntime => {
                ("run_onnxruntime.py", include_str!("drivers/run_onnxruntime.py"))
            }
            Script::PyTorch => ("run_pytorch.py", include_str!("drivers/run_pytorch.py")),
        }
    }
}

/// A Python interpreter whose modules are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Python {
    path: PathBuf,
    modules: BTreeMap<String, bool>,
}

#[derive(Deserialize)]
struct Probed {
    modules: BTreeMap<String, bool>,
}

impl Python {
    /// The interpreter that is used where none is named: that of the active virtual environment,
    /// else the one on `PATH`.
    pub fn default_path() -> PathBuf {
        let folder = env::var_os("VIRTUAL_ENV").filter(|folder| !folder.is_empty());
        let program = if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" };
        let of_environment = folder.map(|folder| Path::new(&folder).join(program));
        of_environment.filter(|path| path.exists()).unwrap_or_else(|| "python3".into())
    }

    /// Asks an interpreter which of the scripts' modules it has; the error says how to get one.
    pub fn open(path: &Path) -> Result<Python, String> {
        let advice = "expected a Python 3 interpreter; name one with --python FILE";
        let fault = |what: String| format!("{}: {what}; {advice}", path.display());
        let mut command = Command::new(path);
        command.args(["-c", PROBE]).args(Script::ALL.iter().flat_map(|script| script.modules()));
        let program = Program::start(command).map_err(|error| fault(error.to_string()))?;
        let ended = program
            .finish("asking Python for its modules", PROBE_LIMIT, |_| {})
            .map_err(|failure| fault(failure.message))?;
        let probed = ended.text.lines().find_map(|line| serde_json::from_str(line).ok());
        match probed {
            Some(Probed { modules }) => Ok(Python { path: path.to_owned(), modules }),
            None => {
                let last = ended.last_lines.last().map_or("", String::as_str);
                Err(fault(format!("cannot be asked for its modules ({}): {last}", ended.status)))
            }
        }
    }

    /// The command for a script, whose files are written to the job's folder; the error names the
    /// missing part, and how to get it.
    pub fn driver(&self, script: Script, job: &Job) -> Result<io::Result<DriverCommand>, String> {
        let has = |module: &&str| self.modules.get(*module).copied().unwrap_or(false);
        let missing: Vec<&str> =
            script.modules().iter().filter(|module| !has(module)).copied().collect();
        if !missing.is_empty() {
            let (python, name) = (self.path.display(), script.name());
            return Err(format!(
                "{python} has no {}: run `effnet compare --requirements {name} > {name}.txt` and \
                 `{python} -m pip install -r {name}.txt`, or name another interpreter with --python \
                 FILE",
                missing.join(", ")
            ));
        }
        Ok(self.command(script, job))
    }

    fn command(&self, script: Script, job: &Job) -> io::Result<DriverCommand> {
        let folder = job.path("drivers");
        fs::create_dir_all(&folder)?;
        for (name, text) in [PROTOCOL, script.file()] {
            fs::write(folder.join(name), text)?;
        }
        let path = folder.join(script.file().0);
        Ok(DriverCommand {
            program: self.path.clone(),
            // -B: nothing is left beside the script.
            arguments: vec!["-B".into(), path.into()],
            variables: vec![
                ("OMP_NUM_THREADS", job.options.threads.to_string()),
                // Else a build that was made before would be found there.
                ("TORCHINDUCTOR_CACHE_DIR", job.path("inductor").display().to_string()),
            ],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_name_exact_versions_of_what_is_imported() {
        for script in Script::ALL {
            let lines: Vec<&str> =
                script.requirements().lines().filter(|line| !line.starts_with('#')).collect();
            assert!(lines.iter().all(|line| line.contains("==")), "{lines:?}");
            let names: Vec<&str> =
                lines.iter().filter_map(|line| line.split("==").next()).collect();
            assert_eq!(names, script.modules(), "{}", script.name());
        }
    }

    #[test]
    fn an_interpreter_that_is_none_is_said_to_be() {
        let error = Python::open(Path::new("/nowhere/python3")).unwrap_err();
        assert!(error.starts_with("/nowhere/python3: "), "{error}");
        assert!(error.contains("--python FILE"), "{error}");
        if cfg!(unix) {
            let error = Python::open(Path::new("/bin/true")).unwrap_err();
            assert!(error.contains("cannot be asked"), "{error}");
        }
    }
}
