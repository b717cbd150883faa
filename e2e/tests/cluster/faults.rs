//! What goes wrong while scraping never lowers the count. Every answer acts at once here: no stabilization, no limit per
//! step. Each test ends by showing that a true answer downwards does act.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{expect, running};
use serde_json::{Value, json};

const WAITING: &str = "vllm:num_requests_waiting";
const QUEUE_TIME: &str = "vllm:request_queue_time_seconds";
const REPLICAS: u32 = 3;
/// Until every sample is stale (two intervals and a timeout) and as long again.
const FAULT: Duration = Duration::from_secs(50);
const HEALED: Duration = Duration::from_secs(90);

#[tokio::test]
async fn pods_that_refuse_keep_the_count() -> Result<()> {
    fault("refuse", async |bed, namespace, observer| {
        let begun = Timestamp::now();
        bed.fleet.set(namespace, "phi", json!({"fault": {"kind": "refuse"}})).await?;
        expect::holds(observer, begun, FAULT).await?;
        expect::warning(bed, namespace, "MetricsUnavailable", &[]).await
    })
    .await
}

#[tokio::test]
async fn one_pod_that_hangs_keeps_the_count_and_is_named() -> Result<()> {
    fault("hang", async |bed, namespace, observer| {
        let pods = bed.fleet.pods_of(namespace, "phi").await?;
        let begun = Timestamp::now();
        for pod in pods.iter().take(1) {
            bed.fleet
                .set_pod(namespace, &pod.name, json!({"fault": {"kind": "hang"}}))
                .await?;
        }
        expect::holds(observer, begun, FAULT).await?;
        // What the others say would be one replica, and the silent one may be what keeps them idle.
        bed.fleet.set(namespace, "phi", json!({"waiting": 0})).await?;
        // It is named after five minutes.
        expect::holds(observer, begun, Duration::from_secs(290)).await?;
        let workspace = pods.first().and_then(|pod| pod.workspace.clone()).unwrap_or_default();
        expect::warning(bed, namespace, "ReplicaSilent", &[&workspace]).await?;
        for pod in pods.iter().take(1) {
            bed.fleet.set_pod(namespace, &pod.name, json!({"fault": null})).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn pages_without_the_metric_keep_the_count_and_the_nearest_name_is_told() -> Result<()> {
    fault("missing", async |bed, namespace, observer| {
        let begun = Timestamp::now();
        bed.fleet
            .set(namespace, "phi", json!({"fault": {"kind": "missing", "names": [WAITING]}}))
            .await?;
        expect::holds(observer, begun, FAULT).await?;
        expect::warning(bed, namespace, "MetricNotFound", &[WAITING]).await
    })
    .await
}

#[tokio::test]
async fn garbage_truncated_and_slow_pages_keep_the_count() -> Result<()> {
    fault("garbage", async |bed, namespace, observer| {
        let begun = Timestamp::now();
        for fault in [
            json!({"kind": "garbage"}),
            json!({"kind": "truncate", "bytes": 200}),
            json!({"kind": "status", "code": 500}),
            json!({"kind": "drip", "bytes": 1, "every_ms": 100}),
            json!({"kind": "body", "text": "vllm:num_requests_waiting{} -5\n"}),
            json!({"kind": "body", "text": "vllm:num_requests_waiting{} NaN\n"}),
            json!({"kind": "huge", "bytes": 200_000_000}),
        ] {
            bed.fleet.set(namespace, "phi", json!({"fault": fault})).await?;
            expect::holds(observer, begun, Duration::from_secs(20)).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_replica_that_still_downloads_its_model_counts_as_busy() -> Result<()> {
    fault("download", async |bed, namespace, observer| {
        // The choice for the set is for the pod to come; those that run keep what they had.
        for pod in bed.fleet.pods_of(namespace, "phi").await? {
            let settled = json!({"cold_start_ms": 0, "download_ms": 0});
            bed.fleet.set_pod(namespace, &pod.name, settled).await?;
        }
        let loading = json!({"cold_start_ms": 600_000, "download_ms": 600_000});
        bed.fleet.set(namespace, "phi", loading).await?;
        let busy = Timestamp::now();
        bed.fleet.set(namespace, "phi", json!({"waiting": 13})).await?;
        observer.next_after(busy, 4, HEALED).await?;
        bed.fleet.set(namespace, "phi", json!({"waiting": 10})).await?;
        // 30 waiting on four replicas would be three, if the fourth were idle and not on its way.
        expect::holds(observer, Timestamp::now(), FAULT).await?;
        bed.fleet
            .set(namespace, "phi", json!({"cold_start_ms": null, "download_ms": null}))
            .await?;
        expect::serving(bed, namespace, "phi", 4).await
    })
    .await
}

#[tokio::test]
async fn counters_that_start_again_keep_the_count() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("reset", async |namespace| {
        let stream = json!({"queue_time_rate": {"seconds": 15.0, "per_second": 4.0}});
        bed.fleet.set(&namespace, "phi", stream).await?;
        let windowed = json!({
            "metricName": QUEUE_TIME, "threshold": "5", "aggregation": "windowed-avg", "metricCacheWindow": "15",
        });
        let observer = at_target(&bed, &namespace, &windowed, QUEUE_TIME, 15.0).await?;
        let begun = Timestamp::now();
        for pod in bed.fleet.pods_of(&namespace, "phi").await? {
            bed.fleet.restart(&namespace, &pod.name).await?;
        }
        expect::holds(&observer, begun, FAULT).await?;
        expect::metric(&bed, &namespace, "phi", &format!("s0-{QUEUE_TIME}"), 15.0).await?;
        let idle = Timestamp::now();
        let stream = json!({"queue_time_rate": {"seconds": 0.5, "per_second": 4.0}});
        bed.fleet.set(&namespace, "phi", stream).await?;
        falls(&observer, idle).await
    })
    .await
}

/// Three replicas exactly at target, then `test`, then all is well again and nobody waits: the count must fall.
async fn fault(stem: &str, test: impl AsyncFnOnce(&Bed, &str, &Observer) -> Result<()>) -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace(stem, async |namespace| {
        bed.fleet.set(&namespace, "phi", json!({"waiting": 10})).await?;
        let sum = json!({"metricName": WAITING, "threshold": "10"});
        let observer = at_target(&bed, &namespace, &sum, WAITING, 30.0).await?;
        test(&bed, &namespace, &observer).await?;
        let idle = Timestamp::now();
        bed.fleet.set(&namespace, "phi", json!({"fault": null, "waiting": 0})).await?;
        falls(&observer, idle).await
    })
    .await
}

async fn at_target(bed: &Bed, namespace: &str, metadata: &Value, metric: &str, value: f64) -> Result<Observer> {
    let set = InferenceSet::new(namespace, "phi").replicas(REPLICAS);
    set.create(bed).await?;
    let observer = Observer::start(bed, namespace, "phi").await?;
    expect::serving(bed, namespace, "phi", REPLICAS.into()).await?;
    let object = swift_scaled_object(namespace, "phi", 1, 5, &[trigger(namespace, "phi", metadata)]);
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    expect::metric(bed, namespace, "phi", &format!("s0-{metric}"), value).await?;
    observer.unchanged_since(Timestamp::UNIX_EPOCH)?;
    Ok(observer)
}

/// Down to the minimum, by whatever way: replicas are scraped one after the other.
async fn falls(observer: &Observer, since: Timestamp) -> Result<()> {
    let what = "a true answer downwards acts";
    eventually(HEALED, what, async || {
        let changes = observer.since(since);
        Ok(Look::when(changes.last().is_some_and(|change| change.to == 1), changes))
    })
    .await?;
    Ok(())
}
