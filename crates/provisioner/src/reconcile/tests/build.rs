//! Objects and a reconciler for scripted reconciliations.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use keda_kaito_core::crd::{InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::desired::RenderOptions;
use keda_kaito_core::plan::{Observation, Plan, ScalerState, plan};
use keda_kaito_runtime::events::Recorder;
use keda_kaito_runtime::metrics::SharedRegistry;
use keda_kaito_runtime::pace::Pace;
use kube::Client;
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::cluster::{Snapshot, key_of};
use crate::metrics::Metrics;
use crate::reconcile::{Memory, Reconciler, Task};

pub(crate) const OBJECT: &str = "/apis/keda.sh/v1alpha1/namespaces/default/scaledobjects/phi-4";
pub(crate) const EVENTS: &str = "/apis/events.k8s.io/v1/namespaces/default/events";

pub(crate) struct Setup {
    inference_set: InferenceSet,
    workspaces: Vec<Workspace>,
    live: Option<ScaledObject>,
    options: RenderOptions,
    scaler_serves: Option<bool>,
}

pub(crate) struct Builder(InferenceSet);

pub(crate) fn inference_set() -> Builder {
    let object = json!({
        "metadata": {
            "name": "phi-4", "namespace": "default", "uid": "u1",
            "annotations": { "scaledobject.kaito.sh/auto-provision": "true", "scaledobject.kaito.sh/threshold": "10" },
        },
        "spec": { "nodeCountLimit": 5 },
    });
    Builder(serde_json::from_value(object).unwrap())
}

impl Builder {
    /// Another InferenceSet of the namespace, which needs no Workspace to know its maximum.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.0.metadata.name = Some(name.to_owned());
        self.0.metadata.uid = Some(format!("u-{name}"));
        self.annotated("max-replicas", "5")
    }

    pub(crate) fn annotated(mut self, key: &str, value: &str) -> Self {
        let annotations = self.0.metadata.annotations.as_mut().unwrap();
        annotations.insert(format!("scaledobject.kaito.sh/{key}"), value.to_owned());
        self
    }

    pub(crate) fn without_auto_provision(mut self) -> Self {
        self.0.metadata.annotations = None;
        self
    }
}

impl Setup {
    pub(crate) fn new(inference_set: Builder) -> Self {
        let workspace = json!({
            "metadata": {
                "name": "phi-4-x", "namespace": "default",
                "ownerReferences": [
                    { "apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi-4", "uid": "u1", "controller": true },
                ],
            },
            "status": { "targetNodeCount": 1 },
        });
        Self {
            inference_set: inference_set.0,
            workspaces: vec![serde_json::from_value(workspace).unwrap()],
            live: None,
            options: RenderOptions {
                scaler_address: "scaler:10450".to_owned(),
                inference_set_api_version: "kaito.sh/v1beta1".to_owned(),
                credential_epoch: Some(3),
                tolerance_in_force: true,
                max_num_seqs: 256,
            },
            scaler_serves: Some(true),
        }
    }

    pub(crate) fn live(mut self, object: Value) -> Self {
        self.live = Some(serde_json::from_value(object).unwrap());
        self
    }

    pub(crate) fn epoch(mut self, epoch: u64) -> Self {
        self.options.credential_epoch = Some(epoch);
        self
    }

    pub(crate) fn scaler(mut self, serves: Option<bool>) -> Self {
        self.scaler_serves = serves;
        self
    }

    pub(crate) fn without_workspace(mut self) -> Self {
        self.workspaces.clear();
        self
    }

    /// What a new InferenceSet like this is given.
    pub(crate) fn desired(&self) -> ScaledObject {
        let workspaces: Vec<&Workspace> = self.workspaces.iter().collect();
        let observation = Observation {
            inference_set: &self.inference_set,
            workspaces: &workspaces,
            scaled_objects: &[],
            scaler: ScalerState::NotRequired,
            contest: None,
        };
        let plan = plan(&observation, &self.options).plan;
        let Plan::Apply(apply) = plan else { panic!("{plan:?}") };
        apply.desired
    }

    pub(crate) fn options(&self) -> RenderOptions {
        self.options.clone()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        self.task().snapshot
    }

    pub(crate) fn task(&self) -> Task {
        Task {
            key: key_of(&self.inference_set),
            snapshot: Snapshot {
                inference_set: Arc::new(self.inference_set.clone()),
                workspaces: self.workspaces.iter().cloned().map(Arc::new).collect(),
                scaled_objects: self.live.iter().cloned().map(Arc::new).collect(),
            },
            memory: Memory::default(),
            options: self.options.clone(),
            scaler_serves: self.scaler_serves,
            contest: None,
        }
    }

    pub(crate) fn reconciler(&self, client: Client) -> Reconciler {
        let registry = SharedRegistry::with_prefix("test");
        let now = Instant::now();
        Reconciler {
            client: client.clone(),
            recorder: Recorder::new(client, "keda-kaito-provisioner", "provisioner-0", &registry),
            metrics: Metrics::register(&registry),
            writes: Arc::new(Mutex::new(Pace::new(Duration::from_millis(1), 100, now))),
            credentials: Arc::new(Mutex::new(Pace::new(Duration::from_millis(120), 1, now))),
        }
    }
}

/// An applied object as the API server answers: with identity, and our entry in `managedFields`.
pub(crate) fn stored(desired: &ScaledObject) -> Value {
    let mut object = serde_json::to_value(desired).unwrap();
    let mut fields = json!({ "f:metadata": { "f:annotations": {} }, "f:spec": fields_of(&object["spec"]) });
    fields["f:metadata"]["f:annotations"] = fields_of(&object["metadata"]["annotations"]);
    fields["f:metadata"]["f:ownerReferences"] = json!({ r#"k:{"uid":"u1"}"#: {} });
    object["metadata"]["uid"] = json!("so1");
    object["metadata"]["resourceVersion"] = json!("7");
    object["metadata"]["creationTimestamp"] = json!("2026-11-22T12:00:00Z");
    object["metadata"]["managedFields"] = json!([{
        "manager": "keda-kaito-provisioner", "operation": "Apply", "apiVersion": "keda.sh/v1alpha1",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    }]);
    object
}

fn fields_of(value: &Value) -> Value {
    let Value::Object(map) = value else { return json!({}) };
    Value::Object(
        map.iter()
            .map(|(key, value)| (format!("f:{key}"), fields_of(value)))
            .collect(),
    )
}
