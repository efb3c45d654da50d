//! Measured times to lay beside predicted ones: what `effnet profile --device cuda --json` wrote.

use super::pairs::read_text;
use crate::arch::Size;
use serde::Deserialize;
use std::path::Path;

/// The largest profile that is read.
const MAX_FILE_BYTES: u64 = 16 << 20;
/// The only schema that is read.
const SCHEMA: &str = "effnet-profile/1";

/// A measured run.
#[derive(Clone, Debug, PartialEq)]
pub struct Measured {
    /// The file, for people.
    pub file: String,
    /// As in `b0`.
    pub variant: String,
    /// The device in its own words.
    pub device: String,
    /// Images of a run.
    pub batch: usize,
    /// Size of the images.
    pub size: Size,
    /// `fused` or `layerwise`.
    pub path: String,
    /// `fp16`, `fp32`, `tf32`.
    pub precision: String,
    /// Name and microseconds of each launch, timed with an event before and after it.
    pub launches: Vec<(String, f64)>,
    /// A whole run with its copies.
    pub run_us: f64,
    /// The same where no launch begins early, on a GPU where they do.
    pub serial_run_us: Option<f64>,
}

/// A file that is not a measured profile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {message}")]
pub struct MeasuredError {
    /// The file.
    pub file: String,
    /// What is wrong with it.
    pub message: String,
}

#[derive(Deserialize)]
struct File {
    schema: String,
    kind: String,
    subject: Subject,
    #[serde(default)]
    run_us: Option<Median>,
    #[serde(default)]
    serial_run_us: Option<Median>,
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Subject {
    variant: String,
    device: String,
    device_name: String,
    path: Option<String>,
    precision: String,
    batch: usize,
    size: Size,
}

#[derive(Deserialize)]
struct Median {
    median: f64,
}

#[derive(Deserialize)]
struct Item {
    name: String,
    time_us: Option<f64>,
}

impl Measured {
    /// Reads a profile.
    ///
    /// # Errors
    ///
    /// [`MeasuredError`] where the file is not a profile of times of a GPU.
    pub fn read(path: &Path) -> Result<Measured, MeasuredError> {
        let file = path.display().to_string();
        let text = read_text(path, MAX_FILE_BYTES)
            .map_err(|message| MeasuredError { file: file.clone(), message })?;
        Measured::parse(&file, &text)
    }

    /// A profile from its text.
    ///
    /// # Errors
    ///
    /// As [`Measured::read`].
    pub fn parse(file: &str, text: &str) -> Result<Measured, MeasuredError> {
        let wrong = |message: String| MeasuredError { file: file.to_owned(), message };
        let expected = "expected what `effnet profile --device cuda --json` prints";
        let found: File =
            serde_json::from_str(text).map_err(|error| wrong(format!("{error}; {expected}")))?;
        if found.schema != SCHEMA {
            return Err(wrong(format!("schema {:?}, expected {SCHEMA:?}", found.schema)));
        }
        let subject = found.subject;
        let (Some(run), Some(path)) = (found.run_us, subject.path) else {
            let what = format!("{} of {}", found.kind, subject.device);
            return Err(wrong(format!("{what}, without times of launches; {expected}")));
        };
        let positive = |us: f64| us.is_finite() && us > 0.0;
        let serial = found.serial_run_us.map(|serial| serial.median);
        for (name, us) in [("run_us", Some(run.median)), ("serial_run_us", serial)] {
            if let Some(us) = us.filter(|&us| !positive(us)) {
                return Err(wrong(format!("{name}.median: found {us}, expected more than 0")));
            }
        }
        let mut launches = Vec::with_capacity(found.items.len());
        for item in found.items {
            match item.time_us {
                Some(us) if positive(us) => launches.push((item.name, us)),
                other => {
                    let said =
                        format!("{}: time_us: found {other:?}, expected more than 0", item.name);
                    return Err(wrong(said));
                }
            }
        }
        if launches.is_empty() {
            return Err(wrong(format!("no launches; {expected}")));
        }
        Ok(Measured {
            file: file.to_owned(),
            variant: subject.variant,
            device: subject.device_name,
            batch: subject.batch,
            size: subject.size,
            path,
            precision: subject.precision,
            launches,
            run_us: run.median,
            serial_run_us: serial,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn text() -> serde_json::Value {
        json!({
            "schema": "effnet-profile/1", "kind": "times",
            "subject": {
                "model": "b0", "variant": "b0", "weights": "random", "device": "cuda:0",
                "device_name": "NVIDIA H100", "path": "fused", "precision": "fp16", "batch": 2,
                "size": { "h": 224, "w": 224 }, "threads": null,
            },
            "run_us": { "n": 3, "median": 250.0 },
            "items": [{ "name": "stem", "time_us": 4.5 }],
        })
    }

    #[test]
    fn a_profile_of_times_is_read() {
        let found = Measured::parse("p.json", &text().to_string()).unwrap();
        assert_eq!(found.launches, [("stem".to_owned(), 4.5)]);
        assert_eq!((found.batch, found.run_us, found.size), (2, 250.0, Size::square(224)));
    }

    #[test]
    fn what_is_no_measured_profile_is_refused_with_the_reason() {
        let refused = |edit: &dyn Fn(&mut serde_json::Value)| {
            let mut value = text();
            edit(&mut value);
            Measured::parse("p.json", &value.to_string()).unwrap_err().to_string()
        };
        let said = refused(&|v| v["schema"] = json!("effnet-bench/1"));
        assert!(said.starts_with("p.json: schema \"effnet-bench/1\""), "{said}");
        let said = refused(&|v| v["run_us"] = json!(null));
        assert!(said.contains("times of cuda:0, without times"), "{said}");
        let said = refused(&|v| v["items"][0]["time_us"] = json!(0.0));
        assert!(said.contains("stem: time_us: found Some(0.0)"), "{said}");
        let said = refused(&|v| v["items"] = json!([]));
        assert!(said.contains("no launches"), "{said}");
        assert!(Measured::parse("p.json", "NaN").is_err());
    }
}
