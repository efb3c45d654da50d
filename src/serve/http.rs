//! The routes by HTTP: the Open Inference Protocol with Triton's extensions, Paddle Serving's
//! pipeline, a route for people, metrics, and a page.

use super::engine::Wanted;
use super::error::ServeError;
use super::metrics;
use super::model::Model;
use super::oip::{Asked, Images, Kind, Output, best};
use super::queue::Priority;
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::{GzDecoder, ZlibDecoder};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Bytes of JSON before binary data.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// Best classes of an image where a request does not say.
const TOP_K: usize = 5;

/// Models, and how requests are taken.
#[derive(Debug)]
pub struct Server {
    models: BTreeMap<String, Arc<Model>>,
    max_body: usize,
    body_time: Duration,
    is_stopping: AtomicBool,
}

impl Server {
    /// Models by their names. A body has at most `max_body` bytes, also when it is unpacked, and is
    /// waited for for `body_time`.
    pub fn new(models: Vec<Model>, max_body: usize, body_time: Duration) -> Server {
        let models = models.into_iter().map(|model| (model.extents.name.clone(), Arc::new(model)));
        Server {
            models: models.collect(),
            max_body,
            body_time,
            is_stopping: AtomicBool::new(false),
        }
    }

    /// From here on the server says that it is not ready. It answers all the same.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    /// Takes no more images; those that are queued are run.
    pub fn close(&self) {
        self.models.values().for_each(|model| model.close());
    }

    /// For tests: a model's device takes no batch until what is returned has been dropped.
    #[doc(hidden)]
    pub fn hold(&self, model: &str) -> Option<tokio::sync::oneshot::Sender<()>> {
        self.models.get(model).map(|model| model.hold())
    }

    fn is_ready(&self) -> bool {
        !self.is_stopping.load(Ordering::Relaxed)
    }

    /// A model by its name with or without a suffix, in the one version that there is.
    fn model(&self, path: &HashMap<String, String>) -> Result<(&Arc<Model>, Kind), ServeError> {
        let name = path.get("name").map(String::as_str).unwrap_or_default();
        let found = Kind::ALL.into_iter().rev().find_map(|kind| {
            let model = self.models.get(name.strip_suffix(kind.suffix())?)?;
            Some((model, kind))
        });
        let Some(found) = found else {
            let names: Vec<&str> = self.models.keys().map(String::as_str).collect();
            let names = names.join(", ");
            return Err(ServeError::NotFound(format!("no model '{name}': there are {names}")));
        };
        match path.get("version").map(String::as_str) {
            None | Some("1") => Ok(found),
            Some(version) => Err(ServeError::NotFound(format!(
                "model '{name}' has no version '{version}': expected 1"
            ))),
        }
    }

    /// The whole body, unpacked.
    async fn body(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, ServeError> {
        let most = self.max_body;
        let length = headers.get("content-length").and_then(|length| length.to_str().ok());
        if length.and_then(|length| length.parse().ok()).is_some_and(|length: usize| length > most)
        {
            return Err(ServeError::TooLong { most });
        }
        let read = tokio::time::timeout(self.body_time, to_bytes(body, most)).await;
        let bytes = read.map_err(|_| ServeError::Slow(self.body_time))?.map_err(|error| {
            let is_long = std::error::Error::source(&error)
                .is_some_and(|source| source.to_string().contains("length limit"));
            match is_long {
                true => ServeError::TooLong { most },
                false => ServeError::Invalid(format!("the body broke off: {error}")),
            }
        })?;
        let unpack = |mut reader: Box<dyn Read + '_>| {
            let mut found = Vec::new();
            match (&mut reader).take(most as u64 + 1).read_to_end(&mut found) {
                Err(error) => {
                    Err(ServeError::Invalid(format!("the body does not unpack: {error}")))
                }
                Ok(length) if length > most => Err(ServeError::TooLong { most }),
                Ok(_) => Ok(Bytes::from(found)),
            }
        };
        match headers.get(CONTENT_ENCODING).map(|encoding| encoding.to_str().unwrap_or("?")) {
            None | Some("identity" | "") => Ok(bytes),
            Some("gzip") => unpack(Box::new(GzDecoder::new(&bytes[..]))),
            Some("deflate") => unpack(Box::new(ZlibDecoder::new(&bytes[..]))),
            Some(encoding) => Err(ServeError::Unsupported(format!(
                "Content-Encoding {encoding}: expected gzip or deflate"
            ))),
        }
    }
}

/// All routes.
pub fn router(server: Arc<Server>) -> Router {
    let model = |rest: &str| {
        [
            format!("/v2/models/{{name}}{rest}"),
            format!("/v2/models/{{name}}/versions/{{version}}{rest}"),
        ]
    };
    let mut router = Router::new()
        .route("/", get(page))
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(models))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/repository/index", post(index))
        .route("/metrics", get(all_metrics))
        .route("/{name}/prediction", post(prediction));
    for path in model("") {
        router = router.route(&path, get(model_metadata));
    }
    for path in model("/ready") {
        router = router.route(&path, get(model_ready));
    }
    for path in model("/config") {
        router = router.route(&path, get(model_config));
    }
    for path in model("/stats") {
        router = router.route(&path, get(model_statistics));
    }
    for path in model("/infer") {
        router = router.route(&path, post(infer));
    }
    for path in model("/classify") {
        router = router.route(&path, post(classify));
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(server)
}

