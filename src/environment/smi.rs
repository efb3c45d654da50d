//! Clocks, power and temperature of a GPU, from `nvidia-smi`.

use crate::process::Program;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::process::Command;
use std::time::Duration;

/// State of a GPU at one time; a value that `nvidia-smi` does not tell is none.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct GpuState {
    /// Version of the driver, as in `580.65.06`.
    pub driver: Option<String>,
    /// Performance state, from P0, the fastest, to P12.
    pub performance_state: Option<String>,
    /// Clock of the multiprocessors.
    pub sm_clock_mhz: Option<f64>,
    /// Highest clock of the multiprocessors.
    pub max_sm_clock_mhz: Option<f64>,
    /// Clock of the memory.
    pub memory_clock_mhz: Option<f64>,
    /// Highest clock of the memory.
    pub max_memory_clock_mhz: Option<f64>,
    /// Power drawn.
    pub power_w: Option<f64>,
    /// Power that the GPU may draw.
    pub power_limit_w: Option<f64>,
    /// Temperature of the chip.
    pub temperature_c: Option<f64>,
    /// Part of the time in which a kernel ran, in percent.
    pub utilization_percent: Option<f64>,
}

/// The query, in `nvidia-smi`'s names, in the order of [`parse`].
const QUERY: &str = "--query-gpu=pci.bus_id,driver_version,pstate,clocks.sm,clocks.max.sm,clocks.mem,\
                     clocks.max.mem,power.draw,power.limit,temperature.gpu,utilization.gpu";
/// A driver in trouble may never answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl GpuState {
    /// Asks `nvidia-smi`, where it is on the PATH, about the GPU at this place; without a place,
    /// about the only one there is.
    pub fn look(pci_bus_id: Option<&str>) -> GpuState {
        ask().and_then(|answer| choose(&answer, pci_bus_id)).unwrap_or_default()
    }
}

impl fmt::Display for GpuState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == GpuState::default() {
            return f.write_str("unknown: nvidia-smi does not tell");
        }
        let of = |now: Option<f64>, most: Option<f64>, unit: &str| match (now, most) {
            (None, None) => "unknown".to_owned(),
            (Some(now), None) => format!("{now} {unit}"),
            (now, Some(most)) => {
                let now = now.map_or_else(|| "unknown".to_owned(), |now| now.to_string());
                format!("{now} of {most} {unit}")
            }
        };
        write!(
            f,
            "{}, multiprocessors {}, memory {}, power {}, temperature {}, busy {}",
            self.performance_state.as_deref().unwrap_or("state unknown"),
            of(self.sm_clock_mhz, self.max_sm_clock_mhz, "MHz"),
            of(self.memory_clock_mhz, self.max_memory_clock_mhz, "MHz"),
            of(self.power_w, self.power_limit_w, "W"),
            of(self.temperature_c, None, "C"),
            of(self.utilization_percent, None, "%"),
        )
    }
}

/// `nvidia-smi`'s answer, a line for each GPU.
fn ask() -> Option<String> {
    let mut command = Command::new("nvidia-smi");
    command.args([QUERY, "--format=csv,noheader,nounits"]);
    let ended = Program::start(command).ok()?.finish("nvidia-smi", PATIENCE, |_| {}).ok()?;
    ended.status.success().then_some(ended.text)
}

/// The GPU at the place, or the only one.
fn choose(answer: &str, pci_bus_id: Option<&str>) -> Option<GpuState> {
    let gpus: Vec<(String, GpuState)> = answer.lines().filter_map(parse).collect();
    match pci_bus_id {
        Some(place) => {
            let mut gpus = gpus.into_iter();
            gpus.find(|(at, _)| at.eq_ignore_ascii_case(place)).map(|(_, state)| state)
        }
        None if gpus.len() == 1 => gpus.into_iter().next().map(|(_, state)| state),
        None => None,
    }
}

/// One line: where the GPU is, and its state. Values such as `[N/A]` are none.
fn parse(line: &str) -> Option<(String, GpuState)> {
    let cells: Vec<&str> = line.split(',').map(str::trim).collect();
    let [at, driver, pstate, sm, max_sm, memory, max_memory, power, limit, temperature, busy] =
        cells[..]
    else {
        return None;
    };
    let text = |cell: &str| {
        (!cell.is_empty() && !cell.starts_with('[') && cell != "N/A").then(|| cell.to_owned())
    };
    let number = |cell: &str| cell.parse().ok().filter(|x: &f64| x.is_finite());
    let state = GpuState {
        driver: text(driver),
        performance_state: text(pstate),
        sm_clock_mhz: number(sm),
        max_sm_clock_mhz: number(max_sm),
        memory_clock_mhz: number(memory),
        max_memory_clock_mhz: number(max_memory),
        power_w: number(power),
        power_limit_w: number(limit),
        temperature_c: number(temperature),
        utilization_percent: number(busy),
    };
    Some((at.to_owned(), state))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "\
00000000:19:00.0, 580.65.06, P0, 1980, 1980, 3201, 3201, 121.05, 700.00, 36, 97
00000000:3B:00.0, 580.65.06, P8, 345, 1980, [N/A], 3201, [Not Supported], 700.00, 30, 0
";

    #[test]
    fn gpus_are_told_apart_by_their_place() {
        let first = choose(TWO, Some("00000000:19:00.0")).unwrap();
        assert_eq!(first.sm_clock_mhz, Some(1980.0));
        assert_eq!(first.power_w, Some(121.05));
        let second = choose(TWO, Some("00000000:3b:00.0")).unwrap();
        assert_eq!(second.performance_state.as_deref(), Some("P8"));
        assert_eq!((second.memory_clock_mhz, second.power_w), (None, None));
        assert_eq!(choose(TWO, Some("00000000:FF:00.0")), None);
        assert_eq!(choose(TWO, None), None);
        assert_eq!(choose(TWO.lines().next().unwrap(), None), Some(first));
    }

    #[test]
    fn what_is_no_table_is_unknown() {
        for answer in ["", "NVIDIA-SMI has failed", "a,b,c", "Field \"x\" is not valid"] {
            assert_eq!(choose(answer, None), None, "{answer}");
        }
        assert_eq!(GpuState::default().to_string(), "unknown: nvidia-smi does not tell");
        let hot = GpuState { temperature_c: Some(80.0), ..GpuState::default() }.to_string();
        assert!(hot.contains("power unknown") && hot.contains("temperature 80 C"), "{hot}");
    }
}
