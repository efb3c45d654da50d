//! What all routes share: the models, how bodies are taken, and the form of answers and faults.

use super::body::Bodies;
use super::error::ServeError;
use super::model::Model;
use super::oip::Kind;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::http::header::{ACCEPT_ENCODING, CONTENT_TYPE, HeaderValue};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Models, and how requests are taken.
#[derive(Debug)]
pub struct Server {
    models: BTreeMap<String, Arc<Model>>,
    bodies: Bodies,
    is_stopping: AtomicBool,
}

impl Server {
    /// Models by their names. A body has at most `max_body` bytes, also when it is unpacked, and is
    /// waited for for `body_time`; so is the memory for it, where other bodies have taken it.
    pub fn new(models: Vec<Model>, max_body: usize, body_time: Duration) -> Server {
        let models = models.into_iter().map(|model| (model.extents.name.clone(), Arc::new(model)));
        Server {
            models: models.collect(),
            bodies: Bodies::new(max_body, body_time),
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

    /// Whether requests are welcome.
    pub(super) fn is_ready(&self) -> bool {
        let is_open = self.models.values().all(|model| model.is_open());
        is_open && !self.is_stopping.load(Ordering::Relaxed)
    }

    /// How bodies are taken.
    pub(super) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// All models, in the order of their names.
    pub(super) fn models(&self) -> impl Iterator<Item = &Model> {
        self.models.values().map(|model| &**model)
    }

    /// A model by its name with or without a suffix, in the one version that there is.
    pub(super) fn model(
        &self,
        path: &HashMap<String, String>,
    ) -> Result<(&Arc<Model>, Kind), ServeError> {
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
}

pub(super) type Served = State<Arc<Server>>;
pub(super) type Names = Path<HashMap<String, String>>;

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or_default();
        let mut response = reply(status, &json!({ "error": self.to_string() }));
        if status == StatusCode::NOT_IMPLEMENTED {
            let accepted = HeaderValue::from_static("gzip, deflate");
            response.headers_mut().insert(ACCEPT_ENCODING, accepted);
        }
        response
    }
}

pub(super) fn reply(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

pub(super) fn ok(value: &Value) -> Response {
    reply(StatusCode::OK, value)
}
