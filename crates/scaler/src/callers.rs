//! Which triggers KEDA calls about, with which credentials: what certmgr must know before it retires the old ones.
//! Answers to calls do not depend on it, but for the one nudge of a caller that would otherwise miss a rotation.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use crate::tls::Caller;

/// Pauses beyond this are outages, not a rhythm.
const LONGEST_PAUSE: Duration = Duration::from_secs(1800);
/// Most triggers remembered; the inactive go first, then nothing more is taken in.
const MAX_CALLERS: usize = 50_000;

/// Everything known of callers. Clones share it.
#[derive(Clone, Debug)]
pub struct Callers {
    /// When the recording began.
    pub since: Instant,
    /// A caller is active for twice its longest pause, and at least this long after its last call.
    active_for: Duration,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug, Default)]
struct Inner {
    seen: HashMap<Trigger, Seen>,
    /// Triggers that were told once to read their credentials again, by certificate.
    nudged: HashSet<(Trigger, String)>,
}

/// One trigger of a ScaledObject, by what it asks for. KEDA keeps credentials per trigger, so each is known, and told, by
/// itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Trigger {
    pub namespace: String,
    pub name: String,
    pub metric: String,
}

#[derive(Debug)]
struct Seen {
    last: Instant,
    longest_pause: Duration,
    epoch: Option<u64>,
    not_before: Timestamp,
}

/// What the callers of now have in common.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Lowest credential epoch among active callers that carry one.
    pub lowest_epoch: Option<u64>,
    /// `notBefore` of the oldest client certificate an active caller used last.
    pub oldest_client: Option<Timestamp>,
}

impl Callers {
    /// Knows nobody yet.
    #[must_use]
    pub fn new(since: Instant, active_for: Duration) -> Self {
        Self {
            since,
            active_for,
            inner: Arc::default(),
        }
    }

    /// Takes in a call of a trigger.
    pub fn note(&self, trigger: Trigger, epoch: Option<u64>, caller: &Caller, now: Instant) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.seen.len() >= MAX_CALLERS {
            inner.seen.retain(|_, seen| seen.is_active(self.active_for, now));
        }
        if inner.seen.len() >= MAX_CALLERS && !inner.seen.contains_key(&trigger) {
            return;
        }
        let known = inner.seen.get(&trigger);
        let pause = known.map(|seen| now.saturating_duration_since(seen.last));
        let before = known.map(|seen| seen.longest_pause).unwrap_or_default();
        let pause = pause.filter(|pause| *pause <= LONGEST_PAUSE).unwrap_or_default();
        let seen = Seen {
            last: now,
            longest_pause: before.max(pause),
            epoch,
            not_before: caller.not_before,
        };
        inner.seen.insert(trigger, seen);
    }

    /// Whether a trigger has to be told to read its credentials again: once for each certificate.
    pub fn nudge(&self, trigger: &Trigger, caller: &Caller) -> bool {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if inner.nudged.len() >= MAX_CALLERS {
            inner.nudged.clear();
        }
        inner.nudged.insert((trigger.clone(), caller.serial.clone()))
    }

    /// What holds for everybody who is active.
    #[must_use]
    pub fn summary(&self, now: Instant) -> Summary {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let active = || inner.seen.values().filter(|seen| seen.is_active(self.active_for, now));
        Summary {
            lowest_epoch: active().filter_map(|seen| seen.epoch).min(),
            oldest_client: active().map(|seen| seen.not_before).min(),
        }
    }
}

impl Seen {
    fn is_active(&self, at_least: Duration, now: Instant) -> bool {
        now.saturating_duration_since(self.last) <= at_least.max(2 * self.longest_pause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(serial: &str, not_before: i64) -> Caller {
        Caller {
            issuer: "ca".to_owned(),
            serial: serial.to_owned(),
            not_before: Timestamp::from_second(not_before).unwrap(),
        }
    }

    fn trigger(name: &str, metric: &str) -> Trigger {
        Trigger {
            namespace: "ns".to_owned(),
            name: name.to_owned(),
            metric: metric.to_owned(),
        }
    }

    #[test]
    fn lowest_epoch_and_oldest_certificate_of_active_callers_are_reported() {
        let start = Instant::now();
        let callers = Callers::new(start, Duration::from_secs(120));
        assert_eq!(callers.summary(start), Summary::default());
        callers.note(trigger("a", "m"), Some(7), &caller("1", 100), start);
        callers.note(trigger("b", "m"), Some(9), &caller("2", 200), start);
        callers.note(trigger("by-hand", "m"), None, &caller("2", 200), start);
        let summary = callers.summary(start);
        assert_eq!(summary.lowest_epoch, Some(7));
        assert_eq!(summary.oldest_client, Timestamp::from_second(100).ok());

        callers.note(trigger("a", "m"), Some(9), &caller("2", 200), start + Duration::from_secs(15));
        let summary = callers.summary(start + Duration::from_secs(15));
        assert_eq!(summary.lowest_epoch, Some(9));
        assert_eq!(summary.oldest_client, Timestamp::from_second(200).ok());
    }

    #[test]
    fn triggers_of_one_scaled_object_are_told_apart() {
        let start = Instant::now();
        let callers = Callers::new(start, Duration::from_secs(120));
        callers.note(trigger("a", "old"), None, &caller("1", 100), start);
        callers.note(trigger("a", "new"), None, &caller("2", 200), start);
        assert_eq!(callers.summary(start).oldest_client, Timestamp::from_second(100).ok());
    }

    #[test]
    fn callers_stay_active_for_twice_their_longest_pause() {
        let start = Instant::now();
        let callers = Callers::new(start, Duration::from_secs(120));
        let at = |seconds| start + Duration::from_secs(seconds);
        callers.note(trigger("brisk", "m"), Some(1), &caller("1", 1), at(0));
        callers.note(trigger("slow", "m"), Some(2), &caller("1", 1), at(0));
        callers.note(trigger("slow", "m"), Some(2), &caller("1", 1), at(300));
        assert_eq!(callers.summary(at(121)).lowest_epoch, Some(2), "the brisk one is gone");
        assert_eq!(callers.summary(at(899)).lowest_epoch, Some(2));
        assert_eq!(callers.summary(at(901)).lowest_epoch, None);
    }

    #[test]
    fn triggers_are_nudged_once_for_each_certificate() {
        let callers = Callers::new(Instant::now(), Duration::from_secs(120));
        assert!(callers.nudge(&trigger("a", "m"), &caller("1", 1)));
        assert!(!callers.nudge(&trigger("a", "m"), &caller("1", 1)));
        assert!(callers.nudge(&trigger("a", "other"), &caller("1", 1)));
        assert!(callers.nudge(&trigger("a", "m"), &caller("2", 1)));
        assert!(callers.nudge(&trigger("b", "m"), &caller("1", 1)));
    }
}
