//! Which object is to be reconciled next: each at most once at a time, at the earliest time anyone asked for.
//! It keeps times and starts nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// Namespace and name of an InferenceSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Objects that are due, and those being worked on.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    due: BTreeSet<(Instant, Key)>,
    at: HashMap<Key, Instant>,
    running: HashSet<Key>,
    /// Objects that failed: news of them does not bring the next try forward beyond this.
    not_before: HashMap<Key, Instant>,
}

impl Queue {
    /// Asks for a reconciliation at `at`, or earlier if that was asked for already.
    pub(crate) fn add(&mut self, key: Key, at: Instant) {
        let at = self.not_before.get(&key).map_or(at, |floor| at.max(*floor));
        match self.at.get(&key) {
            Some(earlier) if *earlier <= at => return,
            Some(later) => {
                self.due.remove(&(*later, key.clone()));
            }
            None => {}
        }
        self.at.insert(key.clone(), at);
        self.due.insert((at, key));
    }

    /// The object that has been due longest and is not being worked on; it counts as running from now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Key> {
        let (at, key) = self.due.iter().find(|(_, key)| !self.running.contains(key)).cloned()?;
        if at > now {
            return None;
        }
        self.due.remove(&(at, key.clone()));
        self.at.remove(&key);
        self.running.insert(key.clone());
        Some(key)
    }

    /// When [`Queue::take`] will next have something.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due
            .iter()
            .find(|(_, key)| !self.running.contains(key))
            .map(|(at, _)| *at)
    }

    /// The work on an object has ended well.
    pub(crate) fn done(&mut self, key: &Key) {
        self.running.remove(key);
        self.not_before.remove(key);
    }

    /// The work has failed: try again after `delay`; news may bring that forward to no less than `least`.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant, delay: Duration, least: Duration) {
        self.running.remove(key);
        self.not_before.insert(key.clone(), now + least);
        if let Some(asked) = self.at.remove(key) {
            self.due.remove(&(asked, key.clone()));
            self.add(key.clone(), asked);
        }
        self.add(key.clone(), now + delay);
    }

    pub(crate) fn len(&self) -> usize {
        self.due.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Key, Queue};

    fn key(name: &str) -> Key {
        Key {
            namespace: "default".to_owned(),
            name: name.to_owned(),
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn earliest_request_wins_and_each_object_is_queued_once() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now + 5 * SECOND);
        queue.add(key("a"), now + SECOND);
        queue.add(key("a"), now + 9 * SECOND);
        queue.add(key("b"), now + 2 * SECOND);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + SECOND), Some(key("a")));
        assert_eq!(queue.take(now + SECOND), None);
        assert_eq!(queue.take(now + 2 * SECOND), Some(key("b")));
    }

    #[test]
    fn object_being_worked_on_waits_for_its_end() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.add(key("a"), now);
        queue.add(key("b"), now + SECOND);
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.done(&key("a"));
        assert_eq!(queue.take(now), Some(key("a")));
    }

    #[test]
    fn news_of_a_failed_object_waits_the_least_delay() {
        let (mut queue, now) = (Queue::default(), Instant::now());
        queue.add(key("a"), now);
        queue.take(now);
        queue.add(key("a"), now);
        queue.failed(&key("a"), now, 60 * SECOND, SECOND);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.take(now + SECOND);
        queue.failed(&key("a"), now, 60 * SECOND, SECOND);
        assert_eq!(queue.next_due(), Some(now + 60 * SECOND));
        queue.add(key("a"), now);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.take(now + SECOND);
        queue.done(&key("a"));
        queue.add(key("a"), now);
        assert_eq!(queue.next_due(), Some(now));
    }
}
