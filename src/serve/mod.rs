//! The network behind HTTP: the Open Inference Protocol v2 with Triton's extensions.
//!
//! Logits that are served are those of [`Session::run`](crate::session::Session::run), bit for bit,
//! whichever images ran beside them.
//!
//! In reading order: `error`, `queue` (which images run together, without a clock), `engine` (the
//! thread that owns a session), `metrics`, `oip/` (requests and answers), `model` (a request's way),
//! `body` (how much of one), `server` (what routes share), `people` (routes without tensors), `http`
//! (all routes), `stop` (how it ends).

mod body;
mod engine;
mod error;
mod http;
mod metrics;
mod model;
mod oip;
mod people;
mod queue;
mod server;
mod stop;

pub use error::ServeError;
pub use http::router;
pub use model::{Model, ModelOptions, StartError};
pub use server::Server;
pub use stop::{Connections, serve};
