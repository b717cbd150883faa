//! The kubelet's HTTPS port: the log of a pod, from which KAITO reads its benchmark. The certificate is made on the
//! spot; the API server does not verify it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Key;
use super::settings::Settings;
use super::state::Fleet;

/// A connection that has not finished its handshake by then is dropped.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// Answers on `listener` for as long as the process lives.
///
/// # Errors
/// When no certificate can be made.
pub async fn serve(fleet: Arc<Fleet>, listener: TcpListener) -> anyhow::Result<()> {
    let acceptor = acceptor(listener.local_addr()?)?;
    let router = router(fleet);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::spawn(connection(acceptor.clone(), router.clone(), stream));
            }
            Err(error) => {
                tracing::warn!(%error, "kubelet port cannot accept");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

fn acceptor(address: SocketAddr) -> anyhow::Result<TlsAcceptor> {
    let made = rcgen::generate_simple_self_signed([address.ip().to_string()]).context("making a certificate")?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn connection(acceptor: TlsAcceptor, router: Router, stream: TcpStream) {
    let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
        return;
    };
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .await;
    if let Err(error) = served {
        tracing::trace!(%error, "kubelet connection ended");
    }
}

fn router(fleet: Arc<Fleet>) -> Router {
    Router::new()
        .route("/containerLogs/{namespace}/{pod}/{container}", get(log))
        .with_state(fleet)
}

async fn log(State(fleet): State<Arc<Fleet>>, Path((namespace, pod, _)): Path<(String, String, String)>) -> Response {
    let Some(entry) = fleet.pod(&Key { namespace, name: pod }) else {
        return (StatusCode::NOT_FOUND, "no such pod\n").into_response();
    };
    tracing::info!(pod = %entry.identity.key, "log was read");
    let settings = Arc::clone(&entry.settings.borrow());
    let text = log_text(&settings, &fleet.stamp(fleet.now()));
    ([(header::CONTENT_TYPE, "text/plain")], text).into_response()
}

/// A pod's log at `now` (RFC 3339). The result line is always there: KAITO reads it once, as soon as the pod is Ready.
fn log_text(settings: &Settings, now: &str) -> String {
    let benchmark = settings.benchmark();
    let mut text = "INFO: Started server process [1]\n".to_owned();
    if benchmark.enabled {
        let config = r#"{"duration_sec":60,"input_tokens":2048,"output_tokens":256,"max_concurrency":215}"#;
        text.push_str(&format!(
            "KAITO_BENCHMARK_CONFIG {now} {config}\n\
             KAITO_BENCHMARK_RESULT {now} {{\"vllm_total_tpm\":{},\"ttft_avg_ms\":812.4,\"tpot_avg_ms\":23.1}}\n",
            benchmark.tpm
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::settings::Benchmark;

    fn text(enabled: bool, tpm: f64) -> String {
        let settings = Settings {
            benchmark: Some(Benchmark { enabled, tpm }),
            ..Settings::default()
        };
        log_text(&settings, "2026-11-22T21:14:45Z")
    }

    #[test]
    fn the_log_has_the_benchmarks_configuration_and_result() {
        let text = text(true, 61_234.56);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("KAITO_BENCHMARK_RESULT 2026-11-22T21:14:45Z "))
            .expect("the result is logged");
        let result: serde_json::Value = serde_json::from_str(line).expect("the result is JSON");
        assert_eq!(result["vllm_total_tpm"], 61_234.56);
        assert!(text.contains("KAITO_BENCHMARK_CONFIG 2026-11-22T21:14:45Z {\"duration_sec\":60,"));
    }

    #[test]
    fn without_a_benchmark_there_is_no_result() {
        assert!(!text(false, 1.0).contains("KAITO_BENCHMARK"));
    }
}
