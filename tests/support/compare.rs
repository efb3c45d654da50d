//! Stand-ins for the programs that `effnet compare` drives, and the answers that they give.

use effnet::compare::Job;
use std::fs;
use std::path::{Path, PathBuf};

/// A stand-in for trtexec in `tests/fixtures/trtexec`.
pub fn trtexec(name: &str) -> PathBuf {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/trtexec");
    fixtures.join(format!("trtexec-{name}"))
}

/// A stand-in for Python in `tests/fixtures/python`.
pub fn python(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/python").join(name)
}

/// Writes the answers of trtexec's stand-in to the batches of a job, with the six digits that
/// trtexec writes.
pub fn write_answers(folder: &Path, job: &Job, logits: &[f32]) {
    fs::create_dir_all(folder).unwrap();
    let inputs = fs::read(job.path(Job::INPUTS_NCHW)).unwrap();
    let batches = job.images / job.options.batch;
    let inputs = inputs.chunks(inputs.len() / batches);
    for (inputs, logits) in inputs.zip(logits.chunks(logits.len() / batches)) {
        let key: String = inputs[..8].iter().map(|byte| format!("{byte:02x}")).collect();
        let values: Vec<String> = logits.iter().map(|logit| format!("{logit:.5e}")).collect();
        fs::write(folder.join(key), values.join(",") + "\n").unwrap();
    }
}
