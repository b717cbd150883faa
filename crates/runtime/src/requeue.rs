//! How long to wait before an object that failed is tried again: 1 s doubling to 5 min, ±20 %, per object.
//! It keeps counts, no timers.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The first delay.
pub const FIRST: Duration = Duration::from_secs(1);
/// No delay is longer, but for the jitter.
pub const LONGEST: Duration = Duration::from_secs(300);
const JITTER: f64 = 0.2;

/// Failure counts by object.
#[derive(Debug)]
pub struct Requeue<K> {
    failures: Mutex<HashMap<K, u32>>,
}

impl<K: Eq + Hash> Requeue<K> {
    /// No object has failed yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            failures: Mutex::new(HashMap::new()),
        }
    }

    /// Counts one more failure of `key` and says how long to wait.
    pub fn failed(&self, key: K) -> Duration {
        let mut failures = self.lock();
        let count = failures.entry(key).or_insert(0);
        *count = count.saturating_add(1);
        delay(*count, rand::random_range(-1.0..=1.0))
    }

    /// Forgets the failures of `key`: it succeeded, or is gone.
    pub fn succeeded(&self, key: &K) {
        self.lock().remove(key);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<K, u32>> {
        self.failures.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Eq + Hash> Default for Requeue<K> {
    fn default() -> Self {
        Self::new()
    }
}

/// The delay after `failures` failures in a row; `jitter` from −1 to 1 picks a place within ±20 %.
#[must_use]
pub fn delay(failures: u32, jitter: f64) -> Duration {
    let doublings = failures.saturating_sub(1).min(31);
    let base = FIRST.saturating_mul(1 << doublings).min(LONGEST);
    base.mul_f64(JITTER.mul_add(jitter.clamp(-1.0, 1.0), 1.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Requeue, delay};

    #[test]
    fn delay_doubles_from_one_second_to_five_minutes() {
        for (failures, seconds) in [(0, 1), (1, 1), (2, 2), (3, 4), (9, 256), (10, 300), (u32::MAX, 300)] {
            assert_eq!(delay(failures, 0.0), Duration::from_secs(seconds), "{failures}");
        }
    }

    #[test]
    fn jitter_stays_within_a_fifth() {
        assert_eq!(delay(1, 1.0), Duration::from_millis(1200));
        assert_eq!(delay(1, -1.0), Duration::from_millis(800));
        assert_eq!(delay(20, 7.0), Duration::from_secs(360));
    }

    #[test]
    fn objects_are_counted_apart_and_success_resets() {
        let requeue = Requeue::new();
        for _ in 0..5 {
            requeue.failed("slow");
        }
        assert!(requeue.failed("slow") > Duration::from_secs(20));
        assert!(requeue.failed("other") < Duration::from_millis(1201));
        requeue.succeeded(&"slow");
        assert!(requeue.failed("slow") < Duration::from_millis(1201));
    }
}
