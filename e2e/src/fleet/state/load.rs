//! The load on an InferenceSet and who shares it: what the queue model finishes is counted at the pods.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::Inner;
use crate::fleet::pod::PodEntry;
use crate::fleet::settings::Settings;
use crate::queue::Queue;

/// One InferenceSet: its choices, its load and the containers that share it.
#[derive(Debug, Default)]
pub struct SetState {
    pub settings: Settings,
    pub queue: Queue,
    containers: BTreeMap<u64, Arc<PodEntry>>,
}

impl SetState {
    pub(super) fn advance(&mut self, now: Duration) {
        self.queue.advance(now);
        for done in self.queue.take_completions() {
            if let Some(entry) = self.containers.get(&done.replica) {
                entry.state().values.finished(done.queued, done.served, 1);
            }
        }
    }
}

impl Inner {
    pub(super) fn set_of(&mut self, entry: &PodEntry) -> Option<&mut SetState> {
        let key = entry.identity.inferenceset.clone()?;
        Some(self.sets.entry(key).or_default())
    }

    pub(super) fn join(&mut self, entry: &Arc<PodEntry>, container: u64, now: Duration) {
        if let Some(set) = self.set_of(entry) {
            set.containers.insert(container, Arc::clone(entry));
            set.queue.admit(now, container);
        }
    }

    pub(super) fn close(&mut self, entry: &PodEntry, container: u64, now: Duration) {
        if let Some(set) = self.set_of(entry) {
            set.queue.close(now, container);
        }
    }

    pub(super) fn leave(&mut self, entry: &PodEntry, now: Duration) {
        let container = entry.state().container;
        if let Some(set) = self.set_of(entry) {
            set.advance(now);
            set.queue.remove(now, container);
            set.containers.remove(&container);
        }
    }
}
