//! Requests and answers of the Open Inference Protocol v2: by HTTP as JSON, with tensors in it or as
//! binary data behind it (the extension `binary_tensor_data`); and the extension `classification`.
//!
//! Source: the protocol's specification and Triton's extensions to it
//! (`docs/protocol/extension_binary_data.md`, `extension_classification.md`).
//!
//! In reading order: here what a model takes and gives, then `json` (a body of HTTP), `request` (what
//! it asks for, by whichever protocol) and `answer`.

mod answer;
mod json;
mod request;

pub use json::Object;

use super::engine::Wanted;
use super::error::ServeError;
use super::queue::Priority;
use axum::body::Bytes;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// What a model's name takes. One session answers under three names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `NAME`: encoded images.
    Image,
    /// `NAME:pixels`: levels at the network's size.
    Pixels,
    /// `NAME:tensor`: what the network takes, normalised.
    Tensor,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 3] = [Kind::Image, Kind::Pixels, Kind::Tensor];

    /// What stands behind the model's name.
    pub fn suffix(self) -> &'static str {
        match self {
            Kind::Image => "",
            Kind::Pixels => ":pixels",
            Kind::Tensor => ":tensor",
        }
    }

    /// Name and datatype of the input.
    pub fn input(self) -> [&'static str; 2] {
        match self {
            Kind::Image => ["image", "BYTES"],
            Kind::Pixels => ["pixels", "UINT8"],
            Kind::Tensor => ["input", "FP32"],
        }
    }
}

/// A network's side of the protocol.
#[derive(Clone, Debug)]
pub struct Extents {
    /// The model's name, without a suffix.
    pub name: String,
    /// Height and width of the input.
    pub size: [usize; 2],
    /// Classes; 0 without a classifier.
    pub classes: usize,
    /// Channels of the features.
    pub features: usize,
    /// Whether the activation has probabilities.
    pub has_probabilities: bool,
    /// Names of the classes, where there are any.
    pub labels: Vec<String>,
    /// Images that the device takes at once.
    pub batch: usize,
}

/// Images of a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Images {
    /// Encoded, each.
    Encoded(Vec<Bytes>),
    /// `[n, h, w, 3]`.
    Levels(Bytes),
    /// `[n, h, w, 3]`, finite.
    Values(Vec<f32>),
}

/// An output that is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    /// Which.
    pub output: Output,
    /// As binary data.
    pub binary: bool,
    /// The best so many of it, as text.
    pub classification: Option<usize>,
}

/// A model's outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// `[n, classes]`.
    Logits,
    /// `[n, classes]`.
    Probabilities,
    /// `[n, c_head]`.
    Features,
}

impl Output {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Output::Logits => "logits",
            Output::Probabilities => "probabilities",
            Output::Features => "features",
        }
    }
}

/// What a request or one of its outputs says beside.
pub type Parameters = Map<String, Value>;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Given {
    /// To be given back.
    pub id: Option<String>,
    /// Of the whole request.
    pub parameters: Parameters,
    /// Tensors.
    pub inputs: Vec<Input>,
    /// Outputs; all where there are none.
    pub outputs: Vec<Wish>,
}

/// An input as it came.
#[derive(Clone, Debug)]
pub struct Input {
    /// Its name.
    pub name: String,
    /// As the protocol names it.
    pub datatype: String,
    /// Its extents.
    pub shape: Vec<i64>,
    /// Its elements.
    pub data: Data,
}

/// The elements of an input, in their order.
#[derive(Clone, Debug)]
pub enum Data {
    /// Numbers as little-endian bytes; elements of BYTES each behind its length, u32 little-endian.
    Binary(Bytes),
    /// Numbers.
    Numbers(Vec<f64>),
    /// Texts, where elements of BYTES are base64.
    Texts(Vec<String>),
    /// Elements of BYTES.
    Elements(Vec<Bytes>),
}

/// An output as it is asked for.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// Its form.
    pub parameters: Parameters,
}

