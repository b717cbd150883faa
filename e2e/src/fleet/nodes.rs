//! Which GPU node carries which labels, so that every InferenceSet's selector finds its nodes. KAITO looks once and
//! then backs off, so a spare group is always ready: giving it labels is one call. Pure; `node_keeper` carries it out.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use serde_json::{Value, json};

const PREFIX: &str = "gpu-";

/// Labels of every node, in the order in which `object` gives their values.
const OWN_LABELS: [&str; 4] = [
    "kubernetes.io/hostname",
    "nvidia.com/gpu.product",
    "nvidia.com/gpu.count",
    "nvidia.com/gpu.memory",
];

/// Labels by key.
pub type Labels = BTreeMap<String, String>;

/// A node that must carry these selector labels, whether it exists or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub name: String,
    pub labels: Labels,
}

/// Groups of nodes; the nodes of one group carry the same selector labels. The last group carries none.
#[derive(Debug)]
pub struct Groups {
    size: usize,
    groups: Vec<Labels>,
}

impl Groups {
    /// Groups of `size` nodes (at least one): those of a fleet that ran before, by the labels their nodes still carry, and
    /// a spare one. With them come the nodes to write.
    #[must_use]
    pub fn new(size: usize, existing: &BTreeMap<String, Labels>) -> (Self, Vec<Wanted>) {
        let size = size.max(1);
        let mut groups = Vec::new();
        while let Some(labels) = existing.get(&name(groups.len() * size)) {
            let mut labels = labels.clone();
            labels.retain(|key, _| !OWN_LABELS.contains(&key.as_str()));
            if labels.is_empty() {
                break;
            }
            groups.push(labels);
        }
        groups.push(Labels::new());
        let groups = Self { size, groups };
        let nodes = (0..groups.groups.len()).flat_map(|group| groups.nodes(group)).collect();
        (groups, nodes)
    }

    /// Gives a group the labels, unless one has them; returns the nodes to write, most urgent first.
    pub fn place(&mut self, selector: &Labels) -> Vec<Wanted> {
        let has_all = |labels: &Labels| selector.iter().all(|(key, value)| labels.get(key) == Some(value));
        if self.groups.iter().any(has_all) {
            return Vec::new();
        }
        let agrees = |labels: &Labels| {
            selector
                .iter()
                .all(|(key, value)| labels.get(key).is_none_or(|other| other == value))
        };
        let Some(place) = self.groups.iter().position(agrees) else {
            return Vec::new();
        };
        if let Some(labels) = self.groups.get_mut(place) {
            labels.extend(selector.clone());
        }
        let mut nodes = self.nodes(place);
        if place + 1 == self.groups.len() {
            self.groups.push(Labels::new());
            nodes.extend(self.nodes(place + 1));
        }
        nodes
    }

    /// The names of every node, spare ones included.
    #[must_use]
    pub fn names(&self) -> Vec<String> {
        (0..self.size * self.groups.len()).map(name).collect()
    }

    /// Whether the node is one of the fleet's.
    #[must_use]
    pub fn has(&self, node: &str) -> bool {
        let number = node.strip_prefix(PREFIX).and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| number < self.size * self.groups.len())
    }

    /// The names of the nodes that carry the labels; of the first group if none does, since a pod of no InferenceSet may
    /// ask for labels that no node has.
    #[must_use]
    pub fn carrying(&self, labels: &Labels) -> Vec<String> {
        let ours = |group: &Labels| {
            labels
                .iter()
                .all(|(key, value)| key.starts_with("kubernetes.io/") || group.get(key) == Some(value))
        };
        let group = self.groups.iter().position(ours).unwrap_or_default();
        (group * self.size..(group + 1) * self.size).map(name).collect()
    }

    fn nodes(&self, group: usize) -> Vec<Wanted> {
        let labels = self.groups.get(group).cloned().unwrap_or_default();
        (group * self.size..(group + 1) * self.size)
            .map(|number| Wanted {
                name: name(number),
                labels: labels.clone(),
            })
            .collect()
    }
}

fn name(number: usize) -> String {
    format!("{PREFIX}{number}")
}

/// The labels a node needs to match the selector; a value is made up where any would do.
#[must_use]
pub fn labels_matching(selector: &LabelSelector) -> Labels {
    let mut labels = selector.match_labels.clone().unwrap_or_default();
    for requirement in selector.match_expressions.iter().flatten() {
        let first = requirement.values.iter().flatten().next().cloned();
        if matches!(requirement.operator.as_str(), "In" | "Exists") {
            labels
                .entry(requirement.key.clone())
                .or_insert_with(|| first.unwrap_or_default());
        }
    }
    labels
}

/// What kind of machine each node pretends to be, and where its kubelet answers.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Memory per GPU in MiB; KAITO estimates the node count from it.
    pub gpu_memory: u64,
    pub address: String,
    pub port: u16,
}

/// The object of a node, for server-side apply.
#[must_use]
pub fn object(wanted: &Wanted, machine: &Machine) -> Value {
    let mut labels = wanted.labels.clone();
    let own = [
        wanted.name.clone(),
        "NVIDIA-A100-80GB-PCIe".to_owned(),
        "1".to_owned(),
        machine.gpu_memory.to_string(),
    ];
    labels.extend(OWN_LABELS.map(str::to_owned).into_iter().zip(own));
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": wanted.name, "labels": labels},
    })
}

