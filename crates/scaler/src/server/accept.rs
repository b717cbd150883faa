//! The accept loop: at most so many handshakes at once, each with its own deadline, and a pause when descriptors run out.
//! It never waits for a handshake: whoever is slow stands in nobody's way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::CertificateError;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use super::handshakes::{Handshake, Handshakes};
use super::{HTTP2, Server, connection};

/// Without a pause, a process out of descriptors burns a core.
const PAUSE: Duration = Duration::from_millis(250);

/// Accepts until shutdown.
pub(super) async fn accept(listener: &TcpListener, server: &Arc<Server>, routes: &Routes, tracker: &TaskTracker) {
    let handshakes = Handshakes::default();
    let mut failing = false;
    while let Some(accepted) = server.shutdown.run_until_cancelled(listener.accept()).await {
        match accepted {
            Ok((stream, peer)) => {
                failing = false;
                let handshake = handshakes.begin(peer.ip());
                tracker.spawn(shake_hands(stream, handshake, Arc::clone(server), routes.clone()));
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

async fn shake_hands(stream: TcpStream, handshake: Handshake, server: Arc<Server>, routes: Routes) {
    let Some(credentials) = server.credentials.borrow().clone() else {
        return;
    };
    // Only latency is at stake.
    let _nodelay = stream.set_nodelay(true);
    let acceptor = TlsAcceptor::from(Arc::clone(&credentials.config));
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(server.patience.handshake, acceptor.accept(stream)) => accepted,
        () = handshake.crowded_out() => return server.metrics.connection("crowded_out"),
    };
    drop(handshake);
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        // KEDA's abandoned connections come back with old certificates for up to 30 minutes: no alarm.
        Ok(Err(error)) => {
            server.metrics.connection(outcome(&error));
            tracing::debug!(%error, "handshake failed");
            return;
        }
        Err(_elapsed) => return server.metrics.connection("handshake_timeout"),
    };
    // Who offers no protocol at all gets through the handshake.
    if stream.get_ref().1.alpn_protocol() != Some(HTTP2) {
        return server.metrics.connection("not_http2");
    }
    connection::serve(stream, &server, routes).await;
}

/// Why a handshake failed, in one word of a closed list.
fn outcome(error: &io::Error) -> &'static str {
    use rustls::Error as Tls;
    let Some(error) = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>()) else {
        return "peer_gone";
    };
    if let Tls::InvalidCertificate(why) = error {
        return if matches!(why, CertificateError::Expired | CertificateError::ExpiredContext { .. }) {
            "certificate_expired"
        } else if matches!(why, CertificateError::UnknownIssuer) {
            "certificate_unknown_issuer"
        } else {
            "certificate_refused"
        };
    }
    if matches!(error, Tls::NoCertificatesPresented) {
        "certificate_missing"
    } else if matches!(error, Tls::NoApplicationProtocol) {
        "not_http2"
    } else if matches!(error, Tls::PeerIncompatible(_)) {
        "tls_incompatible"
    } else if matches!(error, Tls::InvalidMessage(_) | Tls::InappropriateMessage { .. }) {
        "not_tls"
    } else if matches!(error, Tls::AlertReceived(_)) {
        "refused_by_peer"
    } else {
        "handshake_failed"
    }
}

/// Errors of a connection that was gone before it was accepted.
fn is_one_connections(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}
