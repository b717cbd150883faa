//! Writes the GPU nodes and watches InferenceSets, so that each selector finds its nodes before KAITO looks.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{Node, Pod};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{ApiResource, DynamicObject, GroupVersionKind, ListParams, Patch, PatchParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, ResourceExt};

use super::nodes::{Groups, Labels, Machine, Wanted, labels_matching, object, status};

const MANAGER: &str = "fleet";

/// The nodes of the fleet.
pub struct Nodes {
    client: Client,
    machine: Machine,
    groups: Mutex<Groups>,
    /// Held from a decision to the end of its writes: an earlier one, written late, would take a node's labels away.
    writing: tokio::sync::Mutex<()>,
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nodes").field("groups", &self.groups).finish_non_exhaustive()
    }
}

impl Nodes {
    /// Makes a group of `size` nodes, and takes over those of a fleet that ran before.
    ///
    /// # Errors
    /// When the API server refuses a node.
    pub async fn create(client: Client, machine: Machine, size: usize) -> anyhow::Result<Self> {
        let api: Api<Node> = Api::all(client.clone());
        let existing = api.list(&ListParams::default()).await.context("listing nodes")?;
        let existing = existing
            .into_iter()
            .map(|node| (node.name_any(), node.metadata.labels.unwrap_or_default()))
            .collect();
        let (groups, first) = Groups::new(size, &existing);
        let nodes = Self {
            client,
            machine,
            groups: Mutex::new(groups),
            writing: tokio::sync::Mutex::default(),
        };
        nodes.write(&first).await?;
        Ok(nodes)
    }

    /// Sees to it that a group of nodes carries the labels.
    ///
    /// # Errors
    /// When the API server refuses a node.
    pub async fn cover(&self, labels: &Labels) -> anyhow::Result<()> {
        let _writing = self.writing.lock().await;
        let wanted = self.groups.lock().unwrap_or_else(PoisonError::into_inner).place(labels);
        self.write(&wanted).await
    }

    #[must_use]
    pub fn names(&self) -> Vec<String> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).names()
    }

    #[must_use]
    pub fn has(&self, node: &str) -> bool {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner).has(node)
    }

    /// The node for a Workspace's pod with this place in it; one that carries the labels the pod asks for, if any does.
    #[must_use]
    pub fn for_pod(&self, pod: &Pod, index: u32) -> Option<String> {
        let wanted = required_labels(pod);
        let names = self.groups.lock().unwrap_or_else(PoisonError::into_inner).carrying(&wanted);
        let place = usize::try_from(index).ok()?.checked_rem(names.len())?;
        names.into_iter().nth(place)
    }

    async fn write(&self, nodes: &[Wanted]) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let params = PatchParams::apply(MANAGER).force();
        for node in nodes {
            let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
            let written = api
                .patch(&node.name, &params, &Patch::Apply(object(node, &self.machine)))
                .await
                .with_context(|| format!("writing node {}", node.name))?;
            if written.status.as_ref().is_some_and(|status| status.conditions.is_some()) {
                continue;
            }
            api.patch_status(
                &node.name,
                &PatchParams::default(),
                &Patch::Merge(status(&self.machine, &now)),
            )
            .await
            .with_context(|| format!("writing the status of node {}", node.name))?;
            tracing::info!(node = node.name, labels = ?node.labels, "node is ready");
        }
        Ok(())
    }

    /// Labels nodes for every InferenceSet, for as long as the process lives. Both versions show the same objects.
    ///
    /// # Errors
    /// When the watch ends, which it does not by itself.
    pub async fn follow_inferencesets(self: Arc<Self>) -> anyhow::Result<()> {
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk("kaito.sh", "v1beta1", "InferenceSet"));
        let api: Api<DynamicObject> = Api::all_with(self.client.clone(), &resource);
        // A bed without KAITO has no such kind; the back-off then asks now and then.
        let stream = watcher(api, watcher::Config::default()).default_backoff().applied_objects();
        let mut stream = std::pin::pin!(stream.into_stream());
        while let Some(next) = stream.next().await {
            match next {
                Ok(set) => {
                    let selector = set.data.pointer("/spec/labelSelector").cloned().unwrap_or_default();
                    let selector: LabelSelector = serde_json::from_value(selector).unwrap_or_default();
                    if let Err(error) = self.cover(&labels_matching(&selector)).await {
                        tracing::warn!(error = format!("{error:#}"), "nodes are not labelled");
                    }
                }
                Err(error) => tracing::debug!(%error, "cannot watch InferenceSets"),
            }
        }
        anyhow::bail!("the watch of InferenceSets has ended")
    }
}

/// The labels a pod's node must carry, from its node selector and its required node affinity.
fn required_labels(pod: &Pod) -> Labels {
    let Some(spec) = &pod.spec else {
        return Labels::new();
    };
    let mut labels = spec.node_selector.clone().unwrap_or_default();
    let affinity = spec
        .affinity
        .as_ref()
        .and_then(|affinity| affinity.node_affinity.as_ref())
        .and_then(|affinity| affinity.required_during_scheduling_ignored_during_execution.as_ref());
    // Terms are alternatives; the first will do.
    let term = affinity.and_then(|affinity| affinity.node_selector_terms.first());
    for requirement in term.into_iter().flat_map(|term| term.match_expressions.iter().flatten()) {
        if let ("In", Some([value, ..])) = (requirement.operator.as_str(), requirement.values.as_deref()) {
            labels.insert(requirement.key.clone(), value.clone());
        }
    }
    labels
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_selector_and_affinity_give_the_labels_of_its_node() {
        let pod: Pod = serde_json::from_value(serde_json::json!({
            "metadata": {"name": "phi-0"},
            "spec": {
                "containers": [],
                "nodeSelector": {"tier": "gold"},
                "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [{"matchExpressions": [
                        {"key": "apps", "operator": "In", "values": ["phi"]},
                        {"key": "old", "operator": "DoesNotExist"},
                    ]}],
                }}},
            },
        }))
        .expect("the pod is valid");
        let labels = required_labels(&pod);
        assert_eq!(labels.get("apps").map(String::as_str), Some("phi"));
        assert_eq!(labels.get("tier").map(String::as_str), Some("gold"));
        assert_eq!(labels.len(), 2);
    }
}
