//! News taken in: what they concern, and which are too old to be believed.

use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::crd::{ScaledObject, Workspace};
use keda_kaito_runtime::watch::Change;
use serde_json::json;
use tokio::time::Instant;

use super::{Cluster, Index};
use crate::queue::Key;

fn key(name: &str) -> Key {
    Key {
        namespace: "default".to_owned(),
        name: name.to_owned(),
    }
}

fn scaled_object(name: &str, version: &str, target: &str, owner: Option<&str>) -> ScaledObject {
    let owners: Vec<_> = owner
        .map(|name| json!({ "apiVersion": "x", "kind": "InferenceSet", "name": name, "uid": "u" }))
        .into_iter()
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": name, "namespace": "default", "uid": name, "resourceVersion": version, "ownerReferences": owners },
        "spec": { "scaleTargetRef": { "kind": "InferenceSet", "name": target } },
    }))
    .unwrap()
}

fn applied(object: ScaledObject) -> Change<ScaledObject> {
    Change::Applied(Arc::new(object))
}

#[test]
fn scaled_object_concerns_its_namesake_its_target_its_owner_and_those_before() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let mut concerned = cluster.scaled_object(&applied(scaled_object("a", "1", "b", Some("c"))), now);
    concerned.sort();
    assert_eq!(concerned, [key("a"), key("b"), key("c")]);
    let concerned = cluster.scaled_object(&applied(scaled_object("a", "2", "d", None)), now);
    for name in ["a", "b", "c", "d"] {
        assert!(concerned.contains(&key(name)), "{name}: {concerned:?}");
    }
}

#[test]
fn what_we_wrote_is_believed_over_older_news_for_a_while() {
    let (mut cluster, now) = (Cluster::default(), Instant::now());
    let version = |cluster: &Cluster| {
        cluster
            .scaled_objects
            .get(&key("a"))
            .unwrap()
            .metadata
            .resource_version
            .clone()
            .unwrap()
    };
    cluster.wrote(scaled_object("a", "10", "a", None), now);
    assert_eq!(cluster.scaled_object(&applied(scaled_object("a", "9", "a", None)), now), []);
    assert_eq!(version(&cluster), "10");
    assert_ne!(cluster.scaled_object(&applied(scaled_object("a", "11", "a", None)), now), []);
    assert_eq!(version(&cluster), "11");

    // A cluster restored from a backup counts from a lower number for good.
    cluster.wrote(scaled_object("a", "20", "a", None), now);
    let later = now + Duration::from_secs(6);
    assert_ne!(cluster.scaled_object(&applied(scaled_object("a", "3", "a", None)), later), []);
    assert_eq!(version(&cluster), "3");
}

#[test]
fn deletion_of_a_predecessor_does_not_remove_its_successor() {
    let mut index: Index<ScaledObject> = Index::default();
    let mut successor = scaled_object("a", "2", "a", None);
    successor.metadata.uid = Some("successor".to_owned());
    index.apply(&applied(successor));
    index.apply(&Change::Deleted(Arc::new(scaled_object("a", "1", "a", None))));
    assert!(index.get(&key("a")).is_some());
    let gone = index.get(&key("a")).cloned().unwrap();
    index.apply(&Change::Deleted(gone));
    assert!(index.get(&key("a")).is_none() && index.keys().is_empty());
}

#[test]
fn workspace_is_news_only_when_its_owner_or_node_count_changes() {
    let mut cluster = Cluster::default();
    let workspace = |nodes: i32, ready: &str| -> Change<Workspace> {
        let workspace = json!({
            "metadata": {
                "name": "phi-4-x", "namespace": "default", "uid": "w",
                "ownerReferences": [{ "apiVersion": "x", "kind": "InferenceSet", "name": "phi-4", "uid": "u" }],
            },
            "status": { "targetNodeCount": nodes, "conditions": [{ "type": "ResourceReady", "status": ready }] },
        });
        Change::Applied(Arc::new(serde_json::from_value(workspace).unwrap()))
    };
    assert_eq!(cluster.workspace(&workspace(0, "False")), [key("phi-4")]);
    assert_eq!(cluster.workspace(&workspace(0, "True")), []);
    assert_eq!(cluster.workspace(&workspace(1, "True")), [key("phi-4")]);
    assert_eq!(cluster.workspace(&workspace(1, "False")), []);
}
