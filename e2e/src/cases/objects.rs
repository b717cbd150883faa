//! Objects of any kind as JSON, by namespace and name: what a test needs of the bed's API server without types.

use anyhow::{Context, Result};
use kube::api::{Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams, PostParams};
use serde_json::Value;

use crate::bed::Bed;

/// A kind with the version a test speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
}

impl Kind {
    pub const INFERENCE_SET: Self = Self::new("kaito.sh", "v1beta1", "InferenceSet");
    pub const INFERENCE_SET_V1ALPHA1: Self = Self::new("kaito.sh", "v1alpha1", "InferenceSet");
    pub const WORKSPACE: Self = Self::new("kaito.sh", "v1beta1", "Workspace");
    pub const SCALED_OBJECT: Self = Self::new("keda.sh", "v1alpha1", "ScaledObject");
    pub const TRIGGER_AUTHENTICATION: Self = Self::new("keda.sh", "v1alpha1", "ClusterTriggerAuthentication");
    pub const HPA: Self = Self::new("autoscaling", "v2", "HorizontalPodAutoscaler");
    pub const SECRET: Self = Self::new("", "v1", "Secret");
    pub const EVENT: Self = Self::new("", "v1", "Event");
    pub const NODE: Self = Self::new("", "v1", "Node");
    pub const NAMESPACE: Self = Self::new("", "v1", "Namespace");
    pub const LEASE: Self = Self::new("coordination.k8s.io", "v1", "Lease");
    pub const ADMISSION_POLICY: Self = Self::new("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicy");
    pub const ADMISSION_BINDING: Self = Self::new("admissionregistration.k8s.io", "v1", "ValidatingAdmissionPolicyBinding");
    pub const CRD: Self = Self::new("apiextensions.k8s.io", "v1", "CustomResourceDefinition");

    #[must_use]
    pub const fn new(group: &'static str, version: &'static str, kind: &'static str) -> Self {
        Self { group, version, kind }
    }

    /// `apiVersion` of its objects.
    #[must_use]
    pub fn api_version(self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    #[must_use]
    pub fn resource(self) -> ApiResource {
        ApiResource::from_gvk(&GroupVersionKind::gvk(self.group, self.version, self.kind))
    }
}

impl Bed {
    /// Access to a kind; an empty namespace means all, or that the kind has none.
    #[must_use]
    pub fn api(&self, kind: Kind, namespace: &str) -> Api<DynamicObject> {
        let resource = kind.resource();
        if namespace.is_empty() {
            Api::all_with(self.client.clone(), &resource)
        } else {
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    /// The object as JSON.
    ///
    /// # Errors
    /// The API server's, "not found" among them; so for every call below.
    pub async fn get(&self, kind: Kind, namespace: &str, name: &str) -> Result<Value> {
        let found = self.api(kind, namespace).get(name).await;
        let object = found.with_context(|| format!("{} {namespace}/{name}", kind.kind))?;
        Ok(serde_json::to_value(object)?)
    }

    /// Whether there is no such object.
    ///
    /// # Errors
    /// As above, but for "not found".
    pub async fn is_absent(&self, kind: Kind, namespace: &str, name: &str) -> Result<bool> {
        Ok(self.api(kind, namespace).get_opt(name).await?.is_none())
    }

    /// Every object of the kind in the namespace.
    ///
    /// # Errors
    /// As above.
    pub async fn list(&self, kind: Kind, namespace: &str) -> Result<Vec<Value>> {
        let list = self.api(kind, namespace).list(&ListParams::default()).await?;
        list.items
            .into_iter()
            .map(|object| Ok(serde_json::to_value(object)?))
            .collect()
    }

    /// # Errors
    /// As above.
    pub async fn create(&self, kind: Kind, namespace: &str, object: &Value) -> Result<Value> {
        let object: DynamicObject = serde_json::from_value(object.clone())?;
        let created = self.api(kind, namespace).create(&PostParams::default(), &object).await;
        Ok(serde_json::to_value(
            created.with_context(|| format!("creating {}", kind.kind))?,
        )?)
    }

    /// A JSON merge patch.
    ///
    /// # Errors
    /// As above.
    pub async fn patch(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value> {
        let patched = self
            .api(kind, namespace)
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await;
        Ok(serde_json::to_value(
            patched.with_context(|| format!("patching {} {namespace}/{name}", kind.kind))?,
        )?)
    }

    /// A JSON merge patch of the status.
    ///
    /// # Errors
    /// As above.
    pub async fn patch_status(&self, kind: Kind, namespace: &str, name: &str, patch: &Value) -> Result<Value> {
        let api = self.api(kind, namespace);
        let patched = api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await;
        Ok(serde_json::to_value(patched.with_context(|| {
            format!("patching the status of {} {namespace}/{name}", kind.kind)
        })?)?)
    }

    /// Deletes the object; one that is not there is no error.
    ///
    /// # Errors
    /// As above.
    pub async fn delete(&self, kind: Kind, namespace: &str, name: &str) -> Result<()> {
        match self.api(kind, namespace).delete(name, &DeleteParams::default()).await {
            Ok(_) => Ok(()),
            Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
            Err(error) => Err(error).with_context(|| format!("deleting {} {namespace}/{name}", kind.kind)),
        }
    }
}

/// The string at a JSON pointer; empty if there is none.
#[must_use]
pub fn text<'a>(object: &'a Value, pointer: &str) -> &'a str {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// The integer at a JSON pointer.
#[must_use]
pub fn number(object: &Value, pointer: &str) -> Option<i64> {
    object.pointer(pointer).and_then(Value::as_i64)
}

/// The status of the condition `kind`: `True`, `False`, `Unknown`, or nothing.
#[must_use]
pub fn condition<'a>(object: &'a Value, kind: &str) -> &'a str {
    condition_field(object, kind, "status")
}

/// A field of the condition `kind`; empty if there is none.
#[must_use]
pub fn condition_field<'a>(object: &'a Value, kind: &str, field: &str) -> &'a str {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
    conditions
        .into_iter()
        .flatten()
        .find(|condition| condition.get("type").and_then(Value::as_str) == Some(kind))
        .and_then(|condition| condition.get(field))
        .and_then(Value::as_str)
        .unwrap_or_default()
}

/// A ScaledObject's spec without the empty field KEDA's operator adds to it.
#[must_use]
pub fn spec_of_scaled_object(object: &Value) -> Value {
    let mut spec = object.get("spec").cloned().unwrap_or_default();
    if let Some(advanced) = spec.get_mut("advanced").and_then(Value::as_object_mut)
        && advanced.get("scalingModifiers") == Some(&serde_json::json!({}))
    {
        advanced.remove("scalingModifiers");
    }
    spec
}
