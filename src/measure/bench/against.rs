//! An earlier document, and how the present one compares with it.

use super::{Document, Key, SCHEMA};
use serde::Serialize;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Comparison of a document's rows with those of an earlier one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The earlier document.
    pub file: String,
    /// Differences besides the code that make the ratios doubtful: one sentence each.
    pub differences: Vec<String>,
    /// Rows for which both documents have times.
    pub ratios: Vec<Ratio>,
    /// Rows without times in the earlier document.
    pub only_now: Vec<Key>,
    /// The earlier document's rows without times now.
    pub only_then: Vec<Key>,
}

/// One row, now by then.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ratio {
    /// Key of the row.
    #[serde(flatten)]
    pub key: Key,
    /// Median latency of the earlier document.
    pub then_latency_us: f64,
    /// Median latency, now by then: below 1 is faster.
    pub latency: f64,
    /// Median GPU Compute, now by then: below 1 is faster; none on the CPU.
    pub compute: Option<f64>,
    /// Throughput, now by then: above 1 is faster.
    pub throughput: f64,
}

/// Why a file is no earlier document.
#[derive(Debug, thiserror::Error)]
pub enum AgainstError {
    /// The file system said no.
    #[error("{path}: {source}; expected a file that `effnet bench --save` wrote", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Error of the file system.
        source: io::Error,
    },
    /// Longer than any document.
    #[error(
        "{path}: longer than {max} bytes: expected a file that `effnet bench --save` wrote",
        path = path.display(), max = MAX_BYTES
    )]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The file is not JSON, or does not have the fields of a document.
    #[error(
        "{path}: {source}; expected a file that `effnet bench --save` wrote: make a new one with it",
        path = path.display()
    )]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Fault, and its place.
        source: serde_json::Error,
    },
    /// A document of another kind or version.
    #[error(
        "{path}: expected a document with \"schema\": \"{SCHEMA}\", found {found}; make a new one with \
         `effnet bench --save`",
        path = path.display()
    )]
    Schema {
        /// The file.
        path: PathBuf,
        /// Schema that the file names.
        found: String,
    },
}

/// Far more than every configuration at once takes. A byte may take 32 bytes of memory.
const MAX_BYTES: u64 = 4 << 20;

/// Reads a document that `effnet bench --save` wrote.
pub fn read(path: &Path) -> Result<Document, AgainstError> {
    let io = |source| AgainstError::Io { path: path.to_owned(), source };
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(AgainstError::TooLong { path: path.to_owned() });
    }
    let malformed = |source| AgainstError::Malformed { path: path.to_owned(), source };
    // The schema first: a document of another kind would be told by a field that is not there.
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(malformed)?;
    match value.get("schema") {
        Some(serde_json::Value::String(schema)) if schema == SCHEMA => {}
        found => {
            let found = found.map_or_else(|| "none".to_owned(), ToString::to_string);
            return Err(AgainstError::Schema { path: path.to_owned(), found });
        }
    }
    // From the bytes again, for the place of an error.
    serde_json::from_slice(&bytes).map_err(malformed)
}