/// The status of a ready node at `now` (RFC 3339), for a merge patch.
#[must_use]
pub fn status(machine: &Machine, now: &str) -> Value {
    let resources = json!({"cpu": "24", "memory": "220Gi", "pods": "110", "nvidia.com/gpu": "1"});
    json!({"status": {
        "addresses": [{"type": "InternalIP", "address": machine.address}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": machine.port}},
        "conditions": [{
            "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "stand-in",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }],
        "capacity": resources,
        "allocatable": resources,
    }})
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelectorRequirement;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    fn names(nodes: &[Wanted]) -> Vec<&str> {
        nodes.iter().map(|node| node.name.as_str()).collect()
    }

    #[test]
    fn the_first_selector_takes_the_spare_group_and_a_new_spare_is_made() {
        let (mut groups, first) = Groups::new(1, &BTreeMap::new());
        assert_eq!(names(&first), ["gpu-0"]);
        let nodes = groups.place(&labels(&[("apps", "phi")]));
        assert_eq!(names(&nodes), ["gpu-0", "gpu-1"]);
        assert_eq!(nodes[0].labels, labels(&[("apps", "phi")]));
        assert_eq!(nodes[1].labels, Labels::new());
        assert_eq!(groups.names(), ["gpu-0", "gpu-1"]);
    }

    #[test]
    fn labels_of_an_earlier_fleets_nodes_are_kept() {
        let (mut before, _) = Groups::new(2, &BTreeMap::new());
        let machine = Machine {
            gpu_memory: 1,
            address: String::new(),
            port: 1,
        };
        let existing: BTreeMap<String, Labels> = before
            .place(&labels(&[("apps", "phi")]))
            .iter()
            .map(|node| {
                let written = object(node, &machine)["metadata"]["labels"].clone();
                (node.name.clone(), serde_json::from_value(written).unwrap())
            })
            .collect();
        let (mut after, nodes) = Groups::new(2, &existing);
        assert_eq!(after.names(), before.names());
        assert_eq!(nodes[1].labels, labels(&[("apps", "phi")]));
        assert!(after.place(&labels(&[("apps", "phi")])).is_empty());
    }

    #[test]
    fn a_selector_that_is_met_changes_nothing() {
        let (mut groups, _) = Groups::new(2, &BTreeMap::new());
        assert!(!groups.place(&labels(&[("apps", "phi")])).is_empty());
        assert!(groups.place(&labels(&[("apps", "phi")])).is_empty());
    }

    #[test]
    fn selectors_that_contradict_get_nodes_of_their_own_and_others_share() {
        let (mut groups, _) = Groups::new(1, &BTreeMap::new());
        groups.place(&labels(&[("apps", "phi")]));
        assert_eq!(names(&groups.place(&labels(&[("apps", "llama")]))), ["gpu-1", "gpu-2"]);
        let shared = groups.place(&labels(&[("tier", "gold")]));
        assert_eq!(names(&shared), ["gpu-0"]);
        assert_eq!(shared[0].labels, labels(&[("apps", "phi"), ("tier", "gold")]));
    }

    #[test]
    fn every_selector_gets_as_many_nodes_as_chosen() {
        let (mut groups, _) = Groups::new(3, &BTreeMap::new());
        let nodes = groups.place(&labels(&[("apps", "phi")]));
        assert_eq!(nodes.iter().filter(|node| !node.labels.is_empty()).count(), 3);
    }

    #[test]
    fn a_pod_goes_to_a_group_that_carries_its_labels() {
        let (mut groups, _) = Groups::new(2, &BTreeMap::new());
        groups.place(&labels(&[("apps", "phi")]));
        groups.place(&labels(&[("apps", "llama")]));
        assert_eq!(groups.carrying(&labels(&[("apps", "llama")])), ["gpu-2", "gpu-3"]);
        assert_eq!(groups.carrying(&Labels::new()), ["gpu-0", "gpu-1"]);
        assert_eq!(groups.carrying(&labels(&[("apps", "none")])), ["gpu-0", "gpu-1"]);
        assert!(groups.has("gpu-5"));
        assert!(!groups.has("gpu-6"));
        assert!(!groups.has("cpu-0"));
    }

    #[test]
    fn expressions_become_labels_that_meet_them() {
        let requirement = |key: &str, operator: &str, values: &[&str]| LabelSelectorRequirement {
            key: key.to_owned(),
            operator: operator.to_owned(),
            values: Some(values.iter().map(|v| (*v).to_owned()).collect()),
        };
        let selector = LabelSelector {
            match_labels: Some(labels(&[("apps", "phi")])),
            match_expressions: Some(vec![
                requirement("zone", "In", &["a", "b"]),
                requirement("gpu", "Exists", &[]),
                requirement("old", "DoesNotExist", &[]),
            ]),
        };
        assert_eq!(
            labels_matching(&selector),
            labels(&[("apps", "phi"), ("zone", "a"), ("gpu", "")])
        );
    }

    #[test]
    fn a_node_has_what_kaito_reads() {
        let wanted = Wanted {
            name: "gpu-0".to_owned(),
            labels: labels(&[("apps", "phi")]),
        };
        let machine = Machine {
            gpu_memory: 81920,
            address: "10.244.255.1".to_owned(),
            port: 10250,
        };
        let node = object(&wanted, &machine);
        assert_eq!(node["metadata"]["labels"]["apps"], "phi");
        assert_eq!(node["metadata"]["labels"]["nvidia.com/gpu.memory"], "81920");
        let status = status(&machine, "2026-01-01T00:00:00Z");
        assert_eq!(status["status"]["daemonEndpoints"]["kubeletEndpoint"]["Port"], 10250);
        assert_eq!(status["status"]["conditions"][0]["status"], "True");
    }
}
