//! From a body to the images and outputs that it asks for.

use super::{Asked, Extents, Images, Kind, Output, Request, invalid};
use crate::serve::error::ServeError;
use crate::serve::queue::Priority;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Deserializer, SeqAccess, Visitor};
use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

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
    data: Option<Flat>,
}

#[derive(Deserialize)]
struct JsonOutput {
    name: String,
    #[serde(default)]
    parameters: Parameters,
}

/// The elements of a tensor in JSON, nested or not, in their order: numbers, or texts.
#[derive(Debug, Default)]
struct Flat {
    numbers: Vec<f64>,
    texts: Vec<String>,
}

impl<'de> Deserialize<'de> for Flat {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Flat, D::Error> {
        let mut flat = Flat::default();
        Elements(&mut flat).deserialize(from)?;
        Ok(flat)
    }
}

/// Where the next elements go.
struct Elements<'a>(&'a mut Flat);

impl<'de> DeserializeSeed<'de> for Elements<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("numbers or texts, in lists or not")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<(), E> {
        self.visit_f64(number as f64)
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<(), E> {
        self.0.numbers.push(number);
        Ok(())
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        self.0.texts.push(text.to_owned());
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Elements(self.0))?.is_some() {}
        Ok(())
    }
}

impl Extents {
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

    fn json_images(&self, kind: Kind, data: &Flat, n: usize) -> Result<Images, ServeError> {
        let [name, datatype] = kind.input();
        let (found, others, elems) = match kind {
            Kind::Image => (data.texts.len(), data.numbers.len(), n),
            Kind::Pixels | Kind::Tensor => {
                (data.numbers.len(), data.texts.len(), n.saturating_mul(self.image_elems()))
            }
        };
        if others > 0 {
            let (expected, found) = match kind {
                Kind::Image => ("images in base64", "numbers"),
                Kind::Pixels | Kind::Tensor => ("numbers", "texts"),
            };
            return Err(invalid(format!(
                "input '{name}' has {found} among its elements, expected {expected} alone"
            )));
        }
        if found != elems {
            return Err(invalid(format!("input '{name}' has {found} elements, expected {elems}")));
        }
        match kind {
            Kind::Image => {
                let images = data.texts.iter().enumerate().map(|(image, text)| {
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
                let level = |&number: &f64| {
                    let is_level = (0.0..=255.0).contains(&number) && number.fract() == 0.0;
                    is_level.then_some(number as u8).ok_or_else(|| {
                        invalid(format!("input '{name}': {number} is no element of {datatype}"))
                    })
                };
                Ok(Images::Levels(data.numbers.iter().map(level).collect::<Result<_, _>>()?))
            }
            Kind::Tensor => {
                let values = data.numbers.iter().map(|&number| number as f32).collect();
                finite(values, self.image_elems())
            }
        }
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
    use crate::serve::oip::tests::extents;
    use serde_json::json;

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
                Kind::Pixels,
                body(
                    json!({ "name": "pixels", "datatype": "UINT8", "shape": [1, 1, 2, 3], "data": ["\u{65e5}".repeat(20)] }),
                ),
                None,
                "has texts among its elements, expected numbers alone",
            ),
            (
                Kind::Image,
                body(
                    json!({ "name": "image", "datatype": "BYTES", "shape": [1], "data": [[null]] }),
                ),
                None,
                "invalid type: null, expected numbers or texts",
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
}
