//! `effnet serve`: the network behind HTTP and gRPC.

use super::Status;
use super::args;
use super::device::RunArgs;
use super::models::ModelArgs;
use super::output;
use anyhow::{anyhow, bail};
use effnet::serve::{
    Connections, Ended, Endpoint, Keys, Model, ModelOptions, Protocol, Server, ServerOptions,
    Source, Tls, serve,
};
use effnet::weights::Weights;
use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Answer requests by HTTP and gRPC, in the protocol that Triton's and KServe's clients speak.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
A model answers under three names: NAME takes encoded images (input image, BYTES), NAME:pixels
levels at the network's size (pixels, UINT8 [n, h, w, 3]) and NAME:tensor what the network takes
(input, FP32 [n, h, w, 3]). Outputs are logits, probabilities and features; docs/serving.md has the
routes. --device cuda:all runs each model on all GPUs.

SIGTERM and Ctrl-C end it: the server says that it is not ready, takes requests for --drain-delay
more, answers what it took, and exits with 0. A second signal ends it at once.

Examples:
  effnet serve --model lite0
  effnet serve --models /srv/models --http 0.0.0.0:8000 --api-key-file keys.txt
  curl --data-binary @cat.jpg localhost:8000/v2/models/lite0/classify
  curl localhost:8000/metrics")]
pub struct Args {
    /// Packed weights by name, each a model [default: the only ones there].
    #[arg(long, value_name = "NAME")]
    model: Vec<String>,
    /// Packed weights by file, each a model under the file's name without its ending.
    #[arg(long, value_name = "FILE")]
    weights: Vec<PathBuf>,
    /// A folder of packed weights, each a model that requests may load, exchange and unload.
    #[arg(long, value_name = "DIR")]
    models: Option<PathBuf>,
    /// Address of HTTP.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8000")]
    http: SocketAddr,
    /// Address of gRPC, or none.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8001", value_parser = maybe)]
    grpc: MaybeAddress,
    /// Address of metrics alone; HTTP has them in any case.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
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
    /// Keys, one in a line, of which a request has to bring one; probes need none.
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,
    /// Certificates in PEM, the server's own first: all addresses are encrypted.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,
    /// The certificate's private key in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// What is logged: error, warn, info, or debug, which is a line for each request.
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LevelFilter,
    /// Logs as JSON, a line each, the start-up line too.
    #[arg(long)]
    log_json: bool,
}

/// An address, or none.
#[derive(Clone, Copy, Debug)]
struct MaybeAddress(Option<SocketAddr>);

fn maybe(text: &str) -> Result<MaybeAddress, String> {
    match text {
        "none" => Ok(MaybeAddress(None)),
        _ => text.parse().map(|address| MaybeAddress(Some(address))).map_err(|error| {
            format!("{error}; expected an address, as in 127.0.0.1:8001, or none")
        }),
    }
}

/// How long the headers of a request are waited for.
const HEADER_TIME: Duration = Duration::from_secs(30);

/// How long a body is waited for.
const BODY_TIME: Duration = Duration::from_secs(30);

