//! Connections of the listener that says why: few at a time, one request each, with a deadline over all of it.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::answer::answer;
use crate::registry::Registry;

/// Connections at a time: a browser opens six. Further ones wait to be accepted.
pub const MAX_CONNECTIONS: usize = 16;
/// From the first byte of a request's head to its last.
const HEAD: Duration = Duration::from_secs(5);
/// From accepting a connection to its end.
const WHOLE: Duration = Duration::from_secs(30);
/// A request's head.
const MAX_HEAD: usize = 16 * 1024;
/// Without a pause, a process out of descriptors burns a core.
const PAUSE: Duration = Duration::from_millis(250);

/// What answers.
#[derive(Clone)]
pub struct Explainer {
    pub registry: Registry,
    /// This process's name.
    pub told_by: Arc<str>,
}

impl Explainer {
    /// Serves until shutdown; `listening` is told the address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub async fn serve(
        self,
        address: SocketAddr,
        listening: impl FnOnce(SocketAddr),
        shutdown: &CancellationToken,
    ) -> anyhow::Result<()> {
        let failed = || format!("failed to bind the explain address {address}");
        let listener = TcpListener::bind(address).await.with_context(failed)?;
        listening(listener.local_addr().with_context(failed)?);
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        // Dropped with everything in it.
        let mut connections = JoinSet::new();
        let accept = async {
            loop {
                while connections.try_join_next().is_some() {}
                let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                    return;
                };
                match listener.accept().await {
                    Ok((stream, _)) => {
                        let explainer = self.clone();
                        connections.spawn(async move {
                            explainer.connection(stream).await;
                            drop(place);
                        });
                    }
                    Err(error) => {
                        tracing::debug!(%error, "cannot accept a connection to the explain address");
                        tokio::time::sleep(PAUSE).await;
                    }
                }
            }
        };
        shutdown.run_until_cancelled(accept).await;
        Ok(())
    }

    async fn connection(self, stream: TcpStream) {
        let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
            let (head, _never_read) = request.into_parts();
            let response = answer(&self.registry, &self.told_by, &head);
            std::future::ready(Ok::<_, Infallible>(response))
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .max_buf_size(MAX_HEAD)
            .keep_alive(false)
            .serve_connection(TokioIo::new(stream), service);
        if let Ok(Err(error)) = tokio::time::timeout(WHOLE, served).await {
            tracing::debug!(%error, "a connection to the explain address failed");
        }
    }
}
