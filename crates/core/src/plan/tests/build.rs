//! Objects for judgements: an InferenceSet called phi-4 and ScaledObjects around it.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::crd::{InferenceSet, ScaledObject, Workspace};
use crate::desired::RenderOptions;
use crate::plan::{Observation, ScalerState, Verdict, plan};

pub(super) const BASIS: &str = "keda-kaito-scaler.kaito.sh/max-replicas-from";

pub(super) fn options() -> RenderOptions {
    RenderOptions {
        scaler_address: "keda-kaito-scaler-svc.keda.svc.cluster.local:10450".to_owned(),
        inference_set_api_version: "kaito.sh/v1beta1".to_owned(),
        credential_epoch: Some(3),
        tolerance_in_force: true,
        max_num_seqs: 256,
    }
}

#[derive(Clone)]
pub(super) struct InferenceSetBuilder {
    object: InferenceSet,
    nodes: Vec<i32>,
}

impl InferenceSetBuilder {
    pub(super) fn new() -> Self {
        let object = json!({
            "metadata": {
                "name": "phi-4", "namespace": "default", "uid": "u1",
                "annotations": { "scaledobject.kaito.sh/auto-provision": "true", "scaledobject.kaito.sh/threshold": "10" },
            },
            "spec": { "replicas": 1, "nodeCountLimit": 5 },
        });
        Self {
            object: serde_json::from_value(object).unwrap(),
            nodes: vec![1],
        }
    }

    pub(super) fn annotated(mut self, key: &str, value: Option<&str>) -> Self {
        let annotations = self.object.metadata.annotations.as_mut().unwrap();
        let key = format!("scaledobject.kaito.sh/{key}");
        match value {
            Some(value) => annotations.insert(key, value.to_owned()),
            None => annotations.remove(&key),
        };
        self
    }

    pub(super) fn named(mut self, name: &str) -> Self {
        self.object.metadata.name = Some(name.to_owned());
        self
    }

    pub(super) fn nodes(mut self, nodes: &[i32]) -> Self {
        self.nodes = nodes.to_vec();
        self
    }

    pub(super) fn replicas(mut self, replicas: i32) -> Self {
        self.object.spec.replicas = Some(replicas);
        self
    }

    pub(super) fn deleting(mut self) -> Self {
        self.object.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-22T21:00:00Z")).unwrap();
        self
    }

    /// The InferenceSet that a recorded ScaledObject belongs to.
    pub(super) fn reference_of(mut self, live: &ScaledObject) -> Self {
        let owners = live.metadata.owner_references.as_ref().unwrap();
        self.object.metadata.uid = Some(owners[0].uid.clone());
        self
    }

    pub(super) fn judge(&self, scaled_objects: &[&ScaledObject]) -> Verdict {
        self.judge_with(scaled_objects, ScalerState::Serving, &options())
    }

    pub(super) fn judge_with(&self, scaled_objects: &[&ScaledObject], scaler: ScalerState, options: &RenderOptions) -> Verdict {
        let workspaces: Vec<Workspace> = self.nodes.iter().map(|nodes| self.workspace(*nodes)).collect();
        let workspaces: Vec<&Workspace> = workspaces.iter().collect();
        let observation = Observation {
            inference_set: &self.object,
            workspaces: &workspaces,
            scaled_objects,
            scaler,
            contest: None,
        };
        plan(&observation, options)
    }

    fn workspace(&self, nodes: i32) -> Workspace {
        let owner = json!({
            "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi-4",
            "uid": self.object.metadata.uid, "controller": true,
        });
        let workspace = json!({
            "metadata": { "ownerReferences": [owner] }, "status": { "targetNodeCount": nodes },
        });
        serde_json::from_value(workspace).unwrap()
    }
}

