//! All routes, and those of the Open Inference Protocol with Triton's extensions; metrics.

use super::body::Held;
use super::engine::Wanted;
use super::error::ServeError;
use super::model::Model;
use super::oip::{self, Asked, Kind, Output};
use super::server::{Names, Served, Server, ok, reply};
use super::{metrics, people};
use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::task::spawn_blocking;

/// Bytes of JSON before binary data.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// Bytes of JSON that are read at once.
const SHORT_TEXT: usize = 64 << 10;

/// All routes.
pub fn router(server: Arc<Server>) -> Router {
    let of_model = [
        ("", get(model_metadata)),
        ("/ready", get(model_ready)),
        ("/config", get(model_config)),
        ("/stats", get(model_statistics)),
        ("/infer", post(infer)),
        ("/classify", post(people::classify)),
    ];
    let mut router = Router::new()
        .route("/", get(people::page))
        .route("/v2", get(server_metadata))
        .route("/v2/health/live", get(live))
        .route("/v2/health/ready", get(ready))
        .route("/v2/models", get(models))
        .route("/v2/models/stats", get(all_statistics))
        .route("/v2/repository/index", post(index))
        .route("/metrics", get(all_metrics))
        .route("/{name}/prediction", post(people::prediction));
    for (rest, route) in of_model {
        for version in ["", "/versions/{version}"] {
            router = router.route(&format!("/v2/models/{{name}}{version}{rest}"), route.clone());
        }
    }
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(server)
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

async fn ready(State(server): Served) -> Response {
    match server.is_ready() {
        true => ok(&json!({ "ready": true })),
        false => {
            let error = "the server is stopping, or a model has failed";
            let body = json!({ "ready": false, "error": error });
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
            "schedule_policy",
        ],
    }))
}

fn names(server: &Server) -> impl Iterator<Item = String> {
    let with_suffix = |name| Kind::ALL.map(|kind| format!("{name}{}", kind.suffix()));
    server.models().map(Model::name).flat_map(with_suffix)
}

async fn models(State(server): Served) -> Response {
    ok(&json!({ "models": names(&server).collect::<Vec<_>>() }))
}

async fn index(State(server): Served) -> Response {
    let state = if server.is_ready() { "READY" } else { "UNAVAILABLE" };
    let entry = |name| json!({ "name": name, "version": "1", "state": state, "reason": "" });
    ok(&names(&server).map(entry).collect())
}

async fn model_metadata(State(server): Served, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    Ok(ok(&model.extents.metadata(kind)))
}

async fn model_ready(State(server): Served, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    let name = format!("{}{}", model.extents.name, kind.suffix());
    let status = if server.is_ready() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok(reply(status, &json!({ "name": name, "ready": server.is_ready() })))
}

async fn model_config(State(server): Served, Path(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    Ok(ok(&model.extents.config(kind, model.delay())))
}

async fn model_statistics(
    State(server): Served,
    Path(path): Names,
) -> Result<Response, ServeError> {
    let (model, _) = server.model(&path)?;
    Ok(ok(&json!({ "model_stats": [statistics(model)] })))
}

async fn all_statistics(State(server): Served) -> Response {
    let all: Vec<Value> = server.models().map(statistics).collect();
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

async fn all_metrics(State(server): Served) -> Response {
    let rows: Vec<metrics::Row<'_>> =
        server.models().map(|model| (model.name(), &*model.metrics, model.queued())).collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&rows)).into_response()
}

/// A body as a request; a long text is read aside, for others not to wait.
async fn parsed(
    model: &Arc<Model>,
    kind: Kind,
    body: Held,
    header: Option<usize>,
) -> Result<oip::Request, ServeError> {
    let text = header.unwrap_or(body.bytes.len());
    if text <= SHORT_TEXT {
        return model.extents.parse(kind, &body.bytes, header);
    }
    let model = model.clone();
    spawn_blocking(move || model.extents.parse(kind, &body.bytes, header))
        .await
        .map_err(|_| ServeError::Device("reading the request failed".to_owned()))?
}

async fn infer(
    State(server): Served,
    Path(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let (model, kind) = server.model(&path)?;
    let body = server.bodies().read(&headers, body).await?;
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
    let request = parsed(model, kind, body, header).await?;
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
