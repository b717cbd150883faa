//! The watched kinds: found by discovery, followed by supervised watches, started anew when the API server serves them in
//! another version.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use keda_kaito_core::crd::{InferenceSet, ScaledObject};
use keda_kaito_core::names::{CREATED_BY_LABEL, INFERENCE_SET_KIND, KAITO_GROUP, KAITO_VERSIONS, WORKSPACE_KIND};
use keda_kaito_runtime::client::Clients;
use keda_kaito_runtime::crds::GroupKindWanted;
use keda_kaito_runtime::watch::{Change, WatchConfig, WatchMetrics, Watched, supervise, supervise_dynamic};
use kube::core::ApiResource;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::index::leader;
use crate::pod::Pod;
use crate::registry::SetKey;
use crate::registry::set::Objects;
use crate::registry::trigger::{TriggerRules, triggers_of};
use crate::workspace::{Workspace, WorkspaceKind};

/// The first Kubernetes whose HPAs keep their tolerance.
const TOLERANCE_SINCE: (u32, u32) = (1, 35);
/// Between two questions for the API server's version.
const VERSION_EVERY: Duration = Duration::from_secs(60);
const VERSION_RETRY: Duration = Duration::from_secs(2);

/// All watches of one discovery.
pub struct Watches {
    pub inference_sets: Watched<InferenceSet>,
    pub workspaces: Watched<Workspace>,
    pub scaled_objects: Watched<ScaledObject>,
    pub pods: Watched<Pod>,
    kinds: Kinds,
}

/// In which versions the kinds are served.
#[derive(Clone, Debug)]
pub struct Kinds {
    pub inference_set: ApiResource,
    pub workspace: WorkspaceKind,
}

/// Something changed.
pub enum Changed {
    InferenceSet(Change<InferenceSet>),
    Workspace(Change<Workspace>),
    ScaledObject(Change<ScaledObject>),
    Pod(Change<Pod>),
}

/// What drives the watches: essential while they are used.
pub type Drivers = Vec<Pin<Box<dyn Future<Output = ()> + Send>>>;

/// The kinds that must be served.
#[must_use]
pub fn wanted_kinds() -> Vec<GroupKindWanted> {
    vec![
        GroupKindWanted::new(KAITO_GROUP, INFERENCE_SET_KIND, &KAITO_VERSIONS),
        GroupKindWanted::new(KAITO_GROUP, WORKSPACE_KIND, &KAITO_VERSIONS),
        GroupKindWanted::new("keda.sh", "ScaledObject", &["v1alpha1"]),
    ]
}

impl Kinds {
    /// From what was served for [`wanted_kinds`], in that order.
    #[must_use]
    pub fn of(served: &[ApiResource]) -> Option<Self> {
        Some(Self {
            inference_set: served.first()?.clone(),
            workspace: WorkspaceKind::new(served.get(1)?.clone()),
        })
    }
}

impl Watches {
    /// Prepares the watches; nothing is asked before the drivers run.
    pub fn start(clients: &Clients, kinds: Kinds, metrics: &WatchMetrics, stop: &CancellationToken) -> (Self, Drivers) {
        let client = || clients.watch.clone();
        let plain = WatchConfig::default;
        let labelled = || WatchConfig {
            labels: Some(CREATED_BY_LABEL.to_owned()),
            ..WatchConfig::default()
        };
        let api = Api::all_with(client(), &kinds.inference_set);
        let (inference_sets, first) = supervise_dynamic(api, kinds.inference_set.clone(), plain(), metrics, stop.clone());
        let api = Api::all_with(client(), &kinds.workspace);
        let (workspaces, second) = supervise_dynamic(api, kinds.workspace.clone(), labelled(), metrics, stop.clone());
        let (scaled_objects, third) = supervise(Api::all(client()), plain(), metrics, stop.clone());
        let (pods, fourth) = supervise(Api::all(client()), labelled(), metrics, stop.clone());
        let watches = Self {
            inference_sets,
            workspaces,
            scaled_objects,
            pods,
            kinds,
        };
        (
            watches,
            vec![Box::pin(first), Box::pin(second), Box::pin(third), Box::pin(fourth)],
        )
    }