/// A bare managed ScaledObject that targets phi-4.
pub(super) fn scaled_object(name: &str) -> ScaledObject {
    serde_json::from_value(json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "resourceVersion": "7",
            "creationTimestamp": "2026-11-22T12:00:00Z",
            "annotations": { "scaledobject.kaito.sh/managed-by": "keda-kaito-scaler" },
        },
        "spec": {
            "scaleTargetRef": { "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi-4" },
            "triggers": [],
        },
    }))
    .unwrap()
}

impl ScaledObject {
    pub(super) fn unmanaged(mut self) -> Self {
        self.metadata.annotations = None;
        self
    }

    pub(super) fn targeting(mut self, api_version: &str, name: &str) -> Self {
        self.spec.scale_target_ref.api_version = Some(api_version.to_owned());
        self.spec.scale_target_ref.name = name.to_owned();
        self
    }

    pub(super) fn owned_by(mut self, kind: &str, name: &str, uid: &str) -> Self {
        let owner = json!([{ "apiVersion": "x/v1", "kind": kind, "name": name, "uid": uid, "controller": true }]);
        self.metadata.owner_references = serde_json::from_value(owner).unwrap();
        self
    }

    pub(super) fn old(mut self) -> Self {
        self.metadata.creation_timestamp = serde_json::from_value(json!("2026-11-01T12:00:00Z")).unwrap();
        self
    }

    pub(super) fn young(mut self) -> Self {
        self.metadata.creation_timestamp = serde_json::from_value(json!("2026-11-23T12:00:00Z")).unwrap();
        self
    }

    pub(super) fn deleting(mut self) -> Self {
        self.metadata.deletion_timestamp = serde_json::from_value(json!("2026-11-22T21:00:00Z")).unwrap();
        self
    }
}

/// What the API server stores when a new object is applied: identity, and our entry in `managedFields`.
pub(super) fn as_stored(mut object: ScaledObject) -> ScaledObject {
    object.metadata.uid = Some("so1".to_owned());
    object.metadata.resource_version = Some("7".to_owned());
    object.metadata.creation_timestamp = serde_json::from_value(json!("2026-11-22T12:00:00Z")).unwrap();
    let keyed = |map: Value| -> Value {
        let pairs = map.as_object().unwrap().keys().map(|key| (format!("f:{key}"), json!({})));
        Value::Object(pairs.collect())
    };
    let annotations = keyed(serde_json::to_value(&object.metadata.annotations).unwrap());
    let fields = json!({
        "f:metadata": { "f:annotations": annotations, "f:ownerReferences": { r#"k:{"uid":"u1"}"#: {} } },
        "f:spec": fields_of(&serde_json::to_value(&object.spec).unwrap()),
    });
    object.metadata.managed_fields = serde_json::from_value(json!([{
        "manager": "keda-kaito-provisioner", "operation": "Apply", "apiVersion": "keda.sh/v1alpha1",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }]))
    .unwrap();
    object
}

/// Makes our manager the owner of one more field of the spec.
pub(super) fn own(object: &mut ScaledObject, field: &str) {
    let entry = &mut object.metadata.managed_fields.as_mut().unwrap()[0];
    entry.fields_v1.as_mut().unwrap().0["f:spec"][field] = json!({});
}

fn fields_of(value: &Value) -> Value {
    let Value::Object(map) = value else { return json!({}) };
    Value::Object(
        map.iter()
            .map(|(key, value)| (format!("f:{key}"), fields_of(value)))
            .collect(),
    )
}

/// The objects recorded from the reference, with the names of their InferenceSets.
pub(super) fn reference() -> Vec<(ScaledObject, String)> {
    let recorded = [
        include_str!("../../../tests/fixtures/reference/v0.5.1/scaledobjects.yaml"),
        include_str!("../../../tests/fixtures/reference/v0.6.2/scaledobjects.yaml"),
    ];
    let documents = recorded.into_iter().flat_map(serde_yaml::Deserializer::from_str);
    let objects = documents.map(|document| ScaledObject::deserialize(document).unwrap());
    objects
        .map(|object| (object.clone(), object.metadata.name.unwrap()))
        .collect()
}
