//! Calls as KEDA makes them, over mutual TLS, at a steady rate: each is due at a time of its own, and its latency counts from
//! then, so that a scaler that stalls cannot hide it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper_util::rt::TokioIo;
use keda_kaito_core::crd::ScaledObject;
use keda_kaito_core::names;
use keda_kaito_externalscaler::external_scaler_client::ExternalScalerClient;
use keda_kaito_externalscaler::{GetMetricsRequest, ScaledObjectRef};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};

use crate::rounds::quantile;

const CONNECTIONS: u32 = 16;
/// Per connection: a call that is late does not hold up the others.
const WORKERS: u32 = 8;

/// Latencies in seconds, and how often each gRPC code came.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    seconds: Vec<f64>,
    codes: BTreeMap<String, u32>,
}

impl Latencies {
    pub(crate) fn count(&self) -> u32 {
        self.codes.values().sum()
    }

    pub(crate) fn failed(&self) -> u32 {
        let failed = self.codes.iter().filter(|(code, _)| *code != "OK");
        failed.map(|(_, count)| count).sum()
    }

    /// Seconds.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        quantile(self.seconds.clone(), share)
    }
}

/// Calls `GetMetrics` of every ScaledObject in turn, `rate` times a second in all.
///
/// # Errors
/// When there is no connection.
pub(crate) async fn get_metrics(
    config: Arc<ClientConfig>,
    scaler: SocketAddr,
    objects: &[ScaledObject],
    rate: u32,
    lasting: Duration,
) -> Result<Latencies> {
    let requests: Arc<Vec<GetMetricsRequest>> = Arc::new(objects.iter().filter_map(request).collect());
    let pause = Duration::from_secs(1) * CONNECTIONS * WORKERS / rate;
    let begin = Instant::now() + Duration::from_secs(1);
    let mut workers = JoinSet::new();
    for connection in 0..CONNECTIONS {
        let channel = connect(Arc::clone(&config), scaler).await?;
        for worker in 0..WORKERS {
            let number = connection * WORKERS + worker;
            let first = begin + pause * number / (CONNECTIONS * WORKERS);
            let (client, requests) = (ExternalScalerClient::new(channel.clone()), Arc::clone(&requests));
            workers.spawn(work(client, requests, number, first, pause, begin + lasting));
        }
    }
    let mut all = Latencies::default();
    while let Some(one) = workers.join_next().await {
        let one = one?;
        all.seconds.extend(one.seconds);
        for (code, count) in one.codes {
            *all.codes.entry(code).or_default() += count;
        }
    }
    for (code, count) in all.codes.iter().filter(|(code, _)| *code != "OK").take(5) {
        eprintln!("bench: {count} × {code}");
    }
    Ok(all)
}

async fn work(
    mut client: ExternalScalerClient<Channel>,
    requests: Arc<Vec<GetMetricsRequest>>,
    number: u32,
    first: Instant,
    pause: Duration,
    end: Instant,
) -> Latencies {
    let mut latencies = Latencies::default();
    let mut due = first;
    let mine = requests.iter().cycle().skip(usize::try_from(number).unwrap_or(0)).step_by(7);
    for request in mine {
        if due >= end {
            break;
        }
        sleep_until(due).await;
        let code = match client.get_metrics(request.clone()).await {
            Ok(response) if response.get_ref().metric_values.len() == 1 => "OK".to_owned(),
            Ok(response) => format!("{} values", response.get_ref().metric_values.len()),
            Err(status) => format!("{:?}: {}", status.code(), status.message()),
        };
        latencies.seconds.push(due.elapsed().as_secs_f64());
        *latencies.codes.entry(code).or_default() += 1;
        due += pause;
    }
    latencies
}

fn request(object: &ScaledObject) -> Option<GetMetricsRequest> {
    let trigger = object.spec.triggers.first()?;
    let reference = ScaledObjectRef {
        name: object.metadata.name.clone()?,
        namespace: object.metadata.namespace.clone()?,
        scaler_metadata: trigger.metadata.clone().into_iter().collect(),
    };
    Some(GetMetricsRequest {
        scaled_object_ref: Some(reference),
        metric_name: format!("s0-{}", names::DESIRED_REPLICAS_METRIC),
    })
}

async fn connect(config: Arc<ClientConfig>, scaler: SocketAddr) -> Result<Channel> {
    let connector = TlsConnector::from(config);
    let dial = tower::service_fn(move |_| {
        let connector = connector.clone();
        async move {
            let stream = TcpStream::connect(scaler).await?;
            stream.set_nodelay(true)?;
            let name = ServerName::try_from(format!("{}.keda.svc", names::SERVICE)).map_err(std::io::Error::other)?;
            Ok::<_, std::io::Error>(TokioIo::new(connector.connect(name, stream).await?))
        }
    });
    let endpoint = Endpoint::from_static("https://scaler").timeout(Duration::from_secs(5));
    endpoint
        .connect_with_connector(dial)
        .await
        .context("connecting to the scaler")
}
