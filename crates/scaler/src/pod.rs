//! A Pod reduced to what scraping must know, so that ten thousand of them stay small in memory.

use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::{Deserialize, Deserializer, Serialize};

/// The fields of a Pod that we read. `metadata` keeps name, namespace, UID, labels and the time of deletion.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pod {
    #[serde(default, deserialize_with = "slim")]
    pub metadata: ObjectMeta,
    #[serde(default)]
    pub status: PodStatus,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodStatus {
    #[serde(default)]
    pub phase: Option<String>,
    #[serde(default, rename = "podIP")]
    pub pod_ip: Option<String>,
    #[serde(default, rename = "hostIP")]
    pub host_ip: Option<String>,
    #[serde(default)]
    pub conditions: Vec<PodCondition>,
    #[serde(default)]
    pub container_statuses: Vec<ContainerStatus>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodCondition {
    #[serde(rename = "type", default)]
    pub type_: String,
    #[serde(default)]
    pub status: String,
    #[serde(default)]
    pub last_transition_time: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub restart_count: i32,
    #[serde(default, rename = "containerID")]
    pub container_id: Option<String>,
}

impl Pod {
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        self.status.phase.as_deref() == Some("Running")
    }

    /// Running, Ready and not being deleted.
    pub fn is_ready(&self) -> bool {
        self.is_running() && self.ready_condition().is_some_and(|condition| condition.status == "True")
    }

    pub fn is_terminating(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// When the Ready condition last changed, as the API server spells it.
    pub fn ready_changed(&self) -> Option<&str> {
        self.ready_condition()?.last_transition_time.as_deref()
    }

    /// Distinguishes every start of every container: samples of two starts have nothing in common.
    pub fn containers(&self) -> impl Iterator<Item = (&str, i32)> {
        self.status
            .container_statuses
            .iter()
            .map(|container| (container.container_id.as_deref().unwrap_or_default(), container.restart_count))
    }

    fn ready_condition(&self) -> Option<&PodCondition> {
        self.status.conditions.iter().find(|condition| condition.type_ == "Ready")
    }
}

fn slim<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let full = ObjectMeta::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name: full.name,
        namespace: full.namespace,
        uid: full.uid,
        resource_version: full.resource_version,
        labels: full.labels,
        deletion_timestamp: full.deletion_timestamp,
        ..ObjectMeta::default()
    })
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> std::borrow::Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> std::borrow::Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> std::borrow::Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> std::borrow::Cow<'_, str> {
        "pods".into()
    }
    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }
    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
