//! The gRPC side: accepts, authenticates and bounds connections, and hands calls to the service. tonic's own server is not
//! used: it cannot reload the client CA, bound handshakes, or survive running out of descriptors.

mod accept;
mod activity;
mod call;
mod connection;
pub mod connections;
pub mod credentials;
mod handshakes;
pub mod health;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use keda_kaito_externalscaler::FILE_DESCRIPTOR_SET;
use keda_kaito_externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::metrics::Metrics;
use crate::tls::{CallerRules, Credentials};

pub use connection::Peer;
pub use connections::Connections;

/// Largest message a caller may send.
const MAX_MESSAGE: usize = 64 * 1024;

/// The one protocol spoken, as ALPN names it.
pub(crate) const HTTP2: &[u8] = b"h2";

/// How patient the server is.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long one handshake may take.
    pub handshake: Duration,
    /// A connection without a call for this long ends.
    pub idle: Duration,
    /// Connections under retired credentials end within this, so that not all callers come back at once.
    pub retire_within: Duration,
    /// A connection lives this long, ± 10 %, so that KEDA finds new replicas.
    pub age: Duration,
    /// How long connections may take to end once the process stops.
    pub drain: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(5),
            idle: Duration::from_secs(15 * 60),
            retire_within: Duration::from_secs(30),
            age: Duration::from_secs(30 * 60),
            drain: Duration::from_secs(20),
        }
    }
}

/// The newest valid credentials; `None` until there were some.
pub type Current = watch::Receiver<Option<Arc<Credentials>>>;

/// Everything the connections share.
pub struct Server {
    pub credentials: Current,
    pub rules: CallerRules,
    pub connections: Connections,
    pub patience: Patience,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
}

/// All gRPC services on one router.
///
/// # Errors
/// The descriptions of the services cannot be read.
pub fn routes(
    scaler: impl ExternalScaler,
) -> Result<(Routes, tonic_health::server::HealthReporter), tonic_reflection::server::Error> {
    let (reporter, health) = tonic_health::server::health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(FILE_DESCRIPTOR_SET)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    let scaler = ExternalScalerServer::new(scaler).max_decoding_message_size(MAX_MESSAGE);
    let routes = Routes::new(scaler)
        .add_service(health.max_decoding_message_size(MAX_MESSAGE))
        .add_service(reflection.max_decoding_message_size(MAX_MESSAGE))
        .prepare();
    Ok((routes, reporter))
}

impl Server {
    /// Waits for the first credentials, opens the port and serves until shutdown; then drains. `listening` is called once
    /// the port is open.
    ///
    /// # Errors
    /// The port cannot be opened.
    pub async fn serve(
        self: Arc<Self>,
        address: SocketAddr,
        routes: Routes,
        listening: impl FnOnce(SocketAddr),
    ) -> std::io::Result<()> {
        let mut credentials = self.credentials.clone();
        // A refused connection costs KEDA less than a failed handshake kept in its pool.
        let first = async { credentials.wait_for(Option::is_some).await.is_ok() };
        if self.shutdown.run_until_cancelled(first).await != Some(true) {
            return Ok(());
        }
        let listener = TcpListener::bind(address).await?;
        listening(listener.local_addr()?);
        let tracker = TaskTracker::new();
        let retire = self
            .connections
            .retire_untrusted(self.credentials.clone(), self.patience.retire_within);
        tokio::select! {
            () = accept::accept(&listener, &self, &routes, &tracker) => {}
            () = retire => {}
        }
        drop(listener);
        tracker.close();
        if tokio::time::timeout(self.patience.drain, tracker.wait()).await.is_err() {
            tracing::warn!(
                connections = self.connections.count(),
                "connections did not end in time and are dropped"
            );
        }
        Ok(())
    }
}