/// Serves until a signal ends it.
pub fn run(args: &Args) -> anyhow::Result<Status> {
    let began = Instant::now();
    log(args);
    let options =
        ServerOptions { max_body: args.max_body, body_time: BODY_TIME, keys: keys(args)? };
    let tls = args.tls_cert.as_ref().zip(args.tls_key.as_ref());
    let tls = tls.map(|(cert, key)| Tls::read(cert, key)).transpose();
    let tls = tls.map_err(|error| anyhow!("--tls-cert, --tls-key: {error}"))?;
    let host = Arc::new(Host { preparation: Preparation::of(args), listed: listed(args)? });
    let (models, faults) = host.load_all()?;
    let lines: Vec<String> =
        models.iter().map(|model| format!("  {}: {}", model.name(), model.description())).collect();
    let names: Vec<String> = models.iter().map(|model| model.name().to_owned()).collect();
    let source = args.models.is_some().then_some(host as Arc<dyn Source>);
    let server = Arc::new(Server::new(models, source, options));
    for (name, fault) in faults {
        server.set_unavailable(&name, fault);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(output::within("cannot start the server's threads"))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let connections = Connections {
        most: args.max_connections,
        header_time: HEADER_TIME,
        drain_delay: Duration::from_secs(args.drain_delay),
        tls,
    };
    runtime.block_on(async {
        let http = listen(Protocol::Http, args.http, "--http").await?;
        let address = http
            .listener
            .local_addr()
            .map_err(output::within("the address that is listened on"))?;
        let mut endpoints = vec![http];
        let mut said = String::new();
        let mut others = Vec::new();
        for (protocol, asked, option) in [
            (Protocol::Grpc, args.grpc.0, "--grpc"),
            (Protocol::Metrics, args.metrics, "--metrics"),
        ] {
            let Some(asked) = asked else { continue };
            let endpoint = listen(protocol, asked, option).await?;
            let address = endpoint
                .listener
                .local_addr()
                .map_err(output::within("the address that is listened on"))?;
            said.push_str(&format!(", {} {address}", &option[2..]));
            others.push(address.to_string());
            endpoints.push(endpoint);
        }
        let signals = Signals::new().map_err(output::within("signals cannot be taken"))?;
        let ms = 1e3 * began.elapsed().as_secs_f64();
        match args.log_json {
            false => eprintln!(
                "serving {scheme}://{address}{said}, ready after {ms:.0} ms\n{}",
                lines.join("\n")
            ),
            true => tracing::info!(
                http = %format!("{scheme}://{address}"),
                others = others.join(" "),
                models = names.join(" "),
                ready_ms = ms,
                "serving"
            ),
        }
        let (to_end, ended) = tokio::sync::oneshot::channel();
        tokio::spawn(async move {
            let mut signals = signals;
            signals.next().await;
            tracing::info!("a signal: ending when all is answered");
            let _ = to_end.send(());
            signals.next().await;
            process::exit(1);
        });
        let stopped = async move {
            let _ = ended.await;
        };
        match serve(server, endpoints, connections, stopped).await {
            Ended::Stopped => Ok(Status::Complete),
            Ended::DeviceLost => bail!(
                "a device failed and stayed of no use to this process: start it again, and see \
                 effnet devices"
            ),
        }
    })
}

/// Logs on standard error: this program's own, and of others what is an error.
fn log(args: &Args) {
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    let others = args.log_level.min(LevelFilter::ERROR);
    let targets = Targets::new().with_default(others).with_target("effnet", args.log_level);
    let registry = tracing_subscriber::registry().with(targets);
    // A second one cannot be there: the program serves once.
    let _ = match args.log_json {
        true => registry.with(layer.json().flatten_event(true)).try_init(),
        false => registry.with(layer.with_ansi(false)).try_init(),
    };
}

fn keys(args: &Args) -> anyhow::Result<Keys> {
    let Some(path) = &args.api_key_file else { return Ok(Keys::default()) };
    let text = fs::read_to_string(path)
        .map_err(output::within(format_args!("--api-key-file {}", path.display())))?;
    Keys::read(&text).ok_or_else(|| {
        anyhow!("--api-key-file {}: no keys, expected one in a line", path.display())
    })
}

async fn listen(protocol: Protocol, address: SocketAddr, option: &str) -> anyhow::Result<Endpoint> {
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| anyhow!("cannot listen on {address}: {error}; {option} names another"))?;
    Ok(Endpoint { protocol, listener })
}

/// Where the weights of a model are.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    Name(String),
    /// The only ones there.
    Only,
}

impl Place {
    fn open(&self) -> anyhow::Result<Weights> {
        let model = match self {
            Place::File(path) => ModelArgs::new(Some(path.clone()), None),
            Place::Name(name) => ModelArgs::new(None, Some(name.clone())),
            Place::Only => ModelArgs::new(None, None),
        };
        Ok(model.open()?.weights)
    }
}

/// How models are prepared.
#[derive(Debug)]
struct Preparation {
    run: RunArgs,
    delay: Duration,
    max_queue: usize,
    max_queue_bytes: usize,
    timeout: Option<Duration>,
}

impl Preparation {
    fn of(args: &Args) -> Preparation {
        Preparation {
            run: args.run.clone(),
            delay: Duration::from_micros(args.max_delay_us),
            max_queue: args.max_queue,
            max_queue_bytes: args.max_queue_bytes,
            timeout: args.timeout_ms.map(Duration::from_millis),
        }
    }

    fn prepare(&self, name: String, weights: Weights) -> anyhow::Result<Model> {
        let (choice, more_devices) = self.run.choose_all(weights.metadata())?;
        let options = ModelOptions {
            session: choice.options(choice.batch),
            more_devices,
            delay: self.delay,
            max_queue: self.max_queue,
            max_queue_bytes: self.max_queue_bytes,
            timeout: self.timeout,
            decoders: choice.threads,
        };
        Ok(Model::start(name, Arc::new(weights), options)?)
    }
}

