//! Triton's statistics of a model, for both protocols.

use super::model::Model;
use super::oip::Kind;
use serde_json::{Value, json};

/// A number of times, and nanoseconds in all.
pub type Times = [u64; 2];

/// What clients take differences of. A model's three names count together. Of requests each part has
/// the same number, which perf_analyzer insists on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The name that was asked for.
    pub name: String,
    /// Milliseconds since 1970 of the last request with an answer.
    pub last_inference: u64,
    /// Images that were run.
    pub images: u64,
    /// Batches that were run.
    pub batches: u64,
    /// Requests with an answer, from their body to it.
    pub success: Times,
    /// Requests without one.
    pub fail: Times,
    /// Requests with an answer, in the queue.
    pub queue: Times,
    /// The same, decoding.
    pub input: Times,
    /// The same, on the device.
    pub infer: Times,
    /// The same, all else.
    pub output: Times,
    /// Batches by their number of images, on the device.
    pub by_size: Vec<(u64, Times)>,
    /// Bytes of GPUs' memory, by the GPU's number.
    pub memory: Vec<(usize, u64)>,
}

impl Statistics {
    /// A model's, now, under one of its names.
    pub fn of(model: &Model, kind: Kind) -> Statistics {
        let metrics = &model.metrics;
        let by_size: Vec<(u64, Times)> =
            metrics.batches().iter().map(|(&images, &times)| (images as u64, times)).collect();
        let success = metrics.request.total();
        let [input, queue, infer, output] = metrics.spent().map(|ns| [success[0], ns]);
        Statistics {
            name: model.extents.full_name(kind),
            last_inference: metrics.last_request(),
            images: by_size.iter().map(|(images, [count, _])| images * count).sum(),
            batches: by_size.iter().map(|(_, [count, _])| count).sum(),
            success,
            fail: [metrics.failures(), 0],
            queue,
            input,
            infer,
            output,
            by_size,
            memory: model.memory().into_iter().collect(),
        }
    }

    /// As HTTP has it.
    pub fn json(&self) -> Value {
        let times = |[count, ns]: Times| json!({ "count": count, "ns": ns });
        let of_size = |&(images, [count, ns]): &(u64, Times)| {
            let none = times([count, 0]);
            json!({
                "batch_size": images,
                "compute_input": none,
                "compute_infer": times([count, ns]),
                "compute_output": none,
            })
        };
        let memory =
            |&(gpu, bytes): &(usize, u64)| json!({ "type": "GPU", "id": gpu, "byte_size": bytes });
        json!({
            "name": self.name,
            "version": "1",
            "last_inference": self.last_inference,
            "inference_count": self.images,
            "execution_count": self.batches,
            "inference_stats": {
                "success": times(self.success),
                "fail": times(self.fail),
                "queue": times(self.queue),
                "compute_input": times(self.input),
                "compute_infer": times(self.infer),
                "compute_output": times(self.output),
                "cache_hit": times([0, 0]),
                "cache_miss": times([0, 0]),
            },
            "batch_stats": self.by_size.iter().map(of_size).collect::<Vec<_>>(),
            "memory_usage": self.memory.iter().map(memory).collect::<Vec<_>>(),
        })
    }
}
