//! The documents tests create: an InferenceSet as KAITO's documentation has it, a ScaledObject as a user writes it.

use std::collections::BTreeMap;

use anyhow::Result;
use serde_json::{Value, json};

use super::expect::KAITO_WITHIN;
use super::objects::Kind;
use crate::bed::{Bed, Look, eventually};

/// A policy of a gauge and a histogram, as the annotation holds it; the histogram is kept for a round.
pub const TWO_METRICS: &str = "
- name: vllm:num_requests_waiting
  type: gauge
  upthreshold: 10
  downthreshold: 2
- name: vllm:request_queue_time_seconds
  type: histogram
  upthreshold: 5
  downthreshold: 1
  metriccachewindow: 15
";

/// An InferenceSet of a preset that needs one node per replica, on nodes of its own.
#[derive(Clone, Debug)]
pub struct InferenceSet {
    pub namespace: String,
    pub name: String,
    pub replicas: u32,
    pub node_count_limit: Option<u32>,
    pub annotations: BTreeMap<String, String>,
    /// The label by which its nodes are found, `apps=<this>`.
    pub nodes: String,
}

impl InferenceSet {
    #[must_use]
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            replicas: 1,
            node_count_limit: None,
            annotations: BTreeMap::new(),
            nodes: "shared".to_owned(),
        }
    }

    /// With so many replicas.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        self.replicas = replicas;
        self
    }

    #[must_use]
    pub fn node_count_limit(mut self, limit: u32) -> Self {
        self.node_count_limit = Some(limit);
        self
    }

    /// With annotations under the scaler's prefix.
    #[must_use]
    pub fn annotated(mut self, annotations: &[(&str, &str)]) -> Self {
        for (key, value) in annotations {
            self.annotations.insert(annotation(key), (*value).to_owned());
        }
        self
    }

    #[must_use]
    pub fn on_nodes(mut self, label: &str) -> Self {
        label.clone_into(&mut self.nodes);
        self
    }

    /// Creates it and waits until KAITO has marked it: with that mark KAITO writes back all the annotations it had read
    /// before, so that one changed in between would be lost.
    ///
    /// # Errors
    /// The API server's, or when KAITO takes longer than three minutes.
    pub async fn create(&self, bed: &Bed) -> Result<Value> {
        // KAITO does not watch nodes: without one at its first look it backs off for longer and longer.
        let labels = [("apps".to_owned(), self.nodes.clone())].into();
        bed.fleet.cover(labels).await?;
        let created = bed.create(Kind::INFERENCE_SET, &self.namespace, &self.document()).await?;
        eventually(KAITO_WITHIN, "KAITO marks the InferenceSet", async || {
            let set = bed.get(Kind::INFERENCE_SET, &self.namespace, &self.name).await?;
            let marks =
                ["hash", "revision"].map(|mark| set.pointer(&format!("/metadata/annotations/inferenceset.kaito.io~1{mark}")));
            Ok(Look::when(marks.iter().all(Option::is_some), marks.map(|mark| mark.cloned())))
        })
        .await?;
        Ok(created)
    }

    #[must_use]
    pub fn document(&self) -> Value {
        let mut document = json!({
            "apiVersion": Kind::INFERENCE_SET.api_version(), "kind": "InferenceSet",
            "metadata": {"name": self.name, "namespace": self.namespace, "annotations": self.annotations},
            "spec": {
                "replicas": self.replicas,
                "labelSelector": {"matchLabels": {"apps": self.nodes}},
                "template": {
                    "resource": {"instanceType": "Standard_NC24ads_A100_v4"},
                    "inference": {"preset": {"name": "phi-4-mini-instruct", "accessMode": "public"}},
                },
            },
        });
        if let (Some(limit), Some(spec)) = (self.node_count_limit, document.get_mut("spec").and_then(Value::as_object_mut)) {
            spec.insert("nodeCountLimit".to_owned(), json!(limit));
        }
        document
    }
}

/// An annotation's whole name.
#[must_use]
pub fn annotation(key: &str) -> String {
    format!("scaledobject.kaito.sh/{key}")
}

/// A trigger of the scaler under test with this metadata beside what every one has.
#[must_use]
pub fn trigger(namespace: &str, inferenceset: &str, metadata: &Value) -> Value {
    let mut all = json!({
        "inferenceSetName": inferenceset, "inferenceSetNamespace": namespace,
        "scalerAddress": "keda-kaito-scaler-svc.keda.svc.cluster.local:10450", "enableTLS": "true",
    });
    if let (Some(all), Some(more)) = (all.as_object_mut(), metadata.as_object()) {
        all.extend(more.clone());
    }
    json!({
        "type": "external", "metricType": "AverageValue", "metadata": all,
        "authenticationRef": {"name": "keda-kaito-scaler-creds", "kind": "ClusterTriggerAuthentication"},
    })
}

/// A ScaledObject written by hand that lets every answer act at once: no stabilization, no limit per step.
#[must_use]
pub fn swift_scaled_object(namespace: &str, inferenceset: &str, min: u32, max: u32, triggers: &[Value]) -> Value {
    let rules = json!({
        "stabilizationWindowSeconds": 0, "selectPolicy": "Max",
        "policies": [{"type": "Pods", "value": 1000, "periodSeconds": 1}],
    });
    json!({
        "apiVersion": Kind::SCALED_OBJECT.api_version(), "kind": "ScaledObject",
        "metadata": {"name": inferenceset, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {
                "apiVersion": Kind::INFERENCE_SET.api_version(), "kind": "InferenceSet", "name": inferenceset,
            },
            "pollingInterval": 5, "minReplicaCount": min, "maxReplicaCount": max,
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": rules, "scaleDown": rules}}},
            "triggers": triggers,
        },
    })
}
