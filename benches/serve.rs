//! What `effnet serve` adds to a network, over loopback with the load generator beside it.
//!
//! Requests a second of a network that does nothing, against a handler of axum or of tonic that reads
//! the same bodies and gives the same answers; what a request takes alone; and images a second of a
//! network on the CPU, against the library's pipeline with as many threads. What is compared runs in
//! turn, and the ratios are those of neighbours.
//!
//! ```sh
//! cargo bench --bench serve
//! ```

use axum::Router;
use axum::body::Bytes;
use axum::extract::Request;
use axum::response::IntoResponse;
use axum::routing::post;
use effnet::arch::{Size, Variant};
use effnet::pipeline::{Pipeline, PipelineOptions};
use effnet::serve::{
    Connections, Endpoint, Keys, Model, ModelOptions, Protocol, Server, ServerOptions, serve,
};
use effnet::session::{Session, SessionOptions};
use effnet::weights::{Precision, Weights, stand_in};
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use prost::Message;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tonic::server::{Grpc, UnaryService};
use tonic_prost::ProstCodec;

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLASSES: usize = 1000;
const IN_FLIGHT: usize = 16;
const ROUNDS: usize = 9;
const ROUND: Duration = Duration::from_millis(1000);
const PHOTO: &[u8] = include_bytes!("../tests/fixtures/images/photos/coffee.jpg");

fn main() -> Fallible<()> {
    // `cargo test --all-targets` runs benches too.
    if std::env::args().any(|argument| argument == "--test" || argument == "--list") {
        return Ok(());
    }
    let mut servers = tokio::runtime::Builder::new_multi_thread();
    let servers = servers.worker_threads(2).enable_all().build()?;
    println!(
        "| network | in flight | bare, a second | served, a second | ratio |\n|---|---|---|---|---|"
    );
    for (side, body) in [(18, "HTTP 1 KB"), (192, "HTTP 110 KB")] {
        let (http, _, bare) = null(&servers, side)?;
        let request = pixels(side);
        let both = [bare, http].map(|address| Http { address, request: request.clone() });
        alternate(&format!("null, {body}"), &both)?;
    }
    let (_, grpc, _) = null(&servers, 192)?;
    let bare = bare_grpc(&servers)?;
    let both = [bare, grpc].map(|address| H2 { address, side: 192 });
    alternate("null, gRPC 110 KB", &both)?;

    println!("\n| one request at a time, 110 KB | median, us | 99 %, us |\n|---|---|---|");
    let (http, grpc, bare) = null(&servers, 192)?;
    let request = pixels(192);
    for (name, address) in [("bare axum", bare), ("served, HTTP", http)] {
        alone(name, &Http { address, request: request.clone() })?;
    }
    for (name, address) in [("bare tonic", bare_grpc(&servers)?), ("served, gRPC", grpc)] {
        alone(name, &H2 { address, side: 192 })?;
    }

    println!("\n| a deadline of 50 ms while the device is held for 2 s | ms |\n|---|---|");
    deadlines(&servers)?;

    println!("\n| B0 on the CPU, from the program's start to its first ready | ms |\n|---|---|");
    ready()?;

    println!("\n| Lite0 on the CPU, JPEG of 600x400 | images a second |\n|---|---|");
    photographs(&servers)
}

/// Requests with a deadline, one after another, while the device is held.
fn deadlines(servers: &Runtime) -> Fallible<()> {
    let (server, address, _) = null_server(servers, 18)?;
    let held = server.hold("null").ok_or("no model")?;
    let end = Instant::now() + Duration::from_secs(2);
    let url = format!("http://{address}/v2/models/null:pixels/infer");
    let request = serde_json::json!({
        "parameters": { "timeout": 50_000 },
        "inputs": [{
            "name": "pixels", "datatype": "UINT8", "shape": [1, 18, 18, 3], "data": vec![7; 18 * 18 * 3],
        }],
    })
    .to_string();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut times = Vec::new();
    while Instant::now() < end {
        let began = Instant::now();
        let status = agent.post(&url).send(&request)?.status().as_u16();
        if status != 503 {
            return Err(format!("expected 503, found {status}").into());
        }
        times.push(1e3 * began.elapsed().as_secs_f64());
    }
    drop(held);
    times.sort_by(f64::total_cmp);
    println!("| the first of {} | {:.1} |", times.len(), times[0]);
    println!("| the last | {:.1} |", times[times.len() - 1]);
    Ok(())
}

