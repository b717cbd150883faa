//! ScaledObjects as released versions of the Go reference rendered them, recorded from an API server: served as they are,
//! and taken over in place, without deleting the HPA.

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::{Bed, Look, eventually};
use keda_kaito_e2e::cases::annotations::change;
use keda_kaito_e2e::cases::documents::InferenceSet;
use keda_kaito_e2e::cases::objects::{Kind, condition, text};
use keda_kaito_e2e::cases::{expect, running};
use kube::api::{DynamicObject, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

const SIMPLE: (&str, &str) = (
    include_str!("../../../crates/core/tests/fixtures/reference/v0.5.1/inferencesets.yaml"),
    include_str!("../../../crates/core/tests/fixtures/reference/v0.5.1/scaledobjects.yaml"),
);
const POLICY: (&str, &str) = (
    include_str!("../../../crates/core/tests/fixtures/reference/v0.6.2/inferencesets.yaml"),
    include_str!("../../../crates/core/tests/fixtures/reference/v0.6.2/scaledobjects.yaml"),
);
const WAITING: &str = "vllm:num_requests_waiting";

#[tokio::test]
async fn a_simple_scaledobject_of_the_reference_is_served_as_it_is() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("served-simple", async |namespace| {
        as_rendered(&bed, &namespace, SIMPLE, "phi-4-simple").await?;
        bed.fleet.set(&namespace, "phi-4-simple", json!({"waiting": 6})).await?;
        expect::metric(&bed, &namespace, "phi-4-simple", &format!("s0-{WAITING}"), 6.0).await
    })
    .await
}

#[tokio::test]
async fn a_composite_scaledobject_of_the_reference_is_served_as_it_is() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("served-policy", async |namespace| {
        let name = "phi-4-single";
        as_rendered(&bed, &namespace, POLICY, name).await?;
        // The reference's formula: 0.5 below 1 waiting, 1 up to 10, 2 above, if the gate is open.
        for (waiting, composite) in [(0.0, 0.5), (6.0, 1.0), (30.0, 2.0)] {
            bed.fleet.set(&namespace, name, json!({"waiting": waiting})).await?;
            expect::metric(&bed, &namespace, name, "composite-metric", composite).await?;
        }
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_simple_scaledobject_of_the_reference_is_taken_over_in_place() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("upgrade-simple", async |namespace| {
        let taken = taken_over(&bed, &namespace, SIMPLE, "phi-4-simple").await?;
        let trigger = |pointer: &str| taken.pointer(&format!("/spec/triggers/0/{pointer}")).cloned();
        ensure!(trigger("metadata/threshold") == Some(json!("10")), "{taken:#}");
        ensure!(trigger("metadata/enableTLS") == Some(json!("true")), "{taken:#}");
        Ok(())
    })
    .await
}

#[tokio::test]
async fn a_composite_scaledobject_of_the_reference_is_taken_over_in_place() -> Result<()> {
    let bed = running::bed().await?;
    bed.with_namespace("upgrade-policy", async |namespace| {
        let taken = taken_over(&bed, &namespace, POLICY, "phi-4-multi").await?;
        let triggers = taken.pointer("/spec/triggers").and_then(Value::as_array).map(Vec::len);
        ensure!(triggers == Some(1), "old triggers survive: {taken:#}");
        let formula = taken.pointer("/spec/advanced/scalingModifiers/formula");
        ensure!(formula.is_none(), "the old formula survives: {taken:#}");
        expect::desired(&bed, &namespace, "phi-4-multi", 2).await
    })
    .await
}

/// Creates a recorded pair as the reference left it, but as the user's own: without the annotation that makes it ours.
async fn as_rendered(bed: &Bed, namespace: &str, recorded: (&str, &str), name: &str) -> Result<Value> {
    let set = InferenceSet::new(namespace, name);
    let set = set.create(bed).await?;
    let mut object = moved(find(recorded.1, name)?, namespace, text(&set, "/metadata/uid"));
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    write_as_reference(bed, Kind::SCALED_OBJECT, namespace, object).await
}

/// Creates a recorded pair with everything the reference's users had, and waits until the object is ours alone.
async fn taken_over(bed: &Bed, namespace: &str, recorded: (&str, &str), name: &str) -> Result<Value> {
    let set = find(recorded.0, name)?;
    // The annotations come last, as if our provisioner had been started after the reference had gone.
    let annotations = set.pointer("/metadata/annotations").and_then(Value::as_object);
    let annotations: Vec<_> = annotations
        .context("no annotations")?
        .iter()
        .map(|(key, value)| (key.strip_prefix("scaledobject.kaito.sh/"), value.as_str()))
        .map(|(key, value)| Some((key?.to_owned(), value?.to_owned())))
        .collect::<Option<_>>()
        .context("an annotation that is not the scaler's")?;
    let set = InferenceSet::new(namespace, name).node_count_limit(5);
    let set = set.create(bed).await?;
    let object = moved(find(recorded.1, name)?, namespace, text(&set, "/metadata/uid"));
    let mut mine = object.clone();
    if let Some(metadata) = mine.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        metadata.remove("annotations");
    }
    write_as_reference(bed, Kind::SCALED_OBJECT, namespace, mine).await?;
    let before = hpa_of(bed, namespace, name).await?;

    let changes: Vec<_> = annotations
        .iter()
        .map(|(key, value)| (key.as_str(), Some(value.as_str())))
        .collect();
    change(bed, namespace, name, &changes).await?;
    let managed = json!({"metadata": {"annotations": {names::MANAGED_BY: names::MANAGED_BY_VALUE}}});
    bed.patch(Kind::SCALED_OBJECT, namespace, name, &managed).await?;
    let taken = eventually(expect::KAITO_WITHIN, "the object is ours", async || {
        let object = bed.get(Kind::SCALED_OBJECT, namespace, name).await?;
        let ours = manages(&object, names::PROVISIONER_FIELD_MANAGER);
        let theirs = manages(&object, names::REFERENCE_FIELD_MANAGER);
        // The fields are handed over before they are written.
        let written = text(&object, "/spec/triggers/0/name") == names::TRIGGER_NAME
            && text(&object, "/spec/triggers/0/metadata/enableTLS") == "true"
            && text(&object, "/spec/scaleTargetRef/apiVersion") == Kind::INFERENCE_SET.api_version();
        Ok(Look::when(ours && !theirs && written, object))
    })
    .await?;
    let version = text(&taken, "/spec/scaleTargetRef/apiVersion");
    eventually(expect::KAITO_WITHIN, "the HPA follows", async || {
        let hpa = bed.get(Kind::HPA, namespace, &format!("keda-hpa-{name}")).await?;
        let same = text(&hpa, "/metadata/uid") == text(&before, "/metadata/uid");
        ensure!(same, "the HPA was deleted on the way");
        let shown = text(&hpa, "/spec/scaleTargetRef/apiVersion").to_owned();
        Ok(Look::when(
            shown == version && condition(&hpa, "ScalingActive") == "True",
            shown,
        ))
    })
    .await?;
    Ok(taken)
}

