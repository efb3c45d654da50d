//! What people ask with curl and a browser, and Paddle Serving's pipeline: images in, classes out.

use super::engine::Wanted;
use super::error::ServeError;
use super::model::Model;
use super::network::ImageOutputs;
use super::oip::{Images, Kind, Object};
use super::queue::Priority;
use super::server::{Names, Served, Server, ok};
use crate::session::best;
use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Multipart, Query, Request, State};
use axum::http::Uri;
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::HashMap;

/// Best classes of an image where a request does not say.
const TOP_K: usize = 5;

/// For people: an encoded image as the body, or a JSON list of images in base64.
pub async fn classify(
    State(server): Served,
    Names(path): Names,
    request: Request,
) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    if kind != Kind::Image || model.extents.classes == 0 {
        return Err(ServeError::NotFound(format!(
            "classify is for models with classes, by their names without a suffix: '{}'",
            model.extents.name
        )));
    }
    let (parts, body) = request.into_parts();
    let k = top_k(&parts.uri)?;
    let content = parts.headers.get(CONTENT_TYPE).and_then(|content| content.to_str().ok());
    let content = content.and_then(|content| content.split(';').next()).map(str::trim);
    let is = |kind: &str| content.is_some_and(|content| content.eq_ignore_ascii_case(kind));
    let (is_json, is_form) = (is("application/json"), is("multipart/form-data"));
    model.expect_room()?;
    let body = server.bodies().read(&parts.headers, body).await?;
    let images = if is_json {
        let list: Vec<String> = serde_json::from_slice(&body.bytes).map_err(|error| {
            ServeError::Invalid(format!("expected a JSON list of images in base64: {error}"))
        })?;
        list.iter().enumerate().map(|(image, text)| base64_image(image, text)).collect()
    } else if is_form {
        form(Request::from_parts(parts, body.bytes.clone().into())).await
    } else {
        Ok(vec![body.bytes.clone()])
    };
    drop(body);
    let results = classes(&model, images?, k).await?;
    Ok(ok(&json!({ "model": model.extents.name, "results": results })))
}

/// The files of a form, as browsers and `curl -F` send them.
async fn form(request: Request) -> Result<Vec<Bytes>, ServeError> {
    let fault = |error: &dyn std::fmt::Display| {
        ServeError::Invalid(format!("the form cannot be read: {error}"))
    };
    let mut parts =
        Multipart::from_request(request, &()).await.map_err(|error| fault(&error.body_text()))?;
    let mut images = Vec::new();
    while let Some(part) = parts.next_field().await.map_err(|error| fault(&error.body_text()))? {
        let name = part.name().unwrap_or_default().to_owned();
        let is_file = part.file_name().is_some();
        let bytes = part.bytes().await.map_err(|error| fault(&error.body_text()))?;
        if !is_file {
            return Err(ServeError::Invalid(format!(
                "the form's field '{name}' is no file: expected files alone, as of curl -F image=@cat.jpg"
            )));
        }
        images.push(bytes);
    }
    Ok(images)
}

fn top_k(uri: &Uri) -> Result<usize, ServeError> {
    #[derive(serde::Deserialize)]
    struct Asked {
        top_k: Option<usize>,
    }
    let asked = Query::<Asked>::try_from_uri(uri).map(|Query(asked)| asked.top_k);
    match asked {
        Ok(k @ (None | Some(1..))) => Ok(k.unwrap_or(TOP_K)),
        _ => Err(ServeError::Invalid("top_k: expected a number from 1 on".to_owned())),
    }
}

fn base64_image(image: usize, text: &str) -> Result<Bytes, ServeError> {
    STANDARD
        .decode(text)
        .map(Bytes::from)
        .map_err(|error| ServeError::Invalid(format!("image {image} is no base64: {error}")))
}

