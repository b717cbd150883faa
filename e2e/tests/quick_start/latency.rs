//! How soon an annotation becomes a ScaledObject, an HPA and a value that KEDA hands out, as seen by somebody who watches.
//! Figures go to the bed's notes; what is asserted is that the provisioner adds little to what the API server takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::StreamExt;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation};
use keda_kaito_e2e::cases::objects::{Kind, text};
use keda_kaito_e2e::cases::{expect, running, times};
use keda_kaito_e2e::keda::external_metric;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

const SETS: usize = 15;
const METRIC: &str = "s0-vllm:num_requests_waiting";
const DEADLINE: Duration = Duration::from_secs(20);
/// KEDA allows itself 20 requests a second and 30 at once: after this, what it does for one ScaledObject waits for none of them.
const REST: Duration = Duration::from_secs(2);

/// When each object of a kind was first seen.
#[derive(Default)]
struct Sights {
    seen: Mutex<HashMap<String, Instant>>,
    news: Notify,
}

impl Sights {
    async fn of(&self, name: &str) -> Result<Instant> {
        let look = async {
            loop {
                let news = self.news.notified();
                let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).get(name).copied();
                match seen {
                    Some(at) => return at,
                    None => news.await,
                }
            }
        };
        timeout(DEADLINE, look).await.with_context(|| format!("{name} was not seen"))
    }
}

fn watch(bed: &Bed, kind: Kind, namespace: &str, tasks: &mut JoinSet<()>) -> Arc<Sights> {
    let sights = Arc::new(Sights::default());
    let noted = Arc::clone(&sights);
    let stream = watcher(bed.api(kind, namespace), watcher::Config::default())
        .default_backoff()
        .applied_objects();
    tasks.spawn(async move {
        let mut stream = std::pin::pin!(stream);
        while let Some(next) = stream.next().await {
            let Some(name) = next.ok().and_then(|object: DynamicObject| object.metadata.name) else {
                continue;
            };
            let mut seen = noted.seen.lock().unwrap_or_else(PoisonError::into_inner);
            seen.entry(name).or_insert_with(Instant::now);
            drop(seen);
            noted.news.notify_waiters();
        }
    });
    sights
}

/// One InferenceSet: from the annotation's way to the API server on.
struct Times {
    /// The API server's answer to the annotation.
    answered: Duration,
    scaled_object: Duration,
    hpa: Duration,
    value: Duration,
}

#[tokio::test]
async fn an_annotation_soon_becomes_a_scaledobject_an_hpa_and_a_value() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("latency", async |namespace| {
        let names: Vec<String> = (0..SETS).map(|number| format!("set-{number}")).collect();
        for name in &names {
            InferenceSet::new(&namespace, name).create(&bed).await?;
        }
        for name in &names {
            expect::serving(&bed, &namespace, name, 1).await?;
        }
        let mut tasks = JoinSet::new();
        let objects = watch(&bed, Kind::SCALED_OBJECT, &namespace, &mut tasks);
        let hpas = watch(&bed, Kind::HPA, &namespace, &mut tasks);
        let mut all = Vec::new();
        for name in &names {
            sleep(REST).await;
            all.push(measure(&bed, &namespace, name, &objects, &hpas).await?);
        }
        let mut bare = Vec::new();
        for name in &names {
            bare.push(apply_twin(&bed, &namespace, name, &objects).await?);
        }
        let pick = |pick: fn(&Times) -> Duration| percentiles(all.iter().map(pick).collect());
        let (answered, object, hpa, value) = (
            pick(|times| times.answered),
            pick(|times| times.scaled_object),
            pick(|times| times.hpa),
            pick(|times| times.value),
        );
        let bare = percentiles(bare);
        let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        for (what, (middle, worst)) in [
            ("annotation to the API server's answer", answered),
            ("annotation to ScaledObject", object),
            ("annotation to HPA", hpa),
            ("annotation to a value through KEDA", value),
            ("for comparison, a ScaledObject applied directly", bare),
        ] {
            times::note(&bed, &format!("latency: {what}, p50 (load {})", load.trim()), middle)?;
            times::note(&bed, &format!("latency: {what}, worst"), worst)?;
        }
        ensure!(
            object.0 < 20 * bare.0 + Duration::from_millis(100),
            "the provisioner takes {:?} for what takes {:?}",
            object.0,
            bare.0
        );
        Ok(())
    })
    .await
}

async fn measure(bed: &Bed, namespace: &str, name: &str, objects: &Sights, hpas: &Sights) -> Result<Times> {
    let patch = json!({"metadata": {"annotations": {
        annotation("auto-provision"): "true", annotation("threshold"): "10", annotation("max-replicas"): "3",
    }}});
    let begun = Instant::now();
    bed.patch(Kind::INFERENCE_SET, namespace, name, &patch).await?;
    let answered = begun.elapsed();
    let scaled_object = objects.of(name).await? - begun;
    let hpa = hpas.of(&format!("keda-hpa-{name}")).await? - begun;
    let readable = async {
        while external_metric(&bed.client, namespace, name, METRIC).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(DEADLINE, readable).await.context("no value")?;
    let value = begun.elapsed();
    Ok(Times {
        answered,
        scaled_object,
        hpa,
        value,
    })
}

/// What the API server and KEDA's webhook take to apply such a ScaledObject, and somebody to see it: the same object under
/// another name and for a target that nobody scales, applied from here.
async fn apply_twin(bed: &Bed, namespace: &str, name: &str, objects: &Sights) -> Result<Duration> {
    let mut twin = bed.get(Kind::SCALED_OBJECT, namespace, name).await?;
    let twin_name = format!("{name}-twin");
    let spec = twin.get_mut("spec").map(Value::take).context("no spec")?;
    let mut twin = json!({
        "apiVersion": text(&twin, "/apiVersion"), "kind": "ScaledObject",
        "metadata": {"name": twin_name, "namespace": namespace, "annotations": {"autoscaling.keda.sh/paused": "true"}},
        "spec": spec,
    });
    for pointer in ["/spec/scaleTargetRef/name", "/spec/triggers/0/metadata/inferenceSetName"] {
        *twin.pointer_mut(pointer).context("no target")? = json!(twin_name);
    }
    if let Some(advanced) = twin.pointer_mut("/spec/advanced").and_then(Value::as_object_mut) {
        advanced.remove("scalingModifiers");
    }
    let object: DynamicObject = serde_json::from_value(twin)?;
    let begun = Instant::now();
    let params = PatchParams::apply("e2e-twin");
    bed.api(Kind::SCALED_OBJECT, namespace)
        .patch(&twin_name, &params, &Patch::Apply(&object))
        .await?;
    let took = objects.of(&twin_name).await? - begun;
    bed.delete(Kind::SCALED_OBJECT, namespace, &twin_name).await?;
    eventually(DEADLINE, "the twin is gone", async || {
        Ok(Look::when(
            bed.is_absent(Kind::SCALED_OBJECT, namespace, &twin_name).await?,
            (),
        ))
    })
    .await?;
    Ok(took)
}

/// The middle and the largest.
fn percentiles(mut times: Vec<Duration>) -> (Duration, Duration) {
    times.sort_unstable();
    let middle = times.get(times.len() / 2).copied().unwrap_or_default();
    (middle, times.last().copied().unwrap_or_default())
}
