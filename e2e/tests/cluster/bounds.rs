//! Where the largest count comes from: the annotation first, else the node count limit, followed when they change.

use anyhow::{Result, ensure};
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::annotations::change;
use keda_kaito_e2e::cases::documents::{InferenceSet, annotation};
use keda_kaito_e2e::cases::objects::{Kind, number};
use keda_kaito_e2e::cases::{expect, running, three_nodes};
use serde_json::json;

#[tokio::test]
async fn max_replicas_goes_before_the_node_count_limit_and_both_are_followed() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("bounds", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").node_count_limit(5).annotated(&[
            ("auto-provision", "true"),
            ("threshold", "10"),
            ("max-replicas", "3"),
            ("min-replicas", "-2"),
        ]);
        set.create(&bed).await?;
        has_bounds(&bed, &namespace, 1, 3).await?;
        change(
            &bed,
            &namespace,
            "phi",
            &[("max-replicas", None), ("min-replicas", Some("2"))],
        )
        .await?;
        has_bounds(&bed, &namespace, 2, 5).await?;
        limit(&bed, &namespace, 4).await?;
        has_bounds(&bed, &namespace, 2, 4).await?;
        change(&bed, &namespace, "phi", &[("max-replicas", Some("9"))]).await?;
        has_bounds(&bed, &namespace, 2, 9).await?;

        change(&bed, &namespace, "phi", &[("max-replicas", None)]).await?;
        has_bounds(&bed, &namespace, 2, 4).await?;
        limit(&bed, &namespace, 1).await?;
        let min = annotation("min-replicas");
        let words = [min.as_str(), "maximum of 1"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "InvalidReplicaRange", &words).await?;
        has_bounds(&bed, &namespace, 2, 4).await?;
        limit(&bed, &namespace, 6).await?;
        has_bounds(&bed, &namespace, 2, 6).await
    })
    .await
}

#[tokio::test]
async fn an_inferenceset_without_a_bound_is_provisioned_once_it_has_one() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("unbounded", async |namespace| {
        let set = InferenceSet::new(&namespace, "phi").annotated(&[("auto-provision", "true"), ("threshold", "10")]);
        set.create(&bed).await?;
        let max = annotation("max-replicas");
        let words = [max.as_str(), "spec.nodeCountLimit"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "InvalidAutoscalePolicy", &words).await?;
        ensure!(
            bed.is_absent(Kind::SCALED_OBJECT, &namespace, "phi").await?,
            "provisioned without a bound"
        );
        limit(&bed, &namespace, 4).await?;
        has_bounds(&bed, &namespace, 1, 4).await
    })
    .await
}

#[tokio::test]
async fn a_limit_that_holds_not_one_replica_is_said_to_be_too_small() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("too-small", async |namespace| {
        let nodes = three_nodes::prepare(&bed, &namespace).await?;
        let set = InferenceSet::new(&namespace, "phi")
            .on_nodes(&nodes)
            .node_count_limit(2)
            .annotated(&[("auto-provision", "true"), ("threshold", "10")]);
        set.create(&bed).await?;
        eventually(expect::KAITO_WITHIN, "KAITO counts the nodes of a replica", async || {
            let workspaces = bed.list(Kind::WORKSPACE, &namespace).await?;
            let counts: Vec<_> = workspaces.iter().map(|one| number(one, "/status/targetNodeCount")).collect();
            Ok(Look::when(counts.contains(&Some(3)), counts))
        })
        .await?;
        let words = ["spec.nodeCountLimit", "2", "3"];
        expect::event(&bed, &namespace, Kind::INFERENCE_SET, "phi", "NodeCountLimitTooSmall", &words).await?;
        ensure!(
            bed.is_absent(Kind::SCALED_OBJECT, &namespace, "phi").await?,
            "provisioned without room"
        );
        limit(&bed, &namespace, 7).await?;
        has_bounds(&bed, &namespace, 1, 2).await
    })
    .await
}

async fn limit(bed: &Bed, namespace: &str, nodes: u32) -> Result<()> {
    let patch = json!({"spec": {"nodeCountLimit": nodes}});
    bed.patch(Kind::INFERENCE_SET, namespace, "phi", &patch).await?;
    Ok(())
}

async fn has_bounds(bed: &Bed, namespace: &str, min: i64, max: i64) -> Result<()> {
    let what = format!("ScaledObject and HPA have the bounds {min} to {max}");
    eventually(expect::KAITO_WITHIN, &what, async || {
        let object = bed.get(Kind::SCALED_OBJECT, namespace, "phi").await?;
        let hpa = bed.get(Kind::HPA, namespace, "keda-hpa-phi").await?;
        let shown = [
            number(&object, "/spec/minReplicaCount"),
            number(&object, "/spec/maxReplicaCount"),
            number(&hpa, "/spec/minReplicas"),
            number(&hpa, "/spec/maxReplicas"),
        ];
        Ok(Look::when(shown == [min, max, min, max].map(Some), shown))
    })
    .await?;
    Ok(())
}
