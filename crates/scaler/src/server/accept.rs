//! The accept loop: at most so many handshakes at once, each with its own deadline, and a pause when descriptors run out.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use super::{Server, connection};

/// Handshakes under way.
pub(super) const MAX_HANDSHAKES: usize = 64;
/// Without a pause, a process out of descriptors burns a core.
const PAUSE: Duration = Duration::from_millis(250);

/// Accepts until shutdown.
pub(super) async fn accept(listener: &TcpListener, server: &Arc<Server>, routes: &Routes, tracker: &TaskTracker) {
    let handshakes = Arc::new(Semaphore::new(MAX_HANDSHAKES));
    let mut failing = false;
    loop {
        let next = async {
            let permit = Arc::clone(&handshakes).acquire_owned().await.ok()?;
            Some((permit, listener.accept().await))
        };
        let Some(Some((permit, accepted))) = server.shutdown.run_until_cancelled(next).await else {
            return;
        };
        match accepted {
            Ok((stream, _)) => {
                failing = false;
                tracker.spawn(shake_hands(stream, permit, Arc::clone(server), routes.clone()));
            }
            Err(error) if is_one_connections(&error) => {}
            Err(error) => {
                server.metrics.connection("accept_failed");
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections for the moment");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn shake_hands(stream: TcpStream, permit: OwnedSemaphorePermit, server: Arc<Server>, routes: Routes) {
    let Some(credentials) = server.credentials.borrow().clone() else {
        return;
    };
    // Only latency is at stake.
    let _nodelay = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&credentials.config));
    let stream = match tokio::time::timeout(server.patience.handshake, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        // KEDA's abandoned connections come back with old certificates for up to 30 minutes: no alarm.
        Ok(Err(error)) => {
            server.metrics.connection("handshake_failed");
            tracing::debug!(%error, "handshake failed");
            return;
        }
        Err(_elapsed) => return server.metrics.connection("handshake_timeout"),
    };
    drop(permit);
    connection::serve(stream, &server, routes).await;
}

/// Errors of a connection that was gone before it was accepted.
fn is_one_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
