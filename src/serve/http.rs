//! All routes, and those of the Open Inference Protocol with Triton's extensions; metrics.

use super::body::Held;
use super::error::ServeError;
use super::model::Model;
use super::oip::{self, Kind, Object};
use super::prepare::aside;
use super::repository::{Listed, State as ModelState};
use super::server::{EXTENSIONS, Names, Served, Server, ok, reply};
use super::statistics::Statistics;
use super::{metrics, people};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONTENT_TYPE, HeaderMap};
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};
use std::sync::Arc;

/// Bytes of JSON before binary data.
const HEADER_LENGTH: &str = "inference-header-content-length";
/// Why there is no readiness.
const NOT_READY: &str = "the server is stopping, or a model has failed";
/// What a byte of JSON is, in bytes of binary data, for the time that it takes.
const TEXT_WORK: usize = 4;

/// The routes of metrics, for an address of their own.
pub fn metrics_router(server: Arc<Server>) -> Router {
    let router = Router::new().route("/metrics", get(all_metrics));
    router.fallback(unknown).method_not_allowed_fallback(wrong_method).with_state(server)
}

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
        .route("/v2/repository/models/{name}/load", post(load))
        .route("/v2/repository/models/{name}/unload", post(unload))
        .route("/metrics", get(all_metrics))
        .route("/openapi.yaml", get(openapi))
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
            let body = json!({ "ready": false, "error": NOT_READY });
            reply(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    }
}

async fn server_metadata() -> Response {
    ok(&json!({
        "name": "effnet",
        "version": env!("CARGO_PKG_VERSION"),
        "extensions": EXTENSIONS,
    }))
}

async fn models(State(server): Served) -> Response {
    let ready = |listed: Listed| (listed.state == ModelState::Ready).then_some(listed.name);
    let names: Vec<String> = server.index(true).into_iter().filter_map(ready).collect();
    ok(&json!({ "models": names }))
}

/// What the repository's routes read of a body.
#[derive(Default, serde::Deserialize)]
#[serde(default)]
struct RepositoryRequest {
    ready: bool,
    parameters: oip::Parameters,
}

impl RepositoryRequest {
    /// Of a body that may be empty.
    async fn read(
        server: &Server,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<RepositoryRequest, ServeError> {
        let body = server.bodies().read(headers, body).await?;
        if body.bytes.is_empty() {
            return Ok(RepositoryRequest::default());
        }
        serde_json::from_slice(&body.bytes)
            .map(|Object(request)| request)
            .map_err(|error| ServeError::Invalid(format!("expected nothing or JSON: {error}")))
    }
}

async fn index(
    State(server): Served,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let request = RepositoryRequest::read(&server, &headers, body).await?;
    let entry = |listed: Listed| {
        let Listed { name, state, reason } = listed;
        json!({ "name": name, "version": "1", "state": state.name(), "reason": reason })
    };
    Ok(ok(&server.index(request.ready).into_iter().map(entry).collect()))
}

/// The body of an answer is KServe's; Triton's clients do not look at it.
async fn load(
    State(server): Served,
    Names(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let request = RepositoryRequest::read(&server, &headers, body).await?;
    let name = path.get("name").map(String::as_str).unwrap_or_default();
    server.load(name, request.parameters.keys().map(String::as_str)).await?;
    Ok(ok(&json!({ "name": name, "load": true })))
}

async fn unload(
    State(server): Served,
    Names(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    // What it says, as whether others are to be unloaded too, changes nothing.
    RepositoryRequest::read(&server, &headers, body).await?;
    let name = path.get("name").map(String::as_str).unwrap_or_default();
    server.models().unload(name).await?;
    Ok(ok(&json!({ "name": name, "unload": true })))
}

async fn openapi() -> Response {
    ([(CONTENT_TYPE, "application/yaml")], include_str!("openapi.yaml")).into_response()
}

async fn model_metadata(State(server): Served, Names(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    Ok(ok(&model.extents.metadata(kind)))
}

async fn model_ready(State(server): Served, Names(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    let name = model.extents.full_name(kind);
    Ok(match server.is_ready() && model.is_able() {
        true => ok(&json!({ "name": name, "ready": true })),
        false => {
            let body = json!({ "name": name, "ready": false, "error": NOT_READY });
            reply(StatusCode::SERVICE_UNAVAILABLE, &body)
        }
    })
}

async fn model_config(State(server): Served, Names(path): Names) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    Ok(ok(&model.extents.config(kind, model.delay())))
}

async fn model_statistics(
    State(server): Served,
    Names(path): Names,
) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    Ok(ok(&json!({ "model_stats": [Statistics::of(&model, kind).json()] })))
}

async fn all_statistics(State(server): Served) -> Response {
    let all: Vec<Value> = server.statistics().iter().map(Statistics::json).collect();
    ok(&json!({ "model_stats": all }))
}

async fn all_metrics(State(server): Served) -> Response {
    let models = server.models().all();
    let rows: Vec<metrics::Row<'_>> = models.iter().map(|model| model.row()).collect();
    ([(CONTENT_TYPE, "text/plain; version=0.0.4")], metrics::text(&rows)).into_response()
}

/// A body as a request. A text takes much longer to read than binary data.
async fn parsed(
    model: &Arc<Model>,
    kind: Kind,
    body: Held,
    header: Option<usize>,
) -> Result<oip::Request, ServeError> {
    let text = header.unwrap_or(body.bytes.len());
    let work = text.saturating_mul(TEXT_WORK).saturating_add(body.bytes.len());
    let model = model.clone();
    // Memory for the body is held until it has been read.
    aside(work, move || oip::read(&model.extents, kind, body.bytes.clone(), header)).await?
}

async fn infer(
    State(server): Served,
    Names(path): Names,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ServeError> {
    let (model, kind) = server.of_path(&path)?;
    model.expect_room()?;
    let body = server.bodies().read(&headers, body).await?;
    let header = match headers.get(HEADER_LENGTH) {
        None => None,
        Some(value) => {
            let digits = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
            let length = value.to_str().ok().filter(digits).and_then(|text| text.parse().ok());
            Some(length.ok_or_else(|| {
                ServeError::Invalid(format!(
                    "Inference-Header-Content-Length is {value:?}, expected a number of bytes"
                ))
            })?)
        }
    };
    let request = parsed(&model, kind, body, header).await?;
    let wanted = request.wanted();
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

#[cfg(test)]
mod tests {
    #[test]
    fn the_document_has_the_programs_version() {
        let version = format!("\n  version: {}\n", env!("CARGO_PKG_VERSION"));
        assert!(include_str!("openapi.yaml").contains(&version));
    }
}