/// The program, started several times.
fn ready() -> Fallible<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("b0.safetensors");
    let weights = stand_in::random_weights(Variant::B0, Precision::Fp32)?;
    stand_in::write(&path, weights.metadata(), 1)?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let began = Instant::now();
        let mut program = Command::new(env!("CARGO_BIN_EXE_effnet"))
            .args(["serve", "--device", "cpu", "--grpc", "none", "--drain-delay", "0"])
            .args(["--http", &format!("127.0.0.1:{port}"), "--weights"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()?;
        let url = format!("http://127.0.0.1:{port}/v2/health/ready");
        while ureq::get(&url).call().is_err() {
            thread::sleep(Duration::from_millis(1));
        }
        times.push(1e3 * began.elapsed().as_secs_f64());
        program.kill()?;
        program.wait()?;
    }
    println!("| median of {ROUNDS} | {:.0} |", median(times));
    Ok(())
}

/// A client whose connections ask one request after another.
trait Client: Clone + Send + 'static {
    /// Asks until `end` on so many connections or streams at once; the time of each request.
    fn ask(&self, in_flight: usize, end: Instant) -> impl Future<Output = Fallible<Vec<Duration>>>;
}

#[derive(Clone)]
struct Http {
    address: SocketAddr,
    request: Bytes,
}

