//! The store of one watch and everything that follows a change of it. It makes no calls.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use kube::Resource;
use kube::core::DeserializeGuard;
use kube::core::error_boundary::InvalidObject;
use kube::runtime::reflector::{ObjectRef, Store, store::Writer};
use kube::runtime::watcher::Event;
use tokio::time::Instant;

use super::Change;
use super::changes::Push;
use super::freshness::Confirm;
use super::metrics::Meters;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

pub(super) struct View<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    writer: Writer<K>,
    kind: K::DynamicType,
    queue: Push<K>,
    confirm: Confirm,
    pub(super) meters: Meters,
    trim: fn(&mut K),
}

impl<K> View<K>
where
    K: Resource + Clone + 'static,
    K::DynamicType: Eq + Hash + Clone,
{
    pub(super) fn new(kind: K::DynamicType, queue: Push<K>, confirm: Confirm, meters: Meters, trim: fn(&mut K)) -> Self {
        Self {
            writer: Writer::new(kind.clone()),
            kind,
            queue,
            confirm,
            meters,
            trim,
        }
    }

    pub(super) fn store(&self) -> Store<K> {
        self.writer.as_reader()
    }

    pub(super) fn confirm(&self) {
        self.confirm.confirm(Instant::now());
    }

    /// The object without what is not kept.
    pub(super) fn trimmed(&self, item: DeserializeGuard<K>) -> DeserializeGuard<K> {
        DeserializeGuard(item.0.map(|object| self.trim(object)))
    }

    /// Replaces everything by a complete list of trimmed objects. `report_all` reports unchanged objects too.
    pub(super) async fn replace(&mut self, items: Vec<DeserializeGuard<K>>, report_all: bool) {
        let store = self.store();
        let mut gone: HashMap<ObjectRef<K>, Arc<K>> =
            store.state().into_iter().map(|object| (self.key(&*object), object)).collect();
        let mut applied = Vec::with_capacity(items.len());
        self.writer.apply_watcher_event(&Event::Init);
        for DeserializeGuard(item) in items {
            let object = match item {
                Ok(object) => object,
                Err(invalid) => match self.last_readable(&invalid) {
                    Some(object) => object,
                    None => continue,
                },
            };
            let key = self.key(&object);
            let known = gone.get(&key).filter(|known| known.meta().uid == object.meta().uid);
            // All of the metadata: a cluster restored from a backup gives out the same versions again.
            if report_all || known.is_none_or(|known| known.meta() != object.meta()) {
                applied.push(key.clone());
            }
            if known.is_some() {
                gone.remove(&key);
            }
            self.writer.apply_watcher_event(&Event::InitApply(object));
        }
        self.writer.apply_watcher_event(&Event::InitDone);
        self.confirm();
        for object in gone.into_values() {
            self.queue.push(Change::Deleted(object)).await;
        }
        for key in applied {
            if let Some(object) = store.get(&key) {
                self.queue.push(Change::Applied(object)).await;
            }
        }
    }

    /// An object was added or modified.
    pub(super) async fn apply(&mut self, item: DeserializeGuard<K>) {
        let object = match item.0 {
            Ok(object) => self.trim(object),
            Err(invalid) => {
                self.last_readable(&invalid);
                return;
            }
        };
        let key = self.key(&object);
        if let Some(known) = self.store().get(&key)
            && known.meta().uid != object.meta().uid
        {
            self.queue.push(Change::Deleted(known)).await;
        }
        self.writer.apply_watcher_event(&Event::Apply(object));
        if let Some(object) = self.store().get(&key) {
            self.queue.push(Change::Applied(object)).await;
        }
    }

    /// An object was deleted.
    pub(super) async fn delete(&mut self, item: DeserializeGuard<K>) {
        let last = match item.0 {
            Ok(object) => self.trim(object),
            Err(invalid) => {
                self.skip(&invalid);
                match self.store().get(&self.invalid_key(&invalid)) {
                    Some(known) => K::clone(&known),
                    None => return,
                }
            }
        };
        self.writer.apply_watcher_event(&Event::Delete(last.clone()));
        self.queue.push(Change::Deleted(Arc::new(last))).await;
    }

    /// An object that exists but cannot be read stays as it was last read: it is not gone.
    fn last_readable(&self, invalid: &InvalidObject) -> Option<K> {
        self.skip(invalid);
        let known = self.store().get(&self.invalid_key(invalid))?;
        (known.meta().uid == invalid.metadata.uid).then(|| K::clone(&known))
    }

    fn skip(&self, invalid: &InvalidObject) {
        self.meters.skipped();
        tracing::warn!(
            kind = self.meters.kind,
            namespace = invalid.metadata.namespace,
            name = invalid.metadata.name,
            error = invalid.error,
            "skipped an object that cannot be read"
        );
    }

    fn trim(&self, mut object: K) -> K {
        // Of the size of the object again, and only kubectl's.
        if let Some(annotations) = &mut object.meta_mut().annotations {
            annotations.remove(LAST_APPLIED);
        }
        (self.trim)(&mut object);
        object
    }

    fn key(&self, object: &K) -> ObjectRef<K> {
        ObjectRef::from_obj_with(object, self.kind.clone())
    }

    fn invalid_key(&self, invalid: &InvalidObject) -> ObjectRef<K> {
        let key = ObjectRef::new_with(invalid.metadata.name.as_deref().unwrap_or_default(), self.kind.clone());
        match &invalid.metadata.namespace {
            Some(namespace) => key.within(namespace),
            None => key,
        }
    }
}
