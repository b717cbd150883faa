//! Which Events may be published: pure bookkeeping over the time it is given.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use k8s_openapi::api::core::v1::ObjectReference;
use tokio::time::Instant;

/// The same object, reason and note is published once in this time.
pub(super) const REPEAT: Duration = Duration::from_secs(600);
/// Different notes for one object and reason within [`REPEAT`]; a note with a counter in it must not flood.
const MAX_NOTES: usize = 10;
/// Objects and reasons remembered at once; beyond, the oldest is forgotten and may be told again early.
const MAX_SUBJECTS: usize = 10_000;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Subject {
    uid: String,
    namespace: String,
    name: String,
    reason: &'static str,
}

#[derive(Debug)]
pub(super) struct Key {
    subject: Subject,
    note: u64,
}

pub(super) fn key(regarding: &ObjectReference, reason: &'static str, note: &str) -> Key {
    let mut hasher = DefaultHasher::new();
    note.hash(&mut hasher);
    Key {
        subject: Subject {
            uid: regarding.uid.clone().unwrap_or_default(),
            namespace: regarding.namespace.clone().unwrap_or_default(),
            name: regarding.name.clone().unwrap_or_default(),
            reason,
        },
        note: hasher.finish(),
    }
}

#[derive(Debug, Default)]
pub(super) struct Budget {
    told: HashMap<Subject, Vec<(u64, Instant)>>,
}

impl Budget {
    /// Whether the Event may be published now; if so it is remembered as published.
    pub(super) fn admit(&mut self, key: &Key, now: Instant) -> bool {
        if !self.told.contains_key(&key.subject) {
            self.make_room(now);
        }
        let notes = self.told.entry(key.subject.clone()).or_default();
        notes.retain(|(_, at)| now.saturating_duration_since(*at) < REPEAT);
        if notes.len() >= MAX_NOTES || notes.iter().any(|(note, _)| *note == key.note) {
            return false;
        }
        notes.push((key.note, now));
        true
    }

    /// The publication failed: it may be tried again.
    pub(super) fn forget(&mut self, key: &Key) {
        if let Some(notes) = self.told.get_mut(&key.subject) {
            notes.retain(|(note, _)| *note != key.note);
        }
    }

    fn make_room(&mut self, now: Instant) {
        if self.told.len() < MAX_SUBJECTS {
            return;
        }
        self.told
            .retain(|_, notes| notes.iter().any(|(_, at)| now.saturating_duration_since(*at) < REPEAT));
        let last = |notes: &Vec<(u64, Instant)>| notes.last().map(|(_, at)| *at);
        while self.told.len() >= MAX_SUBJECTS {
            let oldest = self.told.iter().min_by_key(|(_, notes)| last(notes));
            let Some(subject) = oldest.map(|(subject, _)| subject.clone()) else {
                return;
            };
            self.told.remove(&subject);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::api::core::v1::ObjectReference;
    use tokio::time::Instant;

    use super::{Budget, Key, MAX_NOTES, MAX_SUBJECTS, REPEAT, key};

    fn about(uid: &str, reason: &'static str, note: &str) -> Key {
        let regarding = ObjectReference {
            uid: Some(uid.to_owned()),
            ..ObjectReference::default()
        };
        key(&regarding, reason, note)
    }

    #[test]
    fn same_note_waits_ten_minutes_and_another_does_not() {
        let mut budget = Budget::default();
        let start = Instant::now();
        for (uid, reason, note, after, admitted) in [
            ("a", "Slow", "3 s", 0, true),
            ("a", "Slow", "3 s", 1, false),
            ("a", "Slow", "4 s", 1, true),
            ("a", "Slow", "3 s", 2, false),
            ("a", "Fast", "3 s", 2, true),
            ("b", "Slow", "3 s", 2, true),
            ("a", "Slow", "3 s", 599, false),
            ("a", "Slow", "3 s", 600, true),
        ] {
            let now = start + Duration::from_secs(after);
            assert_eq!(
                budget.admit(&about(uid, reason, note), now),
                admitted,
                "{uid} {reason} {note} {after}"
            );
        }
    }

    #[test]
    fn note_that_always_changes_is_cut_off() {
        let mut budget = Budget::default();
        let now = Instant::now();
        let admitted = (0..100)
            .filter(|n| budget.admit(&about("a", "Slow", &n.to_string()), now))
            .count();
        assert_eq!(admitted, MAX_NOTES);
        assert!(budget.admit(&about("a", "Slow", "later"), now + REPEAT));
    }

    #[test]
    fn failed_publication_may_be_tried_again() {
        let mut budget = Budget::default();
        let now = Instant::now();
        let key = about("a", "Slow", "3 s");
        assert!(budget.admit(&key, now));
        budget.forget(&key);
        assert!(budget.admit(&key, now));
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut budget = Budget::default();
        let start = Instant::now();
        let at = |n: usize| start + Duration::from_millis(n as u64);
        for n in 0..=MAX_SUBJECTS {
            assert!(budget.admit(&about(&n.to_string(), "Slow", "3 s"), at(n)));
        }
        assert_eq!(budget.told.len(), MAX_SUBJECTS);
        assert!(!budget.admit(&about("1", "Slow", "3 s"), at(MAX_SUBJECTS)));
        assert!(budget.admit(&about("0", "Slow", "3 s"), at(MAX_SUBJECTS)));
    }
}
