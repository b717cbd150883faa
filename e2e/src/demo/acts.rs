//! The two acts: what is applied, which load is driven, when each ends. They judge nothing; `verdict` does.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use serde_json::json;

use super::follow::Follower;
use super::story::Story;
use crate::bed::{Bed, Look, eventually};
use crate::cases::objects::{Kind, condition, number, text};
use crate::cases::observer::{Change, Observer};
use crate::keda;

const NAMESPACE: &str = "default";
const DOCUMENTED: &str = include_str!("../../../deploy/samples/phi-4-mini.yaml");
/// One replica serves 8 requests at a time, each for 2 s: 4 a second.
const REPLICA_SERVES: f64 = 4.0;
const COLD_START_MS: u64 = 5_000;

/// What an act did, for the verdict.
#[derive(Clone, Debug)]
pub(super) struct Act {
    pub(super) title: &'static str,
    /// The counts `spec.replicas` should have gone through.
    pub(super) expected: Vec<i64>,
    /// `annotation -> …` and how long it took.
    pub(super) latencies: Vec<(&'static str, Duration)>,
    pub(super) changes: Vec<Change>,
    /// When the act began, on the story's clock and the wall's.
    pub(super) begun: (Duration, jiff::Timestamp),
}

/// The documentation's InferenceSet under a load that keeps 58 requests waiting until help arrives.
pub(super) async fn documented(bed: &Bed, story: &Arc<Story>) -> Result<Act> {
    let name = "phi-4-mini";
    let begun = (story.elapsed(), jiff::Timestamp::now());
    prepare(bed, name).await?;
    let latencies = provision(bed, story, name, DOCUMENTED, "s0-vllm:num_requests_waiting").await?;
    let observer = Observer::start(bed, NAMESPACE, name).await?;
    let follower = Follower::start(bed, story, NAMESPACE, name);

    await_ready(bed, name, 1).await?;
    story.tell("load: more requests than one replica can serve, until 58 wait; then just enough to keep them waiting");
    bed.fleet.rate(NAMESPACE, name, REPLICA_SERVES + 4.0).await?;
    await_waiting(bed, name, "58 requests wait", |waiting| waiting >= 58.0).await?;
    bed.fleet.rate(NAMESPACE, name, REPLICA_SERVES).await?;
    story.tell("the window is 60 s: one busy minute buys a GPU, one busy moment does not");
    await_replicas(&observer, 2, Duration::from_secs(180)).await?;
    await_ready(bed, name, 2).await?;
    await_waiting(bed, name, "the queue is short again", |waiting| waiting <= 10.0).await?;
    bed.fleet.rate(NAMESPACE, name, 0.0).await?;
    drop(follower);
    Ok(Act {
        title: "documented, simple dialect",
        expected: vec![1, 2],
        latencies,
        changes: observer.changes(),
        begun,
    })
}

/// The policy dialect: a rush that needs three replicas, then almost nothing.
pub(super) async fn policy(bed: &Bed, story: &Arc<Story>) -> Result<Act> {
    let name = "phi-4-policy";
    let begun = (story.elapsed(), jiff::Timestamp::now());
    prepare(bed, name).await?;
    let latencies = provision(bed, story, name, &policy_document(name)?, "s0-desired-replicas").await?;
    let observer = Observer::start(bed, NAMESPACE, name).await?;
    let follower = Follower::start(bed, story, NAMESPACE, name);

    await_ready(bed, name, 1).await?;
    story.tell("load: 10 requests a second; one replica serves 4");
    bed.fleet.rate(NAMESPACE, name, 10.0).await?;
    await_replicas(&observer, 3, Duration::from_secs(240)).await?;
    await_ready(bed, name, 3).await?;
    story.tell("load: 1 request a second");
    bed.fleet.rate(NAMESPACE, name, 1.0).await?;
    await_replicas(&observer, 1, Duration::from_secs(420)).await?;
    drop(follower);
    Ok(Act {
        title: "policy dialect, short cooldowns",
        expected: vec![1, 2, 3, 2, 1],
        latencies,
        changes: observer.changes(),
        begun,
    })
}

fn policy_document(name: &str) -> Result<String> {
    let metrics = "- {name: 'vllm:num_requests_waiting', type: gauge, upthreshold: 10, downthreshold: 2}\n\
                   - {name: 'vllm:request_queue_time_seconds', type: histogram, upthreshold: 2, downthreshold: 1, metriccachewindow: 30}\n";
    let document = json!({
        "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet",
        "metadata": {"name": name, "annotations": {
            "scaledobject.kaito.sh/auto-provision": "true",
            "scaledobject.kaito.sh/max-replicas": "3",
            "scaledobject.kaito.sh/metrics": metrics,
            "scaledobject.kaito.sh/evaluationwindow": "15",
            "scaledobject.kaito.sh/scaleupcooldown": "30",
            "scaledobject.kaito.sh/scaledowncooldown": "30",
        }},
        "spec": {
            "replicas": 1,
            "labelSelector": {"matchLabels": {"apps": name}},
            "template": {
                "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
                "inference": {"preset": {"name": "phi-4-mini-instruct", "accessMode": "public"}},
            },
        },
    });
    Ok(serde_yaml::to_string(&document)?)
}

/// The node and the model behind the replicas, before the InferenceSet is there.
async fn prepare(bed: &Bed, name: &str) -> Result<()> {
    bed.fleet
        .cover([("apps".to_owned(), name.to_owned())].into_iter().collect())
        .await?;
    let behind = json!({"service": {"concurrency": 8, "seconds": 2.0}, "rate": 0.0, "cold_start_ms": COLD_START_MS});
    bed.fleet.set(NAMESPACE, name, behind).await.map(|_| ())
}

async fn provision(bed: &Bed, story: &Story, name: &str, yaml: &str, metric: &str) -> Result<Vec<(&'static str, Duration)>> {
    let applied = Instant::now();
    bed.apply(NAMESPACE, yaml).await.context("applying the InferenceSet")?;
    let mut latencies = Vec::new();
    let mut reached = |what: &'static str| {
        latencies.push((what, applied.elapsed()));
        story.tell(&format!("{what} after {:.2} s", applied.elapsed().as_secs_f64()));
    };
    let soon = Duration::from_secs(60);
    eventually(soon, "the ScaledObject is there", async || {
        Ok(Look::when(!bed.is_absent(Kind::SCALED_OBJECT, NAMESPACE, name).await?, ()))
    })
    .await?;
    reached("annotation -> ScaledObject");
    eventually(soon, "the HPA is there", async || {
        keda::hpa(&bed.client, NAMESPACE, name).await.map(|_| Look::Met(()))
    })
    .await?;
    reached("annotation -> HPA");
    eventually(soon, "the metric has a value", async || {
        let value = keda::external_metric(&bed.client, NAMESPACE, name, metric).await?;
        Ok(Look::Met(value))
    })
    .await?;
    reached("annotation -> metric readable");
    eventually(soon, "the HPA says that the metric is valid", async || {
        let hpa = bed.get(Kind::HPA, NAMESPACE, &format!("keda-hpa-{name}")).await?;
        let scaled_object = bed.get(Kind::SCALED_OBJECT, NAMESPACE, name).await?;
        let valid = condition(&hpa, "ScalingActive") == "True" && condition(&scaled_object, "Ready") == "True";
        Ok(Look::when(valid, text(&hpa, "/metadata/name").to_owned()))
    })
    .await?;
    reached("annotation -> HPA with a valid metric");
    Ok(latencies)
}

async fn await_ready(bed: &Bed, name: &str, replicas: i64) -> Result<()> {
    let what = format!("{name} has {replicas} ready replicas");
    eventually(Duration::from_secs(90), &what, async || {
        let set = bed.get(Kind::INFERENCE_SET, NAMESPACE, name).await?;
        let ready = number(&set, "/status/readyReplicas").unwrap_or(0);
        Ok(Look::when(ready >= replicas, ready))
    })
    .await
    .map(|_| ())
}

async fn await_waiting(bed: &Bed, name: &str, what: &str, enough: impl Fn(f64) -> bool) -> Result<()> {
    eventually(Duration::from_secs(120), what, async || {
        let pods = bed.fleet.pods_of(NAMESPACE, name).await?;
        let waiting: f64 = pods.iter().map(|pod| pod.waiting).sum();
        Ok(Look::when(enough(waiting), waiting))
    })
    .await
    .map(|_| ())
}

async fn await_replicas(observer: &Observer, replicas: i64, within: Duration) -> Result<()> {
    let what = format!("spec.replicas is {replicas}");
    eventually(within, &what, async || {
        let current = observer.current()?;
        Ok(Look::when(current == replicas, current))
    })
    .await
    .map(|_| ())
}
