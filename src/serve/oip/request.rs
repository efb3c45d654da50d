//! From what a request has to the images and outputs that it asks for.

use super::{
    Asked, Data, Extents, Given, Images, Input, Kind, Output, Parameters, Request, Wish, invalid,
};
use crate::serve::error::ServeError;
use crate::serve::queue::Priority;
use axum::body::Bytes;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use std::time::Duration;

impl Extents {
    /// A request for `kind` whose body is the one input of one image; all outputs are binary.
    pub fn raw(&self, kind: Kind, body: Bytes) -> Result<Request, ServeError> {
        let images = match kind {
            Kind::Image => Images::Encoded(vec![body]),
            Kind::Pixels | Kind::Tensor => self.tensor(kind, body, 1)?,
        };
        let outputs = self.all(true);
        Ok(Request { id: None, images, outputs, priority: Priority::Usual, timeout: None })
    }

    /// A request for `kind`.
    pub fn request(&self, kind: Kind, given: Given) -> Result<Request, ServeError> {
        let Given { id, parameters, inputs, outputs } = given;
        let images = self.images(kind, inputs)?;
        let binary = flag(&parameters, "binary_data_output")?.unwrap_or(false);
        let outputs = match &outputs[..] {
            [] => self.all(binary),
            asked => asked
                .iter()
                .map(|output| self.asked(output, binary))
                .collect::<Result<Vec<_>, ServeError>>()?,
        };
        for (at, asked) in outputs.iter().enumerate() {
            if outputs[..at].iter().any(|before| before.output == asked.output) {
                let name = asked.output.name();
                return Err(invalid(format!("output '{name}' is asked for twice")));
            }
        }
        let number = |name: &str| match parameters.get(name) {
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
        Ok(Request { id, images, outputs, priority, timeout })
    }

    fn all(&self, binary: bool) -> Vec<Asked> {
        // Features are many and seldom wanted: only where there is nothing else, or asked for.
        let outputs = self.outputs();
        let wanted =
            outputs.iter().filter(|&&output| output != Output::Features || outputs.len() == 1);
        wanted.map(|&output| Asked { output, binary, classification: None }).collect()
    }

    fn asked(&self, output: &Wish, binary: bool) -> Result<Asked, ServeError> {
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

    fn images(&self, kind: Kind, inputs: Vec<Input>) -> Result<Images, ServeError> {
        let [name, datatype] = kind.input();
        let [input] = <[Input; 1]>::try_from(inputs).map_err(|inputs| {
            invalid(format!("{} inputs, expected one, '{name}'", inputs.len()))
        })?;
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
        let elems = |found: usize, expected: usize| match found == expected {
            true => Ok(()),
            false => {
                Err(invalid(format!("input '{name}' has {found} elements, expected {expected}")))
            }
        };
        let wrong = |found: &str, expected: &str| {
            Err(invalid(format!(
                "input '{name}' has {found} among its elements, expected {expected} alone"
            )))
        };
        match (input.data, kind) {
            (Data::Binary(bytes), Kind::Image) => Ok(Images::Encoded(elements(name, bytes, n)?)),
            (Data::Binary(bytes), Kind::Pixels | Kind::Tensor) => self.tensor(kind, bytes, n),
            (Data::Elements(images), Kind::Image) => {
                elems(images.len(), n)?;
                Ok(Images::Encoded(images))
            }
            (Data::Texts(texts), Kind::Image) => {
                elems(texts.len(), n)?;
                let images = texts.iter().enumerate().map(|(image, text)| {
                    let bytes = STANDARD.decode(text).map_err(|error| {
                        invalid(format!(
                            "image {image} of {n}: in JSON an image is base64, and this is not: \
                             {error}; or send it as binary data"
                        ))
                    })?;
                    Ok(bytes.into())
                });
                Ok(Images::Encoded(images.collect::<Result<_, ServeError>>()?))
            }
            (Data::Numbers(numbers), Kind::Image) if numbers.is_empty() => {
                elems(0, n)?;
                Ok(Images::Encoded(Vec::new()))
            }
            (Data::Numbers(_), Kind::Image) => wrong("numbers", "images in base64"),
            (Data::Texts(_), Kind::Pixels | Kind::Tensor) => wrong("texts", "numbers"),
            (Data::Elements(_), Kind::Pixels | Kind::Tensor) => wrong("bytes", "numbers"),
            (Data::Numbers(numbers), Kind::Pixels) => {
                elems(numbers.len(), n.saturating_mul(self.image_elems()))?;
                let level = |number: f64| {
                    let is_level = (0.0..=255.0).contains(&number) && number.fract() == 0.0;
                    is_level.then_some(number as u8).ok_or_else(|| {
                        invalid(format!("input '{name}': {number} is no element of {datatype}"))
                    })
                };
                let levels = numbers.into_iter().map(level).collect::<Result<Vec<u8>, _>>()?;
                Ok(Images::Levels(levels.into()))
            }
            (Data::Numbers(numbers), Kind::Tensor) => {
                elems(numbers.len(), n.saturating_mul(self.image_elems()))?;
                finite(
                    numbers.into_iter().map(|number| number as f32).collect(),
                    self.image_elems(),
                )
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
    fn tensor(&self, kind: Kind, bytes: Bytes, n: usize) -> Result<Images, ServeError> {
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
            return Ok(Images::Levels(bytes));
        }
        let value = |four: &[u8]| f32::from_le_bytes([four[0], four[1], four[2], four[3]]);
        finite(bytes.chunks_exact(4).map(value).collect(), self.image_elems())
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
fn elements(name: &str, mut bytes: Bytes, n: usize) -> Result<Vec<Bytes>, ServeError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let length = bytes.split_first_chunk::<4>().map(|(length, rest)| {
            let length = u32::from_le_bytes(*length) as usize;
            (length <= rest.len()).then_some(length)
        });
        let Some(length) = length.flatten() else {
            let at = found.len();
            return Err(invalid(format!("input '{name}': element {at} is longer than the data")));
        };
        let _ = bytes.split_to(4);
        found.push(bytes.split_to(length));
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

    fn parse(kind: Kind, body: &[u8], header: Option<usize>) -> Result<Request, ServeError> {
        super::super::read(&extents(), kind, Bytes::copy_from_slice(body), header)
    }

    fn fault(kind: Kind, body: &[u8], header: Option<usize>) -> String {
        parse(kind, body, header).unwrap_err().to_string()
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
        let plain = parse(Kind::Tensor, plain.as_bytes(), None).unwrap();
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
        let binary = parse(Kind::Tensor, &body, header).unwrap();
        assert_eq!(binary.images, plain.images);
        assert_eq!(
            (binary.timeout, binary.priority),
            (Some(Duration::from_micros(5)), Priority::High)
        );
        let asked: Vec<bool> = binary.outputs.iter().map(|asked| asked.binary).collect();
        assert_eq!(asked, [false, true]);

        let raw = parse(Kind::Tensor, &bytes[..24], Some(0)).unwrap();
        assert_eq!(raw.images, Images::Values(values[..6].to_vec()));
    }

    #[test]
    fn images_are_elements_base64_or_the_whole_body() {
        let shape = json!([2, 1]);
        let input = json!({ "name": "image", "datatype": "BYTES", "shape": shape });
        let mut text = input.clone();
        text["data"] = json!(["YWI=", "Yw=="]);
        let images = Images::Encoded(vec![Bytes::from_static(b"ab"), Bytes::from_static(b"c")]);
        let body = json!({ "inputs": [text] }).to_string();
        assert_eq!(parse(Kind::Image, body.as_bytes(), None).unwrap().images, images);
        let data = b"\x02\0\0\0ab\x01\0\0\0c";
        let mut binary = input;
        binary["parameters"] = json!({ "binary_data_size": data.len() });
        let (body, header) = with_binary(json!({ "inputs": [binary] }), data);
        assert_eq!(parse(Kind::Image, &body, header).unwrap().images, images);
        let raw = parse(Kind::Image, b"jpeg", Some(0)).unwrap();
        assert_eq!(raw.images, Images::Encoded(vec![Bytes::from_static(b"jpeg")]));
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
            (
                Kind::Image,
                b"{\"inputs\": [{\"name\": \"image\", \"shape\": [1], \"datatype\": \"BYTES\", \"data\": [\"YQ==\"]}], \
                  \"outputs\": [{\"name\": \"features\"}, {\"name\": \"logits\"}, {\"name\": \"features\"}]}"
                    .to_vec(),
                None,
                "output 'features' is asked for twice",
            ),
            (Kind::Image, b"[]".to_vec(), None, "invalid type: sequence, expected an object"),
            (
                Kind::Image,
                b"{\"inputs\": [[\"image\", [1], \"BYTES\", {}, [\"YQ==\"]]]}".to_vec(),
                None,
                "invalid type: sequence, expected an object",
            ),
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
