//! The slots for scrapes under way: how many in all, per namespace, per InferenceSet, and a small share of each for targets
//! that have not answered lately, so that dead ones keep nobody waiting. Queues take turns by InferenceSet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::registry::SetKey;
use crate::registry::target::TargetId;

/// Queues looked at per turn; the rest gets its turn next time.
const LOOK_AT: usize = 64;

/// Slots in all, per namespace, per InferenceSet.
pub(super) const SLOTS: Limits = Limits {
    all: 64,
    namespace: 16,
    set: 8,
};
/// Of those, the quarter for targets without a recent success.
pub(super) const UNPROVEN_SLOTS: Limits = Limits {
    all: 16,
    namespace: 4,
    set: 2,
};

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) namespace: usize,
    pub(super) set: usize,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    proven: Lane,
    unproven: Lane,
    /// In flight, and whether it went as unproven.
    flying: HashMap<TargetId, bool>,
    used: Used,
    used_unproven: Used,
}

#[derive(Debug, Default)]
struct Lane {
    ring: VecDeque<SetKey>,
    waiting: HashMap<SetKey, VecDeque<TargetId>>,
}

#[derive(Debug, Default)]
struct Used {
    all: usize,
    namespaces: HashMap<Arc<str>, usize>,
    sets: HashMap<SetKey, usize>,
}

impl Lanes {
    pub(super) fn queue(&mut self, key: &SetKey, id: TargetId, proven: bool) {
        let lane = if proven { &mut self.proven } else { &mut self.unproven };
        let waiting = lane.waiting.entry(key.clone()).or_insert_with(|| {
            lane.ring.push_back(key.clone());
            VecDeque::new()
        });
        waiting.push_back(id);
    }

    /// The next target that has a slot; those for which `valid` does not hold have left meanwhile.
    pub(super) fn take(&mut self, valid: impl Fn(TargetId) -> bool) -> Option<(SetKey, TargetId)> {
        let (used, few) = (&self.used, &self.used_unproven);
        let fits = |key: &SetKey| used.fits(key, SLOTS);
        let unproven = self.unproven.take(|key| fits(key) && few.fits(key, UNPROVEN_SLOTS), &valid);
        let is_unproven = unproven.is_some();
        let (key, id) = unproven.or_else(|| self.proven.take(fits, &valid))?;
        self.used.add(&key);
        if is_unproven {
            self.used_unproven.add(&key);
        }
        self.flying.insert(id, is_unproven);
        Some((key, id))
    }

    pub(super) fn release(&mut self, key: &SetKey, id: TargetId) {
        if let Some(unproven) = self.flying.remove(&id) {
            self.used.remove(key);
            if unproven {
                self.used_unproven.remove(key);
            }
        }
    }
}

impl Lane {
    fn take(&mut self, fits: impl Fn(&SetKey) -> bool, valid: impl Fn(TargetId) -> bool) -> Option<(SetKey, TargetId)> {
        for _ in 0..self.ring.len().min(LOOK_AT) {
            let key = self.ring.pop_front()?;
            let waiting = self.waiting.get_mut(&key)?;
            let mut taken = None;
            if fits(&key) {
                taken = std::iter::from_fn(|| waiting.pop_front()).find(|id| valid(*id));
            }
            if waiting.is_empty() {
                self.waiting.remove(&key);
            } else {
                self.ring.push_back(key.clone());
            }
            if let Some(id) = taken {
                return Some((key, id));
            }
        }
        None
    }
}

impl Used {
    fn fits(&self, key: &SetKey, limits: Limits) -> bool {
        let of = |count: Option<&usize>| count.copied().unwrap_or(0);
        self.all < limits.all && of(self.namespaces.get(&key.namespace)) < limits.namespace && of(self.sets.get(key)) < limits.set
    }

    fn add(&mut self, key: &SetKey) {
        self.all += 1;
        *self.namespaces.entry(Arc::clone(&key.namespace)).or_default() += 1;
        *self.sets.entry(key.clone()).or_default() += 1;
    }

    fn remove(&mut self, key: &SetKey) {
        self.all = self.all.saturating_sub(1);
        if let Some(count) = self.namespaces.get_mut(&key.namespace) {
            *count -= 1;
            if *count == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
        if let Some(count) = self.sets.get_mut(key) {
            *count -= 1;
            if *count == 0 {
                self.sets.remove(key);
            }
        }
    }
}
