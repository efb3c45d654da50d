//! Doubts about times: the observation, the likely cause, and the way out.

use super::{Measurement, Options, Row};
use crate::environment::Environment;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A doubt about times.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Kind of the doubt, for programs.
    pub kind: WarningKind,
    /// The observation.
    pub seen: String,
    /// The likely cause, and the way out.
    pub remedy: String,
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.seen, self.remedy)
    }
}

/// Kinds of doubts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WarningKind {
    /// The coefficient of variation is high.
    Unstable,
    /// The host takes about as long to enqueue the launches as the GPU to run them.
    EnqueueBound,
    /// Copies take longer than computing.
    TransferBound,
    /// Staging and waiting on the host take long beside the device's work.
    HostBound,
    /// Too few runs for the percentiles.
    FewRuns,
    /// Other work on the machine.
    Load,
    /// More threads than cores.
    Threads,
    /// The build is not optimised.
    DebugBuild,
    /// A kind of a later version; its texts describe it.
    #[serde(other)]
    Other,
}

/// Spread from which times are called unstable, as a part of their mean.
const UNSTABLE: f64 = 0.025;
/// Part of the compute time that enqueueing may take before it is called the bottleneck.
const ENQUEUE: f64 = 0.8;
/// Part of the latency that the host may add to it.
const HOST: f64 = 0.5;

/// Doubts about one row.
pub fn of_row(row: &Row, options: &Options) -> Vec<Warning> {
    let Some(result) = &row.result else { return Vec::new() };
    let mut list = Vec::new();
    let mut warn = |kind, seen: String, remedy: &str| {
        list.push(Warning { kind, seen, remedy: remedy.to_owned() });
    };
    let (what, steady) = match &result.compute_us {
        Some(compute) => ("GPU Compute", compute),
        None => ("Latency", &result.latency_us),
    };
    if steady.cv > UNSTABLE {
        let seen = format!(
            "{what} is not stable: its coefficient of variation is {:.1} %, above {} %",
            100.0 * steady.cv,
            100.0 * UNSTABLE
        );
        warn(WarningKind::Unstable, seen, &stable(result));
    }
    if steady.n < 10 {
        let seen = format!("few runs ({}): percentiles are those of the slowest", steady.n);
        warn(WarningKind::FewRuns, seen, "raise --iterations or --duration");
    }
    let (Some(enqueue), Some(compute), Some(h2d), Some(d2h)) =
        (&result.enqueue_us, &result.compute_us, &result.h2d_us, &result.d2h_us)
    else {
        return list;
    };
    let us = |x: f64| format!("{x:.1} us");
    if enqueue.median > ENQUEUE * compute.median {
        let seen = format!(
            "the host is the bottleneck: it takes {} to enqueue what the GPU computes in {}",
            us(enqueue.median),
            us(compute.median)
        );
        let remedy = if options.cuda_graph {
            "raise --batch"
        } else {
            "use a CUDA graph (--graph on), or raise --batch"
        };
        warn(WarningKind::EnqueueBound, seen, remedy);
    }
    let copies = h2d.median + d2h.median;
    if copies > compute.median {
        let seen = format!(
            "the way to the GPU is the bottleneck: copies take {}, computing {}",
            us(copies),
            us(compute.median)
        );
        let remedy = "read GPU Compute for the kernels alone; `nvidia-smi -q` shows whether the GPU's \
                      PCIe link is as wide and fast as it can be";
        warn(WarningKind::TransferBound, seen, remedy);
    }
    let added = result.host_us.median - result.latency_us.median;
    if added > HOST * result.latency_us.median {
        let seen = format!(
            "the host is the bottleneck: staging the input and waiting add {} to a Latency of {}",
            us(added),
            us(result.latency_us.median)
        );
        let remedy = "end other work on the CPU; read Latency for the device alone";
        warn(WarningKind::HostBound, seen, remedy);
    }
    list
}

