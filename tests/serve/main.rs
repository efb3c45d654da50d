//! The network behind HTTP and gRPC, over loopback: what is served is what the library computes, bit for
//! bit.

#![cfg(feature = "serve")]

mod gpu;
mod grpc;
mod http;
mod models;
mod stopping;
mod support;
