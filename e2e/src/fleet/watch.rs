//! Follows every Pod of the cluster and gives each a keeper and, where it serves, a listener.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client};

use super::Key;
use super::keeper::Keeping;
use super::listener;
use super::pod::Identity;

/// Runs for as long as the process lives.
///
/// # Errors
/// When the watch ends, which it does not by itself.
pub async fn follow_pods(client: Client, keeping: Arc<Keeping>) -> anyhow::Result<()> {
    let stream = watcher(Api::<Pod>::all(client), watcher::Config::default()).default_backoff();
    let mut stream = std::pin::pin!(stream);
    let mut listed = BTreeSet::new();
    while let Some(event) = stream.next().await {
        match event {
            Ok(Event::Init) => listed.clear(),
            Ok(Event::InitApply(pod)) => {
                listed.insert(Identity::of(&pod).key);
                observe(&keeping, &pod);
            }
            Ok(Event::InitDone) => forget_unlisted(&keeping, &listed),
            Ok(Event::Apply(pod)) => observe(&keeping, &pod),
            Ok(Event::Delete(pod)) => {
                let identity = Identity::of(&pod);
                let known = keeping.fleet.pod(&identity.key);
                if let Some(entry) = known.filter(|entry| entry.identity.uid == identity.uid) {
                    keeping.fleet.forget(&entry);
                }
            }
            Err(error) => tracing::warn!(%error, "cannot watch pods"),
        }
    }
    anyhow::bail!("the watch of pods has ended")
}

fn observe(keeping: &Arc<Keeping>, pod: &Pod) {
    let Some(entry) = keeping.fleet.observe(pod) else {
        return;
    };
    if entry.identity.serves() {
        tokio::spawn(listener::serve(Arc::clone(&keeping.fleet), Arc::clone(&entry)));
    }
    tokio::spawn(Arc::clone(keeping).keep(entry));
}

/// Pods that went away while nobody watched.
fn forget_unlisted(keeping: &Keeping, listed: &BTreeSet<Key>) {
    for entry in keeping.fleet.pods() {
        if !listed.contains(&entry.identity.key) {
            keeping.fleet.forget(&entry);
        }
    }
}
