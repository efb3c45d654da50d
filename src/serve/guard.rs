//! What happens around every request: keys are asked for, a line is logged, `traceparent` (W3C Trace
//! Context, section 3.2) goes back as it came, and a body that nobody has read is taken.

use super::body::Lent;
use super::error::ServeError;
use super::grpc;
use super::server::{Protocol, Server};
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::header::{CONNECTION, EXPECT};
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use std::sync::Arc;
use std::time::Instant;
use tracing::Level;

const TRACE: HeaderName = HeaderName::from_static("traceparent");

/// A protocol's routes behind all of that.
pub fn layered(router: Router, server: Arc<Server>, protocol: Protocol) -> Router {
    router.layer(middleware::from_fn_with_state((server, protocol), guard))
}

async fn guard(
    State((server, protocol)): State<(Arc<Server>, Protocol)>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let trace = traceparent(request.headers()).cloned();
    let is_told = tracing::enabled!(Level::DEBUG);
    let told = is_told.then(|| (request.method().clone(), request.uri().path().to_owned()));
    let is_admitted = is_open(protocol, &request) || server.keys().admit(request.headers());
    // Who waits to be asked for the body sends none to who does not ask.
    let is_lent = protocol != Protocol::Grpc && !request.headers().contains_key(EXPECT);
    let (request, rest) = match is_lent {
        true => {
            let (parts, body) = request.into_parts();
            let (body, rest) = Lent::new(body);
            (Request::from_parts(parts, Body::new(body)), Some(rest))
        }
        false => (request, None),
    };
    let mut response = match is_admitted {
        true => next.run(request).await,
        false => {
            drop(request);
            match protocol {
                Protocol::Http | Protocol::Metrics => ServeError::Unauthorised.into_response(),
                Protocol::Grpc => grpc::refused(&ServeError::Unauthorised),
            }
        }
    };
    if let Some(rest) = rest {
        server.bodies().drop_rest(rest).await;
    }
    if let Some((method, path)) = told {
        let trace = trace.as_ref().and_then(|trace| trace.to_str().ok());
        let grpc = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
        tracing::debug!(
            %method,
            path,
            status = response.status().as_u16(),
            grpc,
            ms = 1e3 * began.elapsed().as_secs_f64(),
            trace,
            "request"
        );
    }
    if protocol == Protocol::Http && server.is_stopping() {
        // The client comes back to another server, and not when this one is gone.
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    if let Some(trace) = trace {
        response.headers_mut().insert(TRACE, trace);
    }
    response
}

/// Whether a request is one that anybody may ask: probes bring no keys, and the page at `/` asks for one.
fn is_open(protocol: Protocol, request: &Request) -> bool {
    let path = request.uri().path();
    match protocol {
        Protocol::Http => matches!(path, "/" | "/v2/health/live" | "/v2/health/ready"),
        Protocol::Metrics => false,
        Protocol::Grpc => path.starts_with("/grpc.health.v1.Health/"),
    }
}

/// The request's place in a trace, where it has the form of one: version, trace, parent and flags, in
/// hexadecimal digits.
fn traceparent(headers: &HeaderMap) -> Option<&HeaderValue> {
    let value = headers.get(TRACE)?;
    let parts: Vec<&[u8]> = value.as_bytes().split(|&byte| byte == b'-').collect();
    let is_hex = |part: &[u8]| part.iter().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(b));
    let lengths: Vec<usize> = parts.iter().map(|part| part.len()).collect();
    (lengths == [2, 32, 16, 2] && parts.iter().all(|part| is_hex(part))).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_trace_has_its_form() {
        let given = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        for (value, is_one) in [
            (given, true),
            (&given[..54], false),
            ("00-4BF92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", false),
            ("x", false),
        ] {
            let headers = HeaderMap::from_iter([(TRACE, value.parse().unwrap())]);
            assert_eq!(traceparent(&headers).is_some(), is_one, "{value}");
        }
    }
}
