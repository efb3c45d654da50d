//! Memory that this process can still have, asked before much of it is used.
//!
//! A system gives out more memory than it has, and ends a process that uses it. [`require`] is
//! called where the need is known and large, before the first byte of it is touched, so that there
//! is an error in place of a process that was killed.
//!
//! On Linux the least of these counts: `MemAvailable` and free swap of `/proc/meminfo`, and, for each
//! control group that the process is in (version 1 or 2) and its ancestors, the limit less what is
//! used and cannot be reclaimed. On other systems nothing is known, and nothing is refused.
//!
//! The environment variable [`VARIABLE`] takes the place of all of these where they are wrong: it
//! says how many MiB this process can still have, at any time that it asks.

mod cgroup;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

/// Environment variable that says, in MiB, how much memory this process can still have.
pub const VARIABLE: &str = "EFFNET_MEMORY_MIB";

/// What sets the limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemoryLimit {
    /// The machine has no more.
    Machine,
    /// A control group may use no more.
    ControlGroup(PathBuf),
    /// The environment variable [`VARIABLE`] says so.
    Variable,
}

impl fmt::Display for MemoryLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MemoryLimit::Machine => f.write_str("free on this machine"),
            MemoryLimit::ControlGroup(folder) => {
                write!(f, "left by the limit of the control group {}", folder.display())
            }
            MemoryLimit::Variable => write!(f, "what {VARIABLE} allows"),
        }
    }
}

/// Memory that this process can still have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AvailableMemory {
    /// Bytes.
    pub bytes: u64,
    /// What sets the limit.
    pub limit: MemoryLimit,
}

/// More memory is needed than this process can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} need {}, and {} are {}, of which a part in {RESERVE} stays free",
    Bytes(*.needed), Bytes(.available.bytes), .available.limit
)]
pub struct TooLittleMemory {
    /// What needs it: a plural.
    pub what: String,
    /// Bytes needed.
    pub needed: u64,
    /// Memory that there is.
    pub available: AvailableMemory,
}

/// A value of [`VARIABLE`] that is no number.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{VARIABLE}: expected a whole number of MiB, found '{found}': give one, or unset the variable"
)]
pub struct InvalidVariable {
    /// The value.
    pub found: String,
}

/// A size for people, in binary units.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0..0x40_0000 => write!(f, "{:.1} KiB", self.0 as f64 / f64::from(1 << 10)),
            0x40_0000..0x1_0000_0000 => write!(f, "{:.1} MiB", self.0 as f64 / f64::from(1 << 20)),
            _ => write!(f, "{:.1} GiB", self.0 as f64 / f64::from(1 << 30)),
        }
    }
}

/// Memory that this process can still have; none where the system does not tell.
pub fn available() -> Option<AvailableMemory> {
    match allowed() {
        Ok(Some(bytes)) => Some(AvailableMemory { bytes, limit: MemoryLimit::Variable }),
        Ok(None) | Err(_) => available_below(Path::new("/")),
    }
}

/// Bytes that the environment variable [`VARIABLE`] allows; none where it is not set. [`available`]
/// passes over a value that is no number, which the program refuses when it starts.
pub fn allowed() -> Result<Option<u64>, InvalidVariable> {
    let Some(value) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let mib = value.to_str().and_then(|text| text.trim().parse::<u64>().ok());
    match mib.and_then(|mib| mib.checked_mul(1 << 20)) {
        Some(bytes) => Ok(Some(bytes)),
        None => Err(InvalidVariable { found: value.to_string_lossy().into_owned() }),
    }
}

/// What [`available`] finds in the files below `root`.
fn available_below(root: &Path) -> Option<AvailableMemory> {
    let meminfo = fs::read_to_string(root.join("proc/meminfo")).ok();
    let meminfo = meminfo.as_deref().unwrap_or_default();
    let swap_free = field(meminfo, "SwapFree:").unwrap_or(0);
    let machine = field(meminfo, "MemAvailable:").map(|bytes| AvailableMemory {
        bytes: bytes.saturating_add(swap_free),
        limit: MemoryLimit::Machine,
    });
    let groups = cgroup::available(root, swap_free);
    machine.into_iter().chain(groups).min_by_key(|memory| memory.bytes)
}

/// The field of `/proc/meminfo` in bytes; its lines are `MemAvailable:   22413772 kB`.
fn field(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    line.trim().strip_suffix("kB")?.trim_end().parse::<u64>().ok()?.checked_mul(1024)
}

/// The part of the available memory that is left alone: what the system says is an estimate, and
/// others need memory too.
const RESERVE: u64 = 32;

