//! Requests and answers of the Open Inference Protocol v2 by HTTP: JSON, with tensors in it or as
//! binary data behind it (the extension `binary_tensor_data`), and the extension `classification`.
//!
//! Source: the protocol's specification and Triton's extensions to it
//! (`docs/protocol/extension_binary_data.md`, `extension_classification.md`).

use super::engine::ImageOutputs;
use super::error::ServeError;
use super::queue::Priority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
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
    Encoded(Vec<Vec<u8>>),
    /// `[n, h, w, 3]`.
    Levels(Vec<u8>),
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
    fn name(self) -> &'static str {
        match self {
            Output::Logits => "logits",
            Output::Probabilities => "probabilities",
            Output::Features => "features",
        }
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

type Parameters = Map<String, Value>;

#[derive(Deserialize)]
struct JsonRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    inputs: Vec<JsonInput>,
    #[serde(default)]
    outputs: Vec<JsonOutput>,
}

#[derive(Deserialize)]
struct JsonInput {
    name: String,
    shape: Vec<i64>,
    datatype: String,
    #[serde(default)]
    parameters: Parameters,
    data: Option<Value>,
}

#[derive(Deserialize)]
struct JsonOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
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

    /// The answer to `GET /v2/models/NAME`.
    pub fn metadata(&self, kind: Kind) -> Value {
        let [name, datatype] = kind.input();
        let mut shape = self.dims(kind);
        shape.insert(0, -1);
        let outputs = self.outputs().into_iter().map(|output| {
            json!({ "name": output.name(), "datatype": "FP32", "shape": [-1, self.elems(output)] })
        });
        json!({
            "name": format!("{}{}", self.name, kind.suffix()),
            "versions": ["1"],
            "platform": "effnet",
            "inputs": [{ "name": name, "datatype": datatype, "shape": shape }],
            "outputs": outputs.collect::<Vec<_>>(),
        })
    }

    /// The answer to `GET /v2/models/NAME/config`, as far as clients read it.
    pub fn config(&self, kind: Kind, delay: Duration) -> Value {
        let [name, datatype] = kind.input();
        let data_type = if datatype == "BYTES" { "STRING" } else { datatype };
        let outputs = self.outputs().into_iter().map(|output| {
            json!({ "name": output.name(), "data_type": "TYPE_FP32", "dims": [self.elems(output)] })
        });
        json!({
            "name": format!("{}{}", self.name, kind.suffix()),
            "platform": "effnet",
            "max_batch_size": self.batch,
            "input": [{
                "name": name, "data_type": format!("TYPE_{data_type}"), "dims": self.dims(kind),
            }],
            "output": outputs.collect::<Vec<_>>(),
            "dynamic_batching": {
                "max_queue_delay_microseconds": delay.as_micros() as u64,
                "preferred_batch_size": [],
            },
        })
    }

    /// A request for `kind`: JSON of `header` bytes and binary data behind it. None: all of it is
    /// JSON. Zero: all of it is the one input of one image, and all outputs are binary.
    pub fn parse(
        &self,
        kind: Kind,
        body: &[u8],
        header: Option<usize>,
    ) -> Result<Request, ServeError> {
        if header == Some(0) {
            let images = match kind {
                Kind::Image => Images::Encoded(vec![body.to_vec()]),
                Kind::Pixels | Kind::Tensor => self.tensor(kind, body, 1)?,
            };
            let outputs = self.all(true);
            let (priority, timeout) = (Priority::Usual, None);
            return Ok(Request { id: None, images, outputs, priority, timeout });
        }
        let length = header.unwrap_or(body.len());
        let Some((text, binary)) = body.split_at_checked(length) else {
            return Err(invalid(format!(
                "Inference-Header-Content-Length is {length}, expected at most the body's {} bytes",
                body.len()
            )));
        };
        let request: JsonRequest = serde_json::from_slice(text).map_err(|error| {
            invalid(format!("the request is no JSON of this protocol: {error}"))
        })?;
        let images = self.images(kind, &request.inputs, binary)?;
        let binary = flag(&request.parameters, "binary_data_output")?.unwrap_or(false);
        let outputs = match &request.outputs[..] {
            [] => self.all(binary),
            asked => asked
                .iter()
                .map(|output| self.asked(output, binary))
                .collect::<Result<Vec<_>, ServeError>>()?,
        };
        let number = |name: &str| match request.parameters.get(name) {
            None => Ok(None),
            Some(value) => value.as_u64().map(Some).ok_or_else(|| {
                invalid(format!("parameter {name}: expected a whole number, found {value}"))
            }),
        };
        let priority = match number("priority")? {
            Some(1) => Priority::High,
            _ => Priority::Usual,
        };
        let timeout = number("timeout")?.filter(|&us| us > 0).map(Duration::from_micros);
        Ok(Request { id: request.id, images, outputs, priority, timeout })
    }

    fn all(&self, binary: bool) -> Vec<Asked> {
        // Features are many and seldom wanted: only where there is nothing else, or asked for.
        let outputs = self.outputs();
        let wanted =
            outputs.iter().filter(|&&output| output != Output::Features || outputs.len() == 1);
        wanted.map(|&output| Asked { output, binary, classification: None }).collect()
    }

    fn asked(&self, output: &JsonOutput, binary: bool) -> Result<Asked, ServeError> {
        let outputs = self.outputs();
        let found = outputs.iter().find(|known| known.name() == output.name);
        let Some(&known) = found else {
            let names: Vec<&str> = outputs.iter().map(|known| known.name()).collect();
            let (name, names) = (&output.name, names.join(", "));
            return Err(invalid(format!("output '{name}' is unknown: expected {names}")));
        };
        let classification = match output.parameters.get("classification") {
            None => None,
            Some(value) => {
                let count = value.as_u64().filter(|&count| count > 0).ok_or_else(|| {
                    invalid(format!(
                        "output '{}', classification: expected a number from 1 on, found {value}",
                        output.name
                    ))
                })?;
                Some(usize::try_from(count).unwrap_or(usize::MAX))
            }
        };
        let binary = flag(&output.parameters, "binary_data")?.unwrap_or(binary);
        Ok(Asked { output: known, binary, classification })
    }

    fn images(
        &self,
        kind: Kind,
        inputs: &[JsonInput],
        binary: &[u8],
    ) -> Result<Images, ServeError> {
        let [name, datatype] = kind.input();
        let [input] = inputs else {
            let count = inputs.len();
            return Err(invalid(format!("{count} inputs, expected one, '{name}'")));
        };
        if input.name != name {
            return Err(invalid(format!("input '{}', expected '{name}'", input.name)));
        }
        if input.datatype != datatype {
            let found = &input.datatype;
            return Err(invalid(format!(
                "input '{name}' has datatype {found}, expected {datatype}; {}",
                self.other_names()
            )));
        }
        let n = self.count(kind, &input.shape)?;
        let size = input.parameters.get("binary_data_size");
        match (size, &input.data) {
            (Some(size), None) => {
                if size.as_u64() != Some(binary.len() as u64) {
                    return Err(invalid(format!(
                        "input '{name}': binary_data_size is {size}, and {} bytes follow the JSON",
                        binary.len()
                    )));
                }
                match kind {
                    Kind::Image => Ok(Images::Encoded(elements(name, binary, n)?)),
                    Kind::Pixels | Kind::Tensor => self.tensor(kind, binary, n),
                }
            }
            (None, Some(_)) if !binary.is_empty() => Err(invalid(format!(
                "input '{name}' has data in JSON, and {} bytes follow the JSON",
                binary.len()
            ))),
            (None, Some(data)) => self.json_images(kind, data, n),
            (Some(_), Some(_)) => {
                Err(invalid(format!("input '{name}' has both data and binary_data_size")))
            }
            (None, None) => {
                Err(invalid(format!("input '{name}' has neither data nor binary_data_size")))
            }
        }
    }

    fn other_names(&self) -> String {
        let name = &self.name;
        format!(
            "'{name}' takes encoded images, '{name}:pixels' UINT8 and '{name}:tensor' FP32 tensors"
        )
    }

    /// The number of images in a shape.
    fn count(&self, kind: Kind, shape: &[i64]) -> Result<usize, ServeError> {
        let dims = self.dims(kind);
        let n = match (kind, shape) {
            // One image or several, with or without the 1.
            (Kind::Image, [n] | [n, 1]) => Some(*n),
            (Kind::Pixels | Kind::Tensor, [n, rest @ ..]) if *rest == dims[..] => Some(*n),
            _ => None,
        };
        n.filter(|&n| n > 0).and_then(|n| usize::try_from(n).ok()).ok_or_else(|| {
            let expected: Vec<String> = dims.iter().map(i64::to_string).collect();
            invalid(format!(
                "input '{}' has shape {shape:?}, expected [n, {}] with n from 1 on",
                kind.input()[0],
                expected.join(", ")
            ))
        })
    }

    /// Raw little-endian numbers.
    fn tensor(&self, kind: Kind, bytes: &[u8], n: usize) -> Result<Images, ServeError> {
        let elem_bytes = if kind == Kind::Pixels { 1 } else { 4 };
        let expected = n.checked_mul(self.image_elems() * elem_bytes);
        if expected != Some(bytes.len()) {
            let expected = expected.map_or("more".to_owned(), |bytes| bytes.to_string());
            return Err(invalid(format!(
                "input '{}' has {} bytes, expected {expected} for {n} images of {}x{}x3",
                kind.input()[0],
                bytes.len(),
                self.size[0],
                self.size[1]
            )));
        }
        if kind == Kind::Pixels {
            return Ok(Images::Levels(bytes.to_vec()));
        }
        let value = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        finite(bytes.chunks_exact(4).map(value).collect(), self.image_elems())
    }

    fn json_images(&self, kind: Kind, data: &Value, n: usize) -> Result<Images, ServeError> {
        let [name, datatype] = kind.input();
        let mut flat = Vec::new();
        flatten(data, &mut flat);
        let elems = if kind == Kind::Image { n } else { n.saturating_mul(self.image_elems()) };
        if flat.len() != elems {
            let found = flat.len();
            return Err(invalid(format!("input '{name}' has {found} elements, expected {elems}")));
        }
        let wrong = |value: &Value| {
            let mut found = value.to_string();
            found.truncate(40);
            invalid(format!("input '{name}': {found} is no element of {datatype}"))
        };
        match kind {
            Kind::Image => {
                let images = flat.into_iter().enumerate().map(|(image, value)| {
                    let text = value.as_str().ok_or_else(|| wrong(value))?;
                    STANDARD.decode(text).map_err(|error| {
                        invalid(format!(
                            "image {image} of {n}: in JSON an image is base64, and this is not: \
                             {error}; or send it as binary data"
                        ))
                    })
                });
                Ok(Images::Encoded(images.collect::<Result<_, _>>()?))
            }
            Kind::Pixels => {
                let level = |value: &Value| value.as_u64().and_then(|level| level.try_into().ok());
                let levels = flat.into_iter().map(|value| level(value).ok_or_else(|| wrong(value)));
                Ok(Images::Levels(levels.collect::<Result<_, _>>()?))
            }
            Kind::Tensor => {
                let values = flat
                    .into_iter()
                    .map(|value| value.as_f64().map(|x| x as f32).ok_or_else(|| wrong(value)));
                finite(values.collect::<Result<_, _>>()?, self.image_elems())
            }
        }
    }

    /// An answer: JSON, the length of which is given where binary data follows it.
    pub fn answer(
        &self,
        kind: Kind,
        id: Option<&str>,
        asked: &[Asked],
        images: &[ImageOutputs],
    ) -> Result<(Vec<u8>, Option<usize>), ServeError> {
        #[derive(Serialize)]
        struct Answer<'a> {
            model_name: String,
            model_version: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<&'a str>,
            outputs: Vec<Value>,
        }
        let mut outputs = Vec::new();
        let mut binary = Vec::new();
        for asked in asked {
            let name = asked.output.name();
            let rows = images
                .iter()
                .enumerate()
                .map(|(image, outputs)| row(outputs, asked.output, image))
                .collect::<Result<Vec<&[f32]>, ServeError>>()?;
            let mut output = json!({ "name": name, "datatype": "FP32" });
            if let Some(count) = asked.classification {
                let count = count.min(self.elems(asked.output));
                let best: Vec<String> =
                    rows.iter().flat_map(|row| self.best(row, count, asked.output)).collect();
                output["datatype"] = "BYTES".into();
                output["shape"] = json!([images.len(), count]);
                if asked.binary {
                    let before = binary.len();
                    for text in best {
                        binary.extend((text.len() as u32).to_le_bytes());
                        binary.extend(text.as_bytes());
                    }
                    output["parameters"] = json!({ "binary_data_size": binary.len() - before });
                } else {
                    output["data"] = best.into();
                }
            } else {
                output["shape"] = json!([images.len(), self.elems(asked.output)]);
                if asked.binary {
                    let before = binary.len();
                    binary.extend(rows.iter().copied().flatten().flat_map(|x| x.to_le_bytes()));
                    output["parameters"] = json!({ "binary_data_size": binary.len() - before });
                } else {
                    let values: Vec<f32> = rows.concat();
                    if values.iter().any(|value| !value.is_finite()) {
                        return Err(invalid(format!(
                            "{name} are not all finite, and JSON has no NaN: ask for binary data"
                        )));
                    }
                    output["data"] = values.into();
                }
            }
            outputs.push(output);
        }
        let answer = Answer {
            model_name: format!("{}{}", self.name, kind.suffix()),
            model_version: "1",
            id,
            outputs,
        };
        let mut body = serde_json::to_vec(&answer)
            .map_err(|error| ServeError::Device(format!("an answer that is no JSON: {error}")))?;
        let is_binary = asked.iter().any(|asked| asked.binary);
        let header = is_binary.then_some(body.len());
        body.extend(binary);
        Ok((body, header))
    }

    /// The best of a row, as `value:index` or `value:index:label`.
    fn best(&self, row: &[f32], count: usize, output: Output) -> Vec<String> {
        let labels = if output == Output::Features { &[][..] } else { &self.labels[..] };
        best(row, count)
            .map(|(index, value)| match labels.get(index) {
                Some(label) => format!("{value:.6}:{index}:{label}"),
                None => format!("{value:.6}:{index}"),
            })
            .collect()
    }
}

