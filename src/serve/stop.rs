//! Serving until it is to end, and then losing no request that was taken.

use super::http::router;
use super::server::Server;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// How long the server waits where the system has nothing left for another connection.
const EXHAUSTED: Duration = Duration::from_millis(200);

/// How connections are taken, and how serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connections {
    /// Most of them at once; others wait for one to end.
    pub most: usize,
    /// How long the headers of a request are waited for, from the connection's start or the answer
    /// before.
    pub header_time: Duration,
    /// How long requests are taken after the server has said that it is not ready: a load balancer
    /// takes a while to notice.
    pub drain_delay: Duration,
}

/// Serves until `stopped` is done: then the server is not ready, takes requests for
/// [`Connections::drain_delay`] more, and answers what it took.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    connections: Connections,
    stopped: impl Future<Output = ()> + Send,
) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(connections.header_time);
    let router = router(server.clone());
    let places = Arc::new(Semaphore::new(connections.most.max(1)));
    let graceful = GracefulShutdown::new();
    let mut drained = pin!(async {
        stopped.await;
        server.stop();
        tokio::time::sleep(connections.drain_delay).await;
    });
    loop {
        let (stream, place) = tokio::select! {
            () = &mut drained => break,
            taken = take(&listener, &places) => taken,
        };
        // Else small answers wait for acknowledgements.
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = graceful.watch(http.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            // A client that breaks off is no matter of others.
            let _ = connection.await;
            drop(place);
        });
    }
    drop(listener);
    graceful.shutdown().await;
    server.close();
}

/// The next connection, once there is a place for it.
async fn take(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> (TcpStream, Option<OwnedSemaphorePermit>) {
    // Nobody closes the semaphore.
    let place = places.clone().acquire_owned().await.ok();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, place),
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
    }
}
