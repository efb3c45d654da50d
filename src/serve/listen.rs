//! Connections: taken on each address, encrypted or not, until the server is to end; and then no
//! request that was taken is lost.

use super::server::{Protocol, Server};
use super::{grpc, guard, http};
use axum::Router;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tonic::codegen::Service;

/// How long the server waits where the system has nothing left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(200);
/// After so long without a request a gRPC client is let go, its open streams too; it comes back by itself.
const IDLE: Duration = Duration::from_secs(600);
/// So many times as long as for headers a client of HTTP may take for an answer; one that asks for nothing
/// is let go of before.
const UNREAD: u32 = 2;
/// How long answers are waited for to be sent when the server ends, and how often it looks for requests
/// without one before that.
const END_TIME: Duration = Duration::from_secs(1);
const END_TICK: Duration = Duration::from_millis(10);
/// How often the server looks whether a device is lost.
const LOST_TICK: Duration = Duration::from_millis(500);
/// Bytes that a client may have sent of a gRPC request, and on a connection, that nobody has read.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 4 << 20;
/// Bytes of a frame of gRPC at most: an image is one frame then, or few.
const FRAME: u32 = 1 << 18;
/// Requests of one gRPC connection at once; the others wait.
const STREAMS: u32 = 256;
/// After so long without a word a gRPC client is asked whether it is there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// An address, and what is spoken there.
#[derive(Debug)]
pub struct Endpoint {
    /// What is spoken.
    pub protocol: Protocol,
    /// The address.
    pub listener: TcpListener,
}

/// How connections are taken, and how serving ends.
#[derive(Clone, Debug)]
pub struct Connections {
    /// Most of them at once, on all addresses; others wait for one to end.
    pub most: usize,
    /// How long the headers of a request are waited for, from the connection's start or the answer
    /// before.
    pub header_time: Duration,
    /// How long requests are taken after the server has said that it is not ready: a load balancer
    /// takes a while to notice.
    pub drain_delay: Duration,
    /// The certificate that all addresses show; none: connections are not encrypted.
    pub tls: Option<Tls>,
}

/// A certificate and its key.
#[derive(Clone, Debug)]
pub struct Tls {
    config: rustls::ServerConfig,
}

impl Tls {
    /// The certificates of a PEM file, the server's own first, and the private key of another.
    ///
    /// # Errors
    ///
    /// In words, where a file cannot be read or the key is not the certificate's.
    pub fn read(certificates: &Path, key: &Path) -> Result<Tls, String> {
        let said =
            |path: &Path, error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificates)
            .and_then(|found| found.collect())
            .map_err(|error| said(certificates, &error))?;
        if chain.is_empty() {
            return Err(said(certificates, &"no certificate in PEM"));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(|error| said(key, &error))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, private))
            .map_err(|error| said(certificates, &error))?;
        Ok(Tls { config })
    }

    fn acceptor(&self, protocol: Protocol) -> TlsAcceptor {
        let mut config = self.config.clone();
        // As clients agree on it.
        let spoken: &[u8] = if protocol == Protocol::Grpc { b"h2" } else { b"http/1.1" };
        config.alpn_protocols = vec![spoken.to_vec()];
        TlsAcceptor::from(Arc::new(config))
    }
}

/// Why serving ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was to end.
    Stopped,
    /// A device failed and stayed of no use: the process has to be started anew.
    DeviceLost,
}

/// Serves until `stopped` is done, or a device is lost: then the server is not ready, takes requests
/// for [`Connections::drain_delay`] more, and answers what it took.
pub async fn serve(
    server: Arc<Server>,
    endpoints: Vec<Endpoint>,
    connections: Connections,
    stopped: impl Future<Output = ()> + Send,
) -> Ended {
    let places = Arc::new(Semaphore::new(connections.most.max(1)));
    let phase = watch::Sender::new(Phase::Serving);
    let under_way = Arc::<AtomicUsize>::default();
    let mut serving = JoinSet::new();
    for Endpoint { protocol, listener } in endpoints {
        let router = match protocol {
            Protocol::Http => http::router(server.clone()),
            Protocol::Metrics => http::metrics_router(server.clone()),
            Protocol::Grpc => {
                let (router, reporter) = grpc::router(server.clone());
                tokio::spawn(grpc::tell_health(server.clone(), reporter));
                router
            }
        };
        let place = Address {
            speaker: Speaker {
                protocol,
                router: guard::layered(router, server.clone(), protocol),
                tls: connections.tls.as_ref().map(|tls| tls.acceptor(protocol)),
                header_time: connections.header_time,
                under_way: under_way.clone(),
                phase: phase.subscribe(),
            },
            places: places.clone(),
        };
        serving.spawn(place.serve(listener));
    }
    let ended = tokio::select! {
        () = stopped => Ended::Stopped,
        () = lost(&server) => Ended::DeviceLost,
    };
    server.stop();
    tokio::time::sleep(connections.drain_delay).await;
    server.end();
    phase.send_replace(Phase::Ending);
    let answered = async {
        loop {
            while under_way.load(Ordering::Relaxed) > 0 {
                tokio::time::sleep(END_TICK).await;
            }
            tokio::time::sleep(END_TIME).await;
            if under_way.load(Ordering::Relaxed) == 0 {
                break;
            }
        }
    };
    tokio::select! {
        () = async { while serving.join_next().await.is_some() {} } => {}
        // Streams stay open, and some clients silent.
        () = answered => {
            phase.send_replace(Phase::Over);
            while serving.join_next().await.is_some() {}
        }
    }
    server.close();
    ended
}

