//! What is known of the cluster, by namespace, and which InferenceSets a changed object concerns.
//! It is filled from watches and asks nobody.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::crd::{InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::{names, take_over};
use keda_kaito_runtime::watch::Change;
use kube::Resource;
use tokio::time::Instant;

use crate::queue::Key;

/// How long after a write of ours older news of the object are ignored. Watches are no slower; a cluster restored from a
/// backup, whose versions are lower for good, is believed again after this.
const WRITE_MEMORY: Duration = Duration::from_secs(5);

/// Objects of one kind by namespace and name.
#[derive(Debug)]
pub(crate) struct Index<K> {
    namespaces: HashMap<String, HashMap<String, Arc<K>>>,
}

/// The objects that decide about ScaledObjects.
#[derive(Debug, Default)]
pub(crate) struct Cluster {
    pub(crate) inference_sets: Index<InferenceSet>,
    pub(crate) workspaces: Index<Workspace>,
    pub(crate) scaled_objects: Index<ScaledObject>,
    written: HashMap<Key, (u128, Instant)>,
}

/// What one reconciliation looks at.
#[derive(Clone, Debug)]
pub(crate) struct Snapshot {
    pub(crate) inference_set: Arc<InferenceSet>,
    pub(crate) workspaces: Vec<Arc<Workspace>>,
    pub(crate) scaled_objects: Vec<Arc<ScaledObject>>,
}

impl<K: Resource> Index<K> {
    /// Takes a change in; the object it replaces, if any.
    pub(crate) fn apply(&mut self, change: &Change<K>) -> Option<Arc<K>> {
        let object = change.object();
        let key = key_of(&**object);
        match change {
            Change::Applied(object) => {
                let namespace = self.namespaces.entry(key.namespace).or_default();
                namespace.insert(key.name, Arc::clone(object))
            }
            Change::Deleted(object) => {
                let namespace = self.namespaces.get_mut(&key.namespace)?;
                let known = namespace.get(&key.name)?;
                // A successor of the same name may have been seen already.
                if known.meta().uid != object.meta().uid {
                    return None;
                }
                let known = namespace.remove(&key.name);
                if namespace.is_empty() {
                    self.namespaces.remove(&key.namespace);
                }
                known
            }
        }
    }

    pub(crate) fn get(&self, key: &Key) -> Option<&Arc<K>> {
        self.namespaces.get(&key.namespace)?.get(&key.name)
    }

    pub(crate) fn within(&self, namespace: &str) -> Vec<Arc<K>> {
        let objects = self.namespaces.get(namespace).into_iter();
        objects.flat_map(|objects| objects.values().cloned()).collect()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        let key = |namespace: &String, name: &String| Key {
            namespace: namespace.clone(),
            name: name.clone(),
        };
        let namespaces = self.namespaces.iter();
        namespaces
            .flat_map(|(namespace, objects)| objects.keys().map(move |name| key(namespace, name)))
            .collect()
    }
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self {
            namespaces: HashMap::new(),
        }
    }
}

impl Cluster {
    pub(crate) fn snapshot(&self, key: &Key) -> Option<Snapshot> {
        Some(Snapshot {
            inference_set: Arc::clone(self.inference_sets.get(key)?),
            workspaces: self.workspaces.within(&key.namespace),
            scaled_objects: self.scaled_objects.within(&key.namespace),
        })
    }

    /// The InferenceSets that a changed ScaledObject concerns; none when it is old news.
    pub(crate) fn scaled_object(&mut self, change: &Change<ScaledObject>, now: Instant) -> Vec<Key> {
        let object = change.object();
        let key = key_of(&**object);
        if let Some((version, at)) = self.written.get(&key) {
            let old = version_of(&**object).is_some_and(|seen| seen < *version);
            if now.saturating_duration_since(*at) > WRITE_MEMORY || !old {
                self.written.remove(&key);
            } else {
                return Vec::new();
            }
        }
        let before = self.scaled_objects.apply(change);
        let mut concerned = concerned_by(object);
        concerned.extend(before.iter().flat_map(concerned_by));
        concerned
    }

    /// A write of ours was answered with this object. The watch may not know it yet.
    pub(crate) fn wrote(&mut self, mut object: ScaledObject, now: Instant) {
        take_over::slim(&mut object);
        if let Some(version) = version_of(&object) {
            self.written.insert(key_of(&object), (version, now));
        }
        self.scaled_objects.apply(&Change::Applied(Arc::new(object)));
    }

    /// The InferenceSets that a changed Workspace concerns: only its owner and its node count matter.
    pub(crate) fn workspace(&mut self, change: &Change<Workspace>) -> Vec<Key> {
        let before = self.workspaces.apply(change);
        let object = change.object();
        if let (Change::Applied(_), Some(before)) = (change, &before) {
            let same_owner = before.metadata.owner_references == object.metadata.owner_references;
            if same_owner && before.target_node_count() == object.target_node_count() {
                return Vec::new();
            }
        }
        owners(object.meta())
    }
}

pub(crate) fn key_of(object: &impl Resource) -> Key {
    let metadata = object.meta();
    Key {
        namespace: metadata.namespace.clone().unwrap_or_default(),
        name: metadata.name.clone().unwrap_or_default(),
    }
}

/// Versions are decimal numbers that grow; one that is not is never compared.
fn version_of(object: &impl Resource) -> Option<u128> {
    object.meta().resource_version.as_deref()?.parse().ok()
}

fn concerned_by(object: &Arc<ScaledObject>) -> Vec<Key> {
    let own = key_of(&**object);
    let target = &object.spec.scale_target_ref;
    let mut concerned = owners(&object.metadata);
    if target.kind.as_deref() == Some(names::INFERENCE_SET_KIND) {
        concerned.push(Key {
            namespace: own.namespace.clone(),
            name: target.name.clone(),
        });
    }
    concerned.push(own);
    concerned
}

fn owners(metadata: &kube::core::ObjectMeta) -> Vec<Key> {
    let namespace = metadata.namespace.clone().unwrap_or_default();
    let owners = metadata.owner_references.iter().flatten();
    owners
        .filter(|owner| owner.kind == names::INFERENCE_SET_KIND)
        .map(|owner| Key {
            namespace: namespace.clone(),
            name: owner.name.clone(),
        })
        .collect()
}

#[cfg(test)]
mod tests;