impl Comparison {
    /// `now` against `then`, which was read from `file`.
    pub fn new(now: &Document, then: &Document, file: &Path) -> Comparison {
        let mut differences = now.environment.differences(&then.environment);
        let graph = |on: bool| if on { "with a CUDA graph" } else { "without a CUDA graph" };
        let on_gpu = now.rows.iter().any(|row| row.key.path.is_some());
        if on_gpu && now.options.cuda_graph != then.options.cuda_graph {
            let [now, then] = [now.options.cuda_graph, then.options.cuda_graph].map(graph);
            differences.push(format!("launches: {now} now, {then} then"));
        }
        let on_cpu = now.rows.iter().any(|row| row.key.path.is_none());
        if on_cpu && now.options.threads != then.options.threads {
            let (now, then) = (now.options.threads, then.options.threads);
            differences.push(format!("threads: {now} now, {then} then"));
        }
        let mut comparison = Comparison {
            file: file.display().to_string(),
            differences,
            ratios: Vec::new(),
            only_now: Vec::new(),
            only_then: Vec::new(),
        };
        for row in &now.rows {
            let Some(result) = &row.result else { continue };
            let earlier = then.rows.iter().find(|earlier| earlier.key == row.key);
            match earlier.and_then(|earlier| earlier.result.as_ref()) {
                Some(earlier) => comparison.ratios.push(Ratio {
                    key: row.key.clone(),
                    then_latency_us: earlier.latency_us.median,
                    latency: ratio(result.latency_us.median, earlier.latency_us.median),
                    compute: result
                        .compute_us
                        .zip(earlier.compute_us)
                        .map(|(now, then)| ratio(now.median, then.median)),
                    throughput: ratio(result.images_per_s, earlier.images_per_s),
                }),
                None => comparison.only_now.push(row.key.clone()),
            }
        }
        for earlier in then.rows.iter().filter(|row| row.result.is_some()) {
            let found = now.rows.iter().find(|row| row.key == earlier.key);
            if found.is_none_or(|row| row.result.is_none()) {
                comparison.only_then.push(earlier.key.clone());
            }
        }
        comparison
    }

    /// The ratio of a row, if both documents have times for it.
    pub fn of(&self, key: &Key) -> Option<&Ratio> {
        self.ratios.iter().find(|ratio| ratio.key == *key)
    }
}

/// JSON has no infinity: nothing by nothing is 1, and something by nothing 0.
fn ratio(now: f64, then: f64) -> f64 {
    match (now == then, then > 0.0) {
        (true, _) => 1.0,
        (false, true) => now / then,
        (false, false) => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{document, row};
    use super::*;

    #[test]
    fn rows_are_matched_by_their_keys() {
        let then = document(vec![row(1, 1000.0, 10.0), row(8, 2000.0, 10.0)]);
        let mut failed = row(64, 1.0, 1.0);
        failed.result = None;
        let now = document(vec![row(32, 9.0, 1.0), row(1, 500.0, 10.0), failed]);
        let found = Comparison::new(&now, &then, Path::new("then.json"));
        assert_eq!(found.ratios.len(), 1);
        assert_eq!((found.ratios[0].latency, found.ratios[0].throughput), (0.5, 2.0));
        assert_eq!(found.ratios[0].compute, Some(0.5));
        assert_eq!(found.only_now, [row(32, 1.0, 1.0).key]);
        assert_eq!(found.only_then, [row(8, 1.0, 1.0).key]);
        assert!(found.differences.is_empty(), "{:?}", found.differences);
        assert!(found.of(&row(1, 1.0, 1.0).key).is_some());
    }

    #[test]
    fn what_else_differs_is_said() {
        let then = document(vec![row(1, 1000.0, 10.0)]);
        let mut now = then.clone();
        now.options.cuda_graph = false;
        now.environment.cpu.logical_cores += 1;
        let found = Comparison::new(&now, &then, Path::new("then.json")).differences;
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("without a CUDA graph now"), "{found:?}");
    }

    #[test]
    fn a_document_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("then.json");
        let then = document(vec![row(1, 1000.0, 10.0)]);
        let mut with = then.clone();
        with.against = Some(Comparison::new(&then, &then, Path::new("older.json")));
        std::fs::write(&path, serde_json::to_string(&with).unwrap()).unwrap();
        assert_eq!(read(&path).unwrap(), then);

        let said = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(said("{").contains("line 1"), "{}", said("{"));
        assert!(said("{}").contains("found none"));
        assert!(said("[]").contains("found none"));
        assert!(said(r#"{"schema": "effnet-profile/1"}"#).contains("\"effnet-profile/1\""));
        assert!(said(r#"{"schema": "effnet-bench/1"}"#).contains("environment"));
        assert!(read(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
        assert!(read(folder.path()).is_err());
    }
}
