//! The admin server: `/metrics` on one address, `/livez` and `/readyz` on another, or all on one.
//! It starts before anything else and reports what other parts tell it; it probes nothing itself.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;

use crate::args::AdminArgs;
use crate::metrics::{self, SharedRegistry};
use crate::readiness::Readiness;

/// Why the admin server could not start or went away.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("failed to bind the admin address {address}")]
    Bind { address: SocketAddr, source: std::io::Error },
    #[error("failed to serve the admin address {address}")]
    Serve { address: SocketAddr, source: std::io::Error },
}

/// Listeners that are bound but not yet served.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<(TcpListener, SocketAddr, Router)>,
}

/// Binds the addresses; connections queue until [`Bound::serve`] runs.
///
/// # Errors
/// [`Error::Bind`] with the address that is taken or not ours.
pub async fn bind(args: &AdminArgs, registry: &SharedRegistry, readiness: &Readiness) -> Result<Bound, Error> {
    let health = health_router(readiness.clone());
    let metrics = metrics_router(registry.clone());
    let wanted = if args.metrics_address == args.health_address {
        vec![(args.health_address, health.merge(metrics))]
    } else {
        vec![(args.metrics_address, metrics), (args.health_address, health)]
    };
    let mut listeners = Vec::with_capacity(wanted.len());
    for (address, router) in wanted {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| Error::Bind { address, source })?;
        let address = listener.local_addr().map_err(|source| Error::Bind { address, source })?;
        listeners.push((listener, address, router));
    }
    Ok(Bound { listeners })
}

impl Bound {
    /// The addresses in use, metrics before health.
    pub fn addresses(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        self.listeners.iter().map(|(_, address, _)| *address)
    }

    /// Serves until dropped.
    ///
    /// # Errors
    /// [`Error::Serve`] when one of the servers ends.
    pub async fn serve(self) -> Result<(), Error> {
        let servers = self.listeners.into_iter().map(|(listener, address, router)| async move {
            axum::serve(listener, router)
                .await
                .map_err(|source| Error::Serve { address, source })
        });
        futures::future::try_join_all(servers).await?;
        Ok(())
    }
}

/// `/livez` and `/readyz`.
pub fn health_router(readiness: Readiness) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(readyz))
        .with_state(readiness)
}

/// `/metrics`.
pub fn metrics_router(registry: SharedRegistry) -> Router {
    Router::new().route("/metrics", get(scrape)).with_state(registry)
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    let closed = readiness.closed();
    if closed.is_empty() {
        return "ok\n".into_response();
    }
    let body: String = closed
        .iter()
        .map(|gate| format!("{}: {}\n", gate.name, gate.reason))
        .collect();
    (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
}

async fn scrape(State(registry): State<SharedRegistry>) -> Response {
    match registry.encode() {
        Ok(text) => ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::warn!(%error, "failed to encode the metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

#[cfg(test)]
mod tests;
