//! The objects recorded from the reference, and its controller's writes, repeated: a create and an update under its manager.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use keda_kaito_core::names;
use keda_kaito_e2e::bed::Bed;
use keda_kaito_e2e::cases::objects::{Kind, text};
use kube::api::{DynamicObject, PostParams};
use serde::Deserialize;
use serde_json::{Value, json};

const VERSIONS: [(&str, &str); 2] = [
    (
        include_str!("../../../crates/core/tests/fixtures/reference/v0.5.1/inferencesets.yaml"),
        include_str!("../../../crates/core/tests/fixtures/reference/v0.5.1/scaledobjects.yaml"),
    ),
    (
        include_str!("../../../crates/core/tests/fixtures/reference/v0.6.2/inferencesets.yaml"),
        include_str!("../../../crates/core/tests/fixtures/reference/v0.6.2/scaledobjects.yaml"),
    ),
];

/// A pair of objects.
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) node_count_limit: Option<u32>,
    /// Requests waiting at each replica, with which nobody wants more or fewer.
    pub(crate) at_rest: u32,
    /// Whether the scaler has values for it soon: not before a histogram's window is over.
    pub(crate) answered: bool,
    /// The ScaledObject.
    pub(crate) object: Value,
}

impl Recorded {
    /// Both of each version.
    pub(crate) fn all() -> Result<Vec<Self>> {
        let mut all = Vec::new();
        for (sets, objects) in VERSIONS {
            let sets = documents(sets)?;
            for object in documents(objects)? {
                let name = text(&object, "/metadata/name").to_owned();
                let set = sets
                    .iter()
                    .find(|set| text(set, "/metadata/name") == name)
                    .context("no InferenceSet")?;
                let annotations: BTreeMap<String, String> =
                    serde_json::from_value(set.pointer("/metadata/annotations").cloned().unwrap_or_default())?;
                let limit = set.pointer("/spec/nodeCountLimit").and_then(Value::as_u64);
                let answered = !annotations.get(names::METRICS).is_some_and(|list| list.contains("histogram"));
                let threshold = annotations.get(names::THRESHOLD).map(|value| value.parse()).transpose()?;
                all.push(Self {
                    name,
                    annotations: annotations
                        .into_iter()
                        .filter(|(key, _)| key.starts_with(names::ANNOTATION_PREFIX))
                        .collect(),
                    node_count_limit: limit.map(u32::try_from).transpose()?,
                    at_rest: threshold.unwrap_or(5),
                    answered,
                    object,
                });
            }
        }
        ensure!(all.len() == 4, "{} are recorded", all.len());
        Ok(all)
    }

    /// The reference's first write.
    pub(crate) async fn create(&self, bed: &Bed, namespace: &str, owner: &str) -> Result<()> {
        let mut metadata = json!({
            "name": self.name, "namespace": namespace,
            "annotations": self.object.pointer("/metadata/annotations"),
            "ownerReferences": self.object.pointer("/metadata/ownerReferences"),
        });
        *metadata.pointer_mut("/ownerReferences/0/uid").context("no owner")? = json!(owner);
        let object = json!({
            "apiVersion": Kind::SCALED_OBJECT.api_version(), "kind": Kind::SCALED_OBJECT.kind,
            "metadata": metadata, "spec": self.spec(namespace)?,
        });
        let object: DynamicObject = serde_json::from_value(object)?;
        bed.api(Kind::SCALED_OBJECT, namespace)
            .create(&as_reference(), &object)
            .await
            .context("creating as the reference")?;
        Ok(())
    }

    /// The reference's later writes: what it finds, with its own spec.
    pub(crate) async fn write_back(&self, bed: &Bed, namespace: &str) -> Result<()> {
        let api = bed.api(Kind::SCALED_OBJECT, namespace);
        let mut tries = 0;
        loop {
            let mut found = api.get(&self.name).await?;
            *found.data.get_mut("spec").context("no spec")? = self.spec(namespace)?;
            match api.replace(&self.name, &as_reference(), &found).await {
                Ok(_) => return Ok(()),
                // KEDA writes its status meanwhile.
                Err(kube::Error::Api(status)) if status.code == 409 && tries < 10 => tries += 1,
                Err(error) => return Err(error).context("updating as the reference"),
            }
        }
    }

    /// As it is in this namespace.
    pub(crate) fn spec(&self, namespace: &str) -> Result<Value> {
        let spec = self.object.get("spec").context("no spec")?.to_string();
        Ok(serde_json::from_str(
            &spec.replace("\"default\"", &format!("\"{namespace}\"")),
        )?)
    }
}

/// The managers that own fields of the spec.
pub(crate) fn managers_of_spec(object: &Value) -> BTreeSet<&str> {
    let entries = object.pointer("/metadata/managedFields").and_then(Value::as_array);
    let of_spec = entries
        .into_iter()
        .flatten()
        .filter(|entry| entry.pointer("/fieldsV1/f:spec").is_some());
    of_spec.map(|entry| text(entry, "/manager")).collect()
}

fn as_reference() -> PostParams {
    PostParams {
        field_manager: Some(names::REFERENCE_FIELD_MANAGER.to_owned()),
        ..PostParams::default()
    }
}

fn documents(yaml: &str) -> Result<Vec<Value>> {
    let documents = serde_yaml::Deserializer::from_str(yaml);
    documents.map(|document| Ok(Value::deserialize(document)?)).collect()
}
