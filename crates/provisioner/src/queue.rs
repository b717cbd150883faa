//! Which object is to be reconciled next: each at most once at a time, at the earliest time anyone asked for, news before
//! what is only looked at again, and no namespace with more than its share. It keeps times and starts nothing.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::time::Duration;

use tokio::time::Instant;

/// Namespace and name of an InferenceSet.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

/// Why an object is looked at. What comes first here goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Cause {
    /// Somebody changed something, or a time has come.
    News,
    /// Everything is looked at: after a start, with a new leader, when it was listed again. A single change does not wait
    /// for thousands of these.
    Sweep,
}

/// Objects that are due, and those being worked on.
#[derive(Debug)]
pub(crate) struct Queue {
    news: BTreeSet<(Instant, Key)>,
    sweep: BTreeSet<(Instant, Key)>,
    at: HashMap<Key, (Cause, Instant)>,
    running: HashSet<Key>,
    /// Objects being worked on, by namespace.
    busy: HashMap<String, usize>,
    /// Most of one namespace that are worked on at a time: one whose calls hang leaves room for the others.
    share: usize,
    /// Objects that failed: news of them does not bring the next try forward beyond this.
    not_before: HashMap<Key, Instant>,
    /// How many those are, by namespace. Theirs are worked on one at a time: a few namespaces whose calls hang must not hold
    /// every place.
    failing: HashMap<String, usize>,
}

impl Queue {
    /// An empty queue that gives out at most `share` objects of one namespace at a time.
    pub(crate) fn new(share: usize) -> Self {
        Self {
            news: BTreeSet::new(),
            sweep: BTreeSet::new(),
            at: HashMap::new(),
            running: HashSet::new(),
            busy: HashMap::new(),
            share,
            not_before: HashMap::new(),
            failing: HashMap::new(),
        }
    }

    /// Asks for a reconciliation at `at`, or as asked before if that comes first.
    pub(crate) fn add(&mut self, key: Key, at: Instant, cause: Cause) {
        let at = self.not_before.get(&key).map_or(at, |floor| at.max(*floor));
        let mut wanted = (cause, at);
        if let Some(asked) = self.at.get(&key).copied() {
            // Both hold: the earlier time, for the better reason.
            wanted = (cause.min(asked.0), at.min(asked.1));
            if wanted == asked {
                return;
            }
            self.remove(&key);
        }
        self.at.insert(key.clone(), wanted);
        self.of(wanted.0).insert((wanted.1, key));
    }

    /// The object that has been due longest among those that may be worked on; it counts as running from now.
    pub(crate) fn take(&mut self, now: Instant) -> Option<Key> {
        let key = [&self.news, &self.sweep]
            .into_iter()
            .find_map(|due| due.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| self.may_run(key)))
            .map(|(_, key)| key.clone())?;
        self.remove(&key);
        *self.busy.entry(key.namespace.clone()).or_default() += 1;
        self.running.insert(key.clone());
        Some(key)
    }

    /// When [`Queue::take`] will next have something.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        [&self.news, &self.sweep]
            .into_iter()
            .filter_map(|due| due.iter().find(|(_, key)| self.may_run(key)))
            .map(|(at, _)| *at)
            .min()
    }

    /// The work on an object has ended well.
    pub(crate) fn done(&mut self, key: &Key) {
        self.ended(key);
        if self.not_before.remove(key).is_some() {
            less(&mut self.failing, &key.namespace);
        }
    }

    /// The work has failed: try again after `delay`; news may bring that forward to no less than `least`.
    pub(crate) fn failed(&mut self, key: &Key, now: Instant, delay: Duration, least: Duration) {
        self.ended(key);
        if self.not_before.insert(key.clone(), now + least).is_none() {
            *self.failing.entry(key.namespace.clone()).or_default() += 1;
        }
        if let Some((cause, asked)) = self.remove(key) {
            self.add(key.clone(), asked, cause);
        }
        self.add(key.clone(), now + delay, Cause::News);
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }

    fn may_run(&self, key: &Key) -> bool {
        let busy = self.busy.get(&key.namespace).copied().unwrap_or(0);
        let share = if self.failing.contains_key(&key.namespace) {
            1
        } else {
            self.share
        };
        busy < share && !self.running.contains(key)
    }

    fn of(&mut self, cause: Cause) -> &mut BTreeSet<(Instant, Key)> {
        match cause {
            Cause::News => &mut self.news,
            Cause::Sweep => &mut self.sweep,
        }
    }

    fn remove(&mut self, key: &Key) -> Option<(Cause, Instant)> {
        let (cause, at) = self.at.remove(key)?;
        self.of(cause).remove(&(at, key.clone()));
        Some((cause, at))
    }

    fn ended(&mut self, key: &Key) {
        if self.running.remove(key) {
            less(&mut self.busy, &key.namespace);
        }
    }
}