type Held = State<Arc<Server>>;
type Names = Path<HashMap<String, String>>;

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or_default();
        let mut response = reply(status, &json!({ "error": self.to_string() }));
        if status == StatusCode::NOT_IMPLEMENTED {
            let accepted = axum::http::HeaderValue::from_static("gzip, deflate");
            response.headers_mut().insert(ACCEPT_ENCODING, accepted);
        }
        response
    }
}

fn reply(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn ok(value: &Value) -> Response {
    reply(StatusCode::OK, value)
}

async fn unknown(request: Request) -> Response {
    let path = request.uri().path();
    ServeError::NotFound(format!("no path {path}: GET / shows what is served")).into_response()
}

async fn wrong_method(method: Method, request: Request) -> Response {
    let path = request.uri().path();
    let error = format!("{path} takes no {method}");
    reply(StatusCode::METHOD_NOT_ALLOWED, &json!({ "error": error }))
}

async fn live() -> Response {
    ok(&json!({ "live": true }))
}

async fn ready(State(server): Held) -> Response {
    match server.is_ready() {
        true => ok(&json!({ "ready": true })),
        false => {
            let body = json!({ "ready": false, "error": "the server is stopping" });
            reply(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn server_metadata() -> Response {
    ok(&json!({
        "name": "effnet",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": [
            "binary_tensor_data", "classification", "statistics", "model_configuration",
            "model_repository", "schedule_policy",
        ],
    }))
}

fn names(server: &Server) -> impl Iterator<Item = String> {
    let with_suffix = |name: &String| Kind::ALL.map(|kind| format!("{name}{}", kind.suffix()));
    server.models.keys().flat_map(with_suffix)
}

async fn models(State(server): Held) -> Response {
    ok(&json!({ "models": names(&server).collect::<Vec<_>>() }))
}

async fn index(State(server): Held) -> Response {
    let state = if server.is_ready() { "READY" } else { "UNAVAILABLE" };
    let entry = |name| json!({ "name": name, "version": "1", "state": state, "reason": "" });
    ok(&names(&server).map(entry).collect())
}

async fn model_metadata(State(server): Held, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    Ok(ok(&model.extents.metadata(kind)))
}

async fn model_ready(State(server): Held, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    let name = format!("{}{}", model.extents.name, kind.suffix());
    let status = if server.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(reply(status, &json!({ "name": name, "ready": server.is_ready() })))
}

async fn model_config(State(server): Held, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    Ok(ok(&model.extents.config(kind, model.delay())))
}

async fn model_statistics(State(server): Held, Path(path): Names) -> Result<Response, ServeError> {
    let (model, _) = server.model(&path)?;
    Ok(ok(&json!({ "model_stats": [statistics(model)] })))
}

async fn all_statistics(State(server): Held) -> Response {
    let all: Vec<Value> = server.models.values().map(|model| statistics(model)).collect();
    ok(&json!({ "model_stats": all }))
}

/// Of a model under its three names together.
fn statistics(model: &Model) -> Value {
    let metrics = &model.metrics;
    let duration = |[count, ns]: [u64; 2]| json!({ "count": count, "ns": ns });
    let batches = metrics.batches();
    let images: u64 = batches.iter().map(|(&images, &count)| images as u64 * count).sum();
    let of_batch = |(images, count): (&usize, &u64)| json!({ "batch_size": images, "compute_infer": { "count": count } });
    json!({
        "name": model.extents.name,
        "version": "1",
        "inference_count": images,
        "execution_count": batches.values().sum::<u64>(),
        "inference_stats": {
            "success": duration(metrics.request.total()),
            "fail": { "count": metrics.failures(), "ns": 0 },
            "queue": duration(metrics.queue.total()),
            "compute_input": duration(metrics.decode.total()),
            "compute_infer": duration(metrics.compute.total()),
            "compute_output": { "count": 0, "ns": 0 },
            "cache_hit": { "count": 0, "ns": 0 },
            "cache_miss": { "count": 0, "ns": 0 },
        },
        "batch_stats": batches.iter().map(of_batch).collect::<Vec<_>>(),
    })
}

async fn all_metrics(State(server): Held) -> Response {
    let rows: Vec<metrics::Row<'_>> = server
        .models
        .iter()
        .map(|(name, model)| (name.as_str(), &*model.metrics, model.queued()))
        .collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&rows)).into_response()
}

async fn infer(
    State(server): Held,
    Path(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    let body = server.body(&headers, body).await?;
    let header = match headers.get(HEADER_LENGTH) {
        None => None,
        Some(value) => {
            let length = value.to_str().ok().and_then(|value| value.parse().ok());
            Some(length.ok_or_else(|| {
                ServeError::Invalid(format!(
                    "Inference-Header-Content-Length is {value:?}, expected a number of bytes"
                ))
            })?)
        }
    };
    let request = model.extents.parse(kind, &body, header)?;
    drop(body);
    let asks = |output| request.outputs.iter().any(|asked: &Asked| asked.output == output);
    let wanted =
        Wanted { features: asks(Output::Features), probabilities: asks(Output::Probabilities) };
    let images = model.infer(request.images, wanted, request.priority, request.timeout).await?;
    let (body, header) =
        model.extents.answer(kind, request.id.as_deref(), &request.outputs, &images)?;
    Ok(match header {
        None => ([(CONTENT_TYPE, "application/json")], body).into_response(),
        Some(length) => {
            let headers = [
                (CONTENT_TYPE.as_str(), "application/octet-stream".to_owned()),
                (HEADER_LENGTH, length.to_string()),
            ];
            (headers, body).into_response()
        }
    })
}

/// For people: an encoded image as the body, or a JSON list of images in base64.
async fn classify(
    State(server): Held,
    Path(path): Names,
    request: Request,
) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    if kind != Kind::Image || model.extents.classes == 0 {
        return Err(ServeError::NotFound(format!(
            "classify is for models with classes, by their names without a suffix: '{}'",
            model.extents.name
        )));
    }
    let (parts, body) = request.into_parts();
    let k = match top_k(parts.uri.query().unwrap_or_default()) {
        Some(k) => k,
        None => return Err(ServeError::Invalid("top_k: expected a number from 1 on".to_owned())),
    };
    let body = server.body(&parts.headers, body).await?;
    let content = parts.headers.get(CONTENT_TYPE).and_then(|content| content.to_str().ok());
    let is_json = content.is_some_and(|content| content.starts_with("application/json"));
    let images = if is_json {
        let list: Vec<String> = serde_json::from_slice(&body).map_err(|error| {
            ServeError::Invalid(format!("expected a JSON list of images in base64: {error}"))
        })?;
        list.iter().enumerate().map(|(image, text)| base64_image(image, text)).collect()
    } else {
        Ok(vec![body.to_vec()])
    };
    let results = classes(model, images?, k).await?;
    Ok(ok(&json!({ "model": model.extents.name, "results": results })))
}

fn top_k(query: &str) -> Option<usize> {
    let asked = query.split('&').find_map(|pair| pair.strip_prefix("top_k="));
    asked.map_or(Some(TOP_K), |text| text.parse().ok().filter(|&k| k > 0))
}

fn base64_image(image: usize, text: &str) -> Result<Vec<u8>, ServeError> {
    STANDARD
        .decode(text)
        .map_err(|error| ServeError::Invalid(format!("image {image} is no base64: {error}")))
}

/// The best classes of each image.
async fn classes(
    model: &Model,
    images: Vec<Vec<u8>>,
    k: usize,
) -> Result<Vec<Vec<Value>>, ServeError> {
    if images.is_empty() {
        return Err(ServeError::Invalid("no images, expected at least one".to_owned()));
    }
    let wanted = Wanted { features: false, probabilities: true };
    let found = model.infer(Images::Encoded(images), wanted, Priority::Usual, None).await?;
    let row = |(image, outputs): (usize, &super::engine::ImageOutputs)| {
        let probabilities = outputs.probabilities.as_ref().map_err(|fault| {
            ServeError::Invalid(format!("image {image} has no probabilities: {fault}"))
        })?;
        let of_class = |(class, logit): (usize, f32)| {
            json!({
                "class": class,
                "label": model.extents.labels.get(class),
                "probability": probabilities.as_ref().map(|all| all[class]),
                "logit": logit,
            })
        };
        Ok(best(&outputs.logits, k).map(of_class).collect())
    };
    found.iter().enumerate().map(row).collect()
}

/// Paddle Serving's pipeline: `{"key": ["image"], "value": [base64]}`, and an answer whose fault is a
/// number in it.
async fn prediction(
    State(server): Held,
    Path(path): Names,
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
                ServeError::Full { .. } | ServeError::FullOfBytes { .. } => 8000,
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
    let (model, _) = server.model(path)?;
    let body = server.body(headers, body).await?;
    let expected = "expected {\"key\": [\"image\"], \"value\": [an image in base64]}";
    let pipeline: Pipeline = serde_json::from_slice(&body)
        .map_err(|error| ServeError::Invalid(format!("{expected}: {error}")))?;
    let at = pipeline.key.iter().position(|key| key == "image");
    let Some(text) = at.and_then(|at| pipeline.value.get(at)) else {
        return Err(ServeError::Invalid(format!("no image: {expected}")));
    };
    let found = classes(model, vec![base64_image(0, text)?], 1).await?;
    let Some(best) = found.first().and_then(|image| image.first()) else {
        return Err(ServeError::Invalid(format!("'{}' has no classes", model.extents.name)));
    };
    let label = best["label"].as_str().map_or(best["class"].to_string(), str::to_owned);
    let label = label.replace('\\', "\\\\").replace('\'', "\\'");
    Ok([format!("['{label}']"), format!("[{}]", best["probability"])])
}

/// What is served, and a place to drop an image on.
async fn page(State(server): Held) -> Response {
    let escape =
        |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;");
    let rows: String = server
        .models
        .values()
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
