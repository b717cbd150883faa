//! Calls as KEDA makes them, through the Service, at a steady pace, each counted and none repeated.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use keda_kaito_e2e::bed::{Look, eventually};
use keda_kaito_externalscaler::external_scaler_client::ExternalScalerClient;
use keda_kaito_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::release::NAMESPACE;
use crate::shell::kubectl;

const SERVICE: &str = "keda-kaito-scaler-svc.keda.svc.cluster.local";
/// Connections, as of so many KEDA operators; together they make 200 calls a second.
const CONNECTIONS: u64 = 4;
const EVERY: Duration = Duration::from_millis(20);
/// KEDA's own limit for one call.
const LIMIT: Duration = Duration::from_secs(3);
const TOGETHER: Duration = Duration::from_millis(500);

#[derive(Default)]
struct Shared {
    made: AtomicU64,
    /// Those answered with a value; of the rest the scaler said that it cannot.
    answered: AtomicU64,
    failures: Mutex<Vec<String>>,
}

pub(crate) struct Calls {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

impl Calls {
    pub(crate) async fn start() -> Result<Self> {
        let connector = connector().await?;
        let reference = reference().await?;
        let shared = Arc::new(Shared::default());
        let mut tasks = JoinSet::new();
        for _ in 0..CONNECTIONS {
            let channel = eventually(Duration::from_secs(30), "a connection through the Service", async || {
                Ok(Look::Met(channel(connector.clone(), format!("{SERVICE}:10450")).await?))
            })
            .await?;
            tasks.spawn(calls(Arc::clone(&shared), channel, reference.clone()));
        }
        Ok(Self { shared, tasks })
    }

    pub(crate) fn made(&self) -> u64 {
        self.shared.made.load(Ordering::Relaxed)
    }

    pub(crate) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Waits until so many calls were answered with a value.
    pub(crate) async fn wait_for(&self, answered: u64, within: Duration) -> Result<()> {
        eventually(within, "calls are answered", async || {
            Ok(Look::when(self.answered() >= answered, (self.answered(), self.made())))
        })
        .await
        .map(drop)
    }

    /// How many calls were made, how many of them answered with a value, and what was wrong with those that failed.
    pub(crate) async fn stop(mut self) -> (u64, u64, Vec<String>) {
        self.tasks.shutdown().await;
        let failures = self.shared.failures.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.made(), self.answered(), failures)
    }
}

async fn calls(shared: Arc<Shared>, channel: Channel, reference: ScaledObjectRef) {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let request = GetMetricsRequest {
            scaled_object_ref: Some(reference.clone()),
            metric_name: "vllm:num_requests_waiting".to_owned(),
        };
        let mut client = ExternalScalerClient::new(channel.clone());
        let call = client.get_metrics(request);
        tokio::pin!(call);
        let mut outcome = tokio::time::timeout(LIMIT, &mut call).await;
        if outcome.is_err() {
            // Who stood still together with the scaler wakes before its answer is there.
            outcome = tokio::time::timeout(TOGETHER, &mut call).await;
        }
        let outcome = match outcome {
            Ok(Ok(_answer)) => {
                shared.answered.fetch_add(1, Ordering::Relaxed);
                None
            }
            // The scaler answered: it does not know the replica's load yet.
            Ok(Err(status)) if status.code() == tonic::Code::Unavailable && status.metadata().contains_key("content-type") => {
                None
            }
            Ok(Err(status)) => Some(format!("{status:?}")),
            Err(_elapsed) => Some("no answer".to_owned()),
        };
        shared.made.fetch_add(1, Ordering::Relaxed);
        if let Some(failure) = outcome {
            shared.failures.lock().unwrap_or_else(PoisonError::into_inner).push(failure);
        }
    }
}

/// A connection to a replica at this address or name, opened again whenever it has ended.
pub(crate) async fn channel(connector: TlsConnector, address: String) -> Result<Channel> {
    let endpoint = Endpoint::try_from(format!("https://{SERVICE}:10450"))?.connect_timeout(LIMIT);
    let connect = tower::service_fn(move |_| {
        let (connector, address) = (connector.clone(), address.clone());
        async move {
            let stream = TcpStream::connect(address).await?;
            let name = SERVICE.try_into().map_err(io::Error::other)?;
            Ok::<_, io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    Ok(endpoint.connect_with_connector(connect).await?)
}

/// The client Secret's credentials, as KEDA uses them.
pub(crate) async fn connector() -> Result<TlsConnector> {
    let secret = kubectl(&[
        "get",
        "secret",
        "keda-kaito-scaler-client-certs",
        "-n",
        NAMESPACE,
        "-o",
        "json",
    ])
    .await?;
    let secret: Value = serde_json::from_str(&secret)?;
    let part = |key: &str| -> Result<Vec<u8>> {
        let text = secret.pointer(&format!("/data/{key}")).and_then(Value::as_str);
        let text = text.with_context(|| format!("the client Secret has no {key}"))?;
        Ok(STANDARD.decode(text)?)
    };
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&part("ca.crt")?) {
        roots.add(root?)?;
    }
    let certificates = CertificateDer::pem_slice_iter(&part("tls.crt")?).collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_slice(&part("tls.key")?)?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(certificates, key)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// The trigger as it stands in the ScaledObject.
async fn reference() -> Result<ScaledObjectRef> {
    let object: Value = serde_json::from_str(&kubectl(&["get", "scaledobject", "phi-4-mini", "-o", "json"]).await?)?;
    let metadata = object
        .pointer("/spec/triggers/0/metadata")
        .and_then(Value::as_object)
        .context("no trigger")?;
    Ok(ScaledObjectRef {
        name: "phi-4-mini".to_owned(),
        namespace: "default".to_owned(),
        scaler_metadata: metadata
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
    })
}