    /// Waits until every store is complete; false when a watch ended before.
    pub async fn synced(&self) -> bool {
        self.inference_sets.freshness.synced().await
            && self.workspaces.freshness.synced().await
            && self.scaled_objects.freshness.synced().await
            && self.pods.freshness.synced().await
    }

    /// The next change of anything; `None` once a watch has ended. Dropping the future loses nothing.
    pub async fn changed(&mut self) -> Option<Changed> {
        tokio::select! {
            change = self.inference_sets.changes.next() => change.map(Changed::InferenceSet),
            change = self.workspaces.changes.next() => change.map(Changed::Workspace),
            change = self.scaled_objects.changes.next() => change.map(Changed::ScaledObject),
            change = self.pods.changes.next() => change.map(Changed::Pod),
        }
    }

    /// The objects of one InferenceSet, by name.
    #[must_use]
    pub fn objects<'a>(
        &self,
        key: &SetKey,
        scaled_objects: impl Iterator<Item = &'a str>,
        workspaces: impl Iterator<Item = &'a str>,
        rules: &TriggerRules,
    ) -> Objects {
        let namespace = &*key.namespace;
        let mut triggers = Vec::new();
        for name in scaled_objects {
            if let Some(object) = self.scaled_objects.store.get(&ObjectRef::new(name).within(namespace)) {
                let ours = triggers_of(&object, rules).into_iter().filter(|(of, _)| of == key);
                triggers.extend(ours.map(|(_, facts)| facts));
            }
        }
        let workspace = |name: &str| {
            let found = ObjectRef::new_with(name, self.kinds.workspace.clone()).within(namespace);
            let pod = self.pods.store.get(&ObjectRef::new(&leader(name)).within(namespace));
            self.workspaces.store.get(&found).map(|workspace| (workspace, pod))
        };
        let object = ObjectRef::new_with(&key.name, self.kinds.inference_set.clone()).within(namespace);
        Objects {
            object: self.inference_sets.store.get(&object),
            triggers,
            workspaces: workspaces.filter_map(workspace).collect(),
        }
    }
}

/// Whether HPAs keep their `tolerance` field. Asks until there is an answer.
pub async fn tolerance_in_force(client: &Client) -> bool {
    loop {
        match client.apiserver_version().await {
            Ok(version) => return keeps_tolerance(&version.major, &version.minor),
            Err(error) => tracing::warn!(%error, "failed to ask the API server for its version"),
        }
        tokio::time::sleep(VERSION_RETRY).await;
    }
}

/// Resolves once the answer is another than `before`.
pub async fn tolerance_changed(client: &Client, before: bool) {
    loop {
        tokio::time::sleep(VERSION_EVERY).await;
        if tolerance_in_force(client).await != before {
            return;
        }
    }
}

/// Versions such as `1` and `35+`. One that cannot be read counts as old: the tolerance then is the default one.
fn keeps_tolerance(major: &str, minor: &str) -> bool {
    let number = |text: &str| {
        let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
        digits.parse::<u32>().ok()
    };
    number(major)
        .zip(number(minor))
        .is_some_and(|version| version >= TOLERANCE_SINCE)
}

/// The pod of that name as it is now.
pub fn pod_now(store: &kube::runtime::reflector::Store<Pod>, namespace: &str, name: &str) -> Option<Arc<Pod>> {
    store.get(&ObjectRef::new(name).within(namespace))
}

#[cfg(test)]
mod tests {
    use super::keeps_tolerance;

    #[test]
    fn tolerance_is_kept_from_1_35_on() {
        for (major, minor, kept) in [
            ("1", "34", false),
            ("1", "35", true),
            ("1", "36+", true),
            ("2", "0", true),
            ("", "", false),
        ] {
            assert_eq!(keeps_tolerance(major, minor), kept, "{major}.{minor}");
        }
    }
}