/// The largest values, the largest first, equal ones in their order; NaN last.
pub fn best(row: &[f32], count: usize) -> impl Iterator<Item = (usize, f32)> {
    let key = |index: &usize| if row[*index].is_nan() { f32::NEG_INFINITY } else { row[*index] };
    let mut order: Vec<usize> = (0..row.len()).collect();
    order.sort_by(|a, b| key(b).total_cmp(&key(a)).then(a.cmp(b)));
    order.into_iter().take(count).map(|index| (index, row[index]))
}

fn row(outputs: &ImageOutputs, output: Output, image: usize) -> Result<&[f32], ServeError> {
    match output {
        Output::Logits => Ok(&outputs.logits),
        Output::Features => Ok(&outputs.features),
        Output::Probabilities => match &outputs.probabilities {
            Ok(probabilities) => Ok(probabilities.as_deref().unwrap_or_default()),
            Err(fault) => Err(invalid(format!("image {image} has no probabilities: {fault}"))),
        },
    }
}

fn flag(parameters: &Parameters, name: &str) -> Result<Option<bool>, ServeError> {
    match parameters.get(name) {
        None => Ok(None),
        Some(Value::Bool(flag)) => Ok(Some(*flag)),
        Some(value) => {
            Err(invalid(format!("parameter {name}: expected true or false, found {value}")))
        }
    }
}

