//! How many targets are scraped in all and per namespace. Whoever came first stays; the newest go without.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::registry::SetKey;
use crate::registry::target::TargetId;

/// The limits.
#[derive(Clone, Copy, Debug)]
pub struct Quotas {
    pub all: usize,
    pub namespace: usize,
}

#[derive(Debug)]
pub(super) struct Quota {
    limits: Quotas,
    all: usize,
    namespaces: HashMap<Arc<str>, usize>,
    admitted: HashMap<SetKey, BTreeSet<TargetId>>,
    refused: HashMap<SetKey, usize>,
}

impl Quota {
    pub(super) fn new(limits: Quotas) -> Self {
        Self {
            limits,
            all: 0,
            namespaces: HashMap::new(),
            admitted: HashMap::new(),
            refused: HashMap::new(),
        }
    }

    /// Which of an InferenceSet's targets may be scraped; all of them are given.
    pub(super) fn admit(&mut self, key: &SetKey, targets: &BTreeSet<TargetId>) -> &BTreeSet<TargetId> {
        let mut kept = self.admitted.remove(key).unwrap_or_default();
        self.release(key, kept.len());
        kept.retain(|id| targets.contains(id));
        let used = self.namespaces.get(&key.namespace).copied().unwrap_or(0);
        let room = (self.limits.all.saturating_sub(self.all)).min(self.limits.namespace.saturating_sub(used));
        let newcomers: Vec<_> = targets.iter().filter(|id| !kept.contains(id)).copied().collect();
        kept.extend(newcomers.into_iter().take(room.saturating_sub(kept.len())));
        self.all += kept.len();
        if !kept.is_empty() {
            *self.namespaces.entry(Arc::clone(&key.namespace)).or_default() += kept.len();
        }
        match targets.len() - kept.len() {
            0 => self.refused.remove(key),
            refused => self.refused.insert(key.clone(), refused),
        };
        self.admitted.entry(key.clone()).or_insert(kept)
    }

    pub(super) fn forget(&mut self, key: &SetKey) {
        let count = self.admitted.remove(key).map_or(0, |ids| ids.len());
        self.release(key, count);
        self.refused.remove(key);
    }

    /// Whether some of an InferenceSet's targets go without.
    pub(super) fn refuses(&self, key: &SetKey) -> bool {
        self.refused.contains_key(key)
    }

    /// How many targets go without.
    pub(super) fn refused(&self) -> usize {
        self.refused.values().sum()
    }

    /// Why, for users.
    pub(super) fn refusal(&self) -> String {
        let Quotas { all, namespace } = self.limits;
        format!("not scraped: the scaler's limit of {namespace} targets per namespace or {all} in all is reached")
    }

    fn release(&mut self, key: &SetKey, count: usize) {
        self.all -= count;
        if let Some(used) = self.namespaces.get_mut(&key.namespace) {
            *used -= count;
            if *used == 0 {
                self.namespaces.remove(&key.namespace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(range: std::ops::Range<u64>) -> BTreeSet<TargetId> {
        range.map(TargetId).collect()
    }

    #[test]
    fn newest_targets_go_without_until_there_is_room() {
        let mut quota = Quota::new(Quotas { all: 10, namespace: 4 });
        let (a, b, c) = (SetKey::new("one", "a"), SetKey::new("one", "b"), SetKey::new("two", "c"));
        assert_eq!(*quota.admit(&a, &ids(0..3)), ids(0..3));
        assert_eq!(*quota.admit(&b, &ids(10..13)), ids(10..11));
        assert!(quota.refuses(&b) && !quota.refuses(&a));
        assert_eq!(quota.refused(), 2);
        assert_eq!(*quota.admit(&b, &ids(10..13)), ids(10..11), "asked again nothing changes");
        assert_eq!(*quota.admit(&c, &ids(20..30)), ids(20..24));
        assert_eq!(*quota.admit(&a, &ids(2..3)), ids(2..3));
        assert_eq!(*quota.admit(&b, &ids(10..13)), ids(10..13));
        quota.forget(&b);
        assert_eq!(
            *quota.admit(&a, &ids(0..9)).iter().collect::<Vec<_>>(),
            [&TargetId(0), &TargetId(1), &TargetId(2), &TargetId(3)]
        );
    }

    #[test]
    fn limit_in_all_holds_over_namespaces() {
        let mut quota = Quota::new(Quotas { all: 3, namespace: 2 });
        assert_eq!(quota.admit(&SetKey::new("one", "a"), &ids(0..5)).len(), 2);
        assert_eq!(quota.admit(&SetKey::new("two", "a"), &ids(10..15)).len(), 1);
        assert_eq!(quota.admit(&SetKey::new("three", "a"), &ids(20..25)).len(), 0);
        assert_eq!(quota.refused(), 3 + 4 + 5);
    }
}