/// Reason of varying times, and the way to steady ones.
fn stable(result: &Measurement) -> String {
    if result.compute_us.is_none() {
        return "other work takes the cores, or their clocks change: end it, pin the process with \
                `taskset`, or measure longer with --duration"
            .to_owned();
    }
    let clock = result.gpu_state.as_ref().and_then(|state| state.max_sm_clock_mhz);
    let clock = clock.map_or_else(|| "MHZ".to_owned(), |clock| clock.to_string());
    format!(
        "the GPU's clocks change, or other work shares it: lock the clocks with `nvidia-smi -lgc {clock}` \
         (a lower one where power or heat lowers it), end the other work, or measure longer with --duration"
    )
}

/// Doubts about all rows.
pub fn of_environment(environment: &Environment, options: &Options, on_cpu: bool) -> Vec<Warning> {
    let mut list = Vec::new();
    let mut warn = |kind, seen: String, remedy: String| list.push(Warning { kind, seen, remedy });
    let cores = environment.cpu.logical_cores;
    if environment.debug_build {
        warn(
            WarningKind::DebugBuild,
            "this effnet was built with checks: what the host does takes longer than it need"
                .to_owned(),
            "build it with --release".to_owned(),
        );
    }
    if on_cpu && options.threads > cores {
        warn(
            WarningKind::Threads,
            format!("{} threads on {cores} logical cores wait for each other", options.threads),
            format!("leave out --threads, or give at most {cores}"),
        );
    }
    if let Some(load) = environment.cpu.load_1min.filter(|load| *load > 0.5 * cores as f64) {
        warn(
            WarningKind::Load,
            format!(
                "other work was on the machine at the start: load {load} on {cores} logical cores"
            ),
            "end it, or take these times as upper bounds".to_owned(),
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, row};
    use super::*;
    use crate::measure::{Sampling, Summary};

    fn kinds(list: &[Warning]) -> Vec<WarningKind> {
        list.iter().map(|warning| warning.kind).collect()
    }

    fn options(cuda_graph: bool) -> Options {
        Options { sampling: Sampling::default(), cuda_graph, threads: 1 }
    }

    #[test]
    fn steady_times_give_no_warning() {
        assert_eq!(of_row(&row(1, 1000.0, 20.0), &options(true)), []);
    }

    #[test]
    fn each_doubt_has_its_kind_and_a_remedy() {
        let doubtful = row(1, 1000.0, 790.0);
        let found = of_row(&doubtful, &options(false));
        assert_eq!(kinds(&found), [WarningKind::EnqueueBound]);
        assert!(found[0].remedy.contains("--graph on"), "{found:?}");

        let mut wobbling = row(1, 1000.0, 20.0);
        let result = wobbling.result.as_mut().unwrap();
        result.compute_us = Summary::new(&[700.0, 900.0]);
        let found = of_row(&wobbling, &options(true));
        assert_eq!(kinds(&found), [WarningKind::Unstable, WarningKind::FewRuns]);
        assert!(found[0].remedy.contains("nvidia-smi -lgc"), "{found:?}");

        let mut copying = row(1, 1000.0, 20.0);
        let result = copying.result.as_mut().unwrap();
        result.h2d_us = Summary::new(&[900.0; 10]);
        result.host_us = Summary::new(&[1600.0; 10]).unwrap();
        let found = of_row(&copying, &options(true));
        assert_eq!(kinds(&found), [WarningKind::TransferBound, WarningKind::HostBound]);
    }

    #[test]
    fn the_machine_is_doubted_too() {
        let mut environment = document(Vec::new()).environment;
        environment.debug_build = true;
        environment.cpu.logical_cores = 2;
        environment.cpu.load_1min = Some(1.5);
        let options = Options { threads: 3, ..options(true) };
        let all = [WarningKind::DebugBuild, WarningKind::Threads, WarningKind::Load];
        assert_eq!(kinds(&of_environment(&environment, &options, true)), all);
        environment.debug_build = false;
        environment.cpu.load_1min = None;
        assert_eq!(of_environment(&environment, &options, false), []);
    }

    #[test]
    fn a_kind_of_a_later_version_is_read() {
        let text = r#"{"kind": "haunted", "seen": "a light", "remedy": "run"}"#;
        assert_eq!(serde_json::from_str::<Warning>(text).unwrap().kind, WarningKind::Other);
    }
}