/// Models that were listed, and those of a folder.
#[derive(Debug)]
struct Host {
    preparation: Preparation,
    listed: Listed,
}

#[derive(Debug)]
struct Listed {
    /// Models whose weights cannot be served end the program.
    places: BTreeMap<String, Place>,
    folder: Option<PathBuf>,
}

/// A name that cannot be served, and why.
type Fault = (String, String);

impl Host {
    /// All models; and names of the folder's that cannot be served, with the reason.
    fn load_all(&self) -> anyhow::Result<(Vec<Model>, Vec<Fault>)> {
        let (mut models, mut faults) = (Vec::new(), Vec::new());
        for (name, place) in &self.listed.places {
            let prepared = place.open().and_then(|w| self.preparation.prepare(name.clone(), w));
            models.push(prepared.map_err(output::within(format_args!("model '{name}'")))?);
        }
        for name in self.names() {
            if self.listed.places.contains_key(&name) {
                continue;
            }
            match self.load(&name) {
                Ok(model) => models.push(model),
                Err(fault) => {
                    tracing::warn!(model = name, fault, "cannot be served");
                    faults.push((name, fault));
                }
            }
        }
        if models.is_empty() {
            let folder = self.listed.folder.as_deref().unwrap_or(Path::new("")).display();
            match faults.first() {
                None => bail!("--models {folder}: no packed weights (*.safetensors) are there"),
                Some((name, fault)) => bail!(
                    "--models {folder}: none of {} models can be served; '{name}': {fault}",
                    faults.len()
                ),
            }
        }
        Ok((models, faults))
    }

    /// A listed name's weights, or a file of the folder that is there now.
    fn place(&self, name: &str) -> Option<Place> {
        if let Some(place) = self.listed.places.get(name) {
            return Some(place.clone());
        }
        let (_, path) =
            in_folder(self.listed.folder.as_deref()?).into_iter().find(|(n, _)| n == name)?;
        Some(Place::File(path))
    }
}

impl Source for Host {
    fn names(&self) -> Vec<String> {
        let found = self.listed.folder.as_deref().map(in_folder).unwrap_or_default();
        let mut names: Vec<String> = self.listed.places.keys().cloned().collect();
        names.extend(found.into_iter().map(|(name, _)| name));
        names.sort();
        names.dedup();
        names
    }

    fn load(&self, name: &str) -> Result<Model, String> {
        let place = self.place(name).ok_or_else(|| "its file is gone".to_owned())?;
        let prepared =
            place.open().and_then(|weights| self.preparation.prepare(name.to_owned(), weights));
        prepared.map_err(|error| format!("{error:#}"))
    }
}

/// The packed weights of a folder: a name for each, without its ending. A request's name is compared
/// with these, and never made a path.
fn in_folder(folder: &Path) -> Vec<(String, PathBuf)> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let packed = paths.filter(|path| path.extension().is_some_and(|end| end == "safetensors"));
    let named = packed.filter_map(|path| Some((path.file_stem()?.to_str()?.to_owned(), path)));
    let mut found: Vec<(String, PathBuf)> = named.filter(|(name, _)| !name.contains(':')).collect();
    found.sort();
    found
}

/// The models that the arguments list, by name.
fn listed(args: &Args) -> anyhow::Result<Listed> {
    let mut all = Vec::new();
    for path in &args.weights {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        all.push((stem.unwrap_or_default(), Place::File(path.clone())));
    }
    all.extend(args.model.iter().map(|name| (name.clone(), Place::Name(name.clone()))));
    if let Some(folder) = &args.models {
        fs::read_dir(folder)
            .map_err(output::within(format_args!("--models {}", folder.display())))?;
    } else if all.is_empty() {
        let name = Place::Only.open()?.metadata().variant.to_string();
        all.push((name, Place::Only));
    }
    let mut places = BTreeMap::new();
    for (name, place) in all {
        if name.contains(':') {
            bail!("a model's name has no colon, found '{name}': rename its file");
        }
        if places.insert(name.clone(), place).is_some() {
            bail!("two models are named '{name}': rename one's file");
        }
    }
    Ok(Listed { places, folder: args.models.clone() })
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
