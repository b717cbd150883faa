//! Two scalers with little more memory than they need, and a caller with KEDA's credentials who makes one of them hold more
//! than that: calls whose messages never end, on many connections.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::{once, pending};
use http_body_util::StreamBody;
use hyper::body::Frame;
use keda_kaito_e2e::bed::{Look, eventually};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tonic::body::Body;
use tower::ServiceExt;

use crate::calls;
use crate::pods;
use crate::release::{HIGHLY_AVAILABLE, NAMESPACE, Release, credentials};
use crate::shell::kubectl;
use crate::{SCALER_PODS, SOON};

/// Enough for a start, for scrapes and for KEDA's calls.
const LITTLE: [&str; 2] = ["scaler.resources.limits.memory=32Mi", "scaler.resources.requests.memory=32Mi"];
/// Together they would keep some 60 MB.
const CONNECTIONS: usize = 64;
const CALLS: usize = 16;
/// Just under what the scaler takes of one message.
const MESSAGE: usize = 60_000;
const CALL: &str = "https://scaler/externalscaler.ExternalScaler/GetMetrics";
/// Scrapes are 15 s apart.
const HEARD_WITHIN: Duration = Duration::from_secs(45);

struct Pod {
    name: String,
    address: SocketAddr,
}

pub(crate) async fn exhausted() -> Result<()> {
    Release::installed(&[HIGHLY_AVAILABLE, LITTLE].concat()).await?;
    let before = credentials().await?;
    pods::quick_start().await?;
    pods::set_waiting(3).await?;
    pods::metric(3.0, HEARD_WITHIN).await?;

    let [victim, other] = two_scalers().await?;
    let load = load(&calls::connector().await?, victim.address);
    eventually(SOON, "the kernel ends a scaler that is out of memory", async || {
        let state = terminated(&victim.name).await?;
        Ok(Look::when(state.starts_with("OOMKilled 137"), state))
    })
    .await?;
    drop(load);

    // KEDA is told what is the case now.
    pods::set_waiting(6).await?;
    pods::metric(6.0, HEARD_WITHIN).await?;
    let of_other = terminated(&other.name).await?;
    ensure!(of_other.is_empty(), "the other replica ended too: {of_other}");
    eventually(SOON, "the one that was killed serves again", async || {
        let ready = crate::ready(crate::SCALER).await?;
        Ok(Look::when(ready == "2", ready))
    })
    .await?;
    ensure!(credentials().await? == before, "the credentials changed");
    Ok(())
}

/// Calls to this replica until they are dropped.
fn load(connector: &TlsConnector, address: SocketAddr) -> JoinSet<Result<()>> {
    let mut tasks = JoinSet::new();
    for _ in 0..CONNECTIONS {
        tasks.spawn(endless_calls(connector.clone(), address));
    }
    tasks
}

async fn endless_calls(connector: TlsConnector, address: SocketAddr) -> Result<()> {
    loop {
        let Ok(channel) = calls::channel(connector.clone(), address.to_string()).await else {
            // It is about to end, or has.
            tokio::time::sleep(Duration::from_millis(200)).await;
            continue;
        };
        let mut answers = JoinSet::new();
        for _ in 0..CALLS {
            let request = http::Request::post(CALL)
                .header("content-type", "application/grpc")
                .header("te", "trailers")
                .body(Body::new(unfinished()))?;
            answers.spawn(channel.clone().oneshot(request));
        }
        while answers.join_next().await.is_some() {}
    }
}

/// A message that lacks its last bytes, for ever.
fn unfinished() -> StreamBody<impl futures::Stream<Item = Result<Frame<Bytes>, Infallible>> + Send + 'static> {
    let mut message = vec![0];
    message.extend_from_slice(&u32::try_from(MESSAGE + 1).unwrap_or(u32::MAX).to_be_bytes());
    message.resize(message.len() + MESSAGE, 0);
    let first = once(async { Ok(Frame::data(Bytes::from(message))) });
    StreamBody::new(first.chain(pending()))
}

async fn two_scalers() -> Result<[Pod; 2]> {
    eventually(SOON, "two scalers and none that is ending", async || {
        let list = kubectl(&["get", "pods", "-n", NAMESPACE, "-l", SCALER_PODS, "-o", "json"]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let pods = list.pointer("/items").and_then(Value::as_array).context("no list")?;
        let found: Vec<Pod> = pods.iter().filter_map(pod).collect();
        Ok(match <[Pod; 2]>::try_from(found) {
            Ok(two) if pods.len() == 2 => Look::Met(two),
            _ => Look::NotYet(format!("{} pods", pods.len())),
        })
    })
    .await
}

fn pod(object: &Value) -> Option<Pod> {
    let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
    Some(Pod {
        name: text("/metadata/name")?.to_owned(),
        address: SocketAddr::new(text("/status/podIP")?.parse().ok()?, 10450),
    })
}

/// Why the kubelet last had to start the pod's container anew, and its exit code; empty if it never had to.
async fn terminated(pod: &str) -> Result<String> {
    let state = ".status.containerStatuses[0].lastState.terminated";
    let path = format!("jsonpath={{{state}.reason}} {{{state}.exitCode}}");
    let text = kubectl(&["get", "pod", pod, "-n", NAMESPACE, "-o", &path]).await?;
    Ok(text.trim().to_owned())
}
