//! What is counted of each model, in Prometheus' text form.

use super::error::ServeError;
use super::queue::Released;
use std::collections::BTreeMap;
use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

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

    fn write(&self, text: &mut Text, name: &str, model: &str) {
        let mut below = 0;
        for (bound, bucket) in SECONDS.iter().zip(&self.buckets) {
            below += bucket.load(Relaxed);
            text.value(&format!("{name}_bucket"), &format!("{model},le=\"{bound}\""), below);
        }
        let [count, nanos] = self.total();
        text.value(&format!("{name}_bucket"), &format!("{model},le=\"+Inf\""), count);
        text.value(&format!("{name}_sum"), model, nanos as f64 * 1e-9);
        text.value(&format!("{name}_count"), model, count);
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
    /// Of batches, from the device to their requests.
    pub output: Durations,
    /// Requests that were taken and have no answer yet.
    pub pending: AtomicU64,
    /// Milliseconds since 1970 of the last answer.
    last_request: AtomicU64,
    /// How often a device was taken up anew.
    renewals: AtomicU64,
    /// Nanoseconds that requests with an answer spent: decoding, in the queue, on the device, and with
    /// all else.
    spent: [AtomicU64; 4],
    /// Requests without an answer, by reason.
    failed: Mutex<BTreeMap<&'static str, u64>>,
    /// Batches by their number of images, and their nanoseconds on the device.
    batches: Mutex<BTreeMap<usize, [u64; 2]>>,
    released: [AtomicU64; Released::ALL.len()],
}

impl ModelMetrics {
    /// A batch goes.
    pub fn released(&self, released: Released) {
        self.released[released as usize].fetch_add(1, Relaxed);
    }

    /// A batch was run.
    pub fn ran(&self, images: usize, run: Duration) {
        self.compute.add(run);
        let mut batches = self.batches.lock().unwrap_or_else(PoisonError::into_inner);
        let [count, nanos] = batches.entry(images).or_default();
        *count += 1;
        *nanos += run.as_nanos() as u64;
    }

    /// A request has its answer, and spent so much of its time with decoding, in the queue and on the
    /// device.
    pub fn answered(&self, after: Duration, parts: [Duration; 3]) {
        let [input, queue, run] = parts;
        let rest = after.saturating_sub(input + queue + run);
        for (sum, part) in self.spent.iter().zip([input, queue, run, rest]) {
            sum.fetch_add(part.as_nanos() as u64, Relaxed);
        }
        self.request.add(after);
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.last_request.store(now.as_millis() as u64, Relaxed);
    }

    /// Nanoseconds that requests with an answer spent: decoding, in the queue, on the device, and with
    /// all else.
    pub fn spent(&self) -> [u64; 4] {
        [0, 1, 2, 3].map(|part| self.spent[part].load(Relaxed))
    }

    /// Milliseconds since 1970 of the last answer; 0 without one.
    pub fn last_request(&self) -> u64 {
        self.last_request.load(Relaxed)
    }

    /// A device that had failed was taken up anew.
    pub fn renewed(&self) {
        self.renewals.fetch_add(1, Relaxed);
    }

    /// A request's client has left.
    pub fn cancelled(&self) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry("cancelled").or_default() += 1;
    }

    /// A request has no answer.
    pub fn failure(&self, error: &ServeError) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        *failed.entry(error.reason()).or_default() += 1;
    }

    /// Requests without an answer, by reason.
    fn failed(&self) -> BTreeMap<&'static str, u64> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Requests without an answer.
    pub fn failures(&self) -> u64 {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    /// Batches by their number of images, and their nanoseconds on the device.
    pub fn batches(&self) -> BTreeMap<usize, [u64; 2]> {
        self.batches.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// What is told of a model.
#[derive(Debug)]
pub struct Row<'a> {
    /// Its name.
    pub name: &'a str,
    /// What is counted.
    pub metrics: &'a ModelMetrics,
    /// Images in the queue, and their bytes.
    pub queued: [usize; 2],
    /// Bytes of GPUs' memory, by the GPU's number.
    pub memory: BTreeMap<usize, u64>,
    /// How long it took to prepare.
    pub load_time: Duration,
}

/// Prometheus' text, metric by metric.
struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn value(&mut self, name: &str, labels: &str, value: impl Display) {
        let _ = writeln!(self.0, "{name}{{{labels}}} {value}");
    }
}

