//! Constants refitted to measured times.
//!
//! Six constants are fitted, all else stays: what a launch costs with and without programmatic
//! dependence, the latency of the L2 cache (that of device memory moves with it), the part of its
//! cycles in which a scheduler issues, and the rates of L2 cache and device memory. Sought is the
//! least sum of the squares of `ln(predicted / measured)`, over launches timed one by one, which
//! cost `launch_us` and their body, and over what whole runs save by launches that begin early: two
//! whole runs have the same copies, which their difference is free of.
//!
//! The unknowns are the constants' logarithms, so none becomes negative; a weak pull towards the
//! values before (a ten-thousandth of a measurement of each) decides what the measurements leave
//! open. Levenberg-Marquardt with differences for derivatives.

use super::combine::{Predicted, Work, predict};
use super::gpu::{Gpu, KEYS};

/// The constants that are fitted.
pub const FITTED: [&str; 6] =
    ["launch_us", "dependent_launch_us", "l2_cycles", "sustained_issue", "l2_gbps", "dram_gbps"];

/// Weight of the values before, as a part of one measurement.
const PULL: f64 = 1e-4;
/// Steps at most, and the change of a logarithm that ends them.
const STEPS: usize = 200;
const SETTLED: f64 = 1e-10;
/// Step of the differences.
const STEP: f64 = 1e-5;

/// A run that was measured.
#[derive(Clone, Debug, PartialEq)]
pub struct MeasuredRun {
    /// What its launches do.
    pub work: Vec<Work>,
    /// Microseconds of each launch by itself.
    pub launches_us: Vec<f64>,
    /// Microseconds that the whole run saves by launches that begin early, where it was measured.
    pub saved_us: Option<f64>,
}

/// What a fit came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Fit {
    /// The GPU with the constants found.
    pub gpu: Gpu,
    /// Root mean square of `ln(predicted / measured)` before and after.
    pub error: [f64; 2],
    /// Number of measurements.
    pub measurements: usize,
}

/// Fits `gpu` to what was measured; `source` says on what.
///
/// # Errors
///
/// Where there is nothing to fit to, or a run has another number of times than launches.
pub fn fit(gpu: &Gpu, runs: &[MeasuredRun], source: &str) -> Result<Fit, String> {
    for run in runs {
        let (found, expected) = (run.launches_us.len(), run.work.len());
        if found != expected {
            return Err(format!("times of {found} launches, expected {expected}"));
        }
    }
    let names: Vec<&str> = FITTED
        .into_iter()
        .filter(|name| gpu.dependent_launches() || *name != "dependent_launch_us")
        .collect();
    let start: Vec<f64> = names.iter().map(|name| value(gpu, name).max(1e-3).ln()).collect();
    let before = residuals(gpu, runs);
    if before.is_empty() {
        return Err("no measurements".to_owned());
    }
    let at = |logs: &[f64]| set(gpu, &names, logs, source);
    let errors = |logs: &[f64]| {
        let mut found = residuals(&at(logs), runs);
        let pulls = logs.iter().zip(&start).map(|(log, start)| PULL.sqrt() * (log - start));
        found.extend(pulls);
        found
    };
    let logs = minimise(&errors, start.clone());
    let gpu = rounded(at(&logs), &names);
    let rms = |errors: &[f64]| (square(errors) / errors.len() as f64).sqrt();
    let after = residuals(&gpu, runs);
    Ok(Fit { error: [rms(&before), rms(&after)], measurements: before.len(), gpu })
}

fn value(gpu: &Gpu, name: &str) -> f64 {
    gpu.rows().find(|(key, ..)| key.name == name).map_or(0.0, |(_, value, _)| value)
}

/// The GPU with constants from their logarithms, each kept to the range that files have.
fn set(gpu: &Gpu, names: &[&str], logs: &[f64], source: &str) -> Gpu {
    let ratio = gpu.constants.dram_cycles / gpu.constants.l2_cycles;
    let mut found = gpu.clone();
    for (name, log) in names.iter().zip(logs) {
        let key = KEYS.iter().find(|key| key.name == *name);
        let [least, most] = key.map_or([0.0, f64::MAX], |key| key.range);
        found = found.with(name, log.exp().clamp(least, most), source);
    }
    let dram = found.constants.l2_cycles * ratio;
    found = found.with("dram_cycles", dram, &format!("{source}, as a multiple of l2_cycles"));
    if !gpu.dependent_launches() {
        let launch = found.constants.launch_us;
        found = found.with("dependent_launch_us", launch, source);
    }
    found
}

