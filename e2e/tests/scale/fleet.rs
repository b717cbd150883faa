//! Thousands of InferenceSets, as KAITO's documentation has them, spread over namespaces.

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::Kind;
use serde_json::json;

/// As many as the API server works off on two cores.
const AT_A_TIME: usize = 32;
/// 5,000 in 200 namespaces.
const PER_NAMESPACE: usize = 25;

/// Where an InferenceSet is.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Creates `count` InferenceSets with `workspaces` Workspaces each, in namespaces that begin with `prefix`.
pub(crate) async fn create(bed: &Bed, prefix: &str, count: usize, workspaces: usize) -> Result<Vec<Place>> {
    let places: Vec<Place> = (0..count)
        .map(|index| Place {
            namespace: format!("{prefix}-{}", index / PER_NAMESPACE),
            name: format!("phi-{}", index % PER_NAMESPACE),
        })
        .collect();
    let firsts = places.iter().step_by(PER_NAMESPACE);
    stream::iter(firsts.map(Ok))
        .try_for_each_concurrent(AT_A_TIME, async |place| {
            let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": place.namespace}});
            bed.create(Kind::NAMESPACE, "", &namespace).await.map(drop)
        })
        .await?;
    let mut created = stream::iter(&places)
        .map(|place| create_one(bed, place, workspaces))
        .buffer_unordered(AT_A_TIME);
    while created.try_next().await?.is_some() {}
    drop(created);
    Ok(places)
}

async fn create_one(bed: &Bed, place: &Place, workspaces: usize) -> Result<()> {
    let Place { namespace, name } = place;
    let set =
        InferenceSet::new(namespace, name).annotated(&[("auto-provision", "true"), ("threshold", "10"), ("max-replicas", "5")]);
    let created = bed.create(Kind::INFERENCE_SET, namespace, &set.document()).await?;
    for index in 0..workspaces {
        let owner = json!({
            "apiVersion": Kind::INFERENCE_SET.api_version(), "kind": "InferenceSet", "name": name,
            "uid": created.pointer("/metadata/uid"), "controller": true, "blockOwnerDeletion": true,
        });
        let workspace = format!("{name}-{index}");
        let document = json!({
            "apiVersion": Kind::WORKSPACE.api_version(), "kind": "Workspace",
            "metadata": {
                "name": workspace, "namespace": namespace, "ownerReferences": [owner],
                "labels": {"inferenceset.kaito.sh/created-by": name},
            },
            "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": name}}},
            "inference": {"preset": {"name": "phi-4-mini-instruct"}},
        });
        bed.create(Kind::WORKSPACE, namespace, &document).await?;
        let status = json!({"status": {"targetNodeCount": 1, "conditions": []}});
        bed.patch_status(Kind::WORKSPACE, namespace, &workspace, &status).await?;
    }
    Ok(())
}
