//! A Pod reduced to what scraping must know, so that ten thousand of them stay small in memory.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use keda_kaito_core::names::WORKSPACE_LABEL;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::Deserialize;

/// `metadata` keeps name, namespace, UID and resourceVersion.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(from = "Full")]
pub struct Pod {
    pub metadata: ObjectMeta,
    /// By its label.
    pub workspace: Option<Box<str>>,
    pub phase: Option<Box<str>>,
    pub pod_ip: Option<Box<str>>,
    pub host_ip: Option<Box<str>>,
    /// The Ready condition.
    pub ready: Option<Ready>,
    /// Differs between any two starts of any of its containers: their samples have nothing in common.
    pub starts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub holds: bool,
    /// As the API server spells it.
    pub changed: Option<Box<str>>,
}

impl Pod {
    pub fn uid(&self) -> &str {
        self.metadata.uid.as_deref().unwrap_or_default()
    }

    pub fn is_running(&self) -> bool {
        self.phase.as_deref() == Some("Running")
    }

    /// Running and Ready; a pod that is being deleted may be both for a while, and is then still used.
    pub fn is_ready(&self) -> bool {
        self.is_running() && self.ready.as_ref().is_some_and(|ready| ready.holds)
    }

    /// When the Ready condition last changed, as the API server spells it.
    pub fn ready_changed(&self) -> Option<&str> {
        self.ready.as_ref()?.changed.as_deref()
    }
}

#[derive(Deserialize)]
struct Full {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<Box<str>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<Box<str>>,
    conditions: Vec<Condition>,
    container_statuses: Vec<Container>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    last_transition_time: Option<Box<str>>,
}

#[derive(Default, Deserialize, Hash)]
#[serde(rename_all = "camelCase", default)]
struct Container {
    restart_count: i32,
    #[serde(rename = "containerID")]
    container_id: Option<String>,
}

impl From<Full> for Pod {
    fn from(full: Full) -> Self {
        let Full { metadata, status } = full;
        let ready = status.conditions.into_iter().find(|condition| condition.type_ == "Ready");
        let mut starts = DefaultHasher::new();
        status.container_statuses.hash(&mut starts);
        Self {
            workspace: metadata.labels.unwrap_or_default().remove(WORKSPACE_LABEL).map(Into::into),
            metadata: ObjectMeta {
                name: metadata.name,
                namespace: metadata.namespace,
                uid: metadata.uid,
                resource_version: metadata.resource_version,
                ..ObjectMeta::default()
            },
            phase: status.phase,
            pod_ip: status.pod_ip,
            host_ip: status.host_ip,
            ready: ready.map(|condition| Ready {
                holds: condition.status == "True",
                changed: condition.last_transition_time,
            }),
            starts: starts.finish(),
        }
    }
}

impl kube::Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }
    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }
    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }
    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
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
    use serde_json::{Value, json};

    use super::*;

    fn pod(status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "phi-0", "uid": "u", "labels": {"kaito.sh/workspace": "phi", "other": "x"}},
            "spec": {"containers": [{"name": "phi"}]},
            "status": status
        }))
        .unwrap()
    }

    #[test]
    fn pod_is_ready_when_it_runs_and_says_so() {
        let with = |phase: &str, ready: &str| {
            pod(&json!({"phase": phase, "conditions": [
                {"type": "Initialized", "status": "True"},
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-01-01T00:00:00Z"}
            ]}))
        };
        assert!(with("Running", "True").is_ready());
        assert_eq!(with("Running", "True").ready_changed(), Some("2026-01-01T00:00:00Z"));
        assert!(!with("Running", "False").is_ready());
        assert!(!with("Succeeded", "True").is_ready());
        assert!(!pod(&json!({})).is_ready());
        assert_eq!(pod(&json!({})).workspace.as_deref(), Some("phi"));
        assert!(pod(&json!({})).metadata.labels.is_none());
    }

    #[test]
    fn every_start_of_a_container_is_told_apart() {
        let started =
            |restarts: i32, id: &str| pod(&json!({"containerStatuses": [{"restartCount": restarts, "containerID": id}]})).starts;
        assert_eq!(started(0, "a"), started(0, "a"));
        assert_ne!(started(0, "a"), started(1, "a"));
        assert_ne!(started(0, "a"), started(0, "b"));
    }
}
