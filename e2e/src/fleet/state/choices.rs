//! Changing what a test has chosen, and telling the pods it concerns.

use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Fleet, Inner};
use crate::fleet::Key;
use crate::fleet::addresses::Order;
use crate::fleet::pod::Identity;
use crate::fleet::settings::{Observations, Settings};

impl Fleet {
    /// Changes an InferenceSet's settings.
    ///
    /// # Errors
    /// What is wrong with the patch; nothing has changed then.
    pub fn patch_set(&self, key: &Key, patch: &Map<String, Value>) -> Result<Settings, String> {
        let now = self.now();
        let mut inner = self.lock();
        let settings = inner.sets.entry(key.clone()).or_default().settings.patched(patch)?;
        inner.set_settings(key, settings.clone(), now);
        self.spread(inner, now);
        Ok(settings)
    }

    /// Changes one pod's settings, which end with it.
    ///
    /// # Errors
    /// What is wrong with the patch; nothing has changed then.
    pub fn patch_pod(&self, key: &Key, patch: &Map<String, Value>) -> Result<Settings, String> {
        if let Some(key) = ["rate", "service"].iter().find(|key| patch.contains_key(**key)) {
            return Err(format!("{key:?} belongs to an InferenceSet"));
        }
        let mut inner = self.lock();
        let settings = inner.pod_settings.get(key).cloned().unwrap_or_default().patched(patch)?;
        inner.pod_settings.insert(key.clone(), settings.clone());
        self.spread(inner, self.now());
        Ok(settings)
    }

    /// Undoes every choice; counters and pods stay.
    pub fn reset(&self) {
        let now = self.now();
        let mut inner = self.lock();
        inner.pod_settings.clear();
        inner.addresses.forget_orders();
        for key in inner.sets.keys().cloned().collect::<Vec<_>>() {
            inner.set_settings(&key, Settings::default(), now);
        }
        self.spread(inner, now);
    }

    /// Tells every pod whose settings are others now.
    fn spread(&self, inner: MutexGuard<'_, Inner>, now: Duration) {
        let mut changed = Vec::new();
        for entry in inner.pods.values() {
            let settings = inner.effective(&entry.identity);
            let told = entry.settings.send_if_modified(|current| {
                let differs = **current != settings;
                if differs {
                    *current = Arc::new(settings);
                }
                differs
            });
            if told {
                changed.push(Arc::clone(entry));
            }
        }
        drop(inner);
        for entry in changed {
            self.follow(&entry, now);
        }
    }

    /// Adds observations of queue time once, to the pods that `chosen` picks.
    pub fn add_observations(&self, observations: &[Observations], chosen: impl Fn(&Identity) -> bool) {
        for entry in self.pods() {
            if chosen(&entry.identity) {
                let mut state = entry.state();
                for observed in observations {
                    state.values.finished(observed.seconds, 1.0, observed.count);
                }
            }
        }
    }

    /// An address for a coming pod.
    pub fn order_address(&self, order: Order) {
        self.lock().addresses.order(order);
    }
}

impl Inner {
    pub(super) fn effective(&self, identity: &Identity) -> Settings {
        let none = Settings::default();
        let set = identity.inferenceset.as_ref().and_then(|set| self.sets.get(set));
        let wider = set.map_or(&none, |set| &set.settings);
        self.pod_settings.get(&identity.key).unwrap_or(&none).or(wider)
    }

    fn set_settings(&mut self, key: &Key, settings: Settings, now: Duration) {
        let Some(set) = self.sets.get_mut(key) else {
            return;
        };
        set.advance(now);
        if set.settings.service != settings.service {
            set.queue.set_service(now, settings.service());
        }
        if set.settings.rate != settings.rate {
            set.queue.set_rate(now, settings.rate.unwrap_or_default());
        }
        set.settings = settings;
    }
}