/// One fewer of that namespace.
fn less(counts: &mut HashMap<String, usize>, namespace: &str) {
    if let Some(count) = counts.get_mut(namespace) {
        *count -= 1;
        if *count == 0 {
            counts.remove(namespace);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::Cause::{News, Sweep};
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
        let (mut queue, now) = (Queue::new(3), Instant::now());
        queue.add(key("a"), now + 5 * SECOND, News);
        queue.add(key("a"), now + SECOND, News);
        queue.add(key("a"), now + 9 * SECOND, News);
        queue.add(key("b"), now + 2 * SECOND, News);
        assert_eq!(queue.len(), 2);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.take(now + SECOND), Some(key("a")));
        assert_eq!(queue.take(now + SECOND), None);
        assert_eq!(queue.take(now + 2 * SECOND), Some(key("b")));
    }

    #[test]
    fn object_being_worked_on_waits_for_its_end() {
        let (mut queue, now) = (Queue::new(3), Instant::now());
        queue.add(key("a"), now, News);
        assert_eq!(queue.take(now), Some(key("a")));
        queue.add(key("a"), now, News);
        queue.add(key("b"), now + SECOND, News);
        assert_eq!(queue.take(now), None);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.done(&key("a"));
        assert_eq!(queue.take(now), Some(key("a")));
    }

    #[test]
    fn news_of_a_failed_object_waits_the_least_delay() {
        let (mut queue, now) = (Queue::new(3), Instant::now());
        queue.add(key("a"), now, News);
        queue.take(now);
        queue.add(key("a"), now, News);
        queue.failed(&key("a"), now, 60 * SECOND, SECOND);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.take(now + SECOND);
        queue.failed(&key("a"), now, 60 * SECOND, SECOND);
        assert_eq!(queue.next_due(), Some(now + 60 * SECOND));
        queue.add(key("a"), now, News);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        queue.take(now + SECOND);
        queue.done(&key("a"));
        queue.add(key("a"), now, News);
        assert_eq!(queue.next_due(), Some(now));
    }

    #[test]
    fn single_change_does_not_wait_for_a_sweep_of_thousands() {
        let (mut queue, now) = (Queue::new(3), Instant::now());
        for number in 0..5000 {
            queue.add(key(&number.to_string()), now, Sweep);
        }
        queue.add(key("edited"), now + SECOND, News);
        queue.add(key("4999"), now + SECOND, News);
        assert_eq!(queue.next_due(), Some(now));
        let taken = [(); 2].map(|()| queue.take(now + SECOND).unwrap());
        assert_eq!(taken, [key("4999"), key("edited")]);
        assert_eq!(queue.take(now + SECOND), Some(key("0")));
        assert_eq!(queue.len(), 4998);
    }

    #[test]
    fn namespace_whose_work_hangs_leaves_room_for_others() {
        let (mut queue, now) = (Queue::new(3), Instant::now());
        for number in 0..9 {
            queue.add(key(&number.to_string()), now, News);
        }
        let other = Key {
            namespace: "other".to_owned(),
            name: "a".to_owned(),
        };
        queue.add(other.clone(), now + SECOND, News);
        let hang: Vec<Key> = std::iter::from_fn(|| queue.take(now)).collect();
        assert_eq!(hang.len(), 3);
        assert_eq!(queue.next_due(), Some(now + SECOND));
        assert_eq!(queue.take(now + SECOND), Some(other));
        queue.failed(&hang[0], now + SECOND, 60 * SECOND, SECOND);
        assert_eq!(queue.take(now + SECOND), None, "one at a time while one of them fails");
        for hanging in &hang[1..] {
            queue.done(hanging);
        }
        assert_eq!(queue.take(now + SECOND), Some(key("3")));
        assert_eq!(queue.take(now + SECOND), None);
        queue.done(&key("3"));
        queue.done(&key("3"));
        queue.done(&hang[0]);
        let again: Vec<Key> = std::iter::from_fn(|| queue.take(now + SECOND)).collect();
        assert_eq!(again, ["4", "5", "6"].map(key));
    }
}
