//! What is counted of each model, in Prometheus' text form.

use super::error::ServeError;
use super::queue::Released;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Upper bounds of the histograms' buckets, in seconds.
const SECONDS: [f64; 14] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Durations, as a histogram.
#[derive(Debug, Default)]
pub struct Durations {
    buckets: [AtomicU64; SECONDS.len()],
    count: AtomicU64,
    nanos: AtomicU64,
}

impl Durations {
    /// One more.
    pub fn add(&self, duration: Duration) {
        let seconds = duration.as_secs_f64();
        if let Some(bucket) = SECONDS.iter().position(|&bound| seconds <= bound) {
            self.buckets[bucket].fetch_add(1, Relaxed);
        }
        self.nanos.fetch_add(duration.as_nanos() as u64, Relaxed);
        self.count.fetch_add(1, Relaxed);
    }

    /// Number of durations, and their sum in nanoseconds.
    pub fn total(&self) -> [u64; 2] {
        [self.count.load(Relaxed), self.nanos.load(Relaxed)]
    }

    fn write(&self, text: &mut String, name: &str, model: &str) {
        let mut below = 0;
        for (bound, bucket) in SECONDS.iter().zip(&self.buckets) {
            below += bucket.load(Relaxed);
            let _ = writeln!(text, "{name}_bucket{{model=\"{model}\",le=\"{bound}\"}} {below}");
        }
        let [count, nanos] = self.total();
        let _ = writeln!(text, "{name}_bucket{{model=\"{model}\",le=\"+Inf\"}} {count}");
        let _ = writeln!(text, "{name}_sum{{model=\"{model}\"}} {}", nanos as f64 * 1e-9);
        let _ = writeln!(text, "{name}_count{{model=\"{model}\"}} {count}");
    }
}

/// What is counted of a model.
#[derive(Debug, Default)]
pub struct ModelMetrics {
    /// Of requests with an answer, from their body to their answer.
    pub request: Durations,
    /// Of images, from the queue's end to its front.
    pub queue: Durations,
    /// Of images that were decoded.
    pub decode: Durations,
    /// Of batches, on the device.
    pub compute: Durations,
    /// Requests without an answer, by reason.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    /// Batches by their number of images.
    batches: Mutex<BTreeMap<usize, u64>>,
    released: [AtomicU64; Released::ALL.len()],
}

impl ModelMetrics {
    /// A batch goes.
    pub fn batch(&self, images: usize, released: Released) {
        *self.batches.lock().unwrap_or_else(PoisonError::into_inner).entry(images).or_default() +=
            1;
        self.released[released as usize].fetch_add(1, Relaxed);
    }

    /// A request has no answer.
    pub fn failure(&self, error: &ServeError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(error.reason()).or_default() += 1;
    }

    /// Requests without an answer.
    pub fn failures(&self) -> u64 {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Batches by their number of images.
    pub fn batches(&self) -> BTreeMap<usize, u64> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A model, its metrics, and what of it is queued: images and bytes.
pub type Row<'a> = (&'a str, &'a ModelMetrics, [usize; 2]);

/// All models' metrics.
pub fn text(models: &[Row<'_>]) -> String {
    let mut text = String::new();
    let head = |text: &mut String, name: &str, kind: &str, help: &str| {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    };
    let models: Vec<(String, &ModelMetrics, [usize; 2])> =
        models.iter().map(|(name, metrics, queued)| (escaped(name), *metrics, *queued)).collect();
    type Pick = fn(&ModelMetrics) -> &Durations;
    let histograms: [(&str, &str, Pick); 4] = [
        ("effnet_request_seconds", "Requests with an answer, from body to answer.", |m| &m.request),
        ("effnet_queue_seconds", "Images, in the queue.", |m| &m.queue),
        ("effnet_decode_seconds", "Images, decoding and resizing.", |m| &m.decode),
        ("effnet_run_seconds", "Batches, on the device.", |m| &m.compute),
    ];
    for (name, help, pick) in histograms {
        head(&mut text, name, "histogram", help);
        for (model, metrics, _) in &models {
            pick(metrics).write(&mut text, name, model);
        }
    }
    let name = "effnet_requests_failed_total";
    head(&mut text, name, "counter", "Requests without an answer, by reason.");
    for (model, metrics, _) in &models {
        for (reason, count) in metrics.failed.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let _ = writeln!(text, "{name}{{model=\"{model}\",reason=\"{reason}\"}} {count}");
        }
    }
    let name = "effnet_batches_total";
    head(&mut text, name, "counter", "Batches by why they went.");
    for (model, metrics, _) in &models {
        for released in Released::ALL {
            let count = metrics.released[released as usize].load(Relaxed);
            let by = released.name();
            let _ = writeln!(text, "{name}{{model=\"{model}\",released_by=\"{by}\"}} {count}");
        }
    }
    let name = "effnet_batch_images_total";
    head(&mut text, name, "counter", "Batches by their number of images.");
    for (model, metrics, _) in &models {
        for (images, count) in metrics.batches() {
            let _ = writeln!(text, "{name}{{model=\"{model}\",images=\"{images}\"}} {count}");
        }
    }
    for (index, name, help) in [
        (0, "effnet_queue_images", "Images that were taken and have no answer yet."),
        (1, "effnet_queue_bytes", "Bytes of the inputs of these images."),
    ] {
        head(&mut text, name, "gauge", help);
        for (model, _, queued) in &models {
            let _ = writeln!(text, "{name}{{model=\"{model}\"}} {}", queued[index]);
        }
    }
    text
}

/// A label's value.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_as_prometheus_reads_them() {
        let metrics = ModelMetrics::default();
        metrics.request.add(Duration::from_micros(700));
        metrics.request.add(Duration::from_secs(20));
        metrics.batch(3, Released::Free);
        metrics.failure(&ServeError::Late(Duration::ZERO));
        let text = text(&[("a\"b", &metrics, [2, 10])]);
        for line in [
            "# TYPE effnet_request_seconds histogram",
            "effnet_request_seconds_bucket{model=\"a\\\"b\",le=\"0.0005\"} 0",
            "effnet_request_seconds_bucket{model=\"a\\\"b\",le=\"0.001\"} 1",
            "effnet_request_seconds_bucket{model=\"a\\\"b\",le=\"10\"} 1",
            "effnet_request_seconds_bucket{model=\"a\\\"b\",le=\"+Inf\"} 2",
            "effnet_request_seconds_count{model=\"a\\\"b\"} 2",
            "effnet_requests_failed_total{model=\"a\\\"b\",reason=\"late\"} 1",
            "effnet_batches_total{model=\"a\\\"b\",released_by=\"free\"} 1",
            "effnet_batch_images_total{model=\"a\\\"b\",images=\"3\"} 1",
            "effnet_queue_images{model=\"a\\\"b\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
