//! Supervised watches: a store that follows the cluster, the changes to it, and how fresh it is known to be.
//! Lists and watches are issued here and not through kube's `watcher`, which hides bookmarks and reopened watches (so
//! that freshness cannot be told), waits for a hung list for ever and never lists again after a plain HTTP 410.

use std::future::Future;
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::reflector::Store;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

pub use changes::Changes;
pub use freshness::Freshness;
pub use metrics::WatchMetrics;

mod changes;
mod freshness;
mod metrics;
mod session;
mod view;
mod wire;

/// What to watch and how patiently.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchConfig {
    /// Label selector; everything when absent.
    pub labels: Option<String>,
    /// Field selector such as `metadata.name=x`; everything when absent.
    pub fields: Option<String>,
    /// How long the server keeps one watch open, in whole seconds. Its reopening confirms the view even when nothing
    /// happens; a watch that stays silent 5 s longer is dead.
    pub server_timeout: Duration,
    /// A list, all pages together, that takes longer is given up.
    pub list_timeout: Duration,
    /// Everything is listed again this often, and every object reported as applied.
    pub resync: Duration,
}

impl Default for WatchConfig {
    fn default() -> Self {
        Self {
            labels: None,
            fields: None,
            server_timeout: Duration::from_secs(20),
            list_timeout: Duration::from_secs(30),
            resync: Duration::from_secs(600),
        }
    }
}

/// Something happened to an object.
#[derive(Debug)]
pub enum Change<K> {
    /// The object exists as it is here: new, changed, or listed again.
    Applied(Arc<K>),
    /// The object is gone; this is the last that was seen of it.
    Deleted(Arc<K>),
}

impl<K> Change<K> {
    /// The object, whichever way it changed.
    #[must_use]
    pub fn object(&self) -> &Arc<K> {
        match self {
            Self::Applied(object) | Self::Deleted(object) => object,
        }
    }
}

impl<K> Clone for Change<K> {
    fn clone(&self) -> Self {
        match self {
            Self::Applied(object) => Self::Applied(Arc::clone(object)),
            Self::Deleted(object) => Self::Deleted(Arc::clone(object)),
        }
    }
}

/// The reading side of a supervised watch.
pub struct Watched<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    /// Every object as last seen. Empty before the first complete list; never half-filled.
    pub store: Store<K>,
    /// What changes from the first list on. Drop it when only the store matters.
    pub changes: Changes<K>,
    /// How long ago the store was last known to be current.
    pub freshness: Freshness,
}

/// Watches a kind known at compile time. See [`supervise_dynamic`].
pub fn supervise<K>(
    api: Api<K>,
    config: WatchConfig,
    metrics: &WatchMetrics,
    shutdown: CancellationToken,
) -> (Watched<K>, impl Future<Output = ()> + Send + use<K>)
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Default + Eq + Hash + Clone + Send + Sync,
{
    supervise_dynamic(api, K::DynamicType::default(), config, metrics, shutdown)
}

/// Watches a kind, which may have been chosen at run time. See [`supervise_trimmed`]; nothing is kept of
/// `metadata.managedFields`.
pub fn supervise_dynamic<K>(
    api: Api<K>,
    kind: K::DynamicType,
    config: WatchConfig,
    metrics: &WatchMetrics,
    shutdown: CancellationToken,
) -> (Watched<K>, impl Future<Output = ()> + Send + use<K>)
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let trim = |object: &mut K| object.meta_mut().managed_fields = None;
    supervise_trimmed(api, kind, config, metrics, shutdown, trim)
}

/// Watches a kind and keeps of each object what `trim` leaves of it. The future does the work, as an essential task; it ends
/// only after `shutdown`. Use a client without a read timeout.
pub fn supervise_trimmed<K>(
    api: Api<K>,
    kind: K::DynamicType,
    config: WatchConfig,
    metrics: &WatchMetrics,
    shutdown: CancellationToken,
    trim: fn(&mut K),
) -> (Watched<K>, impl Future<Output = ()> + Send + use<K>)
where
    K: Resource + Clone + DeserializeOwned + Send + Sync + 'static,
    K::DynamicType: Eq + Hash + Clone + Send + Sync,
{
    let (confirm, freshness) = freshness::channel();
    let meters = metrics.add(&K::kind(&kind), freshness.clone());
    let (queue, changes) = changes::channel();
    let view = view::View::new(kind, queue, confirm, meters, trim);
    let watched = Watched {
        store: view.store(),
        changes,
        freshness,
    };
    let path = api.resource_url().to_owned();
    let session = session::Session::new(api.into_client(), &path, config, view);
    let driver = async move {
        shutdown.run_until_cancelled(session.run()).await;
    };
    (watched, driver)
}

#[cfg(test)]
mod tests;
