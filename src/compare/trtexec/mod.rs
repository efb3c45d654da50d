//! TensorRT through its command-line tool, which is found and never needed.
//!
//! Three steps, a process each: an engine is built and saved, inputs are answered for the accuracy,
//! and queries are timed, once a round. The meaning of the flags differs with the version: see
//! [`arguments`].

pub mod arguments;
mod contestant;
pub mod output;

pub use contestant::TrtexecContestant;

use super::Failure;
use crate::process::Program;
use std::env;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// Says how to get trtexec, for people.
pub const HOW_TO_GET: &str = "comes with TensorRT: with its tar file, its Debian packages and NVIDIA's \
                              TensorRT container; put it on PATH, or name it with --trtexec FILE";

/// The version of TensorRT that a trtexec belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// Major version, as 10 in 10.16.0.
    pub major: u32,
    /// Minor version, as 16 in 10.16.0.
    pub minor: u32,
    /// Patch version, as 0 in 10.16.0.
    pub patch: u32,
}

impl Version {
    /// The oldest whose flags are known here.
    pub const OLDEST: Version = Version { major: 8, minor: 0, patch: 0 };

    /// Reads the line that trtexec begins with, as in `[TensorRT v8601]`, `[TensorRT v101600]` or
    /// `[TensorRT v110100] [b12]`.
    pub fn from_banner(text: &str) -> Option<Version> {
        let (_, rest) = text.split_once("[TensorRT v")?;
        let (word, _) = rest.split_once(']')?;
        if let [major, minor, patch] = word.split('.').collect::<Vec<_>>()[..] {
            let [major, minor, patch] = [major.parse(), minor.parse(), patch.parse()];
            return Some(Version { major: major.ok()?, minor: minor.ok()?, patch: patch.ok()? });
        }
        let n: u32 = word.parse().ok().filter(|&n| n >= 1000)?;
        // Until version 10 the minor number had one digit.
        let [major, minor] = if n < 100_000 { [1000, 10] } else { [10_000, 100] };
        Some(Version { major: n / major, minor: n / 100 % minor, patch: n % 100 })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

/// A trtexec that has said which version it is.
#[derive(Clone, Debug)]
pub struct Trtexec {
    /// The program.
    pub path: PathBuf,
    /// Version of the program.
    pub version: Version,
}

impl Trtexec {
    /// Asks the program for its version.
    pub fn open(path: &Path, limit: Duration) -> Result<Trtexec, Failure> {
        const STEP: &str = "asking trtexec for its version";
        let failure = |message, last_lines| Failure { step: STEP.to_owned(), message, last_lines };
        // Absolute: it is run in a folder of its own.
        let path = std::path::absolute(path)
            .map_err(|error| failure(format!("{}: {error}", path.display()), Vec::new()))?;
        let mut command = Command::new(&path);
        command.arg("--help");
        let program = Program::start(command)
            .map_err(|error| failure(format!("{}: {error}", path.display()), Vec::new()))?;
        let ended = program.finish(STEP, limit, |_| {})?;
        match ended.text.lines().find_map(Version::from_banner) {
            Some(version) if version >= Version::OLDEST => Ok(Trtexec { path, version }),
            Some(version) => Err(failure(
                format!("TensorRT {version}: expected {} or later", Version::OLDEST),
                Vec::new(),
            )),
            None => Err(failure(
                format!(
                    "{}: expected a line with [TensorRT vN], found none ({})",
                    path.display(),
                    ended.status
                ),
                ended.last_lines,
            )),
        }
    }
}

/// The places to look in, in order: `PATH`, then the folders that installers and containers use.
pub fn places() -> Vec<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut list: Vec<PathBuf> = env::split_paths(&path).collect();
    for variable in ["TENSORRT_ROOT", "TRT_ROOT", "TENSORRT_DIR", "TENSORRT_HOME"] {
        if let Some(root) = env::var_os(variable).filter(|root| !root.is_empty()) {
            list.push(Path::new(&root).join("bin"));
        }
    }
    // The Debian packages and NVIDIA's containers use the first.
    let usual = ["/usr/src/tensorrt/bin", "/opt/tensorrt/bin", "/usr/local/tensorrt/bin"];
    list.extend(usual.map(PathBuf::from));
    list.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    list
}

/// The first program of this name in `places`.
pub fn find(places: &[PathBuf]) -> Option<PathBuf> {
    let name = format!("trtexec{}", env::consts::EXE_SUFFIX);
    places.iter().map(|folder| folder.join(&name)).find(|path| is_program(path))
}

#[cfg(unix)]
fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_program(path: &Path) -> bool {
    path.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_the_banners_of_all_generations() {
        let banner =
            |word| format!("&&&& RUNNING TensorRT.trtexec [TensorRT v{word}] # trtexec -h");
        for (word, expected) in [
            ("8205", "8.2.5"),
            ("8601", "8.6.1"),
            ("100001", "10.0.1"),
            ("100900", "10.9.0"),
            ("101602", "10.16.2"),
            ("110100", "11.1.0"),
            ("10.3.0", "10.3.0"),
        ] {
            let found = Version::from_banner(&banner(word)).map(|version| version.to_string());
            assert_eq!(found.as_deref(), Some(expected), "{word}");
        }
        for absent in ["", "12", "x601", "1.2", "99999999999", "a.b.c"] {
            assert_eq!(Version::from_banner(&banner(absent)), None, "'{absent}'");
        }
        assert_eq!(Version::from_banner("[TensorRT v8601"), None);
    }

    #[cfg(unix)]
    #[test]
    fn the_first_place_with_a_program_wins() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let places: Vec<_> = ["a", "b", "c"].map(|name| folder.path().join(name)).into();
        for place in &places[1..] {
            std::fs::create_dir(place).unwrap();
            std::fs::write(place.join("trtexec"), "#!/bin/sh\n").unwrap();
        }
        assert_eq!(find(&places), None, "files that are no programs");
        for place in &places[1..] {
            let program = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(place.join("trtexec"), program).unwrap();
        }
        assert_eq!(find(&places), Some(places[1].join("trtexec")));
        assert_eq!(find(&[]), None);
    }
}
