//! One kind's states, as they come: across lost connections, dead API servers and histories that go backwards.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::StreamExt;
use kube::api::DynamicObject;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::history::{History, Seen};
use super::lock;

/// A list that takes longer hangs on something that broke.
const LIST_WITHIN: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(300);

type Key = (String, String);

/// Never ends. A watcher that fails is replaced by a new one, which lists again.
pub(super) async fn collect(
    api: Api<DynamicObject>,
    kind: &'static str,
    begun: Instant,
    history: Arc<Mutex<History>>,
    leaving: Arc<BTreeSet<String>>,
    complete: watch::Sender<bool>,
) {
    let mut collector = Collector {
        kind,
        begun,
        history,
        leaving,
        known: BTreeMap::new(),
        old: true,
    };
    loop {
        let mut events = watcher(api.clone(), watcher::Config::default()).boxed();
        let mut listed: Option<BTreeSet<Key>> = None;
        let mut synced = false;
        loop {
            let next = if synced {
                events.next().await
            } else {
                timeout(LIST_WITHIN, events.next()).await.unwrap_or_default()
            };
            match next {
                Some(Ok(Event::Init)) => listed = Some(BTreeSet::new()),
                Some(Ok(Event::InitApply(object))) => {
                    if let Some(listed) = &mut listed {
                        listed.insert(key(&object));
                    }
                    collector.applied(object);
                }
                Some(Ok(Event::InitDone)) => {
                    collector.only(&listed.take().unwrap_or_default());
                    complete.send_replace(true);
                    collector.old = false;
                    synced = true;
                }
                Some(Ok(Event::Apply(object))) => collector.applied(object),
                Some(Ok(Event::Delete(object))) => collector.gone(key(&object)),
                Some(Err(_)) | None => break,
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

struct Collector {
    kind: &'static str,
    begun: Instant,
    history: Arc<Mutex<History>>,
    /// Namespaces that nobody looks at any more.
    leaving: Arc<BTreeSet<String>>,
    /// Which versions are written down.
    known: BTreeMap<Key, Option<String>>,
    /// Until the first list is complete.
    old: bool,
}

impl Collector {
    fn applied(&mut self, object: DynamicObject) {
        let (key, version) = (key(&object), object.resource_version());
        if self
            .known
            .insert(key.clone(), version.clone())
            .is_some_and(|known| known == version)
        {
            return;
        }
        if let Ok(value) = serde_json::to_value(object) {
            self.see(key, Some(value));
        }
    }

    fn gone(&mut self, key: Key) {
        if self.known.remove(&key).is_some() {
            self.see(key, None);
        }
    }

    /// After a list: everything else is gone.
    fn only(&mut self, listed: &BTreeSet<Key>) {
        let gone: Vec<Key> = self.known.keys().filter(|key| !listed.contains(*key)).cloned().collect();
        for key in gone {
            self.gone(key);
        }
    }

    fn see(&self, (namespace, name): Key, object: Option<Value>) {
        if self.leaving.contains(&namespace) {
            return;
        }
        lock(&self.history).seen.push(Seen {
            at: self.begun.elapsed(),
            kind: self.kind,
            namespace,
            name,
            object,
            old: self.old,
        });
    }
}

fn key(object: &DynamicObject) -> Key {
    (object.namespace().unwrap_or_default(), object.name_any())
}
