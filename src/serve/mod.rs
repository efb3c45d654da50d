//! The network behind HTTP and gRPC: the Open Inference Protocol v2 with Triton's extensions.
//!
//! Logits that are served are those of [`Session::run`](crate::session::Session::run), bit for bit,
//! whichever images ran beside them.
//!
//! In reading order: `error`, `queue` (which images run together, without a clock), `network` (what
//! runs them), `engine` (the threads that own networks), `metrics`, `oip/` (requests and answers),
//! `prepare` (their images), `model` (a request's way), `statistics`, `repository` (models by their
//! names), `body` (how much of one), `keys`, `server` (what routes share), `people` (routes without
//! tensors), `http` (all routes), `grpc/` (all methods), `guard` (what happens around every request),
//! `listen` (connections, and how serving ends). `fuzzed` reads any bytes as a request.

mod body;
mod engine;
mod error;
mod fuzzed;
mod grpc;
mod guard;
mod http;
mod keys;
mod listen;
mod metrics;
mod model;
mod network;
mod oip;
mod people;
mod prepare;
mod queue;
mod repository;
mod server;
mod statistics;

pub use engine::Hold;
pub use error::ServeError;
pub use fuzzed::read_request;
pub use keys::Keys;
pub use listen::{Connections, Ended, Endpoint, Tls, serve};
pub use model::{Model, ModelOptions, StartError};
pub use repository::Source;
pub use server::{Protocol, Server, ServerOptions};
