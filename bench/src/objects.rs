//! A fleet's objects, written straight to the API server: InferenceSets with their Workspaces, pods that are Ready under
//! addresses of their own, and the ScaledObjects our provisioner renders for them.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use keda_kaito_core::crd::{InferenceSet, ScaledObject};
use keda_kaito_core::desired::{RenderOptions, scaled_object};
use keda_kaito_core::names;
use keda_kaito_core::policy::annotations;
use keda_kaito_core::policy::replicas::{Basis, Bounds};
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::Kind;
use serde_json::{Value, json};

const POD: Kind = Kind::new("", "v1", "Pod");
/// As many as the API server works off on two cores.
const AT_A_TIME: usize = 32;
/// The policy of the documentation: a gauge and a histogram over 300 s.
const METRICS: &str = "[{name: 'vllm:num_requests_waiting', type: gauge, upthreshold: 100, downthreshold: 1},\
                        {name: 'vllm:request_queue_time_seconds', type: histogram, upthreshold: 30, downthreshold: 1}]";
const MOST_REPLICAS: u32 = 100;

/// How much there is of everything.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    pub(crate) namespaces: usize,
    /// Per namespace.
    pub(crate) inference_sets: usize,
    /// Per InferenceSet.
    pub(crate) replicas: usize,
}

/// One replica's pod.
#[derive(Clone, Debug)]
pub(crate) struct PodPlace {
    pub(crate) namespace: String,
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
}

/// What was written.
#[derive(Debug, Default)]
pub(crate) struct Fleet {
    pub(crate) scaled_objects: Vec<ScaledObject>,
    pub(crate) pods: Vec<PodPlace>,
}

/// Writes a fleet whose addresses begin at `10.244.<network>.0`.
///
/// # Errors
/// The first object that the API server refuses.
pub(crate) async fn create(bed: &Bed, prefix: &str, network: u8, size: Size) -> Result<Fleet> {
    for namespace in 0..size.namespaces {
        let object = json!({"metadata": {"name": format!("{prefix}-{namespace}")}});
        bed.create(Kind::NAMESPACE, "", &typed(Kind::NAMESPACE, object)).await?;
    }
    let sets = (0..size.namespaces).flat_map(|namespace| (0..size.inference_sets).map(move |set| (namespace, set)));
    let made = stream::iter(sets).map(|(namespace, set)| async move {
        let first = (namespace * size.inference_sets + set) * size.replicas;
        let addresses = (first..first + size.replicas).map(|index| address(network, index)).collect();
        create_set(bed, &format!("{prefix}-{namespace}"), &format!("phi-{set}"), addresses).await
    });
    let mut made = made.buffer_unordered(AT_A_TIME);
    let mut fleet = Fleet::default();
    while let Some((scaled_object, pods)) = made.try_next().await? {
        fleet.scaled_objects.push(scaled_object);
        fleet.pods.extend(pods);
    }
    Ok(fleet)
}

/// Gives a pod another address, as if it had been started anew.
///
/// # Errors
/// The API server's.
pub(crate) async fn move_pod(bed: &Bed, pod: &PodPlace, address: Ipv4Addr) -> Result<()> {
    let status = json!({"status": {"podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}]}});
    bed.patch_status(POD, &pod.namespace, &pod.name, &status).await.map(drop)
}

fn address(network: u8, index: usize) -> Ipv4Addr {
    let index = u32::try_from(index).unwrap_or(u32::MAX);
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 244, network, 0)) + index)
}

async fn create_set(bed: &Bed, namespace: &str, name: &str, addresses: Vec<Ipv4Addr>) -> Result<(ScaledObject, Vec<PodPlace>)> {
    let object = json!({
        "metadata": {"name": name, "annotations": annotations()},
        "spec": {
            "replicas": addresses.len(),
            "labelSelector": {"matchLabels": {"apps": name}},
            "template": {
                "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
                "inference": {"preset": {"name": "phi-4-mini-instruct"}},
            },
        },
    });
    let created = bed
        .create(Kind::INFERENCE_SET, namespace, &typed(Kind::INFERENCE_SET, object))
        .await?;
    let status = json!({"status": {"replicas": addresses.len(), "readyReplicas": addresses.len()}});
    bed.patch_status(Kind::INFERENCE_SET, namespace, name, &status).await?;
    let inference_set: InferenceSet = serde_json::from_value(created)?;

    let mut pods = Vec::with_capacity(addresses.len());
    for (index, address) in addresses.into_iter().enumerate() {
        let workspace = format!("{name}-{index:05}");
        create_replica(bed, namespace, &inference_set, &workspace, address).await?;
        pods.push(PodPlace {
            namespace: namespace.to_owned(),
            name: format!("{workspace}-0"),
            address,
        });
    }
    let rendered = render(&inference_set)?;
    bed.create(Kind::SCALED_OBJECT, namespace, &serde_json::to_value(&rendered)?)
        .await?;
    Ok((rendered, pods))
}

