//! A server on a port of its own, and a client.

use effnet::arch::{Size, Variant};
use effnet::serve::{
    Connections, Ended, Endpoint, Keys, Model, ModelOptions, Protocol, Server, ServerOptions,
    Source, serve,
};
use effnet::session::SessionOptions;
use effnet::weights::{Precision, Weights, stand_in};
use serde_json::json;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

pub const SIDE: usize = 32;
pub const ELEMS: usize = SIDE * SIDE * 3;
pub const MAX_BODY: usize = 1 << 20;

pub fn weights() -> Arc<Weights> {
    Arc::new(stand_in::random_weights(Variant::Lite0, Precision::Fp32).unwrap())
}

pub fn session_options(batch: usize) -> SessionOptions {
    let size = Some(Size::square(SIDE));
    SessionOptions { batch, size, threads: Some(1), ..SessionOptions::default() }
}

pub fn model_options() -> ModelOptions {
    ModelOptions {
        session: session_options(4),
        more_devices: Vec::new(),
        delay: Duration::ZERO,
        max_queue: 1000,
        max_queue_bytes: 1 << 30,
        timeout: None,
        decoders: 2,
    }
}

pub fn connections() -> Connections {
    Connections {
        most: 100,
        header_time: Duration::from_secs(30),
        drain_delay: Duration::ZERO,
        tls: None,
    }
}

pub fn server_options() -> ServerOptions {
    ServerOptions { max_body: MAX_BODY, body_time: Duration::from_secs(30), keys: Keys::default() }
}

/// A server on ports of its own.
pub struct Served {
    pub address: SocketAddr,
    pub grpc: SocketAddr,
    pub metrics: SocketAddr,
    pub server: Arc<Server>,
    pub runtime: Runtime,
    pub stop: Option<oneshot::Sender<()>>,
    served: Option<JoinHandle<Ended>>,
}

impl Served {
    /// One model, `m`.
    pub fn new(weights: Arc<Weights>, options: ModelOptions) -> Served {
        Served::with(weights, options, connections())
    }

    pub fn with(weights: Arc<Weights>, options: ModelOptions, connections: Connections) -> Served {
        let model = Model::start("m".to_owned(), weights, options).unwrap();
        Served::of(vec![model], None, server_options(), connections)
    }

    pub fn of(
        models: Vec<Model>,
        source: Option<Arc<dyn Source>>,
        options: ServerOptions,
        connections: Connections,
    ) -> Served {
        let server = Arc::new(Server::new(models, source, options));
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let listen = |protocol| {
            let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
            (listener.local_addr().unwrap(), Endpoint { protocol, listener })
        };
        let (address, http) = listen(Protocol::Http);
        let (grpc, of_grpc) = listen(Protocol::Grpc);
        let (metrics, of_metrics) = listen(Protocol::Metrics);
        let (stop, stopped) = oneshot::channel();
        let stopped = async move {
            let _ = stopped.await;
        };
        let endpoints = vec![http, of_grpc, of_metrics];
        let served = runtime.spawn(serve(server.clone(), endpoints, connections, stopped));
        let (stop, served) = (Some(stop), Some(served));
        Served { address, grpc, metrics, server, runtime, stop, served }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        text(agent().get(self.url(path)).call())
    }

    pub fn post(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        let mut request = agent().post(self.url(path));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        text(request.send(body))
    }

    /// Ends it, and waits until it has answered everything.
    pub fn end(&mut self) {
        drop(self.stop.take());
        if let Some(served) = self.served.take() {
            assert_eq!(self.runtime.block_on(served).unwrap(), Ended::Stopped);
        }
    }
}

pub fn agent() -> ureq::Agent {
    ureq::Agent::config_builder().http_status_as_error(false).build().into()
}

pub type Answered = Result<ureq::http::Response<ureq::Body>, ureq::Error>;

pub fn bytes(answer: Answered) -> (u16, Option<usize>, Vec<u8>) {
    let mut answer = answer.unwrap();
    let length = answer.headers().get("inference-header-content-length");
    let length = length.map(|length| length.to_str().unwrap().parse().unwrap());
    let status = answer.status().as_u16();
    (status, length, answer.body_mut().read_to_vec().unwrap())
}

pub fn text(answer: Answered) -> (u16, String) {
    let (status, _, body) = bytes(answer);
    (status, String::from_utf8_lossy(&body).into_owned())
}

/// Levels of image `seed`, of which no two are alike.
pub fn levels(seed: usize) -> Vec<u8> {
    (0..ELEMS).map(|i| (i * 31 + seed * 17 + (i * seed) % 251) as u8).collect()
}

/// A request for the logits of `n` images as binary data, and the logits.
pub fn ask(
    address: SocketAddr,
    name: &str,
    input: &str,
    kind: &str,
    n: usize,
    data: &[u8],
) -> Vec<u8> {
    let request = json!({
        "inputs": [{
            "name": input, "datatype": kind, "shape": [n, SIDE, SIDE, 3],
            "parameters": { "binary_data_size": data.len() },
        }],
        "outputs": [{ "name": "logits", "parameters": { "binary_data": true } }],
    })
    .to_string();
    let body = [request.as_bytes(), data].concat();
    let url = format!("http://{address}/v2/models/{name}/infer");
    let length = request.len().to_string();
    let request = agent().post(url).header("Inference-Header-Content-Length", length);
    let (status, length, answer) = bytes(request.send(&body[..]));
    let length = length.unwrap_or(0);
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    answer[length..].to_vec()
}

pub fn png(seed: usize) -> Vec<u8> {
    let pixels = levels(seed);
    let image = ::image::RgbImage::from_raw(SIDE as u32, SIDE as u32, pixels).unwrap();
    let mut to = std::io::Cursor::new(Vec::new());
    image.write_to(&mut to, ::image::ImageFormat::Png).unwrap();
    to.into_inner()
}
