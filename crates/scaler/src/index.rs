//! Which InferenceSets an object has to do with: ScaledObjects by their triggers, Workspaces by their owner, Pods by their
//! Workspace. It keeps names only; the objects are in the watches' stores.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use keda_kaito_core::crd::ScaledObject;
use keda_kaito_core::names::INFERENCE_SET_KIND;
use kube::ResourceExt;

use crate::pod::Pod;
use crate::registry::SetKey;
use crate::registry::trigger::{TriggerRules, triggers_of};
use crate::workspace::Workspace;

/// See the module.
#[derive(Debug, Default)]
pub struct Index {
    scaled_objects: Links,
    workspaces: Links,
}

/// Objects of one kind and the InferenceSets they belong to, both ways. All of one namespace.
#[derive(Debug, Default)]
struct Links {
    sets: HashMap<SetKey, Box<[SetKey]>>,
    members: HashMap<SetKey, BTreeSet<Box<str>>>,
}

impl Index {
    /// A ScaledObject as it is now (`exists`) or was. Returns the InferenceSets this concerns.
    pub fn scaled_object(&mut self, object: &ScaledObject, exists: bool, rules: &TriggerRules) -> BTreeSet<SetKey> {
        let triggers = if exists { triggers_of(object, rules) } else { Vec::new() };
        let sets = triggers.into_iter().map(|(key, _)| key).collect();
        self.scaled_objects.put(&key_of(object), sets)
    }

    /// A Workspace as it is now or was.
    pub fn workspace(&mut self, workspace: &Workspace, exists: bool) -> BTreeSet<SetKey> {
        let owner = owner(workspace).filter(|_| exists);
        self.workspaces.put(&key_of(workspace), owner.into_iter().collect())
    }

    /// The InferenceSet whose replica's pod 0 this is.
    #[must_use]
    pub fn pod(&self, pod: &Pod) -> BTreeSet<SetKey> {
        let Some(workspace) = pod.workspace.as_deref() else {
            return BTreeSet::new();
        };
        if pod.metadata.name != Some(leader(workspace)) {
            return BTreeSet::new();
        }
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        let sets = self.workspaces.sets.get(&SetKey::new(namespace, workspace));
        sets.into_iter().flatten().cloned().collect()
    }

    /// InferenceSets that somebody scales.
    pub fn wanted(&self) -> impl Iterator<Item = &SetKey> {
        self.scaled_objects.members.keys()
    }

    /// Names of the ScaledObjects about an InferenceSet.
    pub fn scaled_objects_of(&self, key: &SetKey) -> impl Iterator<Item = &str> {
        self.scaled_objects.members_of(key)
    }

    /// Names of the Workspaces that say they are an InferenceSet's.
    pub fn workspaces_of(&self, key: &SetKey) -> impl Iterator<Item = &str> {
        self.workspaces.members_of(key)
    }
}

impl Links {
    /// Replaces what `object` belongs to; returns both what it belonged to and what it belongs to.
    fn put(&mut self, object: &SetKey, sets: BTreeSet<SetKey>) -> BTreeSet<SetKey> {
        let before = self.sets.remove(object).unwrap_or_default();
        for key in before.iter().filter(|key| !sets.contains(key)) {
            if let Some(members) = self.members.get_mut(key) {
                members.remove(&*object.name);
                if members.is_empty() {
                    self.members.remove(key);
                }
            }
        }
        let mut kept = Vec::with_capacity(sets.len());
        for key in &sets {
            // One copy of the key serves all members.
            let key = self.members.get_key_value(key).map_or(key, |(known, _)| known).clone();
            self.members.entry(key.clone()).or_default().insert((*object.name).into());
            kept.push(key);
        }
        if let Some(first) = kept.first() {
            let object = SetKey {
                namespace: Arc::clone(&first.namespace),
                name: Arc::clone(&object.name),
            };
            self.sets.insert(object, kept.into());
        }
        let mut concerned = sets;
        concerned.extend(before);
        concerned
    }

