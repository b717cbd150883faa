//! The slots for scrapes under way: how many in all, per namespace, per InferenceSet, and a small share of each for targets
//! that failed when they were last asked, so that dead ones keep nobody waiting. Queues take turns by InferenceSet.

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
/// Of those, the quarter for targets whose last scrapes failed.
pub(super) const FAILED_SLOTS: Limits = Limits {
    all: 16,
    namespace: 4,
    set: 2,
};
/// Of those, what is left to targets that keep failing: one that failed once must not queue behind them.
pub(super) const LASTING_SLOTS: Limits = Limits {
    all: 8,
    namespace: 2,
    set: 1,
};
/// Failures in a row that are no accident.
const LASTING: u32 = 3;

/// How a target did lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Standing {
    /// New, or it answered the last time.
    Good,
    Failed,
    /// It has failed several times in a row.
    Lasting,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) all: usize,
    pub(super) namespace: usize,
    pub(super) set: usize,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    good: Lane,
    failed: Lane,
    lasting: Lane,
    /// In flight, and in which standing it left.
    flying: HashMap<TargetId, Standing>,
    used: Used,
    used_by_failed: Used,
    used_by_lasting: Used,
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

impl Standing {
    pub(super) fn after(failures: u32) -> Self {
        match failures {
            0 => Self::Good,
            1..LASTING => Self::Failed,
            LASTING.. => Self::Lasting,
        }
    }
}

impl Lanes {
    pub(super) fn queue(&mut self, key: &SetKey, id: TargetId, standing: Standing) {
        let lane = match standing {
            Standing::Good => &mut self.good,
            Standing::Failed => &mut self.failed,
            Standing::Lasting => &mut self.lasting,
        };
        let waiting = lane.waiting.entry(key.clone()).or_insert_with(|| {
            lane.ring.push_back(key.clone());
            VecDeque::new()
        });
        waiting.push_back(id);
    }

    /// The next target that has a slot; those for which `valid` does not hold have left meanwhile.
    pub(super) fn take(&mut self, valid: impl Fn(TargetId) -> bool) -> Option<(SetKey, TargetId)> {
        let (key, id, standing) = self.choose(valid)?;
        self.used.add(&key);
        if standing >= Standing::Failed {
            self.used_by_failed.add(&key);
        }
        if standing >= Standing::Lasting {
            self.used_by_lasting.add(&key);
        }
        self.flying.insert(id, standing);
        Some((key, id))
    }

    /// The smallest shares go first: they are soon used up.
    fn choose(&mut self, valid: impl Fn(TargetId) -> bool) -> Option<(SetKey, TargetId, Standing)> {
        let (used, by_failed, by_lasting) = (&self.used, &self.used_by_failed, &self.used_by_lasting);
        let good = |key: &SetKey| used.fits(key, SLOTS);
        let failed = |key: &SetKey| good(key) && by_failed.fits(key, FAILED_SLOTS);
        let lasting = |key: &SetKey| failed(key) && by_lasting.fits(key, LASTING_SLOTS);
        if let Some((key, id)) = self.failed.take(failed, &valid) {
            return Some((key, id, Standing::Failed));
        }
        if let Some((key, id)) = self.lasting.take(lasting, &valid) {
            return Some((key, id, Standing::Lasting));
        }
        self.good.take(good, &valid).map(|(key, id)| (key, id, Standing::Good))
    }

    pub(super) fn release(&mut self, key: &SetKey, id: TargetId) {
        let Some(standing) = self.flying.remove(&id) else { return };
        self.used.remove(key);
        if standing >= Standing::Failed {
            self.used_by_failed.remove(key);
        }
        if standing >= Standing::Lasting {
            self.used_by_lasting.remove(key);
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