/// Writes one replica; its pod is Ready last.
///
/// # Errors
/// The first object that the API server refuses.
pub(crate) async fn create_replica(
    bed: &Bed,
    namespace: &str,
    set: &InferenceSet,
    workspace: &str,
    address: Ipv4Addr,
) -> Result<()> {
    let set_name = set.metadata.name.as_deref().unwrap_or_default();
    let labels = json!({names::CREATED_BY_LABEL: set_name, names::WORKSPACE_LABEL: workspace});
    let owner = json!({
        "apiVersion": Kind::INFERENCE_SET.api_version(), "kind": Kind::INFERENCE_SET.kind, "name": set_name,
        "uid": set.metadata.uid, "controller": true, "blockOwnerDeletion": true,
    });
    let object = json!({
        "metadata": {"name": workspace, "labels": labels, "ownerReferences": [owner]},
        "resource": {"instanceType": "Standard_NC24ads_A100_v4", "labelSelector": {"matchLabels": {"apps": set_name}}},
        "inference": {"preset": {"name": "phi-4-mini-instruct"}},
    });
    bed.create(Kind::WORKSPACE, namespace, &typed(Kind::WORKSPACE, object))
        .await?;
    let name = format!("{workspace}-0");
    let object = json!({
        "metadata": {"name": name, "labels": labels},
        "spec": {"containers": [{"name": "model", "image": "model"}]},
    });
    bed.create(POD, namespace, &typed(POD, object)).await?;
    bed.patch_status(POD, namespace, &name, &pod_status(address)).await?;
    Ok(())
}

/// An object without its kind, with it.
pub(crate) fn typed(kind: Kind, mut object: Value) -> Value {
    if let Some(fields) = object.as_object_mut() {
        fields.insert("apiVersion".to_owned(), kind.api_version().into());
        fields.insert("kind".to_owned(), kind.kind.into());
    }
    object
}

fn pod_status(address: Ipv4Addr) -> Value {
    let since = "2026-01-01T00:00:00Z";
    json!({"status": {
        "phase": "Running", "podIP": address.to_string(), "podIPs": [{"ip": address.to_string()}],
        "hostIP": "10.243.0.1", "hostIPs": [{"ip": "10.243.0.1"}], "startTime": since,
        "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": since}],
        "containerStatuses": [{
            "name": "model", "image": "model", "imageID": "", "ready": true, "restartCount": 0,
            "containerID": "containerd://model", "state": {"running": {"startedAt": since}},
        }],
    }})
}

fn annotations() -> BTreeMap<String, String> {
    let all = [
        (names::AUTO_PROVISION, "true".to_owned()),
        (names::MAX_REPLICAS, MOST_REPLICAS.to_string()),
        (names::METRICS, METRICS.to_owned()),
    ];
    all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

fn render(inference_set: &InferenceSet) -> Result<ScaledObject> {
    let request = annotations::read(&annotations())
        .request
        .context("the annotations are invalid")?;
    let bounds = Bounds {
        min: request.min_replicas,
        max: MOST_REPLICAS,
        basis: Basis::Annotation,
    };
    let options = RenderOptions {
        scaler_address: "keda-kaito-scaler-svc.keda.svc.cluster.local:10450".to_owned(),
        inference_set_api_version: Kind::INFERENCE_SET.api_version(),
        credential_epoch: Some(1),
        tolerance_in_force: true,
        max_num_seqs: 256,
    };
    let name = inference_set.metadata.name.as_deref().unwrap_or_default();
    Ok(scaled_object(name, inference_set, &request.rule, &bounds, &options))
}