    fn members_of(&self, key: &SetKey) -> impl Iterator<Item = &str> {
        self.members.get(key).into_iter().flatten().map(|name| &**name)
    }
}

/// The pod that speaks for a Workspace's nodes.
#[must_use]
pub fn leader(workspace: &str) -> String {
    format!("{workspace}-0")
}

/// Namespace and name of an object.
pub fn key_of(object: &impl kube::Resource) -> SetKey {
    SetKey::new(&object.namespace().unwrap_or_default(), &object.name_any())
}

fn owner(workspace: &Workspace) -> Option<SetKey> {
    let controller = workspace.controller().filter(|owner| owner.kind == INFERENCE_SET_KIND)?;
    Some(SetKey::new(workspace.metadata.namespace.as_deref()?, &controller.name))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn scaled_object(name: &str, sets: &[&str]) -> ScaledObject {
        let trigger = |set: &&str| json!({"type": "external", "metadata": {"inferenceSetName": set, "inferenceSetNamespace": "ns", "threshold": "1"}});
        let triggers: Vec<_> = sets.iter().map(trigger).collect();
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns"}, "spec": {"triggers": triggers}})).unwrap()
    }

    fn workspace(name: &str, owner: &str) -> Workspace {
        serde_json::from_value(json!({"metadata": {"name": name, "namespace": "ns", "ownerReferences": [
            {"apiVersion": "kaito.sh/v1beta1", "kind": "InferenceSet", "name": owner, "uid": "u", "controller": true}
        ]}}))
        .unwrap()
    }

    fn pod(name: &str, workspace: &str) -> Pod {
        serde_json::from_value(
            json!({"metadata": {"name": name, "namespace": "ns", "labels": {"kaito.sh/workspace": workspace}}}),
        )
        .unwrap()
    }

    fn keys(names: &[&str]) -> BTreeSet<SetKey> {
        names.iter().map(|name| SetKey::new("ns", name)).collect()
    }

    #[test]
    fn changed_triggers_concern_the_old_and_the_new_inference_set() {
        let rules = TriggerRules {
            ports: vec![80],
            tolerance_in_force: true,
        };
        let mut index = Index::default();
        assert_eq!(index.scaled_object(&scaled_object("x", &["a"]), true, &rules), keys(&["a"]));
        assert_eq!(
            index.scaled_object(&scaled_object("x", &["b"]), true, &rules),
            keys(&["a", "b"])
        );
        assert_eq!(index.wanted().cloned().collect::<BTreeSet<_>>(), keys(&["b"]));
        assert_eq!(index.scaled_object(&scaled_object("y", &["b"]), true, &rules), keys(&["b"]));
        assert!(index.scaled_objects_of(&SetKey::new("ns", "b")).eq(["x", "y"]));
        assert_eq!(index.scaled_object(&scaled_object("x", &["b"]), false, &rules), keys(&["b"]));
        assert!(index.scaled_objects_of(&SetKey::new("ns", "b")).eq(["y"]));
    }

    #[test]
    fn only_pod_zero_of_a_known_workspace_concerns_its_inference_set() {
        let mut index = Index::default();
        assert_eq!(index.workspace(&workspace("a-x", "a"), true), keys(&["a"]));
        assert_eq!(index.pod(&pod("a-x-0", "a-x")), keys(&["a"]));
        assert!(index.pod(&pod("a-x-1", "a-x")).is_empty());
        assert!(index.pod(&pod("a-y-0", "a-y")).is_empty());
        assert!(index.pod(&pod("a-x-0", "other")).is_empty());
        assert_eq!(index.workspace(&workspace("a-x", "a"), false), keys(&["a"]));
        assert!(index.pod(&pod("a-x-0", "a-x")).is_empty());
        assert_eq!(index.workspaces_of(&SetKey::new("ns", "a")).count(), 0);
    }
}
