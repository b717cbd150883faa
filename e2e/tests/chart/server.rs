//! What the API server says to every object of every render: each field known, each value valid, each pod within Pod
//! Security's "restricted".
#![expect(
    clippy::indexing_slicing,
    reason = "a field that is missing is null, and the check then fails"
)]

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::kubectl::kubectl;
use keda_kaito_e2e::chart::{objects, scenarios};
use serde_json::{Value, json};

/// prometheus-operator's kinds are not served in a bed.
const FOREIGN: &str = "monitoring.coreos.com/";

/// Refuses pods that are not "restricted", and says so of templates.
const RESTRICTED: [&str; 2] = ["pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/warn"];

#[tokio::test]
async fn every_object_passes_strict_validation_and_every_pod_is_restricted() -> Result<()> {
    let bed = Bed::from_env().await?;
    for scenario in scenarios()? {
        bed.with_namespace("render", async |namespace| {
            let labels = RESTRICTED.map(|label| format!("{label}=restricted"));
            kubectl(&["label", "namespace", &namespace, &labels[0], &labels[1]], "").await?;
            let mut all = objects(&scenario.render().await?)?;
            all.retain(|object| !object["apiVersion"].as_str().unwrap_or_default().starts_with(FOREIGN));
            let pods: Vec<Value> = all.iter().filter_map(pod_of).collect();
            ensure!(scenario.only.is_some() || !pods.is_empty(), "no pods");
            for object in all.iter_mut().chain(&mut pods.clone()) {
                // Namespaces of the render need not exist.
                if !object["metadata"]["namespace"].is_null() {
                    object["metadata"]["namespace"] = json!(namespace);
                }
            }
            let list = |items: Vec<Value>| json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
            let moved = |mut pod: Value| {
                pod["metadata"]["namespace"] = json!(namespace);
                pod
            };
            let all: Vec<Value> = all.into_iter().chain(pods.into_iter().map(moved)).collect();
            let apply = [
                "apply",
                "--server-side",
                "--dry-run=server",
                "--validate=strict",
                "--warnings-as-errors",
                "--field-manager=chart-test",
                "--force-conflicts",
                "--filename=-",
            ];
            kubectl(&apply, &list(all)).await.map(drop)
        })
        .await
        .with_context(|| scenario.name.clone())?;
    }
    Ok(())
}

#[tokio::test]
async fn pod_with_more_than_the_chart_asks_for_would_be_refused() -> Result<()> {
    let bed = Bed::from_env().await?;
    bed.with_namespace("render", async |namespace| {
        let label = format!("{}=restricted", RESTRICTED[0]);
        kubectl(&["label", "namespace", &namespace, &label], "").await?;
        let scenario = scenarios()?
            .into_iter()
            .find(|scenario| scenario.name == "default")
            .context("no default")?;
        let rendered = objects(&scenario.render().await?)?;
        let mut pod = rendered.iter().find_map(pod_of).context("no pods")?;
        pod["metadata"]["namespace"] = json!(namespace);
        pod["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({"add": ["NET_ADMIN"]});
        let refused = kubectl(&["create", "--dry-run=server", "--filename=-"], &pod.to_string()).await;
        let message = format!("{:#}", refused.err().context("it was accepted")?);
        ensure!(message.contains("restricted") && message.contains("NET_ADMIN"), "{message}");
        Ok(())
    })
    .await
}

/// The pod that a Deployment makes.
fn pod_of(object: &Value) -> Option<Value> {
    (object["kind"] == "Deployment").then(|| {
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": object["metadata"]["name"],
                "namespace": "default",
                "labels": object["spec"]["template"]["metadata"]["labels"],
            },
            "spec": object["spec"]["template"]["spec"],
        })
    })
}