/// The GPU with its fitted constants to six digits: no measurement gives more, and a file of them
/// reads back as it was written.
fn rounded(gpu: Gpu, names: &[&str]) -> Gpu {
    let rows: Vec<(&str, f64, String)> = gpu
        .rows()
        .filter(|(key, ..)| names.contains(&key.name) || key.name == "dram_cycles")
        .map(|(key, value, source)| (key.name, value, source.to_owned()))
        .collect();
    rows.into_iter().fold(gpu, |gpu, (name, value, source)| {
        let digits = format!("{value:.5e}").parse().unwrap_or(value);
        gpu.with(name, digits, &source)
    })
}

/// `ln(predicted / measured)` of every launch and every run.
fn residuals(gpu: &Gpu, runs: &[MeasuredRun]) -> Vec<f64> {
    let mut found = Vec::new();
    for run in runs {
        let predicted = predict(&run.work, gpu);
        for (launch, measured) in predicted.iter().zip(&run.launches_us) {
            // An event before it: it cannot begin early.
            let alone = gpu.constants.launch_us + launch.body_us;
            found.push((alone / measured).ln());
        }
        if let Some(measured) = run.saved_us.filter(|&us| us > 0.0) {
            let serial = predict(&run.work, &gpu.clone().serial());
            let us = |launches: &[Predicted]| launches.iter().map(Predicted::us).sum::<f64>();
            // A run that saves nothing has no logarithm: the least that is told apart.
            let saved = (us(&serial) - us(&predicted)).max(1e-3);
            // It says as much as the launches together.
            let weight = (run.work.len() as f64).sqrt();
            found.push(weight * (saved / measured).ln());
        }
    }
    found
}

fn square(errors: &[f64]) -> f64 {
    errors.iter().map(|error| error * error).sum()
}

/// Levenberg-Marquardt from `logs` on.
fn minimise(errors: &dyn Fn(&[f64]) -> Vec<f64>, mut logs: Vec<f64>) -> Vec<f64> {
    let n = logs.len();
    let mut damping = 1e-3;
    let mut found = errors(&logs);
    for _ in 0..STEPS {
        let columns: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                let mut moved = logs.clone();
                moved[i] += STEP;
                let there = errors(&moved);
                there.iter().zip(&found).map(|(a, b)| (a - b) / STEP).collect()
            })
            .collect();
        let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
        let mut moved = None;
        // More damping until a step makes it better.
        for _ in 0..30 {
            let mut matrix: Vec<Vec<f64>> =
                (0..n).map(|i| (0..n).map(|j| dot(&columns[i], &columns[j])).collect()).collect();
            for (i, row) in matrix.iter_mut().enumerate() {
                row[i] *= 1.0 + damping;
                row[i] += 1e-15;
            }
            let right: Vec<f64> = columns.iter().map(|column| -dot(column, &found)).collect();
            let step = solve(matrix, right);
            let there: Vec<f64> =
                logs.iter().zip(&step).map(|(log, step)| log + step.clamp(-1.0, 1.0)).collect();
            let then = errors(&there);
            if square(&then) < square(&found) {
                damping = (damping / 10.0).max(1e-12);
                moved = Some((there, then));
                break;
            }
            damping *= 10.0;
        }
        let Some((there, then)) = moved else { break };
        let change = there.iter().zip(&logs).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        (logs, found) = (there, then);
        if change < SETTLED {
            break;
        }
    }
    logs
}