/// The best classes of each image.
async fn classes(
    model: &Model,
    images: Vec<Bytes>,
    k: usize,
) -> Result<Vec<Vec<Value>>, ServeError> {
    if images.is_empty() {
        return Err(ServeError::Invalid("no images, expected at least one".to_owned()));
    }
    let wanted = Wanted { features: false, probabilities: true };
    let found = model.infer(Images::Encoded(images), wanted, Priority::Usual, None).await?;
    let row = |(image, outputs): (usize, &ImageOutputs)| {
        let probabilities = outputs.probabilities.as_ref().map_err(|fault| {
            ServeError::Invalid(format!("image {image} has no probabilities: {fault}"))
        })?;
        let of_class = |class: usize| {
            json!({
                "class": class,
                "label": model.extents.labels.get(class),
                "probability": probabilities.as_ref().map(|all| all[class]),
                "logit": outputs.logits[class],
            })
        };
        Ok(best(&outputs.logits, k).into_iter().map(of_class).collect())
    };
    found.iter().enumerate().map(row).collect()
}

/// Paddle Serving's pipeline: `{"key": ["image"], "value": [base64]}`, and an answer whose fault is a
/// number in it.
pub async fn prediction(
    State(server): Served,
    Names(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let answer = predicted(&server, &path, &headers, body).await;
    let (number, text, [labels, probabilities]) = match answer {
        Ok(found) => (0, String::new(), found),
        Err(error) => {
            let number = match &error {
                ServeError::Late(_) | ServeError::Slow(_) => 6000,
                ServeError::Device(_) | ServeError::Stopping(_) => 3000,
                ServeError::Full { .. } | ServeError::Crowded(_) => 8000,
                _ => 5000,
            };
            (number, error.to_string(), [String::new(), String::new()])
        }
    };
    let (key, value) = match number {
        0 => (json!(["label", "prob"]), json!([labels, probabilities])),
        _ => (json!([]), json!([])),
    };
    ok(&json!({ "err_no": number, "err_msg": text, "key": key, "value": value, "tensors": [] }))
}

/// The best class of the image, and its probability, as Python prints lists.
async fn predicted(
    server: &Server,
    path: &HashMap<String, String>,
    headers: &HeaderMap,
    body: Body,
) -> Result<[String; 2], ServeError> {
    #[derive(serde::Deserialize)]
    struct Pipeline {
        key: Vec<String>,
        value: Vec<String>,
    }
    let (model, _) = server.of_path(path)?;
    model.expect_room()?;
    let body = server.bodies().read(headers, body).await?;
    let expected = "expected {\"key\": [\"image\"], \"value\": [an image in base64]}";
    let Object(pipeline): Object<Pipeline> = serde_json::from_slice(&body.bytes)
        .map_err(|error| ServeError::Invalid(format!("{expected}: {error}")))?;
    let at = pipeline.key.iter().position(|key| key == "image");
    let Some(text) = at.and_then(|at| pipeline.value.get(at)) else {
        return Err(ServeError::Invalid(format!("no image: {expected}")));
    };
    let image = base64_image(0, text)?;
    drop(body);
    let found = classes(&model, vec![image], 1).await?;
    let Some(best) = found.first().and_then(|image| image.first()) else {
        return Err(ServeError::Invalid(format!("'{}' has no classes", model.extents.name)));
    };
    let label = best["label"].as_str().map_or(best["class"].to_string(), str::to_owned);
    let label = label.replace('\\', "\\\\").replace('\'', "\\'");
    Ok([format!("['{label}']"), format!("[{}]", best["probability"])])
}

/// What is served, and a place to drop an image on. Without a key, where one is asked for, it does not
/// say what is served.
pub async fn page(State(server): Served, headers: HeaderMap) -> Response {
    let escape =
        |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let rows: String = server
        .models()
        .all()
        .iter()
        .filter(|_| server.keys().admit(&headers))
        .map(|model| {
            let [name, about] = [model.name(), model.description()].map(escape);
            let ([h, w], classes) = (model.extents.size, model.extents.classes);
            let batch = model.extents.batch;
            format!(
                "<tr><td><label><input type=radio name=model value=\"{name}\"> {name}</label></td>\
                 <td>{h}x{w}</td><td>{classes}</td><td>{batch}</td><td>{about}</td></tr>"
            )
        })
        .collect();
    let page = include_str!("page.html").replace("{rows}", &rows);
    ([(CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}
