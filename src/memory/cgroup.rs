//! Limits of control groups, as cgroups(7) and the kernel's cgroup-v1 and cgroup-v2 documents
//! describe their files.

use super::{AvailableMemory, MemoryLimit};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// A hierarchy's files of numbers.
struct Names {
    limit: &'static str,
    usage: &'static str,
    /// Lines of `memory.stat` that count what is given back under pressure: the file cache.
    reclaimable: [&'static str; 2],
}

const VERSION_1: Names = Names {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

const VERSION_2: Names = Names {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

/// What each group that the process is in leaves it, ancestors included. Groups without a limit are
/// left out.
pub(super) fn available(root: &Path, swap_free: u64) -> Vec<AvailableMemory> {
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (groups, mounts) = (read("proc/self/cgroup"), read("proc/self/mountinfo"));
    let mut found = Vec::new();
    // Lines are `4:memory:/docker/ab` in version 1 and `0::/a.slice` in version 2.
    for line in groups.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(group)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (kind, names) = match controllers {
            "" => ("cgroup2", VERSION_2),
            list if list.split(',').any(|controller| controller == "memory") => {
                ("cgroup", VERSION_1)
            }
            _ => continue,
        };
        let Some((top, folder)) = folder(root, &mounts, kind, group) else { continue };
        for folder in folder.ancestors().take_while(|folder| folder.starts_with(&top)) {
            found.extend(left(folder, &names, swap_free).map(|bytes| AvailableMemory {
                bytes,
                limit: MemoryLimit::ControlGroup(folder.to_owned()),
            }));
        }
    }
    found
}

/// The folder where the memory hierarchy of a kind is mounted, and that of a group in it.
fn folder(root: &Path, mounts: &str, kind: &str, group: &str) -> Option<(PathBuf, PathBuf)> {
    // `35 31 0:32 / /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory`: root of
    // the mount, mount point; after the dash type and options.
    mounts.lines().find_map(|line| {
        let (before, after) = line.split_once(" - ")?;
        let mut after = after.split(' ');
        let (found, _, options) = (after.next()?, after.next()?, after.next()?);
        let is_memory = options.split(',').any(|option| option == "memory");
        if found != kind || (kind == "cgroup" && !is_memory) {
            return None;
        }
        let mut before = before.split(' ').skip(3);
        let (mounted, point) = (Path::new(before.next()?), before.next()?);
        let top = root.join(Path::new(point).strip_prefix("/").ok()?);
        // A group outside of what is mounted is seen from another name space: the mount's own root
        // is the nearest that can be asked.
        let below = Path::new(group).strip_prefix(mounted).unwrap_or(Path::new(""));
        let below: PathBuf =
            below.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let folder = top.join(below);
        Some((top, folder))
    })
}

/// Bytes that a group's limit leaves; none where it has no limit.
fn left(folder: &Path, names: &Names, swap_free: u64) -> Option<u64> {
    let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
    let number = |name: &str| read(name)?.trim().parse::<u64>().ok();
    // `max` is no number: no limit.
    let limit = number(names.limit)?;
    // Version 1 has a number for no limit too: the largest whole number of pages.
    if limit >= i64::MAX as u64 / 65536 * 65536 {
        return None;
    }
    let usage = number(names.usage)?;
    let stat = read("memory.stat").unwrap_or_default();
    let counted = |name: &&str| -> Option<u64> {
        stat.lines().find_map(|line| line.strip_prefix(*name)?.strip_prefix(' ')?.parse().ok())
    };
    let reclaimable: u64 = names.reclaimable.iter().filter_map(counted).sum();
    let swap = match read("memory.swap.max") {
        None => 0,
        Some(most) => {
            let used = number("memory.swap.current").unwrap_or(0);
            let most = most.trim().parse().unwrap_or(u64::MAX);
            swap_free.min(most.saturating_sub(used))
        }
    };
    Some(limit.saturating_sub(usage.saturating_sub(reclaimable)).saturating_add(swap))
}
