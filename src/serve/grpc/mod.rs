//! The protocol by gRPC: the service `inference.GRPCInferenceService`, health and reflection.
//!
//! In reading order: `messages`, `service` (what each method does), here the routes.

mod messages;
mod service;

use super::body::{Frames, Held};
use super::error::ServeError;
use super::oip::{Extents, Kind, Request};
use super::server::{Served, Server};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{self, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use prost::Message;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tonic::codec::CompressionEncoding::{Deflate, Gzip};
use tonic::server::{Grpc, UnaryService};
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tonic_prost::ProstCodec;

/// `inference.proto` as a descriptor.
const DESCRIPTOR: &[u8] = include_bytes!("inference.bin");

const SERVICE: &str = "inference.GRPCInferenceService";

/// A message as a request, for fuzzing.
pub fn read(extents: &Extents, kind: Kind, message: Bytes) -> Result<Request, ServeError> {
    let message = messages::ModelInferRequest::decode(message)
        .map_err(|error| ServeError::Invalid(error.to_string()))?;
    service::request(extents, kind, message)
}

/// A message for levels of 2x4 pixels, raw.
#[cfg(test)]
pub fn example() -> Vec<u8> {
    let input = messages::InferInputTensor {
        name: "pixels".to_owned(),
        datatype: "UINT8".to_owned(),
        shape: vec![1, 2, 4, 3],
        ..Default::default()
    };
    let message = messages::ModelInferRequest {
        inputs: vec![input],
        raw_input_contents: vec![vec![7; 24].into()],
        ..Default::default()
    };
    message.encode_to_vec()
}

/// How often health looks at the models.
const HEALTH_TICK: Duration = Duration::from_millis(250);

/// A request's message, what its headers say of time, and the memory that it has.
struct Call<M> {
    message: M,
    timeout: Option<Duration>,
    memory: Held,
}

/// All routes; and the health of the server, to be told by [`tell_health`].
pub fn router(server: Arc<Server>) -> (Router, HealthReporter) {
    let methods = [
        ("ServerLive", method(service::server_live)),
        ("ServerReady", method(service::server_ready)),
        ("ModelReady", method(service::model_ready)),
        ("ServerMetadata", method(service::server_metadata)),
        ("ModelMetadata", method(service::model_metadata)),
        ("ModelInfer", method(service::model_infer)),
        ("ModelConfig", method(service::model_config)),
        ("ModelStatistics", method(service::model_statistics)),
        ("RepositoryIndex", method(service::repository_index)),
        ("RepositoryModelLoad", method(service::repository_model_load)),
        ("RepositoryModelUnload", method(service::repository_model_unload)),
    ];
    let (reporter, health) = tonic_health::server::health_reporter();
    let mut router = Router::new().route_service("/grpc.health.v1.Health/{*method}", health);
    // The descriptor is a constant that tests read.
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(DESCRIPTOR)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    if let Ok(service) = reflection().build_v1() {
        router = router.route_service("/grpc.reflection.v1.ServerReflection/{*method}", service);
    }
    if let Ok(service) = reflection().build_v1alpha() {
        router =
            router.route_service("/grpc.reflection.v1alpha.ServerReflection/{*method}", service);
    }
    let mut router = router.with_state::<Arc<Server>>(());
    for (name, route) in methods {
        router = router.route(&format!("/{SERVICE}/{name}"), route);
    }
    (router.fallback(unknown).with_state(server), reporter)
}

async fn unknown(request: extract::Request) -> Response {
    refused(&ServeError::Unsupported(format!("no method {}", request.uri().path())))
}

/// An answer that is an error alone.
pub fn refused(error: &ServeError) -> Response {
    status(error).into_http::<tonic::body::Body>().into_response()
}

/// Tells health what the server is, until it stops.
pub async fn tell_health(server: Arc<Server>, reporter: HealthReporter) {
    let mut stopping = server.stopping();
    loop {
        let status = match server.is_ready() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for service in ["", SERVICE] {
            reporter.set_service_status(service, status).await;
        }
        if *stopping.borrow_and_update() {
            break;
        }
        // Nobody drops the sender, which the server has.
        let _ = tokio::time::timeout(HEALTH_TICK, stopping.changed()).await;
    }
}

/// An error as gRPC has it.
fn status(error: &ServeError) -> Status {
    let code = match error {
        ServeError::Invalid(_) => Code::InvalidArgument,
        ServeError::Unauthorised => Code::Unauthenticated,
        ServeError::NotFound(_) => Code::NotFound,
        ServeError::Slow(_) | ServeError::Expired(_) => Code::DeadlineExceeded,
        ServeError::TooLong { .. } | ServeError::TooMany { .. } => Code::ResourceExhausted,
        ServeError::Device(_) => Code::Internal,
        ServeError::Encoding(_) | ServeError::Unsupported(_) => Code::Unimplemented,
        ServeError::Full { .. }
        | ServeError::Crowded(_)
        | ServeError::Late(_)
        | ServeError::Unavailable(_)
        | ServeError::Stopping(_) => Code::Unavailable,
    };
    Status::new(code, error.to_string())
}

/// The route of a method.
fn method<Req, Res, F, Answer>(call: F) -> MethodRouter<Arc<Server>>
where
    Req: Message + Default + Send + Sync + 'static,
    Res: Message + Send + Sync + 'static,
    F: Fn(Arc<Server>, Call<Req>) -> Answer + Clone + Send + Sync + 'static,
    Answer: Future<Output = Result<Res, ServeError>> + Send + 'static,
{
    post(move |State(server): Served, request: extract::Request| async move {
        let (parts, body) = request.into_parts();
        let timeout = parts.headers.get("grpc-timeout").map(|value| value.to_str().ok());
        let timeout = match timeout.map(|text| text.and_then(duration)) {
            Some(None) => {
                let error = "grpc-timeout: expected at most eight digits and a unit of HMSmun";
                return refused(&ServeError::Invalid(error.to_owned()));
            }
            timeout => timeout.flatten(),
        };
        let (frames, memory) = match server.bodies().message(body).await {
            Ok(taken) => taken,
            Err(error) => return refused(&error),
        };
        let most = server.bodies().most();
        let request = axum::http::Request::<Frames>::from_parts(parts, frames);
        let mut grpc = Grpc::new(ProstCodec::<Res, Req>::default())
            .accept_compressed(Gzip)
            .accept_compressed(Deflate)
            .apply_max_message_size_config(Some(most), None);
        let call = move |message| call(server, Call { message, timeout, memory });
        grpc.unary(Once(Some(call)), request).await.into_response()
    })
}

/// A method, to be called once.
struct Once<F>(Option<F>);

type Answered<Res> = Pin<Box<dyn Future<Output = Result<tonic::Response<Res>, Status>> + Send>>;

impl<Req, Res, F, Answer> UnaryService<Req> for Once<F>
where
    F: FnOnce(Req) -> Answer,
    Answer: Future<Output = Result<Res, ServeError>> + Send + 'static,
{
    type Response = Res;
    type Future = Answered<Res>;

    fn call(&mut self, request: tonic::Request<Req>) -> Answered<Res> {
        let answer = self.0.take().map(|call| call(request.into_inner()));
        Box::pin(async move {
            let Some(answer) = answer else { return Err(Status::internal("called twice")) };
            answer.await.map(tonic::Response::new).map_err(|error| status(&error))
        })
    }
}

/// A duration as gRPC's headers have it: at most eight digits and a unit.
fn duration(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let are_digits = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u64 = are_digits.then(|| digits.parse().ok()).flatten()?;
    Some(match unit {
        "H" => Duration::from_secs(3600 * number),
        "M" => Duration::from_secs(60 * number),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_as_headers_have_them() {
        for (text, expected) in [
            ("50m", Some(Duration::from_millis(50))),
            ("99999999H", Some(Duration::from_secs(3600 * 99_999_999))),
            ("1u", Some(Duration::from_micros(1))),
            ("", None),
            ("m", None),
            ("5", None),
            ("-5m", None),
            ("123456789m", None),
            ("5s", None),
            ("5\u{b5}", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }
}