/// Refuses a need of `needed` bytes where that is more than 31 of 32 of the available bytes. `what` is a plural, as in
/// `activations of 8 images`. Where nothing is known, nothing is refused.
pub fn require(what: impl FnOnce() -> String, needed: u64) -> Result<(), TooLittleMemory> {
    match available() {
        Some(available) if needed > available.bytes - available.bytes / RESERVE => {
            Err(TooLittleMemory { what: what(), needed, available })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Files below a folder that stands for the root.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: &str = "MemTotal:       8000 kB\nMemFree: 100 kB\nMemAvailable:    4000 kB\n\
                           SwapTotal: 0 kB\nSwapFree:       0 kB\n";

    fn found(files: &[(&str, &str)]) -> Option<(u64, Option<PathBuf>)> {
        let root = root(files);
        available_below(root.path()).map(|memory| match memory.limit {
            MemoryLimit::Machine => (memory.bytes, None),
            MemoryLimit::ControlGroup(folder) => (memory.bytes, Some(folder)),
            MemoryLimit::Variable => unreachable!("no variable is asked for"),
        })
    }

    #[test]
    fn the_machine_alone() {
        assert_eq!(found(&[("proc/meminfo", MEMINFO)]), Some((4000 << 10, None)));
        let swap = MEMINFO.replace("SwapFree:       0", "SwapFree:     500");
        assert_eq!(found(&[("proc/meminfo", &swap)]), Some((4500 << 10, None)));
    }

    #[test]
    fn a_system_that_does_not_tell() {
        assert_eq!(found(&[]), None);
        assert_eq!(found(&[("proc/meminfo", "MemAvailable: lots\n")]), None);
        let most = format!("MemAvailable: {} kB\n", u64::MAX);
        assert_eq!(found(&[("proc/meminfo", &most)]), None);
    }

    /// In a container with a name space of its own, the group is the root of its mount.
    #[test]
    fn a_group_of_version_2() {
        let files = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/\n"),
            (
                "proc/self/mountinfo",
                "31 23 0:28 / /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw,nsdelegate\n",
            ),
            ("sys/fs/cgroup/memory.max", "2000000\n"),
            ("sys/fs/cgroup/memory.current", "1500000\n"),
            (
                "sys/fs/cgroup/memory.stat",
                "anon 900000\ninactive_file 300000\nactive_file 100000\n",
            ),
        ];
        // 2000000 less what is used and cannot be reclaimed: 1500000 - 300000 - 100000.
        let (bytes, folder) = found(&files).unwrap();
        assert_eq!(bytes, 900_000);
        assert!(folder.unwrap().ends_with("sys/fs/cgroup"));
        let unlimited = files.map(|(path, text)| match path {
            "sys/fs/cgroup/memory.max" => (path, "max\n"),
            _ => (path, text),
        });
        assert_eq!(found(&unlimited), Some((4000 << 10, None)));
    }

    /// A limit of an ancestor holds for the group, and its use is that of all below it.
    #[test]
    fn an_ancestor_s_limit() {
        let files = [
            ("proc/meminfo", MEMINFO),
            ("proc/self/cgroup", "0::/a.slice/b.scope\n"),
            ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"),
            ("sys/fs/cgroup/a.slice/memory.max", "1000000\n"),
            ("sys/fs/cgroup/a.slice/memory.current", "1200000\n"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.max", "3000000\n"),
            ("sys/fs/cgroup/a.slice/b.scope/memory.current", "0\n"),
        ];
        let (bytes, folder) = found(&files).unwrap();
        assert_eq!(bytes, 0);
        assert!(folder.unwrap().ends_with("a.slice"));
    }

    /// Swap that a group may still use counts, as far as the machine has it.
    #[test]
    fn a_group_s_swap() {
        let swap = MEMINFO.replace("SwapFree:       0", "SwapFree:    1000");
        let files = |most| {
            [
                ("proc/meminfo", swap.as_str()),
                ("proc/self/cgroup", "0::/g\n"),
                ("proc/self/mountinfo", "31 23 0:28 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n"),
                ("sys/fs/cgroup/g/memory.max", "1000\n"),
                ("sys/fs/cgroup/g/memory.current", "400\n"),
                ("sys/fs/cgroup/g/memory.swap.max", most),
                ("sys/fs/cgroup/g/memory.swap.current", "50\n"),
            ]
        };
        assert_eq!(found(&files("100\n")).unwrap().0, 600 + 50);
        assert_eq!(found(&files("0\n")).unwrap().0, 600);
        assert_eq!(found(&files("max\n")).unwrap().0, 600 + (1000 << 10));
    }

    /// Version 1, where the mount shows the whole tree, or only the container's part of it.
    #[test]
    fn a_group_of_version_1() {
        let files = |mount: &'static str, folder: &str| {
            [
                ("proc/meminfo".to_owned(), MEMINFO),
                ("proc/self/cgroup".to_owned(), "9:name=systemd:/\n4:memory:/docker/ab\n0::/\n"),
                ("proc/self/mountinfo".to_owned(), mount),
                (format!("{folder}/memory.limit_in_bytes"), "2000000\n"),
                (format!("{folder}/memory.usage_in_bytes"), "1000000\n"),
                (
                    format!("{folder}/memory.stat"),
                    "inactive_file 7\ntotal_inactive_file 200000\ntotal_active_file 100000\n",
                ),
            ]
        };
        for (mount, folder) in [
            (
                "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
                "sys/fs/cgroup/memory/docker/ab",
            ),
            (
                "35 31 0:32 /docker/ab /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
                "sys/fs/cgroup/memory",
            ),
        ] {
            let files = files(mount, folder);
            let files = files.each_ref().map(|(path, text)| (path.as_str(), *text));
            let (bytes, found_at) = found(&files).unwrap();
            assert_eq!(bytes, 1_300_000, "{folder}");
            assert!(found_at.unwrap().ends_with(folder));
        }
    }

    #[test]
    fn a_need_beyond_what_there_is_is_refused() {
        let Some(available) = available() else { return };
        assert!(require(|| "tests".into(), 1).is_ok());
        let error = require(|| "activations of 9 images".into(), u64::MAX).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("activations of 9 images need 17179869184.0 GiB, and "), "{text}");
        assert!(available.bytes > 0);
    }
}