impl Client for Http {
    async fn ask(&self, in_flight: usize, end: Instant) -> Fallible<Vec<Duration>> {
        at_once(in_flight, || {
            let Http { address, request } = self.clone();
            async move {
                let mut stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                let (mut buffer, mut times) = (vec![0; 1 << 14], Vec::new());
                while Instant::now() < end {
                    let began = Instant::now();
                    stream.write_all(&request).await?;
                    answer(&mut stream, &mut buffer).await?;
                    times.push(began.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

/// The times of so many futures that run at once, together.
async fn at_once<Times>(in_flight: usize, one: impl Fn() -> Times) -> Fallible<Vec<Duration>>
where
    Times: Future<Output = Fallible<Vec<Duration>>> + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..in_flight {
        tasks.spawn_local(one());
    }
    let mut all = Vec::new();
    while let Some(times) = tasks.join_next().await {
        all.extend(times??);
    }
    Ok(all)
}

/// Reads one whole answer.
async fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> Fallible<()> {
    let (mut filled, mut total) = (0, None);
    while total.is_none_or(|total| filled < total) {
        let read = stream.read(&mut buffer[filled..]).await?;
        if read == 0 {
            return Err("the server has closed the connection".into());
        }
        filled += read;
        if total.is_none()
            && let Some(head) = buffer[..filled].windows(4).position(|four| four == b"\r\n\r\n")
        {
            let text = std::str::from_utf8(&buffer[..head])?.to_ascii_lowercase();
            if !text.starts_with("http/1.1 200") {
                return Err(String::from_utf8_lossy(&buffer[..filled]).into());
            }
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            total = Some(head + 4 + length.ok_or("no length")?.parse::<usize>()?);
        }
    }
    Ok(())
}

#[derive(Clone)]
struct H2 {
    address: SocketAddr,
    side: usize,
}

impl Client for H2 {
    async fn ask(&self, in_flight: usize, end: Instant) -> Fallible<Vec<Duration>> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        let (client, connection) = builder.handshake::<_, Bytes>(stream).await?;
        tokio::task::spawn_local(connection);
        let frame = framed(&infer_request(self.side));
        let uri = format!("http://{}/inference.GRPCInferenceService/ModelInfer", self.address);
        at_once(in_flight, || {
            let (client, frame, uri) = (client.clone(), frame.clone(), uri.clone());
            async move {
                let mut times = Vec::new();
                while Instant::now() < end {
                    let began = Instant::now();
                    let mut client = client.clone().ready().await?;
                    let request = axum::http::Request::post(&uri)
                        .header("content-type", "application/grpc")
                        .header("te", "trailers")
                        .body(())?;
                    let (response, mut sender) = client.send_request(request, false)?;
                    sender.send_data(frame.clone(), true)?;
                    let mut body = response.await?.into_body();
                    let mut length = 0;
                    while let Some(data) = body.data().await {
                        let data = data?;
                        length += data.len();
                        body.flow_control().release_capacity(data.len())?;
                    }
                    let trailers = body.trailers().await?;
                    let status = trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
                    if length < 4 * CLASSES || status.is_none_or(|status| status != "0") {
                        return Err(format!("no answer: {trailers:?}").into());
                    }
                    times.push(began.elapsed());
                }
                Ok(times)
            }
        })
        .await
    }
}

/// Runs a client on a thread of its own.
fn load<C: Client>(client: &C, in_flight: usize, time: Duration) -> Fallible<(f64, Vec<Duration>)> {
    let client = client.clone();
    let run = move || -> Fallible<(f64, Vec<Duration>)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let local = tokio::task::LocalSet::new();
        let began = Instant::now();
        let times = local.block_on(&runtime, client.ask(in_flight, began + time))?;
        Ok((times.len() as f64 / began.elapsed().as_secs_f64(), times))
    };
    thread::spawn(run).join().map_err(|_| "the client has panicked")?
}

/// Both in turn, the order exchanged with each round; medians, and the median of the rounds' ratios.
fn alternate<C: Client>(name: &str, both: &[C; 2]) -> Fallible<()> {
    for client in both {
        load(client, IN_FLIGHT, ROUND / 2)?;
    }
    let (mut rates, mut ratios) = ([Vec::new(), Vec::new()], Vec::new());
    for round in 0..ROUNDS {
        let mut found = [0.0; 2];
        for which in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            found[which] = load(&both[which], IN_FLIGHT, ROUND)?.0;
            rates[which].push(found[which]);
        }
        ratios.push(found[1] / found[0]);
    }
    let [bare, served] = rates.map(median);
    println!("| {name} | {IN_FLIGHT} | {bare:.0} | {served:.0} | {:.2} |", median(ratios));
    Ok(())
}

fn alone<C: Client>(name: &str, client: &C) -> Fallible<()> {
    load(client, 1, ROUND / 2)?;
    let (_, mut times) = load(client, 1, 4 * ROUND)?;
    times.sort();
    let us = |share: f64| 1e6 * times[(share * (times.len() - 1) as f64) as usize].as_secs_f64();
    println!("| {name} | {:.0} | {:.0} |", us(0.5), us(0.99));
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A request as clients send it: JSON, and the pixels of one image behind it.
fn pixels(side: usize) -> Bytes {
    let data = vec![7u8; side * side * 3];
    let json = format!(
        "{{\"inputs\":[{{\"name\":\"pixels\",\"datatype\":\"UINT8\",\"shape\":[1,{side},{side},3],\
         \"parameters\":{{\"binary_data_size\":{}}}}}],\
         \"outputs\":[{{\"name\":\"logits\",\"parameters\":{{\"binary_data\":true}}}}]}}",
        data.len()
    );
    let head = format!(
        "POST /v2/models/null:pixels/infer HTTP/1.1\r\nHost: bench\r\n\
         Inference-Header-Content-Length: {}\r\nContent-Length: {}\r\n\r\n",
        json.len(),
        json.len() + data.len()
    );
    [head.as_bytes(), json.as_bytes(), &data].concat().into()
}

#[derive(Clone, PartialEq, Message)]
struct Tensor {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct InferRequest {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "7")]
    raw_input_contents: Vec<Bytes>,
}

#[derive(Clone, PartialEq, Message)]
struct InferResponse {
    #[prost(string, tag = "1")]
    model_name: String,
    #[prost(message, repeated, tag = "5")]
    outputs: Vec<Tensor>,
    #[prost(bytes = "bytes", repeated, tag = "6")]
    raw_output_contents: Vec<Bytes>,
}

fn infer_request(side: usize) -> InferRequest {
    let shape = vec![1, side as i64, side as i64, 3];
    let input = Tensor { name: "pixels".to_owned(), datatype: "UINT8".to_owned(), shape };
    InferRequest {
        model_name: "null:pixels".to_owned(),
        inputs: vec![input],
        raw_input_contents: vec![vec![7u8; side * side * 3].into()],
    }
}

fn framed(message: &impl Message) -> Bytes {
    let message = message.encode_to_vec();
    [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat().into()
}

/// A server with a network that does nothing, and its addresses of HTTP and gRPC.
fn null_server(servers: &Runtime, side: usize) -> Fallible<(Arc<Server>, SocketAddr, SocketAddr)> {
    let weights = stand_in::random_weights(Variant::Lite0, Precision::Fp32)?;
    let recipe = weights.metadata().recipe.with_size(Size::square(side));
    let model = Model::null("null", recipe, CLASSES, model_options(SessionOptions::default()))?;
    served(servers, model)
}

/// Its addresses of HTTP and gRPC, and that of a bare handler that gives the same answer.
fn null(servers: &Runtime, side: usize) -> Fallible<(SocketAddr, SocketAddr, SocketAddr)> {
    let (_, http, grpc) = null_server(servers, side)?;
    // The answer of the server, header and all.
    let header = format!(
        "{{\"model_name\":\"null:pixels\",\"model_version\":\"1\",\"outputs\":[{{\"datatype\":\"FP32\",\
         \"name\":\"logits\",\"parameters\":{{\"binary_data_size\":{}}},\"shape\":[1,{CLASSES}]}}]}}",
        4 * CLASSES
    );
    let answer: Bytes = [header.as_bytes(), &[0; 4 * CLASSES]].concat().into();
    let length = header.len().to_string();
    let handler = post(move |body: Bytes| async move {
        std::hint::black_box(&body);
        let headers = [
            ("content-type", "application/octet-stream".to_owned()),
            ("inference-header-content-length", length),
        ];
        (headers, answer).into_response()
    });
    let router = Router::new()
        .route("/v2/models/{name}/infer", handler)
        .layer(axum::extract::DefaultBodyLimit::disable());
    let listener = servers.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let bare = listener.local_addr()?;
    servers.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(router.clone());
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok((http, grpc, bare))
}

/// A handler of tonic that gives an answer that is ready.
fn bare_grpc(servers: &Runtime) -> Fallible<SocketAddr> {
    #[derive(Clone)]
    struct Ready(InferResponse);
    impl UnaryService<InferRequest> for Ready {
        type Response = InferResponse;
        type Future = Pin<
            Box<dyn Future<Output = Result<tonic::Response<InferResponse>, tonic::Status>> + Send>,
        >;
        fn call(&mut self, request: tonic::Request<InferRequest>) -> Self::Future {
            std::hint::black_box(&request);
            let answer = self.0.clone();
            Box::pin(async move { Ok(tonic::Response::new(answer)) })
        }
    }
    let output = Tensor {
        name: "logits".to_owned(),
        datatype: "FP32".to_owned(),
        shape: vec![1, CLASSES as i64],
    };
    let ready = Ready(InferResponse {
        model_name: "null:pixels".to_owned(),
        outputs: vec![output],
        raw_output_contents: vec![vec![0; 4 * CLASSES].into()],
    });
    let handler = post(move |request: Request| async move {
        let mut grpc = Grpc::new(ProstCodec::<InferResponse, InferRequest>::default());
        grpc.unary(ready, request).await.into_response()
    });
    let router: Router = Router::new().route("/inference.GRPCInferenceService/ModelInfer", handler);
    let listener = servers.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let address = listener.local_addr()?;
    servers.spawn(async move {
        loop {
            let Ok((stream, _)) = listener.accept().await else { continue };
            let _ = stream.set_nodelay(true);
            let service = TowerToHyperService::new(router.clone());
            let mut http = http2::Builder::new(TokioExecutor::new());
            // As the server has them.
            http.initial_stream_window_size(1 << 20).initial_connection_window_size(4 << 20);
            tokio::spawn(http.serve_connection(TokioIo::new(stream), service));
        }
    });
    Ok(address)
}

fn model_options(session: SessionOptions) -> ModelOptions {
    ModelOptions {
        session,
        more_devices: Vec::new(),
        delay: Duration::ZERO,
        max_queue: 256,
        max_queue_bytes: 512 << 20,
        timeout: None,
        decoders: 2,
    }
}

/// A server, and its addresses of HTTP and gRPC.
fn served(servers: &Runtime, model: Model) -> Fallible<(Arc<Server>, SocketAddr, SocketAddr)> {
    let body_time = Duration::from_secs(30);
    let options = ServerOptions { max_body: 64 << 20, body_time, keys: Keys::default() };
    let server = Arc::new(Server::new(vec![model], None, options));
    let mut addresses = Vec::new();
    let mut endpoints = Vec::new();
    for protocol in [Protocol::Http, Protocol::Grpc] {
        let listener = servers.block_on(TcpListener::bind("127.0.0.1:0"))?;
        addresses.push(listener.local_addr()?);
        endpoints.push(Endpoint { protocol, listener });
    }
    let connections = Connections {
        most: 1024,
        header_time: Duration::from_secs(30),
        drain_delay: Duration::ZERO,
        tls: None,
    };
    servers.spawn(serve(server.clone(), endpoints, connections, std::future::pending()));
    Ok((server, addresses[0], addresses[1]))
}

/// The library's pipeline and the server in turn, with the same photograph, threads and batch.
fn photographs(servers: &Runtime) -> Fallible<()> {
    const IMAGES: usize = 200;
    let weights: Arc<Weights> =
        Arc::new(stand_in::random_weights(Variant::Lite0, Precision::Fp32)?);
    let options = SessionOptions { batch: 4, ..SessionOptions::default() };
    let session = Session::new(weights.clone(), options)?;
    let mut pipeline = Pipeline::new(session, PipelineOptions { threads: Some(2) })?;
    let (_, address, _) =
        served(servers, Model::start("m".to_owned(), weights, model_options(options))?)?;
    let head = format!(
        "POST /v2/models/m/classify?top_k=5 HTTP/1.1\r\nHost: bench\r\nContent-Length: {}\r\n\r\n",
        PHOTO.len()
    );
    let request = [head.as_bytes(), PHOTO].concat().into();
    let client = Http { address, request };
    load(&client, IN_FLIGHT, ROUND)?;
    let (mut of_pipeline, mut of_server, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let images = std::iter::repeat_n(PHOTO.to_vec(), IMAGES);
        for result in pipeline.classify(images, 5)? {
            result?;
        }
        let rate = IMAGES as f64 / began.elapsed().as_secs_f64();
        let (served, _) = load(&client, IN_FLIGHT, ROUND)?;
        ratios.push(served / rate);
        of_pipeline.push(rate);
        of_server.push(served);
    }
    println!("| the library's pipeline | {:.0} |", median(of_pipeline));
    println!("| served, {IN_FLIGHT} in flight | {:.0} |", median(of_server));
    println!("| ratio | {:.2} |", median(ratios));
    Ok(())
}