/// Elements of BYTES: each a length, u32 little-endian, and so many bytes.
fn elements(name: &str, mut bytes: &[u8], n: usize) -> Result<Vec<Vec<u8>>, ServeError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let cut =
            || invalid(format!("input '{name}': element {} is longer than the data", found.len()));
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(cut)?;
        let length = u32::from_le_bytes(*length) as usize;
        let (element, rest) = rest.split_at_checked(length).ok_or_else(cut)?;
        found.push(element.to_vec());
        bytes = rest;
    }
    if found.len() != n {
        let count = found.len();
        return Err(invalid(format!("input '{name}' has {count} elements, expected {n}")));
    }
    Ok(found)
}

fn flatten<'a>(value: &'a Value, to: &mut Vec<&'a Value>) {
    match value {
        Value::Array(values) => values.iter().for_each(|value| flatten(value, to)),
        value => to.push(value),
    }
}

/// Values that do no harm to the images that they run with.
fn finite(values: Vec<f32>, image_elems: usize) -> Result<Images, ServeError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(Images::Values(values)),
        Some(at) => {
            let (image, value) = (at / image_elems, values[at]);
            Err(invalid(format!("image {image} has the value {value}: expected finite numbers")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extents() -> Extents {
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

    fn fault(kind: Kind, body: &[u8], header: Option<usize>) -> String {
        extents().parse(kind, body, header).unwrap_err().to_string()
    }

    fn with_binary(json: Value, data: &[u8]) -> (Vec<u8>, Option<usize>) {
        let mut body = json.to_string().into_bytes();
        let header = body.len();
        body.extend(data);
        (body, Some(header))
    }

    #[test]
    fn tensors_in_json_and_behind_it_are_the_same() {
        let values: Vec<f32> = (0..12).map(|i| i as f32 / 7.0).collect();
        let input = json!({ "name": "input", "datatype": "FP32", "shape": [2, 1, 2, 3] });
        let mut plain = input.clone();
        plain["data"] = json!([values[..6].to_vec(), values[6..].to_vec()]);
        let plain = json!({ "id": "7", "inputs": [plain] }).to_string();
        let plain = extents().parse(Kind::Tensor, plain.as_bytes(), None).unwrap();
        assert_eq!(
            (plain.id.as_deref(), &plain.images),
            (Some("7"), &Images::Values(values.clone()))
        );
        let names: Vec<&str> = plain.outputs.iter().map(|asked| asked.output.name()).collect();
        assert_eq!(names, ["logits", "probabilities"]);

        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let mut binary = input;
        binary["parameters"] = json!({ "binary_data_size": bytes.len() });
        let request = json!({
            "inputs": [binary], "parameters": { "binary_data_output": true, "timeout": 5, "priority": 1 },
            "outputs": [{ "name": "logits", "parameters": { "binary_data": false } }, { "name": "features" }],
        });
        let (body, header) = with_binary(request, &bytes);
        let binary = extents().parse(Kind::Tensor, &body, header).unwrap();
        assert_eq!(binary.images, plain.images);
        assert_eq!(
            (binary.timeout, binary.priority),
            (Some(Duration::from_micros(5)), Priority::High)
        );
        let asked: Vec<bool> = binary.outputs.iter().map(|asked| asked.binary).collect();
        assert_eq!(asked, [false, true]);

        let raw = extents().parse(Kind::Tensor, &bytes[..24], Some(0)).unwrap();
        assert_eq!(raw.images, Images::Values(values[..6].to_vec()));
    }

    #[test]
    fn images_are_elements_base64_or_the_whole_body() {
        let shape = json!([2, 1]);
        let input = json!({ "name": "image", "datatype": "BYTES", "shape": shape });
        let mut text = input.clone();
        text["data"] = json!(["YWI=", "Yw=="]);
        let images = Images::Encoded(vec![b"ab".to_vec(), b"c".to_vec()]);
        let body = json!({ "inputs": [text] }).to_string();
        assert_eq!(extents().parse(Kind::Image, body.as_bytes(), None).unwrap().images, images);
        let data = b"\x02\0\0\0ab\x01\0\0\0c";
        let mut binary = input;
        binary["parameters"] = json!({ "binary_data_size": data.len() });
        let (body, header) = with_binary(json!({ "inputs": [binary] }), data);
        assert_eq!(extents().parse(Kind::Image, &body, header).unwrap().images, images);
        let raw = extents().parse(Kind::Image, b"jpeg", Some(0)).unwrap();
        assert_eq!(raw.images, Images::Encoded(vec![b"jpeg".to_vec()]));
        assert!(raw.outputs.iter().all(|asked| asked.binary));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let body = |input: Value| json!({ "inputs": [input] }).to_string().into_bytes();
        let nan = [0u8, 0, 192, 127].repeat(6);
        for (kind, body, header, expected) in [
            (Kind::Image, b"{".to_vec(), None, "no JSON of this protocol"),
            (Kind::Image, b"{}".to_vec(), Some(9), "Inference-Header-Content-Length is 9"),
            (Kind::Image, b"{}".to_vec(), None, "0 inputs, expected one, 'image'"),
            (Kind::Tensor, nan, Some(0), "image 0 has the value NaN: expected finite"),
            (Kind::Tensor, vec![0; 5], Some(0), "has 5 bytes, expected 24 for 1 images of 1x2x3"),
            (
                Kind::Pixels,
                body(
                    json!({ "name": "pixels", "datatype": "FP32", "shape": [1, 1, 2, 3], "data": [] }),
                ),
                None,
                "has datatype FP32, expected UINT8; 'm' takes encoded images",
            ),
            (
                Kind::Pixels,
                body(
                    json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 2, 1, 3], "data": [] }),
                ),
                None,
                "has shape [1, 2, 1, 3], expected [n, 1, 2, 3]",
            ),
            (
                Kind::Pixels,
                body(
                    json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": [1, 2, 3, 4, 5, 256] }),
                ),
                None,
                "256 is no element of UINT8",
            ),
            (
                Kind::Image,
                body(
                    json!({ "name": "image", "datatype": "BYTES", "shape": [i64::MAX], "data": ["YQ=="] }),
                ),
                None,
                "has 1 elements, expected 9223372036854775807",
            ),
            (
                Kind::Image,
                body(json!({ "name": "image", "datatype": "BYTES", "shape": [1], "data": ["?"] })),
                None,
                "image 0 of 1: in JSON an image is base64",
            ),
        ] {
            let found = fault(kind, &body, header);
            assert!(found.contains(expected), "{found}");
        }
    }

    #[test]
    fn answers_with_the_best_classes_and_binary_data() {
        let outputs = ImageOutputs {
            logits: vec![1.0, 3.0, 3.0],
            features: vec![0.5, f32::NAN],
            probabilities: Ok(Some(vec![0.1, 0.45, 0.45])),
        };
        let asked = |output, binary, classification| Asked { output, binary, classification };
        let all = [asked(Output::Logits, false, Some(2)), asked(Output::Features, true, None)];
        let (body, header) =
            extents().answer(Kind::Image, Some("x"), &all, std::slice::from_ref(&outputs)).unwrap();
        let (json, binary) = body.split_at(header.unwrap());
        let json: Value = serde_json::from_slice(json).unwrap();
        assert_eq!(json["outputs"][0]["data"], json!(["3.000000:1:dog", "3.000000:2:cow, brown"]));
        assert_eq!(json["outputs"][1]["parameters"]["binary_data_size"], 8);
        assert_eq!(binary[..4], 0.5f32.to_le_bytes());
        let json = [asked(Output::Features, false, None)];
        let fault = extents().answer(Kind::Image, None, &json, &[outputs]).unwrap_err();
        assert!(fault.to_string().contains("ask for binary data"), "{fault}");
    }
}
