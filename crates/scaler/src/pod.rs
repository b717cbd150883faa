//! A Pod reduced to what scraping must know, so that ten thousand of them stay small in memory.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use keda_kaito_core::names::WORKSPACE_LABEL;
use kube::core::{NamespaceResourceScope, ObjectMeta};
use serde::Deserialize;

/// A kubelet writes "not Ready" with a pod's first status, which takes it no longer than this; what it writes later is a loss.
const FIRST_STATUS: SignedDuration = SignedDuration::from_secs(30);

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
    /// The Ready condition; a pod that nobody has started yet has not been Ready since it was made.
    pub ready: Option<Ready>,
    /// It shares its node's network, whatever its address says.
    pub host_network: bool,
    /// Differs between any two starts of any of its containers: their samples have nothing in common.
    pub starts: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ready {
    pub holds: bool,
    /// As the API server spells it.
    pub changed: Option<Box<str>>,
    /// It held once: it does not since later than when the pod started.
    pub lost: bool,
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

    /// Since when it says that it is not Ready, and whether it was before.
    pub fn unready(&self) -> Option<(Timestamp, bool)> {
        let ready = self.ready.as_ref().filter(|ready| !ready.holds)?;
        Some((ready.changed.as_deref()?.parse().ok()?, ready.lost))
    }
}

#[derive(Deserialize)]
struct Full {
    #[serde(default)]
    metadata: ObjectMeta,
    #[serde(default)]
    spec: Spec,
    #[serde(default)]
    status: Status,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    host_network: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    phase: Option<Box<str>>,
    #[serde(rename = "podIP")]
    pod_ip: Option<Box<str>>,
    #[serde(rename = "hostIP")]
    host_ip: Option<Box<str>>,
    start_time: Option<Time>,
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

impl Ready {
    fn of(condition: Condition, started: Option<&Time>) -> Self {
        let holds = condition.status == "True";
        let changed = condition.last_transition_time;
        let at = changed.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let later = |(at, started): (Timestamp, &Time)| at.duration_since(started.0) > FIRST_STATUS;
        Self {
            lost: !holds && at.zip(started).is_some_and(later),
            holds,
            changed,
        }
    }
}

impl From<Full> for Pod {
    fn from(full: Full) -> Self {
        let Full { metadata, spec, status } = full;
        let condition = status.conditions.into_iter().find(|condition| condition.type_ == "Ready");
        let started = status.start_time.as_ref().or(metadata.creation_timestamp.as_ref());
        let ready = match condition {
            Some(condition) => Some(Ready::of(condition, started)),
            None => metadata.creation_timestamp.as_ref().map(|created| Ready {
                holds: false,
                changed: Some(created.0.to_string().into()),
                lost: false,
            }),
        };
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
            ready,
            host_network: spec.host_network,
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
    fn pod_that_was_ready_is_told_from_one_that_never_was() {
        let with = |status: &str, changed: &str| {
            pod(
                &json!({"phase": "Running", "startTime": "2026-01-01T00:00:00Z", "conditions": [
                    {"type": "Ready", "status": status, "lastTransitionTime": changed}
                ]}),
            )
            .unready()
        };
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        for (status, changed, expected) in [
            ("True", "2026-01-01T00:09:00Z", None),
            ("False", "2026-01-01T00:00:00Z", Some(false)),
            ("False", "2026-01-01T00:00:30Z", Some(false)),
            ("False", "2026-01-01T00:09:00Z", Some(true)),
            // Its node is gone.
            ("Unknown", "2026-01-01T00:09:00Z", Some(true)),
        ] {
            assert_eq!(
                with(status, changed),
                expected.map(|lost| (at(changed), lost)),
                "{status} {changed}"
            );
        }
        assert_eq!(with("False", "some day"), None);
    }

    #[test]
    fn pod_that_no_kubelet_has_seen_is_not_ready_since_it_was_made() {
        let made = json!({"metadata": {"name": "phi-0", "creationTimestamp": "2026-01-01T00:00:00Z"},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False"}]}});
        let pod: Pod = serde_json::from_value(made).unwrap();
        assert_eq!(pod.unready(), Some(("2026-01-01T00:00:00Z".parse().unwrap(), false)));
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
