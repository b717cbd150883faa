//! What is valid and will not work out: said in an Event while everything is provisioned as asked.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation};
use keda_kaito_e2e::cases::objects::{Kind, number};
use keda_kaito_e2e::cases::{expect, running};
use kube::api::{Patch, PatchParams};
use serde_json::json;

const SOON: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_threshold_beyond_every_server_and_a_maximum_beyond_the_nodes_are_warned_of() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("beyond", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").node_count_limit(2).annotated(&[
            ("auto-provision", "true"),
            ("threshold", "5000"),
            ("max-replicas", "3"),
        ]);
        set.create(&bed).await?;
        let (threshold, max) = (annotation("threshold"), annotation("max-replicas"));
        let words = [threshold.as_str(), "\"5000\"", "never passed", "429"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "ThresholdUnreachable", &words).await?;
        let words = [max.as_str(), "3 replicas", "spec.nodeCountLimit, 2"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "NodeCountLimitExceeded", &words).await?;
        eventually(SOON, "it is provisioned all the same", async || {
            let object = bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await?;
            let max = number(&object, "/spec/maxReplicaCount");
            Ok(Look::when(max == Some(3), max))
        })
        .await?;
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_gitops_tool_that_undoes_the_hpa_is_named() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("gitops", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&[
            ("auto-provision", "true"),
            ("threshold", "10"),
            ("max-replicas", "3"),
        ]);
        set.create(&bed).await?;
        eventually(SOON, "it is provisioned", async || {
            bed.get(Kind::SCALED_OBJECT, &namespace, "phi").await.map(Look::Met)
        })
        .await?;
        let events = bed.list(Kind::EVENT, &namespace).await?;
        ensure!(!format!("{events:?}").contains("ReplicasContested"), "there is no fight yet");
        // As the HPA writes, and as a tool that applies what is in Git.
        for _ in 0..3 {
            scale(&bed, &namespace, 2).await?;
            restore(&bed, &namespace).await?;
        }
        let words = ["spec.replicas", "\"gitops-tool\"", "undo each other"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "ReplicasContested", &words).await?;
        Ok(())
    })
    .await
}

async fn scale(bed: &Bed, namespace: &str, replicas: u32) -> Result<()> {
    let patch = json!({"spec": {"replicas": replicas}});
    let api = bed.api(Kind::INFERENCE_SET, namespace);
    api.patch_scale("phi", &PatchParams::default(), &Patch::Merge(&patch))
        .await
        .context("scaling")?;
    seen(bed, namespace, replicas).await
}

async fn restore(bed: &Bed, namespace: &str) -> Result<()> {
    let mut object = InferenceSet::new(namespace, "phi").document();
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(serde_json::Value::as_object_mut) {
        metadata.remove("annotations");
    }
    let params = PatchParams::apply("gitops-tool").force();
    let api = bed.api(Kind::INFERENCE_SET, namespace);
    api.patch("phi", &params, &Patch::Apply(&object)).await.context("applying")?;
    seen(bed, namespace, 1).await
}

/// Changes that nobody has seen are none: the provisioner's watch is given the time KAITO's takes.
async fn seen(bed: &Bed, namespace: &str, replicas: u32) -> Result<()> {
    eventually(SOON, "KAITO has seen the count", async || {
        let set = bed.get(Kind::INFERENCE_SET, namespace, "phi").await?;
        let shown = number(&set, "/status/replicas");
        Ok(Look::when(shown == Some(replicas.into()), shown))
    })
    .await?;
    Ok(())
}
