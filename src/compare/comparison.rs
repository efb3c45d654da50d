//! The comparison itself: contestants in turn, and the figures that follow.

use super::accuracy::Accuracy;
use super::contestant::{Burst, BurstLength, Contestant, Failure, Memory, Started};
use super::{CompareError, Job};
use crate::measure::Summary;
use serde::Serialize;

/// Number and length of the contestants' turns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rounds {
    /// Rounds that count: in each, every contestant has one burst.
    pub rounds: usize,
    /// The length of a burst.
    pub length: BurstLength,
}

/// A baseline with its figures, or with the reason why it has none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Entry {
    /// Name of the contestant, as on the command line; `effnet` is this runtime.
    pub name: String,
    /// Outcome of the contestant: figures, or the reason why there are none.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// Outcome of a contestant.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// All was measured.
    Measured(Box<Measured>),
    /// The baseline is not on this machine.
    Missing {
        /// The missing part, and how to get it.
        how_to_get: String,
    },
    /// The baseline is there, and gives no figures.
    Failed(Failure),
}

/// The figures of a contestant.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Name and version of the runtime.
    pub runtime: String,
    /// Device that the contestant ran on.
    pub device: String,
    /// Precision that the contestant computed in, in its own words.
    pub precision: String,
    /// Time of a run, from input in the host's memory to logits there, over all rounds.
    pub latency_ms: Summary,
    /// Time of a run without copies between host and GPU, where that is known.
    pub device_ms: Option<Summary>,
    /// Images per second: the median of the rounds'.
    pub images_per_s: f64,
    /// Each round's figures.
    pub rounds: Vec<Round>,
    /// Latency of the contestant divided by this runtime's; none for this runtime.
    pub latency_ratio: Option<Ratio>,
    /// Ratio of the `device_ms`, where both are known.
    pub device_ratio: Option<Ratio>,
    /// This runtime's images per second divided by the contestant's; none for this runtime.
    pub throughput_ratio: Option<Ratio>,
    /// Accuracy of the contestant's logits, held against the CPU executor's.
    pub accuracy: Accuracy,
    /// Time from the start of a process to its first logits: the median of all starts.
    pub start_up_ms: f64,
    /// Time from the start of a process to its first logits, for each start.
    pub start_ups_ms: Vec<f64>,
    /// Time from weights or ONNX to a network that can run, the first time.
    pub build_ms: f64,
    /// Memory of the contestant's process.
    #[serde(flatten)]
    pub memory: Memory,
    /// Size of the file that the contestant runs.
    pub disk_bytes: u64,
    /// Kind of the file that the contestant runs.
    pub disk_file: &'static str,
    /// Further facts that a reader should know.
    pub notes: Vec<String>,
}

/// One burst of a contestant.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Round {
    /// The median time of a run.
    pub latency_ms: f64,
    /// The median time without copies, where that is known.
    pub device_ms: Option<f64>,
    /// Images by time.
    pub images_per_s: f64,
}

/// A ratio for each round, summed up; above 1 where this runtime is quicker.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Ratio {
    fn new(pairs: impl Iterator<Item = (f64, f64)>) -> Option<Ratio> {
        let ratios: Vec<f64> = pairs.map(|(above, below)| above / below).collect();
        let Summary { median, min, max, .. } = Summary::new(&ratios)?;
        Some(Ratio { median, min, max })
    }
}

impl Round {
    fn new(burst: &Burst) -> Option<Round> {
        let latency_ms = Summary::new(&burst.latencies_ms)?.median;
        let device_ms = Summary::new(&burst.device_ms).map(|times| times.median);
        Some(Round { latency_ms, device_ms, images_per_s: burst.images_per_s })
    }
}

/// A contestant that has started, with its bursts so far.
struct Running {
    contestant: Box<dyn Contestant>,
    started: Started,
    accuracy: Accuracy,
    bursts: Vec<Burst>,
}

