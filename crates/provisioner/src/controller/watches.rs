//! The five watches of a session, merged into one stream of news.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::{BoxStream, SelectAll};
use k8s_openapi::api::coordination::v1::Lease;
use keda_kaito_core::crd::{ClusterTriggerAuthentication, InferenceSet, ScaledObject, Workspace};
use keda_kaito_core::{contest, names, take_over};
use keda_kaito_runtime::readiness::Gate;
use keda_kaito_runtime::watch::{
    Change, Freshness, WatchConfig, WatchMetrics, Watched, supervise, supervise_dynamic, supervise_trimmed,
};
use kube::runtime::reflector::Store;
use kube::{Api, Client};
use tokio_util::sync::CancellationToken;

use crate::discovery::Served;

/// Something the cluster said.
pub(crate) enum News {
    InferenceSet(Change<InferenceSet>),
    Workspace(Change<Workspace>),
    ScaledObject(Change<ScaledObject>),
    TriggerAuthentication(Change<ClusterTriggerAuthentication>),
    Lease(Change<Lease>),
}

/// The reading side of the watches.
pub(crate) struct Watches {
    news: SelectAll<BoxStream<'static, News>>,
    freshness: Vec<(&'static str, Freshness)>,
    inference_sets: Store<InferenceSet>,
    workspaces: Store<Workspace>,
    scaled_objects: Store<ScaledObject>,
    trigger_authentications: Store<ClusterTriggerAuthentication>,
    leases: Option<Store<Lease>>,
}

/// The future that keeps one watch alive.
pub(crate) type Driver = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Starts nothing: the drivers are to be spawned. `leases` is the namespace of the scaler's Leases, if they matter.
pub(crate) fn watches(
    client: &Client,
    served: &Served,
    leases: Option<&str>,
    metrics: &WatchMetrics,
    stop: &CancellationToken,
) -> (Watches, Vec<(&'static str, Driver)>) {
    let config = WatchConfig::default;
    let kind = &served.inference_sets;
    let (inference_sets, first) = supervise_trimmed(
        Api::all_with(client.clone(), kind),
        kind.clone(),
        config(),
        metrics,
        stop.clone(),
        contest::slim,
    );
    let kind = &served.workspaces;
    let (workspaces, second) = supervise_dynamic(
        Api::all_with(client.clone(), kind),
        kind.clone(),
        config(),
        metrics,
        stop.clone(),
    );
    let api = Api::<ScaledObject>::all(client.clone());
    let (scaled_objects, third) = supervise_trimmed(api, (), config(), metrics, stop.clone(), take_over::slim);
    let one = WatchConfig {
        fields: Some(format!("metadata.name={}", names::TRIGGER_AUTHENTICATION)),
        ..config()
    };
    let (trigger_authentications, fourth) = supervise(Api::all(client.clone()), one, metrics, stop.clone());
    let mut drivers: Vec<(&'static str, Driver)> = vec![
        ("watch of InferenceSets", Box::pin(first)),
        ("watch of Workspaces", Box::pin(second)),
        ("watch of ScaledObjects", Box::pin(third)),
        ("watch of the ClusterTriggerAuthentication", Box::pin(fourth)),
    ];
    let mut watches = Watches {
        news: SelectAll::new(),
        freshness: Vec::new(),
        inference_sets: inference_sets.store.clone(),
        workspaces: workspaces.store.clone(),
        scaled_objects: scaled_objects.store.clone(),
        trigger_authentications: trigger_authentications.store.clone(),
        leases: None,
    };
    watches.add("InferenceSets", inference_sets, News::InferenceSet);
    watches.add("Workspaces", workspaces, News::Workspace);
    watches.add("ScaledObjects", scaled_objects, News::ScaledObject);
    watches.add(
        "the ClusterTriggerAuthentication",
        trigger_authentications,
        News::TriggerAuthentication,
    );
    if let Some(namespace) = leases {
        let ours = format!(
            "{}={},{}={}",
            names::NAME_LABEL,
            names::APP_NAME,
            names::COMPONENT_LABEL,
            names::SCALER_LEASE_COMPONENT
        );
        let config = WatchConfig {
            labels: Some(ours),
            ..config()
        };
        let (leases, fifth) = supervise(Api::namespaced(client.clone(), namespace), config, metrics, stop.clone());
        watches.leases = Some(leases.store.clone());
        watches.add("Leases", leases, News::Lease);
        drivers.push(("watch of Leases", Box::pin(fifth)));
    }
    (watches, drivers)
}

impl Watches {
    fn add<K>(&mut self, name: &'static str, watched: Watched<K>, news: fn(Change<K>) -> News)
    where
        K: kube::Resource + Clone + Send + Sync + 'static,
        K::DynamicType: Eq + std::hash::Hash + Clone,
    {
        self.freshness.push((name, watched.freshness));
        self.news.push(watched.changes.map(news).boxed());
    }

    /// News of a test, in order, with nothing known before and silence after.
    #[cfg(test)]
    pub(super) fn scripted(news: BoxStream<'static, News>) -> Self {
        Self {
            news: [news].into_iter().collect(),
            freshness: Vec::new(),
            inference_sets: kube::runtime::reflector::store::Writer::new(names_of_a_kind()).as_reader(),
            workspaces: kube::runtime::reflector::store::Writer::new(names_of_a_kind()).as_reader(),
            scaled_objects: kube::runtime::reflector::store::Writer::default().as_reader(),
            trigger_authentications: kube::runtime::reflector::store::Writer::default().as_reader(),
            leases: None,
        }
    }

    /// Waits for the first complete list of everything; the gate says which are missing. False when a watch ended.
    pub(crate) async fn synced(&mut self, gate: &Gate) -> bool {
        loop {
            let missing: Vec<&str> = self
                .freshness
                .iter()
                .filter(|(_, freshness)| !freshness.is_synced())
                .map(|(name, _)| *name)
                .collect();
            if missing.is_empty() {
                gate.open();
                return true;
            }
            gate.close(format!("waiting for the first list of {}", missing.join(", ")));
            let first = self.freshness.iter().find(|(_, freshness)| !freshness.is_synced());
            let Some((_, freshness)) = first else { continue };
            if !freshness.synced().await {
                return false;
            }
        }
    }

    /// The next change; `None` once every watch has ended.
    pub(crate) async fn next(&mut self) -> Option<News> {
        self.news.next().await
    }

    /// Everything in the stores, as if it had just changed.
    pub(crate) fn known(&self) -> Vec<News> {
        let mut news = Vec::new();
        collect(&mut news, &self.trigger_authentications, News::TriggerAuthentication);
        if let Some(leases) = &self.leases {
            collect(&mut news, leases, News::Lease);
        }
        collect(&mut news, &self.workspaces, News::Workspace);
        collect(&mut news, &self.scaled_objects, News::ScaledObject);
        collect(&mut news, &self.inference_sets, News::InferenceSet);
        news
    }
}

fn collect<K>(all: &mut Vec<News>, store: &Store<K>, news: fn(Change<K>) -> News)
where
    K: kube::Resource + Clone + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone,
{
    let objects: Vec<Arc<K>> = store.state();
    all.extend(objects.into_iter().map(|object| news(Change::Applied(object))));
}

#[cfg(test)]
fn names_of_a_kind() -> kube::core::ApiResource {
    kube::core::ApiResource {
        group: names::KAITO_GROUP.to_owned(),
        version: "v1beta1".to_owned(),
        api_version: "kaito.sh/v1beta1".to_owned(),
        kind: "Any".to_owned(),
        plural: "anys".to_owned(),
    }
}
