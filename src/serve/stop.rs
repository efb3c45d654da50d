//! Serving until it is to end, and then losing no request that was taken.

use super::http::{Server, router};
use axum::serve::ListenerExt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;

/// How serving ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// How long requests are taken after the server has said that it is not ready: a load balancer
    /// takes a while to notice.
    pub drain_delay: Duration,
}

/// Serves until `stopped` is done: then the server is not ready, takes requests for
/// [`Stop::drain_delay`] more, and answers what it took.
///
/// # Errors
///
/// Where the listener fails.
pub async fn serve(
    server: Arc<Server>,
    listener: TcpListener,
    stop: Stop,
    stopped: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let listener = listener.tap_io(|stream| {
        // Else small answers wait for acknowledgements.
        let _ = stream.set_nodelay(true);
    });
    let stopping = server.clone();
    let drained = async move {
        stopped.await;
        stopping.stop();
        tokio::time::sleep(stop.drain_delay).await;
    };
    axum::serve(listener, router(server.clone())).with_graceful_shutdown(drained).await?;
    server.close();
    Ok(())
}