/// Starts the contestants, compares their logits, and times them in turn. The first is this
/// runtime: where it fails, there is nothing to compare with. `report` is told of each step.
pub fn measure(
    job: &Job,
    rounds: Rounds,
    contestants: Vec<Box<dyn Contestant>>,
    report: &mut dyn FnMut(&str),
) -> Result<Vec<Entry>, CompareError> {
    report("reference: the CPU executor in fp32");
    let reference = job.reference()?;
    let mut field: Vec<(String, Result<Running, Failure>)> = Vec::new();
    for mut contestant in contestants {
        let name = contestant.name().to_owned();
        report(&format!("{name}: starting"));
        let running =
            start(&mut *contestant, &reference, job.classes()).map(|(started, accuracy)| Running {
                contestant,
                started,
                accuracy,
                bursts: Vec::new(),
            });
        if let (true, Err(failure)) = (field.is_empty(), &running) {
            return Err(CompareError::Runtime(failure.clone()));
        }
        field.push((name, running));
    }
    // Every other round goes backwards: each contestant follows each of its neighbours.
    for round in 0..=rounds.rounds {
        let counts = round > 0;
        report(&if counts {
            format!("round {round} of {}", rounds.rounds)
        } else {
            "a round that does not count".to_owned()
        });
        let turns: Vec<usize> = match round % 2 {
            0 => (0..field.len()).collect(),
            _ => (0..field.len()).rev().collect(),
        };
        for index in turns {
            let (_, running) = &mut field[index];
            let Ok(this) = running else { continue };
            match this.contestant.burst(rounds.length, counts) {
                Ok(burst) if counts => this.bursts.push(burst),
                Ok(_) => {}
                Err(failure) if index == 0 => return Err(CompareError::Runtime(failure)),
                Err(failure) => *running = Err(failure),
            }
        }
    }
    Ok(entries(field))
}

fn start(
    contestant: &mut dyn Contestant,
    reference: &[f32],
    classes: usize,
) -> Result<(Started, Accuracy), Failure> {
    let started = contestant.start()?;
    let logits = contestant.answer()?;
    Ok((started, Accuracy::new(&logits, reference, classes)?))
}

fn entries(field: Vec<(String, Result<Running, Failure>)>) -> Vec<Entry> {
    let mut ours: Option<Vec<Round>> = None;
    let entries = field.into_iter().map(|(name, running)| {
        let measured = running.and_then(|running| measured(running, ours.as_deref()));
        let outcome = match measured {
            Ok(measured) => {
                ours.get_or_insert_with(|| measured.rounds.clone());
                Outcome::Measured(Box::new(measured))
            }
            Err(failure) => Outcome::Failed(failure),
        };
        Entry { name, outcome }
    });
    entries.collect()
}

fn measured(running: Running, ours: Option<&[Round]>) -> Result<Measured, Failure> {
    let Running { mut contestant, started, accuracy, bursts } = running;
    let all = |part: fn(&Burst) -> &Vec<f64>| -> Option<Summary> {
        let all: Vec<f64> = bursts.iter().flat_map(|burst| part(burst).iter().copied()).collect();
        Summary::new(&all)
    };
    let rounds: Option<Vec<Round>> = bursts.iter().map(Round::new).collect();
    let latency_ms = all(|burst| &burst.latencies_ms);
    let images_per_s: Vec<f64> = bursts.iter().map(|burst| burst.images_per_s).collect();
    let images_per_s = Summary::new(&images_per_s);
    let start_up_ms = Summary::new(&started.start_up_ms);
    let (Some(rounds), Some(latency_ms), Some(images_per_s), Some(start_up_ms)) =
        (rounds, latency_ms, images_per_s, start_up_ms)
    else {
        return Err(Failure::new("timing", "expected times in every round, found none"));
    };
    let pairs = || ours.map(|ours| rounds.iter().zip(ours));
    let latency_ratio = pairs()
        .and_then(|pairs| Ratio::new(pairs.map(|(its, own)| (its.latency_ms, own.latency_ms))));
    let device_ratio = pairs().and_then(|pairs| {
        // All rounds or none: a missing one would make a ratio of other rounds.
        let pairs: Option<Vec<_>> =
            pairs.map(|(its, own)| its.device_ms.zip(own.device_ms)).collect();
        Ratio::new(pairs?.into_iter())
    });
    let throughput_ratio = pairs()
        .and_then(|pairs| Ratio::new(pairs.map(|(its, own)| (own.images_per_s, its.images_per_s))));
    let mut notes = started.notes;
    notes.extend(contestant.remarks());
    Ok(Measured {
        runtime: started.runtime,
        device: started.device,
        precision: started.precision,
        latency_ms,
        device_ms: all(|burst| &burst.device_ms),
        images_per_s: images_per_s.median,
        rounds,
        latency_ratio,
        device_ratio,
        throughput_ratio,
        accuracy,
        start_up_ms: start_up_ms.median,
        start_ups_ms: started.start_up_ms,
        build_ms: started.build_ms,
        memory: contestant.memory(),
        disk_bytes: started.disk_bytes,
        disk_file: started.disk_file,
        notes,
    })
}
