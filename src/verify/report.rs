//! What was found: of every launch its worst element, and of the first that is off, what is wrong.

use serde::{Serialize, Serializer};
use std::fmt;

/// One element of a tensor that a launch wrote.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Element {
    /// The tensor, as in `blocks.3.project`.
    pub tensor: String,
    /// What the numbers of `index` count, as in `n, h, w, c`.
    pub axes: &'static str,
    /// Where in the tensor.
    pub index: Vec<usize>,
    /// The step in f64.
    #[serde(serialize_with = "number")]
    pub expected: f64,
    /// What the launch left.
    #[serde(serialize_with = "number")]
    pub found: f64,
    /// The most that they may differ by.
    #[serde(serialize_with = "number")]
    pub bound: f64,
    /// Their difference as a part of the bound: above 1 it is off.
    #[serde(serialize_with = "number")]
    pub ratio: f64,
}

/// JSON has no NaN and no infinity: they are written as texts.
fn number<S: Serializer>(x: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if x.is_finite() { serializer.serialize_f64(*x) } else { serializer.collect_str(x) }
}

impl Element {
    /// The difference of found and expected.
    pub fn error(&self) -> f64 {
        (self.found - self.expected).abs()
    }

    /// As in `blocks.3.project [0, 12, 3, 17]`.
    pub fn place(&self) -> String {
        format!("{} {:?}", self.tensor, self.index)
    }
}

/// One launch that was run and held against its step.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LaunchCheck {
    /// As in `blocks.3.project`.
    pub launch: String,
    /// The kernel's symbol.
    pub kernel: &'static str,
    /// The part of the network that it belongs to: `stem`, `block 3` and the like, or `head`.
    pub part: String,
    /// Elements that it wrote.
    pub values: usize,
    /// The element that is furthest off, as a part of its bound.
    pub worst: Element,
}

/// What is wrong with the first launch that is off, or with the logits.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Fault {
    /// A value is not what it has to be.
    Value {
        /// The launch.
        launch: String,
        /// Its kernel's symbol.
        kernel: &'static str,
        /// The first that is no finite number, else the one that is furthest off.
        element: Element,
        /// Values of the tensor that are off.
        off: usize,
        /// Values of the tensor.
        values: usize,
    },
    /// The launch did not end well.
    Failed {
        /// The launch.
        launch: String,
        /// Its kernel's symbol.
        kernel: &'static str,
        /// In the device's words.
        message: String,
    },
    /// The launch wrote where no tensor is.
    Outside {
        /// The launch.
        launch: String,
        /// Its kernel's symbol.
        kernel: &'static str,
        /// The nearest of the tensors that it writes.
        tensor: String,
        /// Distance of the first changed byte from the tensor's start; negative before it.
        offset_bytes: i64,
    },
    /// The launch left a counter that is not zero, for which the next would wait in vain.
    Counter {
        /// The launch.
        launch: String,
        /// Its kernel's symbol.
        kernel: &'static str,
        /// Which of them.
        index: usize,
        /// What it is.
        found: u32,
    },
    /// Every launch is right, and the logits are not the CPU executor's.
    Logits(LogitsCheck),
}

impl Fault {
    /// The launch, and its kernel's symbol; none where it is not a launch that is off.
    pub fn launch(&self) -> Option<(&str, &'static str)> {
        match self {
            Fault::Value { launch, kernel, .. }
            | Fault::Failed { launch, kernel, .. }
            | Fault::Outside { launch, kernel, .. }
            | Fault::Counter { launch, kernel, .. } => Some((launch, kernel)),
            Fault::Logits(_) => None,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((launch, kernel)) = self.launch() {
            writeln!(f, "{launch} is off: kernel {kernel}")?;
        }
        match self {
            Fault::Value { element, off, values, .. } => {
                writeln!(f, "  tensor    {}", element.tensor)?;
                writeln!(f, "  index     {:?} of [{}]", element.index, element.axes)?;
                writeln!(f, "  expected  {:e}", element.expected)?;
                writeln!(f, "  found     {:e}", element.found)?;
                write!(f, "  bound     {:.3e}", element.bound)?;
                if element.found.is_finite() {
                    write!(f, ", and the difference is {:.3e}", element.error())?;
                }
                write!(f, "\n  in all    {off} of the tensor's {values} values are off")
            }
            Fault::Failed { message, .. } => write!(f, "  {message}"),
            Fault::Outside { tensor, offset_bytes, .. } => write!(
                f,
                "  it wrote where no tensor is: {offset_bytes} bytes from the start of {tensor}"
            ),
            Fault::Counter { index, found, .. } => {
                write!(f, "  it left counter {index} at {found}, expected 0")
            }
            Fault::Logits(check) => write!(
                f,
                "the logits are off: every launch keeps to its bound, and class {} is {} where the CPU \
                 executor gives {}:\n  {:.2e} of the largest logit, and at most {:.2e} is expected",
                check.class, check.found, check.expected, check.difference, check.bound
            ),
        }
    }
}

/// The logits against the CPU executor's.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LogitsCheck {
    /// The image with the largest difference.
    pub image: usize,
    /// The class with the largest difference.
    pub class: usize,
    /// The CPU executor's logit.
    #[serde(serialize_with = "number")]
    pub expected: f64,
    /// The device's.
    #[serde(serialize_with = "number")]
    pub found: f64,
    /// Their difference as a part of the largest logit.
    #[serde(serialize_with = "number")]
    pub difference: f64,
    /// The most that it may be.
    pub bound: f64,
}

/// All that was found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Outcome {
    /// The launches that are right, in order.
    pub checks: Vec<LaunchCheck>,
    /// Launches of the run.
    pub launches: usize,
    /// The logits; none where a launch before them is off.
    pub logits: Option<LogitsCheck>,
    /// The first thing that is off.
    pub fault: Option<Fault>,
}

impl Outcome {
    /// Elements that were held against their bounds.
    pub fn values(&self) -> usize {
        self.checks.iter().map(|check| check.values).sum()
    }

    /// The parts of the network, in order.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        for check in &self.checks {
            match parts.last_mut().filter(|part| part.name == check.part) {
                Some(part) => part.add(check),
                None => parts.push(Part::of(check)),
            }
        }
        parts
    }
}

/// Launches of one part of the network, one after the other.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// `stem`, `block 3` and the like, or `head`.
    pub name: String,
    /// Number of its launches.
    pub launches: usize,
    /// Elements that they wrote.
    pub values: usize,
    /// The element that is furthest off, as a part of its bound.
    pub worst: Element,
}

impl Part {
    /// The part that a launch begins.
    pub fn of(check: &LaunchCheck) -> Part {
        Part {
            name: check.part.clone(),
            launches: 1,
            values: check.values,
            worst: check.worst.clone(),
        }
    }

    /// Adds a launch of the same part.
    pub fn add(&mut self, check: &LaunchCheck) {
        self.launches += 1;
        self.values += check.values;
        if check.worst.ratio > self.worst.ratio {
            self.worst = check.worst.clone();
        }
    }
}
