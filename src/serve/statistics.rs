//! Triton's statistics of a model, for both protocols.

use super::model::Model;
use serde_json::{Value, json};

/// A number of times, and nanoseconds in all.
pub type Times = [u64; 2];

/// What clients take differences of. A model's three names count together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statistics {
    /// The model's name without a suffix.
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
    /// Images in the queue.
    pub queue: Times,
    /// Images decoded.
    pub input: Times,
    /// Batches on the device.
    pub infer: Times,
    /// Batches' outputs, to their requests.
    pub output: Times,
    /// Batches by their number of images.
    pub by_size: Vec<(u64, u64)>,
    /// Bytes of GPUs' memory, by the GPU's number.
    pub memory: Vec<(usize, u64)>,
}

impl Statistics {
    /// A model's, now.
    pub fn of(model: &Model) -> Statistics {
        let metrics = &model.metrics;
        let by_size: Vec<(u64, u64)> =
            metrics.batches().iter().map(|(&images, &count)| (images as u64, count)).collect();
        Statistics {
            name: model.name().to_owned(),
            last_inference: metrics.last_request(),
            images: by_size.iter().map(|(images, count)| images * count).sum(),
            batches: by_size.iter().map(|(_, count)| count).sum(),
            success: metrics.request.total(),
            fail: [metrics.failures(), 0],
            queue: metrics.queue.total(),
            input: metrics.decode.total(),
            infer: metrics.compute.total(),
            output: metrics.output.total(),
            by_size,
            memory: model.memory().into_iter().collect(),
        }
    }

    /// As HTTP has it.
    pub fn json(&self) -> Value {
        let times = |[count, ns]: Times| json!({ "count": count, "ns": ns });
        let of_size = |&(images, count): &(u64, u64)| json!({ "batch_size": images, "compute_infer": { "count": count, "ns": 0 } });
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
