//! The documented InferenceSet under load: its first step up comes after the documented window, made by the HPA for the
//! documented reason.

use std::time::Duration;

use anyhow::{Result, ensure};
use jiff::Timestamp;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::cases::objects::Kind;
use keda_kaito_e2e::cases::observer::Observer;
use keda_kaito_e2e::cases::{expect, running, times};
use serde_json::json;

const DOCUMENT: &str = include_str!("../../fixtures/kaito/kaito_inferenceset_phi_4_mini.yaml");
const NAME: &str = "phi-4-mini";
const HPA: &str = "keda-hpa-phi-4-mini";
const UP_WINDOW: Duration = Duration::from_secs(60);
/// The bed's HPA controller looks every 2 s, and later on a busy machine: its last low recommendation may be as much older than
/// the load.
const HPA_SYNC: Duration = Duration::from_secs(10);

#[tokio::test]
async fn the_documented_inferenceset_grows_after_its_window_as_v1alpha1() -> Result<()> {
    let bed = running::bed().await?;
    let outcome = grows(&bed, "default", DOCUMENT).await;
    bed.delete(Kind::INFERENCE_SET, "default", NAME).await?;
    outcome
}

#[tokio::test]
async fn the_documented_inferenceset_grows_after_its_window_as_v1beta1() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("first-step", async |namespace| {
        let document = DOCUMENT.replace("kaito.sh/v1alpha1", "kaito.sh/v1beta1");
        let document = document.replace("namespace: default", &format!("namespace: {namespace}"));
        grows(&bed, &namespace, &document).await
    })
    .await
}

async fn grows(bed: &Bed, namespace: &str, document: &str) -> Result<()> {
    bed.fleet.cover([("apps".to_owned(), NAME.to_owned())].into()).await?;
    kubectl(&["apply", "--filename=-"], document).await?;
    let observer = Observer::start(bed, namespace, NAME).await?;
    expect::serving(bed, namespace, NAME, 1).await?;
    expect::metric(bed, namespace, NAME, "s0-vllm:num_requests_waiting", 0.0).await?;
    let loaded = Timestamp::now();
    bed.fleet.set(namespace, NAME, json!({"waiting": 58})).await?;
    eventually(Duration::from_secs(30), "kubectl shows the load", async || {
        let shown = kubectl(&["get", "hpa", HPA, "--namespace", namespace], "").await?;
        Ok(Look::when(shown.contains("58/10 (avg)"), shown))
    })
    .await?;
    let change = observer.next_after(loaded, 2, UP_WINDOW + Duration::from_secs(60)).await?;
    let waited = change.at.duration_since(loaded).unsigned_abs();
    times::note(bed, "first step: 58 waiting to 2 replicas", waited)?;
    ensure!(
        waited + HPA_SYNC >= UP_WINDOW,
        "the step came after {waited:?}, inside the window: {change:?}"
    );
    ensure!(
        change.by.contains("kube-controller-manager"),
        "somebody else made the step: {change:?}"
    );
    let cause = observer.cause(&change).await?;
    ensure!(
        cause.contains("s0-vllm:num_requests_waiting") && cause.contains("above target"),
        "{cause}"
    );
    Ok(())
}
