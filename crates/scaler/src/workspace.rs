//! A Workspace reduced to whose it is and since when: ten thousand of them are kept.

use std::borrow::Cow;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::core::{ApiResource, NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer, Serialize};

/// `metadata` keeps name, namespace, UID, times and the controlling owner.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Workspace {
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
}

/// In which version Workspaces are served. Each object's key in a store holds one, so that it must be small.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkspaceKind(Arc<ApiResource>);

impl WorkspaceKind {
    /// As discovery found it.
    #[must_use]
    pub fn new(resource: ApiResource) -> Self {
        Self(Arc::new(resource))
    }
}

impl Workspace {
    /// The object that controls it, whatever its kind.
    #[must_use]
    pub fn controller(&self) -> Option<&OwnerReference> {
        self.metadata.owner_references.as_deref().unwrap_or_default().first()
    }

    /// Whether the object with this UID controls it. The label alone can be forged.
    #[must_use]
    pub fn is_owned_by(&self, uid: &str) -> bool {
        self.controller().is_some_and(|owner| owner.uid == uid)
    }
}

fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let full = ObjectMeta::deserialize(deserializer)?;
    let controls = |owner: &OwnerReference| owner.controller == Some(true);
    let controller = full.owner_references.unwrap_or_default().into_iter().find(controls);
    Ok(ObjectMeta {
        name: full.name,
        namespace: full.namespace,
        uid: full.uid,
        resource_version: full.resource_version,
        creation_timestamp: full.creation_timestamp,
        deletion_timestamp: full.deletion_timestamp,
        owner_references: controller.map(|owner| vec![owner]),
        ..ObjectMeta::default()
    })
}

impl kube::Resource for Workspace {
    type DynamicType = WorkspaceKind;
    type Scope = NamespaceResourceScope;

    fn kind(kind: &WorkspaceKind) -> Cow<'_, str> {
        kind.0.kind.as_str().into()
    }
    fn group(kind: &WorkspaceKind) -> Cow<'_, str> {
        kind.0.group.as_str().into()
    }
    fn version(kind: &WorkspaceKind) -> Cow<'_, str> {
        kind.0.version.as_str().into()
    }
    fn plural(kind: &WorkspaceKind) -> Cow<'_, str> {
        kind.0.plural.as_str().into()
    }
    fn api_version(kind: &WorkspaceKind) -> Cow<'_, str> {
        kind.0.api_version.as_str().into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_the_controller_owns_it_and_the_rest_is_not_kept() {
        let owner = |uid: &str, controller: bool| json!({"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": "phi", "uid": uid, "controller": controller});
        let workspace: Workspace = serde_json::from_value(json!({
            "metadata": {
                "name": "phi-x", "namespace": "ns", "uid": "w", "resourceVersion": "7",
                "labels": {"a": "b"}, "annotations": {"c": "d"}, "finalizers": ["f"],
                "ownerReferences": [owner("beside", false), owner("phi", true)]
            },
            "status": {"conditions": [{"type": "x"}]}
        }))
        .unwrap();
        assert!(workspace.is_owned_by("phi"));
        assert!(!workspace.is_owned_by("beside"));
        assert_eq!(workspace.metadata.resource_version.as_deref(), Some("7"));
        assert!(workspace.metadata.labels.is_none() && workspace.metadata.annotations.is_none());
    }
}
