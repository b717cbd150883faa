//! KAITO's InferenceSet (`kaito.sh`, v1beta1 or v1alpha1: one object under two versions).

use std::collections::BTreeMap;

use kube::core::{ObjectMeta, TypeMeta};
use serde::{Deserialize, Serialize};

use super::resource::discovered_resource;

/// The fields of an InferenceSet that we read; which version is spoken is the `ApiResource`'s matter.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct InferenceSet {
    #[serde(flatten, default)]
    pub types: Option<TypeMeta>,
    #[serde(default)]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub spec: InferenceSetSpec,
    #[serde(default)]
    pub status: Option<InferenceSetStatus>,
}

/// What the user wants.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceSetSpec {
    /// Replicas wanted; absent means 1 (the CRD's default).
    #[serde(default)]
    pub replicas: Option<i32>,
    /// Most nodes all replicas may use together; 0 or absent: no limit.
    #[serde(default)]
    pub node_count_limit: Option<i64>,
    #[serde(default)]
    pub label_selector: Option<NodeSelector>,
    #[serde(default)]
    pub auto_upgrade: Option<AutoUpgrade>,
}

/// KAITO's node selector.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeSelector {
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
}

/// Automatic base-image upgrades.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AutoUpgrade {
    #[serde(default)]
    pub enabled: bool,
    /// `InPlace` (default) or `Surge`: one extra Workspace for the time of an upgrade.
    #[serde(default)]
    pub strategy: Option<String>,
}

/// What KAITO reports.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferenceSetStatus {
    /// KAITO writes the *desired* count here; absent at 0.
    #[serde(default)]
    pub replicas: Option<i32>,
    #[serde(default)]
    pub ready_replicas: Option<i32>,
    #[serde(default)]
    pub selector: Option<String>,
}

impl InferenceSet {
    /// `spec.replicas`, with the CRD's default of 1; negative counts read as 0.
    pub fn spec_replicas(&self) -> u32 {
        u32::try_from(self.spec.replicas.unwrap_or(1)).unwrap_or(0)
    }

    /// `status.replicas`, which KAITO omits at 0.
    pub fn status_replicas(&self) -> u32 {
        let replicas = self.status.as_ref().and_then(|status| status.replicas);
        u32::try_from(replicas.unwrap_or(0)).unwrap_or(0)
    }

    /// Whether an upgrade may run one Workspace above `spec.replicas`.
    pub fn surges(&self) -> bool {
        self.spec
            .auto_upgrade
            .as_ref()
            .is_some_and(|upgrade| upgrade.enabled && upgrade.strategy.as_deref() == Some("Surge"))
    }

    /// An annotation's value.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }
}

discovered_resource!(InferenceSet);
