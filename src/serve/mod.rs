//! The network behind HTTP: the Open Inference Protocol v2 with Triton's extensions.
//!
//! Logits that are served are those of [`Session::run`](crate::session::Session::run), bit for bit,
//! whichever images ran beside them.
//!
//! In reading order: `error`, `queue` (which images run together, without a clock), `engine` (the
//! thread that owns a session), `metrics`, `oip` (requests and answers), `model` (a request's way),
//! `http` (routes), `stop` (how it ends).

mod engine;
mod error;
mod http;
mod metrics;
mod model;
mod oip;
mod queue;
mod stop;

pub use error::ServeError;
pub use http::{Server, router};
pub use model::{Model, ModelOptions, StartError};
pub use stop::{Connections, serve};
