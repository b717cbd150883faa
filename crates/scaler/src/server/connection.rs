//! One connection after its handshake: who is on the other end, HTTP/2 within limits, and its end with a GOAWAY.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::Server;
use super::activity::Activity;
use super::call::Calls;
use super::connections::Entry;
use crate::tls::Caller;

/// How long after its GOAWAY a connection may finish what it does.
const GRACE: Duration = Duration::from_secs(60);
const MAX_STREAMS: u32 = 128;
const MAX_HEADERS: u32 = 16 * 1024;
/// What a caller may send before it is read: a message of the largest size, and on all streams together a few KiB for each,
/// many times what KEDA sends. It bounds the memory of as many connections as are let in to 64 MiB.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 256 * 1024;

/// Who calls on this connection; every request carries it as an extension.
#[derive(Clone, Debug)]
pub struct Peer {
    pub caller: Caller,
    pub address: Option<SocketAddr>,
    /// Cancelled when the connection is about to end: streams on it should end too.
    pub closing: CancellationToken,
}

/// Serves the connection to its end.
pub(super) async fn serve(stream: TlsStream<TcpStream>, server: &Arc<Server>, routes: Routes) {
    let chain: Vec<CertificateDer<'static>> = stream
        .get_ref()
        .1
        .peer_certificates()
        .unwrap_or_default()
        .iter()
        .map(|certificate| certificate.clone().into_owned())
        .collect();
    let caller = match server.rules.admit(&chain) {
        Ok(caller) => caller,
        Err(error) => {
            server.metrics.connection("not_allowed");
            tracing::info!(%error, "turned a caller away");
            return;
        }
    };
    let Some(entry) = server.connections.enter(caller.clone(), chain) else {
        server.metrics.connection("too_many");
        return;
    };
    if let Some(current) = server.credentials.borrow().as_deref() {
        entry.judge(current, server.patience.retire_within);
    }
    server.metrics.connection("accepted");
    let peer = Peer {
        caller,
        address: stream.get_ref().0.peer_addr().ok(),
        closing: CancellationToken::new(),
    };
    let activity = Activity::new();
    let calls = Calls::new(routes, peer.clone(), server.metrics.clone(), activity.clone());
    let connection = builder().serve_connection(TokioIo::new(stream), calls);
    let mut connection = pin!(connection);
    tokio::select! {
        _ended = &mut connection => return,
        () = end(&entry, server) => {}
        () = activity.ceases(server.patience.idle) => {}
    }
    peer.closing.cancel();
    connection.as_mut().graceful_shutdown();
    // What it ended with matters to nobody.
    let _ended = tokio::time::timeout(GRACE, connection).await;
}

/// Resolves when the connection has to go.
async fn end(entry: &Entry, server: &Server) {
    let age = server.patience.age.mul_f64(rand::random_range(0.9..1.1));
    tokio::select! {
        () = tokio::time::sleep_until(Instant::now() + age) => {}
        () = entry.drained() => {}
        () = server.shutdown.cancelled() => {}
    }
}

fn builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_HEADERS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_local_error_reset_streams(1024)
        .max_pending_accept_reset_streams(20)
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    builder
}
