//! An installation of the Go reference: its Secrets and its ClusterTriggerAuthentication as recorded, and a stand-in for its
//! scaler, which loads its credentials once and never again.

use std::io::Cursor;
use std::pin::Pin;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::Stream;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_externalscaler::external_scaler_server::{ExternalScaler, ExternalScalerServer};
use keda_kaito_externalscaler::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue, ScaledObjectRef,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

const SERVER_CA: &str = include_str!("../../../crates/certmgr/testdata/reference/server-ca.crt");
const SERVER_CA_KEY: &str = include_str!("../../../crates/certmgr/testdata/reference/server-ca.key");
const SERVER: &str = include_str!("../../../crates/certmgr/testdata/reference/server.crt");
const SERVER_KEY: &str = include_str!("../../../crates/certmgr/testdata/reference/server.key");
const CLIENT_CA: &str = include_str!("../../../crates/certmgr/testdata/reference/client-ca.crt");
const CLIENT_CA_KEY: &str = include_str!("../../../crates/certmgr/testdata/reference/client-ca.key");
pub(crate) const CLIENT: &str = include_str!("../../../crates/certmgr/testdata/reference/client.crt");
pub(crate) const CLIENT_KEY: &str = include_str!("../../../crates/certmgr/testdata/reference/client.key");

/// Its objects, and none of ours.
pub(crate) async fn install(bed: &Bed) -> Result<()> {
    for name in [names::CA_SECRET, names::SERVER_SECRET, names::CLIENT_SECRET] {
        bed.delete(Kind::SECRET, "keda", name).await?;
    }
    let server = json!({"ca.crt": SERVER_CA, "ca.key": SERVER_CA_KEY, "server.crt": SERVER, "server.key": SERVER_KEY});
    let client = json!({"ca.crt": CLIENT_CA, "ca.key": CLIENT_CA_KEY, "tls.crt": CLIENT, "tls.key": CLIENT_KEY});
    for (name, data) in [(names::SERVER_SECRET, server), (names::CLIENT_SECRET, client)] {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": name, "namespace": "keda"}, "stringData": data,
        });
        bed.create(Kind::SECRET, "keda", &secret).await?;
    }
    bed.delete(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
        .await?;
    let parameter = |parameter: &str, name: &str, key: &str| json!({"parameter": parameter, "name": name, "key": key});
    let authentication = json!({
        "apiVersion": Kind::TRIGGER_AUTHENTICATION.api_version(), "kind": "ClusterTriggerAuthentication",
        "metadata": {"name": names::TRIGGER_AUTHENTICATION},
        "spec": {"secretTargetRef": [
            parameter("caCert", names::SERVER_SECRET, "ca.crt"),
            parameter("tlsClientCert", names::CLIENT_SECRET, "tls.crt"),
            parameter("tlsClientKey", names::CLIENT_SECRET, "tls.key"),
        ]},
    });
    let gone = async || {
        let absent = bed
            .is_absent(Kind::TRIGGER_AUTHENTICATION, "", names::TRIGGER_AUTHENTICATION)
            .await?;
        Ok(keda_kaito_e2e::bed::Look::when(absent, "it is being deleted"))
    };
    let patience = std::time::Duration::from_secs(30);
    keda_kaito_e2e::bed::eventually(patience, "no ClusterTriggerAuthentication is left", gone).await?;
    bed.create(Kind::TRIGGER_AUTHENTICATION, "", &authentication).await?;
    Ok(())
}

/// Its scaler; it answers four to everyone with a certificate of its client authority.
pub(crate) struct Scaler {
    stop: CancellationToken,
    task: JoinSet<()>,
}

impl Scaler {
    pub(crate) async fn serve(address: &str) -> Result<Self> {
        let acceptor = TlsAcceptor::from(Arc::new(config()?));
        let listener = TcpListener::bind(address).await.context("the reference's scaler")?;
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        let stopped = stop.clone();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Some(Ok((stream, _))) = stopped.run_until_cancelled(listener.accept()).await {
                let (acceptor, stopped) = (acceptor.clone(), stopped.clone());
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = TowerToHyperService::new(Routes::new(ExternalScalerServer::new(Four)));
                    let serving = http2::Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service);
                    let mut serving = std::pin::pin!(serving);
                    tokio::select! {
                        _ended = &mut serving => {}
                        () = stopped.cancelled() => {
                            serving.as_mut().graceful_shutdown();
                            let _ended = serving.await;
                        }
                    }
                });
            }
            drop(listener);
            while connections.join_next().await.is_some() {}
        });
        Ok(Self { stop, task })
    }

    /// As at the end of its Pod: no new connections, a GOAWAY on the open ones.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        while self.task.join_next().await.is_some() {}
    }
}

fn config() -> Result<ServerConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(CLIENT_CA.as_bytes())?)?;
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider)).build()?;
    let chain = CertificateDer::pem_reader_iter(Cursor::new(SERVER)).collect::<Result<_, _>>()?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, PrivateKeyDer::from_pem_slice(SERVER_KEY.as_bytes())?)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

#[derive(Clone)]
struct Four;

#[tonic::async_trait]
impl ExternalScaler for Four {
    type StreamIsActiveStream = Pin<Box<dyn Stream<Item = Result<IsActiveResponse, Status>> + Send>>;

    async fn is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<IsActiveResponse>, Status> {
        Ok(Response::new(IsActiveResponse { result: true }))
    }

    async fn stream_is_active(&self, _: Request<ScaledObjectRef>) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        Err(Status::unimplemented("not a push scaler"))
    }

    async fn get_metric_spec(&self, _: Request<ScaledObjectRef>) -> Result<Response<GetMetricSpecResponse>, Status> {
        let spec = MetricSpec {
            metric_name: names::DEFAULT_METRIC.to_owned(),
            target_size_float: 10.0,
            target_size: 10,
        };
        Ok(Response::new(GetMetricSpecResponse {
            metric_specs: vec![spec],
        }))
    }

    async fn get_metrics(&self, _: Request<GetMetricsRequest>) -> Result<Response<GetMetricsResponse>, Status> {
        let value = MetricValue {
            metric_name: names::DEFAULT_METRIC.to_owned(),
            metric_value_float: 4.0,
            metric_value: 4,
        };
        Ok(Response::new(GetMetricsResponse {
            metric_values: vec![value],
        }))
    }
}
