//! From a body of JSON, with binary data behind it or not, to what it has.

use super::{Data, Given, Input, Parameters, Wish, invalid};
use crate::serve::error::ServeError;
use axum::body::Bytes;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;
use std::marker::PhantomData;

/// What is an object in JSON, and no list of the object's values, which derived readers take too.
pub struct Object<T>(pub T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Object<T>, D::Error> {
        struct Fields<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, fields: A) -> Result<Object<T>, A::Error> {
                T::deserialize(MapAccessDeserializer::new(fields)).map(Object)
            }
        }
        from.deserialize_map(Fields(PhantomData))
    }
}

#[derive(Deserialize)]
struct JsonRequest {
    id: Option<String>,
    #[serde(default)]
    parameters: Parameters,
    #[serde(default)]
    inputs: Vec<Object<JsonInput>>,
    #[serde(default)]
    outputs: Vec<Object<JsonOutput>>,
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

/// What a body has: JSON of `header` bytes and binary data behind it. None: all of it is JSON.
pub fn read(body: &Bytes, header: Option<usize>) -> Result<Given, ServeError> {
    let length = header.unwrap_or(body.len());
    if length > body.len() {
        return Err(invalid(format!(
            "Inference-Header-Content-Length is {length}, expected at most the body's {} bytes",
            body.len()
        )));
    }
    let mut binary = body.slice(length..);
    let Object(request): Object<JsonRequest> = serde_json::from_slice(&body[..length])
        .map_err(|error| invalid(format!("the request is no JSON of this protocol: {error}")))?;
    let inputs = request.inputs.into_iter().map(|Object(input)| input.given(&mut binary));
    let inputs = inputs.collect::<Result<Vec<Input>, ServeError>>()?;
    if !binary.is_empty() {
        let left = binary.len();
        return Err(invalid(format!("{left} bytes follow the JSON that no input has")));
    }
    let wish = |Object(output): Object<JsonOutput>| Wish {
        name: output.name,
        parameters: output.parameters,
    };
    Ok(Given {
        id: request.id,
        parameters: request.parameters,
        inputs,
        outputs: request.outputs.into_iter().map(wish).collect(),
    })
}

impl JsonInput {
    /// The input, whose binary data is the next of what follows the JSON.
    fn given(self, binary: &mut Bytes) -> Result<Input, ServeError> {
        let name = &self.name;
        let data = match (self.parameters.get("binary_data_size"), self.data) {
            (Some(size), None) => {
                let fits = |size: &usize| *size <= binary.len();
                let Some(size) =
                    size.as_u64().and_then(|size| usize::try_from(size).ok()).filter(fits)
                else {
                    return Err(invalid(format!(
                        "input '{name}': binary_data_size is {size}, and {} bytes follow the JSON",
                        binary.len()
                    )));
                };
                Data::Binary(binary.split_to(size))
            }
            (None, Some(Flat { numbers, texts })) => match (numbers.is_empty(), texts.is_empty()) {
                (_, true) => Data::Numbers(numbers),
                (true, false) => Data::Texts(texts),
                (false, false) => {
                    return Err(invalid(format!(
                        "input '{name}' has both numbers and texts among its elements"
                    )));
                }
            },
            (Some(_), Some(_)) => {
                return Err(invalid(format!("input '{name}' has both data and binary_data_size")));
            }
            (None, None) => {
                return Err(invalid(format!(
                    "input '{name}' has neither data nor binary_data_size"
                )));
            }
        };
        Ok(Input { name: self.name, datatype: self.datatype, shape: self.shape, data })
    }
}