/// How far serving has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No connection is taken; what was asked is answered.
    Ending,
    /// Everything is answered.
    Over,
}

/// Waits until a device is lost.
async fn lost(server: &Server) {
    while !server.is_lost() {
        tokio::time::sleep(LOST_TICK).await;
    }
}

/// An address's own.
struct Address {
    speaker: Speaker,
    places: Arc<Semaphore>,
}

impl Address {
    async fn serve(self, listener: TcpListener) {
        let graceful = GracefulShutdown::new();
        let mut phase = self.speaker.phase.clone();
        loop {
            let (stream, place) = tokio::select! {
                _ = phase.wait_for(|&phase| phase >= Phase::Ending) => break,
                taken = take(&listener, &self.places) => taken,
            };
            let (speaker, watcher) = (self.speaker.clone(), graceful.watcher());
            tokio::spawn(async move {
                let mut phase = speaker.phase.clone();
                tokio::select! {
                    () = speaker.speak(stream, watcher) => {}
                    _ = phase.wait_for(|&phase| phase >= Phase::Over) => {}
                }
                drop(place);
            });
        }
        drop(listener);
        graceful.shutdown().await;
    }
}

/// What becomes of a connection.
#[derive(Clone)]
struct Speaker {
    protocol: Protocol,
    router: Router,
    tls: Option<TlsAcceptor>,
    header_time: Duration,
    /// Requests that have no answer yet, on all addresses.
    under_way: Arc<AtomicUsize>,
    phase: watch::Receiver<Phase>,
}

impl Speaker {
    async fn speak(self, stream: TcpStream, watcher: Watcher) {
        // Else small answers wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        match &self.tls {
            None => self.answer(stream, watcher).await,
            Some(tls) => {
                let accepted = tokio::time::timeout(self.header_time, tls.accept(stream)).await;
                if let Ok(Ok(stream)) = accepted {
                    self.answer(stream, watcher).await;
                }
            }
        }
    }

    /// Answers requests until the client leaves or is slow, or the server ends. A client that breaks
    /// off is no matter of others.
    async fn answer<S>(&self, stream: S, watcher: Watcher)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let stream = TokioIo::new(stream);
        let requests = Arc::<Requests>::default();
        let service = service_fn(|request: hyper::Request<Incoming>| {
            let counted = Counted::new(&self.under_way, &requests);
            let answer = self.router.clone().call(request);
            async move {
                let answer = answer.await;
                drop(counted);
                answer
            }
        });
        match self.protocol {
            Protocol::Http | Protocol::Metrics => {
                let mut http = http1::Builder::new();
                http.timer(TokioTimer::new()).header_read_timeout(self.header_time);
                let unread = UNREAD * self.header_time;
                tokio::select! {
                    _ = watcher.watch(http.serve_connection(stream, service)) => {}
                    () = requests.are_absent(unread, unread) => {}
                }
            }
            Protocol::Grpc => {
                let mut http = http2::Builder::new(TokioExecutor::new());
                http.timer(TokioTimer::new())
                    .initial_stream_window_size(STREAM_WINDOW)
                    .initial_connection_window_size(CONNECTION_WINDOW)
                    .max_frame_size(FRAME)
                    .max_concurrent_streams(STREAMS)
                    .keep_alive_interval(KEEP_ALIVE)
                    .keep_alive_timeout(self.header_time);
                tokio::select! {
                    _ = watcher.watch(http.serve_connection(stream, service)) => {}
                    () = requests.are_absent(self.header_time, IDLE) => {}
                }
            }
        }
    }
}

/// Requests of a connection.
#[derive(Debug, Default)]
struct Requests {
    begun: AtomicUsize,
    under_way: AtomicUsize,
}

impl Requests {
    /// Waits until there has been none for `first` from the start on, or for `then` after that; up to
    /// an eighth longer.
    async fn are_absent(&self, first: Duration, then: Duration) {
        let (mut seen, mut limit, mut absent) = (0, first, Duration::ZERO);
        while absent < limit {
            let tick = limit / 8;
            tokio::time::sleep(tick).await;
            absent += tick;
            let begun = self.begun.load(Ordering::Relaxed);
            if begun != seen || self.under_way.load(Ordering::Relaxed) > 0 {
                (seen, limit, absent) = (begun, then, Duration::ZERO);
            }
        }
    }
}

/// A request that has no answer yet, as long as this lives.
struct Counted {
    all: Arc<AtomicUsize>,
    of_connection: Arc<Requests>,
}

impl Counted {
    fn new(all: &Arc<AtomicUsize>, of_connection: &Arc<Requests>) -> Counted {
        all.fetch_add(1, Ordering::Relaxed);
        of_connection.begun.fetch_add(1, Ordering::Relaxed);
        of_connection.under_way.fetch_add(1, Ordering::Relaxed);
        Counted { all: all.clone(), of_connection: of_connection.clone() }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
        self.of_connection.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The next connection, once there is a place for it: a connection that has come waits for one, and not
/// an address to which nobody may ever come.
async fn take(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    let stream = loop {
        match listener.accept().await {
            Ok((stream, _)) => break stream,
            // Of a client that has left again.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionAborted
                        | io::ErrorKind::ConnectionRefused
                        | io::ErrorKind::ConnectionReset
                ) => {}
            Err(_) => tokio::time::sleep(EXHAUSTED).await,
        }
    };
    // Nobody closes the semaphore.
    (stream, places.clone().acquire_owned().await.ok())
}
