//! GPU memory of a process, as nvidia-smi tells it.

use crate::process::Program;
use std::process::Command;
use std::time::Duration;

/// GPU memory of the process, as `nvidia-smi` gives it; nothing where there is no nvidia-smi, or it
/// does not see into the process's container.
pub(super) fn gpu_bytes(process: u32) -> Option<u64> {
    let mut command = Command::new("nvidia-smi");
    command.args(["--query-compute-apps=pid,used_memory", "--format=csv,noheader,nounits"]);
    let program = Program::start(command).ok()?;
    let ended = program.finish("nvidia-smi", Duration::from_secs(10), |_| {}).ok()?;
    ended.status.success().then(|| held_by(&ended.text, process)).flatten()
}

/// The sum over all GPUs of the lines `PID, MIB`.
fn held_by(text: &str, process: u32) -> Option<u64> {
    let held = text.lines().filter_map(|line| {
        let (id, mib) = line.split_once(',')?;
        let (id, mib): (u32, u64) = (id.trim().parse().ok()?, mib.trim().parse().ok()?);
        (id == process).then_some(mib << 20)
    });
    held.reduce(|a, b| a + b)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_has_the_sum_of_its_lines() {
        let text = "1234, 512\n 77, 100\n1234, 8\n99, [N/A]\nNo devices were found\n";
        assert_eq!(held_by(text, 1234), Some(520 << 20));
        assert_eq!(held_by(text, 99), None);
        assert_eq!(held_by("", 1), None);
    }
}
