//! ScaledObjects that users wrote themselves, as the documentation's manual mode has them.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::{Timestamp, ToSpan, tz::TimeZone};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::{Kind, number};
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{expect, running};
use serde_json::{Value, json};

const WAITING: &str = "s0-vllm:num_requests_waiting";

#[tokio::test]
async fn a_scaledobject_by_hand_works_beside_a_cron_trigger() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("cron", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi");
        set.create(&bed).await?;
        bed.fleet.set(&namespace, "phi", json!({"waiting": 4})).await?;
        let observer = Observer::start(&bed, &namespace, "phi").await?;
        let begun = Timestamp::now();
        // Every key the reference's documentation names in manual mode.
        let ours = trigger(
            &namespace,
            "phi",
            &json!({
                "scalerName": "keda-kaito-scaler", "metricName": "vllm:num_requests_waiting", "threshold": "10",
                "metricProtocol": "http", "metricPort": "80", "metricPath": "/metrics", "scrapeTimeout": "3s",
            }),
        );
        let object = swift_scaled_object(&namespace, "phi", 1, 4, &[ours, cron_now(3)?]);
        bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;

        observer.next_after(begun, 3, Duration::from_secs(60)).await?;
        expect::serving(&bed, &namespace, "phi", 3).await?;
        expect::metric(&bed, &namespace, "phi", WAITING, 12.0).await?;
        let quiet = Timestamp::now();
        expect::holds(&observer, quiet, Duration::from_secs(10)).await?;

        // The larger of the two wants counts, up to the maximum.
        let busy = Timestamp::now();
        bed.fleet.set(&namespace, "phi", json!({"waiting": 20})).await?;
        observer.next_after(busy, 4, Duration::from_secs(60)).await?;
        expect::serving(&bed, &namespace, "phi", 4).await?;
        expect::metric(&bed, &namespace, "phi", WAITING, 80.0).await?;

        // The schedule keeps three when nobody asks.
        let idle = Timestamp::now();
        bed.fleet.set(&namespace, "phi", json!({"waiting": 0})).await?;
        observer.next_after(idle, 3, Duration::from_secs(60)).await?;
        expect::serving(&bed, &namespace, "phi", 3).await?;
        expect::metric(&bed, &namespace, "phi", WAITING, 0.0).await?;
        expect::holds(&observer, Timestamp::now(), Duration::from_secs(10)).await
    })
    .await
}

/// A cron trigger that wants so many replicas from an hour ago to an hour from now.
fn cron_now(replicas: u32) -> Result<Value> {
    let at = |hours: i64| {
        let time = Timestamp::now().checked_add(hours.hours())?.to_zoned(TimeZone::UTC);
        Ok::<_, anyhow::Error>(format!("{} {} * * *", time.minute(), time.hour()))
    };
    Ok(json!({"type": "cron", "metadata": {
        "timezone": "UTC", "start": at(-1)?, "end": at(1)?, "desiredReplicas": replicas.to_string(),
    }}))
}

#[tokio::test]
async fn a_histogram_by_hand_is_the_mean_over_its_window() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("windowed", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").replicas(2);
        set.create(&bed).await?;
        let stream = json!({"queue_time_rate": {"seconds": 4.0, "per_second": 2.0}});
        bed.fleet.set(&namespace, "phi", stream).await?;
        expect::serving(&bed, &namespace, "phi", 2).await?;
        let ours = trigger(
            &namespace,
            "phi",
            &json!({
                "metricName": "vllm:request_queue_time_seconds", "threshold": "2",
                "aggregation": "windowed-avg", "metricCacheWindow": "15", "metricSource": "modelpod",
            }),
        );
        let object = swift_scaled_object(&namespace, "phi", 2, 2, &[ours]);
        bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
        expect::metric(&bed, &namespace, "phi", "s0-vllm:request_queue_time_seconds", 4.0).await
    })
    .await
}

#[tokio::test]
async fn another_namespaces_inferenceset_cannot_be_read() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("owner", async |owner| {
        let set = InferenceSet::new(&owner, "phi");
        set.create(&bed).await?;
        bed.with_namespace("spy", async |spy| {
            bed.create(Kind::INFERENCE_SET, &spy, &InferenceSet::new(&spy, "phi").document())
                .await?;
            let metadata = json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"});
            let theirs = trigger(&owner, "phi", &metadata);
            let object = swift_scaled_object(&spy, "phi", 1, 4, &[theirs]);
            bed.create(Kind::SCALED_OBJECT, &spy, &object).await?;
            expect::event(
                &bed,
                &spy,
                Kind::SCALED_OBJECT,
                "phi",
                "KEDAScalerFailed",
                &["inferenceSetNamespace"],
            )
            .await?;
            let set = bed.get(Kind::INFERENCE_SET, &spy, "phi").await?;
            ensure!(number(&set, "/spec/replicas") == Some(1), "it was scaled");
            Ok(())
        })
        .await
    })
    .await
}

#[tokio::test]
async fn an_unknown_inferenceset_and_a_wrong_key_are_said_to_the_user() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("wrong", async |namespace| {
        for (name, metadata, words) in [
            ("typo", json!({"inferenceSetName": "phj", "threshold": "10"}), "phj"),
            ("port", json!({"metricPort": "80@10.0.0.1", "threshold": "10"}), "metricPort"),
            ("nan", json!({"threshold": "NaN"}), "threshold"),
        ] {
            bed.create(
                Kind::INFERENCE_SET,
                &namespace,
                &InferenceSet::new(&namespace, name).document(),
            )
            .await?;
            let object = swift_scaled_object(&namespace, name, 1, 4, &[trigger(&namespace, name, &metadata)]);
            bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
            expect::event(&bed, &namespace, Kind::SCALED_OBJECT, name, "KEDAScalerFailed", &[words]).await?;
        }
        Ok(())
    })
    .await
}

/// Two ways to the same number, both of which users look at.
#[tokio::test]
async fn the_hpa_shows_the_value_the_metrics_api_gives() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("shown", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").replicas(2);
        set.create(&bed).await?;
        expect::serving(&bed, &namespace, "phi", 2).await?;
        bed.fleet.set(&namespace, "phi", json!({"waiting": 7})).await?;
        let ours = trigger(
            &namespace,
            "phi",
            &json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"}),
        );
        let object = swift_scaled_object(&namespace, "phi", 2, 4, &[ours]);
        bed.create(Kind::SCALED_OBJECT, &namespace, &object).await?;
        expect::metric(&bed, &namespace, "phi", WAITING, 14.0).await?;
        shows(&bed, &namespace, "7/10 (avg)").await
    })
    .await
}

async fn shows(bed: &Bed, namespace: &str, targets: &str) -> Result<()> {
    eventually(
        Duration::from_secs(20),
        &format!("kubectl get hpa shows {targets}"),
        async || {
            let shown = keda_kaito_e2e::keda::targets(&keda_kaito_e2e::keda::hpa(&bed.client, namespace, "phi").await?);
            Ok(Look::when(shown == targets, shown))
        },
    )
    .await?;
    Ok(())
}
