//! `effnet serve`: the network behind HTTP.

use super::Status;
use super::args;
use super::device::RunArgs;
use super::models::ModelArgs;
use anyhow::{Context, anyhow, bail};
use effnet::serve::{Connections, Model, ModelOptions, Server, serve};
use effnet::weights::Weights;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Answer requests by HTTP, in the protocol that Triton's and KServe's clients speak.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A model answers under three names: NAME takes encoded images (input image, BYTES), NAME:pixels
levels at the network's size (pixels, UINT8 [n, h, w, 3]) and NAME:tensor what the network takes
(input, FP32 [n, h, w, 3]). Outputs are logits, probabilities and features; docs/serving.md has the
routes.

SIGTERM and Ctrl-C end it: the server says that it is not ready, takes requests for --drain-delay
more, answers what it took, and exits with 0. A second signal ends it at once.

Examples:
  effnet serve --model lite0
  curl --data-binary @cat.jpg localhost:8000/v2/models/lite0/classify
  curl localhost:8000/metrics")]
pub struct Args {
    /// Packed weights by name, each a model [default: the only ones there].
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Packed weights by file, each a model under the file's name without its ending.
    #[arg(long, value_name = "FILE")]
    weights: Vec<PathBuf>,
    /// Address of HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    http: SocketAddr,
    #[command(flatten)]
    run: RunArgs,
    /// Microseconds that an idle device waits for more images than there are.
    #[arg(long, value_name = "US", default_value = "0")]
    max_delay_us: u64,
    /// Most images of a model that may wait or run; more are refused.
    #[arg(long, value_name = "IMAGES", default_value = "256")]
    max_queue: usize,
    /// Most bytes of these images, as they come and as the network takes them.
    #[arg(long, value_name = "BYTES", default_value = "512MiB", value_parser = args::bytes)]
    max_queue_bytes: usize,
    /// Milliseconds that an answer is waited for; a request may ask for less.
    #[arg(long, value_name = "MS")]
    timeout_ms: Option<u64>,
    /// Most bytes of a request's body, also when it is unpacked.
    #[arg(long, value_name = "BYTES", default_value = "64MiB", value_parser = args::bytes)]
    max_body: usize,
    /// Most connections at once; others wait for one to end.
    #[arg(long, value_name = "N", default_value = "1024")]
    max_connections: usize,
    /// Seconds that requests are taken after the server has said that it is not ready.
    #[arg(long, value_name = "S", default_value = "5")]
    drain_delay: u64,
}

/// How long the headers of a request are waited for.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// How long a body is waited for.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Serves until a signal ends it.
pub fn run(args: &Args) -> anyhow::Result<Status> {
    let began = Instant::now();
    let mut models = Vec::new();
    for (name, weights) in open(args)? {
        let choice = args.run.choose(weights.metadata())?;
        let options = ModelOptions {
            session: choice.options(choice.batch),
            delay: Duration::from_micros(args.max_delay_us),
            max_queue: args.max_queue,
            max_queue_bytes: args.max_queue_bytes,
            timeout: args.timeout_ms.map(Duration::from_millis),
            decoders: choice.threads,
        };
        if models.iter().any(|model: &Model| model.name() == name) {
            bail!("two models are named '{name}': rename one's file");
        }
        let model = Model::start(name.clone(), Arc::new(weights), options)
            .with_context(|| format!("model '{name}'"))?;
        models.push(model);
    }
    let lines: Vec<String> =
        models.iter().map(|model| format!("  {}: {}", model.name(), model.description())).collect();
    let server = Arc::new(Server::new(models, args.max_body, BODY_TIME));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the server's threads")?;
    let drain_delay = Duration::from_secs(args.drain_delay);
    runtime.block_on(async {
        let listener = TcpListener::bind(args.http).await.map_err(|error| {
            anyhow!("cannot listen on {}: {error}; --http names another", args.http)
        })?;
        let address = listener.local_addr().context("the address that is listened on")?;
        let signals = Signals::new().context("signals")?;
        eprintln!(
            "serving http://{address}, ready after {:.0} ms\n{}",
            1e3 * began.elapsed().as_secs_f64(),
            lines.join("\n")
        );
        let (to_end, ended) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut signals = signals;
            signals.next().await;
            let _ = to_end.send(());
            signals.next().await;
            process::exit(1);
        });
        let stopped = async move {
            let _ = ended.await;
        };
        let connections =
            Connections { most: args.max_connections, header_time: HEADER_TIME, drain_delay };
        serve(server, listener, connections, stopped).await;
        anyhow::Ok(())
    })?;
    Ok(Status::Complete)
}

/// The weights of each model, by name.
fn open(args: &Args) -> anyhow::Result<Vec<(String, Weights)>> {
    let mut found = Vec::new();
    for path in &args.weights {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let weights = ModelArgs::new(Some(path.clone()), None).open()?.weights;
        found.push((stem.unwrap_or_default(), weights));
    }
    for name in &args.model {
        let weights = ModelArgs::new(None, Some(name.clone())).open()?.weights;
        found.push((name.clone(), weights));
    }
    if found.is_empty() {
        let weights = ModelArgs::new(None, None).open()?.weights;
        found.push((weights.metadata().variant.to_string(), weights));
    }
    Ok(found)
}

/// Signals that end a server.
#[cfg(unix)]
struct Signals([tokio::signal::unix::Signal; 2]);

#[cfg(unix)]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals([signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]))
    }

    async fn next(&mut self) {
        let [terminate, interrupt] = &mut self.0;
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}

/// Ctrl-C, where there are no signals.
#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn new() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        // Without it a server runs until it is ended from outside.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    }
}
