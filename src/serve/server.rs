//! What all routes share: the models, how bodies are taken, and the form of answers and faults.

use super::body::Bodies;
use super::engine::Hold;
use super::error::ServeError;
use super::keys::Keys;
use super::model::Model;
use super::oip::Kind;
use super::repository::{Listed, Models, Source, State};
use super::statistics::Statistics;
use axum::extract::rejection::PathRejection;
use axum::extract::{self, FromRequestParts, Path};
use axum::http::StatusCode;
use axum::http::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE,
};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// What is spoken on an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1: all routes.
    Http,
    /// gRPC, by HTTP/2.
    Grpc,
    /// HTTP/1.1: metrics alone.
    Metrics,
}

/// Of Triton's extensions those that there are.
pub(super) const EXTENSIONS: [&str; 6] = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
];

/// How requests are taken.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Most bytes of a body, also when it is unpacked.
    pub max_body: usize,
    /// How long a body is waited for; so is the memory for it, where other bodies have taken it.
    pub body_time: Duration,
    /// Who may ask.
    pub keys: Keys,
}

/// Models, and how requests are taken.
#[derive(Debug)]
pub struct Server {
    models: Models,
    bodies: Bodies,
    keys: Keys,
    is_stopping: watch::Sender<bool>,
    is_ending: watch::Sender<bool>,
}

impl Server {
    /// Models by their names, and where more come from.
    pub fn new(
        models: Vec<Model>,
        source: Option<Arc<dyn Source>>,
        options: ServerOptions,
    ) -> Server {
        let ServerOptions { max_body, body_time, keys } = options;
        let is_ending = watch::Sender::new(false);
        Server {
            models: Models::new(models, source),
            bodies: Bodies::new(max_body, body_time, is_ending.subscribe()),
            keys,
            is_stopping: watch::Sender::new(false),
            is_ending,
        }
    }

    /// A name that has no model, and why.
    pub fn set_unavailable(&self, name: &str, reason: String) {
        self.models.set_unavailable(name, reason);
    }

    /// From here on the server says that it is not ready. It answers all the same.
    pub fn stop(&self) {
        self.is_stopping.send_replace(true);
    }

    /// From here on requests that are not there yet have little time left.
    pub(super) fn end(&self) {
        self.is_ending.send_replace(true);
    }

    /// Whether the server has said that it stops.
    pub(super) fn is_stopping(&self) -> bool {
        *self.is_stopping.borrow()
    }

    /// Takes no more images; those that are queued are run.
    pub fn close(&self) {
        self.models.all().iter().for_each(|model| model.close());
    }

    /// For tests: a model's devices take no batch until what is returned has been dropped.
    #[doc(hidden)]
    pub fn hold(&self, model: &str) -> Option<Vec<Hold>> {
        self.models.get(model).map(|model| model.hold())
    }

    /// Whether requests are welcome.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_stopping() && self.models.all().iter().all(|model| model.is_able())
    }

    /// Whether a device failed and stayed of no use: the process has to be started anew.
    pub(super) fn is_lost(&self) -> bool {
        self.models.all().iter().any(|model| model.is_lost())
    }

    /// Tells when the server stops.
    pub(super) fn stopping(&self) -> watch::Receiver<bool> {
        self.is_stopping.subscribe()
    }

    /// How bodies are taken.
    pub(super) fn bodies(&self) -> &Bodies {
        &self.bodies
    }

    /// Who may ask.
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// All models.
    pub(super) fn models(&self) -> &Models {
        &self.models
    }

    /// The repository's lines under all names; of the models that answer alone where `is_ready`.
    pub(super) fn index(&self, is_ready: bool) -> Vec<Listed> {
        let stops = self.is_stopping();
        let mut index = Vec::new();
        for mut listed in self.models.index() {
            if stops && listed.state == State::Ready {
                listed.state = State::Unavailable;
                listed.reason = "the server is stopping".to_owned();
            }
            if is_ready && listed.state != State::Ready {
                continue;
            }
            for kind in Kind::ALL {
                let name = format!("{}{}", listed.name, kind.suffix());
                index.push(Listed { name, ..listed.clone() });
            }
        }
        index
    }

    /// The statistics of all models, each once.
    pub(super) fn statistics(&self) -> Vec<Statistics> {
        self.models.all().iter().map(|model| Statistics::of(model, Kind::Image)).collect()
    }

    /// Whether a name has a model or could have one, though it has none now.
    pub(super) fn is_known(&self, name: &str) -> bool {
        self.models.index().iter().any(|listed| listed.name == base(name))
    }

    /// Loads a model under its name without a suffix.
    pub(super) async fn load<'a>(
        &self,
        name: &str,
        mut parameters: impl Iterator<Item = &'a str>,
    ) -> Result<(), ServeError> {
        if let Some(parameter) = parameters.next() {
            return Err(ServeError::Unsupported(format!(
                "parameter {parameter}: models are loaded as their files are"
            )));
        }
        self.models.load(name).await
    }

    /// A model by its name with or without a suffix, in the one version that there is; no version and
    /// an empty one are that too.
    pub(super) fn model(
        &self,
        name: &str,
        version: Option<&str>,
    ) -> Result<(Arc<Model>, Kind), ServeError> {
        let found = Kind::ALL.into_iter().rev().find_map(|kind| {
            let model = self.models.get(name.strip_suffix(kind.suffix())?)?;
            Some((model, kind))
        });
        let found = found.ok_or_else(|| self.models.absent(base(name)))?;
        match version {
            None | Some("1" | "") => Ok(found),
            Some(version) => Err(ServeError::NotFound(format!(
                "model '{name}' has no version '{version}': expected 1"
            ))),
        }
    }

    /// The model of a path.
    pub(super) fn of_path(
        &self,
        path: &HashMap<String, String>,
    ) -> Result<(Arc<Model>, Kind), ServeError> {
        let part = |name: &str| path.get(name).map(String::as_str);
        self.model(part("name").unwrap_or_default(), part("version"))
    }
}

/// A name without a suffix.
pub(super) fn base(name: &str) -> &str {
    let kinds = Kind::ALL.into_iter().rev();
    kinds.filter_map(|kind| name.strip_suffix(kind.suffix())).next().unwrap_or(name)
}

pub(super) type Served = extract::State<Arc<Server>>;

/// The named parts of a path.
pub(super) struct Names(pub HashMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Names {
    type Rejection = ServeError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Names, ServeError> {
        let names = Path::<HashMap<String, String>>::from_request_parts(parts, state).await;
        let said = |rejection: PathRejection| ServeError::Invalid(rejection.body_text());
        names.map(|Path(names)| Names(names)).map_err(said)
    }
}

impl IntoResponse for ServeError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status()).unwrap_or_default();
        let mut response = reply(status, &json!({ "error": self.to_string() }));
        let header = match self {
            ServeError::Encoding(_) => Some((ACCEPT_ENCODING, "gzip, deflate")),
            ServeError::Unauthorised => Some((WWW_AUTHENTICATE, "Bearer")),
            // Else the rest of its body is waited for, to throw it away.
            ServeError::Slow(_) => Some((CONNECTION, "close")),
            _ => None,
        };
        if let Some((name, value)) = header {
            response.headers_mut().insert(name, HeaderValue::from_static(value));
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