/// All models' metrics: `effnet_*`, and `nv_*` as dashboards made for Triton know them.
pub fn text(rows: &[Row<'_>]) -> String {
    let mut text = Text(String::new());
    let models: Vec<(String, &Row<'_>)> =
        rows.iter().map(|row| (format!("model=\"{}\"", escaped(row.name)), row)).collect();
    ours(&mut text, &models);
    tritons(&mut text, rows);
    text.0
}

fn ours(text: &mut Text, models: &[(String, &Row<'_>)]) {
    type Pick = fn(&ModelMetrics) -> &Durations;
    let histograms: [(&str, &str, Pick); 5] = [
        ("effnet_request_seconds", "Requests with an answer, from body to answer.", |m| &m.request),
        ("effnet_queue_seconds", "Images, in the queue.", |m| &m.queue),
        ("effnet_decode_seconds", "Images, decoding and resizing.", |m| &m.decode),
        ("effnet_run_seconds", "Batches, on the device.", |m| &m.compute),
        ("effnet_output_seconds", "Batches, from the device to their requests.", |m| &m.output),
    ];
    for (name, help, pick) in histograms {
        text.head(name, "histogram", help);
        for (model, row) in models {
            pick(row.metrics).write(text, name, model);
        }
    }
    let name = "effnet_requests_failed_total";
    text.head(name, "counter", "Requests without an answer, by reason.");
    for (model, row) in models {
        for (reason, count) in row.metrics.failed() {
            text.value(name, &format!("{model},reason=\"{reason}\""), count);
        }
    }
    let name = "effnet_batches_total";
    text.head(name, "counter", "Batches by why they went.");
    for (model, row) in models {
        for released in Released::ALL {
            let count = row.metrics.released[released as usize].load(Relaxed);
            text.value(name, &format!("{model},released_by=\"{}\"", released.name()), count);
        }
    }
    let name = "effnet_batch_images_total";
    text.head(name, "counter", "Batches by their number of images.");
    for (model, row) in models {
        for (images, [count, _]) in row.metrics.batches() {
            text.value(name, &format!("{model},images=\"{images}\""), count);
        }
    }
    let name = "effnet_device_renewals_total";
    text.head(name, "counter", "Devices that had failed and were taken up anew.");
    for (model, row) in models {
        text.value(name, model, row.metrics.renewals.load(Relaxed));
    }
    type Gauge = fn(&Row<'_>) -> f64;
    let gauges: [(&str, &str, Gauge); 4] = [
        ("effnet_requests_pending", "Requests that were taken and have no answer yet.", |row| {
            row.metrics.pending.load(Relaxed) as f64
        }),
        ("effnet_queue_images", "Images that were taken and have no answer yet.", |row| {
            row.queued[0] as f64
        }),
        ("effnet_queue_bytes", "Bytes of these images, as they came and as they run.", |row| {
            row.queued[1] as f64
        }),
        ("effnet_load_seconds", "What it took to prepare the model.", |row| {
            row.load_time.as_secs_f64()
        }),
    ];
    for (name, help, value) in gauges {
        text.head(name, "gauge", help);
        for (model, row) in models {
            text.value(name, model, value(row));
        }
    }
    let name = "effnet_device_memory_bytes";
    text.head(name, "gauge", "Memory of GPUs that the model takes.");
    for (model, row) in models {
        for (gpu, bytes) in &row.memory {
            text.value(name, &format!("{model},gpu=\"{gpu}\""), bytes);
        }
    }
    let name = "effnet_build_info";
    text.head(name, "gauge", "The program's version.");
    text.value(name, &format!("version=\"{}\"", env!("CARGO_PKG_VERSION")), 1);
}

/// Names, labels and units of Triton's metrics.
fn tritons(text: &mut Text, rows: &[Row<'_>]) {
    let models: Vec<(String, &ModelMetrics)> = rows
        .iter()
        .map(|row| (format!("model=\"{}\",version=\"1\"", escaped(row.name)), row.metrics))
        .collect();
    type Count = fn(&ModelMetrics) -> u64;
    const fn us(ns: u64) -> u64 {
        ns / 1000
    }
    let counters: [(&str, &str, Count); 8] =
        [
            ("nv_inference_request_success", "Requests with an answer.", |m| m.request.total()[0]),
            ("nv_inference_count", "Images that were run.", |m| {
                m.batches().iter().map(|(&images, [count, _])| images as u64 * count).sum()
            }),
            ("nv_inference_exec_count", "Batches that were run.", |m| {
                m.batches().values().map(|[count, _]| count).sum()
            }),
            ("nv_inference_request_duration_us", "Requests, from body to answer.", |m| {
                us(m.request.total()[1])
            }),
            ("nv_inference_queue_duration_us", "Images, in the queue.", |m| us(m.queue.total()[1])),
            ("nv_inference_compute_input_duration_us", "Images, decoding.", |m| {
                us(m.decode.total()[1])
            }),
            ("nv_inference_compute_infer_duration_us", "Batches, on the device.", |m| {
                us(m.compute.total()[1])
            }),
            ("nv_inference_compute_output_duration_us", "Batches, to their requests.", |m| {
                us(m.output.total()[1])
            }),
        ];
    for (name, help, count) in counters {
        text.head(name, "counter", help);
        for (labels, metrics) in &models {
            text.value(name, labels, count(metrics));
        }
    }
    let name = "nv_inference_request_failure";
    text.head(name, "counter", "Requests without an answer, by reason.");
    for (labels, metrics) in &models {
        let mut by_reason =
            BTreeMap::from(["BACKEND", "CANCELED", "OTHER", "REJECTED"].map(|r| (r, 0)));
        for (reason, count) in metrics.failed() {
            let of_triton = match reason {
                "device" => "BACKEND",
                "cancelled" => "CANCELED",
                "full" | "late" => "REJECTED",
                _ => "OTHER",
            };
            *by_reason.entry(of_triton).or_default() += count;
        }
        for (reason, count) in by_reason {
            text.value(name, &format!("{labels},reason=\"{reason}\""), count);
        }
    }
    type Gauge = fn(&Row<'_>) -> f64;
    let gauges: [(&str, &str, Gauge); 2] = [
        ("nv_inference_pending_request_count", "Requests without an answer yet.", |row| {
            row.metrics.pending.load(Relaxed) as f64
        }),
        ("nv_model_load_duration_secs", "What it took to prepare the model.", |row| {
            row.load_time.as_secs_f64()
        }),
    ];
    for (name, help, value) in gauges {
        text.head(name, "gauge", help);
        for ((labels, _), row) in models.iter().zip(rows) {
            text.value(name, labels, value(row));
        }
    }
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
        metrics.released(Released::Free);
        metrics.ran(3, Duration::from_millis(2));
        metrics.failure(&ServeError::Late(Duration::ZERO));
        let row = Row {
            name: "a\"b",
            metrics: &metrics,
            queued: [2, 10],
            memory: BTreeMap::from([(1, 70)]),
            load_time: Duration::from_millis(1500),
        };
        let text = text(&[row]);
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
            "effnet_device_memory_bytes{model=\"a\\\"b\",gpu=\"1\"} 70",
            "effnet_load_seconds{model=\"a\\\"b\"} 1.5",
            "nv_inference_request_success{model=\"a\\\"b\",version=\"1\"} 2",
            "nv_inference_count{model=\"a\\\"b\",version=\"1\"} 3",
            "nv_inference_exec_count{model=\"a\\\"b\",version=\"1\"} 1",
            "nv_inference_request_failure{model=\"a\\\"b\",version=\"1\",reason=\"REJECTED\"} 1",
            "nv_inference_request_failure{model=\"a\\\"b\",version=\"1\",reason=\"OTHER\"} 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
