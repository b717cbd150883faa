//! Connections to the proxy: accepted, served one request after another, cut when a fault says so.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::{Shared, forward};

const HANDSHAKE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);
/// What was written before a cut is on its way by then: the connection's task has been polled since.
const FLUSH: Duration = Duration::from_millis(50);

pub(super) async fn serve(shared: Arc<Shared>, listener: TcpListener, acceptor: TlsAcceptor, stop: CancellationToken) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let served = connection(Arc::clone(&shared), acceptor.clone(), stream);
                tokio::spawn(stop.clone().run_until_cancelled_owned(served));
            }
            Err(error) => {
                tracing::warn!(%error, "the fault proxy cannot accept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

async fn connection(shared: Arc<Shared>, acceptor: TlsAcceptor, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let cut = CancellationToken::new();
    let service = service_fn(|request| {
        let (shared, cut) = (Arc::clone(&shared), cut.clone());
        async move { Ok::<_, Infallible>(forward::answer(shared, request, cut).await) }
    });
    let mut served = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let is_cut = async {
        cut.cancelled().await;
        tokio::time::sleep(FLUSH).await;
    };
    let is_cut = pin!(is_cut);
    tokio::select! {
        ended = &mut served => {
            if let Err(error) = ended {
                tracing::trace!(%error, "a connection to the fault proxy ended");
            }
        }
        () = is_cut => {
            let (stream, _) = served.into_parts().io.into_inner().into_inner();
            // Closing now sends a reset, not an end.
            if let Err(error) = stream.set_zero_linger() {
                tracing::warn!(%error, "a connection cannot be reset");
            }
        }
    }
}