async fn hpa_of(bed: &Bed, namespace: &str, name: &str) -> Result<Value> {
    eventually(expect::KAITO_WITHIN, "KEDA makes the HPA", async || {
        bed.get(Kind::HPA, namespace, &format!("keda-hpa-{name}"))
            .await
            .map(Look::Met)
    })
    .await
}

/// Whether the manager owns any field of the object's spec.
fn manages(object: &Value, manager: &str) -> bool {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let specs = |entry: &Value| entry.pointer("/fieldsV1/f:spec").is_some() && text(entry, "/manager") == manager;
    entries.into_iter().flatten().any(specs)
}

fn find(yaml: &str, name: &str) -> Result<Value> {
    for document in serde_yaml::Deserializer::from_str(yaml) {
        let object = Value::deserialize(document)?;
        if text(&object, "/metadata/name") == name {
            return Ok(object);
        }
    }
    anyhow::bail!("{name} is not recorded")
}

/// The recorded object as a new one in another namespace, owned by another InferenceSet.
fn moved(object: Value, namespace: &str, owner: &str) -> Value {
    let text = object.to_string().replace("\"default\"", &format!("\"{namespace}\""));
    let mut object: Value = serde_json::from_str(&text).unwrap_or(object);
    if let Some(all) = object.as_object_mut() {
        all.remove("status");
    }
    if let Some(metadata) = object.pointer_mut("/metadata").and_then(Value::as_object_mut) {
        for key in [
            "uid",
            "resourceVersion",
            "creationTimestamp",
            "generation",
            "managedFields",
            "finalizers",
            "labels",
        ] {
            metadata.remove(key);
        }
    }
    if let Some(uid) = object.pointer_mut("/metadata/ownerReferences/0/uid") {
        *uid = json!(owner);
    }
    object
}

async fn write_as_reference(bed: &Bed, kind: Kind, namespace: &str, object: Value) -> Result<Value> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let params = PostParams {
        field_manager: Some(names::REFERENCE_FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    };
    let created = bed
        .api(kind, namespace)
        .create(&params, &object)
        .await
        .context("creating as the reference")?;
    Ok(serde_json::to_value(created)?)
}
