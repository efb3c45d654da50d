//! From the outputs of images to the body of an answer.

use super::{Asked, Extents, Kind, Output, invalid};
use crate::serve::error::ServeError;
use crate::serve::network::ImageOutputs;
use crate::session::best;
use serde::Serialize;
use serde_json::{Value, json};

/// An output's elements.
#[derive(Clone, Debug, PartialEq)]
pub enum Tensor {
    /// FP32.
    Values(Vec<f32>),
    /// BYTES.
    Texts(Vec<String>),
}

/// An output of an answer.
#[derive(Clone, Debug, PartialEq)]
pub struct Filled {
    /// Its name.
    pub name: &'static str,
    /// Images, and elements of each.
    pub shape: [usize; 2],
    /// Its elements.
    pub data: Tensor,
}

impl Tensor {
    /// As the protocol names it.
    pub fn datatype(&self) -> &'static str {
        match self {
            Tensor::Values(_) => "FP32",
            Tensor::Texts(_) => "BYTES",
        }
    }

    /// As binary data: texts with their lengths, u32 little-endian.
    pub fn write(&self, to: &mut Vec<u8>) {
        match self {
            Tensor::Values(values) => {
                to.reserve(4 * values.len());
                to.extend(values.iter().flat_map(|x| x.to_le_bytes()));
            }
            Tensor::Texts(texts) => {
                for text in texts {
                    to.extend((text.len() as u32).to_le_bytes());
                    to.extend(text.as_bytes());
                }
            }
        }
    }

    fn json(self, name: &str) -> Result<Value, ServeError> {
        match self {
            Tensor::Texts(texts) => Ok(texts.into()),
            Tensor::Values(values) if values.iter().all(|value| value.is_finite()) => {
                Ok(values.into())
            }
            Tensor::Values(_) => Err(invalid(format!(
                "{name} are not all finite, and JSON has no NaN: ask for binary data"
            ))),
        }
    }
}

impl Extents {
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
        let mut binary = Vec::new();
        let outputs = asked
            .iter()
            .map(|asked| {
                let Filled { name, shape, data } = self.filled(asked, images)?;
                let mut output = json!({
                    "name": name, "datatype": data.datatype(), "shape": shape,
                });
                if asked.binary {
                    let before = binary.len();
                    data.write(&mut binary);
                    output["parameters"] = json!({ "binary_data_size": binary.len() - before });
                } else {
                    output["data"] = data.json(name)?;
                }
                Ok(output)
            })
            .collect::<Result<Vec<Value>, ServeError>>()?;
        let answer = Answer { model_name: self.full_name(kind), model_version: "1", id, outputs };
        let mut body = serde_json::to_vec(&answer)
            .map_err(|error| ServeError::Device(format!("an answer that is no JSON: {error}")))?;
        let is_binary = asked.iter().any(|asked| asked.binary);
        let header = is_binary.then_some(body.len());
        body.extend(binary);
        Ok((body, header))
    }

    /// An output of all images.
    pub fn filled(&self, asked: &Asked, images: &[ImageOutputs]) -> Result<Filled, ServeError> {
        let rows = images
            .iter()
            .enumerate()
            .map(|(image, outputs)| row(outputs, asked.output, image))
            .collect::<Result<Vec<&[f32]>, ServeError>>()?;
        let elems = self.elems(asked.output);
        let (elems, data) = match asked.classification {
            None => (elems, Tensor::Values(rows.concat())),
            Some(count) => {
                let count = count.min(elems);
                let texts = rows.iter().flat_map(|row| self.best(row, count, asked.output));
                (count, Tensor::Texts(texts.collect()))
            }
        };
        Ok(Filled { name: asked.output.name(), shape: [images.len(), elems], data })
    }

    /// The best of a row, as `value:index` or `value:index:label`.
    fn best(&self, row: &[f32], count: usize, output: Output) -> Vec<String> {
        let labels = if output == Output::Features { &[][..] } else { &self.labels[..] };
        let text = |index: usize| match labels.get(index) {
            Some(label) => format!("{:.6}:{index}:{label}", row[index]),
            None => format!("{:.6}:{index}", row[index]),
        };
        best(row, count).into_iter().map(text).collect()
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::oip::tests::extents;

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
