//! What part of a fleet does not say costs no replica, and costs no other tenant time. The policy dialect with short windows
//! and cooldowns, so that a wrong answer would act within a minute.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::documents::{InferenceSet, TWO_METRICS, swift_scaled_object, trigger};
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{expect, running, times};
use serde_json::json;

/// A true answer acts within this time: window, cooldown, some rounds of scraping, and a busy machine.
const ACTS_WITHIN: Duration = Duration::from_secs(120);
/// Longer than every window of the policy together.
const HELD: Duration = Duration::from_secs(60);
/// Time from a load to its step where nobody hangs: a scrape, a poll by the HPA, and a busy machine. Waiting for fifteen dead
/// targets one after the other would alone take as long.
const STEP_WITHIN: Duration = Duration::from_secs(45);

#[tokio::test]
async fn half_the_fleet_hanging_for_five_minutes_under_load_costs_no_replica() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("half-hangs", async |namespace| {
        let observer = busy(&bed, &namespace, 4).await?;
        let begun = Timestamp::now();
        let pods = bed.fleet.pods_of(&namespace, "phi").await?;
        for pod in pods.iter().take(2) {
            let hung = json!({"waiting": 15, "fault": {"kind": "hang"}});
            bed.fleet.set_pod(&namespace, &pod.name, hung).await?;
        }
        expect::holds(&observer, begun, Duration::from_secs(120)).await?;
        // Those that answer have nothing to do any more; what the others have is still above the threshold.
        for pod in pods.iter().skip(2) {
            bed.fleet.set_pod(&namespace, &pod.name, load(0.0, 0.1)).await?;
        }
        expect::holds(&observer, begun, Duration::from_secs(182)).await?;
        let silent = pods.iter().take(2).filter_map(|pod| pod.workspace.as_deref());
        expect::warning(&bed, &namespace, "ReplicaSilent", &silent.collect::<Vec<_>>()).await?;

        for pod in &pods {
            bed.fleet
                .set_pod(
                    &namespace,
                    &pod.name,
                    json!({"waiting": null, "fault": null, "queue_time_rate": null}),
                )
                .await?;
        }
        observer.unchanged_since(begun)?;
        falls(&bed, &namespace, &observer, 3).await
    })
    .await
}

#[tokio::test]
async fn one_of_three_busy_replicas_restarting_does_not_shrink_the_set() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("one-restarts", async |namespace| {
        let observer = busy(&bed, &namespace, 3).await?;
        let pods = bed.fleet.pods_of(&namespace, "phi").await?;
        let begun = Timestamp::now();
        for pod in pods.iter().take(1) {
            bed.fleet.restart(&namespace, &pod.name).await?;
        }
        expect::holds(&observer, begun, HELD).await?;
        expect::serving(&bed, &namespace, "phi", 3).await?;
        observer.unchanged_since(begun)?;
        falls(&bed, &namespace, &observer, 2).await
    })
    .await
}

#[tokio::test]
async fn fifteen_hanging_pods_of_one_tenant_delay_no_other_tenants_step() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("hanging-tenant", async |dead| {
        let set = InferenceSet::new(&dead, "dead").replicas(15);
        set.create(&bed).await?;
        expect::serving(&bed, &dead, "dead", 15).await?;
        bed.fleet.set(&dead, "dead", json!({"fault": {"kind": "hang"}})).await?;
        scaled_by_sum(&bed, &dead, "dead", 15).await?;

        bed.with_namespace("other-tenant", async |namespace| {
            bed.fleet.set(&namespace, "phi", json!({"waiting": 10})).await?;
            InferenceSet::new(&namespace, "phi").create(&bed).await?;
            let observer = Observer::start(&bed, &namespace, "phi").await?;
            expect::serving(&bed, &namespace, "phi", 1).await?;
            scaled_by_sum(&bed, &namespace, "phi", 5).await?;
            expect::metric(&bed, &namespace, "phi", "s0-vllm:num_requests_waiting", 10.0).await?;
            // By now each of the dead has been given up several times.
            expect::warning(&bed, &dead, "MetricsUnavailable", &["15 silent"]).await?;
            expect::scraped(&bed, &namespace, "phi", 6).await?;

            let busy = Timestamp::now();
            bed.fleet.set(&namespace, "phi", json!({"waiting": 15})).await?;
            let step = observer.next_after(busy, 2, STEP_WITHIN).await?;
            let took = step.at.duration_since(busy).unsigned_abs();
            times::note(&bed, "a step beside fifteen hanging pods of another tenant", took)
        })
        .await
    })
    .await
}

/// A provisioned fleet whose load lies between the thresholds.
async fn busy(bed: &Bed, namespace: &str, replicas: u32) -> Result<Observer> {
    bed.fleet.set(namespace, "phi", load(5.0, 3.0)).await?;
    let set = InferenceSet::new(namespace, "phi").replicas(replicas).annotated(&[
        ("auto-provision", "true"),
        ("max-replicas", "6"),
        ("metrics", TWO_METRICS),
        ("evaluationwindow", "5"),
        ("scaleupcooldown", "20"),
        ("scaledowncooldown", "20"),
    ]);
    set.create(bed).await?;
    let observer = Observer::start(bed, namespace, "phi").await?;
    expect::serving(bed, namespace, "phi", replicas.into()).await?;
    expect::desired(bed, namespace, "phi", replicas).await?;
    // Every window is full.
    expect::scraped(bed, namespace, "phi", 5).await?;
    observer.unchanged_since(Timestamp::UNIX_EPOCH)?;
    Ok(observer)
}

/// With nothing to do and everybody heard, the count falls: the test before it could have failed.
async fn falls(bed: &Bed, namespace: &str, observer: &Observer, to: i64) -> Result<()> {
    let idle = Timestamp::now();
    bed.fleet.set(namespace, "phi", load(0.0, 0.1)).await?;
    let step = observer.next_after(idle, to, ACTS_WITHIN).await?;
    ensure!(step.from == to + 1, "more than one step at once: {step:?}");
    Ok(())
}

fn load(waiting: f64, queued: f64) -> serde_json::Value {
    json!({"waiting": waiting, "queue_time_rate": {"seconds": queued, "per_second": 4.0}})
}

async fn scaled_by_sum(bed: &Bed, namespace: &str, name: &str, max: u32) -> Result<()> {
    let sum = json!({"metricName": "vllm:num_requests_waiting", "threshold": "10"});
    let object = swift_scaled_object(namespace, name, 1, max, &[trigger(namespace, name, &sum)]);
    bed.create(Kind::SCALED_OBJECT, namespace, &object).await?;
    Ok(())
}