/// A body as a request for `kind`: JSON of `header` bytes and binary data behind it. None: all of it
/// is JSON. Zero: all of it is the one input of one image, and all outputs are binary.
pub fn read(
    extents: &Extents,
    kind: Kind,
    body: Bytes,
    header: Option<usize>,
) -> Result<Request, ServeError> {
    match header {
        Some(0) => extents.raw(kind, body),
        header => extents.request(kind, json::read(&body, header)?),
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// Given back as it came.
    pub id: Option<String>,
    /// The images.
    pub images: Images,
    /// The outputs.
    pub outputs: Vec<Asked>,
    /// Which images leave the queue first.
    pub priority: Priority,
    /// How long the answer is waited for, where the request says so.
    pub timeout: Option<Duration>,
}

fn invalid(text: impl Into<String>) -> ServeError {
    ServeError::Invalid(text.into())
}

impl Extents {
    /// Elements of one image's input.
    pub fn image_elems(&self) -> usize {
        self.size[0] * self.size[1] * 3
    }

    /// The outputs that the model has.
    pub fn outputs(&self) -> Vec<Output> {
        let logits = (self.classes > 0).then_some(Output::Logits);
        let probabilities =
            (self.classes > 0 && self.has_probabilities).then_some(Output::Probabilities);
        [logits, probabilities, Some(Output::Features)].into_iter().flatten().collect()
    }

    /// Elements of an output of one image.
    fn elems(&self, output: Output) -> usize {
        if output == Output::Features { self.features } else { self.classes }
    }

    /// The input's extents behind the number of images.
    fn dims(&self, kind: Kind) -> Vec<i64> {
        match kind {
            Kind::Image => vec![1],
            Kind::Pixels | Kind::Tensor => vec![self.size[0] as i64, self.size[1] as i64, 3],
        }
    }

    /// The model's name for a kind of input.
    pub fn full_name(&self, kind: Kind) -> String {
        format!("{}{}", self.name, kind.suffix())
    }

    /// The model's tensors.
    pub fn described(&self, kind: Kind) -> Described {
        let [name, datatype] = kind.input();
        let output = |output: Output| (output.name(), "FP32", vec![self.elems(output) as i64]);
        Described {
            input: (name, datatype, self.dims(kind)),
            outputs: self.outputs().into_iter().map(output).collect(),
        }
    }

    /// The answer to `GET /v2/models/NAME`.
    pub fn metadata(&self, kind: Kind) -> Value {
        let Described { input, outputs } = self.described(kind);
        let tensor = |(name, datatype, dims): Tensors| {
            let shape = [vec![-1], dims].concat();
            json!({ "name": name, "datatype": datatype, "shape": shape })
        };
        json!({
            "name": self.full_name(kind),
            "versions": ["1"],
            "platform": "effnet",
            "inputs": [tensor(input)],
            "outputs": outputs.into_iter().map(tensor).collect::<Vec<_>>(),
        })
    }

    /// The answer to `GET /v2/models/NAME/config`, as far as clients read it.
    pub fn config(&self, kind: Kind, delay: Duration) -> Value {
        let Described { input, outputs } = self.described(kind);
        let tensor = |(name, datatype, dims): Tensors| {
            let data_type = if datatype == "BYTES" { "STRING" } else { datatype };
            json!({ "name": name, "data_type": format!("TYPE_{data_type}"), "dims": dims })
        };
        json!({
            "name": self.full_name(kind),
            "platform": "effnet",
            "max_batch_size": self.batch,
            "input": [tensor(input)],
            "output": outputs.into_iter().map(tensor).collect::<Vec<_>>(),
            "dynamic_batching": {
                "max_queue_delay_microseconds": delay.as_micros() as u64,
                "preferred_batch_size": [],
            },
        })
    }
}

/// A tensor's name, datatype, and extents behind the number of images.
pub type Tensors = (&'static str, &'static str, Vec<i64>);

/// A model's tensors.
#[derive(Clone, Debug)]
pub struct Described {
    /// The one input.
    pub input: Tensors,
    /// All outputs.
    pub outputs: Vec<Tensors>,
}

impl Request {
    /// What the request wants of each image.
    pub fn wanted(&self) -> Wanted {
        let asks = |output| self.outputs.iter().any(|asked: &Asked| asked.output == output);
        Wanted { features: asks(Output::Features), probabilities: asks(Output::Probabilities) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A model of three classes that takes 1x2 pixels.
    pub(super) fn extents() -> Extents {
        Extents {
            name: "m".to_owned(),
            size: [1, 2],
            classes: 3,
            features: 2,
            has_probabilities: true,
            labels: ["cat", "dog", "cow, brown"].map(str::to_owned).to_vec(),
            batch: 4,
        }
    }

    #[test]
    fn a_model_has_probabilities_where_its_activation_has() {
        let features = Extents { classes: 0, ..extents() };
        assert_eq!(features.outputs(), [Output::Features]);
        let scores = Extents { has_probabilities: false, ..extents() };
        assert_eq!(scores.outputs(), [Output::Logits, Output::Features]);
    }
}