/// Gaussian elimination with pivots; a row without one changes nothing.
fn solve(mut matrix: Vec<Vec<f64>>, mut right: Vec<f64>) -> Vec<f64> {
    let n = right.len();
    for i in 0..n {
        let pivot = (i..n).max_by(|&a, &b| matrix[a][i].abs().total_cmp(&matrix[b][i].abs()));
        let pivot = pivot.unwrap_or(i);
        matrix.swap(i, pivot);
        right.swap(i, pivot);
        if matrix[i][i] == 0.0 {
            continue;
        }
        for j in i + 1..n {
            let factor = matrix[j][i] / matrix[i][i];
            let (above, below) = matrix.split_at_mut(j);
            for (x, y) in below[0].iter_mut().zip(&above[i]).skip(i) {
                *x -= factor * y;
            }
            right[j] -= factor * right[i];
        }
    }
    let mut found = vec![0.0; n];
    for i in (0..n).rev() {
        let rest: f64 = (i + 1..n).map(|j| matrix[i][j] * found[j]).sum();
        let pivot = matrix[i][i];
        found[i] = if pivot == 0.0 { 0.0 } else { (right[i] - rest) / pivot };
    }
    found
}

#[cfg(test)]
mod tests {
    use super::super::combine::tests::{gpu, work};
    use super::super::combine::{PathCycles, Slots};
    use super::*;

    /// Launches of many kinds: each limit is felt by some.
    fn runs() -> Vec<Vec<Work>> {
        let of = |blocks: u64, slots: f64, l2: f64, dram: f64, loads: f64| Work {
            blocks,
            slots: Slots { all: slots, ..Slots::default() },
            l2_bytes: l2,
            dram_read: dram,
            path: PathCycles { memory: 200.0 * loads, arithmetic: 300.0, ..PathCycles::default() },
            memory_cycles: 200.0,
            hidden_cycles: 100.0,
            ..work()
        };
        let small = (1..=20).map(|i| of(1 + i % 7, 1e3 * i as f64, 1e3, 0.0, i as f64));
        let large = (1..=20).map(|i| {
            let x = i as f64;
            of(1000, 1e6 * x, 1e8 / x, 4e7 * (x % 3.0), 4.0)
        });
        vec![small.collect(), large.collect()]
    }

    fn saved(work: &[Work], gpu: &Gpu) -> f64 {
        let us = |gpu: &Gpu| predict(work, gpu).iter().map(Predicted::us).sum::<f64>();
        us(&gpu.clone().serial()) - us(gpu)
    }

    /// What a GPU of known constants would measure gives these constants again: to a per cent,
    /// since the pull towards the values before is a part in some ten thousand of what 42
    /// measurements say.
    #[test]
    fn a_fit_finds_the_constants_that_the_times_were_made_from() {
        let known: [(&str, f64); 6] = [
            ("launch_us", 2.7),
            ("dependent_launch_us", 1.4),
            ("l2_cycles", 320.0),
            ("sustained_issue", 0.61),
            ("l2_gbps", 1500.0),
            ("dram_gbps", 700.0),
        ];
        let truth =
            set(&gpu(), &known.map(|(name, _)| name), &known.map(|(_, value)| value.ln()), "known");
        let measured: Vec<MeasuredRun> = runs()
            .into_iter()
            .map(|work| {
                let predicted = predict(&work, &truth);
                MeasuredRun {
                    launches_us: predicted.iter().map(|p| p.body_us + 2.7).collect(),
                    saved_us: Some(saved(&work, &truth)),
                    work,
                }
            })
            .collect();
        let found = fit(&gpu(), &measured, "measured").unwrap();
        for (name, expected) in known {
            let value = value(&found.gpu, name);
            assert!((value / expected - 1.0).abs() < 0.01, "{name}: {value}, expected {expected}");
        }
        assert!(found.error[0] > 0.1 && found.error[1] < 1e-3, "{:?}", found.error);
        assert_eq!(found.measurements, 42);
        let again = Gpu::parse("fitted.json", &found.gpu.file()).unwrap();
        assert_eq!(again, found.gpu);
        assert!(again.rows().any(|(key, _, source)| key.name == "l2_gbps" && source == "measured"));
    }

    #[test]
    fn what_cannot_be_fitted_is_said() {
        assert_eq!(fit(&gpu(), &[], "x").unwrap_err(), "no measurements");
        let run = MeasuredRun { work: vec![work()], launches_us: vec![], saved_us: None };
        assert!(fit(&gpu(), &[run], "x").unwrap_err().contains("expected 1"));
    }
}
